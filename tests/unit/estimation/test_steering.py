"""What every mitigated report has to say of the branches taken on misread bits."""

import numpy as np
import pytest

from qrnn_qiskit.estimation import ReadoutCalibration, estimate_steering_errors
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram


def calibration_of(program):
    """Readout error of each bit: (0.02, 0.06), (0.03, 0.09), ...."""
    index = np.arange(program.num_bits)
    e0, e1 = 0.01 * (2 + index % 3), 0.03 * (2 + index % 3)
    zeros = np.zeros(program.num_bits)
    return ReadoutCalibration(e0, e1, zeros, zeros, 100)


def test_only_steering_bits_count():
    cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),), feedback_delay=1)
    program = SequenceProgram(cell, 4)
    errors = estimate_steering_errors(program, calibration_of(program))
    # Timesteps 1 and 2 steer 3 and 4.
    rates = [0.04, 0.06]
    assert errors.num_bits == 2
    assert errors.flips_per_shot == pytest.approx(sum(rates), rel=1e-12)
    assert errors.clean_shots == pytest.approx(0.96 * 0.94, rel=1e-12)
    assert errors.warning == (
        "steering errors remain: mitigation corrects what was read, not the branches taken; "
        "2 steering bits, 0.100 misread per shot, 90.2% of shots without one"
    )


def test_nothing_is_said_without_steering_bits():
    program = SequenceProgram(CellSpec(Ansatz("line", 2), (Readout("Z", 0),), "open"), 4)
    errors = estimate_steering_errors(program, calibration_of(program))
    assert (errors.num_bits, errors.flips_per_shot, errors.clean_shots) == (0, 0.0, 1.0)
    assert errors.warning == ""
