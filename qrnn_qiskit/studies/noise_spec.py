"""Settings of noise: what a model is trained against, and the grid of a noise study."""

from math import pi
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from qrnn_qiskit.compiling import load_profile
from qrnn_qiskit.devices import Ablation
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import Mitigation
from qrnn_qiskit.settings import STRICT

Value = TypeVar("Value")
Axis = tuple[Value, ...]

ProfileName = Annotated[str | None, Field(description="name or .toml file; the device's if none")]
Scale = Annotated[float, Field(ge=0, le=100, description="factor on the device's errors")]


def check_profile(profile: str | None) -> str | None:
    """Refuses a profile that does not exist, while the key that names it is known.

    Raises:
        InputError: if there is no such profile.
    """
    if profile is not None:
        try:
            load_profile(profile)
        except InputError as error:
            # The key names it already.
            raise InputError(str(error).removeprefix("profile: ")) from error
    return profile


class NoiseSpec(BaseModel):
    """The device that a model is trained for: the exact engine takes its errors."""

    model_config = STRICT

    snapshot: str = Field(description="fake backend, stored snapshot or ibm_*")
    profile: ProfileName = None
    scale: Scale = 1.0
    ablation: Ablation = Field("all", description="errors that are on, for example no_idle")

    _check_profile = field_validator("profile")(check_profile)


class GridSpec(BaseModel):
    """Axes of a grid; every combination is a case. An axis left out has one value."""

    model_config = STRICT

    snapshot: Axis[str] | None = Field(None, description="devices; that of [aer] if none")
    profile: Axis[str] | None = Field(None, description="transpile profiles")
    scale: Axis[Scale] = Field((1.0,), description="factors on the device's errors")
    ablation: Axis[Ablation] = Field(("all",), description="errors that are on")
    num_timesteps: Axis[int] | None = Field(None, description="T; a model is trained for each")
    num_memory: Axis[int] | None = Field(None, description="n; a model is trained for each")
    strength_rad: Axis[float] | None = Field(
        None, description="phi of every readout, fixed; a model is trained for each"
    )
    num_shots: Axis[Annotated[int, Field(ge=1)]] | None = Field(
        None, description="of each sample and final basis; those of [aer] if none"
    )
    mitigation: Axis[Mitigation] = Field(("none",), description="none, local or m3")
    seed: Axis[Annotated[int, Field(ge=0, lt=2**32)]] | None = Field(
        None, description="of weights and shots; a model is trained for each"
    )

    @field_validator("profile")
    @classmethod
    def _check_profiles(cls, profiles: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for profile in profiles or ():
            check_profile(profile)
        return profiles

    @field_validator("strength_rad")
    @classmethod
    def _check_strengths(cls, strengths: tuple[float, ...] | None) -> tuple[float, ...] | None:
        for strength in strengths or ():
            if not 0 < strength <= pi / 2:
                raise InputError(
                    f"must lie in (0, pi/2], got {strength}; pi/2 is a projective readout"
                )
        return strengths

    @field_validator("*")
    @classmethod
    def _check_distinct(cls, values: Any, info: ValidationInfo) -> Any:
        if values is not None and not values:
            raise InputError("must hold a value, got []; add one, or leave the axis out")
        if values is not None and len(set(values)) < len(values):
            raise InputError(f"must hold each value once, got {list(values)}; remove the copies")
        return values


class NoiseStudySpec(BaseModel):
    """What is simulated in every case of a noise study."""

    model_config = STRICT

    engine: Literal["aer", "exact"] = Field(
        "aer", description="exact: the same errors without shots, for few memory qubits"
    )
    grid: tuple[GridSpec, ...] = Field(
        (GridSpec(),), description="a grid, or several whose points are put together"
    )
    num_samples: int = Field(20, ge=3, description="test samples, from the first on")
    weights: Literal["trained", "untrained"] = Field(
        "trained", description="untrained: as the model starts"
    )
    calibration_shots: int = Field(4000, ge=1, description="of each of four calibration rows")
    max_standard_error: float | None = Field(
        None, gt=0, description="add shots until the rms error of raw readouts is below this"
    )
    max_shots: int | None = Field(
        None, ge=1, description="of each sample and final basis, with max_standard_error"
    )

    @field_validator("grid", mode="before")
    @classmethod
    def _wrap_grid(cls, grid: Any) -> Any:
        if grid in ((), []):
            raise InputError("must hold a grid, got []; leave it out for a single case")
        return (grid,) if isinstance(grid, dict) else grid

    @model_validator(mode="after")
    def _check_engine(self) -> "NoiseStudySpec":
        if self.engine == "exact":
            for grid in self.grid:
                if grid.mitigation != ("none",) or grid.num_shots is not None:
                    axis = "num_shots" if grid.num_shots is not None else "mitigation"
                    raise InputError(
                        f"grid.{axis}: must be left out with engine = 'exact', got "
                        f"{list(getattr(grid, axis))}; it takes no shots"
                    )
            if self.max_shots is not None:
                raise InputError(
                    f"max_shots: must be left out with engine = 'exact', got {self.max_shots}; "
                    "it takes no shots"
                )
        return self

    @model_validator(mode="after")
    def _check_stop(self) -> "NoiseStudySpec":
        if (self.max_standard_error is None) != (self.max_shots is None):
            missing = "max_shots" if self.max_shots is None else "max_standard_error"
            raise InputError(
                f"{missing}: must be given, too, got nothing; shots are added until one of "
                "max_standard_error and max_shots is reached"
            )
        return self
