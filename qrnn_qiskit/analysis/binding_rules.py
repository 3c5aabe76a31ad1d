"""Rules on what is bound and returned: parameters, fractional angles, classical registers."""

import keyword
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import pi

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression

from qrnn_qiskit.analysis.contract_rules import Finding

# The runtime client's own check (0.51, utils/utils.py) allows this much above pi/2 and nothing
# below 0; the Executor-based Sampler no longer runs it, the device's calibration has not changed.
RZZ_TOLERANCE_RAD = 1e-10

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPENQASM_WORDS = {
    "OPENQASM", "angle", "array", "barrier", "bit", "bool", "box", "break", "cal", "complex",
    "const", "continue", "creg", "ctrl", "def", "defcal", "defcalgrammar", "delay", "duration",
    "durationof", "else", "end", "extern", "float", "for", "gate", "gphase", "if", "in",
    "include", "input", "int", "inv", "let", "measure", "mutable", "negctrl", "output", "pow",
    "qreg", "qubit", "reset", "return", "sizeof", "stretch", "switch", "uint", "while", "pi",
    "tau", "euler",
}  # fmt: skip
# Attributes of qiskit's DataBin, which holds the result under the registers' names.
_RESULT_WORDS = {"keys", "values", "items", "shape", "size", "ndim"}


def register_finding(circuit: QuantumCircuit) -> Finding:
    """Classical registers that come back: valid distinct names, every bit in exactly one.

    Example:
        >>> from qiskit import ClassicalRegister, QuantumRegister
        >>> register_finding(QuantumCircuit(ClassicalRegister(1, "reset"))).line
        'classical registers: must be valid, distinct names of measured bits, got reset \
(a reserved word); rename it, for example m1'
    """
    rule, limit = "classical registers", "valid, distinct names of measured bits"
    cure = "rename it, for example m1"
    counts = Counter(register.name for register in (*circuit.cregs, *circuit.qregs))
    for register in circuit.cregs:
        name, wrong = register.name, ""
        if not _IDENTIFIER.fullmatch(name):
            wrong = "no OpenQASM 3 identifier"
        elif name in _OPENQASM_WORDS or keyword.iskeyword(name):
            wrong = "a reserved word"
        elif name in _RESULT_WORDS or name.startswith("__"):
            wrong = "an attribute of the result"
        elif counts[name] > 1:
            wrong = "used twice"
        if wrong:
            return Finding(rule, False, name, limit, wrong, cure)
        if register.size == 0:
            return Finding(rule, False, name, limit, "no bits in it", "remove it")
    owners = Counter(bit for register in circuit.cregs for bit in register)
    for index, bit in enumerate(circuit.clbits):
        if owners[bit] != 1:
            detail = f"in {owners[bit]} registers, so it would not come back once"
            return Finding(rule, False, f"bit {index}", limit, detail,
                           "put every bit into one register")  # fmt: skip
    names = f"{len(circuit.cregs)} registers"
    return Finding(rule, True, names, limit, "")


def parameter_finding(
    circuit: QuantumCircuit,
    parameter_names: Sequence[str],
    parameter_values: NDArray[np.float64] | None,
) -> Finding:
    """Every parameter of the circuit has one finite value in every row, and nothing else has.

    Example:
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.rz(Parameter("a"), 0)
        >>> parameter_finding(circuit, ["a"], np.array([[0.1], [np.nan]])).detail
        'parameter a, row 1'
    """
    rule, limit = "bound parameters", "one finite value for each parameter and row"
    cure = "bind with CompiledProgram.bind_values"
    names = set(parameter_names)
    needed = {parameter.name for parameter in circuit.parameters}
    if len(names) != len(parameter_names):
        twice = next(name for name, count in Counter(parameter_names).items() if count > 1)
        return Finding(rule, False, f"{twice} twice", limit, "in parameter_names", cure)
    for found, what in ((needed - names, "unbound"), (names - needed, "not in the circuit")):
        if found:
            first = min(found)
            more = f", and {len(found) - 1} more" if len(found) > 1 else ""
            return Finding(rule, False, what, limit, f"parameter {first}{more}", cure)
    if parameter_values is None:
        if needed:
            return Finding(rule, False, "no values", limit, f"{len(needed)} parameters", cure)
        return Finding(rule, True, "no parameters", limit, "")
    wrong = ~np.isfinite(parameter_values)
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        value = str(parameter_values[row, column])
        detail = f"parameter {parameter_names[column]}, row {row}"
        return Finding(rule, False, value, limit, detail, "check the controller for overflow")
    return Finding(rule, True, f"{len(needed)} parameters", limit, "")


def rzz_finding(
    rzz_angles: Mapping[float | ParameterExpression, str],
    parameter_names: Sequence[str],
    parameter_values: NDArray[np.float64] | None,
) -> Finding:
    """Every bound `rzz` angle lies in [0, pi/2], in every row.

    Args:
        rzz_angles: angles of the circuit with where each first stands.
        parameter_names: order of the columns.
        parameter_values: radians, `(num_rows, num_parameters)`.

    Example:
        >>> rzz_finding({2.0: "instruction 4, device qubits 1, 2"}, [], None).line
        'rzz angles: must be in [0, pi/2] rad, got 2 rad (a constant, instruction 4, device \
qubits 1, 2); fold the angles into [0, pi/2] or compile without fractional gates'
    """
    rule, limit = "rzz angles", "in [0, pi/2] rad"
    cure = "fold the angles into [0, pi/2] or compile without fractional gates"
    for angle, where in rzz_angles.items():
        if isinstance(angle, ParameterExpression) and angle.parameters:
            continue
        if not 0 <= float(angle) <= pi / 2 + RZZ_TOLERANCE_RAD:
            detail = f"a constant, {where}"
            return Finding(rule, False, f"{float(angle):.6g} rad", limit, detail, cure)
    bound = {
        angle: where
        for angle, where in rzz_angles.items()
        if isinstance(angle, ParameterExpression) and angle.parameters
    }
    if not bound or parameter_values is None:
        count = len(rzz_angles) - len(bound)
        return Finding(rule, True, f"{count} constant angles", limit, "")
    columns = {name: column for column, name in enumerate(parameter_names)}
    for angle, where in bound.items():
        if any(parameter.name not in columns for parameter in angle.parameters):
            continue  # parameter_finding says so
        values = _evaluate(angle, columns, parameter_values)
        # nan is left to parameter_finding.
        wrong = (values < 0) | (values > pi / 2 + RZZ_TOLERANCE_RAD)
        if wrong.any():
            row = int(np.argmax(wrong))
            detail = f"{angle}, row {row}, {where}"
            return Finding(rule, False, f"{values[row]:.6g} rad", limit, detail, cure)
    return Finding(rule, True, f"{len(rzz_angles)} angles", limit, "")


def _evaluate(
    angle: ParameterExpression, columns: Mapping[str, int], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """An angle in every row; one that is no plain parameter, as compiled ones are, is slow."""
    if isinstance(angle, Parameter):
        return values[:, columns[angle.name]]
    return np.array(
        [
            float(angle.bind({p: float(row[columns[p.name]]) for p in angle.parameters}))
            for row in values
        ]
    )
