"""Every channel of the noise model alone against closed forms, all together against matrices.

Each test states its shots, allows five standard errors, and rejects a wrong model.
"""

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit

from qrnn_qiskit.costing.padding import insert_delays
from qrnn_qiskit.devices import DeviceNoise, GateNoise, NoiseFactors, QubitNoise, scale_noise
from qrnn_qiskit.execution import AerExecutor, RunRequest, noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.studies import open_device
from tests.programs import bind, controls_of, random_table
from tests.reference.branch_enumeration import enumerate_records
from tests.unit.execution.test_aer import SMALLEST_P_VALUE, p_value, record_numbers
from tests.unit.execution.test_aer_idling import (
    LATENCY_NS,
    PERFECT,
    WAIT_NS,
    idling_executor,
    mean_bits,
    planted,
)
from tests.unit.simulate.noisy.cases import record_probabilities

NUM_SHOTS = 8000


def noise_of(*qubits, gates=(), idle_factor=1.0):
    return DeviceNoise("planted", qubits, gates, idle_factor)


def run_bits(circuit, noise, seed=1):
    """`(num_shots, num_bits)`, without a schedule."""
    compiled = planted(circuit)
    rows = np.zeros((1, compiled.program.slots.num_slots))
    executor = AerExecutor(noise, max_threads=1)
    return executor.run(RunRequest(compiled, rows, NUM_SHOTS, seed)).bits[0]


def deviation(found, expected):
    """Of means of bits, the largest, in standard errors; what is certain must be exact."""
    found, expected = np.atleast_1d(found), np.atleast_1d(expected)
    errors = np.sqrt(expected * (1 - expected) / NUM_SHOTS)
    certain = errors < 1e-9
    if np.abs(found - expected)[certain].max(initial=0.0) > 1e-9:
        return np.inf
    return np.max(np.abs(found - expected)[~certain] / errors[~certain], initial=0.0)


# --- readout -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("e0", "e1"), [(0.03, 0.2), (0.2, 0.03)])
@pytest.mark.parametrize("angle", [0.0, 1.1, np.pi])
def test_a_branch_is_taken_on_the_misread_bit(angle, e0, e1):
    """num_shots = 8000. RY(angle), a measurement that errs, X on another qubit if it says 1."""
    circuit = QuantumCircuit(2, 2)
    circuit.ry(angle, 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    bits = run_bits(circuit, noise_of(QubitNoise(e0, e1), PERFECT))
    one = np.sin(angle / 2) ** 2
    expected = one * (1 - e1) + (1 - one) * e0
    np.testing.assert_array_equal(bits[:, 0], bits[:, 1])
    found = bits.mean(axis=0)
    assert deviation(found, [expected] * 2) < 5
    # The branch on the true bit, the errors exchanged, and their mean.
    assert deviation(found[1], one) > 5
    if angle != 1.1:  # where both outcomes occur the two wrongs nearly cancel
        mean = (e0 + e1) / 2
        assert deviation(found, [one * (1 - e0) + (1 - one) * e1] * 2) > 5
        assert deviation(found, [one * (1 - mean) + (1 - one) * mean] * 2) > 5


# --- reset ---------------------------------------------------------------------------------------


def test_a_failed_reset_misreads_the_next_round_and_kicks_the_memory():
    """num_shots = 8000. A readout qubit left in |1> turns the memory by -phi instead of phi.

    Memory in |+>: <Y> = sin(phi) times 1 - 2r. And in the full readout (H, RZZ(pi/2), then Y of
    the readout qubit) of a memory in |0> the outcome is 1 exactly when the reset failed.
    """
    error, phi = 0.08, 1.0
    noise = noise_of(PERFECT, QubitNoise(0.0, 0.0, reset_error=error))
    kicked = QuantumCircuit(2, 3)
    kicked.h(0)
    kicked.x(1)
    kicked.measure(1, 0)
    kicked.reset(1)
    kicked.rzz(phi, 1, 0)
    kicked.sdg(0)
    kicked.h(0)
    kicked.measure([1, 0], [1, 2])
    found = run_bits(kicked, noise).mean(axis=0)

    def one_of(contrast):
        return (1 - contrast * np.sin(phi)) / 2

    assert deviation(found, [1.0, error, one_of(1 - 2 * error)]) < 5
    assert deviation(found[2], one_of(1.0)) > 5, "a reset that never fails"
    # Half as often: full depolarising in place of a flip.
    assert deviation(found[1], error / 2) > 5

    read = QuantumCircuit(2, 2)
    read.x(1)
    read.reset(1)
    read.h(1)
    read.rzz(np.pi / 2, 1, 0)
    read.sdg(1)
    read.h(1)
    read.measure([1, 0], [0, 1])
    found = run_bits(read, noise, seed=2).mean(axis=0)
    assert deviation(found, [error, 0.0]) < 5
    assert deviation(found[0], 1 - error) > 5


# --- waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "memory_is_in_branch", "is_taken"),
    [(1.0, False, True), (1.0, True, False), (2.0, False, False), (2.0, True, True)],
)
def test_memory_decays_while_another_qubit_s_branch_runs(factor, memory_is_in_branch, is_taken):
    """num_shots = 8000. exp(-t/T1) of |1> and exp(-t/T2) of |+>, twice the rates at factor 2.

    The memory waits for a measurement, the feedforward latency and the branch, whether it is
    taken or not.
    """
    t1_ns, t2_ns = 2e5, 1.3e5
    executor = idling_executor(QubitNoise(0.0, 0.0, t1_ns, t2_ns), PERFECT, idle_factor=factor)
    found = []
    for is_coherence in (False, True):
        circuit = QuantumCircuit(2, 2)
        circuit.h(0) if is_coherence else circuit.x(0)
        circuit.x(1)
        circuit.barrier()
        circuit.measure(1, 1)
        with circuit.if_test((circuit.clbits[1], int(is_taken))):
            if memory_is_in_branch:
                circuit.rz(0.0, 0)
            circuit.sx(1)
        circuit.barrier()
        if is_coherence:
            circuit.h(0)
        circuit.measure(0, 0)
        found.append(mean_bits(executor, circuit, NUM_SHOTS, seed=5 + is_coherence)[0])

    def expected(time_ns, factor=factor):
        kept, coherence = np.exp(-factor * time_ns / np.array([t1_ns, t2_ns]))
        return [kept, (1 - coherence) / 2]

    measured, branch = WAIT_NS / 6 + LATENCY_NS, WAIT_NS / 2
    assert deviation(found, expected(measured + branch)) < 5
    assert deviation(found, expected(measured)) > 5, "no decay during the branch"
    assert deviation(found, expected(measured + branch, factor=3 - factor)) > 5
    assert deviation(found, expected(measured + branch)[::-1]) > 5


# --- gates ---------------------------------------------------------------------------------------


def test_two_qubit_depolarising_shrinks_every_correlation_alike():
    """num_shots = 8000. Of infidelity r: <ZZ> and <ZI> shrink by 1 - 4r/3 at each gate."""
    infidelity, num_gates = 0.02, 12
    circuit = QuantumCircuit(2, 2)
    for _ in range(num_gates):
        circuit.cz(0, 1)
    circuit.measure([0, 1], [0, 1])
    noise = noise_of(PERFECT, PERFECT, gates=(GateNoise("cz", (0, 1), infidelity, 0.0),))
    bits = run_bits(circuit, noise)
    found = [bits[:, 0].mean(), bits[:, 1].mean(), (bits[:, 0] ^ bits[:, 1]).mean()]

    def expected(shrink, shrink_both):
        return (1 - np.array([shrink, shrink, shrink_both]) ** num_gates) / 2

    right = 1 - 4 * infidelity / 3
    assert deviation(found, expected(right, right)) < 5
    # The infidelity taken for the parameter, and each qubit depolarised on its own.
    assert deviation(found, expected(1 - infidelity, 1 - infidelity)) > 5
    assert deviation(found, expected(right, right**2)) > 5
    # Errors of the pair (0, 1) are not those of (1, 0).
    other = noise_of(PERFECT, PERFECT, gates=(GateNoise("cz", (1, 0), infidelity, 0.0),))
    assert not run_bits(circuit, other).any()


@pytest.mark.parametrize("error", [0.0, 0.03])
@pytest.mark.parametrize("t2_ns", [3e4, 9e4], ids=["T2<T1", "T2>T1"])
def test_gates_relax_for_their_duration_and_depolarise_for_the_rest(error, t2_ns):
    """num_shots = 8000. Ten gates of 1 us: populations and coherences by recursion.

    With no error reported relaxation stays as it is: exp(-t/T1) and exp(-t/T2).
    """
    t1_ns, duration_ns, num_gates = 5e4, 1000.0, 10
    noise = noise_of(
        QubitNoise(0.0, 0.0, t1_ns, t2_ns), gates=(GateNoise("rz", (0,), error, duration_ns),)
    )
    found = []
    for is_coherence in (False, True):
        circuit = QuantumCircuit(1, 2)
        circuit.h(0) if is_coherence else circuit.x(0)
        for _ in range(num_gates):
            circuit.rz(0.0, 0)
        if is_coherence:
            circuit.h(0)
        circuit.measure(0, 0)
        found.append(run_bits(circuit, noise, seed=7 + is_coherence).mean(axis=0)[0])

    def expected(t1_ns, t2_ns, infidelity):
        kept, coherence = np.exp(-duration_ns / t1_ns), np.exp(-duration_ns / t2_ns)
        # The average infidelity of relaxation alone; depolarising by p takes p/2 of what is left.
        relaxation = 1 - (2 * (1 + kept + 2 * coherence) / 4 + 1) / 3
        missing = max(0.0, infidelity - relaxation)
        shrink = 1 - missing / (1 / 2 - relaxation)
        z, x = -1.0, 1.0
        for _ in range(num_gates):
            z, x = 1 - kept + kept * shrink * z, coherence * shrink * x
        return [(1 - z) / 2, (1 - x) / 2]

    assert deviation(found, expected(t1_ns, t2_ns, error)) < 5
    assert deviation(found, expected(t1_ns, t2_ns, 0.03 - error)) > 5
    assert deviation(found, expected(2 * t1_ns, t2_ns, error)) > 5
    # The infidelity on top of relaxation instead of including it.
    if error:
        relaxation = 1 - (2 * (1 + np.exp(-0.02) + 2 * np.exp(-1000 / t2_ns)) / 4 + 1) / 3
        assert deviation(found, expected(t1_ns, t2_ns, error + relaxation)) > 5


# --- one part at a time --------------------------------------------------------------------------

ALL = noise_of(
    QubitNoise(0.03, 0.1, 1e5, 8e4, reset_error=0.06),
    QubitNoise(0.1, 0.02, 1e5, 8e4, reset_error=0.06),
    gates=(GateNoise("cz", (0, 1), 0.04, 0.0),),
)
PARTS = ("gates", "readout", "reset", "idle")
ABLATIONS = ("all", "ideal", *(f"{kind}_{part}" for kind in ("only", "no") for part in PARTS))


def probes():
    """A circuit for each part but readout, which is in all of them; bit 0 shows it."""
    gates, reset, idle = (QuantumCircuit(2, 2) for _ in range(3))
    for _ in range(5):
        gates.cz(0, 1)
    reset.x(0)
    reset.reset(0)
    idle.x(0)
    idle.barrier()
    idle.delay(WAIT_NS, 0, unit="ns")
    for circuit in (gates, reset, idle):
        circuit.barrier()
        circuit.measure(0, 0)
    return {"gates": gates, "reset": reset, "idle": idle}


def populations(factors):
    """Of |1> in the probes, by part, with each part at a factor that is 0 or 1."""
    return {
        "gates": factors.gates * (1 - (1 - 4 * 0.04 / 3) ** 5) / 2,
        "reset": factors.reset * 0.06,
        "idle": np.exp(-factors.idle * WAIT_NS / 1e5),
    }


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_with_one_part_on_every_other_effect_vanishes(ablation):
    """num_shots = 8000. What must vanish is exactly zero; closed forms for the rest."""
    factors = NoiseFactors.of(ablation)
    scaled = scale_noise(ALL, factors)
    executor = idling_executor(*scaled.qubits, gates=scaled.gates, idle_factor=scaled.idle_factor)

    def largest_deviation(found, factors):
        e0, e1 = 0.03 * factors.readout, 0.1 * factors.readout
        return deviation(
            list(found.values()),
            [one * (1 - e1) + (1 - one) * e0 for one in populations(factors).values()],
        )

    found = {
        part: mean_bits(executor, circuit, NUM_SHOTS, seed=11 + index)[0]
        for index, (part, circuit) in enumerate(probes().items())
    }
    assert largest_deviation(found, factors) < 5
    for part in PARTS:
        switched = replace(factors, **{part: 1 - getattr(factors, part)})
        assert largest_deviation(found, switched) > 5, f"{part} on or off makes no difference"


# --- compiled programs on a device ---------------------------------------------------------------


@pytest.fixture(scope="module")
def boston():
    return open_device("fake_boston")


@pytest.fixture(scope="module")
def program():
    return SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)


def executor_of(device, factors):
    return AerExecutor(
        lambda compiled: scale_noise(noise_for(compiled, device.backend), factors),
        idling=device.schedule,
        max_threads=1,
    )


@pytest.mark.parametrize(
    "ablation", ["all", "only_gates", "only_readout", "only_reset", "only_idle"]
)
def test_records_on_a_device_are_those_of_density_matrices(rng, boston, program, ablation):
    """num_shots = 8000 of two rows. Twelve times Boston's noise, so that every part shows.

    A compiled circuit with parameters, branches, gate, readout and reset errors and waiting.
    """
    compiled = boston.compile(program)
    rows = program.slots.values(controls_of(program, random_table(rng, program, 2)))
    factors = NoiseFactors.of(ablation, scale=12)
    request = RunRequest(compiled, rows, NUM_SHOTS, seed=6)
    bits = executor_of(boston, factors).run(request).bits
    padded = insert_delays(compiled.circuit, boston.schedule(compiled))
    values = compiled.bind_values(rows)
    noise = noise_for(compiled, boston.backend)

    def smallest_p_value(factors):
        found = []
        for row, records in enumerate(record_numbers(bits)):
            bound = dict(zip(compiled.parameter_names, values[row].tolist(), strict=True))
            scaled = scale_noise(noise, factors)
            exact = record_probabilities(padded.assign_parameters(bound), scaled)
            found.append(p_value(records, exact))
        return min(found)

    assert smallest_p_value(factors) > SMALLEST_P_VALUE
    wrong = NoiseFactors() if ablation == "all" else NoiseFactors.of("ideal")
    assert smallest_p_value(wrong) < SMALLEST_P_VALUE


def test_noise_times_zero_is_none(rng, boston, program):
    """num_shots = 8000: the exact distribution of the logical circuit."""
    compiled = boston.compile(program)
    rows = program.slots.values(controls_of(program, random_table(rng, program, 1)))
    exact = enumerate_records(bind(program, rows[0])).probabilities
    request = RunRequest(compiled, rows, NUM_SHOTS, seed=8)

    def p_of(scale):
        executor = executor_of(boston, NoiseFactors.of("all", scale=scale))
        return p_value(record_numbers(executor.run(request).bits)[0], exact)

    assert p_of(0) > SMALLEST_P_VALUE
    assert p_of(6) < SMALLEST_P_VALUE


def test_twice_the_noise_doubles_the_expected_errors(boston, program):
    """num_shots = 8000 of four rows with certain records: lambda = -ln P(record is right).

    At a third of Boston's noise lambda squared is below one standard error.
    """
    compiled = boston.compile(program)
    readouts = np.array([[[0], [0]], [[0], [1]], [[1], [0]], [[1], [1]]])
    final = np.array([[0, 1], [1, 0], [0, 0], [1, 1]])
    rows = program.slots.calibration_values(readouts, final)
    right = np.concatenate((readouts[:, :, 0], final), axis=1)

    def rate(scale, seed):
        executor = executor_of(boston, NoiseFactors.of("all", scale=scale))
        bits = executor.run(RunRequest(compiled, rows, NUM_SHOTS, seed)).bits
        good = (bits == right[:, None]).all(axis=2).mean()
        return -np.log(good), np.sqrt((1 - good) / good / bits[:, :, 0].size)

    (single, single_error), (double, double_error) = rate(1 / 3, 21), rate(2 / 3, 22)
    error = np.hypot(2 * single_error, double_error)
    assert single**2 < error, "the second order must be small"
    assert abs(double - 2 * single) < 5 * error
    for wrong in (1, 4):
        assert abs(double - wrong * single) > 5 * np.hypot(wrong * single_error, double_error)
