"""From records to the numbers z_t: parities of bits, raw or with readout error mitigated."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.estimation.calibration import ReadoutCalibration
from qrnn_qiskit.estimation.m3 import M3_MAX_BITS, correct_parities
from qrnn_qiskit.program import ParitySet, SequenceProgram

Mitigation = Literal["none", "local", "m3"]


@dataclass(frozen=True, eq=False)
class OutcomeEstimate:
    """Estimated expectation values, their standard errors, and what was done to them.

    Standard errors hold shot noise and, if mitigated, that of the calibration.
    """

    value: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    mitigation: Mitigation

    def scaled(self, factor: NDArray[np.float64]) -> "OutcomeEstimate":
        """Value and error multiplied, for example by 1/sin(phi) for the memory's own Pauli."""
        return OutcomeEstimate(
            self.value * factor, self.standard_error * np.abs(factor), self.mitigation
        )


@dataclass(frozen=True, eq=False)
class SequenceEstimate:
    """Estimates of all parities of a program's record, for each row.

    Attributes:
        readouts: parities of each timestep's bits, `(num_rows, num_timesteps, num_parities)`.
        final: parities of the final measurement, `(num_rows, num_parities)`, in the row's basis.
    """

    readouts: OutcomeEstimate
    final: OutcomeEstimate


def estimate_sequence(
    program: SequenceProgram,
    bits: NDArray[np.uint8],
    mitigation: Mitigation = "none",
    calibration: ReadoutCalibration | None = None,
    *,
    readout_bits: NDArray[np.uint8] | None = None,
) -> SequenceEstimate:
    """Parities of every timestep and of the final measurement, with standard errors.

    `local` inverts each bit's error by itself, `m3` corrects the joint counts of a timestep (and
    of the final measurement) with mthree. Both correct what was *reported*: a branch taken on a
    misread steering bit is not undone by either.

    Args:
        program: what was run.
        bits: `(num_rows, num_shots, num_bits)`.
        mitigation: `none`, `local` or `m3`.
        calibration: needed unless `none`.
        readout_bits: read the timesteps from these rows instead, where rows of several final
            bases pool their shots.

    Raises:
        InputError: if the bits do not fit, the mitigation is unknown, or its calibration missing.

    Example:
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)
        >>> estimate = estimate_sequence(program, np.zeros((1, 8, 4), dtype=np.uint8))
        >>> estimate.readouts.value.tolist(), estimate.final.value.tolist()
        ([[[1.0], [1.0]]], [[1.0, 1.0]])
    """
    require(bits.ndim == 3 and bits.shape[2] == program.num_bits, "bits",
            f"must have shape (num_rows, num_shots, {program.num_bits})", bits.shape,
            "pass RunResult.bits of the same program")  # fmt: skip
    require(mitigation in get_args(Mitigation), "mitigation", "must be none, local or m3",
            mitigation, "local is the default choice")  # fmt: skip
    if mitigation != "none" and calibration is None:
        raise InputError(
            f"calibration: mitigation {mitigation!r} needs one, got None; "
            "run run_calibration(executor, compiled, num_shots)"
        )
    pooled = bits if readout_bits is None else readout_bits
    a = program.cell.num_readouts
    groups = [range(a * t, a * (t + 1)) for t in range(program.num_timesteps)] if a else []
    readouts = [
        _estimate_group(pooled, group, program.readout_parities, mitigation, calibration)
        for group in groups
    ]
    final_bits = range(a * program.num_timesteps, program.num_bits)
    final = _estimate_group(bits, final_bits, program.final_parities, mitigation, calibration)
    if readouts:
        value, error = (np.stack(parts, axis=1) for parts in zip(*readouts, strict=True))
    else:
        value = error = np.zeros((len(pooled), program.num_timesteps, 0))
    return SequenceEstimate(
        OutcomeEstimate(value, error, mitigation), OutcomeEstimate(*final, mitigation)
    )


_Estimate = tuple[NDArray[np.float64], NDArray[np.float64]]


def _estimate_group(
    bits: NDArray[np.uint8],
    group: range,
    parities: ParitySet,
    mitigation: Mitigation,
    calibration: ReadoutCalibration | None,
) -> _Estimate:
    """Values and standard errors `(num_rows, num_parities)` of one register's parities."""
    part = bits[:, :, group.start : group.stop]
    if mitigation == "none" or calibration is None:
        signs = 1.0 - 2.0 * part.astype(np.float64)
        return _mean_products(signs, parities, np.ones(len(group)))
    local = _local_inverse(part, group, parities, calibration)
    if mitigation == "local":
        return local
    require(len(group) <= M3_MAX_BITS, "mitigation",
            f"m3 must act on marginals of at most {M3_MAX_BITS} bits", len(group),
            "use 'local': M3 tends to the identity on long records")  # fmt: skip
    value, shot_error = correct_parities(part, [calibration.matrix(bit) for bit in group], parities)
    calibration_error = _calibration_error(value, group, parities, calibration)
    return value, np.hypot(shot_error, calibration_error)


def _mean_products(
    signs: NDArray[np.float64], parities: ParitySet, contrast: NDArray[np.float64]
) -> _Estimate:
    """Mean over shots of products of per-bit values `(num_rows, num_shots, num_bits)`.

    The two values of a bit lie 2/contrast apart.
    """
    num_shots = signs.shape[1]
    values, errors = [], []
    for subset in parities.subsets:
        product = signs[:, :, list(subset)].prod(axis=2)
        values.append(product.mean(axis=1))
        # An empirical variance of 0 over few shots is no certainty: one opposite outcome in
        # num_shots + 2 is always conceded.
        spread = np.ptp(product, axis=1) if num_shots > 1 else np.zeros(len(product))
        step = 2.0 / contrast[list(subset)].prod()
        floor = np.where(spread > 0, 0.0, step / np.sqrt(num_shots + 2.0))
        deviation = product.std(axis=1, ddof=1 if num_shots > 1 else 0)
        errors.append(np.maximum(deviation, floor) / np.sqrt(num_shots))
    return np.stack(values, axis=1), np.stack(errors, axis=1)


def _local_inverse(
    part: NDArray[np.uint8], group: range, parities: ParitySet, calibration: ReadoutCalibration
) -> _Estimate:
    """Unbiased per-shot values [(1 - 2c) - (e1 - e0)] / (1 - e0 - e1), multiplied and averaged."""
    bits = slice(group.start, group.stop)
    offset = calibration.e1[bits] - calibration.e0[bits]
    contrast = calibration.contrast[bits]
    signs = (1.0 - 2.0 * part - offset) / contrast
    value, shot_error = _mean_products(signs, parities, contrast)
    return value, np.hypot(shot_error, _calibration_error(value, group, parities, calibration))


def _calibration_error(
    value: NDArray[np.float64], group: range, parities: ParitySet, calibration: ReadoutCalibration
) -> NDArray[np.float64]:
    """First-order error of mitigated parities from the calibration's own statistics.

    z = (m - e1 + e0) / (1 - e0 - e1), so dz/de0 = (z + 1)/contrast, dz/de1 = (z - 1)/contrast.
    In a product the other factors multiply both terms: the 1 becomes the parity of the rest.
    """
    column_of = {subset: column for column, subset in enumerate(parities.subsets)}
    errors = []
    for column, subset in enumerate(parities.subsets):
        variance = np.zeros(len(value))
        for index in subset:
            bit = group[index]
            rest = tuple(other for other in subset if other != index)
            parity, rest_parity = value[:, column], value[:, column_of[rest]] if rest else 1.0
            contrast = calibration.contrast[bit]
            variance += ((parity + rest_parity) * calibration.e0_error[bit] / contrast) ** 2
            variance += ((parity - rest_parity) * calibration.e1_error[bit] / contrast) ** 2
        errors.append(np.sqrt(variance))
    return np.stack(errors, axis=1)
