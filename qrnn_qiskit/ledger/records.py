"""What the job ledger takes and gives."""

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.redaction import redact_json

State = Literal["planned", "submitting", "submitted", "done", "failed", "cancelled"]

_DIGITS = re.compile("[0-9a-f]{24,128}")


@dataclass(frozen=True)
class Intent:
    """What is to be run, by content.

    Attributes:
        intent_id: hash of all that is run, circuit, bound rows, backend, shots and repetition; hex
            digits, 24 or more. Two runs of the same id are one.
        backend: name of the device.
        num_rows: of the job.
        num_shots: of every row.
        forecast_seconds: quantum time it is expected to take.
        labels: plain JSON values for people; `name` is that of the run.

    Raises:
        InputError: if a value breaks these rules.

    Example:
        >>> Intent("0" * 64, "ibm_torino", 8, 100, 2.0, {"name": "narma", "step": 3}).num_shots
        100
    """

    intent_id: str
    backend: str
    num_rows: int
    num_shots: int
    forecast_seconds: float
    labels: dict[str, Any]

    def __post_init__(self) -> None:
        require(_DIGITS.fullmatch(self.intent_id) is not None, "intent_id",
                "must be 24 to 128 lower-case hex digits", self.intent_id,
                "use sha256(...).hexdigest()")  # fmt: skip
        require(bool(self.backend), "backend", "must not be empty", self.backend, "name a device")
        require(self.num_rows >= 1, "num_rows", "must be at least 1", self.num_rows,
                "plan one row or more")  # fmt: skip
        require(self.num_shots >= 1, "num_shots", "must be at least 1", self.num_shots,
                "plan one shot or more")  # fmt: skip
        require(math.isfinite(self.forecast_seconds) and self.forecast_seconds >= 0,
                "forecast_seconds", "must be finite and not negative", self.forecast_seconds,
                "use the forecast of the schedule")  # fmt: skip


@dataclass(frozen=True)
class JobMetrics:
    """What the service says that a job took; None where it does not say, or not yet.

    Attributes:
        usage_seconds: quantum time billed, once it is settled.
        started_at: when it began to run; UTC, ISO 8601.
        ended_at: when it was over.
        session_id: of the session or batch that it ran in.

    Raises:
        InputError: if the usage makes no sense.
    """

    usage_seconds: float | None = None
    started_at: str | None = None
    ended_at: str | None = None
    session_id: str | None = None

    def __post_init__(self) -> None:
        usage = self.usage_seconds
        require(usage is None or 0 <= usage < math.inf, "usage_seconds",
                "must be finite and not negative", usage, "pass None if unknown")  # fmt: skip


@dataclass(frozen=True)
class JobRecord:
    """How far one attempt to run an intent has come.

    Attributes:
        intent: what is to be run.
        tag: of the job at the service, of this intent and attempt only.
        state: see `ledger.ledger`.
        job_id: the vendor's, once it is known; never another one after that.
        vendor_status: the last one heard, in the vendor's words.
        planned_at: UTC, ISO 8601, like the other times.
        submitted_at: when the job became known.
        finished_at: when the record became done, failed or cancelled.
        metrics: what it took.
        account: through which it was sent, none if unknown.
        error: why it failed.
        attempts: number of this attempt, from 1.
        maybe_sent: whether a job that is not recorded yet may exist under this tag.
    """

    intent: Intent
    tag: str
    state: State
    job_id: str | None
    vendor_status: str | None
    planned_at: str
    submitted_at: str | None
    finished_at: str | None
    metrics: JobMetrics
    account: str | None
    error: str | None
    attempts: int
    maybe_sent: bool = False

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> "JobRecord":
        """A record from the columns that the ledger selects."""
        content = [*row[:5], json.loads(row[5])]
        progress = [*row[6:13], JobMetrics(*row[13:17]), *row[17:20], bool(row[20])]
        return cls(Intent(*content), *progress)

    @property
    def may_cost(self) -> bool:
        """Whether there is, or may be, a job."""
        return self.job_id is not None or self.maybe_sent or self.state == "submitting"

    @property
    def expected_seconds(self) -> float:
        """Quantum time: billed, or the forecast where a job may be and no bill is known yet."""
        if self.metrics.usage_seconds is not None:
            return self.metrics.usage_seconds
        return self.intent.forecast_seconds if self.may_cost else 0.0

    @property
    def ended_at(self) -> str | None:
        """When its shots were over, as far as anybody knows."""
        return self.metrics.ended_at or self.finished_at


@dataclass(frozen=True)
class SessionRecord:
    """A session or batch opened at the service.

    Attributes:
        session_id: the vendor's.
        backend: that it is for.
        mode: `session` or `batch`.
        opened_at: UTC, ISO 8601.
        closed_at: when it was closed, or found closed.
        usage_seconds: what it was billed by the clock so far; None for a batch, or if unknown.
    """

    session_id: str
    backend: str
    mode: str
    opened_at: str
    closed_at: str | None
    usage_seconds: float | None


@dataclass(frozen=True)
class Event:
    """One thing that happened to an intent.

    Attributes:
        time: UTC, ISO 8601.
        what: in a few words.
        detail: job, tag, status or error.
    """

    time: str
    what: str
    detail: str


def labels_text(intent: Intent) -> str:
    """The labels of an intent as JSON without secrets.

    Raises:
        InputError: if they hold anything that JSON does not.
    """
    labels: Any = redact_json(intent.labels)
    try:
        return json.dumps(labels, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"labels: must hold plain JSON values, got: {error}; convert arrays with tolist()"
        ) from error


def tag_of(ledger_id: str, intent_id: str, attempt: int) -> str:
    """The tag under which a job is found again at the service.

    It names the ledger, too: two runs of the same content must not take each other's jobs for
    their own, and cancel them.

    Example:
        >>> tag_of("5eed1e55", "0123456789abcdef" * 4, attempt=2)
        'qrnn-5eed1e55-0123456789abcdef01234567-2'
    """
    return f"qrnn-{ledger_id}-{intent_id[:24]}-{attempt}"


def utc_now() -> str:
    """The time, to a millisecond.

    Example:
        >>> utc_now().endswith("+00:00")
        True
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds")
