"""Every notebook runs from top to bottom, and what is stored in it is clean."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# The small form takes about 20 s as a whole; a shared machine may be ten times slower.
CELL_TIMEOUT_SECONDS = 200
MIN_FIGURES = 4
MAX_BYTES = 1_500_000
# Directories of whoever executed it. Formulas, units and URLs have no slash before these names.
MACHINE_PATH = re.compile(r"(?<![\w./])/(?:work|tmp|root|home|Users|usr|opt|var|mnt)\b")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def texts(output):
    if output.output_type == "stream":
        return [output.text]
    # Images are base64, in which any short path may occur.
    return [text for mime, text in output.get("data", {}).items() if mime.startswith("text/")]


def check_outputs(notebook):
    for output in outputs(notebook):
        assert output.output_type != "error", output.get("evalue")
        assert output.get("name") != "stderr", output.text
        for text in texts(output):
            assert not MACHINE_PATH.search(text), text
            assert "Warning" not in text, text
    figures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert len(figures) >= MIN_FIGURES


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_notebook_runs_in_its_small_form(path, tmp_path, monkeypatch):
    monkeypatch.setenv("QRNN_NOTEBOOK_FAST", "1")
    # Neither the user's profile nor their home decides what a notebook does.
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    working_directory = tmp_path / "cwd"
    working_directory.mkdir()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(working_directory)}},
    )
    client.execute()
    check_outputs(notebook)
    assert not list(working_directory.iterdir())


@each_notebook
def test_stored_outputs_are_clean(path):
    assert path.stat().st_size < MAX_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "execute it from top to bottom"
    check_outputs(notebook)


@pytest.mark.parametrize("text", ["in /tmp/run-1", "/opt/me/x.py", "'/root'", "at (/home/me)"])
def test_machine_paths_are_found(text):
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["runs/tmp", "https://host.org/home", "1/2", "jobs/work.toml"])
def test_other_slashes_are_not_machine_paths(text):
    assert not MACHINE_PATH.search(text)
