"""A real JupyterHub on this computer, configured as in the image, with little processes for sessions and no proxy."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.unit.program import PROJECT

# What differs from the image: where things are, and what only a cluster has.
CONFIG = """\
from pathlib import Path

from jupyterhub.proxy import Proxy
from jupyterhub.spawner import SimpleLocalProcessSpawner

import kubespawner.spawner

from cygnet_hub import choices, config, ending, swan
from cygnet_hub.links import refuse_broken
from cygnet_hub.settings import Secrets, Settings
from cygnet_hub.spawner import SessionSpawner

kubespawner.spawner.load_config = lambda **_: None
kubespawner.spawner.shared_client = lambda _: None


class NoProxy(Proxy):
    \"\"\"Remembers routes; nobody asks it for a page.\"\"\"

    should_start = False
    routes = {{}}

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {{"routespec": routespec, "target": target, "data": data}}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return self.routes


class LocalSpawner(ending.Ending, SimpleLocalProcessSpawner):
    \"\"\"A process that answers, under a user's address.\"\"\"

    ip = "127.0.0.1"
    home_dir = {folder!r}
    cmd = [{python!r}, "-c", {session!r}]


async def form(spawner):
    \"\"\"The start page's form, as the spawner of the image makes it.\"\"\"
    page = SessionSpawner(config=c, user=spawner.user, orm_spawner=spawner.orm_spawner, _mock=True)
    page.user_options = spawner.orm_spawner.user_options or {{}}
    return await page.get_options_form()


refuse_broken()
config.FOLDER = Path({folder!r})
choices.TEMPLATES = {templates!r}
swan.FOLDER = {swan!r}
settings = Settings.model_validate({settings!r})
secrets = Secrets.model_validate({secrets!r})
c.merge(config.configuration(settings, secrets, Path({folder!r})))
c.JupyterHub.update(
    db_url="sqlite:///{folder}/hub.sqlite",
    hub_bind_url="http://127.0.0.1:{port}",
    hub_connect_url="http://127.0.0.1:{port}",
    proxy_class=NoProxy,
    spawner_class=LocalSpawner,
    tornado_settings={{**c.JupyterHub.tornado_settings, "cookie_options": {{}}}},
    cleanup_servers=True,
)
# What may be chosen does not depend on what a session is.
c.LocalSpawner.apply_user_options = c.KubeSpawner.apply_user_options
c.LocalSpawner.options_from_form = c.KubeSpawner.options_from_form
c.LocalSpawner.options_form = form
c.LocalSpawner.pre_spawn_hook = c.KubeSpawner.get("pre_spawn_hook")
# Nor when it ends.
for name in ("idle_hours", "idle_warning_minutes", "max_age_hours"):
    c.LocalSpawner[name] = c.KubeSpawner[name]
c.LocalSpawner.poll_interval = 1
"""

SESSION = """\
import os
from http.server import HTTPServer, BaseHTTPRequestHandler
from urllib.parse import urlparse

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

HTTPServer(("127.0.0.1", urlparse(os.environ["JUPYTERHUB_SERVICE_URL"]).port), Handler).serve_forever()
"""


@contextmanager
def running_hub(
    folder: Path,
    port: int,
    settings: dict[str, Any],
    secrets: dict[str, str],
    files: Mapping[str, str],
    *,
    more: str = "",
    environment: Mapping[str, str] | None = None,
    swan: Path | None = None,
) -> Iterator[str]:
    """The hub's address, such as "http://127.0.0.1:4711", while it runs.

    Args:
        folder: Of its database, its log and its secrets.
        port: Of loopback.
        settings: As in hub.yaml.
        secrets: The hub's own keys.
        files: Secrets of the kind of sign-in, by the names of their files.
        more: Further lines of its configuration.
        environment: Further variables.
        swan: Where SWAN's packages are, for its page.
    """
    (folder / "secrets").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "secrets" / name).write_text(text)
    file = folder / "jupyterhub_config.py"
    file.write_text(
        CONFIG.format(
            folder=str(folder),
            port=port,
            python=sys.executable,
            session=SESSION,
            settings=settings,
            secrets=secrets,
            templates=str(PROJECT / "images/hub/templates"),
            swan=str(swan),
        )
        + more
    )
    log = folder / "hub.log"
    variables = {"PYTHONPATH": str(PROJECT / "images/hub"), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", f"--config={file}"],
            cwd=folder, env={**variables, **(environment or {})}, stdout=output, stderr=subprocess.STDOUT,
        ) as hub,
    ):  # fmt: skip
        try:
            _wait_for(f"http://127.0.0.1:{port}/hub/health", hub, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            hub.terminate()


class Someone:
    """A person with an account, as the hub sees them."""

    def __init__(self, hub: str, name: str, password: str) -> None:
        self.hub, self.name = hub, name
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.get(f"{hub}/hub/login", timeout=10)
        form = {"username": name, "password": password, "_xsrf": self._xsrf()}
        answer = self.http.post(f"{hub}/hub/login?next=%2Fhub%2Fhome", data=form, timeout=30)
        assert answer.ok, answer.text

    def page(self, path: str) -> requests.Response:
        """A page, as in a browser."""
        return self.http.get(f"{self.hub}{path}", timeout=10)

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """The hub's API, as the hub's own pages ask it."""
        return self.http.request(
            method, f"{self.hub}/hub/api/{path}", headers={"X-XSRFToken": self._xsrf()}, timeout=30, **options
        )

    def submit(self, path: str, **fields: str) -> requests.Response:
        """A form of the hub's pages, filled in; where that leads to is not followed."""
        where = f"{self.hub}{path}"
        return self.http.post(where, params={"_xsrf": self._xsrf()}, data=fields, allow_redirects=False, timeout=30)

    def _xsrf(self) -> str:
        return next(str(one.value) for one in self.http.cookies if one.name == "_xsrf" and one.path == "/hub/")


def _wait_for(url: str, hub: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(900):
        assert hub.poll() is None, log.read_text()[-2000:]
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(log.read_text()[-2000:])
