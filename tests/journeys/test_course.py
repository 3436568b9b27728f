"""A course: everyone presses the button in the same minute."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

SEATS = 10


def test_ten_seats_start_at_once(
    stack: LiveStack, visitor: Callable[[str], Visitor], record_property: Callable[[str, object], None]
) -> None:
    names = [name for name in stack.accounts if name.startswith("seat-")][:SEATS]
    if len(names) < SEATS:
        pytest.skip(f"the stack '{stack.name}' has fewer than {SEATS} seats")
    seats = [visitor(name) for name in names]
    with ThreadPoolExecutor(SEATS) as pool:
        took = list(pool.map(_start, seats))
        answers = list(pool.map(lambda seat: seat.kernel().run("print(6 * 7)", seconds=120), seats))
        list(pool.map(lambda seat: seat.stop(seconds=120), seats))
    record_property("slowest_start_seconds", round(max(took), 1))
    assert answers == ["42\n"] * SEATS


def _start(seat: Visitor) -> float:
    """Signs in and starts; returns how many seconds that took."""
    began = time.monotonic()
    seat.start(seconds=180)
    return time.monotonic() - began
