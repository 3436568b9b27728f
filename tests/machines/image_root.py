"""A program of one of our images on this computer, as its pod has it: its own files, read-only, and another user."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import images.build
from engine import cache
from images import catalogue

USER = 1000

# Mounts are of this process alone, and gone with it.
_RUN = """\
set -eu
root=$1 data=$2 inside=$3
shift 3
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
    shift 2
done
shift
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount --bind "$data" "$root$inside"
mount -o remount,bind,ro "$root"
exec /usr/sbin/chroot --userspec=1000:1000 "$root" "$@"
"""


def root(name: str) -> Path:
    """The files of an image, unpacked once for each of its contents."""
    folder = cache.root() / "tests" / f"{name}-{catalogue.fingerprint(name)}"
    if not folder.is_dir():
        layout = images.build.ensure(name)
        new = folder.with_name(f".{folder.name}.{os.getpid()}")
        new.mkdir(parents=True)
        for layer in _layers(layout):
            subprocess.run(["tar", "--zstd", "-xf", str(layer), "-C", str(new), "--exclude=dev/*"], check=True)
        for old in folder.parent.glob(f"{name}-*"):
            shutil.rmtree(old)
        new.rename(folder)
    return folder


def _layers(layout: Path) -> list[Path]:
    def blob(description: Mapping[str, str]) -> Path:
        return layout / "blobs" / description["digest"].replace(":", "/")

    (first,) = json.loads((layout / "index.json").read_text())["manifests"]
    return [blob(layer) for layer in json.loads(blob(first).read_text())["layers"]]


@contextmanager
def running(
    name: str,
    argv: Sequence[str],
    *,
    data: Path,
    inside: str,
    log: Path,
    environment: Mapping[str, str],
    beside: Mapping[Path, str] | None = None,
    knows_itself: bool = False,
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program of the image `name`, while the block runs.

    Args:
        name: Of the image.
        argv: The program.
        data: The folder in which it may write, which it has at `inside`.
        inside: There.
        log: Where what it says goes.
        environment: All of its variables.
        beside: Folders that it may read, and where it has them.
        knows_itself: Whether it finds an address by its own name, as in a pod: some programs ask for it.
    """
    data.mkdir(exist_ok=True)
    os.chown(data, USER, USER)
    # As in a pod, whatever started the tests: `nohup` would have all programs outlive their terminals.
    hears = ["env", "--default-signal=HUP"]
    isolated = ["unshare", "--mount", "--pid", "--fork", "--propagation=private"]
    if knows_itself:
        isolated += ["--uts", "sh", "-c", 'hostname localhost; exec "$@"', "sh"]
    mounts = [str(path) for pair in (beside or {}).items() for path in pair]
    command = [*hears, *isolated, "sh", "-c", _RUN, "sh", str(root(name)), str(data), inside, *mounts, "--", *argv]
    with (
        log.open("a") as output,
        subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output) as process,
    ):
        try:
            yield process
        finally:
            # All of a namespace of processes ends with its first one; unshare itself waits for that, whatever it hears.
            if process.poll() is None:
                for first in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(first), signal.SIGKILL)
