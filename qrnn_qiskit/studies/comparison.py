"""A trained model on Aer: ideal, with a device's noise, and with readout error mitigated."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from qrnn_qiskit.compiling import CompiledProgram, compile_for_backend, compile_logical
from qrnn_qiskit.devices import load_fake_backend, read_noise
from qrnn_qiskit.estimation import (
    Mitigation,
    ReadoutCalibration,
    ShotEvaluator,
    estimate_steering_errors,
    run_calibration,
)
from qrnn_qiskit.execution import AerExecutor, Executor, SeedStream
from qrnn_qiskit.learning import QRNN, Evaluation, Readouts, ShotEngine, evaluate_outputs
from qrnn_qiskit.learning.training import evaluating
from qrnn_qiskit.plotting import RowKind
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.runs import RunDirectory
from qrnn_qiskit.studies.spec import AerSpec
from qrnn_qiskit.tasks import Split, Task

# Samples read between two signs of progress; they do not change results.
_SAMPLES_PER_CALL = 20


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


@dataclass(frozen=True)
class AerTarget:
    """An executor and the compiler that fits it."""

    label: str
    executor: Executor
    compile_program: Callable[[SequenceProgram], CompiledProgram]


def build_ideal_target(spec: AerSpec) -> AerTarget:
    """Aer without noise, on the logical circuit."""
    return AerTarget("Aer ideal", AerExecutor(device=spec.device), compile_logical)


def build_noisy_target(spec: AerSpec) -> AerTarget:
    """Aer with readout and gate errors of a device, on the circuit compiled for it."""
    backend = load_fake_backend(spec.backend)

    def compile_program(program: SequenceProgram) -> CompiledProgram:
        level = spec.optimization_level
        return compile_for_backend(program, backend, optimization_level=level, seed=spec.seed)

    executor = AerExecutor(
        lambda compiled: read_noise(backend, compiled.physical_qubits), device=spec.device
    )
    return AerTarget(f"Aer {spec.backend}", executor, compile_program)


def check_target(spec: AerSpec, program: SequenceProgram) -> None:
    """Refuses a backend that cannot run a program, before anything is spent on training.

    Raises:
        InputError: if the backend is unknown, too small or without the instructions needed.
    """
    # The shortest prefix that holds every instruction, branches included, compiles in no time.
    shortest = min(program.num_timesteps, 2 + program.cell.feedback_delay)
    build_noisy_target(spec).compile_program(program.prefix(shortest))


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
    split = task.test.head(spec.num_samples)
    reader = _HostReader if model.program.cell.loop == "host" else _CircuitReader
    targets = [(build_ideal_target(spec), ("none",))] if ideal else []
    targets.append((build_noisy_target(spec), ("none", *spec.mitigations)))  # type: ignore[arg-type]
    rows, sampled, warnings = [], [], []
    for target, mitigations in targets:
        with evaluating(model):
            reading = reader(model, split, spec, target, run, progress or SilentProgress(), suffix)
        for mitigation in dict.fromkeys(mitigations):
            with evaluating(model):
                found = reading.read(mitigation)  # type: ignore[arg-type]
                outputs = model.head(model.view_readouts(found.readouts)).double().numpy()
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
        warnings.append(reading.warning)
    caveats = [f"readout and gate errors of {spec.backend} are simulated, idling is not", *warnings]
    return AerComparison(tuple(rows), tuple(sampled), tuple(filter(None, dict.fromkeys(caveats))))


class _CircuitReader:
    """Open and feedforward loops: one circuit per sample, its record read in several ways."""

    def __init__(
        self,
        model: QRNN,
        split: Split,
        spec: AerSpec,
        target: AerTarget,
        run: RunDirectory | None,
        progress: Progress,
        suffix: str,
    ) -> None:
        self._model, self._split, self._spec = model, split, spec
        self._target, self._run, self._progress = target, run, progress
        self._label = target.label + suffix
        self._compiled = target.compile_program(model.program)
        self._bits = self._load_or_run()
        self._calibration: ReadoutCalibration | None = None
        self.warning = ""

    def read(self, mitigation: Mitigation) -> Sampled:
        if mitigation != "none" and self._calibration is None:
            seed = SeedStream(self._spec.seed).draw()
            self._calibration = run_calibration(
                self._target.executor, self._compiled, self._spec.calibration_shots, seed
            )
            self.warning = estimate_steering_errors(self._model.program, self._calibration).warning
        evaluator = ShotEvaluator(
            self._compiled,
            self._target.executor,
            self._spec.num_shots,
            mitigation=mitigation,
            calibration=self._calibration,
        )
        estimate = evaluator.estimate_bits(self._bits)
        like = self._model.head.weight
        readouts = self._model.split_features(torch.from_numpy(estimate.value).to(like))
        errors = self._model.split_features(torch.from_numpy(estimate.standard_error))
        label = self._label + ("" if mitigation == "none" else f" + {mitigation}")
        return Sampled(label, mitigation, readouts, errors.steps.numpy())

    def _load_or_run(self) -> np.ndarray:
        name = self._label.replace(" ", "_").replace(",", "")
        with torch.no_grad():
            controls = self._model.controls(torch.from_numpy(self._split.inputs))
        values = self._model.program.slots.values(controls.double().cpu().numpy())
        num_bits = self._model.program.num_bits
        saved = self._run.load_arrays(name) if self._run is not None else None
        key = np.array(self._spec.record_id)
        if (
            saved is not None
            and saved.get("record_id") == key
            and np.array_equal(saved["slot_values"], values)
        ):
            return np.unpackbits(saved["bits"], axis=-1, count=num_bits)
        bits = []
        num_samples = len(values)
        with self._progress.stage(self._label, num_samples) as stage:
            for start in range(0, num_samples, _SAMPLES_PER_CALL):
                part = values[start : start + _SAMPLES_PER_CALL]
                evaluator = ShotEvaluator(
                    self._compiled,
                    self._target.executor,
                    self._spec.num_shots,
                    SeedStream(self._spec.seed, position=1 + start),
                )
                bits.append(evaluator.run_bits(part))
                stage.advance(units=len(part))
        record = np.concatenate(bits)
        if self._run is not None:
            self._run.save_arrays(
                name,
                bits=np.packbits(record, axis=-1),
                slot_values=values,
                record_id=key,
                program_id=np.array(self._model.program.program_id),
                executor=np.array(self._target.executor.name),
                physical_qubits=np.array(self._compiled.physical_qubits),
            )
        return record


class _HostReader:
    """The host loop: readouts decide later angles, so each mitigation is a run of its own."""

    def __init__(
        self,
        model: QRNN,
        split: Split,
        spec: AerSpec,
        target: AerTarget,
        run: RunDirectory | None,
        progress: Progress,
        suffix: str,
    ) -> None:
        self._model, self._split, self._spec = model, split, spec
        self._target, self._run, self._progress = target, run, progress
        self._label = target.label + suffix
        self.warning = (
            "in the host loop mitigated readouts steer the controller; gate errors remain"
        )

    def read(self, mitigation: Mitigation) -> Sampled:
        label = self._label + ("" if mitigation == "none" else f" + {mitigation}")
        name = label.replace(" ", "_").replace(",", "")
        inputs = self._split.inputs
        like = self._model.head.weight
        saved = self._run.load_arrays(name) if self._run is not None else None
        key = np.array(self._spec.record_id)
        if (
            saved is not None
            and saved.get("record_id") == key
            and np.array_equal(saved["weights"], _weights(self._model))
        ):
            steps = torch.from_numpy(saved["steps"]).to(like)
            return Sampled(label, mitigation, Readouts(steps, like.new_zeros(len(steps), 0)), None)
        engine = ShotEngine(
            self._target.executor,
            self._spec.num_shots,
            self._target.compile_program,
            mitigation=mitigation,
            calibration_shots=self._spec.calibration_shots,
            seed=self._spec.seed,
        )
        parts = []
        before, self._model.engine = self._model.engine, engine
        try:
            with self._progress.stage(label, len(inputs)) as stage, torch.no_grad():
                for start in range(0, len(inputs), _SAMPLES_PER_CALL):
                    part = torch.from_numpy(inputs[start : start + _SAMPLES_PER_CALL])
                    parts.append(self._model.read(part).steps)
                    stage.advance(units=len(part))
        finally:
            self._model.engine = before
        steps = torch.cat(parts)
        if self._run is not None:
            self._run.save_arrays(
                name,
                steps=steps.double().numpy(),
                weights=_weights(self._model),
                record_id=key,
                executor=np.array(self._target.executor.name),
            )
        return Sampled(label, mitigation, Readouts(steps, steps.new_zeros(len(steps), 0)), None)


def _weights(model: QRNN) -> np.ndarray:
    flat = [weight.detach().double().flatten() for weight in model.parameters()]
    return torch.cat(flat).cpu().numpy()
