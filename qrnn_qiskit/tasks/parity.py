"""Delayed parity of the last few bits."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from qrnn_qiskit.errors import require
from qrnn_qiskit.tasks.baselines import majority_class
from qrnn_qiskit.tasks.metrics import ACCURACY
from qrnn_qiskit.tasks.spec import GeneratedTaskSettings
from qrnn_qiskit.tasks.task import Split, Task


class ParitySpec(GeneratedTaskSettings):
    """Fair random bits u_t; the target is u_{t-delay} XOR ... XOR u_{t-delay-order+1}.

    One feature a timestep: the bit as -1 or +1, or as 0 or 1. Timesteps whose target reaches
    before the start have weight 0. The task needs memory (``delay``, ``order``) and nonlinearity
    (``order`` > 1); ``order`` = 1 is a pure delay. The best constant predictor is right half the
    time.

    Example:
        >>> task = ParitySpec(num_timesteps=6, delay=1, order=2).load()
        >>> task.train.weights[0].tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    """

    name: Literal["parity"] = "parity"
    num_timesteps: int = Field(default=12, ge=2, le=100_000, description="Bits in a sequence.")
    delay: int = Field(default=1, ge=0, description="Age of the newest bit in the parity.")
    order: int = Field(default=2, ge=1, description="How many consecutive bits are added.")
    encoding: Literal["sign", "bit"] = Field(
        default="sign", description="The input is -1 or +1 (sign), or 0 or 1 (bit)."
    )

    @model_validator(mode="after")
    def _check_history(self) -> ParitySpec:
        require(
            self.num_timesteps > self.num_washout,
            "num_timesteps",
            f"must exceed delay + order - 1 = {self.num_washout}",
            self.num_timesteps,
            "lengthen the sequence, or lower delay or order",
        )
        return self

    @property
    def num_washout(self) -> int:
        """Timesteps at the start without a target."""
        return self.delay + self.order - 1

    def load(self) -> Task:
        """Task of kind ``sequence_classification``, metric accuracy."""
        train, validation, test = self._draw_splits()
        return Task(
            name=self.name,
            kind="sequence_classification",
            num_outputs=2,
            train=train,
            validation=validation,
            test=test,
            metric=ACCURACY,
            baselines=(majority_class(train, test, 2, ACCURACY),),
            class_names=("even", "odd"),
        )

    def _draw(self, num_samples: int, rng: np.random.Generator) -> Split:
        bits = rng.integers(2, size=(num_samples, self.num_timesteps))
        targets = np.zeros_like(bits)
        for age in range(self.delay, self.delay + self.order):
            targets[:, age:] ^= bits[:, : self.num_timesteps - age]
        targets[:, : self.num_washout] = 0
        weights = np.ones(bits.shape)
        weights[:, : self.num_washout] = 0.0
        levels = bits.astype(np.float64)
        inputs = 2.0 * levels - 1.0 if self.encoding == "sign" else levels
        return Split(inputs[:, :, None], targets, weights)
