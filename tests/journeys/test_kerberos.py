"""Sign-in with a Kerberos realm's password, with homes on the stack's own EOS, and the ticket in the session.

On a stack of its own, beside a real realm in which it knows nobody.
"""

import base64
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import OWN_STACK
from tests.live import institute
from tests.live.browser import browser
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until
from tests.machines.halting import away
from tests.machines.kdc import REALM, Kdc, storage

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600, func_only=True)]

STACK = f"{OWN_STACK}-kerberos"
PASSWORDS = {"ada": "the realm's, of ada", "bob": "the realm's, of bob"}
TICKET_SECONDS = 120


@pytest.fixture(scope="module")
def kdc() -> Iterator[Kdc]:
    # Not pytest's own folder: the storage's user has to get there.
    with institute.address() as address, tempfile.TemporaryDirectory(prefix="cygnet-krb-") as folder:
        Path(folder).chmod(0o755)
        made = Kdc(Path(folder), host=address, ticket_hours=TICKET_SECONDS / 3600)
        for name, password in PASSWORDS.items():
            made.administer(f'addprinc -pw "{password}" {name}')
        made.start()
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def stack(kdc: Kdc, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    keytab = base64.b64encode(kdc.keytab("cygnet/hub").read_bytes()).decode()
    kerberos = {"realm": REALM, "kdcs": [kdc.address], "keytab": keytab, "ticket_hours": TICKET_SECONDS / 3600}
    config = {
        "cygnet:auth": {"kind": "kerberos", "kerberos": kerberos, "groups": {"lab": ["ada"]}},
        "cygnet:eos": {**institute.EOS, "data": {"raw": {"readers": ["lab"]}}},
    }
    folder = tmp_path_factory.mktemp("stack")
    with institute.stack_beside(STACK, config, PASSWORDS, pytestconfig=pytestconfig, folder=folder) as made:
        yield made


@pytest.fixture(scope="module")
def chromium(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(stack.ca_file, tmp_path_factory.mktemp("browser"), stack.url) as opened:
        yield opened


def test_a_first_day(person: Callable[..., Person], stack: LiveStack) -> None:
    ada = person("ada")
    ada.sign_in("not the password")
    expect(ada.page.get_by_text("Invalid username or password")).to_be_visible()
    ada.sign_in()
    ada.start()
    ada.open_notebook("Python 3")
    expect(ada.run_cell("import os; print(os.getcwd(), open('new', 'w').write('x'))")).to_have_text(
        f"{stack.home('ada')} 1"
    )
    expect(ada.run_cell("!klist")).to_contain_text(f"Default principal: ada@{REALM}")
    ada.picture("ticket-in-a-session")


def test_the_ticket_is_renewed_and_storage_takes_it(
    visitor: Callable[[str], Visitor], kdc: Kdc, tmp_path: Path
) -> None:
    ada = visitor("ada")
    ada.start()
    listed = until(lambda: _klist(ada), "there is a ticket", seconds=30)
    assert listed.count("krbtgt/") == 1
    assert "cygnet/hub" not in listed, "that one is the hub's"
    until(lambda: _klist(ada) not in ("", listed), "it is another one", seconds=2 * TICKET_SECONDS, every=5)
    carried = ada.run(
        "import base64, os; print(base64.b64encode(open(os.environ['KRB5CCNAME'][5:], 'rb').read()).decode())"
    )
    (tmp_path / "ticket").write_bytes(base64.b64decode(carried))
    with storage(kdc) as address:
        assert _reads(kdc, tmp_path / "ticket", address, "/eos/user/a/ada/note").stdout == "ada's\n"
        assert _reads(kdc, tmp_path / "ticket", address, "/eos/user/b/bob/note").returncode


def _klist(session: Visitor) -> str:
    """What klist says in a session, but for the file's name; nothing where there is no ticket."""
    return session.run(
        "import subprocess; print(subprocess.run('klist', capture_output=True, text=True).stdout)"
    ).strip()


def _reads(kdc: Kdc, ticket: Path, address: str, path: str) -> "subprocess.CompletedProcess[str]":
    """A file of the storage, with nothing but a session's ticket."""
    environment = {**kdc.environment, "KRB5CCNAME": f"FILE:{ticket}", "XrdSecPROTOCOL": "krb5"}
    argv = ["xrdfs", f"root://{address}", "cat", path]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_realm_that_is_away_keeps_nobody_from_working(
    visitor: Callable[[str], Visitor], person: Callable[..., Person], stack: LiveStack, kdc: Kdc
) -> None:
    ada = visitor("ada")
    ada.start()
    with away(kdc):
        assert ada.run("open('during', 'w').write('away'); print(6 * 7)").strip() == "42"
        bob = person("bob", leave_session=True)
        bob.sign_in()
        expect(bob.page.get_by_text(re.compile(f"Sign-in at {REALM} does not answer now"))).to_be_visible()
        bob.picture("realm-away")
        assert ada.is_ready()
    assert Visitor(stack, "bob").sign_in().url.endswith("/hub/home")
