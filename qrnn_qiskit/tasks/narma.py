"""NARMA: a nonlinear autoregressive moving average to be reproduced from its input."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from qrnn_qiskit.errors import require
from qrnn_qiskit.tasks.baselines import constant_mean, linear_regression
from qrnn_qiskit.tasks.metrics import NRMSE
from qrnn_qiskit.tasks.spec import GeneratedTaskSettings
from qrnn_qiskit.tasks.task import Split, Task

_ALPHA, _BETA, _GAMMA, _DELTA = 0.3, 0.05, 1.5, 0.1
# The influence of the all-zero start decays as about 0.5^t (0.3 plus 0.05 times the history's
# sum); 100 timesteps leave nothing of it in double precision.
_NUM_TRANSIENT = 100


class NarmaSpec(GeneratedTaskSettings):
    """NARMA of order n = 5 or 10 (Atiya and Parlos, IEEE Trans. Neural Netw. 11, 697 (2000)).

    y_{t+1} = 0.3 y_t + 0.05 y_t (y_t + ... + y_{t-n+1}) + 1.5 u_{t-n+1} u_t + 0.1, u uniform in
    [0, 0.5]. At timestep t the input is u_t and the target y_{t+1}. Each sample is a window of its
    own series, past the transient from y = 0, so samples are independent; the first
    ``num_washout`` timesteps of a window have weight 0, because what they depend on came before
    it. Series that diverge are drawn again. With the defaults the constant scores NRMSE 1.000 and
    memoryless linear regression 0.817; with ``order=10, num_timesteps=30`` 1.000 and 0.873.

    Example:
        >>> task = NarmaSpec(num_timesteps=12).load()
        >>> task.kind, [baseline.name for baseline in task.baselines]
        ('sequence_regression', ['constant', 'memoryless linear regression'])
    """

    name: Literal["narma"] = "narma"
    order: Literal[5, 10] = Field(default=5, description="Timesteps that the recursion looks back.")
    num_timesteps: int = Field(default=20, ge=2, le=100_000, description="Length of a window.")
    num_washout: int | None = Field(
        default=None, ge=0, description="Timesteps without weight at the start; none: the order."
    )

    @model_validator(mode="after")
    def _check_washout(self) -> NarmaSpec:
        require(
            self.num_timesteps > self._washout,
            "num_timesteps",
            f"must exceed the wash-out of {self._washout}",
            self.num_timesteps,
            "lengthen the window, or lower num_washout",
        )
        return self

    @property
    def _washout(self) -> int:
        return self.order if self.num_washout is None else self.num_washout

    def load(self) -> Task:
        """Task of kind ``sequence_regression``, metric NRMSE."""
        train, validation, test = self._draw_splits()
        return Task(
            name=self.name,
            kind="sequence_regression",
            num_outputs=1,
            train=train,
            validation=validation,
            test=test,
            metric=NRMSE,
            baselines=(
                constant_mean(train, test, NRMSE),
                linear_regression(train, test, NRMSE),
            ),
        )

    def _draw(self, num_samples: int, rng: np.random.Generator) -> Split:
        shape = (num_samples, _NUM_TRANSIENT + self.num_timesteps)
        inputs = rng.uniform(0.0, 0.5, shape)
        outputs = narma_series(inputs, self.order)
        while (diverged := has_diverged(outputs, self.order)).any():
            inputs[diverged] = rng.uniform(0.0, 0.5, (int(diverged.sum()), shape[1]))
            outputs[diverged] = narma_series(inputs[diverged], self.order)
        weights = np.ones((num_samples, self.num_timesteps))
        weights[:, : self._washout] = 0.0
        return Split(
            inputs[:, _NUM_TRANSIENT:, None].copy(), outputs[:, _NUM_TRANSIENT:].copy(), weights
        )


def narma_series(inputs: np.ndarray, order: int) -> np.ndarray:
    """Outputs y_1 .. y_T of the recursion for inputs u_0 .. u_{T-1}, both ``(num_samples, T)``.

    Before the start u = 0, and y = 0 up to and including y_0. A diverging series saturates at
    infinity.

    Example:
        >>> import numpy as np
        >>> narma_series(np.zeros((1, 2)), order=5).round(4).tolist()
        [[0.1, 0.1305]]
    """
    num_samples, num_timesteps = inputs.shape
    outputs = np.zeros((num_samples, order + num_timesteps))
    past_inputs = np.pad(inputs, ((0, 0), (order - 1, 0)))
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(num_timesteps):
            history = outputs[:, t : t + order]
            latest = history[:, -1]
            drive = past_inputs[:, t] * inputs[:, t]
            outputs[:, t + order] = (
                _ALPHA * latest + _BETA * latest * history.sum(axis=1) + _GAMMA * drive + _DELTA
            )
    return outputs[:, order:]


def has_diverged(outputs: np.ndarray, order: int) -> np.ndarray:
    """Which series ``(num_samples, T)`` ever pass the point of no return; ``(num_samples,)`` bool.

    Without input a constant history c goes to 0.3 c + 0.05 n c^2 + 0.1; above the larger fixed
    point, c = (0.7 + sqrt(0.49 - 0.02 n)) / (0.1 n), it grows without bound. One excursion beyond
    it could still return: such rare series are counted as diverged too.

    Example:
        >>> import numpy as np
        >>> has_diverged(np.array([[0.2, 0.5], [0.9, np.inf]]), order=10).tolist()
        [False, True]
    """
    discriminant = (1.0 - _ALPHA) ** 2 - 4.0 * _BETA * order * _DELTA
    limit = (1.0 - _ALPHA + math.sqrt(discriminant)) / (2.0 * _BETA * order)
    return np.asarray(~np.all(outputs <= limit, axis=1))
