#!/usr/bin/python3
"""cygnet-homes TABLE: makes the homes and data folders of a table, sets quotas, and says who may do what there.

    table                 {"folder": "/srv/eos", "owner": 1094, "home_bytes": 5368709120, "access": "/etc/.../authdb",
                           "users": {"ada": ["atlas"]}, "guests": "/etc/cygnet/eos/users.json",
                           "data": {"raw": {"readers": ["atlas"], "writers": []}}}
    FOLDER/user/a/ada     a subvolume with a limit of `home_bytes`, of the owner; the folders above it are root's
    FOLDER/NAME           a folder of the owner, for data
    FOLDER/.quota/ada/bytes   "LIMIT USED", in bytes, for those who show it; written when it changed
    ACCESS                XRootD's authorisation file, which the owner reads

`users` have groups; `guests`, where there are any, is the file in which cygnet-guests keeps whom the hub made known.
Says what it changed, and nothing when there is nothing to do. It removes no home, ever. Ends with status 1 and the cure
when a home cannot have a quota.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

SUBVOLUME = 256  # the number of the top folder of each
EVERYONE = "everyone"


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


def tell(file: Path, text: str, reader: int | None = None) -> bool:
    """Writes a file in one step, if it says something else; for one group of readers only, where that is named."""
    if file.is_file() and file.read_text() == text:
        return False
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    if reader is not None:
        os.chown(new, 0, reader)
        new.chmod(0o640)
    new.replace(file)
    return True


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
    users = table["users"] | guests(table["guests"])
    if tell(Path(table["access"]), "\n".join(access(users, table["data"], guests=bool(table["guests"]))) + "\n", owner):
        yield f"{table['access']}: written"
    known = limits(btrfs("qgroup", "show", "-r", "--raw", str(folder)))
    for name in users:
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


def guests(file: str | None) -> dict[str, list[str]]:
    """Those whom the hub made known, with their groups."""
    if not file or not Path(file).exists():
        return {}
    return {name: one["groups"] for name, one in json.loads(Path(file).read_text()).items() if one.get("guest")}


# Who may do what


def access(
    users: Mapping[str, Sequence[str]], data: Mapping[str, Mapping[str, Any]], *, guests: bool = False
) -> list[str]:
    """The lines of XRootD's authorisation file: who may do what below which path.

    A path of it is a prefix of text, the first that fits decides, and what stands for all ("u *"), for whoever has the
    name that is in the path ("u =") and for one user adds up. So a folder is named with a slash at its end, before any
    that is not; and "-k", which takes away a right that nobody has, ends the search with nothing granted.

    Args:
        users: Their groups, by name.
        data: By name, the groups that may read and change it.
        guests: Whether a home is open to its user as soon as it is there. The server looks at this file once a minute,
            and only names of one letter, which it takes for too short, have to wait for that.

    >>> access({"ada": ["atlas"]}, {"raw": {"readers": ["atlas"], "writers": []}})[1]
    'u ada /eos/user/a/ada/ a /eos/.quota/ada/ r /eos/raw/ lr /eos/raw lr'
    """
    closed = {f"/eos/user/{letter}/": "-k" for letter in ascii_lowercase} | {"/eos/.quota/": "-k"}
    for_all = {name: "lr" if one["readers"] == EVERYONE else "-k" for name, one in data.items()}
    own = {f"/eos/user/{letter}/@=/": "a" for letter in ascii_lowercase} | {"/eos/.quota/@=/": "r"}
    return [
        record("*", closed | folders(for_all) | {"/eos": "l"}),
        *([record("=", own)] if guests else []),
        *(
            record(
                name,
                {f"/eos/user/{name[0]}/{name}/": "a", f"/eos/.quota/{name}/": "r"} | folders(rights({*groups}, data)),
            )
            for name, groups in users.items()
        ),
    ]


def rights(groups: set[str], data: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What members of the groups may do with which data, beyond what everyone may."""
    readable = {name: "lr" for name, one in data.items() if one["readers"] != EVERYONE and groups & {*one["readers"]}}
    return readable | {name: "a" for name, one in data.items() if groups & {*one["writers"]}}


def folders(rights: Mapping[str, str]) -> dict[str, str]:
    """Rights to folders of data, and to look at their tops, which the server is asked for without the slash."""
    tops = {f"/eos/{name}": "l" if right == "-k" else "lr" for name, right in rights.items()}
    longest_first = sorted(tops.items(), key=lambda top: -len(top[0]))
    return {f"/eos/{name}/": right for name, right in rights.items()} | dict(longest_first)


def record(user: str, rights: Mapping[str, str]) -> str:
    """A line of the file."""
    return " ".join(["u", user, *(word for path_and_right in rights.items() for word in path_and_right)])


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


def main() -> None:
    """Brings the table about; one at a time."""
    table = json.loads(Path(sys.argv[1]).read_text())
    alone = os.open(table["folder"], os.O_RDONLY)
    fcntl.flock(alone, fcntl.LOCK_EX)
    for line in bring_about(table):
        print(line)


if __name__ == "__main__":
    main()
