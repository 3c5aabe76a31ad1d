"""The quantum layer: shots under torch, through qiskit-machine-learning's connector.

The stock `TorchConnector` asks for the whole Jacobian, turns everything to float32 and contracts
batches of several axes wrongly (docs/traps.md, QML). The subclass here takes the incoming
gradient instead, which is one vector-Jacobian product, and keeps dtype and batch shape.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import NeuralNetwork
from torch import Tensor

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.estimation import Evaluator, GradientEstimator
from qrnn_qiskit.estimation.gradients import PullBack
from qrnn_qiskit.simulate.first_order import refuse_double_backward

Array = NDArray[np.float64]


class SequenceNetwork(NeuralNetwork):
    """Controls in, features out, as a qiskit-machine-learning network without own weights.

    Args:
        evaluator: how features are estimated.
        gradient: how they are linearised.

    Example:
        >>> from qrnn_qiskit.estimation import ExactEvaluator, Surrogate
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)
        >>> network = SequenceNetwork(ExactEvaluator(program), Surrogate(program))
        >>> network.forward(np.zeros((3, program.num_controls)), []).shape
        (3, 4)
    """

    def __init__(self, evaluator: Evaluator, gradient: GradientEstimator) -> None:
        self.evaluator = evaluator
        self.gradient = gradient
        program = evaluator.program
        super().__init__(
            num_inputs=program.num_controls,
            num_weights=0,
            sparse=False,
            output_shape=program.num_features,
            # Without it, gradients silently stop before the controller (docs/traps.md, QML-1).
            input_gradients=True,
        )

    def evaluate_and_linearise(self, controls: Array) -> tuple[Array, PullBack]:
        """Features `(num_rows, num_features)` and their vector-Jacobian product."""
        features = self.evaluator.evaluate(controls).value
        return features, self.gradient.linearise(controls, features)

    def _forward(self, input_data: Array | None, weights: Array | None) -> Array:
        assert input_data is not None
        return self.evaluator.evaluate(input_data).value

    def _backward(self, input_data: Array | None, weights: Array | None) -> tuple[Array, None]:
        """The whole Jacobian, for qiskit-machine-learning's own tools; one product per feature."""
        assert input_data is not None
        features, pull_back = self.evaluate_and_linearise(input_data)
        rows = [
            pull_back(np.broadcast_to(unit, features.shape)) for unit in np.eye(features.shape[1])
        ]
        return np.stack(rows, axis=1), None


class QuantumLayer(TorchConnector):
    """A `TorchConnector` that passes the incoming gradient on: one product instead of a Jacobian.

    Any batch shape, the dtype of the input, first derivatives only.

    Args:
        network: what is evaluated.

    Example:
        >>> from qrnn_qiskit.estimation import ExactEvaluator, Surrogate
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)
        >>> layer = QuantumLayer(SequenceNetwork(ExactEvaluator(program), Surrogate(program)))
        >>> layer(torch.zeros(5, 2, program.num_controls, dtype=torch.float64)).shape
        torch.Size([5, 2, 4])
    """

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__(network, initial_weights=np.zeros(0))
        self.network = network

    def forward(self, input_data: Tensor | None = None) -> Tensor:
        """Features `(..., num_features)` of controls `(..., num_controls)`.

        Raises:
            InputError: if there are no controls: this layer has no weights of its own to run on.
        """
        if input_data is None:
            raise InputError(
                f"input_data: must be controls (..., {self.network.num_inputs}), got None; "
                "pass QRNN.controls(inputs)"
            )
        rows = input_data.reshape(-1, input_data.shape[-1])
        if torch.is_grad_enabled() and rows.requires_grad:
            features = _Product.apply(rows, self.network)
        else:
            values = self.network.forward(_to_array(rows), np.zeros(0))
            features = torch.from_numpy(np.asarray(values)).to(rows)
        return features.reshape(*input_data.shape[:-1], -1)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, network: SequenceNetwork) -> Tensor:
        features, ctx.pull_back = network.evaluate_and_linearise(_to_array(rows))
        return torch.from_numpy(features).to(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        refuse_double_backward()
        product = ctx.pull_back(_to_array(gradient))
        return torch.from_numpy(np.ascontiguousarray(product)).to(gradient), None


def _to_array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(np.float64)
