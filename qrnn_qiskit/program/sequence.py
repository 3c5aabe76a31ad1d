"""A whole sequence as one description: controls, record, slots and the dynamic circuit."""

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit, qasm3

from qrnn_qiskit.errors import require
from qrnn_qiskit.program.cell import CellSpec
from qrnn_qiskit.program.circuit import build_circuit
from qrnn_qiskit.program.observables import ParitySet
from qrnn_qiskit.program.readout import Pauli
from qrnn_qiskit.program.slots import BASIS_ANGLES_RAD, SlotTable

# steering: a later gate depends on the bit, so an error in it cannot be undone afterwards.
# reported: only we read it. final: the memory measurement, reported too.
BitRole = Literal["steering", "reported", "final"]


@dataclass(frozen=True)
class RecordBit:
    """One classical bit of the record.

    `position` counts bits of the record, `index` those of its register; `index` is the readout
    (mid-circuit bits) or the memory qubit (final bits).
    """

    position: int
    role: BitRole
    timestep: int
    index: int


@dataclass(frozen=True)
class SequenceProgram:
    """What circuit a sequence of `num_timesteps` timesteps is.

    The circuit builder and the torch engines read the same description. In the `host` loop a
    program is the prefix of length `num_timesteps`, measured at its end.

    Args:
        cell: the timestep.
        num_timesteps: T.
        final_bases: Paulis in which the memory may be measured at the end. With more than one,
            the circuit holds basis-change slots, and rows choose.
        readout_order: 1 to read single bits of a timestep, k to add products of up to k bits.
        final_order: the same for the final memory measurement.

    Raises:
        InputError: if a value breaks a rule.

    Example:
        >>> from qrnn_qiskit.program import Ansatz, Readout
        >>> cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0),))
        >>> program = SequenceProgram(cell, num_timesteps=3)
        >>> program.table_shape, program.num_controls
        ((3, 2, 5), 31)
        >>> [bit.role for bit in program.record]
        ['steering', 'steering', 'reported', 'final', 'final']
        >>> program.circuit.count_ops()["reset"]
        3
    """

    cell: CellSpec
    num_timesteps: int
    final_bases: tuple[Pauli, ...] = ("Z",)
    readout_order: int = 1
    final_order: int = 1

    def __post_init__(self) -> None:
        require(self.num_timesteps >= 1, "num_timesteps", "must be at least 1",
                self.num_timesteps, "a sequence has one timestep or more")  # fmt: skip
        require(len(self.final_bases) >= 1 and len(set(self.final_bases)) == len(self.final_bases)
                and all(basis in BASIS_ANGLES_RAD for basis in self.final_bases), "final_bases",
                "must be distinct Paulis out of X, Y, Z", self.final_bases,
                "for example ('Z',)")  # fmt: skip
        for name in ("readout_order", "final_order"):
            require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name),
                    "use 1 for single bits, 2 to add products of two")  # fmt: skip

        require(self.cell.loop != "host" or self.final_order == 1, "final_order",
                "must be 1 in the host loop, which reads single Paulis", self.final_order,
                "use a feedforward or open loop for products")  # fmt: skip

    @property
    def table_shape(self) -> tuple[int, int, int]:
        """Shape of one sample's table of angles: timesteps, outcomes, angles."""
        return self.num_timesteps, self.cell.num_outcomes, self.cell.ansatz.num_angles

    @property
    def num_table_angles(self) -> int:
        """Number of entries of one sample's table."""
        return int(np.prod(self.table_shape))

    @property
    def num_controls(self) -> int:
        """Table entries plus one phi per readout."""
        return self.num_table_angles + self.cell.num_readouts

    @cached_property
    def strengths_rad(self) -> NDArray[np.float64]:
        """Strength phi of each readout as declared in the cell, shape `(num_readouts,)`."""
        return np.array([readout.strength_rad for readout in self.cell.readouts])

    @cached_property
    def readout_parities(self) -> ParitySet:
        """Parities of one timestep's bits."""
        return ParitySet(self.cell.num_readouts, self.readout_order)

    @cached_property
    def final_parities(self) -> ParitySet:
        """Parities of the final memory measurement, in each basis."""
        return ParitySet(self.cell.ansatz.num_memory, self.final_order)

    @property
    def num_features(self) -> int:
        """Numbers read from a sequence: readout parities of all timesteps, then final ones."""
        return (
            self.num_timesteps * self.readout_parities.size
            + len(self.final_bases) * self.final_parities.size
        )

    @property
    def readout_names(self) -> tuple[str, ...]:
        """What the numbers z_t of a timestep are, for tables and figures.

        Pauli expectations of every memory qubit in the `host` loop, else readout parities.
        """
        if self.cell.loop == "host":
            qubits = range(self.cell.ansatz.num_memory)
            return tuple(f"<{basis}_{q}>" for basis in self.final_bases for q in qubits)
        single = [f"{readout.pauli}_{readout.anchor}" for readout in self.cell.readouts]
        subsets = self.readout_parities.subsets
        return tuple("<" + " ".join(single[bit] for bit in bits) + ">" for bits in subsets)

    @cached_property
    def record(self) -> tuple[RecordBit, ...]:
        """Every classical bit in the order of the circuit's bits."""
        steering = {
            seen
            for timestep in range(1, self.num_timesteps + 1)
            for seen in self.cell.visible_timesteps(timestep)
        }
        bits: list[RecordBit] = []
        for timestep in range(1, self.num_timesteps + 1):
            role: BitRole = "steering" if timestep in steering else "reported"
            for index in range(self.cell.num_readouts):
                bits.append(RecordBit(len(bits), role, timestep, index))
        for qubit in range(self.cell.ansatz.num_memory):
            bits.append(RecordBit(len(bits), "final", self.num_timesteps, qubit))
        return tuple(bits)

    @property
    def num_bits(self) -> int:
        """Length of the record."""
        return self.num_timesteps * self.cell.num_readouts + self.cell.ansatz.num_memory

    @cached_property
    def _built(self) -> tuple[QuantumCircuit, SlotTable]:
        return build_circuit(self)

    @property
    def circuit(self) -> QuantumCircuit:
        """The logical dynamic circuit, one `Parameter` per slot. Do not modify it: copy first."""
        return self._built[0]

    @property
    def slots(self) -> SlotTable:
        """The slots of the circuit and the map from controls to their values."""
        return self._built[1]

    @cached_property
    def program_id(self) -> str:
        """Content id: a hash of the circuit's OpenQASM 3 text and of this description.

        The text alone would not do: phi and the shape of the table are not in it.
        """
        description = json.dumps(asdict(self), sort_keys=True)
        text = qasm3.dumps(self.circuit) + description
        return sha256(text.encode()).hexdigest()[:16]

    def prefix(self, num_timesteps: int) -> "SequenceProgram":
        """The same program cut after `num_timesteps`."""
        return replace(self, num_timesteps=num_timesteps)
