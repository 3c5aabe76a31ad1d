"""The noisy engine against full density matrices, the exact engine, and finite differences."""

from dataclasses import replace

import pytest
import torch

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.devices import DeviceNoise, GateNoise, QubitNoise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate import exact_features, parity_features
from qrnn_qiskit.simulate.noisy import run as noisy_run
from qrnn_qiskit.simulate.noisy.plan import build_noisy_plan
from qrnn_qiskit.simulate.noisy.run import noisy_features, run_noisy
from qrnn_qiskit.studies.device import open_device
from tests.programs import (
    controls_of,
    dynamic_configurations,
    dynamic_program,
    host_program,
    random_table,
)
from tests.unit.simulate.noisy.cases import largest_difference

# Both sides are float64: what is asked of the engine on random programs.
LARGEST_DIFFERENCE = 1e-10
BAD = QubitNoise(0.03, 0.08, t1_ns=9e3, t2_ns=6e3, reset_error=0.05)


def small_program(rng, ansatz, loop, steered, num_readouts, history, delay, num_timesteps, bases):
    program = dynamic_program(
        rng, ansatz, loop, steered, num_readouts, history, delay, num_timesteps
    )
    cell = replace(program.cell, ansatz=replace(program.cell.ansatz, num_layers=1))
    return SequenceProgram(cell, num_timesteps, bases)


def spare_program():
    """Two memory qubits that are read by two banks of two: spare qubits carry couplings."""
    cell = CellSpec(
        Ansatz("line", 2), (Readout("Z", 0), Readout("X", 1, 1.1)), "feedforward", feedback_delay=1
    )
    return SequenceProgram(cell, 2, ("Z", "Y"))


def random_controls(rng, program, batch=1):
    strengths = rng.uniform(0.3, 1.5, size=program.cell.num_readouts)
    return controls_of(program, random_table(rng, program, batch), strengths)


def zero_noise(num_qubits):
    return DeviceNoise("none", (QubitNoise(0.0, 0.0),) * num_qubits, ())


def planted_noise(compiled):
    """Errors that show after a few gates, different on each qubit."""
    count = compiled.circuit.num_qubits
    qubits = tuple(
        replace(BAD, read_one_given_zero=0.01 * (q + 1), t1_ns=9e3 + 1e3 * q) for q in range(count)
    )
    gates = [GateNoise(name, (q,), 0.01, 30.0) for name in ("ry", "rx", "h") for q in range(count)]
    gates += [
        GateNoise("rzz", (p, q), 0.02 + 0.01 * p, 90.0)
        for p in range(count)
        for q in range(count)
        if p != q
    ]
    return DeviceNoise("planted", qubits, tuple(gates))


# --- against full density matrices ---------------------------------------------------------------

CONFIGURATIONS = {
    "rotations": ("brick", "feedforward", "rotations", 1, 1, 0, 3, ("Z",)),
    "history": ("sim14", "feedforward", "rotations", 1, 2, 0, 3, ("Z", "Y")),
    "all, delay": ("line", "feedforward", "all", 1, 1, 1, 3, ("X",)),
    "all": ("brick", "feedforward", "all", 2, 1, 0, 2, ("Z", "X")),
    "open": ("sim14", "open", "rotations", 1, 1, 0, 3, ("Y",)),
}
DEVICES = {
    ("fake_boston", "heron"): ("rotations", "all, delay", "all"),
    ("fake_boston", "heron_fractional"): ("rotations", "all, delay"),
    ("fake_torino", "heron"): ("rotations", "history"),
    ("fake_brisbane", "eagle"): ("all", "open"),
}


@pytest.mark.parametrize("names", DEVICES, ids=" ".join)
def test_compiled_programs_equal_density_matrices(rng, names):
    """Swaps, moved memory, banks, waiting in branches; twice the waiting, so that it shows."""
    device = open_device(*names)
    wrong = []
    for name in DEVICES[names]:
        program = small_program(rng, *CONFIGURATIONS[name])
        compiled = device.compile(program)
        schedule = device.schedule(compiled)
        noise = replace(noise_for(compiled, device.backend), idle_factor=2.0)
        controls = random_controls(rng, program)
        found = run_noisy(build_noisy_plan(compiled, noise, schedule), torch.from_numpy(controls))
        arguments = compiled, noise, schedule, controls
        assert largest_difference(found, *arguments) < LARGEST_DIFFERENCE
        still = run_noisy(build_noisy_plan(compiled, noise), torch.from_numpy(controls))
        wrong.append(largest_difference(still, *arguments, bases=program.final_bases[:1]))
    # The comparison can fail: qubits that do not relax while they wait are far off.
    assert max(wrong) > 1e-3


def test_spare_qubits_equal_density_matrices(rng):
    device = open_device("fake_torino", "heron")
    program = spare_program()
    compiled = device.compile(program)
    assert compiled.form.num_spares > 0
    schedule, noise = device.schedule(compiled), noise_for(compiled, device.backend)
    controls = random_controls(rng, program)
    found = run_noisy(build_noisy_plan(compiled, noise, schedule), torch.from_numpy(controls))
    assert largest_difference(found, compiled, noise, schedule, controls) < LARGEST_DIFFERENCE


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_logical_circuits_with_strong_noise_equal_density_matrices(rng, name):
    """Other gates than a device's, and errors of all kinds that differ between qubits."""
    program = small_program(rng, *CONFIGURATIONS[name])
    compiled = compile_logical(program)
    noise = planted_noise(compiled)
    controls = random_controls(rng, program)
    found = run_noisy(build_noisy_plan(compiled, noise), torch.from_numpy(controls))
    assert largest_difference(found, compiled, noise, None, controls) < LARGEST_DIFFERENCE
    exchanged = replace(noise, qubits=noise.qubits[::-1])
    wrong = run_noisy(build_noisy_plan(compiled, exchanged), torch.from_numpy(controls))
    assert largest_difference(wrong, compiled, noise, None, controls) > 1e-3


# --- without noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("configuration", dynamic_configurations()[::3], ids=str)
def test_without_noise_it_is_the_exact_engine(rng, configuration):
    program = dynamic_program(rng, *configuration, num_timesteps=3)
    compiled = compile_logical(program)
    plan = build_noisy_plan(compiled, zero_noise(compiled.circuit.num_qubits))
    controls = torch.from_numpy(random_controls(rng, program, batch=3))
    found, exact = noisy_features(plan, controls), exact_features(program, controls)
    torch.testing.assert_close(found, exact, rtol=0, atol=LARGEST_DIFFERENCE)
    assert (found - exact_features(program, controls + 0.1)).abs().max() > 1e-3


@pytest.mark.parametrize("names", list(DEVICES)[:2], ids=" ".join)
@pytest.mark.parametrize("num_readouts", [0, 2])
def test_compiled_circuits_without_noise_are_the_exact_engine(rng, names, num_readouts):
    """Delays without decay change nothing; zero readouts is the `host` loop in three bases."""
    device = open_device(*names)
    program = dynamic_program(rng, "brick", "feedforward", "rotations", 2, 1, 1)
    if not num_readouts:
        program = host_program("sim14", num_timesteps=2)
    compiled = device.compile(program)
    noise = zero_noise(compiled.circuit.num_qubits)
    plan = build_noisy_plan(compiled, noise, device.schedule(compiled))
    controls = torch.from_numpy(random_controls(rng, program, batch=2))
    torch.testing.assert_close(
        noisy_features(plan, controls), exact_features(program, controls), rtol=0, atol=1e-10
    )


# --- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["heron", "heron_fractional"])
def test_gradients_equal_central_differences(rng, profile):
    device = open_device("fake_boston", profile)
    program = small_program(rng, "brick", "feedforward", "rotations", 2, 1, 0, 2, ("Z", "Y"))
    compiled = device.compile(program)
    noise = noise_for(compiled, device.backend)
    plan = build_noisy_plan(compiled, noise, device.schedule(compiled))
    controls = torch.from_numpy(random_controls(rng, program, batch=2)).requires_grad_()
    weights = torch.from_numpy(rng.normal(size=(2, program.num_features)))

    def objective(controls):
        return (noisy_features(plan, controls) * weights).sum()

    (gradient,) = torch.autograd.grad(objective(controls), controls)
    step = 1e-6
    with torch.no_grad():
        for _ in range(6):
            direction = torch.from_numpy(rng.normal(size=controls.shape))
            ends = [objective(controls + sign * step * direction) for sign in (1, -1)]
            difference = (ends[0] - ends[1]) / (2 * step)
            # Central differences are good to about 1e-15/step + step^2, times the direction.
            assert abs((gradient * direction).sum() - difference) < 1e-6
    assert gradient.abs().max() > 0.1


def test_gradcheck_of_a_tiny_program(rng):
    cell = CellSpec(Ansatz("brick", 2), (Readout("X", 1, 0.8),), steered="all")
    program = SequenceProgram(cell, 2)
    compiled = compile_logical(program)
    plan = build_noisy_plan(compiled, planted_noise(compiled))
    controls = torch.from_numpy(random_controls(rng, program)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: noisy_features(plan, x), (controls,))


# --- batches, precision, memory ------------------------------------------------------------------


@pytest.fixture
def planned(rng):
    program = small_program(rng, "brick", "feedforward", "rotations", 1, 1, 0, 3, ("Z", "X"))
    compiled = compile_logical(program)
    plan = build_noisy_plan(compiled, planted_noise(compiled))
    controls = random_controls(rng, program, batch=5)
    # Rows may differ in phi: a gradient's shifts do.
    controls[:, -1] += rng.uniform(0, 0.5, size=5)
    return plan, torch.from_numpy(controls)


def test_samples_computed_a_few_at_a_time_are_the_same(planned, monkeypatch):
    plan, controls = planned
    together = noisy_features(plan, controls)
    monkeypatch.setattr(noisy_run, "_BYTES_WITHOUT_GRADIENT", 1)
    torch.testing.assert_close(noisy_features(plan, controls), together, rtol=0, atol=1e-14)
    with torch.inference_mode():
        single = noisy_features(plan, controls.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), together, rtol=0, atol=1e-5)
    noisy_features(plan, controls.float().requires_grad_()).sum().backward()


def test_steps_computed_again_in_the_backward_pass_give_the_same_gradient(planned, monkeypatch):
    plan, controls = planned
    controls.requires_grad_()
    (kept,) = torch.autograd.grad(noisy_features(plan, controls).square().sum(), controls)
    monkeypatch.setattr(noisy_run, "_BYTES_KEPT", 0)
    (again,) = torch.autograd.grad(noisy_features(plan, controls).square().sum(), controls)
    torch.testing.assert_close(again, kept, rtol=0, atol=1e-13)


def test_distributions_are_normalised(planned):
    plan, controls = planned
    found = run_noisy(plan, controls)
    assert found.outcomes.shape == (5, 3, 2)
    assert found.final.shape == (5, 2, 8)
    for distribution in (found.outcomes, found.final):
        sums = distribution.sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)
        assert distribution.min() > 0
    features = noisy_features(plan, controls)
    torch.testing.assert_close(features, parity_features(plan.program, found), rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_gives_the_same(planned):
    plan, controls = planned
    on_gpu = controls.cuda().requires_grad_()
    found = noisy_features(plan, on_gpu)
    found.square().sum().backward()
    controls.requires_grad_()
    expected = noisy_features(plan, controls)
    expected.square().sum().backward()
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(on_gpu.grad.cpu(), controls.grad, rtol=0, atol=1e-11)


def test_wrong_shapes_noise_and_memory_are_refused(planned):
    plan, controls = planned
    with pytest.raises(InputError, match=r"controls: must have shape \(num_rows, 49\)"):
        run_noisy(plan, controls[:, :-1])
    with pytest.raises(InputError, match=r"controls: must be float32 or float64, got torch\.int64"):
        run_noisy(plan, controls.long())
    with pytest.raises(InputError, match="controls: must have at least one row, got 0"):
        run_noisy(plan, controls[:0])
    compiled = compile_logical(plan.program)
    with pytest.raises(InputError, match="noise: must describe the circuit's 4 qubits, got 2"):
        build_noisy_plan(compiled, zero_noise(2))
    cell = CellSpec(Ansatz("brick", 14), (Readout("Z", 0), Readout("Z", 13)))
    large = compile_logical(SequenceProgram(cell, 2))
    plan = build_noisy_plan(large, zero_noise(16))
    rows = torch.zeros(32, plan.program.num_controls, requires_grad=True)
    with pytest.raises(InputError, match=r"14 noisy memory qubits and 4 outcomes: must fit into"):
        run_noisy(plan, rows)
