"""The circuit of a job: bound to a sample's angles, it is the trained model."""

import numpy as np
import pytest
import torch
from qiskit import qasm3

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.studies import RunDirectory, build_circuit_view, load_trained
from tests.reference.branch_enumeration import enumerate_records
from tests.unit.studies.jobs import FEEDFORWARD, HOST, spec_of

# Angles come from single precision: a hundred rotations of error 1e-7 each.
LARGEST_DIFFERENCE = 1e-5


def exact_readouts(run, sample):
    _, task, model = load_trained(RunDirectory(run))
    with torch.no_grad():
        return model.eval().read(torch.from_numpy(task.test.inputs[sample : sample + 1]))


@pytest.mark.parametrize("num_timesteps", [None, 2])
@pytest.mark.parametrize(("sample", "other"), [(0, 2), (2, 0)])
def test_a_bound_feedforward_circuit_is_the_model(
    trained_feedforward, sample, other, num_timesteps
):
    view = build_circuit_view(
        spec_of(FEEDFORWARD), sample=sample, num_timesteps=num_timesteps,
        run_path=trained_feedforward.run,
    )  # fmt: skip
    length = num_timesteps or 4
    assert (view.sample, view.program.num_timesteps) == (sample, length)
    assert not view.circuit.parameters
    records = enumerate_records(view.circuit)
    found = [records.parity([t]) for t in range(length)]
    exact = exact_readouts(trained_feedforward.run, sample)
    steps = exact.steps[0, :length, 0].numpy()
    np.testing.assert_allclose(found, steps, rtol=0, atol=LARGEST_DIFFERENCE)
    if num_timesteps is None:
        final = [records.parity([length + qubit]) for qubit in range(2)]
        np.testing.assert_allclose(final, exact.final[0], rtol=0, atol=LARGEST_DIFFERENCE)
    wrong = exact_readouts(trained_feedforward.run, other).steps[0, :length, 0].numpy()
    assert np.abs(found - wrong).max() > 100 * LARGEST_DIFFERENCE


@pytest.mark.parametrize("num_timesteps", [None, 1, 2])
def test_a_bound_host_circuit_is_the_model_at_its_last_timestep(trained_host, num_timesteps):
    view = build_circuit_view(
        spec_of(HOST), sample=1, num_timesteps=num_timesteps, run_path=trained_host.run
    )
    length = num_timesteps or 3
    records = enumerate_records(view.circuit)
    found = [records.parity([qubit]) for qubit in range(2)]
    # Readouts are ordered X, Y, Z; the circuit is shown as it measures in Z.
    exact = exact_readouts(trained_host.run, 1).steps[0, length - 1, 4:]
    np.testing.assert_allclose(found, exact, rtol=0, atol=LARGEST_DIFFERENCE)


def test_the_newest_run_of_the_job_is_used(trained_feedforward):
    root = trained_feedforward.run.parent
    found = build_circuit_view(spec_of(FEEDFORWARD), sample=3, runs_root=root)
    named = build_circuit_view(spec_of(FEEDFORWARD), sample=3, run_path=trained_feedforward.run)
    assert found.circuit == named.circuit


@pytest.mark.parametrize(
    ("settings", "length"), [(FEEDFORWARD, 4), (HOST, 3)], ids=["feedforward", "host"]
)
def test_a_template_needs_no_run(tmp_path, settings, length):
    view = build_circuit_view(spec_of(settings), runs_root=tmp_path / "none")
    assert view.sample is None
    assert view.program.num_timesteps == length
    assert len(view.circuit.parameters) == view.program.slots.num_slots
    short = build_circuit_view(spec_of(settings), num_timesteps=1)
    assert short.program == view.program.prefix(1)


@pytest.mark.parametrize("sample", [None, 2])
def test_openqasm_reads_back_as_the_same_circuit(trained_feedforward, sample):
    pytest.importorskip("qiskit_qasm3_import")
    view = build_circuit_view(
        spec_of(FEEDFORWARD), sample=sample, num_timesteps=3, run_path=trained_feedforward.run
    )
    read = qasm3.loads(view.qasm3)
    assert read.num_clbits == view.circuit.num_clbits
    assert read.count_ops()["if_else"] == view.circuit.count_ops()["if_else"]
    names = {parameter.name for parameter in view.circuit.parameters}
    assert {parameter.name for parameter in read.parameters} == names
    if sample is not None:
        np.testing.assert_allclose(
            enumerate_records(read).probabilities,
            enumerate_records(view.circuit).probabilities,
            rtol=0, atol=1e-9,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_timesteps": 0}, "--timesteps: must lie in 1 to 4, got 0; leave it out for all"),
        ({"num_timesteps": 5}, "--timesteps: must lie in 1 to 4, got 5"),
        ({"sample": 12}, "--sample: must be a test sample, 0 to 11, got 12"),
        ({"sample": -1}, "--sample: must be a test sample, 0 to 11, got -1"),
    ],
)
def test_what_is_not_there_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        build_circuit_view(spec_of(FEEDFORWARD), runs_root=tmp_path, **options)


def test_a_sample_needs_a_run_of_this_job(tmp_path, trained_host):
    with pytest.raises(InputError, match=r"--run: a run of these settings .*train it first"):
        build_circuit_view(spec_of(FEEDFORWARD), sample=0, runs_root=tmp_path)
    with pytest.raises(InputError, match=r"--run: must be a run of this job's task and model"):
        build_circuit_view(spec_of(FEEDFORWARD), sample=0, run_path=trained_host.run)
