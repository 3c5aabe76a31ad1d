"""A device's noise on a few of its qubits, as plain numbers that no simulator owns."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from qrnn_qiskit.devices.relaxation import read_relaxation
from qrnn_qiskit.devices.snapshot import read_properties
from qrnn_qiskit.devices.target import UNUSABLE_ERROR, DeviceTarget, assume_reset_error
from qrnn_qiskit.errors import InputError, require


@dataclass(frozen=True)
class QubitNoise:
    """Readout error, relaxation and reset error of one qubit.

    Attributes:
        read_one_given_zero: e0 = P(1|0).
        read_zero_given_one: e1 = P(0|1).
        t1_ns: relaxation time, infinite if the device does not say.
        t2_ns: dephasing time, at most 2 T1.
        reset_error: chance that a reset leaves |1>.

    Raises:
        InputError: if an error is no probability, a time not positive, or T2 above 2 T1.
    """

    read_one_given_zero: float
    read_zero_given_one: float
    t1_ns: float = float("inf")
    t2_ns: float = float("inf")
    reset_error: float = 0.0

    def __post_init__(self) -> None:
        for name in ("read_one_given_zero", "read_zero_given_one", "reset_error"):
            require(0 <= getattr(self, name) <= 1, name, "must be a probability",
                    getattr(self, name), "give a number from 0 to 1")  # fmt: skip
        require(self.t1_ns > 0, "t1_ns", "must be positive", self.t1_ns,
                "leave it out where it is unknown")  # fmt: skip
        require(0 < self.t2_ns <= 2 * self.t1_ns, "t2_ns", "must lie in (0, 2 t1_ns]",
                self.t2_ns, "clip a fitted T2 at 2 T1")  # fmt: skip


@dataclass(frozen=True)
class GateNoise:
    """Average gate infidelity of one instruction on given qubits, and how long they relax in it.

    Raises:
        InputError: if the error is no probability or the duration negative.
    """

    name: str
    qubits: tuple[int, ...]
    error: float
    duration_ns: float

    def __post_init__(self) -> None:
        require(0 <= self.error <= 1, "error", "must be a probability", self.error,
                "give the average gate infidelity")  # fmt: skip
        require(self.duration_ns >= 0, "duration_ns", "must be at least 0", self.duration_ns,
                "use 0 for a virtual gate")  # fmt: skip


@dataclass(frozen=True)
class DeviceNoise:
    """Noise of the qubits that a circuit uses, numbered as in the circuit.

    What qubits lose while they wait follows from T1, T2 and a schedule, which is not in here.

    Attributes:
        device: name of the backend.
        qubits: of the circuit.
        gates: on these qubits.
        idle_factor: a qubit that waits for a time relaxes as in this multiple of it.
        remarks: values that were missing or absurd, and what was taken instead.

    Raises:
        InputError: if the idle factor is negative.
    """

    device: str
    qubits: tuple[QubitNoise, ...]
    gates: tuple[GateNoise, ...]
    idle_factor: float = 1.0
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(self.idle_factor >= 0, "idle_factor", "must be at least 0", self.idle_factor,
                "0 switches relaxation of waiting qubits off")  # fmt: skip


def read_noise(
    backend: BackendV2,
    physical_qubits: Sequence[int],
    *,
    measure_names: Mapping[int, str] | None = None,
    reset_names: Mapping[int, str] | None = None,
    uses: Collection[tuple[str, tuple[int, ...]]] | None = None,
    target: DeviceTarget | None = None,
) -> DeviceNoise:
    """Readout, reset and gate errors of some qubits, from a backend's target and properties.

    The readout error is the asymmetric one of the properties: `Target` knows the mean only. Of
    another measurement than `measure` nothing but the mean is known: it keeps the asymmetry of
    `measure`, both errors scaled by the same factor. No device reports the error of a reset: it is
    assumed to be that of the measurement of the same kind, see `assume_reset_error`, and none
    where the device has no such reset. A missing T1, T2 or gate error is taken to be the device's
    median, T2 above 2 T1 is clipped: `DeviceNoise.remarks` names each.

    Args:
        backend: any `BackendV2`.
        physical_qubits: circuit qubit i is this device qubit.
        measure_names: by circuit qubit, the instruction that measures it where that is not
            `measure`, for example `measure_2`.
        reset_names: the same of resets, for example `reset_2`.
        uses: instructions with their circuit qubits; only these gates are read, all unless given.
        target: what the circuit was compiled for, where its gates are more than the backend's
            (fractional gates); the backend's own target otherwise.

    Raises:
        InputError: if a qubit is none of the backend's, or its measurement error is unknown.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> noise = read_noise(load_fake_backend("fake_manila"), [3, 4])
        >>> [gate.qubits for gate in noise.gates if gate.name == "cx"]
        [(0, 1), (1, 0)]
    """
    for physical in physical_qubits:
        require(0 <= physical < backend.num_qubits, "physical_qubits",
                f"must be qubits of {backend.name}, 0 to {backend.num_qubits - 1}", physical,
                "use compiled.physical_qubits of a circuit compiled for it")  # fmt: skip
    measured, reset = dict(measure_names or {}), dict(reset_names or {})
    for argument, names in (("measure_names", measured), ("reset_names", reset)):
        for index in names:
            require(0 <= index < len(physical_qubits), argument,
                    f"must name circuit qubits, 0 to {len(physical_qubits) - 1}", index,
                    "count qubits as physical_qubits does")  # fmt: skip
    known = backend.target if target is None else target.target
    properties = read_properties(backend)
    relaxation = read_relaxation(backend.target, backend.num_qubits)
    remarks: list[str] = []
    qubits = []
    for index, physical in enumerate(physical_qubits):
        e0, e1, reset_error = _read_bit_errors(
            _Source(backend.name, known, physical),
            properties.qubit_property(physical) if properties else {},
            measured.get(index, "measure"),
            reset.get(index, "reset"),
        )
        times = float(relaxation.t1_ns[physical]), float(relaxation.t2_ns[physical])
        qubits.append(QubitNoise(e0, e1, *times, reset_error))
        remarks += [f"qubit {physical}: {line}" for line in relaxation.remarks.get(physical, ())]
        if e0 + e1 >= 1:
            remarks.append(f"qubit {physical}: readout errors {e0:.3g} and {e1:.3g} tell nothing")
    gates = _read_gates(known, physical_qubits, uses, remarks)
    return DeviceNoise(backend.name, tuple(qubits), gates, remarks=tuple(remarks))


def _read_gates(
    target: Target,
    physical_qubits: Sequence[int],
    uses: Collection[tuple[str, tuple[int, ...]]] | None,
    remarks: list[str],
) -> tuple[GateNoise, ...]:
    circuit_qubit = {physical: index for index, physical in enumerate(physical_qubits)}
    gates = []
    # A target's own order of names follows string hashes, which differ between processes.
    for name in sorted(target.operation_names):
        if name == "delay" or name.startswith(("measure", "reset")):
            continue
        for qargs, properties in target[name].items():
            if qargs is None or properties is None or not set(qargs) <= set(circuit_qubit):
                continue
            qubits = tuple(circuit_qubit[qubit] for qubit in qargs)
            if uses is not None and (name, qubits) not in uses:
                continue
            error = properties.error
            if error is None or not 0 <= error <= 1:
                error = _median_error(target, name)
                if error > 0:
                    remarks.append(f"{name} {qargs}: its error is unknown, the device's median is "
                                   f"taken ({error:.2g})")  # fmt: skip
            elif error >= UNUSABLE_ERROR:
                remarks.append(f"{name} {qargs}: its error of {error:.2g} says that it is unusable")
            gates.append(GateNoise(name, qubits, error, (properties.duration or 0.0) * 1e9))
    return tuple(gates)


def _median_error(target: Target, name: str) -> float:
    """Of an instruction's known errors; 0 if none is known (an ideal instruction)."""
    errors = [entry.error for entry in target[name].values() if entry is not None]
    known = [error for error in errors if error is not None and 0 <= error < UNUSABLE_ERROR]
    return float(median(known)) if known else 0.0


@dataclass(frozen=True)
class _Source:
    """One qubit of a device's target."""

    device: str
    target: Target
    physical: int

    def measure_error(self, name: str) -> float:
        """Mean readout error of a kind of measurement."""
        known = name in self.target.operation_names
        measure = self.target[name].get((self.physical,)) if known else None
        if measure is None or measure.error is None:
            raise InputError(
                f"backend: the readout error of every used qubit must be known, {self.device} has "
                f"none for qubit {self.physical} in {name}; use another snapshot or layout"
            )
        return float(measure.error)

    def reset_error(self, name: str) -> float:
        """Chance that a kind of reset fails; none on a qubit that has no such reset."""
        if name not in self.target.operation_names:
            return 0.0
        entries = self.target[name]
        if (self.physical,) not in entries and None not in entries:
            return 0.0
        properties = entries.get((self.physical,))
        if properties is not None and properties.error is not None:
            return float(properties.error)
        same_kind = "measure" + name.removeprefix("reset")
        known = same_kind in self.target.operation_names
        is_measured = known and (self.physical,) in self.target[same_kind]
        return assume_reset_error(self.measure_error(same_kind if is_measured else "measure"))


def _read_bit_errors(
    source: _Source, named: Mapping[str, Any], measure_name: str, reset_name: str
) -> tuple[float, float, float]:
    """e0, e1 and the reset error of a qubit."""
    e0, e1 = (named.get(key, (None,))[0] for key in ("prob_meas1_prep0", "prob_meas0_prep1"))
    if e0 is None or e1 is None or not (0 <= e0 <= 1 and 0 <= e1 <= 1):
        e0 = e1 = source.measure_error(measure_name)
    elif measure_name != "measure":
        e0, e1 = _scale(e0, e1, source.measure_error(measure_name))
    return e0, e1, source.reset_error(reset_name)


def _scale(e0: float, e1: float, mean: float) -> tuple[float, float]:
    """Both errors times one factor, so that their mean is as given."""
    if e0 + e1 == 0:
        return mean, mean
    # Above probability 1 the rest goes to the other one: the mean is what is known.
    high = min(2 * mean * max(e0, e1) / (e0 + e1), 1.0)
    low = 2 * mean - high
    return (high, low) if e0 >= e1 else (low, high)
