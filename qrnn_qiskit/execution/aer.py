"""Aer as an executor: the only place that drives the simulator (see docs/traps.md, AER)."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.costing import Schedule
from qrnn_qiskit.costing.walk import walk_instructions
from qrnn_qiskit.devices import DeviceNoise
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.execution.aer_batches import (
    Batch,
    CallMemory,
    free_bytes,
    require_record_memory,
    run_batches,
)
from qrnn_qiskit.execution.aer_circuit import build_aer_circuit
from qrnn_qiskit.execution.aer_noise import build_noise_model
from qrnn_qiskit.execution.contract import RunRequest, RunResult

# Aer seeds shot i of circuit k with seed + 2113 k + i: rows of more shots than that overlap.
_SEED_STRIDE = 2113
_MAX_ROW_SHOTS = 2000
# One call's worth of shots: bounds how long Ctrl-C waits.
_CALL_SHOTS = 50_000
# Fusion costs 5 to 20 ms a row at n = 4, T = 8, grows with the square of T, and makes each shot 2
# to 4 times faster: it gains from about 100 shots, and from 300 on in circuits of 15,000 gates.
_FUSION_SHOTS = 100
_FUSION_INSTRUCTIONS_PER_SHOT = 50
# How Aer 0.18.2 says that memory does not suffice.
_MEMORY_MESSAGES = ("more memory", "insufficient memory", "allocate memory", "bad_alloc")


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A compiled program as Aer gets it."""

    circuit: QuantumCircuit
    noise_model: NoiseModel | None
    memory: CallMemory


class AerExecutor:
    """Runs requests on AerSimulator, ideal or with a device's errors.

    With noise: readout, reset and gate errors. With `idling`, qubits also relax while they wait;
    without it time passes in gates alone, and memory qubits keep far too much (AER-7).

    Args:
        noise: noise of the circuit's qubits, or a function that gives it for a compiled circuit
            (asked once for each), for example
            `lambda compiled: noise_for(compiled, backend)`; ideal unless given.
        idling: a function that gives the schedule of a compiled circuit (asked once for each), for
            example `lambda compiled: schedule_compiled(compiled, device, profile)`: where it lets
            a qubit wait, the qubit relaxes with its T1 and T2, in branches, too.
        device: `CPU` or `GPU`.
        max_threads: threads that Aer may use; all cores unless given.
        max_memory_mb: MiB for states, circuits and records of one call; what is free when a
            request is run unless given. Rows are split into calls, and fewer threads used, to stay
            below it; the bits are the same. (The records of circuits without noise that measure
            only at their end are drawn from one final state: where such rows have to be split by
            shots, which takes less than a MiB, they are other bits of equal distribution.)

    Raises:
        InputError: if the GPU is asked for and Aer reports none, if qubits are to idle without
            noise, or if the memory is not positive.

    Example:
        >>> AerExecutor().name
        'aer'
    """

    def __init__(
        self,
        noise: DeviceNoise | Callable[[CompiledProgram], DeviceNoise] | None = None,
        *,
        idling: Callable[[CompiledProgram], Schedule] | None = None,
        device: Literal["CPU", "GPU"] = "CPU",
        max_threads: int = 0,
        max_memory_mb: int | None = None,
    ) -> None:
        available = AerSimulator().available_devices()
        require(device in ("CPU", "GPU"), "device", "must be CPU or GPU", device,
                "use CPU where there is no GPU")  # fmt: skip
        if device not in available:
            raise InputError(
                f"device: must be one that Aer reports ({', '.join(available)}), got {device!r}; "
                "install the extra 'gpu' on a machine with CUDA 12, or use CPU"
            )
        require(idling is None or noise is not None, "idling", "must come with noise", "none",
                "give the noise whose T1 and T2 qubits decay with")  # fmt: skip
        require(max_memory_mb is None or max_memory_mb >= 1, "max_memory_mb",
                "must be at least 1", max_memory_mb, "leave it out to use what is free"
                )  # fmt: skip
        self._noise = noise
        self._idling = idling
        # Reading a device's noise and building a model cost as much as hundreds of shots.
        self._prepared: WeakKeyDictionary[CompiledProgram, _Prepared] = WeakKeyDictionary()
        self._name = self._name_of(noise) if isinstance(noise, DeviceNoise) else "aer"
        self._device = device
        self._max_memory_mb = max_memory_mb
        self._simulator = AerSimulator(
            method="statevector",
            device=device,
            max_parallel_threads=max_threads,
            # Rows side by side, because fusion of a row runs on one thread; then shots.
            max_parallel_experiments=0 if device == "CPU" else 1,
            # Aer's own threshold of 14 qubits would leave our circuits as they are.
            fusion_threshold=1,
            # Pairs: 25% faster than single qubits and 10% than triples at n = 4 with noise.
            fusion_max_qubit=2,
            # Wrong distributions with readout error, see AER-3.
            shot_branching_enable=False,
            # Aborts the process on control flow, see AER-4.
            runtime_parameter_bind_enable=False,
            **({"batched_shots_gpu": True} if device == "GPU" else {}),
        )

    @property
    def name(self) -> str:
        """`aer`, followed by the device whose noise is used, and `idling` if qubits wait."""
        return self._name

    def run(self, request: RunRequest) -> RunResult:
        """See `Executor.run`.

        Cost: simulator time only, about 0.1 ms a shot at n = 4, T = 8 on one core, with noise or
            without (`benchmarks/noise.py`).

        Raises:
            InputError: if the noise was read for another number of qubits, or the records of the
                request, or one shot of one row, do not fit into memory.
        """
        start = time.monotonic()
        compiled = request.compiled
        prepared = self._prepare(compiled)
        shape = (request.num_rows, request.num_shots, compiled.circuit.num_clbits)
        require_record_memory(*shape, self._budget_bytes("CPU"))
        bits = np.empty(shape, dtype=np.uint8)
        budget_bytes = self._budget_bytes(self._device)
        if self._device == "CPU":
            budget_bytes = max(budget_bytes - bits.nbytes, 2**20)
        values = compiled.bind_values(request.slot_values)
        round_shots = min(request.num_shots, _MAX_ROW_SHOTS)
        run_batches(
            lambda batch: self._call(compiled, prepared, values, batch, request, budget_bytes),
            _rounds(request),
            bits,
            largest=min(_CALL_SHOTS, prepared.memory.largest_batch(round_shots, budget_bytes)),
            memory=prepared.memory,
            budget_bytes=budget_bytes,
        )
        return RunResult(bits, self.name, time.monotonic() - start)

    def _budget_bytes(self, device: str) -> int:
        if self._max_memory_mb is None:
            return free_bytes(device)
        return self._max_memory_mb * 2**20

    def _prepare(self, compiled: CompiledProgram) -> _Prepared:
        prepared = self._prepared.get(compiled)
        if prepared is not None:
            return prepared
        schedule = None if self._idling is None else self._idling(compiled)
        circuit, idles = build_aer_circuit(compiled.circuit, schedule)
        model = None
        if self._noise is not None:
            noise = self._noise if isinstance(self._noise, DeviceNoise) else self._noise(compiled)
            self._name = self._name_of(noise)
            require(len(noise.qubits) == circuit.num_qubits, "noise",
                    f"must describe the circuit's {circuit.num_qubits} qubits", len(noise.qubits),
                    "use noise_for(compiled, backend)")  # fmt: skip
            model = build_noise_model(noise, idles)
        num_instructions = sum(1 for _ in walk_instructions(compiled.circuit))
        memory = CallMemory(
            circuit.num_qubits, num_instructions, circuit.num_clbits, self._device == "GPU"
        )
        return self._prepared.setdefault(compiled, _Prepared(circuit, model, memory))

    def _is_fusion_worth(self, prepared: _Prepared, num_shots: int) -> bool:
        least = prepared.memory.num_instructions / _FUSION_INSTRUCTIONS_PER_SHOT
        # On a GPU it has not been measured.
        return self._device == "CPU" and num_shots >= max(_FUSION_SHOTS, least)

    def _name_of(self, noise: DeviceNoise) -> str:
        return f"aer({noise.device}{', idling' if self._idling else ''})"

    def _call(
        self,
        compiled: CompiledProgram,
        prepared: _Prepared,
        values: NDArray[np.float64],
        batch: Batch,
        request: RunRequest,
        budget_bytes: int,
    ) -> NDArray[np.uint8]:
        """The bits of a batch.

        Raises:
            MemoryError: if Aer says that the batch does not fit.
        """
        circuit, rows = prepared.circuit, batch.rows
        by_name = {parameter.name: parameter for parameter in circuit.parameters}
        binds = {
            by_name[name]: values[rows.start : rows.stop, column].tolist()
            for column, name in enumerate(compiled.parameter_names)
        }
        state_bytes = budget_bytes - prepared.memory.batch_bytes(batch)
        job = self._simulator.run(
            [circuit],
            parameter_binds=[binds],
            shots=len(batch.shots),
            seed_simulator=_batch_seed(request, batch),
            memory=True,
            noise_model=prepared.noise_model,
            # The same for all batches of a request: fusion changes what noise is drawn.
            fusion_enable=self._is_fusion_worth(prepared, request.num_shots),
            # Aer keeps so few states at once that they fit; several threads that find no memory
            # would abort the process.
            **({"max_memory_mb": max(1, state_bytes >> 20)} if self._device == "CPU" else {}),
        )
        result = job.result()
        if not result.success:
            failed = next((item for item in result.results if not item.success), None)
            message = str(result.status if failed is None else failed.status)
            if any(word in message.lower() for word in _MEMORY_MESSAGES):
                raise MemoryError(message)
            raise RuntimeError(f"Aer failed: {message}")
        width = circuit.num_clbits
        return np.stack([_unpack(item.data.memory, width) for item in result.results])


def _rounds(request: RunRequest) -> Iterator[Batch]:
    """All rows of a request, as many shots at a time as Aer's streams have room for."""
    for first_shot in range(0, request.num_shots, _MAX_ROW_SHOTS):
        shots = range(first_shot, min(first_shot + _MAX_ROW_SHOTS, request.num_shots))
        yield Batch(range(request.num_rows), shots)


def _batch_seed(request: RunRequest, batch: Batch) -> int:
    """The seed with which every shot of every row keeps its stream however they are split."""
    within_round = batch.shots.start % _MAX_ROW_SHOTS
    first_shot = batch.shots.start - within_round
    round_seed = _spread_seed(request.seed) + first_shot * (request.num_rows + 1) * 2
    return round_seed + _SEED_STRIDE * batch.rows.start + within_round


def _spread_seed(seed: int) -> int:
    """A seed far from those of other requests: neighbouring Aer seeds are one shifted stream."""
    digest = sha256(b"aer" + seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest[:8], "little") >> 2


def _unpack(memory: list[str], width: int) -> NDArray[np.uint8]:
    """Hexadecimal records to bits `(num_shots, width)`, bit 0 first."""
    num_bytes = (width + 7) // 8
    packed = b"".join(int(record, 16).to_bytes(num_bytes, "little") for record in memory)
    rows = np.frombuffer(packed, dtype=np.uint8).reshape(len(memory), num_bytes)
    return np.unpackbits(rows, axis=1, count=width, bitorder="little")
