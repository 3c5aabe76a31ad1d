"""Relaxation times that a channel can be built from, whatever a device says."""

from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit.transpiler import QubitProperties, Target

from qrnn_qiskit.devices import load_fake_backend
from qrnn_qiskit.devices.relaxation import read_relaxation


def target_of(*times):
    """T1 and T2 of each qubit, in us."""
    properties = [QubitProperties(t1=t1 and t1 * 1e-6, t2=t2 and t2 * 1e-6) for t1, t2 in times]
    return Target(num_qubits=len(times), qubit_properties=properties)


@pytest.mark.parametrize("missing", [None, 0.0, -3.0, nan, inf])
def test_a_missing_time_is_the_median_of_the_known_ones(missing):
    relaxation = read_relaxation(target_of((100, 80), (missing, 60), (140, missing)), 3)
    np.testing.assert_allclose(relaxation.t1_ns, [1e5, 1.2e5, 1.4e5])
    np.testing.assert_allclose(relaxation.t2_ns, [8e4, 6e4, 7e4])
    assert relaxation.remarks == {
        1: ("T1 is unknown, the device's median is taken (120 us)",),
        2: ("T2 is unknown, the device's median is taken (70 us)",),
    }


def test_t2_above_twice_t1_is_clipped_and_named():
    relaxation = read_relaxation(target_of((100, 250), (100, 200), (100, 90)), 3)
    np.testing.assert_allclose(relaxation.t2_ns, [2e5, 2e5, 9e4])
    assert relaxation.remarks == {0: ("T2 of 250 us is above 2 T1, 2 T1 is taken (200 us)",)}


def test_a_median_above_twice_the_qubit_s_own_t1_is_clipped():
    relaxation = read_relaxation(target_of((500, 400), (100, None)), 2)
    np.testing.assert_allclose(relaxation.t2_ns, [4e5, 2e5])
    assert list(relaxation.remarks) == [1]


@pytest.mark.parametrize("properties", [None, [QubitProperties()] * 2])
def test_on_a_device_that_knows_no_time_nothing_relaxes(properties):
    relaxation = read_relaxation(Target(num_qubits=2, qubit_properties=properties), 2)
    assert list(relaxation.t1_ns) == list(relaxation.t2_ns) == [inf, inf]
    assert relaxation.remarks == {}


def test_a_complete_device_has_no_remarks_but_on_its_fits():
    boston = load_fake_backend("fake_boston")
    relaxation = read_relaxation(boston.target, boston.num_qubits)
    for index, qubit in enumerate(boston.target.qubit_properties):
        assert relaxation.t1_ns[index] == pytest.approx(qubit.t1 * 1e9)
        assert (index in relaxation.remarks) == (qubit.t2 > 2 * qubit.t1)


time_us = st.one_of(st.none(), st.floats(-1.0, 1e3), st.sampled_from([nan, inf]))


@given(st.lists(st.tuples(time_us, time_us), min_size=1, max_size=6))
def test_times_are_always_physical(times):
    relaxation = read_relaxation(target_of(*times), len(times))
    assert (relaxation.t1_ns > 0).all()
    assert (relaxation.t2_ns > 0).all()
    assert (relaxation.t2_ns <= 2 * relaxation.t1_ns).all()
    with pytest.raises(ValueError, match="read-only"):
        relaxation.t1_ns[0] = 1.0
