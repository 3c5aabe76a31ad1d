"""Angles of a fractional RZZ, folded into the range that hardware accepts.

IBM's `rzz` takes angles in [0, pi/2] only, and Qiskit folds numbers but no parameters. Any angle
v is a folded one between Pauli gates, which themselves are rotations by 0 or pi:

    rzz(v) = rz(frame) (x) rz(frame) . rx(flip) rzz(folded) rx(-flip)      up to a phase

with `folded = atan2(|sin v|, |cos v|)`, `frame = pi` where cos v < 0 (rzz(pi) is Z (x) Z) and
`flip = pi` where sin v cos v < 0 (X on one qubit changes the sign). So the circuit holds plain
parameters for the four kinds of values, and rows are folded as arrays when they are bound.
"""

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import IfElseOp, Parameter
from qiskit.circuit.library import RXGate, RZGate, RZZGate

FOLD_PLAIN, FOLD_ANGLE, FOLD_FRAME, FOLD_FLIP, FOLD_FLIP_BACK = range(5)


def fold_angles(linear: NDArray[np.float64], folds: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Values to bind from linear angles.

    Args:
        linear: radians, `(num_rows, num_parameters)`.
        folds: the kind of each parameter, `(num_parameters,)`.

    Example:
        >>> kinds = np.array([FOLD_PLAIN, FOLD_ANGLE, FOLD_FRAME, FOLD_FLIP], dtype=np.uint8)
        >>> fold_angles(np.full((1, 4), -2.0), kinds).round(3).tolist()
        [[-2.0, 1.142, 3.142, 0.0]]
    """
    sine, cosine = np.sin(linear), np.cos(linear)
    flip = np.pi * (sine * cosine < 0)
    kinds = np.broadcast_to(folds, linear.shape)
    return np.select(
        [kinds == FOLD_ANGLE, kinds == FOLD_FRAME, kinds == FOLD_FLIP, kinds == FOLD_FLIP_BACK],
        [np.arctan2(np.abs(sine), np.abs(cosine)), np.pi * (cosine < 0), flip, -flip],
        default=linear,
    )


def fold_circuit(circuit: QuantumCircuit) -> tuple[QuantumCircuit, dict[str, tuple[str, int]]]:
    """Writes every parametrised `rzz` with folded angles.

    Args:
        circuit: with plain parameters.

    Returns:
        The new circuit, and for each new parameter the parameter whose linear angle it follows
        from and its kind.
    """
    made: dict[str, tuple[str, int]] = {}
    folded: dict[str, tuple[Parameter, ...]] = {}

    def parameters_of(angle: Parameter) -> tuple[Parameter, ...]:
        if angle.name not in folded:
            names = {
                FOLD_ANGLE: f"{angle.name}_folded",
                FOLD_FRAME: f"{angle.name}_frame",
                FOLD_FLIP: f"{angle.name}_flip",
                FOLD_FLIP_BACK: f"{angle.name}_back",
            }
            made.update({name: (angle.name, kind) for kind, name in names.items()})
            folded[angle.name] = tuple(Parameter(name) for name in names.values())
        return folded[angle.name]

    def rewrite(old: QuantumCircuit) -> QuantumCircuit:
        new = old.copy_empty_like()
        for item in old.data:
            operation = item.operation
            if isinstance(operation, IfElseOp):
                bodies = [rewrite(body) for body in operation.blocks]
                operation = IfElseOp(operation.condition, *bodies, label=operation.label)
            elif operation.name == "rzz" and isinstance(operation.params[0], Parameter):
                angle, frame, flip, back = parameters_of(operation.params[0])
                first, second = item.qubits
                # The frames stand in front, where they commute with everything diagonal.
                new.append(RZGate(frame), [first])
                new.append(RZGate(frame), [second])
                new.append(RXGate(back), [second])
                new.append(RZZGate(angle), [first, second])
                new.append(RXGate(flip), [second])
                continue
            new.append(operation, item.qubits, item.clbits, copy=False)
        return new

    return rewrite(circuit), made
