"""How a remote service is called: not too often, again after a fault, and how long all in all.

Nothing here knows a vendor. Clocks, sleeping and chance are arguments, so that tests need none of
them. Ctrl-C passes through at once wherever this code waits.
"""

import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, Protocol, TypeVar

from qrnn_qiskit.errors import require

Verdict = Literal["retry", "ambiguous", "fatal"]
"""What an exception says of a call: it had no effect and may be made again; it may have had its
effect, which must be looked up first; it is of no use to go on."""

_Answer = TypeVar("_Answer")


class CallLog(Protocol):
    """Where the times of calls are kept; a `Ledger` is one that processes share."""

    def reserve_call(self, kind: str, now: float, max_calls: int, per_seconds: float) -> float:
        """Notes a call now and gives 0.0, or notes nothing and gives the seconds to wait first."""
        ...


class CallsHere:
    """Times of calls of this process only.

    Example:
        >>> calls = CallsHere()
        >>> [calls.reserve_call("submit", float(now), 2, 60.0) for now in range(3)]
        [0.0, 0.0, 58.0]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, list[float]] = {}

    def reserve_call(self, kind: str, now: float, max_calls: int, per_seconds: float) -> float:
        """See `CallLog`."""
        with self._lock:
            times = [at for at in self._times.get(kind, []) if at > now - per_seconds]
            wait = seconds_to_wait(times, now, max_calls, per_seconds)
            self._times[kind] = times if wait > 0 else [*times, now]
            return wait


def seconds_to_wait(
    times: Sequence[float], now: float, max_calls: int, per_seconds: float
) -> float:
    """How long a call must wait so that no window of `per_seconds` holds more than `max_calls`.

    Args:
        times: of earlier calls, in any order. Those after `now` were noted before the clock was
            put back; they count as made now.
        now: in the same seconds.
        max_calls: in a window.
        per_seconds: length of the window.

    Example:
        >>> seconds_to_wait([0.0, 10.0], now=15.0, max_calls=2, per_seconds=60.0)
        45.0
        >>> seconds_to_wait([0.0, 10.0], now=60.0, max_calls=2, per_seconds=60.0)
        0.0
    """
    recent = sorted(min(at, now) for at in times if at > now - per_seconds)
    if len(recent) < max_calls:
        return 0.0
    return recent[-max_calls] + per_seconds - now


@dataclass(frozen=True)
class RateLimiter:
    """At most so many calls in any window of time.

    Args:
        max_calls: in a window; IBM Quantum takes 5 new jobs per minute and user.
        per_seconds: length of the window.
        kind: of calls, each with its own limit.
        calls: where times are kept; a `Ledger` shares the limit among processes and restarts.
        clock: seconds that all who share `calls` agree on, so not monotonic time.
        sleep: waits.

    Raises:
        InputError: if the limit is not positive.

    Example:
        >>> now = [0.0]
        >>> def sleep(seconds):
        ...     now[0] += seconds
        >>> limiter = RateLimiter(2, 60.0, clock=lambda: now[0], sleep=sleep)
        >>> [limiter.wait() for _ in range(5)]
        [0.0, 0.0, 60.0, 0.0, 60.0]
    """

    max_calls: int = 5
    per_seconds: float = 60.0
    kind: str = "submit"
    calls: CallLog = field(default_factory=CallsHere)
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        require(self.max_calls >= 1, "max_calls", "must be at least 1", self.max_calls,
                "allow one call or more")  # fmt: skip
        require(self.per_seconds > 0, "per_seconds", "must be positive", self.per_seconds,
                "use 60 for calls per minute")  # fmt: skip

    def wait(self) -> float:
        """Waits until a call may be made, which counts as made now; the seconds that it took."""
        waited = 0.0
        while True:
            seconds = self.calls.reserve_call(
                self.kind, self.clock(), self.max_calls, self.per_seconds
            )
            if seconds <= 0:
                return waited
            self.sleep(seconds)
            waited += seconds


@dataclass(frozen=True)
class Backoff:
    """How long to wait before trying again: longer each time, and less regularly than others do.

    Args:
        base: seconds before the first new try, at most.
        factor: from one try to the next.
        cap: seconds, at most, unless the service asks for more.
        jitter: the part of a wait that chance takes away or leaves, so that those who failed
            together do not come back together.
        patience: seconds, at most, whatever the service asks for.
        draw: a random number in [0, 1). Of the system, since a seeded one would come back
            together with its twins.

    Raises:
        InputError: if a number makes no sense.

    Example:
        >>> plain = Backoff(jitter=0.0)
        >>> [plain.seconds(tries) for tries in (0, 1, 2, 9)]
        [1.0, 2.0, 4.0, 60.0]
        >>> plain.seconds(0, retry_after=90.0)
        90.0
    """

    base: float = 1.0
    factor: float = 2.0
    cap: float = 60.0
    jitter: float = 0.5
    patience: float = 3600.0
    draw: Callable[[], float] = secrets.SystemRandom().random

    def __post_init__(self) -> None:
        require(self.base > 0, "base", "must be positive", self.base, "use 1 second")
        require(self.factor >= 1, "factor", "must be at least 1", self.factor, "use 2 to double")
        require(self.cap >= self.base, "cap", "must be at least base", self.cap, "use 60 seconds")
        require(0 <= self.jitter <= 1, "jitter", "must lie in [0, 1]", self.jitter, "use 0.5")
        require(self.patience >= self.cap, "patience", "must be at least cap", self.patience,
                "use 3600 seconds")  # fmt: skip

    def seconds(self, num_tries: int, retry_after: float | None = None) -> float:
        """How long to wait after failing once more than `num_tries` times."""
        try:
            longest = min(self.cap, self.base * self.factor**num_tries)
        except OverflowError:
            longest = self.cap
        own = longest * (1 - self.jitter * self.draw())
        asked = 0.0 if retry_after is None else min(retry_after, self.patience)
        return max(own, asked)


@dataclass(frozen=True)
class Patience:
    """How long a service may take.

    Attributes:
        poll: between questions after a job's status.
        faults: between tries of a call that failed.
        max_tries: of a call that changes something.
        max_reads: of a call that only asks.
        settle_seconds: for which a job that may have been accepted is looked for, because it may
            be listed late, before it is sent again; and for which a job that the service does not
            know is asked for before it counts as deleted.
        watchdog_seconds: after which a job that is not final is no longer waited for; it stays in
            its queue, and running the request again goes on waiting.
    """

    # A job is heard to have ended at most 15 % of its time, and 0.1 s, late.
    poll: Backoff = field(default_factory=lambda: Backoff(0.1, 1.15, 60.0, 0.2))
    faults: Backoff = field(default_factory=Backoff)
    max_tries: int = 8
    max_reads: int = 40
    settle_seconds: float = 20.0
    watchdog_seconds: float = 7 * 86_400.0

    def __post_init__(self) -> None:
        for name in ("max_tries", "max_reads"):
            require(getattr(self, name) >= 1, name, "must be at least 1", getattr(self, name),
                    "allow one or more")  # fmt: skip
        require(self.settle_seconds >= 0, "settle_seconds", "must not be negative",
                self.settle_seconds, "use 20 seconds")  # fmt: skip
        require(self.watchdog_seconds > 0, "watchdog_seconds", "must be positive",
                self.watchdog_seconds, "use a day, 86400")  # fmt: skip


def parse_retry_after(text: str, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks for, which gives them or a date; none if neither.

    Source: RFC 9110, section 10.2.3.

    Example:
        >>> parse_retry_after("120", now=0.0)
        120.0
        >>> parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=15.0)
        45.0
    """
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        seconds = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def retry_after_of(exception: BaseException) -> float | None:
    """Seconds that the service asked for in the response behind an exception, or its causes.

    Example:
        >>> from types import SimpleNamespace
        >>> error = OSError("429 Too Many Requests")
        >>> error.response = SimpleNamespace(headers={"retry-after": "7"})
        >>> retry_after_of(error)
        7.0
    """
    seen: list[BaseException] = []
    link: BaseException | None = exception
    while link is not None and link not in seen:
        seen.append(link)
        for holder in (getattr(link, "response", None), link):
            headers = getattr(holder, "headers", None)
            if isinstance(headers, Mapping):
                for name, value in headers.items():
                    if str(name).lower() == "retry-after":
                        return parse_retry_after(str(value), datetime.now(UTC).timestamp())
        link = link.__cause__ or link.__context__
    return None


def retry(
    call: Callable[[], _Answer],
    classify: Callable[[Exception], Verdict],
    *,
    recover: Callable[[], _Answer | None] | None = None,
    backoff: Backoff | None = None,
    max_tries: int = 8,
    sleep: Callable[[float], None] = time.sleep,
    on_wait: Callable[[Exception, float], object] | None = None,
) -> _Answer:
    """The answer of a call that is made again after passing faults.

    After an ambiguous fault, such as a connection lost while a job was being sent, the call may
    have had its effect. From then on `recover` is asked, until it answers, before each new call.

    Args:
        call: to make.
        classify: says what an exception means; those that are no `Exception`, Ctrl-C among them,
            pass through.
        recover: looks up what the call may have done, none if it did nothing; it must change
            nothing, so its own ambiguous faults are passing ones. Without it an ambiguous fault is
            raised.
        backoff: how long to wait between tries.
        max_tries: of `call` and `recover` together.
        sleep: waits.
        on_wait: told the fault and the seconds before each wait.

    Raises:
        Exception: what `call` or `recover` raised, if it is fatal, or the last one allowed.
        InputError: if no try is allowed.

    Example:
        >>> faults = [ConnectionError("reset"), ConnectionError("reset")]
        >>> def send():
        ...     if faults:
        ...         raise faults.pop()
        ...     return "job 1"
        >>> retry(send, lambda error: "retry", sleep=lambda seconds: None)
        'job 1'
    """
    require(max_tries >= 1, "max_tries", "must be at least 1", max_tries, "allow one try or more")
    backoff = Backoff() if backoff is None else backoff
    # Raised when tries run out while looking up: it says what must be found out.
    doubt: Exception | None = None
    # What was not found may only have been slow to appear, so we look before each further call.
    must_look = False
    for num_tries in range(max_tries):
        try:
            if must_look and recover is not None:
                found = recover()
                if found is not None:
                    return found
                doubt = None
            return call()
        except Exception as error:
            verdict = classify(error)
            if doubt is None and verdict == "ambiguous":
                if recover is None:
                    raise
                doubt, must_look = error, True
            if verdict == "fatal" or num_tries == max_tries - 1:
                if doubt is not None and doubt is not error:
                    raise doubt from error
                raise
            seconds = backoff.seconds(num_tries, retry_after_of(error))
            if on_wait is not None:
                on_wait(error, seconds)
            sleep(seconds)
    raise AssertionError("unreachable: the last try returns or raises")
