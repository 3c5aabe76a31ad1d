"""Jobs checked before they are submitted: what passes, what is split, what fails and why."""

import json
from functools import cache

import numpy as np
import pytest

from qrnn_qiskit.devices import load_backend
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.studies import CompilerDevice, check_program, open_device, run_preflight
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of

OPEN = changed(
    FEEDFORWARD,
    name="tiny_open",
    model={
        "loop": "open", "num_memory": 12, "readouts": [{"anchor": 0}, {"anchor": 11}],
        "hidden_units": 4,
    },
)  # fmt: skip


@cache
def open_diagnosis():
    return run_preflight(
        spec_of(OPEN), "fake_boston", num_timesteps=300, num_rows=100, num_shots=20_000
    )


@cache
def steered_diagnosis(num_timesteps):
    # The key of the cache is a hash of OpenQASM 3, which takes half of the time at this length.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompilerDevice, "compile", CompilerDevice.compile_afresh)
        return run_preflight(spec_of(FEEDFORWARD), "fake_boston", num_timesteps=num_timesteps)


def finding(diagnosis, rule):
    (found,) = [item for item in diagnosis.report.findings if item.rule == rule]
    return found


# ---- the two circuits at the edge of what hardware takes


def test_three_hundred_open_timesteps_pass_with_splits():
    diagnosis = open_diagnosis()
    report = diagnosis.report
    report.require_passed()
    assert diagnosis.compiled.program.num_timesteps == 300
    assert (diagnosis.num_rows, diagnosis.num_shots) == (100, 20_000)
    # 600 mid-circuit results of 20,000 shots, of at most 1,198,800: 1,998 shots a job.
    found = finding(diagnosis, "mid-circuit results per row and job")
    assert (found.passed, found.splits, found.value) == (False, True, 12_000_000)
    assert report.num_jobs == 11
    assert finding(diagnosis, "broadcasts per job").value == 0
    assert finding(diagnosis, "rzz angles").passed


def test_the_jobs_hold_every_shot_of_every_row_once():
    covered = np.zeros((100, 20_000), dtype=np.uint8)
    for job in open_diagnosis().report.splits:
        covered[job.rows, job.first_shot : job.first_shot + job.num_shots] += 1
        assert job.num_shots * 600 <= 1_198_800
    assert (covered == 1).all()


def test_2500_steered_timesteps_fail_by_their_broadcasts():
    diagnosis = steered_diagnosis(2_500)
    report = diagnosis.report
    assert not report.passed
    (failure,) = report.failures
    # One bit a timestep, from the second on: 2,400 of a job.
    assert (failure.rule, failure.largest_timesteps) == ("broadcasts per job", 2_401)
    assert report.largest_timesteps == 2_401
    with pytest.raises(InputError) as caught:
        report.require_passed()
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("submission: broadcasts per job: must be at most 2,400, got 14,994 ")
    assert "at most 2401 timesteps" in line
    assert report.splits == ()
    content = diagnosis.to_json()
    assert (content["passed"], content["jobs"], content["largest_timesteps"]) == (False, [], 2_401)


def test_the_largest_length_that_is_named_passes():
    diagnosis = steered_diagnosis(2_401)
    diagnosis.report.require_passed()
    # Each job holds one of six rows.
    assert diagnosis.report.num_jobs == 6
    assert diagnosis.report.largest_timesteps == 2_401


# ---- rows


def test_rows_without_a_trained_run_are_those_of_an_untrained_model(tmp_path):
    spec = spec_of(FEEDFORWARD)
    diagnosis = run_preflight(spec, "fake_boston", runs_root=tmp_path)
    assert diagnosis.rows_from == "untrained weights (no trained run of this job)"
    assert (diagnosis.num_rows, diagnosis.num_shots) == (6, 50)
    assert diagnosis.report.passed
    assert list(tmp_path.iterdir()) == []


def test_rows_of_a_trained_run_are_its_models(trained_feedforward, monkeypatch):
    """What is checked are the angles of the trained model, sample by sample."""
    seen = []

    def record(compiled, device, slot_values, **numbers):
        seen.append(slot_values)
        return check_program(compiled, device, slot_values, **numbers)

    monkeypatch.setattr("qrnn_qiskit.studies.preflight.check_program", record)
    spec, run = spec_of(FEEDFORWARD), trained_feedforward.run
    by_root = run_preflight(spec, "fake_boston", runs_root=run.parent)
    by_path = run_preflight(spec, "fake_boston", run_path=run, num_rows=30)
    untrained = run_preflight(spec, "fake_boston", runs_root=run / "none")
    assert by_root.rows_from == by_path.rows_from == f"trained weights of {run}"
    assert [len(rows) for rows in seen] == [6, 30, 6]
    np.testing.assert_array_equal(seen[0], seen[1][:6])
    # Twelve test samples, repeated.
    np.testing.assert_array_equal(seen[1][:12], seen[1][12:24])
    assert np.abs(seen[0] - seen[2]).max() > 0.01, "trained weights are not those it began with"
    assert untrained.report.passed
    assert by_root.report.passed


def test_a_named_run_must_be_one(tmp_path):
    with pytest.raises(InputError, match="--run: must be the folder of a run"):
        run_preflight(spec_of(FEEDFORWARD), "fake_boston", run_path=tmp_path)


def test_a_run_of_another_model_is_refused(trained_feedforward):
    spec = spec_of(FEEDFORWARD, model__hidden_units=9)
    with pytest.raises(InputError, match="--run: must be a run of this job's task and model"):
        run_preflight(spec, "fake_boston", run_path=trained_feedforward.run)


def test_other_lengths_and_the_host_loop_have_random_angles():
    spec = spec_of(FEEDFORWARD)
    assert run_preflight(spec, "fake_boston", num_timesteps=5).rows_from == "random angles"
    host = run_preflight(spec_of(HOST), "fake_boston")
    assert host.rows_from == "random angles"
    # Two samples in three final bases.
    assert host.num_rows == 6


def test_rows_and_shots_are_those_asked_for():
    spec = spec_of(FEEDFORWARD)
    diagnosis = run_preflight(spec, "fake_boston", num_rows=40, num_shots=7)
    assert finding(diagnosis, "executions per job").value == 280
    without = spec_of(FEEDFORWARD, aer=None, device_loop=None)
    diagnosis = run_preflight(without, "fake_boston")
    assert (diagnosis.num_rows, diagnosis.num_shots) == (100, 500)


@pytest.mark.parametrize("profile", [None, "heron_fractional"])
def test_angles_are_folded_for_fractional_gates(profile):
    diagnosis = run_preflight(spec_of(FEEDFORWARD), "fake_boston", profile)
    assert diagnosis.profile == (profile or "heron")
    assert diagnosis.report.passed
    found = finding(diagnosis, "rzz angles").value
    assert found == "0 constant angles" if profile is None else "angles" in found


def test_fractional_gates_that_a_device_lacks_are_assumed_for_simulations_alone():
    assert open_device("fake_torino", "heron_fractional").profile.fractional_gates
    with pytest.raises(InputError, match="fake_torino lacks rx and rzz; choose another profile"):
        open_device(load_backend("fake_torino"), "heron_fractional")
    assert open_device(load_backend("fake_torino"), "heron").target.two_qubit_gate == "cz"


def test_a_row_that_is_not_finite_is_found():
    device = open_device("fake_boston")
    program = spec_of(FEEDFORWARD).model.build_program(4)
    slots = np.zeros((3, program.slots.num_slots))
    slots[1, 5] = np.nan
    report = check_program(device.compile(program), device, slots, num_rows=3, num_shots=10)
    assert [item.rule for item in report.failures] == ["bound parameters"]
    assert "row 1" in report.failures[0].detail


# ---- records and refusals


def test_json_is_plain_and_complete():
    diagnosis = open_diagnosis()
    content = diagnosis.to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert (content["backend"], content["profile"]) == ("fake_boston", "heron")
    assert (content["num_timesteps"], content["num_jobs"]) == (300, 11)
    assert len(content["jobs"]) == 11
    assert sum(job["num_rows"] * job["num_shots"] for job in content["jobs"]) == 2_000_000
    assert [item["rule"] for item in content["findings"]] == [
        item.rule for item in diagnosis.report.findings
    ]
    assert content["qpu_seconds"] == diagnosis.report.qpu_seconds > 0


@pytest.mark.parametrize(
    ("backend", "profile", "arguments", "start"),
    [
        ("fake_boston", None, {"num_rows": 0}, "--rows: must be at least 1, got 0"),
        ("fake_boston", None, {"num_shots": 0}, "--shots: must be at least 1, got 0"),
        ("fake_boston", None, {"num_timesteps": 0}, "--timesteps: must be at least 1, got 0"),
        ("fake_boston", None, {"num_timesteps": -1}, "--timesteps: must be at least 1, got -1"),
        ("fake_miami", None, {}, "backend: must support if_else, measure, reset, fake_miami lacks"),
        ("fake_boston", "eagle", {}, "profile eagle: two_qubit_gates: must have the entangler"),
        ("fake_boston", "reference_sim14", {}, "profile reference_sim14: ansatz: must be the prog"),
        ("fake_boston", "aer", {}, "profile aer: layout must be 'search' or 'preset'"),
        ("fake_x", None, {}, "backend: must be a fake backend"),
    ],
)
def test_wrong_input_is_one_line(backend, profile, arguments, start):
    with pytest.raises(InputError) as caught:
        run_preflight(spec_of(FEEDFORWARD), backend, profile, **arguments)
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)
