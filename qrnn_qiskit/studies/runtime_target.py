"""Where a model runs as jobs: a device of IBM Quantum, or the same path on this machine."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.devices import is_served
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, noise_for
from qrnn_qiskit.execution.local_client import LocalClient
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import Mode, RuntimeClient
from qrnn_qiskit.execution.runtime_jobs import BudgetReached, JobClient, JobProgress
from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.forecast import Forecast, Forecaster, find_jobs, find_sent, read_sent
from qrnn_qiskit.studies.progress import Progress
from qrnn_qiskit.studies.spec import JobSpec, RuntimeSpec, Study
from qrnn_qiskit.studies.targets import SamplingTarget, read_remarks

# What is billed differs from what was forecast.
_BUDGET_MARGIN = 1.1


@dataclass(frozen=True, eq=False)
class JobPlan:
    """Jobs of a study that may be sent; nothing is, or written, before a target is opened for them.

    Attributes:
        spec: budget, and where.
        mode: session, batch or job, as the account decides; local where nothing is sent.
        device: that they are compiled for.
        compile_program: for the device. It gives the same objects to forecast, training and
            reading: what is prepared of a circuit is kept with it.
        labels: kept with each job.
        forecast: of the whole study.
    """

    spec: RuntimeSpec
    mode: Mode | Literal["local"]
    device: CompilerDevice
    compile_program: Callable[[SequenceProgram], CompiledProgram]
    labels: dict[str, str]
    forecast: Forecast


@dataclass(frozen=True, eq=False)
class RuntimeTarget:
    """A target whose shots are jobs, and what they have taken.

    Attributes:
        sampling: executor and compiler.
        executor: the same one.
        ledger: of the run.
        plan: of the study.
    """

    sampling: SamplingTarget
    executor: RuntimeExecutor
    ledger: Ledger
    plan: JobPlan

    def needed_budget(self, reached: BudgetReached) -> int:
        """Seconds for what is spent and what is left of the study, if bills go on as they were."""
        records = self.ledger.records()
        sent = sum(record.intent.forecast_seconds for record in records if record.may_cost)
        # A session is billed for its pauses, too.
        pace = max(1.0, reached.spent_seconds / sent) if sent else 1.0
        left = self.plan.forecast.less(find_sent(records, self.plan.labels)).qpu_seconds
        needed = reached.spent_seconds + pace * max(left, reached.next_seconds)
        return _round_up(_BUDGET_MARGIN * needed)

    def account(self) -> str:
        """What was forecast of the whole study beside what the service bills for it: one line."""
        self.executor.settle()
        spent = self.executor.spent_seconds()
        jobs = find_jobs(self.ledger.records(), self.plan.labels)
        billed = [job.metrics.usage_seconds for job in jobs]
        num_open = billed.count(None)
        unsettled = f", {num_open} of {len(billed)} jobs not settled yet" if num_open else ""
        return (
            f"all jobs together: forecast {self.plan.forecast.qpu_seconds:.1f} QPU seconds, "
            f"billed {sum(filter(None, billed)):.1f}{unsettled}; this run's ledger has spent "
            f"{spent:.1f}, sessions by the clock included"
        )


class JobLines:
    """A line for each change of a job's state."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, news: JobProgress) -> None:
        """Says what is new."""
        named = "" if news.job_id is None else f" {news.job_id}"
        detail = f": {news.detail}" if news.detail else ""
        self._progress.say(f"job {news.part} of {news.num_parts}{named} {news.state}{detail}")


def plan_jobs(
    spec: JobSpec,
    study: Study,
    program: SequenceProgram,
    run_path: Path | None = None,
    confirm: Callable[[Forecast], bool] | None = None,
) -> JobPlan:
    """Compiles and checks what a study of a job will send, and asks whether it may.

    Args:
        spec: the job.
        study: which.
        program: of its model.
        run_path: of the run that goes on; none if it is new.
        confirm: asked with the forecast of what is left; all is allowed if None.

    Raises:
        InputError: if the backend cannot be reached or compiled for, or would refuse a job, or the
            answer is no.

    Cost: network for an `ibm_*` device; no quantum time.
    """
    runtime, labels = spec.runtime or RuntimeSpec(), spec.job_labels(study)
    device = open_device(runtime.backend, runtime.profile)
    mode: Mode | Literal["local"] = "local"
    if is_served(runtime.backend):
        mode = RuntimeClient(device.backend, runtime.mode).mode
    compile_program = cache(device.compile)
    forecaster = Forecaster(device.target.name, device, mode, compile_program)
    forecast = forecaster.study(spec, study, program)
    if confirm is not None and not confirm(forecast.less(read_sent(run_path, labels))):
        raise InputError("runtime: must be confirmed, got no; nothing was sent")
    return JobPlan(runtime, mode, device, compile_program, labels, forecast)


@contextmanager
def open_runtime_target(
    plan: JobPlan, folder: Path, on_progress: Callable[[JobProgress], object] | None = None
) -> Iterator[RuntimeTarget]:
    """A device of IBM Quantum with the ledger of a run; the session or batch ends with the block.

    Where the backend is no `ibm_*` device the same jobs run on noisy Aer in this process.

    Args:
        plan: what will be sent.
        folder: of the run, where the ledger is.
        on_progress: told what becomes known of each job.

    Raises:
        InputError: if the ledger cannot be used.
    """
    with Ledger(folder / LEDGER_NAME) as ledger:
        client = _open_client(plan, folder, ledger)
        executor = RuntimeExecutor(
            client,
            ledger,
            plan.device,
            max_qpu_seconds=plan.spec.max_qpu_seconds,
            labels=plan.labels,
            on_progress=on_progress,
        )
        sampling = SamplingTarget(
            f"runtime {plan.device.target.name}",
            executor,
            plan.compile_program,
            is_noisy=True,
            remarks=partial(read_remarks, plan.device)
            if plan.mode == "local"
            else lambda program: (),
            rows_per_request=None,
        )
        target = RuntimeTarget(sampling, executor, ledger, plan)
        try:
            yield target
        except BudgetReached as error:
            error.overrides = (f"runtime.max_qpu_seconds={target.needed_budget(error)}",)
            raise
        finally:
            client.close()


def _open_client(plan: JobPlan, folder: Path, ledger: Ledger) -> JobClient:
    backend = plan.device.backend
    if plan.mode != "local":
        return RuntimeClient(backend, plan.mode, sessions=ledger.sessions)
    executor = AerExecutor(
        lambda compiled: noise_for(compiled, backend), idling=plan.device.schedule
    )
    return LocalClient(executor, plan.device.target.name, folder / "local_jobs")


def _round_up(seconds: float) -> int:
    """To two digits, or whole seconds."""
    unit = int(10 ** max(0, math.floor(math.log10(seconds)) - 1))
    return unit * math.ceil(seconds / unit)
