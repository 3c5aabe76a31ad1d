"""What circuit is a sequence? Ansatz, readout, cell, slots, and the dynamic circuit."""

from qrnn_qiskit.program.ansatz import Ansatz, AnsatzName, Rotation
from qrnn_qiskit.program.cell import CellSpec, Loop, Steered
from qrnn_qiskit.program.observables import ParitySet
from qrnn_qiskit.program.readout import Pauli, Readout
from qrnn_qiskit.program.sequence import RecordBit, SequenceProgram
from qrnn_qiskit.program.slots import Slot, SlotTable

__all__ = [
    "Ansatz",
    "AnsatzName",
    "CellSpec",
    "Loop",
    "ParitySet",
    "Pauli",
    "Readout",
    "RecordBit",
    "Rotation",
    "SequenceProgram",
    "Slot",
    "SlotTable",
    "Steered",
]
