"""Canaries for mthree: each fails when a trap of docs/traps.md is gone."""

from collections import Counter

import mthree
import numpy as np
import pytest
from mthree.exceptions import M3Error
from mthree.utils import final_measurement_mapping
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.primitives import BitArray
from qiskit_ibm_runtime.circuit import MidCircuitMeasure


def gone(trap: str, workaround: str) -> str:
    return f"trap {trap} is gone: the workaround in {workaround} can be removed (docs/traps.md)"


E0, E1 = 0.03, 0.08
MATRIX = np.array([[1 - E0, E1], [E0, 1 - E1]])  # columns = prepared state


def mitigator(num_bits: int) -> mthree.M3Mitigation:
    m3 = mthree.M3Mitigation(None)
    m3.cals_from_matrices([MATRIX] * num_bits)
    return m3


# --- M3-1: what apply_correction accepts ---------------------------------------------------------


def correction_error(counts: object) -> Exception | None:
    try:
        mitigator(2).apply_correction(counts, [0, 1])
    except (TypeError, M3Error) as error:
        return error
    return None


def test_m3_1_bit_arrays_and_spaced_keys_are_refused() -> None:
    counts = {"00": 60, "11": 40}
    error = correction_error(BitArray.from_counts(counts))
    assert isinstance(error, TypeError), gone("M3-1", "estimation/m3")
    error = correction_error({"0 0": 60, "1 1": 40})
    assert isinstance(error, M3Error), gone("M3-1", "estimation/m3")

    plain = BitArray.from_counts(counts).get_counts()
    quasi = mitigator(2).apply_correction(plain, [0, 1])
    assert sum(quasi.values()) == pytest.approx(1.0, abs=1e-6)  # single precision


# --- M3-2: which qubit wrote which bit -----------------------------------------------------------


# mthree 3.0.0 indexes CircuitInstruction like a tuple, which Qiskit has deprecated since 1.2.
@pytest.mark.filterwarnings(
    "ignore:Treating CircuitInstruction as an iterable is deprecated:DeprecationWarning"
)
def test_m3_2_final_measurement_mapping_drops_bits() -> None:
    message = gone("M3-2", "estimation/m3")
    branch = QuantumCircuit(2, 3)
    branch.measure(0, 0)
    branch.reset(0)
    branch.measure(0, 1)
    with branch.if_test((branch.clbits[0], 1)):
        branch.measure(1, 2)
    assert final_measurement_mapping(branch) == {0: 0, 1: 0}, message

    fast = QuantumCircuit(2, 3)
    fast.append(MidCircuitMeasure("measure_2"), [0], [0])
    fast.measure([0, 1], [1, 2])
    assert final_measurement_mapping(fast) == {1: 0, 2: 1}, message

    # The avoiding form: one matrix per bit, so that no mapping is needed at all.
    quasi = mitigator(3).apply_correction({"000": 50, "111": 50}, range(3))
    assert sum(quasi.values()) == pytest.approx(1.0, abs=1e-6)


# --- M3-3: long records --------------------------------------------------------------------------


def mean_marginals(num_bits: int, num_shots: int) -> tuple[float, float, float]:
    """Mean P(1) of fair, misread bits: raw, after M3, after the local inverse."""
    rng = np.random.default_rng(7)
    true = rng.random((num_shots, num_bits)) < 0.5
    flipped = rng.random((num_shots, num_bits)) < np.where(true, E1, E0)
    bits: NDArray[np.bool_] = true ^ flipped
    counts = Counter("".join("1" if bit else "0" for bit in shot) for shot in bits)
    quasi = mitigator(num_bits).apply_correction(dict(counts), range(num_bits))
    m3 = sum(p * key.count("1") / num_bits for key, p in quasi.items())
    raw = float(bits.mean())
    return raw, float(m3), (raw - E0) / (1 - E0 - E1)


def test_m3_3_m3_tends_to_the_identity_on_long_records() -> None:
    num_shots, num_bits = 4000, 16
    raw, m3, local = mean_marginals(num_bits, num_shots)
    # The mean of num_shots x num_bits fair bits, through the local inverse.
    standard_error = 0.5 / np.sqrt(num_shots * num_bits) / (1 - E0 - E1)
    assert abs(raw - 0.5) > 5 * standard_error
    assert abs(m3 - 0.5) > 5 * standard_error, gone("M3-3", "estimation/m3")
    assert abs(m3 - raw) < abs(local - raw) / 2, gone("M3-3", "estimation/m3")
    assert abs(local - 0.5) < 5 * standard_error

    num_bits = 8
    raw, m3, _ = mean_marginals(num_bits, num_shots)
    standard_error = 0.5 / np.sqrt(num_shots * num_bits) / (1 - E0 - E1)
    assert abs(raw - 0.5) > 5 * standard_error
    assert abs(m3 - 0.5) < 5 * standard_error
