"""TorchQuantum: one ``QuantumDevice`` for the whole batch, functional gates, torch autograd."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

from model import StepInputs, StepWeights, build_sim14_gates, read_paulis, run_autograd_step
from torch import Tensor

# `import torchquantum` (0.1.8) loads these at the top although no statevector gate uses them:
# qiskit below 1.0 with its former aer and pulse packages, which excludes the qiskit this project
# needs; and its own data sets, which want torchvision and torchpack's tensorpack. They are stubbed.
UNUSED_IMPORTS = ("qiskit", "qiskit_ibm_runtime", "qiskit_aer", "torchquantum.dataset")


class _StubClass:
    """Takes any arguments: torchquantum instantiates one of qiskit's classes while importing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


class _StubModule(ModuleType):
    """A module of which every name is a ``_StubClass``."""

    __file__ = "<stub>"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_StubClass,), {})


class _StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if _is_unused(fullname):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> ModuleType:
        return _StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return None


def _is_unused(name: str) -> bool:
    return any(name == root or name.startswith(root + ".") for root in UNUSED_IMPORTS)


def _load_torchquantum() -> tuple[ModuleType, ModuleType]:
    """Import torchquantum with stubs for ``UNUSED_IMPORTS``, and restore the real ones."""
    finder = _StubFinder()
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_unused(name)}
    sys.meta_path.insert(0, finder)
    try:
        package = importlib.import_module("torchquantum")
        functional = importlib.import_module("torchquantum.functional")
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if _is_unused(name)]:
            del sys.modules[name]
        sys.modules.update(hidden)
    return package, functional


tq, tqf = _load_torchquantum()


class TorchQuantumEngine:
    """Gates as TorchQuantum runs them by default: per-sample matrices and ``torch.bmm``.

    ``comp_method="einsum"`` is the other choice it offers.
    """

    description = f"torchquantum {tq.__version__}, functional gates, bmm, complex64"

    def __init__(self, num_qubits: int, comp_method: str = "bmm") -> None:
        self.num_qubits = num_qubits
        self.comp_method = comp_method
        self.calls = [
            (getattr(tqf, name), list(qubits)) for name, qubits in build_sim14_gates(num_qubits)
        ]

    def step(self, weights: StepWeights, inputs: StepInputs) -> tuple[Tensor, StepWeights]:
        """Return the loss and its gradient by every weight."""
        self.device = tq.QuantumDevice(
            n_wires=self.num_qubits, bsz=inputs.features.shape[0], device="cpu"
        )
        try:
            return run_autograd_step(self, weights, inputs)
        finally:
            # The device holds the last state, and with it the whole graph.
            del self.device

    def prepare_zero_states(self, num_samples: int) -> Tensor:
        """Return (num_samples, 2, ..., 2), the device's own state."""
        self.device.reset_states(num_samples)
        return self.device.states

    def advance(self, states: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        """States and expectations after one sim14 layer."""
        states = self.apply_layer(states, angles)
        return states, read_paulis(states, self.num_qubits)

    def apply_layer(self, states: Tensor, angles: Tensor) -> Tensor:
        """Apply one sim14 layer to the device's state, which ``states`` already is."""
        for slot, (gate, qubits) in enumerate(self.calls):
            gate(self.device, wires=qubits, params=angles[:, slot], comp_method=self.comp_method)
        return self.device.states
