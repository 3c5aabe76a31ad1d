"""Settings of noise studies: what a grid holds, and what is refused in one line."""

import pytest

from qrnn_qiskit.devices import NoiseFactors
from qrnn_qiskit.errors import InputError
from qrnn_qiskit.studies.noise_grid import build_variant, list_points
from tests.unit.studies.jobs import FEEDFORWARD, HOST, spec_of

DIGITS = {"name": "digits"}


def grid_of(settings=FEEDFORWARD, **axes):
    return spec_of(settings, noise_study={"grid": axes})


def test_axes_left_out_come_from_the_job():
    (point,) = list_points(spec_of(FEEDFORWARD))
    assert point.snapshot == "fake_boston"
    assert (point.num_shots, point.profile) == (50, None)
    assert (point.num_memory, point.num_timesteps, point.strength_rad) == (2, None, None)
    assert (point.scale, point.ablation, point.mitigation, point.seed) == (1.0, "all", "none", 0)
    (point,) = list_points(spec_of(FEEDFORWARD, noise={"snapshot": "fake_torino"}))
    assert point.snapshot == "fake_torino"


def test_every_combination_is_there_once():
    points = list_points(grid_of(scale=[0, 1], ablation=["all", "only_idle"], seed=[3, 4, 5]))
    assert len(set(points)) == len(points) == 12
    assert {(p.scale, p.ablation, p.seed) for p in points} == {
        (scale, ablation, seed)
        for scale in (0.0, 1.0)
        for ablation in ("all", "only_idle")
        for seed in (3, 4, 5)
    }


def test_several_grids_are_put_together_without_doubles():
    axes = [{"scale": [0.0, 1.0]}, {"ablation": ["all", "no_idle"]}]
    points = list_points(spec_of(FEEDFORWARD, noise_study={"grid": axes}))
    assert [(p.scale, p.ablation) for p in points] == [
        (0.0, "all"), (1.0, "all"), (1.0, "no_idle"),
    ]  # fmt: skip


def test_factors_follow_from_scale_and_ablation():
    points = list_points(grid_of(scale=[3.0], ablation=["no_readout", "only_reset", "ideal"]))
    assert [point.factors for point in points] == [
        NoiseFactors(3, 0, 3, 3), NoiseFactors(0, 0, 3, 0), NoiseFactors(0, 0, 0, 0),
    ]  # fmt: skip


def test_a_variant_is_the_job_with_the_point_s_model():
    spec = grid_of(num_timesteps=[6], num_memory=[3], strength_rad=[0.5], seed=[7])
    (point,) = list_points(spec)
    variant = build_variant(spec, point)
    assert variant.task.num_timesteps == 6
    assert variant.model.num_memory == 3
    assert [readout.strength_rad for readout in variant.model.readouts] == [0.5]
    assert not variant.model.train_strengths
    assert variant.training.seed == 7
    assert variant.training_id != spec.training_id
    # Noise does not decide what is trained.
    (point,) = list_points(grid_of(scale=[2.0], num_shots=[9]))
    assert build_variant(spec, point).training_id == spec.training_id


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"grid": {"scal": [1]}}, "noise_study.grid.0.scal: must be a known key.*mean scale"),
        ({"grid": {"scale": []}}, "noise_study.grid.0.scale: must hold a value, got"),
        ({"grid": {"scale": [1, 1]}}, "grid.0.scale: must hold each value once"),
        ({"grid": {"scale": [-1]}}, "grid.0.scale.0: must be greater than or equal to 0, got -1"),
        ({"grid": {"ablation": ["no_gate"]}}, "grid.0.ablation.0: must be 'all', .*'no_gate'"),
        ({"grid": {"strength_rad": [2]}}, r"strength_rad: must lie in \(0, pi/2\], got 2"),
        ({"grid": {"profile": ["no"]}}, "profile: must be the name of a shipped profile"),
        ({"grid": []}, "noise_study.grid: must hold a grid"),
        ({"max_shots": 10}, "max_standard_error: must be given, too"),
        ({"max_standard_error": 0.1}, "max_shots: must be given, too"),
        ({"engine": "exact", "grid": {"mitigation": ["local"]}}, "grid.mitigation: must be left"),
        ({"engine": "exact", "grid": {"num_shots": [5]}}, "grid.num_shots: must be left out"),
        ({"num_samples": 2}, "num_samples: must be greater than or equal to 3, got 2"),
    ],
)
def test_wrong_settings_are_refused(study, message):
    with pytest.raises(InputError, match=message) as found:
        spec_of(FEEDFORWARD, noise_study=study)
    assert "\n" not in str(found.value)


def test_axes_that_do_not_fit_the_job_are_refused():
    spec = grid_of(FEEDFORWARD | {"task": {"name": "copying"}}, num_timesteps=[5])
    with pytest.raises(InputError, match=r"num_timesteps: must be left out .* task 'copying'"):
        build_variant(spec, list_points(spec)[0])
    spec = grid_of(FEEDFORWARD | {"task": DIGITS}, num_timesteps=[9])
    with pytest.raises(InputError, match=r"num_timesteps: must be less than or equal to 8, got 9"):
        build_variant(spec, list_points(spec)[0])
    spec = grid_of(HOST, strength_rad=[1.0])
    with pytest.raises(InputError, match=r"strength_rad: must be left out in the host loop"):
        build_variant(spec, list_points(spec)[0])
    with pytest.raises(InputError, match=r"max_shots: must not be set in the host loop"):
        spec_of(HOST, noise_study={"max_shots": 10, "max_standard_error": 0.1})


def test_digits_of_fewer_rows_are_the_same_digits():
    whole = spec_of(FEEDFORWARD | {"task": DIGITS}).task.load()
    upper = spec_of(FEEDFORWARD | {"task": DIGITS | {"num_timesteps": 3}}).task.load()
    assert upper.num_timesteps == 3
    assert (upper.test.inputs == whole.test.inputs[:, :3]).all()
    assert (upper.test.targets == whole.test.targets).all()
