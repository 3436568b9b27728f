"""Clusters for Spark: what keeps executors to what they may be, and that none is left of a session that is gone."""

import json

import pytest

from tests.live.stack import LiveStack

POLICIES = {"cygnet-spark-executors", "cygnet-spark-hub"}


@pytest.fixture(autouse=True)
def _there_is_one(stack: LiveStack) -> None:
    if not stack.parts["spark"]["clusters"]:
        pytest.skip("no cluster for Spark: cygnet:spark.clusters has none")


@pytest.mark.parametrize("kind", ["validatingadmissionpolicies", "validatingadmissionpolicybindings"])
def test_both_policies_are_in_force(stack: LiveStack, kind: str) -> None:
    found = {one["metadata"]["name"]: one["spec"] for one in stack.items(kind)}
    assert found.keys() >= POLICIES
    if kind.endswith("bindings"):
        assert all(found[name]["validationActions"] == ["Deny"] for name in POLICIES)
    else:
        assert all(found[name]["failurePolicy"] == "Fail" for name in POLICIES)


def test_the_expressions_of_both_are_understood(stack: LiveStack) -> None:
    for policy in stack.items("validatingadmissionpolicies"):
        if policy["metadata"]["name"] in POLICIES:
            checked = policy["status"].get("typeChecking", {})
            assert not checked.get("expressionWarnings"), json.dumps(checked)


def test_every_place_of_executors_is_restricted_and_has_a_session(stack: LiveStack) -> None:
    for namespace in stack.items("namespaces", "--selector=cygnet.io/part=spark"):
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        if "deletionTimestamp" not in namespace["metadata"]:
            assert stack.session_pod(labels["cygnet.io/owner"]), namespace["metadata"]["name"]


def test_standalone_clusters_have_their_daemons(stack: LiveStack) -> None:
    names = sorted(name for name, kind in stack.parts["spark"]["kinds"].items() if kind == "standalone")
    if not names:
        pytest.skip("no cluster of kind standalone: cygnet:spark.clusters has none")
    found = {one["metadata"]["name"]: one for one in stack.items("deployments", "--namespace=spark")}
    for name in (f"{cluster}-{what}" for cluster in names for what in ("master", "worker")):
        assert found[name]["status"].get("readyReplicas") == found[name]["spec"]["replicas"], name


def test_the_hub_has_no_rights_of_drivers(stack: LiveStack) -> None:
    assert stack.may("hub:hub", "create namespaces")
    assert not stack.may("hub:hub", "create pods --namespace=default")
    assert not stack.may("hub:hub", "create clusterroles")
