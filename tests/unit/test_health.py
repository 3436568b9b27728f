"""Health: what machines look after, what they may do to their nodes, and what the checker decides by itself."""

import base64
import datetime as dt
import errno
import socket
from typing import Any

import pytest
import yaml
from cygnet_hub import unwell

from components import health
from components.config import ConfigError, parse
from components.health import HealthConfig
from components.kubernetes import UNWELL_TAINT
from components.playbook import PLAYBOOKS
from tests.unit import program
from tests.unit.test_playbooks import load

checker = load("roles/health/files/health.py")

CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
OURS = {"key": UNWELL_TAINT, "value": "cvmfs", "effect": "NoSchedule"}


# What a stack may say


@pytest.mark.parametrize("keys", [{}, {"deadline_seconds": 1}, {"deadline_seconds": 30, "every_seconds": 2.5}])
def test_good_words(keys: dict[str, Any]) -> None:
    assert parse({"health": keys}, "x").health == HealthConfig(**keys)


@pytest.mark.parametrize(
    ("keys", "place"),
    [({"deadline_seconds": 0}, "deadline_seconds"), ({"every_seconds": 301}, "every_seconds"), ({"every": 5}, "every")],
)
def test_bad_words(keys: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=rf"cygnet:health\.{place}"):
        parse({"health": keys}, "x")


def test_a_hang_is_noticed_within_half_a_minute_unless_a_stack_wants_otherwise() -> None:
    config = HealthConfig()
    assert config.every_seconds + config.deadline_seconds + 2 * checker.TICK_SECONDS + checker.API_SECONDS < 30


# What machines look after


def test_every_repository_is_looked_after_by_its_unit() -> None:
    repositories = [{"name": "software.cygnet.internal"}, {"name": "sft-nightlies.cern.ch"}]
    assert health.cvmfs_mounts("swfs", repositories) == [
        {"part": "cvmfs", "path": f"/cvmfs/{one['name']}", "unit": f"swfs@{one['name']}.service"}
        for one in repositories
    ]
    unit = health.cvmfs_mounts("cvmfs2", repositories)[1]["unit"]
    assert unit == r"cvmfs-sft\x2dnightlies.cern.ch.mount"


def test_the_playbook_gets_what_the_stack_says() -> None:
    engine = program.run("site", {"cygnet:health": {"deadline_seconds": 7, "every_seconds": 3}})
    given = engine.one("Playbook", "health").inputs["variables"]
    declared = yaml.safe_load((PLAYBOOKS / "roles/health/meta/argument_specs.yml").read_text())
    assert set(given) == set(declared["argument_specs"]["main"]["options"])
    assert (given["health_deadline_seconds"], given["health_every_seconds"]) == (7, 3)
    assert given["health_api"] == "10.240.3.11:6443"
    assert given["health_authority"].startswith("-----BEGIN CERTIFICATE-----")
    assert given["health_mounts"] == [
        {"part": "cvmfs", "path": "/cvmfs/software.cygnet.internal", "unit": "swfs@software.cygnet.internal.service"},
        {"part": "eos", "path": "/eos/user", "unit": "xrdmount@user.service", "server": "10.240.3.11:1094"},
    ]


def test_it_comes_after_the_mounts_the_members_and_its_permission(local: program.Engine) -> None:
    before = local.one("Playbook", "health").depends_on
    assert {one.urn for one in local.of("Member")} <= before
    assert {local.one("Playbook", part).urn for part in ("cvmfs", "eos")} <= before
    assert local.one("ClusterRoleBinding", "health").urn in before
    role = local.one("ClusterRole", "health")
    assert local.one("ValidatingAdmissionPolicyBinding", "health").urn in role.depends_on


@pytest.mark.parametrize("day", [dt.date(2026, month, day) for month in range(1, 13) for day in (1, 28)])
def test_a_certificate_made_on_any_day_is_renewed_before_it_ends(day: dt.date) -> None:
    ends = day + dt.timedelta(hours=13140)
    needed = dt.date.fromisoformat(health.certificate_until(day))
    assert day + dt.timedelta(days=180) <= needed <= ends, "a new one is good at once"
    renewed = next(later for later in (day + dt.timedelta(days=n) for n in range(600)) if dt.date.fromisoformat(
        health.certificate_until(later)) > ends)  # fmt: skip
    assert renewed < ends - dt.timedelta(days=170), "an operator has half a year for it"


def test_the_authority_is_read_from_the_kubeconfig() -> None:
    cluster = {"server": "https://10.0.0.1:6443", "certificate-authority-data": base64.b64encode(b"PEM").decode()}
    assert health.authority(yaml.safe_dump({"clusters": [{"cluster": cluster}]})) == "PEM"


# What they may do to their nodes


def test_roles_give_no_more_than_to_read_and_patch_nodes(local: program.Engine) -> None:
    assert local.one("ClusterRole", "health").inputs["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}
    ]
    (subject,) = local.one("ClusterRoleBinding", "health").inputs["subjects"]
    assert (subject["kind"], subject["name"]) == ("Group", "cygnet:health")


def test_a_policy_that_cannot_be_evaluated_denies() -> None:
    assert health.POLICY["failurePolicy"] == "Fail"


# What the checker decides


@pytest.mark.parametrize(
    ("before", "cause", "after"),
    [
        ([], "", []),
        ([], "cvmfs", [OURS]),
        ([OURS], "cvmfs", [OURS]),
        ([OURS], "", []),
        ([{**OURS, "value": "joining"}], "cvmfs", [OURS]),
        ([CONTROL_PLANE], "cvmfs", [CONTROL_PLANE, OURS]),
        ([OURS, CONTROL_PLANE], "", [CONTROL_PLANE]),
    ],
)
def test_of_a_nodes_taints_ours_alone_is_changed(
    before: list[dict[str, str]], cause: str, after: list[dict[str, str]]
) -> None:
    assert checker.tainted(before, cause) == after


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (0, ""),
        (errno.EACCES, ""),
        (errno.ENOTCONN, checker.LOST),
        (errno.ECONNABORTED, checker.LOST),
        (errno.EIO, "answers with an error: Input/output error"),
    ],
)
def test_answers_in_words(answer: int, trouble: str) -> None:
    assert checker.in_words(answer) == trouble


def keeper(*mounts: Any, told: list[str], fails: bool = False) -> Any:
    def tell(cause: str) -> bool:
        if fails:
            raise ConnectionRefusedError("no API")
        told.append(cause)
        return True

    return checker.Keeper(list(mounts), every_seconds=3600, tell=tell)


def mount(part: str, trouble: str, *, known: bool = True) -> Any:
    """A mount that is not asked in this hour."""
    return checker.Mount(part, f"/{part}", f"{part}.service", 1, trouble=trouble, known=known, asked=float("inf"))


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of systemd, which says of each unit that it is enabled and active."""
    calls: list[str] = []

    def systemctl(*arguments: str) -> str:
        calls.append(" ".join(arguments))
        return "ActiveState=active\nUnitFileState=enabled\n"

    monkeypatch.setattr(checker, "systemctl", systemctl)
    return calls


def test_the_taint_names_the_parts_in_trouble() -> None:
    told: list[str] = []
    one = keeper(mount("eos", "answers with an error: x"), mount("cvmfs", "answers with an error: x"), told=told)
    one.round()
    one.mounts[0].trouble = one.mounts[1].trouble = ""
    one.round()
    one.round()
    assert told == ["cvmfs.eos", ""], "and is told again only when it is another, or it is time"


def test_nothing_is_told_before_every_mount_is_known() -> None:
    told: list[str] = []
    one = keeper(mount("cvmfs", ""), mount("eos", "", known=False), told=told)
    one.round()
    assert (told, one.has_tried_to_tell) == ([], False)


def test_an_api_that_is_away_does_not_hold_up_the_machine() -> None:
    one = keeper(mount("cvmfs", ""), told=[], fails=True)
    one.round()
    assert one.has_tried_to_tell
    assert "Kubernetes cannot be told: no API" in one.summary


def test_a_dead_mounts_unit_is_restarted_once_in_a_pause(asked: list[str]) -> None:
    one = keeper(mount("cvmfs", checker.LOST), told=[])
    one.round()
    one.round()
    assert [call for call in asked if "show" not in call] == ["restart --no-block cvmfs.service"]


def test_a_mount_that_answers_with_errors_is_left_alone(asked: list[str]) -> None:
    keeper(mount("cvmfs", "answers with an error: Input/output error"), told=[]).round()
    assert asked == []


@pytest.mark.parametrize("state", ["activating", "deactivating"])
def test_what_systemd_is_at_is_left_to_it(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    calls: list[str] = []

    def systemctl(*arguments: str) -> str:
        calls.append(arguments[0])
        return f"ActiveState={state}\nUnitFileState=enabled\n"

    monkeypatch.setattr(checker, "systemctl", systemctl)
    keeper(mount("cvmfs", checker.ABSENT), told=[]).round()
    assert calls == ["show"]


def test_a_client_that_waits_for_its_server_is_let_be(asked: list[str]) -> None:
    class Unanswered:
        """What has been asked for long."""

        seconds = 100.0

        def answer(self) -> None:
            """There is none."""

    waits = mount("eos", checker.SILENT)
    waits.question, waits.server = Unanswered(), f"127.0.0.1:{free_port()}"
    keeper(waits, told=[]).round()
    assert [call for call in asked if "show" not in call] == []
    assert waits.waits


def test_what_was_disabled_is_not_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "systemctl", lambda *_: "ActiveState=inactive\nUnitFileState=disabled\n")
    told: list[str] = []
    one = keeper(mount("cvmfs", checker.ABSENT), told=told)
    one.round()
    assert (one.mounts, told) == ([], [""])


# What the hub tells of it


@pytest.mark.parametrize(
    ("taints", "words"),
    [
        ([[], [CONTROL_PLANE]], ""),
        ([[OURS], [CONTROL_PLANE]], "no answer from the software repository on 1 of 1 machines"),
        ([[OURS], []], "no answer from the software repository on 1 of 2 machines"),
        ([[{**OURS, "value": "cvmfs.eos"}]], "no answer from the files of users and the software repository on 1 of 1"),
        ([[{**OURS, "value": "joining"}]], "no answer from what sessions need on 1 of 1 machines"),
    ],
)
def test_machines_that_are_unwell_in_words(taints: list[list[dict[str, str]]], words: str) -> None:
    assert unwell.TAINT == UNWELL_TAINT == checker.TAINT
    said = unwell.words({"spec": {"taints": one} if one else {}} for one in taints)
    assert said.startswith(words)
    assert bool(said) == bool(words)
