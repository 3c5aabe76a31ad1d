"""Exact simulation of a compiled circuit with a device's noise, differentiable.

What noisy Aer samples, without shots: the same circuit, schedule and errors. The state is a real
vector of Pauli coefficients for each record of the (possibly misread) bits that a later branch
reads; see `noisy_passes` for what keeps it small.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from qrnn_qiskit.errors import require
from qrnn_qiskit.simulate.density import SequenceProbabilities
from qrnn_qiskit.simulate.features import parity_features
from qrnn_qiskit.simulate.memory import require_memory
from qrnn_qiskit.simulate.noisy.angles import TorchAngles
from qrnn_qiskit.simulate.noisy.layout import Marginal, Step
from qrnn_qiskit.simulate.noisy.plan import LinearTerms, MatrixGroup, NoisyPlan

# Samples are independent: without a gradient they are computed a few at a time.
_BYTES_WITHOUT_GRADIENT = 2**28
# Autograd keeps each step's input and what it becomes; and about three copies of matrices.
_COPIES_OF_STATES = 2
_COPIES_OF_MATRICES = 4
# With a gradient, states above this are computed again in the backward pass.
_BYTES_KEPT = 2**31


def run_noisy(plan: NoisyPlan, controls: Tensor) -> SequenceProbabilities:
    """Exact distributions of what a noisy device records.

    Args:
        plan: of the compiled circuit with its noise.
        controls: `(batch, num_controls)`, float32 or float64, on any device. Rows may differ in
            phi.

    Returns:
        Distributions of recorded bits: those of timesteps `(batch, num_timesteps,
        2**num_readouts)`, of the final measurement `(batch, num_bases, 2**num_memory)`.

    Cost: about `16 * 4^n * 2^(a h)` operations for each pair of qubits that meet, per sample.

    Raises:
        InputError: if the controls have another shape, or the states do not fit into memory.

    Example:
        >>> from qrnn_qiskit.compiling import compile_logical
        >>> from qrnn_qiskit.devices import DeviceNoise, QubitNoise
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> from qrnn_qiskit.simulate.noisy.plan import build_noisy_plan
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 1)
        >>> noise = DeviceNoise("planted", (QubitNoise(0.1, 0.2),) * 3, ())
        >>> plan = build_noisy_plan(compile_logical(program), noise)
        >>> controls = torch.zeros(1, program.num_controls)
        >>> controls[:, -1] = torch.pi / 2
        >>> run_noisy(plan, controls).outcomes[0, 0].round(decimals=3)
        tensor([0.9000, 0.1000])
    """
    num_controls = plan.program.num_controls
    require(controls.ndim == 2 and controls.shape[1] == num_controls, "controls",
            f"must have shape (num_rows, {num_controls})", tuple(controls.shape),
            "flatten the table and append one phi per readout")  # fmt: skip
    require(len(controls) > 0, "controls", "must have at least one row", len(controls),
            "leave empty batches out")  # fmt: skip
    require(controls.dtype in (torch.float32, torch.float64), "controls",
            "must be float32 or float64", controls.dtype, "convert them")  # fmt: skip
    with_gradient = torch.is_grad_enabled() and controls.requires_grad
    step, num_segments = _plan_memory(plan, controls, with_gradient)
    constants = _constants_of(plan, controls)
    parts = [
        _run(plan, constants, controls[start : start + step], num_segments)
        for start in range(0, len(controls), step)
    ]
    if len(parts) == 1:
        return parts[0]
    return SequenceProbabilities(
        torch.cat([part.outcomes for part in parts]), torch.cat([part.final for part in parts])
    )


def noisy_features(plan: NoisyPlan, controls: Tensor) -> Tensor:
    """Readout and final parities of what a noisy device records, as `exact_features` orders them.

    Args:
        plan: of the compiled circuit with its noise.
        controls: `(batch, num_controls)`.

    Returns:
        `(batch, num_features)`, in the dtype of the controls.

    Raises:
        InputError: see `run_noisy`.

    Example:
        >>> from qrnn_qiskit.compiling import compile_logical
        >>> from qrnn_qiskit.devices import DeviceNoise, QubitNoise
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> from qrnn_qiskit.simulate.noisy.plan import build_noisy_plan
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 1)
        >>> noise = DeviceNoise("planted", (QubitNoise(0.05, 0.05),) * 3, ())
        >>> plan = build_noisy_plan(compile_logical(program), noise)
        >>> controls = torch.zeros(1, program.num_controls)
        >>> noisy_features(plan, controls).round(decimals=3)
        tensor([[0.0000, 0.9000, 0.9000]])
    """
    return parity_features(plan.program, run_noisy(plan, controls))


def _plan_memory(plan: NoisyPlan, controls: Tensor, with_gradient: bool) -> tuple[int, int]:
    """How many samples are computed together, and in how many segments states are kept.

    Raises:
        InputError: if they do not fit into memory.
    """
    size, num_samples = controls.element_size(), len(controls)
    matrices = _COPIES_OF_MATRICES * size * plan.num_matrix_numbers
    states = _COPIES_OF_STATES * size * (plan.num_numbers - plan.num_matrix_numbers)
    largest = 3 * _COPIES_OF_STATES * size * plan.largest_state
    num_segments = 1
    if with_gradient:
        step = num_samples
        if states * num_samples > _BYTES_KEPT:
            num_segments = max(1, round(len(plan.layout.steps) ** 0.5))
            states = 2 * states // num_segments
        num_bytes = matrices + states + largest
    else:
        num_bytes = matrices + largest
        step = min(num_samples, max(1, _BYTES_WITHOUT_GRADIENT // num_bytes))
    cell = plan.program.cell
    require_memory(
        num_bytes * step,
        controls.device,
        f"{cell.ansatz.num_memory} noisy memory qubits and {cell.num_outcomes} outcomes",
        "use a smaller batch_size, fewer memory qubits, readouts or history, or a profile "
        "without spare qubits",
    )
    return step, num_segments


class _TorchTerms:
    """`LinearTerms` for tensors of one kind."""

    def __init__(self, linear: LinearTerms, like: Tensor) -> None:
        self.num_channels, self.num_terms, self.dimension = linear.terms.shape[:3]
        self.terms = torch.from_numpy(linear.terms).to(like).flatten(2)
        self.angles = torch.from_numpy(linear.angles).to(like.device)

    def __call__(self, waves: Tensor) -> Tensor:
        """Channels `(num_channels, batch, dim, dim)` of 1, cos and sin `(num_angles, batch, 3)`."""
        shape = (self.num_channels, waves.shape[1], self.dimension, self.dimension)
        if self.num_terms == 1:
            return self.terms.view(self.num_channels, 1, *shape[2:]).expand(shape)
        products = waves.index_select(0, self.angles[:, 0])
        for column in range(1, self.angles.shape[1]):
            factor = waves.index_select(0, self.angles[:, column])
            products = (products[..., None] * factor[..., None, :]).flatten(2)
        return (products @ self.terms).view(shape)


class _TorchGroup:
    """A `MatrixGroup` for tensors of one kind."""

    def __init__(self, group: MatrixGroup, like: Tensor) -> None:
        def on_device(array: Any) -> Tensor:
            return torch.from_numpy(array).to(like.device)

        self.before = [on_device(chains) for chains in group.before]
        self.enters = group.enters
        self.cores = None if group.cores is None else _TorchTerms(group.cores, like)
        self.core_of = on_device(group.core_of)
        self.exits = [
            None if leave is None else (on_device(leave[0]), on_device(leave[1]).to(like)[:, None])
            for leave in group.exits
        ]

    def __call__(self, waves: Tensor, chains: Tensor) -> Tensor:
        """Matrices `(num_matrices, batch, outputs, inputs)`."""
        before = [chains.index_select(0, index) for index in self.before]
        before = [
            matrix[..., :1] if enters else matrix
            for matrix, enters in zip(before, self.enters, strict=True)
        ]
        if self.cores is None:
            matrices = before[0]
            return matrices if self.exits[0] is None else self._exit(0, chains) @ matrices
        first, second = before
        both = first[:, :, :, None, :, None] * second[:, :, None, :, None, :]
        both = both.reshape(*both.shape[:2], 16, -1)
        cores = self.cores(waves)
        if self.cores.num_terms == 1:
            cores = cores[:, :1]
        matrices = cores.index_select(0, self.core_of) @ both
        if self.exits[1] is not None:
            matrices = self._exit(1, chains)[:, :, None] @ matrices.unflatten(2, (4, 4))
            matrices = matrices.flatten(2, 3)
        if self.exits[0] is not None:
            shape = matrices.shape
            matrices = self._exit(0, chains) @ matrices.reshape(*shape[:2], 4, -1)
            matrices = matrices.reshape(*shape[:2], -1, shape[3])
        return matrices

    def _exit(self, slot: int, chains: Tensor) -> Tensor:
        leave = self.exits[slot]
        assert leave is not None
        return leave[1] @ chains.index_select(0, leave[0])


class _Constants:
    """A plan for tensors of one kind."""

    def __init__(self, plan: NoisyPlan, like: Tensor) -> None:
        self.angles = TorchAngles(plan.angles, like)
        self.pieces = [_TorchTerms(piece, like) for piece in plan.chains.pieces if len(piece.terms)]
        self.products = [torch.from_numpy(p).to(like.device) for p in plan.chains.products]
        self.groups = [_TorchGroup(group, like) for group in plan.groups]
        self.chosen = [
            None if step.chosen is None else torch.tensor(step.chosen, device=like.device)
            for step in plan.layout.steps
        ]

    def build_matrices(self, controls: Tensor) -> list[Tensor]:
        """Matrices of all groups."""
        angles = self.angles(controls)
        waves = torch.stack((torch.ones_like(angles), angles.cos(), angles.sin()), dim=-1)
        pieces = torch.cat([piece(waves) for piece in self.pieces])
        chains = []
        for places in self.products:
            product = pieces.index_select(0, places[:, 0])
            for column in range(1, places.shape[1]):
                product = pieces.index_select(0, places[:, column]) @ product
            chains.append(product)
        every = torch.cat(chains)
        return [group(waves, every) for group in self.groups]


_CONSTANTS: WeakKeyDictionary[NoisyPlan, dict[tuple[torch.dtype, torch.device], _Constants]] = (
    WeakKeyDictionary()
)


def _constants_of(plan: NoisyPlan, like: Tensor) -> _Constants:
    known = _CONSTANTS.setdefault(plan, {})
    key = like.dtype, like.device
    if key not in known:
        # Made within inference mode, they could not be used with a gradient afterwards.
        with torch.inference_mode(False):
            known[key] = _Constants(plan, torch.empty(0, dtype=like.dtype, device=like.device))
    return known[key]


def _run(
    plan: NoisyPlan, constants: _Constants, controls: Tensor, num_segments: int
) -> SequenceProbabilities:
    blocks = _blocks_of_steps(plan, constants.build_matrices(controls))
    batch, program = len(controls), plan.program
    state = controls.new_ones(batch)
    length = -(-len(blocks) // num_segments)
    outcomes: dict[int, Tensor] = {}
    for start in range(0, len(blocks), length):
        segment = _Segment(plan, constants, start)
        inputs = state, *blocks[start : start + length]
        if num_segments == 1:
            state, found = segment(*inputs)
        else:
            # Nothing in a segment is random.
            state, found = checkpoint(
                segment, *inputs, use_reentrant=False, preserve_rng_state=False
            )
        outcomes |= found
    final = _read(state, plan.layout.final)
    final = final.reshape(batch, -1, 2**program.cell.ansatz.num_memory)
    if outcomes:
        in_order = [outcomes[t] for t in range(1, program.num_timesteps + 1)]
        stacked = torch.stack(in_order, dim=1)
    else:
        stacked = controls.new_ones(batch, program.num_timesteps, 1)
    return SequenceProbabilities(stacked, final.expand(batch, len(program.final_bases), -1))


def _blocks_of_steps(plan: NoisyPlan, matrices: Sequence[Tensor]) -> list[Tensor]:
    """The matrices of each step. Split at once: a slice's gradient is a full array of zeros."""
    sizes: list[list[int]] = [[] for _ in matrices]
    for group, assignments in zip(plan.group_of_step, plan.layout.assignments, strict=True):
        sizes[group].append(len(assignments))
    split = [iter(group.split(size)) for group, size in zip(matrices, sizes, strict=True)]
    return [next(split[group]) for group in plan.group_of_step]


@dataclass(frozen=True)
class _Segment:
    """Consecutive steps: the state after them and the distributions read on the way."""

    plan: NoisyPlan
    constants: _Constants
    start: int

    def __call__(self, state: Tensor, *blocks: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        outcomes = {}
        for index, block in enumerate(blocks, start=self.start):
            step = self.plan.layout.steps[index]
            state = _apply(step, state, block, self.constants.chosen[index])
            for marginal in step.marginals:
                outcomes[marginal.place] = _read(state, marginal).flatten(1)
            if step.sums:
                state = state.sum(step.sums)
        return state, outcomes


def _apply(step: Step, state: Tensor, matrices: Tensor, chosen: Tensor | None) -> Tensor:
    """One step: state axes as `Layout` says, matrices `(num_matrices, batch, outputs, inputs)`."""
    if step.num_expanded:
        state = state.expand(step.num_expanded, *state.shape)
    batch = matrices.shape[1]
    num_inputs = step.num_summed * step.num_inputs
    before = state.permute(step.permutation).reshape(step.num_kept, batch, -1, num_inputs)
    if step.num_summed > 1:
        matrices = matrices.unflatten(0, (-1, step.num_summed)).permute(0, 2, 3, 1, 4).flatten(3)
    if chosen is None:
        after = _multiply(before, matrices)
    else:
        after = before.index_copy(0, chosen, _multiply(before.index_select(0, chosen), matrices))
    return after.reshape(step.shape)


def _multiply(states: Tensor, matrices: Tensor) -> Tensor:
    """Matrices on the last axis of states `(num_kept, batch, rest, inputs)`."""
    product = torch.bmm(states.flatten(0, 1), matrices.flatten(0, 1).mT)
    return product.unflatten(0, states.shape[:2])


def _read(state: Tensor, marginal: Marginal) -> Tensor:
    for axis in marginal.zeros:
        state = state.select(axis, 0)
    if marginal.sums:
        state = state.sum(marginal.sums)
    return state.permute(marginal.order)
