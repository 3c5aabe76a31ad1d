"""What the real Runtime client does when the service misbehaves, and what the server then knows."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests
from ibm_cloud_sdk_core.token_managers.token_manager import TokenManager
from qiskit import QuantumCircuit
from qiskit_ibm_runtime import Session
from qiskit_ibm_runtime.accounts import InvalidAccountError
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.exceptions import (
    IBMNotAuthorizedError,
    IBMRuntimeError,
    RuntimeInvalidStateError,
    RuntimeJobFailureError,
    RuntimeJobMaxTimeoutError,
    RuntimeJobTimeoutError,
    RuntimeProgramNotFound,
)
from qiskit_ibm_runtime.executor_sampler import Sampler

from tests.loopback import Fault, JobFault, LoopbackServer, Pace, RemoteLoopback

pytestmark = pytest.mark.usefixtures("quick_retries")

TRANSIENT = (500, 502, 503, 504)
# Imports of Qiskit in a process of its own, on a busy machine.
PATIENCE_SECONDS = 60


@pytest.fixture
def server():
    with LoopbackServer(["fake_manila"]) as server:
        yield server


@pytest.fixture
def service(server):
    return server.service()


@pytest.fixture
def backend(service):
    return service.backend("ibm_manila")


def submit(mode, *tags, shots=1):
    circuit = QuantumCircuit(5, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    sampler = Sampler(mode, options={"environment": {"job_tags": list(tags)}})
    return sampler.run([circuit], shots=shots)


def ones(job):
    return job.result(poll_interval=0.1)[0].data.c.get_counts()


# --- what the client retries ---------------------------------------------------------------------


@pytest.mark.parametrize("status", TRANSIENT)
def test_a_transient_status_is_retried_also_on_post(server, backend, status):
    server.faults.add(Fault("status", "POST", "jobs", status=status))
    job = submit(backend, "tag")
    server.faults.add(Fault("status", "GET", "jobs/*", status=status))
    assert ones(job) == {"1": 1}
    assert server.request_counts["POST jobs"] == 2
    assert server.executions == {"tag": 1, job.job_id(): 1}


def test_a_lasting_fault_ends_after_five_retries(server, backend):
    server.faults.add(Fault("status", "POST", "jobs", status=502, times=100))
    with pytest.raises(IBMRuntimeError, match="too many 502 error responses"):
        submit(backend)
    assert server.request_counts["POST jobs"] == 6
    assert server.jobs == []


def test_accepted_but_500_makes_two_jobs(server, service, backend):
    server.faults.add(Fault("status_after", "POST", "jobs", status=500))
    job = submit(backend, "twice")
    ones(job)
    found = [each.job_id() for each in service.jobs(job_tags=["twice"])]
    assert len(found) == 2
    # The client knows the second one only.
    assert found[0] == job.job_id()
    server.wait_for("Completed", found[1])
    assert server.executions["twice"] == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, IBMRuntimeError),
        (401, IBMNotAuthorizedError),
        (404, RuntimeProgramNotFound),
        (408, IBMRuntimeError),
        (429, IBMRuntimeError),
    ],
)
@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_other_statuses_on_post_are_not_retried(server, backend, status, error, retry_after):
    server.faults.add(Fault("status", "POST", "jobs", status=status, retry_after=retry_after))
    with pytest.raises(error):
        submit(backend)
    assert server.request_counts["POST jobs"] == 1


@pytest.mark.parametrize("status", [400, 404, 408, 429])
def test_one_other_status_while_polling_aborts_result(server, backend, status):
    job = submit(backend)
    server.faults.add(Fault("status", "GET", "jobs/*", status=status))
    with pytest.raises(RequestsApiError) as caught:
        job.result()
    assert caught.value.status_code == status
    # Nothing is lost: the next call gets it.
    assert ones(job) == {"1": 1}


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "jobs/*", 429), ("POST", "jobs", 503)]
)
def test_retry_after_is_waited_for(server, backend, method, path, status):
    """However long it is, by the client's own retries; GETs are retried at 413 and 429, too."""
    server.faults.add(Fault("status", method, path, status=status, retry_after=1))
    start = time.monotonic()
    assert ones(submit(backend)) == {"1": 1}
    assert time.monotonic() - start >= 1.0
    assert len(server.faults.fired) == 1


# --- connections that break ----------------------------------------------------------------------


def test_a_reset_on_post_is_not_retried(server, service, backend):
    server.faults.add(Fault("reset", "POST", "jobs"))
    with pytest.raises(IBMRuntimeError, match="Failed to run program"):
        submit(backend, "lost")
    assert server.request_counts["POST jobs"] == 1
    assert service.jobs(job_tags=["lost"]) == []


def test_a_job_whose_answer_is_lost_is_found_by_its_tag(server, service, backend):
    server.faults.add(Fault("reset_after", "POST", "jobs"))
    with pytest.raises(IBMRuntimeError, match="Failed to run program"):
        submit(backend, "orphan")
    (job,) = service.jobs(job_tags=["orphan"])
    assert ones(job) == {"1": 1}
    assert server.executions["orphan"] == 1


def test_a_reset_on_get_is_retried(server, backend):
    job = submit(backend)
    server.faults.add(Fault("reset", "GET", "jobs/*"), Fault("reset", "GET", "jobs/*/results"))
    assert ones(job) == {"1": 1}
    assert len(server.faults.fired) == 2


def test_a_get_that_hangs_has_no_timeout(server, backend):
    """`result(timeout=)` does not help either; the connection's end does."""
    job = submit(backend)
    server.wait_for("Completed", job.job_id())
    server.faults.add(Fault("hang", "GET", "jobs/*"))
    thread = threading.Thread(target=lambda: job.result(timeout=0.1))
    thread.start()
    thread.join(1.0)
    assert thread.is_alive()
    server.faults.release()
    thread.join(10.0)
    assert not thread.is_alive()
    assert ones(job) == {"1": 1}


def test_a_truncated_answer_is_an_error_and_not_retried(server, backend):
    job = submit(backend)
    server.faults.add(Fault("truncate", "GET", "jobs/*/results"))
    with pytest.raises(RequestsApiError, match="IncompleteRead") as caught:
        job.result()
    assert caught.value.status_code == -1
    assert ones(job) == {"1": 1}


def test_garbage_raises_what_the_decoder_raises(server, service, backend):
    job = submit(backend)
    server.faults.add(Fault("garbage", "GET", "jobs/*/results"))
    with pytest.raises(TypeError, match="string indices must be integers"):
        job.result()
    server.faults.add(Fault("garbage", "GET", "jobs"))
    with pytest.raises(requests.exceptions.JSONDecodeError):
        service.jobs()
    server.faults.add(Fault("garbage", "POST", "jobs"))
    with pytest.raises(requests.exceptions.JSONDecodeError):
        submit(backend, "garbled")
    assert len(service.jobs(job_tags=["garbled"])) == 1


@pytest.mark.parametrize("kind", ["delay", "delay_after"])
def test_a_slow_answer_is_waited_for(server, backend, kind):
    server.faults.add(Fault(kind, "POST", "jobs", seconds=0.3))
    start = time.monotonic()
    submit(backend)
    assert time.monotonic() - start > 0.3


# --- login ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["identity/token", "v3/resources/search"])
@pytest.mark.parametrize("status", [401, 429, 500])
def test_login_is_not_retried(server, path, status):
    server.faults.add(Fault("status", "POST", path, status=status))
    with pytest.raises(InvalidAccountError, match="Unable to retrieve instances"):
        server.service()
    assert server.service().instances()


def test_a_fault_of_the_list_of_backends_at_login_passes_unseen(server):
    server.faults.add(Fault("status", "GET", "backends", status=403))
    service = server.service()
    # Asked again at every use.
    assert [each.name for each in service.backends()] == ["ibm_manila"]


def test_an_expired_token_is_renewed(server, backend, monkeypatch):
    before = server.request_counts["POST identity/token"]
    later = lambda: int(time.time()) + 7200  # noqa: E731
    monkeypatch.setattr(TokenManager, "_get_current_time", staticmethod(later))
    backend.status()
    assert server.request_counts["POST identity/token"] > before


def test_a_token_that_cannot_be_renewed_warns_and_sends_the_key(server, backend, monkeypatch):
    later = lambda: int(time.time()) + 7200  # noqa: E731
    monkeypatch.setattr(TokenManager, "_get_current_time", staticmethod(later))
    server.faults.add(Fault("status", "POST", "identity/token", status=500, times=9))
    with (
        pytest.warns(UserWarning, match="API Key will be used instead"),
        pytest.raises(IBMNotAuthorizedError),
    ):
        backend.status()


# --- limits and sessions -------------------------------------------------------------------------


def test_more_posts_than_allowed_are_refused():
    with LoopbackServer(["fake_manila"], posts_per_minute=2) as server:
        backend = server.service().backend("ibm_manila")
        submit(backend)
        submit(backend)
        with pytest.raises(IBMRuntimeError, match=r"429 .*limit is 2 per minute"):
            submit(backend)


def test_a_session_that_expires_refuses_jobs_and_fails_those_that_wait(server, backend):
    session = Session(backend)
    with server.paused():
        waiting = submit(session)
        server.faults.add(Fault("expire_session", "POST", "jobs"))
        with pytest.raises(IBMRuntimeError, match="Session has been closed"):
            submit(session)
    assert session.status() == "Closed"
    with pytest.raises(RuntimeJobFailureError, match="1217"):
        waiting.result()


def test_a_session_ends_with_its_ttl(server, backend):
    session = Session(backend, max_time=1)
    ones(submit(session))
    time.sleep(1.1)
    assert session.status() == "Closed"
    with pytest.raises(IBMRuntimeError, match="Session has been closed"):
        submit(session)


def test_opening_a_session_is_retried_closing_is_not(server, backend):
    server.faults.add(Fault("status_after", "POST", "sessions", status=500))
    session = Session(backend)
    assert len(server.engine.sessions) == 2
    server.faults.add(Fault("status", "PATCH", "sessions/*", status=500))
    with pytest.raises(IBMRuntimeError, match="Error closing session"):
        session.close()
    assert server.request_counts["PATCH sessions/*"] == 1
    session.close()
    assert session.status() == "Closed"


# --- jobs that end badly -------------------------------------------------------------------------


def test_a_failed_job_tells_its_reason(server, backend):
    server.faults.add(JobFault("fail", tag="bad", reason="Result buffers overflow."))
    good, bad = submit(backend, "good"), submit(backend, "bad")
    with pytest.raises(RuntimeJobFailureError, match=r"Error code 8045; Result buffers overflow\."):
        bad.result(poll_interval=0.1)
    assert bad.status() == "ERROR"
    assert "has failed" in bad.error_message()
    assert ones(good) == {"1": 1}
    assert server.executions["bad"] == 1
    assert bad.usage() == 0.0


def test_jobs_that_the_service_cancels(server, backend):
    server.faults.add(JobFault("cancel"), JobFault("too_long", nth=2))
    cancelled = submit(backend)
    with pytest.raises(RuntimeInvalidStateError, match="was cancelled"):
        cancelled.result(poll_interval=0.1)
    with pytest.raises(RuntimeJobMaxTimeoutError, match="ran too long"):
        submit(backend).result(poll_interval=0.1)
    with server.paused():
        waiting = submit(backend)
        server.cancel_job(waiting.job_id())
    assert waiting.status() == "CANCELLED"


def test_a_job_has_no_more_time_than_it_is_given(server, backend):
    sampler = Sampler(backend, options={"max_execution_time": 1})
    circuit = QuantumCircuit(5, 1)
    circuit.measure(0, 0)
    job = sampler.run([circuit], shots=1)
    with pytest.raises(RuntimeJobMaxTimeoutError, match="ran too long"):
        job.result(poll_interval=0.1)
    assert job.usage() == 1.0


def test_a_cancellation_whose_answer_is_lost_seems_to_fail(server, backend):
    server.faults.add(JobFault("hold"), Fault("status_after", "POST", "jobs/*/cancel"))
    job = submit(backend)
    with pytest.raises(RuntimeInvalidStateError, match="cannot be cancelled"):
        job.cancel()
    assert job.status() == "CANCELLED"


def test_a_job_may_overtake_another(server, backend):
    server.faults.add(JobFault("hold", tag="slow"))
    slow, fast = submit(backend, "slow"), submit(backend, "fast")
    ones(fast)
    assert slow.status() == "RUNNING"
    with pytest.raises(RuntimeJobTimeoutError):
        slow.result(timeout=0.1, poll_interval=0.1)
    server.faults.release()
    ones(slow)
    first, second = (server.engine.jobs[job.job_id()] for job in (fast, slow))
    assert first.finished < second.finished


def test_queue_and_run_times_are_kept():
    with LoopbackServer(["fake_manila"], pace=Pace(lambda job: 0.3, 0.4)) as server:
        job = submit(server.service().backend("ibm_manila"))
        assert server.wait_for("Running", job.job_id()).executions == 1
        ones(job)
        (record,) = server.jobs
        assert record.started - record.created >= 0.3
        assert record.finished - record.started >= 0.4


# --- restarts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_state", [False, True])
def test_a_restarted_server_still_has_its_jobs(tmp_path, has_state):
    state = tmp_path / "state.sqlite" if has_state else None
    with LoopbackServer(["fake_manila"], state=state) as server:
        service = server.service()
        backend = service.backend("ibm_manila")
        session = Session(backend)
        done = submit(session, "done")
        expected = ones(done)
        with server.paused():
            waiting = submit(session, "waiting")
            server.restart()
            assert waiting.status() == "QUEUED"
        assert ones(waiting) == expected
        assert ones(service.job(done.job_id())) == expected
        assert session.status() == "In progress, accepting new jobs"
        assert server.executions["done"] == server.executions["waiting"] == 1


def test_a_running_job_outlives_a_restart_while_it_is_polled(server, backend, monkeypatch):
    """The client may find the port closed: it tries three more times, after 0, 1 and 2 s."""
    monkeypatch.undo()  # no quick retries
    server.faults.add(JobFault("slow", seconds=1.0), Fault("restart", "GET", "jobs/*", nth=2))
    job = submit(backend, "polled")
    assert ones(job) == {"1": 1}
    assert [fault.kind for fault in server.faults.fired] == ["slow", "restart"]
    assert server.executions["polled"] == 1


def start_process(state, port=0):
    command = [sys.executable, "-m", "tests.loopback", "--backend", "fake_manila"]
    process = subprocess.Popen(
        [*command, "--state", str(state), "--port", str(port), "--run-seconds", "1"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    timer = threading.Timer(PATIENCE_SECONDS, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    return process, RemoteLoopback(json.loads(line)["url"])


def end_process(process, number):
    process.send_signal(number)
    process.wait(PATIENCE_SECONDS)
    process.stdout.close()


def test_a_killed_server_comes_back_with_its_jobs(tmp_path):
    state = tmp_path / "state.sqlite"
    process, remote = start_process(state)
    try:
        service = remote.service()
        remote.add_fault("status_after", method="POST", path="jobs")
        job = submit(service.backend("ibm_manila"), "killed")
        before = [each["id"] for each in remote.state["jobs"]]
        assert len(before) == 2
    finally:
        end_process(process, signal.SIGKILL)
    process, remote = start_process(state, int(remote.base_url.rpartition(":")[2]))
    try:
        assert ones(job) == {"1": 1}
        assert [each["id"] for each in remote.state["jobs"]] == before
        assert remote.executions[job.job_id()] == 1
    finally:
        end_process(process, signal.SIGTERM)
    assert process.returncode == 0
