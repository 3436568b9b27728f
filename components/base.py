"""What every part's configuration model has in common."""

from pydantic import BaseModel, ConfigDict


class PartConfig(BaseModel):
    """A part's configuration: frozen, and an unknown key is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
