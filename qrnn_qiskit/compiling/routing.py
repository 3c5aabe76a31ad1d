"""Compilation with swaps: windows whose qubits end where they began, so that they repeat.

Qiskit lays out and routes a window of one or two timesteps, over several seeds. Where its qubits
end up elsewhere, swaps bring them back, and the optimiser joins them with what stands before.
The length whose steady window has the fewest entangling gates and layers a timestep is kept, and
only then the other kinds of windows are routed from its layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from qiskit import QuantumCircuit
from rustworkx import PyGraph, graph_token_swapper

from qrnn_qiskit.compiling.isa import fence, remove_fences, translate
from qrnn_qiskit.compiling.preset import active_qubits
from qrnn_qiskit.compiling.profile import TranspileProfile
from qrnn_qiskit.compiling.tiling import plan_windows
from qrnn_qiskit.compiling.windows import Candidate, Compilation
from qrnn_qiskit.costing.depth import count_gates
from qrnn_qiskit.devices import DeviceTarget
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.program.circuit import CircuitForm, build_window


def find_routing(
    program: SequenceProgram, device: DeviceTarget, profile: TranspileProfile
) -> list[Candidate]:
    """The routed compilation of the better window length; none if the program has no place."""
    routers = []
    # A window has to hold every bank, or its layout would not know where to put them.
    num_banks = program.cell.num_banks
    for length in (1, 2) if num_banks == 1 else (num_banks,):
        form = CircuitForm(profile.readout_gate, num_banks)
        work = Compilation(program, device, profile, form, length)
        window = _steady_window(work)
        routers += [(_Router(work, layout), window) for layout in _find_layout(work, window)]
    if not routers:
        return []
    router, _ = min(
        routers, key=lambda entry: _effort(entry[0](entry[1])) / entry[0].work.window_length
    )
    templates = router.work.build_templates(router)
    found = []
    for choice in router.work.with_either_measurement():
        named = choice.name_instructions(templates)
        loss = choice.loss_per_timestep(choice.sample(named), router.physical_qubits)
        found.append(Candidate(choice, router.physical_qubits, router, named, loss))
    return [min(found, key=lambda candidate: candidate.loss)]


def _steady_window(work: Compilation) -> QuantumCircuit:
    """The last window but one: it has all its branches and no final measurement."""
    windows = plan_windows(work.program, work.form.num_banks, work.window_length)
    return build_window(work.program, windows[max(len(windows) - 2, 0)][1], work.form)


def _find_layout(work: Compilation, window: QuantumCircuit) -> list[tuple[int, ...]]:
    """Where the best seed puts a window, if any does."""
    fenced = fence(window)
    layouts = {}
    for seed in work.profile.seeds:
        try:
            wide = translate(
                fenced,
                work.device.target,
                work.device.name,
                optimization_level=work.profile.optimization_level,
                seed=seed,
            )
        except InputError:
            continue
        first = tuple(wide.layout.initial_index_layout(filter_ancillas=True))
        last = tuple(wide.layout.final_index_layout(filter_ancillas=True))
        active = {q for item in wide.data for q in active_qubits(wide, item)} | {*first, *last}
        moved = sum(a != b for a, b in zip(first, last, strict=True))
        layouts[_effort(wide) + 3 * moved, seed] = (*first, *sorted(active - {*first}))
    return [layouts[min(layouts)]] if layouts else []


@dataclass(eq=False)
class _Router:
    """Compiles windows so that every qubit ends where it began: a `CompileWindow`."""

    work: Compilation
    physical_qubits: tuple[int, ...]
    # By classical registers, which tell windows of one program and length apart.
    known: dict[tuple[str, ...], QuantumCircuit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target = self.work.device.restrict(self.physical_qubits)
        place = {physical: index for index, physical in enumerate(self.physical_qubits)}
        self.graph = PyGraph(multigraph=False)
        self.graph.add_nodes_from(range(len(place)))
        self.graph.add_edges_from_no_data(
            [(place[a], place[b]) for a, b in self.work.device.edges if a in place and b in place]
        )

    def __call__(self, window: QuantumCircuit) -> QuantumCircuit:
        key = tuple(register.name for register in window.cregs)
        if key not in self.known:
            attempts = [self.route(window, seed) for seed in self.work.profile.seeds]
            self.known[key] = min(attempts, key=_effort)
        return self.known[key]

    def route(self, window: QuantumCircuit, seed: int) -> QuantumCircuit:
        """One seed's routing, closed unless the final measurement ends it."""
        level = self.work.profile.optimization_level
        routed = translate(
            fence(window),
            self.target,
            self.work.device.name,
            optimization_level=level,
            seed=seed,
            initial_layout=range(self.work.num_program_qubits),
        )
        bare = remove_fences(routed)
        if any(register.name == "final" for register in window.cregs):
            return bare
        last = routed.layout.final_index_layout()
        if last == [*range(len(last))]:
            return bare
        # From level 2 on Qiskit would undo just this: it turns swaps into a relabelling.
        closed = translate(
            fence(_bring_back(bare, last, self.graph, seed)),
            self.target,
            self.work.device.name,
            optimization_level=min(level, 1),
            seed=seed,
            initial_layout=range(len(self.physical_qubits)),
        )
        assert closed.layout.final_index_layout() == [*range(len(self.physical_qubits))]
        return remove_fences(closed)


def _bring_back(
    circuit: QuantumCircuit, final_layout: Sequence[int], graph: PyGraph, seed: int
) -> QuantumCircuit:
    """Swaps that bring qubit i from `final_layout[i]` back to i."""
    # Those in place are named, too: what is not named may be left anywhere.
    tokens = {place: qubit for qubit, place in enumerate(final_layout)}
    closed = circuit.copy()
    for first, second in graph_token_swapper(graph, tokens, trials=20, seed=seed):
        closed.swap(first, second)
    return closed


def _effort(circuit: QuantumCircuit) -> int:
    """Entangling gates and layers of them, branches included."""
    counts = count_gates(circuit)
    return counts.num_two_qubit + counts.two_qubit_depth
