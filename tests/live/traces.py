"""What a stack leaves on this computer, looked at with the computer's own tools.

Taken before a stack is made and after it was removed, the two must be equal. Nothing here asks cygnet itself, which
would not see what it forgot.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

_OURS = re.compile(r"\bcyg|blackhole 10\.240\.|kubepods|nspawn|flannel|\bcni")
_COMMANDS = {
    "link": ["ip", "-oneline", "link", "show"],
    "route": ["ip", "route", "show", "table", "all"],
    "rule": ["ip", "rule", "show"],
    "nft": ["nft", "list", "tables"],
}
_FOLDERS = ("/run/netns", "/var/lib/cygnet", "/run/systemd/nspawn", "/tmp")  # noqa: S108 - looked at, not written to
_SYSCTLS = ("fs.inotify.max_user_instances", "vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops")


def traces(stack: str) -> frozenset[str]:
    """A line for each thing of ours on this computer, such as "rule 32765: from all iif cygnet1 ..."."""
    return frozenset([*_mounts(), *_loops(), *_network(), *_folders(), *_cgroups(), *_processes(stack), *_sysctls()])


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if _OURS.search(point):
            yield f"mount {point}"


def _loops() -> Iterator[str]:
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        yield f"loop device {file.read_text().strip()}"


def _network() -> Iterator[str]:
    for kind, command in _COMMANDS.items():
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            if _OURS.search(line):
                # A link's number, state and statistics differ from day to day.
                yield f"{kind} {line.split(':')[1].strip() if kind == 'link' else line}"


def _folders() -> Iterator[str]:
    for folder in map(Path, _FOLDERS):
        for entry in folder.glob("*"):
            # What is shared by all stacks, such as the base of their file systems, stays.
            if _OURS.search(entry.name) or folder == Path("/var/lib/cygnet"):
                yield f"folder {entry}"


def _cgroups() -> Iterator[str]:
    for folder in Path("/sys/fs/cgroup").glob("*/*"):
        if _OURS.search(folder.name):
            yield f"cgroup {folder}"


def _processes(stack: str) -> Iterator[str]:
    """Processes in a cgroup of the stack's machines, or with a path of them in their command line."""
    # Not those of a stack whose name begins alike.
    machine = re.compile(rf"cygnet-{stack}-(control-plane|worker)-\d")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            cgroups = (folder / "cgroup").read_text()
        except OSError:  # it ended just now
            continue
        # One without a command has ended, and its parent has not looked yet.
        if command and (machine.search(cgroups) or f"/var/lib/cygnet/{stack}/" in command):
            yield f"process {folder.name} {command[:80]}"


def _sysctls() -> Iterator[str]:
    for name in _SYSCTLS:
        yield f"sysctl {name} = {Path('/proc/sys', *name.split('.')).read_text().strip()}"
