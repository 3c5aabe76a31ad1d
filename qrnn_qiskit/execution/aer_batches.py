"""Which rows and shots go into one call of Aer, so that they fit into memory."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qrnn_qiskit.errors import InputError

# Measured with Aer 0.18.2: a bound copy of the circuit for each row, 780 bytes an instruction, and
# a record as text in a list, 260 to 400 bytes.
_BYTES_PER_INSTRUCTION = 1000
_BYTES_PER_SHOT = 400
_BYTES_PER_AMPLITUDE = 16


class Batch(NamedTuple):
    """Rows and shots of one call."""

    rows: range
    shots: range

    @property
    def size(self) -> int:
        """Shots of all rows together."""
        return len(self.rows) * len(self.shots)

    def split(self, largest: int) -> Iterator["Batch"]:
        """The same in order, in batches of at most this size: of whole rows if that is possible."""
        if self.size <= largest:
            if self.size:
                yield self
            return
        num_rows = max(1, largest // len(self.shots))
        num_shots = min(len(self.shots), max(1, largest))
        for first_row in range(0, len(self.rows), num_rows):
            rows = self.rows[first_row : first_row + num_rows]
            for first_shot in range(0, len(self.shots), num_shots):
                yield Batch(rows, self.shots[first_shot : first_shot + num_shots])


@dataclass(frozen=True)
class CallMemory:
    """What one call takes.

    Attributes:
        num_qubits: of the circuit.
        num_instructions: of the circuit, branch bodies included.
        num_bits: of a record.
        is_gpu: every shot of a call has its state in memory at the same time.
    """

    num_qubits: int
    num_instructions: int
    num_bits: int
    is_gpu: bool = False

    @property
    def state_bytes(self) -> int:
        """One statevector."""
        return _BYTES_PER_AMPLITUDE * 2**self.num_qubits

    def batch_bytes(self, batch: Batch) -> int:
        """Bound circuits and records, in the host's memory."""
        per_row = _BYTES_PER_INSTRUCTION * self.num_instructions
        per_shot = _BYTES_PER_SHOT + self.num_bits
        return len(batch.rows) * per_row + batch.size * per_shot

    def largest_batch(self, num_shots: int, budget_bytes: int) -> int:
        """How many shots, in rows of `num_shots`, take at most half of a budget; at least 1."""
        half = budget_bytes // 2
        if self.is_gpu:
            return max(1, half // self.state_bytes)
        row_bytes = self.batch_bytes(Batch(range(1), range(num_shots)))
        if row_bytes <= half:
            return half // row_bytes * num_shots
        per_row = _BYTES_PER_INSTRUCTION * self.num_instructions
        return max(1, (half - per_row) // (_BYTES_PER_SHOT + self.num_bits))


def free_bytes(device: str) -> int:
    """Memory that may still be taken on `CPU` or `GPU`."""
    if device == "GPU" and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # no Linux: all there is


def require_record_memory(num_rows: int, num_shots: int, num_bits: int, budget_bytes: int) -> None:
    """Raises unless the records of a request fit into memory, at a byte a bit.

    Raises:
        InputError: if they do not.
    """
    num_bytes = num_rows * num_shots * num_bits
    if num_bytes > budget_bytes:
        raise InputError(
            f"request: the records of all rows must fit into the {_mib(budget_bytes)} of free "
            f"memory, got {num_rows} rows x {num_shots} shots x {num_bits} bits, which take "
            f"{_mib(num_bytes)}; ask for fewer shots, or for the rows in several requests"
        )


def run_batches(
    call: Callable[[Batch], NDArray[np.uint8]],
    batches: Iterator[Batch],
    bits: NDArray[np.uint8],
    *,
    largest: int,
    memory: CallMemory,
    budget_bytes: int,
) -> None:
    """Fills the bits batch by batch, in smaller ones from where the memory does not suffice.

    Args:
        call: gives the bits of a batch, raises `MemoryError` if it does not fit.
        batches: of the whole request.
        bits: `(num_rows, num_shots, num_bits)`, is written.
        largest: size of a batch to start with.
        memory: what a call takes, for the error.
        budget_bytes: what it may take, for the error.

    Raises:
        InputError: if one shot of one row does not fit.
    """
    for batch in batches:
        waiting = deque(batch.split(largest))
        while waiting:
            part = waiting.popleft()
            try:
                found = call(part)
            except MemoryError as error:
                if part.size == 1:
                    raise InputError(
                        f"max_memory_mb: one shot of one row must fit, {memory.num_qubits} qubits "
                        f"take {_mib(memory.state_bytes)} or more and {_mib(budget_bytes)} are "
                        "allowed or free; use fewer memory qubits, or a machine with more memory"
                    ) from error
                largest = part.size // 2
                waiting = deque(
                    piece for whole in (part, *waiting) for piece in whole.split(largest)
                )
                continue
            bits[part.rows.start : part.rows.stop, part.shots.start : part.shots.stop] = found


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.3g} MiB"
