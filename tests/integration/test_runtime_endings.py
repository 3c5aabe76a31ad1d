"""Every ending of a run on a device is a checkpoint and one clear line; --resume goes on.

The runs are disturbed in the middle. What goes on afterwards must end in the very weights of a run
that nobody disturbed, on a server of its own.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from qrnn_qiskit.cli import app, model
from qrnn_qiskit.cli.jobs import cancel
from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.studies import RunDirectory, load_job
from tests.command_line import qrnn, strict_json
from tests.integration.endings import (
    NUM_JOBS,
    PATIENCE_SECONDS,
    again,
    assert_no_secrets,
    assert_one_line,
    go_on,
    wait_until,
)
from tests.loopback import Fault, JobFault


def interrupt(seconds=0.0):
    """Ctrl-C in this process, soon."""
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


# --- endings that the service makes ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "resent", "message"),
    [
        (JobFault("fail", nth=3, reason="Control electronics lost."), 1,
         r"error runtime: job \w+ \(1 of 1, tag qrnn-[\w-]+-1\) must end well, got: failed: Error "
         r"code 8045; Control electronics lost."),
        (JobFault("cancel", nth=3, reason="Maintenance."), 1,
         "must end well, got: was cancelled: Error code 8045; Maintenance."),
        (Fault("status", "POST", "jobs", nth=3, times=3, status=401, code=1201,
               message="Invalid credentials."), 0, "Invalid credentials"),
        (Fault("status", "POST", "jobs", nth=3, status=403, code=1234,
               message="Plan was changed."), 0, "check the account, its plan and instance"),
    ],
)  # fmt: skip
def test_what_the_service_ends(setting, undisturbed, fault, resent, message):
    setting.server.faults.add(fault)
    ended = setting.train()
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert re.search(message, line)
    assert len(setting.checkpoint()["losses"]) == 2
    setting.assert_sessions_closed()
    go_on(line)
    setting.assert_as_undisturbed(undisturbed["feedforward"], resent)


@pytest.mark.parametrize(
    ("setting", "budget"),
    [("feedforward", 1.5), ("feedforward", 7), ("host", 16)],
    indirect=["setting"],
)
def test_a_budget_of_jobs(setting, undisturbed, budget):
    """The printed command has one that is enough for all that is left, and not much more."""
    other, mode = ("--set", "control=false"), ("--set", 'runtime.mode="job"')
    ended = setting.train("--set", f"runtime.max_qpu_seconds = {budget}", *other, *mode)
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert f"max_qpu_seconds: must cover the next job, got {budget} s" in line
    words = again(line)
    (enough,) = [word for word in words if word.startswith("runtime.max_qpu_seconds")]
    assert "control=false" in words
    num_jobs = NUM_JOBS[setting.loop]
    assert 2 * num_jobs < int(enough.split("=")[1]) < 3 * num_jobs
    go_on(line)
    setting.assert_as_undisturbed(undisturbed[setting.loop])


def test_a_budget_by_the_clock_of_a_session(setting, undisturbed):
    def wait_long(job):
        setting.server.engine.sessions[job.session_id].started -= 900

    setting.at_post(wait_long, 2)
    ended = setting.train("--set", "runtime.max_qpu_seconds=500")
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert "got 500 s of which 9" in line
    assert len(setting.checkpoint()["losses"]) == 2
    # A session of which two jobs took 900 s by the clock will take as long for the next ones.
    (enough,) = [word for word in again(line) if word.startswith("runtime.max_qpu_seconds=")]
    assert 2000 < int(enough.split("=")[1]) < 4000
    go_on(line)
    setting.assert_as_undisturbed(undisturbed["feedforward"])


@pytest.mark.parametrize("setting", ["feedforward", "host"], indirect=True)
def test_a_session_that_expires_ends_nothing(setting, undisturbed):
    """In the feedforward loop while its job is queued, in the host loop between two rounds."""
    server, is_queued = setting.server, setting.loop == "feedforward"

    def expire(job):
        server.pause()
        server.expire_session(job.session_id)
        server.resume()

    if is_queued:
        setting.at_post(expire)
    else:
        server.faults.add(Fault("expire_session", "POST", "jobs", nth=5))
    found = setting.train()
    assert found.exit_code == 0, found.output
    assert "error" not in found.stderr
    assert len(server.engine.sessions) == 2
    setting.assert_as_undisturbed(undisturbed[setting.loop], int(is_queued))


def test_a_network_that_is_lost_for_good(setting, undisturbed):
    server = setting.server

    def lose_network(job):
        server.pause()
        threading.Thread(target=server.close).start()

    setting.at_post(lose_network)
    ended = setting.train()
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert "could not ask for a job's status" in line
    setting.checkpoint()
    server.start()
    server.resume()
    go_on(line)
    setting.assert_as_undisturbed(undisturbed["feedforward"])


def test_a_token_that_is_refused_from_now_on(setting, undisturbed):
    """Not even the session can be closed then: the run that goes on does it."""
    server = setting.server

    def refuse(job):
        server.faults.add(Fault("status", times=10_000, status=401, message="Token was revoked."))
        server.pause()

    setting.at_post(refuse)
    ended = setting.train()
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert "(Token was revoked.); check that the account's token still holds" in line
    assert len(setting.checkpoint()["losses"]) == 2
    (session,) = server.engine.sessions.values()
    assert session.accepting_jobs
    server.faults.clear()
    server.resume()
    go_on(line)
    setting.assert_as_undisturbed(undisturbed["feedforward"])


@pytest.mark.parametrize("end", ["fail", "ctrl-c"])
def test_inference_says_how_to_go_on(setting, end):
    """Of the run that was named, although there is a newer one."""
    assert setting.train("--set", "device_loop.steps=1").exit_code == 0
    run, num_jobs = setting.run, len(setting.server.jobs)
    RunDirectory.create(load_job(setting.job), setting.runs)
    if end == "fail":
        setting.server.faults.add(JobFault("fail"))
    else:
        setting.at_post(lambda job: (setting.server.pause(), interrupt(0.2)), 1)
    ended = qrnn("infer", setting.job, "--runs", setting.runs, "--run", run,
                 "--backend", "ibm_boston", "--yes")  # fmt: skip
    line = assert_one_line(ended.exit_code, ended.stderr, 2 if end == "fail" else 130)
    setting.assert_sessions_closed()
    setting.server.resume()
    go_on(line)
    assert (run / "predictions-runtime.csv").exists()
    completed = [job for job in setting.server.jobs if job.status == "Completed"]
    assert len(completed) == num_jobs + 1
    assert len(setting.server.jobs) == num_jobs + 1 + (end == "fail")
    setting.assert_sessions_closed()


def test_a_budget_of_inference(setting):
    assert setting.train("--set", "device_loop.steps=1").exit_code == 0
    command = ("infer", setting.job, "--runs", setting.runs, "--backend", "ibm_boston", "--yes")
    ended = qrnn(*command, "--set", "runtime.max_qpu_seconds=5")
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert "max_qpu_seconds: must cover the next job, got 5 s" in line
    go_on(line)
    assert (setting.run / "predictions-runtime.csv").exists()


# --- what is left ---------------------------------------------------------------------------------


def test_what_is_left_is_asked_about(setting, undisturbed):
    """One job of a run of five is done, one failed, so that four are left; at the end none is."""
    command = ("train", setting.job, "--runs", setting.runs, "--backend", "ibm_boston", "--resume")
    setting.server.faults.add(JobFault("fail", nth=2))
    assert setting.train().exit_code == 2
    dry = qrnn(*command, "--dry-run", "--json")
    left = strict_json(dry.stdout)
    assert (left["num_jobs"], left["num_sent"]) == (4, 1)
    unasked = qrnn(*command)
    line = assert_one_line(unasked.exit_code, unasked.stderr)
    assert line.startswith("error --yes: must be given where nobody can be asked")
    assert "ibm_boston, mode session: 4 of 5 jobs left, " in unasked.stderr
    assert len(setting.server.jobs) == 2
    finished = qrnn(*command, "--yes")
    assert finished.exit_code == 0, finished.output
    setting.assert_as_undisturbed(undisturbed["feedforward"], 1)
    with Ledger(setting.run / LEDGER_NAME, only_read=True) as ledger:
        seconds = [record.intent.forecast_seconds for record in ledger.records()]
    assert left["qpu_seconds"] == pytest.approx(sum(seconds[1:]))
    # All of it, though this command has sent four only.
    total = f"{sum(seconds):.1f}"
    whole = f"all jobs together: forecast {total} QPU seconds, billed {total};"
    assert whole in finished.stdout
    # What costs nothing needs no consent.
    again = qrnn(*command)
    assert again.exit_code == 0, again.output
    assert "mode session: 0 of 5 jobs left, 0 rows, 0 executions, forecast 0.0 QPU" in again.stderr
    assert whole in again.stdout
    setting.assert_as_undisturbed(undisturbed["feedforward"], 1)


def test_what_other_settings_sent_is_not_left_out(setting):
    assert setting.train("--set", "device_loop.steps=1").exit_code == 0
    dry = qrnn("train", setting.job, "--runs", setting.runs, "--backend", "ibm_boston", "--resume",
               "--dry-run", "--json")  # fmt: skip
    left = strict_json(dry.stdout)
    assert (left["num_jobs"], left["num_sent"]) == (5, 0)


# --- Ctrl-C ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["feedforward", "host"], indirect=True)
def test_ctrl_c_while_waiting(setting, undisturbed):
    def wait(job):
        setting.server.pause()
        interrupt(0.3)

    setting.at_post(wait)
    ended = setting.train()
    line = assert_one_line(ended.exit_code, ended.stderr, 130)
    setting.checkpoint()
    setting.assert_sessions_closed()
    assert setting.server.jobs[-1].status == "Queued"
    setting.server.resume()
    go_on(line)
    setting.assert_as_undisturbed(undisturbed[setting.loop])


@pytest.mark.parametrize(("kind", "mode"), [("delay", "job"), ("hang_after", "session")])
def test_ctrl_c_while_submitting(setting, undisturbed, kind, mode):
    """The job is accepted, and the answer comes when nobody listens any more, or never."""
    server = setting.server
    server.faults.add(Fault(kind, "POST", "jobs", nth=3, seconds=1.0))
    setting.at_post(lambda job: server.pause())
    watcher = threading.Thread(target=_interrupt_when_posted, args=(server, 3))
    watcher.start()
    ended = setting.train("--set", f"runtime.mode={mode}")
    watcher.join()
    line = assert_one_line(ended.exit_code, ended.stderr, 130)
    assert len(setting.checkpoint()["losses"]) == 2
    setting.assert_sessions_closed()
    wait_until(lambda: len(server.jobs) == 3)
    server.faults.clear()
    # For the answer that comes too late: the job is none that must be cancelled.
    time.sleep(0.2)
    assert server.jobs[-1].status == "Queued"
    server.resume()
    go_on(line)
    setting.assert_as_undisturbed(undisturbed["feedforward"])


def _interrupt_when_posted(server, number):
    wait_until(lambda: server.request_counts["POST jobs"] == number)
    interrupt()


# --- other terminals ------------------------------------------------------------------------------


# `qrnn` without the wait for five jobs a minute.
QRNN = """
import sys, types
from qrnn_qiskit.cli import app
from qrnn_qiskit.execution import runtime
runtime.RateLimiter = lambda *limits, **settings: types.SimpleNamespace(wait=lambda: None)
app(sys.argv[1:], prog_name="qrnn")
"""


@pytest.fixture
def start(setting):
    """Starts a command line in a process of its own."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", QRNN, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **setting.server.environment, "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process):
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert_no_secrets(output + errors)
    return process.returncode, output, errors


def test_other_terminals(setting, undisturbed, start):
    """One watches and cancels a job; then two at the same time go on with the run."""
    server, runs = setting.server, ("--runs", setting.runs)
    server.faults.add(Fault("reset", "GET", "jobs/*", nth=2))
    setting.at_post(lambda job: server.pause())
    training = start("train", setting.job, *runs, "--backend", "ibm_boston", "--yes")
    wait_until(lambda: len(server.jobs) == 3 or training.poll() is not None)
    job_id = server.jobs[-1].id
    wait_until(lambda: _show(job_id, runs).get("vendor_status") == "queued")
    listed = strict_json(qrnn("jobs", "ls", "--json", *runs).stdout)["jobs"]
    assert [job["state"] for job in listed] == ["done", "done", "submitted"]
    shown = _show(job_id, runs)
    assert shown["labels"]["study"] == "train"
    happened = [event["what"] for event in shown["events"]]
    assert happened == ["planned", "submitting", "submitted", "status"]
    threading.Timer(0.5, cancel, (job_id, setting.runs)).start()
    watched = qrnn("jobs", "watch", "--seconds", "0.1", *runs)
    assert watched.exit_code == 0, watched.output
    assert "asked to cancel" in watched.stderr
    states = [line.split()[1] for line in watched.stdout.splitlines()]
    assert states == ["done", "done", "queued", "cancelled"]
    code, _, errors = finish(training)
    line = assert_one_line(code, errors)
    assert f"runtime: job {job_id} (1 of 1, tag {shown['tag']}) must end well, got: was" in line
    assert not [each for each in errors.splitlines() if "Retry" in each or "Warning" in each]
    setting.assert_sessions_closed()

    seen = server.request_counts["GET jobs/*"]
    other = start(*again(line))
    wait_until(lambda: server.request_counts["GET jobs/*"] > seen or other.poll() is not None)
    threading.Timer(0.3, server.resume).start()
    go_on(line)
    code, _, errors = finish(other)
    assert code == 0, errors
    setting.assert_as_undisturbed(undisturbed["feedforward"], 1)


def _show(job_id, runs):
    found = qrnn("jobs", "show", job_id, "--json", *runs)
    return strict_json(found.stdout) if found.exit_code == 0 else {}


# --- what sends nothing ---------------------------------------------------------------------------


def test_a_forecast_or_no_consent_sends_nothing(setting):
    command = ("train", setting.job, "--runs", setting.runs, "--backend", "ibm_boston")
    dry = qrnn(*command, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "5 jobs" in dry.stderr
    assert "nothing was sent" in dry.stderr
    assert not setting.runs.exists()
    refused = qrnn(*command)
    line = assert_one_line(refused.exit_code, refused.stderr)
    assert line.startswith("error --yes: must be given where nobody can be asked")
    assert not setting.runs.exists()
    assert setting.server.jobs == []
    assert not setting.server.engine.sessions


@pytest.fixture
def decline(monkeypatch):
    """Runs a command line on a terminal at which the answer is no."""
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(model, "sys", SimpleNamespace(stdin=terminal))

    def decline(*arguments):
        found = CliRunner().invoke(app, [str(argument) for argument in arguments], input="n\n")
        assert found.exit_code == 2
        # Without the end of line that the answer at a terminal has.
        _, answer = found.stderr.split("send them? [y/N]:")
        assert answer == "error runtime: must be confirmed, got no; nothing was sent\n"

    return decline


def test_a_no_leaves_nothing(setting, decline):
    command = ("train", setting.job, "--runs", setting.runs, "--backend", "ibm_boston")
    decline(*command)
    assert not setting.runs.exists()
    assert setting.train("--set", "runtime.max_qpu_seconds=3").exit_code == 2
    files = {path: path.read_bytes() for path in setting.runs.rglob("*") if path.is_file()}
    decline(*command)
    decline(*command, "--resume", "--set", "runtime.max_qpu_seconds=1000")
    assert files == {path: path.read_bytes() for path in setting.runs.rglob("*") if path.is_file()}
    assert len(list(setting.runs.iterdir())) == 1
    assert len(setting.server.jobs) == 1
