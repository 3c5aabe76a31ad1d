"""Moving memory qubits: optimal plans, valid plans, and circuits that do the same as before."""

import heapq
from functools import cache
from itertools import count, islice, permutations, product

import numpy as np
import pytest

from qrnn_qiskit.compiling import TranspileProfile, compile_program, load_profile
from qrnn_qiskit.compiling.transport import build_regions, find_transports
from qrnn_qiskit.costing.depth import count_gates
from qrnn_qiskit.devices.runtime import load_fake_backend
from qrnn_qiskit.devices.target import read_target
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import bind
from tests.reference.branch_enumeration import enumerate_records

SWAP = 3
REGIONS = {
    3: [((0, 1), (1, 2))],
    4: [((0, 1), (1, 2), (2, 3)), ((0, 1), (0, 2), (0, 3))],
}


def couplings_of(name, num_memory, num_layers=1):
    if name == "far":
        # A path whose ends are coupled in between: several swaps in a row.
        ends = ((0, num_memory - 1),)
        path = tuple((qubit, qubit + 1) for qubit in range(num_memory - 1))
        return (path * 4 + ends) * num_layers
    rotations = Ansatz(name, num_memory, num_layers).rotations
    return tuple(rotation.qubits for rotation in rotations if len(rotation.qubits) == 2)


def moved(sites, first, second):
    """Sites of the memory qubits after a swap of two sites."""
    return tuple({first: second, second: first}.get(site, site) for site in sites)


def cheapest_return(couplings, edges, coupling_cost, start, is_read):
    """Dijkstra from a start over (stage, sites) and back to it; infinite if there is no way.

    The stage counts couplings; one more once the readouts have found their anchors.
    """
    order = count()
    heap = [(0, next(order), 0, start)]
    done = set()
    while heap:
        cost, _, stage, sites = heapq.heappop(heap)
        if (stage, sites) in done:
            continue
        done.add((stage, sites))
        if stage > len(couplings) and sites == start:
            return cost
        steps = [(SWAP, stage, moved(sites, *edge)) for edge in edges]
        if stage < len(couplings):
            pair = tuple(sites[qubit] for qubit in couplings[stage])
            if pair in edges or pair[::-1] in edges:
                steps.append((coupling_cost, stage + 1, sites))
                steps.append((SWAP, stage + 1, moved(sites, *pair)))
        elif stage == len(couplings) and is_read(sites):
            steps.append((0, stage + 1, sites))
        for price, then, where in steps:
            heapq.heappush(heap, (cost + price, next(order), then, where))
    return np.inf


def cheapest_transport(couplings, anchors, num_sites, num_banks, max_degree, coupling_cost):
    """The least cost by looking at every region, start and choice of sites."""
    best = np.inf
    for edges in REGIONS[num_sites]:
        arrangements = permutations(range(num_sites))
        choices = sorted({tuple(sites[anchor] for anchor in anchors) for sites in arrangements})
        for start in permutations(range(num_sites)):
            costs = {
                choice: cheapest_return(
                    couplings,
                    edges,
                    coupling_cost,
                    start,
                    lambda sites, choice=choice: tuple(sites[a] for a in anchors) == choice,
                )
                for choice in choices
            }
            for banks in product(choices, repeat=num_banks):
                degree = np.bincount(np.ravel([*edges]), minlength=num_sites)
                degree += np.bincount(np.ravel(banks), minlength=num_sites)
                if degree.max() <= max_degree:
                    best = min(best, sum(costs[choice] for choice in banks))
    return best


@pytest.mark.parametrize("coupling_cost", [1, 2])
@pytest.mark.parametrize(
    ("num_sites", "anchors", "num_banks"),
    [(3, (0,), 1), (3, (1,), 2), (3, (0, 2), 2), (4, (1,), 1), (4, (0, 0), 1)],
)
def test_cost_is_the_least_possible(num_sites, anchors, num_banks, coupling_cost, rng):
    pairs = [(a, b) for a, b in permutations(range(num_sites), 2) if a < b]
    orders = [couplings_of("sim14", num_sites)] + [
        tuple(pairs[index] for index in rng.permutation(len(pairs))) for _ in range(2)
    ]
    for couplings in orders:
        expected = cheapest_transport(couplings, anchors, num_sites, num_banks, 3, coupling_cost)
        found = list(
            find_transports(
                couplings,
                anchors,
                num_sites=num_sites,
                num_banks=num_banks,
                max_degree=3,
                coupling_cost=coupling_cost,
            )
        )
        costs = [transport.cost for transport in found]
        assert costs == sorted(costs)
        assert costs[:1] == ([expected] if np.isfinite(expected) else [])


def test_regions_are_lines_and_spiders():
    assert build_regions(2, 3) == [((0, 1),)]
    for num_sites, regions in REGIONS.items():
        assert build_regions(num_sites, 3) == regions
    # Legs: 2+2+1, 3+1+1, and on a square lattice 2+1+1+1.
    assert [len(build_regions(6, degree)) for degree in (2, 3, 4)] == [1, 3, 4]
    for edges in build_regions(6, 4):
        assert sorted({site for edge in edges for site in edge}) == list(range(6))
        assert len(edges) == 5
        assert np.bincount(np.ravel(edges)).max() <= 4


@pytest.mark.parametrize("coupling_cost", [1, 2])
@pytest.mark.parametrize(
    ("name", "num_memory", "num_layers", "anchors", "num_banks", "max_degree"),
    [
        ("sim14", 3, 1, (0,), 2, 3),
        ("sim14", 4, 2, (0, 2), 1, 3),
        ("sim14", 5, 1, (1, 1), 2, 4),
        ("sim14", 6, 1, (0, 3), 2, 3),
        ("brick", 6, 1, (2,), 3, 3),
        ("far", 6, 2, (0,), 1, 3),
    ],
)
def test_plans_do_what_they_promise(
    name, num_memory, num_layers, anchors, num_banks, max_degree, coupling_cost
):
    couplings = couplings_of(name, num_memory, num_layers)
    transports = find_transports(
        couplings,
        anchors,
        num_sites=num_memory,
        num_banks=num_banks,
        max_degree=max_degree,
        coupling_cost=coupling_cost,
    )
    seen = 0
    for transport in islice(transports, 4):
        seen += 1
        cost = 0
        edges = {frozenset(edge) for edge in transport.edges}
        hanging = np.ravel(transport.readout_sites)
        degree = np.bincount([*np.ravel(transport.edges), *hanging], minlength=num_memory)
        assert degree.max() <= max_degree
        assert len(transport.plans) == num_banks
        assert len({plan.start for plan in transport.plans}) == 1
        for plan, readout_sites in zip(transport.plans, transport.readout_sites, strict=True):
            sites = plan.start
            assert sorted(sites) == list(range(num_memory))
            for pair, swaps, is_merged in zip(
                couplings, plan.swaps_before, plan.merged, strict=True
            ):
                for swap in swaps:
                    assert frozenset(swap) in edges
                    sites = moved(sites, *swap)
                    cost += SWAP
                where = tuple(sites[qubit] for qubit in pair)
                assert frozenset(where) in edges
                cost += SWAP if is_merged else coupling_cost
                sites = moved(sites, *where) if is_merged else sites
            for swap in plan.swaps_before_readouts:
                assert frozenset(swap) in edges
                sites = moved(sites, *swap)
            assert tuple(sites[anchor] for anchor in anchors) == readout_sites
            for swap in plan.swaps_after_readouts:
                assert frozenset(swap) in edges
                sites = moved(sites, *swap)
            assert sites == plan.start
            cost += SWAP * (len(plan.swaps_before_readouts) + len(plan.swaps_after_readouts))
        assert cost == transport.cost
    assert seen == 4


@cache
def boston(fractional_gates):
    return read_target(load_fake_backend("fake_boston"), fractional_gates=fractional_gates)


def probabilities(compiled, slots):
    values = compiled.bind_values(slots[np.newaxis])[0]
    names = dict(zip(compiled.parameter_names, values, strict=True))
    return enumerate_records(compiled.circuit.assign_parameters(names)).probabilities


@pytest.mark.parametrize("profile_name", ["heron", "heron_fractional"])
@pytest.mark.parametrize(
    ("name", "num_memory", "readouts", "options", "num_timesteps"),
    [
        ("sim14", 3, (Readout("X", 1, 1.1),), {}, 3),
        ("sim14", 4, (Readout("Y", 2, 1.1),), {}, 2),
        # No free neighbour for a second bank.
        ("brick", 3, (Readout("Z", 1, 1.1),), {"feedback_delay": 1}, 4),
        ("sim14", 3, (Readout("Z", 0, 1.1),), {"feedback_delay": 1}, 3),
        ("sim14", 3, (Readout("Z", 2, 1.1),), {"steered": "all"}, 3),
        ("sim14", 3, (Readout("Z", 0, 1.1), Readout("X", 2, 0.7)), {}, 2),
    ],
    ids=str,
)
def test_compiled_circuits_have_the_records_of_the_logical_one(
    profile_name, name, num_memory, readouts, options, num_timesteps, rng
):
    profile = load_profile(profile_name)
    cell = CellSpec(Ansatz(name, num_memory), readouts, **options)
    program = SequenceProgram(cell, num_timesteps, final_bases=("X", "Z"))
    compiled = compile_program(program, boston(profile.fractional_gates), profile)
    assert compiled.form.plans
    slots = rng.uniform(-np.pi, np.pi, program.slots.num_slots)
    expected = enumerate_records(bind(program, slots)).probabilities
    # Exact up to rounding, and to the 1e-8 that folding an angle may cost.
    assert np.abs(probabilities(compiled, slots) - expected).max() < 1e-7
    slots[0] += 0.3
    assert np.abs(probabilities(compiled, slots) - expected).max() > 1e-3


@pytest.mark.parametrize("num_readouts", [1, 2])
@pytest.mark.parametrize("num_memory", [4, 5, 6])
def test_gates_and_depth_are_below_those_of_level_3(num_memory, num_readouts):
    readouts = tuple(Readout("Z", 2 * index) for index in range(num_readouts))
    program = SequenceProgram(CellSpec(Ansatz("sim14", num_memory), readouts), 6)
    level_3 = TranspileProfile(
        name="level 3", description="what Qiskit does", layout="preset", tiling="whole"
    )
    ours = count_gates(compile_program(program, boston(False), load_profile("heron")).circuit)
    theirs = count_gates(compile_program(program, boston(False), level_3).circuit)
    assert ours.num_two_qubit < theirs.num_two_qubit
    assert ours.two_qubit_depth < theirs.two_qubit_depth
