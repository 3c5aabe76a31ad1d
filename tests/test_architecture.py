"""The shape of the code: which way imports point, where vendor SDKs live, how files are named."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "qrnn_qiskit"

# A package may import itself and what stands above it; DESIGN.md, section 9.
LAYERS = (
    "errors",
    "owners",
    "files",
    "database",
    "deadline",
    "pacing",
    "redaction",
    "settings",
    "sweeps",
    "ledger",
    "program",
    "devices",
    "costing",
    "compiling",
    "analysis",
    "simulate",
    "execution",
    "estimation",
    "tasks",
    "learning",
    "plotting",
    "studies",
    "cli",
)
# Each SDK changes in one place; patterns are relative to the package.
SDK_FILES = {
    "qiskit_aer": ("execution/aer*.py",),
    "qiskit_ibm_runtime": ("*/runtime*.py",),
    "mthree": ("estimation/m3.py",),
    "qiskit_machine_learning": ("learning/torch_connector.py", "learning/quantum_layer.py"),
    "matplotlib": ("plotting*.py",),
    "dask": ("sweeps/pools.py",),
    "distributed": ("sweeps/pools.py",),
}
VAGUE_NAMES = {"utils", "helpers", "common", "manager"}
MAX_LINES = 500
# numpy.random names that make generators instead of drawing from the hidden global one.
GENERATORS = {
    "default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64", "PCG64DXSM", "Philox",
    "SFC64", "MT19937",
}  # fmt: skip


def imports_of(tree, module):
    """Absolute names that a module imports, wherever the statement stands.

    `from a import b` gives `a.b`: b may be a module, and the layers only look at the front.
    """
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            front = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{front}.{alias.name}" for alias in node.names)


def wrong_layers(source, path):
    """Imports of packages below the module's own; the root's `__init__` may re-export anything."""
    own = layer_of(path.parts[0].removesuffix(".py"))
    if own == "__init__":
        return []
    below = LAYERS[LAYERS.index(own) + 1 :]
    imported = project_imports(source, path)
    return [name for name in imported if layer_of(name.split(".")[1]) in below]


def layer_of(name):
    """`plotting_depth` belongs to `plotting`; everything else is itself."""
    return "plotting" if name.startswith("plotting") else name


def project_imports(source, path):
    module = ".".join(("qrnn_qiskit", *path.with_suffix("").parts))
    names = imports_of(ast.parse(source), module)
    return [name for name in names if name.startswith("qrnn_qiskit.")]


def misplaced_sdks(source, path):
    """Vendor SDKs imported outside the files named for them."""
    found = {name.split(".")[0] for name in imports_of(ast.parse(source), "qrnn_qiskit.x.y")}
    return {
        sdk
        for sdk in found & set(SDK_FILES)
        if not any(path.match(pattern) for pattern in SDK_FILES[sdk])
    }


def dotted(node):
    """`np.random.rand` of an attribute chain, None if it does not start from a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr}" if front else None
    return None


def global_random_use(source):
    """Uses of a hidden, module-level random generator: numpy's legacy functions, or `random`."""
    tree = ast.parse(source)
    used = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = (dotted(node) or "").split(".")
            if parts[:2] in (["np", "random"], ["numpy", "random"]) and len(parts) == 3:
                used += [".".join(parts)] if parts[2] not in GENERATORS else []
        elif isinstance(node, ast.ImportFrom) and node.module == "numpy.random":
            used += [alias.name for alias in node.names if alias.name not in GENERATORS]
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            used += [f"random.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            used += [alias.name for alias in node.names if alias.name == "random"]
    return used


MODULES = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.fixture(params=MODULES, ids=str)
def module(request):
    return request.param


@pytest.fixture
def source(module):
    return (PACKAGE / module).read_text(encoding="utf-8")


def test_every_module_belongs_to_a_layer(module):
    own = layer_of(module.parts[0].removesuffix(".py"))
    assert own in (*LAYERS, "__init__")


def test_imports_point_upwards(module, source):
    assert wrong_layers(source, module) == []


def test_vendor_sdks_are_imported_in_their_files_only(module, source):
    assert misplaced_sdks(source, module) == set()


def test_no_random_generator_is_hidden_in_a_module(source):
    assert global_random_use(source) == []


def test_files_are_short_and_named_for_what_they_hold(module, source):
    assert len(source.splitlines()) <= MAX_LINES
    assert not {part.removesuffix(".py") for part in module.parts} & VAGUE_NAMES


@pytest.mark.parametrize(
    ("path", "statement", "wrong"),
    [
        ("program/cell.py", "from qrnn_qiskit.simulate import run_density", True),
        ("program/cell.py", "def f():\n    import qrnn_qiskit.cli", True),
        ("program/cell.py", "from qrnn_qiskit import execution", True),
        ("program/cell.py", "from ..devices import noise", True),
        ("program/cell.py", "from .slots import Slot", False),
        ("program/cell.py", "from qrnn_qiskit.errors import require", False),
        ("devices/noise.py", "from qrnn_qiskit.compiling import CompiledProgram", True),
        ("execution/aer.py", "from qrnn_qiskit.compiling import CompiledProgram", False),
        ("errors.py", "from qrnn_qiskit.program import CellSpec", True),
        ("settings.py", "from qrnn_qiskit.program import CellSpec", True),
        ("sweeps/run.py", "from qrnn_qiskit.program import CellSpec", True),
        ("compiling/profile.py", "from qrnn_qiskit.settings import load_toml", False),
        ("plotting_depth.py", "from qrnn_qiskit.studies import run", True),
        ("studies/depth.py", "from qrnn_qiskit.plotting_depth import plot", False),
        ("cli/model.py", "from qrnn_qiskit.studies import run", False),
        ("cli/model.py", "from qrnn_qiskit import __version__", False),
    ],
)
def test_a_wrong_import_would_be_noticed(path, statement, wrong):
    assert bool(wrong_layers(statement, Path(path))) == wrong


@pytest.mark.parametrize(
    ("path", "statement", "wrong"),
    [
        ("execution/aer.py", "from qiskit_aer import AerSimulator", False),
        ("execution/aer_noise.py", "import qiskit_aer.noise", False),
        ("execution/contract.py", "from qiskit_aer import AerSimulator", True),
        ("devices/aer.py", "from qiskit_aer import AerSimulator", True),
        ("devices/runtime.py", "from qiskit_ibm_runtime import fake_provider", False),
        ("execution/runtime_ledger.py", "import qiskit_ibm_runtime", False),
        ("devices/noise.py", "def f():\n    import qiskit_ibm_runtime", True),
        ("estimation/m3.py", "import mthree", False),
        ("estimation/outcomes.py", "import mthree", True),
        ("learning/quantum_layer.py", "import qiskit_machine_learning.connectors", False),
        ("learning/engines.py", "import qiskit_machine_learning.connectors", True),
        ("plotting.py", "import matplotlib.pyplot as plt", False),
        ("studies/depth.py", "from matplotlib import pyplot", True),
        ("sweeps/pools.py", "def f():\n    from distributed import Client", False),
        ("sweeps/run.py", "import distributed", True),
    ],
)
def test_a_misplaced_sdk_would_be_noticed(path, statement, wrong):
    assert bool(misplaced_sdks(statement, Path(path))) == wrong


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("np.random.rand(3)", True),
        ("import numpy\nnumpy.random.seed(1)", True),
        ("from numpy.random import normal", True),
        ("import random", True),
        ("from random import choice", True),
        ("rng = np.random.default_rng(1)\nrng.normal()", False),
        ("def f(rng: np.random.Generator): ...", False),
        ("from numpy.random import Generator, default_rng", False),
    ],
)
def test_a_hidden_generator_would_be_noticed(statement, wrong):
    assert bool(global_random_use(statement)) == wrong
