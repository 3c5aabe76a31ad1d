"""The inner operation of every exact engine: one ansatz on a batch of states, and its adjoint.

A state is planar and batch-last, shape `(2, 2**num_memory, num_columns, num_states)`: real and
imaginary plane, amplitude (qubit 0 lowest), columns that share the angles of their state
(1 for a statevector, `2**num_memory` to build a unitary from the identity), states with angles
of their own. Every gate is then a few in-place vector operations, without permutation: a plane
rotation is three shears (A. W. Paeth, "A fast algorithm for general raster rotation", 1986),
which needs no temporary and, for angles folded into [-pi/2, pi/2], no tangent above 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from qrnn_qiskit.program import Ansatz, Rotation

# States are processed in chunks whose planes fit a core's cache: elementwise gates are bound by
# memory traffic above it and by call overhead below it (measured on two cores, 0.1-1 MiB is flat).
_CHUNK_BYTES = 2**19


class CellKernel(Protocol):
    """Applies an ansatz, and pulls gradients back through it. A faster kernel replaces this."""

    def apply(self, angles: Tensor, state: Tensor) -> Tensor:
        """The state after the ansatz; `angles` is `(num_angles, num_states)`."""
        ...

    def pull_back(
        self, angles: Tensor, state: Tensor, adjoint: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """State and adjoint before the ansatz, and the gradient of the angles.

        `state` and `adjoint` belong after the ansatz; the state is recovered by undoing gates,
        so that nothing has to be stored in the forward pass.
        """
        ...


@lru_cache(maxsize=64)
def build_torch_kernel(ansatz: Ansatz) -> "TorchKernel":
    """The kernel of an ansatz in plain torch operations, on any device."""
    return TorchKernel(ansatz)


class TorchKernel:
    """`CellKernel` in torch; gates are applied one by one, commuting RZZ as one phase."""

    def __init__(self, ansatz: Ansatz) -> None:
        self._num_angles = ansatz.num_angles
        self._gates = _compile_gates(ansatz)

    def apply(self, angles: Tensor, state: Tensor) -> Tensor:
        """See `CellKernel.apply`."""
        result = torch.empty_like(state)
        for part in _chunks(state):
            block = state[..., part].clone(memory_format=torch.contiguous_format)
            shears = _Shears(angles[:, part])
            for gate in self._gates:
                gate.rotate(block[None], shears)
            result[..., part] = block
        return result

    def pull_back(
        self, angles: Tensor, state: Tensor, adjoint: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `CellKernel.pull_back`."""
        # State and adjoint go through the same inverse gates: one stacked buffer halves the calls.
        both = torch.empty((2, *state.shape), dtype=state.dtype, device=state.device)
        gradient = torch.empty_like(angles)
        for part in _chunks(state):
            block = torch.stack((state[..., part], adjoint[..., part]))
            inverse = _Shears(-angles[:, part])
            for gate in reversed(self._gates):
                gradient[gate.angles, part] = gate.gradient(block[0], block[1])
                gate.rotate(block, inverse)
            both[..., part] = block
        return both[0], both[1], gradient


@dataclass(frozen=True)
class _Gate:
    """One kernel operation: rotates `(copies, 2, dim, columns, states)` in place."""

    angles: slice
    rotate: Callable[[Tensor, "_Shears"], None]
    gradient: Callable[[Tensor, Tensor], Tensor]


def _chunks(state: Tensor) -> list[slice]:
    num_states = state.shape[-1]
    if state.device.type != "cpu":
        return [slice(0, num_states)]
    bytes_per_state = state.element_size() * (state.numel() // max(num_states, 1))
    size = max(16, _CHUNK_BYTES // bytes_per_state)
    return [slice(start, start + size) for start in range(0, num_states, size)]


class _Shears:
    """Rotations by half the angles, `(num_angles, num_states)`, as shears."""

    def __init__(self, angles: Tensor) -> None:
        self.half = angles / 2
        turns = torch.round(self.half / torch.pi)
        folded = self.half - turns * torch.pi
        self._tangent = -(folded / 2).tan()
        self._sine = folded.sin()
        # A half turn left out is a factor -1; most batches have none.
        self._signs = 1 - 2 * (turns.remainder(2))
        self._is_flipped = (self._signs < 0).any(dim=1).tolist()

    def rotate(self, angle: int, x: Tensor, y: Tensor) -> None:
        """(x, y) -> (x cos - y sin, x sin + y cos), in place, but for `sign`."""
        tangent, sine = self._tangent[angle], self._sine[angle]
        x.addcmul_(y, tangent)
        y.addcmul_(x, sine)
        x.addcmul_(y, tangent)

    def sign(self, angle: int) -> Tensor | None:
        """The factor that `rotate` leaves out, `(num_states,)`, or None if it is 1."""
        return self._signs[angle] if self._is_flipped[angle] else None


def _compile_gates(ansatz: Ansatz) -> tuple[_Gate, ...]:
    gates: list[_Gate] = []
    for kind, group in groupby(ansatz.rotations, key=lambda rotation: rotation.gate):
        rotations = list(group)
        if kind == "rzz":
            gates.append(_build_phase(ansatz.num_memory, rotations))
        else:
            build = _build_ry if kind == "ry" else _build_crx
            gates += [build(ansatz.num_memory, rotation) for rotation in rotations]
    return tuple(gates)


def _build_ry(num_memory: int, rotation: Rotation) -> _Gate:
    (qubit,) = rotation.qubits
    low = 2**qubit

    def split(planes: Tensor) -> tuple[Tensor, Tensor]:
        view = planes.view(-1, 2, low * planes.shape[-2], planes.shape[-1])
        return view[:, 0], view[:, 1]

    def rotate(planes: Tensor, shears: _Shears) -> None:
        shears.rotate(rotation.angle, *split(planes))
        sign = shears.sign(rotation.angle)
        if sign is not None:
            planes.mul_(sign)

    def gradient(state: Tensor, adjoint: Tensor) -> Tensor:
        zero, one = split(state)
        adjoint_zero, adjoint_one = split(adjoint)
        return _half_sum((adjoint_one * zero).addcmul_(adjoint_zero, one, value=-1))

    return _Gate(slice(rotation.angle, rotation.angle + 1), rotate, gradient)


def _build_crx(num_memory: int, rotation: Rotation) -> _Gate:
    control, target = rotation.qubits
    low, middle = 2 ** min(control, target), 2 ** (abs(control - target) - 1)
    high = 2 ** (num_memory - 1 - max(control, target))

    def split(planes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Amplitudes with the control set: (target 0, target 1) x (real, imaginary)."""
        columns, states = planes.shape[-2:]
        view = planes.view(-1, 2, high, 2, middle, 2, low * columns, states)
        if control > target:
            zero, one = view[:, :, :, 1, :, 0], view[:, :, :, 1, :, 1]
        else:
            zero, one = view[:, :, :, 0, :, 1], view[:, :, :, 1, :, 1]
        return zero[:, 0], zero[:, 1], one[:, 0], one[:, 1]

    def rotate(planes: Tensor, shears: _Shears) -> None:
        # RX mixes the real part of one amplitude with the imaginary part of the other.
        zero_re, zero_im, one_re, one_im = split(planes)
        shears.rotate(rotation.angle, one_im, zero_re)
        shears.rotate(rotation.angle, zero_im, one_re)
        sign = shears.sign(rotation.angle)
        if sign is not None:
            for part in (zero_re, zero_im, one_re, one_im):
                part.mul_(sign)

    def gradient(state: Tensor, adjoint: Tensor) -> Tensor:
        zero_re, zero_im, one_re, one_im = split(state)
        d_zero_re, d_zero_im, d_one_re, d_one_im = split(adjoint)
        product = (d_zero_re * one_im).addcmul_(d_zero_im, one_re, value=-1)
        product.addcmul_(d_one_re, zero_im).addcmul_(d_one_im, zero_re, value=-1)
        return _half_sum(product)

    return _Gate(slice(rotation.angle, rotation.angle + 1), rotate, gradient)


def _build_phase(num_memory: int, rotations: list[Rotation]) -> _Gate:
    """Commuting RZZ as one diagonal phase exp(-i/2 sum_e theta_e z_i z_j)."""
    amplitudes = torch.arange(2**num_memory)
    signs = torch.stack(
        [
            1.0 - 2.0 * (((amplitudes >> i) ^ (amplitudes >> j)) & 1)
            for i, j in (rotation.qubits for rotation in rotations)
        ],
        dim=1,
    ).double()
    angles = slice(rotations[0].angle, rotations[-1].angle + 1)

    def rotate(planes: Tensor, shears: _Shears) -> None:
        half = shears.half[angles]
        phase = (signs.to(half) @ half)[:, None, :]
        c, s = phase.cos(), phase.sin()
        real, imaginary = planes[:, 0], planes[:, 1]
        moved = real * s
        real.mul_(c).addcmul_(imaginary, s)
        imaginary.mul_(c).sub_(moved)

    def gradient(state: Tensor, adjoint: Tensor) -> Tensor:
        product = adjoint[0] * state[1]
        product.addcmul_(adjoint[1], state[0], value=-1)
        return signs.to(product).T @ product.sum(dim=1) / 2

    return _Gate(angles, rotate, gradient)


def _half_sum(product: Tensor) -> Tensor:
    return product.reshape(-1, product.shape[-1]).sum(dim=0) / 2
