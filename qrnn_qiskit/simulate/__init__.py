"""Exact torch engines over a program: statevector for `host`, density matrices otherwise."""

from qrnn_qiskit.simulate.density import SequenceProbabilities, cell_unitaries, run_density
from qrnn_qiskit.simulate.features import exact_features, parity_features
from qrnn_qiskit.simulate.statevector import HostState, start_host, step_host

__all__ = [
    "HostState",
    "SequenceProbabilities",
    "cell_unitaries",
    "exact_features",
    "parity_features",
    "run_density",
    "start_host",
    "step_host",
]
