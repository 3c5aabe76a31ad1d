"""What a device does to a model, and which error does it: `qrnn noise JOB.toml`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from qrnn_qiskit.cli.console import (
    Job,
    Json,
    Overrides,
    TerminalProgress,
    clear_errors,
    command_line,
    err,
    escape,
    out,
    print_json,
    print_notes,
    with_error,
)
from qrnn_qiskit.cli.outputs import require_file, require_folder, save_figures

if TYPE_CHECKING:
    from qrnn_qiskit.studies import NoiseRow, NoiseStudy

app = typer.Typer()


@app.command()
def noise(
    job: Job,
    overrides: Overrides = None,
    as_json: Json = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write every number to this CSV file.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Where cases are kept; in the job's folder if none.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes; one per core if none.", min=1)
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Run on the workers of this Dask scheduler instead.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of run directories.")] = Path("runs"),
    figures: Annotated[
        Path | None, typer.Option(help="Folder of figures; in the job's folder if none.")
    ] = None,
) -> None:
    """Simulate a job's model on every point of its noise grid; finished cases are kept."""
    more = [] if store is None else ["--store", str(store)]
    more += [] if scheduler is None else ["--scheduler", scheduler]
    with clear_errors(job, command_line("noise", job, overrides, runs, *more)):
        from qrnn_qiskit import plotting_noise
        from qrnn_qiskit.studies import default_store, load_job, rows_csv, run_noise
        from qrnn_qiskit.studies.runs import finite_or_null

        spec = load_job(job, tuple(overrides or ()))
        folder = figures or default_store(spec, runs).parent / "figures"
        require_folder(folder, "--figures")
        if csv is not None:
            require_file(csv, "--csv")
        with TerminalProgress() as progress:
            study = run_noise(
                spec,
                runs_root=runs,
                store_path=store,
                num_workers=workers,
                scheduler=scheduler,
                progress=progress,
            )
        drawn = save_figures(
            folder,
            plotting_noise.draw_study(study.rows, study.metric_name) if study.rows else {},
        )
        if csv is not None:
            csv.write_text(rows_csv(study.rows))
        if as_json:
            print_json(finite_or_null(study.to_json()))
        else:
            _print_study(study)
            for path in drawn:
                out.print(f"figure    {escape(str(path))}", soft_wrap=True)
            if csv is not None:
                out.print(f"numbers   {escape(str(csv))}", soft_wrap=True)
            out.print(f"cases     {escape(str(study.store))}", soft_wrap=True)
        for failure in study.failures:
            err.print(f"[bold red]failed[/] {escape(failure)}", soft_wrap=True)
        if study.failures:
            raise typer.Exit(1)


_TITLES = {
    "num_memory": "n",
    "num_timesteps": "T",
    "strength_rad": "phi",
    "ablation": "errors",
}


def _print_study(study: "NoiseStudy") -> None:
    from qrnn_qiskit.studies import varying_axes

    if not study.rows:
        return
    first = study.rows[0]
    varying = varying_axes(study.rows)
    table = Table(title=escape(f"{study.job}: {_constants(study.rows)}"), title_justify="left")
    profiles = {(row.snapshot, row.profile) for row in study.rows}
    if len(profiles) == len({row.snapshot for row in study.rows}):
        varying = tuple(axis for axis in varying if axis != "profile")  # the device's own
    axes = varying or ("snapshot",)
    for axis in axes:
        is_number = isinstance(getattr(first, axis), int | float)
        title = _TITLES.get(axis, axis)
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    for column in (study.metric_name, "loss", "deviation", "kept at T", "exp(-lambda)"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in study.rows:
        kept, kept_error = row.retained[-1], row.retained_error[-1]
        table.add_row(
            *(_plain(getattr(row, axis)) for axis in axes),
            with_error(row.metric, row.metric_error),
            with_error(row.loss, row.loss_error),
            with_error(row.deviation, row.deviation_error),
            "-" if kept is None or kept_error is None else with_error(kept, kept_error),
            f"{row.expected_success:.3f}",
        )
    out.print(table)
    for exact in {(row.exact_metric, row.exact_metric_error): row for row in study.rows}.values():
        named = ", ".join(
            f"{_TITLES.get(axis, axis)} {_plain(getattr(exact, axis))}"
            for axis in ("num_memory", "num_timesteps", "strength_rad", "seed")
            if axis in varying
        )
        out.print(
            f"exact, without noise{f' ({named})' if named else ''}: {study.metric_name} "
            f"{with_error(exact.exact_metric, exact.exact_metric_error)}, loss "
            f"{with_error(exact.exact_loss, exact.exact_loss_error)}, "
            f"{exact.num_samples} test samples",
            soft_wrap=True,
        )
    out.print(
        "errors: one standard error over samples. deviation: rms of readouts from exact ones, less "
        "what shots explain. kept: slope of the last timestep's readouts against exact ones. "
        "exp(-lambda): the schedule's expected success",
        style="dim",
    )
    print_notes(study.notes)
    num_cases = len({row.key for row in study.rows})
    out.print(f"{num_cases} cases, {num_cases - study.num_new} of them known before")


def _constants(rows: "tuple[NoiseRow, ...]") -> str:
    from qrnn_qiskit.studies import varying_axes

    varying = varying_axes(rows)
    shown: dict[str, Any] = {}
    for axis in ("snapshot", "num_memory", "num_timesteps", "shots", "mitigation"):
        if axis not in varying:
            shown[axis] = getattr(rows[0], axis)
    return ", ".join(
        str(value) if axis == "snapshot" else f"{_TITLES.get(axis, axis)} {value}"
        for axis, value in shown.items()
    )


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else escape(str(value))
