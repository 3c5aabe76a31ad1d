"""What jobs will take: how many, rows, shots, QPU seconds, before any of them is sent."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from qiskit.providers import BackendV2

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.devices import is_served
from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import num_calibration_rows
from qrnn_qiskit.estimation.gradients import ROWS_PER_REQUEST
from qrnn_qiskit.execution import RunRequest
from qrnn_qiskit.execution.runtime_parts import RequestSplitter
from qrnn_qiskit.ledger import LEDGER_NAME, Intent, JobRecord, Ledger
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.spec import DeviceLoopSpec, JobSpec, RuntimeSpec, Study


@dataclass(frozen=True)
class Forecast:
    """What a run will send and take.

    Attributes:
        backend: where.
        mode: session, batch, job, local, or auto where the account decides.
        num_jobs: submissions.
        num_rows: of angles, in all jobs.
        num_executions: rows times shots.
        qpu_seconds: by IBM's published formula and the schedule; a local run takes none. A session
            is billed by the clock, so at least this.
        num_circuits: different circuits.
        num_qubits: of the largest.
        circuit_us: duration of the longest, in microseconds.
        remark: what the reader must know.
        num_sent: further jobs that were sent before; no other number counts them.
    """

    backend: str
    mode: str
    num_jobs: int
    num_rows: int
    num_executions: int
    qpu_seconds: float
    num_circuits: int
    num_qubits: int
    circuit_us: float
    remark: str = ""
    num_sent: int = 0

    def less(self, sent: Iterable[Intent]) -> "Forecast":
        """What is left once some of the jobs have been sent.

        Example:
            >>> whole = Forecast("ibm_boston", "job", 3, 12, 1200, 6.5, 1, 4, 50.0)
            >>> left = whole.less([Intent("0" * 64, "ibm_boston", 4, 100, 2.5, {})])
            >>> left.num_jobs, left.num_rows, left.num_executions, left.qpu_seconds, left.num_sent
            (2, 8, 800, 4.0, 1)
        """
        jobs = list(sent)
        return replace(
            self,
            num_jobs=max(0, self.num_jobs - len(jobs)),
            num_rows=max(0, self.num_rows - sum(job.num_rows for job in jobs)),
            num_executions=max(
                0, self.num_executions - sum(job.num_rows * job.num_shots for job in jobs)
            ),
            qpu_seconds=max(0.0, self.qpu_seconds - sum(job.forecast_seconds for job in jobs)),
            num_sent=self.num_sent + len(jobs),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return asdict(self)


class Forecaster:
    """Forecasts of what studies send to one device.

    Args:
        backend_name: where jobs are sent.
        device: that they are compiled for.
        mode: of submission.
        compile_program: for the device; the device's own if None.
        remark: what the reader must know.
    """

    def __init__(
        self,
        backend_name: str,
        device: CompilerDevice,
        mode: str,
        compile_program: Callable[[SequenceProgram], CompiledProgram] | None = None,
        remark: str = "",
    ) -> None:
        self._splitter = RequestSplitter(backend_name, device, HardwareLimits(), None, {})
        self._compile_program = compile_program or device.compile
        self._mode = mode
        self._remark = remark

    def study(self, spec: JobSpec, study: Study, program: SequenceProgram) -> Forecast:
        """What a study of a job sends.

        Args:
            spec: with [device_loop] on runtime for training.
            study: which.
            program: of the job's model.

        Raises:
            InputError: if training sends no jobs, or the device would refuse one.
        """
        runtime, loop = spec.runtime or RuntimeSpec(), spec.device_loop
        if study == "infer":
            return self.inference(program, runtime)
        if loop is None or loop.on != "runtime":
            raise InputError(
                "device_loop.on: must be 'runtime' for training to send jobs, got "
                f"{None if loop is None else loop.on!r}; name a --backend"
            )
        return self.training(program, runtime, loop)

    def inference(self, program: SequenceProgram, spec: RuntimeSpec) -> Forecast:
        """What reading a program's samples takes, calibration included.

        Raises:
            InputError: if the device would refuse a job.
        """
        return self._forecast(_inference_requests(program, spec))

    def training(
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
        after = spec.model_copy(update={"mitigations": (loop.mitigation,)})
        return self._forecast(requests + _inference_requests(program, after))

    def _forecast(self, requests: list[tuple[SequenceProgram, int, int]]) -> Forecast:
        """Of requests `(program, num_rows, num_shots)`."""
        totals = np.zeros(4)
        duration_ns, num_qubits = 0.0, 0
        programs = {program for program, _, _ in requests}
        for (program, num_rows, num_shots), times in Counter(requests).items():
            request = self._request(program, num_rows, num_shots)
            report = self._splitter.check(request)
            report.require_passed()
            # A row whose shots are split is in several jobs.
            rows_of_jobs = sum(split.num_rows for split in report.splits)
            one = (report.num_jobs, rows_of_jobs, num_rows * num_shots, report.qpu_seconds)
            totals += np.array(one) * times
            duration_ns = max(duration_ns, self._splitter.duration_ns(request.compiled))
            num_qubits = max(num_qubits, len(request.compiled.physical_qubits))
        num_jobs, total_rows, num_executions = (int(total) for total in totals[:3])
        return Forecast(
            self._splitter.backend_name, self._mode, num_jobs, total_rows, num_executions,
            float(totals[3]), len(programs), num_qubits, duration_ns / 1000, self._remark,
        )  # fmt: skip

    def _request(self, program: SequenceProgram, num_rows: int, num_shots: int) -> RunRequest:
        """As large as the real one; angles of a readout in the middle of its range, else 0."""
        controls = np.zeros((1, program.num_controls))
        controls[:, program.num_table_angles :] = program.strengths_rad
        values = np.repeat(program.slots.values(controls), num_rows, axis=0)
        return RunRequest(self._compile_program(program), values, num_shots)


def forecast_job(
    spec: JobSpec, study: Study, run_path: Path | None = None, backend: BackendV2 | None = None
) -> Forecast:
    """What `qrnn train` or `qrnn infer` of a job would send: compiled and checked, nothing sent.

    Nothing is trained, and no account is needed: without one an `ibm_*` device is forecast with
    the snapshot of its name that comes with the runtime package.

    Args:
        spec: with a section [runtime], and [device_loop] for training.
        study: which.
        run_path: of the run that goes on, of which what is left is forecast; none if it is new.
        backend: the device, where it has been fetched already.

    Raises:
        InputError: if the device is unknown, or would refuse a job.
    """
    runtime = spec.runtime or RuntimeSpec()
    device, remark = _open_planned(runtime, backend)
    # A stand-in for a device of the service does not have its name.
    is_remote = is_served(runtime.backend)
    name = runtime.backend if is_remote else device.target.name
    mode = runtime.mode if is_remote else "local"
    program = spec.model.build_model(spec.task.load(), spec.training.seed).program
    whole = Forecaster(name, device, mode, remark=remark).study(spec, study, program)
    return whole.less(read_sent(run_path, spec.job_labels(study)))


def read_sent(run_path: Path | None, labels: Mapping[str, object]) -> list[Intent]:
    """What a run has sent of a study, by its ledger: none of it is sent again.

    Raises:
        InputError: if the ledger cannot be read.
    """
    if run_path is None or not (run_path / LEDGER_NAME).exists():
        return []
    with Ledger(run_path / LEDGER_NAME, only_read=True) as ledger:
        return find_sent(ledger.records(), labels)


def find_sent(records: Iterable[JobRecord], labels: Mapping[str, object]) -> list[Intent]:
    """Jobs of a study that are done, under way, or perhaps so; those that failed are sent anew."""
    sent = ("submitting", "submitted", "done")
    return [each.intent for each in find_jobs(records, labels) if each.state in sent]


def find_jobs(records: Iterable[JobRecord], labels: Mapping[str, object]) -> list[JobRecord]:
    """Those of a study."""
    return [each for each in records if labels.items() <= each.intent.labels.items()]


def _open_planned(spec: RuntimeSpec, backend: BackendV2 | None) -> tuple[CompilerDevice, str]:
    try:
        return open_device(backend or spec.backend, spec.profile), ""
    except InputError as error:
        stand_in = f"fake_{spec.backend.removeprefix('ibm_')}"
        try:
            device = open_device(stand_in, spec.profile)
        except InputError:
            raise error from None
        return device, f"compiled for {stand_in}: {error}"


def _inference_requests(
    program: SequenceProgram, spec: RuntimeSpec
) -> list[tuple[SequenceProgram, int, int]]:
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
    return requests


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
