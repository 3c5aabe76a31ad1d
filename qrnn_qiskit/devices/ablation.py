"""Noise with parts left out, or made stronger or weaker: which error costs what?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from qrnn_qiskit.devices.noise import DeviceNoise, GateNoise, QubitNoise
from qrnn_qiskit.errors import require

NoisePart = Literal["gates", "readout", "reset", "idle"]
Ablation = Literal[
    "all",
    "no_gates", "no_readout", "no_reset", "no_idle",
    "only_gates", "only_readout", "only_reset", "only_idle",
    "ideal",
]  # fmt: skip
"""Which parts of a device's noise are on."""

# A bit that is wrong half of the time tells nothing; more would tell it inverted.
_MOST_READOUT_ERROR = 0.5


@dataclass(frozen=True)
class NoiseFactors:
    """What each part of a device's noise is multiplied with; 0 switches it off.

    `gates` multiplies infidelities and the time that gates relax for, `readout` both errors of
    every measured bit (up to 1/2), `reset` the chance that a reset fails, `idle` the rates at
    which waiting qubits relax.

    Raises:
        InputError: if a factor is negative or not finite.
    """

    gates: float = 1.0
    readout: float = 1.0
    reset: float = 1.0
    idle: float = 1.0

    def __post_init__(self) -> None:
        for name in get_args(NoisePart):
            factor = getattr(self, name)
            require(0 <= factor < float("inf"), name, "must be a factor of at least 0", factor,
                    "0 switches it off, 1 is the device as it is")  # fmt: skip

    @staticmethod
    def of(ablation: Ablation, scale: float = 1.0) -> "NoiseFactors":
        """All parts that an ablation leaves on, times a scale.

        Raises:
            InputError: if the ablation is unknown or the scale negative.

        Example:
            >>> NoiseFactors.of("no_idle", scale=2)
            NoiseFactors(gates=2, readout=2, reset=2, idle=0.0)
        """
        names = get_args(Ablation)
        require(ablation in names, "ablation", f"must be one of {', '.join(names)}", ablation,
                "all is the device as it is")  # fmt: skip
        parts: Sequence[str] = get_args(NoisePart)
        kept = {"all": parts, "ideal": ()}.get(ablation)
        if kept is None:
            kind, _, named = ablation.partition("_")
            kept = [part for part in parts if (part == named) == (kind == "only")]
        return NoiseFactors(**{part: scale if part in kept else 0.0 for part in parts})


def scale_noise(noise: DeviceNoise, factors: NoiseFactors) -> DeviceNoise:
    """The noise with each part multiplied.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend, read_noise
        >>> noise = read_noise(load_fake_backend("fake_manila"), [0, 1])
        >>> scale_noise(noise, NoiseFactors.of("no_readout")).qubits[0].read_one_given_zero
        0.0
    """
    return replace(
        noise,
        qubits=tuple(_scale_qubit(qubit, factors) for qubit in noise.qubits),
        gates=tuple(_scale_gate(gate, factors.gates) for gate in noise.gates),
        idle_factor=noise.idle_factor * factors.idle,
    )


def _scale_qubit(qubit: QubitNoise, factors: NoiseFactors) -> QubitNoise:
    def readout(error: float) -> float:
        # What is above one half already is the device's own affair, up to its own value.
        return min(error * factors.readout, max(error, _MOST_READOUT_ERROR))

    return replace(
        qubit,
        read_one_given_zero=readout(qubit.read_one_given_zero),
        read_zero_given_one=readout(qubit.read_zero_given_one),
        reset_error=min(qubit.reset_error * factors.reset, 1.0),
    )


def _scale_gate(gate: GateNoise, factor: float) -> GateNoise:
    error, duration_ns = min(gate.error * factor, 1.0), gate.duration_ns * factor
    return replace(gate, error=error, duration_ns=duration_ns)
