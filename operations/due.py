"""The day on which a stack has to be gone, as its file says it."""

import datetime as dt

import yaml
from pydantic import TypeAdapter, ValidationError

from components.errors import CygnetError
from operations.stack import Stack

_DATE = TypeAdapter(dt.date)


def day_of(stack: Stack) -> dt.date | None:
    """The day; None: the stack may stay.

    Raises:
        CygnetError: What the file says is no day.
    """
    said = (yaml.safe_load(stack.file.read_text()) or {}).get("config") or {}
    given = (said.get("cygnet:machines") or {}).get("gone_by")
    try:
        return None if given is None else _DATE.validate_python(given)
    except ValidationError as error:
        raise CygnetError(
            f"stacks/{stack.file.name}: cygnet:machines.gone_by is no day: {given}. Write one as 2027-01-31"
        ) from error
