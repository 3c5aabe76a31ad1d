"""Slots: the linear map, its adjoint, and one Pauli rotation for each of them."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import qasm3

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, SequenceProgram, Slot, SlotTable
from tests.programs import (
    bind,
    controls_of,
    dynamic_configurations,
    dynamic_program,
    host_program,
    random_table,
)
from tests.reference.branch_enumeration import enumerate_records

pure = settings(derandomize=True, deadline=None, max_examples=60, database=None)
numbers = st.floats(-10, 10, allow_subnormal=False)
PAULI_ROTATIONS = {"rx", "ry", "rz", "rzz"}
# The keywords of the OpenQASM 3 grammar, its built-in constants, and the gates of stdgates.inc.
RESERVED = re.findall(
    r"\w+",
    """
    OPENQASM include defcalgrammar def cal defcal gate extern box let break continue if else end
    return for while in switch case default nop pragma input output const readonly mutable qreg
    qubit creg bool bit int uint float angle complex array void duration stretch gphase inv pow
    ctrl negctrl dim durationof delay reset measure barrier true false pi tau euler U CX
    p x y z h s sdg t tdg sx rx ry rz cx cy cz cp crx cry crz ch swap ccx cswap cu
    """,
)


@st.composite
def slot_tables(draw):
    num_controls = draw(st.integers(1, 6))
    terms = st.lists(
        st.tuples(st.integers(0, num_controls - 1), numbers),
        max_size=3,
        unique_by=lambda term: term[0],
    )
    slots = [
        Slot(f"s{index}", "cell", 1, 0, constant=draw(numbers), terms=tuple(draw(terms)))
        for index in range(draw(st.integers(1, 6)))
    ]
    return SlotTable(tuple(slots), num_controls)


def rows(draw, num_columns):
    row = st.lists(numbers, min_size=num_columns, max_size=num_columns)
    return np.array(draw(st.lists(row, min_size=2, max_size=2)))


@pure
@given(slot_tables(), st.data())
def test_values_are_the_terms_written_out(table, data):
    controls = rows(data.draw, table.num_controls)
    for row, values in zip(controls, table.values(controls), strict=True):
        expected = [
            slot.constant + sum(coefficient * row[control] for control, coefficient in slot.terms)
            for slot in table.slots
        ]
        # Three products of numbers up to 10: rounding stays below 1e-12.
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
    assert table.driven.tolist() == [i for i, slot in enumerate(table.slots) if slot.terms]


@pure
@given(slot_tables(), st.data())
def test_pull_back_is_the_adjoint_of_values(table, data):
    controls = rows(data.draw, table.num_controls)
    gradient = rows(data.draw, table.num_slots)
    forward = ((table.values(controls) - table.constants) * gradient).sum()
    backward = (controls * table.pull_back(gradient)).sum()
    # At most 36 products of three numbers up to 10, in another order.
    assert abs(forward - backward) < 1e-9


def test_controls_of_another_shape_are_refused():
    slots = host_program("brick", num_memory=2, num_timesteps=3).slots
    with pytest.raises(
        InputError, match=r"controls: must have shape \(num_rows, 15\), got \(2, 5\)"
    ):
        slots.values(np.zeros((2, 5)))
    with pytest.raises(InputError, match="flatten the table and append one phi"):
        slots.values(np.zeros(15))


def programs(rng):
    for configuration in dynamic_configurations():
        yield dynamic_program(rng, *configuration)
    for ansatz in ("sim14", "line", "brick"):
        yield host_program(ansatz, num_layers=2)


def instructions(circuit):
    for item in circuit.data:
        if item.operation.name == "if_else":
            for body in item.operation.blocks:
                yield from instructions(body)
        else:
            yield item.operation


def test_each_slot_drives_exactly_one_pauli_rotation(rng):
    for program in programs(rng):
        driven = [
            (operation.name, [parameter.name for parameter in operation.params[0].parameters])
            for operation in instructions(program.circuit)
            if operation.params and getattr(operation.params[0], "parameters", None)
        ]
        assert all(name in PAULI_ROTATIONS and len(names) == 1 for name, names in driven)
        assert sorted(names[0] for _, names in driven) == sorted(program.slots.names)
        # Plain parameters, in the order in which the rotations are applied.
        assert [names[0] for _, names in driven] == list(program.slots.names)


def test_names_are_unique_identifiers_that_openqasm_keeps(rng):
    for program in programs(rng):
        names = program.slots.names
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in names)
        assert not set(names) & set(RESERVED)
        declared = re.findall(r"^input float\[64\] (\w+);$", qasm3.dumps(program.circuit), re.M)
        assert sorted(declared) == sorted(names)


@pytest.mark.parametrize("final_bases", [("X", "Y", "Z"), ("Y",)])
def test_with_basis_turns_that_pauli_into_z(final_bases):
    cell = CellSpec(Ansatz("brick", 2), loop="host")
    program = SequenceProgram(cell, 1, final_bases=final_bases)
    angle = 0.7
    values = np.zeros((1, program.slots.num_slots))
    values[0, program.slots.names.index("t1_ry0")] = angle
    before = values.copy()
    # RY(angle)|0>:
    expected = {"X": np.sin(angle), "Y": 0.0, "Z": np.cos(angle)}
    for basis, value in expected.items():
        turned = program.slots.with_basis(values, basis)
        found = enumerate_records(bind(program, turned[0])).parity([0])
        assert abs(found - value) < 1e-12
    np.testing.assert_array_equal(values, before)


def test_with_basis_reads_y_with_its_sign():
    program = SequenceProgram(CellSpec(Ansatz("line", 2), loop="host"), 1, ("X", "Y", "Z"))
    values = np.zeros((1, program.slots.num_slots))
    # The rz of a crx stands between two h and is an rx: RX(pi/2)|0> has <Y> = -1.
    values[0, program.slots.names.index("t1_crx0_rz")] = np.pi / 2
    for basis, expected in (("X", 0.0), ("Y", -1.0), ("Z", 0.0)):
        turned = program.slots.with_basis(values, basis)
        assert abs(enumerate_records(bind(program, turned[0])).parity([1]) - expected) < 1e-12


def test_bases_that_the_circuit_cannot_measure_are_refused():
    slots = SequenceProgram(CellSpec(Ansatz("line", 2), loop="host"), 1).slots
    values = np.zeros((1, slots.num_slots))
    np.testing.assert_array_equal(slots.with_basis(values, "Z"), values)
    with pytest.raises(InputError, match="basis: must be one of Z for this circuit, got 'X'"):
        slots.with_basis(values, "X")
    with pytest.raises(InputError, match="basis: must be one of Z, X, Y for this circuit"):
        host_program("line").slots.with_basis(values, "W")


@pytest.mark.parametrize("configuration", dynamic_configurations(), ids=str)
def test_calibration_rows_read_the_expected_bits(rng, configuration):
    program = dynamic_program(rng, *configuration)
    check_calibration(rng, program)


@pytest.mark.parametrize("num_timesteps", [1, 3])
@pytest.mark.parametrize("ansatz", ["sim14", "line", "brick"])
def test_calibration_rows_of_the_host_loop(rng, ansatz, num_timesteps):
    check_calibration(rng, host_program(ansatz, num_timesteps=num_timesteps, num_layers=2))


def check_calibration(rng, program):
    cell = program.cell
    readout_bits = rng.integers(0, 2, size=(3, program.num_timesteps, cell.num_readouts))
    memory_bits = rng.integers(0, 2, size=(3, cell.ansatz.num_memory))
    values = program.slots.calibration_values(readout_bits, memory_bits)
    for row in range(3):
        record = enumerate_records(bind(program, values[row])).distribution
        expected = np.concatenate((readout_bits[row].ravel(), memory_bits[row]))
        packed = int(sum(int(bit) << k for k, bit in enumerate(expected)))
        assert abs(record[packed] - 1) < 1e-12


def test_calibration_flips_the_memory_last(rng):
    """Flipped earlier, it would decay on a device while it waits for the readouts."""
    for program in programs(rng):
        flips = [slot for slot in program.slots.slots if slot.flips]
        assert {slot.timestep for slot in flips} == {program.num_timesteps}
        assert {slot.qubit for slot in flips} == set(range(program.cell.ansatz.num_memory))


def test_the_calibration_check_can_fail(rng):
    """An ordinary row does not read one record with certainty."""
    program = dynamic_program(rng, "brick", "feedforward", "all", 1, 1, 0)
    values = program.slots.values(controls_of(program, random_table(rng, program)))
    assert max(enumerate_records(bind(program, values[0])).distribution.values()) < 0.9
