"""When does each operation run, and who waits? A per-qubit ASAP schedule with branches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES

from qrnn_qiskit.costing.walk import condition_bits
from qrnn_qiskit.errors import InputError, require

# Device durations are multiples of dt (0.2 to 4 ns); shorter gaps are rounding of float sums.
SHORTEST_WINDOW_NS = 1e-6
_NS = {"ps": 1e-3, "ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}


class Durations(Protocol):
    """How long a device takes for an instruction."""

    def duration_ns(self, name: str, qubits: tuple[int, ...]) -> float:
        """Duration of an instruction on circuit qubits, in the instruction's qubit order."""


@dataclass(frozen=True, eq=False)
class IdleWindows:
    """A qubit's waiting, in order of time.

    Attributes:
        start_ns: `(num_windows,)`.
        end_ns: `(num_windows,)`.
        is_live: `(num_windows,)`; false where the qubit waits in |0>, which costs it nothing.
    """

    start_ns: NDArray[np.float64]
    end_ns: NDArray[np.float64]
    is_live: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class BranchSchedule:
    """When a branch's instructions run, from the branch's start.

    Attributes:
        start_ns: `(num_instructions,)` of the body.
        end_ns: `(num_instructions,)`.
        duration_ns: end of its last operation.
    """

    start_ns: NDArray[np.float64]
    end_ns: NDArray[np.float64]
    duration_ns: float


@dataclass(frozen=True, eq=False)
class Schedule:
    """When each instruction of a circuit runs, and each qubit's waiting.

    Busy intervals and idle windows of a qubit, live or not, fill the time from 0 to the end of
    its last operation; after that it does not wait any more.

    Attributes:
        start_ns: `(num_instructions,)`, of `circuit.data`.
        end_ns: `(num_instructions,)`.
        duration_ns: end of the last operation.
        num_qubits: of the circuit.
        feedforward_latency_ns: from the end of a measurement to the start of a branch.
        busy_intervals: for each qubit `(num_intervals, 2)` starts and ends, adjacent ones joined.
        idle_windows: for each qubit, adjacent ones joined.
        branches: the blocks of each `if_else`, by its position in `circuit.data`.
    """

    start_ns: NDArray[np.float64]
    end_ns: NDArray[np.float64]
    duration_ns: float
    num_qubits: int
    feedforward_latency_ns: float
    busy_intervals: tuple[NDArray[np.float64], ...]
    idle_windows: tuple[IdleWindows, ...]
    branches: Mapping[int, tuple[BranchSchedule, ...]]

    def idle_ns(
        self, qubit: int, live_only: bool = True, *, start_ns: float = 0.0, end_ns: float = inf
    ) -> float:
        """Time that a qubit waits between two times."""
        windows = self.idle_windows[qubit]
        overlap = _overlap(windows.start_ns, windows.end_ns, start_ns, end_ns)
        return float(np.sum(overlap[windows.is_live] if live_only else overlap))

    def busy_ns(self, qubit: int, *, start_ns: float = 0.0, end_ns: float = inf) -> float:
        """Time that operations take on a qubit between two times."""
        intervals = self.busy_intervals[qubit]
        return float(np.sum(_overlap(intervals[:, 0], intervals[:, 1], start_ns, end_ns)))


def build_schedule(
    circuit: QuantumCircuit, durations: Durations, *, feedforward_latency_ns: float
) -> Schedule:
    """When each instruction runs if nothing that is ready waits, by these rules.

    - An operation starts when all its qubits are free (hardware delays nothing that is ready,
      and Qiskit's own scheduling passes refuse control flow or give it no duration). A barrier
      takes no time and makes its qubits wait for each other; a delay takes its own time.
    - Waiting in |0> loses nothing, so a qubit that was just reset, or is at the circuit's start,
      gets its one-qubit gates as late as possible: they end when its next other operation
      starts (a multi-qubit operation, measurement, reset, barrier or branch), and the waiting
      before them is not live. That operation does not start later for it than if the gates had
      come at once. Without such an operation the gates come at once. All other waiting is live,
      that of measured qubits that are not reset included.
    - A measured bit is known at the measurement's end (a bit that was never measured, at 0). An
      `if_else` starts when its qubits are free, and the feedforward latency after the last
      measurement of the bits that its condition reads. Branches on different qubits overlap;
      blocks on the same qubits run one after the other, whatever they test.
    - An `if_else` lasts as long as its longest branch, each body walked by the first rule (an
      absent else takes no time), and holds all its qubits until then. Waiting inside the longest
      branch is live; on other paths qubits wait more, see `insert_delays`.
    - A measurement may overwrite a bit that a branch has yet to read: classical bits make no
      operation wait. (A register for each timestep never does that.)

    Windows shorter than 1e-6 ns are dropped.

    Args:
        circuit: `if_else` of one level is its only control flow; parameters may be unbound.
        durations: of every instruction in it but barriers, delays and branches.
        feedforward_latency_ns: not published by IBM; 100 is optimistic, 600 pessimistic.

    Raises:
        InputError: if the latency or a duration is negative or not finite, if a delay is not in
            units of seconds, or if the circuit holds nested or other control flow.

    Example:
        >>> class Simple:
        ...     def duration_ns(self, name, qubits):
        ...         return {"measure": 1000.0, "x": 30.0, "cz": 70.0}[name]
        >>> circuit = QuantumCircuit(2, 1)
        >>> _ = circuit.x(0), circuit.cz(0, 1), circuit.measure(0, 0)
        >>> with circuit.if_test((circuit.clbits[0], 1)):
        ...     _ = circuit.x(1)
        >>> schedule = build_schedule(circuit, Simple(), feedforward_latency_ns=600)
        >>> schedule.start_ns.tolist(), schedule.duration_ns
        ([0.0, 30.0, 100.0, 1700.0], 1730.0)
        >>> schedule.idle_ns(1), schedule.idle_ns(1, live_only=False)
        (1600.0, 1630.0)
    """
    require(isfinite(feedforward_latency_ns) and feedforward_latency_ns >= 0,
            "feedforward_latency_ns", "must be finite and not negative", feedforward_latency_ns,
            "use 100 (optimistic) to 600 (pessimistic)")  # fmt: skip
    walk = _Walk(circuit, range(circuit.num_qubits), _Lookup(durations), feedforward_latency_ns)
    walk.run()
    return Schedule(
        start_ns=np.array(walk.start_ns),
        end_ns=np.array(walk.end_ns),
        duration_ns=walk.duration_ns,
        num_qubits=circuit.num_qubits,
        feedforward_latency_ns=feedforward_latency_ns,
        busy_intervals=tuple(
            np.array(line.busy, dtype=np.float64).reshape(-1, 2) for line in walk.lines
        ),
        idle_windows=tuple(line.windows() for line in walk.lines),
        branches=walk.branches,
    )


def _overlap(
    starts: NDArray[np.float64], ends: NDArray[np.float64], start_ns: float, end_ns: float
) -> NDArray[np.float64]:
    return np.maximum(np.minimum(ends, end_ns) - np.maximum(starts, start_ns), 0.0)


class _Lookup:
    """Durations asked for once each, and checked."""

    def __init__(self, durations: Durations) -> None:
        self.durations = durations
        self.known: dict[tuple[str, tuple[int, ...]], float] = {}

    def __call__(self, item: Any, qubits: tuple[int, ...]) -> float:
        name: str = item.name
        if name == "delay":
            return _delay_ns(item.operation)
        duration = self.known.get((name, qubits))
        if duration is None:
            duration = float(self.durations.duration_ns(name, qubits))
            require(isfinite(duration) and duration >= 0, "durations",
                    f"{name} on qubits {qubits} must have a finite duration of at least 0 ns",
                    duration, "correct the device's data")  # fmt: skip
            self.known[name, qubits] = duration
        return duration


def _delay_ns(delay: Any) -> float:
    if delay.unit not in _NS:
        raise InputError(
            f"circuit: a delay must be in one of {', '.join(_NS)}, got {delay.unit!r}; convert it "
            "with the device's dt"
        )
    return float(delay.duration) * _NS[delay.unit]


class _QubitLine:
    """One qubit's time so far."""

    __slots__ = ("busy", "free_ns", "idle", "is_ground", "pending", "pending_ns")

    def __init__(self, is_ground: bool) -> None:
        self.free_ns = 0.0
        self.is_ground = is_ground
        # One-qubit gates on |0> whose time is not decided: instruction and duration.
        self.pending: list[tuple[int, float]] = []
        self.pending_ns = 0.0
        self.busy: list[list[float]] = []
        self.idle: list[tuple[float, float, bool]] = []

    def wait_until(self, time_ns: float, is_live: bool) -> None:
        start = self.free_ns
        if time_ns - start < SHORTEST_WINDOW_NS:
            return
        if self.idle and self.idle[-1][2] == is_live:
            before, last_end, _ = self.idle[-1]
            if start - last_end < SHORTEST_WINDOW_NS:
                self.idle[-1] = (before, time_ns, is_live)
                self.free_ns = time_ns
                return
        self.idle.append((start, time_ns, is_live))
        self.free_ns = time_ns

    def work_until(self, time_ns: float) -> None:
        start = self.free_ns
        if time_ns > start:
            if self.busy and start - self.busy[-1][1] < SHORTEST_WINDOW_NS:
                self.busy[-1][1] = time_ns
            else:
                self.busy.append([start, time_ns])
            self.free_ns = time_ns

    def windows(self) -> IdleWindows:
        start, end, is_live = zip(*self.idle, strict=True) if self.idle else ((), (), ())
        return IdleWindows(
            np.array(start, dtype=np.float64),
            np.array(end, dtype=np.float64),
            np.array(is_live, dtype=np.bool_),
        )


class _Walk:
    """One pass over a circuit, or over a branch body (`latency_ns` None).

    In a body no qubit counts as |0>: which state it is in depends on the shot, and hardware has
    no reset there.
    """

    def __init__(
        self,
        circuit: QuantumCircuit,
        qubits: Sequence[int],
        lookup: _Lookup,
        latency_ns: float | None,
    ) -> None:
        self.circuit = circuit
        self.lookup = lookup
        self.latency_ns = latency_ns
        self.index = dict(zip(circuit.qubits, qubits, strict=True))
        is_body = latency_ns is None
        self.line_of = {qubit: _QubitLine(not is_body) for qubit in circuit.qubits}
        self.lines = list(self.line_of.values())
        self.start_ns = [0.0] * len(circuit.data)
        self.end_ns = [0.0] * len(circuit.data)
        self.known_at_ns: dict[Any, float] = {}
        self.branches: dict[int, tuple[BranchSchedule, ...]] = {}

    @property
    def duration_ns(self) -> float:
        return max((line.free_ns for line in self.lines), default=0.0)

    def run(self) -> None:
        for position, item in enumerate(self.circuit.data):
            name = item.name
            lines = [self.line_of[qubit] for qubit in item.qubits]
            if name in CONTROL_FLOW_OP_NAMES:
                self.add_branch(position, item, lines)
            elif name == "barrier":
                self.add_barrier(position, lines)
            elif lines:
                qubits = tuple([self.index[qubit] for qubit in item.qubits])
                duration = self.lookup(item, qubits)
                if len(lines) > 1:
                    self.add(position, lines, 0.0, duration)
                else:
                    self.add_on_one(position, item, lines[0], duration)
        for line in self.lines:
            self.place_pending(line, line.free_ns)

    def add_on_one(self, position: int, item: Any, line: _QubitLine, duration: float) -> None:
        if item.name.startswith("reset"):
            self.add(position, [line], 0.0, duration)
            line.is_ground = self.latency_ns is not None
        elif item.name.startswith("measure"):
            self.add(position, [line], 0.0, duration)
            self.known_at_ns[item.clbits[0]] = self.end_ns[position]
        elif line.is_ground:
            line.pending.append((position, duration))
            line.pending_ns += duration
        else:
            self.start_ns[position] = line.free_ns
            line.work_until(line.free_ns + duration)
            self.end_ns[position] = line.free_ns

    def add(
        self, position: int, lines: list[_QubitLine], earliest_ns: float, duration: float
    ) -> None:
        """An operation that does not wait in |0>, once its qubits' pending gates are done."""
        start = max([line.free_ns + line.pending_ns for line in lines] + [earliest_ns])
        end = start + duration
        for line in lines:
            if line.pending:
                self.place_pending(line, start - line.pending_ns)
            line.wait_until(start, not line.is_ground)
            line.work_until(end)
            line.is_ground = False
        self.start_ns[position] = start
        self.end_ns[position] = end

    def add_barrier(self, position: int, lines: list[_QubitLine]) -> None:
        still_ground = [line for line in lines if line.is_ground and not line.pending]
        self.add(position, lines, 0.0, 0.0)
        for line in still_ground:
            line.is_ground = True

    def place_pending(self, line: _QubitLine, start: float) -> None:
        if not line.pending:
            return
        line.wait_until(start, False)
        for position, duration in line.pending:
            self.start_ns[position] = line.free_ns
            line.work_until(line.free_ns + duration)
            self.end_ns[position] = line.free_ns
        line.pending.clear()
        line.pending_ns = 0.0
        line.is_ground = False

    def add_branch(self, position: int, item: Any, lines: list[_QubitLine]) -> None:
        operation = item.operation
        if operation.name != "if_else" or self.latency_ns is None:
            kind = operation.name if self.latency_ns is not None else f"nested {operation.name}"
            raise InputError(
                f"circuit: branches must be if_else of one level, got {kind!r}; unroll it, "
                "hardware runs no other control flow"
            )
        qubits = [self.index[qubit] for qubit in item.qubits]
        bodies = [_Walk(body, qubits, self.lookup, None) for body in operation.blocks]
        for body in bodies:
            body.run()
        known = [self.known_at_ns.get(bit) for bit in condition_bits(operation.condition)]
        ready = [time + self.latency_ns for time in known if time is not None]
        longest = max(bodies, key=lambda body: body.duration_ns)
        self.add_longest(position, lines, max(ready, default=0.0), longest)
        for body in bodies:
            for inner, outer in zip(body.circuit.clbits, item.clbits, strict=True):
                if inner in body.known_at_ns:
                    self.known_at_ns[outer] = self.end_ns[position]
        self.branches[position] = tuple(
            BranchSchedule(np.array(body.start_ns), np.array(body.end_ns), body.duration_ns)
            for body in bodies
        )

    def add_longest(
        self, position: int, lines: list[_QubitLine], earliest_ns: float, body: "_Walk"
    ) -> None:
        """Holds all qubits for the time of a body, with the waiting inside it."""
        self.add(position, lines, earliest_ns, 0.0)
        start = self.start_ns[position]
        duration = body.duration_ns
        for line, inner in zip(lines, body.lines, strict=True):
            inner.wait_until(duration, True)
            for idle_start, idle_end, _ in inner.idle:
                line.work_until(start + idle_start)
                line.wait_until(start + idle_end, True)
            line.work_until(start + duration)
        self.end_ns[position] = start + duration
