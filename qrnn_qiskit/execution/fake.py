"""An executor that returns what it is told to: for tests and for trying out code."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qrnn_qiskit.errors import require
from qrnn_qiskit.execution.contract import RunRequest, RunResult

Script = Callable[[RunRequest], NDArray[np.uint8]]


@dataclass
class ScriptedExecutor:
    """Answers each request with the bits that a script computes, and remembers the requests.

    Args:
        script: from a request to bits `(num_rows, num_shots, num_bits)`; all zero unless given.

    Example:
        >>> from qrnn_qiskit.compiling import compile_logical
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)
        >>> executor = ScriptedExecutor()
        >>> rows = np.zeros((1, program.slots.num_slots))
        >>> executor.run(RunRequest(compile_logical(program), rows, num_shots=3)).bits.shape
        (1, 3, 4)
    """

    script: Script | None = None
    name: str = "scripted"
    requests: list[RunRequest] = field(default_factory=list)

    def run(self, request: RunRequest) -> RunResult:
        """See `Executor.run`."""
        start = time.monotonic()
        self.requests.append(request)
        shape = (request.num_rows, request.num_shots, request.compiled.program.num_bits)
        bits = np.zeros(shape, np.uint8) if self.script is None else self.script(request)
        require(bits.shape == shape, "script", f"must return bits of shape {shape}", bits.shape,
                "one entry per row, shot and recorded bit")  # fmt: skip
        return RunResult(bits, self.name, time.monotonic() - start)
