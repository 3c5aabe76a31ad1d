"""Controller, quantum layer, the recurrent network and its training."""

from qrnn_qiskit.learning.controller import Activation, Controller, build_table
from qrnn_qiskit.learning.engines import ExactEngine, GradientName, SequenceEngine, ShotEngine
from qrnn_qiskit.learning.qrnn import QRNN, HeadView, Readouts, build_qrnn
from qrnn_qiskit.learning.quantum_layer import QuantumLayer, SequenceNetwork
from qrnn_qiskit.learning.training import (
    EpochDone,
    Evaluation,
    StepDone,
    Trainer,
    TrainingSpec,
    evaluate_model,
    evaluate_outputs,
    predict,
)

__all__ = [
    "QRNN",
    "Activation",
    "Controller",
    "EpochDone",
    "Evaluation",
    "ExactEngine",
    "GradientName",
    "HeadView",
    "QuantumLayer",
    "Readouts",
    "SequenceEngine",
    "SequenceNetwork",
    "ShotEngine",
    "StepDone",
    "Trainer",
    "TrainingSpec",
    "build_qrnn",
    "build_table",
    "evaluate_model",
    "evaluate_outputs",
    "predict",
]
