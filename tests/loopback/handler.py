"""HTTP: reads a request, lets faults happen, answers."""

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.loopback.account import is_valid
from tests.loopback.faults import Fault
from tests.loopback.routes import Answer, Call, answer, refuse

if TYPE_CHECKING:
    from tests.loopback.server import LoopbackServer

# The client takes a URL with this word as it is, port included (0.51,
# default_runtime_url_resolver); IBM's own path follows.
API_PATH = "/experimental/api/v1"
# What needs no token.
_PUBLIC = ("identity", "loopback")


class Listener(ThreadingHTTPServer):
    """The listening socket of a server."""

    daemon_threads = True
    # Many clients at once wait here instead of being refused.
    request_queue_size = 128

    def __init__(self, port: int, server: "LoopbackServer") -> None:
        self.loopback = server
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request, client_address) -> None:
        """A client that went away is no error of ours."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    # One request per connection: nothing stays open on either side.
    protocol_version = "HTTP/1.0"

    def _handle(self) -> None:
        server: LoopbackServer = self.server.loopback  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        path = url.path.removeprefix(API_PATH).strip("/")
        record = server.record(self.command, path)
        fault = server.faults.take(self.command, path)
        record.fault = None if fault is None else fault.kind
        if fault is not None and fault.kind in ("reset", "restart"):
            self._abort()
            if fault.kind == "restart":
                threading.Thread(target=server.restart, daemon=True).start()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = self._decide(server, Call.read(self.command, path, url.query, body), fault)
        if found is None:
            self._abort()
            return
        record.status = found.status
        self._send(found, broken=fault is not None and fault.kind == "truncate")

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_PATCH(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _decide(self, server: "LoopbackServer", call: Call, fault: Fault | None) -> Answer | None:
        """What to answer; None for a reset."""
        kind = None if fault is None else fault.kind
        refusal = None if fault is None else _refusal(fault)
        if kind == "status":
            return refusal
        if kind == "hang":
            return self._hang(server)
        if kind == "delay":
            server.closing.wait(fault.seconds)
        if kind == "expire_session":
            server.expire_session(json.loads(call.body)["session_id"])
        if call.path[0] not in _PUBLIC and not is_valid(self.headers.get("Authorization", "")):
            return refuse(401, 1201, "Invalid credentials.", "Check the credentials.")
        if kind == "unlisted":
            return Answer(content={"jobs": [], "count": 0})
        try:
            if kind == "twice":
                answer(server, call)
            found = answer(server, call)
        except Exception as error:  # a fault of this server, or of what it was sent
            found = refuse(500, 1000, f"loopback: {type(error).__name__}: {error}")
        if kind == "status_after":
            return refusal
        if kind in ("reset_after", "twice"):
            return None
        if kind == "hang_after":
            return self._hang(server)
        if kind == "delay_after":
            server.closing.wait(fault.seconds)
        if kind == "garbage":
            return Answer(200, "<html>Bad Gateway</html>")
        return found

    def _hang(self, server: "LoopbackServer") -> None:
        released = server.faults.released
        while not released.wait(0.05) and not server.closing.is_set():
            pass

    def _send(self, found: Answer, *, broken: bool) -> None:
        body = found.body
        self.send_response(found.status)
        for name, value in found.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if broken else body)

    def _abort(self) -> None:
        """A reset (RST) instead of an orderly end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            # The file holds the socket open.
            self.rfile.close()
            self.connection.close()

    def log_message(self, format, *args) -> None:  # noqa: A002
        """Requests are remembered, not printed."""


def _refusal(fault: Fault) -> Answer:
    found = refuse(fault.status, fault.code, fault.message)
    if fault.retry_after is not None:
        found.headers["Retry-After"] = f"{fault.retry_after:g}"
    return found


def wait_until_idle(listener: Listener, seconds: float) -> None:
    """Lets the threads of a closed listener end."""
    end = time.monotonic() + seconds
    for thread in threading.enumerate():
        if getattr(thread, "_target", None) == listener.process_request_thread:
            thread.join(max(0.0, end - time.monotonic()))
