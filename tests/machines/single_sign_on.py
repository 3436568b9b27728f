"""Single sign-on on this computer: the real Keycloak as its image has it, the real hub and gateway, on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from argon2 import PasswordHasher
from keycloak import KeycloakAdmin

from components.gateway_config import GatewayConfig
from components.sign_in import keycloak, keycloak_admin, keycloak_realm
from components.sign_in.keycloak import KeycloakConfig
from components.sign_in.keycloak_realm import CLIENT, REALM
from tests.live.waiting import until
from tests.machines import image_root
from tests.unit import running_caddy
from tests.unit.running_hub import running_hub

HOST = "127.0.0.1"
ADMINISTRATOR_SECRET, CLIENT_SECRET = "the administrator's", "the client's"
PATIENCE_SECONDS = 600  # Java starts on a computer that does much else
GROUPS = {"lab": ["ada", "bob", "root", "mallory"], "beta": ["ada"], "factor": ["mallory"]}
NAMES = ("ada", "bob", "eve", "mallory", "root")
SESSIONS = {
    "image": "registry:5000/cygnet/session:1",
    "size": {"cores": 2, "memory_gib": 4},
    "home": {"storage_class": "shared"},
    "releases": [
        {"name": "stable", "title": "Stable", "view": "/cvmfs/s.example/stable"},
        {"name": "nightly", "title": "Nightly", "view": "/cvmfs/s.example/nightly", "groups": ["beta"]},
    ],
}
RIGHTS = {"sign_in": ["lab"], "admins": ["root"]}
SECRETS = {"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": "cd" * 32}


def free_port() -> int:
    """A port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass
class Keycloak:
    """A Keycloak that can be ended and started."""

    folder: Path
    port: int = field(default_factory=free_port)
    secret: str = ADMINISTRATOR_SECRET
    """The administrator's."""
    database: str = "dev-file"
    """As Keycloak calls it; "postgres" is one that runs on this computer's loopback."""
    authority: running_caddy.Authority = field(
        default_factory=lambda: running_caddy.Authority(GatewayConfig(), [HOST, "localhost"])
    )
    """Who certifies whatever stands before it."""
    _started: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """Where it is asked, by those who need not go through the gateway."""
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        process = self._started.enter_context(self.running())

        def answers() -> bool:
            assert process.poll() is None, self.log.read_text()[-2000:]
            return requests.get(f"{self.url}/realms/master", timeout=10).ok

        until(answers, "Keycloak answers", seconds=PATIENCE_SECONDS, through=requests.RequestException)

    def running(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Its process, while it is needed."""
        return image_root.running(
            "keycloak",
            ["start-keycloak", self.database, *self.arguments],
            data=self.folder / "keycloak",
            inside=f"/opt/keycloak/{self.database}/data",
            log=self.log,
            environment={"PATH": "/usr/local/bin:/usr/bin:/bin", "JAVA_HOME": "/opt/java", **self.environment},
        )

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / "keycloak.log"

    @property
    def arguments(self) -> list[str]:
        """Where it listens."""
        return [f"--http-host={HOST}", f"--http-port={self.port}", f"--http-management-port={free_port()}"]

    @property
    def environment(self) -> dict[str, str]:
        """How it is set up."""
        return {
            "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
            "KC_CACHE": "local",
            "KC_BOOTSTRAP_ADMIN_CLIENT_ID": keycloak_admin.ADMINISTRATOR,
            "KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": ADMINISTRATOR_SECRET,
            **(keycloak.POSTGRESQL if self.database == "postgres" else {}),
        }

    def stop(self) -> None:
        """Ends it; what it keeps, it keeps."""
        self._started.close()

    def admin(self) -> KeycloakAdmin:
        """Its administration."""
        return keycloak_admin.sign_in(self.url, self.secret)


def declaration(**changed: Any) -> dict[str, Any]:
    """The realm, as a stack would declare it; everybody's password is "NAME's password", but for `passwords`."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    given: dict[str, Any] = {"names": NAMES, "groups": GROUPS, "passwords": {}, **changed}
    hashes = {name: hasher.hash(given["passwords"].get(name, password(name))) for name in given["names"]}
    config = KeycloakConfig(second_factor=("factor",))
    return keycloak.declaration(config, "the institute", hashes, given["groups"], client_secret=CLIENT_SECRET)


def password(name: str) -> str:
    """Everybody's own."""
    return f"{name}'s password"


@dataclass
class Service:
    """A hub that people reach through the gateway, as they reach Keycloak."""

    folder: Path
    port: int
    hub: str

    @property
    def url(self) -> str:
        """The service's address."""
        return f"https://{HOST}:{self.port}"

    def visitor(self) -> Visitor:
        """Somebody in front of a browser."""
        return Visitor(self)


class Visitor:
    """Somebody who sends what a browser sends."""

    def __init__(self, service: Service, url: str | None = None) -> None:
        self.service, self.url = service, url or service.url
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = str(service.folder / "ca.crt")
        self.http.headers.update({"User-Agent": "Mozilla/5.0", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"})

    def sign_in(self, name: str, secret: str | None = None) -> requests.Response:
        """The page on which they are in the end."""
        page = self.http.get(f"{self.url}/hub/oauth_login?next=%2Fhub%2Fhome", timeout=60)
        if 'id="kc-form-login"' not in page.text:
            return page
        return self.submit(page, username=name, password=password(name) if secret is None else secret)

    def submit(self, page: requests.Response, **fields: str) -> requests.Response:
        """A form of Keycloak's, filled in."""
        found = re.search(r'<form[^>]* action="([^"]+)"', page.text)
        assert found, page.text
        return self.http.post(html.unescape(found.group(1)), data=fields, timeout=60)

    def page(self, path: str) -> requests.Response:
        """A page of the service."""
        return self.http.get(f"{self.url}{path}", timeout=60)

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """The hub's API, as its pages ask it."""
        xsrf = next(str(one.value) for one in self.http.cookies if one.name == "_xsrf" and one.path == "/hub/")
        headers = {"X-XSRFToken": xsrf, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
        return self.http.request(method, f"{self.url}/hub/api/{path}", headers=headers, timeout=60, **options)


@contextmanager
def running_service(folder: Path, provider: Keycloak) -> Iterator[Service]:
    """Hub and gateway, with a Keycloak behind the same gateway."""
    port = free_port()
    given = {"issuer": f"https://{HOST}:{port}/realms/{REALM}", "client_id": CLIENT, "internal_url": provider.url}
    with _service(folder, port, provider, given, keycloak.routes(f"{HOST}:{provider.port}")) as service:
        yield service


@contextmanager
def running_apart(folder: Path, provider: Keycloak) -> Iterator[Service]:
    """Hub and gateway, and an institute's Keycloak at an address of its own, which knows the hub as a client."""
    port, institute = free_port(), free_port()
    (folder / "institute").mkdir()
    know(provider, "apart", f"https://{HOST}:{port}")
    given = {"issuer": f"https://localhost:{institute}/realms/{REALM}", "client_id": "apart"}
    with (
        _caddy(folder / "institute", institute, f"{HOST}:{provider.port}", provider.authority),
        _service(folder, port, provider, given, ()) as service,
    ):
        yield service


@contextmanager
def running_institute(folder: Path, provider: Keycloak, host: str) -> Iterator[str]:
    """A Keycloak at an address of this computer that others reach; gives its name for itself (the issuer).

    Args:
        folder: Empty.
        provider: With an authority for `host`.
        host: The address.
    """
    port = free_port()
    with _caddy(folder, port, f"{HOST}:{provider.port}", provider.authority, host=host):
        yield f"https://{host}:{port}/realms/{REALM}"


def know(provider: Keycloak, client: str, url: str) -> None:
    """Has the provider know a service at this address as this client."""
    provider.admin().create_client({**keycloak_realm.client(CLIENT_SECRET), "clientId": client, "rootUrl": url})


@contextmanager
def _service(
    folder: Path, port: int, provider: Keycloak, given: Mapping[str, Any], routes: Sequence[Mapping[str, Any]]
) -> Iterator[Service]:
    auth = {"kind": "oidc", "provider": "the institute", "rights": RIGHTS, **given}
    settings = {"sessions": SESSIONS, "auth": auth, "proxy_host": "127.0.0.1"}
    files = {"oidc-client-secret": CLIENT_SECRET, "oidc-certificate-authority": provider.authority.certificate}
    with ExitStack() as started:
        hub_port = free_port()
        hub = started.enter_context(running_hub(folder, hub_port, settings, SECRETS, files))
        started.enter_context(_caddy(folder, port, f"{HOST}:{hub_port}", provider.authority, routes))
        service = Service(folder, port, hub)
        until(
            lambda: service.visitor().page("/hub/login").ok, "the gateway answers", seconds=60, every=0.1,
            through=requests.ConnectionError,
        )  # fmt: skip
        yield service


@contextmanager
def _caddy(
    folder: Path,
    port: int,
    address: str,
    authority: running_caddy.Authority,
    routes: Sequence[Mapping[str, Any]] = (),
    *,
    host: str = HOST,
) -> Iterator[None]:
    (folder / "ca.crt").write_text(authority.certificate)
    here = f"{host}:{port}"
    listens = {running_caddy.HTTPS: here, running_caddy.HTTP: f"{host}:{free_port()}"}
    settings = running_caddy.write_settings(folder, authority, proxy_address=address, listens=listens, routes=routes)
    with running_caddy.running(settings, here):
        yield


def claims(token: str) -> Mapping[str, Any]:
    """What a token says."""
    part = token.split(".")[1]
    said: Mapping[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return said


def one_time_code(secret: str) -> str:
    """What an authenticator app shows now (RFC 6238)."""
    counter = struct.pack(">Q", int(time.time()) // 30)
    hashed = hmac.new(secret.encode(), counter, hashlib.sha1).digest()
    offset = hashed[-1] & 15
    (number,) = struct.unpack(">I", hashed[offset : offset + 4])
    return f"{(number & 0x7FFFFFFF) % 10**6:06}"
