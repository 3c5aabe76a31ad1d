"""What tests of `RuntimeExecutor` against a loopback server share: settings, what to expect."""

import numpy as np

from qrnn_qiskit.compiling import load_profile
from qrnn_qiskit.devices import load_fake_backend, read_target
from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.execution import AerExecutor, RunRequest
from qrnn_qiskit.execution.runtime_jobs import seed_of
from qrnn_qiskit.pacing import Backoff, Patience
from qrnn_qiskit.studies.device import CompilerDevice

NUM_ROWS, NUM_SHOTS = 4, 20
# Two jobs of two rows; the rate limit of five a minute would make the tests slow.
LIMITS = HardwareLimits(max_executions_per_job=40, posts_per_minute=1000)
PATIENCE = Patience(
    poll=Backoff(0.02, 1.5, 0.1, 0.0), faults=Backoff(0.01, 1.0, 0.01, 0.0), settle_seconds=0.3
)


def build_device():
    """From the snapshot: the server's properties have no errors of `rzz`."""
    backend = load_fake_backend("fake_boston")
    target = read_target(backend, fractional_gates=True)
    return CompilerDevice(backend, target, load_profile("heron_fractional"))


def bits_by_aer(executor, request):
    """What the server simulates: each job with its own seed."""
    bits = np.empty((request.num_rows, request.num_shots, request.compiled.circuit.num_clbits))
    for split in executor.check(request).splits:
        shots = slice(split.first_shot, split.first_shot + split.num_shots)
        rows = request.slot_values[split.rows]
        part = RunRequest(request.compiled, rows, split.num_shots, seed_of(request, split))
        bits[split.rows, shots] = AerExecutor(max_threads=1).run(part).bits
    return bits


def assert_executed_once(server, ledger):
    tags = [record.tag for record in ledger.records()]
    assert {tag: server.executions[tag] for tag in tags} == dict.fromkeys(tags, 1)
