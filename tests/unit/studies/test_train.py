"""The training study end to end: its rows, its files, and what a resumed run does again."""

import csv
import json
from contextlib import contextmanager

import pytest
import torch
from qiskit_aer import AerSimulator

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor
from qrnn_qiskit.learning import Trainer, evaluate_model
from qrnn_qiskit.studies import RunDirectory, SilentProgress, load_trained, run_training, train
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of

SPEC = spec_of(FEEDFORWARD)
PNG = b"\x89PNG\r\n\x1a\n"


def record_shots(monkeypatch):
    """Shots of every request that reaches Aer."""
    shots = []
    run = AerExecutor.run

    def recording(self, request):
        shots.append(request.num_shots)
        return run(self, request)

    monkeypatch.setattr(AerExecutor, "run", recording)
    return shots


def weights_in(run, name="checkpoint.pt", identity=SPEC.training_id):
    return RunDirectory(run).load_checkpoint(name, identity)["model"]


def assert_same_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


# --- what a run reports --------------------------------------------------------------------------


def test_rows_of_a_feedforward_job(trained_feedforward):
    rows = trained_feedforward.rows
    found = [(row.label, row.kind, row.num_samples, row.num_shots, row.mitigation) for row in rows]
    assert found == [
        ("exact", "exact", 12, None, "none"),
        ("exact, same samples", "exact", 6, None, "none"),
        ("Aer ideal", "sampled", 6, 50, "none"),
        ("Aer fake_boston", "sampled", 6, 50, "none"),
        ("Aer fake_boston + local", "sampled", 6, 50, "local"),
        ("Aer fake_boston + m3", "sampled", 6, 50, "m3"),
        ("Aer fake_boston, 2 steps in the loop + local", "sampled", 6, 50, "local"),
        ("feedback cut", "control", 12, None, "none"),
        ("majority class", "baseline", 12, None, "none"),
    ]  # fmt: skip
    assert trained_feedforward.metric_name == "accuracy"
    assert all(0 <= row.metric <= 1 and row.metric_error >= 0 for row in rows)
    assert all(row.loss > 0 for row in rows)
    assert any("steering errors remain" in line for line in trained_feedforward.warnings)
    assert len(trained_feedforward.history) == 2
    loop = trained_feedforward.device_loop
    assert (loop.gradient, len(loop.losses), len(loop.damping)) == ("surrogate", 2, 4 + 1)
    assert 0 < loop.residual_rms < 1


def test_rows_are_numbers_of_the_trained_model(trained_feedforward):
    spec, task, model = load_trained(RunDirectory(trained_feedforward.run))
    assert spec == SPEC
    assert not model.training
    rows = {row.label: row for row in trained_feedforward.rows}
    for label, split in (("exact", task.test), ("exact, same samples", task.test.head(6))):
        expected = evaluate_model(model, task, split)
        assert (rows[label].metric, rows[label].loss) == (expected.metric, expected.loss)
    validation = evaluate_model(model, task, task.validation)
    assert validation.loss == min(done.validation_loss for done in trained_feedforward.history)
    control = spec.model.cut().build_model(task, 0)
    control.load_state_dict(weights_in(trained_feedforward.run, "control.pt"))
    assert rows["feedback cut"].loss == evaluate_model(control, task, task.test).loss
    assert rows["feedback cut"].loss != rows["exact"].loss


def test_the_device_loop_moved_a_copy_of_the_weights(trained_feedforward):
    base = weights_in(trained_feedforward.run)
    name = f"device_loop-{SPEC.loop_id}.pt"
    tuned = weights_in(trained_feedforward.run, name, SPEC.loop_id)
    for key, value in base.items():
        assert not torch.equal(tuned[key], value), key
        # Two steps of Adam: at most about twice the learning rate each.
        assert (tuned[key] - value).abs().max() < 4 * SPEC.device_loop.learning_rate


def test_files_of_a_run(trained_feedforward):
    run = trained_feedforward.run
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics.pop("format_version") == 1
    assert metrics.pop("run") == str(run)
    expected = trained_feedforward.to_json()
    rows = expected.pop("rows")
    for found, row in zip(metrics.pop("rows"), rows, strict=True):
        assert found == {key: None if value != value else value for key, value in row.items()}
    for key, value in metrics.items():
        assert value == json.loads(json.dumps(expected[key])), key
    assert metrics.keys() | {"run"} == expected.keys()
    names = [path.stem for path in trained_feedforward.figures]
    assert names == ["training", "readouts", "comparison"]
    for path in trained_feedforward.figures:
        assert path.parent == run / "figures"
        assert path.read_bytes().startswith(PNG)
    for name in ("checkpoint.csv", "control.csv"):
        with (run / name).open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert [line["epoch"] for line in lines] == ["1", "2"]
    history = trained_feedforward.history
    with (run / "checkpoint.csv").open(newline="") as file:
        losses = [float(line["validation_loss"]) for line in csv.DictReader(file)]
    assert losses == [done.validation_loss for done in history]
    assert not list(run.rglob(".*"))


def test_a_second_run_is_the_same_and_leaves_the_first(trained_feedforward, own_copy):
    root = own_copy(trained_feedforward)
    first = root / trained_feedforward.run.name
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    spec = spec_of(FEEDFORWARD, aer=None, device_loop=None)
    second = run_training(spec, runs_root=root)
    assert second.run.name == f"{first.name}-2"
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
    assert_same_weights(weights_in(second.run), weights_in(first))
    by_label = {row.label: row for row in trained_feedforward.rows}
    assert [row.label for row in second.rows] == ["exact", "feedback cut", "majority class"]
    for row in second.rows[:2]:
        assert row == by_label[row.label]
    assert second.device_loop is None
    assert second.warnings == ()


# --- other jobs ----------------------------------------------------------------------------------


def test_a_host_job(trained_host):
    labels = [row.label for row in trained_host.rows]
    assert labels == [
        "exact", "exact, same samples", "Aer ideal", "Aer fake_boston", "Aer fake_boston + local",
        "Aer fake_boston, 1 steps in the loop + local", "majority class",
    ]  # fmt: skip
    assert any("host loop" in line for line in trained_host.warnings)
    assert len(trained_host.device_loop.losses) == 1
    # Of the last prefix: one factor for each of T timesteps (none are read there) and three bases.
    assert len(trained_host.device_loop.damping) == 3 + 3
    records = sorted(path.stem for path in (trained_host.run / "records").iterdir())
    assert len(records) == 3 + 2
    for path in trained_host.figures:
        assert path.read_bytes().startswith(PNG)


def test_a_sequence_regression_job(tmp_path):
    settings = changed(
        HOST, model={"num_memory": 2, "readouts": [{"anchor": 1, "pauli": "X"}], "loop": "open"},
        task={"name": "narma", "num_timesteps": 5, "num_washout": 2, "num_train": 8,
              "num_validation": 4, "num_test": 6},
    )  # fmt: skip
    result = run_training(spec_of(settings), runs_root=tmp_path)
    assert result.metric_name == "nrmse"
    labels = [row.label for row in result.rows]
    assert labels[:3] == ["exact", "exact, same samples", "Aer ideal"]
    assert labels[-2:] == ["constant", "memoryless linear regression"]
    assert "feedback cut" not in labels
    assert not any("steering" in line for line in result.warnings)


def test_a_classification_job(tmp_path):
    settings = changed(
        FEEDFORWARD, task={"name": "digits", "classes": [0, 1], "max_train": 16},
        training__epochs=1, aer__mitigations=[], aer__num_samples=3,
        device_loop__gradient="spsa", device_loop__num_directions=1, device_loop__steps=1,
        device_loop__mitigation="none", control=False,
    )  # fmt: skip
    result = run_training(spec_of(settings), runs_root=tmp_path)
    labels = [row.label for row in result.rows]
    assert labels == [
        "exact", "exact, same samples", "Aer ideal", "Aer fake_boston",
        "Aer fake_boston, 1 steps in the loop", "majority class",
    ]  # fmt: skip
    assert result.device_loop.damping == ()
    # Of an estimator without a fit there is no residual: null in the file.
    content = json.loads((result.run / "metrics.json").read_text())
    assert content["device_loop"]["residual_rms"] is None


# --- resuming ------------------------------------------------------------------------------------


def test_resuming_a_finished_run_repeats_no_shots(trained_feedforward, own_copy, monkeypatch):
    shots = record_shots(monkeypatch)
    monkeypatch.setattr(Trainer, "_take_step", None)
    again = run_training(SPEC, runs_root=own_copy(trained_feedforward), resume=True)
    assert again.rows == trained_feedforward.rows or str(again.rows) == str(
        trained_feedforward.rows
    )
    assert again.history == trained_feedforward.history
    assert again.device_loop == trained_feedforward.device_loop
    assert shots == []


def test_a_damaged_record_is_run_again_alone(trained_feedforward, own_copy, monkeypatch):
    root = own_copy(trained_feedforward)
    path = root / trained_feedforward.run.name / "records" / "Aer_ideal.npz"
    path.write_bytes(path.read_bytes()[:-40])
    shots = record_shots(monkeypatch)
    again = run_training(SPEC, runs_root=root, resume=True)
    assert shots == [50]
    assert str(again.rows) == str(trained_feedforward.rows)


def test_other_shots_run_again_and_other_mitigations_do_not(
    trained_feedforward, own_copy, monkeypatch
):
    root = own_copy(trained_feedforward)
    shots = record_shots(monkeypatch)
    other = spec_of(FEEDFORWARD, aer__mitigations=["m3"], device_loop=None)
    again = run_training(other, runs_root=root, resume=True)
    assert 50 not in shots
    m3 = next(row for row in trained_feedforward.rows if row.label.endswith("m3"))
    assert m3 in again.rows
    shots.clear()
    more = spec_of(FEEDFORWARD, aer__num_shots=60, device_loop=None)
    again = run_training(more, runs_root=root, resume=True)
    assert shots.count(60) == 2
    assert {row.num_shots for row in again.rows} == {None, 60}
    assert RunDirectory.find(more, root).load_spec() == more


class _Interrupting(SilentProgress):
    """Ctrl-C at the n-th sign of progress of a stage."""

    def __init__(self, title, number):
        self._title, self._left = title, number

    @contextmanager
    def stage(self, title, num_units, done=0):
        self._here = self._title in title
        yield self

    def advance(self, note="", units=1):
        if self._here:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("title", "number"),
    [("train feedforward", 1), ("train feedforward", 3), ("Aer fake_boston", 1),
     ("train on Aer", 2), ("feedback cut", 4)],
)  # fmt: skip
def test_an_interrupted_study_reaches_the_same_rows(
    trained_feedforward, tmp_path, monkeypatch, title, number
):
    monkeypatch.setattr(train, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run_training(SPEC, runs_root=tmp_path, progress=_Interrupting(title, number))
    (path,) = tmp_path.iterdir()
    assert not (path / "metrics.json").exists()
    torch.rand(5)
    again = run_training(SPEC, runs_root=tmp_path, resume=True)
    assert again.run == path
    assert str(again.rows) == str(trained_feedforward.rows)
    assert again.history == trained_feedforward.history
    assert again.device_loop == trained_feedforward.device_loop
    assert_same_weights(weights_in(path), weights_in(trained_feedforward.run))


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interruption_between_last_step_and_validation_loses_nothing(
    trained_feedforward, tmp_path, monkeypatch, epoch
):
    spec = spec_of(FEEDFORWARD, aer=None, device_loop=None, control=False)
    monkeypatch.setattr(train, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    finish = Trainer._finish_epoch

    def interrupted(trainer):
        if trainer.step == 2 * epoch:
            raise KeyboardInterrupt
        return finish(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_training(spec, runs_root=tmp_path)
    if epoch == 2:
        (path,) = tmp_path.iterdir()
        with pytest.raises(InputError, match=r"--run: must have finished training, got .* at step"):
            load_trained(RunDirectory(path))
    again = run_training(spec, runs_root=tmp_path, resume=True)
    assert again.history == trained_feedforward.history
    assert again.rows[0] == trained_feedforward.rows[0]
    assert_same_weights(weights_in(again.run), weights_in(trained_feedforward.run))


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aer__backend": "fake_bostn"}, "backend: must be a fake backend .*'fake_bostn'; for ex"),
        ({"aer__backend": "fake_bogota", "model__num_memory": 6}, "backend: must"),
        ({"model__view": "all"}, "model.view: must be 'each'"),
        pytest.param(
            {"aer__device": "GPU"},
            "device: must be one that Aer reports",
            marks=pytest.mark.skipif(
                "GPU" in AerSimulator().available_devices(), reason="Aer reports a GPU"
            ),
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_made(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run_training(spec_of(FEEDFORWARD, **changes), runs_root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_nothing_to_resume_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--resume: a run of these settings must exist"):
        run_training(SPEC, runs_root=tmp_path / "runs", resume=True)
    assert not (tmp_path / "runs").exists()


def test_a_run_that_has_not_finished_is_not_loaded(tmp_path, monkeypatch):
    """With patience, too: loading must never train."""
    spec = spec_of(
        FEEDFORWARD, aer=None, device_loop=None, control=False, training__patience=5,
        training__epochs=3,
    )  # fmt: skip
    monkeypatch.setattr(train, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run_training(spec, runs_root=tmp_path, progress=_Interrupting("train feedforward", 4))
    (path,) = tmp_path.iterdir()
    with pytest.raises(
        InputError, match=r"must have finished training, got .* at step 3 of 6; con"
    ):
        load_trained(RunDirectory(path))
    (path / "checkpoint.pt").unlink()
    with pytest.raises(InputError, match=r"must be a run with a checkpoint, got .* without one"):
        load_trained(RunDirectory(path))
    with pytest.raises(InputError, match=r"must be a run of this job's task and model"):
        load_trained(RunDirectory(path), spec_of(HOST))


def test_threads_of_torch_are_put_back(tmp_path):
    before = torch.get_num_threads()
    with train.torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
