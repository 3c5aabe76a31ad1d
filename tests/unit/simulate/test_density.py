"""The density engine against two independent oracles: dense matrices, and the circuit walked."""

import numpy as np
import pytest
import torch

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate import density, run_density, start_host
from tests.programs import (
    bind,
    controls_of,
    dynamic_configurations,
    dynamic_program,
    host_program,
    random_table,
)
from tests.reference.branch_enumeration import enumerate_records
from tests.reference.model import ModelSpec, run_model

# Both sides are float64: what is asked of the engine on random programs.
LARGEST_DIFFERENCE = 1e-10


def oracle(program, table):
    cell = program.cell
    return run_model(
        ModelSpec(
            num_memory=cell.ansatz.num_memory,
            ansatz=cell.ansatz.name,
            num_layers=cell.ansatz.num_layers,
            readouts=tuple((r.pauli, r.anchor, r.strength_rad) for r in cell.readouts),
            theta=table,
            loop=cell.loop,
            steered=cell.steered,
            history=cell.history,
            feedback_delay=cell.feedback_delay,
        )
    )


@pytest.mark.parametrize("configuration", dynamic_configurations(), ids=str)
def test_engine_equals_the_model_and_the_circuit(rng, configuration):
    program = dynamic_program(rng, *configuration)
    table = random_table(rng, program)
    found = run_density(program, torch.from_numpy(table))
    expected = oracle(program, table[0])
    np.testing.assert_allclose(
        found.outcomes[0], expected.outcome_distributions, rtol=0, atol=LARGEST_DIFFERENCE
    )
    n = program.cell.ansatz.num_memory
    for basis, distribution in zip(program.final_bases, found.final[0], strict=True):
        np.testing.assert_allclose(
            distribution, expected.final_distribution(basis * n), rtol=0, atol=LARGEST_DIFFERENCE
        )

    values = program.slots.with_basis(program.slots.values(controls_of(program, table)), "Y")
    circuit = bind(program, values[0])
    record = enumerate_records(circuit)
    a = program.cell.num_readouts
    for timestep in range(program.num_timesteps):
        marginal = record.marginal(range(a * timestep, a * (timestep + 1)))
        np.testing.assert_allclose(
            found.outcomes[0, timestep], marginal, rtol=0, atol=LARGEST_DIFFERENCE
        )
    final = record.marginal([bit.position for bit in program.record if bit.role == "final"])
    np.testing.assert_allclose(found.final[0, 1], final, rtol=0, atol=LARGEST_DIFFERENCE)


def test_the_comparison_can_fail(rng):
    """One angle moved by 0.3 rad is far outside the tolerance."""
    program = dynamic_program(rng, "sim14", "feedforward", "rotations", 2, 1, 0)
    table = random_table(rng, program)
    wrong = table.copy()
    wrong[0, 1, 0, 0] += 0.3
    found = run_density(program, torch.from_numpy(wrong)).outcomes[0]
    assert np.abs(found.numpy() - oracle(program, table[0]).outcome_distributions).max() > 1e-3


@pytest.mark.parametrize("steered", ["rotations", "all"])
def test_gradients_equal_finite_differences(rng, steered):
    program = dynamic_program(rng, "sim14", "feedforward", steered, 2, 1, 1)
    table = torch.from_numpy(random_table(rng, program, batch=2)).requires_grad_()
    strengths = torch.tensor([1.2, 0.4], dtype=torch.float64, requires_grad=True)
    weights = [torch.from_numpy(rng.normal(size=(2, 4, 4))), None]
    weights[1] = torch.from_numpy(rng.normal(size=(2, 3, 2**program.cell.ansatz.num_memory)))

    def objective(table, strengths):
        result = run_density(program, table, strengths)
        return (result.outcomes * weights[0]).sum() + (result.final * weights[1]).sum()

    objective(table, strengths).backward()
    step = 1e-6
    with torch.no_grad():
        for variable in (table, strengths):
            flat, gradient = variable.view(-1), variable.grad.view(-1)
            for index in rng.choice(flat.numel(), size=min(40, flat.numel()), replace=False):
                centre = flat[index].item()
                values = []
                for shift in (step, -step):
                    flat[index] = centre + shift
                    values.append(objective(table, strengths).item())
                flat[index] = centre
                difference = (values[0] - values[1]) / (2 * step)
                # Central differences are good to about 1e-16/step + step^2.
                assert abs(gradient[index].item() - difference) < 1e-6


def test_entangling_angles_are_those_of_outcome_zero(rng):
    program = dynamic_program(rng, "brick", "feedforward", "rotations", 1, 1, 0)
    table = random_table(rng, program)
    entangling = ~np.array(program.cell.ansatz.steered_angles)
    changed = table.copy()
    changed[:, :, 1:, entangling] += 1.0
    before = run_density(program, torch.from_numpy(table))
    after = run_density(program, torch.from_numpy(changed))
    torch.testing.assert_close(before.outcomes, after.outcomes)


def test_initial_state_dtype_and_batches(rng):
    program = dynamic_program(rng, "line", "open", "rotations", 1, 1, 0)
    dimension = 2**program.cell.ansatz.num_memory
    table = torch.from_numpy(random_table(rng, program, batch=3))
    vector = rng.normal(size=dimension) + 1j * rng.normal(size=dimension)
    vector /= np.linalg.norm(vector)
    rho = torch.from_numpy(np.outer(vector, vector.conj()))
    together = run_density(program, table, initial_state=rho)
    for sample in range(3):
        circuit = bind(
            program,
            program.slots.values(controls_of(program, table.numpy()))[sample],
        )
        full = np.kron(
            np.eye(2 ** (circuit.num_qubits - program.cell.ansatz.num_memory))[0], vector
        )
        record = enumerate_records(circuit, initial_state=full)
        np.testing.assert_allclose(
            together.outcomes[sample, 0], record.marginal([0]), atol=LARGEST_DIFFERENCE
        )
    single = run_density(program, table, initial_state=rho, dtype=torch.float32)
    assert single.outcomes.dtype == torch.float32
    torch.testing.assert_close(single.outcomes.double(), together.outcomes, atol=1e-5, rtol=0)


def test_wrong_shapes_and_loops_are_refused(rng):
    program = dynamic_program(rng, "line", "open", "rotations", 1, 1, 0)
    with pytest.raises(InputError, match=r"table: must have shape \(batch, 4, 1"):
        run_density(program, torch.zeros(1, 2, 1, program.cell.ansatz.num_angles))
    host = host_program("line")
    with pytest.raises(InputError, match="use start_host"):
        run_density(host, torch.zeros(1, *host.table_shape))


def test_samples_computed_a_few_at_a_time_are_the_same(rng, monkeypatch):
    program = dynamic_program(rng, "brick", "feedforward", "rotations", 1, 1, 0)
    table = torch.from_numpy(random_table(rng, program, batch=7))
    dimension = 2**program.cell.ansatz.num_memory
    vectors = torch.from_numpy(rng.normal(size=(7, dimension)) + 0j)
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    states = vectors[:, :, None] * vectors[:, None, :].conj()
    together = run_density(program, table, initial_state=states)
    monkeypatch.setattr(density, "_BYTES_WITHOUT_GRADIENT", 200_000)
    apart = run_density(program, table, initial_state=states)
    torch.testing.assert_close(apart.outcomes, together.outcomes, rtol=0, atol=1e-14)
    torch.testing.assert_close(apart.final, together.final, rtol=0, atol=1e-14)
    monkeypatch.setattr(density, "_BYTES_WITHOUT_GRADIENT", 1)
    alone = run_density(program, table, initial_state=states)
    torch.testing.assert_close(alone.final, together.final, rtol=0, atol=1e-14)


def test_what_cannot_fit_into_memory_is_refused_before_it_is_tried():
    cell = CellSpec(Ansatz("brick", 12), (Readout("Z", 0), Readout("Z", 11)))
    program = SequenceProgram(cell, 8)
    table = torch.zeros(32, *program.table_shape, requires_grad=True)
    with pytest.raises(InputError, match=r"12 memory qubits and 4 outcomes: must fit into the"):
        run_density(program, table)
    with pytest.raises(InputError, match=r"40 memory qubits: must fit into the .* fewer memory"):
        start_host(Ansatz("brick", 40), batch_size=1)
