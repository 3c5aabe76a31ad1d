"""The command line as tests call it, and what it prints read strictly."""

import json

from typer.testing import CliRunner

from qrnn_qiskit.cli import app


def qrnn(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def strict_json(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)
