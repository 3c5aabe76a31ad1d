"""Compiled circuits by their properties: gates, parameters, and the distribution of records."""

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import IfElseOp, Parameter

from qrnn_qiskit.compiling import compile_for_backend, compile_logical
from qrnn_qiskit.compiling.transpile import _plain_parameters
from qrnn_qiskit.devices import load_fake_backend
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import ANSATZE, bind, host_program
from tests.reference.branch_enumeration import enumerate_records

# Two-qubit gate cz on both; sherbrooke has the directed ecr.
DEVICES = ("fake_boston", "fake_torino", "fake_sherbrooke")
READOUT = Readout("X", 1, 1.1)
CELLS = {
    "rotations": {},
    "all": {"steered": "all"},
    "delay": {"feedback_delay": 1},
    "history": {"history": 2},
    "open": {"loop": "open"},
    "host": {"loop": "host", "readouts": ()},
}
# The transpiler's angles and matrices are good to about 1e-15 a gate; there are a few hundred.
LARGEST_DIFFERENCE = 1e-10


@pytest.fixture(scope="module")
def backends():
    return {name: load_fake_backend(name) for name in DEVICES}


def small_program(ansatz, kind):
    cell = CellSpec(Ansatz(ansatz, 2), **({"readouts": (READOUT,)} | CELLS[kind]))
    num_timesteps = 3 if kind in ("delay", "history") else 2
    return SequenceProgram(cell, num_timesteps, final_bases=("X", "Z"))


def compilations():
    """Everything on one device; on the others every ansatz once, with different cells."""
    for ansatz in ANSATZE:
        for kind in CELLS:
            yield "fake_boston", ansatz, kind
    yield from (("fake_torino", ansatz, "rotations") for ansatz in ANSATZE)
    yield from (("fake_sherbrooke", ansatz, "all") for ansatz in ANSATZE)


@pytest.fixture(scope="module", params=list(compilations()), ids="-".join)
def compiled(request, backends):
    device, ansatz, kind = request.param
    return compile_for_backend(small_program(ansatz, kind), backends[device])


def instructions(circuit):
    """Every instruction and the indices of its qubits in the outer circuit, bodies included."""

    def walk(body, index):
        for item in body.data:
            qubits = tuple(index[qubit] for qubit in item.qubits)
            yield item.operation, qubits
            if isinstance(item.operation, IfElseOp):
                for block in item.operation.blocks:
                    yield from walk(block, dict(zip(block.qubits, qubits, strict=True)))

    yield from walk(circuit, {qubit: k for k, qubit in enumerate(circuit.qubits)})


def test_instructions_are_in_the_target(compiled, backends):
    target = backends[compiled.target_name].target
    for operation, qubits in instructions(compiled.circuit):
        if operation.name == "if_else":
            assert "if_else" in target.operation_names
        else:
            physical = tuple(compiled.physical_qubits[qubit] for qubit in qubits)
            assert target.instruction_supported(operation.name, physical)


def test_only_used_qubits_remain(compiled):
    circuit = compiled.circuit
    used = {
        qubit
        for operation, qubits in instructions(circuit)
        if operation.name != "if_else"
        for qubit in qubits
    }
    assert used == set(range(circuit.num_qubits))
    assert len(compiled.physical_qubits) == circuit.num_qubits
    assert list(compiled.physical_qubits) == sorted(set(compiled.physical_qubits))
    # Two memory qubits and their readout lie on a path: nothing else is needed.
    assert circuit.num_qubits == compiled.program.cell.num_qubits


def test_parameters_are_plain_and_all_listed(compiled):
    circuit = compiled.circuit
    symbols = [
        value
        for operation, _ in instructions(circuit)
        if operation.name != "if_else"
        for value in operation.params
        if getattr(value, "parameters", None)
    ]
    assert all(type(value) is Parameter for value in symbols)
    assert {value.name for value in symbols} == set(compiled.parameter_names)
    assert {parameter.name for parameter in circuit.parameters} == set(compiled.parameter_names)
    num_parameters = len(compiled.parameter_names)
    assert len(set(compiled.parameter_names)) == num_parameters
    assert compiled.matrix.shape == (num_parameters, compiled.program.slots.num_slots)
    assert compiled.constants.shape == (num_parameters,)


def test_bits_are_where_the_circuit_measures_them(compiled):
    program, circuit = compiled.program, compiled.circuit
    assert len(compiled.bit_to_qubit) == program.num_bits
    assert [register.name for register in circuit.cregs] == [
        register.name for register in program.circuit.cregs
    ]
    for item in circuit.data:
        if item.operation.name == "measure":
            bit = circuit.find_bit(item.clbits[0]).index
            assert compiled.bit_to_qubit[bit] == circuit.find_bit(item.qubits[0]).index
    # One qubit for each memory qubit, and one for each readout of each bank.
    places = {}
    for bit, qubit in zip(program.record, compiled.bit_to_qubit, strict=True):
        bank = (bit.timestep - 1) % program.cell.num_banks
        key = ("memory", bit.index) if bit.role == "final" else (bank, bit.index)
        places.setdefault(key, set()).add(qubit)
    assert all(len(qubits) == 1 for qubits in places.values())
    assert len(set.union(*places.values())) == len(places)


def record_probabilities(compiled, slot_values):
    values = compiled.bind_values(slot_values[None])[0]
    bound = compiled.circuit.assign_parameters(
        dict(zip(compiled.parameter_names, values, strict=True))
    )
    return enumerate_records(bound).probabilities


def test_records_are_distributed_as_in_the_logical_circuit(rng, compiled):
    program = compiled.program
    # All slots at random, readouts and basis changes included.
    slots = rng.uniform(-np.pi, np.pi, size=program.slots.num_slots)
    expected = enumerate_records(bind(program, slots)).probabilities
    found = record_probabilities(compiled, slots)
    np.testing.assert_allclose(found, expected, rtol=0, atol=LARGEST_DIFFERENCE)
    differences = []
    for slot in rng.permutation(len(slots)):
        perturbed = slots.copy()
        perturbed[slot] += 0.3
        differences.append(np.abs(record_probabilities(compiled, perturbed) - expected).max())
        if differences[-1] > 1e-3:
            break
    # Some slots do not matter (the rz of a final Z measurement); most do.
    assert max(differences) > 1e-3, "no perturbed angle was noticed"


@pytest.mark.parametrize("steered", ["rotations", "all"])
def test_routed_circuits_keep_the_distribution(rng, backends, steered):
    """A ring of three has no place on heavy hex: swaps, also inside branches."""
    cell = CellSpec(Ansatz("sim14", 3), (Readout("Z", 0), Readout("Y", 2, 0.8)), steered=steered)
    program = SequenceProgram(cell, 2)
    compiled = compile_for_backend(program, backends["fake_boston"])
    slots = rng.uniform(-np.pi, np.pi, size=program.slots.num_slots)
    expected = enumerate_records(bind(program, slots)).probabilities
    found = record_probabilities(compiled, slots)
    np.testing.assert_allclose(found, expected, rtol=0, atol=LARGEST_DIFFERENCE)
    order = np.arange(len(expected))
    swapped = expected[order & ~3 | (order & 1) << 1 | (order & 2) >> 1]
    assert np.abs(found - swapped).max() > 1e-3, "two exchanged bits were not noticed"


def test_expressions_become_parameters_with_their_linear_forms():
    """Negative slopes, sums, constants, branch bodies; equal expressions share a parameter."""
    program = small_program("brick", "rotations")
    first, second = (Parameter(name) for name in program.slots.names[:2])
    circuit = QuantumCircuit(1, 1, global_phase=first / 2)
    circuit.rz(first, 0)
    circuit.rz(np.pi - first / 2, 0)
    circuit.rz(0.25, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rz(first - 3 * second + 1, 0)
        circuit.rz(np.pi - first / 2, 0)
    plain, names, matrix, constants = _plain_parameters(circuit, program)
    found = [op.params[0] for op, _ in instructions(plain) if op.name == "rz"]
    assert [getattr(value, "name", value) for value in found] == ["p0", "p1", 0.25, "p2", "p1"]
    assert names == ("p0", "p1", "p2")
    np.testing.assert_allclose(constants, [0, np.pi, 1], rtol=0, atol=1e-15)
    np.testing.assert_allclose(matrix.toarray()[:, :2], [[1, 0], [-0.5, 0], [1, -3]], atol=1e-15)
    assert matrix[:, 2:].nnz == 0
    assert plain.global_phase == 0


def test_an_angle_that_is_not_linear_in_slots_is_a_defect():
    program = small_program("brick", "rotations")
    circuit = QuantumCircuit(1)
    circuit.rz(Parameter(program.slots.names[0]) ** 2, 0)
    with pytest.raises(AssertionError, match="compiled angle is not linear in slots"):
        _plain_parameters(circuit, program)


def test_equal_seeds_compile_to_equal_circuits(backends):
    program = small_program("sim14", "rotations")
    first, second = (compile_for_backend(program, backends["fake_boston"], seed=3) for _ in "ab")
    assert first.physical_qubits == second.physical_qubits
    assert first.circuit.count_ops() == second.circuit.count_ops()
    np.testing.assert_array_equal(first.matrix.toarray(), second.matrix.toarray())


def test_every_optimisation_level_keeps_the_distribution(rng, backends):
    program = small_program("line", "all")
    slots = rng.uniform(-np.pi, np.pi, size=program.slots.num_slots)
    expected = enumerate_records(bind(program, slots)).probabilities
    for level in range(3):
        compiled = compile_for_backend(
            program, backends["fake_torino"], optimization_level=level, seed=level
        )
        found = record_probabilities(compiled, slots)
        np.testing.assert_allclose(found, expected, rtol=0, atol=LARGEST_DIFFERENCE)


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


@pytest.mark.parametrize(("kind", "missing"), [("rotations", "if_else, reset"), ("open", "reset")])
def test_devices_without_dynamic_circuits_are_refused(kind, missing):
    with pytest.raises(InputError, match=f"fake_miami lacks {missing}; choose") as caught:
        compile_for_backend(small_program("brick", kind), load_fake_backend("fake_miami"))
    assert "\n" not in str(caught.value)


def test_the_host_loop_needs_no_dynamic_circuits():
    program = host_program("line", num_memory=2, num_timesteps=2)
    compiled = compile_for_backend(program, load_fake_backend("fake_miami"))
    assert "reset" not in compiled.circuit.count_ops()


def test_programs_that_are_too_large_are_refused():
    program = small_program("brick", "rotations")
    wide = replace(program, cell=replace(program.cell, ansatz=Ansatz("brick", 5)))
    with pytest.raises(InputError, match="backend: must have at least 6 qubits, got 5") as caught:
        compile_for_backend(wide, load_fake_backend("fake_manila"))
    assert "\n" not in str(caught.value)
