import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrnn_qiskit import database, owners
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.ledger import Intent, JobMetrics, Ledger, claims
from qrnn_qiskit.ledger.tables import STATES
from tests.unit.test_redaction import API_KEY, CRN, JWT

ID = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "jobs.db"


@pytest.fixture
def ledger(path):
    with Ledger(path) as opened:
        yield opened


def intent(intent_id=ID, **changes):
    values = {"backend": "ibm_torino", "num_rows": 8, "num_shots": 100, "forecast_seconds": 2.5}
    return Intent(intent_id, **{**values, "labels": {"name": "narma", "step": 3}, **changes})


def query(path, text):
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(text).fetchall()


def bring_to(ledger, state, intent_id=ID, job_id="job 1"):
    """A record in a state, by the shortest way."""
    ledger.plan(intent(intent_id))
    if state != "planned":
        assert ledger.begin_submission(intent_id)
    if state not in ("planned", "submitting"):
        ledger.record_job(intent_id, job_id)
    if state == "done":
        ledger.record_result(intent_id, "0110")
    elif state == "failed":
        ledger.record_failure(intent_id, "no such qubit")
    elif state == "cancelled":
        ledger.record_cancelled(intent_id)
    assert ledger.get(intent_id).state == state
    return ledger.get(intent_id)


def test_a_job_from_plan_to_result(path):
    with Ledger(path) as first:
        record = first.plan(intent())
        assert (record.state, record.attempts, record.job_id) == ("planned", 1, None)
        assert re.fullmatch(f"qrnn-[0-9a-f]{{8}}-{ID[:24]}-1", record.tag)
        assert first.result(ID) is None
        assert first.begin_submission(ID)
        assert not first.get(ID).maybe_sent
        assert first.record_job(ID, "job 1").state == "submitted"
        first.record_status(ID, "Queued")
        first.record_status(ID, "Queued")
        first.record_status(ID, "Running")
        assert first.unfinished() == [first.get(ID)]
        first.record_result(ID, "0110\ud800" * 10_000)
        assert first.unsettled() == [first.get(ID)]
        times = ("2026-11-22T10:00:00+00:00", "2026-11-22T10:00:05+00:00")
        first.record_metrics("job 1", JobMetrics(None, *times))
        first.record_metrics("job 1", JobMetrics(1.5, "another time", None, "session 1"))
        done = first.get(ID)
        assert done.metrics == JobMetrics(1.5, *times, "session 1")
        assert done.ended_at == times[1]
        assert first.unsettled() == []
        history = first.events(ID)
    with Ledger(path) as second:
        assert second.get(ID) == second.plan(intent()) == second.find_by_job("job 1") == done
        assert second.find_by_tag(record.tag) == done
        assert second.unfinished() == []
        assert second.result(ID) == "0110\ud800" * 10_000
        assert second.spent_seconds(forecast=False) == second.spent_seconds() == 1.5
        assert done.intent == intent()
        assert done.vendor_status == "Running"
        assert record.planned_at <= done.submitted_at <= done.finished_at
        assert second.events(ID) == history
    assert [event.what for event in history] == [
        "planned", "submitting", "submitted", "status", "status", "done", "metrics", "metrics",
    ]  # fmt: skip
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    # Compressed, and one file is all there is.
    assert query(path, "SELECT length(result) < 500 FROM results") == [(1,)]
    assert list(path.parent.iterdir()) == [path]


def test_planning_again_changes_nothing(ledger):
    first = ledger.plan(intent())
    assert ledger.plan(intent(forecast_seconds=9.0, labels={"name": "else"})) == first
    assert len(ledger.events(ID)) == 1
    with pytest.raises(InputError, match="intent_id: must be a hash of all that is run"):
        ledger.plan(intent(num_shots=200))
    with pytest.raises(InputError, match="must differ from others in its first 24 digits"):
        ledger.plan(intent(ID[:24] + "0" * 40))
    assert ledger.records() == [first]


@pytest.mark.parametrize(
    "changes",
    [
        {"intent_id": "0123"},
        {"intent_id": ID.upper()},
        {"backend": ""},
        {"num_rows": 0},
        {"num_shots": 0},
        {"forecast_seconds": float("nan")},
        {"forecast_seconds": -1.0},
    ],
)
def test_an_intent_that_makes_no_sense_is_refused(changes):
    (name,) = changes
    with pytest.raises(InputError, match=f"^{name}: must "):
        intent(**changes)


def test_labels_must_be_json(ledger):
    with pytest.raises(InputError, match=r"labels: must hold plain JSON .* convert arrays"):
        ledger.plan(intent(labels={"rows": np.zeros(2)}))
    assert ledger.records() == []


WRITES = {
    "begin_submission": lambda ledger: ledger.begin_submission(ID),
    "release": lambda ledger: ledger.release(ID, sent=False),
    "record_job": lambda ledger: ledger.record_job(ID, "job 2"),
    "same job": lambda ledger: ledger.record_job(ID, "job 1"),
    "record_status": lambda ledger: ledger.record_status(ID, "Odd"),
    "record_result": lambda ledger: ledger.record_result(ID, "1111"),
    "record_failure": lambda ledger: ledger.record_failure(ID, "too late"),
    "record_cancelled": lambda ledger: ledger.record_cancelled(ID),
    "retry": lambda ledger: ledger.retry(ID),
    "plan": lambda ledger: ledger.plan(intent()),
}
# What each write makes of each state, "!" where it is refused and changes nothing.
BECOMES = {
    #                    planned      submitting    submitted   done   failed       cancelled
    "begin_submission": ("submitting", "submitting", "submitted", "done", "failed", "cancelled"),
    "release": ("planned", "planned", "submitted", "done", "failed", "cancelled"),
    "record_job": ("submitted", "submitted", "!", "!", "!", "!"),
    "same job": ("submitted", "submitted", "submitted", "done", "failed", "cancelled"),
    "record_status": ("!", "!", "submitted", "done", "failed", "cancelled"),
    "record_result": ("!", "!", "done", "done", "done", "done"),
    "record_failure": ("failed", "failed", "failed", "!", "failed", "cancelled"),
    "record_cancelled": ("cancelled", "cancelled", "cancelled", "!", "failed", "cancelled"),
    "retry": ("!", "!", "!", "!", "planned", "planned"),
    "plan": STATES,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("write", WRITES)
def test_what_each_write_makes_of_each_state(ledger, write, state):
    before = bring_to(ledger, state)
    expected = BECOMES[write][STATES.index(state)]
    num_events = len(ledger.events(ID))
    if expected == "!":
        with pytest.raises(InputError, match=r"^(state|job_id): must .*; "):
            WRITES[write](ledger)
        assert ledger.get(ID) == before
    else:
        WRITES[write](ledger)
        assert ledger.get(ID).state == expected
    if state == "done":
        assert ledger.get(ID) == before
        assert ledger.result(ID) == "0110"
    if before.job_id is not None and write != "retry":
        assert ledger.get(ID).job_id == before.job_id
    assert len(ledger.events(ID)) >= num_events


def test_all_writes_ask_for_a_planned_intent(ledger):
    for name, write in WRITES.items():
        if name != "plan":
            with pytest.raises(InputError, match="intent_id: must be of a planned intent"):
                write(ledger)
    assert ledger.find_by_job("job 1") is None
    assert ledger.find_by_tag("qrnn") is None
    assert ledger.result(ID) is None
    assert ledger.events(ID) == []


@given(st.lists(st.sampled_from(sorted({*WRITES} - {"plan"})), max_size=12))
def test_no_order_of_writes_breaks_a_promise(order):
    # In memory: each example needs a fresh file, and the disk is not what is tested here.
    with Ledger(Path(":memory:")) as ledger:
        ledger.plan(intent())
        for name in order:
            before, events = ledger.attempts(ID), ledger.events(ID)
            result = ledger.result(ID)
            try:
                WRITES[name](ledger)
            except InputError:
                assert ledger.attempts(ID) == before
            after = ledger.attempts(ID)
            assert ledger.events(ID)[: len(events)] == events
            assert len({record.tag for record in after}) == len(after)
            for old, new in zip(before, after, strict=False):
                assert new == old or old.state != "done"
                assert old.job_id in (None, new.job_id)
            assert before[:-1] == after[: len(before) - 1]
            assert result is None or ledger.result(ID) == result
            assert (ledger.result(ID) is not None) == (after[-1].state == "done")


def test_a_second_job_is_refused_but_not_forgotten(ledger):
    bring_to(ledger, "submitted")
    with pytest.raises(InputError, match=r"must stay 'job 1' .*got 'job 2'; cancel the second job"):
        ledger.record_job(ID, "job 2")
    assert ledger.events(ID)[-1].what == "another job refused"
    assert "job 2" in ledger.events(ID)[-1].detail
    bring_to(ledger, "submitting", OTHER)
    with pytest.raises(InputError, match=f"one intent and attempt only.*history of {ID}"):
        ledger.record_job(OTHER, "job 1")
    assert "job 1" in ledger.events(OTHER)[-1].detail


def test_another_result_is_noted_and_ignored(ledger):
    bring_to(ledger, "done")
    num_events = len(ledger.events(ID))
    ledger.record_result(ID, "0110")
    assert len(ledger.events(ID)) == num_events
    ledger.record_result(ID, "1111")
    assert ledger.events(ID)[-1].what == "another result ignored"
    assert ledger.result(ID) == "0110"


def test_a_new_attempt_has_a_new_tag_and_the_old_one_stays(ledger):
    bring_to(ledger, "failed")
    again = ledger.retry(ID)
    assert (again.state, again.attempts, again.job_id) == ("planned", 2, None)
    assert re.fullmatch(f"qrnn-[0-9a-f]{{8}}-{ID[:24]}-2", again.tag)
    ledger.begin_submission(ID)
    with pytest.raises(InputError, match="one intent and attempt only"):
        ledger.record_job(ID, "job 1")
    ledger.record_job(ID, "job 2")
    ledger.record_cancelled(ID)
    ledger.record_metrics("job 2", JobMetrics(0.5))
    ledger.retry(ID)
    ledger.begin_submission(ID)
    ledger.record_job(ID, "job 3")
    ledger.record_result(ID, "0110")
    ledger.record_metrics("job 3", JobMetrics(2.0))
    assert [record.state for record in ledger.attempts(ID)] == ["failed", "cancelled", "done"]
    assert ledger.find_by_job("job 1").error == "no such qubit"
    # What cancelled attempts cost counts.
    assert ledger.spent_seconds(forecast=False) == 2.5
    assert ledger.records() == [ledger.get(ID)]


def test_a_job_found_late_is_taken_on(ledger):
    # It was given up while being sent, but had arrived.
    bring_to(ledger, "submitting")
    assert ledger.record_failure(ID, "no answer").maybe_sent
    record = ledger.record_job(ID, "job 1")
    assert (record.state, record.error, record.finished_at) == ("submitted", None, None)
    assert not record.maybe_sent


def test_a_job_that_ends_after_being_given_up_still_counts(ledger):
    bring_to(ledger, "cancelled")
    assert ledger.record_result(ID, "0110").state == "done"
    assert ledger.result(ID) == "0110"


def test_records_by_state_and_name(ledger):
    ids = [f"{number:064x}"[::-1] for number in range(4)]
    for number, intent_id in enumerate(ids):
        labels = {"name": "ab"[number % 2]} if number < 3 else {}
        ledger.plan(intent(intent_id, labels=labels))
    ledger.record_cancelled(ids[2])

    def listed(**which):
        return [ids.index(record.intent.intent_id) for record in ledger.records(**which)]

    assert listed() == [0, 1, 2, 3]
    assert listed(name="a") == [0, 2]
    assert listed(state="planned") == [0, 1, 3]
    assert listed(state="planned", name="a") == [0]
    assert [record.intent.intent_id for record in ledger.unfinished()] == [ids[0], ids[1], ids[3]]


@pytest.mark.parametrize("usage", [float("inf"), float("nan"), -1.0])
def test_usage_that_makes_no_sense_is_refused(usage):
    with pytest.raises(InputError, match="usage_seconds: must be finite"):
        JobMetrics(usage)


def test_a_look_at_a_ledger_changes_nothing(path):
    with pytest.raises(InputError, match="got no such file"):
        Ledger(path, only_read=True)
    with Ledger(path) as ledger:
        bring_to(ledger, "submitting")
        before = path.read_bytes()
        with Ledger(path, only_read=True) as other:
            assert other.records() == ledger.records()
        assert path.read_bytes() == before
        assert not ledger.get(ID).maybe_sent


def test_a_ledger_without_its_tables_is_damaged(path):
    Ledger(path).close()
    query(path, "DROP TABLE identity")
    with pytest.raises(InputError, match="must be an undamaged job ledger, got: no such table"):
        Ledger(path)


def test_ledgers_have_tags_of_their_own(tmp_path):
    tags = set()
    for name in ("a", "a", "b"):
        with Ledger(tmp_path / name) as ledger:
            tags.add(ledger.plan(intent()).tag)
    assert len(tags) == 2


def test_metrics_are_those_of_a_recorded_job(ledger):
    bring_to(ledger, "submitted")
    with pytest.raises(InputError, match="job_id: must be of a recorded job"):
        ledger.record_metrics("job 2", JobMetrics(1.0))


def test_what_is_spent_is_billed_or_forecast_and_sessions_count_by_the_clock(ledger):
    ids = [f"{number:064x}"[::-1] for number in range(5)]
    for number, intent_id in enumerate(ids):
        ledger.plan(intent(intent_id, forecast_seconds=10.0))
        if number < 4:
            ledger.begin_submission(intent_id)
            ledger.record_job(intent_id, f"job {number}")
    # Nothing is billed yet, and the last one has not left.
    assert ledger.spent_seconds() == 40.0
    ledger.record_metrics("job 0", JobMetrics(3.0))
    ledger.record_metrics("job 1", JobMetrics(4.0, session_id="s"))
    ledger.record_metrics("job 2", JobMetrics(5.0, session_id="s"))
    assert ledger.spent_seconds() == 3 + 4 + 5 + 10
    ledger.sessions.record_opened("s", "ibm_torino", "session")
    assert ledger.spent_seconds() == 3 + 4 + 5 + 10
    ledger.sessions.record_usage("s", 60.0)
    ledger.sessions.record_usage("s", None)
    assert ledger.spent_seconds() == 3 + 60 + 10
    ledger.record_failure(ids[0], "out of helium")
    ledger.retry(ids[0])
    ledger.begin_submission(ids[0])
    # An attempt that failed was billed all the same.
    assert ledger.spent_seconds() == 3 + 10 + 60 + 10


# Sessions.


def test_a_session_is_its_process_s_until_that_is_gone(path):
    with Ledger(path) as first, Ledger(path) as second:
        first.sessions.record_opened("s1", "ibm_torino", "session")
        first.sessions.record_opened("s2", "ibm_torino", "batch")
        first.sessions.record_opened("s3", "ibm_fez", "session")
        assert second.sessions.take_over("ibm_torino") == []
        first.sessions.release()
        assert second.sessions.take_over("ibm_torino", "session") == ["s1"]
        assert first.sessions.take_over("ibm_torino") == ["s2"]
        second.sessions.record_closed("s1", 12.0)
        assert [each.closed_at is None for each in second.sessions.records()] == [False, True, True]
    with Ledger(path) as third:
        assert third.sessions.take_over("ibm_torino") == ["s2"]
        assert third.sessions.take_over("ibm_fez") == ["s3"]


def test_a_session_of_a_killed_process_is_taken_over(path, monkeypatch):
    with Ledger(path) as first:
        first.sessions.record_opened("s1", "ibm_torino", "session")
        with Ledger(path) as second:
            monkeypatch.setattr(owners.Owner, "is_known_dead", lambda owner: True)
            assert second.sessions.take_over("ibm_torino", "session") == ["s1"]


# Claims.


def test_one_ledger_only_submits(path, ledger):
    ledger.plan(intent())
    with Ledger(path) as other:
        assert ledger.begin_submission(ID)
        assert not other.begin_submission(ID)
        # Not theirs to give up.
        assert other.release(ID, sent=False).state == "submitting"
        # Ours again, but we may have sent it before.
        assert ledger.begin_submission(ID)
        assert ledger.get(ID).maybe_sent


def test_a_submission_given_up_before_it_was_sent_is_planned_again(path, ledger):
    bring_to(ledger, "submitting")
    assert ledger.release(ID, sent=False).state == "planned"
    with Ledger(path) as other:
        assert other.begin_submission(ID)
        assert not other.get(ID).maybe_sent
        assert other.release(ID, sent=True).state == "submitting"
        assert ledger.begin_submission(ID)
        assert ledger.get(ID).maybe_sent
        # Once in doubt, always in doubt.
        assert ledger.release(ID, sent=False).state == "submitting"


def test_closing_gives_a_submission_to_others_in_doubt(path, ledger):
    with Ledger(path) as other:
        bring_to(other, "submitting")
        assert not ledger.begin_submission(ID)
    other.close()
    assert ledger.get(ID).maybe_sent
    assert ledger.begin_submission(ID)


def test_of_another_host_only_time_tells(path, ledger, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(owners, "_host", lambda: "elsewhere")
        theirs = Ledger(path)
        # No process of this host has this number, which means nothing for theirs.
        theirs._owner = replace(theirs._owner, pid=2**30)
        bring_to(theirs, "submitting")
    with theirs:
        assert not ledger.begin_submission(ID)
        monkeypatch.setattr(claims, "CLAIM_SECONDS", -1.0)
        assert ledger.begin_submission(ID)
        assert ledger.get(ID).maybe_sent
        # They had sent it after all, and it is the same one that we find.
        theirs.record_job(ID, "job 1")
        assert ledger.record_job(ID, "job 1").state == "submitted"


def test_a_live_process_of_this_host_keeps_its_claim_however_long(path, ledger, monkeypatch):
    monkeypatch.setattr(claims, "CLAIM_SECONDS", -1.0)
    with Ledger(path) as other:
        bring_to(other, "submitting")
        assert not ledger.begin_submission(ID)


def test_threads_share_a_ledger(ledger):
    ids = [f"{number:064x}"[::-1] for number in range(20)]

    def write(part):
        for number, intent_id in enumerate(part):
            bring_to(ledger, "done", intent_id, job_id=f"{intent_id[:4]} {number}")

    threads = [threading.Thread(target=write, args=(ids[start::2],)) for start in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.records("done")) == 20


# The file.


@pytest.mark.parametrize("content", [b"no database, and longer than a header" * 50, b"SQLite f"])
def test_a_file_of_something_else_stays_untouched(tmp_path, content):
    path = tmp_path / "notes.db"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.db: must be an undamaged job ledger"):
        Ledger(path)
    assert path.read_bytes() == content


def test_a_database_of_something_else_stays_untouched(tmp_path):
    path = tmp_path / "other.db"
    query(path, "CREATE TABLE t (x)")
    content = path.read_bytes()
    with pytest.raises(InputError, match="got a database of something else"):
        Ledger(path)
    assert path.read_bytes() == content


def test_what_is_recorded_outlives_a_power_failure(ledger):
    # EXTRA: with less, the unlinked journal may come back and undo what was recorded.
    assert ledger._file.read("PRAGMA synchronous") == [(3,)]
    assert ledger._file.read("PRAGMA journal_mode") == [("delete",)]


def test_another_format_version_is_refused(path):
    Ledger(path).close()
    query(path, "PRAGMA user_version = 1")
    with pytest.raises(InputError, match="must have format_version 2, got 1; open it with"):
        Ledger(path)


def test_damage_is_found_at_once(path):
    with Ledger(path) as ledger:
        for number in range(60):
            ledger.plan(intent(f"{number:064x}"[::-1], labels={"text": "x" * 500}))
    content = path.read_bytes()
    for broken in (content[:40000], content[:8192] + b"\x5a" * 4096 + content[12288:]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"jobs\.db: must be an undamaged .* by their tags"):
            Ledger(path)


def test_damage_within_a_value_is_found(path, ledger):
    bring_to(ledger, "done")
    query(path, "DROP TRIGGER results_UPDATE")
    query(path, "UPDATE results SET result = x'00'")
    with pytest.raises(InputError, match=f"undamaged job ledger, got: result of {ID}"):
        ledger.result(ID)
    query(path, "DROP TRIGGER intents_UPDATE")
    query(path, "UPDATE intents SET labels = '{'")
    with pytest.raises(InputError, match="undamaged job ledger, got: no JSON"):
        ledger.get(ID)


def test_a_path_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "jobs.db", tmp_path):
        with pytest.raises(InputError, match="must be a file that can be written"):
            Ledger(path)
    with pytest.raises(InputError, match="got no such file; run a job first"):
        Ledger(tmp_path / "jobs.db", create=False)
    assert not (tmp_path / "jobs.db").exists()


def test_a_read_only_file_is_refused(path, monkeypatch):
    Ledger(path).close()
    # As root, too.
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda where, **options: connect(f"file:{where}?mode=ro", **options | {"uri": True}),
    )
    with pytest.raises(InputError, match="readonly database; choose another path or change perm"):
        Ledger(path)


def plan_many(ledger, kept):
    for number in range(1000):
        labels = {"text": "x" * 1000}
        kept.append(ledger.plan(intent(f"{number:064x}"[::-1], labels=labels)))


def test_a_full_disk_keeps_what_is_recorded(path):
    with Ledger(path) as ledger:
        bring_to(ledger, "submitting")
        ((num_pages,),) = query(path, "PRAGMA page_count")
        ledger._file.connection.execute(f"PRAGMA max_page_count = {num_pages + 10}")
        kept = []
        with pytest.raises(InputError, match=r"jobs\.db: must have room to grow, got: .*full"):
            plan_many(ledger, kept)
        assert len(kept) > 5
        assert ledger.records("planned") == kept
    with Ledger(path) as ledger:
        assert ledger.records("planned") == kept
        assert ledger.begin_submission(ID)


def test_a_lock_is_waited_for_but_not_for_ever(path, ledger, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.2)
    ledger._file.connection.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"must not stay locked for 0\.2 s.*close what has it"):
            ledger.plan(intent())
        other.rollback()
    assert ledger.plan(intent()).state == "planned"


def test_a_file_that_is_moved_away_is_noticed(path, ledger):
    ledger.plan(intent())
    path.rename(path.with_name("moved.db"))
    with pytest.raises(InputError, match="must stay in its place while it is open"):
        ledger.begin_submission(ID)


def test_an_interruption_within_a_transaction_undoes_it(ledger, monkeypatch):
    bring_to(ledger, "submitted")
    before = ledger.get(ID)

    def interrupt(*values):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_note", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ledger.record_result(ID, "0110")
    assert ledger.get(ID) == before
    assert ledger.result(ID) is None
    assert ledger.record_result(ID, "0110").state == "done"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE attempts SET state = 'failed'",
        "UPDATE attempts SET usage_seconds = 0",
        "UPDATE attempts SET ended_at = 'never'",
        "DELETE FROM attempts",
        "UPDATE events SET detail = ''",
        "DELETE FROM events",
        "UPDATE results SET result = ''",
        "DELETE FROM results",
        "UPDATE intents SET num_shots = 1",
        "DELETE FROM intents",
        "DELETE FROM sessions",
    ],
)
def test_the_file_keeps_its_promises_to_other_programs_too(path, ledger, statement):
    bring_to(ledger, "done")
    ledger.record_metrics("job 1", JobMetrics(1.5, "yesterday", "today"))
    ledger.sessions.record_opened("s1", "ibm_torino", "session")
    with pytest.raises(sqlite3.IntegrityError, match="never"):
        query(path, statement)


def test_the_file_never_replaces_a_job(path, ledger):
    bring_to(ledger, "submitted")
    for job_id in ("NULL", "'job 2'"):
        with pytest.raises(sqlite3.IntegrityError, match="never replaced"):
            query(path, f"UPDATE attempts SET job_id = {job_id}")


def test_ledgers_are_read_without_torch_and_qiskit():
    """They take seconds to import, in the terminal of somebody who only wants to look."""
    script = (
        "import sys, qrnn_qiskit.ledger, qrnn_qiskit.cli.jobs; "
        "print({'torch', 'qiskit', 'qiskit_aer', 'numpy'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "set()\n"


# Secrets.


def test_no_secret_reaches_the_file(path):
    secret = f"Authorization: Bearer {JWT}; {CRN}; {API_KEY}; \ud800"
    labels = {"name": "narma", "token": "abc123", "notes": [secret, {"crn": CRN}]}
    with Ledger(path) as ledger:
        assert ledger.plan(intent(labels=labels)).intent.labels["name"] == "narma"
        ledger.begin_submission(ID)
        ledger.record_job(ID, "job 1")
        ledger.record_status(ID, secret)
        ledger.record_failure(ID, secret)
        ledger.record_failure(ID, secret)
        assert "[redacted]" in ledger.get(ID).error
        texts = [ledger.get(ID), ledger.events(ID)]
    content = path.read_bytes() + repr(texts).encode()
    for found in (JWT[:20], CRN[:20], API_KEY[:20], "abc123"):
        assert re.search(re.escape(found.encode()), content) is None
