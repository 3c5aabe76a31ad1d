"""Plain parameters for a compiled circuit, and the linear map from slots to their values."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import IfElseOp, Parameter, ParameterExpression
from scipy.sparse import csr_array

from qrnn_qiskit.compiling.folding import FOLD_PLAIN, fold_circuit


@dataclass(frozen=True, eq=False)
class AngleMap:
    """Where the values of a circuit's parameters come from.

    Attributes:
        names: the parameters, in order.
        rows, columns, coefficients: entries of the matrix from slots to linear angles.
        constants: `(num_parameters,)`.
        folds: how a value follows from its linear angle, `(num_parameters,)`.
    """

    names: tuple[str, ...]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    coefficients: NDArray[np.float64]
    constants: NDArray[np.float64]
    folds: NDArray[np.uint8]

    def matrix(self, num_slots: int) -> csr_array:
        """The sparse matrix `(num_parameters, num_slots)`."""
        shape = (len(self.names), num_slots)
        return csr_array((self.coefficients, (self.rows, self.columns)), shape=shape)


def extract_angles(
    circuit: QuantumCircuit, slot_index: Mapping[str, int], *, fold: bool
) -> tuple[QuantumCircuit, AngleMap]:
    """Replaces each distinct expression of a circuit by a plain parameter.

    Args:
        circuit: with expressions linear in slots.
        slot_index: column of each slot, by parameter name.
        fold: whether angles of `rzz` are folded into [0, pi/2].
    """
    plain, names, entries, constants = _plain_parameters(circuit, slot_index)
    folds = [FOLD_PLAIN] * len(names)
    if fold:
        plain, made = fold_circuit(plain)
        row_of = {name: row for row, name in enumerate(names)}
        linear_entries: dict[int, list[tuple[int, float]]] = {}
        for row, column, coefficient in entries:
            linear_entries.setdefault(row, []).append((column, coefficient))
        for name, (source, kind) in made.items():
            row = row_of[source]
            entries += [(len(names), *entry) for entry in linear_entries.get(row, [])]
            constants.append(constants[row])
            names.append(name)
            folds.append(kind)
        present = {parameter.name for parameter in plain.parameters}
        names, entries, constants, folds = _keep(present, names, entries, constants, folds)
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    return plain, AngleMap(
        tuple(names),
        np.array(rows, dtype=np.intp),
        np.array(columns, dtype=np.intp),
        np.array(values, dtype=np.float64),
        np.array(constants, dtype=np.float64),
        np.array(folds, dtype=np.uint8),
    )


_Entries = list[tuple[int, int, float]]


def _keep(
    present: set[str], names: list[str], entries: _Entries, constants: list[float], folds: list[int]
) -> tuple[list[str], _Entries, list[float], list[int]]:
    """Without the linear angles that only folded parameters needed."""
    kept = [row for row, name in enumerate(names) if name in present]
    new_row = {row: index for index, row in enumerate(kept)}
    return (
        [names[row] for row in kept],
        [(new_row[row], column, value) for row, column, value in entries if row in new_row],
        [constants[row] for row in kept],
        [folds[row] for row in kept],
    )


def _plain_parameters(
    circuit: QuantumCircuit, slot_index: Mapping[str, int]
) -> tuple[QuantumCircuit, list[str], _Entries, list[float]]:
    names: list[str] = []
    entries: _Entries = []
    constants: list[float] = []
    known: dict[ParameterExpression, Parameter] = {}

    def replace(expression: ParameterExpression) -> Parameter:
        if expression not in known:
            row = len(names)
            parameter = Parameter(f"p{row}")
            names.append(parameter.name)
            known[expression] = parameter
            zeros = dict.fromkeys(expression.parameters, 0.0)
            constants.append(float(expression.bind(zeros)))
            for slot in expression.parameters:
                slope = expression.gradient(slot)
                if isinstance(slope, ParameterExpression):
                    # gradient() of a linear expression is a number in qiskit 2.x; anything
                    # else would make the map from slots to values wrong without a sign of it.
                    raise AssertionError(f"compiled angle is not linear in slots: {expression}")
                entries.append((row, slot_index[slot.name], float(slope)))
        return known[expression]

    def rewrite(old: QuantumCircuit) -> QuantumCircuit:
        new = old.copy_empty_like()
        if isinstance(old.global_phase, ParameterExpression):
            # A phase is not observable, but a parameter left in it could not be bound.
            new.global_phase = 0
        for item in old.data:
            operation = item.operation
            if isinstance(operation, IfElseOp):
                bodies = [rewrite(body) for body in operation.blocks]
                operation = IfElseOp(operation.condition, *bodies, label=operation.label)
            elif any(isinstance(value, ParameterExpression) for value in operation.params):
                operation = operation.copy()
                operation.params = [
                    replace(value) if isinstance(value, ParameterExpression) else value
                    for value in operation.params
                ]
            new.append(operation, item.qubits, item.clbits, copy=False)
        return new

    return rewrite(circuit), names, entries, constants
