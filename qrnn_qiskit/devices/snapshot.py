"""Which calibration of a device? A name for the numbers that a backend reports."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from qiskit.providers import BackendV2


def read_properties(backend: BackendV2) -> Any | None:
    """The backend's `BackendProperties`, None where it has none.

    Only IBM's backends have them. A fake one reads its file once, but builds the object anew in
    every call (10 to 90 ms for a large device).
    """
    return backend.properties() if hasattr(backend, "properties") else None


def read_snapshot_id(backend: BackendV2) -> str:
    """Content hash, 16 hex digits, of what a backend says about itself.

    It covers the name, dt and timing constraints, every instruction with its qubits, error and
    duration, and each qubit's T1, T2 and asymmetric readout error. Dates are left out: two
    calibrations with equal numbers are the same device to us.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> read_snapshot_id(load_fake_backend("fake_manila"))
        'fd593e4f73248249'
    """
    target = backend.target
    timing = target.timing_constraints()
    content = {
        "name": backend.name,
        "num_qubits": backend.num_qubits,
        "dt": target.dt,
        "timing": [
            timing.granularity,
            timing.min_length,
            timing.pulse_alignment,
            timing.acquire_alignment,
        ],
        "instructions": _instructions(backend),
        "qubits": _qubits(backend),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:16]


def name_snapshot(device: str, date: str, snapshot_id: str) -> str:
    """What a snapshot is called wherever others of its device may be meant: unique, no path.

    Args:
        device: its name.
        date: of its properties, ISO 8601.
        snapshot_id: of its numbers.

    Example:
        >>> name_snapshot("ibm_manila", "2024-05-27T22:27:23-03:00", "fd593e4f73248249")
        'ibm_manila@2024-05-28-fd593e'
    """
    return f"{device}@{in_utc(date):%Y-%m-%d}-{snapshot_id[:6]}"


def in_utc(date: str) -> datetime:
    """A snapshot's date, ISO 8601, as a time in UTC."""
    moment = datetime.fromisoformat(date)
    # Without an offset there is nothing better to assume, and local time would vary by reader.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _instructions(backend: BackendV2) -> list[list[Any]]:
    entries = [
        [
            name,
            list(qubits or ()),
            _number(getattr(properties, "error", None)),
            _number(getattr(properties, "duration", None)),
        ]
        # A target's own order of names follows string hashes, which differ between processes.
        for name in sorted(backend.target.operation_names)
        for qubits, properties in backend.target[name].items()
    ]
    return sorted(entries, key=lambda entry: (entry[0], entry[1]))


def _qubits(backend: BackendV2) -> list[list[float | None]]:
    properties = read_properties(backend)
    physics = backend.target.qubit_properties or [None] * (backend.num_qubits or 0)
    rows = []
    for index, qubit in enumerate(physics):
        named = properties.qubit_property(index) if properties else {}
        readout = [named.get(key, (None,))[0] for key in ("prob_meas1_prep0", "prob_meas0_prep1")]
        times = [getattr(qubit, key, None) for key in ("t1", "t2")]
        rows.append([_number(value) for value in (*times, *readout)])
    return rows


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
