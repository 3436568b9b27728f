"""A hub that runs: what operators may do to others' sessions and what they may not, and what users may choose."""

import html
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from argon2 import PasswordHasher

from tests.live.waiting import until
from tests.unit.running_hub import Someone, running_hub

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SETTINGS = {
    "sessions": {
        "image": "registry:5000/cygnet/session:1",
        "size": {"cores": 2, "memory_gib": 4},
        "home": {"storage_class": "shared"},
        "releases": [
            {"name": "stable", "title": "Stable", "view": "/cvmfs/s.example/stable"},
            {"name": "bleeding", "title": "Bleeding edge", "view": "/cvmfs/s.example/bleeding"},
        ],
        "interfaces": [
            {"name": "lab", "title": "JupyterLab", "url": "/lab"},
            {"name": "document", "title": "One document", "url": "/doc"},
        ],
        "scripts": True,
    }
}
SECRETS = {"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": "cd" * 32, "monitor_token": "m" * 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's own."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[str]:
    """With the accounts ada, bob, and root, who is an operator."""
    hashed = {
        name: {"hash": QUICK.hash(f"{name}'s"), "admin": name == "root", "uid": 70000}
        for name in ("ada", "bob", "root")
    }
    with socket.socket() as free, socket.socket() as another:
        for one in (free, another):
            one.bind(("127.0.0.1", 0))
        port, door = free.getsockname()[1], another.getsockname()[1]
    settings = {**SETTINGS, "monitor_port": door}
    with running_hub(folder, port, settings, SECRETS, {"accounts.json": json.dumps(hashed)}) as address:
        yield address


@pytest.fixture(scope="module")
def ada(hub: str) -> Someone:
    return Someone(hub, "ada", "ada's")


@pytest.fixture(scope="module")
def root(hub: str) -> Someone:
    return Someone(hub, "root", "root's")


@pytest.fixture
def session(ada: Someone) -> Iterator[None]:
    """Ada's."""
    assert ada.api("POST", "users/ada/server").status_code == 201
    yield
    ada.api("DELETE", "users/ada/server")


@pytest.mark.usefixtures("session")
def test_an_operator_sees_who_is_there_and_who_works(root: Someone) -> None:
    asked_by_the_page = "users?include_stopped_servers=1&offset=0&limit=50&name_filter=&sort=id&state="
    people = {one["name"]: one for one in root.api("GET", asked_by_the_page).json()}
    assert people["ada"]["servers"][""]["ready"]
    assert people["ada"]["last_activity"]
    assert "state" not in people["ada"]["servers"][""]
    assert not any(one["admin"] for one in people.values())


@pytest.mark.usefixtures("ada")
def test_an_operator_starts_and_stops_anybodys_session(root: Someone) -> None:
    assert root.api("POST", "users/ada/server").status_code == 201
    assert root.api("DELETE", "users/ada/server").status_code == 204
    assert root.api("GET", "users/ada").json()["servers"] == {}


@pytest.mark.usefixtures("session")
def test_an_operator_does_not_open_anothers_session(ada: Someone, root: Someone) -> None:
    """A session asks the hub whether a visitor may come in, by OAuth; the hub answers its user only."""
    ask = "/hub/api/oauth2/authorize?response_type=code&client_id=jupyterhub-user-ada"
    ask += "&redirect_uri=%2Fuser%2Fada%2Foauth_callback"
    assert root.http.get(f"{root.hub}{ask}", allow_redirects=False, timeout=10).status_code == 403
    assert ada.http.get(f"{ada.hub}{ask}", allow_redirects=False, timeout=10).status_code == 302
    assert root.page("/hub/user/ada/lab").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "users/ada/tokens"),
        ("GET", "users/ada/tokens"),
        ("PATCH", "users/root"),
        ("POST", "users/eve"),
        ("DELETE", "users/ada"),
        ("POST", "shares/ada/"),
        ("GET", "shares/ada/"),
        ("POST", "groups/others"),
        ("POST", "groups/operators/users"),
        ("GET", "proxy"),
        ("GET", "info"),
        ("POST", "shutdown"),
    ],
)
@pytest.mark.usefixtures("ada")
def test_an_operator_has_no_other_rights(root: Someone, method: str, path: str) -> None:
    assert root.api(method, path).status_code in (403, 404)


def test_the_page_of_all_sessions_is_for_operators(ada: Someone, root: Someone) -> None:
    assert 'id="react-admin-hook"' in root.page("/hub/admin").text
    assert ada.page("/hub/admin").status_code == 403


def test_others_see_and_stop_nobody_elses_session(hub: str, ada: Someone) -> None:
    bob = Someone(hub, "bob", "bob's")
    assert ada.api("GET", "users").status_code == 403
    assert bob.api("DELETE", "users/ada/server").status_code in (403, 404)
    assert bob.api("POST", "users/ada/server").status_code in (403, 404)


@pytest.mark.parametrize("page", ["", "login"])
def test_a_link_with_a_line_break_is_refused_with_words(ada: Someone, page: str) -> None:
    answer = ada.page(f"/hub/{page}?next=%2Fhub%2Fhome%0Aenv%3B")
    assert answer.status_code == 400
    assert "This link is broken" in answer.text


def test_the_page_of_the_monitor_is_for_operators(ada: Someone, root: Someone, folder: Path) -> None:
    ask = "/hub/api/oauth2/authorize?response_type=code&client_id=service-monitor"
    ask += "&redirect_uri=%2Fmonitor%2Foauth_callback"
    assert root.http.get(f"{root.hub}{ask}", allow_redirects=False, timeout=10).status_code == 302
    assert ada.http.get(f"{ada.hub}{ask}", allow_redirects=False, timeout=10).status_code == 403
    record = folder / "audit" / "hub.jsonl"
    until(lambda: '"what": "open monitor"' in record.read_text(), "it is recorded", seconds=5, every=0.1)
    assert 'href="/monitor/"' in root.page("/hub/home").text
    assert 'href="/monitor/"' not in ada.page("/hub/home").text


def test_figures_are_for_prometheus_which_may_do_nothing_else(hub: str, root: Someone) -> None:
    def asked(path: str, token: str) -> requests.Response:
        return requests.get(f"{hub}/hub/{path}", headers={"Authorization": f"token {token}"}, timeout=10)

    answer = asked("metrics", "m" * 32)
    assert answer.status_code == 200
    assert 'cygnet_start_failures_total{cause="no room"} 0.0' in answer.text
    assert 'cygnet_session_ends_total{cause="memory"} 0.0' in answer.text
    assert 'jupyterhub_server_spawn_duration_seconds_count{status="failure"} 0.0' in answer.text
    assert asked("metrics", "x" * 32).status_code == 403
    assert root.page("/hub/metrics").status_code == 403
    for path in ("api/users", "api/proxy", "api/services", "api/groups"):
        assert asked(path, "m" * 32).status_code == 403


REFUSED = "there is no release 'forged' here; choose one of: stable, bleeding"


FORGED: list[dict[str, Any]] = [
    {"release": "forged"},
    {"release": ""},
    {"release": "Stable"},
    {"release": "stable "},
    {"release": "../../etc"},
    {"release": "stable,bleeding"},
    {"release": "{username}"},
    {"release": "<script>alert(1)</script>"},
    {"release": "' OR 1=1 --"},
    {"release": "$(id)"},
    {"release": "x" * 100_000},
    {"release--unlisted-choice": "registry.example/mine"},
    {"profile": "large"},
    {"profile": "session"},
    {"image": "registry.example/mine"},
    {"cmd": "sh"},
    {"cpu_limit": "64"},
    {"mem_limit": "1T"},
    {"environment": "LD_PRELOAD=/tmp/x.so"},
    {"volumes": "/"},
    {"uid": "0"},
    {"idle_hours": "0"},
    {"interface": "classic"},
    {"interface": "/lab"},
    {"script": "setup.sh"},
    {"script": "/etc/profile"},
    {"script": "/eos/user/b/bob/setup.sh"},
    {"script": "~bob/setup.sh"},
    {"script": "~/../bob/setup.sh"},
    {"script": "~/./setup.sh"},
    {"script": "/cvmfs/../etc/profile"},
    {"script": "~/a b.sh"},
    {"script": "~/$(id)"},
    {"script": "~/x;id"},
    {"script": "~/setup.sh\nid"},
    {"script": "~/" + "x" * 300},
    {"script": "~/\u0455etup.sh"},
]
BY_API_ONLY: list[Any] = [
    {"release": None},
    {"release": True},
    {"release": 0},
    {"release": ["stable"]},
    {"release": {"stable": "stable"}},
    {"extra_pod_config": {"hostNetwork": True}},
    {"release": "stable", "image": "registry.example/mine"},
    {"script": ["~/setup.sh"]},
    {"script": {"~/setup.sh": 1}},
    {"script": 7},
]


def kind(forged: dict[str, Any]) -> str:
    """What a test is called."""
    return " ".join(f"{name}={str(value)[:25]}" for name, value in forged.items())


@pytest.mark.parametrize("forged", [*FORGED, *BY_API_ONLY], ids=kind)
def test_a_forged_choice_is_refused_by_the_api_and_does_not_stay(ada: Someone, forged: dict[str, Any]) -> None:
    answer = ada.api("POST", "users/ada/server", json=forged)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"there is no {list(forged)[-1]} ")
    assert ada.api("GET", "users/ada").json()["servers"] == {}
    assert kept(ada) in (None, {}), "the next start would choose it again"


@pytest.mark.parametrize("forged", FORGED[::3], ids=kind)
def test_a_forged_choice_is_refused_on_the_page(ada: Someone, forged: dict[str, str]) -> None:
    page = ada.submit("/hub/spawn/ada", **forged)
    assert page.status_code == 400
    name = next(iter(forged))
    assert html.unescape(page.text).count(f"Error: there is no {name} ") == 1
    assert "<script>alert(1)" not in page.text
    assert ada.api("GET", "users/ada").json()["servers"] == {}
    assert kept(ada) in (None, {})


def test_who_is_refused_reads_what_there_is(ada: Someone) -> None:
    assert ada.api("POST", "users/ada/server", json={"release": "forged"}).json()["message"] == REFUSED
    assert ada.api("POST", "users/ada/server").status_code == 201
    ada.api("DELETE", "users/ada/server")


def kept(someone: Someone) -> Any:
    """What the hub has kept of the last choice."""
    stopped = someone.api("GET", f"users/{someone.name}?include_stopped_servers=1").json()["servers"]
    return stopped.get("", {}).get("user_options")


PULL = "git-pull?repo=https%3A%2F%2Fgit.example%2Fcourse&urlpath=lab%2Ftree%2Fcourse%2Fa.ipynb"


def led_to(someone: Someone, link: str) -> str:
    """Where a link leads in one step."""
    answer = someone.http.get(f"{someone.hub}/hub/user-redirect/{link}", allow_redirects=False, timeout=10)
    assert answer.status_code == 302, answer.text
    return answer.headers["Location"]


def test_a_link_asks_what_to_start_unless_it_says_so(ada: Someone) -> None:
    assert led_to(ada, PULL) == f"/hub/spawn/ada?next={quote(f'/user/ada/{PULL}', safe='')}"
    assert 'id="release-bleeding"' in ada.page(led_to(ada, PULL)).text


def test_a_link_starts_the_session_that_it_is_for(ada: Someone) -> None:
    start = led_to(ada, f"{PULL}&release=bleeding")
    assert start == f"/hub/spawn/ada?release=bleeding&next={quote(f'/user/ada/{PULL}', safe='')}"
    went = ada.http.get(f"{ada.hub}{start}", allow_redirects=False, timeout=30)
    assert went.headers["Location"].startswith("/hub/spawn-pending/ada?")
    assert went.headers["Location"].endswith(f"next={quote(f'/user/ada/{PULL}', safe='')}")
    assert ada.api("GET", "users/ada").json()["servers"][""]["user_options"] == {"release": "bleeding"}
    assert led_to(ada, f"{PULL}&release=bleeding") == f"/user/ada/{PULL}"
    answer = ada.page(f"/hub/user-redirect/{PULL}&release=stable")
    assert answer.status_code == 409
    assert (
        "This link is for <strong>Stable</strong>, and your session runs with <strong>Bleeding edge</strong>"
        in answer.text
    )
    assert f'href="/user/ada/{html.escape(PULL)}"' in answer.text
    assert 'href="/hub/home"' in answer.text
    ada.api("DELETE", "users/ada/server")


@pytest.mark.usefixtures("session")
def test_a_link_for_what_is_not_offered_says_so(ada: Someone) -> None:
    answer = ada.page(f"/hub/user-redirect/{PULL}&release=forged")
    assert answer.status_code == 400
    assert REFUSED in html.unescape(answer.text)


@pytest.mark.usefixtures("session")
def test_a_link_that_says_nothing_of_the_session_goes_to_the_one_that_runs(ada: Someone) -> None:
    went = ada.http.get(f"{ada.hub}{led_to(ada, PULL)}", allow_redirects=False, timeout=10)
    assert went.headers["Location"] == f"/user/ada/{PULL}"


def test_a_choice_on_the_page_is_kept_for_the_next_time(ada: Someone) -> None:
    starts: tuple[Callable[[], requests.Response], ...] = (
        lambda: ada.submit("/hub/spawn/ada", release="bleeding"),
        lambda: ada.api("POST", "users/ada/server"),
    )
    for start in starts:
        assert start().ok
        server = ada.api("GET", "users/ada").json()["servers"][""]
        assert server["user_options"] == {"release": "bleeding"}
        ada.api("DELETE", "users/ada/server")


def test_one_click_starts_what_was_started_before(ada: Someone) -> None:
    wanted = {"release": "bleeding", "interface": "document", "script": "~/course/setup-1.sh"}
    assert ada.submit("/hub/spawn/ada", **wanted).status_code == 302
    ada.api("DELETE", "users/ada/server")
    page = ada.page("/hub/spawn").text
    assert "Start as before: Bleeding edge, One document, ~/course/setup-1.sh</button>" in page
    form = re.findall('<form id="again".*?</form>', page, re.DOTALL)[0]
    again = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))
    assert again == wanted
    assert ada.submit("/hub/spawn/ada", **again).status_code == 302
    assert ada.api("GET", "users/ada").json()["servers"][""]["user_options"] == wanted
    ada.api("DELETE", "users/ada/server")
    assert ada.submit("/hub/spawn/ada", release="stable", script="").status_code == 302, "an empty field is no script"
    ada.api("DELETE", "users/ada/server")


def test_who_never_started_has_nothing_to_start_again(hub: str) -> None:
    page = Someone(hub, "bob", "bob's").page("/hub/spawn").text
    assert 'id="release-stable"' in page
    assert "Start as before" not in page


def test_a_link_names_no_script(ada: Someone) -> None:
    """What a link brought into a home, another one would run."""
    for start in ("spawn/ada?release=stable&script=~/course/setup.sh", "spawn?script=/cvmfs/a.example/setup.sh"):
        answer = ada.page(f"/hub/{start}")
        assert answer.status_code == 400
        assert "A link may not name a script" in answer.text
    assert led_to(ada, f"{PULL}&script=~/setup.sh").startswith("/hub/spawn/ada?next="), "it goes to the session's page"
    assert ada.api("GET", "users/ada").json()["servers"] == {}
