"""`qrnn snapshot`: what it prints where, what it stores, and what it refuses in one line."""

import json
import os
import subprocess
import sys

import pytest
from qiskit_ibm_runtime.accounts import AccountNotFoundError
from qiskit_ibm_runtime.fake_provider.backends.nighthawk import fake_nighthawk

from qrnn_qiskit.cli import snapshots
from qrnn_qiskit.devices import (
    list_fake_backends,
    load_backend,
    load_fake_backend,
    read_snapshot_id,
    runtime,
    save_snapshot,
)
from qrnn_qiskit.devices.runtime_snapshots import build_snapshot_parts, build_stored_backend
from tests.command_line import qrnn, strict_json

PNG = b"\x89PNG"
TOKEN = "secret-token-4711"


@pytest.fixture(autouse=True)
def vault(tmp_path, monkeypatch):
    """An empty vault of its own."""
    folder = tmp_path / "vault"
    monkeypatch.setenv("QRNN_SNAPSHOTS", str(folder))
    return folder


def device(date="2026-11-20T09:30:15+00:00", t1_us=100.0):
    parts = build_snapshot_parts(load_fake_backend("fake_manila"))
    parts["name"] = "ibm_manila"
    parts["properties"]["last_update_date"] = date
    parts["properties"]["qubits"][0][0]["value"] = t1_us
    return build_stored_backend(parts)


@pytest.fixture
def stored(tmp_path):
    """Two dates of one device in the vault."""
    for date, t1_us in (("2026-11-20T09:30:15+00:00", 100.0), ("2026-11-21T08:00:00+00:00", 25.0)):
        save_snapshot(device(date, t1_us), tmp_path / "one.json")
        assert qrnn("snapshot", "import", tmp_path / "one.json").exit_code == 0


def succeed(*arguments):
    result = qrnn("snapshot", *arguments)
    assert result.exit_code == 0, result.output
    return result


def refuse(*arguments):
    """The one line that a command prints."""
    result = qrnn("snapshot", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error ")
    return line


# --- ls ------------------------------------------------------------------------------------------


def test_ls_lists_stored_snapshots_before_those_of_the_package(stored, vault):
    result = succeed("ls")
    assert result.stderr == ""
    rows = [line.split("│")[1].strip() for line in result.stdout.splitlines() if line[:1] == "│"]
    assert rows == ["ibm_manila@2026-11-20", "ibm_manila@2026-11-21", *list_fake_backends()]
    assert str(vault) in result.stdout
    assert max(map(len, result.stdout.splitlines()[:-2])) <= 100


def test_ls_can_be_narrowed_and_is_json_with_every_content_id(stored):
    result = succeed("ls", "--device", "manila", "--json")
    content = strict_json(result.stdout)
    assert [snapshot["name"] for snapshot in content["snapshots"]] == [
        "ibm_manila@2026-11-20", "ibm_manila@2026-11-21", "fake_manila",
    ]  # fmt: skip
    for snapshot in content["snapshots"]:
        assert snapshot["snapshot_id"] == read_snapshot_id(load_backend(snapshot["name"]))
        assert snapshot["medians"]["t1_us"] > 0
    assert [snapshot["is_stored"] for snapshot in content["snapshots"]] == [True, True, False]
    assert content["faults"] == []


def test_ls_names_damaged_files_and_goes_on(stored, vault):
    (vault / "cut@2026-11-20.json").write_text('{"format_')
    result = succeed("ls", "--device", "manila")
    assert "note      backend: " in result.stdout
    assert "cut@2026-11-20.json must be a whole JSON file" in result.stdout
    (fault,) = strict_json(succeed("ls", "--device", "ibm_", "--json").stdout)["faults"]
    assert "cut@2026-11-20.json" in fault


# --- show ----------------------------------------------------------------------------------------


def test_show_prints_numbers_and_what_is_wrong_with_them(tmp_path):
    result = succeed("show", "fake_boston", "--png", tmp_path / "[red].png")
    assert result.stderr == ""
    snapshot_id = read_snapshot_id(load_fake_backend("fake_boston"))
    assert result.stdout.startswith(
        f"fake_boston, 156 qubits, 2026-04-17T12:19:24+02:00, content id {snapshot_id}\n"
    )
    for part in (
        "│ cz          │    352 │    68 to 108 │", "(84, 85) 1, (77, 85) 0.16", "146 0.23, 85 0.21",
        "│ T1, us          │ 292.4  │ 85 6.8, 46 8.4,", "unusable  qubit 146: sx error 1.0\n",
        "unusable  cz (84, 85): error 1.0\n", "odd       T2 above 2 T1: (2), (5), (46)\n",
        "odd       cz error 0.5 or more: (84, 85)\n",
        f"wrote     {tmp_path / '[red].png'}\n",
    ):  # fmt: skip
        assert part in result.stdout
    assert (tmp_path / "[red].png").read_bytes()[:4] == PNG


def test_show_is_json(stored):
    content = strict_json(succeed("show", "ibm_manila@2026-11-20", "--json").stdout)
    assert content["name"] == "ibm_manila"
    assert content["date"] == "2026-11-20T09:30:15+00:00"
    assert content["two_qubit_gate"] == "cx"
    assert content["instructions"]["cx"]["num_places"] == 8
    assert content["instructions"]["reset"]["median_error"] is None
    assert (content["unusable"], content["oddities"], content["notes"]) == ([], {}, [])


def test_what_the_runtime_package_warns_of_is_a_note(monkeypatch):
    # It warns once in a process.
    monkeypatch.setattr(fake_nighthawk, "DISPLAY_WARNING", True)
    result = succeed("show", "fake_nighthawk")
    assert result.stderr == ""
    assert "note      Properties of fake_nighthawk are not intended to represent" in result.stdout


@pytest.mark.parametrize("name", ["fake_armonk", "fake_yorktown"])
def test_devices_that_cannot_be_compiled_for_can_be_looked_at(name):
    assert name in succeed("show", name).stdout


# --- import --------------------------------------------------------------------------------------


def test_import_stores_once_and_says_so(tmp_path, vault):
    save_snapshot(device(), tmp_path / "one.json")
    first = succeed("import", tmp_path / "one.json")
    assert first.stdout.startswith("stored    ibm_manila@2026-11-20, 5 qubits, 2026-11-20T09:30")
    again = succeed("import", tmp_path / "one.json")
    assert again.stdout.startswith("known     ibm_manila@2026-11-20, ")
    assert "nothing was written" in again.stdout
    assert len(list(vault.iterdir())) == 1
    content = strict_json(succeed("import", tmp_path / "one.json", "--json").stdout)
    assert (content["name"], content["is_new"]) == ("ibm_manila@2026-11-20", False)


def test_a_pair_of_the_package_can_be_imported_under_a_name():
    fake = load_fake_backend("fake_vigo")
    info = strict_json(succeed("import", fake.dirname, "--name", "fake_vigo", "--json").stdout)
    assert info["name"] == "fake_vigo@2021-01-20"
    assert info["snapshot_id"] == read_snapshot_id(fake)
    other = strict_json(succeed("import", fake.dirname, "--json").stdout)
    assert other["name"] == "ibmq_vigo@2021-01-20"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-9], "must be a whole JSON file, got "),
        (lambda text: text.replace('"format_version": 1', '"format_version": 3'),
         "must have format_version 1, got 3; write it again with save_snapshot, or update"),
        (lambda text: "{}", "must have the keys configuration and properties, got []; write it"),
        (lambda text: text.replace('"n_qubits"', '"qubits"'),
         "must hold a device's configuration and properties, got "),
    ],
)  # fmt: skip
def test_damaged_files_are_not_imported(tmp_path, vault, change, message):
    path = tmp_path / "one.json"
    save_snapshot(device(), path)
    path.write_text(change(path.read_text()))
    line = refuse("import", path)
    assert str(path) in line
    assert message in line
    assert not vault.exists()


def test_other_wrong_imports_are_one_line(tmp_path, vault, monkeypatch):
    assert "none.json must be a readable snapshot, got No such file" in refuse(
        "import", tmp_path / "none.json"
    )
    path = tmp_path / "one.json"
    save_snapshot(device(), path)
    assert "name: must consist of letters, digits" in refuse("import", path, "--name", "a@b")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        assert "must be writable, got No space left on device; free space" in refuse("import", path)
    vault.rmdir()
    vault.write_text("in the way")
    assert "must be a readable folder, got Not a directory; name another" in refuse("import", path)


# --- pull ----------------------------------------------------------------------------------------


@pytest.fixture
def account(monkeypatch):
    """An account with one device, whose last calibration before any day is of November 19."""

    class Fetched:
        now = device()

        def __getattr__(self, name):
            return getattr(self.now, name)

        def properties(self, refresh=False, datetime=None):
            past = device("2026-11-19T10:00:00+00:00", 33.0)
            return (past if datetime else self.now).properties()

    class Service:
        def backend(self, name, use_fractional_gates=False):
            return Fetched()

    monkeypatch.setattr(runtime, "QiskitRuntimeService", Service)


def test_pull_stores_the_device_of_today(account):
    result = succeed("pull", "ibm_manila")
    assert result.stdout.startswith("stored    ibm_manila@2026-11-20, 5 qubits")
    assert result.stderr == ""
    again = succeed("pull", "ibm_manila")
    assert again.stdout.startswith("known     ibm_manila@2026-11-20")
    assert load_backend("ibm_manila@2026-11-20").qubit_properties(0).t1 == pytest.approx(1e-4)


def test_pull_stores_the_past_and_says_which(account):
    exact = succeed("pull", "ibm_manila", "--date", "2026-11-19", "--json")
    assert strict_json(exact.stdout)["name"] == "ibm_manila@2026-11-19"
    assert exact.stderr == ""
    before = succeed("pull", "ibm_manila", "--date", "2026-12-24")
    assert before.stderr == (
        "ibm_manila has no calibration of 2026-12-24; the last one before it is of 2026-11-19\n"
    )
    assert before.stdout.startswith("known     ibm_manila@2026-11-19")
    assert load_backend("ibm_manila@2026-11-19").qubit_properties(0).t1 == pytest.approx(3.3e-5)


def test_wrong_pulls_are_one_line_without_the_token(monkeypatch, vault):
    for day in ("yesterday", "2026-11-31", "20.11.2026"):
        assert f"--date: must be a day as YYYY-MM-DD, got '{day}'; for example" in refuse(
            "pull", "ibm_manila", "--date", day
        )

    def fail():
        raise AccountNotFoundError(f"token {TOKEN}\nwas refused")

    monkeypatch.setattr(runtime, "QiskitRuntimeService", fail)
    line = refuse("pull", "ibm_manila")
    assert "must have an IBM Quantum account to reach 'ibm_manila', none is saved; call" in line
    assert TOKEN not in line
    assert not vault.exists()


# --- diff ----------------------------------------------------------------------------------------


def test_diff_prints_what_changed(stored, tmp_path):
    result = succeed("diff", "ibm_manila@2026-11-20", "ibm_manila@2026-11-21",
                     "--png", tmp_path / "change.png")  # fmt: skip
    assert result.stderr == ""
    assert "│ T1, us   │ (0)    │ 100.0 │ 25.0 │    4.0 │ worse │" in result.stdout
    assert "numbers that changed: 1; by a factor of 2 or more: 1\n" in result.stdout
    assert "note" not in result.stdout
    assert (tmp_path / "change.png").read_bytes()[:4] == PNG


def test_diff_is_json(stored):
    content = strict_json(
        succeed("diff", "ibm_manila@2026-11-20", "ibm_manila@2026-11-21", "--json").stdout
    )
    assert content["changes"] == [
        {"quantity": "T1", "qubits": [0], "old": 100.0, "new": 25.0, "factor": 4.0,
         "direction": "worse"}
    ]  # fmt: skip
    assert content["old"]["date"].startswith("2026-11-20")
    assert content["same_device"]
    assert content["same_lattice"]


def test_diff_of_different_devices_says_so():
    result = succeed("diff", "fake_kingston", "fake_boston", "--limit", "3")
    assert "│ id, sx, x error │ (131)  │   1 │ 3.8e-05 │ 26110.5 │ recovered │" in result.stdout
    assert "new       reset_2: (0), (1)," in result.stdout
    assert "(11) and 144 more" in result.stdout
    assert "fake_kingston and fake_boston are different devices; qubits are compared" in (
        result.stdout
    )
    result = succeed("diff", "fake_manila", "fake_quito")
    assert "largest changes" not in result.stdout
    assert "are different devices; only medians compare" in result.stdout


def test_diff_of_the_same_content_says_so(stored):
    result = succeed("diff", "ibm_manila@2026-11-20", "ibm_manila@2026-11-20")
    assert "note      both have the same content" in result.stdout


def test_wrong_diffs_are_one_line(stored, tmp_path):
    path = tmp_path / "none" / "change.png"
    pair = ("ibm_manila@2026-11-20", "ibm_manila@2026-11-21")
    assert f"--png: must be a writable path, got {path}" in refuse("diff", *pair, "--png", path)
    line = refuse("diff", "fake_manila", "fake_quito", "--png", tmp_path / "change.png")
    assert "must be of two devices with the same lattice" in line


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ibm_manila@2026-11-22", "there are ibm_manila@2026-11-20, ibm_manila@2026-11-21, or"),
        ("0123456", "must be a stored snapshot of "),
        ("fake_manilla", "must be a fake backend of the runtime package, got 'fake_manilla'; for"),
        ("[bold]@2026", "got '[bold]@2026'; "),
    ],
)
def test_unknown_names_are_one_line(stored, name, message):
    assert message in refuse("show", name)
    assert message in refuse("diff", name, "fake_manila", "--json")


def test_long_lists_show_their_progress(stored, monkeypatch):
    monkeypatch.setattr(snapshots, "_NUM_QUICK", 1)
    result = succeed("ls", "--device", "ibm_")
    assert "snapshots" in result.stderr
    assert "2/2" in result.stderr
    assert "ibm_manila@2026-11-21" in result.stdout


def test_commands_import_no_more_than_they_need():
    code = (
        "import sys\nfrom qrnn_qiskit.cli import app\n"
        "try:\n    app(['snapshot', 'ls', '--device', 'manila'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


def test_help_names_the_commands():
    assert "snapshot" in qrnn("--help").stdout
    result = qrnn("snapshot", "--help")
    assert all(name in result.stdout for name in ("ls", "show", "import", "pull", "diff"))


def test_a_stored_file_is_plain_json(stored, vault):
    content = json.loads((vault / "ibm_manila@2026-11-20.json").read_text())
    assert content.keys() == {"format_version", "name", "date", "configuration", "properties",
                              "snapshot_id"}  # fmt: skip
