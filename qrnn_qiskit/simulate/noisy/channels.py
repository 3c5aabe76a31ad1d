"""Gates and errors as Pauli transfer matrices: real matrices on the Pauli coefficients of a state.

A state of k qubits is its coefficients `r[P] = Tr(P rho)`, one for each Pauli string P in the
order I, X, Y, Z, the first qubit's Pauli the slowest index. A channel E is the matrix
`R[P, Q] = Tr(P E(Q)) / 2^k`; channels one after the other are products of matrices. (Nielsen and
Chuang, section 8.4.2, in today's names.) The coefficient of I...I is the probability.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from math import cos, exp, pi, sin

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qrnn_qiskit.devices import GateNoise, QubitNoise
from qrnn_qiskit.devices.gate_error import depolarising_parameter
from qrnn_qiskit.program.readout import PAULI_MATRICES

Matrix = NDArray[np.float64]

_PAULIS = (np.eye(2, dtype=complex), *(PAULI_MATRICES[name] for name in "XYZ"))


def transfer_matrix(unitary: ArrayLike) -> Matrix:
    """The channel of a unitary, `(4**k, 4**k)`.

    Args:
        unitary: in Qiskit's order, the first qubit the lowest bit of an index.

    Example:
        >>> transfer_matrix([[0, 1], [1, 0]]).diagonal().tolist()
        [1.0, 1.0, -1.0, -1.0]
    """
    matrix = np.asarray(unitary, dtype=complex)
    num_qubits = int(np.log2(len(matrix)))
    # The first qubit is the slowest index of a channel and the last factor of a matrix.
    strings = [reduce(np.kron, paulis[::-1]) for paulis in product(_PAULIS, repeat=num_qubits)]
    basis = np.array(strings)
    moved = matrix @ basis @ matrix.conj().T
    found = np.einsum("aij,bji->ab", basis, moved).real / len(matrix)
    # Clifford gates are exact: nothing is added up from 1e-17.
    rounded = np.round(found)
    return np.where(np.abs(found - rounded) < 1e-15, rounded, found)


def rotation_terms(unitary: Callable[[float], ArrayLike]) -> Matrix:
    """Matrices T of a Pauli rotation: its channel is `T[0] + cos(angle) T[1] + sin(angle) T[2]`.

    Args:
        unitary: of an angle in radians, `exp(-i angle P / 2)` up to a phase.

    Example:
        >>> terms = rotation_terms(lambda angle: np.diag([1, np.exp(1j * angle)]))
        >>> terms[1].diagonal().tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    zero, half, quarter = (transfer_matrix(unitary(angle)) for angle in (0.0, pi, pi / 2))
    constant = (zero + half) / 2
    return np.stack((constant, (zero - half) / 2, quarter - constant))


def rotation_at(terms: Matrix, angle_rad: float) -> Matrix:
    """The channel of a Pauli rotation by a known angle.

    Example:
        >>> terms = rotation_terms(lambda angle: np.diag([1, np.exp(1j * angle)]))
        >>> bool(np.allclose(rotation_at(terms, np.pi), np.diag([1, -1, -1, 1])))
        True
    """
    channel: Matrix = terms[0] + cos(angle_rad) * terms[1] + sin(angle_rad) * terms[2]
    return channel


def relaxation_channel(qubit: QubitNoise, duration_ns: float) -> Matrix:
    """T1 and T2 over a time, towards |0>.

    Example:
        >>> relaxation_channel(QubitNoise(0, 0, t1_ns=1.0, t2_ns=2.0), 1.0).round(3)[3].tolist()
        [0.632, 0.0, 0.0, 0.368]
    """
    population, coherence = exp(-duration_ns / qubit.t1_ns), exp(-duration_ns / qubit.t2_ns)
    channel = np.diag([1.0, coherence, coherence, population])
    channel[3, 0] = 1 - population
    return channel


def gate_error(gate: GateNoise, qubits: Sequence[QubitNoise]) -> Matrix:
    """What follows a gate: depolarising, then relaxation of each qubit over its duration.

    Args:
        gate: error and duration.
        qubits: its qubits, in the gate's order.

    Example:
        >>> perfect = QubitNoise(0.0, 0.0)
        >>> gate_error(GateNoise("sx", (0,), 0.03, 0.0), [perfect]).diagonal().round(3).tolist()
        [1.0, 0.94, 0.94, 0.94]
    """
    kept = 1 - depolarising_parameter(gate, qubits)
    depolarising = np.diag([1.0] + [kept] * (4 ** len(qubits) - 1))
    relaxation: Matrix = np.eye(1)
    for qubit in qubits:
        single = relaxation_channel(qubit, gate.duration_ns)
        relaxation = np.kron(relaxation, single).astype(np.float64)
    return np.asarray(relaxation @ depolarising)


def prepared_state(qubit: QubitNoise) -> Matrix:
    """Channel that leaves what a reset leaves, |1> with the chance of its error.

    Example:
        >>> prepared_state(QubitNoise(0, 0, reset_error=0.1))[:, 0].tolist()
        [1.0, 0.0, 0.0, 0.8]
    """
    channel = np.zeros((4, 4))
    channel[:, 0] = 1.0, 0.0, 0.0, 1 - 2 * qubit.reset_error
    return channel


def recorded_bit(qubit: QubitNoise) -> Matrix:
    """From a qubit's coefficients to probabilities of its recorded bit, `(2, 4)`.

    Example:
        >>> (recorded_bit(QubitNoise(0.1, 0.2)) @ [1, 0, 0, -1]).round(12).tolist()
        [0.2, 0.8]
    """
    true = np.array([[0.5, 0.0, 0.0, 0.5], [0.5, 0.0, 0.0, -0.5]])
    return _confusion(qubit) @ true


def recorded_bit_and_state(qubit: QubitNoise) -> Matrix:
    """The same for a qubit that is used further: it collapses on the true bit, `(2, 4, 4)`.

    Example:
        >>> recorded_bit_and_state(QubitNoise(0.1, 0.2))[1, :, 0].round(2).tolist()
        [0.45, 0.0, 0.0, -0.35]
    """
    collapsed = np.zeros((2, 4, 4))
    collapsed[:, [0, 3], [0, 3]] = 0.5
    collapsed[:, [0, 3], [3, 0]] = [[0.5], [-0.5]]
    return np.einsum("rt,tij->rij", _confusion(qubit), collapsed)


def _confusion(qubit: QubitNoise) -> Matrix:
    """Recorded bit of a true bit."""
    e0, e1 = qubit.read_one_given_zero, qubit.read_zero_given_one
    return np.array([[1 - e0, e1], [e0, 1 - e1]])
