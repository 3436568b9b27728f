"""GPUs: the waiting list as arithmetic, whatever people do, and a real hub with five people and two GPUs."""

import html
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from cygnet_hub import gpus
from cygnet_hub.config import gpu_pool
from cygnet_hub.gpus import count_of
from cygnet_hub.settings import Gpu, Settings
from cygnet_hub.waiting import Holder, Moment, WaitingList
from pydantic import ValidationError

from tests.live.ports import free_ports
from tests.live.waiting import until
from tests.unit.running_hub import Someone, running_hub

MINUTE = 60
CLAIM = 10 * MINUTE
TWO = {"t4": 2}


# The list


class Pool:
    """The list in a world of its own: who holds what, and a clock that a test moves."""

    def __init__(self, total: dict[str, int] | None = None) -> None:
        self.total = total or dict(TWO)
        self.list = WaitingList(CLAIM)
        self.holders: dict[str, Holder] = {}
        self.now = 1000.0

    def ask(self, user: str, model: str = "t4", count: int = 1) -> bool:
        """Asks, and starts if that may be."""
        self.list.ask(user, model, count, self.moment())
        entry = self.list.entry(user)
        if entry and entry.until:
            self.holders[user] = Holder(user, model, count, self.now)
            self.look()
        return user in self.holders

    def stop(self, user: str) -> None:
        del self.holders[user]
        self.look()

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.look()

    def moment(self) -> Moment:
        return Moment(self.now, self.total, [*self.holders.values()])

    def look(self) -> list[tuple[str, str]]:
        return [(event.user, event.what) for event in self.list.look(self.moment())]

    def free(self, model: str = "t4") -> int:
        return self.list.free(model, self.moment())

    def claims(self) -> list[str]:
        return [one["user"] for one in self.list.state()["entries"] if one["until"]]

    def waiting(self, model: str = "t4") -> list[str]:
        return [one.user for one in self.list.waiting(model)]

    def expected(self, user: str) -> float | None:
        return self.list.expected_at(user, self.moment())


def crowd() -> Pool:
    """Two who have the GPUs, and three who wait."""
    pool = Pool()
    assert [pool.ask(user) for user in "abcde"] == [True, True, False, False, False]
    return pool


def test_who_asks_first_is_first() -> None:
    pool = crowd()
    assert pool.waiting() == ["c", "d", "e"]
    pool.stop("b")
    assert pool.claims() == ["c"]
    assert not pool.ask("e"), "asking again does not help"
    assert not pool.ask("f"), "nor does coming when something is free, as it is kept"
    assert pool.ask("c")
    assert pool.waiting() == ["d", "e", "f"]


def test_a_claim_that_nobody_takes_ends_and_the_next_one_has_it() -> None:
    pool = crowd()
    pool.stop("a")
    pool.pass_(CLAIM - 1)
    assert pool.claims() == ["c"]
    pool.now += 1
    assert pool.look() == [("c", "expired"), ("d", "claim")]
    assert pool.list.entry("c") is None
    assert not pool.ask("c")
    assert pool.waiting() == ["e", "c"], "who missed a turn begins anew"


def test_who_leaves_gives_place_and_claim_to_others() -> None:
    pool = crowd()
    pool.stop("a")
    pool.list.leave("c")
    pool.look()
    assert pool.claims() == ["d"]
    pool.list.leave("e")
    assert pool.waiting() == []


def test_nobody_has_two_places_and_another_wish_begins_anew() -> None:
    pool = Pool({"t4": 1, "v100": 1})
    assert pool.ask("a")
    assert pool.ask("b", "v100")
    for user in "cdc":
        assert not pool.ask(user)
    assert pool.waiting() == ["c", "d"]
    assert not pool.ask("c", "v100")
    assert (pool.waiting(), pool.waiting("v100")) == (["d"], ["c"])
    pool.stop("b")
    assert pool.ask("c", "v100"), "models are apart"


def test_who_wants_two_is_not_overtaken_by_those_who_want_one() -> None:
    pool = Pool()
    pool.ask("a")
    pool.ask("b")
    assert not pool.ask("both", count=2)
    assert not pool.ask("d")
    pool.stop("a")
    assert (pool.claims(), pool.waiting()) == ([], ["both", "d"])
    pool.stop("b")
    assert pool.claims() == ["both"]


def test_a_start_that_fails_may_be_tried_again_as_long_as_the_claim_holds() -> None:
    pool = crowd()
    pool.stop("a")
    starting = Holder("c", "t4", 1, pool.now, ready=False)
    pool.list.ask("c", "t4", 1, pool.moment())
    pool.holders["c"] = starting
    pool.pass_(30)
    assert pool.claims() == ["c"], "counted once, and not taken from it"
    assert pool.free() == 0
    del pool.holders["c"]
    pool.pass_(30)
    assert pool.ask("c")


def test_claims_are_taken_back_when_machines_go_away_and_no_place_is_lost() -> None:
    pool = crowd()
    pool.stop("a")
    pool.stop("b")
    assert pool.claims() == ["c", "d"]
    pool.total = {"t4": 1}
    pool.look()
    assert (pool.claims(), pool.waiting()) == (["c"], ["d", "e"])
    pool.total = {}
    pool.look()
    assert (pool.claims(), pool.waiting()) == ([], ["c", "d", "e"])


def test_a_restart_of_the_hub_changes_nothing() -> None:
    pool = crowd()
    pool.stop("a")
    pool.pass_(5)
    kept = json.loads(json.dumps(pool.list.state()))
    pool.list = WaitingList(CLAIM, kept)
    assert pool.list.state() == kept
    assert (pool.claims(), pool.waiting()) == (["c"], ["d", "e"])
    pool.stop("b")
    assert pool.expected("e") == pool.expected("e") is not None, "how long sessions last is known still"


def test_without_any_past_the_limit_of_idle_sessions_tells_the_first_ones_when() -> None:
    pool = Pool()
    for user, end in (("a", 5000), ("b", 3000)):
        assert pool.ask(user)
        pool.holders[user] = Holder(user, "t4", 1, pool.now, ends_at=end)
    for user in "cde":
        pool.ask(user)
    assert [pool.expected(user) for user in "cde"] == [3000, 5000, None]


def test_past_sessions_tell_when_it_may_be_ones_turn() -> None:
    pool = Pool()
    for length in (600, 1000, 5000):
        pool.ask("x")
        pool.pass_(length)
        pool.stop("x")
    begin = pool.now
    assert pool.ask("a")
    pool.pass_(100)
    assert pool.ask("b")
    for user in "cde":
        assert not pool.ask(user)
    assert [pool.expected(user) for user in "cde"] == [begin + 1000, begin + 1100, begin + 2000]
    pool.pass_(1100)
    assert pool.expected("c") == begin + 5000, "who is there for longer than most stays long"


def test_more_than_there_is_has_no_estimate() -> None:
    pool = crowd()
    assert not pool.ask("f", count=3)
    assert pool.expected("f") is None


@pytest.mark.parametrize("seed", range(60))
def test_whatever_people_do_nobody_is_overtaken_and_nothing_is_given_twice(seed: int) -> None:
    """People ask, stay away, stop, leave and miss their turns; machines come and go; the hub restarts."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    pool = Pool({"t4": 2, "v100": 1})
    asked: dict[str, int] = {}
    for turn in range(400):
        live(pool, chance, turn, asked)
        pool.pass_(chance.choice([1, 30, CLAIM / 2]))
        check(pool, asked)
    # At the end all machines are there, whoever works stops, and whoever waits takes their turn: all have theirs.
    pool.total = {"t4": 3, "v100": 1}
    waiting = {*pool.waiting("t4"), *pool.waiting("v100"), *pool.claims()}
    for _ in range(4 * len(NAMES)):
        for user in [*pool.holders]:
            pool.stop(user)
        for user in pool.claims():
            mine = pool.list.entry(user)
            assert mine
            assert pool.ask(user, mine.model, mine.count)
            waiting.discard(user)
        pool.pass_(1)
    assert not waiting, "somebody starves"


NAMES = [f"p{number}" for number in range(9)]


def live(pool: Pool, chance: random.Random, turn: int, asked: dict[str, int]) -> None:
    """Something that happens."""
    user, deed = chance.choice(NAMES), chance.random()
    if user in pool.holders:
        if deed < 0.5:
            pool.stop(user)
    elif deed < 0.6:
        ask(pool, chance, user, turn, asked)
    elif deed < 0.65:
        pool.list.leave(user)
    elif deed < 0.7:
        pool.total["t4"] = chance.choice([0, 1, 2, 2, 3])
    elif deed < 0.75:
        pool.list = WaitingList(CLAIM, json.loads(json.dumps(pool.list.state())))


def ask(pool: Pool, chance: random.Random, user: str, turn: int, asked: dict[str, int]) -> None:
    """Somebody asks for what they wait for, or for something else, and overtakes nobody."""
    model = chance.choice(["t4", "t4", "v100"])
    count = chance.choice([1, 1, 1, 2]) if model == "t4" else 1
    mine = pool.list.entry(user)
    if mine and chance.random() < 0.8:
        model, count = mine.model, mine.count
    anew = not mine or (mine.model, mine.count) != (model, count)
    if anew:
        asked[user] = turn
    pool.look()  # of claims that ended meanwhile
    others = [one for one in pool.waiting(model) if one != user]
    if pool.ask(user, model, count) and anew:
        assert not {*others} & {*pool.waiting(model)}, f"{user} overtook {others}"


def check(pool: Pool, asked: dict[str, int]) -> None:
    """What is always so."""
    entries = pool.list.state()["entries"]
    names = [one["user"] for one in entries]
    assert len(names) == len({*names})
    assert not {*names} & {*pool.holders}
    for model, total in pool.total.items():
        claimed = sum(one["count"] for one in entries if one["model"] == model and one["until"])
        used = sum(one.count for one in pool.holders.values() if one.model == model)
        assert claimed == 0 or claimed + used <= total
        waiting = pool.list.waiting(model)
        assert waiting == sorted(waiting, key=lambda one: asked[one.user]), "in the order in which they asked"
        if waiting:
            assert waiting[0].count > total - used - claimed, "what is free is not kept from who waits"
        for one in waiting:
            at = pool.expected(one.user)
            assert at is None or math.isfinite(at)
            assert at is None or at >= pool.now


# What Kubernetes tells


def node(model: str | None = "t4", **other: Any) -> dict[str, Any]:
    """A machine with two GPUs."""
    return {
        "metadata": {"labels": {"cygnet.io/gpu": model} if model else None},
        "spec": other.get("spec", {}),
        "status": {
            "conditions": [{"type": "Ready", "status": other.get("ready", "True")}],
            "allocatable": {"cpu": "4", **other.get("has", {"nvidia.com/gpu": "2"})},
        },
    }


@pytest.mark.parametrize(
    ("nodes", "count"),
    [
        ([node(), node()], 4),
        ([node(), node(None), node("v100")], 2),
        ([node(has={})], 0),
        ([node(ready="Unknown")], 0),
        ([node(spec={"unschedulable": True})], 0),
        ([node(spec={"taints": [{"key": "nvidia.com/gpu"}]})], 2),
        ([node(spec={"taints": [{"key": "cygnet.io/unwell", "value": "eos"}]})], 0),
    ],
)
def test_gpus_are_those_of_machines_that_take_sessions(nodes: list[dict[str, Any]], count: int) -> None:
    assert count_of(nodes, [Gpu(model="t4")]) == {"t4": count}


def test_slices_have_names_of_their_own() -> None:
    sliced = node(has={"nvidia.com/gpu": "0", "nvidia.com/mig-1g.5gb": "7"})
    assert count_of([sliced], [Gpu(model="t4", resource="nvidia.com/mig-1g.5gb")]) == {"t4": 7}


# A hub

SIZE = {"cores": 2, "memory_gib": 16}
SETTINGS: dict[str, Any] = {
    "sessions": {
        "image": "registry:5000/cygnet/session:1",
        "size": {"cores": 2, "memory_gib": 4, "idle_hours": 4},
        "home": {"storage_class": "shared"},
        "profiles": [
            {"name": "standard", "title": "Standard", "cores": 1, "memory_gib": 2},
            {"name": "gpu", "title": "With a GPU", **SIZE, "idle_hours": 4, "gpu": {"model": "t4"}},
        ],
    }
}
SECRETS = {"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": "cd" * 32}
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PEOPLE = ("ada", "bob", "cyd", "dot", "eve")
# Who tells how many there are is Kubernetes, elsewhere; and a test does not wait for ten minutes.
TWO_GPUS = """
import time
from types import SimpleNamespace

from cygnet_hub import gpus

async def two(_wanted):
    return {"t4": 2}

def later():
    ahead = Path("seconds-ahead")
    return time.time() + (float(ahead.read_text()) if ahead.exists() else 0)

gpus.counted = two
gpus.time = SimpleNamespace(time=later, monotonic=time.monotonic)
gpus.LOOKED_EVERY_SECONDS = 0.5
"""


def test_one_model_is_one_thing() -> None:
    slices = {"name": "slice", "title": "S", **SIZE, "gpu": {"model": "t4", "resource": "nvidia.com/mig-1g.5gb"}}
    sessions = SETTINGS["sessions"]
    with pytest.raises(
        ValidationError, match=r"t4 is nvidia.com/mig-1g\.5gb in one profile and nvidia.com/gpu in anoth"
    ):
        Settings.model_validate({"sessions": {**sessions, "profiles": [*sessions["profiles"], slices]}})


@pytest.mark.parametrize("left", ["", "[]", '{"entries": [{"nobody": "knows"}]}'])
def test_a_list_that_cannot_be_read_begins_anew(tmp_path: Path, left: str) -> None:
    pool = gpu_pool(Settings.model_validate(SETTINGS).sessions, tmp_path)
    assert pool
    (tmp_path / gpus.FILE).write_text(left)
    assert pool._read().entries == []


@pytest.fixture
def begin(tmp_path: Path) -> Callable[[], Any]:
    """Starts the hub, or starts it again: all that it keeps is in one folder."""
    hashed = {name: {"hash": QUICK.hash(f"{name}'s"), "admin": False, "uid": 70000} for name in PEOPLE}
    (port,) = free_ports(1)
    files = {"accounts.json": json.dumps(hashed)}
    return lambda: running_hub(tmp_path, port, SETTINGS, SECRETS, files, more=TWO_GPUS)


@pytest.mark.timeout(180)
def test_five_people_and_two_gpus(begin: Callable[[], Any], tmp_path: Path) -> None:
    with begin() as hub:
        ada, _, cyd, dot, eve = people = [Someone(hub, name, f"{name}'s") for name in PEOPLE]
        assert "2 of 2 free." in ada.page("/hub/spawn").text
        assert [with_gpu(one)[0] for one in people] == [201, 201, 429, 429, 429]
        assert with_gpu(eve)[1] == ("All 2 t4 are taken. You are number 3 of 3 in the waiting list."), (
            "nobody knows how long sessions last, before one ended, but that two end when they are idle"
        )
        assert re.search("You are number 1 of 3.*Expected in about 4.*hours", place(cyd)[1])
        assert "None of 2 free. 3 people wait." in eve.page("/hub/spawn").text

        ada.api("DELETE", "users/ada/server")
        until(lambda: place(cyd)[0] == "claim", "it is the first one's turn", seconds=20)
        assert with_gpu(dot)[0] == 429, "what is kept for one is not for others"
        assert dot.api("POST", "users/dot/server", json={"profile": "standard"}).status_code == 201
        (tmp_path / "seconds-ahead").write_text(f"{CLAIM + 1}")
        until(lambda: place(dot)[0] == "claim", "a claim that is not taken ends, and it is the next one's", seconds=30)
        assert "passed" in place(cyd)[1]
        assert "Your session without it has to end first" in dot.page("/hub/waiting").text
        dot.api("DELETE", "users/dot/server")
        assert with_gpu(dot)[0] == 201
        until(lambda: place(dot)[0] == "", "who has begun waits no more", seconds=20)
        assert with_gpu(cyd)[1].startswith("All 2 t4 are taken. You are number 2 of 2 in the waiting list.")


@pytest.mark.timeout(180)
def test_the_list_outlives_a_restart_of_the_hub(begin: Callable[[], Any]) -> None:
    with begin() as hub:
        for name in ("ada", "bob", "eve", "cyd"):
            with_gpu(Someone(hub, name, f"{name}'s"))
    with begin() as hub:  # the sessions of a test's hub end with it
        eve, cyd, dot = (Someone(hub, name, f"{name}'s") for name in ("eve", "cyd", "dot"))
        assert with_gpu(dot)[1].startswith("All 2 t4 are taken. You are number 1 of 1 in the waiting list.")
        assert (place(eve)[0], place(cyd)[0]) == ("claim", "claim")
        assert 'name="profile" value="gpu"' in eve.page("/hub/waiting").text
        assert eve.submit("/hub/spawn/eve", profile="gpu").status_code == 302
        assert place(dot)[0] == "waits"
        assert cyd.submit("/hub/waiting").status_code == 302
        assert place(cyd) == ("", "You are not in the waiting list.")
        assert place(dot)[0] == "claim"


def with_gpu(someone: Someone) -> tuple[int, str]:
    """Asks for a session with a GPU: the status, and what is said."""
    answer = someone.api("POST", f"users/{someone.name}/server", json={"profile": "gpu"})
    return answer.status_code, answer.json()["message"] if answer.text else ""


def place(someone: Someone) -> tuple[str, str]:
    """What the page that waits says."""
    page = someone.page("/hub/waiting").text
    (state,) = re.findall('data-state="(.*?)"', page)
    text = re.findall(r'role="status"[^>]*>\s*<p[^>]*>(.*?)</p>', page, re.DOTALL)[0]
    return state, html.unescape(text).strip()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Someone]:
    """Somebody of a service without GPUs."""
    folder = tmp_path_factory.mktemp("hub")
    (port,) = free_ports(1)
    sessions = {**SETTINGS["sessions"], "profiles": SETTINGS["sessions"]["profiles"][:1]}
    hashed = {"ada": {"hash": QUICK.hash("ada's"), "admin": False, "uid": 70000}}
    with running_hub(folder, port, {"sessions": sessions}, SECRETS, {"accounts.json": json.dumps(hashed)}) as hub:
        yield Someone(hub, "ada", "ada's")


def test_without_gpus_there_is_no_page_that_waits(without: Someone) -> None:
    assert without.page("/hub/waiting").status_code == 404
