"""From the logical circuit to one that a target runs."""

import numpy as np
from qiskit import QuantumCircuit, QuantumRegister
from qiskit.circuit import IfElseOp, Measure, Parameter, ParameterExpression
from qiskit.circuit.controlflow import ControlFlowOp
from qiskit.providers import BackendV2
from qiskit.transpiler import TranspilerError, generate_preset_pass_manager
from scipy.sparse import csr_array, eye_array

from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.program import SequenceProgram


def compile_logical(program: SequenceProgram) -> CompiledProgram:
    """The logical circuit as it is, for ideal simulators: each slot is a parameter.

    Example:
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)
        >>> compile_logical(program).bit_to_qubit
        (2, 2, 0, 1)
    """
    num_slots = program.slots.num_slots
    return CompiledProgram(
        program=program,
        circuit=program.circuit,
        parameter_names=program.slots.names,
        matrix=csr_array(eye_array(num_slots)),
        constants=np.zeros(num_slots),
        physical_qubits=(),
        bit_to_qubit=_bit_to_qubit(program.circuit),
        target_name="logical",
    )


def compile_for_backend(
    program: SequenceProgram, backend: BackendV2, *, optimization_level: int = 3, seed: int = 0
) -> CompiledProgram:
    """The circuit in a backend's gates and connectivity, compacted to the qubits that it uses.

    Args:
        program: what to compile.
        backend: a real or fake device with `if_else` and `reset`.
        optimization_level: 0 to 3, of Qiskit's preset pass managers.
        seed: of the transpiler.

    Raises:
        InputError: if the device has too few qubits or lacks an instruction.
    """
    needed = {"measure", "reset"} | ({"if_else"} if _has_branches(program.circuit) else set())
    if program.cell.loop == "host":
        needed = {"measure"}
    missing = sorted(needed - set(backend.target.operation_names))
    if missing:
        raise InputError(
            f"backend: must support {', '.join(sorted(needed))}, {backend.name} lacks "
            f"{', '.join(missing)}; choose a device with dynamic circuits, e.g. fake_boston"
        )
    require(program.cell.num_qubits <= backend.num_qubits, "backend",
            f"must have at least {program.cell.num_qubits} qubits", backend.num_qubits,
            "use fewer memory or readout qubits, or a larger device")  # fmt: skip
    passes = generate_preset_pass_manager(
        optimization_level=optimization_level, backend=backend, seed_transpiler=seed
    )
    try:
        wide = passes.run(program.circuit)
    except TranspilerError as error:
        raise InputError(
            f"backend: the circuit must be transpilable, {backend.name} refused: {error}; "
            "choose another device or ansatz"
        ) from error
    circuit, physical_qubits = _compact(wide)
    circuit, names, matrix, constants = _plain_parameters(circuit, program)
    return CompiledProgram(
        program=program,
        circuit=circuit,
        parameter_names=names,
        matrix=matrix,
        constants=constants,
        physical_qubits=physical_qubits,
        bit_to_qubit=_bit_to_qubit(circuit),
        target_name=backend.name,
    )


def _has_branches(circuit: QuantumCircuit) -> bool:
    return any(isinstance(item.operation, ControlFlowOp) for item in circuit.data)


def _bit_to_qubit(circuit: QuantumCircuit) -> tuple[int, ...]:
    measured = {
        circuit.find_bit(item.clbits[0]).index: circuit.find_bit(item.qubits[0]).index
        for item in circuit.data
        if isinstance(item.operation, Measure)
    }
    return tuple(measured[position] for position in range(circuit.num_clbits))


def _compact(wide: QuantumCircuit) -> tuple[QuantumCircuit, tuple[int, ...]]:
    """The same circuit over used qubits only, in device order; branch bodies included."""
    used = sorted({index for item in wide.data for index in _active_qubits(wide, item)})
    register = QuantumRegister(len(used), "q")
    place = {wide.qubits[physical]: register[index] for index, physical in enumerate(used)}
    narrow = QuantumCircuit(register, *wide.cregs)
    narrow.global_phase = wide.global_phase
    for item in wide.data:
        operation = item.operation
        if isinstance(operation, IfElseOp):
            qubits = [wide.qubits[index] for index in _active_qubits(wide, item)]
            inner = dict(zip(item.qubits, range(len(item.qubits)), strict=True))
            bodies = [
                _narrow_body(body, [inner[qubit] for qubit in qubits], item.clbits)
                for body in operation.blocks
            ]
            operation = IfElseOp(operation.condition, *bodies, label=operation.label)
        else:
            qubits = list(item.qubits)
        narrow.append(operation, [place[qubit] for qubit in qubits], item.clbits, copy=False)
    return narrow, tuple(used)


def _active_qubits(circuit: QuantumCircuit, item: object) -> list[int]:
    """Device qubits that an instruction acts on; a branch's body may span the whole device."""
    operation, qubits = item.operation, item.qubits  # type: ignore[attr-defined]
    if operation.name in ("barrier", "delay"):
        return []
    if not isinstance(operation, ControlFlowOp):
        return [circuit.find_bit(qubit).index for qubit in qubits]
    active = {
        body.find_bit(qubit).index
        for body in operation.blocks
        for inner in body.data
        for qubit in inner.qubits
    }
    return [circuit.find_bit(qubits[index]).index for index in sorted(active)]


def _narrow_body(body: QuantumCircuit, keep: list[int], clbits: object) -> QuantumCircuit:
    register = QuantumRegister(len(keep), "q")
    place = {body.qubits[index]: register[position] for position, index in enumerate(keep)}
    narrow = QuantumCircuit(register, body.clbits, *body.cregs)
    narrow.global_phase = body.global_phase
    for inner in body.data:
        narrow.append(
            inner.operation, [place[qubit] for qubit in inner.qubits], inner.clbits, copy=False
        )
    return narrow


def _plain_parameters(
    circuit: QuantumCircuit, program: SequenceProgram
) -> tuple[QuantumCircuit, tuple[str, ...], csr_array, np.ndarray]:
    """Replaces each distinct expression by a parameter; returns the linear map to its value."""
    slot_index = {name: index for index, name in enumerate(program.slots.names)}
    names: list[str] = []
    entries: list[tuple[int, int, float]] = []
    constants: list[float] = []
    known: dict[ParameterExpression, Parameter] = {}

    def replace(expression: ParameterExpression) -> Parameter:
        if expression not in known:
            row = len(names)
            parameter = Parameter(f"p{row}")
            names.append(parameter.name)
            known[expression] = parameter
            zeros = dict.fromkeys(expression.parameters, 0.0)
            constants.append(float(expression.bind(zeros)))
            for slot in expression.parameters:
                slope = expression.gradient(slot)
                if isinstance(slope, ParameterExpression):
                    # gradient() of a linear expression is a number in qiskit 2.x; anything
                    # else would make the map from slots to values wrong without a sign of it.
                    raise AssertionError(f"compiled angle is not linear in slots: {expression}")
                entries.append((row, slot_index[slot.name], float(slope)))
        return known[expression]

    def rewrite(old: QuantumCircuit) -> QuantumCircuit:
        new = old.copy_empty_like()
        if isinstance(old.global_phase, ParameterExpression):
            # A phase is not observable, but a parameter left in it could not be bound.
            new.global_phase = 0
        for item in old.data:
            operation = item.operation
            if isinstance(operation, IfElseOp):
                bodies = [rewrite(body) for body in operation.blocks]
                operation = IfElseOp(operation.condition, *bodies, label=operation.label)
            elif any(isinstance(value, ParameterExpression) for value in operation.params):
                operation = operation.copy()
                operation.params = [
                    replace(value) if isinstance(value, ParameterExpression) else value
                    for value in operation.params
                ]
            new.append(operation, item.qubits, item.clbits, copy=False)
        return new

    plain = rewrite(circuit)
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    shape = (len(names), program.slots.num_slots)
    matrix = csr_array((values, (rows, columns)), shape=shape)
    return plain, tuple(names), matrix, np.array(constants)
