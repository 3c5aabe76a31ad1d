"""A device's noise on a few of its qubits, as plain numbers that no simulator owns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qiskit.providers import BackendV2

from qrnn_qiskit.errors import InputError, require


@dataclass(frozen=True)
class QubitNoise:
    """Readout error and relaxation of one qubit.

    Attributes:
        read_one_given_zero: e0 = P(1|0).
        read_zero_given_one: e1 = P(0|1).
        t1_ns: relaxation time, infinite if the device does not say.
        t2_ns: dephasing time, at most 2 T1.

    Raises:
        InputError: if an error is no probability, a time not positive, or T2 above 2 T1.
    """

    read_one_given_zero: float
    read_zero_given_one: float
    t1_ns: float = float("inf")
    t2_ns: float = float("inf")

    def __post_init__(self) -> None:
        for name in ("read_one_given_zero", "read_zero_given_one"):
            require(0 <= getattr(self, name) <= 1, name, "must be a probability",
                    getattr(self, name), "give P(1|0) and P(0|1)")  # fmt: skip
        require(self.t1_ns > 0, "t1_ns", "must be positive", self.t1_ns,
                "leave it out where it is unknown")  # fmt: skip
        require(0 < self.t2_ns <= 2 * self.t1_ns, "t2_ns", "must lie in (0, 2 t1_ns]",
                self.t2_ns, "clip a fitted T2 at 2 T1")  # fmt: skip


@dataclass(frozen=True)
class GateNoise:
    """Average gate infidelity and duration of one instruction on given qubits.

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

    It holds readout and gate errors. Relaxation acts during gates only: what memory qubits lose
    while they wait is not in here.
    """

    device: str
    qubits: tuple[QubitNoise, ...]
    gates: tuple[GateNoise, ...]


def read_noise(backend: BackendV2, physical_qubits: Sequence[int]) -> DeviceNoise:
    """Readout and gate errors of some qubits, from a backend's target and properties.

    The readout error is the asymmetric one of the properties: `Target` knows the mean only.

    Args:
        backend: any `BackendV2`.
        physical_qubits: circuit qubit i is this device qubit.

    Raises:
        InputError: if a qubit is none of the backend's, or its measurement error is unknown.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> noise = read_noise(load_fake_backend("fake_manila"), [3, 4])
        >>> [gate.qubits for gate in noise.gates if gate.name == "cx"]
        [(0, 1), (1, 0)]
    """
    target = backend.target
    for physical in physical_qubits:
        require(0 <= physical < backend.num_qubits, "physical_qubits",
                f"must be qubits of {backend.name}, 0 to {backend.num_qubits - 1}", physical,
                "use compiled.physical_qubits of a circuit compiled for it")  # fmt: skip
    circuit_qubit = {physical: index for index, physical in enumerate(physical_qubits)}
    gates = []
    for name in target.operation_names:
        if name in ("delay", "reset") or name.startswith(("measure", "reset")):
            continue
        for qargs, properties in target[name].items():
            if qargs is None or properties is None or not set(qargs) <= set(circuit_qubit):
                continue
            gates.append(
                GateNoise(
                    name,
                    tuple(circuit_qubit[qubit] for qubit in qargs),
                    properties.error or 0.0,
                    (properties.duration or 0.0) * 1e9,
                )
            )
    # Only IBM's backends have properties; asking the fake ones for them parses a file.
    properties = backend.properties() if hasattr(backend, "properties") else None
    qubits = tuple(
        _read_qubit(backend, physical, properties.qubit_property(physical) if properties else {})
        for physical in physical_qubits
    )
    return DeviceNoise(backend.name, qubits, tuple(gates))


def _read_qubit(backend: BackendV2, physical: int, named: Mapping[str, Any]) -> QubitNoise:
    if "prob_meas1_prep0" in named and "prob_meas0_prep1" in named:
        e0, e1 = named["prob_meas1_prep0"][0], named["prob_meas0_prep1"][0]
    else:
        measure = backend.target["measure"].get((physical,))
        if measure is None or measure.error is None:
            raise InputError(
                f"backend: the readout error of every used qubit must be known, "
                f"{backend.name} has none for qubit {physical}; use another snapshot or layout"
            )
        e0 = e1 = measure.error
    physics = backend.target.qubit_properties
    qubit = physics[physical] if physics is not None else None
    t1 = getattr(qubit, "t1", None) or float("inf")
    t2 = getattr(qubit, "t2", None) or float("inf")
    # Reported T2 above 2 T1 is unphysical and a fit's artefact: the channel needs the bound.
    return QubitNoise(e0, e1, t1 * 1e9, min(t2, 2 * t1) * 1e9)
