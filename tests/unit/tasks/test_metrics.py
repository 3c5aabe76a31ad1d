"""Metrics against closed forms and the bootstrap."""

import math

import numpy as np
import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.tasks import ACCURACY, CROSS_ENTROPY, METRICS, MSE, NRMSE, SYMBOL_ERROR_RATE, loss

NUM_RESAMPLES = 2000
# A standard deviation from B resamples has relative error 1/sqrt(2B), here 0.016; five of them,
# and 0.05 for the terms beyond first order at 300 samples.
BOOTSTRAP_TOLERANCE = 5 / math.sqrt(2 * NUM_RESAMPLES) + 0.05


def _bootstrap_error(metric, outputs, targets, weights, rng):
    values = []
    for _ in range(NUM_RESAMPLES):
        drawn = rng.integers(len(targets), size=len(targets))
        values.append(metric(outputs[drawn], targets[drawn], weights[drawn])[0])
    return np.std(values)


def _correlated_classes(rng, num_samples=300, num_timesteps=6):
    """Logits whose quality is a property of the sample, so that timesteps are correlated."""
    targets = rng.integers(3, size=(num_samples, num_timesteps))
    skill = rng.normal(1.0, 1.5, (num_samples, 1, 1))
    logits = skill * np.eye(3)[targets] + rng.normal(size=(num_samples, num_timesteps, 3))
    return logits, targets


def _correlated_series(rng, num_samples=300, num_timesteps=6):
    targets = rng.normal(size=(num_samples, 1)) + 0.5 * rng.normal(
        size=(num_samples, num_timesteps)
    )
    shared = 0.7 * rng.normal(size=(num_samples, 1))
    return targets + shared + 0.2 * rng.normal(size=targets.shape), targets


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_standard_error_agrees_with_bootstrap_and_counts_samples_not_timesteps(metric, rng):
    regression = metric in (MSE, NRMSE)
    outputs, targets = _correlated_series(rng) if regression else _correlated_classes(rng)
    weights = (rng.random(targets.shape) < 0.8).astype(np.float64)
    _, standard_error = metric(outputs, targets, weights)
    expected = _bootstrap_error(metric, outputs, targets, weights, rng)
    assert abs(standard_error / expected - 1) < BOOTSTRAP_TOLERANCE
    # The wrong model: every timestep as a sample of its own.
    flat = outputs.reshape(-1, 1, 3) if not regression else outputs.reshape(-1, 1)
    _, wrong = metric(flat, targets.reshape(-1, 1), None)
    assert abs(wrong / expected - 1) > BOOTSTRAP_TOLERANCE


def test_accuracy_has_the_binomial_error():
    targets = np.zeros(50, dtype=np.int64)
    logits = np.tile([1.0, 0.0], (50, 1))
    logits[:20] = [0.0, 1.0]
    assert ACCURACY(logits, targets) == pytest.approx((0.6, math.sqrt(0.6 * 0.4 / 49)))
    assert SYMBOL_ERROR_RATE(logits, targets)[0] == pytest.approx(0.4)


def test_cross_entropy_of_log_probabilities_and_of_huge_logits():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    value, _ = CROSS_ENTROPY(np.log(probabilities), np.array([0, 2]))
    assert value == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)
    assert CROSS_ENTROPY(np.array([[1e4, -1e4]]), np.array([1]))[0] == pytest.approx(2e4)


def test_weights_drop_timesteps():
    targets = np.array([[0.0, 1.0], [0.0, 3.0]])
    outputs = np.array([[100.0, 2.0], [100.0, 3.0]])
    weights = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert MSE(outputs, targets, weights)[0] == pytest.approx(0.5)
    assert MSE(outputs[..., None], targets, weights) == MSE(outputs, targets, weights)


def test_nrmse_is_one_for_the_mean_and_zero_for_the_truth(rng):
    targets = rng.normal(3.0, 2.0, (20, 5))
    assert NRMSE(np.full(targets.shape, targets.mean()), targets)[0] == pytest.approx(1.0)
    assert NRMSE(targets, targets) == (0.0, 0.0)
    assert NRMSE(7 * targets + 1, 7 * (targets - 0.1) + 1)[0] == pytest.approx(0.1 / targets.std())


def test_one_sample_has_no_standard_error():
    assert math.isnan(MSE(np.zeros((1, 4)), np.ones((1, 4)))[1])


def test_loss_follows_the_kind(rng):
    logits, classes = _correlated_classes(rng)
    assert loss("sequence_classification", logits, classes) == CROSS_ENTROPY(logits, classes)
    outputs, targets = _correlated_series(rng)
    assert loss("sequence_regression", outputs, targets) == MSE(outputs, targets)


CLASSES = np.zeros((4, 2), dtype=np.int64)


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "weights", "message"),
    [
        (ACCURACY, np.zeros((4, 3)), CLASSES, None, r"outputs: must be logits .* got \(4, 3\)"),
        (ACCURACY, np.zeros((4, 2, 3)), CLASSES + 3, None, "targets: must be classes 0 to 2"),
        (ACCURACY, np.full((4, 2, 3), np.nan), CLASSES, None, "outputs: must be finite.*24 of 24"),
        (MSE, np.zeros((4, 3)), np.zeros((4, 2)), None, r"outputs: must have the shape of targets"),
        (MSE, np.zeros((4, 2)), np.zeros((4, 2)), np.ones(4), "weights: must have the shape"),
        (MSE, np.zeros((4, 2)), np.zeros((4, 2)), np.zeros((4, 2)), "weights: .* one positive"),
        (NRMSE, np.zeros((4, 2)), np.ones((4, 2)), None, "targets: must vary"),
    ],
)
def test_wrong_input_says_what_and_how(metric, outputs, targets, weights, message):
    with pytest.raises(InputError, match=message):
        metric(outputs, targets, weights)


@pytest.mark.parametrize("right", [True, False])
def test_unanimous_samples_are_no_certainty(right):
    """40 of 40: one opposite sample in 42 is conceded."""
    targets = np.zeros(40, dtype=np.int64)
    logits = np.tile([1.0, 0.0] if right else [0.0, 1.0], (40, 1))
    value, standard_error = ACCURACY(logits, targets)
    assert value == float(right)
    assert standard_error == pytest.approx(np.sqrt(1 / 42 * 41 / 42 / 40))
