"""Training runs to be killed: forks of one process that has imported everything.

    with LoopbackServer() as server, Zygote(log) as zygote:
        begin = partial(zygote.attempt, settings, runs, environment=server.environment)
        assert begin(resume=False, lifetime=Lifetime(0.8, 3, 0.1)).was_killed
        assert not begin(resume=True).was_killed

Importing torch and Qiskit takes seconds, forking a process that has done so milliseconds. That
process has one thread and opens nothing, so that each fork is as good as a process of its own: it
logs in, opens the ledger and trains through the real client.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

# One BLAS thread: a fork does not inherit threads. Statistics of the client's use take its time.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "USAGE_DATA_OPT_OUT": "True",
}
# Written by an attempt where it opens the device, before all training, and after each checkpoint
# of its device loop.
_LOOP, _STEP = b"L", b"S"
# Of an attempt that nobody kills; one that takes longer hangs.
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Lifetime:
    """When an attempt is killed: after a time, or some steps if the machine is quicker than it was.

    Attributes:
        loop_seconds: from where it opens the device.
        num_steps: after which it lives for `last_seconds` at most.
        last_seconds: from the checkpoint of that step.
    """

    loop_seconds: float
    num_steps: int
    last_seconds: float


@dataclass(frozen=True)
class Attempt:
    """How an attempt to train ended.

    Attributes:
        setup_seconds: before it opened the device; all of them if it never did.
        loop_seconds: from then on until its end.
        exit_code: of the process; `-SIGKILL` of a killed one.
    """

    setup_seconds: float
    loop_seconds: float
    exit_code: int

    @property
    def was_killed(self) -> bool:
        """And not done before."""
        return self.exit_code == -signal.SIGKILL


class Zygote:
    """A process that forks attempts, one at a time.

    Args:
        log: where attempts write what goes wrong.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.zygote"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | _ENVIRONMENT,
                cwd=Path(__file__).parents[1],
            )

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, *exception: object) -> None:
        with self._process as process:
            process.stdin.close()
            process.wait(timeout=2 * _PATIENCE_SECONDS)

    def attempt(
        self,
        settings: dict[str, Any],
        runs: Path,
        *,
        environment: dict[str, str],
        resume: bool,
        lifetime: Lifetime | None = None,
    ) -> Attempt:
        """Trains until the end, or for a lifetime.

        Args:
            settings: of the job.
            runs: folder of runs.
            environment: in which a plain `QiskitRuntimeService()` reaches the service.
            resume: as of `run_training`.
            lifetime: after which the attempt is killed; never if None.

        Raises:
            AssertionError: if the attempt fails, or hangs.
        """
        request = {
            "settings": settings, "runs": str(runs), "environment": environment, "resume": resume,
            "lifetime": None if lifetime is None else asdict(lifetime),
        }  # fmt: skip
        process = self._process
        print(json.dumps(request), file=process.stdin, flush=True)
        line = process.stdout.readline()
        assert line, f"the zygote is gone: {self._log.read_text()}"
        found = Attempt(**json.loads(line))
        assert found.setup_seconds < _PATIENCE_SECONDS, "the device was never opened"
        assert found.exit_code == 0 or (found.was_killed and lifetime is not None), (
            f"exit code {found.exit_code}: {self._log.read_text()}"
        )
        return found


def _serve(requests: IO[str]) -> None:
    """Attempts until there is nobody who wants one."""
    # Imported before the first fork; torch's first optimiser imports its compiler.
    import torch._dynamo  # noqa: F401

    from qrnn_qiskit.execution import runtime_client  # noqa: F401
    from qrnn_qiskit.studies import run_training  # noqa: F401

    tasks = Path("/proc/self/task")
    if tasks.exists():
        assert len(list(tasks.iterdir())) == 1, "a fork would lose the other threads"
    for line in requests:
        request = json.loads(line)
        print(json.dumps(asdict(_fork(request))), flush=True)


def _fork(request: dict[str, Any]) -> Attempt:
    started = time.monotonic()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            # What it may print is no answer to a request.
            os.dup2(2, 1)
            _train(request, writing)
            code = 0
        except BaseException:  # whatever it is, it must not run on into the loop of the parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    lifetime = request["lifetime"] and Lifetime(**request["lifetime"])
    loop_at = ended_at = None
    num_steps = 0
    limit = started + _PATIENCE_SECONDS
    while ended_at is None:
        ready, _, _ = select.select([reading], [], [], max(0.0, limit - time.monotonic()))
        news, now = os.read(reading, 1) if ready else None, time.monotonic()
        if news is None:
            os.kill(pid, signal.SIGKILL)
            ended_at = now
        elif news == b"":  # closed with the process, which alone holds the other end
            ended_at = now
        elif news == _LOOP:
            loop_at = now
            if lifetime is not None:
                limit = now + lifetime.loop_seconds
        else:
            num_steps += 1
            if lifetime is not None and num_steps == lifetime.num_steps:
                limit = min(limit, now + lifetime.last_seconds)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    setup_seconds = (loop_at or ended_at) - started
    return Attempt(
        setup_seconds,
        ended_at - started - setup_seconds,
        os.waitstatus_to_exitcode(status),
    )


def _train(request: dict[str, Any], news: int) -> None:
    """What an attempt does: `run_training`, with the service's pace and ours made quick."""
    from urllib3.util.retry import Retry

    from qrnn_qiskit.devices.limits import HardwareLimits
    from qrnn_qiskit.execution.runtime import RuntimeExecutor
    from qrnn_qiskit.pacing import Backoff, Patience
    from qrnn_qiskit.studies import RunDirectory, device_loop, run_training, runtime_target
    from qrnn_qiskit.studies.spec import parse_job

    os.environ.update(request["environment"])
    Retry.get_backoff_time = lambda self: 0.0
    runtime_target.RuntimeExecutor = partial(
        RuntimeExecutor,
        limits=replace(HardwareLimits(), posts_per_minute=10_000),
        # A job that was being accepted when its sender was killed may be listed a little late.
        patience=Patience(poll=Backoff(0.01, 1.0, 0.01), settle_seconds=0.1),
    )
    open_target = device_loop.open_runtime_target

    @contextlib.contextmanager
    def open_and_tell(*arguments: Any) -> Iterator[Any]:
        os.write(news, _LOOP)
        with open_target(*arguments) as target:
            yield target

    save_checkpoint = RunDirectory.save_checkpoint

    def save_and_tell(run: RunDirectory, name: str, *arguments: Any) -> None:
        save_checkpoint(run, name, *arguments)
        if name.startswith("device_loop"):
            os.write(news, _STEP)

    device_loop.open_runtime_target = open_and_tell
    RunDirectory.save_checkpoint = save_and_tell
    run_training(
        parse_job(request["settings"]), runs_root=Path(request["runs"]), resume=request["resume"]
    )


if __name__ == "__main__":
    _serve(sys.stdin)
