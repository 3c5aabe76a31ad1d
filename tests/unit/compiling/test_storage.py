"""Compiled programs as files: the same circuit, arrays and records after a round trip."""

import json
import math
import multiprocessing
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, qasm3, qpy

from qrnn_qiskit.compiling import compile_logical, compile_program, export, load_profile, storage
from qrnn_qiskit.compiling.export import export_isa, widen
from qrnn_qiskit.compiling.folding import fold_angles
from qrnn_qiskit.compiling.storage import load_compiled, save_compiled
from qrnn_qiskit.costing.walk import walk_instructions
from qrnn_qiskit.devices import load_fake_backend, read_target
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm, TimestepPlan
from tests.reference.branch_enumeration import enumerate_records

READOUTS = (Readout("X", 0, 1.1),)
# Ansatz, memory, what else the cell has, timesteps, profile.
PROGRAMS = {
    "feedforward": ("brick", 2, {}, 3, "heron"),
    "all": ("line", 2, {"steered": "all"}, 3, "heron"),
    "history": ("brick", 2, {"history": 2}, 3, "heron"),
    "open": ("line", 3, {"loop": "open"}, 2, "heron"),
    "host": ("line", 2, {"loop": "host"}, 2, "heron"),
    "folds": ("brick", 2, {}, 2, "heron_fractional"),
    "logical": ("sim14", 3, {}, 2, "aer"),
    "spares": ("sim14", 8, {}, 3, "heron"),
}
NUM_DEVICE_QUBITS = 156


@cache
def device_for(fractional_gates):
    return read_target(load_fake_backend("fake_boston"), fractional_gates=fractional_gates)


def program_of(kind):
    ansatz, num_memory, changes, num_timesteps, _ = PROGRAMS[kind]
    readouts = () if changes.get("loop") == "host" else READOUTS
    return SequenceProgram(CellSpec(Ansatz(ansatz, num_memory), readouts, **changes), num_timesteps)


@cache
def compiled_of(kind):
    profile = load_profile(PROGRAMS[kind][-1])
    return compile_program(program_of(kind), device_for(profile.fractional_gates), profile)


@pytest.fixture(params=PROGRAMS)
def compiled(request):
    return compiled_of(request.param)


def bound(compiled, circuit, slots):
    values = compiled.bind_values(slots[None])[0]
    return circuit.assign_parameters(dict(zip(compiled.parameter_names, values, strict=True)))


def slots_of(rng, compiled):
    return rng.uniform(-np.pi, np.pi, size=compiled.program.slots.num_slots)


def assert_equal(found, expected):
    assert found.circuit == expected.circuit
    assert export.qasm_text(found.circuit) == export.qasm_text(expected.circuit)
    for step, other in zip(
        walk_instructions(found.circuit), walk_instructions(expected.circuit), strict=True
    ):
        assert type(step.operation) is type(other.operation)
        assert step[1:] == other[1:]
    for name in ("data", "indices", "indptr"):
        array, other = getattr(found.matrix, name), getattr(expected.matrix, name)
        np.testing.assert_array_equal(array, other)
        assert array.dtype == other.dtype
    assert found.matrix.shape == expected.matrix.shape
    for name in ("constants", "folds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    for name in ("program", "parameter_names", "physical_qubits", "bit_to_qubit", "target_name",
                 "form", "profile_name"):  # fmt: skip
        assert getattr(found, name) == getattr(expected, name)


def test_round_trip_changes_nothing(tmp_path, compiled):
    path = tmp_path / "new" / "folder" / "entry.qrnn"
    save_compiled(compiled, path)
    assert [file.name for file in path.parent.iterdir()] == ["entry.qrnn"]
    # Another program object of equal content, as another process would have it.
    found = load_compiled(path, replace(compiled.program))
    assert_equal(found, compiled)
    own = {parameter.name: parameter for parameter in found.circuit.parameters}
    assert set(own) == set(found.parameter_names)
    for step in walk_instructions(found.circuit):
        for value in step.operation.params if step.operation.name != "if_else" else ():
            assert not hasattr(value, "name") or value == own[value.name]
    save_compiled(found, path)
    assert_equal(load_compiled(path, compiled.program), compiled)


@pytest.mark.parametrize("kind", [kind for kind in PROGRAMS if kind != "spares"])
def test_records_are_distributed_as_before(tmp_path, rng, kind):
    compiled = compiled_of(kind)
    save_compiled(compiled, tmp_path / "entry.qrnn")
    found = load_compiled(tmp_path / "entry.qrnn", compiled.program)
    slots = slots_of(rng, compiled)
    before = enumerate_records(bound(compiled, compiled.circuit, slots)).probabilities
    after = enumerate_records(bound(found, found.circuit, slots)).probabilities
    np.testing.assert_array_equal(after, before)


def test_mid_circuit_instructions_survive(tmp_path):
    """fake_boston has measure_2 and reset_2, which are no instructions of Qiskit's own."""
    compiled = compiled_of("feedforward")
    save_compiled(compiled, tmp_path / "entry.qrnn")
    found = load_compiled(tmp_path / "entry.qrnn", compiled.program).circuit
    target = device_for(False).target
    for name in ("measure_2", "reset_2"):
        operations = [item.operation for item in found.data if item.operation.name == name]
        assert operations
        assert all(operation == target.operation_from_name(name) for operation in operations)


def test_every_field_of_the_form_is_kept(tmp_path):
    plan = TimestepPlan((1, 0, 2), (((0, 1), (1, 2)), ()), (True, False), ((0, 2),), ((2, 1),))
    form = CircuitForm("cz", 2, 3, ((0, 5, 6, 1), (2, 7, 3)), (plan, replace(plan, start=(0,))))
    assert len(fields(form)) == 5  # a field added later belongs in this test
    assert form.route_of  # cached on the object, and not part of it
    compiled = replace(compiled_of("open"), form=form, profile_name="käse")
    save_compiled(compiled, tmp_path / "entry.qrnn")
    found = load_compiled(tmp_path / "entry.qrnn", compiled.program)
    assert (found.form, found.profile_name) == (form, "käse")


def test_file_must_be_of_the_program_the_key_and_the_format(tmp_path, monkeypatch):
    compiled, path = compiled_of("feedforward"), tmp_path / "entry.qrnn"
    save_compiled(compiled, path, key="here")
    assert_equal(load_compiled(path, compiled.program, key="here"), compiled)
    with pytest.raises(InputError, match="must hold the program"):
        load_compiled(path, compiled.program.prefix(2), key="here")
    with pytest.raises(InputError, match="saved under the key 'there'"):
        load_compiled(path, compiled.program, key="there")
    monkeypatch.setattr(storage, "FORMAT_VERSION", 2)
    with pytest.raises(InputError, match="must have format_version 2, got 1"):
        load_compiled(path, compiled.program, key="here")
    with pytest.raises(InputError, match="readable file, got No such file"):
        load_compiled(tmp_path / "missing.qrnn", compiled.program)
    with pytest.raises(InputError, match="must be writable"):
        save_compiled(compiled, path / "below a file.qrnn")


def test_parts_of_different_programs_do_not_fit(tmp_path):
    one, other = compiled_of("feedforward"), compiled_of("all")
    mixed = replace(one, circuit=other.circuit)
    save_compiled(mixed, tmp_path / "entry.qrnn")
    with pytest.raises(InputError, match="damaged file"):
        load_compiled(tmp_path / "entry.qrnn", one.program)


def _save_often(path, barrier, num_times):
    compiled = compile_logical(program_of("logical"))
    barrier.wait(timeout=120)
    for _ in range(num_times):
        save_compiled(compiled, path)


def test_readers_never_see_a_partial_file(tmp_path):
    """Two processes replace one file again and again while this one reads it."""
    path, program = tmp_path / "entry.qrnn", program_of("logical")
    save_compiled(compile_logical(program), path)
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    writers = [spawn.Process(target=_save_often, args=(path, barrier, 100)) for _ in range(2)]
    for writer in writers:
        writer.start()
    barrier.wait(timeout=120)
    num_reads = 0
    while any(writer.is_alive() for writer in writers):
        load_compiled(path, program)
        num_reads += 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert num_reads > 10
    assert [file.name for file in tmp_path.iterdir()] == ["entry.qrnn"]


@pytest.mark.parametrize("kind", ["feedforward", "history", "open", "folds"])
def test_a_wide_circuit_does_the_same_elsewhere(rng, kind):
    compiled = compiled_of(kind)
    circuit = compiled.circuit
    num_wide = circuit.num_qubits + 2
    places = rng.permutation(num_wide)[: circuit.num_qubits].tolist()
    wide = widen(circuit, places, num_wide)
    assert wide.num_qubits == num_wide
    assert wide.cregs == circuit.cregs
    assert wide.layout.initial_index_layout(filter_ancillas=True) == places
    assert wide.layout.final_index_layout() == places
    for step, other in zip(walk_instructions(wide), walk_instructions(circuit), strict=True):
        assert step.operation.name == other.operation.name
        assert step.qubits == tuple(places[qubit] for qubit in other.qubits)
        assert (step.clbits, step.nesting) == (other.clbits, other.nesting)
    slots = slots_of(rng, compiled)
    narrow_records = enumerate_records(bound(compiled, circuit, slots)).probabilities
    wide_records = enumerate_records(bound(compiled, wide, slots)).probabilities
    # The same operations in the same order; only array axes differ.
    np.testing.assert_allclose(wide_records, narrow_records, rtol=0, atol=1e-14)


def test_lone_bits_and_a_full_device_can_be_widened():
    circuit = QuantumCircuit(2)
    circuit.add_bits(QuantumCircuit(0, 1).clbits)
    circuit.add_register(ClassicalRegister(1, "late"))
    circuit.measure([0, 1], [0, 1])
    circuit.metadata = {"run": 7}
    wide = widen(circuit, (1, 0), 2)
    assert [wide.find_bit(item.qubits[0]).index for item in wide.data] == [1, 0]
    assert wide.metadata == {"run": 7}
    for places, size in (((0,), 5), ((1, 1), 5), ((0, 5), 5), ((-1, 0), 5)):
        with pytest.raises(InputError, match="physical_qubits"):
            widen(circuit, places, size)


@pytest.mark.parametrize("kind", ["feedforward", "history", "spares", "folds", "host"])
def test_export_is_the_circuit_on_device_qubits(tmp_path, rng, kind):
    compiled = compiled_of(kind)
    qpy_path, _ = export_isa(compiled, tmp_path / "isa", NUM_DEVICE_QUBITS)
    wide = widen(compiled.circuit, compiled.physical_qubits, NUM_DEVICE_QUBITS)
    with qpy_path.open("rb") as file:
        (loaded,) = qpy.load(file)
    assert loaded == wide
    assert loaded.layout.initial_index_layout(filter_ancillas=True) == list(
        compiled.physical_qubits
    )
    device = device_for(kind == "folds")
    for step in walk_instructions(loaded):
        if step.operation.name != "if_else":
            assert device.target.instruction_supported(step.operation.name, step.qubits)
    assert sorted(path.suffix for path in qpy_path.parent.iterdir()) == [
        ".json", ".npz", ".qasm", ".qpy"
    ]  # fmt: skip

    described = json.loads(qpy_path.with_suffix(".json").read_text())
    assert described["layout"] == list(compiled.physical_qubits)
    measured = {
        step.clbits[0]: step.qubits[0]
        for step in walk_instructions(loaded)
        if step.operation.name.startswith("measure")
    }
    assert {bit["position"]: bit["qubit"] for bit in described["bits"]} == measured
    roles = [(bit.position, bit.role) for bit in compiled.program.record]
    assert [(bit["position"], bit["role"]) for bit in described["bits"]] == roles

    # Values from the files alone, as a reader without this package would get them.
    slots = slots_of(rng, compiled)
    with np.load(qpy_path.with_name(described["arrays"]), allow_pickle=False) as arrays:
        linear = arrays["constants"].copy()
        np.add.at(linear, arrays["rows"], arrays["coefficients"] * slots[arrays["columns"]])
        formulas = [described["values"][fold] for fold in arrays["folds"]]
    functions = {"sin": math.sin, "cos": math.cos, "atan2": math.atan2, "pi": math.pi}
    values = [
        eval(formula, functions | {"v": v}) for formula, v in zip(formulas, linear, strict=True)
    ]
    np.testing.assert_allclose(values, compiled.bind_values(slots[None])[0], rtol=0, atol=1e-12)
    assert described["parameter_names"] == list(compiled.parameter_names)
    assert described["slot_names"] == list(compiled.program.slots.names)


def test_formulas_of_folds_are_those_of_the_binding():
    functions = {"sin": np.sin, "cos": np.cos, "atan2": np.arctan2, "abs": np.abs, "pi": np.pi}
    angles = np.linspace(-7, 7, 101)
    for fold, formula in enumerate(export._FOLD_FORMULAS):
        kinds = np.full(len(angles), fold, dtype=np.uint8)
        found = eval(formula, functions | {"v": angles})
        np.testing.assert_allclose(found, fold_angles(angles[None], kinds)[0], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["feedforward", "history", "folds"])
def test_exported_qasm_is_read_by_other_parsers(tmp_path, kind):
    """qiskit-qasm3-import reads annotations and drops them: measure_2 becomes measure."""
    openqasm3 = pytest.importorskip("openqasm3")
    pytest.importorskip("qiskit_qasm3_import")
    compiled = compiled_of(kind)
    _, qasm_path = export_isa(compiled, tmp_path, NUM_DEVICE_QUBITS)
    text = qasm_path.read_text()
    counts = compiled.circuit.count_ops()
    for name in ("measure_2", "reset_2"):
        assert text.count(f"@qrnn.instruction {name}\n") == counts[name] > 0
    assert f"${compiled.physical_qubits[0]};" in text
    assert "qubit[" not in text
    statements = openqasm3.parse(text).statements
    annotations = [note for statement in statements for note in statement.annotations]
    assert {note.keyword for note in annotations} == {"qrnn.instruction"}
    assert len(annotations) == counts["measure_2"] + counts["reset_2"]
    if kind == "history":
        return  # version 0.6.0 knows no `&` in conditions
    read = qasm3.loads(text).count_ops()
    assert read["measure"] == counts["measure"] + counts["measure_2"]
    assert read["reset"] == counts["reset_2"]
    assert read["if_else"] == counts["if_else"]
    assert read.get("cz") == counts.get("cz")


def test_a_logical_circuit_has_no_device_form(tmp_path):
    with pytest.raises(InputError, match="must be compiled for a device, got 'logical'"):
        export_isa(compiled_of("logical"), tmp_path, NUM_DEVICE_QUBITS)
