"""Processes that keep a ledger and get killed; the service is a folder with one file per job.

python -m tests.unit.ledger.worker FOLDER WHAT, in the root of the repository:
work    plan, submit and fetch all intents by the rules
race    claim all intents, once a file named `go` is there
hold    claim the first intent, then wait to be killed
"""

import hashlib
import secrets
import sys
import time
from pathlib import Path

from qrnn_qiskit.ledger import Intent, JobMetrics, Ledger

NUM_INTENTS = 6


def intents():
    for number in range(NUM_INTENTS):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        yield Intent(digest, "ibm_torino", 4, 100, 1.0, {"name": "job", "part": number})


class Service:
    """Every job that was ever sent, as a file `JOB.TAG`; also those sent twice."""

    def __init__(self, folder):
        self.folder = folder / "service"
        self.folder.mkdir(exist_ok=True)

    def post(self, tag):
        job_id = secrets.token_hex(8)
        (self.folder / f"{job_id}.{tag}").touch()
        return job_id

    def jobs(self, tag):
        return [path.stem for path in self.folder.glob(f"*.{tag}")]

    def tag_of(self, job_id):
        (path,) = self.folder.glob(f"{job_id}.*")
        return path.suffix[1:]


def advance(ledger, service, intent_id):
    """One step by the rules of the ledger; a pause between any two writes for kills to hit."""
    record = ledger.get(intent_id)
    if record.state in ("planned", "submitting"):
        if not ledger.begin_submission(intent_id):
            return
        time.sleep(0.002)
        record = ledger.get(intent_id)
        found = service.jobs(record.tag) if record.maybe_sent else []
        job_id = found[0] if found else service.post(record.tag)
        time.sleep(0.002)
        ledger.record_job(intent_id, job_id)
    elif record.state == "submitted":
        ledger.record_status(intent_id, "Running")
        text = service.tag_of(record.job_id) * 100
        time.sleep(0.002)
        ledger.record_result(intent_id, text)


def settle(ledger):
    """The bills come after the results, and are asked for until the ledger has them."""
    for record in ledger.unsettled():
        time.sleep(0.002)
        ledger.record_metrics(record.job_id, JobMetrics(usage_seconds=1.0))


def work(ledger, service, planned):
    for intent in planned:
        ledger.plan(intent)
        time.sleep(0.002)
    while ledger.unfinished():
        for intent in planned:
            advance(ledger, service, intent.intent_id)
        settle(ledger)
    # Those of results that came just before a kill.
    settle(ledger)


def race(ledger, folder, planned):
    print("ready", flush=True)
    while not (folder / "go").exists():
        time.sleep(0.001)
    for intent in planned:
        ledger.plan(intent)
        if ledger.begin_submission(intent.intent_id):
            print(intent.labels["part"], flush=True)
    print("end", flush=True)
    # Claims end with their process, and then others that still race would take them over.
    sys.stdin.read()


def main(folder, what):
    planned = list(intents())
    ledger = Ledger(folder / "jobs.db")
    print("open", flush=True)
    if what == "work":
        work(ledger, Service(folder), planned)
    elif what == "race":
        race(ledger, folder, planned)
    else:
        ledger.plan(planned[0])
        assert ledger.begin_submission(planned[0].intent_id)
        print("held", flush=True)
        time.sleep(600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
