"""Parts of a device's noise, left out or scaled."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrnn_qiskit.devices import (
    Ablation,
    DeviceNoise,
    GateNoise,
    NoiseFactors,
    NoisePart,
    QubitNoise,
    scale_noise,
)
from qrnn_qiskit.errors import InputError

PARTS = get_args(NoisePart)
NOISE = DeviceNoise(
    "planted",
    (QubitNoise(0.02, 0.1, 1e5, 8e4, 0.05), QubitNoise(0.6, 0.0, 2e5, 3e5, 0.7)),
    (GateNoise("sx", (0,), 0.01, 30.0), GateNoise("cz", (0, 1), 0.6, 70.0)),
    idle_factor=1.5,
    remarks=("made up",),
)


def size_of(noise, part):
    return {
        "gates": sum(gate.error + gate.duration_ns for gate in noise.gates),
        "readout": sum(q.read_one_given_zero + q.read_zero_given_one for q in noise.qubits),
        "reset": sum(qubit.reset_error for qubit in noise.qubits),
        "idle": noise.idle_factor,
    }[part]


@pytest.mark.parametrize("part", PARTS)
def test_no_part_and_only_a_part(part):
    without = scale_noise(NOISE, NoiseFactors.of(f"no_{part}"))
    alone = scale_noise(NOISE, NoiseFactors.of(f"only_{part}"))
    for other in PARTS:
        assert size_of(without, other) == (0 if other == part else size_of(NOISE, other))
        assert size_of(alone, other) == (size_of(NOISE, other) if other == part else 0)


def test_all_is_the_device_and_ideal_is_none():
    assert scale_noise(NOISE, NoiseFactors.of("all")) == NOISE
    assert scale_noise(NOISE, NoiseFactors()) == NOISE
    ideal = scale_noise(NOISE, NoiseFactors.of("ideal"))
    assert not any(size_of(ideal, part) for part in PARTS)
    assert ideal == scale_noise(NOISE, NoiseFactors.of("all", scale=0))
    assert ideal.remarks == NOISE.remarks


def test_every_ablation_has_a_meaning():
    assert len(get_args(Ablation)) == 2 + 2 * len(PARTS)
    assert len({NoiseFactors.of(ablation) for ablation in get_args(Ablation)}) == 10


def test_factors_multiply_up_to_what_is_possible():
    doubled = scale_noise(NOISE, NoiseFactors.of("all", scale=2))
    first, second = doubled.qubits
    assert (first.read_one_given_zero, first.read_zero_given_one) == pytest.approx((0.04, 0.2))
    # No bit is read inverted because of a factor; one that already was stays as it was.
    assert (second.read_one_given_zero, second.read_zero_given_one) == (0.6, 0.0)
    assert (first.reset_error, second.reset_error) == pytest.approx((0.1, 1.0))
    assert [gate.error for gate in doubled.gates] == [0.02, 1.0]
    assert [gate.duration_ns for gate in doubled.gates] == [60.0, 140.0]
    assert doubled.idle_factor == 3.0
    assert (first.t1_ns, first.t2_ns) == (1e5, 8e4)
    halved = scale_noise(NOISE, NoiseFactors(readout=0.5)).qubits[1]
    assert halved.read_one_given_zero == 0.3


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_scaled_noise_is_always_valid(gates, readout, reset, idle):
    scaled = scale_noise(NOISE, NoiseFactors(gates, readout, reset, idle))
    # Construction checks probabilities; readout more than half wrong never comes from a factor.
    assert all(q.read_zero_given_one <= 0.5 for q in scaled.qubits)
    assert scaled.gates[0] == replace(
        NOISE.gates[0], error=min(0.01 * gates, 1.0), duration_ns=30.0 * gates
    )


def test_wrong_factors_are_refused():
    with pytest.raises(InputError, match=r"idle: must be a factor of at least 0, got -1\.0"):
        NoiseFactors(idle=-1.0)
    with pytest.raises(InputError, match="gates: must be a factor of at least 0, got inf"):
        NoiseFactors(gates=float("inf"))
    with pytest.raises(InputError, match="readout: must be a factor of at least 0, got nan"):
        NoiseFactors(readout=float("nan"))
    with pytest.raises(InputError, match=r"ablation: must be one of all, no_gates, .*, got 'none'"):
        NoiseFactors.of("none")
    with pytest.raises(InputError, match="idle_factor: must be at least 0, got -1"):
        replace(NOISE, idle_factor=-1)
