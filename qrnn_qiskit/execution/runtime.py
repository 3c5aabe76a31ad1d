"""Requests as jobs of a remote service, of which no crash, fault or restart makes two or none."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.analysis import PreflightReport
from qrnn_qiskit.deadline import DeadlineExceeded, call_with_deadline
from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.execution.contract import RunRequest, RunResult
from qrnn_qiskit.execution.runtime_jobs import (
    BudgetReached,
    JobClient,
    JobError,
    JobGoneError,
    JobOrder,
    JobProgress,
    JobState,
    UnauthorisedError,
    UnknownJobError,
    verdict_of,
)
from qrnn_qiskit.execution.runtime_parts import JobDevice, Part, RequestSplitter
from qrnn_qiskit.ledger import JobRecord, Ledger
from qrnn_qiskit.pacing import Patience, RateLimiter, Verdict, retry

# A second job that cannot be cancelled is not waited for.
_CANCEL_TRIES = 3
_RESUME = "run the same again: what is done or under way is taken up, nothing is sent twice"

_Answer = TypeVar("_Answer")


class RuntimeExecutor:
    """Runs requests as jobs of a service, each of them once.

    A request is checked, split into jobs and noted in the ledger before anything is sent. Running
    the same request again, in this process or after a crash, takes up what is under way and
    answers from the ledger what is done. A request is the same if circuit, bound values, shots,
    seed, backend and limits are: for fresh shots of the same rows use another seed.

    Args:
        client: the service.
        ledger: of this run; only one request is run at a time with it.
        device: that requests are compiled for.
        max_qpu_seconds: budget of all jobs in the ledger together.
        limits: by which requests are checked and split.
        max_execution_seconds: after which the service is to cancel a job.
        labels: plain JSON values kept with each job; `name` is that of the run.
        patience: how long the service may take.
        on_progress: told what becomes known of each job.
        clock: seconds since 1970.
        sleep: waits.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from qrnn_qiskit.compiling import compile_program, load_profile
        >>> from qrnn_qiskit.devices import load_fake_backend, read_target
        >>> from qrnn_qiskit.execution import AerExecutor
        >>> from qrnn_qiskit.execution.local_client import LocalClient
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> from types import SimpleNamespace
        >>> from qrnn_qiskit.analysis import schedule_compiled
        >>> target, profile = read_target(load_fake_backend("fake_boston")), load_profile("heron")
        >>> device = SimpleNamespace(
        ...     target=target, schedule=lambda each: schedule_compiled(each, target, profile)
        ... )
        >>> program = SequenceProgram(CellSpec(Ansatz("line", 2), (Readout("Z", 0),)), 1)
        >>> compiled = compile_program(program, target, profile)
        >>> request = RunRequest(compiled, np.ones((1, program.slots.num_slots)), 100, seed=7)
        >>> with TemporaryDirectory() as folder, Ledger(Path(folder) / "jobs.db") as ledger:
        ...     client = LocalClient(AerExecutor(), "fake_boston")
        ...     executor = RuntimeExecutor(client, ledger, device)
        ...     bits = executor.run(request).bits
        >>> bool((bits == AerExecutor().run(request).bits).all())
        True
    """

    def __init__(
        self,
        client: JobClient,
        ledger: Ledger,
        device: JobDevice,
        *,
        max_qpu_seconds: float | None = None,
        limits: HardwareLimits | None = None,
        max_execution_seconds: int | None = None,
        labels: Mapping[str, object] | None = None,
        patience: Patience | None = None,
        on_progress: Callable[[JobProgress], object] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        require(max_qpu_seconds is None or max_qpu_seconds > 0, "max_qpu_seconds",
                "must be positive", max_qpu_seconds, "leave it out for no budget")  # fmt: skip
        limits = limits or HardwareLimits()
        self._client = client
        self._ledger = ledger
        self._max_qpu_seconds = max_qpu_seconds
        self._patience = patience or Patience()
        self._on_progress = on_progress
        self._clock = clock
        self._sleep = sleep
        self.splitter = RequestSplitter(
            client.name, device, limits, max_execution_seconds, dict(labels or {})
        )
        # A simulation in this process has no limit to keep.
        self._limiter = None if client.call_seconds is None else RateLimiter(
            limits.posts_per_minute, calls=ledger, clock=clock, sleep=sleep
        )  # fmt: skip

    @property
    def name(self) -> str:
        """`runtime`, with the backend."""
        return f"runtime({self._client.name})"

    def check(self, request: RunRequest) -> PreflightReport:
        """The pre-flight check of a request; nothing is sent."""
        return self.splitter.check(request)

    def forecast(self, request: RunRequest) -> tuple[int, float]:
        """Jobs and QPU seconds of a request, of which the ledger may hold some already.

        Raises:
            InputError: if a rule of the pre-flight check fails.
        """
        report = self.check(request)
        report.require_passed()
        return report.num_jobs, report.qpu_seconds

    def spent_seconds(self) -> float:
        """QPU seconds of all jobs in the ledger: billed, or forecast where no bill is known yet.

        A session that is billed by the clock counts as the service says now.
        """
        with suppress(JobError, InputError, DeadlineExceeded):
            self._call(self._client.update_session)
        return self._ledger.spent_seconds()

    def settle(self) -> None:
        """Asks once more for the bills of jobs that ended without one."""
        for record in self._ledger.unsettled():
            if record.job_id is not None:
                self._note_metrics(record.job_id)

    def run(self, request: RunRequest) -> RunResult:
        """See `Executor.run`.

        Cost: QPU time, see `forecast`; none for jobs whose results are in the ledger.

        Raises:
            BudgetReached: if the budget does not cover what would have to be sent.
            InputError: if a rule of the pre-flight check fails, the service refuses a job, a job
                fails or is cancelled, or the service is not to be reached for long. The line says
                how to go on.
        """
        start = time.monotonic()
        parts = self.splitter.split(request)
        try:
            fresh = [part for part in parts if self._is_to_be_sent(part)]
            self._require_budget(fresh)
            for part in fresh:
                self._submit(part)
            shape = (request.num_rows, request.num_shots, request.compiled.circuit.num_clbits)
            bits = np.empty(shape, dtype=np.uint8)
            for part in parts:
                shots = slice(part.split.first_shot, part.split.first_shot + part.split.num_shots)
                bits[part.split.rows, shots] = self._collect(part)
        except (JobError, DeadlineExceeded) as error:
            raise InputError(f"runtime: {error}; {_RESUME}") from error
        ends = [self._ledger.get(part.intent_id).ended_at for part in parts]
        measured_at = max(datetime.fromisoformat(end).timestamp() for end in ends if end)
        return RunResult(bits, self.name, time.monotonic() - start, measured_at)

    # --- before anything is sent ------------------------------------------------------------------

    def _is_to_be_sent(self, part: Part) -> bool:
        """Whether a job has to be sent, or looked for, as far as the ledger knows."""
        record = self._ledger.plan(part.intent)
        is_open = record.state in ("submitting", "submitted")
        if is_open and record.account not in (None, self._client.account):
            raise InputError(
                f"account: must be the one that job {record.job_id or record.tag} was sent "
                "through, got another instance of IBM Quantum, which knows nothing of it; use that "
                "one, or begin a new run"
            )
        if record.state in ("failed", "cancelled"):
            if record.job_id is None and record.maybe_sent:
                job_id = self._look_up(record.tag)
                if job_id is not None:
                    record = self._ledger.record_job(part.intent_id, job_id)
            if record.state in ("failed", "cancelled"):
                record = self._ledger.retry(part.intent_id)
        self._tell(part, "from ledger" if record.state == "done" else record.state, record.job_id)
        return record.state in ("planned", "submitting")

    def _require_budget(self, parts: list[Part]) -> None:
        if self._max_qpu_seconds is None or not parts:
            return
        # Of jobs whose submission is in doubt the forecast counts as spent.
        needed = sum(
            part.intent.forecast_seconds
            for part in parts
            if not self._ledger.get(part.intent_id).may_cost
        )
        spent = self.spent_seconds()
        if spent + needed > self._max_qpu_seconds:
            raise BudgetReached(len(parts), self._max_qpu_seconds, spent, needed)

    # --- sending ----------------------------------------------------------------------------------

    def _submit(self, part: Part) -> None:
        """Sends a job, or finds out which one was sent already; its id is in the ledger then."""
        if not self._claim(part):
            return
        record = self._ledger.get(part.intent_id)
        self._tell(part, "submitting")
        order = part.build_order(record.tag)
        is_in_doubt = record.maybe_sent

        def send() -> str:
            # An answer to an earlier try may have come meanwhile.
            known = self._ledger.get(part.intent_id).job_id
            if known is not None:
                return known
            if self._limiter is not None:
                self._limiter.wait()
            return self._call(
                lambda: self._client.submit(order),
                late=lambda job_id: self._note_late(part, job_id),
            )

        def judge(error: Exception) -> Verdict:
            nonlocal is_in_doubt
            verdict = verdict_of(error, "ambiguous")
            is_in_doubt = is_in_doubt or verdict == "ambiguous"
            return verdict

        try:
            job_id = self._look_up(record.tag) if record.maybe_sent else None
            job_id = job_id or retry(
                send,
                judge,
                recover=lambda: self._look_up(record.tag),
                backoff=self._patience.faults,
                max_tries=self._patience.max_tries,
                sleep=self._sleep,
                on_wait=lambda error, seconds: self._tell_fault(part, error, seconds),
            )
        except Exception:
            self._ledger.release(part.intent_id, sent=is_in_doubt)
            raise
        # A crash before this line leaves a job that is found by its tag.
        try:
            self._ledger.record_job(part.intent_id, job_id)
        except InputError:
            known = self._ledger.get(part.intent_id).job_id
            if known in (None, job_id):
                raise
            # It came just now, as the answer to an earlier try: this one is a second job.
            self._cancel(job_id)
            job_id = known
        self._tell(part, "queued", job_id)

    def _claim(self, part: Part) -> bool:
        """Whether it is for us to send; waits while another process is sending the same job."""
        deadline = self._clock() + self._patience.watchdog_seconds
        num_tries = 0
        while not self._ledger.begin_submission(part.intent_id, self._client.account):
            if self._ledger.get(part.intent_id).state != "submitting":
                return False
            if self._clock() > deadline:
                raise JobError("another process keeps sending the same job")
            self._sleep(self._patience.poll.seconds(num_tries))
            num_tries += 1
        return True

    def _look_up(self, tag: str) -> str | None:
        """The job with a tag; None if there is none, also after some time.

        Of several jobs, which another client's repeated POST may have made, the first one counts;
        the others are cancelled before they cost more.
        """
        deadline = self._clock() + self._patience.settle_seconds
        num_tries = 0
        while True:
            found = self._ask(lambda: self._client.find(tag))
            if found:
                for extra in found[1:]:
                    self._cancel(extra)
                return found[0]
            left = deadline - self._clock()
            if left <= 0:
                return None
            self._sleep(min(left, self._patience.poll.seconds(num_tries)))
            num_tries += 1

    def _note_late(self, part: Part, job_id: str) -> None:
        """An answer to a submission that was given up: recorded, or cancelled if it is a second.

        Where the ledger is closed or cannot be written, the job is left to be found by its tag.
        """
        with suppress(Exception):  # in a thread that nobody listens to
            try:
                self._ledger.record_job(part.intent_id, job_id)
            except InputError:
                if self._ledger.get(part.intent_id).job_id not in (None, job_id):
                    self._cancel(job_id)

    def _cancel(self, job_id: str) -> None:
        """As far as the service lets us: a job that cannot be cancelled is none of our errors."""
        with suppress(JobError, InputError, DeadlineExceeded):
            self._repeat(
                lambda: self._call(lambda: self._client.cancel(job_id)), None, _CANCEL_TRIES
            )

    # --- waiting and fetching ---------------------------------------------------------------------

    def _collect(self, part: Part) -> NDArray[np.uint8]:
        """The bits of a job that was sent."""
        for _ in range(self._patience.max_tries):
            record = self._ledger.get(part.intent_id)
            if record.state in ("planned", "submitting"):
                # Another process gave its submission up.
                self._submit(part)
                continue
            if record.state == "done":
                return self._read_ledger(part, record)
            if record.state != "submitted" or record.job_id is None:
                raise self._failure(part, record, record.error or "")
            try:
                state = self._wait(part, record.job_id, record.tag)
                if state.status == "done":
                    return self._fetch(part, record.job_id, part.build_order(record.tag))
            except JobGoneError as error:
                state = JobState("failed", str(error))
            if state.status == "cancelled":
                self._ledger.record_cancelled(part.intent_id)
            else:
                self._ledger.record_failure(part.intent_id, state.reason)
            self._note_metrics(record.job_id)
            if state.status != "lost":
                raise self._failure(part, self._ledger.get(part.intent_id), state.reason)
            self._ledger.retry(part.intent_id)
        raise JobError(f"job {part.number} of {part.num_parts} was lost again and again")

    def _wait(self, part: Part, job_id: str, tag: str) -> JobState:
        deadline = self._clock() + self._patience.watchdog_seconds
        num_tries = 0
        heard = None
        ask = self._unless_gone(job_id, tag, lambda: self._client.status(job_id))
        while True:
            state = self._repeat(ask, part, self._patience.max_reads)
            if state.status != heard:
                if not state.is_final:  # an end is recorded with what came of it
                    self._ledger.record_status(part.intent_id, state.status)
                if (heard, state.status) != (None, "queued"):  # told when it was sent
                    self._tell(part, state.status, job_id, state.reason)
                heard = state.status
            if state.is_final:
                return state
            left = deadline - self._clock()
            if left <= 0:
                raise JobError(
                    f"job {job_id} must end within {self._patience.watchdog_seconds:g} s, is "
                    f"{state.status}; it was not cancelled"
                )
            self._sleep(min(left, self._patience.poll.seconds(num_tries)))
            num_tries += 1

    def _fetch(self, part: Part, job_id: str, order: JobOrder) -> NDArray[np.uint8]:
        """The bits of a job that is done, once they are safe in the ledger."""
        ask = self._unless_gone(job_id, order.tag, lambda: self._client.result_text(job_id))

        def fetch() -> tuple[str, NDArray[np.uint8]]:
            text = ask()
            try:
                return text, self._client.decode_result(text, order)
            except ValueError as error:
                raise JobError(f"the result of job {job_id} is unreadable, {error}") from None

        text, bits = self._repeat(fetch, part, self._patience.max_tries)
        self._ledger.record_result(part.intent_id, text)
        self._note_metrics(job_id)
        return bits

    def _read_ledger(self, part: Part, record: JobRecord) -> NDArray[np.uint8]:
        text = self._ledger.result(part.intent_id)
        try:
            return self._client.decode_result(text or "", part.build_order(record.tag))
        except ValueError as error:
            raise InputError(
                f"{self._ledger.path}: must hold a readable result of job {record.job_id}, got "
                f"{error}; use the version of this package that wrote it"
            ) from None

    def _note_metrics(self, job_id: str) -> None:
        """What a job took, if the service says so now; `settle` asks again."""
        try:
            metrics = self._call(lambda: self._client.metrics(job_id))
        except (JobError, InputError, DeadlineExceeded):
            return
        self._ledger.record_metrics(job_id, metrics)

    def _failure(self, part: Part, record: JobRecord, reason: str) -> InputError:
        verb = "was cancelled" if record.state == "cancelled" else "failed"
        seconds = record.metrics.usage_seconds
        usage = "" if seconds is None else f", {seconds:g} s were billed"
        return InputError(
            f"runtime: job {record.job_id} ({part.number} of {part.num_parts}, tag {record.tag}) "
            f"must end well, got: {verb}{': ' if reason else ''}{reason}{usage}; run the same "
            "again: this job is sent anew, the others are kept"
        )

    # --- calls ------------------------------------------------------------------------------------

    def _call(
        self, call: Callable[[], _Answer], late: Callable[[_Answer], object] | None = None
    ) -> _Answer:
        """A call that does not hang for ever."""
        seconds = self._client.call_seconds
        return call() if seconds is None else call_with_deadline(call, seconds, late=late)

    def _ask(self, call: Callable[[], _Answer], part: Part | None = None) -> _Answer:
        """A question, asked again after faults."""
        return self._repeat(lambda: self._call(call), part, self._patience.max_reads)

    def _unless_gone(
        self, job_id: str, tag: str, call: Callable[[], _Answer]
    ) -> Callable[[], _Answer]:
        """A call about a job; `JobGoneError` once the service has not known the job for some time.

        The service forgets a job for a moment now and then, so that it counts as deleted only if
        it is not listed by its tag either.
        """
        unknown_since: float | None = None

        def ask() -> _Answer:
            nonlocal unknown_since
            try:
                answer = self._call(call)
            except UnknownJobError:
                now = self._clock()
                unknown_since = now if unknown_since is None else unknown_since
                seconds = now - unknown_since
                if seconds < self._patience.settle_seconds:
                    raise
                if job_id in self._call(lambda: self._client.find(tag)):
                    raise
                raise JobGoneError(
                    f"the service has not known it for {seconds:.3g} s, it was deleted there or is "
                    "of another instance"
                ) from None
            unknown_since = None
            return answer

        return ask

    def _repeat(self, call: Callable[[], _Answer], part: Part | None, tries: int) -> _Answer:
        num_refusals = 0

        def judge(error: Exception) -> Verdict:
            nonlocal num_refusals
            num_refusals += isinstance(error, UnauthorisedError)
            # Patience is for what comes back; a token that was revoked does not.
            if num_refusals >= self._patience.max_tries:
                return "fatal"
            return verdict_of(error, "retry")

        return retry(
            call,
            judge,
            backoff=self._patience.faults,
            max_tries=tries,
            sleep=self._sleep,
            on_wait=lambda error, seconds: self._tell_fault(part, error, seconds),
        )

    def _tell(self, part: Part, state: str, job_id: str | None = None, detail: str = "") -> None:
        if self._on_progress is not None:
            self._on_progress(JobProgress(part.number, part.num_parts, state, job_id, detail))

    def _tell_fault(self, part: Part | None, error: Exception, seconds: float) -> None:
        if part is not None:
            self._tell(part, "waiting", detail=f"{error}; again in {seconds:.0f} s")
