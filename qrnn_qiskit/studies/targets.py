"""Where a trained model can run: an executor, and the compiler that fits it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from qrnn_qiskit.compiling import CompiledProgram, compile_logical
from qrnn_qiskit.devices import NoiseFactors, scale_noise
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.execution import AerExecutor, Executor, noise_for
from qrnn_qiskit.learning.noisy_engine import NoisyExactEngine
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.device import CompilerDevice, open_device
from qrnn_qiskit.studies.noise_spec import NoiseSpec
from qrnn_qiskit.studies.spec import AerSpec, RuntimeSpec


@dataclass(frozen=True)
class SamplingTarget:
    """An executor, the compiler that fits it, and what the reader of its numbers must know.

    Attributes:
        label: for tables and figures.
        executor: who runs shots.
        compile_program: for the executor.
        is_noisy: whether there are readout errors to mitigate.
        remarks: values of the device that were missing or absurd, and what was taken instead, for
            the qubits that a program is compiled to.
        rows_per_request: samples run between two signs of progress; all at once if None. Results
            depend on it by their seeds only.
    """

    label: str
    executor: Executor
    compile_program: Callable[[SequenceProgram], CompiledProgram]
    is_noisy: bool
    remarks: Callable[[SequenceProgram], tuple[str, ...]] = lambda program: ()
    rows_per_request: int | None = 20


def build_ideal_target(spec: AerSpec) -> SamplingTarget:
    """Aer without noise, on the logical circuit."""
    executor = AerExecutor(device=spec.device)
    return SamplingTarget("Aer ideal", executor, compile_logical, is_noisy=False)


def build_noisy_target(spec: AerSpec) -> SamplingTarget:
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
    return SamplingTarget(
        f"Aer {device.target.name}", executor, device.compile, True, partial(read_remarks, device)
    )


def read_remarks(device: CompilerDevice, program: SequenceProgram) -> tuple[str, ...]:
    """Values of the qubits that a program is compiled to which were missing or absurd."""
    found = noise_for(device.compile(program), device.backend).remarks
    return tuple(f"{device.target.name}, {remark}" for remark in found)


def build_noisy_engine(spec: NoiseSpec) -> NoisyExactEngine:
    """Exact readouts with a device's errors, waiting included: what noisy Aer samples.

    Example:
        >>> build_noisy_engine(NoiseSpec(snapshot="fake_boston")).idling is not None
        True
    """
    device = open_device(spec.snapshot, spec.profile)
    factors = NoiseFactors.of(spec.ablation, spec.scale)
    return NoisyExactEngine(
        lambda compiled: scale_noise(noise_for(compiled, device.backend), factors),
        device.compile,
        device.schedule,
    )


def check_target(spec: AerSpec | RuntimeSpec | NoiseSpec, program: SequenceProgram) -> None:
    """Refuses a backend that cannot run a program, before anything is spent on training.

    Raises:
        InputError: if the backend is unknown, too small or without the instructions needed.
    """
    # The shortest prefix that holds every instruction, branches included, compiles in no time.
    shortest = min(program.num_timesteps, 2 + program.cell.feedback_delay)
    section = {AerSpec: "aer", RuntimeSpec: "runtime", NoiseSpec: "noise"}[type(spec)]
    try:
        if isinstance(spec, AerSpec):
            compile_program = build_noisy_target(spec).compile_program
        elif isinstance(spec, RuntimeSpec):
            compile_program = open_device(spec.backend, spec.profile).compile
        else:
            compile_program = build_noisy_engine(spec).compile_program
        compile_program(program.prefix(shortest))
    except InputError as error:
        raise InputError(f"{section}.{error}") from error
