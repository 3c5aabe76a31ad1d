"""Builds the Qiskit dynamic circuit of a sequence, slot by slot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import pi
from typing import TYPE_CHECKING, Literal

from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter, Qubit
from qiskit.circuit.classical import expr

from qrnn_qiskit.program.ansatz import Rotation
from qrnn_qiskit.program.slots import Slot, SlotRole, SlotTable

if TYPE_CHECKING:
    from qrnn_qiskit.program.sequence import SequenceProgram


ReadoutGate = Literal["rzz", "cz"]


@dataclass(frozen=True)
class TimestepPlan:
    """How memory qubits move during a timestep; at its end each is where it began.

    Sites are circuit qubits, as many as memory qubits and counted like them.

    Attributes:
        start: site of each memory qubit between timesteps.
        swaps_before: for each coupling of the ansatz, pairs of sites that are swapped before it.
        merged: for each coupling, whether the pair changes places with it: three CX gates for
            both.
        swaps_before_readouts: pairs of sites swapped between couplings and readouts.
        swaps_after_readouts: pairs of sites swapped at the end.
    """

    start: tuple[int, ...]
    swaps_before: tuple[tuple[tuple[int, int], ...], ...]
    merged: tuple[bool, ...]
    swaps_before_readouts: tuple[tuple[int, int], ...] = ()
    swaps_after_readouts: tuple[tuple[int, int], ...] = ()

    @property
    def num_swaps(self) -> int:
        """Swaps of a timestep, those that are merged with a coupling included."""
        bare = (*self.swaps_before, self.swaps_before_readouts, self.swaps_after_readouts)
        return sum(map(len, bare)) + sum(self.merged)


def exchange(sites: list[int], pair: Sequence[int]) -> None:
    """Updates the site of each memory qubit for a swap of two sites."""
    first, second = sites.index(pair[0]), sites.index(pair[1])
    sites[first], sites[second] = sites[second], sites[first]


@dataclass(frozen=True)
class CircuitForm:
    """How a circuit for a device is written differently without doing anything else.

    Qubits are counted as in the circuit: memory, then readout qubits bank by bank, then spares.

    Attributes:
        readout_gate: `rzz`, or `cz` for the form with a single CZ:
            `ry(phi); B; cz; B^dagger; sx; s; ry(alpha - pi/2); rx(beta)`. It equals the RZZ form
            wherever alpha = pi/2 (data) or phi = 0 (calibration), and nowhere else. An error of
            the reset before it kicks the memory, where with `rzz` it only flips the bit.
        num_banks: banks of readout qubits used in rotation, at least the cell's; more than these
            let a bank be measured and reset while others are used. 0 for the cell's own.
        num_spares: idle qubits that stay in |0> and carry couplings between distant qubits.
        routes: paths `(qubit, spare, ..., qubit)`; the RZZ of these two qubits acts on copies of
            their Z values that CX gates bring along the path and take back.
        plans: for each bank, how memory qubits move in its timesteps; none if they stay. With
            plans the first circuit qubits are sites, and routes are between sites.
    """

    readout_gate: ReadoutGate = "rzz"
    num_banks: int = 0
    num_spares: int = 0
    routes: tuple[tuple[int, ...], ...] = ()
    plans: tuple[TimestepPlan, ...] = ()

    @cached_property
    def route_of(self) -> dict[frozenset[int], tuple[int, ...]]:
        """Route between two qubits."""
        return {frozenset((route[0], route[-1])): route for route in self.routes}


def build_circuit(program: "SequenceProgram") -> tuple[QuantumCircuit, SlotTable]:
    """The logical circuit of a program and its slots.

    One classical register `m<t>` per timestep, `final` for the memory; measurements and resets
    are real and mid-circuit; conditions have one level and read registers that do not change
    any more. `crx(v)` appears as `h; rz(v/2); rzz(-v/2); h` on the target, since each slot must
    drive one Pauli rotation (and since Aer binds parametrised controlled gates to 0).
    """
    builder = _Builder(program, range(1, program.num_timesteps + 1))
    builder.add_everything()
    return builder.circuit, SlotTable(tuple(builder.slots), program.num_controls)


def build_window(
    program: "SequenceProgram", timesteps: range, form: CircuitForm = CircuitForm()
) -> QuantumCircuit:
    """The part of a program's circuit that belongs to consecutive timesteps.

    Windows one after the other are the whole circuit: same slots, same qubits, and the
    registers `m<t>` that a window writes or reads. The one that holds the last timestep ends
    with the final measurement.

    Args:
        program: the sequence.
        timesteps: counted from 1.
        form: how it is written.
    """
    builder = _Builder(program, timesteps, form)
    builder.add_everything()
    return builder.circuit


@dataclass
class _Builder:
    program: "SequenceProgram"
    timesteps: range
    form: CircuitForm = CircuitForm()
    circuit: QuantumCircuit = field(init=False)
    slots: list[Slot] = field(default_factory=list)

    def __post_init__(self) -> None:
        cell = self.program.cell
        self.memory = QuantumRegister(cell.ansatz.num_memory, "memory")
        registers: list[QuantumRegister | ClassicalRegister] = [self.memory]
        if cell.readouts:
            num_banks = self.form.num_banks or cell.num_banks
            self.readout = QuantumRegister(cell.num_readouts * num_banks, "readout")
            seen = {s for t in self.timesteps for s in cell.visible_timesteps(t)}
            self.outcomes = {
                timestep: ClassicalRegister(cell.num_readouts, f"m{timestep}")
                for timestep in sorted(seen | set(self.timesteps))
            }
            registers += [self.readout, *self.outcomes.values()]
        if self.form.num_spares:
            registers.append(QuantumRegister(self.form.num_spares, "spare"))
        if self.program.num_timesteps in self.timesteps:
            self.final = ClassicalRegister(cell.ansatz.num_memory, "final")
            registers.append(self.final)
        self.circuit = QuantumCircuit(*registers)
        self.plan: TimestepPlan | None = None
        # Site of each memory qubit, and the number of couplings since the timestep began.
        self.sites, self.num_coupled = list(range(cell.ansatz.num_memory)), 0

    def add_everything(self) -> None:
        for timestep in self.timesteps:
            self.begin(timestep)
            self.add_cell(timestep)
            self.add_readouts(timestep)
        if self.program.num_timesteps in self.timesteps:
            self.add_final_measurement()

    def bank(self, timestep: int) -> int:
        return (timestep - 1) % (self.form.num_banks or self.program.cell.num_banks)

    def begin(self, timestep: int) -> None:
        """Puts every memory qubit where its timestep, or a branch of it, finds it."""
        if self.form.plans:
            self.plan = self.form.plans[self.bank(timestep)]
            self.sites, self.num_coupled = list(self.plan.start), 0

    def place(self, qubit: int) -> Qubit:
        """Where a memory qubit is now."""
        return self.memory[self.sites[qubit]]

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
            (self.outcomes[seen], (outcome >> (age * num_readouts)) & (2**num_readouts - 1))
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
                self.begin(timestep)
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
            target = rotation.qubits[-1]
            if rotation.gate == "ry":
                flips = (
                    timestep == self.program.num_timesteps
                    and first_on_qubit[target] == rotation.angle
                )
                slot = self.add_slot(
                    name, "cell", timestep, target, terms=((control, 1.0),), flips=flips
                )
                self.circuit.ry(slot, self.place(target))
            elif rotation.gate == "rzz":
                slot = self.add_slot(name, "cell", timestep, target, terms=((control, 1.0),))
                self.couple_memory(slot, rotation.qubits)
            else:
                half = self.add_slot(
                    name + "_rz", "cell", timestep, target, terms=((control, 0.5),)
                )
                controlled = self.add_slot(
                    name + "_rzz", "cell", timestep, target, terms=((control, -0.5),)
                )
                self.circuit.h(self.place(target))
                self.circuit.rz(half, self.place(target))
                self.couple_memory(controlled, rotation.qubits)
                self.circuit.h(self.place(target))

    def add_difference(self, rotation: Rotation, timestep: int, outcome: int) -> None:
        terms = (
            (self.control(timestep, outcome, rotation.angle), 1.0),
            (self.control(timestep, 0, rotation.angle), -1.0),
        )
        name = f"t{timestep}_{rotation.gate}{rotation.angle}_c{outcome}"
        (qubit,) = rotation.qubits
        slot = self.add_slot(name, "cell", timestep, qubit, terms=terms)
        self.circuit.ry(slot, self.place(qubit))

    def add_readouts(self, timestep: int) -> None:
        cell = self.program.cell
        if not cell.readouts:
            return
        if self.plan is not None:
            self.swap(self.plan.swaps_before_readouts)
        first = self.bank(timestep) * cell.num_readouts
        qubits = [self.readout[first + index] for index in range(cell.num_readouts)]
        for index, (readout, qubit) in enumerate(zip(cell.readouts, qubits, strict=True)):
            anchor = self.place(readout.anchor)
            name = f"t{timestep}_readout{index}"
            phi_control = self.program.num_table_angles + index
            alpha = self.add_slot(f"{name}_alpha", "alpha", timestep, index, constant=pi / 2)
            phi = self.add_slot(f"{name}_phi", "phi", timestep, index, terms=((phi_control, 1.0),))
            beta = self.add_slot(f"{name}_beta", "beta", timestep, index, constant=pi / 2)
            with_cz = self.form.readout_gate == "cz"
            self.circuit.ry(phi if with_cz else alpha, qubit)
            self.turn_anchor(readout.pauli, anchor, 1)
            self.couple(None if with_cz else phi, anchor, qubit)
            self.turn_anchor(readout.pauli, anchor, -1)
            if with_cz:
                # Turns the xz plane of ry(+-phi)|0> into the equator of rz(+-phi)|+>.
                self.circuit.sx(qubit)
                self.circuit.s(qubit)
                self.circuit.ry(alpha - pi / 2, qubit)
            self.circuit.rx(beta, qubit)
        # Nothing needs to be in its place for the final measurement.
        if self.plan is not None and timestep != self.program.num_timesteps:
            self.swap(self.plan.swaps_after_readouts)
        for qubit, bit in zip(qubits, self.outcomes[timestep], strict=True):
            self.circuit.measure(qubit, bit)
        for qubit in qubits:
            self.circuit.reset(qubit)

    def couple_memory(self, angle: Parameter, pair: Sequence[int]) -> None:
        """RZZ of two memory qubits with the swaps that are planned before and at it."""
        if self.plan is None:
            self.couple(angle, *map(self.place, pair))
            return
        self.swap(self.plan.swaps_before[self.num_coupled])
        first, second = map(self.place, pair)
        if self.plan.merged[self.num_coupled]:
            # RZZ = CX RZ CX and SWAP = CX XC CX: two of the five CX cancel.
            self.circuit.cx(first, second)
            self.circuit.rz(angle, second)
            self.circuit.cx(second, first)
            self.circuit.cx(first, second)
            exchange(self.sites, [self.sites[qubit] for qubit in pair])
        else:
            self.couple(angle, first, second)
        self.num_coupled += 1

    def swap(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Swaps of sites, one after the other.

        As CX gates: from a SwapGate, optimisers make a relabelling of what follows.
        """
        for first, second in pairs:
            self.circuit.cx(first, second)
            self.circuit.cx(second, first)
            self.circuit.cx(first, second)
            exchange(self.sites, (first, second))

    def couple(self, angle: Parameter | None, first: Qubit, second: Qubit) -> None:
        """RZZ of an angle, or a CZ without one, along the route of these qubits if there is one."""
        qubits = self.circuit.qubits
        ends = self.circuit.find_bit(first).index, self.circuit.find_bit(second).index
        route = self.form.route_of.get(frozenset(ends), ends)
        # From both ends towards the middle: half the depth.
        middle = len(route) // 2
        forward = [(route[i], route[i + 1]) for i in range(middle - 1)]
        backward = [(route[i], route[i - 1]) for i in range(len(route) - 1, middle, -1)]
        for control, target in (*forward, *backward):
            self.circuit.cx(qubits[control], qubits[target])
        centre = qubits[route[middle - 1]], qubits[route[middle]]
        if angle is None:
            self.circuit.cz(*centre)
        else:
            self.circuit.rzz(angle, *centre)
        for control, target in reversed((*forward, *backward)):
            self.circuit.cx(qubits[control], qubits[target])

    def turn_anchor(self, pauli: str, anchor: Qubit, sign: int) -> None:
        if pauli == "X":
            self.circuit.ry(-sign * pi / 2, anchor)
        elif pauli == "Y":
            self.circuit.rx(sign * pi / 2, anchor)

    def add_final_measurement(self) -> None:
        num_timesteps = self.program.num_timesteps
        if self.program.final_bases != ("Z",):
            for index, qubit in enumerate(map(self.place, range(len(self.memory)))):
                turn = self.add_slot(f"final_rz_{index}", "basis_rz", num_timesteps, index)
                tilt = self.add_slot(f"final_ry_{index}", "basis_ry", num_timesteps, index)
                self.circuit.rz(turn, qubit)
                self.circuit.ry(tilt, qubit)
        self.circuit.measure([self.place(qubit) for qubit in range(len(self.memory))], self.final)
