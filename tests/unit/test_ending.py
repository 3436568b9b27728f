"""When sessions end: what is decided from what is known, a real hub that does it, and what a session notes and says."""

import asyncio
import datetime as dt
import importlib
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from argon2 import PasswordHasher
from cygnet_hub import config
from cygnet_hub.ending import PAUSE_SECONDS, Limits
from cygnet_hub.settings import Secrets, Settings
from cygnet_hub.spawner import SessionSpawner

from components.hub_config import HubConfig
from components.sign_in.rights import RightsConfig
from components.sizes import SizeConfig, profiles
from tests.live.waiting import until
from tests.unit.program import PROJECT
from tests.unit.running_hub import Someone, running_hub

HOUR = 3600
SHOWN = 140
"""How many characters of a notice JupyterLab shows."""
SECRETS = {"proxy_token": "t" * 32, "cookie_secret": "ab" * 32, "crypt_key": "cd" * 32}


# What is decided


@pytest.mark.parametrize(
    ("limits", "used_at", "now", "why"),
    [
        pytest.param(Limits(), 0, 1e9, "", id="no limit"),
        pytest.param(Limits(idle_seconds=4 * HOUR), 0, 4 * HOUR, "", id="what was done just now is not known yet"),
        pytest.param(Limits(idle_seconds=4 * HOUR), 0, 4 * HOUR + 601, "nobody used it for 4 hours", id="idle"),
        pytest.param(Limits(idle_seconds=180), 0, 180 + 21, "nobody used it for 3 minutes", id="short limits soon"),
        pytest.param(Limits(old_at=HOUR, age_seconds=HOUR), 9 * HOUR, 9 * HOUR + 60, "", id="old, and in use"),
        pytest.param(
            Limits(old_at=HOUR, age_seconds=HOUR), 2 * HOUR, 2 * HOUR + PAUSE_SECONDS + 200,
            "it was older than 1 hour, and nothing ran in it", id="old, and not in use",
        ),
        pytest.param(Limits(old_at=HOUR, age_seconds=HOUR), 0, HOUR - 1, "", id="not old yet"),
    ],
)  # fmt: skip
def test_a_session_ends_when_a_limit_has_passed(limits: Limits, used_at: float, now: float, why: str) -> None:
    assert limits.passed(used_at, now) == why


@pytest.mark.parametrize("idle_seconds", [0, 60, 180, 4 * HOUR, 720 * HOUR])
def test_the_hub_has_heard_before_it_decides(idle_seconds: float) -> None:
    limits = Limits(idle_seconds=idle_seconds)
    assert 10 <= limits.told_every_seconds <= 300
    assert limits.grace_seconds >= 1.1 * limits.told_every_seconds, "JupyterHub adds a tenth"


def spawner(idle_hours: float = 4, groups: tuple[str, ...] = (), **rights: Any) -> SessionSpawner:
    """Of a session, as the hub makes it."""
    told = Settings.model_validate(
        {
            "auth": {"kind": "accounts", "rights": rights},
            "sessions": {
                "image": "i",
                "size": {"cores": 1, "memory_gib": 1, "idle_hours": idle_hours},
                "eos_claim": "eos",
                "idle_warning_minutes": 15,
                "max_age_hours": 24,
                "profiles": [
                    {"name": "standard", "title": "S", "cores": 1, "memory_gib": 1, "idle_hours": idle_hours},
                    {"name": "gpu", "title": "G", "cores": 2, "memory_gib": 16, "idle_hours": 1, "processes": 300,
                     "tmp_gib": 20},
                ],
            },
        }
    )  # fmt: skip
    person = SimpleNamespace(
        name="ada", id=1, url="/user/ada/", groups=[SimpleNamespace(name=name) for name in groups], settings={}
    )
    made = config.configuration(told, Secrets.model_validate(SECRETS))
    return SessionSpawner(config=made, user=person, _mock=True)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda _: None)


def told(session: SessionSpawner, **chosen: str) -> dict[str, Any]:
    """What a session that starts is told of its end."""
    session.user_options = chosen
    asyncio.run(session.load_user_options())
    given: dict[str, Any] = json.loads(session.get_env()["CYGNET_LIMITS"])
    return given


def test_a_session_is_told_its_limits_and_how_often_to_tell() -> None:
    session = spawner()
    limits = told(session)
    assert (limits["idle_seconds"], limits["warning_seconds"]) == (4 * HOUR, 900)
    assert limits["age_seconds"] == 24 * HOUR
    assert session.get_env()["JUPYTERHUB_ACTIVITY_INTERVAL"] == "300"


def test_a_size_has_limits_of_its_own() -> None:
    session = spawner()
    assert told(session, profile="gpu")["idle_seconds"] == HOUR
    assert session.extra_resource_limits == {"ephemeral-storage": "20Gi"}
    assert session.environment["CYGNET_PROCESSES"] == "300"


def test_a_group_has_an_age_of_its_own() -> None:
    ages = {"course": 12, "staff": 72}
    assert told(spawner(groups=("course",), max_age_hours=ages))["age_seconds"] == 12 * HOUR
    assert told(spawner(groups=("course", "staff"), max_age_hours=ages))["age_seconds"] == 72 * HOUR
    assert told(spawner(groups=("others",), max_age_hours=ages))["age_seconds"] == 24 * HOUR


def test_limits_outlive_a_restart_of_the_hub_and_a_change_of_its_settings() -> None:
    before, after = spawner(idle_hours=4), spawner(idle_hours=1)
    told(before)
    before.ended_because = "nobody used it"
    after.load_state(before.get_state())
    assert after.limits == before.limits
    assert after.ended_because == "nobody used it"


def test_homes_that_are_volumes_have_no_number_of_processes() -> None:
    """There all users are one user to Linux: who has many processes would take them from others."""
    sessions = {"image": "i", "size": {"cores": 1, "memory_gib": 1, "processes": 300}, "home": {"storage_class": "s"}}
    read = Settings.model_validate({"sessions": sessions})
    assert "CYGNET_PROCESSES" not in config.spawner(read.sessions)["environment"]


# What a stack says


def test_a_size_says_what_it_has_otherwise_than_the_standard_one() -> None:
    hub = HubConfig(
        idle_hours=3,
        tmp_gib=5,
        processes=400,
        sizes={"gpu": SizeConfig(title="GPU", cores=2, memory_gib=16, idle_hours=1)},
    )
    standard, gpu = profiles(hub, hub.sizes, RightsConfig())
    assert (standard["idle_hours"], standard["tmp_gib"], standard["processes"]) == (3, 5, 400)
    assert (gpu["idle_hours"], gpu["tmp_gib"], gpu["processes"]) == (1, 5, 400)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"idle_hours": 0.25}, "idle_hours (0.25, which is 15 minutes) is not more than idle_warning_minutes (15)"),
        (
            {"sizes": {"gpu": {"title": "G", "cores": 1, "memory_gib": 1, "idle_hours": 0.1}}},
            "raise sizes.gpu.idle_hours",
        ),
    ],
)
def test_a_session_that_warned_from_its_start_on_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"idle_hours") as error:
        HubConfig(**keys)
    assert said in str(error.value)
    HubConfig(**keys, idle_warning_minutes=1)


def test_a_group_with_an_age_is_one_that_there_is() -> None:
    assert RightsConfig(max_age_hours={"course": 12}).groups == {"course"}


# A hub that runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ending")


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[str]:
    """Ends sessions that were not used for four seconds; those of a course after four, when they pause for three."""
    hashed = PasswordHasher(1, 8, 1).hash("password")
    people = {"ada": [], "bob": ["course"]}
    accounts = {name: {"hash": hashed, "uid": 70000, "groups": groups} for name, groups in people.items()}
    settings = {
        "auth": {"kind": "accounts", "rights": {"max_age_hours": {"course": 4 / HOUR}}},
        "sessions": {
            "image": "i",
            "size": {"cores": 1, "memory_gib": 1, "idle_hours": 4 / HOUR},
            "eos_claim": "eos",
        },
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quicker = "ending.Limits.grace_seconds = 1\nending.PAUSE_SECONDS = 3\n"
    with running_hub(folder, port, settings, SECRETS, {"accounts.json": json.dumps(accounts)}, more=quicker) as address:
        yield address


def ends(folder: Path, name: str) -> list[str]:
    """Why sessions of a user were ended, as the log has it."""
    events = [json.loads(line) for line in (folder / "audit" / "hub.jsonl").read_text().splitlines()]
    return [one["why"] for one in events if (one["what"], one.get("of")) == ("end session", name)]


def used(someone: Someone) -> bool:
    """Tells the hub, as a session does, that it was used just now; whether there is one."""
    now = dt.datetime.now(dt.UTC).isoformat()
    someone.api("POST", f"users/{someone.name}/activity", json={"servers": {"": {"last_activity": now}}})
    return bool(someone.api("GET", f"users/{someone.name}").json()["servers"])


def test_a_session_ends_when_nobody_uses_it_and_not_before(hub: str, folder: Path) -> None:
    ada = Someone(hub, "ada", "password")
    assert ada.api("POST", "users/ada/server").status_code == 201
    began = dt.datetime.now(dt.UTC)
    while (dt.datetime.now(dt.UTC) - began).total_seconds() < 6:
        assert used(ada), "it is in use"
    assert ends(folder, "ada") == []

    until(lambda: not ada.api("GET", "users/ada").json()["servers"], "it has ended", seconds=30)
    assert ends(folder, "ada") == ["nobody used it for 0.0667 minutes"]
    page = ada.page("/hub/user/ada/lab")
    assert page.status_code == 424
    assert "Your session ended: nobody used it for" in page.text
    assert "/hub/spawn/ada" in page.text


def test_a_session_that_is_too_old_ends_when_it_pauses(hub: str, folder: Path) -> None:
    bob = Someone(hub, "bob", "password")
    assert bob.api("POST", "users/bob/server").status_code == 201
    began = dt.datetime.now(dt.UTC)
    while (dt.datetime.now(dt.UTC) - began).total_seconds() < 6:
        assert used(bob), "it is in use"
    until(lambda: not bob.api("GET", "users/bob").json()["servers"], "it has ended", seconds=30)
    assert ends(folder, "bob") == ["it was older than 0.0667 minutes, and nothing ran in it"]


# What a session notes and says; what it takes for use is tried with its notebook server (tests/machines)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The session's own module."""
    monkeypatch.syspath_prepend(str(PROJECT / "images/session"))
    for name in [name for name in sys.modules if name.startswith("cygnet_session")]:
        monkeypatch.delitem(sys.modules, name)
    return importlib.import_module("cygnet_session.memory")


@pytest.mark.parametrize("file", ["memory.events", "memory/memory.oom_control"], ids=["cgroup v2", "cgroup v1"])
def test_a_program_that_was_ended_for_its_memory_is_told_of(memory: ModuleType, tmp_path: Path, file: str) -> None:
    counter = tmp_path / file
    counter.parent.mkdir(exist_ok=True)

    def write(count: int) -> None:
        counter.write_text(f"oom 3\nunder_oom 0\noom_kill {count}\noom_group_kill 9\n")

    write(2)
    watch = memory.Memory({"MEM_LIMIT": str(3 * 2**29)}, tmp_path)
    assert watch.notices() == [], "it was before this session's server"
    write(3)
    (first,) = watch.notices()
    assert "more than the 1.5 GiB of this session" in first.text
    assert len(first.text.replace("{since}", "12:00 PM")) <= SHOWN
    assert watch.notices() == [first]
    write(5)
    (second,) = watch.notices()
    assert second.id != first.id, "or it would not be shown again"


def test_without_a_counter_nothing_is_told(memory: ModuleType, tmp_path: Path) -> None:
    assert memory.Memory({"MEM_LIMIT": "1"}, tmp_path).notices() == []
