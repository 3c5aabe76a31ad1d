"""Trivial predictors: fitted on train, scored on test."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from qrnn_qiskit.tasks.metrics import Metric, loss
from qrnn_qiskit.tasks.task import Baseline, Split, kind_of

# A stand-in for probability 0, so that logits and losses stay finite.
_NEVER = 1e-12


def majority_class(train: Split, test: Split, num_outputs: int, metric: Metric) -> Baseline:
    """The class frequencies of train, whatever the input.

    Example:
        >>> import numpy as np
        >>> from qrnn_qiskit.tasks import ACCURACY
        >>> split = Split(np.zeros((4, 1, 1)), np.array([0, 1, 1, 1]))
        >>> majority_class(split, split, num_outputs=2, metric=ACCURACY).value
        0.75
    """
    counted = train.targets if train.weights is None else train.targets[train.weights > 0]
    counts = np.bincount(counted.ravel(), minlength=num_outputs)
    logits = np.log(np.maximum(counts / counts.sum(), _NEVER))
    outputs = np.broadcast_to(logits, (*test.targets.shape, num_outputs))
    return _scored("majority class", outputs, test, metric)


def constant_mean(train: Split, test: Split, metric: Metric) -> Baseline:
    """The mean target of train, whatever the input.

    Example:
        >>> import numpy as np
        >>> from qrnn_qiskit.tasks import NRMSE
        >>> split = Split(np.zeros((2, 2, 1)), np.array([[0.0, 1.0], [2.0, 5.0]]))
        >>> constant_mean(split, split, NRMSE).value
        1.0
    """
    mean = np.average(train.targets, weights=train.weights)
    return _scored("constant", np.full(test.targets.shape, mean), test, metric)


def linear_regression(train: Split, test: Split, metric: Metric, num_taps: int = 1) -> Baseline:
    """Least squares on the last ``num_taps`` inputs; 1 is memoryless.

    Example:
        >>> import numpy as np
        >>> from qrnn_qiskit.tasks import MSE
        >>> inputs = np.arange(6.0).reshape(2, 3, 1)
        >>> split = Split(inputs, 2.0 * inputs[..., 0] + 1.0)
        >>> round(linear_regression(split, split, MSE).value, 12)
        0.0
    """
    features, targets = _counted(train, num_taps)
    design = np.column_stack([features, np.ones(len(features))])
    solution = np.linalg.lstsq(design, targets, rcond=None)[0]
    outputs = _last_inputs(test.inputs, num_taps) @ solution[:-1] + solution[-1]
    return _scored(f"{_memory_name(num_taps)} linear regression", outputs, test, metric)


def logistic_regression(
    train: Split, test: Split, num_outputs: int, metric: Metric, num_taps: int = 1
) -> Baseline:
    """Multinomial logistic regression, at each timestep, on the last ``num_taps`` inputs.

    Example:
        >>> import numpy as np
        >>> from qrnn_qiskit.tasks import ACCURACY
        >>> inputs = np.linspace(-1.0, 1.0, 12).reshape(3, 4, 1)
        >>> split = Split(inputs, (inputs[..., 0] > 0).astype(np.int64))
        >>> logistic_regression(split, split, num_outputs=2, metric=ACCURACY).value
        1.0
    """
    features, targets = _counted(train, num_taps)
    centre, scale = features.mean(axis=0), features.std(axis=0)
    # A nearly unregularised fit: with thousands of timesteps and a few weights nothing overfits,
    # and a penalty would make the baseline easier to beat.
    model = LogisticRegression(C=1e4, max_iter=5000)
    model.fit((features - centre) / scale, targets)
    tested = (_last_inputs(test.inputs, num_taps) - centre) / scale
    outputs = np.full((*test.targets.shape, num_outputs), np.log(_NEVER))
    probabilities = model.predict_proba(tested.reshape(-1, tested.shape[-1]))
    log_probabilities = np.log(np.maximum(probabilities, _NEVER))
    outputs[..., model.classes_] = log_probabilities.reshape(*test.targets.shape, -1)
    return _scored(f"{_memory_name(num_taps)} logistic regression", outputs, test, metric)


def _memory_name(num_taps: int) -> str:
    return "memoryless" if num_taps == 1 else f"{num_taps}-tap"


def _last_inputs(inputs: np.ndarray, num_taps: int) -> np.ndarray:
    """Inputs at t, t-1, ... side by side, 0 before the start.

    Returns ``(num_samples, num_timesteps, num_taps * num_features)``.
    """
    num_timesteps = inputs.shape[1]
    padded = np.pad(inputs, ((0, 0), (num_taps - 1, 0), (0, 0)))
    starts = range(num_taps - 1, -1, -1)
    return np.concatenate([padded[:, s : s + num_timesteps] for s in starts], axis=2)


def _counted(split: Split, num_taps: int) -> tuple[np.ndarray, np.ndarray]:
    """Features ``(num_counted, ...)`` and targets ``(num_counted,)`` where the weight is 1."""
    mask = np.ones(split.targets.shape, bool) if split.weights is None else split.weights > 0
    return _last_inputs(split.inputs, num_taps)[mask], split.targets[mask]


def _scored(name: str, outputs: np.ndarray, test: Split, metric: Metric) -> Baseline:
    value, standard_error = metric(outputs, test.targets, test.weights)
    loss_value, _ = loss(kind_of(test.targets), outputs, test.targets, test.weights)
    return Baseline(name, value, standard_error, loss_value)
