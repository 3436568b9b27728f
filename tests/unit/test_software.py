"""The software: what a stack may offer, and when its repository is published again."""

import base64
import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components import software
from components.config import ConfigError, parse
from components.secrets import _RepositoryKeysProvider
from components.software import SoftwareConfig
from software import build, sealed
from software.keys import Keys
from tests.unit import program
from tests.unit.provided import created, updated
from tests.unit.repository import Reader

REPOSITORY = "software.test.internal"

# What a stack may say


def test_by_default_users_choose_from_all_releases() -> None:
    assert SoftwareConfig().releases == tuple(build.RELEASES)


@pytest.mark.parametrize("keys", [{"releases": []}, {"releases": ["bleeding"]}, {"repository": "sw-1.example.org"}])
def test_good_words(keys: dict[str, Any]) -> None:
    assert parse({"software": keys}, "f").software.model_fields_set == set(keys)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"releases": ["stabel"]}, "there is no release stabel; choose from: stable, bleeding"),
        ({"releases": ["stable", "stable"]}, "named twice"),
        ({"repository": "software"}, "software.repository"),
        ({"repository": "a/b.c"}, "software.repository"),
        ({"whitelist_days": 1}, "software.whitelist_days"),
        ({"release": "stable"}, "did you mean 'releases'"),
        ({"views": {"lcg": {"title": "LCG", "path": "/opt/lcg"}}}, "software.views.lcg.path"),
        ({"views": {"lcg": {"title": "LCG", "path": "/cvmfs/sft.cern.ch/../etc"}}}, "software.views.lcg.path"),
        ({"views": {"lcg": {"title": "LCG", "path": "/cvmfs/sft.cern.ch/lcg"}}}, "which no machine mounts"),
        ({"views": {"stable": {"title": "x", "path": "/cvmfs/sft.cern.ch/lcg"}}}, "names a release and a view"),
    ],
)
def test_bad_words(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse({"software": keys}, "f")


# What is declared


def test_the_repository_is_on_the_first_control_plane_for_all_machines(local: program.Engine) -> None:
    play = local.one("Playbook", "software").inputs
    assert play["variables"] == {
        "software_repository": "software.cygnet.internal",
        "software_store": "/published/software.cygnet.internal",
        "software_revision": 1,
        "software_expires": "20300101000000",
    }
    assert len(play["hosts"]) == 3, "the server knows whom it may answer"


def test_the_stack_tells_what_is_offered_and_by_whom_it_is_signed(local: program.Engine) -> None:
    told = local.stack_outputs()[0]["parts"]["software"]
    assert told["repository"] == "software.cygnet.internal"
    assert told["url"] == "http://10.240.3.11:8000/cvmfs"
    assert told["revision"] == 1
    assert [release["name"] for release in told["releases"]] == ["stable", "bleeding"]
    assert told["public_key"].startswith("-----BEGIN PUBLIC KEY-----")


def test_private_keys_are_secret_wherever_they_stand(local: program.Engine) -> None:
    assert {"master_key", "key"} <= local.one("Publication", "software").secret_inputs


def test_without_releases_there_is_nothing_to_choose_and_nothing_to_serve() -> None:
    engine = program.run("site", {"cygnet:software": {"releases": []}})
    assert "software" not in {one.name for one in engine.of("Playbook")}
    assert not engine.of("Publication")
    given = engine.one("Playbook", "cvmfs").inputs["variables"]
    assert (given["cvmfs_repositories"], given["squid_servers"]) == ([], [])
    told = yaml.safe_load(engine.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])
    assert told["sessions"]["releases"] == []
    assert engine.stack_outputs()[0]["parts"]["software"] == {"releases": []}


def test_views_of_others_are_offered_after_the_stacks_own_releases() -> None:
    view = {"title": "LCG 107", "path": "/cvmfs/sft.cern.ch/lcg/views/LCG_107/x86_64-el9-gcc13-opt"}
    engine = program.run(
        "site",
        {
            "cygnet:cvmfs": {
                "repositories": {
                    "sft.cern.ch": {
                        "servers": ["http://s1.example.org/cvmfs"],
                        "public_keys": ["-----BEGIN PUBLIC KEY-----\n"],
                    }
                }
            },
            "cygnet:software": {"releases": ["stable"], "views": {"lcg-107": view}},
        },
    )
    told = yaml.safe_load(engine.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])["sessions"]["releases"]
    assert [one["name"] for one in told] == ["stable", "lcg-107"]
    assert (told[1]["title"], told[1]["view"]) == (view["title"], view["path"])


def test_a_release_is_offered_with_a_title_and_the_folder_that_it_is() -> None:
    (one,) = software.releases(SoftwareConfig(releases=("bleeding",), repository=REPOSITORY))
    assert (one["name"], one["view"]) == ("bleeding", f"/cvmfs/{REPOSITORY}/bleeding")
    assert one["title"]
    assert one["description"]


# When it is published


@pytest.fixture
def keys() -> dict[str, Any]:
    made = created(_RepositoryKeysProvider(), {"repository": REPOSITORY})
    return {key: made[key] for key in ("master_key", "key", "certificate")}


def keys_of(props: dict[str, Any]) -> Keys:
    return Keys(master=props["master_key"], repository=props["key"], certificate=props["certificate"])


@pytest.fixture
def props(keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the provider is given for a release that is one small file."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pulumi.log, "info", lambda _: None)
    monkeypatch.setattr(build, "ensure", lambda release, _: next(tmp_path.glob(f"{release}-*")))
    view(tmp_path, 1)
    return {
        "stack": "unit",
        "repository": REPOSITORY,
        "releases": {"stable": "1"},
        "whitelist_days": 30,
        "keys": "a",
        **keys,
    }


def view(folder: Path, number: int) -> None:
    """Builds the release anew, with another content."""
    for former in folder.glob("stable-*"):
        shutil.rmtree(former)
    (folder / f"stable-{number}").mkdir()
    (folder / f"stable-{number}/.cvmfscatalog").touch()
    (folder / f"stable-{number}/setup.sh").write_text(f"export A={number}\n")


def revision(props: dict[str, Any]) -> int | None:
    manifest = sealed.Manifest.read(software._store(props))
    return manifest.revision if manifest else None


PROVIDER = software._PublicationProvider()


def test_what_is_published_stands_in_the_users_own_folder(props: dict[str, Any], tmp_path: Path) -> None:
    outs = created(PROVIDER, props)
    assert outs["store"] == f"{tmp_path}/state/cygnet/software/unit/{REPOSITORY}"
    assert outs["revision"] == revision(props) == 1
    assert f"\nE{outs['expires']}\n".encode() in (Path(outs["store"]) / sealed.WHITELIST).read_bytes()
    assert not PROVIDER.diff("id", outs, props).changes


def test_it_is_trusted_for_the_days_that_the_stack_says(props: dict[str, Any]) -> None:
    outs = created(PROVIDER, {**props, "whitelist_days": 5})
    ends = dt.datetime.strptime(outs["expires"], "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    assert dt.timedelta(days=4) < ends - dt.datetime.now(dt.UTC) <= dt.timedelta(days=5)


def test_the_same_content_is_the_same_revision(props: dict[str, Any]) -> None:
    outs = created(PROVIDER, props)
    assert updated(PROVIDER, outs, props)["revision"] == 1


def test_another_content_is_the_next_revision(props: dict[str, Any], tmp_path: Path) -> None:
    outs = created(PROVIDER, props)
    view(tmp_path, 2)
    edited = {**props, "releases": {"stable": "2"}}
    assert PROVIDER.diff("id", outs, edited).changes
    assert updated(PROVIDER, outs, edited)["revision"] == 2


def test_former_views_stay_for_two_revisions_and_their_objects_go_with_the_last_client(
    props: dict[str, Any], tmp_path: Path
) -> None:
    outs = created(PROVIDER, props)
    store, objects, there = Path(outs["store"]), [], []
    reader = Reader(store, keys_of(props).master_public, REPOSITORY)
    for number in range(2, 8):
        view(tmp_path, number)
        outs = updated(PROVIDER, outs, {**props, "releases": {"stable": str(number)}})
        found = reader.everything()
        assert found[b"/stable"][2] == b"stable-%d" % number
        there.append(sorted(path.decode() for path in found if path.count(b"/") == 1 and path != b"/stable"))
        objects.append(sum(file.is_file() for file in (store / "data").glob("??/*")))
    assert there[:3] == [
        ["/stable-1", "/stable-2"],
        ["/stable-1", "/stable-2", "/stable-3"],
        ["/stable-2", "/stable-3", "/stable-4"],
    ]
    assert there[-1] == ["/stable-5", "/stable-6", "/stable-7"]
    assert objects[-1] == objects[-2], "as many are made as are taken away"


def test_revisions_go_on_after_the_store_was_lost(props: dict[str, Any]) -> None:
    outs = created(PROVIDER, props)
    PROVIDER.delete("id", outs)
    assert revision(props) is None
    assert PROVIDER.diff("id", outs, props).changes
    assert updated(PROVIDER, outs, props)["revision"] > 1, "machines would refuse an older one"


def test_nothing_is_left_of_a_stack_that_goes(props: dict[str, Any], tmp_path: Path) -> None:
    PROVIDER.delete("id", created(PROVIDER, props))
    assert list((tmp_path / "state/cygnet/software").iterdir()) == []


def test_a_store_that_somebody_else_went_on_with_is_looked_at(props: dict[str, Any]) -> None:
    outs = created(PROVIDER, props)
    assert PROVIDER.diff("id", {**outs, "manifest": base64.b64encode(b"older").decode()}, props).changes


@pytest.mark.parametrize(("days", "current"), [(14, True), (16, False), (31, False)])
def test_a_whitelist_is_renewed_when_half_of_its_days_are_gone(props: dict[str, Any], days: int, current: bool) -> None:
    outs = created(PROVIDER, props)
    manifest = base64.b64decode(outs["manifest"])
    then = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    assert software.is_current(Path(outs["store"]), manifest, 30, then) is current


@pytest.mark.parametrize(
    ("edit", "replaces"),
    [({"keys": "b"}, ["keys"]), ({"repository": "other.test.internal"}, ["repository"]), ({"whitelist_days": 60}, [])],
)
def test_another_repository_takes_the_place_of_the_first(
    props: dict[str, Any], edit: dict[str, Any], replaces: list[str]
) -> None:
    outs = created(PROVIDER, props)
    found = PROVIDER.diff("id", outs, {**props, **edit})
    assert found.changes
    assert found.replaces == replaces


def test_the_keys_are_made_once(keys: dict[str, Any]) -> None:
    provider = _RepositoryKeysProvider()
    assert not provider.diff("id", {"repository": REPOSITORY}, {"repository": REPOSITORY}).changes
    other = {"repository": "b.c"}
    assert provider.diff("id", {"repository": REPOSITORY}, other).changes
    assert updated(provider, {**keys, "repository": REPOSITORY}, other)["master_key"] != keys["master_key"]
    assert keys["master_key"] != keys["key"]
