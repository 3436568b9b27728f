"""What makes homes on the server, on a real file system with quotas in a file of this computer."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.playbook import PLAYBOOKS
from tests.live.waiting import until

FILES = PLAYBOOKS / "roles/xrootd/files"
OWNER = 1094
SEATS = 500


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system as the role makes it, mounted."""
    image, folder = tmp_path / "eos.btrfs", tmp_path / "eos"
    assert grown(image, 1) == f"made {image}\n"
    folder.mkdir()
    subprocess.run(["mount", "-t", "btrfs", "-o", "loop", image, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)
    until(lambda: str(image) not in loops(), "the loop device has gone with the mount", seconds=10)


def grown(image: Path, gib: int) -> str:
    return subprocess.run(
        ["sh", FILES / "image.sh", image, str(gib)], capture_output=True, text=True, check=True
    ).stdout


def loops() -> str:
    return subprocess.run(["losetup", "--list"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def homes(disk: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Brings a table about: homes(homes=["ada"])."""

    def bring_about(**edited: Any) -> subprocess.CompletedProcess[str]:
        names, data = edited.pop("homes", []), edited.pop("data", [])
        table = {
            "folder": str(disk), "owner": OWNER, "home_bytes": 2**24, "access": str(tmp_path / "authdb"),
            "users": {name: [] for name in names}, "guests": str(tmp_path / "users.json"),
            "data": {name: {"readers": ["atlas"], "writers": []} for name in data}, **edited,
        }  # fmt: skip
        (tmp_path / "homes.json").write_text(json.dumps(table))
        command: list[str | Path] = [sys.executable, FILES / "homes.py", tmp_path / "homes.json"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return bring_about


def test_a_home_is_made_once_and_belongs_to_the_server(homes: Any, disk: Path) -> None:
    first = homes(homes=["ada"], data=["opendata"])
    assert (first.returncode, first.stderr) == (0, "")
    assert f"{disk}/user/a/ada: made" in first.stdout
    second = homes(homes=["ada"], data=["opendata"])
    assert (second.returncode, second.stdout) == (0, "")
    home = (disk / "user/a/ada").stat()
    assert (home.st_uid, home.st_gid, home.st_mode & 0o777) == (OWNER, OWNER, 0o700)
    assert (disk / "user/a").stat().st_uid == 0
    assert (disk / "opendata").stat().st_uid == OWNER


def test_whom_the_hub_made_known_has_a_home_too(homes: Any, disk: Path, tmp_path: Path) -> None:
    guest = {"uid": 70001, "home": "/eos/user/e/eve", "guest": True, "groups": ["atlas"]}
    (tmp_path / "users.json").write_text(json.dumps({"ada": {"uid": 70000}, "eve": guest, "_machine": {"uid": 0}}))
    done = homes(homes=["ada"], data=["raw"])
    assert f"{disk}/user/e/eve: made" in done.stdout
    assert not (disk / "user/_").exists()
    access = tmp_path / "authdb"
    assert "u eve /eos/user/e/eve/ a /eos/.quota/eve/ r /eos/raw/ lr /eos/raw lr" in access.read_text().splitlines()
    assert (access.stat().st_mode & 0o777, access.stat().st_uid, access.stat().st_gid) == (0o640, 0, OWNER)
    (tmp_path / "users.json").write_text("{}")
    assert homes(homes=["ada"], data=["raw"]).stdout == f"{access}: written\n", "the home stays"
    assert "u eve" not in access.read_text()
    assert (disk / "user/e/eve").is_dir()


def test_a_home_has_an_end_and_another_one_has_room(homes: Any, disk: Path) -> None:
    assert homes(homes=["ada", "bob"]).returncode == 0
    with pytest.raises(OSError, match="quota") as error:
        (disk / "user/a/ada/big").write_bytes(bytes(2**25))
    assert error.value.errno == errno.EDQUOT
    (disk / "user/b/bob/big").write_bytes(bytes(2**23))


def test_another_quota_holds_for_homes_that_are_there(homes: Any, disk: Path) -> None:
    homes(homes=["ada"])
    assert "not 16777216" in homes(homes=["ada"], home_bytes=2**26).stdout
    (disk / "user/a/ada/big").write_bytes(bytes(2**25))


def test_a_home_that_is_no_longer_named_stays(homes: Any, disk: Path) -> None:
    homes(homes=["ada"])
    (disk / "user/a/ada/file").write_text("kept")
    assert homes(homes=["bob"]).returncode == 0
    assert (disk / "user/a/ada/file").read_text() == "kept"


def test_a_home_is_told_its_numbers(homes: Any, disk: Path) -> None:
    homes(homes=["ada"])
    (disk / "user/a/ada/file").write_bytes(os.urandom(2**20))
    subprocess.run(["sync", "--file-system", disk], check=True)
    homes(homes=["ada"])
    limit, used = map(int, (disk / ".quota/ada/bytes").read_text().split())
    assert limit == 2**24
    assert 2**20 <= used < 2**21
    assert (disk / ".quota/ada/bytes").stat().st_uid == 0


def test_a_folder_in_the_place_of_a_home_is_told_with_its_cure(homes: Any, disk: Path) -> None:
    (disk / "user/a/ada").mkdir(parents=True)
    done = homes(homes=["ada"])
    assert done.returncode == 1
    assert "is a folder, which cannot have a quota. Move it aside" in done.stderr


def test_a_file_system_of_which_a_subvolume_is_mounted(homes: Any, disk: Path, tmp_path: Path) -> None:
    subprocess.run(["btrfs", "--quiet", "subvolume", "create", disk / "part"], check=True, stdout=subprocess.DEVNULL)
    source = subprocess.run(
        ["findmnt", "--noheadings", "--output=SOURCE", disk], capture_output=True, text=True, check=True
    ).stdout.split("[")[0]
    inner = tmp_path / "part"
    inner.mkdir()
    subprocess.run(["mount", "-t", "btrfs", "-o", "subvol=/part", source.strip(), inner], check=True)
    try:
        assert homes(folder=str(inner), homes=["ada"]).stdout
        assert homes(folder=str(inner), homes=["ada"]).stdout == ""
    finally:
        subprocess.run(["umount", inner], check=True)


def test_all_seats_of_a_course_are_made_quickly(homes: Any) -> None:
    seats = [f"seat-{number:03}" for number in range(1, SEATS + 1)]
    began = time.monotonic()
    assert len(homes(homes=seats).stdout.splitlines()) >= 2 * SEATS
    first = time.monotonic() - began
    assert homes(homes=seats).stdout == ""
    again = time.monotonic() - began - first
    assert first < 60
    assert again < 20


def test_a_file_system_grows_with_its_file_and_never_shrinks(disk: Path) -> None:
    image = disk.with_name("eos.btrfs")
    assert grown(image, 1) == ""
    assert grown(image, 2) == f"enlarged {image}\n"
    subprocess.run(["sh", FILES / "image.sh", "--fill", image, disk], check=True, stdout=subprocess.DEVNULL)
    assert os.statvfs(disk).f_blocks * os.statvfs(disk).f_frsize == 2 * 2**30
    assert grown(image, 1) == ""
    assert image.stat().st_size == 2 * 2**30
