"""`qrnn noise` from the job file to the figures: what it finds, keeps, resumes and refuses."""

import csv
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from qrnn_qiskit.studies import default_store, run_noise
from qrnn_qiskit.studies.noise import _Plan
from qrnn_qiskit.studies.noise_case import run_simulation
from qrnn_qiskit.studies.progress import SilentProgress
from qrnn_qiskit.sweeps import load_cases
from tests.command_line import qrnn, strict_json
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of, write_job

SMALL = changed(
    FEEDFORWARD,
    name="small",
    aer={"num_shots": 100},
    device_loop=None,
    noise_study={"num_samples": 5, "calibration_shots": 50},
)
GRID = {"scale": [0.0, 16.0], "ablation": ["all", "no_idle"], "mitigation": ["none", "local"]}


def small(**changes):
    return spec_of(SMALL, **changes)


@pytest.fixture(scope="module")
def study_of(tmp_path_factory):
    """The small study, run once; read only."""
    runs = tmp_path_factory.mktemp("runs")
    spec = small(noise_study__grid=GRID)
    return spec, runs, run_noise(spec, runs_root=runs, num_workers=2)


def test_every_point_of_the_grid_has_a_row(study_of):
    _, _, study = study_of
    assert study.failures == ()
    assert [(row.scale, row.ablation, row.mitigation) for row in study.rows] == [
        (scale, ablation, mitigation)
        for scale in GRID["scale"]
        for ablation in GRID["ablation"]
        for mitigation in GRID["mitigation"]
    ]
    # Scale 0 is ideal whatever is left out: two of the eight are the same cases.
    assert study.num_new == len({row.key for row in study.rows}) == 6
    assert {row.num_shots for row in study.rows} == {100}
    for row in study.rows:
        assert len(row.retained) == len(row.predicted) == row.num_timesteps == 4
        assert len(row.bias) == 4 + 2
        assert row.exact_metric == study.rows[0].exact_metric


def test_no_noise_is_no_deviation_and_noise_is_one(study_of):
    """100 shots of 5 samples and 6 readouts; means of bias within 5 of their standard errors."""
    _, _, study = study_of
    ideal, noisy = study.rows[0], study.rows[4]
    assert ideal.loss_budget["idle"] == 0
    assert ideal.expected_success == 1.0
    assert noisy.expected_success < 0.9
    for row, agrees in ((ideal, True), (noisy, False)):
        largest = np.max(np.abs(row.bias) / np.array(row.bias_error))
        assert (largest < 5) == agrees
    without_idling = study.rows[6]
    assert without_idling.ablation == "no_idle"
    assert without_idling.loss_budget["idle"] == 0
    assert without_idling.expected_success > noisy.expected_success


def test_a_worker_finds_what_this_process_finds(study_of):
    spec, runs, study = study_of
    plan = _Plan.build(spec, runs, SilentProgress())
    stored = load_cases(study.store)
    unit = plan.units[-1]
    for case, result in zip(unit, run_simulation(plan.prepare(unit)), strict=True):
        assert json.loads(json.dumps(result)) == stored[case.key].result
    # However it is grouped: one of the two cases alone is the same.
    (alone,) = run_simulation(plan.prepare(unit[1:]))
    assert json.loads(json.dumps(alone)) == stored[unit[1].key].result


def test_what_is_known_is_not_run_again_and_a_larger_grid_runs_what_is_new(study_of):
    spec, runs, study = study_of
    again = run_noise(spec, runs_root=runs)
    assert again.num_new == 0
    assert again.rows == study.rows
    larger = small(noise_study__grid={**GRID, "scale": [0.0, 1.0, 16.0], "ablation": ["all"]})
    found = run_noise(larger, runs_root=runs, num_workers=1)
    assert found.num_new == 2
    assert [row.scale for row in found.rows] == [0.0, 0.0, 1.0, 1.0, 16.0, 16.0]
    assert list(study.rows[:2]) == list(found.rows[:2])


def test_each_setting_that_decides_a_result_is_in_its_key(study_of):
    _, runs, study = study_of
    known = {row.key for row in study.rows}
    changes = [
        {"noise_study__num_samples": 6},
        {"noise_study__calibration_shots": 60},
        {"aer__num_shots": 101},
        {"aer__backend": "fake_torino"},
        {"aer__profile": "heron_fractional"},
        {"noise_study__max_shots": 200, "noise_study__max_standard_error": 0.1},
        {"training__learning_rate": 0.04},
    ]
    grid = {"mitigation": ["none"], "scale": [16.0]}
    seen = set(known)
    assert _Plan.build(small(noise_study__grid=grid), runs, SilentProgress()).by_key.keys() <= known
    for change in changes:
        plan = _Plan.build(small(noise_study__grid=grid, **change), runs, SilentProgress())
        assert not plan.by_key.keys() & seen, change
        seen |= plan.by_key.keys()


def test_shots_are_added_until_the_error_is_small_enough(tmp_path):
    grid = {"mitigation": ["none", "local"]}
    stop = {"noise_study__max_standard_error": 0.07, "noise_study__max_shots": 2000}
    study = run_noise(small(noise_study__grid=grid, **stop), runs_root=tmp_path, num_workers=1)
    raw = study.rows[0]
    assert raw.num_shots % 100 == 0
    assert 200 <= raw.num_shots < 2000
    assert raw.standard_error <= 0.07 < raw.standard_error * np.sqrt(raw.num_shots / 100)
    assert study.rows[1].num_shots == raw.num_shots
    stop = {"noise_study__max_standard_error": 0.001, "noise_study__max_shots": 190}
    study = run_noise(small(noise_study__grid=grid, **stop), runs_root=tmp_path, num_workers=1)
    assert {row.num_shots for row in study.rows} == {190}


def test_the_host_loop_compares_with_the_exact_engine_at_the_same_angles(tmp_path):
    """200 shots of 4 samples; without noise every readout's mean bias is within 5 errors."""
    spec = spec_of(
        HOST, device_loop=None, aer={"num_shots": 200},
        noise_study={"num_samples": 4, "calibration_shots": 100,
                     "grid": {"scale": [0.0, 8.0], "mitigation": ["none", "local"]}},
    )  # fmt: skip
    study = run_noise(spec, runs_root=tmp_path, num_workers=2)
    assert study.failures == ()
    assert study.num_new == 4
    for row in study.rows:
        assert len(row.bias) == 3 * 6  # three timesteps of X, Y and Z on two qubits
        assert row.retained_final is None
    worst = [np.max(np.abs(row.bias) / np.array(row.bias_error)) for row in study.rows]
    assert worst[0] < 5 < worst[2]
    assert study.rows[2].deviation > 5 * study.rows[2].deviation_error


@pytest.mark.parametrize("settings", [SMALL, HOST])
def test_the_exact_engine_finds_what_aer_finds(tmp_path, settings):
    """Aer with 2,000 shots (host: 400) of every sample; bias of each readout within 5 errors.

    At twice the scale it is rejected.
    """
    num_shots = 400 if settings is HOST else 2000
    common = {"device_loop": None, "aer": {"num_shots": num_shots}}
    study = {"num_samples": 4, "grid": {"scale": [8.0]}}
    sampled = run_noise(spec_of(settings, **common, noise_study=study), runs_root=tmp_path)
    study = {"num_samples": 4, "engine": "exact", "grid": {"scale": [8.0, 16.0]}}
    exact = run_noise(spec_of(settings, **common, noise_study=study), runs_root=tmp_path)
    (row,) = sampled.rows
    for found, agrees in zip(exact.rows, (True, False), strict=True):
        assert found.num_shots == found.shots == 0
        assert found.standard_error == 0
        difference = np.abs(np.array(found.bias) - row.bias)
        assert ((difference < 5 * np.array(row.bias_error)).all()) == agrees
    # How long the memory lasts needs no shots either way.
    assert exact.rows[0].memory_z == row.memory_z


def test_the_command_prints_a_table_figures_json_and_csv(study_of, tmp_path):
    _, runs, study = study_of
    job = write_job(tmp_path, SMALL, noise_study__grid=GRID)
    found = qrnn("noise", job, "--runs", runs, "--csv", tmp_path / "n.csv", "--figures", tmp_path)
    assert found.exit_code == 0, found.output
    assert "no_idle" in found.stdout
    assert "6 cases, 6 of them known before" in found.stdout
    assert {"scale.png", "ablation.png"} <= {path.name for path in tmp_path.glob("*.png")}
    with (tmp_path / "n.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["metric"]) for line in lines] == [row.metric for row in study.rows]
    found = qrnn("noise", job, "--runs", runs, "--json", "--figures", tmp_path)
    content = strict_json(found.stdout)
    assert [row["key"] for row in content["rows"]] == [row.key for row in study.rows]
    assert content["num_new"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "noise_study.grid.scal=[1]"], "noise_study.grid.0.scal: must be a known key"),
        (["--set", "aer.backend=fake_bostn"], "must be a fake backend .* 'fake_bostn'"),
        (["--csv", "no/such/folder/n.csv"], "--csv: must be a writable path"),
        (["--store", "/proc/cases.sqlite"], "must be"),
        (
            ["--set", "noise_study.grid.num_memory=[200]"],
            "noise_study.grid: backend: must have at least 201",
        ),
    ],
)
def test_wrong_input_is_one_line(tmp_path, arguments, message):
    job = write_job(tmp_path, SMALL, noise_study__weights="untrained")
    found = qrnn("noise", job, "--runs", tmp_path / "runs", *arguments)
    assert found.exit_code == 2
    lines = [line for line in found.stderr.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert re.search(message, lines[0])


def test_a_killed_study_resumes_to_the_same_store(study_of, tmp_path):
    """SIGKILL in the middle; `tests/integration/test_sweeps_interruption.py` does it ten times."""
    _, _, study = study_of
    job = write_job(tmp_path, SMALL, noise_study__grid=GRID)
    runs = tmp_path / "runs"
    store = default_store(spec_of(SMALL), runs)
    command = [Path(sys.executable).with_name("qrnn"), "noise", job, "--runs", runs]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    while process.poll() is None and count_finished(store) < 1:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 1 <= count_finished(store) < study.num_new
    subprocess.run(command, check=True, **quiet)
    ours = {key: case.result for key, case in load_cases(store).items()}
    keys = {row.key for row in study.rows}
    theirs = {key: case.result for key, case in load_cases(study.store).items() if key in keys}
    assert ours == theirs


def count_finished(store):
    try:
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
            return connection.execute(
                "SELECT COUNT(*) FROM cases WHERE result IS NOT NULL"
            ).fetchone()[0]
    except sqlite3.OperationalError:
        return 0
