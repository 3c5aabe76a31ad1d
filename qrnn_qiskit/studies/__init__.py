"""One module per user job: train, infer, circuit; job specs and run directories."""

from qrnn_qiskit.studies.circuit import CircuitView, build_circuit_view
from qrnn_qiskit.studies.comparison import AerComparison, ComparisonRow, compare_on_aer
from qrnn_qiskit.studies.infer import InferResult, run_inference
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.runs import RunDirectory
from qrnn_qiskit.studies.spec import AerSpec, DeviceLoopSpec, JobSpec, ModelSpec, load_job
from qrnn_qiskit.studies.train import TrainResult, draw_trajectories, load_trained, run_training

__all__ = [
    "AerComparison",
    "AerSpec",
    "CircuitView",
    "ComparisonRow",
    "DeviceLoopSpec",
    "InferResult",
    "JobSpec",
    "ModelSpec",
    "Progress",
    "RunDirectory",
    "SilentProgress",
    "TrainResult",
    "build_circuit_view",
    "compare_on_aer",
    "draw_trajectories",
    "load_job",
    "load_trained",
    "run_inference",
    "run_training",
]
