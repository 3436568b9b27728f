"""Where sessions go, at a real Kubernetes API with a real scheduler: their image, other sessions, room that is held.

There are nodes without machines. Sessions' pods are what the hub's spawner makes of what the stack tells it. What
labels nodes is the program of the image of sessions, with the token of a pod on a node, and the rights that a stack
gives.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cygnet_hub.config import configuration
from cygnet_hub.settings import Secrets, Settings
from cygnet_hub.spawner import SessionSpawner
from kubernetes_asyncio.client import ApiClient

from components import placeholders, session_image
from engine import tools
from tests.live.ports import HOST
from tests.live.waiting import until
from tests.machines.kubernetes_api import ADMINISTRATOR, KubernetesApi
from tests.unit import program

pytestmark = pytest.mark.nightly  # minutes, for what a stack has to ask for

GIB = 2**30
NODES = ("one", "two")
HELD = 2
SECRETS = {"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": "cd" * 32}
MEMORY_GIB = 0.5
WANTED = {"image_first": True, "placeholders": HELD, "packed": True, "memory_gib_guaranteed": MEMORY_GIB}
STACK = {"cygnet:hub": WANTED, "cygnet:eos": {"client": "none"}}
KINDS = {
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "ValidatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
    "PriorityClass": "scheduling.k8s.io/v1",
}
OURS = (session_image.NAME, placeholders.NAME)
LABEL, TAINT = session_image.LABEL, session_image.STARTUP_TAINT
PROGRAM = program.PROJECT / "images/session/cygnet_session/present.py"


class Cluster:
    """Nodes that are there in the API only, and who may start what on them."""

    def __init__(self, api: KubernetesApi, declared: program.Engine) -> None:
        self.api, self.declared = api, declared
        self.told = yaml.safe_load(declared.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])
        self.tag = session_image.tag(self.told["sessions"]["image"])

    def node(self, name: str, *, image: str = "", memory_gib: float = 8, taints: Sequence[Any] = ()) -> None:
        """One joins, labelled with the tag of an image; another of its name is gone."""
        self.api.kubectl("delete", "node", name, "--ignore-not-found")
        room = {"cpu": "8", "memory": f"{memory_gib}Gi", "pods": "110", "ephemeral-storage": "100Gi"}
        ready = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}]
        named = {"kubernetes.io/hostname": name, **({LABEL: image} if image else {})}
        self.api.apply(
            {
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": named},
                "status": {"capacity": room, "allocatable": room, "conditions": ready},
            }
        )  # fmt: skip
        # Kubernetes taints what joins, until a controller that does not run here has seen it.
        patch = json.dumps({"spec": {"taints": list(taints)}})
        self.api.kubectl("patch", "node", name, "--type=merge", f"--patch={patch}")

    def see(self, name: str) -> dict[str, Any]:
        """A node, as the API has it."""
        found: dict[str, Any] = json.loads(self.api.kubectl("get", "node", name, "--output=json"))
        return found

    def session(self, user: str, **sessions: Any) -> None:
        """Somebody's session, as the hub asks for it; `sessions` are other settings than the stack's."""
        told = {**self.told, "sessions": {**self.told["sessions"], **sessions}}
        self._start(pod(told, user))

    def hold(self) -> None:
        """As many placeholders as the stack says; the controllers that would make them of it do not run here."""
        spec = self.declared.one("Deployment", placeholders.NAME).inputs["spec"]
        for number in range(int(spec["replicas"])):
            template = spec["template"]
            self._start({**template, "metadata": {**template["metadata"], "name": f"{placeholders.NAME}-{number}"}})

    def _start(self, made: dict[str, Any]) -> None:
        made = {**made, "apiVersion": "v1", "kind": "Pod"}
        made["metadata"]["namespace"] = "sessions"
        # No kubelet, no controllers: nobody makes volumes either.
        made["spec"] = {**made["spec"], "volumes": []}
        for container in made["spec"]["containers"]:
            container["volumeMounts"] = []
        self.api.apply(made)

    def places(self) -> dict[str, str]:
        """The node of each pod; empty as long as it has none."""
        pods = json.loads(self.api.kubectl("get", "pods", "--namespace=sessions", "--output=json"))["items"]
        return {one["metadata"]["name"]: one["spec"].get("nodeName", "") for one in pods}

    def placed(self, *users: str) -> list[str]:
        """The nodes of these users' sessions, as soon as all have one."""
        names = [f"session-{user}" for user in users]

        def all_of_them() -> list[str]:
            places = self.places()
            found = [places.get(name, "") for name in names]
            return found if all(found) else []

        found: list[str] = until(all_of_them, f"{names} have nodes: {self.places()}", seconds=20, every=0.3)
        return found

    def waits(self, user: str) -> str:
        """Why a session has no node, as soon as the scheduler has said so."""
        path = '--output=jsonpath={.status.conditions[?(@.reason=="Unschedulable")].message}'
        return str(until(
            lambda: self.api.kubectl("get", "pod", f"session-{user}", "--namespace=sessions", path),
            f"no node for {user}", seconds=20, every=0.3,
        ))  # fmt: skip

    def clear(self) -> None:
        """All pods are gone."""
        self.api.kubectl("delete", "pods", "--all", "--namespace=sessions", "--grace-period=0", "--force")


def pod(told: dict[str, Any], user: str) -> dict[str, Any]:
    """A session's pod, as the hub's own spawner makes it."""
    settings, secrets = Settings.model_validate(told), Secrets.model_validate(SECRETS)
    person = SimpleNamespace(name=user, id=1, url=f"/user/{user}/", groups=[], settings={"users": {}})

    async def manifest() -> dict[str, Any]:
        spawner = SessionSpawner(config=configuration(settings, secrets), user=person, _mock=True)
        spawner.user_options = {}
        await spawner.load_user_options()
        async with ApiClient() as client:
            made: dict[str, Any] = client.sanitize_for_serialization(await spawner.get_pod_manifest())
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kubespawner.spawner.load_config", lambda **_: None)
        patch.setattr("kubespawner.spawner.shared_client", lambda _: None)
        return asyncio.run(manifest())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With what the stack makes there, and a scheduler."""
    folder = tmp_path_factory.mktemp("kubernetes")
    api, declared = KubernetesApi(folder, {}), program.run("site", STACK)
    ours = [
        {"apiVersion": version, "kind": kind, **one.inputs}
        for kind, version in KINDS.items()
        for one in declared.of(kind)
        if one.name in OURS
    ]
    assert len(ours) == 5
    try:
        api.start()
        for namespace in ("hub", "sessions"):
            api.kubectl("create", "namespace", namespace)
            api.kubectl("create", "serviceaccount", "default", f"--namespace={namespace}")
        api.kubectl("create", "serviceaccount", session_image.NAME, "--namespace=hub")
        api.apply(*ours)
        argv = [
            str(tools.path("kube-scheduler")), f"--kubeconfig={api.kubeconfig(ADMINISTRATOR)}", "--leader-elect=false",
            "--bind-address=127.0.0.1", "--secure-port=0",
        ]  # fmt: skip
        with (folder / "scheduler.log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as scheduler:
            try:
                made = Cluster(api, declared)
                made.node("one")
                until(lambda: refused(made, {"spec": {"unschedulable": True}}), "policies hold", seconds=30, every=0.2)
                yield made
            finally:
                scheduler.kill()
    finally:
        api.stop()


@pytest.fixture
def two(cluster: Cluster) -> Iterator[Cluster]:
    """With two nodes on whose machines the image is, and no pods."""
    for name in NODES:
        cluster.node(name, image=cluster.tag)
    yield cluster
    cluster.clear()


# The image first


def test_a_session_goes_to_no_machine_before_its_image_is_there(two: Cluster) -> None:
    two.node("one")
    two.node("two", image="former")
    two.session("ada")
    assert "didn't match Pod's node affinity/selector" in two.waits("ada")
    two.api.kubectl("label", "node", "one", f"{LABEL}={two.tag}")
    assert two.placed("ada") == ["one"], "one that waits goes where the image has come to"


@contextmanager
def labelling(cluster: Cluster, folder: Path, *, on: str, names: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program that labels nodes, in a pod on the node `on`, told that its node is `names`."""
    (folder / "token").write_text(token(cluster, on))
    (folder / "ca.crt").write_text((cluster.api.folder / "ca.crt").read_text())
    environment = {
        "KUBERNETES_SERVICE_HOST": HOST, "KUBERNETES_SERVICE_PORT": str(cluster.api.port), "NODE": names,
        "CYGNET_ACCOUNT": str(folder), "PATH": os.environ["PATH"],
    }  # fmt: skip
    arguments = cluster.declared.one("DaemonSet", session_image.NAME).inputs["spec"]["template"]["spec"]["containers"]
    argv = [sys.executable, "-I", str(PROGRAM), *arguments[0]["args"]]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, env=environment, stdout=log, stderr=log) as one:
        try:
            yield one
        finally:
            one.kill()


def token(cluster: Cluster, node: str) -> str:
    """That of a pod on a node, which tells the node."""
    name = f"present-{node}"
    cluster.api.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "hub"},
            "spec": {
                "nodeName": node,
                "serviceAccountName": session_image.NAME,
                "containers": [{"name": "present", "image": "r/cygnet/session:1"}],
            },
        }
    )
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}")
    return cluster.api.kubectl("create", "token", session_image.NAME, "--namespace=hub", *bound).strip()


def refused(cluster: Cluster, patch: dict[str, Any]) -> str:
    """Why a pod on the node `one` may not change that so; nothing where it may. It is not changed."""
    asked = ("--type=merge", f"--patch={json.dumps(patch)}", "--dry-run=server", f"--token={token(cluster, 'one')}")
    try:
        cluster.api.kubectl("patch", "node", "one", *asked)
    except AssertionError as error:
        return str(error)
    return ""


def test_a_machine_says_by_its_own_program_that_the_image_is_there(two: Cluster, tmp_path: Path) -> None:
    gpus, beginning = {"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": TAINT, "effect": "NoSchedule"}
    two.node("one", image="former", taints=[gpus, beginning])
    with labelling(two, tmp_path, on="one", names="one"):
        until(lambda: two.see("one")["metadata"]["labels"][LABEL] == two.tag, "it is labelled", seconds=20, every=0.3)
    assert two.see("one")["spec"]["taints"] == [gpus], "a machine of a pool that grows begins with the other"


def test_a_machine_does_not_speak_for_another(two: Cluster, tmp_path: Path) -> None:
    two.node("two")
    with labelling(two, tmp_path, on="one", names="two"):
        until(lambda: "of its own machine only" in (tmp_path / "log").read_text(), "it is refused", seconds=20)
    assert LABEL not in two.see("two")["metadata"]["labels"]


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"labels": {"cygnet.io/gpu": "t4"}}},
        {"metadata": {"labels": {"kubernetes.io/hostname": "two"}}},
        {"metadata": {"labels": {"kubernetes.io/hostname": None}}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}},
        {"spec": {"taints": []}},
        {"spec": {"unschedulable": True}},
    ],
    ids=json.dumps,
)
def test_it_changes_nothing_else_of_its_node(two: Cluster, patch: dict[str, Any]) -> None:
    two.node("one", taints=[{"key": "nvidia.com/gpu", "effect": "NoSchedule"}])
    assert re.search(r"may be (changed|lifted)", refused(two, patch))
    assert refused(two, {"metadata": {"labels": {LABEL: "other"}}}) == "", "of its own label it is free"


def test_it_may_do_nothing_else(two: Cluster) -> None:
    held = f"--token={token(two, 'one')}"
    two.api.kubectl("auth", "can-i", "patch", "node/one", held)
    for what in ("list nodes", "delete nodes", "create nodes", "get secrets -nhub", "create pods -nsessions"):
        with pytest.raises(AssertionError):
            two.api.kubectl("auth", "can-i", *what.split(), held)


# Where others are


def test_sessions_go_where_most_of_them_are_and_else_they_are_spread(two: Cluster) -> None:
    users = ["ada", "bob", "cyd", "dan"]
    for user in users:
        two.session(user, packed=False)
        two.placed(user)
    assert sorted(two.placed(*users)) == ["one", "one", "two", "two"]
    two.clear()
    for user in users:
        two.session(user)
        two.placed(user)
    assert len({*two.placed(*users)}) == 1


def test_when_the_fullest_has_no_room_the_next_one_is_taken(two: Cluster) -> None:
    for name in NODES:
        two.node(name, memory_gib=3.2 * MEMORY_GIB, image=two.tag)
    users = ["ada", "bob", "cyd", "dan"]
    for user in users:
        two.session(user)
        two.placed(user)
    assert sorted(map(two.placed(*users).count, NODES)) == [1, 3]


# Room that is held


def test_a_session_has_the_room_of_a_placeholder_at_once(two: Cluster) -> None:
    two.api.kubectl("cordon", "two")
    two.node("one", memory_gib=(HELD + 0.2) * MEMORY_GIB, image=two.tag)
    two.hold()
    until(lambda: all(two.places().values()) and len(two.places()) == HELD, "room is held", seconds=20, every=0.3)
    two.session("ada")
    began = time.monotonic()
    assert two.placed("ada") == ["one"]
    assert time.monotonic() - began < 10
    assert len(two.places()) == HELD, "one of them went"
    two.session("bob")
    two.placed("bob")
    assert set(two.places()) == {"session-ada", "session-bob"}
    two.session("cyd")
    assert "Insufficient memory" in two.waits("cyd"), "sessions do not make way"


def test_a_placeholder_takes_nobodys_room(two: Cluster) -> None:
    two.api.kubectl("cordon", "two")
    two.node("one", memory_gib=1.2 * MEMORY_GIB, image=two.tag)
    two.session("ada")
    two.placed("ada")
    two.hold()
    path = "--output=jsonpath={.items[*].status.conditions[*].reason}"
    until(
        lambda: two.api.kubectl("get", "pods", "--namespace=sessions", "--selector=app.kubernetes.io/name=placeholders",
                                path).split() == ["Unschedulable"] * HELD,
        "they wait", seconds=20, every=0.3,
    )  # fmt: skip
    assert two.placed("ada") == ["one"]
