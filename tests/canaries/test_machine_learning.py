"""Canaries for qiskit-machine-learning: each fails when a trap of docs/traps.md is gone."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.primitives import StatevectorSampler
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer.primitives import EstimatorV2, SamplerV2
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.gradients import (
    LinCombEstimatorGradient,
    LinCombSamplerGradient,
    ParamShiftEstimatorGradient,
    ParamShiftSamplerGradient,
    SPSASamplerGradient,
)
from qiskit_machine_learning.neural_networks import NeuralNetwork, SamplerQNN
from torch.autograd.function import FunctionCtx, once_differentiable


def gone(trap: str, workaround: str) -> str:
    return f"trap {trap} is gone: the workaround in {workaround} can be removed (docs/traps.md)"


LAYER = "learning (the quantum layer)"


class Sine(NeuralNetwork):
    """Elementwise sine: a network whose every derivative is known."""

    def __init__(self, num_inputs: int = 2, *, input_gradients: bool = True) -> None:
        super().__init__(num_inputs, 0, False, (num_inputs,), input_gradients=input_gradients)

    def _forward(self, input_data: NDArray, weights: NDArray) -> NDArray:
        return np.sin(input_data)

    def _backward(self, input_data: NDArray, weights: NDArray) -> tuple[NDArray | None, None]:
        if not self.input_gradients:
            return None, None
        return np.einsum("bk,kj->bkj", np.cos(input_data), np.eye(self.num_inputs)), None


class _SineFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, inputs: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(inputs)
        return torch.sin(inputs)

    @staticmethod
    def backward(ctx: FunctionCtx, grad_output: torch.Tensor) -> torch.Tensor:
        # Gradient mode is on in a backward pass only under create_graph=True.
        if torch.is_grad_enabled():
            raise RuntimeError("this layer can be differentiated only once")
        (inputs,) = ctx.saved_tensors
        return grad_output * torch.cos(inputs)


class VectorJacobianConnector(TorchConnector):
    """The avoiding form: takes the incoming gradient, keeps the dtype, refuses create_graph."""

    def forward(self, input_data: torch.Tensor | None = None) -> torch.Tensor:
        return _SineFunction.apply(input_data)


def random_inputs(*shape: int) -> torch.Tensor:
    values = np.random.default_rng(7).normal(size=shape)
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# --- QML-1: gradients that never reach the controller --------------------------------------------


def controller_gradient(connector: TorchConnector) -> torch.Tensor | None:
    torch.manual_seed(7)
    controller = torch.nn.Linear(3, 2)
    connector(controller(torch.ones(4, 3))).sum().backward()
    return controller.weight.grad


def test_qml_1_without_input_gradients_the_controller_gets_none() -> None:
    silent = controller_gradient(TorchConnector(Sine(input_gradients=False)))
    assert silent is None, gone("QML-1", LAYER)
    # A constructor that says nothing means no input gradients.
    assert not SamplerQNN(
        circuit=QuantumCircuit(1), sampler=StatevectorSampler(), input_params=[], weight_params=[]
    ).input_gradients, gone("QML-1", LAYER)

    told = controller_gradient(TorchConnector(Sine(input_gradients=True)))
    ours = controller_gradient(VectorJacobianConnector(Sine()))
    assert told is not None
    assert ours is not None
    torch.testing.assert_close(told, ours)


# --- QML-2: single precision ---------------------------------------------------------------------


def test_qml_2_output_is_always_float32() -> None:
    inputs = random_inputs(4, 2)
    output = TorchConnector(Sine())(inputs)
    assert output.dtype == torch.float32, gone("QML-2", LAYER)
    with torch.no_grad():
        error = (output.double() - torch.sin(inputs)).abs().max()
    assert error > 1e-10, gone("QML-2", LAYER)

    ours = VectorJacobianConnector(Sine())
    assert isinstance(ours, TorchConnector)
    assert ours(inputs).dtype == torch.float64
    assert torch.autograd.gradcheck(ours, (inputs,))


# --- QML-3: second derivatives -------------------------------------------------------------------


def gradient_penalty(network: torch.nn.Module) -> torch.Tensor:
    """d/dw of |d sum(network(x w)) / dx|^2: needs the second derivative of the network."""
    weight = torch.tensor([[0.5, 0.2], [0.1, 0.9]], dtype=torch.float64, requires_grad=True)
    inputs = random_inputs(3, 2)
    output = network(inputs @ weight)
    (gradient,) = torch.autograd.grad(output.sum(), inputs, create_graph=True)
    (penalty,) = torch.autograd.grad((gradient**2).sum(), weight)
    return penalty


class TorchSine(torch.nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.sin(inputs)


def test_qml_3_double_backward_is_silently_wrong() -> None:
    message = gone("QML-3", LAYER)
    exact = gradient_penalty(TorchSine())
    stock = gradient_penalty(TorchConnector(Sine()))
    assert (stock - exact).norm() > 0.1 * exact.norm(), message

    hessian = torch.autograd.functional.hessian(
        lambda x: (TorchConnector(Sine())(x) ** 2).sum(), random_inputs(1, 2)
    )
    assert torch.count_nonzero(hessian) == 0, message

    with pytest.raises(RuntimeError, match="only once"):
        gradient_penalty(VectorJacobianConnector(Sine()))


class _OnceDifferentiableSine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, inputs: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(inputs)
        return torch.sin(inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_output: torch.Tensor) -> torch.Tensor:
        (inputs,) = ctx.saved_tensors
        return grad_output * torch.cos(inputs)


class OnceDifferentiable(torch.nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return _OnceDifferentiableSine.apply(inputs)


def test_torch_1_once_differentiable_misses_a_constant_incoming_gradient() -> None:
    # The penalty differentiates a plain sum, whose incoming gradient is a constant 1.
    exact = gradient_penalty(TorchSine())
    guarded = gradient_penalty(OnceDifferentiable())
    assert (guarded - exact).norm() > 0.1 * exact.norm(), gone("TORCH-1", LAYER)

    # With a nonlinear loss in between, the incoming gradient requires grad and the guard works.
    inputs = random_inputs(3, 2)
    loss = (OnceDifferentiable()(inputs) ** 2).sum()
    (gradient,) = torch.autograd.grad(loss, inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# --- QML-4: batches with more than one axis ------------------------------------------------------


def test_qml_4_batches_of_three_axes_are_contracted_wrongly() -> None:
    message = gone("QML-4", LAYER)
    inputs = random_inputs(3, 4, 2)
    output = TorchConnector(Sine())(inputs)
    assert output.shape == (3, 4, 2)  # forward is fine
    error = None
    try:
        output.sum().backward()
    except RuntimeError as caught:
        error = caught
    assert error is not None, message
    assert "invalid gradient" in str(error)

    # Where the second axis is as long as the output, the shapes agree and it passes in silence.
    inputs = random_inputs(3, 2, 2)
    TorchConnector(Sine())(inputs).sum().backward()
    exact = torch.cos(inputs.detach())
    assert not torch.allclose(inputs.grad, exact, rtol=1e-5), message

    inputs = random_inputs(3, 2, 2)
    VectorJacobianConnector(Sine())(inputs).sum().backward()
    torch.testing.assert_close(inputs.grad, exact)


# --- QML-5: SamplerQNN and the name of the register ----------------------------------------------


def flip_network(register: str) -> SamplerQNN:
    angle = Parameter("angle")
    circuit = QuantumCircuit(QuantumRegister(1, "q"), ClassicalRegister(1, register))
    circuit.rx(angle, 0)
    circuit.measure(0, 0)
    return SamplerQNN(
        circuit=circuit,
        sampler=StatevectorSampler(seed=7, default_shots=64),
        input_params=[angle],
        weight_params=[],
        output_shape=2,
        interpret=int,
    )


def test_qml_5_sampler_qnn_aggregates_the_batch_unless_the_register_is_meas() -> None:
    inputs = np.array([[0.0], [np.pi]])
    aggregated = flip_network("c").forward(inputs, [])
    np.testing.assert_array_equal(aggregated, np.full((2, 2), 0.5), err_msg=gone("QML-5", LAYER))
    np.testing.assert_array_equal(flip_network("meas").forward(inputs, []), np.eye(2))


# --- QML-6: gradients inside branches ------------------------------------------------------------


def steered() -> QuantumCircuit:
    angle = Parameter("angle")
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(1, "meas"))
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rx(angle, 1)
    return circuit


def key_error(call: object, *arguments: object) -> KeyError | None:
    try:
        call(*arguments)
    except KeyError as error:
        return error
    return None


@pytest.mark.parametrize("gradient", [ParamShiftSamplerGradient, LinCombSamplerGradient])
def test_qml_6_sampler_gradients_fail_on_a_parameter_inside_a_branch(gradient: type) -> None:
    circuit = steered()
    error = key_error(
        lambda: gradient(SamplerV2(seed=7)).run([circuit], [[0.3]]).result().gradients
    )
    assert error is not None, gone("QML-6", "estimation/gradients")
    assert error.args == (circuit.parameters[0],)


@pytest.mark.parametrize("gradient", [ParamShiftEstimatorGradient, LinCombEstimatorGradient])
def test_qml_6_estimator_gradients_fail_on_a_parameter_inside_a_branch(gradient: type) -> None:
    circuit = steered()
    observable = SparsePauliOp("ZI")
    error = key_error(
        lambda: gradient(EstimatorV2()).run([circuit], [observable], [[0.3]]).result().gradients
    )
    assert error is not None, gone("QML-6", "estimation/gradients")


def test_qml_6_spsa_and_shifted_rows_do_work() -> None:
    circuit = steered()
    circuit.measure(1, 0)
    result = (
        SPSASamplerGradient(SamplerV2(seed=7, default_shots=1000), epsilon=0.1, seed=7)
        .run([circuit], [[0.3]])
        .result()
    )
    assert len(result.gradients) == 1

    # The avoiding form: both shifts of the slot are rows of one array. P(1) = sin^2(angle / 2).
    angle, num_shots = 1.0, 2000
    rows = np.array([[angle + np.pi / 2], [angle - np.pi / 2]])
    data = SamplerV2(seed=7).run([(circuit, rows)], shots=num_shots).result()[0].data.meas
    plus, minus = (data[row].get_counts().get("1", 0) / num_shots for row in range(2))
    standard_error = 0.5 * np.sqrt((plus * (1 - plus) + minus * (1 - minus)) / num_shots)
    assert abs((plus - minus) / 2 - np.sin(angle) / 2) < 5 * standard_error
