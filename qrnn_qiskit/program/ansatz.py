"""The parametrised circuit U(theta) that a timestep applies to the memory qubits."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Literal, get_args

from qrnn_qiskit.errors import require

AnsatzName = Literal["sim14", "line", "brick"]
GateName = Literal["ry", "crx", "rzz"]


@dataclass(frozen=True)
class Rotation:
    """One gate of the ansatz, driven by one angle.

    `qubits` is `(target,)` for `ry`, `(control, target)` for `crx`, the pair for `rzz`;
    `angle` is the index into the angles of a timestep, which are numbered as gates are applied.
    """

    gate: GateName
    qubits: tuple[int, ...]
    angle: int


@dataclass(frozen=True)
class Ansatz:
    """An ansatz family on `num_memory` qubits, `num_layers` layers deep.

    * `sim14`: circuit 14 of Sim, Johnson and Aspuru-Guzik (2019), in the published gate order:
      RY on all, a ring of CRX, RY on all, the reversed ring; 4n angles a layer.
    * `line`: CRX down an open chain, RY on all, CRX up the chain, both sweeps in the same order
      so that consecutive sweeps pipeline; 3n - 2 angles a layer.
    * `brick`: RY on all, RZZ on even edges, RY on all, RZZ on odd edges of a chain;
      3n - 1 angles a layer.

    Raises:
        InputError: if a family is unknown, there are fewer than two qubits or no layer.

    Example:
        >>> ansatz = Ansatz("brick", num_memory=4, num_layers=1)
        >>> ansatz.num_angles
        11
        >>> ansatz.rotations[4]
        Rotation(gate='rzz', qubits=(0, 1), angle=4)
    """

    name: AnsatzName
    num_memory: int
    num_layers: int = 1

    def __post_init__(self) -> None:
        names = get_args(AnsatzName)
        require(self.name in names, "ansatz", f"must be one of {', '.join(names)}", self.name,
                "choose one of these families")  # fmt: skip
        require(self.num_memory >= 2, "num_memory", "must be at least 2", self.num_memory,
                "an entangling circuit needs two qubits")  # fmt: skip
        require(self.num_layers >= 1, "num_layers", "must be at least 1", self.num_layers,
                "use one layer or more")  # fmt: skip

    @cached_property
    def rotations(self) -> tuple[Rotation, ...]:
        """All gates of one timestep, in the order in which they are applied."""
        layer = _LAYERS[self.name](self.num_memory) * self.num_layers
        return tuple(Rotation(gate, qubits, angle) for angle, (gate, qubits) in enumerate(layer))

    @property
    def num_angles(self) -> int:
        """Number of angles that the controller supplies for one timestep."""
        return len(self.rotations)

    @cached_property
    def segments(self) -> tuple[tuple[bool, tuple[Rotation, ...]], ...]:
        """Maximal runs of gates that are all single-qubit (`True`) or all entangling (`False`)."""
        runs = groupby(self.rotations, key=lambda rotation: rotation.gate == "ry")
        return tuple((single, tuple(rotations)) for single, rotations in runs)

    @cached_property
    def steered_angles(self) -> tuple[bool, ...]:
        """For each angle, whether it drives a single-qubit rotation."""
        return tuple(rotation.gate == "ry" for rotation in self.rotations)


_Gates = list[tuple[GateName, tuple[int, ...]]]


def _ry_on_all(num_memory: int) -> _Gates:
    return [("ry", (qubit,)) for qubit in range(num_memory)]


def _sim14_layer(n: int) -> _Gates:
    ring: _Gates = [("crx", (control, (control + 1) % n)) for control in reversed(range(n))]
    reversed_ring: _Gates = [
        ("crx", (control % n, (control - 1) % n)) for control in range(n - 1, 2 * n - 1)
    ]
    return _ry_on_all(n) + ring + _ry_on_all(n) + reversed_ring


def _line_layer(n: int) -> _Gates:
    down: _Gates = [("crx", (qubit, qubit + 1)) for qubit in range(n - 1)]
    up: _Gates = [("crx", (qubit + 1, qubit)) for qubit in range(n - 1)]
    return down + _ry_on_all(n) + up


def _brick_layer(n: int) -> _Gates:
    even: _Gates = [("rzz", (qubit, qubit + 1)) for qubit in range(0, n - 1, 2)]
    odd: _Gates = [("rzz", (qubit, qubit + 1)) for qubit in range(1, n - 1, 2)]
    return _ry_on_all(n) + even + _ry_on_all(n) + odd


_LAYERS = {"sim14": _sim14_layer, "line": _line_layer, "brick": _brick_layer}
