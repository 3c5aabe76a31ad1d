"""What readout mitigation cannot undo: branches taken on misread bits."""

from dataclasses import dataclass

import numpy as np

from qrnn_qiskit.estimation.calibration import ReadoutCalibration
from qrnn_qiskit.program import SequenceProgram


@dataclass(frozen=True)
class SteeringErrors:
    """How many branch decisions rest on misread bits.

    Attributes:
        num_bits: steering bits of the record.
        flips_per_shot: expected number of misread ones in a shot.
        clean_shots: probability that all were read right.
    """

    num_bits: int
    flips_per_shot: float
    clean_shots: float

    @property
    def warning(self) -> str:
        """One line for every report of mitigated numbers; empty without steering bits."""
        if self.num_bits == 0:
            return ""
        return (
            f"steering errors remain: mitigation corrects what was read, not the branches taken; "
            f"{self.num_bits} steering bits, {self.flips_per_shot:.3f} misread per shot, "
            f"{self.clean_shots:.1%} of shots without one"
        )


def estimate_steering_errors(
    program: SequenceProgram, calibration: ReadoutCalibration
) -> SteeringErrors:
    """Steering errors to expect, at the mean error (e0 + e1)/2 of each steering bit."""
    positions = [bit.position for bit in program.record if bit.role == "steering"]
    rates = (calibration.e0[positions] + calibration.e1[positions]) / 2
    return SteeringErrors(len(positions), float(rates.sum()), float(np.prod(1 - rates)))
