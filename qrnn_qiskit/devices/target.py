"""What does a device look like to a compiler? Its usable instructions, and what they cost."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Instruction, Parameter
from qiskit.circuit.library import RXGate, RZZGate
from qiskit.providers import BackendV2
from qiskit.transpiler import InstructionProperties, Target

from qrnn_qiskit.devices.relaxation import read_relaxation
from qrnn_qiskit.devices.snapshot import name_snapshot, read_properties, read_snapshot_id
from qrnn_qiskit.errors import InputError, require

# In order of preference where a device lists several.
ENTANGLERS = ("cz", "ecr", "cx")
FRACTIONAL_GATES = ("rx", "rzz")
# Frame changes of the control electronics: no pulse, hence neither time nor error.
VIRTUAL_GATES = ("rz", "p", "u1")
# An average infidelity from here on is a failed calibration; IBM reports 1.0 for it.
UNUSABLE_ERROR = 0.5
# Run-time range of Heron's rzz, as in the targets that qiskit-ibm-runtime builds.
_RZZ_BOUNDS = [(0.0, math.pi / 2)]
# IBM hardware runs if_else only, even where a backend lists more.
_LOOPS = ("for_loop", "while_loop", "switch_case", "break", "continue")

Qubits = tuple[int, ...]
Entries = dict[Qubits | None, InstructionProperties | None]


@dataclass(frozen=True, eq=False)
class DeviceTarget:
    """A device as the compiler sees it: usable instructions with error and duration, T1, T2.

    Build it with `read_target`. A missing error counts as 0 only for an instruction that has no
    error anywhere on the device (an ideal one); resets are treated by `assume_reset_error`.

    Attributes:
        name: of the backend; of a stored snapshot the one of `name_snapshot`, since its device has
            others.
        snapshot_id: content hash of the backend's numbers, 16 hex digits. It does not depend on
            `fractional_gates` and `excluded_qubits`: these are the reader's choice.
        target: all qubits of the device; unusable instructions are removed, and the order of
            names is the same in every process.
        two_qubit_gate: native entangler without fractional gates: cz, ecr or cx.
        t1_ns: `(num_qubits,)`, see `read_relaxation`.
        t2_ns: `(num_qubits,)`, at most 2 T1.
        unusable: one short text per removed qubit or gate, e.g. `cz (3, 4): error 1.0`. A removed
            qubit takes its edges with it without a text of their own.
    """

    name: str
    snapshot_id: str
    target: Target
    two_qubit_gate: str
    t1_ns: NDArray[np.float64]
    t2_ns: NDArray[np.float64]
    unusable: tuple[str, ...]

    @property
    def num_qubits(self) -> int:
        """Number of qubits of the device, unusable ones included."""
        return len(self.t1_ns)

    @cached_property
    def usable_qubits(self) -> tuple[int, ...]:
        """Qubits that can be measured, in order."""
        return tuple(sorted(qubits[0] for qubits in self._entries.get("measure", ()) if qubits))

    @cached_property
    def edges(self) -> frozenset[tuple[int, int]]:
        """Pairs, lower qubit first, on which the entangler is usable in at least one direction."""
        pairs = (qubits for qubits in self._entries[self.two_qubit_gate] if qubits)
        return frozenset((min(pair), max(pair)) for pair in pairs)

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """For every qubit the sorted qubits that it has an edge with."""
        near: list[set[int]] = [set() for _ in range(self.num_qubits)]
        for first, second in self.edges:
            near[first].add(second)
            near[second].add(first)
        return tuple(tuple(sorted(qubits)) for qubits in near)

    def has(self, name: str) -> bool:
        """Whether the device has the instruction on any usable qubits."""
        return name in self._entries

    def duration_ns(self, name: str, qubits: Sequence[int]) -> float:
        """Duration of an instruction on physical qubits, which may come in either order.

        Raises:
            InputError: if the device does not say, or lacks the instruction there.
        """
        try:
            return self._durations[name, tuple(qubits)]
        except KeyError:
            raise self._unknown("duration", name, qubits) from None

    def error(self, name: str, qubits: Sequence[int]) -> float:
        """Average infidelity, 0 to 1, of an instruction on qubits, which may come in any order.

        Raises:
            InputError: if the device does not say, or lacks the instruction there.
        """
        try:
            return self._errors[name, tuple(qubits)]
        except KeyError:
            raise self._unknown("error", name, qubits) from None

    def measure_name(self, fast: bool) -> str:
        """`measure_2` if it is asked for and every usable qubit has it, else `measure`."""
        return self._fast_name("measure", fast)

    def reset_name(self, fast: bool) -> str:
        """`reset_2` if it is asked for and every usable qubit has it, else `reset`."""
        return self._fast_name("reset", fast)

    def restrict(self, physical_qubits: Sequence[int]) -> Target:
        """A target of these qubits alone, renumbered from 0 in the order given.

        It holds all instructions among them and the global ones, except for loops and switches,
        which IBM hardware does not run. dt and timing constraints stay; measurements that must be
        concurrent are those among these qubits.

        Raises:
            InputError: if a qubit repeats or is none of the usable ones.
        """
        place = {physical: index for index, physical in enumerate(physical_qubits)}
        require(0 < len(place) == len(physical_qubits), "physical_qubits",
                "must be one or more distinct qubits", list(physical_qubits),
                "name each qubit once")  # fmt: skip
        for physical in physical_qubits:
            require(physical in self._usable_set, "physical_qubits",
                    f"must be usable qubits of {self.name}", physical,
                    "use qubits of usable_qubits")  # fmt: skip
        physics = self.target.qubit_properties
        groups = (
            sorted(place[qubit] for qubit in group if qubit in place)
            for group in self.target.concurrent_measurements or ()
        )
        narrow = _empty_target(
            self.target,
            num_qubits=len(place),
            qubit_properties=[physics[qubit] for qubit in physical_qubits] if physics else None,
            concurrent_measurements=[group for group in groups if group] or None,
        )
        for name, entries in self._entries.items():
            kept: Entries = {
                tuple(place[qubit] for qubit in qubits): properties
                for qubits, properties in entries.items()
                if qubits is not None and all(qubit in place for qubit in qubits)
            }
            if kept or (None in entries and name not in _LOOPS):
                _add(narrow, self.target, name, kept or None)
        return narrow

    def require_instructions(self, needed: Collection[str]) -> None:
        """Checks that the device has all instructions that a circuit needs.

        Raises:
            InputError: if one is missing.
        """
        missing = sorted(name for name in needed if not self.has(name))
        if missing:
            raise InputError(
                f"backend: must support {', '.join(sorted(needed))}, {self.name} lacks "
                f"{', '.join(missing)}; choose a device with dynamic circuits, e.g. fake_boston"
            )

    @cached_property
    def _entries(self) -> dict[str, Entries]:
        return {name: dict(self.target[name].items()) for name in self.target.operation_names}

    @cached_property
    def _usable_set(self) -> frozenset[int]:
        return frozenset(self.usable_qubits)

    @cached_property
    def _durations(self) -> dict[tuple[str, Qubits], float]:
        table = {}
        for name, entries in self._entries.items():
            for qubits, properties in entries.items():
                duration = getattr(properties, "duration", None)
                if duration is None and name in VIRTUAL_GATES:
                    duration = 0.0
                if qubits is not None and duration is not None:
                    table[name, qubits] = float(duration) * 1e9
        return _undirected(table)

    @cached_property
    def _errors(self) -> dict[tuple[str, Qubits], float]:
        table = {}
        for name, entries in self._entries.items():
            if name == "delay":
                continue
            # read_target leaves a missing error only where no entry has one: ideal, or a reset.
            for qubits, properties in entries.items():
                if qubits is not None:
                    error = getattr(properties, "error", None)
                    table[name, qubits] = 0.0 if error is None else float(error)
        for name in filter(_is_reset, self._entries):
            for qubits, properties in self._entries[name].items():
                if qubits is not None and getattr(properties, "error", None) is None:
                    fast = ("measure" + name.removeprefix("reset"), qubits)
                    table[name, qubits] = assume_reset_error(
                        table[fast] if fast in table else table["measure", qubits]
                    )
        return _undirected(table)

    def _fast_name(self, plain: str, fast: bool) -> str:
        having = {qubits[0] for qubits in self._entries.get(f"{plain}_2", ()) if qubits}
        return f"{plain}_2" if fast and having >= self._usable_set else plain

    def _unknown(self, quantity: str, name: str, qubits: Sequence[int]) -> InputError:
        return InputError(
            f"backend: must have the {quantity} of {name} on qubits {_brackets(qubits)}, "
            f"{self.name} has none; use another layout or snapshot"
        )


def assume_reset_error(readout_error: float) -> float:
    """The error of a reset, which no IBM device reports: an assumption.

    A reset is a measurement and an X conditioned on its outcome: it fails when the readout does.
    The error of the X itself and decay meanwhile are small beside it. `reset_2` takes the error of
    `measure_2` where the qubit has that.

    Example:
        >>> assume_reset_error(0.01)
        0.01
    """
    return readout_error


def read_target(
    backend: BackendV2, *, fractional_gates: bool = False, excluded_qubits: Sequence[int] = ()
) -> DeviceTarget:
    """What a compiler may use of a backend.

    Removed are: qubits that are excluded, that the backend marks as faulty, or whose measurement
    or sx has no error, NaN or 0.5 and more; edges whose entangler is like that in both directions;
    and any other gate that is like that, on its qubits alone. Where no entry of an instruction has
    an error the backend is ideal in it: it stays, and counts as error 0.

    Args:
        backend: any `BackendV2` with a number of qubits.
        fractional_gates: have `rzz` and `rx`. Where the backend lacks them they get the
            entangler's and sx's error and duration, on Heron's own terms (`rzz` angles bounded to
            [0, pi/2]); where it has them, what it says about them holds. Without this option they
            are left out even where the backend has them.
        excluded_qubits: physical qubits that the compiler must not use.

    Raises:
        InputError: if an excluded qubit does not exist, no edge is usable, or fractional gates
            are asked of a device without cz.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> device = read_target(load_fake_backend("fake_manila"), excluded_qubits=[4])
        >>> device.two_qubit_gate, sorted(device.edges), device.unusable
        ('cx', [(0, 1), (1, 2), (2, 3)], ('qubit 4: excluded',))
        >>> round(device.duration_ns("cx", (0, 1)))
        277
    """
    source = backend.target
    num_qubits = backend.num_qubits
    if num_qubits is None:
        raise InputError(
            f"backend: must have a number of qubits, {backend.name} has none; "
            "choose a device, e.g. fake_boston"
        )
    for qubit in excluded_qubits:
        require(0 <= qubit < num_qubits, "profile.excluded_qubits",
                f"must be qubits of {backend.name}, 0 to {num_qubits - 1}", qubit,
                "leave it out")  # fmt: skip
    entangler = _entangler(backend)
    entries = {name: _explicit(source, name, num_qubits) for name in sorted(source.operation_names)}
    if fractional_gates:
        _require_fractional(backend, entangler)
    else:
        _drop_fractional(entries)
    usable, unusable = _sort_out(backend, entries, entangler, set(excluded_qubits))
    if not usable.get(entangler):
        raise InputError(
            f"backend: must have a usable two-qubit gate, {backend.name} has none: each "
            f"{entangler} has an error of {UNUSABLE_ERROR} or more, an unknown one, or an unusable "
            "qubit; choose another snapshot, e.g. fake_boston"
        )
    target = _empty_target(
        source,
        num_qubits=num_qubits,
        qubit_properties=source.qubit_properties,
        concurrent_measurements=source.concurrent_measurements,
    )
    for name, kept in usable.items():
        _add(target, source, name, None if None in kept else kept)
    if fractional_gates:
        _add_fractional(target, source, entangler)
    relaxation = read_relaxation(source, num_qubits)
    snapshot_id = read_snapshot_id(backend)
    return DeviceTarget(
        name=_full_name(backend, snapshot_id),
        snapshot_id=snapshot_id,
        target=target,
        two_qubit_gate=entangler,
        t1_ns=relaxation.t1_ns,
        t2_ns=relaxation.t2_ns,
        unusable=unusable,
    )


def _full_name(backend: BackendV2, snapshot_id: str) -> str:
    # Only stored snapshots have a date: any other backend is the one of its name.
    date = getattr(backend, "snapshot_date", None)
    return str(backend.name if date is None else name_snapshot(backend.name, date, snapshot_id))


def _entangler(backend: BackendV2) -> str:
    for name in ENTANGLERS:
        if name in backend.target.operation_names:
            return name
    raise InputError(
        f"backend: must have a two-qubit gate out of {', '.join(ENTANGLERS)}, {backend.name} has "
        "none; choose another device, e.g. fake_boston"
    )


def _explicit(source: Target, name: str, num_qubits: int) -> Entries:
    """An instruction's entries; a global gate gets one per qubit or ordered pair of qubits."""
    entries: Entries = dict(source[name].items())
    operation = source.operation_from_name(name)
    if None not in entries or not isinstance(operation, Instruction):
        return entries  # control flow is a class and stays global
    return dict.fromkeys(permutations(range(num_qubits), operation.num_qubits))


def _require_fractional(backend: BackendV2, entangler: str) -> None:
    if entangler != "cz" and not set(FRACTIONAL_GATES) <= set(backend.target.operation_names):
        raise InputError(
            f"profile.fractional_gates: must be false for a device without cz, {backend.name} has "
            f"{entangler}; choose a Heron device, e.g. fake_boston, or set it to false"
        )


def _drop_fractional(entries: dict[str, Entries]) -> None:
    for name in FRACTIONAL_GATES:
        # rx is no extra where it takes sx's place.
        if name != "rx" or "sx" in entries:
            entries.pop(name, None)


def _sort_out(
    backend: BackendV2, entries: Mapping[str, Entries], entangler: str, excluded: set[int]
) -> tuple[dict[str, Entries], tuple[str, ...]]:
    """Usable entries by instruction, and one text for each qubit or gate that is not."""
    marked_qubits, marked_gates = _marked_faulty(backend)
    faults: dict[tuple[str, Qubits], str] = dict.fromkeys(marked_gates, "marked faulty")
    for name, some in entries.items():
        for qubits, fault in _find_faults(name, some):
            faults.setdefault((name, qubits), fault)
    bad: dict[int, str] = {}
    for qubit in range(backend.num_qubits):
        if qubit in excluded:
            bad[qubit] = "excluded"
        elif qubit in marked_qubits:
            bad[qubit] = "marked faulty"
        elif reason := _qubit_fault(entries, faults, qubit):
            bad[qubit] = reason
    good_pairs = {
        frozenset(qubits)
        for qubits in entries[entangler]
        if qubits and (entangler, qubits) not in faults
    }

    def is_usable(name: str, qubits: Qubits | None) -> bool:
        if qubits is None:
            return True
        if (name, qubits) in faults or not bad.keys().isdisjoint(qubits):
            return False
        return len(qubits) != 2 or frozenset(qubits) in good_pairs

    usable = {
        name: {qubits: properties for qubits, properties in some.items() if is_usable(name, qubits)}
        for name, some in entries.items()
    }
    lost = {
        (name, tuple(sorted(qubits))): fault
        for (name, qubits), fault in faults.items()
        # A pair is not lost while the other direction works, nor by itself if its qubit is lost.
        if bad.keys().isdisjoint(qubits) and qubits[::-1] not in usable.get(name, {})
    }
    texts = [f"qubit {qubit}: {fault}" for qubit, fault in sorted(bad.items())]
    texts += [f"{name} {_brackets(qubits)}: {fault}"
              for (name, qubits), fault in sorted(lost.items())]  # fmt: skip
    return {name: some for name, some in usable.items() if some}, tuple(texts)


def _marked_faulty(backend: BackendV2) -> tuple[set[int], list[tuple[str, Qubits]]]:
    properties = read_properties(backend)
    if properties is None:
        return set(), []
    gates = [(gate.gate, tuple(gate.qubits)) for gate in properties.faulty_gates()]
    return set(properties.faulty_qubits()), gates


def _find_faults(name: str, entries: Entries) -> Iterator[tuple[Qubits, str]]:
    errors = {
        qubits: getattr(properties, "error", None)
        for qubits, properties in entries.items()
        if qubits is not None
    }
    if all(error is None for error in errors.values()):
        return  # ideal, or an instruction without an error, such as delay and reset
    for qubits, error in errors.items():
        if error is None:
            if name not in VIRTUAL_GATES and not _is_reset(name):
                yield qubits, "no error reported"
        elif not error < UNUSABLE_ERROR:  # so that NaN counts, too
            yield qubits, f"error {float(error)}"


def _qubit_fault(
    entries: Mapping[str, Entries], faults: Mapping[tuple[str, Qubits], str], qubit: int
) -> str | None:
    """Why a qubit cannot be used, if so; a device without sx needs only to measure."""
    for name in ("measure", "sx") if "sx" in entries else ("measure",):
        if (name, (qubit,)) in faults:
            return f"{name} {faults[name, (qubit,)]}"
        if (qubit,) not in entries.get(name, {}):
            return f"{name} missing"
    return None


def _add_fractional(target: Target, source: Target, entangler: str) -> None:
    if "rzz" not in source.operation_names:
        pairs = dict(target[entangler].items())
        both = {pair[::-1]: properties for pair, properties in pairs.items()} | pairs
        target.add_instruction(RZZGate(Parameter("theta")), both, name="rzz",
                               angle_bounds=_RZZ_BOUNDS)  # fmt: skip
    if "rx" not in source.operation_names and "sx" in target.operation_names:
        target.add_instruction(RXGate(Parameter("theta")), dict(target["sx"].items()), name="rx")


def _empty_target(source: Target, **sizes: Any) -> Target:
    """A target without instructions, with a source's clock and timing constraints."""
    return Target(
        description=source.description,
        dt=source.dt,
        granularity=source.granularity,
        min_length=source.min_length,
        pulse_alignment=source.pulse_alignment,
        acquire_alignment=source.acquire_alignment,
        **sizes,
    )


def _add(target: Target, source: Target, name: str, entries: Entries | None) -> None:
    # Target tells that a gate has angle bounds, but not which: Heron's rzz is the only such gate.
    bounded = name == "rzz" and source.gate_has_angle_bounds(name)
    target.add_instruction(
        source.operation_from_name(name),
        entries,
        name=name,
        angle_bounds=_RZZ_BOUNDS if bounded else None,
    )


def _undirected(table: dict[tuple[str, Qubits], float]) -> dict[tuple[str, Qubits], float]:
    """The table with reversed pairs added where a gate has one direction only."""
    return {(name, qubits[::-1]): value for (name, qubits), value in table.items()} | table


def _is_reset(name: str) -> bool:
    return name.startswith("reset")


def _brackets(qubits: Iterable[int]) -> str:
    return f"({', '.join(map(str, qubits))})"
