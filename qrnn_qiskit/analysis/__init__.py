"""Does it fit, and how long does it last? Depth reports, horizons, the pre-flight check."""

from qrnn_qiskit.analysis.horizon import Bound, Horizon, build_horizon
from qrnn_qiskit.analysis.preflight import Finding, JobSplit, PreflightReport, check_submission
from qrnn_qiskit.analysis.report import DepthReport, build_report, schedule_compiled

__all__ = [
    "Bound",
    "DepthReport",
    "Finding",
    "Horizon",
    "JobSplit",
    "PreflightReport",
    "build_horizon",
    "build_report",
    "check_submission",
    "schedule_compiled",
]
