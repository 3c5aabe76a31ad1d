"""Where a trained model can run: an executor, and the compiler that fits it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from qiskit.providers import BackendV2

from qrnn_qiskit.compiling import CompiledProgram, compile_for_backend, compile_logical
from qrnn_qiskit.devices import load_fake_backend, read_noise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, Executor
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.spec import AerSpec


@dataclass(frozen=True)
class AerTarget:
    """An executor and the compiler that fits it."""

    label: str
    executor: Executor
    compile_program: Callable[[SequenceProgram], CompiledProgram]
    is_noisy: bool


def build_ideal_target(spec: AerSpec) -> AerTarget:
    """Aer without noise, on the logical circuit."""
    executor = AerExecutor(device=spec.device)
    return AerTarget("Aer ideal", executor, compile_logical, is_noisy=False)


def build_noisy_target(spec: AerSpec) -> AerTarget:
    """Aer with readout and gate errors of a device, on the circuit compiled for it.

    Example:
        >>> build_noisy_target(AerSpec(backend="fake_boston")).label
        'Aer fake_boston'
    """
    backend = _load_backend(spec.backend)

    def compile_program(program: SequenceProgram) -> CompiledProgram:
        return _compile(program, spec.backend, spec.optimization_level, spec.seed)

    executor = AerExecutor(
        lambda compiled: read_noise(backend, compiled.physical_qubits), device=spec.device
    )
    return AerTarget(f"Aer {spec.backend}", executor, compile_program, is_noisy=True)


def check_target(spec: AerSpec, program: SequenceProgram) -> None:
    """Refuses a backend that cannot run a program, before anything is spent on training.

    Raises:
        InputError: if the backend is unknown, too small or without the instructions needed.
    """
    # The shortest prefix that holds every instruction, branches included, compiles in no time.
    shortest = min(program.num_timesteps, 2 + program.cell.feedback_delay)
    try:
        build_noisy_target(spec).compile_program(program.prefix(shortest))
    except InputError as error:
        raise InputError(f"aer.{error}") from error


# A study asks for the same circuit several times: before, in and after training on a device.
_load_backend = lru_cache(maxsize=8)(load_fake_backend)


@lru_cache(maxsize=64)
def _compile(
    program: SequenceProgram, backend_name: str, optimization_level: int, seed: int
) -> CompiledProgram:
    backend: BackendV2 = _load_backend(backend_name)
    return compile_for_backend(program, backend, optimization_level=optimization_level, seed=seed)
