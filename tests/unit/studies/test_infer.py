"""Inference: predictions of a trained run, exactly and on Aer."""

import csv

import numpy as np
import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor
from qrnn_qiskit.learning import predict
from qrnn_qiskit.studies import RunDirectory, load_trained, run_inference, run_training
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of


def lines_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_exact_predictions_are_the_models(trained_feedforward, own_copy):
    root = own_copy(trained_feedforward)
    result = run_inference(spec_of(FEEDFORWARD), runs_root=root)
    assert result.run == root / trained_feedforward.run.name
    assert result.predictions == result.run / "predictions-exact.csv"
    assert result.rows == trained_feedforward.rows[:1]
    assert result.warnings == ()
    _, task, model = load_trained(RunDirectory(result.run))
    chosen = predict(model, task.test.inputs).argmax(axis=-1)
    lines = lines_of(result.predictions)
    assert list(lines[0]) == ["sample", "timestep", "target", "prediction"]
    assert len(lines) == 12 * 4
    names = ("even", "odd")
    for line in lines:
        place = int(line["sample"]), int(line["timestep"]) - 1
        assert line["target"] == names[task.test.targets[place]]
        assert line["prediction"] == names[chosen[place]]


def test_predictions_on_aer_use_the_records_of_training(trained_feedforward, own_copy, monkeypatch):
    root, shots = own_copy(trained_feedforward), []
    run = AerExecutor.run
    monkeypatch.setattr(
        AerExecutor, "run", lambda self, r: (shots.append(r.num_shots), run(self, r))[1]
    )
    result = run_inference(spec_of(FEEDFORWARD), engine="aer", runs_root=root)
    assert result.rows == tuple(r for r in trained_feedforward.rows[2:6])
    assert shots == []
    assert any("steering errors remain" in line for line in result.warnings)
    lines = lines_of(result.predictions)
    assert len(lines) == 6 * 4
    # The last row of the table is what is written: its metric follows from the file.
    _, task, _ = load_trained(RunDirectory(result.run))
    right = [
        line["target"] == line["prediction"]
        for line in lines
        if task.test.weights[int(line["sample"]), int(line["timestep"]) - 1]
    ]
    assert np.mean(right) == pytest.approx(result.rows[-1].metric)

    run_inference(
        spec_of(FEEDFORWARD, aer=None, device_loop=None, aer__num_samples=2, aer__num_shots=9),
        engine="aer", runs_root=root,
    )  # fmt: skip
    assert shots.count(9) == 2


def test_host_predictions_on_aer(trained_host, own_copy):
    result = run_inference(spec_of(HOST), engine="aer", runs_root=own_copy(trained_host))
    assert result.rows == trained_host.rows[2:5]
    assert len(lines_of(result.predictions)) == 2 * 3


@pytest.mark.parametrize(
    ("task", "columns", "num_lines"),
    [
        ({"name": "digits", "classes": [8, 3], "max_train": 16}, ["sample", "target", "prediction"],
         71),
        ({"name": "narma", "num_timesteps": 5, "num_washout": 2, "num_train": 8,
          "num_validation": 4, "num_test": 6}, ["sample", "timestep", "target", "prediction"], 30),
    ],
)  # fmt: skip
def test_predictions_of_other_kinds(tmp_path, task, columns, num_lines):
    settings = changed(
        FEEDFORWARD, task=task, aer=None, device_loop=None, control=False, training__epochs=1
    )
    spec = spec_of(settings)
    run_training(spec, runs_root=tmp_path)
    result = run_inference(spec, runs_root=tmp_path)
    lines = lines_of(result.predictions)
    assert list(lines[0]) == columns
    assert len(lines) == num_lines
    _, loaded, model = load_trained(RunDirectory(result.run))
    outputs = predict(model, loaded.test.inputs)
    if task["name"] == "narma":
        found = np.array([float(line["prediction"]) for line in lines]).reshape(6, 5)
        np.testing.assert_array_equal(found, outputs[..., 0])
        targets = np.array([float(line["target"]) for line in lines]).reshape(6, 5)
        np.testing.assert_array_equal(targets, loaded.test.targets)
    else:
        assert [line["prediction"] for line in lines] == ["83"[k] for k in outputs.argmax(axis=-1)]
        assert [line["target"] for line in lines] == ["83"[k] for k in loaded.test.targets]


def test_runs_of_other_jobs_are_refused(trained_feedforward, trained_host, tmp_path):
    with pytest.raises(InputError, match=r"--run: must be a run of this job's task and model, got"):
        run_inference(spec_of(FEEDFORWARD), run_path=trained_host.run)
    with pytest.raises(
        InputError, match=r"--run: a run of these settings .*; train it first, with"
    ):
        run_inference(spec_of(FEEDFORWARD), runs_root=tmp_path)
    # Another comparison on Aer does not make it another run.
    other = spec_of(FEEDFORWARD, aer__num_shots=7)
    result = run_inference(other, run_path=trained_feedforward.run)
    result.predictions.unlink()
    assert result.rows == trained_feedforward.rows[:1]
