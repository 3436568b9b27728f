"""The client of the embedded EOS: real mounts of a real XRootD server, which fails in every way."""

import errno
import fcntl
import hashlib
import mmap
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from components.eos import home
from engine import tools
from engine.progress import Progress
from tests.live.waiting import until
from tests.machines.xrootd import ADA, ADAM, BOB, CAROL, STRANGER, TIMEOUT_SECONDS, Client, XRootD, as_user, shell

MANY = 10_000

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK), reason="no right to mount: it needs root and /dev/fuse"
)


@pytest.fixture(scope="module", autouse=True)
def binary() -> None:
    tools.get(["xrdmount"], Progress())


@pytest.fixture(scope="module")
def well() -> Iterator[XRootD]:
    """A server that no test harms."""
    made = XRootD()
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture(scope="module")
def shared(well: XRootD, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A mount that no test harms."""
    made = Client(well, tmp_path_factory.mktemp("client"))
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture
def server() -> Iterator[XRootD]:
    made = XRootD()
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture
def client(server: XRootD, tmp_path: Path) -> Iterator[Client]:
    """Not started yet."""
    made = Client(server, tmp_path / "client")
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def place(shared: Client, request: pytest.FixtureRequest) -> Path:
    """A folder of ada's for one test."""
    test: str = request.node.name
    folder = shared.home("ada") / test.split("[", maxsplit=1)[0]
    as_user(ADA, lambda: folder.mkdir(exist_ok=True))
    return folder


def refused(number: int, work: Callable[[], object]) -> bool:
    try:
        work()
    except OSError as error:
        return error.errno == number
    return False


def opened_by(uid: int, work: Callable[[], int]) -> int:
    """A descriptor that this user opened, and gave to this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        as_user(uid, lambda: socket.send_fds(theirs, [b"x"], [work()]))
        _, (descriptor,), *_ = socket.recv_fds(ours, 1, 1)
    return descriptor


def sha256(content: bytes | bytearray) -> str:
    return hashlib.sha256(content).hexdigest()


# A home is as a folder on a disk


@pytest.mark.parametrize("mode", [0o755, 0o644, 0o600, 0o444, 0o400, 0o700])
def test_permissions_are_those_that_were_given(place: Path, mode: int) -> None:
    def work() -> list[int]:
        file = place / f"{mode:o}"
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        assert os.write(descriptor, b"written") == 7, "who makes a file may write it"
        os.close(descriptor)
        made = file.stat().st_mode & 0o7777
        file.chmod(mode ^ 0o100)
        return [made, file.stat().st_mode & 0o7777]

    assert as_user(ADA, work) == [mode, mode ^ 0o100]


def test_what_is_executable_runs_and_what_is_not_does_not(place: Path) -> None:
    def work() -> tuple[str, bool]:
        script = place / "script"
        script.write_text("#!/bin/sh\necho it runs\n")
        no = refused(errno.EACCES, lambda: subprocess.check_output([script]))
        script.chmod(0o755)
        return subprocess.check_output([script], text=True), no

    assert as_user(ADA, work) == ("it runs\n", True)


def test_all_belongs_to_the_owner_of_the_home(shared: Client, place: Path) -> None:
    as_user(ADA, (place / "file").touch)
    status = as_user(ADA, (place / "file").stat)
    assert (status.st_uid, status.st_gid) == (ADA, 100)
    assert (shared.mountpoint.stat().st_uid, shared.mountpoint.stat().st_gid) == (0, 0)
    as_user(ADA, lambda: os.chown(place / "file", ADA, 100))
    assert as_user(ADA, lambda: refused(errno.EPERM, lambda: os.chown(place / "file", BOB, 100)))


def test_symbolic_links(place: Path, well: XRootD) -> None:
    def work() -> None:
        (place / "folder").mkdir()
        (place / "folder/file").write_text("behind")
        (place / "link").symlink_to("folder")
        assert (place / "link/file").read_text() == "behind"
        assert os.readlink(place / "link") == "folder"
        assert {entry.name: entry.is_symlink() for entry in os.scandir(place)} == {"folder": False, "link": True}
        long = "x" * 1024
        (place / "long").symlink_to(long)
        assert os.readlink(place / "long") == long
        assert (place / "long").lstat().st_size == len(long)
        assert refused(errno.ENAMETOOLONG, lambda: (place / "too-long").symlink_to("x" * 1025))
        (place / "new").symlink_to("folder/file")
        (place / "new").rename(place / "link")
        assert (place / "link").read_text() == "behind"
        (place / "no-link").write_text("XSym\n" + "x" * 1062)
        assert (place / "no-link").is_file()

    as_user(ADA, work)
    # Another client that knows the convention understands it, and ours understands it of others.
    kept = well.at(f"{home('ada')}/{place.name}/link").read_bytes()
    md5 = hashlib.md5(b"folder/file", usedforsecurity=False).hexdigest()
    assert kept == f"XSym\n0011\n{md5}\nfolder/file\n".ljust(1067).encode()


def test_rename_takes_the_place_of_what_was_there(place: Path) -> None:
    def work() -> None:
        old, new = place / "old", place / "new"
        old.write_text("old")
        with old.open() as reader, old.open("r+") as writer:
            for content in ("first", "second"):
                new.write_text(content)
                new.rename(old)
                assert old.read_text() == content, "what others have open under that name is not what the name means"
                with old.open("r+") as again:
                    assert again.read() == content
            assert (reader.read(), writer.read()) == ("old", "old")
        (place / "a").mkdir()
        (place / "b/full").mkdir(parents=True)
        assert refused(errno.ENOTEMPTY, lambda: (place / "a").rename(place / "b"))
        assert refused(errno.ENOTEMPTY, (place / "b").rmdir)
        (place / "b/full").rmdir()
        (place / "a").rename(place / "b")

    as_user(ADA, work)


def test_who_has_a_file_open_keeps_it(place: Path) -> None:
    def work() -> None:
        file = place / "file"
        with file.open("w+") as opened:
            opened.write("kept")
            opened.flush()
            file.unlink()
            file.write_text("another")
            opened.seek(0)
            assert opened.read() == "kept"
            opened.write(" and more")
            opened.flush()
            assert os.fstat(opened.fileno()).st_size == len("kept and more")
        assert file.read_text() == "another"
        with file.open("a") as opened:
            (place / "moved").mkdir()
            file.rename(place / "moved/file")
            opened.write(" still")
        assert (place / "moved/file").read_text() == "another still"
        assert os.listdir(place) == ["moved"]

    as_user(ADA, work)


def test_writing_in_all_ways(place: Path) -> None:
    def work() -> None:
        file = place / "file"
        with file.open("wb") as one, file.open("ab") as two:
            one.write(b"0123456789")
            one.flush()
            two.write(b"end")
            two.flush()
            one.seek(2)
            one.write(b"--")
        assert file.read_bytes() == b"01--456789end"
        os.truncate(file, 4)
        with file.open("r+b") as opened:
            opened.truncate(6)
            opened.seek(8)
            opened.write(b"x")
        assert file.read_bytes() == b"01--\0\0\0\0x"
        assert refused(errno.EEXIST, lambda: os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        file.write_bytes(b"short")
        assert file.read_bytes() == b"short"
        file.write_bytes(bytes(10_000))
        with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 10_000) as mapped:
            mapped[5000:5003] = b"abc"
            mapped.flush()
        assert file.read_bytes()[5000:5003] == b"abc"
        assert refused(errno.EPERM, lambda: os.link(file, place / "hard"))
        os.utime(file, (1, 1))
        with file.open("r+") as writable:
            os.posix_fallocate(writable.fileno(), 0, 20_000)
        assert file.stat().st_size == 20_000
        with file.open("r+") as locked:
            fcntl.flock(locked, fcntl.LOCK_EX)
            fcntl.lockf(locked, fcntl.LOCK_EX)

    as_user(ADA, work)


def test_names(place: Path) -> None:
    def work() -> None:
        for name in ("a b", "ü€", "a%20b", "#x", "a&b=c", "a+b", "q'\"", "x" * 254, "back\\slash", ";", "~", "*", ".h"):
            (place / name).write_text(name)
            assert name in os.listdir(place), name
            (place / name).rename(place / "other")
            (place / "other").rename(place / name)
            assert (place / name).read_text() == name
            (place / name).unlink()
        for name, number in (("what?", errno.EINVAL), ("new\nline", errno.EINVAL), ("x" * 255, errno.ENAMETOOLONG)):
            assert refused(number, (place / name).touch), name
        assert os.listdir(place) == []

    as_user(ADA, work)


def test_random_writes_of_a_big_file_come_back(place: Path) -> None:
    def work() -> None:
        content = bytearray(secrets.token_bytes(40 << 20))
        file = place / "file"
        file.write_bytes(content)
        with file.open("r+b") as opened:
            for _ in range(50):
                at, piece = secrets.randbelow(len(content) - 300_000), secrets.token_bytes(secrets.randbelow(300_000))
                content[at : at + len(piece)] = piece
                opened.seek(at)
                opened.write(piece)
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert sha256(file.read_bytes()) == sha256(content)

    as_user(ADA, work)


def test_a_file_of_more_than_four_gigabytes(place: Path, well: XRootD) -> None:
    def work() -> None:
        with (place / "file").open("w+b") as opened:
            opened.seek((5 << 30) - 4)
            opened.write(b"last")
            opened.seek((5 << 30) - 4)
            assert opened.read() == b"last"
        assert (place / "file").stat().st_size == 5 << 30

    as_user(ADA, work)
    assert well.at(f"{home('ada')}/{place.name}/file").stat().st_size == 5 << 30


# What users do in a home


def test_git(place: Path) -> None:
    script = """
        git config --global user.name ada; git config --global user.email ada@example.org
        mkdir one; cd one; git init -q; seq 100 > file; ln -s file link; printf '#!/bin/sh\\necho runs\\n' > tool
        chmod +x tool; git add .; git commit -qm first; cd ..; git clone -q one two; cd two; ./tool; readlink link
        echo more >> file; git commit -qam second; git push -q origin HEAD:other; git gc -q; git fsck
        cd ../one; git merge -q other; git log --format=%s; git status --short
    """
    assert shell(ADA, place, f"cd; {script}").split() == ["runs", "file", "second", "first"]


def wheel(folder: Path) -> Path:
    """A package that brings a command `hello`."""
    file = folder / "hello-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.py", "def main(): print('hello')\n")
        archive.writestr("hello-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1\n")
        archive.writestr("hello-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("hello-1.dist-info/entry_points.txt", "[console_scripts]\nhello = hello:main\n")
        archive.writestr("hello-1.dist-info/RECORD", "")
    return file


def test_a_python_environment(place: Path) -> None:
    package = as_user(ADA, lambda: wheel(place))
    script = f"""
        cd; /usr/bin/python3 -m venv v; v/bin/python -c 'import sys; print(sys.prefix)'
        v/bin/pip install -q --disable-pip-version-check --no-index {package}; v/bin/hello
        v/bin/pip uninstall -q -y hello; test ! -e v/bin/hello
    """
    assert shell(ADA, place, script).split() == [str(place / "v"), "hello"]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite(place: Path, journal: str) -> None:
    def work() -> tuple[int, str]:
        connections = [sqlite3.connect(place / journal, timeout=30) for _ in range(2)]
        connections[0].execute(f"pragma journal_mode={journal}")
        connections[0].execute("create table t(x)")
        for number in range(20):
            with connections[number % 2] as connection:
                connection.execute("insert into t values(?)", (number,))
        connections[0].execute("insert into t values(1000)")
        connections[0].rollback()
        (total,) = connections[1].execute("select sum(x) from t").fetchone()
        (check,) = connections[1].execute("pragma integrity_check").fetchone()
        return total, check

    assert as_user(ADA, work) == (190, "ok")


def test_ten_thousand_files_are_listed_by_one_request(place: Path, well: XRootD) -> None:
    below = well.at(f"{home('ada')}/{place.name}")
    for number in range(MANY):
        (below / f"{number:05}").touch()

    def asked() -> int:
        return sum(" stat " in line or "open " in line for line in well.told().splitlines())

    before = asked()
    # The same as `ls -l`, without the time that a busy computer takes for it.
    entries = as_user(ADA, lambda: [(entry.name, entry.stat().st_size) for entry in os.scandir(place)])
    assert sorted(entries) == [(f"{number:05}", 0) for number in range(MANY)]
    assert asked() - before < MANY // 100


# Who may do what


DEEDS: dict[str, Callable[[Path], object]] = {
    "list": os.listdir,
    "list the home": lambda below: os.listdir(below.parent),
    "stat": lambda below: (below / "file").stat(),
    "stat the home": lambda below: below.parent.stat(),
    "read": lambda below: (below / "file").read_bytes(),
    "readlink": lambda below: os.readlink(below / "link"),
    "write": lambda below: os.open(below / "file", os.O_WRONLY),
    "append": lambda below: os.open(below / "file", os.O_WRONLY | os.O_APPEND),
    "truncate": lambda below: os.truncate(below / "file", 0),
    "create": lambda below: os.open(below / "new", os.O_CREAT | os.O_WRONLY),
    "create in the home": lambda below: os.open(below.parent / "new", os.O_CREAT | os.O_WRONLY),
    "mkdir": lambda below: (below / "new").mkdir(),
    "symlink": lambda below: (below / "new").symlink_to("x"),
    "unlink": lambda below: (below / "file").unlink(),
    "rmdir": lambda below: (below / "empty").rmdir(),
    "rename": lambda below: (below / "file").rename(below / "new"),
    "chmod": lambda below: (below / "file").chmod(0o777),
    "utime": lambda below: os.utime(below / "file"),
    "execute": lambda below: subprocess.check_output([below / "file"]),
    "chdir": os.chdir,
    "statvfs": os.statvfs,
}


@pytest.fixture(scope="module")
def private(shared: Client) -> Path:
    """What is only ada's, though its permissions would let everybody in."""
    below = shared.home("ada") / "private"

    def work() -> None:
        (below / "empty").mkdir(parents=True)
        (below / "file").write_text("#!/bin/sh\necho secret\n")
        (below / "link").symlink_to("file")
        for path in (below.parent, below, below / "empty", below / "file"):
            path.chmod(0o777)

    as_user(ADA, work)
    return below


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("uid", [BOB, ADAM, STRANGER], ids=["bob", "adam", "stranger"])
def test_nobody_else_gets_into_a_home(private: Path, deed: str, uid: int) -> None:
    # The owner has just looked at all of it: nothing that is cached of it helps anybody else.
    def owner() -> str:
        return (private / "link").read_text() + str([entry.stat() for entry in os.scandir(private)])

    content = as_user(ADA, owner)
    assert "secret" in content
    assert as_user(uid, lambda: refused(errno.EACCES, lambda: DEEDS[deed](private)))
    assert "secret" in as_user(ADA, owner)
    assert sorted(as_user(ADA, lambda: os.listdir(private))) == ["empty", "file", "link"]


def test_no_way_around_through_what_somebody_else_has_open(private: Path) -> None:
    """A folder that ada opened, and her file by its entry in /proc, lead bob to what the server says to bob."""
    folder_of_ada = opened_by(ADA, lambda: os.open(private, os.O_PATH))
    file_of_ada = opened_by(ADA, lambda: os.open(private / "file", os.O_PATH))
    try:
        for work in (
            lambda: os.open("file", os.O_RDONLY, dir_fd=folder_of_ada),
            lambda: os.stat("file", dir_fd=folder_of_ada),
            lambda: os.listdir(f"/proc/self/fd/{folder_of_ada}"),
            lambda: os.open(f"/proc/self/fd/{file_of_ada}", os.O_RDONLY),
            lambda: os.open(f"/proc/self/fd/{file_of_ada}", os.O_WRONLY),
        ):
            assert as_user(BOB, partial(refused, errno.EACCES, work))
    finally:
        for opened in (folder_of_ada, file_of_ada):
            os.close(opened)


def test_an_unknown_uid_is_refused_before_the_server_is_asked(shared: Client, well: XRootD) -> None:
    before = well.told()
    for work in (lambda: os.listdir(shared.mountpoint), (shared.mountpoint / "user").stat):
        assert as_user(STRANGER, partial(refused, errno.EACCES, work))
    assert well.told() == before


def test_rights_are_the_servers(shared: Client, well: XRootD) -> None:
    well.at("/eos/data/set").write_text("data")
    assert as_user(BOB, (shared.mountpoint / "data/set").read_text) == "data"
    assert as_user(BOB, lambda: refused(errno.EACCES, lambda: os.truncate(shared.mountpoint / "data/set", 0)))
    assert as_user(BOB, lambda: refused(errno.EACCES, (shared.mountpoint / "data/new").touch))
    # root of the machine is but another user of the server.
    assert refused(errno.EACCES, lambda: os.listdir(shared.home("ada")))


def test_a_forged_key_is_refused(server: XRootD, client: Client) -> None:
    client.keytab.unlink()
    server.make_key(client.keytab)
    refusal = client.refusal()
    assert "the server refuses this machine" in refusal
    assert "cure:" in refusal


def test_another_key_is_taken_while_files_are_open(server: XRootD, client: Client) -> None:
    keys = [client.folder / name for name in ("1", "2")]
    for key in keys:
        server.make_key(key)
    server.die()
    server.take(keys[0])
    server.start()
    del client.config["keytab"]
    client.start()
    place = client.home("ada") / "file"
    with os.fdopen(opened_by(ADA, lambda: os.open(place, os.O_CREAT | os.O_RDWR)), "r+b", buffering=0) as opened:
        opened.write(b"before ")
        server.die()
        server.take(keys[1])
        server.start()
        opened.write(b"after")
        os.fsync(opened.fileno())
    assert as_user(ADA, place.read_text) == "before after"
    assert client.mounts() == 1
    assert client.process is not None
    assert client.process.poll() is None, "it was not started anew"
    former = Client(server, client.folder / "former")
    try:
        shutil.copy(keys[0], former.keytab)
        assert "the server refuses this machine" in former.refusal()
    finally:
        former.remove()


def test_a_change_of_the_users_is_followed(client: Client) -> None:
    bob = client.users.pop("bob")
    client.write_users()
    client.start()
    place = client.home("bob") / "file"
    assert as_user(BOB, lambda: refused(errno.EACCES, lambda: place.write_text("x")))
    client.users["bob"] = bob
    client.write_users()
    until(lambda: not as_user(BOB, lambda: refused(errno.EACCES, lambda: place.write_text("x"))), "bob", seconds=15)
    (client.folder / "users.json").write_text("{")
    time.sleep(1)
    assert as_user(BOB, place.read_text) == "x", "the last good list stays"
    del client.users["bob"]
    client.write_users()
    until(lambda: as_user(BOB, lambda: refused(errno.EACCES, place.read_text)), "bob is away", seconds=15)
    assert "the list of users cannot be used" in client.log.read_text()


# Two machines


def test_another_machine_sees_what_was_written(server: XRootD, client: Client, tmp_path: Path) -> None:
    other = Client(server, tmp_path / "other")
    try:
        here, there = (each.start().home("ada") for each in (client, other))

        def work() -> None:
            log = there / "log"
            for number in range(20):
                with (here / "log", there / "log")[number % 2].open("a") as opened:
                    opened.write(f"{number}\n")
                assert (here / "log").stat().st_size >= 0
                assert (there / "log").read_text() == (here / "log").read_text()
            assert log.read_text() == "".join(f"{number}\n" for number in range(20))
            (here / "new").write_text("replaced")
            with log.open() as old:
                (here / "new").rename(here / "log")
                assert log.read_text() == "replaced"
                assert old.read() == "".join(f"{number}\n" for number in range(20))

        as_user(ADA, work)
    finally:
        other.remove()


# Quota


@pytest.fixture
def limited(server: XRootD) -> Iterator[Path]:
    """Carol's home on the server's disk: a btrfs subvolume of 20 MiB."""
    image, disk = server.folder / "image", server.at(home("carol")).parent
    with image.open("wb") as file:
        file.truncate(300 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    server.at(home("carol")).rmdir()
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        subvolume = disk / "carol"
        commands: tuple[list[str | Path], ...] = (
            ["quota", "enable", disk],
            ["subvolume", "create", subvolume],
            ["qgroup", "limit", "20M", subvolume],
        )
        for command in commands:
            subprocess.run(["btrfs", *command], check=True, stdout=subprocess.DEVNULL)
        os.chown(subvolume, 1094, 1094)
        yield subvolume
    finally:
        server.die()
        subprocess.run(["umount", disk], check=True)


def test_a_full_home_says_so(client: Client, limited: Path) -> None:
    client.users["carol"]["quota"] = f"{home('carol')}/.quota"
    client.write_users()
    (limited / ".quota").write_text(f"{20 << 20} {5 << 20}\n")
    place = client.start().home("carol")
    space = as_user(CAROL, lambda: os.statvfs(place))
    assert (space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize) == (20 << 20, 15 << 20)

    def fill() -> None:
        with (place / "file").open("wb", buffering=0) as opened:
            for _ in range(30):
                opened.write(secrets.token_bytes(1 << 20))
                os.fsync(opened.fileno())

    assert as_user(CAROL, lambda: refused(errno.EDQUOT, fill))
    as_user(CAROL, (place / "file").unlink)

    def again() -> bool:
        as_user(CAROL, lambda: (place / "file").write_text("there is room again"))
        return True

    until(again, "there is room again", seconds=60, through=OSError)


# A server that fails


def test_no_acknowledged_byte_is_lost_when_the_server_is_killed(server: XRootD, client: Client) -> None:
    client.config["timeout_seconds"] = 60
    place = client.start().home("ada") / "file"
    stop = threading.Event()

    def harm() -> None:
        while not stop.wait(0.5):
            server.die()
            server.start()

    harming = threading.Thread(target=harm)
    harming.start()

    def write() -> str:
        digest = hashlib.sha256()
        with place.open("wb", buffering=0) as opened:
            end = time.monotonic() + 8
            while time.monotonic() < end:
                piece = secrets.token_bytes(700_001)
                assert opened.write(piece) == len(piece)
                digest.update(piece)
            os.fsync(opened.fileno())
        return digest.hexdigest()

    try:
        expected = as_user(ADA, write)
    finally:
        stop.set()
        harming.join()
    assert sha256(server.at(f"{home('ada')}/file").read_bytes()) == expected
    assert as_user(ADA, lambda: sha256(place.read_bytes())) == expected
    assert "answers again" in client.log.read_text()


def seconds_of_failure(uid: int, work: Callable[[], object]) -> float:
    started = time.monotonic()
    assert as_user(uid, lambda: refused(errno.EIO, work))
    return time.monotonic() - started


def test_a_server_that_is_away_gives_errors_in_time_and_works_when_it_is_back(server: XRootD, client: Client) -> None:
    place = client.start().home("ada")
    as_user(ADA, lambda: (place / "file").write_text("before"))
    server.die()
    assert seconds_of_failure(ADA, lambda: os.listdir(place)) < 2 * TIMEOUT_SECONDS + 2
    time.sleep(TIMEOUT_SECONDS)
    assert seconds_of_failure(ADA, (place / "new").touch) < 3, "nobody waits long for what is known"
    server.start()

    def works() -> bool:
        return as_user(ADA, (place / "file").read_text) == "before"

    until(works, "it works again", seconds=15, every=0.1, through=OSError)
    assert client.mounts() == 1


def test_a_server_that_is_silent_gives_errors_in_time(server: XRootD, client: Client) -> None:
    place = client.start().home("ada")
    as_user(ADA, lambda: (place / "file").write_text("before"))
    time.sleep(1)
    with server.silent():
        assert seconds_of_failure(ADA, (place / "file").read_text) < 2 * TIMEOUT_SECONDS + 2
    until(lambda: as_user(ADA, (place / "file").read_text) == "before", "it works", seconds=10, through=OSError)


def test_what_is_open_stays_open_when_the_server_is_started_anew(server: XRootD, client: Client) -> None:
    place = client.start().home("ada")

    kept, gone = (opened_by(ADA, partial(os.open, place / name, os.O_CREAT | os.O_RDWR)) for name in ("kept", "gone"))
    try:
        assert os.write(kept, b"before ") == 7

        def work() -> None:
            (place / "kept").rename(place / "renamed")
            (place / "gone").unlink()
            (place / "gone").write_text("another")

        as_user(ADA, work)
        server.die()
        server.start()
        assert os.write(kept, b"and after") == 9
        assert os.pread(kept, 100, 0) == b"before and after"
        assert refused(errno.ESTALE, lambda: os.write(gone, b"into a stranger"))
    finally:
        os.close(kept)
        os.close(gone)
    assert as_user(ADA, (place / "renamed").read_text) == "before and after"
    assert as_user(ADA, (place / "gone").read_text) == "another"


# The client itself


def test_it_takes_no_privileges(shared: Client) -> None:
    line = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if str(shared.mountpoint) in line)
    assert {"nosuid", "nodev", "allow_other"} <= set(line.split()[3].split(","))
    assert line.startswith(f"{shared.config['server']}/eos ")
    assert stat.S_IMODE(shared.keytab.stat().st_mode) == 0o600


def test_it_is_ready_when_the_server_answers(server: XRootD, client: Client) -> None:
    server.die()
    started = time.monotonic()
    refusal = client.refusal()
    assert "the server does not give what is to be mounted" in refusal
    assert "cure:" in refusal
    assert time.monotonic() - started < TIMEOUT_SECONDS + 3
    server.start()
    assert "READY=1" in client.start().status()
    assert os.listdir(client.mountpoint)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_and_unmounts(client: Client, number: signal.Signals) -> None:
    client.start()
    assert client.stop(number) == 0
    assert client.mounts() == 0
    assert "STOPPING=1" in client.status()


def test_the_next_start_cleans_up_after_a_killed_one(client: Client) -> None:
    client.start()
    assert client.stop(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(OSError, match="not connected"):
        os.listdir(client.mountpoint)
    client.start()
    assert client.mounts() == 1
    assert os.listdir(client.mountpoint)
    assert "xrdmount is mounted there already" in client.run(str(client.write_config()), str(client.mountpoint)).stderr


def test_a_wrong_call_and_a_wrong_configuration_say_what_is_right(client: Client) -> None:
    wrong = client.run()
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (2, "usage: xrdmount CONFIG.json MOUNTPOINT")
    for key, value, why in (
        ("colour", 1, "there is no such key"),
        ("timeout_seconds", 0, "it is no whole number from 1 to 3600"),
        ("export", "/eos/", "not to end with /"),
        ("server", "http://host", "it does not begin with root://"),
        ("keytab", "/nonexistent", "there is no key"),
        ("users", "/nonexistent", "it cannot be opened"),
    ):
        good = dict(client.config)
        client.config[key] = value
        refusal = client.refusal()
        client.config = good
        assert why in refusal
        assert "cure:" in refusal
    client.users["eve"] = {"uid": ADA}
    client.write_users()
    assert "another has this uid too" in client.refusal()
