"""Compiled circuits for other tools: QPY and OpenQASM 3 at the device's full width."""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

from qiskit import QuantumCircuit, QuantumRegister, qasm3
from qiskit.circuit import AncillaRegister
from qiskit.circuit.classical import types
from qiskit.transpiler import Layout, TranspileLayout

from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.compiling.storage import FORMAT_VERSION, WRITING_CURE, npz_bytes, qpy_bytes
from qrnn_qiskit.errors import require
from qrnn_qiskit.files import write_whole

# The value to bind from a linear angle v, by number in `folds`; for readers without this package.
_FOLD_FORMULAS = (
    "v",
    "atan2(abs(sin(v)), abs(cos(v)))",
    "pi * (cos(v) < 0)",
    "pi * (sin(v) * cos(v) < 0)",
    "-pi * (sin(v) * cos(v) < 0)",
)

# The exporter writes one statement per line: `m1[0] = measure_2 $4;` or `reset_2 $4;`.
_DEFCAL_CALL = re.compile(r"^( *)((?:\S+ = )?)(measure|reset)(_\w+) (\S+;)$", re.MULTILINE)


def widen(
    circuit: QuantumCircuit, physical_qubits: Sequence[int], num_device_qubits: int
) -> QuantumCircuit:
    """A circuit over all qubits of a device, ready to submit.

    Classical registers, parameters and branches stay; `layout` says where the qubits went.

    Args:
        circuit: of a compiled program.
        physical_qubits: device qubit of each circuit qubit.
        num_device_qubits: of the whole device.

    Raises:
        InputError: if there is not one distinct device qubit for each circuit qubit.

    Example:
        >>> pair = QuantumCircuit(2)
        >>> _ = pair.cz(0, 1)
        >>> wide = widen(pair, (3, 1), 5)
        >>> wide.num_qubits, [wide.find_bit(qubit).index for qubit in wide.data[0].qubits]
        (5, [3, 1])
        >>> wide.layout.initial_index_layout(filter_ancillas=True)
        [3, 1]
    """
    places = list(physical_qubits)
    require(len(places) == circuit.num_qubits, "physical_qubits",
            f"must be one device qubit for each of the circuit's {circuit.num_qubits}", places,
            "give those of the compiled program")  # fmt: skip
    require(len(set(places)) == len(places) and all(0 <= q < num_device_qubits for q in places),
            "physical_qubits", f"must be distinct, from 0 to {num_device_qubits - 1}", places,
            "give the number of qubits of the device that the circuit is compiled for"
            )  # fmt: skip
    wide = QuantumCircuit(QuantumRegister(num_device_qubits, "q"), name=circuit.name)
    wide.add_bits(circuit.clbits)
    wide.add_register(*circuit.cregs)
    wide.metadata = circuit.metadata
    wide.compose(circuit, places, wide.clbits, inplace=True, copy=False)
    # Set as qiskit's own passes set it, there is no public way. OpenQASM 3 then names hardware
    # qubits, $0, instead of declaring virtual ones.
    wide._layout = _place(circuit, places, wide)
    return wide


def export_isa(
    compiled: CompiledProgram, folder: str | Path, num_device_qubits: int, *, name: str = ""
) -> tuple[Path, Path]:
    """Paths of QPY and OpenQASM 3 of the device circuit, written at full width for other tools.

    Four files: `.qpy`; `.qasm`, OpenQASM 3, which has no syntax for measurements of other names:
    `measure_2` is `measure` annotated `@qrnn.instruction measure_2`; `.json` with layout,
    parameters and the meaning of bits; `.npz` with the map from slots to parameters.

    Args:
        compiled: for a device.
        folder: made if it is missing.
        num_device_qubits: of the whole device.
        name: of the files; target, profile and program if empty.

    Raises:
        InputError: if the program is compiled for no device, or a file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from qrnn_qiskit.compiling import compile_program, load_profile
        >>> from qrnn_qiskit.devices import load_fake_backend, read_target
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> device = read_target(load_fake_backend("fake_boston"))
        >>> cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),), "open")
        >>> compiled = compile_program(SequenceProgram(cell, 2), device, load_profile("heron"))
        >>> with TemporaryDirectory() as folder:
        ...     paths = export_isa(compiled, folder, device.num_qubits, name="line")
        ...     text = paths[1].read_text()
        >>> [path.name for path in paths], "@qrnn.instruction measure_2" in text
        (['line.qpy', 'line.qasm'], True)
    """
    require(compiled.physical_qubits != (), "compiled", "must be compiled for a device",
            compiled.target_name, "use compile_program with a device's profile")  # fmt: skip
    wide = widen(compiled.circuit, compiled.physical_qubits, num_device_qubits)
    default = f"{compiled.target_name}-{compiled.profile_name}-{compiled.program.program_id}"
    stem = name or re.sub(r"[^\w.-]", "_", default)
    paths = [Path(folder) / f"{stem}.{kind}" for kind in ("qpy", "qasm", "npz", "json")]
    contents = (
        qpy_bytes(wide),
        qasm_text(wide).encode(),
        _binding_bytes(compiled),
        _describe(compiled, num_device_qubits, paths[2].name).encode(),
    )
    for path, content in zip(paths, contents, strict=True):
        write_whole(path, partial(_write, content), WRITING_CURE)
    return paths[0], paths[1]


def _write(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def _place(circuit: QuantumCircuit, places: list[int], wide: QuantumCircuit) -> TranspileLayout:
    """The layout that Qiskit's passes would leave: unused device qubits hold ancillas."""
    unused = sorted(set(range(wide.num_qubits)) - set(places))
    ancillas = AncillaRegister(len(unused), "ancilla")
    virtual = [*circuit.qubits, *ancillas]
    layout = Layout(dict(zip(virtual, places + unused, strict=True)))
    for register in (*circuit.qregs, ancillas):
        layout.add_register(register)
    return TranspileLayout(
        initial_layout=layout,
        input_qubit_mapping={qubit: index for index, qubit in enumerate(virtual)},
        final_layout=None,
        _input_qubit_count=circuit.num_qubits,
        _output_qubit_list=wide.qubits,
    )


def qasm_text(circuit: QuantumCircuit) -> str:
    """OpenQASM 3 that any parser reads.

    Qiskit 2.6 refuses instructions like `measure_2` unless they are declared to have a `defcal`,
    and then writes `bit = measure_2 $4;`, which its own importer and the reference parser
    (openqasm3 1.0.1) reject; a declared `defcal` does not help them.
    """
    kinds = {
        name: qasm3.DefcalInstruction(name, 0, 1, types.Bool() if is_measure else None)
        for name in circuit.count_ops()
        if (is_measure := name.startswith("measure_")) or name.startswith("reset_")
    }
    text = qasm3.dumps(circuit, implicit_defcals=kinds)
    return _DEFCAL_CALL.sub(r"\1@qrnn.instruction \3\4\n\1\2\3 \5", text)


def _binding_bytes(compiled: CompiledProgram) -> bytes:
    cells = compiled.matrix.tocoo()
    entries = {"rows": cells.row, "columns": cells.col, "coefficients": cells.data}
    return npz_bytes(**entries, constants=compiled.constants, folds=compiled.folds)


def _describe(compiled: CompiledProgram, num_device_qubits: int, arrays_name: str) -> str:
    bit_names = [f"{creg.name}[{i}]" for creg in compiled.circuit.cregs for i in range(creg.size)]
    bits = [
        {
            "bit": bit_names[bit.position],
            "position": bit.position,
            "role": bit.role,
            "timestep": bit.timestep,
            "qubit": compiled.physical_qubits[compiled.bit_to_qubit[bit.position]],
        }
        for bit in compiled.program.record
    ]
    content = {
        "format_version": FORMAT_VERSION,
        "program_id": compiled.program.program_id,
        "target": compiled.target_name,
        "profile": compiled.profile_name,
        "num_device_qubits": num_device_qubits,
        "layout": list(compiled.physical_qubits),
        "bits": bits,
        "parameter_names": list(compiled.parameter_names),
        "slot_names": list(compiled.program.slots.names),
        "arrays": arrays_name,
        "angles": "v = constants + matrix @ slots, where matrix[rows, columns] = coefficients",
        "values": list(_FOLD_FORMULAS),
    }
    return json.dumps(content, indent=1) + "\n"
