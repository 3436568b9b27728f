"""The image on machines before sessions, room that is held for them, and where they go: what is declared for it."""

import importlib
import json
import sys
from types import ModuleType
from typing import Any

import pytest
import yaml
from cygnet_hub import unwell
from cygnet_hub.config import BESIDE_OTHERS, configuration, spawner
from cygnet_hub.settings import Gpu, Secrets, Settings

from components import placeholders, session_image
from components.hub_config import HubConfig
from components.kubernetes import UNWELL_TAINT
from tests.unit import program
from tests.unit.manifests import careless, violations
from tests.unit.test_hub import session_pod, settings

IMAGE = "10.0.0.1:5000/cygnet/session:0f3a"
SECRETS = {"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": "cd" * 32}


@pytest.fixture(scope="module")
def declared() -> program.Engine:
    """A stack that wants all of it."""
    return program.run("site", {"cygnet:hub": {"image_first": True, "placeholders": 3, "packed": True}})


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program of the pods that label nodes."""
    monkeypatch.syspath_prepend(str(program.PROJECT / "images/session"))
    for name in [name for name in sys.modules if name.startswith("cygnet_session")]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("cygnet_session.present")


# The label


def test_without_being_asked_sessions_go_anywhere_and_nobody_changes_nodes(local: program.Engine) -> None:
    sessions = yaml.safe_load(local.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])["sessions"]
    assert "node_selector" not in sessions
    assert sessions["packed"] is False
    where = local.one("DaemonSet", session_image.NAME).inputs
    assert where["metadata"]["namespace"] == "sessions"
    assert where["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert not [one for one in local.of("ClusterRole") if one.name == session_image.NAME]
    assert not [one for one in local.asked if one.name == placeholders.NAME]


def test_a_session_wants_the_label_that_its_own_image_puts_on_nodes(declared: program.Engine) -> None:
    sessions = yaml.safe_load(declared.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])["sessions"]
    pod = declared.one("DaemonSet", session_image.NAME).inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    label, value, taint = container["args"]
    assert container["image"] == sessions["image"]
    assert sessions["node_selector"] == {label: value} == session_image.selector(sessions["image"])
    assert label == session_image.LABEL == unwell.IMAGE_LABEL
    assert taint == session_image.STARTUP_TAINT


def test_another_image_is_another_label() -> None:
    assert session_image.selector(IMAGE) != session_image.selector(IMAGE.replace("0f3a", "1c4b"))


def test_machines_have_the_image_wherever_sessions_may_go() -> None:
    """A machine with GPUs keeps off what tolerates nothing; sessions with GPUs do."""
    for spec in (session_image.labelling_spec(IMAGE), session_image.pulling_spec(IMAGE, "r/pause:1")):
        tolerated = {one["key"] for one in spec["template"]["spec"]["tolerations"] if one["effect"] == "NoSchedule"}
        assert tolerated == {UNWELL_TAINT, Gpu.TAINT, session_image.STARTUP_TAINT}


def test_its_pods_keep_to_the_level_that_their_namespace_enforces() -> None:
    for spec in (session_image.labelling_spec(IMAGE), placeholders.spec(HubConfig(placeholders=1), IMAGE, "r/pause:1")):
        assert violations(spec["template"]["spec"]) == []
        assert careless(spec["template"]["spec"]) == []


def test_nodes_may_be_changed_where_the_hub_makes_no_pods_and_not_before_the_policy_is_there(
    declared: program.Engine,
) -> None:
    name = session_image.NAME
    pods = declared.one("DaemonSet", name)
    assert pods.inputs["metadata"]["namespace"] == "hub", "whoever makes pods in a namespace may be its accounts"
    (subject,) = declared.one("ClusterRoleBinding", name).inputs["subjects"]
    assert (subject["name"], subject["namespace"]) == (name, "hub")
    assert declared.one("ClusterRole", name).inputs["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}
    ]
    assert declared.one("ValidatingAdmissionPolicyBinding", name).urn in declared.one("ClusterRole", name).depends_on
    assert declared.one("ClusterRoleBinding", name).urn in pods.depends_on
    assert session_image.POLICY["failurePolicy"] == "Fail"
    (rule,) = declared.one("NetworkPolicy", name).inputs["spec"]["egress"]
    assert [one["ipBlock"]["cidr"] for one in rule["to"]] == ["10.240.3.11/32"]


@pytest.mark.parametrize(
    ("labels", "taints", "patch"),
    [
        ({"image": "a"}, [], {}),
        ({"image": "a"}, [{"key": "gpu"}], {}),
        ({"image": "former"}, [], {"metadata": {"labels": {"image": "a"}}}),
        (
            {"image": "a"},
            [{"key": "gpu"}, {"key": "new"}],
            {"metadata": {"resourceVersion": "7"}, "spec": {"taints": [{"key": "gpu"}]}},
        ),
        (
            {},
            [{"key": "new"}],
            {"metadata": {"labels": {"image": "a"}, "resourceVersion": "7"}, "spec": {"taints": []}},
        ),
    ],
)
def test_of_a_node_no_more_is_changed_than_has_to_be(
    present: ModuleType, labels: dict[str, str], taints: list[dict[str, str]], patch: dict[str, Any]
) -> None:
    node = {"metadata": {"labels": labels, "resourceVersion": "7"}, "spec": {"taints": taints} if taints else {}}
    assert present.change(node, "image", "a", "new") == patch


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([{unwell.IMAGE_LABEL: "0f3a"}], ""),
        (
            [{unwell.IMAGE_LABEL: "former"}, {unwell.IMAGE_LABEL: "0f3a"}],
            "their image is not there yet on 1 of 2 machines",
        ),
        ([{}], "their image is not there yet on 1 of 1 machines"),
    ],
)
def test_who_waits_for_the_image_reads_so(labels: list[dict[str, str]], said: str) -> None:
    nodes = [{"metadata": {"labels": one}, "spec": {}} for one in labels]
    assert unwell.words(nodes, "0f3a") == said
    assert unwell.words(nodes) == ""


# Room that is held


def test_a_placeholder_holds_what_a_session_is_guaranteed() -> None:
    keys: dict[str, Any] = {"cores_guaranteed": 0.25, "memory_gib_guaranteed": 0.7}
    (held,) = placeholders.spec(HubConfig(placeholders=1, **keys), IMAGE, "r/pause:1")["template"]["spec"]["containers"]
    told = Settings.model_validate(settings(eos=True, **keys)).sessions
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kubespawner.spawner.load_config", lambda **_: None)
        patch.setattr("kubespawner.spawner.shared_client", lambda _: None)
        options = {key: value for key, value in spawner(told).items() if key not in ("profile_list", "uid")}
        (session,) = session_pod(options | {"uid": 70000})["spec"]["containers"]
    asked = session["resources"]["requests"]
    assert held["resources"]["requests"]["ephemeral-storage"] == asked["ephemeral-storage"]
    assert float(held["resources"]["requests"]["cpu"]) == asked["cpu"]
    mebibytes = int(held["resources"]["requests"]["memory"].removesuffix("Mi"))
    assert mebibytes == round(asked["memory"] / 2**20)


def test_a_placeholder_makes_way_and_nobody_waits_for_it(declared: program.Engine) -> None:
    deployment = declared.one("Deployment", placeholders.NAME).inputs
    priority = declared.one("PriorityClass", placeholders.NAME).inputs
    pod = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["replicas"] == 3
    assert deployment["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
    assert pod["priorityClassName"] == priority["metadata"]["name"]
    assert (priority["value"], priority["globalDefault"], priority["preemptionPolicy"]) == (-10, False, "Never")
    assert pod["terminationGracePeriodSeconds"] == 0
    assert pod["tolerations"] == []


def test_a_placeholder_holds_room_where_sessions_go(declared: program.Engine) -> None:
    sessions = yaml.safe_load(declared.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])["sessions"]
    pod = declared.one("Deployment", placeholders.NAME).inputs["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == sessions["node_selector"]
    assert "nodeSelector" not in placeholders.spec(HubConfig(placeholders=1), IMAGE, "r/pause:1")["template"]["spec"]


# Where sessions go


@pytest.mark.parametrize("packed", [False, True])
def test_sessions_go_where_others_are_if_the_stack_says_so(packed: bool) -> None:
    told = Settings.model_validate(settings(packed=packed))
    kept = configuration(told, Secrets.model_validate(SECRETS)).KubeSpawner
    assert kept.get("pod_affinity_preferred") == ([BESIDE_OTHERS] if packed else None)
    chosen = BESIDE_OTHERS["podAffinityTerm"]["labelSelector"]["matchLabels"]
    assert chosen == {"component": kept.component_label}
    assert "required" not in json.dumps(BESIDE_OTHERS)
