"""The hybrid recurrent network as a torch module: the same for every loop and engine."""

from dataclasses import dataclass
from math import pi
from typing import Literal

import torch
from torch import Tensor, nn

from qrnn_qiskit.errors import require
from qrnn_qiskit.learning.controller import Controller, build_table
from qrnn_qiskit.learning.engines import ExactEngine, SequenceEngine
from qrnn_qiskit.program import SequenceProgram

HeadView = Literal["all", "last", "each"]

# Below this strength a readout tells almost nothing (variance 1/sin^2) and its gradient vanishes.
MIN_STRENGTH_RAD = 0.05


@dataclass(frozen=True)
class Readouts:
    """What a sequence was read as.

    Attributes:
        steps: z_t, `(batch, num_timesteps, num_readout_parities)`; 3n Pauli expectations in the
            `host` loop, ordered X, Y, Z.
        final: of the final memory measurement, `(batch, num_bases * num_final_parities)`; empty in
            the `host` loop, whose last z_t it would repeat.
    """

    steps: Tensor
    final: Tensor


class QRNN(nn.Module):
    """Controller, quantum circuit and linear head.

    Args:
        program: the sequence, of any loop.
        controller: theta_t = f([e(x_t); feedback]).
        num_outputs: of the head.
        view: what the head reads: `all` readouts of the sequence and the final measurement,
            the `last` timestep's (and the final measurement), or `each` timestep's own, which
            gives an output per timestep.
        train_strengths: whether phi of each readout is trained.
        engine: who computes readouts; the exact engine unless given. May be replaced at any time.

    Raises:
        InputError: if the controller does not fit the program, or a `host` program does not
            measure single bits in X, Y and Z.

    Example:
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0),))
        >>> model = build_qrnn(SequenceProgram(cell, 4), num_features=3, num_outputs=2)
        >>> model(torch.zeros(5, 4, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        program: SequenceProgram,
        controller: Controller,
        num_outputs: int,
        *,
        view: HeadView = "all",
        train_strengths: bool = True,
        engine: SequenceEngine | None = None,
    ) -> None:
        super().__init__()
        require(controller.output.out_features == program.cell.ansatz.num_angles, "controller",
                f"must output {program.cell.ansatz.num_angles} angles",
                controller.output.out_features, "use build_qrnn")  # fmt: skip
        if program.cell.loop == "host":
            # The exact engine reads these whatever the program says: shots must read the same.
            require(program.final_bases == ("X", "Y", "Z"), "program",
                    "must measure X, Y and Z in the host loop", program.final_bases,
                    "set final_bases=('X', 'Y', 'Z')")  # fmt: skip
        require(view in ("all", "last", "each"), "view", "must be all, last or each", view,
                "each gives an output per timestep")  # fmt: skip
        self.program = program
        self.controller = controller
        self.view = view
        self.engine: SequenceEngine = engine or ExactEngine()
        strengths = torch.as_tensor(program.strengths_rad, dtype=torch.get_default_dtype())
        self.strengths_rad = nn.Parameter(strengths, requires_grad=train_strengths)
        steps, final = _readout_sizes(program)
        width = {"all": program.num_timesteps * steps + final, "last": steps + final, "each": steps}
        self.head = nn.Linear(width[view], num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs `(batch, num_outputs)`, or `(batch, num_timesteps, num_outputs)` with `each`.

        Args:
            inputs: `(batch, num_timesteps, num_features)`.
        """
        return self.answer(self.read(inputs))

    def answer(self, readouts: Readouts) -> Tensor:
        """Outputs, shaped as those of `forward`, from readouts however they came about."""
        outputs: Tensor = self.head(self.view_readouts(readouts))
        return outputs

    def read(self, inputs: Tensor) -> Readouts:
        """The readouts z_t of each sequence."""
        require(inputs.ndim == 3 and inputs.shape[1] == self.program.num_timesteps, "inputs",
                f"must have shape (batch, {self.program.num_timesteps}, num_features)",
                tuple(inputs.shape), "build the program for this number of timesteps")  # fmt: skip
        inputs = inputs.to(self.head.weight)
        if self.program.cell.loop == "host":
            return self._read_host(inputs)
        return self.split_features(self.engine.run(self.program, self.controls(inputs)))

    def controls(self, inputs: Tensor) -> Tensor:
        """What one circuit is bound to, `(batch, num_controls)`; not for the `host` loop."""
        table = build_table(self.controller, self.program, inputs.to(self.head.weight))
        strengths = self.strengths_rad.expand(len(inputs), -1)
        return torch.cat((table.flatten(1), strengths), dim=1)

    def split_features(self, features: Tensor) -> Readouts:
        """Readouts from the features of a whole sequence, `(batch, num_features)`.

        Those of all timesteps come first, then the final ones (none in the `host` loop).
        """
        num_timesteps = self.program.num_timesteps
        num_steps = num_timesteps * _readout_sizes(self.program)[0]
        steps = features[:, :num_steps].reshape(len(features), num_timesteps, -1)
        return Readouts(steps, features[:, num_steps:])

    def view_readouts(self, readouts: Readouts) -> Tensor:
        """What the head sees."""
        if self.view == "each":
            return readouts.steps
        steps = readouts.steps if self.view == "all" else readouts.steps[:, -1]
        return torch.cat((steps.flatten(1), readouts.final), dim=1)

    @torch.no_grad()
    def project_strengths(self) -> None:
        """Puts phi back into [0.05, pi/2] after an optimiser step."""
        self.strengths_rad.clamp_(MIN_STRENGTH_RAD, pi / 2)

    def _read_host(self, inputs: Tensor) -> Readouts:
        n = self.program.cell.ansatz.num_memory
        session = self.engine.start_host(self.program, len(inputs), inputs)
        # Before the first timestep the memory is |0...0>: <X> = <Y> = 0, <Z> = 1.
        readout = torch.cat(
            (inputs.new_zeros(len(inputs), 2 * n), inputs.new_ones(len(inputs), n)), 1
        )
        steps = []
        for timestep in range(self.program.num_timesteps):
            readout = session.step(self.controller(inputs[:, timestep], readout))
            steps.append(readout)
        return Readouts(torch.stack(steps, dim=1), inputs.new_zeros(len(inputs), 0))


def build_qrnn(
    program: SequenceProgram,
    num_features: int,
    num_outputs: int,
    *,
    view: HeadView = "all",
    train_strengths: bool = True,
    engine: SequenceEngine | None = None,
    **controller_options: object,
) -> QRNN:
    """A QRNN with a controller that fits the program.

    Args:
        program: the sequence.
        num_features: of the input at one timestep.
        num_outputs: classes, or 1 for regression.
        view: see `QRNN`.
        train_strengths: see `QRNN`.
        engine: see `QRNN`.
        **controller_options: see `Controller`.
    """
    cell = program.cell
    num_feedback = 3 * cell.ansatz.num_memory if cell.loop == "host" else cell.num_steering_bits
    controller = Controller(
        num_features,
        num_feedback,
        cell.ansatz.num_angles,
        **controller_options,  # type: ignore[arg-type]
    )
    return QRNN(
        program,
        controller,
        num_outputs,
        view=view,
        train_strengths=train_strengths,
        engine=engine,
    )


def _readout_sizes(program: SequenceProgram) -> tuple[int, int]:
    if program.cell.loop == "host":
        return 3 * program.cell.ansatz.num_memory, 0
    return (
        program.readout_parities.size,
        len(program.final_bases) * program.final_parities.size,
    )
