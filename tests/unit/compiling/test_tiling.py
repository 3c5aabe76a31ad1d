"""Windows next to each other are the whole circuit, however long they are."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from qrnn_qiskit.compiling.tiling import compile_templates, plan_windows, tile
from qrnn_qiskit.costing.walk import condition_targets, condition_values, walk_instructions
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm
from tests.programs import bind
from tests.reference.branch_enumeration import enumerate_records

CELLS = {
    "rotations": {},
    "all": {"steered": "all"},
    "delay": {"feedback_delay": 1},
    "history": {"history": 2},
    "delayed history": {"history": 2, "feedback_delay": 1},
    "open": {"loop": "open"},
    "two readouts": {"readouts": (Readout("Z", 0), Readout("Y", 1, 0.8)), "history": 2},
}
# Sums of matrix products over some 100 gates, in double precision.
LARGEST_DIFFERENCE = 1e-11


def program_of(kind, ansatz="sim14", num_timesteps=4, num_memory=2):
    settings = {"readouts": (Readout("X", 1, 1.1),)} | CELLS[kind]
    cell = CellSpec(Ansatz(ansatz, num_memory), **settings)
    return SequenceProgram(cell, num_timesteps, final_bases=("X", "Z"))


class Identity:
    """Compiles nothing; counts the windows that it sees."""

    def __init__(self):
        self.windows = []

    def __call__(self, window):
        self.windows.append(window)
        return window


def tile_plainly(program, length, num_banks=0, max_windows=None):
    form = CircuitForm(num_banks=num_banks or program.cell.num_banks)
    num_qubits = program.cell.ansatz.num_memory + program.cell.num_readouts * form.num_banks
    templates = compile_templates(program, form, length, Identity(), fold=False)
    return tile(program, num_qubits, form.num_banks, length, templates, max_windows)


def bound(program, circuit, angles, slots):
    values = angles.matrix(program.slots.num_slots) @ slots + angles.constants
    return circuit.assign_parameters(dict(zip(angles.names, values, strict=True)))


def lengths_of(program):
    return {"one": 1, "two": 2, "three": 3, "whole": program.num_timesteps}


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("length", ["one", "two", "three", "whole"])
def test_records_are_distributed_as_in_the_whole_circuit(rng, kind, length):
    """T = 4 is no multiple of 3: the last window is shorter."""
    program = program_of(kind, num_timesteps=3 if kind == "two readouts" else 4)
    circuit, angles = tile_plainly(program, lengths_of(program)[length])
    slots = rng.uniform(-np.pi, np.pi, size=program.slots.num_slots)
    expected = enumerate_records(bind(program, slots)).probabilities
    found = enumerate_records(bound(program, circuit, angles, slots)).probabilities
    np.testing.assert_allclose(found, expected, rtol=0, atol=LARGEST_DIFFERENCE)
    # Slots of another timestep are a wrong model, which a shift of columns by one would be.
    rolled = np.roll(slots, 1)
    wrong = enumerate_records(bound(program, circuit, angles, rolled)).probabilities
    assert np.abs(wrong - expected).max() > 1e-3


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("length", ["one", "three"])
@pytest.mark.parametrize("ansatz", ["sim14", "line", "brick"])
def test_every_slot_is_where_it_was(kind, length, ansatz):
    """The same instructions one by one, each with the parameter that takes its slot's value."""
    program = program_of(kind, ansatz, num_timesteps=7, num_memory=3)
    circuit, angles = tile_plainly(program, lengths_of(program)[length])
    matrix = angles.matrix(program.slots.num_slots).toarray()
    # One slot each, as it is.
    np.testing.assert_array_equal(matrix.sum(axis=1), 1)
    np.testing.assert_array_equal(matrix.sum(axis=0), 1)
    assert set(np.unique(matrix)) == {0, 1}
    assert not angles.constants.any()
    slot_of = {
        name: program.slots.names[column]
        for name, column in zip(angles.names, matrix.argmax(axis=1), strict=True)
    }
    assert [register.name for register in circuit.cregs] == [
        register.name for register in program.circuit.cregs
    ]
    steps = zip(walk_instructions(circuit), walk_instructions(program.circuit), strict=True)
    for found, expected in steps:
        assert found.operation.name == expected.operation.name
        assert (found.qubits, found.nesting) == (expected.qubits, expected.nesting)
        if found.operation.name == "if_else":
            assert what_is_tested(found.operation) == what_is_tested(expected.operation)
            continue
        assert found.clbits == expected.clbits
        assert [slot_of[angle.name] for angle in symbols(found)] == [
            angle.name for angle in symbols(expected)
        ]
    # Each parameter is used once, so that copies of a window do not share any.
    used = Counter(
        angle.name
        for step in walk_instructions(circuit)
        if step.operation.name != "if_else"
        for angle in symbols(step)
    )
    assert set(used.values()) == {1}


def symbols(step):
    return [value for value in step.operation.params if hasattr(value, "name")]


def what_is_tested(operation):
    """Registers, in order, and the value that each must have."""
    condition = operation.condition
    names = [register.name for register in condition_targets(condition)]
    values = condition_values(condition)
    assert values is not None
    return names, {register.name: value for register, value in values.items()}


@pytest.mark.parametrize("length", [1, 2, 3])
def test_conditions_on_two_registers_move_with_their_window(length):
    """Timestep t is steered by t - 1 and t - 2, whichever window was compiled."""
    program = program_of("history", num_timesteps=9)
    circuit, _ = tile_plainly(program, length)
    seen = [
        what_is_tested(step.operation)[0]
        for step in walk_instructions(circuit)
        if step.operation.name == "if_else"
    ]
    assert [names for names, _ in Counter(map(tuple, seen)).items()] == [
        ("m1",),
        *((f"m{t - 1}", f"m{t - 2}") for t in range(3, 10)),
    ]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("extra_banks", [0, 1, 2])
def test_kinds_do_not_grow_with_the_sequence(kind, extra_banks):
    """Unsteered timesteps, those with less history, one per bank of the others, the last one."""
    program = program_of(kind, num_timesteps=40)
    cell = program.cell
    num_banks = cell.num_banks + extra_banks
    steered = cell.loop == "feedforward"
    num_early = cell.feedback_delay + cell.history if steered else 0
    for num_timesteps in (1, 2, 5, 40, 41, 42):
        windows = plan_windows(replace(program, num_timesteps=num_timesteps), num_banks, 1)
        assert [list(timesteps) for _, timesteps in windows] == [
            [t] for t in range(1, num_timesteps + 1)
        ]
        num_kinds = len({kind for kind, _ in windows})
        assert num_kinds <= min(num_early + num_banks + 1, num_timesteps)
        if num_timesteps >= 40:
            assert num_kinds == num_early + num_banks + 1


def test_each_kind_is_compiled_once():
    program = program_of("delayed history", num_timesteps=30)
    form = CircuitForm(num_banks=3)
    compile_window = Identity()
    templates = compile_templates(program, form, 1, compile_window, fold=False)
    assert len(compile_window.windows) == len(templates) == 1 + 2 + 3 + 1
    finals = [window for window in compile_window.windows if window.cregs[-1].name == "final"]
    assert len(finals) == 1


@pytest.mark.parametrize(("length", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (9, [5])])
def test_windows_hold_every_timestep_once(length, sizes):
    windows = [timesteps for _, timesteps in plan_windows(program_of("all", "line", 5), 1, length)]
    assert [len(timesteps) for timesteps in windows] == sizes
    assert [t for timesteps in windows for t in timesteps] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("length", [1, 2])
def test_a_sample_is_how_the_circuit_begins(length):
    program = program_of("delay", num_timesteps=12)
    whole, _ = tile_plainly(program, length)
    sample, _ = tile_plainly(program, length, max_windows=4 // length)
    assert 0 < len(sample.data) < len(whole.data) / 2
    for found, expected in zip(sample.data, whole.data, strict=False):
        assert found.operation.name == expected.operation.name
        assert [sample.find_bit(q).index for q in found.qubits] == [
            whole.find_bit(q).index for q in expected.qubits
        ]
    assert sample.count_ops()["reset"] == 4
    assert sample.num_clbits == whole.num_clbits


def test_more_banks_than_needed_change_nothing(rng):
    program = program_of("rotations", num_timesteps=4)
    circuit, angles = tile_plainly(program, 1, num_banks=3)
    assert circuit.num_qubits == 2 + 3
    slots = rng.uniform(-np.pi, np.pi, size=program.slots.num_slots)
    np.testing.assert_allclose(
        enumerate_records(bound(program, circuit, angles, slots)).probabilities,
        enumerate_records(bind(program, slots)).probabilities,
        rtol=0,
        atol=LARGEST_DIFFERENCE,
    )
    measured = [
        circuit.find_bit(item.qubits[0]).index
        for item in circuit.data
        if item.operation.name == "measure"
    ]
    assert measured[:4] == [2, 3, 4, 2]


def test_swaps_of_windows_add_up():
    """Of a compiled window the metadata count its swaps; copies have them again."""
    program = program_of("open", num_timesteps=6)

    def compile_window(window):
        window.metadata = {"num_swaps": 2}
        return window

    templates = compile_templates(program, CircuitForm(num_banks=1), 1, compile_window, fold=False)
    circuit, _ = tile(program, 3, 1, 1, templates)
    assert circuit.metadata["num_swaps"] == 12
