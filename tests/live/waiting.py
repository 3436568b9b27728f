"""Waiting with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    check: Callable[..., T | None],
    what: str,
    *,
    seconds: float,
    every: float = 0.5,
    through: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Calls `check` until it gives something true, and returns that.

    Args:
        check: What is looked at. It is called with nothing; a lambda in a loop has what it goes through as defaults.
        what: What is waited for, for the message: "the node is ready".
        seconds: How long it may take.
        every: Seconds between two looks.
        through: Errors that count as "not yet", such as a connection refused while a server starts.

    Raises:
        AssertionError: It did not come true; the message has the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        last: object
        try:
            answer = check()
            if answer:
                return answer
            last = answer
        except through as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what} (last: {last!r})")
        time.sleep(every)
