"""Vector-Jacobian products of features that were measured, not simulated."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import pi
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qrnn_qiskit.errors import require
from qrnn_qiskit.estimation.evaluators import Evaluator
from qrnn_qiskit.execution import SeedStream
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate import exact_features

Array = NDArray[np.float64]
PullBack = Callable[[Array], Array]

# Rows of one request while shifting or perturbing, times final bases: bounds memory.
ROWS_PER_REQUEST = 4096
# Weight of older batches in the damping fit: an average over the last ten or so.
_FIT_DECAY = 0.9


class GradientEstimator(Protocol):
    """Linearises features around measured ones."""

    def linearise(self, controls: Array, features: Array) -> PullBack:
        """From `d loss / d features` to `d loss / d controls`, both `(num_rows, ...)`."""
        ...


@dataclass(frozen=True)
class SurrogateBias:
    """How far the device is from the damped exact engine, on the latest batches.

    Attributes:
        damping: fitted factor between exact and measured features, one per timestep and one per
            final basis.
        residual_rms: root mean square of measured minus damped exact features.
    """

    damping: tuple[float, ...]
    residual_rms: float


@dataclass
class Surrogate:
    """The exact engine's Jacobian at the same controls, damped as the device's readouts are.

    No extra circuits. The damping of each timestep is fitted by least squares of measured on
    exact features, over the latest batches; the bias that is left is reported by `bias`.
    With exact features it is autograd to the last bit. The exact engine has one phi for all
    rows: its derivative is that of all rows together, and stands in the first one.
    """

    program: SequenceProgram
    _measured_exact: Array | None = field(default=None, repr=False)
    _exact_exact: Array | None = field(default=None, repr=False)
    _residual: float = float("nan")

    def linearise(self, controls: Array, features: Array) -> PullBack:
        """See `GradientEstimator.linearise`.

        Raises:
            InputError: if rows differ in phi.
        """
        variable = torch.from_numpy(controls.copy()).requires_grad_()
        with torch.enable_grad():
            exact = exact_features(self.program, variable)
        damping = self._fit(exact.detach().numpy(), features)

        def pull_back(gradient: Array) -> Array:
            damped = torch.from_numpy(np.ascontiguousarray(gradient * damping))
            (result,) = torch.autograd.grad(exact, variable, damped, retain_graph=True)
            return result.numpy()

        return pull_back

    @property
    def bias(self) -> SurrogateBias:
        """Damping and residual so far."""
        return SurrogateBias(tuple(float(x) for x in self._factors()), self._residual)

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint keeps of the fit, as plain numbers."""
        fitted = self._measured_exact is not None and self._exact_exact is not None
        return {
            "measured_exact": self._measured_exact.tolist() if fitted else None,  # type: ignore[union-attr]
            "exact_exact": self._exact_exact.tolist() if fitted else None,  # type: ignore[union-attr]
            "residual": self._residual,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict`."""
        fitted = state["measured_exact"] is not None
        self._measured_exact = np.array(state["measured_exact"]) if fitted else None
        self._exact_exact = np.array(state["exact_exact"]) if fitted else None
        self._residual = float(state["residual"])

    def _groups(self) -> NDArray[np.intp]:
        """Group of each feature: its timestep, or its final basis."""
        readouts, final = self.program.readout_parities.size, self.program.final_parities.size
        timesteps = np.repeat(np.arange(self.program.num_timesteps), readouts)
        bases = np.repeat(np.arange(len(self.program.final_bases)), final)
        return np.concatenate((timesteps, bases + self.program.num_timesteps))

    def _factors(self) -> Array:
        if self._measured_exact is None or self._exact_exact is None:
            return np.ones(self.program.num_timesteps + len(self.program.final_bases))
        # One pseudo-observation of no damping keeps features near zero from being fitted to noise.
        return (self._measured_exact + 1.0) / (self._exact_exact + 1.0)

    def _fit(self, exact: Array, measured: Array) -> Array:
        groups = self._groups()
        num_groups = self.program.num_timesteps + len(self.program.final_bases)
        crossed, squared = (
            np.bincount(groups, sums, num_groups).astype(np.float64)
            for sums in ((measured * exact).sum(axis=0), (exact * exact).sum(axis=0))
        )
        if self._measured_exact is None or self._exact_exact is None:
            self._measured_exact, self._exact_exact = crossed, squared
        else:
            self._measured_exact = _FIT_DECAY * self._measured_exact + crossed
            self._exact_exact = _FIT_DECAY * self._exact_exact + squared
        damping = self._factors()[groups]
        self._residual = float(np.sqrt(np.mean((measured - damping * exact) ** 2)))
        return damping


@dataclass(frozen=True)
class ParameterShift:
    """The exact rule f' = (f(+pi/2) - f(-pi/2))/2 on every slot, one Pauli rotation each.

    Args:
        evaluator: runs the shifted rows.
        last_timesteps: shift only slots of the last k timesteps; all unless given. The gradient
            of earlier timesteps is then missing.

    Cost: `2 * num_driven_slots` rows for each row of controls.
    """

    evaluator: Evaluator
    last_timesteps: int | None = None

    def __post_init__(self) -> None:
        require(self.last_timesteps is None or self.last_timesteps >= 1, "last_timesteps",
                "must be at least 1", self.last_timesteps, "leave it out to shift all")  # fmt: skip

    def shifted_slots(self) -> NDArray[np.intp]:
        """Indices of the slots that are shifted."""
        program = self.evaluator.program
        first = 1
        if self.last_timesteps is not None:
            first = program.num_timesteps - self.last_timesteps + 1
        slots = program.slots
        return np.array([i for i in slots.driven if slots.slots[i].timestep >= first], np.intp)

    def linearise(self, controls: Array, features: Array) -> PullBack:
        """See `GradientEstimator.linearise`; shots are spent in the pull-back."""
        slots = self.evaluator.program.slots
        base = slots.values(controls)
        shifted = self.shifted_slots()

        def pull_back(gradient: Array) -> Array:
            slot_gradient = np.zeros_like(base)
            step = max(1, ROWS_PER_REQUEST // (2 * len(base)))
            for start in range(0, len(shifted), step):
                chosen = shifted[start : start + step]
                rows = np.tile(base, (2 * len(chosen), 1, 1))
                for index, slot in enumerate(chosen):
                    rows[2 * index, :, slot] += pi / 2
                    rows[2 * index + 1, :, slot] -= pi / 2
                values = self.evaluator.evaluate_slots(rows.reshape(-1, base.shape[1])).value
                values = values.reshape(len(chosen), 2, len(base), -1)
                difference = (values[:, 0] - values[:, 1]) / 2
                slot_gradient[:, chosen] = np.einsum("sbk,bk->bs", difference, gradient)
            return slots.pull_back(slot_gradient)

        return pull_back


@dataclass(frozen=True)
class Spsa:
    """Simultaneous perturbation of all controls along random signs.

    Unbiased up to order `radius_rad` squared, but its variance grows with the number of controls
    and explodes through recurrence: an explicit choice, not a default.

    Args:
        evaluator: runs the perturbed rows.
        num_directions: random directions averaged.
        radius_rad: length of the step along each control.
        seeds: of the directions.

    Cost: `2 * num_directions` rows for each row of controls.
    """

    evaluator: Evaluator
    num_directions: int = 8
    radius_rad: float = 0.1
    seeds: SeedStream = field(default_factory=lambda: SeedStream(0))

    def __post_init__(self) -> None:
        require(self.num_directions >= 1, "num_directions", "must be at least 1",
                self.num_directions, "use one direction or more")  # fmt: skip
        require(self.radius_rad > 0, "radius_rad", "must be positive", self.radius_rad,
                "0.1 is a common choice")  # fmt: skip

    def linearise(self, controls: Array, features: Array) -> PullBack:
        """See `GradientEstimator.linearise`; shots are spent in the pull-back."""

        def pull_back(gradient: Array) -> Array:
            rng = np.random.default_rng(self.seeds.draw())
            signs = rng.choice([-1.0, 1.0], size=(self.num_directions, *controls.shape))
            total = np.zeros_like(controls)
            step = max(1, ROWS_PER_REQUEST // (2 * len(controls)))
            for start in range(0, self.num_directions, step):
                # Many directions in one request, which on a device is one job.
                chosen = signs[start : start + step]
                ways = self.radius_rad * np.stack((chosen, -chosen))
                rows = (controls + ways).reshape(-1, controls.shape[1])
                values = self.evaluator.evaluate(rows).value
                plus, minus = values.reshape(2, *chosen.shape[:2], -1)
                slopes = ((plus - minus) * gradient).sum(axis=-1, keepdims=True)
                total += (slopes / (2 * self.radius_rad) * chosen).sum(axis=0)
            return total / self.num_directions

        return pull_back
