"""SQLite files that crashes, full disks and other processes leave whole, with errors in one line.

`PRAGMA application_id` tells files of one kind from other SQLite files, `PRAGMA user_version` is
the format version. The journal is SQLite's plain one, not the write-ahead log: that one must not be
used over network file systems, where the folders of a cluster are (https://sqlite.org/wal.html),
keeps what was written last in a second file that may be forgotten when copying, and cannot be read
in a read-only folder.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from qrnn_qiskit.errors import InputError

# How long another program may keep a file locked.
PATIENCE_SECONDS = 60.0
# SQLite waits deaf to Ctrl-C, so it waits no longer than this at a time.
WAIT_SECONDS = 0.5

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class FileKind:
    """What a file is, for SQLite and for errors.

    Attributes:
        name: "job ledger".
        application_id: of all files of this kind.
        format_version: of the tables.
        tables: statements that make them.
        synchronous: `FULL`, after which what was committed outlives a power failure, or `EXTRA`:
            also the deletion of the journal, without which a power failure just after a commit may
            undo it (https://sqlite.org/pragma.html#pragma_synchronous).
        kept: what is safe when writing fails: "finished cases".
        version_cure: what to do with a file of another version.
        damage_cure: what to do with a damaged one.
    """

    name: str
    application_id: int
    format_version: int
    tables: tuple[str, ...]
    synchronous: Literal["FULL", "EXTRA"]
    kept: str
    version_cure: str
    damage_cure: str


class Database:
    """An open file of a kind, for any number of threads and processes.

    Args:
        path: of the file; made with its folders where there is none.
        kind: what it is, or becomes.
        only_read: for a file that is there, also in a folder that may not be written. What a killed
            process had half written is undone where it may.

    Raises:
        InputError: if the file is damaged, of another kind or version, or cannot be used.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> kind = FileKind("list", 7, 1, ("CREATE TABLE names (name)",), "FULL", "names", "", "")
        >>> with TemporaryDirectory() as folder:
        ...     database = Database(Path(folder) / "list.db", kind)
        ...     with database.transaction() as connection:
        ...         _ = connection.execute("INSERT INTO names VALUES ('Ada')")
        ...     rows = database.read("SELECT * FROM names")
        ...     database.close()
        ...     rows
        [('Ada',)]
    """

    def __init__(self, path: Path, kind: FileKind, *, only_read: bool = False) -> None:
        self.path = path
        self._kind = kind
        self._identity: tuple[int, int] | None = None
        self._lock = threading.RLock()
        if not only_read:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(path, error.strerror) from error
        with self._clear_errors():
            self.connection = connect(path, must_exist=only_read)
            try:
                _patiently(self._check_format if only_read else self._prepare)
                self._identity = _identity(path)
                self._check_whole()
            except BaseException:
                self.connection.close()
                raise

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        with self._lock:
            self.connection.close()

    def read(self, query: str, *values: object) -> list[Any]:
        """All rows of an answer.

        Raises:
            InputError: if the file cannot be read.
        """
        with self._lock, self._clear_errors():
            return _patiently(lambda: self.connection.execute(query, values).fetchall())

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything or nothing, on disk when it ends; other threads and processes wait.

        Raises:
            InputError: if the file cannot be written, or is no longer in its place; then it holds
                what it held before.
        """
        with self._lock, self._clear_errors():
            connection = self.connection
            # What is written would go to a file that nobody finds again, without an error.
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
            f"{self.path}: must be an undamaged {self._kind.name}, got: {found}; "
            f"{self._kind.damage_cure}"
        )

    def _prepare(self) -> None:
        """Makes the tables in a new file, refuses other files before anything is changed."""
        connection, kind = self.connection, self._kind
        if _is_new(connection):
            with self.transaction():
                # Another process may have made them just now.
                if _is_new(connection):
                    for statement in kind.tables:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {kind.application_id}")
                    connection.execute(f"PRAGMA user_version = {kind.format_version}")
        self._check_format()
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA synchronous = {kind.synchronous}")
        # Without a change to make, only this tells a read-only file.
        with self.transaction():
            connection.execute(f"PRAGMA user_version = {kind.format_version}")

    def _check_format(self) -> None:
        kind = self._kind
        ((application,),) = self.connection.execute("PRAGMA application_id").fetchall()
        ((version,),) = self.connection.execute("PRAGMA user_version").fetchall()
        if application != kind.application_id:
            raise InputError(
                f"{self.path}: must be a {kind.name}, got a database of something else; choose "
                "another path"
            )
        if version != kind.format_version:
            raise InputError(
                f"{self.path}: must have format_version {kind.format_version}, got {version}; "
                f"{kind.version_cure}"
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
                    f"then start again: {self._kind.kept} are kept"
                ) from error
            if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
                raise _unwritable(self.path, error) from error
            lacks_table = code == sqlite3.SQLITE_ERROR and "no such" in str(error)
            if lacks_table or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self.damaged(error) from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise InputError(
                    f"{self.path}: must not stay locked for {PATIENCE_SECONDS:g} s, got: {error}; "
                    "close what has it open"
                ) from error
            raise


def connect(path: Path, *, must_exist: bool = False) -> sqlite3.Connection:
    """A connection whose transactions are begun and ended by us, not by Python.

    Args:
        path: of the file.
        must_exist: do not make it. Not SQLite's read-only mode, which cannot undo what a killed
            process had half written; where nothing may be written, SQLite falls back to that
            itself.
    """
    where = f"{path.absolute().as_uri()}?mode=rw" if must_exist else str(path)
    return sqlite3.connect(
        where,
        timeout=WAIT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=must_exist,
    )


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
