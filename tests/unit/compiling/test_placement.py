"""Placements against all of them, on lattices small enough to try each."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from qrnn_qiskit.compiling.interaction import Interaction
from qrnn_qiskit.compiling.placement import PlacementCosts, find_placements
from qrnn_qiskit.devices import load_fake_backend, read_target


def pairs_of_grid(rows, columns):
    across = [
        (r * columns + c, r * columns + c + 1) for r in range(rows) for c in range(columns - 1)
    ]
    down = [
        (r * columns + c, (r + 1) * columns + c) for r in range(rows - 1) for c in range(columns)
    ]
    return across + down


def ring(size):
    return [(q, (q + 1) % size) for q in range(size)]


LATTICES = {
    "chain": (7, list(pairwise(range(7)))),
    "grid": (8, pairs_of_grid(2, 4)),
    "ring with tails": (9, [*ring(6), (0, 6), (2, 7), (4, 8)]),
    "star": (7, [(3, other) for other in (0, 1, 2, 4)] + [(4, 5), (5, 6)]),
}


def sort_pairs(pairs):
    return tuple(sorted((min(pair), max(pair)) for pair in pairs))


def neighbours_of(size, pairs):
    near = [set() for _ in range(size)]
    for first, second in pairs:
        near[first].add(second)
        near[second].add(first)
    return tuple(tuple(sorted(others)) for others in near)


def graph(num_qubits, pairs):
    return Interaction(num_qubits, 1, 0, sort_pairs(pairs))


def random_graph(rng, num_qubits):
    """A random tree, and sometimes an edge more."""
    pairs = {(int(rng.integers(qubit)), qubit) for qubit in range(1, num_qubits)}
    if num_qubits > 3 and rng.random() < 0.4:
        first, second = rng.choice(num_qubits, 2, replace=False).tolist()
        pairs.add((min(first, second), max(first, second)))
    return graph(num_qubits, pairs)


def random_costs(rng, interaction, size, pairs):
    return PlacementCosts(
        rng.uniform(0, 1, size=(interaction.num_qubits, size)),
        {
            edge: {pair: float(rng.uniform(0, 3)) for pair in sort_pairs(pairs)}
            for edge in interaction.edges
        },
    )


def free_costs(interaction, size, pairs):
    edges = dict.fromkeys(sort_pairs(pairs), 0.0)
    return PlacementCosts(
        np.zeros((interaction.num_qubits, size)), dict.fromkeys(interaction.edges, edges)
    )


def cost_of(interaction, costs, placement):
    """Infinite where a coupling is no edge of the lattice."""
    total = sum(costs.of_qubit[qubit, place] for qubit, place in enumerate(placement))
    for edge in interaction.edges:
        places = sorted(placement[qubit] for qubit in edge)
        total += costs.of_edge[edge].get(tuple(places), np.inf)
    return total


def all_placements(interaction, costs, size):
    """Every placement of finite cost, the best first."""
    priced = [
        (cost_of(interaction, costs, placement), placement)
        for placement in permutations(range(size), interaction.num_qubits)
    ]
    return sorted(entry for entry in priced if entry[0] < np.inf)


@pytest.mark.parametrize("lattice", LATTICES)
@pytest.mark.parametrize("num_qubits", [2, 3, 4, 5])
def test_the_best_placements_are_found_in_order(rng, lattice, num_qubits):
    size, pairs = LATTICES[lattice]
    interaction = random_graph(rng, num_qubits)
    costs = random_costs(rng, interaction, size, pairs)
    costs.of_qubit[rng.random(costs.of_qubit.shape) < 0.1] = np.inf
    expected = all_placements(interaction, costs, size)
    for num_best in (1, 5, len(expected) + 3):
        found = find_placements(interaction, neighbours_of(size, pairs), costs, num_best)
        assert found == [placement for _, placement in expected[:num_best]]
        np.testing.assert_allclose(
            [cost_of(interaction, costs, placement) for placement in found],
            [cost for cost, _ in expected[:num_best]],
            rtol=1e-12,
        )


def test_a_search_by_qubits_alone_would_be_noticed(rng):
    """The wrong model: costs of couplings left out of account."""
    size, pairs = LATTICES["grid"]
    interaction, near = graph(4, [(0, 1), (1, 2), (2, 3)]), neighbours_of(*LATTICES["grid"])
    num_worse = 0
    for _ in range(10):
        costs = random_costs(rng, interaction, size, pairs)
        edges = free_costs(interaction, size, pairs).of_edge
        (right,) = find_placements(interaction, near, costs, 1)
        (wrong,) = find_placements(interaction, near, PlacementCosts(costs.of_qubit, edges), 1)
        num_worse += cost_of(interaction, costs, wrong) > cost_of(interaction, costs, right)
    assert num_worse > 0


def test_infinite_costs_are_avoided_whatever_else_it_costs():
    size, pairs = LATTICES["chain"]
    interaction = graph(3, [(0, 1), (1, 2)])
    costs = free_costs(interaction, size, pairs)
    costs.of_qubit[:, 3] = np.inf
    costs.of_qubit[:, :3] = 100.0
    near = neighbours_of(size, pairs)
    assert find_placements(interaction, near, costs, 2) == [(4, 5, 6), (6, 5, 4)]
    costs.of_qubit[1, 5] = np.inf
    assert find_placements(interaction, near, costs, 2) == [(0, 1, 2), (2, 1, 0)]
    costs.of_qubit[1, :] = np.inf
    assert find_placements(interaction, near, costs, 2) == []


class CountedLookups(dict):
    """A dictionary that counts how often it is asked."""

    def __init__(self, content):
        super().__init__(content)
        self.num_lookups = 0

    def __getitem__(self, key):
        self.num_lookups += 1
        return super().__getitem__(key)


@pytest.fixture(scope="module")
def boston():
    return read_target(load_fake_backend("fake_boston"))


@pytest.mark.parametrize("size", [3, 5, 8, 10, 11])
def test_rings_that_cannot_close_are_given_up_soon(boston, size):
    """Heavy hexagons have rings of 12, 18 and more; none is odd."""
    interaction = graph(size, ring(size))
    free = free_costs(interaction, boston.num_qubits, boston.edges)
    lookups = CountedLookups(free.of_edge)
    costs = PlacementCosts(free.of_qubit, lookups)
    assert find_placements(interaction, boston.neighbours, costs, 1) == []
    # What is placed stays within reach of the rest: 3,000 prices for 11 qubits. All paths of 11
    # qubits without that are about 156 * 1.5^10, each of 11 prices.
    assert lookups.num_lookups < 10_000
    hexagon = graph(12, ring(12))
    costs = free_costs(hexagon, boston.num_qubits, boston.edges)
    (found,) = find_placements(hexagon, boston.neighbours, costs, 1)
    assert cost_of(hexagon, costs, found) == 0


def test_too_many_neighbours_have_no_place(boston):
    star = graph(5, [(0, other) for other in range(1, 5)])
    costs = free_costs(star, boston.num_qubits, boston.edges)
    assert find_placements(star, boston.neighbours, costs, 1) == []


def test_the_step_limit_is_kept(rng, boston):
    interaction = graph(6, list(pairwise(range(6))))
    free = free_costs(interaction, boston.num_qubits, boston.edges)
    # A placement takes a step for each of its qubits, and more where the first tries end.
    for max_steps in range(6):
        assert find_placements(interaction, boston.neighbours, free, 3, max_steps) == []
    num_worse = 0
    for _ in range(5):
        costs = random_costs(rng, interaction, boston.num_qubits, boston.edges)
        best = []
        for max_steps in (6, 50, 500, 400_000):
            lookups = CountedLookups(costs.of_edge)
            counted = PlacementCosts(costs.of_qubit, lookups)
            found = find_placements(interaction, boston.neighbours, counted, 1, max_steps)
            # Each step prices edges to three neighbours at most, the first one all qubits; the
            # set-up asks for each edge once.
            assert lookups.num_lookups <= 5 + 3 * max_steps
            best += [min((cost_of(interaction, costs, item) for item in found), default=np.inf)]
        assert best == sorted(best, reverse=True)
        assert best[-1] < np.inf
        num_worse += best[-1] < best[0]
    assert num_worse > 0, "six steps are as good as all"
