"""Gradients of measured features: against autograd, on circuits walked branch by branch."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
import torch

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import (
    Evaluator,
    ExactEvaluator,
    OutcomeEstimate,
    ParameterShift,
    ShotEvaluator,
    Spsa,
    Surrogate,
)
from qrnn_qiskit.execution import AerExecutor, SeedStream
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate import exact_features
from tests.programs import ANSATZE, bind, controls_of, host_program, random_table
from tests.reference.branch_enumeration import enumerate_records

# Both sides are float64, over some hundred gates.
LARGEST_DIFFERENCE = 1e-8


def products(num_bits, order):
    sizes = range(1, min(order, num_bits) + 1)
    return [subset for size in sizes for subset in combinations(range(num_bits), size)]


@dataclass(frozen=True)
class EnumerationEvaluator:
    """Exact features of any slot values: the bound circuit walked branch by branch."""

    program: SequenceProgram

    def evaluate(self, controls):
        return self.evaluate_slots(self.program.slots.values(controls))

    def evaluate_slots(self, slot_values):
        value = np.array([self._features(row) for row in slot_values])
        return OutcomeEstimate(value, np.zeros_like(value), "none")

    def _features(self, row):
        program, a = self.program, self.program.cell.num_readouts
        first_final = a * program.num_timesteps
        final = []
        for basis in program.final_bases:
            turned = program.slots.with_basis(row[None], basis)[0]
            record = enumerate_records(bind(program, turned))
            for subset in products(program.cell.ansatz.num_memory, program.final_order):
                final.append(record.parity([first_final + qubit for qubit in subset]))
        # Any basis gives the same mid-circuit marginals: the last one's are at hand.
        readouts = [
            record.parity([a * timestep + index for index in subset])
            for timestep in range(program.num_timesteps)
            for subset in products(a, program.readout_order)
        ]
        return readouts + final


def small_program(ansatz, loop, steered="rotations", num_readouts=1, history=1, delay=0):
    """Two memory qubits, weak readouts of different Paulis, as many timesteps as it takes."""
    if loop == "host":
        return host_program(ansatz, num_memory=2, num_timesteps=2)
    readouts = (Readout("X", 1, 0.7), Readout("Y", 0, 1.2))[:num_readouts]
    cell = CellSpec(Ansatz(ansatz, 2), readouts, loop, steered, history, delay)
    return SequenceProgram(
        cell,
        # The first timestep that sees the whole history.
        num_timesteps=1 + history + delay,
        final_bases=("Z", "Y"),
        readout_order=num_readouts,
        final_order=2,
    )


CONFIGURATIONS = [
    ("feedforward", "rotations", 1, 1, 0),
    ("feedforward", "all", 1, 1, 0),
    ("feedforward", "rotations", 1, 2, 1),
    ("feedforward", "all", 2, 1, 0),
    ("open", "rotations", 1, 1, 1),
    ("host", "rotations", 0, 1, 0),
]


def autograd(program, controls, weights):
    """d(sum weights * features)/d controls; phi shared by all rows, summed in row 0."""
    variable = torch.from_numpy(controls.copy()).requires_grad_()
    (exact_features(program, variable) * torch.from_numpy(weights)).sum().backward()
    return variable.grad.numpy()


def split(program, gradient):
    """Gradients of the table, row by row, and of phi, summed over rows."""
    num_angles = program.num_table_angles
    return gradient[:, :num_angles], gradient[:, num_angles:].sum(axis=0)


def random_case(rng, program, batch):
    controls = controls_of(program, random_table(rng, program, batch))
    return controls, rng.normal(size=(batch, program.num_features))


# --- the evaluator that the tests below rest on --------------------------------------------------


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_the_slot_evaluator_equals_the_exact_engine(rng, configuration):
    program = small_program("sim14", *configuration)
    evaluator: Evaluator = EnumerationEvaluator(program)
    controls, _ = random_case(rng, program, 2)
    exact: Evaluator = ExactEvaluator(program)
    found, expected = evaluator.evaluate(controls), exact.evaluate(controls)
    np.testing.assert_allclose(found.value, expected.value, rtol=0, atol=1e-10)
    assert found.value.shape == (2, program.num_features)
    controls[:, 0] += 0.3
    assert np.abs(evaluator.evaluate(controls).value - expected.value).max() > 1e-3


# --- parameter shift -----------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_parameter_shift_equals_autograd(rng, ansatz, configuration):
    program = small_program(ansatz, *configuration)
    controls, weights = random_case(rng, program, 2 if program.num_timesteps == 2 else 1)
    shift = ParameterShift(EnumerationEvaluator(program))
    found = shift.linearise(controls, np.zeros_like(weights))(weights)
    assert found.shape == controls.shape
    table, strengths = split(program, found)
    exact_table, exact_strengths = split(program, autograd(program, controls, weights))
    np.testing.assert_allclose(table, exact_table, rtol=0, atol=LARGEST_DIFFERENCE)
    np.testing.assert_allclose(strengths, exact_strengths, rtol=0, atol=LARGEST_DIFFERENCE)
    # Every readout's phi matters, and an angle elsewhere changes the gradient visibly.
    assert program.cell.loop == "host" or np.abs(exact_strengths).min() > 1e-3
    moved = controls.copy()
    moved[:, 1] += 0.1
    assert np.abs(autograd(program, moved, weights) - found).max() > 1e-3


def test_parameter_shift_gives_each_row_its_own_phi(rng):
    """Rows may differ in phi: the circuit takes one per row."""
    program = small_program("brick", "feedforward")
    controls, weights = random_case(rng, program, 2)
    controls[1, -1] = 0.4
    shift = ParameterShift(EnumerationEvaluator(program))
    found = shift.linearise(controls, np.zeros_like(weights))(weights)
    for row in range(2):
        alone = autograd(program, controls[row : row + 1], weights[row : row + 1])
        np.testing.assert_allclose(found[row : row + 1], alone, rtol=0, atol=LARGEST_DIFFERENCE)


@pytest.mark.parametrize("num_last", [1, 2, 3])
@pytest.mark.parametrize("steered", ["rotations", "all"])
def test_last_timesteps_leave_out_the_earlier_ones(rng, steered, num_last):
    """Table entries of the last k timesteps are exact, all others 0.

    Of phi, which every timestep shares, only the part that acts in the last k timesteps is there:
    the derivative with respect to a phi that changes in those alone.
    """
    cell = CellSpec(Ansatz("brick", 2), (Readout("X", 1, 0.7),), "feedforward", steered)
    program = SequenceProgram(cell, num_timesteps=3)
    controls, weights = random_case(rng, program, 2)
    evaluator = EnumerationEvaluator(program)
    shift = ParameterShift(evaluator, last_timesteps=num_last)
    table, strengths = split(program, shift.linearise(controls, np.zeros_like(weights))(weights))
    exact_table, exact_strengths = split(program, autograd(program, controls, weights))
    table, exact_table = (array.reshape(2, *program.table_shape) for array in (table, exact_table))
    first = program.num_timesteps - num_last
    np.testing.assert_allclose(
        table[:, first:], exact_table[:, first:], rtol=0, atol=LARGEST_DIFFERENCE
    )
    assert not table[:, :first].any()
    if first:
        assert np.abs(exact_table[:, :first]).max() > 1e-3

    late = [
        index
        for index, slot in enumerate(program.slots.slots)
        if slot.role == "phi" and slot.timestep > first
    ]
    assert len(late) == num_last
    # A central difference with this step is good to about step^2 + 1e-16/step.
    step = 1e-5
    values = program.slots.values(controls)
    moved = {sign: values.copy() for sign in (1, -1)}
    for sign, rows in moved.items():
        rows[:, late] += sign * step
    difference = (
        evaluator.evaluate_slots(moved[1]).value - evaluator.evaluate_slots(moved[-1]).value
    )
    partial = (difference / (2 * step) * weights).sum()
    assert abs(strengths[0] - partial) < 1e-7
    if first:
        assert abs(strengths[0] - exact_strengths[0]) > 1e-3
    else:
        assert abs(strengths[0] - exact_strengths[0]) < LARGEST_DIFFERENCE


def test_parameter_shift_checks_its_number_of_timesteps():
    evaluator = EnumerationEvaluator(small_program("brick", "open"))
    with pytest.raises(InputError, match="last_timesteps: must be at least 1, got 0"):
        ParameterShift(evaluator, last_timesteps=0)


def test_parameter_shift_spends_two_rows_per_slot_whatever_the_size_of_requests(rng, monkeypatch):
    program = small_program("line", "feedforward")
    controls, weights = random_case(rng, program, 3)
    requests = []

    @dataclass(frozen=True)
    class Counting(EnumerationEvaluator):
        def evaluate_slots(self, slot_values):
            requests.append(len(slot_values))
            return super().evaluate_slots(slot_values)

    shift = ParameterShift(Counting(program))
    pull_back = shift.linearise(controls, np.zeros_like(weights))
    assert not requests
    whole = pull_back(weights)
    num_driven = sum(bool(slot.terms) for slot in program.slots.slots)
    assert requests == [2 * num_driven * 3]
    requests.clear()
    monkeypatch.setattr("qrnn_qiskit.estimation.gradients.ROWS_PER_REQUEST", 20)
    np.testing.assert_array_equal(pull_back(weights), whole)
    assert max(requests) <= 20
    assert sum(requests) == 2 * num_driven * 3


def test_parameter_shift_from_shots_is_within_its_shot_error(rng):
    """The whole Jacobian, one feature a row; each entry within 5 standard errors.

    num_shots = 500. The error of a shifted parity is sqrt((1 - z^2)/num_shots), z exact, plus
    one flipped shot; a slot's derivative is half the difference of two; controls add up slots.
    Wrong model: the Jacobian with the two outcomes of the table exchanged.
    """
    num_shots = 500
    cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0, 1.1),), "feedforward")
    program = SequenceProgram(cell, num_timesteps=2)
    controls = np.tile(controls_of(program, random_table(rng, program)), (program.num_features, 1))
    unit = np.eye(program.num_features)
    evaluator = ShotEvaluator(compile_logical(program), AerExecutor(), num_shots, SeedStream(1))
    found = ParameterShift(evaluator).linearise(controls, np.zeros_like(unit))(unit)
    expected = np.concatenate([autograd(program, controls[:1], row[None]) for row in unit])

    base = program.slots.values(controls[:1])[0]
    rows = np.concatenate([base + sign * np.eye(len(base)) * np.pi / 2 for sign in (1, -1)])
    shifted = EnumerationEvaluator(program).evaluate_slots(rows).value
    variance = (1 - shifted**2) / num_shots + (2 / num_shots) ** 2
    slot_variance = np.where(
        np.isin(np.arange(len(base)), program.slots.driven)[:, None],
        variance.reshape(2, len(base), -1).sum(axis=0) / 4,
        0.0,
    )
    errors = np.sqrt(slot_variance.T @ program.slots.matrix.toarray() ** 2)

    def largest_deviation(jacobian):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nanmax(np.abs(found - jacobian) / errors)

    assert largest_deviation(expected) < 5
    table = expected[:, :-1].reshape(-1, *program.table_shape)
    exchanged = np.concatenate((table[:, :, ::-1].reshape(len(unit), -1), expected[:, -1:]), axis=1)
    assert largest_deviation(exchanged) > 5


# --- surrogate -----------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_surrogate_is_autograd_where_features_are_exact(rng, configuration):
    program = small_program("sim14", *configuration)
    controls, weights = random_case(rng, program, 3)
    surrogate = Surrogate(program)
    features = ExactEvaluator(program).evaluate(controls).value
    pull_back = surrogate.linearise(controls, features)
    np.testing.assert_array_equal(pull_back(weights), autograd(program, controls, weights))
    # Once more, and for another gradient: a Jacobian is several products.
    np.testing.assert_array_equal(pull_back(2 * weights), autograd(program, controls, 2 * weights))
    assert set(surrogate.bias.damping) == {1.0}
    assert surrogate.bias.residual_rms == 0.0


PLANTED = np.array([0.9, 0.75, 0.6, 0.5])


def damped_batch(rng, program, batch, num_shots, planted=PLANTED):
    """Controls, exact features, damped noisy ones, the noise's deviation, groups of features."""
    controls, _ = random_case(rng, program, batch)
    exact = ExactEvaluator(program).evaluate(controls).value
    # Timestep 1, timestep 2, basis Z, basis Y; three readout and three final parities each.
    groups = np.repeat(np.arange(4), 3)
    mean = planted[groups] * exact
    deviation = np.sqrt((1 - mean**2) / num_shots)
    return controls, exact, mean + deviation * rng.normal(size=mean.shape), deviation, groups


def test_damping_of_each_timestep_and_basis_is_recovered(rng):
    """num_shots = 2000 in 8 batches of 20; wrong model: no damping.

    The fit weights batches with 0.9^age, so that the error of a factor is
    sqrt(sum 0.9^(2 age) sigma^2 e^2)/sum(0.9^age e^2), e the exact features; its one
    pseudo-observation of no damping adds a known bias.
    """
    num_shots, num_batches = 2000, 8
    program = small_program("brick", "feedforward", "all", 2)
    surrogate = Surrogate(program)
    assert surrogate.bias.damping == (1.0,) * 4
    assert np.isnan(surrogate.bias.residual_rms)
    squared, noise = np.zeros(4), np.zeros(4)
    for _ in range(num_batches):
        controls, exact, measured, deviation, groups = damped_batch(rng, program, 20, num_shots)
        pull_back = surrogate.linearise(controls, measured)
        squared = 0.9 * squared + np.bincount(groups, (exact**2).sum(axis=0))
        noise = 0.81 * noise + np.bincount(groups, (deviation**2 * exact**2).sum(axis=0))
    errors = np.sqrt(noise) / (squared + 1)
    expected = (PLANTED * squared + 1) / (squared + 1)
    fitted = np.array(surrogate.bias.damping)
    assert (np.abs(fitted - expected) < 5 * errors).all()
    assert (np.abs(fitted - 1) > 5 * errors).all()
    assert np.abs(expected - PLANTED).max() < 0.05

    # What is left is shot noise: a mean of N squares has relative deviation sqrt(2/N). The bias
    # of the pseudo-observation adds to it.
    left = np.sqrt(np.mean(deviation**2 + ((fitted - PLANTED)[groups] * exact) ** 2))
    assert abs(surrogate.bias.residual_rms / left - 1) < 5 * np.sqrt(0.5 / exact.size)
    undamped = np.sqrt(np.mean((measured - exact) ** 2))
    assert abs(undamped / left - 1) > 5 * np.sqrt(0.5 / exact.size)

    weights = rng.normal(size=measured.shape)
    damped = autograd(program, controls, weights * fitted[groups])
    np.testing.assert_allclose(pull_back(weights), damped, rtol=0, atol=1e-12)
    assert np.abs(damped - autograd(program, controls, weights)).max() > 1e-2


def test_surrogate_forgets_old_batches(rng):
    """After 40 batches at another damping the old one weighs 0.9^40 = 1.5%."""
    program = small_program("brick", "feedforward", "all", 2)
    surrogate = Surrogate(program)
    for _ in range(5):
        controls, _, measured, _, _ = damped_batch(rng, program, 20, 10**6)
        surrogate.linearise(controls, measured)
    for _ in range(40):
        controls, _, measured, _, _ = damped_batch(rng, program, 20, 10**6, planted=np.ones(4))
        surrogate.linearise(controls, measured)
    # Shots are plenty: what differs from 1 is the old damping, 0.5 at most.
    assert min(surrogate.bias.damping) > 1 - 0.015 * 0.5 * 2
    assert min(surrogate.bias.damping) < 1


def test_surrogate_state_round_trip(rng):
    program = small_program("brick", "feedforward", "all", 2)
    first, second = Surrogate(program), Surrogate(program)
    second.load_state_dict(first.state_dict())
    assert second.bias.damping == (1.0,) * 4
    batches = [damped_batch(rng, program, 4, 200) for _ in range(3)]
    for controls, _, measured, _, _ in batches[:2]:
        first.linearise(controls, measured)
    second.load_state_dict(first.state_dict())
    assert second.bias == first.bias
    controls, _, measured, _, _ = batches[2]
    weights = rng.normal(size=measured.shape)
    resumed = second.linearise(controls, measured)(weights)
    np.testing.assert_array_equal(resumed, first.linearise(controls, measured)(weights))
    assert second.bias == first.bias
    fresh = Surrogate(program).linearise(controls, measured)(weights)
    assert np.abs(fresh - resumed).max() > 1e-4


def test_surrogate_refuses_rows_that_differ_in_phi(rng):
    """The exact engine would run all of them at the first row's."""
    program = small_program("brick", "feedforward")
    controls, _ = random_case(rng, program, 2)
    controls[1, -1] += 0.1
    with pytest.raises(InputError, match="controls: must hold the same phi in every row"):
        Surrogate(program).linearise(controls, np.zeros((2, program.num_features)))


# --- SPSA ----------------------------------------------------------------------------------------


def test_spsa_is_unbiased(rng):
    """600 rows of two directions each: the mean is autograd within 5 of its standard errors.

    Exact features, so the scatter is that of the directions. The radius of 0.01 leaves a bias of
    order 1e-4, far below the error of about 0.03. Wrong model: twice the gradient.
    """
    num_rows = 600
    cell = CellSpec(Ansatz("line", 2), (Readout("X", 0, 1.0),), "open")
    program = SequenceProgram(cell, num_timesteps=1)
    controls, weights = random_case(rng, program, 1)
    rows, row_weights = np.tile(controls, (num_rows, 1)), np.tile(weights, (num_rows, 1))
    spsa = Spsa(EnumerationEvaluator(program), num_directions=2, radius_rad=0.01)
    estimates = spsa.linearise(rows, np.zeros_like(row_weights))(row_weights)
    mean = estimates.mean(axis=0)
    errors = estimates.std(axis=0, ddof=1) / np.sqrt(num_rows)
    exact = autograd(program, controls, weights)[0]
    assert (np.abs(mean - exact) < 5 * errors).all()
    assert (np.abs(mean - 2 * exact) > 5 * errors).any()
    assert (errors > 0).all()


def test_spsa_directions_follow_from_the_seeds(rng):
    program = small_program("brick", "open")
    controls, weights = random_case(rng, program, 2)

    def two_products(seeds):
        spsa = Spsa(EnumerationEvaluator(program), num_directions=2, seeds=seeds)
        pull_back = spsa.linearise(controls, np.zeros_like(weights))
        return pull_back(weights), pull_back(weights)

    first, second = two_products(SeedStream(3))
    again, _ = two_products(SeedStream(3))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1e-3
    assert np.abs(first - two_products(SeedStream(4))[0]).max() > 1e-3
    # A stream that is restored goes on where it was.
    np.testing.assert_array_equal(two_products(SeedStream(3, position=1))[0], second)
    # Rows of a batch have directions of their own.
    same = np.tile(controls[:1], (2, 1)), np.tile(weights[:1], (2, 1))
    spsa = Spsa(EnumerationEvaluator(program), num_directions=1)
    one, other = spsa.linearise(same[0], np.zeros_like(weights))(same[1])
    assert np.abs(one - other).max() > 1e-3


def test_spsa_checks_its_numbers():
    evaluator = EnumerationEvaluator(small_program("brick", "open"))
    with pytest.raises(InputError, match="num_directions: must be at least 1, got 0"):
        Spsa(evaluator, num_directions=0)
    with pytest.raises(InputError, match=r"radius_rad: must be positive, got -0.1"):
        Spsa(evaluator, radius_rad=-0.1)
