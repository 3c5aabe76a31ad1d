"""Where the seconds of a training step on a device go, apart from the device.

A step of `train_on_device` (batch 16, T = 8, surrogate gradient, local mitigation) with the real
client of qiskit-ibm-runtime against the loopback server, which runs in a process of its own and
tells when it began and ended each job. All else is overhead:

- prepare: pre-flight check, binding, splitting, and the executor's own work around its calls.
- post: the client's `Sampler.run`: QPY, JSON, and its requests, of which the last one is POST jobs.
- late: from the server's end of a job until we hear of it, sleep between polls included.
- fetch: result, decoding and usage.
- ledger: its transactions, each on disk when it returns.
- checkpoint: after each step.
- rest: controller, exact Jacobian of the surrogate, optimiser.

Cases take turns, run by run; a row is the step of median overhead, least that of the quickest one.
The first step of each run, which compiles and calibrates, is left out. The limiter of posts is off;
what it adds is printed below, and how many circuits were compiled, as the package counts them.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.execution.runtime import RuntimeExecutor
from qrnn_qiskit.execution.runtime_client import RuntimeClient
from qrnn_qiskit.ledger import Ledger
from qrnn_qiskit.pacing import Patience
from qrnn_qiskit.studies import CompilerDevice, RunDirectory, SilentProgress, open_device
from qrnn_qiskit.studies.device import compile_statistics
from qrnn_qiskit.studies.device_loop import train_on_device
from qrnn_qiskit.studies.spec import JobSpec, parse_job
from qrnn_qiskit.studies.targets import SamplingTarget
from tests.loopback import RemoteLoopback

PARTS = ("prepare", "post", "late", "fetch", "ledger", "checkpoint", "rest")
CLIENT_PARTS = {
    "open": "post",
    "submit": "post",
    "status": "poll",
    "result_text": "fetch",
    "decode_result": "fetch",
    "metrics": "fetch",
}
LEDGER_CALLS = (
    "plan", "get", "begin_submission", "reserve_call", "record_job", "record_status",
    "record_result", "record_metrics", "spent_seconds", "records",
)  # fmt: skip
NO_LIMIT = 1_000_000


class Stopwatch:
    """Seconds by part; a part inside another one takes its seconds away from it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._parts = ["rest"]
        self._since = time.perf_counter()

    def wrap(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **options: Any) -> Any:
            self._charge()
            self._parts.append(part)
            try:
                return call(*args, **options)
            finally:
                self._charge()
                self._parts.pop()

        return timed

    def wrap_methods(self, owner: object, parts: dict[str, str]) -> None:
        for name, part in parts.items():
            # Also where the class is frozen.
            object.__setattr__(owner, name, self.wrap(part, getattr(owner, name)))

    def take(self) -> Counter[str]:
        """Seconds since the last call."""
        self._charge()
        taken, self.seconds = self.seconds, Counter()
        return taken

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self._parts[-1]] += now - self._since
        self._since = now


@dataclass(frozen=True)
class Step:
    """One optimiser step.

    Attributes:
        begin: seconds since 1970.
        end: seconds since 1970.
        parts: seconds by part, the waiting for the server as `poll`.
    """

    begin: float
    end: float
    parts: Counter[str]


@dataclass(frozen=True)
class Row:
    """A step with what the server says of it.

    Attributes:
        seconds: of the whole step.
        server_seconds: in which the server ran its jobs.
        parts: seconds of overhead.
        num_jobs: of the step.
        num_requests: of the step.
    """

    seconds: float
    server_seconds: float
    parts: dict[str, float]
    num_jobs: int
    num_requests: int

    @property
    def overhead(self) -> float:
        return self.seconds - self.server_seconds


def spec_of(loop: str, options: Namespace) -> JobSpec:
    model: dict[str, Any] = {"loop": loop, "ansatz": "brick", "num_memory": 4}
    if loop != "host":
        model["readouts"] = [{"anchor": 0}]
    return parse_job(
        {
            "name": f"overhead_{loop}",
            "task": {"name": "parity", "num_timesteps": options.timesteps,
                     "num_train": 64, "num_validation": 8, "num_test": 8},
            "model": model,
            "runtime": {"backend": "ibm_boston", "calibration_shots": options.shots},
            "device_loop": {"on": "runtime", "steps": options.steps, "num_shots": options.shots,
                            "batch_size": options.batch},
        }
    )  # fmt: skip


def run_steps(
    spec: JobSpec, mode: str, poll: str, device: CompilerDevice, root: Path
) -> list[Step]:
    """All steps of a device loop, from an untrained model."""
    assert spec.runtime is not None
    task = spec.task.load()
    model = spec.model.build_model(task, spec.training.seed)
    run = RunDirectory.create(spec, root)
    watch = Stopwatch()
    client = RuntimeClient(device.backend, mode)  # type: ignore[arg-type]
    steps: list[Step] = []
    begin = time.time()
    with Ledger(run.path / "ledger.sqlite") as ledger:
        executor = RuntimeExecutor(
            client,
            ledger,
            device,
            limits=replace(HardwareLimits(), posts_per_minute=NO_LIMIT),
            patience=patience_of(poll),
            sleep=watch.wrap("poll", time.sleep),
        )
        watch.wrap_methods(client, CLIENT_PARTS)
        watch.wrap_methods(ledger, dict.fromkeys(LEDGER_CALLS, "ledger"))
        watch.wrap_methods(executor, {"run": "prepare"})
        save = watch.wrap("checkpoint", run.save_checkpoint)

        def save_and_count(*args: Any) -> None:
            nonlocal begin
            save(*args)
            steps.append(Step(begin, time.time(), watch.take()))
            begin = time.time()

        object.__setattr__(run, "save_checkpoint", save_and_count)
        target = SamplingTarget("boston", executor, device.compile, True, rows_per_request=None)
        try:
            train_on_device(spec, spec.runtime, target, model, task, run, SilentProgress())
        finally:
            client.close()
    return steps


def describe(step: Step, state: dict[str, Any]) -> Row:
    """A step beside the server's record of its jobs."""
    times = [job["times"] for job in state["jobs"]]
    ours = [each for each in times if step.begin <= each["created"] < step.end]
    server_seconds = sum(each["finished"] - each["started"] for each in ours)
    parts = dict(step.parts)
    # A job begins while its POST is answered: a little of `late` may be missing there.
    parts["late"] = parts.pop("poll", 0.0) - server_seconds
    num_requests = sum(step.begin <= each["seconds"] < step.end for each in state["requests"])
    return Row(sum(step.parts.values()), server_seconds, parts, len(ours), num_requests)


def patience_of(poll: str) -> Patience:
    """`default`, or base and factor of the seconds between polls, `0.5,1.5`."""
    if poll == "default":
        return Patience()
    base, factor = map(float, poll.split(","))
    return Patience(poll=replace(Patience().poll, base=base, factor=factor))


@contextmanager
def loopback(run_seconds: float) -> Iterator[RemoteLoopback]:
    """A server in a process of its own; this process's environment leads to it meanwhile."""
    command = [sys.executable, "-m", "tests.loopback", "--run-seconds", str(run_seconds)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        remote = RemoteLoopback(json.loads(server.stdout.readline())["url"])
        os.environ.update(remote.environment)
        yield remote
    finally:
        server.terminate()
        server.wait()


def print_case(case: tuple[str, str, str], rows: list[Row]) -> float:
    """A line of the table; the overhead of the median step."""
    median = statistics.median_low([row.overhead for row in rows])
    row = next(row for row in rows if row.overhead == median)
    cells = [
        *case, row.num_jobs, row.num_requests, f"{row.seconds:.2f}",
        f"{row.server_seconds:.2f}", f"{row.overhead:.2f}", f"{row.overhead / row.seconds:.0%}",
        f"{min(row.overhead for row in rows):.2f}",
        *(f"{row.parts.get(part, 0.0):.3f}" for part in PARTS),
    ]  # fmt: skip
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return row.overhead


def print_ratios(overheads: dict[tuple[str, str, str], float]) -> None:
    """Of each case to the first one of its loop."""
    for loop in dict.fromkeys(case[0] for case in overheads):
        first, *others = (case for case in overheads if case[0] == loop)
        for case in others:
            names = " / ".join(" ".join(each[1:]) for each in (case, first))
            print(f"{loop}: overhead of {names}: {overheads[case] / overheads[first]:.2f}")


def print_limiter(options: Namespace) -> None:
    limit = HardwareLimits().posts_per_minute
    for loop in options.loops:
        num_jobs = options.timesteps if loop == "host" else 1
        print(
            f"{loop}: the limiter of {limit} posts a minute adds up to {60 / limit:.0f} s a job, "
            f"{60 / limit * num_jobs:.0f} s a step, in every mode"
        )


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loops", nargs="+", default=["feedforward", "host"])
    parser.add_argument("--modes", nargs="+", default=["session", "job"])
    parser.add_argument(
        "--polls", nargs="+", default=["default"], help="default, or base,factor in seconds"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--timesteps", type=int, default=8)
    parser.add_argument("--shots", type=int, default=500)
    parser.add_argument("--steps", type=int, default=5, help="of a run, the first is not shown")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each case, in turns")
    parser.add_argument("--run-seconds", type=float, default=0.0, help="of a job, at least")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = list(product(options.loops, options.modes, options.polls))
    steps: dict[tuple[str, str, str], list[Step]] = {case: [] for case in cases}
    compiled = []
    with TemporaryDirectory() as folder, loopback(options.run_seconds) as server:
        os.environ["QRNN_CACHE"] = str(Path(folder) / "cache")
        device = open_device("ibm_boston")
        for number, case in enumerate(cases * options.repeats):
            loop, mode, poll = case
            before = compile_statistics()
            root = Path(folder) / str(number)
            steps[case] += run_steps(spec_of(loop, options), mode, poll, device, root)[1:]
            compiled.append((case, compile_statistics() - before))
        state = server.state
    print(f"{platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, ")
    print(f"batch {options.batch}, T = {options.timesteps}, {options.shots} shots, limiter off\n")
    head = ["loop", "mode", "polls", "jobs", "requests", "s/step", "server", "overhead", "share",
            "least", *PARTS]  # fmt: skip
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    overheads = {
        case: print_case(case, [describe(step, state) for step in steps[case]]) for case in cases
    }
    print()
    print_ratios(overheads)
    print_limiter(options)
    for loop in options.loops:
        first, *others = (found for case, found in compiled if case[0] == loop)
        print(
            f"{loop}: {first.num_compiled} circuits compiled in {first.compile_seconds:.1f} s in "
            f"the first run, {sum(found.num_compiled for found in others)} in {len(others)} others"
        )


if __name__ == "__main__":
    main()
