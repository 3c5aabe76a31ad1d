"""The SQLite file beneath the job ledger: its tables, its transactions, and errors in one line.

The file can be read with plain SQLite. Its tables:

- `intents`: what is to be run, by content; `labels` is a JSON object.
- `attempts`: one row for each attempt to run an intent, with the vendor's job once there is one.
  The attempt with the highest number is the current one. `owner` says which process is sending it
  now, as JSON; `maybe_sent` is 1 when an earlier sender may have got through unheard.
- `results (intent_id, result)`: texts compressed by zlib.
- `events`: everything that happened, in order.
- `calls`: when the service was called, for the rate limit.

Triggers keep the promises also towards programs other than this one: finished records, results and
events never change, a job's id is never replaced, nothing but calls is deleted.

`PRAGMA user_version` is the format version, `PRAGMA application_id` tells ledgers from other SQLite
files. The journal is SQLite's plain one, not the write-ahead log, for the reasons given in
`sweeps.store`: network file systems, and one file that can be copied. `synchronous=EXTRA` is FULL
plus a sync of the folder after the journal is unlinked: without it a power failure just after a
commit may bring the journal back, which undoes the commit, and so could forget that a job was about
to be sent (https://sqlite.org/pragma.html#pragma_synchronous).
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from qrnn_qiskit.errors import InputError

FORMAT_VERSION = 1
APPLICATION_ID = int.from_bytes(b"QRNj", "big")
# How long another program may keep the file locked.
PATIENCE_SECONDS = 60.0
# SQLite waits deaf to Ctrl-C, so it waits no longer than this at a time.
WAIT_SECONDS = 0.5

STATES = ("planned", "submitting", "submitted", "done", "failed", "cancelled")

_TABLES = (
    """CREATE TABLE intents (
    intent_id TEXT PRIMARY KEY, backend TEXT NOT NULL, num_rows INTEGER NOT NULL,
    num_shots INTEGER NOT NULL, forecast_seconds REAL NOT NULL, labels TEXT NOT NULL
)""",
    f"""CREATE TABLE attempts (
    intent_id TEXT NOT NULL REFERENCES intents, attempt INTEGER NOT NULL,
    tag TEXT NOT NULL UNIQUE, state TEXT NOT NULL CHECK (state IN {STATES}), job_id TEXT UNIQUE,
    vendor_status TEXT, planned_at TEXT NOT NULL, submitted_at TEXT, finished_at TEXT,
    usage_seconds REAL, error TEXT, maybe_sent INTEGER NOT NULL DEFAULT 0, owner TEXT,
    claimed_at REAL, PRIMARY KEY (intent_id, attempt),
    CHECK (job_id IS NOT NULL OR state NOT IN ('submitted', 'done'))
)""",
    "CREATE TABLE results (intent_id TEXT PRIMARY KEY REFERENCES intents, result BLOB NOT NULL)",
    """CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, intent_id TEXT NOT NULL REFERENCES intents,
    time TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL
)""",
    "CREATE INDEX events_of_intent ON events (intent_id)",
    "CREATE TABLE calls (kind TEXT NOT NULL, at REAL NOT NULL)",
    """CREATE TRIGGER done_stays BEFORE UPDATE ON attempts WHEN OLD.state = 'done'
BEGIN SELECT RAISE(ABORT, 'a done record never changes'); END""",
    """CREATE TRIGGER job_stays BEFORE UPDATE ON attempts
WHEN OLD.job_id IS NOT NULL AND NEW.job_id IS NOT OLD.job_id
BEGIN SELECT RAISE(ABORT, 'a job_id is never replaced'); END""",
    *(
        f"""CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} are never changed'); END"""
        for table in ("intents", "results", "events")
        for verb in ("UPDATE", "DELETE")
    ),
    """CREATE TRIGGER attempts_DELETE BEFORE DELETE ON attempts
BEGIN SELECT RAISE(ABORT, 'attempts are never deleted'); END""",
)

_Answer = TypeVar("_Answer")


class LedgerFile:
    """An open ledger file, for any number of threads and processes.

    Args:
        path: of the file; made with its folders where there is none.

    Raises:
        InputError: if the file is damaged, of another program or version, or cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = LedgerFile(Path(folder) / "jobs.db")
        ...     with file.transaction() as connection:
        ...         _ = connection.execute("INSERT INTO calls VALUES ('submit', 0.0)")
        ...     rows = file.read("SELECT * FROM calls")
        ...     file.close()
        ...     rows
        [('submit', 0.0)]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error.strerror) from error
        with self._clear_errors():
            # Transactions are begun and ended in this file, not by Python.
            self._connection = sqlite3.connect(
                str(path), timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                _patiently(self._prepare)
                self._identity = _identity(path)
                self._check_whole()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        with self._lock:
            self._connection.close()

    def read(self, query: str, *values: object) -> list[Any]:
        """All rows of an answer.

        Raises:
            InputError: if the file cannot be read.
        """
        with self._lock, self._clear_errors():
            return _patiently(lambda: self._connection.execute(query, values).fetchall())

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything or nothing, on disk when it ends; other threads and processes wait.

        Raises:
            InputError: if the file cannot be written, or is no longer in its place; then it holds
                what it held before.
        """
        with self._lock, self._clear_errors():
            connection = self._connection
            # What is paid for would go to a file that nobody finds again, without an error.
            if self._identity is not None and self._identity != _identity(self.path):
                raise InputError(
                    f"{self.path}: must stay in its place while it is open, got a file moved, "
                    "removed or replaced; put it back, or start again"
                )
            try:
                _patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
                yield connection
                _patiently(lambda: connection.execute("COMMIT"))
            except BaseException:
                # Some errors, a full disk among them, have rolled back already.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def damaged(self, found: object) -> InputError:
        """The error to raise where the content makes no sense."""
        return InputError(
            f"{self.path}: must be an undamaged job ledger, got: {found}; restore a copy of it, or "
            "move it away and find your jobs by their tags at the service"
        )

    def _prepare(self) -> None:
        """Makes the tables in a new file, refuses other files before anything is changed."""
        connection = self._connection
        if _is_new(connection):
            with self.transaction():
                # Another process may have made them just now.
                if _is_new(connection):
                    for statement in _TABLES:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        self._check_format()
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = EXTRA")
        # Without a change to make, only this tells a read-only file.
        with self.transaction():
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")

    def _check_format(self) -> None:
        ((application,),) = self._connection.execute("PRAGMA application_id").fetchall()
        ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
        if application != APPLICATION_ID:
            raise InputError(
                f"{self.path}: must be a job ledger, got a database of something else; choose "
                "another path"
            )
        if version != FORMAT_VERSION:
            raise InputError(
                f"{self.path}: must have format_version {FORMAT_VERSION}, got {version}; open it "
                "with the version of this package that wrote it, or choose another path"
            )

    def _check_whole(self) -> None:
        ((found,), *_) = self.read("PRAGMA quick_check(1)")
        if found != "ok":
            raise self.damaged(" ".join(found.split()))

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """SQLite's errors about the file as one line that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            code = _primary_code(error)
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise InputError(
                    f"{self.path}: must have room to grow, got: {error}; free disk space or quota, "
                    "then start again: jobs and results recorded so far are kept"
                ) from error
            if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
                raise _unwritable(self.path, error) from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self.damaged(error) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise InputError(
                    f"{self.path}: must not stay locked for {PATIENCE_SECONDS:g} s, got: {error}; "
                    "close what has it open"
                ) from error
            raise


def _is_new(connection: sqlite3.Connection) -> bool:
    ((num_tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    return bool(num_tables == 0 and application == 0)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _patiently(ask: Callable[[], _Answer]) -> _Answer:
    """An answer of SQLite, also when other processes keep the file locked for a while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except sqlite3.OperationalError as error:
            is_locked = _primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not is_locked or time.monotonic() > deadline:
                raise


def _primary_code(error: sqlite3.Error) -> int | None:
    """SQLite's result code without its details; none for errors of Python's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _unwritable(path: Path, found: object) -> InputError:
    return InputError(
        f"{path}: must be a file that can be written, in a folder that can, got: {found}; choose "
        "another path or change permissions"
    )
