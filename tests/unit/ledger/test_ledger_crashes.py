"""Real processes that race for intents and are killed at any moment."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from itertools import chain, takewhile
from pathlib import Path

from qrnn_qiskit.ledger import Ledger
from tests.unit.ledger import worker


def start(folder, what, **options):
    command = [sys.executable, "-m", worker.__name__, str(folder), what]
    root = Path(__file__).parents[3]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, **options)


def test_processes_that_race_submit_each_intent_once(tmp_path):
    processes = [start(tmp_path, "race", stdin=subprocess.PIPE) for _ in range(3)]
    try:
        for process in processes:
            assert [process.stdout.readline() for _ in "12"] == ["open\n", "ready\n"]
        (tmp_path / "go").touch()
        won = [
            [int(line) for line in takewhile(lambda line: line != "end\n", process.stdout)]
            for process in processes
        ]
        for process in processes:
            process.communicate()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sorted(chain(*won)) == list(range(worker.NUM_INTENTS))


def test_a_killed_sender_is_taken_over_in_doubt(tmp_path):
    with start(tmp_path, "hold") as process:
        assert [process.stdout.readline() for _ in "12"] == ["open\n", "held\n"]
        with Ledger(tmp_path / "jobs.db") as ledger:
            (record,) = ledger.records()
            intent_id = record.intent.intent_id
            assert not ledger.begin_submission(intent_id)
            process.kill()
            process.wait()
            assert ledger.get(intent_id).state == "submitting"
            assert ledger.begin_submission(intent_id)
            assert ledger.get(intent_id).maybe_sent


def test_kills_at_any_moment_lose_no_job_and_send_none_twice(tmp_path, rng):
    path = tmp_path / "jobs.db"
    service = worker.Service(tmp_path)
    planned = list(worker.intents())
    seen = {}
    num_kills = num_rounds = 0
    while num_kills < 20:
        folder_is_done = False
        process = start(tmp_path, "work")
        try:
            process.stdout.readline()
            # Work takes about 0.3 s for all intents; most kills come in its midst.
            time.sleep(rng.uniform(0, 0.08))
            folder_is_done = process.poll() is not None
        finally:
            process.kill()
            process.communicate()
        num_kills += not folder_is_done
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with Ledger(path) as ledger:
            for record in ledger.records():
                jobs = service.jobs(record.tag)
                # No rule can lose a job that is there, or look for one that never was.
                assert len(jobs) <= 1
                if record.state == "planned":
                    assert jobs == []
                if record.state in ("submitted", "done"):
                    assert jobs == [record.job_id]
                if record.state == "done":
                    assert ledger.result(record.intent.intent_id) == record.tag * 100
                key = (num_rounds, record.tag)
                before = seen.get(key, record)
                if before.state == "done":
                    # Nothing but the bill comes later, once.
                    bill = before.metrics.usage_seconds or record.metrics.usage_seconds
                    metrics = replace(before.metrics, usage_seconds=bill)
                    assert replace(before, metrics=metrics) == record
                seen[key] = record
            if len(ledger.records("done")) == len(planned) and not ledger.unsettled():
                # Kills go on with a new file until there are enough.
                num_rounds += 1
                path.unlink()
                for sent in service.folder.iterdir():
                    sent.unlink()
    # The one that is not killed ends the work.
    process = start(tmp_path, "work")
    process.communicate(timeout=60)
    with Ledger(path) as ledger:
        records = ledger.records()
        assert [record.state for record in records] == ["done"] * len(planned)
        assert ledger.spent_seconds(forecast=False) == len(planned)
    assert len(list(service.folder.iterdir())) == len(planned)
    assert {len(service.jobs(record.tag)) for record in records} == {1}
