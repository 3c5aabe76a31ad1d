"""The noise study: what does a device do to a model, and which error does it?

Every point of a job's grid is a case: a trained model's test samples on noisy Aer, beside the
exact engine. Cases run in worker processes or on a cluster, and are kept in a store as they
finish, by the content of everything that decides them.
"""

from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from qrnn_qiskit.analysis import DepthReport, build_report
from qrnn_qiskit.costing import LossBudget
from qrnn_qiskit.devices import NoiseFactors, scale_noise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import noise_for
from qrnn_qiskit.learning import QRNN
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.settings import content_id
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.noise_case import PlacedCircuit, Simulation, run_simulation
from qrnn_qiskit.studies.noise_grid import GridPoint, build_variant, list_points
from qrnn_qiskit.studies.noise_rows import NoiseRow
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.spec import JobSpec
from qrnn_qiskit.studies.train import prepare_model, torch_threads
from qrnn_qiskit.sweeps import Case, CaseStore, StoredCase, run_cases
from qrnn_qiskit.tasks import Task

# Part of every key: raise it when the same settings no longer give the same numbers.
_RESULT_VERSION = 1
_KEY_DIGITS = 32


@dataclass(frozen=True)
class NoiseStudy:
    """What `qrnn noise` reports.

    Attributes:
        job: its name.
        metric_name: of the task.
        higher_is_better: of the metric.
        rows: of finished cases, in the order of the grid.
        failures: cases that could not be run, with the reason.
        notes: values of snapshots that were missing or absurd, and what was taken instead.
        num_new: cases that were run now; the others were in the store.
        store: where cases are kept.
    """

    job: str
    metric_name: str
    higher_is_better: bool
    rows: tuple[NoiseRow, ...]
    failures: tuple[str, ...]
    notes: tuple[str, ...]
    num_new: int
    store: Path

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "job": self.job,
            "metric": self.metric_name,
            "store": str(self.store),
            "num_new": self.num_new,
            "rows": [row.to_json() for row in self.rows],
            "failures": list(self.failures),
            "notes": list(self.notes),
        }


def default_store(spec: JobSpec, runs_root: Path = Path("runs")) -> Path:
    """Where a job's cases are kept unless another file is named."""
    return runs_root / f"{spec.name}-noise" / "cases.sqlite"


def run_noise(
    spec: JobSpec,
    *,
    runs_root: Path = Path("runs"),
    store_path: Path | None = None,
    num_workers: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> NoiseStudy:
    """Runs the cases of a job's grid that its store does not have yet.

    Models of the grid are trained first, exactly, unless they are: in their run directories.

    Args:
        spec: the job; its [noise_study] has the grid.
        runs_root: where run directories and the store are.
        store_path: another store.
        num_workers: processes; one per core unless given.
        scheduler: address of a Dask scheduler whose workers run the cases instead.
        progress: where progress is shown.

    Raises:
        InputError: if the grid does not fit the job, a device cannot run a model, or the store
            cannot be used. Cases that are done are kept.

    Cost: simulator time, `num_samples * num_bases * num_shots` shots for each case; cases that
        differ in mitigation alone share them (but not in the `host` loop).
    """
    progress = progress or SilentProgress()
    path = store_path or default_store(spec, runs_root)
    with torch_threads(spec.training.num_threads):
        _make_folder(path.parent)
        plan = _Plan.build(spec, runs_root, progress)
        failures, num_new = [], 0
        with CaseStore(path) as store:
            cases = run_cases(
                store,
                plan.units,
                plan.prepare,
                run_simulation,
                num_workers=num_workers,
                scheduler=scheduler,
            )
            # Closed at once, Ctrl-C stops the workers whatever they are doing.
            with progress.stage("noise study", len(plan.by_key)) as stage, closing(cases):
                for case in cases:
                    stage.advance("" if case.is_stored else plan.describe(case.key))
                    num_new += not case.is_stored and case.error is None
                    if case.error is not None:
                        failures.append(f"{plan.describe(case.key)}: {case.error}")
            found = store.finished(plan.by_key)
    metric = plan.planned[0].placed.model.task.metric
    notes = (note for planned in plan.planned for note in planned.placed.notes)
    return NoiseStudy(
        job=spec.name,
        metric_name=metric.name,
        higher_is_better=metric.higher_is_better,
        rows=tuple(p.row(found[p.case.key]) for p in plan.planned if p.case.key in found),
        failures=tuple(failures),
        notes=tuple(dict.fromkeys(notes)),
        num_new=num_new,
        store=path,
    )


@dataclass(frozen=True, eq=False)
class _Model:
    """A trained model of the grid, and the samples that are run."""

    task: Task
    model: QRNN
    model_id: str

    @staticmethod
    def prepare(spec: JobSpec, point: GridPoint, runs_root: Path, progress: Progress) -> "_Model":
        job = build_variant(spec, point)
        trained = spec.noise_study.weights == "trained"
        task, model = prepare_model(job, runs_root, progress, train=trained)
        test = task.test.head(spec.noise_study.num_samples)
        # The other splits are not needed where the cases run.
        few = replace(task, train=task.train.head(1), validation=test, test=test)
        return _Model(few, model, _hash_model(model, few))

    @property
    def programs(self) -> tuple[SequenceProgram, ...]:
        """What is compiled: in the `host` loop every prefix."""
        program = self.model.program
        if program.cell.loop != "host":
            return (program,)
        return tuple(program.prefix(t) for t in range(1, program.num_timesteps + 1))


@dataclass(frozen=True, eq=False)
class _Placed:
    """A model of the grid on a device of the grid."""

    model: _Model
    device: CompilerDevice
    report: DepthReport

    @staticmethod
    def compile(model: _Model, device: CompilerDevice) -> "_Placed":
        try:
            compiled = device.compile(model.programs[-1])
        except InputError as error:
            raise InputError(f"noise_study.grid: {error}") from error
        return _Placed(model, device, build_report(compiled, device.target, device.profile))

    @property
    def notes(self) -> tuple[str, ...]:
        """Values of used qubits and gates that were missing or absurd."""
        remarks = noise_for(self.report.compiled, self.device.backend).remarks
        return tuple(f"{self.device.target.name}, {remark}" for remark in remarks)

    def circuits(self, factors: NoiseFactors) -> tuple[PlacedCircuit, ...]:
        """Everything that noisy Aer needs for every program."""
        circuits = []
        for program in self.model.programs:
            compiled = self.device.compile(program)
            noise = scale_noise(noise_for(compiled, self.device.backend), factors)
            circuits.append(PlacedCircuit(compiled, self.device.schedule(compiled), noise))
        return tuple(circuits)


@dataclass(frozen=True, eq=False)
class _Planned:
    """A point of the grid and the case that answers it: points may share one."""

    point: GridPoint
    placed: _Placed
    case: Case

    @property
    def unit(self) -> str:
        """Cases of one unit share their records; in the `host` loop readouts steer the rest."""
        is_host = self.placed.model.model.program.cell.loop == "host"
        return self.case.key if is_host else str(self.case.settings["simulation_id"])

    def row(self, found: StoredCase) -> NoiseRow:
        """What was found, under the names of this point (another may have run it)."""
        settings = {k: v for k, v in self.case.settings.items() if k != "simulation_id"}
        result: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in found.result.items()
        }
        return NoiseRow(**settings, **result, key=found.key)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which cases there are, and how each is run."""

    spec: JobSpec
    planned: tuple[_Planned, ...]

    @staticmethod
    def build(spec: JobSpec, runs_root: Path, progress: Progress) -> "_Plan":
        grid = list_points(spec)
        devices = {
            (point.snapshot, point.profile): _open_device(point.snapshot, point.profile)
            for point in grid
        }
        first_of_model = {point.model_axes: point for point in reversed(grid)}
        for point in first_of_model.values():
            build_variant(spec, point)  # all errors of the grid before the first training
        models = {
            axes: _Model.prepare(spec, point, runs_root, progress)
            for axes, point in first_of_model.items()
        }
        pairs = dict.fromkeys((p.model_axes, (p.snapshot, p.profile)) for p in grid)
        placed = {}
        with progress.stage("compile", len(pairs)) as stage:
            for axes, device in pairs:
                placed[axes, device] = _Placed.compile(models[axes], devices[device])
                stage.advance()
        planned = []
        for point in grid:
            place = placed[point.model_axes, (point.snapshot, point.profile)]
            planned.append(_Planned(point, place, _build_case(spec, point, place)))
        return _Plan(spec, tuple(planned))

    @property
    def units(self) -> tuple[tuple[Case, ...], ...]:
        """Cases that share a simulation."""
        units: dict[str, dict[str, Case]] = {}
        for planned in self.planned:
            units.setdefault(planned.unit, {}).setdefault(planned.case.key, planned.case)
        return tuple(tuple(cases.values()) for cases in units.values())

    @cached_property
    def by_key(self) -> dict[str, _Planned]:
        """The first point of every case, in the order of the grid."""
        return {planned.case.key: planned for planned in reversed(self.planned)}

    def prepare(self, cases: tuple[Case, ...]) -> Simulation:
        """What the worker needs for cases of one unit."""
        planned = [self.by_key[case.key] for case in cases]
        first, study = planned[0], self.spec.noise_study
        return Simulation(
            model=first.placed.model.model,
            task=first.placed.model.task,
            circuits=first.placed.circuits(first.point.factors),
            mitigations=tuple(each.point.mitigation for each in planned),
            num_shots=first.point.num_shots,
            max_standard_error=study.max_standard_error,
            max_shots=study.max_shots,
            calibration_shots=study.calibration_shots,
            # How records are read does not change them.
            seed=int(first.case.settings["simulation_id"][:15], 16),
            engine=study.engine,
            device=self.spec.aer.device if self.spec.aer else "CPU",
        )

    def describe(self, key: str) -> str:
        """A case in a few words, by the axes that vary."""
        point = self.by_key[key].point
        others = [planned.point for planned in self.planned]
        named = [
            f"{name} {value}"
            for name, value in asdict(point).items()
            if any(getattr(other, name) != value for other in others)
        ]
        return ", ".join(named) or point.snapshot


def _build_case(spec: JobSpec, point: GridPoint, placed: _Placed) -> Case:
    study, model, device = spec.noise_study, placed.model, placed.device
    program = model.model.program
    decides: dict[str, Any] = {
        "version": _RESULT_VERSION,
        "engine": study.engine,
        "model": model.model_id,
        "snapshot": device.target.snapshot_id,
        "profile": device.profile.profile_id,
        "factors": asdict(point.factors),
    }
    if study.engine == "aer":
        decides |= {
            "num_shots": point.num_shots,
            "max_standard_error": study.max_standard_error,
            "max_shots": study.max_shots,
            "calibration_shots": study.calibration_shots,
            "seed": point.seed,
        }
    loss = _scale_loss(placed.report.loss, point.factors)
    settings = {
        "snapshot": point.snapshot,
        "profile": device.profile.name,
        "num_memory": program.cell.ansatz.num_memory,
        "num_timesteps": program.num_timesteps,
        "strength_rad": point.strength_rad,
        "seed": point.seed,
        "scale": point.scale,
        "ablation": point.ablation,
        "shots": point.num_shots if study.engine == "aer" else 0,
        "mitigation": point.mitigation,
        "num_samples": model.task.test.num_samples,
        "snapshot_id": device.target.snapshot_id,
        "simulation_id": content_id(decides, _KEY_DIGITS),
        "loss_budget": asdict(loss),
        "expected_success": loss.success,
        "duration_us": placed.report.schedule.duration_ns / 1e3,
    }
    return Case(content_id({**decides, "mitigation": point.mitigation}, _KEY_DIGITS), settings)


def _scale_loss(loss: LossBudget, factors: NoiseFactors) -> LossBudget:
    return LossBudget(
        two_qubit=loss.two_qubit * factors.gates,
        one_qubit=loss.one_qubit * factors.gates,
        readout=loss.readout * factors.readout,
        reset=loss.reset * factors.reset,
        idle=loss.idle * factors.idle,
    )


def _hash_model(model: QRNN, task: Task) -> str:
    """Content id of weights, circuit and samples."""
    digest = sha256(model.program.program_id.encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + np.ascontiguousarray(value.cpu().numpy()).tobytes())
    for array in (task.test.inputs, task.test.targets):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:_KEY_DIGITS]


def _open_device(snapshot: str, profile: str | None) -> CompilerDevice:
    try:
        return open_device(snapshot, profile)
    except InputError as error:
        raise InputError(f"noise_study.grid.snapshot: {error}") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--store: must be in a writable folder, got {folder} ({error.strerror}); "
            "choose another"
        ) from error
