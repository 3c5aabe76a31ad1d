"""What a program becomes on a device: gates, depth, time, loss, in one record."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.compiling.profile import TranspileProfile
from qrnn_qiskit.costing.depth import GateCounts, count_gates
from qrnn_qiskit.costing.loss import LossBudget, PlacedDevice, estimate_loss
from qrnn_qiskit.costing.schedule import Schedule, build_schedule
from qrnn_qiskit.devices import DeviceTarget


@dataclass(frozen=True, eq=False)
class DepthReport:
    """A compiled program in numbers. Gates and depth are those of the worst branch.

    Attributes:
        backend: name of the device.
        profile: name of the profile.
        compiled: the circuit and where it is.
        counts: gates, with branch bodies walked.
        schedule: when everything happens.
        loss: expected errors by cause, of the whole sequence.
        target_success: of the profile.
        compile_seconds: wall time of compiling.
        num_device_qubits: of the whole device.
    """

    backend: str
    profile: str
    compiled: CompiledProgram
    counts: GateCounts
    schedule: Schedule
    loss: LossBudget
    target_success: float
    compile_seconds: float
    num_device_qubits: int

    @property
    def num_timesteps(self) -> int:
        """T."""
        return self.compiled.program.num_timesteps

    @cached_property
    def memory_qubits(self) -> tuple[int, ...]:
        """Circuit qubits that the memory is read from in the end."""
        return tuple(self.compiled.bits_of("final").values())

    @cached_property
    def idle_fraction(self) -> float:
        """Share of its time that a memory qubit waits, on average."""
        idle = sum(self.schedule.idle_ns(qubit) for qubit in self.memory_qubits)
        busy = sum(self.schedule.busy_ns(qubit) for qubit in self.memory_qubits)
        return idle / (idle + busy) if idle + busy else 0.0

    @cached_property
    def memory_idle_ns(self) -> float:
        """Time that a memory qubit waits, mean over memory qubits, of the whole sequence."""
        idle = [self.schedule.idle_ns(qubit) for qubit in self.memory_qubits]
        return sum(idle) / len(idle)

    @property
    def timesteps_to_target(self) -> float:
        """Timesteps after which the expected success is down to `target_success`."""
        return self.loss.num_timesteps_to(self.target_success, self.num_timesteps)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers: totals, and `per_timestep` where they grow with T."""
        program, form = self.compiled.program, self.compiled.form
        totals: dict[str, float] = {
            "two_qubit_gates": self.counts.num_two_qubit,
            "two_qubit_depth": self.counts.two_qubit_depth,
            "swaps": self.compiled.num_swaps,
            "one_qubit_gates": self.counts.num_one_qubit,
            "measurements": self.counts.num_measurements,
            "resets": self.counts.num_resets,
            "branch_blocks": self.counts.num_branch_blocks,
            "broadcasts": self.counts.num_broadcasts,
            "duration_us": self.schedule.duration_ns / 1e3,
            "memory_idle_us": self.memory_idle_ns / 1e3,
            **{f"loss_{cause}": value for cause, value in asdict(self.loss).items()},
            "loss": self.loss.total,
        }
        return {
            "backend": self.backend,
            "profile": self.profile,
            "ansatz": program.cell.ansatz.name,
            "loop": program.cell.loop,
            "num_memory": program.cell.ansatz.num_memory,
            "num_layers": program.cell.ansatz.num_layers,
            "num_readouts": program.cell.num_readouts,
            "feedback_delay": program.cell.feedback_delay,
            "num_timesteps": self.num_timesteps,
            "num_qubits": self.compiled.circuit.num_qubits,
            "num_banks": form.num_banks or program.cell.num_banks,
            "num_spares": form.num_spares,
            "physical_qubits": list(self.compiled.physical_qubits),
            "total": totals,
            "per_timestep": {key: value / self.num_timesteps for key, value in totals.items()},
            "idle_fraction": self.idle_fraction,
            "success": self.loss.success,
            "target_success": self.target_success,
            "timesteps_to_target": self.timesteps_to_target,
            "compile_seconds": self.compile_seconds,
        }


def build_report(
    compiled: CompiledProgram,
    device: DeviceTarget,
    profile: TranspileProfile,
    compile_seconds: float = 0.0,
) -> DepthReport:
    """The report of a program compiled for a device with a profile."""
    schedule = schedule_compiled(compiled, device, profile)
    num_qubits = compiled.circuit.num_qubits
    return DepthReport(
        backend=device.name,
        profile=profile.name,
        compiled=compiled,
        counts=count_gates(compiled.circuit),
        schedule=schedule,
        loss=estimate_loss(
            compiled.circuit,
            PlacedDevice(device, compiled.physical_qubits),
            schedule,
            # Spares are the last qubits of a circuit.
            resting_qubits=range(num_qubits - compiled.form.num_spares, num_qubits),
        ),
        target_success=profile.target_success,
        compile_seconds=compile_seconds,
        num_device_qubits=device.num_qubits,
    )


def schedule_compiled(
    compiled: CompiledProgram, device: DeviceTarget, profile: TranspileProfile
) -> Schedule:
    """When everything in a compiled program happens on its device."""
    return build_schedule(
        compiled.circuit,
        PlacedDevice(device, compiled.physical_qubits),
        feedforward_latency_ns=profile.feedforward_latency_ns,
    )
