"""Readout error of every bit of the record, measured on the same qubits and instructions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.execution import Executor, RunRequest
from qrnn_qiskit.program import SequenceProgram


@dataclass(frozen=True, eq=False)
class ReadoutCalibration:
    """e0 = P(1|0) and e1 = P(0|1) of each bit of the record, with standard errors.

    All arrays have shape `(num_bits,)`, in the order of `program.record`. Bits measured on the
    same qubit by the same kind of measurement (mid-circuit or final) share one estimate.
    """

    e0: NDArray[np.float64]
    e1: NDArray[np.float64]
    e0_error: NDArray[np.float64]
    e1_error: NDArray[np.float64]
    num_shots: int

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
    ones = result.bits.sum(axis=1, dtype=np.int64)
    groups = [
        (qubit, bit.role == "final")
        for qubit, bit in zip(compiled.bit_to_qubit, compiled.program.record, strict=True)
    ]
    rates = {group: _error_rates(ones, expected, groups, group, num_shots) for group in set(groups)}
    e0, e1, e0_error, e1_error = np.array([rates[group] for group in groups]).T
    return ReadoutCalibration(e0, e1, e0_error, e1_error, num_shots)


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
