"""Run directories: what a study keeps, written so that an interruption loses nothing."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from qrnn_qiskit.errors import InputError
from qrnn_qiskit.files import write_whole
from qrnn_qiskit.studies.spec import JobSpec, parse_job

FORMAT_VERSION = 1


@dataclass(frozen=True)
class RunDirectory:
    """`runs/<name>-<id>/`: spec, checkpoints, metrics, records and figures of one run."""

    path: Path

    @staticmethod
    def create(spec: JobSpec, root: Path) -> "RunDirectory":
        """A new directory; a run of the same spec before it is left as it is."""
        base = root / f"{spec.name}-{spec.training_id}"
        path, number = base, 1
        while path.exists():
            number += 1
            path = base.with_name(f"{base.name}-{number}")
        try:
            (path / "figures").mkdir(parents=True)
            (path / "records").mkdir()
        except OSError as error:
            raise InputError(
                f"--runs: must be a writable folder, got {root} ({error.strerror}); choose another"
            ) from error
        run = RunDirectory(path)
        run.write_spec(spec)
        return run

    @staticmethod
    def find(
        spec: JobSpec, root: Path, argument: str = "--resume", cure: str = "start it without"
    ) -> "RunDirectory":
        """The newest run of this task, model and training.

        Args:
            spec: the job.
            root: where runs are looked for.
            argument: named in the error, with the cure.
            cure: where there is no run.

        Raises:
            InputError: if there is none.
        """
        base = f"{spec.name}-{spec.training_id}"
        found = [path for path in root.glob(f"{base}*") if (path / "spec.json").exists()]
        if not found:
            others = sorted(path.name for path in root.glob(f"{spec.name}-*"))
            known = f"other settings ran as {', '.join(others)}; " if others else ""
            raise InputError(
                f"{argument}: a run of these settings must exist in {root}, got none ({base}); "
                f"{known}{cure}"
            )
        return RunDirectory(max(found, key=lambda path: (path / "spec.json").stat().st_mtime_ns))

    @staticmethod
    def open(path: Path) -> "RunDirectory":
        """An existing run.

        Raises:
            InputError: if the folder holds no run.
        """
        if not (path / "spec.json").exists():
            raise InputError(
                f"--run: must be the folder of a run, got {path} without spec.json; "
                "see runs/ for existing ones"
            )
        return RunDirectory(path)

    def write_spec(self, spec: JobSpec) -> None:
        """Keeps the settings, the latest ones if a run is resumed with others."""
        content = {"format_version": FORMAT_VERSION, **spec.model_dump(mode="json")}
        self.write_text("spec.json", json.dumps(content, indent=2) + "\n")

    def load_spec(self) -> JobSpec:
        """The spec that this run was started with."""
        path = self.path / "spec.json"
        try:
            settings = json.loads(path.read_text())
            version = settings.pop("format_version")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: must be a spec that a run wrote, got {error}; start the run again"
            ) from error
        _check_version(version, path)
        return parse_job(settings, str(path))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes a JSON file whole or not at all; numbers that are not finite become null."""
        self.write_text(name, json.dumps(finite_or_null(content), indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file whole or not at all."""
        self._write(name, lambda file: file.write(text.encode()))

    def save_checkpoint(self, name: str, identity: str, state: dict[str, Any]) -> None:
        """Writes a training state whole or not at all: the one before stays until it is done."""
        content = {"format_version": FORMAT_VERSION, "identity": identity, "state": state}
        # Not straight to the file: on a disk that gets full torch raises errors of its own.
        packed = BytesIO()
        torch.save(content, packed)
        self._write(name, lambda file: file.write(packed.getbuffer()))

    def load_checkpoint(self, name: str, identity: str) -> dict[str, Any] | None:
        """The training state, or None if the run has none yet.

        Args:
            name: of the file.
            identity: content id of the settings that the state must belong to.

        Raises:
            InputError: if the file is damaged, or was written by another spec or version.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            content = torch.load(path, weights_only=True)
            version, found = content["format_version"], content["identity"]
        except Exception as error:  # torch.load raises half a dozen types on damaged files
            raise InputError(
                f"{path}: must be a checkpoint, got a damaged file ({type(error).__name__}); "
                "delete it to start this part again"
            ) from error
        _check_version(version, path)
        if found != identity:
            raise InputError(
                f"{path}: must be a checkpoint of the settings {identity}, got one of {found}; "
                "resume with the task, model and training of that run, or start a new one"
            )
        state: dict[str, Any] = content["state"]
        return state

    def save_arrays(self, name: str, /, **arrays: np.ndarray) -> None:
        """Writes arrays as one compressed file under records/, whole or not at all."""
        self._write(f"records/{name}.npz", lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]

    def load_arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """Arrays saved before, or None; a damaged file counts as none and is computed again."""
        path = self.path / "records" / f"{name}.npz"
        try:
            # np.load leaves a damaged file open that it opened itself.
            with path.open("rb") as file, np.load(file) as arrays:
                return dict(arrays)
        except Exception:  # np.load raises as many types on damaged files as torch.load
            return None

    def figure_path(self, name: str) -> Path:
        """Where a figure goes."""
        return self.path / "figures" / f"{name}.png"

    def _write(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        cure = "free space, change its permissions or choose another folder with --runs"
        write_whole(self.path / name, write, cure)


@contextmanager
def resumable() -> Iterator[None]:
    """Marks errors that end a run whose directory holds what is done.

    Example:
        >>> try:
        ...     with resumable():
        ...         raise InputError("disk: must have room, got none; free some")
        ... except InputError as error:
        ...     print(error.is_resumable)
        True
    """
    try:
        yield
    except InputError as error:
        error.is_resumable = True
        raise


def finite_or_null(value: Any) -> Any:
    """Plain values with null for the numbers that JSON has no name for.

    Example:
        >>> finite_or_null({"loss": [0.5, float("nan")]})
        {'loss': [0.5, None]}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return value


def _check_version(version: object, path: Path) -> None:
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: must have format_version {FORMAT_VERSION}, got {version!r}; "
            "read it with the release that wrote it"
        )
