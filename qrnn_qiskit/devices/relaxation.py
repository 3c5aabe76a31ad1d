"""T1 and T2 of every qubit; what a device does not say, or says wrongly, is made good and named."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from qiskit.transpiler import Target


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Relaxation times that a channel can be built from.

    Attributes:
        t1_ns: `(num_qubits,)`.
        t2_ns: `(num_qubits,)`, at most 2 T1.
        remarks: what was taken instead of what the device says, by qubit.
    """

    t1_ns: NDArray[np.float64]
    t2_ns: NDArray[np.float64]
    remarks: dict[int, tuple[str, ...]]


def read_relaxation(target: Target, num_qubits: int) -> Relaxation:
    """T1 and T2 from a target.

    A time that is missing, zero, negative or not finite is taken to be the device's median: a
    qubit whose time is not known is no perfect one. On a device that knows no time at all nothing
    relaxes (an ideal one). T2 above 2 T1 is unphysical, an artefact of its fit, and clipped.

    Example:
        >>> from qiskit.transpiler import QubitProperties
        >>> known, half_known = QubitProperties(t1=1e-4, t2=8e-5), QubitProperties(t1=9e-5)
        >>> target = Target(num_qubits=2, qubit_properties=[known, half_known])
        >>> read_relaxation(target, 2).remarks
        {1: ("T2 is unknown, the device's median is taken (80 us)",)}
    """
    reported = np.full((2, num_qubits), np.nan)
    for index, qubit in enumerate(target.qubit_properties or ()):
        for row, key in enumerate(("t1", "t2")):
            seconds = getattr(qubit, key, None)
            if seconds is not None and 0 < seconds < np.inf:  # NaN is neither
                reported[row, index] = seconds * 1e9
    remarks: dict[int, list[str]] = {}
    times = reported.copy()
    for row, name in enumerate(("T1", "T2")):
        known = reported[row][~np.isnan(reported[row])]
        median = float(np.median(known)) if known.size else np.inf
        for index in np.flatnonzero(np.isnan(reported[row])).tolist():
            times[row, index] = median
            if known.size:
                remarks.setdefault(index, []).append(
                    f"{name} is unknown, the device's median is taken ({median / 1e3:.0f} us)"
                )
    for index in np.flatnonzero(times[1] > 2 * times[0]).tolist():
        if not np.isnan(reported[1, index]):
            remarks.setdefault(index, []).append(
                f"T2 of {times[1, index] / 1e3:.0f} us is above 2 T1, 2 T1 is taken "
                f"({2 * times[0, index] / 1e3:.0f} us)"
            )
    times[1] = np.minimum(times[1], 2 * times[0])
    times.setflags(write=False)
    named = {index: tuple(lines) for index, lines in sorted(remarks.items())}
    return Relaxation(times[0], times[1], named)
