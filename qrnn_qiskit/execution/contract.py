"""The protocol between everything that asks for shots and everything that runs them."""

import time
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.errors import require


@dataclass(frozen=True, eq=False)
class RunRequest:
    """One circuit, one array of rows, a number of shots of each.

    Args:
        compiled: the circuit.
        slot_values: radians, `(num_rows, num_slots)`.
        num_shots: of every row.
        seed: of everything random in a simulation; a device ignores it.

    Raises:
        InputError: if the rows do not fit the slots, hold a non-finite angle, or the number of
            shots is not positive.
    """

    compiled: CompiledProgram
    slot_values: NDArray[np.float64]
    num_shots: int
    seed: int = 0

    def __post_init__(self) -> None:
        num_slots = self.compiled.program.slots.num_slots
        require(self.slot_values.ndim == 2 and self.slot_values.shape[1] == num_slots,
                "slot_values", f"must have shape (num_rows, {num_slots})",
                self.slot_values.shape, "use program.slots.values(controls)")  # fmt: skip
        require(bool(np.isfinite(self.slot_values).all()), "slot_values", "must be finite",
                "nan or inf", "check the controller for overflow")  # fmt: skip
        require(self.num_shots >= 1, "num_shots", "must be at least 1", self.num_shots,
                "ask for one shot or more")  # fmt: skip
        require(0 <= self.seed < 2**63, "seed", "must lie in [0, 2**63)", self.seed,
                "use a non-negative integer")  # fmt: skip

    @property
    def num_rows(self) -> int:
        """Number of rows of angles."""
        return len(self.slot_values)


@dataclass(frozen=True, eq=False)
class RunResult:
    """The record of every shot of every row.

    Attributes:
        bits: 0 or 1, uint8, `(num_rows, num_shots, num_bits)`, bits in the order of
            `program.record`.
        executor: who ran it.
        wall_seconds: how long it took.
        measured_at: seconds since 1970, when its last shot was over; now unless given.
    """

    bits: NDArray[np.uint8]
    executor: str
    wall_seconds: float
    measured_at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        require(self.bits.ndim == 3 and self.bits.dtype == np.uint8, "bits",
                "must be uint8 of shape (num_rows, num_shots, num_bits)",
                (self.bits.dtype, self.bits.shape), "one entry per recorded bit")  # fmt: skip

    @property
    def num_shots(self) -> int:
        """Shots of every row."""
        return int(self.bits.shape[1])


@runtime_checkable
class Executor(Protocol):
    """Runs requests. Simulators, devices and test doubles all look like this."""

    @property
    def name(self) -> str:
        """Short name for records and reports."""
        ...

    def run(self, request: RunRequest) -> RunResult:
        """The records of a request, rows and shots in order."""
        ...
