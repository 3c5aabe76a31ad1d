import contextvars
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrnn_qiskit.deadline import DeadlineExceeded, call_with_deadline
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.ledger import Ledger
from qrnn_qiskit.pacing import (
    Backoff,
    CallsHere,
    RateLimiter,
    parse_retry_after,
    retry,
    retry_after_of,
    seconds_to_wait,
)


class Clock:
    def __init__(self, now=1000.0):
        self.now = now
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@given(
    st.lists(st.floats(0, 30), min_size=1, max_size=60),
    st.integers(1, 7),
    st.floats(0.5, 100),
)
def test_no_window_ever_holds_more_calls_than_allowed(pauses, max_calls, per_seconds):
    clock = Clock()
    limiter = RateLimiter(max_calls, per_seconds, clock=clock, sleep=clock.sleep)
    made = []
    for pause in pauses:
        clock.now += pause
        limiter.wait()
        made.append(clock.now)
    for first, later in zip(made, made[max_calls:], strict=False):
        # Rounding of times near 1000 in the sum that the limiter waits for.
        assert later - first >= per_seconds * (1 - 1e-9) - 1e-9


def test_calls_that_are_rare_enough_never_wait():
    clock = Clock()
    limiter = RateLimiter(5, 60, clock=clock, sleep=clock.sleep)
    for _ in range(50):
        assert limiter.wait() == 0
        clock.now += 12
    assert clock.slept == []


def test_more_calls_than_allowed_now_were_allowed_before():
    assert seconds_to_wait([20.0, 0.0, 10.0], now=25.0, max_calls=2, per_seconds=60.0) == 45.0


def test_a_clock_put_back_costs_one_window_at_most():
    assert seconds_to_wait([1e9, 1e9], now=0.0, max_calls=2, per_seconds=60.0) == 60.0


def test_the_limit_outlives_the_process_and_is_shared_through_a_ledger(tmp_path):
    clock = Clock()

    def limiter(calls, kind="submit"):
        return RateLimiter(2, 60, kind, calls, clock, clock.sleep)

    path = tmp_path / "jobs.db"
    with Ledger(path) as one, Ledger(path) as two:
        assert limiter(one).wait() == limiter(two).wait() == 0
        clock.now += 20
        assert limiter(two, "search").wait() == 0
    with Ledger(path) as again:
        assert limiter(again).wait() == 40
        # Both early calls were forgotten by then: what is old does not pile up.
        assert limiter(again).wait() == 0
        assert limiter(again).wait() == 60
        assert again._file.read("SELECT count(*) FROM calls WHERE kind = 'submit'") == [(1,)]


def test_threads_share_one_limit():
    calls = CallsHere()
    taken = []

    def take():
        taken.extend(calls.reserve_call("submit", 0.0, 5, 60.0) == 0 for _ in range(100))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 5


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: RateLimiter(0), "max_calls"),
        (lambda: RateLimiter(1, 0), "per_seconds"),
        (lambda: Backoff(base=0), "base"),
        (lambda: Backoff(factor=0.5), "factor"),
        (lambda: Backoff(cap=0.5), "cap"),
        (lambda: Backoff(jitter=1.5), "jitter"),
        (lambda: Backoff(patience=1), "patience"),
        (lambda: retry(lambda: 1, lambda error: "retry", max_tries=0), "max_tries"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, named):
    with pytest.raises(InputError, match=f"^{named}: must "):
        make()


@given(st.integers(0, 5000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_backoff_stays_between_its_bounds(num_tries, drawn, jitter):
    seconds = Backoff(jitter=jitter, draw=lambda: drawn).seconds(num_tries)
    longest = min(60.0, 2.0 ** min(num_tries, 10))
    assert longest * (1 - jitter) - 1e-9 <= seconds <= longest


def test_backoff_is_never_shorter_than_what_the_service_asks_for():
    backoff = Backoff()
    assert backoff.seconds(0, retry_after=100) == 100
    assert 30 <= backoff.seconds(9, retry_after=1) <= 60
    # A day would be longer than any run waits.
    assert backoff.seconds(0, retry_after=86400) == 3600


def test_two_backoffs_do_not_come_back_together():
    one, two = Backoff(), Backoff()
    assert [one.seconds(9) for _ in range(4)] != [two.seconds(9) for _ in range(4)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:03:20 -0000", 100.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_retry_after_in_all_its_forms(text, seconds):
    assert parse_retry_after(text, now=100.0) == seconds


def test_retry_after_is_found_behind_wrapped_exceptions():
    inner, middle, outer = OSError("429"), ValueError("b"), RuntimeError("c")
    inner.response = SimpleNamespace(headers={"Date": "x", "RETRY-AFTER": "30"})
    middle.__context__, outer.__cause__ = inner, middle
    assert retry_after_of(outer) == 30
    assert retry_after_of(RuntimeError("plain")) is None
    # A circle of causes ends, too.
    inner.response, inner.__cause__ = None, outer
    assert retry_after_of(outer) is None


class FaultError(Exception):
    def __init__(self, verdict, retry_after=None):
        super().__init__(verdict)
        self.verdict = verdict
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


class Scripted:
    """Raises or returns its entries in turn, and notes each call in a list that it shares."""

    def __init__(self, name, log, *script):
        self.name, self.log, self.script = name, log, list(script)

    def __call__(self):
        self.log.append(self.name)
        entry = self.script.pop(0)
        if isinstance(entry, BaseException):
            raise entry
        return entry


def run_retry(call, recover=None, **options):
    clock = Clock()
    backoff = Backoff(jitter=0.0)
    answer = retry(
        call,
        lambda error: error.verdict,
        recover=recover,
        backoff=backoff,
        sleep=clock.sleep,
        **options,
    )
    return answer, clock.slept


def test_passing_faults_are_waited_out():
    log = []
    send = Scripted("send", log, FaultError("retry"), FaultError("retry", retry_after=90), "job 1")
    told = []
    answer, slept = run_retry(send, on_wait=lambda error, seconds: told.append(seconds))
    assert answer == "job 1"
    assert slept == told == [1, 90]


def test_a_fatal_fault_ends_it_at_once():
    log = []
    with pytest.raises(FaultError, match="fatal"):
        run_retry(Scripted("send", log, FaultError("fatal"), "job 1"))
    assert log == ["send"]


def test_tries_run_out_with_the_last_fault():
    log = []
    last = FaultError("retry")
    with pytest.raises(FaultError) as raised:
        run_retry(
            Scripted("send", log, FaultError("retry"), FaultError("retry"), last), max_tries=3
        )
    assert raised.value is last
    assert len(log) == 3


def test_after_an_ambiguous_fault_nothing_is_sent_before_looking():
    log = []
    send = Scripted("send", log, FaultError("ambiguous"), "job 2")
    # The search itself fails twice; only its answer decides.
    find = Scripted("find", log, FaultError("retry"), FaultError("ambiguous"), None)
    assert run_retry(send, find)[0] == "job 2"
    assert log == ["send", "find", "find", "find", "send"]


def test_what_an_ambiguous_call_did_is_adopted():
    log = []
    send = Scripted("send", log, FaultError("ambiguous"), "job 2")
    assert run_retry(send, Scripted("find", log, "job 1"))[0] == "job 1"
    assert log == ["send", "find"]


def test_what_appears_late_is_adopted_too():
    log = []
    send = Scripted("send", log, FaultError("ambiguous"), FaultError("retry"), "job 2")
    assert run_retry(send, Scripted("find", log, None, "job 1"))[0] == "job 1"
    assert log == ["send", "find", "send", "find"]


def test_after_a_search_without_a_find_the_next_fault_is_raised():
    log = []
    fatal = FaultError("fatal")
    with pytest.raises(FaultError) as raised:
        run_retry(
            Scripted("send", log, FaultError("ambiguous"), fatal), Scripted("find", log, None)
        )
    assert raised.value is fatal


def test_an_ambiguous_fault_is_raised_where_nothing_can_look():
    log = []
    with pytest.raises(FaultError, match="ambiguous"):
        run_retry(Scripted("send", log, FaultError("ambiguous"), "job 2"))
    assert log == ["send"]


@pytest.mark.parametrize("searching", ["retry", "fatal"])
def test_a_search_in_vain_raises_the_doubt(searching):
    log = []
    find = Scripted("find", log, *(FaultError(searching) for _ in range(3)))
    with pytest.raises(FaultError, match="ambiguous") as raised:
        run_retry(Scripted("send", log, FaultError("ambiguous")), find, max_tries=4)
    assert raised.value.__cause__.verdict == searching
    assert log.count("send") == 1


def test_ctrl_c_is_never_classified():
    log = []
    with pytest.raises(KeyboardInterrupt):
        run_retry(Scripted("send", log, KeyboardInterrupt(), "job 1"))
    assert log == ["send"]


@pytest.mark.parametrize(
    "wait",
    [
        lambda: call_with_deadline(lambda: time.sleep(30), 30),
        lambda: retry(lambda: 1 / 0, lambda error: "retry", backoff=Backoff(30, jitter=0)),
        lambda: RateLimiter(1, 30, calls=FULL).wait(),
    ],
    ids=["deadline", "retry", "limiter"],
)
def test_ctrl_c_passes_through_at_once(wait):
    def interrupted_soon():
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        wait()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted_soon()
    assert time.monotonic() - began < 10


FULL = SimpleNamespace(reserve_call=lambda kind, now, max_calls, per_seconds: 30.0)


def test_a_deadline_gives_answers_and_errors_as_they_are():
    assert call_with_deadline(lambda: [1], 30) == [1]
    assert call_with_deadline(lambda: None, 30) is None
    with pytest.raises(ZeroDivisionError):
        call_with_deadline(lambda: 1 / 0, 30)
    with pytest.raises(SystemExit):
        call_with_deadline(lambda: exec("raise SystemExit"), 30)


def test_a_deadline_keeps_context_variables():
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)
    assert call_with_deadline(variable.get, 30) == 7


def test_a_call_that_never_returns_is_left_to_itself():
    stuck, late = threading.Event(), []
    heard = threading.Event()

    def note(answer):
        late.append(answer)
        heard.set()

    # Other tests of this process may have left threads of their own.
    before = set(threading.enumerate())
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.05 s") as raised:
        call_with_deadline(lambda: stuck.wait(30) and "job 1", 0.05, late=note)
    assert isinstance(raised.value, TimeoutError)
    left = set(threading.enumerate()) - before
    assert left
    assert all(thread.daemon for thread in left)
    # What it says in the end is not lost.
    assert late == []
    stuck.set()
    assert heard.wait(30)
    assert late == ["job 1"]


def test_an_answer_in_time_is_not_late():
    late = []
    for _ in range(200):
        call_with_deadline(lambda: 1, 30, late=late.append)
    assert late == []


def test_every_answer_is_heard_once_however_close_the_deadline():
    late, answers = [], []
    for number in range(200):
        try:
            answers.append(
                call_with_deadline(
                    lambda number=number: time.sleep(1e-4) or number, 1.5e-4, late=late.append
                )
            )
        except DeadlineExceeded:
            continue
    deadline = time.monotonic() + 30
    while len(answers) + len(late) < 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(answers + late) == list(range(200))
