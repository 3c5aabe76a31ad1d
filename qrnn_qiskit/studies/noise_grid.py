"""The points of a noise study's grid: which model, on which device, read how."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any

from qrnn_qiskit.devices import Ablation, NoiseFactors
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import Mitigation
from qrnn_qiskit.studies.noise_spec import GridSpec
from qrnn_qiskit.studies.spec import JobSpec, parse_job

_DEFAULT_SHOTS = 500
_DEFAULT_SNAPSHOT = "fake_boston"


@dataclass(frozen=True)
class GridPoint:
    """One combination of the axes; None where an axis is left to the job or the device."""

    num_memory: int
    num_timesteps: int | None
    strength_rad: float | None
    seed: int
    snapshot: str
    profile: str | None
    scale: float
    ablation: Ablation
    num_shots: int
    mitigation: Mitigation

    @property
    def factors(self) -> NoiseFactors:
        """What each part of the device's noise is multiplied with."""
        return NoiseFactors.of(self.ablation, self.scale)

    @property
    def model_axes(self) -> tuple[Any, ...]:
        """What decides the model: points that agree here share its weights."""
        return self.num_memory, self.num_timesteps, self.strength_rad, self.seed


AXES = tuple(field.name for field in fields(GridPoint))


def list_points(spec: JobSpec) -> tuple[GridPoint, ...]:
    """Every combination of each of a job's grids, once; the last axis varies fastest.

    Example:
        >>> from qrnn_qiskit.studies.spec import parse_job
        >>> settings = {"name": "toy", "task": {"name": "parity"}, "model": {"loop": "host"}}
        >>> grid = {"grid": {"scale": [0, 1], "ablation": ["all", "no_idle"]}}
        >>> points = list_points(parse_job(settings | {"noise_study": grid}))
        >>> [(point.scale, point.ablation) for point in points]
        [(0.0, 'all'), (0.0, 'no_idle'), (1.0, 'all'), (1.0, 'no_idle')]
    """
    points = (point for grid in spec.noise_study.grid for point in _points_of(spec, grid))
    return tuple(dict.fromkeys(points))


def _points_of(spec: JobSpec, grid: GridSpec) -> Iterator[GridPoint]:
    aer = spec.aer
    snapshot = spec.noise.snapshot if spec.noise else aer.backend if aer else _DEFAULT_SNAPSHOT
    profile = spec.noise.profile if spec.noise else aer.profile if aer else None
    values: dict[str, Iterable[Any]] = {
        "num_memory": grid.num_memory or (spec.model.num_memory,),
        "num_timesteps": grid.num_timesteps or (None,),
        "strength_rad": grid.strength_rad or (None,),
        "seed": (spec.training.seed,) if grid.seed is None else grid.seed,
        "snapshot": grid.snapshot or (snapshot,),
        "profile": grid.profile or (profile,),
        "scale": grid.scale,
        "ablation": grid.ablation,
        "num_shots": grid.num_shots or (aer.num_shots if aer else _DEFAULT_SHOTS,),
        "mitigation": grid.mitigation,
    }
    for point in product(*(values[axis] for axis in AXES)):
        yield GridPoint(*point)


def build_variant(spec: JobSpec, point: GridPoint) -> JobSpec:
    """The job whose model a point runs.

    Raises:
        InputError: if the job's task or model does not allow the point's values.
    """
    settings = spec.model_dump(mode="json")
    settings["model"]["num_memory"] = point.num_memory
    settings["training"]["seed"] = point.seed
    if point.num_timesteps is not None:
        if "num_timesteps" not in settings["task"]:
            raise InputError(
                "noise_study.grid.num_timesteps: must be left out with a task whose length is "
                f"fixed, got {point.num_timesteps} with task {spec.task.name!r}; remove the axis"
            )
        settings["task"]["num_timesteps"] = point.num_timesteps
    if point.strength_rad is not None:
        if spec.model.loop == "host":
            raise InputError(
                "noise_study.grid.strength_rad: must be left out in the host loop, got "
                f"{point.strength_rad}; it has no readout qubits"
            )
        for readout in settings["model"]["readouts"]:
            readout["strength_rad"] = point.strength_rad
        settings["model"]["train_strengths"] = False
    shown = {name: value for name, value in asdict(point).items() if name in _MODEL_AXES}
    named = ", ".join(f"{name} = {value}" for name, value in shown.items() if value is not None)
    return parse_job(settings, f"noise_study.grid ({named})")


_MODEL_AXES = ("num_memory", "num_timesteps", "strength_rad", "seed")
