"""The stacks that live tests make for themselves, beside any other one of this computer.

A process of its own keeps such a stack: it brings it up, and removes it when the tests let go of it or end, however
they end. Neither Ctrl-C nor the end of a worker of pytest reaches it while it is removing.

python -m tests.live.own NAME: is that process; it is told the configuration, and tells the outputs, in JSON.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from components.errors import CygnetError
from components.sources import files
from engine import cache
from operations import clean, down, up
from operations.stack import PROJECT, Stack

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
    "cygnet:hub": {
        "memory_gib_guaranteed": 0.2,
        "memory_gib": 2,
        "idle_hours": 1,
        "tmp_gib": 1,
        "processes": 500,
        "kernels": ["/eos/atlas/jupyter"],
    },
}
"""What its file says: little of everything, and as many seats as start at once."""


@contextmanager
def own_stack(name: str, config: dict[str, Any], *, keep: bool) -> Iterator[dict[str, Any]]:
    """Brings a stack up, gives its outputs, and removes it; what that says goes to standard error as it comes.

    Args:
        name: Of the stack.
        config: What its file says.
        keep: Leave it up at the end; then `--stack NAME` uses it, and the next run without that removes it.

    Raises:
        CygnetError: It did not come up, or could not be removed.
    """
    command = [sys.executable, "-m", "tests.live.own", name, *(["--keep"] if keep else [])]
    pipe = subprocess.PIPE
    with (
        # A file, as the keeper outlives us: it would not outlive the end of a pipe that it speaks to.
        tempfile.NamedTemporaryFile("r", prefix=f"cygnet-{name}-") as said,
        Path(said.name).open("a") as speech,
        subprocess.Popen(
            command, cwd=PROJECT, stdin=pipe, stdout=pipe, stderr=speech, text=True, start_new_session=True
        ) as keeper,
        subprocess.Popen(["tail", f"--pid={keeper.pid}", "--lines=+1", "--follow", said.name], stdout=2),
    ):
        assert keeper.stdin
        assert keeper.stdout
        try:
            keeper.stdin.write(json.dumps(config) + "\n")
            keeper.stdin.flush()
            if told := keeper.stdout.read():
                yield json.loads(told)
        finally:
            keeper.stdin.close()
            failed = keeper.wait()
        if failed or not told:
            what = "could not be removed" if told else "did not come up"
            raise CygnetError(f"the stack '{name}' {what}: {_causes(said.read())}")


def _causes(said: str) -> str:
    """What of many lines tells why, on one line: a summary of tests shows no more.

    >>> _causes("@ updating..\\n  error: no network\\nResources:\\n  error: no network\\n  ValueError: 3")
    'error: no network; ValueError: 3'
    """
    lines = (line.strip() for line in said.splitlines() if re.search(r"(error|Exception|Error):", line))
    return "; ".join(dict.fromkeys(lines))[-2000:] or said[-2000:]


def write_config(stack: Stack, config: dict[str, Any]) -> None:
    """Writes the stack's file; what Pulumi wrote into it stays."""
    written = yaml.safe_load(stack.file.read_text()) if stack.file.exists() else {}
    stack.file.write_text(yaml.safe_dump({**written, "config": config}, sort_keys=False))


def _keep() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    config = json.loads(sys.stdin.readline())
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # all others who say something say it to a person
    # Who was started in the background has been told to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_interrupt_when_let_go, daemon=True).start()
    alone = files.locked(cache.root() / "locks" / f"{options.name}-tests", waiting=_refuse)
    with suppress(KeyboardInterrupt), alone, _brought_up(options.name, config, options.keep) as outputs:
        with answer:
            json.dump(outputs, answer)
        signal.pause()


def _interrupt_when_let_go() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def _brought_up(name: str, config: dict[str, Any], keep: bool) -> Iterator[dict[str, Any]]:
    """The stack, as long as it is needed; it goes also after a failure or an interrupt."""
    stack = Stack(name)
    _remove(name)
    write_config(stack, config)
    try:
        up.run(argparse.Namespace(stack=name))
        yield stack.outputs()
    finally:
        if not keep:
            print(f"\nremoving the stack '{name}'; this takes half a minute", flush=True)
            _remove(name)
            stack.file.unlink(missing_ok=True)


def _remove(name: str) -> None:
    try:
        down.take_down(Stack(name), everything=True)
    except CygnetError:
        clean.remove(name)
        raise


def _refuse() -> None:
    """Refuses a second run on this computer: it would remove the first one's stack."""
    raise CygnetError("another test run uses a stack of this name on this computer; wait for its end")


if __name__ == "__main__":
    try:
        _keep()
    except CygnetError as error:
        sys.exit(f"{error}")
