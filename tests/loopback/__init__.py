"""IBM's service on this machine, for tests with the real client of qiskit-ibm-runtime.

    with LoopbackServer(plan="premium") as server:
        backend = server.service().backend("ibm_boston", use_fractional_gates=True)
        server.faults.add(Fault("status_after", "POST", "jobs", status=500))
        server.faults.add(JobFault("fail", tag="second", reason_code=8045))
        ...  # sessions, batches, jobs, with the client as it is
        assert server.executions["my-tag"] == 1
        assert server.request_counts["POST jobs"] == 2

A process of its own reaches the server with `server.environment` and a plain
`QiskitRuntimeService()`; a server that outlives its clients is `python -m tests.loopback`, seen
through `RemoteLoopback`. Jobs run on `AerExecutor`, so that it gives the same bits with
`seed_of_request(compiled, rows, num_shots)`, or with the seed that the client puts into
`circuit.metadata["seed"]`. Fixtures are in `fixtures`.
"""

from tests.loopback.client import RemoteLoopback
from tests.loopback.engine import Pace
from tests.loopback.faults import Fault, JobFault
from tests.loopback.server import LoopbackServer
from tests.loopback.simulation import (
    content_seed,
    ideal_executor,
    noisy_executor,
    seed_of_request,
)

__all__ = [
    "Fault",
    "JobFault",
    "LoopbackServer",
    "Pace",
    "RemoteLoopback",
    "content_seed",
    "ideal_executor",
    "noisy_executor",
    "seed_of_request",
]
