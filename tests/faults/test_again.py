"""Bringing up what is up."""

from operations.stack import Stack
from tests.live.stack import LiveStack


def test_a_second_up_changes_nothing(stack: LiveStack) -> None:
    Stack(stack.name).pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
