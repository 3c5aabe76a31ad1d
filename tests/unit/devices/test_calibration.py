"""A device's numbers of one date: medians, what is worst, what is missing or absurd."""

from datetime import datetime

import numpy as np
import pytest
from qiskit.providers.fake_provider import GenericBackendV2

from qrnn_qiskit.devices import load_fake_backend, read_snapshot_id, read_target
from qrnn_qiskit.devices.calibration import Medians, read_calibration, read_medians
from qrnn_qiskit.devices.runtime_snapshots import build_snapshot_parts, build_stored_backend


@pytest.fixture(scope="module")
def boston():
    return load_fake_backend("fake_boston")


@pytest.fixture(scope="module")
def calibration(boston):
    return read_calibration(boston)


def changed(change):
    """Manila with other properties."""
    parts = build_snapshot_parts(load_fake_backend("fake_manila"))
    change(parts["properties"])
    return read_calibration(build_stored_backend(parts))


def quantity(properties, qubit, name):
    return next(entry for entry in properties["qubits"][qubit] if entry["name"] == name)


def gate_error(properties, gate, qubits):
    (found,) = (g for g in properties["gates"] if (g["gate"], g["qubits"]) == (gate, list(qubits)))
    return next(entry for entry in found["parameters"] if entry["name"] == "gate_error")


def test_numbers_are_those_of_the_backend(boston, calibration):
    properties, target = boston.properties(), boston.target
    assert calibration.snapshot_id == read_snapshot_id(boston)
    assert datetime.fromisoformat(calibration.date) == properties.last_update_date
    assert calibration.num_qubits == 156
    for qubit in (0, 85, 155):
        assert calibration.t1_us[qubit] == pytest.approx(properties.t1(qubit) * 1e6)
        assert calibration.t2_us[qubit] == pytest.approx(properties.t2(qubit) * 1e6)
        e0, e1 = calibration.read_one_given_zero[qubit], calibration.read_zero_given_one[qubit]
        assert e0 == properties.qubit_property(qubit, "prob_meas1_prep0")[0]
        assert e1 == properties.qubit_property(qubit, "prob_meas0_prep1")[0]
        assert calibration.readout_error[qubit] == target["measure"][qubit,].error
    cz = calibration.instructions["cz", (0, 1)]
    assert (cz.error, cz.duration_ns) == (target["cz"][0, 1].error, pytest.approx(68))
    assert "delay" not in calibration.names
    assert "if_else" not in calibration.names
    assert len(calibration.coordinates) == 156


def test_edges_are_those_of_the_compiler(boston, calibration):
    device = read_target(boston)
    broken = {pair for pair, error in calibration.edges.items() if error >= 0.5}
    lost = {pair for pair in calibration.edges if not set(pair) <= set(device.usable_qubits)}
    assert calibration.edges.keys() - broken - lost == device.edges
    assert broken == {(84, 85)}


def test_the_better_direction_counts():
    both = {(0, 1): 0.3, (1, 0): 0.1}

    def change(properties):
        for pair, error in both.items():
            gate_error(properties, "cx", pair)["value"] = error

    assert changed(change).edges[0, 1] == 0.1


def test_the_worst_come_first(calibration):
    assert calibration.worst_qubits(2) == (146, 85)
    assert calibration.worst_edges(2) == ((84, 85), (77, 85))
    assert len(calibration.worst_qubits(999)) == 156


def test_durations_are_ranges(calibration):
    assert calibration.durations_ns["cz"] == (pytest.approx(68), pytest.approx(108))
    assert calibration.durations_ns["rz"] == (0, 0)


def test_what_is_absurd_is_named():
    def change(properties):
        properties["qubits"][0] = [e for e in properties["qubits"][0] if e["name"] != "T1"]
        quantity(properties, 1, "T2")["value"] = 0.0
        quantity(properties, 2, "T2")["value"] = 2.01 * quantity(properties, 2, "T1")["value"]
        gate_error(properties, "cx", (3, 4))["value"] = 1.0
        gate_error(properties, "cx", (4, 3))["value"] = 1.0
        gate_error(properties, "sx", (4,))["value"] = 0.5

    assert changed(lambda properties: None).oddities == {}
    assert changed(change).oddities == {
        "T1 missing": ((0,),),
        "T2 zero or negative": ((1,),),
        "T2 above 2 T1": ((2,),),
        "cx error 0.5 or more": ((3, 4),),
        "sx error 0.5 or more": ((4,),),
    }


def test_a_missing_readout_error_is_named():
    def change(properties):
        properties["qubits"][3] = [
            entry for entry in properties["qubits"][3] if entry["name"] != "readout_error"
        ]

    calibration = changed(change)
    assert calibration.oddities == {"readout error missing": ((3,),)}
    assert 3 not in calibration.worst_qubits(5)


def test_backends_without_properties_and_without_anything_have_no_numbers():
    calibration = read_calibration(GenericBackendV2(3, seed=1))
    assert calibration.date is None
    assert np.isnan(calibration.read_one_given_zero).all()
    assert calibration.two_qubit_gate == "cx"
    one = read_calibration(load_fake_backend("fake_armonk"))
    assert one.two_qubit_gate is None
    assert (dict(one.edges), one.medians.two_qubit_error, one.worst_edges(3)) == ({}, None, ())


def test_units_of_the_file_are_understood():
    def times(unit, value):
        return {"properties": {"gates": [], "qubits": [
            [{"name": "T1", "unit": unit, "value": value}]]}}  # fmt: skip

    spellings = {"us": 40, "\u00b5s": 40, "\u03bcs": 40, "ns": 40_000, "ms": 0.04, "s": 4e-5}
    for unit, value in spellings.items():
        assert read_medians(times(unit, value)) == Medians(t1_us=pytest.approx(40))
