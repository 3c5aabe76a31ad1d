"""Random programs and tables that several test modules check engines on."""

from itertools import product

import numpy as np

from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram

ANSATZE = ("sim14", "line", "brick")
STRENGTHS_RAD = (np.pi / 2, 0.3, 1.1)


def dynamic_configurations():
    """Every ansatz, loop, steered mode, a, h and d that the engines are checked on."""
    grid = product(ANSATZE, ("feedforward", "open"), ("rotations", "all"), (1, 2), (1, 2), (0, 1))
    return [
        configuration
        for configuration in grid
        if configuration[1] == "feedforward" or configuration[2:] == ("rotations", 1, 1, 0)
        or configuration[2:] == ("rotations", 2, 1, 1)
    ]  # fmt: skip


def dynamic_program(rng, ansatz, loop, steered, num_readouts, history, delay, num_timesteps=4):
    num_memory = 2 if num_readouts == 2 and history == 2 else 3
    readouts = tuple(
        Readout(
            str(rng.choice(["X", "Y", "Z"])),
            int(rng.integers(num_memory)),
            float(rng.choice(STRENGTHS_RAD)),
        )
        for _ in range(num_readouts)
    )
    cell = CellSpec(
        Ansatz(ansatz, num_memory, num_layers=int(rng.integers(1, 3))),
        readouts,
        loop,
        steered,
        history,
        delay,
    )
    return SequenceProgram(cell, num_timesteps, final_bases=("X", "Y", "Z"))


def host_program(ansatz, num_memory=3, num_timesteps=3, num_layers=1):
    cell = CellSpec(Ansatz(ansatz, num_memory, num_layers), loop="host")
    return SequenceProgram(cell, num_timesteps, final_bases=("X", "Y", "Z"))


def random_table(rng, program, batch=1):
    return rng.uniform(-np.pi, np.pi, size=(batch, *program.table_shape))


def controls_of(program, table, strengths_rad=None):
    phis = program.strengths_rad if strengths_rad is None else np.asarray(strengths_rad)
    flat = np.asarray(table).reshape(len(table), -1)
    return np.concatenate((flat, np.tile(phis, (len(flat), 1))), axis=1)


def bind(program, values):
    """The logical circuit with one row of slot values."""
    return program.circuit.assign_parameters(dict(zip(program.slots.names, values, strict=True)))
