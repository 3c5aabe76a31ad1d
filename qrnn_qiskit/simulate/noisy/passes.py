"""Which passes over the joint state a compiled circuit takes.

One-qubit gates, waiting and the branches around them are collected (`noisy_chains`). Only where
two qubits meet is there a pass over the state: everything that happened to both before, all gates
between them until one meets a third qubit, and, where one is measured next, its measurement. A
readout qubit that was reset before and is measured after it met one memory qubit never becomes
part of the state: the pass is an instrument on the memory qubit.
"""

from dataclasses import dataclass, field
from itertools import product

from qrnn_qiskit.devices import DeviceNoise, QubitNoise
from qrnn_qiskit.simulate.noisy.chains import (
    BASIS_VARIABLE,
    IDENTITY,
    MAX_ANGLES,
    Chain,
    Core,
    Pending,
    num_values,
)
from qrnn_qiskit.simulate.noisy.channels import (
    Matrix,
    prepared_state,
    recorded_bit,
    recorded_bit_and_state,
)
from qrnn_qiskit.simulate.noisy.circuit import Scope, SimpleInstruction
from qrnn_qiskit.simulate.noisy.gates import NoisyGates

_NOTHING = Pending((), {(): IDENTITY})
_GROUND_STATE = prepared_state(QubitNoise(0.0, 0.0))


@dataclass(frozen=True, eq=False)
class Exit:
    """How a qubit is measured at the end of a pass.

    Attributes:
        pending: what happens to it before.
        matrix: from its coefficients to those of the recorded bit and, where the qubit is used
            further, its state: `(2, 4)` or `(2, 4, 4)`.
        bit: what it is recorded in.
    """

    pending: Pending
    matrix: Matrix
    bit: int

    @property
    def stays(self) -> bool:
        """Whether the qubit is used further."""
        return self.matrix.ndim == 3


@dataclass(eq=False)
class Pass:
    """One channel on one or two qubits of the state.

    Attributes:
        qubits: one or two.
        enters: whether each was no part of the state before.
        before: what happened to each since its last pass.
        core: what happens to both; None with one qubit.
        scope: where it happens; everywhere if None.
        exits: how each is measured at the end, if it is.
        is_trace: whether the (only) qubit is dropped unread.
    """

    qubits: tuple[int, ...]
    enters: tuple[bool, ...]
    before: tuple[Pending, ...]
    core: Core | None = None
    scope: Scope | None = None
    exits: dict[int, Exit] = field(default_factory=dict)
    is_trace: bool = False

    @property
    def variables(self) -> tuple[int, ...]:
        """Bits, and the basis, that its channel depends on."""
        pendings = [*self.before, *(leave.pending for leave in self.exits.values())]
        scoped = () if self.scope is None else self.scope.variables
        return tuple(sorted({*scoped, *(v for pending in pendings for v in pending.variables)}))

    @property
    def new_bits(self) -> tuple[int, ...]:
        """Bits that it measures."""
        return tuple(leave.bit for leave in self.exits.values())


class PassBuilder:
    """Walks the instructions of a circuit and collects passes.

    Args:
        instructions: of `flatten_circuit`.
        gates: channels of its gates.
        noise: of its qubits.
        num_bases: of the final measurement.
    """

    def __init__(
        self,
        instructions: list[SimpleInstruction],
        gates: NoisyGates,
        noise: DeviceNoise,
        num_bases: int,
    ) -> None:
        self.passes: list[Pass] = []
        self._instructions = instructions
        self._gates = gates
        self._noise = noise
        self._num_bases = num_bases
        self._pending = {
            index: Pending((), {(): Chain((), (_GROUND_STATE,))})
            for index in range(len(noise.qubits))
        }
        self._joined: set[int] = set()
        # The last pass that a qubit of the state was in, and the pass that made each bit.
        self._last: dict[int, int] = {}
        self._made_in: dict[int, int] = {}
        self._last_read = {
            bit: index for index, item in enumerate(instructions) for bit in item.read_bits
        }

    def run(self) -> list[Pass]:
        """All passes."""
        for index, item in enumerate(self._instructions):
            if item.name == "measure":
                self._measure(item)
            elif item.name == "reset":
                self._reset(item.qubits[0])
            elif len(item.qubits) == 1:
                self._add_to_chain(item)
            else:
                self._couple(index, item)
        return self.passes

    def _add_to_chain(self, item: SimpleInstruction) -> None:
        qubit = item.qubits[0]
        turns = (BASIS_VARIABLE,) if self._gates.depends_on_basis(item) else ()
        self._pending[qubit] = self._pending[qubit].changed(
            item.scope,
            lambda chain, given: self._gates.extend(item, chain, given.get(BASIS_VARIABLE, 0)),
            turns,
            self._num_bases,
        )

    def _reset(self, qubit: int) -> None:
        if qubit in self._joined:
            self._add(Pass((qubit,), (False,), (_NOTHING,), is_trace=True))
            self._leave(qubit)
        state = prepared_state(self._noise.qubits[qubit])
        self._pending[qubit] = Pending((), {(): Chain((), (state,))})

    def _couple(self, index: int, item: SimpleInstruction) -> None:
        core = self._gates.core(item)
        if self._extend_last(item, core):
            return
        if item.scope is not None:
            for qubit in item.qubits:
                if qubit not in self._joined:
                    self._add(Pass((qubit,), (True,), (self._take(qubit, None),)))
                    self._join(qubit)
        enters = tuple(qubit not in self._joined for qubit in item.qubits)
        if any(enters):
            self._forget_read_bits(index, item.qubits)
        before = tuple(self._take(qubit, item.scope) for qubit in item.qubits)
        self._add(Pass(item.qubits, enters, before, core, item.scope))
        for qubit in item.qubits:
            self._join(qubit)

    def _extend_last(self, item: SimpleInstruction, core: Core) -> bool:
        """Adds a gate to the last pass of its qubits, if that was on both and nothing hinders."""
        first, second = item.qubits
        position = self._last.get(first, -1)
        if position < 0 or self._last.get(second, -1) != position:
            return False
        last = self.passes[position]
        if last.core is None or last.scope != item.scope:
            return False
        one, other = (self._pending[qubit].common_chain(item.scope) for qubit in last.qubits)
        if one is None or other is None:
            return False
        if sum(len(part.angles) for part in (last.core, one, other, core)) > MAX_ANGLES:
            return False
        same_order = core if last.qubits == item.qubits else core.exchanged()
        last.core = last.core.then(one, other, same_order)
        for qubit in item.qubits:
            self._take(qubit, item.scope)
        return True

    def _forget_read_bits(self, index: int, kept: tuple[int, ...]) -> None:
        """Applies what depends on bits that nothing reads any more: they can be summed over."""
        for qubit in sorted(self._joined.difference(kept)):
            pending = self._pending[qubit].reduced()
            bits = [v for v in pending.variables if v != BASIS_VARIABLE]
            if any(self._last_read.get(bit, -1) < index for bit in bits):
                self._add(Pass((qubit,), (False,), (self._take(qubit, None),)))
                self._join(qubit)

    def _measure(self, item: SimpleInstruction) -> None:
        assert item.bit is not None
        qubit, noise = item.qubits[0], self._noise.qubits[item.qubits[0]]
        matrix = recorded_bit(noise) if item.is_last else recorded_bit_and_state(noise)
        joined = qubit in self._joined
        if joined and item.is_last and self._can_end(qubit):
            position = self._last[qubit]
        else:
            self._add(Pass((qubit,), (not joined,), (self._take(qubit, None),)))
            position = len(self.passes) - 1
        self.passes[position].exits[qubit] = Exit(self._take(qubit, None), matrix, item.bit)
        self._made_in[item.bit] = position
        self._join(qubit, position)
        if item.is_last:
            self._leave(qubit)

    def _can_end(self, qubit: int) -> bool:
        """Whether a measurement can be the end of its qubit's last pass.

        Everything after that pass is on other qubits, so the order does not matter, if the bits
        that the qubit's chain depends on were there.
        """
        position = self._last[qubit]
        bits = [v for v in self._pending[qubit].reduced().variables if v != BASIS_VARIABLE]
        last = self.passes[position]
        is_known = all(self._made_in[bit] < position for bit in bits)
        return is_known and last.scope is None and qubit not in last.exits

    def _take(self, qubit: int, scope: Scope | None) -> Pending:
        """A qubit's chains, which are nothing from now on wherever the scope holds."""
        taken = self._pending[qubit].reduced()
        self._pending[qubit] = taken.changed(scope, lambda chain, given: IDENTITY).reduced()
        return taken

    def _add(self, new: Pass) -> None:
        self.passes.append(new)

    def _join(self, qubit: int, position: int | None = None) -> None:
        self._joined.add(qubit)
        self._last[qubit] = len(self.passes) - 1 if position is None else position

    def _leave(self, qubit: int) -> None:
        self._joined.discard(qubit)
        self._last.pop(qubit, None)


def assignments(variables: tuple[int, ...], num_bases: int) -> list[dict[int, int]]:
    """All values of some variables, the first one slowest."""
    ranges = [range(num_values(variable, num_bases)) for variable in variables]
    return [dict(zip(variables, values, strict=True)) for values in product(*ranges)]
