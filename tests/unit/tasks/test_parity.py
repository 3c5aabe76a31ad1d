"""Parity against a loop over bits."""

import numpy as np
import pytest
from pydantic import ValidationError

from qrnn_qiskit.tasks import ParitySpec


@pytest.mark.parametrize("encoding", ["sign", "bit"])
@pytest.mark.parametrize(("delay", "order"), [(0, 1), (2, 1), (0, 3), (2, 3)])
def test_targets_are_the_parity_of_the_delayed_bits(delay, order, encoding):
    spec = ParitySpec(num_timesteps=8, delay=delay, order=order, encoding=encoding, num_train=20)
    train = spec.load().train
    assert set(train.inputs.ravel().tolist()) == ({-1.0, 1.0} if encoding == "sign" else {0.0, 1.0})
    bits = (train.inputs[..., 0] > 0).astype(int).tolist()
    for sample, row in enumerate(bits):
        for t in range(8):
            oldest = t - delay - order + 1
            assert train.weights[sample, t] == (oldest >= 0)
            if oldest >= 0:
                assert train.targets[sample, t] == sum(row[oldest : t - delay + 1]) % 2


def test_baseline_is_a_coin():
    (baseline,) = ParitySpec(num_test=2000).load().baselines
    assert abs(baseline.value - 0.5) < 5 * baseline.standard_error
    assert baseline.loss == pytest.approx(np.log(2), abs=1e-3)


def test_sequence_too_short():
    with pytest.raises(
        ValidationError, match=r"num_timesteps: must exceed .* = 4, got 4; lengthen"
    ):
        ParitySpec(num_timesteps=4, delay=3, order=2)
