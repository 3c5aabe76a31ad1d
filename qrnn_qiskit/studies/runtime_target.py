"""Where inference runs as jobs: a device of IBM Quantum, or the same path on this machine."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qrnn_qiskit.estimation import num_calibration_rows
from qrnn_qiskit.estimation.gradients import ROWS_PER_REQUEST
from qrnn_qiskit.execution import AerExecutor, RunRequest, noise_for
from qrnn_qiskit.execution.ledger import Ledger
from qrnn_qiskit.execution.local_client import LocalClient
from qrnn_qiskit.execution.runtime import JobProgress, RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.execution.runtime_jobs import JobClient
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.progress import Progress
from qrnn_qiskit.studies.spec import DeviceLoopSpec, RuntimeSpec
from qrnn_qiskit.studies.targets import SamplingTarget, read_remarks

LEDGER_NAME = "ledger.sqlite"


@dataclass(frozen=True)
class Forecast:
    """What a run will send and take, before anything is sent.

    Attributes:
        backend: where.
        mode: session, batch, job or local.
        num_jobs: submissions.
        num_rows: of angles.
        num_executions: rows times shots.
        qpu_seconds: by IBM's published formula; a local run takes none.
    """

    backend: str
    mode: str
    num_jobs: int
    num_rows: int
    num_executions: int
    qpu_seconds: float

    def __add__(self, other: "Forecast") -> "Forecast":
        """Both, on one backend."""
        return Forecast(
            self.backend,
            self.mode,
            self.num_jobs + other.num_jobs,
            self.num_rows + other.num_rows,
            self.num_executions + other.num_executions,
            self.qpu_seconds + other.qpu_seconds,
        )


@dataclass(frozen=True, eq=False)
class RuntimeTarget:
    """A target whose shots are jobs, and what they will take."""

    sampling: SamplingTarget
    executor: RuntimeExecutor
    mode: str

    def forecast(self, program: SequenceProgram, spec: RuntimeSpec) -> Forecast:
        """What inference of a program's samples takes, calibration included.

        Raises:
            InputError: if the device would refuse a job.
        """
        mitigated = [mitigation for mitigation in spec.mitigations if mitigation != "none"]
        calibration = num_calibration_rows(spec.num_shots, spec.calibration_shots)
        requests = []
        for prefix in _circuits(program):
            rows = spec.num_samples * len(prefix.final_bases)
            if program.cell.loop == "host":
                # Readouts steer what follows: each mitigation is a run of its own.
                wanted = [rows, *(rows + calibration for _ in mitigated)]
            else:
                wanted = [rows + calibration]
            requests += [(prefix, num_rows, spec.num_shots) for num_rows in wanted]
        return self._forecast(requests)

    def forecast_training(
        self, program: SequenceProgram, spec: RuntimeSpec, loop: DeviceLoopSpec
    ) -> Forecast:
        """What the steps of a device loop take, and the inference after them.

        Raises:
            InputError: if the device would refuse a job.
        """
        calibration = num_calibration_rows(loop.num_shots, spec.calibration_shots)
        if loop.mitigation == "none":
            calibration = 0
        requests = []
        for prefix in _circuits(program):
            wanted = _rows_per_step(prefix, loop) * loop.steps
            for number, rows in enumerate(wanted):
                more = calibration if number % loop.calibrate_every == 0 else 0
                requests.append((prefix, rows + more, loop.num_shots))
        after = self.forecast(program, spec.model_copy(update={"mitigations": (loop.mitigation,)}))
        return self._forecast(requests) + after

    def _forecast(self, requests: list[tuple[SequenceProgram, int, int]]) -> Forecast:
        """Of requests `(program, num_rows, num_shots)`."""
        total = Forecast(self.executor.name, self.mode, 0, 0, 0, 0.0)
        for (program, num_rows, num_shots), times in Counter(requests).items():
            jobs, seconds = self.executor.forecast(self._request(program, num_rows, num_shots))
            total += Forecast(
                total.backend,
                total.mode,
                jobs * times,
                num_rows * times,
                num_rows * num_shots * times,
                seconds * times,
            )
        return total

    def _request(self, program: SequenceProgram, num_rows: int, num_shots: int) -> RunRequest:
        """As large as the real one; angles of a readout in the middle of its range, else 0."""
        controls = np.zeros((1, program.num_controls))
        controls[:, program.num_table_angles :] = program.strengths_rad
        values = np.repeat(program.slots.values(controls), num_rows, axis=0)
        return RunRequest(self.sampling.compile_program(program), values, num_shots)


class JobLines:
    """A line for each change of a job's state."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, news: JobProgress) -> None:
        """Says what is new."""
        named = "" if news.job_id is None else f" {news.job_id}"
        detail = f": {news.detail}" if news.detail else ""
        self._progress.say(f"job {news.part} of {news.num_parts}{named} {news.state}{detail}")


def _circuits(program: SequenceProgram) -> list[SequenceProgram]:
    """What is run: every prefix in the host loop."""
    if program.cell.loop == "host":
        return [program.prefix(length) for length in range(1, program.num_timesteps + 1)]
    return [program]


def _rows_per_step(program: SequenceProgram, loop: DeviceLoopSpec) -> list[int]:
    """Rows of the requests of one step: the batch's own, and those of the gradient."""
    own = loop.batch_size * len(program.final_bases)
    if loop.gradient == "surrogate":
        return [own]
    if loop.gradient == "spsa":
        times = 2 * loop.num_directions
    else:
        slots = [program.slots.slots[index] for index in program.slots.driven]
        first = 1 + program.num_timesteps - (loop.last_timesteps or program.num_timesteps)
        times = 2 * sum(slot.timestep >= first for slot in slots)
    most = max(1, ROWS_PER_REQUEST // (2 * loop.batch_size)) * 2
    full, rest = divmod(times, most)
    return [own, *[own * most] * full, *([own * rest] if rest else [])]


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
            f"runtime {spec.backend}",
            executor,
            device.compile,
            is_noisy=True,
            remarks=partial(read_remarks, device) if mode == "local" else lambda program: (),
            rows_per_request=None,
        )
        try:
            yield RuntimeTarget(sampling, executor, mode)
        finally:
            client.close()


def _open_client(
    spec: RuntimeSpec, device: CompilerDevice, folder: Path, ledger: Ledger
) -> tuple[JobClient, str]:
    if spec.backend.startswith("ibm_") and "@" not in spec.backend:
        client = RuntimeClient(device.backend, spec.mode, sessions=ledger.sessions)
        return client, client.mode
    executor = AerExecutor(
        lambda compiled: noise_for(compiled, device.backend), idling=device.schedule
    )
    return LocalClient(executor, device.target.name, folder / "local_jobs"), "local"
