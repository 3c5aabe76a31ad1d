"""The jobs of a ledger as a figure: when each was planned, sent, run and kept, and what it took."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from qrnn_qiskit.errors import require
from qrnn_qiskit.ledger import JobRecord
from qrnn_qiskit.plotting import BLUE, GREY, INK, VERMILION, restrain

# Colour and words for what a job does from one known time to the next.
_STAGES = {
    "planned": ("#D0D0D0", "planned, being sent"),
    "submitted": ("#E69F00", "submitted, queued"),
    "unknown": ("#56B4E9", "submitted, start not told"),
    "running": (BLUE, "running"),
    "ended": ("#009E73", "over, result not kept yet"),
}
_ENDS = {"done": ("o", INK), "failed": ("X", VERMILION), "cancelled": ("s", VERMILION)}
_MOST_LABELS = 40
_UNITS = (("s", 1.0, 300.0), ("min", 60.0, 18_000.0), ("h", 3600.0, float("inf")))


def plot_jobs(records: Sequence[JobRecord]) -> Figure:
    """Each job's life as a row, in the order of planning; beside it forecast and billed seconds.

    A bar changes its colour with each time that the ledger knows. A mark ends it when the result
    was kept or the job given up; a row without one is under way. A job of the local mode is
    simulated while it is sent. Where no bill is known there is a forecast only.

    Args:
        records: as `Ledger.records` gives them; rows are named by label `study`.

    Raises:
        InputError: if there is no record.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from qrnn_qiskit.ledger import Ledger
        >>> from qrnn_qiskit.ledger import Intent
        >>> with TemporaryDirectory() as folder, Ledger(Path(folder) / "jobs.db") as ledger:
        ...     _ = ledger.plan(Intent("ab" * 16, "ibm_boston", 8, 100, 2.0, {"study": "infer"}))
        ...     figure = plot_jobs(ledger.records())
    """
    require(len(records) > 0, "records", "must hold a job", 0, "run a job first")
    start = min(_moment(record.planned_at) for record in records)
    lives = [_life(record, start) for record in records]
    latest = max(moment for life in lives for _, moment in life)
    unit, seconds = next((name, size) for name, size, most in _UNITS if latest <= most)

    height = 1.7 + 0.24 * max(len(records), 4)
    figure = Figure(figsize=(10, min(height, 14.0)), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2.6, 1))
    restrain(left, "When", f"time since the first job was planned ({unit})", "")
    restrain(right, "What it took", "QPU time (s)", "")
    for axes in (left, right):
        axes.grid(False, axis="y")
    stages = _draw_lives(left, records, [[(k, t / seconds) for k, t in life] for life in lives])
    left.set_xlim(-0.01 * latest / seconds, 1.03 * latest / seconds or 1.0)
    _draw_seconds(right, records)
    _label_rows(left, records)
    states = {record.state for record in records}
    handles: list[Artist] = [
        Patch(facecolor=colour, label=words)
        for stage, (colour, words) in _STAGES.items()
        if stage in stages
    ]
    handles += [
        Line2D([], [], linestyle="", marker=marker, color=colour, markersize=5, label=state)
        for state, (marker, colour) in _ENDS.items()
        if state in states
    ]
    handles += reversed(right.get_legend_handles_labels()[0])  # forecast, billed
    figure.legend(handles=handles, loc="outside lower left", ncols=4, frameon=False, fontsize=9.5,
                  labelcolor=INK, handletextpad=0.5, columnspacing=1.5)  # fmt: skip
    return figure


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _life(record: JobRecord, start: float) -> list[tuple[str, float]]:
    """Stages with the seconds at which they began, the end last; clocks that differ are kept."""
    started = record.metrics.started_at
    known = [
        ("planned", record.planned_at),
        ("unknown" if started is None else "submitted", record.submitted_at),
        ("running", started),
        ("ended", record.metrics.ended_at),
        ("finished", record.finished_at),
    ]
    life = [(stage, _moment(time) - start) for stage, time in known if time is not None]
    # The service's clock is not ours: no stage begins before the one that it follows.
    latest = 0.0
    for index, (stage, time) in enumerate(life):
        latest = max(latest, time)
        life[index] = (stage, latest)
    return life


def _draw_lives(
    axes: Axes, records: Sequence[JobRecord], lives: Sequence[Sequence[tuple[str, float]]]
) -> set[str]:
    """The stages that occur."""
    found = set()
    for place, (record, life) in enumerate(zip(records, lives, strict=True)):
        for (stage, begin), (_, end) in pairwise(life):
            colour = _STAGES[stage][0]
            axes.barh(place, end - begin, 0.62, begin, color=colour, linewidth=0)
            found.add(stage)
        if record.state in _ENDS:
            marker, colour = _ENDS[record.state]
            axes.plot(life[-1][1], place, marker, color=colour, markersize=4, zorder=3)
    return found


def _draw_seconds(axes: Axes, records: Sequence[JobRecord]) -> None:
    places = range(len(records))
    forecast = [record.intent.forecast_seconds for record in records]
    axes.barh(places, forecast, 0.62, color="white", edgecolor=GREY, linewidth=0.9,
              label="forecast")  # fmt: skip
    billed = [(place, record.metrics.usage_seconds) for place, record in enumerate(records)]
    known = [(seconds, place) for place, seconds in billed if seconds is not None]
    if known:
        total = sum(seconds for seconds, _ in known)
        axes.plot(*zip(*known, strict=True), "D", color=VERMILION, markersize=4, clip_on=False,
                  label=f"billed, {total:.1f} s of {sum(forecast):.1f} s forecast")  # fmt: skip
    axes.set_xlim(0, 1.08 * max(*forecast, *(seconds for seconds, _ in known), 1e-9))


def _label_rows(axes: Axes, records: Sequence[JobRecord]) -> None:
    counts = Counter[str]()
    labels = []
    for record in records:
        study = str(record.intent.labels.get("study", "job"))
        counts[study] += 1
        again = f", attempt {record.attempts}" if record.attempts > 1 else ""
        labels.append(f"{study} {counts[study]}{again}")
    step = -(-len(labels) // _MOST_LABELS)
    axes.set_yticks(range(0, len(labels), step), labels[::step])
    axes.set_ylim(len(labels) - 0.4, -0.6)
