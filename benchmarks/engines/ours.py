"""Our side of the training-step benchmark."""

from __future__ import annotations

import torch
from model import StepInputs, StepWeights, build_sim14_gates, run_autograd_step
from torch import Tensor


class OursEngine:
    """A plain complex64 statevector under torch autograd, in the place of the package's engine."""

    description = "naive complex64 statevector, torch autograd (stand-in)"

    def __init__(self, num_qubits: int) -> None:
        self.num_qubits = num_qubits
        self.gates = build_sim14_gates(num_qubits)

    def step(self, weights: StepWeights, inputs: StepInputs) -> tuple[Tensor, StepWeights]:
        """Return the loss and its gradient by every weight."""
        return run_autograd_step(self, weights, inputs)

    def prepare_zero_states(self, num_samples: int) -> Tensor:
        """Return (num_samples, 2**n)."""
        states = torch.zeros((num_samples, 2**self.num_qubits), dtype=torch.complex64)
        states[:, 0] = 1
        return states

    def apply_layer(self, states: Tensor, angles: Tensor) -> Tensor:
        """Apply one sim14 layer."""
        cosines, sines = torch.cos(angles / 2), torch.sin(angles / 2)
        for slot, (name, qubits) in enumerate(self.gates):
            cosine, sine = cosines[:, slot], sines[:, slot]
            if name == "ry":
                states = _apply_ry(states, *qubits, cosine, sine)
            else:
                states = _apply_crx(states, *qubits, cosine, sine)
        return states


def _apply_ry(states: Tensor, qubit: int, cosine: Tensor, sine: Tensor) -> Tensor:
    split = states.reshape(states.shape[0], 2**qubit, 2, -1)
    zero, one = split[:, :, 0], split[:, :, 1]
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    turned = torch.stack([cosine * zero - sine * one, sine * zero + cosine * one], dim=2)
    return turned.reshape(states.shape)


def _apply_crx(states: Tensor, control: int, target: int, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = min(control, target), max(control, target)
    split = states.reshape(states.shape[0], 2**first, 2, 2 ** (second - first - 1), 2, -1)
    control_axis, target_axis = (2, 4) if control < target else (4, 2)
    idle, active = split.unbind(control_axis)
    # The unbind removed one axis; the target's moved down if it came after the control's.
    axis = target_axis - (target_axis > control_axis)
    zero, one = active.unbind(axis)
    cosine, sine = cosine[:, None, None, None], -1j * sine[:, None, None, None]
    turned = torch.stack([cosine * zero + sine * one, sine * zero + cosine * one], dim=axis)
    return torch.stack([idle, turned], dim=control_axis).reshape(states.shape)
