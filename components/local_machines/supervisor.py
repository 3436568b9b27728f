"""Keeps one local machine running, as a process of its own: `supervisor.py FOLDER`.

It outlives the `pulumi up` that started it, and ends with its machine. It runs in a mount namespace of its own, so
that the machine's mounts end with it too, however it ends. What to do is in FOLDER/boot.json:

    cgroups   list of cgroup folders that the machine enters, made anew at each start
    overlay   options of the mount at FOLDER/root
    command   systemd-nspawn and its arguments
    network   network namespace of the machine
    running   process number of a systemd-nspawn whose supervisor was killed, or null

This file stands alone: it is run by the bare interpreter, of which one machine costs one.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# What systemd-nspawn ends with after a reboot inside. With --keep-unit it expects a service manager to start it again.
REBOOT = 133

# Arguments: cgroups, "--", a command. Only the command enters the cgroups, so that killing all in them spares us.
ENTER_AND_RUN = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift; exec "$@"'


def supervise(folder: Path) -> None:
    """Runs the machine until it is powered off, killed, or cannot be started."""
    boot: dict[str, Any] = json.loads((folder / "boot.json").read_text())
    cgroups = [Path(cgroup) for cgroup in boot["cgroups"]]
    if boot["running"]:
        wait_for(boot["running"])  # another's child: how it ended cannot be known, and a reboot is the likelier end
    while True:
        renew(cgroups)
        root = folder / "root"
        if not os.path.ismount(root):
            subprocess.run(["mount", "-t", "overlay", "-o", boot["overlay"], "overlay", root], check=True)
        command = ["sh", "-euc", ENTER_AND_RUN, "sh", *map(str, cgroups), "--", *boot["command"]]
        status = subprocess.run(command, env=environment(), stdin=subprocess.DEVNULL, check=False).returncode
        print(f"systemd-nspawn ended with status {status}", flush=True)
        if status != REBOOT:
            # A killed systemd-nspawn leaves its machine running, without anyone to serve its reboot.
            kill(cgroups)
            # Its namespace stays, and would go on answering for the addresses that the machine had.
            subprocess.run(["ip", "-n", boot["network"], "address", "flush", "dev", "eth0"], check=False)
            return


def environment() -> dict[str, str]:
    """What systemd-nspawn gets: kubelet, kube-proxy and CNI plugins write below /proc/sys and /sys."""
    return {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}


def wait_for(process: int) -> None:
    """Waits for the end of a process that is not our child."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process)
        select.select([descriptor], [], [])
        os.close(descriptor)


def renew(cgroups: list[Path]) -> None:
    """Makes cgroups anew, without the processes and the cgroups that a former run left in them."""
    kill(cgroups)
    for cgroup in cgroups:
        while cgroup.exists():
            for folder, _folders, _files in os.walk(cgroup, topdown=False):
                with contextlib.suppress(OSError):  # busy for a moment after its last process
                    os.rmdir(folder)
            time.sleep(0.01)
        cgroup.mkdir()


def kill(cgroups: list[Path]) -> None:
    """Kills all processes in and below cgroups, and waits until they have gone."""
    while left := {
        pid for cgroup in cgroups for file in cgroup.rglob("cgroup.procs") for pid in file.read_text().split()
    }:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    supervise(Path(sys.argv[1]))
