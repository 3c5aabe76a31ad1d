"""Step tiling: a timestep is compiled once and repeated, so that cost hardly grows with T.

Timesteps differ in three ways only: the bank that they read into, how far back the bits are
that steer them (the first ones see none), and whether the final measurement follows. Each kind
of window is compiled once; its copies get their own parameters and registers.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Clbit, IfElseOp, Parameter, Qubit
from qiskit.circuit.classical import expr

from qrnn_qiskit.compiling.angles import AngleMap, extract_angles
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm, build_window

# Compiles the circuit of a window for a device: the same qubits, in the same order, before and
# after it.
CompileWindow = Callable[[QuantumCircuit], QuantumCircuit]


@dataclass(frozen=True, eq=False)
class WindowTemplate:
    """A compiled window, to be repeated: slots are counted from its own first one."""

    timesteps: range
    circuit: QuantumCircuit
    angles: AngleMap


def plan_windows(
    program: SequenceProgram, num_banks: int, length: int
) -> list[tuple[Hashable, range]]:
    """All windows of a program with their kinds; windows of one kind are shifted copies."""
    total = program.num_timesteps
    windows = [
        range(first, min(first + length, total + 1)) for first in range(1, total + 1, length)
    ]
    return [(_kind(program, num_banks, timesteps), timesteps) for timesteps in windows]


def compile_templates(
    program: SequenceProgram,
    form: CircuitForm,
    length: int,
    compile_window: CompileWindow,
    *,
    fold: bool,
) -> dict[Hashable, WindowTemplate]:
    """One compiled window of each kind.

    Args:
        program: the sequence.
        form: how its circuit is written.
        length: timesteps in a window.
        compile_window: see `CompileWindow`.
        fold: whether angles of `rzz` are folded.
    """
    slot_index = {name: index for index, name in enumerate(program.slots.names)}
    first_slots = _first_slots(program)
    templates: dict[Hashable, WindowTemplate] = {}
    for kind, timesteps in plan_windows(program, form.num_banks, length):
        if kind in templates:
            continue
        compiled = compile_window(build_window(program, timesteps, form))
        circuit, angles = extract_angles(compiled, slot_index, fold=fold)
        angles.columns[:] -= first_slots[timesteps.start]
        templates[kind] = WindowTemplate(timesteps, circuit, angles)
    return templates


def tile(
    program: SequenceProgram,
    num_qubits: int,
    num_banks: int,
    length: int,
    templates: dict[Hashable, WindowTemplate],
    max_windows: int | None = None,
) -> tuple[QuantumCircuit, AngleMap]:
    """The circuit of a whole sequence from its templates.

    Args:
        program: the sequence.
        num_qubits: of the compiled circuit.
        num_banks: banks of readout qubits.
        length: timesteps in a window.
        templates: one for each kind of window in `plan_windows`.
        max_windows: only the first windows, for a sample of the circuit.
    """
    stitcher = _Stitcher(program, num_qubits)
    for kind, timesteps in plan_windows(program, num_banks, length)[:max_windows]:
        stitcher.add(templates[kind], timesteps)
    return stitcher.circuit, stitcher.angles()


def _kind(program: SequenceProgram, num_banks: int, timesteps: range) -> Hashable:
    cell = program.cell
    steps = tuple(
        ((t - 1) % num_banks, tuple(t - seen for seen in cell.visible_timesteps(t)))
        for t in timesteps
    )
    return steps, program.num_timesteps in timesteps


def _first_slots(program: SequenceProgram) -> list[int]:
    """Index of the first slot of each timestep, counted from 1; slots are in order of time."""
    timesteps = np.array([slot.timestep for slot in program.slots.slots])
    return [0, *np.searchsorted(timesteps, np.arange(1, program.num_timesteps + 1)).tolist()]


@dataclass
class _Stitcher:
    program: SequenceProgram
    num_qubits: int
    circuit: QuantumCircuit = field(init=False)
    pieces: list[tuple[AngleMap, int, int]] = field(default_factory=list)
    num_parameters: int = 0

    def __post_init__(self) -> None:
        cell, total = self.program.cell, self.program.num_timesteps
        self.registers = [
            ClassicalRegister(cell.num_readouts, f"m{timestep}")
            for timestep in range(1, total + 1 if cell.readouts else 1)
        ]
        self.final = ClassicalRegister(cell.ansatz.num_memory, "final")
        self.qubits = QuantumRegister(self.num_qubits, "q")
        self.circuit = QuantumCircuit(
            self.qubits, *self.registers, self.final, metadata={"num_swaps": 0}
        )
        self.first_slots = _first_slots(self.program)

    def add(self, template: WindowTemplate, timesteps: range) -> None:
        first = self.num_parameters
        fresh = {
            name: Parameter(f"p{first + row}") for row, name in enumerate(template.angles.names)
        }
        self.num_parameters += len(fresh)
        self.pieces.append((template.angles, first, self.first_slots[timesteps.start]))
        copier = _Copier(
            fresh, self.register_map(template, timesteps.start - template.timesteps.start)
        )
        self.circuit.metadata["num_swaps"] += (template.circuit.metadata or {}).get("num_swaps", 0)
        place = dict(zip(template.circuit.qubits, self.qubits, strict=True))
        copier.copy_into(self.circuit, template.circuit, place)

    def register_map(
        self, template: WindowTemplate, shift: int
    ) -> dict[ClassicalRegister, ClassicalRegister]:
        return {
            register: self.final
            if register.name == "final"
            else self.registers[int(register.name[1:]) + shift - 1]
            for register in template.circuit.cregs
        }

    def angles(self) -> AngleMap:
        maps = [angles for angles, _, _ in self.pieces]
        return AngleMap(
            tuple(f"p{row}" for row in range(self.num_parameters)),
            np.concatenate([angles.rows + row for angles, row, _ in self.pieces]),
            np.concatenate([angles.columns + slot for angles, _, slot in self.pieces]),
            np.concatenate([angles.coefficients for angles in maps]),
            np.concatenate([angles.constants for angles in maps]),
            np.concatenate([angles.folds for angles in maps]),
        )


class _Copier:
    """Copies instructions with other parameters and classical registers."""

    def __init__(
        self,
        parameters: dict[str, Parameter],
        registers: dict[ClassicalRegister, ClassicalRegister],
    ) -> None:
        self.parameters = parameters
        self.registers = registers
        self.clbits: dict[Clbit, Clbit] = {
            old: new
            for old_register, new_register in registers.items()
            for old, new in zip(old_register, new_register, strict=True)
        }

    def copy_into(
        self, target: QuantumCircuit, source: QuantumCircuit, place: dict[Qubit, Qubit]
    ) -> None:
        for item in source.data:
            operation = item.operation
            qubits = [place[qubit] for qubit in item.qubits]
            if isinstance(operation, IfElseOp):
                bodies = [self.copy_body(body) for body in operation.blocks]
                condition = self.move(operation.condition)
                operation = IfElseOp(condition, *bodies, label=operation.label)
            elif operation.params and isinstance(operation.params[0], Parameter):
                operation = operation.base_class(self.parameters[operation.params[0].name])
            clbits = [self.clbits[clbit] for clbit in item.clbits]
            target.append(operation, qubits, clbits, copy=False)

    def copy_body(self, body: QuantumCircuit) -> QuantumCircuit:
        # The bits of the condition alone: our bodies neither measure nor branch.
        registers = [self.registers[register] for register in body.cregs]
        loose = [self.clbits[clbit] for clbit in body.clbits]
        new = QuantumCircuit(body.qubits, loose, *registers)
        self.copy_into(new, body, {qubit: qubit for qubit in body.qubits})
        return new

    def move(
        self, condition: tuple[ClassicalRegister, int] | expr.Expr
    ) -> tuple[ClassicalRegister, int] | expr.Expr:
        if isinstance(condition, tuple):
            return self.registers[condition[0]], condition[1]
        if isinstance(condition, expr.Binary):
            left, right = self.move(condition.left), self.move(condition.right)
            return expr.Binary(condition.op, left, right, condition.type)
        if isinstance(condition, expr.Var):
            return expr.Var(self.registers[condition.var], condition.type)
        return condition
