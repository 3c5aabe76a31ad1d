"""A compiled circuit as one list of simple instructions, without branches, in a cheap order.

An `if_else` becomes the instructions of its bodies, each with the bits that it depends on and their
values (its `Scope`). The order is another than the circuit's where that does not change
anything: qubits that are not entangled yet join the others as late as possible.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import product
from typing import Any

from qiskit import QuantumCircuit

from qrnn_qiskit.costing.walk import condition_values, target_bits
from qrnn_qiskit.errors import InputError

_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0, "ps": 1e-3}


@dataclass(frozen=True)
class Scope:
    """When an instruction happens: if these variables have one of these values.

    Attributes:
        variables: classical bits.
        values: of the variables, in their order.
    """

    variables: tuple[int, ...]
    values: frozenset[tuple[int, ...]]

    def holds(self, assignment: Mapping[int, int]) -> bool:
        """Whether it happens where variables have these values.

        Example:
            >>> Scope((3, 4), frozenset({(0, 1)})).holds({3: 0, 4: 1, 5: 0})
            True
        """
        return tuple(assignment[variable] for variable in self.variables) in self.values


@dataclass(frozen=True)
class SimpleInstruction:
    """A gate, delay, measurement or reset.

    Attributes:
        name: `delay`, `measure` and `reset` of every kind, or the gate's.
        operation: Qiskit's, for its matrix or parameter.
        qubits: of the circuit.
        bit: that a measurement writes.
        scope: when it happens; None if always.
        is_last: whether a measured qubit is reset before it meets another, or never used again.
    """

    name: str
    operation: Any
    qubits: tuple[int, ...]
    bit: int | None = None
    scope: Scope | None = None
    is_last: bool = False

    @property
    def read_bits(self) -> tuple[int, ...]:
        """Bits that it depends on."""
        return () if self.scope is None else self.scope.variables

    @property
    def duration_ns(self) -> int:
        """Of a delay, rounded to 1 ns as the circuits that Aer gets."""
        return round(float(self.operation.duration) * _NS[self.operation.unit])


def flatten_circuit(circuit: QuantumCircuit) -> list[SimpleInstruction]:
    """The instructions of a circuit in a cheap order, barriers left out.

    Args:
        circuit: with delays where a qubit waits.

    Raises:
        InputError: if a branch measures or resets, a condition is not "these bits have these
            values", a bit is read before it is measured, or one is measured twice.

    Example:
        >>> circuit = QuantumCircuit(2, 1)
        >>> _ = circuit.measure(0, 0), circuit.reset(0)
        >>> with circuit.if_test((circuit.clbits[0], 1)):
        ...     _ = circuit.x(1)
        >>> [(item.name, item.is_last, item.read_bits) for item in flatten_circuit(circuit)]
        [('measure', True, ()), ('reset', False, ()), ('x', False, (0,))]
    """
    instructions = list(_walk(circuit))
    _check_bits(instructions)
    return _order(_mark_last(instructions))


def _walk(circuit: QuantumCircuit) -> Iterator[SimpleInstruction]:
    qubit_index = {qubit: index for index, qubit in enumerate(circuit.qubits)}
    bit_index = {bit: index for index, bit in enumerate(circuit.clbits)}
    for item in circuit.data:
        qubits = tuple(qubit_index[qubit] for qubit in item.qubits)
        if item.name != "if_else":
            bit = bit_index[item.clbits[0]] if item.name.startswith("measure") else None
            yield from _simplify(item.operation, qubits, bit, None)
            continue
        scopes = _scopes_of(item.operation.condition, bit_index)
        for body, scope in zip(item.operation.blocks, scopes, strict=False):
            if not scope.values:
                continue
            where = dict(zip(body.qubits, qubits, strict=True))
            for inner in body.data:
                if inner.name.startswith(("measure", "reset", "if_", "for_", "while_", "switch")):
                    raise InputError(
                        "circuit: a branch must hold gates and delays only, got "
                        f"{inner.name!r}; hardware runs nothing else there"
                    )
                inner_qubits = tuple(where[qubit] for qubit in inner.qubits)
                yield from _simplify(inner.operation, inner_qubits, None, scope)


def _simplify(
    operation: Any, qubits: tuple[int, ...], bit: int | None, scope: Scope | None
) -> Iterator[SimpleInstruction]:
    name = operation.name
    if name == "barrier":
        return
    for kind in ("measure", "reset"):
        if name.startswith(kind):
            name = kind
    yield SimpleInstruction(name, operation, qubits, bit, scope)


def _scopes_of(condition: Any, bit_index: Mapping[Any, int]) -> tuple[Scope, Scope]:
    """Where a condition holds, and where it does not."""
    wanted = condition_values(condition)
    if wanted is None:
        raise InputError(
            f"circuit: a condition must say which values registers have, got {condition!r}; "
            "write it with expr.equal and expr.bit_and"
        )
    value_of: dict[int, int] = {}
    possible = True
    for target, value in wanted.items():
        bits = target_bits(target)
        possible = possible and 0 <= value < 2 ** len(bits)
        value_of |= {bit_index[bit]: value >> place & 1 for place, bit in enumerate(bits)}
    variables = tuple(sorted(value_of))
    every = frozenset(product((0, 1), repeat=len(variables)))
    one = frozenset({tuple(value_of[variable] for variable in variables)} if possible else ())
    return Scope(variables, one), Scope(variables, every - one)


def _check_bits(instructions: Sequence[SimpleInstruction]) -> None:
    measured: set[int] = set()
    for item in instructions:
        for bit in item.read_bits:
            if bit not in measured:
                raise InputError(
                    f"circuit: a branch must read measured bits, got bit {bit} before its "
                    "measurement; measure it first"
                )
        if item.bit in measured:
            raise InputError(
                f"circuit: each bit must be measured once, got bit {item.bit} twice; give each "
                "timestep its own register"
            )
        if item.bit is not None:
            measured.add(item.bit)


def _mark_last(instructions: Sequence[SimpleInstruction]) -> list[SimpleInstruction]:
    """Tells of each measurement whether its qubit matters afterwards."""
    matters: dict[int, bool] = {}
    marked: list[SimpleInstruction] = []
    for item in reversed(instructions):
        if item.name == "measure":
            qubit = item.qubits[0]
            is_last = not matters.get(qubit, False)
            item = SimpleInstruction(
                "measure", item.operation, item.qubits, item.bit, None, is_last
            )
            matters[qubit] = True
        elif item.name == "reset":
            matters[item.qubits[0]] = False
        elif len(item.qubits) > 1:
            matters |= dict.fromkeys(item.qubits, True)
        marked.append(item)
    return marked[::-1]


def _order(instructions: Sequence[SimpleInstruction]) -> list[SimpleInstruction]:
    """Gates that entangle a fresh qubit come when there is nothing else to do."""
    num_before = [0] * len(instructions)
    after: list[list[int]] = [[] for _ in instructions]
    last: dict[tuple[str, int], int] = {}
    for index, item in enumerate(instructions):
        wires = [("qubit", qubit) for qubit in item.qubits]
        before = {last[wire] for wire in wires if wire in last}
        before |= {last["bit", bit] for bit in item.read_bits}
        for earlier in before:
            after[earlier].append(index)
        num_before[index] = len(before)
        last |= dict.fromkeys(wires, index)
        if item.bit is not None:
            last["bit", item.bit] = index

    entangled: set[int] = set()
    at_once: list[int] = []
    late: list[int] = []

    def add(index: int) -> None:
        qubits = instructions[index].qubits
        joins = len(qubits) > 1 and not entangled.issuperset(qubits)
        heappush(late if joins else at_once, index)

    for index, count in enumerate(num_before):
        if count == 0:
            add(index)
    ordered = []
    while at_once or late:
        index = heappop(at_once or late)
        item = instructions[index]
        ordered.append(item)
        if len(item.qubits) > 1:
            entangled.update(item.qubits)
        elif item.name == "reset" or item.is_last:
            entangled.discard(item.qubits[0])
        for later in after[index]:
            num_before[later] -= 1
            if num_before[later] == 0:
                add(later)
    return ordered
