"""The registry: who may use it, and when an image is brought to it."""

import base64
import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

import images
from components import registry
from images import catalogue
from tests.unit import program


def test_the_login_file_is_as_container_tools_read_it() -> None:
    made = registry.login_file("10.0.0.1:5000", "node", "pass:word")
    user, _, password = base64.b64decode(made["auths"]["10.0.0.1:5000"]["auth"]).decode().partition(":")
    assert (user, password) == ("node", "pass:word")


def test_an_image_goes_to_the_registry_as_this_computer_reaches_it_with_the_stacks_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed: dict[str, Any] = {}

    def push(layout: Path, destination: str, *, ca_file: Path, authfile: Path, progress: Any) -> None:
        mode = authfile.stat().st_mode & 0o777
        login = json.loads(authfile.read_text())
        pushed.update(layout=layout, to=destination, ca=ca_file.read_text(), login=login, mode=mode, file=authfile)
        progress.say("sent")

    monkeypatch.setattr(images, "ensure", lambda name, _: Path("/layouts") / name)
    monkeypatch.setattr(images, "push", push)
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", told.append)
    outside = "203.0.113.5:5000"
    props = {"image": "hub", "reference": "10.0.0.1:5000/cygnet/hub:1", "authority": "CA", "password": "p"}
    props |= {"pushed_to": f"{outside}/cygnet", "username": "node"}
    made = registry._ImageProvider().create(props)
    assert made.outs == props
    assert (pushed["layout"], pushed["to"], pushed["ca"]) == (Path("/layouts/hub"), f"{outside}/cygnet/hub:1", "CA")
    assert pushed["login"] == registry.login_file(outside, "node", "p")
    assert pushed["mode"] == 0o600
    assert not pushed["file"].exists()
    assert "sent" in "".join(told)


OLD = {"reference": "r/hub:1", "fingerprint": "f", "registry_id": "a/b", "password": "p", "authority": "c"}


@pytest.mark.parametrize(
    ("edit", "changes"),
    [
        ({}, False),
        ({"password": "q"}, False),
        ({"reference": "r/hub:2"}, True),
        ({"fingerprint": "g"}, True),
        ({"registry_id": "a/c"}, True),
    ],
)
def test_an_image_is_sent_again_when_it_or_the_registry_is_another(edit: dict[str, str], changes: bool) -> None:
    assert registry._ImageProvider().diff("id", OLD, {**OLD, **edit}).changes is changes


def test_a_machine_made_anew_is_another_registry() -> None:
    host: dict[str, Any] = {"host_key": "k", "variables": {"machines_instance": "1"}}
    assert registry.identity(host) != registry.identity({**host, "variables": {"machines_instance": "2"}})
    assert registry.identity({"host_key": "k", "variables": {}}) != registry.identity(
        {"host_key": "l", "variables": {}}
    )


def test_every_image_that_is_used_is_one_of_ours_by_its_own_tag(local: program.Engine) -> None:
    for one in local.of("Image"):
        assert one.inputs["reference"] == f"10.240.3.11:5000/cygnet/{one.name}:{catalogue.tag(one.name)}"


def test_every_container_runs_an_image_from_the_stacks_registry(local: program.Engine) -> None:
    known = {one.inputs["reference"] for one in local.of("Image")}
    used = {container["image"] for pod in program.pods(local) for container in pod.containers}
    assert used
    assert used <= known


def test_the_registry_is_on_the_first_control_plane_and_nowhere_else(local: program.Engine) -> None:
    play = local.one("Playbook", "registry").inputs
    assert [host["name"] for host in play["hosts"]] == ["control-plane-1"]
    assert local.stack_outputs()[0]["parts"]["registry"] == {"address": "10.240.3.11:5000"}


def test_its_certificate_is_for_the_address_that_machines_use(local: program.Engine) -> None:
    assert local.one("Certificate", "registry").inputs["names"] == ["10.240.3.11"]


def test_its_key_and_password_are_secret(local: program.Engine) -> None:
    assert {"variables", "private_key"} <= local.one("Playbook", "registry").secret_inputs
    assert all("password" in one.secret_inputs for one in local.of("Image"))


def test_machines_pull_with_the_password_that_the_registry_has(local: program.Engine) -> None:
    password = local.one("Playbook", "registry").inputs["variables"]["registry_password"]
    given = local.one("Playbook", "cluster").inputs["variables"]
    assert (
        given["containerd_registry_authorization"] == f"Basic {base64.b64encode(f'node:{password}'.encode()).decode()}"
    )
    assert given["registry_endpoint"] == "10.240.3.11:5000"
