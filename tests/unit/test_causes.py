"""Why a session does not come up: what users read of what Kubernetes tells, and when a start is given up for it."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from cygnet_hub import causes, counted, start
from cygnet_hub.causes import Cause
from cygnet_hub.spawner import SessionSpawner
from cygnet_hub.start import Patience, wait_for_server
from cygnet_hub.unwell import IMAGE_LABEL
from jupyterhub.utils import format_exception
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner
from tornado.web import HTTPError

PLACED = {"nodeName": "worker-1"}
FULL = "0/1 nodes are available: 1 Insufficient memory."
SCHEDULED = [{"type": "PodScheduled", "status": "True"}]


def unschedulable(message: str) -> dict[str, Any]:
    return {
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ]
    }


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"conditions": SCHEDULED, "containerStatuses": [{"name": "notebook", "state": state, **more}]}


def crashed(reason: str, message: str = "") -> dict[str, Any]:
    ended = {"terminated": {"exitCode": 1, "reason": reason, "message": message}}
    return waiting("CrashLoopBackOff", restartCount=3, lastState=ended)


def warned(reason: str, message: str) -> dict[str, Any]:
    return {"type": "Warning", "reason": reason, "message": message}


CREATING = waiting("ContainerCreating")
UNMOUNTED = 'MountVolume.SetUp failed for volume "{}" : hostPath type check failed: {} is not a directory'


@pytest.mark.parametrize(
    ("status", "events", "kind", "says", "patience"),
    [
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "r:5000/cygnet/session:1"'),
            [],
            counted.NO_IMAGE,
            'be brought to the machine worker-1: Back-off pulling image "r:5000/cygnet/session:1". Start again in',
            60,
        ),
        (waiting("InvalidImageName"), [], counted.NO_IMAGE, "machine worker-1: InvalidImageName. Start again", 60),
        (
            waiting("CreateContainerConfigError", 'secret "x" not found'),
            [],
            counted.OTHER,
            'cannot be made on the machine worker-1: secret "x" not found. Start again',
            30,
        ),
        (
            crashed("Error", "Traceback:\nOSError: [Errno 122] Disk quota exceeded\n"),
            [],
            counted.CRASHED,
            "ended 3 times before it had begun, with status 1. It said last: OSError: [Errno 122] Disk quota exceeded. "
            "If your home is full, make room in it",
            0,
        ),
        (crashed("Error"), [], counted.CRASHED, "with status 1. If your home is full", 0),
        (crashed("OOMKilled"), [], counted.CRASHED, "wanted more memory than it may use, 3 times", 0),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. "},
            [],
            counted.OTHER,
            "ended on the machine worker-1 before it had begun: The node was low on resource: memory. Start again",
            0,
        ),
        ({"phase": "Succeeded"}, [], counted.OTHER, "before it had begun: its server ended. Start again", 0),
        (
            CREATING,
            [warned("FailedMount", UNMOUNTED.format("cvmfs", "/cvmfs"))],
            counted.NO_VOLUME,
            "The software repository cannot be had on the machine worker-1: MountVolume.SetUp failed",
            90,
        ),
        (
            CREATING,
            [warned("FailedMount", UNMOUNTED.format("eos", "/eos"))],
            counted.NO_VOLUME,
            "Your home, or other files, cannot be had on the machine worker-1",
            90,
        ),
        (
            CREATING,
            [warned("FailedAttachVolume", 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) x')],
            counted.NO_VOLUME,
            "Your home, or other files, cannot be had on the machine worker-1: Multi-Attach error",
            90,
        ),
        (
            CREATING,
            [warned("FailedCreatePodSandBox", "failed to setup network for sandbox")],
            counted.OTHER,
            "cannot be made on the machine worker-1: failed to setup network",
            90,
        ),
    ],
)
def test_what_keeps_a_session_from_starting_on_its_machine(
    status: dict[str, Any], events: list[dict[str, Any]], kind: str, says: str, patience: float
) -> None:
    found = causes.of_pod({"metadata": {}, "spec": PLACED, "status": status}, events)
    assert found
    assert (found.kind, found.patience_seconds) == (kind, patience)
    assert says in found.words
    assert found.words.endswith("those who run this service.")


TAINTED = "1 node(s) had untolerated taint(s)"


@pytest.mark.parametrize(
    ("message", "labels", "kind", "says"),
    [
        (
            f"0/3 nodes are available: {TAINTED}, 2 Insufficient memory. preemption: 0/3 nodes are available.",
            {},
            counted.NO_ROOM,
            "No machine has room for your session now: 2 have too little free memory. Choose a smaller size",
        ),
        (
            "0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.",
            {},
            counted.NO_ROOM,
            "now: 1 has too few free cores, 1 has too little free memory.",
        ),
        (
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            {},
            counted.NO_ROOM,
            "1 has no free nvidia.com/gpu.",
        ),
        ("0/1 nodes are available: 1 Insufficient ephemeral-storage.", {}, counted.NO_ROOM, "too little free disk."),
        ("0/2 nodes are available: 2 Too many pods.", {}, counted.NO_ROOM, "2 have as many pods as they may."),
        (
            "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            {},
            counted.NO_VOLUME,
            "The volume of your home is not there yet: 0/3 nodes are available: pod has unbound",
        ),
        (
            'persistentvolumeclaim "home-ada" not found',
            {},
            counted.NO_VOLUME,
            'yet: persistentvolumeclaim "home-ada"',
        ),
        (
            f"0/3 nodes are available: {TAINTED}, 2 node(s) didn't match Pod's node affinity/selector.",
            {IMAGE_LABEL: "0f3a"},
            counted.NO_IMAGE,
            "The image of sessions is not there yet, or not where there is room. Start again in some minutes",
        ),
        (
            f"0/3 nodes are available: {TAINTED}, 2 node(s) didn't match Pod's node affinity/selector.",
            {"cygnet.io/gpu": "t4"},
            counted.NO_ROOM,
            "No machine takes your session now: 0/3 nodes",
        ),
        (
            "0/2 nodes are available: 2 node(s) were unschedulable.",
            {},
            counted.NO_ROOM,
            "2 node(s) were unschedulable.",
        ),
        ("", {}, counted.NO_ROOM, "now: Kubernetes does not tell why."),
    ],
)
def test_why_no_machine_takes_a_session(message: str, labels: dict[str, str], kind: str, says: str) -> None:
    found = causes.of_pod({"metadata": {}, "spec": {"nodeSelector": labels}, "status": unschedulable(message)})
    assert found
    assert found.kind == kind
    assert says in found.words
    # A machine that is added takes minutes.
    assert found.patience_seconds == (120 if kind == counted.NO_VOLUME else math.inf)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"phase": "Pending"},
        {"phase": "Pending", "conditions": SCHEDULED},
        CREATING,
        waiting("CrashLoopBackOff", restartCount=1, lastState={"terminated": {"exitCode": 1}}),
    ],
)
def test_what_goes_its_way_is_let_be(status: dict[str, Any]) -> None:
    pulled = {"type": "Normal", "reason": "Pulling", "message": 'Pulling image "r:5000/cygnet/session:1"'}
    assert causes.of_pod({"metadata": {}, "spec": PLACED, "status": status}, [pulled]) is None


def test_a_pod_from_before_says_nothing_of_this_start() -> None:
    gone = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": PLACED, "status": {"phase": "Failed"}}
    assert causes.of_pod(gone) is None


def test_warnings_of_a_session_that_runs_are_no_cause() -> None:
    runs = {"containerStatuses": [{"state": {"running": {}}}], "conditions": SCHEDULED}
    unready = warned("FailedMount", "of a moment ago")
    assert causes.of_pod({"metadata": {}, "spec": PLACED, "status": runs}, [unready]) is None


@pytest.mark.parametrize(
    ("status", "message", "kind", "says"),
    [
        (
            403,
            'pods "session-ada" is forbidden: exceeded quota: sessions, requested: pods=1, used: pods=50',
            counted.QUOTA,
            "no more sessions at once (exceeded quota: sessions, requested: pods=1, used: pods=50). Start again when",
        ),
        (
            403,
            'pods "session-ada" is forbidden: violates PodSecurity "restricted"',
            counted.OTHER,
            "violates PodSecurity",
        ),
        (
            422,
            "Pod is invalid",
            counted.OTHER,
            "does not take the session: Pod is invalid. That does not pass by itself",
        ),
        (500, "etcdserver: request timed out", counted.OTHER, "but with 500. Start again in some minutes"),
    ],
)
def test_what_kubernetes_refuses_is_told(status: int, message: str, kind: str, says: str) -> None:
    found = causes.refused(status, json.dumps({"message": message}))
    assert found.kind == kind
    assert says in found.words


def test_an_answer_that_is_no_json_is_told_too() -> None:
    assert "taken: <html>" not in causes.refused(502, "<html>").words
    assert "take the session: <html>" in causes.refused(403, "<html>").words


# When a start is given up

NOW = 1000.0


def test_what_may_pass_is_given_its_time() -> None:
    patience, cause = Patience(NOW + 300), Cause(counted.NO_IMAGE, "x", patience_seconds=60)
    assert [patience.over(cause, NOW + second) for second in (0, 59, 60)] == [None, None, cause]


def test_what_passed_meanwhile_has_its_time_anew() -> None:
    patience, cause = Patience(NOW + 300), Cause(counted.NO_IMAGE, "x", patience_seconds=60)
    assert [patience.over(one, NOW + 30 * step) for step, one in enumerate((cause, None, cause, cause))] == [None] * 4


def test_where_nothing_is_known_the_start_ends_with_words_before_it_would_without() -> None:
    patience, full = Patience(NOW + 290), Cause(counted.NO_ROOM, "full", patience_seconds=math.inf)
    assert patience.over(full, NOW + 289) is None
    assert patience.over(full, NOW + 290) is full
    assert patience.over(None, NOW + 290) is causes.UNKNOWN


@pytest.fixture
def spawner(monkeypatch: pytest.MonkeyPatch) -> Any:
    """One whose pod is what `told` has."""
    monkeypatch.setattr(start, "LOOKED_EVERY_SECONDS", 0)
    pods: dict[str, Any] = {}
    return SimpleNamespace(
        namespace="sessions",
        pod_name="session-ada",
        start_timeout=300,
        events=[],
        pod_reflector=SimpleNamespace(pods=pods),
        is_pod_running=lambda _: False,
        told=pods,
    )


def test_a_start_that_cannot_succeed_ends_with_the_reason_and_is_counted_by_it(spawner: Any) -> None:
    spawner.told["sessions/session-ada"] = {"metadata": {}, "spec": PLACED, "status": crashed("OOMKilled")}
    with pytest.raises(HTTPError) as error:
        asyncio.run(wait_for_server(spawner, None))
    assert "wanted more memory than it may use" in format_exception(error.value)[0]
    assert counted.cause_of(error.value, unplaced=False) == counted.CRASHED


def test_a_start_that_takes_too_long_ends_with_the_reason(spawner: Any) -> None:
    spawner.start_timeout = start.EARLIER_SECONDS
    full = unschedulable(FULL)
    spawner.told["sessions/session-ada"] = {"metadata": {}, "spec": {}, "status": full}
    with pytest.raises(HTTPError) as error:
        asyncio.run(wait_for_server(spawner, None))
    assert error.value.status_code == 503
    assert counted.cause_of(error.value, unplaced=True) == counted.NO_ROOM


def test_a_start_that_its_session_refuses_is_counted_as_that(spawner: Any) -> None:
    ended = {"terminated": {"exitCode": 1, "message": "well so far\nsession refused: no software\n"}}
    status = {"phase": "Running", "containerStatuses": [{"state": {"waiting": {}}, "lastState": ended}]}
    spawner.told["sessions/session-ada"] = {"metadata": {}, "spec": PLACED, "status": status}
    with pytest.raises(HTTPError) as error:
        asyncio.run(wait_for_server(spawner, None))
    assert format_exception(error.value)[0] == "no software"
    assert counted.cause_of(error.value, unplaced=False) == counted.REFUSED


def test_a_start_that_no_machine_takes_because_none_is_well_is_counted_as_that(
    spawner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unwell() -> str:
        return "no answer from the software repository on 2 of 2 machines"

    monkeypatch.setattr(start, "WAITS_FOR_WELL_SECONDS", 0)
    spawner.unwell = unwell
    spawner.told["sessions/session-ada"] = {"metadata": {}, "spec": {}, "status": unschedulable(FULL)}
    with pytest.raises(HTTPError) as error:
        asyncio.run(wait_for_server(spawner, None))
    assert "No machine can take your session now: no answer from" in format_exception(error.value)[0]
    assert counted.cause_of(error.value, unplaced=True) == counted.UNWELL


def test_a_session_that_kubernetes_refuses_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Api:
        """Refuses."""

        async def create_namespaced_pod(self, *_: Any) -> None:
            refused = ApiException(status=403, reason="Forbidden")
            said = json.dumps({"message": "pods is forbidden: exceeded quota: all"})
            refused.body = said  # type: ignore[assignment]  # it declares bytes, which its client then decodes
            raise refused

    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda _: Api())
    found = SessionSpawner(_mock=True)
    pod = SimpleNamespace(metadata=SimpleNamespace(name="session-ada"), to_str=lambda: "the pod")
    with pytest.raises(HTTPError) as error:
        asyncio.run(found._make_create_pod_request(pod, 3))
    assert "exceeded quota: all" in format_exception(error.value)[0]
    assert counted.cause_of(error.value, unplaced=False) == counted.QUOTA


@pytest.mark.parametrize(
    ("unwell", "said"),
    [
        (
            "",
            "Your session waits: no machine has room for your session now: 1 has too little free memory. It starts",
        ),
        (
            "no answer from the files of users on 1 of 1 machines",
            "Your session waits: no answer from the files of users",
        ),
    ],
)
def test_the_page_says_why_a_session_waits(monkeypatch: pytest.MonkeyPatch, unwell: str, said: str) -> None:
    async def of_kubernetes(_: Any) -> AsyncIterator[dict[str, Any]]:
        for reason, message in (("FailedScheduling", FULL), ("Scheduled", "Successfully assigned")):
            yield {"message": message, "raw_event": {"reason": reason, "message": message}}

    async def told(*_: Any, **__: Any) -> str:
        return unwell

    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda _: None)
    monkeypatch.setattr(KubeSpawner, "progress", of_kubernetes)
    monkeypatch.setattr(SessionSpawner, "unwell", told)

    async def shown() -> list[str]:
        return [event["message"] async for event in SessionSpawner(_mock=True).progress()]

    first, added, last = asyncio.run(shown())
    assert (first, last) == (FULL, "Successfully assigned")
    assert added.startswith(said)


@pytest.mark.parametrize(("error", "counts"), [(start.Refusal(400, ""), 0), (start.Refusal(503, ""), 1), (None, 1)])
def test_a_choice_of_what_is_not_there_is_no_start_that_failed(error: start.Refusal | None, counts: int) -> None:
    def so_far() -> float:
        (figures,) = counted.FAILURES.collect()
        return sum(one.value for one in figures.samples if one.name.endswith("_total"))

    before = so_far()
    counted.failed(error, unplaced=False)
    assert so_far() - before == counts
