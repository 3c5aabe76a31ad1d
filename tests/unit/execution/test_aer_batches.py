"""Requests that do not fit into memory at once are split, with the same bits."""

import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.devices import DeviceNoise, GateNoise, QubitNoise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, RunRequest, aer
from qrnn_qiskit.execution.aer_batches import (
    Batch,
    CallMemory,
    free_bytes,
    require_record_memory,
)
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.programs import controls_of, random_table

QUBIT = QubitNoise(0.02, 0.1, 1e5, 1e5, 0.05)
NOISE = DeviceNoise("planted", (QUBIT,) * 3, (GateNoise("ry", (0,), 0.05, 0.0),))


@pytest.fixture(scope="module")
def program():
    return SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("X", 1, 1.1),)), 3)


@pytest.fixture
def request_of(rng, program):
    compiled = compile_logical(program)

    def build(num_rows, num_shots):
        rows = program.slots.values(controls_of(program, random_table(rng, program, num_rows or 1)))
        return RunRequest(compiled, rows[:num_rows], num_shots, seed=3)

    return build


class Recording:
    """Aer with a note of every call's rows and shots, and out of memory beyond a size."""

    def __init__(self, simulator, largest=10**9, message=None):
        self.simulator, self.largest, self.message = simulator, largest, message
        self.calls = []

    def run(self, circuits, *, parameter_binds, shots, **options):
        num_rows = len(next(iter(parameter_binds[0].values())))
        self.calls.append((num_rows, shots, options))
        if num_rows * shots <= self.largest:
            return self.simulator.run(
                circuits, parameter_binds=parameter_binds, shots=shots, **options
            )
        if self.message is None:
            return SimpleNamespace(result=self.raise_memory_error)
        failed = SimpleNamespace(success=False, status=self.message)
        done = SimpleNamespace(success=True, status="DONE")
        result = SimpleNamespace(success=False, status="all of it", results=[done, failed])
        return SimpleNamespace(result=lambda: result)

    def raise_memory_error(self):
        raise MemoryError("std::bad_alloc")


def record(executor, **options):
    executor._simulator = Recording(executor._simulator, **options)
    return executor._simulator


# --- out of memory -------------------------------------------------------------------------------

MESSAGES = (
    None,
    "ERROR: Insufficient memory to run circuit",
    "ERROR: a circuit requires more memory than max_memory_mb.",
    "ERROR: Cannot allocate memory by posix_memalign",
    "ERROR: std::bad_alloc",
)


@pytest.mark.parametrize("noise", [None, NOISE], ids=["ideal", "noisy"])
@pytest.mark.parametrize(("message", "largest"), [*((m, 700) for m in MESSAGES), (None, 130)])
def test_a_call_that_does_not_fit_is_halved_with_the_same_bits(request_of, noise, message, largest):
    """Five rows of 300 shots: by rows down to 700 shots a call, by shots below 300."""
    request = request_of(5, 300)
    together = AerExecutor(noise, max_threads=1).run(request).bits
    executor = AerExecutor(noise, max_threads=1)
    simulator = record(executor, largest=largest, message=message)
    np.testing.assert_array_equal(executor.run(request).bits, together)
    sizes = [rows * shots for rows, shots, _ in simulator.calls]
    assert sizes[0] == 1500
    assert sum(size for size in sizes if size <= largest) == 1500
    # What did not fit once is not tried again.
    assert sum(size > largest for size in sizes) <= 4


def test_noise_tells_streams_apart(request_of):
    """The comparison above can fail: with another seed hardly a record is the same."""
    first, second = request_of(1, 300), request_of(1, 300)
    object.__setattr__(second, "slot_values", first.slot_values)
    object.__setattr__(second, "seed", 4)
    executor = AerExecutor(NOISE, max_threads=1)
    assert (executor.run(first).bits != executor.run(second).bits).any(axis=2).mean() > 0.3


@pytest.mark.parametrize("message", MESSAGES)
def test_one_shot_that_does_not_fit_is_one_clear_error(request_of, message):
    executor = AerExecutor(max_threads=1, max_memory_mb=64)
    simulator = record(executor, largest=0, message=message)
    with pytest.raises(InputError, match="one shot of one row must fit, 3 qubits take") as caught:
        executor.run(request_of(3, 40))
    assert "64 MiB are allowed or free; use fewer memory qubits" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [call[:2] for call in simulator.calls][-1] == (1, 1)
    assert len(simulator.calls) < 10


def test_states_that_aer_cannot_hold_are_that_error():
    """Aer's own check: 2^20 amplitudes take 16 MiB."""
    program = SequenceProgram(CellSpec(Ansatz("line", 19), (Readout("Z", 0),)), 1)
    rows = np.zeros((1, program.slots.num_slots))
    request = RunRequest(compile_logical(program), rows, 2)
    with pytest.raises(InputError, match="20 qubits take 16 MiB or more and 8 MiB are allowed"):
        AerExecutor(max_threads=1, max_memory_mb=8).run(request)
    assert AerExecutor(max_threads=1, max_memory_mb=64).run(request).bits.shape == (1, 2, 20)


def test_another_failure_keeps_the_message_of_the_row_that_failed(request_of):
    executor = AerExecutor(max_threads=1)
    record(executor, largest=0, message="ERROR: unknown gate in memory slot 3")
    with pytest.raises(RuntimeError, match="Aer failed: ERROR: unknown gate in memory slot 3"):
        executor.run(request_of(2, 5))


@pytest.mark.parametrize(("num_shots", "expected"), [(99, False), (100, True), (2500, True)])
def test_fusion_is_one_choice_for_a_whole_request(request_of, num_shots, expected):
    """The second round of 2500 shots has 500, a split call fewer: all must draw alike."""
    executor = AerExecutor(NOISE, max_threads=1)
    simulator = record(executor, largest=300)
    executor.run(request_of(2, num_shots))
    assert {options["fusion_enable"] for _, _, options in simulator.calls} == {expected}


def test_fusion_of_long_circuits_needs_more_shots(request_of):
    executor = AerExecutor(max_threads=1)
    simulator = record(executor)
    executor.run(request_of(1, 5))
    (prepared,) = executor._prepared.values()
    long = replace(prepared, memory=replace(prepared.memory, num_instructions=20_000))
    executor._prepared = dict.fromkeys(executor._prepared, long)
    for num_shots in (399, 400):
        executor.run(request_of(1, num_shots))
    assert [options["fusion_enable"] for _, _, options in simulator.calls] == [False, False, True]


# --- planned in advance --------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [None, NOISE], ids=["ideal", "noisy"])
@pytest.mark.parametrize("max_memory_mb", [1, 2])
def test_a_small_budget_gives_the_same_bits_in_more_calls(request_of, noise, max_memory_mb):
    request = request_of(3, 2500)
    together = AerExecutor(noise, max_threads=1, max_memory_mb=10**6).run(request).bits
    executor = AerExecutor(noise, max_threads=1, max_memory_mb=max_memory_mb)
    simulator = record(executor)
    np.testing.assert_array_equal(executor.run(request).bits, together)
    assert len(simulator.calls) >= {1: 6, 2: 4}[max_memory_mb]
    memory = next(iter(executor._prepared.values())).memory
    for num_rows, num_shots, options in simulator.calls:
        batch = Batch(range(num_rows), range(num_shots))
        assert memory.batch_bytes(batch) <= max_memory_mb * 2**19 or num_rows == 1
        assert options["max_memory_mb"] <= max_memory_mb


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2 or os.environ.get("OMP_NUM_THREADS") == "1",
    reason="needs two threads",
)
def test_fewer_threads_are_used_where_states_are_large():
    """Of a register of 18 qubits (4 MiB) one state fits into 7 MiB, two into 64 MiB."""
    circuit = QuantumCircuit(18)
    circuit.h(range(18))
    for qubit in range(17):
        circuit.cx(qubit, qubit + 1)
    circuit.measure_all()
    circuit.reset(0)
    circuit.measure_all()

    def num_parallel(max_memory_mb):
        simulator = AerExecutor(max_threads=2)._simulator
        result = simulator.run([circuit] * 2, shots=2, max_memory_mb=max_memory_mb).result()
        assert result.success
        shots = result.results[0].metadata["parallel_shots"]
        return max(1, shots) * result.metadata["parallel_experiments"]

    assert num_parallel(7) == 1
    assert num_parallel(64) == 2


def test_records_that_cannot_fit_are_refused_before_anything_runs(request_of):
    executor = AerExecutor(max_threads=1, max_memory_mb=1)
    simulator = record(executor)
    message = (
        r"1 MiB of free memory, got 2 rows x 1000000 shots x 5 bits, which take 9\.54 MiB; ask"
    )
    with pytest.raises(InputError, match=message):
        executor.run(request_of(2, 10**6))
    with pytest.raises(InputError, match="x 100000000000000 shots x"):
        AerExecutor(max_threads=1).run(request_of(1, 10**14))
    assert not simulator.calls
    require_record_memory(2, 10, 5, budget_bytes=100)


def test_no_rows_need_no_call(request_of):
    executor = AerExecutor(max_threads=1)
    simulator = record(executor)
    assert executor.run(request_of(0, 10)).bits.shape == (0, 10, 5)
    assert not simulator.calls


@given(
    num_rows=st.integers(0, 12),
    first_shot=st.integers(0, 5),
    num_shots=st.integers(1, 12),
    largest=st.integers(1, 150),
)
def test_parts_are_the_whole_in_order(num_rows, first_shot, num_shots, largest):
    whole = Batch(range(num_rows), range(first_shot, first_shot + num_shots))
    parts = list(whole.split(largest))
    pairs = [(row, shot) for part in parts for row in part.rows for shot in part.shots]
    assert sorted(pairs) == [(row, shot) for row in whole.rows for shot in whole.shots]
    assert all(1 <= part.size <= largest for part in parts)
    # Shots of a row stay together where a row fits.
    assert num_shots > largest or all(part.shots == whole.shots for part in parts)


def test_on_a_gpu_every_shot_of_a_call_has_its_state():
    memory = CallMemory(num_qubits=10, num_instructions=100, num_bits=5, is_gpu=True)
    assert memory.largest_batch(500, budget_bytes=2 * 300 * 16 * 2**10) == 300


def test_free_memory_is_less_than_all():
    assert 2**20 < free_bytes("CPU") < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_no_memory_is_refused():
    with pytest.raises(InputError, match="max_memory_mb: must be at least 1, got 0; leave it out"):
        AerExecutor(max_memory_mb=0)


def test_the_message_words_are_aer_s():
    assert all(any(w in m.lower() for w in aer._MEMORY_MESSAGES) for m in MESSAGES if m)
