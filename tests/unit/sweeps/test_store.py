import json
import math
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrnn_qiskit import database, owners
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.sweeps import Case, CaseStore, StoredCase, load_cases, store
from qrnn_qiskit.sweeps.store import to_json

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "study.db"


def stored(key, value=0.1, **settings):
    return StoredCase(key, settings, {"value": value}, seconds=0.5)


def query(path, text):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(text).fetchall()


def test_results_outlive_the_store_and_floats_are_exact(path):
    values = [0.1, 1 / 3, 5e-324, -1.7976931348623157e308, 2**53 + 1]
    with CaseStore(path) as first:
        first.finish([stored("a", values, shots=10)])
    with CaseStore(path) as second:
        assert second.finished() == load_cases(path) == {"a": stored("a", values, shots=10)}
        assert second.finished()["a"].seconds == 0.5
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    # One file is all there is.
    assert list(path.parent.iterdir()) == [path]


def test_plain_sqlite_reads_settings_and_results(path):
    with CaseStore(path) as cases:
        cases.finish([stored("a", 0.5, shots=10)])
    ((settings, result),) = query(path, "SELECT settings, result FROM cases")
    assert json.loads(settings) == {"shots": 10}
    assert json.loads(result) == {"value": 0.5}
    assert query(path, "SELECT json_extract(result, '$.value') FROM cases") == [(0.5,)]


def test_finished_cases_come_in_the_order_in_which_they_finished(path):
    with CaseStore(path) as cases:
        for key in "cab":
            cases.finish([stored(key)])
        assert list(cases.finished()) == ["c", "a", "b"]
        assert list(cases.finished(["b", "c", "unknown"])) == ["c", "b"]


def test_how_long_it_took_is_not_compared():
    assert stored("a") == replace(stored("a"), seconds=7.0)
    assert stored("a") != stored("a", 0.2)


def test_a_finished_case_stays_as_it_is(path):
    with CaseStore(path) as cases:
        cases.finish([stored("a", 1.0)])
        cases.finish([stored("a", 2.0)])
        assert cases.finished()["a"].result == {"value": 1.0}


def test_a_case_is_claimed_once(path):
    with CaseStore(path) as ours, CaseStore(path) as theirs:
        assert ours.claim(["a", "b"]) == {"a", "b"}
        assert theirs.claim(["b", "c"]) == {"c"}
        # What we hold we still hold.
        assert ours.claim(["a", "c"]) == {"a"}
        assert ours.held_by_others("abc") == {"c"}
        ours.finish([stored("a")])
        assert theirs.claim("abc") == {"c"}
        ours.release(["b"])
        assert theirs.claim("abc") == {"b", "c"}


def test_closing_gives_claims_back(path):
    with CaseStore(path) as ours:
        with CaseStore(path) as theirs:
            assert theirs.claim("ab") == {"a", "b"}
            assert ours.claim("ab") == set()
        assert ours.held_by_others("ab") == set()
        assert ours.claim("ab") == {"a", "b"}
    assert query(path, "SELECT count(*) FROM owners") == [(0,)]


def test_claims_of_a_killed_process_are_taken_over(path):
    script = (
        "import os, sys; from pathlib import Path; from qrnn_qiskit.sweeps import CaseStore; "
        "print(CaseStore(Path(sys.argv[1])).claim('ab')); sys.stdout.flush(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=False)
    assert query(path, "SELECT count(*) FROM claims") == [(2,)]
    with CaseStore(path) as ours:
        assert ours.held_by_others("ab") == set()
        assert ours.claim("abc") == {"a", "b", "c"}


def test_a_process_number_used_again_is_another_process(path):
    with CaseStore(path) as ours, CaseStore(path) as theirs:
        theirs.claim("a")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE owners SET started = 'long ago'")
        assert ours.claim("a") == {"a"}


def test_of_another_host_only_the_lease_tells(path, monkeypatch):
    with CaseStore(path) as ours:
        with monkeypatch.context() as patch:
            patch.setattr(owners, "_host", lambda: "elsewhere")
            theirs = CaseStore(path)
            # No process of this host has this number, which means nothing for theirs.
            theirs._owner = replace(theirs._owner, pid=2**30)
            theirs.claim("ab")
        with theirs:
            assert ours.claim("ab") == set()
            assert ours.held_by_others("ab") == {"a", "b"}
            with monkeypatch.context() as patch:
                patch.setattr(store, "LEASE_SECONDS", -1)
                theirs.claim("")
            assert ours.held_by_others("ab") == set()
            assert ours.claim("ab") == {"a", "b"}
            # They went on meanwhile: the result is taken, the case is finished.
            theirs.finish([stored("a")])
            assert ours.claim("ab") == {"b"}


def test_a_lease_is_renewed_for_as_long_as_the_store_is_open(path, monkeypatch):
    monkeypatch.setattr(store, "LEASE_SECONDS", 0.2)
    with CaseStore(path) as ours, CaseStore(path) as theirs:
        theirs.claim("a")
        time.sleep(0.5)
        assert ours.claim("a") == set()


def test_failures_are_numbered_and_end_with_a_result(path):
    a, b = Case("a", {"shots": 1}), Case("b", {})
    with CaseStore(path) as ours, CaseStore(path) as theirs:
        assert ours.last_failure() == 0
        ours.claim("ab")
        ours.fail([a, b], "too few")
        before = ours.last_failure()
        ours.fail([a], "still too few")
        assert ours.failed() == {"a": "still too few", "b": "too few"}
        assert ours.failed(since=before) == {"a": "still too few"}
        # Whoever comes next tries again.
        assert theirs.claim("ab") == {"a", "b"}
        theirs.finish([stored("a")])
        assert ours.failed() == {"b": "too few"}
        assert ours.last_failure() >= before


@pytest.mark.parametrize("content", [b"no database, and longer than a header" * 50, b"SQLite f"])
def test_a_file_of_something_else_stays_untouched(tmp_path, content):
    path = tmp_path / "notes.db"
    path.write_bytes(content)
    for read in (CaseStore, load_cases):
        with pytest.raises(InputError, match=r"notes\.db: must be an undamaged store of cases"):
            read(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_database_of_something_else_stays_untouched(tmp_path, mode):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE t (x)")
    content = path.read_bytes()
    for read in (CaseStore, load_cases):
        with pytest.raises(InputError, match="got a database of something else"):
            read(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_a_new_store(tmp_path):
    path = tmp_path / "study.db"
    path.touch()
    with CaseStore(path) as cases:
        cases.finish([stored("a")])
    assert list(load_cases(path)) == ["a"]


def test_another_format_version_is_refused(path):
    CaseStore(path).close()
    query(path, "PRAGMA user_version = 2")
    for read in (CaseStore, load_cases):
        with pytest.raises(InputError, match="must have format_version 1, got 2; read it with"):
            read(path)


def test_damage_is_found_at_once(path):
    with CaseStore(path) as cases:
        cases.finish([stored(str(number), "x" * 500) for number in range(100)])
    content = path.read_bytes()
    for broken in (content[:20000], content[:8192] + b"\x5a" * 4096 + content[12288:]):
        path.write_bytes(broken)
        for read in (CaseStore, load_cases):
            with pytest.raises(
                InputError, match=r"study\.db: must be an undamaged .* move it away"
            ):
                read(path)


def test_damage_within_a_result_is_found(path):
    with CaseStore(path) as cases:
        cases.finish([stored("a")])
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE cases SET result = substr(result, 2)")
        with pytest.raises(InputError, match=r"must be an undamaged .*no JSON"):
            cases.finished()


def test_a_path_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be a file that can be written"):
        CaseStore(tmp_path / "file" / "study.db")
    with pytest.raises(InputError, match="must be a file that can be written"):
        CaseStore(tmp_path)
    with pytest.raises(InputError, match="got no such file; run the study first"):
        load_cases(tmp_path / "study.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_refused_for_writing_only(path):
    with CaseStore(path) as cases:
        cases.finish([stored("a")])
    path.parent.chmod(0o500)
    try:
        with pytest.raises(InputError, match="must be a file that can be written"):
            CaseStore(path)
        assert list(load_cases(path)) == ["a"]
    finally:
        path.parent.chmod(0o700)


def test_a_read_only_file_is_refused_for_writing_only(path, monkeypatch):
    with CaseStore(path) as cases:
        cases.finish([stored("a")])
    # As root, too.
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda where, **options: connect(f"file:{where}?mode=ro", **{**options, "uri": True}),
    )
    with pytest.raises(InputError, match="readonly database; choose another path or change perm"):
        CaseStore(path)


def finish_many(cases, kept):
    for number in range(1000):
        pair = [stored(str(number), "x" * 1000), stored(f"twin {number}")]
        cases.finish(pair)
        kept += [case.key for case in pair]


def test_a_full_disk_keeps_what_is_finished(path):
    with CaseStore(path) as cases:
        ((num_pages,),) = query(path, "PRAGMA page_count")
        cases._file.connection.execute(f"PRAGMA max_page_count = {num_pages + 10}")
        cases.claim(["a", "b", "c"])
        kept = []
        with pytest.raises(InputError, match=r"study\.db: must have room to grow, got: .*full"):
            finish_many(cases, kept)
        finished = set(cases.finished())
        assert finished == set(kept)
        assert len(kept) > 5
    # Claims were given back all the same: that needs no room.
    assert query(path, "SELECT count(*) FROM claims") == [(0,)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    with CaseStore(path) as cases:
        cases.finish([stored("room again")])
        assert set(cases.finished()) == finished | {"room again"}


def test_a_lock_is_waited_for_but_not_for_ever(path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.2)
    with CaseStore(path) as cases, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(InputError, match=r"must not stay locked for 0\.2 s.*close what has it"):
            cases.finish([stored("a")])
        assert time.monotonic() - began > 0.2
        other.rollback()
        cases.finish([stored("a")])
        assert list(cases.finished()) == ["a"]


def interrupt_within(cases):
    with cases._file.transaction() as connection:
        connection.execute("INSERT INTO cases VALUES ('a', '{}', '{}', 0)")
        raise KeyboardInterrupt


def test_an_interruption_within_a_transaction_undoes_it(path):
    with CaseStore(path) as cases:
        with pytest.raises(KeyboardInterrupt):
            interrupt_within(cases)
        cases.finish([stored("b")])
        assert list(cases.finished()) == ["b"]


def test_what_a_killed_process_had_half_written_is_undone_for_readers_too(path):
    script = (
        "import os, sys; from pathlib import Path; from qrnn_qiskit.sweeps.store import *; "
        "store = CaseStore(Path(sys.argv[1])); connection = store._file.connection; "
        "connection.execute('PRAGMA cache_size = 2'); "
        "store.finish([StoredCase('a', {}, {}, 0.0)]); "
        "connection.execute('BEGIN'); "
        "[connection.execute('INSERT INTO cases VALUES (?, ?, ?, 0)', (n, '{}', '1' * 4000))"
        " for n in range(100)]; os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=False)
    assert path.with_name("study.db-journal").exists()
    assert list(load_cases(path)) == ["a"]
    assert not path.with_name("study.db-journal").exists()


def test_a_file_that_is_moved_away_is_noticed(path):
    with CaseStore(path) as cases:
        cases.finish([stored("a")])
        path.rename(path.with_name("moved.db"))
        with pytest.raises(InputError, match="must stay in its place while it is open"):
            cases.finish([stored("b")])
        with CaseStore(path) as other:
            with pytest.raises(InputError, match="must stay in its place while it is open"):
                cases.finish([stored("b")])
            other.finish([stored("c")])
    assert list(load_cases(path.with_name("moved.db"))) == ["a"]
    assert list(load_cases(path)) == ["c"]


def test_closing_twice_does_nothing(path):
    cases = CaseStore(path)
    cases.claim("a")
    cases.close()
    cases.close()
    with pytest.raises(sqlite3.ProgrammingError):
        cases.finished()


def test_what_json_cannot_hold_is_refused_by_name(path):
    with CaseStore(path) as cases:
        with pytest.raises(InputError, match=r"^a: must hold plain JSON values, got: .*set"):
            cases.finish([stored("b"), stored("a", {1, 2})])
        assert cases.finished() == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_json_keeps_everything_but_nan_and_infinities(value):
    def same(left, right):
        if isinstance(left, float) and not math.isfinite(left):
            return right is None
        if isinstance(left, dict):
            return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
        if isinstance(left, list):
            return len(left) == len(right) and all(map(same, left, right))
        return left == right and type(left) is type(right)

    assert same(value, json.loads(to_json(value, "value")))
