"""A trained model on Aer: ideal, with a device's noise, and with readout error mitigated."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from qrnn_qiskit.estimation import (
    Mitigation,
    ReadoutCalibration,
    Recalibration,
    ShotEvaluator,
    estimate_steering_errors,
)
from qrnn_qiskit.execution import SeedStream
from qrnn_qiskit.learning import QRNN, Evaluation, Readouts, ShotEngine, evaluate_outputs
from qrnn_qiskit.learning.training import evaluating
from qrnn_qiskit.plotting import RowKind
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.runs import RunDirectory
from qrnn_qiskit.studies.spec import AerSpec, SamplingSpec
from qrnn_qiskit.studies.targets import SamplingTarget, build_ideal_target, build_noisy_target
from qrnn_qiskit.tasks import Split, Task


@dataclass(frozen=True)
class ComparisonRow:
    """One line of the final table, with standard errors over samples."""

    label: str
    kind: RowKind
    metric: float
    metric_error: float
    loss: float
    loss_error: float
    num_samples: int
    num_shots: int | None = None
    mitigation: Mitigation = "none"

    @staticmethod
    def of(label: str, kind: RowKind, result: Evaluation, **more: object) -> "ComparisonRow":
        """A row from an evaluation."""
        return ComparisonRow(label, kind, **asdict(result), **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sampled:
    """Readouts of some samples on an executor, and how they were read.

    Attributes:
        label: for tables and figures.
        mitigation: of these readouts.
        readouts: of every sample.
        steps_error: standard errors of `readouts.steps`, or None where they are not known.
    """

    label: str
    mitigation: Mitigation
    readouts: Readouts
    steps_error: np.ndarray | None


@dataclass(frozen=True)
class AerComparison:
    """All Aer rows of a model, their readouts, and the caveats that belong under the table."""

    rows: tuple[ComparisonRow, ...]
    sampled: tuple[Sampled, ...]
    warnings: tuple[str, ...]


def compare_on_aer(
    model: QRNN,
    task: Task,
    spec: AerSpec,
    run: RunDirectory | None = None,
    progress: Progress | None = None,
    suffix: str = "",
    ideal: bool = True,
) -> AerComparison:
    """Runs the first test samples on ideal and noisy Aer, and reads them raw and mitigated.

    Records are kept in the run directory; those that are there already are not run again.

    Args:
        model: trained.
        task: whose test split is used.
        spec: backend, samples, shots, mitigations.
        run: where records are kept.
        progress: where progress is shown.
        suffix: of labels and record names, for a second comparison in one run.
        ideal: whether ideal Aer is run, too.

    Cost: samples x shots on Aer for each of the two targets; in the `host` loop 3 T times that,
        for each mitigation.
    """
    targets: list[tuple[SamplingTarget, tuple[Mitigation, ...]]] = []
    if ideal:
        targets.append((build_ideal_target(spec), ("none",)))
    targets.append((build_noisy_target(spec), ("none", *spec.mitigations)))
    found = compare_on_targets(model, task, spec, targets, run, progress, suffix)
    simulated = f"gate, readout and reset errors of {spec.backend} and waiting are simulated"
    caveat = f"{simulated}; crosstalk and drift are not"
    return replace(found, warnings=(caveat, *found.warnings))


def compare_on_targets(
    model: QRNN,
    task: Task,
    spec: SamplingSpec,
    targets: Sequence[tuple[SamplingTarget, Sequence[Mitigation]]],
    run: RunDirectory | None = None,
    progress: Progress | None = None,
    suffix: str = "",
) -> AerComparison:
    """Runs the first test samples on each target, and reads them with each of its mitigations.

    Args:
        model: trained.
        task: whose test split is used.
        spec: samples and shots.
        targets: with the mitigations of each.
        run: where records are kept.
        progress: where progress is shown.
        suffix: of labels and record names.
    """
    split = task.test.head(spec.num_samples)
    reader = _HostReader if model.program.cell.loop == "host" else _CircuitReader
    rows, sampled, warnings = [], [], []
    for target, mitigations in targets:
        with evaluating(model):
            reading = reader(model, split, spec, target, run, progress or SilentProgress(), suffix)
        for mitigation in dict.fromkeys(mitigations):
            with evaluating(model):
                found = reading.read(mitigation)
                outputs = model.answer(found.readouts).double().numpy()
            sampled.append(found)
            result = evaluate_outputs(task, outputs, split)
            row = ComparisonRow.of(
                found.label,
                "sampled",
                result,
                num_shots=spec.num_shots,
                mitigation=found.mitigation,
            )
            rows.append(row)
        warnings += [reading.warning, *target.remarks(model.program)]
    caveats = filter(None, dict.fromkeys(warnings))
    return AerComparison(tuple(rows), tuple(sampled), tuple(caveats))


@dataclass
class _Reader(ABC):
    """Reads the samples of a split on one target, with one mitigation after another."""

    model: QRNN
    split: Split
    spec: SamplingSpec
    target: SamplingTarget
    run: RunDirectory | None
    progress: Progress
    suffix: str
    warning: str = ""

    @abstractmethod
    def read(self, mitigation: Mitigation) -> Sampled:
        """The readouts of every sample."""

    def label(self, mitigation: Mitigation) -> str:
        added = "" if mitigation == "none" else f" + {mitigation}"
        return f"{self.target.label}{self.suffix}{added}"

    def load(self, name: str, **key: np.ndarray) -> dict[str, np.ndarray] | None:
        """Arrays of an earlier run under the same settings and key."""
        saved = self.run.load_arrays(_file_name(name)) if self.run is not None else None
        if saved is None or saved.get("record_id") != np.array(self.spec.record_id):
            return None
        same = all(np.array_equal(saved.get(part, ()), value) for part, value in key.items())
        return saved if same else None

    def save(self, name: str, **arrays: np.ndarray) -> None:
        if self.run is not None:
            record_id = np.array(self.spec.record_id)
            executor = np.array(self.target.executor.name)
            self.run.save_arrays(_file_name(name), record_id=record_id, executor=executor, **arrays)


@dataclass
class _CircuitReader(_Reader):
    """Open and feedforward loops: one circuit per sample, its record read in several ways.

    Where readouts are noisy their calibration is part of the first request.
    """

    def __post_init__(self) -> None:
        self._compiled = self.target.compile_program(self.model.program)
        self._bits, self._calibration = self._load_or_run()
        if self._calibration is not None:
            self.warning = estimate_steering_errors(self.model.program, self._calibration).warning

    def read(self, mitigation: Mitigation) -> Sampled:
        evaluator = ShotEvaluator(
            self._compiled,
            self.target.executor,
            self.spec.num_shots,
            mitigation=mitigation,
            calibration=self._calibration,
        )
        estimate = evaluator.estimate_bits(self._bits)
        like = self.model.head.weight
        readouts = self.model.split_features(torch.from_numpy(estimate.value).to(like))
        errors = self.model.split_features(torch.from_numpy(estimate.standard_error))
        return Sampled(self.label(mitigation), mitigation, readouts, errors.steps.numpy())

    def _load_or_run(self) -> tuple[np.ndarray, ReadoutCalibration | None]:
        name = self.label("none")
        with torch.no_grad():
            controls = self.model.controls(torch.from_numpy(self.split.inputs))
        values = self.model.program.slots.values(controls.double().cpu().numpy())
        saved = self.load(name, slot_values=values)
        if saved is not None and ("rates" in saved) == self.target.is_noisy:
            bits = np.unpackbits(saved["bits"], axis=-1, count=self.model.program.num_bits)
            return bits, ReadoutCalibration.from_arrays(saved) if self.target.is_noisy else None
        due = Recalibration(self.spec.calibration_shots) if self.target.is_noisy else None
        evaluator = ShotEvaluator(
            self._compiled, self.target.executor, self.spec.num_shots, recalibration=due
        )
        parts = []
        with self.progress.stage(name, len(values)) as stage:
            step = self.target.rows_per_request or len(values)
            for start in range(0, len(values), step):
                part = values[start : start + step]
                evaluator.seeds = SeedStream(self.spec.seed, position=1 + start)
                parts.append(evaluator.run_bits(part))
                stage.advance(units=len(part))
        bits, calibration = np.concatenate(parts), evaluator.calibration
        self.save(
            name,
            bits=np.packbits(bits, axis=-1),
            slot_values=values,
            program_id=np.array(self.model.program.program_id),
            physical_qubits=np.array(self._compiled.physical_qubits),
            measured_at=np.array(evaluator.measured_at),
            **({} if calibration is None else calibration.to_arrays()),
        )
        return bits, calibration


@dataclass
class _HostReader(_Reader):
    """The host loop: readouts decide later angles, so each mitigation is a run of its own."""

    def __post_init__(self) -> None:
        if self.target.is_noisy:
            self.warning = "in the host loop misread bits steer the controller, unless mitigated"

    def read(self, mitigation: Mitigation) -> Sampled:
        name = self.label(mitigation)
        weights = _weights(self.model)
        saved = self.load(name, weights=weights)
        if saved is None:
            steps = self._read(name, mitigation)
            self.save(name, steps=steps.double().numpy(), weights=weights)
        else:
            steps = torch.from_numpy(saved["steps"]).to(self.model.head.weight)
        return Sampled(name, mitigation, Readouts(steps, steps.new_zeros(len(steps), 0)), None)

    def _read(self, name: str, mitigation: Mitigation) -> torch.Tensor:
        engine = ShotEngine(
            self.target.executor,
            self.spec.num_shots,
            self.target.compile_program,
            mitigation=mitigation,
            calibration_shots=self.spec.calibration_shots,
            seed=self.spec.seed,
        )
        inputs = self.split.inputs
        parts = []
        before, self.model.engine = self.model.engine, engine
        try:
            with self.progress.stage(name, len(inputs)) as stage, torch.no_grad():
                step = self.target.rows_per_request or len(inputs)
                for start in range(0, len(inputs), step):
                    part = torch.from_numpy(inputs[start : start + step])
                    parts.append(self.model.read(part).steps)
                    stage.advance(units=len(part))
        finally:
            self.model.engine = before
        return torch.cat(parts)


def _file_name(label: str) -> str:
    return label.replace(" ", "_").replace(",", "")


def _weights(model: QRNN) -> np.ndarray:
    flat = [weight.detach().double().flatten() for weight in model.parameters()]
    return torch.cat(flat).cpu().numpy()
