"""Job specs: what loads, what is refused in one line, and what identifies a run."""

import math
from pathlib import Path

import pytest

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.studies.runs import RunDirectory
from qrnn_qiskit.studies.spec import load_job, parse_job
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of, write_job

JOBS = sorted((Path(__file__).parents[3] / "jobs").glob("*.toml"))


def refusal(folder, settings=FEEDFORWARD, overrides=(), **changes):
    path = write_job(folder, settings, **changes)
    with pytest.raises(InputError) as caught:
        load_job(path, tuple(overrides))
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(str(path), "JOB")


# --- what loads ----------------------------------------------------------------------------------


def test_a_job_file_says_what_its_settings_say(tmp_path):
    assert load_job(write_job(tmp_path, FEEDFORWARD)) == spec_of(FEEDFORWARD)
    spec = spec_of(FEEDFORWARD)
    assert spec.task.num_timesteps == 4
    assert spec.model.readouts[0].pauli == "Z"
    assert spec.model.readouts[0].strength_rad == 1.2
    plain = spec_of(FEEDFORWARD, model__readouts=[{"anchor": 0}])
    assert plain.model.readouts[0].strength_rad == math.pi / 2
    assert spec.aer.mitigations == ("local", "m3")
    assert spec.has_control
    assert not spec_of(FEEDFORWARD, control=False).has_control
    assert not spec_of(HOST).has_control


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_shipped_jobs_load_and_build_their_models(path):
    spec = load_job(path)
    assert spec.name == path.stem
    task = spec.task.load()
    model = spec.model.build_model(task, spec.training.seed)
    assert model.program.num_timesteps == task.num_timesteps
    assert model.head.out_features == task.num_outputs


def test_there_are_shipped_jobs():
    assert len(JOBS) >= 4


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("training.epochs=3", lambda spec: spec.training.epochs == 3),
        ("training.learning_rate = 2.5e-3", lambda spec: spec.training.learning_rate == 0.0025),
        ("control=false", lambda spec: spec.control is False),
        ("aer.mitigations=['m3']", lambda spec: spec.aer.mitigations == ("m3",)),
        ("aer.mitigations=[]", lambda spec: spec.aer.mitigations == ()),
        (
            'model.readouts=[{pauli="X", anchor=1}, {anchor=0}]',
            lambda spec: [(r.pauli, r.anchor) for r in spec.model.readouts] == [("X", 1), ("Z", 0)],
        ),
        ("model.ansatz=line", lambda spec: spec.model.ansatz == "line"),
        ('model.ansatz="line"', lambda spec: spec.model.ansatz == "line"),
        ("name=other-name", lambda spec: spec.name == "other-name"),
        ("task={name='digits', max_train=20}", lambda spec: spec.task.name == "digits"),
    ],
)
def test_overrides_are_values_as_in_toml(tmp_path, override, found):
    assert not found(spec_of(FEEDFORWARD))
    assert found(load_job(write_job(tmp_path, FEEDFORWARD, model__view=None), (override,)))


def test_overrides_add_sections_and_the_last_one_wins(tmp_path):
    path = write_job(tmp_path, FEEDFORWARD, aer=None, device_loop=None)
    assert load_job(path).aer is None
    spec = load_job(path, ("aer.num_shots=10", "aer.num_shots=20"))
    assert (spec.aer.num_shots, spec.aer.backend) == (20, "fake_boston")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"model__num_memroy": 3},
         ["JOB: model.num_memroy: must be a known key, got 3", "did you mean num_memory?"]),
        ({"modle": {}}, ["JOB: modle: must be a known key", "did you mean model?"]),
        ({"aer__xyzzy": 1}, ["JOB: aer.xyzzy: must be a known key, got 1; known are", "num_shots"]),
        ({"task__dealy": 2}, ["JOB: task.dealy: must be a known key", "did you mean delay?"]),
        ({"model__readouts": [{"anchr": 0, "anchor": 0}]},
         ["JOB: model.readouts.0.anchr: must be a known key", "did you mean anchor?"]),
        ({"task__name": "pairty"},
         ["JOB: task.name: must be one of copying, digits,", "got 'pairty'; did you mean parity?"]),
        ({"task__name": None}, ["JOB: task.name: must be one of", "got nothing; add it"]),
        ({"task": 3}, ["JOB: task: must be", "got 3"]),
        ({"name": None}, ["JOB: name: must be given, got nothing; add name (letters, digits"]),
        ({"name": "a/b"}, ["JOB: name: ", "'a/b'", "letters, digits"]),
        ({"model__readouts": [{"pauli": "X"}]},
         ["JOB: model.readouts.0.anchor: must be given", "add anchor (memory qubit"]),
        ({"aer__num_shots": -5},
         ["JOB: aer.num_shots: must be greater than or equal to 1, got -5; correct it (of each"]),
        ({"training__epochs": 0}, ["JOB: training.epochs: must be greater than", "got 0; "]),
        ({"training__epochs": "many"},
         ["JOB: training.epochs: must be a valid integer", "got 'many'", "passes over"]),
        ({"training__learning_rate": [1]}, ["JOB: training.learning_rate: must be a valid number"]),
        ({"model__loop": "closed"},
         ["JOB: model.loop: must be 'host', 'feedforward' or 'open', got 'closed'"]),
        ({"aer__mitigations": ["global"]}, ["JOB: aer.mitigations.0: must be 'none', 'local'"]),
        ({"model__readouts": [{"anchor": 0, "strength_rad": 2.0}]},
         ["JOB: model: strength_rad: must lie in (0, pi/2], got 2.0; "]),
        ({"model__readouts": [{"anchor": 0, "strength_rad": 0.0}]},
         ["JOB: model: strength_rad: must lie in (0, pi/2], got 0.0; "]),
        ({"model__readouts": [{"anchor": 2}]}, ["JOB: model: anchor: must be a memory qubit", "2"]),
        ({"model__readouts": []}, ["JOB: model: readouts: must name at least one readout"]),
        ({"model__history": 33},
         ["JOB: model: readouts x history: must be at most 32 steering bits",
          "got 33; use fewer"]),
        ({"model__history": 9},
         ["JOB: model: readouts x history: must be at most 8 steering bits", "got 9", "2^bits"]),
        ({"model__loop": "host"}, ["JOB: model: readouts: must be empty in the host loop"]),
        ({"task__order": 9},
         ["JOB: task: num_timesteps: must exceed delay + order - 1 = 9, got 4"]),
        ({"task": {"name": "digits", "classes": [3, 12]}},
         ["JOB: task.classes: classes: must be digits 0 to 9, got 12; remove it"]),
        ({"aer": None}, ["JOB: device_loop: must come with a section [aer], got none"]),
        ({"device_loop__gradient": "adjoint"}, ["JOB: device_loop.gradient: must be 'surrogate'"]),
        ({"training__seed": 2**40}, ["JOB: training.seed: must be less than"]),
    ],
    ids=lambda value: next(iter(value.items())).__repr__() if isinstance(value, dict) else None,
)  # fmt: skip
def test_a_wrong_value_is_refused_in_one_line(tmp_path, changes, parts):
    line = refusal(tmp_path, **changes)
    assert line.startswith(parts[0])
    for part in parts[1:]:
        assert part in line


def test_several_errors_are_counted(tmp_path):
    line = refusal(tmp_path, aer__num_shots=-5, training__epochs=0)
    assert line.endswith("(and 1 more)")


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
@pytest.mark.parametrize("key", ["training.learning_rate", "model.initial_angle_rad"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, key, value):
    line = refusal(tmp_path, overrides=[f"{key}={value}"])
    assert line.startswith(f"JOB: {key}: must be")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("training.epochs", ["--set: must be key=value, got 'training.epochs'; for example"]),
        ("=3", ["--set: must be key=value, got '=3'"]),
        ("training..epochs=3", ["--set: must be key=value"]),
        ("name.first=3", ["--set: name.first must name a section's key, got 'name', which is a"]),
        ("training.epoch=3", ["JOB: training.epoch: must be a known key", "did you mean epochs?"]),
        ("training.epochs=", ["JOB: training.epochs: must be a valid integer", "got ''"]),
        ("training=fast", ["JOB: training: must be a valid dictionary", "got 'fast'"]),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(tmp_path, override, parts):
    line = refusal(tmp_path, overrides=[override])
    assert line.startswith(parts[0])
    for part in parts[1:]:
        assert part in line


def test_a_missing_file_lists_the_others(tmp_path):
    with pytest.raises(InputError, match="file must exist, got no such file; give the path"):
        load_job(tmp_path / "none.toml")
    other = write_job(tmp_path, FEEDFORWARD)
    with pytest.raises(InputError) as caught:
        load_job(tmp_path / "tinny.toml")
    expected = f"tinny.toml: file must exist, got no such file; there are {other}"
    assert str(caught.value).endswith(expected)
    with pytest.raises(InputError, match=r"must be readable TOML, got: .*directory"):
        load_job(tmp_path)


@pytest.mark.parametrize("content", [b"name = \n", b"[task\n", b"name = '\xff'\n", b"a = 1\na = 2"])
def test_a_broken_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="must be readable TOML, got: ") as caught:
        load_job(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "view"), [(FEEDFORWARD, "all"), (FEEDFORWARD, "last"), ("digits", "each")]
)
def test_a_view_that_does_not_fit_the_task_is_refused(settings, view):
    if settings == "digits":
        settings = changed(FEEDFORWARD, task={"name": "digits", "max_train": 20})
    spec = spec_of(settings, model__view=view)
    task = spec.task.load()
    with pytest.raises(InputError, match=f"model.view: must be 'each' for .*, got '{view}' with"):
        spec.model.build_model(task, 0)
    assert spec_of(settings).model.build_model(task, 0).view in ("all", "each")


# --- models and identities -----------------------------------------------------------------------


def test_the_seed_decides_the_weights():
    spec = spec_of(FEEDFORWARD)
    task = spec.task.load()
    first, same, other = (spec.model.build_model(task, seed).head.weight for seed in (1, 1, 2))
    assert first.equal(same)
    assert not first.equal(other)
    assert str(first.dtype) == "torch.float32"
    double = spec_of(FEEDFORWARD, model__dtype="float64").model.build_model(task, 1)
    assert str(double.head.weight.dtype) == "torch.float64"


def test_the_cut_model_sees_inputs_only():
    spec = spec_of(FEEDFORWARD)
    cut = spec.model.cut()
    assert cut.build_program(4).cell.loop == "open"
    assert cut.model_copy(update={"loop": "feedforward"}) == spec.model


@pytest.mark.parametrize(
    "changes",
    [{"aer__num_shots": 51}, {"aer": None, "device_loop": None}, {"device_loop__steps": 3},
     {"control": False}, {"name": "other"}],
    ids=str,
)  # fmt: skip
def test_the_training_id_ignores_what_does_not_decide_weights(changes):
    base, other = spec_of(FEEDFORWARD), spec_of(FEEDFORWARD, **changes)
    assert other.training_id == base.training_id
    assert other.spec_id != base.spec_id


@pytest.mark.parametrize(
    "changes",
    [{"task__seed": 1}, {"task__delay": 0}, {"model__hidden_units": 5}, {"training__seed": 1},
     {"training__epochs": 3}, {"model__readouts": [{"anchor": 1}]}],
    ids=str,
)  # fmt: skip
def test_the_training_id_changes_with_what_decides_weights(changes):
    assert spec_of(FEEDFORWARD, **changes).training_id != spec_of(FEEDFORWARD).training_id


def test_the_record_id_changes_with_shots_but_not_with_mitigations():
    base = spec_of(FEEDFORWARD).aer
    assert spec_of(FEEDFORWARD, aer__mitigations=["none"]).aer.record_id == base.record_id
    for changes in ({"num_shots": 51}, {"backend": "fake_kingston"}, {"seed": 1}):
        ((key, value),) = changes.items()
        assert spec_of(FEEDFORWARD, **{f"aer__{key}": value}).aer.record_id != base.record_id


@pytest.mark.parametrize("settings", [FEEDFORWARD, HOST], ids=lambda settings: settings["name"])
def test_a_spec_survives_its_file(tmp_path, settings):
    spec = spec_of(settings)
    run = RunDirectory.create(spec, tmp_path)
    found = run.load_spec()
    assert found == spec
    assert (found.spec_id, found.training_id) == (spec.spec_id, spec.training_id)


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_shipped_specs_survive_plain_values(path):
    spec = load_job(path)
    assert parse_job(spec.model_dump(mode="json")) == spec
