import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from pathlib import Path

import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.sweeps import pools
from qrnn_qiskit.sweeps.pools import (
    WORKER_ENVIRONMENT,
    WorkerLostError,
    count_processors,
    open_pool,
)
from tests.unit.sweeps.study import answer_with_environment, build_case

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 60


def ask(pool, work, *arguments):
    future = pool.submit(work, *arguments)
    wait([future], timeout=PATIENCE_SECONDS)
    return pool.answer_of(future)


def test_workers_are_other_processes_and_are_used_again():
    with open_pool(num_workers=1) as pool:
        first, second = ask(pool, os.getpid), ask(pool, os.getpid)
    assert first == second != os.getpid()


def test_free_workers_are_counted():
    with open_pool(num_workers=2) as pool:
        assert pool.num_free() == 2
        future = pool.submit(time.sleep, 0.2)
        assert pool.num_free() == 1
        wait([future], timeout=PATIENCE_SECONDS)
        assert pool.num_free() == 2


def test_workers_compute_with_one_thread_and_do_not_hear_ctrl_c(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    before = dict(os.environ), signal.getsignal(signal.SIGINT)
    with open_pool(num_workers=1) as pool:
        (found,) = ask(pool, answer_with_environment, [build_case(0)])
        worker = ask(pool, os.getpid)
        os.kill(worker, signal.SIGINT)
        assert ask(pool, os.getpid) == worker
    assert WORKER_ENVIRONMENT.items() <= found["environment"].items()
    assert (dict(os.environ), signal.getsignal(signal.SIGINT)) == before


def test_ctrl_c_while_a_worker_starts_spares_the_worker_and_is_not_lost():
    interrupted = False
    with open_pool(num_workers=1) as pool:
        worker = pools._Worker()
        pool._workers.append(worker)
        try:
            with pools._interrupts_held_back():
                signal.raise_signal(signal.SIGINT)
                # The process that is started here inherits what holds the signal back.
                worker.start()
                for process in worker._context.processes:
                    os.kill(process.pid, signal.SIGINT)
        except KeyboardInterrupt:
            interrupted = True
        assert ask(pool, abs, -1) == 1
    assert interrupted


def test_a_worker_that_dies_costs_its_own_call_only():
    with open_pool(num_workers=2) as pool:
        healthy = pool.submit(time.sleep, 0.5)
        with pytest.raises(WorkerLostError, match="worker process") as caught:
            ask(pool, os._exit, 1)
        assert (caught.value.max_attempts, caught.value.is_exact) == (3, True)
        # Another takes its place.
        assert pool.num_free() >= 1
        assert ask(pool, abs, -1) == 1
        wait([healthy], timeout=PATIENCE_SECONDS)
        assert pool.answer_of(healthy) is None


def test_an_idle_worker_that_dies_is_replaced():
    with open_pool(num_workers=1) as pool:
        worker = ask(pool, os.getpid)
        os.kill(worker, signal.SIGKILL)
        # Until its executor has noticed.
        time.sleep(0.5)
        assert ask(pool, os.getpid) != worker


def test_workers_that_cannot_start_are_not_tried_for_ever(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import time\n"
        "from concurrent.futures import wait\n"
        "from qrnn_qiskit.sweeps.pools import open_pool, WorkerLostError\n"
        "with open_pool(num_workers=1) as pool:\n"
        "    while True:\n"
        "        future = pool.submit(abs, 1)\n"
        "        wait([future])\n"
        "        try:\n"
        "            pool.answer_of(future)\n"
        "        except WorkerLostError:\n"
        "            pass\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "num_workers: must be processes that can start, got 3 that died at once" in line
    assert '__name__ == "__main__"' in line


def test_a_system_that_starts_no_processes_is_an_error_of_one_line(monkeypatch):
    def refuse(process):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(pools.SpawnProcess, "start", refuse)
    with (
        pytest.raises(InputError, match=r"num_workers: .*temporarily unavailable with 3; use few"),
        open_pool(num_workers=3) as pool,
    ):
        pool.submit(abs, 1)


def test_leaving_stops_workers_that_are_busy():
    with open_pool(num_workers=2) as pool:
        pids = [ask(pool, os.getpid)]
        pool.submit(time.sleep, 600)
        pids.append(ask(pool, os.getpid))
        began = time.monotonic()
    # At once; other tests run beside.
    assert time.monotonic() - began < 10
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_pool_works_in_any_thread():
    answers = []

    def run():
        with open_pool(num_workers=1) as pool:
            answers.append(ask(pool, abs, -1))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert answers == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": 0}, r"num_workers: must be at least 1, got 0; use 1 or more"),
        (
            {"num_workers": 2, "scheduler": "tcp://host:8786"},
            r"num_workers: must not be given with scheduler, got 2; leave it out",
        ),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message), open_pool(**options):
        pass


def test_there_are_as_many_processors_as_this_process_may_use():
    assert count_processors() == len(os.sched_getaffinity(0))


def test_a_cluster_without_dask_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(InputError, match=r"scheduler: .*run pip install 'qrnn-qiskit\[cluster\]'"),
        open_pool(scheduler="tcp://127.0.0.1:8786"),
    ):
        pass


@pytest.mark.parametrize(
    "scheduler", ["tcp://127.0.0.1:1", "127.0.0.1:1", "nowhere.invalid:8786", "mail://x", ""]
)
def test_a_cluster_that_does_not_answer_is_refused(monkeypatch, scheduler):
    monkeypatch.setattr(pools, "CONNECT_SECONDS", 1)
    began = time.monotonic()
    with (
        pytest.raises(InputError, match=r"^scheduler: must be the address .* that answers, got "),
        open_pool(scheduler=scheduler),
    ):
        pass
    assert time.monotonic() - began < 10
