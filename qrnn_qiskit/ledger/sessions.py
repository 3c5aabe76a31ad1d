"""Sessions and batches in the ledger: which are open, whose they are, what they cost."""

from sqlite3 import Connection

from qrnn_qiskit.database import Database
from qrnn_qiskit.ledger.claims import is_gone, owner_text
from qrnn_qiskit.ledger.records import SessionRecord, utc_now
from qrnn_qiskit.owners import Owner

_COLUMNS = "session_id, backend, mode, opened_at, closed_at, usage_seconds"


class SessionLog:
    """The sessions of a ledger, so that one that a killed process left open is used and closed.

    A session is billed until it is closed, by the clock while it is active: one that nobody
    remembers costs for nothing.

    Args:
        file: of the ledger.
        owner: who opens and closes.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from qrnn_qiskit.ledger.ledger import Ledger
        >>> with TemporaryDirectory() as folder, Ledger(Path(folder) / "jobs.db") as ledger:
        ...     ledger.sessions.record_opened("c1", "ibm_boston", "session")
        ...     ledger.sessions.record_closed("c1", usage_seconds=12.0)
        ...     [(each.session_id, each.usage_seconds) for each in ledger.sessions.records()]
        [('c1', 12.0)]
    """

    def __init__(self, file: Database, owner: Owner) -> None:
        self._file = file
        self._owner = owner_text(owner)

    def record_opened(self, session_id: str, backend: str, mode: str) -> None:
        """Notes a session that this process will close."""
        with self._file.transaction() as connection:
            connection.execute(
                "INSERT INTO sessions (session_id, backend, mode, opened_at, owner) "
                "VALUES (?, ?, ?, ?, ?)",
                (session_id, backend, mode, utc_now(), self._owner),
            )

    def record_usage(self, session_id: str, usage_seconds: float | None) -> None:
        """Notes what a session was billed by the clock so far; nothing if that is unknown."""
        with self._file.transaction() as connection:
            _note_usage(connection, session_id, usage_seconds)

    def record_closed(self, session_id: str, usage_seconds: float | None = None) -> None:
        """Notes that a session is closed, by whomever."""
        with self._file.transaction() as connection:
            _note_usage(connection, session_id, usage_seconds)
            connection.execute(
                "UPDATE sessions SET closed_at = ?, owner = NULL "
                "WHERE session_id = ? AND closed_at IS NULL",
                (utc_now(), session_id),
            )

    def take_over(self, backend: str, mode: str | None = None) -> list[str]:
        """Open sessions whose process is gone, the newest first; they are this process's now.

        Args:
            backend: that they are for.
            mode: `session` or `batch`; both if None.
        """
        with self._file.transaction() as connection:
            rows = connection.execute(
                "SELECT session_id, owner FROM sessions WHERE closed_at IS NULL AND backend = ? "
                "AND coalesce(mode = ?, 1) ORDER BY opened_at DESC",
                (backend, mode),
            ).fetchall()
            found = [session_id for session_id, owner in rows if is_gone(owner)]
            for session_id in found:
                connection.execute(
                    "UPDATE sessions SET owner = ? WHERE session_id = ?", (self._owner, session_id)
                )
        return found

    def records(self) -> list[SessionRecord]:
        """All sessions, the oldest first."""
        rows = self._file.read(f"SELECT {_COLUMNS} FROM sessions ORDER BY opened_at, rowid")
        return [SessionRecord(*row) for row in rows]

    def release(self) -> None:
        """What this process has not closed is free for others."""
        with self._file.transaction() as connection:
            connection.execute("UPDATE sessions SET owner = NULL WHERE owner = ?", (self._owner,))


def _note_usage(connection: Connection, session_id: str, usage_seconds: float | None) -> None:
    connection.execute(
        "UPDATE sessions SET usage_seconds = max(coalesce(usage_seconds, 0), ?) "
        "WHERE session_id = ? AND ? IS NOT NULL",
        (usage_seconds, session_id, usage_seconds),
    )
