"""Aer's records do not depend on how many threads it has: a resumed run is the same anywhere."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np

from qrnn_qiskit.compiling import compile_program, load_profile
from qrnn_qiskit.devices import load_fake_backend, read_target
from qrnn_qiskit.execution import AerExecutor, RunRequest, noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram


def record_digest(num_threads):
    backend = load_fake_backend("fake_boston")
    cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0),))
    target = read_target(backend)
    compiled = compile_program(SequenceProgram(cell, 3), target, load_profile("heron"))
    noise = noise_for(compiled, backend)
    rows = np.random.default_rng(0).uniform(-2, 2, (4, compiled.program.slots.num_slots))
    request = RunRequest(compiled, rows, num_shots=300, seed=7)
    return sha256(AerExecutor(noise, max_threads=num_threads).run(request).bits).hexdigest()


def test_records_do_not_depend_on_threads():
    # The number of OpenMP threads is fixed when a process starts: the other one needs its own.
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    other = subprocess.run(
        [sys.executable, "-c", "from tests.integration.test_threads import record_digest as d; "
         "print(d(2))"],
        env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert other.stdout.strip() == record_digest(1)
