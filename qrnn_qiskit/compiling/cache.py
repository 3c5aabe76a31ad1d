"""A folder of compiled programs, so that none is compiled twice."""

import json
import os
import re
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import qiskit
from platformdirs import user_cache_path

from qrnn_qiskit.compiling import storage
from qrnn_qiskit.compiling.compile import compile_program
from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.compiling.profile import TranspileProfile
from qrnn_qiskit.compiling.storage import load_compiled, save_compiled
from qrnn_qiskit.devices import DeviceTarget
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import SequenceProgram

Compile: TypeAlias = Callable[[SequenceProgram, DeviceTarget, TranspileProfile], CompiledProgram]

# Entries, and what killed writers left, also those on other hosts, which only a user can give up:
# nothing else in the folder is ours to count or delete.
_OUR_FILE = re.compile(r"[0-9a-f]{64}\.qrnn|\.[0-9a-f]{64}\.qrnn\..+\.part")

# Packages whose code decides what a compilation gives.
_COMPILING_PACKAGES = ("program", "devices", "costing", "compiling")


def _hash_source() -> str:
    root = Path(__file__).parents[1]
    digest = sha256()
    for package in _COMPILING_PACKAGES:
        for path in sorted((root / package).glob("*.py")):
            digest.update(f"{package}/{path.name}".encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


# Taken on import: a file edited later is not the code that runs here.
_SOURCE_ID = _hash_source()


@dataclass(frozen=True)
class CacheStatistics:
    """How the calls of a cache ended, each in one of three ways.

    Attributes:
        hits: answered from memory or disk.
        misses: compiled, since there was no entry.
        rebuilt: compiled, since the entry was damaged or not what its name says.
        compile_seconds: that `misses` and `rebuilt` took; statistics are equal without it.
    """

    hits: int = 0
    misses: int = 0
    rebuilt: int = 0
    compile_seconds: float = field(default=0.0, compare=False, repr=False)

    def __sub__(self, before: "CacheStatistics") -> "CacheStatistics":
        return CacheStatistics(
            self.hits - before.hits,
            self.misses - before.misses,
            self.rebuilt - before.rebuilt,
            self.compile_seconds - before.compile_seconds,
        )

    @property
    def num_compiled(self) -> int:
        """Circuits that were compiled."""
        return self.misses + self.rebuilt


class CompileCache:
    """Compiled programs on disk, found by what they were compiled from.

    Any number of processes may share a folder. A damaged entry is compiled again; where the
    folder cannot be written, results are returned all the same, after one warning. Entries are
    never removed but by `clear`.

    Args:
        folder: made when the first entry is written; `default_cache_folder()` if None.
        num_recent: results kept in memory.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from qrnn_qiskit.compiling import load_profile
        >>> from qrnn_qiskit.devices import load_fake_backend, read_target
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> device = read_target(load_fake_backend("fake_boston"))
        >>> cell = CellSpec(Ansatz("line", 2), (Readout("Z", 0),), "open")
        >>> program, profile = SequenceProgram(cell, 2), load_profile("heron")
        >>> with TemporaryDirectory() as folder:
        ...     cache = CompileCache(folder)
        ...     first = cache.get_or_compile(program, device, profile)
        ...     second = CompileCache(folder).get_or_compile(program, device, profile)
        >>> cache.statistics, first.circuit == second.circuit
        (CacheStatistics(hits=0, misses=1, rebuilt=0), True)
    """

    def __init__(self, folder: str | Path | None = None, *, num_recent: int = 4) -> None:
        self.folder = default_cache_folder() if folder is None else Path(folder)
        self.statistics = CacheStatistics()
        self._num_recent = num_recent
        self._recent: OrderedDict[str, CompiledProgram] = OrderedDict()
        self._has_warned = False

    @property
    def size_bytes(self) -> int:
        """Disk space of all entries."""
        return sum(_size_bytes(path) for path in self._files())

    def clear(self) -> None:
        """Forgets all entries, in memory and on disk; other files in the folder stay.

        Raises:
            InputError: if an entry cannot be removed.
        """
        self._recent.clear()
        try:
            for path in self._files():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"{self.folder}: must be writable, got {error.strerror}; "
                "change its permissions or remove its files yourself"
            ) from error

    def path_of(
        self, program: SequenceProgram, device: DeviceTarget, profile: TranspileProfile
    ) -> Path:
        """Where the entry is, or will be."""
        return self._path(compilation_key(program, device, profile))

    def get_or_compile(
        self,
        program: SequenceProgram,
        device: DeviceTarget,
        profile: TranspileProfile,
        compile: Compile = compile_program,  # noqa: A002
    ) -> CompiledProgram:
        """The compiled program, from memory, from disk or made now.

        Logical circuits are not kept: to make one costs no more than its key.

        Args:
            program: what to compile.
            device: for which device.
            profile: how.
            compile: gives what `compile_program` gives; it is not part of the key.

        Raises:
            InputError: from `compile`, as it is.
        """
        if profile.layout == "logical":
            return compile(program, device, profile)
        key = compilation_key(program, device, profile)
        found = self._find(key, program)
        if found is None:
            start = time.monotonic()
            compiled = compile(program, device, profile)
            self._add("compile_seconds", time.monotonic() - start)
        else:
            compiled = found
        self._remember(key, compiled)
        if found is None:
            self._save(key, compiled)
        if compiled.profile_name != profile.name:
            # Profiles of equal settings share an entry, whatever their names.
            compiled = replace(compiled, profile_name=profile.name)
        return compiled

    def _find(self, key: str, program: SequenceProgram) -> CompiledProgram | None:
        found = self._recent.get(key)
        if found is not None:
            self._add("hits")
            return found
        path = self._path(key)
        try:
            found = load_compiled(path, program, key=key)
        except InputError as error:
            is_missing = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
            self._add("misses" if is_missing else "rebuilt")
            return None
        self._add("hits")
        return found

    def _add(self, name: str, amount: float = 1) -> None:
        total = getattr(self.statistics, name) + amount
        self.statistics = replace(self.statistics, **{name: total})

    def _remember(self, key: str, compiled: CompiledProgram) -> None:
        self._recent[key] = compiled
        self._recent.move_to_end(key)
        while len(self._recent) > self._num_recent:
            self._recent.popitem(last=False)

    def _save(self, key: str, compiled: CompiledProgram) -> None:
        try:
            save_compiled(compiled, self._path(key), key=key)
        except Exception as error:  # whatever it is, the result must not be lost with it
            if not self._has_warned:
                self._has_warned = True
                text = f"compiled programs are not kept (QRNN_CACHE names their folder): {error}"
                warnings.warn(text, stacklevel=3)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.qrnn"

    def _files(self) -> Iterator[Path]:
        try:
            paths = list(self.folder.iterdir())
        except OSError:
            return
        yield from (path for path in paths if _OUR_FILE.fullmatch(path.name))


def default_cache_folder() -> Path:
    """The folder named by the environment variable `QRNN_CACHE`, else the user's cache folder.

    Example:
        >>> default_cache_folder().is_dir() or not default_cache_folder().exists()
        True
    """
    named = os.environ.get("QRNN_CACHE")
    return Path(named).expanduser() if named else user_cache_path("qrnn_qiskit")


def compilation_key(
    program: SequenceProgram, device: DeviceTarget, profile: TranspileProfile
) -> str:
    """Content hash of everything that decides what a compilation gives, 64 hex digits.

    Beside program, calibration and settings these are what `read_target` left out of the device,
    the versions of Qiskit and of this package, and the source of the compiler, which changes
    more often than the version.

    Cost:
        `program_id` writes the logical circuit as OpenQASM 3, once for each program object:
        0.3 s for sim14 with 8 qubits and 64 timesteps, 0.8 s for brick with 12 and 500.
    """
    content = {
        "format_version": storage.FORMAT_VERSION,
        "program": program.program_id,
        "snapshot": device.snapshot_id,
        "device": device.name,
        "instructions": sorted(device.target.operation_names),
        "unusable": list(device.unusable),
        "profile": profile.profile_id,
        "qiskit": qiskit.__version__,
        "qrnn_qiskit": version("qrnn-qiskit"),
        "source": _SOURCE_ID,
    }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # cleared by another process
        return 0
