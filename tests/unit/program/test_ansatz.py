"""Gate order, angle numbering and segments of the ansatz families."""

from itertools import pairwise

import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz
from tests.programs import ANSATZE
from tests.reference.model import layer_gates

ANGLES_PER_LAYER = {
    "sim14": lambda n: 4 * n,
    "line": lambda n: 3 * n - 2,
    "brick": lambda n: 3 * n - 1,
}


@pytest.mark.parametrize("num_memory", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("name", ANSATZE)
def test_gates_are_those_of_the_reference_in_their_order(name, num_memory):
    for num_layers in (1, 3):
        ansatz = Ansatz(name, num_memory, num_layers)
        gates = [(rotation.gate, rotation.qubits) for rotation in ansatz.rotations]
        assert gates == layer_gates(name, num_memory) * num_layers
        assert [rotation.angle for rotation in ansatz.rotations] == list(range(len(gates)))
        assert ansatz.num_angles == num_layers * ANGLES_PER_LAYER[name](num_memory)


def test_sim14_on_four_qubits_is_the_published_circuit():
    pairs = [rotation.qubits for rotation in Ansatz("sim14", 4).rotations if rotation.gate == "crx"]
    assert pairs == [(3, 0), (2, 3), (1, 2), (0, 1), (3, 2), (0, 3), (1, 0), (2, 1)]


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("name", ANSATZE)
def test_segments_are_maximal_and_keep_the_order(name, num_layers):
    ansatz = Ansatz(name, 4, num_layers)
    kinds = [single for single, _ in ansatz.segments]
    assert all(before != after for before, after in pairwise(kinds))
    assert tuple(r for _, rotations in ansatz.segments for r in rotations) == ansatz.rotations
    for single, rotations in ansatz.segments:
        assert all((len(rotation.qubits) == 1) == single for rotation in rotations)
    steered = [ansatz.steered_angles[rotation.angle] for rotation in ansatz.rotations]
    assert steered == [len(rotation.qubits) == 1 for rotation in ansatz.rotations]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ring", 4), "ansatz: must be one of sim14, line, brick, got 'ring'"),
        (("line", 1), "num_memory: must be at least 2, got 1"),
        (("line", 2, 0), "num_layers: must be at least 1, got 0"),
    ],
)
def test_bad_values_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Ansatz(*arguments)
