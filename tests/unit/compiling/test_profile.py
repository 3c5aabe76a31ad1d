"""Transpile profiles: what loads, what is refused in one line, and what identifies a profile."""

import json
import re
import tomllib
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrnn_qiskit.compiling.profile import TranspileProfile, list_profiles, load_profile
from qrnn_qiskit.errors import InputError

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "transpile_profiles"
FIELDS = {key: field for key, field in TranspileProfile.model_fields.items() if key != "name"}
TABLE = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$",
                   (FOLDER / "README.md").read_text(), re.MULTILINE)  # fmt: skip


def profile_of(**settings):
    return TranspileProfile(**{"name": "p", "description": "for a test", **settings})


def as_toml(settings):
    """TOML of plain values; JSON's text is TOML's for strings, numbers, booleans and lists."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()
                   if value is not None)  # fmt: skip


def write_profile(folder, text="", name="mine"):
    path = folder / f"{name}.toml"
    path.write_text(f'description = "for a test"\n{text}\n')
    return path


def refusal(name_or_path):
    with pytest.raises(InputError) as caught:
        load_profile(name_or_path)
    line = str(caught.value)
    assert "\n" not in line
    return line


# --- what loads ----------------------------------------------------------------------------------


def test_the_shipped_profiles_are_the_files_of_the_folder():
    assert list_profiles() == tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
    assert {"reference_sim14", "eagle", "heron", "heron_fractional", "nighthawk", "aer"} <= set(
        list_profiles()
    )


@pytest.mark.parametrize("name", list_profiles())
def test_shipped_profiles_load_and_say_what_they_are_for(name):
    profile = load_profile(name)
    assert profile.name == name
    path = FOLDER / f"{name}.toml"
    assert profile == load_profile(path) == load_profile(str(path))
    text = path.read_text()
    assert text.startswith("# ")
    assert "\n" not in profile.description
    # Nothing in a shipped profile is there without being said: it differs, or it matters.
    assert set(profile.changed_keys) <= set(tomllib.loads(text))


def test_shipped_profiles_differ_where_they_should():
    profiles = {name: load_profile(name) for name in list_profiles()}
    reference = profiles["reference_sim14"]
    assert (reference.ansatz, reference.layout, reference.tiling) == ("sim14", "preset", "whole")
    assert (reference.optimization_level, reference.seeds) == (3, (0,))
    assert {"fast_measure", "fast_reset", "spare_qubits"} <= set(reference.changed_keys)
    assert profiles["eagle"].two_qubit_gates == ("ecr",)
    assert not profiles["eagle"].fast_measure
    assert profiles["heron"].two_qubit_gates == profiles["nighthawk"].two_qubit_gates == ("cz",)
    assert [name for name in profiles if profiles[name].fractional_gates] == ["heron_fractional"]
    assert [name for name in profiles if profiles[name].layout == "logical"] == ["aer"]
    assert [name for name in profiles if profiles[name].ansatz is not None] == ["reference_sim14"]


def test_a_file_is_loaded_from_anywhere(tmp_path, monkeypatch):
    path = write_profile(tmp_path, "excluded_qubits = [7, 3]\nfeedforward_latency_ns = 100")
    profile = load_profile(path)
    assert profile.name == "mine"
    assert profile.excluded_qubits == (3, 7)
    assert profile.feedforward_latency_ns == 100.0
    assert profile.changed_keys == ("excluded_qubits", "feedforward_latency_ns")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load_profile("~/mine.toml") == load_profile("mine.toml") == load_profile("./mine.toml")


def test_a_file_in_the_working_folder_does_not_hide_a_shipped_profile(tmp_path, monkeypatch):
    write_profile(tmp_path, "layout_candidates = 1", name="heron")
    monkeypatch.chdir(tmp_path)
    assert load_profile("heron").layout_candidates == 4
    assert load_profile("heron.toml").layout_candidates == 1


# --- the table of keys ---------------------------------------------------------------------------


def test_the_table_lists_every_key_once_and_in_order():
    assert [row[0] for row in TABLE] == list(FIELDS)


@pytest.mark.parametrize(("key", "values", "default", "maps_to"), TABLE, ids=lambda cell: cell[:24])
def test_the_table_says_what_the_model_says(key, values, default, maps_to):
    field = FIELDS[key]
    if field.is_required():
        assert default == "required"
    elif field.default is None:
        assert default == "none"
    else:
        stated = tomllib.loads(f"value = {default.strip('`')}")["value"]
        expected = field.default
        assert stated == (list(expected) if isinstance(expected, tuple) else expected)
        assert type(stated) is (list if isinstance(expected, tuple) else type(expected))
    options = [
        option
        for annotation in (field.annotation, *get_args(field.annotation))
        if get_origin(annotation) is Literal
        for option in get_args(annotation)
    ] or ([True, False] if field.annotation is bool else [])
    stated = [tomllib.loads(f"value = {text}")["value"] for text in re.findall("`(.+?)`", values)]
    assert stated == options
    assert len(maps_to) > 10


def test_every_key_has_a_description():
    assert all(field.description for field in TranspileProfile.model_fields.values())


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("layuot = 'search'", ["layuot: must be a known key, got 'search'; did you mean layout?"]),
        ("xyzzy = 1", ["xyzzy: must be a known key, got 1; known are ansatz, description, "]),
        ("name = 'other'", ["name: must not be set, got 'other'; remove it (the file's name"]),
        ("layout = 'sabre'", ["layout: must be 'search', 'preset' or 'logical', got 'sabre'"]),
        ("tiling = 'half'", ["tiling: must be 'step' or 'whole', got 'half'; correct it (step: "]),
        ("optimization_level = 4", ["optimization_level: must be 0, 1, 2 or 3, got 4"]),
        ("seeds = []", ["seeds: must be at least one, got []; [0] tries one seed"]),
        ("seeds = [1, 2, 1]", ["seeds: must be distinct, got [1, 2, 1]; name each once"]),
        ("seeds = [0, -1]", ["seeds.1: must be greater than or equal to 0, got -1; correct it ("]),
        ("seeds = [2147483648]", ["seeds.0: must be less than 2147483648, got 2147483648"]),
        ("seeds = 3", ["seeds: must be a valid tuple, got 3"]),
        ("layout_candidates = 0", ["layout_candidates: must be greater than or equal to 1, got 0"]),
        ("excluded_qubits = [-2]", ["excluded_qubits.0: must be greater than or equal to 0"]),
        ("excluded_qubits = [2, 2]", ["excluded_qubits: must be distinct, got [2, 2]"]),
        ("readout_gate = 'cx'", ["readout_gate: must be 'rzz' or 'cz', got 'cx'"]),
        ("fast_measure = 'maybe'", ["fast_measure: must be a valid boolean", "got 'maybe'"]),
        ("feedforward_latency_ns = -1.0", ["feedforward_latency_ns: must be greater than or eq"]),
        ("feedforward_latency_ns = inf", ["feedforward_latency_ns: must be a finite number"]),
        ("target_success = 1", ["target_success: must be less than 1, got 1; correct it (exp"]),
        ("target_success = 0.0", ["target_success: must be greater than 0, got 0.0"]),
        ("target_success = nan", ["target_success: must be"]),
        ("two_qubit_gates = ['CZ']", ["two_qubit_gates.0: ", "got 'CZ'", "e.g. cz"]),
        ("two_qubit_gates = ['cz', 'cz']", ["two_qubit_gates: must be distinct"]),
        ("ansatz = 'sim15'", ["ansatz: must be 'sim14', 'line' or 'brick', got 'sim15'"]),
        ("layout = 'preset'",
         ["tiling: must be 'whole' with layout 'preset', got 'step'; set tiling = \"whole\", or"]),
        ("layout = 'logical'", ["tiling: must be 'whole' with layout 'logical', got 'step'"]),
        ("layout = 'logical'\ntiling = 'whole'\nfractional_gates = true",
         ["fractional_gates: must be false with layout 'logical', got True; "]),
        ("layout_candidates = 0\ntarget_success = 2", ["layout_candidates: ", "(and 1 more)"]),
    ],
)  # fmt: skip
def test_a_wrong_key_is_refused_in_one_line(tmp_path, text, parts):
    path = write_profile(tmp_path, text)
    line = refusal(path)
    assert line.startswith(f"{path}: {parts[0]}")
    for part in parts[1:]:
        assert part in line


def test_the_keys_known_do_not_include_the_name(tmp_path):
    assert ", name," not in refusal(write_profile(tmp_path, "xyzzy = 1"))
    assert "did you mean name" not in refusal(write_profile(tmp_path, "nmae = 1"))


def test_a_description_must_be_given(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("")
    assert refusal(path) == (
        f"{path}: description: must be given, got nothing; add description (what the profile is "
        "for, in one line)"
    )


@pytest.mark.parametrize(
    ("name", "guess"),
    [("hreon", "did you mean heron? "), ("Heron", "did you mean heron? "), ("qqq", ""), ("", ""),
     ("..", ""), ("~", "")],
)  # fmt: skip
def test_an_unknown_name_lists_the_shipped_ones(name, guess):
    assert refusal(name) == (
        "profile: must be the name of a shipped profile or the path of a .toml file, got "
        f"{name!r}; {guess}Shipped are {', '.join(list_profiles())}"
    )


def test_a_missing_or_broken_file_is_refused_in_one_line(tmp_path, monkeypatch):
    assert refusal(tmp_path / "none.toml") == (
        f"{tmp_path / 'none.toml'}: file must exist, got no such file; give the path of a profile"
    )
    other = write_profile(tmp_path)
    assert refusal(tmp_path / "none.toml").endswith(f"got no such file; there are {other}")
    assert "must be readable TOML" in refusal(f"{tmp_path}/")
    other.write_text("description = ")
    assert refusal(other).startswith(f"{other}: must be readable TOML, got: ")
    monkeypatch.chdir(tmp_path)
    assert refusal("heron.toml").endswith("; the shipped profile is called heron")
    assert "known home folder" in refusal("~no-such-user-here/mine.toml")


def test_one_cz_form_goes_with_fractional_gates():
    profile = profile_of(readout_gate="cz", fractional_gates=True)
    assert (profile.readout_gate, profile.fractional_gates) == ("cz", True)


# --- identity ------------------------------------------------------------------------------------

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "optimization_level": st.integers(0, 3),
        "seeds": st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5, unique=True),
        "layout_candidates": st.integers(1, 2**40),
        "excluded_qubits": st.lists(st.integers(0, 200), max_size=5, unique=True),
        "readout_gate": st.sampled_from(["rzz", "cz"]),
        "fast_measure": st.booleans(),
        "fractional_gates": st.booleans(),
        "feedforward_latency_ns": st.floats(0, 1e12),
        "target_success": st.floats(0, 1, exclude_min=True, exclude_max=True),
        "two_qubit_gates": st.lists(st.sampled_from(["cz", "ecr", "rzz"]), unique=True),
        "ansatz": st.sampled_from(["sim14", "line", "brick"]),
    },
)


@given(settings=SETTINGS)
def test_a_profile_survives_its_file(settings):
    profile = profile_of(**settings)
    again = TranspileProfile.model_validate(tomllib.loads(as_toml(profile.model_dump(mode="json"))))
    assert again == profile
    assert again.profile_id == profile.profile_id
    assert re.fullmatch("[0-9a-f]{16}", profile.profile_id)


@given(first=SETTINGS, second=SETTINGS)
def test_profiles_share_an_id_exactly_if_their_settings_are_equal(first, second):
    one, other = profile_of(**first), profile_of(**second, name="q", description="elsewhere")
    assert (one.profile_id == other.profile_id) == (one.settings == other.settings)


@given(settings=SETTINGS, rng=st.randoms(use_true_random=False))
def test_the_order_of_qubits_and_gates_does_not_matter_but_that_of_seeds_does(settings, rng):
    shuffled = dict(settings)
    for key in ("excluded_qubits", "two_qubit_gates"):
        shuffled[key] = rng.sample(settings.get(key, []), len(settings.get(key, [])))
    assert profile_of(**shuffled).profile_id == profile_of(**settings).profile_id
    assert profile_of(seeds=[1, 2]).profile_id != profile_of(seeds=[2, 1]).profile_id


@pytest.mark.parametrize("key", [key for key in FIELDS if key != "description"])
def test_every_setting_changes_the_id(key):
    changes = {
        "layout": "preset", "tiling": "whole", "optimization_level": 1, "seeds": [1],
        "layout_candidates": 3, "excluded_qubits": [4], "fractional_gates": True,
        "readout_gate": "cz", "fast_measure": False, "fast_reset": False, "spare_qubits": False,
        "extra_banks": 0,
        "feedforward_latency_ns": 100.0, "target_success": 0.9, "two_qubit_gates": ["cz"],
        "ansatz": "line",
    }  # fmt: skip
    base = {"tiling": "whole"} if key == "layout" else {}
    changed = profile_of(**base, **{key: changes[key]})
    assert changed.profile_id != profile_of(**base).profile_id
    assert key in changed.changed_keys


# --- packaging -----------------------------------------------------------------------------------


def test_every_package_is_in_the_wheel():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent for path in (ROOT / "qrnn_qiskit").rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(setuptools["packages"]) == names | {"qrnn_qiskit.transpile_profiles"}
