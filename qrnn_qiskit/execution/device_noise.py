"""What noise does a compiled circuit meet on its device?"""

from qiskit.providers import BackendV2

from qrnn_qiskit.compiling import CompiledProgram
from qrnn_qiskit.costing.walk import walk_instructions
from qrnn_qiskit.devices import DeviceNoise, read_noise, read_target
from qrnn_qiskit.devices.target import FRACTIONAL_GATES
from qrnn_qiskit.errors import require


def noise_for(compiled: CompiledProgram, backend: BackendV2) -> DeviceNoise:
    """Noise of a compiled circuit's qubits, for the instructions that it uses.

    A qubit that is measured by `measure_2` in the circuit and by `measure` at its end counts with
    the error of `measure_2`: simulators know one readout error per qubit.

    Args:
        compiled: for this backend.
        backend: any `BackendV2`. Fractional gates that it lacks are taken as `read_target` does.

    Raises:
        InputError: if the circuit is a logical one, or a readout error is unknown.

    Example:
        >>> from qrnn_qiskit.compiling import compile_program, load_profile
        >>> from qrnn_qiskit.devices import load_fake_backend
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
        >>> backend = load_fake_backend("fake_boston")
        >>> program = SequenceProgram(CellSpec(Ansatz("line", 2), (Readout("Z", 0),)), 1)
        >>> compiled = compile_program(program, read_target(backend), load_profile("heron"))
        >>> noise_for(compiled, backend).device
        'fake_boston'
    """
    require(len(compiled.physical_qubits) > 0, "compiled", "must be compiled for a device",
            compiled.target_name, "use compile_program with a profile of a device")  # fmt: skip
    measured, reset, uses = {}, {}, set()
    for operation, qubits, _, _ in walk_instructions(compiled.circuit):
        name = operation.name
        uses.add((name, tuple(qubits)))
        if name.startswith("measure_"):
            measured[qubits[0]] = name
        elif name.startswith("reset_"):
            reset[qubits[0]] = name
    missing = {name for name, _ in uses} & set(FRACTIONAL_GATES) - set(
        backend.target.operation_names
    )
    return read_noise(
        backend,
        compiled.physical_qubits,
        measure_names=measured,
        reset_names=reset,
        uses=uses,
        target=read_target(backend, fractional_gates=True) if missing else None,
    )
