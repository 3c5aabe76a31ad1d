"""Splits and tasks accept what fits together and say what does not."""

import numpy as np
import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.tasks import ACCURACY, NRMSE, Split, Task

INPUTS = np.zeros((5, 4, 2))
LABELS = np.array([0, 1, 1, 0, 1])
STEP_LABELS = np.zeros((5, 4), dtype=np.int64)


def test_take_keeps_inputs_targets_and_weights_together():
    inputs = np.arange(40.0).reshape(5, 4, 2)
    weights = np.ones((5, 4))
    weights[:, 0] = 0.0
    taken = Split(inputs, STEP_LABELS + LABELS[:, None], weights).take(np.array([3, 1]))
    assert taken.inputs[:, 0, 0].tolist() == [24.0, 8.0]
    assert taken.targets[:, 0].tolist() == [0, 1]
    assert taken.weights.shape == (2, 4)


def test_head_stops_at_the_end():
    split = Split(INPUTS, LABELS)
    assert (split.head(2).num_samples, split.head(99).num_samples) == (2, 5)
    with pytest.raises(InputError, match="num_samples: must be at least 1, got 0"):
        split.head(0)


@pytest.mark.parametrize(
    ("inputs", "targets", "weights", "message"),
    [
        (INPUTS[0], LABELS, None, "inputs: must be float64 "),
        (INPUTS.astype(np.float32), LABELS, None, r"inputs: .* got \('float32'"),
        (INPUTS * np.nan, LABELS, None, "inputs: must be finite, got '40 of 40"),
        (INPUTS, LABELS[:3], None, "targets: must be int64"),
        (INPUTS, LABELS.astype(np.float64), None, "targets: must be int64"),
        (INPUTS, np.full((5, 4), np.inf), None, "targets: must be finite"),
        (INPUTS, LABELS, np.ones((5, 4)), "weights: .* pass None"),
        (INPUTS, STEP_LABELS, np.ones(5), "weights: must have the shape"),
        (INPUTS, STEP_LABELS, np.full((5, 4), 0.5), "weights: must be float64 of 0 and 1"),
        (INPUTS, STEP_LABELS, np.zeros((5, 4)), "weights: must be float64 of 0 and 1, not all 0"),
    ],
)
def test_split_says_what_is_wrong(inputs, targets, weights, message):
    with pytest.raises(InputError, match=message):
        Split(inputs, targets, weights)


def _task(**changes):
    split = Split(INPUTS, LABELS)
    fields = {
        "name": "toy",
        "kind": "classification",
        "num_outputs": 2,
        "train": split,
        "validation": split,
        "test": split,
        "metric": ACCURACY,
        "baselines": (),
    }
    return Task(**(fields | changes))


def test_task_reports_its_sizes():
    assert (_task().num_timesteps, _task().num_features) == (4, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_outputs": 1}, "num_outputs: must be at least 2"),
        ({"kind": "sequence_regression", "metric": NRMSE}, "num_outputs: must be 1"),
        ({"kind": "sequence_classification"}, "kind: must be that of the train targets"),
        ({"class_names": ("a",)}, "class_names: must have one name"),
        ({"test": Split(INPUTS[:, :3], LABELS)}, "test: must have the input and target shapes"),
        ({"validation": Split(INPUTS, LABELS + 1)}, "validation targets: must be classes 0 to 1"),
    ],
)
def test_task_says_what_is_wrong(changes, message):
    with pytest.raises(InputError, match=message):
        _task(**changes)
