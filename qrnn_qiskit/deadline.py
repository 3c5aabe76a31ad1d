"""Calls that may hang: given up after a time, and left to themselves."""

import contextvars
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

# On Windows waiting for a thread is deaf to Ctrl-C, so we wait no longer than this at a time.
_SLICE_SECONDS = 0.25

_Answer = TypeVar("_Answer")


class DeadlineExceeded(TimeoutError):  # noqa: N818
    """A call did not return in time; what it does later nobody hears, unless `late` was given."""


class _Call(Generic[_Answer]):
    """A call in a thread of its own, which is left to itself when nobody waits any longer."""

    def __init__(
        self, function: Callable[[], _Answer], late: Callable[[_Answer], object] | None
    ) -> None:
        self._function, self._late = function, late
        self._lock = threading.Lock()
        self._is_abandoned = False
        self.is_over = threading.Event()
        self.answers: list[_Answer] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        answer: list[_Answer] = []
        error = None
        try:
            answer.append(self._function())
        except BaseException as raised:  # noqa: BLE001, RUF100
            error = raised
        with self._lock:
            self.answers, self.error = answer, error
            self.is_over.set()
            is_late = self._is_abandoned
        if is_late and answer and self._late is not None:
            self._late(answer[0])

    def abandon(self) -> bool:
        """Leaves the call to itself, unless it is over after all."""
        with self._lock:
            self._is_abandoned = not self.is_over.is_set()
            return self._is_abandoned


def call_with_deadline(
    function: Callable[[], _Answer],
    seconds: float,
    *,
    late: Callable[[_Answer], object] | None = None,
) -> _Answer:
    """The answer of a function, or an error if it takes too long.

    The function runs in a daemon thread. One that is late goes on there, and ends with the process
    at the latest. So a call that changes something may do so after this has raised: look that up,
    or let `late` note it.

    Args:
        function: to call; what it raises is raised here.
        seconds: to wait for it.
        late: called, in that thread, with an answer that comes after the deadline or Ctrl-C.

    Raises:
        DeadlineExceeded: if the function has not returned by then.

    Example:
        >>> call_with_deadline(lambda: 6 * 7, seconds=60)
        42
        >>> call_with_deadline(lambda: time.sleep(1), seconds=0.01)
        Traceback (most recent call last):
        ...
        qrnn_qiskit.deadline.DeadlineExceeded: no answer within 0.01 s
    """
    call = _Call(function, late)
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(call.run,), daemon=True)
    deadline = time.monotonic() + seconds
    try:
        thread.start()
        while not call.is_over.is_set() and (left := deadline - time.monotonic()) > 0:
            call.is_over.wait(min(left, _SLICE_SECONDS))
    except BaseException:
        if not call.abandon() and call.answers and late is not None:
            # Its answer came just when Ctrl-C did.
            late(call.answers[0])
        raise
    if call.abandon():
        raise DeadlineExceeded(f"no answer within {seconds:g} s")
    if call.error is not None:
        raise call.error
    return call.answers[0]
