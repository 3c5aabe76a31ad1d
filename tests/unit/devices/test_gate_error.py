"""Relaxation and depolarising together cost what a device reports."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit.quantum_info import Kraus, SuperOp, average_gate_fidelity

from qrnn_qiskit.devices import GateNoise, QubitNoise
from qrnn_qiskit.devices.gate_error import depolarising_parameter, relaxation_fidelity

# Arithmetic on 16x16 superoperators.
LARGEST_DIFFERENCE = 1e-12


def relax(duration_ns, qubit):
    """Amplitude damping, then dephasing to what T2 says beyond T1."""
    kept = np.exp(-duration_ns / qubit.t1_ns)
    coherence = np.exp(-duration_ns / qubit.t2_ns)
    flip = (1 - coherence / np.sqrt(kept)) / 2
    damping = Kraus([np.diag([1, np.sqrt(kept)]), np.array([[0, np.sqrt(1 - kept)], [0, 0]])])
    dephasing = Kraus([np.sqrt(1 - flip) * np.eye(2), np.sqrt(flip) * np.diag([1, -1])])
    return SuperOp(damping).compose(SuperOp(dephasing))


def relax_all(duration_ns, qubits):
    channel = relax(duration_ns, qubits[0])
    for qubit in qubits[1:]:
        channel = relax(duration_ns, qubit).tensor(channel)
    return channel


def depolarise(parameter, num_qubits):
    """Of rho -> (1 - p) rho + p tr(rho) 1/d, column-stacked."""
    dimension = 2**num_qubits
    mixed = np.outer(np.eye(dimension).ravel(), np.eye(dimension).ravel()) / dimension
    return SuperOp((1 - parameter) * np.eye(dimension**2) + parameter * mixed)


qubit_noise = st.builds(
    lambda t1, ratio: QubitNoise(0.0, 0.0, t1, ratio * t1),
    st.floats(1e4, 1e6),
    st.floats(0.1, 2.0),
)


@given(st.lists(qubit_noise, min_size=1, max_size=2), st.floats(0, 3000))
def test_the_closed_form_is_the_channel_s_average_fidelity(qubits, duration_ns):
    found = average_gate_fidelity(relax_all(duration_ns, qubits))
    assert abs(relaxation_fidelity(duration_ns, qubits) - found) < LARGEST_DIFFERENCE


@given(st.lists(qubit_noise, min_size=1, max_size=2), st.floats(0, 100), st.floats(1e-6, 0.6))
def test_the_composed_channel_costs_what_is_reported(qubits, duration_ns, error):
    gate = GateNoise("any", tuple(range(len(qubits))), error, duration_ns)
    parameter = depolarising_parameter(gate, qubits)
    channel = relax_all(duration_ns, qubits).compose(depolarise(parameter, len(qubits)))
    lost = 1 - average_gate_fidelity(channel)
    relaxation = 1 - relaxation_fidelity(duration_ns, qubits)
    # Where relaxation alone costs more than what is reported, nothing is added to it.
    assert abs(lost - max(error, relaxation)) < LARGEST_DIFFERENCE
    assert (parameter == 0) == (relaxation >= error)
    assert average_gate_fidelity(depolarise(parameter, len(qubits))) <= 1 + LARGEST_DIFFERENCE


def test_the_error_as_parameter_would_be_wrong():
    qubits = [QubitNoise(0.0, 0.0, 1e5, 1e5)]
    gate = GateNoise("sx", (0,), 0.01, 30.0)
    right = depolarising_parameter(gate, qubits)
    for wrong in (0.01, 0.02):  # the infidelity itself, and 2 r without relaxation
        channel = relax(30.0, qubits[0]).compose(depolarise(wrong, 1))
        assert abs(1 - average_gate_fidelity(channel) - 0.01) > 1e-5
        assert abs(right - wrong) > 1e-5


@pytest.mark.parametrize("num_qubits", [1, 2])
def test_a_reported_error_of_one_is_the_most_that_depolarising_can_do(num_qubits):
    gate = GateNoise("any", tuple(range(num_qubits)), 1.0, 0.0)
    parameter = depolarising_parameter(gate, [QubitNoise(0.0, 0.0)] * num_qubits)
    dimension = 2**num_qubits
    assert parameter == pytest.approx(dimension**2 / (dimension**2 - 1))
    lost = 1 - average_gate_fidelity(depolarise(parameter, num_qubits))
    assert lost == pytest.approx(dimension / (dimension + 1))


def test_endless_relaxation_leaves_nothing_to_depolarise():
    qubit = QubitNoise(0.0, 0.0, 1e3, 1e3)
    assert depolarising_parameter(GateNoise("sx", (0,), 0.6, inf), [qubit]) == 0.0
