"""Matrix-free measurement mitigation (mthree) on short marginals, by explicit matrices."""

from math import prod

import numpy as np
from mthree import M3Mitigation
from numpy.typing import NDArray

from qrnn_qiskit.program import ParitySet

# On long, high-entropy records M3 tends to the identity (see docs/traps.md, M3): beyond this the
# per-bit inverse is better.
M3_MAX_BITS = 10


def correct_parities(
    bits: NDArray[np.uint8], matrices: list[NDArray[np.float64]], parities: ParitySet
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Parities of the corrected joint counts of each row, with shot noise.

    The explicit matrices go in directly: with a system and no calibration mthree would run
    jobs of its own.

    Args:
        bits: `(num_rows, num_shots, num_bits)`.
        matrices: assignment matrix of each bit, columns are prepared states.
        parities: what to read.

    Returns:
        Values and standard errors, `(num_rows, num_parities)`.
    """
    mitigator = M3Mitigation()
    mitigator.cals_from_matrices(matrices)
    num_rows, num_shots, num_bits = bits.shape
    outcomes = bits @ (1 << np.arange(num_bits))
    signs = parities.signs
    contrasts = [matrix[0, 0] + matrix[1, 1] - 1 for matrix in matrices]
    scale = np.array([prod(contrasts[bit] for bit in subset) for subset in parities.subsets])
    values = np.empty((num_rows, parities.size))
    errors = np.empty((num_rows, parities.size))
    for row in range(num_rows):
        seen, counts = np.unique(outcomes[row], return_counts=True)
        labels = [format(outcome, f"0{num_bits}b") for outcome in seen]
        histogram = dict(zip(labels, counts.tolist(), strict=True))
        quasi = mitigator.apply_correction(histogram, range(num_bits), method="direct")
        weights = np.array([quasi[label] for label in labels])
        values[row] = weights @ signs[seen]
        # value = sum_x w_x p_x with A^T w = signs on the observed outcomes: the variance of w.
        reduced, order = mitigator.reduced_cal_matrix(histogram, range(num_bits))
        keys = [int(label, 2) for label in order]
        slopes = np.linalg.solve(reduced.T, signs[keys])
        frequencies = np.array([histogram[label] for label in order]) / num_shots
        mean = frequencies @ slopes
        variance = frequencies @ (slopes - mean) ** 2
        # As for raw bits: a parity that never changed has one opposite outcome conceded.
        constant = np.ptp(signs[keys], axis=0) == 0
        floor = np.where(constant, 4.0 / (num_shots + 2) / scale**2, 0.0)
        errors[row] = np.sqrt(np.maximum(variance, floor) / num_shots)
    return values, errors
