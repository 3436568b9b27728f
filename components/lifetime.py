"""The day on which a stack has to be gone: what is said as it comes nearer, and that nothing is made from then on."""

import datetime as dt
from collections.abc import Callable
from typing import Final

_SOON_DAYS: Final = 7


def today() -> dt.date:
    """The day, by the clock of the world and not of a place: those who pay may be elsewhere."""
    return dt.datetime.now(dt.UTC).date()


def days_left(gone_by: dt.date, day: dt.date) -> int:
    """How many days a stack still has; 0 or less: its time has come.

    >>> days_left(dt.date(2027, 1, 31), dt.date(2027, 1, 30))
    1
    """
    return (gone_by - day).days


def told(gone_by: dt.date, day: dt.date) -> str:
    """When a stack has to be gone, in words.

    >>> told(dt.date(2027, 1, 31), dt.date(2027, 1, 30))
    '2027-01-31, in 1 day'
    """
    left = days_left(gone_by, day)
    return f"{gone_by}, in {left} day{'' if left == 1 else 's'}" if left > 0 else f"{gone_by}: it is due"


def findings(stack: str, gone_by: dt.date | None, day: dt.date, note: Callable[[str], None]) -> list[str]:
    """Why nothing is made any more; and a note while the day is near.

    Args:
        stack: Name of the stack.
        gone_by: The day; None: it may stay.
        day: Today.
        note: Told what will be a finding soon.
    """
    if gone_by is None:
        return []
    if days_left(gone_by, day) <= 0:
        return [
            f"cygnet:machines.gone_by: stack {stack} had to be gone by {gone_by}. Remove it: cygnet down {stack}. If "
            "it may stay, write a later day there"
        ]
    if days_left(gone_by, day) <= _SOON_DAYS:
        note(
            f"stack {stack} has to be gone by {told(gone_by, day)}; from then on nothing is made. If it may stay, "
            "write a later day as cygnet:machines.gone_by"
        )
    return []
