"""Estimates of parities from sampled bits: bias, standard errors, and what is refused."""

import numpy as np
import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import OutcomeEstimate, ReadoutCalibration, estimate_sequence
from qrnn_qiskit.program import Ansatz, CellSpec, ParitySet, Readout, SequenceProgram

# One timestep of two readouts, three memory qubits, correlators of two bits.
CELL = CellSpec(Ansatz("brick", 3), (Readout("Z", 0), Readout("Z", 2)))
PROGRAM = SequenceProgram(CELL, 1, readout_order=2, final_order=2)
E0 = np.array([0.02, 0.12, 0.05, 0.15, 0.08])
E1 = np.array([0.15, 0.06, 0.20, 0.03, 0.14])
NUM_ROWS, NUM_SHOTS = 400, 500
SIGMAS = 5.0
# Relative error of a standard deviation over NUM_ROWS normal draws, times five.
SPREAD_TOLERANCE = SIGMAS / np.sqrt(2 * (NUM_ROWS - 1))


def calibration_of(e0, e1, e0_error=None, e1_error=None):
    zeros = np.zeros(len(e0))
    e0_error = zeros if e0_error is None else e0_error
    e1_error = zeros if e1_error is None else e1_error
    return ReadoutCalibration(e0, e1, e0_error, e1_error, num_shots=1000)


EXACT = calibration_of(E0, E1)


def misread(rng, bits, e0=E0, e1=E1):
    flips = rng.random(bits.shape) < np.where(bits == 1, e1, e0)
    return (bits ^ flips).astype(np.uint8)


@pytest.fixture(scope="module")
def planted():
    """A random joint distribution of the five bits, its parities, and misread samples of it."""
    rng = np.random.default_rng(82)
    # Drawn for a correlation between the readouts, which is asserted below.
    # Mostly a few records, so that bits are biased and correlated; a little of every record.
    distribution = 0.75 * rng.dirichlet(np.full(32, 0.2)) + 0.25 / 32
    records = rng.choice(32, size=(NUM_ROWS, NUM_SHOTS), p=distribution)
    bits = (records[:, :, None] >> np.arange(5)) & 1
    joint = distribution.reshape(8, 4)
    readouts = joint.sum(axis=0) @ ParitySet(2, 2).signs
    final = joint.sum(axis=1) @ ParitySet(3, 2).signs
    assert np.abs(readouts[2] - readouts[0] * readouts[1]) > 0.1, "the readouts are correlated"
    return misread(rng, bits), np.concatenate((readouts, final))


def flat(estimate):
    """Values and standard errors of the only timestep and the final measurement, (rows, 3 + 6)."""
    pairs = (estimate.readouts, estimate.final)
    values = [pair.value.reshape(len(pair.value), -1) for pair in pairs]
    errors = [pair.standard_error.reshape(len(pair.value), -1) for pair in pairs]
    return np.concatenate(values, axis=1), np.concatenate(errors, axis=1)


@pytest.fixture(scope="module", params=["local", "m3"])
def mitigated(request, planted):
    bits, exact = planted
    return request.param, *flat(estimate_sequence(PROGRAM, bits, request.param, EXACT)), exact


def largest_deviation(values, exact):
    """Deviation of the mean over rows, in its standard errors; worst over parities."""
    standard_error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return np.max(np.abs(values.mean(axis=0) - exact) / standard_error)


def test_mitigated_parities_are_unbiased(mitigated):
    """num_shots = 500 in 400 rows; singles and correlators, readouts and final bits."""
    _, values, _, exact = mitigated
    assert largest_deviation(values, exact) < SIGMAS


def test_raw_parities_and_wrong_calibrations_are_biased(planted):
    """num_shots = 500 in 400 rows: what the test above must reject."""
    bits, exact = planted
    raw, _ = flat(estimate_sequence(PROGRAM, bits))
    assert largest_deviation(raw, exact) > SIGMAS
    order = np.array([1, 0, 4, 3, 2])
    wrong = {"exchanged": calibration_of(E1, E0), "reversed": calibration_of(E0[order], E1[order])}
    for mitigation in ("local", "m3"):
        for calibration in wrong.values():
            values, _ = flat(estimate_sequence(PROGRAM, bits[:100], mitigation, calibration))
            assert largest_deviation(values, exact) > SIGMAS


def test_standard_errors_are_the_empirical_spread(mitigated):
    """num_shots = 500 in 400 rows."""
    _, values, errors, _ = mitigated
    spread = values.std(axis=0, ddof=1)
    claimed = np.sqrt((errors**2).mean(axis=0))
    assert np.max(np.abs(spread / claimed - 1)) < SPREAD_TOLERANCE
    # Errors of raw bits are too small by the contrast.
    assert np.max(np.abs(spread / (claimed * EXACT.contrast.max()) - 1)) > SPREAD_TOLERANCE


def test_raw_standard_errors_are_the_empirical_spread(planted):
    """num_shots = 500 in 400 rows."""
    values, errors = flat(estimate_sequence(PROGRAM, planted[0]))
    spread = values.std(axis=0, ddof=1)
    claimed = np.sqrt((errors**2).mean(axis=0))
    assert np.max(np.abs(spread / claimed - 1)) < SPREAD_TOLERANCE
    assert np.max(np.abs(spread / (claimed / np.sqrt(2)) - 1)) > SPREAD_TOLERANCE


def test_local_and_m3_agree_where_every_outcome_was_seen(planted):
    """M3 on complete counts inverts the same matrix; only n against n - 1 differs."""
    bits = planted[0][:20]
    assert all(len(np.unique(row[:, 2:] @ [1, 2, 4])) == 8 for row in bits)
    local, local_error = flat(estimate_sequence(PROGRAM, bits, "local", EXACT))
    m3, m3_error = flat(estimate_sequence(PROGRAM, bits, "m3", EXACT))
    # mthree works in single precision.
    np.testing.assert_allclose(m3, local, rtol=0, atol=1e-5)
    np.testing.assert_allclose(m3_error, local_error * np.sqrt(1 - 1 / NUM_SHOTS), rtol=1e-4)


def test_m3_corrects_each_bit_with_its_own_matrix():
    """Known bits, exact frequencies: only bit 0 of a timestep is misread, and only as a one."""
    e0, e1 = np.array([0.25, 0, 0, 0, 0]), np.array([0.0, 0, 0, 0.5, 0])
    bits = np.zeros((1, 8, 5), np.uint8)
    bits[0, :2, 0] = 1  # a quarter of the zeros of readout 0
    bits[0, :, 3] = [1, 0] * 4  # half of the ones of memory qubit 1
    values, _ = flat(estimate_sequence(PROGRAM, bits, "m3", calibration_of(e0, e1)))
    singles = values[0, [0, 1, 3, 4, 5]]
    np.testing.assert_allclose(singles, [1, 1, 1, -1, 1], rtol=0, atol=1e-5)
    values, _ = flat(estimate_sequence(PROGRAM, bits, "local", calibration_of(e0, e1)))
    np.testing.assert_allclose(values[0, [0, 1, 3, 4, 5]], singles, rtol=0, atol=1e-5)


NUM_CALIBRATIONS, NUM_CALIBRATION_SHOTS = 200, 300


@pytest.mark.parametrize("state", ["zeros", "random"])
@pytest.mark.parametrize("mitigation", ["local", "m3"])
def test_errors_of_the_calibration_are_propagated(rng, mitigation, state):
    """The same 2000 shots, mitigated with 200 drawn calibrations of 300 shots a state."""
    true = np.zeros((1, 2000, 5), int)
    if state == "random":
        true = (rng.random(true.shape) < [0.3, 0.6, 0.2, 0.8, 0.5]).astype(int)
    bits = misread(rng, true)
    _, shot_error = flat(estimate_sequence(PROGRAM, bits, mitigation, EXACT))
    values, claimed = [], []
    for _ in range(NUM_CALIBRATIONS):
        e0, e1 = (rng.binomial(NUM_CALIBRATION_SHOTS, e) / NUM_CALIBRATION_SHOTS for e in (E0, E1))
        errors = (np.sqrt(e * (1 - e) / NUM_CALIBRATION_SHOTS) for e in (e0, e1))
        drawn = calibration_of(e0, e1, *errors)
        value, error = flat(estimate_sequence(PROGRAM, bits, mitigation, drawn))
        _, without = flat(estimate_sequence(PROGRAM, bits, mitigation, calibration_of(e0, e1)))
        values.append(value[0])
        claimed.append(error[0] ** 2 - without[0] ** 2)
    spread = np.std(values, axis=0, ddof=1)
    claimed = np.sqrt(np.mean(claimed, axis=0))
    tolerance = SIGMAS / np.sqrt(2 * (NUM_CALIBRATIONS - 1))
    assert np.max(np.abs(spread / claimed - 1)) < tolerance
    # Neglecting it would claim the shot noise alone.
    assert np.max(np.hypot(spread, shot_error[0]) / shot_error[0] - 1) > tolerance


@pytest.mark.parametrize("num_shots", [1, 20])
def test_equal_shots_are_no_certainty(num_shots):
    """One opposite outcome in num_shots + 2 is conceded, as large as mitigation makes it."""
    bits = np.zeros((2, num_shots, 5), np.uint8)
    floor = 2 / np.sqrt(num_shots + 2) / np.sqrt(num_shots)
    _, errors = flat(estimate_sequence(PROGRAM, bits))
    np.testing.assert_allclose(errors, floor, rtol=1e-12)
    subsets = [*ParitySet(2, 2).subsets, *(tuple(2 + np.array(s)) for s in ParitySet(3, 2).subsets)]
    scaled = [floor / EXACT.contrast[list(subset)].prod() for subset in subsets]
    for mitigation in ("local", "m3"):
        _, errors = flat(estimate_sequence(PROGRAM, bits, mitigation, EXACT))
        np.testing.assert_allclose(errors, [scaled] * 2, rtol=1e-6)


@pytest.mark.parametrize("mitigation", ["none", "local", "m3"])
def test_a_constant_bit_beside_a_random_one_is_no_certainty(rng, mitigation):
    """The floor belongs to each parity: readout 0 is always 0 here, readout 1 is not."""
    bits = np.zeros((1, 50, 5), np.uint8)
    bits[0, :25, 1] = 1
    _, errors = flat(estimate_sequence(PROGRAM, bits, mitigation, EXACT))
    floor = 2 / np.sqrt(52) / np.sqrt(50)
    assert errors[0, 0] >= floor * (1 - 1e-9)
    # And the random bit's error is that of a fair coin over 50 shots, or larger.
    assert errors[0, 1] >= 1 / np.sqrt(50) * (1 - 1e-9)


def test_every_timestep_is_corrected_with_its_own_bits():
    """num_shots irrelevant: exact frequencies. Two banks, one of them misread."""
    cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0),), feedback_delay=1)
    program = SequenceProgram(cell, 3)
    e0 = np.array([0.25, 0, 0.25, 0, 0])
    bits = np.zeros((1, 4, 5), np.uint8)
    bits[0, 0, :3] = 1
    for mitigation in ("local", "m3"):
        calibration = calibration_of(e0, np.zeros(5))
        estimate = estimate_sequence(program, bits, mitigation, calibration)
        values = estimate.readouts.value[0, :, 0]
        np.testing.assert_allclose(values, [1, 0.5, 1], rtol=0, atol=1e-6)
        assert estimate.readouts.mitigation == estimate.final.mitigation == mitigation


def test_m3_refuses_long_marginals_and_local_does_not(rng):
    program = SequenceProgram(CellSpec(Ansatz("line", 11), loop="host"), 1)
    bits = rng.integers(0, 2, size=(1, 30, 11), dtype=np.uint8)
    calibration = calibration_of(np.full(11, 0.1), np.full(11, 0.05))
    with pytest.raises(InputError, match=r"m3 must act on .* at most 10 bits, got 11; use 'local'"):
        estimate_sequence(program, bits, "m3", calibration)
    estimate = estimate_sequence(program, bits, "local", calibration)
    assert estimate.final.value.shape == (1, 11)
    assert estimate.readouts.value.shape == (1, 1, 0)
    ten = SequenceProgram(CellSpec(Ansatz("line", 10), loop="host"), 1)
    shorter = calibration_of(np.full(10, 0.1), np.full(10, 0.05))
    assert estimate_sequence(ten, bits[:, :, :10], "m3", shorter).final.value.shape == (1, 10)


@pytest.mark.parametrize(
    ("bits", "arguments", "message"),
    [
        ((1, 4, 5), ("m4", EXACT), "mitigation: must be none, local or m3, got 'm4'"),
        ((1, 4, 5), ("local",), "calibration: mitigation 'local' needs one, got None; run run_"),
        ((1, 4, 5), ("m3",), "calibration: mitigation 'm3' needs one"),
        ((1, 4, 4), (), r"bits: must have shape \(num_rows, num_shots, 5\), got \(1, 4, 4\)"),
        ((4, 5), (), r"bits: must have shape \(num_rows, num_shots, 5\), got \(4, 5\)"),
    ],
)
def test_bad_requests_are_refused(bits, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        estimate_sequence(PROGRAM, np.zeros(bits, np.uint8), *arguments)
    assert "\n" not in str(caught.value)


def test_scaled_estimates_scale_their_errors():
    """1/sin(phi) turns a readout's parity into the memory's Pauli; a negative factor flips it."""
    estimate = OutcomeEstimate(np.array([0.5, -0.2]), np.array([0.1, 0.2]), "local")
    scaled = estimate.scaled(np.array([2.0, -3.0]))
    np.testing.assert_allclose(scaled.value, [1.0, 0.6])
    np.testing.assert_allclose(scaled.standard_error, [0.2, 0.6])
    assert scaled.mitigation == "local"
