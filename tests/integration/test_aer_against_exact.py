"""The main job's program on Aer: what is trained is what runs."""

import numpy as np
import pytest
import torch

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.estimation import ShotEvaluator
from qrnn_qiskit.execution import AerExecutor, SeedStream
from qrnn_qiskit.learning.qrnn import build_qrnn
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate import exact_features
from qrnn_qiskit.tasks import DigitsSpec

NUM_SAMPLES = 12
NUM_SHOTS = 2000


def digits_model(ansatz):
    """n = 4, readouts Z on 0 and 3, eight rows of digits; angles of order 1 that depend on bits."""
    cell = CellSpec(Ansatz(ansatz, 4), (Readout("Z", 0), Readout("Z", 3)), "feedforward")
    program = SequenceProgram(cell, num_timesteps=8)
    torch.manual_seed(20)
    return build_qrnn(program, num_features=8, num_outputs=10, initial_angle_rad=1.5).double()


@pytest.mark.parametrize("ansatz", ["brick", "sim14"])
def test_digits_on_aer_equal_the_exact_engine(ansatz):
    """num_shots = 2000 of 12 digits; 5 standard errors sqrt((1 - z^2)/num_shots) of every feature.

    Two flipped shots are conceded on top of a standard error: a rare outcome's tails are heavier
    than a normal distribution's. Wrong model: tables with the columns of outcomes 1 and 2
    exchanged, as if the two readout bits were swapped in the conditions.
    """
    model = digits_model(ansatz)
    program = model.program
    images = DigitsSpec().load().train.head(NUM_SAMPLES).inputs
    with torch.no_grad():
        controls = model.controls(torch.from_numpy(images))
        exact = exact_features(program, controls).numpy()
        table = controls[:, : program.num_table_angles].reshape(-1, *program.table_shape)
        exchanged = table[:, :, [0, 2, 1, 3]].flatten(1)
        wrong = exact_features(
            program, torch.cat((exchanged, controls[:, program.num_table_angles :]), dim=1)
        ).numpy()
    # Angles of order 1, and bits that matter: otherwise the comparison shows nothing.
    assert 0.3 < table.std() < 3
    assert (table[:, 1:, 1] - table[:, 1:, 2]).abs().max() > 0.1

    evaluator = ShotEvaluator(compile_logical(program), AerExecutor(), NUM_SHOTS, SeedStream(6))
    found = evaluator.evaluate(controls.numpy()).value
    assert found.shape == (NUM_SAMPLES, 8 * 2 + 4)

    def largest_deviation(expected):
        errors = np.sqrt(np.clip(1 - expected**2, 0, 1) / NUM_SHOTS) + 2 / NUM_SHOTS
        return np.abs((found - expected) / errors).max()

    assert largest_deviation(exact) < 5
    assert largest_deviation(wrong) > 5
