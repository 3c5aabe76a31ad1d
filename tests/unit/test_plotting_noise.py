"""Figures of noise studies hold what the rows say, and can be read whatever the study's size."""

from dataclasses import fields, replace
from itertools import pairwise, product
from math import exp

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.image import imread
from matplotlib.text import Text

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.plotting_noise import (
    draw_study,
    plot_ablation,
    plot_memory_decay,
    plot_scale,
    plot_snapshots,
)
from qrnn_qiskit.plotting_noise_lines import ABLATIONS, select_lines
from qrnn_qiskit.studies.noise_rows import NoiseRow


def row(**changes):
    """A row whose numbers follow from its place on the grid."""
    about = {"snapshot": "fake_boston", "profile": "heron", "num_memory": 4, "num_timesteps": 6,
             "strength_rad": None, "seed": 0, "scale": 1.0, "ablation": "all", "shots": 500,
             "mitigation": "none"}  # fmt: skip
    about |= {key: value for key, value in changes.items() if key in about}
    count, scale = about["num_timesteps"], about["scale"]
    loss = {"two_qubit": 0.4, "one_qubit": 0.1, "readout": 0.2, "reset": 0.05, "idle": 0.25}
    loss = {cause: scale * value for cause, value in loss.items()}
    numbers = {
        "metric": 0.5 + 0.4 * exp(-scale), "metric_error": 0.03, "exact_metric": 0.93,
        "num_samples": 20, "deviation": 0.3 * (1 - exp(-scale)), "deviation_error": 0.01,
        "retained": tuple(None if t == 2 else exp(-scale * t / count)
                          for t in range(1, count + 1)),
        "retained_error": tuple(None if t == 2 else 0.02 for t in range(1, count + 1)),
        "retained_final": exp(-scale), "retained_final_error": 0.04, "loss_budget": loss,
        "expected_success": exp(-scale), "duration_us": 2.5 * count,
    }  # fmt: skip
    final = 0.9 * exp(-0.4 * scale)
    numbers |= {
        "memory_z": tuple(0.95 * exp(-0.4 * scale * t / count) for t in range(1, count + 1)),
        "memory_z_predicted": tuple(exp(-0.3 * scale * t / count) for t in range(1, count + 1)),
        "memory_z_final": final, "memory_z_final_predicted": exp(-0.3 * scale),
        "memory_x_final": final**2, "memory_x_final_predicted": exp(-0.5 * scale),
    }  # fmt: skip
    unread = {field.name: None for field in fields(NoiseRow)}
    return NoiseRow(**(unread | about | numbers | changes))


# No readout that varies, as final ones of an untrained model; no contrast, as in the host loop.
MUTE = {"retained": (None,) * 6, "retained_error": (None,) * 6, "retained_final": None,
        "retained_final_error": None}  # fmt: skip
FORGOTTEN = {"memory_z": None, "memory_z_predicted": None}


def grid(**axes):
    return [row(**dict(zip(axes, values, strict=True))) for values in product(*axes.values())]


@pytest.fixture
def saved():
    """Lays a figure out; warnings are errors here. Checks its width and that its texts are apart.

    Returns these texts.
    """

    def save(figure):
        figure.draw_without_rendering()
        assert pyplot.get_fignums() == []
        width, height = figure.get_size_inches() * figure.dpi
        assert round(width) == 1200
        found = [text for legend in figure.legends for text in legend.texts]
        found += figure.texts
        for axes in figure.axes:
            found += [text for text in axes.get_children() if isinstance(text, Text)]
            found += [axes.xaxis.label, axes.yaxis.label]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                margin = 1e-9 * (high - low)
                found += [
                    label
                    for place, label in zip(
                        axis.get_ticklocs(), axis.get_ticklabels(), strict=False
                    )
                    if low - margin <= place <= high + margin and label.get_visible()
                ]
        found = [text for text in found if text.get_text()]
        boxes = [text.get_window_extent() for text in found]
        for text, box in zip(found, boxes, strict=True):
            assert -1 <= box.x0 <= box.x1 <= width + 1, text
            assert -1 <= box.y0 <= box.y1 <= height + 1, text
        for index, box in enumerate(boxes):
            inner = box.padded(-1)
            for other in range(index):
                assert not inner.overlaps(boxes[other].padded(-1)), (found[index], found[other])
        return [text.get_text() for text in found]

    return save


def legend_texts(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.texts]


def error_bars(axes, label=None):
    """Points with bars: `(x, y)` arrays in the order drawn."""
    return [
        tuple(np.array(data, dtype=float) for data in container[0].get_data(orig=True))
        for container in axes.containers
        if isinstance(container, ErrorbarContainer) and container[0] is not None
        if label is None or container.get_label() == label
    ]


def lines(axes, label):
    return [line for line in axes.lines if line.get_label() == label]


def tick_texts(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def bars(axes):
    """Widths of all bars, by place from the top."""
    patches = [p for c in axes.containers if isinstance(c, BarContainer) for p in c.patches]
    return [p.get_width() for p in sorted(patches, key=lambda p: p.get_y())]


def dashed(axes, is_vertical=False):
    """Places of the exact engines' lines."""
    lines = [line for line in axes.lines if line.get_zorder() == 2.5]
    return [float((line.get_xdata() if is_vertical else line.get_ydata())[0]) for line in lines]


class TestScale:
    def test_points_by_factor_and_the_exact_engine(self, saved):
        rows = grid(scale=[2, 0.5, 1])
        figure = plot_scale(rows, "symbol_error_rate", False)
        words = saved(figure)
        left, right = figure.axes
        for axes, name in ((left, "metric"), (right, "deviation")):
            ((x, y),) = error_bars(axes)
            np.testing.assert_array_equal(x, [0.5, 1, 2])
            np.testing.assert_allclose(y, [getattr(rows[i], name) for i in (1, 2, 0)])
        assert dashed(left) == [0.93]
        assert dashed(right) == []
        assert "symbol error rate (lower is better)" in words
        assert legend_texts(figure) == ["with noise", "exact engine without noise, 0.93"]
        assert left.get_ylim()[1] > 0.93
        assert right.get_ylim()[0] == 0

    def test_a_line_for_each_combination_and_mitigations_by_fill(self, saved):
        axes = {"mitigation": ["local", "none"], "snapshot": ["a", "b"], "scale": [0, 1]}
        figure = plot_scale(grid(**axes), "accuracy")
        saved(figure)
        assert legend_texts(figure)[:4] == [
            "a, no mitigation", "a, local mitigation", "b, no mitigation", "b, local mitigation",
        ]  # fmt: skip
        shown = [container[0] for container in figure.axes[0].containers]
        assert len({line.get_color() for line in shown}) == 2
        assert [line.get_markerfacecolor() == "white" for line in shown] == [False, True] * 2

    def test_different_engines_have_lines_in_their_colours(self):
        rows = [replace(r, exact_metric=0.9 + 0.01 * r.num_memory)
                for r in grid(num_memory=[2, 4], scale=[1, 2])]  # fmt: skip
        figure = plot_scale(rows, "accuracy")
        assert dashed(figure.axes[0]) == pytest.approx([0.92, 0.94])
        assert legend_texts(figure)[-1] == "exact engine without noise"
        colours = [line.get_color() for line in figure.axes[0].lines if line.get_zorder() == 2.5]
        assert colours == [c[0].get_color() for c in figure.axes[0].containers]

    @pytest.mark.parametrize(
        ("factors", "kind"),
        [([1], "linear"), ([0], "linear"), ([0, 1, 8], "linear"), ([0.1, 10], "log"),
         ([0, 0.1, 0.2, 0.5, 1, 1.1, 1.2, 2, 5, 10, 50, 100], "symlog")],
    )  # fmt: skip
    def test_axis_of_factors(self, saved, factors, kind):
        figure = plot_scale(grid(scale=factors), "accuracy")
        saved(figure)
        for axes in figure.axes:
            assert axes.get_xscale() == kind
            left, right = axes.get_xlim()
            assert left < min(factors) <= max(factors) < right
            ticks = axes.get_xticks()
            assert {min(factors), max(factors)} <= set(ticks) <= set(factors)

    def test_too_many_lines_are_selected_and_it_says_so(self, saved):
        rows = grid(seed=[0, 1, 2], snapshot=[f"device_{i}" for i in range(12)], scale=[1, 2])
        figure = plot_scale(rows, "accuracy")
        words = saved(figure)
        assert len(figure.axes[0].containers) == 8
        assert any("selected: seed 0, 8 of 12 snapshots;" in word for word in words)


class TestAblation:
    def test_from_no_errors_to_all(self, saved):
        names = ["all", "no_idle", "only_gates", "ideal", "only_idle"]
        rows = [row(ablation=name, metric=0.6 + i / 20, deviation=i / 50)
                for i, name in enumerate(names)]  # fmt: skip
        figure = plot_ablation(rows, "accuracy", True)
        words = saved(figure)
        left, right = figure.axes
        assert [label.get_text() for label in left.get_yticklabels()] == [
            "no errors", "only gate errors", "only idling", "without idling", "all errors",
        ]  # fmt: skip
        order = [3, 2, 4, 1, 0]
        np.testing.assert_allclose(bars(left), [rows[i].metric for i in order])
        np.testing.assert_allclose(bars(right), [rows[i].deviation for i in order])
        assert dashed(left, is_vertical=True) == [0.93]
        assert {"0.600 ± 0.030", "0.080 ± 0.010"} <= set(words)
        assert legend_texts(figure) == ["exact engine without noise, 0.93"]

    def test_grouped_bars(self, saved):
        rows = grid(ablation=list(ABLATIONS), snapshot=["a", "b"], mitigation=["none", "m3"])
        figure = plot_ablation(rows[:-1], "accuracy")
        saved(figure)
        assert len(bars(figure.axes[0])) == 39
        assert len(figure.axes[0].texts) == 0
        assert len(legend_texts(figure)) == 5

    def test_no_difference_at_all(self, saved):
        figure = plot_ablation([row(deviation=0.0, deviation_error=0.0)], "accuracy")
        assert "0" in saved(figure)


class TestMemory:
    def test_retained_beside_predicted_with_a_gap(self, saved):
        rows = grid(scale=[1, 2])
        figure = plot_memory_decay(rows)
        saved(figure)
        _, axes = figure.axes
        for (x, y), (_, final), each in zip(
            error_bars(axes, "retained"), error_bars(axes, "final"), rows, strict=True
        ):
            np.testing.assert_array_equal(x, [1, 2, 3, 4, 5, 6])
            np.testing.assert_allclose(y, [np.nan if v is None else v for v in each.retained])
            np.testing.assert_allclose(final, [each.retained_final])
        predicted = [line for line in axes.lines if line.get_label() == "predicted"]
        for line, each in zip(predicted, rows, strict=True):
            np.testing.assert_allclose(line.get_ydata(), [1, *each.predicted])
        colours = [c[0].get_color() for c in axes.containers if c.get_label() == "retained"]
        assert [line.get_color() for line in predicted] == colours
        assert tick_texts(axes) == ["1", "2", "3", "4", "5", "6", "final"]
        assert axes.get_yscale() == "linear"

    def test_contrasts_beside_predicted_ones(self, saved):
        rows = grid(scale=[1, 2])
        figure = plot_memory_decay(rows)
        saved(figure)
        axes, _ = figure.axes
        for name, steps, start in (
            ("bit", "memory_z", ()),
            ("predicted", "memory_z_predicted", (1,)),
        ):
            for line, each in zip(lines(axes, name), rows, strict=True):
                np.testing.assert_array_equal(line.get_xdata(), np.arange(1 - len(start), 7))
                np.testing.assert_allclose(line.get_ydata(), [*start, *getattr(each, steps)])
        for name, suffix in (("final", ""), ("final, predicted", "_predicted")):
            expected = [
                getattr(each, f"memory_{basis}_final{suffix}") for each in rows for basis in "zx"
            ]
            found = [float(line.get_ydata()[0]) for line in lines(axes, name)]
            np.testing.assert_allclose(found, expected)
        colours = [
            [line.get_color() for line in lines(axes, name)] for name in ("bit", "predicted")
        ]
        assert colours[0] == colours[1]
        assert len(set(colours[0])) == 2
        assert tick_texts(axes)[-3:] == ["6", "final Z", "final X"]
        assert legend_texts(figure)[-2:] == [
            "bit, waiting alone (line, ticks): exp(-t/T1), X: exp(-t/T2)",
            "signal, all errors: exp(-λt/T)",
        ]  # fmt: skip

    def test_one_line_for_all_rows_that_remember_alike(self, saved):
        figure = plot_memory_decay(grid(mitigation=["none", "local", "m3"]))
        words = saved(figure)
        assert [line.get_marker() for line in lines(figure.axes[0], "bit")] == ["*"]
        assert "bit: the same for several of these" in words
        figure = plot_memory_decay(grid(mitigation=["none", "m3"], scale=[1, 2]))
        assert [line.get_marker() for line in lines(figure.axes[0], "bit")] == ["o", "s"]
        assert not any(text.startswith("bit: the same") for text in legend_texts(figure))

    def test_a_bit_alone_and_without_a_coherence(self, saved):
        figure = plot_memory_decay(
            [row(memory_x_final=None, memory_x_final_predicted=None, **MUTE)]
        )
        saved(figure)
        (axes,) = figure.axes
        assert axes.get_title(loc="left") == "Memory of a bit"
        assert tick_texts(axes)[-2:] == ["6", "final Z"]

    def test_long_memories_that_fade_get_a_logarithmic_axis_with_an_end(self, saved):
        fading = tuple(exp(-t / 5) for t in range(1, 61))
        figure = plot_memory_decay(
            [row(num_timesteps=60, memory_z=fading, memory_z_predicted=fading)]
        )
        words = saved(figure)
        assert figure.axes[0].get_yscale() == "log"
        assert figure.axes[0].get_ylim()[0] == pytest.approx(1e-3)
        num_below = 2 * sum(value < 1e-3 for value in fading)
        assert f"{num_below} outside this range" in words

    def test_one_prediction_for_all_mitigations_of_a_device(self):
        _, axes = plot_memory_decay(grid(snapshot=["a", "b"], mitigation=["none", "m3"])).axes
        assert len(lines(axes, "predicted")) == 2

    def test_long_and_short_sequences(self, saved):
        figure = plot_memory_decay(grid(num_timesteps=[1, 100]))
        saved(figure)
        assert len(figure.axes[1].collections) >= 2
        saved(plot_memory_decay([row(num_timesteps=1)]))

    def test_values_over_a_wide_range_get_a_logarithmic_axis(self, saved):
        figure = plot_memory_decay(
            [row(scale=3, retained_error=(0.01,) * 6, retained_final_error=0.01)]
        )
        saved(figure)
        assert figure.axes[1].get_yscale() == "log"

    def test_useless_slopes_do_not_hide_the_others(self, saved):
        retained, errors = (0.9, None, -30.0, 0.6, 0.5, 9.0), (0.05, None, 44.0, 0.1, 0.1, 7.0)
        figure = plot_memory_decay([row(retained=retained, retained_error=errors)])
        words = saved(figure)
        assert "2 outside this range" in words
        low, high = figure.axes[1].get_ylim()
        assert -0.2 < low < high < 1.3
        assert figure.axes[1].get_yscale() == "linear"
        saved(plot_memory_decay([row(retained=(7.0,), retained_error=(50.0,), num_timesteps=1)]))

    def test_nothing_to_retain(self, saved):
        figure = plot_memory_decay([row(**MUTE, **FORGOTTEN)])
        assert "exact readouts hardly differ: nothing to retain" in saved(figure)
        assert "final" not in tick_texts(figure.axes[0])


class TestSnapshots:
    def test_best_first_with_budgets_and_shares(self, saved):
        rows = [row(snapshot=name, metric=value, loss_budget={"two_qubit": 0.3, "idle": value})
                for name, value in (("a", 0.6), ("b", 0.8), ("c", 0.7))]  # fmt: skip
        figure = plot_snapshots(rows, "accuracy", True)
        words = saved(figure)
        metric, budget, share = figure.axes
        places = {float(y[0]): float(x[0]) for x, y in error_bars(metric)}
        assert places == {0: 0.8, 1: 0.7, 2: 0.6}
        assert dashed(metric, is_vertical=True) == [0.93]
        widths = np.array(bars(budget)).reshape(3, 5)
        np.testing.assert_allclose(widths[:, 0], 0.3)
        np.testing.assert_allclose(widths[:, 4], [0.8, 0.7, 0.6])
        assert {"1.1", "1.0", "0.90"} <= set(words)
        expected = next(line for line in share.lines if line.get_label() == "expected")
        np.testing.assert_allclose(expected.get_xdata(), [exp(-1)] * 3)
        assert len(error_bars(share)) == 3
        worst_first = plot_snapshots(rows, "nrmse", False)
        shown = [text.get_text() for text in worst_first.axes[0].texts]
        assert shown[::2] == ["a", "c", "b"]

    def test_many_with_long_names_and_mitigations(self, saved):
        names = [f"folder_{i}/a_rather_long_name_of_a_snapshot_{i}.json" for i in range(12)]
        figure = plot_snapshots(grid(snapshot=names, mitigation=["none", "local", "m3"]), "mse")
        saved(figure)
        assert len(error_bars(figure.axes[0])) == 36

    def test_the_same_name_in_two_folders(self, saved):
        words = saved(plot_snapshots(grid(snapshot=["a/x.json", "b/x.json"]), "mse"))
        assert {"a/x", "b/x"} <= set(words)

    def test_devices_with_profiles_of_their_own_are_all_shown(self):
        rows = [row(snapshot="a"), row(snapshot="b", profile="eagle")]
        assert len(error_bars(plot_snapshots(rows, "mse").axes[0])) == 2

    def test_without_a_final_slope(self, saved):
        none = row(retained_final=None, retained_final_error=None, expected_success=0.0)
        figure = plot_snapshots([none, row(snapshot="b")], "accuracy")
        saved(figure)
        assert len(error_bars(figure.axes[2])) == 1


class TestStudy:
    @pytest.mark.parametrize(
        ("axes", "names"),
        [
            ({"seed": [0]}, ["memory"]),
            ({"scale": [1, 2]}, ["scale", "memory"]),
            ({"ablation": ["all", "ideal"]}, ["ablation", "memory"]),
            ({"snapshot": ["a", "b"]}, ["snapshots", "memory"]),
            ({"ablation": ["all", "ideal"], "scale": [1, 2], "snapshot": ["a", "b"]},
             ["scale", "ablation", "snapshots", "memory"]),
        ],
    )  # fmt: skip
    def test_figures_for_what_varies(self, saved, axes, names):
        figures = draw_study(grid(**axes), "accuracy", True)
        assert list(figures) == names
        for figure in figures.values():
            saved(figure)

    def test_other_axes_at_their_reference_value(self, saved):
        rows = grid(ablation=["ideal", "all"], scale=[3, 0.9, 0], mitigation=["m3", "none"])
        figures = draw_study(rows, "accuracy")
        assert len(figures["scale"].axes[0].containers) == 2
        assert any("selected: all errors;" in word for word in saved(figures["scale"]))
        assert any("selected: errors × 0.9;" in word for word in saved(figures["ablation"]))  # noqa: RUF001
        assert len(error_bars(figures["memory"].axes[1], "retained")) == 2
        assert "no mitigation" in legend_texts(figures["memory"])

    def test_only_what_errors_are_compared_of_has_bars(self, saved):
        """As in jobs/noise_boston.toml: only the device as it is was mitigated, too."""
        rows = [*grid(scale=[0, 1, 2], mitigation=["none", "local"]), row(ablation="no_idle")]
        figure = draw_study(rows, "accuracy")["ablation"]
        saved(figure)
        assert len(bars(figure.axes[0])) == 2
        assert legend_texts(figure) == ["exact engine without noise, 0.93"]

    def test_large_and_incomplete(self, saved):
        rows = grid(snapshot=["a", "b", "c", "d"], ablation=["no_idle", "all"], scale=[1, 2, 5],
                    mitigation=["none", "local"], num_timesteps=[4, 50])  # fmt: skip
        rng = np.random.default_rng(0)
        rows = [each for each in rows if rng.random() > 0.3]
        for figure in draw_study(rows, "accuracy", True).values():
            saved(figure)

    def test_factors_that_only_another_choice_of_errors_has(self):
        rows = [row(), row(ablation="no_idle"), row(ablation="no_idle", scale=2)]
        ((x, _),) = error_bars(draw_study(rows, "mse")["scale"].axes[0], "without idling")
        np.testing.assert_array_equal(x, [1, 2])

    def test_saves(self, tmp_path):
        for name, figure in draw_study(grid(scale=[1, 2]), "accuracy").items():
            figure.savefig(tmp_path / f"{name}.png")
            assert imread(tmp_path / f"{name}.png").shape[1] == 1200

    def test_memory_of_what_is_known(self):
        for known, titles in (({}, ["Memory of a bit", "Signal of the trained model"]),
                              (MUTE, ["Memory of a bit"]),
                              (FORGOTTEN, ["Signal of the trained model"])):  # fmt: skip
            figures = draw_study([row(**known)], "accuracy")
            assert [axes.get_title(loc="left") for axes in figures["memory"].axes] == titles
        assert draw_study([row(**MUTE, **FORGOTTEN)], "accuracy") == {}

    @pytest.mark.parametrize("draw", [draw_study, plot_scale, plot_ablation, plot_snapshots])
    def test_no_rows(self, draw):
        with pytest.raises(InputError, match=r"^rows: must hold a row, got 0; .*$"):
            draw([], "accuracy")
        with pytest.raises(InputError, match=r"^rows: must hold a row"):
            plot_memory_decay([])


class TestLines:
    def test_values_are_left_out_evenly_but_not_the_reference(self):
        selection = select_lines(grid(scale=[0, 0.5, 0.9, 1, 2, 3, 4, 5, 6, 7]), max_lines=3)
        assert [line.rows[0].scale for line in selection.lines] == [0, 1, 7]

    def test_caption_says_what_all_lines_share(self):
        caption = select_lines(grid(seed=[3, 4], strength_rad=[0.5])).caption.replace("\n", " ")
        assert caption == (
            "fake_boston; profile heron; 4 memory qubits; 6 timesteps; readout strength 0.5 rad; "
            "500 shots; no mitigation; 20 samples; bars of one standard error"
        )

    def test_lines_look_different(self):
        lines = select_lines(grid(num_memory=[2, 3, 4], mitigation=["none", "m3"])).lines
        styles = [(line.style.colour, line.style.face) for line in lines]
        assert len(set(styles)) == len({line.label for line in lines}) == 6
        assert all(a != b for a, b in pairwise(styles))
