"""What IBM hardware accepts in one job, as named numbers with their sources."""

from dataclasses import dataclass, fields
from math import floor, isfinite

from qrnn_qiskit.errors import require

# IBM documents two points of one budget: this many bits a broadcast, this many broadcasts a job.
_WIDE_BITS, _WIDE_BROADCASTS = 60, 300


@dataclass(frozen=True)
class HardwareLimits:
    """Limits of IBM Quantum jobs. Every field can be replaced when IBM moves one.

    Sources: [L] IBM, "Job limits"; [D] IBM, "Execute dynamic circuits"; [C] IBM, "Hardware
    considerations and limitations"; [N] this project's notes on IBM's documentation, not found
    again in a stored copy; [M] reported by others; [A] our assumption. The copies date from 2025
    and 2026: no device has confirmed a number.

    [L] says that its limits hold per job, not per PUB, and counts as circuits what is left after
    the parameters were broadcast; [C] that a job's circuits are concatenated, with an
    initialisation between them, and fill the controllers' memory in proportion to their number.
    Neither says whether rows bound to one circuit share its memory. [A] They do not: with
    `rows_share_memory = False` each row counts its own instructions and broadcasts. At worst this
    costs some more jobs; the opposite error costs a place in the queue.

    Attributes:
        max_executions_per_job: rows times shots [L].
        max_control_instructions_per_qubit: of a job, on its busiest qubit, in the units of the
            weights below [L].
        weight_virtual: of `rz` and `delay` [L].
        weight_one_qubit: of `sx` and `x` [L]; of `rx`, `id` and anything else [A].
        weight_two_qubit: of `cx`, `cz`, `ecr` [L]; of `rzz` and anything else [A].
        weight_measure: of `measure` [L] and `measure_2` [A].
        weight_reset: of `reset` [L] and `reset_2` [A].
        weight_init: of the initialisation before each circuit [L], thus before each row [A].
        weight_branch: of an `if_else` on each of its qubits, besides its bodies [A].
        max_rz_gates_per_circuit: [L], early 2025.
        max_sx_gates_per_circuit: [L], early 2025.
        max_two_qubit_gates_per_circuit: circuits without control flow [L].
        max_two_qubit_gates_per_dynamic_circuit: circuits with control flow [L], mid 2025. The
            newest copy of [L] hides the section, so the number may have grown.
        max_one_bit_broadcasts: of a job, with one bit each [D]; see `max_broadcasts`.
        max_condition_bits: of one operand in a condition [D].
        max_mid_circuit_results_per_row: mid-circuit measurements of a circuit times the shots of a
            row in one job. [M] 11,988 of them overflowed the result buffer (error 8045) at a few
            hundred shots and ran when split by shots; [C] blames measurements in rapid succession
            and publishes no number. [A] 100 shots of those 11,988 pass. Final measurements do not
            count: [L] grants 10 M executions of them.
        max_result_bits_per_job: [A] 100 MB of packed bits, no limit of IBM: one download that
            can be repeated, and a record that fits a laptop's memory.
        max_execution_seconds: of a job, at most 3 h (IBM, "Maximum execution time").
        rep_delay_us: idle time before each execution, the usual default of IBM's backends [N].
        job_overhead_seconds: of a job's usage estimate [N].
        posts_per_minute: submissions per user [N].
        max_usable_error: a two-qubit gate or measurement with this error or more, or none, is
            broken [A]; backends report 1.0 for couplers that could not be calibrated.
        rows_share_memory: whether rows of one job use one copy of its instructions; see above.

    Raises:
        InputError: if a limit is not positive or not finite.

    Example:
        >>> limits = HardwareLimits()
        >>> limits.max_broadcasts(1), limits.max_broadcasts(60)
        (2400, 300)
        >>> limits.weigh("cz", 2), limits.weigh("reset_2", 1)
        (5, 17)
    """

    max_executions_per_job: int = 10_000_000
    max_control_instructions_per_qubit: int = 26_800_000
    weight_virtual: int = 1
    weight_one_qubit: int = 2
    weight_two_qubit: int = 5
    weight_measure: int = 10
    weight_reset: int = 17
    weight_init: int = 50
    weight_branch: int = 1
    max_rz_gates_per_circuit: int = 2_400_000
    max_sx_gates_per_circuit: int = 1_600_000
    max_two_qubit_gates_per_circuit: int = 5_000_000
    max_two_qubit_gates_per_dynamic_circuit: int = 100_000
    max_one_bit_broadcasts: int = 2_400
    max_condition_bits: int = 32
    max_mid_circuit_results_per_row: int = 11_988 * 100
    max_result_bits_per_job: int = 800_000_000
    max_execution_seconds: float = 3 * 3600.0
    rep_delay_us: float = 250.0
    job_overhead_seconds: float = 2.0
    posts_per_minute: int = 5
    max_usable_error: float = 0.5
    rows_share_memory: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            may_be_zero = field.name.startswith("weight_") or field.name in (
                "rep_delay_us", "job_overhead_seconds", "rows_share_memory",
            )  # fmt: skip
            require(isfinite(value) and (value > 0 or (may_be_zero and value == 0)), field.name,
                    "must be finite and positive" + (" or 0" if may_be_zero else ""), value,
                    "see the sources in HardwareLimits")  # fmt: skip
        require(self.max_execution_seconds > self.job_overhead_seconds, "max_execution_seconds",
                f"must exceed the overhead of a job, {self.job_overhead_seconds} s",
                self.max_execution_seconds, "see the sources in HardwareLimits")  # fmt: skip

    def weigh(self, name: str, num_qubits: int) -> int:
        """Control-system instructions that a gate takes on each of its qubits."""
        if name in ("rz", "delay"):
            return self.weight_virtual
        if name == "barrier":
            return 0
        if name.startswith("measure"):
            return self.weight_measure
        if name.startswith("reset"):
            return self.weight_reset
        if name == "if_else":
            return self.weight_branch
        return self.weight_one_qubit if num_qubits == 1 else self.weight_two_qubit

    def max_broadcasts(self, bits_per_broadcast: float) -> int:
        """Broadcasts that a job may hold if each carries this many bits on average.

        A broadcast sends measured bits that a condition needs and that have not been sent since
        they were written. IBM documents 2,400 of one bit and 300 of 60 bits; between them [A] each
        broadcast takes c0 + c1 bits out of one budget, which fits both points. The budget is
        linear, so only the mean number of bits matters.

        Raises:
            InputError: if a broadcast carries less than one bit.
        """
        require(bits_per_broadcast >= 1, "bits_per_broadcast", "must be at least 1",
                bits_per_broadcast, "a condition reads one bit or more")  # fmt: skip
        # In units of a one-bit broadcast; the ratio of the two points, 8, is IBM's.
        wide_cost = 2_400 / _WIDE_BROADCASTS
        cost = 1 + (wide_cost - 1) * (bits_per_broadcast - 1) / (_WIDE_BITS - 1)
        # The mean of integers is a float: half a unit in 1e9 keeps 300.0000001 from being 299.
        return floor(self.max_one_bit_broadcasts / cost * (1 + 1e-9))

    def execution_seconds(self, num_executions: int, circuit_duration_ns: float) -> float:
        """QPU seconds of one job, as IBM estimates them.

        `job_overhead + (rep_delay + circuit duration) * executions`.

        Example:
            >>> HardwareLimits().execution_seconds(1_000_000, circuit_duration_ns=50_000.0)
            302.0
        """
        seconds_each = (self.rep_delay_us * 1e3 + circuit_duration_ns) / 1e9
        return self.job_overhead_seconds + seconds_each * num_executions

    def max_executions_in_time(self, circuit_duration_ns: float) -> int:
        """Executions of one job that fit into `max_execution_seconds`."""
        seconds_each = (self.rep_delay_us * 1e3 + circuit_duration_ns) / 1e9
        seconds = self.max_execution_seconds - self.job_overhead_seconds
        if seconds_each == 0:
            return self.max_executions_per_job
        return floor(seconds / seconds_each * (1 + 1e-12))
