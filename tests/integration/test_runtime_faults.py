"""The fault matrix of `RuntimeExecutor` and of the login: every fault at every call of the client.

`CALLS` x `FAULTS` is the product of which `pytest -v` prints the cases; `JOB_CASES` are faults of
jobs, sessions and the server itself, and `LOGIN_CALLS` x `LOGIN_FAULTS` those of `fetch_backend`.
Each case ends with the bits of the run without faults. Where the first run ends in an error, that
is one line that says how to go on, and running the same again does.
"""

import re
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from qrnn_qiskit.devices import fetch_backend
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import RunRequest
from qrnn_qiskit.execution.runtime import Patience, RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.ledger import Ledger
from qrnn_qiskit.ledger.tables import LEDGER
from qrnn_qiskit.pacing import Backoff
from tests.integration.runtime_setting import LIMITS, NUM_ROWS, NUM_SHOTS
from tests.loopback import Fault, JobFault, LoopbackServer
from tests.loopback.account import CRN, TOKEN

pytestmark = pytest.mark.usefixtures("quick_retries")

FOR_EVER = 10**6
RETRY_AFTER_SECONDS = 0.2
# A call of these takes some ten milliseconds; a watchdog that strikes too early only costs time.
CALL_SECONDS = 0.3
QUICK = Patience(
    poll=Backoff(0.02, 1.5, 0.1, 0.0),
    faults=Backoff(0.01, 1.0, 0.01, 0.0),
    max_tries=4,
    max_reads=5,
    settle_seconds=0.1,
)
# A restart of the server takes some tenths of a second where the machine is busy.
PATIENT = replace(QUICK, max_tries=100, max_reads=100)
# Where what is looked for appears in the end, so that nobody waits that long.
LATE = replace(PATIENT, settle_seconds=3.0)
HASTY = replace(QUICK, settle_seconds=0.01)
RESUME = r"; run the same again: (what is done or under way is taken up, nothing is sent twice|"
RESUME += r"this job is sent anew, the others are kept)$"


@dataclass(frozen=True)
class Call:
    """A call of the client's in the life of a request of two jobs.

    Attributes:
        mode: of the client.
        method: of HTTP.
        path: see `Fault.path`.
        nth: the call that a fault strikes.
        before: a fault without which this call is not made.
        has_effect: whether the service does more than answer.
        error: what a run says that gives this call up; none if it goes on without.
    """

    mode: str
    method: str
    path: str
    nth: int = 1
    before: Fault | None = None
    has_effect: bool = False
    error: str | None = None

    def meets(self, fault: Fault) -> Fault:
        """A fault, new and not seen yet, at this call."""
        return replace(fault, method=self.method, path=self.path, nth=self.nth)


CALLS = {
    "open_session": Call(
        "session", "POST", "sessions", has_effect=True, error="could not open a session: "
    ),
    "open_batch": Call(
        "batch", "POST", "sessions", has_effect=True, error="could not open a batch: "
    ),
    "instance_usage": Call("session", "GET", "instances/usage", error="could not submit a job: "),
    "backend_list": Call("job", "GET", "backends", nth=2, error="could not submit a job: "),
    "backend_status": Call("batch", "GET", "backends/*/status", error="could not submit a job: "),
    "submit_first": Call(
        "session", "POST", "jobs", has_effect=True, error="could not submit a job: "
    ),
    "submit_second": Call(
        "session", "POST", "jobs", nth=2, has_effect=True, error="could not submit a job: "
    ),
    "find": Call(
        "session", "GET", "jobs", before=Fault("reset_after", "POST", "jobs"),
        error="could not (look for jobs|submit a job): ",
    ),
    "status": Call("session", "GET", "jobs/*", error="could not ask for a job's status: "),
    "result": Call("job", "GET", "jobs/*/results", nth=2, error="could not fetch a result: "),
    "usage": Call("session", "GET", "jobs/*/metrics"),
    "cancel": Call(
        "session", "POST", "jobs/*/cancel", before=Fault("twice", "POST", "jobs"),
        has_effect=True,
    ),
    "close": Call("session", "PATCH", "sessions/*", has_effect=True),
}  # fmt: skip

FAULTS = {
    "429": Fault("status", status=429),
    "429_retry_after": Fault("status", status=429, retry_after=RETRY_AFTER_SECONDS),
    "408": Fault("status", status=408),
    "401": Fault("status", status=401),
    "404": Fault("status", status=404),
    "500": Fault("status", status=500),
    "502": Fault("status", status=502),
    "503": Fault("status", status=503),
    "504": Fault("status", status=504),
    "done_but_500": Fault("status_after", status=500),
    "reset": Fault("reset"),
    "done_but_reset": Fault("reset_after"),
    "truncated": Fault("truncate"),
    "garbage": Fault("garbage"),
    "slow": Fault("delay", seconds=0.1),
    "hang": Fault("hang"),
    "done_but_hang": Fault("hang_after"),
    "late": Fault("delay", seconds=1.5 * CALL_SECONDS),
    "500_for_ever": Fault("status", status=500, times=FOR_EVER),
    "429_for_ever": Fault("status", status=429, times=FOR_EVER),
    "reset_for_ever": Fault("reset", times=FOR_EVER),
    "hang_for_ever": Fault("hang", times=FOR_EVER),
}
WATCHED = ("hang", "done_but_hang", "late", "hang_for_ever")

# Of calls that are much like another one, or that the run can do without, only these.
SAMPLE = ("429", "500", "done_but_500", "reset", "garbage", "500_for_ever")
SAMPLED = {
    "open_batch": (*SAMPLE, "404"),
    "instance_usage": (*SAMPLE, "404", "hang"),
    "backend_list": (*SAMPLE, "truncated"),
    "backend_status": (*SAMPLE, "401"),
    "submit_second": (*SAMPLE, "404", "late", "done_but_reset", "done_but_hang"),
    "usage": (*SAMPLE, "truncated", "hang"),
    "cancel": (*SAMPLE, "429_retry_after", "late", "done_but_hang"),
    "close": (*SAMPLE, "slow", "hang"),
}
# The client sees no difference between these and others, or the wait is long.
ONLY_OF = {
    "408": ("open_session", "submit_first", "status"),
    "502": ("submit_first",),
    "503": ("open_session", "submit_first", "status"),
    "504": ("submit_first",),
    "slow": ("submit_first", "status", "close"),
    "429_for_ever": ("submit_first", "status"),
    "reset_for_ever": ("submit_first", "find", "status"),
    "hang_for_ever": ("status",),
}


def makes_sense(call: str, fault: str) -> bool:
    if fault.startswith("done_but") and not CALLS[call].has_effect:
        return False
    if call in ("cancel", "close") and (fault == "404" or fault.endswith("for_ever")):
        # What is not there need not be ended; what cannot be ended goes on and costs.
        return False
    return fault in SAMPLED.get(call, FAULTS) and call in ONLY_OF.get(fault, CALLS)


MATRIX = [
    pytest.param(call, fault, id=f"{call}-{fault}")
    for call in CALLS
    for fault in FAULTS
    if makes_sense(call, fault)
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """With a state file, from which a restart reads everything back."""
    with LoopbackServer(state=tmp_path_factory.mktemp("loopback") / "jobs.sqlite") as server:
        yield server


@pytest.fixture(scope="module")
def request_(compiled):
    """The same in all cases: the server forgets it after each, and so does the ledger."""
    rows = np.random.default_rng(1).uniform(-3, 3, (NUM_ROWS, compiled.program.slots.num_slots))
    return RunRequest(compiled, rows, NUM_SHOTS, seed=7)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """Without waiting for the disk, which takes most of the time: the machine stays on."""
    kind = replace(LEDGER, synchronous="OFF")
    monkeypatch.setattr("qrnn_qiskit.ledger.ledger.LEDGER", kind)
    with Ledger(tmp_path / "jobs.db") as ledger:
        yield ledger


@pytest.fixture(scope="module")
def expected(server, backend, device, request_, tmp_path_factory):
    """Bits of the run without faults."""
    path = tmp_path_factory.mktemp("ledger") / "jobs.db"
    with Ledger(path) as ledger, RuntimeClient(backend, "job") as client:
        bits = RuntimeExecutor(client, ledger, device, limits=LIMITS, patience=QUICK).run(request_)
    forget(server)
    return bits.bits


@pytest.fixture(autouse=True)
def _clean(server, expected, quick_retries):
    """Leaves the server without jobs, sessions, faults and calls that still hang."""
    before = set(threading.enumerate())
    yield
    server.faults.clear()
    server.resume()
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith("loopback"):
            thread.join(5)
    forget(server)


def forget(server):
    for job in server.jobs:
        server.engine.delete(job)
    server.engine.sessions.clear()
    server.requests.clear()
    server.faults.fired.clear()


def assert_clear(error, pattern):
    """One line that names what happened and holds no secret."""
    text = str(error)
    assert re.search(pattern, text), text
    assert "\n" not in text
    assert len(text) < 700
    for secret in (TOKEN, CRN, urllib.parse.quote(CRN, safe=""), "Bearer", "eyJ", "Traceback"):
        assert secret not in text


def assert_settled(server, ledger):
    """Each job of the request was executed once, and the server has nothing more to do."""
    records = ledger.records()
    assert [record.state for record in records] == ["done", "done"]
    assert {server.executions[record.tag] for record in records} == {1}
    assert {server.executions[record.job_id] for record in records} == {1}
    assert sum(job.status == "Completed" for job in server.jobs) == len(records)
    assert {job.executions for job in server.jobs} <= {0, 1}
    assert server.engine.pending_jobs() == []


def assert_closed(server, session_id):
    if session_id is not None:
        assert not server.engine.sessions[session_id].accepting_jobs


def once_heard(state, part, action):
    """`on_progress` that acts once, when a job is first heard to be in a state."""
    is_first = True

    def hear(progress):
        nonlocal is_first
        if is_first and (progress.state, progress.part) == (state, part):
            is_first = False
            action()

    return hear


@pytest.mark.parametrize(("call", "fault"), MATRIX)
def test_a_fault_at_a_call(server, build, request_, expected, ledger, call, fault):
    place, strike = CALLS[call], CALLS[call].meets(FAULTS[fault])
    patience = LATE if fault == "late" else QUICK
    if fault in WATCHED and fault != "late":
        # Longer than for others: a call may be late only because the machine is busy.
        patience = replace(QUICK, settle_seconds=CALL_SECONDS)
    call_seconds = CALL_SECONDS if fault in WATCHED else 30.0
    executor = build(place.mode, call_seconds, patience=patience)
    client = executor._client
    error = None
    if place.before is not None:
        server.faults.add(replace(place.before))
    server.faults.add(strike)
    if call == "cancel":
        # The second job waits until it has been cancelled.
        server.pause()
        executor._on_progress = once_heard("queued", 1, server.resume)
    try:
        bits = executor.run(request_).bits
        session_id = client.session_id
        client.close()
    except InputError as raised:
        error = raised
    assert any(each is strike for each in server.faults.fired)
    assert_retry_after_was_obeyed(server, call, fault)
    pattern = find_error(call, fault)
    if pattern is None:
        assert error is None
    else:
        server.faults.clear()
        assert_clear(error, pattern)
        executor = build(place.mode, patience=QUICK)
        bits = executor.run(request_).bits
        session_id = executor._client.session_id
        executor._client.close()
    np.testing.assert_array_equal(bits, expected)
    assert_settled(server, ledger)
    assert_closed(server, session_id)
    assert len(server.jobs) == (3 if call == "cancel" else 2)
    assert call == "usage" or None not in {
        record.metrics.usage_seconds for record in ledger.records()
    }


def find_error(call, fault):
    """What the run says; none where it must get over the fault."""
    if fault == "404" and call.startswith("submit"):
        # The program or the backend is not there.
        return "must be able to submit a job, got .* status 404.*; check the account"
    if CALLS[call].error is None or not fault.endswith("for_ever"):
        return None
    what = {
        "500_for_ever": "500",
        "429_for_ever": "status 429",
        "reset_for_ever": "(ConnectionResetError|ProtocolError|RemoteDisconnected)",
        "hang_for_ever": f"no answer within {CALL_SECONDS} s",
    }[fault]
    if call == "find":
        # What matters is that the job may have been sent.
        what = "(ConnectionResetError|ProtocolError|RemoteDisconnected)"
    if call == "backend_list":
        # The client only tells that it found none.
        what = "QiskitBackendNotFoundError"
    return f"{'' if fault == 'hang_for_ever' else CALLS[call].error}.*{what}.*{RESUME}"


def assert_retry_after_was_obeyed(server, call, fault):
    if FAULTS[fault].retry_after is None:
        return
    place = CALLS[call]
    at = [
        each
        for each in server.requests
        if place.meets(FAULTS[fault]).concerns(each.method, each.path)
    ]
    number = next(i for i, record in enumerate(at) if record.status == 429)
    assert at[number + 1].seconds - at[number].seconds >= RETRY_AFTER_SECONDS


@dataclass(frozen=True)
class JobCase:
    """What happens to a job, a session or the server.

    Attributes:
        mode: of the client.
        faults: that are added before the run.
        act: on the server and the client, when job `part` is heard to be `state`; the server's
            queue stands still until then.
        errors: what the first runs say that end in an error; none if the first one goes on.
        patience: of the first run.
    """

    mode: str = "session"
    faults: tuple[Fault | JobFault, ...] = ()
    act: Callable[[LoopbackServer, RuntimeClient], object] | None = None
    state: str = "queued"
    part: int = 2
    errors: tuple[str, ...] = ()
    patience: Patience = PATIENT


def expire(server, client):
    server.expire_session(client.session_id)


def stop_session(server, client):
    server.engine.sessions[client.session_id].accepting_jobs = False


def restart(server, client):
    server.restart()


def go_down(server, client):
    """Until the run has given up."""
    server.go_down()


def go_on(server, client):
    """Only the queue does."""


def cancel_first(server, client):
    server.cancel_job(server.jobs[0].id)


def delete_first(server, client):
    server.engine.delete(server.jobs[0])


def delete_done(server, client):
    (first, _) = server.jobs
    server.resume()
    server.wait_for("Completed", first.id)
    server.engine.delete(first)


def expire_and_release(server, client):
    """A job that runs is not stopped by the end of its session."""
    expire(server, client)
    server.faults.release()


LOST = "was deleted there or is of another instance"
JOB_CASES = {
    "failed-one": JobCase(faults=(JobFault("fail"),), errors=("failed: Error code 8045; ",)),
    "failed-one_in_batch": JobCase(
        "batch", (JobFault("fail", nth=2, reason_code=None),), errors=("failed: Failed to exec",)
    ),
    "failed-both": JobCase(
        "job", (JobFault("fail", times=2),), errors=("1 of 2.* failed: ", "2 of 2.* failed: ")
    ),
    "cancelled-while_running": JobCase(
        faults=(JobFault("cancel", reason="Maintenance."),), errors=("was cancelled: .*Maint",)
    ),
    "cancelled-while_queued": JobCase(
        "job", act=cancel_first, errors=("1 of 2.* was cancelled: Cancelled by the service",)
    ),
    "cancelled-ran_too_long": JobCase(
        "batch", (JobFault("too_long"),), errors=("failed: Error code 1305; Job ran too long",)
    ),
    "expired-before_first_job": JobCase(faults=(Fault("expire_session", "POST", "jobs"),)),
    "expired-before_second_job": JobCase(
        "batch", (Fault("expire_session", "POST", "jobs", nth=2),)
    ),
    "expired-at_every_job": JobCase(
        faults=(Fault("expire_session", "POST", "jobs", times=FOR_EVER),),
        patience=HASTY,
        errors=("could not submit a job: .* code 1217 .*Session has been closed",),
    ),
    "expired-first_job_queued": JobCase(act=expire, part=1),
    "expired-both_jobs_queued": JobCase(act=expire),
    "expired-batch_queued": JobCase("batch", act=expire),
    "expired-while_running": JobCase(
        faults=(JobFault("hold", times=2),), act=expire_and_release, state="running", part=1
    ),
    "closed_by_another-before_second_job": JobCase(act=stop_session, part=1),
    "out_of_order": JobCase(faults=(JobFault("slow", seconds=0.3),)),
    "restart-before_first_job": JobCase(faults=(Fault("restart", "POST", "jobs"),)),
    "restart-between_jobs": JobCase("batch", act=restart, part=1),
    "restart-while_queued": JobCase("job", act=restart),
    "restart-while_running": JobCase(
        faults=(JobFault("hold", times=2),), act=restart, state="running", part=1
    ),
    "restart-before_result": JobCase(faults=(Fault("restart", "GET", "jobs/*/results"),)),
    "restart-before_usage": JobCase(faults=(Fault("restart", "GET", "jobs/*/metrics"),)),
    "down-while_submitting": JobCase(
        "job",
        act=go_down,
        part=1,
        patience=HASTY,
        errors=("could not (submit a job|look for jobs): ",),
    ),
    "down-while_queued": JobCase(
        act=go_down,
        patience=HASTY,
        errors=("could not ask for a job's status: .*ConnectionRefusedError",),
    ),
    "listed_late-after_reset": JobCase(
        faults=(Fault("reset_after", "POST", "jobs"), Fault("unlisted", "GET", "jobs", times=2)),
        patience=LATE,
    ),
    "listed_late-after_500": JobCase(
        "batch",
        (
            Fault("status_after", "POST", "jobs", nth=2),
            Fault("unlisted", "GET", "jobs", times=2),
        ),
        patience=LATE,
    ),
    "known_late": JobCase("job", (Fault("status", "GET", "jobs/*", status=404, times=3),)),
    "posted_twice-first": JobCase(faults=(Fault("twice", "POST", "jobs"),), act=go_on, part=1),
    "posted_twice-second": JobCase("batch", (Fault("twice", "POST", "jobs", nth=2),), go_on),
    "deleted-while_queued": JobCase(
        act=delete_first, patience=HASTY, errors=(f"1 of 2.* failed: .*{LOST}",)
    ),
    "deleted-when_done": JobCase(
        "job", act=delete_done, patience=HASTY, errors=(f"1 of 2.* failed: .*{LOST}",)
    ),
    "deleted-before_result": JobCase(
        "batch",
        act=delete_first,
        state="done",
        part=1,
        patience=HASTY,
        errors=(f"1 of 2.* failed: .*{LOST}",),
    ),
    "unknown_but_listed": JobCase(
        faults=(Fault("status", "GET", "jobs/*", status=404, times=FOR_EVER),),
        patience=HASTY,
        errors=("could not ask for a job's status: .*status 404",),
    ),
}


@pytest.mark.parametrize("name", JOB_CASES)
def test_a_fault_of_a_job(server, build, request_, expected, ledger, name):
    case = JOB_CASES[name]
    executor = build(case.mode, patience=case.patience)
    client = executor._client
    server.faults.add(*map(replace, case.faults))
    if case.act is not None:

        def act():
            case.act(server, client)
            server.resume()

        executor._on_progress = once_heard(case.state, case.part, act)
        if case.state == "queued":
            server.pause()
    for pattern in case.errors:
        with pytest.raises(InputError) as caught:
            executor.run(request_)
        if case.act is go_down:
            server.come_up()
        assert_clear(caught.value, pattern + ".*" + RESUME)
        server.resume()
        if any(fault.times == FOR_EVER for fault in case.faults):
            server.faults.clear()
        executor = build(case.mode, patience=QUICK)
    np.testing.assert_array_equal(executor.run(request_).bits, expected)
    session_id = executor._client.session_id
    executor._client.close()
    assert_settled(server, ledger)
    assert_closed(server, session_id)
    if name == "out_of_order":
        first, second = server.jobs
        assert first.finished > second.finished


LOGIN_CALLS = {
    "token": ("POST", "identity/token"),
    "search": ("POST", "v3/resources/search"),
    "catalog": ("GET", "catalog/*"),
    "backends": ("GET", "backends"),
    "configuration": ("GET", "backends/*/configuration"),
    "properties": ("GET", "backends/*/properties"),
}
LOGIN_FAULTS = (
    "429", "401", "404", "reset", "truncated", "garbage", "hang", "500_for_ever",
)  # fmt: skip
LOGIN_ERROR = r"^backend: must (have a valid IBM|be reachable|be a device).*; (check|see) .*fake_\*"


@pytest.fixture(scope="module")
def small_server():
    """With a device that is read in no time."""
    with LoopbackServer(["fake_manila"]) as server:
        yield server


@pytest.mark.parametrize("fault", LOGIN_FAULTS)
@pytest.mark.parametrize("call", LOGIN_CALLS)
def test_a_fault_at_login(small_server, monkeypatch, call, fault):
    faults = small_server.faults
    faults.clear()
    faults.fired.clear()
    method, path = LOGIN_CALLS[call]
    strike = replace(FAULTS[fault], method=method, path=path)
    faults.add(strike)
    with small_server.use_environment():
        with monkeypatch.context() as patch:
            if fault == "hang":
                patch.setattr("qrnn_qiskit.devices.runtime._PATIENCE_SECONDS", 0.5)
            try:
                assert_complete(fetch_backend("ibm_manila"))
            except InputError as error:
                assert_clear(error, LOGIN_ERROR)
        assert any(each is strike for each in faults.fired)
        faults.clear()
        assert_complete(fetch_backend("ibm_manila"))


def assert_complete(backend):
    assert backend.name == "ibm_manila"
    assert len(backend.properties().qubits) == backend.num_qubits == 5
    assert backend.target["cx"][0, 1].error > 0
