"""Jobs that runs have sent: `qrnn jobs ls|show|watch|cancel|adopt|export`, from any terminal."""

import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from qrnn_qiskit.cli.console import Json, clear_errors, err, escape, out, print_json
from qrnn_qiskit.errors import InputError

if TYPE_CHECKING:
    from qrnn_qiskit.execution.runtime_client import RuntimeClient
    from qrnn_qiskit.ledger import JobRecord, Ledger

app = typer.Typer()
jobs = typer.Typer(help="Jobs that runs have sent, from their ledgers.", no_args_is_help=True)
app.add_typer(jobs, name="jobs")

# Of the service's ids; those of local jobs are longer.
_LONGEST_ID = 24
_UNFINISHED = ("planned", "submitting", "submitted")

Runs = Annotated[Path, typer.Option("--runs", help="Folder of run directories.")]
Name = Annotated[str, typer.Argument(help="Job id, tag, or the first digits of an intent's id.")]


@jobs.command()
def ls(
    runs: Runs = Path("runs"),
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Only jobs that may still run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the jobs of all runs, the newest run last."""
    with clear_errors():
        found = [
            (path.parent.name, record)
            for path, records in _read_ledgers(runs).items()
            for record in records
            if not unfinished or record.state in _UNFINISHED
        ]
        if as_json:
            print_json({"jobs": [{"run": run, **_plain(record)} for run, record in found]})
            return
        table = Table(title="jobs", title_justify="left")
        for column in ("run", "job", "state", "backend"):
            table.add_column(column, no_wrap=True)
        for column in ("rows", "shots", "forecast, s", "billed, s"):
            table.add_column(column, justify="right")
        for run, record in found:
            intent = record.intent
            seconds = record.metrics.usage_seconds
            billed = "" if seconds is None else f"{seconds:.1f}"
            table.add_row(
                escape(run),
                escape(_short_name(record)),
                record.state,
                escape(intent.backend),
                f"{intent.num_rows:,}",
                f"{intent.num_shots:,}",
                f"{intent.forecast_seconds:.1f}",
                billed,
            )
        out.print(table)


@jobs.command()
def show(name: Name, runs: Runs = Path("runs"), as_json: Json = False) -> None:
    """Show a job and everything that happened to it."""
    with clear_errors():
        from qrnn_qiskit.ledger import Ledger

        path, record = _find(name, runs)
        with Ledger(path, only_read=True) as ledger:
            events = ledger.events(record.intent.intent_id)
        if as_json:
            content = {"run": path.parent.name, **_plain(record)}
            history = [{"time": e.time, "what": e.what, "detail": e.detail} for e in events]
            print_json({**content, "events": history})
            return
        for key, value in _plain(record).items():
            if value not in (None, ""):
                text = json.dumps(value) if isinstance(value, dict) else str(value)
                out.print(f"{key:17} {escape(text)}", soft_wrap=True)
        for event in events:
            out.print(f"{event.time}  {event.what}  {escape(event.detail)}", soft_wrap=True)


@jobs.command()
def watch(
    runs: Runs = Path("runs"),
    seconds: Annotated[float, typer.Option(help="Between two looks.", min=0.1)] = 5.0,
) -> None:
    """Print what changes in the ledgers of a folder of runs, until no job is unfinished."""
    with clear_errors():
        known: dict[str, str] = {}
        while True:
            records = [r for found in _read_ledgers(runs).values() for r in found]
            for record in records:
                heard = record.vendor_status if record.state == "submitted" else None
                state = heard or record.state
                if known.get(record.tag) != state:
                    known[record.tag] = state
                    out.print(f"{escape(record.job_id or record.tag)}  {state}", soft_wrap=True)
            if not any(record.state in _UNFINISHED for record in records):
                return
            time.sleep(seconds)


@jobs.command()
def adopt(runs: Runs = Path("runs")) -> None:
    """Take up what was sent and not heard of again: jobs, their results and bills, open sessions.

    A run that goes on does the same by itself; this is for runs that will not.
    """
    with clear_errors():
        from qrnn_qiskit.execution.adoption import settle, unsettled_backends
        from qrnn_qiskit.ledger import Ledger

        backends: dict[str, Any] = {}
        for path in _read_ledgers(runs):
            with Ledger(path, create=False) as ledger:
                for name in unsettled_backends(ledger):
                    if name not in backends:
                        backends[name] = _fetch(name)
                    for line in settle(ledger, name, _open_client(backends[name], ledger)):
                        out.print(f"{escape(path.parent.name)}  {line}", soft_wrap=True)


@jobs.command()
def cancel(name: Name, runs: Runs = Path("runs")) -> None:
    """Cancel a job that has not ended; the run that waits for it stops with one line."""
    with clear_errors():
        from qrnn_qiskit.devices import is_served

        _, record = _find(name, runs)
        if record.state != "submitted" or record.job_id is None:
            raise InputError(
                f"job: must be under way to be cancelled, got {record.state}; see qrnn jobs show"
            )
        if not is_served(record.intent.backend):
            raise InputError(
                f"job: must run on a device to be cancelled, got {record.intent.backend}; a local "
                "job ends with its process"
            )
        _open_client(_fetch(record.intent.backend)).cancel(record.job_id)
        err.print(f"asked to cancel {record.job_id}; qrnn jobs ls shows what became of it")


@jobs.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder for one JSON file per finished job.")],
    runs: Runs = Path("runs"),
) -> None:
    """Write the stored results of all finished jobs, in the service's own encoding."""
    with clear_errors():
        from qrnn_qiskit.cli.outputs import require_folder
        from qrnn_qiskit.files import write_whole
        from qrnn_qiskit.ledger import Ledger

        require_folder(folder, "FOLDER")
        folder.mkdir(parents=True, exist_ok=True)
        num_written = 0
        for path, records in _read_ledgers(runs).items():
            with Ledger(path, only_read=True) as ledger:
                for record in records:
                    text = ledger.result(record.intent.intent_id)
                    if record.state != "done" or text is None:
                        continue
                    target = folder / f"{record.job_id}.json"
                    cure = "free space, or choose another folder"
                    write_whole(target, partial(_write, text=text), cure)
                    num_written += 1
        out.print(f"wrote     {num_written} results to {escape(str(folder))}", soft_wrap=True)


def _fetch(backend: str) -> Any:
    from qrnn_qiskit.devices import fetch_backend

    return fetch_backend(backend)


def _open_client(backend: Any, ledger: "Ledger | None" = None) -> "RuntimeClient":
    from qrnn_qiskit.execution.runtime_client import RuntimeClient

    return RuntimeClient(backend, "job", sessions=None if ledger is None else ledger.sessions)


def _write(file: IO[bytes], text: str) -> None:
    file.write(text.encode())


def _read_ledgers(runs: Path) -> "dict[Path, list[JobRecord]]":
    from qrnn_qiskit.ledger import LEDGER_NAME, Ledger

    paths = sorted(runs.glob(f"*/{LEDGER_NAME}"), key=lambda path: path.stat().st_mtime)
    if not paths:
        raise InputError(f"--runs: must hold a run that has sent jobs, got none in {runs}; "
                         "send some with qrnn infer JOB.toml --engine runtime")  # fmt: skip
    found = {}
    for path in paths:
        with Ledger(path, only_read=True) as ledger:
            found[path] = ledger.records()
    return found


def _find(name: str, runs: Path) -> "tuple[Path, JobRecord]":
    matches = [
        (path, record)
        for path, records in _read_ledgers(runs).items()
        for record in records
        if name in (record.job_id, record.tag) or record.intent.intent_id.startswith(name)
    ]
    if len(matches) != 1:
        raise InputError(
            f"job: must name one job, got {name!r}, which names {len(matches)}; see qrnn jobs ls"
        )
    return matches[0]


def _short_name(record: "JobRecord") -> str:
    """The service's id; the first digits of the intent's where there is none, or a long one."""
    job_id = record.job_id or ""
    return job_id if 0 < len(job_id) <= _LONGEST_ID else record.intent.intent_id[:12]


def _plain(record: "JobRecord") -> dict[str, object]:
    intent = record.intent
    return {
        "job_id": record.job_id,
        "state": record.state,
        "vendor_status": record.vendor_status if record.state == "submitted" else None,
        "backend": intent.backend,
        "num_rows": intent.num_rows,
        "num_shots": intent.num_shots,
        "forecast_seconds": intent.forecast_seconds,
        **asdict(record.metrics),
        "error": record.error,
        "attempts": record.attempts,
        "tag": record.tag,
        "intent_id": intent.intent_id,
        "planned_at": record.planned_at,
        "submitted_at": record.submitted_at,
        "finished_at": record.finished_at,
        "labels": intent.labels,
    }
