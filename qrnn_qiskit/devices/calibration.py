"""What does a device say about itself on one date? Its numbers, their medians, what is absurd."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from qrnn_qiskit.devices.snapshot import read_properties, read_snapshot_id
from qrnn_qiskit.devices.target import ENTANGLERS, UNUSABLE_ERROR

Qubits = tuple[int, ...]
# Nanoseconds or microseconds in what IBM's files call them; two spellings of micro are in use.
_MICROSECONDS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class Medians:
    """Medians over a device of all that is reported, unusable gates and qubits included.

    Attributes:
        two_qubit_error: of the native entangler; None, as every other, where nothing is reported.
        readout_error: mean of P(1|0) and P(0|1) of a qubit.
        t1_us: relaxation time.
        t2_us: dephasing time.
    """

    two_qubit_error: float | None = None
    readout_error: float | None = None
    t1_us: float | None = None
    t2_us: float | None = None


@dataclass(frozen=True)
class Numbers:
    """Error and duration of an instruction on some qubits; None where not reported."""

    error: float | None
    duration_ns: float | None


@dataclass(frozen=True, eq=False)
class Calibration:
    """A device's numbers of one date; build it with `read_calibration`.

    Attributes:
        name: of the device.
        date: when the properties were updated, ISO 8601; None where the device does not say.
        snapshot_id: of `read_snapshot_id`.
        t1_us: `(num_qubits,)`, nan where not reported, as the three that follow.
        t2_us: as reported, also above 2 T1.
        read_one_given_zero: e0 = P(1|0).
        read_zero_given_one: e1 = P(0|1).
        instructions: by name and qubits, without global ones; a pair may stand in either order.
        coordinates: of every qubit on the chip, as IBM draws it; empty where there are none.
    """

    name: str
    date: str | None
    snapshot_id: str
    t1_us: NDArray[np.float64]
    t2_us: NDArray[np.float64]
    read_one_given_zero: NDArray[np.float64]
    read_zero_given_one: NDArray[np.float64]
    instructions: Mapping[tuple[str, Qubits], Numbers]
    coordinates: tuple[tuple[float, float], ...] = ()

    @property
    def num_qubits(self) -> int:
        """Number of qubits, unusable ones included."""
        return len(self.t1_us)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of instructions that belong to qubits, sorted."""
        return tuple(sorted({name for name, _ in self.instructions}))

    @property
    def two_qubit_gate(self) -> str | None:
        """Native entangler; None for a device without one."""
        return next((name for name in ENTANGLERS if name in self.names), None)

    @cached_property
    def edges(self) -> Mapping[tuple[int, int], float]:
        """Entangler error by pair, lower qubit first: the better direction, nan if not reported."""
        errors: dict[tuple[int, int], float] = {}
        for (name, qubits), numbers in sorted(self.instructions.items()):
            if name == self.two_qubit_gate:
                pair = (min(qubits), max(qubits))
                errors[pair] = float(np.fmin(errors.get(pair, np.nan), _or_nan(numbers.error)))
        return errors

    @cached_property
    def readout_error(self) -> NDArray[np.float64]:
        """Mean readout error `(num_qubits,)`, nan where not reported."""
        errors = np.full(self.num_qubits, np.nan)
        for (name, qubits), numbers in self.instructions.items():
            if name == "measure":
                errors[qubits[0]] = _or_nan(numbers.error)
        return errors

    @cached_property
    def medians(self) -> Medians:
        """Over all qubits, and both directions of each pair."""
        two_qubit = (n.error for (name, _), n in self.instructions.items()
                     if name == self.two_qubit_gate)  # fmt: skip
        return Medians(*map(_median, (two_qubit, self.readout_error, self.t1_us, self.t2_us)))

    @cached_property
    def durations_ns(self) -> Mapping[str, tuple[float, float] | None]:
        """By instruction, the shortest and longest duration; None where none is reported."""
        found: dict[str, list[float]] = {name: [] for name in self.names}
        for (name, _), numbers in self.instructions.items():
            if numbers.duration_ns is not None:
                found[name].append(numbers.duration_ns)
        return {name: (min(all_), max(all_)) if all_ else None for name, all_ in found.items()}

    @cached_property
    def oddities(self) -> Mapping[str, tuple[Qubits, ...]]:
        """What is missing or absurd, by kind, with the qubits or pairs that it is true of.

        A device may be used all the same: `read_target` says what a compiler leaves out.
        """
        found: dict[str, list[Qubits]] = {}

        def note(kind: str, mask: NDArray[np.bool_]) -> None:
            found[kind] = [(int(qubit),) for qubit in np.flatnonzero(mask)]

        for label, times in (("T1", self.t1_us), ("T2", self.t2_us)):
            note(f"{label} missing", np.isnan(times))
            note(f"{label} zero or negative", times <= 0)
        note("T2 above 2 T1", self.t2_us > 2 * self.t1_us)
        note("readout error missing", np.isnan(self.readout_error))
        for (name, qubits), numbers in sorted(self.instructions.items()):
            if numbers.error is not None and not numbers.error < UNUSABLE_ERROR:
                places = found.setdefault(f"{name} error {UNUSABLE_ERROR} or more", [])
                if qubits[::-1] not in places:
                    places.append(qubits)
        if self.two_qubit_gate is not None:
            missing = [pair for pair, error in self.edges.items() if np.isnan(error)]
            found[f"{self.two_qubit_gate} error missing"] = list(missing)
        return {kind: tuple(places) for kind, places in found.items() if places}

    def worst_qubits(self, count: int) -> tuple[int, ...]:
        """Qubits by readout error, the largest first; unreported ones are none of them."""
        known = np.flatnonzero(~np.isnan(self.readout_error))
        return tuple(sorted(known.tolist(), key=lambda qubit: -self.readout_error[qubit])[:count])

    def worst_edges(self, count: int) -> tuple[tuple[int, int], ...]:
        """Pairs by entangler error, the largest first; unreported ones are none of them."""
        known = {pair: error for pair, error in self.edges.items() if not np.isnan(error)}
        return tuple(sorted(known, key=lambda pair: -known[pair])[:count])


def read_calibration(backend: BackendV2) -> Calibration:
    """The numbers of a backend's target and properties.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> calibration = read_calibration(load_fake_backend("fake_manila"))
        >>> calibration.two_qubit_gate, sorted(calibration.edges)
        ('cx', [(0, 1), (1, 2), (2, 3), (3, 4)])
        >>> round(calibration.medians.t1_us, 1), calibration.worst_qubits(2)
        (144.7, (2, 0))
    """
    target, num_qubits = backend.target, backend.num_qubits or 0
    properties = read_properties(backend)
    times, readout = np.full((2, 2, num_qubits), np.nan)
    for index, qubit in enumerate(target.qubit_properties or ()):
        for row, key in enumerate(("t1", "t2")):
            times[row, index] = _or_nan(getattr(qubit, key, None)) * 1e6
    for index in range(num_qubits):
        named = properties.qubit_property(index) if properties else {}
        for row, key in enumerate(("prob_meas1_prep0", "prob_meas0_prep1")):
            readout[row, index] = _or_nan(named.get(key, (None,))[0])
    date: Any = getattr(properties, "last_update_date", None)
    return Calibration(
        name=backend.name,
        date=date.isoformat() if hasattr(date, "isoformat") else date,
        snapshot_id=read_snapshot_id(backend),
        t1_us=times[0],
        t2_us=times[1],
        read_one_given_zero=readout[0],
        read_zero_given_one=readout[1],
        instructions=_read_instructions(target),
        coordinates=_read_coordinates(backend),
    )


def read_medians(parts: Mapping[str, Any]) -> Medians:
    """Medians from the JSON of a stored snapshot, a hundred times as quick as its target.

    Args:
        parts: with the key properties, as `read_snapshot_parts` gives them.

    Raises:
        KeyError, TypeError, AttributeError: if these are no properties.

    Example:
        >>> from qrnn_qiskit.devices.runtime_snapshots import read_fake_parts
        >>> round(read_medians(read_fake_parts("fake_manila")).t1_us, 1)
        144.7
    """
    properties = parts["properties"]
    qubits = [{entry["name"]: entry for entry in qubit} for qubit in properties["qubits"]]
    errors: dict[str, list[float]] = {}
    for gate in properties["gates"]:
        for entry in gate["parameters"]:
            if entry["name"] == "gate_error":
                errors.setdefault(gate["gate"], []).append(entry["value"])
    entangler = next((name for name in ENTANGLERS if name in errors), "")
    times = (
        [
            float(qubit[key]["value"]) * _MICROSECONDS[qubit[key]["unit"]]
            for qubit in qubits
            if key in qubit
        ]
        for key in ("T1", "T2")
    )
    readout = (qubit["readout_error"]["value"] for qubit in qubits if "readout_error" in qubit)
    return Medians(*map(_median, (errors.get(entangler, ()), readout, *times)))


def _read_instructions(target: Target) -> dict[tuple[str, Qubits], Numbers]:
    table = {}
    for name in sorted(target.operation_names):
        for qubits, properties in target[name].items():
            # A delay has no numbers of its own, and global instructions have no place.
            if qubits is None or name == "delay":
                continue
            duration = getattr(properties, "duration", None)
            error = getattr(properties, "error", None)
            table[name, tuple(qubits)] = Numbers(
                None if error is None else float(error),
                None if duration is None else float(duration) * 1e9,
            )
    return table


def _read_coordinates(backend: BackendV2) -> tuple[tuple[float, float], ...]:
    configuration = backend.configuration() if hasattr(backend, "configuration") else None
    # Only newer configurations have them.
    found = getattr(configuration, "coords", None) or ()
    return tuple((float(x), float(y)) for x, y in found)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _median(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    return median(known) if known else None
