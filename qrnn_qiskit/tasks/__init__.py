"""Data sets, their metrics, and the trivial predictors that a model has to beat.

``TaskSpec`` is the union of all settings, told apart by ``name``; ``spec.load()`` gives a ``Task``.

Example:
    >>> from pydantic import TypeAdapter
    >>> spec = TypeAdapter(TaskSpec).validate_python({"name": "parity", "delay": 2, "seed": 7})
    >>> task = spec.load()
    >>> task.metric.name, task.num_timesteps
    ('accuracy', 12)
"""

from typing import Annotated

from pydantic import Field

from qrnn_qiskit.tasks.copying import CopyingSpec
from qrnn_qiskit.tasks.digits import DigitsSpec
from qrnn_qiskit.tasks.equalisation import EqualisationSpec
from qrnn_qiskit.tasks.metrics import (
    ACCURACY,
    CROSS_ENTROPY,
    METRICS,
    MSE,
    NRMSE,
    SYMBOL_ERROR_RATE,
    Kind,
    Metric,
    loss,
)
from qrnn_qiskit.tasks.narma import NarmaSpec
from qrnn_qiskit.tasks.parity import ParitySpec
from qrnn_qiskit.tasks.series_csv import SeriesCsvSpec
from qrnn_qiskit.tasks.task import Baseline, Split, Task

TaskSpec = Annotated[
    DigitsSpec | CopyingSpec | ParitySpec | NarmaSpec | EqualisationSpec | SeriesCsvSpec,
    Field(discriminator="name"),
]
"""Settings of any task; the field ``name`` says of which."""

__all__ = [
    "ACCURACY",
    "CROSS_ENTROPY",
    "METRICS",
    "MSE",
    "NRMSE",
    "SYMBOL_ERROR_RATE",
    "Baseline",
    "CopyingSpec",
    "DigitsSpec",
    "EqualisationSpec",
    "Kind",
    "Metric",
    "NarmaSpec",
    "ParitySpec",
    "SeriesCsvSpec",
    "Split",
    "Task",
    "TaskSpec",
    "loss",
]
