"""Compiled programs as files: our own to load again, and OpenQASM 3 and QPY for anyone else."""

import io
import json
import os
import re
import secrets
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from qiskit import QuantumCircuit, QuantumRegister, qasm3, qpy
from qiskit.circuit import AncillaRegister
from qiskit.circuit.classical import types
from qiskit.transpiler import Layout, TranspileLayout
from scipy.sparse import csr_array

from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm

FORMAT_VERSION = 1
"""Of compiled programs and exports; raise it when an older file would be read wrongly."""

_HEADER, _CIRCUIT, _ARRAYS = "header.json", "circuit.qpy", "arrays.npz"

# The value to bind from a linear angle v, by number in `folds`; for readers without this package.
_FOLD_FORMULAS = (
    "v",
    "atan2(abs(sin(v)), abs(cos(v)))",
    "pi * (cos(v) < 0)",
    "pi * (sin(v) * cos(v) < 0)",
    "-pi * (sin(v) * cos(v) < 0)",
)

# Members carry no time of writing.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)

# The exporter writes one statement per line: `m1[0] = measure_2 $4;` or `reset_2 $4;`.
_DEFCAL_CALL = re.compile(r"^( *)((?:\S+ = )?)(measure|reset)(_\w+) (\S+;)$", re.MULTILINE)


@dataclass(frozen=True)
class _Header:
    """All but circuit and arrays; pydantic follows type hints, also those of `CircuitForm`."""

    format_version: int
    key: str
    program_id: str
    num_slots: int
    parameter_names: tuple[str, ...]
    physical_qubits: tuple[int, ...]
    bit_to_qubit: tuple[int, ...]
    target_name: str
    form: CircuitForm
    profile_name: str


_HEADER_ADAPTER = TypeAdapter(_Header)


def save_compiled(compiled: CompiledProgram, path: str | Path, *, key: str = "") -> None:
    """Writes a compiled program, whole or not at all.

    The file is a zip of JSON, QPY and NPZ, each with a checksum. Its bytes differ from one
    compilation to the next: QPY holds the random identity of each parameter.

    Args:
        compiled: from `compile_program`.
        path: of the file; folders are made.
        key: kept with it, and required by `load_compiled`.

    Raises:
        InputError: if the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from qrnn_qiskit.compiling import compile_logical
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)
        >>> compiled = compile_logical(program)
        >>> with TemporaryDirectory() as folder:
        ...     save_compiled(compiled, f"{folder}/brick.qrnn")
        ...     again = load_compiled(f"{folder}/brick.qrnn", program)
        >>> again.circuit == compiled.circuit
        True
    """
    header = _Header(
        format_version=FORMAT_VERSION,
        key=key,
        program_id=compiled.program.program_id,
        num_slots=compiled.matrix.shape[1],
        parameter_names=compiled.parameter_names,
        physical_qubits=compiled.physical_qubits,
        bit_to_qubit=compiled.bit_to_qubit,
        target_name=compiled.target_name,
        form=compiled.form,
        profile_name=compiled.profile_name,
    )
    matrix = compiled.matrix
    members = {
        _HEADER: _HEADER_ADAPTER.dump_json(header),
        _CIRCUIT: _qpy_bytes(compiled.circuit),
        _ARRAYS: _npz_bytes(
            data=matrix.data,
            indices=matrix.indices,
            indptr=matrix.indptr,
            constants=compiled.constants,
            folds=compiled.folds,
        ),
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            # Level 1 shrinks QPY ninefold in a tenth of the time of writing it.
            info = zipfile.ZipInfo(name, _ZIP_EPOCH)
            archive.writestr(info, member, zipfile.ZIP_DEFLATED, compresslevel=1)
    _write_whole(Path(path), content.getvalue())


def load_compiled(path: str | Path, program: SequenceProgram, *, key: str = "") -> CompiledProgram:
    """A compiled program as it was saved.

    Args:
        path: of the file.
        program: that was compiled.
        key: that it was saved under.

    Raises:
        InputError: if the file is missing, damaged, of another format, or of another program or
            key.
    """
    try:
        members = _read_members(Path(path).read_bytes())
        version = json.loads(members[_HEADER])["format_version"]
    except OSError as error:
        raise InputError(
            f"{path}: must be a readable file, got {error.strerror}; compile the program again"
        ) from error
    except Exception as error:  # zipfile raises half a dozen types on damaged files
        raise _damaged(path, error) from error
    require(version == FORMAT_VERSION, str(path), f"must have format_version {FORMAT_VERSION}",
            version, "compile the program again with this release")  # fmt: skip
    try:
        header = _HEADER_ADAPTER.validate_json(members[_HEADER], strict=True)
        require(header.program_id == program.program_id, str(path),
                f"must hold the program {program.program_id}", header.program_id,
                "name the program's own file")  # fmt: skip
        require(header.key == key, str(path), f"must be saved under the key {key!r}", header.key,
                "compile the program again")  # fmt: skip
        return _rebuild(header, members, program)
    except InputError:
        raise
    except Exception as error:  # nor do pydantic, numpy and QPY agree on one
        raise _damaged(path, error) from error


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
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
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
    _write_whole(paths[0], _qpy_bytes(wide))
    _write_whole(paths[1], _qasm_text(wide).encode())
    _write_whole(paths[2], _binding_bytes(compiled))
    _write_whole(paths[3], _describe(compiled, num_device_qubits, paths[2].name).encode())
    return paths[0], paths[1]


def _qpy_bytes(circuit: QuantumCircuit) -> bytes:
    file = io.BytesIO()
    qpy.dump(circuit, file)
    return file.getvalue()


def _npz_bytes(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _write_whole(path: Path, content: bytes) -> None:
    """Readers and a crash find the file before or the file after, nothing in between.

    The temporary name is unique, so that any number of writers may race for one path.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"{path}: must be writable, got {error.strerror}; "
            "free space, change its permissions or choose another folder"
        ) from error


def _read_members(content: bytes) -> dict[str, bytes]:
    """Contents by name; reading each to its end checks its checksum."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _damaged(path: str | Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: must be a compiled program, got a damaged file ({type(error).__name__}); "
        "compile the program again"
    )


def _rebuild(
    header: _Header, members: dict[str, bytes], program: SequenceProgram
) -> CompiledProgram:
    (circuit,) = qpy.load(io.BytesIO(members[_CIRCUIT]))
    with np.load(io.BytesIO(members[_ARRAYS]), allow_pickle=False) as arrays:
        data, indices, indptr = arrays["data"], arrays["indices"], arrays["indptr"]
        constants, folds = arrays["constants"], arrays["folds"]
    num_parameters = len(header.parameter_names)
    matrix = csr_array((data, indices, indptr), shape=(num_parameters, header.num_slots))
    if (
        {parameter.name for parameter in circuit.parameters} != set(header.parameter_names)
        or constants.shape != (num_parameters,)
        or folds.shape != (num_parameters,)
        or len(header.bit_to_qubit) != program.num_bits
        or len(header.physical_qubits) not in (0, circuit.num_qubits)
        or header.num_slots != program.slots.num_slots
    ):
        raise ValueError("parts do not fit")
    return CompiledProgram(
        program=program,
        circuit=circuit,
        parameter_names=header.parameter_names,
        matrix=matrix,
        constants=constants,
        folds=folds,
        physical_qubits=header.physical_qubits,
        bit_to_qubit=header.bit_to_qubit,
        target_name=header.target_name,
        form=header.form,
        profile_name=header.profile_name,
    )


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


def _qasm_text(circuit: QuantumCircuit) -> str:
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
    return _npz_bytes(**entries, constants=compiled.constants, folds=compiled.folds)


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
