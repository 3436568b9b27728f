"""Volumes that every machine sees, such as homes."""

from collections.abc import Mapping

from testinfra.host import Host

from tests.live.stack import LiveStack


def test_there_is_one_default_class(stack: LiveStack) -> None:
    key = "storageclass.kubernetes.io/is-default-class"
    classes = stack.items("storageclasses")
    defaults = [one["metadata"]["name"] for one in classes if one["metadata"].get("annotations", {}).get(key) == "true"]
    assert defaults == [stack.parts["storage"]["storage_class"]]


def test_homes_outlive_what_asked_for_them(stack: LiveStack) -> None:
    kept = {volume["spec"]["persistentVolumeReclaimPolicy"] for volume in stack.items("persistentvolumes")}
    assert kept == {"Retain"}


def test_every_claim_has_its_volume(stack: LiveStack) -> None:
    claims = {claim["metadata"]["name"]: claim["status"]["phase"] for claim in stack.items("persistentvolumeclaims")}
    assert claims == dict.fromkeys(claims, "Bound")


def test_the_provisioner_is_ready(stack: LiveStack) -> None:
    rollout = stack.kubectl("rollout", "status", "--timeout=10s", "--namespace=storage", "deployment/provisioner")
    assert "successfully rolled out" in rollout


def test_every_machine_sees_the_same_volumes(stack: LiveStack, hosts: Mapping[str, Host]) -> None:
    listed = f"ls --almost-all {stack.parts['storage']['folder']}"
    seen = {name: host.check_output(listed) for name, host in hosts.items()}
    assert len(set(seen.values())) == 1, seen
    assert seen.popitem()[1], "not even the hub's own volume is there"
