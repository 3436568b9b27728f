"""The hub, its proxy and its database on this computer: programs of their images, told what a stack tells them.

What differs from a stack: they meet on loopback, and one client, the benchmark, may start sessions for others.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import requests
import yaml
from argon2 import PasswordHasher

from components import hub_pods, postgresql
from components.errors import CygnetError
from components.hub import hub_settings
from components.hub_config import HubConfig
from components.policies import HUB_NAMESPACE, HUB_PORT, PROXY_API_PORT
from components.sign_in.rights import RightsConfig
from tests.live.waiting import until
from tests.machines import image_root

HOST: Final = "127.0.0.1"
URL: Final = f"http://{HOST}:{HUB_PORT}/hub"
TOKEN: Final = "of-the-benchmark"  # noqa: S105 - of a hub that only this computer reaches
PROXY_TOKEN: Final = "of-the-proxy"  # noqa: S105 - likewise
IMAGES: Final = ("hub", "proxy", "postgresql")
PATIENCE_SECONDS: Final = 600
_PATH: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
_CONFIG: Final = f"""\
load_subconfig("/etc/jupyterhub/jupyterhub_config.py")
c.JupyterHub.services.append({{"name": "benchmark", "api_token": {TOKEN!r}}})
c.JupyterHub.load_roles.append(
    {{"name": "benchmark", "scopes": ["admin:users", "admin:servers", "list:users"], "services": ["benchmark"]}}
)
"""


class RealHub:
    """Runs in `folder`, with a database of that kind; Kubernetes is there by the file `kubeconfig`."""

    def __init__(self, folder: Path, database: str, users: int, kubeconfig: Path) -> None:
        self._folder, self._database = folder, database
        self.processes: dict[str, int] = {}
        """Ids of their programs, or of what is around these."""
        self._hub: subprocess.Popen[bytes] | None = None
        self._pod = ExitStack()
        (folder / "etc" / "secrets").mkdir(parents=True)
        self._write("hub.yaml", yaml.safe_dump(settings(HubConfig(database=database))))
        self._write("kubeconfig", kubeconfig.read_text().replace(str(kubeconfig.parent), "/etc/cygnet"))
        self._write("ca.crt", (kubeconfig.parent / "ca.crt").read_text())
        self._write("benchmark.py", _CONFIG)
        hashed = PasswordHasher().hash(os.urandom(16).hex())
        accounts = {name_of(number): {"hash": hashed, "uid": 100_000 + number} for number in range(users)}
        kept = {"proxy-token": PROXY_TOKEN, "cookie-secret": os.urandom(32).hex(), "crypt-key": os.urandom(32).hex()}
        for name, text in {**kept, "accounts.json": json.dumps(accounts)}.items():
            self._write(f"secrets/{name}", text)

    def _write(self, name: str, text: str) -> None:
        (self._folder / "etc" / name).write_text(text)

    @contextmanager
    def running(self) -> Iterator[None]:
        """All of it is there as long as the block runs."""
        with ExitStack() as started:
            started.callback(self.stop)
            arguments = hub_pods.proxy_spec("", "")["template"]["spec"]["containers"][0]["args"]
            self.processes["proxy"] = started.enter_context(
                image_root.running(
                    "proxy",
                    ["configurable-http-proxy", *(one.replace(f"hub.{HUB_NAMESPACE}.svc", HOST) for one in arguments)],
                    data=self._folder / "proxy",
                    inside="/srv",
                    log=self._folder / "proxy.log",
                    environment={**_PATH, "CONFIGPROXY_AUTH_TOKEN": PROXY_TOKEN},
                )
            ).pid
            self.start()
            yield

    def start(self) -> None:
        """Starts the hub with its database, which is in the same pod; returns when it answers."""
        if self._database == "postgresql":
            self.processes["postgresql"] = self._pod.enter_context(
                image_root.running(
                    "postgresql",
                    ["start-postgresql", hub_pods.DATABASE],
                    data=self._folder / "postgresql",
                    inside=postgresql.FOLDER,
                    log=self._folder / "postgresql.log",
                    environment=_PATH,
                )
            ).pid
            until(self._database_answers, "PostgreSQL answers", seconds=PATIENCE_SECONDS, every=0.1)
        self._hub = hub = self._pod.enter_context(
            image_root.running(
                "hub",
                ["jupyterhub", "--config=/etc/cygnet/benchmark.py"],
                data=self._folder / "hub",
                inside="/srv/jupyterhub",
                log=self._folder / "hub.log",
                environment={**_PATH, "HOME": "/home/user", "KUBECONFIG": "/etc/cygnet/kubeconfig"},
                beside={self._folder / "etc": "/etc/cygnet"},
            )
        )
        self.processes["hub"] = hub.pid

        def answers() -> bool:
            if hub.poll() is not None:
                raise CygnetError(f"the hub ended: {(self._folder / 'hub.log').read_text()[-3000:]}")
            return requests.get(f"{URL}/health", timeout=PATIENCE_SECONDS).ok

        until(answers, "the hub answers", seconds=PATIENCE_SECONDS, every=0.1, through=requests.RequestException)

    def _database_answers(self) -> bool:
        asked = ["/usr/sbin/chroot", str(image_root.root("postgresql")), "pg_isready", f"--host={HOST}", "--quiet"]
        return subprocess.run(asked, check=False).returncode == 0

    def stop(self) -> None:
        """Ends the hub as Kubernetes does it, and its database."""
        if self._hub and self._hub.poll() is None:
            for child in Path(f"/proc/{self._hub.pid}/task/{self._hub.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGTERM)
            self._hub.wait(PATIENCE_SECONDS)
        self._pod.close()
        for name in ("hub", "postgresql"):
            self.processes.pop(name, None)


def name_of(number: int) -> str:
    """A user."""
    return f"user-{number:04}"


def settings(config: HubConfig) -> dict[str, Any]:
    """What the hub is told, as a stack tells it, but for where hub and proxy are."""
    told = hub_settings(
        config,
        image="registry:5000/cygnet/session:simulated",
        storage_class="",
        releases=[],
        claims={"cvmfs": "cvmfs", "eos": "eos"},
        home_gib=10,
        with_files=False,
        auth={"kind": "accounts"},
        rights=RightsConfig(),
    )
    here = {"hub_url": f"http://{HOST}:{HUB_PORT}", "proxy_api_url": f"http://{HOST}:{PROXY_API_PORT}"}
    return {**told, **here, "proxy_host": HOST}
