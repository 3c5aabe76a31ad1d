"""Waiting and resets on Aer against closed forms."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Instruction
from scipy.sparse import csr_array

from qrnn_qiskit.analysis import schedule_compiled
from qrnn_qiskit.compiling import compile_logical, compile_program, load_profile
from qrnn_qiskit.costing import PlacedDevice, build_schedule
from qrnn_qiskit.costing.padding import insert_delays
from qrnn_qiskit.devices import (
    DeviceNoise,
    QubitNoise,
    load_fake_backend,
    read_noise,
    read_target,
)
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, RunRequest
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import controls_of, random_table
from tests.unit.execution.test_aer import SMALLEST_P_VALUE, p_value, record_numbers
from tests.unit.simulate.noisy.cases import record_probabilities

NUM_SHOTS = 6000
WAIT_NS = 60_000.0
LATENCY_NS = 20_000.0
PERFECT = QubitNoise(0.0, 0.0)


# The first qubit waits, one of its neighbours is measured.
TORINO_PAIR = (40, 34)


class Durations:
    """A neighbour's gates and measurements take long, everything else no time."""

    def duration_ns(self, name, qubits):
        long = {"measure": WAIT_NS / 6, "measure_2": WAIT_NS / 6, "sx": WAIT_NS / 2, "reset_2": 0.0}
        return long.get(name, 0.0) if qubits == (1,) else 0.0


def planted(circuit):
    """A circuit without parameters as a compiled program; the program itself is not looked at."""
    program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 1)
    num_slots = program.slots.num_slots
    return replace(
        compile_logical(program),
        circuit=circuit,
        parameter_names=(),
        matrix=csr_array((0, num_slots)),
        constants=np.zeros(0),
        folds=np.zeros(0, dtype=np.uint8),
    )


def mean_bits(executor, circuit, num_shots=NUM_SHOTS, seed=1):
    compiled = planted(circuit)
    rows = np.zeros((1, compiled.program.slots.num_slots))
    return executor.run(RunRequest(compiled, rows, num_shots, seed)).bits[0].mean(axis=0)


def idling_executor(*qubits, gates=(), idle_factor=1.0):
    return AerExecutor(
        DeviceNoise("planted", qubits, gates, idle_factor),
        idling=lambda compiled: build_schedule(
            compiled.circuit, Durations(), feedforward_latency_ns=LATENCY_NS
        ),
        max_threads=1,
    )


def wait_beside_measurements(circuit):
    circuit.barrier()
    for _ in range(6):
        circuit.append(Instruction("measure_2", 1, 1, []), [1], [1])
    circuit.barrier()
    return WAIT_NS


def wait_in_a_delay(circuit):
    circuit.barrier()
    circuit.delay(WAIT_NS, 0, unit="ns")
    return WAIT_NS


def wait_for_a_branch(circuit, taken_if=1):
    """A measurement, the latency, and a body in which the neighbour is busy."""
    circuit.x(1)
    circuit.barrier()
    circuit.measure(1, 1)
    with circuit.if_test((circuit.clbits[1], taken_if)):
        circuit.rz(0.0, 0)
        circuit.sx(1)
    return WAIT_NS / 6 + LATENCY_NS + WAIT_NS / 2


def wait_for_an_absent_branch(circuit):
    return wait_for_a_branch(circuit, taken_if=0)


WAITS = (
    wait_beside_measurements, wait_in_a_delay, wait_for_a_branch, wait_for_an_absent_branch
)  # fmt: skip


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("t2_ns", [5e4, 1.7e5], ids=["T2<T1", "T2>T1"])
def test_population_and_coherence_decay_as_t1_and_t2_say(wait, t2_ns):
    """num_shots = 6000, five standard errors sqrt(p (1 - p)/num_shots) of each probability."""
    t1_ns = 1e5
    executor = idling_executor(QubitNoise(0.0, 0.0, t1_ns, t2_ns), PERFECT)
    found = []
    for is_coherence in (False, True):
        circuit = QuantumCircuit(2, 2)
        circuit.h(0) if is_coherence else circuit.x(0)
        time_ns = wait(circuit)
        if is_coherence:
            circuit.h(0)
        circuit.measure(0, 0)
        found.append(mean_bits(executor, circuit, seed=3 + is_coherence)[0])

    def largest_deviation(time_ns, t1_ns, t2_ns):
        coherence = (1 - np.exp(-time_ns / t2_ns)) / 2
        expected = np.array([np.exp(-time_ns / t1_ns), coherence])
        errors = np.sqrt(expected * (1 - expected) / NUM_SHOTS)
        return np.max(np.abs(found - expected) / errors)

    assert largest_deviation(time_ns, t1_ns, t2_ns) < 5
    # Wrong models: T1 and T2 exchanged, hardly any waiting, and no latency or a lost body.
    assert largest_deviation(time_ns, t2_ns, t1_ns) > 5
    assert largest_deviation(100.0, t1_ns, t2_ns) > 5
    assert largest_deviation(time_ns - LATENCY_NS, t1_ns, t2_ns) > 5


def test_without_a_schedule_nothing_decays():
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    wait_beside_measurements(circuit)
    circuit.measure(0, 0)
    noise = DeviceNoise("planted", (QubitNoise(0.0, 0.0, 1e5, 1e5), PERFECT), ())
    assert mean_bits(AerExecutor(noise, max_threads=1), circuit, 500)[0] == 1.0


def test_a_measured_qubit_decays_no_further_in_its_own_measurement():
    circuit = QuantumCircuit(2, 2)
    circuit.x(1)
    circuit.append(Instruction("measure_2", 1, 1, []), [1], [0])
    circuit.append(Instruction("measure_2", 1, 1, []), [1], [1])
    executor = idling_executor(PERFECT, QubitNoise(0.0, 0.0, 1e4, 1e4))
    assert mean_bits(executor, circuit, 500).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["reset", "reset_2"])
@pytest.mark.parametrize("prepared", [0, 1])
def test_failed_resets_leave_one(name, prepared):
    """num_shots = 6000. P(1) after a reset is its error, whatever the state was before."""
    errors = np.array([0.08, 0.03])
    circuit = QuantumCircuit(2, 2)
    for qubit in range(2):
        if prepared:
            circuit.x(qubit)
        circuit.append(Instruction(name, 1, 0, []), [qubit])
        circuit.measure(qubit, qubit)
    qubits = [QubitNoise(0.0, 0.0, reset_error=error) for error in errors]
    executor = AerExecutor(DeviceNoise("planted", tuple(qubits), ()), max_threads=1)
    found = mean_bits(executor, circuit)

    def largest_deviation(expected):
        return np.max(np.abs(found - expected) / np.sqrt(expected * (1 - expected) / NUM_SHOTS))

    assert largest_deviation(errors) < 5
    assert largest_deviation(errors[::-1]) > 5
    # A flip half of the time is full depolarising with the error as its parameter.
    assert largest_deviation(errors / 2) > 5


LARGEST_DIFFERENCE = 0.02
NUM_ROUNDS = 60
BRANCH_NS = 300.0


def torino_circuit(is_coherence, in_branches):
    """A memory qubit, prepared and read in Z or X, beside sixty measurements of its neighbour."""
    circuit = QuantumCircuit(2, 2)
    circuit.ry(np.pi / 2, 0) if is_coherence else circuit.x(0)
    circuit.barrier()
    for _ in range(NUM_ROUNDS):
        circuit.measure(1, 1)
        if in_branches:
            with circuit.if_test((circuit.clbits[1], 1)):
                circuit.rz(0.0, 0)  # the memory is part of the block, and waits in it
                circuit.delay(BRANCH_NS, 1, unit="ns")
            circuit.h(1)  # so that either branch is taken
    circuit.barrier()
    if is_coherence:
        circuit.ry(-np.pi / 2, 0)
    circuit.measure(0, 0)
    return circuit


@pytest.mark.parametrize("in_branches", [False, True], ids=["measurements", "branches"])
@pytest.mark.parametrize("is_coherence", [False, True], ids=["T1", "T2"])
def test_a_torino_memory_qubit_decays_while_its_neighbour_is_measured_sixty_times(
    is_coherence, in_branches
):
    """num_shots = 20,000 (T1), 62,000 (T2): five standard errors stay below 0.02.

    The population of |1> follows exp(-t/T1), the coherence of |+>, read in X, exp(-t/T2): closed
    forms without the preparing gate, whose error is 3e-4. Readout errors are taken away. Without
    a schedule the qubit keeps 0.98 of either and more.
    """
    torino = load_fake_backend("fake_torino")
    device, physical = read_target(torino), TORINO_PAIR
    placed = PlacedDevice(device, physical)
    noise = read_noise(torino, physical)
    no_readout = [replace(q, read_one_given_zero=0, read_zero_given_one=0) for q in noise.qubits]
    noise = replace(noise, qubits=tuple(no_readout))
    num_shots = 62_000 if is_coherence else 20_000

    def signal(idling):
        executor = AerExecutor(noise, idling=idling, max_threads=1)
        shots = 2000 if idling is None else num_shots
        one = mean_bits(executor, torino_circuit(is_coherence, in_branches), shots)[0]
        return 1 - 2 * one if is_coherence else one

    def schedule(compiled):
        return build_schedule(compiled.circuit, Placed(placed), feedforward_latency_ns=600)

    time_ns = NUM_ROUNDS * device.duration_ns("measure", physical[1:])
    if in_branches:
        time_ns += NUM_ROUNDS * (600 + BRANCH_NS)
    rate = (device.t2_ns if is_coherence else device.t1_ns)[physical[0]]
    expected = np.exp(-time_ns / rate)
    error = np.sqrt((1 - expected**2 if is_coherence else expected * (1 - expected)) / num_shots)
    assert 5 * error < LARGEST_DIFFERENCE
    assert abs(signal(schedule) - expected) < LARGEST_DIFFERENCE
    assert signal(None) > 0.98 > expected + LARGEST_DIFFERENCE
    if in_branches:
        # Waiting in branches is worth noticing.
        shorter = np.exp(-(time_ns - NUM_ROUNDS * BRANCH_NS) / rate)
        assert abs(shorter - expected) > LARGEST_DIFFERENCE
    elif not is_coherence:
        assert expected == pytest.approx(0.348, abs=5e-4)


class Placed:
    """A device's durations, with gates that it does not have and that take no time."""

    def __init__(self, placed):
        self.placed = placed

    def duration_ns(self, name, qubits):
        return 0.0 if name in ("ry", "h") else self.placed.duration_ns(name, qubits)


# --- a compiled program against density matrices --------------------------------------------------


@cache
def boston():
    return load_fake_backend("fake_boston")


@pytest.mark.parametrize("profile_name", ["heron", "heron_fractional"])
def test_records_of_a_compiled_program_are_those_of_density_matrices(rng, profile_name):
    """num_shots = 4000 of 3 rows: parameters in branches, readout, reset and waiting at once."""
    profile = load_profile(profile_name)
    device = read_target(boston(), fractional_gates=profile.fractional_gates)
    program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 3)
    compiled = compile_program(program, device, profile)
    schedule = schedule_compiled(compiled, device, profile)
    asked = []

    def idling(compiled):
        asked.append(compiled)
        return schedule

    # Boston's are ten times better: every wrong model below must show in 4000 shots.
    qubit = QubitNoise(0.02, 0.06, t1_ns=2.5e4, t2_ns=1.5e4, reset_error=0.08)
    qubits = (qubit, replace(qubit, t1_ns=1.5e4, t2_ns=2.4e4), qubit)
    assert compiled.circuit.num_qubits == 3
    executor = AerExecutor(DeviceNoise("planted", qubits, ()), idling=idling, max_threads=1)
    rows = program.slots.values(controls_of(program, random_table(rng, program, 3)))
    bits = executor.run(RunRequest(compiled, rows, 4000, seed=4)).bits
    executor.run(RunRequest(compiled, rows, 1, seed=5))
    assert asked == [compiled]
    assert executor.name == "aer(planted, idling)"
    padded = insert_delays(compiled.circuit, schedule)
    values = compiled.bind_values(rows)

    def p_values(circuit, qubits):
        for row in range(3):
            bound = dict(zip(compiled.parameter_names, values[row].tolist(), strict=True))
            noise = DeviceNoise("planted", tuple(qubits), ())
            exact = record_probabilities(circuit.assign_parameters(bound), noise)
            yield p_value(record_numbers(bits)[row], exact)

    assert min(p_values(padded, qubits)) > SMALLEST_P_VALUE
    assert min(p_values(compiled.circuit, qubits)) < SMALLEST_P_VALUE
    perfect_reset = [replace(qubit, reset_error=0.0) for qubit in qubits]
    assert min(p_values(padded, perfect_reset)) < SMALLEST_P_VALUE
    exchanged = [qubits[1], qubits[0], qubits[2]]
    assert min(p_values(padded, exchanged)) < SMALLEST_P_VALUE


def test_idling_without_noise_is_refused():
    with pytest.raises(InputError, match="idling: must come with noise, got 'none'; give the"):
        AerExecutor(idling=lambda compiled: None)
