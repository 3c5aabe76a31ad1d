"""Parameters of compiled circuits: expressions become plain ones with a linear map."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qrnn_qiskit.compiling.angles import extract_angles
from qrnn_qiskit.compiling.folding import FOLD_ANGLE, FOLD_FLIP, FOLD_FRAME, FOLD_PLAIN

SLOTS = {"a": 0, "b": 1, "c": 2}


def test_expressions_become_parameters_with_their_linear_forms():
    """Negative slopes, sums, constants, branch bodies; equal expressions share a parameter."""
    first, second = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(1, 1, global_phase=first / 2)
    circuit.rz(first, 0)
    circuit.rz(np.pi - first / 2, 0)
    circuit.rz(0.25, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rz(first - 3 * second + 1, 0)
        circuit.rz(np.pi - first / 2, 0)
    plain, angles = extract_angles(circuit, SLOTS, fold=False)
    rz = [item for item in plain.data if item.name == "rz"]
    rz += plain.data[-1].operation.blocks[0].data
    found = [item.params[0] for item in rz]
    assert [getattr(value, "name", value) for value in found] == ["p0", "p1", 0.25, "p2", "p1"]
    assert angles.names == ("p0", "p1", "p2")
    np.testing.assert_allclose(angles.constants, [0, np.pi, 1], rtol=0, atol=1e-15)
    expected = [[1, 0, 0], [-0.5, 0, 0], [1, -3, 0]]
    np.testing.assert_allclose(angles.matrix(3).toarray(), expected, atol=1e-15)
    assert (angles.folds == FOLD_PLAIN).all()
    assert plain.global_phase == 0


def test_an_angle_that_is_not_linear_in_slots_is_a_defect():
    circuit = QuantumCircuit(1)
    circuit.rz(Parameter("a") ** 2, 0)
    with pytest.raises(AssertionError, match="compiled angle is not linear in slots"):
        extract_angles(circuit, SLOTS, fold=False)


def test_folded_rzz_have_their_own_parameters():
    """Everything that a fold binds follows from the rzz's linear form; others stay plain."""
    circuit = QuantumCircuit(2)
    circuit.rzz(2 * Parameter("a") + 0.5, 0, 1)
    circuit.rz(Parameter("b"), 0)
    plain, angles = extract_angles(circuit, SLOTS, fold=True)
    assert [item.name for item in plain.data] == ["rz", "rz", "rx", "rzz", "rx", "rz"]
    bound = {parameter.name for parameter in plain.parameters}
    assert bound == set(angles.names)
    kinds = dict(zip(angles.names, angles.folds.tolist(), strict=True))
    assert sorted(kinds.values()) == sorted(
        [FOLD_PLAIN, FOLD_ANGLE, FOLD_FRAME, FOLD_FLIP, FOLD_FLIP + 1]
    )
    matrix = angles.matrix(3).toarray()
    for row, name in enumerate(angles.names):
        of_rzz = kinds[name] != FOLD_PLAIN
        np.testing.assert_allclose(matrix[row], [2, 0, 0] if of_rzz else [0, 1, 0])
        assert angles.constants[row] == (0.5 if of_rzz else 0)
