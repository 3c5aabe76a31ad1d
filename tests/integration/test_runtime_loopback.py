"""`RuntimeExecutor` with the real client of qiskit-ibm-runtime against the loopback server."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, RunRequest
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.execution.runtime_jobs import TransientJobError
from qrnn_qiskit.ledger import Ledger
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.integration.runtime_setting import (
    LIMITS,
    NUM_ROWS,
    NUM_SHOTS,
    PATIENCE,
    assert_executed_once,
    bits_by_aer,
    build_device,
)
from tests.loopback import Fault, JobFault, LoopbackServer
from tests.loopback.account import CRN, TOKEN

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.mark.parametrize("mode", ["session", "batch", "job"])
def test_bits_are_those_of_aer_in_every_mode(server, build, request_, ledger, mode):
    executor = build(mode, limits=HardwareLimits(posts_per_minute=1000))
    bits = executor.run(request_).bits
    np.testing.assert_array_equal(bits, AerExecutor(max_threads=1).run(request_).bits)
    (record,) = ledger.records()
    job = server.engine.jobs[record.job_id]
    assert (job.session_id is None) == (mode == "job")
    assert record.metrics.usage_seconds == job.quantum_seconds > 2
    assert executor.forecast(request_)[1] == pytest.approx(job.quantum_seconds, rel=1e-3)
    assert_executed_once(server, ledger)


@pytest.mark.parametrize("max_executions", [40, 10])
def test_split_requests_are_joined_and_answered_from_the_ledger(
    server, build, request_, ledger, max_executions
):
    limits = HardwareLimits(max_executions, posts_per_minute=1000)
    executor = build(limits=limits)
    expected = bits_by_aer(executor, request_)
    assert len(executor.check(request_).splits) == 80 // max_executions
    np.testing.assert_array_equal(executor.run(request_).bits, expected)
    num_requests = len(server.requests)
    np.testing.assert_array_equal(build("session", limits=limits).run(request_).bits, expected)
    assert len(server.requests) == num_requests
    assert_executed_once(server, ledger)


FAULTS = {
    "accepted but 500": [Fault("status_after", "POST", "jobs", status=500)],
    "500": [Fault("status", "POST", "jobs", status=500)],
    "accepted but 503": [Fault("status_after", "POST", "jobs", nth=2, status=503, retry_after=0)],
    "429": [Fault("status", "POST", "jobs", status=429, retry_after=0)],
    "408": [Fault("status_after", "POST", "jobs", status=408)],
    "401": [Fault("status", "POST", "jobs", status=401)],
    "reset": [Fault("reset", "POST", "jobs")],
    "accepted but reset": [Fault("reset_after", "POST", "jobs")],
    "garbled answer": [Fault("garbage", "POST", "jobs")],
    "truncated answer": [Fault("truncate", "POST", "jobs")],
    "search fails, too": [
        Fault("reset_after", "POST", "jobs"),
        Fault("garbage", "GET", "jobs"),
        Fault("status", "GET", "jobs", status=429, nth=2),
    ],
    "before the post": [
        Fault("status", "GET", "instances/usage", status=429),
        Fault("status", "GET", "backends/*/status", status=404, nth=2),
    ],
    "session refused": [Fault("status", "POST", "sessions", status=500)],
    "session over": [Fault("expire_session", "POST", "jobs", nth=2)],
    "status": [
        Fault("status", "GET", "jobs/*", status=status, nth=nth)
        for nth, status in enumerate((401, 404, 408, 429, 500), start=1)
    ],
    "results": [
        Fault("garbage", "GET", "jobs/*/results"),
        Fault("truncate", "GET", "jobs/*/results", nth=2),
        Fault("reset", "GET", "jobs/*/results", nth=3),
        Fault("status", "GET", "jobs/*/results", status=404, nth=4),
    ],
    "usage": [Fault("status", "GET", "jobs/*/metrics", status=400)],
    "close": [Fault("status", "PATCH", "sessions/*", status=500)],
    "restart": [Fault("restart", "GET", "jobs/*")],
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_the_service_cost_no_job(server, build, request_, ledger, name):
    executor = build("session")
    expected = bits_by_aer(executor, request_)
    server.faults.add(*FAULTS[name])
    try:
        np.testing.assert_array_equal(executor.run(request_).bits, expected)
        executor._client.close()
        num_left = len(server.faults._faults)
    finally:
        server.faults.clear()
    assert num_left == 0 or name in ("status", "results")
    assert_executed_once(server, ledger)


@pytest.mark.parametrize("kind", ["hang", "hang_after"])
def test_a_post_that_hangs_is_looked_up(server, build, request_, ledger, kind):
    executor = build("batch", call_seconds=0.5)
    executor._client.open()
    expected = bits_by_aer(executor, request_)
    server.faults.add(Fault(kind, "POST", "jobs"))
    np.testing.assert_array_equal(executor.run(request_).bits, expected)
    server.faults.clear()
    assert_executed_once(server, ledger)


def test_a_get_that_hangs_is_asked_again(server, build, request_, ledger):
    executor = build("job", call_seconds=0.5)
    expected = bits_by_aer(executor, request_)
    server.faults.add(Fault("hang", "GET", "jobs/*"), Fault("hang", "GET", "jobs/*/results"))
    np.testing.assert_array_equal(executor.run(request_).bits, expected)
    server.faults.clear()
    assert_executed_once(server, ledger)


def test_jobs_that_wait_in_a_session_that_ends_are_sent_again(server, build, request_, ledger):
    executor = build("session")
    expected = bits_by_aer(executor, request_)
    is_first = True

    def expire(progress):
        nonlocal is_first
        if progress.state == "queued" and progress.part == 2 and is_first:
            is_first = False
            server.expire_session(executor._client.session_id)
            server.resume()

    executor._on_progress = expire
    server.pause()
    np.testing.assert_array_equal(executor.run(request_).bits, expected)
    assert {record.attempts for record in ledger.records()} == {2}
    assert_executed_once(server, ledger)


def test_a_failed_job_says_why_and_the_next_run_sends_it_anew(server, build, request_, ledger):
    executor = build()
    server.faults.add(JobFault("fail", reason="Result buffers overflow."))
    with pytest.raises(InputError, match="Error code 8045; Result buffers overflow") as caught:
        executor.run(request_)
    assert "\n" not in str(caught.value)
    (failed,) = ledger.records("failed")
    assert failed.tag in str(caught.value)
    np.testing.assert_array_equal(executor.run(request_).bits, bits_by_aer(executor, request_))
    assert_executed_once(server, ledger)


def test_a_job_cancelled_by_the_service_says_so(server, build, request_, ledger):
    server.faults.add(JobFault("cancel"))
    with pytest.raises(InputError, match="was cancelled: "):
        build("job").run(request_)
    server.faults.add(JobFault("too_long"))
    with pytest.raises(InputError, match="failed: Error code 1305"):
        build("job").run(request_)


def test_neither_errors_nor_the_ledger_hold_secrets(server, build, request_, ledger, tmp_path):
    server.faults.add(
        Fault("status", "POST", "jobs", status=403, message=f"no access, token {TOKEN} for {CRN}")
    )
    with pytest.raises(InputError, match="got IBMRuntimeError, status 403, code 1000") as caught:
        build("job").run(request_)
    build("job").run(request_)
    text = str(caught.value)
    content = (tmp_path / "jobs.db").read_bytes()
    for secret in (TOKEN, CRN):
        assert secret not in text
        assert secret.encode() not in content


def test_the_plan_decides_the_mode():
    for plan, mode in (("open", "job"), ("premium", "session")):
        with LoopbackServer(plan=plan) as server:
            backend = server.service().backend("ibm_boston")
            assert RuntimeClient(backend).mode == mode
            if plan == "open":
                with pytest.raises(InputError, match=r"code 1352 .*; use mode batch or job"):
                    RuntimeClient(backend, "session").open()
                client = RuntimeClient(backend, "batch")
                client.open()
                assert client.session_id is not None
                server.faults.add(Fault("status", "GET", "jobs", status=500, times=99))
                with pytest.raises(TransientJobError, match="could not look for jobs"):
                    client.find("any")


def test_only_a_device_of_the_service_is_taken(backend):
    with pytest.raises(InputError, match="backend: must be a device of IBM Quantum"):
        RuntimeClient(AerExecutor())
    with pytest.raises(InputError, match="mode: must be auto, session, batch or job"):
        RuntimeClient(backend, "dedicated")


def run_in_process(ledger_path, seed):
    """What the killed processes below do."""
    from qiskit_ibm_runtime import QiskitRuntimeService

    backend = QiskitRuntimeService().backend("ibm_boston", use_fractional_gates=True)
    device = build_device()
    cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),), "feedforward")
    compiled = device.compile(SequenceProgram(cell, 2))
    rows = np.random.default_rng(1).uniform(-3, 3, (NUM_ROWS, compiled.program.slots.num_slots))
    request = RunRequest(compiled, rows, NUM_SHOTS, seed)
    with Ledger(Path(ledger_path)) as ledger, RuntimeClient(backend, "job") as client:
        executor = RuntimeExecutor(client, ledger, device, limits=LIMITS, patience=PATIENCE)
        bits = executor.run(request).bits
    return executor, request, bits


@pytest.mark.parametrize("when", ["after the post", "while it is queued"])
def test_a_killed_process_loses_nothing(server, tmp_path, monkeypatch, when):
    path = tmp_path / "jobs.db"
    num_jobs, seed = len(server.jobs), len(when)
    module = "tests.integration.test_runtime_loopback"
    code = f"from {module} import *; run_in_process({str(path)!r}, {seed})"
    if when == "after the post":
        # Accepted, and never answered.
        server.faults.add(Fault("hang_after", "POST", "jobs"))
    with server.paused():
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | server.environment
        )
        expected = num_jobs + (1 if when == "after the post" else 2)
        deadline = time.monotonic() + 60
        while len(server.jobs) < expected and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    server.faults.clear()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    executor, request, bits = run_in_process(path, seed)
    np.testing.assert_array_equal(bits, bits_by_aer(executor, request))
    assert len(server.jobs) == num_jobs + 2
    with Ledger(path) as ledger:
        assert_executed_once(server, ledger)
