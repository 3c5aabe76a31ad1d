"""Pauli transfer matrices against Qiskit's channels."""

import numpy as np
import pytest
from qiskit.circuit.library import ECRGate, RXGate, RYGate, RZGate, RZZGate, SXGate
from qiskit.quantum_info import PTM, Kraus, Operator, SuperOp, average_gate_fidelity

from qrnn_qiskit.devices import GateNoise, QubitNoise
from qrnn_qiskit.simulate.noisy.channels import (
    gate_error,
    prepared_state,
    recorded_bit,
    recorded_bit_and_state,
    relaxation_channel,
    rotation_at,
    rotation_terms,
    transfer_matrix,
)

QUBIT = QubitNoise(0.02, 0.07, t1_ns=900.0, t2_ns=1300.0, reset_error=0.1)
OTHER = QubitNoise(0.0, 0.0, t1_ns=2000.0, t2_ns=700.0)


def in_our_order(matrix):
    """Qiskit's first qubit is the fastest index, ours the slowest."""
    if len(matrix) == 4:
        return matrix
    return matrix.reshape(4, 4, 4, 4).transpose(1, 0, 3, 2).reshape(16, 16)


@pytest.mark.parametrize("gate", [SXGate(), RYGate(0.3), ECRGate(), RZZGate(-1.2)], ids=str)
def test_gates_are_qiskits(gate):
    expected = in_our_order(PTM(Operator(gate)).data.real)
    np.testing.assert_allclose(transfer_matrix(Operator(gate).data), expected, atol=1e-14)


@pytest.mark.parametrize("gate", [RXGate, RYGate, RZGate, RZZGate])
def test_rotations_are_linear_in_cosine_and_sine(gate):
    terms = rotation_terms(lambda angle: gate(angle).to_matrix())
    for angle in (-4.0, 0.3, 2.5):
        expected = transfer_matrix(gate(angle).to_matrix())
        np.testing.assert_allclose(rotation_at(terms, angle), expected, rtol=0, atol=1e-14)


def test_relaxation_is_damping_and_dephasing():
    kept, coherence = np.exp(-500 / 900), np.exp(-500 / 1300)
    flip = (1 - coherence / np.sqrt(kept)) / 2
    damping = Kraus([np.diag([1, np.sqrt(kept)]), [[0, np.sqrt(1 - kept)], [0, 0]]])
    dephasing = Kraus([np.sqrt(1 - flip) * np.eye(2), np.sqrt(flip) * np.diag([1, -1])])
    expected = PTM(damping.compose(dephasing)).data.real
    np.testing.assert_allclose(relaxation_channel(QUBIT, 500), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("qubits", [(QUBIT,), (QUBIT, OTHER), (OTHER, QUBIT)], ids=len)
def test_gate_errors_have_the_reported_infidelity(qubits):
    gate = GateNoise("gate", tuple(range(len(qubits))), 0.2, 60.0)
    channel = SuperOp(PTM(in_our_order(gate_error(gate, qubits))))
    assert abs(1 - average_gate_fidelity(channel) - 0.2) < 1e-12
    assert channel.is_cptp()


def test_measurements_and_resets():
    up, down, plus = [1, 0, 0, 1], [1, 0, 0, -1], [1, 1, 0, 0]
    assert prepared_state(QUBIT)[:, 0].tolist() == [1, 0, 0, 0.8]
    assert (prepared_state(QUBIT) @ plus).tolist() == [1, 0, 0, 0.8]
    np.testing.assert_allclose(recorded_bit(QUBIT) @ up, [0.98, 0.02])
    np.testing.assert_allclose(recorded_bit(QUBIT) @ down, [0.07, 0.93])
    np.testing.assert_allclose(recorded_bit(QUBIT) @ plus, [0.525, 0.475])
    # The state is that of the true bit, whatever was recorded.
    np.testing.assert_allclose(
        recorded_bit_and_state(QUBIT) @ down, [[0.07, 0, 0, -0.07], [0.93, 0, 0, -0.93]]
    )
    np.testing.assert_allclose(
        recorded_bit_and_state(QUBIT) @ plus, [[0.525, 0, 0, 0.455], [0.475, 0, 0, -0.455]]
    )
