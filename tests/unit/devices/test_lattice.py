"""Places of qubits for drawing: neighbours beside each other, nothing on top of another."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrnn_qiskit.devices.lattice import place_qubits
from qrnn_qiskit.devices.runtime_snapshots import list_fake_backends, read_fake_parts

LATTICES = {
    name: read_fake_parts(name)["configuration"]
    for name in list_fake_backends()
    if read_fake_parts(name)["configuration"].get("coupling_map")
}


def smallest_distance(places):
    steps = places[:, None] - places[None]
    return np.linalg.norm(steps, axis=-1)[~np.eye(len(places), dtype=bool)].min()


def lengths(places, edges):
    return np.array([np.linalg.norm(places[a] - places[b]) for a, b in edges])


@pytest.mark.parametrize("name", [name for name in LATTICES if name != "fake_yorktown"])
def test_every_lattice_of_ibm_but_one_fits_the_grid(name):
    """The one has a triangle. Coordinates are not needed for it."""
    edges = LATTICES[name]["coupling_map"]
    places = place_qubits(LATTICES[name]["n_qubits"], edges)
    assert lengths(places, edges) == pytest.approx(1)
    assert smallest_distance(places) >= 1
    assert places.min(axis=0).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["fake_boston", "fake_torino", "fake_brisbane", "fake_nighthawk"])
def test_without_coordinates_the_lattice_looks_as_ibm_draws_it(name):
    configuration = LATTICES[name]
    num_qubits, edges = configuration["n_qubits"], configuration["coupling_map"]
    coordinates = [tuple(map(float, pair)) for pair in configuration["coords"]]
    drawn = place_qubits(num_qubits, edges, coordinates)
    np.testing.assert_array_equal(drawn, place_qubits(num_qubits, edges))


def test_coordinates_that_are_none_are_ignored():
    edges = [(0, 1), (1, 2)]
    line = place_qubits(3, edges).tolist()
    assert line == [[0, 0], [1, 0], [2, 0]]
    assert place_qubits(3, edges, [(0, 0), (0, 0), (1, 0)]).tolist() == line
    assert place_qubits(3, edges, [(0, 0), (1, 0)]).tolist() == line
    assert place_qubits(3, edges, [(4, 9), (4, 8), (5, 9)]).tolist() == [[0, 1], [0, 0], [1, 1]]


def test_what_fits_no_grid_is_spread():
    triangle = place_qubits(3, [(0, 1), (1, 2), (0, 2)])
    assert lengths(triangle, [(0, 1), (1, 2), (0, 2)]) == pytest.approx(1, rel=0.05)
    star = [(0, leaf) for leaf in range(1, 7)]
    places = place_qubits(7, star)
    assert smallest_distance(places) > 0.5
    assert lengths(places, star) == pytest.approx(1, rel=0.4)


def test_rings_close_on_the_grid():
    for size in (4, 6, 12):
        order = [*range(0, size, 2), *reversed(range(1, size, 2))]
        ring = [*pairwise(order), (order[-1], order[0])]
        assert lengths(place_qubits(size, ring), ring) == pytest.approx(1)


@given(st.integers(0, 9), st.data())
def test_any_coupling_has_a_place_for_every_qubit(num_qubits, data):
    qubits = st.integers(0, max(num_qubits - 1, 0))
    pairs = st.tuples(qubits, qubits).filter(lambda pair: pair[0] != pair[1])
    edges = data.draw(st.lists(pairs, max_size=16)) if num_qubits > 1 else []
    places = place_qubits(num_qubits, edges)
    assert places.shape == (num_qubits, 2)
    assert np.isfinite(places).all()
    if num_qubits > 1:
        assert smallest_distance(places) > 0.05
    np.testing.assert_array_equal(places, place_qubits(num_qubits, edges))
