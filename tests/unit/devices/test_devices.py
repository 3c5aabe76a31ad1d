"""Backends by name, and their noise against what the vendor's own properties say."""

from math import inf

import pytest
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import InstructionProperties

from qrnn_qiskit.devices import (
    GateNoise,
    QubitNoise,
    list_fake_backends,
    load_fake_backend,
    read_noise,
)
from qrnn_qiskit.errors import InputError


@pytest.fixture(scope="module")
def boston():
    return load_fake_backend("fake_boston")


def test_listed_backends_are_sorted_and_load():
    names = list_fake_backends()
    assert {"fake_boston", "fake_kingston", "fake_torino", "fake_miami"} <= set(names)
    assert list(names) == sorted(set(names))
    for name in ("fake_manila", "fake_torino"):
        assert load_fake_backend(name).name == name


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(InputError, match="got 'fake_bostom'; for example fake_boston") as caught:
        load_fake_backend("fake_bostom")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="for example fake_boston, fake_kingston"):
        load_fake_backend("zzz")


def test_readout_errors_are_those_of_the_properties(boston):
    physical = [77, 3, 4]
    noise = read_noise(boston, physical)
    assert noise.device == "fake_boston"
    properties = boston.properties()
    for qubit, index in zip(noise.qubits, physical, strict=True):
        named = properties.qubit_property(index)
        assert qubit.read_one_given_zero == named["prob_meas1_prep0"][0]
        assert qubit.read_zero_given_one == named["prob_meas0_prep1"][0]
        assert qubit.t1_ns == pytest.approx(properties.t1(index) * 1e9, rel=1e-12)
        shorter = min(properties.t2(index), 2 * properties.t1(index))
        assert qubit.t2_ns == pytest.approx(shorter * 1e9, rel=1e-12)


def test_readout_errors_are_asymmetric(boston):
    """The mean of the target, used for both, would be wrong by more than a factor of 1.5."""
    noise = read_noise(boston, range(20))
    asymmetric = 0
    for physical, qubit in enumerate(noise.qubits):
        mean = (qubit.read_one_given_zero + qubit.read_zero_given_one) / 2
        assert mean == pytest.approx(boston.target["measure"][(physical,)].error, rel=1e-6)
        asymmetric += max(qubit.read_one_given_zero, qubit.read_zero_given_one) > 1.2 * mean
    assert asymmetric > 3


def test_gates_keep_their_errors_and_the_order_of_qubits(boston):
    first, second = next(iter(boston.target["cz"]))
    for physical in ((first, second), (second, first)):
        noise = read_noise(boston, physical)
        found = {(gate.name, gate.qubits): gate for gate in noise.gates}
        for (name, qubits), gate in found.items():
            entry = boston.target[name][tuple(physical[qubit] for qubit in qubits)]
            assert gate.error == entry.error
            assert gate.duration_ns == pytest.approx(entry.duration * 1e9, rel=1e-12)
        assert {("sx", (0,)), ("sx", (1,)), ("rz", (0,)), ("x", (1,))} <= set(found)
        assert ("cz", (physical.index(first), physical.index(second))) in found
        assert not {name for name, _ in found} & {"measure", "measure_2", "reset", "delay"}


def test_gates_to_other_qubits_are_left_out(boston):
    first, _ = next(iter(boston.target["cz"]))
    noise = read_noise(boston, [first])
    assert {gate.qubits for gate in noise.gates} == {(0,)}


def test_qubits_that_the_device_does_not_have_are_refused(boston):
    for physical in (156, -1):
        with pytest.raises(InputError, match=f"qubits of fake_boston, 0 to 155, got {physical}"):
            read_noise(boston, [0, physical])


def test_backends_without_properties_use_the_target():
    backend = GenericBackendV2(2, seed=1)
    backend.target.update_instruction_properties(
        "measure", (1,), InstructionProperties(error=0.04, duration=1e-6)
    )
    qubit = read_noise(backend, [1]).qubits[0]
    assert (qubit.read_one_given_zero, qubit.read_zero_given_one) == (0.04, 0.04)
    backend.target.update_instruction_properties("measure", (1,), None)
    with pytest.raises(InputError, match=r"readout error of every used qubit .* for qubit 1"):
        read_noise(backend, [1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.2, 0.1), "read_one_given_zero: must be a probability, got 1.2"),
        ((0.1, -0.1), "read_zero_given_one: must be a probability, got -0.1"),
        ((0.1, 0.1, 0.0), "t1_ns: must be positive, got 0.0"),
        ((0.1, 0.1, 100.0, 300.0), r"t2_ns: must lie in \(0, 2 t1_ns\], got 300.0; clip"),
        ((0.1, 0.1, 100.0), r"t2_ns: must lie in \(0, 2 t1_ns\], got inf"),
        ((0.1, 0.1, inf, 0.0), r"t2_ns: must lie in \(0, 2 t1_ns\], got 0.0"),
    ],
)
def test_unphysical_qubits_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        QubitNoise(*arguments)


def test_unphysical_gates_are_refused():
    with pytest.raises(InputError, match=r"error: must be a probability, got 1\.5"):
        GateNoise("cz", (0, 1), 1.5, 68.0)
    with pytest.raises(InputError, match=r"duration_ns: must be at least 0, got -1\.0"):
        GateNoise("cz", (0, 1), 0.01, -1.0)
