"""What a circuit loses on a device: expected errors by cause, and the chance that none happens.

lambda = N2 e2 + N1 e1 + N_ro e_ro + N_rst e_rst + sum_q tau_q (1/(6 T1) + 1/(3 T2)); the last
term is the average infidelity of relaxation for a short time. exp(-lambda) is the expected
success, roughly the share of shots without any error. It is a yardstick, no bound: most signals
keep more, since few errors touch them, but a parity of many bits keeps less, since a misread bit
turns its sign (`benchmarks/expected_success.py` has both beside a simulation).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import exp, log

from qiskit import QuantumCircuit
from qiskit.circuit.controlflow import ControlFlowOp

from qrnn_qiskit.costing.schedule import Schedule
from qrnn_qiskit.costing.walk import condition_bits
from qrnn_qiskit.devices import DeviceTarget

# How often an instruction, by name, runs on circuit qubits.
Uses = Counter[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class PlacedDevice:
    """A device seen from a circuit's qubits."""

    device: DeviceTarget
    physical_qubits: tuple[int, ...]

    def duration_ns(self, name: str, qubits: tuple[int, ...]) -> float:
        """Duration of an instruction on circuit qubits."""
        return self.device.duration_ns(name, self.to_physical(qubits))

    def error(self, name: str, qubits: tuple[int, ...]) -> float:
        """Error of an instruction on circuit qubits."""
        return self.device.error(name, self.to_physical(qubits))

    def idle_rate_per_ns(self, qubit: int) -> float:
        """Average infidelity of waiting, per nanosecond."""
        physical = self.physical_qubits[qubit]
        return float(1 / (6 * self.device.t1_ns[physical]) + 1 / (3 * self.device.t2_ns[physical]))

    def to_physical(self, qubits: Sequence[int]) -> tuple[int, ...]:
        """Device qubits of circuit qubits."""
        return tuple(self.physical_qubits[qubit] for qubit in qubits)


@dataclass(frozen=True)
class LossBudget:
    """Expected number of errors by cause (lambda)."""

    two_qubit: float
    one_qubit: float
    readout: float
    reset: float
    idle: float

    @property
    def total(self) -> float:
        """The sum of all causes."""
        return self.two_qubit + self.one_qubit + self.readout + self.reset + self.idle

    @property
    def success(self) -> float:
        """Chance that no error happens."""
        return exp(-self.total)

    def num_timesteps_to(self, success: float, num_timesteps: int) -> float:
        """Timesteps after which the expected success is down to `success`.

        Args:
            success: for example 0.5.
            num_timesteps: what this budget is of.
        """
        return log(1 / success) / (self.total / num_timesteps) if self.total else float("inf")


def estimate_loss(
    circuit: QuantumCircuit,
    placed: PlacedDevice,
    schedule: Schedule,
    resting_qubits: Collection[int] = (),
    uses: Uses | None = None,
) -> LossBudget:
    """The loss budget of a compiled circuit.

    Gates in a branch count with the chance 2^-bits that it is taken, as if bits were fair.

    Args:
        circuit: compiled.
        placed: the device, from the circuit's qubits.
        schedule: of the circuit on this device.
        resting_qubits: circuit qubits that wait in |0> only, whatever the schedule can tell.
        uses: of `count_uses`, where they are known.
    """
    sums = dict.fromkeys(("two_qubit", "one_qubit", "readout", "reset"), 0.0)
    for (name, qubits), count in (uses or count_uses(circuit)).items():
        sums[_cause(name, qubits)] += count * placed.error(name, qubits)
    idle = sum(
        schedule.idle_ns(qubit) * placed.idle_rate_per_ns(qubit)
        for qubit in range(circuit.num_qubits)
        if qubit not in resting_qubits
    )
    return LossBudget(**sums, idle=idle)


def count_uses(circuit: QuantumCircuit) -> Uses:
    """How often each instruction runs on each qubits, branches with the chance of their bits."""
    uses: Uses = Counter()
    index = {qubit: position for position, qubit in enumerate(circuit.qubits)}
    for item in circuit.data:
        operation = item.operation
        qubits = tuple(index[qubit] for qubit in item.qubits)
        if isinstance(operation, ControlFlowOp):
            chance = 2.0 ** -len(condition_bits(operation.condition))
            for body, weight in zip(operation.blocks, (chance, 1 - chance), strict=False):
                for name, inner in _plain_uses(body, qubits):
                    uses[name, inner] += weight  # type: ignore[assignment]
        elif operation.name not in _FREE:
            uses[operation.name, qubits] += 1
    return uses


_FREE = ("barrier", "delay", "rz")


def _plain_uses(body: QuantumCircuit, outer: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    index = dict(zip(body.qubits, outer, strict=True))
    return [
        (item.operation.name, tuple(index[qubit] for qubit in item.qubits))
        for item in body.data
        if item.operation.name not in _FREE
    ]


def _cause(name: str, qubits: tuple[int, ...]) -> str:
    if name.startswith("measure"):
        return "readout"
    if name.startswith("reset"):
        return "reset"
    return "one_qubit" if len(qubits) == 1 else "two_qubit"
