"""Compiled programs as files, to load again."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from qiskit import QuantumCircuit, qpy
from scipy.sparse import csr_array

from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.files import write_whole
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm

FORMAT_VERSION = 1
"""Of compiled programs and exports; raise it when an older file would be read wrongly."""

WRITING_CURE = "free space, change its permissions or choose another folder"

_HEADER, _CIRCUIT, _ARRAYS = "header.json", "circuit.qpy", "arrays.npz"

# Members carry no time of writing.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


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
        _CIRCUIT: qpy_bytes(compiled.circuit),
        _ARRAYS: npz_bytes(
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
    write_whole(Path(path), lambda file: file.write(content.getvalue()), WRITING_CURE)


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


def qpy_bytes(circuit: QuantumCircuit) -> bytes:
    """A circuit as QPY."""
    file = io.BytesIO()
    qpy.dump(circuit, file)
    return file.getvalue()


def npz_bytes(**arrays: NDArray[Any]) -> bytes:
    """Arrays as NPZ."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


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
