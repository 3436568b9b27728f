"""`cygnet renew`: which servers are made anew, in which order, and which never."""

import json
import os

import pytest

from components.clouds.openstack_servers import RENEW
from components.errors import CygnetError
from operations import __main__ as command_line
from operations import renew, takeover
from operations.stack import Stack

MACHINES = "urn:pulumi:lab::cygnet::cygnet:index:Service$cygnet:index:Machines"
SERVERS = {
    name: f"{MACHINES}$openstack:compute/instance:Instance::{name}"
    for name in ("control-plane-1", "control-plane-2", "worker-1", "worker-2", "gpu-t4-1")
}
EXPORTED = {
    "deployment": {
        "resources": [
            *({"urn": urn, "type": "openstack:compute/instance:Instance"} for urn in SERVERS.values()),
            {"urn": f"{MACHINES}$openstack:networking/port:Port::worker-1", "type": "openstack:networking/port:Port"},
        ]
    }
}


class Pulumi:
    """What is asked of Pulumi, each with the machines that may be made anew meanwhile."""

    def __init__(self, differing: list[str]) -> None:
        self.calls: list[tuple[str, ...]] = []
        steps = [{"op": "replace", "urn": SERVERS[name]} for name in differing]
        others = {"op": "replace", "urn": f"{MACHINES}$cygnet:index:Cluster$cygnet:Member::worker-1"}
        self._answers = {
            "stack": EXPORTED,
            "preview": {"steps": [*steps, others, {"op": "same", "urn": SERVERS["worker-1"]}]},
        }

    def __call__(self, *arguments: str, capture: bool = False) -> str:

        self.calls.append((os.environ.get(RENEW, ""), *arguments))
        return json.dumps(self._answers[arguments[0]]) if capture else ""

    @property
    def ups(self) -> list[tuple[str, str]]:
        """For each update: what might be made anew, and what had to be."""
        return [(call[0], call[call.index("--replace") + 1]) for call in self.calls if call[1] == "up"]


@pytest.fixture
def pulumi(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Pulumi:
    asked = Pulumi(request.param)
    monkeypatch.setattr(Stack, "pulumi", asked.__call__)
    monkeypatch.setattr(Stack, "require_file", lambda _: None)
    monkeypatch.setattr(takeover, "take_over", lambda _: None)
    monkeypatch.setenv(RENEW, "")
    return asked


@pytest.mark.parametrize("pulumi", [["worker-2", "gpu-t4-1"]], indirect=True)
def test_workers_that_differ_go_one_after_the_other(pulumi: Pulumi) -> None:
    assert command_line.main(["renew", "lab"]) == 0
    assert pulumi.calls[1] == ("control-plane-2 worker-1 worker-2 gpu-t4-1", "preview", "--json")
    assert pulumi.ups == [(name, SERVERS[name]) for name in ("worker-2", "gpu-t4-1")]


@pytest.mark.parametrize("pulumi", [[]], indirect=True)
def test_nothing_is_touched_when_all_are_what_the_stack_says(
    pulumi: Pulumi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["renew", "lab"]) == 0
    assert pulumi.ups == []
    assert "Every server but control-plane-1 is what the stack says." in capsys.readouterr().out


@pytest.mark.parametrize("pulumi", [[]], indirect=True)
def test_one_that_is_named_goes_whether_it_differs_or_not(pulumi: Pulumi) -> None:
    assert command_line.main(["renew", "lab", "worker-1"]) == 0
    assert pulumi.ups == [("worker-1", SERVERS["worker-1"])]


@pytest.mark.parametrize("pulumi", [["control-plane-2"]], indirect=True)
@pytest.mark.parametrize("well", [True, False])
def test_a_control_plane_goes_while_every_member_of_etcd_works(
    pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], well: bool
) -> None:
    asked: list[tuple[str, ...]] = []

    def kubectl(kubeconfig: str, *arguments: str, seconds: float) -> str:
        assert f"--timeout={seconds - 30:g}s" in arguments, "it has time to say that it timed out"
        assert kubeconfig == "k"
        asked.append(arguments)
        if not well:
            raise CygnetError("timed out waiting for the condition on pods/etcd-control-plane-3")
        return ""

    monkeypatch.setattr(renew, "kubectl", kubectl)
    monkeypatch.setattr(Stack, "outputs", lambda _: {"kubeconfig": "k"})
    assert command_line.main(["renew", "lab"]) == (0 if well else 1)
    assert asked[0][:2] == ("wait", "pod")
    assert [name for name, _ in pulumi.ups] == (["control-plane-2"] if well else [])
    assert ("etcd-control-plane-3" in capsys.readouterr().err) != well


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("worker-9", "there is no server worker-9; name one of these: control-plane-1"),
        ("control-plane-1", "a new stack beside"),
    ],
)
def test_what_cannot_go_is_refused(name: str, said: str) -> None:
    with pytest.raises(CygnetError, match=said):
        renew.check(["worker-1", name], SERVERS)
