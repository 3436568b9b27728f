"""What all that the hub is told has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A piece of the hub's settings: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Choice(Model):
    """Of what may be chosen for a session, one that the start page offers."""

    name: str
    """Short and lasting: links and records use it."""
    title: str
    """What the user reads."""
    description: str = ""
    groups: tuple[str, ...] = ()
    """Whose members may choose it; none: everyone."""
