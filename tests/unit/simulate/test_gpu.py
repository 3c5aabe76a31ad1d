"""The exact engines on a CUDA device, against the CPU; skipped where there is none."""

import pytest
import torch

from qrnn_qiskit.simulate import run_density, start_host, step_host
from tests.programs import dynamic_program, host_program, random_table

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")


def test_statevector_and_gradient(rng):
    program = host_program("sim14", num_memory=4)
    table = torch.from_numpy(random_table(rng, program, batch=5)[:, :, 0])
    results = []
    for device in ("cpu", "cuda"):
        angles = table.to(device).requires_grad_()
        state = start_host(program.cell.ansatz, 5, dtype=torch.float64, device=device)
        for timestep in range(program.num_timesteps):
            state, paulis = step_host(state, angles[:, timestep])
        (gradient,) = torch.autograd.grad(paulis.sum(), angles)
        results.append((paulis.detach().cpu(), gradient.cpu()))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)


def test_density_and_gradient(rng):
    program = dynamic_program(rng, "brick", "feedforward", "rotations", 2, 1, 1)
    table = torch.from_numpy(random_table(rng, program, batch=3))
    results = []
    for device in ("cpu", "cuda"):
        angles = table.to(device).requires_grad_()
        probabilities = run_density(program, angles)
        (gradient,) = torch.autograd.grad(probabilities.final[..., 0].sum(), angles)
        results.append((probabilities.outcomes.detach().cpu(), gradient.cpu()))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)
