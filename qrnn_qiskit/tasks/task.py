"""What a task is: three splits, a metric and the trivial predictors to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qrnn_qiskit.errors import require
from qrnn_qiskit.tasks.metrics import Kind, Metric


@dataclass(frozen=True, eq=False)
class Split:
    """The samples of one split.

    ``inputs`` ``(num_samples, num_timesteps, num_features)`` float64. ``targets``
    ``(num_samples,)`` int64 for one class a sample, ``(num_samples, num_timesteps)`` int64 for a
    class at each timestep or float64 for a number at each timestep. ``weights``
    ``(num_samples, num_timesteps)`` float64 of 0 and 1: which timesteps count in loss and metric
    (0 in a wash-out); ``None`` counts all.

    Raises:
        InputError: if a shape, a dtype or a value breaks these rules.

    Example:
        >>> import numpy as np
        >>> split = Split(np.zeros((5, 8, 2)), np.array([0, 1, 1, 0, 1]))
        >>> split.num_samples, split.head(2).targets.tolist()
        (5, [0, 1])
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        self._check_inputs()
        self._check_targets()
        self._check_weights()

    def _check_inputs(self) -> None:
        shape = self.inputs.shape
        require(
            self.inputs.ndim == 3 and 0 not in shape and self.inputs.dtype == np.float64,
            "inputs",
            "must be float64 (num_samples, num_timesteps, num_features), none of them 0",
            (self.inputs.dtype.name, shape),
            "reshape or convert them",
        )
        _require_finite("inputs", self.inputs)

    def _check_targets(self) -> None:
        num_samples, num_timesteps, _ = self.inputs.shape
        per_sample = self.targets.shape == (num_samples,) and self.targets.dtype == np.int64
        per_timestep = self.targets.shape == (num_samples, num_timesteps) and (
            self.targets.dtype in (np.int64, np.float64)
        )
        require(
            per_sample or per_timestep,
            "targets",
            f"must be int64 {(num_samples,)}, or int64 or float64 {(num_samples, num_timesteps)}",
            (self.targets.dtype.name, self.targets.shape),
            "reshape or convert them",
        )
        _require_finite("targets", self.targets)

    def _check_weights(self) -> None:
        if self.weights is None:
            return
        require(
            self.targets.ndim == 2 and self.weights.shape == self.targets.shape,
            "weights",
            f"must have the shape of targets with one a timestep, here {self.targets.shape}",
            self.weights.shape,
            "pass None where a sample has one target",
        )
        zero_or_one = bool(np.all((self.weights == 0) | (self.weights == 1)))
        require(
            self.weights.dtype == np.float64 and zero_or_one and bool(np.any(self.weights)),
            "weights",
            "must be float64 of 0 and 1, not all 0",
            (self.weights.dtype.name, float(self.weights.min()), float(self.weights.max())),
            "mark with 1 the timesteps that count",
        )

    @property
    def num_samples(self) -> int:
        """How many sequences there are."""
        return int(self.inputs.shape[0])

    def take(self, indices: np.ndarray) -> Split:
        """The samples at ``indices`` ``(num_taken,)``, in that order."""
        weights = None if self.weights is None else self.weights[indices]
        return Split(self.inputs[indices], self.targets[indices], weights)

    def head(self, num_samples: int) -> Split:
        """The first ``num_samples`` samples, all of them if there are fewer."""
        require(num_samples >= 1, "num_samples", "must be at least 1", num_samples, "ask for more")
        return self.take(np.arange(min(num_samples, self.num_samples)))


@dataclass(frozen=True)
class Baseline:
    """What a trivial predictor, fitted on train, reaches on test.

    ``value`` is in the task's metric; ``standard_error`` is its spread over test samples, 0 for a
    closed form; ``loss`` is the cross-entropy in nats or the mean squared error.

    Example:
        >>> Baseline("majority class", value=0.103, standard_error=0.016, loss=2.303).name
        'majority class'
    """

    name: str
    value: float
    standard_error: float = 0.0
    loss: float | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """A data set with its metric and the baselines to beat.

    ``num_outputs`` is the number of classes, or 1 for regression. ``class_names`` is empty or
    has one name a class.

    Raises:
        InputError: if the splits disagree with each other, with ``kind`` or with ``num_outputs``.

    Example:
        >>> import numpy as np
        >>> from qrnn_qiskit.tasks import ACCURACY
        >>> split = Split(np.zeros((4, 8, 3)), np.array([0, 1, 1, 0]))
        >>> task = Task("toy", "classification", 2, split, split, split, ACCURACY, ())
        >>> task.num_timesteps, task.num_features
        (8, 3)
    """

    name: str
    kind: Kind
    num_outputs: int
    train: Split
    validation: Split
    test: Split
    metric: Metric
    baselines: tuple[Baseline, ...]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_num_outputs()
        for role in ("train", "validation", "test"):
            self._check_split(role, getattr(self, role))

    def _check_num_outputs(self) -> None:
        regression = self.kind == "sequence_regression"
        require(
            self.num_outputs == 1 if regression else self.num_outputs >= 2,
            "num_outputs",
            f"must be {'1' if regression else 'at least 2'} for {self.kind}",
            self.num_outputs,
            f"set it to {'1' if regression else 'the number of classes'}",
        )
        require(
            len(self.class_names) in (0, self.num_outputs),
            "class_names",
            f"must have one name for each of {self.num_outputs} classes",
            self.class_names,
            "leave it empty, or name each class",
        )

    def _check_split(self, role: str, split: Split) -> None:
        expected = (self.train.inputs.shape[1:], self.train.targets.shape[1:])
        found = (split.inputs.shape[1:], split.targets.shape[1:])
        require(
            found == expected,
            role,
            f"must have the input and target shapes of train after the first axis, {expected}",
            found,
            "build all splits alike",
        )
        require(
            kind_of(split.targets) == self.kind,
            "kind",
            f"must be that of the {role} targets, {kind_of(split.targets)!r}",
            self.kind,
            "change the kind, or the targets' shape or dtype",
        )
        if self.kind == "sequence_regression":
            return
        low, high = int(split.targets.min()), int(split.targets.max())
        require(
            low >= 0 and high < self.num_outputs,
            f"{role} targets",
            f"must be classes 0 to {self.num_outputs - 1}",
            (low, high),
            "relabel them, or raise num_outputs",
        )

    @property
    def num_features(self) -> int:
        """How many numbers a timestep's input has."""
        return int(self.train.inputs.shape[2])

    @property
    def num_timesteps(self) -> int:
        """How many timesteps each sample has."""
        return int(self.train.inputs.shape[1])


def kind_of(targets: np.ndarray) -> Kind:
    """Which kind of task has targets of this shape and dtype.

    Example:
        >>> import numpy as np
        >>> kind_of(np.zeros((4, 8)))
        'sequence_regression'
    """
    if targets.ndim == 1:
        return "classification"
    return "sequence_classification" if targets.dtype == np.int64 else "sequence_regression"


def _require_finite(argument: str, values: np.ndarray) -> None:
    num_bad = int(np.count_nonzero(~np.isfinite(values)))
    require(
        num_bad == 0,
        argument,
        "must be finite",
        f"{num_bad} of {values.size} that are not",
        "drop or fill them",
    )
