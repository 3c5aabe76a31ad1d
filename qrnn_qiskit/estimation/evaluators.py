"""Controls in, features out: exactly, or from the shots of an executor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.estimation.calibration import ReadoutCalibration, run_calibrated
from qrnn_qiskit.estimation.outcomes import Mitigation, OutcomeEstimate, estimate_sequence
from qrnn_qiskit.execution import Executor, RunRequest, SeedStream
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate import exact_features


class Evaluator(Protocol):
    """Estimates the features of a program, `(num_rows, num_features)`.

    Features are the readout parities of all timesteps, then the final parities of each basis.
    """

    @property
    def program(self) -> SequenceProgram:
        """What is evaluated."""
        ...

    def evaluate(self, controls: NDArray[np.float64]) -> OutcomeEstimate:
        """Features of rows of controls, `(num_rows, num_controls)`."""
        ...

    def evaluate_slots(self, slot_values: NDArray[np.float64]) -> OutcomeEstimate:
        """Features of rows of slot values, `(num_rows, num_slots)`: what gradient shifts need."""
        ...


@dataclass(frozen=True)
class ExactEvaluator:
    """Features without shot noise, from the exact engine in double precision."""

    program: SequenceProgram

    def evaluate(self, controls: NDArray[np.float64]) -> OutcomeEstimate:
        """See `Evaluator.evaluate`.

        Raises:
            InputError: if rows differ in phi.
        """
        with torch.no_grad():
            value = exact_features(self.program, torch.from_numpy(controls)).numpy()
        return OutcomeEstimate(value, np.zeros_like(value), "none")

    def evaluate_slots(self, slot_values: NDArray[np.float64]) -> OutcomeEstimate:
        """Not available: the exact engine has autograd, and angles rather than slots.

        Raises:
            InputError: always.
        """
        raise InputError(
            "gradient: parameter_shift needs an executor, got the exact engine; "
            "use autograd or the surrogate gradient there"
        )


@dataclass(frozen=True)
class Recalibration:
    """How often requests bring the calibration of their readout along.

    Attributes:
        num_shots: of each of the four calibration rows, at least.
        every: requests that share one calibration, the first of which holds it; all if None.
    """

    num_shots: int
    every: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_shots", "every"):
            number = getattr(self, name)
            require(number is None or number >= 1, name, "must be at least 1", number,
                    "ask for one or more")  # fmt: skip


@dataclass
class ShotEvaluator:
    """Features from the shots of an executor, with readout error mitigated or not.

    Rows are repeated for each final basis; readout parities pool the shots of all repetitions.

    Args:
        compiled: the circuit.
        executor: who runs it.
        num_shots: of each row and basis.
        seeds: of the requests.
        mitigation: `none`, `local` or `m3`.
        calibration: needed unless `none`, or measured on the way as `recalibration` says.
        recalibration: calibrate in the same requests as rows; never unless given.
    """

    compiled: CompiledProgram
    executor: Executor
    num_shots: int
    seeds: SeedStream = field(default_factory=lambda: SeedStream(0))
    mitigation: Mitigation = "none"
    calibration: ReadoutCalibration | None = None
    recalibration: Recalibration | None = None
    measured_at: float | None = field(default=None, init=False)
    _num_uses: int = field(default=0, init=False, repr=False)

    @property
    def program(self) -> SequenceProgram:
        """What is evaluated."""
        return self.compiled.program

    @property
    def calibration_age_seconds(self) -> float | None:
        """How much older than the latest rows their calibration is; None if that is unknown.

        0 if both were one request.
        """
        if self.calibration is None or None in (self.calibration.measured_at, self.measured_at):
            return None
        return self.measured_at - self.calibration.measured_at  # type: ignore[operator]

    def evaluate(self, controls: NDArray[np.float64]) -> OutcomeEstimate:
        """See `Evaluator.evaluate`.

        Cost: `num_rows * num_bases * num_shots` shots.
        """
        return self.evaluate_slots(self.program.slots.values(controls))

    def evaluate_slots(self, slot_values: NDArray[np.float64]) -> OutcomeEstimate:
        """See `Evaluator.evaluate_slots`.

        Cost: `num_rows * num_bases * num_shots` shots.
        """
        return self.estimate_bits(self.run_bits(slot_values))

    def run_bits(self, slot_values: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The records of every row, `(num_bases * num_rows, num_shots, num_bits)`.

        Cost: `num_rows * num_bases * num_shots` shots, and those of a calibration if it is due.
        """
        slots, bases = self.program.slots, self.program.final_bases
        rows = np.concatenate([slots.with_basis(slot_values, basis) for basis in bases])
        request = RunRequest(self.compiled, rows, self.num_shots, self.seeds.draw())
        due = self.recalibration
        if due is not None and (
            self.calibration is None or (due.every is not None and self._num_uses >= due.every)
        ):
            result, self.calibration = run_calibrated(self.executor, request, due.num_shots)
            self._num_uses = 0
        else:
            result = self.executor.run(request)
        self._num_uses += 1
        self.measured_at = result.measured_at
        return result.bits

    def state_dict(self) -> dict[str, object]:
        """The calibration and how often it was used, as plain numbers; for checkpoints."""
        arrays = {} if self.calibration is None else self.calibration.to_arrays()
        return {
            "num_uses": self._num_uses,
            "calibration": {name: value.tolist() for name, value in arrays.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores `state_dict`."""
        self._num_uses = int(state["num_uses"])
        arrays = {name: np.array(value) for name, value in state["calibration"].items()}
        self.calibration = ReadoutCalibration.from_arrays(arrays) if arrays else None

    def estimate_bits(
        self, bits: NDArray[np.uint8], mitigation: Mitigation | None = None
    ) -> OutcomeEstimate:
        """Features from records: the same shots can be read raw and mitigated."""
        num_bases = len(self.program.final_bases)
        num_rows = len(bits) // num_bases
        chosen = mitigation or self.mitigation
        # Shots are pooled, not estimates averaged: the error of the calibration is common to all
        # bases and must not shrink with their number.
        pooled = bits.reshape(num_bases, num_rows, *bits.shape[1:]).swapaxes(0, 1)
        estimate = estimate_sequence(
            self.program,
            bits,
            chosen,
            self.calibration,
            readout_bits=pooled.reshape(num_rows, -1, bits.shape[-1]),
        )

        def features(
            readouts: NDArray[np.float64], final: NDArray[np.float64]
        ) -> NDArray[np.float64]:
            final = final.reshape(num_bases, num_rows, -1).swapaxes(0, 1)
            return np.concatenate(
                (readouts.reshape(num_rows, -1), final.reshape(num_rows, -1)), axis=1
            )

        return OutcomeEstimate(
            features(estimate.readouts.value, estimate.final.value),
            features(estimate.readouts.standard_error, estimate.final.standard_error),
            chosen,
        )
