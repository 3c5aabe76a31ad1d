"""What a walk finds in branch bodies, and what is read out of conditions."""

import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit.classical import expr, types

from qrnn_qiskit.costing.walk import (
    condition_bits,
    condition_targets,
    condition_values,
    walk_instructions,
)

FIRST, SECOND = ClassicalRegister(2, "m1"), ClassicalRegister(2, "m2")


def test_a_walk_gives_outer_indices_at_every_level():
    circuit = QuantumCircuit(4, 2)
    circuit.measure(3, 1)
    with circuit.if_test((circuit.clbits[1], 1)) as otherwise:
        circuit.cz(3, 1)
        with circuit.if_test((circuit.clbits[0], 0)):
            circuit.x(1)
    with otherwise:
        circuit.measure(2, 0)
    with circuit.for_loop(range(2)):
        circuit.y(0)
    found = list(walk_instructions(circuit))
    assert [step.operation.name for step in found] == [
        "measure", "if_else", "cz", "if_else", "x", "measure", "for_loop", "y"
    ]  # fmt: skip
    assert [step.nesting for step in found] == [0, 0, 1, 1, 2, 1, 0, 1]
    assert found[0].qubits == (3,)
    assert found[0].clbits == (1,)
    assert set(found[1].qubits) == {1, 2, 3}
    assert [found[k].qubits for k in (2, 4, 5, 7)] == [(3, 1), (1,), (2,), (0,)]
    assert found[5].clbits == (0,)


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ((FIRST, 2), {FIRST: 2}),
        ((FIRST[1], True), {FIRST[1]: 1}),
        (expr.equal(FIRST, 3), {FIRST: 3}),
        (expr.equal(3, FIRST), {FIRST: 3}),
        (expr.equal(expr.cast(FIRST, types.Uint(8)), 3), {FIRST: 3}),
        (expr.lift(FIRST[0]), {FIRST[0]: 1}),
        (expr.bit_not(FIRST[0]), {FIRST[0]: 0}),
        (expr.logic_not(FIRST[0]), {FIRST[0]: 0}),
        (
            expr.bit_and(expr.equal(FIRST, 1), expr.equal(SECOND, 0)),
            {FIRST: 1, SECOND: 0},
        ),
        (
            expr.logic_and(expr.equal(FIRST, 1), expr.lift(SECOND[1])),
            {FIRST: 1, SECOND[1]: 1},
        ),
        (expr.bit_or(expr.equal(FIRST, 1), expr.equal(SECOND, 0)), None),
        (expr.bit_and(expr.equal(FIRST, 1), expr.equal(FIRST, 0)), None),
        (expr.less(FIRST, 1), None),
        (expr.equal(FIRST, SECOND), None),
        (expr.bit_and(expr.less(FIRST, 1), expr.equal(SECOND, 0)), None),
        (expr.logic_not(expr.equal(FIRST, 1)), None),
    ],
    ids=str,
)
def test_conditions_with_one_value_for_each_register(condition, values):
    assert condition_values(condition) == values


def test_targets_and_bits_of_conditions():
    both = expr.bit_or(expr.equal(FIRST, 1), expr.bit_or(expr.less(SECOND, 2), expr.less(FIRST, 1)))
    assert condition_targets(both) == (FIRST, SECOND)
    assert condition_bits(both) == (*FIRST, *SECOND)
    assert condition_bits((SECOND[1], 1)) == (SECOND[1],)
    assert condition_targets(expr.index(FIRST, 1)) == (FIRST,)


def test_a_compiled_register_keeps_its_bits():
    """Registers may share bits: a condition reads bits, whatever the register is called."""
    alias = ClassicalRegister(bits=list(FIRST), name="alias")
    circuit = QuantumCircuit(QuantumRegister(1), FIRST, alias)
    with circuit.if_test((alias, 1)):
        circuit.x(0)
    (step, _) = walk_instructions(circuit)
    assert condition_bits(step.operation.condition) == tuple(FIRST)
    assert step.clbits == (0, 1)
