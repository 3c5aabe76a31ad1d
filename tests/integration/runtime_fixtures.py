"""Fixtures of tests of `RuntimeExecutor` against a loopback server, for `conftest.py`."""

import numpy as np
import pytest

from qrnn_qiskit.execution import RunRequest
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.ledger import Ledger
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.integration.runtime_setting import (
    LIMITS,
    NUM_ROWS,
    NUM_SHOTS,
    PATIENCE,
    build_device,
)
from tests.loopback import LoopbackServer


@pytest.fixture(scope="module")
def server():
    with LoopbackServer() as server:
        yield server


@pytest.fixture(scope="module")
def backend(server):
    return server.service().backend("ibm_boston", use_fractional_gates=None)  # as `fetch_backend`


@pytest.fixture(scope="module")
def device():
    return build_device()


@pytest.fixture(scope="module")
def compiled(device):
    """Dynamic, with measure_2, reset_2 and rzz."""
    cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),), "feedforward")
    return device.compile(SequenceProgram(cell, 2))


@pytest.fixture
def request_(compiled, rng):
    rows = rng.uniform(-np.pi, np.pi, (NUM_ROWS, compiled.program.slots.num_slots))
    return RunRequest(compiled, rows, NUM_SHOTS, seed=int(rng.integers(2**62)))


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "jobs.db") as ledger:
        yield ledger


@pytest.fixture
def build(backend, ledger, device):
    clients = []

    def build(mode="batch", call_seconds=30.0, **settings):
        clients.append(RuntimeClient(backend, mode, call_seconds=call_seconds))
        settings = {"limits": LIMITS, "patience": PATIENCE} | settings
        return RuntimeExecutor(clients[-1], ledger, device, **settings)

    yield build
    for client in clients:
        client.close()
