"""The training loop: minibatches, validation, early stopping, and a state that resumes exactly.

The loop yields events and never touches disk or a terminal: studies write checkpoints and show
progress. Everything random follows from the seed and the saved generator states, so that a
resumed run continues to the same numbers.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.learning.engines import ShotEngine
from qrnn_qiskit.learning.qrnn import QRNN
from qrnn_qiskit.tasks import Split, Task, loss

LearningRate = Annotated[float, Field(gt=0, le=100)]


class TrainingSpec(BaseModel):
    """How a model is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    epochs: int = Field(10, ge=1, description="passes over the training set")
    batch_size: int = Field(32, ge=1, description="sequences per optimiser step")
    learning_rate: LearningRate = Field(0.01, description="of Adam, at the start")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="of the learning rate")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    clip_norm: float = Field(1.0, gt=0, description="bound on the norm of the gradient")
    patience: int | None = Field(
        None, ge=1, description="epochs without a better validation loss before stopping"
    )
    max_steps: int | None = Field(None, ge=1, description="optimiser steps at which to stop")
    seed: int = Field(0, ge=0, lt=2**32, description="of weights, batches and dropout")
    num_threads: int = Field(
        1,
        ge=1,
        description="of torch; the last bits of a run depend on it, small models are no faster",
    )


@dataclass(frozen=True)
class StepDone:
    """One optimiser step: its place in the run, the batch's loss, the unclipped gradient norm."""

    epoch: int
    step: int
    num_steps: int
    loss: float
    gradient_norm: float


@dataclass(frozen=True)
class EpochDone:
    """One epoch: mean training loss, validation loss and metric, whether it is the best so far."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_metric: float
    learning_rate: float
    is_best: bool


@dataclass(frozen=True)
class Evaluation:
    """Metric and loss on a split, with standard errors over samples."""

    metric: float
    metric_error: float
    loss: float
    loss_error: float
    num_samples: int


class Trainer:
    """Trains a model on a task.

    Args:
        model: changed in place.
        task: what it learns.
        spec: how.

    Example:
        >>> from qrnn_qiskit.learning import build_qrnn
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> from qrnn_qiskit.tasks import ParitySpec
        >>> task = ParitySpec(num_timesteps=4, num_train=32, num_validation=8, num_test=8).load()
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 4)
        >>> model = build_qrnn(program, task.num_features, task.num_outputs, view="each")
        >>> events = list(Trainer(model, task, TrainingSpec(epochs=1)).run())
        >>> [type(event).__name__ for event in events]
        ['StepDone', 'EpochDone']
    """

    def __init__(self, model: QRNN, task: Task, spec: TrainingSpec) -> None:
        self.model = model
        self.task = task
        self.spec = spec
        self.history: list[EpochDone] = []
        self._optimiser = torch.optim.AdamW(
            model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay
        )
        self._epoch = 0
        self._batch = 0
        self._loss_sum = 0.0
        self._best = _Best()
        self._dropout_state = torch.Generator().manual_seed(spec.seed).get_state()

    @property
    def batches_per_epoch(self) -> int:
        """Optimiser steps in an epoch."""
        return math.ceil(self.task.train.num_samples / self.spec.batch_size)

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run, without early stopping."""
        total = self.spec.epochs * self.batches_per_epoch
        return total if self.spec.max_steps is None else min(total, self.spec.max_steps)

    @property
    def step(self) -> int:
        """Optimiser steps taken."""
        return self._epoch * self.batches_per_epoch + self._batch

    @property
    def is_finished(self) -> bool:
        """Whether `run` would take no step and validate no epoch."""
        # After the last step of an epoch its validation is still to come.
        epoch_pending = self._batch == self.batches_per_epoch
        return (self.step >= self.num_steps and not epoch_pending) or self._out_of_patience()

    def run(self) -> Iterator[StepDone | EpochDone]:
        """Trains from where the state stands.

        Between two events the state is complete: save it there. At the end the best weights are
        in the model, and its dropout is off.
        """
        while not self.is_finished:
            order = self._epoch_order()
            while self._batch < self.batches_per_epoch and self.step < self.num_steps:
                start = self._batch * self.spec.batch_size
                yield self._take_step(order[start : start + self.spec.batch_size])
            if self._batch < self.batches_per_epoch:
                break
            yield self._finish_epoch()
        if self._best.weights is not None:
            self.model.load_state_dict(self._best.weights)
        self.model.eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        engine = self.model.engine
        return {
            "model": copy.deepcopy(self.model.state_dict()),
            "optimiser": copy.deepcopy(self._optimiser.state_dict()),
            "epoch": self._epoch,
            "batch": self._batch,
            "loss_sum": self._loss_sum,
            "best": vars(self._best).copy(),
            "history": [vars(done) for done in self.history],
            "dropout_state": self._dropout_state,
            "engine": engine.state_dict() if isinstance(engine, ShotEngine) else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`.

        Raises:
            InputError: if the state belongs to another model.
        """
        try:
            self.model.load_state_dict(state["model"])
            self._optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            first_line = str(error).splitlines()[0]
            raise InputError(
                f"checkpoint: must belong to this model, got another one ({first_line}); "
                "resume with the spec that it was written by"
            ) from error
        self._epoch, self._batch = state["epoch"], state["batch"]
        self._loss_sum = state["loss_sum"]
        self._best = _Best(**state["best"])
        self.history = [EpochDone(**done) for done in state["history"]]
        self._dropout_state = state["dropout_state"]
        engine, program = self.model.engine, self.model.program
        if isinstance(engine, ShotEngine) and state["engine"] is not None:
            host = program.cell.loop == "host"
            lengths = range(1, program.num_timesteps + 1) if host else [program.num_timesteps]
            engine.load_state_dict(state["engine"], [program.prefix(t) for t in lengths])

    def _epoch_order(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.spec.seed * 1_000_003 + self._epoch)
        return torch.randperm(self.task.train.num_samples, generator=generator)

    def _take_step(self, indices: Tensor) -> StepDone:
        inputs, targets, weights = _tensors(self.task.train.take(indices.numpy()), self.model)
        learning_rate = self._learning_rate()
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self.model.train()
        # Dropout draws from the global generator: lend it our own state, and take it back, so
        # that nothing else a program draws changes the run.
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._dropout_state)
            value = objective(self.task, self.model(inputs), targets, weights)
            self._dropout_state = torch.get_rng_state()
        self._optimiser.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.clip_norm)
        if not bool(torch.isfinite(norm)):
            raise InputError(
                f"training: the gradient must be finite, got {norm.item()} at step "
                f"{self.step + 1}; lower learning_rate or use dtype = 'float64'"
            )
        self._optimiser.step()
        self.model.project_strengths()
        batch_loss = value.item()
        self._loss_sum += batch_loss * len(indices)
        epoch, step = self._epoch + 1, self.step + 1
        self._batch += 1
        return StepDone(epoch, step, self.num_steps, batch_loss, norm.item())

    def _finish_epoch(self) -> EpochDone:
        result = evaluate_model(self.model, self.task, self.task.validation)
        is_best = result.loss < self._best.loss
        done = EpochDone(
            epoch=self._epoch + 1,
            train_loss=self._loss_sum / self.task.train.num_samples,
            validation_loss=result.loss,
            validation_metric=result.metric,
            learning_rate=self._learning_rate(),
            is_best=is_best,
        )
        if is_best:
            weights = copy.deepcopy(self.model.state_dict())
            self._best = _Best(result.loss, self._epoch + 1, weights)
        self.history.append(done)
        self._epoch, self._batch, self._loss_sum = self._epoch + 1, 0, 0.0
        return done

    def _learning_rate(self) -> float:
        if self.spec.schedule == "constant":
            return self.spec.learning_rate
        total = self.spec.epochs * self.batches_per_epoch
        return self.spec.learning_rate * (1 + math.cos(math.pi * self.step / total)) / 2

    def _out_of_patience(self) -> bool:
        patience = self.spec.patience
        return patience is not None and self._epoch - self._best.epoch >= patience


def objective(task: Task, outputs: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """Cross-entropy in nats or mean squared error, over the timesteps that count."""
    if task.kind == "sequence_regression":
        each = (outputs.squeeze(-1) - targets) ** 2
    else:
        each = nn.functional.cross_entropy(
            outputs.flatten(0, -2), targets.flatten(), reduction="none"
        ).view_as(targets)
    if weights is None:
        return each.mean()
    return (each * weights).sum() / weights.sum()


@contextmanager
def evaluating(model: QRNN) -> Iterator[None]:
    """Dropout and gradients off, and the model's mode put back at the end."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def predict(model: QRNN, inputs: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Outputs of a model without dropout or gradients, in double precision.

    Args:
        model: with its engine.
        inputs: `(num_samples, num_timesteps, num_features)`.
        batch_size: samples at once.
    """
    with evaluating(model):
        parts = [
            model(torch.from_numpy(inputs[start : start + batch_size]))
            for start in range(0, len(inputs), batch_size)
        ]
    return torch.cat(parts).double().cpu().numpy()


def evaluate_model(model: QRNN, task: Task, split: Split) -> Evaluation:
    """Metric and loss of a model on a split."""
    return evaluate_outputs(task, predict(model, split.inputs), split)


def evaluate_outputs(task: Task, outputs: np.ndarray, split: Split) -> Evaluation:
    """Metric and loss of outputs `(num_samples, ...)`, however they came about."""
    metric, metric_error = task.metric(outputs, split.targets, split.weights)
    value, error = loss(task.kind, outputs, split.targets, split.weights)
    return Evaluation(metric, metric_error, value, error, split.num_samples)


@dataclass
class _Best:
    loss: float = math.inf
    epoch: int = 0
    weights: dict[str, Tensor] | None = field(default=None, repr=False)


def _tensors(split: Split, model: QRNN) -> tuple[Tensor, Tensor, Tensor | None]:
    like = model.head.weight
    targets = torch.from_numpy(split.targets).to(like.device)
    if targets.is_floating_point():
        targets = targets.to(like.dtype)
    weights = None if split.weights is None else torch.from_numpy(split.weights).to(like)
    return torch.from_numpy(split.inputs).to(like), targets, weights
