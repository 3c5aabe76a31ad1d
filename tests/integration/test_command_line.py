"""The command line: what it prints where, and what it refuses in one line."""

import csv
import re
import shlex
import shutil
import signal
from contextlib import suppress

import pytest
from qiskit import qasm3

from qrnn_qiskit import studies
from tests.command_line import qrnn, strict_json
from tests.unit.studies.jobs import FEEDFORWARD, write_job

TINY = {
    "aer__mitigations": ["local"], "aer__num_samples": 3, "aer__num_shots": 20,
    "task__num_timesteps": 3, "device_loop__steps": 1,
}  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"


def files_under(root):
    return {
        path.relative_to(root): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in root.rglob("*")
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A job file, its folder of runs, and what training it printed. Read only."""
    folder = tmp_path_factory.mktemp("command_line")
    job = write_job(folder, FEEDFORWARD, **TINY)
    result = qrnn("train", job, "--runs", folder / "runs", "--json")
    assert result.exit_code == 0, result.output
    return job, folder / "runs", result


@pytest.fixture
def own_runs(trained, tmp_path):
    job, runs, _ = trained
    shutil.copytree(runs, tmp_path / "runs")
    return job, tmp_path / "runs"


# --- what works ----------------------------------------------------------------------------------


def test_train_prints_pure_json(trained):
    _, runs, result = trained
    numbers = strict_json(result.stdout)
    (run,) = runs.iterdir()
    assert numbers["run"] == str(run)
    saved = strict_json((run / "metrics.json").read_text())
    assert saved == {"format_version": 1, **numbers}
    by_label = {row["label"]: row for row in numbers["rows"]}
    assert by_label["Aer fake_boston + local"]["num_shots"] == 20
    assert by_label["majority class"]["loss_error"] is None
    assert f"run directory {run}" in result.stderr
    assert "validation accuracy" in result.stderr


def test_train_prints_one_table(own_runs):
    job, runs = own_runs
    result = qrnn("train", job, "--runs", runs, "--resume")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("┏") == 1
    assert len(list(runs.iterdir())) == 1
    for part in ("tiny: brick, feedforward loop", "Aer ideal", "feedback cut", "majority class",
                 "one standard error over test samples", "batch losses", "fitted damping",
                 "steering errors remain", "metrics.json", "comparison.png"):  # fmt: skip
        assert part in result.stdout
    assert "nan" not in result.stdout
    for figure in re.findall(r"^figure +(.*)$", result.stdout, re.MULTILINE):
        with open(figure, "rb") as file:  # noqa: PTH123
            assert file.read(8) == PNG


@pytest.mark.parametrize(("engine", "num_lines"), [("exact", 12 * 3), ("aer", 3 * 3)])
def test_infer_writes_predictions(own_runs, engine, num_lines):
    job, runs = own_runs
    result = qrnn("infer", job, "--runs", runs, "--engine", engine)
    assert result.exit_code == 0, result.output
    path = re.search(r"^predictions +(.*)$", result.stdout, re.MULTILINE)[1]
    assert path.endswith(f"predictions-{engine}.csv")
    with open(path, newline="") as file:  # noqa: PTH123
        assert len(list(csv.DictReader(file))) == num_lines
    (run,) = runs.iterdir()
    named = qrnn("infer", job, "--run", run, "--engine", engine, "--json")
    numbers = strict_json(named.stdout)
    assert (numbers["run"], numbers["predictions"]) == (str(run), path)
    trained_rows = strict_json((run / "metrics.json").read_text())["rows"]
    assert [row for row in trained_rows if row in numbers["rows"]] == numbers["rows"]


def test_circuit_draws_the_template(trained, tmp_path):
    job, _, _ = trained
    result = qrnn("circuit", job, "--runs", tmp_path / "none", "--timesteps", 2)
    assert result.exit_code == 0, result.output
    assert "if" in result.stdout.lower()
    assert re.search(r"^3 qubits, 4 bits, \d+ slots, program [0-9a-f]{16}$", result.stdout, re.M)
    assert result.stderr == ""


@pytest.mark.parametrize("sample", [None, 1])
def test_circuit_prints_openqasm(trained, sample):
    job, runs, _ = trained
    bound = [] if sample is None else ["--sample", sample]
    result = qrnn("circuit", job, "--runs", runs, "--qasm3", *bound)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("OPENQASM 3.0;")
    assert ("input float" in result.stdout) == (sample is None)
    view = studies.build_circuit_view(studies.load_job(job), sample=sample, runs_root=runs)
    assert result.stdout == view.qasm3 + "\n"
    pytest.importorskip("qiskit_qasm3_import")
    assert qasm3.loads(result.stdout).num_clbits == view.program.num_bits


def test_circuit_numbers_and_picture(trained, tmp_path):
    job, runs, _ = trained
    png = tmp_path / "[red] a.png"
    result = qrnn("circuit", job, "--runs", runs, "--sample", 0, "--json", "--qasm3", "--png", png)
    assert result.exit_code == 0, result.output
    numbers = strict_json(result.stdout)
    program = studies.load_job(job).model.build_program(3)
    assert numbers.pop("qasm3").startswith("OPENQASM 3.0;")
    assert numbers == {
        "program_id": program.program_id, "num_timesteps": 3, "num_qubits": 3, "num_bits": 5,
        "num_steering_bits": 2, "num_slots": program.slots.num_slots,
        "num_controls": program.num_controls, "sample": 0, "png": str(png),
    }  # fmt: skip
    assert png.read_bytes().startswith(PNG)
    result = qrnn("circuit", job, "--png", png)
    assert result.stdout == f"figure  {png}\n"


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (
            "train",
            ["--set", "model.num_memroy=3"],
            "must be a known key, got 3; did you mean num_me",
        ),
        ("train", ["--set", "aer.num_shots=-1"], "aer.num_shots: must be greater than or equal to"),
        ("train", ["--set", "training.epochs"], "--set: must be key=value, got 'training.epochs'"),
        ("train", ["--set", "aer.backend=fake_bostn"], "'fake_bostn'; for example fake_boston"),
        ("train", ["--set", "model.view=last"], "model.view: must be 'each'"),
        ("train", ["--set", "model.history=33"], "must be at most 32 steering bits"),
        (
            "train",
            ["--set", "task.num_train='[bold]'"],
            "task.num_train: must be a valid integer, ",
        ),
        ("train", ["--resume", "--set", "training.epochs=9"], "--resume: a run of these settings"),
        ("infer", ["--set", "training.epochs=9"], "--run: a run of these settings must exist"),
        ("infer", ["--run", "nowhere"], "--run: must be the folder of a run, got nowhere"),
        (
            "infer",
            ["--engine=aer", "--set", "aer.backend=fake_x"],
            "backend: must be a fake backend",
        ),
        (
            "circuit",
            ["--sample", "0", "--set", "training.epochs=9"],
            "--run: a run of these settin",
        ),
        ("circuit", ["--sample", "99"], "--sample: must be a test sample, 0 to 11, got 99"),
        ("circuit", ["--timesteps", "0"], "--timesteps: must lie in 1 to 3, got 0"),
        (
            "circuit",
            ["--png", "no/such/folder/a.png"],
            "--png: must be a writable path, got no/such",
        ),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_wrong_input_is_one_line_and_changes_nothing(trained, command, options, message, as_json):
    job, runs, _ = trained
    before = files_under(runs)
    more = ["--json"] if as_json else []
    result = qrnn(command, job, "--runs", runs, *options, *more)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error ")
    assert message in line
    assert files_under(runs) == before


def test_a_missing_job_lists_the_others(trained, tmp_path):
    job, _, _ = trained
    result = qrnn("train", job.with_name("tinny.toml"), "--runs", tmp_path / "runs")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line == f"error {job.with_name('tinny.toml')}: file must exist, got no such file; " + (
        f"there are {job}"
    )
    assert not (tmp_path / "runs").exists()


def test_runs_that_cannot_be_written_are_refused(trained, tmp_path):
    job, _, _ = trained
    (tmp_path / "file").write_text("mine")
    result = qrnn("train", job, "--runs", tmp_path / "file")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "--runs: must be a writable folder" in line
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("command", "study", "more"),
    [("train", "run_training", "--resume"), ("infer", "run_inference", "--engine=aer"),
     ("circuit", "build_circuit_view", None)],
)  # fmt: skip
def test_an_interruption_says_how_to_go_on(trained, monkeypatch, command, study, more):
    job, runs, _ = trained

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, study, interrupted)
    # A blank in it: the line must be quoted as a shell reads it.
    options = [*([more] if more else []), "--set", "training.epochs = 2", "--runs", str(runs)]
    result = qrnn(command, job, *options)
    assert result.exit_code == 130
    (line,) = result.stderr.splitlines()
    start = "interrupted; what is done is kept. Go on with: "
    assert line.startswith(start)
    assert shlex.split(line.removeprefix(start)) == ["qrnn", command, str(job), *options]


def test_an_interruption_that_python_drops_is_raised_again(trained, monkeypatch):
    def study(spec, *, progress, **options):
        with progress.stage("some work", 2) as stage:
            # What Python does if the signal arrives in a callback of the garbage collector.
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            stage.advance()
        raise AssertionError("went on")

    monkeypatch.setattr(studies, "run_training", study)
    before = signal.getsignal(signal.SIGINT)
    result = qrnn("train", trained[0])
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("interrupted; ")
    assert signal.getsignal(signal.SIGINT) is before


def test_help_names_every_command():
    result = qrnn("--help")
    assert result.exit_code == 0
    for command in ("train", "infer", "circuit"):
        assert command in result.stdout
