"""MariaDB, the one database server of all services: on the loopback, without waiting for the disk."""

import subprocess
from pathlib import Path
from typing import Final

from tests.testcloud import names, processes

DATABASES: Final = ("keystone", "glance", "placement", "nova_api", "nova", "nova_cell0", "neutron", "cinder")

_SOCKET: Final = names.RUN / "mariadb.sock"
FOLDER: Final = names.DATA / "mariadb"
"""Its files."""


def start(installed: Path) -> None:
    """Starts the server; the first time its own tables are made.

    Raises:
        CloudError: It does not start.
    """
    own = _environment(installed)
    usr = installed / "usr"
    if not FOLDER.exists():
        FOLDER.mkdir(parents=True)
        made: list[str | Path] = [
            "bash", usr / "bin/mariadb-install-db", "--no-defaults", f"--basedir={usr}", "--user=root",
            f"--datadir={FOLDER}", "--skip-test-db", "--auth-root-authentication-method=normal",
            f"--lc-messages-dir={usr / 'share/mysql'}",
        ]  # fmt: skip
        done = subprocess.run(made, env=own, capture_output=True, text=True, check=False)
        if done.returncode:
            raise processes.CloudError(f"test cloud: MariaDB's tables cannot be made: {done.stdout}{done.stderr}")
    argv: list[str | Path] = [
        usr / "sbin/mariadbd", "--no-defaults", "--user=root", f"--datadir={FOLDER}", f"--socket={_SOCKET}",
        f"--lc-messages-dir={usr / 'share/mysql'}", f"--plugin-dir={usr / 'lib/mysql/plugin'}",
        f"--bind-address={names.LOOPBACK}", f"--port={names.PORTS['mariadb']}", "--max-connections=800",
        # Nothing of it has to survive a loss of power.
        "--innodb-flush-method=nosync", "--sync-frm=OFF", "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=128M", "--innodb-log-file-size=48M", "--performance-schema=OFF", "--skip-log-bin",
    ]  # fmt: skip
    processes.start("mariadb", argv, own)
    processes.wait_for("mariadb", lambda: _succeeds(installed, "select 1"))


def create(installed: Path, password: str) -> None:
    """Makes the services' databases, and the account that they all use."""
    statements = [f"CREATE USER openstack@'{names.LOOPBACK}' IDENTIFIED BY '{password}';"]
    for name in DATABASES:
        statements.append(f"CREATE DATABASE {name} CHARACTER SET utf8mb3;")
        statements.append(f"GRANT ALL ON {name}.* TO openstack@'{names.LOOPBACK}';")
    _ask(installed, "\n".join(statements)).check_returncode()


def _succeeds(installed: Path, statement: str) -> bool:
    return _ask(installed, statement).returncode == 0


def _ask(installed: Path, statements: str) -> subprocess.CompletedProcess[str]:
    client: list[str | Path] = [installed / "usr/bin/mariadb", "--no-defaults", f"--socket={_SOCKET}", "--user=root"]
    return subprocess.run(
        client, input=statements, env=_environment(installed), capture_output=True, text=True, check=False
    )


def _environment(installed: Path) -> dict[str, str]:
    libraries = next((installed / "usr/lib").glob("*-linux-gnu"))
    return {"LD_LIBRARY_PATH": str(libraries), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
