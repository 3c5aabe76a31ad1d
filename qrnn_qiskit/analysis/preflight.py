"""Everything IBM hardware asks of a job, checked before it is submitted; large ones are split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.transpiler import Target

from qrnn_qiskit.analysis.binding_rules import parameter_finding, register_finding, rzz_finding
from qrnn_qiskit.analysis.contract_rules import (
    CircuitTally,
    Finding,
    structure_findings,
    tally_circuit,
)
from qrnn_qiskit.analysis.splitting import JobSplit, split_submission
from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import InputError, require

__all__ = ["Finding", "JobSplit", "PreflightReport", "check_submission"]


@dataclass(frozen=True)
class PreflightReport:
    """What was checked, how the submission is split, and what it will cost.

    Attributes:
        findings: one for each rule, always all of them and in the same order.
        splits: the jobs to submit; empty if a rule fails that no split can cure.
        qpu_seconds: forecast of the usage, all jobs together, as IBM estimates it.
        circuit_seconds: of these, the seconds in which circuits run; the rest is delay between
            shots and overhead of jobs.
        minutes_to_submit: from the first job's submission to the last one's, by the rate limit.
        largest_timesteps: sequence length that keeps every rule, judged from this circuit's
            growth per timestep and one row and shot a job; None if nothing grows.

    Example:
        >>> report = PreflightReport((), (JobSplit(0, 2, 0, 100),), 2.1, 0.05, 0.0, None)
        >>> report.passed, report.num_jobs
        (True, 1)
        >>> report.require_passed()
    """

    findings: tuple[Finding, ...]
    splits: tuple[JobSplit, ...]
    qpu_seconds: float
    circuit_seconds: float
    minutes_to_submit: float
    largest_timesteps: int | None

    @property
    def num_jobs(self) -> int:
        """Jobs to submit."""
        return len(self.splits)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Rules that no split can keep."""
        return tuple(item for item in self.findings if not (item.passed or item.splits))

    @property
    def passed(self) -> bool:
        """Whether the proposed jobs keep every rule."""
        return not self.failures

    def require_passed(self) -> None:
        """Nothing if the submission may go out.

        Raises:
            InputError: if a rule fails, in one line with the rule, the value, the limit and the
                cure.
        """
        if self.failures:
            others = len(self.failures) - 1
            more = f" (and {others} more rule{'s' if others > 1 else ''} failed)" if others else ""
            raise InputError(f"submission: {self.failures[0].line}{more}")


def check_submission(
    circuit: QuantumCircuit,
    target: Target,
    physical_qubits: Sequence[int],
    *,
    num_rows: int,
    num_shots: int,
    circuit_duration_ns: float,
    parameter_values: NDArray[np.float64] | None,
    parameter_names: Sequence[str],
    num_timesteps: int,
    num_unsteered_timesteps: int = 1,
    limits: HardwareLimits | None = None,
) -> PreflightReport:
    """Every rule and limit of IBM hardware on one circuit and its rows, with the jobs to submit.

    What only needs a split is split into the fewest jobs of nearly equal size: groups of rows
    first, groups of shots where rows do not suffice. Nothing is submitted here.

    Args:
        circuit: compiled, over used qubits only.
        target: of the device; one with fractional gates if the circuit has `rzz`.
        physical_qubits: device qubit of each circuit qubit.
        num_rows: rows to bind.
        num_shots: of every row.
        circuit_duration_ns: of one execution, with the longest branches.
        parameter_values: radians, `(num_rows, num_parameters)`; None if the circuit has none.
        parameter_names: order of the columns.
        num_timesteps: T of the circuit, from which `largest_timesteps` follows.
        num_unsteered_timesteps: of these, the first ones that no bit steers: 1 + feedback delay.
        limits: IBM's if left out.

    Raises:
        InputError: if the arguments do not fit each other. A broken rule is no error here: it is
            in the report, and `require_passed` raises.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> circuit = QuantumCircuit(1, 1)
        >>> circuit.sx(0), circuit.measure(0, 0)  # doctest: +ELLIPSIS
        (...)
        >>> report = check_submission(
        ...     circuit, load_fake_backend("fake_boston").target, [7], num_rows=4,
        ...     num_shots=5_000_000, circuit_duration_ns=2000.0, parameter_values=None,
        ...     parameter_names=[], num_timesteps=1,
        ... )
        >>> report.passed, report.num_jobs, round(report.qpu_seconds)
        (True, 2, 5044)
        >>> next(item.line for item in report.findings if item.splits)
        'executions per job: must be at most 10,000,000, got 20,000,000 (4 rows x 5,000,000 \
shots); split into 2 jobs'
    """
    limits = limits or HardwareLimits()
    _check_arguments(circuit, target, physical_qubits, num_rows, num_shots, circuit_duration_ns,
                     parameter_values, parameter_names, num_timesteps,
                     num_unsteered_timesteps)  # fmt: skip
    tally = tally_circuit(circuit, target, physical_qubits, limits)
    findings = [
        *structure_findings(tally, limits),
        register_finding(circuit),
        parameter_finding(circuit, parameter_names, parameter_values),
        rzz_finding(tally.rzz_angles, parameter_names, parameter_values),
    ]
    sizes = _Sizes(tally, limits, num_rows, num_shots, circuit_duration_ns, num_timesteps,
                   num_unsteered_timesteps)  # fmt: skip
    findings += sizes.circuit_findings()
    splits = sizes.split()
    findings += sizes.job_findings(len(splits))
    if not all(item.passed or item.splits for item in findings):
        splits = ()
    lengths = [item.largest_timesteps for item in findings if item.largest_timesteps is not None]
    num_executions = sum(job.num_executions for job in splits)
    return PreflightReport(
        findings=tuple(findings),
        splits=splits,
        qpu_seconds=sum(
            limits.execution_seconds(job.num_executions, circuit_duration_ns) for job in splits
        ),
        circuit_seconds=num_executions * circuit_duration_ns / 1e9,
        minutes_to_submit=float(max(len(splits) - 1, 0) // limits.posts_per_minute),
        largest_timesteps=min(lengths, default=None),
    )


@dataclass(frozen=True)
class _Sizes:
    """The rules that are numbers: of one circuit, and of a job."""

    tally: CircuitTally
    limits: HardwareLimits
    num_rows: int
    num_shots: int
    duration_ns: float
    num_timesteps: int
    num_unsteered: int

    @property
    def num_instructions(self) -> int:
        """Control-system instructions of one row on the busiest qubit."""
        return self.limits.weight_init + int(self.tally.control_instructions.max(initial=0))

    @property
    def num_broadcasts(self) -> int:
        return len(self.tally.broadcast_bits)

    @property
    def mean_bits(self) -> float:
        return float(np.mean(self.tally.broadcast_bits)) if self.num_broadcasts else 1.0

    @property
    def max_broadcasts(self) -> int:
        return self.limits.max_broadcasts(self.mean_bits)

    @property
    def num_mid_circuit_results(self) -> int:
        return self.tally.num_measurements - self.tally.num_final_measurements

    @property
    def rows_in_memory(self) -> int:
        """Copies of the circuit that a job of all rows holds."""
        return 1 if self.limits.rows_share_memory else self.num_rows

    def largest_timesteps(self, value: float, limit: float, *, fixed: float = 0.0) -> int:
        """T at which a count reaches its limit, if it grows in proportion to T.

        `fixed` bounds what does not grow (initialisation, final measurement); taking it off the
        limit and not off the value errs on the safe side.
        """
        return max(int((limit - fixed) * self.num_timesteps // max(value, 1)), 0)

    def largest_steered(self) -> int | None:
        """T at which the broadcasts reach their limit: the first timesteps have none."""
        steered = self.num_timesteps - self.num_unsteered
        if not self.num_broadcasts or steered < 1:
            return None
        return self.max_broadcasts * steered // self.num_broadcasts + self.num_unsteered

    def circuit_findings(self) -> Iterator[Finding]:
        """Limits of one circuit, which no split changes."""
        tally, limits = self.tally, self.limits
        cure = "shorten the sequence to at most {} timesteps or use fewer layers"
        two_qubit = (
            limits.max_two_qubit_gates_per_dynamic_circuit
            if tally.is_dynamic
            else limits.max_two_qubit_gates_per_circuit
        )
        kind = "dynamic" if tally.is_dynamic else "static"
        rz, sx = tally.gate_counts.get("rz", 0), tally.gate_counts.get("sx", 0)
        for rule, value, limit, detail in (
            ("two-qubit gates per circuit", tally.num_two_qubit_gates, two_qubit,
             f"a {kind} circuit, both sides of every branch"),
            ("rz gates per circuit", rz, limits.max_rz_gates_per_circuit, ""),
            ("sx gates per circuit", sx, limits.max_sx_gates_per_circuit, ""),
        ):  # fmt: skip
            length = self.largest_timesteps(value, limit) if value else None
            passed = value <= limit
            yield Finding(rule, passed, value, limit, detail,
                          "" if passed else cure.format(length),
                          largest_timesteps=length)  # fmt: skip

    def split(self) -> tuple[JobSplit, ...]:
        """The jobs, none if a single execution breaks a limit."""
        limits = self.limits
        instructions = limits.max_control_instructions_per_qubit // self.num_instructions
        broadcasts = self.max_broadcasts // max(self.num_broadcasts, 1)
        max_rows = min(instructions, broadcasts)
        if limits.rows_share_memory and max_rows:
            max_rows = self.num_rows
        num_results = max(self.tally.num_measurements, 1)
        mid_circuit = self.num_mid_circuit_results
        return split_submission(
            self.num_rows,
            self.num_shots,
            max_rows=max_rows,
            max_shots=(
                limits.max_mid_circuit_results_per_row // mid_circuit
                if mid_circuit
                else self.num_shots
            ),
            max_executions=min(
                limits.max_executions_per_job,
                limits.max_executions_in_time(self.duration_ns),
                limits.max_result_bits_per_job // num_results,
            ),
        )

    def job_findings(self, num_jobs: int) -> Iterator[Finding]:
        """Limits of a job, which more and smaller jobs keep unless one execution is too large."""
        tally, limits = self.tally, self.limits
        rows, shots = self.num_rows, self.num_shots
        results, mid_circuit = tally.num_measurements, self.num_mid_circuit_results
        num_executions = rows * shots
        of_rows = f"{rows:,} rows x " if self.rows_in_memory > 1 else ""
        final = tally.num_final_measurements
        fits = limits.max_executions_in_time(self.duration_ns) >= 1
        # Rule, value of all in one job, its limit, value of one execution, detail, largest T.
        rules = (
            ("executions per job", num_executions, limits.max_executions_per_job, 1,
             f"{rows:,} rows x {shots:,} shots", None),
            ("control instructions per qubit and job",
             self.rows_in_memory * self.num_instructions,
             limits.max_control_instructions_per_qubit, self.num_instructions,
             f"{of_rows}{self.num_instructions:,} on the busiest qubit",
             self.largest_timesteps(
                 self.num_instructions, limits.max_control_instructions_per_qubit,
                 fixed=limits.weight_init + limits.weight_measure)),
            ("broadcasts per job", self.rows_in_memory * self.num_broadcasts,
             self.max_broadcasts, self.num_broadcasts,
             f"{of_rows}{self.num_broadcasts:,} of {self.mean_bits:.3g} bits on average",
             self.largest_steered()),
            ("mid-circuit results per row and job", mid_circuit * shots,
             limits.max_mid_circuit_results_per_row, mid_circuit,
             f"{mid_circuit:,} measurements x {shots:,} shots",
             self.largest_timesteps(mid_circuit, limits.max_mid_circuit_results_per_row)
             if mid_circuit else None),
            ("result bits per job", results * num_executions, limits.max_result_bits_per_job,
             results, f"{results:,} measurements x {num_executions:,} executions",
             self.largest_timesteps(results, limits.max_result_bits_per_job, fixed=final)),
            ("QPU seconds per job", limits.execution_seconds(num_executions, self.duration_ns),
             limits.max_execution_seconds, 0 if fits else inf,
             f"{num_executions:,} executions of {self.duration_ns / 1e3:.4g} us and "
             f"{limits.rep_delay_us:.4g} us between them",
             self._largest_in_time()),
        )  # fmt: skip
        for rule, value, limit, of_one, detail, length in rules:
            passed = value <= limit
            splits = not passed and of_one <= limit
            cure = ""
            if splits:
                cure = f"split into {num_jobs:,} jobs" if num_jobs else "to be split"
            elif not passed:
                cure = f"shorten the sequence to at most {length} timesteps"
            yield Finding(rule, passed, value, limit, detail, cure, splits, length)

    def _largest_in_time(self) -> int | None:
        """T of which one execution fills a job's time."""
        if self.duration_ns == 0:
            return None
        limits = self.limits
        free_ns = (limits.max_execution_seconds - limits.job_overhead_seconds) * 1e9
        return self.largest_timesteps(self.duration_ns, free_ns, fixed=limits.rep_delay_us * 1e3)


def _check_arguments(
    circuit: QuantumCircuit,
    target: Target,
    physical_qubits: Sequence[int],
    num_rows: int,
    num_shots: int,
    circuit_duration_ns: float,
    parameter_values: NDArray[np.float64] | None,
    parameter_names: Sequence[str],
    num_timesteps: int,
    num_unsteered: int,
) -> None:
    for name, value in (
        ("num_rows", num_rows), ("num_shots", num_shots), ("num_timesteps", num_timesteps),
        ("num_unsteered_timesteps", num_unsteered),
    ):  # fmt: skip
        require(value >= 1, name, "must be at least 1", value, "submit one or more")
    require(isfinite(circuit_duration_ns) and circuit_duration_ns >= 0, "circuit_duration_ns",
            "must be finite and at least 0", circuit_duration_ns,
            "schedule the circuit on a device with durations")  # fmt: skip
    distinct = set(physical_qubits)
    require(len(physical_qubits) == circuit.num_qubits == len(distinct)
            and all(0 <= qubit < (target.num_qubits or 0) for qubit in distinct),
            "physical_qubits",
            f"must be {circuit.num_qubits} distinct qubits of the device's {target.num_qubits}",
            tuple(physical_qubits), "use those of the compiled program")  # fmt: skip
    if parameter_values is not None:
        shape = (num_rows, len(parameter_names))
        require(parameter_values.shape == shape, "parameter_values",
                f"must have shape {shape}, rows and parameters", parameter_values.shape,
                "bind with CompiledProgram.bind_values")  # fmt: skip
