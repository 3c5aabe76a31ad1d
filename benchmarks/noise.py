"""Rows of noisy shots per second: one circuit with an array of angles against bound circuits.

A `brick` cell with 4 memory qubits in the `feedforward` loop over 8 timesteps, compiled for
`fake_boston`. Four ways to run rows of random angles on the same compiled circuit:

- ours: `AerExecutor` with the device's gate, readout and reset errors and relaxation while qubits
  wait. A fresh executor each time: reading the noise, scheduling and building the model count.
- exact: what these shots are drawn from, by the exact engine with the same errors and waiting
  (`qrnn noise` with engine = "exact"): expected readouts of every row, no records. Planning counts.
- Sampler: each row bound (`assign_parameters`) at the device's full width, all of them run by
  `qiskit_ibm_runtime.executor_sampler.Sampler` in local mode on the fake backend, which simulates
  its own noise model.
- SamplerV2: the same with `qiskit_ibm_runtime.SamplerV2`, deprecated, but what most code uses.

The others get the circuit without waiting, with perfect resets and symmetric readout errors, which
is less work: there is no local mode that does more. They take turns in one process. Compiling is
not timed. `Sampler` gets fewer rows; of its seconds there hardly any do not grow with the rows. CPU
seconds are told beside wall seconds, because the latter mean little on a busy machine. Before
timing, bits of one row without noise must agree between the compiled circuit
with its parameters and the bound one, within five standard errors.
"""

import gc
import os
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import IfElseOp
from qiskit.circuit.library import Measure, Reset
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import SamplerV2
from qiskit_ibm_runtime.executor_sampler import Sampler

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.compiling.export import widen
from qrnn_qiskit.execution import AerExecutor, RunRequest, noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate.noisy import build_noisy_plan, noisy_features
from qrnn_qiskit.studies import CompilerDevice, open_device

NUM_MEMORY, NUM_TIMESTEPS = 4, 8
CHECK_SHOTS = 4000


def random_controls(program: SequenceProgram, num_rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tables = rng.uniform(-np.pi, np.pi, (num_rows, program.num_table_angles))
    strengths = np.tile(program.strengths_rad, (num_rows, 1))
    return np.concatenate((tables, strengths), axis=1)


def known_to_aer(circuit: QuantumCircuit) -> QuantumCircuit:
    """`measure_2` and `reset_2` by the names that local mode runs."""
    known = circuit.copy_empty_like()
    for item in circuit.data:
        operation = item.operation
        if item.name.startswith("measure_"):
            operation = Measure()
        elif item.name.startswith("reset_"):
            operation = Reset()
        elif isinstance(operation, IfElseOp):
            bodies = [known_to_aer(body) for body in operation.blocks]
            operation = IfElseOp(operation.condition, *bodies)
        known.append(operation, item.qubits, item.clbits)
    return known


def bind_rows(
    circuit: QuantumCircuit, compiled: CompiledProgram, rows: np.ndarray
) -> list[QuantumCircuit]:
    names = compiled.parameter_names
    return [
        circuit.assign_parameters(dict(zip(names, values, strict=True)))
        for values in compiled.bind_values(rows).tolist()
    ]


def check_agreement(compiled: CompiledProgram, wide: QuantumCircuit, rows: np.ndarray) -> None:
    ours = AerExecutor().run(RunRequest(compiled, rows[:1], CHECK_SHOTS, seed=1)).bits[0]
    (bound,) = bind_rows(wide, compiled, rows[:1])
    result = AerSimulator(seed_simulator=10**9).run(bound, shots=CHECK_SHOTS, memory=True).result()
    memory = [record.replace(" ", "")[::-1] for record in result.get_memory()]
    theirs = np.array([list(record) for record in memory]).astype(int)
    difference = np.abs(ours.mean(axis=0) - theirs.mean(axis=0))
    # Two independent means of bits with a variance of at most 1/4.
    if difference.max() > 5 * np.sqrt(2 * 0.25 / CHECK_SHOTS):
        raise ValueError(f"the circuits must agree without noise, bits differ by {difference}")


@dataclass(frozen=True)
class Engine:
    """What runs how many rows; a turn gives wall and CPU seconds."""

    num_rows: int
    run: Callable[[], object]

    def time_turn(self) -> tuple[float, float]:
        gc.collect()
        start, start_cpu = time.perf_counter(), time.process_time()
        self.run()
        return time.perf_counter() - start, time.process_time() - start_cpu


def build_engines(
    device: CompilerDevice, compiled: CompiledProgram, controls: np.ndarray, options: Namespace
) -> dict[str, Engine]:
    rows = compiled.program.slots.values(controls)
    wide = known_to_aer(
        widen(compiled.circuit, compiled.physical_qubits, device.backend.num_qubits)
    )
    check_agreement(compiled, wide, rows)

    def ours() -> object:
        executor = AerExecutor(
            lambda compiled: noise_for(compiled, device.backend),
            idling=device.schedule,
            max_threads=options.threads,
        )
        return executor.run(RunRequest(compiled, rows, options.shots, seed=1))

    def sampled_by(sampler: type, rows: np.ndarray) -> Callable[[], object]:
        def run() -> object:
            pubs = [(circuit,) for circuit in bind_rows(wide, compiled, rows)]
            return sampler(mode=device.backend).run(pubs, shots=options.shots).result()

        return run

    def exactly() -> object:
        schedule, noise = device.schedule(compiled), noise_for(compiled, device.backend)
        plan = build_noisy_plan(compiled, noise, schedule)
        return noisy_features(plan, torch.from_numpy(controls))

    few = rows[: options.sampler_rows]
    return {
        "ours": Engine(len(rows), ours),
        "exact": Engine(len(rows), exactly),
        "SamplerV2": Engine(len(rows), sampled_by(SamplerV2, rows)),
        "Sampler": Engine(len(few), sampled_by(Sampler, few)),
    }


def run_case(device: CompilerDevice, num_readouts: int, options: Namespace) -> None:
    readouts = (Readout("Z", 0), Readout("Z", 2))[:num_readouts]
    program = SequenceProgram(CellSpec(Ansatz("brick", NUM_MEMORY), readouts), NUM_TIMESTEPS)
    controls = random_controls(program, options.rows, options.seed)
    engines = build_engines(device, device.compile(program), controls, options)
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for _ in range(options.repeats):
        for name, engine in engines.items():
            turns[name].append(engine.time_turn())
    rates = {}
    for name, engine in engines.items():
        wall, cpu = np.array(turns[name]).T / engine.num_rows
        rates[name] = np.array([np.median(wall), wall.min(), np.median(cpu)])
        slower = rates[name] / rates["ours"]
        cells = [
            num_readouts,
            name,
            engine.num_rows,
            *(f"{1 / value:.2f}" for value in rates[name]),
        ]
        cells += [f"{value:.1f}" for value in slower]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--shots", type=int, default=500, help="of every row")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each")
    parser.add_argument("--sampler-rows", type=int, default=16, help="of Sampler, which is slow")
    parser.add_argument("--readouts", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument("--threads", type=int, default=0, help="of Aer in ours, all unless given")
    parser.add_argument("--seed", type=int, default=7, help="of the rows")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    device = open_device("fake_boston")
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}, "
        f"rows of {options.shots} shots, {options.repeats} turns\n"
    )
    columns = "readouts|engine|rows|rows/s, median|fastest|per CPU second"
    columns += "|ours faster by, median|fastest|in CPU time"
    print("| " + columns.replace("|", " | ") + " |")
    print("|---" * (columns.count("|") + 1) + "|", flush=True)
    for num_readouts in options.readouts:
        run_case(device, num_readouts, options)


if __name__ == "__main__":
    main()
