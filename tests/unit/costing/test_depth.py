"""Counts of branches by hand, against Qiskit without branches, and against every path."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import IfElseOp
from qiskit.circuit.classical import expr

from qrnn_qiskit.costing.depth import GateCounts, count_gates, two_qubit_depth_per_qubit
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout
from tests.unit.costing.timed_circuits import compile_on_boston, random_circuit


def two_register_circuit(num_qubits=4):
    registers = [ClassicalRegister(2, "a"), ClassicalRegister(2, "b")]
    circuit = QuantumCircuit(QuantumRegister(num_qubits, "q"), *registers)
    circuit.measure([0, 1], registers[0])
    circuit.measure([0, 1], registers[1])
    return circuit, *registers


@pytest.mark.parametrize("seed", range(20))
def test_circuits_without_branches_count_as_in_qiskit(seed):
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(5, 3)
    for _ in range(80):
        pair = [int(qubit) for qubit in rng.permutation(5)[:2]]
        name = str(rng.choice(["cz", "ecr", "sx", "x", "rz", "measure", "reset", "id", "delay"]))
        if name in ("cz", "ecr"):
            getattr(circuit, name)(*pair)
        elif name == "rz":
            circuit.rz(0.1, pair[0])
        elif name == "delay":
            circuit.delay(10, pair[0], unit="ns")
        elif name == "measure":
            # Qiskit's depth also runs along classical bits: give each qubit its own.
            circuit.measure(pair[0] % 3, pair[0] % 3)
        else:
            getattr(circuit, name)(pair[0])
    names, counts = circuit.count_ops(), count_gates(circuit)
    depth = circuit.depth(lambda item: len(item.qubits) == 2)
    assert counts == GateCounts(
        num_one_qubit=names.get("sx", 0) + names.get("x", 0),
        num_virtual=names.get("rz", 0),
        num_two_qubit=names.get("cz", 0) + names.get("ecr", 0),
        two_qubit_depth=depth,
        num_measurements=names.get("measure", 0),
        num_resets=names.get("reset", 0),
        num_branch_blocks=0,
        num_broadcasts=0,
        broadcast_bits=(),
    )
    assert two_qubit_depth_per_qubit(circuit).max() == depth


def test_alternatives_count_once_and_the_worst_wins():
    circuit, a, _ = two_register_circuit()
    circuit.cz(2, 3)
    for value, num_gates in ((1, 1), (2, 3), (3, 2)):
        with circuit.if_test((a, value)):
            circuit.sx(2)
            for _ in range(num_gates):
                circuit.cz(2, 3)
    counts = count_gates(circuit)
    assert counts.num_two_qubit == counts.two_qubit_depth == 1 + 3
    assert counts.num_one_qubit == 1
    assert counts.num_branch_blocks == 3
    assert counts.num_measurements == 4
    assert (counts.num_broadcasts, counts.broadcast_bits) == (1, (2,))
    assert two_qubit_depth_per_qubit(circuit).tolist() == [0, 0, 4, 4]


def test_equal_two_qubit_counts_are_decided_by_pulses():
    circuit, a, _ = two_register_circuit()
    with circuit.if_test((a, 1)):
        circuit.cz(2, 3)
        circuit.x(2)
    with circuit.if_test((a, 2)):
        circuit.cz(2, 3)
        circuit.x(3)
        circuit.x(2)
        circuit.rz(0.1, 2)
    counts = count_gates(circuit)
    assert (counts.num_two_qubit, counts.num_one_qubit, counts.num_virtual) == (1, 2, 1)


def test_the_depth_of_each_qubit_is_the_largest_over_alternatives():
    circuit, a, _ = two_register_circuit(5)
    with circuit.if_test((a, 1)):
        circuit.cz(2, 3)
        circuit.cz(2, 3)
        circuit.x(4)
    with circuit.if_test((a, 2)):
        circuit.cz(3, 4)
        circuit.x(2)
    # Three gates in a chain on no path: 2 on qubit 3 and 1 on qubit 4, from different values.
    circuit.cz(2, 4)
    counts = count_gates(circuit)
    assert two_qubit_depth_per_qubit(circuit).tolist() == [0, 0, 3, 2, 3]
    assert counts.num_two_qubit == 3


def test_blocks_of_one_value_are_one_path():
    circuit, a, _ = two_register_circuit()
    for value in (1, 2, 1):
        with circuit.if_test((a, value)):
            circuit.cz(2, 3)
    assert count_gates(circuit).num_two_qubit == 2


def test_else_bodies_belong_to_the_other_values():
    circuit, a, _ = two_register_circuit()
    for value in (1, 2):
        with circuit.if_test((a, value)) as otherwise:
            circuit.x(2)
            circuit.x(3)
        with otherwise:
            circuit.cz(2, 3)
    counts = count_gates(circuit)
    # Value 0 takes both else bodies, and no x.
    assert (counts.num_two_qubit, counts.two_qubit_depth, counts.num_one_qubit) == (2, 2, 0)


@pytest.mark.parametrize("between", ["rz", "measure", "other block", "other qubits", "other bits"])
def test_blocks_apart_add_up(between):
    circuit, a, b = two_register_circuit(6)

    def block(register, value, *qubits):
        with circuit.if_test((register, value)):
            circuit.cz(*qubits)

    block(a, 1, 2, 3)
    if between == "rz":
        circuit.rz(0.1, 2)
    elif between == "measure":
        circuit.measure(5, a[0])
    elif between == "other block":
        block(b, 1, 3, 4)
    block(
        b if between == "other bits" else a, 2, *((3, 4) if between == "other qubits" else (2, 3))
    )
    assert count_gates(circuit).num_two_qubit == 2 + (between == "other block")


def test_what_happens_elsewhere_does_not_part_alternatives():
    circuit, a, _ = two_register_circuit(6)
    for value in (0, 1, 2, 3):
        with circuit.if_test((a, value)):
            circuit.cz(2, 3)
        circuit.cz(4, 5)
        circuit.barrier()
    counts = count_gates(circuit)
    assert (counts.num_two_qubit, counts.two_qubit_depth) == (5, 4)


def test_conditions_on_two_registers_are_alternatives_in_either_order():
    circuit, a, b = two_register_circuit()
    with circuit.if_test(expr.bit_and(expr.equal(a, 1), expr.equal(b, 2))):
        circuit.cz(2, 3)
    with circuit.if_test(expr.bit_and(expr.equal(b, 3), expr.equal(a, 1))):
        circuit.cz(2, 3)
    counts = count_gates(circuit)
    assert counts.num_two_qubit == 1
    assert (counts.num_broadcasts, counts.broadcast_bits) == (2, (2, 2))


def test_conditions_that_are_not_understood_never_exclude_each_other():
    circuit, a, _ = two_register_circuit()
    for condition in (expr.less(a, 1), expr.greater(a, 2)):
        with circuit.if_test(condition) as otherwise:
            circuit.cz(2, 3)
        with otherwise:
            circuit.cz(2, 3)
            circuit.cz(2, 3)
    assert count_gates(circuit).num_two_qubit == 4


def test_a_broadcast_is_a_register_content():
    circuit, a, b = two_register_circuit()
    circuit.add_register(ClassicalRegister(3, "c"))

    def read(condition, qubit=3):
        with circuit.if_test(condition):
            circuit.x(qubit)

    read((a, 1))
    read((a, 2), 2)
    read((a[0], 1))  # known with its register
    assert count_gates(circuit).broadcast_bits == (2,)
    read(expr.bit_and(expr.equal(a, 1), expr.equal(b, 2)))
    assert count_gates(circuit).broadcast_bits == (2, 2)
    circuit.measure(0, a[1])
    read((a[0], 1))
    assert count_gates(circuit).broadcast_bits == (2, 2)
    read((a, 1))
    read((circuit.cregs[2], 1))
    assert count_gates(circuit).broadcast_bits == (2, 2, 2, 3)
    assert count_gates(circuit).num_broadcasts == 4


def test_a_body_that_measures_changes_what_follows():
    circuit, a, _ = two_register_circuit()
    with circuit.if_test((a, 1)):
        circuit.cz(2, 3)
        circuit.measure(2, a[0])
        circuit.reset(2)
        circuit.reset(3)
    with circuit.if_test((a, 2)):
        circuit.cz(2, 3)
    counts = count_gates(circuit)
    assert (counts.num_two_qubit, counts.num_measurements, counts.num_resets) == (2, 5, 2)
    assert counts.num_broadcasts == 2


def test_loops_are_refused_by_name():
    circuit = QuantumCircuit(1)
    with circuit.for_loop(range(3)):
        circuit.x(0)
    for count in (count_gates, two_qubit_depth_per_qubit):
        with pytest.raises(InputError, match="branches must be if_else, got 'for_loop'") as caught:
            count(circuit)
        assert "\n" not in str(caught.value)


def path_of(circuit, choose):
    """The circuit that one shot runs; `choose(clbit, number of its measurement)` gives bits."""
    path, bits, num_measured = QuantumCircuit(circuit.qubits), {}, Counter()
    for item in circuit.data:
        if isinstance(item.operation, IfElseOp):
            taken = 0 if holds(item.operation.condition, bits) else 1
            blocks = item.operation.blocks
            if taken < len(blocks):
                for inner in blocks[taken].data:
                    place = dict(zip(blocks[taken].qubits, item.qubits, strict=True))
                    path.append(inner.operation, [place[qubit] for qubit in inner.qubits])
        elif item.clbits:
            (bit,) = item.clbits
            bits[bit] = choose(circuit.find_bit(bit).index, num_measured[bit])
            num_measured[bit] += 1
        elif item.name != "barrier":
            path.append(item.operation, item.qubits)
    return path


def holds(condition, bits):
    if isinstance(condition, expr.Expr):
        return all(
            holds((side.left.var, side.right.value), bits)
            for side in (condition.left, condition.right)
        )
    target, value = condition
    if not isinstance(target, ClassicalRegister):
        return bits.get(target, 0) == value
    return sum(bits.get(bit, 0) << place for place, bit in enumerate(target)) == value


def worst_path(circuit):
    """Most two-qubit gates, and largest depth of each qubit, over all values of all bits."""
    measured = Counter()
    keys = []
    for item in circuit.data:
        if item.name.startswith("measure"):
            index = circuit.find_bit(item.clbits[0]).index
            keys.append((index, measured[index]))
            measured[index] += 1
    num_gates, depth = 0, np.zeros(circuit.num_qubits, int)
    for values in product((0, 1), repeat=len(keys)):
        chosen = dict(zip(keys, values, strict=True))
        path = path_of(circuit, lambda bit, number, chosen=chosen: chosen[bit, number])
        num_gates = max(num_gates, sum(len(item.qubits) == 2 for item in path.data))
        depth = np.maximum(depth, depth_along(path))
    return num_gates, depth


def depth_along(path):
    depth = np.zeros(path.num_qubits, int)
    for item in path.data:
        pair = [path.find_bit(qubit).index for qubit in item.qubits]
        if len(pair) == 2:
            depth[pair] = depth[pair].max() + 1
    return depth


@pytest.mark.parametrize("seed", range(60))
def test_no_path_of_a_random_circuit_is_worse(seed):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, num_instructions=30, max_measurements=6)
    num_gates, depth = worst_path(circuit)
    assert count_gates(circuit).num_two_qubit >= num_gates
    assert (two_qubit_depth_per_qubit(circuit) >= depth).all()


def test_the_bound_is_often_reached():
    """Else it would only show that numbers are large."""
    reached = []
    for seed in range(30):
        circuit = random_circuit(np.random.default_rng(seed), 15, max_measurements=6)
        num_gates, depth = worst_path(circuit)
        reached += [count_gates(circuit).num_two_qubit == num_gates,
                    count_gates(circuit).two_qubit_depth == depth.max()]  # fmt: skip
    assert np.mean(reached) > 0.5


@pytest.mark.parametrize(
    "options",
    [{}, {"steered": "all"}, {"feedback_delay": 1}, {"history": 2}, {"loop": "open"}],
    ids=str,
)
def test_a_compiled_program_counts_as_its_worst_path(options):
    # A second readout doubles the outcomes; with a history that is 16 and too many paths.
    num_readouts = 1 if "history" in options else 2
    readouts = (Readout("X", 1, 1.1), Readout("Z", 0))[:num_readouts]
    cell = CellSpec(Ansatz("sim14", 2), readouts, **options)
    circuit = compile_on_boston(cell, 3)[0].circuit
    counts = count_gates(circuit)
    # The last timestep's bits and the memory's steer nothing, so one value of them is enough.
    without_final = QuantumCircuit(*circuit.qregs, *circuit.cregs)
    for item in circuit.data:
        if not item.name.startswith("measure") or set(item.clbits) <= set(steering_bits(circuit)):
            without_final.append(item)
    num_gates, depth = worst_path(without_final)
    assert counts.num_two_qubit == num_gates
    np.testing.assert_array_equal(two_qubit_depth_per_qubit(circuit), depth)
    num_seen = {"feedback_delay": 1, "loop": 0}.get(next(iter(options), ""), 2)
    assert counts.broadcast_bits == (num_readouts,) * num_seen
    assert counts.num_branch_blocks == circuit.count_ops().get("if_else", 0)
    assert counts.num_measurements == circuit.num_clbits


def steering_bits(circuit):
    return {
        bit for item in circuit.data if isinstance(item.operation, IfElseOp) for bit in item.clbits
    }
