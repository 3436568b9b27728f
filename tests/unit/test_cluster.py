"""The cluster: what its playbook gets, what belongs to it, and what goes with it."""

import pytest
import yaml

from components.cluster import ClusterConfig
from components.playbook import PLAYBOOKS, roles_of
from tests.unit import manifests, program


@pytest.mark.parametrize(
    ("pods", "services"),
    [("10.244.0.0/16", "10.96.0.0/16"), ("10.0.0.0/9", "10.128.0.0/9"), ("172.16.0.0/16", "172.17.0.0/24")],
)
def test_networks_that_are_apart(pods: str, services: str) -> None:
    assert str(ClusterConfig(pod_network=pods, service_network=services).pod_network) == pods


@pytest.mark.parametrize(
    ("pods", "services"),
    [("10.96.0.0/16", "10.96.0.0/16"), ("10.0.0.0/8", "10.96.0.0/16"), ("10.96.1.0/24", "10.96.0.0/16")],
)
def test_networks_that_overlap(pods: str, services: str) -> None:
    with pytest.raises(ValueError, match="overlap; move one of them"):
        ClusterConfig(pod_network=pods, service_network=services)


def test_the_playbook_gets_what_the_stack_says() -> None:
    networks = {"pod_network": "172.16.0.0/16", "service_network": "172.17.0.0/16"}
    play = program.run("site", {"cygnet:cluster": networks}).one("Playbook", "cluster")
    given = play.inputs["variables"]
    assert play.inputs["playbook"] == "cluster.yml"
    assert [host["name"] for host in play.inputs["hosts"]] == ["control-plane-1", "worker-1", "worker-2"]
    assert (given["cluster_name"], given["cluster_pod_subnet"], given["cluster_service_subnet"]) == (
        "site", "172.16.0.0/16", "172.17.0.0/16",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["machines", "registry", "cluster"])
def test_a_playbook_gets_variables_that_its_roles_declare(local: program.Engine, name: str) -> None:
    play = local.one("Playbook", name)
    declared = {"cluster_images"}  # no role reads it: it makes the play wait for images, and run again for others
    for role in roles_of(PLAYBOOKS / play.inputs["playbook"]):
        specs = yaml.safe_load((PLAYBOOKS / "roles" / role / "meta/argument_specs.yml").read_text())
        declared |= {option for entry in specs["argument_specs"].values() for option in entry.get("options", {})}
    assert set(play.inputs["variables"]) <= declared


def test_every_image_is_in_the_registry_before_the_cluster_needs_it(local: program.Engine) -> None:
    images = {one.urn for one in local.of("Image")}
    play = local.one("Playbook", "cluster")
    system = {one.urn for one in local.of("Image") if one.name.startswith("kube-") or one.name in ("pause", "etcd")}
    assert system <= play.depends_on & images
    assert all(":5000/cygnet/" in reference for reference in play.inputs["variables"]["cluster_images"])


def test_secrets_at_rest_are_encrypted_with_a_key_of_the_stacks_own(local: program.Engine) -> None:
    given = local.one("Playbook", "cluster")
    assert "variables" in given.secret_inputs
    other = program.run("other", {}).one("Playbook", "cluster")
    assert given.inputs["variables"]["cluster_encryption_key"] != other.inputs["variables"]["cluster_encryption_key"]


def test_the_kubeconfig_is_what_the_play_says_and_secret(local: program.Engine) -> None:
    outputs, secret = local.stack_outputs()
    assert outputs["kubeconfig"] == program.KUBECONFIG
    assert "kubeconfig" in secret
    assert "kubeconfig" in local.of("kubernetes")[0].secret_inputs


def test_a_new_kubeconfig_is_not_a_new_cluster(local: program.Engine) -> None:
    assert local.of("kubernetes")[0].inputs["clusterIdentifier"] == "local"


def test_every_machine_is_a_member_and_goes_with_the_cluster(local: program.Engine) -> None:
    machines = {one.name: one.urn for one in local.of("LocalMachine")}
    members = {one.name: one for one in local.of("Member")}
    assert set(members) == set(machines)
    for name, member in members.items():
        assert machines[name] in member.depends_on, "it comes after its machine, and so goes before it"
        # Only when all goes is draining left out: a worker that leaves alone is drained.
        assert member.deleted_with == machines["control-plane-1"]


def test_a_member_of_existing_machines_is_always_drained() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIESpK7dCXEPH"
    hosts = [
        {"name": name, "group": group, "address": address, "host_key": key}
        for name, group, address in (("a", "control_plane", "192.0.2.1"), ("b", "worker", "192.0.2.2"))
    ]
    engine = program.run("site", {"cygnet:machines": {"source": "existing", "hosts": hosts}})
    assert {one.name: one.deleted_with for one in engine.of("Member")} == {"a": "", "b": ""}


def test_all_that_is_in_the_cluster_comes_after_its_members_and_goes_with_its_machines(local: program.Engine) -> None:
    members = {one.urn for one in local.of("Member")}
    anchor = local.one("LocalMachine", "control-plane-1").urn
    inside = [one for one in local.asked if one.type.startswith("kubernetes:")]
    assert len(inside) > 20
    for one in inside:
        assert members <= one.depends_on, one.urn
        assert one.deleted_with == anchor, one.urn


def test_every_namespace_enforces_a_pod_security_level(local: program.Engine) -> None:
    levels = {
        one.inputs["metadata"]["name"]: one.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for one in local.of("Namespace")
    }
    assert levels == {
        "hub": "restricted",
        "sessions": "restricted",
        "files": "restricted",
        "gateway": "privileged",
        "storage": "privileged",
    }


# Several control planes


THREE = {"cygnet:machines": {"source": "local", "groups": {"control_plane": {"count": 3}}}}


@pytest.fixture(scope="module")
def three() -> program.Engine:
    return program.run("site", {**THREE, "cygnet:login": {"enabled": True}})


def test_several_control_planes_share_an_address_under_which_all_is_found(three: program.Engine) -> None:
    outputs, _secret = three.stack_outputs()
    given = three.one("Playbook", "cluster").inputs["variables"]
    for name in ("cluster_address", "cluster_public_address", "cni_api_address", "keepalived_address"):
        assert given[name] == "10.240.3.10", name
    assert outputs["url"] == "https://10.240.3.10"
    assert outputs["parts"]["cluster"] == {"address": "10.240.3.10", "moves": True}
    assert outputs["parts"]["login"]["address"].startswith("10.240.3.10:")
    assert three.one("Playbook", "health").inputs["variables"]["health_api"] == "10.240.3.10:6443"
    assert "10.240.3.10" in three.one("Certificate", "gateway").inputs["names"]


def test_one_control_plane_has_its_own_address_unless_it_shall_not_stay_alone(local: program.Engine) -> None:
    given = local.one("Playbook", "cluster").inputs["variables"]
    assert (given["cluster_address"], given["keepalived_address"]) == ("10.240.3.11", "")
    alone = program.run("site", {"cygnet:cluster": {"api_address": "own"}})
    given = alone.one("Playbook", "cluster").inputs["variables"]
    assert (given["cluster_address"], given["keepalived_address"]) == ("10.240.3.10", "10.240.3.10")


def test_what_can_run_on_another_control_plane_may_and_finds_its_image_there(three: program.Engine) -> None:
    anywhere = {"node-role.kubernetes.io/control-plane": ""}
    for name in ("hub", "proxy"):
        template = three.one("Deployment", name).inputs["spec"]["template"]["spec"]
        assert template["nodeSelector"] == anywhere
        (pod,) = template["containers"]
        brought = three.one("DaemonSet", "moving-images").inputs["spec"]["template"]["spec"]
        assert brought["nodeSelector"] == anywhere
        assert pod["image"] in [one["image"] for one in brought["initContainers"]]
    for name in ("gateway", "login"):
        assert three.one("DaemonSet", name).inputs["spec"]["template"]["spec"]["nodeSelector"] == anywhere


def test_the_hub_may_ask_each_of_them(three: program.Engine) -> None:
    (policy,) = [one for one in three.of("NetworkPolicy") if one.name == "hub"]
    peers = [peer for rule in policy.inputs["spec"]["egress"] for peer in rule["to"]]
    assert [peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer] == [
        "10.240.3.11/32",
        "10.240.3.12/32",
        "10.240.3.13/32",
    ]


def test_the_cluster_outlives_its_first_control_plane(three: program.Engine) -> None:
    network = three.one("LocalNetwork", "local").urn
    assert {one.deleted_with for one in three.of("Member")} == {network}


def test_existing_control_planes_share_the_address_that_was_chosen() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIESpK7dCXEPH"
    hosts = [
        {"name": f"blade-{last}", "group": "control_plane", "address": f"192.0.2.{last}", "host_key": key}
        for last in (1, 2, 3)
    ]
    shared = {"api_address": "192.0.2.99"}
    engine = program.run("site", {"cygnet:machines": {"source": "existing", "hosts": hosts}, "cygnet:cluster": shared})
    assert engine.stack_outputs()[0]["parts"]["cluster"] == {"address": "192.0.2.99", "moves": True}
    (sessions,) = [one for one in engine.of("NetworkPolicy") if one.name == "sessions"]
    closed = sessions.inputs["spec"]["egress"][-1]["to"][0]["ipBlock"]["except"]
    # Each machine and the shared address, and nobody else beside them.
    assert {"192.0.2.1/32", "192.0.2.2/31", "192.0.2.99/32"} <= set(closed)


def test_sessions_do_not_reach_machines_nor_what_the_stack_closes() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIESpK7dCXEPH"
    places = [("control-plane", "control_plane", "10.0.0.4"), ("blade", "worker", "192.168.3.9")]
    hosts = [{"name": name, "group": group, "address": at, "host_key": key} for name, group, at in places]
    engine = program.run(
        "site",
        {
            "cygnet:machines": {"source": "existing", "hosts": hosts},
            "cygnet:cluster": {"closed_networks": ["203.0.113.0/24"]},
        },
    )
    spec = engine.one("NetworkPolicy", "sessions").inputs["spec"]
    for address in ("10.0.0.4", "192.168.3.9", "203.0.113.7"):
        assert not manifests.lets_out(spec, address)
    assert manifests.lets_out(spec, "192.168.3.10")
