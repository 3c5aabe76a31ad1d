"""Figures of results: values in, a matplotlib `Figure` out, which the caller saves.

Built without pyplot, so no backend or global style is touched; 1200 px wide by default. Colours
are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, pairwise
from math import floor, isfinite, log10
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from qrnn_qiskit.errors import require

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from qrnn_qiskit.learning.training import EpochDone

RowKind = Literal["exact", "sampled", "control", "baseline"]

BLUE, VERMILION, INK, GREY = "#0072B2", "#D55E00", "#262626", "#6E6E6E"
_KINDS = {"exact": (BLUE, "D"), "sampled": (VERMILION, "o"), "control": (GREY, "s"),
          "baseline": (GREY, "^")}  # fmt: skip
_LINES = [(BLUE, "-"), (INK, "--"), ("#56B4E9", "-."), (GREY, ":")]
_POINTS = [(VERMILION, "o"), ("#009E73", "s"), ("#CC79A7", "^"), ("#E69F00", "v"), (GREY, "D")]
# Inches per column at which text has its nominal size in Qiskit's drawer (2.6.2).
_COLUMN_INCHES = 0.836**2
# Light fills keep small parameter names readable; couplings are lines, and need a strong colour.
_CIRCUIT_STYLE = {
    "name": "iqp", "textcolor": INK, "linecolor": INK, "gatetextcolor": INK,
    "creglinecolor": GREY, "gatefacecolor": "#D9E8F3", "displaycolor": {
        "rx": ("#FBE3CF", INK), "ry": ("#D9E8F3", INK), "rz": ("#D5EEE6", INK),
        "h": ("#EDE3EF", INK), "measure": ("#E6E6E6", INK), "reset": ("#E6E6E6", INK),
        "rzz": (BLUE, "#FFFFFF"),
    },
}  # fmt: skip


class ComparisonRow(Protocol):
    """What `plot_comparison` reads of a row; nan where a number is missing."""

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> RowKind: ...  # noqa: D102
    @property
    def metric(self) -> float: ...  # noqa: D102
    @property
    def metric_error(self) -> float: ...  # noqa: D102
    @property
    def loss(self) -> float: ...  # noqa: D102
    @property
    def loss_error(self) -> float: ...  # noqa: D102
    @property
    def num_samples(self) -> int: ...  # noqa: D102
    @property
    def num_shots(self) -> int | None: ...  # noqa: D102


def plot_training(
    history: Sequence["EpochDone"],
    metric_name: str,
    higher_is_better: bool,
    baselines: Sequence[tuple[str, float]] = (),
) -> Figure:
    """Losses and the validation metric against the epoch; a ring marks the last `is_best`.

    Losses over a factor of 30 get a logarithmic axis; values not finite leave a gap; baselines
    `(name, metric)` are horizontal lines.

    Raises:
        InputError: if there is no epoch, or a baseline is not finite.

    Example:
        >>> from qrnn_qiskit.learning.training import EpochDone
        >>> history = [EpochDone(1, 0.9, 1.0, 0.5, 0.1, is_best=True)]
        >>> figure = plot_training(history, "accuracy", True, [("majority", 0.6)])
    """
    require(len(history) > 0, "history", "must hold an epoch", 0, "train for one epoch or more")
    for pair in baselines:
        require(isfinite(pair[1]), "baselines", "must be finite", pair, "leave this one out")
    epochs = np.array([row.epoch for row in history])
    train = _finite(row.train_loss for row in history)
    validation = _finite(row.validation_loss for row in history)
    metric = _finite(row.validation_metric for row in history)
    best = max((index for index, row in enumerate(history) if row.is_best), default=None)
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    losses = [loss for loss in (*train, *validation) if isfinite(loss)]
    if losses and max(losses) >= 30 * min(losses) > 0:
        left.set_yscale("log")
    for _, value in baselines:
        right.axhline(value, color=GREY, linewidth=1.2, linestyle=(0, (5, 3)))
    names = [(f"{name} {value:.3g}", np.array([value]), GREY) for name, value in baselines]
    losses_shown = [("train", train, GREY), ("validation", validation, BLUE)]
    for axes, curves in ((left, losses_shown), (right, [("model", metric, BLUE)])):
        for _, values, colour in curves:
            axes.plot(epochs, values, color=colour, linewidth=1.8, markersize=3.5,
                      marker="o" if len(epochs) <= 40 else "")  # fmt: skip
        if best is not None:
            axes.axvline(epochs[best], color=VERMILION, linewidth=1, alpha=0.5, zorder=1.5)
            axes.plot(epochs[best], values[best], "o", color="white", markersize=8, zorder=4,
                      markeredgecolor=VERMILION, markeredgewidth=1.8)  # fmt: skip
        margin = 0.5 + 0.02 * float(np.ptp(epochs))
        axes.set_xlim(epochs.min() - margin, epochs.max() + margin)
        _label_right(axes, curves if axes is left else curves + names)
    restrain(left, "Loss", "epoch", "mean loss per sample")
    better = "higher" if higher_is_better else "lower"
    restrain(right, "Validation metric", "epoch", f"{metric_name} ({better} is better)")
    if best is not None:
        right.set_title(f"best: {metric[best]:.3g}, epoch {epochs[best]}", loc="right",
                        fontsize=9.5, color=VERMILION)  # fmt: skip
    return figure


def plot_comparison(rows: Sequence[ComparisonRow], metric_name: str) -> Figure:
    """Metric and loss of each row, the first at the top, with bars of one standard error.

    A thin line runs through the first exact row; controls and baselines are grey.

    Raises:
        InputError: if there is no row, a kind is unknown or an error negative.

    Example:
        >>> from types import SimpleNamespace
        >>> numbers = {"metric": 0.9, "metric_error": 0.02, "loss": 0.3, "loss_error": 0.01}
        >>> about = {"label": "Aer", "kind": "sampled", "num_samples": 9, "num_shots": 5}
        >>> rows = [SimpleNamespace(**about, **numbers)]
        >>> figure = plot_comparison(rows, "accuracy")
    """
    require(len(rows) > 0, "rows", "must hold a row", 0, "evaluate one engine or more")
    kinds = [row.kind for row in rows]
    for kind in kinds:
        require(kind in _KINDS, "kind", f"must be one of {', '.join(_KINDS)}", kind,
                "exact if it has no shots")  # fmt: skip
    figure = Figure(figsize=(10, 1.35 + 0.46 * len(rows)), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    restrain(left, "", metric_name, "")
    restrain(right, "", "mean loss per sample", "")
    _draw_dots(left, [(row.metric, row.metric_error) for row in rows], kinds)
    _draw_dots(right, [(row.loss, row.loss_error) for row in rows], kinds)
    left.set_ylim(len(rows) - 0.4, -0.6)
    left.set_yticks(range(len(rows)), [""] * len(rows))
    for place, (row, kind) in enumerate(zip(rows, kinds, strict=True)):
        shots = ", exact" if row.num_shots is None else f", {row.num_shots:,} shots"
        below = f"{row.num_samples:,} samples" + (shots if kind != "baseline" else "")
        ink = INK if kind in ("exact", "sampled") else GREY
        for text, drop, side, size, colour in (
            (row.label, -1, "bottom", 10.5, ink), (below, -3, "top", 8.5, GREY)
        ):  # fmt: skip
            left.annotate(text, (0, place), (-8, drop), ("axes fraction", "data"), "offset points",
                          ha="right", va=side, color=colour, fontsize=size)  # fmt: skip
    marks = [Line2D([], [], color=colour, marker=marker, linestyle="", label=kind)
             for kind, (colour, marker) in _KINDS.items() if kind in kinds]  # fmt: skip
    figure.legend(handles=marks, loc="outside upper right", ncols=4, frameon=False, fontsize=9.5,
                  labelcolor=INK, handletextpad=0.1)  # fmt: skip
    return figure


def plot_trajectories(
    series: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64] | None]],
    feature_names: Sequence[str],
    title: str,
) -> Figure:
    """Readout values z_t against the timestep, one panel for each of at most 12 features.

    `series` maps labels to `(values, standard_errors or None)`, both `(num_timesteps,
    num_features)`. Without errors it is a line, with them points with bars of one standard error,
    moved sideways off each other. The axis is [-1.05, 1.05], wider for (mitigated) values outside.

    Raises:
        InputError: if there is no series, no feature or more than 12, or a shape is off.

    Example:
        >>> z = np.zeros((5, 2))
        >>> series = {"exact": (z, None), "4096 shots": (z, z + 0.02)}
        >>> figure = plot_trajectories(series, ["<Z_0>", "<Z_0 Z_3>"], "Parity of bits")
    """
    num_features = len(feature_names)
    require(1 <= num_features <= 12, "feature_names", "must name 1 to 12 features", num_features,
            "select columns of every array, a figure for each dozen")  # fmt: skip
    require(len(series) > 0, "series", "must not be empty", 0, "pass the exact trajectory")
    num_timesteps = (*np.shape(next(iter(series.values()))[0]), 0)[0]
    for label, pair in series.items():
        for shape in [np.shape(array) for array in pair if array is not None]:
            require(shape == (num_timesteps, num_features) and num_timesteps > 0, "series",
                    "must hold arrays (num_timesteps, num_features) of one shape", (label, shape),
                    "cut all to one sequence and the named features")  # fmt: skip
    num_columns = {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 6: 3, 9: 3}.get(num_features, 4)
    num_rows = -(-num_features // num_columns)
    figure = Figure(figsize=(10, 1.4 + 2.3 * num_rows), dpi=120, layout="constrained")
    grid = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
    num_sampled = sum(errors is not None for _, errors in series.values())
    timesteps, reach = np.arange(1, num_timesteps + 1), 1.05
    for unused in grid.flat[num_features:]:
        unused.remove()
    for index, (axes, name) in enumerate(zip(grid.flat, feature_names, strict=False)):
        lines, points, shift = cycle(_LINES), cycle(_POINTS), -0.07 * (num_sampled - 1)
        for label, (values, errors) in series.items():
            z = _finite(values[:, index])
            reach = max(reach, 1.05 * float(np.max(np.abs(z), initial=0, where=np.isfinite(z))))
            if errors is None:
                colour, style = next(lines)
                axes.plot(timesteps, z, style, color=colour, linewidth=1.6, label=label)
            else:
                colour, style = next(points)
                axes.errorbar(timesteps + shift, z, _finite(errors[:, index]), fmt=style,
                              color=colour, markersize=4, elinewidth=1.2, label=label)  # fmt: skip
                shift += 0.14
        restrain(axes, re.sub("^<(.+)>$", _typeset, name), "", "")
        axes.tick_params(labelbottom=index + num_columns >= num_features)
    grid[0, 0].set(ylim=(-reach, reach), xlim=(0.5, num_timesteps + 0.5))
    figure.supxlabel("timestep t", fontsize=10.5, color=INK)
    figure.supylabel("readout value $z_t$", fontsize=10.5, color=INK)
    # The title is the legend's: constrained layout stacks no other title above a legend.
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=5,
                  frameon=False, fontsize=9.5, labelcolor=INK, title=title, alignment="left",
                  title_fontproperties={"size": 12, "weight": "bold"})  # fmt: skip
    return figure


def draw_circuit(circuit: "QuantumCircuit", title: str | None = None, fold: int = 18) -> Figure:
    """The circuit in rows of at most `fold` columns, without idle wires and global phase.

    Rows end between gates, and are longer where an `if` box is wider than `fold`. A gate takes
    one column, or two with a long parameter name.

    Raises:
        InputError: if `fold` is below 2, or the circuit has no instruction.

    Example:
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> program = SequenceProgram(CellSpec(Ansatz("line", 2), (Readout("Z", 0),)), 1)
        >>> figure = draw_circuit(program.circuit, "One timestep")
    """
    require(fold >= 2, "fold", "must be at least 2", fold, "18 columns are readable at 1200 px")
    require(len(circuit.data) > 0, "circuit", "must hold an instruction", 0, "add gates")
    # The drawer writes a phase with pyplot, into a figure of its own (Qiskit 2.6.2).
    drawn = circuit.copy()
    drawn.global_phase = 0
    # Wide enough to measure text; its own Agg canvas, or every text would start a renderer.
    scratch = FigureCanvasAgg(Figure((200, 1), dpi=72)).figure.add_axes((0, 0, 1, 1))
    _draw_unfolded(drawn, scratch)
    names_width, bounds = _row_bounds(scratch, fold)
    row_height, unfolded = float(np.ptp(scratch.get_ylim())), float(np.ptp(scratch.get_xlim()))
    width = names_width + max(np.diff(bounds)) + 0.3
    height = (len(bounds) - 1) * row_height + (0.8 if title else 0.0)
    inches = width * _COLUMN_INCHES, height * _COLUMN_INCHES
    figure = Figure(figsize=inches, dpi=min(120, 1200 / inches[0]))
    if title:
        figure.text(0.3 / width, 1 - 0.4 / height, title, va="center", fontsize=16,
                    fontweight="bold", color=INK)  # fmt: skip
    for row, (start, stop) in enumerate(pairwise(bounds)):
        corner = names_width / width, (len(bounds) - 2 - row) * row_height / height
        axes = figure.add_axes((*corner, unfolded / width, row_height / height))
        _draw_unfolded(drawn, axes)
        axes.set_xlim(start, stop)
        axes.set_position((*corner, (stop - start) / width, row_height / height))
        for text in list(axes.texts):
            x = text.get_position()[0]
            if x < bounds[0]:
                text.set(x=start - 0.2, clip_on=False)
            elif not start < x < stop:
                text.remove()
    return figure


def _draw_unfolded(circuit: "QuantumCircuit", axes: Axes) -> None:
    """Draws all in one row; the drawer's own folding would cut `if` boxes in two."""
    circuit.draw("mpl", ax=axes, fold=-1, style=_CIRCUIT_STYLE, idle_wires=False)
    axes.set_aspect("auto")
    for patch in axes.patches:
        if isinstance(patch, FancyBboxPatch):
            patch.set(edgecolor=VERMILION, linewidth=1.5)


def _row_bounds(axes: Axes, fold: int) -> tuple[float, list[float]]:
    """Width of the wires' names, and the columns where rows start and the last one ends."""
    # The first patch is the drawer's mask behind the names.
    boxes = [artist.get_window_extent() for artist in (*axes.texts, *axes.patches[1:])]
    to_columns = axes.transData.inverted()
    spans = sorted(tuple(map(float, box.transformed(to_columns).intervalx)) for box in boxes)
    wires = min(float(np.min(line.get_xdata())) for line in axes.lines)
    gaps, end = [], wires + 0.5
    for left, right in spans:
        if left > end:
            gaps.append((left + end) / 2)
        end = max(end, right)
    bounds = [wires]
    while end - bounds[-1] > fold and (ahead := [gap for gap in gaps if gap > bounds[-1]]):
        bounds.append(max((gap for gap in ahead if gap <= bounds[-1] + fold), default=ahead[0]))
    return wires - spans[0][0] + 0.4, [*bounds, end + 0.4]


def restrain(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """The look that all figures share: light grid, two thin spines, title on the left."""
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(linewidth=0.7, color=GREY)
    axes.tick_params(color=GREY, labelcolor=INK, labelsize=9.5, width=0.7, length=3)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(xlabel, fontsize=10.5, color=INK)
    axes.set_ylabel(ylabel, fontsize=10.5, color=INK)
    if xlabel in ("epoch", ""):
        axes.xaxis.set_major_locator(
            MaxNLocator(8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
        )


def _finite(values: Iterable[float]) -> NDArray[np.float64]:
    array = np.array([float(value) for value in values])
    return np.where(np.isfinite(array), array, np.nan)


def _typeset(match: re.Match[str]) -> str:
    subscripts = re.sub(r"_(\d+) ?", r"_{\1}", match[1])
    return rf"$\langle {subscripts} \rangle$"


def _label_right(axes: Axes, curves: Sequence[tuple[str, NDArray[np.float64], str]]) -> None:
    """Names curves `(name, values, colour)` right of the panel, moved off each other."""
    to_fraction, place = axes.transData + axes.transAxes.inverted(), -1.0
    known = [(values[np.isfinite(values)], name, colour) for name, values, colour in curves]
    ends = [(float(values[-1]), name, colour) for values, name, colour in known if values.size]
    axes.autoscale_view()
    for last, name, colour in sorted(ends):
        place = max(float(to_fraction.transform((1, last))[1]), place + 0.065)
        axes.annotate(name, (1, last), (1.05, place), ("axes fraction", "data"), "axes fraction",
                      color=colour, fontsize=9.5, va="center", annotation_clip=False, arrowprops={
                          "arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1,
                          "shrinkB": 0})  # fmt: skip


def _draw_dots(axes: Axes, values: list[tuple[float, float]], kinds: list[RowKind]) -> None:
    for place, ((value, error), kind) in enumerate(zip(values, kinds, strict=True)):
        require(not error < 0, "error", "must not be negative", error, "give nan if unknown")
        (colour, marker), bar = _KINDS[kind], error if isfinite(error) else 0.0
        if isfinite(value):
            digits = max(0, 1 - floor(log10(bar))) if bar else 0
            text = f"{value:.{digits}f} ± {bar:.{digits}f}" if bar else f"{value:.3g}"
            axes.errorbar(value, place, xerr=bar or None, fmt=marker, color=colour, markersize=7,
                          elinewidth=1.6, zorder=3)  # fmt: skip
            axes.annotate(text, (value + bar, place), (9, -0.5), textcoords="offset points",
                          va="center", fontsize=9.5, color=colour, bbox={
                              "color": "white", "pad": 1})  # fmt: skip
        else:
            axes.text(0.97, place, "n/a", transform=axes.get_yaxis_transform(), ha="right",
                      va="center", fontsize=9.5, color=GREY)  # fmt: skip
    ends = [v + s * (e if isfinite(e) else 0) for v, e in values if isfinite(v) for s in (-1, 1)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    span = (high - low) or abs(high) or 1.0
    # The value printed beside the rightmost dot takes about a third of the panel.
    axes.set_xlim(low - 0.08 * span, high + 0.6 * span)
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    axes.set_xticks([tick for tick in ticks if low - 0.08 * span <= tick <= high + 0.1 * span])
    exact = [v for (v, _), kind in zip(values, kinds, strict=True) if kind == "exact"]
    if exact and isfinite(exact[0]):
        axes.axvline(exact[0], color=BLUE, linewidth=0.8, alpha=0.5, zorder=1.5)
