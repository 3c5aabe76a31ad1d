"""How long may a sequence be? The largest T by each limit, and the one that binds.

Everything that a limit counts grows linearly with T once the first timesteps are over, so two
compiled lengths tell its slope, and the largest T follows without compiling it.
"""

from dataclasses import dataclass
from math import exp, floor, inf, log

from qrnn_qiskit.analysis.preflight import PreflightReport
from qrnn_qiskit.analysis.report import DepthReport
from qrnn_qiskit.devices.limits import HardwareLimits


@dataclass(frozen=True)
class Bound:
    """The largest T that one limit allows; infinite if it does not grow with T.

    Attributes:
        limit: what binds.
        max_timesteps: T.
        detail: how it follows.
    """

    limit: str
    max_timesteps: float
    detail: str


@dataclass(frozen=True)
class Horizon:
    """The largest sequences of a program on a device.

    Attributes:
        backend: name of the device.
        profile: name of the profile.
        loss_offset: lambda of a sequence of no timesteps, final measurement included.
        loss_slope: lambda of one more timestep.
        duration_slope_ns: time of one more timestep.
        target_success: at which decay binds.
        bounds: one for each limit, the tightest first.
    """

    backend: str
    profile: str
    loss_offset: float
    loss_slope: float
    duration_slope_ns: float
    target_success: float
    bounds: tuple[Bound, ...]

    @property
    def binding(self) -> Bound:
        """The tightest limit."""
        return self.bounds[0]

    def success(self, num_timesteps: float) -> float:
        """Expected success after T timesteps."""
        return exp(-self.loss_offset - self.loss_slope * num_timesteps)


def build_horizon(
    shorter: DepthReport,
    longer: DepthReport,
    preflight: PreflightReport,
    *,
    num_executions: int,
    max_qpu_seconds: float,
    limits: HardwareLimits | None = None,
) -> Horizon:
    """The horizon from the reports of two lengths.

    Args:
        shorter: a sequence in the steady state.
        longer: the same model, some more timesteps.
        preflight: of the longer one, for a single row and shot.
        num_executions: rows times shots that the QPU budget has to pay for.
        max_qpu_seconds: that budget.
        limits: of the hardware.
    """
    limits = limits or HardwareLimits()
    steps = longer.num_timesteps - shorter.num_timesteps
    loss_slope = (longer.loss.total - shorter.loss.total) / steps
    duration_slope = (longer.schedule.duration_ns - shorter.schedule.duration_ns) / steps
    offset = longer.loss.total - loss_slope * longer.num_timesteps
    fixed_ns = longer.schedule.duration_ns - duration_slope * longer.num_timesteps
    target = longer.target_success
    bounds = [
        Bound(
            f"decay to {target:.0%} success",
            max((log(1 / target) - offset) / loss_slope, 0.0) if loss_slope > 0 else inf,
            f"lambda {loss_slope:.4f} a timestep",
        ),
        _budget_bound(duration_slope, fixed_ns, num_executions, max_qpu_seconds, limits),
    ]
    bounds += [
        Bound(finding.rule, finding.largest_timesteps, finding.detail)
        for finding in preflight.findings
        if finding.largest_timesteps is not None
    ]
    return Horizon(
        backend=longer.backend,
        profile=longer.profile,
        loss_offset=offset,
        loss_slope=loss_slope,
        duration_slope_ns=duration_slope,
        target_success=target,
        bounds=tuple(
            sorted(
                (Bound(b.limit, _whole(b.max_timesteps), b.detail) for b in bounds),
                key=lambda bound: bound.max_timesteps,
            )
        ),
    )


def _budget_bound(
    duration_slope_ns: float,
    fixed_ns: float,
    num_executions: int,
    max_qpu_seconds: float,
    limits: HardwareLimits,
) -> Bound:
    """T whose circuits and the delays between them use the budget up."""
    free_ns = (max_qpu_seconds - limits.job_overhead_seconds) * 1e9 / num_executions
    free_ns -= limits.rep_delay_us * 1e3 + fixed_ns
    return Bound(
        f"QPU budget of {max_qpu_seconds:g} s",
        max(free_ns / duration_slope_ns, 0.0) if duration_slope_ns > 0 else inf,
        f"{num_executions:,} executions, {limits.rep_delay_us:g} us between them",
    )


def _whole(num_timesteps: float) -> float:
    return num_timesteps if num_timesteps == inf else floor(num_timesteps)
