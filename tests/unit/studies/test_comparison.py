"""A trained model on Aer: the readouts are the model's own, and records are used again."""

import numpy as np
import pytest
import torch

from qrnn_qiskit.learning.training import evaluating
from qrnn_qiskit.studies import RunDirectory, compare_on_aer
from tests.unit.studies.jobs import FEEDFORWARD, HOST, spec_of

NUM_SHOTS = 1000


def make(settings, **changes):
    spec = spec_of(
        settings, aer__num_shots=NUM_SHOTS, aer__num_samples=3, aer__calibration_shots=1000,
        **{"aer__mitigations": ["local"], **changes},
    )  # fmt: skip
    task = spec.task.load()
    return spec, task, spec.model.build_model(task, 3)


def deviations(found, expected, num_shots):
    # Two flipped shots are conceded: tails of a rare outcome are heavier than a normal one's.
    errors = ((1 - expected**2).clamp(min=0) / num_shots).sqrt() + 2 / num_shots
    return ((found - expected) / errors).abs().max().item()


def test_readouts_on_ideal_aer_are_the_models_without_dropout():
    """1000 shots, 5 standard errors. Wrong models: other samples' readouts, and with dropout."""
    spec, task, model = make(FEEDFORWARD, model__dropout=0.5)
    inputs = torch.from_numpy(task.test.inputs[:3])
    model.train()
    comparison = compare_on_aer(model, task, spec.aer)
    assert model.training
    ideal, noisy, local = comparison.sampled
    assert [found.label for found in comparison.sampled] == [row.label for row in comparison.rows]
    with evaluating(model):
        exact = model.read(inputs)
    assert deviations(ideal.readouts.steps, exact.steps, NUM_SHOTS) < 5
    assert deviations(ideal.readouts.final, exact.final, NUM_SHOTS) < 5
    assert deviations(ideal.readouts.steps, exact.steps.roll(1, 0), NUM_SHOTS) > 5
    with torch.no_grad():
        assert deviations(ideal.readouts.steps, model.read(inputs).steps, NUM_SHOTS) > 5
    # fake_boston misreads about a percent: beyond shots, its readouts are near the exact ones.
    for found in (noisy, local):
        assert deviations(found.readouts.steps, exact.steps, NUM_SHOTS) < 10
        assert found.steps_error.shape == tuple(found.readouts.steps.shape)
    assert not torch.equal(noisy.readouts.steps, local.readouts.steps)
    bound = 1 / NUM_SHOTS**0.5
    assert 0 < ideal.steps_error.max() <= bound * (1 + 1e-3)


def test_rows_are_the_heads_answer_to_the_readouts():
    spec, task, model = make(FEEDFORWARD)
    comparison = compare_on_aer(model, task, spec.aer)
    split = task.test.head(3)
    for row, found in zip(comparison.rows, comparison.sampled, strict=True):
        with torch.no_grad():
            outputs = model.head(found.readouts.steps)
        right = (outputs.argmax(-1).numpy() == split.targets)[split.weights == 1]
        assert row.metric == pytest.approx(right.mean())
        assert (row.kind, row.num_shots, row.num_samples) == ("sampled", NUM_SHOTS, 3)


def test_first_timestep_of_the_host_loop_is_the_models_without_dropout():
    """Later angles depend on the shots before. 1000 shots, 5 standard errors; wrong: dropout."""
    spec, task, model = make(HOST, model__dropout=0.5, aer__mitigations=[])
    inputs = torch.from_numpy(task.test.inputs[:3])
    comparison = compare_on_aer(model, task, spec.aer, ideal=True)
    ideal = comparison.sampled[0]
    assert ideal.readouts.steps.shape == (3, 3, 6)
    with evaluating(model):
        exact = model.read(inputs).steps[:, 0]
    assert deviations(ideal.readouts.steps[:, 0], exact, NUM_SHOTS) < 5
    with torch.no_grad():
        dropped = model.read(inputs).steps[:, 0]
    assert deviations(ideal.readouts.steps[:, 0], dropped, NUM_SHOTS) > 5


@pytest.mark.parametrize("settings", [FEEDFORWARD, HOST], ids=lambda settings: settings["name"])
def test_records_are_used_for_the_weights_that_they_belong_to(tmp_path, settings):
    spec = spec_of(settings, aer__mitigations=[])
    task = spec.task.load()
    model = spec.model.build_model(task, 3)
    run = RunDirectory.create(spec, tmp_path)
    first = compare_on_aer(model, task, spec.aer, run)
    records = run.path / "records"
    written = {path.name: path.stat().st_mtime_ns for path in records.iterdir()}
    assert len(written) == 2
    again = compare_on_aer(model, task, spec.aer, run)
    for before, after in zip(first.sampled, again.sampled, strict=True):
        torch.testing.assert_close(after.readouts.steps, before.readouts.steps, rtol=0, atol=1e-7)
    assert {path.name: path.stat().st_mtime_ns for path in records.iterdir()} == written
    with torch.no_grad():
        model.controller.output.bias += 0.01
    other = compare_on_aer(model, task, spec.aer, run)
    assert not torch.equal(other.sampled[0].readouts.steps, first.sampled[0].readouts.steps)
    for path in records.iterdir():
        assert path.stat().st_mtime_ns != written[path.name]


def test_a_record_holds_what_it_takes_to_read_it_again(trained_feedforward):
    spec, run = spec_of(FEEDFORWARD), RunDirectory(trained_feedforward.run)
    record = run.load_arrays("Aer_fake_boston")
    program = spec.model.build_program(4)
    assert record["bits"].shape == (6, 50, (program.num_bits + 7) // 8)
    assert record["slot_values"].shape == (6, program.slots.num_slots)
    assert record["executor"] == "aer(fake_boston, idling)"
    assert record["program_id"] == program.program_id
    assert len(record["physical_qubits"]) == program.cell.num_qubits
    assert np.unpackbits(record["bits"], axis=-1, count=program.num_bits).mean() > 0
