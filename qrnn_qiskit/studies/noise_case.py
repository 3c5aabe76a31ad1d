"""One simulation of a noise study: a model's samples with a device's errors, and without.

What runs in a worker, on this machine or another: it gets everything that it needs and touches no
disk. The records of one simulation are read raw and with any mitigation: one case for each.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.costing import Schedule
from qrnn_qiskit.devices import DeviceNoise
from qrnn_qiskit.estimation import (
    Mitigation,
    OutcomeEstimate,
    ShotEvaluator,
    run_calibration,
)
from qrnn_qiskit.execution import AerExecutor, SeedStream
from qrnn_qiskit.learning import QRNN, ExactEngine, ShotEngine, evaluate_outputs
from qrnn_qiskit.learning.engines import HostSession
from qrnn_qiskit.learning.training import evaluating
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate import exact_features
from qrnn_qiskit.simulate.noisy import NoisyPlan, build_noisy_plan, noisy_features
from qrnn_qiskit.studies.memory_decay import compute_memory_decay
from qrnn_qiskit.studies.retained import compare_readouts
from qrnn_qiskit.tasks import Task

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlacedCircuit:
    """A compiled circuit with its schedule and the noise of its qubits."""

    compiled: CompiledProgram
    schedule: Schedule
    noise: DeviceNoise

    @cached_property
    def plan(self) -> NoisyPlan:
        """How the exact engine simulates it with its errors."""
        return build_noisy_plan(self.compiled, self.noise, self.schedule)


@dataclass(frozen=True, eq=False)
class Simulation:
    """Everything that a worker needs.

    Attributes:
        model: with its weights.
        task: whose test split is run; its other splits do not matter.
        circuits: of the model's program; in the `host` loop of every prefix.
        mitigations: in which the records are read, one case for each.
        num_shots: of each sample and final basis; of one round if more may follow.
        max_standard_error: rounds are added until the rms error of raw readouts is below it,
        max_shots: or as many shots are taken.
        calibration_shots: of each of four calibration rows.
        seed: of all shots.
        engine: noisy Aer, or the exact engine with the same errors, which takes no shots.
        device: where Aer simulates.
    """

    model: QRNN
    task: Task
    circuits: tuple[PlacedCircuit, ...]
    mitigations: tuple[Mitigation, ...]
    num_shots: int
    max_standard_error: float | None
    max_shots: int | None
    calibration_shots: int
    seed: int
    engine: Literal["aer", "exact"] = "aer"
    device: Literal["CPU", "GPU"] = "CPU"


def run_simulation(work: Simulation) -> list[dict[str, Any]]:
    """The result of each case, plain numbers, the same wherever and whenever it runs.

    `metric`, `loss` and their errors are over samples; `exact_*` those of the exact engine without
    noise; `num_shots` what was taken; the rest says how readouts compare, see `compare_readouts`,
    and how long the memory lasts, see `compute_memory_decay`.

    Cost: `num_samples * num_bases * num_shots` shots on Aer; in the `host` loop T times that, for
        each mitigation.
    """
    is_host = work.model.program.cell.loop == "host"
    with evaluating(work.model):
        exact_outputs = work.model(torch.from_numpy(work.task.test.inputs)).double().numpy()
        if work.engine == "exact":
            readings = [_read_exact_host(work) if is_host else _read_exact(work)]
        else:
            read = _read_host if is_host else _read_circuit
            readings = read(work, _build_executor(work))
    last = work.circuits[-1]
    memory = compute_memory_decay(last.compiled, last.schedule, last.noise)
    return [_summarise(work, found, exact_outputs) | memory for found in readings]


def _build_executor(work: Simulation) -> AerExecutor:
    by_program = {circuit.compiled.program: circuit for circuit in work.circuits}
    return AerExecutor(
        lambda compiled: by_program[compiled.program].noise,
        idling=lambda compiled: by_program[compiled.program].schedule,
        device=work.device,
        max_threads=1,
    )


@dataclass(frozen=True, eq=False)
class _Reading:
    """Features `(num_samples, num_features)` with errors, and the exact ones at the same angles."""

    estimate: OutcomeEstimate
    exact: Array
    num_shots: int


def _read_circuit(work: Simulation, executor: AerExecutor) -> list[_Reading]:
    (circuit,) = work.circuits
    compiled, program = circuit.compiled, circuit.compiled.program
    controls = work.model.controls(torch.from_numpy(work.task.test.inputs)).double()
    exact = exact_features(program, controls).numpy()
    calibration = None
    if set(work.mitigations) != {"none"}:
        seed = SeedStream(work.seed).draw()
        calibration = run_calibration(executor, compiled, work.calibration_shots, seed)
    evaluator = ShotEvaluator(
        compiled, executor, work.num_shots, SeedStream(work.seed, position=1), "none", calibration
    )
    slot_values = program.slots.values(controls.numpy())
    bits = evaluator.run_bits(slot_values)
    while work.max_shots is not None and work.max_standard_error is not None:
        num_missing = work.max_shots - bits.shape[1]
        error = _rms(evaluator.estimate_bits(bits).standard_error)
        if num_missing <= 0 or error <= work.max_standard_error:
            break
        evaluator = replace(evaluator, num_shots=min(work.num_shots, num_missing))
        bits = np.concatenate((bits, evaluator.run_bits(slot_values)), axis=1)
    return [
        _Reading(evaluator.estimate_bits(bits, mitigation), exact, bits.shape[1])
        for mitigation in work.mitigations
    ]


def _read_exact(work: Simulation) -> _Reading:
    (circuit,) = work.circuits
    program = circuit.compiled.program
    controls = work.model.controls(torch.from_numpy(work.task.test.inputs)).double()
    value = noisy_features(circuit.plan, controls).numpy()
    exact = exact_features(program, controls).numpy()
    return _Reading(OutcomeEstimate(value, np.zeros_like(value), "none"), exact, 0)


def _read_host(work: Simulation, executor: AerExecutor) -> list[_Reading]:
    """Readouts decide later angles: each mitigation is a run of its own."""
    compiled = {circuit.compiled.program: circuit.compiled for circuit in work.circuits}
    readings = []
    for mitigation in work.mitigations:
        engine = ShotEngine(
            executor,
            work.num_shots,
            compiled.__getitem__,
            mitigation=mitigation,
            calibration_shots=work.calibration_shots,
            seed=work.seed,
        )

        def read(prefix: SequenceProgram, angles: Array, engine: ShotEngine = engine) -> Estimate:
            estimate = engine.layer(prefix).network.evaluator.evaluate(angles)
            return estimate.value, estimate.standard_error

        readings.append(_record_host(work, read, mitigation, work.num_shots))
    return readings


def _read_exact_host(work: Simulation) -> _Reading:
    plans = {circuit.compiled.program: circuit.plan for circuit in work.circuits}

    def read(prefix: SequenceProgram, angles: Array) -> Estimate:
        value = noisy_features(plans[prefix], torch.from_numpy(angles)).numpy()
        return value, np.zeros_like(value)

    return _record_host(work, read, "none", 0)


Estimate = tuple[Array, Array]
Read = Callable[[SequenceProgram, Array], Estimate]


def _record_host(work: Simulation, read: Read, mitigation: Mitigation, num_shots: int) -> _Reading:
    work.model.engine = recorder = _HostRecorder(read)
    try:
        work.model.read(torch.from_numpy(work.task.test.inputs))
    finally:
        work.model.engine = ExactEngine()
    parts = zip(*recorder.session.found, strict=True)
    value, error, exact = (np.concatenate(part, axis=1) for part in parts)
    return _Reading(OutcomeEstimate(value, error, mitigation), exact, num_shots)


@dataclass
class _HostRecorder:
    """An engine that keeps what it reads, and what the exact engine reads at the same angles."""

    read: Read

    def run(self, program: SequenceProgram, controls: Tensor) -> Tensor:
        """Not asked for in the host loop."""
        raise AssertionError("the host loop reads timestep by timestep")

    def start_host(self, program: SequenceProgram, batch_size: int, like: Tensor) -> HostSession:
        """See `SequenceEngine.start_host`."""
        exact = ExactEngine().start_host(program, batch_size, like.double())
        self.session = _HostRecord(self.read, program, exact)
        return self.session


class _HostRecord:
    def __init__(self, read: Read, program: SequenceProgram, exact: HostSession) -> None:
        self._read, self._program, self._exact = read, program, exact
        self._angles: list[Tensor] = []
        self.found: list[tuple[Array, Array, Array]] = []

    def step(self, angles: Tensor) -> Tensor:
        self._angles.append(angles.double())
        prefix = self._program.prefix(len(self._angles))
        value, error = self._read(prefix, torch.cat(self._angles, dim=1).numpy())
        self.found.append((value, error, self._exact.step(self._angles[-1]).numpy()))
        return torch.from_numpy(value).to(angles)


@torch.no_grad()
def _summarise(work: Simulation, found: _Reading, exact_outputs: Array) -> dict[str, Any]:
    model, task = work.model, work.task
    features = torch.from_numpy(found.estimate.value).to(model.head.weight)
    outputs = model.answer(model.split_features(features)).double().numpy()
    noisy = asdict(evaluate_outputs(task, outputs, task.test))
    exact = asdict(evaluate_outputs(task, exact_outputs, task.test))
    names = ("metric", "metric_error", "loss", "loss_error")
    readouts = compare_readouts(
        found.estimate.value,
        found.estimate.standard_error,
        found.exact,
        num_timesteps=model.program.num_timesteps,
        num_parities=len(model.program.readout_names),
    )
    return {
        **{name: noisy[name] for name in names},
        **{f"exact_{name}": exact[name] for name in names},
        "num_shots": found.num_shots,
        **readouts,
    }


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
