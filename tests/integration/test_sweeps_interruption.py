"""Kills, Ctrl-C, full disks and dead cluster workers: the store ends as if nothing had happened."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.sweeps import CaseStore, load_cases, run_cases
from tests.unit.sweeps.study import (
    build_units,
    compute,
    computed,
    die_on_odd,
    expected,
    read_lines,
    settings_of,
    workers_seen,
)

ROOT = Path(__file__).parents[2]
# Starting Python may take long on a busy machine.
PATIENCE_SECONDS = 60
# Beside other tests; alone it is less than one. The cases would take minutes.
PROMPT_SECONDS = 10


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.db"


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


class Study:
    """A process that runs cases; the keys of those that it gives go to a file."""

    def __init__(self, path, log, *options, seconds=0.03, **settings):
        command = [sys.executable, "-m", "tests.unit.sweeps.study", path]
        settings = json.dumps({"log": log, "seconds": seconds, **settings})
        with NamedTemporaryFile(dir=path.parent, suffix=".given", delete=False) as given:
            self._given = Path(given.name)
            self.process = subprocess.Popen(
                [*command, settings, *map(str, options)],
                cwd=ROOT,
                stdout=given,
                stderr=subprocess.PIPE,
                text=True,
                # A group of its own: signals meant for it must not reach the tests.
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    @property
    def given(self):
        return read_lines(self._given)

    def finish(self):
        """Exit code and errors."""
        with self.process as process:
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, errors


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_running(pid, send=os.kill):
    try:
        send(pid, 0)
    except ProcessLookupError:
        return False
    return True


def results(path):
    return {key: case.result for key, case in load_cases(path).items()}


def held(path, keys):
    with CaseStore(path) as store:
        return store.held_by_others(keys)


def assert_sound(path):
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM claims").fetchall() == [(0,)]
    assert list(path.parent.glob(f"{path.name}*")) == [path]


def test_a_study_killed_ten_times_ends_like_one_that_nobody_disturbed(path, log, rng):
    # At two in 20 ms more than ten times the longest wait: never all are done.
    num_cases, num_done = 360, 0
    options = ("--num-cases", num_cases, "--unit-size", 2)
    for _ in range(10):
        study = Study(path, log, *options, seconds=0.02)
        # At once, where something is stored.
        wait_until(lambda study=study: study.given)
        time.sleep(rng.uniform(0, 0.3))
        study.process.kill()
        code, errors = study.finish()
        assert code == -signal.SIGKILL, errors
        found = results(path)
        assert num_done <= len(found) < num_cases
        # What was given is kept, whenever the kill came.
        assert set(study.given) <= found.keys()
        num_done = len(found)
    assert num_done > 10
    # Nobody is left to end the workers but they themselves.
    wait_until(lambda: not any(map(is_running, workers_seen(log))))

    study = Study(path, log, *options, seconds=0.001)
    assert study.finish() == (0, "")
    assert len(study.given) == num_cases
    assert results(path) == expected(build_units(num_cases))
    with CaseStore(path.with_name("undisturbed.db")) as store:
        list(run_cases(store, build_units(num_cases, seconds=0.001), settings_of, compute))
        assert {key: case.result for key, case in store.finished().items()} == results(path)
    assert_sound(path)


def test_two_processes_started_together_compute_every_case_once(path, log):
    studies = [Study(path, log, "--num-cases", 60, "--unit-size", 3) for _ in range(2)]
    for study in studies:
        assert study.finish() == (0, "")
        assert len(study.given) == len(set(study.given)) == 60
    assert sorted(computed(log)) == list(range(60))
    # Both have worked, each with two workers.
    assert len(workers_seen(log)) > 2
    assert results(path) == expected(build_units(60))
    assert_sound(path)


def test_a_second_process_takes_over_from_one_that_is_killed(path, log):
    # The first holds a case that would take minutes, the second waits for it.
    study = Study(path, log, seconds=600)
    wait_until(lambda: held(path, ["case 0"]))
    with CaseStore(path) as store:
        cases = run_cases(store, build_units(1, log=log), settings_of, compute, num_workers=1)
        study.process.kill()
        study.finish()
        (case,) = cases
    assert case.result == expected(build_units(1))["case 0"]
    assert not case.is_stored
    assert_sound(path)


@pytest.mark.parametrize("to_group", [True, False])
def test_ctrl_c_ends_a_study_at_once_however_long_its_cases_take(path, log, to_group):
    with CaseStore(path) as store:
        list(run_cases(store, build_units(1), settings_of, compute, num_workers=1))
    study = Study(path, log, "--num-cases", 3, seconds=600)
    wait_until(lambda: held(path, ["case 1", "case 2"]))
    # Two workers are at work, or about to start.
    time.sleep(0.5)
    began = time.monotonic()
    # As a terminal does it, and as `kill -INT` does.
    send = os.killpg if to_group else os.kill
    send(study.process.pid, signal.SIGINT)
    # Not a word of the workers.
    assert study.finish() == (130, "")
    assert time.monotonic() - began < PROMPT_SECONDS
    # The process that tidies up after Python's others is the last to go.
    wait_until(lambda: not is_running(study.process.pid, os.killpg))
    assert study.given == list(results(path)) == ["case 0"]
    assert_sound(path)


def test_a_disk_that_fills_up_ends_a_study_with_one_line_and_keeps_what_is_done(path, log):
    options, settings = ("--num-cases", 100, "--unit-size", 2), {"seconds": 0, "size": 2000}
    full = Study(path, log, *options, "--file-size", 160_000, **settings)
    code, errors = full.finish()
    assert code == 2
    (line,) = errors.splitlines()
    assert line.startswith(f"{path}: must have room to grow, got: ")
    assert line.endswith("free disk space or quota, then start again: finished cases are kept")
    kept = results(path)
    assert 5 < len(kept) < 100
    assert set(full.given) == kept.keys()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    study = Study(path, log, *options, **settings)
    assert study.finish() == (0, "")
    assert len(study.given) == 100
    values = {key: {"value": result["value"]} for key, result in results(path).items()}
    assert values == expected(build_units(100))
    assert results(path).items() >= kept.items()
    assert_sound(path)


def start_cluster(folder):
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        # Any free port, as other clusters may run on this machine.
        dashboard_address="127.0.0.1:0",
        local_directory=str(folder),
        # It would tell at length of the workers that are killed.
        silence_logs="CRITICAL",
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Workers that are killed are replaced: one serves all tests."""
    with start_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


def test_a_cluster_computes_every_case_though_one_of_its_workers_is_killed(path, log, cluster):
    units = build_units(40, unit_size=2, log=log, seconds=0.05)
    killed, done = None, []
    with CaseStore(path) as store:
        for case in run_cases(
            store, units, settings_of, compute, scheduler=cluster.scheduler_address
        ):
            done.append(case)
            if len(done) == 6:
                killed = int(read_lines(log)[-1].split()[1])
                os.kill(killed, signal.SIGKILL)
    assert not any(case.error for case in done)
    assert sorted(case.key for case in done) == sorted(expected(units))
    assert results(path) == expected(units)
    # What the killed worker had begun was computed again, and nothing is there twice.
    assert set(computed(log)) == set(range(40))
    assert len(workers_seen(log) - {killed}) >= 1
    assert_sound(path)


def test_a_case_that_kills_its_workers_on_a_cluster_fails_and_others_go_on(path, log, cluster):
    with CaseStore(path) as store:
        done = list(
            run_cases(
                store, build_units(4, log=log)[:3], settings_of, die_on_odd,
                scheduler=cluster.scheduler_address,
            )
        )  # fmt: skip
    (failed,) = [case for case in done if case.error]
    assert failed.key == "case 1"
    assert failed.error.startswith("Dask workers must survive the case, got 2 attempts in which")
    assert results(path) == expected(build_units(3)[::2])
    assert_sound(path)


def test_closing_leaves_a_cluster_as_it_was(path, log, cluster):
    units = build_units(40, log=log, seconds=0.2)
    with CaseStore(path) as store:
        with closing(
            run_cases(store, units, settings_of, compute, scheduler=cluster.scheduler_address)
        ) as cases:
            next(cases)
            began = time.monotonic()
        assert time.monotonic() - began < PROMPT_SECONDS
        assert store.held_by_others([case.key for unit in units for case in unit]) == set()
    # What was submitted but not begun is dropped.
    time.sleep(0.5)
    assert len(computed(log)) < 12
    assert len(cluster.scheduler.tasks) == 0
    assert_sound(path)


def test_a_scheduler_that_goes_away_ends_the_study_with_one_error(path, log, tmp_path):
    units = build_units(40, log=log, seconds=0.05)
    with start_cluster(tmp_path / "dask") as cluster, CaseStore(path) as store:
        cases = run_cases(store, units, settings_of, compute, scheduler=cluster.scheduler_address)
        done = [next(cases).key for _ in range(4)]
        cluster.close()
        with pytest.raises(InputError, match=r"^scheduler: .*: finished cases are kept"):
            done.extend(case.key for case in cases)
    assert set(done) <= results(path).keys()
    assert len(done) < 40
    assert_sound(path)
