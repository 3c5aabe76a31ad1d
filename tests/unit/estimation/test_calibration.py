"""Readout calibration recovers planted errors, qubit by qubit, and knows its own error."""

import numpy as np
import pytest

from qrnn_qiskit.analysis.splitting import split_submission
from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.devices import DeviceNoise, QubitNoise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import ReadoutCalibration, run_calibrated, run_calibration
from qrnn_qiskit.estimation.calibration import build_calibration_rows
from qrnn_qiskit.execution import AerExecutor, RunRequest, ScriptedExecutor
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import bind, host_program
from tests.reference.branch_enumeration import enumerate_records, pack_bits

# Two memory qubits, two banks of one readout qubit.
CELL = CellSpec(Ansatz("sim14", 2), (Readout("Y", 1, 0.7),), feedback_delay=1)
COMPILED = compile_logical(SequenceProgram(CELL, 4))
PLANTED = (
    QubitNoise(0.02, 0.10),
    QubitNoise(0.09, 0.03),
    QubitNoise(0.05, 0.22),
    QubitNoise(0.16, 0.01),
)


def planted_rates(bit_to_qubit):
    e0 = np.array([PLANTED[qubit].read_one_given_zero for qubit in bit_to_qubit])
    e1 = np.array([PLANTED[qubit].read_zero_given_one for qubit in bit_to_qubit])
    return e0, e1


def misreading_executor(rng, e0, e1):
    """Answers calibration requests: the prepared bits, each misread with its own rates."""

    def script(request):
        _, prepared = build_calibration_rows(request.compiled.program)
        wrong = rng.random((len(prepared), request.num_shots, len(e0)))
        flips = wrong < np.where(prepared[:, None] == 1, e1, e0)
        return (prepared[:, None] ^ flips).astype(np.uint8)

    return ScriptedExecutor(script)


@pytest.mark.parametrize(
    "program",
    [
        COMPILED.program,
        SequenceProgram(CellSpec(Ansatz("line", 3), (Readout("Z", 0), Readout("X", 2))), 3),
        host_program("brick"),
    ],
    ids=["delay", "two readouts", "host"],
)
def test_rows_prepare_the_expected_bits(program):
    values, expected = build_calibration_rows(program)
    assert expected.shape == (4, program.num_bits)
    for row in range(4):
        record = enumerate_records(bind(program, values[row])).distribution
        assert abs(record[pack_bits(expected[row])] - 1) < 1e-12
    # Each bit in both states, and next to neighbours that are equal and that are not.
    assert (expected.sum(axis=0) == 2).all()
    np.testing.assert_array_equal(expected[0] + expected[1], np.ones(program.num_bits))
    np.testing.assert_array_equal(expected[2] + expected[3], np.ones(program.num_bits))


def test_planted_errors_are_recovered_through_aer():
    """num_shots = 2000 a row, so 4 rows; five standard errors of a binomial rate."""
    executor = AerExecutor(DeviceNoise("planted", PLANTED, ()), max_threads=1)
    calibration = run_calibration(executor, COMPILED, num_shots=2000, seed=3)
    e0, e1 = planted_rates(COMPILED.bit_to_qubit)

    def largest_deviation(e0, e1):
        return max(
            np.max(np.abs(calibration.e0 - e0) / calibration.e0_error),
            np.max(np.abs(calibration.e1 - e1) / calibration.e1_error),
        )

    assert largest_deviation(e0, e1) < 5
    assert largest_deviation(e1, e0) > 5
    other_banks = [{2: 3, 3: 2}.get(qubit, qubit) for qubit in COMPILED.bit_to_qubit]
    assert largest_deviation(*planted_rates(other_banks)) > 5


def test_rows_and_their_calibration_are_one_request(rng):
    """Each of the four rows 5 times 500 shots; five standard errors of a binomial rate."""
    aer = AerExecutor(DeviceNoise("planted", PLANTED, ()), max_threads=1)
    executor = ScriptedExecutor(lambda request: aer.run(request).bits)
    values = rng.uniform(-1, 1, (3, COMPILED.program.slots.num_slots))
    result, calibration = run_calibrated(executor, RunRequest(COMPILED, values, 500, 3), 2400)
    (request,) = executor.requests
    assert (request.num_rows, request.num_shots, request.seed) == (23, 500, 3)
    # The rows asked for come back, in order: three among five times four.
    places = [8, 13, 22]
    np.testing.assert_array_equal(result.bits, aer.run(request).bits[places])
    np.testing.assert_array_equal(request.slot_values[places], values)
    assert calibration.num_shots == 2500
    assert calibration.measured_at == result.measured_at
    e0, e1 = planted_rates(COMPILED.bit_to_qubit)
    assert (np.abs(calibration.e0 - e0) < 5 * calibration.e0_error).all()
    assert (np.abs(calibration.e1 - e1) < 5 * calibration.e1_error).all()
    assert (np.abs(calibration.e0 - e1) > 5 * calibration.e0_error).any()
    again = ReadoutCalibration.from_arrays(calibration.to_arrays())
    np.testing.assert_array_equal(again.e1_error, calibration.e1_error)
    assert (again.num_shots, again.measured_at) == (2500, calibration.measured_at)


@pytest.mark.parametrize("num_jobs", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("num_rows", [40, 41, 97])
def test_every_job_of_a_request_holds_its_own_calibration(rng, num_rows, num_jobs):
    """Each job misreads at a rate of its own; 500 shots, five times; five standard errors."""
    errors = np.linspace(0, 0.2, num_jobs)
    four, prepared = build_calibration_rows(COMPILED.program)
    shares = np.zeros((num_jobs, 4), dtype=int)

    def run(request):
        most = -(-request.num_rows // num_jobs)
        jobs = split_submission(
            request.num_rows, 500, max_rows=most, max_shots=500, max_executions=500 * most
        )
        job = np.repeat(np.arange(num_jobs), [each.num_rows for each in jobs])
        is_one = (request.slot_values[:, None] == four).all(axis=2)
        np.add.at(shares, job, is_one)
        wrong = rng.random((request.num_rows, 500, prepared.shape[1])) < errors[job][:, None, None]
        return (is_one @ prepared)[:, None].astype(np.uint8) ^ wrong

    values = rng.uniform(-1, 1, (num_rows, COMPILED.program.slots.num_slots))
    request = RunRequest(COMPILED, values, 500)
    _, calibration = run_calibrated(ScriptedExecutor(run), request, calibration_shots=2500)
    assert shares.min() >= 1
    np.testing.assert_array_equal(shares.sum(axis=0), [5, 5, 5, 5])
    rates = errors @ shares / 5
    for found, error in (
        (calibration.e0, calibration.e0_error),
        (calibration.e1, calibration.e1_error),
    ):
        assert (found > rates.min() - 5 * error).all()
        assert (found < rates.max() + 5 * error).all()


def test_bits_of_one_qubit_share_one_estimate(rng):
    rates = planted_rates(COMPILED.bit_to_qubit)
    calibration = run_calibration(misreading_executor(rng, *rates), COMPILED, num_shots=100)
    for values in (calibration.e0, calibration.e1, calibration.e0_error, calibration.e1_error):
        # Timesteps 1 and 3 use bank 0, 2 and 4 bank 1.
        assert values[0] == values[2]
        assert values[1] == values[3]
        assert len(set(values[[0, 1, 4, 5]])) == 4


def test_the_request_is_the_one_that_was_declared(rng):
    executor = misreading_executor(rng, *planted_rates(COMPILED.bit_to_qubit))
    calibration = run_calibration(executor, COMPILED, num_shots=60, seed=17)
    (request,) = executor.requests
    assert (request.num_rows, request.num_shots, request.seed) == (4, 60, 17)
    assert calibration.num_shots == 60


def test_standard_errors_are_the_empirical_spread(rng):
    """num_shots = 200 in each of 400 calibrations; a spread is known to 1/sqrt(2 * 399)."""
    e0, e1 = planted_rates(COMPILED.bit_to_qubit)
    executor = misreading_executor(rng, e0, e1)
    drawn = [run_calibration(executor, COMPILED, num_shots=200) for _ in range(400)]
    tolerance = 5 / np.sqrt(2 * 399)
    for name in ("e0", "e1"):
        spread = np.std([getattr(each, name) for each in drawn], axis=0, ddof=1)
        claimed = np.mean([getattr(each, f"{name}_error") for each in drawn], axis=0)
        # Four of the six bits share their estimate with another bit, the memory's do not.
        assert (np.abs(spread / claimed - 1) < tolerance).all()
        one_bit_only = claimed * np.array([np.sqrt(2)] * 4 + [1, 1])
        assert (np.abs(spread / one_bit_only - 1) > tolerance)[:4].all()


def test_no_error_seen_is_no_certainty():
    """Agresti and Coull: as if there were two wrong and two right shots more."""
    calibration = run_calibration(AerExecutor(max_threads=1), COMPILED, num_shots=10)
    assert not calibration.e0.any()
    # The memory's bits are prepared in 0 in two rows of ten shots: 2 of 24.
    assert calibration.e0_error[-1] == pytest.approx(np.sqrt(2 / 24 * 22 / 24 / 24), rel=1e-12)


def test_matrix_columns_are_prepared_states():
    calibration = calibration_of([0.1], [0.3])
    np.testing.assert_allclose(calibration.matrix(0), [[0.9, 0.3], [0.1, 0.7]])
    np.testing.assert_allclose(calibration.contrast, [0.6])


def calibration_of(e0, e1):
    zeros = np.zeros(len(e0))
    return ReadoutCalibration(np.array(e0), np.array(e1), zeros, zeros, num_shots=100)


def test_useless_or_impossible_rates_are_refused():
    with pytest.raises(InputError, match=r"bit 1 has 0\.600 \+ 0\.400; its qubit reads nothing"):
        calibration_of([0.1, 0.6], [0.1, 0.4])
    with pytest.raises(InputError, match="e0: must be probabilities"):
        calibration_of([-0.1], [0.1])
    with pytest.raises(InputError, match="e1: must be probabilities"):
        calibration_of([0.1], [1.1])
