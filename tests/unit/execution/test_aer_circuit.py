"""What Aer gets does the same, in instructions that it knows, with waiting that has names."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction, Parameter

from qrnn_qiskit.costing.schedule import build_schedule
from qrnn_qiskit.execution.aer_circuit import Idle, build_aer_circuit
from tests.reference.branch_enumeration import enumerate_records
from tests.unit.costing.timed_circuits import Table, random_circuit


class Durations:
    def duration_ns(self, name, qubits):
        return {"x": 30.4, "cz": 70.0, "measure_2": 1000.0, "reset_2": 400.0, "rx": 30.4}[name]


def labels(circuit):
    return [
        (item.operation.label, circuit.find_bit(item.qubits[0]).index)
        for item in circuit.data
        if item.name == "id"
    ]


def branching_circuit():
    """Qubit 2 waits beside a gate in a body whose qubits come in another order."""
    circuit = QuantumCircuit(3, 1)
    circuit.cz(0, 1)
    circuit.append(Instruction("measure_2", 1, 1, []), [1], [0])
    circuit.append(Instruction("reset_2", 1, 0, []), [1])
    body = QuantumCircuit(2)
    body.rx(Parameter("angle"), 0)
    body.cz(0, 1)
    circuit.if_test((circuit.clbits[0], 1), body, [2, 0], [])
    return circuit


def test_waiting_has_one_name_for_each_qubit_and_time():
    circuit = branching_circuit()
    schedule = build_schedule(circuit, Durations(), feedforward_latency_ns=600)
    found, idles = build_aer_circuit(circuit, schedule)
    assert dict(found.count_ops()) == {"cz": 1, "measure": 1, "reset": 1, "id": 1, "if_else": 1}
    assert labels(found) == [("idle_0_1600ns", 0)]
    taken, absent = found.data[-1].operation.blocks
    # Body qubit 1 is qubit 0 of the circuit; 30.4 ns are rounded.
    assert labels(taken) == [("idle_0_30ns", 1)]
    assert labels(absent) == [("idle_2_100ns", 0), ("idle_0_100ns", 1)]
    assert idles == {Idle(0, 1600), Idle(0, 30), Idle(2, 100), Idle(0, 100)}
    assert found.parameters == circuit.parameters


def test_without_a_schedule_nothing_waits():
    found, idles = build_aer_circuit(branching_circuit())
    assert dict(found.count_ops()) == {"cz": 1, "measure": 1, "reset": 1, "if_else": 1}
    assert idles == frozenset()


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_delays_of_the_circuit_are_waiting_too(unit):
    circuit = QuantumCircuit(1)
    circuit.delay({"ns": 2000, "us": 2}[unit], 0, unit=unit)
    circuit.delay(0.3, 0, unit="ns")
    assert build_aer_circuit(circuit)[1] == {Idle(0, 2000)}


@pytest.mark.parametrize("seed", range(10))
def test_records_stay(seed):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, num_instructions=40, max_measurements=5)
    schedule = build_schedule(circuit, Table(), feedforward_latency_ns=9)
    found, idles = build_aer_circuit(circuit, schedule)
    assert idles
    assert not {"measure_2", "reset_2", "delay"} & set(found.count_ops())
    # Identities change no bit, and everything else stays in order.
    np.testing.assert_array_equal(
        enumerate_records(found).probabilities, enumerate_records(circuit).probabilities
    )
