"""What keeps the noisy engine small, and the angles that it computes."""

import numpy as np
import pytest
import torch

from qrnn_qiskit.compiling import compile_logical
from qrnn_qiskit.compiling.folding import FOLD_ANGLE, fold_angles
from qrnn_qiskit.devices import DeviceNoise, QubitNoise
from qrnn_qiskit.execution import noise_for
from qrnn_qiskit.program import Ansatz, CellSpec, Readout, SequenceProgram
from qrnn_qiskit.simulate.noisy.angles import AngleTable, TorchAngles, fold_tensor
from qrnn_qiskit.simulate.noisy.chains import IDENTITY, Chain
from qrnn_qiskit.simulate.noisy.circuit import flatten_circuit
from qrnn_qiskit.simulate.noisy.plan import build_noisy_plan
from qrnn_qiskit.studies.device import open_device


@pytest.mark.parametrize("profile", ["heron", "heron_fractional"])
@pytest.mark.parametrize("num_timesteps", [3, 6])
def test_readout_qubits_never_join_the_state(profile, num_timesteps):
    """4 memory qubits and one timestep's two bits: 4^4 2^2 numbers, however long."""
    device = open_device("fake_boston", profile)
    cell = CellSpec(Ansatz("brick", 4), (Readout("Z", 0), Readout("Z", 3)))
    compiled = device.compile(SequenceProgram(cell, num_timesteps))
    noise = noise_for(compiled, device.backend)
    plan = build_noisy_plan(compiled, noise, device.schedule(compiled))
    assert plan.largest_state == 4**4 * 2**2
    # Three couplings, two readouts and one summation of bits.
    assert len(plan.layout.steps) <= 6 * num_timesteps
    # A gate's own angles are one coupling each: merged, not applied one by one.
    assert all(group.cores is None or group.cores.angles.shape[1] <= 1 for group in plan.groups)


@pytest.mark.parametrize("profile", ["heron", "heron_fractional"])
def test_angles_are_those_that_are_bound(rng, profile):
    """Every driven parameter of a circuit, in two final bases."""
    device = open_device("fake_boston", profile)
    cell = CellSpec(Ansatz("sim14", 3), (Readout("Y", 0),))
    program = SequenceProgram(cell, 2, ("Z", "Y"))
    compiled = device.compile(program)
    table = AngleTable(compiled)
    wanted = [(name, basis) for name in compiled.parameter_names for basis in (0, 1)]
    found = [table.find(*each) for each in wanted]
    controls = rng.uniform(-9, 9, size=(4, program.num_controls))
    angles = TorchAngles(table.build(), torch.zeros(1, dtype=torch.float64))
    values = angles(torch.from_numpy(controls)).numpy()
    slots = program.slots
    for basis, name in enumerate(program.final_bases):
        rows = compiled.bind_values(slots.with_basis(slots.values(controls), name))
        for (parameter, of_basis), (number, angle) in zip(wanted, found, strict=True):
            if of_basis == basis:
                bound = rows[:, compiled.parameter_names.index(parameter)]
                actual = np.full(4, number) if angle is None else values[angle]
                np.testing.assert_allclose(actual, bound, rtol=0, atol=1e-12)
    # Readout alphas and basis changes are numbers.
    assert sum(angle is None for _, angle in found) > 0
    assert any(table.depends_on_basis(name) for name in compiled.parameter_names)


def test_folded_tensors_are_folded_angles(rng):
    """Also on the boundaries of pieces, and with the slope of the piece there."""
    edges = np.arange(-8, 9) * np.pi / 4
    linear = np.concatenate((edges, rng.uniform(-20, 20, size=200)))[:, None] * np.ones(5)
    kinds = np.arange(5, dtype=np.uint8)
    found = fold_tensor(torch.from_numpy(linear), torch.from_numpy(kinds))
    np.testing.assert_allclose(found.numpy(), fold_angles(linear, kinds), rtol=0, atol=1e-12)
    angle = torch.tensor([0.0, 0.3, 1.8, -0.3], dtype=torch.float64, requires_grad=True)
    fold_tensor(angle, torch.tensor(FOLD_ANGLE)).sum().backward()
    # Zero angles are where training may begin: a slope of 0 there would hold it up.
    assert angle.grad.tolist() == [1.0, 1.0, -1.0, -1.0]


def test_rotations_with_decay_between_them_are_one(rng):
    """Relaxation commutes with rotations about Z, a square root of X does not."""
    decay = np.diag([1.0, 0.9, 0.9, 0.8])
    decay[3, 0] = 0.2
    chain = IDENTITY.then_rz(0, max).then(decay).then_rz(1, max)
    assert chain.angles == (1,)
    tilted = chain.then(np.diag([1.0, 1.0, 0.5, 1.0])).then_rz(2, max)
    assert tilted.angles == (1, 2)
    assert tilted.terms.shape == (9, 4, 4)


def test_long_chains_are_products_of_pieces(rng):
    chain = Chain(tuple(range(7)), tuple(rng.normal(size=(8, 4, 4))))
    pieces = chain.pieces()
    assert [len(piece.angles) for piece in pieces] == [3, 3, 1]
    waves = rng.normal(size=(7, 3))

    def value(part):
        products = np.ones(1)
        for angle in part.angles:
            products = np.kron(products, waves[angle])
        return np.tensordot(products, part.terms, axes=1)

    together = np.eye(4)
    for piece in pieces:
        together = value(piece) @ together
    np.testing.assert_allclose(together, value(chain), rtol=1e-10)


def test_instructions_of_a_program_are_all_there():
    program = SequenceProgram(CellSpec(Ansatz("line", 3), (Readout("Z", 0),)), 3)
    compiled = compile_logical(program)
    names = [item.name for item in flatten_circuit(compiled.circuit)]
    assert (names.count("measure"), names.count("reset")) == (3 + 3, 3)
    noise = DeviceNoise("none", (QubitNoise(0.0, 0.0),) * 4, ())
    bits = {bit for each in build_noisy_plan(compiled, noise).layout.assignments for bit in each[0]}
    assert bits == {0, 1}
