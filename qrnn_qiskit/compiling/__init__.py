"""How does it fit? Device circuits with one plain parameter per bound angle, and their reports."""

from qrnn_qiskit.compiling.compile import compile_logical, compile_program
from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.compiling.depth import GateCounts, count_gates
from qrnn_qiskit.compiling.horizon import Bound, Horizon, build_horizon
from qrnn_qiskit.compiling.loss import LossBudget, PlacedDevice, estimate_loss
from qrnn_qiskit.compiling.preflight import Finding, JobSplit, PreflightReport, check_submission
from qrnn_qiskit.compiling.profile import (
    TranspileProfile,
    choose_profile,
    list_profiles,
    load_profile,
)
from qrnn_qiskit.compiling.report import DepthReport, build_report, schedule_compiled
from qrnn_qiskit.compiling.schedule import Schedule, build_schedule

__all__ = [
    "Bound",
    "CompiledProgram",
    "DepthReport",
    "Finding",
    "GateCounts",
    "Horizon",
    "JobSplit",
    "LossBudget",
    "PlacedDevice",
    "PreflightReport",
    "Schedule",
    "TranspileProfile",
    "build_horizon",
    "build_report",
    "build_schedule",
    "check_submission",
    "choose_profile",
    "compile_logical",
    "compile_program",
    "count_gates",
    "estimate_loss",
    "list_profiles",
    "load_profile",
    "schedule_compiled",
]
