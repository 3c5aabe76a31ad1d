"""Optimal periodic transport: moving memory qubits over a small tree so that a timestep closes.

Memory qubits live on as many sites, joined as a line or a spider; readout qubits hang on sites
and never move. Swaps bring coupled qubits together, a coupling and a swap of the same pair join
into three CX gates, and at the end of a timestep everyone is back at the start. The cheapest plan
is found exactly: by shortest paths between all pairs of the n! arrangements (720 for six qubits),
coupling by coupling, in the order in which couplings are applied.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.program.circuit import TimestepPlan, exchange

Edge = tuple[int, int]

# 7! arrangements would take 5040^2 entries a matrix and a minute.
MAX_TRANSPORT_QUBITS = 6
# Far above any cost, and twice it is still an int16.
_NEVER = 10_000
# Plans of the same cost differ in depth; so many starts and plans of each are compared.
_NUM_STARTS = 8
_NUM_DRAWS = 8
_SWAP_COST = 3


@dataclass(frozen=True, eq=False)
class Transport:
    """A region, what hangs on it, and a plan for the timestep of each bank.

    Attributes:
        problem: the region and its costs.
        chosen: for each bank, the number of its choice of sites.
        cost: entangling gates of the couplings and swaps of one timestep of every bank.
    """

    problem: "_Problem"
    chosen: tuple[int, ...]
    cost: int

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The region, a tree over the sites."""
        return self.problem.steps.edges

    @property
    def readout_sites(self) -> tuple[tuple[int, ...], ...]:
        """For each bank, the site of each readout."""
        return tuple(tuple(self.problem.options[option].tolist()) for option in self.chosen)

    @cached_property
    def plans(self) -> tuple[TimestepPlan, ...]:
        """For each bank, the shallowest found of those that cost the least."""
        return self.problem.solve(self.chosen, self.cost)

    @cached_property
    def depth(self) -> float:
        """Layers of entangling gates that a timestep of every bank adds in the steady state."""
        return self.problem.depth(self.plans)


def find_transports(
    couplings: tuple[Edge, ...],
    anchors: tuple[int, ...],
    *,
    num_sites: int,
    num_banks: int,
    max_degree: int,
    coupling_cost: int = 2,
) -> Iterator[Transport]:
    """Transports in order of cost, one for each region and number of readouts on each site.

    Args:
        couplings: pairs of memory qubits, in the order of one timestep.
        anchors: memory qubit of each readout.
        num_sites: number of memory qubits, at most `MAX_TRANSPORT_QUBITS`.
        num_banks: banks of readout qubits.
        max_degree: neighbours that a site can have, readout qubits included.
        coupling_cost: entangling gates of a coupling; a swap takes three, with or without one.

    Example:
        >>> ring = ((0, 1), (1, 2), (2, 0))
        >>> best = next(find_transports(ring, (0,), num_sites=3, num_banks=1, max_degree=3))
        >>> best.cost, best.edges
        (10, ((0, 1), (1, 2)))
    """
    problems = [
        _Problem(_steps(couplings, edges, num_sites, coupling_cost), anchors, num_banks, max_degree)
        for edges in build_regions(num_sites, max_degree)
    ]
    # Best first: the bound of a partial choice is exact once every bank has its sites.
    heap: list[_Entry] = []
    for number, problem in enumerate(problems):
        problem.push(heap, number, ())
    seen = set()
    while heap:
        cost, number, chosen = heapq.heappop(heap)
        problem = problems[number]
        if len(chosen) < num_banks:
            problem.push(heap, number, chosen)
            continue
        load = number, *problem.load(chosen).tolist()
        if load not in seen:
            seen.add(load)
            yield Transport(problem, chosen, cost)


# Cost, number of the region, and the option of each bank that has one.
_Entry = tuple[int, int, tuple[int, ...]]


def build_regions(num_sites: int, max_degree: int) -> list[tuple[Edge, ...]]:
    """The line and the spiders with three or more legs that a lattice's degree allows.

    Example:
        >>> build_regions(4, max_degree=3)
        [((0, 1), (1, 2), (2, 3)), ((0, 1), (0, 2), (0, 3))]
    """
    regions = [tuple((site, site + 1) for site in range(num_sites - 1))]
    for num_legs in range(3, max_degree + 1):
        for legs in _partitions(num_sites - 1, num_legs):
            edges: list[Edge] = []
            for length in legs:
                first = len(edges) + 1
                edges.append((0, first))
                edges += [(site, site + 1) for site in range(first, first + length - 1)]
            regions.append(tuple(edges))
    return regions


def _partitions(total: int, num_parts: int, least: int = 1) -> list[tuple[int, ...]]:
    if num_parts == 1:
        return [(total,)] if total >= least else []
    return [
        (part, *rest)
        for part in range(least, total // num_parts + 1)
        for rest in _partitions(total - part, num_parts - 1, part)
    ]


_Costs = NDArray[np.int16]


@lru_cache(maxsize=16)
def _steps(
    couplings: tuple[Edge, ...], edges: tuple[Edge, ...], num_sites: int, coupling_cost: int
) -> "_Steps":
    return _Steps(couplings, edges, num_sites, coupling_cost)


class _Steps:
    """Costs between arrangements for one timestep's couplings on one region.

    Arrangement `i` puts memory qubit q on site `where[i, q]`; `swapped[e, i]` is the arrangement
    after a swap along edge e. Costs are `(num_arrangements, num_starts)`.
    """

    def __init__(
        self,
        couplings: tuple[Edge, ...],
        edges: tuple[Edge, ...],
        num_sites: int,
        coupling_cost: int,
    ) -> None:
        self.couplings, self.edges = couplings, edges
        self.num_sites, self.coupling_cost = num_sites, coupling_cost
        self.where = np.array(list(permutations(range(num_sites))), dtype=np.intp)
        index = {tuple(sites): number for number, sites in enumerate(self.where.tolist())}
        turned = np.tile(np.arange(num_sites), (len(edges), 1))
        for number, (first, second) in enumerate(edges):
            turned[number, [first, second]] = second, first
        self.swapped = np.array(
            [[index[tuple(sites)] for sites in row[self.where].tolist()] for row in turned]
        )
        edge_of = np.full((num_sites, num_sites), -1)
        for number, (first, second) in enumerate(edges):
            edge_of[first, second] = edge_of[second, first] = number
        # For each coupling: edge under the pair in each arrangement, -1 if they are apart.
        self.edge_under = [edge_of[self.where[:, a], self.where[:, b]] for a, b in couplings]
        everywhere = np.arange(len(self.where))
        self.partner = [
            np.where(under >= 0, self.swapped[under, everywhere], everywhere)
            for under in self.edge_under
        ]
        alone = np.where(np.eye(len(self.where), dtype=bool), 0, _NEVER).astype(np.int16)
        self.distance = self.relax(alone)
        self.forward = deque(self.run(alone), maxlen=1)[0][1]

    def relax(self, costs: _Costs) -> _Costs:
        """Costs once any swaps may follow."""
        while True:
            before = costs
            for swapped in self.swapped:
                costs = np.minimum(costs, costs[swapped] + np.int16(_SWAP_COST))
            if np.array_equal(costs, before):
                return costs

    def run(self, costs: _Costs) -> Iterator[tuple[_Costs, _Costs]]:
        """Costs before and after the swaps that precede each coupling, and the readouts."""
        for under, partner in zip(self.edge_under, self.partner, strict=True):
            relaxed = self.relax(costs)
            yield costs, relaxed
            plain = relaxed + np.int16(self.coupling_cost)
            merged = relaxed[partner] + np.int16(_SWAP_COST)
            allowed = (under >= 0).reshape(-1, *[1] * (costs.ndim - 1))
            costs = np.where(allowed, np.minimum(plain, merged), np.int16(_NEVER))
        yield costs, self.relax(costs)


@dataclass
class _Problem:
    """Which sites the readouts of each bank take on one region."""

    steps: _Steps
    anchors: tuple[int, ...]
    num_banks: int
    max_degree: int

    def __post_init__(self) -> None:
        steps = self.steps
        degree = np.bincount(np.ravel(steps.edges), minlength=steps.num_sites)
        self.room = self.max_degree - degree
        sites = steps.where[:, list(self.anchors)]
        self.options, self.option_of = np.unique(sites, axis=0, return_inverse=True)
        self.option_of = self.option_of.ravel()
        self.loads = np.zeros((len(self.options), steps.num_sites), dtype=np.intp)
        for option, chosen in enumerate(self.options):
            np.add.at(self.loads[option], chosen, 1)
        closed = steps.forward + steps.distance
        order = np.argsort(self.option_of, kind="stable")
        firsts = np.searchsorted(self.option_of[order], np.arange(len(self.options)))
        # Cost of each option from each start: over all arrangements with the anchors on it.
        self.cost_of = np.minimum.reduceat(closed[order], firsts, axis=0).astype(np.int32)
        self.least = self.cost_of.min(axis=0)

    def load(self, chosen: Sequence[int]) -> NDArray[np.intp]:
        """Readout qubits on each site."""
        return np.asarray(self.loads[list(chosen)].sum(axis=0))

    def push(self, heap: list[_Entry], number: int, chosen: tuple[int, ...]) -> None:
        """Adds every choice for one more bank; banks are alike, so that order does not matter."""
        first = chosen[-1] if chosen else 0
        fits = np.all(self.load(chosen) + self.loads[first:] <= self.room, axis=1)
        rest = self.num_banks - len(chosen) - 1
        before = self.cost_of[list(chosen)].sum(axis=0) + rest * self.least
        bounds = (self.cost_of[first:] + before).min(axis=1)
        for option in np.flatnonzero(fits).tolist():
            heapq.heappush(heap, (int(bounds[option]), number, (*chosen, first + option)))

    def solve(self, chosen: tuple[int, ...], cost: int) -> tuple[TimestepPlan, ...]:
        """The plans of a choice, the shallowest of some that cost the same."""
        starts = np.flatnonzero(self.cost_of[list(chosen)].sum(axis=0) == cost)
        rng = np.random.default_rng(0)
        if len(starts) > _NUM_STARTS:
            starts = np.sort(rng.choice(starts, _NUM_STARTS, replace=False))
        drawn = (
            tuple(self.draw_plan(int(start), option, stages, rng) for option in chosen)
            for start, stages in ((start, self.stages_from(start)) for start in starts)
            for _ in range(_NUM_DRAWS)
        )
        return min(drawn, key=self.depth)

    def stages_from(self, start: np.intp) -> list[tuple[_Costs, _Costs]]:
        alone = np.full(len(self.steps.where), _NEVER, dtype=np.int16)
        alone[start] = 0
        return list(self.steps.run(alone))

    def draw_plan(
        self,
        start: int,
        option: int,
        stages: list[tuple[_Costs, _Costs]],
        rng: np.random.Generator,
    ) -> TimestepPlan:
        """One of the cheapest plans, backwards from the readouts."""
        steps = self.steps
        back = steps.distance[start]
        closed = np.where(self.option_of == option, stages[-1][1] + back, _NEVER)
        here = read = int(rng.choice(np.flatnonzero(closed == closed.min())))
        # Towards smaller distance from the start: the way back, already in order of time.
        returns, end = self.descend(read, back, np.arange(len(back)) == start, rng)
        assert end == start, "transport does not close"
        swaps, merged = [], []
        for number in reversed(range(len(stages))):
            before, relaxed = stages[number]
            path, here = self.descend(here, relaxed, before == relaxed, rng)
            swaps.append(path[::-1])
            if number:
                relaxed = stages[number - 1][1]
                partner = int(steps.partner[number - 1][here])
                ways = [
                    (previous, is_merged)
                    for previous, is_merged, price in (
                        (here, False, steps.coupling_cost),
                        (partner, True, _SWAP_COST),
                    )
                    if relaxed[previous] + price == before[here]
                ]
                here, is_merged = ways[int(rng.integers(len(ways)))]
                merged.append(is_merged)
        *before_couplings, before_readouts = swaps[::-1]
        return TimestepPlan(
            start=tuple(steps.where[start].tolist()),
            swaps_before=tuple(before_couplings),
            merged=tuple(merged[::-1]),
            swaps_before_readouts=before_readouts,
            swaps_after_readouts=returns,
        )

    def descend(
        self, here: int, costs: _Costs, is_end: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[tuple[Edge, ...], int]:
        """Swaps along which costs fall to an arrangement that needs none."""
        steps = self.steps
        path: list[Edge] = []
        while True:
            ways = [
                edge
                for edge, other in enumerate(steps.swapped[:, here])
                if costs[other] + _SWAP_COST == costs[here]
            ]
            num_ways = len(ways) + bool(is_end[here])
            way = int(rng.integers(num_ways))
            if way == len(ways):
                return tuple(path), here
            path.append(steps.edges[ways[way]])
            here = int(steps.swapped[ways[way], here])

    def depth(self, plans: tuple[TimestepPlan, ...]) -> float:
        """Layers of entangling gates that a round through the banks adds to those before."""
        level, ends = [0] * self.steps.num_sites, []
        for plan in plans * 3:
            for used, num_gates in self.play(plan):
                top = max(level[site] for site in used) + num_gates
                for site in used:
                    level[site] = top
            ends.append(max(level))
        return (ends[-1] - ends[len(plans) - 1]) / 2

    def play(self, plan: TimestepPlan) -> Iterator[tuple[tuple[int, ...], int]]:
        """Sites and number of entangling gates of every step of a plan."""
        site = list(plan.start)
        for pair, swaps, is_merged in zip(
            self.steps.couplings, plan.swaps_before, plan.merged, strict=True
        ):
            for swap in swaps:
                yield swap, _SWAP_COST
                exchange(site, swap)
            used = site[pair[0]], site[pair[1]]
            yield used, _SWAP_COST if is_merged else self.steps.coupling_cost
            if is_merged:
                exchange(site, used)
        for swap in plan.swaps_before_readouts:
            yield swap, _SWAP_COST
            exchange(site, swap)
        for anchor in self.anchors:
            yield (site[anchor],), self.steps.coupling_cost
        for swap in plan.swaps_after_readouts:
            yield swap, _SWAP_COST
