"""Where each axis of the joint state is: what a pass multiplies, and when a bit is summed over.

The state's axes are the batch, the variables that something later depends on, and the qubits. A
pass is one batched matrix product: variables that its channel depends on in front, what it acts on
last. A variable whose last use it is belongs to what it acts on, and is thereby summed over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from qrnn_qiskit.simulate.noisy.chains import BASIS_VARIABLE, num_values
from qrnn_qiskit.simulate.noisy.passes import Pass, assignments

_BATCH = ("batch", 0)
# The kind and the variable or qubit.
Axis = tuple[str, int]


@dataclass(frozen=True)
class Marginal:
    """Reads a distribution of bits off the state's axes.

    Attributes:
        place: what it is the distribution of, for the caller.
        zeros: axes of which entry 0 is taken, in descending order.
        sums: of the axes left, those to sum over.
        order: of the axes left then: batch, perhaps the basis, bits from the highest.
    """

    place: int
    zeros: tuple[int, ...]
    sums: tuple[int, ...]
    order: tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """A pass over the state as one batched matrix product.

    Attributes:
        num_expanded: entries of a new first axis that the state is repeated along; 0 for none.
        permutation: brings kept variables first, then the batch and the rest, summed variables
            and qubits last.
        num_kept: entries of the kept variables together.
        num_summed: of the summed ones.
        num_inputs: of the qubits that it acts on.
        num_outputs: of what it leaves.
        shape: after it, -1 for the batch.
        chosen: assignments of the kept variables where it acts; all if None.
        marginals: read off after it.
        sums: axes to sum over after that.
        num_numbers: of the state before it, per sample.
    """

    num_expanded: int
    permutation: tuple[int, ...]
    num_kept: int
    num_summed: int
    num_inputs: int
    num_outputs: int
    shape: tuple[int, ...]
    chosen: tuple[int, ...] | None
    marginals: tuple[Marginal, ...]
    sums: tuple[int, ...]
    num_numbers: int


@dataclass(frozen=True)
class Layout:
    """All steps.

    Attributes:
        steps: one for each pass.
        assignments: for each pass, the values of its variables in the order of its matrices.
        final: the distribution of the final bits after the last step.
    """

    steps: tuple[Step, ...]
    assignments: tuple[list[dict[int, int]], ...]
    final: Marginal


def lay_out(
    passes: Sequence[Pass],
    bits_of_timestep: Mapping[int, Sequence[int]],
    final_bits: Sequence[int],
    num_bases: int,
) -> Layout:
    """The layout of passes.

    Args:
        passes: in order.
        bits_of_timestep: the bits whose joint distribution is read, by timestep, lowest first.
        final_bits: the same at the end.
        num_bases: of the final measurement.
    """
    return _LayoutBuilder(passes, bits_of_timestep, final_bits, num_bases).run()


class _LayoutBuilder:
    def __init__(
        self,
        passes: Sequence[Pass],
        bits_of_timestep: Mapping[int, Sequence[int]],
        final_bits: Sequence[int],
        num_bases: int,
    ) -> None:
        self.passes = passes
        self.groups = bits_of_timestep
        self.final_bits = final_bits
        self.num_bases = num_bases
        self.axes: list[Axis] = [_BATCH]
        made_in = {bit: index for index, each in enumerate(passes) for bit in each.new_bits}
        self.read_after: dict[int, list[int]] = {}
        # A bit is summed over in the pass that depends on it last, or after one.
        self.summed_in: dict[int, int] = {}
        self.summed_after: dict[int, int] = {}
        used_in = {v: index for index, each in enumerate(passes) for v in each.variables}
        for timestep, bits in bits_of_timestep.items():
            is_read = max(made_in[bit] for bit in bits)
            self.read_after.setdefault(is_read, []).append(timestep)
            for bit in bits:
                is_used = used_in.get(bit, -1)
                if is_used > is_read and passes[is_used].scope is None:
                    self.summed_in[bit] = is_used
                else:
                    self.summed_after[bit] = max(is_used, is_read)

    def run(self) -> Layout:
        steps, found = [], []
        for index, each in enumerate(self.passes):
            summed = tuple(v for v in each.variables if self.summed_in.get(v) == index)
            kept = tuple(v for v in each.variables if v not in summed)
            every = assignments(kept + summed, self.num_bases)
            inside = [
                i for i, given in enumerate(every) if each.scope is None or each.scope.holds(given)
            ]
            steps.append(self._step(index, each, kept, summed, tuple(inside), len(every)))
            found.append([every[i] for i in inside])
        return Layout(tuple(steps), tuple(found), self._marginal(0, self.final_bits, is_final=True))

    def _step(
        self,
        index: int,
        each: Pass,
        kept: tuple[int, ...],
        summed: tuple[int, ...],
        inside: tuple[int, ...],
        num_every: int,
    ) -> Step:
        num_numbers = self._size(self.axes)
        num_expanded = 0
        if BASIS_VARIABLE in kept and ("variable", BASIS_VARIABLE) not in self.axes:
            self.axes.insert(0, ("variable", BASIS_VARIABLE))
            num_expanded = self.num_bases
        front = [("variable", v) for v in kept]
        entering = dict(zip(each.qubits, each.enters, strict=True))
        inputs = [("qubit", qubit) for qubit in each.qubits if not entering[qubit]]
        last = [("variable", v) for v in summed] + inputs
        rest = [axis for axis in self.axes if axis not in (_BATCH, *front, *last)]
        before = [*front, _BATCH, *rest, *last]
        permutation = tuple(self.axes.index(axis) for axis in before)
        outputs = self._outputs(each)
        self.axes = [*front, _BATCH, *rest, *outputs]
        shape = self._shape()
        marginals = tuple(self._marginal(t, self.groups[t]) for t in self.read_after.get(index, ()))
        sums = tuple(
            place
            for place, (kind, v) in enumerate(self.axes)
            if kind == "variable" and self.summed_after.get(v) == index
        )
        self.axes = [axis for place, axis in enumerate(self.axes) if place not in sums]
        return Step(
            num_expanded=num_expanded,
            permutation=permutation,
            num_kept=self._size(front),
            num_summed=self._size(last[: len(summed)]),
            num_inputs=self._size(inputs),
            num_outputs=self._size(outputs),
            shape=shape,
            chosen=inside if len(inside) < num_every else None,
            marginals=marginals,
            sums=sums,
            num_numbers=max(num_numbers, self._size(self.axes)),
        )

    def _outputs(self, each: Pass) -> list[Axis]:
        outputs: list[Axis] = []
        for qubit in each.qubits:
            leave = each.exits.get(qubit)
            if leave is not None:
                outputs.append(("variable", leave.bit))
            if not each.is_trace and (leave is None or leave.stays):
                outputs.append(("qubit", qubit))
        return outputs

    def _marginal(self, place: int, bits: Sequence[int], *, is_final: bool = False) -> Marginal:
        # Other bases are measured later: any of them gives the marginals of timesteps.
        zero = [
            index
            for index, axis in enumerate(self.axes)
            if axis[0] == "qubit" or (axis == ("variable", BASIS_VARIABLE) and not is_final)
        ]
        left = [axis for index, axis in enumerate(self.axes) if index not in zero]
        wanted = [_BATCH, ("variable", BASIS_VARIABLE), *(("variable", b) for b in reversed(bits))]
        wanted = [axis for axis in wanted if axis in left]
        sums = tuple(index for index, axis in enumerate(left) if axis not in wanted)
        left = [axis for axis in left if axis in wanted]
        order = tuple(left.index(axis) for axis in wanted)
        return Marginal(place, tuple(reversed(zero)), sums, order)

    def _size(self, axes: Sequence[Axis]) -> int:
        return prod(self._num_entries(axis) for axis in axes if axis != _BATCH)

    def _shape(self) -> tuple[int, ...]:
        return tuple(-1 if axis == _BATCH else self._num_entries(axis) for axis in self.axes)

    def _num_entries(self, axis: Axis) -> int:
        kind, name = axis
        return 4 if kind == "qubit" else num_values(name, self.num_bases)
