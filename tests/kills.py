"""One training run on a device, killed at random moments and resumed until it is done.

The moments are drawn uniformly over the time that an attempt takes from where it opens the device,
so that they fall wherever it spends its time: training, sending, waiting, fetching, writing the
ledger or a checkpoint.
What a kill left behind is looked at in a copy, since opening a ledger would repair it.
"""

import math
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from qrnn_qiskit.ledger import LEDGER_NAME, JobRecord, Ledger
from tests.checkpoints import load_loop_state
from tests.loopback import LoopbackServer
from tests.zygote import Lifetime, Zygote


@dataclass(frozen=True)
class Kill:
    """What a kill met.

    Attributes:
        loop_seconds: since this attempt had opened the device.
        num_steps: that the last checkpoint holds.
        states: how many jobs of the ledger are in which state.
        met: what was under way, `submitting, Running` for example: in the ledger, at the service.
        marks: `commit` if it fell into a transaction of the ledger, `file` if into the writing of
            a checkpoint or another file.
        parts: names of the files that are half written.
    """

    loop_seconds: float
    num_steps: int
    states: dict[str, int]
    met: str
    marks: tuple[str, ...]
    parts: frozenset[str]

    def __str__(self) -> str:
        marks = f" ({', '.join(self.marks)})" if self.marks else ""
        states = " ".join(f"{state}:{number}" for state, number in self.states.items())
        return f"{self.loop_seconds:6.3f} s  step {self.num_steps:3d}  {self.met}{marks}  {states}"


@dataclass(frozen=True)
class Whole:
    """How long a run takes that nobody kills.

    Attributes:
        loop_seconds: from opening the device to the end.
        resume_seconds: the same of a run that is resumed when all of it is done.
    """

    loop_seconds: float
    resume_seconds: float


def train_whole(
    zygote: Zygote, server: LoopbackServer, settings: dict[str, Any], runs: Path
) -> Whole:
    """Trains without a kill, and resumes what is done."""
    first, again = (
        zygote.attempt(settings, runs, environment=server.environment, resume=resume)
        for resume in (False, True)
    )
    return Whole(first.loop_seconds, again.loop_seconds)


def train_with_kills(
    zygote: Zygote,
    server: LoopbackServer,
    settings: dict[str, Any],
    runs: Path,
    whole: Whole,
    num_kills: int,
    rng: np.random.Generator,
) -> list[Kill]:
    """Trains, killed so often and resumed each time; fewer kills if the run ends before.

    An attempt lives, from where it opens the device, for a time between 0 and what resuming takes
    plus 1.5 times the attempt's share of what is left to do, and takes hardly more steps than its
    share: so the kills spread over the run. The attempt after the last kill is left alone.
    """
    kills: list[Kill] = []
    num_steps = settings["device_loop"]["steps"]
    step_seconds = whole.loop_seconds / num_steps
    while len(kills) < num_kills:
        left = num_steps - (kills[-1].num_steps if kills else 0)
        share = left / (num_kills - len(kills) + 1)
        lifetime = Lifetime(
            loop_seconds=rng.uniform(0.0, whole.resume_seconds + 1.5 * share * step_seconds),
            num_steps=max(1, math.ceil(share)),
            last_seconds=rng.uniform(0.0, step_seconds),
        )
        attempt = zygote.attempt(
            settings,
            runs,
            environment=server.environment,
            resume=bool(kills),
            lifetime=lifetime,
        )
        if not attempt.was_killed:
            return kills
        kills.append(_look(server, run_of(runs), attempt.loop_seconds, kills))
    zygote.attempt(settings, runs, environment=server.environment, resume=True)
    return kills


def run_of(runs: Path) -> Path:
    """The one run in a folder."""
    (run,) = runs.iterdir()
    return run


def wait_until_idle(server: LoopbackServer, seconds: float = 30.0) -> None:
    """Until no job is queued or running.

    Raises:
        AssertionError: if it takes longer.
    """
    deadline = time.monotonic() + seconds
    while pending := server.engine.pending_jobs():
        assert time.monotonic() < deadline, f"{len(pending)} jobs are left"
        time.sleep(0.01)


def _look(server: LoopbackServer, run: Path, loop_seconds: float, before: list[Kill]) -> Kill:
    marks = []
    if (run / f"{LEDGER_NAME}-journal").exists():
        marks.append("commit")
    parts = frozenset(path.name for path in run.rglob(".*.part"))
    if parts - (before[-1].parts if before else frozenset()):
        marks.append("file")
    records = _read_copy(run)
    state = load_loop_state(run)
    num_steps = 0 if state is None else len(state["losses"])
    return Kill(
        loop_seconds,
        num_steps,
        dict(Counter(record.state for record in records)),
        _what_was_met(server, records),
        tuple(marks),
        parts,
    )


def _read_copy(run: Path) -> list[JobRecord]:
    with TemporaryDirectory() as folder:
        for path in run.glob(f"{LEDGER_NAME}*"):
            shutil.copy(path, folder)
        path = Path(folder) / LEDGER_NAME
        if not path.exists():
            return []
        with Ledger(path) as ledger:
            return ledger.records()


def _what_was_met(server: LoopbackServer, records: list[JobRecord]) -> str:
    """State of what is not done, and whether the service has that job, a moment after the kill."""
    unfinished = [record for record in records if record.state != "done"]
    if not unfinished:
        return "between jobs" if records else "before the first job"
    found = []
    for record in unfinished:
        jobs = [job.status for job in server.jobs if record.tag in job.tags]
        found.append(f"{record.state}, {', '.join(jobs) or 'no job'}")
    return "; ".join(found)
