"""Random and compiled dynamic circuits; a slow schedule, written apart from the fast one."""

from functools import cache

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Instruction
from qiskit.circuit.classical import expr

from qrnn_qiskit.compiling import compile_program, load_profile
from qrnn_qiskit.devices import load_fake_backend, read_target
from qrnn_qiskit.program import SequenceProgram

# Whole numbers, so that a grid of 1 ns and float sums are both exact.
DURATIONS_NS = {"rz": 0, "x": 2, "sx": 3, "cz": 7, "ecr": 11, "measure": 40, "measure_2": 23,
                "reset": 31, "reset_2": 13}  # fmt: skip


class Table:
    """Durations by name, longer on later qubits; ecr depends on the direction."""

    def __init__(self, durations=DURATIONS_NS):
        self.durations = durations

    def duration_ns(self, name, qubits):
        duration = self.durations[name]
        if name.startswith(("measure", "reset")):
            return duration + 5 * qubits[0]
        return duration + 4 * (name == "ecr" and qubits[0] > qubits[1])


class Exactly(Table):
    """Durations by name alone."""

    def duration_ns(self, name, qubits):
        return self.durations[name]


class DeviceDurations:
    """A device's, for the circuit qubits of a compiled program."""

    def __init__(self, device, physical_qubits):
        self.device, self.physical_qubits = device, physical_qubits

    def duration_ns(self, name, qubits):
        return self.device.duration_ns(name, [self.physical_qubits[qubit] for qubit in qubits])


def compile_on_boston(cell, num_timesteps):
    """A compiled program and its durations; slow measurements and resets, as on most devices."""
    device = read_target(load_fake_backend("fake_boston"))
    program = SequenceProgram(cell, num_timesteps)
    compiled = compile_program(program, device, load_profile("reference_sim14"))
    return compiled, DeviceDurations(device, compiled.physical_qubits)


def random_circuit(rng, num_instructions=25, num_qubits=4, max_measurements=8):
    registers = [ClassicalRegister(2, "a"), ClassicalRegister(1, "b"), ClassicalRegister(2, "c")]
    circuit = QuantumCircuit(QuantumRegister(num_qubits, "q"), *registers)
    num_measurements = 0
    for _ in range(num_instructions):
        kind = rng.choice(["gate", "measure", "reset", "branch", "barrier"],
                          p=[0.55, 0.15, 0.1, 0.17, 0.03])  # fmt: skip
        qubits = [int(qubit) for qubit in rng.permutation(num_qubits)]
        if kind == "gate":
            add_gate(rng, circuit, qubits)
        elif kind == "measure" and num_measurements < max_measurements:
            num_measurements += 1
            clbit = int(rng.integers(circuit.num_clbits))
            name = str(rng.choice(["measure", "measure_2"]))
            circuit.append(Instruction(name, 1, 1, []), [qubits[0]], [clbit])
        elif kind == "reset":
            name = str(rng.choice(["reset", "reset_2"]))
            circuit.append(Instruction(name, 1, 0, []), [qubits[0]])
        elif kind == "branch":
            add_branch(rng, circuit, qubits[: rng.integers(1, 4)])
        elif kind == "barrier":
            circuit.barrier(qubits[: rng.integers(1, 4)])
    return circuit


def add_gate(rng, circuit, qubits):
    name = str(rng.choice(["rz", "x", "sx", "cz", "ecr"]))
    if name == "rz":
        circuit.rz(float(rng.uniform(-3, 3)), qubits[0])
    elif name in ("x", "sx") or len(qubits) == 1:
        getattr(circuit, "sx" if name == "sx" else "x")(qubits[0])
    else:
        getattr(circuit, name)(qubits[0], qubits[1])


def add_branch(rng, circuit, qubits):
    """One block, or several alternatives in a row, with one or two bodies each."""
    registers = list(circuit.cregs)
    shape = str(rng.choice(["register", "clbit", "both"]))
    first, second = (registers[index] for index in rng.permutation(3)[:2])
    for _ in range(rng.integers(1, 4)):
        value, other = (int(rng.integers(2**register.size)) for register in (first, second))
        condition = {
            "register": (first, value),
            "clbit": (first[0], value & 1),
            "both": expr.bit_and(expr.equal(first, value), expr.equal(second, other)),
        }[shape]
        bodies = []
        for _ in range(rng.integers(1, 3)):
            body = QuantumCircuit(len(qubits))
            for _ in range(rng.integers(0, 6)):
                add_gate(rng, body, [int(qubit) for qubit in rng.permutation(len(qubits))])
            bodies.append(body)
        if len(bodies) == 1:
            circuit.if_test(condition, bodies[0], qubits, [])
        else:
            circuit.if_else(condition, *bodies, qubits, [])


def condition_clbits(circuit, condition):
    """Indices, for the shapes of condition that `add_branch` makes."""
    if isinstance(condition, expr.Expr):
        targets = [condition.left.left.var, condition.right.left.var]
    else:
        targets = [condition[0]]
    return {
        circuit.find_bit(bit).index
        for target in targets
        for bit in (target if isinstance(target, ClassicalRegister) else [target])
    }


class SlowSchedule:
    """Start times by recursion over what an instruction waits for; waiting read off a grid."""

    def __init__(self, circuit, table, latency_ns):
        self.circuit, self.table, self.latency_ns = circuit, table, latency_ns
        self.names = [item.name for item in circuit.data]
        self.qubits = [
            tuple(circuit.find_bit(qubit).index for qubit in item.qubits) for item in circuit.data
        ]
        self.chains = [
            [i for i, qubits in enumerate(self.qubits) if qubit in qubits]
            for qubit in range(circuit.num_qubits)
        ]
        for method in ("start", "end", "in_run", "longest_body"):
            setattr(self, method, cache(getattr(self, method)))

    def before(self, qubit, i):
        """The previous instruction on a qubit, None if there is none."""
        earlier = [j for j in self.chains[qubit] if j < i]
        return earlier[-1] if earlier else None

    def in_ground(self, qubit, i):
        """The qubit is in |0> before i, and no gate of a run stands between."""
        j = self.before(qubit, i)
        if j is None or self.names[j].startswith("reset"):
            return True
        return self.names[j] == "barrier" and self.in_ground(qubit, j)

    def in_run(self, i):
        """One of the one-qubit gates that come first on |0>."""
        if len(self.qubits[i]) > 1 or self.names[i] not in ("rz", "x", "sx"):
            return False
        (qubit,) = self.qubits[i]
        return self.in_ground(qubit, i) or self.in_run(self.before(qubit, i))

    def duration(self, i):
        if self.names[i] == "if_else":
            return self.longest_body(i).shape[1]
        if self.names[i] == "barrier":
            return 0
        return self.table.duration_ns(self.names[i], self.qubits[i])

    def start(self, i):
        if self.in_run(i):
            (qubit,) = self.qubits[i]
            later = [j for j in self.chains[qubit] if j > i]
            anchor = next((j for j in later if not self.in_run(j)), None)
            if anchor is not None:
                between = [j for j in later if j < anchor]
                return self.start(anchor) - sum(self.duration(j) for j in [i, *between])
        times = [0]
        for qubit in self.qubits[i]:
            run, j = 0, self.before(qubit, i)
            while j is not None and self.in_run(j):
                run, j = run + self.duration(j), self.before(qubit, j)
            times.append(run + (0 if j is None else self.end(j)))
        if self.names[i] == "if_else":
            condition = self.circuit.data[i].operation.condition
            for clbit in condition_clbits(self.circuit, condition):
                measured = [
                    j for j in range(i)
                    if self.names[j].startswith("measure")
                    and self.circuit.find_bit(self.circuit.data[j].clbits[0]).index == clbit
                ]  # fmt: skip
                times += [self.end(measured[-1]) + self.latency_ns] if measured else []
        return max(times)

    def end(self, i):
        return self.start(i) + self.duration(i)

    def longest_body(self, i):
        """For each qubit of a block whether it works in each ns of the longest branch."""
        grids = [
            step_through(body, self.qubits[i], self.table)
            for body in self.circuit.data[i].operation.blocks
        ]
        return max(grids, key=lambda grid: grid.shape[1])

    def grids(self):
        """`(num_qubits, num_ns)`: works, and waits in a live state."""
        shape = (
            self.circuit.num_qubits,
            int(max(map(self.end, range(len(self.names))), default=0)),
        )
        works, is_live = np.zeros(shape, bool), np.zeros(shape, bool)
        for qubit, chain in enumerate(self.chains):
            for i in chain:
                span = slice(int(self.start(i)), int(self.end(i)))
                gap = slice(0 if self.before(qubit, i) is None
                            else int(self.end(self.before(qubit, i))), span.start)  # fmt: skip
                is_live[qubit, gap] = not (self.in_ground(qubit, i) or self.in_run(i))
                if self.names[i] == "if_else":
                    inner = self.longest_body(i)[self.qubits[i].index(qubit)]
                    works[qubit, span], is_live[qubit, span] = inner, ~inner
                else:
                    works[qubit, span] = True
        return works, is_live


def step_through(body, outer_qubits, table):
    """A branch body ns by ns: every instruction whose turn it is on all its qubits starts."""
    waiting = [
        (item.name, tuple(body.find_bit(qubit).index for qubit in item.qubits))
        for item in body.data
    ]
    busy_until = [0] * body.num_qubits
    columns, now = [], 0
    while waiting or max(busy_until) > now:
        blocked, left = {q for q, until in enumerate(busy_until) if until > now}, []
        for name, qubits in waiting:
            if blocked & set(qubits):
                left.append((name, qubits))
                blocked |= set(qubits)
                continue
            duration = table.duration_ns(name, tuple(outer_qubits[q] for q in qubits))
            for q in qubits:
                busy_until[q] = now + duration
            blocked |= set(qubits) if duration else set()
        waiting = left
        if max(busy_until) > now:
            columns.append([until > now for until in busy_until])
            now += 1
    return np.array(columns, bool).reshape(-1, body.num_qubits).T
