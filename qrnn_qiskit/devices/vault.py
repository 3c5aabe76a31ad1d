"""The vault: a folder of snapshots of devices, each named after its device and date."""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from platformdirs import user_data_path
from qiskit.providers import BackendV2

from qrnn_qiskit.devices.calibration import Medians, read_medians
from qrnn_qiskit.devices.runtime_snapshots import (
    build_snapshot_parts,
    read_fake_parts,
    read_snapshot_parts,
    write_snapshot_parts,
)
from qrnn_qiskit.devices.snapshot import in_utc, name_snapshot, read_snapshot_id
from qrnn_qiskit.errors import InputError, require

PACKAGE_SOURCE = "runtime package"
# A device's name becomes part of a file's, and @ ends it.
_DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_CURE = "free space, change its permissions or name another vault with QRNN_SNAPSHOTS"
_CONTENT_ID = re.compile(r"[0-9a-f]{6,16}")


@dataclass(frozen=True)
class SnapshotInfo:
    """One snapshot, seen from outside.

    Attributes:
        name: what `load_backend` calls it, e.g. `ibm_boston@2026-11-20`, or `fake_boston`.
        date: when its properties were updated, in UTC, ISO 8601.
        num_qubits: of the device.
        source: `runtime package`, or the path of its file.
        medians: over the device.
        snapshot_id: content id; None where it has not been computed.
    """

    name: str
    date: str
    num_qubits: int
    source: str
    medians: Medians
    snapshot_id: str | None = None

    @property
    def is_stored(self) -> bool:
        """Whether it lies in the vault, and not in the runtime package."""
        return self.source != PACKAGE_SOURCE


def default_vault_folder() -> Path:
    """The folder named by the environment variable `QRNN_SNAPSHOTS`, else the user's data folder.

    Example:
        >>> default_vault_folder().is_dir() or not default_vault_folder().exists()
        True
    """
    named = os.environ.get("QRNN_SNAPSHOTS")
    return Path(named).expanduser() if named else user_data_path("qrnn_qiskit") / "snapshots"


def store_snapshot(backend: BackendV2, folder: Path | None = None) -> tuple[SnapshotInfo, bool]:
    """Stores a device under its name and date, unless the same content is there already.

    The file is `NAME@YYYY-MM-DD.json` (UTC), with the time where another one has that name.

    Args:
        backend: one of IBM's: fetched, fake or loaded.
        folder: of the vault; `default_vault_folder()` if none.

    Returns:
        The snapshot, and whether it is new.

    Raises:
        InputError: if the backend cannot be stored under its name, or the vault not be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> with TemporaryDirectory() as folder:
        ...     info, is_new = store_snapshot(load_fake_backend("fake_manila"), Path(folder))
        ...     again, is_new_again = store_snapshot(load_fake_backend("fake_manila"), Path(folder))
        >>> info.name, is_new, is_new_again
        ('fake_manila@2024-05-27', True, False)
    """
    folder = folder or default_vault_folder()
    require(_DEVICE_NAME.fullmatch(backend.name) is not None, "name",
            "must consist of letters, digits, '_', '.' and '-'", backend.name,
            "give another with --name")  # fmt: skip
    parts = build_snapshot_parts(backend)
    for info in _with_text(folder, f'"{parts["snapshot_id"]}"'):
        if info.snapshot_id == parts["snapshot_id"]:
            return info, False
    path = _free_path(folder, backend.name, parts)
    write_snapshot_parts(parts, path, _CURE)
    return _describe(parts, path.stem, str(path)), True


def list_snapshots(
    folder: Path | None = None, advance: Callable[[str], object] = str
) -> tuple[tuple[SnapshotInfo, ...], tuple[str, ...]]:
    """What lies in the vault, by name, and a line about each file that is no snapshot.

    Args:
        folder: of the vault; `default_vault_folder()` if none.
        advance: called with the name of each file that has been read.

    Cost: reads every file: 10 to 30 ms for a large device.

    Raises:
        InputError: if the folder cannot be read; one that does not exist is empty.

    Example:
        >>> list_snapshots(Path("no/such/folder"))
        ((), ())
    """
    infos, faults = [], []
    for path in list_snapshot_paths(folder):
        try:
            infos.append(_describe_file(path))
        except InputError as error:
            faults.append(str(error))
        advance(path.stem)
    return tuple(infos), tuple(faults)


def list_snapshot_paths(folder: Path | None = None) -> tuple[Path, ...]:
    """The files of the vault, by name, none of them opened.

    Raises:
        InputError: if the folder cannot be read; one that does not exist is empty.

    Example:
        >>> list_snapshot_paths(Path("no/such/folder"))
        ()
    """
    folder = folder or default_vault_folder()
    try:
        found = [path for path in folder.iterdir() if path.suffix == ".json"]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(
            f"{folder}: must be a readable folder, got {error.strerror}; name another with "
            "QRNN_SNAPSHOTS"
        ) from error
    visible = (path for path in found if not path.name.startswith("."))
    return tuple(sorted(visible, key=lambda path: path.stem))


def describe_fake_backend(name: str) -> SnapshotInfo:
    """A snapshot of the runtime package, without its content id, which would need the target.

    Raises:
        InputError: if there is none of this name.

    Example:
        >>> info = describe_fake_backend("fake_manila")
        >>> info.date, info.num_qubits, info.is_stored
        ('2024-05-27T18:27:23+00:00', 5, False)
    """
    return _describe(read_fake_parts(name), name, PACKAGE_SOURCE)


def with_snapshot_id(info: SnapshotInfo, backend: BackendV2) -> SnapshotInfo:
    """The same with the content id of its backend.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> name = "fake_manila"
        >>> with_snapshot_id(describe_fake_backend(name), load_fake_backend(name)).snapshot_id
        'fd593e4f73248249'
    """
    return replace(info, snapshot_id=read_snapshot_id(backend))


def names_stored_snapshot(name: str) -> bool:
    """Whether a backend's name can only mean something in the vault: `NAME@DATE` or a content id.

    Example:
        >>> [names_stored_snapshot(n) for n in ("ibm_boston@2026-11-20", "fd593e", "ibm_boston")]
        [True, True, False]
    """
    return "@" in name or _CONTENT_ID.fullmatch(name) is not None


def find_snapshot(name: str, folder: Path | None = None) -> Path:
    """The file of a stored snapshot.

    Args:
        name: `NAME@DATE`, with the time (`T0930`) or the first six digits of the content id
            (`-fd593e`) where a date is not enough, or six or more of these digits alone. A name
            that `list_snapshots` gives always means that one.
        folder: of the vault; `default_vault_folder()` if none.

    Raises:
        InputError: if there is none, or more than one; the message names them.
    """
    folder = folder or default_vault_folder()
    paths = list_snapshot_paths(folder)
    exact = folder / f"{name}.json"
    if exact in paths:
        return exact
    candidates = _of_day(folder, name) if "@" in name else _with_text(folder, f'"{name}')
    found = [info for info in candidates if _is_meant(info, name)]
    if len(found) == 1:
        return Path(found[0].source)
    if found:
        raise InputError(
            f"backend: must name one stored snapshot, got {name!r}, which "
            f"{' and '.join(info.name for info in found)} have in common; give more of it"
        )
    device = name.partition("@")[0]
    stored = [path.stem for path in paths]
    same = [other for other in stored if other.startswith(f"{device}@")]
    close = (same or get_close_matches(name, stored, n=3, cutoff=0.4))[-3:]
    cure = f"there are {', '.join(close)}" if close else "see qrnn snapshot ls"
    raise InputError(
        f"backend: must be a stored snapshot of {folder}, got {name!r}; {cure}, or fetch one with "
        "qrnn snapshot pull"
    )


def _of_day(folder: Path, name: str) -> list[SnapshotInfo]:
    """Snapshots whose files are named after the device and day of a name."""
    device, _, date = name.partition("@")
    # Less than a day would change its meaning with every snapshot that comes.
    if len(date) < len("2026-11-20"):
        return []
    day = f"{device}@{date[: len('2026-11-20')]}"
    return _readable(p for p in list_snapshot_paths(folder) if p.stem.startswith(day))


def _with_text(folder: Path, text: str) -> list[SnapshotInfo]:
    """Snapshots whose files hold a text: a look at the bytes is far quicker than their JSON."""
    wanted = text.encode()
    return _readable(p for p in list_snapshot_paths(folder) if wanted in _bytes(p))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone or unreadable: list_snapshots says so
        return b""


def _readable(paths: Iterable[Path]) -> list[SnapshotInfo]:
    infos = []
    for path in paths:
        with suppress(InputError):
            infos.append(_describe_file(path))
    return infos


def _describe_file(path: Path) -> SnapshotInfo:
    parts = read_snapshot_parts(path)
    try:
        return _describe(parts, path.stem, str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"backend: {path} must hold a device's configuration and properties, got "
            f"{type(error).__name__}; write it with save_snapshot"
        ) from error


def _is_meant(info: SnapshotInfo, name: str) -> bool:
    if "@" not in name:
        return info.snapshot_id is not None and info.snapshot_id.startswith(name)
    device, _, date = name.partition("@")
    if info.name.partition("@")[0] != device:
        return False
    is_full_name = name == name_snapshot(device, info.date, info.snapshot_id or "")
    return is_full_name or _stamp(info.date).startswith(date.replace(":", ""))


def _free_path(folder: Path, name: str, parts: dict[str, Any]) -> Path:
    """The first of date, minute, second and content id that no other snapshot has."""
    stamp = _stamp(parts["date"])
    lengths = (len("2026-11-20"), len("2026-11-20T0930"), len(stamp))
    ends = [stamp[:length] for length in lengths] + [f"{stamp}-{parts['snapshot_id'][:6]}"]
    paths = [folder / f"{name}@{end}.json" for end in ends]
    return next((path for path in paths if not path.exists()), paths[-1])


def _stamp(date: str) -> str:
    """A time as in names, `2026-11-20T093015`."""
    return f"{in_utc(date):%Y-%m-%dT%H%M%S}"


def _describe(parts: dict[str, Any], name: str, source: str) -> SnapshotInfo:
    date = parts.get("date") or parts["properties"]["last_update_date"]
    return SnapshotInfo(
        name=name,
        date=in_utc(date).isoformat(),
        num_qubits=int(parts["configuration"]["n_qubits"]),
        source=source,
        medians=read_medians(parts),
        snapshot_id=parts.get("snapshot_id"),
    )
