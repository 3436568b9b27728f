"""What the tests of the client have: repositories that are really published, web servers, and the client itself."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.progress import Progress
from software.keys import Keys, make_keys
from software.publisher import Published, publish, renew_whitelist
from tests.live.waiting import until
from tests.machines.halting import halted
from tests.machines.mount_client import MountClient

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

    def silent(self) -> AbstractContextManager[None]:
        """It takes connections, and says nothing."""
        return halted(self.process)

    def asked(self, word: str = "") -> list[str]:
        """The requests so far that contain a word."""
        return [line for line in self.log.read_text().splitlines() if '"GET ' in line and word in line]


class Client(MountClient):
    """swfs."""

    program, command = "swfs", ("mount",)
    start_seconds, stop_seconds = 30, 20

    def __init__(self, folder: Path, **config: Any) -> None:
        self.cache = folder / "cache"
        usual = {
            "repository": FQRN, "proxies": ["DIRECT"], "cache": str(self.cache), "quota_mib": 200,
            "poll_seconds": POLL_SECONDS, "timeout_seconds": TIMEOUT_SECONDS,
        }  # fmt: skip
        super().__init__(folder, usual | config)

    def trusting(self, keys: Keys) -> Client:
        """With this master key."""
        file = self.folder / "master.pub"
        file.write_text(keys.master_public)
        self.config["public_keys"] = [str(file)]
        return self

    def check(self) -> subprocess.CompletedProcess[str]:
        return self.run("check", str(self.write_config()))

    def attribute(self, name: str) -> str:
        return os.getxattr(self.mountpoint, f"user.{name}").decode()

    def cached_mib(self) -> float:
        files = (file for file in self.cache.rglob("*") if file.is_file())
        return sum(file.stat().st_size for file in files) / 2**20
