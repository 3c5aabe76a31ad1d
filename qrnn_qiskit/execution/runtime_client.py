"""IBM Quantum's jobs: the one file that speaks to qiskit-ibm-runtime's Sampler, Session and Batch.

Read in the source of qiskit-ibm-runtime 0.51.0 and tried against the loopback server.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from qiskit_ibm_runtime import Batch, IBMBackend, Session
from qiskit_ibm_runtime.decoders.defaults import DEFAULT_DECODERS
from qiskit_ibm_runtime.decoders.result_decoder import ResultDecoder
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMNotAuthorizedError,
    IBMRuntimeError,
)
from qiskit_ibm_runtime.executor_sampler import Sampler
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as NoConnection
from urllib3.exceptions import ResponseError
from urllib3.util.retry import Retry

from qrnn_qiskit.deadline import call_with_deadline
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.execution.runtime_jobs import (
    AmbiguousJobError,
    JobError,
    JobOrder,
    JobState,
    JobStatus,
    TransientJobError,
    UnauthorisedError,
    UnknownJobError,
    one_line,
)
from qrnn_qiskit.ledger import JobMetrics, SessionLog
from qrnn_qiskit.redaction import MARK

Mode = Literal["session", "batch", "job"]

_STATUSES: dict[str, JobStatus] = {
    "INITIALIZING": "queued",
    "QUEUED": "queued",
    "RUNNING": "running",
    "DONE": "done",
    "ERROR": "failed",
    "CANCELLED": "cancelled",
}
# HTTP statuses by which a service says no for good. 404 is not one of them while we read: IBM's
# service forgets a job for a moment now and then.
_REFUSALS = (400, 402, 403, 405, 406, 409, 410, 411, 413, 415, 422)
# Of these a submission is as good as never sent: 401 (a token that has to be renewed), 429.
_NOT_NOW = (401, 429)
_CODES_SESSION_OVER = (1216, 1217)
_SESSION_OVER = re.compile(r"Error code (1216|1217);")
# As the client's own retries, which also repeat a POST after an error of the server, and sleep for
# as long as a Retry-After header says, up to 6 h: `pacing.retry` obeys that one where Ctrl-C and
# the watchdog see it.
_RETRY = Retry(
    total=5,
    connect=3,
    backoff_factor=0.5,
    status_forcelist=(500, 502, 503, 504, 520, 521, 522, 524),
    respect_retry_after_header=False,
)
# Closing is not retried by the client at all, and waits for ever for an answer. What is not closed
# the service closes some time.
_CLOSE_TRIES = 3
_CLOSE_SECONDS = 30.0


class _RawDecoder(ResultDecoder):  # type: ignore[misc]
    """Leaves the text as it came."""

    @classmethod
    def decode(cls, data: str) -> str:
        return data


class RuntimeClient:
    """Jobs on one IBM Quantum device, in a session, a batch, or one by one; see `JobClient`.

    The session or batch opens with the first submission. Where it was closed or has expired, the
    next submission opens another one.

    The client's own retries of a POST are turned off: a server error after a job was accepted
    would make two jobs of one. What may have been accepted is looked for by its tag instead.

    Args:
        backend: from `fetch_backend`. The object is kept: the client would fetch it again without
            fractional gates.
        mode: `auto` is `job` where the plan of the backend's instance, as `service.instances()`
            lists it, is `open` (which has no sessions) or not listed, else `session`. A session
            is billed by wall-clock time from its first job on: prefer `batch` where no job waits
            for another's result.
        sessions: where open sessions are noted. One that a killed process left open is used
            instead of a new one.
        max_session_seconds: after which the service closes the session or batch.
        call_seconds: after which a call counts as hanging; the client's own GETs wait for ever.

    Raises:
        InputError: if the mode is unknown, or the backend is no device of the service.
    """

    def __init__(
        self,
        backend: Any,
        mode: Mode | Literal["auto"] = "auto",
        *,
        sessions: SessionLog | None = None,
        max_session_seconds: int | None = None,
        call_seconds: float = 300.0,
    ) -> None:
        require(isinstance(backend, IBMBackend), "backend", "must be a device of IBM Quantum",
                getattr(backend, "name", backend), "use LocalClient for a simulation")  # fmt: skip
        require(mode in ("auto", "session", "batch", "job"), "mode",
                "must be auto, session, batch or job", mode, "choose one of them")  # fmt: skip
        self._backend = backend
        self._service = backend.service
        self._instance = getattr(backend, "_instance", None)
        self._sessions = sessions
        self._max_session_seconds = max_session_seconds
        self._call_seconds = call_seconds
        self._session: Session | None = None
        self._jobs: dict[str, Any] = {}
        account = self._service.active_account() or {}
        self._secrets = tuple(
            text for key in ("token", "instance") if len(text := str(account.get(key) or "")) >= 8
        )
        _forbid_repeated_posts(self._service)
        self.mode: Mode = self._choose_mode() if mode == "auto" else mode

    def __enter__(self) -> "RuntimeClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Of the backend."""
        return str(self._backend.name)

    @property
    def account(self) -> str | None:
        """A hash of the instance."""
        if not self._instance:
            return None
        return sha256(str(self._instance).encode()).hexdigest()[:12]

    @property
    def call_seconds(self) -> float | None:
        """See `JobClient`."""
        return self._call_seconds

    @property
    def session_id(self) -> str | None:
        """Of the session or batch that is open."""
        return None if self._session is None else str(self._session.session_id)

    def open(self) -> None:
        """Opens the session or batch unless one is open; nothing in job mode.

        Raises:
            InputError: if the account may not open one.
            TransientJobError: if the service did not answer as it should.
        """
        if self.mode == "job" or self._session is not None:
            return
        kind = Session if self.mode == "session" else Batch
        left_open = self._attach_left_open(kind)
        for extra in left_open[1:]:
            self._close(extra)
        if left_open:
            self._session = left_open[0]
            return
        with self._calling(f"open a {self.mode}"):
            self._session = kind(self._backend, max_time=self._max_session_seconds)
        if self._sessions is not None:
            self._sessions.record_opened(self._session.session_id, self.name, self.mode)

    def close(self) -> None:
        """Closes the session or batch, jobs in it go on; never raises.

        One that cannot be closed is closed by whoever opens the ledger next.
        """
        session, self._session = self._session, None
        if session is not None:
            self._close(session)

    def close_left_open(self) -> int:
        """Closes sessions and batches that killed processes left open; how many there were."""
        found = self._attach_left_open(Session) + self._attach_left_open(Batch)
        for session in found:
            self._close(session)
        return len(found)

    def submit(self, order: JobOrder) -> str:
        """See `JobClient`. A session that is over is replaced, and the job sent again, once."""
        self.open()
        try:
            return self._send(order)
        except _SessionOverError:
            # The service refused the job, so that it is not there twice.
            self._forget_session()
            self.open()
        try:
            return self._send(order)
        except _SessionOverError as error:
            self._forget_session()
            raise TransientJobError(str(error)) from None

    def find(self, tag: str) -> list[str]:
        """See `JobClient`."""
        with self._calling("look for jobs"):
            found = self._service.jobs(
                limit=None, job_tags=[tag], descending=False, instance=self._instance
            )
        for job in found:
            self._jobs.setdefault(job.job_id(), job)
        return [job.job_id() for job in found]

    def status(self, job_id: str) -> JobState:
        """See `JobClient`."""
        with self._calling("ask for a job's status"):
            job = self._job(job_id)
            status = _STATUSES.get(job.status(), "queued")
            if status not in ("failed", "cancelled"):
                return JobState(status)
            # The reason of a cancellation has no public name; `error_message` asks for nothing
            # that is known already.
            reason = getattr(job, "_reason", None) or job.error_message() or "no reason given"
            if status == "failed" and _SESSION_OVER.match(reason):
                # It waited in a session that ended; nothing of it ran.
                status = "lost"
            return JobState(status, self._hide(one_line(reason)))

    def result_text(self, job_id: str) -> str:
        """See `JobClient`."""
        with self._calling("fetch a result"):
            text = self._job(job_id).result(decoder=_RawDecoder)
        if not isinstance(text, str) or not text:
            raise TransientJobError(f"the result of job {job_id} is empty")
        return text

    def decode_result(self, text: str, order: JobOrder) -> NDArray[np.uint8]:
        """See `JobClient`."""
        try:
            result: Any = text
            for decoder in DEFAULT_DECODERS["executor"]:
                if decoder.is_applicable(result):
                    result = decoder.decode(result)
            (pub_result,) = result
            bits = np.empty(order.shape, dtype=np.uint8)
            for register in order.circuit.cregs:
                columns = [order.circuit.find_bit(bit).index for bit in register]
                found = pub_result.data[register.name].to_bool_array(order="little")
                if found.shape != (*order.shape[:2], len(columns)):
                    raise ValueError(f"register {register.name} has shape {found.shape}")
                bits[..., columns] = found
        except Exception as error:  # decoders raise what garbage makes them raise
            raise ValueError(f"{type(error).__name__}: {one_line(str(error))}") from None
        return bits

    def metrics(self, job_id: str) -> JobMetrics:
        """See `JobClient`."""
        with self._calling("ask for a job's metrics"):
            job = self._job(job_id)
            found = job.metrics()
            usage, times = found.get("usage") or {}, found.get("timestamps") or {}
            is_settled = usage.get("status", "pending") != "pending"
            return JobMetrics(
                usage.get("qpu_charge_time_seconds") if is_settled else None,
                times.get("running"),
                times.get("finished"),
                job.session_id,
            )

    def update_session(self) -> None:
        """See `JobClient`; a batch is billed by its jobs."""
        session = self._session
        if session is not None and self._sessions is not None and self.mode == "session":
            with self._calling("ask for a session's usage"):
                usage = session.usage()
            self._sessions.record_usage(session.session_id, usage)

    def cancel(self, job_id: str) -> None:
        """See `JobClient`."""
        with self._calling("cancel a job"):
            job = self._job(job_id)
            if not job.in_final_state():
                job.cancel()

    def _choose_mode(self) -> Mode:
        with self._calling("ask for the account's plan"):
            plans = {each.get("crn"): each.get("plan") for each in self._service.instances()}
            plan = plans.get(self._instance or self._service.active_instance())
        return "job" if plan in (None, "open") else "session"

    def _attach_left_open(self, kind: type[Session]) -> list[Session]:
        """Sessions, or batches, of killed processes that take more jobs."""
        if self._sessions is None:
            return []
        mode = "batch" if kind is Batch else "session"
        found = [self._attach(kind, each) for each in self._sessions.take_over(self.name, mode)]
        return [session for session in found if session is not None]

    def _attach(self, kind: type[Session], session_id: str) -> Session | None:
        """A session of another process; None, and noted as closed, if it takes no more jobs."""
        # The session fetches the backend again: as we did.
        fractional = getattr(self._backend.options, "use_fractional_gates", False)
        try:
            with self._calling("find an open session"):
                session = kind.from_id(session_id, self._service, fractional)
                details = session.details() or {}
        except InputError:
            details = {}
        if details.get("state") != "closed" and details.get("accepting_jobs"):
            return session
        self._note_closed(session_id, details.get("usage_time") if kind is Session else None)
        return None

    def _close(self, session: Session) -> None:
        seconds = min(self._call_seconds, _CLOSE_SECONDS)
        for _ in range(_CLOSE_TRIES):
            with suppress(Exception):
                call_with_deadline(session.close, seconds)
                is_billed = type(session) is Session
                usage = call_with_deadline(session.usage, seconds) if is_billed else None
                self._note_closed(session.session_id, usage)
                return

    def _forget_session(self) -> None:
        """Of one that the service has ended."""
        session, self._session = self._session, None
        if session is not None:
            usage = None
            with suppress(Exception):
                usage = session.usage() if self.mode == "session" else None
            self._note_closed(session.session_id, usage)

    def _note_closed(self, session_id: str, usage: float | None) -> None:
        if self._sessions is not None:
            self._sessions.record_closed(session_id, usage)

    def _send(self, order: JobOrder) -> str:
        require(order.circuit.num_parameters > 0, "circuit", "must have a parameter", 0,
                "the service drops the rows of a circuit without one")  # fmt: skip
        circuit = order.circuit.copy()
        # Comes back with the result; the loopback server simulates with it.
        circuit.metadata = {"seed": order.request.seed, "tag": order.tag}
        with self._submitting():
            sampler = Sampler(
                self._session or self._backend,
                options={
                    "environment": {"job_tags": [order.tag]},
                    "max_execution_time": order.max_execution_seconds,
                },
            )
            job = sampler.run([(circuit, order.parameter_values)], shots=order.request.num_shots)
            job_id = str(job.job_id())
        self._jobs[job_id] = job
        return job_id

    def _job(self, job_id: str) -> Any:
        if job_id not in self._jobs:
            self._jobs[job_id] = self._service.job(job_id)
        return self._jobs[job_id]

    def _hide(self, text: str) -> str:
        """Without this account's token and instance, of whatever form they are."""
        for secret in self._secrets:
            text = text.replace(secret, MARK)
        return text

    @contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        """Turns what the client raises while it asks or opens into our errors."""
        try:
            yield
        except (InputError, JobError):
            raise
        except Exception as error:  # requests, urllib3, the client and its decoder raise many types
            status = _http_status(error)
            if status in _REFUSALS or isinstance(error, IBMInputValueError):
                raise InputError(self._hide(_fatal_line(what, error, status))) from None
            line = self._hide(f"could not {what}: {_describe(error, status)}")
            if status == 401 or isinstance(error, IBMNotAuthorizedError):
                raise UnauthorisedError(line) from None
            raise (UnknownJobError if status == 404 else TransientJobError)(line) from None

    @contextmanager
    def _submitting(self) -> Iterator[None]:
        """The same for submissions, where what is not surely refused may have been accepted."""
        try:
            yield
        except (InputError, JobError):
            raise
        except Exception as error:  # as above
            status, code = _http_status(error), _ibm_message(error)[1]
            line = self._hide(f"could not submit a job: {_describe(error, status)}")
            if code in _CODES_SESSION_OVER or "session is closed" in str(error).lower():
                raise _SessionOverError(line) from None
            # 404 of the POST itself; before it the client asks for other things.
            is_unknown = status == 404 and isinstance(error, IBMRuntimeError)
            if status in _REFUSALS or is_unknown or isinstance(error, IBMInputValueError):
                raise InputError(self._hide(_fatal_line("submit a job", error, status))) from None
            if status in _NOT_NOW or isinstance(error, IBMNotAuthorizedError):
                raise TransientJobError(line) from None
            raise AmbiguousJobError(line) from None


class _SessionOverError(JobError):
    """A submission that was refused because its session or batch is over."""


def _fatal_line(what: str, error: BaseException, status: int | None) -> str:
    cure = "check the account, its plan and instance"
    if isinstance(error, IBMInputValueError):
        cure = one_line(str(error))
    elif what.startswith("open"):
        cure = "use mode batch or job where the plan has no sessions"
    return f"runtime: must be able to {what}, got {_describe(error, status)}; {cure}"


def _describe(error: BaseException, status: int | None) -> str:
    """What went wrong, without anything of the request."""
    text, code = _ibm_message(error)
    parts = [
        type(error).__name__,
        *([f"status {status}"] if status is not None else []),
        *([f"code {code}"] if code is not None else []),
    ]
    *_, root = _chain(error)
    if status is None and root is not error:
        # `too many 500 error responses` says more than its type; other texts may hold addresses.
        parts.append(str(root) if isinstance(root, ResponseError) else type(root).__name__)
    line = ", ".join(parts) + (f" ({text})" if text else "")
    if status == 401:
        line += "; check that the account's token still holds"
    elif any(isinstance(each, NoConnection) for each in _chain(error)):
        line += " (no connection to the service)"
    return line


def _ibm_message(error: BaseException) -> tuple[str, int | None]:
    """The service's message and error code: `{"errors": [{"code": 1217, "message": ...}]}`."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if response is not None:
            with suppress(Exception):  # a body of any form
                content = response.json()
                found = content["errors"][0] if "errors" in content else content["error"]
                return one_line(str(found["message"])), int(found["code"])
    return "", None


def _http_status(error: BaseException) -> int | None:
    """Of the answer that an exception is about; None without an answer.

    The client drops the status of many of its exceptions, but not the exceptions that they stem
    from.
    """
    for each in _chain(error):
        for holder in (getattr(each, "response", None), each):
            status = getattr(holder, "status_code", None)
            if isinstance(status, int) and status >= 100:
                return status
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def _forbid_repeated_posts(service: Any) -> None:
    """Lets the client retry what only reads.

    There is no public option for it. Where a later client has other names inside nothing is
    changed: a second job is found by its tag and cancelled then.
    """
    for client in getattr(service, "_api_clients", {}).values():
        mount = getattr(getattr(client, "_session", None), "mount", None)
        if mount is not None:
            for scheme in ("http://", "https://"):
                mount(scheme, HTTPAdapter(max_retries=_RETRY))
