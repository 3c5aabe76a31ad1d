"""Parities of bits: which there are, and their signs."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import ParitySet

pure = settings(derandomize=True, deadline=None, max_examples=60, database=None)
parity_sets = st.builds(ParitySet, num_bits=st.integers(0, 8), order=st.integers(1, 9))


@pure
@given(parity_sets)
def test_every_subset_up_to_the_order_occurs_once_smaller_ones_first(parities):
    sizes = [len(subset) for subset in parities.subsets]
    assert sizes == sorted(sizes)
    assert len(set(parities.subsets)) == parities.size
    assert all(list(subset) == sorted(set(subset)) for subset in parities.subsets)
    largest = min(parities.order, parities.num_bits)
    assert parities.size == sum(comb(parities.num_bits, k) for k in range(1, largest + 1))


@pure
@given(parity_sets, st.data())
def test_signs_are_products_of_signs_of_bits(parities, data):
    assert parities.signs.shape == (2**parities.num_bits, parities.size)
    outcome = data.draw(st.integers(0, 2**parities.num_bits - 1))
    for column, subset in enumerate(parities.subsets):
        expected = 1
        for bit in subset:
            if outcome >> bit & 1:
                expected = -expected
        assert parities.signs[outcome, column] == expected


@pure
@given(parity_sets)
def test_parities_are_orthogonal_over_uniform_outcomes(parities):
    gram = parities.signs.T @ parities.signs / 2**parities.num_bits
    np.testing.assert_array_equal(gram, np.eye(parities.size))


def test_order_zero_is_refused():
    with pytest.raises(InputError, match="order: must be at least 1, got 0"):
        ParitySet(2, 0)
