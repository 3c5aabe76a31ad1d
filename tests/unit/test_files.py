"""Files written whole, and what becomes of those whose writers were killed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qrnn_qiskit import files, owners
from qrnn_qiskit.files import write_whole
from qrnn_qiskit.owners import Owner

ROOT = Path(__file__).parents[2]
WRITER = """
import os, signal, sys
from pathlib import Path
from qrnn_qiskit.files import write_whole

def write(file):
    file.write(b"half")
    file.flush()
    {end}

write_whole(Path(sys.argv[1]), write, "free space")
"""
KILLED = WRITER.format(end="os.kill(os.getpid(), signal.SIGKILL)")
WAITING = WRITER.format(end="print(flush=True); sys.stdin.read()")


def save(path, content=b"whole"):
    write_whole(path, lambda file: file.write(content), "free space")


def left_in(folder):
    return {path.name for path in folder.iterdir() if path.name.endswith(".part")}


def leave(path):
    """What a killed writer of a file leaves."""
    before = left_in(path.parent)
    subprocess.run([sys.executable, "-c", KILLED, path], cwd=ROOT, check=False)
    (left,) = left_in(path.parent) - before
    return path.with_name(left)


@pytest.mark.parametrize("next_name", ["a.txt", "b.txt"])
def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path, next_name):
    left = leave(tmp_path / "a.txt")
    assert left.read_bytes() == b"half"
    save(tmp_path / next_name)
    assert [path.name for path in tmp_path.iterdir()] == [next_name]
    assert (tmp_path / next_name).read_bytes() == b"whole"


def test_a_writer_that_lives_is_left_alone(tmp_path):
    path = tmp_path / "a.txt"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", WAITING, path], cwd=ROOT, **pipes) as process:
        process.stdout.readline()
        assert len(left_in(tmp_path)) == 1
        save(path)
        assert len(left_in(tmp_path)) == 1
        process.communicate()
    assert process.returncode == 0
    assert (path.read_bytes(), left_in(tmp_path)) == (b"half", set())


def test_a_writer_of_this_process_is_left_alone(tmp_path):
    def write(file):
        save(tmp_path / "inner.txt")
        file.write(b"outer")

    write_whole(tmp_path / "outer.txt", write, "free space")
    assert (tmp_path / "outer.txt").read_bytes() == b"outer"


def test_a_process_number_used_again_is_another_writer(tmp_path, monkeypatch):
    me = Owner.current()
    with monkeypatch.context() as patch:
        patch.setattr(files.Owner, "current", lambda: replace(me, started="1"))
        patch.setattr(files.Path, "replace", lambda *paths: None)
        save(tmp_path / "a.txt")
    assert len(left_in(tmp_path)) == 1
    save(tmp_path / "a.txt")
    assert left_in(tmp_path) == set()


def test_of_another_host_nothing_is_known(tmp_path, monkeypatch):
    left = leave(tmp_path / "a.txt")
    with monkeypatch.context() as patch:
        patch.setattr(owners, "_host", lambda: "elsewhere")
        save(tmp_path / "a.txt")
    assert left_in(tmp_path) == {left.name}
    save(tmp_path / "a.txt")
    assert left_in(tmp_path) == set()


def test_files_of_others_stay(tmp_path):
    names = [".part", ".a.txt.part", ".a.txt.4711.0badcafe.part", "a.txt.1.2.3.4.5.part", "a.part"]
    for name in names:
        (tmp_path / name).write_text("mine")
    save(tmp_path / "a.txt")
    assert left_in(tmp_path) == set(names)


def test_what_cannot_be_removed_is_no_reason_to_fail(tmp_path):
    left = leave(tmp_path / "a.txt")
    left.unlink()
    left.mkdir()
    save(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == b"whole"
