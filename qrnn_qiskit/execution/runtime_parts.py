"""A request as jobs: what each one holds, what it is called, and what it will cost."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit

from qrnn_qiskit.analysis import JobSplit, PreflightReport, check_submission
from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.compiling.export import qasm_text, widen
from qrnn_qiskit.costing import Schedule
from qrnn_qiskit.devices import DeviceTarget
from qrnn_qiskit.devices.limits import HardwareLimits
from qrnn_qiskit.errors import require
from qrnn_qiskit.execution.contract import RunRequest
from qrnn_qiskit.execution.runtime_jobs import JobOrder, seed_of
from qrnn_qiskit.ledger import Intent

# Part of every id: jobs whose bits would have another meaning are other jobs.
_CONTENT_VERSION = 1


class JobDevice(Protocol):
    """What must be known of a device; `studies.device.CompilerDevice` is one."""

    @property
    def target(self) -> DeviceTarget:
        """What may be used of it."""
        ...

    def schedule(self, compiled: CompiledProgram) -> Schedule:
        """When everything in a circuit compiled for it happens."""
        ...


@dataclass(frozen=True, eq=False)
class Part:
    """One job of a request.

    Attributes:
        intent: its name in the ledger.
        split: its rows and shots.
        number: from 1.
        num_parts: of the request.
        build_order: what is submitted under a tag.
    """

    intent: Intent
    split: JobSplit
    number: int
    num_parts: int
    build_order: Callable[[str], JobOrder]

    @property
    def intent_id(self) -> str:
        """Of the intent."""
        return self.intent.intent_id


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Of a compiled program, whatever its rows are.

    Attributes:
        circuit: over all qubits of the device.
        columns: of the bound values, in the order of `circuit.parameters`.
        text: everything about the circuit that matters.
        duration_ns: of one execution.
    """

    circuit: QuantumCircuit
    columns: list[int]
    text: bytes
    duration_ns: float


class RequestSplitter:
    """Makes jobs of requests for one backend.

    Args:
        backend_name: part of what a job is.
        device: that requests are compiled for.
        limits: of IBM's jobs unless given.
        max_execution_seconds: of one job; the service's own limit if None.
        labels: kept with each job in the ledger.
    """

    def __init__(
        self,
        backend_name: str,
        device: JobDevice,
        limits: HardwareLimits,
        max_execution_seconds: int | None,
        labels: dict[str, object],
    ) -> None:
        self.backend_name = backend_name
        self._device = device
        self._limits = limits
        self._max_execution_seconds = max_execution_seconds
        self._labels = labels
        self._prepared: WeakKeyDictionary[CompiledProgram, _Prepared] = WeakKeyDictionary()

    def check(self, request: RunRequest) -> PreflightReport:
        """The pre-flight check of a request, whether or not it passes."""
        return self._check(request, request.compiled.bind_values(request.slot_values))

    def _check(self, request: RunRequest, bound: NDArray[np.float64]) -> PreflightReport:
        compiled, program = request.compiled, request.compiled.program
        prepared = self._prepare(compiled)
        return check_submission(
            compiled.circuit,
            self._device.target.target,
            compiled.physical_qubits,
            num_rows=request.num_rows,
            num_shots=request.num_shots,
            circuit_duration_ns=prepared.duration_ns,
            parameter_values=bound,
            parameter_names=compiled.parameter_names,
            num_timesteps=program.num_timesteps,
            num_unsteered_timesteps=min(1 + program.cell.feedback_delay, program.num_timesteps),
            limits=self._limits,
        )

    def duration_ns(self, compiled: CompiledProgram) -> float:
        """Of one execution."""
        return self._prepare(compiled).duration_ns

    def split(self, request: RunRequest) -> list[Part]:
        """The jobs of a request.

        Raises:
            InputError: if a rule of the pre-flight check fails.
        """
        bound = request.compiled.bind_values(request.slot_values)
        report = self._check(request, bound)
        report.require_passed()
        values = bound[:, self._prepare(request.compiled).columns]
        return [
            self._part(request, split, values[split.rows], number, report.num_jobs)
            for number, split in enumerate(report.splits, start=1)
        ]

    def _part(
        self,
        request: RunRequest,
        split: JobSplit,
        values: NDArray[np.float64],
        number: int,
        num_parts: int,
    ) -> Part:
        prepared = self._prepare(request.compiled)
        seed = seed_of(request, split)
        numbers = (seed, split.first_row, split.num_rows, split.first_shot, split.num_shots)
        digest = sha256(json.dumps([_CONTENT_VERSION, self.backend_name, numbers]).encode())
        digest.update(prepared.text)
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        seconds = self._limits.execution_seconds(split.num_executions, prepared.duration_ns)
        labels = {**self._labels, "part": number, "num_parts": num_parts}
        intent = Intent(
            digest.hexdigest(), self.backend_name, split.num_rows, split.num_shots, seconds, labels
        )

        def build_order(tag: str) -> JobOrder:
            rows = RunRequest(
                request.compiled, request.slot_values[split.rows], split.num_shots, seed
            )
            return JobOrder(rows, prepared.circuit, values, tag, self._max_execution_seconds)

        return Part(intent, split, number, num_parts, build_order)

    def _prepare(self, compiled: CompiledProgram) -> _Prepared:
        prepared = self._prepared.get(compiled)
        if prepared is not None:
            return prepared
        places = compiled.physical_qubits
        require(len(places) > 0, "compiled", "must be compiled for a device",
                compiled.target_name, "use compile_program with a device's profile")  # fmt: skip
        circuit = widen(compiled.circuit, places, self._device.target.num_qubits)
        column = {name: index for index, name in enumerate(compiled.parameter_names)}
        prepared = _Prepared(
            circuit,
            [column[parameter.name] for parameter in circuit.parameters],
            f"{list(places)}\n{qasm_text(compiled.circuit)}".encode(),
            self._device.schedule(compiled).duration_ns,
        )
        return self._prepared.setdefault(compiled, prepared)
