"""The CVMFS client: real mounts of repositories that our own publisher made, with servers that fail in every way."""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import cache, cargo, tools
from engine.errors import BuildFailed
from engine.process import Runner
from engine.progress import Progress
from software import publisher
from software.keys import make_keys
from tests.live.waiting import until
from tests.machines.swfs import (
    FQRN,
    NEGATIVE_SECONDS,
    POLL_SECONDS,
    TIMEOUT_SECONDS,
    Client,
    Repository,
    Server,
    replace,
)

CHUNKED_MIB = 60  # eight pieces, the last one not whole

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.W_OK), reason="no right to mount: it needs root and /dev/fuse"
)


@pytest.fixture(scope="module", autouse=True)
def binary() -> None:
    tools.get(["swfs"], Progress())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One of each kind of thing, at revision 1. To be copied and not to be changed."""
    made = Repository(tmp_path_factory.mktemp("repository"))
    for folder in ("bin", "empty", "deep/nested/er", "private"):
        (made.tree / folder).mkdir(parents=True)
    (made.tree / "bin/tool").write_text("#!/bin/sh\necho it runs\n")
    (made.tree / "bin/tool").chmod(0o755)
    (made.tree / "bin/link").symlink_to("tool")
    (made.tree / "deep/nested/.cvmfscatalog").touch()
    (made.tree / "deep/nested/er/file").write_text("below\n")
    (made.tree / "zero").touch()
    (made.tree / "other").write_text("other\n")
    (made.tree / os.fsdecode(b"n\xe4me with space")).write_text("name\n")
    (made.tree / "private/secret").write_text("secret\n")
    (made.tree / "private").chmod(0o700)
    (made.tree / "big").write_bytes(secrets.token_bytes((CHUNKED_MIB << 20) - 5))
    assert made.publish().revision == 1
    return made


@pytest.fixture
def repository(published: Repository, tmp_path: Path) -> Repository:
    """A copy that a test may change."""
    return published.copy(tmp_path / "repository")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Path], Server]]:
    """Starts web servers."""
    servers: list[Server] = []

    def start(root: Path) -> Server:
        servers.append(Server(root, tmp_path / f"server-{len(servers)}.log"))
        return servers[-1]

    yield start
    for server in servers:
        server.die()


@pytest.fixture
def server(serve: Callable[[Path], Server], repository: Repository) -> Server:
    return serve(repository.served)


@pytest.fixture
def client(tmp_path: Path, repository: Repository, server: Server) -> Iterator[Client]:
    """Not started yet."""
    made = Client(tmp_path, servers=[f"{server.url}/cvmfs"]).trusting(repository.keys)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def mounted(client: Client) -> Path:
    return client.start().mountpoint


def sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def fails_with_eio(file: Path) -> float:
    """Reads a file that cannot be read; gives the seconds that took."""
    started = time.monotonic()
    with pytest.raises(OSError, match="Input/output") as error:
        file.read_bytes()
    assert error.value.errno == errno.EIO
    return time.monotonic() - started


def uncached(file: Path) -> bytes:
    """What the client gives, and not what the kernel kept."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.read(descriptor, 1 << 20)
    finally:
        os.close(descriptor)


# What is mounted


def test_the_mount_is_what_was_published(repository: Repository, mounted: Path) -> None:
    ours = {file.relative_to(repository.tree): file for file in repository.tree.rglob("*")}
    theirs = {file.relative_to(mounted): file for file in mounted.rglob("*")}
    assert set(theirs) == set(ours)
    for name, file in theirs.items():
        status, expected = file.lstat(), ours[name].lstat()
        assert (status.st_mode, int(status.st_mtime)) == (expected.st_mode, int(expected.st_mtime)), name
        assert (status.st_uid, status.st_gid) == (0, 0)
        if stat.S_ISREG(status.st_mode):
            assert (status.st_size, sha256(file)) == (expected.st_size, sha256(ours[name])), name
    assert os.readlink(mounted / "bin/link") == "tool"
    assert subprocess.check_output([mounted / "bin/link"], text=True) == "it runs\n"


def test_it_is_read_only_and_takes_no_privileges(client: Client, mounted: Path) -> None:
    with pytest.raises(OSError, match="Read-only") as error:
        (mounted / "new").touch()
    assert error.value.errno == errno.EROFS
    line = next(line for line in Path("/proc/self/mounts").read_text().splitlines() if str(mounted) in line)
    assert {"ro", "nosuid", "nodev", "allow_other"} <= set(line.split()[3].split(","))
    assert line.startswith(f"swfs:{FQRN} ")
    assert (client.cache.stat().st_mode & 0o777) == 0o700


def test_all_users_read_it_as_far_as_its_permissions_go(mounted: Path) -> None:
    def as_nobody(file: str) -> subprocess.CompletedProcess[str]:
        argv = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "cat", str(mounted / file)]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    assert as_nobody("other").stdout == "other\n"
    assert "Permission denied" in as_nobody("private/secret").stderr


def test_what_it_says_of_itself(repository: Repository, server: Server, client: Client, mounted: Path) -> None:
    text = repository.manifest.read_text("latin-1").partition("\n--\n")[0]  # a signature follows, which may be anything
    manifest = {line[:1]: line[1:] for line in text.splitlines()}
    assert client.attribute("fqrn") == FQRN
    assert client.attribute("revision") == "1"
    assert client.attribute("root_hash") == manifest["C"]
    assert client.attribute("host") == f"{server.url}/cvmfs"
    assert client.attribute("nioerr") == "0"
    assert client.attribute("expires").startswith("20")
    assert sorted(os.listxattr(mounted)) == sorted(
        f"user.{name}" for name in ("expires", "fqrn", "host", "nioerr", "revision", "root_hash")
    )
    assert os.listxattr(mounted / "bin") == []
    checked = client.check().stdout
    assert all(word in checked for word in (FQRN, "revision:     1\n", manifest["C"], client.attribute("expires")))
    assert f"STATUS=revision 1 from {server.url}/cvmfs" in client.status()


# New revisions


def test_a_new_revision_is_followed_and_what_is_open_stays(repository: Repository, client: Client) -> None:
    mounted = client.start().mountpoint
    descriptor = os.open(mounted / "other", os.O_RDONLY)
    assert (mounted / "zero").read_bytes() == b""
    assert not (mounted / "new").exists()
    big = (mounted / "big").open("rb")
    assert sha256(mounted / "deep/nested/er/file") == sha256(repository.tree / "deep/nested/er/file")

    replace(repository.tree / "other", b"longer than it was\n")
    replace(repository.tree / "zero", b"1\n")
    (repository.tree / "new").write_text("new\n")
    (repository.tree / "empty").rmdir()
    shutil.rmtree(repository.tree / "private")
    replace(repository.tree / "big", b"small now\n")
    assert repository.publish().revision == 2

    until((mounted / "new").exists, "the new revision", seconds=POLL_SECONDS + 5, every=0.1)
    started = time.monotonic()
    changed = {name: (repository.tree / name).read_bytes() for name in ("other", "zero", "new", "big")}
    while any((mounted / name).read_bytes() != content for name, content in changed.items()):
        assert time.monotonic() - started < POLL_SECONDS, "the kernel keeps the old revision"
    assert sorted(os.listdir(mounted)) == sorted(os.listdir(repository.tree))
    assert os.pread(descriptor, 100, 0) == b"other\n"
    with big:
        whole = hashlib.file_digest(big, "sha256").hexdigest()
    assert os.fstat(descriptor).st_size == len("other\n")
    os.close(descriptor)
    assert whole != sha256(mounted / "big")
    assert client.attribute("revision") == "2"
    assert "STATUS=revision 2 " in client.status()


def test_who_followed_a_link_goes_on_with_all_that_it_led_to(repository: Repository, client: Client) -> None:
    (repository.tree / ".cvmfscatalog").touch()
    repository.publish("stable-1")
    mounted = client.start().mountpoint
    view = (mounted / "stable").resolve()
    assert (view / "other").read_text() == "other\n"
    for key in ("2", "3"):
        replace(repository.tree / "deep/nested/er/file", key.encode())
        repository.publish(f"stable-{key}")
    until(
        lambda: os.readlink(mounted / "stable") == "stable-3", "the link leads on", seconds=POLL_SECONDS + 5, every=0.1
    )
    assert (mounted / "stable/deep/nested/er/file").read_text() == "3"
    assert view.name == "stable-1"
    assert (view / "deep/nested/er/file").read_text() == "below\n", "which nobody had read before"
    replace(repository.tree / "deep/nested/er/file", b"4")
    repository.publish("stable-4")
    until(lambda: not view.exists(), "the view has gone", seconds=2 * POLL_SECONDS + 5, every=0.1)


# Many readers


READER = "import hashlib, sys; print(hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256').hexdigest())"


@pytest.mark.parametrize("quota_mib", [200, 32])
def test_eight_processes_that_read_the_same_cold_file_get_the_right_bytes(
    repository: Repository, server: Server, client: Client, quota_mib: int
) -> None:
    client.config["quota_mib"] = quota_mib
    argv = [sys.executable, "-c", READER, str(client.start().mountpoint / "big")]
    readers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    expected = sha256(repository.tree / "big")
    assert {reader.communicate()[0].strip() for reader in readers} == {expected}
    if quota_mib > CHUNKED_MIB:
        chunks = [line.split()[6] for line in server.asked("P HTTP")]
        assert len(chunks) == len(set(chunks)) == 8, "each piece is fetched once"


def test_a_download_that_hangs_holds_up_nobody_else(server: Server, client: Client) -> None:
    mounted = client.start().mountpoint
    assert (mounted / "other").read_text() == "other\n"
    with server.silent():
        hanging = [subprocess.Popen(["cat", mounted / "big"], stdout=subprocess.DEVNULL, stderr=-3) for _ in range(12)]
        time.sleep(0.3)
        started = time.monotonic()
        assert uncached(mounted / "other") == b"other\n"
        assert time.monotonic() - started < TIMEOUT_SECONDS
        assert all(process.wait(20) for process in hanging), "what hangs ends with an error"


# What is not to be believed


def altered_text(file: Path, old: bytes, new: bytes) -> None:
    content = file.read_bytes()
    assert content.count(old) >= 1
    replace(file, content.replace(old, new, 1))


def another(compressed: bytes) -> bytes:
    """A whole object of the same size with other content: only its hash is wrong."""
    content = bytearray(zlib.decompress(compressed)) or bytearray(b"x")
    content[-1] ^= 1
    return zlib.compress(content)


def foreign_key(_: Repository, client: Client) -> None:
    client.trusting(make_keys(FQRN))


def edited_manifest(repository: Repository, _: Client) -> None:
    altered_text(repository.manifest, b"\nS1\n", b"\nS9\n")


def edited_whitelist(repository: Repository, _: Client) -> None:
    altered_text(repository.whitelist, b"\nE20", b"\nE21")


def expired_whitelist(repository: Repository, _: Client) -> None:
    repository.expire()


def foreign_certificate(repository: Repository, _: Client) -> None:
    """The master key vouches for somebody else."""
    other = make_keys(FQRN)
    repository.whitelist.unlink()
    strange = type(repository.keys)(repository.keys.master, other.repository, other.certificate)
    publisher.renew_whitelist(repository.store, FQRN, strange)


def another_name(repository: Repository, client: Client) -> None:
    """The server gives one repository for another."""
    repository.store.rename(repository.store.with_name("physics.example.org"))
    client.config["repository"] = "physics.example.org"


def altered_root_catalog(repository: Repository, _: Client) -> None:
    catalogs = [file for name, file in repository.objects().items() if name.endswith("C")]
    for file in catalogs:
        replace(file, another(file.read_bytes()))


def no_repository(repository: Repository, _: Client) -> None:
    repository.store.rename(repository.store.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (foreign_key, "the whitelist is not signed by any of the master keys"),
        (edited_manifest, "the manifest was altered"),
        (edited_whitelist, "the whitelist was altered"),
        (expired_whitelist, "the whitelist expired at "),
        (foreign_certificate, "is not in the whitelist"),
        (another_name, f"that of {FQRN}, not of physics.example.org"),
        (altered_root_catalog, "its bytes do not have the hash that is its name"),
        (no_repository, "does not have it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_believed_is_not_mounted(
    repository: Repository, client: Client, harm: Callable[[Repository, Client], None], reason: str
) -> None:
    assert client.check().returncode == 0
    harm(repository, client)
    refusal = client.refusal()
    assert reason in refusal
    assert all(word in refusal for word in ("where:", "why:", "cure:"))
    if harm is not altered_root_catalog:  # `check` looks at signatures alone
        assert client.check().returncode == 1
        assert reason in client.check().stderr


def test_an_altered_object_gives_an_error_and_never_its_bytes(repository: Repository, client: Client) -> None:
    whole = dict(repository.objects())
    contents = {name: file.read_bytes() for name, file in whole.items() if not name.endswith(("C", "X", "H"))}
    for name, file in whole.items():
        if name in contents:
            replace(file, another(contents[name]))
    mounted = client.start().mountpoint
    for name in ("other", "big", "deep/nested/er/file"):
        fails_with_eio(mounted / name)
    assert int(client.attribute("nioerr")) >= 3
    assert "its bytes do not have the hash that is its name" in client.log.read_text()
    assert client.cached_mib() < 1, "nothing of it is kept"

    for name, content in contents.items():
        replace(whole[name], content)
    until(
        lambda: (mounted / "other").read_text() == "other\n",
        "the whole object is used", seconds=NEGATIVE_SECONDS + 4, through=OSError,
    )  # fmt: skip


def test_a_mounted_revision_stays_when_the_next_cannot_be_believed(repository: Repository, client: Client) -> None:
    mounted = client.start().mountpoint
    old = repository.manifest.read_bytes()
    (repository.tree / "new").write_text("new\n")
    repository.publish()
    good = repository.manifest.read_bytes()

    altered_text(repository.manifest, b"\nS2\n", b"\nS3\n")
    until(lambda: "nothing newer: the manifest was altered" in client.status(), "it is refused", seconds=10)
    assert client.attribute("revision") == "1"
    assert not (mounted / "new").exists()
    assert (mounted / "other").read_text() == "other\n"

    replace(repository.manifest, good)
    until((mounted / "new").exists, "the true one is mounted", seconds=10)
    replace(repository.manifest, old)
    until(lambda: "revision 1 is older than 2" in client.status(), "the replay is refused", seconds=10)
    assert client.attribute("revision") == "2"
    assert client.stop() == 0
    client.start()
    assert client.attribute("revision") == "2", "a restart does not make it forget"


def test_a_whitelist_that_expires_stops_new_revisions_and_not_the_mount(repository: Repository, client: Client) -> None:
    mounted = client.start().mountpoint
    (repository.tree / "new").write_text("new\n")
    repository.publish()
    good = repository.whitelist.read_bytes()
    repository.manifest.rename(repository.folder / "manifest")
    repository.expire()
    (repository.folder / "manifest").rename(repository.manifest)
    # It may have seen the new revision between the two; what is to be shown is that it goes on.
    until(lambda: "the whitelist expired at" in client.status() or (mounted / "new").exists(), "a look", seconds=10)
    assert (mounted / "other").read_text() == "other\n"
    replace(repository.whitelist, good)
    until((mounted / "new").exists, "the new whitelist is used", seconds=10)


# The cache


def test_the_quota_is_kept(repository: Repository, client: Client) -> None:
    client.config["quota_mib"] = 32
    mounted = client.start().mountpoint
    most = 0.0
    for _ in range(2):
        with (mounted / "big").open("rb") as opened:
            digest = hashlib.sha256()
            while block := opened.read(1 << 20):
                digest.update(block)
                most = max(most, client.cached_mib())
        assert digest.hexdigest() == sha256(repository.tree / "big")
        os.posix_fadvise(os.open(mounted / "big", os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    assert 16 < most <= 32
    assert (mounted / "other").read_text() == "other\n"


def test_the_cache_survives_a_restart_and_what_was_damaged_in_it_is_never_given(
    repository: Repository, server: Server, client: Client
) -> None:
    expected = sha256(repository.tree / "big")
    assert sha256(client.start().mountpoint / "big") == expected
    asked = len(server.asked("/data/"))
    assert client.stop() == 0
    assert client.mounts() == 0

    assert sha256(client.start().mountpoint / "big") == expected
    assert len([line for line in server.asked("/data/")[asked:] if "X HTTP" not in line]) == 0
    client.stop()

    pieces = sorted((file for file in client.cache.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    with pieces[-1].open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with pieces[-2].open("r+b") as file:
        file.truncate(1000)
    pieces[-3].unlink()
    assert sha256(client.start().mountpoint / "big") == expected
    assert "was damaged or removed; it is fetched again" in client.log.read_text()


def test_a_file_that_is_damaged_while_it_is_open_is_never_given(client: Client) -> None:
    with (client.start().mountpoint / "other").open("rb", buffering=0) as opened:
        assert opened.read() == b"other\n"
        kept = next(file for file in client.cache.rglob("*-*") if file.read_bytes() == b"other\n")
        time.sleep(0.05)  # the file's time must be another one
        kept.write_bytes(b"OTHER\n")
        assert uncached(client.mountpoint / "other") == b"other\n"
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        opened.seek(0)
        assert opened.read() == b"other\n"
    assert "was damaged or removed" in client.log.read_text()


def test_a_full_disk_is_an_error_that_passes(repository: Repository, client: Client) -> None:
    client.cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", client.cache], check=True)
    try:
        mounted = client.start().mountpoint
        fails_with_eio(mounted / "big")
        assert "No space left on device" in client.log.read_text()
        for file in (client.cache / "objects").rglob("*-*"):
            if file.stat().st_size > 1 << 20:
                file.unlink()
        time.sleep(NEGATIVE_SECONDS)
        assert (mounted / "other").read_text() == "other\n"
        with (mounted / "big").open("rb") as opened:
            opened.seek(-1000, os.SEEK_END)
            assert opened.read() == (repository.tree / "big").read_bytes()[-1000:]
        assert client.stop() == 0
    finally:
        client.remove_process()
        subprocess.run(["umount", "--lazy", client.cache], check=True)


# Servers and proxies that fail


def test_the_second_server_is_used_when_the_first_is_dead(
    serve: Callable[[Path], Server], repository: Repository, client: Client
) -> None:
    first, second = serve(repository.served), serve(repository.served)
    client.config["servers"] = [f"{first.url}/cvmfs", f"{second.url}/cvmfs"]
    first.die()
    mounted = client.start().mountpoint
    assert client.attribute("host") == f"{second.url}/cvmfs"
    assert (mounted / "other").read_text() == "other\n"
    first.start()
    second.die()
    assert (mounted / "deep/nested/er/file").read_text() == "below\n"
    until(lambda: client.attribute("host") == f"{first.url}/cvmfs", "the first is used again", seconds=20)


def test_the_second_proxy_is_used_when_the_first_is_dead(
    serve: Callable[[Path], Server], repository: Repository, client: Client, tmp_path: Path
) -> None:
    """A request to a forward proxy names the whole URL, which a web server takes for a path."""
    proxied = tmp_path / "proxied"
    (proxied / "http:").mkdir(parents=True)
    (proxied / "http:/stratum.invalid").symlink_to(repository.served)
    dead, proxy = serve(proxied), serve(proxied)
    dead.die()
    client.config |= {"servers": ["http://stratum.invalid/cvmfs"], "proxies": [dead.url, proxy.url]}
    assert (client.start().mountpoint / "other").read_text() == "other\n"
    assert proxy.asked("GET http://stratum.invalid/cvmfs")


@pytest.mark.parametrize("silent", [False, True], ids=["dead", "silent"])
def test_without_a_server_what_is_cached_goes_on_and_the_rest_fails_soon(
    server: Server, client: Client, silent: bool
) -> None:
    mounted = client.start().mountpoint
    (mounted / "other").read_bytes()
    os.listdir(mounted / "deep/nested")
    with contextlib.ExitStack() as stack:
        if silent:
            stack.enter_context(server.silent())
        else:
            server.die()
            stack.callback(server.start)
        assert fails_with_eio(mounted / "big") < 3 * TIMEOUT_SECONDS
        assert fails_with_eio(mounted / "big") < TIMEOUT_SECONDS, "what failed a moment ago is not tried again"
        assert uncached(mounted / "other") == b"other\n"
        assert (mounted / "deep/nested").is_dir()
        until(lambda: "nothing newer" in client.status(), "it is said", seconds=10)
    until(lambda: (mounted / "big").open("rb").read(10), "it recovers by itself", seconds=30, through=OSError)
    until(lambda: client.status().rpartition("STATUS=")[2].count("nothing newer") == 0, "it is said", seconds=30)


def test_without_a_server_it_starts_with_what_was_mounted_before(server: Server, client: Client) -> None:
    mounted = client.start().mountpoint
    (mounted / "other").read_bytes()
    client.stop()
    server.die()
    client.start()
    assert (mounted / "other").read_text() == "other\n"
    assert client.attribute("revision") == "1"
    client.stop()
    shutil.rmtree(client.cache / "accepted")
    assert "no server has the repository" in client.refusal()


# The end


def test_a_busy_mount_is_taken_away_lazily(client: Client) -> None:
    mounted = client.start().mountpoint
    with (mounted / "big").open("rb"):
        assert client.stop() == 0
        assert client.mounts() == 0
    assert "unmounted lazily" in client.log.read_text()


def test_it_ends_though_another_namespace_has_a_copy_of_its_mount(client: Client) -> None:
    """As every container that starts meanwhile has."""
    client.start()
    other = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "60"])
    try:
        space = Path(f"/proc/{other.pid}/ns/mnt")
        until(lambda: space.readlink() != Path("/proc/self/ns/mnt").readlink(), "it has a namespace", seconds=10)
        assert client.stop() == 0
        assert client.mounts() == 0
    finally:
        other.kill()
        other.wait()


def test_who_unmounts_ends_it(client: Client) -> None:
    subprocess.run(["umount", client.start().mountpoint], check=True)
    assert client.process
    assert client.process.wait(10) == 0


def test_the_next_start_cleans_up_after_a_killed_one(client: Client) -> None:
    mounted = client.start().mountpoint
    assert client.stop(signal.SIGKILL) == -signal.SIGKILL
    with pytest.raises(OSError, match="not connected"):
        os.listdir(mounted)
    client.start()
    assert client.mounts() == 1
    assert (mounted / "other").read_text() == "other\n"


def test_a_second_client_is_refused(tmp_path: Path, client: Client) -> None:
    mounted = client.start().mountpoint
    config = str(client.write_config())
    assert "another swfs uses it" in client.run("mount", config, str(mounted)).stderr
    client.config["cache"] = str(tmp_path / "cache-2")
    assert "swfs is mounted there already" in client.run("mount", str(client.write_config()), str(mounted)).stderr


# How it is made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(shutil.copytree(cargo.PACKAGES / "swfs", tmp_path / "swfs"))


def test_its_modules_pass_their_own_tests(source: Path, tmp_path: Path) -> None:
    cargo.restore(source, Runner("swfs", tmp_path / "log", Progress()))
    # Cargo knows by content what it has compiled already, here in an earlier run; debugging information takes longer.
    env = cargo.environment(cache.root() / "tests" / "swfs") | {"CARGO_PROFILE_TEST_DEBUG": "0"}
    argv = [cargo.command(), "test", "--quiet", "--locked"]
    done = subprocess.run(argv, cwd=source, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 28


@pytest.mark.parametrize("missing", [False, True], ids=["other bytes", "a crate too few"])
def test_crates_that_are_not_the_locked_ones_are_refused(source: Path, tmp_path: Path, missing: bool) -> None:
    lock = source / cargo.LOCK
    first, *others = lock.read_text().splitlines(keepends=True)
    name, version, checksum = first.split()
    lock.write_text("".join(["" if missing else f"{name} {version} {'0' * len(checksum)}\n", *others]))
    with pytest.raises(BuildFailed) as failure:
        cargo.restore(source, Runner("swfs", tmp_path / "log", Progress()))
    assert name in str(failure.value)


# How it is called


def test_a_wrong_call_and_a_wrong_configuration_say_what_is_right(client: Client) -> None:
    wrong = client.run("mount")
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (2, "usage: swfs mount CONFIG.json MOUNTPOINT")
    client.config["quota_gb"] = 4
    assert "unknown field `quota_gb`" in client.refusal()
    del client.config["quota_gb"]
    client.config["public_keys"] = ["/nonexistent.pub"]
    refusal = client.refusal()
    assert "/nonexistent.pub" in refusal
    assert "cure:" in refusal
