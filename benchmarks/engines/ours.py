"""Our side of the training-step benchmark: the package's exact engine."""

from __future__ import annotations

from model import StepInputs, StepWeights, run_autograd_step
from torch import Tensor

from qrnn_qiskit.program import Ansatz
from qrnn_qiskit.simulate import HostState, start_host, step_host


class OursEngine:
    """``start_host`` and ``step_host``: planar batch-last states, reversible adjoint.

    The package counts qubits from the least significant index and the benchmark's model from the
    most significant one; expectations are listed by qubit in both, so nothing has to be turned.
    """

    description = "qrnn_qiskit.simulate: planar states, reversible adjoint"

    def __init__(self, num_qubits: int) -> None:
        self.ansatz = Ansatz("sim14", num_qubits)

    def step(self, weights: StepWeights, inputs: StepInputs) -> tuple[Tensor, StepWeights]:
        """Return the loss and its gradient by every weight."""
        return run_autograd_step(self, weights, inputs)

    def prepare_zero_states(self, num_samples: int) -> HostState:
        """Return |0...0> per sample."""
        return start_host(self.ansatz, num_samples)

    def advance(self, states: HostState, angles: Tensor) -> tuple[HostState, Tensor]:
        """States and expectations after one sim14 layer."""
        states, paulis = step_host(states, angles)
        return states, paulis.flatten(1)
