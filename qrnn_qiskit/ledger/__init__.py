"""What was to be run, what was sent, what came back: the job ledger, in one SQLite file per run.

No vendor and nothing heavy is imported here: `qrnn jobs` reads ledgers while runs go on.
"""

from qrnn_qiskit.ledger.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.ledger.records import Event, Intent, JobMetrics, JobRecord, SessionRecord, State
from qrnn_qiskit.ledger.sessions import SessionLog

__all__ = [
    "LEDGER_NAME",
    "Event",
    "Intent",
    "JobMetrics",
    "JobRecord",
    "Ledger",
    "SessionLog",
    "SessionRecord",
    "State",
]
