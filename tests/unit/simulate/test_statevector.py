"""The statevector engine against Qiskit's Statevector, and its adjoint against differences."""

import gc

import numpy as np
import pytest
import torch
from qiskit.quantum_info import Pauli, Statevector

from qrnn_qiskit.program import Ansatz
from qrnn_qiskit.simulate import start_host, step_host
from tests.programs import ANSATZE, bind, controls_of, host_program, random_table


def run_chain(ansatz, table, **options):
    """Paulis after each timestep, (batch, T, 3, n), for angles (batch, T, P)."""
    state = start_host(ansatz, len(table), dtype=table.dtype, **options)
    values = []
    for timestep in range(table.shape[1]):
        state, paulis = step_host(state, table[:, timestep])
        values.append(paulis)
    return torch.stack(values, dim=1), state


@pytest.mark.parametrize("num_memory", [2, 3, 4])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_expectations_equal_qiskit_statevector(rng, ansatz, num_memory):
    program = host_program(ansatz, num_memory, num_timesteps=3, num_layers=2)
    table = random_table(rng, program, batch=2)
    found, state = run_chain(program.cell.ansatz, torch.from_numpy(table[:, :, 0]))
    for timestep in range(1, 4):
        prefix = program.prefix(timestep)
        values = prefix.slots.values(controls_of(prefix, table[:, :timestep]))
        for sample in range(2):
            # The slots of basis change are 0: the Z basis.
            circuit = bind(prefix, values[sample]).remove_final_measurements(inplace=False)
            vector = Statevector(circuit)
            expected = [
                [vector.expectation_value(Pauli(pauli), [q]).real for q in range(num_memory)]
                for pauli in "XYZ"
            ]
            np.testing.assert_allclose(found[sample, timestep - 1], expected, rtol=0, atol=1e-10)
    overlap = np.vdot(vector.data, state.amplitudes[1].numpy())
    assert abs(abs(overlap) - 1) < 1e-10


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_gradients_equal_finite_differences(rng, ansatz):
    circuit = Ansatz(ansatz, 3, num_layers=2)
    table = torch.from_numpy(rng.uniform(-3, 3, size=(2, 3, circuit.num_angles)))
    start = torch.from_numpy(rng.normal(size=8) + 1j * rng.normal(size=8))
    start = start / start.norm()
    weights = torch.from_numpy(rng.normal(size=(2, 3, 3, 3)))

    def objective(table):
        return (run_chain(circuit, table, initial_state=start)[0] * weights).sum()

    assert torch.autograd.gradcheck(
        objective, table.requires_grad_(), eps=1e-6, atol=1e-6, rtol=0.0
    )


def test_gradient_reaches_the_controller_through_the_readouts(rng):
    """The recurrent path z_{t-1} -> theta_t -> z_t is in the graph."""
    circuit = Ansatz("brick", 2)
    weights = torch.from_numpy(rng.normal(size=(6, circuit.num_angles)) * 0.5)

    def objective(weights):
        state = start_host(circuit, 1, dtype=torch.float64)
        z = torch.full((1, 3, 2), 0.3, dtype=torch.float64)
        for _ in range(4):
            state, z = step_host(state, z.flatten(1) @ weights)
        return z.sum()

    assert torch.autograd.gradcheck(
        objective, weights.requires_grad_(), eps=1e-6, atol=1e-6, rtol=0.0
    )


def test_partial_and_repeated_backward_passes_agree(rng):
    circuit = Ansatz("sim14", 3)
    table = torch.from_numpy(rng.uniform(-3, 3, size=(2, 4, circuit.num_angles))).requires_grad_()
    values, _ = run_chain(circuit, table)
    (first,) = torch.autograd.grad(values[:, 1].sum(), table, retain_graph=True)
    (whole,) = torch.autograd.grad(values.sum(), table, retain_graph=True)
    (again,) = torch.autograd.grad(values.sum(), table)
    torch.testing.assert_close(whole, again, rtol=0, atol=1e-13)
    assert first[:, 2:].abs().max() == 0
    short, _ = run_chain(circuit, table[:, :2])
    (alone,) = torch.autograd.grad(short[:, 1].sum(), table)
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-13)


def test_initial_state_receives_a_gradient(rng):
    circuit = Ansatz("line", 2)
    angles = torch.from_numpy(rng.uniform(-3, 3, size=(1, circuit.num_angles)))
    start = torch.from_numpy(rng.normal(size=4) + 1j * rng.normal(size=4)).requires_grad_()

    def objective(start):
        state = start_host(circuit, 1, initial_state=start, dtype=torch.float64)
        return step_host(state, angles)[1].sum()

    assert torch.autograd.gradcheck(objective, start, eps=1e-6, atol=1e-6, rtol=0.0)


def test_no_state_of_the_past_is_kept():
    """Between forward and backward the graph holds the first and the last state only."""
    circuit = Ansatz("sim14", 6)
    table = torch.zeros((3, 20, circuit.num_angles), requires_grad=True)
    values, state = run_chain(circuit, table)
    gc.collect()
    size = (2, 2**6, 1, 3)
    alive = {
        item.untyped_storage().data_ptr()
        for item in gc.get_objects()
        if issubclass(type(item), torch.Tensor) and tuple(item.shape) == size
    }
    assert len(alive) <= 2
    moments, moment = 0, state.moment
    while moment is not None:
        moments += moment.state is not None
        moment = moment.before
    assert moments == 2
    values.sum().backward()


@pytest.mark.parametrize("power", [1, 2])
def test_double_backward_is_refused(rng, power):
    """Under a linear loss too, where once_differentiable would keep silent."""
    circuit = Ansatz("brick", 2)
    angles = torch.from_numpy(rng.normal(size=(1, circuit.num_angles))).requires_grad_()
    _, paulis = step_host(start_host(circuit, 1, dtype=torch.float64), angles)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad((paulis**power).sum(), angles, create_graph=True)
