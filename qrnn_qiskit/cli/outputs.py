"""Where the results of commands go: folders and files that can be written, figures in them."""

import os
from pathlib import Path
from typing import Any

from qrnn_qiskit.errors import InputError


def require_folder(folder: Path, option: str) -> None:
    """Finds out before any work is done whether its results will have a place; makes nothing."""
    for place in (folder, *folder.parents):
        if place.exists():
            reason = None if place.is_dir() else "Not a directory"
            if reason is None and not os.access(place, os.W_OK):
                reason = "Permission denied"
            if reason is not None:
                raise InputError(
                    f"{option}: must be a writable folder, got {folder} ({reason}); choose another"
                )
            return


def require_file(path: Path, option: str) -> None:
    """Finds out before any work is done whether a file can be written; makes nothing."""
    reason = "Is a directory" if path.is_dir() else None
    if not path.parent.is_dir():
        reason = "No such file or directory"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        reason = "Permission denied"
    if reason is not None:
        raise InputError(
            f"{option}: must be a writable path, got {path} ({reason}); choose another"
        )


def save_figure(figure: Any, path: Path, option: str = "--png") -> None:
    """Writes a figure as PNG.

    Raises:
        InputError: if the path, which the option gave, cannot be written.
    """
    try:
        figure.savefig(path, dpi=150, format="png")
    except OSError as error:
        raise InputError(
            f"{option}: must be a writable path, got {path} ({error.strerror}); choose another"
        ) from error


def save_figures(folder: Path, figures: dict[str, Any]) -> list[Path]:
    """Writes figures as PNG, by name, into a folder, which is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--figures: must be a writable folder, got {folder} ({error.strerror}); choose another"
        ) from error
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        save_figure(figure, paths[-1], "--figures")
    return paths
