"""What changed between two dates: factors, directions, what came and went."""

from math import inf, isnan

import pytest

from qrnn_qiskit.devices import load_fake_backend
from qrnn_qiskit.devices.calibration import read_calibration
from qrnn_qiskit.devices.drift import Change, compare_calibrations
from qrnn_qiskit.devices.runtime_snapshots import build_snapshot_parts, build_stored_backend


def manila(change=lambda properties: None):
    parts = build_snapshot_parts(load_fake_backend("fake_manila"))
    change(parts["properties"])
    return read_calibration(build_stored_backend(parts))


@pytest.fixture(scope="module")
def old():
    return manila()


def qubit(properties, number):
    return {entry["name"]: entry for entry in properties["qubits"][number]}


def parameters(properties, gate, qubits):
    (found,) = (g for g in properties["gates"] if (g["gate"], g["qubits"]) == (gate, list(qubits)))
    return {entry["name"]: entry for entry in found["parameters"]}


def test_the_same_content_has_no_drift(old):
    drift = compare_calibrations(old, manila())
    assert drift.same_device
    assert drift.same_lattice
    assert (drift.changes, drift.appeared, drift.vanished) == ((), (), ())
    assert set(drift.edge_log2.values()) == {0.0} == set(drift.readout_log2)


def test_changes_are_found_and_ranked(old):
    def change(properties):
        qubit(properties, 2)["T1"]["value"] /= 10
        for pair in ((0, 1), (1, 0)):
            parameters(properties, "cx", pair)["gate_error"]["value"] *= 4
        parameters(properties, "cx", (1, 2))["gate_length"]["value"] *= 2
        qubit(properties, 3)["prob_meas1_prep0"]["value"] /= 8
        qubit(properties, 4)["readout_error"]["value"] *= 2

    drift = compare_calibrations(old, manila(change))
    # The mean readout error of qubit 4 is no number of its own where e0 and e1 are known.
    assert [(c.quantity, c.qubits, c.direction) for c in drift.changes] == [
        ("T1", (2,), "worse"), ("e0", (3,), "better"), ("cx error", (0, 1), "worse"),
        ("cx duration", (1, 2), "longer"),
    ]  # fmt: skip
    assert [c.factor for c in drift.changes] == pytest.approx([10, 8, 4, 2])
    assert drift.edge_log2[0, 1] == pytest.approx(2)
    assert drift.edge_log2[1, 2] == 0
    assert drift.readout_log2[4] == pytest.approx(1)


def test_what_is_reported_no_more_has_vanished(old):
    def change(properties):
        properties["qubits"][1] = [e for e in properties["qubits"][1] if e["name"] != "T2"]

    new = manila(change)
    drift = compare_calibrations(old, new)
    assert (drift.changes, drift.appeared, drift.vanished) == ((), (), (("T2", (1,)),))
    back = compare_calibrations(new, old)
    assert (back.changes, back.appeared, back.vanished) == ((), (("T2", (1,)),), ())


def test_instructions_come_and_go_without_their_numbers():
    kingston, boston = (
        read_calibration(load_fake_backend(f"fake_{name}")) for name in ("kingston", "boston")
    )
    drift = compare_calibrations(kingston, boston)
    assert not drift.same_device
    assert drift.same_lattice
    assert {name for name, _ in drift.appeared} == {"reset_2", "T1", "T2"}
    assert drift.vanished == ()


@pytest.mark.parametrize(
    ("quantity", "old", "new", "factor", "direction"),
    [
        ("T1", 50.0, 100.0, 2, "better"),
        ("T2", 50.0, 25.0, 2, "worse"),
        ("e1", 0.01, 0.03, 3, "worse"),
        ("cz error", 0.01, 0.005, 2, "better"),
        ("cz error", 0.01, 1.0, 100, "failed"),
        ("cz error", 1.0, 0.01, 100, "recovered"),
        ("cz error", 1.0, 0.5, 2, "better"),
        ("cz duration", 60.0, 30.0, 2, "shorter"),
        ("e0", 0.0, 0.01, None, "worse"),
        ("e0", 0.01, 0.0, None, "better"),
    ],
)
def test_directions(quantity, old, new, factor, direction):
    change = Change(quantity, (0,), old, new)
    assert change.factor == (factor if factor is None else pytest.approx(factor))
    assert change.direction == direction
    assert abs(change.log2_ratio) == inf or factor


def test_changes_from_or_to_zero_come_last(old):
    def change(properties):
        qubit(properties, 0)["prob_meas1_prep0"]["value"] = 0.0
        qubit(properties, 1)["T1"]["value"] *= 1.01

    drift = compare_calibrations(old, manila(change))
    assert [c.quantity for c in drift.changes] == ["T1", "e0"]

    def lose(properties):
        qubit(properties, 0)["readout_error"]["value"] = 0.0

    assert isnan(compare_calibrations(old, manila(lose)).readout_log2[0])


def test_other_lattices_have_medians_only(old):
    drift = compare_calibrations(old, read_calibration(load_fake_backend("fake_quito")))
    assert not drift.same_lattice
    assert (drift.changes, drift.appeared, drift.edge_log2, drift.readout_log2) == ((), (), {}, ())


def test_a_fake_is_its_device(old):
    parts = build_snapshot_parts(load_fake_backend("fake_manila"))
    real = read_calibration(build_stored_backend({**parts, "name": "ibm_manila"}))
    assert compare_calibrations(old, real).same_device
