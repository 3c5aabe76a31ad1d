"""Fixtures for tests with a loopback server; import them into a conftest.

`from tests.loopback.fixtures import loopback, quick_client, quick_retries  # noqa: F401`, or
`pytest_plugins = ["tests.loopback.fixtures"]` in a test module.
"""

from collections.abc import Iterator

import pytest
from urllib3.util.retry import Retry

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
