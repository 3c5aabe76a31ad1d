"""Training with shots in the loop: on a device, or on noisy Aer as its rehearsal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from qrnn_qiskit.learning import QRNN, ShotEngine, StepDone, Trainer, TrainingSpec
from qrnn_qiskit.studies.progress import Progress
from qrnn_qiskit.studies.runs import RunDirectory
from qrnn_qiskit.studies.runtime_target import JobLines, JobPlan, open_runtime_target
from qrnn_qiskit.studies.spec import DeviceLoopSpec, JobSpec, SamplingSpec
from qrnn_qiskit.studies.targets import SamplingTarget, build_noisy_target
from qrnn_qiskit.tasks import Split, Task


@dataclass(frozen=True)
class DeviceLoopResult:
    """A few training steps with shots in the loop.

    Attributes:
        losses: of each step's batch, as measured.
        damping: fitted by the surrogate, per timestep and final basis; empty for others.
        residual_rms: of measured against damped exact readouts, the surrogate's bias and noise.
        gradient: estimator used.
        calibration_ages: seconds between the oldest readout calibration used in a step and its
            shots, for each step; 0 where both were one job, None without mitigation.
    """

    losses: tuple[float, ...]
    damping: tuple[float, ...]
    residual_rms: float
    gradient: str
    calibration_ages: tuple[float | None, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class LoopTarget:
    """Where the steps of a device loop run.

    Attributes:
        target: executor and compiler.
        sampling: how the model is read after the steps.
        account: lines about what was spent.
    """

    target: SamplingTarget
    sampling: SamplingSpec
    account: Callable[[], tuple[str, ...]] = lambda: ()


@contextmanager
def open_loop_target(
    spec: JobSpec, plan: JobPlan | None, run: RunDirectory, progress: Progress
) -> Iterator[LoopTarget | None]:
    """The target that [device_loop] names; None without that section.

    Args:
        spec: the job.
        plan: of the steps, if they are jobs.
        run: where the ledger is.
        progress: told what becomes of each job.

    Raises:
        InputError: if the ledger cannot be used.
    """
    if plan is not None:
        with open_runtime_target(plan, run.path, JobLines(progress)) as target:
            yield LoopTarget(target.sampling, plan.spec, lambda: (target.account(),))
    elif spec.device_loop is not None:
        assert spec.aer is not None
        yield LoopTarget(build_noisy_target(spec.aer), spec.aer)
    else:
        yield None


def train_on_device(
    spec: JobSpec,
    sampling: SamplingSpec,
    target: SamplingTarget,
    model: QRNN,
    task: Task,
    run: RunDirectory,
    progress: Progress,
) -> tuple[DeviceLoopResult, QRNN]:
    """A copy of the model after a few optimiser steps whose readouts come from a target's shots.

    Checkpoints after each step: a resumed run takes the remaining ones.

    Cost: `steps * batch_size * num_shots` shots on the target, and what the gradient costs.
    """
    assert spec.device_loop is not None
    loop = spec.device_loop
    tuned = spec.model.build_model(task, spec.training.seed)
    tuned.load_state_dict(model.state_dict())
    tuned.engine = build_device_engine(target, sampling, loop)
    short = TrainingSpec(
        epochs=loop.steps,
        batch_size=loop.batch_size,
        learning_rate=loop.learning_rate,
        schedule="constant",
        max_steps=loop.steps,
        seed=spec.training.seed,
    )
    # Validation would cost shots: the loop takes its few steps out of one long epoch.
    trainer = Trainer(tuned, replace(task, train=_repeat(task.train, loop)), short)
    checkpoint = f"device_loop-{spec.loop_id}.pt"
    state = run.load_checkpoint(checkpoint, spec.loop_id)
    losses: list[float] = []
    ages: list[float | None] = []
    if state is not None:
        losses, ages = list(state.pop("losses")), list(state.pop("calibration_ages"))
        trainer.load_state_dict(state)
    with progress.stage(f"train on {target.label}", loop.steps, len(losses)) as stage:
        for event in trainer.run():
            if isinstance(event, StepDone):
                losses.append(event.loss)
                ages.append(tuned.engine.calibration_age_seconds)
                stage.advance(f"loss {event.loss:.3f}")
                done = {"losses": list(losses), "calibration_ages": list(ages)}
                run.save_checkpoint(checkpoint, spec.loop_id, trainer.state_dict() | done)
    fits = tuned.engine.surrogates()
    bias = fits[-1].bias if fits else None
    result = DeviceLoopResult(
        losses=tuple(losses),
        damping=bias.damping if bias else (),
        residual_rms=bias.residual_rms if bias else float("nan"),
        gradient=loop.gradient,
        calibration_ages=tuple(ages),
    )
    return result, tuned


def build_device_engine(
    target: SamplingTarget, sampling: SamplingSpec, loop: DeviceLoopSpec
) -> ShotEngine:
    """A target's shots as the engine of a model that trains."""
    return ShotEngine(
        target.executor,
        loop.num_shots,
        target.compile_program,
        mitigation=loop.mitigation,
        gradient=loop.gradient,
        last_timesteps=loop.last_timesteps,
        num_directions=loop.num_directions,
        calibration_shots=sampling.calibration_shots,
        calibrate_every=loop.calibrate_every,
        seed=sampling.seed,
    )


def _repeat(split: Split, loop: DeviceLoopSpec) -> Split:
    """Enough samples for one epoch to hold more batches than the loop takes."""
    needed = (loop.steps + 1) * loop.batch_size
    return split.take(torch.arange(needed).remainder(split.num_samples).numpy())
