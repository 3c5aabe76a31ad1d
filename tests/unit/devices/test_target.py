"""What a compiler may use of a device, against what the backend itself says."""

import json
import math
import os
import subprocess
import sys
from math import inf, nan

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import IfElseOp, Measure, Parameter, Reset
from qiskit.circuit.library import CZGate, RZGate, SXGate, XGate
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import Operator
from qiskit.transpiler import InstructionProperties, Target, generate_preset_pass_manager

from qrnn_qiskit.devices import (
    assume_reset_error,
    load_backend,
    read_snapshot_id,
    read_target,
    save_snapshot,
)
from qrnn_qiskit.errors import InputError


@pytest.fixture(scope="module")
def backends():
    names = ("fake_boston", "fake_brisbane", "fake_manila", "fake_torino", "fake_kingston")
    return {name: load_backend(name) for name in names}


@pytest.fixture(scope="module")
def devices(backends):
    return {name: read_target(backend) for name, backend in backends.items()}


@pytest.fixture
def edit(tmp_path):
    """A stored copy of a fake backend after a change to its properties."""

    def edited(name, change):
        path = tmp_path / "device.json"
        save_snapshot(load_backend(name), path)
        content = json.loads(path.read_text())
        change(content["properties"])
        path.write_text(json.dumps(content))
        return load_backend(str(path))

    return edited


def gate_of(properties, name, qubits):
    return next(
        gate
        for gate in properties["gates"]
        if gate["gate"] == name and gate["qubits"] == list(qubits)
    )


def parameter_of(entry, name):
    return next(parameter for parameter in entry if parameter["name"] == name)


def refused(match):
    """An `InputError` of one line."""
    return pytest.raises(InputError, match=rf"(?-s:\A.*{match}.*\Z)")


def small_circuit(num_qubits, *, branches=True, angle=None):
    circuit = QuantumCircuit(num_qubits, num_qubits + 1)
    angle = Parameter("angle") if angle is None else angle
    for qubit in range(num_qubits):
        circuit.ry(angle, qubit)
    for qubit in range(num_qubits - 1):
        circuit.rzz(angle, qubit, qubit + 1)
    circuit.measure(0, 0)
    if branches:
        circuit.reset(0)
        with circuit.if_test((circuit.clbits[0], 1)) as otherwise:
            circuit.cx(0, num_qubits - 1)
        with otherwise:
            circuit.rx(angle, 1)
    circuit.measure(range(num_qubits), range(1, num_qubits + 1))
    return circuit


def walk(circuit):
    """Names and qubits of all instructions, in branches too."""
    for item in circuit.data:
        qubits = [circuit.find_bit(qubit).index for qubit in item.qubits]
        if isinstance(item.operation, IfElseOp):
            for body in item.operation.blocks:
                for name, inner, params in walk(body):
                    yield name, tuple(qubits[index] for index in inner), params
        elif item.operation.name != "barrier":
            yield item.operation.name, tuple(qubits), item.operation.params


def transpile(circuit, target, level=3):
    passes = generate_preset_pass_manager(
        optimization_level=level, target=target, seed_transpiler=1
    )
    return passes.run(circuit)


# --- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "entangler"), [("fake_boston", "cz"), ("fake_brisbane", "ecr"), ("fake_manila", "cx")]
)
def test_errors_and_durations_are_those_of_the_properties(backends, devices, name, entangler):
    properties, device = backends[name].properties(), devices[name]
    assert (device.name, device.two_qubit_gate) == (name, entangler)
    checked = 0
    for gate in properties.gates:
        if gate.gate not in ("sx", "x", "id", "rz", entangler):
            continue
        pair = tuple(gate.qubits)
        good = properties.gate_error(gate.gate, pair) < 0.5
        good &= all(properties.gate_error("sx", qubit) < 0.5 for qubit in pair)
        good &= all(properties.readout_error(qubit) < 0.5 for qubit in pair)
        if good:
            assert device.error(gate.gate, pair) == properties.gate_error(gate.gate, pair)
            length = properties.gate_length(gate.gate, pair) * 1e9
            assert device.duration_ns(gate.gate, pair) == pytest.approx(length, rel=1e-12)
            checked += 1
        else:
            assert pair not in device.target[gate.gate]
    assert checked > 4 * device.num_qubits - 20
    for qubit in device.usable_qubits:
        assert device.error("measure", [qubit]) == properties.readout_error(qubit)
        length = properties.readout_length(qubit) * 1e9
        assert device.duration_ns("measure", [qubit]) == pytest.approx(length, rel=1e-12)
        assert (device.error("rz", [qubit]), device.duration_ns("rz", [qubit])) == (0.0, 0.0)


def test_edges_and_neighbours_are_the_usable_couplings(backends, devices):
    for name, device in devices.items():
        properties = backends[name].properties()
        good = {
            qubit
            for qubit in range(device.num_qubits)
            if properties.gate_error("sx", qubit) < 0.5 and properties.readout_error(qubit) < 0.5
        }
        expected = {
            tuple(sorted(gate.qubits))
            for gate in properties.gates
            if gate.gate == device.two_qubit_gate
            and set(gate.qubits) <= good
            and properties.gate_error(gate.gate, gate.qubits) < 0.5
        }
        assert device.edges == expected
        assert device.usable_qubits == tuple(sorted(good))
        assert len(device.neighbours) == device.num_qubits == backends[name].num_qubits
        for first, near in enumerate(device.neighbours):
            assert list(near) == sorted(near)
            assert {tuple(sorted((first, second))) for second in near} <= expected
        assert sum(map(len, device.neighbours)) == 2 * len(expected)


def test_relaxation_times_are_clipped_and_the_median_where_unknown(backends, devices):
    properties, device = backends["fake_boston"].properties(), devices["fake_boston"]
    for qubit in range(device.num_qubits):
        t1, t2 = properties.t1(qubit) * 1e9, properties.t2(qubit) * 1e9
        assert device.t1_ns[qubit] == pytest.approx(t1, rel=1e-12)
        assert device.t2_ns[qubit] == pytest.approx(min(t2, 2 * t1), rel=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        device.t1_ns[0] = 1.0

    kingston, reported = devices["fake_kingston"], backends["fake_kingston"].target.qubit_properties
    (unknown,) = [index for index, qubit in enumerate(reported) if not qubit.t1]
    assert not reported[unknown].t2  # a canary: this fake lacks T1 and T2 of one qubit
    others = [qubit for qubit in reported if qubit.t1]
    assert kingston.t1_ns[unknown] == pytest.approx(np.median([q.t1 for q in others]) * 1e9)
    assert kingston.t2_ns[unknown] == pytest.approx(np.median([q.t2 for q in others]) * 1e9)
    assert unknown not in kingston.usable_qubits


def test_a_directed_gate_answers_in_both_orders(backends, devices):
    backend, device = backends["fake_brisbane"], devices["fake_brisbane"]
    pair = next(pair for pair in backend.target["ecr"] if pair[::-1] not in backend.target["ecr"])
    assert device.error("ecr", pair[::-1]) == device.error("ecr", pair)
    assert device.duration_ns("ecr", pair[::-1]) == device.duration_ns("ecr", pair)
    assert pair[::-1] not in device.target["ecr"]


def test_each_direction_keeps_its_own_numbers():
    backend = GenericBackendV2(2, basis_gates=["cz", "sx", "x", "rz", "id"], seed=1)
    device = read_target(backend)
    assert device.error("cz", (0, 1)) == backend.target["cz"][0, 1].error
    assert device.error("cz", (1, 0)) == backend.target["cz"][1, 0].error
    assert device.error("cz", (0, 1)) != device.error("cz", (1, 0))


def test_a_reset_is_as_wrong_as_the_readout_before_it(backends, devices):
    for name, device in devices.items():
        # A canary: if a target has errors of resets, the assumption can go.
        assert {entry.error for entry in backends[name].target["reset"].values()} == {None}
        for qubit in device.usable_qubits:
            readout = device.error("measure", [qubit])
            assert device.error("reset", [qubit]) == assume_reset_error(readout) == readout
    boston = devices["fake_boston"]
    for qubit in boston.usable_qubits:
        fast = boston.error("measure_2", [qubit])
        assert (
            boston.error("reset_2", [qubit])
            == fast
            == (backends["fake_boston"].target["measure_2"][qubit,].error)
        )
        assert boston.duration_ns("reset_2", [qubit]) < boston.duration_ns("reset", [qubit])


def test_fast_measurements_are_used_where_every_qubit_has_them(devices, edit):
    names = {
        name: (device.measure_name(True), device.reset_name(True))
        for name, device in devices.items()
    }
    assert names["fake_boston"] == ("measure_2", "reset_2")
    assert names["fake_kingston"] == ("measure_2", "reset")
    assert names["fake_torino"] == ("measure", "reset")
    boston = devices["fake_boston"]
    assert (boston.measure_name(False), boston.reset_name(False)) == ("measure", "reset")

    def spoil(properties):
        gate = gate_of(properties, "measure_2", (5,))
        parameter_of(gate["parameters"], "gate_error")["value"] = 0.7

    spoiled = read_target(edit("fake_boston", spoil))
    assert "measure_2 (5): error 0.7" in spoiled.unusable
    assert spoiled.measure_name(True) == "measure"
    assert 5 in spoiled.usable_qubits


# --- what is removed -----------------------------------------------------------------------------


def test_unusable_qubits_and_gates_are_named_and_gone(devices):
    boston = devices["fake_boston"]
    assert boston.unusable == ("qubit 146: sx error 1.0", "cz (84, 85): error 1.0")
    assert (84, 85) not in boston.edges
    assert 85 not in boston.neighbours[84]
    assert boston.neighbours[146] == ()
    assert not any(146 in qubits for _, qubits in boston.target.instructions if qubits)
    assert devices["fake_torino"].unusable[0] == "qubit 86: measure error 0.565185546875"
    assert devices["fake_manila"].unusable == ()


def test_excluded_qubits_are_gone_but_the_snapshot_is_the_same(backends, devices):
    device = read_target(backends["fake_manila"], excluded_qubits=[0, 0])
    assert device.unusable == ("qubit 0: excluded",)
    assert device.edges == {(1, 2), (2, 3), (3, 4)}
    assert device.num_qubits == device.target.num_qubits == 5
    assert device.snapshot_id == devices["fake_manila"].snapshot_id
    with refused(r"profile.excluded_qubits: must be qubits of fake_manila, 0 to 4, got 5; leave"):
        read_target(backends["fake_manila"], excluded_qubits=[5])


@pytest.mark.parametrize("value", [0.5, 1.0, nan])
def test_a_broken_direction_is_lost_and_a_broken_edge_is_lost_whole(edit, value):
    def one_way(properties):
        gate = gate_of(properties, "cx", (1, 2))
        parameter_of(gate["parameters"], "gate_error")["value"] = value

    def both_ways(properties):
        one_way(properties)
        gate = gate_of(properties, "cx", (2, 1))
        parameter_of(gate["parameters"], "gate_error")["value"] = value

    device = read_target(edit("fake_manila", one_way))
    assert (1, 2) in device.edges
    assert ((1, 2) in device.target["cx"], (2, 1) in device.target["cx"]) == (False, True)
    assert device.error("cx", (1, 2)) == device.error("cx", (2, 1)) < 0.1
    assert device.unusable == ()

    device = read_target(edit("fake_manila", both_ways))
    assert (1, 2) not in device.edges
    assert device.unusable == (f"cx (1, 2): error {value}",)
    assert device.usable_qubits == (0, 1, 2, 3, 4)


def test_a_missing_error_is_unusable_where_others_have_one(edit):
    def forget(properties):
        for pair in ((0, 1), (1, 0)):
            gate = gate_of(properties, "cx", pair)
            gate["parameters"] = [p for p in gate["parameters"] if p["name"] != "gate_error"]
        qubit = properties["qubits"][4]
        qubit[:] = [p for p in qubit if p["name"] != "readout_error"]

    device = read_target(edit("fake_manila", forget))
    assert device.unusable == ("qubit 4: measure no error reported",
                               "cx (0, 1): no error reported")  # fmt: skip
    assert device.edges == {(1, 2), (2, 3)}


FAULT = {"name": "operational", "value": 0, "unit": "", "date": "2026-01-01T00:00:00Z"}


def test_what_the_backend_marks_as_faulty_is_gone(edit):
    def mark(properties):
        properties["qubits"][4].append(dict(FAULT))
        for pair in ((0, 1), (1, 0)):
            gate_of(properties, "cx", pair)["parameters"].append(dict(FAULT))

    device = read_target(edit("fake_manila", mark))
    assert device.unusable == ("qubit 4: marked faulty", "cx (0, 1): marked faulty")
    assert device.edges == {(1, 2), (2, 3)}


def test_the_runtime_cannot_build_a_target_whose_first_qubit_is_faulty(edit):
    """A canary: `convert_to_target` deletes from None; if it fails, the runtime was mended."""

    def mark(properties):
        properties["qubits"][0].append(dict(FAULT))

    with refused("TypeError: 'NoneType' object does not support item deletion; write it with"):
        edit("fake_manila", mark)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fake_kyoto", "backend: must have a usable two-qubit gate, fake_kyoto has none: each ecr"),
        ("fake_armonk", "backend: must have a two-qubit gate out of cz, ecr, cx, fake_armonk has"),
    ],
)
def test_a_device_without_a_usable_edge_is_refused(name, message):
    with refused(message):
        read_target(load_backend(name))


# --- ideal backends ------------------------------------------------------------------------------


def test_an_instruction_without_any_error_is_ideal():
    backend = GenericBackendV2(3, noise_info=False, control_flow=True)
    device = read_target(backend)
    assert device.unusable == ()
    assert device.edges == {(0, 1), (0, 2), (1, 2)}
    for name, qubits in (("cx", (0, 1)), ("measure", (2,)), ("reset", (2,)), ("sx", (0,))):
        assert device.error(name, qubits) == 0.0
    assert list(device.t1_ns) == list(device.t2_ns) == [inf] * 3
    assert device.duration_ns("rz", (0,)) == 0.0
    with refused(r"backend: must have the duration of cx on qubits \(0, 1\), generic_backend_3q"):
        device.duration_ns("cx", (0, 1))


class GlobalBackend(GenericBackendV2):
    """All instructions global: no entry per qubit."""

    @property
    def target(self):
        target = Target(num_qubits=4)
        gates = (CZGate(), SXGate(), XGate(), RZGate(Parameter("t")), Measure(), Reset())
        for gate in gates:
            target.add_instruction(gate)
        target.add_instruction(IfElseOp, name="if_else")
        return target


def test_global_gates_become_gates_of_every_qubit():
    device = read_target(GlobalBackend(4), excluded_qubits=[3])
    assert device.edges == {(0, 1), (0, 2), (1, 2)}
    assert device.error("cz", (1, 0)) == 0.0
    assert set(device.target["if_else"]) == {None}
    result = transpile(small_circuit(3), device.restrict([2, 0, 1]))
    assert {name for name, _, _ in walk(result)} <= {"cz", "sx", "x", "rz", "measure", "reset"}


# --- fractional gates ----------------------------------------------------------------------------


def test_fractional_gates_cost_what_the_entangler_and_sx_cost(backends, devices):
    plain = devices["fake_boston"]
    device = read_target(backends["fake_boston"], fractional_gates=True)
    assert device.two_qubit_gate == "cz"
    assert device.edges == plain.edges
    assert {tuple(sorted(pair)) for pair in device.target["rzz"]} == device.edges
    for first, second in device.edges:
        for pair in ((first, second), (second, first)):
            assert pair in device.target["rzz"]
            assert device.error("rzz", pair) == plain.error("cz", pair)
            assert device.duration_ns("rzz", pair) == plain.duration_ns("cz", pair)
    for qubit in device.usable_qubits:
        assert device.error("rx", [qubit]) == plain.error("sx", [qubit])
        assert device.duration_ns("rx", [qubit]) == plain.duration_ns("sx", [qubit])
    assert device.snapshot_id == plain.snapshot_id
    assert not plain.has("rzz")
    assert not plain.has("rx")


def test_numeric_rzz_angles_are_folded_into_the_native_range(backends):
    device = read_target(backends["fake_boston"], fractional_gates=True)
    circuit = QuantumCircuit(2)
    circuit.rzz(2.5, 0, 1)
    result = transpile(circuit, device.restrict([3, 4]), level=1)
    angles = [params[0] for name, _, params in walk(result) if name == "rzz"]
    assert len(angles) == 1
    assert 0 <= angles[0] <= math.pi / 2
    assert Operator.from_circuit(result).equiv(circuit)


def test_fractional_gates_of_the_backend_hold_as_they_are(edit):
    def spoil(properties):
        for gate in properties["gates"]:
            if gate["gate"] == "rzz":
                parameter_of(gate["parameters"], "gate_error")["value"] = 1.0

    backend = edit("fake_fractional", spoil)  # live Torino says just that of its rzz
    device = read_target(backend, fractional_gates=True)
    assert not device.has("rzz")
    assert device.has("rx")
    assert "rzz (0, 1): error 1.0" in device.unusable
    assert len(device.edges) == 4

    good = load_backend("fake_fractional")
    device = read_target(good, fractional_gates=True)
    assert device.error("rzz", (0, 1)) == good.target["rzz"][0, 1].error
    plain = read_target(good)
    assert not plain.has("rzz")
    assert not plain.has("rx")


def test_fractional_gates_need_cz(backends):
    for name, gate in (("fake_brisbane", "ecr"), ("fake_manila", "cx")):
        with refused(f"profile.fractional_gates: must be false .*, {name} has {gate}; choose a"):
            read_target(backends[name], fractional_gates=True)


# --- restriction ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "physical"),
    [("fake_boston", [5, 3, 16, 23, 4]), ("fake_brisbane", [2, 0, 14, 1]), ("fake_manila", [3, 2])],
)
def test_restriction_renumbers_every_instruction(backends, devices, name, physical):
    device, original = devices[name], backends[name].target
    target = device.restrict(physical)
    assert target.num_qubits == len(physical)
    assert target.dt == original.dt
    assert vars_of(target.timing_constraints()) == vars_of(original.timing_constraints())
    loops = {"for_loop", "while_loop", "switch_case"}
    assert set(target.operation_names) == set(original.operation_names) - loops
    for operation in target.operation_names:
        entries = dict(target[operation].items())
        if operation == "if_else":
            assert entries == {None: None}
            continue
        for qubits, properties in entries.items():
            full = original[operation][tuple(physical[qubit] for qubit in qubits)]
            assert properties == full
        wanted = {qubits for qubits in original[operation] if set(qubits) <= set(physical)}
        assert {tuple(physical[qubit] for qubit in qubits) for qubits in entries} == wanted
    for index, qubit in enumerate(physical):
        assert target.qubit_properties[index].t1 == original.qubit_properties[qubit].t1


def vars_of(timing):
    names = ("granularity", "min_length", "pulse_alignment", "acquire_alignment")
    return [getattr(timing, name) for name in names]


@pytest.mark.parametrize("fractional_gates", [False, True])
def test_circuits_transpile_to_a_restriction(backends, fractional_gates):
    device = read_target(backends["fake_boston"], fractional_gates=fractional_gates)
    target = device.restrict([16, 3, 4, 5])
    for circuit in (small_circuit(4), small_circuit(4, angle=2.5)):
        result = transpile(circuit, target)
        instructions = list(walk(result))
        assert all(target.instruction_supported(name, qubits) for name, qubits, _ in instructions)
        assert {"measure", "reset"} <= {name for name, _, _ in instructions}
        assert any(isinstance(item.operation, IfElseOp) for item in result.data)
        assert fractional_gates == any(name == "rzz" for name, _, _ in instructions)


@pytest.mark.filterwarnings("ignore:Properties of fake_nighthawk:UserWarning")  # once a process
@pytest.mark.parametrize(
    ("name", "physical", "branches"),
    [
        ("fake_nighthawk", [0, 1, 11, 10], True),
        ("fake_miami", [0, 1, 2, 10], False),
        ("fake_brisbane", [1, 0, 14], True),
    ],
)
def test_other_devices_transpile_too(name, physical, branches):
    device = read_target(load_backend(name))
    target = device.restrict(physical)
    result = transpile(small_circuit(len(physical), branches=branches), target)
    assert all(target.instruction_supported(gate, qubits) for gate, qubits, _ in walk(result))


def test_the_whole_target_transpiles_without_its_broken_parts(devices):
    boston = devices["fake_boston"]
    result = transpile(small_circuit(4), boston.target)
    assert {qubits for name, qubits, _ in walk(result) if name == "cz"} <= set(boston.target["cz"])


def test_a_single_qubit_can_be_a_target(devices):
    target = devices["fake_boston"].restrict([7])
    assert target.num_qubits == 1
    assert "cz" not in target.operation_names
    assert "measure" in target.operation_names


@pytest.mark.parametrize(
    ("physical", "message"),
    [
        ([3, 3], r"physical_qubits: must be one or more distinct qubits, got \[3, 3\]; name each"),
        ([], r"physical_qubits: must be one or more distinct qubits, got \[\]"),
        ([3, 146], "physical_qubits: must be usable qubits of fake_boston, got 146; use qubits"),
        ([156], "physical_qubits: must be usable qubits of fake_boston, got 156"),
    ],
)
def test_a_restriction_to_no_usable_qubits_is_refused(devices, physical, message):
    with refused(message):
        devices["fake_boston"].restrict(physical)


def test_measurements_in_groups_stay_in_groups():
    backend = GenericBackendV2(4, seed=1)
    assert backend.target.concurrent_measurements == [[0, 1, 2, 3]]
    assert read_target(backend).restrict([2, 0]).concurrent_measurements == [[0, 1]]


# --- what is missing -----------------------------------------------------------------------------


def test_missing_instructions_are_named():
    miami = read_target(load_backend("fake_miami"))
    miami.require_instructions({"measure"})
    with refused(
        "backend: must support if_else, measure, reset, fake_miami lacks if_else, reset; choose "
        "a device with dynamic circuits, e.g. fake_boston"
    ):
        miami.require_instructions({"measure", "reset", "if_else"})


@pytest.mark.parametrize(("name", "qubits"), [("cz", (84, 85)), ("cz", (0, 9)), ("ecr", (0, 1))])
def test_unknown_numbers_are_refused(devices, name, qubits):
    boston = devices["fake_boston"]
    place = rf"{name} on qubits \({qubits[0]}, {qubits[1]}\), fake_boston has none; use"
    with refused(f"backend: must have the duration of {place}"):
        boston.duration_ns(name, qubits)
    with refused(f"backend: must have the error of {place}"):
        boston.error(name, qubits)


# --- the snapshot's name -------------------------------------------------------------------------


def test_the_snapshot_id_is_the_same_in_another_process(devices):
    program = (
        "from qrnn_qiskit.devices import load_backend, read_snapshot_id;"
        "print(read_snapshot_id(load_backend('fake_torino')))"
    )
    # Targets order their instructions by string hashes: another seed orders them differently.
    other = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == devices["fake_torino"].snapshot_id
    assert len(devices["fake_torino"].snapshot_id) == 16


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (("cx", (0, 1)), "gate_error"),
        (("cx", (0, 1)), "gate_length"),
        (("reset", (3,)), "gate_length"),
        (4, "T1"),
        (4, "T2"),
        (4, "readout_error"),
        (4, "prob_meas1_prep0"),
        (4, "prob_meas0_prep1"),
    ],
)
def test_any_number_changes_the_snapshot_id(devices, edit, place, key):
    def change(properties):
        if isinstance(place, int):
            entry = properties["qubits"][place]
        else:
            entry = gate_of(properties, *place)["parameters"]
        parameter_of(entry, key)["value"] *= 1 + 1e-12

    changed = read_snapshot_id(edit("fake_manila", change))
    assert changed != devices["fake_manila"].snapshot_id


def test_the_name_is_part_of_the_snapshot_id_and_dates_are_not(devices, edit, tmp_path):
    def redate(properties):
        properties["last_update_date"] = "2020-01-01T00:00:00+00:00"

    assert read_snapshot_id(edit("fake_manila", redate)) == devices["fake_manila"].snapshot_id
    path = tmp_path / "device.json"
    content = json.loads(path.read_text())
    content["name"] = "another"
    path.write_text(json.dumps(content))
    renamed = load_backend(str(path))
    assert renamed.name == "another"
    assert read_snapshot_id(renamed) != devices["fake_manila"].snapshot_id


def test_backends_without_properties_have_a_snapshot_id():
    backend = GenericBackendV2(3, seed=1)
    before = read_snapshot_id(backend)
    assert before == read_snapshot_id(GenericBackendV2(3, seed=1))
    backend.target.update_instruction_properties(
        "cx", (0, 1), InstructionProperties(error=0.1, duration=1e-7)
    )
    assert read_snapshot_id(backend) != before
