"""Which of a device's numbers a compiled circuit meets."""

import pytest

from qrnn_qiskit.compiling import compile_logical, compile_program, load_profile
from qrnn_qiskit.costing.walk import walk_instructions
from qrnn_qiskit.devices import load_fake_backend, read_noise, read_target
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram

PROGRAM = SequenceProgram(CellSpec(Ansatz("brick", 4), (Readout("Z", 0),)), 2)


def compile_on(backend, profile_name="heron"):
    profile = load_profile(profile_name)
    device = read_target(backend, fractional_gates=profile.fractional_gates)
    return compile_program(PROGRAM, device, profile)


@pytest.mark.parametrize("backend_name", ["fake_boston", "fake_kingston", "fake_torino"])
def test_errors_are_those_of_the_instructions_in_the_circuit(backend_name):
    """Boston has measure_2 and reset_2, Kingston measure_2, Torino neither."""
    backend = load_fake_backend(backend_name)
    compiled = compile_on(backend)
    noise = noise_for(compiled, backend)
    readout_qubits = set(compiled.bits_of("steering").values())
    assert len(readout_qubits) == 1
    (index,) = readout_qubits
    kind = {"fake_boston": "_2", "fake_kingston": "_2", "fake_torino": ""}[backend_name]
    reset = {"fake_boston": "_2", "fake_kingston": "", "fake_torino": ""}[backend_name]
    assert {"measure" + kind, "reset" + reset} <= set(compiled.circuit.count_ops())
    qubit, physical = noise.qubits[index], compiled.physical_qubits[index]
    mean = (qubit.read_one_given_zero + qubit.read_zero_given_one) / 2
    # Torino's mean in the target is rounded; the others are equal to the last bits.
    assert mean == pytest.approx(backend.target["measure" + kind][physical,].error, rel=1e-6)
    assert qubit.reset_error == backend.target["measure" + reset][physical,].error
    plain = read_noise(backend, compiled.physical_qubits)
    for index in set(range(compiled.circuit.num_qubits)) - readout_qubits:
        assert noise.qubits[index] == plain.qubits[index]
    used = {
        (operation.name, tuple(qubits))
        for operation, qubits, _, _ in walk_instructions(compiled.circuit)
    }
    # Every gate of the circuit, those in branches, too, and no other.
    assert noise.gates == tuple(gate for gate in plain.gates if (gate.name, gate.qubits) in used)
    assert {name for name, _ in used} >= {"cz", "sx", "rz"}
    assert len(noise.gates) < len(plain.gates)


def test_fractional_gates_have_errors_where_the_backend_lacks_them():
    boston = load_fake_backend("fake_boston")
    compiled = compile_on(boston, "heron_fractional")
    gates = {(gate.name, gate.qubits): gate for gate in noise_for(compiled, boston).gates}
    used = {
        (item.name, tuple(compiled.circuit.find_bit(qubit).index for qubit in item.qubits))
        for item in compiled.circuit.data
        if item.name in ("rzz", "rx", "cz")
    }
    assert any(name == "rzz" for name, _ in used)
    for name, qubits in used:
        physical = tuple(compiled.physical_qubits[qubit] for qubit in qubits)
        known_as = {"rzz": "cz", "rx": "sx", "cz": "cz"}[name]
        assert gates[name, qubits].error == boston.target[known_as][physical].error > 0


def test_logical_circuits_are_refused():
    with pytest.raises(InputError, match="compiled: must be compiled for a device, got 'logical'"):
        noise_for(compile_logical(PROGRAM), load_fake_backend("fake_boston"))
