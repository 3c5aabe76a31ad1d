"""The digits task holds each image once and keeps proportions."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_digits

from qrnn_qiskit.tasks import DigitsSpec


def _all_images(task):
    splits = (task.train, task.validation, task.test)
    return np.concatenate([split.inputs.reshape(-1, 64) for split in splits])


def _sorted_rows(rows):
    return rows[np.lexsort(rows.T)]


def test_splits_are_the_data_set_once():
    task = DigitsSpec().load()
    pixels = load_digits(return_X_y=True)[0]
    assert np.array_equal(_sorted_rows(_all_images(task)), _sorted_rows(pixels / 16.0))
    sizes = [split.num_samples for split in (task.train, task.validation, task.test)]
    assert sizes == [1258, 180, 359]
    assert task.train.inputs.shape[1:] == (8, 8)
    assert 0.0 <= task.train.inputs.min() <= task.train.inputs.max() == 1.0


def test_images_keep_their_labels_and_rows():
    pixels, digits = load_digits(return_X_y=True)
    test = DigitsSpec().load().test
    for image, label in zip(test.inputs[:20], test.targets[:20], strict=True):
        matches = np.flatnonzero(np.all(pixels == image.reshape(64) * 16.0, axis=1))
        assert digits[matches].tolist() == [label]


def test_every_split_has_the_class_proportions():
    task = DigitsSpec().load()
    proportions = np.bincount(load_digits(return_X_y=True)[1]) / 1797
    for split in (task.train, task.validation, task.test, task.test.head(50)):
        counts = np.bincount(split.targets, minlength=10)
        # Rounding at either end of the block, see test_splitting; random splits miss by 7 and more.
        assert np.max(np.abs(counts - split.num_samples * proportions)) <= 2


def test_classes_are_relabelled_in_the_order_given():
    task = DigitsSpec(classes=(7, 2)).load()
    assert (task.class_names, task.num_outputs) == (("7", "2"), 2)
    digits = load_digits(return_X_y=True)[1]
    splits = (task.train, task.validation, task.test)
    assert sum(int(np.sum(split.targets == 0)) for split in splits) == np.sum(digits == 7)


def test_max_train_is_stratified_and_leaves_the_test_alone():
    task, whole = DigitsSpec(max_train=40).load(), DigitsSpec().load()
    assert task.train.num_samples == 40
    assert set(task.train.targets.tolist()) == set(range(10))
    assert np.array_equal(task.test.inputs, whole.test.inputs)


def test_permutation_is_the_same_for_every_image_and_seed():
    pixels = load_digits(return_X_y=True)[0] / 16.0
    plain, permuted = DigitsSpec().load(), DigitsSpec(permute=True).load()
    flat, moved = plain.train.inputs.reshape(-1, 64), permuted.train.inputs.reshape(-1, 64)
    assert not np.array_equal(flat, moved)
    order = np.random.default_rng(0).permutation(64)
    assert np.array_equal(flat[:, order], moved)
    other = _all_images(DigitsSpec(permute=True, seed=5).load())
    assert np.array_equal(_sorted_rows(other), _sorted_rows(pixels[:, order]))


def test_majority_baseline():
    task = DigitsSpec().load()
    (baseline,) = task.baselines
    majority = np.argmax(np.bincount(task.train.targets))
    assert baseline.value == pytest.approx(np.mean(task.test.targets == majority))
    assert baseline.loss == pytest.approx(np.log(10), abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": (3, 12)}, "classes: must be digits 0 to 9, got 12; remove it"),
        ({"classes": (3,)}, r"classes: must hold at least two digits, got \[3\]"),
        ({"classes": (3, 3)}, "classes: must not repeat"),
        ({"max_train": 5}, "max_train: must be at least one image for each of 10 classes, got 5"),
        ({"test_fraction": 0.9, "validation_fraction": 0.2}, "must be below 1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ValidationError, match=message):
        DigitsSpec(**settings)
