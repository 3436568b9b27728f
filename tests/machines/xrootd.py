"""What the tests of xrdmount have: a real XRootD server that can fail, the client itself, and users who use it."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import tempfile
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from components.eos import home
from tests.live.waiting import until
from tests.machines.halting import halted
from tests.machines.mount_client import MountClient

T = TypeVar("T")

ADA, ADAM, BOB, CAROL, STRANGER = 100001, 100002, 100003, 100004, 100005
USERS = {"ada": ADA, "adam": ADAM, "bob": BOB, "carol": CAROL}
XROOTD = 1094  # the server refuses to run as root
TIMEOUT_SECONDS = 3


def as_user(uid: int, work: Callable[[], T]) -> T:
    """Does `work` in a process of this user; gives its result, or raises what it raised."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(100)
            os.setuid(uid)
            os.umask(0o022)
            try:
                answer: tuple[bool, Any] = (True, work())
            except BaseException as error:
                traceback.clear_frames(error.__traceback__)
                answer = (False, error)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(pickle.dumps(answer))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    good, result = pickle.loads(told)  # noqa: S301 - our own child wrote it
    if not good:
        raise result
    return result  # type: ignore[no-any-return]  # it is what `work` gave


def shell(uid: int, folder: Path, script: str) -> str:
    """What a shell script of a user prints in this folder, which is his home."""
    environment = {"HOME": str(folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-euc", script], cwd="/", user=uid, group=100, extra_groups=[], check=False,
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class XRootD:
    """Debian's XRootD server on a port of its own, with homes, keys and an access list."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cygnet-xrd-"))
        self.folder.chmod(0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        for name in USERS:
            self.at(home(name)).mkdir(parents=True)
        self.at("/eos/data").mkdir()
        (self.folder / "run").mkdir()
        self.keytab = self.folder / "server.keytab"
        self.make_key(self.keytab)
        self.write_access()
        (self.folder / "xrootd.cfg").write_text(f"""
            all.export /eos nolock r/w mwfiles
            oss.localroot {self.folder}/srv
            xrd.port {self.port}
            xrd.network nodnr
            all.adminpath {self.folder}/run
            all.pidpath {self.folder}/run
            xrootd.seclib libXrdSec.so
            sec.protocol sss -s {self.keytab} -c /nonexistent
            sec.protbind * only sss
            ofs.authorize 1
            acc.authdb {self.folder}/authdb
            xrootd.trace fs
            xrootd.async off
        """)
        for file in self.folder.rglob("*"):
            os.chown(file, XROOTD, XROOTD)
        os.chown(self.folder, XROOTD, XROOTD)
        self.process: subprocess.Popen[bytes] | None = None

    def at(self, path: str) -> Path:
        """Where a path of the server lies on its disk."""
        return self.folder / f"srv{path}"

    def make_key(self, file: Path) -> None:
        """A key for any user; who runs xrdmount has a copy."""
        argv = ["xrdsssadmin", "-k", "cygnet", "-u", "anybody", "-g", "anygroup", "add", str(file)]
        subprocess.run(argv, input="y\n", text=True, check=True, capture_output=True)

    def take(self, key: Path) -> None:
        """From its next start on it has this key and no other, and tells clients this file."""
        shutil.copyfile(key, self.keytab)
        file = self.folder / "xrootd.cfg"
        file.write_text(re.sub(r"(sec\.protocol sss .* -c ).*", rf"\g<1>{key}", file.read_text()))

    def write_access(self) -> None:
        letters = " ".join(f"/eos/user/{letter}/ -k" for letter in sorted({name[0] for name in USERS}))
        lines = [f"u * {letters} /eos/user l /eos/data lr /eos lr"]
        lines += [f"u {name} {home(name)}/ a" for name in USERS]
        (self.folder / "authdb").write_text("\n".join(lines) + "\n")

    def start(self) -> XRootD:
        argv = ["xrootd", "-I", "v4", "-c", str(self.folder / "xrootd.cfg"), "-n", "test", "-l", str(self.log)]
        self.process = subprocess.Popen(
            argv, user=XROOTD, group=XROOTD, extra_groups=[], cwd=self.folder, umask=0o022,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._answers, "the server answers", seconds=60, every=0.05, through=OSError)
        return self

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.told()
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def told(self) -> str:
        """All that it logged so far."""
        return "".join(file.read_text(errors="replace") for file in self.folder.rglob("log") if file.is_file())

    def die(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def silent(self) -> AbstractContextManager[None]:
        """It takes connections, and says nothing."""
        return halted(self.process)

    def remove(self) -> None:
        self.die()
        shutil.rmtree(self.folder)


class Client(MountClient):
    """xrdmount."""

    program = "xrdmount"
    start_seconds, stop_seconds = 60, 30

    def __init__(self, server: XRootD, folder: Path) -> None:
        self.keytab = folder / "sss.keytab"
        config = {
            "server": f"root://127.0.0.1:{server.port}", "export": "/eos", "keytab": str(self.keytab),
            "users": str(folder / "users.json"), "timeout_seconds": TIMEOUT_SECONDS,
        }  # fmt: skip
        super().__init__(folder, config)
        shutil.copy(server.keytab, self.keytab)
        self.keytab.chmod(0o600)
        self.users: dict[str, dict[str, Any]] = {
            name: {"uid": uid, "home": home(name)} for name, uid in USERS.items()
        } | {"machine": {"uid": 0}}
        self.write_users()

    def write_users(self) -> None:
        """As Ansible does: the new file takes the old one's place."""
        new = self.folder / "users.new"
        new.write_text(json.dumps(self.users))
        new.rename(self.folder / "users.json")

    def home(self, name: str) -> Path:
        return self.mountpoint / home(name).removeprefix("/eos/")
