"""Trivial predictors use train only, count only weighted timesteps, and stay finite."""

import numpy as np
import pytest

from qrnn_qiskit.tasks import ACCURACY, MSE, NRMSE, Split
from qrnn_qiskit.tasks.baselines import (
    constant_mean,
    linear_regression,
    logistic_regression,
    majority_class,
)


def test_majority_class_is_that_of_train():
    train = Split(np.zeros((4, 1, 1)), np.array([0, 1, 1, 1]))
    test = Split(np.zeros((4, 1, 1)), np.array([0, 0, 0, 1]))
    baseline = majority_class(train, test, 2, ACCURACY)
    assert baseline.value == pytest.approx(0.25)
    assert baseline.loss == pytest.approx(-(3 * np.log(0.25) + np.log(0.75)) / 4)


def test_wash_out_counts_nowhere():
    weights = np.array([[0.0, 1.0]])
    train = Split(np.zeros((1, 2, 1)), np.array([[99.0, 1.0]]), weights)
    test = Split(np.zeros((1, 2, 1)), np.array([[-99.0, 3.0]]), weights)
    assert constant_mean(train, test, MSE).value == pytest.approx(4.0)


def test_two_taps_see_one_step_back(rng):
    def draw(num_samples):
        inputs = rng.normal(size=(num_samples, 10, 1))
        previous = np.concatenate([np.zeros((num_samples, 1)), inputs[:, :-1, 0]], axis=1)
        return Split(inputs, 2 * inputs[..., 0] - 3 * previous)

    train, test = draw(50), draw(50)
    assert linear_regression(train, test, NRMSE, num_taps=2).value < 1e-12
    memoryless = linear_regression(train, test, NRMSE)
    # Of variance 4 + 9 the 9 stay unexplained; the first timestep has no predecessor.
    expected = np.sqrt(9 * 0.9 / (4 + 9 * 0.9))
    assert abs(memoryless.value - expected) < 5 * memoryless.standard_error


def test_a_class_that_train_lacks_costs_much_but_not_infinitely():
    train = Split(np.array([[[-1.0], [1.0]]] * 3), np.array([[0, 1]] * 3))
    test = Split(np.array([[[-1.0], [1.0]]] * 3), np.array([[0, 2]] * 3))
    for baseline in (
        logistic_regression(train, test, 3, ACCURACY),
        majority_class(train, test, 3, ACCURACY),
    ):
        assert baseline.value == pytest.approx(0.5)
        assert 10 < baseline.loss < 20
