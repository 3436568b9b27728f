"""What is done to a stack here is done to the tests' own one only."""

from collections.abc import Callable

import pytest

from tests.conftest import OWN_STACK
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

PLANES_STACK = f"{OWN_STACK}-planes"
"""The tests' own one with three control planes."""


@pytest.fixture(autouse=True)
def _own_stack_only(stack: LiveStack) -> None:
    if stack.name not in (OWN_STACK, PLANES_STACK):
        pytest.skip(f"the stack '{stack.name}' is not the tests' own: nothing of it is broken on purpose")


@pytest.fixture
def started(visitor: Callable[[str], Visitor]) -> Callable[[str], Visitor]:
    """Starts a user's session, which ends with the test: `started("physicist")`."""

    def start(name: str) -> Visitor:
        made = visitor(name)
        made.start()
        return made

    return start
