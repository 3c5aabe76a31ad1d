"""Backends of qiskit-ibm-runtime: stored snapshots of devices, and the devices themselves."""

import inspect
import json
import math
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from qiskit.providers import BackendV2
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import QiskitRuntimeService, fake_provider
from qiskit_ibm_runtime.accounts import AccountNotFoundError, InvalidAccountError
from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError
from qiskit_ibm_runtime.fake_provider.backend_encoder import BackendEncoder
from qiskit_ibm_runtime.fake_provider.fake_backend import FakeBackendV2

from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.files import write_whole

SNAPSHOT_VERSION = 1


def load_backend(name: str, *, fractional_gates: bool = False) -> BackendV2:
    """A device by name: a snapshot of the runtime package, a stored one, or a real device.

    Args:
        name: `fake_*`, see `list_fake_backends`; a path to what `save_snapshot` wrote, or to a
            folder with `configuration.json` and `properties.json`; or `ibm_*`, which is fetched
            with the saved account (network).
        fractional_gates: as for `fetch_backend`; snapshots have what they have.

    Raises:
        InputError: if there is no such backend, or it cannot be read or reached.

    Example:
        >>> load_backend("fake_manila").num_qubits
        5
    """
    path = Path(name).expanduser()
    if path.suffix == ".json" or len(path.parts) > 1:
        return load_snapshot(path)
    if name.startswith("ibm_"):
        return fetch_backend(name, fractional_gates=fractional_gates)
    if not name.startswith("fake_") and name and path.exists():
        return load_snapshot(path)
    return load_fake_backend(name)


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
    classes = _fake_classes()
    if name not in classes:
        close = get_close_matches(name, classes, n=3) or ["fake_boston", "fake_kingston"]
        raise InputError(
            f"backend: must be a fake backend of the runtime package, got {name!r}; "
            f"for example {', '.join(close)}"
        )
    return classes[name]()


def fetch_backend(name: str, *, fractional_gates: bool = False) -> BackendV2:
    """A real device, with its present calibration, through the saved account or environment.

    Args:
        name: for example `ibm_boston`.
        fractional_gates: have the device's `rzz` and `rx`, which the service leaves out otherwise.

    Raises:
        InputError: if there is no account, the account does not reach the device, or the service
            is not reached. The message never quotes what the service says: that may hold a token.

    Cost: network, a few requests; no quantum time.
    """
    try:
        backend = QiskitRuntimeService().backend(name, use_fractional_gates=fractional_gates)
        # Reads the properties now, so that what comes later does not depend on the network.
        backend.target  # noqa: B018
    except Exception as error:  # requests, urllib3, the client and its decoder raise many types
        raise InputError(f"backend: {_fetch_fault(name, error)}") from None
    return backend


def _fetch_fault(name: str, error: Exception) -> str:
    if isinstance(error, AccountNotFoundError):
        return (
            f"must have an IBM Quantum account to reach {name!r}, none is saved; call "
            "QiskitRuntimeService.save_account, set QISKIT_IBM_TOKEN, or use a fake_* backend"
        )
    if isinstance(error, InvalidAccountError | IBMNotAuthorizedError):
        return (
            f"must have a valid IBM Quantum account to reach {name!r}, the service refused it or "
            "was not reached; check token, instance and network, or use a fake_* backend"
        )
    if isinstance(error, QiskitBackendNotFoundError):
        return (
            f"must be a device of the account, got {name!r}; see QiskitRuntimeService().backends(),"
            " or use a fake_* backend"
        )
    return (
        f"must be reachable, got {type(error).__name__} for {name!r}; check network and account, "
        "or use a fake_* backend"
    )


def save_snapshot(backend: BackendV2, path: str | Path) -> None:
    """Writes a device's configuration and properties into one JSON file, all or nothing.

    `load_backend(path)` gives a backend with the same target, noise and `read_snapshot_id`.

    Raises:
        InputError: if the backend is none of IBM's, or the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_snapshot(load_fake_backend("fake_manila"), f"{folder}/manila.json")
        ...     load_backend(f"{folder}/manila.json").name
        'fake_manila'
    """
    configuration, properties = (
        getattr(backend, key)() if hasattr(backend, key) else None
        for key in ("configuration", "properties")
    )
    if configuration is None or properties is None:
        raise InputError(
            "backend: must have a configuration and properties to be stored, "
            f"{backend.name} has not; use a fake_* or ibm_* backend"
        )
    snapshot = {
        "format_version": SNAPSHOT_VERSION,
        "name": backend.name,
        "date": properties.last_update_date,
        "configuration": _configuration_dict(configuration),
        "properties": properties.to_dict(),
    }
    # The encoder writes dates in ISO format and complex numbers as pairs, as the client reads them.
    text = json.dumps(snapshot, cls=BackendEncoder)
    cure = "free space, change its permissions or choose another folder"
    write_whole(Path(path), lambda file: file.write(text.encode()), cure)


def load_snapshot(path: str | Path) -> BackendV2:
    """A backend from a file of `save_snapshot`, or a folder with its two parts.

    Raises:
        InputError: if the file is missing, cut off, or holds no device.
    """
    path = Path(path)
    if path.is_dir():
        parts = {key: _read_json(path / f"{key}.json") for key in ("configuration", "properties")}
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
    try:
        name = parts.get("name") or parts["configuration"]["backend_name"]
        backend = _StoredBackend(str(name), parts["configuration"], parts["properties"])
        backend.target  # noqa: B018  # decodes everything now, lazily otherwise
    except Exception as error:  # a wrong value breaks the client's decoder in many ways
        raise InputError(
            f"backend: {path} must hold a device's configuration and properties, got "
            f"{type(error).__name__}: {' '.join(str(error).split())}; write it with save_snapshot"
        ) from error
    return backend


class _StoredBackend(FakeBackendV2):  # type: ignore[misc]
    """A fake backend whose two files are dictionaries in memory."""

    conf_filename = "configuration"
    props_filename = "properties"

    def __init__(
        self, name: str, configuration: dict[str, Any], properties: dict[str, Any]
    ) -> None:
        self.backend_name = name
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
