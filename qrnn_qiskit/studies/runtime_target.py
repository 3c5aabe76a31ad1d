"""Where a model runs as jobs: a device of IBM Quantum, or the same path on this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from qrnn_qiskit.devices import is_served
from qrnn_qiskit.execution import AerExecutor, noise_for
from qrnn_qiskit.execution.local_client import LocalClient
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.execution.runtime_jobs import JobClient, JobProgress
from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.forecast import Forecast, Forecaster
from qrnn_qiskit.studies.progress import Progress
from qrnn_qiskit.studies.spec import RuntimeSpec
from qrnn_qiskit.studies.targets import SamplingTarget, read_remarks


@dataclass(frozen=True, eq=False)
class RuntimeTarget:
    """A target whose shots are jobs, and what they will take."""

    sampling: SamplingTarget
    executor: RuntimeExecutor
    forecaster: Forecaster
    ledger: Ledger
    study: str

    def account_for(self, forecast: Forecast) -> str:
        """What was forecast beside what the service bills, in one line."""
        self.executor.settle()
        spent = self.executor.spent_seconds()
        records = [
            record
            for record in self.ledger.records()
            if record.intent.labels.get("study") == self.study
        ]
        billed = [record.metrics.usage_seconds for record in records]
        num_open = billed.count(None)
        unsettled = f", {num_open} of {len(billed)} jobs not settled yet" if num_open else ""
        return (
            f"forecast {forecast.qpu_seconds:.1f} QPU seconds, billed "
            f"{sum(filter(None, billed)):.1f} by its jobs{unsettled}; this run's ledger has spent "
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
        client, mode = _open_client(spec, device, folder, ledger)
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
            # The same objects for forecast, training and reading: what the executor prepares of a
            # circuit is kept with it.
            cache(device.compile),
            is_noisy=True,
            remarks=partial(read_remarks, device) if mode == "local" else lambda program: (),
            rows_per_request=None,
        )
        forecaster = Forecaster(executor.splitter, sampling.compile_program, mode)
        try:
            yield RuntimeTarget(
                sampling, executor, forecaster, ledger, str(labels.get("study", ""))
            )
        finally:
            client.close()


def _open_client(
    spec: RuntimeSpec, device: CompilerDevice, folder: Path, ledger: Ledger
) -> tuple[JobClient, str]:
    if is_served(spec.backend):
        client = RuntimeClient(device.backend, spec.mode, sessions=ledger.sessions)
        return client, client.mode
    executor = AerExecutor(
        lambda compiled: noise_for(compiled, device.backend), idling=device.schedule
    )
    return LocalClient(executor, device.target.name, folder / "local_jobs"), "local"
