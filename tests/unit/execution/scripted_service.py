"""A service in memory, and a client of it with which anything may go wrong at any call."""

import json
import threading
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution.runtime_jobs import (
    AmbiguousJobError,
    JobState,
    TransientJobError,
    UnknownJobError,
)
from qrnn_qiskit.ledger import JobMetrics


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Job:
    job_id: str
    tag: str
    order: object
    end: str = "done"
    polls_left: int = 1
    status: str = "queued"
    # Questions after the tag that are answered before this job is listed.
    unlisted: int = 0


@dataclass
class Service:
    """What the service knows; it outlives its clients."""

    jobs: dict = field(default_factory=dict)
    executions: Counter = field(default_factory=Counter)
    calls: Counter = field(default_factory=Counter)
    # How the next jobs end, `done` without one.
    ends: list = field(default_factory=list)
    polls: int = 1
    # Ids of jobs of which it knows nothing any more.
    deleted: set = field(default_factory=set)

    def accept(self, order, unlisted=0):
        end = self.ends.pop(0) if self.ends else "done"
        job = Job(f"job{len(self.jobs)}", order.tag, order, end, self.polls, unlisted=unlisted)
        self.jobs[job.job_id] = job
        return job.job_id

    def step(self, job):
        if job.status in ("done", "failed", "cancelled", "lost"):
            return
        job.polls_left -= 1
        job.status = "running" if job.polls_left >= 0 else job.end
        if job.status == "done":
            self.executions[job.tag] += 1


def bits_of(order):
    """Bit 0 says whether the row's first value is positive, the others depend on the seed."""
    rng = np.random.default_rng(order.request.seed)
    bits = rng.integers(0, 2, order.shape, dtype=np.uint8)
    bits[..., 0] = order.parameter_values[:, :1] > 0
    return bits


class ScriptedClient:
    """A `JobClient`.

    Args:
        service: that it speaks to.
        faults: of the calls of each method, by number from 0: `{("submit", 1): "after"}`.
    """

    name = "scripted"
    account = None
    call_seconds = None

    def __init__(self, service, faults=None, call_seconds=None):
        self.service = service
        self.faults = dict(faults or {})
        self.call_seconds = call_seconds
        self.released = threading.Event()
        self._seen = Counter()

    def open(self):
        pass

    def close(self):
        pass

    def submit(self, order):
        kind = self._fault("submit")
        if kind == "before":
            raise AmbiguousJobError("connection reset")
        if kind == "hang":
            self.released.wait(10)
            raise AmbiguousJobError("connection closed")
        if kind == "hang_late":
            self.released.wait(10)
        unlisted = {"late": 3, "hang_late": 99}.get(kind, 0)
        job_id = self.service.accept(order, unlisted)
        if kind in ("after", "late"):
            raise AmbiguousJobError("connection reset")
        if kind == "twice":
            self.service.accept(order)
            raise AmbiguousJobError("connection reset")
        if kind == "hang_after":
            self.released.wait(10)
        return job_id

    def find(self, tag):
        self._fault("find")
        found = []
        for job in self.service.jobs.values():
            if job.job_id in self.service.deleted:
                continue
            if job.tag == tag and job.unlisted > 0:
                job.unlisted -= 1
            elif job.tag == tag:
                found.append(job.job_id)
        return found

    def status(self, job_id):
        self._fault("status")
        if job_id in self.service.deleted:
            raise UnknownJobError("404")
        # Jobs run whether or not anyone asks after them.
        for job in self.service.jobs.values():
            self.service.step(job)
        job = self.service.jobs[job_id]
        return JobState(job.status, "out of helium" if job.status == "failed" else "")

    def result_text(self, job_id):
        if self._fault("result_text") == "garbage":
            return "<html>"
        job = self.service.jobs[job_id]
        assert job.status == "done"
        return json.dumps({"bits": bits_of(job.order).tolist()})

    def decode_result(self, text, order):
        bits = np.array(json.loads(text)["bits"], dtype=np.uint8)
        if bits.shape != order.shape:
            raise ValueError("shape")
        return bits

    def metrics(self, job_id):
        return JobMetrics(None if self._fault("metrics") == "unsettled" else 2.5)

    def update_session(self):
        self._fault("update_session")

    def cancel(self, job_id):
        self._fault("cancel")
        self.service.jobs[job_id].status = "cancelled"

    def _fault(self, method):
        number = self._seen[method]
        self._seen[method] += 1
        self.service.calls[method] += 1
        kind = self.faults.get((method, number))
        if kind == "transient":
            raise TransientJobError("429")
        if kind == "fatal":
            raise InputError("runtime: must be allowed, got 403; ask")
        return kind


class CrashPoints:
    """Ends the process before or after the call of a given number, over several objects.

    Args:
        at: number of the point, counted over all calls of all guarded objects; none if None.
    """

    def __init__(self, at=None):
        self.at = at
        self.count = 0

    def guard(self, target, *methods):
        return _Guarded(target, methods, self)

    def pass_by(self):
        self.count += 1
        if self.count == self.at:
            raise Crash


class _Guarded:
    def __init__(self, target, methods, points):
        self._target, self._methods, self._points = target, methods, points

    def __getattr__(self, name):
        value = getattr(self._target, name)
        if name not in self._methods:
            return value

        def call(*arguments, **named):
            self._points.pass_by()
            answer = value(*arguments, **named)
            self._points.pass_by()
            return answer

        return call
