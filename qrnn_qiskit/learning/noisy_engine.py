"""Readouts of a noisy device without shots: training that knows what it will meet."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from qrnn_qiskit.compiling import CompiledProgram, compile_logical
from qrnn_qiskit.costing import Schedule
from qrnn_qiskit.devices import DeviceNoise
from qrnn_qiskit.learning.engines import HostSession, PrefixHostSession
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate.noisy import NoisyPlan, build_noisy_plan, noisy_features


@dataclass
class NoisyExactEngine:
    """Exact expectations of what a noisy device records, by autograd.

    The same circuit, schedule and errors as `AerExecutor` with these arguments, so that shots of a
    trained model scatter around what it was trained on. Readout errors are not mitigated. Each
    program (in the `host` loop: each prefix) is compiled and planned once, when it is first run.

    Args:
        noise: of a compiled circuit's qubits, or a function that gives it, for example
            `lambda compiled: noise_for(compiled, backend)`.
        compile_program: for the device; the logical circuit unless given.
        idling: gives the schedule of a compiled circuit; no qubit waits without it.

    Example:
        >>> import torch
        >>> from qrnn_qiskit.devices import QubitNoise
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> engine = NoisyExactEngine(DeviceNoise("planted", (QubitNoise(0.1, 0.1),) * 3, ()))
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 1)
        >>> controls = torch.zeros(1, program.num_controls)
        >>> controls[:, -1] = torch.pi / 2
        >>> engine.run(program, controls).round(decimals=3)
        tensor([[0.8000, 0.8000, 0.8000]])
    """

    noise: DeviceNoise | Callable[[CompiledProgram], DeviceNoise]
    compile_program: Callable[[SequenceProgram], CompiledProgram] = compile_logical
    idling: Callable[[CompiledProgram], Schedule] | None = None
    _plans: dict[SequenceProgram, NoisyPlan] = field(default_factory=dict, repr=False)

    def plan(self, program: SequenceProgram) -> NoisyPlan:
        """The plan of a program, compiled at first use."""
        # By value: an id would compile every host prefix again at every step.
        if program not in self._plans:
            compiled = self.compile_program(program)
            noise = self.noise if isinstance(self.noise, DeviceNoise) else self.noise(compiled)
            schedule = None if self.idling is None else self.idling(compiled)
            self._plans[program] = build_noisy_plan(compiled, noise, schedule)
        return self._plans[program]

    def run(self, program: SequenceProgram, controls: Tensor) -> Tensor:
        """See `SequenceEngine.run`.

        Raises:
            InputError: see `build_noisy_plan` and `run_noisy`.
        """
        return noisy_features(self.plan(program), controls)

    def start_host(self, program: SequenceProgram, batch_size: int, like: Tensor) -> HostSession:
        """See `SequenceEngine.start_host`.

        Cost: the prefix of length t is computed again for every t, as it runs on a device.
        """
        return PrefixHostSession(self, program)
