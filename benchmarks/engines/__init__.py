"""One file per engine, so that a process loads only the libraries it times."""

from __future__ import annotations

import importlib

from model import Engine

ENGINE_CLASSES = {
    "ours": "OursEngine",
    "torchquantum": "TorchQuantumEngine",
    "pennylane": "PennyLaneEngine",
}


def load_engine(name: str, num_qubits: int) -> Engine:
    """Import the engine's file and build it for ``num_qubits``."""
    module = importlib.import_module(f"engines.{name}")
    engine: Engine = getattr(module, ENGINE_CLASSES[name])(num_qubits)
    return engine
