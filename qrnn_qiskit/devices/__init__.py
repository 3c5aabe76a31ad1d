"""What does a device look like? Backends by name, what a compiler may use, noise as numbers."""

from qrnn_qiskit.devices.ablation import Ablation, NoiseFactors, NoisePart, scale_noise
from qrnn_qiskit.devices.account import AccountReport, BackendReport, Check
from qrnn_qiskit.devices.calibration import Calibration, read_calibration
from qrnn_qiskit.devices.drift import Drift, compare_calibrations
from qrnn_qiskit.devices.noise import DeviceNoise, GateNoise, QubitNoise, read_noise
from qrnn_qiskit.devices.runtime import fetch_backend, fetch_snapshot, is_served, load_backend
from qrnn_qiskit.devices.runtime_account import describe_backend, find_account, read_account
from qrnn_qiskit.devices.runtime_snapshots import (
    list_fake_backends,
    load_fake_backend,
    load_snapshot,
    save_snapshot,
)
from qrnn_qiskit.devices.snapshot import read_snapshot_id
from qrnn_qiskit.devices.target import DeviceTarget, assume_reset_error, read_target
from qrnn_qiskit.devices.vault import SnapshotInfo, find_snapshot, list_snapshots, store_snapshot

__all__ = [
    "Ablation",
    "AccountReport",
    "BackendReport",
    "Calibration",
    "Check",
    "DeviceNoise",
    "DeviceTarget",
    "Drift",
    "GateNoise",
    "NoiseFactors",
    "NoisePart",
    "QubitNoise",
    "SnapshotInfo",
    "assume_reset_error",
    "compare_calibrations",
    "describe_backend",
    "fetch_backend",
    "fetch_snapshot",
    "find_account",
    "find_snapshot",
    "is_served",
    "list_fake_backends",
    "list_snapshots",
    "load_backend",
    "load_fake_backend",
    "load_snapshot",
    "read_account",
    "read_calibration",
    "read_noise",
    "read_snapshot_id",
    "read_target",
    "save_snapshot",
    "scale_noise",
    "store_snapshot",
]
