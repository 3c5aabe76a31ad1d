"""PennyLane: default.qubit's own gate functions, parameter broadcasting, torch autograd."""

from __future__ import annotations

import pennylane as qml
from model import StepInputs, StepWeights, build_sim14_gates, read_paulis, run_autograd_step
from pennylane.devices.qubit import apply_operation, create_initial_state
from torch import Tensor

OPERATIONS = {"ry": qml.RY, "crx": qml.CRX}


class PennyLaneEngine:
    """Calls what default.qubit calls when a QNode runs with ``diff_method="backprop"``.

    A QNode per timestep (StatePrep of the previous states, the layer, ``qml.state()``) gives the
    same numbers and took 1.0-1.3 times as long, so the faster of the two stands for PennyLane.
    """

    description = (
        f"pennylane {qml.__version__}, default.qubit's apply_operation, broadcast, complex64"
    )

    def __init__(self, num_qubits: int) -> None:
        self.num_qubits = num_qubits
        self.gates = build_sim14_gates(num_qubits)

    def step(self, weights: StepWeights, inputs: StepInputs) -> tuple[Tensor, StepWeights]:
        """Return the loss and its gradient by every weight."""
        # Operators built inside a recording context would be queued on the user's tape.
        with qml.QueuingManager.stop_recording():
            return run_autograd_step(self, weights, inputs)

    def prepare_zero_states(self, num_samples: int) -> Tensor:
        """Return (num_samples, 2, ..., 2), single precision as the other engines have it."""
        state = create_initial_state(range(self.num_qubits), like="torch").cfloat()
        return state.expand(num_samples, *state.shape)

    def advance(self, states: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        """States and expectations after one sim14 layer."""
        states = self.apply_layer(states, angles)
        return states, read_paulis(states, self.num_qubits)

    def apply_layer(self, states: Tensor, angles: Tensor) -> Tensor:
        """Apply one sim14 layer."""
        for slot, (name, qubits) in enumerate(self.gates):
            operation = OPERATIONS[name](angles[:, slot], wires=qubits)
            states = apply_operation(operation, states, is_state_batched=True)
        return states
