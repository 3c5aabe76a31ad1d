"""Backends by name: snapshots of the runtime package, stored ones, and the devices themselves."""

from datetime import UTC, date, datetime, time
from pathlib import Path

from qiskit.providers import BackendV2
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts import AccountNotFoundError, InvalidAccountError
from qiskit_ibm_runtime.exceptions import IBMNotAuthorizedError

from qrnn_qiskit.deadline import call_with_deadline
from qrnn_qiskit.devices.runtime_snapshots import (
    build_snapshot_parts,
    build_stored_backend,
    load_fake_backend,
    load_snapshot,
)
from qrnn_qiskit.devices.vault import find_snapshot, names_stored_snapshot
from qrnn_qiskit.errors import InputError

# The client's own reads wait for ever.
_PATIENCE_SECONDS = 300.0


def load_backend(name: str) -> BackendV2:
    """A device by name: a snapshot of the runtime package, a stored one, or a real device.

    Args:
        name: `fake_*`, see `list_fake_backends`; `NAME@DATE` or the first six or more digits of a
            content id, of a snapshot in the vault; a path to what `load_snapshot` reads; or
            `ibm_*`, which is fetched with the saved account (network).

    Raises:
        InputError: if there is no such backend, or it cannot be read or reached.

    Example:
        >>> load_backend("fake_manila").num_qubits
        5
    """
    path = Path(name).expanduser()
    if _names_file(path):
        return load_snapshot(path)
    if "@" in name:
        return load_snapshot(find_snapshot(name))
    if is_served(name):
        return fetch_backend(name)
    if not name.startswith("fake_") and name and path.exists():
        return load_snapshot(path)
    if names_stored_snapshot(name):
        return load_snapshot(find_snapshot(name))
    return load_fake_backend(name)


def is_served(name: str) -> bool:
    """Whether a backend's name is of a device of the service: `load_backend` asks it for this one.

    Example:
        >>> is_served("ibm_boston"), is_served("ibm_boston@2026-04-17"), is_served("fake_boston")
        (True, False, False)
    """
    return name.startswith("ibm_") and "@" not in name and not _names_file(Path(name))


def _names_file(path: Path) -> bool:
    return path.suffix == ".json" or len(path.parts) > 1


def fetch_backend(name: str) -> BackendV2:
    """A real device, with its present calibration, through the saved account or environment.

    It has all its gates, of which `read_target` chooses: the client would leave out `rzz` and `rx`,
    and the numbers of one device would have two content ids.

    Args:
        name: for example `ibm_boston`.

    Raises:
        InputError: if there is no account, the account does not reach the device, or the service
            is not reached. The message never quotes what the service says: that may hold a token.

    Cost: network, a few requests; no quantum time.
    """

    def fetch() -> BackendV2:
        backend = QiskitRuntimeService().backend(name, use_fractional_gates=None)
        # Reads the properties now, so that what comes later does not depend on the network.
        backend.target  # noqa: B018
        return backend

    try:
        return call_with_deadline(fetch, _PATIENCE_SECONDS)
    except Exception as error:  # requests, urllib3, the client and its decoder raise many types
        raise InputError(f"backend: {_fetch_fault(name, error)}") from None


def fetch_snapshot(name: str, day: date | None = None) -> BackendV2:
    """A real device as it is now or was at the end of a day (UTC).

    Of the past the service keeps the properties only: the configuration is today's.

    Args:
        name: for example `ibm_boston`.
        day: gives the last calibration of this day, or the one before it if it had none.

    Raises:
        InputError: as for `fetch_backend`, and if the service knows no calibration that old.

    Cost: network, a few requests; no quantum time.
    """
    backend = fetch_backend(name)
    if day is None:
        return backend
    # In UTC: the client takes a time with another offset for local time (0.51, local_to_utc).
    moment = datetime.combine(day, time(23, 59, 59), UTC)
    try:
        properties = call_with_deadline(
            lambda: backend.properties(datetime=moment), _PATIENCE_SECONDS
        )
    except Exception as error:  # as in fetch_backend
        raise InputError(f"backend: {_fetch_fault(name, error)}") from None
    if properties is None:
        raise InputError(
            f"date: must be a day for which the service has a calibration of {name}, got {day}; "
            "choose a later one"
        )
    return build_stored_backend(build_snapshot_parts(backend, properties))


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
