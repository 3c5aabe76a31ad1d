"""Settings from TOML files: strict models, and errors that name file, key, rule, value and cure."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from qrnn_qiskit.errors import InputError

STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
"""Configuration of every model of settings: unknown keys are errors, not silently ignored."""

Settings = TypeVar("Settings", bound=BaseModel)


def load_toml(path: Path, kind: str) -> dict[str, Any]:
    """Plain settings from a TOML file.

    Args:
        path: of the file.
        kind: what the file holds, for the error where there is none: "job spec".

    Raises:
        InputError: if there is no such file (the message names its neighbours) or it is not TOML.

    Example:
        >>> load_toml(Path("no/such/job.toml"), "job spec")
        Traceback (most recent call last):
        ...
        qrnn_qiskit.errors.InputError: no/such/job.toml: file must exist, got no such file; give \
the path of a job spec
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        others = sorted(str(other) for other in path.parent.glob("*.toml"))
        known = f"there are {', '.join(others)}" if others else f"give the path of a {kind}"
        raise InputError(f"{path}: file must exist, got no such file; {known}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: must be readable TOML, got: {error}; correct that") from error


def parse_settings(
    model: type[Settings],
    settings: Mapping[str, Any],
    source: str,
    *,
    examples: str,
    given: Mapping[str, Any] | None = None,
) -> Settings:
    """A model of settings, checked.

    Args:
        model: what the settings must be; its fields' descriptions appear in errors.
        settings: as read from the file.
        source: named in errors, usually the path of the file.
        examples: where to see right settings, for keys that have no description.
        given: fields that do not come from the file, which must not set them.

    Raises:
        InputError: one line about the first error, and how many more there are.

    Example:
        >>> from pydantic import Field
        >>> class Oven(BaseModel):
        ...     model_config = STRICT
        ...     kelvin: float = Field(450.0, gt=0, description="temperature")
        >>> parse_settings(Oven, {"kelvin": 500}, "oven.toml", examples="ovens/")
        Oven(kelvin=500.0)
        >>> parse_settings(Oven, {"kevlin": 500}, "oven.toml", examples="ovens/")
        Traceback (most recent call last):
        ...
        qrnn_qiskit.errors.InputError: oven.toml: kevlin: must be a known key, got 500; did you \
mean kelvin?
    """
    given = given or {}
    for key in given.keys() & settings.keys():
        meaning = model.model_fields[key].description
        raise InputError(
            f"{source}: {key}: must not be set, got {settings[key]!r}; remove it ({meaning})"
        )
    try:
        return model.model_validate({**settings, **given})
    except ValidationError as error:
        first, *rest = error.errors()
        line = _describe(dict(first), model, examples, frozenset(given))
        more = f" (and {len(rest)} more)" if rest else ""
        raise InputError(f"{source}: {line}{more}") from None


def content_id(settings: dict[str, Any], num_digits: int) -> str:
    """The first hexadecimal digits of a hash of plain settings, whatever the order of their keys.

    Example:
        >>> content_id({"a": 1, "b": 2}, 8) == content_id({"b": 2, "a": 1}, 8)
        True
    """
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:num_digits]


@dataclass(frozen=True)
class _Place:
    """Where an error stands.

    Attributes:
        model: that holds the key, None if no model does.
        path: of the key, without the tags of unions.
        description: of the innermost known key.
        tagged: the models among which the key's value chooses, by tag.
    """

    model: type[BaseModel] | None
    path: tuple[str, ...]
    description: str
    tagged: Mapping[str, type[BaseModel]]


def _describe(
    error: dict[str, Any], root: type[BaseModel], examples: str, given: frozenset[str]
) -> str:
    """One line from pydantic's description of an error."""
    place = _locate(root, error["loc"])
    key = ".".join(place.path)
    value = error["input"]
    if error["type"] == "extra_forbidden":
        hidden = given if place.model is root else frozenset()
        known = sorted(set(place.model.model_fields if place.model else ()) - hidden)
        close = get_close_matches(place.path[-1], known, n=1)
        cure = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return f"{key}: must be a known key, got {value!r}; {cure}"
    if error["type"] == "missing":
        meaning = place.description or f"see {examples}"
        return f"{key}: must be given, got nothing; add {place.path[-1]} ({meaning})"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _describe_tag(key, error, sorted(place.tagged))
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        return f"{key}: {message}" if key else message
    rule = error["msg"].replace("Input should be", "must be")
    rule = rule[0].lower() + rule[1:]
    meaning = place.description or f"see {examples} for examples"
    return f"{key}: {rule}, got {value!r}; correct it ({meaning})"


def _describe_tag(key: str, error: dict[str, Any], known: list[str]) -> str:
    """One line where the key that chooses a union's model is missing, or unknown."""
    chooser = error["ctx"]["discriminator"].strip("'")
    rule = f"{key}.{chooser}: must be one of {', '.join(known)}"
    if error["type"] == "union_tag_not_found":
        return f"{rule}, got nothing; add it"
    tag = error["ctx"]["tag"]
    close = get_close_matches(tag, known, n=1)
    return f"{rule}, got {tag!r}; {f'did you mean {close[0]}?' if close else 'choose one of these'}"


def _locate(root: type[BaseModel], loc: tuple[int | str, ...]) -> _Place:
    model: type[BaseModel] | None = root
    tagged: Mapping[str, type[BaseModel]] = {}
    path: list[str] = []
    description = ""
    for part in loc:
        fields = model.model_fields if model is not None else {}
        if isinstance(part, str) and part in tagged:
            model, tagged = tagged[part], {}
        elif isinstance(part, str) and part in fields:
            description = fields[part].description or ""
            tagged = _tagged_models(fields[part])
            model = None if tagged else _model_of(fields[part].annotation)
            path.append(part)
        else:
            path.append(str(part))
    return _Place(model, tuple(path), description, tagged)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *get_args(annotation)]
    models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return models[0] if models else None


def _tagged_models(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """The models of a discriminated union by tag; none for any other field."""
    chooser = field.discriminator
    if not isinstance(chooser, str):
        return {}
    return {
        tag: member
        for member in get_args(field.annotation)
        for tag in get_args(member.model_fields[chooser].annotation)
    }
