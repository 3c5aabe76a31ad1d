"""The service's memory on disk: what survives a restart or a kill of the server."""

import json
import sqlite3
import threading
from dataclasses import asdict
from pathlib import Path

from tests.loopback.records import JobRecord, SessionRecord

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, number INTEGER, record TEXT, params TEXT, result TEXT
);
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, record TEXT);
"""


class Store:
    """Jobs and sessions in SQLite; written at every change."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # A killed process loses nothing that was written; only a machine that loses power does.
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_TABLES)

    def save_job(self, job: JobRecord) -> None:
        """All of it; parameters once, they never change."""
        record = asdict(job)
        params, result = record.pop("params"), record.pop("result")
        with self._lock:
            known = self._database.execute("SELECT 1 FROM jobs WHERE id = ?", (job.id,)).fetchone()
            if known:
                self._database.execute(
                    "UPDATE jobs SET record = ?, result = ? WHERE id = ?",
                    (json.dumps(record), result, job.id),
                )
            else:
                self._database.execute(
                    "INSERT INTO jobs VALUES (?, ?, ?, ?, ?)",
                    (job.id, job.number, json.dumps(record), json.dumps(params), result),
                )

    def delete_job(self, job_id: str) -> None:
        with self._lock:
            self._database.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def save_session(self, session: SessionRecord) -> None:
        with self._lock:
            self._database.execute(
                "INSERT OR REPLACE INTO sessions VALUES (?, ?)",
                (session.id, json.dumps(asdict(session))),
            )

    def load(self) -> tuple[dict[str, JobRecord], dict[str, SessionRecord]]:
        """Jobs in order of arrival, and sessions, by id."""
        with self._lock:
            job_rows = self._database.execute(
                "SELECT record, params, result FROM jobs ORDER BY number"
            ).fetchall()
            session_rows = self._database.execute("SELECT record FROM sessions").fetchall()
        jobs = [
            JobRecord(**json.loads(record), params=json.loads(params), result=result)
            for record, params, result in job_rows
        ]
        sessions = [SessionRecord(**json.loads(record)) for (record,) in session_rows]
        return {job.id: job for job in jobs}, {session.id: session for session in sessions}

    def close(self) -> None:
        with self._lock:
            self._database.close()
