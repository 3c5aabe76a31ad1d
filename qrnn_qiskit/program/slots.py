"""Slots: one plain parameter per rotation, and the linear map from controls to slot values."""

from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from qrnn_qiskit.errors import require

SlotRole = Literal["cell", "alpha", "phi", "beta", "basis_rz", "basis_ry"]

# Rotations that turn a Pauli into Z before the final measurement, rz first.
BASIS_ANGLES_RAD = {
    "Z": {"basis_rz": 0.0, "basis_ry": 0.0},
    "X": {"basis_rz": 0.0, "basis_ry": -pi / 2},
    "Y": {"basis_rz": -pi / 2, "basis_ry": -pi / 2},
}


@dataclass(frozen=True)
class Slot:
    """One rotation of the circuit: its parameter name, place, and value as a linear form.

    `terms` are `(control index, coefficient)` pairs. `qubit` is the memory qubit of a `cell` or
    basis slot and the readout's index of a readout slot. `flips` tells that setting the slot
    to pi, with every other `cell` slot at 0, flips memory qubit `qubit` before the final
    measurement: what readout calibration needs.
    """

    name: str
    role: SlotRole
    timestep: int
    qubit: int
    constant: float = 0.0
    terms: tuple[tuple[int, float], ...] = ()
    flips: bool = False


@dataclass(frozen=True)
class SlotTable:
    """All slots of a circuit and the map `values = constants + matrix @ controls`.

    Controls are the controller's table, flattened in C order from
    `(num_timesteps, num_outcomes, num_angles)`, followed by one phi per readout.
    """

    slots: tuple[Slot, ...]
    num_controls: int

    @property
    def num_slots(self) -> int:
        """Number of slots."""
        return len(self.slots)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in slot order."""
        return tuple(slot.name for slot in self.slots)

    @cached_property
    def constants(self) -> NDArray[np.float64]:
        """The constant part of each slot, shape `(num_slots,)`."""
        return np.array([slot.constant for slot in self.slots])

    @cached_property
    def matrix(self) -> csr_array:
        """The linear part, sparse, shape `(num_slots, num_controls)`."""
        entries = [
            (row, column, coefficient)
            for row, slot in enumerate(self.slots)
            for column, coefficient in slot.terms
        ]
        rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
        return csr_array((values, (rows, columns)), shape=(self.num_slots, self.num_controls))

    def values(self, controls: ArrayLike) -> NDArray[np.float64]:
        """Slot values of each row of controls, `(num_rows, num_slots)`.

        Raises:
            InputError: if the controls are not `(num_rows, num_controls)`.
        """
        array = np.asarray(controls, dtype=np.float64)
        require(array.ndim == 2 and array.shape[1] == self.num_controls, "controls",
                f"must have shape (num_rows, {self.num_controls})", array.shape,
                "flatten the table and append one phi per readout")  # fmt: skip
        return np.asarray((self.matrix @ array.T).T) + self.constants

    def pull_back(self, slot_gradient: ArrayLike) -> NDArray[np.float64]:
        """Gradient with respect to controls, `(num_rows, num_controls)`, from that of slots."""
        return np.asarray(np.asarray(slot_gradient, dtype=np.float64) @ self.matrix)

    def with_basis(self, values: NDArray[np.float64], basis: str) -> NDArray[np.float64]:
        """A copy of slot values whose final measurement reads `basis` on every memory qubit.

        Raises:
            InputError: if the circuit cannot measure in this basis.
        """
        turns = any(slot.role in BASIS_ANGLES_RAD["Z"] for slot in self.slots)
        bases = tuple(BASIS_ANGLES_RAD) if turns else ("Z",)
        require(basis in bases, "basis", f"must be one of {', '.join(bases)} for this circuit",
                basis, "name more Paulis in final_bases of the program")  # fmt: skip
        turned = values.copy()
        for index, slot in enumerate(self.slots):
            if slot.role in BASIS_ANGLES_RAD[basis]:
                turned[:, index] = BASIS_ANGLES_RAD[basis][slot.role]
        return turned

    def calibration_values(
        self, readout_bits: NDArray[np.integer], memory_bits: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Rows that prepare known bits: `alpha = phi = 0`, `beta = pi b`, memory flipped last.

        Args:
            readout_bits: `(num_rows, num_timesteps, num_readouts)`, what each mid-circuit
                measurement should read.
            memory_bits: `(num_rows, num_memory)`, what the final measurement should read.
        """
        rows = np.zeros((len(memory_bits), self.num_slots))
        for index, slot in enumerate(self.slots):
            if slot.role == "beta":
                rows[:, index] = pi * readout_bits[:, slot.timestep - 1, slot.qubit]
            elif slot.flips:
                rows[:, index] = pi * memory_bits[:, slot.qubit]
        return rows

    @cached_property
    def driven(self) -> NDArray[np.intp]:
        """Indices of the slots that depend on a control."""
        return np.array([i for i, slot in enumerate(self.slots) if slot.terms], dtype=np.intp)
