"""Snapshots as qiskit-ibm-runtime reads them: those of the package, and files of our own."""

import inspect
import json
import math
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from qiskit.providers import BackendV2
from qiskit_ibm_runtime import fake_provider
from qiskit_ibm_runtime.fake_provider.backend_encoder import BackendEncoder
from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

from qrnn_qiskit.devices.snapshot import in_utc, read_properties, read_snapshot_id
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.files import write_whole

SNAPSHOT_VERSION = 1
_CURE = "free space, change its permissions or choose another folder"


def list_fake_backends() -> tuple[str, ...]:
    """Names of the device snapshots that the runtime package carries.

    Example:
        >>> "fake_boston" in list_fake_backends()
        True
    """
    return tuple(sorted(_fake_classes()))


def load_fake_backend(name: str) -> BackendV2:
    """A device snapshot of the runtime package as a Qiskit backend.

    Args:
        name: for example `fake_boston`; see `list_fake_backends`.

    Raises:
        InputError: if no snapshot has this name.

    Example:
        >>> load_fake_backend("fake_boston").num_qubits
        156
    """
    backend: BackendV2 = _fake_class(name)()
    return backend


def _fake_class(name: str) -> Any:
    classes = _fake_classes()
    if name not in classes:
        close = get_close_matches(name, classes, n=3) or ["fake_boston", "fake_kingston"]
        raise InputError(
            f"backend: must be a fake backend of the runtime package, got {name!r}; "
            f"for example {', '.join(close)}"
        )
    return classes[name]


def read_fake_parts(name: str) -> dict[str, Any]:
    """The two files of a snapshot of the runtime package as they are: quick, builds no target.

    Returns:
        The keys name, configuration and properties.

    Raises:
        InputError: if no snapshot has this name.

    Example:
        >>> read_fake_parts("fake_manila")["configuration"]["n_qubits"]
        5
    """
    source = _fake_class(name)
    folder = Path(inspect.getfile(source)).parent
    parts = {
        "configuration": _read_json(folder / source.conf_filename),
        "properties": _read_json(folder / source.props_filename),
    }
    return {"name": name, **parts}


def save_snapshot(backend: BackendV2, path: str | Path) -> None:
    """Writes a device's configuration and properties into one JSON file, all or nothing.

    `load_backend(path)` gives a backend with the same target, noise and `read_snapshot_id`.

    Raises:
        InputError: if the backend is none of IBM's, or the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_snapshot(load_fake_backend("fake_manila"), f"{folder}/manila.json")
        ...     load_snapshot(f"{folder}/manila.json").name
        'fake_manila'
    """
    write_snapshot_parts(build_snapshot_parts(backend), path)


def build_snapshot_parts(backend: BackendV2, properties: Any = None) -> dict[str, Any]:
    """What `save_snapshot` writes: plain JSON with date and content id.

    Args:
        backend: one of IBM's.
        properties: of another date, where those of the backend are not meant.

    Raises:
        InputError: if the backend is none of IBM's.

    Example:
        >>> parts = build_snapshot_parts(load_fake_backend("fake_manila"))
        >>> parts["name"], parts["date"], parts["snapshot_id"]
        ('fake_manila', '2024-05-27T15:27:23-03:00', 'fd593e4f73248249')
    """
    configuration = backend.configuration() if hasattr(backend, "configuration") else None
    properties = read_properties(backend) if properties is None else properties
    if configuration is None or properties is None:
        raise InputError(
            "backend: must have a configuration and properties to be stored, "
            f"{backend.name} has not; use a fake_* or ibm_* backend"
        )
    parts = {
        "format_version": SNAPSHOT_VERSION,
        "name": backend.name,
        "date": properties.last_update_date,
        "configuration": _configuration_dict(configuration),
        "properties": properties.to_dict(),
    }
    # The encoder writes dates in ISO format and complex numbers as pairs, as the client reads them.
    plain: dict[str, Any] = json.loads(json.dumps(parts, cls=BackendEncoder))
    # Of what will be loaded, so that a recorded id always names the numbers in its own file.
    plain["snapshot_id"] = read_snapshot_id(build_stored_backend(plain))
    return plain


def write_snapshot_parts(parts: dict[str, Any], path: str | Path, cure: str = _CURE) -> None:
    """Writes what `build_snapshot_parts` gives, all or nothing.

    Raises:
        InputError: if the file cannot be written.
    """
    text = json.dumps(parts)
    write_whole(Path(path), lambda file: file.write(text.encode()), cure)


def load_snapshot(path: str | Path, name: str | None = None) -> BackendV2:
    """A backend from a file of `save_snapshot`, or a folder with its two parts.

    Args:
        path: of the file, or of a folder with `configuration.json` and `properties.json`, or with
            one pair `conf_*.json` and `props_*.json` as the runtime package has them.
        name: of the backend, where the file's own is not meant. The content id depends on it.

    Raises:
        InputError: if the file is missing, cut off, or holds no device.
    """
    parts = read_snapshot_parts(path)
    try:
        backend = build_stored_backend(parts if name is None else {**parts, "name": name})
    except Exception as error:  # a wrong value breaks the client's decoder in many ways
        raise InputError(
            f"backend: {path} must hold a device's configuration and properties, got "
            f"{type(error).__name__}: {' '.join(str(error).split())}; write it with save_snapshot"
        ) from error
    return backend


def read_snapshot_parts(path: str | Path) -> dict[str, Any]:
    """The JSON of a stored snapshot, looked at only from outside: quick, builds no target.

    Raises:
        InputError: if the file is missing, cut off, or has not the keys of a snapshot.
    """
    path = Path(path)
    if path.is_dir():
        parts = {key: _read_json(file) for key, file in _find_pair(path).items()}
    else:
        parts = _read_json(path)
    for key in ("configuration", "properties"):
        require(isinstance(parts.get(key), dict), "backend",
                f"{path} must have the keys configuration and properties", sorted(parts),
                "write it with save_snapshot")  # fmt: skip
    version = parts.get("format_version", SNAPSHOT_VERSION)
    require(version == SNAPSHOT_VERSION, "backend",
            f"{path} must have format_version {SNAPSHOT_VERSION}", version,
            "write it again with save_snapshot, or update qrnn_qiskit")  # fmt: skip
    return parts


def build_stored_backend(parts: dict[str, Any]) -> BackendV2:
    """A backend from the JSON of a stored snapshot; whatever the client raises if it is wrong.

    Example:
        >>> build_stored_backend(build_snapshot_parts(load_fake_backend("fake_manila"))).name
        'fake_manila'
    """
    name = parts.get("name") or parts["configuration"]["backend_name"]
    backend = _StoredBackend(str(name), parts["configuration"], parts["properties"])
    backend.target  # noqa: B018  # decodes everything now, lazily otherwise
    return backend


def _find_pair(folder: Path) -> dict[str, Path]:
    """Files of configuration and properties; our names where there is no single other pair."""
    plain = {key: folder / f"{key}.json" for key in ("configuration", "properties")}
    if any(path.exists() for path in plain.values()):
        return plain
    pair = dict[str, Path]()
    for key, front in (("configuration", "conf"), ("properties", "props")):
        found = sorted(folder.glob(f"{front}_*.json"))
        if len(found) > 1:
            raise InputError(
                f"backend: {folder} must have one {front}_*.json, got "
                f"{', '.join(path.name for path in found)}; put each device in its own folder"
            )
        pair[key] = found[0] if found else plain[key]
    return pair


class _StoredBackend(FakeBackendV2):  # type: ignore[misc]
    """A fake backend whose two files are dictionaries in memory.

    Attributes:
        snapshot_date: when its properties were updated, in UTC, ISO 8601.
    """

    conf_filename = "configuration"
    props_filename = "properties"

    def __init__(
        self, name: str, configuration: dict[str, Any], properties: dict[str, Any]
    ) -> None:
        self.backend_name = name
        self.snapshot_date = in_utc(properties["last_update_date"]).isoformat()
        self._stored = {"configuration": configuration, "properties": properties}
        super().__init__()

    def _load_json(self, filename: str) -> dict[str, Any]:
        return deepcopy(self._stored[filename])  # decoding changes it in place


def _configuration_dict(configuration: Any) -> dict[str, Any]:
    """`to_dict`, with times that come back exactly.

    The client multiplies dt by 1e-9 as it reads and by 1e9 as it writes, which may lose the last
    bit.
    """
    plain: dict[str, Any] = configuration.to_dict()
    for key in ("dt", "dtm"):
        if key in plain:
            wanted = getattr(configuration, key)
            value = plain[key]
            near = (value, math.nextafter(value, math.inf), math.nextafter(value, 0.0))
            plain[key] = next((each for each in near if each * 1e-9 == wanted), value)
    return plain


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"backend: {path} must be a readable snapshot, got {error.strerror}; check the path"
        ) from error
    except ValueError as error:  # broken JSON or broken UTF-8
        raise InputError(
            f"backend: {path} must be a whole JSON file, got {error}; write it with save_snapshot"
        ) from error
    require(isinstance(content, dict), "backend", f"{path} must hold a JSON object",
            type(content).__name__, "write it with save_snapshot")  # fmt: skip
    return content


def _fake_classes() -> dict[str, type[BackendV2]]:
    return {
        name: member
        for _, member in inspect.getmembers(fake_provider, inspect.isclass)
        if issubclass(member, BackendV2) and (name := getattr(member, "backend_name", None))
    }
