"""A compiled circuit with a device's noise and waiting as a list of merged steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.costing import Schedule
from qrnn_qiskit.costing.padding import insert_delays
from qrnn_qiskit.devices import DeviceNoise
from qrnn_qiskit.errors import require
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate.noisy.angles import AngleMap, AngleTable
from qrnn_qiskit.simulate.noisy.chains import MAX_ANGLES, Chain, Core, Pending
from qrnn_qiskit.simulate.noisy.channels import Matrix
from qrnn_qiskit.simulate.noisy.circuit import flatten_circuit
from qrnn_qiskit.simulate.noisy.gates import NoisyGates
from qrnn_qiskit.simulate.noisy.layout import Layout, lay_out
from qrnn_qiskit.simulate.noisy.passes import Pass, PassBuilder

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LinearTerms:
    """Channels of equally many angles: matrices of products of 1, cos and sin.

    Attributes:
        angles: `(num_channels, num_angles)`.
        terms: `(num_channels, 3**num_angles, dim, dim)`, the first angle the slowest index.
    """

    angles: Indices
    terms: Matrix


@dataclass(frozen=True, eq=False)
class ChainGroups:
    """All one-qubit channels of a circuit.

    Attributes:
        pieces: channels of few angles, grouped by the number of angles.
        products: for chains of k pieces, `(num_chains, k)` indices into all pieces, the first
            one rightmost in the product; chains are numbered through.
    """

    pieces: tuple[LinearTerms, ...]
    products: tuple[Indices, ...]


@dataclass(frozen=True, eq=False)
class MatrixGroup:
    """Matrices of passes of one shape: one for each pass and assignment of its variables.

    Attributes:
        before: for each qubit, the index of its chain, `(num_matrices,)`.
        enters: for each qubit, whether it was no part of the state before.
        cores: of pairs; None for passes on one qubit.
        core_of: index of a matrix's core, `(num_matrices,)`.
        exits: for each qubit, None or chains `(num_matrices,)` and what measures then
            `(num_matrices, num_outputs, 4)`.
    """

    before: tuple[Indices, ...]
    enters: tuple[bool, ...]
    cores: LinearTerms | None
    core_of: Indices
    exits: tuple[tuple[Indices, Matrix] | None, ...]

    @property
    def num_matrices(self) -> int:
        """Number of matrices."""
        return len(self.before[0])


@dataclass(frozen=True, eq=False)
class NoisyPlan:
    """What `run_noisy` computes: made once for a compiled circuit, a schedule and a noise.

    Attributes:
        program: of the circuit.
        angles: from controls to angles.
        chains: one-qubit channels.
        groups: matrices of passes.
        group_of_step: where the matrices of each step are, in the order of steps.
        layout: the steps.
    """

    program: SequenceProgram
    angles: AngleMap
    chains: ChainGroups
    groups: tuple[MatrixGroup, ...]
    group_of_step: tuple[int, ...]
    layout: Layout

    @property
    def num_numbers(self) -> int:
        """Numbers of all states and matrices together, per sample."""
        states = sum(step.num_numbers for step in self.layout.steps)
        return states + self.num_matrix_numbers

    @property
    def largest_state(self) -> int:
        """Numbers of the largest state, per sample."""
        return max(step.num_numbers for step in self.layout.steps)

    @property
    def num_matrix_numbers(self) -> int:
        """Numbers of all matrices, per sample."""
        return sum(group.num_matrices * 4 ** (2 * len(group.before)) for group in self.groups)


def build_noisy_plan(
    compiled: CompiledProgram, noise: DeviceNoise, schedule: Schedule | None = None
) -> NoisyPlan:
    """The plan of a compiled circuit.

    The circuit, noise and waiting are those of `AerExecutor` with the same arguments: a gate is
    followed by depolarising and relaxation, a measured bit may be misread and later branches read
    the misread one, a reset may leave |1>, and qubits relax while they wait, in branches, too.

    Args:
        compiled: for a device, or the logical circuit.
        noise: of the circuit's qubits.
        schedule: of the circuit; no qubit waits without one.

    Raises:
        InputError: if the noise is of another number of qubits, or the circuit holds something
            that hardware does not run.

    Example:
        >>> from qrnn_qiskit.compiling import compile_logical
        >>> from qrnn_qiskit.devices import QubitNoise
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 3)
        >>> noise = DeviceNoise("planted", (QubitNoise(0.01, 0.02),) * 3, ())
        >>> len(build_noisy_plan(compile_logical(program), noise).layout.steps)
        7
    """
    circuit = compiled.circuit
    require(len(noise.qubits) == circuit.num_qubits, "noise",
            f"must describe the circuit's {circuit.num_qubits} qubits", len(noise.qubits),
            "use noise_for(compiled, backend)")  # fmt: skip
    program = compiled.program
    num_bases = len(program.final_bases)
    angles = AngleTable(compiled)
    instructions = flatten_circuit(
        circuit if schedule is None else insert_delays(circuit, schedule)
    )
    passes = PassBuilder(instructions, NoisyGates(noise, angles), noise, num_bases).run()
    bits_of_timestep: dict[int, list[int]] = {}
    final_bits = []
    for bit in program.record:
        if bit.role == "final":
            final_bits.append(bit.position)
        else:
            bits_of_timestep.setdefault(bit.timestep, []).append(bit.position)
    layout = lay_out(passes, bits_of_timestep, final_bits, num_bases)
    table = _ChainTable(_chains_of(passes, layout))
    groups, group_of = _group_matrices(passes, layout, table)
    return NoisyPlan(program, angles.build(), table.groups, groups, group_of, layout)


def _chains_of(passes: Sequence[Pass], layout: Layout) -> list[Chain]:
    """All chains, equal ones once."""
    chains: dict[object, Chain] = {}
    for each, assignments in zip(passes, layout.assignments, strict=True):
        pendings = [*each.before, *(leave.pending for leave in each.exits.values())]
        for given in assignments:
            for pending in pendings:
                chain = pending.at(given)
                chains.setdefault(chain.key, chain)
    return list(chains.values())


class _ChainTable:
    """Numbers chains in the order in which `ChainGroups` computes them."""

    def __init__(self, chains: Sequence[Chain]) -> None:
        pieces: list[list[Chain]] = [[] for _ in range(MAX_ANGLES + 1)]
        # For each number of pieces, chains with the place of each piece.
        placed: dict[int, list[tuple[Chain, list[tuple[int, int]]]]] = {}
        for chain in chains:
            parts = []
            for piece in chain.pieces():
                group = pieces[len(piece.angles)]
                parts.append((len(piece.angles), len(group)))
                group.append(piece)
            placed.setdefault(len(parts), []).append((chain, parts))
        offsets = np.cumsum([0] + [len(group) for group in pieces])
        in_order = [entry for _, entries in sorted(placed.items()) for entry in entries]
        self._numbers = {chain.key: number for number, (chain, _) in enumerate(in_order)}
        self.groups = ChainGroups(
            tuple(
                LinearTerms(
                    np.array([piece.angles for piece in group], dtype=np.int64).reshape(
                        len(group), count
                    ),
                    np.array([piece.terms for piece in group]).reshape(-1, 3**count, 4, 4),
                )
                for count, group in enumerate(pieces)
            ),
            tuple(
                np.array([[offsets[count] + i for count, i in parts] for _, parts in entries])
                for _, entries in sorted(placed.items())
            ),
        )

    def numbers(self, pending: Pending, assignments: Sequence[Mapping[int, int]]) -> list[int]:
        """The chain for each assignment."""
        return [self._numbers[pending.at(given).key] for given in assignments]


def _group_matrices(
    passes: Sequence[Pass], layout: Layout, table: _ChainTable
) -> tuple[tuple[MatrixGroup, ...], tuple[int, ...]]:
    """Groups of passes that are computed alike, and the group of each pass."""
    members: dict[object, list[int]] = {}
    group_of = []
    for index, each in enumerate(passes):
        exits = tuple(each.exits[q].matrix.ndim if q in each.exits else 0 for q in each.qubits)
        num_angles = -1 if each.core is None else len(each.core.angles)
        kind = each.enters, exits, each.is_trace, num_angles
        members.setdefault(kind, []).append(index)
        group_of.append(list(members).index(kind))
    groups = tuple(_build_group(passes, layout, table, group) for group in members.values())
    return groups, tuple(group_of)


def _build_group(
    passes: Sequence[Pass], layout: Layout, table: _ChainTable, members: Sequence[int]
) -> MatrixGroup:
    first = passes[members[0]]
    before: list[list[int]] = [[] for _ in first.qubits]
    exit_chains: list[list[int]] = [[] for _ in first.qubits]
    exit_matrices: list[list[Matrix]] = [[] for _ in first.qubits]
    cores: list[Core] = []
    core_of: list[int] = []
    for index in members:
        each, assignments = passes[index], layout.assignments[index]
        if each.core is not None:
            core_of += [len(cores)] * len(assignments)
            cores.append(each.core)
        for slot, (qubit, pending) in enumerate(zip(each.qubits, each.before, strict=True)):
            before[slot] += table.numbers(pending, assignments)
            leave = each.exits.get(qubit)
            if leave is not None:
                exit_chains[slot] += table.numbers(leave.pending, assignments)
                exit_matrices[slot] += [leave.matrix.reshape(-1, 4)] * len(assignments)
            elif each.is_trace:
                exit_chains[slot] += before[slot][-len(assignments) :]
                exit_matrices[slot] += [np.eye(4)[:1]] * len(assignments)
    linear = None
    if cores:
        linear = LinearTerms(
            np.array([core.angles for core in cores], dtype=np.int64).reshape(len(cores), -1),
            np.array([core.terms for core in cores]),
        )
    return MatrixGroup(
        before=tuple(map(_indices, before)),
        enters=first.enters,
        cores=linear,
        core_of=_indices(core_of),
        exits=tuple(
            (_indices(chains), np.array(matrices)) if chains else None
            for chains, matrices in zip(exit_chains, exit_matrices, strict=True)
        ),
    )


def _indices(numbers: Sequence[int]) -> Indices:
    return np.array(numbers, dtype=np.int64)
