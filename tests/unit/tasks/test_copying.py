"""Copying memory: layout and closed-form baseline."""

import math

import numpy as np
import pytest

from qrnn_qiskit.tasks import CROSS_ENTROPY, CopyingSpec


def test_layout_of_a_sequence():
    spec = CopyingSpec(delay=4, memory_length=3, num_symbols=5)
    task = spec.load()
    assert (task.num_timesteps, task.num_features, task.num_outputs) == (10, 7, 6)
    assert np.all(task.train.inputs.sum(axis=2) == 1.0)
    shown, targets = task.train.inputs.argmax(axis=2), task.train.targets
    blank, delimiter = 5, 6
    assert np.all(shown[:, :3] < 5)
    assert np.all(shown[:, 3:6] == blank)
    assert np.all(shown[:, 6] == delimiter)
    assert np.all(shown[:, 7:] == blank)
    assert np.all(targets[:, :7] == blank)
    assert np.array_equal(targets[:, 7:], shown[:, :3])
    assert set(shown[:, :3].ravel().tolist()) == set(range(5))


def test_baseline_of_the_literature():
    assert CopyingSpec(delay=100).load().baselines[0].value == pytest.approx(10 * math.log(8) / 120)


def test_baseline_is_the_loss_of_the_memoryless_predictor():
    spec = CopyingSpec(delay=6, memory_length=4, num_symbols=3)
    task = spec.load()
    logits = np.full((task.test.num_samples, task.num_timesteps, 4), -1e3)
    logits[:, :-4, 3] = 0.0
    logits[:, -4:, :3] = 0.0
    value, standard_error = CROSS_ENTROPY(logits, task.test.targets)
    (baseline,) = task.baselines
    assert (value, standard_error) == pytest.approx(
        (baseline.value, baseline.standard_error), abs=1e-12
    )
