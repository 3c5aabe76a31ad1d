"""How long does the memory remember a bit? Contrast at each timestep, and what waiting leaves.

The model's own circuit runs with all angles of its cell at 0, so that nothing but the device acts:
gates, readouts and waiting stay where they are. Every memory qubit is prepared in |0> or in |1> by
its first RY; the contrast is the difference of what is read, 1 without noise. For the coherence it
is prepared in |+> or |-> and turned back by the last RY of the sequence.
"""

from collections.abc import Sequence
from math import exp, pi, sin
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.costing import Schedule
from qrnn_qiskit.devices import DeviceNoise
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate.noisy import build_noisy_plan, noisy_features

Array = NDArray[np.float64]

# The noisy density matrix has 4^n numbers for each outcome that can still steer.
MAX_MEMORY = 8


def compute_memory_decay(
    compiled: CompiledProgram, schedule: Schedule, noise: DeviceNoise
) -> dict[str, Any]:
    """Contrasts of the memory on a noisy device, exact (no shots), with predictions.

    - `memory_z`: contrast of |0> and |1> that the Z readouts of each timestep find, mean over
      them; None in the `host` loop, and without a Z readout.
    - `memory_z_predicted`: exp(-t/T1) of the qubits read, t their waiting in the schedule until
      the measurement (times the noise's `idle_factor`).
    - `memory_z_final`, `memory_x_final`: contrasts at the end, mean over memory qubits; for |+> and
      |-> over those that no readout dephases (None if there is none).
    - `..._predicted`: exp(-t/T1) and exp(-t/T2) of waiting until the final measurement.

    Contrasts lie below the predictions by what gates, readouts and resets cost. With waiting as the
    only error they nearly agree: between the pulses of a gate a bit waits in superposition, and
    the readout qubit waits, too.

    Args:
        compiled: of a program with at most `MAX_MEMORY` memory qubits; nothing is computed above.
        schedule: of the circuit.
        noise: of its qubits.
    """
    program = compiled.program
    if program.cell.ansatz.num_memory > MAX_MEMORY:
        return dict.fromkeys(_NAMES)
    plan = build_noisy_plan(compiled, noise, schedule)
    with torch.no_grad():
        rows = torch.from_numpy(_build_controls(program))
        zero, one, plus, minus = noisy_features(plan, rows).numpy()
    num_steps = program.num_timesteps * program.readout_parities.size
    measured = _Measurements(compiled, schedule, noise)
    z_final = ((zero - one) / 2)[num_steps:]
    x_final = ((plus - minus) / 2)[num_steps:]
    final = _final_singles(program)
    kept = _undisturbed(program)
    found: dict[str, Any] = dict.fromkeys(_NAMES)
    readouts = [i for i, readout in enumerate(program.cell.readouts) if readout.pauli == "Z"]
    if readouts:
        steps = ((zero - one) / 2)[:num_steps].reshape(program.num_timesteps, -1)
        sizes = [sin(program.cell.readouts[i].strength_rad) for i in readouts]
        columns = [program.readout_parities.subsets.index((i,)) for i in readouts]
        found["memory_z"] = (steps[:, columns] / sizes).mean(axis=1).tolist()
        found["memory_z_predicted"] = [
            float(np.mean([measured.survival(t, i) for i in readouts]))
            for t in range(1, program.num_timesteps + 1)
        ]
    qubits = range(program.cell.ansatz.num_memory)
    found["memory_z_final"] = float(np.mean(z_final[final]))
    found["memory_z_final_predicted"] = float(np.mean([measured.final(q, "t1_ns") for q in qubits]))
    if kept and program.num_timesteps > 1:
        found["memory_x_final"] = float(np.mean(x_final[[final[q] for q in kept]]))
        x_predicted = [measured.final(q, "t2_ns") for q in kept]
        found["memory_x_final_predicted"] = float(np.mean(x_predicted))
    return found


_NAMES = (
    "memory_z", "memory_z_predicted", "memory_z_final", "memory_z_final_predicted",
    "memory_x_final", "memory_x_final_predicted",
)  # fmt: skip


class _Measurements:
    """When bits are measured, and what relaxation leaves until then."""

    def __init__(self, compiled: CompiledProgram, schedule: Schedule, noise: DeviceNoise) -> None:
        self._noise, self._schedule = noise, schedule
        program, circuit = compiled.program, compiled.circuit
        starts = {
            circuit.find_bit(item.clbits[0]).index: float(schedule.start_ns[position])
            for position, item in enumerate(circuit.data)
            if item.operation.name.startswith("measure")
        }
        self._start = {
            (bit.role == "final", bit.timestep, bit.index): starts[bit.position]
            for bit in program.record
        }
        self._num_timesteps = program.num_timesteps
        finals = {bit.index: bit.position for bit in program.record if bit.role == "final"}
        self._qubit_of = {index: compiled.bit_to_qubit[bit] for index, bit in finals.items()}
        self._anchors = [readout.anchor for readout in program.cell.readouts]

    def survival(self, timestep: int, readout: int) -> float:
        """Of a bit of the anchor until its readout."""
        place = False, timestep, readout
        return self._relax(self._qubit_of[self._anchors[readout]], place, "t1_ns")

    def final(self, memory_qubit: int, time: str) -> float:
        """Of a memory qubit until the final measurement, by `t1_ns` or `t2_ns`."""
        place = True, self._num_timesteps, memory_qubit
        return self._relax(self._qubit_of[memory_qubit], place, time)

    def _relax(self, qubit: int, place: tuple[bool, int, int], time: str) -> float:
        waited_ns = self._schedule.idle_ns(qubit, end_ns=self._start[place])
        noise = self._noise.qubits[qubit]
        return exp(-waited_ns * self._noise.idle_factor / float(getattr(noise, time)))


def _build_controls(program: SequenceProgram) -> Array:
    """Rows that prepare |0>, |1>, |+> and |-> on every memory qubit, `(4, num_controls)`."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for rotation in program.cell.ansatz.rotations:
        if rotation.gate == "ry":
            first.setdefault(rotation.qubits[0], rotation.angle)
            last[rotation.qubits[0]] = rotation.angle
    table = np.zeros((4, *program.table_shape))
    table[1, 0][:, list(first.values())] = pi
    for row, angle in ((2, pi / 2), (3, -pi / 2)):
        table[row, 0][:, list(first.values())] = angle
        # RY(-pi/2) turns |+> to |0> and |-> to |1>.
        table[row, -1][:, list(last.values())] -= pi / 2
    strengths = np.tile(program.strengths_rad, (4, 1))
    return np.concatenate((table.reshape(4, -1), strengths), axis=1)


def _final_singles(program: SequenceProgram) -> list[int]:
    """Places of each memory qubit's Z among the final features."""
    offset = program.final_bases.index("Z") * program.final_parities.size
    singles: Sequence[tuple[int, ...]] = program.final_parities.subsets
    return [offset + singles.index((q,)) for q in range(program.cell.ansatz.num_memory)]


def _undisturbed(program: SequenceProgram) -> list[int]:
    anchors = {readout.anchor for readout in program.cell.readouts}
    return [q for q in range(program.cell.ansatz.num_memory) if q not in anchors]
