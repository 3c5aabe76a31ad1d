"""Runs that several test modules read, trained once."""

import shutil

import pytest

from qrnn_qiskit.studies import run_training
from tests.unit.studies.jobs import FEEDFORWARD, HOST, spec_of


@pytest.fixture(scope="session")
def trained_feedforward(tmp_path_factory):
    """Result of the feedforward job; read only."""
    return run_training(spec_of(FEEDFORWARD), runs_root=tmp_path_factory.mktemp("feedforward"))


@pytest.fixture(scope="session")
def trained_host(tmp_path_factory):
    """Result of the host job; read only."""
    return run_training(spec_of(HOST), runs_root=tmp_path_factory.mktemp("host"))


@pytest.fixture
def own_copy(tmp_path):
    """A copy of a result's run directory, to write to; returns the folder of runs."""

    def copy(result):
        root = tmp_path / "runs"
        shutil.copytree(result.run, root / result.run.name)
        return root

    return copy
