"""Fixtures of tests against a loopback server; a module's own of the same name come first."""

from tests.integration.endings import quick_training, setting, undisturbed  # noqa: F401
from tests.integration.runtime_fixtures import (  # noqa: F401
    backend,
    build,
    compiled,
    device,
    ledger,
    request_,
    server,
)
from tests.loopback.fixtures import boston, loopback, quick_client, quick_retries  # noqa: F401
