"""Channels of the noise model: their infidelity is the reported one, on the right qubits."""

from math import exp, inf

import numpy as np
import pytest
from qiskit.quantum_info import (
    DensityMatrix,
    Operator,
    SuperOp,
    average_gate_fidelity,
    partial_trace,
)

from qrnn_qiskit.devices import (
    DeviceNoise,
    GateNoise,
    QubitNoise,
    load_fake_backend,
    read_noise,
)
from qrnn_qiskit.execution.aer_circuit import Idle
from qrnn_qiskit.execution.aer_noise import build_noise_model

# Arithmetic on 16x16 superoperators, and Aer's own tolerance on probabilities.
LARGEST_DIFFERENCE = 1e-9
GOOD = QubitNoise(0.0, 0.0, t1_ns=2e5, t2_ns=1e5)
SLOW = QubitNoise(0.0, 0.0, t1_ns=1e5, t2_ns=1.8e5)
IDEAL = QubitNoise(0.0, 0.0)
DEPHASING = QubitNoise(0.0, 0.0, t1_ns=inf, t2_ns=1e5)


def channel(gate, *qubits):
    """The error that follows the gate, as Aer would apply it; None if there is none."""
    noise = DeviceNoise("planted", qubits, (gate,))
    model = build_noise_model(noise)
    return model._local_quantum_errors.get(gate.name, {}).get(gate.qubits)


def infidelity(error):
    return 1 - average_gate_fidelity(SuperOp(error))


@pytest.mark.parametrize("error", [1e-4, 3e-3, 0.05, 0.5])
@pytest.mark.parametrize(
    "qubit", [GOOD, SLOW, IDEAL, DEPHASING], ids=["T2<T1", "T2>T1", "no", "T2"]
)
@pytest.mark.parametrize("duration_ns", [0.0, 20.0])
def test_one_qubit_infidelity_is_the_reported_one(error, qubit, duration_ns):
    found = infidelity(channel(GateNoise("sx", (0,), error, duration_ns), qubit))
    # Relaxation over 20 ns costs at most 1e-4 here, below every reported error.
    assert abs(found - error) < LARGEST_DIFFERENCE


@pytest.mark.parametrize(
    "pair", [(GOOD, SLOW), (SLOW, GOOD), (GOOD, IDEAL), (IDEAL, GOOD), (IDEAL, IDEAL)]
)
@pytest.mark.parametrize("error", [5e-3, 0.3])
def test_two_qubit_infidelity_is_the_reported_one(pair, error):
    found = channel(GateNoise("cz", (0, 1), error, 100.0), *pair)
    assert found.num_qubits == 2
    assert abs(infidelity(found) - error) < LARGEST_DIFFERENCE
    # The comparison can fail: depolarising with the error as its parameter is another channel.
    naive = channel(GateNoise("cz", (0, 1), 0.75 * error, 100.0), *pair)
    assert abs(infidelity(naive) - error) > 1e-3


def test_without_error_and_duration_there_is_no_channel():
    assert channel(GateNoise("rz", (0,), 0.0, 0.0), GOOD) is None


def test_relaxation_beyond_the_reported_error_stays():
    """Reported 1e-4 during 1000 ns: relaxation alone is worse, and nothing is added to it."""
    error = channel(GateNoise("sx", (0,), 1e-4, 1000.0), GOOD)
    decay1, decay2 = exp(-1000 / GOOD.t1_ns), exp(-1000 / GOOD.t2_ns)
    alone = 1 - (2 * (1 + decay1 + 2 * decay2) / 4 + 1) / 3
    assert alone > 1e-3
    assert abs(infidelity(error) - alone) < LARGEST_DIFFERENCE
    excited = DensityMatrix.from_label("1").evolve(SuperOp(error))
    assert abs(excited.data[1, 1] - decay1) < LARGEST_DIFFERENCE
    plus = DensityMatrix.from_label("+").evolve(SuperOp(error))
    assert abs(2 * plus.data[0, 1] - decay2) < LARGEST_DIFFERENCE


@pytest.mark.parametrize("decaying", [0, 1])
def test_relaxation_acts_on_its_own_qubit(decaying):
    """The other qubit has no T1 and T2, and the reported error is zero."""
    qubits = [IDEAL, IDEAL]
    qubits[decaying] = GOOD
    error = channel(GateNoise("cz", (0, 1), 0.0, 5000.0), *qubits)
    after = DensityMatrix.from_label("11").evolve(SuperOp(error))
    populations = [partial_trace(after, [1 - index]).data[1, 1].real for index in (0, 1)]
    expected = [1.0, 1.0]
    expected[decaying] = exp(-5000 / GOOD.t1_ns)
    np.testing.assert_allclose(populations, expected, rtol=0, atol=LARGEST_DIFFERENCE)


def test_relaxation_follows_the_order_of_the_gate_s_qubits():
    gate = GateNoise("ecr", (1, 0), 0.0, 5000.0)
    error = channel(gate, IDEAL, GOOD)
    # Qubit 0 of the error is the gate's first qubit: circuit qubit 1, the one that decays.
    after = DensityMatrix.from_label("11").evolve(SuperOp(error))
    assert abs(partial_trace(after, [1]).data[1, 1] - exp(-5000 / GOOD.t1_ns)) < LARGEST_DIFFERENCE
    assert abs(partial_trace(after, [0]).data[1, 1] - 1) < LARGEST_DIFFERENCE


@pytest.mark.parametrize("num_qubits", [1, 2])
def test_a_reported_error_of_one_scrambles_completely(num_qubits):
    """Without relaxation: every Pauli but the identity, the largest infidelity, d/(d+1)."""
    name = {1: "sx", 2: "cz"}[num_qubits]
    gate = GateNoise(name, tuple(range(num_qubits)), 1.0, 0.0)
    dimension = 2**num_qubits
    found = channel(gate, *[IDEAL] * num_qubits)
    assert abs(infidelity(found) - dimension / (dimension + 1)) < LARGEST_DIFFERENCE
    # With relaxation the same depolarising is composed with it: at most as much is lost.
    slow = GateNoise(name, tuple(range(num_qubits)), 1.0, 100.0)
    lost = infidelity(channel(slow, *[GOOD] * num_qubits))
    assert 1 - 1 / dimension < lost <= dimension / (dimension + 1)


def test_a_gate_that_lasts_forever_leaves_the_ground_state():
    error = channel(GateNoise("sx", (0,), 0.6, 1e9), GOOD)
    after = DensityMatrix.from_label("1").evolve(SuperOp(error))
    np.testing.assert_allclose(after.data, [[1, 0], [0, 0]], rtol=0, atol=LARGEST_DIFFERENCE)


@pytest.mark.parametrize("qubit", [GOOD, SLOW, DEPHASING], ids=["T2<T1", "T2>T1", "T2"])
@pytest.mark.parametrize("duration_ns", [1, 700, 400_000])
def test_waiting_decays_as_t1_and_t2_say(qubit, duration_ns):
    idle = Idle(1, duration_ns)
    model = build_noise_model(DeviceNoise("planted", (IDEAL, qubit), ()), [Idle(0, 5), idle])
    assert set(model._local_quantum_errors) == {idle.label, "never_used"}
    channel = SuperOp(model._local_quantum_errors[idle.label][1,])
    excited = DensityMatrix.from_label("1").evolve(channel)
    assert abs(excited.data[1, 1] - exp(-duration_ns / qubit.t1_ns)) < LARGEST_DIFFERENCE
    plus = DensityMatrix.from_label("+").evolve(channel)
    assert abs(2 * plus.data[0, 1] - exp(-duration_ns / qubit.t2_ns)) < LARGEST_DIFFERENCE
    ground = DensityMatrix.from_label("0")
    assert np.abs((ground.evolve(channel) - ground).data).max() < LARGEST_DIFFERENCE


def test_failed_resets_leave_one():
    qubits = (QubitNoise(0.0, 0.0, reset_error=0.03), IDEAL)
    errors = build_noise_model(DeviceNoise("planted", qubits, ()))._local_quantum_errors
    after = DensityMatrix.from_label("0").evolve(SuperOp(errors["reset"][0,]))
    np.testing.assert_allclose(after.data, np.diag([0.97, 0.03]), rtol=0, atol=LARGEST_DIFFERENCE)
    assert (1,) not in errors["reset"]


def test_readout_errors_are_columns_of_prepared_states():
    noise = DeviceNoise("planted", (QubitNoise(0.1, 0.0), QubitNoise(0.02, 0.3)), ())
    errors = build_noise_model(noise)._local_readout_errors
    # Aer: row = prepared state, column = recorded bit.
    np.testing.assert_allclose(errors[(0,)].probabilities, [[0.9, 0.1], [0.0, 1.0]])
    np.testing.assert_allclose(errors[(1,)].probabilities, [[0.98, 0.02], [0.3, 0.7]])


def test_a_device_snapshot_has_its_reported_infidelities():
    backend = load_fake_backend("fake_boston")
    first, second = next(iter(backend.target["cz"]))
    noise = read_noise(backend, [first, second])
    model = build_noise_model(noise)
    checked = 0
    for gate in noise.gates:
        error = model._local_quantum_errors.get(gate.name, {}).get(gate.qubits)
        if error is None:
            assert gate.error == 0.0
            continue
        ideal = Operator(np.eye(2 ** len(gate.qubits)))
        assert abs(1 - average_gate_fidelity(SuperOp(error), ideal) - gate.error) < 1e-6
        checked += 1
    assert checked >= 5
