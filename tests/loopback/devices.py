"""The devices on offer: snapshots of the runtime package under the names of the real ones."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qiskit import QuantumCircuit
from qiskit.circuit import ControlFlowOp, IfElseOp
from qiskit.utils.units import apply_prefix

from qrnn_qiskit.costing.walk import walk_instructions
from qrnn_qiskit.devices.runtime_snapshots import read_fake_parts

# Without duration: frame changes, and what only the compiler sees.
_NO_TIME = ("rz", "barrier")
_FRACTIONAL = {
    "rx": "gate rx(theta) q { U(theta, -pi/2, pi/2) q; }",
    "rzz": "gate rzz(theta) q0, q1 { cx q0, q1; rz(theta) q1; cx q0, q1; }",
}


@dataclass(frozen=True, eq=False)
class Device:
    """One device.

    Attributes:
        name: under which it is served, `ibm_boston`.
        fake_name: of the snapshot, `fake_boston`.
        configuration: as the service sends it, fractional gates included: it is the client that
            takes them out unless they are asked for.
        properties: as the service sends it.
    """

    name: str
    fake_name: str
    configuration: dict[str, Any]
    properties: dict[str, Any]

    @classmethod
    def load(cls, fake_name: str) -> "Device":
        """A snapshot by its name in the runtime package."""
        parts = read_fake_parts(fake_name)
        name = fake_name.replace("fake_", "ibm_", 1)
        configuration, properties = parts["configuration"], parts["properties"]
        configuration["backend_name"] = properties["backend_name"] = name
        for gate, definition in _FRACTIONAL.items():
            places = [each["qubits"] for each in properties["gates"] if each["gate"] == gate]
            if places and gate not in configuration["basis_gates"]:
                configuration["basis_gates"].append(gate)
                configuration["supported_instructions"].append(gate)
                configuration["gates"].append(
                    {
                        "name": gate,
                        "parameters": ["theta"],
                        "qasm_def": definition,
                        "coupling_map": places,
                    }
                )
        return cls(name, fake_name, configuration, properties)

    def describe(self, num_pending: int) -> dict[str, Any]:
        """Its entry in the list of backends."""
        num_qubits = self.configuration["n_qubits"]
        return {
            "name": self.name,
            "class": "quantum",
            "status": {"name": "online", "reason": "available"},
            "queue_length": num_pending,
            "qubits": num_qubits,
            "physical_qubits": num_qubits,
        }

    def describe_status(self, num_pending: int, status: str) -> dict[str, Any]:
        """The answer of GET backends/{name}/status."""
        return {
            "name": self.name,
            "backend_version": self.configuration["backend_version"],
            "state": True,
            "status": status,
            "message": "",
            "length_queue": num_pending,
        }

    @property
    def rep_delay_seconds(self) -> float:
        """The default, 250 us."""
        return self.configuration["default_rep_delay"] * 1e-6

    @cached_property
    def _durations(self) -> dict[tuple[str, tuple[int, ...]], float]:
        """Seconds of each instruction."""
        durations = {}
        for qubit, values in enumerate(self.properties["qubits"]):
            lengths = {each["name"]: each for each in values}
            if "readout_length" in lengths:
                durations["measure", (qubit,)] = _seconds(lengths["readout_length"])
        for gate in self.properties["gates"]:
            for each in gate["parameters"]:
                if each["name"] == "gate_length":
                    durations[gate["gate"], tuple(gate["qubits"])] = _seconds(each)
        return durations

    @cached_property
    def _places(self) -> dict[str, set[tuple[int, ...]]]:
        """Where each gate may stand; instructions without places may stand anywhere."""
        places: dict[str, set[tuple[int, ...]]] = {
            name: set() for name in self.configuration["supported_instructions"]
        }
        for gate in self.configuration["gates"]:
            for qubits in gate.get("coupling_map") or []:
                places.setdefault(gate["name"], set()).add(tuple(qubits))
        return places

    def find_fault(self, circuit: QuantumCircuit) -> str | None:
        """Why the device would not run a circuit; None if it would.

        Instructions and their places, one level of `if_else`, no measurement or reset inside.
        """
        num_qubits = self.configuration["n_qubits"]
        if circuit.num_qubits > num_qubits:
            return f"the circuit has {circuit.num_qubits} qubits, the device {num_qubits}"
        for operation, qubits, _, nesting in walk_instructions(circuit):
            name = operation.name
            if name == "barrier":
                continue
            places = self._places.get(name)
            if places is None or (places and qubits not in places):
                return f"the instruction {name} on qubits {qubits} is not supported"
            if nesting and isinstance(operation, ControlFlowOp):
                return f"{name} on qubits {qubits} is nested in control flow"
            if nesting and name.startswith(("measure", "reset")):
                return f"{name} on qubit {qubits[0]} stands in a branch"
        return None

    def circuit_seconds(self, circuit: QuantumCircuit) -> float:
        """How long one shot takes.

        As soon as possible, qubit by qubit; a branch takes as long as its longest body, and waits
        for the bits that it reads. Feedforward latency is not counted.
        """
        return self._finish(circuit, range(circuit.num_qubits))

    def _finish(self, circuit: QuantumCircuit, outer: Any) -> float:
        physical = dict(zip(circuit.qubits, outer, strict=True))
        ready: dict[Any, float] = {}
        for item in circuit.data:
            operation, bits = item.operation, (*item.qubits, *item.clbits)
            qubits = tuple(physical[qubit] for qubit in item.qubits)
            if isinstance(operation, IfElseOp):
                length = max(self._finish(body, qubits) for body in operation.blocks)
            elif operation.name == "delay":
                length = self._delay_seconds(operation)
            elif operation.name in _NO_TIME:
                length = 0.0
            else:
                length = self._durations.get((operation.name, qubits), 0.0)
            end = max((ready.get(bit, 0.0) for bit in bits), default=0.0) + length
            ready.update(dict.fromkeys(bits, end))
        return max(ready.values(), default=0.0)

    def _delay_seconds(self, operation: Any) -> float:
        if operation.unit == "dt":
            return operation.duration * self.configuration["dt"] * 1e-9
        return apply_prefix(operation.duration, operation.unit)


def _seconds(value: dict[str, Any]) -> float:
    return apply_prefix(value["value"], value["unit"])
