"""The noisy engine is the expectation of what noisy Aer samples."""

from dataclasses import replace

import numpy as np
import torch

from qrnn_qiskit.estimation import ShotEvaluator
from qrnn_qiskit.execution import AerExecutor, SeedStream, noise_for
from qrnn_qiskit.learning.qrnn import build_qrnn
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate.noisy.plan import build_noisy_plan
from qrnn_qiskit.simulate.noisy.run import noisy_features
from qrnn_qiskit.studies.device import open_device

NUM_SAMPLES = 4
NUM_SHOTS = 2000


def test_features_on_noisy_aer_are_those_of_the_noisy_engine(rng):
    """num_shots = 2000 of 4 rows; 5 standard errors sqrt((1 - z^2)/num_shots) of every feature.

    Two flipped shots are conceded on top of a standard error: a rare outcome's tails are heavier
    than a normal distribution's. n = 4, a = 2, T = 8 on Boston, where waiting costs four times
    what it does, so that this many shots show it; angles of order 1. Wrong models: qubits that do
    not relax while they wait, or relax as Boston's do.
    """
    device = open_device("fake_boston")
    cell = CellSpec(Ansatz("brick", 4), (Readout("Z", 0), Readout("Z", 3)), "feedforward")
    program = SequenceProgram(cell, num_timesteps=8)
    torch.manual_seed(20)
    model = build_qrnn(program, num_features=4, num_outputs=2, initial_angle_rad=1.5).double()
    with torch.no_grad():
        controls = model.controls(torch.from_numpy(rng.normal(size=(NUM_SAMPLES, 8, 4))))
    compiled = device.compile(program)
    measured, schedule = noise_for(compiled, device.backend), device.schedule(compiled)
    noise = replace(measured, idle_factor=4.0)
    exact = noisy_features(build_noisy_plan(compiled, noise, schedule), controls).numpy()
    still = noisy_features(build_noisy_plan(compiled, noise), controls).numpy()
    faster = noisy_features(build_noisy_plan(compiled, measured, schedule), controls).numpy()

    executor = AerExecutor(noise, idling=device.schedule, max_threads=1)
    evaluator = ShotEvaluator(compiled, executor, NUM_SHOTS, SeedStream(6))
    found = evaluator.evaluate(controls.numpy()).value
    assert found.shape == (NUM_SAMPLES, 8 * 2 + 4)

    def largest_deviation(expected):
        errors = np.sqrt(np.clip(1 - expected**2, 0, 1) / NUM_SHOTS) + 2 / NUM_SHOTS
        return np.abs((found - expected) / errors).max()

    assert largest_deviation(exact) < 5
    assert largest_deviation(still) > 5
    assert largest_deviation(faster) > 5
