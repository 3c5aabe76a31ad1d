"""Runs what a store has not: each case once, whatever happens to workers and other processes."""

import json
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.sweeps.pools import Pool, WorkerLostError, open_pool
from qrnn_qiskit.sweeps.store import Case, CaseStore, StoredCase, to_json

# How often to look at what other processes do: a fraction of what a user notices.
POLL_SECONDS = 0.5

Payload = TypeVar("Payload")


@dataclass(frozen=True)
class CaseDone:
    """A case that is finished or has failed.

    Attributes:
        key: of the case.
        settings: of the case.
        result: plain JSON values; none if it failed.
        error: one line about what failed; none if nothing did.
        seconds: that computing it took: its part of the time of its unit.
        is_stored: whether it was computed before, or by another process.
    """

    key: str
    settings: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None = None
    seconds: float = 0.0
    is_stored: bool = False


def run_cases(
    store: CaseStore,
    units: Sequence[tuple[Case, ...]],
    prepare: Callable[[tuple[Case, ...]], Payload],
    work: Callable[[Payload], list[dict[str, Any]]],
    *,
    num_workers: int | None = None,
    scheduler: str | None = None,
) -> Generator[CaseDone, None, None]:
    """Every case once, as it finishes: first those that are in the store, then the others.

    Any number of processes, on any number of machines that see the file, may run the same cases at
    the same time: they share the work. When only cases that others compute are left, their results
    are waited for, and computed here if those processes die.

    A case whose `prepare` or `work` raises is given with `CaseDone.error`, and so is one whose
    worker dies each time; the others go on, and the next run tries it again. Closing the iterator
    (`contextlib.closing` does it at once, whoever else holds it) stops the workers, whatever they
    are doing, and gives back the claims; what is finished is kept.

    Args:
        store: open, and staying open meanwhile; the results go there, each before it is given.
        units: groups of cases that share one computation, as one simulation gives many observables.
        prepare: what `work` needs for those cases of a unit that are to be computed here; runs in
            this process, between other things.
        work: function of a module that workers can import: one result, plain JSON values, for each
            of these cases, in order. Numbers that are not finite become null.
        num_workers: processes on this machine; by default as many as there are usable processors.
        scheduler: address of a Dask scheduler whose workers are used instead.

    Raises:
        InputError: if the store cannot be written any more, or there are no workers.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> units = [(Case("a", {"text": '[{"sum": 3}]'}),), (Case("b", {"text": "[1]"}),)]
        >>> def to_text(cases):
        ...     return cases[0].settings["text"]
        >>> with TemporaryDirectory() as folder, CaseStore(Path(folder) / "study.db") as store:
        ...     done = list(run_cases(store, units, to_text, json.loads, num_workers=1))
        >>> for case in sorted(done, key=lambda case: case.key):
        ...     print(case.key, case.result, case.error)
        a {'sum': 3} None
        b None result: must be a dict, got 1; correct the function work
    """
    sweep = _Sweep(store, prepare, work)
    try:
        yield from sweep.add(units)
        if sweep.has_more:
            with open_pool(num_workers, scheduler) as pool:
                yield from sweep.run(pool)
    finally:
        # Where even that cannot be written, others take the claims over when we are gone.
        with suppress(InputError):
            store.release()


@dataclass
class _Job(Generic[Payload]):
    """Cases of one unit that this process computes."""

    cases: tuple[Case, ...]
    payload: Payload
    attempts: int = 0


@dataclass(frozen=True)
class _Outcome:
    """What a worker tells: plain values, which arrive whatever the work has raised."""

    results: list[dict[str, Any]]
    error: str | None
    seconds: float


class _Sweep(Generic[Payload]):
    """The state of a run: where each case is on its way.

    From `_todo` a unit is claimed, prepared into `_ready`, submitted into `_running`, and stored;
    what others hold is in `_others` until it is finished, or goes back to `_todo`. In `_suspects`
    is what may have killed its worker; it runs alone, at the end.
    """

    def __init__(
        self,
        store: CaseStore,
        prepare: Callable[[tuple[Case, ...]], Payload],
        work: Callable[[Payload], list[dict[str, Any]]],
    ) -> None:
        self._store, self._prepare, self._work = store, prepare, work
        self._todo: deque[tuple[Case, ...]] = deque()
        self._claimed: deque[tuple[Case, ...]] = deque()
        self._ready: deque[_Job[Payload]] = deque()
        self._running: dict[Future[_Outcome], _Job[Payload]] = {}
        self._suspects: deque[_Job[Payload]] = deque()
        self._others: list[tuple[Case, ...]] = []
        self._polled = 0.0
        # Failures of earlier runs are tried again, those that others meet from now on are not.
        self._last_failure = store.last_failure()

    @property
    def has_more(self) -> bool:
        queues = (self._todo, self._claimed, self._ready, self._running, self._suspects)
        return any(queues) or bool(self._others)

    def add(self, units: Sequence[tuple[Case, ...]]) -> Iterator[CaseDone]:
        """Takes up units, and gives those cases that are in the store."""
        cases = {case.key: case for unit in units for case in unit}
        stored = self._store.finished(cases)
        seen = set(stored)
        for unit in units:
            new = tuple({case.key: case for case in unit if case.key not in seen}.values())
            seen.update(case.key for case in new)
            if new:
                self._todo.append(new)
        for key in cases:
            if key in stored:
                yield _found(stored[key])

    def run(self, pool: Pool) -> Iterator[CaseDone]:
        """Computes what is left."""
        while self.has_more:
            # As much is prepared as runs: should all finish at once, none of them waits.
            num_wanted = max(1, len(self._running))
            if self._ready and pool.num_free() > 0:
                yield from self._submit(pool, self._ready.popleft())
            elif self._claimed and len(self._ready) < num_wanted:
                yield from self._prepare_next(self._claimed.popleft())
            elif self._todo and len(self._ready) < num_wanted:
                self._claim(num_wanted + pool.num_free())
            elif self._suspects and not self._running:
                yield from self._submit(pool, self._suspects.popleft())
            else:
                self._wait()
            yield from self._collect(pool)
            if self._others and not self._todo:
                yield from self._poll()

    def _claim(self, num_units: int) -> None:
        """Claims what can be had of the next units, in one transaction: that may take a while."""
        units = [self._todo.popleft() for _ in range(min(num_units, len(self._todo)))]
        claimed = self._store.claim([case.key for unit in units for case in unit])
        for unit in units:
            mine = tuple(case for case in unit if case.key in claimed)
            others = tuple(case for case in unit if case.key not in claimed)
            if mine:
                self._claimed.append(mine)
            if others:
                self._others.append(others)

    def _prepare_next(self, cases: tuple[Case, ...]) -> Iterator[CaseDone]:
        try:
            self._ready.append(_Job(cases, self._prepare(cases)))
        except Exception as error:
            yield from self._fail(cases, _describe(error))

    def _submit(self, pool: Pool, job: _Job[Payload]) -> Iterator[CaseDone]:
        job.attempts += 1
        try:
            future = pool.submit(_attempt, self._work, job.payload, len(job.cases))
        except InputError:
            raise
        except Exception as error:
            # Dask pickles at once.
            yield from self._fail(job.cases, _describe(error))
        else:
            self._running[future] = job

    def _collect(self, pool: Pool) -> Iterator[CaseDone]:
        """Stores what is done.

        All in one transaction: where the disk is slow, more is done by the next time.
        """
        outcomes: list[tuple[_Job[Payload], _Outcome]] = []
        for future in [future for future in self._running if future.done()]:
            job = self._running.pop(future)
            outcome = _outcome_of(pool, future, job.attempts)
            if isinstance(outcome, WorkerLostError):
                (self._ready if outcome.is_exact else self._suspects).append(job)
            else:
                outcomes.append((job, outcome))
        done = [
            StoredCase(case.key, case.settings, result, outcome.seconds / len(job.cases))
            for job, outcome in outcomes
            if outcome.error is None
            for case, result in zip(job.cases, outcome.results, strict=True)
        ]
        if done:
            self._store.finish(done)
        for case in done:
            yield CaseDone(case.key, case.settings, case.result, seconds=case.seconds)
        for job, outcome in outcomes:
            if outcome.error is not None:
                yield from self._fail(job.cases, outcome.error, outcome.seconds / len(job.cases))

    def _fail(
        self, cases: tuple[Case, ...], message: str, seconds: float = 0.0
    ) -> Iterator[CaseDone]:
        self._store.fail(cases, message)
        for case in cases:
            yield CaseDone(case.key, case.settings, None, message, seconds)

    def _wait(self) -> None:
        """Until something may have happened."""
        if self._running:
            wait(self._running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        else:
            time.sleep(POLL_SECONDS)

    def _poll(self) -> Iterator[CaseDone]:
        """What has become of the cases of others."""
        if time.monotonic() < self._polled + POLL_SECONDS:
            return
        self._polled = time.monotonic()
        keys = [case.key for unit in self._others for case in unit]
        # In this order: what finishes in between is both held and finished, never neither.
        held = self._store.held_by_others(keys)
        finished = self._store.finished(keys)
        failed = self._store.failed(since=self._last_failure)
        units, self._others = self._others, []
        for unit in units:
            left = [case for case in unit if case.key not in finished]
            for case in [case for case in left if case.key in failed and case.key not in held]:
                left.remove(case)
                yield CaseDone(case.key, case.settings, None, failed[case.key], is_stored=True)
            still = tuple(case for case in left if case.key in held)
            free = tuple(case for case in left if case.key not in held)
            if still:
                self._others.append(still)
            if free:
                self._todo.append(free)
        for stored in finished.values():
            yield _found(stored)


def _outcome_of(pool: Pool, future: Future[_Outcome], attempts: int) -> _Outcome | WorkerLostError:
    """What became of a call that is done; the error if it is to be tried again."""
    try:
        return pool.answer_of(future)
    except WorkerLostError as error:
        if attempts < error.max_attempts:
            return error
        died = f"{error} must survive the case, got {attempts} attempts in which none did"
        return _Outcome([], f"{died}; see whether memory is enough for so many workers", 0.0)
    except InputError:
        raise
    except Exception as error:
        # What cannot be pickled.
        return _Outcome([], _describe(error), 0.0)


def _attempt(
    work: Callable[[Payload], list[dict[str, Any]]], payload: Payload, num_cases: int
) -> _Outcome:
    """Runs in the worker."""
    began = time.perf_counter()
    error, plain = None, []
    try:
        results = work(payload)
        if len(results) != num_cases:
            raise InputError(
                f"work: must give one result for each case, got {len(results)} for {num_cases}; "
                "correct the function"
            )
        # As the store will give them back: tuples are lists then, and nan is none.
        plain = [json.loads(to_json(_dict(result), "result")) for result in results]
    except (Exception, SystemExit) as raised:
        error = _describe(raised)
    return _Outcome(plain, error, time.perf_counter() - began)


def _dict(result: object) -> object:
    if not isinstance(result, dict):
        raise InputError(f"result: must be a dict, got {result!r}; correct the function work")
    return result


def _describe(error: BaseException) -> str:
    """One line; of errors that nobody foresaw, also where they come from."""
    message = " ".join(str(error).split())
    if isinstance(error, InputError):
        return message
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}"


def _found(case: StoredCase) -> CaseDone:
    return CaseDone(case.key, case.settings, case.result, seconds=case.seconds, is_stored=True)
