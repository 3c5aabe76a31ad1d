"""Aer behind the contract: distributions against the oracle, and random streams."""

import numpy as np
import pytest
from qiskit_aer import AerSimulator
from scipy.stats import chi2, norm

from qrnn_qiskit.compiling import compile_logical, compile_program, load_profile
from qrnn_qiskit.devices import (
    DeviceNoise,
    GateNoise,
    QubitNoise,
    load_fake_backend,
    read_target,
)
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, RunRequest, aer, noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import ANSATZE, bind, controls_of, host_program, random_table
from tests.reference.branch_enumeration import enumerate_records

# As improbable as five standard errors of a normal deviation, both sides.
SMALLEST_P_VALUE = 2 * norm.sf(5)
GPUS = "GPU" in AerSimulator().available_devices()


def program_of(ansatz, steered="rotations", loop="feedforward", num_timesteps=3):
    cell = CellSpec(Ansatz(ansatz, 2), (Readout("X", 1, 1.1),), loop, steered)
    return SequenceProgram(cell, num_timesteps)


def record_numbers(bits):
    """Records as integers, bit 0 lowest, `(num_rows, num_shots)`."""
    return bits @ (1 << np.arange(bits.shape[2]))


def p_value(records, probabilities):
    """Pearson's chi-square; records expected less than 10 times are pooled, impossible ones not."""
    num_shots = len(records)
    counts = np.bincount(records, minlength=len(probabilities))
    expected = num_shots * probabilities
    if counts[expected < 1e-9].any():
        return 0.0
    rare = expected < 10
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1)


@pytest.fixture(scope="module")
def executor():
    return AerExecutor(max_threads=1)


@pytest.fixture(scope="module")
def boston():
    return load_fake_backend("fake_boston")


def compile_on(backend, program, profile_name="heron"):
    profile = load_profile(profile_name)
    device = read_target(backend, fractional_gates=profile.fractional_gates)
    return compile_program(program, device, profile)


def random_rows(rng, program, num_rows=1):
    return program.slots.values(controls_of(program, random_table(rng, program, num_rows)))


def check_records(rng, executor, compiled, num_shots):
    program = compiled.program
    values = random_rows(rng, program, num_rows=3)
    bits = executor.run(RunRequest(compiled, values, num_shots, seed=11)).bits
    records = record_numbers(bits)
    for row in range(3):
        exact = enumerate_records(bind(program, values[row])).probabilities
        assert p_value(records[row], exact) > SMALLEST_P_VALUE
        # The next row's angles are a wrong model.
        assert p_value(records[row - 1], exact) < SMALLEST_P_VALUE


@pytest.mark.parametrize("steered", ["rotations", "all"])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_logical_records_follow_the_exact_distribution(rng, executor, ansatz, steered):
    check_records(rng, executor, compile_logical(program_of(ansatz, steered)), num_shots=3000)


@pytest.mark.parametrize("loop", ["open", "host"])
def test_other_loops_follow_the_exact_distribution(rng, executor, loop):
    program = host_program("sim14") if loop == "host" else program_of("sim14", loop="open")
    check_records(rng, executor, compile_logical(program), num_shots=3000)


@pytest.mark.parametrize("profile", ["heron", "heron_fractional"])
@pytest.mark.parametrize("ansatz", ANSATZE)
def test_compiled_records_follow_the_exact_distribution(rng, executor, boston, ansatz, profile):
    compiled = compile_on(boston, program_of(ansatz, "all"), profile)
    # Aer knows none of these names, and rzz must be found in branches, too.
    assert {"measure_2", "reset_2"} <= set(compiled.circuit.count_ops())
    check_records(rng, executor, compiled, num_shots=3000)


# --- random streams ------------------------------------------------------------------------------

# A record of four readout bits and two memory bits: runs of 16 equal records do not repeat by
# chance, but do wherever two streams overlap (docs/traps.md, AER-2).
WINDOW = 16


@pytest.fixture(scope="module")
def entropic():
    """A compiled program and one row whose records are spread widely."""
    rng = np.random.default_rng(20251)
    program = program_of("brick", num_timesteps=4)
    values = random_rows(rng, program)
    probabilities = enumerate_records(bind(program, values[0])).probabilities
    assert (probabilities**2).sum() < 0.15  # of two equal records: 0.15**16 is no chance at all
    return compile_logical(program), values


def num_repeated_windows(sequences):
    windows = [
        sequence[start : start + WINDOW].tobytes()
        for sequence in sequences
        for start in range(len(sequence) - WINDOW + 1)
    ]
    return len(windows) - len(set(windows))


def run(executor, compiled, values, num_shots, seed):
    return executor.run(RunRequest(compiled, values, num_shots, seed)).bits


def test_equal_seeds_give_equal_bits(rng, executor, entropic):
    compiled, values = entropic
    rows = np.tile(values, (4, 1)) + rng.normal(size=(4, 1)) * 0.1
    first = run(executor, compiled, rows, 300, seed=5)
    np.testing.assert_array_equal(first, run(AerExecutor(), compiled, rows, 300, seed=5))
    assert (first != run(executor, compiled, rows, 300, seed=6)).any()


@pytest.mark.parametrize("call_shots", [77, 700, 1000])
def test_splitting_rows_and_shots_into_calls_does_not_change_bits(
    rng, executor, entropic, monkeypatch, call_shots
):
    compiled, values = entropic
    rows = np.tile(values, (5, 1)) + rng.normal(size=(5, 1)) * 0.1
    together = run(executor, compiled, rows, 300, seed=5)
    monkeypatch.setattr(aer, "_CALL_SHOTS", call_shots)
    np.testing.assert_array_equal(run(executor, compiled, rows, 300, seed=5), together)


def test_streams_of_rows_and_chunks_do_not_overlap(executor, entropic):
    compiled, values = entropic
    bits = run(executor, compiled, np.tile(values, (3, 1)), 4500, seed=1)
    assert bits.shape[:2] == (3, 4500)
    assert num_repeated_windows(record_numbers(bits)) == 0


def test_overlapping_streams_would_be_noticed(executor, entropic, monkeypatch):
    """Rows longer than Aer's stride between circuits repeat the start of the next row."""
    compiled, values = entropic
    monkeypatch.setattr(aer, "_MAX_ROW_SHOTS", 10_000)
    bits = run(executor, compiled, np.tile(values, (2, 1)), 2500, seed=1)
    assert num_repeated_windows(record_numbers(bits)) > 300


def test_neighbouring_seeds_are_unrelated(executor, entropic, monkeypatch):
    compiled, values = entropic

    def repeated():
        pair = [run(executor, compiled, values, 1000, seed)[0] for seed in (1, 2)]
        return num_repeated_windows(record_numbers(np.stack(pair)))

    assert repeated() == 0
    monkeypatch.setattr(aer, "_spread_seed", lambda seed: seed)
    assert repeated() > 900, "seeds handed to Aer as they are would overlap"


@pytest.mark.parametrize("num_shots", [1, 2000, 2001])
def test_rows_of_more_shots_begin_with_the_same_shots(executor, entropic, num_shots):
    compiled, values = entropic
    bits = run(executor, compiled, values, num_shots, seed=3)
    assert bits.shape == (1, num_shots, compiled.program.num_bits)
    # The buffer is not initialised: an entry that no chunk filled may be anything.
    assert bits.max() <= 1
    again = run(executor, compiled, values, min(num_shots, 2000), seed=3)
    np.testing.assert_array_equal(bits[:, :2000], again)


def test_both_chunks_follow_the_exact_distribution(executor, entropic):
    compiled, values = entropic
    records = record_numbers(run(executor, compiled, values, 4000, seed=9))[0]
    exact = enumerate_records(bind(compiled.program, values[0])).probabilities
    for chunk in (records[:2000], records[2000:]):
        assert p_value(chunk, exact) > SMALLEST_P_VALUE


# --- readout errors and noise --------------------------------------------------------------------


def confusion(qubit):
    e0, e1 = qubit.read_one_given_zero, qubit.read_zero_given_one
    return np.array([[1 - e0, e1], [e0, 1 - e1]])


@pytest.mark.parametrize("ansatz", ANSATZE)
def test_misread_bits_steer_later_branches(rng, ansatz):
    """num_shots = 6000. The state collapses on the true outcome, branches see the recorded one."""
    qubits = (QubitNoise(0.02, 0.1), QubitNoise(0.08, 0.03), QubitNoise(0.05, 0.25))
    noisy = AerExecutor(DeviceNoise("planted", qubits, ()), max_threads=1)
    program = program_of(ansatz, "all")
    values = random_rows(rng, program)
    records = record_numbers(run(noisy, compile_logical(program), values, 6000, seed=2))[0]
    circuit = bind(program, values[0])

    def p_of(errors):
        model = {index: confusion(qubit) for index, qubit in enumerate(errors)}
        exact = enumerate_records(circuit, readout_confusion=model).probabilities
        return p_value(records, exact)

    assert p_of(qubits) > SMALLEST_P_VALUE
    exchanged = [QubitNoise(q.read_zero_given_one, q.read_one_given_zero) for q in qubits]
    assert p_of(exchanged) < SMALLEST_P_VALUE
    symmetric = [QubitNoise(*[confusion(q)[[1, 0], [0, 1]].mean()] * 2) for q in qubits]
    assert p_of(symmetric) < SMALLEST_P_VALUE
    # Errors added to the record after an ideal run: the bits alone look right, branches do not.
    ideal = enumerate_records(circuit).probabilities
    afterwards = np.array([1.0])
    for position in reversed(compile_logical(program).bit_to_qubit):
        afterwards = np.kron(afterwards, confusion(qubits[position]))
    assert p_value(records, afterwards @ ideal) < SMALLEST_P_VALUE


def test_noise_of_a_compiled_circuit_is_that_of_its_qubits(rng, boston):
    """num_shots = 4000: calibration rows read back with the errors of the qubit of each bit."""
    program = program_of("line", num_timesteps=2)
    compiled = compile_on(boston, program)
    qubits = (QubitNoise(0.02, 0.1), QubitNoise(0.08, 0.03), QubitNoise(0.05, 0.25))
    executor = AerExecutor(DeviceNoise("planted", qubits, ()), max_threads=1)
    prepared = np.array([[0, 1, 0, 1], [1, 0, 1, 0]])
    values = program.slots.calibration_values(prepared[:, :2, None], prepared[:, 2:])
    ones = run(executor, compiled, values, 4000, seed=4).mean(axis=1)

    def largest_deviation(bit_to_qubit):
        matrices = [confusion(qubits[qubit]) for qubit in bit_to_qubit]
        bits = zip(matrices, prepared.T, strict=True)
        expected = np.stack([matrix[1, states] for matrix, states in bits], axis=1)
        return np.max(np.abs(ones - expected) / np.sqrt(expected * (1 - expected) / 4000))

    assert largest_deviation(compiled.bit_to_qubit) < 5
    assert largest_deviation([(qubit + 1) % 3 for qubit in compiled.bit_to_qubit]) > 5


def test_gate_errors_act_in_branches_too():
    """num_shots = 4000. Depolarising of infidelity r shrinks <Z> by 1 - 2r at each RY."""
    infidelity = 0.05
    cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0),))
    program = SequenceProgram(cell, 2)
    gates = tuple(GateNoise("ry", (qubit,), infidelity, 0.0) for qubit in (0, 1))
    noise = DeviceNoise("planted", (QubitNoise(0.0, 0.0),) * 3, gates)
    readout_bits = np.array([[[0], [0]], [[1], [1]]])
    values = program.slots.calibration_values(readout_bits, np.zeros((2, 2), int))
    bits = run(AerExecutor(noise, max_threads=1), compile_logical(program), values, 4000, seed=8)
    np.testing.assert_array_equal(bits[:, 0, :2], readout_bits[:, :, 0])
    found = 1 - 2 * bits[:, :, 2:].mean(axis=1)

    def largest_deviation(num_rotations):
        expected = (1 - 2 * infidelity) ** np.array(num_rotations)[:, None]
        return np.max(np.abs(found - expected) / np.sqrt((1 - expected**2) / 4000))

    # Two layers of RY in each of two timesteps; outcome 1 adds those of one branch a layer.
    assert largest_deviation([4, 6]) < 5
    assert largest_deviation([4, 4]) > 5


def test_a_device_s_noise_names_the_device(rng, boston):
    program = program_of("line", num_timesteps=1)
    compiled = compile_on(boston, program)
    executor = AerExecutor(noise_for(compiled, boston), max_threads=1)
    values = random_rows(rng, program)
    result = executor.run(RunRequest(compiled, values, 5))
    assert result.executor == executor.name == "aer(fake_boston)"


def test_noise_may_be_a_function_of_the_compiled_circuit(rng):
    """A readout that always errs turns every zero into a one."""
    program = program_of("brick", num_timesteps=1)
    always = QubitNoise(1.0, 0.0)
    executor = AerExecutor(
        lambda compiled: DeviceNoise("stuck", (always,) * compiled.circuit.num_qubits, ()),
        max_threads=1,
    )
    bits = run(executor, compile_logical(program), random_rows(rng, program), 50, seed=0)
    assert bits.all()
    assert executor.name == "aer(stuck)"


def test_noise_of_another_number_of_qubits_is_refused(rng):
    program = program_of("brick", num_timesteps=1)
    executor = AerExecutor(DeviceNoise("short", (QubitNoise(0.0, 0.0),), ()))
    with pytest.raises(InputError, match="noise: must describe the circuit's 3 qubits, got 1"):
        run(executor, compile_logical(program), random_rows(rng, program), 1, seed=0)


# --- devices -------------------------------------------------------------------------------------


def test_unknown_devices_are_refused():
    with pytest.raises(InputError, match="device: must be CPU or GPU, got 'TPU'"):
        AerExecutor(device="TPU")


@pytest.mark.skipif(GPUS, reason="Aer reports a GPU here: nothing to refuse")
def test_a_missing_gpu_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"device: must be one that Aer reports \(CPU\)") as caught:
        AerExecutor(device="GPU")
    assert "use CPU" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not GPUS, reason="Aer reports no GPU: needs qiskit-aer-gpu and CUDA")
def test_records_on_the_gpu_follow_the_exact_distribution(rng):
    check_records(rng, AerExecutor(device="GPU"), compile_logical(program_of("sim14")), 3000)
