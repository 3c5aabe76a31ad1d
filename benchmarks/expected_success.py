"""Does exp(-lambda) say what is left of a signal? Estimated success beside simulated signals.

Tables of small random angles for a `brick` cell with one readout in the `feedforward` loop are
compiled for a device, scheduled and run on Aer with all of its errors: gates, readout, reset, and
relaxation while qubits wait. lambda and exp(-lambda) come from `estimate_loss` on the same circuit
and the same schedule. lambda counts average infidelities; the chance of a Pauli error is larger by
3/2 on one qubit and 5/4 on two, and "no error" is exp(-lambda) with these.

The retained signal of some numbers is the slope of their noisy values against their exact ones
over the random tables, each number's mean over tables taken away: 1 without noise, 0 if what is
measured does not depend on the table any more. Three sets of numbers:

- records: the probability of every record of all readout and final bits. Most errors put a shot
  into a wrong record, so this is closest to the share of shots without error.
- parity: the product of all final bits. A flipped bit does not only lose the signal, it turns its
  sign, so that a readout error e costs 2e; errors that no final bit sees cost nothing.
- single: every final <Z_q>. An error elsewhere often costs nothing.

Errors are jackknife standard errors over tables.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from qiskit.providers import BackendV2

from qrnn_qiskit.analysis import schedule_compiled
from qrnn_qiskit.compiling import TranspileProfile, compile_program, load_profile
from qrnn_qiskit.costing import LossBudget, PlacedDevice, estimate_loss
from qrnn_qiskit.devices import DeviceTarget, load_fake_backend, read_target
from qrnn_qiskit.execution import AerExecutor, RunRequest, noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.reference.branch_enumeration import enumerate_records

PROFILES = {"fake_boston": "heron", "fake_kingston": "heron", "fake_brisbane": "eagle"}
# Angles of any size scramble: at T = 8 final values hardly depend on the table (standard deviation
# of the parity at n = 6: 0.02). Up to here parities vary by 0.1 to 0.2, and <Z_q> by 0.2 to 0.4.
LARGEST_ANGLE_RAD = 0.6


@dataclass(frozen=True)
class Case:
    backend: str
    num_memory: int
    num_timesteps: int


@dataclass(frozen=True)
class Point:
    case: Case
    loss: LossBudget
    retained: tuple[tuple[float, float], ...]
    seconds: float


@cache
def open_device(name: str) -> tuple[BackendV2, DeviceTarget, TranspileProfile]:
    backend, profile = load_fake_backend(name), load_profile(PROFILES[name])
    return backend, read_target(backend), profile


def run_point(case: Case, num_tables: int, num_shots: int, seed: int) -> Point:
    start = time.monotonic()
    backend, device, profile = open_device(case.backend)
    program = SequenceProgram(
        CellSpec(Ansatz("brick", case.num_memory), (Readout("Z", 0),)), case.num_timesteps
    )
    compiled = compile_program(program, device, profile)
    schedule = schedule_compiled(compiled, device, profile)
    num_qubits = compiled.circuit.num_qubits
    loss = estimate_loss(
        compiled.circuit,
        PlacedDevice(device, compiled.physical_qubits),
        schedule,
        resting_qubits=range(num_qubits - compiled.form.num_spares, num_qubits),
    )
    rows = random_rows(program, num_tables, seed)
    executor = AerExecutor(
        lambda compiled: noise_for(compiled, backend), idling=lambda _: schedule, max_threads=1
    )
    bits = executor.run(RunRequest(compiled, rows, num_shots, seed)).bits
    noisy = np.stack([record_frequencies(row) for row in bits])
    exact = np.stack([record_probabilities(program, row) for row in rows])
    retained = (
        estimate_slope(noisy, exact),
        *(estimate_slope(noisy @ signs, exact @ signs) for signs in sign_tables(program)),
    )
    return Point(case, loss, retained, time.monotonic() - start)


def random_rows(program: SequenceProgram, num_tables: int, seed: int) -> np.ndarray:
    """Slot values of tables with uniform angles."""
    rng = np.random.default_rng(seed)
    size = (num_tables, program.num_table_angles)
    tables = rng.uniform(-LARGEST_ANGLE_RAD, LARGEST_ANGLE_RAD, size)
    strengths = np.tile(program.strengths_rad, (num_tables, 1))
    return program.slots.values(np.concatenate((tables, strengths), axis=1))


def record_frequencies(bits: np.ndarray) -> np.ndarray:
    """From `(num_shots, num_bits)`, bit 0 lowest in a record's number."""
    num_shots, num_bits = bits.shape
    return np.bincount(bits @ (1 << np.arange(num_bits)), minlength=2**num_bits) / num_shots


def record_probabilities(program: SequenceProgram, row: np.ndarray) -> np.ndarray:
    """By enumerating branches of the logical circuit."""
    values = dict(zip(program.slots.names, row.tolist(), strict=True))
    return enumerate_records(program.circuit.assign_parameters(values)).probabilities


def sign_tables(program: SequenceProgram) -> tuple[np.ndarray, np.ndarray]:
    """The parity of the final bits, and each of them, as `(num_records, num_numbers)`."""
    final = [bit.position for bit in program.record if bit.role == "final"]
    signs = 1 - 2 * ((np.arange(2**program.num_bits)[:, None] >> final) & 1)
    return signs.prod(axis=1, keepdims=True), signs


def estimate_slope(noisy: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """Slope over tables of `(num_tables, num_numbers)`, and its jackknife error."""
    num_tables = len(exact)
    kept = ~np.eye(num_tables, dtype=bool)
    without_one = [slope(noisy[rows], exact[rows]) for rows in kept]
    return slope(noisy, exact), float(np.std(without_one) * np.sqrt(num_tables - 1))


def slope(noisy: np.ndarray, exact: np.ndarray) -> float:
    centred = exact - exact.mean(axis=0)
    return float(np.sum(centred * noisy) / np.sum(centred**2))


def no_error(loss: LossBudget) -> float:
    """Share of shots without any error, from process instead of average infidelities."""
    one_qubit, two_qubit = loss.one_qubit + loss.idle, loss.two_qubit
    return float(np.exp(-(3 / 2 * one_qubit + 5 / 4 * two_qubit + loss.readout + loss.reset)))


def print_point(point: Point) -> None:
    case, loss = point.case, point.loss
    cells = [
        case.backend, case.num_memory, case.num_timesteps, f"{loss.total:.2f}",
        f"{loss.idle / loss.total:.0%}", f"{loss.success:.3f}",
        f"{no_error(loss):.3f}",
        *(f"{value:.3f} ± {error:.3f}" for value, error in point.retained),
        f"{point.seconds:.0f}",
    ]  # fmt: skip
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=16)
    parser.add_argument("--shots", type=int, default=1000, help="of every table")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    cases = [Case(*values) for values in product(PROFILES, (4, 6), (2, 4, 8))]
    arguments = (options.tables, options.shots, options.seed)
    columns = "backend|n|T|lambda|of it idle|exp(-lambda)|no error|records|parity|single|seconds"
    print("| " + columns.replace("|", " | ") + " |")
    print("|---" * (columns.count("|") + 1) + "|")
    with ProcessPoolExecutor(options.processes) as pool:
        for point in pool.map(run_point, cases, *([value] * len(cases) for value in arguments)):
            print_point(point)
    print(f"\n{options.tables} random tables, {options.shots} shots each, ± one standard error")


if __name__ == "__main__":
    main()
