"""A loopback IBM Quantum service: what a test starts, disturbs and asks."""

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.loopback.account import Plan
from tests.loopback.client import environment, open_service, use_environment
from tests.loopback.devices import Device
from tests.loopback.engine import Engine, Pace
from tests.loopback.faults import Faults
from tests.loopback.handler import Listener, wait_until_idle
from tests.loopback.records import JobRecord
from tests.loopback.routes import Answer, name_endpoint, refuse
from tests.loopback.simulation import MakeExecutor, ideal_executor
from tests.loopback.store import Store

_PATIENCE_SECONDS = 5.0


@dataclass
class RequestRecord:
    """A request that arrived.

    Attributes:
        path: segments after `/api/v1`.
        status: that was answered; 0 without an answer.
        fault: the kind of fault that it met.
        seconds: when, in seconds since 1970.
    """

    method: str
    path: str
    seconds: float
    status: int = 0
    fault: str | None = None


class LoopbackServer:
    """IBM's service on this machine, for the real client.

    Args:
        backends: snapshots of the runtime package; `fake_boston` is served as `ibm_boston`.
        plan: `open` refuses sessions and has 600 s.
        pace: how long jobs take.
        make_executor: from a device to what runs its jobs; ideal Aer unless given.
        state: a file in which jobs and sessions survive the server.
        port: any free one unless given.
        check_isa: fail jobs whose circuits the device would not run.
        usage_limit_seconds: of the instance; unlimited for `premium` unless given.
        token_seconds: lifetime of access tokens.
        posts_per_minute: of jobs; more are answered 429.

    Example:
        with LoopbackServer() as server:
            backend = server.service().backend("ibm_boston")
            server.faults.add(Fault("status_after", "POST", "jobs", status=500))
            ...
            assert server.executions["my-tag"] == 1
    """

    def __init__(
        self,
        backends: Sequence[str] = ("fake_boston",),
        plan: Plan = "premium",
        *,
        pace: Pace | None = None,
        make_executor: MakeExecutor = ideal_executor,
        state: str | Path | None = None,
        port: int = 0,
        check_isa: bool = True,
        usage_limit_seconds: float | None = None,
        token_seconds: int = 3600,
        posts_per_minute: int | None = None,
    ) -> None:
        self.plan: Plan = plan
        self.devices = {device.name: device for device in map(Device.load, backends)}
        self.faults = Faults()
        self.requests: list[RequestRecord] = []
        # `ibm_boston` to `maintenance`, for example; `active` unless given.
        self.backend_status: dict[str, str] = {}
        self.usage_limit_seconds = usage_limit_seconds
        self.token_seconds = token_seconds
        self.posts_per_minute = posts_per_minute
        self.closing = threading.Event()
        self.port = port
        self._pace = pace or Pace()
        self._make_executor = make_executor
        self._state = None if state is None else Path(state)
        self._check_isa = check_isa
        self._posts: deque[float] = deque()
        self._store: Store | None = None
        self._listener: Listener | None = None
        self.engine = self._build_engine()

    def __enter__(self) -> "LoopbackServer":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Listens, and goes on with what is queued."""
        self.closing.clear()
        self.engine.start()
        self._listen()

    def close(self) -> None:
        """Refuses connections; jobs that run are as if the server had been killed."""
        self.closing.set()
        self._deafen()
        self.engine.stop()
        if self._store is not None:
            self._store.close()

    def restart(self, downtime_seconds: float = 0.0) -> None:
        """Down, and up again on the same port.

        With a state file everything but the requests is read back from it; without one the jobs
        are kept in memory. Jobs that were running start again and count as executed once.
        """
        self.go_down()
        time.sleep(downtime_seconds)
        self.come_up()

    def go_down(self) -> None:
        """Refuses connections until `come_up`; jobs that run are as if the server was killed."""
        self._deafen()
        self.engine.stop()

    def come_up(self) -> None:
        """After `go_down`, on the same port."""
        if self._store is not None:
            self._store.close()
            is_paused = self.engine.is_paused
            self.engine = self._build_engine()
            self.engine.is_paused = is_paused
        self.engine.start()
        self._listen()

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which `QiskitRuntimeService()` in any process reaches this server."""
        return environment(self.base_url)

    def use_environment(self) -> contextlib.AbstractContextManager[None]:
        """Sets `environment` in this process, and restores what was there."""
        return use_environment(self.base_url)

    def service(self) -> Any:
        """A `QiskitRuntimeService` that is logged in."""
        return open_service(self.base_url)

    @property
    def executions(self) -> dict[str, int]:
        """How often jobs were started, by job id and by tag; missing keys are 0."""
        return self.engine.count_executions()

    @property
    def jobs(self) -> list[JobRecord]:
        """In order of arrival."""
        with self.engine.lock:
            return list(self.engine.jobs.values())

    @property
    def request_counts(self) -> Counter[str]:
        """How many requests arrived at each endpoint, for example `GET jobs/*/results`."""
        return Counter(
            f"{record.method} {name_endpoint(record.method, record.path)}"
            for record in list(self.requests)
        )

    def pause(self) -> None:
        """Queued jobs stay queued."""
        self.engine.is_paused = True

    def resume(self) -> None:
        """After `pause`."""
        with self.engine.lock:
            self.engine.is_paused = False
            self.engine.lock.notify_all()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Queued jobs stay queued inside."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def wait_for(self, status: str, job_id: str, seconds: float = 30.0) -> JobRecord:
        """Until a job has a status.

        Raises:
            TimeoutError: if it has not in time.
        """
        with self.engine.lock:
            jobs = self.engine.jobs
            if not self.engine.lock.wait_for(lambda: jobs[job_id].status == status, seconds):
                raise TimeoutError(f"job {job_id} is {jobs[job_id].status}, not {status}")
            return jobs[job_id]

    def expire_session(self, session_id: str) -> None:
        """As if its TTL had run out: no more jobs, those that wait fail, a running one ends."""
        self.engine.expire_session(session_id)

    def cancel_job(self, job_id: str, reason: str = "Cancelled by the service.") -> None:
        """As the service does for maintenance; `JobFault("cancel")` does it by number or tag."""
        with self.engine.lock:
            self.engine.cancel(self.engine.jobs[job_id], reason)

    def record(self, method: str, path: str) -> RequestRecord:
        """Remembers a request; its status comes later."""
        record = RequestRecord(method, path, time.time())
        self.requests.append(record)
        return record

    def limit_post(self) -> Answer | None:
        """429 if too many jobs were posted in the last minute."""
        if self.posts_per_minute is None:
            return None
        now = time.time()
        while self._posts and self._posts[0] <= now - 60:
            self._posts.popleft()
        if len(self._posts) >= self.posts_per_minute:
            message = (
                f"Too many jobs requests received: limit is {self.posts_per_minute} per minute."
            )
            return refuse(429, 1202, message, "Reduce the rate of requests and try again.")
        self._posts.append(now)
        return None

    @staticmethod
    def now() -> float:
        """Seconds since 1970."""
        return time.time()

    def _build_engine(self) -> Engine:
        self._store = None if self._state is None else Store(self._state)
        return Engine(
            self.devices,
            self.faults,
            self._make_executor,
            self._pace,
            check_isa=self._check_isa,
            store=self._store,
        )

    def _listen(self) -> None:
        self._listener = Listener(self.port, self)
        self.port = self._listener.server_address[1]
        # Polling faster than the default 0.5 s makes closing fast.
        threading.Thread(
            target=self._listener.serve_forever, args=(0.02,), name="loopback", daemon=True
        ).start()

    def _deafen(self) -> None:
        listener = self._listener
        assert listener is not None, "the server was not started"
        listener.shutdown()
        listener.server_close()
        self.faults.release()
        wait_until_idle(listener, _PATIENCE_SECONDS)
