"""What a circuit with branches holds: every instruction, and what its conditions test."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Clbit, Operation
from qiskit.circuit.classical import expr
from qiskit.circuit.controlflow import ControlFlowOp

Condition: TypeAlias = tuple[ClassicalRegister, int] | tuple[Clbit, int] | expr.Expr

_CONJUNCTIONS = (expr.Binary.Op.BIT_AND, expr.Binary.Op.LOGIC_AND)
_NEGATIONS = (expr.Unary.Op.BIT_NOT, expr.Unary.Op.LOGIC_NOT)


class WalkedInstruction(NamedTuple):
    """An instruction in the indices of the outermost circuit.

    Attributes:
        operation: what is done.
        qubits: indices of its qubits in the outermost circuit, in the operation's order.
        clbits: the same of its classical bits; of control flow, those that it reads or writes.
        nesting: number of control-flow bodies around it, 0 at the top.
    """

    operation: Operation
    qubits: tuple[int, ...]
    clbits: tuple[int, ...]
    nesting: int


def walk_instructions(circuit: QuantumCircuit) -> Iterator[WalkedInstruction]:
    """Every instruction of a circuit, bodies of all control flow included.

    Control flow comes first, then what its bodies hold, in the order of the blocks. All branches
    are walked, so that this says what a circuit may do, not what one shot does.

    Example:
        >>> circuit = QuantumCircuit(2, 1)
        >>> circuit.measure(0, 0)  # doctest: +ELLIPSIS
        <...>
        >>> with circuit.if_test((circuit.clbits[0], 1)):
        ...     circuit.x(1)  # doctest: +ELLIPSIS
        <...>
        >>> [(op.name, qubits, nesting) for op, qubits, _, nesting in walk_instructions(circuit)]
        [('measure', (0,), 0), ('if_else', (1,), 0), ('x', (1,), 1)]
    """
    return _walk(
        circuit,
        {qubit: index for index, qubit in enumerate(circuit.qubits)},
        {clbit: index for index, clbit in enumerate(circuit.clbits)},
        0,
    )


def condition_targets(condition: Condition) -> tuple[ClassicalRegister | Clbit, ...]:
    """The registers and lone bits that a condition reads, each once, in order of appearance.

    An expression that indexes one bit of a register reads the register.

    Example:
        >>> first, second = ClassicalRegister(2, "m1"), ClassicalRegister(2, "m2")
        >>> both = expr.bit_and(expr.equal(first, 1), expr.equal(second, 3))
        >>> [register.name for register in condition_targets(both)]
        ['m1', 'm2']
    """
    if isinstance(condition, expr.Expr):
        return tuple(dict.fromkeys(node.var for node in expr.iter_vars(condition)))
    return (condition[0],)


def condition_bits(condition: Condition) -> tuple[Clbit, ...]:
    """The classical bits that a condition reads.

    Example:
        >>> len(condition_bits((ClassicalRegister(2, "m1"), 3)))
        2
    """
    return tuple(bit for target in condition_targets(condition) for bit in target_bits(target))


def target_bits(target: ClassicalRegister | Clbit) -> tuple[Clbit, ...]:
    """The bits of a register, or the lone bit itself.

    Example:
        >>> len(target_bits(ClassicalRegister(3, "m1")))
        3
    """
    return tuple(target) if isinstance(target, ClassicalRegister) else (target,)


def condition_values(condition: Condition) -> dict[ClassicalRegister | Clbit, int] | None:
    """The value of each register or bit that makes a condition true; None if there is not one.

    Only conjunctions of "equals a constant" have one value for each target.

    Example:
        >>> first, second = ClassicalRegister(2, "m1"), ClassicalRegister(2, "m2")
        >>> both = expr.bit_and(expr.equal(first, 1), expr.equal(second, 3))
        >>> list(condition_values(both).values())
        [1, 3]
        >>> condition_values(expr.less(first, 2)) is None
        True
    """
    if not isinstance(condition, expr.Expr):
        target, value = condition
        return {target: int(value)}
    return _values(condition)


def _walk(
    circuit: QuantumCircuit, qubit_index: dict[Any, int], clbit_index: dict[Any, int], nesting: int
) -> Iterator[WalkedInstruction]:
    for item in circuit.data:
        operation = item.operation
        qubits = tuple(qubit_index[qubit] for qubit in item.qubits)
        clbits = tuple(clbit_index[clbit] for clbit in item.clbits)
        yield WalkedInstruction(operation, qubits, clbits, nesting)
        if isinstance(operation, ControlFlowOp):
            for body in operation.blocks:
                yield from _walk(
                    body,
                    dict(zip(body.qubits, qubits, strict=True)),
                    dict(zip(body.clbits, clbits, strict=True)),
                    nesting + 1,
                )


def _values(node: expr.Expr) -> dict[ClassicalRegister | Clbit, int] | None:
    node = _without_casts(node)
    if isinstance(node, expr.Var):
        return {node.var: 1} if isinstance(node.var, Clbit) else None
    if isinstance(node, expr.Unary) and node.op in _NEGATIONS:
        operand = _without_casts(node.operand)
        is_bit = isinstance(operand, expr.Var) and isinstance(operand.var, Clbit)
        return {operand.var: 0} if is_bit else None
    if not isinstance(node, expr.Binary):
        return None
    if node.op in _CONJUNCTIONS:
        left, right = _values(node.left), _values(node.right)
        if left is None or right is None or left.keys() & right.keys():
            return None
        return left | right
    if node.op == expr.Binary.Op.EQUAL:
        sides = (_without_casts(node.left), _without_casts(node.right))
        for variable, value in (sides, sides[::-1]):
            if isinstance(variable, expr.Var) and isinstance(value, expr.Value):
                return {variable.var: int(value.value)}
    return None


def _without_casts(node: expr.Expr) -> expr.Expr:
    while isinstance(node, expr.Cast):
        node = node.operand
    return node
