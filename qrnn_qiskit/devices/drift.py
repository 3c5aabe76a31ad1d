"""What changed on a device between two dates?"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, isfinite, log2
from typing import Literal

import numpy as np

from qrnn_qiskit.devices.calibration import Calibration, Qubits
from qrnn_qiskit.devices.target import UNUSABLE_ERROR

Direction = Literal["better", "worse", "failed", "recovered", "longer", "shorter"]


@dataclass(frozen=True)
class Change:
    """One number of one place on two dates.

    Attributes:
        quantity: `T1`, `T2`, `e0`, `e1`, or an instruction's name with `error` or `duration`.
        qubits: of the device.
        old: T1 and T2 in microseconds, durations in nanoseconds.
        new: in the same unit; never equal to the old one.
    """

    quantity: str
    qubits: Qubits
    old: float
    new: float

    @property
    def log2_ratio(self) -> float:
        """log2(new / old), infinite where one of them is 0."""
        if self.old <= 0 or self.new <= 0:
            return inf if self.new > self.old else -inf
        return log2(self.new / self.old)

    @property
    def factor(self) -> float | None:
        """New over old, or old over new, whichever is above 1; None where one of them is 0."""
        return 2 ** abs(self.log2_ratio) if isfinite(self.log2_ratio) else None

    @property
    def direction(self) -> Direction:
        """Whether the device gained, or lost the place; a longer duration may be meant so."""
        if self.quantity.endswith("duration"):
            return "longer" if self.new > self.old else "shorter"
        if self.quantity.endswith("error"):
            was_usable, is_usable = (error < UNUSABLE_ERROR for error in (self.old, self.new))
            if was_usable != is_usable:
                return "recovered" if is_usable else "failed"
        higher_is_better = self.quantity in ("T1", "T2")
        return "better" if (self.new > self.old) == higher_is_better else "worse"


@dataclass(frozen=True, eq=False)
class Drift:
    """Two calibrations and what is different; build it with `compare_calibrations`.

    Attributes:
        old: the first one.
        new: the second one.
        same_lattice: whether both have the same number of qubits and the same edges. Where they
            have not, the numbers of single qubits cannot be compared and all below is empty.
        changes: the largest factor first, then those from or to 0. A pair whose two directions
            changed alike is there once.
        appeared: what only the new one has or reports: an instruction or quantity, and qubits.
        vanished: what only the old one has or reports.
    """

    old: Calibration
    new: Calibration
    same_lattice: bool
    changes: tuple[Change, ...]
    appeared: tuple[tuple[str, Qubits], ...]
    vanished: tuple[tuple[str, Qubits], ...]

    @property
    def same_device(self) -> bool:
        """Whether both have one name; a fake is its device (`fake_boston`, `ibm_boston`)."""
        return _device(self.old.name) == _device(self.new.name)

    @cached_property
    def edge_log2(self) -> dict[tuple[int, int], float]:
        """log2 of new over old entangler error by edge, nan where one is 0 or not reported."""
        if not self.same_lattice:
            return {}
        return {pair: _log2(error, self.new.edges[pair]) for pair, error in self.old.edges.items()}

    @cached_property
    def readout_log2(self) -> tuple[float, ...]:
        """log2 of new over old readout error by qubit, nan where one is 0 or not reported."""
        if not self.same_lattice:
            return ()
        pairs = zip(self.old.readout_error, self.new.readout_error, strict=True)
        return tuple(_log2(float(old), float(new)) for old, new in pairs)


def compare_calibrations(old: Calibration, new: Calibration) -> Drift:
    """Every number that differs, every one that only one of them has.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> from qrnn_qiskit.devices.calibration import read_calibration
        >>> names = ("fake_lima", "fake_belem")
        >>> drift = compare_calibrations(*(read_calibration(load_fake_backend(n)) for n in names))
        >>> drift.same_device, drift.same_lattice
        (False, True)
        >>> largest = drift.changes[0]
        >>> largest.quantity, largest.qubits, largest.direction, round(largest.factor, 1)
        ('T2', (4,), 'better', 8.0)
    """
    if old.num_qubits != new.num_qubits or old.edges.keys() != new.edges.keys():
        return Drift(old, new, False, (), (), ())
    before, after = _numbers(old), _numbers(new)
    differing = {
        Change(quantity, qubits, value, after[quantity, qubits])
        for (quantity, qubits), value in before.items()
        if (quantity, qubits) in after and after[quantity, qubits] != value
    }
    changes = [
        change
        for change in differing
        if change.qubits == tuple(sorted(change.qubits))
        or replace(change, qubits=change.qubits[::-1]) not in differing
    ]
    changes.sort(key=lambda c: (c.factor is None, -abs(c.log2_ratio), c.quantity, c.qubits))
    return Drift(old, new, True, tuple(changes), *_gains_and_losses(old, new, before, after))


def _numbers(calibration: Calibration) -> dict[tuple[str, Qubits], float]:
    """All that is reported, by quantity and place."""
    rows = {
        "T1": calibration.t1_us,
        "T2": calibration.t2_us,
        "e0": calibration.read_one_given_zero,
        "e1": calibration.read_zero_given_one,
    }
    table: dict[tuple[str, Qubits], float] = {
        (quantity, (qubit,)): float(value)
        for quantity, values in rows.items()
        for qubit, value in enumerate(values)
        if not np.isnan(value)
    }
    for (name, qubits), numbers in calibration.instructions.items():
        for quantity, value in (("error", numbers.error), ("duration", numbers.duration_ns)):
            # The error of `measure` is the mean of e0 and e1, where these are reported.
            is_mean = (name, quantity) == ("measure", "error") and ("e0", qubits) in table
            if value is not None and not is_mean and not np.isnan(value):
                table[f"{name} {quantity}", qubits] = value
    return table


def _gains_and_losses(
    old: Calibration,
    new: Calibration,
    before: dict[tuple[str, Qubits], float],
    after: dict[tuple[str, Qubits], float],
) -> tuple[tuple[tuple[str, Qubits], ...], tuple[tuple[str, Qubits], ...]]:
    both = old.instructions.keys() & new.instructions.keys()

    def only(
        own: Calibration,
        mine: dict[tuple[str, Qubits], float],
        other: dict[tuple[str, Qubits], float],
    ) -> tuple[tuple[str, Qubits], ...]:
        places = sorted(own.instructions.keys() - both)
        # An instruction that is gone takes its numbers with it without a text of their own.
        gone = {(f"{name} {key}", qubits) for name, qubits in places
                for key in ("error", "duration")}  # fmt: skip
        return (*places, *sorted(mine.keys() - other.keys() - gone))

    return only(new, after, before), only(old, before, after)


def _log2(old: float, new: float) -> float:
    return log2(new / old) if old > 0 and new > 0 else float("nan")


def _device(name: str) -> str:
    return name.removeprefix("fake_").removeprefix("ibm_")
