"""Readout error of every bit of the record, measured on the same qubits and instructions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.execution import Executor, RunRequest, RunResult
from qrnn_qiskit.program import SequenceProgram


@dataclass(frozen=True, eq=False)
class ReadoutCalibration:
    """e0 = P(1|0) and e1 = P(0|1) of each bit of the record, with standard errors.

    All arrays have shape `(num_bits,)`, in the order of `program.record`. Bits measured on the
    same qubit by the same kind of measurement (mid-circuit or final) share one estimate.

    Attributes:
        num_shots: of each of the four rows.
        measured_at: seconds since 1970, when the last shot was over; None if unknown. Readout
            errors drift: the age of a calibration is part of every number that it corrects.
    """

    e0: NDArray[np.float64]
    e1: NDArray[np.float64]
    e0_error: NDArray[np.float64]
    e1_error: NDArray[np.float64]
    num_shots: int
    measured_at: float | None = None

    def __post_init__(self) -> None:
        for name in ("e0", "e1"):
            values = getattr(self, name)
            require(bool(np.all((values >= 0) & (values <= 1))), name,
                    "must be probabilities", values, "give one error rate per bit")  # fmt: skip
        useless = np.flatnonzero(self.e0 + self.e1 >= 1)
        if useless.size:
            raise InputError(
                f"calibration: e0 + e1 must be below 1 for every bit, bit {useless[0]} has "
                f"{self.e0[useless[0]]:.3f} + {self.e1[useless[0]]:.3f}; its qubit reads nothing, "
                "choose another layout"
            )

    @property
    def contrast(self) -> NDArray[np.float64]:
        """1 - e0 - e1: what is left of an expectation value."""
        return 1 - self.e0 - self.e1

    def matrix(self, bit: int) -> NDArray[np.float64]:
        """Assignment matrix of one bit; columns are prepared states."""
        e0, e1 = self.e0[bit], self.e1[bit]
        return np.array([[1 - e0, e1], [e0, 1 - e1]])

    def to_arrays(self) -> dict[str, NDArray[np.float64]]:
        """All numbers, for records and checkpoints.

        Example:
            >>> half = np.full(2, 0.5)
            >>> found = ReadoutCalibration(half / 5, half / 5, half / 50, half / 50, 400, 1.8e9)
            >>> ReadoutCalibration.from_arrays(found.to_arrays()).num_shots
            400
        """
        measured_at = np.nan if self.measured_at is None else self.measured_at
        return {
            "rates": np.stack((self.e0, self.e1, self.e0_error, self.e1_error)),
            "calibration": np.array([self.num_shots, measured_at]),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[np.float64]]) -> "ReadoutCalibration":
        """The reverse of `to_arrays`."""
        num_shots, measured_at = (float(number) for number in arrays["calibration"])
        found = None if np.isnan(measured_at) else measured_at
        e0, e1, e0_error, e1_error = arrays["rates"]
        return ReadoutCalibration(e0, e1, e0_error, e1_error, int(num_shots), found)


def build_calibration_rows(
    program: SequenceProgram,
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Slot values of the calibration rows and the bits that each should read.

    Four rows: all 0, all 1, and two alternating patterns, complements of each other, so that each
    bit is prepared in both states next to neighbours in both states.

    Returns:
        Slot values `(4, num_slots)`, expected bits `(4, num_bits)`.
    """
    cell, num_timesteps = program.cell, program.num_timesteps
    timesteps, readouts = np.indices((num_timesteps, cell.num_readouts))
    # The bank changes with the timestep: alternate between uses of one bank.
    use = timesteps // cell.num_banks + readouts
    readout_patterns = np.stack([0 * use, 0 * use + 1, use % 2, (use + 1) % 2])
    memory = np.arange(cell.ansatz.num_memory)
    memory_patterns = np.stack([0 * memory, 0 * memory + 1, memory % 2, (memory + 1) % 2])
    values = program.slots.calibration_values(readout_patterns, memory_patterns)
    expected = np.concatenate((readout_patterns.reshape(4, -1), memory_patterns), axis=1)
    return values, expected.astype(np.uint8)


def run_calibration(
    executor: Executor, compiled: CompiledProgram, num_shots: int, seed: int = 0
) -> ReadoutCalibration:
    """Measures the readout error of every bit of a compiled program.

    Cost: 4 rows of `num_shots` shots on the executor.

    Raises:
        InputError: if a bit reads nothing (e0 + e1 >= 1).

    Example:
        >>> from qrnn_qiskit.compiling import compile_logical
        >>> from qrnn_qiskit.execution import AerExecutor
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)
        >>> run_calibration(AerExecutor(), compile_logical(program), num_shots=100).e0.tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    values, expected = build_calibration_rows(compiled.program)
    result = executor.run(RunRequest(compiled, values, num_shots, seed))
    return _read_calibration(compiled, expected, result.bits, result.measured_at)


def run_calibrated(
    executor: Executor, request: RunRequest, calibration_shots: int
) -> tuple[RunResult, ReadoutCalibration]:
    """Rows and the calibration of their readout, in one request.

    Rows of one circuit have equal shots, so that each calibration row is there as often as it
    takes. These repetitions are spread evenly over the request, so that an executor that splits it
    calibrates in each of its jobs, hours apart as they may be, as long as there are repetitions
    for all: of every job the share that its rows have.

    Args:
        executor: who runs it.
        request: rows to run.
        calibration_shots: of each of the four calibration rows, at least.

    Returns:
        The records of the request's rows, and the calibration.

    Cost: that of the request, and of `num_calibration_rows` more rows.

    Raises:
        InputError: if a bit reads nothing (e0 + e1 >= 1).
    """
    values, expected = build_calibration_rows(request.compiled.program)
    times = num_calibration_rows(request.num_shots, calibration_shots) // 4
    # In the middle of equal shares of the rows: a job is a range of rows.
    before = np.repeat((2 * np.arange(times) + 1) * request.num_rows // (2 * times), 4)
    rows = np.insert(request.slot_values, before, np.tile(values, (times, 1)), axis=0)
    calibrates = np.insert(np.zeros(request.num_rows, dtype=bool), before, True)
    result = executor.run(replace(request, slot_values=rows))
    bits = result.bits[calibrates].reshape(times, 4, *result.bits.shape[1:]).swapaxes(0, 1)
    calibration = _read_calibration(
        request.compiled, expected, bits.reshape(4, -1, bits.shape[-1]), result.measured_at
    )
    return replace(result, bits=result.bits[~calibrates]), calibration


def num_calibration_rows(num_shots: int, calibration_shots: int) -> int:
    """Rows of `num_shots` that a calibration takes beside the rows of a request.

    Example:
        >>> num_calibration_rows(num_shots=500, calibration_shots=1200)
        12
    """
    return 4 * -(-calibration_shots // num_shots)


def _read_calibration(
    compiled: CompiledProgram,
    expected: NDArray[np.uint8],
    bits: NDArray[np.uint8],
    measured_at: float,
) -> ReadoutCalibration:
    """From records `(4, num_shots, num_bits)` of the calibration rows."""
    num_shots = bits.shape[1]
    ones = bits.sum(axis=1, dtype=np.int64)
    groups = [
        (qubit, bit.role == "final")
        for qubit, bit in zip(compiled.bit_to_qubit, compiled.program.record, strict=True)
    ]
    rates = {group: _error_rates(ones, expected, groups, group, num_shots) for group in set(groups)}
    e0, e1, e0_error, e1_error = np.array([rates[group] for group in groups]).T
    return ReadoutCalibration(e0, e1, e0_error, e1_error, num_shots, measured_at)


def _error_rates(
    ones: NDArray[np.int64],
    expected: NDArray[np.uint8],
    groups: list[tuple[int, bool]],
    group: tuple[int, bool],
    num_shots: int,
) -> tuple[float, float, float, float]:
    members = [index for index, other in enumerate(groups) if other == group]
    prepared_one = expected[:, members] == 1
    counts = ones[:, members]
    trials0, trials1 = num_shots * (~prepared_one).sum(), num_shots * prepared_one.sum()
    wrong0, wrong1 = counts[~prepared_one].sum(), (num_shots - counts[prepared_one]).sum()
    e0, e1 = wrong0 / trials0, wrong1 / trials1
    return e0, e1, _binomial_error(wrong0, trials0), _binomial_error(wrong1, trials1)


def _binomial_error(successes: int, trials: int) -> float:
    """Standard error of a rate; never 0 (Agresti-Coull's two added successes and failures)."""
    rate = (successes + 2) / (trials + 4)
    return float(np.sqrt(rate * (1 - rate) / (trials + 4)))
