"""What goes wrong, where and when: at an endpoint, or while a job runs."""

import fnmatch
import threading
from dataclasses import dataclass, field
from typing import Literal

HttpKind = Literal[
    "status",  # answers `status` instead of doing what is asked
    "status_after",  # does it, then answers `status`: accepted, but the client thinks it is not
    "reset",  # resets the connection before the body is read
    "reset_after",  # does it, then resets the connection without an answer
    "hang",  # reads the request and never answers
    "hang_after",  # does it and never answers
    "delay",  # waits `seconds`, then answers as usual
    "delay_after",  # does it, and answers `seconds` later
    "truncate",  # breaks the connection off in the middle of the answer
    "garbage",  # answers 200 with a body that is no JSON
    "twice",  # does it twice, as a proxy that repeats a POST, then resets the connection
    "unlisted",  # answers with an empty list of jobs: what is new is listed late
    "expire_session",  # expires the session that a job is posted to, then goes on
    "restart",  # resets the connection and restarts the server
]
JobKind = Literal[
    "fail",  # ends as Failed, with reason and code
    "cancel",  # cancelled by the service
    "too_long",  # cancelled for running longer than it may, code 1305
    "slow",  # runs `seconds` longer
    "hold",  # runs until `Faults.release`
]


@dataclass
class Fault:
    """Something that goes wrong when an endpoint is called.

    Args:
        kind: see `HttpKind`.
        method: `POST`, `GET`, ...; `*` for all.
        path: segments after `/api/v1`, a `*` in place of an id: `jobs`, `jobs/*/results`,
            `identity/token`; `*` alone for every path.
        nth: the first matching call that it happens to, counted from when it was added.
        times: how many calls in a row it happens to.
        status: HTTP status of `status` and `status_after`.
        retry_after: seconds of a Retry-After header.
        seconds: of a delay.
        code: of IBM in the body of a status.
        message: in the body of a status.
    """

    kind: HttpKind
    method: str = "*"
    path: str = "*"
    nth: int = 1
    times: int = 1
    status: int = 500
    retry_after: float | None = None
    seconds: float = 0.0
    code: int = 1000
    message: str = "injected fault"
    seen: int = field(default=0, init=False)

    def concerns(self, method: str, path: str) -> bool:
        if self.method not in ("*", method):
            return False
        if self.path == "*":
            return True
        wanted, found = self.path.split("/"), path.split("/")
        return len(wanted) == len(found) and all(map(fnmatch.fnmatchcase, found, wanted))


@dataclass
class JobFault:
    """Something that goes wrong when a job runs.

    Args:
        kind: see `JobKind`.
        nth: the first run that it happens to, counted from when it was added.
        times: how many runs in a row it happens to.
        tag: concerns only jobs with this tag.
        reason: in the state of a job that failed or was cancelled.
        reason_code: of IBM; 8045 is an overflow of result buffers.
        seconds: of `slow`.
    """

    kind: JobKind
    nth: int = 1
    times: int = 1
    tag: str | None = None
    reason: str = "Failed to execute the job on the quantum computer."
    reason_code: int | None = 8045
    seconds: float = 0.0
    seen: int = field(default=0, init=False)


class Faults:
    """The faults still to come, and those that happened."""

    def __init__(self) -> None:
        self.fired: list[Fault | JobFault] = []
        # Calls that hang and jobs that are held wait for this.
        self.released = threading.Event()
        self._faults: list[Fault | JobFault] = []
        self._lock = threading.Lock()

    def add(self, *faults: Fault | JobFault) -> None:
        """Calls and runs are counted from now on."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """No further faults, and `release`."""
        with self._lock:
            self._faults.clear()
        self.release()

    def release(self) -> None:
        """Calls that hang now are let go: their connections break off; jobs held now go on."""
        self.released.set()
        self.released = threading.Event()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that is due at this call; the first added if there are several."""
        with self._lock:
            return self._due(
                fault
                for fault in self._faults
                if isinstance(fault, Fault) and fault.concerns(method, path)
            )

    def take_for_job(self, tags: list[str]) -> JobFault | None:
        """The fault that is due in this run."""
        with self._lock:
            return self._due(
                fault
                for fault in self._faults
                if isinstance(fault, JobFault) and fault.tag in (None, *tags)
            )

    def _due(self, concerned):
        due = None
        for fault in list(concerned):
            fault.seen += 1
            if fault.seen >= fault.nth + fault.times - 1:
                self._faults.remove(fault)
            if due is None and fault.seen >= fault.nth:
                due = fault
        if due is not None:
            self.fired.append(due)
        return due
