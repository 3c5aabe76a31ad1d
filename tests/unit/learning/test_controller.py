"""The controller and the table that it becomes."""

import numpy as np
import pytest
import torch
from torch import nn

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.learning.controller import INITIAL_ANGLE_RAD, Controller, build_table
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram

NUM_FEATURES = 3


def make_program(loop, steered="rotations", num_readouts=1, history=1, delay=0, ansatz="brick"):
    readouts = (Readout("X", 1), Readout("Z", 0))[:num_readouts]
    cell = CellSpec(Ansatz(ansatz, 2), readouts, loop, steered, history, delay)
    return SequenceProgram(cell, num_timesteps=history + delay + 2)


def make_controller(program, **options):
    torch.manual_seed(3)
    cell = program.cell
    controller = Controller(
        NUM_FEATURES,
        cell.num_steering_bits,
        cell.ansatz.num_angles,
        hidden_units=5,
        initial_angle_rad=3.0,
        **options,
    )
    return controller.double()


def slow_table(controller, program, inputs):
    """The table entry by entry, from what a timestep sees."""
    cell = program.cell
    table = torch.zeros(len(inputs), *program.table_shape, dtype=inputs.dtype)
    for sample, sequence in enumerate(inputs):
        for t in range(1, program.num_timesteps + 1):
            nothing = torch.zeros(cell.num_steering_bits, dtype=inputs.dtype)
            blind = controller(sequence[t - 1], nothing)
            for outcome in range(cell.num_outcomes):
                feedback = nothing.clone()
                for age, _ in enumerate(cell.visible_timesteps(t)):
                    for index in range(cell.num_readouts):
                        place = age * cell.num_readouts + index
                        feedback[place] = -1.0 if outcome & (1 << place) else 1.0
                answer = controller(sequence[t - 1], feedback)
                for rotation in cell.ansatz.rotations:
                    seeing = rotation.gate == "ry" or cell.steered == "all"
                    source = answer if seeing and cell.loop == "feedforward" else blind
                    table[sample, t - 1, outcome, rotation.angle] = source[rotation.angle]
    return table


@pytest.mark.parametrize(
    "configuration",
    [
        ("feedforward", "rotations", 1, 1, 0),
        ("feedforward", "rotations", 2, 1, 1),
        ("feedforward", "rotations", 2, 2, 0),
        ("feedforward", "all", 1, 2, 1),
        ("feedforward", "all", 2, 1, 0),
        ("feedforward", "all", 2, 2, 1),
        ("open", "rotations", 2, 1, 0),
        ("open", "all", 1, 1, 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("ansatz", ["brick", "sim14"])
def test_table_equals_the_controller_asked_entry_by_entry(rng, ansatz, configuration):
    program = make_program(*configuration, ansatz=ansatz)
    controller = make_controller(program, activation="gelu", embedding_units=2)
    inputs = torch.from_numpy(rng.normal(size=(2, program.num_timesteps, NUM_FEATURES)))
    with torch.no_grad():
        found = build_table(controller, program, inputs)
        expected = slow_table(controller, program, inputs)
    assert found.shape == (2, *program.table_shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.std() > 1e-2


def test_outcomes_differ_where_they_are_seen_and_only_there(rng):
    """Delay 1: timesteps 1 and 2 see nothing. Blind entangling angles are equal for all."""
    program = make_program("feedforward", "rotations", num_readouts=2, delay=1)
    controller = make_controller(program)
    inputs = torch.from_numpy(rng.normal(size=(1, program.num_timesteps, NUM_FEATURES)))
    with torch.no_grad():
        table = build_table(controller, program, inputs)[0]
    spread = table.amax(dim=1) - table.amin(dim=1)
    steered = torch.tensor(program.cell.ansatz.steered_angles)
    assert (spread[:2] == 0).all()
    assert (spread[2:, steered] > 1e-6).all()
    assert (spread[:, ~steered] == 0).all()
    # The newest bits come first: bit 0 of an outcome is readout 0.
    with torch.no_grad():
        answer = controller(inputs[0, 3], torch.tensor([-1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(table[3, 1, steered], answer[steered], rtol=0, atol=1e-12)


def test_an_open_table_has_one_column_and_keeps_its_gradient(rng):
    program = make_program("open", num_readouts=2)
    controller = make_controller(program)
    inputs = torch.from_numpy(rng.normal(size=(2, program.num_timesteps, NUM_FEATURES)))
    table = build_table(controller, program, inputs)
    assert table.shape[2] == 1
    table.sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in controller.parameters())


@pytest.mark.parametrize("activation", ["linear", "relu", "gelu", "glu"])
def test_activations(rng, activation):
    controller = Controller(3, 2, 4, activation=activation, hidden_units=6).double()
    inputs, feedback = torch.from_numpy(rng.normal(size=(7, 3))), torch.ones(7, 2).double()
    both = torch.cat((inputs, feedback), dim=1)
    functions = {
        "linear": lambda x: x,
        "relu": lambda x: x.clamp(min=0),
        "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
        "glu": lambda x: x[:, :6] / (1 + torch.exp(-x[:, 6:])),
    }
    with torch.no_grad():
        layers = [layer for layer in controller.hidden.modules() if isinstance(layer, nn.Linear)]
        assert len(layers) == (activation != "linear")
        hidden = layers[0](both) if layers else both
        hidden = functions[activation](hidden)
        expected = hidden @ controller.output.weight.T + controller.output.bias
        torch.testing.assert_close(controller(inputs, feedback), expected, rtol=0, atol=1e-12)


def test_embedding_comes_before_the_feedback(rng):
    controller = Controller(3, 2, 4, activation="linear", embedding_units=5).double()
    inputs, feedback = torch.from_numpy(rng.normal(size=(7, 3))), torch.ones(7, 2).double()
    with torch.no_grad():
        both = torch.cat((controller.embedding(inputs), feedback), dim=1)
        torch.testing.assert_close(controller(inputs, feedback), controller.output(both))
    assert controller.output.in_features == 7


@pytest.mark.parametrize("bound", [INITIAL_ANGLE_RAD, 0.01])
def test_initial_angles_are_small(rng, bound):
    """|angle| <= bound (1 + |h|_1/sqrt(H)) by the initial ranges, and the bias is not larger."""
    torch.manual_seed(4)
    controller = Controller(8, 2, 16, initial_angle_rad=bound)
    assert controller.output.bias.abs().max() <= bound
    assert controller.output.bias.std() > bound / 5
    inputs = torch.from_numpy(rng.uniform(size=(100, 8))).float()
    feedback = torch.from_numpy(rng.choice([-1.0, 1.0], size=(100, 2))).float()
    both = torch.cat((inputs, feedback), dim=1)
    with torch.no_grad():
        largest = controller(inputs, feedback).abs()
        norm = controller.hidden(both).abs().sum(dim=1) / 64**0.5
    assert (largest <= bound * (1 + norm[:, None]) + 1e-7).all()
    # What "roughly the bound" means for inputs in [0, 1].
    assert largest.max() < 3 * bound
    assert Controller(8, 2, 16, initial_angle_rad=10 * bound).output.bias.abs().max() > bound


def test_dropout_is_active_in_training_only(rng):
    controller = Controller(3, 0, 4, dropout=0.5, initial_angle_rad=1.0)
    inputs, nothing = torch.from_numpy(rng.normal(size=(5, 3))).float(), torch.zeros(5, 0)
    torch.manual_seed(5)
    controller.train()
    with torch.no_grad():
        assert (controller(inputs, nothing) - controller(inputs, nothing)).abs().max() > 1e-3
        controller.eval()
        once = controller(inputs, nothing)
        torch.testing.assert_close(controller(inputs, nothing), once, rtol=0, atol=0)
        controller.dropout.p = 0.0
        controller.train()
        torch.testing.assert_close(controller(inputs, nothing), once, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "tanh"}, "activation: must be one of linear, relu, gelu, glu, got 'tanh'"),
        ({"hidden_units": 0}, "hidden_units: must be at least 1, got 0"),
        ({"embedding_units": -1}, "embedding_units: must be at least 0, got -1"),
        ({"dropout": 1.0}, r"dropout: must lie in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, r"dropout: must lie in \[0, 1\), got -0.1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Controller(3, 2, 4, **options)


def test_blind_answer_is_that_to_zero_feedback_not_a_mean(rng):
    """The mean over outcomes of a nonlinear controller is another number."""
    program = make_program("feedforward", "rotations")
    controller = make_controller(program, activation="relu")
    inputs = torch.from_numpy(3 * rng.normal(size=(4, program.num_timesteps, NUM_FEATURES)))
    entangling = ~np.array(program.cell.ansatz.steered_angles)
    with torch.no_grad():
        table = build_table(controller, program, inputs)[:, :, 0, entangling]
        answers = [
            controller(inputs, torch.full((4, program.num_timesteps, 1), sign).double())
            for sign in (0.0, 1.0, -1.0)
        ]
    torch.testing.assert_close(table, answers[0][..., entangling], rtol=0, atol=1e-12)
    mean = (answers[1] + answers[2]) / 2
    assert (table[:, 1:] - mean[:, 1:, entangling]).abs().max() > 1e-3
