"""From gates to a device's instructions: Qiskit's preset pass manager, kept from going too far."""

from collections.abc import Sequence
from typing import Any

from qiskit import QuantumCircuit
from qiskit.dagcircuit import DAGCircuit
from qiskit.transpiler import PassManager, Target, TranspilerError, generate_preset_pass_manager
from qiskit.transpiler.passes import Optimize1qGatesDecomposition

from qrnn_qiskit.errors import InputError


def translate(
    circuit: QuantumCircuit,
    target: Target,
    device_name: str,
    *,
    optimization_level: int,
    seed: int,
    initial_layout: Sequence[int] | None = None,
    routing_method: str | None = None,
) -> QuantumCircuit:
    """A circuit in a target's instructions, over all of its qubits.

    Its metadata count the swaps that it held or that routing put in, branches included
    (`num_swaps`): in the end they are entangling gates like others.

    Raises:
        InputError: if Qiskit refuses.
    """
    passes = generate_preset_pass_manager(
        optimization_level=optimization_level,
        target=target,
        seed_transpiler=seed,
        initial_layout=None if initial_layout is None else list(initial_layout),
        routing_method=routing_method,
    )
    num_swaps = 0

    def count_swaps(dag: DAGCircuit, **_: Any) -> None:
        nonlocal num_swaps
        num_swaps = max(num_swaps, dag.count_ops().get("swap", 0))

    try:
        compiled = passes.run(circuit, callback=count_swaps)
    except TranspilerError as error:
        raise InputError(
            f"backend: the circuit must be transpilable, {device_name} refused: {error}; "
            "choose another device or ansatz"
        ) from error
    before = (circuit.metadata or {}).get("num_swaps", 0)
    compiled.metadata = {**(circuit.metadata or {}), "num_swaps": before + num_swaps}
    return compiled


def fence(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit between barriers.

    A window is neither the start nor the end of a circuit: passes must not take its qubits for
    fresh ones, nor what it does last for useless.
    """
    fenced = circuit.copy_empty_like()
    fenced.barrier()
    for item in circuit.data:
        fenced.append(item.operation, item.qubits, item.clbits, copy=False)
    fenced.barrier()
    return fenced


def remove_fences(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit without barriers."""
    bare = circuit.copy_empty_like()
    for item in circuit.data:
        if item.operation.name != "barrier":
            bare.append(item.operation, item.qubits, item.clbits, copy=False)
    return bare


def rename_mid_circuit(
    circuit: QuantumCircuit, target: Target, measure_name: str, reset_name: str
) -> QuantumCircuit:
    """The circuit with a device's own instructions for mid-circuit measurement and reset.

    The final measurement, which has a register of its own, keeps `measure`: its qubits are read
    once, when nothing waits any more.
    """
    if (measure_name, reset_name) == ("measure", "reset"):
        return circuit
    final = {bit for register in circuit.cregs if register.name == "final" for bit in register}
    renamed = circuit.copy_empty_like()
    for item in circuit.data:
        operation = item.operation
        if operation.name == "measure" and item.clbits[0] not in final:
            operation = target.operation_from_name(measure_name)
        elif operation.name == "reset":
            operation = target.operation_from_name(reset_name)
        renamed.append(operation, item.qubits, item.clbits, copy=False)
    return renamed


def merge_one_qubit_gates(circuit: QuantumCircuit, target: Target) -> QuantumCircuit:
    """Joins constant one-qubit gates that windows left next to each other."""
    return PassManager([Optimize1qGatesDecomposition(target=target)]).run(circuit)
