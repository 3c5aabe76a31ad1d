"""Runs on a device whose disk gets full, may not be written or is damaged; they go on after that.

Files are made unwritable by what SQLite and the system answer then, since nothing binds root.
"""

import errno
import os
import sqlite3
from dataclasses import replace
from io import FileIO
from pathlib import Path

import pytest

from qrnn_qiskit.ledger import LEDGER_NAME, Ledger
from qrnn_qiskit.owners import Owner
from qrnn_qiskit.studies import runtime_target
from tests.integration.endings import assert_one_line, go_on

FULL = (sqlite3.SQLITE_FULL, "database or disk is full")
READ_ONLY = (sqlite3.SQLITE_READONLY, "attempt to write a readonly database")


class Unwritable:
    """A connection to a file that can be read only."""

    def __init__(self, connection, code, text):
        self._connection, self._code, self._text = connection, code, text

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, query, *values):
        if query.startswith("BEGIN"):
            error = sqlite3.OperationalError(self._text)
            error.sqlite_errorcode = self._code
            raise error
        return self._connection.execute(query, *values)


@pytest.fixture
def break_ledger():
    """Lets ledgers be unwritable from the n-th call of a method on, in a process that then ends."""
    owner = replace(Owner.current(), started="before this one")

    def break_ledger(patch, method, nth, fault):
        calls = []

        def call(self, *arguments, **options):
            calls.append(method)
            if len(calls) == nth:
                self._file.connection = Unwritable(self._file.connection, *fault)
            return getattr(Ledger, method)(self, *arguments, **options)

        patch.setattr(runtime_target, "Ledger", type("Broken", (Ledger,), {method: call}))
        patch.setattr(Owner, "current", lambda: owner)

    return break_ledger


@pytest.mark.parametrize(
    ("method", "fault"),
    [("plan", FULL), ("begin_submission", READ_ONLY), ("record_job", FULL),
     ("record_result", FULL), ("record_metrics", READ_ONLY)],
)  # fmt: skip
def test_a_ledger_that_cannot_be_written(
    setting, undisturbed, break_ledger, monkeypatch, method, fault
):
    with monkeypatch.context() as patch:
        break_ledger(patch, method, 3, fault)
        ended = setting.train()
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert f"{LEDGER_NAME}: must be" in line or f"{LEDGER_NAME}: must have room to grow" in line
    assert fault[1] in line
    assert "free disk space" in line or "change permissions" in line
    assert len(setting.checkpoint()["losses"]) == 2
    setting.assert_sessions_closed()
    go_on(line)
    setting.assert_as_undisturbed(undisturbed["feedforward"])


def test_a_ledger_that_is_read_only_before_the_run_goes_on(setting, undisturbed, monkeypatch):
    setting.train("--set", "runtime.max_qpu_seconds=7")
    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        # As root, too.
        patch.setattr(
            sqlite3,
            "connect",
            lambda where, **options: connect(_read_only(where), **options | {"uri": True}),
        )
        refused = setting.train("--resume")
    line = assert_one_line(refused.exit_code, refused.stderr)
    assert "attempt to write a readonly database; choose another path or change perm" in line
    assert len(setting.server.jobs) == 3
    resumed = setting.train("--resume")
    assert resumed.exit_code == 0, resumed.output
    setting.assert_as_undisturbed(undisturbed["feedforward"])


def _read_only(where):
    uri = where if where.startswith("file:") else Path(where).as_uri()
    return f"{uri.split('?')[0]}?mode=ro"


class SmallDisk(FileIO):
    """A file with room for some bytes only."""

    def write(self, data):
        if self.tell() + len(data) > 2000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_checkpoint_that_cannot_be_written(setting, undisturbed, monkeypatch):
    """As on a disk without room for it, while the ledger is elsewhere, or small enough."""
    opened, open_file = [], Path.open

    def open_path(path, mode="r", *arguments, **options):
        if ".device_loop-" in path.name:
            opened.append(path)
            if len(opened) == 3:
                return SmallDisk(path, mode)
        return open_file(path, mode, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_path)
        ended = setting.train()
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert "device_loop-" in line
    assert "must be writable, got No space left on device; free space" in line
    assert len(setting.checkpoint()["losses"]) == 2
    setting.assert_sessions_closed()
    go_on(line)
    setting.assert_as_undisturbed(undisturbed["feedforward"])


def test_a_checkpoint_that_was_cut_off(setting, undisturbed):
    setting.train("--set", "runtime.max_qpu_seconds=7")
    path = setting.checkpoint_path
    path.write_bytes(path.read_bytes()[:1000])
    ended = setting.train("--resume")
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert f"{path}: must be a checkpoint, got a damaged file" in line
    assert "delete it to start this part again" in line
    assert len(setting.server.jobs) == 3
    path.unlink()
    go_on(line)
    setting.assert_as_undisturbed(undisturbed["feedforward"])


def test_a_damaged_ledger(setting, undisturbed):
    setting.train("--set", "runtime.max_qpu_seconds=7")
    path = setting.run / LEDGER_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:9000])
    ended = setting.train("--resume")
    line = assert_one_line(ended.exit_code, ended.stderr)
    assert f"{path}: must be an undamaged job ledger, got" in line
    assert "restore a copy of it" in line
    assert len(setting.server.jobs) == 3
    path.write_bytes(whole)
    resumed = setting.train("--resume")
    assert resumed.exit_code == 0, resumed.output
    setting.assert_as_undisturbed(undisturbed["feedforward"])
