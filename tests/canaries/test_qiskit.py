"""Canaries for qiskit itself: each fails when a trap of docs/traps.md is gone."""

import io

import numpy as np
import pytest
from qiskit import QuantumCircuit, qasm3, qpy
from qiskit.circuit import Instruction, Parameter
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Operator
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_ibm_runtime.fake_provider import FakeFractionalBackend


def gone(trap: str, workaround: str) -> str:
    return f"trap {trap} is gone: the workaround in {workaround} can be removed (docs/traps.md)"


# --- QISKIT-1: size, depth and duration of branches ----------------------------------------------


def deep_branch() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
        for _ in range(5):
            circuit.cz(0, 1)
            circuit.sx(1)
    with otherwise:
        circuit.x(1)
    return circuit


def worst_two_qubit_count(circuit: QuantumCircuit) -> int:
    """What the avoiding form does: walk the bodies, take the worst branch."""
    count = 0
    for instruction in circuit.data:
        blocks = getattr(instruction.operation, "blocks", ())
        if blocks:
            count += max(worst_two_qubit_count(block) for block in blocks)
        elif instruction.operation.num_qubits == 2:
            count += 1
    return count


def test_qiskit_1_depth_and_counts_ignore_branch_bodies() -> None:
    circuit = deep_branch()
    message = gone("QISKIT-1", "costing/depth")
    assert circuit.depth() == 3, message
    assert circuit.size() == 3, message
    assert dict(circuit.count_ops()) == {"h": 1, "measure": 1, "if_else": 1}, message
    # A two-qubit filter even counts the whole if_else as one two-qubit gate.
    assert circuit.depth(lambda item: item.operation.num_qubits == 2) == 1, message
    assert circuit.num_nonlocal_gates() == 1, message
    assert worst_two_qubit_count(circuit) == 5


def duration_error(circuit: QuantumCircuit) -> QiskitError | None:
    try:
        circuit.estimate_duration(FakeFractionalBackend().target)
    except QiskitError as error:
        return error
    return None


def test_qiskit_1_estimate_duration_fails_on_control_flow() -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    error = duration_error(circuit)
    assert error is not None, gone("QISKIT-1", "compiling/schedule")
    assert "if_else" in str(error)


# --- QISKIT-2: identity of a circuit -------------------------------------------------------------


def parametrised() -> QuantumCircuit:
    angle = Parameter("angle")
    circuit = QuantumCircuit(2, 1, name="template")
    circuit.rx(angle, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rzz(angle, 0, 1)
    return circuit


def qpy_bytes(circuit: QuantumCircuit) -> bytes:
    stream = io.BytesIO()
    qpy.dump(circuit, stream)
    return stream.getvalue()


def test_qiskit_2_qpy_bytes_differ_between_rebuilds() -> None:
    message = gone("QISKIT-2", "the content hashes")
    first, second = parametrised(), parametrised()
    assert qpy_bytes(first) == qpy_bytes(first)
    assert qpy_bytes(first) != qpy_bytes(second), message
    assert first != second, message
    # Without parameters, the automatic circuit name is enough to change the bytes.
    assert qpy_bytes(QuantumCircuit(1)) != qpy_bytes(QuantumCircuit(1)), message

    assert qasm3.dumps(first) == qasm3.dumps(second)
    other = parametrised()
    other.x(1)
    assert qasm3.dumps(first) != qasm3.dumps(other)


# --- QISKIT-3: fractional rzz out of range -------------------------------------------------------


def rzz_parameters(circuit: QuantumCircuit) -> list[object]:
    return [item.operation.params[0] for item in circuit.data if item.operation.name == "rzz"]


def folded_rzz(angle: float) -> QuantumCircuit:
    """RZZ(angle) up to global phase with an rzz angle in [0, pi/2]: the array-level fold."""
    cosine = np.cos(angle) + 1e-8  # never exactly 0, so that its sign is always +-1
    flip_z = np.pi / 2 * (1 - np.sign(cosine))
    flip_x = np.pi / 2 * (1 - np.sign(np.sin(angle) * cosine))
    circuit = QuantumCircuit(2)
    circuit.rz(flip_z, [0, 1])
    circuit.rx(flip_x, 0)
    circuit.rzz(np.arccos(min(1.0, abs(np.cos(angle)))), 0, 1)
    circuit.rx(-flip_x, 0)
    return circuit


@pytest.mark.parametrize("level", [1, 3])
def test_qiskit_3_transpiler_does_not_fold_parametrised_rzz(level: int) -> None:
    manager = generate_preset_pass_manager(level, FakeFractionalBackend(), seed_transpiler=1)
    angle = Parameter("angle")

    def compiled(value: object) -> QuantumCircuit:
        circuit = QuantumCircuit(2)
        circuit.h([0, 1])
        circuit.rzz(value, 0, 1)
        return manager.run(circuit)

    # Numeric angles are folded into [0, pi/2] ...
    for number in (-0.4, 2.0, 3.0, 5.0):
        assert all(0 <= p <= np.pi / 2 for p in rzz_parameters(compiled(number)))
    # ... symbolic ones pass as they are, and -0.4 can be bound afterwards.
    bound = compiled(angle).assign_parameters({angle: -0.4})
    assert rzz_parameters(bound) == [-0.4], gone("QISKIT-3", "compiling (the rzz fold)")


def test_qiskit_3_array_level_fold_is_exact_and_in_range() -> None:
    grid = np.concatenate([np.linspace(-7.0, 7.0, 41), np.pi / 2 * np.arange(-4, 5)])
    for number in grid:
        folded = folded_rzz(float(number))
        (inner,) = rzz_parameters(folded)
        assert 0 <= inner <= np.pi / 2 + 1e-12
        exact = QuantumCircuit(2)
        exact.rzz(float(number), 0, 1)
        assert Operator(folded).equiv(Operator(exact)), f"angle {number}"


# --- QISKIT-4: swaps become a relabelling --------------------------------------------------------


@pytest.mark.parametrize("level", range(4))
def test_qiskit_4_a_swap_in_front_of_a_barrier_is_a_relabelling(level: int) -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(0.3, 0)
    circuit.swap(0, 1)
    circuit.barrier()
    passes = generate_preset_pass_manager(
        optimization_level=level,
        basis_gates=["cz", "rz", "sx", "x"],
        coupling_map=[[0, 1], [1, 0]],
        initial_layout=[0, 1],
        seed_transpiler=0,
    )
    layout = passes.run(circuit).layout
    # The avoiding form translates at level 1.
    expected = [0, 1] if level < 2 else [1, 0]
    assert layout.final_index_layout() == expected, gone("QISKIT-4", "compiling/routing")


# --- QISKIT-5: OpenQASM 3 of instructions that it has no name for --------------------------------


def test_qiskit_5_openqasm_3_refuses_other_measurements() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.append(Instruction("measure_2", 1, 1, []), [0], [0])
    refused = False
    try:
        qasm3.dumps(circuit)
    except qasm3.QASM3ExporterError:
        refused = True
    assert refused, gone("QISKIT-5", "compiling/export")
