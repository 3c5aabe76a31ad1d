"""Padded circuits: the same records, nothing left to wait for, equal time on every branch."""

import numpy as np
import pytest
from qiskit import QuantumCircuit

from qrnn_qiskit.costing.padding import insert_delays
from qrnn_qiskit.costing.schedule import build_schedule
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout
from tests.reference.branch_enumeration import enumerate_records
from tests.unit.costing.test_schedule import SIMPLE, schedule_simply
from tests.unit.costing.timed_circuits import Table, compile_on_boston, random_circuit


def operations(circuit):
    return [
        (item.name, circuit.find_bit(item.qubits[0]).index, *item.operation.params)
        for item in circuit.data
        if item.name != "if_else"
    ]


def test_delays_stand_where_a_qubit_waits():
    circuit = QuantumCircuit(3)
    circuit.cz(0, 1)
    circuit.x(0)
    circuit.x(2)
    circuit.cz(1, 2)
    circuit.cz(0, 1)
    padded = insert_delays(circuit, schedule_simply(circuit))
    assert operations(padded) == [
        ("cz", 0), ("x", 0), ("x", 2), ("cz", 1), ("delay", 0, 40.0), ("cz", 0)
    ]  # fmt: skip
    everywhere = insert_delays(circuit, schedule_simply(circuit), ground=True)
    assert operations(everywhere)[2:4] == [("delay", 2, 40.0), ("x", 2)]
    assert {item.operation.unit for item in padded.data if item.name == "delay"} == {"ns"}


def test_every_branch_takes_the_longest_time_on_every_qubit():
    circuit = QuantumCircuit(3, 1)
    circuit.cz(0, 1)
    circuit.measure(2, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(0)
        circuit.cz(0, 1)
        circuit.x(1)
    with otherwise:
        circuit.sx(1)
    with circuit.if_test((circuit.clbits[0], 0)):
        circuit.x(0)
    with circuit.if_test((circuit.clbits[0], 0)):
        circuit.rz(0.1, 0)
    padded = insert_delays(circuit, schedule_simply(circuit))
    assert operations(padded) == [
        ("cz", 0), ("measure", 2), ("delay", 0, 1430.0), ("delay", 1, 1430.0)
    ]  # fmt: skip
    first, second, third = (item.operation for item in padded.data if item.name == "if_else")
    assert operations(first.blocks[0]) == [
        ("x", 0), ("delay", 1, 30.0), ("cz", 0), ("x", 1), ("delay", 0, 30.0)
    ]  # fmt: skip
    assert operations(first.blocks[1]) == [("sx", 1), ("delay", 0, 130.0), ("delay", 1, 100.0)]
    assert operations(second.blocks[1]) == [("delay", 0, 30.0)]
    # An empty else stays absent where no time passes.
    assert len(third.blocks) == 1


def test_an_absent_else_is_time_and_nothing_else():
    body = QuantumCircuit(1, global_phase=0.3)
    body.x(0)
    circuit = QuantumCircuit(1, 1)
    circuit.if_test((circuit.clbits[0], 1), body, [0], [])
    padded = insert_delays(circuit, schedule_simply(circuit))
    taken, absent = padded.data[0].operation.blocks
    assert taken.global_phase == pytest.approx(0.3)
    assert absent.global_phase == 0
    assert operations(absent) == [("delay", 0, 30.0)]


@pytest.mark.parametrize("ground", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_padded_circuits_have_no_live_waiting_left(seed, ground):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, num_instructions=int(rng.integers(5, 60)))
    schedule = build_schedule(circuit, Table(), feedforward_latency_ns=17)
    padded = insert_delays(circuit, schedule, ground=ground)
    again = build_schedule(padded, Table(), feedforward_latency_ns=17)
    assert again.duration_ns == schedule.duration_ns
    kept = [position for position, item in enumerate(padded.data) if item.name != "delay"]
    assert again.start_ns[kept].tolist() == schedule.start_ns.tolist()
    assert again.end_ns[kept].tolist() == schedule.end_ns.tolist()
    for qubit in range(circuit.num_qubits):
        assert again.idle_ns(qubit, live_only=not ground) == 0
        waited = schedule.idle_ns(qubit, live_only=not ground)
        assert again.busy_ns(qubit) == schedule.busy_ns(qubit) + waited
    for position, item in enumerate(padded.data):
        if item.name != "if_else":
            continue
        lengths = {branch.duration_ns for branch in again.branches[position]}
        assert len(lengths) == 1
        for body in item.operation.blocks:
            for qubit in body.qubits:
                total = sum(
                    inner.operation.duration
                    if inner.name == "delay"
                    else Table().duration_ns(
                        inner.name,
                        tuple(
                            circuit.find_bit(item.qubits[body.find_bit(bit).index]).index
                            for bit in inner.qubits
                        ),
                    )
                    for inner in body.data
                    if qubit in inner.qubits
                )
                assert {total} == lengths


@pytest.mark.parametrize("seed", range(15))
def test_padding_keeps_the_records(seed):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, num_instructions=40, max_measurements=5)
    padded = insert_delays(circuit, build_schedule(circuit, Table(), feedforward_latency_ns=9))
    # The same products in the same order: equal to the last bit.
    np.testing.assert_array_equal(
        enumerate_records(padded).probabilities, enumerate_records(circuit).probabilities
    )


@pytest.mark.parametrize("options", [{}, {"steered": "all"}, {"feedback_delay": 1}], ids=str)
def test_a_compiled_program_keeps_its_records_and_its_time(rng, options):
    cell = CellSpec(Ansatz("sim14", 2), (Readout("X", 1, 1.1),), **options)
    compiled, durations = compile_on_boston(cell, 3)
    schedule = build_schedule(compiled.circuit, durations, feedforward_latency_ns=600)
    padded = insert_delays(compiled.circuit, schedule)
    assert padded.parameters == compiled.circuit.parameters
    again = build_schedule(padded, durations, feedforward_latency_ns=600)
    # Durations come from seconds; sums of a few hundred floats of 1e4 ns.
    assert again.duration_ns == pytest.approx(schedule.duration_ns, abs=1e-6)
    assert [again.idle_ns(qubit) for qubit in range(padded.num_qubits)] == [0] * padded.num_qubits
    slots = rng.uniform(-np.pi, np.pi, size=(1, compiled.program.slots.num_slots))
    values = dict(
        zip(compiled.parameter_names, compiled.bind_values(slots)[0].tolist(), strict=True)
    )
    found, expected = (
        enumerate_records(circuit.assign_parameters(values)).probabilities
        for circuit in (padded, compiled.circuit)
    )
    np.testing.assert_array_equal(found, expected)


def test_a_schedule_of_another_circuit_is_refused():
    circuit, other = QuantumCircuit(1), QuantumCircuit(1)
    circuit.x(0)
    schedule = build_schedule(other, SIMPLE, feedforward_latency_ns=0)
    with pytest.raises(InputError, match="schedule: must have the circuit's numbers") as caught:
        insert_delays(circuit, schedule)
    assert "\n" not in str(caught.value)
