"""When does what run? A Gantt chart of a compiled circuit, one row per qubit."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from qrnn_qiskit.analysis.report import DepthReport
from qrnn_qiskit.costing.walk import condition_bits
from qrnn_qiskit.errors import require
from qrnn_qiskit.plotting import BLUE, GREY, INK, VERMILION, restrain

# Kind: colour, height of its bar in rows, and what it is called. Later ones are drawn on top.
_KINDS = {
    "wait": ("#E4E4E4", 0.8, "waits and decays"),
    "reset": ("#E69F00", 0.8, "reset"),
    "measurement": (VERMILION, 0.8, "measurement"),
    "branch": ("#009E73", 0.8, "branch steered by a bit"),
    "two_qubit": (BLUE, 0.8, "two-qubit gate"),
    "one_qubit": ("#56B4E9", 0.36, "one-qubit gate"),
}
_GROUP_GAP = 0.4
# Shorter is a frame change or the rounding of float sums: nothing to see.
_SHORTEST_BAR_NS = 1e-3


@dataclass(frozen=True)
class _Row:
    """A circuit qubit in the chart; groups are memory, readout and spare qubits."""

    group: int
    bank: int
    index: int
    qubit: int
    label: str


@dataclass(frozen=True)
class _Operation:
    """What occupies qubits for a while."""

    kind: str
    start_ns: float
    end_ns: float
    qubits: tuple[int, ...]


@dataclass(frozen=True)
class _Feed:
    """A measured bit on its way to the first branch that it steers."""

    start_ns: float
    end_ns: float
    measured: int
    steered: tuple[int, ...]


def plot_timeline(report: DepthReport, num_timesteps: int = 4) -> Figure:
    """Gantt chart of the middle of a compiled sequence, one row per qubit.

    Each pair of bars joined by a line is a two-qubit gate. Grey is waiting in a state that
    decays, as the loss budget counts it; where a row is blank, its qubit waits in |0> and loses
    nothing, or is done. A vertical line ends the last readout measurement of a timestep, and the
    chart runs from one such line to another; the first timestep starts at 0, the last one ends
    with the circuit. Arrows run from a measured bit to the first branch that it steers, of
    several bits from the last one. A branch's bar covers its gates and the waiting inside it.

    A row is a place, named after what is there between timesteps: where memory is routed, it
    moves to other rows and back. The column "waits" is the grey share, with what branches cover.

    Args:
        report: of the circuit.
        num_timesteps: how many are shown, all if there are fewer. In the `host` loop, which has
            no readouts, all are.

    Raises:
        InputError: if `num_timesteps` is below 1.

    Example:
        >>> from qrnn_qiskit.analysis import build_report
        >>> from qrnn_qiskit.compiling import compile_program, load_profile
        >>> from qrnn_qiskit.devices import load_backend, read_target
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> cell = CellSpec(Ansatz("brick", 2), (Readout("Z", 0),))
        >>> device, profile = read_target(load_backend("fake_boston")), load_profile("heron")
        >>> compiled = compile_program(SequenceProgram(cell, 3), device, profile)
        >>> figure = plot_timeline(build_report(compiled, device, profile))
    """
    require(num_timesteps >= 1, "num_timesteps", "must be at least 1", num_timesteps,
            "4 show a steady state")  # fmt: skip
    read_ns = _readout_ends(report)
    first, last, start_ns, end_ns = _choose_window(report, read_ns, num_timesteps)
    rows = _find_rows(report)
    gaps = np.cumsum([0.0, *(1 + _GROUP_GAP * (a.group != b.group) for a, b in pairwise(rows))])
    place = {row.qubit: float(y) for row, y in zip(rows, gaps, strict=True)}

    depth = gaps[-1] + 1.3
    row_inches = 0.36 if len(rows) <= 9 else 0.3
    figure = Figure(figsize=(10, 1.75 + row_inches * depth), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    restrain(axes, "", "time since the start of the circuit (µs)", "")
    axes.grid(False)
    margin = 0.006 * (end_ns - start_ns)
    axes.set_xlim((start_ns - margin) / 1e3, (end_ns + margin) / 1e3)
    axes.set_ylim(gaps[-1] + 0.65, -0.65)

    operations = [
        item for item in _find_operations(report)
        if item.end_ns > start_ns and item.start_ns < end_ns
    ]  # fmt: skip
    feeds = [feed for feed in _find_feeds(report) if start_ns <= feed.start_ns < end_ns]
    _draw_bars(axes, operations, place)
    _draw_feeds(axes, feeds, place)
    _draw_timesteps(axes, {t: end for t, end in read_ns.items() if start_ns <= end <= end_ns})
    waits = {
        row.qubit: _live_idle_ns(report, row.qubit, start_ns, end_ns) / (end_ns - start_ns)
        for row in rows
    }
    _label_rows(axes, report, rows, place, waits)
    _write_title(axes, report, (first, last), end_ns - start_ns, waits)
    handles = _legend(report, operations, feeds, bool(read_ns))
    figure.legend(handles=handles, loc="outside lower left", ncols=5, frameon=False, fontsize=9.5,
                  labelcolor=INK, handlelength=1.6, columnspacing=1.5)  # fmt: skip
    return figure


def _readout_ends(report: DepthReport) -> dict[int, float]:
    """When the last readout measurement of each timestep ends."""
    compiled, ends = report.compiled, dict[int, float]()
    bits = {bit.position: bit for bit in compiled.program.record if bit.role != "final"}
    for position, item in enumerate(compiled.circuit.data):
        if item.name.startswith("measure"):
            bit = bits.get(compiled.circuit.find_bit(item.clbits[0]).index)
            if bit is not None:
                end = float(report.schedule.end_ns[position])
                ends[bit.timestep] = max(end, ends.get(bit.timestep, 0.0))
    return ends


def _choose_window(
    report: DepthReport, read_ns: dict[int, float], num_timesteps: int
) -> tuple[int, int, float, float]:
    """First and last timestep shown, and the times between them."""
    total, end_ns = report.num_timesteps, report.schedule.duration_ns
    if num_timesteps >= total or not read_ns:
        return 1, total, 0.0, end_ns
    first = (total - num_timesteps) // 2 + 1
    last = first + num_timesteps - 1
    start_ns = read_ns[first - 1] if first > 1 else 0.0
    return first, last, start_ns, read_ns[last] if last < total else end_ns


def _find_rows(report: DepthReport) -> list[_Row]:
    """Roles by what is measured on a qubit; by the circuit's form where nothing is (T = 1)."""
    compiled = report.compiled
    cell, form = compiled.program.cell, compiled.form
    num_banks = form.num_banks or cell.num_banks
    roles = dict[int, tuple[int, int, int]]()
    for bit in compiled.program.record:
        bank = (bit.timestep - 1) % num_banks
        role = (0, 0, bit.index) if bit.role == "final" else (1, bank, bit.index)
        qubit = compiled.bit_to_qubit[bit.position]
        # Routing may read a timestep on a qubit that holds memory in the end.
        roles[qubit] = min(role, roles.get(qubit, role))
    if form.num_banks:
        for bank in range(form.num_banks):
            for index in range(cell.num_readouts):
                qubit = cell.ansatz.num_memory + bank * cell.num_readouts + index
                roles.setdefault(qubit, (1, bank, index))
    rows = []
    for qubit in range(compiled.circuit.num_qubits):
        group, bank, index = roles.get(qubit, (2, 0, 0))
        label = ("memory", "readout", "spare")[group]
        if group == 0 or (group == 1 and cell.num_readouts > 1):
            label += f" {index}"
        if group == 1 and num_banks > 1:
            label += f", bank {bank}"
        rows.append(_Row(group, bank, index, qubit, label))
    return sorted(rows, key=lambda row: (row.group, row.bank, row.index, row.qubit))


def _find_operations(report: DepthReport) -> list[_Operation]:
    """All that takes time, live waiting included."""
    circuit, schedule = report.compiled.circuit, report.schedule
    operations = []
    for qubit, windows in enumerate(schedule.idle_windows):
        if not _rests(report, qubit):
            spans = np.stack([windows.start_ns, windows.end_ns], axis=1)[windows.is_live]
            operations += [
                _Operation("wait", start, end, (qubit,)) for start, end in spans.tolist()
            ]
    for position, item in enumerate(circuit.data):
        start, end = float(schedule.start_ns[position]), float(schedule.end_ns[position])
        kind = _kind(item.name, len(item.qubits))
        if kind and end - start > _SHORTEST_BAR_NS:
            qubits = tuple(circuit.find_bit(qubit).index for qubit in item.qubits)
            operations.append(_Operation(kind, start, end, qubits))
    return operations


def _kind(name: str, num_qubits: int) -> str | None:
    if name.startswith("measure"):
        return "measurement"
    if name.startswith("reset"):
        return "reset"
    if name in ("if_else", "delay"):
        return "branch" if name == "if_else" else "wait"
    if name == "barrier":
        return None
    return "one_qubit" if num_qubits == 1 else "two_qubit"


def _rests(report: DepthReport, qubit: int) -> bool:
    """Spares, the last qubits, hold |0> between uses: the loss budget lets them wait for free."""
    return qubit >= report.compiled.circuit.num_qubits - report.compiled.form.num_spares


def _live_idle_ns(report: DepthReport, qubit: int, start_ns: float, end_ns: float) -> float:
    if _rests(report, qubit):
        return 0.0
    return report.schedule.idle_ns(qubit, start_ns=start_ns, end_ns=end_ns)


def _find_feeds(report: DepthReport) -> list[_Feed]:
    """For each measurement that steers: the first branch that it decides as the last bit."""
    circuit, schedule = report.compiled.circuit, report.schedule
    measured = dict[object, tuple[float, int]]()
    feeds = dict[tuple[float, int], _Feed]()
    for position, item in enumerate(circuit.data):
        if item.name.startswith("measure"):
            qubit = circuit.find_bit(item.qubits[0]).index
            measured[item.clbits[0]] = float(schedule.end_ns[position]), qubit
        elif item.name == "if_else":
            bits = condition_bits(item.operation.condition)
            known = [measured[bit] for bit in bits if bit in measured]
            if not known:
                continue
            latest, start = max(known), float(schedule.start_ns[position])
            steered = tuple(circuit.find_bit(qubit).index for qubit in item.qubits)
            if latest not in feeds or start < feeds[latest].end_ns:
                feeds[latest] = _Feed(latest[0], start, latest[1], steered)
    return list(feeds.values())


def _draw_bars(axes: Axes, operations: Sequence[_Operation], place: dict[int, float]) -> None:
    spans = defaultdict[tuple[str, int], list[tuple[float, float]]](list)
    joints = []
    for item in operations:
        span = item.start_ns / 1e3, (item.end_ns - item.start_ns) / 1e3
        for qubit in item.qubits:
            spans[item.kind, qubit].append(span)
        if item.kind == "two_qubit":
            ends = sorted(place[qubit] for qubit in item.qubits)
            joints.append((span[0] + span[1] / 2, ends[0], ends[-1]))
    for kind, (colour, height, _) in _KINDS.items():
        for qubit, y in place.items():
            if bars := spans.get((kind, qubit)):
                axes.broken_barh(bars, (y - height / 2, height), facecolor=colour, linewidth=0,
                                 label=kind, zorder=0.7 if kind == "wait" else 1)  # fmt: skip
    if joints:
        axes.vlines(*zip(*joints, strict=True), color=BLUE, linewidth=0.7, alpha=0.7, zorder=0.9)


def _draw_feeds(axes: Axes, feeds: Sequence[_Feed], place: dict[int, float]) -> None:
    for feed in feeds:
        y = place[feed.measured]
        nearest = min((place[qubit] for qubit in feed.steered), key=lambda other: abs(other - y))
        axes.annotate("", (feed.end_ns / 1e3, nearest), (feed.start_ns / 1e3, y), arrowprops={
            "arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0,
            "mutation_scale": 8}, zorder=4)  # fmt: skip


def _draw_timesteps(axes: Axes, read_ns: dict[int, float]) -> None:
    low, high = axes.get_xlim()
    level, before = 0, -1.0
    for timestep, end_ns in sorted(read_ns.items(), key=lambda pair: pair[1]):
        x = end_ns / 1e3
        axes.axvline(x, color=GREY, linewidth=0.7, alpha=0.6, zorder=0.8)
        # A label takes about a twentieth of the width; neighbours go to the level above.
        level = 1 - level if (x - before) / (high - low) < 0.05 else 0
        axes.annotate(f"t = {timestep}", (x, 1), (0, 3 + 11 * level), ("data", "axes fraction"),
                      "offset points", ha="center", va="bottom", fontsize=8.5,
                      color=GREY)  # fmt: skip
        before = x


def _label_rows(
    axes: Axes,
    report: DepthReport,
    rows: Sequence[_Row],
    place: dict[int, float],
    waits: dict[int, float],
) -> None:
    axes.set_yticks([])
    columns = [(0.0, -46, "role", INK), (0.0, -14, "qubit", GREY), (1.0, 42, "waits", GREY)]
    for x, shift, header, colour in columns:
        axes.annotate(header, (x, 1), (shift, 3), "axes fraction", "offset points", ha="right",
                      va="bottom", fontsize=8.5, color=GREY)  # fmt: skip
        for row in rows:
            text = {
                "role": row.label,
                "qubit": str(report.compiled.physical_qubits[row.qubit]),
                "waits": f"{waits[row.qubit]:.0%}",
            }[header]
            axes.annotate(text, (x, place[row.qubit]), (shift, 0), ("axes fraction", "data"),
                          "offset points", ha="right", va="center", fontsize=9.5,
                          color=colour)  # fmt: skip


def _write_title(
    axes: Axes,
    report: DepthReport,
    shown: tuple[int, int],
    duration_ns: float,
    waits: dict[int, float],
) -> None:
    cell, (first, last) = report.compiled.program.cell, shown
    share = sum(waits[qubit] for qubit in report.memory_qubits) / len(report.memory_qubits)
    delay = f", feedback delay {cell.feedback_delay}" if cell.loop == "feedforward" else ""
    span = (f"timesteps {first} to {last} of {report.num_timesteps}" if last > first
            else f"timestep {first} of {report.num_timesteps}")  # fmt: skip
    num_shown = last - first + 1
    time = (f"{duration_ns / 1e3:.3g} µs in all" if num_shown == report.num_timesteps
            else f"{duration_ns / 1e3 / num_shown:.3g} µs each")  # fmt: skip
    name = f"{cell.ansatz.name}, {cell.ansatz.num_memory} memory qubits{delay}"
    axes.annotate(f"{name} on {report.backend} ({report.profile})", (0, 1), (0, 44),
                  "axes fraction", "offset points", fontsize=11, fontweight="bold",
                  color=INK)  # fmt: skip
    axes.annotate(f"{span}, {time}; memory qubits wait {share:.0%} of the time",
                  (0, 1), (0, 29), "axes fraction", "offset points", fontsize=9.5,
                  color=INK)  # fmt: skip


def _legend(
    report: DepthReport,
    operations: Sequence[_Operation],
    feeds: Sequence[_Feed],
    has_readouts: bool,
) -> list[Artist]:
    present = {item.kind for item in operations}
    handles: list[Artist] = [
        Patch(facecolor=_KINDS[kind][0], label=_KINDS[kind][2])
        for kind in ("two_qubit", "one_qubit", "measurement", "reset", "branch")
        if kind in present
    ]
    if feeds:
        latency = report.schedule.feedforward_latency_ns
        handles.append(Line2D([], [], color=INK, linewidth=0.9, marker=">", markersize=5,
                              label=f"bit on its way, {latency:g} ns or more"))  # fmt: skip
    if has_readouts:
        handles.append(Line2D([], [], color=GREY, linestyle="", marker="|", markersize=11,
                              label="timestep t is read"))  # fmt: skip
    if "wait" in present:
        handles.append(Patch(facecolor=_KINDS["wait"][0], label=_KINDS["wait"][2]))
    handles.append(Patch(facecolor="white", edgecolor=GREY, linewidth=0.7,
                         label="rests in |0>, loses nothing"))  # fmt: skip
    return handles
