"""How the real client finds a loopback server: by public options and environment variables."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from qiskit_ibm_runtime import QiskitRuntimeService

from tests.loopback.account import CRN, TOKEN
from tests.loopback.handler import API_PATH


def environment(base_url: str) -> dict[str, str]:
    """Variables with which a plain `QiskitRuntimeService()` reaches a server.

    The path holds the word that keeps the client from rewriting the URL, see `API_PATH`.
    """
    return {
        "IAM_URL": base_url,
        "GLOBAL_SEARCH_URL": base_url,
        "GLOBAL_CATALOG_URL": f"{base_url}/catalog",
        "QISKIT_IBM_CHANNEL": "ibm_quantum_platform",
        "QISKIT_IBM_TOKEN": TOKEN,
        "QISKIT_IBM_INSTANCE": CRN,
        "QISKIT_IBM_URL": base_url + API_PATH,
        # A proxy of the machine's does not know the way back.
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


@contextlib.contextmanager
def use_environment(base_url: str) -> Iterator[None]:
    """Sets `environment`, and restores what was there."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(base_url).items():
            patch.setenv(name, value)
        yield


def open_service(base_url: str) -> QiskitRuntimeService:
    """A service that is logged in at a server."""
    with use_environment(base_url):
        return QiskitRuntimeService(
            channel="ibm_quantum_platform",
            token=TOKEN,
            instance=CRN,
            url_resolver=lambda *ignored: base_url + API_PATH,
        )


class RemoteLoopback:
    """A server in another process, seen from a test.

    Args:
        base_url: that it printed, see `__main__`.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    @property
    def environment(self) -> dict[str, str]:
        """As of `LoopbackServer`."""
        return environment(self.base_url)

    def service(self) -> QiskitRuntimeService:
        """As of `LoopbackServer`."""
        return open_service(self.base_url)

    @property
    def state(self) -> dict[str, Any]:
        """Jobs, requests and executions."""
        return json.loads(self._call("GET", "state"))

    @property
    def executions(self) -> dict[str, int]:
        """As of `LoopbackServer`."""
        return self.state["executions"]

    def add_fault(self, kind: str, **settings: Any) -> None:
        """A `Fault` by its fields."""
        self._call("POST", "faults", {"type": "fault", "kind": kind, **settings})

    def add_job_fault(self, kind: str, **settings: Any) -> None:
        """A `JobFault` by its fields."""
        self._call("POST", "faults", {"type": "job_fault", "kind": kind, **settings})

    def expire_session(self, session_id: str) -> None:
        """As of `LoopbackServer`."""
        self._call("POST", f"sessions/{session_id}/expire")

    def _call(self, method: str, path: str, content: dict[str, Any] | None = None) -> bytes:
        url = f"{self.base_url}{API_PATH}/loopback/{path}"
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(url, data=body, method=method)
        # No proxy, see `environment`.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            return response.read()
