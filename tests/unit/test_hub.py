"""The hub: what it is told, what it and sessions may do, and where they may go."""

import asyncio
import importlib
import json
import re
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes_asyncio.client import ApiClient
from kubespawner import KubeSpawner

from components import hub, hub_pods, policies
from components.config import ConfigError, parse
from components.hub_config import HubConfig
from components.kubernetes import images_spec
from components.sign_in.rights import RightsConfig
from components.sources import groups
from tests.unit import program
from tests.unit.manifests import careless, lets_out, violations

OUTSIDE = ("192.0.2.1", "198.51.100.7")
INSIDE = {
    "a pod": "10.244.1.5",
    "a service": "10.96.0.1",
    "a machine": "10.240.3.11",
    "the operator's computer": "10.240.3.1",
    "a cloud's credentials": "169.254.169.254",
}
RELEASE = {"name": "stable", "title": "Stable", "description": "ROOT 6", "view": "/cvmfs/s.example/stable"}


@pytest.fixture
def cygnet_hub(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hub's own Python, which reads what we write."""
    monkeypatch.syspath_prepend(str(program.PROJECT / "images/hub"))
    return importlib.import_module("cygnet_hub")


def settings(*, eos: bool = False, features: dict[str, tuple[str, ...]] | None = None, **keys: Any) -> dict[str, Any]:
    return hub.hub_settings(
        HubConfig(**keys),
        image="r/cygnet/session:1",
        storage_class="shared",
        releases=[RELEASE],
        claims={"cvmfs": "cvmfs", **({"eos": "eos"} if eos else {})},
        home_gib=7,
        trusted_proxies=["198.51.100.0/24"],
        with_files=True,
        auth={"kind": "accounts"},
        rights=RightsConfig(features=features or {}),
    )


# What the hub is told


@pytest.mark.parametrize(
    ("keys", "where", "value"),
    [
        ({}, ("sessions", "size", "idle_hours"), 4),
        ({"idle_hours": 0}, ("sessions", "size", "idle_hours"), 0),
        ({}, ("sessions", "idle_warning_minutes"), 15),
        ({"max_age_hours": 24}, ("sessions", "max_age_hours"), 24),
        ({"tmp_gib": 0.5}, ("sessions", "size", "tmp_gib"), 0.5),
        ({"processes": 300}, ("sessions", "size", "processes"), 300),
        ({"title": "SWAN"}, ("title",), "SWAN"),
        ({"announcement": "<b>Monday</b>"}, ("announcement",), "<b>Monday</b>"),
        ({"active_session_limit": 50}, ("active_session_limit",), 50),
        ({"link_hosts": ["github.com"]}, ("sessions", "link_hosts"), ["github.com"]),
        (
            {"kernels": ["/cvmfs/a.example/jupyter", "/eos/atlas/jupyter"]},
            ("sessions", "environment"),
            {"JUPYTER_PATH": "/cvmfs/a.example/jupyter:/eos/atlas/jupyter"},
        ),
        ({}, ("sessions", "home", "size_gib"), 7),
        ({"cores": 4}, ("sessions", "size", "cores"), 4),
        ({"cores_guaranteed": 0.5}, ("sessions", "size", "cores_guaranteed"), 0.5),
        ({"memory_gib": 8}, ("sessions", "size", "memory_gib"), 8),
        ({"memory_gib_guaranteed": 1}, ("sessions", "size", "memory_gib_guaranteed"), 1),
    ],
)
def test_what_the_stack_says_reaches_the_hub(keys: dict[str, Any], where: tuple[str, ...], value: Any) -> None:
    found: Any = settings(**keys)
    for step in where:
        found = found[step]
    assert found == value


def test_a_size_with_gpus_is_kept_for_four_hours_unless_it_says_otherwise() -> None:
    gpu = {"title": "GPU", "cores": 2, "memory_gib": 16, "gpu": {"model": "t4"}}
    slices = {**gpu, "idle_hours": 1, "gpu": {"model": "slice", "count": 2, "resource": "nvidia.com/mig-1g.5gb"}}
    found = settings(idle_hours=0, sizes={"gpu": gpu, "slice": slices})["sessions"]["profiles"]
    assert [one["idle_hours"] for one in found] == [0, 4, 1]
    assert [one.get("gpu") for one in found] == [
        None,
        {"model": "t4", "count": 1, "resource": "nvidia.com/gpu"},
        {"model": "slice", "count": 2, "resource": "nvidia.com/mig-1g.5gb"},
    ]


def test_a_model_of_gpus_is_one_thing_and_its_sessions_are_not_warned_from_the_start_on() -> None:
    gpu = {"title": "GPU", "cores": 2, "memory_gib": 16}
    sizes = {
        "gpu": {**gpu, "gpu": {"model": "t4"}},
        "slice": {**gpu, "gpu": {"model": "t4", "resource": "nvidia.com/mig"}},
    }
    with pytest.raises(
        ValueError, match=r"sizes.slice.gpu is t4 by nvidia.com/mig, and sizes.gpu.gpu by nvidia.com/gpu"
    ):
        HubConfig.model_validate({"sizes": sizes})
    with pytest.raises(ValueError, match=r"sizes.gpu.idle_hours \(4, which is 240 minutes\)"):
        HubConfig.model_validate({"idle_hours": 9, "idle_warning_minutes": 300, "sizes": {"gpu": sizes["gpu"]}})


@pytest.mark.parametrize(
    ("groups_of_machines", "said"),
    [
        ({}, "hub.sizes.gpu.gpu.model is t4, and machines.groups has no GPUs; add a group with gpu: {model: t4}"),
        ({"worker": {"gpu": {"model": "v100", "driver": "none"}}}, "machines.groups has v100; add a group"),
        ({"worker": {"gpu": {"model": "t4", "driver": "none"}}}, ""),
    ],
)
def test_gpus_of_sizes_are_those_of_machines(groups_of_machines: dict[str, Any], said: str) -> None:
    gpu = {"title": "GPU", "cores": 2, "memory_gib": 16, "gpu": {"model": "t4"}}
    document = {"machines": {"source": "local", "groups": groups_of_machines}, "hub": {"sizes": {"gpu": gpu}}}
    if said:
        with pytest.raises(ConfigError, match=re.escape(said)):
            parse(document, "a file")
    else:
        assert parse(document, "a file").hub.sizes["gpu"].gpu


@pytest.mark.usefixtures("offline", "cygnet_hub")
def test_a_session_with_gpus_asks_kubernetes_for_them_where_they_are() -> None:
    from cygnet_hub.choices import start_page  # noqa: PLC0415
    from cygnet_hub.config import configuration  # noqa: PLC0415
    from cygnet_hub.settings import Secrets, Settings  # noqa: PLC0415
    from cygnet_hub.spawner import SessionSpawner  # noqa: PLC0415

    gpu = {"title": "GPU", "cores": 2, "memory_gib": 16, "gpu": {"model": "t4", "count": 2}}
    told = Settings.model_validate(settings(sizes={"gpu": gpu}))
    secrets_ = Secrets.model_validate({"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": "cd" * 32})
    person = SimpleNamespace(name="ada", id=1, url="/user/ada/", groups=[], settings={"users": {}})

    async def manifest(**chosen: str) -> dict[str, Any]:
        spawner = SessionSpawner(config=configuration(told, secrets_), user=person, _mock=True)
        spawner.user_options = chosen
        spawner.profile_list = start_page(told.sessions)
        await spawner.load_user_options()
        async with ApiClient() as client:
            made: dict[str, Any] = client.sanitize_for_serialization(await spawner.get_pod_manifest())
        return made

    spec = asyncio.run(manifest(profile="gpu"))["spec"]
    (session,) = spec["containers"]
    assert session["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert session["resources"]["requests"]["nvidia.com/gpu"] == "2"
    assert session["resources"]["limits"]["ephemeral-storage"] == "10Gi"
    assert spec["nodeSelector"] == {"cygnet.io/gpu": "t4"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in [
        {key: one[key] for key in ("key", "operator", "effect")} for one in spec["tolerations"]
    ]
    assert "nvidia" not in json.dumps(asyncio.run(manifest()))


def test_the_hub_and_the_machines_call_gpus_the_same(cygnet_hub: ModuleType) -> None:
    del cygnet_hub
    from cygnet_hub.settings import Gpu  # noqa: PLC0415

    node = groups.node("gpu-t4", groups.WorkerConfig(gpu=groups.GpuConfig(model="t4")))
    assert node.labels[Gpu.LABEL] == "t4"
    assert node.taints == (f"{Gpu.TAINT}=present:NoSchedule",)


@pytest.mark.parametrize("host", ["https://github.com", "GitHub.com", "a b", "", "github.com/cygnet", "a..b"])
def test_a_host_of_links_is_a_name_and_nothing_else(host: str) -> None:
    with pytest.raises(ValueError, match="link_hosts"):
        HubConfig(link_hosts=(host,))


@pytest.mark.parametrize(
    "folder", ["/home/ada", "cvmfs/a", "/cvmfs", "/eos/a:/tmp", "/eos/../tmp", "/eos/{a}", "/eos//a"]
)
def test_kernels_for_everybody_are_in_folders_that_sessions_share(folder: str) -> None:
    with pytest.raises(ValueError, match="kernels"):
        HubConfig(kernels=(folder,))


def test_every_key_of_the_stack_changes_what_the_hub_is_told() -> None:
    other: dict[str, Any] = {"title": "x", "cores": 3, "cores_guaranteed": 0.3, "memory_gib": 3}
    other |= {"memory_gib_guaranteed": 1}
    other |= {"idle_hours": 9, "active_session_limit": 9, "link_hosts": ["a.b"], "database": "postgresql"}
    other |= {"kernels": ["/eos/a"], "extensions": ["swanhelp"]}
    other |= {"idle_warning_minutes": 5, "max_age_hours": 24, "tmp_gib": 1, "processes": 300}
    other |= {"announcement": "Closed on Monday"}
    other |= {"page": "swan", "scripts": True, "pages": ["lab", "document"], "gpu_claim_minutes": 5}
    other |= {"image_first": True, "packed": True}
    other |= {"sizes": {"large": {"title": "Large", "cores": 8, "memory_gib": 16}}}
    assert set(other) == set(HubConfig.model_fields) - {"placeholders"}, "the hub knows nothing of these"
    for key, value in other.items():
        assert settings(**{key: value}) != settings(), key


@pytest.mark.usefixtures("cygnet_hub")
def test_the_hub_reads_what_we_write(local: program.Engine) -> None:
    from cygnet_hub.settings import Settings  # noqa: PLC0415

    read = Settings.model_validate(yaml.safe_load(local.one("ConfigMap", "hub").inputs["data"]["hub.yaml"]))
    assert read.sessions.namespace == "sessions"
    assert read.sessions.home is None
    assert read.sessions.eos_claim == local.one("PersistentVolumeClaim", "eos").inputs["metadata"]["name"]
    # A name that leads to the pod itself: a service's own address would be one that no request comes from.
    headless = local.one("Service", read.proxy_host.partition(".")[0]).inputs
    assert read.proxy_host == f"{headless['metadata']['name']}.{headless['metadata']['namespace']}.svc"
    assert headless["spec"]["clusterIP"] == "None"
    assert [release.view for release in read.sessions.releases] == [
        "/cvmfs/software.cygnet.internal/stable",
        "/cvmfs/software.cygnet.internal/bleeding",
    ]
    assert read.sessions.cvmfs_claim == local.one("PersistentVolumeClaim", "cvmfs").inputs["metadata"]["name"]


@pytest.mark.usefixtures("cygnet_hub")
def test_without_eos_a_home_is_a_volume() -> None:
    from cygnet_hub.settings import Settings  # noqa: PLC0415

    config = program.run("site", {"cygnet:eos": {"client": "none", "home_gib": 9}}).one("ConfigMap", "hub")
    read = Settings.model_validate(yaml.safe_load(config.inputs["data"]["hub.yaml"])).sessions
    assert read.eos_claim is None
    assert read.home is not None
    assert (read.home.storage_class, read.home.size_gib) == ("shared", 9)


@pytest.mark.usefixtures("cygnet_hub")
def test_the_hub_reads_its_secrets(local: program.Engine, tmp_path: Any) -> None:
    from cygnet_hub.accounts import Accounts  # noqa: PLC0415
    from cygnet_hub.settings import read_secrets  # noqa: PLC0415

    for name, text in local.one("Secret", "hub").inputs["stringData"].items():
        (tmp_path / name).write_text(text)
    assert read_secrets(tmp_path)
    assert sorted(Accounts(tmp_path / "accounts.json").all()) == ["operator", "physicist"]


def test_the_addresses_that_the_hub_is_told_are_services_of_ours(local: program.Engine) -> None:
    services = {
        f"{one.inputs['metadata']['name']}.{one.inputs['metadata']['namespace']}.svc:{port['port']:g}"
        for one in local.of("Service")
        if one.custom
        for port in one.inputs["spec"]["ports"]
    }
    told = settings()
    proxy_arguments = hub_pods.proxy_spec("r/proxy:1", "digest")["template"]["spec"]["containers"][0]["args"]
    target = next(one for one in proxy_arguments if one.startswith("--default-target=")).partition("=")[2]
    for url in (told["hub_url"], told["proxy_api_url"], target):
        assert url.removeprefix("http://") in services


# The pods


@pytest.mark.parametrize(
    "template",
    [
        hub_pods.hub_spec({"hub": "r/hub:1"}, "digest")["template"],
        hub_pods.hub_spec({"hub": "r/hub:1", "postgresql": "r/postgresql:1"}, "digest")["template"],
        hub_pods.proxy_spec("r/proxy:1", "digest")["template"],
        images_spec("session-image", ["r/session:1"], "r/pause:1")["template"],
    ],
    ids=["hub", "hub with its database", "proxy", "session-image"],
)
def test_pods_keep_to_the_level_that_their_namespace_enforces(template: dict[str, Any]) -> None:
    assert violations(template["spec"]) == []
    assert careless(template["spec"]) == []


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """KubeSpawner makes manifests without a cluster."""
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda _: None)


def session_pod(options: dict[str, Any]) -> dict[str, Any]:
    """A session's pod, as KubeSpawner makes it with the hub's own configuration."""
    spawner = KubeSpawner(_mock=True)
    for key, value in options.items():
        setattr(spawner, key, value)

    async def manifest() -> dict[str, Any]:
        async with ApiClient() as client:
            made: dict[str, Any] = client.sanitize_for_serialization(await spawner.get_pod_manifest())
        return made

    return asyncio.run(manifest())


@pytest.mark.usefixtures("offline", "cygnet_hub")
@pytest.mark.parametrize("eos", [True, False])
def test_sessions_keep_to_the_level_that_their_namespace_enforces(eos: bool) -> None:
    from cygnet_hub.config import spawner  # noqa: PLC0415
    from cygnet_hub.settings import Settings  # noqa: PLC0415

    options = spawner(Settings.model_validate(settings(eos=eos, memory_gib=3, cores=2)).sessions)
    assert options["namespace"] == policies.SESSIONS_NAMESPACE
    pod = session_pod(
        {key: value for key, value in options.items() if key not in ("profile_list", "uid")} | {"uid": 70000}
    )
    spec = pod["spec"]
    assert violations(spec) == []
    assert careless(spec) == []
    (session,) = spec["containers"]
    assert session["resources"]["limits"] == {"cpu": 2, "memory": 3 * 2**30, "ephemeral-storage": "10Gi"}
    assert "privileged" not in json.dumps(pod)


def test_a_database_that_is_a_server_starts_before_the_hub_and_shares_no_files_with_it() -> None:
    engine = program.run("site", {"cygnet:hub": {"database": "postgresql"}})
    spec = engine.one("Deployment", "hub").inputs["spec"]["template"]["spec"]
    (database,), (hub,) = spec["initContainers"], spec["containers"]
    assert database["restartPolicy"] == "Always"
    assert database["startupProbe"]["exec"]["command"][0] == "pg_isready"
    claims = {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in spec["volumes"]
        if "persistentVolumeClaim" in one
    }
    kept = [
        {claims[one["name"]] for one in container["volumeMounts"] if one["name"] in claims}
        for container in (database, hub)
    ]
    assert kept == [{"hub-database"}, {"hub"}]
    assert engine.one("PersistentVolumeClaim", "hub-database")


def test_new_settings_start_a_new_hub() -> None:
    one, two = (
        hub_pods.hub_spec({"hub": "r/hub:1"}, digest)["template"]["metadata"]["annotations"] for digest in ("a", "b")
    )
    assert one != two


def test_one_hub_and_one_proxy_and_never_two(local: program.Engine) -> None:
    for name in ("hub", "proxy"):
        spec = local.one("Deployment", name).inputs["spec"]
        assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate"), name


def test_new_settings_restart_the_hub_and_new_accounts_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda length: "ab" * length)  # as if kept from run to run

    def started_with(config: dict[str, Any]) -> Any:
        spec = program.run("site", config).one("Deployment", "hub").inputs["spec"]
        return spec["template"]["metadata"]["annotations"]

    before = started_with({"cygnet:auth": {"accounts": ["ada"]}})
    assert started_with({"cygnet:auth": {"accounts": ["ada", "bob"]}}) == before
    assert started_with({"cygnet:hub": {"title": "other"}}) != before


# What the hub may do


def rules() -> set[tuple[str, str]]:
    return {(resource, verb) for rule in hub_pods.HUB_RULES for resource in rule["resources"] for verb in rule["verbs"]}


def test_the_hub_cannot_delete_a_home() -> None:
    assert ("persistentvolumeclaims", "create") in rules()
    assert not {verb for resource, verb in rules() if resource == "persistentvolumeclaims"} & {
        "delete", "deletecollection", "patch", "update", "*",
    }  # fmt: skip


def test_the_hub_makes_and_removes_pods_and_cannot_enter_them() -> None:
    assert {("pods", "create"), ("pods", "delete")} <= rules()
    assert {resource for resource, _ in rules()} == {"pods", "persistentvolumeclaims", "events"}


def test_the_hub_may_do_so_in_the_namespace_of_sessions_only(local: program.Engine) -> None:
    assert local.one("Role", "hub").inputs["metadata"]["namespace"] == "sessions"
    binding = local.one("RoleBinding", "hub").inputs
    assert binding["metadata"]["namespace"] == "sessions"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "hub", "namespace": "hub"}]
    everywhere = [one.name for one in local.of("ClusterRoleBinding") if binding["subjects"] == one.inputs["subjects"]]
    assert everywhere == ["hub"]
    assert (
        local.one("ClusterRole", "hub").inputs["rules"]
        == hub_pods.NODE_RULES
        == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    )


# Where pods may go


@pytest.fixture
def session_policy(local: program.Engine) -> dict[str, Any]:
    found: dict[str, Any] = local.one("NetworkPolicy", "sessions").inputs["spec"]
    return found


@pytest.mark.parametrize("address", INSIDE.values(), ids=INSIDE)
def test_a_session_does_not_reach(session_policy: dict[str, Any], address: str) -> None:
    assert not lets_out(session_policy, address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_session_reaches_the_outside(session_policy: dict[str, Any], address: str) -> None:
    assert lets_out(session_policy, address)


def test_the_session_policy_holds_for_every_pod_there_in_both_directions(session_policy: dict[str, Any]) -> None:
    assert session_policy["podSelector"] == {}
    assert sorted(session_policy["policyTypes"]) == ["Egress", "Ingress"]


def test_a_session_is_reached_by_the_hub_and_its_proxy_only(session_policy: dict[str, Any]) -> None:
    (rule,) = session_policy["ingress"]
    assert [peer["namespaceSelector"]["matchLabels"] for peer in rule["from"]] == [
        {"kubernetes.io/metadata.name": "hub"}
    ] * 2
    assert all("podSelector" in peer for peer in rule["from"])
    assert [port["port"] for port in rule["ports"]] == [8888]


def test_other_networks_are_kept_from_sessions_too() -> None:
    engine = program.run(
        "site", {"cygnet:cluster": {"pod_network": "172.16.0.0/16", "service_network": "172.18.0.0/16"}}
    )
    policy = engine.one("NetworkPolicy", "sessions").inputs["spec"]
    assert not any(lets_out(policy, address) for address in ("172.16.1.1", "172.18.0.1", "10.240.3.11"))
    assert lets_out(policy, "10.96.0.1"), "what is nobody's here is the outside"


def test_the_hub_reaches_the_api_server_and_nothing_else_by_address(local: program.Engine) -> None:
    policy = local.one("NetworkPolicy", "hub").inputs["spec"]
    assert lets_out(policy, "10.240.3.11")
    assert not any(lets_out(policy, address) for address in ("10.240.3.21", "169.254.169.254", *OUTSIDE))


def test_the_proxy_reaches_nothing_by_address_and_is_reached_by_the_gateway() -> None:
    assert not any(lets_out(policies.PROXY_POLICY, address) for address in (*INSIDE.values(), *OUTSIDE))
    users, _ = policies.PROXY_POLICY["ingress"]
    assert users["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}}]
    assert [port["port"] for port in users["ports"]] == [8000], "its API is the hub's alone"


# Secrets


def test_no_key_of_the_hub_is_a_default(local: program.Engine) -> None:
    again = program.run("site", {})
    made = [engine.one("Secret", "hub").inputs["stringData"] for engine in (local, again)]
    for key in ("proxy-token", "cookie-secret", "crypt-key"):
        assert len(bytes.fromhex(made[0][key])) == 32
        assert made[0][key] != made[1][key]


def test_the_hubs_secrets_stand_in_a_secret_only(local: program.Engine) -> None:
    values = local.one("Secret", "hub").inputs["stringData"].values()
    others = [one for one in local.asked if one.type.startswith("kubernetes:") and one.type.split(":")[2] != "Secret"]
    text = json.dumps([one.inputs for one in others])
    assert not any(value in text for value in values)
