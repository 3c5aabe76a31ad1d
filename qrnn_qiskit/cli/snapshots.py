"""What devices were on which day: `qrnn snapshot ls|show|import|pull|diff`."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from qrnn_qiskit.cli.console import (
    Json,
    TerminalProgress,
    clear_errors,
    err,
    escape,
    out,
    print_json,
    print_notes,
)
from qrnn_qiskit.cli.outputs import save_figure
from qrnn_qiskit.errors import InputError

if TYPE_CHECKING:
    from datetime import date

    from qrnn_qiskit.devices.calibration import Calibration, Medians
    from qrnn_qiskit.devices.drift import Change, Drift
    from qrnn_qiskit.devices.vault import SnapshotInfo

app = typer.Typer()
_snapshot = typer.Typer(
    help="Snapshots of devices: configuration and calibration of one date.", no_args_is_help=True
)
app.add_typer(_snapshot, name="snapshot")

Backend = Annotated[
    str,
    typer.Argument(
        help="NAME@DATE or content id of a stored snapshot, fake backend, snapshot file or ibm_*."
    ),
]
Png = Annotated[
    Path | None,
    typer.Option("--png", help="Write the figure of the lattice here.", show_default=False),
]
# Files that are read within a second; more of them show their progress.
_NUM_QUICK = 40
_NUM_WORST = 5
# Digits of a content id that fit the table, and are enough to load it by.
_SHORT_ID = 8
# Places named of one kind; a retired device may have hundreds.
_NUM_PLACES = 12
_COLOURS = {
    "better": "green", "recovered": "green", "worse": "red", "failed": "bold red",
    "longer": "default", "shorter": "default",
}  # fmt: skip
_MEDIAN_LABELS = {
    "two_qubit_error": "two-qubit error",
    "readout_error": "readout error",
    "t1_us": "T1, us",
    "t2_us": "T2, us",
}


@_snapshot.command("ls")
def list_all(
    device: Annotated[
        str, typer.Option(help="Only names that contain this.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """List the stored snapshots, then those of the runtime package."""
    with clear_errors():
        from qrnn_qiskit.devices import list_fake_backends
        from qrnn_qiskit.devices.vault import (
            default_vault_folder,
            describe_fake_backend,
            list_snapshot_paths,
            list_snapshots,
        )

        num_files = len(list_snapshot_paths())
        if num_files > _NUM_QUICK:
            with TerminalProgress() as progress, progress.stage("snapshots", num_files) as bar:
                stored, faults = list_snapshots(advance=bar.advance)
        else:
            stored, faults = list_snapshots()
        infos = [info for info in stored if device in info.name]
        infos += [describe_fake_backend(name) for name in list_fake_backends() if device in name]
        if as_json:
            print_json({"snapshots": [_info_json(info) for info in _with_ids(infos)],
                        "faults": list(faults)})  # fmt: skip
            return
        table = Table(title="snapshots of devices", title_justify="left")
        for column, justify in (
            ("snapshot", "left"), ("date", "left"), ("qubits", "right"), ("2q error", "right"),
            ("readout", "right"), ("T1, us", "right"), ("T2, us", "right"), ("content id", "left"),
        ):  # fmt: skip
            table.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        num_stored = sum(info.is_stored for info in infos)
        for place, info in enumerate(infos):
            if place == num_stored > 0:
                table.add_section()
            table.add_row(
                *map(escape, (info.name, info.date[:10], str(info.num_qubits))),
                *_median_cells(info.medians),
                (info.snapshot_id or "")[:_SHORT_ID],
            )
        out.print(table)
        out.print("medians; stored ones first, then those of the runtime package, whose content "
                  "ids show and --json give", style="dim", soft_wrap=True)  # fmt: skip
        out.print(f"vault     {escape(str(default_vault_folder()))}", soft_wrap=True)
        print_notes(faults)


@_snapshot.command("show")
def show(name: Backend, as_json: Json = False, png: Png = None) -> None:
    """Print what a device says about itself, what is bad, and what is missing."""
    with clear_errors():
        from qrnn_qiskit.devices import load_backend, read_target
        from qrnn_qiskit.devices.calibration import read_calibration

        with _warnings_as_notes() as notes:
            backend = load_backend(name)
        calibration = read_calibration(backend)
        try:
            unusable = list(read_target(backend).unusable)
        except InputError as error:  # it still is a device that one may look at
            unusable = [str(error)]
        if png is not None:
            from qrnn_qiskit.plotting_lattice import plot_lattice

            save_figure(plot_lattice(calibration), png)
        if as_json:
            print_json({**_calibration_json(calibration), "unusable": unusable, "notes": notes})
            return
        _print_calibration(calibration, unusable)
        print_notes(notes)
        _say_written(png)


@_snapshot.command("import")
def import_file(
    path: Annotated[
        Path,
        typer.Argument(
            help="File of save_snapshot, or folder with configuration.json and properties.json "
            "or one pair of conf_*.json and props_*.json."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Name of the device, where the file's own is not meant."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Store a snapshot from a file or folder in the vault."""
    with clear_errors():
        from qrnn_qiskit.devices import load_snapshot
        from qrnn_qiskit.devices.vault import store_snapshot

        _report_stored(*store_snapshot(load_snapshot(path.expanduser(), name)), as_json)


@_snapshot.command("pull")
def pull(
    name: Annotated[str, typer.Argument(help="Device of your account, for example ibm_boston.")],
    date: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="The last calibration of this day (UTC)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch a device's configuration and calibration, and store them in the vault."""
    with clear_errors():
        from qrnn_qiskit.devices import fetch_snapshot
        from qrnn_qiskit.devices.vault import store_snapshot

        day = None if date is None else _parse_day(date)
        info, is_new = store_snapshot(fetch_snapshot(name, day))
        if day is not None and info.date[:10] != day.isoformat():
            err.print(f"{name} has no calibration of {day}; the last one before it is of "
                      f"{info.date[:10]}", soft_wrap=True, markup=False)  # fmt: skip
        _report_stored(info, is_new, as_json)


@_snapshot.command("diff")
def diff(
    old: Backend,
    new: Backend,
    limit: Annotated[int, typer.Option(min=0, help="Changes to print.")] = 20,
    as_json: Json = False,
    png: Png = None,
) -> None:
    """Compare two snapshots: the largest changes, and what came and went."""
    with clear_errors():
        from qrnn_qiskit.devices import load_backend
        from qrnn_qiskit.devices.calibration import read_calibration
        from qrnn_qiskit.devices.drift import compare_calibrations

        with _warnings_as_notes() as notes:
            backends = [load_backend(name) for name in (old, new)]
        drift = compare_calibrations(*map(read_calibration, backends))
        notes = [*_drift_notes(drift), *notes]
        if png is not None:
            from qrnn_qiskit.plotting_lattice import plot_drift

            save_figure(plot_drift(drift), png)
        if as_json:
            print_json({**_drift_json(drift), "notes": notes})
            return
        _print_drift(drift, limit)
        print_notes(notes)
        _say_written(png)


@contextmanager
def _warnings_as_notes() -> Iterator[list[str]]:
    """What libraries warn of while a device is loaded, for the reader instead of the developer."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    notes += dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught)


def _with_ids(infos: "list[SnapshotInfo]") -> "list[SnapshotInfo]":
    """Content ids for those of the package, too: each needs its target, 4 s for all."""
    from qrnn_qiskit.devices import load_backend
    from qrnn_qiskit.devices.vault import with_snapshot_id

    missing = sum(info.snapshot_id is None for info in infos)
    complete = []
    with TerminalProgress() as progress, progress.stage("content ids", missing) as bar:
        for info in infos:
            if info.snapshot_id is None:
                with _warnings_as_notes():
                    backend = load_backend(info.source if info.is_stored else info.name)
                complete.append(with_snapshot_id(info, backend))
                bar.advance(info.name)
            else:
                complete.append(info)
    return complete


def _parse_day(text: str) -> "date":
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise InputError(
            f"--date: must be a day as YYYY-MM-DD, got {text!r}; for example 2026-11-20"
        ) from None


def _report_stored(info: "SnapshotInfo", is_new: bool, as_json: bool) -> None:
    if as_json:
        print_json({**_info_json(info), "is_new": is_new})
        return
    verb = "stored  " if is_new else "known   "
    out.print(f"{verb}  {escape(info.name)}, {info.num_qubits} qubits, {info.date}, content id "
              f"{info.snapshot_id}", soft_wrap=True)  # fmt: skip
    if not is_new:
        out.print("          the vault has this content already; nothing was written", style="dim")
    out.print(f"file      {escape(info.source)}", soft_wrap=True)


def _print_calibration(calibration: "Calibration", unusable: list[str]) -> None:
    out.print(f"[bold]{escape(calibration.name)}[/], {calibration.num_qubits} qubits, "
              f"{calibration.date or 'no date'}, content id {calibration.snapshot_id}",
              soft_wrap=True)  # fmt: skip
    table = Table(title="instructions", title_justify="left")
    for column in ("instruction", "places", "duration, ns", "median error", "largest error"):
        table.add_column(column, justify="left" if column == "instruction" else "right")
    for name, row in _instructions_json(calibration).items():
        shortest, longest = row["duration_ns"] or (None, None)
        duration = "" if shortest is None else f"{shortest:.0f}"
        if shortest != longest:
            duration += f" to {longest:.0f}"
        table.add_row(escape(name), str(row["num_places"]), duration,
                      _short(row["median_error"]), _short(row["largest_error"]))  # fmt: skip
    out.print(table)
    table = Table(title="medians and worst places", title_justify="left")
    for column in ("quantity", "median", "worst"):
        table.add_column(column)
    edges = (f"{_brackets(e)} {_short(calibration.edges[e])}"
             for e in calibration.worst_edges(_NUM_WORST))  # fmt: skip
    qubits = (f"{q} {_short(calibration.readout_error[q])}"
              for q in calibration.worst_qubits(_NUM_WORST))  # fmt: skip
    times = (_shortest(each) for each in (calibration.t1_us, calibration.t2_us))
    for label, cell, worst in zip(_MEDIAN_LABELS.values(), _median_cells(calibration.medians),
                                  (edges, qubits, *times), strict=True):  # fmt: skip
        table.add_row(label, cell, ", ".join(worst))
    out.print(table)
    for line in unusable[:_NUM_PLACES]:
        out.print(f"unusable  {escape(line)}", soft_wrap=True)
    if len(unusable) > _NUM_PLACES:
        out.print(f"unusable  and {len(unusable) - _NUM_PLACES} more; --json names all")
    for kind, places in calibration.oddities.items():
        out.print(f"odd       {escape(kind)}: {_places(places)}", soft_wrap=True)


def _print_drift(drift: "Drift", limit: int) -> None:
    table = Table(title="medians", title_justify="left")
    table.add_column("")
    for calibration in (drift.old, drift.new):
        heading = f"{calibration.name}\n{(calibration.date or 'no date')[:19]}"
        table.add_column(escape(heading), justify="right")
    table.add_column("new / old", justify="right")
    for (key, label), before, after in zip(
        _MEDIAN_LABELS.items(), _median_cells(drift.old.medians), _median_cells(drift.new.medians),
        strict=True,
    ):  # fmt: skip
        first, second = (getattr(c.medians, key) for c in (drift.old, drift.new))
        table.add_row(label, before, after, f"{second / first:.2f}" if first and second else "")
    out.print(table)
    if limit and drift.changes:
        _print_changes(drift.changes, limit)
    for label, places in (("new", drift.appeared), ("gone", drift.vanished)):
        for name in dict.fromkeys(name for name, _ in places):
            found = [qubits for other, qubits in places if other == name]
            out.print(f"{label:<9} {escape(name)}: {_places(found)}", soft_wrap=True)


def _print_changes(changes: "tuple[Change, ...]", limit: int) -> None:
    table = Table(title="largest changes", title_justify="left")
    for column in ("quantity", "qubits", "old", "new", "factor", ""):
        table.add_column(column, justify="right" if column in ("old", "new", "factor") else "left")
    for label, change in _merge_alike(changes)[:limit]:
        table.add_row(
            escape(label) + _unit(change.quantity), _brackets(change.qubits),
            *(_number(change.quantity, value) for value in (change.old, change.new)),
            "" if change.factor is None else f"{change.factor:.1f}",
            f"[{_COLOURS[change.direction]}]{change.direction}[/]",
        )  # fmt: skip
    out.print(table)
    doubled = sum(change.factor is None or change.factor >= 2 for change in changes)
    out.print(f"numbers that changed: {len(changes):,}; by a factor of 2 or more: {doubled:,}",
              style="dim")  # fmt: skip


def _merge_alike(changes: "tuple[Change, ...]") -> "list[tuple[str, Change]]":
    """One row where several gates of a qubit share their numbers: `id, sx, x error`."""
    alike: dict[Any, list[Change]] = {}
    for change in changes:
        kind = change.quantity.rpartition(" ")[2]
        alike.setdefault((kind, change.qubits, change.old, change.new), []).append(change)
    return [
        (", ".join(c.quantity.removesuffix(f" {kind}") for c in group)
         + (f" {kind}" if " " in group[0].quantity else ""), group[0])
        for (kind, *_), group in alike.items()
    ]  # fmt: skip


def _drift_notes(drift: "Drift") -> list[str]:
    notes = []
    if not drift.same_device:
        compared = "qubits are compared by number" if drift.same_lattice else "only medians compare"
        notes.append(f"{drift.old.name} and {drift.new.name} are different devices; {compared}")
    elif not drift.same_lattice:
        notes.append(
            f"qubits ({drift.old.num_qubits} and {drift.new.num_qubits}) or edges "
            f"({len(drift.old.edges)} and {len(drift.new.edges)}) differ; only medians compare"
        )
    if drift.old.snapshot_id == drift.new.snapshot_id:
        notes.append("both have the same content")
    return notes


def _say_written(png: Path | None) -> None:
    if png is not None:
        out.print(f"wrote     {escape(str(png))}", soft_wrap=True)


def _info_json(info: "SnapshotInfo") -> dict[str, Any]:
    return {**asdict(info), "is_stored": info.is_stored}


def _calibration_json(calibration: "Calibration") -> dict[str, Any]:
    return {
        **_head_json(calibration),
        "num_qubits": calibration.num_qubits,
        "two_qubit_gate": calibration.two_qubit_gate,
        "instructions": _instructions_json(calibration),
        "worst_qubits": list(calibration.worst_qubits(_NUM_WORST)),
        "worst_edges": [list(pair) for pair in calibration.worst_edges(_NUM_WORST)],
        "oddities": {
            kind: [list(qubits) for qubits in places]
            for kind, places in calibration.oddities.items()
        },
    }


def _head_json(calibration: "Calibration") -> dict[str, Any]:
    return {
        "name": calibration.name,
        "date": calibration.date,
        "snapshot_id": calibration.snapshot_id,
        "medians": asdict(calibration.medians),
    }


def _instructions_json(calibration: "Calibration") -> dict[str, dict[str, Any]]:
    rows = {}
    for name in calibration.names:
        found = [n for (other, _), n in calibration.instructions.items() if other == name]
        # What is not a number would not be JSON either.
        errors = [n.error for n in found if n.error is not None and n.error == n.error]
        duration = calibration.durations_ns[name]
        rows[name] = {
            "num_places": len(found),
            "duration_ns": list(duration) if duration else None,
            "median_error": median(errors) if errors else None,
            "largest_error": max(errors, default=None),
        }
    return rows


def _drift_json(drift: "Drift") -> dict[str, Any]:
    return {
        "old": _head_json(drift.old),
        "new": _head_json(drift.new),
        "same_device": drift.same_device,
        "same_lattice": drift.same_lattice,
        "changes": [
            {**asdict(change), "factor": change.factor, "direction": change.direction}
            for change in drift.changes
        ],
        "appeared": [{"quantity": q, "qubits": list(qubits)} for q, qubits in drift.appeared],
        "vanished": [{"quantity": q, "qubits": list(qubits)} for q, qubits in drift.vanished],
    }


def _median_cells(medians: "Medians") -> tuple[str, ...]:
    times = ("" if time is None else f"{time:.1f}" for time in (medians.t1_us, medians.t2_us))
    return (_short(medians.two_qubit_error), _short(medians.readout_error), *times)


def _shortest(times: Any) -> list[str]:
    """Qubits with the shortest known times, and these."""
    known = sorted((value, qubit) for qubit, value in enumerate(times) if value == value)
    return [f"{qubit} {value:.1f}" for value, qubit in known[:_NUM_WORST]]


def _short(error: float | None) -> str:
    return "" if error is None else f"{error:.2g}"


def _unit(quantity: str) -> str:
    if quantity in ("T1", "T2"):
        return ", us"
    return ", ns" if quantity.endswith("duration") else ""


def _number(quantity: str, value: float) -> str:
    return f"{value:.1f}" if _unit(quantity) else f"{value:.2g}"


def _places(places: Sequence[tuple[int, ...]]) -> str:
    """The first dozen, and how many more there are."""
    more = f" and {len(places) - _NUM_PLACES} more" if len(places) > _NUM_PLACES else ""
    return ", ".join(map(_brackets, places[:_NUM_PLACES])) + more


def _brackets(qubits: Iterable[int]) -> str:
    return f"({', '.join(map(str, qubits))})"
