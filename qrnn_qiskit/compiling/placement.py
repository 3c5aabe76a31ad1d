"""Where on a device: the placements of a graph with the least expected loss.

Losses add up over qubits and couplings, so that a depth-first search over all placements can
drop a partial one as soon as what it costs, with the least that the rest can cost, exceeds the
best complete ones. On the sparse lattices of today's devices that is exact in well under a
second; a limit on the number of steps keeps dense ones in hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from qrnn_qiskit.compiling.interaction import Interaction

_MAX_STEPS = 400_000


@dataclass(frozen=True, eq=False)
class PlacementCosts:
    """Expected loss of putting qubits and couplings of a graph in each place.

    Attributes:
        of_qubit: `(num_qubits, num_physical)`; infinite where a qubit must not go.
        of_edge: loss of each edge of the graph, by sorted pair of device qubits.
    """

    of_qubit: NDArray[np.float64]
    of_edge: Mapping[tuple[int, int], Mapping[tuple[int, int], float]]


def find_placements(
    interaction: Interaction,
    neighbours: Sequence[Sequence[int]],
    costs: PlacementCosts,
    num_best: int,
    max_steps: int = _MAX_STEPS,
) -> list[tuple[int, ...]]:
    """The best placements, the best one first; empty if the graph has no place.

    Args:
        interaction: the graph, connected.
        neighbours: of each device qubit.
        costs: of each choice.
        num_best: number of placements asked for.
        max_steps: partial placements looked at.
    """
    most = max(map(len, neighbours), default=0)
    if any(len(others) > most for others in interaction.neighbours):
        return []
    return _Search(interaction, neighbours, costs, num_best, max_steps).run()


class _Search:
    def __init__(
        self,
        interaction: Interaction,
        neighbours: Sequence[Sequence[int]],
        costs: PlacementCosts,
        num_best: int,
        max_steps: int,
    ) -> None:
        self.neighbours = [frozenset(others) for others in neighbours]
        self.num_best, self.steps_left = num_best, max_steps
        self.order = _visiting_order(interaction)
        rank = {qubit: index for index, qubit in enumerate(self.order)}
        # Edges to qubits that are placed already, for each qubit in order.
        self.back = [
            [other for other in interaction.neighbours[qubit] if rank[other] < rank[qubit]]
            for qubit in self.order
        ]
        # Neighbours stay neighbours, so no two qubits can end up further apart than they are in
        # the graph: a ring that cannot close is given up early.
        self.reach = _distances(interaction.neighbours).tolist()
        self.distance = _distances(neighbours).tolist()
        self.degree = [len(interaction.neighbours[qubit]) for qubit in self.order]
        self.qubit_cost = [costs.of_qubit[qubit].tolist() for qubit in self.order]
        self.edge_cost = costs.of_edge
        least = []
        for index, qubit in enumerate(self.order):
            edges = [_pair(qubit, other) for other in self.back[index]]
            cheapest = sum(min(costs.of_edge[edge].values(), default=np.inf) for edge in edges)
            least.append(float(np.min(costs.of_qubit[qubit])) + cheapest)
        self.least_rest = [*np.cumsum(least[::-1])[::-1].tolist(), 0.0]
        self.found: list[tuple[float, tuple[int, ...]]] = []
        self.place: dict[int, int] = {}
        self.taken: set[int] = set()

    def run(self) -> list[tuple[int, ...]]:
        self.extend(0, 0.0)
        return [placement for _, placement in self.found]

    def extend(self, index: int, cost: float) -> None:
        if index == len(self.order):
            placement = tuple(self.place[qubit] for qubit in sorted(self.order))
            self.found.append((cost, placement))
            self.found.sort()
            del self.found[self.num_best :]
            return
        qubit, rest = self.order[index], self.least_rest[index + 1]
        for step_cost, physical in self.choices(index):
            if self.steps_left <= 0:
                return
            full = len(self.found) == self.num_best
            if full and cost + step_cost + rest >= self.found[-1][0]:
                break
            self.steps_left -= 1
            self.place[qubit] = physical
            self.taken.add(physical)
            self.extend(index + 1, cost + step_cost)
            self.taken.remove(physical)

    def choices(self, index: int) -> list[tuple[float, int]]:
        """Places for the next qubit with what they add, the cheapest first."""
        back = self.back[index]
        if back:
            allowed = frozenset.intersection(*(self.neighbours[self.place[q]] for q in back))
        else:
            allowed = frozenset(range(len(self.neighbours)))
        found = []
        for physical in allowed:
            cost = self.qubit_cost[index][physical]
            if physical in self.taken or cost == np.inf:
                continue
            if len(self.neighbours[physical]) < self.degree[index]:
                continue
            if not self.within_reach(index, physical):
                continue
            for other in back:
                edge = self.edge_cost[_pair(self.order[index], other)]
                cost += edge[_pair(physical, self.place[other])]
            found.append((cost, physical))
        return sorted(found)

    def within_reach(self, index: int, physical: int) -> bool:
        distance, reach = self.distance[physical], self.reach[self.order[index]]
        return all(distance[self.place[q]] <= reach[q] for q in self.order[:index])


def _distances(neighbours: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    pairs = [(first, second) for first, others in enumerate(neighbours) for second in others]
    size = len(neighbours)
    rows, columns = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    graph = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(size, size))
    return np.asarray(shortest_path(graph, unweighted=True))


def _visiting_order(interaction: Interaction) -> list[int]:
    """Every qubit after one of its neighbours, the tightest knots first."""
    degree = [len(others) for others in interaction.neighbours]
    order = [int(np.argmax(degree))]
    while len(order) < interaction.num_qubits:
        seen = set(order)
        border = [q for q in range(interaction.num_qubits) if q not in seen]
        # Most placed neighbours first: what closes a ring fails early.
        order.append(
            max(border, key=lambda q: (len(seen & set(interaction.neighbours[q])), degree[q], -q))
        )
    return order


def _pair(first: int, second: int) -> tuple[int, int]:
    return (first, second) if first < second else (second, first)
