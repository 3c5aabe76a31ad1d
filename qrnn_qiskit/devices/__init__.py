"""What does a device look like? Backends by name, what a compiler may use, noise as numbers."""

from qrnn_qiskit.devices.noise import DeviceNoise, GateNoise, QubitNoise, read_noise
from qrnn_qiskit.devices.runtime import (
    fetch_backend,
    list_fake_backends,
    load_backend,
    load_fake_backend,
    load_snapshot,
    save_snapshot,
)
from qrnn_qiskit.devices.snapshot import read_snapshot_id
from qrnn_qiskit.devices.target import DeviceTarget, assume_reset_error, read_target

__all__ = [
    "DeviceNoise",
    "DeviceTarget",
    "GateNoise",
    "QubitNoise",
    "assume_reset_error",
    "fetch_backend",
    "list_fake_backends",
    "load_backend",
    "load_fake_backend",
    "load_snapshot",
    "read_noise",
    "read_snapshot_id",
    "read_target",
    "save_snapshot",
]
