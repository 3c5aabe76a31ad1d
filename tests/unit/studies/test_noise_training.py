"""Training for a device: what it changes, and that the rest of a study stays ideal."""

import pytest
import torch

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.learning import ExactEngine
from qrnn_qiskit.learning.noisy_engine import NoisyExactEngine
from qrnn_qiskit.studies import load_trained, run_training
from qrnn_qiskit.studies.progress import SilentProgress
from qrnn_qiskit.studies.runs import RunDirectory
from qrnn_qiskit.studies.train import prepare_model
from tests.unit.studies.jobs import FEEDFORWARD, HOST, changed, spec_of

NOISE = {"snapshot": "fake_brisbane", "scale": 4.0}
SMALL = changed(FEEDFORWARD, device_loop=None, control=False, noise=NOISE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A job with noise and its result; read only."""
    spec = spec_of(SMALL)
    return spec, run_training(spec, runs_root=tmp_path_factory.mktemp("runs"))


def test_both_trainings_are_compared_with_the_errors_and_on_aer(trained):
    _, result = trained
    labels = [row.label for row in result.rows]
    errors = "exact, errors of fake_brisbane"
    assert labels[0] == "exact"
    assert {errors, f"{errors}, trained without"} <= set(labels)
    on_aer = [label for label in labels if label.startswith("Aer fake_boston")]
    assert "Aer fake_boston" in on_aer
    assert "Aer fake_boston, trained without" in on_aer
    assert "Aer fake_boston, trained without + local" in on_aer
    rows = {row.label: row for row in result.rows}
    assert rows["exact"].loss != rows[errors].loss
    assert rows[errors].loss != rows[f"{errors}, trained without"].loss


def test_noise_decides_the_weights_and_the_run_s_name(trained, tmp_path):
    spec, result = trained
    without = spec_of(SMALL, noise=None)
    assert spec.training_id != without.training_id
    ideal = run_training(spec_of(SMALL, noise=None, aer=None), runs_root=tmp_path)
    assert result.run.name != ideal.run.name
    weights = [
        load_trained(RunDirectory(found.run))[2].state_dict()["head.weight"]
        for found in (result, ideal)
    ]
    assert not torch.equal(*weights)
    # What is trained without noise for comparison is that very model.
    state = RunDirectory(result.run).load_checkpoint("without_noise.pt", spec.training_id)
    assert torch.equal(state["model"]["head.weight"], weights[1])
    for other in ({"scale": 2.0}, {"ablation": "no_idle"}, {"profile": "eagle"}):
        assert spec_of(SMALL, noise=NOISE | other).training_id != spec.training_id


def test_a_model_trained_for_a_device_is_the_same_again(trained, tmp_path):
    spec, result = trained
    again = run_training(spec, runs_root=tmp_path)
    assert repr(again.rows) == repr(result.rows)  # baselines have errors of nan
    assert again.history == result.history


def test_prepared_models_come_with_the_ideal_engine(trained):
    spec, result = trained
    _, model = prepare_model(spec, result.run.parent, SilentProgress())
    assert isinstance(model.engine, ExactEngine)
    assert not isinstance(model.engine, NoisyExactEngine)
    _, _, loaded = load_trained(RunDirectory(result.run))
    assert torch.equal(model.state_dict()["head.weight"], loaded.state_dict()["head.weight"])


def test_no_errors_train_the_model_of_the_exact_engine(tmp_path):
    """All parts off: the compiled circuit is the logical one, to rounding of float64."""
    common = {"model__dtype": "float64", "aer": None}
    ideal = run_training(spec_of(SMALL, noise=None, **common), runs_root=tmp_path)
    noise = {"snapshot": "fake_brisbane", "ablation": "ideal"}
    found = run_training(spec_of(SMALL, noise=noise, **common), runs_root=tmp_path)
    losses = [[epoch.train_loss for epoch in result.history] for result in (found, ideal)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_the_host_loop_trains_for_a_device(tmp_path):
    spec = spec_of(HOST, device_loop=None, aer=None, noise=NOISE)
    result = run_training(spec, runs_root=tmp_path)
    rows = {row.label: row for row in result.rows}
    assert rows["exact"].loss != rows["exact, errors of fake_brisbane"].loss


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"snapshot": "fake_nowhere"}, r"noise\.backend: must be a fake backend .*'fake_nowhere'"),
        ({"snapshot": "fake_miami"}, r"noise\.backend: .*"),
        ({"snapshot": "fake_boston", "profile": "eagle"}, r"noise\.profile eagle: .*"),
    ],
)
def test_devices_that_do_not_fit_are_refused_before_training(tmp_path, noise, message):
    with pytest.raises(InputError, match=message):
        run_training(spec_of(SMALL, noise=noise), runs_root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_unknown_keys_of_noise_are_refused():
    with pytest.raises(InputError, match=r"noise.snapshto: must be a known key.*did you mean"):
        spec_of(SMALL, noise={"snapshot": "fake_boston", "snapshto": 1})
    with pytest.raises(InputError, match=r"noise.snapshot: must be given"):
        spec_of(SMALL, noise={"scale": 1.0})
