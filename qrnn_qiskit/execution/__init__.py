"""Angles in, bits out: the one protocol through which quantum time is spent."""

from qrnn_qiskit.execution.aer import AerExecutor
from qrnn_qiskit.execution.contract import Executor, RunRequest, RunResult
from qrnn_qiskit.execution.device_noise import noise_for
from qrnn_qiskit.execution.fake import ScriptedExecutor
from qrnn_qiskit.execution.local_client import LocalClient
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.seeds import SeedStream
from qrnn_qiskit.ledger import Ledger
from qrnn_qiskit.pacing import Patience

__all__ = [
    "AerExecutor",
    "Executor",
    "Ledger",
    "LocalClient",
    "Patience",
    "RunRequest",
    "RunResult",
    "RuntimeExecutor",
    "ScriptedExecutor",
    "SeedStream",
    "noise_for",
]
