"""A machine of this host for the tests of roles, and playbooks that run on it."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import ansible_runner
import testinfra
import yaml
from testinfra.host import Host

import software
from components import eos, playbook_run
from components.certificates import issue_certificate, new_authority
from components.eos import DataConfig, EosConfig
from components.local_machines import base_image, leftovers, network, nspawn, variables
from components.local_machines.records import MachineSpec
from components.playbook import PLAYBOOKS, common_variables
from components.secrets import new_keytab, new_password, new_ssh_key
from components.sign_in.user_ids import user_id
from components.sources import files, ssh
from software import Keys, sealed

NAME = "control-plane-1"
MEMORY_MIB = 1024
EVERYTHING = Path(__file__).with_name("node.yml")
REPOSITORY = "software.test.internal"


@dataclass(frozen=True)
class Played:
    """How a playbook ended."""

    successful: bool
    changed: int
    """Tasks that changed something."""
    failures: str
    """What the failed tasks said."""


@dataclass(frozen=True)
class Node:
    """A machine, as a playbook and a test reach it.

    Attributes:
        stack: What everything of it on this host is named after.
        host: As the component `Machines` gives hosts.
        variables: What the components would give to the playbooks.
        repository: The software repository that it serves and mounts.
        folder: Only ours; has the key, known_hosts and ssh.conf.
    """

    stack: str
    host: dict[str, Any]
    variables: dict[str, Any]
    repository: "Repository"
    folder: Path

    @classmethod
    def up(cls, folder: Path) -> Self:
        """A new machine, running."""
        stack = f"test-{secrets.token_hex(2)}"
        net = network.ensure_network(stack)
        address = str(net.address(NAME))
        private_key, public_key = new_ssh_key("operator")
        host_private_key, host_key = new_ssh_key(NAME)
        spec = MachineSpec(
            stack=stack, name=NAME, memory_mib=MEMORY_MIB, authorized_key=public_key, host_key=host_key,
            host_private_key=host_private_key,
        )  # fmt: skip
        record = nspawn.ensure_machine(spec, net, print)
        facts = variables.facts(base_image.Base(record.base).root)
        host = {
            "name": NAME, "group": "control_plane", "address": address, "user": "root", "port": 22,
            "host_key": host_key, "variables": variables.variables(MEMORY_MIB, facts),
        }  # fmt: skip
        files.write(folder / "key", private_key, 0o600)
        (folder / "known_hosts").write_text(ssh.known_hosts([host]))
        (folder / "ssh.conf").write_text(
            f"Host *\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
            "  StrictHostKeyChecking yes\n  BatchMode yes\n"
        )
        repository = Repository(folder / "repository", software.make_keys(REPOSITORY))
        told = {**given(address), **repository.publish("one"), **mounted(address, repository), **homes(address)}
        return cls(stack, host, told, repository, folder)

    def down(self) -> None:
        """Removes the machine and all of it on this host."""
        leftovers.remove_leftovers(self.stack, print)

    @property
    def address(self) -> str:
        return str(self.host["address"])

    @property
    def key(self) -> str:
        """Where it has the key with which it comes to the server of homes."""
        return str(self.variables["eos_key_file"])

    @property
    def registry(self) -> str:
        """Host and port of the registry on it."""
        return str(self.variables["registry_endpoint"])

    def inside(self) -> Host:
        """The machine over SSH, for testinfra."""
        return testinfra.get_host(
            f"ssh://root@{self.address}",
            ssh_config=str(self.folder / "ssh.conf"),
            controlpath=f"{self.folder}/%%h",  # testinfra wants the one percent as two
            controlpersist=5,
        )

    def play(self, playbook: Path = EVERYTHING, **edited: Any) -> Played:
        """Runs a playbook with the variables, of which some may be edited."""
        inventory = playbook_run.inventory([self.host], str(self.folder / "key"))
        written = self.folder / "variables.yml"
        files.write(written, yaml.safe_dump({**self.variables, **edited}), 0o600)
        run = ansible_runner.run(
            private_data_dir=str(self.folder),
            project_dir=str(playbook.parent),
            playbook=playbook.name,
            inventory=inventory,
            cmdline=f"--extra-vars @{written}",
            envvars={
                "PATH": playbook_run.search_path(),
                "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
                "ANSIBLE_SSH_COMMON_ARGS": f"-F {self.folder}/ssh.conf",
            },
            quiet=True,
        )
        failed = [event["event_data"] for event in run.events if event["event"] == "runner_on_failed"]
        return Played(
            successful=run.status == "successful",
            changed=sum(run.stats["changed"].values()),
            failures="\n".join(map(playbook_run.failure_text, failed)),
        )


@dataclass(frozen=True)
class Repository:
    """A small software repository: a release, whose views have one file."""

    folder: Path
    keys: Keys

    def publish(self, text: str) -> dict[str, Any]:
        """A view whose file says so is the release's newest; returns what the role `software` has to know."""
        view, store = self.folder / f"stable-{text}", self.folder / "store"
        view.mkdir(parents=True, exist_ok=True)
        (view / "setup.sh").write_text(text)
        (view / ".cvmfscatalog").touch()
        published = software.publish({view.name: view}, store, REPOSITORY, self.keys, links={"stable": view.name})
        dates = sealed.whitelist_dates(store)
        assert dates
        return {
            "software_repository": REPOSITORY,
            "software_store": str(store),
            "software_revision": published.revision,
            "software_expires": f"{dates[1]:%Y%m%d%H%M%S}",
        }


def mounted(address: str, repository: Repository) -> dict[str, Any]:
    """What the role `cvmfs` has to know, for one machine that does everything."""
    one = {
        "name": REPOSITORY,
        "servers": [f"http://{address}:8000/cvmfs"],
        "proxies": [f"http://{address}:3128"],
        "public_keys": [repository.keys.master_public],
    }
    return {
        "cvmfs_client": "swfs",
        "cvmfs_repositories": [one],
        "cvmfs_cache_gib": 0.25,
        "cvmfs_poll_seconds": 2,
        "squid_servers": [{"host": address, "port": 8000}],
        "squid_memory_mib": 16,
        "squid_disk_mib": 256,
    }


USERS = {"ada": ["atlas"], "adam": [], "bob": ["staff"]}
DATA = {
    "opendata": DataConfig(readers="everyone", writers=("staff",)),
    "raw": DataConfig(readers=("atlas",), writers=("atlas",)),
}


def homes(address: str) -> dict[str, Any]:
    """What the roles `xrootd` and `eos` have to know, for one machine that does everything."""
    keytab = new_keytab()
    return {
        "eos_client": "xrdmount",
        "eos_mounts": eos.mounts(EosConfig(data=DATA), f"{address}:{eos.PORT}"),
        "eos_users": {name: user_id(name) for name in USERS},
        "eos_keytab": keytab,
        "eos_key_file": eos.key_file(keytab),
        "eos_server_names_key": True,
        "xrootd_serves": True,
        "xrootd_keytab": keytab,
        "xrootd_key_of_machines": eos.key_file(keytab),
        "xrootd_home_gib": 0.0625,
        "xrootd_image_gib": 1,
        "xrootd_users": USERS,
        "xrootd_data": {name: one.model_dump(mode="json") for name, one in DATA.items()},
    }


def given(address: str) -> dict[str, Any]:
    """What the components give to the playbooks, for one machine."""
    authority, authority_key = new_authority("test of roles")
    certificate, key = issue_certificate([address], authority=authority, authority_key=authority_key)
    password = new_password()
    return {
        **common_variables(),
        "machines_ca_certificate": authority,
        "machines_operator_key": "",
        "machines_former_operator_keys": [],
        "registry_certificate": certificate,
        "registry_endpoint": f"{address}:5000",
        "registry_key": key,
        "registry_password": password,
        "containerd_registry_authorization": "Basic " + base64.b64encode(f"node:{password}".encode()).decode(),
    }


def secret_texts(variables: Mapping[str, Any]) -> list[str]:
    """Pieces of each secret by which it would be recognised."""
    return [
        variables["registry_password"],
        variables["registry_key"].splitlines()[1],
        variables["eos_keytab"].split("k:")[1].strip(),
        variables["containerd_registry_authorization"].removeprefix("Basic "),
    ]
