"""The program `executor` as it travels: what the client posts, and what it reads as a result."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from ibm_quantum_schemas.common import CompressedTensorModel
from ibm_quantum_schemas.executor.version_2_0 import CircuitItemModel, ParamsModel
from ibm_quantum_schemas.executor.version_2_0.models import (
    ChunkPart,
    ChunkSpan,
    ItemMetadataModel,
    MetadataModel,
    QuantumProgramResultItemModel,
    QuantumProgramResultModel,
)
from numpy.typing import NDArray
from qiskit import QuantumCircuit

SCHEMA_VERSION = "v2.0"


@dataclass(frozen=True, eq=False)
class PostedItem:
    """What one PUB became.

    Attributes:
        circuit: over all qubits of the device; its metadata are those that the PUB's circuit had,
            which the Sampler sends beside the circuit.
        values: of `circuit.parameters`, `(*shape, num_parameters)`.
    """

    circuit: QuantumCircuit
    values: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the PUB: its rows."""
        return self.values.shape[:-1]


@dataclass(frozen=True, eq=False)
class PostedProgram:
    """A job's parameters.

    Attributes:
        rep_delay: seconds; None for the device's own.
    """

    items: tuple[PostedItem, ...]
    num_shots: int
    rep_delay: float | None


def decode_program(params: dict[str, Any]) -> PostedProgram:
    """What is to be run.

    Raises:
        ValueError: if it is not what the schema says (pydantic), or holds what this server does
            not run: twirling, raw measurement levels.
    """
    model = ParamsModel.model_validate(params)
    program = model.quantum_program
    if program.meas_level != "classified":
        raise ValueError(f"meas_level {program.meas_level} is not simulated")
    metadata = _read_metadata(params, len(program.items))
    items = []
    for item, circuit, each in zip(
        program.items, program.circuits.to_python(), metadata, strict=True
    ):
        if not isinstance(item, CircuitItemModel):
            raise ValueError("twirled programs (item_type samplex) are not simulated")
        circuit.metadata = each
        values = np.array(item.circuit_arguments.to_numpy(), dtype=np.float64)
        if values.shape[-1] != circuit.num_parameters:
            raise ValueError(
                f"{circuit.num_parameters} parameters, but arguments of shape {values.shape}"
            )
        items.append(PostedItem(circuit, values))
    return PostedProgram(tuple(items), program.shots, model.options.rep_delay)


def encode_result(
    params: dict[str, Any],
    bits: list[dict[str, NDArray[np.bool_]]],
    started: float,
    finished: float,
) -> str:
    """The body of GET jobs/{id}/results.

    Args:
        params: of the job; what it says is to be passed through comes back as it was.
        bits: for each item the bits of its registers, `(*shape, num_shots, register_size)`, bit 0
            first.
        started: of the whole program, seconds since 1970.
        finished: of the whole program.
    """
    parts = []
    for index, item in enumerate(bits):
        shape = next(iter(item.values())).shape[:-2]
        size = int(np.prod(shape, dtype=int))
        parts.append(
            ChunkPart(
                idx_item=index,
                size=size,
                permutation=list(range(len(shape))),
                element_range=(0, size, 1),
            )
        )
    span = ChunkSpan(start=_moment(started), stop=_moment(finished), parts=parts)
    model = QuantumProgramResultModel(
        data=[
            QuantumProgramResultItemModel(
                results={
                    name: CompressedTensorModel.from_numpy(array) for name, array in item.items()
                },
                metadata=ItemMetadataModel(),
            )
            for item in bits
        ],
        metadata=MetadataModel(chunk_timing=[span]),
        passthrough_data=params["quantum_program"].get("passthrough_data"),
        semantic_role=params["quantum_program"].get("semantic_role"),
    )
    return model.model_dump_json()


def _read_metadata(params: dict[str, Any], num_items: int) -> list[dict[str, Any]]:
    data = params["quantum_program"].get("passthrough_data")
    post_processor = data.get("post_processor") if isinstance(data, dict) else None
    found = (post_processor or {}).get("circuits_metadata") or [None] * num_items
    return [each or {} for each in found]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
