"""What does a device look like? Backends by name, and their noise as plain numbers."""

from qrnn_qiskit.devices.noise import DeviceNoise, GateNoise, QubitNoise, read_noise
from qrnn_qiskit.devices.runtime import list_fake_backends, load_fake_backend

__all__ = [
    "DeviceNoise",
    "GateNoise",
    "QubitNoise",
    "list_fake_backends",
    "load_fake_backend",
    "read_noise",
]
