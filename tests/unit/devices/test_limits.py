"""Limits as numbers: the documented points, the budget between them, and refused values."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError

LIMITS = HardwareLimits()
pure = settings(derandomize=True, deadline=None, database=None)


def test_broadcasts_meet_both_documented_points():
    assert LIMITS.max_broadcasts(1) == 2400
    assert LIMITS.max_broadcasts(60) == 300
    # 20 bits: 2400 / (1 + 7 * 19 / 59).
    assert LIMITS.max_broadcasts(20) == 737
    with pytest.raises(InputError, match="bits_per_broadcast: must be at least 1, got 0"):
        LIMITS.max_broadcasts(0)


@pure
@given(st.lists(st.integers(1, 64), min_size=1, max_size=60))
def test_only_the_mean_width_of_broadcasts_matters(widths):
    """A job is within the budget exactly if its number is within that for its mean width."""
    cost = sum(1 + 7 * (bits - 1) / 59 for bits in widths)
    for budget in (math.ceil(cost), math.floor(cost) - 1):
        limits = HardwareLimits(max_one_bit_broadcasts=max(budget, 1))
        fits = len(widths) <= limits.max_broadcasts(sum(widths) / len(widths))
        # The method grants 1e-9 against rounding.
        assert fits == (cost <= max(budget, 1) * (1 + 1e-9))


def test_instructions_weigh_what_ibm_documents():
    table = {"rz": 1, "delay": 1, "sx": 2, "x": 2, "measure": 10, "reset": 17}
    assert {name: LIMITS.weigh(name, 1) for name in table} == table
    assert {LIMITS.weigh(name, 2) for name in ("cx", "cz", "ecr", "rzz")} == {5}
    assert (LIMITS.weigh("measure_2", 1), LIMITS.weigh("reset_2", 1)) == (10, 17)
    assert (LIMITS.weigh("barrier", 5), LIMITS.weigh("if_else", 3)) == (0, 1)
    assert (LIMITS.weight_init, LIMITS.max_condition_bits) == (50, 32)


@pure
@given(st.floats(0, 1e9))
def test_executions_fill_the_time_and_not_more(duration_ns):
    count = LIMITS.max_executions_in_time(duration_ns)
    assert LIMITS.execution_seconds(count, duration_ns) <= 10_800 * (1 + 1e-9)
    assert LIMITS.execution_seconds(count + 1, duration_ns) > 10_800 * (1 - 1e-9)


def test_time_is_no_limit_where_an_execution_takes_none():
    assert HardwareLimits(rep_delay_us=0).max_executions_in_time(0.0) == 10_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_executions_per_job": 0}, "max_executions_per_job: must be finite and positive, got"),
        ({"weight_reset": -1}, "weight_reset: must be finite and positive or 0, got -1"),
        ({"rep_delay_us": math.nan}, "rep_delay_us: must be finite and positive or 0, got nan"),
        ({"max_execution_seconds": 1.0}, r"must exceed the overhead of a job, 2\.0 s, got 1\.0"),
    ],
)
def test_senseless_limits_are_refused(change, message):
    with pytest.raises(InputError, match=message) as caught:
        HardwareLimits(**change)
    assert "\n" not in str(caught.value)
