"""Depth studies and horizons of tiny jobs over backends and profiles."""

import csv
import json
from dataclasses import replace
from functools import cache
from math import log

import pytest
from qiskit import qpy

from qrnn_qiskit.analysis import build_report
from qrnn_qiskit.compiling import load_profile
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.plotting_depth import plot_horizon, plot_loss
from qrnn_qiskit.studies import (
    HorizonStudy,
    build_job_program,
    default_backends,
    open_device,
    run_depth,
    run_horizon,
    save_circuits,
)
from qrnn_qiskit.studies.depth import adapt_program
from tests.snapshots import full_name, store_two_dates
from tests.unit.studies.jobs import FEEDFORWARD, HOST, spec_of

BACKENDS = ("fake_boston", "fake_brisbane", "fake_miami")
PROFILES = ("heron", "eagle", "reference_sim14")


@cache
def study():
    return run_depth(spec_of(FEEDFORWARD), BACKENDS, PROFILES)


@cache
def horizon():
    (found,) = run_horizon(spec_of(FEEDFORWARD), ("fake_boston",)).horizons
    return found


def require_one_line(caught, start):
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(start)


class Recorded:
    """A progress that remembers what it was told."""

    def __init__(self):
        self.stages, self.notes = [], []

    def stage(self, title, num_units, done=0):
        self.stages.append((title, num_units, done))
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def advance(self, note="", units=1):
        self.notes.append(note)

    def say(self, line):
        raise AssertionError(line)


# ---- depth


def test_every_pair_is_a_report_or_a_misfit():
    fits = [(report.backend, report.profile) for report in study().reports]
    # sim14's preset pass manager takes any entangler.
    assert fits == [
        ("fake_boston", "heron"),
        ("fake_boston", "reference_sim14"),
        ("fake_brisbane", "eagle"),
        ("fake_brisbane", "reference_sim14"),
    ]
    misfits = {(backend, profile): reason for backend, profile, reason in study().misfits}
    assert {*fits, *misfits} == {(b, p) for b in BACKENDS for p in PROFILES}
    assert misfits["fake_boston", "eagle"].startswith(
        "profile eagle: two_qubit_gates: must have the entangler of fake_boston, cz"
    )
    assert "fake_miami lacks if_else, reset" in misfits["fake_miami", "heron"]
    assert all("\n" not in reason for reason in misfits.values())


def test_reports_are_of_the_circuit_that_the_job_runs():
    spec = spec_of(FEEDFORWARD)
    device = open_device("fake_boston")
    assert device.profile.name == "heron"
    expected = build_report(device.compile(spec.model.build_program(4)), device.target,
                            device.profile).to_json()  # fmt: skip
    found = study().reports[0].to_json()
    assert found.pop("compile_seconds") > 0
    expected.pop("compile_seconds")
    assert found == expected


def test_a_profiles_ansatz_replaces_the_jobs_in_reports_only():
    ansatze = {report.profile: report.to_json()["ansatz"] for report in study().reports}
    assert ansatze == {"heron": "brick", "eagle": "brick", "reference_sim14": "sim14"}
    # The report says whose profile it is; a job's circuit is never compiled with it.
    spec = spec_of(FEEDFORWARD)
    program = build_job_program(spec)
    assert program.cell.ansatz.name == "brick"
    profile = load_profile("reference_sim14")
    adapted = adapt_program(program, profile)
    assert adapted.cell.ansatz == replace(program.cell.ansatz, name="sim14")
    assert replace(adapted, cell=program.cell) == program
    assert adapt_program(program, load_profile("heron")) is program
    with pytest.raises(InputError) as caught:
        open_device("fake_boston", "reference_sim14").compile(program)
    require_one_line(caught, "profile reference_sim14: ansatz: must be the program's, brick")


def test_the_jobs_backend_and_task_are_taken_if_none_is_given():
    spec = spec_of(FEEDFORWARD, aer__backend="fake_kingston", task__num_timesteps=3)
    (report,) = run_depth(spec).reports
    assert (report.backend, report.num_timesteps) == ("fake_kingston", 3)
    (report,) = run_depth(spec, ("fake_boston",), num_timesteps=5).reports
    assert (report.backend, report.num_timesteps) == ("fake_boston", 5)
    without = spec_of(FEEDFORWARD, aer=None, device_loop=None)
    assert default_backends(without) == ("fake_boston",)


def test_two_dates_of_a_device_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("QRNN_SNAPSHOTS", str(tmp_path / "vault"))
    infos = store_two_dates()
    backends, names = [info.name for info in infos], [full_name(info) for info in infos]
    found = run_depth(spec_of(FEEDFORWARD), backends, num_timesteps=1)
    assert [report["backend"] for report in found.to_json()["reports"]] == names
    assert len(set(save_circuits("tiny", found.reports, tmp_path / "circuits"))) == 4
    figure = plot_loss(found.reports)
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert [label for label in labels if "@" in label] == names
    horizons = run_horizon(spec_of(FEEDFORWARD), backends).horizons
    assert [horizon.backend for horizon in horizons] == names
    (legend,) = plot_horizon(horizons).legends
    assert {text.get_text().split(",")[0] for text in legend.texts} == {*names}


def test_the_host_loop_has_a_report_even_on_miami():
    (report,) = run_depth(spec_of(HOST), ("fake_miami",)).reports
    content = report.to_json()
    assert (content["loop"], content["total"]["resets"]) == ("host", 0)


def test_csv_and_json_agree(tmp_path):
    path = tmp_path / "depth.csv"
    study().save_csv(path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    content = study().to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["job"] == "tiny"
    assert [tuple(entry.values()) for entry in content["misfits"]] == list(study().misfits)
    assert len(rows) == len(content["reports"]) == 4
    for row, report in zip(rows, content["reports"], strict=True):
        flat = {key: value for key, value in report.items() if not isinstance(value, dict)}
        flat["physical_qubits"] = " ".join(map(str, flat["physical_qubits"]))
        for kind in ("total", "per_timestep"):
            flat |= {f"{key}_{kind}": value for key, value in report[kind].items()}
        assert row.keys() == flat.keys()
        for key, value in flat.items():
            assert (float(row[key]) if isinstance(value, float) else row[key]) == (
                value if isinstance(value, float) else str(value)
            )


@pytest.mark.parametrize("place", ["missing/depth.csv", "."])
def test_unwritable_csv_is_one_line(tmp_path, place):
    with pytest.raises(InputError) as caught:
        study().save_csv(tmp_path / place)
    require_one_line(caught, "--csv: must be a writable path, got ")


def test_saved_circuits_can_be_loaded(tmp_path):
    reports = study().reports[:3]
    paths = save_circuits("tiny", reports, tmp_path / "new" / "folder")
    assert [path.suffix for path in paths] == [".qpy", ".qasm"] * 3
    assert len(set(paths)) == 6
    assert all(path.is_relative_to(tmp_path / "new" / "folder") for path in paths)
    for report, qpy_path, qasm_path in zip(reports, paths[::2], paths[1::2], strict=True):
        assert report.backend in str(qpy_path)
        assert report.profile in str(qpy_path)
        with qpy_path.open("rb") as file:
            (circuit,) = qpy.load(file)
        assert circuit.num_qubits == report.num_device_qubits
        compiled = report.compiled
        assert circuit.count_ops() == compiled.circuit.count_ops()
        used = {
            circuit.find_bit(qubit).index
            for item in circuit.data
            if item.operation.name != "barrier"
            for qubit in item.qubits
        }
        assert used <= set(compiled.physical_qubits)
        assert {parameter.name for parameter in circuit.parameters} == {*compiled.parameter_names}
        text = qasm_path.read_text()
        assert text.startswith("OPENQASM 3.0;")
        assert text.count("if (") == compiled.circuit.count_ops()["if_else"]


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError) as caught:
        save_circuits("tiny", study().reports[:1], blocked)
    assert "\n" not in str(caught.value)


def test_progress_counts_the_pairs():
    progress = Recorded()
    run_depth(spec_of(FEEDFORWARD), ("fake_boston", "fake_miami"), progress=progress)
    assert progress.stages == [("compile", 2, 0)]
    assert progress.notes == ["fake_boston", "fake_miami"]


@pytest.mark.parametrize(
    ("backends", "profiles", "start"),
    [
        (("fake_miami",), (), "backend: must support if_else, measure, reset, fake_miami lacks"),
        (("fake_boston",), ("eagle",), "profile eagle: two_qubit_gates: must have the entangler"),
        (("fake_bostn",), (), "backend: must be a fake backend of the runtime package, got"),
        (("fake_boston",), ("hreon",), "profile: must be the name of a shipped profile"),
        (("fake_manila",), ("heron_fractional",), "profile.fractional_gates: must be false"),
        # Logical circuits have no place on a device.
        (("fake_boston",), ("aer",), "profile aer: layout must be 'search' or 'preset'"),
        # Several, and none fits: the first one's reason.
        (("fake_miami", "fake_bostn"), (), "backend: must support if_else, measure, reset, fake_m"),
    ],
)
@pytest.mark.parametrize("run", [run_depth, run_horizon])
def test_what_does_not_fit_alone_is_one_line(run, backends, profiles, start):
    with pytest.raises(InputError) as caught:
        run(spec_of(FEEDFORWARD), backends, profiles)
    require_one_line(caught, start)


@pytest.mark.parametrize("num_timesteps", [0, -3])
def test_a_sequence_has_a_timestep(num_timesteps):
    with pytest.raises(InputError) as caught:
        run_depth(spec_of(FEEDFORWARD), num_timesteps=num_timesteps)
    require_one_line(caught, f"--timesteps: must be at least 1, got {num_timesteps}")


# ---- horizons


def bound(found, start):
    (item,) = [item for item in found.bounds if item.limit.startswith(start)]
    return item


def test_the_decay_bound_is_what_compiling_that_length_gives():
    found, target = horizon(), 0.5
    length = bound(found, "decay").max_timesteps
    assert found.target_success == target
    assert found.success(length) >= target > found.success(length + 1)
    reports = run_depth(spec_of(FEEDFORWARD), num_timesteps=length).reports
    longer = run_depth(spec_of(FEEDFORWARD), num_timesteps=length + 1).reports
    # Both are in the steady state, where each timestep loses the same.
    for report in (*reports, *longer):
        expected = found.loss_offset + found.loss_slope * report.num_timesteps
        assert report.loss.total == pytest.approx(expected, rel=1e-9)
        # Wrong models: a timestep more or less.
        assert abs(report.loss.total - expected - found.loss_slope) > 0.5 * found.loss_slope
    assert reports[0].loss.success >= target > longer[0].loss.success


def test_bounds_are_sorted_and_the_tightest_binds():
    lengths = [item.max_timesteps for item in horizon().bounds]
    assert lengths == sorted(lengths)
    assert horizon().binding == horizon().bounds[0] == bound(horizon(), "decay")
    # One broadcast a timestep but the first.
    assert bound(horizon(), "broadcasts per job").max_timesteps == 2401


def test_the_budget_is_shared_by_the_jobs_executions():
    spec = spec_of(FEEDFORWARD)
    (tight,) = run_horizon(spec, max_qpu_seconds=3.0, num_executions=3_000).horizons
    (job,) = run_horizon(spec, max_qpu_seconds=3.0).horizons
    # 6 samples of 50 shots in [aer]; each third of a millisecond is 250 us of delay.
    assert "3,000 executions" in bound(tight, "QPU budget").detail
    assert "300 executions" in bound(job, "QPU budget").detail
    step_us = horizon().duration_slope_ns / 1e3
    expected = (1e6 / 3_000 - 250) / step_us
    assert bound(tight, "QPU budget").max_timesteps == pytest.approx(expected, abs=2)
    without = spec_of(FEEDFORWARD, aer=None, device_loop=None)
    (default,) = run_horizon(without).horizons
    assert "50,000 executions" in bound(default, "QPU budget").detail


def test_a_profiles_ansatz_has_a_horizon_too():
    (found,) = run_horizon(spec_of(FEEDFORWARD), (), ("reference_sim14",)).horizons
    assert found.profile == "reference_sim14"
    assert found.loss_slope > horizon().loss_slope


def test_horizons_in_json():
    content = HorizonStudy("tiny", (horizon(),), (("b", "p", "why"),)).to_json()
    assert content["job"] == "tiny"
    assert content["misfits"] == [{"backend": "b", "profile": "p", "reason": "why"}]
    (found,) = content["horizons"]
    assert (found["backend"], found["profile"]) == ("fake_boston", "heron")
    assert found["loss_per_timestep"] == horizon().loss_slope
    assert found["timestep_us"] == horizon().duration_slope_ns / 1e3
    assert found["binding"] == "decay to 50% success"
    assert [item["max_timesteps"] for item in found["bounds"]] == [
        item.max_timesteps for item in horizon().bounds
    ]
    crossing = (log(2) - horizon().loss_offset) / horizon().loss_slope
    assert found["bounds"][0]["max_timesteps"] == int(crossing)


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ({"target_success": 0.0}, "--success: must lie between 0 and 1, got 0.0"),
        ({"target_success": 1.0}, "--success: must lie between 0 and 1, got 1.0"),
        ({"max_qpu_seconds": 0.0}, "--budget: must be positive, got 0.0"),
        ({"max_qpu_seconds": float("nan")}, "--budget: must be positive, got nan"),
        ({"num_executions": 0}, "--executions: must be at least 1, got 0"),
        ({"num_executions": -5}, "--executions: must be at least 1, got -5"),
    ],
)
def test_horizons_refuse_values_out_of_range(arguments, start):
    with pytest.raises(InputError) as caught:
        run_horizon(spec_of(FEEDFORWARD), **arguments)
    require_one_line(caught, start)
