"""This host: its commands, what its kernel has and lacks, and the settings that machines share with it."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from components.errors import CygnetError
from components.local_machines import names
from components.sources import files

_COMMANDS: Final = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "unshare": "util-linux",
}
"""What local machines are made with, and the Debian package of each."""

_RAISED: Final = {
    # Shared by all machines (same user, same user namespace); three machines spend the usual 128 instances.
    "fs.inotify.max_user_instances": 8192,
    "fs.inotify.max_user_watches": 1048576,
}
_TOUCHED: Final = (
    # kubelet sets these to its taste, and they are the kernel's, not a namespace's.
    "kernel.keys.root_maxbytes",
    "kernel.keys.root_maxkeys",
    "kernel.panic",
    "kernel.panic_on_oops",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
)

LOCAL_MACHINES: Final = "local machines"
"""Who holds the kernel's settings, if nobody else is named: the stacks of this host."""

# Without it, traffic between two pods of one machine passes no filter, and network policies do not hold.
_BRIDGE_FILTER: Final = Path("/proc/sys/net/bridge")

_SYS_RESOURCE = 24  # the number of CAP_SYS_RESOURCE


class HostError(CygnetError):
    """A command on this host failed, or the host cannot carry local machines."""


def run(*argv: str, stdin: str = "") -> str:
    """Runs a command and returns its standard output.

    Raises:
        HostError: It failed; the message has what it said.
    """
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise HostError(f"{argv[0]} is not installed on this host; install the Debian package that has it") from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"it ended with status {done.returncode}"
        raise HostError(f"{' '.join(argv)}: {said}")
    return done.stdout


def succeeds(*argv: str, stdin: str = "") -> bool:
    """Whether a command ends with status 0; what it says does not matter."""
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False).returncode == 0


def ip(*arguments: str) -> list[dict[str, Any]]:
    """What `ip` says, as it comes from JSON.

    Raises:
        HostError: It failed.
    """
    parsed: list[dict[str, Any]] = json.loads(run("ip", "-json", *arguments) or "[]")
    return [entry for entry in parsed if entry]  # ip prints empty objects for what a filter hides


def memory_mib() -> int:
    """The host's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


def findings(wanted_memory_mib: Mapping[str, int]) -> list[str]:
    """Why this host cannot carry local machines: each with its cure; empty when it can.

    Args:
        wanted_memory_mib: The machines of the stack, with their limits.
    """
    found = []
    if os.geteuid():
        found.append("local machines are made by root; run as root, for example: sudo -E pulumi up")
    missing = sorted({package for command, package in _COMMANDS.items() if not shutil.which(command)})
    if missing:
        found.append(f"programs are missing; install them: apt-get install {' '.join(missing)}")
    found += memory_findings(wanted_memory_mib, memory_mib())
    return found


def memory_findings(wanted_mib: Mapping[str, int], host_mib: int) -> list[str]:
    """Whether the machines fit into the host's memory.

    >>> memory_findings({"worker-1": 6144}, host_mib=4096)
    ['the machines may use 6.0 GiB together, the host has 4.0 GiB; lower count or memory_gib in cygnet:machines.groups']
    """
    total = sum(wanted_mib.values())
    if total <= host_mib:
        return []
    return [
        f"the machines may use {total / 1024:.1f} GiB together, the host has {host_mib / 1024:.1f} GiB; "
        "lower count or memory_gib in cygnet:machines.groups"
    ]


def has_cgroup_v2() -> bool:
    """Whether the controllers are in the unified hierarchy."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def may_raise_limits(status: str | None = None) -> bool:
    r"""Whether this host's root has CAP_SYS_RESOURCE, which containers inside inherit.

    >>> may_raise_limits("CapBnd:\t000001fffeffffff")
    False
    """
    text = Path("/proc/self/status").read_text() if status is None else status
    bounding = next(line.split()[1] for line in text.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding, 16) >> _SYS_RESOURCE & 1)


def has_nft_queue(root: Path) -> bool:
    """Whether the kernel knows nftables' "queue" expression.

    Args:
        root: A file system that has the nft command; it is tried in a network namespace that is gone afterwards.
    """
    ruleset = "table ip probe { chain probe { queue num 0; }; }"
    return succeeds("unshare", "--net", "chroot", str(root), "nft", "-f", "-", stdin=ruleset)


def remember_and_raise(holder: str = LOCAL_MACHINES) -> None:
    """Gives machines what they need of the kernel. The first time, what was there before is noted for `restore`.

    Args:
        holder: Who needs it from now on. Who calls this or `restore` has the lock of what is shared on this host.
    """
    former = _former()
    if former is None:
        sysctls = {name: value for name in (*_RAISED, *_TOUCHED) if (value := _sysctl(name)) is not None}
        former = {"boot": _boot(), "sysctls": sysctls, "bridge_filter": _BRIDGE_FILTER.exists(), "holders": []}
    if holder not in former["holders"]:
        files.write(_record(), json.dumps({**former, "holders": [*former["holders"], holder]}, indent=2))
    for name, least in _RAISED.items():
        value = _sysctl(name)
        if value is not None and int(value) < least:
            _sysctl_file(name).write_text(str(least))
    # Machines cannot load modules. Most load by themselves when they are used; this one does not.
    if not _BRIDGE_FILTER.exists():
        run("modprobe", "br_netfilter")
        for file in _BRIDGE_FILTER.glob("bridge-nf-call-*"):
            file.write_text("0")  # it is for the machines' bridges; the host's own go on without


def restore(holder: str = LOCAL_MACHINES) -> None:
    """Puts back what `remember_and_raise` found, when nobody needs it any more."""
    former = _former()
    if former and (others := [other for other in former["holders"] if other != holder]):
        files.write(_record(), json.dumps({**former, "holders": others}, indent=2))
        return
    if former:
        for name, value in former["sysctls"].items():
            if _sysctl(name) != value:
                _sysctl_file(name).write_text(value)
        if not former["bridge_filter"]:
            succeeds("modprobe", "--remove", "br_netfilter")
    _record().unlink(missing_ok=True)


def _former() -> dict[str, Any] | None:
    """What was there before; None when nothing was noted since this boot, which took ours away too."""
    try:
        former: dict[str, Any] = {"holders": [LOCAL_MACHINES], **json.loads(_record().read_text())}
    except FileNotFoundError:
        return None
    return former if former["boot"] == _boot() else None


def _boot() -> str | None:
    return _sysctl("kernel.random.boot_id")


def _record() -> Path:
    return names.STATE / "kernel.json"


def _sysctl_file(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def _sysctl(name: str) -> str | None:
    """The value of a kernel setting; None where the kernel does not have it."""
    try:
        return _sysctl_file(name).read_text().strip()
    except OSError:
        return None
