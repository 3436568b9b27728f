"""The stack that live tests make for themselves, beside any other one of this computer."""

import argparse
import fcntl
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from components.errors import CygnetError
from operations import clean, down, up
from operations.stack import Stack
from tests.live.traces import traces

SEATS = 10

CONFIG: dict[str, Any] = {
    "cygnet:machines": {
        "source": "local",
        "groups": {"control_plane": {"count": 1, "memory_gib": 4}, "worker": {"count": 2, "memory_gib": 4}},
    },
    "cygnet:cvmfs": {"poll_seconds": 5},
    "cygnet:auth": {
        "accounts": ["physicist", "neighbour", "forgetful"],
        "admins": ["operator"],
        "seats": SEATS,
        "groups": {"atlas": ["physicist"]},
    },
    "cygnet:eos": {
        "home_gib": 1,
        "image_gib": 8,
        "data": {
            "opendata": {"readers": "everyone", "writers": ["atlas"]},
            "atlas": {"readers": ["atlas"], "writers": ["atlas"]},
        },
    },
    "cygnet:login": {"enabled": True},
    # What a tutorial needs: with less, the libraries that it maps are read again and again.
    "cygnet:hub": {"memory_gib_guaranteed": 0.2, "memory_gib": 2, "idle_hours": 1},
}
"""What its file says: little of everything, and as many seats as start at once."""


@contextmanager
def own_stack(name: str, *, keep: bool) -> Iterator[dict[str, Any]]:
    """Brings the stack up on machines of this computer, gives its outputs, and removes it without a trace.

    Args:
        name: Of the stack.
        keep: Leave it up at the end; then `--stack NAME` uses it, and the next run without that removes it.

    Raises:
        CygnetError: It did not come up, or could not be removed.
        AssertionError: Something on this computer is not as it was before.
    """
    with _alone(name):
        _remove(name)
        before = traces(name)
        with _brought_up(Stack(name), CONFIG, keep=keep) as outputs:
            yield outputs
        if not keep:
            after = traces(name)
            assert not after - before, "left on this computer:\n" + "\n".join(sorted(after - before))
            assert not before - after, "gone from this computer:\n" + "\n".join(sorted(before - after))


@contextmanager
def stack_of(name: str, config: dict[str, Any], *, keep: bool) -> Iterator[dict[str, Any]]:
    """Brings a stack up on any machines, gives its outputs, and removes it; arguments and errors as above."""
    with _alone(name):
        _remove(name)
        with _brought_up(Stack(name), config, keep=keep) as outputs:
            yield outputs


@contextmanager
def _brought_up(stack: Stack, config: dict[str, Any], *, keep: bool) -> Iterator[dict[str, Any]]:
    """The stack, as long as it is needed; it goes also after a failure or Ctrl-C."""
    write_config(stack, config)
    try:
        up.run(argparse.Namespace(stack=stack.name))
        yield stack.outputs()
    finally:
        if not keep:
            with _finishing(stack.name):
                _remove(stack.name)
            stack.file.unlink(missing_ok=True)


def write_config(stack: Stack, config: dict[str, Any]) -> None:
    """Writes the stack's file; what Pulumi wrote into it stays."""
    written = yaml.safe_load(stack.file.read_text()) if stack.file.exists() else {}
    stack.file.write_text(yaml.safe_dump({**written, "config": config}, sort_keys=False))


def _remove(name: str) -> None:
    try:
        down.take_down(Stack(name), everything=True)
    except CygnetError:
        clean.remove(name)
        raise


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Refuses a second run on this computer: it would remove the first one's stack."""
    with open(Path(tempfile.gettempdir()) / f"cygnet-{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CygnetError(f"another test run uses the stack '{name}' on this computer; wait for its end") from None
        yield


@contextmanager
def _finishing(name: str) -> Iterator[None]:
    """Lets nothing but a kill interrupt the removal."""

    def explain(_number: int, _frame: FrameType | None) -> None:
        print(f"\nremoving the stack '{name}' first; this takes half a minute", flush=True)

    former = {number: signal.signal(number, explain) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
