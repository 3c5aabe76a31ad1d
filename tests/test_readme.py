"""What README.md shows runs as it stands."""

import re
import tomllib
from pathlib import Path

import pytest

from qrnn_qiskit.studies.spec import parse_job

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    assert found
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code):
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("text", blocks("toml"))
def test_jobs_are_valid(text):
    job = parse_job(tomllib.loads(text), "README.md")
    job.model.build_model(job.task.load(), seed=0)


def test_files_that_it_names_exist():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"jobs/\w+\.toml", README):
        assert (ROOT / path).exists(), path
