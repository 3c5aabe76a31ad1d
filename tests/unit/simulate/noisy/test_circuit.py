"""Random dynamic circuits, stranger than a program's, against full density matrices.

Measured qubits that are used further, resets of entangled qubits, two-qubit gates and fresh qubits
in branches, else bodies, conditions on several registers, waiting everywhere.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.classical import expr
from scipy.sparse import csr_array

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.devices import DeviceNoise, GateNoise, QubitNoise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate.noisy.circuit import flatten_circuit
from qrnn_qiskit.simulate.noisy.plan import build_noisy_plan
from qrnn_qiskit.simulate.noisy.run import run_noisy
from tests.programs import controls_of
from tests.unit.simulate.noisy.cases import largest_difference

NUM_QUBITS = 4
CELL = CellSpec(Ansatz("brick", 2), (Readout("Z", 0), Readout("Z", 1)))
PROGRAM = SequenceProgram(CELL, 2)
THETAS = [Parameter(f"theta_{index}") for index in range(3)]


def compiled_from(circuit):
    """A circuit with the program's bits as if compiled; thetas are the first control shifted."""
    names = tuple(parameter.name for parameter in circuit.parameters)
    first = next(i for i, slot in enumerate(PROGRAM.slots.slots) if slot.terms == ((0, 1.0),))
    columns = np.full(len(names), first)
    entries = (np.ones(len(names)), (np.arange(len(names)), columns))
    return replace(
        compile_logical(PROGRAM),
        circuit=circuit,
        parameter_names=names,
        matrix=csr_array(entries, shape=(len(names), PROGRAM.slots.num_slots)),
        constants=np.arange(1.0, 1.0 + len(names)),
        folds=np.zeros(len(names), dtype=np.uint8),
    )


def random_noise(rng):
    qubits = tuple(
        QubitNoise(*rng.uniform(0, 0.2, size=2), 5e3, rng.uniform(2e3, 9e3), rng.uniform(0, 0.2))
        for _ in range(NUM_QUBITS)
    )
    pairs = [(p, q) for p in range(NUM_QUBITS) for q in range(NUM_QUBITS) if p != q]
    gates = [GateNoise("sx", (q,), 0.05, 50.0) for q in range(NUM_QUBITS)]
    gates += [GateNoise("cz", pair, *rng.uniform(0, [0.2, 300])) for pair in pairs]
    gates += [GateNoise("ecr", pair, 0.1, 100.0) for pair in pairs[::2]]
    return DeviceNoise("random", qubits, tuple(gates), idle_factor=1.3)


def add_gates(rng, circuit, qubits, count):
    for _ in range(count):
        first, second = (qubits[i] for i in rng.permutation(len(qubits))[:2])
        kind = rng.integers(7)
        if kind == 0:
            circuit.sx(first)
        elif kind == 1:
            circuit.rx(rng.uniform(-3, 3), first)
        elif kind == 2:
            circuit.rz(THETAS[int(rng.integers(3))], first)
        elif kind == 3:
            circuit.delay(float(rng.uniform(0, 900)), first, unit="ns")
        elif kind == 4:
            circuit.ecr(first, second)
        else:
            circuit.cz(first, second)


def random_circuit(rng):
    """Bits of timestep 1, of timestep 2, of the end; all are measured sooner or later."""
    registers = [ClassicalRegister(2, name) for name in ("m1", "m2", "final")]
    circuit = QuantumCircuit(QuantumRegister(NUM_QUBITS), *registers)
    measured = []
    for register in registers:
        for _ in range(2):
            add_gates(rng, circuit, circuit.qubits, int(rng.integers(2, 7)))
            if measured:
                chosen = rng.permutation(len(measured))[: rng.integers(1, 3)]
                tests = [
                    expr.equal(measured[i], int(rng.integers(2 ** len(measured[i]))))
                    for i in chosen
                ]
                condition = tests[0] if len(tests) == 1 else expr.bit_and(*tests)
                qubits = [circuit.qubits[i] for i in rng.permutation(NUM_QUBITS)[:3]]
                with circuit.if_test(condition) as otherwise:
                    add_gates(rng, circuit, qubits, 3)
                if rng.integers(2):
                    with otherwise:
                        add_gates(rng, circuit, qubits, 2)
            if rng.integers(2):
                circuit.reset(int(rng.integers(NUM_QUBITS)))
        for bit in register:
            qubit = int(rng.integers(NUM_QUBITS))
            circuit.measure(qubit, bit)
            add_gates(rng, circuit, circuit.qubits, int(rng.integers(2)))
            if rng.integers(2):
                circuit.reset(qubit)
        measured.append(register)
    return circuit


@pytest.mark.parametrize("seed", range(12))
def test_random_circuits_equal_density_matrices(seed):
    rng = np.random.default_rng(seed)
    noise, compiled = random_noise(rng), compiled_from(random_circuit(rng))
    controls = controls_of(PROGRAM, rng.normal(size=(1, *PROGRAM.table_shape)))
    found = run_noisy(build_noisy_plan(compiled, noise), torch.from_numpy(controls))
    assert largest_difference(found, compiled, noise, None, controls) < 1e-10
    perfect = replace(noise, gates=())
    wrong = run_noisy(build_noisy_plan(compiled, perfect), torch.from_numpy(controls))
    assert largest_difference(wrong, compiled, noise, None, controls) > 1e-4


# --- the order of instructions, and what is refused ----------------------------------------------


def test_fresh_qubits_are_coupled_last():
    """The readout's gate stands first in the circuit; the memory's own gate goes ahead of it."""
    circuit = QuantumCircuit(4)
    for pair in [(0, 1), (1, 2), (0, 3), (1, 2)]:
        circuit.cz(*pair)
    circuit.barrier()
    order = [item.qubits for item in flatten_circuit(circuit)]
    assert order == [(0, 1), (1, 2), (1, 2), (0, 3)]


def test_a_measured_qubit_is_done_unless_it_meets_another_before_its_reset():
    circuit = QuantumCircuit(2, 3)
    circuit.measure(0, 0)
    circuit.sx(0)
    circuit.reset(0)
    circuit.measure(0, 1)
    circuit.cz(0, 1)
    circuit.measure(0, 2)
    measured = [item.is_last for item in flatten_circuit(circuit) if item.name == "measure"]
    assert measured == [True, False, True]


def test_delays_are_rounded_and_branches_have_both_sides():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        circuit.sx(0)
    with otherwise:
        circuit.delay(0.0322, 0, unit="us")
    _, taken, absent = flatten_circuit(circuit)
    assert taken.scope.values == {(1,)}
    assert absent.scope.values == {(0,)}
    assert absent.duration_ns == 32
    assert (taken.scope.holds({0: 1}), absent.scope.holds({0: 1})) == (True, False)


def test_what_hardware_does_not_run_is_refused():
    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.reset(1)
    with pytest.raises(InputError, match="circuit: a branch must hold gates and delays only, got"):
        flatten_circuit(circuit)

    circuit = QuantumCircuit(2, 2)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    with pytest.raises(InputError, match="got bit 0 before its measurement; measure it first"):
        flatten_circuit(circuit)

    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    circuit.measure(0, 0)
    with pytest.raises(InputError, match="circuit: each bit must be measured once, got bit 0"):
        flatten_circuit(circuit)

    circuit = QuantumCircuit(QuantumRegister(1), ClassicalRegister(2, "m"))
    circuit.measure(0, 0)
    with circuit.if_test(expr.less(circuit.cregs[0], 2)):
        circuit.x(0)
    with pytest.raises(InputError, match="circuit: a condition must say which values"):
        flatten_circuit(circuit)


def test_unknown_gates_are_refused():
    noise = random_noise(np.random.default_rng(0))
    registers = [ClassicalRegister(2, name) for name in ("m1", "m2", "final")]
    circuit = QuantumCircuit(QuantumRegister(NUM_QUBITS), *registers)
    circuit.ccx(0, 1, 2)
    with pytest.raises(InputError, match="circuit: must hold gates on one or two qubits, got"):
        build_noisy_plan(compiled_from(circuit), noise)
    circuit = QuantumCircuit(QuantumRegister(NUM_QUBITS), *registers)
    circuit.crx(THETAS[0], 0, 1)
    with pytest.raises(InputError, match="circuit: must have parameters in rz, p, rx, ry, rzz"):
        build_noisy_plan(compiled_from(circuit), noise)
