"""The `host` loop's state: one timestep at a time, differentiable, memory flat in T.

A reversible adjoint: the backward pass undoes each timestep to recover the state before it,
instead of keeping the states of the forward pass. The adjoint itself travels through autograd.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from qrnn_qiskit.errors import require
from qrnn_qiskit.program import Ansatz
from qrnn_qiskit.simulate.first_order import refuse_double_backward
from qrnn_qiskit.simulate.kernel import CellKernel, build_torch_kernel
from qrnn_qiskit.simulate.memory import require_memory


@dataclass
class _Moment:
    """One point in time: how it was reached, and its state while that is at hand."""

    kernel: CellKernel
    before: "_Moment | None" = None
    angles: Tensor | None = None
    state: Tensor | None = None

    def recall(self) -> Tensor:
        """The state; recomputed from the start if a backward pass did not just undo to it."""
        if self.state is None:
            assert self.before is not None
            assert self.angles is not None
            self.state = self.kernel.apply(self.angles, self.before.recall())
            self.before.forget()
        return self.state

    def forget(self) -> None:
        """Drops the state, unless there would be no way back to it."""
        if self.before is not None:
            self.state = None


@dataclass(frozen=True)
class HostState:
    """A batch of memory states between two timesteps.

    `planes` has shape `(2, 2**num_memory, 1, batch)` (see `kernel`); `moment` is the tape.
    """

    planes: Tensor
    moment: _Moment = field(repr=False)

    @property
    def amplitudes(self) -> Tensor:
        """Complex amplitudes, shape `(batch, 2**num_memory)`, qubit 0 lowest."""
        return torch.complex(self.planes[0, :, 0], self.planes[1, :, 0]).T


def start_host(
    ansatz: Ansatz,
    batch_size: int,
    *,
    initial_state: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    kernel: CellKernel | None = None,
) -> HostState:
    """The state before the first timestep, |0...0> unless given.

    Args:
        ansatz: the parametrised circuit of every timestep.
        batch_size: number of sequences.
        initial_state: complex amplitudes, `(2**num_memory,)` or `(batch, 2**num_memory)`.
        dtype: real type of the planes, `torch.float32` or `torch.float64`.
        device: where to compute.
        kernel: replaces the torch kernel.

    Raises:
        InputError: if the initial state has another size, or the states do not fit into memory.
    """
    dimension = 2**ansatz.num_memory
    require_memory(
        # The first and the last state, and state and adjoint while gates are undone.
        8 * dimension * batch_size * torch.finfo(dtype).bits // 4,
        torch.device(device),
        f"{ansatz.num_memory} memory qubits",
        "use a smaller batch_size or fewer memory qubits",
    )
    if initial_state is None:
        planes = torch.zeros((2, dimension, 1, batch_size), dtype=dtype, device=device)
        planes[0, 0] = 1.0
    else:
        require(initial_state.shape[-1] == dimension, "initial_state",
                f"must have {dimension} amplitudes", tuple(initial_state.shape),
                "give (2**num_memory,) or (batch, 2**num_memory)")  # fmt: skip
        amplitudes = initial_state.to(device).expand(batch_size, dimension).T[:, None, :]
        planes = torch.stack((amplitudes.real, amplitudes.imag)).to(dtype)
    return HostState(planes, _Moment(kernel or build_torch_kernel(ansatz), state=planes.detach()))


def step_host(state: HostState, angles: Tensor) -> tuple[HostState, Tensor]:
    """One timestep: the next state and its Pauli expectations.

    Args:
        state: the state before the timestep.
        angles: `(batch, num_angles)`.

    Returns:
        The state after it, and <X_i>, <Y_i>, <Z_i> as `(batch, 3, num_memory)`.

    Example:
        >>> ansatz = Ansatz("brick", num_memory=2)
        >>> state = start_host(ansatz, batch_size=1)
        >>> state, paulis = step_host(state, torch.zeros(1, ansatz.num_angles))
        >>> paulis[0, 2].tolist()
        [1.0, 1.0]
    """
    moment = _Moment(state.moment.kernel, state.moment, angles.detach().T.contiguous())
    planes, paulis = _Step.apply(state.planes, angles, moment)
    return HostState(planes, moment), paulis


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, planes: Tensor, angles: Tensor, moment: _Moment
    ) -> tuple[Tensor, Tensor]:
        ctx.moment = moment  # type: ignore[attr-defined]
        ctx.set_materialize_grads(False)
        after = moment.recall()
        return after.view_as(after), _pauli_expectations(after)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx,
        planes_gradient: Tensor | None,
        paulis_gradient: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None, None]:
        refuse_double_backward()
        moment: _Moment = ctx.moment  # type: ignore[attr-defined]
        if planes_gradient is None and paulis_gradient is None:
            return None, None, None
        assert moment.before is not None
        assert moment.angles is not None
        state = moment.recall()
        adjoint = torch.zeros_like(state) if planes_gradient is None else planes_gradient
        if paulis_gradient is not None:
            adjoint = _pauli_pull_back(state, paulis_gradient) + adjoint
        before, adjoint, angles_gradient = moment.kernel.pull_back(moment.angles, state, adjoint)
        moment.forget()
        if moment.before.before is not None:
            moment.before.state = before
        return adjoint, angles_gradient.T, None


def _split(planes: Tensor, qubit: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    view = planes.view(2, -1, 2, 2**qubit, planes.shape[-1])
    return view[0, :, 0], view[1, :, 0], view[0, :, 1], view[1, :, 1]


def _pauli_expectations(planes: Tensor) -> Tensor:
    dimension, num_states = planes.shape[1], planes.shape[-1]
    values = []
    for qubit in range(dimension.bit_length() - 1):
        zero_re, zero_im, one_re, one_im = _split(planes, qubit)
        flip = (zero_re * one_re).addcmul_(zero_im, one_im)
        turn = (zero_re * one_im).addcmul_(zero_im, one_re, value=-1)
        values.append((2 * flip.sum((0, 1)), 2 * turn.sum((0, 1))))
    # All <Z_i> at once from the populations.
    populations = (planes**2).sum((0, 2))
    qubits = torch.arange(dimension.bit_length() - 1, device=planes.device)
    signs = 1 - 2 * ((torch.arange(dimension, device=planes.device)[:, None] >> qubits) & 1)
    z = (signs.to(planes.dtype).T @ populations).view(-1, num_states)
    x, y = (torch.stack(pauli) for pauli in zip(*values, strict=True))
    return torch.stack((x, y, z)).permute(2, 0, 1)


def _pauli_pull_back(planes: Tensor, gradient: Tensor) -> Tensor:
    """d(sum_k g_k <P_k>)/d(re, im) = 2 sum_k g_k P_k psi."""
    adjoint = torch.zeros_like(planes)
    for qubit in range(gradient.shape[-1]):
        x, y, z = (2 * gradient[:, pauli, qubit] for pauli in range(3))
        zero_re, zero_im, one_re, one_im = _split(planes, qubit)
        d_zero_re, d_zero_im, d_one_re, d_one_im = _split(adjoint, qubit)
        d_zero_re.addcmul_(one_re, x).addcmul_(one_im, y).addcmul_(zero_re, z)
        d_zero_im.addcmul_(one_im, x).addcmul_(one_re, y, value=-1).addcmul_(zero_im, z)
        d_one_re.addcmul_(zero_re, x).addcmul_(zero_im, y, value=-1).addcmul_(one_re, z, value=-1)
        d_one_im.addcmul_(zero_im, x).addcmul_(zero_re, y).addcmul_(one_im, z, value=-1)
    return adjoint
