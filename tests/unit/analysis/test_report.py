"""Reports against the counts, schedule and losses that they are made of."""

import json
from dataclasses import asdict, replace
from functools import cache
from math import exp, isfinite, log

import pytest

from qrnn_qiskit.analysis import build_report, schedule_compiled
from qrnn_qiskit.compiling import compile_program, load_profile
from qrnn_qiskit.costing import PlacedDevice, build_schedule, count_gates, estimate_loss
from qrnn_qiskit.devices import load_fake_backend, read_target
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import host_program

NUM_TIMESTEPS = 6
TOTALS = {
    "two_qubit_gates", "two_qubit_depth", "swaps", "one_qubit_gates", "measurements", "resets",
    "branch_blocks", "broadcasts", "duration_us", "memory_idle_us", "loss_two_qubit",
    "loss_one_qubit", "loss_readout", "loss_reset", "loss_idle", "loss",
}  # fmt: skip
OTHERS = {
    "backend", "profile", "ansatz", "loop", "num_memory", "num_layers", "num_readouts",
    "feedback_delay", "num_timesteps", "num_qubits", "num_banks", "num_spares",
    "physical_qubits", "total", "per_timestep", "idle_fraction", "success", "target_success",
    "timesteps_to_target", "compile_seconds",
}  # fmt: skip


@cache
def boston():
    return read_target(load_fake_backend("fake_boston"))


@cache
def compiled_for(profile_name):
    readouts = (Readout("Z", 0), Readout("X", 2, 1.1))
    program = SequenceProgram(CellSpec(Ansatz("brick", 3, 2), readouts), NUM_TIMESTEPS)
    profile = load_profile(profile_name).model_copy(update={"ansatz": None})
    return compile_program(program, boston(), profile), profile


@pytest.fixture(params=["heron", "reference_sim14"])
def case(request):
    compiled, profile = compiled_for(request.param)
    return compiled, profile, build_report(compiled, boston(), profile, compile_seconds=1.5)


def test_a_report_is_of_this_circuit_there(case):
    compiled, profile, report = case
    placed = PlacedDevice(boston(), compiled.physical_qubits)
    schedule = build_schedule(
        compiled.circuit, placed, feedforward_latency_ns=profile.feedforward_latency_ns
    )
    assert report.counts == count_gates(compiled.circuit)
    assert report.schedule.duration_ns == schedule.duration_ns
    spares = range(
        compiled.circuit.num_qubits - compiled.form.num_spares, compiled.circuit.num_qubits
    )
    assert report.loss == estimate_loss(compiled.circuit, placed, schedule, spares)
    assert (report.backend, report.num_device_qubits) == ("fake_boston", 156)
    assert report.num_timesteps == NUM_TIMESTEPS
    # The memory is read from the bits after the twelve of the timesteps.
    assert report.memory_qubits == compiled.bit_to_qubit[12:]
    idle = [schedule.idle_ns(qubit) for qubit in report.memory_qubits]
    busy = [schedule.busy_ns(qubit) for qubit in report.memory_qubits]
    assert report.memory_idle_ns == pytest.approx(sum(idle) / 3, rel=1e-12)
    assert report.idle_fraction == pytest.approx(sum(idle) / sum(idle + busy), rel=1e-12)
    assert 0 < report.idle_fraction < 1


def test_the_numbers_in_json(case):
    compiled, profile, report = case
    content = report.to_json()
    assert content.keys() == OTHERS
    assert content["total"].keys() == content["per_timestep"].keys() == TOTALS
    total, counts = content["total"], count_gates(compiled.circuit)
    assert total["two_qubit_gates"] == counts.num_two_qubit > 0
    assert total["two_qubit_depth"] == counts.two_qubit_depth
    assert total["one_qubit_gates"] == counts.num_one_qubit
    assert total["measurements"] == counts.num_measurements == 2 * NUM_TIMESTEPS + 3
    assert total["resets"] == counts.num_resets
    assert total["branch_blocks"] == counts.num_branch_blocks > 0
    assert total["broadcasts"] == counts.num_broadcasts == NUM_TIMESTEPS - 1
    assert total["swaps"] == compiled.num_swaps
    assert total["duration_us"] == pytest.approx(report.schedule.duration_ns / 1e3)
    assert total["memory_idle_us"] == pytest.approx(report.memory_idle_ns / 1e3)
    for cause, value in asdict(report.loss).items():
        assert total[f"loss_{cause}"] == value > 0
    causes = [value for name, value in total.items() if name.startswith("loss_")]
    assert total["loss"] == pytest.approx(sum(causes), rel=1e-12)
    for name, value in total.items():
        assert content["per_timestep"][name] == pytest.approx(value / NUM_TIMESTEPS, rel=1e-12)
    assert content["success"] == pytest.approx(exp(-total["loss"]), rel=1e-12)
    assert content["target_success"] == profile.target_success == 0.5
    expected = log(2) / content["per_timestep"]["loss"]
    assert content["timesteps_to_target"] == pytest.approx(expected, rel=1e-12)
    assert (content["ansatz"], content["loop"], content["num_layers"]) == (
        "brick",
        "feedforward",
        2,
    )
    assert (content["num_memory"], content["num_readouts"]) == (3, 2)
    assert content["physical_qubits"] == list(compiled.physical_qubits)
    assert len(content["physical_qubits"]) == content["num_qubits"] == compiled.circuit.num_qubits
    assert content["num_banks"] == (compiled.form.num_banks or 1)
    assert content["compile_seconds"] == 1.5


def test_json_is_plain_and_finite(case):
    content = case[-1].to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_spares_do_not_lose_by_waiting():
    """With all but the first two qubits called spares, only these two lose by waiting."""
    compiled, profile = compiled_for("heron")
    report = build_report(compiled, boston(), profile)
    assert compiled.form.num_spares == 0
    num_spares = compiled.circuit.num_qubits - 2
    resting = replace(compiled, form=replace(compiled.form, num_spares=num_spares))
    changed = build_report(resting, boston(), profile)
    placed = PlacedDevice(boston(), compiled.physical_qubits)
    waiting = [report.schedule.idle_ns(q) * placed.idle_rate_per_ns(q) for q in (0, 1)]
    assert changed.loss.idle == pytest.approx(sum(waiting), rel=1e-12)
    # The third memory qubit waits, too.
    assert changed.loss.idle < 0.99 * report.loss.idle
    assert replace(changed.loss, idle=report.loss.idle) == report.loss
    assert changed.to_json()["num_spares"] == num_spares


def test_the_latency_is_the_profiles():
    compiled, profile = compiled_for("heron")
    fast = profile.model_copy(update={"feedforward_latency_ns": 100.0})
    slow = schedule_compiled(compiled, boston(), profile)
    assert profile.feedforward_latency_ns == 600
    # Five timesteps wait for bits.
    saved = slow.duration_ns - schedule_compiled(compiled, boston(), fast).duration_ns
    assert 0 < saved <= 5 * 500


def test_the_target_is_the_profiles():
    compiled, profile = compiled_for("heron")
    strict = profile.model_copy(update={"target_success": 0.9})
    reports = [build_report(compiled, boston(), each) for each in (profile, strict)]
    ratio = reports[1].timesteps_to_target / reports[0].timesteps_to_target
    assert ratio == pytest.approx(log(1 / 0.9) / log(2), rel=1e-12)


def test_the_host_loop_has_no_banks_to_wait_for():
    program = host_program("line", num_memory=3, num_timesteps=4)
    profile = load_profile("heron")
    content = build_report(compile_program(program, boston(), profile), boston(), profile).to_json()
    total = content["total"]
    assert content["loop"] == "host"
    assert total["resets"] == total["branch_blocks"] == total["broadcasts"] == 0
    assert total["loss_reset"] == 0
    assert total["measurements"] == 3
    assert all(isfinite(value) for value in total.values())
