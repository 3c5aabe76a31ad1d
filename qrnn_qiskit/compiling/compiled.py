"""A circuit that executors run, and the map from slots to the values it binds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from scipy.sparse import csr_array

from qrnn_qiskit.program import SequenceProgram


@dataclass(frozen=True, eq=False)
class CompiledProgram:
    """A program's circuit for one target, with one plain `Parameter` per bound value.

    Binding expressions costs 3-5 times as much as plain parameters, so each distinct expression
    of the compiled circuit became a parameter; they are all linear in the slots:
    `values = constants + matrix @ slots`.

    Attributes:
        program: what was compiled.
        circuit: over used qubits only.
        parameter_names: order of the bound values.
        matrix: `(num_parameters, num_slots)`, sparse.
        constants: `(num_parameters,)`.
        physical_qubits: device qubit of each circuit qubit; empty for a logical circuit.
        bit_to_qubit: circuit qubit that each bit of the record is measured on.
        target_name: what it was compiled for.
    """

    program: SequenceProgram
    circuit: QuantumCircuit
    parameter_names: tuple[str, ...]
    matrix: csr_array
    constants: NDArray[np.float64]
    physical_qubits: tuple[int, ...]
    bit_to_qubit: tuple[int, ...]
    target_name: str

    def bind_values(self, slot_values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Parameter values `(num_rows, num_parameters)` from `(num_rows, num_slots)`."""
        return np.asarray((self.matrix @ slot_values.T).T) + self.constants
