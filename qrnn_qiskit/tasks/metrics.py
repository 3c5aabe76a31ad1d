"""Metrics and losses in numpy, each with the standard error that its test set allows.

Samples are independent, timesteps of one sample are not: every standard error is taken over
samples. It is ``nan`` for a single sample, where no spread can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from qrnn_qiskit.errors import require

Kind = Literal["classification", "sequence_classification", "sequence_regression"]
Estimate = tuple[float, float]


@dataclass(frozen=True)
class Metric:
    """A number that says how good predictions are, with its standard error.

    Call it as ``metric(outputs, targets, weights)``. ``outputs`` are logits
    ``(num_samples, num_outputs)`` or ``(num_samples, num_timesteps, num_outputs)`` for classes,
    and predictions ``(num_samples, num_timesteps)`` or ``(num_samples, num_timesteps, 1)`` for
    regression. ``targets`` lack the last axis; ``weights`` ``(num_samples, num_timesteps)`` say
    which timesteps count, ``None`` counts all.

    Raises:
        InputError: if shapes disagree, an output is not finite, or no timestep counts.

    Example:
        >>> import numpy as np
        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0], [1.0, 0.0]])
        >>> value, standard_error = ACCURACY(logits, np.array([0, 1, 0, 1]))
        >>> value, round(standard_error, 3)
        (0.75, 0.25)
    """

    name: str
    higher_is_better: bool
    function: Callable[[np.ndarray, np.ndarray, np.ndarray | None], Estimate]

    def __call__(
        self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
    ) -> Estimate:
        """The value and its standard error over samples."""
        return self.function(outputs, targets, weights)


def _require_finite(outputs: np.ndarray) -> None:
    num_bad = int(np.count_nonzero(~np.isfinite(outputs)))
    require(
        num_bad == 0,
        "outputs",
        "must be finite",
        f"{num_bad} of {outputs.size} that are not",
        "look for a diverged model, for example a learning rate that is too high",
    )


def _checked_weights(weights: np.ndarray | None, targets: np.ndarray) -> np.ndarray:
    if weights is None:
        return np.ones(targets.shape)
    require(
        weights.shape == targets.shape,
        "weights",
        f"must have the shape of targets, {targets.shape}",
        weights.shape,
        "pass one weight a target, or None to count all",
    )
    require(
        bool(np.all(weights >= 0) and np.any(weights > 0)),
        "weights",
        "must be non-negative with at least one positive",
        (float(weights.min()), float(weights.max())),
        "shorten the wash-out",
    )
    return weights


def _check_logits(outputs: np.ndarray, targets: np.ndarray) -> None:
    require(
        outputs.ndim == targets.ndim + 1 and outputs.shape[:-1] == targets.shape,
        "outputs",
        f"must be logits of the shape of targets, {targets.shape}, and a last axis of classes",
        outputs.shape,
        "put the classes on the last axis",
    )
    require(
        bool(np.all((targets >= 0) & (targets < outputs.shape[-1]))),
        "targets",
        f"must be classes 0 to {outputs.shape[-1] - 1}",
        (int(targets.min()), int(targets.max())),
        "relabel them, or give the model more outputs",
    )
    _require_finite(outputs)


def _predictions(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    if outputs.shape == (*targets.shape, 1):
        outputs = outputs[..., 0]
    require(
        outputs.shape == targets.shape,
        "outputs",
        f"must have the shape of targets, {targets.shape}, or that with a last axis of 1",
        outputs.shape,
        "give the model one output a timestep",
    )
    _require_finite(outputs)
    return outputs


def _per_sample(values: np.ndarray) -> np.ndarray:
    """Sums over all axes but the first, ``(num_samples,)``."""
    return np.asarray(values.reshape(len(values), -1).sum(axis=1))


def _standard_error(influences: np.ndarray) -> float:
    """Root of the summed squares of per-sample influences, with the n/(n-1) correction."""
    num_samples = len(influences)
    if num_samples < 2:
        return math.nan
    return math.sqrt(num_samples / (num_samples - 1) * float(np.sum(influences**2)))


def _mean_influences(values: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Weighted mean, and how much each sample moves it (linearised ratio estimator)."""
    totals, counts = _per_sample(values * weights), _per_sample(weights)
    mean = float(totals.sum() / counts.sum())
    return mean, (totals - mean * counts) / counts.sum()


def _weighted_mean(values: np.ndarray, weights: np.ndarray) -> Estimate:
    mean, influences = _mean_influences(values, weights)
    return mean, _standard_error(influences)


def _accuracy(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> Estimate:
    _check_logits(outputs, targets)
    correct = (np.argmax(outputs, axis=-1) == targets).astype(np.float64)
    value, standard_error = _weighted_mean(correct, _checked_weights(weights, targets))
    if standard_error == 0.0:
        # All right, or all wrong: no certainty. One opposite sample in n + 2 is conceded.
        rate = 1 / (len(targets) + 2)
        standard_error = math.sqrt(rate * (1 - rate) / len(targets))
    return value, standard_error


def _symbol_error_rate(
    outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
) -> Estimate:
    value, standard_error = _accuracy(outputs, targets, weights)
    return 1.0 - value, standard_error


def _cross_entropy(
    outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
) -> Estimate:
    _check_logits(outputs, targets)
    shifted = outputs - outputs.max(axis=-1, keepdims=True)
    log_normaliser = np.log(np.exp(shifted).sum(axis=-1))
    chosen = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    return _weighted_mean(log_normaliser - chosen, _checked_weights(weights, targets))


def _mse(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> Estimate:
    errors = _predictions(outputs, targets) - targets
    return _weighted_mean(errors**2, _checked_weights(weights, targets))


def _nrmse(outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> Estimate:
    errors = _predictions(outputs, targets) - targets
    checked = _checked_weights(weights, targets)
    centre, _ = _mean_influences(targets, checked)
    mse, mse_influences = _mean_influences(errors**2, checked)
    # The influence of the targets' mean on their variance vanishes to first order.
    variance, variance_influences = _mean_influences((targets - centre) ** 2, checked)
    require(
        variance > 0.0,
        "targets",
        "must vary where weights count",
        centre,
        "use mse, or a longer split",
    )
    if mse == 0.0:
        return 0.0, 0.0
    value = math.sqrt(mse / variance)
    relative = 0.5 * (mse_influences / mse - variance_influences / variance)
    return value, _standard_error(value * relative)


ACCURACY = Metric("accuracy", higher_is_better=True, function=_accuracy)
"""Fraction of right classes. For one target a sample the standard error is the binomial one."""

SYMBOL_ERROR_RATE = Metric("symbol_error_rate", higher_is_better=False, function=_symbol_error_rate)
"""Fraction of wrong classes."""

CROSS_ENTROPY = Metric("cross_entropy", higher_is_better=False, function=_cross_entropy)
"""Mean negative log-probability of the right class, in nats."""

MSE = Metric("mse", higher_is_better=False, function=_mse)
"""Mean squared error, in squared units of the targets."""

NRMSE = Metric("nrmse", higher_is_better=False, function=_nrmse)
"""Root mean squared error over the standard deviation of the targets; delta-method error."""

METRICS = {
    metric.name: metric for metric in (ACCURACY, SYMBOL_ERROR_RATE, CROSS_ENTROPY, MSE, NRMSE)
}
"""Every metric by its name."""


def loss(
    kind: Kind, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
) -> Estimate:
    """Cross-entropy in nats for the classification kinds, mean squared error for regression.

    Shapes as in ``Metric``. Returns the value and its standard error over samples.

    Example:
        >>> import numpy as np
        >>> value, standard_error = loss("classification", np.zeros((3, 4)), np.array([0, 1, 2]))
        >>> round(value, 4), standard_error
        (1.3863, 0.0)
    """
    return (MSE if kind == "sequence_regression" else CROSS_ENTROPY)(outputs, targets, weights)
