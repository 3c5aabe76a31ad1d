"""The command line: `qrnn train|infer|circuit JOB.toml`. Everything here is one call in Python."""

import json
import math
import re
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from qrnn_qiskit.errors import InputError

if TYPE_CHECKING:
    from qrnn_qiskit.studies import ComparisonRow, TrainResult

# Progress and messages go to standard error, so that --json leaves pure JSON on standard output.
# Where standard error is no terminal, its lines need not be cut to a default width.
_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)
_out = Console(highlight=False)

app = typer.Typer(
    help="Hybrid quantum-classical recurrent networks on real dynamic circuits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Job = Annotated[Path, typer.Argument(help="Job spec, for example jobs/digits_feedforward.toml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. training.epochs=3."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of run directories.")]
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
) -> None:
    """Train a job's model, compare it on Aer, and print one table."""
    with _clear_errors(job, _command("train", job, overrides, runs, "--resume")):
        from qrnn_qiskit.studies import load_job, run_training

        spec = load_job(job, tuple(overrides or ()))
        with _TerminalProgress() as progress:
            result = run_training(spec, runs_root=runs, resume=resume, progress=progress)
        if as_json:
            _print_json(result.to_json())
            return
        title = f"{spec.name}: {spec.model.ansatz}, {spec.model.loop} loop"
        _print_rows(result.rows, result.metric_name, title)
        _print_device_loop(result)
        _print_notes(result.warnings)
        for figure in result.figures:
            _out.print(f"figure    {_escape(str(figure))}", soft_wrap=True)
        numbers = _escape(str(result.run / "metrics.json"))
        _out.print(f"numbers   {numbers}", soft_wrap=True)
        _out.print(f"took      {result.wall_seconds:.0f} s")


@app.command()
def infer(
    job: Job,
    engine: Annotated[
        Literal["exact", "aer"], typer.Option(help="Exact engine, or Aer as [aer] says.")
    ] = "exact",
    overrides: Overrides = None,
    as_json: Json = False,
    runs: Runs = Path("runs"),
    run: RunPath = None,
) -> None:
    """Run a trained model on the test split and write its predictions."""
    with _clear_errors(job, _command("infer", job, overrides, runs, f"--engine={engine}")):
        from qrnn_qiskit.studies import load_job, run_inference

        spec = load_job(job, tuple(overrides or ()))
        with _TerminalProgress() as progress:
            result = run_inference(
                spec, engine=engine, run_path=run, runs_root=runs, progress=progress
            )
        if as_json:
            _print_json(result.to_json())
            return
        _print_rows(result.rows, result.metric_name, f"{spec.name}: {result.run}")
        _print_notes(result.warnings)
        _out.print(f"predictions  {_escape(str(result.predictions))}", soft_wrap=True)


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
    with _clear_errors(job, _command("circuit", job, overrides, runs)):
        from qrnn_qiskit import plotting
        from qrnn_qiskit.studies import build_circuit_view, load_job

        spec = load_job(job, tuple(overrides or ()))
        view = build_circuit_view(
            spec, sample=sample, num_timesteps=timesteps, run_path=run, runs_root=runs
        )
        program = view.program
        if png is not None:
            title = f"{spec.name}, {program.num_timesteps} timesteps"
            _save_figure(plotting.draw_circuit(view.circuit, title), png)
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
            _print_json(numbers | ({"qasm3": view.qasm3} if qasm3 else {}))
        elif qasm3:
            typer.echo(view.qasm3)
        elif png is not None:
            _out.print(f"figure  {_escape(str(png))}", soft_wrap=True)
        else:
            drawing = view.circuit.draw("text", fold=_out.width, idle_wires=False)
            typer.echo(str(drawing))
            typer.echo(
                f"{program.cell.num_qubits} qubits, {program.num_bits} bits, "
                f"{program.slots.num_slots} slots, program {program.program_id}"
            )


@contextmanager
def _clear_errors(job: Path, again: str) -> Iterator[None]:
    """Input errors as one line and exit code 2; Ctrl-C says how to go on."""
    try:
        yield
    except InputError as error:
        line = " ".join(str(error).split("\n"))
        # What only a study can find wrong with a key does not know the file that the key is in.
        if re.match(r"(task|model|training|aer|device_loop)\.", line):
            line = f"{job}: {line}"
        _err.print(f"[bold red]error[/] {_escape(line)}", soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        line = f"interrupted; what is done is kept. Go on with: {again}"
        _err.print(_escape(line), soft_wrap=True)
        raise typer.Exit(130) from None


def _command(name: str, job: Path, overrides: list[str] | None, runs: Path, *more: str) -> str:
    """A command line that goes on with what this one began."""
    words = ["qrnn", name, str(job), *more]
    words += [word for override in overrides or () for word in ("--set", override)]
    words += [] if runs == Path("runs") else ["--runs", str(runs)]
    return shlex.join(words)


class _TerminalProgress:
    """Progress bars on standard error; one line per stage where that is no terminal.

    Ctrl-C is remembered, too: Python drops an exception that is raised in a callback of the
    garbage collector, and then the next sign of progress raises it again.
    """

    def __enter__(self) -> "_TerminalProgress":
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=_err,
        )
        self._started = self._interrupted = False
        self._handler_before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._handler_before)
        # Stopping what never started prints an empty line.
        if self._started:
            self._bars.stop()

    @contextmanager
    def stage(self, title: str, num_units: int, done: int = 0) -> Iterator["_Bar"]:
        self.check_interrupted()
        self._bars.start()
        self._started = True
        task = self._bars.add_task(title, total=num_units, completed=done, note="")
        yield _Bar(self, self._bars, task)

    def check_interrupted(self) -> None:
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def say(self, line: str) -> None:
        self._bars.console.print(_escape(line), soft_wrap=True)


class _Bar:
    def __init__(self, progress: _TerminalProgress, bars: Progress, task: TaskID) -> None:
        self._progress, self._bars, self._task = progress, bars, task

    def advance(self, note: str = "", units: int = 1) -> None:
        self._progress.check_interrupted()
        self._bars.update(self._task, advance=units, note=_escape(note))


def _print_rows(rows: "Iterable[ComparisonRow]", metric_name: str, title: str) -> None:
    table = Table(title=_escape(title), title_justify="left")
    table.add_column("engine")
    for column in (metric_name, "loss", "samples", "shots"):
        table.add_column(column, justify="right")
    for row in rows:
        shots = "exact" if row.num_shots is None else str(row.num_shots)
        table.add_row(
            _escape(row.label),
            _with_error(row.metric, row.metric_error),
            _with_error(row.loss, row.loss_error),
            str(row.num_samples),
            "" if row.kind == "baseline" else shots,
        )
    _out.print(table)
    _out.print("errors are one standard error over test samples", style="dim")


def _print_device_loop(result: "TrainResult") -> None:
    loop = result.device_loop
    if loop is None:
        return
    losses = " ".join(f"{loss:.3f}" for loss in loop.losses)
    _out.print(f"Aer in the loop, {loop.gradient} gradient: batch losses {losses}")
    if loop.damping:
        damping = " ".join(f"{factor:.2f}" for factor in loop.damping)
        _out.print(
            f"fitted damping per timestep and final basis {damping}; "
            f"residual {loop.residual_rms:.3f} rms, shot noise included",
            soft_wrap=True,
        )


def _print_notes(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        _out.print(f"[yellow]note[/]      {_escape(warning)}", soft_wrap=True)


def _with_error(value: float, error: float) -> str:
    """Three decimals, or as many as it takes to show the error's first digit."""
    if math.isnan(value):
        return "-"
    if math.isnan(error) or error == 0:
        return f"{value:.3f}"
    decimals = min(max(3, -math.floor(math.log10(error))), 9)
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _save_figure(figure: Any, path: Path) -> None:
    try:
        figure.savefig(path, dpi=150, format="png")
    except OSError as error:
        raise InputError(
            f"--png: must be a writable path, got {path} ({error.strerror}); choose another"
        ) from error


def _print_json(content: dict[str, Any]) -> None:
    from qrnn_qiskit.studies.runs import finite_or_null

    json.dump(finite_or_null(content), sys.stdout, indent=2)
    sys.stdout.write("\n")


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
