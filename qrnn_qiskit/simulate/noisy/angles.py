"""Controls to the angles of a compiled circuit's rotations, differentiable.

Bound values are linear in slots, slots in controls: one sparse map does both. Values that no
control drives are numbers, which the plan multiplies into its constant matrices; only the others
are angles here. Rotations about one axis without anything between them are one rotation.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from torch import Tensor

from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.compiling.folding import (
    FOLD_ANGLE,
    FOLD_FLIP,
    FOLD_FLIP_BACK,
    FOLD_FRAME,
    FOLD_PLAIN,
    fold_angles,
)
from qrnn_qiskit.program.slots import BASIS_ANGLES_RAD

# Rounding of a constant that does not depend on the final basis.
_SAME_ANGLE_RAD = 1e-12


@dataclass(frozen=True, eq=False)
class AngleMap:
    """`angles = sums @ fold(matrix @ controls + constants)`.

    Attributes:
        matrix: `(num_values, num_controls)`.
        constants: `(num_values,)`.
        folds: the kind of each value, see `compiling.folding`.
        sums: `(num_angles, num_values)`.
    """

    matrix: csr_array
    constants: NDArray[np.float64]
    folds: NDArray[np.uint8]
    sums: csr_array

    @property
    def num_angles(self) -> int:
        """Number of angles."""
        return int(self.sums.shape[0])


@dataclass(eq=False)
class AngleTable:
    """Collects the angles of a compiled circuit while a plan is made.

    Args:
        compiled: the circuit.

    Attributes:
        numbers: bound values that no control drives, `(num_bases, num_parameters)`.
    """

    compiled: CompiledProgram
    numbers: NDArray[np.float64] = field(init=False)
    # An angle is a sum of values; a value is a parameter in a final basis.
    _sums: list[tuple[int, ...]] = field(default_factory=list)
    _angles: dict[tuple[int, ...], int] = field(default_factory=dict)
    _values: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        compiled = self.compiled
        slots = compiled.program.slots
        self._index = {name: i for i, name in enumerate(compiled.parameter_names)}
        bases = compiled.program.final_bases
        slot_constants = np.tile(slots.constants, (len(bases), 1))
        for row, basis in zip(slot_constants, bases, strict=True):
            for index, slot in enumerate(slots.slots):
                if slot.role in BASIS_ANGLES_RAD[basis]:
                    row[index] = BASIS_ANGLES_RAD[basis][slot.role]
        self._matrix = csr_array(compiled.matrix @ slots.matrix)
        self._matrix.eliminate_zeros()
        self._constants = slot_constants @ compiled.matrix.toarray().T + compiled.constants
        self._is_driven = np.diff(self._matrix.indptr) > 0
        self.numbers = fold_angles(self._constants, compiled.folds)
        self._turns = np.ptp(self._constants, axis=0) > _SAME_ANGLE_RAD

    def depends_on_basis(self, name: str) -> bool:
        """Whether a parameter has another value in another final basis."""
        return bool(self._turns[self._index[name]])

    def find(self, name: str, basis: int) -> tuple[float, int | None]:
        """A parameter's number, or 0 and its angle if a control drives it."""
        parameter = self._index[name]
        if not self._is_driven[parameter]:
            return float(self.numbers[basis, parameter]), None
        key = parameter, basis if self._turns[parameter] else 0
        value = self._values.setdefault(key, len(self._values))
        return 0.0, self._add((value,))

    def add_up(self, first: int, second: int) -> int:
        """The sum of two angles as an angle."""
        return self._add(tuple(sorted(self._sums[first] + self._sums[second])))

    def _add(self, values: tuple[int, ...]) -> int:
        if values not in self._angles:
            self._angles[values] = len(self._sums)
            self._sums.append(values)
        return self._angles[values]

    def build(self) -> AngleMap:
        """The map for all angles that were asked for."""
        keys = np.array(list(self._values), dtype=np.intp).reshape(-1, 2)
        parameters, bases = keys.T
        rows = [index for index, values in enumerate(self._sums) for _ in values]
        columns = [value for values in self._sums for value in values]
        shape = len(self._sums), len(self._values)
        return AngleMap(
            matrix=csr_array(self._matrix[parameters]),
            constants=self._constants[bases, parameters],
            folds=self.compiled.folds[parameters],
            sums=csr_array(coo_array((np.ones(len(rows)), (rows, columns)), shape=shape)),
        )


class TorchAngles:
    """An `AngleMap` for tensors of one kind."""

    def __init__(self, angle_map: AngleMap, like: Tensor) -> None:
        self._matrix = _sparse_tensor(angle_map.matrix, like)
        self._sums = _sparse_tensor(angle_map.sums, like)
        self._constants = torch.from_numpy(angle_map.constants).to(like)[:, None]
        is_folded = bool((angle_map.folds != FOLD_PLAIN).any())
        folds = torch.from_numpy(angle_map.folds).to(like.device)
        self._folds = folds[:, None] if is_folded else None

    def __call__(self, controls: Tensor) -> Tensor:
        """Angles `(num_angles, batch)` of controls `(batch, num_controls)`."""
        values = torch.sparse.mm(self._matrix, controls.T) + self._constants
        if self._folds is not None:
            values = fold_tensor(values, self._folds)
        return torch.sparse.mm(self._sums, values)


def fold_tensor(linear: Tensor, folds: Tensor) -> Tensor:
    """`compiling.folding.fold_angles` of tensors.

    The folded angle has the slope of its piece, also at its ends; what turns by 0 or pi has none.

    Args:
        linear: radians.
        folds: kinds, which broadcast with it.

    Example:
        >>> fold_tensor(torch.tensor([-2.0]), torch.tensor([FOLD_ANGLE])).round(decimals=3)
        tensor([1.1420])
    """
    with torch.no_grad():
        sine, cosine = linear.sin(), linear.cos()
        is_falling = sine * cosine < 0
        folded = torch.atan2(sine.abs(), cosine.abs())
        slope = 1 - 2 * is_falling.to(linear)
        flip = torch.pi * is_falling.to(linear)
        frame = torch.pi * (cosine < 0).to(linear)
    values = torch.where(folds == FOLD_ANGLE, folded + slope * (linear - linear.detach()), linear)
    for kind, value in ((FOLD_FRAME, frame), (FOLD_FLIP, flip), (FOLD_FLIP_BACK, -flip)):
        values = torch.where(folds == kind, value, values)
    return values


def _sparse_tensor(matrix: csr_array, like: Tensor) -> Tensor:
    coordinates = coo_array(matrix)
    indices = np.stack((coordinates.row, coordinates.col)).astype(np.int64)
    return torch.sparse_coo_tensor(
        torch.from_numpy(indices),
        torch.from_numpy(np.asarray(coordinates.data)),
        size=coordinates.shape,
        dtype=like.dtype,
        device=like.device,
        is_coalesced=True,
        check_invariants=False,
    )
