"""What is wrong with a stack file, in words of YAML: where, why, and which key was perhaps meant."""

import difflib
import json
from collections.abc import Iterator
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from components.base import PROJECT

_SHOWN_CHARACTERS = 60
_REASONS = {
    "list_type": "Input should be a list",
    "tuple_type": "Input should be a list",
    "model_type": "Input should be keys with values",
    "string_pattern_mismatch": "Input should be of another form",
}
"""Findings of pydantic that speak of Python, in words of YAML."""


def findings(error: ValidationError, model: type[BaseModel], file: str) -> Iterator[str]:
    """What is wrong, a line for each.

    Args:
        error: As pydantic has it.
        model: Of a whole stack file.
        file: Which was read.
    """
    for detail in error.errors(include_url=False):
        place, field = _place(detail["loc"]), _field(model, detail["loc"])
        if detail["type"] == "missing" and field and field.annotation is SecretStr:
            stack = file.removeprefix("stacks/Pulumi.").removesuffix(".yaml")
            yield f"{place} is missing: .venv/bin/pulumi config set --stack {stack} --path --secret {place}"
        else:
            yield f"{place}: {_explanation(model, detail)}"


def _place(location: tuple[int | str, ...]) -> str:
    """A place as it is written in a stack file.

    >>> _place(("auth", "accounts", 0))
    'cygnet:auth.accounts[0]'
    """
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return f"{PROJECT}:{path.removeprefix('.')}" if path else PROJECT


def _explanation(model: type[BaseModel], detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return _unknown_key(model, detail["loc"])
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    reason = _REASONS.get(detail["type"], detail["msg"])
    meaning = _meaning(model, detail["loc"])
    given = "" if _is_secret(model, detail["loc"]) else f", not {_shown(detail['input'])}"
    return f"{reason}{given}{f'. It is: {meaning}' if meaning else ''}"


def _is_secret(model: type[BaseModel], location: tuple[int | str, ...]) -> bool:
    """Whether what stands at a place may not stand in a log: a secret, or what has one in it."""
    if location and isinstance(location[-1], int):
        return _is_secret(model, location[:-1])
    field = _field(model, location)
    return field is not None and _has_secret(field.annotation)


def _has_secret(annotation: Any) -> bool:
    """Whether a value of this type has a secret in it, however deep."""
    if annotation is SecretStr or any(map(_has_secret, get_args(annotation))):
        return True
    within = model_in(annotation)
    return within is not None and any(_has_secret(field.annotation) for field in within.model_fields.values())


def _shown(value: Any) -> str:
    """A value as it may stand in a log: not all of one that is long."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _unknown_key(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    *parents, key = location
    at = _model_at(model, parents)
    known = sorted(at.model_fields) if at else []
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    if near:
        return f"unknown key; did you mean '{near[0]}'?"
    return f"unknown key; remove it, or use one of: {', '.join(known)}"


def _meaning(model: type[BaseModel], location: tuple[int | str, ...]) -> str | None:
    """What a field is, by the description it was declared with; an element of a list is what the list is."""
    if location and isinstance(location[-1], int):
        return _meaning(model, location[:-1])
    field = _field(model, location)
    return field.description if field else None


def _field(model: type[BaseModel], location: tuple[int | str, ...]) -> FieldInfo | None:
    *parents, key = location or ("",)
    at = _model_at(model, parents)
    return at.model_fields.get(str(key)) if at else None


def _model_at(model: type[BaseModel], path: list[int | str]) -> type[BaseModel] | None:
    """The model that a path of keys leads to; lists and mappings lead to the model of their elements."""
    at: type[BaseModel] | None = model
    for step in path:
        if at is None:
            return None
        if isinstance(step, str) and step in at.model_fields:
            at = model_in(at.model_fields[step].annotation)
        elif named := get_type_hints(at).get("__pydantic_extra__"):
            at = model_in(named) or at
    return at


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field's type has in it, if it has one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, list, tuple, dict):
        found = (model_in(argument) for argument in get_args(annotation))
        return next((model for model in found if model), None)
    return None
