"""Per-test random generators: independent of the order in which tests run."""

from hashlib import sha256

import numpy as np
import pytest


@pytest.fixture
def rng(request):
    digest = sha256(request.node.nodeid.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
