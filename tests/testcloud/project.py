"""A Pulumi project of a test's own: with a state of its own, to be killed, and compared with the cloud."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml
from openstack.connection import Connection

from components.clouds import cloud_removal, cloud_resources
from components.errors import CygnetError
from components.secrets import new_ssh_key
from operations import cloud_state
from operations.stack import PROJECT, Stack, pulumi_program
from tests.testcloud import names

_PROGRAM: Final = Path(__file__).parent / "few/__main__.py"


def environment(folder: Path) -> dict[str, str]:
    """Makes a state in a project's folder; gives the variables by which Pulumi finds it, our code and the cloud."""
    (folder / "state").mkdir()
    return {
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": secrets.token_urlsafe(),
        "PYTHONPATH": str(PROJECT),
        "OS_CLIENT_CONFIG_FILE": str(names.CLOUDS),
    }


class Project(Stack):
    """A stack of a few servers whose project is a folder of its own.

    What it runs finds its state and the cloud by `environment`.
    """

    def __init__(self, name: str, folder: Path, **machines: Any) -> None:
        super().__init__(name, folder)
        self.machines: dict[str, Any] = {
            "public_key": new_ssh_key(name)[1],
            "user_data": "#cloud-config\n",
            "openstack": {
                "cloud": "demo",
                "network": "prov",
                "image": "debian-12",
                "admin_networks": ["192.0.2.0/24"],
            },
            "source": "openstack",
            "flavors": ["fake"] * 3,
            **machines,
        }
        self.file.parent.mkdir(parents=True)
        shutil.copy(_PROGRAM, self.file.parent)
        (folder / "Pulumi.yaml").write_text("name: cygnet\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
        self.environment = environment(folder)
        self.configure()

    def enter(self) -> None:
        """Lets this process, and what it runs, find the state and the cloud."""
        os.environ.update(self.environment)

    def configure(self, **machines: Any) -> None:
        """Changes what the stack says about its machines."""
        self.machines |= machines
        written = yaml.safe_load(self.file.read_text()) if self.file.exists() else {}
        written["config"] = {"cygnet:machines": self.machines}
        self.file.write_text(yaml.safe_dump(written))

    def killed(self, when: Callable[[], bool], *arguments: str) -> bool:
        """Runs Pulumi and kills it (`kill -9`) when a condition holds; whether it was still at work.

        What it has started goes on.
        """
        command = [pulumi_program(), *arguments, "--stack", self.name, "--non-interactive"]
        with subprocess.Popen(
            command, cwd=self.project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                if when():
                    process.kill()
                    return True
                time.sleep(0.1)
        return False

    def differences(self, cloud: Connection) -> list[str]:
        """What the cloud has of the stack and the state does not, or the other way round; empty when they agree."""
        state = cloud_state.State.of(self)
        found = cloud_resources.resources(cloud, self.name)
        return [
            *(f"only in the cloud: {one} ({one.id})" for one in state.unknown(found)),
            *(f"only in the state: {one}" for one in state.missing(found)),
            *(f"pending: {one['type']} {one['resource']['urn']}" for one in state.pending),
        ]

    def remove(self, cloud: Connection) -> None:
        """Removes all that the stack has in the cloud, whatever the state says."""
        deadline = time.monotonic() + 60
        while found := cloud_resources.resources(cloud, self.name):
            try:
                cloud_removal.remove(cloud, found, lambda _: None)
            except CygnetError:
                if time.monotonic() > deadline:
                    raise
