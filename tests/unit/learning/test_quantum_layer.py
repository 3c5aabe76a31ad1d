"""The quantum layer: a TorchConnector that keeps dtype and shape and passes gradients on."""

import numpy as np
import pytest
import torch
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import NeuralNetwork

from qrnn_qiskit.estimation import ExactEvaluator, Surrogate
from qrnn_qiskit.learning.quantum_layer import QuantumLayer, SequenceNetwork
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate import exact_features
from tests.programs import controls_of, host_program, random_table

FEEDFORWARD = SequenceProgram(
    CellSpec(Ansatz("sim14", 2), (Readout("X", 1, 1.1),)),
    num_timesteps=2,
    final_bases=("Z", "X"),
    final_order=2,
)
OPEN = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0, 0.9),), "open"), 2)
PROGRAMS = {"feedforward": FEEDFORWARD, "open": OPEN, "host": host_program("line", 2, 2)}


def exact_layer(program):
    return QuantumLayer(SequenceNetwork(ExactEvaluator(program), Surrogate(program)))


def random_controls(rng, program, *shape, dtype=torch.float64):
    flat = controls_of(program, random_table(rng, program, batch=int(np.prod(shape))))
    return torch.from_numpy(flat).reshape(*shape, -1).to(dtype)


def test_it_is_what_qiskit_machine_learning_knows():
    layer = exact_layer(FEEDFORWARD)
    assert isinstance(layer, TorchConnector)
    assert isinstance(layer.neural_network, NeuralNetwork)
    assert layer.neural_network.input_gradients
    assert layer.neural_network.num_inputs == FEEDFORWARD.num_controls
    assert layer.neural_network.output_shape == (FEEDFORWARD.num_features,)
    assert sum(parameter.numel() for parameter in layer.parameters()) == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradcheck(rng, name):
    """Against central differences; phi is one parameter for the whole batch, as in the model."""
    program = PROGRAMS[name]
    layer = exact_layer(program)
    num_angles = program.num_table_angles
    controls = random_controls(rng, program, 2)
    table = controls[:, :num_angles].clone().requires_grad_()
    strengths = controls[0, num_angles:].clone().requires_grad_()

    def features(table, strengths):
        return layer(torch.cat((table, strengths.expand(len(table), -1)), dim=1))

    # Central differences with this step are good to about 1e-16/step + step^2.
    assert torch.autograd.gradcheck(
        features, (table, strengths), eps=1e-6, atol=1e-6, rtol=0.0, fast_mode=False
    )


def test_gradcheck_can_fail(rng):
    """Damping by a tenth, as a device would show it, is not the derivative of exact features."""
    surrogate = Surrogate(OPEN)
    controls = random_controls(rng, OPEN, 20)
    exact = ExactEvaluator(OPEN).evaluate(controls.numpy()).value
    surrogate.linearise(controls.numpy(), 0.9 * exact)
    layer = QuantumLayer(SequenceNetwork(ExactEvaluator(OPEN), surrogate))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(layer, controls[:1].requires_grad_(), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (6,), (2, 3), (1, 3, 2)], ids=str)
def test_any_batch_shape_is_the_flattened_batch(rng, shape):
    program = FEEDFORWARD
    controls = random_controls(rng, program, *shape)
    weights = torch.from_numpy(rng.normal(size=(*shape, program.num_features)))
    shaped = controls.clone().requires_grad_()
    output = exact_layer(program)(shaped)
    assert output.shape == (*shape, program.num_features)
    (output * weights).sum().backward()

    flat = controls.reshape(-1, program.num_controls).requires_grad_()
    expected = exact_features(program, flat)
    (expected * weights.reshape(-1, program.num_features)).sum().backward()
    torch.testing.assert_close(output.reshape(expected.shape), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(shaped.grad.reshape(flat.shape), flat.grad, rtol=0, atol=1e-12)
    assert flat.grad.abs().max() > 1e-3
    # Without gradients the same numbers, by another path.
    with torch.no_grad():
        torch.testing.assert_close(exact_layer(program)(controls), output, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_that_of_the_input(rng, dtype):
    controls = random_controls(rng, FEEDFORWARD, 3, dtype=dtype).requires_grad_()
    output = exact_layer(FEEDFORWARD)(controls)
    output.sum().backward()
    assert output.dtype == controls.grad.dtype == dtype
    with torch.no_grad():
        assert exact_layer(FEEDFORWARD)(controls).dtype == dtype
    # The evaluation itself is in double precision.
    expected = exact_features(FEEDFORWARD, controls.detach().double()).to(dtype)
    torch.testing.assert_close(output.detach(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("power", [1, 2], ids=["linear loss", "quadratic loss"])
def test_a_second_derivative_is_refused(rng, power):
    """TORCH-1: under a linear loss the incoming gradient is a constant, and zero would come out."""
    controls = random_controls(rng, OPEN, 2).requires_grad_()
    loss = (exact_layer(OPEN)(controls) ** power).sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(loss, controls, create_graph=True)
    # First derivatives are there still.
    assert torch.autograd.grad(loss, controls)[0].abs().max() > 1e-3


def test_gradients_reach_a_controller(rng):
    torch.manual_seed(1)
    controller = torch.nn.Linear(3, OPEN.num_table_angles, dtype=torch.float64)
    inputs = torch.from_numpy(rng.normal(size=(4, 3)))
    strengths = torch.full((4, 1), 0.9, dtype=torch.float64)

    def gradient(features):
        controller.zero_grad()
        features(torch.cat((controller(inputs), strengths), dim=1)).sum().backward()
        return controller.weight.grad.clone()

    found = gradient(exact_layer(OPEN))
    expected = gradient(lambda controls: exact_features(OPEN, controls))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("name", PROGRAMS)
def test_network_backward_is_the_whole_jacobian(rng, name):
    """qiskit-machine-learning's own interface, one row of controls at a time."""
    program = PROGRAMS[name]
    network = exact_layer(program).neural_network
    controls = random_controls(rng, program, 1)
    jacobian, weight_gradient = network.backward(controls.numpy(), np.zeros(0))
    assert jacobian.shape == (1, program.num_features, program.num_controls)
    assert weight_gradient is None
    expected = torch.autograd.functional.jacobian(
        lambda row: exact_features(program, row[None])[0], controls[0]
    )
    np.testing.assert_allclose(jacobian[0], expected, rtol=0, atol=1e-12)

    incoming = rng.normal(size=(1, program.num_features))
    features, pull_back = network.evaluate_and_linearise(controls.numpy())
    np.testing.assert_allclose(pull_back(incoming), incoming @ jacobian[0], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(features, network.forward(controls.numpy(), []))


def test_the_stock_connector_gives_the_same_gradient_in_single_precision(rng):
    """The network is complete in qiskit-machine-learning's terms: its own connector runs it."""
    network = SequenceNetwork(ExactEvaluator(OPEN), Surrogate(OPEN))
    controls = random_controls(rng, OPEN, 1).requires_grad_()
    weights = torch.from_numpy(rng.normal(size=(1, OPEN.num_features)))
    gradients = []
    for layer in (TorchConnector(network, initial_weights=np.zeros(0)), exact_layer(OPEN)):
        controls.grad = None
        (layer(controls) * weights).sum().backward()
        gradients.append(controls.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-5)
