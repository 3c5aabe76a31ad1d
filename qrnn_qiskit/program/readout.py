"""Weak or projective readout of one memory qubit through a readout qubit."""

from dataclasses import dataclass
from math import cos, pi, sin, sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.errors import require

Pauli = Literal["X", "Y", "Z"]

PAULI_MATRICES: dict[str, NDArray[np.complex128]] = {
    "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]], dtype=complex),
    "Z": np.array([[1, 0], [0, -1]], dtype=complex),
}


@dataclass(frozen=True)
class Readout:
    """Reads Pauli `pauli` of memory qubit `anchor` with strength `strength_rad` (phi).

    The circuit is `ry(pi/2, a); B; rzz(phi, anchor, a); B^dagger; rx(pi/2, a); measure; reset`,
    B turning the Pauli into Z. Its Kraus operators are
    `M_c = (cos(phi/2) 1 + (-1)^c sin(phi/2) P) / sqrt(2)`, so that the outcome c has the POVM
    `(1 + (-1)^c sin(phi) P) / 2` and the memory suffers
    `rho -> (1 + cos phi)/2 rho + (1 - cos phi)/2 P rho P`. phi = pi/2 is projective, phi -> 0
    leaves the memory alone and tells nothing.

    Raises:
        InputError: if the Pauli is unknown, the anchor negative or phi outside (0, pi/2].

    Example:
        >>> weak = Readout("Z", anchor=0, strength_rad=0.4)
        >>> povm = sum(kraus.conj().T @ kraus for kraus in weak.kraus)
        >>> bool(np.allclose(povm, np.eye(2)))
        True
    """

    pauli: Pauli
    anchor: int
    strength_rad: float = pi / 2

    def __post_init__(self) -> None:
        require(self.pauli in get_args(Pauli), "pauli", "must be X, Y or Z", self.pauli,
                "read one Pauli per readout qubit")  # fmt: skip
        require(self.anchor >= 0, "anchor", "must be a memory qubit", self.anchor,
                "count memory qubits from 0")  # fmt: skip
        require(0 < self.strength_rad <= pi / 2, "strength_rad", "must lie in (0, pi/2]",
                self.strength_rad, "use pi/2 for a projective readout")  # fmt: skip

    @property
    def kraus(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """The Kraus operators of outcomes 0 and 1 on the anchor qubit, each `(2, 2)`."""
        keep = cos(self.strength_rad / 2) / sqrt(2) * np.eye(2)
        kick = sin(self.strength_rad / 2) / sqrt(2) * PAULI_MATRICES[self.pauli]
        return keep + kick, keep - kick
