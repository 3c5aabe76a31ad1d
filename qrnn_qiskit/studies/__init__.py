"""One module per user job: train, infer, circuit; job specs and run directories."""

from qrnn_qiskit.studies.circuit import CircuitView, build_circuit_view
from qrnn_qiskit.studies.comparison import AerComparison, ComparisonRow, compare_on_aer
from qrnn_qiskit.studies.device_loop import DeviceLoopResult, build_device_engine
from qrnn_qiskit.studies.infer import InferResult, run_inference
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.runs import RunDirectory
from qrnn_qiskit.studies.spec import AerSpec, DeviceLoopSpec, JobSpec, ModelSpec, load_job
from qrnn_qiskit.studies.targets import AerTarget, build_ideal_target, build_noisy_target
from qrnn_qiskit.studies.train import TrainResult, draw_trajectories, load_trained, run_training

__all__ = [
    "AerComparison",
    "AerSpec",
    "AerTarget",
    "CircuitView",
    "ComparisonRow",
    "DeviceLoopResult",
    "DeviceLoopSpec",
    "InferResult",
    "JobSpec",
    "ModelSpec",
    "Progress",
    "RunDirectory",
    "SilentProgress",
    "TrainResult",
    "build_circuit_view",
    "build_device_engine",
    "build_ideal_target",
    "build_noisy_target",
    "compare_on_aer",
    "draw_trajectories",
    "load_job",
    "load_trained",
    "run_inference",
    "run_training",
]
