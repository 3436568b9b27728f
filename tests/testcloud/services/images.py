"""Images as folders: what servers have below their own files, and what volumes that servers boot from are filled with.

Both Nova's and Cinder's driver ask, which are processes of their own.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.testcloud.services import commands


def unpacked(checksum: str, download: Callable[[Path], object]) -> Path:
    """The folder of an image, unpacked once, and kept beside the cloud's other pieces.

    Args:
        checksum: Of the image, as Glance tells it.
        download: Writes the image, which must be a tar archive, into a file.
    """
    folder = Path(os.environ["TESTCLOUD_ROOTS"]) / f"root-{checksum}"
    with folder.with_name(".unpacking").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            workshop = folder.with_name(".making-root")
            shutil.rmtree(workshop, ignore_errors=True)
            workshop.mkdir(parents=True)
            archive = workshop.with_suffix(".tar")
            download(archive)
            commands.run("tar", "--extract", f"--file={archive}", f"--directory={workshop}", "--numeric-owner")
            archive.unlink()
            workshop.rename(folder)
    return folder
