"""Copying memory: repeat, after a delay, what was shown at the start."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from pydantic import Field

from qrnn_qiskit.tasks.metrics import CROSS_ENTROPY
from qrnn_qiskit.tasks.spec import GeneratedTaskSettings
from qrnn_qiskit.tasks.task import Baseline, Split, Task


class CopyingSpec(GeneratedTaskSettings):
    """Copying memory in the form of Arjovsky, Shah, Bengio (arXiv 1511.06464, section 5.1).

    The input is ``memory_length`` symbols, ``delay`` - 1 blanks, a delimiter, ``memory_length``
    blanks, one-hot: symbols 0 .. ``num_symbols`` - 1, then blank, then delimiter. The target is
    blank until the delimiter has passed, then the symbols in order; the delimiter is never a
    target, so there are ``num_symbols`` + 1 classes. ``delay`` is the literature's T, and a
    sequence has ``delay`` + 2 ``memory_length`` timesteps. The metric is the cross-entropy over
    all of them; knowing everything but the symbols gives
    ``memory_length`` ln(``num_symbols``) / (``delay`` + 2 ``memory_length``).

    Example:
        >>> task = CopyingSpec(delay=10, num_train=8, num_validation=2, num_test=2).load()
        >>> task.num_timesteps, round(task.baselines[0].value, 4)
        (30, 0.6931)
    """

    name: Literal["copying"] = "copying"
    delay: int = Field(default=10, ge=1, description="Timesteps from last symbol to delimiter.")
    memory_length: int = Field(default=10, ge=1, description="Symbols to remember.")
    num_symbols: int = Field(default=8, ge=2, description="Size of the alphabet.")

    @property
    def num_timesteps(self) -> int:
        """Length of a sequence."""
        return self.delay + 2 * self.memory_length

    def load(self) -> Task:
        """Task of kind ``sequence_classification``, metric cross-entropy in nats."""
        train, validation, test = self._draw_splits()
        symbol_names = tuple(f"symbol {index}" for index in range(self.num_symbols))
        return Task(
            name=self.name,
            kind="sequence_classification",
            num_outputs=self.num_symbols + 1,
            train=train,
            validation=validation,
            test=test,
            metric=CROSS_ENTROPY,
            baselines=(self._memoryless(),),
            class_names=(*symbol_names, "blank"),
        )

    def _memoryless(self) -> Baseline:
        value = self.memory_length * math.log(self.num_symbols) / self.num_timesteps
        return Baseline("memoryless", value, standard_error=0.0, loss=value)

    def _draw(self, num_samples: int, rng: np.random.Generator) -> Split:
        blank, delimiter = self.num_symbols, self.num_symbols + 1
        symbols = rng.integers(self.num_symbols, size=(num_samples, self.memory_length))
        shown = np.full((num_samples, self.num_timesteps), blank, dtype=np.int64)
        shown[:, : self.memory_length] = symbols
        shown[:, self.memory_length + self.delay - 1] = delimiter
        targets = np.full((num_samples, self.num_timesteps), blank, dtype=np.int64)
        targets[:, -self.memory_length :] = symbols
        return Split(np.eye(self.num_symbols + 2)[shown], targets)
