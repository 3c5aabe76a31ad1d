"""The circuit that Aer gets: instructions that it knows, and waiting that it can decay on."""

from collections.abc import Sequence
from typing import NamedTuple

from qiskit import QuantumCircuit
from qiskit.circuit import IfElseOp
from qiskit.circuit.library import IGate, Measure, Reset
from qiskit.utils.units import apply_prefix

from qrnn_qiskit.costing import Schedule
from qrnn_qiskit.costing.padding import insert_delays


class Idle(NamedTuple):
    """A circuit qubit that waits for a time; all waiting of equal length is one channel."""

    qubit: int
    duration_ns: int

    @property
    def label(self) -> str:
        """What the waiting is called in the circuit and in the noise model."""
        return f"idle_{self.qubit}_{self.duration_ns}ns"


def build_aer_circuit(
    circuit: QuantumCircuit, schedule: Schedule | None = None
) -> tuple[QuantumCircuit, frozenset[Idle]]:
    """A circuit in Aer's instructions, and the waiting that its noise model must know.

    `measure_2` and `reset_2` become `measure` and `reset`: Aer knows no other name (AER-9). Where
    a schedule lets a qubit wait stands an identity with the label of an `Idle`, in branches, too;
    durations are rounded to 1 ns, in which nothing decays noticeably. (A labelled gate finds its
    error in the noise model as any gate does, in branches and with bound parameters. Channels
    inserted in place of delays, which is what Aer's own pass does, failed with `Kraus is empty`.)

    Args:
        circuit: of plain parameters.
        schedule: of this circuit; nothing waits without one.

    Example:
        >>> from qiskit.circuit import Instruction
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.append(Instruction("reset_2", 1, 0, []), [0])
        >>> build_aer_circuit(circuit)[0].data[0].name
        'reset'
    """
    padded = circuit if schedule is None else insert_delays(circuit, schedule)
    idles: set[Idle] = set()
    translated = _translate(padded, range(circuit.num_qubits), idles)
    return translated, frozenset(idles)


def _translate(circuit: QuantumCircuit, outer: Sequence[int], idles: set[Idle]) -> QuantumCircuit:
    """A circuit or branch body whose qubit i is qubit `outer[i]` of the whole circuit."""
    index = dict(zip(circuit.qubits, outer, strict=True))
    translated = circuit.copy_empty_like()
    for item in circuit.data:
        operation, name = item.operation, item.name
        if name == "delay":
            duration_ns = round(apply_prefix(operation.duration, operation.unit) * 1e9)
            if duration_ns == 0:
                continue
            idle = Idle(index[item.qubits[0]], duration_ns)
            idles.add(idle)
            operation = IGate(label=idle.label)
        elif name.startswith("measure_"):
            operation = Measure()
        elif name.startswith("reset_"):
            operation = Reset()
        elif isinstance(operation, IfElseOp):
            qubits = [index[qubit] for qubit in item.qubits]
            bodies = [_translate(body, qubits, idles) for body in operation.blocks]
            operation = IfElseOp(operation.condition, *bodies, label=operation.label)
        translated.append(operation, item.qubits, item.clbits, copy=False)
    return translated
