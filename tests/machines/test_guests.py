"""Users whom only an identity provider knows: from the hub, through a real Kubernetes API, to the list of a machine.

The homes that follow are in test_homes.py, and what the server of homes lets a guest do in tests/roles.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from components.playbook import PLAYBOOKS
from tests.live.ports import HOST, free_ports
from tests.live.waiting import until
from tests.machines.halting import away
from tests.machines.hubs_code import hubs_code
from tests.machines.kdc import REALM, Kdc
from tests.machines.kubernetes_api import KubernetesApi
from tests.unit import program
from tests.unit.running_hub import Someone, running_hub

HUB, SESSION = "of-the-hub", "of-a-session"
USERS = {HUB: "system:serviceaccount:hub:hub", SESSION: "system:serviceaccount:sessions:default"}
NAMED = {"root": {"uid": 70000, "home": "/eos/user/r/root"}, "_machine": {"uid": 0}}
PROVIDER = {"issuer": "https://login.example.org", "client_id": "swan", "client_secret": "s"}
STACK = {
    "cygnet:auth": {"kind": "oidc", "oidc": PROVIDER},
    "cygnet:eos": {"data": {"raw": {"readers": ["atlas"], "writers": ["staff"]}}},
}
KINDS = {"ConfigMap": "v1", "Role": "rbac.authorization.k8s.io/v1", "RoleBinding": "rbac.authorization.k8s.io/v1"}
# The hub's own code, in a process whose Kubernetes is the test's.
THE_HUBS = """
import asyncio, json, sys
from cygnet_hub.guests import Guests, GuestsSettings
from tornado.web import HTTPError

async def main():
    guests = Guests(GuestsSettings(**json.loads(sys.argv[1])))
    for line in sys.stdin:
        what, *given = json.loads(line)
        try:
            asked = given if what == "all" else [[what, *given]]
            await asyncio.gather(*(getattr(guests, what)(*words) for what, *words in asked))
            print("done", flush=True)
        except HTTPError as error:
            print(error.status_code, error.jupyterhub_message, flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesApi]:
    """With what the stack makes there for guests."""
    made = KubernetesApi(tmp_path_factory.mktemp("kubernetes"), USERS)
    declared = program.run("site", STACK)
    of_guests = [
        {"apiVersion": version, "kind": kind, **one.inputs}
        for kind, version in KINDS.items()
        for one in declared.of(kind)
        if one.name.startswith("guests")
    ]
    assert len(of_guests) == 5
    try:
        made.start()
        made.kubectl("create", "namespace", "eos")
        made.apply(*of_guests)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def hub(api: KubernetesApi) -> Iterator[Callable[..., str]]:
    """Asks the hub's code to do something: hub("admit", "ada", 70001, ["atlas"])."""
    settings = {"namespace": "eos", "name": "guests", "groups": ["atlas", "staff"]}
    with hubs_code(THE_HUBS, settings, api.kubeconfig(HUB)) as ask:
        yield ask


class Machine:
    """A machine's program, with the certificate that its kubelet has."""

    def __init__(self, api: KubernetesApi, folder: Path, certificate: Path) -> None:
        self.list, self._settings, self._log = folder / "users.json", folder / "guests.json", folder / "log"
        settings = {
            "api": f"{HOST}:{api.port}",
            "list": "eos/guests",
            "authority": str(api.folder / "ca.crt"),
            "certificate": str(certificate),
            "users": str(self.list),
            "units": [],
            "named": NAMED,
        }
        self._settings.write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the program."""
        argv = [sys.executable, str(PLAYBOOKS / "roles/eos/files/guests.py"), str(self._settings)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    def stop(self) -> None:
        """Ends it."""
        if self._process:
            self._process.kill()
            self._process.wait()

    @property
    def users(self) -> dict[str, Any]:
        """Whom it knows."""
        found: dict[str, Any] = json.loads(self.list.read_text()) if self.list.exists() else {}
        return found

    def knows(self, *names: str) -> None:
        """Waits until these are its guests, and no others."""
        until(lambda: {*self.users} == {*NAMED, *names}, f"{names} are known: {self.said()}", seconds=10, every=0.05)

    def said(self) -> str:
        """All of its journal."""
        return self._log.read_text() if self._log.exists() else ""


@pytest.fixture
def machine(api: KubernetesApi, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(api, tmp_path, api.certificate("system:node:worker-1", ["system:nodes"]))
    made.start()
    try:
        yield made
    finally:
        made.stop()
        api.kubectl(
            "patch", "configmap", "guests", "-neos", "--type=json", '--patch=[{"op":"add","path":"/data","value":{}}]'
        )


def test_a_machine_knows_a_guest_at_once_and_forgets_one_who_may_come_no_longer(
    hub: Callable[..., str], machine: Machine
) -> None:
    machine.knows()
    assert hub("admit", "ada", 70001, ["atlas", "Domain Users"]) == "done"
    machine.knows("ada")
    ada = machine.users["ada"]
    assert (ada["uid"], ada["home"], ada["groups"]) == (70001, "/eos/user/a/ada", ["atlas"]), (
        "other groups are not told"
    )
    assert hub("admit", "bob", 70002, []) == "done"
    machine.knows("ada", "bob")
    assert hub("regroup", "ada", ["staff"]) == "done"
    until(lambda: machine.users["ada"]["groups"] == ["staff"], "a group is another one", seconds=5, every=0.05)
    assert hub("regroup", "carol", ["staff"]) == "done"
    assert hub("forget", "ada") == "done"
    machine.knows("bob")
    assert "root" in machine.users


def test_a_whole_class_comes_at_once(hub: Callable[..., str], machine: Machine) -> None:
    names = [f"guest-{number}" for number in range(60)]
    assert hub("all", *(["admit", name, 80000 + number, []] for number, name in enumerate(names))) == "done"
    machine.knows(*names)


@pytest.mark.parametrize(
    ("name", "uid"), [("../../etc", 70001), ("Ada", 70001), ("_machine", 70001), ("ada", 0), ("ada", 2**31)]
)
def test_the_hub_writes_nobody_who_is_no_user(hub: Callable[..., str], machine: Machine, name: str, uid: int) -> None:
    assert hub("admit", name, uid, []).startswith("403 ")
    machine.knows()


def test_two_users_do_not_get_one_number(hub: Callable[..., str], machine: Machine) -> None:
    assert hub("admit", "ada", 70001, []) == "done"
    assert (
        hub("admit", "bob", 70001, [])
        == "403 Your number 70001 is another user's here. Tell those who run this service."
    )
    machine.knows("ada")


def test_a_machine_takes_nobodys_word_for_everything(api: KubernetesApi, machine: Machine) -> None:
    hostile = {
        "root": '{"uid": 70009, "groups": ["staff"]}',
        "twin": '{"uid": 70000, "groups": []}',
        "nobody": '{"uid": 0, "groups": []}',
        "a.b": '{"uid": 70003, "groups": []}',
        "text": "{",
        "ada": '{"uid": 70001, "groups": []}',
    }
    api.kubectl("patch", "configmap", "guests", "-neos", "--type=merge", f"--patch={json.dumps({'data': hostile})}")
    machine.knows("ada")
    assert machine.users["root"] == NAMED["root"]
    for name in ("twin", "nobody", "a.b", "text"):
        assert f"{name} is left out" in machine.said()


def test_a_machine_goes_on_without_kubernetes_and_learns_later_what_it_missed(
    api: KubernetesApi, hub: Callable[..., str], machine: Machine
) -> None:
    assert hub("admit", "ada", 70001, []) == "done"
    machine.knows("ada")
    with away(api):
        until(lambda: "Kubernetes does not tell" in machine.said(), "it is missed", seconds=10)
        assert hub("admit", "bob", 70002, []) == "503 Your home cannot be made ready now. Try again in some minutes."
        assert hub("regroup", "ada", ["staff"]) == "done", "the next time"
        machine.stop()
        machine.start()
        machine.knows("ada")
    assert hub("admit", "bob", 70002, []) == "done"
    machine.knows("ada", "bob")


def test_a_hub_makes_known_who_starts_a_session_and_forgets_who_may_come_no_longer(
    api: KubernetesApi, machine: Machine, tmp_path: Path
) -> None:
    """Everyone of a realm may be a guest; groups are the stack's."""
    with _realm("ada", "bob") as kdc:
        with _running_hub(api, kdc, tmp_path, lab=["ada", "bob"]) as hub:
            ada = Someone(hub, "ada", "ada's")
            machine.knows()
            assert ada.api("POST", "users/ada/server").status_code == 201
            machine.knows("ada")
            token = ada.api("POST", "users/ada/tokens", json={"note": "session"}).json()["token"]
        with _running_hub(api, kdc, tmp_path, lab=["bob"]) as hub:
            machine.knows("ada")
            asked = requests.get(
                f"{hub}/hub/api/kerberos-ticket", headers={"Authorization": f"token {token}"}, timeout=60
            )
            assert asked.status_code == 403
            machine.knows()


@contextmanager
def _realm(*names: str) -> Iterator[Kdc]:
    with tempfile.TemporaryDirectory(prefix="cygnet-krb-") as folder:
        made = Kdc(Path(folder))
        for name in names:
            made.administer(f'addprinc -pw "{name}\'s" {name}')
        made.start()
        try:
            yield made
        finally:
            made.stop()


@contextmanager
def _running_hub(api: KubernetesApi, kdc: Kdc, folder: Path, *, lab: list[str]) -> Iterator[str]:
    """The hub, which keeps what it knows in the folder; members of `lab` may sign in."""
    auth = {"kind": "kerberos", "realm": REALM, "groups": {"lab": lab}, "rights": {"sign_in": ["lab"]}}
    sessions = {"image": "i", "size": {"cores": 1, "memory_gib": 1}, "eos_claim": "eos"}
    settings = {
        "proxy_host": "127.0.0.1",
        "auth": auth,
        "sessions": sessions,
        "guests": {"namespace": "eos", "name": "guests"},
    }
    key = "0" * 64
    (port,) = free_ports(1)
    realm = f"Realm({REALM!r}, Path({str(kdc.config)!r}))"
    with running_hub(
        folder,
        port,
        settings,
        {"proxy_token": "t", "cookie_secret": key, "crypt_key": key},
        {},
        more=f"\nfrom cygnet_hub.kerberos_realm import Realm\nc.KerberosAuthenticator.realm = {realm}\n",
        environment={"KUBECONFIG": str(api.kubeconfig(HUB))},
    ) as address:
        yield address


def test_the_hub_may_change_this_list_and_see_no_other(api: KubernetesApi) -> None:
    for allowed in ("get", "patch"):
        api.kubectl("auth", "can-i", allowed, "configmap/guests", "-neos", token=HUB)
    for refused in (
        ("delete", "configmap/guests", "-neos"),
        ("update", "configmap/guests", "-neos"),
        ("list", "configmaps", "-neos"),
        ("get", "configmap/other", "-neos"),
        ("get", "configmap/guests", "-nkube-system"),
        ("get", "secrets", "-neos"),
    ):
        with pytest.raises(AssertionError):
            api.kubectl("auth", "can-i", *refused, token=HUB)


def test_a_session_sees_nobody(api: KubernetesApi) -> None:
    with pytest.raises(AssertionError, match="forbidden"):
        api.kubectl("get", "configmap", "guests", "-neos", token=SESSION)


def test_a_certificate_that_is_no_machines_is_refused(api: KubernetesApi, tmp_path: Path) -> None:
    stranger = Machine(api, tmp_path, api.certificate("stranger", ["people"]))
    stranger.start()
    try:
        until(lambda: "403: " in stranger.said(), "it is refused", seconds=10)
        stranger.knows()
    finally:
        stranger.stop()
