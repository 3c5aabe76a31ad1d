"""Backends of qiskit-ibm-runtime by name: stored snapshots of real devices."""

import inspect
from difflib import get_close_matches

from qiskit.providers import BackendV2
from qiskit_ibm_runtime import fake_provider

from qrnn_qiskit.errors import InputError


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


def _fake_classes() -> dict[str, type[BackendV2]]:
    return {
        name: member
        for _, member in inspect.getmembers(fake_provider, inspect.isclass)
        if issubclass(member, BackendV2) and (name := getattr(member, "backend_name", None))
    }
