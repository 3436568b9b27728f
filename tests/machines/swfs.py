"""What the tests of the client have: repositories that are really published, web servers, and the client itself."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine import tools
from engine.progress import Progress
from software.keys import Keys, make_keys
from software.publisher import Published, publish, renew_whitelist
from tests.live.waiting import until

FQRN = "software.example.org"
POLL_SECONDS = 2
TIMEOUT_SECONDS = 2
# How long an object that could not be had is not asked for again, and how long a server rests at first.
NEGATIVE_SECONDS = 4


@dataclass
class Repository:
    """A tree, and the store that it is published into."""

    folder: Path
    keys: Keys = field(default_factory=lambda: make_keys(FQRN))

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def served(self) -> Path:
        """What a web server has as its root."""
        return self.folder / "served"

    @property
    def store(self) -> Path:
        return self.served / "cvmfs" / FQRN

    @property
    def manifest(self) -> Path:
        return self.store / ".cvmfspublished"

    @property
    def whitelist(self) -> Path:
        return self.store / ".cvmfswhitelist"

    def publish(self, *views: str) -> Published:
        """The tree, or views `NAME-KEY` of it, which `NAME` leads to; with notes of its own, not the user's."""
        trees = dict.fromkeys(views, self.tree) or {"": self.tree}
        links = {view.partition("-")[0]: view for view in views}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(self.folder / "notes"))
            return publish(trees, self.store, FQRN, self.keys, Progress(io.StringIO()), links=links)

    def expire(self) -> None:
        """Signs a whitelist that ended yesterday."""
        self.whitelist.unlink()
        renew_whitelist(self.store, FQRN, self.keys, days=-1)

    def copy(self, folder: Path) -> Repository:
        """Another one with the same content and keys; objects are shared, so they must be replaced and not written."""
        shutil.copytree(self.tree, folder / "tree", symlinks=True, copy_function=os.link)
        shutil.copytree(self.served, folder / "served", copy_function=os.link)
        return Repository(folder, self.keys)

    def objects(self) -> dict[str, Path]:
        """All objects by their place in the store."""
        return {str(file.relative_to(self.store)): file for file in self.store.glob("data/??/*")}


def replace(file: Path, content: bytes) -> None:
    """Gives a file other content, and leaves those alone that share the old one."""
    file.unlink()
    file.write_bytes(content)


class Server:
    """A web server in a process of its own, which can die, come back, and fall silent."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root, self.log = root, log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        argv = [sys.executable, "-m", "http.server", str(self.port), "--bind", "127.0.0.1", "--protocol", "HTTP/1.1"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(argv, cwd=self.root, stdout=log, stderr=log)
        until(self._answers, "the web server answers", seconds=20, every=0.05, through=OSError)

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    def die(self) -> None:
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """It takes connections, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def asked(self, word: str = "") -> list[str]:
        """The requests so far that contain a word."""
        return [line for line in self.log.read_text().splitlines() if '"GET ' in line and word in line]


class Client:
    """swfs, in a process of its own, as systemd would run it."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder, self.cache, self.log = folder, folder / "cache", folder / "swfs.log"
        self.mountpoint = Path(tempfile.mkdtemp(prefix="cygnet-swfs-"))
        self.mountpoint.chmod(0o755)
        self.config = {
            "repository": FQRN, "proxies": ["DIRECT"], "cache": str(self.cache), "quota_mib": 200,
            "poll_seconds": POLL_SECONDS, "timeout_seconds": TIMEOUT_SECONDS, **config,
        }  # fmt: skip
        self.told: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def trusting(self, keys: Keys) -> Client:
        """With this master key."""
        file = self.folder / "master.pub"
        file.write_text(keys.master_public)
        self.config["public_keys"] = [str(file)]
        return self

    def write_config(self) -> Path:
        file = self.folder / "config.json"
        file.write_text(json.dumps(self.config))
        return file

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        argv = [str(tools.path("swfs")), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    def check(self) -> subprocess.CompletedProcess[str]:
        return self.run("check", str(self.write_config()))

    def refusal(self) -> str:
        """Why it does not mount. It has to end by itself, and leave nothing mounted."""
        done = self.run("mount", str(self.write_config()), str(self.mountpoint))
        assert done.returncode == 1, done.stderr
        assert self.mounts() == 0
        return done.stderr

    def start(self) -> Client:
        """Mounts, and waits until it says that it did."""
        place = self.folder / "notify"
        place.unlink(missing_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(place))
        self.notify.setblocking(False)
        argv = [str(tools.path("swfs")), "mount", str(self.write_config()), str(self.mountpoint)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(argv, stderr=log, env=os.environ | {"NOTIFY_SOCKET": str(place)})
        self.told.clear()
        ended = self.process.poll
        until(lambda: "READY=1" in self.status() or ended() is not None, "it mounts", seconds=30, every=0.02)
        assert ended() is None, self.log.read_text()
        return self

    def status(self) -> str:
        """All that it told systemd so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.told.append(self.notify.recv(4096).decode())
        return "\n".join(self.told)

    def mounts(self) -> int:
        """How many mounts there are at the mount point."""
        return Path("/proc/self/mounts").read_text().split().count(str(self.mountpoint))

    def attribute(self, name: str) -> str:
        return os.getxattr(self.mountpoint, f"user.{name}").decode()

    def cached_mib(self) -> float:
        files = (file for file in self.cache.rglob("*") if file.is_file())
        return sum(file.stat().st_size for file in files) / 2**20

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it by a signal; gives its exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(20)

    def remove_process(self) -> None:
        """Ends it, if it runs."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def remove(self) -> None:
        """Leaves nothing, whatever happened."""
        self.remove_process()
        if hasattr(self, "notify"):
            self.notify.close()
        while self.mounts():
            subprocess.run(["umount", "--lazy", self.mountpoint], check=True)
        self.mountpoint.rmdir()
