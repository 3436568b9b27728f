"""A machine's membership in the cluster: it is drained before the machine goes."""

import subprocess
import tempfile
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.errors import CygnetError
from engine import tools


class _MemberProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        kubectl(props["kubeconfig"], "wait", "--for=condition=Ready", f"node/{props['node']}", "--timeout=300s")
        return CreateResult(id_=props["node"], outs=props)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=news)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        # Nothing is done then, but `delete` needs credentials that are still good.
        return DiffResult(changes=olds["kubeconfig"] != news["kubeconfig"])

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        node = props["node"]
        try:
            pulumi.log.info(f"{node}: draining; its sessions have 60 s to end")
            kubectl(
                props["kubeconfig"], "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
                "--timeout=60s",
            )  # fmt: skip
        except CygnetError as error:
            # A machine that is dead cannot be drained, and must go all the same.
            pulumi.log.warn(f"{node}: {error}; removed without draining")
        kubectl(props["kubeconfig"], "delete", "node", node, "--ignore-not-found")


class Member(Resource, module="cygnet", name="Member"):
    """One machine's place in the cluster: made when its node is ready, drained before the machine goes."""

    def __init__(self, name: str, kubeconfig: pulumi.Output[str], opts: pulumi.ResourceOptions | None = None) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["kubeconfig"])
        props = {"node": name, "kubeconfig": kubeconfig}
        super().__init__(_MemberProvider(), name, props, pulumi.ResourceOptions.merge(opts, secret))


def kubectl(kubeconfig: str, *arguments: str) -> str:
    """Runs kubectl and returns what it prints.

    Raises:
        CygnetError: It failed; the message is its own.
    """
    with tempfile.NamedTemporaryFile("w", prefix="cygnet-kubeconfig-") as file:  # mode 600
        file.write(kubeconfig)
        file.flush()
        command = [str(tools.path("kubectl")), "--kubeconfig", file.name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CygnetError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    return done.stdout
