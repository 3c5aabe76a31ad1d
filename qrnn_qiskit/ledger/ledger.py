"""The job ledger: what was to be run, what was sent, what came back; no crash makes it forget.

Each call is one transaction, on disk when it returns, so that after a crash the state of a record
says what to do next:

- *planned*: nothing was sent. `begin_submission`, send the job with the record's tag, `record_job`.
- *submitting*: a job may have been sent. If the sender is gone, `begin_submission` hands the
  submission over, and `maybe_sent` of the record is true: look for its tag at the service, and
  record the job found there, or send it if there is none.
- *submitted*: ask the service for `job_id`.
- *done*, *failed*, *cancelled*: nothing but the bill, while the record is among `unsettled`. After
  the last two `retry` begins a new attempt, with a new tag; look for the old tag first if that
  attempt has no job and `maybe_sent`.

A ledger holds no credentials: all texts but results pass `redact` first.
"""

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from sqlite3 import Connection, ProgrammingError
from time import time

from qrnn_qiskit.database import Database
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.ledger.claims import (
    CURRENT_ATTEMPT,
    holder_of,
    may_take_over,
    owner_text,
)
from qrnn_qiskit.ledger.records import (
    Event,
    Intent,
    JobMetrics,
    JobRecord,
    State,
    labels_text,
    tag_of,
    utc_now,
)
from qrnn_qiskit.ledger.sessions import SessionLog
from qrnn_qiskit.ledger.tables import ATTEMPTS, CURRENT, LEDGER
from qrnn_qiskit.owners import Owner
from qrnn_qiskit.pacing import seconds_to_wait
from qrnn_qiskit.redaction import redact

LEDGER_NAME = "ledger.sqlite"
"""Of the file in the directory of a run."""


class Ledger:
    """One file with all jobs of a run, for any number of processes at a time.

    Threads may share it, except that two of them must not submit the same intent: a claim belongs
    to the ledger object. All methods raise `InputError` where the file cannot be read or written,
    and then it holds what it held before; those that take an `intent_id`, if none was planned.

    Args:
        path: of the file; made with its folders where there is none.
        create: whether it may be made.
        only_read: for a look at the ledger of a run that goes on, also in a folder that may not be
            written; nothing is recorded then.

    Raises:
        InputError: if the file is damaged, of another program or version, or cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> intent = Intent("ab" * 16, "ibm_torino", num_rows=8, num_shots=100,
        ...                 forecast_seconds=2.0, labels={"name": "narma"})
        >>> with TemporaryDirectory() as folder, Ledger(Path(folder) / "jobs.db") as ledger:
        ...     record = ledger.plan(intent)
        ...     if ledger.begin_submission(intent.intent_id):
        ...         # Here the job is sent with record.tag.
        ...         _ = ledger.record_job(intent.intent_id, "d1abc")
        ...     _ = ledger.record_result(intent.intent_id, "0110")
        ...     _ = ledger.record_metrics("d1abc", JobMetrics(usage_seconds=1.5))
        ...     record.tag[13:], ledger.get(intent.intent_id).state, ledger.result(intent.intent_id)
        ('-abababababababababababab-1', 'done', '0110')
    """

    def __init__(self, path: Path, *, create: bool = True, only_read: bool = False) -> None:
        if (only_read or not create) and not path.exists():
            raise InputError(
                f"{path}: must be a job ledger, got no such file; run a job first, or correct the "
                "path"
            )
        self.path = path
        self._owner = Owner.current()
        self._only_read = only_read
        self._file = Database(path, LEDGER, only_read=only_read)
        ((self._ledger_id,),) = self._file.read("SELECT ledger_id FROM identity")
        self.sessions = SessionLog(self._file, self._owner)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives up submissions and sessions, which others may take over; closes the file."""
        if not self._only_read:
            # On a full disk they stay claimed until this process ends. Closed already is closed.
            with suppress(InputError, ProgrammingError), self._file.transaction() as connection:
                connection.execute(
                    "UPDATE attempts SET owner = NULL, maybe_sent = 1 "
                    "WHERE state = 'submitting' AND owner = ?",
                    (owner_text(self._owner),),
                )
            with suppress(InputError, ProgrammingError):
                self.sessions.release()
        self._file.close()

    def plan(self, intent: Intent) -> JobRecord:
        """The record of what is to be run, new or as it is.

        Raises:
            InputError: if another intent has this id.
        """
        labels = labels_text(intent)
        content = (intent.backend, intent.num_rows, intent.num_shots)
        with self._file.transaction() as connection:
            known = self._find(connection, intent.intent_id)
            if known is not None:
                before = known.intent
                require((before.backend, before.num_rows, before.num_shots) == content,
                        "intent_id", "must be a hash of all that is run", intent.intent_id,
                        "include backend, rows and shots in it")  # fmt: skip
                return known
            connection.execute(
                "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?)",
                (intent.intent_id, *content, float(intent.forecast_seconds), labels),
            )
            return self._begin_attempt(connection, intent.intent_id, 1)

    def begin_submission(self, intent_id: str, account: str | None = None) -> bool:
        """Whether it is now for this ledger to send the job.

        True for one ledger only, until that one is closed or its process is gone; then another may
        take over. True again for the same one. Afterwards `get(intent_id).maybe_sent` says whether
        to look for the tag before sending. False, too, if there is nothing to send.

        Args:
            intent_id: of what is to be sent.
            account: through which; that of the first one stays.
        """
        with self._file.transaction() as connection:
            record = self._get(connection, intent_id)
            if record.state == "planned":
                what, maybe_sent = "submitting", False
            elif record.state == "submitting" and may_take_over(connection, intent_id, self._owner):
                what, maybe_sent = "submission taken over", True
            else:
                return False
            self._update(
                connection, intent_id, state="submitting", owner=owner_text(self._owner),
                claimed_at=time(), maybe_sent=int(maybe_sent or record.maybe_sent),
                account=record.account or account,
            )  # fmt: skip
            self._note(connection, intent_id, what, f"{record.tag} by process {os.getpid()}")
            return True

    def release(self, intent_id: str, *, sent: bool) -> JobRecord:
        """Gives up a submission that this ledger began; another state stays as it is.

        Args:
            intent_id: of what was not sent.
            sent: whether a job may have left. If none did, as far as all senders know, the record
                is *planned* again.
        """
        with self._file.transaction() as connection:
            record = self._get(connection, intent_id)
            ours = owner_text(self._owner)
            if record.state == "submitting" and holder_of(connection, intent_id) == ours:
                sent = sent or record.maybe_sent
                state = "submitting" if sent else "planned"
                self._update(connection, intent_id, state=state, owner=None, maybe_sent=int(sent))
                self._note(connection, intent_id, "submission given up", f"now {state}")
            return self._get(connection, intent_id)

    def record_job(self, intent_id: str, job_id: str) -> JobRecord:
        """Notes the vendor's job, in any state that has none yet: a job that exists is never lost.

        Raises:
            InputError: if the intent has another job, which stays (this one becomes an event), or
                the job is another intent's.
        """
        require(bool(job_id), "job_id", "must not be empty", job_id, "use the vendor's id")
        with self._file.transaction() as connection:
            record = self._get(connection, intent_id)
            if record.job_id == job_id:
                return record
            taken = connection.execute(
                "SELECT intent_id FROM attempts WHERE job_id = ?", (job_id,)
            ).fetchall()
            is_free = record.job_id is None and not taken
            if is_free:
                self._update(
                    connection, intent_id, state="submitted", job_id=job_id, owner=None,
                    submitted_at=utc_now(), finished_at=None, error=None, maybe_sent=0,
                )  # fmt: skip
            what = "submitted" if is_free else "another job refused"
            self._note(connection, intent_id, what, f"job {job_id} for {record.tag}")
        if record.job_id is not None:
            raise InputError(
                f"job_id: must stay {record.job_id!r} for {record.tag}, got {job_id!r}; cancel the "
                "second job at the service"
            )
        require(is_free, "job_id", "must be of one intent and attempt only", job_id,
                f"find it in the history of {taken[0][0] if taken else ''}")  # fmt: skip
        return self.get(intent_id)

    def record_status(self, intent_id: str, vendor_status: str) -> JobRecord:
        """Notes what the service says of the job; nothing once the record is finished.

        Raises:
            InputError: if there is no job.
        """
        status = _clean(vendor_status)
        with self._file.transaction() as connection:
            record = self._get(connection, intent_id)
            _require_job(record)
            if record.state == "submitted" and record.vendor_status != status:
                self._update(connection, intent_id, vendor_status=status)
                self._note(connection, intent_id, "status", status)
            return self._get(connection, intent_id)

    def record_result(self, intent_id: str, result_text: str) -> JobRecord:
        """Keeps what the job gave, also if it had been given up; the record is *done*.

        If there is a result already, it and its record stay; another one is noted as an event.

        Args:
            intent_id: of what was run.
            result_text: kept as it is, compressed, and not redacted.

        Raises:
            InputError: if there is no job.
        """
        packed = zlib.compress(result_text.encode("utf-8", "surrogatepass"))
        with self._file.transaction() as connection:
            record = self._get(connection, intent_id)
            if record.state == "done":
                if self.result(intent_id) != result_text:
                    detail = f"{len(result_text)} characters"
                    self._note(connection, intent_id, "another result ignored", detail)
                return record
            _require_job(record)
            connection.execute("INSERT INTO results VALUES (?, ?)", (intent_id, packed))
            self._finish(connection, record, "done", "")
            return self._get(connection, intent_id)

    def record_failure(self, intent_id: str, error: str) -> JobRecord:
        """Notes that this attempt failed for good; one that is not under way stays as it ended.

        Not for a submission of unknown outcome: `release` that. One that the service refused is
        best released as not sent first; else the failed record stays `maybe_sent`.

        Args:
            intent_id: of what was run.
            error: redacted before it is kept.

        Raises:
            InputError: if the record is done.
        """
        return self._end(intent_id, "failed", _clean(error))

    def record_cancelled(self, intent_id: str) -> JobRecord:
        """Notes that this attempt was cancelled; one that is not under way stays as it ended.

        Raises:
            InputError: if the record is done.
        """
        return self._end(intent_id, "cancelled", "")

    def record_metrics(self, job_id: str, metrics: JobMetrics) -> None:
        """Notes what a job took, in any state, since services settle usage late.

        What is known already stays.

        Raises:
            InputError: if no attempt has this job.
        """
        with self._file.transaction() as connection:
            query = f"{ATTEMPTS} WHERE a.job_id = ?"
            rows = connection.execute(query, (job_id,)).fetchall()
            require(len(rows) == 1, "job_id", "must be of a recorded job", job_id,
                    "call record_job first")  # fmt: skip
            known = asdict(JobRecord.from_row(rows[0]).metrics)
            fresh = {
                name: value
                for name, value in asdict(metrics).items()
                if value is not None and known[name] is None
            }
            if fresh:
                assignments = ", ".join(f"{name} = ?" for name in fresh)
                query = f"UPDATE attempts SET {assignments} WHERE job_id = ?"
                connection.execute(query, (*fresh.values(), job_id))
                detail = ", ".join(f"{name} {value}" for name, value in fresh.items())
                self._note(connection, rows[0][0], "metrics", f"job {job_id}: {detail}")

    def retry(self, intent_id: str) -> JobRecord:
        """A new attempt, *planned*, with a new tag; earlier ones stay as they ended.

        Raises:
            InputError: unless the record is failed or cancelled.
        """
        with self._file.transaction() as connection:
            record = self._get(connection, intent_id)
            require(record.state in ("failed", "cancelled"), "state",
                    "must be failed or cancelled for another attempt", record.state,
                    "finish or cancel this one first")  # fmt: skip
            return self._begin_attempt(connection, intent_id, record.attempts + 1)

    def result(self, intent_id: str) -> str | None:
        """What the job gave, none if nothing yet."""
        for (packed,) in self._file.read(
            "SELECT result FROM results WHERE intent_id = ?", intent_id
        ):
            try:
                return zlib.decompress(packed).decode("utf-8", "surrogatepass")
            except (zlib.error, UnicodeDecodeError) as error:
                raise self._file.damaged(f"result of {intent_id}: {error}") from error
        return None

    def get(self, intent_id: str) -> JobRecord:
        """The record of the current attempt.

        Raises:
            InputError: if nothing of that id was planned.
        """
        return _only(self._select(f"{CURRENT} AND i.intent_id = ?", intent_id), intent_id)

    def attempts(self, intent_id: str) -> list[JobRecord]:
        """Records of all attempts, the first one first."""
        return self._select(f"{ATTEMPTS} WHERE i.intent_id = ? ORDER BY a.attempt", intent_id)

    def find_by_job(self, job_id: str) -> JobRecord | None:
        """The attempt that has this job, whether or not it is the current one."""
        return next(iter(self._select(f"{ATTEMPTS} WHERE a.job_id = ?", job_id)), None)

    def find_by_tag(self, tag: str) -> JobRecord | None:
        """The attempt that has this tag, whether or not it is the current one."""
        return next(iter(self._select(f"{ATTEMPTS} WHERE a.tag = ?", tag)), None)

    def records(self, state: State | None = None, name: str | None = None) -> list[JobRecord]:
        """Records of current attempts in the order in which they were planned first.

        Args:
            state: of those to list, all if none.
            name: label `name` of those to list, all if none.
        """
        return self._select(
            f"{CURRENT} AND coalesce(a.state = ?, 1) "
            "AND coalesce(json_extract(i.labels, '$.name') = ?, ? IS NULL) ORDER BY i.rowid",
            state, name, name,
        )  # fmt: skip

    def unfinished(self) -> list[JobRecord]:
        """Records that are planned, submitting or submitted, in the order of `records`."""
        open_states = ("planned", "submitting", "submitted")
        return [record for record in self.records() if record.state in open_states]

    def unsettled(self) -> list[JobRecord]:
        """Ended attempts with a job whose usage is not known yet."""
        return self._select(
            f"{ATTEMPTS} WHERE a.job_id IS NOT NULL AND a.usage_seconds IS NULL "
            "AND a.state IN ('done', 'failed', 'cancelled')"
        )

    def spent_seconds(self, *, forecast: bool = True) -> float:
        """Seconds of quantum time: billed, or forecast where no bill is known yet.

        Jobs of a session that is billed by the clock count together what it was billed, or what
        they took if that is more.

        Args:
            forecast: count jobs without a bill, too.
        """
        by_session: dict[str | None, float] = {}
        for record in self._select(ATTEMPTS):
            session_id = record.metrics.session_id
            billed = record.metrics.usage_seconds or 0.0
            seconds = record.expected_seconds if forecast else billed
            by_session[session_id] = by_session.get(session_id, 0.0) + seconds
        for session in self.sessions.records():
            jobs = by_session.get(session.session_id, 0.0)
            by_session[session.session_id] = max(jobs, session.usage_seconds or 0.0)
        return sum(by_session.values())

    def events(self, intent_id: str) -> list[Event]:
        """Everything that happened to an intent, in order; nothing is ever taken away."""
        query = "SELECT time, what, detail FROM events WHERE intent_id = ? ORDER BY number"
        return [Event(*row) for row in self._file.read(query, intent_id)]

    def reserve_call(self, kind: str, now: float, max_calls: int, per_seconds: float) -> float:
        """Makes a ledger a `CallLog`, which processes share and restarts do not empty."""
        with self._file.transaction() as connection:
            connection.execute(
                "DELETE FROM calls WHERE kind = ? AND at <= ?", (kind, now - per_seconds)
            )
            rows = connection.execute("SELECT at FROM calls WHERE kind = ?", (kind,)).fetchall()
            wait = seconds_to_wait([at for (at,) in rows], now, max_calls, per_seconds)
            if wait <= 0:
                connection.execute("INSERT INTO calls VALUES (?, ?)", (kind, now))
            return wait

    def _begin_attempt(self, connection: Connection, intent_id: str, attempt: int) -> JobRecord:
        tag = tag_of(self._ledger_id, intent_id, attempt)
        taken = connection.execute("SELECT 1 FROM attempts WHERE tag = ?", (tag,)).fetchall()
        require(not taken, "intent_id", "must differ from others in its first 24 digits",
                intent_id, "use a hash such as SHA-256")  # fmt: skip
        connection.execute(
            "INSERT INTO attempts (intent_id, attempt, tag, state, planned_at) "
            "VALUES (?, ?, ?, 'planned', ?)",
            (intent_id, attempt, tag, utc_now()),
        )
        self._note(connection, intent_id, "planned", tag)
        return self._get(connection, intent_id)

    def _end(self, intent_id: str, state: State, error: str) -> JobRecord:
        with self._file.transaction() as connection:
            record = self._get(connection, intent_id)
            require(record.state != "done", "state", f"must not become {state}", record.state,
                    "use its result")  # fmt: skip
            if record.state in ("failed", "cancelled"):
                self._note(connection, intent_id, f"{state} again", error)
            else:
                self._finish(connection, record, state, error)
            return self._get(connection, intent_id)

    def _finish(self, connection: Connection, record: JobRecord, state: State, error: str) -> None:
        # Nobody hears of a job that a live sender sends meanwhile, until record_job.
        in_doubt = record.maybe_sent or record.state == "submitting"
        self._update(
            connection, record.intent.intent_id, state=state, error=error or None, owner=None,
            finished_at=utc_now(), maybe_sent=int(in_doubt and record.job_id is None),
        )  # fmt: skip
        self._note(connection, record.intent.intent_id, state, error)

    def _update(self, connection: Connection, intent_id: str, **columns: object) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        query = f"UPDATE attempts SET {assignments} WHERE {CURRENT_ATTEMPT}"
        connection.execute(query, (*columns.values(), intent_id, intent_id))

    def _note(self, connection: Connection, intent_id: str, what: str, detail: str) -> None:
        row = (intent_id, utc_now(), what, _clean(detail))
        connection.execute("INSERT INTO events (intent_id, time, what, detail) VALUES "
                           "(?, ?, ?, ?)", row)  # fmt: skip

    def _select(self, query: str, *values: object) -> list[JobRecord]:
        with self._reading():
            return [JobRecord.from_row(row) for row in self._file.read(query, *values)]

    def _find(self, connection: Connection, intent_id: str) -> JobRecord | None:
        with self._reading():
            rows = connection.execute(f"{CURRENT} AND i.intent_id = ?", (intent_id,)).fetchall()
            return JobRecord.from_row(rows[0]) if rows else None

    def _get(self, connection: Connection, intent_id: str) -> JobRecord:
        found = self._find(connection, intent_id)
        return _only([] if found is None else [found], intent_id)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except json.JSONDecodeError as error:
            raise self._file.damaged(f"no JSON: {error}") from error


def _only(records: list[JobRecord], intent_id: str) -> JobRecord:
    require(len(records) == 1, "intent_id", "must be of a planned intent", intent_id,
            "plan it first")  # fmt: skip
    return records[0]


def _require_job(record: JobRecord) -> None:
    require(record.job_id is not None, "state", "must have a job", record.state,
            "call record_job first")  # fmt: skip


def _clean(text: str) -> str:
    """Without secrets, and without the lone surrogates that SQLite refuses."""
    return redact(text).encode("utf-8", "replace").decode("utf-8")
