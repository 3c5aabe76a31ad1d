"""Canaries for qiskit-ibm-runtime: each fails when a trap of docs/traps.md is gone."""

import functools
import inspect
import warnings

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler import Target
from qiskit_ibm_runtime import SamplerV2
from qiskit_ibm_runtime.exceptions import IBMInputValueError
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.fake_provider import (
    FakeBoston,
    FakeFractionalBackend,
    FakeKingston,
    FakeMiami,
    FakeTorino,
)


def gone(trap: str, workaround: str) -> str:
    return f"trap {trap} is gone: the workaround in {workaround} can be removed (docs/traps.md)"


# --- RT-1: which Sampler -------------------------------------------------------------------------


def test_rt_1_sampler_v2_is_deprecated() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SamplerV2(FakeFractionalBackend())
    message = gone("RT-1", "execution/runtime")
    assert any("SamplerV2 class is deprecated" in str(item.message) for item in caught), message

    # The current class, and it warns of nothing (warnings are errors in this suite).
    Sampler(FakeFractionalBackend())
    parameters = inspect.signature(Sampler.run).parameters
    assert list(parameters) == ["self", "pubs", "shots", "dry_run"], message


# --- RT-2: what the current Sampler does not check -----------------------------------------------


def out_of_range_rzz() -> tuple[QuantumCircuit, list[float]]:
    angle = Parameter("angle")
    circuit = QuantumCircuit(2, 1)
    circuit.rzz(angle, 0, 1)
    circuit.measure(0, 0)
    return circuit, [2.5]


# The old class is here only for comparison; that it is deprecated is RT-1's subject.
@pytest.mark.filterwarnings("ignore:The SamplerV2 class is deprecated:DeprecationWarning")
def test_rt_2_executor_sampler_accepts_an_rzz_angle_out_of_range() -> None:
    pub = out_of_range_rzz()
    job = Sampler(FakeFractionalBackend()).run([pub], shots=10)
    assert job.result()[0].data.c.num_shots == 10, gone("RT-2", "compiling/preflight")

    with pytest.raises(IBMInputValueError, match=r"rzz is supported only for angles"):
        SamplerV2(FakeFractionalBackend()).run([pub], shots=10)


# --- RT-3: what a fake backend really has --------------------------------------------------------


@functools.cache
def target_of(fake: type) -> Target:
    return fake().target


@pytest.mark.parametrize(
    ("fake", "present", "absent"),
    [
        (FakeBoston, {"if_else", "reset", "measure_2", "reset_2"}, {"rzz"}),
        (FakeKingston, {"if_else", "reset", "measure_2"}, {"reset_2", "rzz"}),
        (FakeTorino, {"if_else", "reset", "for_loop", "switch_case"}, {"measure_2", "rzz"}),
        (FakeMiami, {"measure"}, {"if_else", "reset", "measure_2", "rzz"}),
    ],
)
def test_rt_3_fakes_differ_in_their_dynamic_instructions(
    fake: type, present: set[str], absent: set[str]
) -> None:
    names = set(target_of(fake).operation_names)
    message = gone("RT-3", "devices/snapshot")
    assert present <= names, message
    assert not absent & names, message


@pytest.mark.parametrize("fake", [FakeBoston, FakeKingston])
def test_rt_3_measure_2_has_its_own_error_and_duration(fake: type) -> None:
    target = target_of(fake)
    plain, fast = target["measure"][(0,)], target["measure_2"][(0,)]
    assert fast.duration < plain.duration
    assert fast.error != plain.error


@pytest.mark.parametrize("fake", [FakeBoston, FakeKingston])
def test_rt_4_reset_has_no_error_and_if_else_no_properties(fake: type) -> None:
    target = target_of(fake)
    message = gone("RT-4", "devices/noise and compiling/schedule")
    resets = [name for name in target.operation_names if name.startswith("reset")]
    assert resets
    for name in resets:
        assert all(entry.duration > 0 for entry in target[name].values())
        assert all(entry.error is None for entry in target[name].values()), message
    assert set(target["if_else"]) <= {None}, message
