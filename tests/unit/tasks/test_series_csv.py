"""The user's CSV: windows in order of time, samples at random, nothing seen twice."""

import numpy as np
import pytest
from pydantic import ValidationError

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.tasks import SeriesCsvSpec


@pytest.fixture
def write(tmp_path):
    def write_columns(**columns):
        path = tmp_path / "data.csv"
        lines = [
            ",".join(columns),
            *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    return write_columns


def _spec(path, **changes):
    fields = {
        "path": path,
        "input_columns": ("u",),
        "target_column": "y",
        "task": "regression",
        "num_timesteps": 10,
    }
    return SeriesCsvSpec(**(fields | changes))


def _splits(task):
    return (task.train, task.validation, task.test)


def test_windows_are_chronological_and_share_no_row(write):
    task = _spec(write(u=range(100), y=range(100, 200))).load()
    assert [split.num_samples for split in _splits(task)] == [7, 1, 2]
    scale = np.arange(70).std()
    rows = [split.inputs.ravel() * scale + 34.5 for split in _splits(task)]
    assert np.allclose(np.concatenate(rows), np.arange(100))
    assert task.kind == "sequence_regression"
    assert task.baselines[0].name == "constant"


def test_standardisation_is_fitted_on_train_only(write, rng):
    values = rng.normal(5.0, 3.0, 100)
    values[70:] += 1000.0
    task = _spec(write(u=values, y=2 * values)).load()
    for array in (task.train.inputs, task.train.targets):
        assert (array.mean(), array.std()) == pytest.approx((0.0, 1.0), abs=1e-12)
    assert task.test.inputs.min() > 100


def test_horizon_stays_within_its_part(write):
    path = write(u=range(100))
    task = _spec(path, target_column="u", horizon=3, num_timesteps=5).load()
    assert [split.num_samples for split in _splits(task)] == [13, 1, 3]
    scale = np.arange(65).std()
    inputs = [split.inputs[..., 0] * scale + 32 for split in _splits(task)]
    targets = [split.targets * scale + 35 for split in _splits(task)]
    for before, ahead, end in zip(inputs, targets, (70, 80, 100), strict=True):
        assert np.allclose(ahead, before + 3)
        assert ahead.max() < end


def test_wash_out(write):
    task = _spec(write(u=range(100), y=range(100)), num_washout=4).load()
    assert task.train.weights[0].tolist() == [0.0] * 4 + [1.0] * 6


def test_windows_of_classes(write):
    labels = ["10" if t % 3 else "9" for t in range(100)]
    task = _spec(write(u=range(100), y=labels), task="classification").load()
    assert (task.kind, task.class_names) == ("sequence_classification", ("9", "10"))
    assert task.train.targets[0].tolist() == [0, 1, 1, 0, 1, 1, 0, 1, 1, 0]


def _samples(num_samples=40, num_timesteps=3):
    """Rows of all samples interleaved, as loggers write them."""
    return np.tile(np.arange(num_samples), num_timesteps)


def test_samples_with_one_class_each(write):
    sample = _samples()
    labels = ["up" if s % 4 == 0 else "down" for s in sample]
    path = write(u=range(120), v=-np.arange(120), id=sample, y=labels)
    task = _spec(
        path,
        input_columns=("u", "v"),
        task="classification",
        num_timesteps=None,
        sample_column="id",
    ).load()
    assert (task.kind, task.class_names) == ("classification", ("down", "up"))
    assert task.train.inputs.shape == (28, 3, 2)
    for split in _splits(task):
        assert np.mean(split.targets) == pytest.approx(0.25, abs=0.01)
    rows = np.concatenate([split.inputs[..., 0] for split in _splits(task)])
    assert len(np.unique(rows)) == 120
    # Consecutive timesteps of a sample lie 40 rows apart.
    steps = np.diff(rows, axis=1)
    assert np.allclose(steps, steps[0, 0])


def test_samples_with_a_number_at_each_timestep(write, rng):
    path = write(u=rng.normal(size=120), id=_samples(), y=rng.normal(size=120))
    spec = _spec(path, num_timesteps=None, sample_column="id")
    task, other = spec.load(), spec.model_copy(update={"seed": 1}).load()
    assert task.train.targets.shape == (28, 3)
    assert np.array_equal(task.test.targets, spec.load().test.targets)
    assert not np.array_equal(task.test.inputs, other.test.inputs)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"u": range(100)}, {}, r"must have a column 'y', got \['u'\]"),
        ({"u": ["1"] * 98 + ["x", "2"], "y": range(100)}, {}, "line 100, column 'u': .* got 'x'"),
        ({"u": range(15), "y": range(15)}, {}, "validation rows: must number at least .* = 10"),
        ({"u": [1] * 100, "y": range(100)}, {}, "column 'u': must vary over the training rows"),
        ({"u": range(100), "y": [1] * 100}, {}, "column 'y': must vary over the training rows"),
        (
            {"u": range(100), "y": ["a"] * 100},
            {"task": "classification"},
            r"target_column 'y': must hold at least two classes, got \['a'\]",
        ),
        (
            {"u": range(100), "y": ["a", "b"] * 45 + ["c"] * 10},
            {"task": "classification"},
            "must show every class in the training rows, got 'none of c'",
        ),
        (
            {"u": range(5), "id": ["p", "p", "q", "q", "q"], "y": range(5)},
            {"num_timesteps": None, "sample_column": "id"},
            "sample 'q' of 'id': must have as many rows as sample 'p', 2, got 3; pad or cut",
        ),
        (
            {"u": range(4), "id": ["p", "p", "q", "q"], "y": ["a", "a", "a", "b"]},
            {"num_timesteps": None, "sample_column": "id", "task": "classification"},
            r"must hold one class in sample 'q', got \['a', 'b'\]",
        ),
    ],
)
def test_wrong_files_say_what_to_correct(write, columns, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        _spec(write(**columns), **changes).load()
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="path: must be a CSV file that exists"):
        _spec(tmp_path / "none.csv").load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_column": "id"}, "must not both be given or both be missing"),
        ({"num_timesteps": None}, "must not both be given or both be missing"),
        ({"num_timesteps": None, "sample_column": "id", "horizon": 1}, "must be 0 with"),
        ({"num_timesteps": None, "sample_column": "u"}, "sample_column: must be neither"),
        ({"target_column": "u"}, "target_column: must not be an input at horizon 0, got 'u'"),
        ({"input_columns": ("u", "u")}, "input_columns: must be distinct"),
        ({"num_washout": 10}, "num_timesteps: must exceed num_washout = 10, got 10"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ValidationError, match=message):
        _spec("data.csv", **changes)
