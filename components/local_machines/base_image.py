"""The file system that all local machines share, below what each writes itself.

It is made once, by mmdebstrap from the apt sources of this host, and lies in the cache under the digest of its
recipe. A machine has no way to a package mirror, so the base has all that any role installs. It has no host key, no
password and nobody's public key: those are each machine's own.

    <cache>/machine-base/<key>/root             never changed: it is the lower layer of running machines
    <cache>/machine-base/<key>/packages.json    what was asked for
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from components.local_machines import apt
from components.local_machines.host import HostError, run
from components.sources import files
from engine import cache
from engine.versions import VERSIONS

PLAYBOOKS: Final = Path(__file__).resolve().parents[2] / "playbooks"
_FILES: Final = Path(__file__).with_name("base_files")

_PACKAGES: Final = (
    # What makes it a machine that Ansible can reach; the rest is said by the roles.
    "dbus", "iproute2", "netbase", "nftables", "openssh-server", "python3", "sudo", "systemd", "systemd-sysv",
)  # fmt: skip
_LEFT_OUT: Final = (
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    # Settings for a whole kernel: a machine that may write /proc/sys would give them to this host.
    "/usr/lib/sysctl.d/*",
)
_MASKED: Final = (
    # The kernel's devices and clock are the host's.
    "systemd-random-seed.service", "systemd-timesyncd.service",
    "systemd-udev-settle.service", "systemd-udev-trigger.service", "systemd-udevd.service",
    "systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "proc-sys-fs-binfmt_misc.automount",
    # The network is made by the host, and there is no mirror to look for updates on.
    "apt-daily-upgrade.timer", "apt-daily.timer", "systemd-networkd.service", "systemd-resolved.service",
    # Nobody sits at the console.
    "console-getty.service", "getty.target",
)  # fmt: skip
_HOOKS: Final = (
    f'cp --recursive --no-target-directory {shlex.quote(str(_FILES))} "$1"',
    'systemctl --quiet --root="$1" preset-all',
    # Services without a unit would start by these.
    'rm --force "$1"/etc/rc?.d/S*hwclock.sh',
    f'systemctl --quiet --root="$1" mask {" ".join(_MASKED)}',
    'rm --force "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname "$1"/etc/resolv.conf',
    ': > "$1"/etc/machine-id',
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Base:
    """One made base."""

    key: str

    @property
    def folder(self) -> Path:
        """Where it is, complete, or is not."""
        return _store() / self.key

    @property
    def root(self) -> Path:
        """The file system."""
        return self.folder / "root"

    @property
    def packages(self) -> frozenset[str]:
        """The packages that were asked for when it was made; none if it is not there."""
        try:
            return frozenset(json.loads((self.folder / "packages.json").read_text()))
        except FileNotFoundError:
            return frozenset()


def packages(playbooks: Path = PLAYBOOKS) -> list[str]:
    """Debian packages of the base: the machine's own and each `<role>_packages` in the defaults of the roles.

    Raises:
        HostError: A role's list is not a plain list of names.
    """
    wanted = set(_PACKAGES)
    for file in sorted(playbooks.glob("roles/*/defaults/main.yml")):
        name = f"{file.parent.parent.name}_packages"
        listed = (yaml.safe_load(file.read_text()) or {}).get(name, [])
        if not isinstance(listed, list) or not all(
            isinstance(package, str) and "{" not in package for package in listed
        ):
            raise HostError(
                f"{file}: {name} must be a plain list of Debian packages, because the base of local machines is "
                "made from it before Ansible runs"
            )
        wanted.update(listed)
    return sorted(wanted)


def key(wanted: Iterable[str]) -> str:
    """The digest of all that decides what the base is; apt's sources do not, they only say where it comes from."""
    _copy, *hooks = _HOOKS  # what is copied counts, not the place of this program
    digest = hashlib.sha256(json.dumps([VERSIONS["debian_machines"], sorted(wanted), _LEFT_OUT, hooks]).encode())
    for file in sorted(file for file in _FILES.rglob("*") if file.is_file()):
        digest.update(f"\0{file.relative_to(_FILES)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[: cache.KEY_LENGTH]


def current() -> Base:
    """The base that a new machine gets; it may not be made yet."""
    return Base(key(packages()))


def ensure(say: Say) -> Base:
    """The current base, made if need be (half a minute). A killed run leaves nothing that a later one would take.

    Raises:
        HostError: mmdebstrap failed.
    """
    wanted = packages()
    base = Base(key(wanted))
    if base.folder.exists():
        return base
    with files.locked(_store() / ".lock", waiting=lambda: say("waiting for another run that makes the machines' base")):
        if base.folder.exists():
            return base
        for left in _store().glob(".making-*"):
            run("rm", "-rf", "--one-file-system", str(left))
        workshop = Path(tempfile.mkdtemp(prefix=".making-", dir=_store()))
        try:
            _make(workshop, wanted, say)
            (workshop / "packages.json").write_text(json.dumps(wanted))
            workshop.chmod(0o755)
            workshop.rename(base.folder)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    return base


def _make(workshop: Path, wanted: Iterable[str], say: Say) -> None:
    suite = VERSIONS["debian_machines"]
    sources = workshop / "apt.sources"
    sources.write_text(apt.sources_of(suite))
    command = [
        # However we end, so do mmdebstrap and its children: unshare ends with us, and its process namespace with it.
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
        "mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(wanted)}",
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=force-unsafe-io",  # a base that was not finished is thrown away
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *(f"--customize-hook={hook}" for hook in _HOOKS),
        suite, str(workshop / "root"), str(sources),
    ]  # fmt: skip
    start = time.monotonic()
    last: deque[str] = deque(maxlen=15)
    with subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, cwd="/") as process:
        for line in process.stdout or ():
            last.append(line.rstrip())
            if line.startswith("I: ") and "-hook " not in line:
                say(f"base of the machines: {line[3:].strip()} ({time.monotonic() - start:.0f} s)")
    if process.returncode:
        raise HostError(
            "the base of the local machines cannot be made; mmdebstrap said:\n  "
            + "\n  ".join(last)
            + "\nMend that (often a package name in playbooks/roles/*/defaults/main.yml, or the network) and try again."
        )
    sources.unlink()


def remove_unused(used: Iterable[str]) -> list[str]:
    """Removes all bases but the current one and those named; returns the keys of what was removed."""
    kept = {current().key, *used}
    with files.locked(_store() / ".lock"):
        gone = [folder for folder in _store().iterdir() if not folder.name.startswith(".") and folder.name not in kept]
        for folder in gone:
            doomed = folder.rename(folder.with_name(f".making-{folder.name}-{os.getpid()}"))
            run("rm", "-rf", "--one-file-system", str(doomed))
    return sorted(folder.name for folder in gone)


def _store() -> Path:
    return cache.root() / "machine-base"
