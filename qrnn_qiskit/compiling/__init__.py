"""How does it fit? Device circuits with one plain parameter per bound angle."""

from qrnn_qiskit.compiling.cache import CompileCache
from qrnn_qiskit.compiling.compile import compile_logical, compile_program
from qrnn_qiskit.compiling.compiled import CompiledProgram
from qrnn_qiskit.compiling.embedding import suggest_anchors
from qrnn_qiskit.compiling.profile import (
    TranspileProfile,
    choose_profile,
    list_profiles,
    load_profile,
)

__all__ = [
    "CompileCache",
    "CompiledProgram",
    "TranspileProfile",
    "choose_profile",
    "compile_logical",
    "compile_program",
    "list_profiles",
    "load_profile",
    "suggest_anchors",
]
