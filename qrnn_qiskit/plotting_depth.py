"""Figures of compiled circuits: time, loss and depth, and how long a sequence may be.

Rows and curves are pairs of a device and a profile; one colour is one cause of loss throughout.
"""

from collections.abc import Sequence
from itertools import cycle
from math import ceil, floor, inf, isfinite, log

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from qrnn_qiskit.analysis.horizon import Bound, Horizon
from qrnn_qiskit.analysis.report import DepthReport
from qrnn_qiskit.errors import require
from qrnn_qiskit.plotting import BLUE, GREY, INK, VERMILION, restrain
from qrnn_qiskit.plotting_timeline import plot_timeline

__all__ = ["plot_horizon", "plot_loss", "plot_timeline", "plot_two_qubit_depth"]

# Field of `LossBudget`: colour (the timeline's), ink of the number in it, name.
_CAUSES = {
    "two_qubit": (BLUE, "#FFFFFF", "two-qubit gates"),
    "one_qubit": ("#56B4E9", INK, "one-qubit gates"),
    "readout": (VERMILION, "#FFFFFF", "readout"),
    "reset": ("#E69F00", INK, "reset"),
    "idle": ("#D4D4D4", INK, "waiting"),
}
# Share of the axis that a number in a segment needs.
_NUMBER_SHARE = 0.05
# Coprime numbers of colours and dashes: 20 curves before a pair comes again. The dashes alone
# tell four curves apart in grey.
_COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", INK)
_DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0.0, ()),
    (0.0, (6, 2)),
    (0.0, (6, 2, 1.2, 2)),
    (0.0, (1.2, 1.8)),
)
# Spans over this factor get a logarithmic axis, on which short horizons do not vanish.
_WIDE_SPAN = 6.0
# Where a text may stand beside its point: alignment and points to the right and up.
_PLACES = tuple(
    place
    for lift in (6, 20)
    for place in (("left", 6, lift), ("right", -6, -lift - 8), ("left", 6, -lift - 8))
)


def plot_loss(reports: Sequence[DepthReport]) -> Figure:
    """Expected errors per timestep by cause, one stacked bar for each report, in their order.

    Beside each bar stand its sum, lambda, and after how many timesteps the expected success
    exp(-lambda T) is down to the profile's target. The final measurement is spread over all
    timesteps.

    Raises:
        InputError: if there is no report.

    Example:
        >>> from qrnn_qiskit.analysis import build_report
        >>> from qrnn_qiskit.compiling import compile_program, load_profile
        >>> from qrnn_qiskit.devices import load_backend, read_target
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0),))
        >>> device, profile = read_target(load_backend("fake_boston")), load_profile("heron")
        >>> compiled = compile_program(SequenceProgram(cell, 3), device, profile)
        >>> figure = plot_loss([build_report(compiled, device, profile)])
    """
    figure, (axes,) = _open_rows(reports, 1)
    restrain(axes, "Where the loss comes from", "expected errors per timestep, λ", "")
    axes.grid(False, axis="y")
    totals = [report.loss.total / report.num_timesteps for report in reports]
    reach = 1.42 * max(totals) or 1.0
    axes.set_xlim(0, reach)
    for place, report in enumerate(reports):
        left = 0.0
        for cause, (colour, ink, _) in _CAUSES.items():
            width = getattr(report.loss, cause) / report.num_timesteps
            axes.barh(place, width, 0.62, left, color=colour, edgecolor="white", linewidth=0.8,
                      label=cause)  # fmt: skip
            if width > _NUMBER_SHARE * reach:
                axes.text(left + width / 2, place, _two_digits(width), ha="center", va="center",
                          fontsize=8.5, color=ink)  # fmt: skip
            left += width
        axes.annotate(f"λ {_two_digits(left)}, {_until_target(report)}", (left, place), (7, 0),
                      textcoords="offset points", va="center", fontsize=9.5,
                      color=INK)  # fmt: skip
    _label_rows(axes, reports)
    handles = [Patch(facecolor=colour, label=name) for colour, _, name in _CAUSES.values()]
    figure.legend(handles=handles, loc="outside lower left", ncols=5, frameon=False, fontsize=9.5,
                  labelcolor=INK)  # fmt: skip
    return figure


def plot_two_qubit_depth(reports: Sequence[DepthReport]) -> Figure:
    """Two-qubit depth and gates per timestep, one row for each report, in their order.

    Both are those of the worst branch, and means over the whole sequence.

    Raises:
        InputError: if there is no report.

    Example:
        >>> from qrnn_qiskit.analysis import build_report
        >>> from qrnn_qiskit.compiling import compile_program, load_profile
        >>> from qrnn_qiskit.devices import load_backend, read_target
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0),))
        >>> device, profile = read_target(load_backend("fake_boston")), load_profile("heron")
        >>> compiled = compile_program(SequenceProgram(cell, 3), device, profile)
        >>> figure = plot_two_qubit_depth([build_report(compiled, device, profile)])
    """
    figure, panels = _open_rows(reports, 2)
    titles = ("Two-qubit depth per timestep", "Two-qubit gates per timestep")
    for axes, title, colour, count in zip(
        panels, titles, (BLUE, GREY), (_two_qubit_depth, _num_two_qubit), strict=True
    ):
        restrain(axes, title, "", "")
        axes.grid(False, axis="y")
        values = [count(report) / report.num_timesteps for report in reports]
        axes.set_xlim(0, 1.18 * max(values) or 1.0)
        axes.barh(range(len(values)), values, 0.5, color=colour)
        for place, (value, report) in enumerate(zip(values, reports, strict=True)):
            swaps = report.compiled.num_swaps / report.num_timesteps if axes is panels[1] else 0
            note = f" ({swaps:.3g} swaps)" if swaps else ""
            axes.annotate(f"{value:.3g}{note}", (value, place), (6, 0),
                          textcoords="offset points", va="center", fontsize=9.5,
                          color=INK)  # fmt: skip
    _label_rows(panels[0], reports)
    return figure


def plot_horizon(horizons: Sequence[Horizon], max_timesteps: float | None = None) -> Figure:
    """Expected success against the number of timesteps, one curve for each horizon.

    A dot marks where a curve falls to its target success, a tick where another limit ends the
    sequence, named if it binds and there is room. The legend, longest horizon first, says what
    binds each. The axis is logarithmic where horizons differ by a factor of six or more.

    Args:
        horizons: one or more.
        max_timesteps: end of the axis; without it, a little beyond the last dot.

    Raises:
        InputError: if there is no horizon, or `max_timesteps` is not above 1 and finite.

    Example:
        >>> from qrnn_qiskit.analysis import Bound
        >>> bounds = (Bound("decay to 50% success", 68, "lambda 0.01 a timestep"),)
        >>> figure = plot_horizon([Horizon("heron", "fast", 0.01, 0.01, 4e3, 0.5, bounds)])
    """
    require(len(horizons) > 0, "horizons", "must hold a horizon", 0, "choose a backend that fits")
    require(max_timesteps is None or 1 < max_timesteps < inf, "max_timesteps",
            "must be finite and above 1", max_timesteps, "leave it out to see all")  # fmt: skip
    ordered = sorted(horizons, key=_crossing, reverse=True)
    end = max_timesteps or _axis_end(ordered)
    dots = [_crossing(horizon) for horizon in ordered]
    shown = [max(dot, 1.0) for dot in dots if dot <= end]
    is_log = max(shown, default=1.0) >= _WIDE_SPAN * min(shown, default=1.0)

    figure = Figure(figsize=(10, max(4.4, 1.0 + 0.42 * len(ordered))), dpi=120,
                    layout="constrained")  # fmt: skip
    axes = figure.add_subplot()
    restrain(axes, "How long a sequence may be", "number of timesteps T", "expected success")
    axes.set(xlim=(1, end) if is_log else (0, end), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for target in sorted({horizon.target_success for horizon in ordered}):
        axes.axhline(target, color=GREY, linewidth=0.8, zorder=1)
    timesteps = np.geomspace(1, end, 300) if is_log else np.linspace(0, end, 300)
    handles, styles = [], zip(cycle(_COLOURS), cycle(_DASHES), strict=False)
    numbers = list[tuple[float, float, str, str]]()
    for horizon, dot, (colour, dashes) in zip(ordered, dots, styles, strict=False):
        success = np.array([horizon.success(timestep) for timestep in timesteps])
        # A gain instead of a loss is rounding of the slope: success stays below 1.
        axes.plot(timesteps, np.minimum(success, 1), color=colour, linestyle=dashes, linewidth=1.8)
        if axes.get_xlim()[0] <= dot <= end:
            axes.plot(dot, horizon.target_success, "o", color=colour, markersize=6.5, zorder=4,
                      markeredgecolor="white")  # fmt: skip
            numbers.append((dot, horizon.target_success, f"{floor(dot)}", colour))
        for bound in _other_bounds(horizon):
            if axes.get_xlim()[0] <= bound.max_timesteps <= end:
                height = min(horizon.success(bound.max_timesteps), 1.0)
                axes.plot(bound.max_timesteps, height, "|", color=colour, markersize=15,
                          markeredgewidth=2.2, zorder=4)  # fmt: skip
                if bound is horizon.binding:
                    text = f"{bound.limit}, {bound.max_timesteps:.0f}"
                    numbers.append((bound.max_timesteps, height, text, colour))
        handles.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.8,
                              label=_describe(horizon)))  # fmt: skip
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9.5,
                  labelcolor=INK, handlelength=3.2, labelspacing=0.9)  # fmt: skip
    _write_numbers(figure, axes, numbers)
    return figure


def _open_rows(reports: Sequence[DepthReport], num_panels: int) -> tuple[Figure, Sequence[Axes]]:
    require(len(reports) > 0, "reports", "must hold a report", 0, "compile for one backend or more")
    figure = Figure(figsize=(10, 1.35 + 0.46 * len(reports)), dpi=120, layout="constrained")
    return figure, figure.subplots(1, num_panels, sharey=True, squeeze=False)[0]


def _label_rows(axes: Axes, reports: Sequence[DepthReport]) -> None:
    axes.set_ylim(len(reports) - 0.4, -0.6)
    axes.set_yticks([])
    for place, report in enumerate(reports):
        cell = report.compiled.program.cell
        below = f"{report.profile}; {cell.ansatz.name}, {cell.ansatz.num_memory} qubits"
        below += f", delay {cell.feedback_delay}" if cell.feedback_delay else ""
        for text, drop, side, size, colour in (
            (report.backend, -1, "bottom", 10.5, INK), (below, -3, "top", 8.5, GREY)
        ):  # fmt: skip
            axes.annotate(text, (0, place), (-8, drop), ("axes fraction", "data"),
                          "offset points", ha="right", va=side, color=colour,
                          fontsize=size)  # fmt: skip


def _two_digits(value: float) -> str:
    """Like `.2g`, but 0.10 for 0.1 and 120 for 120."""
    return f"{value:#.2g}" if value < 10 else f"{value:.0f}"


def _until_target(report: DepthReport) -> str:
    timesteps = report.timesteps_to_target
    if not isfinite(timesteps):
        return "no loss"
    after = f"{floor(timesteps):,}" if timesteps >= 1 else "less than 1"
    return f"{report.target_success:.0%} after {after}"


def _two_qubit_depth(report: DepthReport) -> int:
    return report.counts.two_qubit_depth


def _num_two_qubit(report: DepthReport) -> int:
    return report.counts.num_two_qubit


def _crossing(horizon: Horizon) -> float:
    """T at which a curve is down to its target, not rounded; below 1 it never was above."""
    if horizon.loss_slope <= 0:
        return inf
    return (log(1 / horizon.target_success) - horizon.loss_offset) / horizon.loss_slope


def _axis_end(horizons: Sequence[Horizon]) -> float:
    dots = [_crossing(horizon) for horizon in horizons]
    ends = [dot for dot in dots if 1 <= dot < inf]
    ends += [horizon.binding.max_timesteps for horizon in horizons if horizon.bounds]
    return ceil(max(1.5 * max((end for end in ends if end < inf), default=10.0), 4.0))


def _other_bounds(horizon: Horizon) -> list[Bound]:
    """Finite limits besides decay, which is the curve itself."""
    return [
        bound
        for bound in horizon.bounds
        if isfinite(bound.max_timesteps) and not bound.limit.startswith("decay")
    ]


def _describe(horizon: Horizon) -> str:
    """A curve's name, and what ends its sequences at which T."""
    name = f"{horizon.backend}, {horizon.profile}"
    if not horizon.bounds or not isfinite(horizon.binding.max_timesteps):
        return f"{name}\nno limit"
    return f"{name}\n{horizon.binding.max_timesteps:,.0f}: {horizon.binding.limit}"


def _write_numbers(
    figure: Figure, axes: Axes, numbers: Sequence[tuple[float, float, str, str]]
) -> None:
    """Texts `(x, y, text, colour)` beside their points, left out where there is no room.

    A text covers no other one and has no other point nearer than its own. What is left out
    stands in the legend.
    """
    # Only after the layout it is known how many pixels lie between two points.
    figure.draw_without_rendering()
    inside, taken = axes.get_window_extent(), list[Bbox]()
    points = axes.transData.transform([number[:2] for number in numbers] or np.empty((0, 2)))
    for (x, y, text, colour), point in zip(numbers, points, strict=True):
        note = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", color=colour,
                             fontsize=9.5, bbox={"color": "white", "alpha": 0.8, "pad": 0.5},
                             zorder=5)  # fmt: skip
        for side, shift, lift in _PLACES:
            note.set(ha=side, position=(shift, lift))
            box = note.get_window_extent()
            own = _distances(box, point[None])[0]
            is_clear = not any(box.overlaps(other) for other in taken)
            if is_clear and inside.x0 < box.x0 < box.x1 < inside.x1 and own <= np.min(
                _distances(box, points)
            ):  # fmt: skip
                taken.append(box)
                break
        else:
            note.remove()


def _distances(box: Bbox, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """From a box to points `(num_points, 2)`, in pixels."""
    return np.hypot(*(points - np.clip(points, box.min, box.max)).T)
