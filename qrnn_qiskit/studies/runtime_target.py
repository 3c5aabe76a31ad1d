"""Where a model runs as jobs: a device of IBM Quantum, or the same path on this machine."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from qrnn_qiskit.devices import is_served
from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, noise_for
from qrnn_qiskit.execution.local_client import LocalClient
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.execution.runtime_jobs import BudgetReached, JobClient, JobProgress
from qrnn_qiskit.execution.runtime_parts import RequestSplitter
from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.forecast import Forecast, Forecaster, find_sent, read_sent
from qrnn_qiskit.studies.progress import Progress
from qrnn_qiskit.studies.spec import RuntimeSpec
from qrnn_qiskit.studies.targets import SamplingTarget, read_remarks

# What is billed differs from what was forecast.
_BUDGET_MARGIN = 1.1


@dataclass(frozen=True, eq=False)
class RuntimeTarget:
    """A target whose shots are jobs, and what they have taken.

    Attributes:
        sampling: executor and compiler.
        executor: the same one.
        ledger: of the run.
        labels: of the study's jobs.
    """

    sampling: SamplingTarget
    executor: RuntimeExecutor
    ledger: Ledger
    labels: dict[str, Any]

    @contextmanager
    def within_budget(self, forecast: Forecast) -> Iterator[None]:
        """Has the error of a budget that is reached name one for the whole study.

        Args:
            forecast: of the whole study.
        """
        try:
            yield
        except BudgetReached as error:
            error.overrides = (f"runtime.max_qpu_seconds={self._needed_budget(error, forecast)}",)
            raise

    def _needed_budget(self, error: BudgetReached, forecast: Forecast) -> int:
        """Seconds for what is spent and what is left, if bills go on as they were."""
        records = self.ledger.records()
        sent = sum(record.intent.forecast_seconds for record in records if record.may_cost)
        # A session is billed for its pauses, too.
        pace = max(1.0, error.spent_seconds / sent) if sent else 1.0
        left = forecast.less(find_sent(records, self.labels)).qpu_seconds
        needed = error.spent_seconds + pace * max(left, error.next_seconds)
        return _round_up(_BUDGET_MARGIN * needed)

    def account_for(self, forecast: Forecast) -> str:
        """What was forecast of a whole study beside what the service bills for it, in one line."""
        self.executor.settle()
        spent = self.executor.spent_seconds()
        records = [
            record
            for record in self.ledger.records()
            if self.labels.items() <= record.intent.labels.items()
        ]
        billed = [record.metrics.usage_seconds for record in records]
        num_open = billed.count(None)
        unsettled = f", {num_open} of {len(billed)} jobs not settled yet" if num_open else ""
        return (
            f"all jobs together: forecast {forecast.qpu_seconds:.1f} QPU seconds, "
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


def open_forecaster(spec: RuntimeSpec) -> Forecaster:
    """Forecasts for the device, or what stands for it, that jobs will be sent to.

    Raises:
        InputError: if the backend cannot be reached or compiled for.

    Cost: network for an `ibm_*` device; no quantum time.
    """
    device = open_device(spec.backend, spec.profile)
    mode = "local"
    if is_served(spec.backend):
        mode = RuntimeClient(device.backend, spec.mode).mode
    splitter = RequestSplitter(device.target.name, device, HardwareLimits(), None, {})
    return Forecaster(splitter, cache(device.compile), mode)


def require_consent(
    forecast: Forecast,
    run_path: Path | None,
    labels: dict[str, Any],
    confirm: Callable[[Forecast], bool] | None,
) -> None:
    """Asks about what is left of a study, before anything is sent or written.

    Args:
        forecast: of the whole study.
        run_path: of the run that goes on; none if it is new.
        labels: of the study's jobs.
        confirm: asked; all is allowed if None.

    Raises:
        InputError: if the answer is no.
    """
    if confirm is not None and not confirm(forecast.less(read_sent(run_path, labels))):
        raise InputError("runtime: must be confirmed, got no; nothing was sent")


@contextmanager
def open_runtime_target(
    spec: RuntimeSpec,
    folder: Path,
    labels: dict[str, Any],
    on_progress: Callable[[JobProgress], object] | None = None,
) -> Iterator[RuntimeTarget]:
    """A device of IBM Quantum with the ledger of a run; the session or batch ends with the block.

    Where the backend is no `ibm_*` device the same jobs run on noisy Aer in this process.

    Args:
        spec: backend, profile, mode, budget.
        folder: of the run, where the ledger is.
        labels: kept with each job.
        on_progress: told what becomes known of each job.

    Raises:
        InputError: if the backend cannot be reached or compiled for, or the ledger not be used.
    """
    device = open_device(spec.backend, spec.profile)
    with Ledger(folder / LEDGER_NAME) as ledger:
        client = _open_client(spec, device, folder, ledger)
        executor = RuntimeExecutor(
            client,
            ledger,
            device,
            max_qpu_seconds=spec.max_qpu_seconds,
            labels=labels,
            on_progress=on_progress,
        )
        sampling = SamplingTarget(
            f"runtime {device.target.name}",
            executor,
            # The same objects for training and reading: what the executor prepares of a circuit is
            # kept with it.
            cache(device.compile),
            is_noisy=True,
            remarks=(lambda program: ())
            if is_served(spec.backend)
            else partial(read_remarks, device),
            rows_per_request=None,
        )
        try:
            yield RuntimeTarget(sampling, executor, ledger, labels)
        finally:
            client.close()


def _open_client(
    spec: RuntimeSpec, device: CompilerDevice, folder: Path, ledger: Ledger
) -> JobClient:
    if is_served(spec.backend):
        return RuntimeClient(device.backend, spec.mode, sessions=ledger.sessions)
    executor = AerExecutor(
        lambda compiled: noise_for(compiled, device.backend), idling=device.schedule
    )
    return LocalClient(executor, device.target.name, folder / "local_jobs")


def _round_up(seconds: float) -> int:
    """To two digits, or whole seconds."""
    unit = int(10 ** max(0, math.floor(math.log10(seconds)) - 1))
    return unit * math.ceil(seconds / unit)
