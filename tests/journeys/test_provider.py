"""Sign-in at an institute's provider, with homes on the stack's own EOS: nobody is known before they come.

On a stack of its own, beside a real Keycloak of which the hub knows the address only.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, expect

from components.gateway_config import GatewayConfig
from components.sign_in import keycloak_admin
from components.sign_in.keycloak_realm import REALM
from components.sign_in.user_ids import user_id
from tests.conftest import OWN_STACK
from tests.journeys.files_page import FilesPage
from tests.live import institute
from tests.live.browser import browser
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until
from tests.machines import single_sign_on
from tests.machines.single_sign_on import CLIENT_SECRET, NAMES, Keycloak, password
from tests.unit.running_caddy import Authority

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600, func_only=True)]

STACK = f"{OWN_STACK}-provider"
DATA = {
    "raw": {"readers": ["beta"], "writers": ["beta"]},
    "opendata": {"readers": "everyone"},
}
TOKEN_SECONDS = 60
LOOK = """\
import os, stat
file = os.environ["BEARER_TOKEN_FILE"]
print(oct(stat.S_IMODE(os.stat(file).st_mode)), os.stat(file).st_uid == os.getuid(), open(file).read())
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """With people who are in no stack file."""
    authority = Authority(GatewayConfig(), [institute.ADDRESS, "localhost"])
    made = Keycloak(tmp_path_factory.mktemp("keycloak"), authority=authority)
    with institute.address():
        try:
            made.start()
            keycloak_admin.bring_about(made.admin(), single_sign_on.declaration(), None)
            made.admin().update_realm(REALM, {"accessTokenLifespan": TOKEN_SECONDS})
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def stack(
    provider: Keycloak, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveStack]:
    certificate = provider.authority.certificate
    with ExitStack() as started:
        folder = tmp_path_factory.mktemp("institute")
        issuer = started.enter_context(single_sign_on.running_institute(folder, provider, institute.ADDRESS))
        oidc = {
            "issuer": issuer,
            "client_id": "swan",
            "client_secret": CLIENT_SECRET,
            "provider": "the institute",
            "certificate_authority": certificate,
        }
        config = {
            "cygnet:auth": {"kind": "oidc", "oidc": oidc, "rights": {"sign_in": ["lab"]}},
            "cygnet:eos": {**institute.EOS, "data": DATA},
        }
        made = started.enter_context(
            institute.stack_beside(
                STACK,
                config,
                {name: password(name) for name in NAMES},
                pytestconfig=pytestconfig,
                folder=tmp_path_factory.mktemp("stack"),
                authority=certificate,
            )
        )
        single_sign_on.know(provider, "swan", made.url)
        yield made


@pytest.fixture(scope="module")
def chromium(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that comes to the provider, too."""
    home = tmp_path_factory.mktemp("browser")
    with browser(stack.ca_file, home, stack.url, f"https://{institute.ADDRESS}") as opened:
        yield opened


@pytest.fixture
def ada(visitor: Callable[[str], Visitor]) -> Visitor:
    """With a session."""
    made = visitor("ada")
    made.start()
    return made


def move(provider: Keycloak, name: str, group: str, *, into: bool) -> None:
    """Has somebody become a member, or be one no longer."""
    admin = provider.admin()
    (user,) = admin.get_users({"username": name, "exact": True})
    (found,) = [one for one in admin.get_groups() if one["name"] == group]
    (admin.group_user_add if into else admin.group_user_remove)(user["id"], found["id"])


def test_a_first_day(person: Callable[..., Person], stack: LiveStack) -> None:
    ada = person("ada")
    ada.sign_in()
    began = time.monotonic()
    ada.start()
    print(f"from the form's button to JupyterLab, home made on the way: {time.monotonic() - began:.1f} s")
    ada.open_notebook("Python 3")
    home = stack.home("ada")
    written = ada.run_cell(f"import os; open('plot.txt', 'w').write('hers'); print(os.getcwd(), os.getuid(), '{home}')")
    expect(written).to_have_text(f"{home} {user_id('ada')} {home}")
    ada.picture("home-of-a-guest")
    ada.page.goto(f"{stack.url}/files/")
    expect(ada.page).to_have_url(re.compile("/files/eos/user/a/ada/$"))
    expect(FilesPage(ada.page).file("plot.txt")).to_be_visible()
    ada.picture("files-of-a-guest")


def test_nobody_makes_a_home_on_the_page_of_files(stack: LiveStack) -> None:
    """Who has had no session has none, and cannot make a folder in its place."""
    root = Visitor(stack, "root")
    assert root.sign_in().ok
    page = stack.parts["files"]["url"]
    root.http.get(f"{page}/files/", timeout=30)
    answer = root.http.post(
        f"{page}/files/eos/user/r/root/?j",
        data={"act": "bput"},
        files={"f": ("x", b"x")},
        headers={"Origin": page},
        timeout=30,
    )
    assert answer.status_code >= 400
    assert not stack.host(stack.group("control_plane")[0]).file("/srv/eos/user/r/root").exists


def test_homes_are_apart_and_data_is_opened_by_the_providers_groups(
    ada: Visitor, visitor: Callable[[str], Visitor]
) -> None:
    ada.run("open('/eos/user/a/ada/hers', 'w').write('hers')")
    bob = visitor("bob")
    bob.start()
    attempt = "import os\ntry:\n    print({})\nexcept OSError as error:\n    print(error.strerror)"
    for tried in ("os.listdir('/eos/user/a/ada')", "open('/eos/user/a/ada/hers').read()", "os.listdir('/eos/raw')"):
        assert bob.run(attempt.format(tried)).strip() == "Permission denied", tried
    assert bob.run(attempt.format("os.listdir('/eos/opendata')")).strip() == "[]"
    # The server of homes looks once a minute at who is in which group.
    wrote = "os.path.getsize('/eos/raw/file') if open('/eos/raw/file', 'w').write('raw') else 0"
    until(lambda: ada.run(attempt.format(wrote)).strip() == "3", "her group opens the data", seconds=90, every=3)
    assert bob.run(attempt.format("open('/eos/raw/file').read()")).strip() == "Permission denied"


def test_the_token_is_in_a_file_of_ones_own_and_is_renewed(ada: Visitor) -> None:
    mode, own, token = ada.run(LOOK).split()
    assert (mode, own) == ("0o600", "True")
    assert single_sign_on.claims(token)["preferred_username"] == "ada"
    until(lambda: ada.run(LOOK).split()[2] != token, "it is another one", seconds=2 * TOKEN_SECONDS, every=5)


def test_who_is_taken_out_of_the_group_loses_the_files_of_a_session_that_runs(
    ada: Visitor, provider: Keycloak, stack: LiveStack
) -> None:
    kernel = ada.kernel()
    list_home = "import os\ntry:\n    print(len(os.listdir('/eos/user/a/ada')) > 0)\nexcept OSError as error:\n"
    list_home += "    print(error.strerror)"
    assert kernel.run(list_home).strip() == "True"
    machine = stack.host(stack.session_machine("ada"))
    as_ada = f"setpriv --reuid={user_id('ada')} --regid=100 --clear-groups ls {stack.home('ada')}"
    move(provider, "ada", "lab", into=False)
    try:
        # The session asks for its token before that ends; so the hub learns of it.
        until(lambda: "Permission denied" in machine.run(as_ada).stderr, "her files are closed", seconds=150, every=2)
        refused = Visitor(stack, "ada").sign_in()
        assert refused.status_code == 403
        assert "ada may not sign in here, which is for members of: lab" in refused.text
    finally:
        move(provider, "ada", "lab", into=True)
    back = Visitor(stack, "ada")
    back.stop()
    back.start()
    assert machine.run(as_ada).rc == 0
    back.stop()


def test_sessions_go_on_while_the_provider_is_away(
    ada: Visitor, provider: Keycloak, person: Callable[..., Person], stack: LiveStack
) -> None:
    provider.stop()
    try:
        assert ada.run("open('during', 'w').write('away'); print(6 * 7)").strip() == "42"
        bob = person("bob", leave_session=True)
        bob.page.goto(f"{stack.url}/hub/login")
        bob.page.get_by_role("button", name="Sign in with").click()
        expect(bob.page.get_by_text("Sign-in at the institute does not answer now")).to_be_visible()
        bob.picture("provider-of-others-away")
        assert ada.is_ready()
    finally:
        provider.start()
    assert Visitor(stack, "bob").sign_in().url.endswith("/hub/home")


def test_the_machines_list_is_as_the_hub_wrote_it(stack: LiveStack, ada: Visitor) -> None:
    assert ada.is_ready()
    for machine in stack.machines:
        host = stack.host(machine)
        assert host.service("cygnet-guests").is_running, machine
        users = host.file("/etc/cygnet/eos/users.json")
        assert (users.user, f'"uid": {user_id("ada")}' in users.content_string) == ("root", True)
    shown = stack.host(stack.group("control_plane")[0]).check_output("btrfs qgroup show -r --raw /srv/eos")
    assert re.search(rf"{2**30} +user/a/ada", shown), shown
