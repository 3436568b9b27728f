"""Cinder's driver: a volume is a sparse file, of which Nova's driver makes a block device in the server.

One made of an image is a file system with what is in the image's archive: a server boots from it.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

from cinder.volume import driver

from tests.testcloud import names
from tests.testcloud.services import images

_CAPACITY_GIB = 1000


class FileDriver(driver.VolumeDriver):
    """Volumes and snapshots as files in one folder."""

    VERSION = "1"

    def check_for_setup_error(self) -> None:
        names.VOLUMES.mkdir(parents=True, exist_ok=True)

    def create_volume(self, volume: Any) -> None:
        with _file(volume.name).open("wb") as made:
            made.truncate(volume.size << 30)

    def delete_volume(self, volume: Any) -> None:
        _file(volume.name).unlink(missing_ok=True)

    def extend_volume(self, volume: Any, new_size: int) -> None:
        os.truncate(_file(volume.name), new_size << 30)

    def create_snapshot(self, snapshot: Any) -> None:
        _copy(snapshot.volume_name, snapshot.name, snapshot.volume_size)

    def delete_snapshot(self, snapshot: Any) -> None:
        _file(snapshot.name).unlink(missing_ok=True)

    def clone_image(
        self, context: Any, volume: Any, _location: Any, image_meta: dict[str, Any], image_service: Any
    ) -> tuple[dict[str, Any], bool]:
        def download(archive: Path) -> None:
            with archive.open("wb") as opened:
                image_service.download(context, image_meta["id"], opened)

        self.create_volume(volume)
        folder = images.unpacked(image_meta["checksum"], download)
        subprocess.run(["mkfs.ext4", "-q", "-d", folder, _file(volume.name)], check=True)
        return {}, True

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any) -> None:
        _copy(snapshot.name, volume.name, volume.size)

    def create_cloned_volume(self, volume: Any, src_vref: Any) -> None:
        _copy(src_vref.name, volume.name, volume.size)

    def ensure_export(self, context: Any, volume: Any) -> None:
        """Nothing to do: the file is on the host that needs it."""

    create_export = remove_export = lambda *_arguments, **_named: None

    def initialize_connection(self, volume: Any, _connector: Any) -> dict[str, Any]:
        return {"driver_volume_type": "local", "data": {"device_path": str(_file(volume.name)), "access_mode": "rw"}}

    def terminate_connection(self, volume: Any, connector: Any, **_named: Any) -> None:
        """Nothing to do, as above."""

    def _update_volume_stats(self) -> None:
        used = sum(file.stat().st_size >> 30 for file in names.VOLUMES.iterdir())
        self._stats = {
            "volume_backend_name": "files",
            "vendor_name": names.WORD,
            "driver_version": self.VERSION,
            "storage_protocol": "local",
            "total_capacity_gb": _CAPACITY_GIB,
            "free_capacity_gb": _CAPACITY_GIB - used,
            "reserved_percentage": 0,
            "multiattach": False,
        }


def _file(name: str) -> Path:
    return names.VOLUMES / name


def _copy(source: str, target: str, gib: int) -> None:
    subprocess.run(["cp", "--sparse=always", _file(source), _file(target)], check=True)
    os.truncate(_file(target), gib << 30)
