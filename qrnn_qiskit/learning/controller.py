"""The classical feedforward controller: the only nonlinearity of the model."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from qrnn_qiskit.errors import require
from qrnn_qiskit.program import SequenceProgram

Activation = Literal["linear", "relu", "gelu", "glu"]

# Large initial angles scramble the memory at every timestep and, in single precision, lose the
# gradient over long sequences: start with angles of at most about this.
INITIAL_ANGLE_RAD = 0.1


class Controller(nn.Module):
    """theta_t = f([e(x_t); feedback]) with one hidden layer.

    Args:
        num_features: of the input at one timestep.
        num_feedback: numbers fed back: 3n expectations in `host`, a h bits as +1 and -1 (0 where
            nothing was read yet) in `feedforward`, none in `open`.
        num_angles: of the ansatz.
        activation: `linear` (no hidden layer), `relu`, `gelu` or `glu`.
        hidden_units: width of the hidden layer.
        embedding_units: width of a linear input embedding e(x); the input itself if 0.
        dropout: probability, on the hidden layer.
        initial_angle_rad: bound of the initial angles, roughly.

    Raises:
        InputError: if the activation is unknown, a width is not positive or dropout outside
            [0, 1).

    Example:
        >>> controller = Controller(num_features=8, num_feedback=2, num_angles=16)
        >>> controller(torch.zeros(5, 8), torch.zeros(5, 2)).shape
        torch.Size([5, 16])
    """

    def __init__(
        self,
        num_features: int,
        num_feedback: int,
        num_angles: int,
        *,
        activation: Activation = "relu",
        hidden_units: int = 64,
        embedding_units: int = 0,
        dropout: float = 0.0,
        initial_angle_rad: float = INITIAL_ANGLE_RAD,
    ) -> None:
        super().__init__()
        known = get_args(Activation)
        require(activation in known, "activation", f"must be one of {', '.join(known)}",
                activation, "relu is a good start")  # fmt: skip
        require(hidden_units >= 1, "hidden_units", "must be at least 1", hidden_units,
                "64 is a good start")  # fmt: skip
        require(embedding_units >= 0, "embedding_units", "must be at least 0", embedding_units,
                "0 feeds the input as it is")  # fmt: skip
        require(0 <= dropout < 1, "dropout", "must lie in [0, 1)", dropout, "0 switches it off")
        self.embedding = nn.Linear(num_features, embedding_units) if embedding_units else None
        width = (embedding_units or num_features) + num_feedback
        self.hidden: nn.Module
        if activation == "linear":
            self.hidden, hidden_units = nn.Identity(), width
        elif activation == "glu":
            self.hidden = nn.Sequential(nn.Linear(width, 2 * hidden_units), nn.GLU())
        else:
            nonlinearity = nn.ReLU() if activation == "relu" else nn.GELU()
            self.hidden = nn.Sequential(nn.Linear(width, hidden_units), nonlinearity)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_units, num_angles)
        nn.init.uniform_(self.output.bias, -initial_angle_rad, initial_angle_rad)
        bound = initial_angle_rad / max(hidden_units, 1) ** 0.5
        nn.init.uniform_(self.output.weight, -bound, bound)

    def forward(self, inputs: Tensor, feedback: Tensor) -> Tensor:
        """Angles `(..., num_angles)` from `(..., num_features)` and `(..., num_feedback)`."""
        embedded = self.embedding(inputs) if self.embedding is not None else inputs
        hidden = self.dropout(self.hidden(torch.cat((embedded, feedback), dim=-1)))
        angles: Tensor = self.output(hidden)
        return angles


def build_table(controller: Controller, program: SequenceProgram, inputs: Tensor) -> Tensor:
    """The controller evaluated for every outcome: the table of a dynamic circuit.

    With `steered = "rotations"` entangling angles do not depend on outcomes: they are the
    controller's answer to no feedback.

    Args:
        controller: with `num_feedback = program.cell.num_steering_bits`.
        program: a `feedforward` or `open` one.
        inputs: `(batch, num_timesteps, num_features)`.

    Returns:
        Angles `(batch, num_timesteps, num_outcomes, num_angles)`.
    """
    cell = program.cell
    feedback = _feedback_bits(program).to(inputs)
    rows = inputs[:, :, None, :].expand(-1, -1, feedback.shape[1], -1)
    answers = controller(rows, feedback.expand(len(inputs), -1, -1, -1))
    blind, table = answers[:, :, :1], answers[:, :, 1:]
    if cell.loop == "open":
        return blind
    if cell.steered == "all":
        return table
    steered = torch.tensor(cell.ansatz.steered_angles, device=inputs.device)
    return torch.where(steered, table, blind)


def _feedback_bits(program: SequenceProgram) -> Tensor:
    """Bits as +1/-1 that each outcome stands for, `(num_timesteps, 1 + num_outcomes, a h)`.

    The first row of each timestep is "nothing read", all 0. So are bits that no timestep has
    read yet. Within an outcome the newest timestep's bits come first.
    """
    cell = program.cell
    a = cell.num_readouts
    num_outcomes = cell.num_outcomes if cell.loop == "feedforward" else 0
    bits = torch.zeros(program.num_timesteps, 1 + num_outcomes, cell.num_steering_bits)
    outcomes = torch.arange(num_outcomes)
    for timestep in range(1, program.num_timesteps + 1):
        for position in range(a * len(cell.visible_timesteps(timestep))):
            bits[timestep - 1, 1:, position] = 1.0 - 2.0 * ((outcomes >> position) & 1)
    return bits
