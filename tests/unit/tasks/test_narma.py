"""NARMA against a slow loop with its own bookkeeping."""

import numpy as np
import pytest
from pydantic import ValidationError

from qrnn_qiskit.tasks import NarmaSpec
from qrnn_qiskit.tasks.narma import has_diverged, narma_series


def _slow_series(inputs, order):
    """The recursion in dictionaries keyed by time, so that no index is shifted."""
    u = dict(enumerate(inputs))
    y = {0: 0.0}
    for t in range(len(inputs)):
        past = sum(y.get(t - i, 0.0) for i in range(order))
        delayed = u.get(t - order + 1, 0.0)
        y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * past + 1.5 * delayed * u[t] + 0.1
    return [y[t + 1] for t in range(len(inputs))]


@pytest.mark.parametrize("order", [5, 10])
def test_recursion(order, rng):
    inputs = rng.uniform(0.0, 0.5, (3, 60))
    expected = [_slow_series(row.tolist(), order) for row in inputs]
    # Rounding only: sums of ten numbers of order one.
    assert np.allclose(narma_series(inputs, order), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [5, 10])
def test_window_continues_a_series_of_which_the_start_is_forgotten(order):
    task = NarmaSpec(order=order, num_timesteps=40).load()
    inputs, targets = task.train.inputs[0, :, 0], task.train.targets[0]
    for t in range(order, 40):
        recent = targets[t - order : t]
        drive = 1.5 * inputs[t - order + 1] * inputs[t]
        expected = 0.3 * recent[-1] + 0.05 * recent[-1] * recent.sum() + drive + 0.1
        assert targets[t] == pytest.approx(expected, abs=1e-12)
    # Past the transient the mean no longer drifts: first and last timestep agree.
    difference = task.train.targets[:, 0] - task.train.targets[:, -1]
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(difference))


def test_inputs_and_weights():
    task = NarmaSpec(order=10, num_timesteps=24).load()
    assert 0.0 <= task.train.inputs.min() < task.train.inputs.max() <= 0.5
    assert task.train.weights[0].tolist() == [0.0] * 10 + [1.0] * 14
    assert NarmaSpec(num_washout=2).load().train.weights[0, :3].tolist() == [0.0, 0.0, 1.0]


def test_divergence_is_seen_and_drawn_again():
    growing = narma_series(np.full((1, 400), 0.5), order=10)
    assert has_diverged(growing, order=10).tolist() == [True]
    # About 4 in 10,000 series of 130 diverge, so 20,000 hold some.
    inputs = np.random.default_rng(1).uniform(0.0, 0.5, (20_000, 130))
    assert has_diverged(narma_series(inputs, order=10), order=10).any()
    task = NarmaSpec(order=10, num_timesteps=30, num_train=20_000).load()
    assert not has_diverged(task.train.targets, order=10).any()


@pytest.mark.parametrize(("order", "linear"), [(5, 0.817), (10, 0.873)])
def test_baselines(order, linear):
    task = NarmaSpec(order=order, num_timesteps=order + 20, seed=3).load()
    constant, memoryless = task.baselines
    assert abs(constant.value - 1.0) < 5 * constant.standard_error
    # The values of the docstring, from another seed and with as large an error.
    assert abs(memoryless.value - linear) < 5 * np.sqrt(2) * memoryless.standard_error
    assert memoryless.loss < constant.loss


def test_window_too_short():
    with pytest.raises(ValidationError, match="num_timesteps: must exceed the wash-out of 10"):
        NarmaSpec(order=10, num_timesteps=10)
