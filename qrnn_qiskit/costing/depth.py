"""How much is done? Gates, depth, blocks and broadcasts of the worst path through the branches."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES

from qrnn_qiskit.costing.walk import (
    Condition,
    condition_bits,
    condition_targets,
    condition_values,
    target_bits,
    walk_instructions,
)
from qrnn_qiskit.errors import InputError

# Frame changes and things that are no gate: nothing is played on the qubit. `id` is a stated
# wait on IBM's devices; delays are counted by the schedule, in ns.
_VIRTUAL = {"rz"}
_NOT_PLAYED = {"id", "barrier", "delay"}


@dataclass(frozen=True)
class GateCounts:
    """What the worst path through a circuit's branches does, and what the branches cost.

    Attributes:
        num_one_qubit: pulses on one qubit: all gates except rz, id and delay.
        num_virtual: rz gates, which are frame changes.
        num_two_qubit: gates on two qubits (or more, in logical circuits).
        two_qubit_depth: longest chain of two-qubit gates that share qubits.
        num_measurements: all kinds, mid-circuit and final.
        num_resets: all kinds.
        num_branch_blocks: `if_else` instructions, taken or not.
        num_broadcasts: contents of registers sent to the branches, see `count_gates`.
        broadcast_bits: bits that each broadcast carries, in order.
    """

    num_one_qubit: int
    num_virtual: int
    num_two_qubit: int
    two_qubit_depth: int
    num_measurements: int
    num_resets: int
    num_branch_blocks: int
    num_broadcasts: int
    broadcast_bits: tuple[int, ...]


def count_gates(circuit: QuantumCircuit) -> GateCounts:
    """Counts of a circuit with the bodies of its branches walked.

    `QuantumCircuit.depth`, `count_ops` and `size` ignore bodies and take a two-qubit `if_else`
    for a gate (qiskit 2.6). Here blocks that exclude each other count once: `if_else`s that
    follow each other directly on exactly the same qubits and test the same unchanged registers
    form a group, and each value that they test is one path through the group (the bodies that
    it takes, the else bodies of the others), a value that none tests another. Of a group,

    - the counts are those of the path with most two-qubit gates, then most pulses;
    - the depth of each qubit is the largest over the paths.

    This is an upper bound of the worst path: each group takes its own worst value, and different
    qubits may take the depth of different paths.

    A broadcast is the content of a register (or of a lone bit), not of a condition: it counts
    when a condition first reads it, and again only after one of its bits was measured anew. So
    a condition on two registers, one of them broadcast before and unchanged, adds one broadcast
    with the bits of the other.

    Raises:
        InputError: if the circuit holds loops or switches.

    Example:
        >>> circuit = QuantumCircuit(3, 1)
        >>> _ = circuit.measure(0, 0)
        >>> for value in (0, 1):
        ...     with circuit.if_test((circuit.clbits[0], value)):
        ...         _ = circuit.cz(1, 2)
        >>> counts = count_gates(circuit)
        >>> counts.num_two_qubit, counts.num_branch_blocks, counts.num_broadcasts
        (1, 2, 1)
    """
    tally = _Tally.of(circuit)
    return GateCounts(
        num_one_qubit=tally.num_one_qubit,
        num_virtual=tally.num_virtual,
        num_two_qubit=tally.num_two_qubit,
        two_qubit_depth=int(max(tally.depth.values(), default=0)),
        num_measurements=tally.num_measurements,
        num_resets=tally.num_resets,
        num_branch_blocks=sum(
            step.operation.name == "if_else" for step in walk_instructions(circuit)
        ),
        num_broadcasts=len(tally.broadcast_bits),
        broadcast_bits=tuple(tally.broadcast_bits),
    )


def two_qubit_depth_per_qubit(circuit: QuantumCircuit) -> NDArray[np.int64]:
    """Longest chain of two-qubit gates that ends on each qubit, `(num_qubits,)`.

    The bound of `count_gates`; its largest entry is `GateCounts.two_qubit_depth`.

    Raises:
        InputError: if the circuit holds loops or switches.

    Example:
        >>> circuit = QuantumCircuit(4)
        >>> _ = circuit.cz(0, 1), circuit.cz(1, 2)
        >>> two_qubit_depth_per_qubit(circuit).tolist()
        [1, 2, 2, 0]
    """
    depth = _Tally.of(circuit).depth
    return np.array([depth.get(index, 0) for index in range(circuit.num_qubits)], dtype=np.int64)


@dataclass
class _Block:
    """An `if_else`: what its condition wants (None: unknown) and its bodies, in outer bits."""

    wanted: frozenset[tuple[Any, int]] | None
    bodies: tuple[QuantumCircuit, ...]
    qubits: tuple[int, ...]
    clbits: tuple[Any, ...]


@dataclass
class _Group:
    """Blocks on the same qubits, next to each other, that test the same content."""

    key: Hashable
    blocks: list[_Block]


@dataclass
class _Tally:
    """Counts so far; `depth` is of the outermost circuit's qubits, absent means 0.

    A path inside a group is tallied on a copy (`fork`), so that its gates extend the depth
    before the group; what is known of classical bits is shared.
    """

    num_one_qubit: int = 0
    num_virtual: int = 0
    num_two_qubit: int = 0
    num_measurements: int = 0
    num_resets: int = 0
    depth: dict[int, int] = field(default_factory=dict)
    broadcast_bits: list[int] = field(default_factory=list)
    contents_sent: set[tuple[Any, int]] = field(default_factory=set)
    version: dict[Any, int] = field(default_factory=dict)

    @classmethod
    def of(cls, circuit: QuantumCircuit) -> "_Tally":
        tally = cls()
        tally.add_circuit(
            circuit,
            {qubit: index for index, qubit in enumerate(circuit.qubits)},
            {clbit: clbit for clbit in circuit.clbits},
        )
        return tally

    def add_circuit(
        self, circuit: QuantumCircuit, qubit_index: Mapping[Any, int], outer: Mapping[Any, Any]
    ) -> None:
        open_groups: dict[int, _Group] = {}
        for item in circuit.data:
            name = item.name
            qubits = tuple(qubit_index[qubit] for qubit in item.qubits)
            if name == "if_else":
                clbits = tuple(outer[clbit] for clbit in item.clbits)
                self.open_block(open_groups, item.operation, qubits, clbits)
                continue
            if name in CONTROL_FLOW_OP_NAMES:
                raise InputError(
                    f"circuit: branches must be if_else, got {name!r}; unroll it, hardware runs "
                    "no other control flow"
                )
            # A barrier or a delay between two blocks changes nothing about what they hold.
            if open_groups and name not in ("barrier", "delay"):
                self.close_groups(open_groups, qubits)
            self.add_operation(name, qubits)
            for clbit in item.clbits:
                self.version[outer[clbit]] = self.version.get(outer[clbit], 0) + 1
        self.close_groups(open_groups, tuple(open_groups))

    def add_operation(self, name: str, qubits: tuple[int, ...]) -> None:
        if name in _NOT_PLAYED or not qubits:
            return
        if len(qubits) > 1:
            self.num_two_qubit += 1
            level = 1 + max(self.depth.get(qubit, 0) for qubit in qubits)
            self.depth.update(dict.fromkeys(qubits, level))
        elif name in _VIRTUAL:
            self.num_virtual += 1
        elif name.startswith("measure"):
            self.num_measurements += 1
        elif name.startswith("reset"):
            self.num_resets += 1
        else:
            self.num_one_qubit += 1

    def open_block(
        self,
        open_groups: dict[int, _Group],
        operation: Any,
        qubits: tuple[int, ...],
        clbits: tuple[Any, ...],
    ) -> None:
        """Adds a block to the group that stands before it on all its qubits, or opens one."""
        key, wanted = self.read_condition(operation.condition)
        block = _Block(wanted, operation.blocks, qubits, clbits)
        before = {id(open_groups.get(qubit)) for qubit in qubits}
        group = open_groups.get(qubits[0]) if qubits else None
        is_next = (
            len(before) == 1 and group is not None and set(group.blocks[0].qubits) == {*qubits}
        )
        if is_next and group is not None and wanted is not None and group.key == key:
            group.blocks.append(block)
            return
        self.close_groups(open_groups, qubits)
        open_groups.update(dict.fromkeys(qubits, _Group(key, [block])))
        if any(item.clbits for body in block.bodies for item in body.data):
            # It measures (no hardware does that): what follows may read what it wrote.
            self.close_groups(open_groups, qubits)

    def read_condition(
        self, condition: Condition
    ) -> tuple[Hashable, frozenset[tuple[Any, int]] | None]:
        """What content a condition tests, and for which values; sends what is not known yet."""
        for target in condition_targets(condition):
            bits = {(bit, self.version.get(bit, 0)) for bit in target_bits(target)}
            if not bits <= self.contents_sent:
                self.contents_sent |= bits
                self.broadcast_bits.append(len(bits))
        values = condition_values(condition)
        if values is None:
            return None, None
        content = frozenset((bit, self.version.get(bit, 0)) for bit in condition_bits(condition))
        # By bits, so that (m1, m2) and (m2, m1) are one content.
        wanted = frozenset(
            (bit, (value >> place) & 1)
            for target, value in values.items()
            for place, bit in enumerate(target_bits(target))
        )
        return content, wanted

    def close_groups(self, open_groups: dict[int, _Group], qubits: tuple[int, ...]) -> None:
        for qubit in qubits:
            group = open_groups.get(qubit)
            if group is not None:
                for used in group.blocks[0].qubits:
                    open_groups.pop(used, None)
                self.add_group(group)

    def add_group(self, group: _Group) -> None:
        """Takes the worst path of a group; the depth is the largest on each qubit."""
        # None is every value that no block tests.
        if group.key is None:
            choices = [[True], [False]]
        else:
            values = [*dict.fromkeys(block.wanted for block in group.blocks), None]
            choices = [[block.wanted == value for block in group.blocks] for value in values]
        paths = [self.fork_along(group, taken) for taken in choices]
        worst = max(paths, key=lambda path: (path.num_two_qubit, path.num_one_qubit))
        self.num_one_qubit = worst.num_one_qubit
        self.num_virtual = worst.num_virtual
        self.num_two_qubit = worst.num_two_qubit
        self.num_measurements = worst.num_measurements
        self.num_resets = worst.num_resets
        for qubit in group.blocks[0].qubits:
            self.depth[qubit] = max(path.depth.get(qubit, 0) for path in paths)

    def fork_along(self, group: _Group, taken: list[bool]) -> "_Tally":
        """Counts after one path through a group."""
        path = _Tally(
            self.num_one_qubit,
            self.num_virtual,
            self.num_two_qubit,
            self.num_measurements,
            self.num_resets,
            depth={qubit: self.depth.get(qubit, 0) for qubit in group.blocks[0].qubits},
            broadcast_bits=self.broadcast_bits,
            contents_sent=self.contents_sent,
            version=self.version,
        )
        for block, is_taken in zip(group.blocks, taken, strict=True):
            number = 0 if is_taken else 1
            if number < len(block.bodies):
                body = block.bodies[number]
                path.add_circuit(
                    body,
                    dict(zip(body.qubits, block.qubits, strict=True)),
                    dict(zip(body.clbits, block.clbits, strict=True)),
                )
        return path
