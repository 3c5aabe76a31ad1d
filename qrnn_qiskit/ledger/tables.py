"""The SQLite file beneath the job ledger: its tables, and what they promise.

The file can be read with plain SQLite. Its tables:

- `identity (ledger_id)`: random, one row.
- `intents`: what is to be run, by content; `labels` is a JSON object.
- `attempts`: one row for each attempt to run an intent, with the vendor's job once there is one.
  The attempt with the highest number is the current one. `account` is whose job it is, as a hash
  of the vendor's name of the instance. `owner` says which process is sending it
  now, as JSON; `maybe_sent` is 1 when an earlier sender may have got through unheard.
- `results (intent_id, result)`: texts compressed by zlib.
- `sessions`: those opened at the service, batches included. `owner` is the process that will close
  it, as JSON; `usage_seconds` is what it was billed by the clock, none for a batch.
- `events`: everything that happened, in order.
- `calls`: when the service was called, for the rate limit.

Triggers keep the promises also towards programs other than this one: finished records, results and
events never change, except that metrics, which a service settles late, are filled in; a job's id
and metrics are never replaced; nothing but calls is deleted.

`synchronous=EXTRA`, because a commit that a power failure undoes could forget that a job was about
to be sent.
"""

from qrnn_qiskit.database import FileKind

STATES = ("planned", "submitting", "submitted", "done", "failed", "cancelled")

_TABLES = (
    "CREATE TABLE identity (ledger_id TEXT NOT NULL)",
    "INSERT INTO identity VALUES (lower(hex(randomblob(4))))",
    """CREATE TABLE intents (
    intent_id TEXT PRIMARY KEY, backend TEXT NOT NULL, num_rows INTEGER NOT NULL,
    num_shots INTEGER NOT NULL, forecast_seconds REAL NOT NULL, labels TEXT NOT NULL
)""",
    f"""CREATE TABLE attempts (
    intent_id TEXT NOT NULL REFERENCES intents, attempt INTEGER NOT NULL,
    tag TEXT NOT NULL UNIQUE, state TEXT NOT NULL CHECK (state IN {STATES}), job_id TEXT UNIQUE,
    vendor_status TEXT, planned_at TEXT NOT NULL, submitted_at TEXT, finished_at TEXT,
    usage_seconds REAL, started_at TEXT, ended_at TEXT, session_id TEXT,
    account TEXT, error TEXT, maybe_sent INTEGER NOT NULL DEFAULT 0, owner TEXT,
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
    """CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY, backend TEXT NOT NULL, mode TEXT NOT NULL,
    opened_at TEXT NOT NULL, closed_at TEXT, usage_seconds REAL, owner TEXT
)""",
    """CREATE TRIGGER done_stays BEFORE UPDATE OF intent_id, attempt, tag, state, job_id,
vendor_status, planned_at, submitted_at, finished_at, error, maybe_sent, owner, claimed_at
ON attempts WHEN OLD.state = 'done'
BEGIN SELECT RAISE(ABORT, 'a done record never changes'); END""",
    *(
        f"""CREATE TRIGGER {column}_stays BEFORE UPDATE OF {column} ON attempts
WHEN OLD.{column} IS NOT NULL AND NEW.{column} IS NOT OLD.{column}
BEGIN SELECT RAISE(ABORT, '{column} is never replaced'); END"""
        for column in ("usage_seconds", "started_at", "ended_at", "session_id")
    ),
    """CREATE TRIGGER job_stays BEFORE UPDATE ON attempts
WHEN OLD.job_id IS NOT NULL AND NEW.job_id IS NOT OLD.job_id
BEGIN SELECT RAISE(ABORT, 'a job_id is never replaced'); END""",
    *(
        f"""CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} are never changed'); END"""
        for table in ("identity", "intents", "results", "events")
        for verb in ("UPDATE", "DELETE")
    ),
    *(
        f"""CREATE TRIGGER {table}_DELETE BEFORE DELETE ON {table}
BEGIN SELECT RAISE(ABORT, '{table} are never deleted'); END"""
        for table in ("attempts", "sessions")
    ),
)

LEDGER = FileKind(
    name="job ledger",
    application_id=int.from_bytes(b"QRNj", "big"),
    format_version=2,
    tables=_TABLES,
    synchronous="EXTRA",
    kept="jobs and results recorded so far",
    version_cure="open it with the version of this package that wrote it, or choose another path",
    damage_cure=(
        "restore a copy of it, or move it away and find your jobs by their tags at the service"
    ),
)

# What `JobRecord.from_row` reads: of all attempts, and of the current ones.
_COLUMNS = (
    "i.intent_id, i.backend, i.num_rows, i.num_shots, i.forecast_seconds, i.labels, a.tag, "
    "a.state, a.job_id, a.vendor_status, a.planned_at, a.submitted_at, a.finished_at, "
    "a.usage_seconds, a.started_at, a.ended_at, a.session_id, a.account, a.error, a.attempt, "
    "a.maybe_sent"
)
ATTEMPTS = f"SELECT {_COLUMNS} FROM intents i JOIN attempts a USING (intent_id)"
CURRENT = (
    f"{ATTEMPTS} WHERE a.attempt = "
    "(SELECT max(attempt) FROM attempts b WHERE b.intent_id = i.intent_id)"
)
