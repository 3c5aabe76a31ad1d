"""The training loop: its events, its best weights, and a state that resumes bit for bit."""

import io
import math
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from qrnn_qiskit.devices import DeviceNoise, QubitNoise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor
from qrnn_qiskit.learning import training
from qrnn_qiskit.learning.engines import ShotEngine
from qrnn_qiskit.learning.qrnn import MIN_STRENGTH_RAD, build_qrnn
from qrnn_qiskit.learning.training import (
    EpochDone,
    Evaluation,
    StepDone,
    Trainer,
    TrainingSpec,
    evaluate_model,
    objective,
    predict,
)
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.tasks import ParitySpec, loss
from tests.programs import host_program

# Ten samples in batches of four: three steps an epoch, the last one of two samples.
TASK = ParitySpec(num_timesteps=3, num_train=10, num_validation=6, num_test=4).load()
SPEC = TrainingSpec(epochs=2, batch_size=4, learning_rate=0.05, weight_decay=0.01, seed=5)
NUM_EVENTS = 2 * (3 + 1)


def make_model(loop="feedforward", engine=None, seed=3, dropout=0.4, hidden_units=4):
    if loop == "host":
        program = host_program("brick", num_memory=2, num_timesteps=TASK.num_timesteps)
    else:
        cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0, 1.2),), loop)
        program = SequenceProgram(cell, TASK.num_timesteps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_qrnn(
            program, 1, 2, view="each", hidden_units=hidden_units, dropout=dropout,
            initial_angle_rad=1.0, engine=engine,
        )  # fmt: skip


def shot_engine():
    # With readout error, or calibration would not show in the numbers.
    noise = DeviceNoise("planted", (QubitNoise(0.05, 0.1),) * 3, gates=())
    return ShotEngine(
        AerExecutor(noise), 20, mitigation="local", calibration_shots=50, gradient="surrogate"
    )


CASES = {
    "exact": lambda seed=3: make_model(seed=seed),
    "host": lambda seed=3: make_model("host", seed=seed),
    "shots": lambda seed=3: make_model(engine=shot_engine(), seed=seed),
}


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# --- events --------------------------------------------------------------------------------------


def test_events_come_in_order_and_count():
    trainer = Trainer(make_model(), TASK, SPEC)
    assert (trainer.batches_per_epoch, trainer.num_steps, trainer.step) == (3, 6, 0)
    assert not trainer.is_finished
    events = list(trainer.run())
    names = [type(event).__name__ for event in events]
    assert names == ["StepDone"] * 3 + ["EpochDone"] + ["StepDone"] * 3 + ["EpochDone"]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(event.epoch, event.step, event.num_steps) for event in steps] == [
        (1, 1, 6), (1, 2, 6), (1, 3, 6), (2, 4, 6), (2, 5, 6), (2, 6, 6),
    ]  # fmt: skip
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert trainer.history == epochs
    for epoch, batches in zip(epochs, (steps[:3], steps[3:]), strict=True):
        sizes = (4, 4, 2)
        mean = sum(size * step.loss for size, step in zip(sizes, batches, strict=True)) / 10
        assert epoch.train_loss == pytest.approx(mean, rel=1e-12)
    assert trainer.is_finished
    assert list(trainer.run()) == []


def test_every_sample_is_seen_once_an_epoch_in_an_order_of_its_own(monkeypatch):
    seen = []
    take = type(TASK.train).take

    def recording(split, indices):
        seen.append(indices.tolist())
        return take(split, indices)

    monkeypatch.setattr(type(TASK.train), "take", recording)
    list(Trainer(make_model(), TASK, SPEC).run())
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize(("max_steps", "names"), [(2, "SS"), (3, "SSSE"), (4, "SSSES")])
def test_max_steps_ends_the_run(max_steps, names):
    trainer = Trainer(make_model(), TASK, SPEC.model_copy(update={"max_steps": max_steps}))
    best = None
    found = ""
    for event in trainer.run():
        found += type(event).__name__[0]
        if isinstance(event, EpochDone):
            best = weights_of(trainer.model)
    assert found == names
    assert trainer.is_finished
    assert trainer.step == trainer.num_steps == max_steps
    if best is not None:
        assert_same_weights(trainer.model.state_dict(), best)


def test_at_the_end_dropout_is_off():
    trainer = Trainer(make_model(dropout=0.8), TASK, SPEC)
    list(trainer.run())
    inputs = torch.from_numpy(TASK.test.inputs)
    assert torch.equal(trainer.model(inputs), trainer.model(inputs))
    trainer.model.train()
    assert not torch.equal(trainer.model(inputs), trainer.model(inputs))


# --- early stopping ------------------------------------------------------------------------------


def scripted_validation(monkeypatch, losses):
    """Validation losses by epoch: the state says which, so that a resumed trainer goes on."""

    def evaluate(model, task, split):
        return Evaluation(0.5, 0.1, losses[evaluate.calls], 0.1, split.num_samples)

    evaluate.calls = -1

    def counting(model, task, split):
        evaluate.calls += 1
        return evaluate(model, task, split)

    monkeypatch.setattr(training, "evaluate_model", counting)
    return evaluate


def test_early_stopping_restores_the_best_weights(monkeypatch):
    scripted_validation(monkeypatch, [1.0, 0.5, 0.5, 0.6, 0.1])
    spec = SPEC.model_copy(update={"epochs": 5, "patience": 2})
    trainer = Trainer(make_model(), TASK, spec)
    at_epoch = [weights_of(trainer.model) for e in trainer.run() if isinstance(e, EpochDone)]
    assert [done.is_best for done in trainer.history] == [True, True, False, False]
    assert trainer.is_finished
    assert trainer.step == 12 < trainer.num_steps
    assert_same_weights(trainer.model.state_dict(), at_epoch[1])
    assert not torch.equal(at_epoch[3]["head.weight"], at_epoch[1]["head.weight"])


def test_early_stopping_goes_on_counting_after_a_resume(monkeypatch):
    validation = scripted_validation(monkeypatch, [1.0, 0.5, 0.7, 0.6, 0.1])
    spec = SPEC.model_copy(update={"epochs": 5, "patience": 2})
    first = Trainer(make_model(), TASK, spec)
    for event in first.run():
        if isinstance(event, EpochDone) and event.epoch == 2:
            best = weights_of(first.model)
        if isinstance(event, EpochDone) and event.epoch == 3:
            break
    second = Trainer(make_model(seed=8), TASK, spec)
    second.load_state_dict(through_a_file(first.state_dict()))
    assert not second.is_finished
    assert [type(event).__name__[0] for event in second.run()] == list("SSSE")
    assert validation.calls == 3
    assert_same_weights(second.model.state_dict(), best)


# --- steps ---------------------------------------------------------------------------------------


def test_gradients_are_clipped_and_reported_as_they_were():
    norms = {}
    for clip_norm in (1e-3, 1e3):
        trainer = Trainer(
            make_model(dropout=0.0), TASK, SPEC.model_copy(update={"clip_norm": clip_norm})
        )
        event = next(iter(trainer.run()))
        left = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
        norms[clip_norm] = (event.gradient_norm, torch.stack(left).norm().item())
    reported, clipped = norms[1e-3]
    assert clipped == pytest.approx(1e-3, rel=1e-3)
    assert reported == norms[1e3][0] == pytest.approx(norms[1e3][1], rel=1e-6)
    assert reported > 1e-2


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_schedules_of_the_learning_rate(schedule):
    trainer = Trainer(make_model(), TASK, SPEC.model_copy(update={"schedule": schedule}))
    found = []
    for event in trainer.run():
        if isinstance(event, StepDone):
            found.append(trainer._optimiser.param_groups[0]["lr"])
    cosine = [0.05 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(7)]
    expected = cosine if schedule == "cosine" else [0.05] * 7
    assert found == pytest.approx(expected[:6], rel=1e-12)
    ends = [done.learning_rate for done in trainer.history]
    assert ends == pytest.approx([expected[3], expected[6]], abs=1e-15)


def test_strengths_stay_in_their_range():
    spec = SPEC.model_copy(update={"learning_rate": 3.0, "schedule": "constant"})
    trainer = Trainer(make_model(), TASK, spec)
    for _ in trainer.run():
        value = trainer.model.strengths_rad.item()
        assert MIN_STRENGTH_RAD <= value <= np.float32(np.pi / 2)
    assert value != pytest.approx(1.2)


def test_a_gradient_that_is_not_finite_stops_the_run():
    trainer = Trainer(make_model(), TASK, SPEC.model_copy(update={"learning_rate": 1e30}))
    with pytest.raises(InputError, match=r"training: the gradient must be finite, got \w+ at step"):
        list(trainer.run())


# --- resuming ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_runs():
    """Events, weights and history of an uninterrupted run of each case."""
    results = {}

    def run(case):
        if case not in results:
            trainer = Trainer(CASES[case](), TASK, SPEC)
            results[case] = (list(trainer.run()), trainer)
        return results[case]

    return run


@pytest.mark.parametrize(
    ("case", "num_done"),
    [("exact", done) for done in range(NUM_EVENTS + 1)]
    + [("host", done) for done in (2, 3, 4, 7)]
    + [("shots", done) for done in (1, 3, 4, 7)],
)
def test_a_run_resumed_after_any_event_continues_to_the_same_bits(whole_runs, case, num_done):
    expected, whole = whole_runs(case)
    assert len(expected) == NUM_EVENTS
    first = Trainer(CASES[case](), TASK, SPEC)
    state = first.state_dict()
    for index, event in enumerate(first.run(), start=1):
        # Nothing else that a program draws may change a run.
        torch.rand(index)
        assert event == expected[index - 1]
        if index == num_done:
            state = first.state_dict()
            break
    state = through_a_file(state)

    second = Trainer(CASES[case](seed=99), TASK, SPEC)
    torch.rand(3)
    second.load_state_dict(state)
    rest = []
    for event in second.run():
        torch.rand(1)
        rest.append(event)
    assert rest == expected[num_done:]
    assert second.history == whole.history
    assert_same_weights(second.model.state_dict(), whole.model.state_dict())


def test_a_state_taken_at_the_end_holds_the_best_weights(whole_runs):
    _, whole = whole_runs("exact")
    again = Trainer(make_model(seed=99), TASK, SPEC)
    again.load_state_dict(through_a_file(whole.state_dict()))
    assert again.is_finished
    assert list(again.run()) == []
    assert_same_weights(again.model.state_dict(), whole.model.state_dict())


@pytest.mark.parametrize("key", ["dropout_state", "optimiser", "loss_sum"])
def test_each_part_of_the_state_matters(whole_runs, key):
    """What the tests of resuming would not see if the run did not depend on it."""
    expected, _ = whole_runs("exact")
    first = Trainer(make_model(), TASK, SPEC)
    events = first.run()
    for _ in range(2):
        next(events)
    other = Trainer(make_model(), TASK, SPEC)
    state = {**first.state_dict(), key: other.state_dict()[key]}
    second = Trainer(make_model(seed=99), TASK, SPEC)
    second.load_state_dict(state)
    assert list(second.run()) != expected[2:]


def test_a_state_is_a_copy():
    trainer = Trainer(make_model(), TASK, SPEC)
    events = trainer.run()
    for _ in range(4):
        next(events)
    state = trainer.state_dict()
    before = through_a_file(state)
    list(events)
    assert_same_weights(state["model"], before["model"])
    assert_same_weights(state["best"]["weights"], before["best"]["weights"])
    for index, moments in before["optimiser"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(state["optimiser"]["state"][index][name], value)


def test_dropout_leaves_the_global_generator_alone():
    torch.manual_seed(17)
    expected = torch.rand(4)
    torch.manual_seed(17)
    list(Trainer(make_model(), TASK, SPEC).run())
    assert torch.equal(torch.rand(4), expected)


def test_a_checkpoint_of_another_model_is_refused():
    state = Trainer(make_model(hidden_units=5), TASK, SPEC).state_dict()
    with pytest.raises(InputError, match="checkpoint: must belong to this model") as caught:
        Trainer(make_model(), TASK, SPEC).load_state_dict(state)
    assert "\n" not in str(caught.value)
    state = Trainer(make_model("host"), TASK, SPEC).state_dict()
    with pytest.raises(InputError, match="checkpoint: must belong to this model"):
        Trainer(make_model(), TASK, SPEC).load_state_dict(state)


# --- losses and predictions ----------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "kind", ["classification", "sequence_classification", "sequence_regression"]
)
def test_the_objective_is_the_loss_that_is_reported(rng, kind, weighted):
    shape = (5,) if kind == "classification" else (5, 4)
    regression = kind == "sequence_regression"
    outputs = rng.normal(size=(*shape, 1 if regression else 3))
    targets = rng.normal(size=shape) if regression else rng.integers(3, size=shape)
    weights = rng.integers(2, size=shape).astype(float) if weighted else None
    expected, _ = loss(kind, outputs, targets, weights)
    found = objective(
        SimpleNamespace(kind=kind),
        torch.from_numpy(outputs),
        torch.from_numpy(targets),
        None if weights is None else torch.from_numpy(weights),
    )
    assert found.item() == pytest.approx(expected, rel=1e-12)
    if weighted:
        assert loss(kind, outputs, targets)[0] != pytest.approx(expected, rel=1e-3)


def test_predictions_have_no_dropout_and_do_not_depend_on_batches():
    model = make_model(dropout=0.8).double()
    inputs = TASK.train.inputs
    found = predict(model, inputs, batch_size=3)
    assert found.shape == (10, 3, 2)
    assert found.dtype == np.float64
    assert model.training
    np.testing.assert_allclose(predict(model, inputs), found, rtol=0, atol=1e-14)
    model.eval()
    with torch.no_grad():
        np.testing.assert_allclose(model(torch.from_numpy(inputs)), found, rtol=0, atol=1e-14)
    predict(model, inputs)
    assert not model.training


def test_evaluation_is_metric_and_loss_of_the_predictions():
    model = make_model()
    split = TASK.validation
    outputs = predict(model, split.inputs)
    result = evaluate_model(model, TASK, split)
    chosen = outputs.argmax(axis=-1) == split.targets
    assert result.metric == pytest.approx(chosen[split.weights == 1].mean())
    value, error = loss(TASK.kind, outputs, split.targets, split.weights)
    assert (result.loss, result.loss_error) == (value, error)
    assert result.num_samples == 6


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate": math.inf}, {"learning_rate": math.nan}, {"clip_norm": math.inf},
     {"seed": 2**32}, {"epochs": 0}, {"patience": 0}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        TrainingSpec(**settings)
