"""A home: it is there on whichever machine a session starts, it is one's own, and it has an end."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from components.eos import PORT
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

NOTEBOOK: dict[str, Any] = {
    "type": "notebook",
    "format": "json",
    "content": {
        "cells": [{"cell_type": "markdown", "id": "one", "metadata": {}, "source": "What I found out"}],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    },
}
MOST_GIB = 2  # what is written to fill a home

# The bytes that fit, and what was said then.
FILL = """
import os
written = 0
try:
    with open("big", "wb", buffering=0) as file:
        while True:
            written += file.write(bytes(2**20))
except OSError as error:
    print(written >> 20, error.strerror)
"""

# By path, and by the protocol of the server itself.
TRESPASS = """
import json, os, socket
said = {}
for what, attempt in {
    "list": lambda: os.listdir("HOME"),
    "read": lambda: open("HOME/secret.txt").read(),
    "write": lambda: open("HOME/mine.txt", "w"),
    "list all": lambda: os.listdir(os.path.dirname("HOME")),
    "ask the server": lambda: socket.create_connection(("SERVER", PORT), timeout=4),
}.items():
    try:
        said[what] = str(attempt())
    except OSError as error:
        said[what] = type(error).__name__
print(json.dumps(said))
"""


@pytest.fixture(autouse=True)
def _on_eos(stack: LiveStack) -> None:
    if stack.parts["eos"]["client"] == "none":
        pytest.skip(f"the stack '{stack.name}' has no /eos")


def test_a_notebook_is_there_on_another_machine(stack: LiveStack, visitor: Callable[[str], Visitor]) -> None:
    if len(stack.group("worker")) < 2:
        pytest.skip(f"the stack '{stack.name}' has one machine for sessions")
    physicist = visitor("physicist")
    physicist.start()
    contents = f"/user/{physicist.name}/api/contents/found.ipynb"
    physicist.api("PUT", contents, json=NOTEBOOK).raise_for_status()
    machine = machine_of(stack, physicist)
    physicist.stop()
    with stack.closed(machine):
        physicist.start()
    assert machine_of(stack, physicist) != machine
    (cell,) = physicist.api("GET", contents).json()["content"]["cells"]
    assert cell["source"] == "What I found out"
    assert physicist.run("import os; print(os.environ['HOME'], os.getcwd(), os.getuid() > 2**16)") == (
        f"{stack.home('physicist')} {stack.home('physicist')} True\n"
    )


def test_nobody_reads_anothers_home(stack: LiveStack, visitor: Callable[[str], Visitor]) -> None:
    physicist, neighbour = visitor("physicist"), visitor("neighbour")
    physicist.start()
    neighbour.start()
    home = physicist.run("import os; open('secret.txt', 'w').write('x'); print(os.environ['HOME'])").strip()
    address = stack.address(stack.group("control_plane")[0])
    code = TRESPASS.replace("HOME", home).replace("SERVER", address).replace("PORT", str(PORT))
    said = json.loads(neighbour.run(code))
    outcome = said.pop("ask the server")
    assert outcome in ("TimeoutError", "ConnectionRefusedError")
    assert said == dict.fromkeys(said, "PermissionError")


def test_a_full_home_says_so_and_the_service_lives(stack: LiveStack, visitor: Callable[[str], Visitor]) -> None:
    home_gib = stack.parts["eos"].get("home_gib", MOST_GIB + 1)
    if home_gib > MOST_GIB:
        pytest.skip(f"the stack '{stack.name}' has homes of more than {MOST_GIB} GiB, or of others")
    full, other = visitor("seat-003"), visitor("neighbour")
    full.start()
    other.start()
    mib, _, said = full.run(FILL, seconds=200).strip().partition(" ")
    assert said == "Disk quota exceeded"
    assert 0.9 * home_gib * 1024 < int(mib) <= home_gib * 1024
    assert other.run("print(open('x.txt', 'w').write('well'))") == "4\n"
    # A user who is locked out of a full home could not make room in it.
    full.stop()
    full.start()
    assert full.run("import os; os.remove('big'); print(open('x.txt', 'w').write('room'))") == "4\n"


def machine_of(stack: LiveStack, visitor: Visitor) -> str:
    """The machine on which a session runs."""
    pod = until(lambda: stack.session_pod(visitor.name), f"{visitor.name} has a session", seconds=30)
    return str(pod["spec"]["nodeName"])
