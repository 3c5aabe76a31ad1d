"""Controls in, features out: exactly, or from the shots of an executor."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation.calibration import ReadoutCalibration
from qrnn_qiskit.estimation.outcomes import Mitigation, OutcomeEstimate, estimate_sequence
from qrnn_qiskit.execution import Executor, RunRequest, SeedStream
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate import exact_features


class Evaluator(Protocol):
    """Estimates the features of a program, `(num_rows, num_features)`.

    Features are the readout parities of all timesteps, then the final parities of each basis.
    """

    @property
    def program(self) -> SequenceProgram:
        """What is evaluated."""
        ...

    def evaluate(self, controls: NDArray[np.float64]) -> OutcomeEstimate:
        """Features of rows of controls, `(num_rows, num_controls)`."""
        ...

    def evaluate_slots(self, slot_values: NDArray[np.float64]) -> OutcomeEstimate:
        """Features of rows of slot values, `(num_rows, num_slots)`: what gradient shifts need."""
        ...


@dataclass(frozen=True)
class ExactEvaluator:
    """Features without shot noise, from the exact engine in double precision."""

    program: SequenceProgram

    def evaluate(self, controls: NDArray[np.float64]) -> OutcomeEstimate:
        """See `Evaluator.evaluate`.

        Raises:
            InputError: if rows differ in phi.
        """
        with torch.no_grad():
            value = exact_features(self.program, torch.from_numpy(controls)).numpy()
        return OutcomeEstimate(value, np.zeros_like(value), "none")

    def evaluate_slots(self, slot_values: NDArray[np.float64]) -> OutcomeEstimate:
        """Not available: the exact engine has autograd, and angles rather than slots.

        Raises:
            InputError: always.
        """
        raise InputError(
            "gradient: parameter_shift needs an executor, got the exact engine; "
            "use autograd or the surrogate gradient there"
        )


@dataclass
class ShotEvaluator:
    """Features from the shots of an executor, with readout error mitigated or not.

    Rows are repeated for each final basis; readout parities pool the shots of all repetitions.

    Args:
        compiled: the circuit.
        executor: who runs it.
        num_shots: of each row and basis.
        seeds: of the requests.
        mitigation: `none`, `local` or `m3`.
        calibration: needed unless `none`.
    """

    compiled: CompiledProgram
    executor: Executor
    num_shots: int
    seeds: SeedStream = field(default_factory=lambda: SeedStream(0))
    mitigation: Mitigation = "none"
    calibration: ReadoutCalibration | None = None

    @property
    def program(self) -> SequenceProgram:
        """What is evaluated."""
        return self.compiled.program

    def evaluate(self, controls: NDArray[np.float64]) -> OutcomeEstimate:
        """See `Evaluator.evaluate`.

        Cost: `num_rows * num_bases * num_shots` shots.
        """
        return self.evaluate_slots(self.program.slots.values(controls))

    def evaluate_slots(self, slot_values: NDArray[np.float64]) -> OutcomeEstimate:
        """See `Evaluator.evaluate_slots`.

        Cost: `num_rows * num_bases * num_shots` shots.
        """
        return self.estimate_bits(self.run_bits(slot_values))

    def run_bits(self, slot_values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The records of every row, `(num_bases * num_rows, num_shots, num_bits)`.

        Cost: `num_rows * num_bases * num_shots` shots.
        """
        slots, bases = self.program.slots, self.program.final_bases
        rows = np.concatenate([slots.with_basis(slot_values, basis) for basis in bases])
        request = RunRequest(self.compiled, rows, self.num_shots, self.seeds.draw())
        return self.executor.run(request).bits

    def estimate_bits(
        self, bits: NDArray[np.uint8], mitigation: Mitigation | None = None
    ) -> OutcomeEstimate:
        """Features from records: the same shots can be read raw and mitigated."""
        num_bases = len(self.program.final_bases)
        num_rows = len(bits) // num_bases
        chosen = mitigation or self.mitigation
        # Shots are pooled, not estimates averaged: the error of the calibration is common to all
        # bases and must not shrink with their number.
        pooled = bits.reshape(num_bases, num_rows, *bits.shape[1:]).swapaxes(0, 1)
        estimate = estimate_sequence(
            self.program,
            bits,
            chosen,
            self.calibration,
            readout_bits=pooled.reshape(num_rows, -1, bits.shape[-1]),
        )

        def features(
            readouts: NDArray[np.float64], final: NDArray[np.float64]
        ) -> NDArray[np.float64]:
            final = final.reshape(num_bases, num_rows, -1).swapaxes(0, 1)
            return np.concatenate(
                (readouts.reshape(num_rows, -1), final.reshape(num_rows, -1)), axis=1
            )

        return OutcomeEstimate(
            features(estimate.readouts.value, estimate.final.value),
            features(estimate.readouts.standard_error, estimate.final.standard_error),
            chosen,
        )
