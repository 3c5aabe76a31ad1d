"""An Aer noise model from plain numbers, with what Aer's own device models leave out."""

from collections.abc import Collection
from math import isinf

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
from qrnn_qiskit.devices.gate_error import depolarising_parameter
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
        qubit, duration_ns = noise.qubits[idle.qubit], idle.duration_ns * noise.idle_factor
        # T2 is at most 2 T1: nothing decays without it.
        if duration_ns > 0 and not isinf(qubit.t2_ns):
            decay = thermal_relaxation_error(qubit.t1_ns, qubit.t2_ns, duration_ns)
            model.add_quantum_error(decay, idle.label, [idle.qubit])
    # A Kraus error in the model makes Aer sample noise while it simulates instead of sampling a
    # whole circuit per shot: 1.6-5.6 times faster with gate errors, slower with none. This gate
    # never occurs. Aer drops an error that is close to none, so it is a strong one.
    if noise.gates or idles:
        model.add_quantum_error(amplitude_damping_error(0.5), "never_used", [0])
    return model


def _gate_error(gate: GateNoise, qubits: list[QubitNoise]) -> QuantumError | None:
    relaxation = None
    if gate.duration_ns > 0:
        for qubit in qubits:
            single = thermal_relaxation_error(qubit.t1_ns, qubit.t2_ns, gate.duration_ns)
            relaxation = single if relaxation is None else single.tensor(relaxation)
    parameter = depolarising_parameter(gate, qubits)
    if parameter == 0:
        return relaxation
    depolarising = depolarizing_error(parameter, len(qubits))
    return depolarising if relaxation is None else depolarising.compose(relaxation)
