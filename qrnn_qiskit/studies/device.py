"""A device and the profile that circuits are compiled with for it, by their names."""

from dataclasses import dataclass
from functools import lru_cache

from qiskit.providers import BackendV2

from qrnn_qiskit.analysis import schedule_compiled
from qrnn_qiskit.compiling import (
    CompiledProgram,
    TranspileProfile,
    choose_profile,
    compile_program,
    load_profile,
)
from qrnn_qiskit.compiling.cache import CacheStatistics, CompileCache
from qrnn_qiskit.costing import Schedule
from qrnn_qiskit.devices import DeviceTarget, is_served, load_backend, read_target
from qrnn_qiskit.devices.target import FRACTIONAL_GATES
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import SequenceProgram


@dataclass(frozen=True, eq=False)
class CompilerDevice:
    """A backend as a profile's compiler sees it.

    Attributes:
        backend: where the numbers come from.
        target: what may be used of it.
        profile: how circuits are compiled for it.
    """

    backend: BackendV2
    target: DeviceTarget
    profile: TranspileProfile

    def compile(self, program: SequenceProgram) -> CompiledProgram:
        """The program's circuit on this device with this profile, from the cache if it is there."""
        return _open_cache().get_or_compile(program, self.target, self.profile)

    def compile_afresh(self, program: SequenceProgram) -> CompiledProgram:
        """The same without the cache, to see what compiling takes."""
        return compile_program(program, self.target, self.profile)

    def schedule(self, compiled: CompiledProgram) -> Schedule:
        """When everything in a circuit compiled for this device happens."""
        return schedule_compiled(compiled, self.target, self.profile)


def open_device(backend: str | BackendV2, profile_name: str | None = None) -> CompilerDevice:
    """A device with a profile by name.

    Args:
        backend: name of a fake backend, a stored snapshot's path, or `ibm_*`; or a device of the
            service that has been fetched.
        profile_name: a shipped profile or a file; the one made for the device if none.

    Raises:
        InputError: if either is unknown, they do not fit each other, or the profile is for logical
            circuits.

    Example:
        >>> device = open_device("fake_boston")
        >>> device.target.two_qubit_gate, device.profile.name
        ('cz', 'heron')
    """
    profile = None if profile_name is None else load_profile(profile_name)
    if profile is not None and profile.layout == "logical":
        raise InputError(
            f"profile {profile.name}: layout must be 'search' or 'preset' for a device, got "
            "'logical'; choose another profile, see qrnn profile ls"
        )
    return _open(backend, profile)


def compile_statistics() -> CacheStatistics:
    """How many circuits this process has compiled for devices so far, and how many it found."""
    return _open_cache().statistics


@lru_cache(maxsize=32)
def _open(source: str | BackendV2, profile: TranspileProfile | None) -> CompilerDevice:
    fractional = profile is not None and profile.fractional_gates
    if isinstance(source, str):
        backend, takes_jobs = _load_backend(source), is_served(source)
    else:
        backend, takes_jobs = source, True
    lacks = set(FRACTIONAL_GATES) - set(backend.target.operation_names)
    # For a simulation they are assumed; jobs with them would be refused.
    if fractional and lacks and takes_jobs:
        raise InputError(
            f"profile: must not have fractional gates that the device lacks, {backend.name} lacks "
            f"{' and '.join(sorted(lacks))}; choose another profile, see qrnn profile ls"
        )
    target = read_target(
        backend,
        fractional_gates=fractional,
        excluded_qubits=() if profile is None else profile.excluded_qubits,
    )
    if profile is None:
        num_neighbours = max(len(others) for others in target.neighbours)
        profile = choose_profile(target.two_qubit_gate, num_neighbours)
    return CompilerDevice(backend, target, profile)


@lru_cache(maxsize=16)
def _load_backend(backend_name: str) -> BackendV2:
    return load_backend(backend_name)


@lru_cache(maxsize=1)
def _open_cache() -> CompileCache:
    return CompileCache()
