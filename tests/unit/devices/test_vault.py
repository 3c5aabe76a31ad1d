"""The vault: what goes in comes out the same, names always mean one thing, faults are named."""

import json
import os
import re
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from qiskit.providers.fake_provider import GenericBackendV2

from qrnn_qiskit.devices import (
    fetch_snapshot,
    is_served,
    load_backend,
    load_fake_backend,
    load_snapshot,
    read_noise,
    read_snapshot_id,
    read_target,
    runtime,
    save_snapshot,
)
from qrnn_qiskit.devices.calibration import read_calibration
from qrnn_qiskit.devices.runtime_snapshots import (
    build_snapshot_parts,
    build_stored_backend,
    read_fake_parts,
)
from qrnn_qiskit.devices.vault import (
    default_vault_folder,
    describe_fake_backend,
    find_snapshot,
    list_snapshots,
    names_stored_snapshot,
    store_snapshot,
    with_snapshot_id,
)
from qrnn_qiskit.errors import InputError

TOKEN = "secret-token-4711"


@pytest.fixture
def vault(tmp_path, monkeypatch):
    """An empty vault of its own."""
    folder = tmp_path / "vault"
    monkeypatch.setenv("QRNN_SNAPSHOTS", str(folder))
    return folder


def refused(match):
    """An `InputError` of one line."""
    return pytest.raises(InputError, match=rf"(?-s:\A.*{match}.*\Z)")


def device(name="ibm_manila", date="2026-11-20T09:30:15+00:00", t1_us=100.0):
    """Manila under another name, with another date and another T1 of qubit 0."""
    parts = build_snapshot_parts(load_fake_backend("fake_manila"))
    parts["name"] = name
    parts["properties"]["last_update_date"] = date
    parts["properties"]["qubits"][0][0]["value"] = t1_us
    return build_stored_backend(parts)


def numbers(backend):
    """All that a compiler and a noise model read of a backend."""
    target = backend.target
    return (
        backend.name,
        {(name, qubits): (getattr(entry, "error", None), getattr(entry, "duration", None))
         for name in target.operation_names for qubits, entry in target[name].items()},
        [(qubit.t1, qubit.t2) for qubit in target.qubit_properties],
        target.dt, target.granularity, target.pulse_alignment, target.acquire_alignment,
        read_noise(backend, range(min(12, backend.num_qubits))),
        read_snapshot_id(backend),
    )  # fmt: skip


# --- the same device -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fake_boston", "fake_kyiv", "fake_cairo", "fake_vigo"])
def test_a_stored_device_is_the_same_device(vault, name):
    original = load_fake_backend(name)
    info, is_new = store_snapshot(original)
    assert is_new
    assert info.name == f"{name}@{info.date[:10]}"
    assert (info.num_qubits, info.is_stored) == (original.num_qubits, True)
    expected = numbers(original)
    assert info.snapshot_id == expected[-1]
    assert numbers(load_backend(info.name)) == expected
    for called in (info.snapshot_id, info.snapshot_id[:6]):
        assert find_snapshot(called) == Path(info.source)


@pytest.mark.parametrize("name", ["torino", "manila"])
def test_a_pair_of_files_of_the_package_is_the_same_device(vault, name):
    fake = load_fake_backend(f"fake_{name}")
    loaded = load_snapshot(fake.dirname, f"fake_{name}")
    assert numbers(loaded) == numbers(fake)
    # Without a name it is what the configuration says, and all but name and id are the same.
    own = numbers(load_snapshot(fake.dirname))
    assert own[0] == read_fake_parts(f"fake_{name}")["configuration"]["backend_name"]
    assert own[1:-2] == numbers(fake)[1:-2]


def test_a_folder_of_two_pairs_is_refused(tmp_path):
    for name in ("conf_a", "conf_b", "props_a"):
        (tmp_path / f"{name}.json").write_text("{}")
    with refused(r"must have one conf_\*\.json, got conf_a\.json, conf_b\.json; put each"):
        load_snapshot(tmp_path)
    (tmp_path / "conf_b.json").unlink()
    (tmp_path / "props_a.json").unlink()
    with refused(r"properties\.json must be a readable snapshot, got No such file"):
        load_snapshot(tmp_path)


@pytest.mark.parametrize("name", ["fake_boston", "fake_brisbane", "fake_vigo", "fake_armonk"])
def test_the_quick_look_sees_what_the_target_says(name):
    info = describe_fake_backend(name)
    calibration = read_calibration(load_fake_backend(name))
    for quick, slow in zip(vars(info.medians).values(), vars(calibration.medians).values(),
                           strict=True):  # fmt: skip
        assert quick == (slow if slow is None else pytest.approx(slow, rel=1e-12))
    assert info.num_qubits == calibration.num_qubits
    assert datetime.fromisoformat(info.date) == datetime.fromisoformat(calibration.date)
    assert info.snapshot_id is None
    assert with_snapshot_id(info, load_fake_backend(name)).snapshot_id == calibration.snapshot_id


# --- names ---------------------------------------------------------------------------------------


def test_the_default_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("QRNN_SNAPSHOTS", str(tmp_path / "named"))
    assert default_vault_folder() == tmp_path / "named"
    monkeypatch.setenv("QRNN_SNAPSHOTS", "~/named")
    assert default_vault_folder() == Path.home() / "named"
    monkeypatch.setenv("QRNN_SNAPSHOTS", "")
    assert default_vault_folder().parts[-2:] == ("qrnn_qiskit", "snapshots")


def test_the_same_content_is_stored_once(vault):
    first, is_new = store_snapshot(device())
    again, is_new_again = store_snapshot(load_backend(first.name))
    assert (is_new, is_new_again) == (True, False)
    assert again == first
    assert os.listdir(vault) == ["ibm_manila@2026-11-20.json"]  # noqa: PTH208


def test_files_of_one_day_get_the_time_they_need(vault):
    moments = ["09:30:15", "09:30:15", "09:30:15", "09:30:15", "17:00:00"]
    infos = [
        store_snapshot(device(date=f"2026-11-20T{moment}+00:00", t1_us=100.0 + index))[0]
        for index, moment in enumerate(moments)
    ]
    assert [info.name for info in infos] == [
        "ibm_manila@2026-11-20",
        "ibm_manila@2026-11-20T0930",
        "ibm_manila@2026-11-20T093015",
        f"ibm_manila@2026-11-20T093015-{infos[3].snapshot_id[:6]}",
        "ibm_manila@2026-11-20T1700",
    ]
    # A name, once given, goes on to mean the same.
    for index, info in enumerate(infos):
        assert load_backend(info.name).qubit_properties(0).t1 == pytest.approx((100 + index) / 1e6)
    assert [info.name for info in list_snapshots()[0]] == sorted(info.name for info in infos)


def test_dates_are_in_utc(vault):
    assert store_snapshot(device(date="2026-11-20T23:30:00-05:00"))[0].name.endswith("@2026-11-21")
    assert store_snapshot(device(date="2026-11-22T00:30:00", t1_us=9.0))[0].name.endswith("-22")


def test_a_time_finds_the_one_of_a_day(vault):
    first = store_snapshot(device())[0]
    second = store_snapshot(device(date="2026-11-20T17:00:00+00:00", t1_us=50.0))[0]
    for name, info in (("T0930", first), ("T09:30", first), ("T093015", first), ("T17", second)):
        assert find_snapshot(f"ibm_manila@2026-11-20{name}") == Path(info.source)
    both = "ibm_manila@2026-11-20 and ibm_manila@2026-11-20T1700"
    with refused(f"must name one .*, got 'ibm_manila@2026-11-20T', which {both} have in common"):
        find_snapshot("ibm_manila@2026-11-20T")


def test_a_target_says_which_snapshot_it_is_whatever_it_was_opened_by(vault, tmp_path):
    first = store_snapshot(device())[0]
    second = store_snapshot(device(date="2026-11-20T17:00:00+00:00", t1_us=50.0))[0]
    copy = tmp_path / "copy.json"
    shutil.copy(first.source, copy)
    spellings = (first.name, first.snapshot_id, first.source, str(copy))
    names = {read_target(load_backend(spelling)).name for spelling in spellings}
    assert names == {f"ibm_manila@2026-11-20-{first.snapshot_id[:6]}"}
    (name,) = names
    other = read_target(load_backend(second.name)).name
    assert other == f"ibm_manila@2026-11-20-{second.snapshot_id[:6]}" != name
    assert (find_snapshot(name), find_snapshot(other)) == (Path(first.source), Path(second.source))
    assert not is_served(name)
    with refused("must be a stored snapshot of .*, got 'ibm_manila@2026-11-20-ffffff'"):
        find_snapshot("ibm_manila@2026-11-20-ffffff")


def test_a_target_of_the_only_backend_of_its_name_has_that_name():
    assert read_target(load_backend("fake_manila")).name == "fake_manila"
    assert read_target(GenericBackendV2(3, seed=1)).name == "generic_backend_3q"


def test_a_snapshot_without_a_date_is_refused(tmp_path):
    parts = build_snapshot_parts(device())
    parts["properties"]["last_update_date"] = "yesterday"
    path = tmp_path / "undated.json"
    path.write_text(json.dumps(parts))
    with refused("undated.json must hold a device's configuration and properties, got ValueError"):
        load_backend(str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ibm_manila@2026-11-21", "there are ibm_manila@2026-11-20, or fetch one"),
        ("ibm_manila@2026", "there are ibm_manila@2026-11-20, or fetch one"),
        ("ibm_manilla@2026-11-20", "there are ibm_manila@2026-11-20, or fetch one"),
        ("ibm_manila@", "there are ibm_manila@2026-11-20, or fetch one"),
        ("@", "see qrnn snapshot ls"),
        ("ffffff", "see qrnn snapshot ls"),
    ],
)
def test_what_is_not_stored_is_refused_with_a_suggestion(vault, name, message):
    store_snapshot(device())
    with refused(f"must be a stored snapshot of {vault}, got '{name}'; {message}"):
        load_backend(name)


def test_an_empty_vault_holds_nothing(vault):
    assert list_snapshots() == ((), ())
    with refused("got 'ibm_boston@2026-11-20'; see qrnn snapshot ls, or fetch one"):
        load_backend("ibm_boston@2026-11-20")
    assert not vault.exists()


def test_digits_that_two_ids_share_are_refused(vault):
    info = store_snapshot(device())[0]
    parts = json.loads(Path(info.source).read_text())
    parts["snapshot_id"] = info.snapshot_id[:8] + "00000000"
    (vault / "other@2026-11-20.json").write_text(json.dumps(parts))
    with refused("must name one stored snapshot, got .*, which ibm_manila@2026-11-20 and other@"):
        find_snapshot(info.snapshot_id[:7])
    assert find_snapshot(info.snapshot_id) == Path(info.source)


def test_which_names_belong_to_the_vault(vault):
    assert not any(map(names_stored_snapshot, ("fake_boston", "abcde", "ABCDEF", "0" * 17, "")))
    assert all(map(names_stored_snapshot, ("a@b", "abcdef", "0" * 16)))


def test_a_folder_in_the_way_is_read_before_an_id_is_looked_up(vault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_snapshot(device(), tmp_path / "abcdef")
    assert load_backend("abcdef").name == "ibm_manila"


@pytest.mark.parametrize("name", ["", "../manila", "a@b", ".hidden", "a b"])
def test_a_name_that_is_no_file_name_is_refused(vault, name):
    backend = device()
    backend.name = name
    with refused(f"name: must consist of letters, digits, .*got {re.escape(repr(name))}; give"):
        store_snapshot(backend)
    assert not vault.exists()


# --- faults --------------------------------------------------------------------------------------


def test_damaged_files_do_not_hide_the_others(vault):
    info = store_snapshot(device())[0]
    text = Path(info.source).read_text()
    (vault / "cut@2026-11-20.json").write_text(text[:-9])
    (vault / "future@2026-11-20.json").write_text(
        text.replace('"format_version": 1', '"format_version": 7')
    )
    (vault / "hollow@2026-11-20.json").write_text('{"configuration": {}, "properties": {}}')
    (vault / "notes.txt").write_text("not ours")
    (vault / ".ibm@2026.json.1.part").write_text("")
    infos, faults = list_snapshots()
    assert infos == (info,)
    assert [fault.count("\n") for fault in faults] == [0, 0, 0]
    for fault, message in zip(faults, [
        "cut@2026-11-20.json must be a whole JSON file",
        "future@2026-11-20.json must have format_version 1, got 7; write it again",
        "hollow@2026-11-20.json must hold a device's configuration and properties, got KeyError",
    ], strict=True):  # fmt: skip
        assert message in fault
    with refused("must have format_version 1, got 7"):
        load_backend("future@2026-11-20")
    assert load_backend(info.name).name == "ibm_manila"


def test_a_full_disk_leaves_nothing(vault, monkeypatch):
    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with refused("must be writable, got No space left on device; free space, .*QRNN_SNAPSHOTS"):
        store_snapshot(device())
    assert list(vault.iterdir()) == []


def test_a_vault_that_is_a_file_is_refused(vault):
    vault.write_text("not a folder")
    with refused(f"{vault}: must be a readable folder, got Not a directory; name another"):
        list_snapshots()
    with refused("must be a readable folder, got Not a directory"):
        store_snapshot(device())


def test_only_ibm_backends_can_be_stored(vault):
    with refused("must have a configuration and properties to be stored, generic_backend_2q"):
        store_snapshot(GenericBackendV2(2))


# --- real devices --------------------------------------------------------------------------------


class Fetched:
    """Stands in for an `IBMBackend`: a device with a past."""

    def __init__(self, history):
        self._now = device()
        self.history = history
        self.asked = []

    def __getattr__(self, name):
        return getattr(self._now, name)

    def properties(self, refresh=False, datetime=None):
        if datetime is None:
            return self._now.properties()
        self.asked.append(datetime)
        if isinstance(self.history, Exception):
            raise self.history
        return self.history and self.history.properties()


@pytest.fixture
def account(monkeypatch):
    """An account whose device has the given past."""

    def build(history=None):
        fetched, asked = Fetched(history), []

        class Service:
            def backend(self, name, use_fractional_gates=False):
                asked.append((name, use_fractional_gates))
                return fetched

        monkeypatch.setattr(runtime, "QiskitRuntimeService", Service)
        return fetched, asked

    return build


def test_a_fetched_device_is_the_same_device(vault, account):
    fetched, asked = account()
    info, is_new = store_snapshot(fetch_snapshot("ibm_manila"))
    # With everything that the device has: what a profile leaves out is its own choice.
    assert asked == [("ibm_manila", None)]
    assert is_new
    assert info.name == "ibm_manila@2026-11-20"
    assert numbers(load_backend(info.name)) == numbers(fetched)


def test_the_past_of_a_device_is_asked_for_in_utc(vault, account):
    past = device(date="2026-10-01T08:00:00+00:00", t1_us=33.0)
    fetched, _ = account(past)
    backend = fetch_snapshot("ibm_manila", date(2026, 10, 1))
    assert fetched.asked == [datetime(2026, 10, 1, 23, 59, 59, tzinfo=UTC)]
    assert numbers(backend) == numbers(past) != numbers(fetched)
    assert store_snapshot(backend)[0].name == "ibm_manila@2026-10-01"


def test_days_before_the_first_calibration_are_refused(account):
    account(None)
    with refused("date: must be a day for which the service has a calibration of ibm_manila, got "
                 "2001-01-01; choose a later one"):  # fmt: skip
        fetch_snapshot("ibm_manila", date(2001, 1, 1))


def test_failures_are_told_without_the_token(account):
    account(ConnectionError(f"token {TOKEN}"))
    with refused("must be reachable, got ConnectionError for 'ibm_manila'") as caught:
        fetch_snapshot("ibm_manila", date(2026, 10, 1))
    assert TOKEN not in str(caught.value)
    assert caught.value.__suppress_context__
