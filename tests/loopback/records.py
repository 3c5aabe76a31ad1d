"""What the service remembers: jobs, sessions, and when what happened to them."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

FINAL_STATES = ("Completed", "Failed", "Cancelled")
# IBM's limits: a session's 8 h, and 60 s between its jobs before others get their turn.
SESSION_SECONDS = 8 * 3600
INTERACTIVE_SECONDS = 60


def iso_time(seconds: float | None) -> str | None:
    """A time as the service writes it: UTC, with Z."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@dataclass
class JobRecord:
    """One job; times in seconds since 1970.

    Attributes:
        number: order of arrival, from 1.
        executions: how often it was started; 1 unless the server was killed meanwhile.
        quantum_seconds: its usage, 0 until it is completed.
    """

    id: str
    number: int
    backend: str
    program: str
    tags: list[str]
    created: float
    session_id: str | None = None
    max_seconds: int | None = None
    private: bool = False
    status: str = "Queued"
    reason: str | None = None
    reason_code: int | None = None
    started: float | None = None
    finished: float | None = None
    executions: int = 0
    quantum_seconds: float = 0.0
    # Not part of the record proper: large, and stored beside it.
    params: dict[str, Any] = field(default_factory=dict, repr=False)
    result: str | None = field(default=None, repr=False)

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL_STATES

    def finish(self, status: str, reason: str | None, code: int | None, now: float) -> None:
        """Completed, Failed or Cancelled."""
        self.status, self.reason, self.reason_code, self.finished = status, reason, code, now

    def describe(self, *, with_params: bool = False) -> dict[str, Any]:
        """The answer to GET of the job."""
        state: dict[str, Any] = {"status": self.status}
        if self.reason is not None:
            state |= {"reason": self.reason, "reason_code": self.reason_code}
        content = {
            "id": self.id,
            "backend": self.backend,
            "state": state,
            "status": self.status,
            "program": {"id": self.program},
            "created": iso_time(self.created),
            "tags": self.tags,
            "private": self.private,
            "cost": self.max_seconds,
            "usage": {"quantum_seconds": self.quantum_seconds, "seconds": self.quantum_seconds},
            "estimated_running_time_seconds": self.quantum_seconds,
        }
        if self.session_id is not None:
            content["session_id"] = self.session_id
        return content | ({"params": self.params} if with_params else {})

    def describe_metrics(self) -> dict[str, Any]:
        """The answer to GET of its metrics."""
        return {
            "timestamps": {
                "created": iso_time(self.created),
                "running": iso_time(self.started),
                "finished": iso_time(self.finished),
            },
            "bss": {"seconds": self.quantum_seconds},
            "usage": {
                "status": "final" if self.is_final else "pending",
                "quantum_seconds": self.quantum_seconds,
                "seconds": self.quantum_seconds,
                "qpu_charge_time_seconds": self.quantum_seconds,
            },
        }


@dataclass
class SessionRecord:
    """One session or batch; times in seconds since 1970."""

    id: str
    backend: str
    mode: str
    created: float
    max_ttl: int = SESSION_SECONDS
    interactive_ttl: int = INTERACTIVE_SECONDS
    state: str = "open"
    accepting_jobs: bool = True
    started: float | None = None
    last_job_started: float | None = None
    last_job_completed: float | None = None
    closed: float | None = None

    def refresh(self, now: float, num_pending: int) -> None:
        """What time alone does to it.

        A TTL counts from the first job's start. A session that accepts no more jobs closes after
        its last one; one whose jobs keep it waiting is inactive until the next job.
        """
        if self.state == "closed":
            return
        is_over = self.started is not None and now > self.started + self.max_ttl
        if is_over or not (num_pending or self.accepting_jobs):
            self.close(now)
        elif not num_pending and self.last_job_completed is not None:
            is_idle = now > self.last_job_completed + self.interactive_ttl
            self.state = "inactive" if is_idle else "active"

    def start_job(self, now: float) -> None:
        """The first job's start is the session's."""
        self.state = "active"
        self.started = now if self.started is None else self.started
        self.last_job_started = now

    def close(self, now: float) -> None:
        """For good."""
        self.state, self.accepting_jobs, self.closed = "closed", False, now

    def describe(self, now: float, job_seconds: float) -> dict[str, Any]:
        """The answer to GET of the session.

        Usage of a dedicated session is wall-clock time from its first job on, a batch's is that of
        its jobs.
        """
        elapsed = 0.0 if self.started is None else (self.closed or now) - self.started
        return {
            "id": self.id,
            "backend_name": self.backend,
            "mode": self.mode,
            "state": self.state,
            "accepting_jobs": self.accepting_jobs,
            "max_ttl": self.max_ttl,
            "active_ttl": self.max_ttl,
            "interactive_ttl": self.interactive_ttl,
            "started_at": iso_time(self.started),
            "activated_at": iso_time(self.started),
            "closed_at": iso_time(self.closed),
            "last_job_started": iso_time(self.last_job_started),
            "last_job_completed": iso_time(self.last_job_completed),
            "elapsed_time": elapsed if self.mode == "dedicated" else job_seconds,
            "timestamps": [],
        }
