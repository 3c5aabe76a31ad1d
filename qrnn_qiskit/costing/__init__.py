"""What does a circuit cost? Gates and depth of its worst branch, its schedule, expected losses."""

from qrnn_qiskit.costing.depth import GateCounts, count_gates
from qrnn_qiskit.costing.loss import LossBudget, PlacedDevice, estimate_loss
from qrnn_qiskit.costing.padding import insert_delays
from qrnn_qiskit.costing.schedule import Schedule, build_schedule

__all__ = [
    "GateCounts",
    "LossBudget",
    "PlacedDevice",
    "Schedule",
    "build_schedule",
    "count_gates",
    "estimate_loss",
    "insert_delays",
]
