"""What each endpoint answers."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.loopback.account import (
    TOKEN,
    describe_instance,
    describe_plan,
    describe_usage,
    issue_token,
)
from tests.loopback.faults import Fault, JobFault
from tests.loopback.records import JobRecord, SessionRecord

if TYPE_CHECKING:
    from tests.loopback.server import LoopbackServer

# IBM's limits.
_MAX_TAGS = 8
_MAX_TAG_LENGTH = 86
_MAX_PAGE = 200


@dataclass(frozen=True)
class Call:
    """A request.

    Attributes:
        path: segments after `/api/v1`.
        query: every value of every name.
    """

    method: str
    path: tuple[str, ...]
    query: dict[str, list[str]]
    body: bytes

    @classmethod
    def read(cls, method: str, path: str, query: str, body: bytes) -> "Call":
        return cls(method, tuple(path.split("/")), parse_qs(query), body)

    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    def first(self, name: str) -> str | None:
        """The only value of a query parameter."""
        return self.query.get(name, [None])[0]


@dataclass(frozen=True)
class Answer:
    """A response; text where content is a string, else JSON."""

    status: int = 200
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        if self.content is None:
            return b""
        is_text = isinstance(self.content, str)
        return (self.content if is_text else json.dumps(self.content)).encode()


def refuse(status: int, code: int, message: str, solution: str = "", **headers: str) -> Answer:
    """An error in IBM's form."""
    error = {
        "code": code,
        "message": message,
        "solution": solution,
        "more_info": "https://quantum.cloud.ibm.com/docs/errors",
    }
    return Answer(status, {"errors": [error], "trace": "loopback"}, dict(headers))


_NO_BACKEND = refuse(404, 1007, "Backend not found.")


def answer(server: "LoopbackServer", call: Call) -> Answer:
    """The answer of the endpoint, or 404."""
    found = _find_route(call.method, call.path)
    if found is None:
        return refuse(404, 1200, f"no such endpoint: {call.method} {'/'.join(call.path)}")
    pattern, endpoint = found
    ids = [part for wanted, part in zip(pattern, call.path, strict=True) if wanted == "*"]
    with server.engine.lock:
        return endpoint(server, call, *ids)


def name_endpoint(method: str, path: str) -> str:
    """A path with `*` in place of ids; as it is if there is no such endpoint."""
    found = _find_route(method, tuple(path.split("/")))
    return path if found is None else "/".join(found[0])


def _find_route(
    method: str, path: tuple[str, ...]
) -> tuple[tuple[str, ...], Callable[..., Answer]] | None:
    for known, pattern, endpoint in _ROUTES:
        if (known, len(pattern)) == (method, len(path)) and all(
            wanted in ("*", part) for wanted, part in zip(pattern, path, strict=True)
        ):
            return pattern, endpoint
    return None


def _token(server: "LoopbackServer", call: Call) -> Answer:
    form = parse_qs(call.body.decode())
    if form.get("apikey") != [TOKEN]:
        # As IBM's identity service words it: it does not say the key.
        return Answer(400, {"errorCode": "BXNIM0415E",
                            "errorMessage": "Provided API key could not be found."})  # fmt: skip
    return Answer(content=issue_token(server.token_seconds))


def _search(server: "LoopbackServer", call: Call) -> Answer:
    return Answer(content=describe_instance())


def _catalog(server: "LoopbackServer", call: Call, plan_id: str) -> Answer:
    return Answer(content=describe_plan(server.plan))


def _usage(server: "LoopbackServer", call: Call) -> Answer:
    consumed = server.engine.job_seconds()
    return Answer(content=describe_usage(server.plan, consumed, server.usage_limit_seconds))


def _backends(server: "LoopbackServer", call: Call) -> Answer:
    devices = [
        device.describe(_num_pending(server, device.name)) for device in server.devices.values()
    ]
    return Answer(content={"devices": devices})


def _configuration(server: "LoopbackServer", call: Call, name: str) -> Answer:
    device = server.devices.get(name)
    return _NO_BACKEND if device is None else Answer(content=device.configuration)


def _properties(server: "LoopbackServer", call: Call, name: str) -> Answer:
    device = server.devices.get(name)
    return _NO_BACKEND if device is None else Answer(content=device.properties)


def _status(server: "LoopbackServer", call: Call, name: str) -> Answer:
    device = server.devices.get(name)
    if device is None:
        return _NO_BACKEND
    status = server.backend_status.get(name, "active")
    return Answer(content=device.describe_status(_num_pending(server, name), status))


def _num_pending(server: "LoopbackServer", name: str) -> int:
    return sum(job.backend == name for job in server.engine.pending_jobs())


def _open_session(server: "LoopbackServer", call: Call) -> Answer:
    content = call.json()
    mode = content.get("mode", "dedicated")
    if mode == "dedicated" and server.plan == "open":
        return refuse(
            400, 1352, "You are not authorized to run a session when using the open plan.",
            "Create an instance of a different plan type or use a different execution mode.",
        )  # fmt: skip
    if content.get("backend") not in server.devices:
        return _NO_BACKEND
    session = server.engine.open_session(content["backend"], mode, content.get("max_ttl"))
    return Answer(content=_describe_session(server, session))


def _session(server: "LoopbackServer", call: Call, session_id: str) -> Answer:
    session = server.engine.sessions.get(session_id)
    if session is None:
        return refuse(404, 1216, "Session not found.")
    if call.method == "DELETE":
        server.engine.cancel_session(session)
        return Answer(204)
    server.engine.refresh_session(session)
    if call.method == "PATCH":
        session.accepting_jobs = session.accepting_jobs and bool(call.json()["accepting_jobs"])
        server.engine.refresh_session(session)
        return Answer(204)
    return Answer(content=_describe_session(server, session))


def _describe_session(server: "LoopbackServer", session: SessionRecord) -> dict[str, Any]:
    return session.describe(server.now(), server.engine.job_seconds(session.id))


def _post_job(server: "LoopbackServer", call: Call) -> Answer:
    content = call.json()
    wrong = server.limit_post() or _check_post(server, content)
    if wrong is not None:
        return wrong
    job = server.engine.submit(content)
    return Answer(200, {"id": job.id, "backend": job.backend, "session_id": job.session_id})


def _check_post(server: "LoopbackServer", content: dict[str, Any]) -> Answer | None:
    tags = content.get("tags", [])
    if content.get("backend") not in server.devices:
        return _NO_BACKEND
    if content.get("program_id") != "executor":
        return refuse(404, 1223, f"Program {content.get('program_id')} not found.")
    if len(tags) > _MAX_TAGS:
        return refuse(400, 1204, f"Job exceeds the maximum number of tags ({_MAX_TAGS}).")
    if any(len(tag) > _MAX_TAG_LENGTH for tag in tags):
        return refuse(400, 1205, f"A tag exceeds the maximum length ({_MAX_TAG_LENGTH}).")
    session_id = content.get("session_id")
    if session_id is None:
        return None
    session = server.engine.sessions.get(session_id)
    if session is None:
        return refuse(400, 1216, "Session not found.")
    server.engine.refresh_session(session)
    if not session.accepting_jobs:
        return refuse(400, 1217, "Session has been closed.", "Start a new session.")
    if session.backend != content["backend"]:
        return refuse(400, 1218, f"Session is on {session.backend}.")
    return None


def _list_jobs(server: "LoopbackServer", call: Call) -> Answer:
    found = [job for job in server.engine.jobs.values() if _is_wanted(job, call)]
    if call.first("sort") != "ASC":
        found.reverse()
    offset, limit = int(call.first("offset") or 0), int(call.first("limit") or _MAX_PAGE)
    page = found[offset : offset + min(limit, _MAX_PAGE)]
    content = {"jobs": [job.describe() for job in page], "count": len(found)}
    return Answer(content=content | {"limit": limit, "offset": offset})


def _is_wanted(job: JobRecord, call: Call) -> bool:
    pending, after, before = map(call.first, ("pending", "created_after", "created_before"))
    return (
        set(call.query.get("tags", [])) <= set(job.tags)
        and call.first("backend") in (None, job.backend)
        and call.first("program") in (None, job.program)
        and call.first("session_id") in (None, job.session_id)
        and pending in (None, "false" if job.is_final else "true")
        and (after is None or job.created >= datetime.fromisoformat(after).timestamp())
        and (before is None or job.created <= datetime.fromisoformat(before).timestamp())
    )


def _job(server: "LoopbackServer", call: Call, job_id: str, what: str = "self") -> Answer:
    job = server.engine.jobs.get(job_id)
    if job is None:
        return refuse(404, 1291, "Job not found.", "Check the job id.")
    return _JOB_ENDPOINTS[call.method, what](server, call, job)


def _get_job(server: "LoopbackServer", call: Call, job: JobRecord) -> Answer:
    with_params = call.first("exclude_params") != "true" and not job.private
    return Answer(content=job.describe(with_params=with_params))


def _delete_job(server: "LoopbackServer", call: Call, job: JobRecord) -> Answer:
    server.engine.delete(job)
    return Answer(204)


def _results(server: "LoopbackServer", call: Call, job: JobRecord) -> Answer:
    if job.status == "Failed":
        return Answer(content=job.reason or "")
    return Answer(204) if job.result is None else Answer(content=job.result)


def _metrics(server: "LoopbackServer", call: Call, job: JobRecord) -> Answer:
    return Answer(content=job.describe_metrics())


def _logs(server: "LoopbackServer", call: Call, job: JobRecord) -> Answer:
    if not job.is_final:
        return refuse(404, 1291, "Logs are not available yet.")
    return Answer(content=f"loopback: job {job.id} {job.status}\n")


def _cancel(server: "LoopbackServer", call: Call, job: JobRecord) -> Answer:
    if job.is_final:
        return refuse(409, 1270, f"Job is {job.status} already.")
    server.engine.cancel(job)
    return Answer(204)


def _tags(server: "LoopbackServer", call: Call, job: JobRecord) -> Answer:
    job.tags = list(call.json()["tags"])
    server.engine.save(job)
    return Answer(204)


_JOB_ENDPOINTS: dict[tuple[str, str], Callable[..., Answer]] = {
    ("GET", "self"): _get_job,
    ("DELETE", "self"): _delete_job,
    ("GET", "results"): _results,
    ("GET", "metrics"): _metrics,
    ("GET", "logs"): _logs,
    ("POST", "cancel"): _cancel,
    ("PUT", "tags"): _tags,
}


def _named_job(what: str) -> Callable[..., Answer]:
    return lambda server, call, job_id: _job(server, call, job_id, what)


# For another process that looks at, or disturbs, a server of its own.


def _state(server: "LoopbackServer", call: Call) -> Answer:
    jobs = [
        job.describe()
        | {"executions": job.executions}
        # Exact, unlike those of the service: seconds since 1970.
        | {"times": {"created": job.created, "started": job.started, "finished": job.finished}}
        for job in server.engine.jobs.values()
    ]
    requests = [asdict(request) for request in server.requests]
    executions = dict(server.executions)
    return Answer(content={"jobs": jobs, "requests": requests, "executions": executions})


def _add_fault(server: "LoopbackServer", call: Call) -> Answer:
    content = call.json()
    kinds = {"fault": Fault, "job_fault": JobFault}
    server.faults.add(kinds[content.pop("type", "fault")](**content))
    return Answer(204)


def _expire(server: "LoopbackServer", call: Call, session_id: str) -> Answer:
    server.expire_session(session_id)
    return Answer(204)


_ROUTES: list[tuple[str, tuple[str, ...], Callable[..., Answer]]] = [
    (method, tuple(path.split("/")), endpoint)
    for method, path, endpoint in [
        ("POST", "identity/token", _token),
        ("POST", "v3/resources/search", _search),
        ("GET", "catalog/*", _catalog),
        ("GET", "instances/usage", _usage),
        ("GET", "backends", _backends),
        ("GET", "backends/*/configuration", _configuration),
        ("GET", "backends/*/properties", _properties),
        ("GET", "backends/*/status", _status),
        ("POST", "sessions", _open_session),
        ("GET", "sessions/*", _session),
        ("PATCH", "sessions/*", _session),
        ("DELETE", "sessions/*/close", _session),
        ("POST", "jobs", _post_job),
        ("GET", "jobs", _list_jobs),
        ("GET", "jobs/*", _named_job("self")),
        ("DELETE", "jobs/*", _named_job("self")),
        ("GET", "jobs/*/results", _named_job("results")),
        ("GET", "jobs/*/metrics", _named_job("metrics")),
        ("GET", "jobs/*/logs", _named_job("logs")),
        ("POST", "jobs/*/cancel", _named_job("cancel")),
        ("PUT", "jobs/*/tags", _named_job("tags")),
        ("GET", "loopback/state", _state),
        ("POST", "loopback/faults", _add_fault),
        ("POST", "loopback/sessions/*/expire", _expire),
    ]
]
