"""Figures of devices show every qubit and edge once, and colour what is known."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import to_hex

from qrnn_qiskit.devices import load_fake_backend
from qrnn_qiskit.devices.calibration import Numbers, read_calibration
from qrnn_qiskit.devices.drift import compare_calibrations
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.plotting_lattice import plot_drift, plot_lattice


@pytest.fixture(scope="module")
def boston():
    return read_calibration(load_fake_backend("fake_boston"))


@pytest.fixture(scope="module")
def kingston():
    return read_calibration(load_fake_backend("fake_kingston"))


@pytest.fixture(scope="module")
def manila():
    return read_calibration(load_fake_backend("fake_manila"))


def lines(figure):
    """Number of drawn edges: known, not reported, unusable."""
    found = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    return tuple(len(collection.get_segments()) for collection in found)


def faces(figure):
    (discs,) = (c for c in figure.axes[0].collections if isinstance(c, PatchCollection))
    return [to_hex(colour) for colour in discs.get_facecolor()]


def edge_values(figure):
    return figure.axes[0].collections[0].get_array()


def labels(figure):
    return [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]


def legend(figure):
    return [text.get_text() for box in figure.legends for text in box.get_texts()]


def changed(calibration, changes):
    return replace(calibration, instructions={**calibration.instructions, **changes})


def test_every_qubit_and_edge_is_drawn(boston):
    figure = plot_lattice(boston)
    assert {text.get_text() for text in figure.axes[0].texts} == {str(q) for q in range(156)}
    assert lines(figure) == (175, 0, 1)
    assert len(faces(figure)) == 156
    assert labels(figure) == ["cz error (median 0.0013)", "readout error (median 0.0051)"]
    assert legend(figure) == ["unusable"]
    assert figure.get_suptitle() == "fake_boston, 2026-04-17\n"


def test_errors_decide_the_colours(boston):
    figure = plot_lattice(boston)
    drawn = sorted(error for error in boston.edges.values() if error < 0.5)
    np.testing.assert_array_equal(np.sort(edge_values(figure)), drawn)
    shades = faces(figure)
    best, worst = int(np.argmin(boston.readout_error)), boston.worst_qubits(2)[1]
    assert sum(bytes.fromhex(shades[best][1:])) > sum(bytes.fromhex(shades[worst][1:]))
    # Its sx has failed: no colour at all.
    assert shades[146] == "#ffffff"


def test_what_is_not_reported_is_white_and_dotted(manila):
    unknown = Numbers(None, None)
    gone = changed(manila, {("cx", (0, 1)): unknown, ("cx", (1, 0)): unknown,
                            ("measure", (4,)): unknown})  # fmt: skip
    figure = plot_lattice(gone)
    assert lines(figure) == (3, 1, 0)
    assert [shade == "#ffffff" for shade in faces(figure)] == [False] * 4 + [True]
    assert legend(figure) == ["not reported"]
    assert legend(plot_lattice(manila)) == []


def test_a_failed_measurement_is_unusable(manila):
    figure = plot_lattice(changed(manila, {("measure", (2,)): Numbers(0.5, 4e3)}))
    assert faces(figure)[2] == "#ffffff"
    assert legend(figure) == ["unusable"]


def test_one_qubit_without_edges_is_drawn():
    figure = plot_lattice(read_calibration(load_fake_backend("fake_armonk")))
    assert lines(figure) == (0, 0)
    assert labels(figure) == ["readout error (median 0.024)"]
    figure.draw_without_rendering()


@pytest.mark.parametrize("name", ["boston", "manila"])
def test_figures_are_as_wide_as_the_others_and_texts_inside(name, request):
    figure = plot_lattice(request.getfixturevalue(name))
    figure.draw_without_rendering()
    assert figure.get_figwidth() * figure.dpi == 1200
    for axes in figure.axes:
        box = axes.get_tightbbox()
        if box is not None:
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.width


def test_ticks_are_readable(manila):
    figure = plot_lattice(manila)
    for axes in figure.axes[1:]:
        if axes.get_xlabel():
            assert 1 <= len(axes.get_xticks()) <= 9


def test_drift_colours_by_the_ratio(kingston, boston):
    drift = compare_calibrations(kingston, boston)
    figure = plot_drift(drift)
    assert lines(figure) == (175, 0, 1)
    expected = [change for pair, change in drift.edge_log2.items() if pair != (84, 85)]
    np.testing.assert_array_equal(edge_values(figure), expected)
    assert labels(figure) == ["cz and readout error, new / old"]
    (bar,) = (axes for axes in figure.axes if axes.get_xlabel())
    ticks = [label.get_text() for label in bar.get_xticklabels()]
    assert ticks == ["1/4", "1/2", "same", "2 times", "4 times"]
    assert figure.get_suptitle() == "fake_kingston, 2026-04-15  →  fake_boston, 2026-04-17\n"


def test_better_is_blue_and_worse_is_orange(manila):
    def scale(factor):
        numbers = manila.instructions["measure", (1,)]
        return changed(manila, {("measure", (1,)): replace(numbers, error=factor * numbers.error)})

    for factor, is_blue in ((0.4, True), (2.5, False)):
        shades = faces(plot_drift(compare_calibrations(manila, scale(factor))))
        red, _, blue = bytes.fromhex(shades[1][1:])
        assert (blue > red) == is_blue
        # The others are grey, up to the steps of a map of 256 colours.
        assert np.ptp(list(bytes.fromhex(shades[0][1:]))) <= 2


def test_nothing_changed_is_a_figure_without_marks(manila):
    assert legend(plot_drift(compare_calibrations(manila, manila))) == []


def test_other_lattices_are_refused(manila, boston):
    with pytest.raises(InputError, match="same lattice, got 'fake_manila and fake_boston'; draw"):
        plot_drift(compare_calibrations(manila, boston))
