"""A figure of jobs shows each of them once, in its place, with what it took."""

from itertools import count

import numpy as np
import pytest
from matplotlib.colors import to_hex

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.ledger import Intent, JobMetrics, JobRecord, Ledger
from qrnn_qiskit.plotting import BLUE
from qrnn_qiskit.plotting_jobs import plot_jobs

QUEUED, UNKNOWN = "#e69f00", "#56b4e9"


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "jobs.db") as ledger:
        yield ledger


def at(seconds):
    return f"2026-11-20T12:{int(seconds) // 60:02d}:{seconds % 60:06.3f}+00:00"


def record(planned, submitted=None, started=None, ended=None, finished=None, **more):
    moments = [None if time is None else at(time) for time in (submitted, started, ended, finished)]
    fields = {
        "state": "planned", "usage_seconds": None, "forecast_seconds": 2.0, "study": "train",
        "attempts": 1,
    } | more  # fmt: skip
    intent = Intent("a" * 24, "ibm_boston", 4, 100, fields["forecast_seconds"],
                    {"study": fields["study"]})  # fmt: skip
    metrics = JobMetrics(fields["usage_seconds"], moments[1], moments[2])
    return JobRecord(intent, "tag", fields["state"], "job", None, at(planned), moments[0],
                     moments[3], metrics, None, None, fields["attempts"])  # fmt: skip


def bars(axes):
    """Of each row: `(colour, begin, end)`."""
    rows = {}
    for bar in axes.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        begin, end = bar.get_x(), bar.get_x() + bar.get_width()
        rows.setdefault(row, []).append((to_hex(bar.get_facecolor()), begin, end))
    return rows


def times(figure):
    """Begin and end of each bar of the first row."""
    return np.array([bar[1:] for bar in bars(figure.axes[0])[0]])


def rows(figure):
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def test_stages_follow_the_times_of_a_record():
    figure = plot_jobs([record(10, 12, 20, 25, 26, state="done", usage_seconds=1.5)])
    assert times(figure) == pytest.approx(np.array([(0, 2), (2, 10), (10, 15), (15, 16)]))
    assert [colour for colour, _, _ in bars(figure.axes[0])[0]][1:3] == [QUEUED, BLUE.lower()]
    assert "done" in legend(figure)
    assert "billed, 1.5 s of 2.0 s forecast" in legend(figure)


def test_a_start_that_nobody_told_is_not_called_a_queue():
    figure = plot_jobs([record(0, 3, finished=5, state="done", usage_seconds=0.0)])
    colours = [colour for colour, _, _ in bars(figure.axes[0])[0]]
    assert colours[1:] == [UNKNOWN]
    assert not {"submitted, queued", "running"} & set(legend(figure))


def test_a_clock_behind_ours_makes_no_bar_of_negative_length():
    figure = plot_jobs([record(10, 12, 9, 11, 14, state="done")])
    assert times(figure) == pytest.approx(np.array([(0, 2), (2, 2), (2, 2), (2, 4)]))


def test_without_a_bill_there_is_a_forecast_only():
    figure = plot_jobs([record(0, 1), record(2)])
    assert not any(label.startswith("billed") for label in legend(figure))
    assert [bar.get_width() for bar in figure.axes[1].patches] == [2.0, 2.0]
    assert not figure.axes[0].lines  # none has ended


@pytest.mark.parametrize(("state", "ended"), [("done", True), ("failed", True), ("cancelled", True),
                                              ("submitted", False)])  # fmt: skip
def test_what_has_ended_has_a_mark(state, ended):
    figure = plot_jobs([record(0, 1, finished=4 if ended else None, state=state)])
    assert len(figure.axes[0].lines) == ended
    assert (state in legend(figure)) == ended


def test_rows_are_named_by_study_and_attempt():
    studies = ["train", "train", "infer"]
    found = [record(n, study=study, attempts=1 + n // 2) for n, study in enumerate(studies)]
    assert rows(plot_jobs(found)) == ["train 1", "train 2", "infer 1, attempt 2"]


@pytest.mark.parametrize(("seconds", "unit"), [(200, "(s)"), (900, "(min)")])
def test_times_have_a_unit_that_fits(seconds, unit):
    figure = plot_jobs([record(0, 1, finished=seconds, state="done")])
    assert unit in figure.axes[0].get_xlabel()


def test_hundreds_of_jobs_are_drawn_with_some_of_their_names():
    figure = plot_jobs([record(number) for number in range(300)])
    assert len(rows(figure)) <= 40
    assert len(figure.axes[1].patches) == 300


def test_records_of_a_ledger(ledger):
    names = (f"{number:024x}" for number in count(1))
    for name in [next(names) for _ in range(3)]:
        ledger.plan(Intent(name, "fake_boston", 4, 100, 2.0, {}))
    ledger.begin_submission(f"{1:024x}")
    ledger.record_job(f"{1:024x}", "job-1")
    ledger.record_result(f"{1:024x}", "0110")
    figure = plot_jobs(ledger.records())
    figure.canvas.draw()
    assert rows(figure) == ["job 1", "job 2", "job 3"]
    assert len(figure.axes[0].lines) == 1


def test_no_record_is_refused():
    with pytest.raises(InputError, match="records: must hold a job"):
        plot_jobs([])
