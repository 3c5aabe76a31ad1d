"""The figure of one model on many devices."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from qrnn_qiskit.plotting import BLUE, GREY, INK, VERMILION, restrain
from qrnn_qiskit.plotting_noise_lines import (
    NoiseResult,
    add_legend,
    describe_metric,
    draw_exact,
    ends_of,
    line_handles,
    open_panels,
    say,
    select_lines,
    short_names,
)

# Cause in `loss_budget`: colour (that of `plot_loss`), name.
_CAUSES = {
    "two_qubit": (BLUE, "two-qubit gates"),
    "one_qubit": ("#56B4E9", "one-qubit gates"),
    "readout": (VERMILION, "readout"),
    "reset": ("#E69F00", "reset"),
    "idle": ("#D4D4D4", "waiting"),
}
_OTHERS = (
    "profile",
    "num_memory",
    "num_timesteps",
    "strength_rad",
    "scale",
    "ablation",
    "shots",
    "seed",
)


def plot_snapshots(
    rows: Sequence[NoiseResult], metric_name: str, higher_is_better: bool | None = None
) -> Figure:
    """The same model on many devices, the best metric first.

    Beside the metric stand the errors that the schedule expects, by cause, and what is left of
    the signal in the final measurement, next to the success that the schedule expects. Only
    mitigations are shown side by side, all other axes at their reference value.

    Args:
        rows: of a noise study.
        metric_name: of the task.
        higher_is_better: written at the axis if given; without it, high values come first.

    Raises:
        InputError: if there is no row.
    """
    selection = select_lines(rows, ["snapshot"], _OTHERS)
    first = {row.snapshot: row for row in reversed(selection.rows)}
    sign = 1 if higher_is_better is False else -1
    names = sorted(first, key=lambda name: (sign * first[name].metric, name))
    count = len(selection.lines)
    height = 1.0 + max(0.44, 0.17 * count) * len(names)
    figure, panels = open_panels(selection, height, 3, sharey=True)
    restrain(panels[0], "Task", describe_metric(metric_name, higher_is_better), "")
    restrain(panels[1], "Expected errors", "λ by cause", "")
    restrain(panels[2], "Signal at the end", "share that is left", "")
    for which, line in enumerate(selection.lines):
        shift = 0.55 * ((which + 0.5) / count - 0.5)
        for row in line.rows:
            place = [names.index(row.snapshot) + shift]
            values = [(panels[0], row.metric, row.metric_error),
                      (panels[2], row.retained_final, row.retained_final_error)]  # fmt: skip
            for axes, value, error in values:
                if value is not None:
                    axes.errorbar([value], place, xerr=[error or 0.0], linestyle="", zorder=3,
                                  markersize=6.5, elinewidth=1.4, label=line.label,
                                  **line.style.points)  # fmt: skip
    _draw_budgets(panels[1], [first[name] for name in names])
    panels[2].plot([first[name].expected_success for name in names], range(len(names)), "|",
                   color=INK, markersize=15, markeredgewidth=1.8, label="expected")  # fmt: skip
    exact = draw_exact(panels[0].axvline, selection)
    panels[0].set_xlim(*ends_of(selection.rows, "metric"))
    _set_shares(panels[2], selection.rows)
    _name_rows(panels, [first[name] for name in names])
    handles = line_handles(selection, linewidth=0)
    expected = Line2D([], [], color=INK, marker="|", markersize=13, markeredgewidth=1.8,
                      linestyle="", label="success expected from λ")  # fmt: skip
    causes = [Patch(facecolor=colour, label=name) for colour, name in _CAUSES.values()]
    add_legend(figure, [*handles, exact, expected, *causes])
    return figure


def _draw_budgets(axes: Axes, rows: Sequence[NoiseResult]) -> None:
    totals = [sum(row.loss_budget.values()) for row in rows]
    left = np.zeros(len(rows))
    for cause, (colour, _) in _CAUSES.items():
        widths = np.array([row.loss_budget.get(cause, 0.0) for row in rows])
        axes.barh(range(len(rows)), widths, 0.55, left, color=colour, edgecolor="white",
                  linewidth=0.6, label=cause)  # fmt: skip
        left += widths
    for place, total in enumerate(totals):
        axes.annotate(f"{total:#.2g}" if total < 10 else f"{total:.0f}", (total, place), (6, -0.5),
                      textcoords="offset points", va="center", fontsize=9.5, color=INK)  # fmt: skip
    axes.set_xlim(0, 1.2 * max(totals) or 1.0)


def _set_shares(axes: Axes, rows: Sequence[NoiseResult]) -> None:
    finals = [(row.retained_final, row.retained_final_error or 0.0) for row in rows
              if row.retained_final is not None]  # fmt: skip
    low = min([0.0, *(value - error for value, error in finals)])
    high = max([1.0, *(value + error for value, error in finals)])
    margin = 0.05 * (high - low)
    # A slope that is hardly known must not hide all others.
    axes.set_xlim(max(low - (margin if low < 0 else 0.02), -1.0), min(high + margin, 2.0))


def _name_rows(panels: Sequence[Axes], rows: Sequence[NoiseResult]) -> None:
    panels[0].set_ylim(len(rows) - 0.45, -0.55)
    panels[0].set_yticks(range(len(rows)), [""] * len(rows))
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.grid(axis="y", visible=axes is not panels[1])
    devices = short_names([row.snapshot for row in rows])
    for place, row in enumerate(rows):
        below = f"{say('profile', row.profile).removeprefix('profile ')}, {row.duration_us:,.3g} µs"
        for text, drop, side, size, colour in (
            (devices[row.snapshot], 0, "bottom", 10, INK), (below, -2, "top", 8, GREY)
        ):  # fmt: skip
            panels[0].annotate(text, (0, place), (-8, drop), ("axes fraction", "data"),
                               "offset points", ha="right", va=side, color=colour,
                               fontsize=size)  # fmt: skip
