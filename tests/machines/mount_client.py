"""A program that mounts something, in a process of its own, as systemd would run it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self

from engine import tools
from tests.live.waiting import until


class MountClient:
    """One client, with its settings and mount point. Each kind says what its program is, and how long that may take."""

    program: ClassVar[str]
    command: ClassVar[tuple[str, ...]] = ()
    """What stands before settings and mount point."""
    start_seconds: ClassVar[float]
    stop_seconds: ClassVar[float]

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.config = folder, config
        self.log = folder / f"{self.program}.log"
        self.mountpoint = Path(tempfile.mkdtemp(prefix=f"cygnet-{self.program}-"))
        self.mountpoint.chmod(0o755)
        self.process: subprocess.Popen[bytes] | None = None
        self.notified: list[str] = []

    def write_config(self) -> Path:
        file = self.folder / "config.json"
        file.write_text(json.dumps(self.config))
        return file

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs it to its end."""
        argv = [str(tools.path(self.program)), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    def refusal(self) -> str:
        """Why it does not mount. It has to end by itself, and leave nothing mounted."""
        done = self.run(*self._arguments())
        assert done.returncode == 1, done.stderr
        assert self.mounts() == 0
        return done.stderr

    def start(self) -> Self:
        """Mounts, and waits until it says that it did."""
        place = self.folder / "notify"
        place.unlink(missing_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(place))
        self.notify.setblocking(False)
        argv = [str(tools.path(self.program)), *self._arguments()]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(argv, stderr=log, env=os.environ | {"NOTIFY_SOCKET": str(place)})
        self.notified.clear()
        ended = self.process.poll
        until(
            lambda: "READY=1" in self.status() or ended() is not None,
            "it mounts",
            seconds=self.start_seconds,
            every=0.02,
        )
        assert ended() is None, self.log.read_text()
        return self

    def status(self) -> str:
        """All that it told systemd so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.notified.append(self.notify.recv(4096).decode())
        return "\n".join(self.notified)

    def mounts(self) -> int:
        """How many mounts there are at the mount point."""
        return Path("/proc/self/mounts").read_text().split().count(str(self.mountpoint))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it by a signal; gives its exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(self.stop_seconds)

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

    def _arguments(self) -> list[str]:
        return [*self.command, str(self.write_config()), str(self.mountpoint)]
