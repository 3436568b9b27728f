"""A live stack as its tests see it: the stack's outputs, and ways to ask it."""

import base64
import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import testinfra
import yaml
from testinfra.host import Host

from components.sources import ssh
from engine import tools


@dataclass(frozen=True)
class LiveStack:
    """A stack that is up.

    Attributes:
        name: Of the stack, for example "local".
        url: What a user types, for example "https://10.240.1.11".
        accounts: Passwords by name.
        admins: Names of accounts that are administrators.
        machines: The hosts by name, as the inventory has them.
        parts: What each part is, by its name.
        folder: Only ours; has ca.crt, kubeconfig, ssh.conf and what that names.
    """

    name: str
    url: str
    accounts: Mapping[str, str] = field(repr=False)
    admins: tuple[str, ...]
    machines: Mapping[str, Mapping[str, Any]]
    parts: Mapping[str, Mapping[str, Any]]
    folder: Path

    @classmethod
    def of(cls, name: str, outputs: Mapping[str, Any], folder: Path) -> "LiveStack":
        """The stack with these outputs; what programs need as files is written to `folder`."""
        machines = {str(host["name"]): host for host in outputs["inventory"]}
        _write(folder / "ca.crt", outputs["certificate_authority"])
        _write(folder / "kubeconfig", outputs["kubeconfig"])
        cluster = yaml.safe_load(outputs["kubeconfig"])["clusters"][0]["cluster"]
        _write(folder / "kubernetes-ca.crt", base64.b64decode(cluster["certificate-authority-data"]).decode())
        if outputs["private_key"]:  # else the operator's SSH agent has it
            _write(folder / "key", outputs["private_key"])
        ssh.access(folder, machines.values(), *([folder / "key"] if outputs["private_key"] else []))
        return cls(
            name=name,
            url=outputs["url"],
            accounts=outputs["accounts"],
            admins=tuple(outputs["parts"]["auth"]["admins"]),
            machines=machines,
            parts=outputs["parts"],
            folder=folder,
        )

    @property
    def ca_file(self) -> Path:
        """The certificate of the stack's own authority, PEM."""
        return self.folder / "ca.crt"

    @property
    def kubernetes_ca_file(self) -> Path:
        """The certificate of Kubernetes' authority, which is another one; PEM."""
        return self.folder / "kubernetes-ca.crt"

    def group(self, group: str) -> list[str]:
        """The names of a group's machines: "control_plane" or "worker"."""
        return [name for name, host in self.machines.items() if host["group"] == group]

    def address(self, machine: str) -> str:
        """The machine's IPv4 address."""
        return str(self.machines[machine]["address"])

    def home(self, user: str) -> str:
        """Where sessions, and machines if they have it, see a user's home."""
        homes = self.parts["eos"].get("homes")
        return f"{homes}/{user[0]}/{user}" if homes else f"/home/{user}"

    def host(self, machine: str, *, keep_seconds: int = 0) -> Host:
        """The machine, over SSH.

        Args:
            machine: Its name.
            keep_seconds: For how long its connection is there for the next command; then a test may not kill it.
        """
        given = self.machines[machine]
        return testinfra.get_host(
            f"ssh://{given['user']}@{given['address']}:{given['port']}",
            ssh_config=str(self.folder / "ssh.conf"),
            controlpath=f"{self.folder}/%%h",  # testinfra wants the one percent as two
            controlpersist=keep_seconds,
            sudo=given["user"] != "root",
        )

    def ssh(self, machine: str, *options: str) -> list[str]:
        """The command line of ssh to a machine; what is to be run there may follow."""
        given = self.machines[machine]
        config = ["-F", str(self.folder / "ssh.conf"), "-p", str(given["port"])]
        return ["ssh", *config, *options, f"{given['user']}@{given['address']}"]

    def kubectl(self, *arguments: str, seconds: float = 60) -> str:
        """What kubectl prints.

        Raises:
            AssertionError: It failed; the message is its own.
        """
        done = self._run_kubectl(arguments, seconds)
        assert done.returncode == 0, f"kubectl {shlex.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def may(self, who: str, what: str) -> bool:
        """Whether Kubernetes lets someone do something.

        Args:
            who: A service account, "namespace:name".
            what: As `kubectl auth can-i` takes it, "create pods --namespace=sessions".
        """
        asked = ("auth", "can-i", *what.split(), f"--as=system:serviceaccount:{who}")
        done = self._run_kubectl(asked, 60)
        answer = done.stdout.strip()
        # What it says of a resource that it does not know is a no, too.
        known = "doesn't have a resource type" not in done.stderr
        assert answer in ("yes", "no"), f"kubectl {shlex.join(asked)}: {done.stderr.strip()}"
        assert known, f"kubectl {shlex.join(asked)}: {done.stderr.strip()}"
        return answer == "yes"

    def items(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """Kubernetes' objects of a kind, in all namespaces unless the arguments name one."""
        where = () if "--namespace" in arguments else ("--all-namespaces",)
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, *where, *arguments, "--output=json"))[
            "items"
        ]
        return found

    @contextmanager
    def closed(self, *machines: str) -> Iterator[None]:
        """For a while these machines take no new sessions."""
        self.kubectl("cordon", *machines)
        try:
            yield
        finally:
            self.kubectl("uncordon", *machines)

    def session_pod(self, user: str) -> dict[str, Any] | None:
        """The pod of a user's session, if there is one that is not ending."""
        namespace = self.parts["hub"]["sessions_namespace"]
        pods = self.items("pods", "--namespace", namespace, f"--selector=hub.jupyter.org/username={user}")
        return next((pod for pod in pods if "deletionTimestamp" not in pod["metadata"]), None)

    def session_machine(self, user: str) -> str:
        """The machine on which a user's session runs."""
        pod = self.session_pod(user)
        assert pod, f"{user} has no session"
        return str(pod["spec"]["nodeName"])

    def _run_kubectl(self, arguments: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        command = [str(tools.path("kubectl")), "--kubeconfig", str(self.folder / "kubeconfig"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def _write(file: Path, text: str) -> None:
    with open(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)
