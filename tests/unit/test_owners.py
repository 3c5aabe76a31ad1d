"""Which processes are surely gone."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from qrnn_qiskit import owners
from qrnn_qiskit.owners import Owner


def test_a_zombie_is_dead():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        owner = replace(Owner.current(), pid=process.pid, started="1")
        deadline = time.monotonic() + 30
        while owners.start_of(process.pid) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert owners.start_of(process.pid) is None
    assert owner.is_known_dead()


@pytest.mark.parametrize(
    ("error", "is_dead"), [(PermissionError, False), (ProcessLookupError, True)]
)
def test_a_process_that_the_system_hides_is_not_known_dead(monkeypatch, error, is_dead):
    """As of other users where /proc is mounted with hidepid: nothing to read, but a signal is."""

    def kill(pid, signal):
        assert (pid, signal) == (owner.pid, 0)
        raise error

    owner = replace(Owner.current(), started="1")
    monkeypatch.setattr(owners, "start_of", lambda pid: None)
    monkeypatch.setattr(os, "kill", kill)
    assert owner.is_known_dead() == is_dead
