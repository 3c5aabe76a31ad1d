"""Canaries for qiskit-aer: each fails when a trap of docs/traps.md is gone."""

import functools
import json
import signal
import subprocess
import sys
from collections.abc import Mapping

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import Instruction, Parameter
from qiskit_aer import AerError, AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, pauli_error
from qiskit_aer.primitives import SamplerV2
from qiskit_ibm_runtime.circuit import MidCircuitMeasure
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

OPTIONS = {
    "method": "statevector",
    "fusion_enable": False,
    "shot_branching_enable": False,
    "runtime_parameter_bind_enable": False,
    "max_parallel_threads": 1,
}
# Aer derives the seed of shot i of circuit k as seed + 2113 k + i. The seeds below are far enough
# apart that no two runs of this file share a stream.
SEED = 1_000_003
SEED_STEP = 10_000_019
SIGMAS = 5.0
STATUS_LINE = "STATUS:"


def gone(trap: str, workaround: str) -> str:
    return f"trap {trap} is gone: the workaround in {workaround} can be removed (docs/traps.md)"


def probability_of_one(counts: Mapping[str, int], clbit: int = 0) -> float:
    ones = sum(n for key, n in counts.items() if key.replace(" ", "")[-1 - clbit] == "1")
    return ones / sum(counts.values())


def largest_deviation(counts: Mapping[str, int], exact: Mapping[str, float]) -> float:
    """Largest deviation of a count from its binomial mean, in standard errors."""
    num_shots = sum(counts.values())
    assert set(counts) <= set(exact)
    return max(
        abs(counts.get(key, 0) - num_shots * p) / np.sqrt(num_shots * p * (1 - p))
        for key, p in exact.items()
    )


def total_variation(counts: Mapping[str, int], exact: Mapping[str, float]) -> float:
    num_shots = sum(counts.values())
    return 0.5 * sum(abs(counts.get(key, 0) / num_shots - p) for key, p in exact.items())


@functools.cache
def manila() -> FakeManilaV2:
    return FakeManilaV2()


# --- AER-1: parameters of controlled rotations ---------------------------------------------------


def rotation_circuit(name: str, angle: Parameter, in_branch: bool) -> QuantumCircuit:
    """H - gate(angle) - H on qubit 1 with qubit 0 in |1>, or RX alone: P(1) moves with angle."""
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 0)

    def body() -> None:
        if name == "rx":
            circuit.rx(angle, 1)
            return
        if name in {"cp", "crz", "rzz"}:
            circuit.h(1)
        getattr(circuit, name)(angle, 0, 1)
        if name in {"cp", "crz", "rzz"}:
            circuit.h(1)

    if in_branch:
        with circuit.if_test((circuit.clbits[0], 1)):
            body()
    else:
        body()
    circuit.measure(1, 1)
    return circuit


@pytest.mark.parametrize("in_branch", [False, True], ids=["top", "if_test"])
@pytest.mark.parametrize("name", ["crx", "cry", "crz", "cp"])
def test_aer_1_parametrised_controlled_rotation_runs_at_angle_zero(
    name: str, in_branch: bool
) -> None:
    angle = Parameter("angle")
    circuit = rotation_circuit(name, angle, in_branch)
    simulator = AerSimulator(**OPTIONS)
    # At angle pi the target is flipped with certainty, at 0 never: 50 shots leave no doubt.
    run = {"shots": 50, "seed_simulator": SEED}
    result = simulator.run([circuit], parameter_binds=[{angle: [np.pi]}], **run).result()
    assert probability_of_one(result.get_counts(), 1) == 0.0, gone("AER-1", "execution/aer")

    bound = circuit.assign_parameters({angle: np.pi})
    assert probability_of_one(simulator.run(bound, **run).result().get_counts(), 1) == 1.0
    isa = transpile(circuit, basis_gates=["rz", "sx", "x", "cx"], optimization_level=0)
    result = simulator.run([isa], parameter_binds=[{angle: [np.pi]}], **run).result()
    assert probability_of_one(result.get_counts(), 1) == 1.0


def test_aer_1_rows_of_a_purely_controlled_circuit_are_dropped() -> None:
    angle = Parameter("angle")
    circuit = rotation_circuit("crx", angle, in_branch=False)
    simulator = AerSimulator(**OPTIONS)
    binds = [{angle: [np.pi, np.pi, np.pi]}]
    result = simulator.run([circuit], parameter_binds=binds, shots=10).result()
    assert len(result.results) == 1, gone("AER-1", "execution/aer")


def test_aer_1_holds_for_the_primitives() -> None:
    angle = Parameter("angle")
    circuit = rotation_circuit("crx", angle, in_branch=False)
    sampler = SamplerV2(seed=SEED, options={"backend_options": OPTIONS})
    data = sampler.run([(circuit, [np.pi])], shots=50).result()[0].data
    assert probability_of_one(data.c.get_counts(), 1) == 0.0, gone("AER-1", "execution/aer")


@pytest.mark.parametrize("in_branch", [False, True], ids=["top", "if_test"])
@pytest.mark.parametrize("name", ["rx", "rzz"])
def test_aer_1_plain_rotations_bind_row_by_row(name: str, in_branch: bool) -> None:
    angle = Parameter("angle")
    circuit = rotation_circuit(name, angle, in_branch)
    rows = [0.0, np.pi, np.pi / 2]
    num_shots = 1000
    result = (
        AerSimulator(**OPTIONS)
        .run([circuit], parameter_binds=[{angle: rows}], shots=num_shots, seed_simulator=SEED)
        .result()
    )
    measured = [probability_of_one(result.get_counts(k), 1) for k in range(3)]
    assert measured[:2] == [0.0, 1.0]
    assert abs(measured[2] - 0.5) < SIGMAS * 0.5 / np.sqrt(num_shots)


# --- AER-2: overlapping random streams -----------------------------------------------------------


def two_coins() -> QuantumCircuit:
    """Two fair coins from one qubit with a reset between: runs shot by shot, as ours all do."""
    circuit = QuantumCircuit(1, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.reset(0)
    circuit.h(0)
    circuit.measure(0, 1)
    return circuit


def records(seed: int, num_shots: int, num_rows: int = 1) -> list[list[str]]:
    result = (
        AerSimulator(**OPTIONS)
        .run([two_coins()] * num_rows, shots=num_shots, seed_simulator=seed, memory=True)
        .result()
    )
    return [result.get_memory(row) for row in range(num_rows)]


def agreement(a: list[str], b: list[str]) -> float:
    return float(np.mean(np.array(a) == np.array(b)))


def test_aer_2_neighbouring_seeds_are_one_stream_shifted_by_a_shot() -> None:
    num_shots = 1000
    (first,), (second,) = records(1, num_shots), records(2, num_shots)
    assert first[1:] == second[:-1], gone("AER-2", "execution/aer")

    (spaced,) = records(1 + SEED_STEP, num_shots)
    # Two independent records of two fair bits agree with probability 1/4.
    tolerance = SIGMAS * np.sqrt(0.25 * 0.75 / num_shots)
    assert abs(agreement(first, spaced) - 0.25) < tolerance
    assert abs(agreement(first[1:], spaced[:-1]) - 0.25) < tolerance


def test_aer_2_rows_beyond_2113_shots_repeat_the_next_row() -> None:
    stride, num_extra = 2113, 400
    first, second = records(SEED, stride + num_extra, num_rows=2)
    assert first[stride:] == second[:num_extra], gone("AER-2", "execution/aer")

    first, second = records(SEED + SEED_STEP, 2000, num_rows=2)
    assert abs(agreement(first, second) - 0.25) < SIGMAS * np.sqrt(0.25 * 0.75 / 2000)


# --- AER-3 and AER-4: options that must stay off -------------------------------------------------

FEEDFORWARD = f"""
import json, resource, sys
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the crash is expected: leave no core file
noise = NoiseModel()
noise.add_all_qubit_readout_error(ReadoutError([[0.9, 0.1], [0.2, 0.8]]))
circuit = QuantumCircuit(2, 2)
circuit.h(0)
circuit.measure(0, 0)
with circuit.if_test((circuit.clbits[0], 1)):
    circuit.x(1)
circuit.measure(1, 1)
for branching in (True, False):
    simulator = AerSimulator(
        method="statevector",
        noise_model=noise,
        fusion_enable=False,
        shot_branching_enable=branching,
        max_parallel_threads=1,
    )
    job = simulator.run(circuit, shots=4000, seed_simulator={SEED} + {SEED_STEP} * branching)
    print("{STATUS_LINE}" + json.dumps(job.result().get_counts()), flush=True)
"""


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


def status_lines(process: subprocess.CompletedProcess[str]) -> list[str]:
    lines = process.stdout.splitlines()
    return [line.removeprefix(STATUS_LINE) for line in lines if line.startswith(STATUS_LINE)]


def test_aer_3_shot_branching_with_readout_error_gives_another_distribution() -> None:
    process = run_python(FEEDFORWARD)
    # A fair bit, read with P(1|0) = 0.1 and P(0|1) = 0.2; the branch acts on the *recorded* bit,
    # and its effect is read with the same error. Keys are (second bit, first bit).
    first = {"0": 0.5 * 0.9 + 0.5 * 0.2, "1": 0.5 * 0.1 + 0.5 * 0.8}
    exact = {
        "00": first["0"] * 0.9,
        "10": first["0"] * 0.1,
        "01": first["1"] * 0.2,
        "11": first["1"] * 0.8,
    }
    lines = status_lines(process)
    if len(lines) < 2:
        # Segmentation faults are the other face of this trap (branches beyond memory).
        assert process.returncode == -signal.SIGSEGV, process.stderr
        return
    branched, plain = (json.loads(line) for line in lines)
    assert largest_deviation(branched, exact) > SIGMAS, gone("AER-3", "execution/aer")
    assert total_variation(branched, exact) > 0.1, gone("AER-3", "execution/aer")
    assert largest_deviation(plain, exact) < SIGMAS
    # The test has teeth: a branch that acted on the true bit instead would be rejected.
    true_bit = {
        "00": 0.5 * 0.9 * 0.9 + 0.5 * 0.2 * 0.2,
        "10": 0.5 * 0.9 * 0.1 + 0.5 * 0.2 * 0.8,
        "01": 0.5 * 0.1 * 0.9 + 0.5 * 0.8 * 0.2,
        "11": 0.5 * 0.1 * 0.1 + 0.5 * 0.8 * 0.8,
    }
    assert largest_deviation(plain, true_bit) > SIGMAS


def runtime_bind_script(num_threads: int, runtime_bind: bool) -> str:
    return f"""
import os, resource
os.environ["OMP_NUM_THREADS"] = "{num_threads}"
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the crash is expected: leave no core file
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_aer import AerSimulator
angle = Parameter("angle")
circuit = QuantumCircuit(2, 2)
circuit.x(0)
circuit.measure(0, 0)
with circuit.if_test((circuit.clbits[0], 1)):
    circuit.rx(angle, 1)
circuit.measure(1, 1)
simulator = AerSimulator(
    method="statevector",
    runtime_parameter_bind_enable={runtime_bind},
    max_parallel_threads={num_threads},
)
job = simulator.run([circuit], parameter_binds=[{{angle: [0.0, {np.pi}, 0.0]}}], shots=20)
result = job.result()
keys = [max(result.get_counts(k)) for k in range(3)] if result.success else result.status
print("{STATUS_LINE}", result.success, keys, flush=True)
"""


def test_aer_4_runtime_parameter_binding_with_control_flow_aborts() -> None:
    process = run_python(runtime_bind_script(num_threads=2, runtime_bind=True))
    # Both threads may throw at once, which garbles what the exception says but not how it ends.
    assert process.returncode in {-signal.SIGABRT, -signal.SIGSEGV}, gone("AER-4", "execution/aer")
    assert "terminate called" in process.stderr or process.returncode == -signal.SIGSEGV


def test_aer_4_runtime_parameter_binding_on_one_thread_fails_the_job() -> None:
    process = run_python(runtime_bind_script(num_threads=1, runtime_bind=True))
    assert process.returncode == 0, process.stderr
    (status,) = status_lines(process)
    assert status.split()[0] == "False", gone("AER-4", "execution/aer")
    assert "Invalid jump destination" in process.stdout

    process = run_python(runtime_bind_script(num_threads=1, runtime_bind=False))
    (status,) = status_lines(process)
    assert status.split(maxsplit=1) == ["True", "['01', '11', '01']"]


# --- AER-5, AER-6, AER-7: what from_backend leaves out -------------------------------------------


def test_aer_5_from_backend_symmetrises_readout_error() -> None:
    properties = manila().properties()
    values = {item.name: item.value for item in properties.qubits[0]}
    e0, e1 = values["prob_meas1_prep0"], values["prob_meas0_prep1"]
    assert e1 > 2 * e0, "the snapshot must be asymmetric for this canary to mean anything"

    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 0)
    circuit.x(0)
    circuit.measure(0, 1)
    num_shots = 4000

    def error_rates(noise: NoiseModel, seed: int) -> tuple[float, float]:
        simulator = AerSimulator(noise_model=noise, **OPTIONS)
        counts = simulator.run(circuit, shots=num_shots, seed_simulator=seed).result().get_counts()
        return probability_of_one(counts, 0), 1 - probability_of_one(counts, 1)

    from_backend = NoiseModel.from_backend(
        manila(), gate_error=False, thermal_relaxation=False, readout_error=True
    )
    p0, p1 = error_rates(from_backend, SEED)
    # Each rate is binomial with variance at most that of the larger of the two.
    tolerance = SIGMAS * np.sqrt(e1 * (1 - e1) / num_shots)
    mean = (e0 + e1) / 2
    assert abs(p0 - mean) < tolerance, gone("AER-5", "devices/noise")
    assert abs(p1 - mean) < tolerance, gone("AER-5", "devices/noise")
    matrix = from_backend.to_dict()["errors"][0]["probabilities"]
    assert matrix[0][1] == matrix[1][0], gone("AER-5", "devices/noise")

    rebuilt = NoiseModel()
    rebuilt.add_readout_error(ReadoutError([[1 - e0, e0], [e1, 1 - e1]]), [0])
    p0, p1 = error_rates(rebuilt, SEED + SEED_STEP)
    assert abs(p0 - e0) < SIGMAS * np.sqrt(e0 * (1 - e0) / num_shots)
    assert abs(p1 - e1) < tolerance
    # Teeth: the symmetric model is rejected.
    assert abs(p0 - mean) > SIGMAS * np.sqrt(mean * (1 - mean) / num_shots)


def test_aer_6_from_backend_resets_perfectly() -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.reset(0)
    circuit.save_probabilities()

    def excited(noise: NoiseModel) -> float:
        options = {**OPTIONS, "method": "density_matrix"}
        result = AerSimulator(noise_model=noise, **options).run(circuit).result()
        return float(result.data()["probabilities"][1])

    assert manila().target["reset"][(0,)].error is None
    assert manila().target["reset"][(0,)].duration > 0
    noise = NoiseModel.from_backend(manila(), readout_error=False)
    assert excited(noise) == pytest.approx(0.0, abs=1e-12), gone("AER-6", "execution/aer_noise")

    faulty = NoiseModel()
    faulty.add_quantum_error(pauli_error([("X", 0.02), ("I", 0.98)]), "reset", [0])
    assert excited(faulty) == pytest.approx(0.02, abs=1e-12)


def test_aer_7_idle_qubits_do_not_decay_without_delays() -> None:
    num_measurements = 60
    target = manila().target
    t1 = target.qubit_properties[0].t1
    duration = target["measure"][(1,)].duration

    def memory_population(with_delays: bool) -> float:
        circuit = QuantumCircuit(2, 2)
        circuit.x(0)
        for _ in range(num_measurements):
            circuit.measure(1, 1)
            if with_delays:
                circuit.delay(round(duration / manila().dt), 0, "dt")
        circuit.save_probabilities([0])
        simulator = AerSimulator.from_backend(
            manila(), method="density_matrix", max_parallel_threads=1
        )
        return float(simulator.run(circuit, shots=1).result().data()["probabilities"][1])

    x_error = target["x"][(0,)].error
    decayed = np.exp(-num_measurements * duration / t1)
    assert decayed < 0.1
    # Only the preparing X gate acts on the memory: at most twice its average infidelity is lost.
    assert memory_population(with_delays=False) > 1 - 2 * x_error, gone(
        "AER-7", "execution/aer_circuit"
    )
    assert memory_population(with_delays=True) == pytest.approx(decayed, rel=2 * x_error)


# --- AER-8 and AER-9: instructions Aer does not know ---------------------------------------------


@pytest.mark.parametrize("method", ["density_matrix", "matrix_product_state"])
def test_aer_8_method_rejects_crx(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.crx(np.pi, 0, 1)
    circuit.measure([0, 1], [0, 1])
    simulator = AerSimulator(method=method, max_parallel_threads=1)
    result = simulator.run(circuit, shots=10).result()
    capfd.readouterr()  # Aer prints the failure to stdout as well
    assert not result.success, gone("AER-8", "program/slots")
    assert "invalid instructions" in result.status

    isa = transpile(circuit, basis_gates=["rz", "sx", "x", "cx"])
    assert simulator.run(isa, shots=10).result().get_counts() == {"11": 10}


def aer_error(simulator: AerSimulator, circuit: QuantumCircuit) -> AerError | None:
    try:
        simulator.run(circuit, shots=10).result()
    except AerError as error:
        return error
    return None


def test_aer_9_measure_2_and_reset_2_are_unknown() -> None:
    simulator = AerSimulator(max_parallel_threads=1)
    measured = QuantumCircuit(1, 1)
    measured.append(MidCircuitMeasure("measure_2"), [0], [0])
    reset = QuantumCircuit(1, 1)
    reset.append(Instruction("reset_2", 1, 0, []), [0])
    reset.measure(0, 0)
    for name, circuit in (("measure_2", measured), ("reset_2", reset)):
        error = aer_error(simulator, circuit)
        assert error is not None, gone("AER-9", "execution/aer_circuit")
        assert f"unknown instruction: {name}" in str(error)

    mapped = QuantumCircuit(1, 1)
    mapped.x(0)
    mapped.reset(0)
    mapped.measure(0, 0)
    assert simulator.run(mapped, shots=10).result().get_counts() == {"0": 10}
