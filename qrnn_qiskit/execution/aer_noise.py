"""An Aer noise model from plain numbers, with what Aer's own device models leave out."""

from collections.abc import Collection
from math import exp, isinf, prod

from qiskit_aer.noise import (
    NoiseModel,
    QuantumError,
    ReadoutError,
    amplitude_damping_error,
    depolarizing_error,
    pauli_error,
    thermal_relaxation_error,
)

from qrnn_qiskit.devices import DeviceNoise, GateNoise, QubitNoise
from qrnn_qiskit.execution.aer_circuit import Idle


def build_noise_model(noise: DeviceNoise, idles: Collection[Idle] = ()) -> NoiseModel:
    """Asymmetric readout errors, gates that relax and depolarise, resets that flip, idle decay.

    A gate's relaxation follows from its duration, T1 and T2; depolarising fills up to the
    reported average infidelity. A measured qubit relaxes no further: that is in its readout
    error. A failed reset leaves |1>.

    Args:
        noise: of the circuit's qubits.
        idles: every waiting in the circuit, found by its label.
    """
    model = NoiseModel(basis_gates=sorted({gate.name for gate in noise.gates}))
    for gate in noise.gates:
        error = _gate_error(gate, [noise.qubits[qubit] for qubit in gate.qubits])
        if error is not None:
            model.add_quantum_error(error, gate.name, list(gate.qubits))
    for index, qubit in enumerate(noise.qubits):
        e0, e1 = qubit.read_one_given_zero, qubit.read_zero_given_one
        model.add_readout_error(ReadoutError([[1 - e0, e0], [e1, 1 - e1]]), [index])
        if qubit.reset_error > 0:
            flip = [("X", qubit.reset_error), ("I", 1 - qubit.reset_error)]
            model.add_quantum_error(pauli_error(flip), "reset", [index])
    for idle in sorted(idles):
        qubit = noise.qubits[idle.qubit]
        if not isinf(qubit.t2_ns):  # T2 is at most 2 T1: nothing decays without it
            decay = thermal_relaxation_error(qubit.t1_ns, qubit.t2_ns, idle.duration_ns)
            model.add_quantum_error(decay, idle.label, [idle.qubit])
    # A Kraus error in the model makes Aer sample noise while it simulates instead of sampling a
    # whole circuit per shot: 1.6-5.6 times faster with gate errors, slower with none. This gate
    # never occurs. Aer drops an error that is close to none, so it is a strong one.
    if noise.gates or idles:
        model.add_quantum_error(amplitude_damping_error(0.5), "never_used", [0])
    return model


def _gate_error(gate: GateNoise, qubits: list[QubitNoise]) -> QuantumError | None:
    relaxation = None
    fidelity = 1.0
    if gate.duration_ns > 0:
        for qubit in qubits:
            single = thermal_relaxation_error(qubit.t1_ns, qubit.t2_ns, gate.duration_ns)
            relaxation = single if relaxation is None else single.tensor(relaxation)
        fidelity = _relaxation_fidelity(gate.duration_ns, qubits)
    depolarising = _depolarising(gate.error, fidelity, len(qubits))
    if relaxation is None:
        return depolarising
    return relaxation if depolarising is None else depolarising.compose(relaxation)


def _relaxation_fidelity(duration_ns: float, qubits: list[QubitNoise]) -> float:
    """Average gate fidelity of independent relaxation during a gate."""
    dimension = 2 ** len(qubits)
    process = prod(
        (1 + exp(-duration_ns / qubit.t1_ns) + 2 * exp(-duration_ns / qubit.t2_ns)) / 4
        for qubit in qubits
    )
    return float((dimension * process + 1) / (dimension + 1))


def _depolarising(error: float, fidelity: float, num_qubits: int) -> QuantumError | None:
    """Depolarising that brings the average infidelity from 1 - fidelity up to error."""
    dimension = 2**num_qubits
    # Above d/(d+1) a reported error is no infidelity any more (an unusable gate).
    missing = min(error, dimension / (dimension + 1)) - (1 - fidelity)
    # At fidelity 1/d relaxation alone has forgotten everything: depolarising adds no infidelity.
    if missing <= 0 or dimension * fidelity <= 1:
        return None
    parameter = dimension * missing / (dimension * fidelity - 1)
    return depolarizing_error(min(parameter, 4**num_qubits / (4**num_qubits - 1)), num_qubits)
