"""What the job ledger takes and gives."""

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from qrnn_qiskit.errors import require

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
class JobRecord:
    """How far one attempt to run an intent has come.

    Attributes:
        intent: what is to be run.
        tag: of the job at the service, of this intent and attempt only.
        state: see `execution.ledger`.
        job_id: the vendor's, once it is known; never another one after that.
        vendor_status: the last one heard, in the vendor's words.
        planned_at: UTC, ISO 8601, like the other times.
        submitted_at: when the job became known.
        finished_at: when the record became done, failed or cancelled.
        usage_seconds: quantum time, none if unknown.
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
    usage_seconds: float | None
    error: str | None
    attempts: int
    maybe_sent: bool = False

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> "JobRecord":
        """A record from the columns that the ledger selects."""
        content = [*row[:5], json.loads(row[5])]
        progress = [*row[6:-1], bool(row[-1])]
        return cls(Intent(*content), *progress)


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


def tag_of(intent_id: str, attempt: int) -> str:
    """The tag under which a job is found again at the service.

    Example:
        >>> tag_of("0123456789abcdef" * 4, attempt=2)
        'qrnn-0123456789abcdef01234567-2'
    """
    return f"qrnn-{intent_id[:24]}-{attempt}"


def utc_now() -> str:
    """The time, to a millisecond.

    Example:
        >>> utc_now().endswith("+00:00")
        True
    """
    return datetime.now(UTC).isoformat(timespec="milliseconds")
