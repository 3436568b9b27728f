"""`cygnet up`: brings a stack up, and says where it is and how to sign in."""

import argparse
import json
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlparse

from components.config import PROJECT
from operations.stack import Stack

NAME = "up"
HELP = "bring a stack up and say where it is (goes on after a killed 'pulumi up')"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("stack", help="name of the stack, for example local")


def run(options: argparse.Namespace) -> None:
    """Makes the stack if need be, frees it from a dead owner, and updates it."""
    stack = Stack(options.stack)
    stack.require_file()
    if not stack.exists():
        stack.pulumi("stack", "init")
    free(stack)
    stack.pulumi("up", "--yes", "--skip-preview", "--color", "auto")
    print(welcome(stack.name, stack.outputs()))


def welcome(name: str, outputs: dict[str, object]) -> str:
    """What the operator reads at the end."""
    accounts = outputs["accounts"]
    names = ", ".join(list(accounts)[:5]) if isinstance(accounts, dict) else ""
    return (
        f"\nYour service is at {outputs['url']}\n"
        f"Sign in as one of: {names}\n"
        f"Passwords:         .venv/bin/cygnet accounts {name}\n"
        f"Remove it all:     make down STACK={name}"
    )


def free(stack: Stack) -> None:
    """Waits while another `pulumi` of this computer works on the stack, and takes the lock of a dead one away."""
    said = False
    while owners := lock_owners(stack.name):
        if not any(Path(f"/proc/{owner}").exists() for owner in owners):
            print(f"an earlier 'pulumi' of stack {stack.name} was killed; going on from where it was", flush=True)
            stack.pulumi("cancel", "--yes")
            return
        if not said:
            said = True
            print(f"waiting for another 'pulumi' of stack {stack.name} to end (process {owners[0]})", flush=True)
        time.sleep(1)


def lock_owners(stack: str) -> list[int]:
    """The processes of this computer, living or dead, that hold Pulumi's lock on a stack in a file backend."""
    locks = backend_folder().glob(f".pulumi/locks/*/{PROJECT}/{stack}/*.json")
    owners = [json.loads(lock.read_text()) for lock in locks]
    return [int(owner["pid"]) for owner in owners if owner["hostname"] == socket.gethostname()]


def backend_folder() -> Path:
    """Where the file backend is; a folder that does not exist for any other backend."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    url = urlparse(os.environ.get("PULUMI_BACKEND_URL", f"file://{state}/cygnet/pulumi"))
    return Path(url.path) if url.scheme == "file" else Path("/nonexistent")
