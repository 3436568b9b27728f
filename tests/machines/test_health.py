"""The checker of machines, and that of sessions, against a real mount whose client hangs, dies and comes back."""

import asyncio
import importlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine import tools
from engine.progress import Progress
from tests.live.waiting import until
from tests.machines import xrootd
from tests.machines.halting import go_on, halt
from tests.machines.swfs import Client, Repository, Server
from tests.unit.program import PROJECT
from tests.unit.test_playbooks import load

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK), reason="no right to mount: it needs root and /dev/fuse"
)

DEADLINE_SECONDS = 1.0
health = load("roles/health/files/health.py")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A mounted repository with one file."""
    tools.get(["swfs"], Progress())
    repository = Repository(tmp_path / "repository")
    repository.tree.mkdir(parents=True)
    (repository.tree / "file").write_text("content")
    repository.publish()
    server = Server(repository.served, tmp_path / "server.log")
    made = Client(tmp_path, servers=[f"{server.url}/cvmfs"]).trusting(repository.keys)
    try:
        yield made.start()
    finally:
        made.remove()
        server.die()


@pytest.fixture
def mount(client: Client) -> Any:
    return health.Mount("cvmfs", str(client.mountpoint), "swfs@x.service", DEADLINE_SECONDS)


def looked(mount: Any) -> str:
    """What is wrong with the mount, looked at anew."""
    mount.look(0.1)
    return str(mount.trouble)


def settled(mount: Any, trouble: str, seconds: float = 15) -> None:
    until(lambda: looked(mount) == trouble and mount.known, f"it is found: {trouble!r}", seconds=seconds, every=0.05)


def children() -> int:
    """Processes of this one that have not been waited for."""
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_mount_that_answers_is_well(mount: Any) -> None:
    settled(mount, "")
    assert not mount.needs_repair


def test_a_hung_mount_is_found_by_its_deadline_and_asked_by_one_child_only(client: Client, mount: Any) -> None:
    settled(mount, "")
    before = children()
    halt(client.process)
    began = time.monotonic()
    settled(mount, health.SILENT)
    assert time.monotonic() - began < 3 * DEADLINE_SECONDS
    assert not mount.needs_repair, "one that is slow once is let be"
    until(lambda: looked(mount) and mount.needs_repair, "it needs repair", seconds=5 * DEADLINE_SECONDS)
    assert children() == before + 1
    go_on(client.process)
    settled(mount, "")
    assert not mount.needs_repair
    assert children() == before


def test_what_waits_for_a_hung_mount_is_let_go(
    client: Client, mount: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = tmp_path / "connections"
    connections.mkdir()
    subprocess.run(["mount", "-t", "fusectl", "none", str(connections)], check=True)
    try:
        monkeypatch.setattr(health, "CONNECTIONS", connections)
        halt(client.process)
        settled(mount, health.SILENT)
        health.let_go(mount.path)
        settled(mount, health.LOST)
        assert mount.needs_repair
    finally:
        subprocess.run(["umount", str(connections)], check=True)


def test_a_mount_that_lost_its_client_or_is_not_there_needs_repair_at_once(client: Client, mount: Any) -> None:
    assert client.process
    client.stop(signal.SIGKILL)
    settled(mount, health.LOST)
    assert mount.needs_repair
    subprocess.run(["umount", "--lazy", str(client.mountpoint)], check=True)
    settled(mount, health.ABSENT)
    assert mount.needs_repair
    client.start()
    settled(mount, "")


def test_repairs_are_ever_rarer_and_leave_no_child(client: Client, mount: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client.stop(signal.SIGKILL)
    before = children()
    settled(mount, health.LOST)
    pauses = []
    for _ in range(7):
        assert mount.needs_repair
        pauses.append(mount.repaired())
        assert not mount.needs_repair
        later = time.monotonic() + pauses[-1]
        monkeypatch.setattr(health.time, "monotonic", lambda later=later: later)
        settled(mount, health.LOST)
    monkeypatch.undo()
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    until(lambda: bool(looked(mount)) and children() == before, "children have ended", seconds=15)


# Homes


@pytest.fixture
def server() -> Iterator[xrootd.XRootD]:
    made = xrootd.XRootD()
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture
def homes(server: xrootd.XRootD, tmp_path: Path) -> Iterator[xrootd.Client]:
    """All of /eos, mounted."""
    tools.get(["xrdmount"], Progress())
    made = xrootd.Client(server, tmp_path / "client")
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture
def home_mount(server: xrootd.XRootD, homes: xrootd.Client) -> Any:
    where = (str(homes.mountpoint), "xrdmount@user.service", DEADLINE_SECONDS)
    return health.Mount("eos", *where, server=f"127.0.0.1:{server.port}")


def test_homes_that_answer_are_well(home_mount: Any) -> None:
    settled(home_mount, "")
    assert health.serves(home_mount.server)


def test_a_folder_in_which_root_has_no_right_has_answered(homes: xrootd.Client, home_mount: Any) -> None:
    closed = homes.mountpoint / "user"
    with pytest.raises(PermissionError):
        list(closed.iterdir())
    question = health.Question(str(closed))
    answer = until(lambda: [one] if (one := question.answer()) is not None else [], "it answers", seconds=15)
    assert health.in_words(*answer) == ""
    settled(home_mount, "")


def test_a_hung_client_of_homes_is_told_from_a_server_that_is_away(
    server: xrootd.XRootD, homes: xrootd.Client, home_mount: Any
) -> None:
    settled(home_mount, "")
    halt(homes.process)
    settled(home_mount, health.SILENT)
    assert health.serves(home_mount.server), "the client is to be killed"
    go_on(homes.process)
    settled(home_mount, "")
    with server.silent():
        assert not health.serves(home_mount.server), "it takes connections, and says nothing"
    server.die()
    assert not health.serves(home_mount.server), "the client is to be let be"


# What sessions are told


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The session's own module."""
    monkeypatch.syspath_prepend(str(PROJECT / "images/session"))
    module = importlib.import_module("cygnet_session.notices")
    monkeypatch.setattr(module, "DEADLINE_SECONDS", DEADLINE_SECONDS)
    return module


def test_a_session_is_told_while_its_software_does_not_answer(client: Client, notices: ModuleType) -> None:
    watch = notices.Watch({})
    watch.software = notices.Folder(str(client.mountpoint), mount=str(client.mountpoint))

    async def day() -> None:
        assert await watch.notices() == []
        halt(client.process)
        began = time.time()
        before = children()
        (told,) = await watch.notices()
        assert (told.id, round(told.since - began)) == ("software", 0)
        assert await watch.notices() == [told]
        assert children() <= before + 1
        go_on(client.process)
        client.stop(signal.SIGKILL)
        assert await watch.notices() == [told]
        client.start()
        # On a busy computer one look may come to nothing in its time.
        assert [] in [await watch.notices() for _ in range(5)]

    asyncio.run(day())


@pytest.mark.parametrize(("free", "told"), [(50, []), (10, ["home"]), (0, ["home"])])
def test_a_session_is_told_of_its_home_when_that_is_almost_full(
    notices: ModuleType, free: int, told: list[str]
) -> None:
    watch = notices.Watch({"HOME": "/eos/user/a/ada"})

    async def look() -> None:
        watch.home.room = notices.Room(all=100, free=free)

    watch.home.look = look
    assert [notice.id for notice in asyncio.run(watch.notices())] == told
