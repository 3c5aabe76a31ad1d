"""Where a trained model can run: an executor, and the compiler that fits it."""

from collections.abc import Callable
from dataclasses import dataclass

from qrnn_qiskit.compiling import CompiledProgram, compile_logical
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, Executor, noise_for
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.device import open_device
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
    """Aer with a device's errors, waiting included, on the circuit compiled for it.

    Example:
        >>> build_noisy_target(AerSpec(backend="fake_boston")).label
        'Aer fake_boston'
    """
    device = open_device(spec.backend, spec.profile)
    executor = AerExecutor(
        lambda compiled: noise_for(compiled, device.backend),
        idling=device.schedule,
        device=spec.device,
    )
    return AerTarget(f"Aer {spec.backend}", executor, device.compile, is_noisy=True)


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
