"""Step tiling: a timestep is compiled once and repeated, so that cost hardly grows with T.

Timesteps differ in three ways only: the bank that they read into, how far back the bits are
that steer them (the first ones see none), and whether the final measurement follows. Each kind
of window is compiled once; its copies get their own parameters and registers.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import CircuitInstruction, Clbit, IfElseOp, Parameter, Qubit
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
    return stitcher.circuit(), stitcher.angles()


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
    instructions: list[CircuitInstruction] = field(default_factory=list)
    patterns: dict[WindowTemplate, "_Pattern"] = field(default_factory=dict)
    pieces: list[tuple[AngleMap, int, int]] = field(default_factory=list)
    num_parameters: int = 0
    num_swaps: int = 0

    def __post_init__(self) -> None:
        cell, total = self.program.cell, self.program.num_timesteps
        self.registers = [
            ClassicalRegister(cell.num_readouts, f"m{timestep}")
            for timestep in range(1, total + 1 if cell.readouts else 1)
        ]
        self.final = ClassicalRegister(cell.ansatz.num_memory, "final")
        self.qubits = QuantumRegister(self.num_qubits, "q")
        self.first_slots = _first_slots(self.program)

    def add(self, template: WindowTemplate, timesteps: range) -> None:
        first = self.num_parameters
        fresh = {
            name: Parameter(f"p{first + row}") for row, name in enumerate(template.angles.names)
        }
        self.num_parameters += len(fresh)
        self.pieces.append((template.angles, first, self.first_slots[timesteps.start]))
        self.num_swaps += (template.circuit.metadata or {}).get("num_swaps", 0)
        if template not in self.patterns:
            place = dict(zip(template.circuit.qubits, self.qubits, strict=True))
            self.patterns[template] = _Pattern(template.circuit, place)
        bits = _Bits(self.register_map(template, timesteps.start - template.timesteps.start))
        self.instructions += self.patterns[template].copy(fresh, bits)

    def circuit(self) -> QuantumCircuit:
        circuit = _from_instructions(
            self.instructions, [self.qubits], [*self.registers, self.final]
        )
        circuit.metadata = {"num_swaps": self.num_swaps}
        return circuit

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


def _from_instructions(
    instructions: list[CircuitInstruction],
    qregs: list[QuantumRegister],
    cregs: list[ClassicalRegister],
) -> QuantumCircuit:
    """A circuit from instructions that are known to fit: half the time of appending them."""
    circuit = QuantumCircuit.from_instructions(
        instructions,
        qubits=[qubit for register in qregs for qubit in register],
        clbits=[clbit for register in cregs for clbit in register],
    )
    circuit.add_register(*qregs, *cregs)
    return circuit


class _Pattern:
    """A circuit's instructions taken apart once, to be put together with other parameters.

    What holds neither a parameter nor a bit is the same instruction in every copy.
    """

    def __init__(self, source: QuantumCircuit, place: dict[Qubit, Qubit]) -> None:
        self.source = source
        self.parts = [self.take_apart(item, place) for item in source.data]

    def take_apart(self, item: CircuitInstruction, place: dict[Qubit, Qubit]) -> "_Part":
        operation, clbits = item.operation, item.clbits
        qubits = [place[qubit] for qubit in item.qubits]
        if isinstance(operation, IfElseOp):
            bodies = [_Pattern(body, {q: q for q in body.qubits}) for body in operation.blocks]

            def branch(parameters: _Parameters, bits: _Bits) -> CircuitInstruction:
                blocks = [body.copy_body(parameters, bits) for body in bodies]
                copy = IfElseOp(bits.move(operation.condition), *blocks, label=operation.label)
                return CircuitInstruction(copy, qubits, bits.of(clbits))

            return branch
        if operation.params and isinstance(operation.params[0], Parameter):
            gate, name = operation.base_class, operation.params[0].name
            return lambda parameters, bits: CircuitInstruction(gate(parameters[name]), qubits)
        if clbits:
            return lambda parameters, bits: CircuitInstruction(operation, qubits, bits.of(clbits))
        same = CircuitInstruction(operation, qubits)
        return lambda parameters, bits: same

    def copy(self, parameters: "_Parameters", bits: "_Bits") -> list[CircuitInstruction]:
        return [part(parameters, bits) for part in self.parts]

    def copy_body(self, parameters: "_Parameters", bits: "_Bits") -> QuantumCircuit:
        # The bits of the condition alone: our bodies neither measure nor branch.
        new = QuantumCircuit.from_instructions(
            self.copy(parameters, bits),
            qubits=self.source.qubits,
            clbits=bits.of(self.source.clbits),
        )
        new.add_register(*(bits.registers[register] for register in self.source.cregs))
        return new


class _Bits:
    """Where the classical registers of a template are in a copy."""

    def __init__(self, registers: dict[ClassicalRegister, ClassicalRegister]) -> None:
        self.registers = registers
        self.clbits: dict[Clbit, Clbit] = {
            old: new
            for old_register, new_register in registers.items()
            for old, new in zip(old_register, new_register, strict=True)
        }

    def of(self, clbits: Iterable[Clbit]) -> list[Clbit]:
        return [self.clbits[clbit] for clbit in clbits]

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


_Parameters = dict[str, Parameter]
_Part = Callable[[_Parameters, _Bits], CircuitInstruction]
