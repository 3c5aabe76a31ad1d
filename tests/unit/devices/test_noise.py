"""A device's noise against what the vendor's own properties say."""

from math import inf, nan

import pytest
from qiskit.circuit import Instruction
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.transpiler import InstructionProperties, QubitProperties

from qrnn_qiskit.devices import (
    GateNoise,
    QubitNoise,
    load_fake_backend,
    read_noise,
    read_target,
)
from qrnn_qiskit.devices.noise import _scale
from qrnn_qiskit.errors import InputError


@pytest.fixture(scope="module")
def boston():
    return load_fake_backend("fake_boston")


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


def test_a_fast_measurement_keeps_the_asymmetry_at_its_own_mean(boston):
    physical = [3, 4, 77]
    plain = read_noise(boston, physical)
    noise = read_noise(boston, physical, measure_names={0: "measure_2", 2: "measure_2"})
    for index in (0, 2):
        slow, fast = plain.qubits[index], noise.qubits[index]
        e0, e1 = fast.read_one_given_zero, fast.read_zero_given_one
        known = boston.target["measure_2"][physical[index],].error
        assert (e0 + e1) / 2 == pytest.approx(known, rel=1e-12)
        ratio = slow.read_one_given_zero / slow.read_zero_given_one
        assert e0 / e1 == pytest.approx(ratio, rel=1e-12)
        assert known != pytest.approx(
            (slow.read_one_given_zero + slow.read_zero_given_one) / 2, rel=0.01
        )
        assert (fast.t1_ns, fast.t2_ns) == (slow.t1_ns, slow.t2_ns)
        assert fast.reset_error == slow.reset_error
    assert noise.qubits[1] == plain.qubits[1]
    assert noise.gates == plain.gates
    assert read_noise(boston, physical, measure_names={0: "measure"}) == plain


def test_a_fast_measurement_of_an_unknown_asymmetry_is_symmetric():
    backend = GenericBackendV2(2, seed=1)
    backend.target.add_instruction(
        Instruction("measure_2", 1, 1, []), {(0,): InstructionProperties(error=0.02, duration=1e-6)}
    )
    qubit = read_noise(backend, [0], measure_names={0: "measure_2"}).qubits[0]
    assert (qubit.read_one_given_zero, qubit.read_zero_given_one) == (0.02, 0.02)
    with pytest.raises(InputError, match=r"has none for qubit 1 in measure_2; use another"):
        read_noise(backend, [1], measure_names={0: "measure_2"})


def test_resets_fail_as_often_as_the_measurement_of_their_kind(boston):
    physical = [3, 77]
    noise = read_noise(boston, physical, reset_names={1: "reset_2"})
    device = read_target(boston)
    for qubit, index, kind in zip(noise.qubits, physical, ("", "_2"), strict=True):
        assert qubit.reset_error == boston.target["measure" + kind][index,].error
        assert qubit.reset_error == device.error("reset" + kind, (index,))
    assert boston.target["measure"][77,].error != boston.target["measure_2"][77,].error
    with pytest.raises(InputError, match=r"reset_names: must name circuit qubits, 0 to 1, got 2"):
        read_noise(boston, physical, reset_names={2: "reset_2"})


def test_a_reset_that_a_device_lacks_does_not_fail():
    kingston = load_fake_backend("fake_kingston")
    noise = read_noise(kingston, [3, 4], reset_names={1: "reset_2"})
    assert noise.qubits[0].reset_error == kingston.target["measure"][3,].error
    assert noise.qubits[1].reset_error == 0.0


def test_a_reported_reset_error_holds():
    backend = GenericBackendV2(2, seed=1)
    backend.target.update_instruction_properties("reset", (1,), InstructionProperties(error=0.07))
    assert [qubit.reset_error for qubit in read_noise(backend, [1]).qubits] == [0.07]


def test_scaled_errors_stay_probabilities_and_keep_their_mean():
    for e0, e1, mean in ((0.0, 0.0, 0.1), (0.9, 0.0, 0.6), (0.1, 0.5, 0.45), (0.02, 0.01, 0.03)):
        scaled = _scale(e0, e1, mean)
        assert sum(scaled) / 2 == pytest.approx(mean, rel=1e-12)
        assert all(0 <= error <= 1 for error in scaled)
    assert _scale(0.01, 0.02, 0.03) == pytest.approx((0.02, 0.04), rel=1e-12)


def test_unknown_measurements_are_refused(boston):
    with pytest.raises(InputError, match=r"fake_boston has none for qubit 3 in measure_3; use"):
        read_noise(boston, [3], measure_names={0: "measure_3"})
    with pytest.raises(InputError, match=r"measure_names: must name circuit qubits, 0 to 0, got 1"):
        read_noise(boston, [3], measure_names={1: "measure_2"})


def test_gates_that_the_backend_lacks_come_from_the_target(boston):
    device = read_target(boston, fractional_gates=True)
    noise = read_noise(boston, [4, 3], target=device)
    plain = read_noise(boston, [4, 3])
    assert noise.qubits == plain.qubits
    gates = {(gate.name, gate.qubits): gate for gate in noise.gates}
    for qubits in ((0, 1), (1, 0)):
        physical = tuple([4, 3][qubit] for qubit in qubits)
        assert gates["rzz", qubits].error == boston.target["cz"][physical].error
        assert gates["rzz", qubits].duration_ns == device.duration_ns("cz", physical)
    assert gates["rx", (1,)].error == boston.target["sx"][3,].error
    assert set(plain.gates) == {gate for gate in noise.gates if gate.name not in ("rx", "rzz")}


def test_gates_come_in_the_same_order_in_every_process(boston):
    """A target's own order follows string hashes."""
    names = [gate.name for gate in read_noise(boston, [3, 4]).gates]
    assert names == sorted(names)


# --- what is missing or absurd --------------------------------------------------------------------


def generic_backend():
    """Four ideal-looking qubits whose numbers a test may change."""
    backend = GenericBackendV2(4, seed=1)
    times = [QubitProperties(t1=1e-4, t2=9e-5)] * 4
    backend.target.qubit_properties = times
    for gate in ("cx", "sx"):
        for qubits, entry in backend.target[gate].items():
            plain = InstructionProperties(error=0.01, duration=entry.duration)
            backend.target.update_instruction_properties(gate, qubits, plain)
    return backend


def set_error(backend, name, qubits, error):
    duration = backend.target[name][qubits].duration
    properties = InstructionProperties(error=error, duration=duration)
    backend.target.update_instruction_properties(name, qubits, properties)


def test_a_complete_device_has_no_remarks():
    assert read_noise(generic_backend(), range(4)).remarks == ()


def test_missing_and_absurd_times_are_named():
    backend = generic_backend()
    backend.target.qubit_properties = [
        QubitProperties(t1=1e-4, t2=9e-5),
        QubitProperties(t1=None, t2=7e-5),
        QubitProperties(t1=1.2e-4, t2=None),
        QubitProperties(t1=1e-4, t2=3e-4),
    ]
    noise = read_noise(backend, [3, 1, 2])
    assert noise.remarks == (
        "qubit 3: T2 of 300 us is above 2 T1, 2 T1 is taken (200 us)",
        "qubit 1: T1 is unknown, the device's median is taken (100 us)",
        "qubit 2: T2 is unknown, the device's median is taken (90 us)",
    )
    assert noise.qubits[0].t2_ns == pytest.approx(2e5)
    assert noise.qubits[1].t1_ns == pytest.approx(1e5)
    assert noise.qubits[2].t2_ns == pytest.approx(9e4)
    # Only qubits of the circuit are worth a remark.
    assert read_noise(backend, [0]).remarks == ()


@pytest.mark.parametrize("missing", [None, nan, -1.0, 1.5])
def test_a_missing_gate_error_is_the_device_s_median(missing):
    backend = generic_backend()
    set_error(backend, "cx", (0, 1), missing)
    set_error(backend, "cx", (2, 3), 0.9)
    noise = read_noise(backend, [0, 1])
    assert noise.remarks == (
        "cx (0, 1): its error is unknown, the device's median is taken (0.01)",
    )
    errors = {gate.qubits: gate.error for gate in noise.gates if gate.name == "cx"}
    assert errors == {(0, 1): 0.01, (1, 0): 0.01}


@pytest.mark.parametrize("error", [0.5, 1.0])
def test_an_unusable_gate_keeps_its_error_and_is_named(error):
    backend = generic_backend()
    set_error(backend, "cx", (0, 1), error)
    noise = read_noise(backend, [1, 0])
    assert noise.remarks == (f"cx (0, 1): its error of {error:.2g} says that it is unusable",)
    assert [g.error for g in noise.gates if (g.name, g.qubits) == ("cx", (1, 0))] == [error]
    # A circuit that does not use it need not know.
    assert read_noise(backend, [1, 0], uses={("cx", (0, 1)), ("sx", (0,))}).remarks == ()


def test_a_readout_that_tells_nothing_is_named_and_an_unknown_one_refused():
    backend = generic_backend()
    set_error(backend, "measure", (2,), 0.5)
    noise = read_noise(backend, [2])
    assert noise.remarks == ("qubit 2: readout errors 0.5 and 0.5 tell nothing",)
    set_error(backend, "measure", (2,), None)
    with pytest.raises(InputError, match=r"has none for qubit 2 in measure; use another snapshot"):
        read_noise(backend, [2])


def test_only_the_gates_in_use_are_read(boston):
    physical = next(iter(boston.target["cz"]))
    noise = read_noise(boston, physical, uses={("cz", (0, 1)), ("sx", (1,))})
    assert [(gate.name, gate.qubits) for gate in noise.gates] == [("cz", (0, 1)), ("sx", (1,))]
    assert set(noise.gates) < set(read_noise(boston, physical).gates)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.2, 0.1), "read_one_given_zero: must be a probability, got 1.2"),
        ((0.1, -0.1), "read_zero_given_one: must be a probability, got -0.1"),
        ((0.1, 0.1, 0.0), "t1_ns: must be positive, got 0.0"),
        ((0.1, 0.1, 100.0, 300.0), r"t2_ns: must lie in \(0, 2 t1_ns\], got 300.0; clip"),
        ((0.1, 0.1, 100.0), r"t2_ns: must lie in \(0, 2 t1_ns\], got inf"),
        ((0.1, 0.1, inf, 0.0), r"t2_ns: must lie in \(0, 2 t1_ns\], got 0.0"),
        ((0.1, 0.1, inf, inf, 1.5), "reset_error: must be a probability, got 1.5"),
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
