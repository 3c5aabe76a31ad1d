"""`qrnn profile`: what it prints where, and what it refuses in one line."""

import json
import subprocess
import sys

import pytest

from qrnn_qiskit.compiling.profile import TranspileProfile, list_profiles, load_profile
from tests.command_line import qrnn


def words(text):
    """The words of a table, whatever its lines are wrapped to."""
    return " ".join(text.replace("│", " ").split())


def test_ls_names_every_profile_and_what_it_changes():
    result = qrnn("profile", "ls")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.count("┏") == 1
    for name in list_profiles():
        assert name in result.stdout
    for part in ("fractional_gates true", 'two_qubit_gates ["ecr"]', "seeds [0]"):
        assert part in words(result.stdout)


def test_ls_prints_pure_json():
    result = qrnn("profile", "ls", "--json")
    assert result.exit_code == 0, result.output
    profiles = json.loads(result.stdout)["profiles"]
    assert [profile["name"] for profile in profiles] == list(list_profiles())
    assert {profile["profile_id"] for profile in profiles} == {
        load_profile(name).profile_id for name in list_profiles()
    }


def test_show_prints_every_key_and_marks_defaults():
    result = qrnn("profile", "show", "reference_sim14")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    profile = load_profile("reference_sim14")
    for key in TranspileProfile.model_fields.keys() - {"name", "description"}:
        (line,) = (line for line in result.stdout.splitlines() if line.startswith(f"│ {key} "))
        assert ("(default)" in line) == (key not in profile.changed_keys)
    assert "|0>" in result.stdout
    assert "[0, pi/2]" in words(result.stdout)
    assert f"profile {profile.profile_id}" in result.stdout


def test_show_prints_pure_json_of_a_file(tmp_path):
    path = tmp_path / "[red] a.toml"
    path.write_text('description = "[bold]mine"\nexcluded_qubits = [5, 4]\n')
    result = qrnn("profile", "show", path, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    settings = shown.pop("settings")
    assert shown == {
        "name": "[red] a", "description": "[bold]mine", "changed_keys": ["excluded_qubits"],
        "profile_id": load_profile(path).profile_id,
    }  # fmt: skip
    assert settings["excluded_qubits"] == [4, 5]
    assert settings["ansatz"] is None
    assert settings.keys() == TranspileProfile.model_fields.keys() - {"name", "description"}
    assert "[red] a: [bold]mine" in qrnn("profile", "show", path).stdout


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hreon", "got 'hreon'; did you mean heron? Shipped are aer, "),
        ("[bold]", "got '[bold]'; Shipped are aer, "),
        ("no/such.toml", "no/such.toml: file must exist, got no such file; give the path of a pro"),
        ("BROKEN", "broken.toml: tilling: must be a known key, got 'step'; did you mean tiling?"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, name, message, as_json):
    broken = tmp_path / "broken.toml"
    broken.write_text('description = "x"\ntilling = "step"\n')
    more = ["--json"] if as_json else []
    result = qrnn("profile", "show", broken if name == "BROKEN" else name, *more)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error ")
    assert message in line


def test_an_interruption_keeps_nothing_and_says_so(monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("qrnn_qiskit.compiling.profile.load_profile", interrupted)
    result = qrnn("profile", "show", "heron")
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "slow"),
    [(["--help"], {"torch", "qiskit", "pydantic", "matplotlib"}),
     (["profile", "ls"], {"torch", "matplotlib"})],
)  # fmt: skip
def test_commands_import_no_more_than_they_need(arguments, slow):
    code = (
        "import sys\nfrom qrnn_qiskit.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"print(sorted({slow!r} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_help_names_the_commands():
    assert "profile" in qrnn("--help").stdout
    result = qrnn("profile", "--help")
    assert all(command in result.stdout for command in ("ls", "show"))
