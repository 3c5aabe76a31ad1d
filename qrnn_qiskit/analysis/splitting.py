"""A submission as jobs: groups of rows, and groups of shots where rows do not suffice."""

from dataclasses import dataclass
from math import ceil

import numpy as np


@dataclass(frozen=True)
class JobSplit:
    """One job of a submission: some rows, some shots of each.

    Example:
        >>> job = JobSplit(first_row=64, num_rows=32, first_shot=0, num_shots=500)
        >>> job.rows, job.num_executions
        (slice(64, 96, None), 16000)
    """

    first_row: int
    num_rows: int
    first_shot: int
    num_shots: int

    @property
    def rows(self) -> slice:
        """The rows of the submission's array."""
        return slice(self.first_row, self.first_row + self.num_rows)

    @property
    def num_executions(self) -> int:
        """Rows times shots."""
        return self.num_rows * self.num_shots


def split_submission(
    num_rows: int, num_shots: int, *, max_rows: int, max_shots: int, max_executions: int
) -> tuple[JobSplit, ...]:
    """The fewest jobs on a grid of row and shot groups that keep three limits.

    Of equally few jobs, those with the fewest groups of shots: each row's shots stay together.

    Args:
        num_rows: of the submission.
        num_shots: of every row.
        max_rows: of a job.
        max_shots: of a row in a job.
        max_executions: rows times shots of a job.

    Returns:
        Jobs that hold each shot of each row once, nearly equal in size; none if a limit is 0.

    Example:
        >>> jobs = split_submission(3, 10, max_rows=8, max_shots=6, max_executions=10)
        >>> [(job.first_row, job.num_rows, job.first_shot, job.num_shots) for job in jobs]
        [(0, 2, 0, 5), (0, 2, 5, 5), (2, 1, 0, 5), (2, 1, 5, 5)]
    """
    if min(max_rows, max_shots, max_executions) < 1:
        return ()
    # Larger shot groups first, so that argmin prefers them among equals.
    shots = np.arange(min(num_shots, max_shots, max_executions), 0, -1)
    rows = np.minimum(min(num_rows, max_rows), max_executions // shots)
    num_jobs = -(-num_rows // rows) * -(-num_shots // shots)
    best = int(np.argmin(num_jobs))
    row_groups = _equal_groups(num_rows, ceil(num_rows / int(rows[best])))
    shot_groups = _equal_groups(num_shots, ceil(num_shots / int(shots[best])))
    return tuple(
        JobSplit(first_row, size, first_shot, count)
        for first_row, size in row_groups
        for first_shot, count in shot_groups
    )


def _equal_groups(total: int, num_groups: int) -> list[tuple[int, int]]:
    """Start and size of groups that differ by one at most."""
    size, rest = divmod(total, num_groups)
    return [(k * size + min(k, rest), size + (k < rest)) for k in range(num_groups)]
