"""A machine's membership: made when its node is ready, drained before it goes."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components import member
from components.errors import CygnetError
from components.kubectl import kubectl as run
from engine import tools

PROPS: dict[str, Any] = {
    "node": "worker-1",
    "machine": "a-server",
    "labels": {"cygnet.io/group": "worker"},
    "taints": [],
    "kubeconfig": "apiVersion: v1\n",
}

KUBECTL = """#!/usr/bin/env python3
import json, os, pathlib, sys
kubeconfig = pathlib.Path(sys.argv[sys.argv.index("--kubeconfig") + 1])
said = {"arguments": sys.argv[3:], "kubeconfig": kubeconfig.read_text(), "mode": kubeconfig.stat().st_mode & 0o777}
with open(os.environ["KUBECTL_LOG"], "a") as log:
    log.write(json.dumps({**said, "file": str(kubeconfig)}) + "\\n")
if sys.argv[3] in os.environ.get("KUBECTL_FAILS", "").split():
    sys.exit("error: " + sys.argv[3] + " does not work today")
print("fine")
"""


class Kubectl:
    """A kubectl that writes down how it is called."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    @property
    def verbs(self) -> list[str]:
        return [call["arguments"][0] for call in self.calls]


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o700)
    monkeypatch.setattr(tools, "path", lambda _: program)
    monkeypatch.setenv("KUBECTL_LOG", str(tmp_path / "log"))
    return Kubectl(tmp_path / "log")


def test_a_member_is_made_when_its_node_is_ready(kubectl: Kubectl) -> None:
    made = member._MemberProvider().create(PROPS)
    assert (made.id, made.outs) == ("worker-1", PROPS)
    assert [call["arguments"] for call in kubectl.calls] == [
        ["wait", "--for=condition=Ready", "node/worker-1", "--timeout=300s"],
        ["label", "node", "worker-1", "--overwrite", "cygnet.io/group=worker"],
    ]


def test_the_kubeconfig_is_in_a_file_of_ours_that_goes(kubectl: Kubectl) -> None:
    assert run("text", "get", "pods") == "fine\n"
    (call,) = kubectl.calls
    assert (call["kubeconfig"], call["mode"]) == ("text", 0o600)
    assert not Path(str(call["file"])).exists()


def test_a_node_that_is_not_ready_is_an_error_with_kubectls_own_words(
    kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECTL_FAILS", "wait")
    with pytest.raises(CygnetError, match=r"kubectl wait .*node/worker-1.*: error: wait does not work today"):
        member._MemberProvider().create(PROPS)
    assert kubectl.verbs == ["wait"]


def test_an_api_that_does_not_answer_is_not_waited_for_without_end(kubectl: Kubectl, tmp_path: Path) -> None:
    assert kubectl.calls == []
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(CygnetError, match=r"kubectl get pods: no answer from Kubernetes in 0\.1 s"):
        run("text", "get", "pods", seconds=0.1)


def test_a_member_is_drained_before_it_goes(kubectl: Kubectl) -> None:
    member._MemberProvider().delete("worker-1", PROPS)
    assert kubectl.verbs == ["drain", "delete"]
    assert {"--ignore-daemonsets", "--timeout=60s"} <= set(kubectl.calls[0]["arguments"])


def test_a_member_whose_machine_is_dead_goes_without(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_FAILS", "drain")
    warned: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warned.append)
    member._MemberProvider().delete("worker-1", PROPS)
    assert kubectl.verbs == ["drain", "delete"]
    assert "removed without draining" in warned[0]


def test_a_member_stays_while_the_cluster_does_not_answer(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECTL_FAILS", "drain delete")
    with pytest.raises(CygnetError, match="delete does not work today"):
        member._MemberProvider().delete("worker-1", PROPS)
    assert kubectl.verbs == ["drain", "delete"]


def test_new_credentials_are_kept_without_touching_the_node(kubectl: Kubectl) -> None:
    provider, new = member._MemberProvider(), {**PROPS, "kubeconfig": "another"}
    assert provider.diff("worker-1", PROPS, PROPS).changes is False
    found = provider.diff("worker-1", PROPS, new)
    assert found.changes is True
    assert not found.replaces
    assert provider.update("worker-1", PROPS, new).outs == new
    assert kubectl.calls == []


def test_labels_and_taints_of_ours_follow_the_stack_and_no_others_do(kubectl: Kubectl) -> None:
    former = {**PROPS, "labels": {"cygnet.io/group": "gpu", "example.org/rack": "b7"},
              "taints": ["nvidia.com/gpu=present:NoSchedule", "example.org/owner=physics:NoSchedule"]}  # fmt: skip
    new = {**former, "labels": {"cygnet.io/group": "gpu"}, "taints": ["example.org/owner=biology:NoSchedule"]}
    provider = member._MemberProvider()
    assert provider.diff("worker-1", former, new).changes is True
    provider.update("worker-1", former, new)
    label, taint = (call["arguments"] for call in kubectl.calls)
    assert label == ["label", "node", "worker-1", "--overwrite", "example.org/rack-"]
    assert taint == [
        "taint", "node", "worker-1", "--overwrite",
        "example.org/owner=biology:NoSchedule", "nvidia.com/gpu:NoSchedule-",
    ]  # fmt: skip


def test_a_member_on_another_machine_is_another_member() -> None:
    found = member._MemberProvider().diff("worker-1", PROPS, {**PROPS, "machine": "another-server"})
    assert found.replaces == ["machine"]
    assert found.delete_before_replace


def test_a_member_of_an_older_state_is_not_made_anew() -> None:
    old = {key: PROPS[key] for key in ("node", "kubeconfig")}
    found = member._MemberProvider().diff("worker-1", old, PROPS)
    assert found.changes is True
    assert not found.replaces
