"""Job specs: TOML files, validated, with errors that name file, key, rule, value and cure."""

import tomllib
from math import pi
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, field_validator, model_validator

from qrnn_qiskit.compiling import load_profile
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import Mitigation
from qrnn_qiskit.learning import QRNN, Activation, GradientName, HeadView, TrainingSpec, build_qrnn
from qrnn_qiskit.learning.training import LearningRate
from qrnn_qiskit.program import Ansatz, AnsatzName, CellSpec, Loop, Pauli, Readout, SequenceProgram
from qrnn_qiskit.program.cell import Steered
from qrnn_qiskit.settings import STRICT, content_id, load_toml, parse_settings
from qrnn_qiskit.studies.noise_spec import NoiseSpec, NoiseStudySpec, check_profile
from qrnn_qiskit.tasks import Task, TaskSpec

_ID_DIGITS = 8  # Short enough to name folders.

Study = Literal["train", "infer"]


class ReadoutSpec(BaseModel):
    """One readout qubit of each bank."""

    model_config = STRICT

    pauli: Pauli = Field("Z", description="Pauli that is read")
    anchor: int = Field(description="memory qubit that is read, from 0")
    strength_rad: float = Field(pi / 2, description="phi, in (0, pi/2]; pi/2 is projective")


class ModelSpec(BaseModel):
    """The recurrent network."""

    model_config = STRICT

    loop: Loop = Field("feedforward", description="host, feedforward or open")
    ansatz: AnsatzName = Field("brick", description="sim14, line or brick")
    num_memory: int = Field(4, description="memory qubits n")
    num_layers: int = Field(1, description="layers of the ansatz per timestep")
    readouts: tuple[ReadoutSpec, ...] = Field((), description="readout qubits; none in host")
    steered: Steered = Field("rotations", description="angles that outcomes choose")
    history: int = Field(1, description="timesteps whose bits the controller sees")
    feedback_delay: int = Field(0, description="d: the controller sees m_(t-1-d)")
    readout_order: int = Field(1, description="largest product of bits read in a timestep")
    final_order: int = Field(1, description="largest product of bits read at the end")
    controller: Activation = Field("relu", description="linear, relu, gelu or glu")
    hidden_units: int = Field(64, ge=1, description="width of the controller's hidden layer")
    embedding_units: int = Field(0, ge=0, description="width of the input embedding, 0 for none")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the hidden layer")
    initial_angle_rad: float = Field(0.1, gt=0, description="bound of the initial angles")
    train_strengths: bool = Field(True, description="whether phi is trained")
    view: HeadView | None = Field(
        None, description="what the head reads: all, last or each; by task unless given"
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="of training")

    @model_validator(mode="after")
    def _check_program(self) -> "ModelSpec":
        self.build_program(num_timesteps=1)
        return self

    def build_program(self, num_timesteps: int) -> SequenceProgram:
        """The circuit description for sequences of this length."""
        cell = CellSpec(
            ansatz=Ansatz(self.ansatz, self.num_memory, self.num_layers),
            readouts=tuple(Readout(r.pauli, r.anchor, r.strength_rad) for r in self.readouts),
            loop=self.loop,
            steered=self.steered,
            history=self.history,
            feedback_delay=self.feedback_delay,
        )
        bases: tuple[Pauli, ...] = ("X", "Y", "Z") if self.loop == "host" else ("Z",)
        return SequenceProgram(
            cell,
            num_timesteps,
            bases,
            readout_order=self.readout_order,
            final_order=self.final_order,
        )

    def build_model(self, task: Task, seed: int) -> QRNN:
        """An untrained model for a task; its weights follow from the seed."""
        view = self.view
        if view is None:
            sequence_view: HeadView = "last" if self.loop == "host" else "all"
            view = sequence_view if task.kind == "classification" else "each"
        if (view == "each") != (task.kind != "classification"):
            raise InputError(
                f"model.view: must be 'each' for an output per timestep and 'all' or 'last' for "
                f"one per sequence, got {view!r} with task {task.name!r}; leave it out"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_qrnn(
                self.build_program(task.num_timesteps),
                task.num_features,
                task.num_outputs,
                view=view,
                train_strengths=self.train_strengths,
                activation=self.controller,
                hidden_units=self.hidden_units,
                embedding_units=self.embedding_units,
                dropout=self.dropout,
                initial_angle_rad=self.initial_angle_rad,
            )
        return model.to(getattr(torch, self.dtype))

    def cut(self) -> "ModelSpec":
        """The same model with the feedback cut: its controller sees inputs only."""
        return self.model_copy(update={"loop": "open"})


class SamplingSpec(BaseModel):
    """How a trained model's samples are run as shots."""

    model_config = STRICT

    backend: str = Field("fake_boston", description="fake backend, stored snapshot or ibm_*")
    num_samples: int = Field(100, ge=1, description="test samples, from the first on")
    num_shots: int = Field(500, ge=1, description="of each sample and final basis")
    mitigations: tuple[Mitigation, ...] = Field(
        ("local",), description="readout mitigations beside the raw numbers"
    )
    calibration_shots: int = Field(4000, ge=1, description="of each of four calibration rows")
    profile: str | None = Field(
        None, description="transpile profile, a name or a .toml file; made for the backend if none"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of shots")

    _check_profile = field_validator("profile")(check_profile)

    @property
    def record_id(self) -> str:
        """Content id of what decides a record, beside the angles: not how it is read."""
        unread = {"mitigations", "mode", "max_qpu_seconds"}
        settings = self.model_dump(mode="json", exclude=unread)
        if self.profile is not None:
            # What the profile says, not what it is called: a file may change.
            settings["profile"] = load_profile(self.profile).profile_id
        return content_id(settings, _ID_DIGITS)


class AerSpec(SamplingSpec):
    """How trained models run on Aer, with the noise of a device snapshot."""

    device: Literal["CPU", "GPU"] = Field("CPU", description="where Aer simulates")


class RuntimeSpec(SamplingSpec):
    """How trained models run as jobs: on IBM Quantum, or locally where the backend is no ibm_*."""

    mode: Literal["auto", "session", "batch", "job"] = Field(
        "auto", description="of submission; auto is by plan: job on the open one, else session"
    )
    max_qpu_seconds: float | None = Field(None, gt=0, description="budget of all jobs of a run")


class DeviceLoopSpec(BaseModel):
    """A few training steps with noisy Aer, or a device, in the loop, after training."""

    model_config = STRICT

    on: Literal["aer", "runtime"] = Field("aer", description="where: as [aer] or [runtime] says")
    steps: int = Field(4, ge=1, description="optimiser steps")
    batch_size: int = Field(16, ge=1, description="sequences per step")
    num_shots: int = Field(500, ge=1, description="of each sequence and final basis")
    learning_rate: LearningRate = Field(0.001, description="of Adam")
    gradient: GradientName = Field("surrogate", description="surrogate, parameter_shift or spsa")
    last_timesteps: int | None = Field(None, ge=1, description="that parameter_shift shifts")
    num_directions: int = Field(8, ge=1, description="of spsa")
    mitigation: Mitigation = Field("local", description="none, local or m3")
    calibrate_every: int = Field(
        5, ge=1, description="requests of a circuit that share one readout calibration"
    )


class JobSpec(BaseModel):
    """One runnable job."""

    model_config = STRICT

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="letters, digits, _ and -")
    task: TaskSpec
    model: ModelSpec
    training: TrainingSpec = TrainingSpec()
    noise: NoiseSpec | None = Field(None, description="device that the model is trained for")
    aer: AerSpec | None = Field(None, description="comparison on Aer after training")
    runtime: RuntimeSpec | None = Field(None, description="inference as jobs of IBM Quantum")
    device_loop: DeviceLoopSpec | None = Field(None, description="training with Aer in the loop")
    noise_study: NoiseStudySpec = NoiseStudySpec()
    control: bool = Field(True, description="train the same model with its feedback cut, too")

    @model_validator(mode="after")
    def _check_sections(self) -> "JobSpec":
        if self.device_loop is not None and getattr(self, self.device_loop.on) is None:
            raise InputError(
                f"device_loop: must come with a section [{self.device_loop.on}], got none; it "
                "names the backend"
            )
        if self.noise_study.max_shots is not None and self.model.loop == "host":
            raise InputError(
                "noise_study.max_shots: must not be set in the host loop, got "
                f"{self.noise_study.max_shots}; its readouts steer what follows, so that shots "
                "cannot be added"
            )
        return self

    def on_device(self, backend: str) -> "JobSpec":
        """The same job whose inference, and device loop, run as jobs on a backend."""
        runtime = (self.runtime or RuntimeSpec()).model_copy(update={"backend": backend})
        loop = (self.device_loop or DeviceLoopSpec()).model_copy(update={"on": "runtime"})
        return self.model_copy(update={"runtime": runtime, "device_loop": loop})

    @property
    def spec_id(self) -> str:
        """Content id of all settings."""
        return content_id(self.model_dump(mode="json"), _ID_DIGITS)

    @property
    def training_id(self) -> str:
        """Content id of what decides the trained weights: task, model, training and noise."""
        settings = self.model_dump(mode="json", include={"task", "model", "training"})
        if self.noise is not None:
            settings["noise"] = self.noise.model_dump(mode="json")
            if self.noise.profile is not None:
                settings["noise"]["profile"] = load_profile(self.noise.profile).profile_id
        return content_id(settings, _ID_DIGITS)

    @property
    def loop_id(self) -> str:
        """Content id of what decides the weights after the device loop; a budget does not."""
        settings = self.model_dump(mode="json", include={"device_loop", "aer", "runtime"})
        if settings["runtime"] is not None:
            for key in ("mode", "max_qpu_seconds"):
                del settings["runtime"][key]
        return content_id({"training": self.training_id, **settings}, _ID_DIGITS)

    def job_labels(self, study: Study) -> dict[str, str]:
        """What the jobs of a study, under these settings, are known by in the ledger of a run."""
        if study == "train":
            settings = self.loop_id
        else:
            runtime = self.runtime or RuntimeSpec()
            settings = runtime.record_id
            if self.model.loop == "host":
                # There each mitigation is a run of its own.
                settings = "-".join((settings, *runtime.mitigations))
        return {"name": self.name, "study": study, "settings": settings}

    @property
    def has_control(self) -> bool:
        """Whether a control without feedback is trained."""
        return self.control and self.model.loop == "feedforward"


def load_job(path: Path, overrides: tuple[str, ...] = ()) -> JobSpec:
    """A job spec from a TOML file.

    Args:
        path: of the file.
        overrides: `key=value` with dotted keys, values as in TOML (bare words are strings).

    Raises:
        InputError: one line that names file, key, rule, value and cure.
    """
    settings = load_toml(path, "job spec")
    for override in overrides:
        _override(settings, override)
    return parse_job(settings, str(path))


def parse_job(settings: dict[str, Any], source: str = "spec") -> JobSpec:
    """A job spec from plain settings; `source` is named in errors.

    Example:
        >>> settings = {"name": "toy", "task": {"name": "parity"}, "model": {"loop": "host"}}
        >>> parse_job(settings).model.num_memory
        4
        >>> parse_job(settings | {"modle": {}})
        Traceback (most recent call last):
        ...
        qrnn_qiskit.errors.InputError: spec: modle: must be a known key, got {}; did you mean model?
    """
    return parse_settings(JobSpec, settings, source, examples="jobs/")


def _override(settings: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise InputError(
            f"--set: must be key=value, got {override!r}; for example training.epochs=3"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    section = settings
    for part in parts[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise InputError(
                f"--set: {key.strip()} must name a section's key, got {part!r}, which is a value; "
                "for example training.epochs=3"
            )
    section[parts[-1]] = value
