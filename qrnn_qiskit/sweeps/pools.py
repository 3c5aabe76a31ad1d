"""Where work is done: processes of this machine, or the workers of a Dask cluster."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from qrnn_qiskit.errors import InputError, require

Answer = TypeVar("Answer")

# One thread for each worker: the processes are the parallelism, and 64 times 64 threads are none.
# OpenMP is Aer's and torch's, the next three are NumPy's and SciPy's by platform, Rayon is Qiskit's
# Rust code, and QISKIT_PARALLEL its transpiler's processes.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "QISKIT_PARALLEL": "FALSE",
}
# A scheduler answers within a second; Dask's own limit is 30 s, of silence.
CONNECT_SECONDS = 10
# Workers of a cluster come and go; asking for them is a message to the scheduler.
COUNT_EVERY_SECONDS = 5.0
# A worker that cannot start (an unguarded script, no memory) does not start the third time either.
MAX_FAILED_STARTS = 3
# The environment and the handler of Ctrl-C, which starting a worker changes, are the process's.
_STARTING = threading.Lock()


class WorkerLostError(Exception):
    """The worker died before it had done the work: killed, out of memory, or crashed.

    Attributes:
        max_attempts: how often to try before the work is to blame, not chance.
        is_exact: whether this work was what the worker did; if not, it must be tried alone.
    """

    def __init__(self, message: str, *, max_attempts: int, is_exact: bool) -> None:
        super().__init__(message)
        self.max_attempts = max_attempts
        self.is_exact = is_exact


class Pool(Protocol):
    """Workers that compute functions of modules they can import."""

    def num_free(self) -> int:
        """How many more calls are worth submitting now."""
        ...

    def submit(self, work: Callable[..., Answer], *arguments: Any) -> Future[Answer]:
        """The answer to be of a call; get it with `answer_of`."""
        ...

    def answer_of(self, future: Future[Answer]) -> Answer:
        """The answer of a call that is done.

        Raises:
            WorkerLostError: if its worker died.
            InputError: if the pool cannot work any more.
        """
        ...


@contextmanager
def open_pool(num_workers: int | None = None, scheduler: str | None = None) -> Iterator[Pool]:
    """Workers for as long as they are needed; leaving stops them, whatever they are doing.

    Workers on this machine are processes with one thread of computation each, which start Python
    anew (no copies of a process with threads) and do not hear Ctrl-C, which a terminal sends to
    them, too. They end when this process does, however it ends.

    Args:
        num_workers: processes on this machine; by default as many as there are usable processors.
        scheduler: address of a Dask scheduler, "tcp://host:8786", whose workers are used instead.
            They keep their own settings of threads (Dask's default is one for each call), and a
            call that runs there is not stopped at the end: its answer is dropped.

    Raises:
        InputError: if the cluster cannot be reached, or the package for it is missing.

    Example:
        >>> with open_pool(num_workers=1) as pool:
        ...     future = pool.submit(len, "four")
        ...     future.exception() is None and pool.answer_of(future)
        4
    """
    if scheduler is not None:
        require(
            num_workers is None, "num_workers", "must not be given with scheduler", num_workers,
            "leave it out: the cluster's workers are used",
        )  # fmt: skip
        with _connect(scheduler) as cluster:
            yield cluster
        return
    if num_workers is None:
        num_workers = count_processors()
    require(num_workers >= 1, "num_workers", "must be at least 1", num_workers, "use 1 or more")
    pool = _Processes(num_workers)
    try:
        yield pool
    finally:
        pool.stop()


def count_processors() -> int:
    """Processors that this process may use, which can be fewer than the machine has.

    Example:
        >>> 1 <= count_processors() <= os.cpu_count()
        True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Context(SpawnContext):
    """Starts Python anew, and knows the processes, which an executor keeps to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[BaseProcess] = []

    # In the base it is a class, which is called in the same way.
    def Process(self, *arguments: Any, **options: Any) -> BaseProcess:  # type: ignore[override]  # noqa: N802
        process = SpawnProcess(*arguments, **options)
        self.processes.append(process)
        return process


class _Worker:
    """One process with an executor of its own, so that who died and what was lost is known.

    An executor with many processes breaks as a whole, and all calls seem guilty.
    """

    def __init__(self) -> None:
        self._context = _Context()
        self._executor = ProcessPoolExecutor(1, self._context, initializer=_begin_worker)
        self.call: Future[Any] | None = None

    def start(self) -> None:
        """Starts the process; it need not be ready when this returns."""
        with _STARTING, _interrupts_held_back(), _environment_of_workers():
            self._started = self._executor.submit(os.getpid)

    @property
    def has_started(self) -> bool:
        return self._started.done() and self._started.exception() is None

    @property
    def is_free(self) -> bool:
        return self.call is None or self.call.done()

    def submit(self, work: Callable[..., Answer], *arguments: Any) -> Future[Answer]:
        future = self._executor.submit(work, *arguments)
        self.call = future
        return future

    def kill(self) -> None:
        for process in self._context.processes:
            if process.pid is not None:
                process.kill()

    def stop(self) -> None:
        self.kill()
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Processes:
    """Processes of this machine; the dead are replaced."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._workers: list[_Worker] = []
        self._failed_starts = 0

    def num_free(self) -> int:
        busy = sum(not worker.is_free for worker in self._workers)
        return self._num_workers - busy

    def submit(self, work: Callable[..., Answer], *arguments: Any) -> Future[Answer]:
        for worker in self._workers:
            if worker.is_free:
                try:
                    return worker.submit(work, *arguments)
                except BrokenProcessPool:
                    # It was killed while it had nothing to do.
                    self._replace(worker)
                    break
        # Listed before it starts: an interruption must not lose it.
        worker = _Worker()
        self._workers.append(worker)
        try:
            worker.start()
        except OSError as error:
            raise InputError(
                f"num_workers: must be as many processes as the system can start, got {error} "
                f"with {self._num_workers}; use fewer"
            ) from error
        return worker.submit(work, *arguments)

    def answer_of(self, future: Future[Answer]) -> Answer:
        try:
            return future.result(timeout=0)
        except BrokenProcessPool as error:
            for worker in self._workers:
                if worker.call is future:
                    self._replace(worker)
                    break
            # A worker killed by chance is not killed three times with the same work.
            raise WorkerLostError("worker process", max_attempts=3, is_exact=True) from error

    def _replace(self, worker: _Worker) -> None:
        """Forgets a dead worker; the next call starts another."""
        worker.stop()
        self._workers.remove(worker)
        self._failed_starts = 0 if worker.has_started else self._failed_starts + 1
        if self._failed_starts == MAX_FAILED_STARTS:
            raise InputError(
                f"num_workers: must be processes that can start, got {MAX_FAILED_STARTS} that died "
                'at once; use fewer, and in a script start under if __name__ == "__main__":'
            )

    def stop(self) -> None:
        # All at once, so that none works on while another is waited for.
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.stop()


class _Cluster:
    """Workers of a Dask cluster, which itself tries again what dead workers had begun."""

    def __init__(self, client: Any, scheduler: str, executor: Executor) -> None:
        self._client = client
        self._scheduler = scheduler
        self._executor = executor
        self._calls: set[Future[Any]] = set()
        self._num_threads = 1
        self._counted = -COUNT_EVERY_SECONDS

    def num_free(self) -> int:
        if time.monotonic() > self._counted + COUNT_EVERY_SECONDS:
            self._counted = time.monotonic()
            with self._reachable():
                self._num_threads = sum(self._client.nthreads().values())
        self._calls = {call for call in self._calls if not call.done()}
        # One call more for each worker, so that none waits for us.
        return max(1, 2 * self._num_threads) - len(self._calls)

    def submit(self, work: Callable[..., Answer], *arguments: Any) -> Future[Answer]:
        with self._reachable():
            future = self._executor.submit(work, *arguments)
        self._calls.add(future)
        return future

    def answer_of(self, future: Future[Answer]) -> Answer:
        from distributed import KilledWorker

        try:
            with self._reachable():
                return future.result(timeout=0)
        except KilledWorker as error:
            # Dask has tried four times (distributed.scheduler.allowed-failures), but it blames
            # what waited at the worker as well as what ran there (scheduler.py, remove_worker).
            raise WorkerLostError("Dask workers", max_attempts=2, is_exact=False) from error

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        # Of calls that nobody cancelled, this is how Dask says that the scheduler has gone.
        except (OSError, CancelledError) as error:
            raise _unreachable(self._scheduler, error) from error


@contextmanager
def _connect(scheduler: str) -> Iterator[_Cluster]:
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            f"scheduler: must be used with the package distributed installed, got {scheduler!r} "
            "without; run pip install 'qrnn-qiskit[cluster]'"
        ) from error
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise _unreachable(scheduler, error) from error
    executor = client.get_executor()
    try:
        yield _Cluster(client, scheduler, executor)
    finally:
        # Of a scheduler that has gone nothing can be asked any more.
        with suppress(OSError, CancelledError):
            executor.shutdown(wait=False)
        client.close(timeout=CONNECT_SECONDS)


def _unreachable(scheduler: str, error: BaseException) -> InputError:
    found = " ".join(str(error).split()) or type(error).__name__
    return InputError(
        f"scheduler: must be the address of a Dask scheduler that answers, got {scheduler!r} "
        f"({found}); see that it runs and is reachable, then start again: finished cases are kept"
    )


def _begin_worker() -> None:
    """Runs first in each process."""
    # Ctrl-C reaches the whole group; the parent decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker waits at a queue of which it holds both ends: it would not notice.
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _environment_of_workers() -> Iterator[None]:
    """Variables that libraries read when they are loaded, so before anything runs in a worker."""
    before = {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until a process has been started.

    Here, because an executor that is interrupted while it starts a process forgets it; in that
    process, which inherits the blocked signal, until it ignores it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    can_block = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if can_block else set()
    try:
        yield
    finally:
        if can_block:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        # None, if C code had set it: then Python cannot set it again.
        signal.signal(signal.SIGINT, signal.default_int_handler if handler is None else handler)
        if came:
            signal.raise_signal(signal.SIGINT)
