"""What a device makes of a job: `qrnn depth|horizon JOB.toml`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from qrnn_qiskit.cli.console import (
    Job,
    Json,
    Overrides,
    TerminalProgress,
    clear_errors,
    escape,
    out,
    print_json,
    print_notes,
)
from qrnn_qiskit.cli.outputs import require_file, require_folder, save_figures

if TYPE_CHECKING:
    from qrnn_qiskit.analysis import DepthReport, Horizon

app = typer.Typer()

Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        help="Fake backend, NAME@DATE, file or ibm_*; repeat for several. The job's if none.",
    ),
]
Profiles = Annotated[
    list[str] | None,
    typer.Option(
        "--profile", help="Profile, name or file; repeat for several. The device's own if none."
    ),
]
Timesteps = Annotated[
    int | None, typer.Option(help="Sequence length T; the task's if none.", show_default=False)
]
Figures = Annotated[
    Path | None,
    typer.Option(help="Folder for the figures; runs/JOB-COMMAND if none.", show_default=False),
]
# Columns of numbers that fit a terminal of 100 characters beside their names.
_COLUMNS_AT_ONCE = 4
# Name in the report, what is printed, decimals.
_GROWING = (
    ("two_qubit_gates", "two-qubit gates", 1),
    ("two_qubit_depth", "two-qubit depth", 1),
    ("swaps", "swaps", 1),
    ("one_qubit_gates", "one-qubit gates", 1),
    ("measurements", "measurements", 1),
    ("resets", "resets", 1),
    ("branch_blocks", "branch blocks", 1),
    ("broadcasts", "broadcasts", 1),
    ("duration_us", "duration, us", 2),
    ("memory_idle_us", "memory waits, us", 2),
    ("loss", "loss lambda", 4),
    ("loss_two_qubit", "  two-qubit gates", 4),
    ("loss_one_qubit", "  one-qubit gates", 4),
    ("loss_readout", "  readout", 4),
    ("loss_reset", "  reset", 4),
    ("loss_idle", "  waiting", 4),
)


@app.command()
def depth(
    job: Job,
    backends: Backends = None,
    profiles: Profiles = None,
    overrides: Overrides = None,
    timesteps: Timesteps = None,
    as_json: Json = False,
    csv: Annotated[Path | None, typer.Option(help="Write the numbers to this CSV file.")] = None,
    figures: Figures = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Folder for the device circuits, as QPY and OpenQASM 3."),
    ] = None,
) -> None:
    """Compile a job for backends and profiles: depth, time, and what is lost."""
    with clear_errors(job):
        from qrnn_qiskit import plotting_depth
        from qrnn_qiskit.studies import load_job, run_depth, save_circuits
        from qrnn_qiskit.studies.runs import finite_or_null

        spec = load_job(job, tuple(overrides or ()))
        folder = figures or Path("runs") / f"{spec.name}-depth"
        require_folder(folder, "--figures")
        if save is not None:
            require_folder(save, "--save")
        if csv is not None:
            require_file(csv, "--csv")
        with TerminalProgress() as progress:
            study = run_depth(
                spec,
                tuple(backends or ()),
                tuple(profiles or ()),
                num_timesteps=timesteps,
                progress=progress,
            )
        if csv is not None:
            study.save_csv(csv)
        saved = save_circuits(spec.name, study.reports, save) if save is not None else ()
        drawn = save_figures(
            folder,
            {
                "timeline": plotting_depth.plot_timeline(study.reports[0]),
                "loss": plotting_depth.plot_loss(study.reports),
                "two_qubit_depth": plotting_depth.plot_two_qubit_depth(study.reports),
            },
        )
        if as_json:
            print_json(finite_or_null(study.to_json()))
            return
        for first in range(0, len(study.reports), _COLUMNS_AT_ONCE):
            _print_reports(study.job, study.reports[first : first + _COLUMNS_AT_ONCE])
        out.print("per timestep (in total); gates and depth of the worst branch", style="dim")
        print_notes(study.hints)
        print_notes(f"{b} with {p}: {reason}" for b, p, reason in study.misfits)
        for path in (*saved, *drawn):
            out.print(f"wrote     {escape(str(path))}", soft_wrap=True)


@app.command()
def horizon(
    job: Job,
    backends: Backends = None,
    profiles: Profiles = None,
    overrides: Overrides = None,
    success: Annotated[
        float | None, typer.Option(help="Expected success that must remain; the profile's if none.")
    ] = None,
    budget: Annotated[float, typer.Option(help="QPU seconds that may be spent.")] = 600.0,
    executions: Annotated[
        int | None, typer.Option(help="Rows times shots; those of [aer] if none.")
    ] = None,
    as_json: Json = False,
    figures: Figures = None,
) -> None:
    """How long a sequence may be on each backend, and what binds it."""
    with clear_errors(job):
        from qrnn_qiskit import plotting_depth
        from qrnn_qiskit.studies import load_job, run_horizon
        from qrnn_qiskit.studies.runs import finite_or_null

        spec = load_job(job, tuple(overrides or ()))
        folder = figures or Path("runs") / f"{spec.name}-horizon"
        require_folder(folder, "--figures")
        with TerminalProgress() as progress:
            study = run_horizon(
                spec,
                tuple(backends or ()),
                tuple(profiles or ()),
                target_success=success,
                num_executions=executions,
                max_qpu_seconds=budget,
                progress=progress,
            )
        drawn = save_figures(
            folder,
            {"horizon": plotting_depth.plot_horizon(study.horizons)},
        )
        if as_json:
            print_json(finite_or_null(study.to_json()))
            return
        _print_horizons(study.job, study.horizons)
        print_notes(f"{b} with {p}: {reason}" for b, p, reason in study.misfits)
        for path in drawn:
            out.print(f"wrote     {escape(str(path))}", soft_wrap=True)


def _print_reports(job: str, reports: "tuple[DepthReport, ...]") -> None:
    contents = [report.to_json() for report in reports]
    table = Table(title=escape(f"{job}: depth per timestep"), title_justify="left")
    table.add_column("", no_wrap=True)
    for content in contents:
        heading = _heading(content["backend"], content["profile"])
        table.add_column(heading, justify="right", overflow="fold")
    described = ("ansatz", "num_memory", "num_readouts", "feedback_delay", "num_timesteps",
                 "num_qubits", "num_banks", "num_spares")  # fmt: skip
    for key in described:
        table.add_row(key.replace("num_", "").replace("_", " "), *(str(c[key]) for c in contents))
    table.add_section()
    for key, label, decimals in _GROWING:
        table.add_row(
            label,
            *(
                f"{c['per_timestep'][key]:.{decimals}f} ({_short(c['total'][key])})"
                for c in contents
            ),
        )
    table.add_section()
    table.add_row("memory waits, share", *(f"{c['idle_fraction']:.0%}" for c in contents))
    table.add_row("expected success", *(f"{c['success']:.3g}" for c in contents))
    for target in dict.fromkeys(c["target_success"] for c in contents):
        cells = (
            f"{c['timesteps_to_target']:.1f}" if c["target_success"] == target else ""
            for c in contents
        )
        table.add_row(f"timesteps to {target:.0%}", *cells)
    table.add_row("compile, s", *(f"{c['compile_seconds']:.2f}" for c in contents))
    out.print(table)


def _heading(backend: str, profile: str) -> str:
    """Lines over a column, as narrow as its numbers."""
    return escape("\n".join((*backend.split("@"), profile)))


def _short(number: float) -> str:
    return f"{number:,.0f}" if number == round(number) or number >= 100 else f"{number:.3g}"


def _print_horizons(job: str, horizons: "tuple[Horizon, ...]") -> None:
    table = Table(title=escape(f"{job}: largest sequence length T"), title_justify="left")
    table.add_column("limit")
    for item in horizons:
        heading = _heading(item.backend, item.profile)
        table.add_column(heading, justify="right", overflow="fold")
    limits = dict.fromkeys(bound.limit for item in horizons for bound in item.bounds)
    for limit in limits:
        cells = []
        for item in horizons:
            found = [bound for bound in item.bounds if bound.limit == limit]
            text = _length(found[0].max_timesteps) if found else ""
            cells.append(f"[bold]{text}[/]" if limit == item.binding.limit else text)
        table.add_row(escape(limit), *cells)
    table.add_section()
    table.add_row("lambda per timestep", *(f"{item.loss_slope:.4f}" for item in horizons))
    table.add_row("timestep, us", *(f"{item.duration_slope_ns / 1e3:.2f}" for item in horizons))
    out.print(table)
    out.print("bold: the limit that binds", style="dim")


def _length(max_timesteps: float) -> str:
    return "-" if math.isinf(max_timesteps) else f"{max_timesteps:,.0f}"
