"""The hub's own Python: what it reads, what it tells JupyterHub, and whom it lets in."""

import asyncio
import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from argon2 import PasswordHasher
from cygnet_hub import accounts, config, patience, start
from cygnet_hub import user_ids as inside
from cygnet_hub.accounts import Accounts, AccountsAuthenticator
from cygnet_hub.address import Proxies
from cygnet_hub.oidc import OidcAuthenticator
from cygnet_hub.patience import Counter, Patience
from cygnet_hub.rights import NotAdmittedError, Rights, admitted
from cygnet_hub.settings import Secrets, Settings, SettingsError, read_secrets, read_settings
from cygnet_hub.spawner import SessionSpawner
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.scopes import expand_scopes
from jupyterhub.utils import format_exception
from kubernetes_asyncio.client import ApiClient
from kubespawner.reflector import ResourceReflector
from pydantic import SecretStr
from tornado.web import HTTPError
from traitlets.config import Config

from components.sign_in import user_ids as outside
from tests.live.waiting import until

SMALLEST: dict[str, Any] = {
    "sessions": {
        "image": "registry:5000/cygnet/session:1",
        "size": {"cores": 2, "memory_gib": 4},
        "home": {"storage_class": "shared"},
    }
}
KEY = "ab" * 32
PROFILES = [
    {"name": "small", "title": "Small", "cores": 1, "memory_gib": 2},
    {"name": "large", "title": "Large", "description": "For fits", "cores": 4, "memory_gib": 8,
     "node_selector": {"size": "large"}},
]  # fmt: skip
RELEASES = [
    {"name": "stable", "title": "Stable & sound", "description": "ROOT 6", "view": "/cvmfs/s.example/stable"},
    {"name": "bleeding", "title": "Bleeding edge", "view": "/cvmfs/s.example/bleeding"},
]
SECRETS = Secrets.model_validate({"proxy_token": "token of the proxy", "cookie_secret": KEY, "crypt_key": "cd" * 32})
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


EOS = {"home": None, "eos_claim": "eos"}
ALICE = 123456


def settings(sessions: dict[str, Any] | None = None, **keys: Any) -> Settings:
    return Settings.model_validate({**SMALLEST, **keys, "sessions": {**SMALLEST["sessions"], **(sessions or {})}})


# Settings


def refused(tmp_path: Path, told: Any) -> str:
    (tmp_path / "hub.yaml").write_text(told if isinstance(told, str) else yaml.safe_dump(told))
    with pytest.raises(SettingsError) as error:
        read_settings(tmp_path / "hub.yaml")
    assert str(tmp_path / "hub.yaml") in str(error.value)
    return str(error.value)


def test_the_smallest_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump(SMALLEST))
    read = read_settings(tmp_path / "hub.yaml")
    assert read.sessions.namespace == "sessions"
    assert read.sessions.home is not None
    assert read.sessions.home.size_gib == 10
    assert read.sessions.size.idle_hours == 0
    assert read.hub_url == "http://hub:8081"


@pytest.mark.parametrize(
    ("keys", "sessions", "found"),
    [
        ({"titel": "x"}, {}, "titel: is no setting of the hub"),
        ({"trusted_proxies": ["10.0.0.0/33"]}, {}, "trusted_proxies.0"),
        ({}, {"size": {"cores": 2, "memory_gib": 4, "idle_hours": -1}}, "sessions.size.idle_hours"),
        ({}, {"size": {"cores": 2, "memory_gib": 4, "tmp_gib": 0}}, "sessions.size.tmp_gib"),
        ({}, {"imagee": "x"}, "sessions.imagee: is no setting of the hub"),
        ({}, {"size": {"cores": 2, "memory": 4}}, "sessions.size.memory_gib: Field required"),
        ({}, {"size": {"cores": 0, "memory_gib": 4}}, "sessions.size.cores"),
        ({}, {"size": {"cores": 2, "memory_gib": 4, "cores_guaranteed": 3}}, "_guaranteed is 3, more than cores (2)"),
        ({}, {"size": {"cores": 2, "memory_gib": 4, "memory_gib_guaranteed": 5}}, "more than memory_gib (4)"),
        ({}, {"home": {"storage_class": "shared", "sise": 1}}, "sessions.home.sise: is no setting of the hub"),
        ({}, {"profiles": [PROFILES[0], PROFILES[0]]}, "two profiles have the name small"),
        ({}, {"releases": [RELEASES[0], RELEASES[0]]}, "two releases have the name stable"),
        ({}, {"releases": [{**RELEASES[0], "view": "stable"}]}, "sessions.releases.0.view"),
        ({}, {"idle_warning_minutes": "soon"}, "sessions.idle_warning_minutes"),
    ],
)  # fmt: skip
def test_a_bad_setting_is_refused(tmp_path: Path, keys: dict[str, Any], sessions: dict[str, Any], found: str) -> None:
    told = {**SMALLEST, **keys, "sessions": {**SMALLEST["sessions"], **sessions}}
    assert found in refused(tmp_path, told)


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    text = refused(tmp_path, {"titel": "x", "active_session_limit": "many", "sessions": {}})
    assert "4 findings" in text
    for key in ("titel", "active_session_limit", "sessions.image", "sessions.size"):
        assert f"\n  {key}: " in text


@pytest.mark.parametrize("told", ["", "[]", "sessions: [", "just text"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, told: str) -> None:
    refused(tmp_path, told)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"hub\.yaml"):
        read_settings(tmp_path / "hub.yaml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings().title = "x"  # type: ignore[misc]  # what mypy sees, too


def write_secrets(folder: Path, **changed: str) -> Path:
    for name, text in {"proxy-token": "t", "cookie-secret": KEY, "crypt-key": f"{KEY}\n", **changed}.items():
        (folder / name).write_text(text)
    return folder


def test_secrets_are_read_from_files_and_not_shown(tmp_path: Path) -> None:
    read = read_secrets(write_secrets(tmp_path))
    assert read.crypt_key.get_secret_value() == KEY
    assert KEY not in repr(read)


@pytest.mark.parametrize("text", ["not hexadecimal", "abcd", ""])
def test_a_bad_secret_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"cookie_secret: (is not hexadecimal|has . bytes, not 32)") as error:
        read_secrets(write_secrets(tmp_path, **{"cookie-secret": text}))
    assert not text or text not in str(error.value).replace("is not hexadecimal", "")


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    (write_secrets(tmp_path) / "crypt-key").unlink()
    with pytest.raises(SettingsError, match="crypt-key"):
        read_secrets(tmp_path)


# What JupyterHub is told


def made(*arguments: Any, **keys: Any) -> Config:
    return config.configuration(settings(*arguments, **keys), SECRETS)


def test_every_setting_is_one_that_jupyterhub_knows() -> None:
    """A misspelt one would be overlooked by JupyterHub."""
    classes = {
        "JupyterHub": JupyterHub,
        "ConfigurableHTTPProxy": ConfigurableHTTPProxy,
        "KubeSpawner": SessionSpawner,
        "AccountsAuthenticator": AccountsAuthenticator,
        "ResourceReflector": ResourceReflector,
    }
    told = made()
    assert set(told) == {*classes, "CryptKeeper"}
    for name, known in classes.items():
        assert set(told[name]) - set(known.class_traits(config=True)) == set()


def test_a_restart_of_the_hub_ends_nothing() -> None:
    told = made().JupyterHub
    assert told.cleanup_servers is False
    assert told.cleanup_proxy is False
    assert told.db_url == "sqlite:////srv/jupyterhub/jupyterhub.sqlite"
    assert told.cookie_secret == bytes.fromhex(KEY)
    assert made().CryptKeeper["keys"] == [bytes.fromhex("cd" * 32)]


def test_a_database_that_is_a_server_is_on_the_pod_s_loopback() -> None:
    assert made(database="postgresql").JupyterHub.db_url == "postgresql+psycopg2://jupyterhub@127.0.0.1/jupyterhub"


def test_a_page_of_files_has_a_service_that_users_may_use_and_a_link() -> None:
    told = made(files_port=8082).JupyterHub
    (service,) = told.services
    assert (service["name"], service["command"][-1]) == ("files", "8082")
    assert service["oauth_redirect_uri"].startswith(told.template_vars["files_url"])
    assert {"name": "user", "scopes": ["self", "access:services!service=files"]} in told.load_roles


def test_a_monitor_has_a_door_for_operators_and_a_reader_of_figures() -> None:
    secrets = SECRETS.model_copy(update={"monitor_token": SecretStr("m" * 32)})
    told = config.configuration(Settings.model_validate({**SMALLEST, "monitor_port": 8083}), secrets).JupyterHub
    door, reader = told.services
    assert (door["name"], door["command"][-1]) == ("monitor", "8083")
    assert door["oauth_redirect_uri"].startswith(told.template_vars["monitor_url"])
    assert reader == {"name": "prometheus", "api_token": "m" * 32, "display": False}
    roles = {role["name"]: role for role in told.load_roles}
    assert "access:services!service=monitor" in roles["operator"]["scopes"]
    assert roles["prometheus"] == {"name": "prometheus", "scopes": ["read:metrics"], "services": ["prometheus"]}
    assert "user" not in roles


def test_a_monitor_without_a_token_is_refused_with_its_name() -> None:
    with pytest.raises(SettingsError, match="monitor-token"):
        made(monitor_port=8083)


def test_the_proxy_is_a_pod_of_its_own() -> None:
    told = made(proxy_api_url="http://there:8001").ConfigurableHTTPProxy
    assert told == {"should_start": False, "api_url": "http://there:8001", "auth_token": "token of the proxy"}


def test_cookies_travel_by_https_only() -> None:
    assert made().JupyterHub.tornado_settings["cookie_options"] == {"secure": True, "samesite": "Lax"}


def test_hub_settings_arrive() -> None:
    told = made(title="SWAN", announcement="<b>x</b>", hub_url="http://h:8081", active_session_limit=7).JupyterHub
    others = {"files_url": None, "monitor_url": None, "password_url": None, "waiting_place": None}
    said = {name: value for name, value in told.template_vars.items() if name != "last_choice"}
    assert said == {"title": "SWAN", "announcement": "<b>x</b>", **others}
    assert told.hub_connect_url == "http://h:8081"
    assert told.active_server_limit == 7


def test_without_a_page_of_files_there_is_no_service() -> None:
    assert made().JupyterHub.services == []
    assert [role["name"] for role in made().JupyterHub.load_roles] == ["operator"]


def test_an_operators_rights_are_those_that_are_named() -> None:
    (role,) = made().JupyterHub.load_roles
    assert role["groups"] == ["operators"]
    rights = expand_scopes(role["scopes"])
    assert rights == {
        "admin-ui", "list:services", "list:users", "read:services:name", "read:servers", "read:users:activity",
        "read:users:name", "servers", "delete:servers",
    }  # fmt: skip
    assert made().AccountsAuthenticator.manage_groups is True


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """KubeSpawner makes manifests without a cluster."""
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda _: None)


def spawner(
    sessions: dict[str, Any] | None = None, *, user: str = "alice", member_of: tuple[str, ...] = (), **keys: Any
) -> SessionSpawner:
    """The spawner of a user's session, configured as the hub configures it."""
    groups = [SimpleNamespace(name=group) for group in member_of]
    person = SimpleNamespace(name=user, id=1, url=f"/user/{user}/", groups=groups)
    known = SimpleNamespace(user_id=lambda user: {"alice": ALICE}[user.name])
    return SessionSpawner(config=made(sessions, **keys), user=person, authenticator=known, _mock=True)


def pod(sessions: dict[str, Any] | None = None, *, user: str = "alice", **keys: Any) -> dict[str, Any]:
    async def manifest() -> dict[str, Any]:
        async with ApiClient() as client:
            found = await spawner(sessions, user=user, **keys).get_pod_manifest()
            plain: dict[str, Any] = client.sanitize_for_serialization(found)
            return plain

    return asyncio.run(manifest())


@pytest.mark.usefixtures("offline")
def test_a_session_has_no_rights() -> None:
    spec = pod()["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"] == {
        "fsGroup": 100,
        "fsGroupChangePolicy": "OnRootMismatch",
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsGroup": 100,
        "runAsUser": 1000,
    }


@pytest.mark.usefixtures("offline")
def test_a_session_writes_to_its_home_and_to_scratch() -> None:
    spec = pod({"size": {"cores": 2, "memory_gib": 4, "tmp_gib": 1.5}})["spec"]
    (container,) = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.pop("home") == "/home/alice"
    assert set(mounts.values()) == {"/tmp", "/dev/shm", "/var/lib/extrausers"}  # noqa: S108 - the pod's own
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["home"]["persistentVolumeClaim"] == {"claimName": "home-alice"}
    assert volumes["tmp"]["emptyDir"] == {}
    assert container["resources"]["limits"]["ephemeral-storage"] == "1.5Gi"
    assert container["resources"]["requests"]["ephemeral-storage"] == "64Mi", "or all of it were kept free"
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory"}
    assert "workingDir" not in container, "start-session goes there, when it has seen that it is there"


@pytest.mark.usefixtures("offline")
def test_a_session_on_eos_is_its_users_own_number_and_has_the_home_that_all_machines_have() -> None:
    manifest = pod(EOS)
    (container,) = manifest["spec"]["containers"]
    assert container["securityContext"]["runAsUser"] == ALICE
    assert container["securityContext"]["runAsGroup"] == 100
    assert environment(manifest)["HOME"] == "/eos/user/a/alice"
    assert environment(manifest)["USER"] == "alice"
    volumes = {volume["name"]: volume for volume in manifest["spec"]["volumes"]}
    assert volumes["eos"]["persistentVolumeClaim"] == {"claimName": "eos", "readOnly": False}
    assert "home" not in volumes
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "eos"]
    assert (mount["mountPath"], mount["mountPropagation"]) == ("/eos", "HostToContainer")
    # A missing home is told by the session itself; the container's first folder has to be there.
    assert "workingDir" not in container


@pytest.mark.usefixtures("offline")
def test_a_session_on_eos_asks_for_no_volume() -> None:
    assert spawner(EOS).storage_pvc_ensure is False


@pytest.mark.parametrize("sessions", [{"home": None}, {"eos_claim": "eos"}])
def test_homes_are_in_one_place(sessions: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="by one of the two: home or eos_claim"):
        settings(sessions)


@pytest.mark.usefixtures("offline")
def test_a_session_runs_what_it_is_told_to_run() -> None:
    (container,) = pod()["spec"]["containers"]
    assert container["image"] == "registry:5000/cygnet/session:1"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["args"] == ["/usr/local/bin/jupyterhub-singleuser"], "not one of that name that a user has"
    assert "command" not in container  # the image's entry point gives the user a name first


def environment(manifest: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in manifest["spec"]["containers"][0]["env"]}


@pytest.mark.usefixtures("offline")
def test_the_environment_is_the_sites_word_for_word() -> None:
    found = environment(pod({"environment": {"TZ": "Europe/Zurich", "BRACES": "{username} {}"}}))
    assert found["HOME"] == "/home/alice"
    assert found["USER"] == "alice"
    assert found["TZ"] == "Europe/Zurich"
    assert found["BRACES"] == "{username} {}"
    assert found["JUPYTERHUB_DEFAULT_URL"] == "/lab"
    assert found["CYGNET_LINK_HOSTS"] == ""
    assert environment(pod({"link_hosts": ["a.example", "b.example"]}))["CYGNET_LINK_HOSTS"] == "a.example b.example"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("user", ["alice", "Ünsal", "a.b@example.org", "x" * 80, "-", "a:b/c"])
def test_any_name_gives_a_safe_home(user: str) -> None:
    manifest = pod(user=user)
    home = environment(manifest)["HOME"]
    assert re.fullmatch(r"/home/[a-z0-9][a-z0-9-]{0,62}", home)
    assert environment(manifest)["USER"] == home.removeprefix("/home/")
    assert re.fullmatch(r"session-[a-z0-9-]{1,55}", manifest["metadata"]["name"])
    assert manifest["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == f"home-{home.removeprefix('/home/')}"


@pytest.mark.usefixtures("offline")
def test_two_names_never_share_a_home() -> None:
    names = ["alice", "Alice", "a.b", "a-b", "a@b", "x" * 80, "x" * 81]
    assert len({environment(pod(user=name))["HOME"] for name in names}) == len(names)


@pytest.mark.usefixtures("offline")
def test_limits_and_guarantees() -> None:
    (container,) = pod({"size": {"cores": 2, "memory_gib": 4}})["spec"]["containers"]
    assert container["resources"] == {
        "limits": {"cpu": 2.0, "memory": 4 * 2**30, "ephemeral-storage": "10Gi"},
        "requests": {"cpu": 0.2, "memory": 2**30, "ephemeral-storage": "64Mi"},
    }
    size = {"cores": 1, "memory_gib": 2, "cores_guaranteed": 0.5, "memory_gib_guaranteed": 1.5}
    (container,) = pod({"size": size})["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": 0.5, "memory": 1610612736, "ephemeral-storage": "64Mi"}


@pytest.mark.usefixtures("offline")
def test_where_sessions_go() -> None:
    manifest = pod({"node_selector": {"pool": "users"}, "namespace": "elsewhere"})
    assert manifest["metadata"]["labels"]["app.kubernetes.io/component"] == "session"
    assert manifest["spec"]["nodeSelector"] == {"pool": "users"}
    assert spawner({"namespace": "elsewhere"}).namespace == "elsewhere"


@pytest.mark.usefixtures("offline")
def test_a_home_outlives_its_session() -> None:
    found = spawner({"home": {"storage_class": "shared", "size_gib": 3}})
    claim = found.get_pvc_manifest()
    assert found.delete_pvc is False
    assert claim.metadata.name == "home-alice"
    assert claim.spec.storage_class_name == "shared"
    assert claim.spec.access_modes == ["ReadWriteMany"]
    assert claim.spec.resources.requests == {"storage": "3Gi"}


def test_no_profiles_no_page_of_choices() -> None:
    assert made().KubeSpawner.profile_list == []


@pytest.mark.usefixtures("offline")
def test_a_chosen_profile_is_what_the_session_gets() -> None:
    sessions = {"profiles": PROFILES, "node_selector": {"pool": "users"}}
    small, large = made(sessions).KubeSpawner.profile_list
    assert (small["default"], large["default"]) == (True, False)
    assert small["description"] == "1 core, 2 GiB of memory"
    assert large["description"] == "For fits"

    chosen = spawner(sessions)
    chosen.user_options = {"profile": "large"}
    asyncio.run(chosen.load_user_options())
    assert chosen.mem_limit == 8 * 2**30
    assert chosen.node_selector == {"pool": "users", "size": "large"}


# Machines that go away


class Watched(SessionSpawner):
    """A session whose pod is what a test says; Kubernetes is asked to delete it by taking it away."""

    def __init__(self, pod: dict[str, Any], **keys: Any) -> None:
        super().__init__(**keys)
        self.pods = {f"{self.namespace}/{self.pod_name}": pod}

    @property
    def pod_reflector(self) -> Any:
        return SimpleNamespace(pods=self.pods)

    event_reflector = None

    async def _start_watching_pods(self, replace: bool = False) -> None:
        pass

    _start_watching_events = _start_watching_pods

    async def stop(self, now: bool = False) -> None:
        assert now, "a dead machine does not end its pods in its own time"
        self.pods.clear()

    async def _start(self) -> None:
        pass


class Recorder:
    """In place of the log of who did what."""

    def __init__(self) -> None:
        self.sessions: list[tuple[str, ...]] = []

    def session(self, _spawner: Any, *told: str) -> None:
        self.sessions.append(told)


def watched(port: int, conditions: dict[str, str], phase: str = "Running") -> Watched:
    """A session on worker-1, at a port of this computer, with what Kubernetes says of its pod."""
    person = SimpleNamespace(name="alice", id=1, url="/user/alice/", settings={"audit": Recorder()})
    found = {
        "metadata": {"name": "session-alice"},
        "spec": {"nodeName": "worker-1"},
        "status": {
            "phase": phase,
            "podIP": "127.0.0.1",
            "conditions": [{"type": kind, "status": status} for kind, status in conditions.items()],
            # The machine's last word stays as it was.
            "containerStatuses": [{"name": "notebook", "ready": True, "state": {"running": {}}}],
        },
    }
    return Watched(found, config=made(), user=person, port=port, _mock=True)


LOST = "the machine on which it ran (worker-1) stopped answering"
WELL = {"ContainersReady": "True", "Ready": "True"}
UNREACHABLE = {"ContainersReady": "True", "Ready": "False"}


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def silent() -> int:
    """A port at which nobody is any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.usefixtures("offline")
def test_a_session_on_a_lost_machine_ends_and_its_pod_goes(silent: int) -> None:
    session = watched(silent, UNREACHABLE)
    assert asyncio.run(session.poll()) == 1
    assert session.ended_because == LOST
    assert session.pods == {}
    assert session.user.settings["audit"].sessions == [("end session", "done", LOST)]
    assert asyncio.run(session.poll()) == 1


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "conditions",
    [
        pytest.param(WELL, id="its machine reports"),
        pytest.param({"ContainersReady": "False", "Ready": "False"}, id="its container starts again"),
        pytest.param({}, id="nothing is known yet"),
    ],
)
def test_a_silent_session_on_a_machine_that_reports_goes_on(silent: int, conditions: dict[str, str]) -> None:
    session = watched(silent, conditions)
    assert asyncio.run(session.poll()) is None
    assert session.pods


@pytest.mark.usefixtures("offline")
def test_a_session_that_answers_goes_on_though_its_machine_does_not_report(listening: int) -> None:
    session = watched(listening, UNREACHABLE)
    assert asyncio.run(session.poll()) is None
    assert session.ended_because == ""


@pytest.mark.usefixtures("offline")
def test_a_machine_that_swallows_packets_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_comes_back(*_: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio, "open_connection", nothing_comes_back)
    monkeypatch.setattr("cygnet_hub.spawner.CONNECT_SECONDS", 0.05)
    assert asyncio.run(watched(1, UNREACHABLE).poll()) == 1


@pytest.mark.usefixtures("offline")
def test_a_lost_machine_is_remembered_until_the_next_start(silent: int) -> None:
    session, later = watched(silent, UNREACHABLE), watched(silent, WELL)

    async def end_and_start_anew() -> None:
        await session.poll()
        session.clear_state()
        later.load_state(session.get_state())
        assert later.ended_because == LOST
        await later.start()
        assert later.get_state()["ended_because"] == ""

    asyncio.run(end_and_start_anew())


# What a user may choose


def start_page(sessions: dict[str, Any], chosen: dict[str, Any] | None = None) -> str:
    """The hub's start page, as KubeSpawner renders it with our template."""
    found = spawner(sessions)
    found.additional_profile_form_template_paths = [str(Path(config.__file__).parents[1] / "templates")]
    found.user_options = chosen or {}
    return str(found._render_options_form(found.profile_list))


def checked(page: str) -> list[str]:
    """The choices that are made already, as "name value"."""
    inputs = re.findall(r"<input[^>]*>", page)
    made_already = [one for one in inputs if " checked" in one]
    return [" ".join(re.findall(r'(?:name|value)="([^"]*)"', one)) for one in made_already]


def chosen(sessions: dict[str, Any], **options: str) -> dict[str, str]:
    """The environment of a session for which this was chosen."""
    found = spawner(sessions)
    found.user_options = options
    asyncio.run(found.load_user_options())
    return dict(found.environment)


@pytest.mark.usefixtures("offline")
def test_the_page_shows_releases_with_the_first_one_chosen() -> None:
    page = start_page({"releases": RELEASES})
    assert re.findall(r'name="release"[^>]*value="(\w+)"', page) == ["stable", "bleeding"]
    assert "Stable &amp; sound" in page
    assert "ROOT 6" in page
    assert checked(page) == ["release stable"]
    assert 'name="profile"' not in page, "a single profile is no choice"


@pytest.mark.usefixtures("offline")
def test_the_page_remembers_the_last_choice_unless_it_is_gone() -> None:
    assert checked(start_page({"releases": RELEASES}, {"release": "bleeding"})) == ["release bleeding"]
    assert checked(start_page({"releases": RELEASES}, {"release": "withdrawn"})) == ["release stable"]


@pytest.mark.usefixtures("offline")
def test_the_page_has_sizes_and_releases_where_there_are_both() -> None:
    sessions = {"profiles": PROFILES, "releases": RELEASES}
    assert checked(start_page(sessions)) == ["profile small", "release stable"]
    assert checked(start_page(sessions, {"profile": "large", "release": "bleeding"})) == [
        "profile large", "release bleeding",
    ]  # fmt: skip


@pytest.mark.usefixtures("offline")
def test_the_chosen_release_reaches_the_session() -> None:
    assert chosen({"releases": RELEASES})["CYGNET_VIEW"] == "/cvmfs/s.example/stable"
    found = chosen({"releases": RELEASES, "environment": {"TZ": "UTC"}}, release="bleeding")
    assert found["CYGNET_VIEW"] == "/cvmfs/s.example/bleeding"
    assert found["TZ"] == "UTC"
    assert found["HOME"] == "/home/{username}"


@pytest.mark.usefixtures("offline")
def test_one_users_choice_is_not_another_ones() -> None:
    told = made({"releases": RELEASES})
    people = [SimpleNamespace(name=name, id=1, url=f"/user/{name}/") for name in ("alice", "bob")]
    alice, bob = (SessionSpawner(config=told, user=person, _mock=True) for person in people)
    alice.user_options = {"release": "bleeding"}
    for one in (alice, bob):
        asyncio.run(one.load_user_options())
    assert bob.environment["CYGNET_VIEW"] == "/cvmfs/s.example/stable"


@pytest.mark.usefixtures("offline")
def test_a_form_is_read_as_the_api_would_say_it() -> None:
    found = spawner({"releases": RELEASES})
    assert found.run_options_from_form({"release": ["bleeding"]}) == {"release": "bleeding"}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"release": "forged"}, "there is no release 'forged' here; choose one of: stable, bleeding"),
        ({"release": ["stable"]}, "there is no release"),
        ({"release": {"a": 1}}, "there is no release"),
        ({"release--unlisted-choice": "x"}, "there is no release--unlisted-choice 'x' here; choose: profile, release"),
        ({"profile": "huge"}, "there is no profile 'huge' here; choose one of: small, large"),
        ({"image": "registry/other:1"}, "there is no image"),
        ({"release": "50%s"}, "there is no release '50%s'"),
    ],
)
def test_what_is_no_choice_is_refused_and_not_kept(options: dict[str, Any], said: str) -> None:
    found = spawner({"profiles": PROFILES, "releases": RELEASES})
    found.orm_spawner = SimpleNamespace(name="", user_options=options, state=None, server=None)
    with pytest.raises(HTTPError) as error:
        asyncio.run(found._run_apply_user_options(options))
    assert error.value.status_code == 400
    assert said in format_exception(error.value)[0]
    assert error.value.log_message is not None
    assert said in error.value.log_message % ()
    assert found.orm_spawner.user_options is None


@pytest.mark.usefixtures("offline")
def test_what_is_a_choice_is_taken() -> None:
    found = spawner({"profiles": PROFILES, "releases": RELEASES})
    for options in ({}, {"release": "bleeding"}, {"profile": "large"}):
        asyncio.run(found._run_apply_user_options(options))


FOR_GROUPS = {
    "profiles": [PROFILES[0], {**PROFILES[1], "groups": ["staff"]}],
    "releases": [RELEASES[0], {**RELEASES[1], "groups": ["beta", "staff"]}],
}


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("member_of", "open_to_them"),
    [
        ((), {"profile": ["small"], "release": ["stable"]}),
        (("beta", "other"), {"profile": ["small"], "release": ["stable", "bleeding"]}),
        (("staff",), {"profile": ["small", "large"], "release": ["stable", "bleeding"]}),
    ],
)
def test_what_is_for_a_group_is_shown_to_its_members_and_refused_to_others(
    member_of: tuple[str, ...], open_to_them: dict[str, list[str]]
) -> None:
    found = spawner(FOR_GROUPS, member_of=member_of)
    page = found.profile_list(found)
    assert [one["slug"] for one in page] == open_to_them["profile"]
    assert list(page[0]["profile_options"]["release"]["choices"]) == open_to_them["release"]
    for name, values in {"profile": ["small", "large"], "release": ["stable", "bleeding"]}.items():
        for value in values:
            found.orm_spawner = SimpleNamespace(name="", user_options=None, state=None, server=None)
            asked = found._run_apply_user_options({name: value})
            if value in open_to_them[name]:
                asyncio.run(asked)
            else:
                with pytest.raises(HTTPError):
                    asyncio.run(asked)


# Who may sign in


def test_whoever_is_in_no_group_that_may_sign_in_is_told_which_may() -> None:
    rights = Rights(sign_in=("lab", "staff"), admin=("staff",), admins=("root",))
    assert admitted("ada", ["lab"], rights)["groups"] == ["lab"]
    assert admitted("bob", ["staff"], rights)["groups"] == ["operators", "staff"]
    assert admitted("root", [], rights)["groups"] == ["operators"]
    with pytest.raises(NotAdmittedError) as error:
        admitted("eve", ["operators"], rights)
    assert error.value.status_code == 403
    assert "members of: lab, staff" in error.value.jupyterhub_message


def test_a_providers_group_called_operators_makes_nobody_an_operator() -> None:
    assert admitted("eve", ["operators", "lab"], Rights())["groups"] == ["lab"]


def test_a_user_has_one_number_in_the_hub_and_on_machines() -> None:
    for name in ("ada", "a", "seat-001", "a" * 31):
        assert inside.user_id(name) == outside.user_id(name)


def oidc(**claims: str) -> tuple[OidcAuthenticator, dict[str, str]]:
    made_door = OidcAuthenticator(username_claim="preferred_username", uid_claim="uid", login_service="the lab")
    return made_door, claims


def test_a_claims_name_is_taken_in_small_letters_or_refused() -> None:
    door, claims = oidc(preferred_username="Ada")
    assert door.user_info_to_username(claims) == "ada"
    for name in ("ada.lovelace", "ada_l", "1ada", "", "a" * 32, "ada/../bob", "ada\n", "\u212aevin"):
        with pytest.raises(HTTPError) as error:
            door.user_info_to_username({"preferred_username": name})
        assert error.value.status_code == 403


@pytest.mark.parametrize(
    ("number", "taken"), [("70000", True), ("0", False), ("999", False), ("x", False), ("", False)]
)
def test_a_claims_number_is_that_of_no_system_user(number: str, taken: bool) -> None:
    door, claims = oidc(uid=number)

    async def state() -> dict[str, Any]:
        return {door.user_auth_state_key: claims}

    user = SimpleNamespace(name="ada", get_auth_state=state)
    if taken:
        assert asyncio.run(door.user_id(user)) == int(number)
    else:
        with pytest.raises(HTTPError, match="gives no number for ada"):
            asyncio.run(door.user_id(user))


# A session that cannot start


Telling = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def telling(offline: None, monkeypatch: pytest.MonkeyPatch) -> Telling:
    """Has Kubernetes tell one status of the pod after the other; what was not looked at stays in the list."""
    assert offline is None
    monkeypatch.setattr(start, "LOOKED_EVERY_SECONDS", 0)

    def tell(*statuses: dict[str, Any]) -> list[dict[str, Any]]:
        told = [{"metadata": {}, "status": status} for status in statuses]
        pods = SimpleNamespace(get=lambda _key, _default: told.pop(0))
        monkeypatch.setattr(SessionSpawner, "pod_reflector", SimpleNamespace(pods=pods))
        return told

    return tell


def container(ready: bool, **state: Any) -> dict[str, Any]:
    return {"name": "notebook", "ready": ready, "state": {"running": {}}, "lastState": {}, **state}


def test_a_session_is_there_when_its_server_listens(telling: Telling) -> None:
    starts = {"phase": "Running", "podIP": "10.244.1.2", "containerStatuses": [container(ready=False)]}
    left = telling({"phase": "Pending"}, starts, {**starts, "containerStatuses": [container(ready=True)]})
    found = spawner()
    asyncio.run(found.after_pod_created_hook(found, None))
    assert left == []


def test_a_session_that_ended_says_why(telling: Telling) -> None:
    ended = {"terminated": {"exitCode": 1, "message": "well so far\nsession refused: no view\n"}}
    again = container(ready=False, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)
    telling({"phase": "Running", "podIP": "10.244.1.2", "containerStatuses": [again]})
    found = spawner()
    with pytest.raises(HTTPError) as error:
        asyncio.run(found.after_pod_created_hook(found, None))
    assert format_exception(error.value)[0] == "no view"


@pytest.mark.usefixtures("offline")
def test_a_session_is_asked_whether_it_listens() -> None:
    (one,) = pod()["spec"]["containers"]
    (port,) = {port["containerPort"] for port in one["ports"]}
    assert one["readinessProbe"]["tcpSocket"] == {"port": port}


@pytest.mark.usefixtures("offline")
def test_a_session_cannot_write_where_there_is_no_limit() -> None:
    """Kubernetes gives every container a file of the machine's disk, and does not count what is in it."""
    (one,) = pod()["spec"]["containers"]
    assert one["terminationMessagePath"].startswith("/root/"), "only root may go there"
    assert one["terminationMessagePolicy"] == "FallbackToLogsOnError", "what is in the log is read instead"


ENDED = {"name": "notebook", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
FULL = "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "


@pytest.fixture
def pods(offline: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """All that the hub knows, by name; the session of who has one is ready."""
    assert offline is None

    async def watched(*_: Any) -> None:
        """The pods are."""

    known: dict[str, Any] = {}
    monkeypatch.setattr(SessionSpawner, "pod_reflector", SimpleNamespace(pods=known))
    monkeypatch.setattr(SessionSpawner, "_start_watching_pods", watched)
    monkeypatch.setattr(SessionSpawner, "_start_watching_events", watched)
    monkeypatch.setattr(SessionSpawner, "event_reflector", SimpleNamespace(events=[]))
    monkeypatch.setattr(SessionSpawner, "ready", True)
    monkeypatch.setattr("cygnet_hub.spawner.LOOKED_EVERY_SECONDS", 0.01)
    monkeypatch.setattr("cygnet_hub.spawner.SETTLED_SECONDS", 1)
    return known


def ends(pods: dict[str, Any], *, then: dict[str, Any] | None = None, asking: int = 1) -> list[str]:
    """Why a session has ended whose container has: what each of those who ask at once notes.

    Args:
        pods: What the hub knows.
        then: What Kubernetes says of the pod a moment later.
        asking: How many ask.
    """
    found, told = spawner(), list[str]()
    name = f"{found.namespace}/{found.pod_name}"
    limits = {"containers": [{"resources": {"limits": {"ephemeral-storage": "1Gi"}}}]}
    pods[name] = {
        "metadata": {"uid": "1"},
        "spec": limits,
        "status": {"phase": "Running", "containerStatuses": [ENDED]},
    }

    async def stop(**_: Any) -> None:
        pods.clear()
        await asyncio.sleep(0.01)

    async def asked() -> list[int | None]:
        if then:
            said = {**pods[name], "status": {**pods[name]["status"], **then}}
            asyncio.get_running_loop().call_later(0.05, lambda: pods.update({name: said}))
        return await asyncio.gather(*(found.poll() for _ in range(asking)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "stop", stop)
        patch.setattr(found, "has_ended", told.append)
        assert None not in asyncio.run(asked())
    return told


def test_who_asks_while_the_pod_of_an_ended_session_is_deleted_reads_why_too(pods: dict[str, Any]) -> None:
    assert set(ends(pods, then={"phase": "Succeeded"}, asking=2)) == {"its notebook server was shut down"}


def test_why_kubernetes_ended_a_session_is_waited_for(pods: dict[str, Any]) -> None:
    """It says so only when all of the pod has ended, and that the container has a moment before."""
    told = ends(pods, then={"phase": "Failed", "reason": "Evicted", "message": FULL})
    assert told == ["it wrote more than 1 GiB to /tmp"]


def test_why_a_session_was_evicted_is_known_though_its_server_ended_well(
    pods: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes takes such a pod for one that succeeded, and drops what it was about to say of it."""
    name = spawner().pod_name
    events = [
        {
            "reason": "Evicted",
            "message": message,
            "involvedObject": {"name": name, "uid": uid},
            "metadata": {"uid": uid},
        }
        for message, uid in (("The node was low on resource: memory.", "of a pod before"), (FULL, "1"))
    ]
    monkeypatch.setattr(SessionSpawner, "event_reflector", SimpleNamespace(events=events))
    assert ends(pods, then={"phase": "Succeeded"}) == ["it wrote more than 1 GiB to /tmp"]


def test_of_who_never_had_a_session_no_events_are_asked(pods: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub looks at everybody's session when it starts, and each look at events is at those of all sessions."""
    asked: list[Any] = []

    async def watched(*_: Any) -> None:
        asked.append(True)

    monkeypatch.setattr(SessionSpawner, "ready", False)
    monkeypatch.setattr(SessionSpawner, "_start_watching_events", watched)
    assert pods == {}
    assert asyncio.run(spawner().poll()) is not None
    assert asked == []


def test_where_kubernetes_never_says_why_a_session_ends_all_the_same(pods: dict[str, Any]) -> None:
    assert ends(pods) == ["its notebook server was shut down"]


# Software in a session


@pytest.mark.usefixtures("offline")
def test_a_session_has_the_machines_repositories_and_sees_what_is_mounted_later() -> None:
    spec = pod({"cvmfs_claim": "cvmfs"})["spec"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "cvmfs"]
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "cvmfs"]
    assert volume["persistentVolumeClaim"] == {"claimName": "cvmfs", "readOnly": True}
    assert mount == {"name": "cvmfs", "mountPath": "/cvmfs", "readOnly": True, "mountPropagation": "HostToContainer"}


@pytest.mark.usefixtures("offline")
def test_without_a_claim_there_is_no_such_folder() -> None:
    assert "/cvmfs" not in json.dumps(pod())


# Who may come in


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The accounts of alice, and of root, who is an operator."""
    target = tmp_path / "accounts.json"
    people = {
        "alice": {"hash": QUICK.hash("right"), "uid": 1},
        "root": {"hash": QUICK.hash("secret"), "admin": True, "uid": 2},
    }
    target.write_text(json.dumps(people))
    return target


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(file: Path, clock: Clock) -> AccountsAuthenticator:
    told = made(proxy_host="10.244.1.5")
    told.AccountsAuthenticator.accounts_file = str(file)
    made_door = AccountsAuthenticator(config=told)
    made_door.patience = Patience(clock)
    made_door._nobody = QUICK.hash("nobody knows")
    return made_door


def request(address: str = "192.0.2.1") -> Any:
    """Who handles a request that came through the gateway and the proxy."""
    return SimpleNamespace(request=asked("10.244.1.5", f"{address}, 10.244.0.3"))


def asked(peer: str, *forwarded: str) -> Any:
    """A request, and what stands in its header."""
    headers = SimpleNamespace(get_list=lambda _: list(forwarded))
    return SimpleNamespace(headers=headers, connection=SimpleNamespace(context=SimpleNamespace(address=(peer, 1))))


def enter(door: AccountsAuthenticator, name: str, password: str, address: str = "192.0.2.1") -> Any:
    """What the hub makes of a sign-in: the user, None, or the seconds to wait."""
    data = {"username": name, "password": password}
    try:
        return asyncio.run(door.get_authenticated_user(request(address), data))
    except HTTPError as error:
        found = re.fullmatch(r"Too many wrong passwords\. Try again in (\d+) s\.", str(error.log_message))
        return int(found[1]) if found and error.status_code == 429 else pytest.fail(repr(error))


def test_right_passwords(door: AccountsAuthenticator) -> None:
    alice, root = enter(door, "alice", "right"), enter(door, "root", "secret")
    assert (alice["name"], alice["admin"], alice["groups"]) == ("alice", False, [])
    assert (root["name"], root["admin"], root["groups"]) == ("root", False, ["operators"])
    assert enter(door, "Alice", "right")["name"] == "alice"


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong"), ("alice", ""), ("alice", "secret"), ("alice", "right "), ("nobody", "right"), ("", "")],
)
def test_wrong_ones(door: AccountsAuthenticator, name: str, password: str) -> None:
    assert enter(door, name, password) is None


def test_a_form_without_fields_is_a_wrong_password(door: AccountsAuthenticator) -> None:
    assert asyncio.run(door.get_authenticated_user(request(), {})) is None


def test_an_unknown_user_costs_a_check_like_a_known_one(
    door: AccountsAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    verify = accounts.verify

    def noted(expected: str, said: str) -> bool:
        checked.append(expected)
        return verify(expected, said)

    monkeypatch.setattr(accounts, "verify", noted)
    enter(door, "nobody", "x")
    enter(door, "alice", "x")
    assert [one.split("$")[1] for one in checked] == ["argon2id", "argon2id"]


def test_an_unknown_users_check_is_as_hard_as_a_new_accounts() -> None:
    strength = PasswordHasher()
    nobody = AccountsAuthenticator(config=made())._nobody
    assert f"m={strength.memory_cost},t={strength.time_cost},p={strength.parallelism}" in nobody


def test_each_wrong_password_costs_more_up_to_a_minute(door: AccountsAuthenticator, clock: Clock) -> None:
    for _ in range(3):
        assert enter(door, "alice", "wrong") is None
    waits = []
    for _ in range(9):
        waits.append(enter(door, "alice", "wrong"))
        clock.now += waits[-1]
        assert enter(door, "alice", "wrong") is None
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_waiting_is_for_the_right_password_too_and_then_it_is_over(door: AccountsAuthenticator, clock: Clock) -> None:
    for _ in range(3):
        enter(door, "alice", "wrong")
    assert enter(door, "alice", "right") == 1
    clock.now += 1
    assert enter(door, "alice", "right")["name"] == "alice"
    assert enter(door, "alice", "wrong") is None


def test_what_was_refused_does_not_count(door: AccountsAuthenticator, clock: Clock) -> None:
    for _ in range(3):
        enter(door, "alice", "wrong")
    for _ in range(10):
        assert enter(door, "alice", "wrong") == 1
    clock.now += 1
    assert enter(door, "alice", "right")["name"] == "alice"


def test_an_unknown_user_waits_like_a_known_one(door: AccountsAuthenticator) -> None:
    assert [enter(door, "nobody", "x") for _ in range(4)] == [None, None, None, 1]


def test_others_guesses_do_not_keep_a_user_waiting_who_signed_in_before(door: AccountsAuthenticator) -> None:
    enter(door, "alice", "right", address="192.0.2.1")
    assert [enter(door, "alice", "wrong", address="6.6.6.6") for _ in range(4)] == [None, None, None, 1]
    assert enter(door, "alice", "right", address="192.0.2.1")["name"] == "alice"


def test_guesses_from_many_addresses_count_together(door: AccountsAuthenticator) -> None:
    assert [enter(door, "alice", "wrong", address=f"6.6.6.{last}") for last in range(4)] == [None, None, None, 1]


def test_guesses_for_many_users_from_one_address_cost_too(door: AccountsAuthenticator, clock: Clock) -> None:
    for number in range(patience.FREE_PER_ADDRESS):
        assert enter(door, f"user{number}", "x") is None
    assert enter(door, "alice", "right") == 1
    assert enter(door, "alice", "right", address="192.0.2.2")["name"] == "alice"
    clock.now += 1
    assert enter(door, "alice", "right")["name"] == "alice"


def test_an_account_of_ones_own_does_not_make_guessing_free(door: AccountsAuthenticator) -> None:
    for number in range(patience.FREE_PER_ADDRESS):
        enter(door, f"user{number}", "x", address="6.6.6.6")
        if number == 10:
            assert enter(door, "root", "secret", address="6.6.6.6")
    assert enter(door, "other", "x", address="6.6.6.6") == 1


def test_a_class_that_signs_in_at_once_does_not_wait(door: AccountsAuthenticator) -> None:
    async def all_at_once() -> list[Any]:
        data = {"username": "alice", "password": "right"}
        return await asyncio.gather(*(door.get_authenticated_user(request(), data) for _ in range(60)))

    assert {one["name"] for one in asyncio.run(all_at_once())} == {"alice"}


def test_guesses_sent_at_once_are_not_free(door: AccountsAuthenticator) -> None:
    async def all_at_once() -> list[Any]:
        data = {"username": "alice", "password": "wrong"}
        tries = (door.get_authenticated_user(request(), data) for _ in range(20))
        return await asyncio.gather(*tries, return_exceptions=True)

    found = asyncio.run(all_at_once())
    assert found.count(None) < patience.FREE_PER_USER + door.checks_at_once


def test_a_refusal_is_logged_without_the_password(
    door: AccountsAuthenticator, caplog: pytest.LogCaptureFixture
) -> None:
    door.log = logging.getLogger("door")
    for _ in range(4):
        enter(door, "alice", "my secret")
    assert "Sign-in of 'alice' from 192.0.2.1 refused" in caplog.text
    assert "my secret" not in caplog.text


def test_what_is_remembered_is_bounded_and_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "REMEMBERED", 100)
    counter = Counter(1, clock)
    for number in range(1000):
        counter.add(number)
    assert sum(counter.seconds(number) > 0 for number in range(1000)) == 100
    assert counter.seconds(999) == 1
    clock.now += patience.FORGOTTEN_AFTER_SECONDS + 1
    counter.add(999)
    assert counter.seconds(999) == 1


@pytest.mark.parametrize("failures", [3, 50, 5000])
def test_no_wait_is_longer_than_a_minute(clock: Clock, failures: int) -> None:
    counter = Counter(3, clock)
    for _ in range(failures):
        counter.add("alice")
    assert 1 <= counter.seconds("alice") <= 60


# The file of accounts


def replace(file: Path, people: dict[str, Any]) -> None:
    """As Kubernetes does it: another file takes the place."""
    other = file.with_name("new")
    other.write_text(json.dumps(people))
    other.rename(file)


def test_a_replaced_file_is_read_again(door: AccountsAuthenticator, file: Path) -> None:
    assert enter(door, "alice", "right")
    replace(file, {"alice": {"hash": QUICK.hash("new"), "uid": 1}, "bob": {"hash": QUICK.hash("bob's"), "uid": 2}})
    assert enter(door, "alice", "right") is None
    assert enter(door, "alice", "new")
    assert enter(door, "bob", "bob's")


def test_an_unchanged_file_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Accounts(file)
    first = found.all()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("read again"))
    assert found.all() is first


def test_whoever_lost_the_account_is_out(door: AccountsAuthenticator, file: Path) -> None:
    alice = SimpleNamespace(name="alice")
    assert asyncio.run(door.refresh_user(alice)) == {"name": "alice", "admin": False, "groups": []}
    replace(file, {"alice": {"hash": QUICK.hash("x"), "admin": True, "uid": 1}})
    assert asyncio.run(door.refresh_user(alice)) == {"name": "alice", "admin": False, "groups": ["operators"]}
    replace(file, {})
    assert asyncio.run(door.refresh_user(alice)) is False


@pytest.mark.parametrize(
    ("people", "named"),
    [
        ({"alice": {"hash": "plain text", "uid": 1}}, "alice"),
        ({"bob": {"password": "x"}}, "bob"),
        ([], "the whole file"),
    ],
)
def test_a_bad_file_is_refused_without_showing_it(file: Path, people: Any, named: str) -> None:
    replace(file, people)
    with pytest.raises(ValueError, match=f"not an account: {named}") as error:
        Accounts(file).all()
    assert "plain text" not in str(error.value)


# Where a request comes from


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.244.1.5", ["192.0.2.7, 10.244.0.3"], "192.0.2.7"),
        ("10.244.1.5", ["6.6.6.6, 192.0.2.7, 10.244.0.3"], "192.0.2.7"),
        ("10.244.1.5", ["6.6.6.6", "192.0.2.7, 10.244.0.3"], "192.0.2.7"),
        ("10.244.1.5", ["6.6.6.6, 192.0.2.7, 198.51.100.4, 10.244.0.3"], "192.0.2.7"),
        ("::ffff:10.244.1.5", ["::ffff:192.0.2.7, 10.244.0.3"], "192.0.2.7"),
        ("10.244.1.5", ["2001:db8::1, 10.244.0.3"], "2001:db8::1"),
        ("10.244.1.5", [], "10.244.1.5"),
        ("10.244.1.5", ["nonsense, 10.244.0.3"], "10.244.1.5"),
    ],
)
def test_the_clients_address_is_the_last_that_no_proxy_has(peer: str, forwarded: list[str], address: str) -> None:
    proxies = Proxies("10.244.1.5", [ip_network("198.51.100.0/24")])
    assert proxies.client_address(asked(peer, *forwarded)) == address


def test_a_session_that_asks_by_itself_cannot_say_that_it_is_somebody_else() -> None:
    proxies = Proxies("10.244.1.5", [])
    assert proxies.client_address(asked("10.244.3.9", "192.0.2.7, 10.244.0.3")) == "10.244.3.9"


def test_a_proxy_that_was_started_anew_is_known_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cygnet_hub.address.AGAIN_SECONDS", 0)
    there = ["10.244.1.5"]
    proxies = Proxies("proxy-pods", [], lambda _: frozenset(there))
    assert proxies.client_address(asked("10.244.1.5", "192.0.2.7, 10.244.0.3")) == "192.0.2.7"
    there[0] = "10.244.1.8"
    new = asked("10.244.1.8", "192.0.2.7, 10.244.0.3")
    until(lambda: proxies.client_address(new) == "192.0.2.7", "the new one is known", seconds=5, every=0.01)
    assert proxies.client_address(asked("10.244.1.5", "192.0.2.9, 10.244.0.3")) == "10.244.1.5"


def test_while_names_are_not_answered_nobodys_word_is_taken() -> None:
    def no_answer(_: str) -> frozenset[str]:
        raise OSError("Temporary failure in name resolution")

    assert Proxies("proxy-pods", [], no_answer).client_address(asked("10.244.1.5", "1.1.1.1, 2.2.2.2")) == "10.244.1.5"


# The file that JupyterHub reads


def test_jupyterhub_reads_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump(SMALLEST))
    (tmp_path / "secrets").mkdir()
    write_secrets(tmp_path / "secrets")
    script = Path(config.__file__).parents[1] / "jupyterhub_config.py"
    reads: dict[str, Callable[[], Any]] = {
        "read_settings": lambda: read_settings(tmp_path / "hub.yaml"),
        "read_secrets": lambda: read_secrets(tmp_path / "secrets"),
    }
    for name, read in reads.items():
        monkeypatch.setattr(f"cygnet_hub.settings.{name}", read)
    monkeypatch.chdir(tmp_path)
    app = JupyterHub()
    app.load_config_file(os.fspath(script))
    assert app.authenticator_class is AccountsAuthenticator
    assert app.spawner_class is SessionSpawner
    assert app.config.KubeSpawner.image == SMALLEST["sessions"]["image"]


# Users whom the stack does not name

GUESTS = {"namespace": "eos", "name": "guests", "groups": ["atlas"]}
PROVIDER = {"kind": "oidc", "issuer": "https://login.example.org", "client_id": "swan"}


def test_machines_are_told_before_a_session_of_a_guest_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/oidc-client-secret").write_text("s")
    monkeypatch.setattr(config, "FOLDER", tmp_path)
    sessions = {**SMALLEST["sessions"], **EOS}
    made = [
        config.configuration(Settings.model_validate({"auth": PROVIDER, "sessions": sessions, **more}), SECRETS)
        for more in ({"guests": GUESTS}, {})
    ]
    assert [("pre_spawn_hook" in one.KubeSpawner, "guests" in one.OidcAuthenticator) for one in made] == [
        (True, True),
        (False, False),
    ]
