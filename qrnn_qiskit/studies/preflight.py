"""Would a device accept a job? The pre-flight check of a compiled job and its rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit.providers import BackendV2

from qrnn_qiskit.analysis import PreflightReport, check_submission
from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.learning.training import evaluating
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.spec import JobSpec
from qrnn_qiskit.studies.train import find_trained, load_trained
from qrnn_qiskit.tasks import Task

# Angles of rows that no controller gives: any would do, the same each time are better.
_RANDOM_ANGLES_SEED = 0


@dataclass(frozen=True)
class Diagnosis:
    """A job on a backend: what was compiled, where its rows come from, and what was checked.

    Attributes:
        backend: name of the device.
        profile: name of the profile.
        compiled: the circuit.
        rows_from: whose angles were checked.
        num_rows: rows of the submission.
        num_shots: of each row.
        report: the rules, and the jobs to submit.
    """

    backend: str
    profile: str
    compiled: CompiledProgram
    rows_from: str
    num_rows: int
    num_shots: int
    report: PreflightReport

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        report = self.report
        return {
            "backend": self.backend,
            "profile": self.profile,
            "num_timesteps": self.compiled.program.num_timesteps,
            "num_rows": self.num_rows,
            "num_shots": self.num_shots,
            "rows_from": self.rows_from,
            "passed": report.passed,
            "largest_timesteps": report.largest_timesteps,
            "num_jobs": report.num_jobs,
            "qpu_seconds": report.qpu_seconds,
            "minutes_to_submit": report.minutes_to_submit,
            "findings": [
                {
                    "rule": finding.rule,
                    "passed": finding.passed,
                    "splits": finding.splits,
                    "value": finding.value,
                    "limit": finding.limit,
                    "detail": finding.detail,
                    "cure": finding.cure,
                }
                for finding in report.findings
            ],
            "jobs": [
                {
                    "first_row": job.first_row,
                    "num_rows": job.num_rows,
                    "first_shot": job.first_shot,
                    "num_shots": job.num_shots,
                }
                for job in report.splits
            ],
        }


def check_program(
    compiled: CompiledProgram,
    device: CompilerDevice,
    slot_values: NDArray[np.float64] | None,
    *,
    num_rows: int,
    num_shots: int,
) -> PreflightReport:
    """The check that every submission must pass.

    Args:
        compiled: for this device.
        device: where it would run.
        slot_values: radians, `(num_rows, num_slots)`; the same random row each time if None.
        num_rows: of the submission.
        num_shots: of each row.
    """
    program = compiled.program
    if slot_values is None:
        rng = np.random.default_rng(_RANDOM_ANGLES_SEED)
        controls = rng.uniform(-np.pi, np.pi, size=(1, program.num_controls))
        controls[:, program.num_table_angles :] = program.strengths_rad
        slot_values = np.repeat(program.slots.values(controls), num_rows, axis=0)
    schedule = device.schedule(compiled)
    return check_submission(
        compiled.circuit,
        device.target.target,
        compiled.physical_qubits,
        num_rows=num_rows,
        num_shots=num_shots,
        circuit_duration_ns=schedule.duration_ns,
        parameter_values=compiled.bind_values(slot_values),
        parameter_names=compiled.parameter_names,
        num_timesteps=program.num_timesteps,
        num_unsteered_timesteps=min(1 + program.cell.feedback_delay, program.num_timesteps),
    )


def run_preflight(
    spec: JobSpec,
    backend: str | BackendV2,
    profile: str | None = None,
    *,
    num_timesteps: int | None = None,
    num_rows: int | None = None,
    num_shots: int | None = None,
    run_path: Path | None = None,
    runs_root: Path = Path("runs"),
) -> Diagnosis:
    """Checks a job's inference on a backend: one row per test sample and final basis.

    Args:
        spec: the job.
        backend: where it would run, by name or as it was fetched.
        profile: the one made for the backend unless given.
        num_timesteps: T; the task's unless given. Rows of another length have random angles.
        num_rows: samples of the job's [aer] unless given.
        num_shots: of the job's [aer] unless given.
        run_path: whose weights are used; the newest run of this job, if there is one.
        runs_root: where runs are looked for.

    Raises:
        InputError: if the job cannot be compiled for the backend, or a value is out of range.
            A broken rule is in the report.
    """
    for name, value in (
        ("--rows", num_rows), ("--shots", num_shots), ("--timesteps", num_timesteps),
    ):  # fmt: skip
        require(value is None or value >= 1, name, "must be at least 1", value,
                "ask for one or more")  # fmt: skip
    num_samples, default_shots = (
        (100, 500) if spec.aer is None else (spec.aer.num_samples, spec.aer.num_shots)
    )
    num_samples = num_rows or num_samples
    task = spec.task.load()
    length = num_timesteps or task.num_timesteps
    program = spec.model.build_program(length)
    device = open_device(backend, profile)
    compiled = device.compile(program)
    if length == task.num_timesteps and spec.model.loop != "host":
        slot_values, source = _rows_of_job(spec, task, program, num_samples, run_path, runs_root)
    else:
        slot_values, source = None, "random angles"
    rows = num_samples * len(program.final_bases)
    if slot_values is not None:
        # More rows than there are samples repeat them: their angles pass or fail alike.
        slot_values = np.resize(slot_values, (rows, slot_values.shape[1]))
    shots = num_shots or default_shots
    report = check_program(compiled, device, slot_values, num_rows=rows, num_shots=shots)
    return Diagnosis(device.target.name, device.profile.name, compiled, source, rows, shots, report)


def _rows_of_job(
    spec: JobSpec,
    task: Task,
    program: SequenceProgram,
    num_samples: int,
    run_path: Path | None,
    runs_root: Path,
) -> tuple[NDArray[np.float64], str]:
    try:
        run = find_trained(spec, run_path, runs_root)
        _, task, model = load_trained(run, spec)
        source = f"trained weights of {run.path}"
    except InputError:
        if run_path is not None:
            raise
        model = spec.model.build_model(task, spec.training.seed)
        source = "untrained weights (no trained run of this job)"
    inputs = torch.from_numpy(task.test.inputs[:num_samples])
    with evaluating(model):
        controls = model.controls(inputs).double().cpu().numpy()
    return program.slots.values(controls), source
