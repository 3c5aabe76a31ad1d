"""Transpile profiles: named settings of the compiler, as TOML files."""

from difflib import get_close_matches
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, model_validator

from qrnn_qiskit.errors import InputError, require
from qrnn_qiskit.program import AnsatzName
from qrnn_qiskit.settings import STRICT, content_id, load_toml, parse_settings

_FOLDER = "transpile_profiles"

# Signed 32 bits: some of Qiskit's passes refuse larger seeds.
_TranspilerSeed = Annotated[int, Field(ge=0, lt=2**31)]
_DeviceQubit = Annotated[int, Field(ge=0)]
_GateName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


_Item = TypeVar("_Item", int, str)


def _in_order(values: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """Where order means nothing it must not change the profile's id, either."""
    return tuple(sorted(values))


class TranspileProfile(BaseModel):
    """How circuits are compiled for a device.

    Every key is listed in `transpile_profiles/README.md`.

    Raises:
        InputError: from `load_profile`, if a key is unknown, wrong or contradicts another.

    Example:
        >>> profile = TranspileProfile(name="mine", description="two layouts only",
        ...                            layout_candidates=2)
        >>> profile.layout, profile.changed_keys
        ('search', ('layout_candidates',))
    """

    model_config = STRICT

    name: str = Field(min_length=1, description="the file's name without .toml")
    description: str = Field(min_length=1, description="what the profile is for, in one line")
    layout: Literal["search", "preset", "logical"] = Field(
        "search",
        description="search: by expected success; preset: Qiskit's preset pass manager; logical: "
        "the logical circuit as it is, for ideal simulators",
    )
    tiling: Literal["step", "whole"] = Field(
        "step", description="step: compile a timestep and repeat it; whole: all timesteps at once"
    )
    optimization_level: Literal[0, 1, 2, 3] = Field(
        3, description="of Qiskit's preset pass manager"
    )
    seeds: tuple[_TranspilerSeed, ...] = Field(
        tuple(range(8)), description="transpiler seeds tried where routing is needed"
    )
    layout_candidates: int = Field(
        4, ge=1, description="best placements that are scored with a schedule of their own"
    )
    excluded_qubits: Annotated[tuple[_DeviceQubit, ...], AfterValidator(_in_order)] = Field(
        (), description="device qubits that are not used"
    )
    fractional_gates: bool = Field(
        False, description="rzz and rx are native, angles folded into [0, pi/2]"
    )
    readout_gate: Literal["rzz", "cz"] = Field(
        "rzz", description="form of the readout coupling; cz is one CZ"
    )
    fast_measure: bool = Field(True, description="measure_2 where the target has it")
    fast_reset: bool = Field(True, description="reset_2 where the target has it")
    spare_qubits: bool = Field(
        True,
        description="couplings of distant qubits may run through idle qubits in |0>: the long "
        "edge of a ring, an anchor with more readout qubits than neighbours",
    )
    extra_banks: int = Field(
        1,
        ge=0,
        le=3,
        description="banks of readout qubits beyond the program's that are tried, so that a reset "
        "need not be waited for",
    )
    feedforward_latency_ns: float = Field(
        600.0,
        ge=0,
        description="from a bit to the gate that it steers; IBM publishes none: 100 is "
        "optimistic, 600 pessimistic",
    )
    target_success: float = Field(
        0.5, gt=0, lt=1, description="expected success at which the horizon by decay is stated"
    )
    two_qubit_gates: Annotated[tuple[_GateName, ...], AfterValidator(_in_order)] = Field(
        (), description="native entanglers that the profile is made for, e.g. cz; none for any"
    )
    ansatz: AnsatzName | None = Field(
        None,
        description="that depth reports put in place of the job's; never runs a trained model",
    )

    @model_validator(mode="after")
    def _check_consistency(self) -> "TranspileProfile":
        for key in ("seeds", "excluded_qubits", "two_qubit_gates"):
            values = getattr(self, key)
            require(len(set(values)) == len(values), key, "must be distinct", list(values),
                    "name each once")  # fmt: skip
        require(len(self.seeds) > 0, "seeds", "must be at least one", list(self.seeds),
                "[0] tries one seed")  # fmt: skip
        require(self.layout == "search" or self.tiling == "whole", "tiling",
                f"must be 'whole' with layout '{self.layout}'", self.tiling,
                "set tiling = \"whole\", or layout = \"search\", whose layouts can be tiled"
                )  # fmt: skip
        require(not (self.layout == "logical" and self.fractional_gates), "fractional_gates",
                "must be false with layout 'logical'", self.fractional_gates,
                "a logical circuit is not translated to native gates: remove it")  # fmt: skip
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values of all keys but name and description, which change nothing compiled."""
        return self.model_dump(mode="json", exclude={"name", "description"})

    @property
    def profile_id(self) -> str:
        """Content id of all settings."""
        return content_id(self.settings, 16)

    @property
    def changed_keys(self) -> tuple[str, ...]:
        """Settings that differ from their defaults, in the order of the fields."""
        fields = type(self).model_fields
        return tuple(key for key in self.settings if getattr(self, key) != fields[key].default)


def list_profiles() -> tuple[str, ...]:
    """Names of the shipped profiles.

    Example:
        >>> "heron" in list_profiles()
        True
    """
    files = (Path(entry.name) for entry in _shipped_folder().iterdir())
    return tuple(sorted(file.stem for file in files if file.suffix == ".toml"))


def load_profile(name_or_path: str | Path) -> TranspileProfile:
    """A shipped profile by name, or one from a file.

    Args:
        name_or_path: a plain name is a shipped profile's; with a path separator in it or `.toml`
            at its end it is a file, where `~` is the home folder.

    Raises:
        InputError: one line that names file, key, rule, value and cure.

    Example:
        >>> load_profile("heron").two_qubit_gates
        ('cz',)
        >>> load_profile("hreon")
        Traceback (most recent call last):
        ...
        qrnn_qiskit.errors.InputError: profile: must be the name of a shipped profile or the path \
of a .toml file, got 'hreon'; did you mean heron? Shipped are aer, eagle, generic, heron, \
heron_fractional, nighthawk, reference_sim14
    """
    text = str(name_or_path)
    shipped = list_profiles()
    if Path(text).name != text or text.endswith(".toml"):
        return _load_file(_user_path(text, shipped))
    if text not in shipped:
        close = get_close_matches(text.lower(), shipped, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        raise InputError(
            "profile: must be the name of a shipped profile or the path of a .toml file, got "
            f"{text!r}; {guess}Shipped are {', '.join(shipped)}"
        )
    with resources.as_file(_shipped_folder() / f"{text}.toml") as path:
        return _load_file(path)


def _shipped_folder() -> Traversable:
    """Inside the package once installed; beside it in a checkout, installed as editable or not.

    `pyproject.toml` maps the repository's top-level folder into the package, but only a wheel
    carries that out on disk: in a checkout the package must not depend on how it was installed.
    """
    inside = resources.files("qrnn_qiskit") / _FOLDER
    return inside if inside.is_dir() else Path(__file__).parents[2] / _FOLDER


def _user_path(text: str, shipped: tuple[str, ...]) -> Path:
    path = Path(text)
    if path.name == text and path.stem in shipped and not path.exists():
        raise InputError(
            f"{text}: file must exist, got no such file; the shipped profile is called {path.stem}"
        )
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{text}: must lie in a known home folder, got: {error}; write the path in full"
        ) from error


def _load_file(path: Path) -> TranspileProfile:
    return parse_settings(
        TranspileProfile,
        load_toml(path, "profile"),
        str(path),
        examples=f"{_FOLDER}/",
        given={"name": path.stem},
    )


def choose_profile(two_qubit_gate: str, num_neighbours: int) -> TranspileProfile:
    """The shipped profile that is made for a device.

    Args:
        two_qubit_gate: the device's entangler.
        num_neighbours: of its best connected qubit: 3 on heavy hex, 4 on a square lattice.

    Example:
        >>> choose_profile("cz", 3).name, choose_profile("cx", 2).name
        ('heron', 'generic')
    """
    made_for = {("cz", 3): "heron", ("cz", 4): "nighthawk", ("ecr", 3): "eagle"}
    return load_profile(made_for.get((two_qubit_gate, num_neighbours), "generic"))
