"""Fixtures of tests with a loopback server, for a `conftest.py`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
from urllib3.util.retry import Retry

from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.execution import Executor
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.pacing import Backoff, Patience
from qrnn_qiskit.studies import AerSpec, build_noisy_target, runtime_target
from qrnn_qiskit.studies.device import _load_backend, _open
from tests.loopback.devices import Device
from tests.loopback.server import LoopbackServer


@pytest.fixture
def quick_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client without its usage statistics.

    For them it looks at the source of every frame on the stack, at every request (0.51,
    RetrySession.request): tens of milliseconds under pytest.
    """
    monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")


@pytest.fixture
def loopback(quick_client: None) -> Iterator[LoopbackServer]:
    """A premium instance with ibm_boston, ideal, jobs without delays."""
    with LoopbackServer() as server:
        yield server


@pytest.fixture
def quick_retries(quick_client: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's retries without the waiting between them, 0, 1, 2, 4 and 8 s.

    A Retry-After header is obeyed as ever.
    """
    monkeypatch.setattr(Retry, "get_backoff_time", lambda self: 0.0)


@pytest.fixture
def boston(quick_retries: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackServer]:
    """`ibm_boston` for the studies, with the errors that `[aer]` simulates, as quick as it gets."""
    with serve_boston(monkeypatch) as server:
        yield server


@contextmanager
def serve_boston(patch: pytest.MonkeyPatch, **patience: object) -> Iterator[LoopbackServer]:
    """What the fixture `boston` is, for other scopes, and with more settings of `Patience`."""
    quick = {"poll": Backoff(0.02, 1.0, 0.02), "settle_seconds": 0.0}
    patch.setattr(
        runtime_target,
        "RuntimeExecutor",
        partial(
            RuntimeExecutor,
            limits=replace(HardwareLimits(), posts_per_minute=10_000),
            patience=Patience(**quick | patience),
        ),
    )
    with LoopbackServer(make_executor=waiting_executor) as server, server.use_environment():
        _open.cache_clear()
        _load_backend.cache_clear()
        yield server
    _open.cache_clear()
    _load_backend.cache_clear()


def waiting_executor(device: Device) -> Executor:
    """What `[aer]` runs on, on the other side of the service."""
    return build_noisy_target(AerSpec(backend=device.fake_name)).executor
