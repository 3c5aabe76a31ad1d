"""Run directories: nothing is overwritten, nothing half written, nothing mistaken."""

import io
import json
import os
import stat

import numpy as np
import pytest
import torch

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.studies.runs import FORMAT_VERSION, RunDirectory, finite_or_null
from tests.unit.studies.jobs import FEEDFORWARD, spec_of

SPEC = spec_of(FEEDFORWARD)


def files_under(path):
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(SPEC, tmp_path / "runs")


# --- creating and finding ------------------------------------------------------------------------


def test_creating_never_overwrites(tmp_path):
    first = RunDirectory.create(SPEC, tmp_path)
    first.write_text("notes.txt", "mine")
    before = files_under(first.path)
    second, third = RunDirectory.create(SPEC, tmp_path), RunDirectory.create(SPEC, tmp_path)
    name = f"tiny-{SPEC.training_id}"
    assert [r.path.name for r in (first, second, third)] == [name, f"{name}-2", f"{name}-3"]
    assert files_under(first.path) == before
    assert second.load_spec() == SPEC


def test_the_newest_run_of_the_same_training_is_found(tmp_path):
    first, second = RunDirectory.create(SPEC, tmp_path), RunDirectory.create(SPEC, tmp_path)
    RunDirectory.create(spec_of(FEEDFORWARD, training__epochs=3), tmp_path)
    (tmp_path / f"{first.path.name}-9").mkdir()
    for run, age in ((first, 100), (second, 50)):
        os.utime(run.path / "spec.json", ns=(10**18 - age, 10**18 - age))
    assert RunDirectory.find(SPEC, tmp_path) == second
    os.utime(first.path / "spec.json", ns=(10**18, 10**18))
    assert RunDirectory.find(SPEC, tmp_path) == first
    # Other shots are another comparison of the same run.
    assert RunDirectory.find(spec_of(FEEDFORWARD, aer__num_shots=9), tmp_path) == first


def test_a_run_that_is_not_there_is_named_with_those_that_are(tmp_path):
    line = f"--resume: a run of these settings must exist in {tmp_path}, got none (tiny-"
    with pytest.raises(InputError) as caught:
        RunDirectory.find(SPEC, tmp_path)
    assert str(caught.value).startswith(line)
    assert str(caught.value).endswith("; start it without")
    other = RunDirectory.create(spec_of(FEEDFORWARD, training__epochs=3), tmp_path)
    with pytest.raises(InputError, match=f"other settings ran as {other.path.name}; train it"):
        RunDirectory.find(SPEC, tmp_path, "--run", "train it first")
    with pytest.raises(InputError, match=r"got none"):
        RunDirectory.find(SPEC, tmp_path / "nowhere")


def test_only_runs_are_opened(tmp_path, run):
    assert RunDirectory.open(run.path) == run
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"--run: must be the folder of a run, got .* without"):
            RunDirectory.open(path)


def test_a_root_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--runs: must be a writable folder, got .*; choose"):
        RunDirectory.create(SPEC, tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it may not")
def test_read_only_folders_are_refused(tmp_path, run):
    folder = tmp_path / "locked"
    folder.mkdir()
    for path in (folder, run.path):
        path.chmod(0o500)
    try:
        with pytest.raises(InputError, match=r"--runs: must be a writable folder"):
            RunDirectory.create(SPEC, folder)
        with pytest.raises(InputError, match=r"a.txt: must be writable, got Permission denied; "):
            run.write_text("a.txt", "")
    finally:
        for path in (folder, run.path):
            path.chmod(0o700)


def test_a_full_disk_is_told_in_one_line(run, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    run.write_text("a.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"a.txt: must be writable, got No space left on device"):
        run.write_text("a.txt", "new")
    assert (run.path / "a.txt").read_text() == "old"


# --- writing -------------------------------------------------------------------------------------


class _FailsHalfway:
    """A value whose pickling fails after some of the file is written."""

    def __reduce__(self):
        raise KeyboardInterrupt


def test_a_write_that_fails_leaves_the_old_file(run):
    run.save_checkpoint("c.pt", "id", {"weights": torch.ones(1000)})
    run.save_arrays("a", x=np.ones(5))
    before = files_under(run.path)
    with pytest.raises(KeyboardInterrupt):
        run.save_checkpoint("c.pt", "id", {"weights": torch.zeros(1000), "z": _FailsHalfway()})
    with pytest.raises(KeyboardInterrupt):
        run.save_arrays("a", x=np.zeros(5), z=np.array([_FailsHalfway()], dtype=object))
    assert files_under(run.path) == before
    assert run.load_checkpoint("c.pt", "id")["weights"].sum() == 1000


def test_files_are_readable_as_the_umask_says(run):
    before = os.umask(0o022)
    try:
        run.write_text("a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((run.path / "a.txt").stat().st_mode) == 0o644
    assert (run.path / "a.txt").read_text() == "text"


def test_json_is_what_every_parser_reads(run):
    def refuse(name):
        raise AssertionError(name)

    run.write_json("m.json", {"rows": [{"loss": float("nan"), "x": (1.5, float("inf"))}], "s": "a"})
    content = json.loads((run.path / "m.json").read_text(), parse_constant=refuse)
    assert content == {"rows": [{"loss": None, "x": [1.5, None]}], "s": "a"}
    assert finite_or_null({"a": (True, None, 3, -0.0)}) == {"a": [True, None, 3, -0.0]}


# --- checkpoints ---------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_as_it_was(run):
    assert run.load_checkpoint("c.pt", "id") is None
    state = {"weights": torch.arange(4.0), "step": 3, "best": {"loss": float("inf")}, "none": None}
    run.save_checkpoint("c.pt", "id", state)
    found = run.load_checkpoint("c.pt", "id")
    assert found.keys() == state.keys()
    assert torch.equal(found["weights"], state["weights"])
    assert (found["step"], found["best"], found["none"]) == (3, {"loss": float("inf")}, None)


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "other content", "list"])
def test_a_damaged_checkpoint_is_refused_with_a_cure(run, damage):
    run.save_checkpoint("c.pt", "id", {"weights": torch.ones(100)})
    path = run.path / "c.pt"
    whole = path.read_bytes()
    other = io.BytesIO()
    torch.save({"weights": torch.ones(2)} if damage == "other content" else [1, 2], other)
    path.write_bytes(
        {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}.get(
            damage, other.getvalue()
        )
    )
    with pytest.raises(InputError, match=r"must be a checkpoint, got a damaged file .*; delete it"):
        run.load_checkpoint("c.pt", "id")


def test_a_checkpoint_of_other_settings_is_refused(run):
    run.save_checkpoint("c.pt", "one", {})
    with pytest.raises(
        InputError,
        match=r"c\.pt: must be a checkpoint of the settings two, got one of one; resume with",
    ):
        run.load_checkpoint("c.pt", "two")


def test_other_format_versions_are_refused(run):
    torch.save(
        {"format_version": FORMAT_VERSION + 1, "identity": "id", "state": {}}, run.path / "c.pt"
    )
    rule = f"must have format_version {FORMAT_VERSION}, got {FORMAT_VERSION + 1}; read it with"
    with pytest.raises(InputError, match=rule):
        run.load_checkpoint("c.pt", "id")
    content = json.loads((run.path / "spec.json").read_text())
    run.write_json("spec.json", content | {"format_version": FORMAT_VERSION + 1})
    with pytest.raises(InputError, match=rule):
        run.load_spec()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", '{"format_version": 1, "name": "x"}'])
def test_a_damaged_spec_is_refused_in_one_line(run, text):
    (run.path / "spec.json").write_text(text)
    with pytest.raises(InputError, match=r"spec\.json: ") as caught:
        run.load_spec()
    assert "\n" not in str(caught.value)


# --- records -------------------------------------------------------------------------------------


def test_arrays_come_back_or_count_as_none(run, rng):
    assert run.load_arrays("a") is None
    bits = rng.integers(2, size=(5, 400), dtype=np.uint8)
    run.save_arrays("a", bits=bits, name=np.array("x"))
    found = run.load_arrays("a")
    np.testing.assert_array_equal(found["bits"], bits)
    assert found["name"] == "x"


def test_an_array_file_damaged_anywhere_counts_as_none(run, rng):
    bits = rng.integers(2, size=(5, 400), dtype=np.uint8)
    run.save_arrays("a", bits=bits)
    path = run.path / "records" / "a.npz"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert run.load_arrays("a") is None, length
    for place in range(60, len(whole) - 100, 11):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        path.write_bytes(bytes(flipped))
        found = run.load_arrays("a")
        assert found is None or np.array_equal(found["bits"], bits), place
