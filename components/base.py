"""What every part's configuration model has in common."""

from pydantic import BaseModel, ConfigDict

PROJECT = "cygnet"
"""Whose keys in a stack file are ours."""


class PartConfig(BaseModel):
    """A part's configuration: frozen, and an unknown key is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
