"""The channel against a loop, and its baselines against the values known for the task."""

import numpy as np
import pytest
from pydantic import ValidationError

from qrnn_qiskit.tasks import EqualisationSpec
from qrnn_qiskit.tasks.equalisation import channel_output

NOISELESS_DB = 100.0
LEVELS = np.array([-3.0, -1.0, 1.0, 3.0])


def test_channel(rng):
    symbols = rng.choice(LEVELS, size=(2, 20))
    expected = np.zeros((2, 13))
    for sample in range(2):
        for t in range(7, 20):
            m = symbols[sample, t - 7 : t + 1][::-1]
            q = m[0] + 0.18 * m[1] - 0.1 * m[2] + 0.091 * m[3] - 0.05 * m[4]
            q += 0.04 * m[5] + 0.03 * m[6] + 0.01 * m[7]
            expected[sample, t - 7] = q + 0.06 * q**2 - 0.01 * q**3
    # Rounding only.
    assert np.allclose(channel_output(symbols), expected, rtol=0, atol=1e-12)


def test_known_symbol_errors_at_20_db_and_only_in_this_noise_convention():
    # With 2000 test sequences of 14 counted symbols the standard error is about 3% of the value.
    sizes = {"num_train": 1000, "num_test": 2000}
    memoryless, two_tap = EqualisationSpec(**sizes).load().baselines
    assert abs(memoryless.value - 0.042) < 5 * memoryless.standard_error
    assert abs(two_tap.value - 0.011) < 5 * two_tap.standard_error
    # The wrong model: noise relative to the channel's output power of 4.5.
    relative = EqualisationSpec(snr_db=20 - 10 * np.log10(4.5), **sizes).load().baselines
    assert relative[0].value - 0.042 > 5 * relative[0].standard_error
    assert relative[1].value - 0.011 > 5 * relative[1].standard_error


def test_noise_has_the_stated_power():
    # Same seed, same symbols: the difference is the noise.
    noisy = EqualisationSpec(snr_db=10).load().train.inputs
    clean = EqualisationSpec(snr_db=NOISELESS_DB).load().train.inputs
    variance = np.var(noisy - clean)
    assert abs(variance / 0.1 - 1) < 5 * np.sqrt(2 / noisy.size)


def test_target_is_the_delayed_symbol():
    now = EqualisationSpec(snr_db=NOISELESS_DB).load().test
    delayed = EqualisationSpec(snr_db=NOISELESS_DB, target_delay=3).load().test
    assert np.array_equal(now.inputs, delayed.inputs)
    assert np.array_equal(now.targets[:, :-3], delayed.targets[:, 3:])
    assert delayed.weights[0, :4].tolist() == [0.0, 0.0, 0.0, 1.0]


def test_delay_longer_than_the_channel_still_has_symbols():
    test = EqualisationSpec(target_delay=10).load().test
    assert set(test.targets.ravel().tolist()) == {0, 1, 2, 3}


def test_task_fields():
    task = EqualisationSpec().load()
    assert task.class_names == ("-3", "-1", "1", "3")
    assert (task.metric.name, task.num_features) == ("symbol_error_rate", 1)
    assert task.train.weights[0, :3].tolist() == [0.0, 0.0, 1.0]


def test_sequence_too_short():
    with pytest.raises(ValidationError, match=r"num_timesteps: must exceed .*, here 5, got 5"):
        EqualisationSpec(num_timesteps=5, target_delay=5)
