"""How long the memory lasts, against closed forms."""

import numpy as np
import pytest

from qrnn_qiskit.devices import NoiseFactors, scale_noise
from qrnn_qiskit.execution import noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.studies import open_device
from qrnn_qiskit.studies.memory_decay import compute_memory_decay

NUM_TIMESTEPS = 6


def decay(ansatz, ablation="all", *, scale=1.0, backend="fake_boston", **cell):
    device = open_device(backend)
    readouts = () if cell.get("loop") == "host" else (Readout("Z", 0), Readout("Z", 2, 1.0))
    program = SequenceProgram(CellSpec(Ansatz(ansatz, 4), readouts, **cell), NUM_TIMESTEPS)
    compiled = device.compile(program)
    noise = scale_noise(noise_for(compiled, device.backend), NoiseFactors.of(ablation, scale))
    return compute_memory_decay(compiled, device.schedule(compiled), noise)


@pytest.mark.parametrize("ansatz", ["brick", "line", "sim14"])
def test_without_noise_nothing_is_lost(ansatz):
    found = decay(ansatz, "ideal")
    for name, value in found.items():
        assert value == pytest.approx(np.ones(np.shape(value)), abs=1e-9), name


@pytest.mark.parametrize("ansatz", ["brick", "line"])
def test_waiting_alone_leaves_what_t1_says(ansatz):
    """On an Eagle device, where it costs most; half the waiting is rejected."""
    found = decay(ansatz, "only_idle", backend="fake_brisbane")
    known, predicted = np.array(found["memory_z"]), np.array(found["memory_z_predicted"])
    assert (known <= predicted + 1e-3).all()
    # Between the pulses of a gate a bit waits in superposition, which T1 does not know.
    assert -np.log(known[-1]) == pytest.approx(-np.log(predicted[-1]), rel=0.5)
    assert -np.log(known[-1]) > -np.log(predicted[-1]) * 0.75
    for name in ("memory_z_final", "memory_x_final"):
        assert found[name] == pytest.approx(found[name + "_predicted"], abs=0.03)
    twice = decay(ansatz, "only_idle", scale=2.0, backend="fake_brisbane")
    # Not to the last digit: these are means over two qubits.
    assert twice["memory_z_predicted"] == pytest.approx(list(predicted**2), rel=2e-3)


def test_readout_errors_alone_cost_their_contrast():
    """1 - e0 - e1 at every timestep, whatever happened before."""
    device = open_device("fake_boston")
    found = decay("brick", "only_readout")
    program = SequenceProgram(
        CellSpec(Ansatz("brick", 4), (Readout("Z", 0), Readout("Z", 2, 1.0))), NUM_TIMESTEPS
    )
    compiled = device.compile(program)
    qubits = noise_for(compiled, device.backend).qubits
    for timestep in range(NUM_TIMESTEPS):
        read = [qubits[compiled.bit_to_qubit[2 * timestep + index]] for index in (0, 1)]
        contrasts = [1 - q.read_one_given_zero - q.read_zero_given_one for q in read]
        assert found["memory_z"][timestep] == pytest.approx(np.mean(contrasts), abs=1e-9)
    assert found["memory_z_predicted"] == [1.0] * NUM_TIMESTEPS


def test_all_errors_lose_more_than_any_alone_and_more_with_time():
    found = decay("brick")
    series = np.array(found["memory_z"])
    assert (np.diff(series) < 0).all()
    for ablation in ("only_gates", "only_readout", "only_reset", "only_idle"):
        alone = decay("brick", ablation)
        assert series[-1] < alone["memory_z"][-1]
        assert found["memory_x_final"] <= alone["memory_x_final"] + 1e-12


def test_the_host_loop_has_final_contrasts_only():
    device = open_device("fake_boston")
    cell = CellSpec(Ansatz("brick", 2), loop="host")
    program = SequenceProgram(cell, 3, ("X", "Y", "Z"))
    compiled = device.compile(program)
    noise = noise_for(compiled, device.backend)
    found = compute_memory_decay(compiled, device.schedule(compiled), noise)
    assert found["memory_z"] is None
    assert 0.9 < found["memory_z_final"] < 1
    assert 0.9 < found["memory_x_final"] < 1


def test_large_memories_are_left_out():
    device = open_device("fake_boston")
    program = SequenceProgram(CellSpec(Ansatz("brick", 9), (Readout("Z", 0),)), 2)
    compiled = device.compile(program)
    noise = noise_for(compiled, device.backend)
    assert set(compute_memory_decay(compiled, device.schedule(compiled), noise).values()) == {None}
