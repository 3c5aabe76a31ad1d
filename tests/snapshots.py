"""Two stored snapshots of one device."""

from qrnn_qiskit.devices import SnapshotInfo, load_fake_backend, store_snapshot
from qrnn_qiskit.devices.runtime_snapshots import build_snapshot_parts, build_stored_backend


def store_two_dates() -> tuple[SnapshotInfo, SnapshotInfo]:
    """Boston under the device's own name, with another T1 of its first qubit on the second day."""
    parts = build_snapshot_parts(load_fake_backend("fake_boston"))
    parts["name"] = "ibm_boston"
    properties = parts["properties"]
    infos = []
    for day, t1_us in (("2026-04-17", 100.0), ("2026-04-18", 50.0)):
        properties["last_update_date"] = f"{day}T10:00:00+00:00"
        properties["qubits"][0][0]["value"] = t1_us
        infos.append(store_snapshot(build_stored_backend(parts))[0])
    return infos[0], infos[1]


def full_name(info: SnapshotInfo) -> str:
    """What reports and ledgers call it."""
    assert info.snapshot_id is not None
    return f"{info.name}-{info.snapshot_id[:6]}"
