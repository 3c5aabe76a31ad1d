"""What each instruction of a compiled circuit does to a noisy device's qubits, as channels."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter
from qiskit.circuit.library import PhaseGate, RXGate, RYGate, RZGate, RZZGate
from qiskit.quantum_info import Operator

from qrnn_qiskit.devices import DeviceNoise
from qrnn_qiskit.errors import require
from qrnn_qiskit.simulate.noisy.angles import AngleTable
from qrnn_qiskit.simulate.noisy.chains import Chain, Core
from qrnn_qiskit.simulate.noisy.channels import (
    Matrix,
    gate_error,
    relaxation_channel,
    rotation_at,
    rotation_terms,
    transfer_matrix,
)
from qrnn_qiskit.simulate.noisy.circuit import SimpleInstruction

_ROTATIONS = {"rz": RZGate, "p": PhaseGate, "rx": RXGate, "ry": RYGate, "rzz": RZZGate}
_SQRT_HALF = 0.5**0.5
_H = np.array([[_SQRT_HALF, _SQRT_HALF], [_SQRT_HALF, -_SQRT_HALF]])
# Turn Z into the axis of a rotation: X = H Z H, Y = S X S^dagger.
_FRAMES = {"rx": transfer_matrix(_H), "ry": transfer_matrix(np.diag([1, 1j]) @ _H)}


class NoisyGates:
    """Channels of the instructions of one circuit.

    Args:
        noise: of the circuit's qubits.
        angles: of its parameters.
    """

    def __init__(self, noise: DeviceNoise, angles: AngleTable) -> None:
        self._noise = noise
        self._angles = angles
        self._errors: dict[tuple[str, tuple[int, ...]], Matrix] = {}
        for gate in noise.gates:
            error = gate_error(gate, [noise.qubits[qubit] for qubit in gate.qubits])
            earlier = self._errors.get((gate.name, gate.qubits))
            self._errors[gate.name, gate.qubits] = error if earlier is None else error @ earlier
        self._fixed: dict[tuple[object, ...], Matrix] = {}

    def depends_on_basis(self, item: SimpleInstruction) -> bool:
        """Whether an instruction differs between final bases."""
        parameter = _parameter_of(item)
        return parameter is not None and self._angles.depends_on_basis(parameter.name)

    def extend(self, item: SimpleInstruction, chain: Chain, basis: int) -> Chain:
        """A qubit's chain after a one-qubit gate or a delay."""
        parameter = _parameter_of(item)
        if parameter is None:
            return chain.then(self._fixed_channel(item))
        number, angle = self._angles.find(parameter.name, basis)
        if angle is None:
            terms = rotation_at(_terms_of(item.name), number)
            return chain.then(self._with_error(item, terms))
        frame = _FRAMES.get(item.name)
        if frame is not None:
            chain = chain.then(frame.T)
        chain = chain.then_rz(angle, self._angles.add_up)
        return chain.then(self._with_error(item, np.eye(4) if frame is None else frame))

    def core(self, item: SimpleInstruction) -> Core:
        """The channel of a two-qubit gate.

        Raises:
            InputError: if its angle depends on the final basis.
        """
        parameter = _parameter_of(item)
        if parameter is None:
            return Core((), self._fixed_channel(item)[None])
        require(not self.depends_on_basis(item), "compiled",
                "must turn to the final basis with one-qubit gates", item.name,
                "compile with another profile")  # fmt: skip
        number, angle = self._angles.find(parameter.name, 0)
        terms = _terms_of(item.name)
        if angle is None:
            return Core((), self._with_error(item, rotation_at(terms, number))[None])
        return Core((angle,), self._with_error(item, terms))

    def _with_error(self, item: SimpleInstruction, channel: Matrix) -> Matrix:
        error = self._errors.get((item.name, item.qubits))
        return channel if error is None else error @ channel

    def _fixed_channel(self, item: SimpleInstruction) -> Matrix:
        parameters = (item.duration_ns,) if item.name == "delay" else tuple(item.operation.params)
        key = (item.name, item.qubits, *parameters)
        if key not in self._fixed:
            self._fixed[key] = self._build_fixed(item)
        return self._fixed[key]

    def _build_fixed(self, item: SimpleInstruction) -> Matrix:
        if item.name == "delay":
            duration_ns = item.duration_ns * self._noise.idle_factor
            return relaxation_channel(self._noise.qubits[item.qubits[0]], duration_ns)
        require(len(item.qubits) <= 2, "circuit", "must hold gates on one or two qubits",
                item.name, "compile the program for a device")  # fmt: skip
        return self._with_error(item, transfer_matrix(Operator(item.operation).data))


def _parameter_of(item: SimpleInstruction) -> Parameter | None:
    """What its angle is bound to, if to anything."""
    parameters: Sequence[object] = item.operation.params if item.name != "delay" else ()
    bound = next((value for value in parameters if isinstance(value, Parameter)), None)
    require(bound is None or item.name in _ROTATIONS, "circuit",
            f"must have parameters in {', '.join(_ROTATIONS)} only", item.name,
            "compile the program for a device")  # fmt: skip
    return bound


@cache
def _terms_of(name: str) -> Matrix:
    gate = _ROTATIONS[name]
    matrix: Callable[[float], NDArray[np.complex128]] = lambda angle: gate(angle).to_matrix()  # noqa: E731
    return rotation_terms(matrix)
