"""The inference study: a trained model on test samples, exactly or on Aer."""

import csv
import io
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from qrnn_qiskit.learning import QRNN, evaluate_outputs, predict
from qrnn_qiskit.studies.comparison import (
    AerComparison,
    ComparisonRow,
    compare_on_aer,
    compare_on_targets,
)
from qrnn_qiskit.studies.forecast import Forecast
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.runs import RunDirectory, resumable
from qrnn_qiskit.studies.runtime_target import JobLines, open_runtime_target, plan_jobs
from qrnn_qiskit.studies.spec import AerSpec, JobSpec, RuntimeSpec, SamplingSpec
from qrnn_qiskit.studies.train import find_trained, load_trained, torch_threads
from qrnn_qiskit.tasks import Split, Task

EngineName = Literal["exact", "aer", "runtime"]


@dataclass(frozen=True)
class InferResult:
    """What `qrnn infer` reports."""

    run: Path
    metric_name: str
    rows: tuple[ComparisonRow, ...]
    predictions: Path
    warnings: tuple[str, ...]
    wall_seconds: float

    def to_json(self) -> dict[str, Any]:
        """The same numbers for machines."""
        return {**asdict(self), "run": str(self.run), "predictions": str(self.predictions)}


def run_inference(
    spec: JobSpec,
    *,
    engine: EngineName = "exact",
    run_path: Path | None = None,
    runs_root: Path = Path("runs"),
    progress: Progress | None = None,
    confirm: Callable[[Forecast], bool] | None = None,
) -> InferResult:
    """Runs a trained model on the test split and writes its predictions.

    Args:
        spec: the job; its [aer] section says how Aer runs, [runtime] how jobs do.
        engine: `exact`, `aer` (ideal and noisy, raw and mitigated), or `runtime`: jobs of IBM
            Quantum, kept in the run's ledger. Running it again sends nothing twice.
        run_path: the run whose weights are used; the newest run of this job unless given.
        runs_root: where runs are looked for.
        progress: where progress is shown.
        confirm: asked with the forecast of what is left before the first job is sent; no stops with
            `InputError`.

    Raises:
        InputError: if no trained run is found, it is one of another task or model, or a job cannot
            be run; the line says how to go on.

    Cost: with `runtime` QPU time, as forecast.
    """
    start = time.monotonic()
    run = find_trained(spec, run_path, runs_root)
    trained, task, model = load_trained(run, spec)
    rows: tuple[ComparisonRow, ...]
    warnings: tuple[str, ...]
    if engine == "exact":
        outputs = predict(model, task.test.inputs)
        rows = (ComparisonRow.of("exact", "exact", evaluate_outputs(task, outputs, task.test)),)
        split, warnings = task.test, ()
    else:
        sampling: SamplingSpec
        # With the training's threads: the last bits of angles decide whether a record is used.
        with torch_threads(trained.training.num_threads):
            if engine == "aer":
                sampling = spec.aer or AerSpec()
                comparison = compare_on_aer(model, task, sampling, run, progress)
            else:
                sampling = spec.runtime or RuntimeSpec()
                comparison = _run_jobs(spec, model, task, run, progress, confirm)
        rows, warnings = comparison.rows, comparison.warnings
        split = task.test.head(sampling.num_samples)
        with torch.no_grad():
            outputs = model.answer(comparison.sampled[-1].readouts).double().numpy()
    name = f"predictions-{engine}.csv"
    run.write_text(name, _predictions_csv(task, outputs, split))
    return InferResult(
        run=run.path,
        metric_name=task.metric.name,
        rows=rows,
        predictions=run.path / name,
        warnings=warnings,
        wall_seconds=time.monotonic() - start,
    )


def _run_jobs(
    spec: JobSpec,
    model: QRNN,
    task: Task,
    run: RunDirectory,
    progress: Progress | None,
    confirm: Callable[[Forecast], bool] | None,
) -> AerComparison:
    progress = progress or SilentProgress()
    plan = plan_jobs(spec, "infer", model.program, run.path, confirm)
    with open_runtime_target(plan, run.path, JobLines(progress)) as target, resumable():
        mitigations = dict.fromkeys(("none", *plan.spec.mitigations))
        found = compare_on_targets(
            model, task, plan.spec, [(target.sampling, tuple(mitigations))], run, progress
        )
        return replace(found, warnings=(target.account(), *found.warnings))


def _predictions_csv(task: Task, outputs: np.ndarray, split: Split) -> str:
    """One line per sample, and per timestep where there is an output for each."""
    text = io.StringIO()
    writer = csv.writer(text)
    per_timestep = task.kind != "classification"
    names = task.class_names or tuple(str(index) for index in range(task.num_outputs))
    writer.writerow(["sample", *(["timestep"] if per_timestep else []), "target", "prediction"])
    regression = task.kind == "sequence_regression"
    predicted = outputs.reshape(split.targets.shape) if regression else outputs.argmax(axis=-1)
    for place in np.ndindex(split.targets.shape):
        target, prediction = split.targets[place], predicted[place]
        shown = (target, prediction) if regression else (names[target], names[prediction])
        writer.writerow([place[0], *(index + 1 for index in place[1:]), *shown])
    return text.getvalue()
