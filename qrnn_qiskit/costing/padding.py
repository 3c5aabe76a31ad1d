"""Explicit delays where qubits wait, for simulators that decay on delays only."""

from bisect import bisect_right
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import IfElseOp

from qrnn_qiskit.costing.schedule import SHORTEST_WINDOW_NS, BranchSchedule, Schedule
from qrnn_qiskit.errors import require


def insert_delays(
    circuit: QuantumCircuit, schedule: Schedule, *, ground: bool = False
) -> QuantumCircuit:
    """The same circuit with a delay (in ns) wherever a qubit waits.

    For simulation only, never for hardware, which keeps its own time. Every branch of an
    `if_else` is filled on each of its qubits up to the length of the longest, an absent else
    with delays alone: whichever is taken, the same time passes. Scheduled again, the result
    starts every instruction when the schedule did, with no live waiting left.

    Args:
        circuit: what was scheduled.
        schedule: of this circuit.
        ground: delays also where a qubit waits in |0>, for noise that heats.

    Raises:
        InputError: if the schedule is of another circuit.

    Example:
        >>> from qrnn_qiskit.costing.schedule import build_schedule
        >>> class Simple:
        ...     def duration_ns(self, name, qubits):
        ...         return {"measure": 1000.0, "cz": 70.0}[name]
        >>> circuit = QuantumCircuit(2, 2)
        >>> _ = circuit.cz(0, 1), circuit.measure(0, 0), circuit.cz(0, 1)
        >>> schedule = build_schedule(circuit, Simple(), feedforward_latency_ns=0)
        >>> padded = insert_delays(circuit, schedule)
        >>> [(item.name, item.operation.params) for item in padded.data]
        [('cz', []), ('measure', []), ('delay', [1000.0]), ('cz', [])]
    """
    shape = (circuit.num_qubits, len(circuit.data))
    require((schedule.num_qubits, len(schedule.start_ns)) == shape, "schedule",
            "must have the circuit's numbers of qubits and instructions",
            (schedule.num_qubits, len(schedule.start_ns)),
            f"schedule this circuit, which has {shape}")  # fmt: skip
    starts, ends = schedule.start_ns.tolist(), schedule.end_ns.tolist()
    live = {
        qubit: _LiveTimes(schedule, index, ground) for index, qubit in enumerate(circuit.qubits)
    }
    free = dict.fromkeys(circuit.qubits, 0.0)
    padded = circuit.copy_empty_like()
    for position, item in enumerate(circuit.data):
        start = starts[position]
        for qubit in item.qubits:
            wait = start - free[qubit]
            if wait >= SHORTEST_WINDOW_NS and live[qubit].holds(start - wait / 2):
                padded.delay(wait, qubit, unit="ns")
            free[qubit] = ends[position]
        if position in schedule.branches:
            operation = _pad_branches(item.operation, schedule.branches[position])
            padded.append(operation, item.qubits, item.clbits, copy=False)
        else:
            padded.append(item, copy=False)
    return padded


class _LiveTimes:
    """Whether a qubit's waiting at a time is to be filled."""

    def __init__(self, schedule: Schedule, qubit: int, ground: bool) -> None:
        windows = schedule.idle_windows[qubit]
        self.starts = windows.start_ns.tolist()
        self.fill = [ground or is_live for is_live in windows.is_live.tolist()]

    def holds(self, time_ns: float) -> bool:
        return self.fill[bisect_right(self.starts, time_ns) - 1]


def _pad_branches(operation: Any, branches: tuple[BranchSchedule, ...]) -> IfElseOp:
    duration = max(branch.duration_ns for branch in branches)
    bodies = [
        _pad_body(body, branch, duration)
        for body, branch in zip(operation.blocks, branches, strict=True)
    ]
    if len(bodies) == 1 and duration >= SHORTEST_WINDOW_NS:
        absent = operation.blocks[0].copy_empty_like()
        absent.global_phase = 0
        for qubit in absent.qubits:
            absent.delay(duration, qubit, unit="ns")
        bodies.append(absent)
    return IfElseOp(operation.condition, *bodies, label=operation.label)


def _pad_body(body: QuantumCircuit, branch: BranchSchedule, duration: float) -> QuantumCircuit:
    free = dict.fromkeys(body.qubits, 0.0)
    padded = body.copy_empty_like()

    def fill(qubit: Any, until_ns: float) -> None:
        wait = until_ns - free[qubit]
        if wait >= SHORTEST_WINDOW_NS:
            padded.delay(wait, qubit, unit="ns")

    times = zip(branch.start_ns.tolist(), branch.end_ns.tolist(), strict=True)
    for item, (start, end) in zip(body.data, times, strict=True):
        for qubit in item.qubits:
            fill(qubit, start)
            free[qubit] = end
        padded.append(item, copy=False)
    for qubit in body.qubits:
        fill(qubit, duration)
    return padded
