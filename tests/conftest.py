"""Per-test random generators: independent of the order in which tests run."""

from hashlib import sha256

import numpy as np
import pytest


@pytest.fixture
def rng(request):
    digest = sha256(request.node.nodeid.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Compiled circuits and snapshots of tests stay out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QRNN_SNAPSHOTS", str(tmp_path_factory.mktemp("snapshots")))
        patch.setenv("QRNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
