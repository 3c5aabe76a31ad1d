"""Fit circuits to devices: `qrnn profile ls|show`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from qrnn_qiskit.cli.console import Json, clear_errors, escape, out, print_json

if TYPE_CHECKING:
    from qrnn_qiskit.compiling.profile import TranspileProfile

app = typer.Typer()
_profile = typer.Typer(help="Transpile profiles: how circuits are compiled.", no_args_is_help=True)
app.add_typer(_profile, name="profile")

NameOrFile = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_FILE", help="A shipped profile's name, or the path of a .toml file."
    ),
]


@_profile.command("ls")
def list_shipped(as_json: Json = False) -> None:
    """List the shipped transpile profiles."""
    with clear_errors():
        from qrnn_qiskit.compiling.profile import list_profiles, load_profile

        profiles = [load_profile(name) for name in list_profiles()]
        if as_json:
            print_json({"profiles": [_profile_json(profile) for profile in profiles]})
            return
        table = Table(title="transpile profiles", title_justify="left")
        table.add_column("profile", no_wrap=True)
        table.add_column("for")
        table.add_column("settings that are not default")
        for profile in profiles:
            changed = ", ".join(
                f"{key} {_plain(getattr(profile, key))}" for key in profile.changed_keys
            )
            table.add_row(*map(escape, (profile.name, profile.description, changed)))
        out.print(table)
        out.print("qrnn profile show NAME prints every key", style="dim")


@_profile.command("show")
def show(name_or_file: NameOrFile, as_json: Json = False) -> None:
    """Print every key of a transpile profile."""
    with clear_errors():
        from qrnn_qiskit.compiling.profile import load_profile

        profile = load_profile(name_or_file)
        if as_json:
            print_json(_profile_json(profile))
            return
        table = Table(title=escape(f"{profile.name}: {profile.description}"), title_justify="left")
        table.add_column("key", no_wrap=True)
        table.add_column("value")
        table.add_column("meaning")
        for key, value in profile.settings.items():
            text = escape(_plain(value))
            changed = key in profile.changed_keys
            shown = f"[bold]{text}[/]" if changed else f"[dim]{text} (default)[/]"
            table.add_row(key, shown, escape(type(profile).model_fields[key].description or ""))
        out.print(table)
        out.print(f"profile {profile.profile_id}", style="dim")


def _profile_json(profile: "TranspileProfile") -> dict[str, Any]:
    return {
        "name": profile.name,
        "description": profile.description,
        "profile_id": profile.profile_id,
        "settings": profile.settings,
        "changed_keys": list(profile.changed_keys),
    }


def _plain(value: Any) -> str:
    """A setting as one would say it; lists as in TOML."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
