"""The compiler: a program, a device and a profile in, a compiled program out."""

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit.controlflow import ControlFlowOp
from scipy.sparse import csr_array, eye_array

from qrnn_qiskit.compiling.angles import AngleMap
from qrnn_qiskit.compiling.compiled import CompiledProgram, find_measured_qubits
from qrnn_qiskit.compiling.embedding import find_embeddings
from qrnn_qiskit.compiling.folding import FOLD_PLAIN
from qrnn_qiskit.compiling.isa import merge_one_qubit_gates
from qrnn_qiskit.compiling.preset import compile_preset
from qrnn_qiskit.compiling.profile import TranspileProfile
from qrnn_qiskit.compiling.routing import find_routing
from qrnn_qiskit.devices import DeviceTarget
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm

# Up to here spares beat routing clearly (a ring of 8 with 4 of them on Boston: lambda 0.144 a
# timestep, routed 0.174), and routing takes most of the compiler's time.
_WORTHWHILE_SPARES = 4


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
        folds=np.full(num_slots, FOLD_PLAIN, dtype=np.uint8),
        physical_qubits=(),
        bit_to_qubit=find_measured_qubits(program.circuit),
        target_name="logical",
    )


def compile_program(
    program: SequenceProgram, device: DeviceTarget, profile: TranspileProfile
) -> CompiledProgram:
    """The circuit of a program in a device's instructions, as a profile says.

    With `layout = "search"` every candidate (placements whose qubits stay, with spare qubits
    where rings or banks need them; few memory qubits that move over a tree; else routed windows)
    is scored by its expected success. In the `host` loop, whose circuits are prefixes of every
    length without mid-circuit measurements, Qiskit's preset pass manager compiles them all.

    Args:
        program: what to compile.
        device: from `read_target`, with the profile's fractional gates and excluded qubits.
        profile: how.

    Raises:
        InputError: if the profile is not for this device or program, or the device is too small,
            lacks an instruction or has no place for the program.
    """
    if profile.layout == "logical":
        return compile_logical(program)
    _check_device(program, device, profile)
    if profile.layout == "preset" or program.cell.loop == "host":
        circuit, angles, physical_qubits = compile_preset(program, device, profile)
        return _compiled(program, device, profile, circuit, angles, physical_qubits, CircuitForm())
    candidates = list(find_embeddings(program, device, profile))
    spares = [candidate.compilation.form.num_spares for candidate in candidates]
    if min(spares, default=_WORTHWHILE_SPARES + 1) > _WORTHWHILE_SPARES:
        candidates += find_routing(program, device, profile)
    if not candidates:
        raise InputError(
            f"backend: must have connected usable qubits for the program's "
            f"{program.cell.num_qubits}, {device.name} has no such place; "
            "choose another device or exclude fewer qubits"
        )
    best = min(candidates, key=lambda candidate: candidate.loss)
    if profile.tiling == "whole":
        best = best.compile_whole()
    circuit, angles = best.compilation.tile(best.templates)
    if profile.optimization_level > 0:
        circuit = merge_one_qubit_gates(circuit, device.restrict(best.physical_qubits))
    return _compiled(
        program, device, profile, circuit, angles, best.physical_qubits, best.compilation.form
    )


def _compiled(
    program: SequenceProgram,
    device: DeviceTarget,
    profile: TranspileProfile,
    circuit: QuantumCircuit,
    angles: AngleMap,
    physical_qubits: tuple[int, ...],
    form: CircuitForm,
) -> CompiledProgram:
    return CompiledProgram(
        program=program,
        circuit=circuit,
        parameter_names=angles.names,
        matrix=angles.matrix(program.slots.num_slots),
        constants=angles.constants,
        folds=angles.folds,
        physical_qubits=physical_qubits,
        bit_to_qubit=find_measured_qubits(circuit),
        target_name=device.name,
        form=form,
        profile_name=profile.name,
    )


def _check_device(
    program: SequenceProgram, device: DeviceTarget, profile: TranspileProfile
) -> None:
    ansatz = program.cell.ansatz.name
    require(profile.ansatz in (None, ansatz), f"profile {profile.name}: ansatz",
            f"must be the program's, {ansatz}", profile.ansatz,
            "use a profile without ansatz; this one is for depth reports")  # fmt: skip
    require(not profile.two_qubit_gates or device.two_qubit_gate in profile.two_qubit_gates,
            f"profile {profile.name}: two_qubit_gates",
            f"must have the entangler of {device.name}, {device.two_qubit_gate}",
            list(profile.two_qubit_gates), "choose another profile, see qrnn profile ls"
            )  # fmt: skip
    needed = {"measure", "reset"} | ({"if_else"} if _has_branches(program.circuit) else set())
    if program.cell.loop == "host":
        needed = {"measure"}
    device.require_instructions(needed)
    require(program.cell.num_qubits <= device.num_qubits, "backend",
            f"must have at least {program.cell.num_qubits} qubits", device.num_qubits,
            "use fewer memory or readout qubits, or a larger device")  # fmt: skip


def _has_branches(circuit: QuantumCircuit) -> bool:
    return any(isinstance(item.operation, ControlFlowOp) for item in circuit.data)
