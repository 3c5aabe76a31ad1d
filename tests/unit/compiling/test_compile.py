"""Compiled circuits by their properties: gates, parameters, depth, distribution of records."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from qiskit.circuit import Parameter
from scipy.stats import chi2

from qrnn_qiskit.analysis import build_report
from qrnn_qiskit.compiling import compile_logical, compile_program, load_profile, suggest_anchors
from qrnn_qiskit.costing import count_gates
from qrnn_qiskit.costing.walk import walk_instructions
from qrnn_qiskit.devices import load_fake_backend, read_target
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, RunRequest
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import ANSATZE, bind, controls_of, host_program
from tests.reference.branch_enumeration import enumerate_records

READOUT = Readout("X", 1, 1.1)
CELLS = {
    "rotations": {},
    "all": {"steered": "all"},
    "delay": {"feedback_delay": 1},
    "history": {"history": 2},
    "open": {"loop": "open"},
    "two readouts": {"readouts": (Readout("Z", 0), Readout("Y", 1, 0.8))},
}
# The transpiler's angles and matrices are good to about 1e-15 a gate; there are a few hundred.
LARGEST_DIFFERENCE = 1e-10
# Device, profile, changed keys: every profile, tiled and untiled, both forms of the readout.
COMPILERS = {
    "heron": ("fake_boston", "heron", {}),
    "heron whole": ("fake_boston", "heron", {"tiling": "whole"}),
    "heron level 1": ("fake_boston", "heron", {"optimization_level": 1}),
    "heron cz readout": ("fake_torino", "heron", {"readout_gate": "cz"}),
    "fractional": ("fake_boston", "heron_fractional", {}),
    "fractional whole": ("fake_boston", "heron_fractional", {"tiling": "whole"}),
    "fractional cz readout": ("fake_kingston", "heron_fractional", {"readout_gate": "cz"}),
    "eagle": ("fake_brisbane", "eagle", {}),
    "nighthawk": ("fake_nighthawk", "nighthawk", {}),
    "generic": ("fake_manila", "generic", {}),
    "reference": ("fake_boston", "reference_sim14", {"ansatz": None}),
}
pytestmark = pytest.mark.filterwarnings("ignore:Properties of fake_nighthawk:UserWarning")


@cache
def device_for(name, fractional_gates=False):
    return read_target(load_fake_backend(name), fractional_gates=fractional_gates)


def compile_with(program, compiler, **changes):
    device_name, profile_name, keys = COMPILERS[compiler]
    profile = load_profile(profile_name).model_copy(update=keys | changes)
    device = device_for(device_name, profile.fractional_gates)
    return compile_program(program, device, profile)


def small_program(ansatz, kind, num_memory=2, num_timesteps=None):
    cell = CellSpec(Ansatz(ansatz, num_memory), **({"readouts": (READOUT,)} | CELLS[kind]))
    steps = 3 if kind in ("delay", "history") else 2
    return SequenceProgram(cell, num_timesteps or steps, final_bases=("X", "Z"))


def compilations():
    """Every kind of cell with every compiler; the ansatz takes turns, so that all meet all."""
    for row, compiler in enumerate(COMPILERS):
        for column, kind in enumerate(CELLS):
            yield compiler, ANSATZE[(row + column) % 3], kind
    yield from (("heron", ansatz, kind) for ansatz in ANSATZE for kind in CELLS)


@cache
def compile_small(compiler, ansatz, kind):
    return compile_with(small_program(ansatz, kind), compiler)


@pytest.fixture(params=sorted(set(compilations())), ids="-".join)
def compiled(request):
    return compile_small(*request.param)


def random_slots(rng, compiled):
    slots = rng.uniform(-np.pi, np.pi, size=compiled.program.slots.num_slots)
    if compiled.form.readout_gate == "cz":
        for index, slot in enumerate(compiled.program.slots.slots):
            if slot.role == "alpha":
                slots[index] = np.pi / 2
    return slots


def record_probabilities(compiled, slot_values):
    values = compiled.bind_values(slot_values[None])[0]
    bound = compiled.circuit.assign_parameters(
        dict(zip(compiled.parameter_names, values, strict=True))
    )
    return enumerate_records(bound).probabilities


def test_records_are_distributed_as_in_the_logical_circuit(rng, compiled):
    program = compiled.program
    # All slots at random, readouts and basis changes included.
    slots = random_slots(rng, compiled)
    expected = enumerate_records(bind(program, slots)).probabilities
    found = record_probabilities(compiled, slots)
    np.testing.assert_allclose(found, expected, rtol=0, atol=LARGEST_DIFFERENCE)
    alphas = {i for i, slot in enumerate(program.slots.slots) if slot.role == "alpha"}
    differences = []
    for slot in rng.permutation(len(slots)):
        if slot in alphas:
            continue
        perturbed = slots.copy()
        perturbed[slot] += 0.3
        differences.append(np.abs(record_probabilities(compiled, perturbed) - expected).max())
        if differences[-1] > 1e-3:
            break
    # Some slots do not matter (the rz of a final Z measurement); most do.
    assert max(differences) > 1e-3, "no perturbed angle was noticed"


def test_instructions_are_in_the_target(compiled):
    device = device_for(compiled.target_name, "rzz" in compiled.circuit.count_ops())
    for operation, qubits, _, nesting in walk_instructions(compiled.circuit):
        if operation.name == "if_else":
            assert nesting == 0
            assert device.has("if_else")
        else:
            physical = tuple(compiled.physical_qubits[qubit] for qubit in qubits)
            assert device.target.instruction_supported(operation.name, physical)


def test_parameters_are_plain_and_all_listed(compiled):
    symbols = [
        value
        for step in walk_instructions(compiled.circuit)
        if step.operation.name != "if_else"
        for value in step.operation.params
        if getattr(value, "parameters", None)
    ]
    assert all(type(value) is Parameter for value in symbols)
    assert {value.name for value in symbols} == set(compiled.parameter_names)
    assert {p.name for p in compiled.circuit.parameters} == set(compiled.parameter_names)
    num_parameters = len(compiled.parameter_names)
    assert len(set(compiled.parameter_names)) == num_parameters
    assert compiled.matrix.shape == (num_parameters, compiled.program.slots.num_slots)
    assert compiled.constants.shape == compiled.folds.shape == (num_parameters,)


def test_bits_are_where_the_circuit_measures_them(compiled):
    program, circuit = compiled.program, compiled.circuit
    assert len(compiled.bit_to_qubit) == program.num_bits
    names = [register.name for register in circuit.cregs]
    assert names == [register.name for register in program.circuit.cregs]
    for item in circuit.data:
        if item.operation.name.startswith("measure"):
            bit = circuit.find_bit(item.clbits[0]).index
            assert compiled.bit_to_qubit[bit] == circuit.find_bit(item.qubits[0]).index
    by_role = [compiled.bits_of(role) for role in ("steering", "reported", "final")]
    assert sum(len(bits) for bits in by_role) == program.num_bits
    assert len(set(compiled.physical_qubits)) == circuit.num_qubits


@pytest.mark.parametrize(
    ("compiler", "ansatz", "num_memory"),
    [
        ("heron", "sim14", 8),  # four spares
        ("fractional", "sim14", 6),  # memory qubits move
        ("fractional cz readout", "brick", 6),
        ("eagle", "line", 6),
    ],
)
def test_larger_circuits_keep_the_distribution(rng, compiler, ansatz, num_memory):
    program = replace(
        small_program(ansatz, "rotations", num_memory, num_timesteps=2), final_bases=("Z",)
    )
    compiled = compile_with(program, compiler)
    slots = random_slots(rng, compiled)
    expected = enumerate_records(bind(program, slots)).probabilities
    found = record_probabilities(compiled, slots)
    np.testing.assert_allclose(found, expected, rtol=0, atol=LARGEST_DIFFERENCE)


@pytest.mark.parametrize(
    ("compiler", "ansatz"), [("heron", "sim14"), ("fractional", "sim14"), ("reference", "line")]
)
def test_long_circuits_keep_the_distribution(rng, compiler, ansatz):
    """T = 6 has too many records to enumerate: two-sample chi-square on 4,000 shots each.

    Angles within 0.3 rad, so that records are few and the first angle of the qubit that is read,
    perturbed by 0.3 rad, moves the first bit by 0.13.
    """
    program = replace(small_program(ansatz, "rotations", 4, num_timesteps=6), final_bases=("Z",))
    compiled = compile_with(program, compiler)
    table = rng.uniform(-0.3, 0.3, size=(1, *program.table_shape))
    shifted = table.copy()
    first = next(
        rotation.angle
        for rotation in program.cell.ansatz.rotations
        if rotation.gate == "ry" and rotation.qubits == (READOUT.anchor,)
    )
    shifted[0, 0, 0, first] += 0.3
    right, wrong = program.slots.values(controls_of(program, np.concatenate((table, shifted))))

    def sample(target, values, seed):
        result = AerExecutor().run(RunRequest(target, values[None], 4000, seed))
        return np.bincount(result.bits[0] @ (1 << np.arange(program.num_bits)), minlength=2**10)

    reference = sample(compile_logical(program), right, 1)

    def p_value(second):
        kept = reference + second > 10
        statistic = ((reference - second)[kept] ** 2 / (reference + second)[kept]).sum()
        return chi2.sf(statistic, kept.sum() - 1)

    assert p_value(sample(compiled, right, 2)) > 1e-5
    assert p_value(sample(compiled, wrong, 3)) < 1e-5, "a perturbed angle was not noticed"


# n, ansatz, layers, readouts' anchors, profile, device, largest two-qubit depth per timestep.
DEPTHS = [
    (8, "sim14", 1, (0,), "heron", "fake_boston", 53),
    (8, "line", 1, (0,), "heron", "fake_boston", 18),
    (8, "brick", 1, (0,), "heron", "fake_boston", 6),
    (8, "brick", 1, (0,), "heron_fractional", "fake_boston", 3),
    (8, "brick", 2, (0,), "heron", "fake_boston", 10),
    (8, "brick", 2, (0,), "heron_fractional", "fake_boston", 5),
    (12, "sim14", 1, (0, 2), "heron", "fake_boston", 50),
    (8, "sim14", 1, (0,), "nighthawk", "fake_nighthawk", 34),
]


@pytest.mark.parametrize(
    ("num_memory", "ansatz", "num_layers", "anchors", "profile_name", "device_name", "largest"),
    DEPTHS,
)
def test_depth_per_timestep_is_bounded(
    num_memory, ansatz, num_layers, anchors, profile_name, device_name, largest
):
    cell = CellSpec(Ansatz(ansatz, num_memory, num_layers), tuple(Readout("Z", a) for a in anchors))
    profile = load_profile(profile_name)
    device = device_for(device_name, profile.fractional_gates)
    compiled = compile_program(SequenceProgram(cell, 8), device, profile)
    assert count_gates(compiled.circuit).two_qubit_depth / 8 <= largest


def test_gates_grow_linearly_and_placements_do_not_change_with_length():
    program = small_program("line", "delay", 4, num_timesteps=44)
    compiled = [compile_with(program.prefix(length), "heron") for length in (20, 32, 44)]
    assert len({item.physical_qubits for item in compiled}) == 1
    counts = [count_gates(item.circuit).num_two_qubit for item in compiled]
    assert counts[2] - counts[1] == counts[1] - counts[0]


@pytest.mark.parametrize("device_name", ["fake_boston", "fake_kingston", "fake_brisbane"])
@pytest.mark.parametrize("ansatz", ["brick", "line", "sim14"])
def test_layouts_lose_no_more_than_those_of_level_3(device_name, ansatz):
    """The same instructions on both sides: what differs is where they are and how they are put."""
    cell = CellSpec(Ansatz(ansatz, 4), (Readout("Z", 0),))
    program = SequenceProgram(cell, 8)
    device = device_for(device_name)
    ours = load_profile("generic")
    level_3 = load_profile("reference_sim14").model_copy(
        update={"ansatz": None, "fast_measure": True, "fast_reset": True}
    )
    losses = [
        build_report(compile_program(program, device, profile), device, profile).loss.total
        for profile in (ours, level_3)
    ]
    assert losses[0] <= losses[1]


@pytest.mark.parametrize("device_name", ["fake_kingston", "fake_boston"])
@pytest.mark.parametrize("num_memory", [4, 6])
def test_a_feedback_delay_hides_most_of_the_waiting(device_name, num_memory):
    """Each delay with the banks that it takes, and no more."""
    device = device_for(device_name)
    profile = load_profile("heron").model_copy(update={"extra_banks": 0})
    waits = []
    for delay in (0, 1):
        cell = CellSpec(Ansatz("brick", num_memory), (Readout("Z", 0),), feedback_delay=delay)
        compiled = compile_program(SequenceProgram(cell, 16), device, profile)
        waits.append(build_report(compiled, device, profile).memory_idle_ns)
    assert waits[1] <= 0.6 * waits[0]


def test_compiling_twice_gives_the_same_circuit():
    program = small_program("sim14", "rotations", 4)
    first, second = (compile_with(program, "heron") for _ in "ab")
    assert first.physical_qubits == second.physical_qubits
    assert first.parameter_names == second.parameter_names
    # Parameters of the same name are different objects.
    texts = [
        [(step.operation.name, step.qubits, step.clbits, step.nesting, str(step.operation.params))
         for step in walk_instructions(compiled.circuit) if step.operation.name != "if_else"]
        for compiled in (first, second)
    ]  # fmt: skip
    assert texts[0] == texts[1]
    np.testing.assert_array_equal(first.matrix.toarray(), second.matrix.toarray())


def test_logical_circuits_bind_slots_themselves(rng):
    program = small_program("sim14", "delay")
    compiled = compile_logical(program)
    slots = rng.uniform(-3, 3, size=(2, program.slots.num_slots))
    np.testing.assert_array_equal(compiled.bind_values(slots), slots)
    assert compiled.circuit is program.circuit
    assert compiled.parameter_names == program.slots.names
    assert compiled.physical_qubits == ()
    # Three timesteps on alternating banks, then the memory.
    assert compiled.bit_to_qubit == (2, 3, 2, 0, 1)


def test_the_profile_aer_is_the_logical_circuit():
    program = small_program("brick", "rotations")
    compiled = compile_program(program, device_for("fake_miami"), load_profile("aer"))
    assert compiled.circuit is program.circuit


def test_the_cz_readout_takes_only_rows_that_it_can_read(rng):
    """Data rows have alpha = pi/2, calibration rows phi = 0; nothing else is the same circuit."""
    program = small_program("brick", "rotations")
    compiled = compile_with(program, "heron cz readout")
    readout_bits = rng.integers(2, size=(2, program.num_timesteps, 1))
    memory_bits = rng.integers(2, size=(2, 2))
    rows = program.slots.calibration_values(readout_bits, memory_bits)
    rows = program.slots.with_basis(rows, "Z")
    for row, mid, final in zip(rows, readout_bits, memory_bits, strict=True):
        record = np.concatenate((mid.ravel(), final)) @ (1 << np.arange(program.num_bits))
        assert record_probabilities(compiled, row)[record] == pytest.approx(1, abs=1e-9)
    slots = random_slots(rng, compiled)
    alpha = next(i for i, s in enumerate(program.slots.slots) if s.role == "alpha")
    slots[alpha] += 0.1
    with pytest.raises(
        InputError, match=r"slot_values: must have alpha = pi/2 or phi = 0"
    ) as error:
        compiled.bind_values(slots[None])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("kind", "missing"), [("rotations", "if_else, reset"), ("open", "reset")])
def test_devices_without_dynamic_circuits_are_refused(kind, missing):
    with pytest.raises(InputError, match=f"fake_miami lacks {missing}; choose") as caught:
        compile_program(
            small_program("brick", kind), device_for("fake_miami"), load_profile("generic")
        )
    assert "\n" not in str(caught.value)


def test_the_host_loop_needs_no_dynamic_circuits():
    program = host_program("line", num_memory=2, num_timesteps=2)
    compiled = compile_program(program, device_for("fake_miami"), load_profile("generic"))
    assert "reset" not in compiled.circuit.count_ops()


def test_programs_that_are_too_large_are_refused():
    program = small_program("brick", "rotations")
    wide = replace(program, cell=replace(program.cell, ansatz=Ansatz("brick", 5)))
    with pytest.raises(InputError, match="backend: must have at least 6 qubits, got 5") as caught:
        compile_program(wide, device_for("fake_manila"), load_profile("generic"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"two_qubit_gates": ("ecr",)}, "profile generic: two_qubit_gates: must have the entangler "
         "of fake_boston, cz"),
        ({"ansatz": "sim14"}, "profile generic: ansatz: must be the program's, brick"),
    ],
)  # fmt: skip
def test_profiles_that_do_not_fit_are_refused(changes, message):
    profile = load_profile("generic").model_copy(update=changes)
    with pytest.raises(InputError, match=message) as caught:
        compile_program(small_program("brick", "rotations"), device_for("fake_boston"), profile)
    assert "\n" not in str(caught.value)


def test_excluded_qubits_are_avoided():
    program = small_program("brick", "rotations")
    first = compile_with(program, "heron")
    excluded = first.physical_qubits
    device = read_target(load_fake_backend("fake_boston"), excluded_qubits=excluded)
    second = compile_program(
        program, device, load_profile("heron").model_copy(update={"excluded_qubits": excluded})
    )
    assert not set(first.physical_qubits) & set(second.physical_qubits)


def test_a_device_without_room_is_refused_in_one_line():
    """Five qubits in a row without the middle one hold no chain of three."""
    device = read_target(load_fake_backend("fake_manila"), excluded_qubits=[2])
    with pytest.raises(InputError, match="must have connected usable qubits") as caught:
        compile_program(small_program("brick", "rotations"), device, load_profile("generic"))
    assert "\n" not in str(caught.value)


def test_anchors_are_suggested_where_others_need_neither_swaps_nor_spares():
    def suggested(ansatz, num_memory, num_readouts):
        readouts = tuple(Readout("Z", anchor) for anchor in range(num_readouts))
        cell = CellSpec(Ansatz(ansatz, num_memory), readouts)
        return list(suggest_anchors(SequenceProgram(cell, 2), device_for("fake_boston")))

    # A ring of twelve alternates between sites with and without a neighbour outside.
    pairs = suggested("sim14", 12, 2)
    assert (0, 2) in pairs
    assert all((second - first) % 2 == 0 for first, second in pairs)
    assert suggested("sim14", 8, 1) == []
    assert suggested("brick", 3, 1) == [(0,), (1,), (2,)]
