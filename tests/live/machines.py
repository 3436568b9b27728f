"""Machines of a live stack that die, start anew and come back; local ones, where their plug is pulled."""

import os
import signal

from components.local_machines import names, processes
from operations.stack import Stack
from tests.live.stack import LiveStack


def pull_the_plug(stack: LiveStack, machine: str) -> None:
    """Ends a local machine without a word to it: its process 1 takes all others with it."""
    first = processes.of(names.machine_folder(stack.name, machine)).first
    assert first, f"{machine} does not run"
    os.kill(first, signal.SIGKILL)


def bring_back(stack: LiveStack) -> None:
    """Has the stack become what its file says, as an operator does it."""
    Stack(stack.name).pulumi("up", "--yes", "--skip-preview")


def is_ready(stack: LiveStack, machine: str) -> bool:
    """Whether Kubernetes says so of its node."""
    (node,) = (node for node in stack.items("nodes") if node["metadata"]["name"] == machine)
    return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])


def boot_time(stack: LiveStack, machine: str) -> str:
    """When the machine's systemd started; the kernel may be the host's, or another machine's, too."""
    return str(stack.host(machine).check_output("systemctl show --property=UserspaceTimestampMonotonic"))
