"""Runs that several test modules read, trained once."""

import shutil
from functools import cache

import pytest

from qrnn_qiskit.compiling import compile_for_backend
from qrnn_qiskit.devices import load_fake_backend
from qrnn_qiskit.studies import comparison, run_training
from tests.unit.studies.jobs import FEEDFORWARD, HOST, spec_of


@pytest.fixture(scope="session", autouse=True)
def _one_compilation_each():
    """Compiling for 156 qubits is most of a tiny study's time, and always gives the same."""
    backends = cache(load_fake_backend)

    @cache
    def compiled(program, name, level, seed):
        return compile_for_backend(program, backends(name), optimization_level=level, seed=seed)

    def compile_once(program, backend, *, optimization_level, seed):
        return compiled(program, backend.name, optimization_level, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "load_fake_backend", backends)
        patch.setattr(comparison, "compile_for_backend", compile_once)
        yield


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
