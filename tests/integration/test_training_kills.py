"""kill -9 at random moments of one training run on a device: nothing is lost, nothing sent twice.

Six kills, unless QRNN_KILLS says how many; then other loops and modes are tried as well. With
QRNN_KILLS_SEED they come at other moments. `pytest -s` shows what each of them met.
"""

import json
import os
import time

import numpy as np
import pytest

from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from tests.checkpoints import assert_same, load_loop_state
from tests.kills import run_of, train_whole, train_with_kills, wait_until_idle
from tests.loopback import Fault, LoopbackServer, Pace
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed
from tests.zygote import Zygote

NUM_KILLS = int(os.environ.get("QRNN_KILLS", "6"))
SEED = int(os.environ.get("QRNN_KILLS_SEED", "7"))
# Long enough for kills to come while a job is queued, and while it runs.
PACE = Pace(queue_seconds=0.02, run_seconds=0.04)
# Accepted jobs are answered late, so that kills come before their senders hear of it.
SECONDS_TO_ANSWER = 0.05
RUNTIME = {"backend": "ibm_boston", "num_samples": 4, "num_shots": 40, "calibration_shots": 60}
# More steps than kills, so that these do not all fall into the same few.
LOOP = {"on": "runtime", "steps": max(12, 2 * NUM_KILLS), "batch_size": 4, "num_shots": 30}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
more = pytest.mark.skipif("QRNN_KILLS" not in os.environ, reason="needs QRNN_KILLS, takes minutes")


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        pytest.param(FEEDFORWARD, "session", id="feedforward-session"),
        pytest.param(FEEDFORWARD, "job", id="feedforward-job", marks=more),
        pytest.param(FEEDFORWARD, "batch", id="feedforward-batch", marks=more),
        pytest.param(HOST, "session", id="host-session", marks=more),
    ],
)
def test_a_training_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path, settings, mode):
    settings = changed(
        settings, aer=None, control=False, runtime=RUNTIME | {"mode": mode}, device_loop=LOOP
    )
    start = time.monotonic()
    with (
        Zygote(tmp_path / "log") as zygote,
        LoopbackServer(pace=PACE) as undisturbed,
        LoopbackServer(pace=PACE) as server,
    ):
        for each in (undisturbed, server):
            late = Fault("delay_after", "POST", "jobs", seconds=SECONDS_TO_ANSWER, times=10**6)
            each.faults.add(late)
        whole = train_whole(zygote, undisturbed, settings, tmp_path / "whole")
        rng = np.random.default_rng(SEED)
        kills = train_with_kills(
            zygote, server, settings, tmp_path / "killed", whole, NUM_KILLS, rng
        )
        wait_until_idle(server)
        print(f"\nseed {SEED}, {len(kills)} kills, {time.monotonic() - start:.0f} s; {whole}")
        print(*kills, sep="\n")
        print(f"{num_open_sessions(server)} of {len(server.engine.sessions)} sessions are open")
        # A few drawn late may find the run done.
        assert len(kills) >= NUM_KILLS // 2
        assert kills[-1].num_steps > 0

        assert set(server.executions.values()) == {1}
        assert len(server.jobs) == len(undisturbed.jobs)
        assert {job.status for job in server.jobs} == {"Completed"}
        # What one attempt left open the next one used, or closed.
        assert num_open_sessions(server) == 0
    runs = run_of(tmp_path / "killed"), run_of(tmp_path / "whole")
    states = [load_loop_state(run) for run in runs]
    assert len(states[1]["losses"]) == LOOP["steps"]
    assert_same(*states)
    assert_same(*(numbers_of(run) for run in runs))
    assert_same(*(usage_of(run) for run in runs))


def num_open_sessions(server):
    return sum(session.state != "closed" for session in server.engine.sessions.values())


def numbers_of(run):
    """What a run reports, without where, when and how long."""
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["device_loop"]["calibration_ages"]
    return {name: metrics[name] for name in ("rows", "history", "device_loop")}


def usage_of(run):
    """Jobs, by what they ran, and billed seconds of a ledger, all of whose jobs must be done."""
    with Ledger(run / LEDGER_NAME, create=False) as ledger:
        records = ledger.records()
        assert {record.state for record in records} == {"done"}
        assert all(record.attempts == 1 for record in records)
        return {record.intent.intent_id: record.metrics.usage_seconds for record in records}
