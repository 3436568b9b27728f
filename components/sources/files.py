"""Files that a kill at any moment leaves either old or new; locks, and folders, that end with their process."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write(file: Path, content: str, mode: int = 0o644) -> None:
    """Replaces a file in one step."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 600 from the first byte on
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as new:
            os.fchmod(new.fileno(), mode)
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def locked(file: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds a lock that ends with this process at the latest; `waiting` is called when another one holds it."""
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # another one removed the folder just now
            continue
        with open(descriptor, "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            # The one before us may have removed the file together with its folder: then what we hold is nobody's.
            if os.fstat(lock.fileno()).st_nlink:
                yield
                return


@contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """A folder that only we can read, removed at the end; those of dead processes are removed as well.

    Args:
        prefix: With what the names of all folders of this kind begin.
    """
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{prefix}*"):
        owner = re.match(rf"{prefix}(\d+)-", left.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
