"""Files that are written whole or not at all."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from qrnn_qiskit.errors import InputError


def write_whole(path: Path, write: Callable[[IO[bytes]], object], cure: str) -> None:
    """Writes a file that readers and a crash find as it was before or as it is after.

    The temporary name is unique, so that any number of writers may race for one path.

    Args:
        path: of the file; folders are made.
        write: fills the open file.
        cure: what the user can do where it cannot be written.

    Raises:
        InputError: if it cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "runs" / "note.txt"
        ...     write_whole(path, lambda file: file.write(b"done"), "choose another folder")
        ...     path.read_text()
        'done'
    """
    # Not by tempfile, whose files only their owner may read.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{path}: must be writable, got {error.strerror}; {cure}") from error
