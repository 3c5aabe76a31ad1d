"""The compiler against Qiskit's preset level 3 and pytket: gates, depth, expected loss, seconds.

Compiles feedforward cells with steered rotations for the fake_boston snapshot; the compilers take
turns in one process. Only the compiling differs: same program, usable qubits, edges and names of
measurements and resets, and `build_report` counts and rates every circuit, with branches walked.
Before anything is timed, small circuits of every compiler must give each record the same
probability. Each gets as many repeats as fit `--budget` seconds, at least one. Timed is:

- ours: `compile_program` with the profile `heron`, map from slots to angles included.
- level 3: Qiskit's preset pass manager alone, one seed.
- level 3 xN: the best by expected loss of N seeds, in the time of all N (choosing is not timed).
- pytket: the passes that pytket-qiskit takes by default for IBM's devices, `NoiseAwarePlacement`
  with the snapshot's errors included; where a circuit is refused, a milder flow. It reads OpenQASM
  2, hence random angles are bound before; reading is not timed.

Ratios are ours / the row's compiler: below 1 ours is better. README.md has the environment.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import qiskit
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import IfElseOp, Measure, Reset
from qiskit.circuit.library import CZGate, RZGate, SXGate, XGate

from qrnn_qiskit.analysis import build_report
from qrnn_qiskit.compiling import (
    CompiledProgram,
    TranspileProfile,
    compile_program,
    load_profile,
    transport,
)
from qrnn_qiskit.compiling.angles import extract_angles
from qrnn_qiskit.compiling.compiled import find_measured_qubits
from qrnn_qiskit.compiling.isa import rename_mid_circuit, translate
from qrnn_qiskit.compiling.preset import compact
from qrnn_qiskit.devices import DeviceTarget, load_fake_backend, read_target
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from tests.reference.branch_enumeration import enumerate_records

FORMAT_VERSION = 1
BACKEND = "fake_boston"
ANCHORS = (0, 2)
# Enough for moving qubits, branches and spare qubits, and small enough to enumerate branches.
CHECK_QUBITS, CHECK_TIMESTEPS = 4, 2
# Rounding of a few hundred gates leaves 1e-14; 0.01 rad in one angle changes some record's
# probability by 5e-5 or more, unless it is that of a diagonal gate before the last measurement.
AGREEMENT_ATOL = 1e-9
METRICS = ("two_qubit_gates", "two_qubit_depth", "loss", "seconds")


class Refused(Exception):  # noqa: N818
    """A compiler does not take a circuit; the message says why."""


@dataclass(frozen=True)
class Case:
    ansatz: str
    num_memory: int
    num_readouts: int
    num_timesteps: int

    def __str__(self) -> str:
        return f"{self.ansatz} n={self.num_memory} a={self.num_readouts} T={self.num_timesteps}"

    def make_program(self) -> SequenceProgram:
        readouts = tuple(Readout("Z", anchor) for anchor in ANCHORS[: self.num_readouts])
        return SequenceProgram(
            CellSpec(Ansatz(self.ansatz, self.num_memory), readouts), self.num_timesteps
        )


@dataclass
class Result:
    """One compiler on one case: its circuit in numbers, or why it was refused."""

    compiler: str
    case: Case
    step_seconds: list[float] = field(default_factory=list)
    two_qubit_gates: int = 0
    two_qubit_depth: int = 0
    loss: float = 0.0
    note: str = ""
    refused: str = ""

    @property
    def seconds(self) -> float:
        return statistics.median(self.step_seconds)

    def ratios_to(self, other: Result) -> list[float]:
        return [getattr(self, metric) / getattr(other, metric) for metric in METRICS]


class Compiler:
    """One way to compile. `prepare` and `finish` are not timed, `run` is.

    `finish` returns the compiled program and a note for the table.
    """

    def __init__(self, name: str, device: DeviceTarget, profile: TranspileProfile) -> None:
        self.name, self.device, self.profile = name, device, profile

    def prepare(self, program: SequenceProgram, slot_values: np.ndarray) -> Any:
        return program

    def run(self, prepared: Any) -> Any:
        raise NotImplementedError

    def finish(self, program: SequenceProgram, result: Any) -> tuple[CompiledProgram, str]:
        raise NotImplementedError

    def wrap(
        self,
        program: SequenceProgram,
        circuit: QuantumCircuit,
        physical_qubits: tuple[int, ...],
    ) -> CompiledProgram:
        """Another compiler's circuit with the device's names of measurements and resets."""
        slot_index = {name: index for index, name in enumerate(program.slots.names)}
        renamed = rename_mid_circuit(
            circuit,
            self.device.target,
            self.device.measure_name(self.profile.fast_measure),
            self.device.reset_name(self.profile.fast_reset),
        )
        plain, angles = extract_angles(renamed, slot_index, fold=self.profile.fractional_gates)
        return CompiledProgram(
            program=program,
            circuit=plain,
            parameter_names=angles.names,
            matrix=angles.matrix(program.slots.num_slots),
            constants=angles.constants,
            folds=angles.folds,
            physical_qubits=physical_qubits,
            bit_to_qubit=find_measured_qubits(plain),
            target_name=self.device.name,
            profile_name=self.profile.name,
        )


class Ours(Compiler):
    def run(self, prepared: SequenceProgram) -> CompiledProgram:
        # Its tables for moving qubits would be ready from the repeat before.
        transport._steps.cache_clear()
        return compile_program(prepared, self.device, self.profile)

    def finish(
        self, program: SequenceProgram, result: CompiledProgram
    ) -> tuple[CompiledProgram, str]:
        if result.form.plans:
            way = "moving"
        elif result.num_swaps:
            way = "routed"
        else:
            way = "fixed" if not result.form.num_spares else "spares"
        return result, way


class PresetLevel3(Compiler):
    """Qiskit's preset pass manager with each seed of the profile; `finish` takes the best."""

    def prepare(self, program: SequenceProgram, slot_values: np.ndarray) -> QuantumCircuit:
        return program.circuit

    def run(self, prepared: QuantumCircuit) -> list[QuantumCircuit]:
        return [
            translate(
                prepared,
                self.device.target,
                self.device.name,
                optimization_level=self.profile.optimization_level,
                seed=seed,
            )
            for seed in self.profile.seeds
        ]

    def finish(
        self, program: SequenceProgram, result: list[QuantumCircuit]
    ) -> tuple[CompiledProgram, str]:
        found = [self.wrap(program, *compact(wide)) for wide in result]
        best = min(found, key=lambda one: build_report(one, self.device, self.profile).loss.total)
        return best, ""


class Pytket(Compiler):
    """What pytket-qiskit's default pass does at its level 2, or 1 where that is refused."""

    def __init__(
        self, device: DeviceTarget, profile: TranspileProfile, placement_name: str
    ) -> None:
        from pytket import passes
        from pytket.architecture import Architecture
        from pytket.circuit import Node, OpType
        from pytket.placement import GraphPlacement, LinePlacement, NoiseAwarePlacement

        super().__init__("pytket", device, profile)
        self.placement_name = placement_name
        measure_name = device.measure_name(profile.fast_measure)
        qubits = device.usable_qubits
        architecture = Architecture(sorted(device.edges))
        placement: Any
        if placement_name == "noise":
            placement = NoiseAwarePlacement(
                architecture,
                {Node(qubit): device.error("sx", (qubit,)) for qubit in qubits},
                {(Node(a), Node(b)): device.error("cz", (a, b)) for a, b in device.edges},
                {Node(qubit): device.error(measure_name, (qubit,)) for qubit in qubits},
            )
        else:
            placement = {"graph": GraphPlacement, "line": LinePlacement}[placement_name](
                architecture
            )
        mapping = passes.CXMappingPass(
            architecture, placement, directed_cx=False, delay_measures=False
        )
        after = [
            passes.KAKDecomposition(allow_swaps=False),
            passes.CliffordSimp(False),
            passes.SynthesiseTket(),
        ]
        basis = [
            passes.AutoRebase({OpType.CZ, OpType.Rz, OpType.SX, OpType.X}),
            passes.RemoveRedundancies(),
        ]
        first = passes.DecomposeBoxes()
        light = passes.SynthesiseTket()
        self.flows = {
            "FullPeepholeOptimise": [
                first, passes.FullPeepholeOptimise(), mapping, *after, *basis
            ],
            "SynthesiseTket": [first, light, mapping, light, *basis],
        }  # fmt: skip

    def describe_flows(self) -> str:
        flows = (
            ", ".join(each.to_dict()["StandardPass"]["name"] for each in flow)
            for flow in self.flows.values()
        )
        return f"pytket, {self.placement_name} placement: " + "; where refused: ".join(flows)

    def prepare(self, program: SequenceProgram, slot_values: np.ndarray) -> Any:
        from pytket.qasm import circuit_from_qasm_str

        values = dict(zip(program.slots.names, slot_values[0].tolist(), strict=True))
        return circuit_from_qasm_str(write_qasm2(program.circuit.assign_parameters(values)))

    def run(self, prepared: Any) -> tuple[Any, str]:
        """The circuit, and the name of the first flow that takes it.

        Raises:
            Refused: if none does.
        """
        refusals = []
        for name, passes in self.flows.items():
            circuit = prepared.copy()
            try:
                for each in passes:
                    each.apply(circuit)
            except RuntimeError as error:
                refusals.append(f"{name}: {error}")
            else:
                return circuit, name
        raise Refused("; ".join(refusals))

    def finish(
        self, program: SequenceProgram, result: tuple[Any, str]
    ) -> tuple[CompiledProgram, str]:
        circuit, flow = result
        wide = read_pytket(circuit, program.circuit.cregs, self.device.num_qubits)
        unknown = {
            pair
            for item in wide.data
            if len(pair := tuple(sorted(wide.find_bit(q).index for q in item.qubits))) == 2
        } - self.device.edges
        if unknown:
            raise ValueError(f"pytket's circuit must keep to edges, got {sorted(unknown)}.")
        return self.wrap(program, *compact(wide)), flow


def write_qasm2(circuit: QuantumCircuit) -> str:
    """OpenQASM 2 of a circuit with numbers for angles; each gate of a branch has the condition."""
    bit_names = {
        bit: f"{register.name}[{index}]"
        for register in circuit.cregs
        for index, bit in enumerate(register)
    }
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{circuit.num_qubits}];"]
    lines += [f"creg {register.name}[{register.size}];" for register in circuit.cregs]

    def add(body: QuantumCircuit, qubits: Sequence[int], condition: str) -> None:
        place = dict(zip(body.qubits, qubits, strict=True))
        for item in body.data:
            operation = item.operation
            used = [place[qubit] for qubit in item.qubits]
            if operation.name == "if_else":
                register, value = operation.condition
                add(operation.blocks[0], used, f"if({register.name}=={value}) ")
                continue
            angles = ",".join(f"{float(angle):.15f}" for angle in operation.params)
            names = ",".join(f"q[{qubit}]" for qubit in used)
            name = f"{operation.name}({angles})" if angles else operation.name
            target = f" -> {bit_names[item.clbits[0]]}" if item.clbits else ""
            lines.append(f"{condition}{name} {names}{target};")

    add(circuit, range(circuit.num_qubits), "")
    return "\n".join(lines)


def read_pytket(
    circuit: Any, registers: Sequence[ClassicalRegister], num_qubits: int
) -> QuantumCircuit:
    """A routed pytket circuit in CZ, Rz, SX and X, over all qubits of the device.

    Conditional gates of one qubit that follow each other there and have one condition share a
    branch, as their forerunners did.
    """
    from pytket.circuit import OpType

    gates: dict[Any, Callable[[Any], Any]] = {
        OpType.CZ: lambda op: CZGate(),
        OpType.SX: lambda op: SXGate(),
        OpType.X: lambda op: XGate(),
        OpType.Rz: lambda op: RZGate(float(op.params[0]) * pi),
        OpType.Reset: lambda op: Reset(),
        OpType.Measure: lambda op: Measure(),
    }
    made = QuantumCircuit(QuantumRegister(num_qubits, "q"), *registers)
    register_named = {register.name: register for register in registers}
    open_branches: dict[int, tuple[tuple[str, int], QuantumCircuit]] = {}
    for command in circuit.get_commands():
        operation, qubits = command.op, [qubit.index[0] for qubit in command.qubits]
        condition = None
        if operation.type == OpType.Conditional:
            tested = command.args[: operation.width]
            register = register_named[tested[0].reg_name]
            if [bit.index[0] for bit in tested] != list(range(register.size)):
                raise ValueError(f"conditions must read whole registers, got {tested}.")
            condition, operation = (register.name, operation.value), operation.op
        if operation.type == OpType.Phase:
            continue
        gate = gates[operation.type](operation)
        if condition is not None and len(qubits) == 1:
            known, body = open_branches.get(qubits[0], (None, None))
            if known != condition:
                register = register_named[condition[0]]
                body = QuantumCircuit(QuantumRegister(1), register)
                open_branches[qubits[0]] = condition, body
                # The instruction refers to the body: what is appended to it later counts.
                made.append(IfElseOp((register, condition[1]), body), qubits, list(register))
            body.append(gate, [0])
            continue
        if condition is not None:
            raise ValueError(f"branches must hold one-qubit gates only, got {command}.")
        for qubit in qubits:
            open_branches.pop(qubit, None)
        bits = [register_named[bit.reg_name][bit.index[0]] for bit in command.bits]
        made.append(gate, qubits, bits)
    return made


def check_agreement(compilers: Sequence[Compiler], case: Case, seed: int) -> float:
    """The largest difference of a record's probability from the logical circuit's.

    Raises:
        ValueError: If it exceeds `AGREEMENT_ATOL`.
    """
    program, slot_values = case.make_program(), draw_slot_values(case, seed)
    values = dict(zip(program.slots.names, slot_values[0].tolist(), strict=True))
    expected = enumerate_records(program.circuit.assign_parameters(values)).probabilities
    largest = 0.0
    for compiler in compilers:
        try:
            prepared = compiler.prepare(program, slot_values)
            if isinstance(compiler, Pytket):
                made = compiler.finish(program, compiler.run(prepared))[0].circuit
            else:
                compiled, _ = compiler.finish(program, compiler.run(prepared))
                angles = compiled.bind_values(slot_values)[0].tolist()
                made = compiled.circuit.assign_parameters(
                    dict(zip(compiled.parameter_names, angles, strict=True))
                )
        except Refused:
            continue
        difference = float(np.max(np.abs(enumerate_records(made).probabilities - expected)))
        # Written so that NaN fails too.
        if not difference <= AGREEMENT_ATOL:
            raise ValueError(
                f"{compiler.name} must give records of {case} the logical circuit's "
                f"probabilities to {AGREEMENT_ATOL:g}, but differs by {difference:.3g}; fix it "
                "before timing."
            )
        largest = max(largest, difference)
    return largest


def draw_slot_values(case: Case, seed: int) -> np.ndarray:
    """Any angle for every slot, so that no compiler can use a special one."""
    size = (1, case.make_program().slots.num_slots)
    return np.random.default_rng(seed).uniform(-pi, pi, size)


def run_turns(
    turns: Sequence[tuple[Compiler, Case]], num_repeats: int, budget_seconds: float, seed: int
) -> list[Result]:
    """Lets compilers take turns, and rates what each made.

    A compiler gets `num_repeats` turns, or as many as fit the budget and at least one.
    """
    results = [Result(compiler.name, case) for compiler, case in turns]
    for round_index in range(num_repeats):
        for (compiler, case), result in zip(turns, results, strict=True):
            spent = result.step_seconds
            if result.refused or (spent and sum(spent) + max(spent) > budget_seconds):
                continue
            # Afresh every time: programs keep their circuits.
            program, slot_values = case.make_program(), draw_slot_values(case, seed)
            prepared = compiler.prepare(program, slot_values)
            gc.collect()
            start = time.perf_counter()
            try:
                made = compiler.run(prepared)
            except Refused as error:
                result.refused = str(error)
                continue
            result.step_seconds.append(time.perf_counter() - start)
            if round_index == 0:
                compiled, result.note = compiler.finish(program, made)
                report = build_report(compiled, compiler.device, compiler.profile)
                result.two_qubit_gates = report.counts.num_two_qubit
                result.two_qubit_depth = report.counts.two_qubit_depth
                result.loss = report.loss.total
    return results


def format_row(result: Result, ours: Result) -> str:
    case = result.case
    start = (
        f"{case.ansatz:<6}{case.num_memory:>3}{case.num_readouts:>3}{case.num_timesteps:>4} "
        f"{result.compiler:<12}"
    )
    if result.refused:
        return f"{start}refused: {result.refused}"
    ratios = "".join(f"{ratio:>7.2f}" for ratio in ours.ratios_to(result))
    return (
        f"{start}{result.two_qubit_gates:>6}{result.two_qubit_depth:>6}{result.loss:>8.3f}"
        f"{result.seconds:>8.2f}{len(result.step_seconds):>3} {ratios}  {result.note}"
    )


def print_summary(results: Sequence[Result], num_timesteps: int, num_long: int) -> None:
    made = {(one.compiler, one.case): one for one in results if not one.refused}
    lengths = [num_timesteps, num_long] if num_long else [num_timesteps]
    names = list(dict.fromkeys(one.compiler for one in results if one.compiler != "ours"))
    print("\nOurs / theirs: geometric mean, worst case, and in how many cases ours is worse")
    for length, name in product(lengths, names):
        pairs = [
            (made["ours", case], theirs)
            for (compiler, case), theirs in made.items()
            if compiler == name and case.num_timesteps == length
        ]
        if not pairs:
            continue
        print(f"  {name}, T={length}, {len(pairs)} cases")
        for index, metric in enumerate(METRICS):
            ratios = [ours.ratios_to(theirs)[index] for ours, theirs in pairs]
            worst = int(np.argmax(ratios))
            mean = float(np.exp(np.mean(np.log(ratios))))
            num_worse = sum(ratio > 1 + 1e-9 for ratio in ratios)
            print(
                f"    {metric:<16}{mean:>7.3f}   worst {ratios[worst]:.3f} "
                f"({pairs[worst][0].case})   worse in {num_worse}"
            )
    if num_long:
        print_growth(made, num_timesteps, num_long)


def print_growth(made: dict[tuple[str, Case], Result], num_timesteps: int, num_long: int) -> None:
    print(f"\nSeconds at T={num_long} over T={num_timesteps}")
    for name in dict.fromkeys(compiler for compiler, _ in made):
        growths: dict[str, list[tuple[float, Case]]] = {}
        for (compiler, case), short in made.items():
            long = made.get((name, replace(case, num_timesteps=num_long)))
            if compiler == name and case.num_timesteps == num_timesteps and long is not None:
                growth = min(long.step_seconds) / min(short.step_seconds)
                kind = "swap-free" if short.note in ("fixed", "spares") else short.note
                growths.setdefault(kind, []).append((growth, case))
        for kind, found in growths.items():
            mean = float(np.exp(np.mean([np.log(growth) for growth, _ in found])))
            worst, case = max(found, key=lambda one: one[0])
            print(
                f"  {f'{name}, {kind}' if kind else name:<18} {len(found):>2} cases: geometric "
                f"mean {mean:.2f}, worst {worst:.2f} ({case})"
            )


def make_compilers(
    profile: TranspileProfile, device: DeviceTarget, num_seeds: int, placement_name: str
) -> list[Compiler]:
    reference = load_profile("reference_sim14").model_copy(
        update={
            "ansatz": None,
            "fast_measure": profile.fast_measure,
            "fast_reset": profile.fast_reset,
            "fractional_gates": profile.fractional_gates,
            "feedforward_latency_ns": profile.feedforward_latency_ns,
        }
    )
    compilers: list[Compiler] = [
        Ours("ours", device, profile),
        PresetLevel3("level 3", device, reference),
    ]
    if num_seeds > 1:
        best_of = reference.model_copy(update={"seeds": tuple(range(num_seeds))})
        compilers.append(PresetLevel3(f"level 3 x{num_seeds}", device, best_of))
    if placement_name:
        compilers.append(Pytket(device, reference, placement_name))
    return compilers


def explain_pytket(profile: TranspileProfile, wanted: bool) -> str:
    """Why pytket does not take part; empty if it does."""
    if not wanted:
        return "pytket: left out"
    if profile.fractional_gates:
        return "pytket: left out, its flow here is for CZ"
    if importlib.util.find_spec("pytket") is None:
        return "pytket: not installed, see README.md; comparing with level 3 only"
    return ""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ansatze = ["sim14", "line", "brick"]
    parser.add_argument("--qubits", type=int, nargs="+", default=[4, 6, 8, 12])
    parser.add_argument("--ansatz", nargs="+", choices=ansatze, default=ansatze)
    parser.add_argument("--readouts", type=int, nargs="+", choices=[1, 2], default=[1, 2])
    parser.add_argument("--timesteps", type=int, default=8)
    parser.add_argument(
        "--long", type=int, default=64, help="timesteps of ours and level 3 alone; 0 for none"
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns per compiler and case")
    parser.add_argument(
        "--budget", type=float, default=2.0, help="seconds per compiler and case, see above"
    )
    parser.add_argument("--level3-seeds", type=int, default=8, help="1 for no 'level 3 xN'")
    parser.add_argument(
        "--profile", choices=["heron", "heron_fractional"], default="heron", help="of ours"
    )
    parser.add_argument("--no-pytket", action="store_true")
    parser.add_argument("--pytket-placement", choices=["noise", "graph", "line"], default="noise")
    parser.add_argument("--seed", type=int, default=7, help="of the angles")
    parser.add_argument("--json", type=Path, help="also write every turn to this file")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {args.repeats}.")
    return args


def main() -> None:
    args = parse_args()
    profile = load_profile(args.profile)
    device = read_target(load_fake_backend(BACKEND), fractional_gates=profile.fractional_gates)
    no_pytket = explain_pytket(profile, not args.no_pytket)
    placement_name = "" if no_pytket else args.pytket_placement
    compilers = make_compilers(profile, device, args.level3_seeds, placement_name)
    versions = {"qiskit": qiskit.__version__}
    if not no_pytket:
        versions["pytket"] = importlib.metadata.version("pytket")
    print(", ".join(f"{name} {version}" for name, version in versions.items()), end=", ")
    print(f"{BACKEND}, profile {profile.name}, {os.cpu_count()} cores, ", end="")
    print(f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}, ", end="")
    print(f"load average {os.getloadavg()[0]:.1f}")
    if no_pytket:
        print(no_pytket)
    groups = list(product(args.ansatz, args.readouts))
    difference = max(
        check_agreement(
            compilers, Case(ansatz, CHECK_QUBITS, num_readouts, CHECK_TIMESTEPS), args.seed
        )
        for ansatz, num_readouts in groups
    )
    print(f"records agree to {difference:.1e} at n={CHECK_QUBITS}, T={CHECK_TIMESTEPS}")
    for compiler in compilers:
        if isinstance(compiler, Pytket):
            print(compiler.describe_flows())
    print("lambda: expected errors; s: median seconds of so many turns (#)\n")
    print(
        f"{'ansatz':<6}{'n':>3}{'a':>3}{'T':>4} {'compiler':<12}{'2q':>6}{'depth':>6}"
        f"{'lambda':>8}{'s':>8}{'#':>3} {'x 2q':>7}{'x dep':>7}{'x lam':>7}{'x s':>7}"
    )
    all_results: list[Result] = []
    for (ansatz, num_readouts), num_memory in product(groups, args.qubits):
        case = Case(ansatz, num_memory, num_readouts, args.timesteps)
        turns = [(compiler, case) for compiler in compilers]
        if args.long:
            long_case = replace(case, num_timesteps=args.long)
            turns += [(compiler, long_case) for compiler in compilers[:2]]
        results = run_turns(turns, args.repeats, args.budget, args.seed)
        ours = {one.case: one for one in results if one.compiler == "ours"}
        for result in results:
            print(format_row(result, ours[result.case]), flush=True)
        all_results += results
    print_summary(all_results, args.timesteps, args.long)
    if args.json is not None:
        record = {
            "format_version": FORMAT_VERSION,
            "versions": versions,
            "backend": BACKEND,
            "snapshot_id": device.snapshot_id,
            "profile": profile.name,
            "num_cores": os.cpu_count(),
            "seed": args.seed,
            "results": [asdict(result) for result in all_results],
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
