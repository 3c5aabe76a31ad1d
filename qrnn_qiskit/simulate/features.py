"""Exact features of a program: the numbers that shots only estimate."""

import torch
from torch import Tensor

from qrnn_qiskit.errors import require
from qrnn_qiskit.program import SequenceProgram
from qrnn_qiskit.simulate.density import SequenceProbabilities, run_density
from qrnn_qiskit.simulate.statevector import start_host, step_host


def exact_features(program: SequenceProgram, controls: Tensor) -> Tensor:
    """Readout and final parities of each row of controls, differentiable.

    Args:
        program: of any loop; a `host` one is the prefix that is measured at its end, in
            X, Y and Z with single bits.
        controls: `(num_rows, num_controls)`.

    Raises:
        InputError: if the controls have another shape, or rows differ in phi.

    Returns:
        `(num_rows, num_features)`, in the dtype of the controls.

    Example:
        >>> from qrnn_qiskit.program import Ansatz, CellSpec, Readout
        >>> program = SequenceProgram(CellSpec(Ansatz("brick", 2), (Readout("Z", 0),)), 2)
        >>> controls = torch.zeros(1, program.num_controls)
        >>> controls[:, -1] = torch.pi / 2
        >>> exact_features(program, controls).round().tolist()
        [[1.0, 1.0, 1.0, 1.0]]
    """
    require(controls.ndim == 2 and controls.shape[1] == program.num_controls, "controls",
            f"must have shape (num_rows, {program.num_controls})", tuple(controls.shape),
            "flatten the table and append one phi per readout")  # fmt: skip
    num_angles = program.num_table_angles
    table = controls[:, :num_angles].reshape(-1, *program.table_shape)
    strengths = controls[:, num_angles:].detach()
    require(bool((strengths == strengths[:1]).all()), "controls",
            "must hold the same phi in every row for the exact engine", "rows that differ in phi",
            "evaluate them one by one")  # fmt: skip
    if program.cell.loop != "host":
        return parity_features(program, run_density(program, table, controls[0, num_angles:]))
    state = start_host(
        program.cell.ansatz, len(table), dtype=controls.dtype, device=controls.device
    )
    for timestep in range(program.num_timesteps):
        state, paulis = step_host(state, table[:, timestep, 0])
    order = [("X", "Y", "Z").index(basis) for basis in program.final_bases]
    return paulis[:, order].flatten(1)


def parity_features(program: SequenceProgram, probabilities: SequenceProbabilities) -> Tensor:
    """Parities of exact distributions, `(num_rows, num_features)`."""
    readout_signs = torch.from_numpy(program.readout_parities.signs).to(probabilities.outcomes)
    final_signs = torch.from_numpy(program.final_parities.signs).to(probabilities.final)
    readouts = probabilities.outcomes @ readout_signs
    final = probabilities.final @ final_signs
    return torch.cat((readouts.flatten(1), final.flatten(1)), dim=1)
