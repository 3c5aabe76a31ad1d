"""Posted circuits on Aer, with bits that depend on nothing but the job.

The seed of a PUB is `circuit.metadata["seed"]` where the client sends one, else `content_seed` of
circuit, values and shots. With the same seed `AerExecutor` gives the same bits for the compiled
program that the circuit was widened from, because it is what runs here: see `seed_of_request`.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit, QuantumRegister, qasm3
from qiskit.circuit.classical import types

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.devices import load_fake_backend
from qrnn_qiskit.execution import AerExecutor, Executor, RunRequest, noise_for
from tests.loopback.devices import Device
from tests.loopback.posted import PostedItem, PostedProgram

# Fixed cost of a job in IBM's estimate of usage.
_OVERHEAD_SECONDS = 2.0

MakeExecutor = Callable[[Device], Executor]


def ideal_executor(device: Device) -> Executor:
    """No noise, one thread."""
    return AerExecutor(max_threads=1)


def noisy_executor(device: Device) -> Executor:
    """The snapshot's readout, reset and gate errors; qubits do not relax while they wait."""
    backend = load_fake_backend(device.fake_name)
    return AerExecutor(lambda compiled: noise_for(compiled, backend), max_threads=1)


def content_seed(circuit: QuantumCircuit, values: NDArray[np.float64], num_shots: int) -> int:
    """A seed that only content decides: OpenQASM 3 of the circuit, values, shots.

    Args:
        circuit: over its used qubits or a whole device, both give the same.
        values: of `circuit.parameters` in their order, `(*shape, num_parameters)`.
        num_shots: of each row.
    """
    digest = sha256(circuit_text(compact(circuit, keep_idle=False)[0]).encode())
    array = np.ascontiguousarray(values, dtype="<f8")
    digest.update(json.dumps([list(array.shape), num_shots]).encode())
    digest.update(array.tobytes())
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def seed_of_request(
    compiled: CompiledProgram, slot_values: NDArray[np.float64], num_shots: int
) -> int:
    """The seed for `RunRequest` with which `AerExecutor` gives the server's bits.

    Args:
        compiled: whose circuit is posted, widened with `compiling.export.widen`.
        slot_values: all rows of one PUB, `(num_rows, num_slots)`.
        num_shots: of each row.
    """
    columns = {name: index for index, name in enumerate(compiled.parameter_names)}
    order = [columns[parameter.name] for parameter in compiled.circuit.parameters]
    return content_seed(compiled.circuit, compiled.bind_values(slot_values)[:, order], num_shots)


def compact(
    circuit: QuantumCircuit, *, keep_idle: bool = True
) -> tuple[QuantumCircuit, tuple[int, ...]]:
    """A circuit over its used qubits, and the device's number of each of them.

    Qubits come in the order of the circuit's layout, as before it was widened, where there is one
    that names all used qubits; else in the device's order.

    Args:
        circuit: over a whole device.
        keep_idle: keep qubits that the layout names and no gate uses.
    """
    index = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    idle = ("barrier", "delay")
    used = {index[qubit] for item in circuit.data if item.name not in idle for qubit in item.qubits}
    order = sorted(used)
    if circuit.layout is not None:
        placed = circuit.layout.initial_index_layout(filter_ancillas=True)
        if used <= set(placed):
            order = [each for each in placed if keep_idle or each in used]
    small = QuantumCircuit(QuantumRegister(len(order), "q"), global_phase=circuit.global_phase)
    small.add_bits(circuit.clbits)
    small.add_register(*circuit.cregs)
    place = {circuit.qubits[each]: small.qubits[i] for i, each in enumerate(order)}
    for item in circuit.data:
        qubits = [place[qubit] for qubit in item.qubits if qubit in place]
        if item.name == "barrier":
            small.barrier(qubits)
        elif qubits:
            small.append(item.operation, qubits, item.clbits, copy=False)
    return small, tuple(order)


def circuit_text(circuit: QuantumCircuit) -> str:
    """OpenQASM 3, also of `measure_2` and `reset_2`."""
    kinds = {
        name: qasm3.DefcalInstruction(name, 0, 1, types.Bool() if is_measure else None)
        for name in circuit.count_ops()
        if (is_measure := name.startswith("measure_")) or name.startswith("reset_")
    }
    return qasm3.dumps(circuit, implicit_defcals=kinds)


@dataclass(frozen=True, eq=False)
class _Compiled:
    """As much of a `CompiledProgram` as executors look at."""

    circuit: QuantumCircuit
    physical_qubits: tuple[int, ...]
    target_name: str

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.circuit.parameters)

    @property
    def program(self) -> Any:
        slots = SimpleNamespace(num_slots=self.circuit.num_parameters)
        return SimpleNamespace(slots=slots, num_bits=self.circuit.num_clbits)

    def bind_values(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values


class Simulation:
    """All devices' executors; one job at a time, Aer's threads are enough."""

    def __init__(self, make_executor: MakeExecutor) -> None:
        self._make_executor = make_executor
        self._executors: dict[str, Executor] = {}
        # Executors keep what they prepared for a circuit, for as long as the circuit lives.
        self._compiled: dict[tuple[str, tuple[int, ...], str], _Compiled] = {}
        self._lock = threading.Lock()

    def run(self, device: Device, program: PostedProgram) -> list[dict[str, NDArray[np.bool_]]]:
        """For each item the bits of its registers, `(*shape, num_shots, register_size)`."""
        with self._lock:
            return [self._run_item(device, item, program.num_shots) for item in program.items]

    def _run_item(
        self, device: Device, item: PostedItem, num_shots: int
    ) -> dict[str, NDArray[np.bool_]]:
        if device.name not in self._executors:
            self._executors[device.name] = self._make_executor(device)
        small, physical_qubits = compact(item.circuit)
        key = (circuit_text(small), physical_qubits, device.name)
        compiled = self._compiled.setdefault(key, _Compiled(small, *key[1:]))
        seed = (item.circuit.metadata or {}).get("seed")
        if seed is None:
            seed = content_seed(item.circuit, item.values, num_shots)
        num_rows = int(np.prod(item.shape, dtype=int))
        rows = item.values.reshape(num_rows, item.values.shape[-1])
        request = RunRequest(compiled, rows, num_shots, seed)
        bits = self._executors[device.name].run(request).bits
        circuit = compiled.circuit
        found = {}
        for register in circuit.cregs:
            columns = [circuit.find_bit(bit).index for bit in register]
            shape = (*item.shape, num_shots, len(columns))
            found[register.name] = bits[..., columns].astype(bool).reshape(shape)
        return found


def usage_seconds(device: Device, program: PostedProgram) -> float:
    """Quantum seconds of a job: `2 s + (rep_delay + circuit) * executions`, summed over items.

    IBM's published estimate; `circuit` is `Device.circuit_seconds`, executions are rows times
    shots, and rep_delay is 250 us unless the job says otherwise.
    """
    delay = device.rep_delay_seconds if program.rep_delay is None else program.rep_delay
    total = _OVERHEAD_SECONDS
    for item in program.items:
        num_executions = int(np.prod(item.shape, dtype=int)) * program.num_shots
        total += (delay + device.circuit_seconds(item.circuit)) * num_executions
    return total
