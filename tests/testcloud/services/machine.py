"""A server of the cloud as a machine on this host: systemd-nspawn under the supervisor that local machines have, too.

<folder>/upper, work, root            what it wrote itself, over the image; kernel's work; where both are mounted, or
                                      the volume that it boots from, in place of all the others
<folder>/containerd, kubelet, etcd    what must not be on an overlay, because the kernel refuses two of them
<folder>/boot.json                    what the supervisor does
<folder>/console.log                  what it said on its console
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.testcloud import names

SUPERVISOR: Final = names.PROJECT / "components/local_machines/supervisor.py"
_CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
_INSIDE: Final = "machine"
_POWER_OFF: Final = signal.SIGRTMIN + 4  # systemd's signal for it
_OWN_FOLDERS: Final = ("containerd", "kubelet", "etcd")
_DEVICES: Final = ("/dev/kmsg", "/dev/fuse", "/dev/loop-control", *(f"/dev/loop{number}" for number in range(8)))


@dataclass(frozen=True)
class Machine:
    """One server's machine."""

    uuid: str
    folder: Path

    @property
    def name(self) -> str:
        """Of its network namespace and control groups."""
        return names.server(self.uuid)

    @property
    def root(self) -> Path:
        """Where its files are, for itself."""
        return self.folder / "root"

    def has_volume(self) -> bool:
        """Whether it boots from a volume; what is over an image is mounted for its supervisor alone."""
        return os.path.ismount(self.root)

    def start(self, image: str, memory_mb: int, shared: Path) -> None:
        """Starts the machine, unless it runs.

        Args:
            image: The folder below its own files, if it boots from no volume.
            memory_mb: What it may use.
            shared: The folder that it has in common with the other servers of its project.
        """
        if self.running():
            return
        for folder in (shared, *(self.folder / name for name in ("upper", "work", "root", *_OWN_FOLDERS))):
            folder.mkdir(parents=True, exist_ok=True)
        boot = {
            "cgroups": [str(top / _INSIDE) for top in self._prepare_control_groups(memory_mb)],
            "overlay": f"lowerdir={image},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}",
            "command": self._command(shared),
            "network": self.name,
            "running": None,
        }
        (self.folder / "boot.json").write_text(json.dumps(boot))
        with (self.folder / "console.log").open("ab") as console:
            subprocess.Popen(
                ["unshare", "--mount", "--propagation", "slave",
                 sys.executable, "-I", "-S", str(SUPERVISOR), str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd="/", start_new_session=True,
            )  # fmt: skip

    def running(self) -> bool:
        """Whether its supervisor is there, which ends with it."""
        return self._supervisor() is not None

    def power_off(self, seconds: float) -> None:
        """Asks it to end, and kills what is left of it after some seconds."""
        deadline = time.monotonic() + seconds
        while self.running() and time.monotonic() < deadline:
            if first := self.first_process():
                with suppress(ProcessLookupError):
                    os.kill(first, _POWER_OFF)
            time.sleep(0.5)
        while (supervisor := self._supervisor()) or self._processes():
            # The supervisor first, or it would take the end for a reboot.
            for pid in [supervisor] if supervisor else self._processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def remove(self) -> None:
        """Ends it, and removes its control groups."""
        self.power_off(0)
        while tops := [top for top in self._tops() if top.is_dir()]:
            for top in tops:
                for folder, _folders, _files in os.walk(top, topdown=False):
                    with suppress(OSError):  # busy for a moment after its last process
                        os.rmdir(folder)
            time.sleep(0.02)

    def first_process(self) -> int | None:
        """Its process 1, by the host's number."""
        for pid in self._processes():
            with suppress(OSError, StopIteration):
                status = Path(f"/proc/{pid}/status").read_text().splitlines()
                numbers = next(line.split()[1:] for line in status if line.startswith("NSpid:"))
                if len(numbers) == 2 and numbers[1] == "1":
                    return pid
        return None

    def _supervisor(self) -> int | None:
        wanted = f"{SUPERVISOR}\0{self.folder}\0".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "cmdline").read_bytes().endswith(wanted):
                    return int(entry.name)
        return None

    def _command(self, shared: Path) -> list[str]:
        own = () if self.has_volume() else _OWN_FOLDERS
        binds = {str(self.folder / name): f"/var/lib/{name}" for name in own}
        binds[str(shared)] = names.SHARED_INSIDE
        binds |= {device: device for device in _DEVICES if Path(device).exists()}
        return [
            # Not nspawn's own option: /sys would show the host's interfaces, and cloud-init not find its own.
            "nsenter", f"--net=/run/netns/{self.name}",
            "systemd-nspawn", "--quiet", "--boot", f"--machine={self.name}", f"--uuid={self.uuid}",
            f"--directory={self.root}", "--register=no", "--keep-unit", "--capability=all",
            "--system-call-filter=@known", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            "--console=pipe", *(f"--bind={source}:{target}" for source, target in binds.items()),
        ]  # fmt: skip

    def _tops(self) -> list[Path]:
        """Its control groups: one in each tree of the first version, and one in the second's; there or not."""
        if (_CONTROL_GROUPS / "cgroup.procs").exists():
            return [_CONTROL_GROUPS / self.name]
        return [file.parent / self.name for file in sorted(_CONTROL_GROUPS.glob("*/cgroup.procs"))]

    def _prepare_control_groups(self, memory_mb: int) -> Iterator[Path]:
        for top in self._tops():
            top.mkdir(exist_ok=True)
            if (top / "cpuset.cpus").exists() and (top / "cgroup.clone_children").exists():
                # A new cpuset of the first version is empty and takes no process.
                (top / "cgroup.clone_children").write_text("1")
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (top / name).write_text((top.parent / name).read_text())
            for name in ("memory.max", "memory.limit_in_bytes"):
                if (top / name).exists():
                    (top / name).write_text(str(memory_mb << 20))
            yield top

    def _processes(self) -> list[int]:
        found: set[int] = set()
        for top in self._tops():
            for file in top.rglob("cgroup.procs"):
                with suppress(OSError):
                    found.update(map(int, file.read_text().split()))
        return sorted(found)
