"""What a task is: three splits, a metric and the trivial predictors to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
        ValueError: if a shape, a dtype or a value breaks these rules.

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
        if self.inputs.ndim != 3 or 0 in self.inputs.shape or self.inputs.dtype != np.float64:
            raise ValueError(
                "inputs must be float64 (num_samples, num_timesteps, num_features), none of them "
                f"0, got {self.inputs.dtype} {self.inputs.shape}; reshape or convert them"
            )
        if not np.all(np.isfinite(self.inputs)):
            raise ValueError(
                f"inputs must be finite, got {np.count_nonzero(~np.isfinite(self.inputs))} values "
                "that are not; drop or fill them"
            )

    def _check_targets(self) -> None:
        num_samples, num_timesteps, _ = self.inputs.shape
        per_sample = self.targets.shape == (num_samples,) and self.targets.dtype == np.int64
        per_timestep = self.targets.shape == (num_samples, num_timesteps) and (
            self.targets.dtype in (np.int64, np.float64)
        )
        if not (per_sample or per_timestep):
            raise ValueError(
                f"targets must be int64 {(num_samples,)}, or int64 or float64 "
                f"{(num_samples, num_timesteps)}, got {self.targets.dtype} {self.targets.shape}; "
                "reshape or convert them"
            )
        if not np.all(np.isfinite(self.targets)):
            raise ValueError(
                f"targets must be finite, got {np.count_nonzero(~np.isfinite(self.targets))} "
                "values that are not; drop or fill them"
            )

    def _check_weights(self) -> None:
        if self.weights is None:
            return
        if self.targets.ndim != 2 or self.weights.shape != self.targets.shape:
            raise ValueError(
                "weights must have the shape of targets with one a timestep, got weights "
                f"{self.weights.shape} and targets {self.targets.shape}; "
                "pass None where a sample has one target"
            )
        zero_or_one = np.all((self.weights == 0) | (self.weights == 1))
        if self.weights.dtype != np.float64 or not zero_or_one or not np.any(self.weights):
            raise ValueError(
                "weights must be float64 of 0 and 1, not all 0, got "
                f"{self.weights.dtype} from {self.weights.min()} to {self.weights.max()}; "
                "mark with 1 the timesteps that count"
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
        if num_samples < 1:
            raise ValueError(
                f"num_samples must be at least 1, got {num_samples}; ask for one or more"
            )
        return self.take(np.arange(min(num_samples, self.num_samples)))


@dataclass(frozen=True)
class Baseline:
    """What a trivial predictor, fitted on train, reaches on test.

    ``value`` is in the task's metric; ``standard_error`` is its spread over test samples, 0 for a
    closed form; ``loss`` is the cross-entropy in nats or the mean squared error.

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
        ValueError: if the splits disagree with each other, with ``kind`` or with ``num_outputs``.

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
        if (self.num_outputs != 1) if regression else (self.num_outputs < 2):
            raise ValueError(
                f"num_outputs must be {'1' if regression else 'at least 2'} for {self.kind}, "
                f"got {self.num_outputs}; set it to "
                f"{'1' if regression else 'the number of classes'}"
            )
        if self.class_names and len(self.class_names) != self.num_outputs:
            raise ValueError(
                f"class_names must have one name for each of {self.num_outputs} classes, got "
                f"{len(self.class_names)}; leave it empty, or name each class"
            )

    def _check_split(self, role: str, split: Split) -> None:
        expected = (self.train.inputs.shape[1:], self.train.targets.shape[1:])
        if (split.inputs.shape[1:], split.targets.shape[1:]) != expected:
            raise ValueError(
                f"{role} must have the timesteps and features of train, {expected[0]}, got "
                f"{split.inputs.shape[1:]} with targets {split.targets.shape}; "
                "build all splits alike"
            )
        found = kind_of(split.targets)
        if found != self.kind:
            raise ValueError(
                f"kind must be that of the {role} targets, {found}, got {self.kind}; change the "
                "kind, or the targets' shape or dtype"
            )
        if found == "sequence_regression":
            return
        low, high = int(split.targets.min()), int(split.targets.max())
        if low < 0 or high >= self.num_outputs:
            raise ValueError(
                f"{role} targets must be classes 0 to {self.num_outputs - 1}, got {low} to "
                f"{high}; relabel them, or raise num_outputs"
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

    >>> import numpy as np
    >>> kind_of(np.zeros((4, 8)))
    'sequence_regression'
    """
    if targets.ndim == 1:
        return "classification"
    return "sequence_classification" if targets.dtype == np.int64 else "sequence_regression"
