"""Shots under the model: every loop against the exact engine, and a state that resumes.

Statistical tests: a parity with exact value z has standard error sqrt((1 - z^2)/num_shots); two
flipped shots are conceded on top, since a rare outcome's tails are heavier than a normal
distribution's. Tolerances are five of these.
"""

import numpy as np
import pytest
import torch
from qiskit import qasm3

from qrnn_qiskit.compiling import compile_logical, compile_program, load_profile
from qrnn_qiskit.devices import DeviceNoise, QubitNoise, load_fake_backend, read_target
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, ScriptedExecutor, noise_for
from qrnn_qiskit.learning.engines import ExactEngine, ShotEngine
from qrnn_qiskit.learning.qrnn import build_qrnn
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate import exact_features
from tests.programs import host_program

NUM_SHOTS = 2000
NUM_FEATURES = 3


def make_program(loop, num_timesteps=2):
    if loop == "host":
        return host_program("brick", num_memory=2, num_timesteps=num_timesteps)
    cell = CellSpec(Ansatz("brick", 2), (Readout("X", 1, 1.2), Readout("Z", 0)), loop)
    return SequenceProgram(cell, num_timesteps, final_bases=("Z", "Y"))


def make_model(program, **options):
    torch.manual_seed(11)
    return build_qrnn(
        program, NUM_FEATURES, 2, hidden_units=8, initial_angle_rad=2.0, **options
    ).double()


def random_inputs(rng, program, batch=4):
    return torch.from_numpy(rng.normal(size=(batch, program.num_timesteps, NUM_FEATURES)))


def shot_errors(exact, num_shots):
    return ((1 - exact**2).clamp(min=0) / num_shots).sqrt() + 2 / num_shots


# --- every loop ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["feedforward", "open"])
def test_one_module_reads_the_same_through_either_engine(rng, loop):
    """Readouts have the shots of both bases. Wrong model: another sample's readouts."""
    model = make_model(make_program(loop))
    inputs = random_inputs(rng, model.program)
    with torch.no_grad():
        exact, exact_output = model.read(inputs), model(inputs)
        model.engine = ShotEngine(AerExecutor(), NUM_SHOTS, seed=1)
        found, output = model.read(inputs), model(inputs)

    def largest_deviation(expected):
        steps = (found.steps - expected.steps) / shot_errors(expected.steps, 2 * NUM_SHOTS)
        final = (found.final - expected.final) / shot_errors(expected.final, NUM_SHOTS)
        return max(steps.abs().max().item(), final.abs().max().item())

    assert largest_deviation(exact) < 5
    other = type(exact)(exact.steps.roll(1, 0), exact.final.roll(1, 0))
    assert largest_deviation(other) > 5

    # The head is linear: errors of its inputs bound those of its outputs.
    errors = torch.cat(
        (
            shot_errors(exact.steps, 2 * NUM_SHOTS).flatten(1),
            shot_errors(exact.final, NUM_SHOTS).flatten(1),
        ),
        dim=1,
    )
    bound = 5 * errors @ model.head.weight.abs().T
    assert ((output - exact_output).abs() < bound).all()
    assert output.shape == exact_output.shape == (4, 2)
    model.engine = ExactEngine()
    torch.testing.assert_close(model(inputs), exact_output, rtol=0, atol=0)


def replay_host(model, inputs, steps):
    """Exact readouts at the angles that the controller answers to the readouts `steps`."""
    n = model.program.cell.ansatz.num_memory
    start = torch.cat((torch.zeros(len(inputs), 2 * n), torch.ones(len(inputs), n)), dim=1)
    readouts = torch.cat((start.to(steps)[:, None], steps), dim=1)
    angles, exact = [], []
    for timestep in range(model.program.num_timesteps):
        angles.append(model.controller(inputs[:, timestep], readouts[:, timestep]))
        prefix = model.program.prefix(timestep + 1)
        exact.append(exact_features(prefix, torch.cat(angles, dim=1)))
    return torch.stack(exact, dim=1)


def test_host_loop_reads_the_same_through_either_engine(rng):
    """The controller sees shot noise, so angles differ from the exact engine's: the expectation of
    a timestep's readouts is exact at the angles that the readouts before it led to.

    Wrong model: angles that the controller answers to no readouts.
    """
    model = make_model(make_program("host", num_timesteps=3))
    inputs = random_inputs(rng, model.program)
    with torch.no_grad():
        exact = model.read(inputs).steps
        torch.testing.assert_close(replay_host(model, inputs, exact), exact, rtol=0, atol=1e-12)
        model.engine = ShotEngine(AerExecutor(), NUM_SHOTS, seed=2)
        readouts = model.read(inputs)
        found = readouts.steps
        assert found.shape == (4, 3, 6)
        assert readouts.final.shape == (4, 0)

        def largest_deviation(expected):
            return ((found - expected) / shot_errors(expected, NUM_SHOTS)).abs().max()

        assert largest_deviation(replay_host(model, inputs, found)) < 5
        assert largest_deviation(replay_host(model, inputs, torch.zeros_like(found))) > 5
        assert model(inputs).shape == (4, 2)


@pytest.mark.parametrize("gradient", ["surrogate", "parameter_shift", "spsa"])
@pytest.mark.parametrize("loop", ["feedforward", "open", "host"])
def test_a_training_step_through_shots_moves_the_controller(rng, loop, gradient):
    engine = ShotEngine(AerExecutor(), 40, gradient=gradient, num_directions=2)
    model = make_model(make_program(loop), engine=engine)
    inputs = random_inputs(rng, model.program, batch=2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(model(inputs), torch.tensor([0, 1])).backward()
    optimiser.step()
    for name, value in model.named_parameters():
        assert torch.isfinite(value).all()
        if value.numel():
            assert (value != before[name]).any(), name


@pytest.mark.parametrize("loop", ["feedforward", "host"])
def test_surrogate_gradients_of_the_weights_are_the_exact_engines_up_to_shots(rng, loop):
    """num_shots = 2000, six seeds: their mean within 5 standard errors, taken from their scatter.

    The loss is linear in the head's outputs, so that the only noise is the fitted damping's and,
    in `host`, the feedback's. Wrong model: the gradient ten percent too long.
    """
    model = make_model(make_program(loop))
    inputs = random_inputs(rng, model.program, batch=2)

    def gradient():
        model.zero_grad()
        model(inputs)[:, 0].sum().backward()
        return torch.cat([p.grad.flatten() for p in model.controller.parameters()])

    exact = gradient()
    found = []
    for seed in range(6):
        model.engine = ShotEngine(AerExecutor(), 2000, seed=seed)
        found.append(gradient())
    stack = torch.stack(found)
    deviation = (stack.mean(dim=0) - exact).norm()
    error = stack.std(dim=0).norm() / 6**0.5
    assert deviation < 5 * error
    assert (stack.mean(dim=0) - 1.1 * exact).norm() > 5 * error


# --- compiling and calibrating -------------------------------------------------------------------


def counting(programs):
    def compile_program(program):
        programs.append(program)
        return compile_logical(program)

    return compile_program


def test_each_host_prefix_is_compiled_and_calibrated_once(rng):
    compiled, executor = [], ScriptedExecutor(script=prepared_bits)
    engine = ShotEngine(executor, 8, counting(compiled), mitigation="local", calibration_shots=16)
    model = make_model(make_program("host", num_timesteps=3), engine=engine)
    assert not compiled
    inputs = random_inputs(rng, model.program)
    for _ in range(2):
        model(inputs)
    assert [program.num_timesteps for program in compiled] == [1, 2, 3]
    rows = [request.num_rows for request in executor.requests]
    # The first request of each prefix holds the four calibration rows, twice for 16 shots of 8.
    data = 3 * len(inputs)
    assert rows == [8 + data] * 3 + [data] * 3
    assert len({request.seed for request in executor.requests}) == len(rows)


@pytest.mark.parametrize(("every", "calibrated"), [(1, 4), (2, 2), (3, 2), (None, 1)])
def test_a_calibration_is_repeated_after_so_many_requests(rng, every, calibrated):
    executor = ScriptedExecutor(script=prepared_bits)
    engine = ShotEngine(executor, 8, mitigation="local", calibration_shots=8, calibrate_every=every)
    model = make_model(make_program("feedforward"), engine=engine)
    inputs = random_inputs(rng, model.program)
    for _ in range(4):
        model(inputs)
    rows = [request.num_rows for request in executor.requests]
    data = len(model.program.final_bases) * len(inputs)
    assert rows.count(4 + data) == calibrated
    assert rows.count(data) == 4 - calibrated
    age = engine.calibration_age_seconds
    assert age == 0.0 if every == 1 else 0.0 <= age < 60.0


def prepared_bits(request):
    """Perfect calibration, and random records otherwise."""
    program = request.compiled.program
    shape = (request.num_rows, request.num_shots, program.num_bits)
    n = program.cell.ansatz.num_memory
    first_final = program.num_bits - n
    bits = np.zeros(shape, np.uint8)
    for index, slot in enumerate(program.slots.slots):
        one = np.isclose(request.slot_values[:, index], np.pi)
        if slot.flips:
            bits[:, :, first_final + slot.qubit] = one[:, None]
        if slot.role == "beta":
            place = (slot.timestep - 1) * program.cell.num_readouts + slot.qubit
            bits[:, :, place] = one[:, None]
    # Angles of a calibration row are all 0 or pi.
    at_random = ~np.isclose(np.sin(request.slot_values), 0).all(axis=1)
    drawn = np.random.default_rng(request.seed).integers(2, size=shape, dtype=np.uint8)
    bits[at_random] = drawn[at_random]
    return bits


def test_programs_with_one_circuit_and_other_parities_are_kept_apart():
    """A circuit does not tell which parities are read."""
    single = make_program("open")
    pairs = SequenceProgram(single.cell, 2, single.final_bases, readout_order=2, final_order=2)
    swapped = SequenceProgram(single.cell, 2, single.final_bases[::-1])
    texts = {qasm3.dumps(program.circuit) for program in (single, pairs, swapped)}
    assert len(texts) == 1
    engine = ShotEngine(AerExecutor(), 50)
    controls = torch.zeros(1, single.num_controls, dtype=torch.float64)
    for program in (single, pairs, swapped):
        features = engine.run(program, controls)
        assert features.shape == (1, program.num_features)
        assert engine.layer(program).neural_network.evaluator.program == program
    # |00> read in Z gives 1, in Y chance.
    assert engine.run(single, controls)[0, -4:-2].tolist() == [1.0, 1.0]
    assert engine.run(swapped, controls)[0, -2:].tolist() == [1.0, 1.0]


def test_mitigated_readouts_on_a_noisy_device(rng):
    """num_shots = 3000 on fake_boston: errors of gates bound what mitigation leaves.

    A gate of infidelity r moves an expectation by at most 2 (d + 1)/d r <= 3 r; the calibration
    circuit suffers as much, and correcting divides by the contrast. Wrong model: the other
    sample's readouts.
    """
    backend = load_fake_backend("fake_boston")

    def noise_of(compiled):
        return noise_for(compiled, backend)

    program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),), "open"), 2)
    executor = AerExecutor(noise_of)
    engine = ShotEngine(
        executor,
        3000,
        lambda program: compile_program(program, read_target(backend), load_profile("heron")),
        mitigation="local",
        calibration_shots=3000,
        seed=3,
    )
    model = make_model(program)
    inputs = random_inputs(rng, program, batch=2)
    with torch.no_grad():
        exact = model.engine.run(program, model.controls(inputs)).numpy()
        model.engine = engine
        controls = model.controls(inputs).numpy()
        evaluator = engine.layer(program).neural_network.evaluator
        estimate = evaluator.evaluate(controls)
        assert torch.isfinite(model(inputs)).all()
    assert executor.name == "aer(fake_boston)"
    assert estimate.mitigation == "local"

    compiled = evaluator.compiled
    noise = noise_of(compiled)
    errors = {(gate.name, gate.qubits): gate.error for gate in noise.gates}
    for qubit, qubit_noise in enumerate(noise.qubits):
        errors["reset", (qubit,)] = errors["reset_2", (qubit,)] = qubit_noise.reset_error
    total = sum(
        errors.get(
            (item.operation.name, tuple(compiled.circuit.find_bit(q).index for q in item.qubits)),
            0.0,
        )
        for item in compiled.circuit.data
    )
    assert 0 < total < 0.1
    calibration = evaluator.calibration
    for bit, qubit in enumerate(compiled.bit_to_qubit):
        e0, e1 = noise.qubits[qubit].read_one_given_zero, noise.qubits[qubit].read_zero_given_one
        assert abs(calibration.e0[bit] - e0) < 5 * calibration.e0_error[bit] + 1.5 * total
        assert abs(calibration.e1[bit] - e1) < 5 * calibration.e1_error[bit] + 1.5 * total
    slack = 5 * estimate.standard_error + 2 * 3 * total / calibration.contrast.min()
    assert (np.abs(estimate.value - exact) < slack).all()
    assert (np.abs(estimate.value - exact[::-1]) > slack).any()


# --- resuming ------------------------------------------------------------------------------------


def passes(model, inputs, number):
    """Outputs and gradients of some training passes, one after the other."""
    results = []
    for _ in range(number):
        model.zero_grad()
        outputs = model(inputs)
        outputs.square().sum().backward()
        results.append(outputs.detach())
        results += [p.grad.clone() for p in model.parameters() if p.numel()]
    return results


@pytest.mark.parametrize("mitigation", ["none", "local"])
@pytest.mark.parametrize(
    ("loop", "gradient"),
    [("feedforward", "surrogate"), ("feedforward", "spsa"), ("host", "surrogate"),
     ("host", "spsa"), ("open", "parameter_shift")],
)  # fmt: skip
def test_a_reloaded_engine_goes_on_with_the_same_numbers(rng, loop, gradient, mitigation):
    # With readout error, or a calibration would be the same whatever its seed.
    executor = AerExecutor(
        lambda compiled: DeviceNoise(
            "planted", (QubitNoise(0.05, 0.1),) * compiled.circuit.num_qubits, gates=()
        )
    )

    def engine():
        return ShotEngine(
            executor, 30, mitigation=mitigation, gradient=gradient, num_directions=2,
            calibration_shots=100, seed=4,
        )  # fmt: skip

    program = make_program(loop)
    model = make_model(program, engine=engine())
    inputs = random_inputs(rng, program, batch=2)
    passes(model, inputs, 2)
    state = model.engine.state_dict()
    expected = passes(model, inputs, 2)

    lengths = (1, 2) if loop == "host" else (2,)
    programs = [program.prefix(length) for length in lengths]
    model.engine = engine()
    model.engine.load_state_dict(state, programs)
    for found, wanted in zip(passes(model, inputs, 2), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)

    model.engine = engine()
    fresh = passes(model, inputs, 2)
    assert (fresh[0] != expected[0]).any()
    # From the beginning it is the beginning: seeds are all there is to it.
    again = make_model(program, engine=engine())
    torch.testing.assert_close(passes(again, inputs, 1)[0], fresh[0], rtol=0, atol=0)


def test_prefixes_perturb_along_directions_of_their_own(rng):
    """Equal directions in two prefixes would bias the product of their Jacobians."""
    executor = ScriptedExecutor()
    engine = ShotEngine(executor, 1, gradient="spsa", num_directions=1)
    program = make_program("host")
    num_angles = program.cell.ansatz.num_angles
    signs = []
    for length in (1, 2):
        prefix = program.prefix(length)
        controls = torch.zeros(1, prefix.num_controls, dtype=torch.float64, requires_grad=True)
        engine.run(prefix, controls).sum().backward()
        values = executor.requests[-1].slot_values[0]
        terms = [slot.terms for slot in prefix.slots.slots]
        chosen = [i for i, term in enumerate(terms) if term and term[0][0] < num_angles]
        signs.append(np.sign(values[chosen]))
    assert (signs[0] != signs[1]).any()


def test_surrogates_are_at_hand_for_reports(rng):
    model = make_model(make_program("host"), engine=ShotEngine(AerExecutor(), 30))
    assert model.engine.surrogates() == []
    model(random_inputs(rng, model.program))
    assert [fit.program.num_timesteps for fit in model.engine.surrogates()] == [1, 2]
    assert all(np.isfinite(fit.bias.residual_rms) for fit in model.engine.surrogates())
    shifted = ShotEngine(AerExecutor(), 30, gradient="parameter_shift")
    shifted.layer(make_program("open"))
    assert shifted.surrogates() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient": "adjoint"}, "gradient: must be one of surrogate, parameter_shift, spsa"),
        ({"num_shots": 0}, "num_shots: must be at least 1, got 0"),
        ({"calibration_shots": 0}, "calibration_shots: must be at least 1, got 0"),
        ({"last_timesteps": 0}, "last_timesteps: must be at least 1, got 0"),
        ({"num_directions": 0}, "num_directions: must be at least 1, got 0"),
        ({"mitigation": "zne"}, "mitigation: must be one of none, local, m3, got 'zne'"),
    ],
    ids=str,
)
def test_bad_options_are_refused_before_anything_runs(options, message):
    with pytest.raises(InputError, match=message):
        ShotEngine(**{"executor": ScriptedExecutor(), "num_shots": 1, **options})
