"""An institute beside a live stack: an address of this computer that machines reach, and stacks that rely on it."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.live import own
from tests.live.stack import LiveStack

ADDRESS = "198.51.100.7"  # of a network that is for examples: nobody's

SMALL: dict[str, Any] = {
    "cygnet:machines": {
        "source": "local",
        "groups": {"control_plane": {"count": 1, "memory_gib": 4}, "worker": {"count": 1, "memory_gib": 3}},
    },
    "cygnet:software": {"releases": ["stable"]},
    "cygnet:hub": {"memory_gib_guaranteed": 0.2, "memory_gib": 1},
}
"""What such a stack's file says besides: it has homes of its own."""
EOS = {"home_gib": 1, "image_gib": 4}


@contextmanager
def address(own: str = ADDRESS) -> Iterator[str]:
    """The institute's address. Local machines reach what is this computer's own, and nothing beyond it."""
    where = (f"{own}/32", "dev", "lo")
    subprocess.run(["ip", "address", "replace", *where], check=True)
    try:
        yield own
    finally:
        subprocess.run(["ip", "address", "del", *where], check=True)


@contextmanager
def stack_beside(
    name: str,
    config: Mapping[str, Any],
    passwords: Mapping[str, str] | None = None,
    *,
    pytestconfig: pytest.Config,
    folder: Path,
    authority: str = "",
) -> Iterator[LiveStack]:
    """A small stack, whose users the institute may know.

    Args:
        name: Of the stack.
        config: What its file says.
        passwords: At the institute, by name; none: the stack has its own.
        pytestconfig: Of the tests.
        folder: Empty.
        authority: Who certifies the institute; browsers and visitors trust it, too.
    """
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    made = own.own_stack(name, {**SMALL, **config}, keep=pytestconfig.option.keep)
    with capture.global_and_fixture_disabled():  # it takes minutes, and says what it does
        outputs = made.__enter__()
    try:
        stack = LiveStack.of(name, outputs, folder)
        with stack.ca_file.open("a") as trusted:
            trusted.write(authority)
        yield stack if passwords is None else replace(stack, accounts=passwords)
    finally:
        with capture.global_and_fixture_disabled():
            made.__exit__(None, None, None)
