"""Training with a device in the loop: every loop in every mode takes Aer's steps, to the bit."""

from dataclasses import dataclass, replace

import pytest

from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.studies import SilentProgress, TrainResult, run_inference, run_training
from qrnn_qiskit.studies.comparison import ComparisonRow
from qrnn_qiskit.studies.device import _open_cache
from tests.checkpoints import assert_same, load_loop_state
from tests.loopback import Fault
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of

NUM_TIMESTEPS, NUM_STEPS = 3, 10
SAMPLING = {"num_samples": 3, "num_shots": 20, "calibration_shots": 40, "mitigations": ["local"]}
LOOP = {"steps": NUM_STEPS, "batch_size": 2, "num_shots": 10, "learning_rate": 0.05}
FEEDFORWARD_LOOP = changed(
    FEEDFORWARD, task__num_timesteps=NUM_TIMESTEPS, training__epochs=1, control=False
)
SETTINGS = {
    "feedforward": FEEDFORWARD_LOOP,
    "open": changed(FEEDFORWARD_LOOP, name="tiny_open", model__loop="open"),
    "host": HOST,
}
# Of the service, by our names.
SESSION_MODES = {"session": ["dedicated"], "batch": ["batch"], "job": []}


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """A training on Aer, and what it left."""

    result: TrainResult
    checkpoint: dict


def rehearse(loop, folder, **changes):
    """The run with `[device_loop] on = "aer"`."""
    spec = spec_of(SETTINGS[loop], aer=SAMPLING, runtime=None, device_loop=LOOP | changes)
    result = run_training(spec, runs_root=folder)
    return Rehearsal(result, load_loop_state(result.run))


@pytest.fixture(scope="module")
def rehearsals(tmp_path_factory):
    """By loop, each run once, whatever modes are compared with it."""
    found = {}

    def find(loop):
        if loop not in found:
            found[loop] = rehearse(loop, tmp_path_factory.mktemp(loop))
        return found[loop]

    return find


def spec_on_device(loop, mode="session", **changes):
    runtime = SAMPLING | {"backend": "ibm_boston", "mode": mode}
    settings = {"aer": None, "runtime": runtime, "device_loop": LOOP | changes | {"on": "runtime"}}
    return spec_of(SETTINGS[loop], **settings)


def assert_trained_as_rehearsed(result, rehearsal):
    """Losses of the steps, weights after them, and what the tuned model answers."""
    assert_same(load_loop_state(result.run), rehearsal.checkpoint)
    # As texts, which are exact: a residual that is no number, without a surrogate, differs from
    # itself.
    found, expected = (
        repr(replace(each.device_loop, calibration_ages=())) for each in (result, rehearsal.result)
    )
    assert found == expected
    tuned, rehearsed = numbers(result.rows, "runtime"), numbers(rehearsal.result.rows, "Aer fake")
    assert len(tuned) == 1
    assert tuned == rehearsed[-1:]


def numbers(rows: tuple[ComparisonRow, ...], engine):
    """Metrics and losses, with their errors, of the rows of an engine."""
    return [
        (row.metric, row.metric_error, row.loss, row.loss_error)
        for row in rows
        if row.label.startswith(engine)
    ]


def assert_executed_once(server, result):
    """Every job of the ledger, and no other one, was executed once; those records."""
    with Ledger(result.run / LEDGER_NAME, create=False) as ledger:
        records = ledger.records()
    assert {record.state for record in records} == {"done"}
    executed = [job for job in server.jobs if job.executions]
    assert sorted(job.id for job in executed) == sorted(record.job_id for record in records)
    assert {job.executions for job in executed} == {1}
    return records


def num_training_jobs(loop):
    """Forward passes, some with their calibration: the surrogate needs no other jobs."""
    return NUM_STEPS * (NUM_TIMESTEPS if loop == "host" else 1)


@pytest.mark.parametrize("mode", ["session", "batch", "job"])
@pytest.mark.parametrize("loop", ["feedforward", "host", "open"])
def test_training_and_inference_are_those_on_aer(loop, mode, rehearsals, boston, tmp_path):
    rehearsal = rehearsals(loop)
    spec = spec_on_device(loop, mode)
    result = run_training(spec, runs_root=tmp_path)
    assert_trained_as_rehearsed(result, rehearsal)
    ages = result.device_loop.calibration_ages
    # Every fifth step brings its calibration along.
    assert [age == 0 for age in ages] == [step % 5 == 0 for step in range(NUM_STEPS)]
    assert 0 < max(ages) < 60
    # All rounds of all steps, and the tuned model's samples after them, in one session or batch.
    trained = boston.jobs
    assert len(result.device_loop.losses) == NUM_STEPS
    assert len(trained) > num_training_jobs(loop)
    sessions = boston.engine.sessions
    assert [session.mode for session in sessions.values()] == SESSION_MODES[mode]
    assert {job.session_id for job in trained} == (set(sessions) or {None})
    assert all(not session.accepting_jobs for session in sessions.values())

    inferred = run_inference(spec, engine="runtime", runs_root=tmp_path)
    # The model before the loop, raw and mitigated.
    expected = numbers(rehearsal.result.rows, "Aer fake_boston")[:2]
    assert numbers(inferred.rows, "runtime ibm_boston") == expected
    assert_executed_once(boston, result)
    # A session of its own: that of the training was closed.
    assert [session.mode for session in boston.engine.sessions.values()] == 2 * SESSION_MODES[mode]


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient": "parameter_shift", "last_timesteps": 1},
        {"gradient": "spsa", "num_directions": 2},
    ],
    ids=lambda changes: changes["gradient"],
)
def test_gradients_from_shots_are_those_on_aer(changes, boston, tmp_path):
    changes = changes | {"steps": 2}
    rehearsal = rehearse("feedforward", tmp_path / "aer", **changes)
    spec = spec_on_device("feedforward", **changes)
    result = run_training(spec, runs_root=tmp_path / "ibm")
    assert_trained_as_rehearsed(result, rehearsal)
    # For each step a pass and its shifts, samples at the end.
    assert len(assert_executed_once(boston, result)) == 2 * 2 + 1


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Nothing has been compiled yet."""
    monkeypatch.setenv("QRNN_CACHE", str(tmp_path / "cache"))
    _open_cache.cache_clear()
    yield
    _open_cache.cache_clear()


def test_each_circuit_is_compiled_once_in_a_run(boston, empty_cache, tmp_path):
    spec = spec_on_device("host", steps=2)
    result = run_training(spec, runs_root=tmp_path)
    # A prefix for each round; the one that is checked before training is one of them.
    assert result.compiled.num_compiled == NUM_TIMESTEPS
    assert 0 < result.compiled.compile_seconds < result.wall_seconds
    again = run_training(spec, runs_root=tmp_path, resume=True)
    assert again.compiled.num_compiled == 0
    assert_executed_once(boston, result)


def test_a_session_that_expires_between_two_rounds_is_replaced(rehearsals, boston, tmp_path):
    # In the second round of the fourth step.
    nth = 3 * NUM_TIMESTEPS + 2
    boston.faults.add(Fault("expire_session", "POST", "jobs", nth=nth))
    result = run_training(spec_on_device("host"), runs_root=tmp_path)
    assert len(boston.faults.fired) == 1
    assert_trained_as_rehearsed(result, rehearsals("host"))
    assert len(assert_executed_once(boston, result)) == len(boston.jobs)
    first, second = boston.engine.sessions
    assert [job.session_id for job in boston.jobs[: nth - 1]] == [first] * (nth - 1)
    assert {job.session_id for job in boston.jobs[nth - 1 :]} == {second}


class ExpiringWhileQueued(SilentProgress):
    """Expires the session as soon as the n-th job is queued in it."""

    def __init__(self, server, nth):
        self.server, self.num_left = server, nth

    def say(self, line):
        if line.endswith(" submitting"):
            self.num_left -= 1
            if self.num_left == 0:
                self.server.pause()
        elif line.endswith(" queued") and self.num_left == 0 and self.server.engine.is_paused:
            job = self.server.jobs[-1]
            assert job.status == "Queued"
            self.server.expire_session(job.session_id)
            self.server.resume()


def test_a_job_that_waits_in_an_expired_session_is_sent_again(rehearsals, boston, tmp_path):
    nth = num_training_jobs("feedforward") // 2
    progress = ExpiringWhileQueued(boston, nth)
    result = run_training(spec_on_device("feedforward"), runs_root=tmp_path, progress=progress)
    assert progress.num_left < 0
    assert_trained_as_rehearsed(result, rehearsals("feedforward"))
    records = assert_executed_once(boston, result)
    (lost,) = (job for job in boston.jobs if job.executions == 0)
    assert boston.jobs.index(lost) == nth - 1
    assert [record.attempts for record in records if record.attempts != 1] == [2]
    first, second = boston.engine.sessions
    assert {job.session_id for job in boston.jobs[:nth]} == {first}
    assert {job.session_id for job in boston.jobs[nth:]} == {second}
