"""Train, run and draw the model of a job: `qrnn train|infer|circuit JOB.toml`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from qrnn_qiskit.cli.console import (
    Job,
    Json,
    Overrides,
    TerminalProgress,
    clear_errors,
    command_line,
    count,
    err,
    escape,
    out,
    print_json,
    print_notes,
    with_error,
)
from qrnn_qiskit.cli.outputs import save_figure
from qrnn_qiskit.errors import InputError

if TYPE_CHECKING:
    from qrnn_qiskit.studies import ComparisonRow, Forecast, Study, TrainResult
    from qrnn_qiskit.studies.spec import JobSpec

app = typer.Typer()

EngineName = Literal["exact", "aer", "runtime"]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of run directories.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Forecast the jobs, send nothing.")]
RunPath = Annotated[
    Path | None, typer.Option("--run", help="Run directory to use; the newest of this job if none.")
]


@app.command()
def train(
    job: Job,
    overrides: Overrides = None,
    as_json: Json = False,
    runs: Runs = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the newest run of this job.")
    ] = False,
    backend: Annotated[
        str | None,
        typer.Option(help="Take the steps of [device_loop] as jobs here: ibm_* or fake_*."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send jobs without asking.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Train a job's model, compare it on Aer, and print one table."""
    more = [*([] if backend is None else ["--backend", backend]), *(["--yes"] if yes else [])]
    with clear_errors(job, command_line("train", job, overrides, runs, "--resume", *more)):
        from qrnn_qiskit.studies import RunDirectory, load_job, run_training
        from qrnn_qiskit.studies.runs import finite_or_null

        spec = load_job(job, tuple(overrides or ()))
        if backend is not None:
            spec = spec.on_device(backend)
        if dry_run:
            begun = RunDirectory.find(spec, runs).path if resume else None
            _show_forecast(spec, "train", as_json, begun)
            return
        with TerminalProgress() as progress:
            result = run_training(
                spec,
                runs_root=runs,
                resume=resume,
                progress=progress,
                confirm=lambda forecast: _confirm(forecast, yes),
            )
        if as_json:
            print_json(finite_or_null(result.to_json()))
            return
        title = f"{spec.name}: {spec.model.ansatz}, {spec.model.loop} loop"
        _print_rows(result.rows, result.metric_name, title)
        _print_device_loop(result)
        print_notes(result.warnings)
        for figure in result.figures:
            out.print(f"figure    {escape(str(figure))}", soft_wrap=True)
        numbers = escape(str(result.run / "metrics.json"))
        out.print(f"numbers   {numbers}", soft_wrap=True)
        out.print(f"took      {result.wall_seconds:.0f} s")


@app.command()
def infer(
    job: Job,
    engine: Annotated[
        EngineName,
        typer.Option(help="Exact engine, Aer as [aer] says, or jobs as [runtime] says."),
    ] = "exact",
    backend: Annotated[
        str | None, typer.Option(help="Where jobs run, instead of [runtime]'s: ibm_* or fake_*.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send jobs without asking.")] = False,
    dry_run: DryRun = False,
    overrides: Overrides = None,
    as_json: Json = False,
    runs: Runs = Path("runs"),
    run: RunPath = None,
) -> None:
    """Run a trained model on the test split and write its predictions."""
    chosen: EngineName = engine if backend is None else "runtime"
    more = [f"--engine={chosen}", *([] if backend is None else ["--backend", backend])]
    more += [*(["--yes"] if yes else []), *([] if run is None else ["--run", str(run)])]
    with clear_errors(job, command_line("infer", job, overrides, runs, *more)):
        from qrnn_qiskit.studies import load_job, run_inference
        from qrnn_qiskit.studies.runs import finite_or_null

        spec = load_job(job, tuple(overrides or ()))
        if backend is not None:
            spec = spec.on_device(backend)
        if dry_run:
            _show_forecast(spec, "infer", as_json)
            return
        with TerminalProgress() as progress:
            result = run_inference(
                spec,
                engine=chosen,
                run_path=run,
                runs_root=runs,
                progress=progress,
                confirm=lambda forecast: _confirm(forecast, yes),
            )
        if as_json:
            print_json(finite_or_null(result.to_json()))
            return
        _print_rows(result.rows, result.metric_name, f"{spec.name}: {result.run}")
        print_notes(result.warnings)
        out.print(f"predictions  {escape(str(result.predictions))}", soft_wrap=True)


def _show_forecast(
    spec: "JobSpec", study: "Study", as_json: bool, run_path: Path | None = None
) -> None:
    from qrnn_qiskit.studies import forecast_job

    forecast = forecast_job(spec, study, run_path)
    if as_json:
        print_json(forecast.to_json())
        return
    _print_forecast(forecast)
    err.print("nothing was sent; qrnn doctor shows each rule of the pre-flight check")


def _print_forecast(forecast: "Forecast") -> None:
    is_local = forecast.mode == "local"
    is_session = forecast.mode == "session" and forecast.num_jobs > 0
    jobs = count(forecast.num_jobs, "job")
    if forecast.num_sent:
        jobs = f"{forecast.num_jobs:,} of {forecast.num_jobs + forecast.num_sent:,} jobs left"
    err.print(
        f"{forecast.backend}, mode {forecast.mode}: {jobs}, {forecast.num_rows:,} rows, "
        f"{forecast.num_executions:,} executions, forecast {forecast.qpu_seconds:,.1f} QPU seconds"
        f"{' on a device, none here' if is_local else ''}"
        f"{', and the waiting between jobs: a session is billed by the clock' * is_session}",
        soft_wrap=True,
    )
    err.print(
        f"{count(forecast.num_circuits, 'circuit')}, the largest with "
        f"{count(forecast.num_qubits, 'qubit')}, the longest {forecast.circuit_us:,.1f} us; all "
        "rules of the pre-flight check pass",
        soft_wrap=True,
    )
    if forecast.remark:
        err.print(escape(forecast.remark), soft_wrap=True)


def _confirm(forecast: "Forecast", yes: bool) -> bool:
    """Prints what jobs will take, and asks where they cost something.

    Raises:
        InputError: where nobody can be asked.
    """
    _print_forecast(forecast)
    if yes or forecast.mode == "local" or forecast.num_jobs == 0:
        return True
    if not sys.stdin.isatty():
        raise InputError("--yes: must be given where nobody can be asked, got no terminal; add it")
    return typer.confirm("send them?", err=True)


@app.command()
def circuit(
    job: Job,
    overrides: Overrides = None,
    as_json: Json = False,
    runs: Runs = Path("runs"),
    run: RunPath = None,
    sample: Annotated[
        int | None, typer.Option(help="Bind the trained angles of this test sample.")
    ] = None,
    timesteps: Annotated[
        int | None, typer.Option(help="Only the first timesteps of the sequence.")
    ] = None,
    qasm3: Annotated[bool, typer.Option("--qasm3", help="Print OpenQASM 3.")] = False,
    png: Annotated[Path | None, typer.Option(help="Draw to this PNG file.")] = None,
) -> None:
    """Draw a job's dynamic circuit, or print it as OpenQASM 3."""
    with clear_errors(job, command_line("circuit", job, overrides, runs)):
        from qrnn_qiskit import plotting
        from qrnn_qiskit.studies import build_circuit_view, load_job

        spec = load_job(job, tuple(overrides or ()))
        view = build_circuit_view(
            spec, sample=sample, num_timesteps=timesteps, run_path=run, runs_root=runs
        )
        program = view.program
        if png is not None:
            title = f"{spec.name}, {program.num_timesteps} timesteps"
            save_figure(plotting.draw_circuit(view.circuit, title), png)
        if as_json:
            numbers = {
                "program_id": program.program_id,
                "num_timesteps": program.num_timesteps,
                "num_qubits": program.cell.num_qubits,
                "num_bits": program.num_bits,
                "num_steering_bits": sum(bit.role == "steering" for bit in program.record),
                "num_slots": program.slots.num_slots,
                "num_controls": program.num_controls,
                "sample": view.sample,
                "png": None if png is None else str(png),
            }
            print_json(numbers | ({"qasm3": view.qasm3} if qasm3 else {}))
        elif qasm3:
            typer.echo(view.qasm3)
        elif png is not None:
            out.print(f"figure  {escape(str(png))}", soft_wrap=True)
        else:
            drawing = view.circuit.draw("text", fold=out.width, idle_wires=False)
            typer.echo(str(drawing))
            typer.echo(
                f"{program.cell.num_qubits} qubits, {program.num_bits} bits, "
                f"{program.slots.num_slots} slots, program {program.program_id}"
            )


def _print_rows(rows: "Iterable[ComparisonRow]", metric_name: str, title: str) -> None:
    table = Table(title=escape(title), title_justify="left")
    table.add_column("engine")
    for column in (metric_name, "loss", "samples", "shots"):
        table.add_column(column, justify="right")
    for row in rows:
        shots = "exact" if row.num_shots is None else str(row.num_shots)
        table.add_row(
            escape(row.label),
            with_error(row.metric, row.metric_error),
            with_error(row.loss, row.loss_error),
            str(row.num_samples),
            "" if row.kind == "baseline" else shots,
        )
    out.print(table)
    out.print("errors are one standard error over test samples", style="dim")


def _print_device_loop(result: "TrainResult") -> None:
    loop = result.device_loop
    if loop is None:
        return
    losses = " ".join(f"{loss:.3f}" for loss in loop.losses)
    out.print(f"in the loop, {loop.gradient} gradient: batch losses {losses}")
    if loop.damping:
        damping = " ".join(f"{factor:.2f}" for factor in loop.damping)
        out.print(
            f"fitted damping per timestep and final basis {damping}; "
            f"residual {loop.residual_rms:.3f} rms, shot noise included",
            soft_wrap=True,
        )
    ages = [age for age in loop.calibration_ages if age is not None]
    if ages:
        num_fresh = sum(age == 0 for age in ages)
        out.print(
            f"readout calibrated with the batch itself in {num_fresh} of {len(ages)} steps, else "
            f"at most {max(ages):.0f} s before it",
            soft_wrap=True,
        )
