"""Figures: what is on them, that they save without a warning, and that pyplot stays untouched."""

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.image import imread

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.learning.training import EpochDone
from qrnn_qiskit.plotting import (
    draw_circuit,
    plot_comparison,
    plot_training,
    plot_trajectories,
)
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.studies import ComparisonRow


@pytest.fixture
def saved(tmp_path):
    """Saves a figure; warnings are errors here. Returns the picture's (height, width)."""

    def save(figure):
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / "figure.png")
        assert pyplot.get_fignums() == []
        return imread(tmp_path / "figure.png").shape[:2]

    return save


def epoch(number, value=0.5, is_best=False):
    return EpochDone(number, value, value + 0.1, value + 0.2, 0.01, is_best)


def texts(axes):
    return [text.get_text() for text in axes.texts]


ROW = ComparisonRow("exact", "exact", 0.93, 0.017, 0.182, 0.012, 200)


class TestTraining:
    def test_two_panels_with_curves_labels_baselines_and_the_last_best_epoch(self, saved):
        history = [epoch(1, 0.6, True), epoch(2, 0.5, True), epoch(3, 0.55)]
        figure = plot_training(history, "NMSE", False, [("persistence", 0.4), ("mean", 0.9)])
        assert saved(figure) == (480, 1200)
        loss, metric = figure.axes
        assert metric.get_ylabel() == "NMSE (lower is better)"
        assert loss.get_xlabel() == metric.get_xlabel() == "epoch"
        assert sorted(texts(loss)) == ["train", "validation"]
        assert sorted(texts(metric)) == ["mean 0.9", "model", "persistence 0.4"]
        # Curve, two baselines, the line of the best epoch and its ring.
        assert len(metric.lines) == 5
        np.testing.assert_allclose(metric.lines[-1].get_xydata(), [[2, 0.7]])
        assert metric.get_title("right") == "best: 0.7, epoch 2"

    def test_labels_of_equal_baselines_do_not_overlap(self):
        figure = plot_training([epoch(1)], "accuracy", True, [(name, 0.7) for name in "abc"])
        heights = sorted(text.xyann[1] for text in figure.axes[1].texts)
        assert min(np.diff(heights)) > 0.06

    def test_single_epoch(self, saved):
        saved(plot_training([epoch(1, is_best=True)], "accuracy", True))

    @pytest.mark.parametrize("value", [nan, inf])
    def test_values_that_are_not_finite_leave_a_gap(self, saved, value):
        figure = plot_training([epoch(1), epoch(2, value), epoch(3)], "accuracy", True)
        saved(figure)
        assert np.isnan(figure.axes[0].lines[0].get_ydata()[1])

    def test_nothing_finite(self, saved):
        figure = plot_training([epoch(1, nan)], "accuracy", True)
        saved(figure)
        assert texts(figure.axes[0]) == []

    @pytest.mark.parametrize(("last", "scale"), [(0.001, "log"), (0.4, "linear"), (-1, "linear")])
    def test_losses_over_decades_get_a_logarithmic_axis(self, saved, last, scale):
        history = [EpochDone(1, 1.0, 1.0, 0.5, 0.1, True), EpochDone(2, last, 1.0, 0.5, 0.1, False)]
        figure = plot_training(history, "accuracy", True)
        saved(figure)
        assert figure.axes[0].get_yscale() == scale

    def test_wrong_input(self):
        with pytest.raises(InputError, match="history: must hold an epoch"):
            plot_training([], "accuracy", True)
        with pytest.raises(InputError, match="baselines: must be finite"):
            plot_training([epoch(1)], "accuracy", True, [("majority", nan)])


class TestComparison:
    def test_rows_from_the_top_with_labels_values_and_kinds(self, saved):
        rows = [
            ROW,
            replace(ROW, label="Aer", num_shots=4096, kind="sampled"),
            replace(ROW, label="feed-forward cut", num_shots=4096, kind="control"),
            replace(ROW, label="majority", metric_error=nan, kind="baseline"),
        ]
        figure = plot_comparison(rows, "accuracy")
        assert saved(figure)[1] == 1200
        metric, loss = figure.axes
        assert (metric.get_xlabel(), loss.get_xlabel()) == ("accuracy", "mean loss per sample")
        bottom, top = metric.get_ylim()
        assert bottom > 3 > 0 > top
        assert texts(metric)[:4] == ["0.930 ± 0.017"] * 3 + ["0.93"]
        assert texts(metric)[4:8] == ["exact", "200 samples, exact", "Aer",
                                      "200 samples, 4,096 shots"]  # fmt: skip
        assert texts(metric)[-1] == "200 samples"
        assert texts(loss) == ["0.182 ± 0.012"] * 4
        colours = [container[0].get_color() for container in metric.containers]
        assert len(set(colours)) == 3
        assert colours[2] == colours[3]
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.texts] == [
            "exact", "sampled", "control", "baseline"]  # fmt: skip

    def test_missing_numbers(self, saved):
        rows = [replace(ROW, metric=nan, metric_error=nan), replace(ROW, metric_error=inf)]
        figure = plot_comparison(rows, "accuracy")
        saved(figure)
        assert texts(figure.axes[0])[:2] == ["n/a", "0.93"]
        saved(plot_comparison([replace(ROW, metric=nan, loss=nan)], "accuracy"))

    def test_values_stay_inside_the_panel(self, saved):
        rows = [ROW, replace(ROW, metric=0.1), replace(ROW, metric=0.999, metric_error=0.2)]
        figure = plot_comparison(rows, "accuracy")
        saved(figure)
        axes = figure.axes[0]
        right = max(text.get_window_extent().x1 for text in axes.texts)
        assert right <= axes.get_window_extent().x1

    def test_wrong_input(self):
        with pytest.raises(InputError, match="rows: must hold a row"):
            plot_comparison([], "accuracy")
        with pytest.raises(InputError, match="kind: must be one of exact"):
            plot_comparison([replace(ROW, kind="noisy")], "accuracy")
        with pytest.raises(InputError, match="error: must not be negative"):
            plot_comparison([replace(ROW, loss_error=-0.1)], "accuracy")


class TestTrajectories:
    @pytest.mark.parametrize("num_features", [1, 2, 3, 4, 5, 6, 7, 8, 9, 12])
    def test_one_panel_per_feature(self, num_features):
        z = np.zeros((3, num_features))
        figure = plot_trajectories({"exact": (z, None)}, ["<Z_0>"] * num_features, "z")
        assert len(figure.axes) == num_features
        shown = [axes.xaxis.get_tick_params()["labelbottom"] for axes in figure.axes]
        # The lowest panel of each column tells the timesteps.
        columns = {axes.get_subplotspec().colspan.start for axes in figure.axes}
        assert sum(shown) == len(columns)

    def test_lines_and_shifted_points(self, saved, rng):
        z = rng.uniform(-1, 1, (5, 2))
        series = {"exact": (z, None), "4096": (z, z * 0 + 0.1), "M3": (z, z * 0 + 0.2)}
        figure = plot_trajectories(series, ["<Z_0>", "<Z_0 Z_13>"], "Parity")
        assert saved(figure)[1] == 1200
        first, second = figure.axes
        assert first.get_title("left") == r"$\langle Z_{0} \rangle$"
        assert second.get_title("left") == r"$\langle Z_{0}Z_{13} \rangle$"
        line, left, right = (entry.get_xdata() for entry in first.lines)
        np.testing.assert_array_equal(line, [1, 2, 3, 4, 5])
        assert np.all(left < line)
        assert np.all(line < right)
        assert first.get_ylim() == (-1.05, 1.05)
        (legend,) = figure.legends
        assert legend.get_title().get_text() == "Parity"
        assert [text.get_text() for text in legend.texts] == ["exact", "4096", "M3"]

    def test_the_axis_grows_for_mitigated_values(self, saved):
        z = np.array([[1.4], [nan]])
        figure = plot_trajectories({"M3": (z, z * 0 + 0.1)}, ["z"], "Outside")
        saved(figure)
        assert figure.axes[0].get_ylim()[1] > 1.4

    def test_single_timestep_and_nothing_known(self, saved):
        z = np.full((1, 1), nan)
        saved(plot_trajectories({"exact": (z, None), "Aer": (z, z)}, ["z"], "Nothing"))

    @pytest.mark.parametrize(
        ("series", "num_features", "message"),
        [
            ({}, 1, "series: must not be empty"),
            ({"a": (np.zeros((3, 1)), None)}, 0, "feature_names: must name 1 to 12"),
            ({"a": (np.zeros((3, 13)), None)}, 13, "feature_names: must name 1 to 12"),
            ({"a": (np.zeros((3, 2)), None)}, 1, "series: must hold arrays"),
            ({"a": (np.zeros((3, 1)), np.zeros(3))}, 1, "series: must hold arrays"),
            ({"a": (np.zeros((3, 1)), None), "b": (np.zeros((2, 1)), None)}, 1, "of one shape"),
            ({"a": (np.zeros((0, 1)), None)}, 1, "series: must hold arrays"),
            ({"a": (np.float64(0), None)}, 1, "series: must hold arrays"),
        ],
    )
    def test_wrong_input(self, series, num_features, message):
        with pytest.raises(InputError, match=message):
            plot_trajectories(series, ["z"] * num_features, "z")


class TestCircuit:
    @pytest.fixture
    def circuit(self):
        cell = CellSpec(Ansatz("brick", 4), (Readout("Z", 0), Readout("Z", 3)))
        return SequenceProgram(cell, 2).circuit

    def test_every_parameter_is_named_once_and_no_row_cuts_an_if_box(self, circuit, saved):
        figure = draw_circuit(circuit, "Two timesteps")
        _, width = saved(figure)
        # matplotlib rounds sizes down to whole pixels.
        assert abs(width - 1200) <= 1
        assert figure.texts[0].get_text() == "Two timesteps"
        assert len(figure.axes) > 1
        drawn = " ".join(text for axes in figure.axes for text in texts(axes))
        words = drawn.replace("(", " ").replace(")", " ").split()
        assert sorted(word for word in words if word.startswith(("t1_", "t2_"))) == sorted(
            parameter.name for parameter in circuit.parameters
        )
        assert words.count("If") == circuit.count_ops()["if_else"]
        for axes in figure.axes:
            left, right = axes.get_xlim()
            for patch in axes.patches[1:]:
                box = patch.get_window_extent().transformed(axes.transData.inverted())
                assert not box.x0 < left < box.x1
                assert not box.x0 < right < box.x1

    def test_names_of_wires_in_every_row_and_inside_the_picture(self, circuit, saved):
        figure = draw_circuit(circuit, fold=12)
        saved(figure)
        for axes in figure.axes:
            names = [text for text in axes.texts if not text.get_clip_on()]
            assert len(names) == 4 + 2 + 2 + 1
            assert min(name.get_window_extent().x0 for name in names) >= 0

    def test_a_fold_narrower_than_a_box_and_a_phase_leave_the_circuit_alone(self, circuit, saved):
        phased = circuit.copy()
        phased.global_phase = 0.3
        saved(draw_circuit(phased, fold=2))
        assert phased.global_phase == 0.3

    def test_conditions_on_expressions(self, saved):
        cell = CellSpec(Ansatz("line", 2), (Readout("X", 0),), history=2)
        figure = draw_circuit(SequenceProgram(cell, 3).circuit)
        saved(figure)
        assert any("m2 == 1 & m1 == 0" in text for axes in figure.axes for text in texts(axes))

    def test_wrong_input(self, circuit):
        with pytest.raises(InputError, match="fold: must be at least 2"):
            draw_circuit(circuit, fold=1)
        with pytest.raises(InputError, match="circuit: must hold an instruction"):
            draw_circuit(circuit.copy_empty_like())
