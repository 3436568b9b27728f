"""A server of the cloud as tests use it: made by a user, and reached by SSH with a host key that is known before."""

import base64
import socket
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from openstack.connection import Connection

from components.secrets import new_ssh_key
from components.sources import files
from tests.live import waiting
from tests.testcloud import apis
from tests.testcloud.preparation import IMAGE

PATIENCE_SECONDS = 180.0  # a server answers after 10 s on an idle computer


@dataclass
class Keys:
    """What opens servers (`key`), and what they show themselves with."""

    folder: Path
    public: str
    host_private: str
    host_public: str

    @classmethod
    def new(cls, folder: Path) -> "Keys":
        private, public = new_ssh_key("operator")
        files.write(folder / "key", private, 0o600)
        return cls(folder, public, *new_ssh_key("server"))

    def user_data(self) -> str:
        """For cloud-init: the host key, and a file that shows that it was read."""
        document = {
            "ssh_deletekeys": True,
            "ssh_keys": {"ed25519_private": self.host_private, "ed25519_public": self.host_public},
            "write_files": [{"path": "/etc/proof", "content": "user data was read\n"}],
        }
        return base64.b64encode(f"#cloud-config\n{yaml.safe_dump(document)}".encode()).decode()

    def ssh(self, address: str, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        known = self.folder / "known_hosts"
        known.write_text(f"* {' '.join(self.host_public.split()[:2])}\n")
        return subprocess.run(
            ["ssh", "-F", "none", *options, "-i", str(self.folder / "key"), "-o", "BatchMode=yes",
             "-o", "ConnectTimeout=5", "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes",
             f"debian@{address}", command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def says(self, address: str, command: str) -> str:
        done = self.ssh(address, command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def ask_for(cloud: Connection, name: str, network: str, keys: Keys, groups: list[str], **more: Any) -> Any:
    """Asks for a server and does not wait for it."""
    return cloud.compute.create_server(
        name=name,
        image_id=apis.image(cloud).find_image(IMAGE, ignore_missing=False).id,
        flavor_id=cloud.compute.find_flavor("small", ignore_missing=False).id,
        networks=[{"uuid": network}],
        **more,
        user_data=keys.user_data(),
        security_groups=[{"name": group} for group in groups],
    )


def address(cloud: Connection, server: Any) -> str:
    """Its first address, when it is active."""
    active = cloud.compute.wait_for_server(server, interval=1, wait=PATIENCE_SECONDS)
    found: str = next(entry["addr"] for entries in active.addresses.values() for entry in entries)
    return found


until = partial(waiting.until, what="the cloud does what it was asked for", seconds=PATIENCE_SECONDS, every=0.3)


def opens(host: str, port: int) -> bool:
    """Whether something listens there, and may be reached."""
    with socket.socket() as connection:
        connection.settimeout(2)
        return connection.connect_ex((host, port)) == 0
