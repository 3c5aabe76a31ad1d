"""Sessions over the loopback server: those left open are used again, billed and closed."""

import time
from dataclasses import replace

import numpy as np
import pytest

from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.execution.runtime_jobs import BudgetReached
from qrnn_qiskit.ledger import Ledger
from tests.integration.runtime_setting import PATIENCE, bits_by_aer
from tests.loopback import Fault

ONE_JOB = HardwareLimits(posts_per_minute=1000)


@pytest.fixture
def connect(backend, device, ledger):
    """A client, whose sessions are in the ledger, and its executor."""

    def connect(mode="session", log=ledger, **settings):
        client = RuntimeClient(backend, mode, sessions=log.sessions, call_seconds=30.0)
        settings = {"limits": ONE_JOB, "patience": PATIENCE} | settings
        return client, RuntimeExecutor(client, log, device, **settings)

    return connect


def sessions_of(server, ledger):
    """The server's records of the sessions in a ledger."""
    return [server.engine.sessions[each.session_id] for each in ledger.sessions.records()]


@pytest.mark.parametrize("mode", ["session", "batch"])
def test_a_session_that_a_process_left_open_is_used_again(server, connect, request_, ledger, mode):
    first, executor = connect(mode)
    bits = executor.run(request_).bits
    session_id = first.session_id
    # As its end would: nobody closes the session.
    ledger.sessions.release()
    second, executor = connect(mode)
    other = executor.run(_with_seed(request_, 1)).bits
    assert second.session_id == session_id
    second.close()
    assert [each.state for each in sessions_of(server, ledger)] == ["closed"]
    (noted,) = ledger.sessions.records()
    assert noted.closed_at is not None
    assert (noted.usage_seconds is None) == (mode == "batch")
    for found, seed in ((bits, request_.seed), (other, 1)):
        expected = bits_by_aer(executor, _with_seed(request_, seed))
        np.testing.assert_array_equal(found, expected)


def test_a_session_of_a_living_process_is_left_alone(server, connect, request_, ledger):
    first, executor = connect()
    executor.run(request_)
    with Ledger(ledger.path) as other:
        second, executor = connect(log=other)
        executor.run(_with_seed(request_, 1))
        assert second.session_id != first.session_id
        second.close()
    first.close()
    assert [each.state for each in sessions_of(server, ledger)] == ["closed", "closed"]


def test_a_session_that_has_expired_meanwhile_is_replaced(server, connect, request_, ledger):
    first, executor = connect()
    executor.run(request_)
    server.expire_session(first.session_id)
    ledger.sessions.release()
    second, executor = connect()
    executor.run(_with_seed(request_, 1))
    assert second.session_id != first.session_id
    second.close()
    assert all(each.closed_at is not None for each in ledger.sessions.records())


def test_of_several_that_were_left_open_one_is_used_and_the_others_closed(
    server, connect, request_, ledger
):
    for seed in range(2):
        _, executor = connect()
        executor.run(_with_seed(request_, seed))
    ledger.sessions.release()
    third, executor = connect()
    executor.run(_with_seed(request_, 3))
    states = {each.id: each.state for each in sessions_of(server, ledger)}
    assert sorted(states.values()) == ["active", "closed"]
    assert states[third.session_id] == "active"
    assert third.close_left_open() == 0
    third.close()


@pytest.mark.parametrize("num_faults", [2, 3])
def test_a_session_that_cannot_be_closed_is_closed_by_the_next(
    server, connect, request_, ledger, num_faults
):
    client, executor = connect()
    executor.run(request_)
    server.faults.add(Fault("status", "PATCH", "sessions/*", times=num_faults))
    client.close()
    server.faults.clear()
    (noted,) = ledger.sessions.records()
    assert (noted.closed_at is None) == (num_faults == 3)
    ledger.sessions.release()
    other, _ = connect("job")
    assert other.close_left_open() == (num_faults == 3)
    assert [each.state for each in sessions_of(server, ledger)] == ["closed"]


def test_a_session_is_in_the_budget_by_the_clock(server, connect, request_, ledger):
    client, executor = connect(max_qpu_seconds=1000.0)
    executor.run(request_)
    (job,) = server.jobs[-1:]
    assert executor.spent_seconds() == pytest.approx(job.quantum_seconds)
    session = server.engine.sessions[client.session_id]
    # It began a quarter of an hour ago, and waits since.
    with server.engine.lock:
        session.started -= 900.0
    assert 900 < executor.spent_seconds() < 960
    with server.engine.lock:
        session.started -= 900.0
    with pytest.raises(BudgetReached, match=r"got 1000 s of which 1[89]\d\d s are used"):
        executor.run(_with_seed(request_, 1))
    # What is in the ledger costs nothing.
    executor.run(request_)
    client.close()
    (noted,) = ledger.sessions.records()
    assert 1800 < noted.usage_seconds < 1860


def test_a_bill_that_comes_late_is_asked_for_again(server, connect, request_, ledger):
    _, executor = connect("job")
    server.faults.add(Fault("status", "GET", "jobs/*/metrics", status=404))
    executor.run(request_)
    (record,) = ledger.unsettled()
    assert ledger.spent_seconds(forecast=False) == 0.0
    assert executor.spent_seconds() == record.intent.forecast_seconds
    executor.settle()
    assert ledger.unsettled() == []
    (job,) = server.jobs[-1:]
    assert ledger.spent_seconds(forecast=False) == job.quantum_seconds


def test_the_time_of_a_measurement_is_the_service_s(server, connect, request_):
    _, executor = connect("job")
    result = executor.run(request_)
    (job,) = server.jobs[-1:]
    assert result.measured_at == pytest.approx(job.finished, abs=0.01)
    time.sleep(0.1)
    # From the ledger it is as old as it is.
    assert executor.run(request_).measured_at == result.measured_at


def test_a_mode_that_the_plan_has_not_is_said(connect, server):
    server.plan = "open"
    client, _ = connect()
    with pytest.raises(InputError, match="use mode batch or job where the plan has no sessions"):
        client.open()
    server.plan = "premium"


def _with_seed(request, seed):
    return replace(request, seed=seed)
