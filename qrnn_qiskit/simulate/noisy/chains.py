"""One-qubit channels that wait to be applied: what happened to a qubit since it met another.

Everything constant is multiplied at once. What stays is a product of rotations about Z between
constant matrices, one such product for each value of the bits that it depends on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from qrnn_qiskit.simulate.noisy.channels import Matrix, rotation_terms
from qrnn_qiskit.simulate.noisy.circuit import Scope

# The variable that stands for the final basis; bits of the record are 0 and above.
BASIS_VARIABLE = -1

# A product of k rotations is linear in 3^k numbers: more are split.
MAX_ANGLES = 3

_RZ_TERMS = rotation_terms(lambda angle: np.diag([1, np.exp(1j * angle)]))
# Products of matrices that should be 0 or 1.
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class Chain:
    """Rotations about Z between constant matrices: `M[k] Rz(a[k-1]) M[k-1] ... Rz(a[0]) M[0]`.

    Attributes:
        angles: indices of the angles, the first one first.
        matrices: one more than angles, each `(4, 4)`.
    """

    angles: tuple[int, ...]
    matrices: tuple[Matrix, ...]

    @cached_property
    def key(self) -> tuple[tuple[int, ...], bytes]:
        """Equal for equal chains."""
        return self.angles, b"".join(matrix.tobytes() for matrix in self.matrices)

    @cached_property
    def terms(self) -> Matrix:
        """Matrices `(3**num_angles, 4, 4)` of each product of 1, cos or sin of the angles.

        The first angle is the slowest index.
        """
        terms = self.matrices[0][None]
        for matrix in self.matrices[1:]:
            terms = _multiply_terms(matrix @ _RZ_TERMS, terms)
        return terms

    def then(self, matrix: Matrix) -> "Chain":
        """The chain followed by a constant channel."""
        return Chain(self.angles, (*self.matrices[:-1], matrix @ self.matrices[-1]))

    def then_rz(self, angle: int, add_up: Callable[[int, int], int]) -> "Chain":
        """The chain followed by a rotation about Z.

        Args:
            angle: its index.
            add_up: gives the index of the sum of two angles.
        """
        if self.angles and _commutes_with_rz(self.matrices[-1]):
            return Chain((*self.angles[:-1], add_up(self.angles[-1], angle)), self.matrices)
        return Chain((*self.angles, angle), (*self.matrices, np.eye(4)))

    def pieces(self) -> list["Chain"]:
        """Chains of a few angles each whose product, the first one rightmost, is this one."""
        found = []
        for start in range(0, max(len(self.angles), 1), MAX_ANGLES):
            angles = self.angles[start : start + MAX_ANGLES]
            first = self.matrices[0] if start == 0 else np.eye(4)
            rest = self.matrices[start + 1 : start + 1 + len(angles)]
            found.append(Chain(angles, (first, *rest)))
        return found


IDENTITY = Chain((), (np.eye(4),))


@dataclass(frozen=True, eq=False)
class Core:
    """A channel on two qubits, linear in products of 1, cos or sin of a few angles.

    Attributes:
        angles: indices of the angles, the first one first.
        terms: `(3**num_angles, 16, 16)`, the first angle the slowest index.
    """

    angles: tuple[int, ...]
    terms: Matrix

    def then(self, first: Chain, second: Chain, core: "Core") -> "Core":
        """This channel, then one on each qubit, then another on both."""
        both = first.terms[:, None, :, None, :, None] * second.terms[None, :, None, :, None, :]
        terms = _multiply_terms(both.reshape(-1, 16, 16), self.terms)
        return Core(
            self.angles + first.angles + second.angles + core.angles,
            _multiply_terms(core.terms, terms),
        )

    def exchanged(self) -> "Core":
        """The same channel with its qubits in the other order."""
        shape = len(self.terms), 4, 4, 4, 4
        swapped = self.terms.reshape(shape).transpose(0, 2, 1, 4, 3)
        return Core(self.angles, np.ascontiguousarray(swapped).reshape(-1, 16, 16))


@dataclass(frozen=True, eq=False)
class Pending:
    """A chain for each value of the variables that it depends on.

    Attributes:
        variables: sorted.
        chains: by values of the variables, all of them.
    """

    variables: tuple[int, ...]
    chains: Mapping[tuple[int, ...], Chain]

    def at(self, assignment: Mapping[int, int]) -> Chain:
        """The chain where variables have these values."""
        return self.chains[tuple(assignment[variable] for variable in self.variables)]

    def changed(
        self,
        scope: Scope | None,
        change: Callable[[Chain, Mapping[int, int]], Chain],
        variables: tuple[int, ...] = (),
        num_bases: int = 1,
    ) -> "Pending":
        """The same with another chain wherever the scope holds.

        Args:
            scope: everywhere if None.
            change: the new chain, from the old one and the values of variables.
            variables: that the change depends on besides those of the scope.
            num_bases: values of `BASIS_VARIABLE`.
        """
        scoped = () if scope is None else scope.variables
        union = tuple(sorted({*self.variables, *scoped, *variables}))
        chains = {}
        for values in product(*(range(num_values(v, num_bases)) for v in union)):
            assignment = dict(zip(union, values, strict=True))
            chain = self.at(assignment)
            is_in = scope is None or scope.holds(assignment)
            chains[values] = change(chain, assignment) if is_in else chain
        return Pending(union, chains)

    def reduced(self) -> "Pending":
        """The same without variables that make no difference."""
        pending = self
        for variable in self.variables:
            place = pending.variables.index(variable)
            groups: dict[tuple[int, ...], set[object]] = {}
            chains = {}
            for values, chain in pending.chains.items():
                rest = values[:place] + values[place + 1 :]
                groups.setdefault(rest, set()).add(chain.key)
                chains[rest] = chain
            if all(len(keys) == 1 for keys in groups.values()):
                rest_variables = pending.variables[:place] + pending.variables[place + 1 :]
                pending = Pending(rest_variables, chains)
        return pending

    def common_chain(self, scope: Scope | None) -> Chain | None:
        """The one chain everywhere in a scope; None if there are several."""
        found = [
            chain
            for values, chain in self.chains.items()
            if scope is None or _may_hold(scope, dict(zip(self.variables, values, strict=True)))
        ]
        return found[0] if len({chain.key for chain in found}) == 1 else None


def num_values(variable: int, num_bases: int) -> int:
    """How many values a variable has: two for a bit."""
    return num_bases if variable == BASIS_VARIABLE else 2


def _may_hold(scope: Scope, assignment: Mapping[int, int]) -> bool:
    """Whether a scope holds for some values of the variables that are not given."""
    return any(
        all(
            assignment.get(v, value) == value
            for v, value in zip(scope.variables, values, strict=True)
        )
        for values in scope.values
    )


def _multiply_terms(later: Matrix, earlier: Matrix) -> Matrix:
    size = earlier.shape[-1]
    return (later[None] @ earlier[:, None]).reshape(-1, size, size)


def _commutes_with_rz(matrix: Matrix) -> bool:
    x, y = 1, 2
    coupled = [matrix[[x, y]][:, [0, 3]], matrix[[0, 3]][:, [x, y]]]
    differ = matrix[x, x] - matrix[y, y], matrix[x, y] + matrix[y, x]
    return max(abs(np.concatenate([part.ravel() for part in coupled])).max(), *map(abs, differ)) < (
        _ROUNDING
    )
