"""Cheap cases whose computations leave a trace; `python -m` runs them as a study of its own."""

import argparse
import json
import math
import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.sweeps import Case, CaseStore, run_cases


def build_case(number, **settings):
    return Case(f"case {number}", {"number": number, **settings})


def build_units(num_cases, unit_size=1, **settings):
    cases = [build_case(number, **settings) for number in range(num_cases)]
    return [tuple(cases[at : at + unit_size]) for at in range(0, num_cases, unit_size)]


def value_of(number):
    """A float of many digits."""
    return math.sin(number) / 3


def expected(units):
    """Results by key of an undisturbed run."""
    return {c.key: {"value": value_of(c.settings["number"])} for unit in units for c in unit}


def settings_of(cases):
    """Prepares a unit: what `compute` and the others need."""
    return [case.settings for case in cases]


def compute(payload):
    """The value of each case; each computation adds a line with number and process to a log."""
    for settings in payload:
        time.sleep(settings.get("seconds", 0))
        if "log" in settings:
            note(settings["log"], f"{settings['number']} {os.getpid()}")
    padding = {"padding": "x" * payload[0]["size"]} if "size" in payload[0] else {}
    return [{"value": value_of(settings["number"]), **padding} for settings in payload]


def note(log, line):
    """Appends a line at once: those of other processes stay whole."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def computed(log):
    """Numbers of the cases that were computed, one for each time."""
    return [int(line.split()[0]) for line in read_lines(log)]


def workers_seen(log):
    return {int(line.split()[1]) for line in read_lines(log)}


def read_lines(log):
    return Path(log).read_text().splitlines() if Path(log).exists() else []


def die_on_odd(payload):
    """A crash of the process for odd cases; like `compute` for even ones."""
    (settings,) = payload
    if settings["number"] % 2:
        note(settings["log"], f"{settings['number']} {os.getpid()}")
        os.kill(os.getpid(), signal.SIGKILL)
    return compute(payload)


def die_once(payload):
    """A crash the first time; a file tells whether there was one."""
    (settings,) = payload
    try:
        Path(settings["crashed"]).touch(exist_ok=False)
    except FileExistsError:
        return compute(payload)
    os._exit(1)


def raise_on_odd(payload):
    (settings,) = payload
    number = settings["number"]
    if number == 1:
        raise InputError("shots: must be positive, got 0; use 1 or more")
    if number == 3:
        raise KeyError("no such\nqubit")
    if number == 5:
        raise SystemExit(3)
    if number == 7:
        raise UnpicklableError("a", "b")
    return compute(payload)


class UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def answer_with_nan(payload):
    return [{"bound": math.nan, "rows": (1.0, -math.inf)} for _ in payload]


def answer_with_too_few(payload):
    return []


def answer_with_a_set(payload):
    return [{"qubits": {1}} for _ in payload]


def answer_with_environment(payload):
    return [{"environment": dict(os.environ), "sigint": str(signal.getsignal(signal.SIGINT))}]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("--num-cases", type=int, default=1)
    parser.add_argument("--unit-size", type=int, default=1)
    parser.add_argument("--file-size", type=int, help="bytes at which the disk is full")
    arguments = parser.parse_args()
    if arguments.file_size:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.file_size, arguments.file_size))
    units = build_units(arguments.num_cases, arguments.unit_size, **arguments.settings)
    try:
        with (
            CaseStore(arguments.store) as store,
            closing(run_cases(store, units, settings_of, compute, num_workers=2)) as cases,
        ):
            for case in cases:
                print(case.key, flush=True)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
