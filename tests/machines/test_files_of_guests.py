"""The page of files for people whom it does not know before they come: the gateway says who they are."""

from collections.abc import Iterator

import pytest

from components import copyparty
from engine import tools
from engine.errors import ToolMissing
from tests.machines.page_of_files import GROUP, Page, Visitor, running_page

ADA, BOB = "/eos/user/a/ada/", "/eos/user/b/bob/"
LINK = "a-link-of-a-guest"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    try:
        tools.path("caddy")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with running_page(tmp_path_factory.mktemp("files"), guests=True) as running:
        (running.home("bob") / "secret.txt").write_text("bob's")
        yield running


@pytest.fixture(scope="module")
def ada(page: Page) -> Visitor:
    return page.visitor("ada")


def test_a_guest_has_their_home_with_the_first_visit_and_nobody_elses(page: Page, ada: Visitor) -> None:
    answer = ada.get("/")
    assert answer.url == f"{page.url}/files{ADA}"
    assert answer.ok
    assert ada.upload(ADA, "plot.txt", b"hers").ok
    assert (page.home("ada") / "plot.txt").read_bytes() == b"hers"
    assert ada.get(f"{BOB}secret.txt").status_code in (403, 404)
    bob = page.visitor("bob")
    assert bob.get(f"{BOB}secret.txt").text == "bob's"
    assert bob.get(f"{ADA}plot.txt").status_code in (403, 404)
    assert bob.upload(ADA, "his.txt", b"x").status_code in (403, 404)


def test_data_is_opened_to_the_groups_that_the_hub_knows(page: Page, ada: Visitor) -> None:
    assert ada.upload("/eos/raw/", "run.txt", b"raw").ok
    assert (page.folder / "srv/raw/run.txt").exists()
    bob = page.visitor("bob")
    assert bob.get("/eos/raw/run.txt").status_code in (403, 404)
    (page.folder / "srv/opendata/open.txt").write_text("for all")
    assert bob.get("/eos/opendata/open.txt").text == "for all"
    assert bob.upload("/eos/opendata/", "his.txt", b"x").status_code in (403, 404)


def test_nobody_says_of_themselves_in_which_groups_they_are(page: Page) -> None:
    bob = page.visitor("bob")
    bob.http.headers["X-Cygnet-Groups"] = f"home-a,home-b,{copyparty.group(GROUP).removeprefix('@')}"
    assert bob.get("/eos/raw/run.txt").status_code in (403, 404)
    assert bob.get(f"{ADA}plot.txt").status_code in (403, 404)


def test_one_whose_home_is_not_there_yet_disturbs_nobody(page: Page, ada: Visitor) -> None:
    """Whether such a visit makes a folder is a matter of rights: here all is root's, elsewhere what is above."""
    page.visitor("eve").get("/")
    assert ada.share(f"{ADA}plot.txt", "a-link-after-that").status_code == 201


def test_a_link_opens_when_the_page_was_started_anew(page: Page, ada: Visitor) -> None:
    assert ada.share(f"{ADA}plot.txt", LINK).status_code == 201
    stranger = page.visitor()
    assert stranger.get(f"/share/{LINK}/plot.txt").content == b"hers"
    page.restart()
    assert stranger.get(f"/share/{LINK}/plot.txt").content == b"hers"
