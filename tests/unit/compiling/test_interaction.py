"""Graphs to place: couplings as they are, rings with spares, hubs, trees to move on."""

from itertools import islice, pairwise

import pytest

from qrnn_qiskit.compiling.interaction import (
    Interaction,
    build_interactions,
    build_transports,
    find_couplings,
)
from qrnn_qiskit.program import Ansatz, CellSpec, Readout


def cell_of(ansatz, num_memory, *anchors, **more):
    return CellSpec(Ansatz(ansatz, num_memory), tuple(Readout("Z", a) for a in anchors), **more)


def fits_heavy_hex(size):
    return size >= 12 and size % 2 == 0


def never(size):
    return False


def as_set(edges):
    return {frozenset(edge) for edge in edges}


CELLS = {
    "ring": (cell_of("sim14", 8, 0), 1),
    "small ring": (cell_of("sim14", 3, 1), 1),
    "ring, two readouts": (cell_of("sim14", 6, 0, 3), 2),
    "chain, three banks": (cell_of("brick", 4, 1), 3),
    "chain, two readouts": (cell_of("line", 5, 0, 4), 2),
    "chain, three readouts": (cell_of("line", 5, 0, 2, 4), 2),
}


def graphs(name, is_ring=fits_heavy_hex, max_ring=14):
    cell, num_banks = CELLS[name]
    return list(build_interactions(cell, num_banks, is_ring, max_ring))


@pytest.mark.parametrize(
    ("cell", "num_banks", "expected"),
    [
        (cell_of("line", 3, 2), 1, {(0, 1), (1, 2), (2, 3)}),
        (cell_of("brick", 4, 0, 3), 1, {(0, 1), (1, 2), (2, 3), (0, 4), (3, 5)}),
        # Banks one after the other: readouts 3 and 4 first, then 5 and 6.
        (cell_of("line", 3, 0, 2), 2, {(0, 1), (1, 2), (0, 3), (2, 4), (0, 5), (2, 6)}),
        (cell_of("sim14", 4, 1), 1, {(0, 1), (1, 2), (2, 3), (0, 3), (1, 4)}),
        # A ring of two is one edge, and layers add none.
        (cell_of("sim14", 2, 0), 1, {(0, 1), (0, 2)}),
        (CellSpec(Ansatz("line", 3, 4), (Readout("X", 0),)), 1, {(0, 1), (1, 2), (0, 3)}),
        (CellSpec(Ansatz("sim14", 3), loop="host"), 1, {(0, 1), (1, 2), (0, 2)}),
    ],
)
def test_couplings(cell, num_banks, expected):
    couplings = find_couplings(cell, num_banks)
    assert len(couplings) == len(expected)
    assert as_set(couplings) == as_set(expected)
    # Banks come one after the other.
    assert find_couplings(cell, 1) == couplings[: len(find_couplings(cell, 1))]


@pytest.mark.parametrize("name", CELLS)
def test_the_first_graph_has_the_couplings_alone(name):
    cell, num_banks = CELLS[name]
    first = graphs(name)[0]
    assert first.num_qubits == cell.ansatz.num_memory + num_banks * cell.num_readouts
    assert (first.num_spares, first.routes, first.plans) == (0, (), ())
    assert as_set(first.edges) == as_set(find_couplings(cell, num_banks))
    assert graphs(name, max_ring=0) == [first]


@pytest.mark.parametrize("name", CELLS)
def test_every_route_is_a_path_of_edges_through_spares(name):
    cell, num_banks = CELLS[name]
    couplings = as_set(find_couplings(cell, num_banks))
    num_own = cell.ansatz.num_memory + num_banks * cell.num_readouts
    for item in graphs(name):
        edges = as_set(item.edges)
        assert len(edges) == len(item.edges)
        assert all(first < second for first, second in item.edges)
        assert item.num_qubits == num_own + item.num_spares
        routed, used = set(), set()
        for route in item.routes:
            assert all(frozenset(step) in edges for step in pairwise(route))
            assert len(set(route)) == len(route)
            assert all(num_own <= spare < item.num_qubits for spare in route[1:-1])
            assert max(route[0], route[-1]) < num_own
            routed.add(frozenset((route[0], route[-1])))
            used |= set(map(frozenset, pairwise(route)))
        # Each coupling is an edge or a route, and nothing else is.
        assert routed <= couplings
        assert edges == (couplings - routed) | used
        spares = {spare for route in item.routes for spare in route[1:-1]}
        assert spares == set(range(num_own, item.num_qubits))
        assert item.neighbours == tuple(
            tuple(sorted(other for other in range(item.num_qubits) if {qubit, other} in edges))
            for qubit in range(item.num_qubits)
        )


@pytest.mark.parametrize("name", CELLS)
def test_graphs_come_with_more_and_more_spares(name):
    numbers = [item.num_spares for item in graphs(name)]
    assert numbers == sorted(numbers)
    assert len({(item.edges, item.routes) for item in graphs(name)}) == len(numbers)


def ring_sizes(items, num_memory):
    return {
        num_memory + len(route) - 2
        for item in items
        for route in item.routes
        if max(route[0], route[-1]) < num_memory
    }


@pytest.mark.parametrize(
    ("is_ring", "max_ring", "sizes"),
    [
        (fits_heavy_hex, 14, {12, 14}),
        (fits_heavy_hex, 12, {12}),
        # A square lattice.
        (lambda size: size >= 4 and size % 2 == 0, 10, {10}),
        (lambda size: size >= 3, 11, {9, 10, 11}),
        (never, 14, set()),
    ],
)
def test_rings_have_lengths_that_the_lattice_has(is_ring, max_ring, sizes):
    items = graphs("ring", is_ring, max_ring)
    assert ring_sizes(items, 8) == sizes
    # Any edge of the ring may be the long one.
    assert len(items) == 1 + 8 * len(sizes)
    for item in items[1:]:
        (route,) = item.routes
        assert item.num_spares == len(route) - 2
        assert abs(route[0] - route[-1]) in (1, 7)


def test_chains_have_no_ring_to_lengthen():
    cell = cell_of("line", 8, 0)
    assert len(list(build_interactions(cell, 1, fits_heavy_hex, 14))) == 1
    assert len(list(build_interactions(cell_of("sim14", 2, 0), 1, fits_heavy_hex, 14))) == 1


def test_hubs_serve_the_later_banks():
    """An anchor with three banks: direct ones, and the others behind one or two spares."""
    items = graphs("chain, three banks")
    shapes = set()
    for item in items[1:]:
        assert ring_sizes([item], 4) == set()
        assert {route[0] for route in item.routes} == {1}
        readouts = [route[-1] for route in item.routes]
        # Readout qubits 4, 5, 6 are the banks in turn: direct ones come first.
        assert readouts == list(range(7 - len(readouts), 7))
        lengths = {len(route) - 2 for route in item.routes}
        assert len(lengths) == 1
        shapes.add((*lengths, 3 - len(readouts)))
        # What a hub of one or two spares has place for.
        for spare in range(7, item.num_qubits):
            ends = [route for route in item.routes if route[-2] == spare]
            assert len(ends) <= (2 if lengths == {2} else 3)
    assert shapes == {(length, direct) for length in (1, 2) for direct in (0, 1, 2)}


def test_one_bank_needs_no_hub():
    assert len(list(build_interactions(cell_of("line", 4, 0, 3), 1, never, 14))) == 1


def test_two_readouts_have_hubs_of_their_own_and_three_the_same():
    two = graphs("chain, two readouts")
    served = {frozenset(route[0] for route in item.routes) for item in two}
    assert served == {frozenset(), frozenset({0}), frozenset({4}), frozenset({0, 4})}
    three = graphs("chain, three readouts")
    assert {frozenset(route[0] for route in item.routes) for item in three} == {
        frozenset(),
        frozenset({0, 2, 4}),
    }
    for item in (*two, *three):
        owners = {}
        for route in item.routes:
            for spare in route[1:-1]:
                assert owners.setdefault(spare, route[0]) == route[0]


def test_the_form_says_how_the_circuit_is_written():
    item = graphs("ring")[1]
    form = item.form("cz")
    assert (form.readout_gate, form.num_banks, form.num_spares) == ("cz", 1, item.num_spares)
    assert (form.routes, form.plans) == (item.routes, ())


@pytest.mark.parametrize(
    ("cell", "num_banks"), [(cell_of("sim14", 4, 0), 1), (cell_of("sim14", 4, 0, 2), 2)]
)
def test_transports_move_on_trees_that_have_a_place(cell, num_banks):
    asked = []

    def has_place(interaction):
        asked.append(interaction)
        return len(asked) % 2 == 0

    found = list(islice(build_transports(cell, num_banks, 3, 2, has_place), 3))
    assert found
    accepted = {item.edges for item in asked[1::2]}
    for item in found:
        assert item.num_qubits == 4 + num_banks * cell.num_readouts
        assert (item.num_banks, item.num_spares, item.routes) == (num_banks, 0, ())
        # Connected, with one edge less than qubits: a tree.
        assert len(as_set(item.edges)) == item.num_qubits - 1
        reached = {0}
        for _ in range(item.num_qubits):
            reached |= {other for qubit in reached for other in item.neighbours[qubit]}
        assert len(reached) == item.num_qubits
        assert max(map(len, item.neighbours)) <= 3
        assert len(item.plans) == num_banks
        assert item.edges in accepted
        assert item.form("rzz").plans == item.plans
    assert list(build_transports(cell, num_banks, 3, 2, lambda item: False)) == []


def test_a_graph_knows_its_neighbours():
    item = Interaction(4, 1, 0, ((0, 1), (1, 3)))
    assert item.neighbours == ((1,), (0, 3), (), (1,))
