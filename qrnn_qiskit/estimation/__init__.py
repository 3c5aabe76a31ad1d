"""Bits to numbers with error bars: parities, calibration, readout mitigation."""

from qrnn_qiskit.estimation.calibration import (
    ReadoutCalibration,
    num_calibration_rows,
    run_calibrated,
    run_calibration,
)
from qrnn_qiskit.estimation.evaluators import (
    Evaluator,
    ExactEvaluator,
    Recalibration,
    ShotEvaluator,
)
from qrnn_qiskit.estimation.gradients import (
    GradientEstimator,
    ParameterShift,
    Spsa,
    Surrogate,
    SurrogateBias,
)
from qrnn_qiskit.estimation.outcomes import (
    Mitigation,
    OutcomeEstimate,
    SequenceEstimate,
    estimate_sequence,
)
from qrnn_qiskit.estimation.steering import SteeringErrors, estimate_steering_errors

__all__ = [
    "Evaluator",
    "ExactEvaluator",
    "GradientEstimator",
    "Mitigation",
    "OutcomeEstimate",
    "ParameterShift",
    "ReadoutCalibration",
    "Recalibration",
    "SequenceEstimate",
    "ShotEvaluator",
    "Spsa",
    "SteeringErrors",
    "Surrogate",
    "SurrogateBias",
    "estimate_sequence",
    "estimate_steering_errors",
    "num_calibration_rows",
    "run_calibrated",
    "run_calibration",
]
