"""Horizons of two made-up reports against closed forms."""

from math import exp, floor, inf, log
from types import SimpleNamespace

import pytest

from qrnn_qiskit.analysis import Finding, PreflightReport, build_horizon
from qrnn_qiskit.costing import LossBudget
from qrnn_qiskit.devices.limits import HardwareLimits

OFFSET, SLOPE = 0.1, 0.01
FIXED_NS, STEP_NS = 2_000.0, 3_500.0


def report_of(num_timesteps, slope=SLOPE, step_ns=STEP_NS, target_success=0.5):
    """Made up: lambda and duration that are linear in T."""
    loss = OFFSET + slope * num_timesteps
    return SimpleNamespace(
        backend="made_up",
        profile="mine",
        num_timesteps=num_timesteps,
        loss=LossBudget(0.4 * loss, 0.1 * loss, 0.2 * loss, 0.1 * loss, 0.2 * loss),
        schedule=SimpleNamespace(duration_ns=FIXED_NS + step_ns * num_timesteps),
        target_success=target_success,
    )


def preflight_of(**largest):
    findings = tuple(
        Finding(rule, True, 1, 2, f"of {rule}", largest_timesteps=length)
        for rule, length in largest.items()
    )
    return PreflightReport(findings, (), 0.0, 0.0, 0.0, None)


def horizon_of(lengths=(24, 72), preflight=None, limits=None, executions=50_000, budget=600.0,
               **changes):  # fmt: skip
    return build_horizon(
        *(report_of(length, **changes) for length in lengths),
        preflight or preflight_of(),
        num_executions=executions,
        max_qpu_seconds=budget,
        limits=limits,
    )


def bound(horizon, start):
    (found,) = [item for item in horizon.bounds if item.limit.startswith(start)]
    return found


@pytest.mark.parametrize("lengths", [(24, 72), (10, 11), (8, 1000)])
@pytest.mark.parametrize("target", [0.5, 0.9, 0.1])
def test_decay_is_where_the_line_crosses_the_target(lengths, target):
    horizon = horizon_of(lengths, target_success=target)
    assert horizon.loss_slope == pytest.approx(SLOPE, rel=1e-9)
    assert horizon.loss_offset == pytest.approx(OFFSET, rel=1e-9)
    assert horizon.duration_slope_ns == pytest.approx(STEP_NS, rel=1e-9)
    decay = bound(horizon, "decay")
    assert decay.limit == f"decay to {target:.0%} success"
    assert decay.max_timesteps == floor((log(1 / target) - OFFSET) / SLOPE)
    assert horizon.success(decay.max_timesteps) >= target > horizon.success(decay.max_timesteps + 1)
    assert horizon.success(100) == pytest.approx(exp(-OFFSET - 100 * SLOPE), rel=1e-9)
    # Wrong model: all of the loss in proportion to T.
    if lengths == (24, 72):
        assert abs(decay.max_timesteps - log(1 / target) / (report_of(72).loss.total / 72)) > 1
    assert (horizon.backend, horizon.profile, horizon.target_success) == ("made_up", "mine", target)


def test_what_is_lost_at_the_start_may_be_all():
    horizon = horizon_of(target_success=0.97)  # lambda 0.03, below the offset
    assert bound(horizon, "decay").max_timesteps == 0


@pytest.mark.parametrize(("executions", "budget"), [(50_000, 600.0), (1_000, 28.0), (7, 2.5)])
def test_the_budget_pays_for_circuits_and_the_delays_between_them(executions, budget):
    """overhead + executions * (delay + fixed + T * step) = budget."""
    limits = HardwareLimits(rep_delay_us=100.0, job_overhead_seconds=1.5)
    horizon = horizon_of(executions=executions, budget=budget, limits=limits)
    found = bound(horizon, "QPU budget")
    seconds_each = (budget - 1.5) / executions
    expected = (seconds_each * 1e9 - 100_000 - FIXED_NS) / STEP_NS
    assert found.max_timesteps == floor(max(expected, 0))
    assert found.limit == f"QPU budget of {budget:g} s"
    assert f"{executions:,} executions, 100 us" in found.detail
    if expected > 0:
        durations = [FIXED_NS + STEP_NS * (found.max_timesteps + extra) for extra in (0, 1)]
        used = [limits.execution_seconds(executions, duration) for duration in durations]
        assert used[0] <= budget < used[1]


@pytest.mark.parametrize(("executions", "budget"), [(50_000, 1.0), (10_000_000, 600.0)])
def test_a_budget_may_pay_for_nothing(executions, budget):
    horizon = horizon_of(executions=executions, budget=budget)
    assert bound(horizon, "QPU budget").max_timesteps == 0
    assert horizon.binding.limit.startswith("QPU budget")


@pytest.mark.parametrize(
    ("largest", "binding"), [(2401, "decay"), (59, "decay"), (58, "broadcasts"), (0, "broadcasts")]
)
def test_the_smallest_bound_binds(largest, binding):
    """Decay binds at 59, the budget at 500."""
    preflight = preflight_of(broadcasts=largest, gates=5_000, silent=None)
    horizon = horizon_of(preflight=preflight, executions=299_000)
    assert horizon.binding is horizon.bounds[0]
    assert horizon.binding.limit.startswith(binding)
    lengths = [item.max_timesteps for item in horizon.bounds]
    assert lengths == sorted(lengths)
    assert {item.limit for item in horizon.bounds} == {
        "decay to 50% success", "QPU budget of 600 s", "broadcasts", "gates",
    }  # fmt: skip
    assert bound(horizon, "gates").detail == "of gates"


def test_what_does_not_grow_binds_nothing():
    horizon = horizon_of(slope=0.0, step_ns=0.0, preflight=preflight_of(gates=9))
    assert [item.max_timesteps for item in horizon.bounds] == [9, inf, inf]
    assert horizon.binding.limit == "gates"
    assert horizon.loss_slope == pytest.approx(0, abs=1e-12)


def test_bounds_are_whole_timesteps():
    for item in horizon_of(preflight=preflight_of(gates=9)).bounds:
        assert isinstance(item.max_timesteps, int)
