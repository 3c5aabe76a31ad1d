"""Swap-free compilation: every coupled pair of qubits is, and stays, a pair of neighbours.

A placement of the interaction graph is found first (`placement`), weighted with what one
timestep does to every qubit and coupling, waiting included; the best ones are scored with a
schedule of their own. Between timesteps no qubit moves, so that a window is one timestep.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

import numpy as np
from qiskit import QuantumCircuit

from qrnn_qiskit.compiling.interaction import (
    Interaction,
    build_interactions,
    build_transports,
)
from qrnn_qiskit.compiling.isa import fence, remove_fences, translate
from qrnn_qiskit.compiling.placement import PlacementCosts, find_placements
from qrnn_qiskit.compiling.profile import TranspileProfile
from qrnn_qiskit.compiling.tiling import CompileWindow
from qrnn_qiskit.compiling.transport import MAX_TRANSPORT_QUBITS
from qrnn_qiskit.compiling.windows import Candidate, Compilation, Templates
from qrnn_qiskit.costing.loss import Uses, count_uses
from qrnn_qiskit.costing.schedule import Schedule
from qrnn_qiskit.devices import DeviceTarget
from qrnn_qiskit.program import SequenceProgram

# Trees for moving qubits that are compiled and scored: their places differ more than they do.
_NUM_SCORED_TRANSPORTS = 3


def find_embeddings(
    program: SequenceProgram, device: DeviceTarget, profile: TranspileProfile
) -> Iterator[Candidate]:
    """Compilations without routing, for each number of banks.

    Every qubit stays, with as few spares as there is a place for; or memory qubits move as
    planned, unless all couplings of the program's own banks have a place as they are.
    """
    is_ring, max_ring = _rings(device)
    fewest = program.cell.num_banks
    may_move = True
    for num_banks in range(fewest, fewest + profile.extra_banks + 1):
        interactions = build_interactions(
            program.cell, num_banks, is_ring, max_ring if profile.spare_qubits else 0
        )
        resting = next(_embed_each(program, device, profile, interactions), None)
        if resting is not None:
            yield resting
        if num_banks == fewest:
            may_move = resting is None or resting.compilation.form.num_spares > 0
        if may_move:
            yield from _find_transports(program, device, profile, num_banks)


def suggest_anchors(program: SequenceProgram, device: DeviceTarget) -> Iterator[tuple[int, ...]]:
    """Anchors of the same number of readouts whose couplings have a place as they are.

    No swap and no spare is needed for them: on a ring of a heavy hexagon, for example, anchors
    two sites apart have readout qubits beside the ring, neighbours do not. Anchors are part of the
    model, so that nothing but a suggestion can come from a device.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend, read_target
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> cell = CellSpec(Ansatz("sim14", 12), (Readout("Z", 0), Readout("Z", 1)))
        >>> device = read_target(load_fake_backend("fake_boston"))
        >>> next(suggest_anchors(SequenceProgram(cell, 2), device))
        (0, 2)
    """
    cell = program.cell
    for anchors in combinations(range(cell.ansatz.num_memory), cell.num_readouts):
        moved = tuple(
            replace(readout, anchor=anchor)
            for readout, anchor in zip(cell.readouts, anchors, strict=True)
        )
        (direct,) = build_interactions(
            replace(cell, readouts=moved), cell.num_banks, lambda size: False, 0
        )
        costs = _first_costs(device, direct)
        if find_placements(direct, device.neighbours, costs, num_best=1):
            yield anchors


def _find_transports(
    program: SequenceProgram, device: DeviceTarget, profile: TranspileProfile, num_banks: int
) -> Iterator[Candidate]:
    if program.cell.ansatz.num_memory > MAX_TRANSPORT_QUBITS:
        return

    def has_place(interaction: Interaction) -> bool:
        # With nothing to choose by, the first place found ends the search.
        free = PlacementCosts(
            _first_costs(device, interaction).of_qubit,
            dict.fromkeys(interaction.edges, dict.fromkeys(device.edges, 0.0)),
        )
        return bool(find_placements(interaction, device.neighbours, free, 1))

    interactions = build_transports(
        program.cell,
        num_banks,
        max_degree=max(map(len, device.neighbours)),
        coupling_cost=1 if profile.fractional_gates else 2,
        has_place=has_place,
    )
    yield from islice(_embed_each(program, device, profile, interactions), _NUM_SCORED_TRANSPORTS)


def _embed_each(
    program: SequenceProgram,
    device: DeviceTarget,
    profile: TranspileProfile,
    interactions: Iterable[Interaction],
) -> Iterator[Candidate]:
    for interaction in interactions:
        candidate = _embed(program, device, profile, interaction)
        if candidate is not None:
            yield candidate


def _rings(device: DeviceTarget) -> tuple[Callable[[int], bool], int]:
    """Which lengths of rings a lattice may have, from its shortest one and its colours."""
    girth, is_bipartite = _girth(device.neighbours)
    # Beyond two more than the shortest ring, spares cost more than routing does.
    return lambda size: size >= girth and not (is_bipartite and size % 2), girth + 2


def _girth(neighbours: Sequence[Sequence[int]]) -> tuple[int, bool]:
    shortest, is_bipartite = 2**31, True
    for start in range(len(neighbours)):
        depth = {start: (0, -1)}
        queue = deque([start])
        while queue:
            qubit = queue.popleft()
            level, parent = depth[qubit]
            for other in neighbours[qubit]:
                if other not in depth:
                    depth[other] = (level + 1, qubit)
                    queue.append(other)
                elif other != parent:
                    shortest = min(shortest, level + depth[other][0] + 1)
                    is_bipartite = is_bipartite and level != depth[other][0]
    return shortest, is_bipartite


def _embed(
    program: SequenceProgram,
    device: DeviceTarget,
    profile: TranspileProfile,
    interaction: Interaction,
) -> Candidate | None:
    """The compilation with the least expected loss on this graph; None if it has no place."""
    first = find_placements(interaction, device.neighbours, _first_costs(device, interaction), 1)
    if not first:
        return None
    work = Compilation(program, device, profile, interaction.form(profile.readout_gate))
    compile_window = _swap_free(work, first[0])
    templates = work.build_templates(compile_window)
    leaders = []
    for choice in work.with_either_measurement():
        trial = _Trial.of(choice, compile_window, choice.name_instructions(templates))
        schedule = choice.build_schedule(trial.sample, first[0])
        costs = _measured_costs(choice, interaction, trial.uses, schedule)
        places = find_placements(interaction, device.neighbours, costs, profile.layout_candidates)
        leaders.append((trial.score(places[0]), trial, places[1:]))
    # Each measurement on its best place by the search; other places of the better one are close.
    leader, trial, places = min(leaders, key=lambda entry: entry[0].loss)
    best = min([leader, *map(trial.score, places)], key=lambda candidate: candidate.loss)
    if device.two_qubit_gate == "cz" or best.physical_qubits == first[0]:
        return best
    # Directed gates: the circuit depends on the place.
    compile_window = _swap_free(work, best.physical_qubits)
    named = best.compilation.name_instructions(work.build_templates(compile_window))
    return _Trial.of(best.compilation, compile_window, named).score(best.physical_qubits)


@dataclass(frozen=True, eq=False)
class _Trial:
    """Windows with one choice of measurement, to be scored in different places."""

    work: Compilation
    compile_window: CompileWindow
    templates: Templates
    sample: QuantumCircuit
    uses: Uses

    @classmethod
    def of(cls, work: Compilation, compile_window: CompileWindow, templates: Templates) -> "_Trial":
        sample = work.sample(templates)
        return cls(work, compile_window, templates, sample, count_uses(sample))

    def score(self, placement: tuple[int, ...]) -> Candidate:
        loss = self.work.loss_per_timestep(self.sample, placement, self.uses)
        return Candidate(self.work, placement, self.compile_window, self.templates, loss)


def _swap_free(work: Compilation, placement: tuple[int, ...]) -> CompileWindow:
    target = work.device.restrict(placement)

    def compile_window(window: QuantumCircuit) -> QuantumCircuit:
        compiled = translate(
            fence(window),
            target,
            work.device.name,
            optimization_level=work.profile.optimization_level,
            seed=work.profile.seeds[0],
            initial_layout=range(len(placement)),
            # Or the three CX gates of a swap would become a relabelling.
            routing_method="none",
        )
        layout = compiled.layout
        moved = layout is not None and layout.final_index_layout() != [*range(len(placement))]
        assert not moved, "a swap-free window was routed"
        return remove_fences(compiled)

    return compile_window


def _first_costs(device: DeviceTarget, interaction: Interaction) -> PlacementCosts:
    """Two-qubit errors alone, for a first placement to measure a timestep on."""
    errors = {edge: device.error(device.two_qubit_gate, edge) for edge in device.edges}
    of_qubit = np.full((interaction.num_qubits, device.num_qubits), np.inf)
    of_qubit[:, list(device.usable_qubits)] = 0.0
    return PlacementCosts(of_qubit, dict.fromkeys(interaction.edges, errors))


def _measured_costs(
    work: Compilation, interaction: Interaction, uses: Uses, schedule: Schedule
) -> PlacementCosts:
    """Losses of every choice of place, from what a sample does on one of them."""
    device = work.device
    usable = list(device.usable_qubits)
    of_qubit = np.full((interaction.num_qubits, device.num_qubits), np.inf)
    of_qubit[:, usable] = 0.0
    rates = 1 / (6 * device.t1_ns) + 1 / (3 * device.t2_ns)
    for qubit in range(work.num_program_qubits):
        of_qubit[qubit, usable] += schedule.idle_ns(qubit) * rates[usable]
    of_edge: dict[tuple[int, int], dict[tuple[int, int], float]] = {
        edge: dict.fromkeys(device.edges, 0.0) for edge in interaction.edges
    }
    for (name, qubits), count in uses.items():
        if len(qubits) == 1:
            errors = np.array([device.error(name, (physical,)) for physical in usable])
            of_qubit[qubits[0], usable] += count * errors
        else:
            losses = of_edge[min(qubits), max(qubits)]
            for edge in losses:
                losses[edge] += count * device.error(name, edge)
    return PlacementCosts(of_qubit, of_edge)
