"""What a timestep may be, and what is said when it may not."""

from math import nan, pi

import numpy as np
import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.reference.model import kraus_operator

LINE = Ansatz("line", 4)
READOUT = Readout("Z", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Q", 0), "pauli: must be X, Y or Z, got 'Q'"),
        (("Z", -1), "anchor: must be a memory qubit, got -1"),
        (("Z", 0, 0.0), r"strength_rad: must lie in \(0, pi/2\], got 0.0"),
        (("Z", 0, -0.3), r"strength_rad: must lie in \(0, pi/2\], got -0.3"),
        (("Z", 0, 1.6), r"strength_rad: must lie in \(0, pi/2\], got 1.6; use pi/2"),
        (("Z", 0, nan), r"strength_rad: must lie in \(0, pi/2\], got nan"),
    ],
)
def test_bad_readouts_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Readout(*arguments)


@pytest.mark.parametrize("strength_rad", [0.2, 1.0, pi / 2])
@pytest.mark.parametrize("pauli", ["X", "Y", "Z"])
def test_kraus_operators_are_those_of_the_reference(pauli, strength_rad):
    for outcome, kraus in enumerate(Readout(pauli, 0, strength_rad).kraus):
        expected = kraus_operator(pauli, 0, strength_rad, outcome, num_qubits=1)
        np.testing.assert_allclose(kraus, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loop": "closed"}, "loop: must be one of host, feedforward, open, got 'closed'"),
        ({"steered": "none"}, "steered: must be one of rotations, all, got 'none'"),
        ({"history": 0}, "history: must be at least 1, got 0; use loop = 'open'"),
        ({"feedback_delay": -1}, "feedback_delay: must be at least 0, got -1"),
        ({"loop": "host"}, "readouts: must be empty in the host loop, got 1"),
        ({"readouts": ()}, "readouts: must name at least one readout in the feedforward loop"),
        ({"readouts": (), "loop": "open"}, "must name at least one readout in the open loop"),
        ({"readouts": (READOUT, Readout("X", 4))}, "anchor: must be a memory qubit, 0 to 3, got 4"),
        ({"readouts": (READOUT,) * 33}, "at most 32 steering bits, the widest operand.* got 33"),
        ({"readouts": (READOUT,) * 11, "history": 3}, "at most 32 steering bits.* got 33"),
        ({"readouts": (READOUT,) * 32}, "at most 8 steering bits.*2.bits branches.* got 32"),
        ({"readouts": (READOUT,) * 3, "history": 3}, "at most 8 steering bits.* got 9; use fewer"),
    ],
)
def test_bad_cells_are_refused(fields, message):
    with pytest.raises(InputError, match=message) as caught:
        CellSpec(**({"ansatz": LINE, "readouts": (READOUT,)} | fields))
    assert "\n" not in str(caught.value)


def test_the_largest_table_and_wide_open_cells_are_allowed():
    assert CellSpec(LINE, (READOUT,) * 4, history=2).num_outcomes == 256
    wide = CellSpec(LINE, (READOUT,) * 9, loop="open")
    assert (wide.num_steering_bits, wide.num_outcomes) == (0, 1)


def test_counts_of_banks_and_visible_timesteps():
    cell = CellSpec(LINE, (READOUT, READOUT), history=2, feedback_delay=2)
    assert (cell.num_banks, cell.num_qubits, cell.num_outcomes) == (3, 10, 16)
    visible = [cell.visible_timesteps(timestep) for timestep in range(1, 7)]
    assert visible == [(), (), (), (1,), (2, 1), (3, 2)]
    assert [cell.num_visible_outcomes(t) for t in range(1, 7)] == [1, 1, 1, 4, 16, 16]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_timesteps": 0}, "num_timesteps: must be at least 1, got 0"),
        ({"final_bases": ()}, "final_bases: must be distinct Paulis"),
        ({"final_bases": ("X", "X")}, "final_bases: must be distinct Paulis"),
        ({"final_bases": ("I",)}, "final_bases: must be distinct Paulis"),
        ({"readout_order": 0}, "readout_order: must be at least 1, got 0"),
        ({"final_order": -1}, "final_order: must be at least 1, got -1"),
    ],
)
def test_bad_sequences_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        SequenceProgram(**({"cell": CellSpec(LINE, (READOUT,)), "num_timesteps": 2} | fields))
