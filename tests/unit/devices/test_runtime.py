"""Backends by name and by file, and what is said when there is none."""

import json
import os

import pytest
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.accounts import AccountNotFoundError, InvalidAccountError
from qiskit_ibm_runtime.exceptions import IBMInputValueError, IBMNotAuthorizedError
from qiskit_ibm_runtime.fake_provider import fake_backend

from qrnn_qiskit.devices import (
    fetch_backend,
    list_fake_backends,
    load_backend,
    load_fake_backend,
    load_snapshot,
    read_noise,
    read_snapshot_id,
    runtime,
    save_snapshot,
)
from qrnn_qiskit.errors import InputError


def refused(match):
    """An `InputError` of one line."""
    return pytest.raises(InputError, match=rf"(?-s:\A.*{match}.*\Z)")


def table(target):
    return {
        (name, qubits): (getattr(entry, "error", None), getattr(entry, "duration", None))
        for name in target.operation_names
        for qubits, entry in target[name].items()
    }


# --- stored snapshots ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fake_boston", "fake_brisbane", "fake_manila"])
def test_a_stored_snapshot_is_the_same_device(tmp_path, name):
    original = load_fake_backend(name)
    path = tmp_path / "device.json"
    save_snapshot(original, path)
    loaded = load_backend(str(path))

    assert (loaded.name, loaded.num_qubits) == (name, original.num_qubits)
    assert table(loaded.target) == table(original.target)
    assert loaded.target.dt == original.target.dt
    assert loaded.target.granularity == original.target.granularity
    assert str(loaded.target.operation_from_name("rz")) == (
        str(original.target.operation_from_name("rz"))
    )
    for one, other in zip(
        loaded.target.qubit_properties, original.target.qubit_properties, strict=True
    ):
        assert (one.t1, one.t2) == (other.t1, other.t2)
    # Dates included: they are compared as datetimes.
    assert loaded.properties().to_dict() == original.properties().to_dict()
    assert read_noise(loaded, [0, 1, 2]) == read_noise(original, [0, 1, 2])
    assert read_snapshot_id(loaded) == read_snapshot_id(original)
    assert [file.name for file in tmp_path.iterdir()] == ["device.json"]


def test_a_stored_snapshot_makes_the_same_aer_noise(tmp_path):
    original = load_fake_backend("fake_manila")
    save_snapshot(original, tmp_path / "device.json")
    loaded = load_backend(str(tmp_path / "device.json"))
    models = [NoiseModel.from_backend(backend).to_dict() for backend in (loaded, original)]
    # Errors carry random ids.
    first, second = ([{k: v for k, v in error.items() if k != "id"} for error in model["errors"]]
                     for model in models)  # fmt: skip
    assert sorted(map(str, first)) == sorted(map(str, second))


def test_a_stored_snapshot_can_be_stored_again(tmp_path):
    save_snapshot(load_fake_backend("fake_boston"), tmp_path / "one.json")
    save_snapshot(load_backend(str(tmp_path / "one.json")), tmp_path / "two.json")
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one == two
    assert one["format_version"] == 1
    assert one["name"] == "fake_boston"
    assert one["date"].startswith("2026-04-17T")


def test_a_folder_of_two_files_is_a_snapshot(tmp_path, monkeypatch):
    original = load_fake_backend("fake_manila")
    save_snapshot(original, tmp_path / "device.json")
    content = json.loads((tmp_path / "device.json").read_text())
    folder = tmp_path / "manila"
    folder.mkdir()
    for key in ("configuration", "properties"):
        (folder / f"{key}.json").write_text(json.dumps(content[key]))
    assert read_snapshot_id(load_backend(str(folder))) == read_snapshot_id(original)
    monkeypatch.chdir(tmp_path)
    assert read_snapshot_id(load_backend("manila")) == read_snapshot_id(original)
    (folder / "properties.json").unlink()
    with refused(r"manila/properties\.json must be a readable snapshot, got No such file"):
        load_backend(str(folder))


def test_times_come_back_exactly(tmp_path):
    """The runtime's conversion to ns and back loses the last bit of this dt."""
    dt = 4.7
    assert dt * 1e-9 * 1e9 * 1e-9 != dt * 1e-9
    save_snapshot(load_fake_backend("fake_manila"), tmp_path / "device.json")
    content = json.loads((tmp_path / "device.json").read_text())
    content["configuration"]["dt"] = dt
    (tmp_path / "device.json").write_text(json.dumps(content))
    first = load_backend(str(tmp_path / "device.json"))
    save_snapshot(first, tmp_path / "again.json")
    assert load_backend(str(tmp_path / "again.json")).target.dt == first.target.dt == dt * 1e-9


def test_the_file_of_a_fake_backend_is_read_once(monkeypatch):
    """A canary: `properties()` builds a new object each time, but from data that it keeps."""
    reads = []
    read = fake_backend.FakeBackendV2._load_json
    monkeypatch.setattr(fake_backend.FakeBackendV2, "_load_json",
                        lambda self, name: reads.append(name) or read(self, name))  # fmt: skip
    backend = load_fake_backend("fake_manila")
    assert backend.properties() is not backend.properties()
    assert sum("props" in name for name in reads) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "must be a whole JSON file, got .*; write it with"),
        (lambda text: "", "must be a whole JSON file, got Expecting value"),
        (lambda text: "[]", "must hold a JSON object, got 'list'"),
        (lambda text: json.dumps({"properties": {}, "name": "x"}),
         r"must have the keys configuration and properties, got \['name', 'properties'\]"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 2'),
         "must have format_version 1, got 2; write it again"),
        (lambda text: text.replace('"last_update_date"', '"lost_date"'),
         "must hold a device's configuration and properties, got KeyError: 'last_update_date'"),
        (lambda text: text.replace('"n_qubits"', '"qubits"'),
         "must hold a device's configuration and properties, got "),
        (lambda text: text.replace('"unit": "us"', '"unit": "weeks"'),
         "must hold a device's configuration and properties, got BackendPropertyError"),
    ],
)  # fmt: skip
def test_damaged_snapshots_are_refused_by_name(tmp_path, change, message):
    path = tmp_path / "device.json"
    save_snapshot(load_fake_backend("fake_manila"), path)
    text = change(path.read_text())
    path.write_text(text)
    with refused(rf"backend: {path} {message}"):
        load_backend(str(path))


def test_a_missing_or_binary_file_is_refused_by_name(tmp_path):
    with refused(r"none\.json must be a readable snapshot, got No such file or directory; check"):
        load_backend(str(tmp_path / "none.json"))
    path = tmp_path / "device.json"
    path.write_bytes(b"\xff\xfe\x00")
    with refused(r"device\.json must be a whole JSON file"):
        load_snapshot(path)


def test_only_ibm_backends_can_be_stored(tmp_path):
    with refused("backend: must have a configuration and properties to be stored, generic_backend"):
        save_snapshot(GenericBackendV2(2), tmp_path / "device.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "device.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with refused(r"device\.json: must be writable, got No space left on device; free space"):
        save_snapshot(load_fake_backend("fake_manila"), path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["device.json"]


def full_disk(descriptor):
    raise OSError(28, "No space left on device")


# --- names ---------------------------------------------------------------------------------------


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


def test_names_of_snapshots_of_the_package_load():
    assert load_backend("fake_manila").name == "fake_manila"


@pytest.mark.parametrize("name", ["fake_bostom", "bostom", "", "zzz"])
def test_unknown_names_are_refused_as_for_fake_backends(name):
    with refused(f"must be a fake backend of the runtime package, got '{name}'; for example fake_"):
        load_backend(name)


# --- real devices --------------------------------------------------------------------------------

TOKEN = "secret-token-4711"


class Service:
    """Stands in for `QiskitRuntimeService`: a saved account that sees one device."""

    asked = ()

    def backend(self, name, use_fractional_gates=False):
        type(self).asked += ((name, use_fractional_gates),)
        if name != "ibm_manila":
            raise QiskitBackendNotFoundError(f"No backend matches {TOKEN}")
        return load_fake_backend("fake_manila")


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(Service, "asked", ())
    monkeypatch.setattr(runtime, "QiskitRuntimeService", Service)
    return Service


def test_names_of_real_devices_are_fetched(service):
    assert load_backend("ibm_manila").num_qubits == 5
    assert service.asked == (("ibm_manila", None),)


def test_other_names_do_not_ask_the_service(service, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_snapshot(load_backend("fake_manila"), tmp_path / "ibm_manila.json")
    assert load_backend("ibm_manila.json").name == "fake_manila"
    assert service.asked == ()


def test_an_unknown_device_is_refused(service):
    with refused("backend: must be a device of the account, got 'ibm_atlantis'; see"):
        fetch_backend("ibm_atlantis")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AccountNotFoundError, "must have an IBM Quantum account to reach 'ibm_boston', none is"),
        (InvalidAccountError, "must have a valid IBM Quantum account to reach 'ibm_boston'"),
        (IBMNotAuthorizedError, "must have a valid IBM Quantum account to reach 'ibm_boston'"),
        (ConnectionError, "must be reachable, got ConnectionError for 'ibm_boston'; check network"),
        (IBMInputValueError, "must be reachable, got IBMInputValueError for 'ibm_boston'"),
    ],
)
def test_no_account_and_no_network_are_told_without_the_token(monkeypatch, error, message):
    def fail():
        raise error(f"token {TOKEN}\nwas refused")

    monkeypatch.setattr(runtime, "QiskitRuntimeService", fail)
    with refused(f"backend: {message}") as caught:
        load_backend("ibm_boston")
    assert TOKEN not in str(caught.value)
    # A traceback must not show the client's error either.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_properties_are_fetched_with_the_backend(service, monkeypatch):
    """Not later, at the first look at the target, far from this message."""

    class Offline(GenericBackendV2):
        @property
        def target(self):
            raise ConnectionError(TOKEN)

    monkeypatch.setattr(Service, "backend", lambda self, name, **options: Offline(2))
    with refused("backend: must be reachable, got ConnectionError for 'ibm_manila'"):
        fetch_backend("ibm_manila")
