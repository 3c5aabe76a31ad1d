"""Files that are written whole or not at all."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import IO

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.owners import Owner

# Of a file being written: its name, and the writer's host, process number, start and token.
_PART = re.compile(r"\..+\.(?P<host>[0-9a-f]{12})\.(?P<pid>\d+)\.(?P<started>[^.]*)\.\w+\.part")


def write_whole(path: Path, write: Callable[[IO[bytes]], object], cure: str) -> None:
    """Writes a file that readers and a crash find as it was before or as it is after.

    The temporary name is unique, so that any number of writers may race for one path. What a killed
    writer left in the folder goes when the next one comes.

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
    me = Owner.current()
    writer = f"{_digits(me.host)}.{me.pid}.{me.started}.{me.token}"
    # Not by tempfile, whose files only their owner may read.
    temporary = path.with_name(f".{path.name}.{writer}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left(path.parent, me)
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


def _remove_left(folder: Path, me: Owner) -> None:
    """Removes what killed writers left; of those on other hosts nobody knows whether they live."""
    for path in folder.glob(".*.part"):
        found = _PART.fullmatch(path.name)
        if found is None or found["host"] != _digits(me.host):
            continue
        if replace(me, pid=int(found["pid"]), started=found["started"]).is_known_dead():
            with suppress(OSError):  # removed by another writer, or in a folder that is read only
                path.unlink()


def _digits(host: str) -> str:
    """A host for file names, which must not hold whatever is in its own."""
    return sha256(host.encode()).hexdigest()[:12]
