"""The training study: train, control, compare on Aer, train with Aer in the loop, report."""

import csv
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from qrnn_qiskit import plotting
from qrnn_qiskit.compiling.cache import CacheStatistics
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.learning import (
    QRNN,
    EpochDone,
    StepDone,
    Trainer,
    evaluate_model,
)
from qrnn_qiskit.learning.training import evaluating
from qrnn_qiskit.studies.comparison import (
    AerComparison,
    ComparisonRow,
    Sampled,
    compare_on_aer,
    compare_on_targets,
)
from qrnn_qiskit.studies.device import compile_statistics
from qrnn_qiskit.studies.device_loop import (
    DeviceLoopResult,
    LoopTarget,
    open_loop_target,
    train_on_device,
)
from qrnn_qiskit.studies.forecast import Forecast
from qrnn_qiskit.studies.noise_spec import NoiseSpec
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.runs import RunDirectory, resumable
from qrnn_qiskit.studies.runtime_target import plan_jobs
from qrnn_qiskit.studies.spec import AerSpec, JobSpec
from qrnn_qiskit.studies.targets import build_noisy_engine, check_target
from qrnn_qiskit.tasks import Task

# A step of the exact engine takes milliseconds, one of a device seconds: save by the clock.
_SECONDS_BETWEEN_CHECKPOINTS = 10.0
# Readouts in one figure: more are too small to read.
_MOST_PANELS = 8


@dataclass(frozen=True)
class TrainResult:
    """What `qrnn train` reports."""

    run: Path
    metric_name: str
    rows: tuple[ComparisonRow, ...]
    history: tuple[EpochDone, ...]
    device_loop: DeviceLoopResult | None
    warnings: tuple[str, ...]
    figures: tuple[Path, ...]
    wall_seconds: float
    compiled: CacheStatistics

    def to_json(self) -> dict[str, Any]:
        """The same numbers for machines."""
        content = asdict(self)
        content["run"] = str(self.run)
        content["figures"] = [str(path) for path in self.figures]
        return content


@dataclass(frozen=True)
class _Findings:
    """What training and comparing gave."""

    rows: tuple[ComparisonRow, ...]
    history: tuple[EpochDone, ...]
    device_loop: DeviceLoopResult | None
    warnings: tuple[str, ...]
    figures: tuple[Path, ...]


def run_training(
    spec: JobSpec,
    *,
    runs_root: Path = Path("runs"),
    resume: bool = False,
    progress: Progress | None = None,
    confirm: Callable[[Forecast], bool] | None = None,
) -> TrainResult:
    """Trains a job's model and reports how it does on every engine that the spec names.

    Args:
        spec: the job.
        runs_root: where the run directory is made.
        resume: continue the newest run of this spec from its last checkpoint.
        progress: where progress is shown.
        confirm: asked with the forecast, of what is left if a run is continued, before anything is
            done, where jobs will be sent. No stops with `InputError` and leaves nothing behind.

    Raises:
        InputError: if the spec does not fit its task, there is nothing to resume, or a job cannot
            be run; the line says how to go on.

    Cost: with `[device_loop] on = "runtime"` QPU time, as forecast.
    """
    with torch_threads(spec.training.num_threads):
        return _run_training(spec, runs_root, resume, progress or SilentProgress(), confirm)


def _run_training(
    spec: JobSpec,
    runs_root: Path,
    resume: bool,
    progress: Progress,
    confirm: Callable[[Forecast], bool] | None,
) -> TrainResult:
    start, compiled_before = time.monotonic(), compile_statistics()
    task = spec.task.load()
    model = spec.model.build_model(task, spec.training.seed)
    on_device = spec.device_loop is not None and spec.device_loop.on == "runtime"
    for section in (spec.aer, spec.noise, spec.runtime if on_device else None):
        if section is not None:
            check_target(section, model.program)
    begun = RunDirectory.find(spec, runs_root) if resume else None
    plan = None
    if on_device:
        # First: what a device would refuse, or nobody allows, is known before anything is made.
        path = None if begun is None else begun.path
        plan = plan_jobs(spec, "train", model.program, path, confirm)
    run = begun or RunDirectory.create(spec, runs_root)
    run.write_spec(spec)
    progress.say(f"run directory {run.path}")
    with open_loop_target(spec, plan, run, progress) as target, resumable():
        found = _train_and_compare(spec, task, model, run, progress, target)
    compiled = compile_statistics() - compiled_before
    if compiled.num_compiled:
        progress.say(
            f"compiled {compiled.num_compiled} circuits in {compiled.compile_seconds:.1f} s"
        )
    result = TrainResult(
        run=run.path,
        metric_name=task.metric.name,
        rows=found.rows,
        history=found.history,
        device_loop=found.device_loop,
        warnings=found.warnings,
        figures=found.figures,
        wall_seconds=time.monotonic() - start,
        compiled=compiled,
    )
    run.write_json("metrics.json", {"format_version": 1, **result.to_json()})
    return result


def _train_and_compare(
    spec: JobSpec,
    task: Task,
    model: QRNN,
    run: RunDirectory,
    progress: Progress,
    loop_target: LoopTarget | None,
) -> _Findings:
    history = _train_for_device(spec, model, task, run, progress)
    rows = [ComparisonRow.of("exact", "exact", evaluate_model(model, task, task.test))]
    comparison = AerComparison((), (), ())
    loop_result = None
    if spec.aer is not None:
        split = task.test.head(spec.aer.num_samples)
        if split.num_samples < task.test.num_samples:
            label = "exact, same samples"
            rows.append(ComparisonRow.of(label, "exact", evaluate_model(model, task, split)))
        comparison = compare_on_aer(model, task, spec.aer, run, progress)
        rows += comparison.rows
    warnings = comparison.warnings
    figures = _draw(run, model, task, history, comparison, spec.aer)
    if loop_target is not None:
        loop_result, row = _run_device_loop(spec, loop_target, model, task, run, progress)
        rows.append(row)
        warnings = (*warnings, *loop_target.account())
    if spec.noise is not None:
        rows += _noise_rows(spec, spec.noise, model, task, run, progress)
    if spec.has_control:
        rows.append(_control_row(spec, task, run, progress))
    rows += _baseline_rows(task)
    return _Findings(
        rows=tuple(rows),
        history=tuple(history),
        device_loop=loop_result,
        warnings=warnings,
        figures=(*figures, _draw_comparison(run, rows, task)),
    )


def find_trained(spec: JobSpec, run_path: Path | None, runs_root: Path) -> RunDirectory:
    """The given run, or the newest one of a job.

    Raises:
        InputError: if there is none.
    """
    if run_path is not None:
        return RunDirectory.open(run_path)
    return RunDirectory.find(spec, runs_root, "--run", "train it first, with qrnn train")


def load_trained(run: RunDirectory, job: JobSpec | None = None) -> tuple[JobSpec, Task, QRNN]:
    """Spec, task and trained model of a run.

    Args:
        run: where it was trained.
        job: whose task and model it must be, if given.

    Raises:
        InputError: if the run is one of another task or model, or has not finished training.
    """
    spec = run.load_spec()
    if job is not None and (spec.task, spec.model) != (job.task, job.model):
        raise InputError(
            f"--run: must be a run of this job's task and model, got {run.path} of "
            f"{spec.name}; use the job that it was trained by"
        )
    task = spec.task.load()
    model = spec.model.build_model(task, spec.training.seed)
    state = run.load_checkpoint("checkpoint.pt", spec.training_id)
    if state is None:
        raise InputError(
            f"--run: must be a run with a checkpoint, got {run.path} without one; train it first"
        )
    trainer = Trainer(model, task, spec.training)
    trainer.load_state_dict(state)
    if not trainer.is_finished:
        raise InputError(
            f"--run: must have finished training, got {run.path} at step {trainer.step} of "
            f"{trainer.num_steps}; continue it with qrnn train --resume"
        )
    for _ in trainer.run():  # takes no step: puts the best weights into the model
        pass
    return spec, task, model


def prepare_model(
    spec: JobSpec, runs_root: Path, progress: Progress, *, train: bool = True
) -> tuple[Task, QRNN]:
    """A job's task and model, trained in its run directory unless it is trained already.

    Args:
        spec: the job.
        runs_root: where its run directory is, or will be.
        progress: where training shows progress.
        train: the model as it starts if not.
    """
    task = spec.task.load()
    model = spec.model.build_model(task, spec.training.seed)
    if train:
        try:
            run = RunDirectory.find(spec, runs_root)
        except InputError:
            run = RunDirectory.create(spec, runs_root)
        _train_for_device(spec, model, task, run, progress)
    return task, model


@contextmanager
def torch_threads(num_threads: int) -> Iterator[None]:
    """Torch's number of threads for a while: the last bits of results depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_for_device(
    spec: JobSpec, model: QRNN, task: Task, run: RunDirectory, progress: Progress
) -> list[EpochDone]:
    """Trains a job's model, with the errors of its [noise] if it has one."""
    title: str = spec.model.loop
    if spec.noise is None:
        return _train(spec, model, task, run, progress, "checkpoint", title)
    with _with_noise(model, spec.noise):
        title += f" for {spec.noise.snapshot}"
        return _train(spec, model, task, run, progress, "checkpoint", title)


@contextmanager
def _with_noise(model: QRNN, noise: NoiseSpec) -> Iterator[None]:
    """The model with exact readouts of a noisy device for a while."""
    before, model.engine = model.engine, build_noisy_engine(noise)
    try:
        yield
    finally:
        model.engine = before


def _train(
    spec: JobSpec,
    model: QRNN,
    task: Task,
    run: RunDirectory,
    progress: Progress,
    name: str,
    title: str,
) -> list[EpochDone]:
    trainer = Trainer(model, task, spec.training)
    state = run.load_checkpoint(f"{name}.pt", spec.training_id)
    if state is not None:
        trainer.load_state_dict(state)
    _drive(trainer, run, spec, progress, name, f"train {title}")
    return trainer.history


def _drive(
    trainer: Trainer, run: RunDirectory, spec: JobSpec, progress: Progress, name: str, title: str
) -> None:
    """Runs a trainer to its end with progress, checkpoints and a metrics file."""
    saved_at = time.monotonic()
    with progress.stage(title, trainer.num_steps, trainer.step) as stage:
        note = ""
        for event in trainer.run():
            if isinstance(event, StepDone):
                stage.advance(note or f"loss {event.loss:.3f}")
                if time.monotonic() - saved_at < _SECONDS_BETWEEN_CHECKPOINTS:
                    continue
            else:
                name_of_metric = trainer.task.metric.name
                note = (
                    f"loss {event.train_loss:.3f}, validation {name_of_metric} "
                    f"{event.validation_metric:.3f}"
                )
                run.write_text(f"{name}.csv", _history_csv(trainer.history))
            run.save_checkpoint(f"{name}.pt", spec.training_id, trainer.state_dict())
            saved_at = time.monotonic()
    run.save_checkpoint(f"{name}.pt", spec.training_id, trainer.state_dict())


def _history_csv(history: list[EpochDone]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(asdict(history[0])))
    writer.writeheader()
    writer.writerows(asdict(done) for done in history)
    return text.getvalue()


def _control_row(spec: JobSpec, task: Task, run: RunDirectory, progress: Progress) -> ComparisonRow:
    """The same model, trained the same way, whose controller sees no bits."""
    control = spec.model.cut().build_model(task, spec.training.seed)
    _train(spec, control, task, run, progress, "control", "with the feedback cut")
    return ComparisonRow.of("feedback cut", "control", evaluate_model(control, task, task.test))


def _run_device_loop(
    spec: JobSpec,
    loop_target: LoopTarget,
    model: QRNN,
    task: Task,
    run: RunDirectory,
    progress: Progress,
) -> tuple[DeviceLoopResult, ComparisonRow]:
    """Steps with shots in the loop, and how the model does on the same target after them."""
    loop, target, sampling = spec.device_loop, loop_target.target, loop_target.sampling
    assert loop is not None
    result, tuned = train_on_device(spec, sampling, target, model, task, run, progress)
    again = sampling.model_copy(update={"mitigations": (loop.mitigation,)})
    mitigations = tuple(dict.fromkeys(("none", loop.mitigation)))
    suffix = f", {loop.steps} steps in the loop"
    after = compare_on_targets(tuned, task, again, [(target, mitigations)], run, progress, suffix)
    return result, after.rows[-1]


def _noise_rows(
    spec: JobSpec, noise: NoiseSpec, model: QRNN, task: Task, run: RunDirectory, progress: Progress
) -> list[ComparisonRow]:
    """With the errors that were trained for: this model, and the same one trained without them."""
    ideal = spec.model.build_model(task, spec.training.seed)
    _train(spec, ideal, task, run, progress, "without_noise", "without noise")
    label = f"exact, errors of {noise.snapshot}"
    rows = []
    for trained, suffix in ((model, ""), (ideal, ", trained without")):
        with _with_noise(trained, noise):
            result = evaluate_model(trained, task, task.test)
        rows.append(ComparisonRow.of(f"{label}{suffix}", "exact", result))
    if spec.aer is not None:
        suffix = ", trained without"
        rows += compare_on_aer(ideal, task, spec.aer, run, progress, suffix, ideal=False).rows
    return rows


def _baseline_rows(task: Task) -> list[ComparisonRow]:
    nan = float("nan")
    return [
        ComparisonRow(
            label=baseline.name,
            kind="baseline",
            metric=baseline.value,
            metric_error=baseline.standard_error,
            loss=nan if baseline.loss is None else baseline.loss,
            loss_error=nan,
            num_samples=task.test.num_samples,
        )
        for baseline in task.baselines
    ]


def _draw(
    run: RunDirectory,
    model: QRNN,
    task: Task,
    history: list[EpochDone],
    comparison: AerComparison,
    aer: AerSpec | None,
) -> tuple[Path, ...]:
    paths = []
    if history:
        baselines = [(baseline.name, baseline.value) for baseline in task.baselines]
        figure = plotting.plot_training(
            history, task.metric.name, task.metric.higher_is_better, baselines
        )
        paths.append(_save(run, figure, "training"))
    if aer is not None and comparison.sampled:
        paths.append(_save(run, draw_trajectories(model, task, comparison.sampled), "readouts"))
    return tuple(paths)


def draw_trajectories(
    model: QRNN, task: Task, sampled: tuple[Sampled, ...], sample: int = 0
) -> Any:
    """Readouts z_t of one test sample on every engine, as a figure."""
    with evaluating(model):
        exact = model.read(torch.from_numpy(task.test.inputs[sample : sample + 1]))
    series: dict[str, Any] = {"exact": (exact.steps[0].double().numpy(), None)}
    for found in sampled:
        error = None if found.steps_error is None else found.steps_error[sample]
        series[found.label] = (found.readouts.steps[sample].double().numpy(), error)
    names = model.program.readout_names[:_MOST_PANELS]
    shown = {
        label: (value[:, : len(names)], None if error is None else error[:, : len(names)])
        for label, (value, error) in series.items()
    }
    return plotting.plot_trajectories(shown, names, f"Readouts of test sample {sample}")


def _draw_comparison(run: RunDirectory, rows: list[ComparisonRow], task: Task) -> Path:
    return _save(run, plotting.plot_comparison(rows, task.metric.name), "comparison")


def _save(run: RunDirectory, figure: Any, name: str) -> Path:
    path = run.figure_path(name)
    figure.savefig(path, dpi=150)
    return path
