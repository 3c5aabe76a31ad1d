"""Requests, results, the scripted executor and seed streams."""

import numpy as np
import pytest

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import (
    AerExecutor,
    Executor,
    RunRequest,
    RunResult,
    ScriptedExecutor,
    SeedStream,
)
from tests.programs import host_program

COMPILED = compile_logical(host_program("brick", num_memory=2, num_timesteps=1))
NUM_SLOTS = COMPILED.program.slots.num_slots
ROWS = np.zeros((3, NUM_SLOTS))


def changed(value):
    rows = ROWS.copy()
    rows[1, 2] = value
    return rows


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"slot_values": ROWS[0]}, r"slot_values: must have shape \(num_rows, \d+\), got \(\d+,\)"),
        ({"slot_values": ROWS[:, 1:]}, r"slot_values: must have shape .* got \(3, \d+\); use"),
        ({"slot_values": changed(np.nan)}, "slot_values: must be finite, got 'nan or inf'"),
        ({"slot_values": changed(np.inf)}, "slot_values: must be finite"),
        ({"num_shots": 0}, "num_shots: must be at least 1, got 0"),
        ({"seed": -1}, r"seed: must lie in \[0, 2\*\*63\), got -1"),
        ({"seed": 2**63}, r"seed: must lie in \[0, 2\*\*63\), got 9223372036854775808"),
    ],
)
def test_bad_requests_are_refused(fields, message):
    with pytest.raises(InputError, match=message) as caught:
        RunRequest(**({"compiled": COMPILED, "slot_values": ROWS, "num_shots": 5} | fields))
    assert "\n" not in str(caught.value)


def test_results_are_bits():
    assert RunResult(np.zeros((1, 7, 2), np.uint8), "x", 0.0).num_shots == 7
    for bits in (np.zeros((1, 7, 2)), np.zeros((7, 2), np.uint8)):
        with pytest.raises(InputError, match="bits: must be uint8 of shape"):
            RunResult(bits, "x", 0.0)


def test_scripted_executor_remembers_and_answers(rng):
    answer = rng.integers(0, 2, size=(3, 5, 2), dtype=np.uint8)
    executor = ScriptedExecutor(lambda request: answer[:, : request.num_shots], name="planted")
    request = RunRequest(COMPILED, ROWS, num_shots=4, seed=7)
    result = executor.run(request)
    np.testing.assert_array_equal(result.bits, answer[:, :4])
    assert (result.executor, executor.requests) == ("planted", [request])
    assert ScriptedExecutor().requests == []
    assert not ScriptedExecutor().run(request).bits.any()


def test_scripts_of_another_shape_are_refused():
    executor = ScriptedExecutor(lambda request: np.zeros((1, 1, 1), np.uint8))
    with pytest.raises(InputError, match=r"script: must return bits of shape \(3, 4, 2\)"):
        executor.run(RunRequest(COMPILED, ROWS, num_shots=4))


def test_executors_follow_the_protocol():
    assert isinstance(ScriptedExecutor(), Executor)
    assert isinstance(AerExecutor(), Executor)
    assert not isinstance(object(), Executor)


def test_seed_streams_resume_and_do_not_repeat():
    stream = SeedStream(7)
    drawn = [stream.draw() for _ in range(200)]
    assert len(set(drawn)) == 200
    assert all(0 <= seed < 2**63 for seed in drawn)
    assert SeedStream(7, position=150).draw() == drawn[150]
    neighbour = SeedStream(8)
    assert not set(drawn) & {neighbour.draw() for _ in range(200)}
