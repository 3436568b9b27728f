"""What is done to a stack here is done to the tests' own one only."""

from collections.abc import Callable

import pytest

from tests.conftest import OWN_STACK
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor


@pytest.fixture(autouse=True)
def _own_stack_only(stack: LiveStack) -> None:
    if stack.name != OWN_STACK:
        pytest.skip(f"the stack '{stack.name}' is not the tests' own: nothing of it is broken on purpose")


@pytest.fixture
def started(visitor: Callable[[str], Visitor]) -> Callable[[str], Visitor]:
    """Starts a user's session, which ends with the test: `started("physicist")`."""

    def start(name: str) -> Visitor:
        made = visitor(name)
        made.start()
        return made

    return start
