"""Jobs that lose nothing: faults at every call, a crash between any two steps."""

import json
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, Executor, RunRequest, ScriptedExecutor
from qrnn_qiskit.execution.local_client import LocalClient
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.runtime_jobs import BudgetReached, UnauthorisedError, one_line, seed_of
from qrnn_qiskit.ledger import Ledger
from qrnn_qiskit.owners import Owner
from qrnn_qiskit.pacing import Backoff, Patience
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.studies.device import open_device
from tests.unit.execution.scripted_service import Crash, CrashPoints, ScriptedClient, Service

NUM_ROWS, NUM_SHOTS = 4, 10
# Two jobs of two rows.
LIMITS = HardwareLimits(max_executions_per_job=20)
PATIENCE = Patience(
    poll=Backoff(jitter=0.0, cap=2.0), settle_seconds=10.0, watchdog_seconds=100.0, max_reads=4
)


class Clock:
    def __init__(self):
        self.now = time.time()
        self.slept = []
        self.on_sleep = lambda: None

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        self.on_sleep()


@pytest.fixture(scope="module")
def device():
    return open_device("fake_boston")


@pytest.fixture(scope="module")
def compiled(device):
    cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),), "feedforward")
    return device.compile(SequenceProgram(cell, 2))


@pytest.fixture
def request_(compiled, rng):
    rows = rng.uniform(-np.pi, np.pi, (NUM_ROWS, compiled.program.slots.num_slots))
    return RunRequest(compiled, rows, NUM_SHOTS, seed=5)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "jobs.db") as ledger:
        yield ledger


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def build(device, ledger, service, clock):
    def build(faults=None, *, client=None, ledger=ledger, **settings):
        settings = {"limits": LIMITS, "patience": PATIENCE} | settings
        return RuntimeExecutor(
            client or ScriptedClient(service, faults), ledger, device, clock=clock,
            sleep=clock.sleep, **settings,
        )  # fmt: skip

    return build


@pytest.fixture
def expected(device, request_, tmp_path):
    """Without any fault."""
    with Ledger(tmp_path / "expected.db") as ledger:
        executor = RuntimeExecutor(
            ScriptedClient(Service()), ledger, device, limits=LIMITS, sleep=lambda seconds: None
        )
        return executor.run(request_).bits


def executed_once(service, num_jobs=2):
    return sorted(service.executions.values()) == [1] * num_jobs


def test_parts_are_joined_in_the_order_of_rows_and_shots(build, compiled, request_):
    for limits, num_jobs in ((LIMITS, 2), (HardwareLimits(max_executions_per_job=5), 8)):
        executor = build(limits=limits)
        assert isinstance(executor, Executor)
        result = executor.run(request_)
        assert (result.executor, executor.forecast(request_)[0]) == ("runtime(scripted)", num_jobs)
        first = next(
            compiled.parameter_names.index(each.name) for each in compiled.circuit.parameters
        )
        positive = compiled.bind_values(request_.slot_values)[:, first] > 0
        assert 0 < positive.sum() < NUM_ROWS
        np.testing.assert_array_equal(
            result.bits[..., 0], np.repeat(positive[:, None], NUM_SHOTS, axis=1)
        )
        # Jobs with other shots of the same rows have other seeds.
        splits = executor.check(request_).splits
        assert len({seed_of(request_, split) for split in splits}) == num_jobs


def test_the_same_request_is_answered_from_the_ledger(build, service, request_, expected, ledger):
    np.testing.assert_array_equal(build().run(request_).bits, expected)
    calls = service.calls.copy()
    seen = []
    again = build(on_progress=seen.append)
    np.testing.assert_array_equal(again.run(request_).bits, expected)
    assert service.calls == calls
    assert [(each.part, each.num_parts, each.state) for each in seen] == [
        (1, 2, "from ledger"),
        (2, 2, "from ledger"),
    ]
    assert executed_once(service)
    assert ledger.spent_seconds(forecast=False) == again.spent_seconds() == 5.0
    assert [record.intent.labels["part"] for record in ledger.records()] == [1, 2]


def test_progress_tells_every_state(build, service, request_):
    seen = []
    build(on_progress=seen.append).run(request_)
    states = [each.state for each in seen if each.part == 1]
    assert states == ["planned", "submitting", "queued", "running", "done"]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "faults",
    [
        {"submit": "transient"},
        {"submit": "before"},
        {"submit": "after"},
        {"submit": "late"},
        {"submit": "twice"},
        {"submit": "after", "find": "transient"},
        {"submit": "before", "find": "transient"},
        {"status": "transient"},
        {"result_text": "transient"},
        {"result_text": "garbage"},
        {"metrics": "transient"},
        {"metrics": "unsettled"},
        {"submit": "late", "status": "transient", "result_text": "garbage"},
    ],
    ids=str,
)
def test_a_fault_at_any_call_costs_no_job(build, service, request_, expected, faults, number):
    at = {(method, 0 if method == "find" else number): kind for method, kind in faults.items()}
    np.testing.assert_array_equal(build(at).run(request_).bits, expected)
    assert executed_once(service)
    assert len(service.jobs) == (3 if "twice" in faults.values() else 2)


def test_a_second_job_that_cannot_be_cancelled_is_not_waited_for(
    build, service, request_, expected
):
    faults = {("submit", 0): "twice"} | {("cancel", i): "transient" for i in range(3)}
    np.testing.assert_array_equal(build(faults).run(request_).bits, expected)
    assert sorted(service.executions.values()) == [1, 2]


def test_a_job_that_hangs_while_it_is_sent_is_found(build, service, request_, expected):
    client = ScriptedClient(service, {("submit", 0): "hang_after"}, call_seconds=0.2)
    np.testing.assert_array_equal(build(client=client).run(request_).bits, expected)
    client.released.set()
    assert executed_once(service)


def test_an_answer_that_comes_late_is_no_second_job(build, service, request_, expected, ledger):
    client = ScriptedClient(service, {("submit", 0): "hang"}, call_seconds=0.2)
    np.testing.assert_array_equal(build(client=client).run(request_).bits, expected)
    client.released.set()
    executor = build(client=client)
    (first, _) = ledger.records()
    executor._note_late(executor.splitter.split(request_)[0], first.job_id)
    assert service.jobs[first.job_id].status == "done"
    second = service.accept(service.jobs[first.job_id].order)
    executor._note_late(executor.splitter.split(request_)[0], second)
    assert service.jobs[second].status == "cancelled"
    assert executed_once(service)


def test_an_answer_that_comes_while_the_job_is_looked_for_is_taken(
    build, service, request_, expected, clock, ledger
):
    client = ScriptedClient(service, {("submit", 0): "hang_late"}, call_seconds=0.2)

    def release():
        client.released.set()
        deadline = time.monotonic() + 10
        while ledger.records()[0].job_id is None and time.monotonic() < deadline:
            time.sleep(0.01)

    clock.on_sleep = release
    np.testing.assert_array_equal(build(client=client).run(request_).bits, expected)
    assert executed_once(service)
    assert service.calls["submit"] == 2


def test_an_answer_that_comes_with_a_second_one_cancels_that(
    build, service, request_, expected, ledger
):
    client = ScriptedClient(service)
    submit = client.submit

    def submit_after_another(order):
        late = service.accept(order)
        ledger.record_job(ledger.find_by_tag(order.tag).intent.intent_id, late)
        return submit(order)

    client.submit = submit_after_another
    np.testing.assert_array_equal(build(client=client).run(request_).bits, expected)
    assert executed_once(service)
    assert [job.status for job in service.jobs.values()] == ["done", "cancelled"] * 2


METHODS = ("submit", "find", "status", "result_text", "metrics")
STEPS = (
    "plan", "begin_submission", "record_job", "record_status", "record_result", "record_metrics",
    "result", "get",
)  # fmt: skip


def test_a_crash_between_any_two_steps_costs_no_job(
    build, service, request_, expected, tmp_path, clock
):
    counted = CrashPoints()
    with Ledger(tmp_path / "counted.db") as ledger:
        client = counted.guard(ScriptedClient(Service()), *METHODS)
        build(client=client, ledger=counted.guard(ledger, *STEPS)).run(request_)
    assert counted.count > 40
    for at in range(1, counted.count + 1):
        points, service = CrashPoints(at), Service()
        with Ledger(tmp_path / f"{at}.db") as ledger:
            client = points.guard(ScriptedClient(service), *METHODS)
            guarded = points.guard(ledger, *STEPS, "reserve_call")
            with pytest.raises(Crash):
                build(client=client, ledger=guarded).run(request_)
        # Closing gives up what this process was sending, as its end does.
        with Ledger(tmp_path / f"{at}.db") as ledger:
            bits = build(client=ScriptedClient(service), ledger=ledger).run(request_).bits
        np.testing.assert_array_equal(bits, expected)
        assert executed_once(service), f"crash point {at}"
        assert len(service.jobs) == 2, f"crash point {at}"


def test_two_crashes_and_a_late_list_cost_no_job(build, service, request_, expected):
    crashing = build(client=CrashPoints(2).guard(ScriptedClient(service), "submit"))
    with pytest.raises(Crash):
        crashing.run(request_)
    (job,) = service.jobs.values()
    job.unlisted = 2
    crashing = build(client=CrashPoints(1).guard(ScriptedClient(service), "find"))
    with pytest.raises(Crash):
        crashing.run(request_)
    np.testing.assert_array_equal(build().run(request_).bits, expected)
    assert executed_once(service)


@pytest.mark.parametrize(("end", "verb"), [("failed", "failed: out of helium"),
                                           ("cancelled", "was cancelled")])  # fmt: skip
def test_a_job_that_ends_badly_is_sent_anew_by_the_next_run(
    build, service, request_, expected, end, verb, ledger
):
    service.ends = [end]
    with pytest.raises(InputError, match=f"job job0 \\(1 of 2, tag qrnn-.*-1\\).*{verb}, 2.5 s"):
        build().run(request_)
    assert [record.state for record in ledger.records()] == [end, "submitted"]
    np.testing.assert_array_equal(build().run(request_).bits, expected)
    assert [job.tag[-2:] for job in service.jobs.values()] == ["-1", "-1", "-2"]
    assert executed_once(service)
    # The failed one was billed, too.
    assert ledger.spent_seconds(forecast=False) == 7.5


def test_a_job_that_never_ran_is_sent_again_at_once(build, service, request_, expected):
    service.ends = ["lost", "lost"]
    np.testing.assert_array_equal(build().run(request_).bits, expected)
    assert len(service.jobs) == 4
    assert executed_once(service)
    service.ends = ["lost"] * 100
    other = RunRequest(request_.compiled, request_.slot_values, NUM_SHOTS, seed=6)
    with pytest.raises(InputError, match="lost again and again"):
        build().run(other)


def test_a_token_that_is_refused_again_and_again_is_said_soon(build, service, request_):
    client = ScriptedClient(service)
    asked = []

    def refuse(job_id):
        asked.append(job_id)
        raise UnauthorisedError("status 401")

    client.status = refuse
    patience = replace(PATIENCE, max_tries=3, max_reads=40)
    with pytest.raises(InputError, match="runtime: status 401; run the same again"):
        build(client=client, patience=patience).run(request_)
    assert len(asked) == 3


def test_jobs_of_another_account_are_neither_waited_for_nor_sent_again(
    build, service, request_, expected, ledger
):
    mine, other = ScriptedClient(service), ScriptedClient(service)
    mine.account, other.account = "mine", "other"
    service.polls = 1000
    with pytest.raises(InputError, match="it was not cancelled"):
        build(client=mine).run(request_)
    with pytest.raises(InputError, match="account: must be the one that job job0 was sent through"):
        build(client=other).run(request_)
    for job in service.jobs.values():
        job.polls_left = 1
    np.testing.assert_array_equal(build(client=mine).run(request_).bits, expected)
    assert executed_once(service)
    # What is in the ledger is anybody's.
    np.testing.assert_array_equal(build(client=other).run(request_).bits, expected)


def test_a_refusal_is_said_and_leaves_nothing_in_doubt(build, service, request_, ledger):
    with pytest.raises(InputError, match="must be allowed, got 403"):
        build({("submit", 0): "fatal"}).run(request_)
    assert {record.state for record in ledger.records()} == {"planned"}
    assert not any(record.maybe_sent for record in ledger.records())
    build().run(request_)
    assert service.calls["find"] == 0


def test_a_refusal_after_a_doubt_keeps_the_doubt(build, service, request_, expected, ledger):
    faults = {("submit", 0): "late", ("submit", 1): "fatal"}
    quick = Patience(poll=PATIENCE.poll, settle_seconds=0.0)
    with pytest.raises(InputError, match="must be allowed"):
        build(faults, patience=quick).run(request_)
    assert ledger.records()[0].maybe_sent
    np.testing.assert_array_equal(build().run(request_).bits, expected)
    assert executed_once(service)


def test_an_outage_ends_in_one_line_and_the_next_run_goes_on(
    build, service, request_, expected, clock
):
    lasting = {("status", number): "transient" for number in range(99)}
    with pytest.raises(InputError, match="runtime: 429; run the same again: what is done"):
        build(lasting).run(request_)
    lasting = {("submit", number): "transient" for number in range(99)}
    other = RunRequest(request_.compiled, request_.slot_values, NUM_SHOTS, seed=6)
    with pytest.raises(InputError, match="nothing is sent twice"):
        build(lasting).run(other)
    np.testing.assert_array_equal(build().run(request_).bits, expected)
    assert executed_once(service)


def test_a_deleted_job_is_said_soon_and_sent_anew_by_the_next_run(
    build, service, request_, expected, clock
):
    service.polls = 5
    clock.on_sleep = lambda: service.deleted.add("job0")
    start, patience = clock.now, replace(PATIENCE, max_reads=40)
    with pytest.raises(
        InputError, match=r"job0 \(1 of 2, .* has not known it for .* deleted there"
    ):
        build(patience=patience).run(request_)
    assert 10 < clock.now - start < 60
    np.testing.assert_array_equal(build().run(request_).bits, expected)
    assert len(service.jobs) == 3


def test_the_watchdog_stops_waiting_but_not_the_job(build, service, request_, expected, clock):
    service.polls = 1000
    start = clock.now
    with pytest.raises(InputError, match="job job0 must end within 100 s, is running"):
        build().run(request_)
    assert 100 <= clock.now - start < 110
    for job in service.jobs.values():
        job.polls_left = 1
    np.testing.assert_array_equal(build().run(request_).bits, expected)
    assert executed_once(service)
    # Waits grow up to their cap.
    assert {1.0, 2.0} <= set(clock.slept)


def test_a_budget_is_never_exceeded(build, service, request_, ledger):
    num_jobs, seconds = build().forecast(request_)
    assert (num_jobs, seconds) == (2, pytest.approx(4.01, abs=0.01))
    with pytest.raises(BudgetReached, match=r"max_qpu_seconds: must cover the next 2 jobs, got 4"):
        build(max_qpu_seconds=4.0).run(request_)
    assert service.calls["submit"] == 0
    tight = build(max_qpu_seconds=9.5)
    tight.run(request_)
    # 5 s were billed, though 4 s were forecast.
    other = RunRequest(request_.compiled, request_.slot_values, NUM_SHOTS, seed=6)
    tight.run(request_)
    tight.run(other)
    third = RunRequest(request_.compiled, request_.slot_values, NUM_SHOTS, seed=7)
    with pytest.raises(BudgetReached, match="of which 10 s are used or under way") as caught:
        tight.run(third)
    assert caught.value.spent_seconds == 10
    assert caught.value.next_seconds == pytest.approx(seconds)
    assert service.calls["submit"] == 4


def test_jobs_under_way_count_in_the_budget(build, service, request_):
    crashing = build(client=CrashPoints(1).guard(ScriptedClient(service), "status"))
    with pytest.raises(Crash):
        crashing.run(request_)
    assert build().spent_seconds() == pytest.approx(build().forecast(request_)[1])
    build(max_qpu_seconds=4.1).run(request_)


def test_a_broken_rule_stops_everything(build, service, compiled, request_, ledger):
    limits = HardwareLimits(max_control_instructions_per_qubit=10)
    with pytest.raises(InputError, match="submission: control instructions per qubit"):
        build(limits=limits).run(request_)
    assert service.calls == {}
    assert ledger.records() == []


def test_no_more_than_five_jobs_a_minute_are_sent(build, service, request_, clock):
    start = clock.now
    sent = []
    client = ScriptedClient(service, call_seconds=60.0)
    submit = client.submit

    def note(order):
        sent.append(clock.now - start)
        return submit(order)

    client.submit = note
    build(client=client, limits=HardwareLimits(max_executions_per_job=5)).run(request_)
    assert len(sent) == 8
    assert all(after - before >= 60 for before, after in zip(sent, sent[5:], strict=False))


def test_a_job_that_another_process_sends_is_waited_for(
    build, service, request_, expected, ledger, clock, tmp_path
):
    executor = build()
    first, _ = executor.splitter.split(request_)
    record = ledger.plan(first.intent)
    with ledger._file.transaction() as connection:
        connection.execute(
            "UPDATE attempts SET state = 'submitting', owner = ?, claimed_at = ?",
            (_owner_elsewhere(), time.time()),
        )

    def send():
        clock.on_sleep = lambda: None
        ledger.record_job(first.intent_id, service.accept(first.build_order(record.tag)))

    clock.on_sleep = send
    np.testing.assert_array_equal(executor.run(request_).bits, expected)
    assert executed_once(service)
    assert service.calls["submit"] == 1


def _owner_elsewhere():
    return json.dumps(asdict(replace(Owner.current(), host="elsewhere")), sort_keys=True)


def test_a_request_is_told_by_all_of_its_content(build, device, compiled, request_):
    def ids(executor, request):
        return [part.intent_id for part in executor.splitter.split(request)]

    executor = build()
    same = device.compile_afresh(compiled.program)
    again = RunRequest(same, request_.slot_values.copy(), NUM_SHOTS, seed=5)
    base = ids(executor, request_)
    assert ids(executor, again) == ids(build(), request_) == base
    values = request_.slot_values.copy()
    values[0, 0] += 1e-12
    longer = device.compile(SequenceProgram(compiled.program.cell, 3))
    slots = np.zeros((NUM_ROWS, longer.program.slots.num_slots))
    others = [
        RunRequest(compiled, request_.slot_values, NUM_SHOTS, seed=6),
        RunRequest(compiled, request_.slot_values, NUM_SHOTS - 2, seed=5),
        RunRequest(compiled, values, NUM_SHOTS, seed=5),
        RunRequest(longer, slots, NUM_SHOTS, seed=5),
    ]
    found = [ids(executor, each)[0] for each in others]
    local = build(client=LocalClient(ScriptedExecutor(), "elsewhere"))
    found.append(ids(local, request_)[0])
    assert len({base[0], *found}) == 6


def test_a_local_job_has_the_bits_of_aer(build, request_, tmp_path, clock):
    aer = AerExecutor(max_threads=1)
    for folder in (None, tmp_path / "results"):
        client = LocalClient(aer, f"fake_boston {folder}", folder)
        executor = build(client=client, limits=HardwareLimits())
        np.testing.assert_array_equal(executor.run(request_).bits, aer.run(request_).bits)
    assert executor.spent_seconds() == 0.0
    assert len(list((tmp_path / "results").iterdir())) == 1
    assert clock.slept == []


def test_local_jobs_outlive_their_process_in_a_folder_only(build, request_, tmp_path):
    script = ScriptedExecutor()
    for folder, num_runs in ((tmp_path / "results", 1), (None, 2)):
        script.requests.clear()
        crashing = CrashPoints(1)
        limits = HardwareLimits()
        name = f"fake {folder}"
        client = crashing.guard(LocalClient(script, name, folder), "status")
        with pytest.raises(Crash):
            build(client=client, limits=limits).run(request_)
        build(client=LocalClient(script, name, folder), limits=limits).run(request_)
        assert len(script.requests) == num_runs


def test_messages_hold_no_secrets():
    token = "eyJhbGciOiJIUzI1NiJ9.eyJpYW1faWQiOiJ4In0.c2lnbmF0dXJl"
    line = one_line(f"Authorization: Bearer {token}\n" + "x " * 400)
    assert token not in line
    assert "\n" not in line
    assert len(line) == 300
