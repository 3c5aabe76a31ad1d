"""Plain numbers of a device's noise, and what the full density matrices give for a program."""

import numpy as np

from qrnn_qiskit.costing.padding import insert_delays
from tests.reference.noisy_density import PlainNoise, PlainQubit, walk_noisy


def plain_noise(noise):
    """A `DeviceNoise` as the oracle takes it."""
    return PlainNoise(
        [
            PlainQubit(
                q.read_one_given_zero, q.read_zero_given_one, q.t1_ns, q.t2_ns, q.reset_error
            )
            for q in noise.qubits
        ],
        {(gate.name, gate.qubits): (gate.error, gate.duration_ns) for gate in noise.gates},
        noise.idle_factor,
    )


def bits_of_timesteps(program):
    """Record positions of each timestep's bits."""
    readouts = [bit for bit in program.record if bit.role != "final"]
    return [
        [bit.position for bit in readouts if bit.timestep == timestep]
        for timestep in range(1, program.num_timesteps + 1)
    ]


def final_bits(program):
    return [bit.position for bit in program.record if bit.role == "final"]


def largest_difference(found, compiled, noise, schedule, controls, bases=None):
    """Of a sample's distributions, `SequenceProbabilities` of one row, from the oracle's."""
    program, circuit = compiled.program, compiled.circuit
    padded = circuit if schedule is None else insert_delays(circuit, schedule)
    differences = []
    for index, basis in enumerate(program.final_bases):
        if bases is not None and basis not in bases:
            continue
        values = compiled.bind_values(
            program.slots.with_basis(program.slots.values(controls), basis)
        )[0]
        bound = padded.assign_parameters(dict(zip(compiled.parameter_names, values, strict=True)))
        records = walk_noisy(bound, plain_noise(noise))
        for timestep, bits in enumerate(bits_of_timesteps(program)):
            if bits:
                differences.append(found.outcomes[0, timestep].numpy() - records.marginal(bits))
        differences.append(found.final[0, index].numpy() - records.marginal(final_bits(program)))
    return max(np.abs(difference).max() for difference in differences)


def record_probabilities(circuit, noise):
    """The oracle's distribution of a bound circuit's records, `(2**num_clbits,)`."""
    return walk_noisy(circuit, plain_noise(noise)).marginal(range(circuit.num_clbits))
