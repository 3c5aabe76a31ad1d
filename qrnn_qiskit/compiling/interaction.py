"""Which qubits of a program must be neighbours, and how distant ones are joined by spare qubits.

Qubits are counted as in the circuit: memory, readout qubits bank by bank, spares. A spare stays
in |0>: a coupling runs along a path of spares over CX copies (`CircuitForm.routes`), at two more
CX gates a spare. So a ring of eight fits a hexagon of twelve, and an anchor reaches more readout
qubits than it has neighbours, without a swap. Where not even that helps, or costs more, few memory
qubits can move over a small tree and be back after each timestep (`transport`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, product

from qrnn_qiskit.compiling.transport import Transport, find_transports
from qrnn_qiskit.program import CellSpec
from qrnn_qiskit.program.circuit import CircuitForm, ReadoutGate, TimestepPlan


@dataclass(frozen=True)
class Interaction:
    """The graph that a placement has to find in a device.

    Attributes:
        num_qubits: spares included.
        num_banks: banks of readout qubits.
        num_spares: the last qubits.
        edges: pairs of qubits with two-qubit gates between them, each sorted.
        routes: paths of couplings that run through spares.
        plans: for each bank, how memory qubits move; then the first qubits are sites.
    """

    num_qubits: int
    num_banks: int
    num_spares: int
    edges: tuple[tuple[int, int], ...]
    routes: tuple[tuple[int, ...], ...] = ()
    plans: tuple[TimestepPlan, ...] = ()

    def form(self, readout_gate: ReadoutGate) -> CircuitForm:
        """How the circuit is written on this graph."""
        return CircuitForm(readout_gate, self.num_banks, self.num_spares, self.routes, self.plans)

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """Neighbours of each qubit."""
        found: list[list[int]] = [[] for _ in range(self.num_qubits)]
        for first, second in self.edges:
            found[first].append(second)
            found[second].append(first)
        return tuple(tuple(sorted(others)) for others in found)


def find_couplings(cell: CellSpec, num_banks: int) -> tuple[tuple[int, int], ...]:
    """Pairs of circuit qubits that a program couples: of the ansatz, and anchors with readouts.

    Example:
        >>> from qrnn_qiskit.program import Ansatz, Readout
        >>> find_couplings(CellSpec(Ansatz("brick", 3), (Readout("Z", 0),)), num_banks=2)
        ((0, 1), (1, 2), (0, 3), (0, 4))
    """
    memory = {
        (min(rotation.qubits), max(rotation.qubits))
        for rotation in cell.ansatz.rotations
        if len(rotation.qubits) == 2
    }
    readouts = [
        (readout.anchor, cell.ansatz.num_memory + bank * cell.num_readouts + index)
        for bank in range(num_banks)
        for index, readout in enumerate(cell.readouts)
    ]
    return (*sorted(memory), *readouts)


def build_interactions(
    cell: CellSpec, num_banks: int, is_ring: Callable[[int], bool], max_ring: int
) -> Iterator[Interaction]:
    """Graphs that carry a cell's couplings: as they are, then with more and more spares.

    Args:
        cell: the timestep.
        num_banks: banks of readout qubits.
        is_ring: whether a device may have a ring of so many qubits.
        max_ring: longest ring that is worth looking for; 0 for no spares at all.
    """
    couplings = find_couplings(cell, num_banks)
    yield _join(cell, num_banks, couplings, {})
    if not max_ring:
        return
    joined = [
        ring | hub
        for ring, hub in product(
            _ring_detours(cell, is_ring, max_ring), _hub_detours(cell, num_banks)
        )
        if ring or hub
    ]
    for detours in sorted(joined, key=lambda entry: len(_spares(entry))):
        yield _join(cell, num_banks, couplings, detours)


# Trees that are tried for a place, and those with one that are planned in full. Gates beyond the
# fewest can pay where they shorten a timestep: 46 of depth 25 instead of 44 of depth 30.
_MAX_TRIED = 64
_MAX_PLANNED = 8
_MAX_COST_RATIO = 1.2


def build_transports(
    cell: CellSpec,
    num_banks: int,
    max_degree: int,
    coupling_cost: int,
    has_place: Callable[[Interaction], bool],
) -> Iterator[Interaction]:
    """Trees on which memory qubits move and come back: fewest entangling gates and layers first.

    Args:
        cell: the timestep.
        num_banks: banks of readout qubits.
        max_degree: neighbours that a device qubit can have.
        coupling_cost: entangling gates of an RZZ: two, or one where it is native.
        has_place: whether a device has a place for a graph.
    """
    transports = find_transports(
        tuple((r.qubits[0], r.qubits[1]) for r in cell.ansatz.rotations if len(r.qubits) == 2),
        tuple(readout.anchor for readout in cell.readouts),
        num_sites=cell.ansatz.num_memory,
        num_banks=num_banks,
        max_degree=max_degree,
        coupling_cost=coupling_cost,
    )
    found: list[tuple[Transport, Interaction]] = []
    for transport in islice(transports, _MAX_TRIED):
        if found and transport.cost > _MAX_COST_RATIO * found[0][0].cost:
            break
        tree = _hang_readouts(cell, num_banks, transport)
        if has_place(tree):
            found.append((transport, tree))
        if len(found) == _MAX_PLANNED:
            break
    # A layer of gates on a few waiting qubits loses about as much as a gate.
    found.sort(key=lambda entry: entry[0].cost + entry[0].depth)
    for transport, tree in found:
        yield replace(tree, plans=transport.plans)


def _hang_readouts(cell: CellSpec, num_banks: int, transport: Transport) -> Interaction:
    num_memory, num_readouts = cell.ansatz.num_memory, cell.num_readouts
    hanging = tuple(
        (site, num_memory + bank * num_readouts + index)
        for bank, sites in enumerate(transport.readout_sites)
        for index, site in enumerate(sites)
    )
    num_qubits = num_memory + num_readouts * num_banks
    return Interaction(num_qubits, num_banks, 0, transport.edges + hanging)


# A detour names the spares on the way: ("ring", 2) is the third spare of a ring's open edge.
_Detours = dict[tuple[int, int], tuple[tuple[str, int], ...]]


def _spares(detours: _Detours) -> tuple[tuple[str, int], ...]:
    return tuple(dict.fromkeys(name for chain in detours.values() for name in chain))


def _ring_detours(cell: CellSpec, is_ring: Callable[[int], bool], max_ring: int) -> list[_Detours]:
    """No detour, or spares that lengthen the ansatz' ring, all in one of its edges."""
    num_memory = cell.ansatz.num_memory
    if cell.ansatz.name != "sim14" or num_memory < 3:
        return [{}]
    ring = [tuple(sorted((q, (q + 1) % num_memory))) for q in range(num_memory)]
    # The edge that closes the ring first; the others move the anchors along the ring.
    edges = [ring[-1], *ring[:-1]]
    return [{}] + [
        {(edge[0], edge[1]): tuple(("ring", step) for step in range(num_spares))}
        for num_spares in range(1, max_ring - num_memory + 1)
        if is_ring(num_memory + num_spares)
        for edge in edges
    ]


# Detours of different readouts are combined up to this many readouts; more take the same one.
_MAX_COMBINED_READOUTS = 2


def _hub_detours(cell: CellSpec, num_banks: int) -> list[_Detours]:
    """No detour, or the later banks of anchors behind one or two spares.

    On a heavy hexagon the neighbour of a site has one more neighbour, which has two more: a hub
    of two spares serves two banks. Next to a site with two neighbours, or on a square lattice,
    one spare serves as many as it has neighbours left.
    """
    if num_banks < 2:
        return [{}]
    choices: list[tuple[int, int] | None] = [None]
    choices += product((1, 2), range(num_banks - 1, -1, -1))
    readouts = range(cell.num_readouts)
    if cell.num_readouts <= _MAX_COMBINED_READOUTS:
        combined = list(product(choices, repeat=cell.num_readouts))
    else:
        combined = [(choice,) * cell.num_readouts for choice in choices]
    found = []
    for choice_of in combined:
        detours: _Detours = {}
        for index in readouts:
            detours |= _hub_detour(cell, num_banks, index, choice_of[index])
        found.append(detours)
    return found


def _hub_detour(
    cell: CellSpec, num_banks: int, index: int, choice: tuple[int, int] | None
) -> _Detours:
    """Detours of one readout's banks: hubs of so many spares, behind so many direct banks."""
    if choice is None:
        return {}
    length, num_direct = choice
    first, anchor = cell.ansatz.num_memory + index, cell.readouts[index].anchor
    return {
        (anchor, first + bank * cell.num_readouts): tuple(
            (f"hub {index} {(bank - num_direct) // (2 if length == 2 else 3)}", step)
            for step in range(length)
        )
        for bank in range(num_direct, num_banks)
    }


def _join(
    cell: CellSpec, num_banks: int, couplings: tuple[tuple[int, int], ...], detours: _Detours
) -> Interaction:
    num_qubits = cell.ansatz.num_memory + cell.num_readouts * num_banks
    spares = _spares(detours)
    number = {name: num_qubits + index for index, name in enumerate(spares)}
    edges: dict[tuple[int, int], None] = {}
    routes = []
    for first, second in couplings:
        path = (first, *(number[name] for name in detours.get((first, second), ())), second)
        for step in range(len(path) - 1):
            edges[(min(path[step : step + 2]), max(path[step : step + 2]))] = None
        if len(path) > 2:
            routes.append(path)
    return Interaction(
        num_qubits + len(spares), num_banks, len(spares), tuple(edges), tuple(routes)
    )
