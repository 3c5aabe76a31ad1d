"""Who computes the readouts: the exact engine or an executor, behind one interface."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from qrnn_qiskit.compiling import CompiledProgram, compile_logical
from qrnn_qiskit.errors import require
from qrnn_qiskit.estimation import (
    GradientEstimator,
    Mitigation,
    ParameterShift,
    Recalibration,
    ShotEvaluator,
    Spsa,
    Surrogate,
)
from qrnn_qiskit.execution import Executor, SeedStream
from qrnn_qiskit.learning.quantum_layer import QuantumLayer, SequenceNetwork
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate import exact_features, start_host, step_host

GradientName = Literal["surrogate", "parameter_shift", "spsa"]


class HostSession(Protocol):
    """A batch of sequences in the `host` loop, between two timesteps."""

    def step(self, angles: Tensor) -> Tensor:
        """Readouts `(batch, 3 n)` after one more timestep with angles `(batch, num_angles)`."""
        ...


class SequenceEngine(Protocol):
    """Computes features of a program from tensors, with gradients."""

    def run(self, program: SequenceProgram, controls: Tensor) -> Tensor:
        """Features `(batch, num_features)` of controls `(batch, num_controls)`."""
        ...

    def start_host(self, program: SequenceProgram, batch_size: int, like: Tensor) -> HostSession:
        """Begins the `host` loop in the dtype and on the device of `like`."""
        ...


class ExactEngine:
    """Exact readouts by autograd; in the dtype and on the device of the controls."""

    def run(self, program: SequenceProgram, controls: Tensor) -> Tensor:
        """See `SequenceEngine.run`."""
        return exact_features(program, controls)

    def start_host(self, program: SequenceProgram, batch_size: int, like: Tensor) -> HostSession:
        """See `SequenceEngine.start_host`."""
        return _ExactHostSession(program, batch_size, like)


class _ExactHostSession:
    def __init__(self, program: SequenceProgram, batch_size: int, like: Tensor) -> None:
        self._state = start_host(
            program.cell.ansatz, batch_size, dtype=like.dtype, device=like.device
        )

    def step(self, angles: Tensor) -> Tensor:
        self._state, paulis = step_host(self._state, angles)
        return paulis.flatten(1)


@dataclass
class ShotEngine:
    """Readouts from the shots of an executor, through a `QuantumLayer`.

    Each program (in the `host` loop: each prefix) is compiled once. If readouts are mitigated, its
    first request holds its calibration, and later ones as `calibrate_every` says.

    Args:
        executor: who runs the shots.
        num_shots: of each row and final basis.
        compile_program: for the executor's target; the logical circuit unless given.
        mitigation: of the readouts.
        gradient: `surrogate`, `parameter_shift` or `spsa`.
        last_timesteps: of `parameter_shift`.
        num_directions: of `spsa`.
        calibration_shots: of each of the four calibration rows.
        calibrate_every: requests of a program that share one calibration; all if None.
        seed: of everything random.

    Raises:
        InputError: if the gradient or the mitigation is unknown or a number is below 1.
    """

    executor: Executor
    num_shots: int
    compile_program: Callable[[SequenceProgram], CompiledProgram] = compile_logical
    mitigation: Mitigation = "none"
    gradient: GradientName = "surrogate"
    last_timesteps: int | None = None
    num_directions: int = 8
    calibration_shots: int = 4000
    calibrate_every: int | None = None
    seed: int = 0
    _layers: dict[SequenceProgram, QuantumLayer] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        known = get_args(GradientName)
        require(self.gradient in known, "gradient", f"must be one of {', '.join(known)}",
                self.gradient, "surrogate needs no extra circuits")  # fmt: skip
        mitigations = get_args(Mitigation)
        require(self.mitigation in mitigations, "mitigation",
                f"must be one of {', '.join(mitigations)}", self.mitigation,
                "local is the default choice")  # fmt: skip
        for name in (
            "num_shots", "calibration_shots", "calibrate_every", "num_directions", "last_timesteps"
        ):  # fmt: skip
            number = getattr(self, name)
            require(number is None or number >= 1, name, "must be at least 1", number,
                    "ask for one or more")  # fmt: skip
        self._seeds = SeedStream(self.seed)

    def layer(self, program: SequenceProgram) -> QuantumLayer:
        """The quantum layer of a program, compiled at first use."""
        # By value: an id would build the circuit of every host prefix again at every step.
        if program not in self._layers:
            compiled = self.compile_program(program)
            due = Recalibration(self.calibration_shots, self.calibrate_every)
            evaluator = ShotEvaluator(
                compiled,
                self.executor,
                self.num_shots,
                self._seeds,
                self.mitigation,
                recalibration=None if self.mitigation == "none" else due,
            )
            network = SequenceNetwork(evaluator, self._build_gradient(evaluator))
            self._layers[program] = QuantumLayer(network)
        return self._layers[program]

    def run(self, program: SequenceProgram, controls: Tensor) -> Tensor:
        """See `SequenceEngine.run`.

        Cost: `batch * num_bases * num_shots` shots, and what the gradient costs.
        """
        features: Tensor = self.layer(program)(controls)
        return features

    def start_host(self, program: SequenceProgram, batch_size: int, like: Tensor) -> HostSession:
        """See `SequenceEngine.start_host`.

        Cost: `3 * batch * num_shots` shots per timestep.
        """
        return PrefixHostSession(self, program)

    @property
    def calibration_age_seconds(self) -> float | None:
        """Of the oldest calibration used in the latest request of each program; None if unknown."""
        ages = [each.calibration_age_seconds for each in self._evaluators().values()]
        known = [age for age in ages if age is not None]
        return max(known, default=None)

    def surrogates(self) -> list[Surrogate]:
        """The fitted surrogates so far, by program."""
        networks = [layer.network for layer in self._layers.values()]
        return [network.gradient for network in networks if isinstance(network.gradient, Surrogate)]

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint keeps: position in the seeds, calibrations, fits of the surrogates."""
        fits = {
            program.program_id: layer.network.gradient.state_dict()
            for program, layer in self._layers.items()
            if isinstance(layer.network.gradient, Surrogate)
        }
        calibrations = {
            program.program_id: evaluator.state_dict()
            for program, evaluator in self._evaluators().items()
        }
        return {
            "seed_position": self._seeds.position, "fits": fits, "calibrations": calibrations,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, object], programs: list[SequenceProgram]) -> None:
        """Restores `state_dict`; nothing is run."""
        layers = {program.program_id: self.layer(program) for program in programs}
        evaluators = {
            program.program_id: evaluator for program, evaluator in self._evaluators().items()
        }
        for key, calibration in state["calibrations"].items():  # type: ignore[attr-defined]
            evaluators[key].load_state_dict(calibration)
        self._seeds.position = int(state["seed_position"])  # type: ignore[call-overload]
        for key, fit in state["fits"].items():  # type: ignore[attr-defined]
            gradient = layers[key].network.gradient
            if isinstance(gradient, Surrogate):
                gradient.load_state_dict(fit)

    def _evaluators(self) -> dict[SequenceProgram, ShotEvaluator]:
        layers = self._layers.items()
        return {program: layer.network.evaluator for program, layer in layers}  # type: ignore[misc]

    def _build_gradient(self, evaluator: ShotEvaluator) -> GradientEstimator:
        if self.gradient == "parameter_shift":
            return ParameterShift(evaluator, self.last_timesteps)
        if self.gradient == "spsa":
            # The engine's own stream: prefixes of the host loop need independent directions, or
            # the product of their Jacobians is biased; and a checkpoint keeps its position.
            return Spsa(evaluator, self.num_directions, seeds=self._seeds)
        return Surrogate(evaluator.program)


class PrefixHostSession:
    """The prefix of length t is run again for every t: O(T^2) timesteps, the paper's semantics."""

    def __init__(self, engine: SequenceEngine, program: SequenceProgram) -> None:
        self._engine = engine
        self._program = program
        self._angles: list[Tensor] = []

    def step(self, angles: Tensor) -> Tensor:
        """See `HostSession.step`."""
        self._angles.append(angles)
        prefix = self._program.prefix(len(self._angles))
        return self._engine.run(prefix, torch.cat(self._angles, dim=1))
