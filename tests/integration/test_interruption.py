"""Real signals to a real `qrnn train`: the last checkpoint survives, and --resume goes on from it.

The bits of the final weights are compared with those of a run that nobody disturbed.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from qrnn_qiskit.cli import app
from qrnn_qiskit.studies import RunDirectory, load_job
from tests.unit.studies.jobs import FEEDFORWARD, write_job

# Long enough to be hit in the middle, some seconds: a checkpoint is written after each epoch.
NUM_EPOCHS = 80
SETTINGS = {
    "aer": None, "device_loop": None, "control": False, "training__epochs": NUM_EPOCHS,
    "training__batch_size": 4, "training__learning_rate": 0.01, "task__num_timesteps": 3,
}  # fmt: skip
# Importing torch and Qiskit takes seconds on a busy machine.
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return write_job(tmp_path_factory.mktemp("job"), FEEDFORWARD, **SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(job):
    """Weights and rows of an uninterrupted run."""
    runs = job.parent / "undisturbed"
    result = CliRunner().invoke(app, ["train", str(job), "--runs", str(runs)])
    assert result.exit_code == 0, result.output
    return outcome(job, runs)


def outcome(job, runs):
    """Weights and rows of the one run in a folder."""
    (path,) = runs.iterdir()
    state = checkpoint(job, path)
    metrics = json.loads((path / "metrics.json").read_text())
    return state, metrics["rows"], metrics["history"]


def checkpoint(job, path):
    return RunDirectory(path).load_checkpoint("checkpoint.pt", load_job(job).training_id)


def assert_same_outcome(found, expected):
    assert found[1:] == expected[1:]
    assert found[0]["history"] == expected[0]["history"]
    weights, wanted = found[0]["model"], expected[0]["model"]
    assert weights.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(weights[name], value), name


def start(job, runs, *options):
    command = Path(sys.executable).with_name("qrnn")
    return subprocess.Popen(
        [command, "train", job, "--runs", runs, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A group of its own: signals meant for it must not reach the tests.
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_checkpoint(process, runs, newer_than=0):
    """Until the run has written a checkpoint that it had not at first."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = list(runs.glob("*/checkpoint.pt"))
        if found and found[0].stat().st_mtime_ns > newer_than:
            return found[0]
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    raise AssertionError("no checkpoint appeared")


def finish(process):
    with process:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, errors


def test_an_interrupted_run_tells_how_to_go_on_and_does(job, undisturbed, tmp_path):
    runs = tmp_path / "runs of mine"
    process = start(job, runs)
    path = wait_for_checkpoint(process, runs)
    process.send_signal(signal.SIGINT)
    code, errors = finish(process)
    assert code == 130, errors
    assert "Traceback" not in errors
    told = [line for line in errors.splitlines() if line.startswith("interrupted")]
    assert len(told) == 1
    assert errors.splitlines()[-1] == told[0]
    assert not list(path.parent.glob(".*"))
    assert not (path.parent / "metrics.json").exists()
    epochs_done = checkpoint(job, path.parent)["epoch"]
    assert 1 <= epochs_done < NUM_EPOCHS

    words = shlex.split(told[0].split("Go on with: ")[1])
    assert words[0] == "qrnn"
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, result.output
    assert_same_outcome(outcome(job, runs), undisturbed)


def test_a_run_killed_at_any_moment_goes_on_from_its_last_checkpoint(
    job, undisturbed, tmp_path, rng
):
    runs, newest, epochs_done = tmp_path / "runs", 0, 0
    for options in ([], ["--resume"]):
        process = start(job, runs, *options)
        path = wait_for_checkpoint(process, runs, newest)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        code, errors = finish(process)
        assert code == -signal.SIGKILL, errors
        newest = path.stat().st_mtime_ns
        # Whole, whenever the kill came; and further than where it was resumed.
        before, epochs_done = epochs_done, checkpoint(job, path.parent)["epoch"]
        assert before < epochs_done < NUM_EPOCHS

    result = CliRunner().invoke(app, ["train", str(job), "--runs", str(runs), "--resume"])
    assert result.exit_code == 0, result.output
    assert_same_outcome(outcome(job, runs), undisturbed)


def test_a_run_killed_before_its_first_checkpoint_begins_again(job, undisturbed, tmp_path):
    RunDirectory.create(load_job(job), tmp_path)
    result = CliRunner().invoke(app, ["train", str(job), "--runs", str(tmp_path), "--resume"])
    assert result.exit_code == 0, result.output
    assert_same_outcome(outcome(job, tmp_path), undisturbed)
