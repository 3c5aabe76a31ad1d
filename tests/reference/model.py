"""The recurrent model straight from its definition: dense matrices, every record enumerated.

No circuits, no readout qubits, no slots: the memory is a ``2**n x 2**n`` density matrix, a cell
is a product of dense gates, a readout is a pair of Kraus operators. Nothing is imported from
``qrnn_qiskit``. Cost: ``2**(a*T)`` records, each with T products of ``2**n x 2**n`` matrices.

Bit order: memory qubit q is bit q of a basis-state index; readout i is bit i of an outcome
m_t; outcome m_t (t = 1..T) sits at bits ``a*(t-1) .. a*t-1`` of a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PAULIS = {
    "I": np.eye(2, dtype=complex),
    "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]], dtype=complex),
    "Z": np.array([[1, 0], [0, -1]], dtype=complex),
}


@dataclass(frozen=True)
class ModelSpec:
    """What is run, as plain data.

    Attributes:
        num_memory: Memory qubits n.
        ansatz: ``sim14``, ``line`` or ``brick``.
        num_layers: Layers L of the ansatz in one cell.
        readouts: ``(pauli, anchor, phi)`` of each readout, applied in this order at every
            timestep. Ignored by the host loop.
        theta: ``(T, C, P)`` angles in radians: timestep, table column, angle in order of
            application. C is ``2**(a*history)`` for feedforward; other loops use column 0.
        loop: ``feedforward``, ``open`` or ``host``.
        steered: ``rotations`` (RY angles from the column in force, entanglers from column 0)
            or ``all``.
        history: Outcomes h the controller sees.
        feedback_delay: d; the newest outcome seen at timestep t is m_{t-1-d}.
        confusion: For each readout ``A[recorded, true]``, or None for perfect ones. Steering
            and records see the recorded bit, the state the true one.
    """

    num_memory: int
    ansatz: str
    num_layers: int
    readouts: tuple[tuple[str, int, float], ...]
    theta: np.ndarray
    loop: str = "feedforward"
    steered: str = "rotations"
    history: int = 1
    feedback_delay: int = 0
    confusion: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        num_angles = self.num_layers * len(layer_gates(self.ansatz, self.num_memory))
        theta = np.asarray(self.theta)
        if theta.ndim != 3 or theta.shape[2] != num_angles:
            raise ValueError(f"theta must have shape (T, C, {num_angles}), got {theta.shape}")
        num_columns = 2 ** (self.num_readouts * self.history)
        if self.loop == "feedforward" and theta.shape[1] != num_columns:
            raise ValueError(f"theta must have {num_columns} columns, got {theta.shape[1]}")
        if self.loop not in ("feedforward", "open", "host"):
            raise ValueError(f"unknown loop {self.loop!r}")
        if self.steered not in ("rotations", "all"):
            raise ValueError(f"unknown steered {self.steered!r}")

    @property
    def num_readouts(self) -> int:
        return len(self.readouts)

    @property
    def num_timesteps(self) -> int:
        return np.asarray(self.theta).shape[0]


@dataclass(frozen=True)
class ModelResult:
    """Exact numbers of one sequence.

    Attributes:
        record_probabilities: ``(2**(a*T),)`` probability of each whole record; ``(1,)`` in the
            host loop, which has no mid-circuit record.
        outcome_distributions: ``(T, 2**a)`` probability of each outcome m_t; ``(T, 1)`` ones
            in the host loop.
        states: ``(T, 2**n, 2**n)`` density matrix after each timestep (its readouts
            included), averaged over records.
        pauli_expectations: ``(T, 3, n)`` <X_i>, <Y_i>, <Z_i> of ``states``: the z_t of the
            host loop.
        record_states: Record -> unnormalised final density matrix.
    """

    record_probabilities: np.ndarray
    outcome_distributions: np.ndarray
    states: np.ndarray
    pauli_expectations: np.ndarray
    record_states: dict[int, np.ndarray]

    @property
    def final_state(self) -> np.ndarray:
        """Density matrix after the last timestep, averaged over records."""
        return self.states[-1]

    def final_distribution(self, basis: str) -> np.ndarray:
        """Terminal measurement of all memory qubits, shape ``(2**n,)``.

        Args:
            basis: One of XYZ per qubit, ``basis[q]`` for memory qubit q (so not the reversed
                order of qiskit labels). Bit q of the outcome is 0 for eigenvalue +1.
        """
        return product_basis_distribution(self.final_state, basis)


def layer_gates(ansatz: str, num_qubits: int) -> list[tuple[str, tuple[int, ...]]]:
    """Gates of one layer in order of application, ``(name, qubits)``; CRX as (control, target)."""
    n = num_qubits
    if ansatz == "sim14" and n < 2:
        raise ValueError(f"sim14 needs num_qubits >= 2 for its rings, got {n}")
    rotations = [("ry", (q,)) for q in range(n)]
    if ansatz == "sim14":
        # Sim et al., Adv. Quantum Technol. 2, 1900070 (2019), circuit 14.
        first_ring = [("crx", (control, (control + 1) % n)) for control in range(n - 1, -1, -1)]
        controls = [n - 1, *range(n - 1)]
        second_ring = [("crx", (control, (control - 1) % n)) for control in controls]
        return rotations + first_ring + rotations + second_ring
    if ansatz == "line":
        up = [("crx", (q, q + 1)) for q in range(n - 1)]
        down = [("crx", (q + 1, q)) for q in range(n - 1)]
        return up + rotations + down
    if ansatz == "brick":
        even = [("rzz", (q, q + 1)) for q in range(0, n - 1, 2)]
        odd = [("rzz", (q, q + 1)) for q in range(1, n - 1, 2)]
        return rotations + even + rotations + odd
    raise ValueError(f"unknown ansatz {ansatz!r}")


def embed(factors: dict[int, np.ndarray], num_qubits: int) -> np.ndarray:
    """Kronecker product with ``factors[q]`` on qubit q and the identity elsewhere."""
    matrix = np.ones((1, 1), dtype=complex)
    for qubit in range(num_qubits):
        # Later qubits are more significant: they go to the left.
        matrix = np.kron(factors.get(qubit, PAULIS["I"]), matrix)
    return matrix


def gate_matrix(name: str, qubits: tuple[int, ...], angle: float, num_qubits: int) -> np.ndarray:
    """Dense matrix of RY, CRX (control, target) or RZZ, all with the half-angle convention."""
    identity = np.eye(2**num_qubits)
    cos, sin = np.cos(angle / 2), np.sin(angle / 2)
    if name == "ry":
        return cos * identity - 1j * sin * embed({qubits[0]: PAULIS["Y"]}, num_qubits)
    if name == "rzz":
        both = embed({qubits[0]: PAULIS["Z"], qubits[1]: PAULIS["Z"]}, num_qubits)
        return cos * identity - 1j * sin * both
    if name == "crx":
        control, target = qubits
        off = embed({control: np.diag([1, 0])}, num_qubits)
        on = embed({control: np.diag([0, 1])}, num_qubits)
        rx = cos * identity - 1j * sin * embed({target: PAULIS["X"]}, num_qubits)
        return off + on @ rx
    raise ValueError(f"unknown gate {name!r}")


def cell_unitary(spec: ModelSpec, timestep: int, column: int) -> np.ndarray:
    """U(theta) of one timestep (1..T) with the table column in force."""
    theta = np.asarray(spec.theta)[timestep - 1]
    gates = layer_gates(spec.ansatz, spec.num_memory) * spec.num_layers
    unitary = np.eye(2**spec.num_memory, dtype=complex)
    for k, (name, qubits) in enumerate(gates):
        follows_column = spec.steered == "all" or name == "ry"
        angle = theta[column if follows_column else 0, k]
        unitary = gate_matrix(name, qubits, angle, spec.num_memory) @ unitary
    return unitary


def kraus_operator(
    pauli: str, anchor: int, phi: float, outcome: int, num_qubits: int
) -> np.ndarray:
    """M_c = (cos(phi/2) 1 + (-1)^c sin(phi/2) P)/sqrt(2).

    M_c^dagger M_c is then the POVM element (1 + (-1)^c sin(phi) P)/2.
    """
    sign = -1 if outcome else 1
    identity = np.eye(2**num_qubits)
    flipped = embed({anchor: PAULIS[pauli]}, num_qubits)
    return (np.cos(phi / 2) * identity + sign * np.sin(phi / 2) * flipped) / np.sqrt(2)


def table_column(spec: ModelSpec, timestep: int, outcomes: Sequence[int]) -> int:
    """Column in force at a timestep (1..T), given ``outcomes`` = (m_1, ..., m_{t-1})."""
    if spec.loop != "feedforward":
        return 0
    newest = timestep - 1 - spec.feedback_delay
    num_available = min(spec.history, max(0, newest))
    column = 0
    for j in range(num_available):
        outcome = outcomes[newest - j - 1]  # outcomes[0] is m_1
        column += outcome << (spec.num_readouts * j)
    return column


def read_out(spec: ModelSpec, rho: np.ndarray) -> list[np.ndarray]:
    """Unnormalised states after all readouts of one timestep, by recorded outcome m."""
    states = [rho]
    for i, (pauli, anchor, phi) in enumerate(spec.readouts):
        confusion = np.eye(2) if spec.confusion is None else np.asarray(spec.confusion[i])
        kraus = [kraus_operator(pauli, anchor, phi, c, spec.num_memory) for c in (0, 1)]
        by_recorded_bit = []
        for recorded in (0, 1):
            for state in states:
                after = [kraus[true] @ state @ kraus[true].conj().T for true in (0, 1)]
                by_recorded_bit.append(
                    confusion[recorded, 0] * after[0] + confusion[recorded, 1] * after[1]
                )
        # The new bit is the most significant one so far.
        states = by_recorded_bit
    return states


def run_model(spec: ModelSpec, initial_state: np.ndarray | None = None) -> ModelResult:
    """Exact result of one sequence.

    Args:
        spec: What to run.
        initial_state: Density matrix of the memory; None is |0...0>.
    """
    dimension = 2**spec.num_memory
    rho = np.zeros((dimension, dimension), dtype=complex)
    rho[0, 0] = 1
    if initial_state is not None:
        rho = np.array(initial_state, dtype=complex)

    num_bits = 0 if spec.loop == "host" else spec.num_readouts
    # Each entry: the outcomes so far -> the unnormalised state that goes with them.
    branches: dict[tuple[int, ...], np.ndarray] = {(): rho}
    outcome_distributions = np.zeros((spec.num_timesteps, 2**num_bits))
    states = np.zeros((spec.num_timesteps, dimension, dimension), dtype=complex)
    for t in range(1, spec.num_timesteps + 1):
        unitaries: dict[int, np.ndarray] = {}
        extended: dict[tuple[int, ...], np.ndarray] = {}
        for outcomes, state in branches.items():
            column = table_column(spec, t, outcomes)
            if column not in unitaries:
                unitaries[column] = cell_unitary(spec, t, column)
            evolved = unitaries[column] @ state @ unitaries[column].conj().T
            after = [evolved] if spec.loop == "host" else read_out(spec, evolved)
            for outcome, new_state in enumerate(after):
                extended[(*outcomes, outcome)] = new_state
                outcome_distributions[t - 1, outcome] += np.trace(new_state).real
                states[t - 1] += new_state
        branches = extended

    record_states = {
        sum(m << (num_bits * k) for k, m in enumerate(outcomes)): state
        for outcomes, state in branches.items()
    }
    record_probabilities = np.zeros(2 ** (num_bits * spec.num_timesteps))
    for record, state in record_states.items():
        record_probabilities[record] = np.trace(state).real
    return ModelResult(
        record_probabilities,
        outcome_distributions,
        states,
        np.array([single_qubit_paulis(state) for state in states]),
        record_states,
    )


def single_qubit_paulis(rho: np.ndarray) -> np.ndarray:
    """<X_i>, <Y_i>, <Z_i> of a density matrix, shape ``(3, n)``."""
    n = int(np.log2(len(rho)))
    return np.array(
        [[np.trace(embed({q: PAULIS[p]}, n) @ rho).real for q in range(n)] for p in "XYZ"]
    )


def product_basis_distribution(rho: np.ndarray, basis: str) -> np.ndarray:
    """Outcome probabilities of measuring qubit q in ``basis[q]``, shape ``(2**n,)``."""
    n = len(basis)
    result = np.zeros(2**n)
    for outcome in range(2**n):
        projectors = {
            q: (PAULIS["I"] + (-1) ** (outcome >> q & 1) * PAULIS[basis[q]]) / 2 for q in range(n)
        }
        result[outcome] = np.trace(embed(projectors, n) @ rho).real
    return result
