"""Features from shots: their order, their errors, their seeds, and readout error taken out.

Statistical tests: num_shots = 2000 unless they say otherwise. A parity with exact value z has
standard error sqrt((1 - z^2)/num_shots); two flipped shots are conceded on top, since the tails
of a rare outcome are heavier than a normal distribution's. Every tolerance is five of these.
"""

from itertools import combinations

import numpy as np
import pytest

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.devices import DeviceNoise, QubitNoise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import (
    ExactEvaluator,
    ReadoutCalibration,
    ShotEvaluator,
    run_calibration,
)
from qrnn_qiskit.execution import AerExecutor, ScriptedExecutor, SeedStream
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import bind, controls_of, host_program, random_table
from tests.reference.branch_enumeration import enumerate_records

NUM_SHOTS = 2000


def shot_errors(exact, num_shots):
    return np.sqrt(np.clip(1 - exact**2, 0, 1) / num_shots) + 2 / num_shots


def shots_behind(program, num_shots=NUM_SHOTS):
    """Shots of each feature: those of all bases for a readout, of its own for a final parity."""
    num_readouts = program.num_timesteps * program.readout_parities.size
    is_readout = np.arange(program.num_features) < num_readouts
    return np.where(is_readout, num_shots * len(program.final_bases), num_shots)


def two_readouts(loop, num_timesteps=2, **options):
    readouts = (Readout("X", 1, 1.2), Readout("Z", 0))
    cell = CellSpec(Ansatz("brick", 2), readouts, loop, **options)
    return SequenceProgram(
        cell, num_timesteps, final_bases=("Z", "X"), readout_order=2, final_order=2
    )


PROGRAMS = {
    "feedforward": two_readouts("feedforward"),
    "feedforward, all, delayed": two_readouts(
        "feedforward", num_timesteps=3, steered="all", feedback_delay=1
    ),
    "open": two_readouts("open"),
    "host": host_program("sim14", num_memory=2, num_timesteps=2),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_features_and_their_order_are_those_of_the_exact_engine(rng, name):
    """Wrong models: features one place further, and the next sample's."""
    program = PROGRAMS[name]
    controls = controls_of(program, random_table(rng, program, batch=2))
    exact = ExactEvaluator(program).evaluate(controls)
    assert not exact.standard_error.any()
    evaluator = ShotEvaluator(compile_logical(program), AerExecutor(), NUM_SHOTS, SeedStream(5))
    found = evaluator.evaluate(controls)
    assert found.mitigation == "none"
    assert found.value.shape == found.standard_error.shape == (2, program.num_features)

    def largest_deviation(expected):
        return np.abs((found.value - expected) / shot_errors(expected, shots_behind(program))).max()

    assert largest_deviation(exact.value) < 5
    assert largest_deviation(np.roll(exact.value, 1, axis=1)) > 5
    assert largest_deviation(np.roll(exact.value, 1, axis=0)) > 5


@pytest.mark.parametrize("name", ["feedforward", "host"])
def test_standard_errors_are_those_of_the_shots_behind_each_feature(rng, name):
    """N se^2 estimates 1 - z^2: off by 2|z| sqrt((1 - z^2)/N) + 1/N, five of which are allowed.

    Readouts have the shots of every basis. Wrong model: those of one.
    """
    program = PROGRAMS[name]
    controls = controls_of(program, random_table(rng, program, batch=2))
    exact = ExactEvaluator(program).evaluate(controls).value
    evaluator = ShotEvaluator(compile_logical(program), AerExecutor(), NUM_SHOTS, SeedStream(6))
    found = evaluator.evaluate(controls).standard_error

    def largest_deviation(num_shots):
        spread = 2 * np.abs(exact) * np.sqrt((1 - exact**2) / num_shots) + 5 / num_shots
        return np.abs((num_shots * found**2 - (1 - exact**2)) / spread).max()

    assert largest_deviation(shots_behind(program)) < 5
    if name != "host":
        assert largest_deviation(np.full(program.num_features, NUM_SHOTS)) > 5


def test_each_basis_is_a_block_of_rows_and_each_call_draws_a_seed(rng):
    program = PROGRAMS["feedforward"]
    values = program.slots.values(controls_of(program, random_table(rng, program, batch=3)))
    executor = ScriptedExecutor()
    evaluator = ShotEvaluator(compile_logical(program), executor, 7, SeedStream(9))
    evaluator.evaluate_slots(values)
    evaluator.evaluate_slots(values)
    expected = SeedStream(9)
    assert [request.seed for request in executor.requests] == [expected.draw(), expected.draw()]
    assert executor.requests[0].seed != executor.requests[1].seed
    for request in executor.requests:
        assert request.num_shots == 7
        for block, basis in enumerate(program.final_bases):
            rows = request.slot_values[3 * block : 3 * (block + 1)]
            np.testing.assert_array_equal(rows, program.slots.with_basis(values, basis))


def test_evaluators_of_their_own_do_not_share_seeds():
    compiled = compile_logical(PROGRAMS["open"])
    first, second = (ShotEvaluator(compiled, ScriptedExecutor(), 2) for _ in range(2))
    first.seeds.draw()
    assert second.seeds.position == 0


def test_readouts_pool_all_bases_and_final_parities_do_not():
    """Planted records: readout 0 reads 1 in a quarter of basis Z's shots, in none of basis X's."""
    program = PROGRAMS["feedforward"]
    executor = ScriptedExecutor(script=_quarter_in_the_first_block)
    evaluator = ShotEvaluator(compile_logical(program), executor, num_shots=8)
    found = evaluator.evaluate_slots(np.zeros((1, program.slots.num_slots)))
    # Timesteps 1 and 2: readouts 0, 1 and their product; then the final parities of Z and X.
    expected = [0.75, 1, 0.75, 1, 1, 1, 0.5, 1, 0.5, 1, 1, 1]
    assert found.value[0].tolist() == expected
    # 14 times +1 and twice -1: variance 7/16 * 16/15.
    assert found.standard_error[0, 0] == pytest.approx(np.sqrt(7 / 15 / 16))
    # 6 times +1 and twice -1: variance 3/4 * 8/7.
    assert found.standard_error[0, 6] == pytest.approx(np.sqrt(6 / 7 / 8))


def _quarter_in_the_first_block(request):
    program = request.compiled.program
    bits = np.zeros((request.num_rows, request.num_shots, program.num_bits), np.uint8)
    first_final = program.cell.num_readouts * program.num_timesteps
    bits[0, :2, 0] = 1
    bits[0, :2, first_final] = 1
    return bits


def test_the_error_of_a_calibration_does_not_average_out_over_bases(rng):
    """All bases are corrected with the same rates: more of them do not make those better known."""
    program = PROGRAMS["feedforward"]
    rate, rate_error = np.full(program.num_bits, 0.1), np.full(program.num_bits, 0.05)
    calibration = ReadoutCalibration(rate, rate, rate_error, rate_error, num_shots=36)
    executor = ScriptedExecutor(
        script=lambda request: rng.integers(
            2, size=(request.num_rows, request.num_shots, program.num_bits), dtype=np.uint8
        )
    )
    evaluator = ShotEvaluator(
        compile_logical(program), executor, 1000, mitigation="local", calibration=calibration
    )
    found = evaluator.evaluate_slots(np.zeros((1, program.slots.num_slots)))
    # dz/de0 = (z + 1)/0.8, dz/de1 = (z - 1)/0.8, see estimation/outcomes.
    z = found.value[0, 0]
    calibration_error = 0.05 / 0.8 * np.hypot(z + 1, z - 1)
    shot_error = 1 / 0.8 / np.sqrt(2000)
    assert found.standard_error[0, 0] == pytest.approx(
        np.hypot(calibration_error, shot_error), rel=0.01
    )


# --- readout error -------------------------------------------------------------------------------

# P(1|0), P(0|1) of the circuit's qubits: memory 0 and 1, readouts 0 and 1.
PLANTED = ((0.02, 0.06), (0.05, 0.03), (0.08, 0.14), (0.04, 0.11))
CONFUSION = {
    qubit: np.array([[1 - e0, e1], [e0, 1 - e1]]) for qubit, (e0, e1) in enumerate(PLANTED)
}


def planted_executor():
    qubits = tuple(QubitNoise(e0, e1) for e0, e1 in PLANTED)
    return AerExecutor(DeviceNoise("planted", qubits, gates=()))


def enumerated(program, controls, confusion, corrected):
    """Features of circuits with misread bits, the branches they steer into included.

    With `corrected`, every register's marginal is multiplied by the inverse confusion.
    """
    values = program.slots.values(controls)
    return np.array([_enumerated_row(program, row, confusion, corrected) for row in values])


def _enumerated_row(program, row, confusion, corrected):
    a, n = program.cell.num_readouts, program.cell.ansatz.num_memory
    readout_features, final_features = [], []
    for basis in program.final_bases:
        turned = program.slots.with_basis(row[None], basis)[0]
        record = enumerate_records(bind(program, turned), readout_confusion=confusion)
        registers = [(range(a * t, a * (t + 1)), range(n, n + a)) for t in range(2)]
        registers.append((range(2 * a, 2 * a + n), range(n)))
        features = []
        for bits, qubits in registers:
            distribution = record.marginal(bits)
            if corrected:
                matrix = np.ones((1, 1))
                for qubit in qubits:
                    matrix = np.kron(CONFUSION[qubit], matrix)
                distribution = np.linalg.solve(matrix, distribution)
            features.append(_parities(distribution, len(bits)))
        readout_features, final_features = features[:-1], final_features + features[-1:]
    return np.concatenate(readout_features + final_features)


def _parities(distribution, num_bits):
    signs = [1 - 2 * ((np.arange(len(distribution)) >> bit) & 1) for bit in range(num_bits)]
    subsets = [(bit,) for bit in range(num_bits)] + list(combinations(range(num_bits), 2))
    return [distribution @ np.prod([signs[bit] for bit in subset], axis=0) for subset in subsets]


@pytest.mark.parametrize("loop", ["open", "feedforward"])
def test_mitigation_takes_out_a_planted_readout_error(rng, loop):
    """num_shots = 8000, calibration_shots = 8000; tolerance: 5 reported standard errors.

    Raw features are those of the circuit with misread bits; mitigated ones have the inverse of
    the planted error applied. In the open loop that is the circuit without error. In the
    feedforward loop it is not: a branch taken on a misread bit stays taken. Each expectation is
    the wrong model of the other.
    """
    program = two_readouts(loop)
    controls = controls_of(program, random_table(rng, program))
    executor, compiled = planted_executor(), compile_logical(program)
    calibration = run_calibration(executor, compiled, 8000, seed=1)
    evaluator = ShotEvaluator(compiled, executor, 8000, SeedStream(2), "local", calibration)
    bits = evaluator.run_bits(program.slots.values(controls))
    estimates = {name: evaluator.estimate_bits(bits, name) for name in ("none", "local", "m3")}
    assert {name: found.mitigation for name, found in estimates.items()} == {
        name: name for name in estimates
    }
    misread = enumerated(program, controls, CONFUSION, corrected=False)
    corrected = enumerated(program, controls, CONFUSION, corrected=True)
    ideal = ExactEvaluator(program).evaluate(controls).value

    def largest_deviation(name, expected):
        found = estimates[name]
        return np.abs((found.value - expected) / (found.standard_error + 2 / 8000)).max()

    assert largest_deviation("none", misread) < 5
    assert largest_deviation("none", corrected) > 5
    for name in ("local", "m3"):
        assert largest_deviation(name, corrected) < 5
        assert largest_deviation(name, misread) > 5
        assert (largest_deviation(name, ideal) < 5) == (loop == "open")
        # Mitigation costs variance.
        assert (estimates[name].standard_error > estimates["none"].standard_error).mean() > 0.9


def test_the_mitigation_of_the_evaluator_is_the_default(rng):
    program = two_readouts("open")
    controls = controls_of(program, random_table(rng, program))
    executor, compiled = planted_executor(), compile_logical(program)
    calibration = run_calibration(executor, compiled, 500)
    for name in ("none", "local", "m3"):
        evaluator = ShotEvaluator(compiled, executor, 100, SeedStream(2), name, calibration)
        found = evaluator.evaluate(controls)
        again = evaluator.estimate_bits(
            ShotEvaluator(compiled, executor, 100, SeedStream(2)).run_bits(
                program.slots.values(controls)
            ),
            name,
        )
        assert found.mitigation == name
        np.testing.assert_array_equal(found.value, again.value)
        np.testing.assert_array_equal(found.standard_error, again.standard_error)


def test_mitigation_needs_a_calibration():
    program = two_readouts("open")
    evaluator = ShotEvaluator(compile_logical(program), ScriptedExecutor(), 2, mitigation="m3")
    with pytest.raises(InputError, match="calibration: mitigation 'm3' needs one, got None"):
        evaluator.evaluate(np.zeros((1, program.num_controls)))


# --- the exact evaluator -------------------------------------------------------------------------


def test_exact_evaluator_refuses_what_the_exact_engine_cannot_do(rng):
    program = two_readouts("open")
    evaluator = ExactEvaluator(program)
    with pytest.raises(InputError, match="gradient: parameter_shift needs an executor"):
        evaluator.evaluate_slots(np.zeros((1, program.slots.num_slots)))
    controls = controls_of(program, random_table(rng, program, batch=2))
    controls[1, -1] -= 0.1
    with pytest.raises(InputError, match="controls: must hold the same phi in every row"):
        evaluator.evaluate(controls)
