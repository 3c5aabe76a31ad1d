"""Runs on a device that tests disturb: a job with its server, how it ended, how it goes on."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from urllib3.util.retry import Retry

from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.pacing import Backoff
from qrnn_qiskit.studies import RunDirectory, load_job
from tests.command_line import qrnn
from tests.loopback.account import CRN, TOKEN
from tests.loopback.fixtures import serve_boston
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, write_job

RUNTIME = {"num_samples": 2, "num_shots": 20, "calibration_shots": 40, "mitigations": ["local"]}
LOOP = {"on": "runtime", "steps": 4, "batch_size": 2, "num_shots": 20, "mitigation": "local"}
SHORT = {"aer": None, "control": False, "runtime": RUNTIME, "device_loop": LOOP,
         "training__epochs": 1, "task__num_timesteps": 3}  # fmt: skip
SETTINGS = {
    "feedforward": changed(FEEDFORWARD, **SHORT),
    "host": changed(HOST, **SHORT | {"device_loop": LOOP | {"steps": 2}}),
}
# Few tries with next to no waiting between them.
PATIENCE = {"faults": Backoff(0.02, 1.0, 0.02), "max_tries": 3, "max_reads": 3}
# Steps, and reading the model after them; in the host loop a job for each timestep.
NUM_JOBS = {"feedforward": 5, "host": 12}
# One in the middle, after a checkpoint.
MIDDLE = {"feedforward": 3, "host": 5}
SECRETS = (TOKEN, CRN.split("/")[1].split(":")[0], CRN.split(":")[-3])
PATIENCE_SECONDS = 120


@dataclass
class Setting:
    """A job with its server.

    Attributes:
        job: its file.
        runs: the folder of its runs.
        loop: `feedforward` or `host`.
    """

    server: object
    job: Path
    runs: Path
    loop: str

    def train(self, *options):
        found = qrnn(
            "train", self.job, "--runs", self.runs, "--backend", "ibm_boston", "--yes", *options
        )
        assert_no_secrets(found.output)
        return found

    @property
    def run(self):
        (path,) = [each for each in self.runs.iterdir() if each.is_dir()]
        return path

    @property
    def checkpoint_path(self):
        (path,) = self.run.glob("device_loop-*.pt")
        return path

    def checkpoint(self):
        loop_id = load_job(self.job).on_device("ibm_boston").loop_id
        return RunDirectory(self.run).load_checkpoint(self.checkpoint_path.name, loop_id)

    def at_post(self, act, number=None):
        """Calls `act(job)` when so many jobs have arrived; the one in the middle unless given."""
        engine, submit, seen = self.server.engine, self.server.engine.submit, []
        number = number or MIDDLE[self.loop]

        def submit_and_act(content):
            job = submit(content)
            seen.append(job)
            if len(seen) == number:
                act(job)
            return job

        engine.submit = submit_and_act

    def assert_as_undisturbed(self, expected, resent=0):
        """Same losses and weights, nothing run twice, nothing left open, no secrets in files."""
        found = self.checkpoint()
        assert found["losses"] == expected["losses"]
        for name, value in expected["model"].items():
            assert torch.equal(found["model"][name], value), name
        assert len(self.server.jobs) == NUM_JOBS[self.loop] + resent
        completed = [job for job in self.server.jobs if job.status == "Completed"]
        assert len(completed) == NUM_JOBS[self.loop]
        assert {job.executions for job in completed} == {1}
        assert len({job.tags[0] for job in self.server.jobs}) == len(self.server.jobs)
        self.assert_sessions_closed()
        with Ledger(self.run / LEDGER_NAME, create=False) as ledger:
            assert ledger.unfinished() == []
            assert len(ledger.records()) == NUM_JOBS[self.loop]
        for path in self.runs.rglob("*"):
            if path.is_file():
                assert_no_secrets(path.read_bytes().decode("latin-1"))

    def assert_sessions_closed(self):
        states = [session.accepting_jobs for session in self.server.engine.sessions.values()]
        assert not any(states)


def assert_no_secrets(text):
    for secret in SECRETS:
        assert len(secret) > 8
        assert secret not in text


def assert_one_line(code, errors, expected=2):
    """The only line that tells of an error, which is the last one; the command that goes on."""
    assert code == expected, errors
    assert "Traceback" not in errors
    assert_no_secrets(errors)
    lines = errors.rstrip().splitlines()
    begin = "error " if expected == 2 else "interrupted"
    assert [line for line in lines if line.startswith(("error", "interrupted"))] == lines[-1:]
    assert lines[-1].startswith(begin)
    return lines[-1]


def again(line):
    """The printed command, taken literally."""
    words = shlex.split(line.split("Go on with: ")[1])
    assert words[0] == "qrnn"
    return words[1:]


def go_on(line, *more):
    found = qrnn(*again(line), *more)
    assert found.exit_code == 0, found.output
    assert_no_secrets(found.output)


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def quick_training(quick_retries, monkeypatch):
    """Without figures, which take longer than the training."""
    monkeypatch.setattr("qrnn_qiskit.studies.train._save", lambda run, figure, name: Path(name))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Checkpoints of runs that nobody disturbed, by loop."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USAGE_DATA_OPT_OUT", "True")
        patch.setattr(Retry, "get_backoff_time", lambda self: 0.0)
        for loop, settings in SETTINGS.items():
            folder = tmp_path_factory.mktemp(loop)
            with serve_boston(patch, **PATIENCE) as server:
                setting = Setting(server, write_job(folder, settings), folder / "runs", loop)
                result = setting.train()
                assert result.exit_code == 0, result.output
                found[loop] = setting.checkpoint()
                setting.assert_as_undisturbed(found[loop])
    return found


@pytest.fixture
def setting(quick_training, monkeypatch, tmp_path, request):
    loop = getattr(request, "param", "feedforward")
    with serve_boston(monkeypatch, **PATIENCE) as server:
        yield Setting(server, write_job(tmp_path, SETTINGS[loop]), tmp_path / "my runs", loop)
