"""The page of files on this computer: the real hub, its service, Caddy, copyparty and the preview, on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from argon2 import PasswordHasher

from components import copyparty, files_routes
from components.gateway_config import GatewayConfig, Site
from engine import tools
from tests.live.ports import HOST, free_ports, listens
from tests.live.waiting import until
from tests.unit import running_caddy
from tests.unit.program import PROJECT
from tests.unit.running_hub import running_hub

PEOPLE = ("ada", "bob")
STRANGER_WITH_ACCOUNT = "eve"  # may sign in, and has no home
GROUP = "Domain Users"
"""Of ada alone."""
KEY = "x-cygnet-0123456789abcdef"
SHARE_DAYS_MAX = 30
_IMAGE = PROJECT / "images/files"
_PROGRAMS = ("hub", "sign_in", "copyparty", "preview", "service", "page", "http")
_HUB = {
    "sessions": {
        "image": "registry:5000/cygnet/session:1",
        "size": {"cores": 2, "memory_gib": 4},
        "home": {"storage_class": "shared"},
    }
}
_SECRETS = {"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": "cd" * 32}


@dataclass
class Page:
    """The page, and the disk behind it."""

    folder: Path
    ports: dict[str, int]
    authority: Path
    guests: bool = False
    """Whether copyparty knows nobody before they come."""
    _files: ExitStack = field(default_factory=ExitStack)

    @property
    def service(self) -> str:
        """The service's address."""
        return f"https://{HOST}:{self.ports['service']}"

    @property
    def url(self) -> str:
        """The page's."""
        return f"https://{HOST}:{self.ports['page']}"

    def home(self, name: str) -> Path:
        """A user's home on disk."""
        return self.folder / "srv/user" / name[0] / name

    def visitor(self, name: str | None = None) -> Visitor:
        """Somebody in front of a browser; signed in at the hub, where they have a name."""
        made = Visitor(self)
        if name:
            made.sign_in(name)
        return made

    @contextmanager
    def files(self) -> Iterator[None]:
        """copyparty runs."""
        with self._files:
            self._files.enter_context(_copyparty(self))
            yield

    def restart(self) -> None:
        """copyparty is started anew, as when its settings change."""
        self._files.close()
        self._files.enter_context(_copyparty(self))
        until(lambda: listens(self.ports["copyparty"]), "copyparty answers", seconds=150, every=0.1)


class Visitor:
    """Somebody who sends what a browser sends."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = str(page.authority)
        self.http.headers.update({"User-Agent": "Mozilla/5.0", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"})

    def sign_in(self, name: str) -> None:
        """At the hub."""
        form = f"{self.page.service}/hub/login"
        self.http.get(form, timeout=10)
        xsrf = next(str(one.value) for one in self.http.cookies if one.name == "_xsrf" and one.path == "/hub/")
        answer = self.http.post(
            f"{form}?next=%2Fhub%2Fhome",
            data={"username": name, "password": f"{name}'s", "_xsrf": xsrf},
            headers={"Sec-Fetch-Site": "same-origin"},
            timeout=30,
        )
        assert answer.ok, answer.text

    def get(self, path: str, **options: Any) -> requests.Response:
        """A page, by its path below /files."""
        return self.http.get(f"{self.page.url}/files{path}", timeout=20, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """What a script of the page sends."""
        options["headers"] = {
            "Origin": self.page.url, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin",
            **options.get("headers", {}),
        }  # fmt: skip
        return self.http.post(f"{self.page.url}/files{path}", timeout=20, allow_redirects=False, **options)

    def upload(self, folder: str, name: str, content: bytes) -> requests.Response:
        """Puts a file into a folder."""
        return self.post(f"{folder}?j", data={"act": "bput"}, files={"f": (name, content)})

    def share(self, path: str, key: str, minutes: str = "60", **more: Any) -> requests.Response:
        """Makes a link to a file or folder."""
        asked = {"k": key, "vp": [f"/files{path}"], "pw": "", "exp": minutes, "perms": ["read"], **more}
        return self.post("/?share", data=json.dumps(asked), headers={"Content-Type": "text/plain"})


@contextmanager
def running_page(folder: Path, *, guests: bool = False) -> Iterator[Page]:
    """All of it, until the end of the block."""
    ports = dict(zip(_PROGRAMS, free_ports(len(_PROGRAMS)), strict=True))
    homes = [folder / "srv/user" / name[0] / name for name in PEOPLE]
    for made in (*homes, folder / "srv/opendata", folder / "srv/raw", folder / "state", folder / "programs"):
        made.mkdir(parents=True)
    page = Page(folder, ports, folder / "ca.crt", guests)
    at = {name: f"{HOST}:{port}" for name, port in ports.items()}
    with ExitStack() as started:
        _install(folder / "programs")
        started.enter_context(_hub(folder, ports))
        started.enter_context(page.files())
        started.enter_context(_preview(page))
        started.enter_context(_caddy(page, at))
        until(
            lambda: page.visitor().get("/.cpr/w/ui.css").ok, "the page answers", seconds=150, every=0.1,
            through=requests.ConnectionError,
        )  # fmt: skip
        until(lambda: listens(ports["preview"]), "the preview answers", seconds=150, every=0.1)
        until(lambda: listens(ports["sign_in"]), "the hub's service answers", seconds=150, every=0.1)
        yield page


def _install(folder: Path) -> None:
    """What the image installs, from the same lock."""
    lock = _IMAGE / "requirements.lock"
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    argv += ["--no-deps", "--require-hashes", f"--target={folder}", f"--requirement={lock}"]
    subprocess.run(argv, check=True)


@contextmanager
def _program(page: Page, name: str, argv: list[str], **environment: str) -> Iterator[None]:
    everything = {**os.environ, "PYTHONPATH": f"{page.folder / 'programs'}:{_IMAGE}", "HOME": str(page.folder)}
    with (
        (page.folder / f"{name}.log").open("w") as log,
        subprocess.Popen(argv, cwd=page.folder, env={**everything, **environment}, stdout=log, stderr=log) as running,
    ):
        try:
            yield
        finally:
            running.terminate()


@contextmanager
def _hub(folder: Path, ports: dict[str, int]) -> Iterator[None]:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    names = (*PEOPLE, STRANGER_WITH_ACCOUNT)
    accounts = {
        name: {
            "hash": hasher.hash(f"{name}'s"),
            "admin": False,
            "uid": 70_000 + number,
            "groups": [GROUP] if name == "ada" else [],
        }
        for number, name in enumerate(names)
    }
    settings, files = {**_HUB, "files_port": ports["sign_in"]}, {"accounts.json": json.dumps(accounts)}
    with running_hub(folder, ports["hub"], settings, _SECRETS, files):
        yield


@contextmanager
def _copyparty(page: Page) -> Iterator[None]:
    of_groups = {"opendata": ([copyparty.EVERYONE], ()), "raw": ((), [copyparty.group(GROUP)])}
    text = copyparty.settings(
        () if page.guests else PEOPLE, of_groups if page.guests else {"opendata": (PEOPLE, ())},
        folder=str(page.folder / "srv"), state=str(page.folder / "state"), trusted="127.0.0.0/8", guests=page.guests,
    )  # fmt: skip
    settings = page.folder / "copyparty.conf"
    settings.write_text(text.replace(f"p: {copyparty.PORT}", f"p: {page.ports['copyparty']}\n  i: {HOST}"))
    argv = [sys.executable, "-m", "cygnet_files", str(settings), str(page.folder / "state/shares.db")]
    environment = {copyparty.KEY_VARIABLE: KEY, "XDG_CONFIG_HOME": str(page.folder / "state")}
    with _program(page, "copyparty", [*argv, str(SHARE_DAYS_MAX)], **environment):
        yield


@contextmanager
def _preview(page: Page) -> Iterator[None]:
    files = f"http://{HOST}:{page.ports['copyparty']}"
    argv = [sys.executable, "-m", "cygnet_files.notebooks", str(page.ports["preview"]), files]
    with _program(page, "preview", argv, JUPYTER_PATH=str(page.folder / "programs/share/jupyter")):
        yield


@contextmanager
def _caddy(page: Page, at: dict[str, str]) -> Iterator[None]:
    config = GatewayConfig(https_port=page.ports["service"])
    authority = running_caddy.Authority(config, [HOST, "localhost"])
    page.authority.write_text(authority.certificate)
    site = Site(
        "files",
        page.ports["page"],
        files_routes.at_page(
            page.ports["service"],
            page.ports["page"],
            sign_in=at["sign_in"],
            files=at["copyparty"],
            preview=at["preview"],
        ),
        files_routes.at_service(page.ports["service"], page.ports["page"], at["sign_in"]),
    )
    inside = {running_caddy.HTTPS: "service", running_caddy.FIRST_SITE: "page", running_caddy.HTTP: "http"}
    settings = running_caddy.write_settings(
        page.folder,
        authority,
        proxy_address=at["hub"],
        listens={port: at[name] for port, name in inside.items()},
        sites=[site],
    )
    with _program(
        page, "caddy", [str(tools.path("caddy")), "run", "--config", str(settings)], **{copyparty.KEY_VARIABLE: KEY}
    ):
        yield
