"""What a job becomes on each backend: depth reports over backends and profiles, and horizons."""

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qrnn_qiskit.analysis import DepthReport, Horizon, build_horizon, build_report
from qrnn_qiskit.compiling import TranspileProfile, suggest_anchors
from qrnn_qiskit.compiling.export import export_isa
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.preflight import check_program
from qrnn_qiskit.studies.progress import Progress, SilentProgress
from qrnn_qiskit.studies.spec import JobSpec

_DEFAULT_BACKEND = "fake_boston"


@dataclass(frozen=True)
class DepthStudy:
    """Reports of one job over backends and profiles.

    Attributes:
        job: its name.
        reports: one for each pair that fits.
        misfits: backend, profile and why, of the others.
        hints: what would be cheaper, in words.
    """

    job: str
    reports: tuple[DepthReport, ...]
    misfits: tuple[tuple[str, str, str], ...]
    hints: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain numbers of all reports."""
        return {
            "job": self.job,
            "reports": [report.to_json() for report in self.reports],
            "hints": list(self.hints),
            "misfits": [
                {"backend": backend, "profile": profile, "reason": reason}
                for backend, profile, reason in self.misfits
            ],
        }

    def save_csv(self, path: Path) -> None:
        """One line per report; numbers that grow with T as totals and per timestep.

        Raises:
            InputError: if the path cannot be written.
        """
        rows = [_flatten(report.to_json()) for report in self.reports]
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise InputError(
                f"--csv: must be a writable path, got {path} ({error.strerror}); choose another"
            ) from error


@dataclass(frozen=True)
class HorizonStudy:
    """Horizons of one job over backends."""

    job: str
    horizons: tuple[Horizon, ...]
    misfits: tuple[tuple[str, str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers of all horizons."""
        return {
            "job": self.job,
            "horizons": [
                {
                    "backend": horizon.backend,
                    "profile": horizon.profile,
                    "loss_per_timestep": horizon.loss_slope,
                    "timestep_us": horizon.duration_slope_ns / 1e3,
                    "target_success": horizon.target_success,
                    "binding": horizon.binding.limit,
                    "bounds": [
                        {"limit": b.limit, "max_timesteps": b.max_timesteps, "detail": b.detail}
                        for b in horizon.bounds
                    ],
                }
                for horizon in self.horizons
            ],
            "misfits": [
                {"backend": backend, "profile": profile, "reason": reason}
                for backend, profile, reason in self.misfits
            ],
        }


def run_depth(
    spec: JobSpec,
    backends: Sequence[str] = (),
    profiles: Sequence[str] = (),
    *,
    num_timesteps: int | None = None,
    progress: Progress | None = None,
) -> DepthStudy:
    """Compiles a job's circuit for every backend with every profile.

    Args:
        spec: the job.
        backends: the job's own unless given.
        profiles: the one made for each backend unless given.
        num_timesteps: T; the task's unless given.
        progress: where it is shown.

    Raises:
        InputError: if a backend or profile is unknown, or no pair of them fits.
    """
    program = build_job_program(spec, num_timesteps)

    def analyse(device: CompilerDevice) -> DepthReport:
        start = time.perf_counter()
        adapted = adapt_program(program, device.profile)
        plain = device.profile.model_copy(update={"ansatz": None})
        compiled = replace(device, profile=plain).compile_afresh(adapted)
        seconds = time.perf_counter() - start
        return build_report(compiled, device.target, device.profile, seconds)

    hints: dict[str, None] = {}

    def analyse_with_hint(device: CompilerDevice) -> DepthReport:
        report = analyse(device)
        if device.profile.layout == "search" and (hint := _anchor_hint(report, device)):
            hints[hint] = None
        return report

    reports, misfits = _over_devices(spec, backends, profiles, analyse_with_hint, progress)
    return DepthStudy(spec.name, tuple(reports), misfits, tuple(hints))


def run_horizon(
    spec: JobSpec,
    backends: Sequence[str] = (),
    profiles: Sequence[str] = (),
    *,
    target_success: float | None = None,
    num_executions: int | None = None,
    max_qpu_seconds: float = 600.0,
    progress: Progress | None = None,
) -> HorizonStudy:
    """The largest T of a job's model on every backend, and what binds it.

    Args:
        spec: the job.
        backends: the job's own unless given.
        profiles: the one made for each backend unless given.
        target_success: expected success at which decay binds; the profile's unless given.
        num_executions: rows times shots that the budget pays for; samples times shots of the
            job's [aer] unless given.
        max_qpu_seconds: the budget. 600 s is what IBM's Open plan gives a month.
        progress: where it is shown.

    Raises:
        InputError: if a value is out of range, a name unknown, or no pair fits.
    """
    require(target_success is None or 0 < target_success < 1, "--success",
            "must lie between 0 and 1", target_success, "for example 0.5")  # fmt: skip
    require(max_qpu_seconds > 0, "--budget", "must be positive", max_qpu_seconds,
            "give QPU seconds")  # fmt: skip
    require(num_executions is None or num_executions >= 1, "--executions", "must be at least 1",
            num_executions, "give rows times shots")  # fmt: skip
    executions = num_executions or _num_executions(spec)
    cell = spec.model.build_program(1).cell
    # Longer than what the compiler compares placements on, so that both lengths have the same
    # one; the longer one tells the slope.
    short = 8 * (cell.feedback_delay + cell.history) + 16

    def analyse(device: CompilerDevice) -> Horizon:
        profile = device.profile
        if target_success is not None:
            profile = profile.model_copy(update={"target_success": target_success})
        plain = replace(device, profile=profile.model_copy(update={"ansatz": None}))
        reports = []
        for length in (short, 3 * short):
            program = adapt_program(spec.model.build_program(length), profile)
            reports.append(build_report(plain.compile(program), device.target, profile))
        shorter, longer = reports
        return build_horizon(
            shorter,
            longer,
            check_program(longer.compiled, plain, None, num_rows=1, num_shots=1),
            num_executions=executions,
            max_qpu_seconds=max_qpu_seconds,
        )

    horizons, misfits = _over_devices(spec, backends, profiles, analyse, progress)
    return HorizonStudy(spec.name, tuple(horizons), misfits)


def _anchor_hint(report: DepthReport, device: CompilerDevice) -> str | None:
    """Other anchors of the readouts, where the job's cost swaps or spares and others do not."""
    program = report.compiled.program
    form = report.compiled.form
    if program.cell.loop == "host" or not (report.compiled.num_swaps or form.num_spares):
        return None
    own = tuple(readout.anchor for readout in program.cell.readouts)
    better = next(suggest_anchors(program, device.target), None)
    if better is None:
        return None
    return (
        f"anchors {', '.join(map(str, own))} take swaps or spare qubits on {report.backend}; "
        f"{', '.join(map(str, better))} take none"
    )


def save_circuits(job: str, reports: Sequence[DepthReport], folder: Path) -> list[Path]:
    """Writes every report's circuit as the device sees it, as QPY and OpenQASM 3.

    Raises:
        InputError: if the folder cannot be written.
    """
    written: list[Path] = []
    for report in reports:
        name = f"{job}-{report.backend}-{report.profile}"
        written += export_isa(report.compiled, folder, report.num_device_qubits, name=name)
    return written


def build_job_program(spec: JobSpec, num_timesteps: int | None = None) -> SequenceProgram:
    """The program of a job, of its task's length unless another is asked for."""
    if num_timesteps is not None:
        require(num_timesteps >= 1, "--timesteps", "must be at least 1", num_timesteps,
                "a sequence has one timestep or more")  # fmt: skip
    return spec.model.build_program(num_timesteps or spec.task.load().num_timesteps)


def adapt_program(program: SequenceProgram, profile: TranspileProfile) -> SequenceProgram:
    """The program with the profile's ansatz in place of its own, for comparison only."""
    if profile.ansatz is None:
        return program
    ansatz = replace(program.cell.ansatz, name=profile.ansatz)
    return replace(program, cell=replace(program.cell, ansatz=ansatz))


def default_backends(spec: JobSpec) -> tuple[str, ...]:
    """The backend that a job names, or today's."""
    return (_DEFAULT_BACKEND if spec.aer is None else spec.aer.backend,)


def _num_executions(spec: JobSpec) -> int:
    return 100 * 500 if spec.aer is None else spec.aer.num_samples * spec.aer.num_shots


def _over_devices(
    spec: JobSpec,
    backends: Sequence[str],
    profiles: Sequence[str],
    analyse: Any,
    progress: Progress | None,
) -> tuple[list[Any], tuple[tuple[str, str, str], ...]]:
    """Results of every pair that fits; a single pair that does not is an error."""
    progress = progress or SilentProgress()
    pairs = [
        (backend, profile)
        for backend in backends or default_backends(spec)
        for profile in profiles or (None,)
    ]
    found, misfits = [], []
    with progress.stage("compile", len(pairs)) as stage:
        for backend, profile in pairs:
            try:
                found.append(analyse(open_device(backend, profile)))
            except InputError as error:
                if len(pairs) == 1:
                    raise
                misfits.append((backend, profile or "its own", str(error)))
            stage.advance(backend)
    if not found:
        raise InputError(misfits[0][2])
    return found, tuple(misfits)


def _flatten(report: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in report.items():
        if key == "total":
            flat |= {f"{name}_total": number for name, number in value.items()}
        elif key == "per_timestep":
            flat |= {f"{name}_per_timestep": number for name, number in value.items()}
        else:
            flat[key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return flat
