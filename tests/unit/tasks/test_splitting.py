"""Every sample falls into one split, in the class proportions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.tasks.splitting import check_fractions, partition, stratified_order


@settings(derandomize=True)
@given(
    num_samples=st.integers(3, 300),
    validation_fraction=st.floats(0.01, 0.3),
    test_fraction=st.floats(0.01, 0.3),
)
def test_partition_covers_each_sample_once(num_samples, validation_fraction, test_fraction):
    order = np.random.default_rng(0).permutation(num_samples)
    parts = partition(order, validation_fraction, test_fraction)
    assert all(len(part) for part in parts)
    assert np.concatenate(parts).tolist() == order.tolist()


@settings(derandomize=True)
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=200), seed=st.integers(0, 9))
def test_stratified_order_keeps_proportions_in_every_prefix(labels, seed):
    labels = np.array(labels)
    order = stratified_order(labels, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(labels)))
    # A prefix ends at one fraction p of every class; each class rounds m p by at most 1/2, and
    # ties between classes leave out at most one of each.
    num_classes = len(np.unique(labels))
    for label in np.unique(labels):
        frequency = np.mean(labels == label)
        found = np.cumsum(labels[order] == label)
        expected = frequency * np.arange(1, len(labels) + 1)
        assert np.max(np.abs(found - expected)) <= 1.5 + frequency * 1.5 * num_classes


def test_too_few_samples():
    with pytest.raises(InputError, match=r"data: must leave one to train on .* got 2; supply more"):
        partition(np.arange(2), 0.1, 0.2)


def test_fractions_that_leave_nothing():
    with pytest.raises(InputError, match=r"must be below 1, got 1\.1; lower one"):
        check_fractions(0.5, 0.6)
