"""Would it run? Installation, IBM Quantum account, device and job: `qrnn doctor [JOB.toml]`."""

import platform
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from qrnn_qiskit.cli.console import (
    Json,
    Overrides,
    clear_errors,
    count,
    err,
    escape,
    out,
    print_json,
)
from qrnn_qiskit.errors import InputError

if TYPE_CHECKING:
    from qiskit.providers import BackendV2

    from qrnn_qiskit.devices import AccountReport, BackendReport, Check
    from qrnn_qiskit.studies import Diagnosis, Forecast, JobSpec

app = typer.Typer()

_PACKAGE = "qrnn-qiskit"
_SHOWN = ("qiskit", "qiskit-ibm-runtime", "qiskit-aer", "torch")
_COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


@app.command()
def doctor(
    job: Annotated[
        Path | None,
        typer.Argument(
            help="Job spec; installation and account alone if none.", show_default=False
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Fake backend, NAME@DATE, snapshot file or ibm_*; the job's if none."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Profile, name or file; that of [runtime] or the device if none."),
    ] = None,
    overrides: Overrides = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Sequence length T; the task's if none.", show_default=False)
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="Samples; those of [runtime] or [aer] if none.")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Of each row; those of [runtime] or [aer] if none.")
    ] = None,
    as_json: Json = False,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of run directories.")] = Path("runs"),
    run: Annotated[
        Path | None, typer.Option("--run", help="Run directory whose weights are used.")
    ] = None,
) -> None:
    """Check installation, account, device and job, before anything is submitted.

    The service is asked where the job runs on an ibm_* backend, or if there is no job.
    """
    with clear_errors(job):
        installation = check_installation()
        if installation.verdict == "problem":
            _finish([installation], as_json)
        if job is None:
            for_a_job = {"--profile": profile, "--set": overrides, "--timesteps": timesteps,
                         "--rows": rows, "--shots": shots, "--run": run}  # fmt: skip
            _require_no_options(for_a_job)
            account, device, _ = _examine(backend, asks=True)
            checks = _judge(installation, account, device, backend)
            _finish(checks, as_json, account, device)
            return
        from qrnn_qiskit.studies import default_backends, forecast_job, load_job, run_preflight

        spec = load_job(job, tuple(overrides or ()))
        sampling = spec.runtime
        name = backend or (default_backends(spec)[0] if sampling is None else sampling.backend)
        account, device, fetched = _examine(name, asks=_is_served(name))
        if _is_served(name) and fetched is None:
            # Compiling needs the device.
            checks = _judge(installation, account, device, name, spec)
            _finish(checks, as_json, account, device)
        try:
            diagnosis = run_preflight(
                spec,
                fetched or name,
                profile or (None if sampling is None else sampling.profile),
                num_timesteps=timesteps,
                num_rows=rows if rows is not None or sampling is None else sampling.num_samples,
                num_shots=shots if shots is not None or sampling is None else sampling.num_shots,
                run_path=run,
                runs_root=runs,
            )
        except InputError:
            if _is_served(name) and not as_json:
                _print_checks(_judge(installation, account, device, name, spec))
            raise
        forecast = None
        as_it_stands = timesteps is None and rows is None and shots is None
        if sampling is not None and as_it_stands and diagnosis.report.passed:
            forecast = forecast_job(spec.on_device(name), "infer", backend=fetched)
        checks = _judge(installation, account, device, name, spec, diagnosis, forecast)
        _finish(checks, as_json, account, device, spec.name, diagnosis, forecast)


def check_installation() -> "Check":
    """Whether what this package needs is installed, in versions that it is tested with.

    Example:
        >>> check_installation().name
        'installation'
    """
    from packaging.requirements import Requirement

    from qrnn_qiskit.devices.account import Check

    try:
        own = metadata.version(_PACKAGE)
        needed = [Requirement(line) for line in metadata.requires(_PACKAGE) or ()]
    except metadata.PackageNotFoundError:
        return Check("installation", "note", f"{_PACKAGE} is not installed, only imported",
                     "pip install . in the repository checks the versions it needs")  # fmt: skip
    wrong = []
    for each in needed:
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            version = "none"
        if version == "none" or not each.specifier.contains(version, prereleases=True):
            wrong.append(f"{each.name} must be {each.specifier}, got {version}")
    if wrong:
        return Check("installation", "problem", ", ".join(wrong), f"pip install {_PACKAGE} again")
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in _SHOWN)
    return Check("installation", "ok",
                 f"{_PACKAGE} {own}, Python {platform.python_version()}, {shown}")  # fmt: skip


def _is_served(name: str | None) -> bool:
    from qrnn_qiskit.devices import is_served

    return name is not None and is_served(name)


def _require_no_options(options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value is not None:
            shown = value[0] if isinstance(value, list) else value
            raise InputError(
                f"{name}: must come with a job, got {shown} alone; name a job, as in "
                "qrnn doctor jobs/infer_ibm.toml"
            )


def _examine(
    backend: str | None, *, asks: bool
) -> "tuple[AccountReport, BackendReport | None, BackendV2 | None]":
    """The account; what the device says, if it can be had without compiling; what was fetched."""
    from qrnn_qiskit.devices import describe_backend, find_account, load_backend
    from qrnn_qiskit.devices.runtime_account import CALL_SECONDS, read_account_and_backend

    if not asks:
        return find_account(), None, None
    if backend is not None and not _is_served(backend):
        return find_account(), describe_backend(load_backend(backend)), None
    with err.status("asking IBM Quantum"):
        account, fetched = read_account_and_backend(backend, call_seconds=CALL_SECONDS)
    return account, account.device, fetched


def _judge(
    installation: "Check",
    account: "AccountReport",
    device: "BackendReport | None",
    backend: str | None,
    spec: "JobSpec | None" = None,
    diagnosis: "Diagnosis | None" = None,
    forecast: "Forecast | None" = None,
) -> "list[Check]":
    # Of all that the job sends, where that is known; else of the rows that were checked.
    known = forecast or (None if diagnosis is None else diagnosis.report)
    has_feedforward = spec is not None and spec.model.loop == "feedforward"
    checks = [installation]
    checks += account.check(
        is_needed=_is_served(backend),
        mode="auto" if spec is None or spec.runtime is None else spec.runtime.mode,
        qpu_seconds=None if known is None else known.qpu_seconds,
        needs_feedforward=has_feedforward,
    )
    if device is not None and account.device is None:
        checks += device.check(needs_feedforward=has_feedforward)
    return checks


def _finish(
    checks: "list[Check]",
    as_json: bool,
    account: "AccountReport | None" = None,
    device: "BackendReport | None" = None,
    job: str = "",
    diagnosis: "Diagnosis | None" = None,
    forecast: "Forecast | None" = None,
) -> None:
    """Prints everything, and exits with 1 if anything stands in the way."""
    num_problems = sum(check.verdict == "problem" for check in checks)
    passed = num_problems == 0 and (diagnosis is None or diagnosis.report.passed)
    if as_json:
        from qrnn_qiskit.redaction import redact_json

        content: dict[str, Any] = {} if diagnosis is None else diagnosis.to_json()
        content |= {
            "passed": passed,
            "checks": [asdict(_redact(check)) for check in checks],
            "account": None if account is None else redact_json(account.to_json()),
            "device": None if device is None else redact_json(device.to_json()),
            "forecast": None if forecast is None else forecast.to_json(),
        }
        print_json(content)
    else:
        _print_checks(checks)
        if diagnosis is not None:
            _print_diagnosis(job, diagnosis, ready=num_problems == 0)
            if forecast is not None and diagnosis.report.passed:
                out.print(
                    f"qrnn infer, with readout calibration: {count(forecast.num_jobs, 'job')}, "
                    f"forecast {forecast.qpu_seconds:,.1f} QPU seconds"
                )
        if num_problems:
            out.print(f"[bold red]not ready[/]: {count(num_problems, 'problem')}, see above")
    if not passed:
        raise typer.Exit(1)


def _redact(check: "Check") -> "Check":
    """Names of the service's are in a finding, and pass through it; cures are our own words."""
    from qrnn_qiskit.redaction import redact

    return replace(check, found=redact(check.found))


def _print_checks(checks: "list[Check]") -> None:
    for check in checks:
        verdict = f"[{_COLOURS[check.verdict]}]{check.verdict:<9}[/]"
        out.print(f"{verdict}{check.name:<14}{escape(_redact(check).line)}", soft_wrap=True)


def _print_diagnosis(job: str, diagnosis: "Diagnosis", *, ready: bool) -> None:
    report = diagnosis.report
    table = Table(
        title=escape(f"{job} on {diagnosis.backend} with {diagnosis.profile}"),
        title_justify="left",
    )
    table.add_column("rule")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("limit", justify="right")
    for finding in report.findings:
        verdict = "[green]pass[/]" if finding.passed else "[yellow]split[/]"
        if not (finding.passed or finding.splits):
            verdict = "[bold red]fail[/]"
        table.add_row(escape(finding.rule), verdict, _plain(finding.value), _plain(finding.limit))
    out.print(table)
    program = diagnosis.compiled.program
    out.print(
        f"T = {program.num_timesteps}, {diagnosis.num_rows:,} rows of {diagnosis.num_shots:,} "
        f"shots, angles: {escape(diagnosis.rows_from)}",
        soft_wrap=True,
    )
    for finding in report.findings:
        if not finding.passed:
            out.print(f"{'split' if finding.splits else 'fail'}: {escape(finding.line)}",
                      soft_wrap=True)  # fmt: skip
    if report.largest_timesteps is not None:
        out.print(f"largest T that passes: {report.largest_timesteps:,}")
    if not report.passed:
        out.print("[bold red]not ready[/]: this circuit cannot run there", soft_wrap=True)
        return
    minutes = f", {report.minutes_to_submit:.0f} min to submit" if report.minutes_to_submit else ""
    verdict = "[green]ready[/]" if ready else "the job itself is ready"
    out.print(
        f"{verdict}: {count(report.num_jobs, 'job')}, "
        f"forecast {report.qpu_seconds:,.1f} QPU seconds{minutes}"
    )


def _plain(value: "str | float") -> str:
    if isinstance(value, str):
        return escape(value)
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"
