"""How noisy readouts compare with exact ones: what is left of the signal, and what is added."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Readouts that vary less than this over samples have no slope: shots cannot resolve it.
_SMALLEST_SPREAD = 0.01


def compare_readouts(
    value: Array, standard_error: Array, exact: Array, *, num_timesteps: int, num_parities: int
) -> dict[str, Any]:
    """Numbers about noisy readouts, with jackknife standard errors over samples.

    - `standard_error`: rms over all readouts, from shots.
    - `deviation`: rms of noisy minus exact readouts, less what shots explain: the bias of a single
      readout of a single sample; 0 where shots explain all of it.
    - `bias`, `bias_error`: mean over samples of noisy minus exact, of each readout.
    - `retained`, `retained_error`: slope of noisy against exact readouts over the samples, for
      each timestep: 1 without noise, 0 if nothing is left of what the samples differ in; None
      where exact readouts hardly differ. `retained_final` is that of the final measurement.

    Args:
        value: noisy readouts, `(num_samples, num_features)`: those of all timesteps, then final
            ones.
        standard_error: of the same shape.
        exact: of the same shape.
        num_timesteps: T.
        num_parities: readouts of one timestep.

    Returns:
        Plain numbers and lists.

    Example:
        >>> exact = np.array([[0.5, 0.1], [-0.5, 0.3], [0.2, -0.9]])
        >>> found = compare_readouts(0.5 * exact, 0 * exact, exact, num_timesteps=1, num_parities=2)
        >>> found["retained"], found["retained_final"], round(found["deviation"], 3)
        ([0.5], None, 0.246)
    """
    difference = value - exact
    num_steps = num_timesteps * num_parities
    parts = [slice(t * num_parities, (t + 1) * num_parities) for t in range(num_timesteps)]
    slopes = [_retained(value[:, part], exact[:, part]) for part in parts]
    final, final_error = _retained(value[:, num_steps:], exact[:, num_steps:])
    excess, excess_error = _jackknife(
        lambda kept: float(np.mean(difference[kept] ** 2) - np.mean(standard_error[kept] ** 2)),
        len(value),
    )
    deviation = max(excess, 0.0) ** 0.5
    return {
        "standard_error": float(np.sqrt(np.mean(standard_error**2))),
        "deviation": deviation,
        # Upwards, where the root of the excess has an error even at 0.
        "deviation_error": max(excess + excess_error, 0.0) ** 0.5 - deviation,
        "bias": difference.mean(axis=0).tolist(),
        "bias_error": (np.sqrt((standard_error**2).sum(axis=0)) / len(value)).tolist(),
        "retained": [slope for slope, _ in slopes],
        "retained_error": [error for _, error in slopes],
        "retained_final": final,
        "retained_final_error": final_error,
    }


def _retained(value: Array, exact: Array) -> tuple[float | None, float | None]:
    """Slope of noisy against exact columns, each column's mean over samples taken away."""
    if exact.shape[1] == 0 or float(exact.var(axis=0).mean()) < _SMALLEST_SPREAD**2:
        return None, None

    def slope(kept: NDArray[np.bool_]) -> float:
        centred = exact[kept] - exact[kept].mean(axis=0)
        spread = float(np.sum(centred**2))
        return float(np.sum(centred * value[kept])) / spread if spread else float("nan")

    return _jackknife(slope, len(exact))


def _jackknife(
    estimate: Callable[[NDArray[np.bool_]], float], num_samples: int
) -> tuple[float, float]:
    """An estimate over samples, and its standard error from leaving out one after the other."""
    without_one = [estimate(kept) for kept in ~np.eye(num_samples, dtype=bool)]
    error = float(np.std(without_one) * np.sqrt(num_samples - 1))
    return estimate(np.ones(num_samples, dtype=bool)), error
