"""Which rows of a noise study a figure shows as which lines, and what all its figures share."""
# ruff: noqa: D102  (names of a row's fields, explained where rows are made)

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any, Protocol

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform
from numpy.typing import NDArray

from qrnn_qiskit.errors import require
from qrnn_qiskit.plotting import BLUE, GREY, INK, VERMILION

MAX_LINES = 8
ABLATIONS = {
    "ideal": "no errors",
    "only_gates": "only gate errors",
    "only_readout": "only readout errors",
    "only_reset": "only reset errors",
    "only_idle": "only idling",
    "no_gates": "without gate errors",
    "no_readout": "without readout errors",
    "no_reset": "without reset errors",
    "no_idle": "without idling",
    "all": "all errors",
}
"""Words for which errors are on, from none to all."""

_COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK, GREY)
_MARKERS = "os^vDPXp"
_MITIGATIONS = {"none": "no mitigation", "local": "local mitigation", "m3": "M3 mitigation"}
# Dashes, face and hatch of mitigations in this order, and of one not known.
_MITIGATED: tuple[tuple[tuple[float, tuple[float, ...]], str | None, str | None], ...] = (
    ((0.0, ()), None, None),
    ((0.0, (5, 1.5)), "white", "/////"),
    ((0.0, (1.2, 1.5)), "#CFCFCF", "....."),
    ((0.0, (5, 1.5, 1.2, 1.5)), "#8A8A8A", "xxxxx"),
)
# Characters in 1200 px, of a caption's 9 points and a legend's 9.5.
_CAPTION_WIDTH = 148
_LEGEND_WIDTH = 144
_HANDLE_CHARACTERS = 12


class NoiseResult(Protocol):
    """What the figures read of a row of a noise study."""

    @property
    def snapshot(self) -> str: ...
    @property
    def profile(self) -> str: ...
    @property
    def num_memory(self) -> int: ...
    @property
    def num_timesteps(self) -> int: ...
    @property
    def strength_rad(self) -> float | None: ...
    @property
    def seed(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def ablation(self) -> str: ...
    @property
    def shots(self) -> int: ...
    @property
    def mitigation(self) -> str: ...
    @property
    def metric(self) -> float: ...
    @property
    def metric_error(self) -> float: ...
    @property
    def exact_metric(self) -> float: ...
    @property
    def num_samples(self) -> int: ...
    @property
    def deviation(self) -> float: ...
    @property
    def deviation_error(self) -> float: ...
    @property
    def retained(self) -> tuple[float | None, ...]: ...
    @property
    def retained_error(self) -> tuple[float | None, ...]: ...
    @property
    def retained_final(self) -> float | None: ...
    @property
    def retained_final_error(self) -> float | None: ...
    @property
    def memory_z(self) -> tuple[float, ...] | None: ...
    @property
    def memory_z_predicted(self) -> tuple[float, ...] | None: ...
    @property
    def memory_z_final(self) -> float | None: ...
    @property
    def memory_z_final_predicted(self) -> float | None: ...
    @property
    def memory_x_final(self) -> float | None: ...
    @property
    def memory_x_final_predicted(self) -> float | None: ...
    @property
    def loss_budget(self) -> Mapping[str, float]: ...
    @property
    def expected_success(self) -> float: ...
    @property
    def duration_us(self) -> float: ...
    @property
    def predicted(self) -> tuple[float, ...]: ...


@dataclass(frozen=True)
class Style:
    """How a line looks, or a bar; what was mitigated is open."""

    colour: str
    marker: str = "o"
    dashes: tuple[float, tuple[float, ...]] = (0.0, ())
    face: str | None = None
    hatch: str | None = None

    @property
    def points(self) -> dict[str, Any]:
        """Settings of points for matplotlib."""
        face = self.face or self.colour
        return {"color": self.colour, "marker": self.marker, "markerfacecolor": face}

    @property
    def bars(self) -> dict[str, Any]:
        """Settings of bars for matplotlib."""
        face = "white" if self.hatch else self.colour
        return {"facecolor": face, "edgecolor": self.colour, "hatch": self.hatch}


@dataclass(frozen=True)
class Line:
    """Rows that differ only in what a figure shows along its axis."""

    label: str
    style: Style
    rows: tuple[NoiseResult, ...]


@dataclass(frozen=True)
class Selection:
    """At most so many lines, and what is to be said about all of them."""

    lines: tuple[Line, ...]
    caption: str

    @property
    def rows(self) -> list[NoiseResult]:
        """Of all lines."""
        return [row for line in self.lines for row in line.rows]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Names without folders, and without their middle if they are long.

    Folders stay where names would be the same without.

    Example:
        >>> list(short_names(["a/fake_boston.json", "a/x.json", "b/x.json"]).values())
        ['fake_boston', 'a/x', 'b/x']
    """
    last = {name: _cut(name.replace("\\", "/").rpartition("/")[2]) for name in names}
    counts = Counter(last.values())
    return {name: short if counts[short] == 1 else _cut(name, 40) for name, short in last.items()}


def _cut(name: str, length: int = 26) -> str:
    name = name.removesuffix(".json")
    half = length // 2
    return name if len(name) <= length else f"{name[: length - half - 1]}…{name[-half:]}"


def _count(singular: str) -> Callable[[Any], str]:
    return lambda number: f"{number:,} {singular}{'' if number == 1 else 's'}"


# Axis: words for a value, and for several.
_AXES: dict[str, tuple[Callable[[Any], str], str]] = {
    "snapshot": (_cut, "snapshots"),
    "profile": (lambda name: f"profile {_cut(name)}", "profiles"),
    "num_memory": (_count("memory qubit"), "numbers of memory qubits"),
    "num_timesteps": (_count("timestep"), "numbers of timesteps"),
    "strength_rad": (
        lambda rad: "own readout strengths" if rad is None else f"readout strength {rad:.3g} rad",
        "readout strengths",
    ),
    "seed": (lambda seed: f"seed {seed}", "seeds"),
    "scale": (lambda scale: f"errors \N{MULTIPLICATION SIGN} {scale:.4g}", "factors on errors"),
    "ablation": (lambda name: ABLATIONS.get(name, name.replace("_", " ")), "choices of errors"),
    "shots": (_count("shot"), "numbers of shots"),
    "mitigation": (
        lambda name: _MITIGATIONS.get(name, name.replace("_", " ") + " mitigation"),
        "mitigations",
    ),
}
AXES = tuple(_AXES)
"""Names of the axes of a grid."""

# What a caption need not say, unless there are other values that a figure leaves out.
_USUAL = {"scale": 1.0, "ablation": "all", "strength_rad": None}
# Axes of which values are left out first where there are too many lines; mitigations never.
_LEAST_WANTED = ("seed", "shots", "strength_rad", "profile", "num_memory", "num_timesteps",
                 "scale", "ablation", "snapshot")  # fmt: skip


def say(axis: str, value: object) -> str:
    """An axis and its value in plain words.

    Example:
        >>> say("num_memory", 4), say("mitigation", "m3"), say("ablation", "no_idle")
        ('4 memory qubits', 'M3 mitigation', 'without idling')
    """
    return _AXES[axis][0](value)


def values_of(rows: Sequence[NoiseResult], axis: str) -> list[Any]:
    """Distinct values: numbers by size, errors and mitigations in their order, names as found."""
    values = list(dict.fromkeys(getattr(row, axis) for row in rows))
    known = {"ablation": list(ABLATIONS), "mitigation": list(_MITIGATIONS)}.get(axis)
    if known is not None:
        return sorted(values, key=lambda name: known.index(name) if name in known else len(known))
    if axis in ("snapshot", "profile"):
        return values
    return sorted(values, key=lambda number: -1 if number is None else number)


def reference(rows: Sequence[NoiseResult], axis: str) -> Any:
    """The value that stands for an axis: the device as it is, or what most rows have."""
    values = [getattr(row, axis) for row in rows]
    if axis == "scale":
        return min(values, key=lambda scale: (abs(scale - 1), -scale))
    usual = {"ablation": "all", "mitigation": "none"}.get(axis)
    return usual if usual in values else Counter(values).most_common(1)[0][0]


def at_reference(rows: Sequence[NoiseResult], axis: str) -> list[NoiseResult]:
    """Rows at the value that stands for an axis."""
    value = reference(rows, axis)
    return [row for row in rows if getattr(row, axis) == value]


def select_lines(
    rows: Sequence[NoiseResult],
    along: Collection[str] = (),
    fixed: Collection[str] = (),
    max_lines: int = MAX_LINES,
) -> Selection:
    """Lines for all combinations of the axes that vary, if need be for some values only.

    Args:
        rows: of a study, complete or not.
        along: axes that a figure shows otherwise than by lines.
        fixed: axes of which only the reference value is wanted.
        max_lines: values of an axis are left out, evenly, until there are no more lines; an axis
            keeps its reference value.

    Raises:
        InputError: if there is no row.
    """
    require(len(rows) > 0, "rows", "must hold a row", 0, "run one case or more")
    kept, notes = list(rows), dict[str, str]()
    for axis in (*fixed, *_LEAST_WANTED):
        axes = _line_axes(kept, along)
        if axis not in axes:
            continue
        values = values_of(kept, axis)
        room = max(1, max_lines * len(values) // len(_split(kept, axes)))
        if axis in fixed:
            room = 1
        if room >= len(values):
            continue
        # Of all rows, so that figures of one study agree, if any are left with it.
        wanted = reference(rows, axis)
        chosen = _spread(values, room, wanted if wanted in values else reference(kept, axis))
        kept = [row for row in kept if getattr(row, axis) in chosen]
        some = f"{room} of {len(values)} {_AXES[axis][1]}"
        notes[axis] = say(axis, chosen[0]) if room == 1 else some
    axes = _line_axes(kept, along)
    ranks = {axis: values_of(kept, axis) for axis in axes}
    parts = sorted(
        _split(kept, axes).items(),
        key=lambda part: [ranks[axis].index(v) for axis, v in zip(axes, part[0], strict=True)],
    )[:max_lines]
    keys = [dict(zip(axes, key, strict=True)) for key, _ in parts]
    devices = short_names(values_of(kept, "snapshot"))
    lines = tuple(
        Line(_label(key, devices), style, tuple(part))
        for key, style, (_, part) in zip(keys, _choose_styles(keys), parts, strict=True)
    )
    shown = [row for line in lines for row in line.rows]
    return Selection(lines, _caption(shown, {*along, *axes}, notes))


def _line_axes(rows: Sequence[NoiseResult], along: Collection[str]) -> list[str]:
    """Axes with more than one value; not the profile if the device decides it."""
    axes = [axis for axis in _AXES if axis not in along and len(values_of(rows, axis)) > 1]
    pairs = {(row.snapshot, row.profile) for row in rows}
    if "profile" in axes and len(pairs) == len(values_of(rows, "snapshot")):
        axes.remove("profile")
    return axes


def _split(
    rows: Sequence[NoiseResult], axes: Sequence[str]
) -> dict[tuple[Hashable, ...], list[NoiseResult]]:
    found: dict[tuple[Hashable, ...], list[NoiseResult]] = {}
    for row in rows:
        found.setdefault(tuple(getattr(row, axis) for axis in axes), []).append(row)
    return found


def _spread(values: Sequence[Any], count: int, needed: Any) -> list[Any]:
    """So many values, evenly from first to last, the needed one among them."""
    place = values.index(needed)
    indices = [round(index) for index in np.linspace(0, len(values) - 1, count)]
    nearest = min(range(count), key=lambda which: abs(indices[which] - place))
    indices[nearest] = place
    return [values[index] for index in indices]


def _label(key: Mapping[str, Any], devices: Mapping[str, str]) -> str:
    words = [
        devices[value] if axis == "snapshot" else say(axis, value) for axis, value in key.items()
    ]
    return ", ".join(words) or "with noise"


def _choose_styles(keys: Sequence[Mapping[str, Hashable]]) -> list[Style]:
    """Colours for what differs besides mitigation, markers' fill and dashes for mitigation."""
    rest = [tuple(v for axis, v in key.items() if axis != "mitigation") for key in keys]
    if len(set(rest)) == 1:
        return [Style(_COLOURS[i % 8], _MARKERS[i % 8]) for i in range(len(keys))]
    places, known = list(dict.fromkeys(rest)), list(_MITIGATIONS)
    styles = []
    for key, other in zip(keys, rest, strict=True):
        name, place = key.get("mitigation", "none"), places.index(other) % 8
        rank = known.index(name) if name in known else len(known)
        styles.append(Style(_COLOURS[place], _MARKERS[place], *_MITIGATED[rank]))
    return styles


def _caption(rows: Sequence[NoiseResult], said: Collection[str], notes: Mapping[str, str]) -> str:
    """What all rows share and what is left out, in lines that fit."""
    words = []
    for axis in _AXES:
        values = values_of(rows, axis)
        is_shared = len(values) == 1 and axis not in {*said, *notes}
        if is_shared and values[0] != _USUAL.get(axis, ""):
            words.append(say(axis, values[0]))
    samples = values_of(rows, "num_samples")
    words += [_count("sample")(samples[0])] if len(samples) == 1 else []
    words += [f"selected: {', '.join(notes.values())}"] if notes else []
    return fill("; ".join([*words, "bars of one standard error"]), _CAPTION_WIDTH)


def open_panels(
    selection: Selection, height: float, num_panels: int = 1, **settings: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, without its legend and caption, and panels side by side."""
    num_lines = selection.caption.count("\n") + 1
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    figure = Figure(figsize=(10, height + 0.19 * num_lines), dpi=120, layout=layout)
    panels = figure.subplots(1, num_panels, squeeze=False, **settings)[0]
    figure.suptitle(selection.caption, x=0.012, ha="left", fontsize=9, color=GREY)
    return figure, list(panels)


def add_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Below the panels, in as many columns as fit; makes the figure higher for it."""
    lengths = [len(str(handle.get_label())) + _HANDLE_CHARACTERS for handle in handles]
    for num_columns in range(min(len(handles), 5), 0, -1):
        num_rows = -(-len(handles) // num_columns)
        # The width of columns as matplotlib fills them: the first ones take what is over.
        parts = np.array_split(lengths, num_columns)
        if sum(max(part) for part in parts) <= _LEGEND_WIDTH:
            break
    num_columns = -(-len(handles) // num_rows)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * num_rows)
    figure.legend(handles=list(handles), loc="outside lower left", ncols=num_columns,
                  frameon=False, fontsize=9.5, labelcolor=INK, handlelength=3)  # fmt: skip


def line_handles(selection: Selection, linewidth: float = 1.6) -> list[Artist]:
    """Entries of a legend, one for each line."""
    return [
        Line2D([], [], linewidth=linewidth, linestyle=line.style.dashes, markersize=5.5,
               label=line.label, **line.style.points)
        for line in selection.lines
    ]  # fmt: skip


def move_sideways(axes: Axes, place: int, count: int, reach: float) -> Transform:
    """Moves points of one line off those of others: at most `reach` points, never the data."""
    step = min(4.0, 2 * reach / max(1, count - 1))
    shift = (place - (count - 1) / 2) * step / 72
    return axes.transData + ScaledTranslation(shift, 0, axes.figure.dpi_scale_trans)


def finite(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Numbers, nan for what is missing."""
    array = np.array([np.nan if value is None else float(value) for value in values])
    return np.where(np.isfinite(array), array, np.nan)


def describe_metric(name: str, higher_is_better: bool | None) -> str:
    """An axis label.

    Example:
        >>> describe_metric("symbol_error_rate", False)
        'symbol error rate (lower is better)'
    """
    words = name.upper() if name in ("mse", "nrmse") else name.replace("_", " ")
    better = {True: " (higher is better)", False: " (lower is better)", None: ""}
    return words + better[higher_is_better]


def draw_exact(draw: Callable[..., Artist], selection: Selection) -> Line2D:
    """Dashed lines (`axhline` or `axvline`) at the exact engines' metric, and a legend's entry.

    In a line's colour if there are several engines and no other line shares this one.
    """
    colours: dict[float, dict[str, None]] = {}
    for line in selection.lines:
        for row in line.rows:
            colours.setdefault(round(row.exact_metric, 9), {})[line.style.colour] = None
    for level, shared in colours.items():
        is_own = len(colours) > 1 and len(shared) == 1
        draw(level, color=next(iter(shared)) if is_own else INK, linewidth=1.2,
             linestyle=(0, (5, 3)), zorder=2.5)  # fmt: skip
    number = f", {next(iter(colours)):.3g}" if len(colours) == 1 else ""
    return Line2D([], [], color=GREY if len(colours) > 1 else INK, linewidth=1.2,
                  linestyle=(0, (5, 3)), label=f"exact engine without noise{number}")  # fmt: skip


def ends_of(rows: Sequence[NoiseResult], name: str, *also: float) -> tuple[float, float]:
    """Limits of an axis that hold `metric` or `deviation` with its bars, and exact metrics.

    Numbers in `also` are held, too, without a margin if they are an end.
    """
    value = finite([getattr(row, name) for row in rows])
    error = np.nan_to_num(finite([getattr(row, f"{name}_error") for row in rows]))
    exact = finite([row.exact_metric for row in rows]) if name == "metric" else value
    held = np.concatenate((value - error, value + error, exact, also))
    low, high = float(np.nanmin(held)), float(np.nanmax(held))
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    return low - (0 if low in also else margin), high + (0 if low < high in also else margin)
