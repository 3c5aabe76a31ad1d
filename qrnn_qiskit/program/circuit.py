"""Builds the Qiskit dynamic circuit of a sequence, slot by slot."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import pi
from typing import TYPE_CHECKING

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter, Qubit
from qiskit.circuit.classical import expr

from qrnn_qiskit.program.ansatz import Rotation
from qrnn_qiskit.program.slots import Slot, SlotRole, SlotTable

if TYPE_CHECKING:
    from qrnn_qiskit.program.sequence import SequenceProgram


def build_circuit(program: "SequenceProgram") -> tuple[QuantumCircuit, SlotTable]:
    """The logical circuit of a program and its slots.

    One classical register `m<t>` per timestep, `final` for the memory; measurements and resets
    are real and mid-circuit; conditions have one level and read registers that do not change
    any more. `crx(v)` appears as `h; rz(v/2); rzz(-v/2); h` on the target, since each slot must
    drive one Pauli rotation (and since Aer binds parametrised controlled gates to 0).
    """
    builder = _Builder(program)
    for timestep in range(1, program.num_timesteps + 1):
        builder.add_cell(timestep)
        builder.add_readouts(timestep)
    builder.add_final_measurement()
    return builder.circuit, SlotTable(tuple(builder.slots), program.num_controls)


@dataclass
class _Builder:
    program: "SequenceProgram"
    circuit: QuantumCircuit = field(init=False)
    slots: list[Slot] = field(default_factory=list)

    def __post_init__(self) -> None:
        cell = self.program.cell
        self.memory = QuantumRegister(cell.ansatz.num_memory, "memory")
        registers: list[QuantumRegister | ClassicalRegister] = [self.memory]
        if cell.readouts:
            self.readout = QuantumRegister(cell.num_readouts * cell.num_banks, "readout")
            self.outcomes = [
                ClassicalRegister(cell.num_readouts, f"m{timestep}")
                for timestep in range(1, self.program.num_timesteps + 1)
            ]
            registers += [self.readout, *self.outcomes]
        self.final = ClassicalRegister(cell.ansatz.num_memory, "final")
        self.circuit = QuantumCircuit(*registers, self.final)

    def add_slot(
        self,
        name: str,
        role: SlotRole,
        timestep: int,
        qubit: int,
        constant: float = 0.0,
        terms: tuple[tuple[int, float], ...] = (),
        flips: bool = False,
    ) -> Parameter:
        self.slots.append(Slot(name, role, timestep, qubit, constant, terms, flips))
        return Parameter(name)

    def control(self, timestep: int, outcome: int, angle: int) -> int:
        """Index of a table entry among the controls."""
        _, num_outcomes, num_angles = self.program.table_shape
        return ((timestep - 1) * num_outcomes + outcome) * num_angles + angle

    def condition(self, timestep: int, outcome: int) -> tuple[ClassicalRegister, int] | expr.Expr:
        """`outcome` was read by the timesteps that steer this one."""
        num_readouts = self.program.cell.num_readouts
        tests = [
            (self.outcomes[seen - 1], (outcome >> (age * num_readouts)) & (2**num_readouts - 1))
            for age, seen in enumerate(self.program.cell.visible_timesteps(timestep))
        ]
        if len(tests) == 1:
            return tests[0]
        # Bit operations on comparisons are what hardware conditions allow; no logic_and needed.
        condition: expr.Expr = expr.equal(*tests[0])
        for test in tests[1:]:
            condition = expr.bit_and(condition, expr.equal(*test))
        return condition

    def add_cell(self, timestep: int) -> None:
        cell = self.program.cell
        num_outcomes = cell.num_visible_outcomes(timestep)
        if num_outcomes > 1 and cell.steered == "all":
            for outcome in range(num_outcomes):
                with self.circuit.if_test(self.condition(timestep, outcome)):
                    self.add_rotations(cell.ansatz.rotations, timestep, outcome, f"_c{outcome}")
            return
        for single, rotations in cell.ansatz.segments:
            self.add_rotations(rotations, timestep, 0, "")
            if not single:
                continue
            # Outcome 0 is the unconditional part; the others add what differs from it.
            for outcome in range(1, num_outcomes):
                with self.circuit.if_test(self.condition(timestep, outcome)):
                    for rotation in rotations:
                        self.add_difference(rotation, timestep, outcome)

    def add_rotations(
        self, rotations: Iterable[Rotation], timestep: int, outcome: int, suffix: str
    ) -> None:
        first_on_qubit = {
            rotation.qubits[0]: rotation.angle
            for rotation in reversed(self.program.cell.ansatz.rotations)
            if rotation.gate == "ry"
        }
        for rotation in rotations:
            control = self.control(timestep, outcome, rotation.angle)
            name = f"t{timestep}_{rotation.gate}{rotation.angle}{suffix}"
            qubits = [self.memory[qubit] for qubit in rotation.qubits]
            target = rotation.qubits[-1]
            if rotation.gate == "ry":
                flips = (
                    timestep == self.program.num_timesteps
                    and first_on_qubit[target] == rotation.angle
                )
                slot = self.add_slot(
                    name, "cell", timestep, target, terms=((control, 1.0),), flips=flips
                )
                self.circuit.ry(slot, qubits[0])
            elif rotation.gate == "rzz":
                slot = self.add_slot(name, "cell", timestep, target, terms=((control, 1.0),))
                self.circuit.rzz(slot, *qubits)
            else:
                half = self.add_slot(
                    name + "_rz", "cell", timestep, target, terms=((control, 0.5),)
                )
                controlled = self.add_slot(
                    name + "_rzz", "cell", timestep, target, terms=((control, -0.5),)
                )
                self.circuit.h(qubits[1])
                self.circuit.rz(half, qubits[1])
                self.circuit.rzz(controlled, *qubits)
                self.circuit.h(qubits[1])

    def add_difference(self, rotation: Rotation, timestep: int, outcome: int) -> None:
        terms = (
            (self.control(timestep, outcome, rotation.angle), 1.0),
            (self.control(timestep, 0, rotation.angle), -1.0),
        )
        name = f"t{timestep}_{rotation.gate}{rotation.angle}_c{outcome}"
        (qubit,) = rotation.qubits
        slot = self.add_slot(name, "cell", timestep, qubit, terms=terms)
        self.circuit.ry(slot, self.memory[qubit])

    def add_readouts(self, timestep: int) -> None:
        cell = self.program.cell
        if not cell.readouts:
            return
        bank = (timestep - 1) % cell.num_banks
        qubits = [
            self.readout[bank * cell.num_readouts + index] for index in range(cell.num_readouts)
        ]
        for index, (readout, qubit) in enumerate(zip(cell.readouts, qubits, strict=True)):
            anchor = self.memory[readout.anchor]
            name = f"t{timestep}_readout{index}"
            phi_control = self.program.num_table_angles + index
            alpha = self.add_slot(f"{name}_alpha", "alpha", timestep, index, constant=pi / 2)
            phi = self.add_slot(f"{name}_phi", "phi", timestep, index, terms=((phi_control, 1.0),))
            beta = self.add_slot(f"{name}_beta", "beta", timestep, index, constant=pi / 2)
            self.circuit.ry(alpha, qubit)
            self.turn_anchor(readout.pauli, anchor, 1)
            self.circuit.rzz(phi, anchor, qubit)
            self.turn_anchor(readout.pauli, anchor, -1)
            self.circuit.rx(beta, qubit)
        for qubit, bit in zip(qubits, self.outcomes[timestep - 1], strict=True):
            self.circuit.measure(qubit, bit)
        for qubit in qubits:
            self.circuit.reset(qubit)

    def turn_anchor(self, pauli: str, anchor: Qubit, sign: int) -> None:
        if pauli == "X":
            self.circuit.ry(-sign * pi / 2, anchor)
        elif pauli == "Y":
            self.circuit.rx(sign * pi / 2, anchor)

    def add_final_measurement(self) -> None:
        num_timesteps = self.program.num_timesteps
        if self.program.final_bases != ("Z",):
            for index, qubit in enumerate(self.memory):
                turn = self.add_slot(f"final_rz_{index}", "basis_rz", num_timesteps, index)
                tilt = self.add_slot(f"final_ry_{index}", "basis_ry", num_timesteps, index)
                self.circuit.rz(turn, qubit)
                self.circuit.ry(tilt, qubit)
        self.circuit.measure(self.memory, self.final)
