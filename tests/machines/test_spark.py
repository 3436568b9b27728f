"""Clusters for Spark at a real Kubernetes API: what the hub makes there, and what users get nothing else than.

The hub's own code makes a session's namespace, with the roles and policies that the stack declares. Pods are refused or
taken by the API alone; that they run is seen in the journeys.
"""

import copy
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from components.spark_config import SparkConfig
from components.spark_policies import hub_policy
from tests.live.waiting import until
from tests.machines.hubs_code import hubs_code
from tests.machines.kubernetes_api import KubernetesApi
from tests.unit import program

HUB, ADA, EVE = "of-the-hub", "of-adas-session", "of-eves-session"
NAMESPACES = {ADA: "spark-ada-000001", EVE: "spark-eve-000001"}
USERS = {
    HUB: "system:serviceaccount:hub:hub",
    **{token: f"system:serviceaccount:sessions:{name}" for token, name in NAMESPACES.items()},
}
STACK = {
    "cygnet:spark": {
        "clusters": {
            "here": {
                "kind": "kubernetes",
                "executors": {"max": 2, "memory_gib": 1, "open_networks": [{"network": "198.51.100.0/24"}]},
            },
            "team": {"kind": "standalone", "standalone": {"workers": 2, "account": "zoe"}},
            "lab": {
                "kind": "yarn",
                "yarn": {
                    "core_site": {"fs.defaultFS": "hdfs://lab"},
                    "yarn_site": {"yarn.resourcemanager.hostname": "lab"},
                    "networks": ["192.0.2.0/24"],
                    "without_kerberos": True,
                },
            },
        }
    },
    "cygnet:auth": {
        "accounts": ["zoe"],
        "groups": {"team": ["zoe"]},
        "rights": {"features": {"team": ["team"], "lab": ["team"]}},
    },
}
KINDS = {
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "ValidatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
}
# The hub's own code, in a process whose Kubernetes is the test's. Of the spawner it has what the code asks of it; the
# end of a namespace's name, which is another each time, is given.
THE_HUBS = """
import asyncio, json, logging, pathlib, sys, tempfile
from types import SimpleNamespace
from kubespawner.clients import load_config, shared_client
from kubespawner.objects import make_pod
from cygnet_hub import clusters, spark
from cygnet_hub.settings import Sessions
from cygnet_hub.spark import Executors
from tornado.web import HTTPError

clusters.secrets.token_hex = lambda _: "000001"
sessions = Sessions.model_validate(json.loads(sys.argv[1]))
spark.KEYS = pathlib.Path(tempfile.mkdtemp())
(spark.KEYS / "spark-team").write_text("of the team")

async def main():
    load_config()
    those = Executors(sessions.spark, sessions.clusters)
    for line in sys.stdin:
        what, name, uid, cluster = json.loads(line)
        spawner = SimpleNamespace(
            user_options={"spark": cluster}, namespace="sessions", api=shared_client("CoreV1Api"), _log_name=name,
            pod_reflector=SimpleNamespace(pods={}), log=logging.getLogger(),
            user=SimpleNamespace(name=name),
        )
        pod = make_pod(
            name=f"session-{name}", image=sessions.image, cmd=["x"], port=8888, uid=uid, gid=100, fs_gid=100,
            image_pull_policy="IfNotPresent", labels={"hub.jupyter.org/username": name},
            env={"HOME": f"/eos/user/{name[0]}/{name}", "USER": name}, volumes=[], volume_mounts=[],
        )
        try:
            pod = await those.give(spawner, pod) if what == "give" else await those.take(spawner)
            print(json.dumps(spawner.api.api_client.sanitize_for_serialization(pod)), flush=True)
        except HTTPError as error:
            print(json.dumps(error.jupyterhub_message), flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def declared() -> program.Engine:
    """A stack with a cluster for Spark."""
    return program.run("site", STACK)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, declared: program.Engine) -> Iterator[KubernetesApi]:
    """With what the stack makes there for Spark."""
    made = KubernetesApi(tmp_path_factory.mktemp("kubernetes"), USERS)
    ours = [
        {"apiVersion": version, "kind": kind, **one.inputs}
        for kind, version in KINDS.items()
        for one in declared.of(kind)
        if one.name.startswith("spark-")
    ]
    assert len(ours) == 7
    rights = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "hub", "namespace": "sessions"}}
    rules = next(one.inputs["rules"] for one in declared.of("Role") if one.name == "hub")
    role_ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hub"}
    subjects = [{"kind": "ServiceAccount", "name": "hub", "namespace": "hub"}]
    try:
        made.start()
        made.kubectl("create", "namespace", "sessions")
        made.apply(
            *ours,
            {**rights, "kind": "Role", "rules": rules},
            {**rights, "kind": "RoleBinding", "roleRef": role_ref, "subjects": subjects},
        )
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def hub(api: KubernetesApi, declared: program.Engine) -> Iterator[Callable[..., Any]]:
    """Asks the hub's code to do something: hub("give", "ada", 70001)."""
    told = yaml.safe_load(declared.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])["sessions"]
    with hubs_code(THE_HUBS, told, api.kubeconfig(HUB)) as ask:
        yield lambda what, name, uid, cluster="here": json.loads(ask(what, name, uid, cluster))


@pytest.fixture(scope="module")
def sessions(api: KubernetesApi, hub: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Sessions of two users, each with a cluster; by user their pods. What controllers would do is done for them."""
    pods = {"ada": hub("give", "ada", 70001), "eve": hub("give", "eve", 70002)}
    for name in NAMESPACES.values():
        for account in ("default", "builder"):
            api.kubectl("create", "serviceaccount", account, "--namespace", name)
        quota = api.kubectl("get", "quota", "executors-of-a-user", "--namespace", name, "--output=json")
        hard = json.loads(quota)["spec"]["hard"]
        status = json.dumps({"status": {"hard": hard, "used": dict.fromkeys(hard, "0")}})
        patch = ("--subresource=status", "--type=merge", f"--patch={status}")
        api.kubectl("patch", "quota", "executors-of-a-user", "--namespace", name, *patch)
    return pods


@pytest.fixture
def executor(api: KubernetesApi, sessions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The pod that Spark makes of what ada's session was told."""
    assert sessions
    data = api.kubectl("get", "secret", NAMESPACES[ADA], "--namespace=sessions", "--output=jsonpath={.data}")
    told = json.loads(data)
    pod: dict[str, Any] = yaml.safe_load(_decoded(told["executor.yaml"]))
    defaults = dict(line.split(" ", 1) for line in _decoded(told["spark-defaults.conf"]).splitlines())
    container = pod["spec"]["containers"][0]
    container["image"] = defaults["spark.kubernetes.container.image"]
    container["args"] = ["executor"]
    memory = "1024Mi"
    container["resources"]["limits"] |= {"memory": memory, "cpu": defaults["spark.kubernetes.executor.limit.cores"]}
    container["resources"]["requests"] = {"memory": memory, "cpu": "100m"}
    pod["metadata"] = {"name": "spark-exec-1", "labels": {"spark-role": "executor"}}
    return pod


def _decoded(text: str) -> str:
    return subprocess.run(["base64", "--decode"], input=text, capture_output=True, text=True, check=True).stdout


def refused(api: KubernetesApi, token: str, manifest: dict[str, Any], namespace: str | None = NAMESPACES[ADA]) -> str:
    """Why an object is refused; nothing where it would be taken. It is not made."""
    where = [f"--namespace={namespace}"] if namespace else []
    try:
        api.kubectl("create", "--dry-run=server", "--filename=-", *where, token=token, stdin=json.dumps(manifest))
    except AssertionError as error:
        return str(error)
    return ""


def test_what_spark_makes_is_taken(api: KubernetesApi, executor: dict[str, Any]) -> None:
    assert refused(api, ADA, executor) == ""


ROOT_FOLDER = {"name": "machine", "hostPath": {"path": "/"}}
OWN = "an executor runs as its user"


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("spec.securityContext.runAsUser", 70002, OWN),
        ("spec.securityContext.runAsUser", None, OWN),
        ("spec.securityContext.runAsGroup", 0, OWN),
        ("spec.securityContext.fsGroup", 4, OWN),
        ("spec.securityContext.supplementalGroups", [4], OWN),
        ("spec.containers.0.securityContext.runAsUser", 70002, OWN),
        ("spec.containers.0.securityContext.runAsGroup", 4, OWN),
        ("spec.containers.0.image", "r/cygnet/hub:1", "of the image of sessions"),
        ("spec.initContainers", "the same", "is one container"),
        ("spec.volumes.+", ROOT_FOLDER, "restricted volume types"),
        ("spec.volumes.+", {"name": "more", "configMap": {"name": "kube-root-ca.crt"}}, "volumes of its namespace"),
        ("spec.volumes.+", {"name": "more", "projected": {"sources": []}}, "volumes of its namespace"),
        ("spec.volumes.+", {"name": "more", "persistentVolumeClaim": {"claimName": "cvmfs"}}, "write to software"),
        ("spec.volumes.+", {"name": "more", "persistentVolumeClaim": {"claimName": "other"}}, "write to software"),
        # Kubernetes adds a volume for its token before the policies are asked.
        ("spec.automountServiceAccountToken", True, "volumes of its namespace"),
        ("spec.automountServiceAccountToken", None, "volumes of its namespace"),
        ("spec.serviceAccountName", "builder", "no account"),
        ("spec.nodeName", "w1", "chooses an executor's machine"),
        ("spec.tolerations", [{"operator": "Exists"}], "chooses an executor's machine"),
        ("spec.tolerations", [{"key": "cygnet.io/unwell"}], "chooses an executor's machine"),
        ("spec.priorityClassName", "system-node-critical", "chooses an executor's machine"),
        ("spec.schedulerName", "mine", "chooses an executor's machine"),
        ("spec.terminationGracePeriodSeconds", 3600, "ends when it is told to"),
        ("metadata.finalizers", ["example.org/never"], "ends when it is told to"),
        ("spec.containers.0.securityContext.readOnlyRootFilesystem", False, "within its limits"),
        ("spec.containers.0.terminationMessagePath", "/tmp/log", "within its limits"),  # noqa: S108
        ("spec.containers.0.securityContext.allowPrivilegeEscalation", True, "PodSecurity"),
        ("spec.containers.0.securityContext.capabilities", {"add": ["SYS_ADMIN"]}, "PodSecurity"),
        ("spec.hostNetwork", True, "PodSecurity"),
        ("spec.hostPID", True, "PodSecurity"),
        ("spec.containers.0.ports", [{"containerPort": 9999, "hostPort": 9999}], "PodSecurity"),
        ("spec.securityContext.runAsUser", 0, "PodSecurity"),
        ("spec.containers.0.resources.limits.memory", "64Gi", "exceeded quota: executors-of-a-user"),
        ("spec.containers.0.resources.limits.ephemeral-storage", None, "within its limits"),
        ("spec.containers.0.resources.limits.cpu", None, "failed quota: executors-of-a-user"),
    ],
)  # fmt: skip
def test_another_pod_is_refused(
    api: KubernetesApi, executor: dict[str, Any], path: str, value: object, why: str
) -> None:
    pod = copy.deepcopy(executor)
    *above, last = path.split(".")
    place: Any = pod
    for step in above:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if last == "+":
        place.append(value)
    elif value is None:
        del place[last]
    else:
        again = [{**pod["spec"]["containers"][0], "name": "again"}]
        place[last] = again if value == "the same" else value
        if last == "memory":
            pod["spec"]["containers"][0]["resources"]["requests"][last] = value
    assert why in refused(api, ADA, pod)


def test_a_session_sees_and_makes_nothing_elsewhere(api: KubernetesApi, executor: dict[str, Any]) -> None:
    for namespace in (NAMESPACES[EVE], "sessions", "default", "kube-system"):
        assert "cannot create resource" in refused(api, ADA, executor, namespace)
    for what in ("get pods", "delete pods", "get secrets"):
        for namespace in (NAMESPACES[EVE], "sessions"):
            assert not may(api, ADA, what, namespace), (what, namespace)
    there = NAMESPACES[ADA]
    assert all(may(api, ADA, f"{verb} pods", there) for verb in ("get", "list", "watch", "create", "delete"))
    for what in (
        "update pods", "patch pods", "create pods --subresource=exec", "get secrets", "create configmaps",
        "create serviceaccounts", "create rolebindings", "delete resourcequotas", "delete networkpolicies",
    ):  # fmt: skip
        assert not may(api, ADA, what, there), what


def may(api: KubernetesApi, token: str, what: str, namespace: str) -> bool:
    try:
        return api.kubectl("auth", "can-i", *what.split(), f"--namespace={namespace}", token=token).strip() == "yes"
    except AssertionError:
        return False


def test_the_session_has_its_cluster(sessions: dict[str, dict[str, Any]]) -> None:
    pod = sessions["ada"]
    assert pod["metadata"]["labels"]["cygnet.io/spark"] == "here"
    assert pod["spec"]["serviceAccountName"] == NAMESPACES[ADA]
    assert pod["spec"]["automountServiceAccountToken"] is True
    assert {"name": "spark", "secret": {"secretName": NAMESPACES[ADA], "defaultMode": 0o440}} in pod["spec"]["volumes"]


def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    versions = {"RoleBinding": "rbac.authorization.k8s.io/v1", "NetworkPolicy": "networking.k8s.io/v1"}
    version = versions.get(kind, "v1")
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **more.pop("metadata", {})}, **more}


LEVEL = "pod-security.kubernetes.io/enforce"
GOOD = {"cygnet.io/part": "spark", "cygnet.io/uid": "70003", LEVEL: "restricted"}
VOLUME = {
    "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "hostPath": {"path": "/eos"},
    "claimRef": {"namespace": "spark-bob-1", "name": "eos"},
}  # fmt: skip
ELSEWHERE = {"namespace": "default", "name": "eos"}
WAY: dict[str, Any] = {
    "type": "NodePort", "externalTrafficPolicy": "Local",
    "selector": {"cygnet.io/spark": "lab", "hub.jupyter.org/username": "bob"},
    "ports": [{"port": 30700, "targetPort": 30700, "nodePort": 30700}],
}  # fmt: skip
WAYS = "ways from outside to sessions of a cluster only"


def way(to: Any, *ports: Any) -> dict[str, Any]:
    """A policy that opens these ports of a network, or of what else may be named."""
    peer = {"ipBlock": {"cidr": to}} if isinstance(to, str) else to
    listed = [port if isinstance(port, dict) else {"port": port} for port in ports]
    rule = {"ports": listed} | ({"to": [peer]} if peer else {})
    return named("NetworkPolicy", "more", spec={"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]})


OPEN = "198.51.100.0/24"
OPENS = "opens ways to what the stack names"
ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cygnet-spark-driver"}
SUBJECTS = [{"kind": "ServiceAccount", "name": "default", "namespace": "sessions"}]


@pytest.mark.parametrize(
    ("manifest", "namespace", "why"),
    [
        (named("Namespace", "spark-bob-1", metadata={"labels": GOOD}), None, ""),
        (named("Namespace", "bob", metadata={"labels": GOOD}), None, "namespaces for executors only"),
        (named("Namespace", "spark-bob", metadata={"labels": GOOD | {LEVEL: "baseline"}}), None, "level restricted"),
        (named("Namespace", "spark-bob", metadata={"labels": {"cygnet.io/uid": "1"}}), None, "for executors only"),
        (named("PersistentVolume", "spark-bob-1-eos", spec=VOLUME), None, ""),
        (named("PersistentVolume", "spark-bob", spec=VOLUME | {"hostPath": {"path": "/"}}), None, "software and homes"),
        (named("PersistentVolume", "spark-bob", spec=VOLUME | {"claimRef": ELSEWHERE}), None, "software and homes"),
        (named("RoleBinding", "another", roleRef=ROLE, subjects=SUBJECTS), NAMESPACES[ADA], ""),
        (named("RoleBinding", "another", roleRef=ROLE, subjects=SUBJECTS), "kube-system", "executors or sessions"),
        (named("RoleBinding", "another", roleRef=ROLE, subjects=SUBJECTS), "sessions", "executors or sessions"),
        (named("RoleBinding", "another", roleRef=ROLE | {"name": "cluster-admin"}, subjects=SUBJECTS), NAMESPACES[ADA],
            "attempting to grant RBAC permissions not currently held"),
        (named("Secret", "more"), NAMESPACES[ADA], ""),
        (named("Secret", "more"), "kube-system", "executors or sessions"),
        (named("Service", "more", spec=WAY), "sessions", ""),
        (named("Service", "more", spec=WAY), NAMESPACES[ADA], "cannot create resource"),
        (named("Service", "more", spec={"ports": [{"port": 8888}], "selector": WAY["selector"]}), "sessions", WAYS),
        (named("Service", "more", spec=WAY | {"externalTrafficPolicy": "Cluster"}), "sessions", WAYS),
        (named("Service", "more", spec=WAY | {"type": "LoadBalancer"}), "sessions", WAYS),
        (named("Service", "more", spec=WAY | {"externalIPs": ["192.0.2.1"]}), "sessions", WAYS),
        (named("Service", "more", spec=WAY | {"selector": {"cygnet.io/spark": "lab"}}), "sessions", WAYS),
        (named("Service", "more", spec=WAY | {"ports": [WAY["ports"][0] | {"targetPort": 8888}]}), "sessions", WAYS),
        (way(OPEN, 1094, 1095), NAMESPACES[ADA], ""),
        (way(OPEN, 1094), "sessions", ""),
        (way(OPEN, 443), NAMESPACES[ADA], OPENS),
        (way(OPEN), NAMESPACES[ADA], OPENS),
        (way(OPEN, {"protocol": "TCP"}), NAMESPACES[ADA], OPENS),
        (way(OPEN, {"protocol": "UDP", "port": 1094}), NAMESPACES[ADA], OPENS),
        (way(OPEN, {"port": 1094, "endPort": 2000}), NAMESPACES[ADA], OPENS),
        (way("198.51.100.7/32", 1094), NAMESPACES[ADA], OPENS),
        (way("0.0.0.0/0", 1094), NAMESPACES[ADA], OPENS),
        (way(None, 1094), NAMESPACES[ADA], OPENS),
        (way({"podSelector": {}}, 1094), NAMESPACES[ADA], ""),
        (way("192.0.2.0/24", {"protocol": "TCP"}), "sessions", ""),
        (way("192.0.2.0/24", {"protocol": "TCP"}), NAMESPACES[ADA], OPENS),
        (way(OPEN, 1094), "kube-system", "executors or sessions"),
        (named("Pod", "more", spec={"containers": [{"name": "a", "image": "b"}]}), NAMESPACES[ADA], "cannot create"),
    ],
)  # fmt: skip
def test_the_hub_makes_what_is_for_executors(
    api: KubernetesApi, sessions: dict[str, Any], manifest: dict[str, Any], namespace: str | None, why: str
) -> None:
    assert sessions
    said = refused(api, HUB, manifest, namespace)
    assert why in said
    assert bool(why) == bool(said)


def test_where_a_stack_names_no_network_none_is_open(api: KubernetesApi, sessions: dict[str, Any]) -> None:
    """The policy of such a stack, beside the other one for a moment: it lets pass what the hub makes there."""
    assert sessions
    config = SparkConfig.model_validate({"clusters": {"here": {"kind": "kubernetes"}}})
    of_hub = {"apiVersion": KINDS["ValidatingAdmissionPolicy"], "metadata": {"name": "closed"}}
    binding = {"policyName": "closed", "validationActions": ["Deny"]}
    api.apply(
        {
            **of_hub,
            "kind": "ValidatingAdmissionPolicy",
            "spec": hub_policy(config, api_servers=["10.1.0.1"], api_port=1),
        },
        {**of_hub, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    )
    try:
        said = until(lambda: refused(api, HUB, way(OPEN, 1094)), "that policy holds", seconds=30)
        assert "'closed'" in said
        assert OPENS in said
        assert not refused(api, HUB, way({"podSelector": {}}, 1094))
    finally:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            api.kubectl("delete", kind, "closed")
    until(lambda: not refused(api, HUB, way(OPEN, 1094)), "it does not hold any more", seconds=30)


def test_the_hub_removes_no_other_namespace(api: KubernetesApi) -> None:
    with pytest.raises(AssertionError, match="removes what is for executors only"):
        api.kubectl("delete", "namespace", "sessions", "--wait=false", token=HUB)


def test_what_a_session_had_goes_with_it(api: KubernetesApi, hub: Callable[..., Any], sessions: dict[str, Any]) -> None:
    assert sessions
    hub("take", "eve", 70002)
    namespace = json.loads(api.kubectl("get", "namespace", NAMESPACES[EVE], "--output=json"))
    assert "deletionTimestamp" in namespace["metadata"]
    left = api.kubectl("get", "serviceaccounts,secrets,networkpolicies", "--namespace=sessions", "--output=name")
    assert "spark-eve" not in left
    assert "spark-ada" in left
    volumes = json.loads(api.kubectl("get", "persistentvolumes", "--output=json"))["items"]
    assert {one["metadata"]["name"] for one in volumes if "deletionTimestamp" not in one["metadata"]} == {
        "spark-ada-000001-cvmfs",
        "spark-ada-000001-eos",
    }


# A cluster of kind standalone


def test_a_session_of_a_standalone_cluster_has_no_right_and_nothing_is_left_of_it(
    api: KubernetesApi, hub: Callable[..., Any]
) -> None:
    pod = hub("give", "zoe", 70003, "team")
    assert pod["metadata"]["labels"]["cygnet.io/spark"] == "team"
    assert "serviceAccountName" not in pod["spec"]
    found = ("get", "secrets,networkpolicies,serviceaccounts", "--namespace=sessions", "--output=name")
    mine = ("--selector=cygnet.io/owner=zoe",)
    assert set(api.kubectl(*found, *mine).split()) == {
        "secret/spark-zoe-000001", "networkpolicy.networking.k8s.io/spark-zoe-000001",
    }  # fmt: skip
    told = json.loads(api.kubectl("get", "secret", "spark-zoe-000001", "--namespace=sessions", "--output=json"))["data"]
    assert "spark.authenticate.secret of the team" in _decoded(told["spark-defaults.conf"])
    # A hub that missed the end of a session finds it when the next one starts.
    hub("give", "zoe", 70003, "team")
    hub("take", "zoe", 70003)
    assert api.kubectl(*found, *mine) == ""


# A cluster of kind yarn


def test_a_session_of_a_yarn_has_ports_that_no_other_has(api: KubernetesApi, hub: Callable[..., Any]) -> None:
    pod = hub("give", "yan", 70004, "lab")
    assert "serviceAccountName" not in pod["spec"]
    assert hub("give", "yve", 70005, "lab")["metadata"]["labels"]["cygnet.io/spark"] == "lab"
    services = json.loads(api.kubectl("get", "services", "--namespace=sessions", "--output=json"))["items"]
    ports = {one["metadata"]["name"]: [port["nodePort"] for port in one["spec"]["ports"]] for one in services}
    assert set(ports) == {"spark-yan-000001", "spark-yve-000001"}
    assert not {*ports["spark-yan-000001"]} & {*ports["spark-yve-000001"]}
    secret = json.loads(api.kubectl("get", "secret", "spark-yan-000001", "--namespace=sessions", "--output=json"))
    told = _decoded(secret["data"]["spark-defaults.conf"])
    assert f"spark.driver.port {ports['spark-yan-000001'][0]}\n" in told
    # What the hub relies on when two sessions start at once.
    taken = {**WAY, "ports": [services[0]["spec"]["ports"][0]]}
    assert "provided port is already allocated" in refused(api, HUB, named("Service", "more", spec=taken), "sessions")
    for name in ("yan", "yve"):
        hub("take", name, 70004)
    found = "services,secrets,networkpolicies"
    for name in ("yan", "yve"):
        assert not api.kubectl(
            "get", found, "--namespace=sessions", f"--selector=cygnet.io/owner={name}", "--output=name"
        )


# A cluster of kind standalone


def test_its_daemons_are_what_a_real_kubernetes_takes(api: KubernetesApi, declared: program.Engine) -> None:
    """Pods at the level `restricted`, and the rest as it is declared."""
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "spark", "labels": level}})
    versions = {"Deployment": "apps/v1", "NetworkPolicy": "networking.k8s.io/v1", "Service": "v1", "Secret": "v1"}
    made = [
        {"apiVersion": version, "kind": kind, **one.inputs}
        for kind, version in versions.items()
        for one in declared.of(kind)
        if one.name.startswith("spark-team")
    ]
    assert sorted(one["kind"] for one in made) == ["Deployment", "Deployment", "NetworkPolicy", "Secret", "Service"]
    api.apply(*made)
    api.kubectl("create", "serviceaccount", "default", "--namespace=spark")
    for one in (one for one in made if one["kind"] == "Deployment"):
        metadata = {"name": one["metadata"]["name"], "namespace": "spark"}
        api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": one["spec"]["template"]["spec"]})
