"""What the settings of every task share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from qrnn_qiskit.tasks.splitting import split_generators

if TYPE_CHECKING:
    import numpy as np

    from qrnn_qiskit.tasks.task import Split, Task


class TaskSettings(BaseModel):
    """Settings from which one task follows, bit for bit.

    Example:
        >>> from qrnn_qiskit.tasks import ParitySpec
        >>> ParitySpec(seed=3) == ParitySpec(seed=3)
        True
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, description="Seed of everything random in the data set.")

    @abstractmethod
    def load(self) -> Task:
        """The task that these settings describe."""


class GeneratedTaskSettings(TaskSettings):
    """Settings of a task whose samples are drawn, each split from its own random stream.

    So a larger ``num_train`` leaves validation and test as they were.

    Example:
        >>> from qrnn_qiskit.tasks import ParitySpec
        >>> ParitySpec(num_train=64).load().train.num_samples
        64
    """

    num_train: int = Field(default=512, ge=8, description="Sequences to train on.")
    num_validation: int = Field(default=128, ge=2, description="Sequences to select a model on.")
    num_test: int = Field(default=512, ge=2, description="Sequences to report the metric on.")

    def _draw_splits(self) -> tuple[Split, Split, Split]:
        """Train, validation and test."""
        train_rng, validation_rng, test_rng = split_generators(self.seed)
        return (
            self._draw(self.num_train, train_rng),
            self._draw(self.num_validation, validation_rng),
            self._draw(self.num_test, test_rng),
        )

    @abstractmethod
    def _draw(self, num_samples: int, rng: np.random.Generator) -> Split:
        """Samples of one split."""
