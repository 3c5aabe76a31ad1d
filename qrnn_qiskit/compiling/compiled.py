"""A circuit that executors run, and the map from slots to the values it binds."""

from dataclasses import dataclass, field
from math import pi

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from scipy.sparse import csr_array

from qrnn_qiskit.compiling.folding import FOLD_PLAIN, fold_angles
from qrnn_qiskit.errors import require
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm

# Rounding of alpha = pi/2 in a row of slots.
_ANGLE_TOLERANCE_RAD = 1e-9


@dataclass(frozen=True, eq=False)
class CompiledProgram:
    """A program's circuit for one target, with one plain `Parameter` per bound value.

    Binding expressions costs 3-5 times as much as plain parameters, so each distinct expression
    of the compiled circuit became a parameter. They are all linear in the slots,
    `angles = constants + matrix @ slots`, except where an `rzz` angle is folded into the range
    that hardware accepts (`folds`, see `folding`).

    Attributes:
        program: what was compiled.
        circuit: over used qubits only.
        parameter_names: order of the bound values.
        matrix: `(num_parameters, num_slots)`, sparse.
        constants: `(num_parameters,)`.
        folds: how a bound value follows from its linear angle, uint8 `(num_parameters,)`.
        physical_qubits: device qubit of each circuit qubit; empty for a logical circuit.
        bit_to_qubit: circuit qubit that each bit of the record is measured on.
        target_name: what it was compiled for.
        form: how the circuit is written.
        profile_name: the profile that it was compiled with.
    """

    program: SequenceProgram
    circuit: QuantumCircuit
    parameter_names: tuple[str, ...]
    matrix: csr_array
    constants: NDArray[np.float64]
    folds: NDArray[np.uint8]
    physical_qubits: tuple[int, ...]
    bit_to_qubit: tuple[int, ...]
    target_name: str
    form: CircuitForm = field(default_factory=CircuitForm)
    profile_name: str = "logical"

    @property
    def num_swaps(self) -> int:
        """Swaps that were put into the circuit; each costs three two-qubit gates or less."""
        plans, last = self.form.plans, self.program.num_timesteps
        if not plans:
            return int((self.circuit.metadata or {}).get("num_swaps", 0))
        num_swaps = sum(plans[(t - 1) % len(plans)].num_swaps for t in range(1, last + 1))
        # Nothing goes back before the final measurement.
        return num_swaps - len(plans[(last - 1) % len(plans)].swaps_after_readouts)

    def bind_values(self, slot_values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Parameter values `(num_rows, num_parameters)` from `(num_rows, num_slots)`.

        Raises:
            InputError: in the CZ form of the readout, if a row has alpha other than pi/2 and
                phi other than 0.
        """
        if self.form.readout_gate == "cz":
            self._check_cz_readouts(slot_values)
        linear = np.asarray((self.matrix @ slot_values.T).T) + self.constants
        return fold_angles(linear, self.folds) if (self.folds != FOLD_PLAIN).any() else linear

    def bits_of(self, role: str) -> dict[int, int]:
        """Circuit qubit of each record bit of a role: `steering`, `reported` or `final`."""
        return {
            bit.position: self.bit_to_qubit[bit.position]
            for bit in self.program.record
            if bit.role == role
        }

    def _check_cz_readouts(self, slot_values: NDArray[np.float64]) -> None:
        slots = self.program.slots.slots
        alphas = [i for i, slot in enumerate(slots) if slot.role == "alpha"]
        phis = [i for i, slot in enumerate(slots) if slot.role == "phi"]
        is_data = np.abs(slot_values[:, alphas] - pi / 2) < _ANGLE_TOLERANCE_RAD
        is_quiet = np.abs(slot_values[:, phis]) < _ANGLE_TOLERANCE_RAD
        wrong = np.argwhere(~(is_data | is_quiet))
        if len(wrong):
            row, readout = wrong[0]
            require(False, "slot_values", "must have alpha = pi/2 or phi = 0 in every readout of "
                    "a circuit with readout_gate = 'cz'", slots[alphas[readout]].name,
                    f"correct row {row}, or use a profile with readout_gate = 'rzz'")  # fmt: skip


def find_measured_qubits(circuit: QuantumCircuit) -> tuple[int, ...]:
    """The circuit qubit that each classical bit is measured on."""
    measured = {
        circuit.find_bit(item.clbits[0]).index: circuit.find_bit(item.qubits[0]).index
        for item in circuit.data
        if item.operation.name.startswith("measure")
    }
    return tuple(measured[position] for position in range(circuit.num_clbits))
