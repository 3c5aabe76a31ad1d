"""The figure of how long a noisy circuit remembers: a bit, and the signal of the trained model."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    StrMethodFormatter,
)
from numpy.typing import NDArray

from qrnn_qiskit.plotting import GREY, INK, restrain
from qrnn_qiskit.plotting_noise_lines import (
    NoiseResult,
    Style,
    add_legend,
    finite,
    line_handles,
    move_sideways,
    open_panels,
    select_lines,
)

Array = NDArray[np.float64]
Alike = TypeVar("Alike", bound=Hashable)
Shown = Sequence[tuple[NoiseResult, Style]]

# From here on bands show errors: bars would touch.
_MANY_TIMESTEPS = 40
# Values that differ by more get a logarithmic axis, down to the smallest that is worth seeing.
_WIDE_SPAN = 8.0
_SMALLEST = 1e-3
# A slope less certain than this says nothing, and does not decide the axis.
_USELESS_ERROR = 0.6
# Width of one panel, and of each of two, in points, about.
_PANEL_POINTS = (640.0, 300.0)
# A marker that no line has.
_SHARED = Style(INK, "*")


def plot_memory_decay(rows: Sequence[NoiseResult], fixed: Collection[str] = ()) -> Figure:
    """How long the circuit remembers a bit, and how much of its signal the trained model retains.

    Left, if computed: contrast of |0> and |1> in Z readouts, exact; in the grey zone that of the
    final measurement, and of |+> and |-> in X. Dash-dotted, and ticks in the grey zone: what
    waiting alone leaves, exp(-t/T1), in X exp(-t/T2). Rows whose memory is the same, for example
    because they differ in mitigation, share a line, black with stars if they have several colours.

    Right, unless exact readouts hardly differ at any timestep: slopes of noisy against exact
    readouts over the samples; in the grey zone those of the final measurement. Dash-dotted: what
    the schedule predicts, exp(-lambda t/T).

    An axis is logarithmic if values differ by a factor of eight and no bar reaches zero.

    Args:
        rows: of a noise study; at most eight are shown.
        fixed: axes of which only the reference value is wanted, for example `["scale"]`.

    Raises:
        InputError: if there is no row.
    """
    selection = select_lines(rows, fixed=fixed)
    shown = [(row, line.style) for line in selection.lines for row in line.rows]
    draw = []
    if any(row.memory_z is not None for row, _ in shown):
        draw.append(_draw_bits)
    if not draw or any(value is not None for row, _ in shown for value in row.retained):
        draw.append(_draw_signals)
    figure, panels = open_panels(selection, 4.4, len(draw))
    handles = line_handles(selection)
    for axes, panel in zip(panels, draw, strict=True):
        handles += panel(axes, shown, _PANEL_POINTS[len(draw) - 1])
    add_legend(figure, handles)
    return figure


# --- a bit ----------------------------------------------------------------------------------------


class _Bits(NamedTuple):
    """Contrasts at each timestep and of the final measurement in Z and X, and predicted ones."""

    steps: tuple[float, ...]
    final: tuple[float | None, float | None]
    predicted: tuple[float, ...]
    final_predicted: tuple[float | None, float | None]


def _draw_bits(axes: Axes, shown: Shown, width: float) -> list[Artist]:
    """Returns entries of the legend."""
    restrain(axes, "Memory of a bit", "timestep",
             "contrast of |0⟩ and |1⟩\n(X: of |+⟩ and |-⟩)")  # fmt: skip
    known = [
        (_Bits(row.memory_z, (row.memory_z_final, row.memory_x_final),
               row.memory_z_predicted or (),
               (row.memory_z_final_predicted, row.memory_x_final_predicted)), style)
        for row, style in shown if row.memory_z is not None
    ]  # fmt: skip
    curves = _share(known)
    bases = [place for place in (0, 1) if any(bits.final[place] is not None for bits in curves)]
    last = max(len(bits.steps) for bits in curves)
    labels = [f"final {'ZX'[place]}" for place in bases]
    centres = _set_timesteps(axes, last, labels, len(curves), width)
    value = finite([v for bits in curves for part in bits for v in part])
    num_outside = _set_heights(axes, value, np.zeros_like(value), [])
    axes.set_title(_say_outside(num_outside), loc="right", fontsize=9, color=GREY)
    for predicted, style in _share([(bits.predicted, style) for bits, style in known]).items():
        axes.plot(range(len(predicted) + 1), (1.0, *predicted), "-.", color=style.colour,
                  linewidth=1.1, alpha=0.85, zorder=2, label="predicted")  # fmt: skip
    for which, (bits, style) in enumerate(curves.items()):
        is_short = last <= _MANY_TIMESTEPS
        axes.plot(range(1, len(bits.steps) + 1), bits.steps, linewidth=1.3, zorder=3, label="bit",
                  linestyle=style.dashes, markersize=5.0 if last <= 20 else 3.5,
                  **(style.points if is_short else {"color": style.colour}))  # fmt: skip
        for place, centre in zip(bases, centres, strict=True):
            moved = move_sideways(axes, which, len(curves), 1.3 * len(curves))
            axes.plot([centre], finite([bits.final_predicted[place]]), "_", color=style.colour,
                      markersize=13, markeredgewidth=1.2, transform=moved, zorder=2.8,
                      label="final, predicted")  # fmt: skip
            axes.plot([centre], finite([bits.final[place]]), linestyle="", markersize=6,
                      transform=moved, zorder=3, label="final", **style.points)  # fmt: skip
    same = [Line2D([], [], markersize=7, linewidth=1.3, **_SHARED.points,
                   label="bit: the same for several of these")]  # fmt: skip
    return [*(same if _SHARED in curves.values() else []),
            _prediction("bit, waiting alone (line, ticks): exp(-t/T1), X: exp(-t/T2)")]  # fmt: skip


def _share(pairs: Iterable[tuple[Alike, Style]]) -> dict[Alike, Style]:
    """One style for all that is alike: its own, or one of its own for several colours."""
    styles: dict[Alike, list[Style]] = {}
    for what, style in pairs:
        styles.setdefault(what, []).append(style)
    return {
        what: found[0] if len({style.colour for style in found}) == 1 else _SHARED
        for what, found in styles.items()
    }


# --- the signal of the trained model --------------------------------------------------------------


def _draw_signals(axes: Axes, shown: Shown, width: float) -> list[Artist]:
    """Returns entries of the legend."""
    restrain(axes, "Signal of the trained model", "timestep",
             "retained signal: slope of\nnoisy against exact readouts")  # fmt: skip
    last = max(row.num_timesteps for row, _ in shown)
    has_final = any(row.retained_final is not None for row, _ in shown)
    labels = ["final"] if has_final else []
    centres = _set_timesteps(axes, last, labels, len(shown), width)
    rows = [row for row, _ in shown]
    num_outside = _set_heights(
        axes,
        finite([v for row in rows for v in (*row.retained, row.retained_final)]),
        finite([e for row in rows for e in (*row.retained_error, row.retained_final_error)]),
        [success for row in rows for success in row.predicted],
    )
    for colour, predicted in dict.fromkeys((style.colour, row.predicted) for row, style in shown):
        axes.plot(range(len(predicted) + 1), (1.0, *predicted), "-.", color=colour, linewidth=1.1,
                  alpha=0.85, zorder=2, label="predicted")  # fmt: skip
    for place, (row, style) in enumerate(shown):
        _draw_retained(axes, row, style, place, len(shown), last, width)
        if row.retained_final is not None:
            error = finite([row.retained_final_error or 0.0])
            reach = (2.0 if width == _PANEL_POINTS[0] else 1.3) * len(shown)
            axes.errorbar(centres, [row.retained_final], error, linestyle="", markersize=6.5,
                          elinewidth=1.3, transform=move_sideways(axes, place, len(shown), reach),
                          zorder=3, label="final", **style.points)  # fmt: skip
    note = _say_outside(num_outside)
    if not any(np.isfinite(finite(row.retained)).any() for row in rows):
        note = "exact readouts hardly differ: nothing to retain"
    axes.set_title(note, loc="right", fontsize=9, color=GREY)
    return [_prediction("signal, all errors: exp(-λt/T)")]


def _draw_retained(
    axes: Axes, row: NoiseResult, style: Style, place: int, count: int, last: int, width: float
) -> None:
    timesteps = np.arange(1, len(row.retained) + 1)
    retained, error = finite(row.retained), np.nan_to_num(finite(row.retained_error))
    if last > _MANY_TIMESTEPS:
        axes.plot(timesteps, retained, color=style.colour, linewidth=1.3, zorder=3,
                  linestyle=style.dashes, label="retained")  # fmt: skip
        axes.fill_between(timesteps, retained - error, retained + error, color=style.colour,
                          alpha=0.15, linewidth=0)  # fmt: skip
        missing = np.concatenate(([True], np.isnan(retained), [True]))
        alone = missing[:-2] & missing[2:] & ~missing[1:-1]
        axes.errorbar(timesteps[alone], retained[alone], error[alone], linestyle="", markersize=4,
                      elinewidth=1, zorder=3, **style.points)  # fmt: skip
        return
    moved = move_sideways(axes, place, count, min(14.0, 0.3 * width / last))
    axes.errorbar(timesteps, retained, error, linewidth=1.3, linestyle=style.dashes, zorder=3,
                  markersize=5.5 if last <= 20 else 3.5, elinewidth=1.2, transform=moved,
                  label="retained", **style.points)  # fmt: skip


# --- both -----------------------------------------------------------------------------------------


def _prediction(label: str) -> Line2D:
    return Line2D([], [], color=GREY, linestyle="-.", linewidth=1.1, label=label)


def _say_outside(count: int) -> str:
    return f"{count} outside this range" if count else ""


def _set_timesteps(
    axes: Axes, last: int, finals: Sequence[str], num_lines: int, width: float
) -> list[float]:
    """The horizontal axis; returns where final measurements stand, right of all timesteps."""
    is_wide = width == _PANEL_POINTS[0]
    each = 4.5 * num_lines + 34 if is_wide else max(41, 2.9 * num_lines + 24)
    end = last + 0.5 + 0.02 * last
    right = end / (1 - len(finals) * each / width)
    axes.set_xlim(0, right)
    wanted = MaxNLocator(10 if is_wide else 6, steps=[1, 2, 5, 10], integer=True)
    ticks = [float(tick) for tick in wanted.tick_values(0, last) if 1 <= tick <= last] or [1.0]
    labels = [f"{tick:.0f}" for tick in ticks]
    centres = [end + (right - end) * (i + 0.5) / len(finals) for i in range(len(finals))]
    if finals:
        axes.axvspan(end, right, color="#F3F3F3", linewidth=0, zorder=0.5)
    axes.xaxis.set_major_locator(FixedLocator([*ticks, *centres]))
    axes.set_xticks([*ticks, *centres], [*labels, *finals])
    return centres


def _set_heights(axes: Axes, value: Array, error: Array, predicted: Sequence[float]) -> int:
    """The vertical axis, from what is certain; returns how many values are outside."""
    known = np.isfinite(value)
    value, error = value[known], np.nan_to_num(error[known])
    is_certain = error <= _USELESS_ERROR
    if not is_certain.any():
        is_certain[:] = True
        error = np.minimum(error, _USELESS_ERROR)
    low = float(np.min((value - error)[is_certain], initial=1.0))
    high = float(np.max((value + error)[is_certain], initial=1.0))
    certain = value[is_certain]
    if certain.size and low > 0 and certain.max() >= _WIDE_SPAN * certain.min():
        axes.set_yscale("log")
        axes.set_ylim(max(low / 1.25, _SMALLEST), 1.15 * high)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        low = min(low, 0.0) if not value.size or min(low, *predicted, 1.0) < 0.5 else low
        low = min(low, *predicted, 1.0)
        margin = 0.05 * (high - low) or 0.02
        axes.set_ylim(low - (margin if low else 0.0), high + margin)
        for level in (0.0, 1.0):
            axes.axhline(level, color=GREY, linewidth=0.8, zorder=1)
    bottom, top = axes.get_ylim()
    return int(np.sum((value < bottom) | (value > top)))
