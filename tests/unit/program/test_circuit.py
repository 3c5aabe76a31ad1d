"""The dynamic circuit: what hardware may see of it, its record, its identity, its text.

`QRNN_REGENERATE_GOLDEN=1 pytest tests/unit/program/test_circuit.py -k golden` rewrites
tests/golden/*.qasm; read the difference before committing it.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qiskit import qasm3
from qiskit.circuit import IfElseOp
from qiskit.circuit.classical import expr

from qrnn_qiskit.costing.walk import walk_instructions
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm, TimestepPlan, build_window, exchange
from tests.programs import bind, dynamic_configurations, dynamic_program, host_program
from tests.reference.branch_enumeration import enumerate_records

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(params=dynamic_configurations(), ids=str)
def program(request, rng):
    return dynamic_program(rng, *request.param)


def branches(circuit):
    return [item for item in circuit.data if isinstance(item.operation, IfElseOp)]


def bits_read(condition):
    if isinstance(condition, expr.Expr):
        return {bit for var in expr.iter_vars(condition) for bit in var.var}
    return set(condition[0])


def test_branches_have_one_level_and_hold_rotations_only(program):
    for item in branches(program.circuit):
        assert len(item.operation.blocks) == 1
        (body,) = item.operation.blocks
        assert set(body.count_ops()) <= {"ry", "rz", "rzz", "h"}
        if program.cell.steered == "rotations":
            assert set(body.count_ops()) == {"ry"}


def test_number_of_branches(program):
    """steered=all: one per outcome; rotations: one per further outcome and layer of rotations."""
    cell = program.cell
    layers = sum(single for single, _ in cell.ansatz.segments)
    expected = 0
    for timestep in range(1, program.num_timesteps + 1):
        outcomes = cell.num_visible_outcomes(timestep)
        if outcomes > 1:
            expected += outcomes if cell.steered == "all" else (outcomes - 1) * layers
    assert len(branches(program.circuit)) == expected
    assert expected or cell.loop == "open"


def test_conditions_read_the_declared_bits_which_never_change_again(program):
    read, written = set(), {}
    timestep = 1
    for item in program.circuit.data:
        name = item.operation.name
        if name == "measure":
            assert item.clbits[0] not in read, "a bit that was already read is overwritten"
            assert item.clbits[0] not in written, "a bit is written twice"
            written[item.clbits[0]] = timestep
            position = program.circuit.find_bit(item.clbits[0]).index
            timestep = program.record[position].timestep + 1
        elif name == "if_else":
            bits = bits_read(item.operation.condition)
            assert bits <= set(written)
            seen = {
                bit.timestep
                for bit in program.record
                if program.circuit.clbits[bit.position] in bits
            }
            assert seen == set(program.cell.visible_timesteps(timestep))
            read |= bits


def test_one_register_per_timestep_and_one_for_the_memory(program):
    registers = [(register.name, register.size) for register in program.circuit.cregs]
    a, n = program.cell.num_readouts, program.cell.ansatz.num_memory
    timesteps = range(1, program.num_timesteps + 1)
    assert registers == [*((f"m{timestep}", a) for timestep in timesteps), ("final", n)]
    assert program.num_bits == program.circuit.num_clbits == len(program.record)
    for bit in program.record:
        register = "final" if bit.role == "final" else f"m{bit.timestep}"
        (place,) = program.circuit.find_bit(program.circuit.clbits[bit.position]).registers
        assert (place[0].name, place[1]) == (register, bit.index)


def test_banks_rotate_and_every_readout_is_reset(program):
    circuit, cell = program.circuit, program.cell
    used, waiting = {}, set()
    for item in circuit.data:
        name, qubits = item.operation.name, item.qubits
        if name == "reset":
            assert qubits[0] in waiting, "reset of a qubit that was not measured"
            waiting.remove(qubits[0])
            continue
        assert not waiting & set(qubits), "a measured qubit is used before its reset"
        if name == "measure":
            bit = program.record[circuit.find_bit(item.clbits[0]).index]
            index = circuit.find_bit(qubits[0]).index
            if bit.role == "final":
                assert index == bit.index
            else:
                waiting.add(qubits[0])
                used[bit.timestep, bit.index] = index - cell.ansatz.num_memory
    assert not waiting
    a = cell.num_readouts
    assert used == {
        (timestep, index): (timestep - 1) % cell.num_banks * a + index
        for timestep in range(1, program.num_timesteps + 1)
        for index in range(a)
    }


@pytest.mark.parametrize(
    ("history", "delay", "steering"),
    [(1, 0, {1, 2, 3}), (2, 0, {1, 2, 3}), (1, 1, {1, 2}), (2, 1, {1, 2}), (1, 3, set())],
)
def test_roles_of_the_record(history, delay, steering):
    cell = CellSpec(
        Ansatz("line", 2), (Readout("Z", 0), Readout("X", 1)), history=history, feedback_delay=delay
    )
    program = SequenceProgram(cell, 4)
    roles = [bit.role for bit in program.record]
    expected = [
        "steering" if timestep in steering else "reported" for timestep in (1, 1, 2, 2, 3, 3, 4, 4)
    ]
    assert roles == [*expected, "final", "final"]
    assert [bit.position for bit in program.record] == list(range(10))
    assert [bit.index for bit in program.record] == [0, 1] * 5
    read = set()
    for item in branches(program.circuit):
        read |= bits_read(item.operation.condition)
    positions = {program.circuit.find_bit(bit).index for bit in read}
    assert positions == {bit.position for bit in program.record if bit.role == "steering"}


def test_open_and_host_programs_steer_nothing():
    open_program = SequenceProgram(CellSpec(Ansatz("line", 2), (Readout("Z", 0),), "open"), 3)
    assert {bit.role for bit in open_program.record} == {"reported", "final"}
    host = host_program("line")
    assert [bit.role for bit in host.record] == ["final"] * 3
    assert set(host.circuit.count_ops()) == {"h", "rz", "rzz", "ry", "measure"}
    assert host.num_features == 9


GOLDEN_PROGRAMS = {
    "sim14_feedforward": SequenceProgram(
        CellSpec(Ansatz("sim14", 2), (Readout("Z", 0),)), num_timesteps=2
    ),
    "brick_delay_1": SequenceProgram(
        CellSpec(Ansatz("brick", 3), (Readout("X", 1, 0.5),), feedback_delay=1), num_timesteps=3
    ),
    "line_all_history_2": SequenceProgram(
        CellSpec(Ansatz("line", 2), (Readout("Y", 1),), steered="all", history=2),
        num_timesteps=3,
        final_bases=("X", "Z"),
    ),
    "open_two_readouts": SequenceProgram(
        CellSpec(Ansatz("brick", 2), (Readout("Z", 0), Readout("Y", 1)), loop="open"),
        num_timesteps=2,
    ),
}


@pytest.mark.parametrize("name", GOLDEN_PROGRAMS)
def test_golden_text(name):
    text = qasm3.dumps(GOLDEN_PROGRAMS[name].circuit)
    path = GOLDEN / f"{name}.qasm"
    if os.environ.get("QRNN_REGENERATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), (
        "the logical circuit changed: if that is meant, set QRNN_REGENERATE_GOLDEN=1 and run again"
    )


def test_golden_files_belong_to_programs():
    assert {path.stem for path in GOLDEN.glob("*.qasm")} == set(GOLDEN_PROGRAMS)


def test_program_id_is_stable_over_rebuilds():
    for program in GOLDEN_PROGRAMS.values():
        rebuilt = replace(program)
        assert rebuilt is not program
        assert rebuilt.circuit is not program.circuit
        assert rebuilt.program_id == program.program_id
    # A fixed value: ids name files and jobs, so that they must outlive a session.
    assert len(GOLDEN_PROGRAMS["brick_delay_1"].program_id) == 16


def test_program_ids_differ_where_circuits_do():
    base = SequenceProgram(CellSpec(Ansatz("brick", 3), (Readout("Z", 0),)), 3)
    cell = base.cell
    variants = [
        base,
        base.prefix(2),
        replace(base, final_bases=("X", "Z")),
        *(
            replace(base, cell=replace(cell, **change))
            for change in (
                {"ansatz": Ansatz("line", 3)},
                {"ansatz": Ansatz("brick", 4)},
                {"ansatz": Ansatz("brick", 3, 2)},
                {"readouts": (Readout("X", 0),)},
                {"readouts": (Readout("Z", 1),)},
                {"readouts": (Readout("Z", 0), Readout("Z", 1))},
                {"steered": "all"},
                {"history": 2},
                {"feedback_delay": 1},
                {"loop": "open"},
                {"loop": "host", "readouts": ()},
            )
        ),
    ]
    assert len({variant.program_id for variant in variants}) == len(variants)


FORM_PROGRAMS = {
    "history": SequenceProgram(
        CellSpec(Ansatz("brick", 3), (Readout("X", 1, 1.1),), history=2), 4, ("X", "Z")
    ),
    "delay": SequenceProgram(
        CellSpec(Ansatz("sim14", 3), (Readout("Y", 2, 1.1),), feedback_delay=1), 4, ("Z", "Y")
    ),
    "all": SequenceProgram(
        CellSpec(Ansatz("line", 2), (Readout("Z", 0, 0.7), Readout("X", 1)), steered="all"), 3
    ),
    "layers": SequenceProgram(CellSpec(Ansatz("brick", 3, 2), (Readout("Z", 0, 0.7),), "open"), 3),
}


@pytest.fixture(params=FORM_PROGRAMS)
def form_program(request):
    return FORM_PROGRAMS[request.param]


@pytest.fixture
def slots(form_program, rng):
    return rng.uniform(-np.pi, np.pi, form_program.slots.num_slots)


def join_windows(program, form, length):
    """Windows one after the other, registers matched by name."""
    timesteps = range(1, program.num_timesteps + 1)
    joined = build_window(program, timesteps, form).copy_empty_like()
    bits = {register.name: list(register) for register in joined.cregs}
    for first in timesteps[::length]:
        window = build_window(program, timesteps[first - 1 : first - 1 + length], form)
        clbits = [bit for register in window.cregs for bit in bits[register.name]]
        joined.compose(window, range(joined.num_qubits), clbits, inplace=True)
    return joined


def assert_same_records(program, form, slots, length=1):
    expected = enumerate_records(bind(program, slots)).probabilities

    def error(values):
        names = dict(zip(program.slots.names, values, strict=True))
        circuit = join_windows(program, form, length).assign_parameters(names)
        assert circuit.num_clbits == program.num_bits
        return np.abs(enumerate_records(circuit).probabilities - expected).max()

    # Sums of some thousand products, rounded.
    assert error(slots) < 1e-12
    wrong = slots.copy()
    wrong[0] += 0.3
    assert error(wrong) > 1e-4


@pytest.mark.parametrize("length", [1, 2, 3])
def test_windows_one_after_the_other_are_the_circuit(form_program, slots, length):
    assert_same_records(form_program, CircuitForm(), slots, length)


def test_more_banks_change_no_record(form_program, slots):
    num_banks = form_program.cell.num_banks + 1
    form = CircuitForm(num_banks=num_banks)
    circuit = build_window(form_program, range(1, 4), form)
    cell = form_program.cell
    assert circuit.num_qubits == cell.ansatz.num_memory + cell.num_readouts * num_banks
    assert_same_records(form_program, form, slots)


@pytest.mark.parametrize("num_spares", [1, 2, 3])
def test_routes_through_spares_change_no_record(form_program, slots, num_spares):
    """A coupling of the memory and a readout by way of the same spares."""
    cell = form_program.cell
    spares = tuple(range(cell.num_qubits, cell.num_qubits + num_spares))
    readout = cell.ansatz.num_memory
    routes = (0, *spares, 1), (cell.readouts[0].anchor, *spares, readout)
    form = CircuitForm(num_spares=num_spares, routes=routes)
    circuit = build_window(form_program, range(1, 2), form)
    assert circuit.count_ops()["cx"] > 0
    coupled = {frozenset(circuit.find_bit(q).index for q in item.qubits) for item in circuit.data
               if len(item.qubits) == 2}  # fmt: skip
    assert frozenset((0, 1)) not in coupled
    assert frozenset((cell.readouts[0].anchor, readout)) not in coupled
    assert_same_records(form_program, form, slots)


def with_role(program, slots, role, value):
    changed = slots.copy()
    changed[[slot.role == role for slot in program.slots.slots]] = value
    return changed


def test_cz_readout_is_the_rzz_readout_for_data_and_for_calibration(form_program, slots):
    form = CircuitForm(readout_gate="cz")
    assert_same_records(form_program, form, with_role(form_program, slots, "alpha", np.pi / 2))
    # A calibration turns the readout qubits by beta alone, but alpha is a slot like any other.
    idle = with_role(form_program, slots, "phi", 0.0)
    assert_same_records(form_program, form, idle)


def test_cz_readout_is_another_one_elsewhere(form_program, slots):
    slots = with_role(form_program, with_role(form_program, slots, "alpha", 0.4), "phi", 1.1)
    with pytest.raises(AssertionError):
        assert_same_records(form_program, CircuitForm(readout_gate="cz"), slots)


def random_plans(rng, program, num_banks):
    """Plans that close, with swaps everywhere and of any two sites."""
    couplings = [r.qubits for r in program.cell.ansatz.rotations if len(r.qubits) == 2]
    num_memory = program.cell.ansatz.num_memory
    start = rng.permutation(num_memory).tolist()

    def random_swaps(sites, num_swaps):
        swaps = [tuple(rng.permutation(num_memory)[:2].tolist()) for _ in range(num_swaps)]
        for swap in swaps:
            exchange(sites, swap)
        return tuple(swaps)

    plans = []
    for _ in range(num_banks):
        sites, before, merged = list(start), [], []
        for pair in couplings:
            before.append(random_swaps(sites, rng.integers(3)))
            merged.append(bool(rng.integers(2)))
            if merged[-1]:
                exchange(sites, [sites[qubit] for qubit in pair])
        before_readouts = random_swaps(sites, 1)
        after = []
        for qubit, site in enumerate(start):
            if sites[qubit] != site:
                after.append((sites[qubit], site))
                exchange(sites, after[-1])
        plans.append(
            TimestepPlan(tuple(start), tuple(before), tuple(merged), before_readouts, tuple(after))
        )
    return tuple(plans)


@pytest.mark.parametrize("extra_banks", [0, 1])
def test_moving_memory_qubits_change_no_record(form_program, slots, rng, extra_banks):
    num_banks = form_program.cell.num_banks + extra_banks
    plans = random_plans(rng, form_program, num_banks)
    form = CircuitForm(num_banks=num_banks, plans=plans)
    operations = set()
    for step in walk_instructions(build_window(form_program, range(1, 3), form)):
        operations.add(step.operation.name)
    assert "cx" in operations
    assert "swap" not in operations
    assert_same_records(form_program, form, slots)


def test_last_timestep_does_not_bring_anyone_back(rng):
    program = FORM_PROGRAMS["delay"]
    (plan, _) = random_plans(rng, program, 2)
    plan = replace(plan, swaps_after_readouts=((0, 1),) * 4)
    form = CircuitForm(plans=(plan, plan))
    cx = [build_window(program, range(t, t + 1), form).count_ops()["cx"] for t in (3, 4)]
    assert cx[0] - cx[1] == 3 * 4
