"""The model as a torch module: its shapes, its parameters, and what reaches the head."""

import numpy as np
import pytest
import torch

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.learning.controller import Controller, build_table
from qrnn_qiskit.learning.engines import ExactEngine
from qrnn_qiskit.learning.qrnn import MIN_STRENGTH_RAD, QRNN, Readouts, build_qrnn
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import host_program
from tests.reference.model import ModelSpec, run_model

NUM_FEATURES = 3
NUM_TIMESTEPS = 3


def make_program(loop, **options):
    if loop == "host":
        return host_program("sim14", num_memory=2, num_timesteps=NUM_TIMESTEPS)
    cell = CellSpec(
        Ansatz("sim14", 2), (Readout("X", 1, 1.2), Readout("Z", 0, 0.6)), loop, **options
    )
    return SequenceProgram(
        cell, NUM_TIMESTEPS, final_bases=("Z", "Y"), readout_order=2, final_order=2
    )


def make_model(program, num_outputs=2, **options):
    torch.manual_seed(7)
    model = build_qrnn(
        program, NUM_FEATURES, num_outputs, hidden_units=8, initial_angle_rad=2.0, **options
    ).double()
    # Built in single precision: the declared phi to the last digit, for comparisons in double.
    with torch.no_grad():
        model.strengths_rad.copy_(torch.from_numpy(program.strengths_rad))
    return model


def random_inputs(rng, batch=2):
    return torch.from_numpy(rng.normal(size=(batch, NUM_TIMESTEPS, NUM_FEATURES)))


def as_model(program, theta, loop):
    cell = program.cell
    return ModelSpec(
        num_memory=2,
        ansatz="sim14",
        num_layers=1,
        readouts=tuple((r.pauli, r.anchor, r.strength_rad) for r in cell.readouts),
        theta=theta,
        loop=loop,
        steered=cell.steered,
        history=cell.history,
        feedback_delay=cell.feedback_delay,
    )


# --- what it computes, against dense matrices ----------------------------------------------------


@pytest.mark.parametrize("loop", ["feedforward", "open"])
def test_readouts_of_the_dynamic_loops_equal_the_reference_model(rng, loop):
    model = make_model(make_program(loop, feedback_delay=1))
    inputs = random_inputs(rng)
    with torch.no_grad():
        found = model.read(inputs)
        table = build_table(model.controller, model.program, inputs).numpy()
    assert found.steps.shape == (2, NUM_TIMESTEPS, 3)
    assert found.final.shape == (2, 6)
    signs = np.array([[1, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]])
    for sample in range(2):
        expected = run_model(as_model(model.program, table[sample], loop))
        np.testing.assert_allclose(
            found.steps[sample], expected.outcome_distributions @ signs, rtol=0, atol=1e-10
        )
        final = [expected.final_distribution(basis * 2) @ signs for basis in "ZY"]
        np.testing.assert_allclose(found.final[sample], np.ravel(final), rtol=0, atol=1e-10)
    assert (found.steps[0] - found.steps[1]).abs().max() > 1e-2


def test_readouts_of_the_host_loop_equal_the_reference_model(rng):
    """The controller sees <X>, <Y>, <Z> of the timestep before, of |0...0> at first."""
    model = make_model(make_program("host"))
    inputs = random_inputs(rng)
    with torch.no_grad():
        found = model.read(inputs)
    assert found.final.shape == (2, 0)
    for sample in range(2):
        feedback, theta = torch.tensor([[0.0, 0, 0, 0, 1, 1]], dtype=torch.float64), []
        for timestep in range(NUM_TIMESTEPS):
            with torch.no_grad():
                answer = model.controller(inputs[sample, timestep][None], feedback)
            theta.append(answer.numpy())
            paulis = run_model(as_model(model.program, np.array(theta), "host")).pauli_expectations
            np.testing.assert_allclose(
                found.steps[sample, timestep], paulis[-1].ravel(), rtol=0, atol=1e-10
            )
            feedback = torch.from_numpy(paulis[-1].reshape(1, -1))


# --- views ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loop", "view", "width", "shape"),
    [
        ("feedforward", "all", 3 * 3 + 6, (2, 4)),
        ("feedforward", "last", 3 + 6, (2, 4)),
        ("feedforward", "each", 3, (2, NUM_TIMESTEPS, 4)),
        ("open", "all", 3 * 3 + 6, (2, 4)),
        ("open", "each", 3, (2, NUM_TIMESTEPS, 4)),
        ("host", "all", 3 * 6, (2, 4)),
        ("host", "last", 6, (2, 4)),
        ("host", "each", 6, (2, NUM_TIMESTEPS, 4)),
    ],
)
def test_views_and_shapes(rng, loop, view, width, shape):
    model = make_model(make_program(loop), num_outputs=4, view=view)
    assert model.head.in_features == width
    inputs = random_inputs(rng)
    readouts = model.read(inputs)
    seen = model.view_readouts(readouts)
    assert model(inputs).shape == shape
    torch.testing.assert_close(model(inputs), model.head(seen))
    if view == "each":
        torch.testing.assert_close(seen, readouts.steps)
    else:
        first = readouts.steps.flatten(1) if view == "all" else readouts.steps[:, -1]
        torch.testing.assert_close(seen, torch.cat((first, readouts.final), dim=1))


def test_each_output_depends_on_inputs_up_to_its_timestep_only(rng):
    model = make_model(make_program("feedforward"), view="each")
    inputs = random_inputs(rng)
    changed = inputs.clone()
    changed[:, 1] += 1.0
    difference = (model(inputs) - model(changed)).abs().amax(dim=(0, 2))
    assert difference[0] == 0
    assert (difference[1:] > 1e-4).all()


def test_features_are_split_as_they_are_ordered(rng):
    program = make_program("feedforward")
    features = torch.arange(2.0 * program.num_features).reshape(2, -1)
    readouts = make_model(program).split_features(features)
    assert isinstance(readouts, Readouts)
    assert readouts.steps[0, 1].tolist() == [3, 4, 5]
    assert readouts.final[0].tolist() == [9, 10, 11, 12, 13, 14]


# --- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["feedforward", "open"])
def test_gradients_reach_every_parameter(rng, loop):
    model = make_model(make_program(loop))
    model(random_inputs(rng)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 1e-8, name


def test_gradients_of_the_weights_equal_differences(rng):
    model = make_model(make_program("feedforward"))
    inputs = random_inputs(rng)
    model(inputs)[:, 0].sum().backward()
    step = 1e-6
    for parameter in (model.controller.output.weight, model.strengths_rad):
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for index in range(0, flat.numel(), 17):
            centre = flat[index].item()
            values = []
            for sign in (1, -1):
                flat[index] = centre + sign * step
                values.append(model(inputs)[:, 0].sum().item())
            flat[index] = centre
            difference = (values[0] - values[1]) / (2 * step)
            # Central differences are good to about 1e-16/step + step^2.
            assert abs(gradient[index].item() - difference) < 1e-6


def test_strengths_are_projected_into_their_range():
    model = make_model(make_program("feedforward"))
    assert model.strengths_rad.tolist() == [1.2, 0.6]
    with torch.no_grad():
        model.strengths_rad.copy_(torch.tensor([2.0, -0.3]))
    model.project_strengths()
    assert model.strengths_rad.tolist() == [np.pi / 2, MIN_STRENGTH_RAD]
    with torch.no_grad():
        model.strengths_rad.fill_(0.7)
    model.project_strengths()
    assert model.strengths_rad.tolist() == [0.7, 0.7]
    assert model.strengths_rad.requires_grad


def test_the_strengths_of_the_module_are_the_ones_that_run(rng):
    model, inputs = make_model(make_program("open")), random_inputs(rng)
    before = model.read(inputs).steps
    with torch.no_grad():
        model.strengths_rad[0] = 0.4
    after = model.read(inputs).steps
    # The first timestep's single readout is proportional to sin(phi): no back-action yet.
    torch.testing.assert_close(
        after[:, 0, 0] / np.sin(0.4), before[:, 0, 0] / np.sin(1.2), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("loop", ["feedforward", "host"])
def test_fixed_strengths_are_no_trained_parameter(rng, loop):
    model = make_model(make_program(loop), train_strengths=False)
    model(random_inputs(rng)).sum().backward()
    assert not model.strengths_rad.requires_grad
    assert model.strengths_rad.grad is None
    assert "strengths_rad" in model.state_dict()


def test_a_state_dict_restores_the_outputs(rng):
    inputs = random_inputs(rng)
    first, second = make_model(make_program("open")), make_model(make_program("open"))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.mul_(0.9)
    assert (first(inputs) - second(inputs)).abs().max() > 1e-3
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(inputs), second(inputs), rtol=0, atol=0)


def test_inputs_take_the_precision_of_the_weights(rng):
    inputs = random_inputs(rng)
    double = make_model(make_program("feedforward"))
    single = make_model(make_program("feedforward")).float()
    assert single(inputs).dtype == torch.float32
    assert double(inputs.float()).dtype == torch.float64
    # Some hundred operations in single precision.
    torch.testing.assert_close(single(inputs).double(), double(inputs), rtol=0, atol=1e-4)


def test_the_exact_engine_is_the_default():
    assert isinstance(make_model(make_program("open")).engine, ExactEngine)


# --- refusals ------------------------------------------------------------------------------------


def test_bad_models_and_inputs_are_refused():
    program = make_program("feedforward")
    with pytest.raises(InputError, match="controller: must output 8 angles, got 7"):
        QRNN(program, Controller(NUM_FEATURES, 2, 7), num_outputs=1)
    with pytest.raises(InputError, match="view: must be all, last or each, got 'first'"):
        make_model(program, view="first")
    model = make_model(program)
    for shape in ((2, NUM_TIMESTEPS + 1, NUM_FEATURES), (NUM_TIMESTEPS, NUM_FEATURES)):
        with pytest.raises(InputError, match=r"inputs: must have shape \(batch, 3, num_features\)"):
            model(torch.zeros(shape))


@pytest.mark.parametrize(
    "options", [{}, {"final_bases": ("X", "Z", "Y")}, {"final_order": 2}], ids=str
)
def test_host_programs_that_shots_would_read_otherwise_are_refused(options):
    """The exact engine reads X, Y, Z in single bits whatever the program says."""
    cell = CellSpec(Ansatz("line", 2), loop="host")
    options = {"final_bases": ("X", "Y", "Z"), **options} if options else {}
    with pytest.raises(InputError, match="in the host loop"):
        make_model(SequenceProgram(cell, 2, **options))
