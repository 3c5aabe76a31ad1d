"""`python -m tests.loopback --port 8000 --state jobs.sqlite`: a server that outlives its clients.

Prints one line of JSON as soon as it listens: its URL, and the environment with which
`QiskitRuntimeService()` reaches it. Runs until it is killed.
"""

import argparse
import json
import signal
import threading

from tests.loopback.engine import Pace
from tests.loopback.server import LoopbackServer
from tests.loopback.simulation import ideal_executor, noisy_executor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", help="file in which jobs survive this process")
    parser.add_argument("--backend", action="append", help="fake_boston unless given")
    parser.add_argument("--plan", choices=("open", "premium"), default="premium")
    parser.add_argument("--queue-seconds", type=float, default=0.0)
    parser.add_argument("--run-seconds", type=float, default=0.0)
    parser.add_argument("--no-isa-check", action="store_true")
    parser.add_argument("--noisy", action="store_true", help="with the snapshots' errors")
    options = parser.parse_args()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *ignored: stopped.set())
    with LoopbackServer(
        options.backend or ["fake_boston"],
        options.plan,
        pace=Pace(options.queue_seconds, options.run_seconds),
        make_executor=noisy_executor if options.noisy else ideal_executor,
        state=options.state,
        port=options.port,
        check_isa=not options.no_isa_check,
    ) as server:
        print(json.dumps({"url": server.base_url, "environment": server.environment}), flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
