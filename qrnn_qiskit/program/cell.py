"""The recurrent cell: what happens in one timestep, and which loop it closes."""

from dataclasses import dataclass
from typing import Literal, get_args

from qrnn_qiskit.errors import require
from qrnn_qiskit.program.ansatz import Ansatz
from qrnn_qiskit.program.readout import Readout

Loop = Literal["host", "feedforward", "open"]
Steered = Literal["rotations", "all"]

# IBM's dynamic circuits compare operands of at most 32 classical bits in one condition.
MAX_CONDITION_BITS = 32
# One if_test block per outcome and timestep: above this the table is no circuit any more.
MAX_STEERING_BITS = 8


@dataclass(frozen=True)
class CellSpec:
    """One timestep: the ansatz on the memory, its readouts, and what the controller sees.

    Args:
        ansatz: the parametrised circuit on the memory qubits.
        readouts: one entry per readout qubit of a bank; none in the `host` loop.
        loop: `host` (controller between circuits, sees expectations), `feedforward` (controller
            compiled to a table, sees this shot's bits) or `open` (sees inputs only).
        steered: in `feedforward`, whether outcomes choose the single-qubit `rotations` or `all`
            angles of the ansatz.
        history: number of timesteps whose bits the controller sees (h).
        feedback_delay: d; the controller at timestep t sees the outcomes of timestep t-1-d and
            earlier, and d+1 banks of readout qubits are used in rotation.

    Raises:
        InputError: if a value breaks a rule above, an anchor is no memory qubit, or the
            controller would see more bits than a condition can hold.

    Example:
        >>> cell = CellSpec(Ansatz("brick", 4), readouts=(Readout("Z", 0), Readout("Z", 3)))
        >>> cell.num_outcomes, cell.num_qubits
        (4, 6)
    """

    ansatz: Ansatz
    readouts: tuple[Readout, ...] = ()
    loop: Loop = "feedforward"
    steered: Steered = "rotations"
    history: int = 1
    feedback_delay: int = 0

    def __post_init__(self) -> None:
        loops, steered = get_args(Loop), get_args(Steered)
        require(self.loop in loops, "loop", f"must be one of {', '.join(loops)}", self.loop,
                "see the table of loops in README.md")  # fmt: skip
        require(self.steered in steered, "steered", f"must be one of {', '.join(steered)}",
                self.steered, "'rotations' is the cheaper one on hardware")  # fmt: skip
        require(self.history >= 1, "history", "must be at least 1", self.history,
                "use loop = 'open' for a controller that sees no bits")  # fmt: skip
        require(self.feedback_delay >= 0, "feedback_delay", "must be at least 0",
                self.feedback_delay, "0 is the undelayed loop")  # fmt: skip
        if self.loop == "host":
            require(not self.readouts, "readouts", "must be empty in the host loop",
                    len(self.readouts),
                    "the host loop reads Pauli expectations directly")  # fmt: skip
        else:
            require(len(self.readouts) >= 1, "readouts",
                    f"must name at least one readout in the {self.loop} loop",
                    len(self.readouts), "add one, for example Readout('Z', anchor=0)")  # fmt: skip
        for readout in self.readouts:
            require(readout.anchor < self.ansatz.num_memory, "anchor",
                    f"must be a memory qubit, 0 to {self.ansatz.num_memory - 1}",
                    readout.anchor, "move the readout or add memory qubits")  # fmt: skip
        if self.loop == "feedforward":
            bits = self.num_steering_bits
            require(bits <= MAX_CONDITION_BITS, "readouts x history",
                    f"must be at most {MAX_CONDITION_BITS} steering bits, the widest operand of "
                    "a hardware condition", bits,
                    "use fewer readouts or a shorter history")  # fmt: skip
            require(bits <= MAX_STEERING_BITS, "readouts x history",
                    f"must be at most {MAX_STEERING_BITS} steering bits, since the table holds "
                    "2^bits branches a timestep", bits,
                    "use fewer readouts or a shorter history")  # fmt: skip

    @property
    def num_readouts(self) -> int:
        """Readouts per timestep (a)."""
        return len(self.readouts)

    @property
    def num_banks(self) -> int:
        """Banks of readout qubits used in rotation, d + 1."""
        return self.feedback_delay + 1

    @property
    def num_qubits(self) -> int:
        """Memory and readout qubits together."""
        return self.ansatz.num_memory + self.num_readouts * self.num_banks

    @property
    def num_steering_bits(self) -> int:
        """Bits that the controller sees at once: a h in `feedforward`, else 0."""
        return self.num_readouts * self.history if self.loop == "feedforward" else 0

    @property
    def num_outcomes(self) -> int:
        """Columns of the table, 2^(a h)."""
        return int(2**self.num_steering_bits)

    def visible_timesteps(self, timestep: int) -> tuple[int, ...]:
        """Timesteps whose outcomes steer `timestep` (counted from 1), the newest first.

        Example:
            >>> cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),), history=2, feedback_delay=1)
            >>> [cell.visible_timesteps(t) for t in (1, 2, 3, 4)]
            [(), (), (1,), (2, 1)]
        """
        if self.loop != "feedforward":
            return ()
        newest = timestep - 1 - self.feedback_delay
        return tuple(t for t in range(newest, newest - self.history, -1) if t >= 1)

    def num_visible_outcomes(self, timestep: int) -> int:
        """Distinct outcomes that can steer `timestep`: columns of the table in use there."""
        return int(2 ** (self.num_readouts * len(self.visible_timesteps(timestep))))
