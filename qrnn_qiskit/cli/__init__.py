"""The command line, `qrnn`. Everything here is one call in Python.

Commands import what they need when they run: `qrnn --help` must not wait for torch or Qiskit.
"""

import typer

from qrnn_qiskit.cli import analysis, devices, doctor, jobs, model, noise, snapshots

__all__ = ["app"]

app = typer.Typer(
    help="Hybrid quantum-classical recurrent networks on real dynamic circuits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(model.app)
app.add_typer(analysis.app)
app.add_typer(doctor.app)
app.add_typer(noise.app)
app.add_typer(jobs.app)
app.add_typer(devices.app)
app.add_typer(snapshots.app)
