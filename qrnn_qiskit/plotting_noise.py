"""Figures of noise studies: what errors do to the task, to readouts and to the memory.

A figure shows at most eight lines; what all of them share, and what is left out, stands above.
"""

from collections.abc import Collection, Sequence
from math import floor, log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator

from qrnn_qiskit.errors import require
from qrnn_qiskit.plotting import BLUE, GREY, INK, VERMILION, restrain
from qrnn_qiskit.plotting_noise_devices import plot_snapshots
from qrnn_qiskit.plotting_noise_lines import (
    AXES,
    NoiseResult,
    add_legend,
    at_reference,
    describe_metric,
    draw_exact,
    ends_of,
    finite,
    line_handles,
    move_sideways,
    open_panels,
    say,
    select_lines,
    values_of,
)
from qrnn_qiskit.plotting_noise_memory import plot_memory_decay

__all__ = ["draw_study", "plot_ablation", "plot_memory_decay", "plot_scale", "plot_snapshots"]

# Factors over this range get a logarithmic axis.
_WIDE_SPAN = 12.0
# Width of a panel in characters of its labels.
_PANEL_CHARACTERS = 58.0


def draw_study(
    rows: Sequence[NoiseResult], metric_name: str, higher_is_better: bool | None = None
) -> dict[str, Figure]:
    """The figures that make sense for what varies: `scale`, `ablation`, `snapshots`, `memory`.

    Where several axes vary, each figure shows the others at their reference value: errors as the
    device has them, all of them; mitigations stand side by side. There is no `memory` if neither
    the contrast of a bit is known nor any readout varies enough to say what is retained.

    Args:
        rows: of a noise study, complete or not.
        metric_name: of the task.
        higher_is_better: written at the axis if given.

    Raises:
        InputError: if there is no row.

    Example:
        >>> from types import SimpleNamespace
        >>> about = {"snapshot": "fake_boston", "profile": "heron", "num_memory": 4, "seed": 0,
        ...          "num_timesteps": 2, "strength_rad": None, "ablation": "all", "shots": 500,
        ...          "mitigation": "none", "num_samples": 20, "duration_us": 9.0}
        >>> task = {"metric": 0.8, "metric_error": 0.02, "exact_metric": 0.9}
        >>> readouts = {"deviation": 0.1, "deviation_error": 0.01, "retained": (0.9, None),
        ...             "retained_error": (0.05, None), "retained_final": 0.7,
        ...             "retained_final_error": 0.04}
        >>> bits = {"memory_z": (0.95, 0.9), "memory_z_predicted": (0.99, 0.98),
        ...         "memory_z_final": 0.9, "memory_z_final_predicted": 0.97,
        ...         "memory_x_final": None, "memory_x_final_predicted": None}
        >>> device = {"loss_budget": {"two_qubit": 0.2}, "expected_success": 0.82,
        ...           "predicted": (0.9, 0.82)}
        >>> row = about | task | readouts | bits | device
        >>> rows = [SimpleNamespace(scale=scale, **row) for scale in (1.0, 2.0)]
        >>> sorted(draw_study(rows, "accuracy", True))
        ['memory', 'scale']
    """
    require(len(rows) > 0, "rows", "must hold a row", 0, "run one case or more")
    figures = {}
    if _varies(rows, "scale"):
        fixed = ["ablation"] if _varies(at_reference(rows, "ablation"), "scale") else []
        figures["scale"] = plot_scale(rows, metric_name, higher_is_better, fixed)
    if _varies(rows, "ablation"):
        fixed = ["scale"] if _varies(at_reference(rows, "scale"), "ablation") else []
        compared = _compared(rows, "ablation")
        figures["ablation"] = plot_ablation(compared, metric_name, higher_is_better, fixed)
    if _varies(rows, "snapshot"):
        figures["snapshots"] = plot_snapshots(rows, metric_name, higher_is_better)
    has_bits = any(row.memory_z is not None for row in rows)
    if has_bits or any(value is not None for row in rows for value in row.retained):
        several = sum(_varies(rows, axis) for axis in ("snapshot", "scale", "ablation")) > 1
        figures["memory"] = plot_memory_decay(rows, ["ablation", "scale"] if several else [])
    return figures


def plot_scale(
    rows: Sequence[NoiseResult],
    metric_name: str,
    higher_is_better: bool | None = None,
    fixed: Collection[str] = (),
) -> Figure:
    """Metric, and the readouts' deviation from exact ones, against the factor on all errors.

    One line for each combination of the other axes that vary. Dashed is the exact engine without
    noise, in a line's colour if engines differ. Factors over a range of 12 get a logarithmic axis.

    Args:
        rows: of a noise study.
        metric_name: of the task.
        higher_is_better: written at the axis if given.
        fixed: axes of which only the reference value is wanted, for example `["ablation"]`.

    Raises:
        InputError: if there is no row.
    """
    selection = select_lines(rows, ["scale"], fixed)
    figure, (left, right) = open_panels(selection, 3.7, 2)
    xlabel = "factor on the device's errors"
    restrain(left, "Task", xlabel, describe_metric(metric_name, higher_is_better))
    restrain(right, "Readouts", xlabel, "rms deviation from exact readouts")
    for axes, name in ((left, "metric"), (right, "deviation")):
        for place, line in enumerate(selection.lines):
            ordered = sorted(line.rows, key=_scale_of)
            errors = finite([getattr(row, f"{name}_error") for row in ordered])
            axes.errorbar([row.scale for row in ordered],
                          finite([getattr(row, name) for row in ordered]), np.nan_to_num(errors),
                          linewidth=1.5, markersize=5.5, elinewidth=1.2, zorder=3,
                          transform=move_sideways(axes, place, len(selection.lines), 5),
                          linestyle=line.style.dashes, label=line.label,
                          **line.style.points)  # fmt: skip
        _set_factors(axes, [row.scale for row in selection.rows])
    exact = draw_exact(left.axhline, selection)
    left.set_ylim(*ends_of(selection.rows, "metric"))
    right.set_ylim(0, ends_of(selection.rows, "deviation")[1])
    add_legend(figure, [*line_handles(selection), exact])
    return figure


def plot_ablation(
    rows: Sequence[NoiseResult],
    metric_name: str,
    higher_is_better: bool | None = None,
    fixed: Collection[str] = (),
) -> Figure:
    """Which error costs what: metric and deviation of readouts with some of the errors on.

    Bars from no errors to all; for each combination of the other axes that vary one bar, at most
    six, with numbers if there is one. Dashed is the exact engine without noise.

    Args:
        rows: of a noise study.
        metric_name: of the task.
        higher_is_better: written at the axis if given.
        fixed: axes of which only the reference value is wanted, for example `["scale"]`.

    Raises:
        InputError: if there is no row.
    """
    selection = select_lines(rows, ["ablation"], fixed, max_lines=6)
    names = values_of(selection.rows, "ablation")
    count = len(selection.lines)
    slot = max(0.36, 0.115 * count + 0.12)
    figure, panels = open_panels(selection, 1.0 + slot * len(names), 2, sharey=True)
    restrain(panels[0], "Task", describe_metric(metric_name, higher_is_better), "")
    restrain(panels[1], "Readouts", "rms deviation from exact readouts", "")
    for axes, name in zip(panels, ("metric", "deviation"), strict=True):
        axes.grid(False, axis="y")
        for which, line in enumerate(selection.lines):
            for row in line.rows:
                place = names.index(row.ablation) + 0.8 * ((which + 0.5) / count - 0.5)
                value, error = getattr(row, name), getattr(row, f"{name}_error")
                look = line.style.bars
                if count == 1:
                    look["facecolor"] = look["edgecolor"] = _group_colour(row.ablation)
                axes.barh(place, value, 0.7 / count, linewidth=0.8, label=line.label, **look)
                axes.errorbar([value], [place], xerr=[error], fmt="none", ecolor=INK,
                              elinewidth=1.2, capsize=2 if count < 4 else 0)  # fmt: skip
                if count == 1:
                    axes.annotate(_plus_minus(value, error), (max(value, 0) + error, place),
                                  (6, -0.5), textcoords="offset points", va="center",
                                  fontsize=9, color=INK, zorder=4, bbox={
                                      "color": "white", "pad": 1})  # fmt: skip
        low, high = ends_of(selection.rows, name, 0.0)
        low = 0.0 if name == "deviation" else low
        ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
        axes.set_xticks([tick for tick in ticks if low <= tick <= high])
        # The numbers beside bars take about a third.
        axes.set_xlim(low, high + (0.4 * (high - low) if count == 1 else 0.0))
        _separate_groups(axes, names)
    handle = draw_exact(panels[0].axvline, selection)
    panels[0].set_ylim(len(names) - 0.45, -0.55)
    panels[0].set_yticks(range(len(names)), [say("ablation", name) for name in names])
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    bars = [Patch(label=line.label, **line.style.bars) for line in selection.lines]
    add_legend(figure, [*(bars if count > 1 else []), handle])
    return figure


def _varies(rows: Sequence[NoiseResult], axis: str) -> bool:
    return len(values_of(rows, axis)) > 1


def _compared(rows: Sequence[NoiseResult], axis: str) -> list[NoiseResult]:
    """Rows that another one differs from along an axis alone; all if there are none."""
    groups: dict[object, list[NoiseResult]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in AXES if name != axis), []).append(
            row
        )
    kept = [row for group in groups.values() if _varies(group, axis) for row in group]
    return kept or list(rows)


def _scale_of(row: NoiseResult) -> float:
    return row.scale


def _set_factors(axes: Axes, factors: Sequence[float]) -> None:
    """The axis of factors: ticks are those that were run, without ones that would touch."""
    values = sorted(set(factors))
    positive = [value for value in values if value > 0]
    if positive and positive[-1] > _WIDE_SPAN * positive[0]:
        if values[0] > 0:
            axes.set_xscale("log")
        else:
            axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
    to_place, to_value = axes.transScale.transform, axes.transScale.inverted().transform
    places = [float(to_place((value, 0))[0]) for value in values]
    margin = 0.07 * (places[-1] - places[0]) or 0.5
    ends = [float(to_value((place, 0))[0]) for place in (places[0] - margin, places[-1] + margin)]
    axes.set_xlim(*ends)
    panel, ticks = _PANEL_CHARACTERS / (places[-1] - places[0] + 2 * margin), dict[float, float]()
    # The device as it is and the ends come first.
    wanted = [value for value in (1.0, values[0], values[-1]) if value in values]
    for value in (*wanted, *values):
        place, width = places[values.index(value)], len(f"{value:.3g}")
        if all(panel * abs(place - other) > (width + len(f"{known:.3g}")) / 2 + 1.2
               for known, other in ticks.items()):  # fmt: skip
            ticks[value] = place
    shown = sorted(ticks)
    axes.set_xticks(shown, [f"{value:.3g}" for value in shown])
    axes.xaxis.set_minor_locator(NullLocator())


def _group_colour(ablation: str) -> str:
    groups = {"all": VERMILION, "ideal": GREY}
    return groups.get(ablation, BLUE if ablation.startswith("only_") else "#56B4E9")


def _separate_groups(axes: Axes, names: Sequence[str]) -> None:
    groups = [_group_colour(name) for name in names]
    for place in range(1, len(names)):
        if groups[place] != groups[place - 1]:
            axes.axhline(place - 0.5, color="#BDBDBD", linewidth=0.8, zorder=1)


def _plus_minus(value: float, error: float) -> str:
    """A value with the digits that its error leaves certain."""
    if not error > 0:
        return f"{value:.3g}"
    digits = max(0, 1 - floor(log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
