"""How does it fit? Logical and device circuits with one plain parameter per bound angle."""

from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.compiling.transpile import compile_for_backend, compile_logical

__all__ = ["CompiledProgram", "compile_for_backend", "compile_logical"]
