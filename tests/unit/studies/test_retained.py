"""What is left of a signal: slopes and deviations against known ones."""

import numpy as np
import pytest

from qrnn_qiskit.studies.retained import compare_readouts

NUM_TIMESTEPS, NUM_PARITIES, NUM_FINAL = 3, 2, 4
NUM_FEATURES = NUM_TIMESTEPS * NUM_PARITIES + NUM_FINAL


def compare(value, error, exact):
    return compare_readouts(
        value, error, exact, num_timesteps=NUM_TIMESTEPS, num_parities=NUM_PARITIES
    )


def test_known_damping_offset_and_shot_noise_are_found(rng):
    """40 samples of 400 shots; 5 jackknife errors. A slope of 1 is rejected where it is not."""
    exact = rng.uniform(-1, 1, (40, NUM_FEATURES))
    damping = np.repeat([1.0, 0.8, 0.5, 0.3], [2, 2, 2, 4])
    offset = 0.05
    error = np.full_like(exact, 1 / np.sqrt(400))
    found = compare(damping * exact + offset + error * rng.normal(size=exact.shape), error, exact)
    for slope, slope_error, known in zip(
        found["retained"], found["retained_error"], (1.0, 0.8, 0.5), strict=True
    ):
        assert abs(slope - known) < 5 * slope_error
        assert 0 < slope_error < 0.03
    assert abs(found["retained_final"] - 0.3) < 5 * found["retained_final_error"]
    assert abs(found["retained"][2] - 1) > 5 * found["retained_error"][2]
    # Less what shots explain: the deviation is that of damping and offset alone.
    true = np.sqrt(np.mean(((damping - 1) * exact + offset) ** 2))
    assert abs(found["deviation"] - true) < 5 * found["deviation_error"]
    assert found["standard_error"] == pytest.approx(0.05, rel=1e-12)
    bias, bias_error = np.array(found["bias"]), np.array(found["bias_error"])
    expected = ((damping - 1) * exact).mean(axis=0) + offset
    assert (np.abs(bias - expected) < 5 * bias_error).all()
    assert bias_error == pytest.approx(0.05 / np.sqrt(40), rel=1e-12)


def test_shot_noise_alone_is_no_deviation(rng):
    """Against a wrong model: the raw rms is 0.05."""
    exact = rng.uniform(-1, 1, (40, NUM_FEATURES))
    error = np.full_like(exact, 0.05)
    found = compare(exact + error * rng.normal(size=exact.shape), error, exact)
    assert found["deviation"] < 0.02


def test_readouts_that_hardly_vary_have_no_slope(rng):
    exact = np.zeros((5, NUM_FEATURES))
    exact[:, 2:] = rng.uniform(-1, 1, (5, NUM_FEATURES - 2))
    found = compare(exact, 0 * exact, exact)
    assert found["retained"] == [None, pytest.approx(1.0), pytest.approx(1.0)]
    assert found["retained_error"][0] is None
    assert found["deviation"] == found["deviation_error"] == 0


def test_without_final_readouts_there_is_no_final_slope(rng):
    """The host loop repeats nothing at its end."""
    exact = rng.uniform(-1, 1, (5, NUM_TIMESTEPS * NUM_PARITIES))
    assert compare(exact, 0 * exact, exact)["retained_final"] is None


def test_one_sample_that_differs_gives_no_error_rather_than_a_warning():
    exact = np.zeros((4, NUM_FEATURES))
    exact[0] = 1.0
    found = compare(exact, 0 * exact, exact)
    assert found["retained"] == [1.0, 1.0, 1.0]
    assert np.isnan(found["retained_error"]).all()
