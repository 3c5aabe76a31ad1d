"""Folded angles: in range for every input, and the same gate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Operator

from qrnn_qiskit.compiling.folding import fold_angles, fold_circuit

SPECIAL = [k * np.pi / 4 for k in range(-16, 17)] + [1e-12, -1e-12, np.pi - 1e-12, 1e-300]


def folded_operator(angle, order=(0, 1)):
    circuit = QuantumCircuit(2)
    circuit.rzz(Parameter("v"), *order)
    folded, made = fold_circuit(circuit)
    names = list(made)
    kinds = np.array([made[name][1] for name in names], dtype=np.uint8)
    values = fold_angles(np.full((1, len(names)), angle), kinds)[0]
    bound = folded.assign_parameters(dict(zip(names, values, strict=True)))
    (rzz,) = (item for item in bound.data if item.name == "rzz")
    return Operator(bound), float(rzz.params[0])


def plain_operator(angle, order=(0, 1)):
    circuit = QuantumCircuit(2)
    circuit.rzz(angle, *order)
    return Operator(circuit)


@given(st.floats(-50, 50, allow_nan=False))
def test_any_angle_is_folded_into_the_range_and_is_the_same_gate(angle):
    operator, folded = folded_operator(angle)
    assert 0 <= folded <= np.pi / 2
    assert operator.equiv(plain_operator(angle), rtol=0, atol=1e-9)


@pytest.mark.parametrize("angle", SPECIAL)
def test_the_edges_of_the_range_are_no_exceptions(angle):
    operator, folded = folded_operator(angle, (1, 0))
    assert 0 <= folded <= np.pi / 2
    assert operator.equiv(plain_operator(angle, (1, 0)), rtol=0, atol=1e-9)


def test_another_angle_is_noticed():
    operator, _ = folded_operator(2.0)
    assert not operator.equiv(plain_operator(2.3), rtol=0, atol=1e-3)


def test_small_angles_keep_their_digits():
    """arccos(cos v) would lose half of them."""
    _, folded = folded_operator(1e-9)
    assert folded == pytest.approx(1e-9, rel=1e-12)
