"""The training step that every engine of ``train_step.py`` runs: weights, inputs, circuit, loss.

One sample's hidden state is an n-qubit statevector, qubit 0 the most significant index. At each
timestep a controller reads the features and the previous Pauli expectations and sets the angles of
one sim14 layer (Sim, Johnson and Aspuru-Guzik 2019, circuit 14), which is applied to the state.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

NUM_FEATURES = 8
NUM_HIDDEN = 64
NUM_CLASSES = 10

# One gate is its name and its qubits, control first.
Gate = tuple[str, tuple[int, ...]]


def build_sim14_gates(num_qubits: int) -> list[Gate]:
    """List sim14's 4 n gates in order of application, one angle each."""
    qubits = range(num_qubits)
    rotations: list[Gate] = [("ry", (qubit,)) for qubit in qubits]
    ring_down: list[Gate] = [
        ("crx", (qubit, (qubit + 1) % num_qubits)) for qubit in reversed(qubits)
    ]
    ring_up: list[Gate] = [
        ("crx", (qubit, (qubit - 1) % num_qubits))
        for qubit in [num_qubits - 1, *range(num_qubits - 1)]
    ]
    return [*rotations, *ring_down, *rotations, *ring_up]


@dataclass(frozen=True)
class StepWeights:
    """Controller and head weights, as ``torch.nn.Linear`` lays them out; or their gradients.

    With n qubits: ``hidden_weight`` (64, 8 + 3 n), ``hidden_bias`` (64,), ``angle_weight``
    (4 n, 64), ``angle_bias`` (4 n,), ``head_weight`` (10, 3 n), ``head_bias`` (10,); all float32.
    """

    hidden_weight: Tensor
    hidden_bias: Tensor
    angle_weight: Tensor
    angle_bias: Tensor
    head_weight: Tensor
    head_bias: Tensor

    def __post_init__(self) -> None:
        num_angles = self.angle_bias.numel()
        if num_angles % 4:
            raise ValueError(
                f"angle_bias must hold 4 angles per qubit, got {num_angles}; use sim14's 4 n."
            )
        num_expectations = 3 * num_angles // 4
        expected_shapes = {
            "hidden_weight": (NUM_HIDDEN, NUM_FEATURES + num_expectations),
            "hidden_bias": (NUM_HIDDEN,),
            "angle_weight": (num_angles, NUM_HIDDEN),
            "angle_bias": (num_angles,),
            "head_weight": (NUM_CLASSES, num_expectations),
            "head_bias": (NUM_CLASSES,),
        }
        for name, shape in expected_shapes.items():
            tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or tensor.dtype != torch.float32:
                raise ValueError(
                    f"{name} must be float32 of shape {shape}, "
                    f"got {tensor.dtype} {tuple(tensor.shape)}."
                )

    @property
    def num_qubits(self) -> int:
        """Number of qubits n of the cell these weights steer."""
        return self.angle_bias.numel() // 4

    def tensors(self) -> dict[str, Tensor]:
        """Map each weight's name to its tensor."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class StepInputs:
    """``features`` (num_samples, num_timesteps, 8) float32 and class ``labels`` (num_samples,)."""

    features: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.features.ndim != 3 or self.features.shape[2] != NUM_FEATURES:
            raise ValueError(
                f"features must have shape (num_samples, num_timesteps, {NUM_FEATURES}), "
                f"got {tuple(self.features.shape)}."
            )
        if self.labels.shape != self.features.shape[:1]:
            raise ValueError(
                f"labels must hold one class per sample of features, {self.features.shape[0]}, "
                f"got shape {tuple(self.labels.shape)}."
            )


class Engine(Protocol):
    """What ``train_step.py`` times."""

    def step(self, weights: StepWeights, inputs: StepInputs) -> tuple[Tensor, StepWeights]:
        """Return the loss, a detached scalar, and its gradient by every weight."""
        ...


class StateEngine(Protocol):
    """An engine that brings only its gates, and lets ``run_autograd_step`` do the rest."""

    def prepare_zero_states(self, num_samples: int) -> Any:
        """Return |0...0> per sample, in the shape ``advance`` takes."""
        ...

    def advance(self, states: Any, angles: Tensor) -> tuple[Any, Tensor]:
        """States and expectations after one sim14 layer, ``angles`` (num_samples, 4 n)."""
        ...


def make_weights(num_qubits: int, seed: int) -> StepWeights:
    """Draw weights as ``torch.nn.Linear`` does: uniform in +-1/sqrt(fan_in)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: tuple[int, ...], fan_in: int) -> Tensor:
        return (2 * torch.rand(shape, generator=generator) - 1) / fan_in**0.5

    num_inputs, num_expectations = NUM_FEATURES + 3 * num_qubits, 3 * num_qubits
    return StepWeights(
        hidden_weight=draw((NUM_HIDDEN, num_inputs), num_inputs),
        hidden_bias=draw((NUM_HIDDEN,), num_inputs),
        angle_weight=draw((4 * num_qubits, NUM_HIDDEN), NUM_HIDDEN),
        angle_bias=draw((4 * num_qubits,), NUM_HIDDEN),
        head_weight=draw((NUM_CLASSES, num_expectations), num_expectations),
        head_bias=draw((NUM_CLASSES,), num_expectations),
    )


def make_inputs(num_samples: int, num_timesteps: int, seed: int) -> StepInputs:
    """Draw standard normal features and uniform labels."""
    generator = torch.Generator().manual_seed(seed)
    return StepInputs(
        features=torch.randn((num_samples, num_timesteps, NUM_FEATURES), generator=generator),
        labels=torch.randint(NUM_CLASSES, (num_samples,), generator=generator),
    )


def read_paulis(states: Tensor, num_qubits: int) -> Tensor:
    """Return (num_samples, 3 n) expectations: every <X_i>, then every <Y_i>, then every <Z_i>.

    Every engine built on torch reads its states here: it is 3-8 times faster than
    ``torchquantum.expval`` and more than that faster than default.qubit's ``measure``.
    """
    overlaps, populations = [], []
    for qubit in range(num_qubits):
        split = states.reshape(states.shape[0], 2**qubit, 2, -1)
        zero, one = split[:, :, 0], split[:, :, 1]
        overlaps.append((zero.conj() * one).sum((1, 2)))
        populations.append(torch.view_as_real(zero).square().sum((1, 2, 3)))
    overlap = torch.stack(overlaps, dim=1)
    return torch.cat(
        [2 * overlap.real, 2 * overlap.imag, 2 * torch.stack(populations, dim=1) - 1], dim=1
    )


def run_autograd_step(
    engine: StateEngine, weights: StepWeights, inputs: StepInputs
) -> tuple[Tensor, StepWeights]:
    """Unroll the recurrence over ``engine.advance`` and differentiate it with autograd."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in weights.tensors().items()}
    num_samples, num_timesteps, _ = inputs.features.shape
    num_qubits = weights.num_qubits
    states = engine.prepare_zero_states(num_samples)
    zero = torch.zeros((num_samples, 2 * num_qubits))
    expectations = torch.cat([zero, torch.ones((num_samples, num_qubits))], dim=1)
    for timestep in range(num_timesteps):
        controller_input = torch.cat([inputs.features[:, timestep], expectations], dim=1)
        hidden = torch.relu(
            torch.nn.functional.linear(
                controller_input, leaves["hidden_weight"], leaves["hidden_bias"]
            )
        )
        angles = torch.nn.functional.linear(hidden, leaves["angle_weight"], leaves["angle_bias"])
        states, expectations = engine.advance(states, angles)
    logits = torch.nn.functional.linear(expectations, leaves["head_weight"], leaves["head_bias"])
    loss = expectations.square().mean() + torch.nn.functional.cross_entropy(logits, inputs.labels)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return loss.detach(), StepWeights(**dict(zip(leaves, gradients, strict=True)))
