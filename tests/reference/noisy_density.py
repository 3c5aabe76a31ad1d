"""The distribution of a noisy dynamic circuit's records, one density matrix per record.

Noise is read from an object shaped like `DeviceNoise`; nothing of `qrnn_qiskit` is imported. Delays
relax as T1 and T2 say, gates depolarise and relax so that their average infidelity is the given
one, resets flip, and a measurement collapses on the true outcome and records a noisy one.
"""

import numpy as np
from qiskit.quantum_info import DensityMatrix, Kraus, Operator, SuperOp, average_gate_fidelity


def record_probabilities(circuit, noise):
    """Exact `(2**num_clbits,)`, clbit 0 the lowest bit of a record."""
    size = 2**circuit.num_qubits
    start = np.zeros((size, size), dtype=complex)
    start[0, 0] = 1
    channels = {(gate.name, gate.qubits): gate_channel(gate, noise) for gate in noise.gates}
    states = {0: DensityMatrix(start)}
    states = walk(circuit, range(circuit.num_qubits), circuit, states, noise, channels)
    probabilities = np.zeros(2**circuit.num_clbits)
    for record, state in states.items():
        probabilities[record] = state.trace().real
    return probabilities


def walk(body, outer, circuit, states, noise, channels):
    index = dict(zip(body.qubits, outer, strict=True))
    for item in body.data:
        where = tuple(index[qubit] for qubit in item.qubits)
        name = item.name
        if name == "barrier":
            continue
        if name == "if_else":
            condition = item.operation.condition
            register, value = (
                condition if hasattr(condition[0], "size") else ([condition[0]], condition[1])
            )
            mask, shift = 2 ** len(register) - 1, circuit.find_bit(register[0]).index
            blocks = [*item.operation.blocks, None]
            chosen = [{}, {}]
            for record, state in states.items():
                chosen[(record >> shift & mask) != value][record] = state
            states = {}
            for block, part in zip(blocks, chosen, strict=False):
                states |= (
                    part if block is None else walk(block, where, circuit, part, noise, channels)
                )
        elif name.startswith("measure"):
            bit = circuit.find_bit(item.clbits[0]).index
            states = measure(states, where[0], bit, noise.qubits[where[0]])
        else:
            channel = operation_channel(item.operation, where, noise, channels)
            states = {record: state.evolve(channel, where) for record, state in states.items()}
    return states


def operation_channel(operation, where, noise, channels):
    qubit = noise.qubits[where[0]]
    if operation.name == "delay":
        return relax(operation.duration * noise.idle_factor, qubit)
    if operation.name.startswith("reset"):
        error = qubit.reset_error
        flip = Kraus([np.sqrt(1 - error) * np.eye(2), np.sqrt(error) * np.eye(2)[::-1]])
        down = Kraus([np.diag([1, 0]), np.array([[0, 1], [0, 0]])])
        return SuperOp(down).compose(SuperOp(flip))
    ideal = SuperOp(Operator(operation))
    after = channels.get((operation.name, where))
    return ideal if after is None else ideal.compose(after)


def relax(duration_ns, qubit):
    """Amplitude damping, then dephasing by what T2 says beyond T1."""
    kept = np.exp(-duration_ns / qubit.t1_ns)
    coherence = np.exp(-duration_ns / qubit.t2_ns)
    flip = (1 - coherence / np.sqrt(kept)) / 2
    damping = Kraus([np.diag([1, np.sqrt(kept)]), np.array([[0, np.sqrt(1 - kept)], [0, 0]])])
    dephasing = Kraus([np.sqrt(1 - flip) * np.eye(2), np.sqrt(flip) * np.diag([1, -1])])
    return SuperOp(damping).compose(SuperOp(dephasing))


def gate_channel(gate, noise):
    """Depolarising, then relaxation, with the gate's average infidelity together."""
    relaxation = relax(gate.duration_ns, noise.qubits[gate.qubits[0]])
    for index in gate.qubits[1:]:
        relaxation = relax(gate.duration_ns, noise.qubits[index]).tensor(relaxation)
    dimension = 2 ** len(gate.qubits)
    fidelity = average_gate_fidelity(relaxation)
    # Fidelity is linear in the channel, and 1/d for the one that forgets everything.
    parameter = max(0.0, (fidelity - (1 - gate.error)) / (fidelity - 1 / dimension))
    identity = np.eye(dimension)
    forgotten = np.outer(identity.ravel(), identity.ravel()) / dimension
    depolarising = SuperOp((1 - parameter) * np.eye(dimension**2) + parameter * forgotten)
    return depolarising.compose(relaxation)


def measure(states, where, bit, qubit):
    wrong = (qubit.read_one_given_zero, qubit.read_zero_given_one)
    after = {}
    for record, state in states.items():
        for true in (0, 1):
            projected = state.evolve(Operator(np.diag([1 - true, true])), [where])
            for recorded in (0, 1):
                weight = wrong[true] if recorded != true else 1 - wrong[true]
                key = record & ~(1 << bit) | recorded << bit
                part = weight * projected
                after[key] = after[key] + part if key in after else part
    return after
