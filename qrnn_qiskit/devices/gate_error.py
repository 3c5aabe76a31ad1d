"""A gate's reported infidelity, split into relaxation during the gate and depolarising."""

from collections.abc import Sequence
from math import exp, prod

from qrnn_qiskit.devices.noise import GateNoise, QubitNoise


def relaxation_fidelity(duration_ns: float, qubits: Sequence[QubitNoise]) -> float:
    """Average gate fidelity of independent relaxation for a time.

    Example:
        >>> relaxation_fidelity(0.0, [QubitNoise(0.0, 0.0, 1e5, 1e5)])
        1.0
    """
    dimension = 2 ** len(qubits)
    process = prod(
        (1 + exp(-duration_ns / qubit.t1_ns) + 2 * exp(-duration_ns / qubit.t2_ns)) / 4
        for qubit in qubits
    )
    return float((dimension * process + 1) / (dimension + 1))


def depolarising_parameter(gate: GateNoise, qubits: Sequence[QubitNoise]) -> float:
    """The p of rho -> (1 - p) rho + p 1/d that fills a gate's infidelity up to what is reported.

    The gate relaxes for its duration, too; 0 where relaxation alone costs what is reported, or
    more. p may exceed 1, as depolarising still is a channel up to d^2/(d^2 - 1).

    Args:
        gate: with its average infidelity.
        qubits: that it acts on, in the gate's order.

    Example:
        >>> ideal_qubit = QubitNoise(0.0, 0.0)
        >>> round(depolarising_parameter(GateNoise("sx", (0,), 0.001, 24.0), [ideal_qubit]), 12)
        0.002
    """
    dimension = 2 ** len(qubits)
    fidelity = relaxation_fidelity(gate.duration_ns, qubits)
    # Above d/(d+1) a reported error is no infidelity any more (an unusable gate).
    missing = min(gate.error, dimension / (dimension + 1)) - (1 - fidelity)
    # At fidelity 1/d relaxation alone has forgotten everything: depolarising adds no infidelity.
    if missing <= 0 or dimension * fidelity <= 1:
        return 0.0
    limit = dimension**2 / (dimension**2 - 1)
    return float(min(dimension * missing / (dimension * fidelity - 1), limit))
