"""Rows of a noise study: where on the grid, what was found, and the same as a table."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class NoiseRow:
    """One case: its place on the grid, its metric, and how its readouts compare with exact ones.

    Attributes:
        snapshot: name of the device snapshot.
        profile: that circuits were compiled with.
        num_memory: n.
        num_timesteps: T.
        strength_rad: phi of every readout, None if each has its own.
        seed: of weights and shots.
        scale: factor on all errors that are on.
        ablation: which errors are on.
        shots: asked for, of each sample and final basis.
        mitigation: how records were read.
        metric: the task's, over samples; `metric_error` is its standard error.
        loss: the task's, over samples.
        exact_metric: of the exact engine without noise, on the same samples.
        num_samples: how many.
        num_shots: that were taken.
        standard_error: rms over readouts, from shots.
        deviation: rms of noisy minus exact readouts, less what shots explain.
        retained: slope of noisy against exact readouts at each timestep; None where exact
            readouts hardly vary.
        retained_final: of the final measurement.
        bias: mean over samples of noisy minus exact, of each readout.
        memory_z: contrast of |0> and |1> that the readouts of each timestep find, 1 without noise;
            `memory_z_predicted` is what waiting leaves by T1. None where there is no Z readout.
        memory_z_final: the same of the final measurement, `memory_x_final` of |+> and |->.
        loss_budget: expected errors by cause (lambda), from the schedule, times the factors.
        expected_success: exp(-lambda).
        duration_us: of the circuit.
        snapshot_id: content id of the device snapshot.
        key: content id of the case.
    """

    snapshot: str
    profile: str
    num_memory: int
    num_timesteps: int
    strength_rad: float | None
    seed: int
    scale: float
    ablation: str
    shots: int
    mitigation: str
    metric: float
    metric_error: float
    loss: float
    loss_error: float
    exact_metric: float
    exact_metric_error: float
    exact_loss: float
    exact_loss_error: float
    num_samples: int
    num_shots: int
    standard_error: float
    deviation: float
    deviation_error: float
    retained: tuple[float | None, ...]
    retained_error: tuple[float | None, ...]
    retained_final: float | None
    retained_final_error: float | None
    bias: tuple[float, ...]
    bias_error: tuple[float, ...]
    memory_z: tuple[float, ...] | None
    memory_z_predicted: tuple[float, ...] | None
    memory_z_final: float | None
    memory_z_final_predicted: float | None
    memory_x_final: float | None
    memory_x_final_predicted: float | None
    loss_budget: dict[str, float]
    expected_success: float
    duration_us: float
    snapshot_id: str
    key: str

    @property
    def predicted(self) -> tuple[float, ...]:
        """The schedule's expected success after each timestep, exp(-lambda t/T)."""
        total = self.num_timesteps
        return tuple(self.expected_success ** (t / total) for t in range(1, total + 1))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {**asdict(self), "predicted": list(self.predicted)}


AXES = ("snapshot", "profile", "num_memory", "num_timesteps", "strength_rad", "seed", "scale",
        "ablation", "shots", "mitigation")  # fmt: skip
"""Fields of a row that say where on the grid it is."""


def varying_axes(rows: Sequence[NoiseRow]) -> tuple[str, ...]:
    """Axes that have more than one value among rows."""
    return tuple(axis for axis in AXES if len({getattr(row, axis) for row in rows}) > 1)


def rows_csv(rows: Iterable[NoiseRow]) -> str:
    """One line per row; readouts of timesteps in columns of their own, causes of loss, too."""
    flat = [_flatten(row) for row in rows]
    names = dict.fromkeys(name for line in flat for name in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(names), restval="")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flatten(row: NoiseRow) -> dict[str, Any]:
    line: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, tuple):
            numbered = enumerate(value, start=1)
            line |= {f"{field.name}_{index}": number for index, number in numbered}
        elif isinstance(value, dict):
            line |= {f"lambda_{cause}": number for cause, number in value.items()}
        else:
            line[field.name] = value
    return line
