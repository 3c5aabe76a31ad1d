"""Figures of compiled circuits hold what the reports say, and can be read."""

from dataclasses import replace
from math import inf, log

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from qrnn_qiskit.analysis import build_report
from qrnn_qiskit.analysis.horizon import Bound, Horizon
from qrnn_qiskit.compiling import compile_program, load_profile
from qrnn_qiskit.devices import load_backend, read_target
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.plotting_depth import (
    plot_horizon,
    plot_loss,
    plot_timeline,
    plot_two_qubit_depth,
)
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram


@pytest.fixture(scope="module")
def device():
    return read_target(load_backend("fake_boston"))


@pytest.fixture(scope="module")
def build(device):
    """Reports, compiled once each."""
    known = {}

    def build(ansatz="brick", num_memory=2, num_timesteps=6, profile="heron", **cell):
        key = (ansatz, num_memory, num_timesteps, profile, tuple(sorted(cell.items())))
        if key not in known:
            if cell.get("loop") != "host":
                cell = {"readouts": (Readout("Z", 0),), **cell}
            spec = CellSpec(Ansatz(ansatz, num_memory), **cell)
            settings = load_profile(profile)
            compiled = compile_program(SequenceProgram(spec, num_timesteps), device, settings)
            known[key] = build_report(compiled, device, settings)
        return known[key]

    return build


@pytest.fixture
def saved(tmp_path):
    """Saves a figure; warnings are errors here. Checks its width and that it holds its texts.

    Returns these texts, except the numbers on the axes.
    """

    def save(figure):
        figure.savefig(tmp_path / "figure.png")
        width, height = figure.get_size_inches() * figure.dpi
        assert round(width) == 1200
        found = [text for legend in figure.legends for text in legend.texts]
        for axes in figure.axes:
            found += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        found = [text for text in found if text.get_text()]
        for text in found:
            # Of an arrow's annotation only the text; it has none here.
            box = Text.get_window_extent(text)
            assert -1 <= box.x0 <= box.x1 <= width + 1, text
            assert -1 <= box.y0 <= box.y1 <= height + 1, text
        return [text.get_text() for text in found]

    return save


def texts(axes):
    return [text.get_text() for text in axes.texts]


def bars(axes, kind):
    """Start and end of each bar of a kind in µs, all rows together."""
    paths = [
        path
        for collection in axes.collections
        if collection.get_label() == kind
        for path in collection.get_paths()
    ]
    return sorted((path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in paths)


def legend_texts(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.texts]


class TestTimeline:
    def test_all_bars_of_a_short_sequence(self, build, saved):
        report = build(num_timesteps=3)
        figure = plot_timeline(report)
        saved(figure)
        (axes,) = figure.axes
        counts = report.compiled.circuit.count_ops()
        assert len(bars(axes, "two_qubit")) == 2 * counts["cz"] == 2 * report.counts.num_two_qubit
        assert len(bars(axes, "measurement")) == report.counts.num_measurements == 3 + 2
        assert len(bars(axes, "reset")) == report.counts.num_resets
        # A branch holds both memory qubits.
        assert len(bars(axes, "branch")) == 2 * counts["if_else"]
        # Bodies stand for themselves: gates in them are the branch's bar.
        assert len(bars(axes, "one_qubit")) == counts["sx"] + counts.get("x", 0)
        left, right = axes.get_xlim()
        assert left < 0
        assert right > report.schedule.duration_ns / 1e3

    def test_waiting_is_what_the_schedule_says(self, build):
        report = build(num_timesteps=3)
        (axes,) = plot_timeline(report).axes
        waits = sum(end - start for start, end in bars(axes, "wait"))
        num_qubits = report.compiled.circuit.num_qubits
        idle_us = sum(report.schedule.idle_ns(qubit) for qubit in range(num_qubits)) / 1e3
        assert waits == pytest.approx(idle_us)
        shares = [text for text in texts(axes) if text.endswith("%")]
        first = report.schedule.idle_ns(0) / report.schedule.duration_ns
        assert shares[0] == f"{first:.0%}"
        assert len(shares) == num_qubits

    def test_the_middle_of_a_long_sequence_between_two_readouts(self, build, saved):
        report = build()
        figure = plot_timeline(report, 2)
        words = saved(figure)
        (axes,) = figure.axes
        circuit, ends = report.compiled.circuit, {}
        for position, item in enumerate(circuit.data):
            if item.name.startswith("measure"):
                (place,) = circuit.find_bit(item.clbits[0]).registers
                ends[place[0].name] = report.schedule.end_ns[position] / 1e3
        left, right = axes.get_xlim()
        assert left < ends["m2"] < ends["m3"] < ends["m4"] < right
        assert right - left < 1.02 * (ends["m4"] - ends["m2"])
        assert [word for word in words if word.startswith("t = ")] == ["t = 2", "t = 3", "t = 4"]
        lines = [float(line.get_xdata()[0]) for line in axes.lines]
        np.testing.assert_allclose(lines, [ends["m2"], ends["m3"], ends["m4"]])
        each = (ends["m4"] - ends["m2"]) / 2
        assert any(f"timesteps 3 to 4 of 6, {each:.3g} µs each" in word for word in words)
        assert len(bars(axes, "measurement")) == 2

    def test_arrows_bridge_the_feedforward_latency(self, build):
        (axes,) = plot_timeline(build()).axes
        arrows = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
        assert len(arrows) == 4
        for arrow in arrows:
            assert arrow.xy[0] - arrow.xyann[0] >= 0.6 - 1e-9

    def test_rows_are_memory_then_banks_then_spares(self, build, saved):
        report = build("sim14", 8, num_timesteps=2)
        assert report.compiled.form.num_spares == 4
        figure = plot_timeline(report)
        saved(figure)
        (axes,) = figure.axes
        rows = len(report.compiled.physical_qubits)
        labels = texts(axes)
        start = labels.index("role") + 1
        assert labels[start : start + 8] == [f"memory {qubit}" for qubit in range(8)]
        assert labels[start + 8] == "readout"
        assert labels[start + 9 : start + rows] == ["spare"] * 4
        start = labels.index("qubit") + 1
        physical = [str(qubit) for qubit in report.compiled.physical_qubits]
        assert labels[start : start + rows] == physical
        # Spares rest in |0>, whatever the schedule calls their waiting.
        assert labels[-6 - 4 :].count("0%") >= 4

    def test_banks_and_readouts_are_told_apart(self, build, saved):
        two = (Readout("Z", 0), Readout("Z", 3))
        report = build(num_memory=4, num_timesteps=4, readouts=two, feedback_delay=1)
        words = saved(plot_timeline(report))
        assert words.count("readout 1, bank 0") == words.count("readout 0, bank 1") == 1
        memory = [text for text in words if text.startswith("memory ")]
        assert memory[:4] == [f"memory {qubit}" for qubit in range(4)]

    def test_preset_layouts_take_roles_from_the_measured_bits(self, build, saved):
        report = build("sim14", 4, 2, profile="reference_sim14")
        figure = plot_timeline(report)
        saved(figure)
        labels = texts(figure.axes[0])
        start = labels.index("qubit") + 1
        compiled = report.compiled
        memory = [compiled.physical_qubits[qubit] for qubit in compiled.bits_of("final").values()]
        assert labels[start : start + 4] == [str(qubit) for qubit in memory]

    def test_single_timestep(self, build, saved):
        figure = plot_timeline(build(num_timesteps=1))
        words = saved(figure)
        assert any("timestep 1 of 1" in word and "in all" in word for word in words)
        assert "branch steered by a bit" not in legend_texts(figure)
        assert "measurement" in legend_texts(figure)

    def test_a_second_bank_that_one_timestep_never_uses(self, build, saved):
        words = saved(plot_timeline(build(num_timesteps=1, feedback_delay=1)))
        assert "readout, bank 0" in words
        assert "spare" not in words

    def test_host_loop_has_no_readouts(self, build, saved):
        figure = plot_timeline(build(loop="host", num_timesteps=5), 2)
        words = saved(figure)
        assert "timestep t is read" not in legend_texts(figure)
        assert not any(word.startswith("readout") for word in words)

    def test_wrong_input(self, build):
        with pytest.raises(InputError, match=r"^num_timesteps: must be at least 1, got 0; .*$"):
            plot_timeline(build(), 0)


class TestLoss:
    def test_segments_are_the_causes_per_timestep(self, build, saved):
        reports = [build(), build("sim14", 4, 2, profile="reference_sim14")]
        figure = plot_loss(reports)
        words = saved(figure)
        (axes,) = figure.axes
        for container, cause in zip(
            axes.containers, ["two_qubit", "one_qubit", "readout", "reset", "idle"] * 2, strict=True
        ):
            place = axes.containers.index(container) // 5
            report = reports[place]
            expected = getattr(report.loss, cause) / report.num_timesteps
            assert container[0].get_width() == pytest.approx(expected)
        for report in reports:
            total = report.loss.total / report.num_timesteps
            assert f"λ {total:#.2g}, 50% after {int(report.timesteps_to_target)}" in words
        assert words.count("fake_boston") == 2
        assert "heron; brick, 2 qubits" in words
        assert "reference_sim14; sim14, 4 qubits" in words
        assert len(legend_texts(figure)) == 5
        colours = {to_hex(container[0].get_facecolor()) for container in axes.containers}
        assert len(colours) == 5

    def test_one_and_many_reports(self, build, saved):
        saved(plot_loss([build()]))
        long_name = replace(build(), backend="a_backend_with_a_very_long_name_indeed")
        saved(plot_loss([long_name, *[build()] * 15]))

    @pytest.mark.parametrize(
        ("scale", "end"), [(0.0, "no loss"), (100.0, "50% after less than 1"), (1e-3, "0% after")]
    )
    def test_no_loss_and_much_of_it(self, build, saved, scale, end):
        report = build()
        causes = ("two_qubit", "one_qubit", "readout", "reset", "idle")
        loss = replace(report.loss, **{c: scale * getattr(report.loss, c) for c in causes})
        words = saved(plot_loss([replace(report, loss=loss)]))
        assert any(end in word for word in words)

    def test_wrong_input(self):
        with pytest.raises(InputError, match=r"^reports: must hold a report, got 0; .*$"):
            plot_loss([])


class TestTwoQubitDepth:
    def test_values_per_timestep(self, build, saved):
        reports = [build(), build("sim14", 4, 2, profile="reference_sim14")]
        figure = plot_two_qubit_depth(reports)
        words = saved(figure)
        depth, gates = figure.axes
        for place, report in enumerate(reports):
            expected = report.counts.two_qubit_depth / report.num_timesteps
            assert depth.patches[place].get_width() == pytest.approx(expected)
            assert f"{expected:.3g}" in words
            expected = report.counts.num_two_qubit / report.num_timesteps
            assert gates.patches[place].get_width() == pytest.approx(expected)
        assert words.count("fake_boston") == 2

    def test_one_report_without_gates_and_one_with_swaps(self, build, saved):
        report = build()
        saved(plot_two_qubit_depth([report]))
        none = replace(report.counts, num_two_qubit=0, two_qubit_depth=0)
        saved(plot_two_qubit_depth([replace(report, counts=none)]))
        circuit = report.compiled.circuit.copy()
        circuit.metadata = {"num_swaps": 7}
        swapped = replace(report, compiled=replace(report.compiled, circuit=circuit))
        note = f" ({7 / report.num_timesteps:.3g} swaps)"
        assert any(word.endswith(note) for word in saved(plot_two_qubit_depth([swapped])))

    def test_wrong_input(self):
        with pytest.raises(InputError, match=r"^reports: must hold a report, got 0; .*$"):
            plot_two_qubit_depth([])


def horizon(loss_slope, *others, profile="heron", loss_offset=0.01, target=0.5):
    decay = (log(1 / target) - loss_offset) / loss_slope if loss_slope > 0 else inf
    bounds = [Bound(f"decay to {target:.0%} success", decay // 1, "")]
    bounds += [Bound(limit, timesteps, "") for limit, timesteps in others]
    bounds.sort(key=lambda bound: bound.max_timesteps)
    return Horizon("fake_boston", profile, loss_offset, loss_slope, 3e3, target, tuple(bounds))


def dots(axes):
    return [line for line in axes.lines if line.get_marker() == "o"]


class TestHorizon:
    def test_curves_and_dots_the_longest_first(self, saved):
        figure = plot_horizon([horizon(0.1), horizon(0.02, profile="heron_fractional")])
        saved(figure)
        (axes,) = figure.axes
        assert axes.get_xscale() == "linear"
        assert legend_texts(figure) == [
            "fake_boston, heron_fractional\n34: decay to 50% success",
            "fake_boston, heron\n6: decay to 50% success",
        ]
        for dot, slope in zip(dots(axes), (0.02, 0.1), strict=True):
            assert float(dot.get_xdata()[0]) == pytest.approx((log(2) - 0.01) / slope)
            assert float(dot.get_ydata()[0]) == 0.5
        assert texts(axes) == ["34", "6"]
        curves = [line for line in axes.lines if len(line.get_xdata()) == 300]
        assert len({(line.get_color(), repr(line._dash_pattern)) for line in curves}) == 2
        for curve, slope in zip(curves, (0.02, 0.1), strict=True):
            np.testing.assert_allclose(curve.get_ydata(), np.exp(-0.01 - slope * curve.get_xdata()))

    def test_wide_spans_get_a_logarithmic_axis(self, saved):
        figure = plot_horizon([horizon(0.1), horizon(0.001)])
        saved(figure)
        (axes,) = figure.axes
        assert axes.get_xscale() == "log"
        assert axes.get_xlim()[0] == 1

    def test_a_tick_where_another_limit_binds(self, saved):
        bound = horizon(0.02, ("broadcasts per job", 12), ("QPU budget of 600 s", 20), ("x", inf))
        figure = plot_horizon([bound])
        words = saved(figure)
        (axes,) = figure.axes
        ticks = [line for line in axes.lines if line.get_marker() == "|"]
        assert [float(tick.get_xdata()[0]) for tick in ticks] == [12, 20]
        assert float(ticks[0].get_ydata()[0]) == pytest.approx(bound.success(12))
        assert texts(axes) == ["34", "broadcasts per job, 12"]
        assert "fake_boston, heron\n12: broadcasts per job" in words

    def test_limits_beyond_the_axis_are_left_out(self):
        (axes,) = plot_horizon([horizon(0.02, ("far", 30_000))]).axes
        assert not [line for line in axes.lines if line.get_marker() == "|"]
        (axes,) = plot_horizon([horizon(0.02)], max_timesteps=20).axes
        assert axes.get_xlim() == (0, 20)
        assert dots(axes) == []

    @pytest.mark.parametrize("count", [1, 2, 25])
    def test_numbers_of_close_curves_do_not_overlap(self, saved, count):
        figure = plot_horizon([horizon(0.02 * 1.04**index) for index in range(count)])
        saved(figure)
        (axes,) = figure.axes
        boxes = [text.get_window_extent() for text in axes.texts]
        pairs = [(a, b) for index, a in enumerate(boxes) for b in boxes[:index]]
        overlaps = sum(a.overlaps(b) for a, b in pairs)
        assert overlaps == 0
        assert len(dots(axes)) == count
        # Where dots crowd, numbers stand in the legend only.
        assert len(boxes) == count if count <= 2 else len(boxes) < count

    @pytest.mark.parametrize(
        "case",
        [
            horizon(0.0),
            horizon(-0.01),
            horizon(0.0, ("broadcasts per job", 40)),
            horizon(0.1, loss_offset=3.0),
            horizon(5.0),
            horizon(0.1, ("broadcasts per job", 0)),
            replace(horizon(0.1), bounds=()),
        ],
    )
    def test_odd_horizons(self, saved, case):
        figure = plot_horizon([case])
        saved(figure)
        (axes,) = figure.axes
        assert max(line.get_ydata().max() for line in axes.lines if len(line.get_xdata()) > 2) <= 1
        saved(plot_horizon([case, horizon(0.02, target=0.3)]))

    def test_without_a_limit(self, saved):
        assert "fake_boston, heron\nno limit" in saved(plot_horizon([horizon(0.0)]))

    def test_wrong_input(self):
        with pytest.raises(InputError, match=r"^horizons: must hold a horizon, got 0; .*$"):
            plot_horizon([])
        for end in (1.0, inf, -2.0):
            with pytest.raises(InputError, match=r"^max_timesteps: must be finite and above 1"):
                plot_horizon([horizon(0.1)], max_timesteps=end)
