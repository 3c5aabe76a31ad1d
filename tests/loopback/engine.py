"""The life of jobs and sessions: Queued, Running, and one of three ends."""

import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.loopback.devices import Device
from tests.loopback.faults import Faults, JobFault
from tests.loopback.posted import decode_program, encode_result
from tests.loopback.records import JobRecord, SessionRecord
from tests.loopback.simulation import MakeExecutor, Simulation, usage_seconds
from tests.loopback.store import Store

Seconds = float | Callable[[JobRecord], float]

# Codes of IBM's error registry.
_CODE_NOT_ISA = 1517
_CODE_SESSION_CLOSED = 1217
_CODE_TOO_LONG = 1305
_CODE_PROGRAM_FAILED = 1524


@dataclass(frozen=True)
class Pace:
    """How long jobs take, seconds or a function of the job.

    Attributes:
        queue_seconds: at least this long Queued.
        run_seconds: at least this long Running.
        num_workers: jobs that run at the same time; with two or more, a fast job overtakes a slow
            one.
    """

    queue_seconds: Seconds = 0.0
    run_seconds: Seconds = 0.0
    num_workers: int = 2


class Engine:
    """Jobs, sessions and the threads that run them.

    Attributes:
        lock: guards everything; notified at every change.
        jobs: by id, in order of arrival.
        sessions: by id.
    """

    def __init__(
        self,
        devices: dict[str, Device],
        faults: Faults,
        make_executor: MakeExecutor,
        pace: Pace,
        *,
        check_isa: bool,
        store: Store | None,
    ) -> None:
        self.lock = threading.Condition(threading.RLock())
        self.jobs: dict[str, JobRecord] = {}
        self.sessions: dict[str, SessionRecord] = {}
        self.is_paused = False
        self._devices = devices
        self._faults = faults
        self._simulation = Simulation(make_executor)
        self._pace = pace
        self._check_isa = check_isa
        self._store = store
        self._is_stopping = False
        self._workers: list[threading.Thread] = []
        # Numbers of deleted jobs are not given again.
        self._last_number = 0
        if store is not None:
            self.jobs, self.sessions = store.load()
            self._last_number = max((job.number for job in self.jobs.values()), default=0)

    def start(self) -> None:
        """Runs what is queued. What was running when the server died is run again from its start.

        The same job gives the same bits, and the lost run is not counted.
        """
        with self.lock:
            for job in self.jobs.values():
                if job.status == "Running":
                    job.status, job.started = "Queued", None
                    job.executions -= 1
                    self.save(job)
        self._is_stopping = False
        self._workers = [
            threading.Thread(target=self._work, name=f"loopback-worker-{i}", daemon=True)
            for i in range(self._pace.num_workers)
        ]
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Ends the threads; a simulation is finished, its job is not if it should take longer."""
        with self.lock:
            self._is_stopping = True
            self.lock.notify_all()
        for worker in self._workers:
            worker.join()

    def submit(self, content: dict[str, Any]) -> JobRecord:
        """A new job of a checked POST."""
        with self.lock:
            self._last_number += 1
            job = JobRecord(
                id=f"d{uuid.uuid4().hex[:19]}",
                number=self._last_number,
                backend=content["backend"],
                program=content["program_id"],
                tags=list(content.get("tags", [])),
                created=time.time(),
                session_id=content.get("session_id"),
                max_seconds=content.get("cost"),
                private=bool(content.get("private", False)),
                params=content.get("params", {}),
            )
            self.jobs[job.id] = job
            self.save(job)
            return job

    def cancel(self, job: JobRecord, reason: str | None = None, code: int | None = None) -> None:
        """Whether it waits or runs."""
        with self.lock:
            job.finish("Cancelled", reason, code, time.time())
            self.save(job)

    def delete(self, job: JobRecord) -> None:
        with self.lock:
            if not job.is_final:
                self.cancel(job)
            del self.jobs[job.id]
            if self._store is not None:
                self._store.delete_job(job.id)

    def open_session(self, backend: str, mode: str, max_ttl: int | None) -> SessionRecord:
        with self.lock:
            session = SessionRecord(str(uuid.uuid4()), backend, mode, time.time())
            session.max_ttl = max_ttl or session.max_ttl
            self.sessions[session.id] = session
            self.save(session)
            return session

    def refresh_session(self, session: SessionRecord) -> None:
        """What time has done to it; jobs that wait in a closed one fail."""
        with self.lock:
            was_closed = session.state == "closed"
            session.refresh(time.time(), len(self.pending_jobs(session.id)))
            if session.state == "closed" and not was_closed:
                self._fail_waiting(session)
            self.save(session)

    def expire_session(self, session_id: str) -> None:
        """As if its TTL had run out just now."""
        with self.lock:
            session = self.sessions[session_id]
            if session.state != "closed":
                session.close(time.time())
                self._fail_waiting(session)
            self.save(session)

    def cancel_session(self, session: SessionRecord) -> None:
        """Closes it and cancels what waits in it."""
        with self.lock:
            for job in self.pending_jobs(session.id):
                if job.status == "Queued":
                    self.cancel(job, "Session was cancelled.")
            session.accepting_jobs = False
            self.refresh_session(session)

    def pending_jobs(self, session_id: str | None = None) -> list[JobRecord]:
        """Queued and running, of all sessions unless one is given."""
        with self.lock:
            return [
                job
                for job in self.jobs.values()
                if not job.is_final and session_id in (None, job.session_id)
            ]

    def job_seconds(self, session_id: str | None = None) -> float:
        """Usage of all jobs, or of one session's."""
        with self.lock:
            return sum(
                job.quantum_seconds
                for job in self.jobs.values()
                if session_id in (None, job.session_id)
            )

    def count_executions(self) -> Counter[str]:
        """How often jobs were started, by job id and by tag."""
        counts: Counter[str] = Counter()
        with self.lock:
            for job in self.jobs.values():
                for key in {job.id, *job.tags}:
                    counts[key] += job.executions
        return counts

    def save(self, record: JobRecord | SessionRecord) -> None:
        """After every change."""
        with self.lock:
            if self._store is not None and isinstance(record, SessionRecord):
                self._store.save_session(record)
            elif self._store is not None and record.id in self.jobs:
                self._store.save_job(record)
            self.lock.notify_all()

    def _fail_waiting(self, session: SessionRecord) -> None:
        for job in self.pending_jobs(session.id):
            if job.status == "Queued":
                reason = "Session has been closed."
                job.finish("Failed", reason, _CODE_SESSION_CLOSED, time.time())
                self.save(job)

    def _work(self) -> None:
        while (job := self._take()) is not None:
            released = self._faults.released
            fault = self._faults.take_for_job(job.tags)
            seconds = self._length(self._pace.run_seconds, job)
            if fault is not None and fault.kind == "slow":
                seconds += fault.seconds
            outcome = self._run(job, fault)
            if fault is not None and fault.kind == "hold":
                while not (self._is_stopping or job.is_final or released.wait(0.02)):
                    pass
            with self.lock:
                end = job.started + seconds
                while not self._is_stopping and not job.is_final and time.time() < end:
                    self.lock.wait(end - time.time())
                if job.status == "Running" and not self._is_stopping:
                    self._finish(job, *outcome)

    def _take(self) -> JobRecord | None:
        """The next job, marked as running; None at the end."""
        with self.lock:
            while not self._is_stopping:
                now, waits = time.time(), list[float]()
                for job in self.jobs.values():
                    if job.status != "Queued" or self.is_paused:
                        continue
                    start = job.created + self._length(self._pace.queue_seconds, job)
                    if start <= now:
                        self._start_job(job, now)
                        return job
                    waits.append(start - now)
                self.lock.wait(min(waits, default=None))
            return None

    def _start_job(self, job: JobRecord, now: float) -> None:
        job.status, job.started = "Running", now
        job.executions += 1
        self.save(job)
        if job.session_id is not None:
            self.sessions[job.session_id].start_job(now)
            self.save(self.sessions[job.session_id])

    def _run(self, job: JobRecord, fault: JobFault | None) -> tuple[Any, ...]:
        """How it ends: status, reason, code, result, quantum seconds."""
        if fault is not None and fault.kind == "fail":
            return "Failed", fault.reason, fault.reason_code, None, 0.0
        if fault is not None and fault.kind == "cancel":
            return "Cancelled", fault.reason, fault.reason_code, None, 0.0
        if fault is not None and fault.kind == "too_long":
            return "Cancelled", "Job ran too long.", _CODE_TOO_LONG, None, 0.0
        device = self._devices[job.backend]
        try:
            program = decode_program(job.params)
            for item in program.items:
                wrong = device.find_fault(item.circuit) if self._check_isa else None
                if wrong is not None:
                    return "Failed", wrong, _CODE_NOT_ISA, None, 0.0
            seconds = usage_seconds(device, program)
            if job.max_seconds is not None and seconds > job.max_seconds:
                return (
                    "Cancelled",
                    "Job ran too long.",
                    _CODE_TOO_LONG,
                    None,
                    float(job.max_seconds),
                )
            started = time.time()
            bits = self._simulation.run(device, program)
            result = encode_result(job.params, bits, started, time.time())
        except Exception as error:  # what a wrong program raises is this job's failure
            reason = "".join(traceback.format_exception(error))
            return "Failed", reason, _CODE_PROGRAM_FAILED, None, 0.0
        return "Completed", None, None, result, seconds

    def _finish(
        self,
        job: JobRecord,
        status: str,
        reason: str | None,
        code: int | None,
        result: str | None,
        quantum_seconds: float,
    ) -> None:
        job.result, job.quantum_seconds = result, quantum_seconds
        job.finish(status, reason, code, time.time())
        self.save(job)
        if job.session_id is not None:
            session = self.sessions[job.session_id]
            session.last_job_completed = time.time()
            self.refresh_session(session)

    @staticmethod
    def _length(seconds: Seconds, job: JobRecord) -> float:
        return seconds(job) if callable(seconds) else seconds
