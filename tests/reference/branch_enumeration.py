"""Every branch of a small dynamic circuit, followed one after the other.

A circuit with measurements, resets and ``if_else`` is walked from its first to its last
instruction while a growing list of unnormalised pure states, each with its classical bits, is
kept. Nothing is sampled. Only numpy and qiskit circuit objects are used, and nothing from
``qrnn_qiskit``, so that agreement with an engine means something.

Bit order everywhere: qubit q is bit q of a basis-state index, clbit k is bit k of a record.
Qubits and clbits are named by their index in the outermost circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister, Clbit, ControlFlowOp, IfElseOp
from qiskit.circuit.classical import expr, types
from qiskit.quantum_info import Operator

Confusion = Callable[[int], np.ndarray | None] | Mapping[int, np.ndarray]

# 2^20 floats are 8 MB; a longer record is better served by `distribution`.
MAX_ARRAY_CLBITS = 20

PAULIS = {
    "I": np.eye(2, dtype=complex),
    "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]], dtype=complex),
    "Z": np.array([[1, 0], [0, -1]], dtype=complex),
}


@dataclass(frozen=True)
class Enumeration:
    """All branches of one circuit.

    Attributes:
        num_qubits: Qubits of the circuit.
        num_clbits: Clbits of the circuit.
        states: ``(num_branches, 2**num_qubits)`` unnormalised final states; a squared norm is
            the branch's probability.
        bits: ``(num_branches, num_clbits)`` the recorded bits of each branch. Several branches
            may share one record (reset, readout confusion, overwritten clbits): they add up
            incoherently.
        dropped_probability: Total probability of the branches cut by ``min_probability``.
    """

    num_qubits: int
    num_clbits: int
    states: np.ndarray
    bits: np.ndarray
    dropped_probability: float

    @property
    def weights(self) -> np.ndarray:
        """Probability of each branch, shape ``(num_branches,)``."""
        return np.sum(np.abs(self.states) ** 2, axis=1)

    @property
    def records(self) -> list[int]:
        """Record of each branch as a little-endian integer (Python ints: any length)."""
        return [pack_bits(row) for row in self.bits]

    @property
    def distribution(self) -> dict[int, float]:
        """Record -> probability, records of probability zero left out."""
        result: dict[int, float] = {}
        for record, weight in zip(self.records, self.weights, strict=True):
            result[record] = result.get(record, 0.0) + float(weight)
        return result

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of each record, shape ``(2**num_clbits,)``.

        Raises:
            ValueError: If the circuit has more than 20 clbits; use `distribution` there.
        """
        if self.num_clbits > MAX_ARRAY_CLBITS:
            raise ValueError(
                f"probabilities needs num_clbits <= {MAX_ARRAY_CLBITS}, got {self.num_clbits}; "
                "use distribution or marginal"
            )
        return self.marginal(range(self.num_clbits))

    def marginal(self, clbits: Sequence[int]) -> np.ndarray:
        """Distribution of ``clbits``, shape ``(2**len(clbits),)``; ``clbits[k]`` is bit k."""
        result = np.zeros(2 ** len(clbits))
        for row, weight in zip(self.bits, self.weights, strict=True):
            result[pack_bits([row[k] for k in clbits])] += weight
        return result

    def parity(self, clbits: Sequence[int]) -> float:
        """Expectation of the product of ``(-1)**bit`` over ``clbits`` (1 for none)."""
        return float(np.sum(self._signs(clbits) * self.weights))

    def pauli_expectation(
        self, label: str, qubits: Sequence[int], signed_by: Sequence[int] = ()
    ) -> float:
        """Expectation of a Pauli string of the final state, averaged over branches.

        Args:
            label: One of IXYZ for each entry of ``qubits``: ``label[k]`` acts on ``qubits[k]``
                (not the reversed order of qiskit labels).
            qubits: The qubits acted on.
            signed_by: Clbits whose ``(-1)**bit`` multiplies each branch: the correlator of a
                record parity with a final Pauli.
        """
        if len(label) != len(qubits):
            raise ValueError(f"label {label!r} needs one letter for each of qubits {qubits}")
        moved = self.states
        for letter, qubit in zip(label, qubits, strict=True):
            moved = _apply_matrix(moved, PAULIS[letter], [qubit], self.num_qubits)
        values = np.real(np.sum(self.states.conj() * moved, axis=1))
        return float(np.sum(self._signs(signed_by) * values))

    def density_matrices(self, qubits: Sequence[int] | None = None) -> dict[int, np.ndarray]:
        """Record -> unnormalised final density matrix; its trace is the record's probability.

        Args:
            qubits: Keep only these (``qubits[0]`` least significant), trace out the others.
                None keeps all.
        """
        kept = list(range(self.num_qubits)) if qubits is None else list(qubits)
        lost = [q for q in range(self.num_qubits) if q not in kept]
        # Axes of a C-ordered reshape run from the most significant qubit down.
        order = [self.num_qubits - 1 - q for q in reversed(lost + kept)]
        result: dict[int, np.ndarray] = {}
        for record, state in zip(self.records, self.states, strict=True):
            tensor = state.reshape((2,) * self.num_qubits).transpose(order)
            matrix = tensor.reshape(2 ** len(kept), 2 ** len(lost))
            rho = matrix @ matrix.conj().T
            result[record] = result.get(record, 0) + rho
        return result

    def density_matrix(self, qubits: Sequence[int] | None = None) -> np.ndarray:
        """Final density matrix averaged over all records."""
        return sum(self.density_matrices(qubits).values())

    def _signs(self, clbits: Sequence[int]) -> np.ndarray:
        signs = np.ones(len(self.bits))
        for k in clbits:
            signs *= 1 - 2 * self.bits[:, k].astype(int)
        return signs


def enumerate_records(
    circuit: QuantumCircuit,
    initial_state: np.ndarray | None = None,
    min_probability: float = 0.0,
    readout_confusion: Confusion | None = None,
) -> Enumeration:
    """All records of a bound dynamic circuit, with their probabilities and final states.

    Understands every operation that ``qiskit.quantum_info.Operator`` turns into a unitary, and
    ``measure*``, ``reset*`` (by name, so ``measure_2`` counts), ``barrier``, ``delay`` and
    ``if_else`` at any nesting.

    Args:
        circuit: No free parameters. Compiled circuits work too, if small enough.
        initial_state: Statevector of ``2**num_qubits`` amplitudes; None is ``|0...0>``.
        min_probability: Branches at or below this are dropped where they arise. The default
            drops impossible branches only.
        readout_confusion: Qubit index -> ``A[recorded, true]``, columns summing to one, as a
            mapping or a function (None or a missing key: perfect). The state collapses on the
            true outcome; later conditions see the recorded one. Resets are not affected.

    Raises:
        ValueError: On free parameters, or a wrong size of ``initial_state``.
        NotImplementedError: On other control flow, ``store``, or classical variables.
    """
    if circuit.parameters:
        raise ValueError(
            f"circuit must be bound, has free parameters {list(circuit.parameters)}; "
            "call assign_parameters first"
        )
    num_qubits, num_clbits = circuit.num_qubits, circuit.num_clbits
    state = np.zeros(2**num_qubits, dtype=complex)
    state[0] = 1
    if initial_state is not None:
        state = np.array(initial_state, dtype=complex)
        if state.shape != (2**num_qubits,):
            raise ValueError(f"initial_state must have shape {(2**num_qubits,)}, got {state.shape}")
    walker = _Walker(num_qubits, min_probability, _confusion_lookup(readout_confusion))
    states, bits = walker.walk(
        circuit,
        {qubit: k for k, qubit in enumerate(circuit.qubits)},
        {clbit: k for k, clbit in enumerate(circuit.clbits)},
        state[np.newaxis, :],
        np.zeros((1, num_clbits), dtype=bool),
    )
    return Enumeration(num_qubits, num_clbits, states, bits, walker.dropped_probability)


def pack_bits(bits: Sequence[bool] | np.ndarray) -> int:
    """The integer whose bit k is ``bits[k]``."""
    return sum(1 << k for k, bit in enumerate(bits) if bit)


class _Walker:
    """Carries what stays the same over a walk, and the probability dropped so far."""

    def __init__(
        self,
        num_qubits: int,
        min_probability: float,
        confusion: Callable[[int], np.ndarray | None],
    ) -> None:
        self.num_qubits = num_qubits
        self.min_probability = min_probability
        self.confusion = confusion
        self.dropped_probability = 0.0

    def walk(self, circuit, qubit_index, clbit_index, states, bits):
        """Branches ``(states, bits)`` after all instructions of ``circuit``.

        ``qubit_index`` and ``clbit_index`` map the bits of this circuit, which may be the body
        of an ``if_else``, to indices of the outermost one.
        """
        for instruction in circuit.data:
            operation = instruction.operation
            qubits = [qubit_index[q] for q in instruction.qubits]
            clbits = [clbit_index[c] for c in instruction.clbits]
            if operation.name in ("barrier", "delay"):
                continue
            if operation.name.startswith("measure"):
                states, bits = self.measure(qubits[0], clbits[0], states, bits)
            elif operation.name.startswith("reset"):
                states, bits = self.reset(qubits[0], states, bits)
            elif isinstance(operation, IfElseOp):
                states, bits = self.if_else(operation, qubits, clbits, clbit_index, states, bits)
            elif isinstance(operation, ControlFlowOp) or operation.name == "store":
                raise NotImplementedError(f"the oracle does not walk {operation.name!r}")
            else:
                matrix = Operator(operation).data
                states = _apply_matrix(states, matrix, qubits, self.num_qubits)
        return states, bits

    def measure(self, qubit, clbit, states, bits):
        matrix = self.confusion(qubit)
        matrix = np.eye(2) if matrix is None else np.asarray(matrix, dtype=float)
        pieces = []
        for true in (0, 1):
            projected = _project(states, qubit, true, self.num_qubits)
            for recorded in (0, 1):
                new_bits = bits.copy()
                new_bits[:, clbit] = recorded
                pieces.append((np.sqrt(matrix[recorded, true]) * projected, new_bits))
        return self.collect(pieces)

    def reset(self, qubit, states, bits):
        found_zero = _project(states, qubit, 0, self.num_qubits)
        found_one = _project(states, qubit, 1, self.num_qubits)
        flipped = _apply_matrix(found_one, PAULIS["X"], [qubit], self.num_qubits)
        return self.collect([(found_zero, bits), (flipped, bits)])

    def if_else(self, operation, qubits, clbits, clbit_index, states, bits):
        condition = operation.condition
        taken = np.array(
            [_condition_holds(condition, row, clbit_index) for row in bits], dtype=bool
        )
        pieces = []
        for branch_number, chosen in enumerate((taken, ~taken)):
            piece = (states[chosen], bits[chosen])
            # An absent else is the identity.
            if branch_number < len(operation.blocks) and chosen.any():
                body = operation.blocks[branch_number]
                piece = self.walk(
                    body,
                    dict(zip(body.qubits, qubits, strict=True)),
                    dict(zip(body.clbits, clbits, strict=True)),
                    *piece,
                )
            pieces.append(piece)
        return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])

    def collect(self, pieces):
        states = np.concatenate([piece[0] for piece in pieces])
        bits = np.concatenate([piece[1] for piece in pieces])
        weights = np.sum(np.abs(states) ** 2, axis=1)
        kept = weights > self.min_probability
        self.dropped_probability += float(np.sum(weights[~kept]))
        return states[kept], bits[kept]


def _apply_matrix(states, matrix, qubits, num_qubits):
    """``matrix`` on ``qubits`` (``qubits[0]`` least significant) of every row of ``states``."""
    num_acted = len(qubits)
    if num_acted == 0:  # a bare global phase
        return states * matrix[0, 0]
    tensor = states.reshape((-1,) + (2,) * num_qubits)
    gate = np.asarray(matrix).reshape((2,) * (2 * num_acted))
    # Axis 0 counts branches; a C-ordered reshape puts the most significant qubit next.
    axes = [num_qubits - q for q in reversed(qubits)]
    tensor = np.tensordot(gate, tensor, axes=(range(num_acted, 2 * num_acted), axes))
    return np.moveaxis(tensor, range(num_acted), axes).reshape(states.shape)


def _project(states, qubit, outcome, num_qubits):
    projector = np.zeros((2, 2))
    projector[outcome, outcome] = 1
    return _apply_matrix(states, projector, [qubit], num_qubits)


def _confusion_lookup(confusion: Confusion | None) -> Callable[[int], np.ndarray | None]:
    if confusion is None:
        return lambda qubit: None
    if isinstance(confusion, Mapping):
        return confusion.get
    return confusion


def _condition_holds(condition, row, clbit_index) -> bool:
    if isinstance(condition, expr.Expr):
        return bool(_evaluate(condition, row, clbit_index))
    target, value = condition
    return _read(target, row, clbit_index) == int(value)


def _read(target, row, clbit_index) -> int:
    if isinstance(target, Clbit):
        return int(row[clbit_index[target]])
    if isinstance(target, ClassicalRegister):
        return pack_bits([row[clbit_index[bit]] for bit in target])
    raise NotImplementedError(f"the oracle does not know classical variable {target!r}")


_BINARY = {
    expr.Binary.Op.BIT_AND: lambda a, b: a & b,
    expr.Binary.Op.BIT_OR: lambda a, b: a | b,
    expr.Binary.Op.BIT_XOR: lambda a, b: a ^ b,
    expr.Binary.Op.LOGIC_AND: lambda a, b: int(bool(a) and bool(b)),
    expr.Binary.Op.LOGIC_OR: lambda a, b: int(bool(a) or bool(b)),
    expr.Binary.Op.EQUAL: lambda a, b: int(a == b),
    expr.Binary.Op.NOT_EQUAL: lambda a, b: int(a != b),
    expr.Binary.Op.LESS: lambda a, b: int(a < b),
    expr.Binary.Op.LESS_EQUAL: lambda a, b: int(a <= b),
    expr.Binary.Op.GREATER: lambda a, b: int(a > b),
    expr.Binary.Op.GREATER_EQUAL: lambda a, b: int(a >= b),
    expr.Binary.Op.SHIFT_LEFT: lambda a, b: a << b,
    expr.Binary.Op.SHIFT_RIGHT: lambda a, b: a >> b,
    expr.Binary.Op.ADD: lambda a, b: a + b,
    expr.Binary.Op.SUB: lambda a, b: a - b,
    expr.Binary.Op.MUL: lambda a, b: a * b,
}


def _evaluate(node, row, clbit_index) -> int:
    """Value of an expression as an unsigned integer (bool: 0 or 1) within its type's width."""

    def value_of(child):
        return _evaluate(child, row, clbit_index)

    if isinstance(node, expr.Var):
        return _read(node.var, row, clbit_index)
    if isinstance(node, expr.Value):
        return int(node.value)
    if isinstance(node, expr.Cast):
        return _fit(node.type, value_of(node.operand))
    if isinstance(node, expr.Index):
        return (value_of(node.target) >> value_of(node.index)) & 1
    if isinstance(node, expr.Unary) and node.op == expr.Unary.Op.BIT_NOT:
        return _fit(node.type, ~value_of(node.operand))
    if isinstance(node, expr.Unary) and node.op == expr.Unary.Op.LOGIC_NOT:
        return int(not value_of(node.operand))
    if isinstance(node, expr.Binary) and node.op in _BINARY:
        return _fit(node.type, _BINARY[node.op](value_of(node.left), value_of(node.right)))
    raise NotImplementedError(f"the oracle does not evaluate {node!r}")


def _fit(kind, value: int) -> int:
    if isinstance(kind, types.Bool):
        # BIT_NOT of a bool arrives as -1 or -2: only its last bit counts; a cast from an
        # integer to bool asks whether it is non-zero.
        return value & 1 if value < 0 else int(value != 0)
    if isinstance(kind, types.Uint):
        return value & ((1 << kind.width) - 1)
    raise NotImplementedError(f"the oracle does not evaluate values of type {kind}")
