"""Figures of devices: the lattice of qubits, coloured by error or by what changed."""

from collections.abc import Iterable, Mapping
from math import ceil, floor, isnan, log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from numpy.typing import NDArray

from qrnn_qiskit.devices.calibration import Calibration
from qrnn_qiskit.devices.drift import Drift
from qrnn_qiskit.devices.lattice import place_qubits
from qrnn_qiskit.devices.target import UNUSABLE_ERROR
from qrnn_qiskit.errors import require
from qrnn_qiskit.plotting import BLUE, GREY, INK, VERMILION

Edge = tuple[int, int]
# One hue for edges and one for qubits, pale where the device is good.
_EDGE_COLOURS = LinearSegmentedColormap.from_list(
    "edges", ["#CFE3F1", "#6BAED6", BLUE, "#0B3C68", "#06203A"]
)
_QUBIT_COLOURS = LinearSegmentedColormap.from_list(
    "qubits", ["#FBE9D9", "#F5B37B", VERMILION, "#8A3300", "#4A1B00"]
)
_CHANGE_COLOURS = LinearSegmentedColormap.from_list(
    "change", ["#0B3C68", BLUE, "#9CC7E3", "#E9E9E9", "#F2B68C", VERMILION, "#8A3300"]
)
_UNKNOWN = "#FFFFFF"
# Shares of the values that the colours tell apart: a few failed gates must not make the rest pale.
_LOW, _HIGH = 2, 97
_RADIUS = 0.34
# Changes by a larger factor have the last colour.
_MAX_FACTOR = 4


def plot_lattice(calibration: Calibration) -> Figure:
    """The device's lattice: edges by two-qubit error, qubits by readout error, dark is bad.

    Crossed out and dashed is what cannot be used: an error of 0.5 or more. White qubits and thin
    dotted edges are those that the device says nothing about. Colours are logarithmic and cover
    all but the last few percent of the values.

    Raises:
        InputError: if the device has no qubit.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> from qrnn_qiskit.devices.calibration import read_calibration
        >>> figure = plot_lattice(read_calibration(load_fake_backend("fake_manila")))
    """
    figure, axes, places, bars = _open(calibration, (0.05, 1, 0.1, 1, 0.05))
    readout = dict(enumerate(calibration.readout_error.tolist()))
    edge_norm = _error_norm(calibration.edges.values())
    qubit_norm = _error_norm(readout.values())
    broken = _broken_qubits(calibration)
    _draw_edges(axes, places, calibration.edges, edge_norm, _EDGE_COLOURS, UNUSABLE_ERROR)
    _draw_qubits(axes, places, readout, qubit_norm, _QUBIT_COLOURS, broken)
    medians = calibration.medians
    for place, norm, colours, name, value in (
        (bars[1], edge_norm, _EDGE_COLOURS, calibration.two_qubit_gate, medians.two_qubit_error),
        (bars[3], qubit_norm, _QUBIT_COLOURS, "readout", medians.readout_error),
    ):
        if norm is None or value is None:
            place.remove()
        else:
            ticks = _round_numbers(norm)
            _draw_bar(figure, place, norm, colours, f"{name} error (median {value:.2g})",
                      {tick: f"{tick:.3g}" for tick in ticks})  # fmt: skip
    times = ", ".join(
        f"median {name} {value:.0f} µs"
        for name, value in (("T1", medians.t1_us), ("T2", medians.t2_us))
        if value is not None
    )
    _write_title(figure, f"{calibration.name}, {_day(calibration)}", times)
    unusable = any(error >= UNUSABLE_ERROR for error in calibration.edges.values())
    _add_legend(figure, calibration.edges.values(), readout.values(), unusable or bool(broken))
    return figure


def plot_drift(drift: Drift) -> Figure:
    """The lattice coloured by what changed: blue has become better, orange worse.

    Edges by two-qubit error, qubits by readout error, as factors new over old; the last colour
    means a factor of 4 or more. Crossed out and dashed is what the new calibration cannot use,
    white or dotted what one of both says nothing about.

    Raises:
        InputError: if the two are not the same lattice.

    Example:
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> from qrnn_qiskit.devices.calibration import read_calibration
        >>> from qrnn_qiskit.devices.drift import compare_calibrations
        >>> pair = [read_calibration(load_fake_backend(f"fake_{n}")) for n in ("lima", "belem")]
        >>> figure = plot_drift(compare_calibrations(*pair))
    """
    old, new = drift.old, drift.new
    require(drift.same_lattice, "drift", "must be of two devices with the same lattice",
            f"{old.name} and {new.name}", "draw each by itself with plot_lattice")  # fmt: skip
    figure, axes, places, bars = _open(new, (1, 2, 1))
    reach = float(np.log2(_MAX_FACTOR))
    norm = TwoSlopeNorm(0, -reach, reach)
    broken = _broken_qubits(new)
    lost = {pair for pair, error in new.edges.items() if error >= UNUSABLE_ERROR}
    edges = {pair: np.inf if pair in lost else change for pair, change in drift.edge_log2.items()}
    _draw_edges(axes, places, edges, norm, _CHANGE_COLOURS, np.inf)
    _draw_qubits(axes, places, dict(enumerate(drift.readout_log2)), norm, _CHANGE_COLOURS, broken)
    _draw_bar(figure, bars[1], norm, _CHANGE_COLOURS,
              f"{new.two_qubit_gate or 'gate'} and readout error, new / old",
              {tick: _factor_text(tick) for tick in np.linspace(-reach, reach, 5)})  # fmt: skip
    medians = []
    for label, before, after in (
        (f"{new.two_qubit_gate} error", old.medians.two_qubit_error, new.medians.two_qubit_error),
        ("readout error", old.medians.readout_error, new.medians.readout_error),
    ):
        if before is not None and after is not None:
            medians.append(f"median {label} {before:.2g} to {after:.2g}")
    names = f"{old.name}, {_day(old)}  →  {'' if old.name == new.name else f'{new.name}, '}"
    _write_title(figure, f"{names}{_day(new)}", ", ".join(medians))
    _add_legend(figure, edges.values(), drift.readout_log2, bool(broken or lost))
    return figure


def _open(
    calibration: Calibration, bar_widths: tuple[float, ...]
) -> tuple[Figure, Axes, NDArray[np.float64], list[Axes]]:
    """An empty figure, shaped like the lattice, with room for colour bars under it."""
    require(calibration.num_qubits > 0, "calibration", "must have a qubit", 0, "choose a device")
    places = place_qubits(calibration.num_qubits, list(calibration.edges), calibration.coordinates)
    width, height = np.ptp(places, axis=0) + 1.3
    # Small devices get larger qubits, but not the largest that fit.
    scale = min(10 / width, 8.5 / height, 1.0)
    inches = scale * height
    figure = Figure(figsize=(10, inches + 1.7), dpi=120, layout="constrained")
    grid = figure.add_gridspec(
        2, len(bar_widths), height_ratios=(inches, 0.13), width_ratios=bar_widths
    )
    axes = figure.add_subplot(grid[0, :])
    axes.set_axis_off()
    axes.set_aspect("equal")
    low, high = places.min(axis=0) - 0.65, places.max(axis=0) + 0.65
    axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]))
    bars = [figure.add_subplot(grid[1, column]) for column in range(len(bar_widths))]
    for margin in bars[::2]:
        margin.set_axis_off()
    return figure, axes, places, bars


def _broken_qubits(calibration: Calibration) -> set[int]:
    """Qubits whose measurement or sx has failed."""
    return {
        qubits[0]
        for (name, qubits), numbers in calibration.instructions.items()
        if name in ("measure", "sx")
        and numbers.error is not None
        and not numbers.error < UNUSABLE_ERROR
    }


def _draw_edges(
    axes: Axes,
    places: NDArray[np.float64],
    values: Mapping[Edge, float],
    norm: Normalize | None,
    colours: Colormap,
    unusable: float,
) -> None:
    groups: dict[str, list[Edge]] = {"known": [], "unknown": [], "unusable": []}
    for edge, value in values.items():
        kind = "unknown" if isnan(value) else "unusable" if value >= unusable else "known"
        groups[kind].append(edge)
    width = 5.5 if len(places) > 40 else 8.0
    if norm is not None:
        lines = LineCollection(
            [places[list(edge)] for edge in groups["known"]], linewidths=width, cmap=colours,
            norm=norm, capstyle="butt", zorder=1,
        )  # fmt: skip
        lines.set_array(np.array([values[edge] for edge in groups["known"]]))
        axes.add_collection(lines)
    for kind, style, thickness in (("unknown", (0, (1, 2)), 1.0), ("unusable", (0, (2, 1.2)), 1.6)):
        axes.add_collection(LineCollection(
            [places[list(edge)] for edge in groups[kind]], linewidths=thickness, linestyles=[style],
            colors=GREY if kind == "unknown" else INK, zorder=1,
        ))  # fmt: skip


def _draw_qubits(
    axes: Axes,
    places: NDArray[np.float64],
    values: Mapping[int, float],
    norm: Normalize | None,
    colours: Colormap,
    broken: set[int],
) -> None:
    size = max(4.5, min(9.0, 100 / (float(np.ptp(places[:, 0])) + 1)))
    patches, faces = [], []
    for qubit, (x, y) in enumerate(places):
        value = values.get(qubit, float("nan"))
        is_coloured = qubit not in broken and not isnan(value)
        face = colours(norm(value)) if is_coloured and norm is not None else _UNKNOWN
        patches.append(Circle((x, y), _RADIUS))
        faces.append(face)
        ink = "#FFFFFF" if _luminance(face) < 0.45 else INK
        axes.text(x, y, str(qubit), ha="center", va="center_baseline", fontsize=size, color=ink,
                  zorder=4)  # fmt: skip
        if qubit in broken:
            # Under the disc, so that the number stays readable.
            for sign in (1, -1):
                axes.plot([x - 0.42, x + 0.42], [y - 0.42 * sign, y + 0.42 * sign],
                          color=INK, linewidth=1.6, zorder=2)  # fmt: skip
    axes.add_collection(
        PatchCollection(
            patches,
            facecolors=faces,
            linewidths=0.7,
            zorder=3,
            edgecolors=[INK if qubit in broken else GREY for qubit in range(len(places))],
        )
    )


def _error_norm(values: Iterable[float]) -> LogNorm | None:
    """Logarithmic colours over usable errors; None where there are none."""
    known = [value for value in values if 0 < value < UNUSABLE_ERROR]
    if not known:
        return None
    low, high = np.percentile(known, (_LOW, _HIGH))
    # One value, or equal ones, still need an interval.
    margin = 1.2 if high < 1.5 * low else 1.0
    return LogNorm(low / margin, high * margin, clip=True)


def _round_numbers(norm: LogNorm) -> list[float]:
    """1, 2 and 5 times powers of ten inside the colours; more digits if these are fewer than 2."""
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for factors in ((1, 2, 5), range(1, 10)):
        ticks = [f * 10.0**power for power in powers for f in factors]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 2:
            return inside
    return [float(f"{tick:.2g}") for tick in np.geomspace(low, high, 3)[1:2]]


def _draw_bar(
    figure: Figure,
    axes: Axes,
    norm: Normalize,
    colours: Colormap,
    label: str,
    ticks: Mapping[float, str],
) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm, colours), cax=axes, orientation="horizontal", extend="both"
    )
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.minorticks_off()
    bar.outline.set(linewidth=0.5, edgecolor=GREY)
    axes.set_xlabel(label, fontsize=9.5, color=INK)
    axes.tick_params(color=GREY, labelcolor=INK, labelsize=8.5, width=0.7, length=3)


def _add_legend(
    figure: Figure, edges: Iterable[float], qubits: Iterable[float], has_unusable: bool
) -> None:
    """Only what the figure shows."""
    marks = []
    if has_unusable:
        marks.append(Line2D([], [], color=INK, linestyle=(0, (2, 1.2)), linewidth=1.6, marker="x",
                            markersize=7, label="unusable"))  # fmt: skip
    if any(map(isnan, (*edges, *qubits))):
        marks.append(Line2D([], [], color=GREY, linestyle=(0, (1, 2)), linewidth=1, marker="o",
                            markerfacecolor=_UNKNOWN, markersize=8,
                            label="not reported"))  # fmt: skip
    if marks:
        figure.legend(handles=marks, loc="outside upper right", ncols=2, frameon=False,
                      fontsize=9.5, labelcolor=INK, handlelength=3.2)  # fmt: skip


def _write_title(figure: Figure, title: str, below: str) -> None:
    # The second line is a text of its own: a title has one size and weight.
    top = 1 - 0.08 / figure.get_figheight()
    figure.suptitle(f"{title}\n", x=0.02, y=top, ha="left", va="top", fontsize=12,
                    fontweight="bold", color=INK)  # fmt: skip
    figure.text(0.02, top - 0.24 / figure.get_figheight(), below, va="top", fontsize=9.5,
                color=GREY)  # fmt: skip


def _factor_text(log2_factor: float) -> str:
    if log2_factor == 0:
        return "same"
    return f"{2**log2_factor:g} times" if log2_factor > 0 else f"1/{2**-log2_factor:g}"


def _day(calibration: Calibration) -> str:
    return (calibration.date or "no date")[:10]


def _luminance(colour: tuple[float, ...] | str) -> float:
    """Relative luminance by eye, 0 to 1."""
    return 1.0 if isinstance(colour, str) else float(np.dot(colour[:3], (0.299, 0.587, 0.114)))
