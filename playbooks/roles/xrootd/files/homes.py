#!/usr/bin/python3
"""cygnet-homes TABLE: makes the homes and data folders of a table, sets quotas, and tells each home its numbers.

    table                 {"folder": "/srv/eos", "owner": 1094, "home_bytes": 5368709120, "homes": ["ada"], "data": []}
    FOLDER/user/a/ada     a subvolume with a limit of `home_bytes`, of the owner; the folders above it are root's
    FOLDER/NAME           a folder of the owner, for data
    FOLDER/.quota/ada/bytes   "LIMIT USED", in bytes, for those who show it; written when it changed

Says what it changed, and nothing when there is nothing to do. It removes nothing, ever. Ends with status 1 and the cure
when a home cannot have a quota.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUBVOLUME = 256  # the number of the top folder of each


def btrfs(*arguments: str) -> str:
    """What btrfs prints; ends the program with what it complains of."""
    done = subprocess.run(["btrfs", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"btrfs {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def limits(shown: str) -> dict[str, tuple[int, int]]:
    """Limit (0: none) and use of each subvolume, by its path in the file system.

    Args:
        shown: What `btrfs qgroup show -r --raw` prints.

    >>> limits("0/257   16384   16384   10485760   user/a/ada")
    {'user/a/ada': (10485760, 16384)}
    """
    found = {}
    for line in shown.splitlines():
        words = line.split(maxsplit=4)
        if len(words) == 5 and words[0].startswith("0/") and words[1].isdigit():
            found[words[4].strip()] = (int(words[3]) if words[3].isdigit() else 0, int(words[1]))
    return found


def make(path: Path, owner: int, mode: int) -> bool:
    """Makes a folder; returns whether it was not there."""
    if path.is_dir():
        return False
    path.mkdir()
    settle(path, owner, mode)
    return True


def settle(path: Path, owner: int, mode: int) -> None:
    """Gives a new folder its owner and its mode."""
    os.chown(path, owner, owner)
    path.chmod(mode)


def tell(file: Path, text: str) -> None:
    """Writes a file in one step, if it says something else."""
    if file.is_file() and file.read_text() == text:
        return
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    new.replace(file)


def bring_about(table: dict[str, Any]) -> Iterator[str]:
    """Does all of it; yields what was changed."""
    folder, owner, wanted = Path(table["folder"]), table["owner"], table["home_bytes"]
    prefix = top(folder)
    if not Path(f"/sys/fs/btrfs/{identity(folder)}/qgroups").is_dir():
        btrfs("quota", "enable", str(folder))
        yield f"{folder}: quotas enabled"
    for shared in (folder / "user", folder / ".quota"):
        make(shared, 0, 0o755)
    for name in table["data"]:
        if make(folder / name, owner, 0o755):
            yield f"{folder / name}: made"
    known = limits(btrfs("qgroup", "show", "-r", "--raw", str(folder)))
    for name in table["homes"]:
        home = folder / "user" / name[0] / name
        limit, used = known.get(f"{prefix}user/{name[0]}/{name}", (0, 0))
        # The server cannot remove or rename what lies in a folder of root.
        make(home.parent, 0, 0o755)
        if not home.exists():
            btrfs("subvolume", "create", str(home))
            settle(home, owner, 0o700)
            yield f"{home}: made"
        elif home.stat().st_ino != SUBVOLUME:
            sys.exit(
                f"{home} is a folder, which cannot have a quota. Move it aside, run again, and copy what is in it "
                f"into the home that is made then, as user {owner}"
            )
        if limit != wanted:
            btrfs("qgroup", "limit", str(wanted), str(home))
            yield f"{home}: at most {wanted} bytes, not {limit or 'any number'}"
        make(folder / ".quota" / name, 0, 0o755)
        tell(folder / ".quota" / name / "bytes", f"{wanted} {used}\n")


def identity(folder: Path) -> str:
    """The UUID of a mounted file system."""
    return _findmnt(folder, "UUID")


def top(folder: Path) -> str:
    """What stands before the paths of a file system of which a subvolume is mounted, such as "@eos/"."""
    root = _findmnt(folder, "FSROOT").strip("/")
    return f"{root}/" if root else ""


def _findmnt(folder: Path, column: str) -> str:
    command = ["findmnt", "--noheadings", f"--output={column}", "--mountpoint", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    for line in bring_about(json.loads(Path(sys.argv[1]).read_text())):
        print(line)
