"""One module per user job: train, infer, circuit, depth, preflight, noise; job specs and runs."""

from qrnn_qiskit.studies.circuit import CircuitView, build_circuit_view
from qrnn_qiskit.studies.comparison import AerComparison, ComparisonRow, compare_on_aer
from qrnn_qiskit.studies.depth import (
    DepthStudy,
    HorizonStudy,
    build_job_program,
    default_backends,
    run_depth,
    run_horizon,
    save_circuits,
)
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.device_loop import DeviceLoopResult, build_device_engine
from qrnn_qiskit.studies.forecast import Forecast, forecast_job
from qrnn_qiskit.studies.infer import InferResult, run_inference
from qrnn_qiskit.studies.noise import NoiseStudy, default_store, run_noise
from qrnn_qiskit.studies.noise_rows import NoiseRow, rows_csv, varying_axes
from qrnn_qiskit.studies.noise_spec import NoiseSpec, NoiseStudySpec
from qrnn_qiskit.studies.preflight import Diagnosis, check_program, run_preflight
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.runs import RunDirectory
from qrnn_qiskit.studies.spec import (
    AerSpec,
    DeviceLoopSpec,
    JobSpec,
    ModelSpec,
    RuntimeSpec,
    Study,
    load_job,
)
from qrnn_qiskit.studies.targets import SamplingTarget, build_ideal_target, build_noisy_target
from qrnn_qiskit.studies.train import TrainResult, draw_trajectories, load_trained, run_training

__all__ = [
    "AerComparison",
    "AerSpec",
    "CircuitView",
    "ComparisonRow",
    "CompilerDevice",
    "DepthStudy",
    "DeviceLoopResult",
    "DeviceLoopSpec",
    "Diagnosis",
    "Forecast",
    "HorizonStudy",
    "InferResult",
    "JobSpec",
    "ModelSpec",
    "NoiseRow",
    "NoiseSpec",
    "NoiseStudy",
    "NoiseStudySpec",
    "Progress",
    "RunDirectory",
    "RuntimeSpec",
    "SamplingTarget",
    "SilentProgress",
    "Study",
    "TrainResult",
    "build_circuit_view",
    "build_device_engine",
    "build_ideal_target",
    "build_job_program",
    "build_noisy_target",
    "check_program",
    "compare_on_aer",
    "default_backends",
    "default_store",
    "draw_trajectories",
    "forecast_job",
    "load_job",
    "load_trained",
    "open_device",
    "rows_csv",
    "run_depth",
    "run_horizon",
    "run_inference",
    "run_noise",
    "run_preflight",
    "run_training",
    "save_circuits",
    "varying_axes",
]
