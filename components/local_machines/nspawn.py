"""One local machine: a systemd-nspawn container that boots systemd, and looks like any Debian host over SSH.

    /var/lib/cygnet/<stack>/machines/<name>/
        machine.json                    what it is; written first, so that whatever was begun can be found
        upper, work, root               what it wrote itself over the shared base; kernel's work; where both are mounted
        containerd, kubelet, etcd       folders that must not be on an overlay, because the kernel refuses two of them
        boot.json, console.log          what the supervisor does, and what the machine said while it started

`ensure_machine` makes, completes, starts or repairs, whatever a killed run or a restarted host left.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from components.local_machines import base_image, cgroups, identity, links, names, network, processes, records
from components.local_machines.base_image import Base
from components.local_machines.host import HostError, run
from components.local_machines.names import Label
from components.local_machines.network import Network
from components.local_machines.records import MachineRecord, MachineSpec
from components.sources import files
from engine import cache

SSH_PORT: Final = 22
SHARED_FOLDER: Final = "/srv/cygnet"
_START_SECONDS: Final = 240.0  # 5 s on an idle host; many machines at once on two cores take long
_POWER_OFF: Final = signal.SIGRTMIN + 4  # systemd's signal for it
_POWER_OFF_SECONDS: Final = 30.0
_OWN_FOLDERS: Final = ("containerd", "kubelet", "etcd")
_DEVICES: Final = (
    "/dev/kmsg",  # kubelet reads it
    "/dev/fuse",  # clients of file systems
    # The file system of homes is in a file. A loop device ends with its mount, and so with the machine, however that
    # ends.
    "/dev/loop-control",
    *(f"/dev/loop{number}" for number in range(8)),
)

Say = Callable[[str], None]


def is_running(stack: str, name: str) -> bool:
    """Whether a machine is up, supervised and connected."""
    net = network.find(stack)
    if net is None or records.find(stack, name) is None:
        return False
    return processes.of(names.machine_folder(stack, name)).well and links.machine_is_connected(
        net.number, Label(stack, name)
    )


def ensure_machine(spec: MachineSpec, net: Network, say: Say) -> MachineRecord:
    """Makes a machine what `spec` says and returns when it answers SSH.

    A machine that runs is not restarted, unless its host key is another one now.

    Raises:
        HostError: It cannot be made, or does not answer in time.
    """
    while True:
        record, supervisor = _bring_up(spec, net, say)
        if _wait_for_ssh(spec, net.address(spec.name), supervisor, say):
            return record
        # The supervisor that was found had just lost its machine and was about to end.


def remove_machine(stack: str, name: str, say: Say) -> None:
    """Powers a machine off and removes all of it. Does nothing when it is not there; completes a killed removal.

    Raises:
        HostError: Something of it cannot be removed.
    """
    label = Label(stack, name)
    net = network.find(stack)
    with files.locked(_lock(label)):
        power_off(label, say)
        cgroups.remove(label)
        links.disconnect_machine(net.number if net else None, label)
        shutil.rmtree(Path("/run/systemd/nspawn/propagate") / str(label), ignore_errors=True)
        folder = names.machine_folder(stack, name)
        if folder.exists():
            # In one step, so that no killed removal leaves half a machine that would be started again.
            folder.rename(folder.with_name(f".removed-{name}-{uuid.uuid4().hex[:8]}"))
        for removed in folder.parent.glob(f".removed-{name}-*"):
            run("rm", "-rf", "--one-file-system", str(removed))
        _lock(label).unlink()


def power_off(label: Label, say: Say) -> None:
    """Ends a machine: asks its systemd, and kills what is left of it after half a minute.

    Raises:
        HostError: It does not end.
    """
    folder = names.machine_folder(label.stack, label.machine)
    start = time.monotonic()
    sent = 0
    while (found := processes.of(folder)) != processes.Processes():
        seconds = time.monotonic() - start
        if found.supervisor:  # first, or it would take the end for a reboot
            _kill(found.supervisor, signal.SIGKILL)
        elif seconds > 2 * _POWER_OFF_SECONDS:
            raise HostError(f"{label}: its processes do not end: {found}; see dmesg, then try again")
        elif seconds > _POWER_OFF_SECONDS:
            # Its process 1 if there is one: without systemd-nspawn a machine goes on.
            _kill(found.first or found.nspawn, signal.SIGKILL)
        elif found.first and seconds >= sent:
            # Once a second: a systemd that has only just started does not listen yet.
            _kill(found.first, _POWER_OFF)
            sent += 1
        time.sleep(0.05)
    if sent:
        say(f"{label.machine}: powered off after {time.monotonic() - start:.1f} s")


def console(folder: Path, lines: int = 12) -> str:
    """The end of what a machine said while it started, without colours."""
    try:
        text = (folder / "console.log").read_text(errors="replace")
    except FileNotFoundError:
        return ""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)
    return "\n".join([line for line in plain.splitlines() if line.strip()][-lines:])


def command(spec: MachineSpec, tools: Path) -> list[str]:
    """systemd-nspawn and its arguments.

    Args:
        tools: The operator's store of tools; machines see it at the same place, so that nothing is copied to them.
    """
    folder = spec.folder
    binds = {str(folder / name): f"/var/lib/{name}" for name in _OWN_FOLDERS}
    binds[str(names.stack_folder(spec.stack) / "shared")] = SHARED_FOLDER
    binds |= {device: device for device in _DEVICES if Path(device).exists()}
    return [
        "systemd-nspawn", "--quiet", "--boot", f"--machine={spec.label}", f"--hostname={spec.name}",
        f"--directory={folder / 'root'}",
        # This host need not have a systemd that machines could be registered with.
        "--register=no", "--keep-unit",
        # Made beforehand: nspawn's own bridge would need networkd and udev on the host.
        f"--network-namespace-path=/run/netns/{spec.label}",
        # Containers inside mount, make namespaces and load programs into the kernel. This is no border of security.
        "--capability=all", "--system-call-filter=@known",
        "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe",
        *(f"--bind={source}:{target}" for source, target in binds.items()),
        f"--bind-ro={tools}",
    ]  # fmt: skip


def _bring_up(spec: MachineSpec, net: Network, say: Say) -> tuple[MachineRecord, subprocess.Popen[bytes] | None]:
    """Makes or completes a machine and starts what does not run of it; returns the supervisor if it was started."""
    folder = spec.folder
    waiting = f"{spec.name}: waiting for another run to finish with it"
    with files.locked(_lock(spec.label), waiting=lambda: say(waiting)):
        record = records.find(spec.stack, spec.name)
        base = base_image.ensure(say) if record is None else _base_of(record, spec, say)
        if record is None:
            record = MachineRecord(base=base.key, instance=uuid.uuid4().hex)
        for name in ("upper", "work", "root", *_OWN_FOLDERS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (names.stack_folder(spec.stack) / "shared").mkdir(exist_ok=True)
        record.save(folder)
        contents = identity.identity(spec, record.instance, net.address(spec.name), net.host_address)
        if due := identity.due(contents, record.written):
            power_off(spec.label, say)  # what is below a mounted overlay must not be touched
            identity.write(due, folder / "upper", base.root)
            written = {**record.written, **identity.digests(due)}
            record = record.model_copy(update={"written": written}).save(folder)
        links.connect_machine(net.number, spec.label, net.address(spec.name))
        found = processes.of(folder)
        if found.nspawn:
            cgroups.limit_memory(spec.label, spec.memory_mib)
        return record, None if found.supervisor else _start(spec, base, found.nspawn, say)


def _base_of(record: MachineRecord, spec: MachineSpec, say: Say) -> Base:
    """The base of a machine that was made before; it stays on it, whatever the current one is."""
    base = Base(record.base)
    if base.folder.exists():
        return base
    if base_image.current() == base:
        return base_image.ensure(say)
    raise HostError(
        f"{spec.label}: the base it was made on ({base.folder}) was removed, and today's recipe makes another one. "
        f"Make the machine anew: pulumi up --replace '**{spec.name}'"
    )


def _start(spec: MachineSpec, base: Base, running: int | None, say: Say) -> subprocess.Popen[bytes]:
    """Starts a machine's supervisor, and with it the machine, unless its systemd-nspawn is `running`.

    Returns:
        The supervisor.
    """
    folder = spec.folder
    if running:
        say(f"{spec.name}: runs without its supervisor; starting a new one")
        entered = [tree.path / str(spec.label) / cgroups.INSIDE for tree in cgroups.hierarchies()]
    else:
        say(f"{spec.name}: starting")
        cgroups.remove(spec.label)  # ends what a killed systemd-nspawn left
        entered = cgroups.prepare(spec.label, spec.memory_mib)
    tools = cache.root() / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    boot = {
        "cgroups": [str(cgroup) for cgroup in entered],
        "overlay": f"lowerdir={base.root},upperdir={folder / 'upper'},workdir={folder / 'work'}",
        "command": command(spec, tools),
        "network": str(spec.label),
        "running": running,
    }
    files.write(folder / "boot.json", json.dumps(boot, indent=2))
    with (folder / "console.log").open("wb") as log:
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave",
             sys.executable, "-I", "-S", str(processes.SUPERVISOR), str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
        )  # fmt: skip


def _wait_for_ssh(spec: MachineSpec, address: IPv4Address, started: subprocess.Popen[bytes] | None, say: Say) -> bool:
    """Waits until a machine answers; False when the supervisor that was there before ended instead.

    Raises:
        HostError: The supervisor that was `started` ended, or there is no answer in time.
    """
    start = time.monotonic()
    # Both: for a moment, what answers may be the end of a killed machine.
    while not (processes.of(spec.folder).well and _answers_ssh(address)):
        seconds = time.monotonic() - start
        if started is None and processes.of(spec.folder).supervisor is None:
            return False
        ended = started is not None and started.poll() is not None
        if ended or seconds > _START_SECONDS:
            reason = "ended while it started" if ended else f"does not answer on {address}:{SSH_PORT}"
            raise HostError(
                f"{spec.name}: {reason}, {seconds:.0f} s after its start. Its console ends with:\n"
                f"{console(spec.folder)}\nMore is in {spec.folder}/console.log. Mend what it names, and run "
                "`pulumi up` again: it starts what is not running."
            )
        time.sleep(0.1)
    if started:
        say(f"{spec.name}: answers SSH on {address} after {time.monotonic() - start:.1f} s")
    return True


def _answers_ssh(address: IPv4Address) -> bool:
    try:
        with socket.create_connection((str(address), SSH_PORT), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _lock(label: Label) -> Path:
    return names.stack_folder(label.stack) / "machines" / f".{label.machine}.lock"


def _kill(process: int | None, number: int) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
