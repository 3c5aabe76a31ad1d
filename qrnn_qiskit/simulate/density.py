"""The `feedforward` and `open` loops, exactly: what the dynamic circuit does, with back-action.

The state after timestep t is one unnormalised density matrix per record of the outcomes that a
later timestep can still act on, (h + d) timesteps at most; everything older is summed over.
Marginals of every timestep and of the final measurement are exact, and differentiable.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qrnn_qiskit.errors import require
from qrnn_qiskit.program import Ansatz, CellSpec, SequenceProgram
from qrnn_qiskit.program.readout import PAULI_MATRICES
from qrnn_qiskit.simulate.first_order import refuse_double_backward
from qrnn_qiskit.simulate.kernel import CellKernel, build_torch_kernel
from qrnn_qiskit.simulate.memory import require_memory

# Samples are independent: without a gradient they are computed a few at a time.
_BYTES_WITHOUT_GRADIENT = 2**29


@dataclass(frozen=True)
class SequenceProbabilities:
    """Exact distributions of a sequence, per sample.

    Attributes:
        outcomes: P(m_t), `(batch, num_timesteps, 2**num_readouts)`, readout 0 the lowest bit.
        final: of the final memory measurement, `(batch, num_bases, 2**num_memory)`, qubit 0 lowest.
    """

    outcomes: Tensor
    final: Tensor


def run_density(
    program: SequenceProgram,
    table: Tensor,
    strengths_rad: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    kernel: CellKernel | None = None,
) -> SequenceProbabilities:
    """Exact record marginals of a `feedforward` or `open` program.

    Args:
        program: the sequence.
        table: angles, `(batch, num_timesteps, num_outcomes, num_angles)`; with
            `steered = "rotations"` the entangling angles are those of outcome 0.
        strengths_rad: phi of each readout, `(num_readouts,)`; the declared ones unless given.
        initial_state: density matrix, `(2**n, 2**n)` or `(batch, 2**n, 2**n)`; |0...0> unless
            given.
        dtype: `torch.float32` or `torch.float64`; that of the table unless given.
        device: that of the table unless given.
        kernel: replaces the torch kernel.

    Cost: T 2^(a (h + d)) 8^n operations a sample, T 2^(a h) 4^n numbers.

    Raises:
        InputError: if the program is a `host` one, the table has another shape, or the states do
            not fit into memory.

    Example:
        >>> from qrnn_qiskit.program import Readout
        >>> cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),))
        >>> program = SequenceProgram(cell, num_timesteps=2)
        >>> run_density(program, torch.zeros(1, *program.table_shape)).outcomes[0, 0].tolist()
        [1.0, 0.0]
    """
    cell = program.cell
    require(cell.loop != "host", "program", "must be a feedforward or open one", cell.loop,
            "use start_host and step_host for the host loop")  # fmt: skip
    require(tuple(table.shape[1:]) == program.table_shape, "table",
            f"must have shape (batch, {', '.join(map(str, program.table_shape))})",
            tuple(table.shape), "one angle per timestep, outcome and gate")  # fmt: skip
    table = table.to(dtype=dtype or table.dtype, device=device or table.device)
    if strengths_rad is None:
        strengths_rad = torch.from_numpy(program.strengths_rad)
    step = _samples_at_once(program, table, strengths_rad)
    if step < len(table):
        parts = [
            run_density(
                program,
                table[start : start + step],
                strengths_rad,
                initial_state=_take(initial_state, slice(start, start + step)),
                kernel=kernel,
            )
            for start in range(0, len(table), step)
        ]
        return SequenceProbabilities(
            torch.cat([part.outcomes for part in parts]), torch.cat([part.final for part in parts])
        )
    measure = _Measurement(cell, strengths_rad.to(table))
    if cell.loop == "feedforward" and cell.steered == "rotations":
        steered = torch.tensor(cell.ansatz.steered_angles, device=table.device)
        table = torch.where(steered, table, table[:, :, :1])
    unitaries = cell_unitaries(cell.ansatz, table, kernel)

    rho = _initial_density(program, table, initial_state)
    outcomes: list[Tensor] = []
    for timestep in range(1, program.num_timesteps + 1):
        # Axis 1 of rho: remembered outcomes, the oldest (which steer now) highest.
        num_visible = cell.num_visible_outcomes(timestep)
        unitary = unitaries[:, timestep - 1, :num_visible, None]
        grouped = rho.unflatten(1, (num_visible, -1))
        rho = (unitary @ grouped @ unitary.mH).flatten(1, 2)
        rho = _forget_unused(program, timestep, rho)
        rho = measure.apply(rho)
        populations = rho.diagonal(dim1=-2, dim2=-1).real.sum(-1)
        outcomes.append(populations.sum(1))
        rho = rho.flatten(1, 2) if cell.loop == "feedforward" else rho.sum((1, 2))[:, None]
    memory = rho.sum(1)
    turns = _basis_turns(program, rho)
    final = torch.stack(
        [(turn @ memory @ turn.mH).diagonal(dim1=-2, dim2=-1).real for turn in turns], dim=1
    )
    return SequenceProbabilities(torch.stack(outcomes, dim=1), final)


def cell_unitaries(ansatz: Ansatz, angles: Tensor, kernel: CellKernel | None = None) -> Tensor:
    """U(theta) as matrices, `(..., 2**n, 2**n)` complex, from angles `(..., num_angles)`."""
    planes = _Unitary.apply(angles.reshape(-1, ansatz.num_angles), ansatz, kernel)
    unitaries = torch.view_as_complex(planes)
    return unitaries.view(*angles.shape[:-1], *unitaries.shape[1:])


def _samples_at_once(program: SequenceProgram, table: Tensor, strengths_rad: Tensor) -> int:
    """How many samples are computed together: all, if a gradient has to go back through them.

    Raises:
        InputError: if they do not fit into memory.
    """
    cell = program.cell
    matrix = 2 * table.element_size() * 4**cell.ansatz.num_memory
    window = cell.history + cell.feedback_delay if cell.loop == "feedforward" else 0
    with_gradient = torch.is_grad_enabled() and (table.requires_grad or strengths_rad.requires_grad)
    # Unitaries are built planar, then turned: two copies. Of the densities there are about four
    # at once, which autograd keeps for every timestep.
    num_unitaries = 2 * program.num_timesteps * cell.num_outcomes
    num_densities = 4 * 2 ** (cell.num_readouts * (window + 1))
    kept = program.num_timesteps if with_gradient else 1
    num_bytes = matrix * (num_unitaries + num_densities * kept)
    step = len(table) if with_gradient else max(1, _BYTES_WITHOUT_GRADIENT // num_bytes)
    require_memory(
        num_bytes * min(step, len(table)),
        table.device,
        f"{cell.ansatz.num_memory} memory qubits and {cell.num_outcomes} outcomes",
        "use a smaller batch_size, fewer memory qubits, readouts or history, or the host loop",
    )
    return step


def _take(initial_state: Tensor | None, samples: slice) -> Tensor | None:
    if initial_state is None or initial_state.ndim == 2:
        return initial_state
    return initial_state[samples]


def _forget_unused(program: SequenceProgram, timestep: int, rho: Tensor) -> Tensor:
    """Sums over the oldest outcomes once they have steered the last gate they can."""
    cell = program.cell
    window = min(timestep - 1, cell.history + cell.feedback_delay)
    if cell.loop == "feedforward" and window == cell.history + cell.feedback_delay:
        return rho.unflatten(1, (2**cell.num_readouts, -1)).sum(1)
    return rho


class _Measurement:
    """Adds the outcome axis of one timestep: rho -> M_m rho M_m^dagger for every outcome m."""

    def __init__(self, cell: CellSpec, strengths_rad: Tensor) -> None:
        self._diagonal = all(readout.pauli == "Z" for readout in cell.readouts)
        n = cell.ansatz.num_memory
        complex_dtype = (
            torch.complex64 if strengths_rad.dtype == torch.float32 else torch.complex128
        )
        identity = torch.eye(2**n, dtype=complex_dtype, device=strengths_rad.device)
        kraus = identity[None]
        for index, readout in enumerate(cell.readouts):
            pauli = _embed(PAULI_MATRICES[readout.pauli], readout.anchor, n).to(identity)
            half = strengths_rad[index] / 2
            keep = (half.cos() / 2**0.5) * identity
            kick = (half.sin() / 2**0.5) * pauli
            # Later readouts act after earlier ones and are higher bits of the outcome.
            branches = torch.stack((keep + kick, keep - kick))
            kraus = (branches[:, None] @ kraus[None]).flatten(0, 1)
        self._kraus = kraus

    def apply(self, rho: Tensor) -> Tensor:
        """`(batch, K, dim, dim)` to `(batch, K, 2**num_readouts, dim, dim)`."""
        if self._diagonal:
            diagonal = self._kraus.diagonal(dim1=-2, dim2=-1).real
            return rho[:, :, None] * (diagonal[:, :, None] * diagonal[:, None, :])
        return self._kraus @ rho[:, :, None] @ self._kraus.mH


def _embed(matrix: object, qubit: int, num_memory: int) -> Tensor:
    single = torch.as_tensor(matrix, dtype=torch.complex128)
    low = torch.eye(2**qubit, dtype=torch.complex128)
    high = torch.eye(2 ** (num_memory - 1 - qubit), dtype=torch.complex128)
    return torch.kron(torch.kron(high, single), low)


def _initial_density(
    program: SequenceProgram, table: Tensor, initial_state: Tensor | None
) -> Tensor:
    dimension = 2**program.cell.ansatz.num_memory
    complex_dtype = torch.complex64 if table.dtype == torch.float32 else torch.complex128
    if initial_state is None:
        rho = torch.zeros((dimension, dimension), dtype=complex_dtype, device=table.device)
        rho[0, 0] = 1.0
    else:
        require(tuple(initial_state.shape[-2:]) == (dimension, dimension), "initial_state",
                f"must be a density matrix of dimension {dimension}",
                tuple(initial_state.shape), "give (2**n, 2**n) or (batch, 2**n, 2**n)")  # fmt: skip
        rho = initial_state.to(dtype=complex_dtype, device=table.device)
    return rho.expand(table.shape[0], dimension, dimension)[:, None]


def _basis_turns(program: SequenceProgram, like: Tensor) -> list[Tensor]:
    """Unitaries that turn each final basis into Z on every memory qubit."""
    n = program.cell.ansatz.num_memory
    hadamard = torch.tensor([[1, 1], [1, -1]], dtype=torch.complex128) / 2**0.5
    phase = torch.diag(torch.tensor([1, -1j], dtype=torch.complex128))
    single = {"Z": torch.eye(2, dtype=torch.complex128), "X": hadamard, "Y": hadamard @ phase}
    turns = []
    for basis in program.final_bases:
        turn = torch.ones((1, 1), dtype=torch.complex128)
        for _ in range(n):
            turn = torch.kron(turn, single[basis])
        turns.append(turn.to(like))
    return turns


class _Unitary(torch.autograd.Function):
    """Angles `(N, P)` to unitaries `(N, dim, dim, 2)`, real and imaginary last."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        angles: Tensor,
        ansatz: Ansatz,
        kernel: CellKernel | None,
    ) -> Tensor:
        ctx.kernel = kernel or build_torch_kernel(ansatz)  # type: ignore[attr-defined]
        dimension, num_states = 2**ansatz.num_memory, angles.shape[0]
        planes = torch.zeros((2, dimension, dimension, num_states)).to(angles)
        planes[0].diagonal(dim1=0, dim2=1).fill_(1.0)
        columns = angles.T.contiguous()
        planes = ctx.kernel.apply(columns, planes)  # type: ignore[attr-defined]
        ctx.save_for_backward(columns, planes)
        return planes.permute(3, 1, 2, 0).contiguous()

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor, None, None]:
        refuse_double_backward()
        columns, planes = ctx.saved_tensors  # type: ignore[attr-defined]
        adjoint = gradient.permute(3, 1, 2, 0)
        _, _, angle_gradient = ctx.kernel.pull_back(columns, planes, adjoint)  # type: ignore[attr-defined]
        return angle_gradient.T, None, None
