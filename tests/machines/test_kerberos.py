"""Sign-in with Kerberos passwords: a real realm, the real hub, what sessions get of it, and a storage that takes it."""

import asyncio
import importlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.live.waiting import until
from tests.machines import kerberos_hub
from tests.machines.halting import away
from tests.machines.kdc import REALM, Kdc, storage
from tests.machines.kerberos_hub import password
from tests.unit.program import PROJECT
from tests.unit.running_hub import Someone

TICKET_SECONDS, RENEWABLE_SECONDS = 20, 60


@pytest.fixture(scope="module", autouse=True)
def _session_image() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROJECT / "images/session"))
        yield


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not pytest's own: the storage's user has to get there.
    with tempfile.TemporaryDirectory(prefix="cygnet-krb-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="module")
def kdc(folder: Path) -> Iterator[Kdc]:
    made = Kdc(folder, ticket_hours=TICKET_SECONDS / 3600, renewable_days=RENEWABLE_SECONDS / 86400)
    for name in ("ada", "bob", "dora", "stranger", "barred", "expired"):
        made.administer(f'addprinc -pw "{password(name)}" {name}')
    made.administer("modprinc -allow_tix barred")
    made.administer('modprinc -pwexpire "2020-01-01" expired')
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def hub(kdc: Kdc, folder: Path) -> Iterator[str]:
    names = ["ada", "bob", "dora", "barred", "expired"]
    with kerberos_hub.hub(kdc, folder, names, {"lab": ["ada"]}, {"admin": ["lab"]}) as address:
        yield address


@pytest.fixture
def anew(hub: str) -> Callable[[str], Someone]:
    """Signs somebody in, as soon as wrong passwords of tests before are forgiven."""

    def make(name: str) -> Someone:
        return until(
            lambda: Someone(hub, name, password(name)), f"{name} may sign in", seconds=40, through=AssertionError
        )

    return make


def refused(hub: str, name: str, given: str) -> requests.Response:
    """What somebody reads who fills in the form."""
    http = requests.Session()
    http.trust_env = False
    http.get(f"{hub}/hub/login", timeout=10)
    xsrf = next(str(one.value) for one in http.cookies if one.name == "_xsrf" and one.path == "/hub/")
    form = {"username": name, "password": given, "_xsrf": xsrf}
    return http.post(f"{hub}/hub/login", data=form, timeout=40)


class Session:
    """What runs in a session: its file of tickets, kept by the session's own code."""

    def __init__(self, someone: Someone, folder: Path) -> None:
        self.ticket, self.config = folder / "ticket", folder / "krb5.conf"
        self._hub = kerberos_hub.of_session(someone)

    def renew(self) -> float:
        """Asks the hub, as the session does by itself; gives in how many seconds it would ask again."""
        ours = importlib.import_module("cygnet_session.kerberos_ticket")
        waits: float = asyncio.run(ours.renew(self.ticket, self.config, *self._hub))
        return waits

    def reads(self, address: str, path: str) -> subprocess.CompletedProcess[str]:
        """A file of the storage, with nothing but that ticket."""
        environment = {
            "PATH": os.environ["PATH"], "KRB5CCNAME": f"FILE:{self.ticket}", "KRB5_CONFIG": str(self.config),
            "XrdSecPROTOCOL": "krb5",
        }  # fmt: skip
        argv = ["xrdfs", f"root://{address}", "cat", path]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_right_password_signs_in_and_groups_decide(anew: Callable[[str], Someone]) -> None:
    assert anew("ada").page("/hub/admin").status_code == 200, "by her group"
    assert anew("bob").page("/hub/admin").status_code == 403


@pytest.mark.parametrize(
    ("name", "given", "status", "words"),
    [
        ("bob", "wrong", 403, "Invalid username or password"),
        ("bob", "", 403, "Invalid username or password"),
        ("nobody", "wrong", 403, "Invalid username or password"),
        ("-n", "wrong", 403, "Invalid username or password"),
        ("barred", password("barred"), 403, "your account is locked or disabled"),
        ("expired", password("expired"), 403, "your password has expired"),
        ("stranger", password("stranger"), 403, "stranger may not sign in here"),
    ],
)
def test_others_are_refused(hub: str, name: str, given: str, status: int, words: str) -> None:
    answer = refused(hub, name, given)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text[-1500:]


def test_a_session_reads_the_own_files_and_nobody_elses(
    anew: Callable[[str], Someone], kdc: Kdc, tmp_path: Path
) -> None:
    ada = Session(anew("ada"), tmp_path)
    ada.renew()
    assert [file.stat().st_mode & 0o777 for file in (ada.ticket, ada.config)] == [0o600] * 2
    listed = kdc.listed(ada.ticket)
    assert f"Default principal: ada@{REALM}" in listed
    assert "cygnet/hub" not in listed, "that one is the hub's"
    with storage(kdc) as address:
        assert ada.reads(address, "/eos/user/a/ada/note").stdout == "ada's\n"
        assert "permission denied" in ada.reads(address, "/eos/user/b/bob/note").stderr.lower()
        ada.ticket.unlink()
        assert ada.reads(address, "/eos/user/a/ada/note").returncode


@pytest.mark.nightly
def test_a_ticket_is_renewed_before_it_ends_until_one_signs_in_again(
    anew: Callable[[str], Someone], kdc: Kdc, tmp_path: Path
) -> None:
    bob = Session(anew("bob"), tmp_path)
    began, seen = time.monotonic(), set()
    while time.monotonic() - began < 2 * TICKET_SECONDS:
        bob.renew()
        seen.add(kdc.listed(bob.ticket))
        time.sleep(2)
    assert len(seen) >= 3, "it lasts half as long as this, and is another one by then"
    until(lambda: _ends(bob), "nobody renews for ever", seconds=RENEWABLE_SECONDS)
    again = Session(anew("bob"), tmp_path)
    again.renew()
    assert kdc.listed(again.ticket) not in seen


def _ends(session: Session) -> bool:
    try:
        session.renew()
    except Exception as error:
        return getattr(error, "code", None) == 403
    return False


def test_a_realm_that_does_not_answer_keeps_nobody_from_working(
    anew: Callable[[str], Someone], hub: str, kdc: Kdc, tmp_path: Path
) -> None:
    someone = anew("dora")
    dora = Session(someone, tmp_path)
    dora.renew()
    with away(kdc):
        answer = refused(hub, "ada", password("ada"))
        assert answer.status_code == 503
        assert f"Sign-in at {REALM} does not answer now" in answer.text
        assert someone.page("/hub/home").ok
        dora.renew()  # gets the one that there is
    someone = anew("dora")
    assert Session(someone, tmp_path).renew() > 0


def test_nobody_answers_in_the_realms_place(hub: str, kdc: Kdc, tmp_path: Path) -> None:
    # Another realm of the same name and port, which knows ada by a password of its own.
    imposter = Kdc(tmp_path)
    imposter.administer('addprinc -pw "the imposter\'s" ada')
    with away(kdc):
        kdc_conf = (tmp_path / "kdc.conf").read_text().replace(str(imposter.port), str(kdc.port))
        (tmp_path / "kdc.conf").write_text(kdc_conf)
        imposter.port = kdc.port
        imposter.start()
        try:
            assert refused(hub, "ada", "the imposter's").status_code in (403, 503)
        finally:
            imposter.stop()


def test_neither_passwords_nor_tickets_are_in_what_the_hub_keeps(anew: Callable[[str], Someone], folder: Path) -> None:
    anew("ada")
    kept = b"".join(file.read_bytes() for file in (folder / "hub").rglob("*") if file.is_file())
    assert password("ada").encode() not in kept
    assert b"krbtgt" not in kept, "tickets are encrypted"
