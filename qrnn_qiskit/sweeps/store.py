"""Results of keyed cases in one SQLite file that interruptions, crashes and full disks leave whole.

The file can be read with plain SQLite, `SELECT settings, result FROM cases`. Its tables:

- `cases (key, settings, result, seconds)`: one row for each finished case. `settings` and `result`
  are JSON objects; floats round-trip exactly, and nan and infinities are null, for which JSON has
  no other word. `seconds`, the time a case took, is not part of its result, which is the same
  whenever and wherever it is computed.
- `failures (number, key, settings, message)`: the last failure of each case that is not finished;
  `number` grows with time.
- `claims (key, owner)` and `owners (token, host, pid, started, expires)`: which process computes
  which case now. An owner is dead if its process is gone, or (on another host, or stopped) if it
  has not renewed its lease, and then its claims are void.

The file is a `database.Database`: a finished case outlives a power failure. The price, about 1 ms
for each transaction, is small beside a simulation.
"""

import json
import math
import sqlite3
import threading
import time
from collections.abc import Collection
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from qrnn_qiskit.database import Database, FileKind, connect
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.owners import Owner

# An owner that nothing was heard of for so long is dead. Being wrong costs a case computed twice,
# not a wrong result; waiting costs time only after the crash of another host.
LEASE_SECONDS = 120.0

_TABLES = (
    """CREATE TABLE cases (
    key TEXT PRIMARY KEY, settings TEXT NOT NULL, result TEXT NOT NULL, seconds REAL NOT NULL
)""",
    """CREATE TABLE failures (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE, settings TEXT NOT NULL, message TEXT NOT NULL
)""",
    """CREATE TABLE owners (
    token TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL,
    expires REAL NOT NULL
)""",
    """CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID""",
)
_STORE = FileKind(
    name="store of cases",
    application_id=int.from_bytes(b"QRNc", "big"),
    format_version=1,
    tables=_TABLES,
    synchronous="FULL",
    kept="finished cases",
    version_cure="read it with the version of this package that wrote it, or choose another path",
    damage_cure="move it away, or restore a copy of it",
)
_SELECT_CASES = "SELECT key, settings, result, seconds FROM cases"

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Case:
    """Something to compute once.

    Attributes:
        key: content hash of everything that the result depends on.
        settings: stored beside the result, for those who read it; plain JSON values.
    """

    key: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class StoredCase:
    """A case and its result.

    Attributes:
        key: of the case.
        settings: of the case.
        result: plain JSON values.
        seconds: that computing it took; not compared.
    """

    key: str
    settings: dict[str, Any]
    result: dict[str, Any]
    seconds: float = field(compare=False)


class CaseStore:
    """One file with the results of cases, for any number of processes at a time.

    Meant for one thread. All methods raise `InputError` where the file cannot be read or written,
    and then it holds what it held before.

    Args:
        path: of the file; made with its folders where there is none.

    Raises:
        InputError: if the file is damaged, of another program or version, or cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, CaseStore(Path(folder) / "study.db") as store:
        ...     claimed = store.claim(["a", "b"])
        ...     store.finish([StoredCase("a", {"num_qubits": 2}, {"fidelity": 0.9}, seconds=1.5)])
        ...     sorted(claimed), store.finished()["a"].result, store.claim(["a", "b"])
        (['a', 'b'], {'fidelity': 0.9}, {'b'})
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner = Owner.current()
        self._closing = threading.Event()
        self._heartbeat: threading.Thread | None = None
        self._file = Database(path, _STORE)

    def __enter__(self) -> "CaseStore":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives back all claims and closes the file; a second time does nothing."""
        self._closing.set()
        if self._heartbeat is not None:
            self._heartbeat.join()
            self._heartbeat = None
            # On a full disk they stay, until the process ends or their lease does.
            with suppress(InputError, sqlite3.ProgrammingError):
                self.release()
        self._file.close()

    def finished(self, keys: Collection[str] | None = None) -> dict[str, StoredCase]:
        """Finished cases by key, in the order in which they finished; all, or those of `keys`."""
        if keys is None:
            return _read_cases(self._file)
        return _read_cases(self._file, f"WHERE {_among('key')}", json.dumps(list(keys)))

    def claim(self, keys: Collection[str]) -> set[str]:
        """Those of the cases that this store now holds: not finished, nor held by a live process.

        Claims of dead processes are taken over.
        """
        me, listed = self._owner, json.dumps(list(keys))
        with self._file.transaction() as connection:
            for owner, expires in self._others():
                if _is_dead(owner, expires):
                    connection.execute("DELETE FROM claims WHERE owner = ?", (owner.token,))
                    connection.execute("DELETE FROM owners WHERE token = ?", (owner.token,))
            _renew_lease(connection, me)
            connection.execute(
                "INSERT OR IGNORE INTO claims SELECT value, ? FROM json_each(?) "
                "WHERE value NOT IN (SELECT key FROM cases)",
                (me.token, listed),
            )
            held = connection.execute(
                f"SELECT key FROM claims WHERE owner = ? AND {_among('key')}", (me.token, listed)
            ).fetchall()
        if self._heartbeat is None:
            self._heartbeat = threading.Thread(
                target=_renew_until, args=(self._closing, self.path, me), daemon=True
            )
            self._heartbeat.start()
        return {key for (key,) in held}

    def release(self, keys: Collection[str] | None = None) -> None:
        """Gives back claims, so that others may compute these cases; all, or those of `keys`."""
        token = self._owner.token
        with self._file.transaction() as connection:
            if keys is None:
                connection.execute("DELETE FROM claims WHERE owner = ?", (token,))
                connection.execute("DELETE FROM owners WHERE token = ?", (token,))
            else:
                query = f"DELETE FROM claims WHERE owner = ? AND {_among('key')}"
                connection.execute(query, (token, json.dumps(list(keys))))

    def finish(self, cases: Collection[StoredCase]) -> None:
        """Stores results, all or none, and gives back their claims.

        A case that is finished already stays as it is.
        """
        rows = [
            (c.key, to_json(c.settings, c.key), to_json(c.result, c.key), c.seconds) for c in cases
        ]
        with self._file.transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO cases VALUES (?, ?, ?, ?)", rows)
            keys = [(case.key,) for case in cases]
            connection.executemany("DELETE FROM failures WHERE key = ?", keys)
            connection.executemany("DELETE FROM claims WHERE key = ?", keys)

    def fail(self, cases: Collection[Case], message: str) -> None:
        """Notes that cases could not be computed, and gives back their claims."""
        rows = [(case.key, to_json(case.settings, case.key), message) for case in cases]
        with self._file.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO failures (key, settings, message) VALUES (?, ?, ?)", rows
            )
            connection.executemany(
                "DELETE FROM claims WHERE key = ? AND owner = ?",
                [(case.key, self._owner.token) for case in cases],
            )

    def failed(self, since: int = 0) -> dict[str, str]:
        """Messages of failed cases by key, of those after failure number `since`."""
        return dict(self._file.read("SELECT key, message FROM failures WHERE number > ?", since))

    def last_failure(self) -> int:
        """Number of the newest failure there is, 0 if none."""
        ((number,),) = self._file.read("SELECT coalesce(max(number), 0) FROM failures")
        return int(number)

    def held_by_others(self, keys: Collection[str]) -> set[str]:
        """Those of the cases that live processes other than this one compute now."""
        dead = {o.token for o, expires in self._others() if _is_dead(o, expires)}
        query = f"SELECT key, owner FROM claims WHERE {_among('key')}"
        rows = self._file.read(query, json.dumps(list(keys)))
        return {key for key, owner in rows if owner not in {*dead, self._owner.token}}

    def _others(self) -> list[tuple[Owner, float]]:
        query = "SELECT token, host, pid, started, expires FROM owners WHERE token != ?"
        rows = self._file.read(query, self._owner.token)
        return [(Owner(*who), expires) for *who, expires in rows]


def load_cases(path: Path) -> dict[str, StoredCase]:
    """Finished cases of a store by key, also where it may not be written.

    Raises:
        InputError: if there is no such file, or it is no store of this version.

    Example:
        >>> load_cases(Path("no/such/study.db"))
        Traceback (most recent call last):
        ...
        qrnn_qiskit.errors.InputError: no/such/study.db: must be a store of cases, got no such \
file; run the study first
    """
    if not path.exists():
        raise InputError(f"{path}: must be a store of cases, got no such file; run the study first")
    with closing(Database(path, _STORE, only_read=True)) as file:
        return _read_cases(file)


def to_json(value: object, name: str) -> str:
    """JSON in which numbers that are not finite are null.

    Args:
        value: plain values.
        name: named in the error.

    Raises:
        InputError: if the value holds what JSON cannot.

    Example:
        >>> to_json({"fidelity": 0.1, "bound": float("inf")}, "case a")
        '{"fidelity": 0.1, "bound": null}'
    """
    try:
        return json.dumps(_without_nan(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{name}: must hold plain JSON values, got: {error}; convert arrays with tolist() and "
            "numbers with float() or int()"
        ) from error


def _among(column: str) -> str:
    """Condition on a column with one parameter, a JSON list: no limit to its length."""
    return f"{column} IN (SELECT value FROM json_each(?))"


def _is_dead(owner: Owner, expires: float) -> bool:
    return expires < time.time() or owner.is_known_dead()


def _renew_lease(connection: sqlite3.Connection, owner: Owner) -> None:
    row = (owner.token, owner.host, owner.pid, owner.started, time.time() + LEASE_SECONDS)
    connection.execute("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?, ?)", row)


def _renew_until(closing_: threading.Event, path: Path, owner: Owner) -> None:
    """Renews a lease until the store is closed; in a thread, since preparing a unit takes long."""
    while not closing_.wait(LEASE_SECONDS / 4):
        # A full disk or a lock costs one renewal of the three that a lease can do without.
        with suppress(sqlite3.Error), closing(connect(path)) as connection:
            _renew_lease(connection, owner)


def _read_cases(file: Database, where: str = "", *values: object) -> dict[str, StoredCase]:
    rows = file.read(f"{_SELECT_CASES} {where} ORDER BY rowid", *values)
    try:
        return {
            key: StoredCase(key, json.loads(settings), json.loads(result), seconds)
            for key, settings, result, seconds in rows
        }
    except json.JSONDecodeError as error:
        raise file.damaged(f"no JSON: {error}") from error


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
