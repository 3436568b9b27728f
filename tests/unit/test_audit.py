"""What is recorded of who did what: a real hub that people sign in to, and the command that reads it."""

import datetime as dt
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from argon2 import PasswordHasher

from operations import audit
from tests.live.waiting import until
from tests.unit.running_hub import Someone, running_hub

PASSWORD = "Not to be Seen 5"  # noqa: S105 - of this test's own people
KEY = "0" * 64
SETTINGS = {
    "proxy_host": "127.0.0.1",
    "files_port": None,
    "auth": {"kind": "accounts", "rights": {"sign_in": ["lab"]}},
    "sessions": {"image": "i", "size": {"cores": 1, "memory_gib": 1}, "eos_claim": "eos"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[str]:
    hashed = PasswordHasher(1, 8, 1).hash(PASSWORD)
    people: dict[str, dict[str, Any]] = {"ada": {"groups": ["lab"]}, "root": {"admin": True}, "bob": {}}
    accounts = json.dumps({name: {"hash": hashed, "uid": 70000, **more} for name, more in people.items()})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secrets = {"proxy_token": "t" * 32, "cookie_secret": KEY, "crypt_key": KEY}
    with running_hub(folder, port, SETTINGS, secrets, {"accounts.json": accounts}) as address:
        yield address


def events(folder: Path) -> list[dict[str, Any]]:
    """What was recorded, without the time and what it is."""
    lines = (folder / "audit" / "hub.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key[0] != "_"} for line in lines]


@pytest.fixture
def told(hub: str, folder: Path) -> Callable[[str], dict[str, Any]]:
    """Gives what this test has recorded last, when it is of this kind: an answer comes a moment before its event."""
    before = len(events(folder)) if (folder / "audit" / "hub.jsonl").exists() else 0

    def last(what: str) -> dict[str, Any]:
        found = until(
            lambda: [one for one in events(folder)[before:] if one["what"] == what], f"{what} at {hub}", seconds=10
        )
        return found[-1]

    return last


def tries(hub: str, name: str, password: str) -> int:
    """The answer to somebody who fills in the form."""
    http = requests.Session()
    http.trust_env = False
    # What a client says of itself, where it is, and the gateway, as the proxy tells it.
    http.headers["X-Forwarded-For"] = "203.0.113.66, 192.0.2.7, 10.244.0.3"
    http.get(f"{hub}/hub/login", timeout=10)
    xsrf = next(str(one.value) for one in http.cookies if one.name == "_xsrf" and one.path == "/hub/")
    form = {"username": name, "password": password, "_xsrf": xsrf}
    return http.post(f"{hub}/hub/login", data=form, timeout=30).status_code


Told = Callable[[str], dict[str, Any]]


def test_who_comes_and_goes_is_recorded(hub: str, told: Told) -> None:
    ada = Someone(hub, "ada", PASSWORD)
    ada.page("/hub/logout")
    assert told("sign in") == {"who": "ada", "from": "127.0.0.1", "what": "sign in", "result": "done"}
    assert told("sign out") == {"who": "ada", "from": "127.0.0.1", "what": "sign out", "result": "done"}


@pytest.mark.parametrize(
    ("typed", "who", "why"),
    [
        (("ada", "wrong"), "ada", "wrong name or password"),
        (("nobody", "wrong"), "nobody", "wrong name or password"),
        ((PASSWORD, "ada"), "", "wrong name or password"),
        (("bob", PASSWORD), "bob", "may not sign in here"),
    ],
    ids=["wrong password", "unknown name", "password in the wrong field", "not in the group"],
)
def test_who_is_refused_is_recorded_with_the_reason(
    hub: str, told: Told, typed: tuple[str, str], who: str, why: str
) -> None:
    assert tries(hub, *typed) == 403
    found = told("sign in")
    assert (found["who"], found["from"], found["result"]) == (who, "192.0.2.7", "refused")
    assert why in found["why"]


def test_who_stops_anothers_session_is_recorded(hub: str, told: Told) -> None:
    Someone(hub, "ada", PASSWORD).api("POST", "users/ada/server")
    Someone(hub, "root", PASSWORD).api("DELETE", "users/ada/server")
    found = told("stop session")
    assert (found["who"], found["of"], found["result"]) == ("root", "ada", "done")


def test_who_may_not_is_recorded(hub: str, told: Told) -> None:
    Someone(hub, "ada", PASSWORD).api("DELETE", "users/root/server")
    found = told("stop session")
    assert (found["who"], found["of"], found["result"]) == ("ada", "root", "refused")


def test_no_secret_is_recorded(hub: str, folder: Path, told: Told) -> None:
    ada = Someone(hub, "ada", PASSWORD)
    token = ada.api("POST", "users/ada/tokens", json={"note": "n"}).json()["token"]
    assert told("make token")["result"] == "done"
    recorded = (folder / "audit" / "hub.jsonl").read_text()
    assert PASSWORD not in recorded
    assert token not in recorded


# The command


def made(minutes: int, **more: str) -> dict[str, str]:
    """An event of so many minutes ago."""
    then = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
    told = {"who": "ada", "from": "192.0.2.7", "what": "sign in", "result": "done", **more}
    return {"__timestamp__": f"{then.isoformat()}Z", **told}


def test_a_line_of_which_a_crash_left_a_half_is_left_out_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    whole = {"__timestamp__": "2026-11-21T10:00:00+00:00Z", "who": "ada"}
    assert [*audit.read(['{"__timest', json.dumps(whole), "[]"])] == [whole]
    assert capsys.readouterr().err == "left out: 2 lines that cannot be read\n"


def test_events_come_in_the_order_of_time_from_a_day_on() -> None:
    new, old, newest = made(10), made(3000), made(1)
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert audit.chosen([newest, old, new], since) == [new, newest]


def test_a_user_is_who_does_and_to_whom_it_is_done() -> None:
    own, others, theirs = made(3), made(2, who="root"), made(1, who="root", of="ada")
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert audit.chosen([own, others, theirs], since, "ada") == [own, theirs]


def test_a_sentence_has_all_of_it() -> None:
    event = made(0, who="root", of="ada", what="start session", result="failed", why="no room")
    said = audit.sentence({**event, "choices": {"release": "stable"}})
    assert said.endswith("root  192.0.2.7  start session of ada: failed, release stable, no room")
