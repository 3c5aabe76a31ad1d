"""Aer as an executor: the only place that drives the simulator (see docs/traps.md, AER)."""

import time
from collections.abc import Callable
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
from qrnn_qiskit.devices import DeviceNoise
from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.execution.aer_circuit import build_aer_circuit
from qrnn_qiskit.execution.aer_noise import build_noise_model
from qrnn_qiskit.execution.contract import RunRequest, RunResult

# Aer seeds shot i of circuit k with seed + 2113 k + i: rows of more shots than that overlap.
_SEED_STRIDE = 2113
_MAX_ROW_SHOTS = 2000
# One call's worth of shots: bounds memory, and how long Ctrl-C waits.
_CALL_SHOTS = 50_000


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A compiled program as Aer gets it."""

    circuit: QuantumCircuit
    noise_model: NoiseModel | None


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

    Raises:
        InputError: if the GPU is asked for and Aer reports none, or if qubits are to idle without
            noise.

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
        self._noise = noise
        self._idling = idling
        # Reading a device's noise and building a model cost as much as hundreds of shots.
        self._prepared: WeakKeyDictionary[CompiledProgram, _Prepared] = WeakKeyDictionary()
        self._name = self._name_of(noise) if isinstance(noise, DeviceNoise) else "aer"
        self._simulator = AerSimulator(
            method="statevector",
            device=device,
            max_parallel_threads=max_threads,
            # Fusion costs more than it gains on circuits that branch at every timestep.
            fusion_enable=False,
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

        Cost: simulator time only, about 0.1 ms a shot at n = 4, T = 8 on one core.

        Raises:
            InputError: if the noise was read for another number of qubits.
        """
        start = time.monotonic()
        compiled = request.compiled
        prepared = self._prepare(compiled)
        values = compiled.bind_values(request.slot_values)
        bits = np.empty(
            (request.num_rows, request.num_shots, compiled.circuit.num_clbits), dtype=np.uint8
        )
        base_seed = _spread_seed(request.seed)
        for first_shot in range(0, request.num_shots, _MAX_ROW_SHOTS):
            shots = slice(first_shot, min(first_shot + _MAX_ROW_SHOTS, request.num_shots))
            num_shots = shots.stop - shots.start
            rows_per_call = max(1, _CALL_SHOTS // num_shots)
            for first_row in range(0, request.num_rows, rows_per_call):
                rows = slice(first_row, first_row + rows_per_call)
                # Row k keeps its stream however rows are split into calls.
                round_seed = base_seed + first_shot * (request.num_rows + 1) * 2
                seed = round_seed + _SEED_STRIDE * first_row
                bits[rows, shots] = self._call(compiled, prepared, values[rows], num_shots, seed)
        return RunResult(bits, self.name, time.monotonic() - start)

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
        return self._prepared.setdefault(compiled, _Prepared(circuit, model))

    def _name_of(self, noise: DeviceNoise) -> str:
        return f"aer({noise.device}{', idling' if self._idling else ''})"

    def _call(
        self,
        compiled: CompiledProgram,
        prepared: _Prepared,
        values: NDArray[np.float64],
        num_shots: int,
        seed: int,
    ) -> NDArray[np.uint8]:
        circuit = prepared.circuit
        by_name = {parameter.name: parameter for parameter in circuit.parameters}
        binds = {
            by_name[name]: values[:, column].tolist()
            for column, name in enumerate(compiled.parameter_names)
        }
        job = self._simulator.run(
            [circuit],
            parameter_binds=[binds],
            shots=num_shots,
            seed_simulator=seed,
            memory=True,
            noise_model=prepared.noise_model,
        )
        result = job.result()
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        width = circuit.num_clbits
        return np.stack([_unpack(item.data.memory, width) for item in result.results])


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
