"""The circuit of a job: as a template, or bound to a trained model's angles for one sample."""

from dataclasses import dataclass
from pathlib import Path

import torch
from qiskit import QuantumCircuit, qasm3

from qrnn_qiskit.errors import require
from qrnn_qiskit.learning import QRNN
from qrnn_qiskit.learning.training import evaluating
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.studies.spec import JobSpec
from qrnn_qiskit.studies.train import find_trained, load_trained


@dataclass(frozen=True)
class CircuitView:
    """A job's circuit and what there is to say of it.

    In the `host` loop it is the prefix that is measured after the last timestep.
    """

    program: SequenceProgram
    circuit: QuantumCircuit
    sample: int | None

    @property
    def qasm3(self) -> str:
        """OpenQASM 3 text."""
        text: str = qasm3.dumps(self.circuit)
        return text


def build_circuit_view(
    spec: JobSpec,
    *,
    sample: int | None = None,
    num_timesteps: int | None = None,
    run_path: Path | None = None,
    runs_root: Path = Path("runs"),
) -> CircuitView:
    """The logical circuit of a job.

    Args:
        spec: the job.
        sample: test sample whose trained angles are bound; a template without it.
        num_timesteps: only the first timesteps of it.
        run_path: the run whose weights are used; the newest run of this job unless given.
        runs_root: where runs are looked for.

    Raises:
        InputError: if a sample or timestep does not exist, or no trained run is found.
    """
    task = spec.task.load()
    length = task.num_timesteps if num_timesteps is None else num_timesteps
    require(1 <= length <= task.num_timesteps, "--timesteps",
            f"must lie in 1 to {task.num_timesteps}", length, "leave it out for all")  # fmt: skip
    program = spec.model.build_program(length)
    if sample is None:
        return CircuitView(program, program.circuit, None)
    require(0 <= sample < task.test.num_samples, "--sample",
            f"must be a test sample, 0 to {task.test.num_samples - 1}", sample,
            "choose one of these")  # fmt: skip
    _, task, model = load_trained(find_trained(spec, run_path, runs_root), spec)
    with evaluating(model):
        inputs = torch.from_numpy(task.test.inputs[sample : sample + 1])
        values = _slot_values(model, program, inputs)
    binding = dict(zip(program.slots.names, values, strict=True))
    return CircuitView(program, program.circuit.assign_parameters(binding), sample)


def _slot_values(model: QRNN, program: SequenceProgram, inputs: torch.Tensor) -> list[float]:
    """Angles of one sample: from the table, or in the `host` loop from an exact run."""
    if program.cell.loop == "host":
        table = _host_angles(model, inputs)[:, : program.num_timesteps]
    else:
        full = model.controls(inputs)
        num_table = model.program.num_table_angles
        table = full[:, :num_table].reshape(1, *model.program.table_shape)
        table = table[:, : program.num_timesteps]
    controls = torch.cat((table.flatten(1), model.strengths_rad.expand(1, -1)), dim=1)
    values: list[float] = program.slots.values(controls.double().cpu().numpy())[0].tolist()
    return values


def _host_angles(model: QRNN, inputs: torch.Tensor) -> torch.Tensor:
    """What the controller says in an exact run, `(batch, num_timesteps, num_angles)`."""
    seen: list[torch.Tensor] = []
    hook = model.controller.register_forward_hook(
        lambda module, arguments, output: seen.append(output)
    )
    try:
        model.read(inputs)
    finally:
        hook.remove()
    return torch.stack(seen, dim=1)
