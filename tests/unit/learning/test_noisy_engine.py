"""Models on a noisy device's expectations: every loop, trained through them."""

from dataclasses import replace

import pytest
import torch

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.costing import build_schedule
from qrnn_qiskit.devices import DeviceNoise, QubitNoise
from qrnn_qiskit.learning.engines import ExactEngine
from qrnn_qiskit.learning.noisy_engine import NoisyExactEngine
from qrnn_qiskit.learning.qrnn import build_qrnn
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate.noisy.plan import build_noisy_plan
from qrnn_qiskit.simulate.noisy.run import noisy_features
from tests.programs import host_program

NUM_FEATURES = 3
BAD = QubitNoise(0.05, 0.05, t1_ns=2e4, t2_ns=1e4, reset_error=0.05)


class Durations:
    """Gates and measurements of a logical circuit."""

    def duration_ns(self, name, qubits):
        return 1000.0 if name in ("measure", "reset") else 50.0


def make_model(loop, engine=None):
    torch.manual_seed(5)
    if loop == "host":
        program = host_program("brick", num_memory=3, num_timesteps=3)
    else:
        cell = CellSpec(Ansatz("brick", 2), (Readout("X", 1, 1.2), Readout("Z", 0)), loop)
        program = SequenceProgram(cell, 3, final_bases=("Z", "Y"))
    return build_qrnn(
        program, NUM_FEATURES, 2, hidden_units=8, initial_angle_rad=2.0, engine=engine
    ).double()


def noise_of(compiled, qubit):
    return DeviceNoise("planted", (qubit,) * compiled.circuit.num_qubits, ())


def engine_of(qubit, asked):
    """A new engine that counts what it compiles."""

    def compile_program(program):
        asked.append(program.num_timesteps)
        return compile_logical(program)

    return NoisyExactEngine(
        lambda compiled: noise_of(compiled, qubit),
        compile_program,
        lambda compiled: build_schedule(
            compiled.circuit, Durations(), feedforward_latency_ns=200.0
        ),
    )


@pytest.mark.parametrize("loop", ["feedforward", "open", "host"])
def test_without_noise_a_model_reads_what_the_exact_engine_gives(rng, loop):
    asked = []
    model = make_model(loop, engine_of(QubitNoise(0.0, 0.0), asked))
    inputs = torch.from_numpy(rng.normal(size=(4, 3, NUM_FEATURES)))
    found, output = model.read(inputs), model(inputs)
    model.engine = ExactEngine()
    exact = model.read(inputs)
    torch.testing.assert_close(found.steps, exact.steps, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.final, exact.final, rtol=0, atol=1e-10)
    torch.testing.assert_close(output, model(inputs), rtol=0, atol=1e-10)
    # Two passes: each program, or prefix in the host loop, was compiled once.
    assert asked == ([1, 2, 3] if loop == "host" else [3])


@pytest.mark.parametrize("loop", ["feedforward", "open", "host"])
def test_noise_and_waiting_reach_the_model(rng, loop):
    inputs = torch.from_numpy(rng.normal(size=(4, 3, NUM_FEATURES)))
    model = make_model(loop, engine_of(BAD, []))
    noisy = model.read(inputs).steps
    still = replace(model.engine, idling=None, _plans={})
    model.engine = still
    assert (model.read(inputs).steps - noisy).abs().max() > 1e-3
    model.engine = ExactEngine()
    assert (model.read(inputs).steps - noisy).abs().max() > 0.05


def test_features_are_those_of_the_plan(rng):
    model = make_model("feedforward")
    engine = engine_of(BAD, [])
    with torch.no_grad():
        controls = model.controls(torch.from_numpy(rng.normal(size=(2, 3, NUM_FEATURES))))
    compiled = compile_logical(model.program)
    schedule = build_schedule(compiled.circuit, Durations(), feedforward_latency_ns=200.0)
    plan = build_noisy_plan(compiled, noise_of(compiled, BAD), schedule)
    found = engine.run(model.program, controls)
    torch.testing.assert_close(found, noisy_features(plan, controls), rtol=0, atol=0)
    # Noise as a value instead of a function.
    other = NoisyExactEngine(noise_of(compiled, BAD), idling=engine.idling)
    torch.testing.assert_close(other.run(model.program, controls), found, rtol=0, atol=0)


@pytest.mark.parametrize("loop", ["feedforward", "open", "host"])
def test_gradients_of_weights_equal_central_differences(rng, loop):
    model = make_model(loop, engine_of(BAD, []))
    inputs = torch.from_numpy(rng.normal(size=(2, 3, NUM_FEATURES)))
    parameters = [p for p in model.controller.parameters() if p.numel()]
    gradients = torch.autograd.grad(model(inputs)[:, 0].sum(), parameters)
    directions = [torch.from_numpy(rng.normal(size=p.shape)) for p in parameters]
    step, ends = 1e-6, []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter += sign * step * direction
            ends.append(model(inputs)[:, 0].sum().item())
    found = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True))
    # Central differences are good to about 1e-15/step + step^2, times the direction.
    assert abs(found - (ends[0] - ends[1]) / (2 * step)) < 1e-6
    assert abs(found) > 1e-3
