"""What all settings have in common."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from qrnn_qiskit.tasks import (
    CopyingSpec,
    DigitsSpec,
    EqualisationSpec,
    NarmaSpec,
    ParitySpec,
    TaskSpec,
)

ADAPTER = TypeAdapter(TaskSpec)
GENERATED = [
    CopyingSpec(num_train=16, num_validation=8, num_test=8),
    ParitySpec(num_train=16, num_validation=8, num_test=8),
    NarmaSpec(num_train=16, num_validation=8, num_test=8),
    EqualisationSpec(num_train=16, num_validation=8, num_test=8),
]
ALL = [*GENERATED, DigitsSpec(max_train=50)]


def _name(spec):
    return spec.name


def _same(first, second):
    return first.shape == second.shape and np.array_equal(first, second)


@pytest.mark.parametrize("spec", ALL, ids=_name)
def test_same_seed_same_task_other_seed_other_task(spec):
    first, again = spec.load(), spec.load()
    other = spec.model_copy(update={"seed": 1}).load()
    for role in ("train", "validation", "test"):
        assert _same(getattr(first, role).inputs, getattr(again, role).inputs)
        assert _same(getattr(first, role).targets, getattr(again, role).targets)
        assert not _same(getattr(first, role).inputs, getattr(other, role).inputs)
    assert first.baselines == again.baselines


@pytest.mark.parametrize("spec", GENERATED, ids=_name)
def test_more_training_data_leaves_the_test_split_alone(spec):
    larger = spec.model_copy(update={"num_train": 32}).load()
    assert larger.train.num_samples == 32
    assert _same(larger.test.inputs, spec.load().test.inputs)
    assert _same(larger.validation.targets, spec.load().validation.targets)


@pytest.mark.parametrize("spec", [GENERATED[0], GENERATED[2], GENERATED[3]], ids=_name)
def test_no_sequence_is_in_two_splits(spec):
    # Not parity: of its few short bit strings some must occur twice.
    task = spec.load()
    rows = np.concatenate([s.inputs for s in (task.train, task.validation, task.test)])
    assert len(np.unique(rows.reshape(len(rows), -1), axis=0)) == 32


@pytest.mark.parametrize("spec", ALL, ids=_name)
def test_settings_survive_json_and_are_told_apart_by_name(spec):
    assert ADAPTER.validate_json(spec.model_dump_json()) == spec
    assert type(ADAPTER.validate_python({"name": spec.name})) is type(spec)


@pytest.mark.parametrize("spec", ALL, ids=_name)
def test_every_setting_says_what_it_is(spec):
    described = {key: field.description for key, field in type(spec).model_fields.items()}
    assert all(text for key, text in described.items() if key != "name")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "parity", "dealy": 3}, "Extra inputs are not permitted"),
        ({"name": "moons"}, "does not match any of the expected tags"),
        ({"name": "parity", "seed": -1}, "greater than or equal to 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(settings)
