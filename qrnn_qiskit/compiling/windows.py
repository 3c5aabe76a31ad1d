"""A program's windows compiled for one device, and the loss of a short sequence of them."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

from qiskit import QuantumCircuit

from qrnn_qiskit.compiling.angles import AngleMap
from qrnn_qiskit.compiling.isa import rename_mid_circuit
from qrnn_qiskit.compiling.profile import TranspileProfile
from qrnn_qiskit.compiling.tiling import CompileWindow, WindowTemplate, compile_templates, tile
from qrnn_qiskit.costing.loss import PlacedDevice, Uses, estimate_loss
from qrnn_qiskit.costing.schedule import Schedule, build_schedule
from qrnn_qiskit.devices import DeviceTarget
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm

# Candidates are compared on so many timesteps, shorter sequences on the whole: there the first
# timesteps, when no bank has to be waited for, and the final measurement decide, too.
_FEWEST_TIMESTEPS = 12

Templates = dict[Hashable, WindowTemplate]


@dataclass(frozen=True)
class Compilation:
    """What is compiled, for which device, and how.

    Attributes:
        program: the sequence.
        device: read with the profile's options.
        profile: settings.
        form: how circuits are written.
        window_length: timesteps in a window.
        fast_measure: whether mid-circuit measurements are the device's faster ones.
    """

    program: SequenceProgram
    device: DeviceTarget
    profile: TranspileProfile
    form: CircuitForm
    window_length: int = 1
    fast_measure: bool = False

    @property
    def num_program_qubits(self) -> int:
        """Memory and readout qubits: all but spares and those that only swaps use."""
        cell = self.program.cell
        return cell.ansatz.num_memory + cell.num_readouts * self.form.num_banks

    def build_templates(self, compile_window: CompileWindow) -> Templates:
        """One compiled window of each kind, with plain `measure` and `reset`."""
        return compile_templates(
            self.program,
            self.form,
            self.window_length,
            compile_window,
            fold=self.profile.fractional_gates,
        )

    def name_instructions(self, templates: Templates) -> Templates:
        """The same windows with the device's mid-circuit measurement and reset."""
        measure = self.device.measure_name(self.fast_measure)
        reset = self.device.reset_name(self.profile.fast_reset)
        return {
            kind: replace(
                template,
                circuit=rename_mid_circuit(template.circuit, self.device.target, measure, reset),
            )
            for kind, template in templates.items()
        }

    def with_either_measurement(self) -> "tuple[Compilation, ...]":
        """This compilation with each mid-circuit measurement that the profile allows.

        The faster one misreads more on some devices; which loses less, a schedule has to say.
        """
        has_fast = self.device.measure_name(self.profile.fast_measure) != "measure"
        return tuple(replace(self, fast_measure=fast) for fast in ((False, True)[: 1 + has_fast]))

    def tile(
        self, templates: Templates, num_timesteps: int | None = None
    ) -> tuple[QuantumCircuit, AngleMap]:
        """The circuit of the sequence, or of about its first timesteps."""
        num_qubits = next(iter(templates.values())).circuit.num_qubits
        length = self.window_length
        max_windows = None if num_timesteps is None else -(-num_timesteps // length)
        return tile(self.program, num_qubits, self.form.num_banks, length, templates, max_windows)

    @property
    def num_sample_timesteps(self) -> int:
        """Timesteps that candidates are compared on: all, or enough to show the steady state."""
        cell = self.program.cell
        steady = cell.feedback_delay + cell.history + 4 * (cell.num_banks + 1)
        # A multiple of 2, the longest window that is repeated.
        return min(self.program.num_timesteps, max(_FEWEST_TIMESTEPS, steady + steady % 2))

    def sample(self, templates: Templates) -> QuantumCircuit:
        """A short circuit to compare placements on."""
        return self.tile(templates, self.num_sample_timesteps)[0]

    def build_schedule(self, circuit: QuantumCircuit, physical_qubits: tuple[int, ...]) -> Schedule:
        """When everything happens if circuit qubits are put on these device qubits."""
        return build_schedule(
            circuit,
            PlacedDevice(self.device, physical_qubits),
            feedforward_latency_ns=self.profile.feedforward_latency_ns,
        )

    def loss_per_timestep(
        self, sample: QuantumCircuit, physical_qubits: tuple[int, ...], uses: Uses | None = None
    ) -> float:
        """Lambda per timestep of a sample, if circuit qubits are put on these device qubits."""
        loss = estimate_loss(
            sample,
            PlacedDevice(self.device, physical_qubits),
            self.build_schedule(sample, physical_qubits),
            resting_qubits=range(self.num_program_qubits, sample.num_qubits),
            uses=uses,
        )
        return loss.total / self.num_sample_timesteps


@dataclass(frozen=True, eq=False)
class Candidate:
    """Windows compiled for a place, ready to be repeated.

    Attributes:
        compilation: of what.
        physical_qubits: device qubit of each circuit qubit.
        compile_window: how windows were compiled there.
        templates: a compiled window of each kind, instructions named.
        loss: lambda per timestep of the steady state.
    """

    compilation: Compilation
    physical_qubits: tuple[int, ...]
    compile_window: CompileWindow
    templates: Templates
    loss: float

    def compile_whole(self) -> "Candidate":
        """The same place with the sequence compiled as a single window."""
        whole = replace(self.compilation, window_length=self.compilation.program.num_timesteps)
        templates = whole.name_instructions(whole.build_templates(self.compile_window))
        return replace(self, compilation=whole, templates=templates)
