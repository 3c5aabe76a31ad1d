"""What a job is to us, and the protocol of the services that run jobs: plain values only."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from qrnn_qiskit.analysis import JobSplit
from qrnn_qiskit.deadline import DeadlineExceeded
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution.contract import RunRequest
from qrnn_qiskit.ledger import JobMetrics
from qrnn_qiskit.pacing import Verdict
from qrnn_qiskit.redaction import redact

JobStatus = Literal["queued", "running", "done", "failed", "cancelled", "lost"]
"""`lost`: given up by the service before it ran, as those that wait in a session that ends."""

FINAL_STATUSES = ("done", "failed", "cancelled", "lost")

_LONGEST_REASON = 300


class JobError(Exception):
    """What went wrong with a call to a service, in one line without secrets."""


class TransientJobError(JobError):
    """Nothing has happened; the same call may succeed later."""


class UnauthorisedError(TransientJobError):
    """The service did not take the token: for a moment, while it is renewed, or for good."""


class UnknownJobError(TransientJobError):
    """The service does not know the job: for a moment, or because it was deleted there."""


class JobGoneError(JobError):
    """The service has not known a job for so long that it must have been deleted."""


class AmbiguousJobError(JobError):
    """A submission that may have been accepted: look for its tag before sending it again."""


def verdict_of(error: Exception, hanging: Verdict) -> Verdict:
    """What an error says of a call; one that hangs says more of some calls than of others."""
    if isinstance(error, JobGoneError):
        return "fatal"
    if isinstance(error, AmbiguousJobError):
        return "ambiguous"
    if isinstance(error, DeadlineExceeded):
        return hanging
    return "retry" if isinstance(error, JobError) else "fatal"


class BudgetReached(InputError):  # noqa: N818  it is a state, and the name users catch
    """The next submission would exceed the budget of QPU seconds; nothing of it was sent.

    Args:
        num_jobs: of the submission.
        max_qpu_seconds: the budget.
        spent_seconds: used or under way.
        next_seconds: that the submission would add.
    """

    def __init__(
        self, num_jobs: int, max_qpu_seconds: float, spent_seconds: float, next_seconds: float
    ) -> None:
        jobs = "job" if num_jobs == 1 else f"{num_jobs} jobs"
        super().__init__(
            f"max_qpu_seconds: must cover the next {jobs}, got {max_qpu_seconds:g} s of which "
            f"{spent_seconds:.4g} s are used or under way and {next_seconds:.4g} s would follow; "
            "raise it (--set runtime.max_qpu_seconds=...) and run again, or take fewer shots"
        )
        self.spent_seconds = spent_seconds
        self.next_seconds = next_seconds


@dataclass(frozen=True, eq=False)
class JobOrder:
    """One job as it is submitted.

    Attributes:
        request: its rows and shots.
        circuit: `request.compiled.circuit` over all qubits of the device.
        parameter_values: radians, `(num_rows, num_parameters)`, in `circuit.parameters` order.
        tag: unique among all jobs.
        max_execution_seconds: after which the service is to cancel it; None for the service's own.
    """

    request: RunRequest
    circuit: QuantumCircuit
    parameter_values: NDArray[np.float64]
    tag: str
    max_execution_seconds: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the bits: rows, shots, bits of a record."""
        return (self.request.num_rows, self.request.num_shots, self.circuit.num_clbits)


@dataclass(frozen=True)
class JobState:
    """Where a job is.

    Attributes:
        status: see `JobStatus`.
        reason: of a failure or cancellation, one line without secrets.
    """

    status: JobStatus
    reason: str = ""

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINAL_STATUSES


@dataclass(frozen=True)
class JobProgress:
    """What has just become known of a job.

    Attributes:
        part: number of the job in its request, from 1.
        num_parts: jobs of the request.
        state: `planned`, `submitting`, `queued`, `running`, `done`, `failed`, `cancelled`, `lost`,
            `waiting` after a fault, or `from ledger` where a result was there already.
        job_id: the service's, once it is known.
        detail: in a few words, often empty.
    """

    part: int
    num_parts: int
    state: str
    job_id: str | None = None
    detail: str = ""


class JobClient(Protocol):
    """A service that runs jobs: IBM Quantum, a simulator, a test double.

    Every method but `open`, `close` and `decode_result` may raise `TransientJobError`, or
    `InputError` where trying again is useless; `submit` also `AmbiguousJobError`, and those with a
    job's id `UnknownJobError`.
    """

    @property
    def name(self) -> str:
        """Of the backend: part of what makes a job this job."""
        ...

    @property
    def account(self) -> str | None:
        """Whose jobs these are, in a form that tells nothing else; None if that makes no odds."""
        ...

    @property
    def call_seconds(self) -> float | None:
        """How long a call may take before it counts as hanging; None if it may take any time."""
        ...

    def open(self) -> None:
        """Ready for `submit`; opens a session or batch with the first one."""
        ...

    def close(self) -> None:
        """Ends the session or batch, running jobs go on; never raises."""
        ...

    def submit(self, order: JobOrder) -> str:
        """The id of a new job."""
        ...

    def find(self, tag: str) -> list[str]:
        """Ids of all jobs with a tag, the oldest first."""
        ...

    def status(self, job_id: str) -> JobState:
        """Where a job is now."""
        ...

    def result_text(self, job_id: str) -> str:
        """What came out of a job that is done, in the service's own encoding."""
        ...

    def decode_result(self, text: str, order: JobOrder) -> NDArray[np.uint8]:
        """Bits `(num_rows, num_shots, num_bits)` in the order of the record.

        Raises:
            ValueError: if the text is not the result of this order.
        """
        ...

    def metrics(self, job_id: str) -> JobMetrics:
        """What a job took, as far as the service has settled it."""
        ...

    def update_session(self) -> None:
        """Notes what a session that is billed by the clock has cost so far, if there is one."""
        ...

    def cancel(self, job_id: str) -> None:
        """Cancels a job; nothing if it is final."""
        ...


def seed_of(request: RunRequest, split: JobSplit) -> int:
    """The seed of one job of a request, for simulators.

    A job that is the whole request has the request's seed, so that it gives the bits of
    `AerExecutor.run(request)`. Each of several jobs has one of its own, which follows from that
    seed and the job's rows and shots: jobs with equal seeds would repeat their shots.

    Example:
        >>> from types import SimpleNamespace
        >>> request = SimpleNamespace(seed=7, num_rows=4, num_shots=100)
        >>> seed_of(request, JobSplit(0, 4, 0, 100))
        7
        >>> seed_of(request, JobSplit(0, 4, 0, 50)) == seed_of(request, JobSplit(0, 4, 50, 50))
        False
    """
    if split.num_rows == request.num_rows and split.num_shots == request.num_shots:
        return request.seed
    numbers = (request.seed, split.first_row, split.num_rows, split.first_shot, split.num_shots)
    digest = sha256(b"part" + repr(numbers).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def one_line(text: str) -> str:
    """A service's message as one line of bounded length, without secrets.

    Example:
        >>> one_line("Authorization: Bearer abc,   refused, code 1217")
        'Authorization: Bearer [redacted], refused, code 1217'
    """
    line = " ".join(redact(text).split())
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 3] + "..."
