"""Brings the cloud up and takes it down. There is one on a host; whatever a killed run left is removed first."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from components.local_machines import cgroups, host
from components.local_machines import network as stacks
from components.local_machines.host import run
from components.sources import files
from engine import cache
from engine.progress import Progress
from tests.testcloud import database, names, network, pieces, preparation, processes, settings
from tests.testcloud.pieces import Pieces
from tests.testcloud.services.machine import SUPERVISOR

_OWNER: Final = names.STATE / "owner.json"
_SERVICES: Final = "tests.testcloud.services."

_WSGI: Final = ("keystone", "placement", "neutron", "glance")
"""The services that are one WSGI application. The others have processes of ours, which are several services each."""


def up(progress: Progress, *, owner: int | None = None) -> float:
    """Makes a new cloud and returns when all its services answer: the seconds that it took, without what is obtained.

    Args:
        progress: Told what is being done.
        owner: The process with whose end the cloud may be removed by anyone; None: it stays until `down`.

    Raises:
        CygnetError: Something cannot be had, or a service does not start.
    """
    with files.locked(_lock(), waiting=lambda: progress.at("waiting for another run")):
        found = pieces.ensure(progress)
        progress.begin("test cloud")
        _remove()
        if not found.prepared.exists():
            _prepare(found, progress)
        started = time.monotonic()
        progress.begin("test cloud")
        progress.at("unpacking what was prepared")
        names.STATE.mkdir(mode=0o700)
        preparation.unpack(found)
        _start(found, progress)
        files.write(_OWNER, json.dumps(owner))
        return time.monotonic() - started


def down() -> None:
    """Removes all of it, whether it is there or only some of it. What was obtained and prepared stays in the cache."""
    with files.locked(_lock()):
        _remove()


def is_up() -> bool:
    """Whether it is there, complete, and not one that a killed run left."""
    try:
        owner = json.loads(_OWNER.read_text())
    except FileNotFoundError:
        return False
    return owner is None or Path(f"/proc/{owner}").exists()


def leftovers() -> list[str]:
    """What is there of the cloud, each as a person would look for it; empty when nothing is."""
    return [
        *(f"process {pid}" for pid in _processes()),
        *(f"cgroup {name}" for name in _control_groups()),
        *(f"namespace {name}" for name in network.namespaces()),
        *(f"link {name}" for name in network.links()),
        *(f"rule {name}" for name in network.rules()),
        *([f"route {names.ADDRESSES}"] if network.has_route() else []),
        *(f"loop device {device}" for device in _loop_devices()),
        *(f"mount {point}" for point in _mounts()),
        *([f"folder {names.STATE}"] if names.STATE.exists() else []),
    ]


def _lock() -> Path:
    return cache.root() / "locks" / names.WORD


def _prepare(found: Pieces, progress: Progress) -> None:
    """The first start, which makes what later ones unpack."""
    names.STATE.mkdir(mode=0o700)
    password = preparation.new_password()
    settings.write(found.services, password)
    network.connect()
    progress.at("starting the database")
    database.start(found.database)
    preparation.make_schemas(found, password, progress)
    progress.at("making accounts")
    _start_service(found, "keystone")
    _wait_for("keystone")
    preparation.make_accounts()
    _start_rest(found, progress)
    progress.at("making flavors, image and networks")
    preparation.make_contents(found)
    processes.stop_all()
    progress.at("packing")
    preparation.pack(found)
    _remove()


def _start(found: Pieces, progress: Progress) -> None:
    settings.write(found.services, names.PASSWORD.read_text())
    with files.locked(stacks.lock_file()):
        host.remember_and_raise(names.WORD)
    network.connect()
    progress.at("starting the database")
    database.start(found.database)
    _start_service(found, "keystone")
    _start_rest(found, progress)


def _start_rest(found: Pieces, progress: Progress) -> None:
    """Starts all that is not running yet, and waits until it answers."""
    progress.at("starting the services")
    for service in ("placement", "neutron", "glance", "cinder"):
        _start_service(found, service)
    for service in ("keystone", "placement"):
        _wait_for(service)
    _start_service(found, "nova")  # its hypervisors ask both at once
    for service in ("neutron", "glance", "cinder", "nova"):
        _wait_for(service)
    _start_ours(found, "fabric", ["fabric"], {})


def _start_service(found: Pieces, service: str) -> None:
    port, own = str(names.PORTS[service]), settings.file(service)
    if service in _WSGI:
        arguments = ["serve", port, f"{service}.wsgi.api:application"]
    else:
        arguments = [service, port, "--config-file", str(own)]
    environment = {f"OS_{service.upper()}_CONFIG_DIR": str(own.parent), "OS_NEUTRON_CONFIG_FILES": "neutron.conf"}
    _start_ours(found, service, arguments, environment)


def _start_ours(found: Pieces, name: str, arguments: list[str], environment: dict[str, str]) -> None:
    module, *rest = arguments
    argv = [str(found.services / "bin" / "python"), "-m", f"{_SERVICES}{module}", *rest]
    processes.start(name, argv, found.environment | environment)


def _wait_for(service: str) -> None:
    processes.wait_for(service, lambda: processes.listens(names.PORTS[service]))


def _remove() -> None:
    """Removes everything by name, in the order in which it stands on each other."""
    processes.stop_all()
    for pid in _processes():  # such as the supervisors of servers, which would start them again
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for name in _control_groups():
        cgroups.remove(name)  # type: ignore[arg-type]  # only its text counts
    for point in _mounts():  # volumes that servers boot from
        run("umount", point)
    for device in _loop_devices():
        run("losetup", "--detach", device)
    network.disconnect()
    with files.locked(stacks.lock_file()):
        host.restore(names.WORD)
        if not stacks.recorded():
            stacks.leave()
    run("rm", "-rf", "--one-file-system", str(names.STATE))


def _processes() -> list[int]:
    """The cloud's processes outside of servers, by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            supervises = words[-2:-1] == [str(SUPERVISOR)] and words[-1].startswith(f"{names.STATE}/")
            serves = any(word.startswith(_SERVICES) for word in words)
            if supervises or serves or f"--datadir={database.FOLDER}" in words:
                found.append(int(entry.name))
    return found


def _control_groups() -> list[str]:
    trees = Path("/sys/fs/cgroup")
    pattern = f"{names.WORD}-server-*"
    return sorted({folder.name for folder in [*trees.glob(pattern), *trees.glob(f"*/{pattern}")]})


def _mounts() -> list[str]:
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{names.STATE}/")]


def _loop_devices() -> list[str]:
    lines = run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines()
    return [line.split()[0] for line in lines if line.split()[1].startswith(f"{names.STATE}/")]
