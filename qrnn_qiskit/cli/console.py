"""What all commands share: consoles, common options, progress, and how they print and fail."""

import json
import math
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from qrnn_qiskit.errors import InputError

# Progress and messages go to standard error, so that --json leaves pure JSON on standard output.
# Where they are no terminal, lines need not be cut to a default width.
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

_LEAST_ERROR = 1e-7

Job = Annotated[Path, typer.Argument(help="Job spec, for example jobs/digits_feedforward.toml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. training.epochs=3."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]


@contextmanager
def clear_errors(
    job: Path | None = None, again: Callable[[Sequence[str]], str] | None = None
) -> Iterator[None]:
    """Input errors as one line and exit code 2; Ctrl-C, and what ends a run, say how to go on.

    Args:
        job: named where an error is about one of its keys.
        again: from overrides to the command line that goes on with a run; none if nothing is kept.

    Example:
        >>> try:
        ...     with clear_errors():
        ...         raise InputError("phi: must be positive, got 0; use pi/2")
        ... except typer.Exit as stop:
        ...     print(stop.exit_code)
        2
    """
    try:
        yield
    except InputError as error:
        line = " ".join(str(error).split("\n"))
        # What only a study can find wrong with a key does not know the file that the key is in.
        if job is not None and re.match(
            r"(task|model|training|noise|noise_study|aer|runtime|device_loop)\.", line
        ):
            line = f"{job}: {line}"
        if error.is_resumable and again:
            line = f"{line}. Go on with: {again(error.overrides)}"
        err.print(f"[bold red]error[/] {escape(line)}", soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        kept = f"; what is done is kept. Go on with: {again(())}" if again else ""
        line = f"interrupted{kept}"
        err.print(escape(line), soft_wrap=True)
        raise typer.Exit(130) from None


class TerminalProgress:
    """Progress bars on standard error; one line per stage where that is no terminal.

    Ctrl-C is remembered, too: Python drops an exception that is raised in a callback of the
    garbage collector, and then the next sign of progress raises it again.
    """

    def __enter__(self) -> "TerminalProgress":
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=err,
        )
        self._started = self._interrupted = False
        self._handler_before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._handler_before)
        # Stopping what never started prints an empty line.
        if not self._started:
            return
        if isinstance(exception[1], InputError) and not any(t.completed for t in self._bars.tasks):
            # A bar at which nothing was done says nothing beside the error. `Progress.stop` would
            # leave an empty line (rich 15).
            self._bars.live.transient = True
            self._bars.live.stop()
        else:
            self._bars.stop()

    @contextmanager
    def stage(self, title: str, num_units: int, done: int = 0) -> Iterator["_Bar"]:
        """A bar of so many units, some of them done before."""
        self.check_interrupted()
        self._bars.start()
        self._started = True
        task = self._bars.add_task(title, total=num_units, completed=done, note="")
        yield _Bar(self, self._bars, task)

    def check_interrupted(self) -> None:
        """Raises `KeyboardInterrupt` if Ctrl-C was pressed, however long ago."""
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def say(self, line: str) -> None:
        """Prints a line above the bars."""
        self._bars.console.print(escape(line), soft_wrap=True)


class _Bar:
    """One stage's bar."""

    def __init__(self, progress: TerminalProgress, bars: Progress, task: TaskID) -> None:
        self._progress, self._bars, self._task = progress, bars, task

    def advance(self, note: str = "", units: int = 1) -> None:
        self._progress.check_interrupted()
        self._bars.update(self._task, advance=units, note=escape(note))


def print_notes(warnings: Iterable[str]) -> None:
    """What the reader of numbers must know, a line each."""
    for warning in warnings:
        out.print(f"[yellow]note[/]      {escape(warning)}", soft_wrap=True)


def print_json(content: dict[str, Any]) -> None:
    """Pure JSON on standard output; numbers that are not finite must be null already."""
    typer.echo(json.dumps(content, indent=2, allow_nan=False))


def escape(text: str) -> str:
    r"""Text that rich prints as it is.

    Example:
        >>> print(escape("[bold] is a file name"))
        \[bold] is a file name
    """
    return text.replace("[", "\\[")


def command_line(
    name: str, job: Path, overrides: list[str] | None, runs: Path, *more: str
) -> Callable[[Sequence[str]], str]:
    """A command line that goes on with what this one began.

    It takes overrides that replace those of the same keys.

    Example:
        >>> again = command_line("infer", Path("a.toml"), ["aer.seed=1", "control=false"],
        ...                      Path("runs"), "--engine=aer")
        >>> again(["aer.seed=2"])
        'qrnn infer a.toml --engine=aer --set control=false --set aer.seed=2'
    """

    def again(replacing: Sequence[str]) -> str:
        replaced = {_key(override) for override in replacing}
        kept = [override for override in overrides or () if _key(override) not in replaced]
        words = ["qrnn", name, str(job), *more]
        words += [word for override in (*kept, *replacing) for word in ("--set", override)]
        words += [] if runs == Path("runs") else ["--runs", str(runs)]
        return shlex.join(words)

    return again


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "job"), count(1200, "job")
        ('1 job', '1,200 jobs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def with_error(value: float, error: float) -> str:
    """Three decimals, or as many as it takes to show the error's first digit."""
    if math.isnan(value):
        return "-"
    # Below that it is rounding, as in numbers without shots.
    if math.isnan(error) or error < _LEAST_ERROR:
        return f"{value:.3f}"
    decimals = min(max(3, -math.floor(math.log10(error))), 9)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
