"""The inference study: a trained model on test samples, exactly or on Aer."""

import csv
import io
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from qrnn_qiskit.learning import evaluate_outputs, predict
from qrnn_qiskit.studies.comparison import ComparisonRow, compare_on_aer
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.spec import AerSpec, JobSpec
from qrnn_qiskit.studies.train import find_trained, load_trained, torch_threads
from qrnn_qiskit.tasks import Split, Task

EngineName = Literal["exact", "aer"]


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
) -> InferResult:
    """Runs a trained model on the test split and writes its predictions.

    Args:
        spec: the job; its [aer] section says how Aer runs.
        engine: `exact`, or `aer` (ideal and noisy, raw and mitigated).
        run_path: the run whose weights are used; the newest run of this job unless given.
        runs_root: where runs are looked for.
        progress: where progress is shown.

    Raises:
        InputError: if no trained run is found, or it is one of another task or model.
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
        aer = spec.aer or AerSpec()
        # With the training's threads: the last bits of angles decide whether a record is used.
        with torch_threads(trained.training.num_threads):
            comparison = compare_on_aer(model, task, aer, run, progress or SilentProgress())
        rows, warnings = comparison.rows, comparison.warnings
        split = task.test.head(aer.num_samples)
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
