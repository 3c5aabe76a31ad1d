"""The whole circuit through Qiskit's preset pass manager, its layout and its routing."""

from qiskit import QuantumCircuit, QuantumRegister
from qiskit.circuit import IfElseOp
from qiskit.circuit.controlflow import ControlFlowOp

from qrnn_qiskit.compiling.angles import AngleMap, extract_angles
from qrnn_qiskit.compiling.isa import rename_mid_circuit, translate
from qrnn_qiskit.compiling.profile import TranspileProfile
from qrnn_qiskit.devices import DeviceTarget
from qrnn_qiskit.program import SequenceProgram


def compile_preset(
    program: SequenceProgram, device: DeviceTarget, profile: TranspileProfile
) -> tuple[QuantumCircuit, AngleMap, tuple[int, ...]]:
    """The circuit over the qubits that it uses, its angles, and the device qubit of each.

    Seeds beyond the first are not tried: this is what Qiskit does, nothing more.
    """
    wide = translate(
        program.circuit,
        device.target,
        device.name,
        optimization_level=profile.optimization_level,
        seed=profile.seeds[0],
    )
    narrow, physical_qubits = compact(wide)
    narrow = rename_mid_circuit(
        narrow,
        device.target,
        device.measure_name(profile.fast_measure),
        device.reset_name(profile.fast_reset),
    )
    slot_index = {name: index for index, name in enumerate(program.slots.names)}
    circuit, angles = extract_angles(narrow, slot_index, fold=profile.fractional_gates)
    return circuit, angles, physical_qubits


def compact(wide: QuantumCircuit) -> tuple[QuantumCircuit, tuple[int, ...]]:
    """The same circuit over used qubits only, in device order; branch bodies included."""
    used = sorted({index for item in wide.data for index in active_qubits(wide, item)})
    register = QuantumRegister(len(used), "q")
    place = {wide.qubits[physical]: register[index] for index, physical in enumerate(used)}
    narrow = QuantumCircuit(register, *wide.cregs)
    narrow.global_phase = wide.global_phase
    narrow.metadata = wide.metadata
    for item in wide.data:
        operation = item.operation
        if isinstance(operation, IfElseOp):
            qubits = [wide.qubits[index] for index in active_qubits(wide, item)]
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


def active_qubits(circuit: QuantumCircuit, item: object) -> list[int]:
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
