"""The hardware contract, checked in one walk over a compiled circuit that also counts it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Clbit, ParameterExpression
from qiskit.circuit.classical import expr
from qiskit.transpiler import Target

from qrnn_qiskit.devices.limits import HardwareLimits

_COMPARISONS = {"EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"}
_BIT_OPERATIONS = {"BIT_AND", "BIT_OR", "BIT_XOR", "BIT_NOT", "LOGIC_AND", "LOGIC_OR", "LOGIC_NOT"}

# Rule: what holds, what to do about a breach. The walk finds the first breach of each.
STRUCTURE_RULES = {
    "control flow": (
        "if_else only, one level deep, on a target that has it",
        "flatten the program to single if_test blocks, or choose a device with if_else",
    ),
    "branch bodies": (
        "free of measure and reset",
        "measure and reset outside, condition gates only",
    ),
    "condition width": (
        "at most {max_condition_bits} bits an operand",
        "split the register, for example one per timestep, or test single bits",
    ),
    "condition operations": (
        "bit operations and comparisons of measured bits",
        "compute arithmetic into the table of angles instead",
    ),
    "target instructions": (
        "the target's, on qubits where it has them",
        "compile for this target",
    ),
    "usable qubits": (
        "of known error below {max_usable_error} in two-qubit gates and measurements",
        "choose a layout without this qubit or coupler, or a newer snapshot",
    ),
    "delays": (
        "absent",
        "submit the circuit as compiled: delays are for simulating idle qubits",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One rule, checked.

    Attributes:
        rule: short name.
        passed: whether the whole submission keeps the rule as one job.
        value: what was found.
        limit: what the rule allows.
        detail: what was counted, or where the first breach is.
        cure: what to do; empty if passed.
        splits: not passed, but every job of the report's splits keeps the rule.
        largest_timesteps: sequence length that would pass, from the growth per timestep; None if
            the rule does not grow with it.

    Example:
        >>> Finding("executions per job", False, 30_000_000, 10_000_000, "", "split it").line
        'executions per job: must be at most 10,000,000, got 30,000,000; split it'
    """

    rule: str
    passed: bool
    value: str | float
    limit: str | float
    detail: str
    cure: str = ""
    splits: bool = False
    largest_timesteps: int | None = None

    @property
    def line(self) -> str:
        """The finding in one line, for errors and tables."""
        most = "" if isinstance(self.limit, str) else "at most "
        text = f"{self.rule}: must be {most}{_plain(self.limit)}, got {_plain(self.value)}"
        text += f" ({self.detail})" if self.detail else ""
        return text + (f"; {self.cure}" if self.cure else "")


@dataclass
class Breach:
    """The first breach of a rule, and how many there are."""

    value: str
    detail: str
    count: int = 1


@dataclass(eq=False)
class CircuitTally:
    """What a walk over a circuit and all its branch bodies counted and found wrong.

    Attributes:
        control_instructions: `(num_qubits,)`, weighted, of one circuit with both sides of every
            branch, without the initialisation.
        gate_counts: by name, bodies included.
        num_two_qubit_gates: bodies included.
        num_measurements: results of one execution.
        num_final_measurements: those after which their qubit is not used any more.
        broadcast_bits: bits of each broadcast, in order.
        is_dynamic: whether there is any control flow.
        rzz_angles: every `rzz` angle with where it first stands.
        breaches: by rule of `STRUCTURE_RULES`.
    """

    control_instructions: NDArray[np.int64]
    gate_counts: dict[str, int] = field(default_factory=dict)
    num_two_qubit_gates: int = 0
    num_measurements: int = 0
    num_final_measurements: int = 0
    broadcast_bits: list[int] = field(default_factory=list)
    is_dynamic: bool = False
    rzz_angles: dict[float | ParameterExpression, str] = field(default_factory=dict)
    breaches: dict[str, Breach] = field(default_factory=dict)


def tally_circuit(
    circuit: QuantumCircuit,
    target: Target,
    physical_qubits: Sequence[int],
    limits: HardwareLimits | None = None,
) -> CircuitTally:
    """Counts of a circuit and the first breach of each structural rule, in one walk.

    Args:
        circuit: compiled, over used qubits only.
        target: of the device.
        physical_qubits: device qubit of each circuit qubit.
        limits: widths, errors and weights; IBM's if left out.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> circuit = QuantumCircuit(1, 1)
        >>> circuit.sx(0), circuit.measure(0, 0)  # doctest: +ELLIPSIS
        (...)
        >>> tally = tally_circuit(circuit, load_fake_backend("fake_boston").target, [7])
        >>> tally.control_instructions.tolist(), tally.breaches
        ([12], {})
    """
    return _Walk(circuit, target, physical_qubits, limits or HardwareLimits()).run()


def structure_findings(tally: CircuitTally, limits: HardwareLimits) -> Iterator[Finding]:
    """One finding for each rule of `STRUCTURE_RULES`.

    Example:
        >>> tally = CircuitTally(np.zeros(1, dtype=np.int64))
        >>> [finding.passed for finding in structure_findings(tally, HardwareLimits())]
        [True, True, True, True, True, True, True]
    """
    for rule, (limit, cure) in STRUCTURE_RULES.items():
        limit = limit.format(**vars(limits))
        breach = tally.breaches.get(rule)
        if breach is None:
            yield Finding(rule, True, "no breach", limit, "")
            continue
        more = f", and {breach.count - 1} more" if breach.count > 1 else ""
        yield Finding(rule, False, breach.value, limit, breach.detail + more, cure)


class _Walk:
    """State of one walk: where each bit was last written and last broadcast."""

    def __init__(
        self,
        circuit: QuantumCircuit,
        target: Target,
        physical_qubits: Sequence[int],
        limits: HardwareLimits,
    ) -> None:
        self.circuit, self.target, self.limits = circuit, target, limits
        self.physical = tuple(physical_qubits)
        self.has_branches = "if_else" in target.operation_names
        self.tally = CircuitTally(np.zeros(circuit.num_qubits, dtype=np.int64))
        self.weights = [0] * circuit.num_qubits
        self.ends_measured = [False] * circuit.num_qubits
        # Name and circuit qubits -> weight; the target is asked once for each.
        self.known: dict[tuple[str, tuple[int, ...]], int] = {}
        self.written: dict[Clbit, int] = {}
        self.sent: dict[tuple[Clbit, ...], int] = {}
        self.position = 0

    def run(self) -> CircuitTally:
        places = {qubit: index for index, qubit in enumerate(self.circuit.qubits)}
        for position, item in enumerate(self.circuit.data):
            self.position = position
            if item.is_control_flow():
                qubits = tuple(places[qubit] for qubit in item.qubits)
                self.visit_control_flow(item.operation, qubits, depth=0)
                continue
            self.visit(item, places)
            if item.name.startswith("measure"):
                self.tally.num_measurements += len(item.clbits)
                self.ends_measured[places[item.qubits[0]]] = True
                for bit in item.clbits:
                    self.written[bit] = self.position
        self.tally.control_instructions += np.array(self.weights, dtype=np.int64)
        self.tally.num_final_measurements = sum(self.ends_measured)
        return self.tally

    def breach(self, rule: str, value: str, detail: str) -> None:
        known = self.tally.breaches.get(rule)
        if known is None:
            where = f"instruction {self.position}"
            self.tally.breaches[rule] = Breach(value, f"{where}: {detail}" if detail else where)
        else:
            known.count += 1

    def device_qubits(self, qubits: Sequence[int]) -> str:
        names = ", ".join(str(self.physical[qubit]) for qubit in qubits)
        return f"device qubit{'s' if len(qubits) != 1 else ''} {names}"

    def visit(self, item: Any, places: Mapping[Any, int]) -> None:
        """Anything but control flow, in or out of a branch."""
        name = item.name
        qubits = tuple(places[qubit] for qubit in item.qubits)
        weight = self.known.get((name, qubits))
        if weight is None:
            weight = self.limits.weigh(name, len(qubits))
            # A refused instruction is looked at again each time, to count the breaches.
            if self.check_instruction(name, qubits):
                self.known[name, qubits] = weight
        counts = self.tally.gate_counts
        counts[name] = counts.get(name, 0) + 1
        if name == "barrier":
            return
        for qubit in qubits:
            self.weights[qubit] += weight
            self.ends_measured[qubit] = False
        if len(qubits) == 2:
            self.tally.num_two_qubit_gates += 1
            if name == "rzz":
                where = f"instruction {self.position}, {self.device_qubits(qubits)}"
                self.tally.rzz_angles.setdefault(item.params[0], where)
        elif name == "delay":
            self.breach("delays", "delay", f"on {self.device_qubits(qubits)}")

    def check_instruction(self, name: str, qubits: tuple[int, ...]) -> bool:
        """Whether the target supports an instruction on working qubits."""
        physical = tuple(self.physical[qubit] for qubit in qubits)
        if name == "barrier":
            return True
        if not self.target.instruction_supported(name, physical):
            names = sorted(set(self.target.operation_names) - {"if_else", "delay"})
            there = "it, but not there" if name in names else ", ".join(names)
            self.breach("target instructions", f"{name} on {self.device_qubits(qubits)}",
                        f"the target has {there}")  # fmt: skip
            return False
        if len(qubits) == 2 or name.startswith("measure"):
            properties = self.target[name].get(physical)
            error = None if properties is None else properties.error
            # Written so that nan is refused too.
            if error is None or not 0 <= error < self.limits.max_usable_error:
                self.breach("usable qubits", f"error {error}",
                            f"{name} on {self.device_qubits(qubits)}")  # fmt: skip
                return False
        return name != "delay"

    def visit_control_flow(self, operation: Any, qubits: tuple[int, ...], depth: int) -> None:
        """An if_else and its bodies; anything else is a breach."""
        tally, name = self.tally, operation.name
        tally.is_dynamic = True
        if name != "if_else" or not self.has_branches:
            missing = "" if name != "if_else" else "the target has none"
            self.breach("control flow", name, missing)
        if depth:
            self.breach("control flow", f"nested {name}", "inside a branch")
        if name == "if_else":
            self.visit_condition(operation.condition)
        for qubit in qubits:
            self.weights[qubit] += self.limits.weight_branch
            self.ends_measured[qubit] = False
        for body in operation.blocks:
            places = dict(zip(body.qubits, qubits, strict=True))
            for item in body.data:
                if item.is_control_flow():
                    inner = tuple(places[qubit] for qubit in item.qubits)
                    self.visit_control_flow(item.operation, inner, depth + 1)
                    continue
                self.visit(item, places)
                if item.name.startswith(("measure", "reset")):
                    on = self.device_qubits([places[qubit] for qubit in item.qubits])
                    self.breach("branch bodies", item.name, f"in a branch, on {on}")

    def visit_condition(self, condition: Any) -> None:
        """Widths and operations of a condition, and the broadcasts it needs."""
        operands = [condition[0]] if isinstance(condition, tuple) else self.operands(condition)
        for operand in operands:
            if isinstance(operand, ClassicalRegister):
                key = tuple(operand)
                if operand.size > self.limits.max_condition_bits:
                    self.breach("condition width", f"{operand.size}-bit register",
                                f"{operand.name} in a condition")  # fmt: skip
            else:
                key = (operand,)
            last_write = max(self.written.get(bit, -1) for bit in key)
            # Unchanged data is not sent again. Overlapping operands (a register and one of its
            # bits) are counted apart, which is an upper bound.
            if key not in self.sent or self.sent[key] < last_write:
                self.tally.broadcast_bits.append(len(key))
            self.sent[key] = self.position

    def operands(self, node: Any) -> Iterator[Any]:
        """Registers and bits that an expression reads; its other parts are checked."""
        if isinstance(node, expr.Var):
            if node.standalone:
                # Runtime 0.47 takes variables set by `store`; none of our circuits needs one.
                self.breach("condition operations", f"variable {node.name}", "in a condition")
            else:
                yield node.var
        elif isinstance(node, expr.Index):
            register, index = node.target, node.index
            if isinstance(register, expr.Var) and isinstance(index, expr.Value):
                yield register.var[index.value]
            else:
                self.breach("condition operations", "computed index", "in a condition")
        elif isinstance(node, (expr.Unary, expr.Binary)):
            if node.op.name not in _COMPARISONS | _BIT_OPERATIONS:
                self.breach("condition operations", node.op.name.lower(), "in a condition")
            inner = [node.operand] if isinstance(node, expr.Unary) else [node.left, node.right]
            for child in inner:
                yield from self.operands(child)
        elif isinstance(node, expr.Cast):
            yield from self.operands(node.operand)
        elif not isinstance(node, expr.Value):
            self.breach("condition operations", type(node).__name__, "in a condition")


def _plain(value: str | float) -> str:
    """Thousands with commas, floats with six digits."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
