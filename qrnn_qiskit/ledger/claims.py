"""Who is sending a job now, and whether another process may go on in its place."""

import json
from dataclasses import asdict
from sqlite3 import Connection
from time import time

from qrnn_qiskit.owners import Owner

# A sender on another host, of whom only the ledger tells, is given up after so long. Sending takes
# seconds; being wrong may cost a job sent twice, waiting only time after a crash.
CLAIM_SECONDS = 900.0
# A condition on `attempts`; takes the intent's id twice.
CURRENT_ATTEMPT = (
    "intent_id = ? AND attempt = (SELECT max(attempt) FROM attempts WHERE intent_id = ?)"
)


def owner_text(owner: Owner) -> str:
    """An owner as the ledger writes it."""
    return json.dumps(asdict(owner), sort_keys=True)


def is_gone(text: str | None) -> bool:
    """Whether what somebody owned, as written by `owner_text`, is surely nobody's now."""
    return text is None or Owner(**json.loads(text)).is_known_dead()


def holder_of(connection: Connection, intent_id: str) -> str | None:
    """Who is sending the current attempt, as text."""
    query = f"SELECT owner FROM attempts WHERE {CURRENT_ATTEMPT}"
    ((holder,),) = connection.execute(query, (intent_id, intent_id)).fetchall()
    return None if holder is None else str(holder)


def may_take_over(connection: Connection, intent_id: str, me: Owner) -> bool:
    """Whether a submission that was begun is free, ours, or of a process that is gone."""
    holder = holder_of(connection, intent_id)
    if is_gone(holder) or holder == owner_text(me):
        return True
    owner = Owner(**json.loads(holder or ""))
    # Of a process that runs here we know that it lives, however long it takes: one that was
    # suspended would go on sending.
    if owner.host == me.host and owner.started:
        return False
    query = f"SELECT claimed_at FROM attempts WHERE {CURRENT_ATTEMPT}"
    ((claimed_at,),) = connection.execute(query, (intent_id, intent_id)).fetchall()
    return bool(claimed_at + CLAIM_SECONDS < time())
