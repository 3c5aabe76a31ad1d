"""Schedules by closed forms on small circuits, and against a slow one on random circuits."""

from itertools import pairwise

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.classical import expr

from qrnn_qiskit.costing.schedule import build_schedule
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout
from tests.unit.costing.timed_circuits import (
    Exactly,
    SlowSchedule,
    Table,
    compile_on_boston,
    random_circuit,
)

SIMPLE = Exactly({"rz": 0, "x": 30, "sx": 30, "cz": 70, "measure": 1000, "reset": 1200})


def windows(schedule, qubit):
    idle = schedule.idle_windows[qubit]
    return list(
        zip(idle.start_ns.tolist(), idle.end_ns.tolist(), idle.is_live.tolist(), strict=True)
    )


def schedule_simply(circuit, latency_ns=500):
    return build_schedule(circuit, SIMPLE, feedforward_latency_ns=latency_ns)


def test_operations_start_when_their_qubits_are_free():
    circuit = QuantumCircuit(3)
    circuit.cz(0, 1)
    circuit.x(0)
    circuit.cz(1, 2)
    circuit.x(0)
    circuit.cz(0, 2)
    schedule = schedule_simply(circuit)
    assert schedule.start_ns.tolist() == [0, 70, 70, 100, 140]
    assert schedule.end_ns.tolist() == [70, 100, 140, 130, 210]
    assert schedule.duration_ns == 210
    assert windows(schedule, 0) == [(130, 140, True)]
    # Done with after its last gate.
    assert windows(schedule, 1) == []
    assert windows(schedule, 2) == [(0, 70, False)]
    assert [schedule.busy_ns(qubit) for qubit in range(3)] == [200, 140, 140]
    assert schedule.busy_intervals[0].tolist() == [[0, 130], [140, 210]]


def test_virtual_gates_neither_take_time_nor_split_windows():
    circuit = QuantumCircuit(2)
    circuit.cz(0, 1)
    circuit.x(0)
    circuit.rz(Parameter("p"), 1)
    circuit.cz(0, 1)
    schedule = schedule_simply(circuit)
    assert schedule.start_ns.tolist() == [0, 70, 70, 100]
    assert windows(schedule, 1) == [(70, 100, True)]


def test_windows_on_both_sides_of_an_empty_operation_are_one():
    circuit = QuantumCircuit(2)
    circuit.cz(0, 1)
    circuit.x(0)
    circuit.barrier()
    circuit.x(0)
    circuit.cz(0, 1)
    schedule = schedule_simply(circuit)
    assert schedule.start_ns.tolist() == [0, 70, 100, 100, 130]
    assert windows(schedule, 1) == [(70, 130, True)]


def test_a_branch_waits_for_its_bit_and_the_latency():
    circuit = QuantumCircuit(2, 1)
    circuit.x(0)
    circuit.cz(0, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    for latency in (0, 100, 600):
        schedule = schedule_simply(circuit, latency)
        assert schedule.start_ns.tolist() == [0, 30, 100, 1100 + latency]
        assert schedule.duration_ns == 1130 + latency
        assert windows(schedule, 1) == [(0, 30, False), (100, 1100 + latency, True)]
        assert schedule.idle_ns(1) == 1000 + latency


def test_a_bit_that_was_never_measured_is_known_at_once():
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((circuit.clbits[0], 0)):
        circuit.x(0)
    assert schedule_simply(circuit).end_ns.tolist() == [30]


def test_an_if_else_lasts_as_long_as_its_longest_branch():
    circuit = QuantumCircuit(3, 1)
    circuit.measure(2, 0)
    circuit.cz(0, 1)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.x(0)
        circuit.cz(0, 1)
    with otherwise:
        circuit.x(1)
        circuit.x(1)
        circuit.x(1)
        circuit.x(1)
    circuit.x(0)
    schedule = schedule_simply(circuit, 0)
    assert schedule.start_ns.tolist() == [0, 0, 1000, 1120]
    assert schedule.end_ns[2] == 1120
    # The else branch is the longest: qubit 0 waits through all of it.
    assert windows(schedule, 0) == [(70, 1120, True)]
    assert windows(schedule, 1) == [(70, 1000, True)]
    branches = schedule.branches[2]
    assert [branch.duration_ns for branch in branches] == [100, 120]
    assert branches[0].start_ns.tolist() == [0, 30]
    assert branches[1].end_ns.tolist() == [30, 60, 90, 120]


def test_waiting_before_between_and_after_gates_inside_a_branch():
    circuit = QuantumCircuit(3, 1)
    circuit.measure(2, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
        circuit.cz(0, 1)
        circuit.x(0)
        circuit.x(0)
        circuit.cz(0, 1)
        circuit.x(0)
    schedule = schedule_simply(circuit, 0)
    assert windows(schedule, 0) == [(0, 1000, False)]
    assert windows(schedule, 1) == [
        (0, 1000, False), (1000, 1030, True), (1100, 1160, True), (1230, 1260, True)
    ]  # fmt: skip
    assert schedule.busy_ns(1) == 140


def test_branches_on_different_qubits_overlap_and_blocks_on_the_same_do_not():
    circuit = QuantumCircuit(3, 2)
    circuit.measure(2, 0)
    for value in (0, 1):
        with circuit.if_test((circuit.clbits[0], value)):
            circuit.x(0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
        circuit.x(1)
    assert schedule_simply(circuit).start_ns.tolist() == [0, 1500, 1530, 1500]
    assert schedule_simply(circuit).duration_ns == 1560


@pytest.mark.parametrize("as_expression", [True, False])
def test_the_later_bit_of_a_condition_decides(as_expression):
    first, second = ClassicalRegister(1, "m1"), ClassicalRegister(1, "m2")
    both = ClassicalRegister(2, "m")
    circuit = QuantumCircuit(QuantumRegister(3), first, second, both)
    circuit.measure(0, first[0] if as_expression else both[0])
    circuit.x(0)
    circuit.measure(1, second[0] if as_expression else both[1])
    condition = (
        expr.bit_and(expr.equal(first, 1), expr.equal(second, 0)) if as_expression else (both, 1)
    )
    with circuit.if_test(condition):
        circuit.x(2)
    table = Table({"x": 30, "measure": 1000})  # 5 ns longer on qubit 1
    schedule = build_schedule(circuit, table, feedforward_latency_ns=100)
    assert schedule.start_ns.tolist() == [0, 1000, 0, 1105]


def test_the_last_measurement_of_a_bit_counts():
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    assert schedule_simply(circuit).start_ns.tolist() == [0, 1000, 2500]


def test_gates_on_a_fresh_qubit_come_late_and_wait_in_the_ground_state():
    circuit = QuantumCircuit(2)
    circuit.cz(0, 1)
    circuit.x(0)
    circuit.x(0)
    circuit.x(0)
    circuit.reset(1)
    circuit.x(1)
    circuit.rz(0.1, 1)
    circuit.x(1)
    for _ in range(60):
        circuit.x(0)
    circuit.cz(0, 1)
    schedule = schedule_simply(circuit)
    start = 70 + 63 * 30
    assert schedule.start_ns[-1] == start
    assert schedule.start_ns[5:8].tolist() == [start - 60, start - 30, start - 30]
    assert windows(schedule, 1) == [(1270, start - 60, False)]
    assert schedule.idle_ns(1) == 0
    assert schedule.idle_ns(1, live_only=False) == start - 60 - 1270


def test_late_gates_do_not_delay_anyone():
    circuit = QuantumCircuit(2)
    for _ in range(3):
        circuit.x(1)
    circuit.x(0)
    circuit.cz(0, 1)
    schedule = schedule_simply(circuit)
    assert schedule.start_ns.tolist() == [0, 30, 60, 60, 90]
    assert windows(schedule, 0) == [(0, 60, False)]


def test_late_gates_before_a_measurement_a_branch_or_the_end():
    circuit = QuantumCircuit(3, 1)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.x(1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.x(2)
    schedule = schedule_simply(circuit)
    assert schedule.start_ns.tolist() == [0, 30, 1500, 1530, 0]
    assert windows(schedule, 0) == windows(schedule, 2) == []
    assert windows(schedule, 1) == [(0, 1500, False)]


def test_a_measured_qubit_that_is_not_reset_is_live():
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    for _ in range(40):
        circuit.x(1)
    circuit.cz(0, 1)
    assert windows(schedule_simply(circuit), 0) == [(1000, 1200, True)]


def test_a_barrier_makes_qubits_wait_and_keeps_the_ground_state():
    circuit = QuantumCircuit(3)
    circuit.x(0)
    circuit.x(0)
    circuit.x(1)
    circuit.barrier()
    circuit.cz(0, 1)
    circuit.x(2)
    circuit.cz(1, 2)
    schedule = schedule_simply(circuit)
    assert schedule.start_ns.tolist() == [0, 30, 30, 60, 60, 100, 130]
    assert windows(schedule, 1) == [(0, 30, False)]
    assert windows(schedule, 2) == [(0, 100, False)]


def test_delays_take_their_own_time():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.delay(2, 0, unit="us")
    circuit.delay(50, 0, unit="ns")
    assert schedule_simply(circuit).end_ns.tolist() == [1000, 3000, 3050]


def test_idle_and_busy_time_of_a_span():
    circuit = QuantumCircuit(2)
    circuit.cz(0, 1)
    circuit.x(0)
    circuit.x(0)
    circuit.cz(0, 1)
    schedule = schedule_simply(circuit)
    assert windows(schedule, 1) == [(70, 130, True)]
    assert schedule.idle_ns(1, start_ns=80, end_ns=100) == 20
    assert schedule.idle_ns(1, start_ns=100) == 30
    assert schedule.idle_ns(1, end_ns=10) == 0
    assert schedule.busy_ns(1, start_ns=60, end_ns=140) == 20


def test_an_empty_circuit():
    schedule = schedule_simply(QuantumCircuit(2, 1))
    assert schedule.duration_ns == 0
    assert schedule.start_ns.shape == (0,)
    assert schedule.idle_ns(0) == schedule.busy_ns(1) == 0


def grid_of(schedule, num_ns):
    """Works, and waits in a live state, for each qubit and ns, as `SlowSchedule.grids`."""
    works, is_live = np.zeros((2, schedule.num_qubits, num_ns), bool)
    for qubit in range(schedule.num_qubits):
        for start, end in schedule.busy_intervals[qubit].astype(int):
            works[qubit, start:end] = True
        for start, end, live in windows(schedule, qubit):
            is_live[qubit, int(start) : int(end)] = live
    return works, is_live


@pytest.mark.parametrize("seed", range(150))
def test_random_circuits_are_scheduled_as_the_slow_way(seed):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, num_instructions=int(rng.integers(5, 60)))
    latency = int(rng.integers(0, 60))
    slow = SlowSchedule(circuit, Table(), latency)
    schedule = build_schedule(circuit, Table(), feedforward_latency_ns=latency)
    positions = range(len(circuit.data))
    assert schedule.start_ns.tolist() == [slow.start(i) for i in positions]
    assert schedule.end_ns.tolist() == [slow.end(i) for i in positions]
    works, is_live = slow.grids()
    assert schedule.duration_ns == works.shape[1]
    for found, expected in zip(grid_of(schedule, works.shape[1]), (works, is_live), strict=True):
        np.testing.assert_array_equal(found, expected)
    for qubit in range(circuit.num_qubits):
        # Windows and busy intervals are maximal and fill the time up to the last operation.
        found = windows(schedule, qubit)
        assert all(a[1] < b[0] or a[2] != b[2] for a, b in pairwise(found))
        busy = schedule.busy_intervals[qubit]
        assert (busy[1:, 0] > busy[:-1, 1]).all()
        last = max([slow.end(i) for i in slow.chains[qubit]], default=0)
        assert schedule.busy_ns(qubit) + schedule.idle_ns(qubit, live_only=False) == last


def test_the_slow_schedule_notices_a_wrong_latency():
    rng = np.random.default_rng(0)
    circuit = random_circuit(rng, num_instructions=60)
    slow = SlowSchedule(circuit, Table(), 31)
    schedule = build_schedule(circuit, Table(), feedforward_latency_ns=30)
    assert schedule.start_ns.tolist() != [slow.start(i) for i in range(len(circuit.data))]


def compiled_schedule(latency_ns=500, **options):
    cell = CellSpec(Ansatz("sim14", 2), (Readout("Z", 0),), **options)
    compiled, durations = compile_on_boston(cell, 4)
    schedule = build_schedule(compiled.circuit, durations, feedforward_latency_ns=latency_ns)
    return compiled, durations, schedule


def test_a_compiled_program_waits_for_its_readout():
    compiled, durations, schedule = compiled_schedule()
    readout = durations.duration_ns("measure", (compiled.bit_to_qubit[0],))
    memory = compiled.bit_to_qubit[-2:]
    for qubit in memory:
        assert schedule.idle_ns(qubit) > 3 * (readout + 500)
    # Meanwhile the readout qubit is reset, which takes longer than 600 ns and hides the latency.
    assert compiled_schedule(latency_ns=600)[2].duration_ns == schedule.duration_ns
    slow, slower = (compiled_schedule(latency_ns=value)[2] for value in (5000, 5100))
    assert slower.duration_ns - slow.duration_ns == pytest.approx(300)
    for qubit in range(compiled.circuit.num_qubits):
        ends = [
            end
            for item, end in zip(compiled.circuit.data, schedule.end_ns, strict=True)
            if compiled.circuit.qubits[qubit] in item.qubits
        ]
        total = schedule.busy_ns(qubit) + schedule.idle_ns(qubit, live_only=False)
        assert total == pytest.approx(max(ends))


def test_feedback_delay_hides_the_readout():
    at_once = compiled_schedule()[2]
    delayed = compiled_schedule(feedback_delay=1)[2]
    assert delayed.duration_ns < 0.75 * at_once.duration_ns


@pytest.mark.parametrize("latency", [-1.0, float("nan"), float("inf")])
def test_a_wrong_latency_is_refused(latency):
    with pytest.raises(InputError, match="feedforward_latency_ns: must be finite") as caught:
        build_schedule(QuantumCircuit(1), SIMPLE, feedforward_latency_ns=latency)
    assert "\n" not in str(caught.value)


def test_wrong_durations_are_refused():
    circuit = QuantumCircuit(1)
    circuit.x(0)
    with pytest.raises(InputError, match=r"durations: x on qubits \(0,\) must have a finite"):
        build_schedule(circuit, Exactly({"x": float("nan")}), feedforward_latency_ns=0)
    circuit.delay(10, 0, unit="dt")
    with pytest.raises(InputError, match="circuit: a delay must be in one of ps, ns"):
        schedule_simply(circuit)


def test_other_control_flow_is_refused_by_name():
    loop, nested = QuantumCircuit(1, 1), QuantumCircuit(1, 1)
    with loop.for_loop(range(3)):
        loop.x(0)
    with nested.if_test((nested.clbits[0], 1)), nested.if_test((nested.clbits[0], 1)):
        nested.x(0)
    for circuit, name in ((loop, "for_loop"), (nested, "nested if_else")):
        with pytest.raises(
            InputError, match=f"must be if_else of one level, got '{name}'"
        ) as caught:
            schedule_simply(circuit)
        assert "\n" not in str(caught.value)
