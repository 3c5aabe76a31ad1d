"""How long work tells what it is doing, without knowing who listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Stage(Protocol):
    """One part of a study, with a known number of units."""

    def advance(self, note: str = "", units: int = 1) -> None:
        """Units done since the last call, and a short note beside the bar."""
        ...


class Progress(Protocol):
    """Where stages are shown: a terminal, a notebook, nowhere."""

    @contextmanager
    def stage(self, title: str, num_units: int, done: int = 0) -> Iterator[Stage]:
        """A stage of `num_units`, of which `done` are done already."""
        ...

    def say(self, line: str) -> None:
        """One line for the user."""
        ...


class SilentProgress:
    """Shows nothing."""

    @contextmanager
    def stage(self, title: str, num_units: int, done: int = 0) -> Iterator["SilentProgress"]:
        """See `Progress.stage`."""
        yield self

    def advance(self, note: str = "", units: int = 1) -> None:
        """See `Stage.advance`."""

    def say(self, line: str) -> None:
        """See `Progress.say`."""
