"""Random streams for the splits, and the order in which samples fall into them."""

from __future__ import annotations

import numpy as np

from qrnn_qiskit.errors import require


def split_generators(
    seed: int,
) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Independent generators for train, validation and test.

    Example:
        >>> train, validation, test = split_generators(seed=0)
        >>> train.random() != validation.random()
        True
    """
    train, validation, test = np.random.SeedSequence(seed).spawn(3)
    return (
        np.random.default_rng(train),
        np.random.default_rng(validation),
        np.random.default_rng(test),
    )


def stratified_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order of samples in which every run holds the classes in their proportions.

    ``labels`` ``(num_samples,)``; returns indices ``(num_samples,)``. The j-th of a class's m
    samples goes to the fraction (j + 1/2)/m of the order, so every consecutive block holds the
    classes as the whole does, up to rounding.

    Example:
        >>> import numpy as np
        >>> labels = np.array([0] * 6 + [1] * 3)
        >>> labels[stratified_order(labels, np.random.default_rng(0))].tolist()
        [0, 1, 0, 0, 1, 0, 0, 1, 0]
    """
    shuffled = rng.permutation(len(labels))
    positions = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        positions[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(positions, kind="stable")]


def partition(
    order: np.ndarray, validation_fraction: float, test_fraction: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``order`` cut into train, validation and test, in this order; none is empty.

    Raises:
        InputError: if there are too few samples for three splits.

    Example:
        >>> import numpy as np
        >>> [part.tolist() for part in partition(np.arange(10), 0.1, 0.2)]
        [[0, 1, 2, 3, 4, 5, 6], [7], [8, 9]]
    """
    num_validation = max(1, round(validation_fraction * len(order)))
    num_test = max(1, round(test_fraction * len(order)))
    num_train = len(order) - num_validation - num_test
    require(
        num_train >= 1,
        "data",
        f"must leave one to train on beside {num_validation} for validation, {num_test} for test",
        len(order),
        "supply more, or lower validation_fraction and test_fraction",
    )
    cuts = [num_train, num_train + num_validation]
    train, validation, test = np.split(order, cuts)
    return train, validation, test


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Pass if the two leave something to train on.

    Raises:
        InputError: if they add up to 1 or more.

    Example:
        >>> check_fractions(0.1, 0.2)
    """
    require(
        validation_fraction + test_fraction < 1.0,
        "validation_fraction + test_fraction",
        "must be below 1",
        validation_fraction + test_fraction,
        "lower one of them",
    )
