"""A noisy dynamic circuit with full density matrices, one unnormalised matrix per record.

Slow and obvious: every channel is a list of Kraus operators in closed form, every record of bits
has its own complex ``2^q x 2^q`` matrix, and instructions are applied in the circuit's order.
Only numpy and qiskit circuit objects are used, and nothing from ``qrnn_qiskit``, so that agreement
with an engine means something.

Bit order everywhere: qubit q is bit q of a basis-state index, clbit k is bit k of a record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister
from qiskit.circuit.classical import expr
from qiskit.quantum_info import Operator

PAULIS = [
    np.eye(2),
    np.array([[0, 1], [1, 0]]),
    np.array([[0, -1j], [1j, 0]]),
    np.diag([1, -1]),
]


@dataclass(frozen=True)
class PlainQubit:
    """``e0 = P(1|0)``, ``e1 = P(0|1)``, times in ns, chance that a reset leaves 1."""

    e0: float = 0.0
    e1: float = 0.0
    t1: float = np.inf
    t2: float = np.inf
    reset_error: float = 0.0


@dataclass(frozen=True)
class PlainNoise:
    """Errors of a circuit.

    Attributes:
        qubits: by index.
        gates: average infidelity and duration in ns by name and qubits.
        idle_factor: a delay of t relaxes as ``idle_factor * t``.
    """

    qubits: Sequence[PlainQubit]
    gates: Mapping[tuple[str, tuple[int, ...]], tuple[float, float]] = field(default_factory=dict)
    idle_factor: float = 1.0


@dataclass(frozen=True)
class NoisyRecords:
    """Record -> unnormalised final density matrix; its trace is the record's probability."""

    matrices: Mapping[int, np.ndarray]

    def marginal(self, clbits: Sequence[int]) -> np.ndarray:
        """Distribution of clbits, shape ``(2**len(clbits),)``; ``clbits[k]`` is bit k."""
        result = np.zeros(2 ** len(clbits))
        for record, matrix in self.matrices.items():
            index = sum((record >> clbit & 1) << k for k, clbit in enumerate(clbits))
            result[index] += np.trace(matrix).real
        return result


def walk_noisy(circuit: QuantumCircuit, noise: PlainNoise) -> NoisyRecords:
    """All records of a bound circuit with delays, and the states that they leave.

    A gate is followed by depolarising and relaxation over its duration, which together have the
    reported average infidelity, or by relaxation alone if that loses more. A measurement collapses
    on the true bit and records the misread one, which conditions read. A delay in ns is rounded to
    1 ns.
    """
    size = 2**circuit.num_qubits
    start = np.zeros((size, size), dtype=complex)
    start[0, 0] = 1
    where = {qubit: index for index, qubit in enumerate(circuit.qubits)}
    bits = {clbit: index for index, clbit in enumerate(circuit.clbits)}
    return NoisyRecords(_walk(circuit, where, bits, {0: start}, noise))


def _walk(body, where, bits, states, noise):
    for item in body.data:
        qubits = tuple(where[qubit] for qubit in item.qubits)
        name = item.operation.name
        if name == "barrier":
            continue
        if name == "if_else":
            taken, other = {}, {}
            for record, state in states.items():
                holds = _evaluate(item.operation.condition, record, bits)
                (taken if holds else other)[record] = state
            blocks = [*item.operation.blocks, None][:2]
            states = {}
            for block, part in zip(blocks, (taken, other), strict=True):
                if block is not None and part:
                    inner = dict(zip(block.qubits, qubits, strict=True))
                    part = _walk(block, inner, bits, part, noise)
                states |= part
        elif name.startswith("measure"):
            states = _measure(states, qubits[0], bits[item.clbits[0]], noise.qubits[qubits[0]])
        else:
            for kraus in _channels(item.operation, qubits, noise):
                states = _apply(states, kraus, qubits)
    return states


def _evaluate(condition, record, bits):
    def value_of(target):
        if isinstance(target, ClassicalRegister):
            return sum((record >> bits[bit] & 1) << k for k, bit in enumerate(target))
        return record >> bits[target] & 1

    def evaluate(node):
        if isinstance(node, expr.Value):
            return int(node.value)
        if isinstance(node, expr.Var):
            return value_of(node.var)
        if isinstance(node, expr.Cast):
            return evaluate(node.operand)
        left, right = evaluate(node.left), evaluate(node.right)
        if node.op == expr.Binary.Op.EQUAL:
            return int(left == right)
        assert node.op == expr.Binary.Op.BIT_AND
        return left & right

    if isinstance(condition, expr.Expr):
        return bool(evaluate(condition))
    return value_of(condition[0]) == int(condition[1])


def _channels(operation, qubits, noise):
    """Lists of Kraus operators, one after the other, on the operation's qubits."""
    name = operation.name
    if name == "delay":
        assert operation.unit == "ns"
        time = round(operation.duration) * noise.idle_factor
        return [_relaxation(noise.qubits[qubits[0]], time)]
    if name.startswith("reset"):
        error = noise.qubits[qubits[0]].reset_error
        down = [np.diag([1, 0]), np.array([[0, 1], [0, 0]])]
        return [down, [np.sqrt(1 - error) * PAULIS[0], np.sqrt(error) * PAULIS[1]]]
    channels = [[Operator(operation).data]]
    if (name, qubits) in noise.gates:
        error, duration = noise.gates[name, qubits]
        channels += _gate_noise(error, duration, tuple(noise.qubits[qubit] for qubit in qubits))
    return channels


def _relaxation(qubit, time):
    """Amplitude damping, then dephasing down to the coherence of T2."""
    kept, coherence = np.exp(-time / qubit.t1), np.exp(-time / qubit.t2)
    flip = (1 - coherence / np.sqrt(kept)) / 2
    damping = [np.diag([1, np.sqrt(kept)]), np.array([[0, np.sqrt(1 - kept)], [0, 0]])]
    dephasing = [np.sqrt(1 - flip) * PAULIS[0], np.sqrt(max(flip, 0.0)) * PAULIS[3]]
    return [second @ first for first in damping for second in dephasing]


@cache
def _gate_noise(error, duration, qubits):
    dimension = 2 ** len(qubits)
    relaxation = [
        _together(single) for single in product(*(_relaxation(qubit, duration) for qubit in qubits))
    ]
    # The entanglement fidelity is linear in the depolarising parameter.
    alone = sum(abs(np.trace(kraus)) ** 2 for kraus in relaxation) / dimension**2
    scrambled = 1 / dimension**2
    wanted = max(((dimension + 1) * (1 - error) - 1) / dimension, 0.0)
    parameter = 0.0
    if wanted < alone and alone > scrambled:
        parameter = (alone - wanted) / (alone - scrambled)
    # More than complete depolarising is a channel up to weight 0 of the identity.
    parameter = min(parameter, dimension**2 / (dimension**2 - 1))
    weights = np.full(dimension**2, parameter / dimension**2)
    weights[0] = 1 - weights[1:].sum()
    strings = [_together(string) for string in product(PAULIS, repeat=len(qubits))]
    depolarising = [
        np.sqrt(max(weight, 0.0)) * string for weight, string in zip(weights, strings, strict=True)
    ]
    return [depolarising, relaxation]


def _together(matrices):
    """One matrix of one on each qubit, the first qubit the lowest bit."""
    full = np.eye(1)
    for matrix in matrices:
        full = np.kron(matrix, full)
    return full


def _apply(states, kraus, qubits):
    """sum_k K rho K^dagger of every record."""
    superoperator = sum(np.kron(matrix, matrix.conj()) for matrix in kraus)
    num_qubits = int(np.log2(len(next(iter(states.values())))))
    stacked = np.stack(list(states.values())).reshape(-1, *(2,) * (2 * num_qubits))
    # Axes of a C-ordered reshape run from the most significant qubit down.
    rows = [num_qubits - qubit for qubit in reversed(qubits)]
    axes = [*rows, *(axis + num_qubits for axis in rows)]
    shape = superoperator.shape[0]
    moved = np.moveaxis(stacked, axes, range(-len(axes), 0))
    changed = (moved.reshape(-1, shape) @ superoperator.T).reshape(moved.shape)
    result = np.moveaxis(changed, range(-len(axes), 0), axes)
    size = 2**num_qubits
    return dict(zip(states, result.reshape(-1, size, size), strict=True))


def _measure(states, qubit, bit, noise):
    wrong = {0: noise.e0, 1: noise.e1}
    after: dict[int, np.ndarray] = {}
    for true in (0, 1):
        projector = np.diag([1 - true, true])
        for record, state in _apply(states, [projector], (qubit,)).items():
            for recorded in (0, 1):
                weight = wrong[true] if recorded != true else 1 - wrong[true]
                if weight == 0:
                    continue
                key = record & ~(1 << bit) | recorded << bit
                after[key] = after.get(key, 0) + weight * state
    return after
