"""The compile cache: right answers whatever happens to its folder."""

import errno
import io
import multiprocessing
import os
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from functools import cache as memoise
from pathlib import Path

import numpy as np
import pytest
import qiskit

from qrnn_qiskit.compiling import cache as cache_module
from qrnn_qiskit.compiling import compile_logical, compile_program, load_profile, storage
from qrnn_qiskit.compiling.cache import (
    CacheStatistics,
    CompileCache,
    compilation_key,
    default_cache_folder,
)
from qrnn_qiskit.compiling.storage import load_compiled, save_compiled
from qrnn_qiskit.devices import load_fake_backend, read_target
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram

ROOT = Path(__file__).parents[3]
PROGRAM = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0, 1.1),)), 2)
OTHER = PROGRAM.prefix(1)
HERON = load_profile("heron")


@memoise
def boston(fractional_gates=False):
    return read_target(load_fake_backend("fake_boston"), fractional_gates=fractional_gates)


@memoise
def compile_once(program):
    return compile_program(program, boston(), HERON)


def compiled(program=PROGRAM):
    # Compiled again, a circuit would have other parameter objects.
    return compile_once(program)


class Compiler:
    """Gives what is known already, and counts."""

    def __init__(self):
        self.num_calls = 0

    def __call__(self, program, device, profile):
        self.num_calls += 1
        return compiled(program)


@pytest.fixture
def compiler():
    return Compiler()


def get(cache, compiler, program=PROGRAM, profile=HERON):
    return cache.get_or_compile(program, boston(), profile, compiler)


def assert_right(found, program=PROGRAM):
    expected = compiled(program)
    assert found.program == program
    assert found.circuit == expected.circuit
    np.testing.assert_array_equal(found.matrix.toarray(), expected.matrix.toarray())
    np.testing.assert_array_equal(found.constants, expected.constants)
    assert found.parameter_names == expected.parameter_names
    assert found.physical_qubits == expected.physical_qubits
    assert found.form == expected.form


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


# --- hits and misses -------------------------------------------------------------------------


def test_a_program_is_compiled_once(tmp_path, compiler):
    cache = CompileCache(tmp_path / "made")
    first = get(cache, compiler)
    assert get(cache, compiler) is first
    assert cache.statistics == CacheStatistics(hits=1, misses=1)
    other = CompileCache(tmp_path / "made")
    assert_right(get(other, compiler))
    assert other.statistics == CacheStatistics(hits=1)
    assert compiler.num_calls == 1
    assert entries(cache.folder) == [cache.path_of(PROGRAM, boston(), HERON).name]


def test_what_was_compiled_since_is_a_difference(tmp_path, compiler):
    cache = CompileCache(tmp_path)
    get(cache, compiler)
    before = cache.statistics
    assert before.compile_seconds > 0
    get(cache, compiler)
    since = cache.statistics - before
    assert since == CacheStatistics(hits=1)
    assert (since.num_compiled, since.compile_seconds) == (0, 0.0)
    get(cache, compiler, OTHER)
    since = cache.statistics - before
    assert since.num_compiled == 1
    assert 0 < since.compile_seconds < cache.statistics.compile_seconds


def test_by_default_it_compiles(tmp_path):
    found = CompileCache(tmp_path).get_or_compile(PROGRAM, boston(), HERON)
    assert found.circuit.count_ops() == compiled().circuit.count_ops()
    assert found.physical_qubits == compiled().physical_qubits


def test_only_a_few_results_stay_in_memory(tmp_path, compiler):
    cache = CompileCache(tmp_path, num_recent=1)
    first = get(cache, compiler)
    get(cache, compiler, OTHER)
    again = get(cache, compiler)
    assert again is not first
    assert_right(again)
    assert (compiler.num_calls, cache.statistics.hits) == (2, 1)
    nothing_kept = CompileCache(tmp_path, num_recent=0)
    assert get(nothing_kept, compiler) is not get(nothing_kept, compiler)


def test_profiles_that_differ_by_name_alone_share_an_entry(tmp_path, compiler):
    cache = CompileCache(tmp_path)
    mine = HERON.model_copy(update={"name": "mine", "description": "heron under another name"})
    assert get(cache, compiler).profile_name == "heron"
    assert get(cache, compiler, profile=mine).profile_name == "mine"
    assert get(CompileCache(tmp_path), compiler, profile=mine).profile_name == "mine"
    assert get(cache, compiler).profile_name == "heron"
    assert compiler.num_calls == 1


def test_logical_circuits_are_not_kept(tmp_path):
    cache = CompileCache(tmp_path / "never made")
    found = cache.get_or_compile(PROGRAM, boston(), load_profile("aer"))
    assert found.circuit == compile_logical(PROGRAM).circuit
    assert found.profile_name == "logical"
    assert not cache.folder.exists()


def test_errors_of_the_compiler_pass_and_leave_nothing(tmp_path):
    def refuse(program, device, profile):
        raise InputError("backend: must be larger, got a small one; take another")

    cache = CompileCache(tmp_path)
    with pytest.raises(InputError, match="must be larger"):
        get(cache, refuse)
    assert entries(tmp_path) == []


def test_clear_and_size_count_only_own_files(tmp_path, compiler):
    cache = CompileCache(tmp_path)
    assert CompileCache(tmp_path / "none").size_bytes == 0
    get(cache, compiler)
    path = cache.path_of(PROGRAM, boston(), HERON)
    assert cache.size_bytes == path.stat().st_size > 0
    # What a writer leaves that was killed.
    left = path.with_name(f".{path.name}.4711.0badcafe.part")
    left.write_bytes(b"half")
    foreign = ["notes.txt", "mine.qrnn", ".part", f"{path.name}.bak"]
    for name in foreign:
        (tmp_path / name).write_text("not ours")
    assert cache.size_bytes == path.stat().st_size + 4
    cache.clear()
    assert entries(tmp_path) == sorted(foreign)
    assert cache.size_bytes == 0
    assert_right(get(cache, compiler))
    assert cache.statistics == CacheStatistics(misses=2)
    CompileCache(tmp_path / "none").clear()


def test_the_default_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("QRNN_CACHE", str(tmp_path / "named"))
    assert CompileCache().folder == default_cache_folder() == tmp_path / "named"
    monkeypatch.setenv("QRNN_CACHE", "~/named")
    assert default_cache_folder() == Path.home() / "named"
    for unset in (lambda: monkeypatch.setenv("QRNN_CACHE", ""),
                  lambda: monkeypatch.delenv("QRNN_CACHE")):  # fmt: skip
        unset()
        assert default_cache_folder().name == "qrnn_qiskit"
        assert default_cache_folder().is_absolute()


# --- keys ------------------------------------------------------------------------------------


def test_every_ingredient_changes_the_key(monkeypatch):
    device = boston()

    def changed(program=PROGRAM, device=device, profile=HERON):
        return compilation_key(program, device, profile)

    keys = [
        changed(),
        changed(program=OTHER),
        changed(device=replace(device, snapshot_id="0123456789abcdef")),
        changed(device=replace(device, name="ibm_boston")),
        changed(device=replace(device, unusable=("qubit 4: excluded",))),
        changed(device=boston(fractional_gates=True)),
        changed(profile=HERON.model_copy(update={"layout_candidates": 3})),
        changed(profile=HERON.model_copy(update={"fast_reset": False})),
    ]
    for module, name, value in (
        (qiskit, "__version__", "2.6.99"),
        (cache_module, "version", lambda _: "9.9"),
        (cache_module, "_SOURCE_ID", "edited"),
        (storage, "FORMAT_VERSION", 99),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            keys.append(changed())
    assert len(set(keys)) == len(keys)
    renamed = HERON.model_copy(update={"name": "mine", "description": "mine"})
    assert changed(profile=renamed) == changed(program=replace(PROGRAM)) == keys[0]


def test_the_key_is_the_same_in_another_process():
    code = (
        "from tests.unit.compiling.test_cache import *;"
        # The source may have been edited since this process read it.
        f"cache_module._SOURCE_ID = {cache_module._SOURCE_ID!r};"
        "print(compilation_key(PROGRAM, boston(), HERON))"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == compilation_key(PROGRAM, boston(), HERON)


# --- damage ----------------------------------------------------------------------------------


def damage(path, content, compiler):
    """A new cache's answer after its entry was overwritten."""
    path.write_bytes(content)
    cache = CompileCache(path.parent)
    found = get(cache, compiler)
    assert_right(found)
    assert load_compiled(path, PROGRAM, key=path.stem).circuit == compiled().circuit
    assert entries(path.parent) == [path.name]
    return cache.statistics


@pytest.fixture
def entry(tmp_path):
    cache = CompileCache(tmp_path)
    get(cache, Compiler())
    return cache.path_of(PROGRAM, boston(), HERON)


REBUILT = CacheStatistics(rebuilt=1)


def test_a_truncated_entry_is_rebuilt(entry, compiler):
    content = entry.read_bytes()
    for length in (0, 1, 30, 200, *range(500, len(content), 977), len(content) - 1):
        assert damage(entry, content[:length], compiler) == REBUILT
    assert damage(entry, b"\0" * len(content), compiler) == REBUILT
    assert damage(entry, b"not a zip file", compiler) == REBUILT


def test_a_flipped_byte_never_gives_a_wrong_circuit(entry, compiler, rng):
    """Anywhere; where the byte means nothing (a time stamp) the entry may stay."""
    content = entry.read_bytes()
    num_rebuilt = 0
    edges = [*range(0, 60), *range(len(content) - 300, len(content), 7)]
    positions = [*edges, *rng.integers(len(content), size=100).tolist()]
    for position in positions:
        flipped = bytearray(content)
        flipped[position] ^= int(rng.integers(1, 256))
        num_rebuilt += damage(entry, bytes(flipped), compiler).rebuilt
    assert compiler.num_calls == num_rebuilt > 100


def test_a_flipped_byte_of_any_part_is_noticed(entry, compiler, rng):
    content = entry.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
    assert len(parts) == 3
    for part in parts:
        start = part.header_offset + 30 + len(part.filename)
        for position in rng.integers(start, start + part.compress_size, size=20):
            flipped = bytearray(content)
            flipped[position] ^= 0xFF
            assert damage(entry, bytes(flipped), compiler) == REBUILT


def test_a_missing_part_is_noticed(entry, compiler):
    with zipfile.ZipFile(entry) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for missing in members:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, member in members.items():
                if name != missing:
                    archive.writestr(name, member)
        assert damage(entry, content.getvalue(), compiler) == REBUILT
    for header in (b"null", b"[]", b"{}", b'{"format_version": 1}', b"\xff"):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, member in (members | {"header.json": header}).items():
                archive.writestr(name, member)
        assert damage(entry, content.getvalue(), compiler) == REBUILT


def test_an_entry_of_something_else_is_rebuilt(entry, compiler, monkeypatch, tmp_path):
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    key = entry.stem

    def content_of(program=PROGRAM, key=key):
        save_compiled(compiled(program), elsewhere, key=key)
        return elsewhere.read_bytes()

    assert damage(entry, content_of(), compiler) == CacheStatistics(hits=1)
    assert damage(entry, content_of(program=OTHER), compiler) == REBUILT
    other_key = compilation_key(OTHER, boston(), HERON)
    assert damage(entry, content_of(program=OTHER, key=other_key), compiler) == REBUILT
    # The same program under another profile or snapshot: only the key tells.
    assert damage(entry, content_of(key=other_key), compiler) == REBUILT
    with monkeypatch.context() as patch:
        patch.setattr(storage, "FORMAT_VERSION", 99)
        foreign = content_of()
    assert damage(entry, foreign, compiler) == REBUILT


# --- folders that cannot be written ----------------------------------------------------------


def expect_one_warning(cache, compiler, match):
    with pytest.warns(UserWarning, match=match) as caught:
        assert_right(get(cache, compiler))
    assert len(caught) == 1
    assert caught[0].filename == __file__  # where the cache was called
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_right(get(cache, compiler))
        assert_right(get(cache, compiler, OTHER), OTHER)
    assert compiler.num_calls == 2
    assert cache.statistics.hits == 1


def test_a_file_in_the_way_of_the_folder(tmp_path, compiler):
    (tmp_path / "file").write_text("mine")
    cache = CompileCache(tmp_path / "file" / "cache")
    expect_one_warning(cache, compiler, "are not kept .* must be writable, got Not a directory")
    assert cache.statistics == CacheStatistics(hits=1, misses=2)
    assert cache.size_bytes == 0
    cache.clear()


def test_a_folder_in_the_way_of_the_entry(tmp_path, compiler):
    cache = CompileCache(tmp_path)
    path = cache.path_of(PROGRAM, boston(), HERON)
    path.mkdir()
    expect_one_warning(cache, compiler, "are not kept .* must be writable, got Is a directory")
    assert cache.statistics == CacheStatistics(hits=1, misses=1, rebuilt=1)
    assert path.name in entries(tmp_path)
    assert not any(name.endswith(".part") for name in entries(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(tmp_path, compiler):
    tmp_path.chmod(0o500)
    try:
        expect_one_warning(CompileCache(tmp_path), compiler, "got Permission denied")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_full_or_read_only_disk(tmp_path, compiler, monkeypatch, number):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    expect_one_warning(CompileCache(tmp_path), compiler, f"got {os.strerror(number)}")
    assert entries(tmp_path) == []


def test_a_circuit_that_cannot_be_written_is_returned(tmp_path, compiler, monkeypatch):
    def fail(*_):
        raise qiskit.qpy.QpyError("unknown instruction")

    monkeypatch.setattr(storage.qpy, "dump", fail)
    expect_one_warning(CompileCache(tmp_path), compiler, "are not kept .*unknown instruction")


def test_an_interrupt_while_writing_leaves_nothing(tmp_path, compiler, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    cache = CompileCache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            get(cache, compiler)
    assert entries(tmp_path) == []
    assert_right(get(cache, compiler))  # from memory
    assert_right(get(CompileCache(tmp_path), compiler))
    assert compiler.num_calls == 2


# --- two processes ---------------------------------------------------------------------------


def _compile_together(folders, barrier, results):
    """Both find no entry, compile, and write at the same moment."""

    def wait_and_compile(program, device, profile):
        made = compile_program(program, device, profile)
        barrier.wait(timeout=120)
        return made

    for folder in folders:
        cache = CompileCache(folder)
        cache.get_or_compile(PROGRAM, boston(), HERON, wait_and_compile)
        again = CompileCache(folder).get_or_compile(PROGRAM, boston(), HERON, wait_and_compile)
        results.put((cache.statistics, again.circuit.count_ops()))


def test_two_processes_may_compile_the_same_program_at_once(tmp_path):
    folders = [tmp_path / str(number) for number in range(20)]
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    processes = [
        spawn.Process(target=_compile_together, args=(folders, barrier, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in range(2 * len(folders))]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert all(statistics == CacheStatistics(misses=1) for statistics, _ in found)
    assert all(counts == compiled().circuit.count_ops() for _, counts in found)
    for folder in folders:
        (path,) = folder.iterdir()
        one = load_compiled(path, PROGRAM, key=path.stem)
        assert one.physical_qubits == compiled().physical_qubits
