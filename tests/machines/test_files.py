"""The page of files: who gets in, what links open, and that what one person wrote does nothing to another."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from cygnet_files.links import limit
from cygnet_hub import door
from cygnet_hub import files as sign_in

from components import copyparty, files_routes
from engine import tools
from engine.errors import ToolMissing
from tests.live.waiting import until
from tests.machines.page_of_files import KEY, SHARE_DAYS_MAX, Page, Visitor, running_page

ADA, BOB = "/eos/user/a/ada/", "/eos/user/b/bob/"
SECRET = b"only for bob\n"
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A measurement"},
        {
            "cell_type": "code", "id": "b", "execution_count": 1, "metadata": {}, "source": "6 * 7",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": "42\n"},
                {
                    "output_type": "display_data", "metadata": {},
                    "data": {"text/html": "<script>document.title = 'ran'</script><b>drawn</b>"},
                },
            ],
        },
    ],
    "metadata": {}, "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip
IN_A_BROWSER = {"Sec-Fetch-Dest": "document"}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    try:
        tools.path("caddy")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    with running_page(tmp_path_factory.mktemp("files")) as running:
        (running.home("bob") / "secret.txt").write_bytes(SECRET)
        (running.home("bob") / "notes.ipynb").write_text(json.dumps(NOTEBOOK))
        yield running


@pytest.fixture(scope="module")
def ada(page: Page) -> Visitor:
    made = page.visitor("ada")
    assert made.get("/").ok
    return made


@pytest.fixture(scope="module")
def bob(page: Page) -> Visitor:
    made = page.visitor("bob")
    assert made.get("/").ok
    return made


@pytest.fixture
def stranger(page: Page) -> Visitor:
    """Somebody who is not signed in."""
    return page.visitor()


@pytest.fixture(scope="module", autouse=True)  # so that the minute passes while all else is tested
def minute(page: Page, ada: Visitor) -> str:
    """A link that was made to last for a minute."""
    link = "/share/for-one-minute/minute.txt"
    (page.home("ada") / "minute.txt").write_text("for a minute\n")
    assert ada.share(f"{ADA}minute.txt", "for-one-minute", minutes="1").status_code == 201
    assert page.visitor().get(link).text == "for a minute\n"
    return link


# One word in two places: what the gateway sends is what the hub's service and copyparty understand


def test_gateway_and_service_mean_the_same() -> None:
    assert (*files_routes.SIGN_IN_PAGES,) == (f"{sign_in.PREFIX}sign-in", sign_in.CALLBACK)
    assert f"{copyparty.PREFIX}/" == sign_in.PREFIX
    assert door.USER_HEADER == copyparty.USER_HEADER
    assert sign_in.HOME_HEADER == files_routes.HOME_HEADER
    assert sign_in.home("ada") == f"{copyparty.PREFIX}{ADA}"


# Signing in


def test_whoever_is_not_signed_in_is_sent_to_the_hub(page: Page, stranger: Visitor) -> None:
    answer = stranger.get(ADA)
    assert answer.url.startswith(f"{page.service}/hub/login")
    assert answer.history[0].headers["Location"].startswith(f"{page.service}/files/sign-in")


def test_whoever_signs_in_there_comes_back_to_the_page_they_came_for(page: Page, stranger: Visitor) -> None:
    (page.home("ada") / "a & b?.txt").write_text("came back\n")
    stranger.sign_in("ada")
    answer = stranger.get(f"{ADA}a%20%26%20b%3F.txt?dl&k=v")
    assert (answer.url, answer.text) == (f"{page.url}/files{ADA}a%20%26%20b%3F.txt?dl&k=v", "came back\n")


def test_the_first_page_is_ones_home(page: Page, ada: Visitor) -> None:
    for first in (f"{page.url}/", f"{page.service}/files", f"{page.service}/files/"):
        assert ada.http.get(first, timeout=20).url == f"{page.url}/files{ADA}"


def test_an_account_without_a_home_gets_none(page: Page) -> None:
    assert page.visitor("eve").get("/").status_code == 403
    assert not (page.folder / "srv/user/e").exists()


def test_who_signs_out_at_the_hub_is_out_here(page: Page) -> None:
    leaving = page.visitor("ada")
    assert leaving.get(ADA).ok
    kept = dict(leaving.http.cookies.get_dict(path="/files/"))
    leaving.http.get(f"{page.service}/hub/logout", timeout=10)
    assert leaving.get(ADA, allow_redirects=False).status_code == 302
    # Nor does a cookie help that somebody kept.
    until(
        lambda: page.visitor().get(ADA, allow_redirects=False, cookies=kept).status_code == 302,
        "the cookie is worthless", seconds=door.REMEMBERED_SECONDS + 5,
    )  # fmt: skip


def test_the_page_leads_to_the_hubs_sign_out(page: Page, stranger: Visitor) -> None:
    answer = stranger.get("/sign-out", allow_redirects=False)
    assert answer.headers["Location"] == f"{page.service}/hub/logout"


def test_there_is_nothing_beside_it(page: Page, ada: Visitor) -> None:
    for path in ("/hub/home", "/favicon.ico", "/user/ada/"):
        assert ada.http.get(f"{page.url}{path}", allow_redirects=False, timeout=10).status_code == 404


def test_a_token_of_the_hub_opens_what_its_user_may_see(page: Page, ada: Visitor, stranger: Visitor) -> None:
    xsrf = next(str(one.value) for one in ada.http.cookies if one.name == "_xsrf" and one.path == "/hub/")
    made = ada.http.post(
        f"{page.service}/hub/api/users/ada/tokens", json={}, timeout=10,
        headers={"X-XSRFToken": xsrf, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"},
    ).json()  # fmt: skip
    authorization = {"Authorization": f"token {made['token']}"}
    assert stranger.get(ADA, headers=authorization, allow_redirects=False).status_code == 200
    assert stranger.get(BOB, headers=authorization, allow_redirects=False).status_code == 403


@pytest.mark.parametrize("query", ["h=%00", "hc=a%0D%0AX:%201", "v&th=%7f", "<b>=1", "a%20b", "ls&k=%"])
@pytest.mark.parametrize("path", ["/", ADA, "/.cpr/w/ui.css"])
def test_a_query_that_copyparty_would_fail_on_is_a_bad_request(ada: Visitor, path: str, query: str) -> None:
    assert ada.get(f"{path}?{query}").status_code == 400


@pytest.mark.parametrize("query", ["ru", "ru=x", "ru&j"])
def test_there_is_no_list_of_everyones_uploads(ada: Visitor, query: str) -> None:
    assert ada.get(f"/?{query}").status_code == 404


@pytest.mark.parametrize("query", ["ls&sort=%C3%BC+b%7E", "doc=two%0Alines", "DOC=%0A", "v=a;b=c%25", "h&", "&h"])
def test_a_query_that_it_knows_passes(ada: Visitor, query: str) -> None:
    assert ada.get(f"{ADA}?{query}").ok


@pytest.mark.parametrize("away", ["https://elsewhere.example/", "//elsewhere.example/", "/hub/home", ""])
def test_nobody_is_led_astray(page: Page, ada: Visitor, away: str) -> None:
    answer = ada.http.get(f"{page.service}/files/sign-in?next={away}", allow_redirects=False, timeout=10)
    assert urlparse(answer.headers["Location"])[:3] == ("", "", "/files/")


# Whose files


def test_what_is_on_disk_is_there_at_once_and_what_is_uploaded_too(page: Page, ada: Visitor) -> None:
    (page.home("ada") / "spectrum.root").write_bytes(b"root")
    assert "spectrum.root" in ada.get(f"{ADA}?ls").text
    assert ada.upload(ADA, "up.bin", b"\0up").status_code == 201
    assert (page.home("ada") / "up.bin").read_bytes() == b"\0up"
    assert ada.post(f"{ADA}up.bin?delete").status_code == 200
    assert not (page.home("ada") / "up.bin").exists()


REACHES = (
    f"{BOB}", f"{BOB}secret.txt", f"{BOB}notes.ipynb", f"{BOB}?ls", f"{BOB}?zip", f"{BOB}?tar",
    f"{ADA}../../b/bob/secret.txt", f"{ADA}%2e%2e/%2e%2e/b/bob/secret.txt", f"{ADA}..%2f..%2fb/bob/secret.txt",
    f"/share/..{BOB}secret.txt", f"/share/%2e%2e{BOB}secret.txt", f"/.cpr/..{BOB}secret.txt",
    f"/{BOB}secret.txt", f"{ADA}?doc=../../b/bob/secret.txt", "/eos/user/?ls", "/eos/user/b/?tree=", "/?tree=eos",
    f"{BOB}secret.txt?th=w", f"{BOB}secret.txt?tail", f"{BOB}secret.txt?txt", f"{BOB}secret.txt?pw=bob",
)  # fmt: skip


@pytest.mark.parametrize("path", REACHES)
@pytest.mark.parametrize("who", ["ada", "stranger"])
def test_no_address_leads_into_anothers_home(request: pytest.FixtureRequest, page: Page, path: str, who: str) -> None:
    visitor: Visitor = request.getfixturevalue(who)
    claims = {copyparty.USER_HEADER: "bob", "x-cygnet-home": "/files/", KEY: "1", "X_Cygnet_User": "bob"}
    for headers in ({}, claims, {**claims, **IN_A_BROWSER}, {"Authorization": "Basic Ym9iOmJvYidz", "PW": "bob's"}):
        asked = curl(page, visitor, f"/files{path}", headers)
        assert SECRET not in asked
        assert b"notes.ipynb" not in asked.replace(path.encode(), b"")  # which stands beside it


WRITES = (
    ("POST", f"{BOB}?j", "multipart"), ("PUT", f"{BOB}put.txt", "plain"), ("DELETE", f"{BOB}secret.txt", "plain"),
    ("POST", f"{BOB}secret.txt?delete", "plain"), ("MKCOL", f"{BOB}made", "plain"),
    ("POST", f"{BOB}secret.txt?move=/files{ADA}mine.txt", "plain"),
    ("POST", f"{BOB}secret.txt?copy=/files{ADA}mine.txt", "plain"),
    ("PROPFIND", BOB, "plain"), ("PROPFIND", ADA, "plain"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path", "kind"), WRITES)
def test_nobody_writes_in_anothers_home(page: Page, ada: Visitor, method: str, path: str, kind: str) -> None:
    before = sorted(page.home("bob").iterdir())
    form: dict[str, Any] = {"data": {"act": "bput"}, "files": {"f": ("x.txt", b"x")}}
    more = form if kind == "multipart" else {"data": b"x"}
    headers = {"Origin": page.url, copyparty.USER_HEADER: "bob", KEY: "1"}
    answer = ada.http.request(method, f"{page.url}/files{path}", headers=headers, timeout=20, **more)
    assert answer.status_code >= 400
    assert SECRET not in answer.content
    assert (sorted(page.home("bob").iterdir()), (page.home("ada") / "mine.txt").exists()) == (before, False)


@pytest.mark.parametrize("goal", ["../../b/bob", "../../b/bob/secret.txt", "/etc/hostname"])
def test_a_symbolic_link_out_of_a_home_leads_nowhere(page: Page, ada: Visitor, goal: str) -> None:
    link = page.home("ada") / "link"
    link.symlink_to(goal)
    try:
        for path in ("link", "link/", "link/secret.txt", "link?zip", "link?tar", "?zip", "?tar", "link/?ls"):
            answer = ada.get(f"{ADA}{path}", headers={"Accept-Encoding": "identity"})
            assert SECRET not in answer.content
            assert Path("/etc/hostname").read_bytes() not in answer.content
        assert ada.share(f"{ADA}link", "link-to-another").status_code >= 400
    finally:
        link.unlink()


def test_under_its_mount_the_kernel_follows_no_symbolic_link(tmp_path: Path) -> None:
    """Between copyparty's look at a path and its opening of it, somebody could put a link there."""
    unit = (Path(__file__).parents[2] / "playbooks/roles/files/templates/srv-files.mount.j2").read_text()
    (options,) = re.findall(r"^Options=(.*)$", unit, flags=re.MULTILINE)
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("file")
    (source / "link").symlink_to("file")
    subprocess.run(["mount", "-o", options, source, target], check=True)
    try:
        assert (target / "file").read_text() == "file"
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            (target / "link").read_text()
    finally:
        subprocess.run(["umount", target], check=True)


def test_experiment_data_is_there_to_read(page: Page, ada: Visitor, stranger: Visitor) -> None:
    (page.folder / "srv/opendata/events.txt").write_text("events\n")
    assert ada.get("/eos/opendata/events.txt").text == "events\n"
    assert ada.upload("/eos/opendata/", "mine.txt", b"mine").status_code == 403
    assert stranger.get("/eos/opendata/events.txt", allow_redirects=False).status_code == 302


def test_other_sites_send_nothing_in_ones_name(page: Page, ada: Visitor) -> None:
    for origin in ("https://elsewhere.example", page.service, "null"):
        answer = ada.post(f"{ADA}?j", data={"act": "bput"}, files={"f": ("x.txt", b"x")}, headers={"Origin": origin})
        assert answer.status_code == 403
    assert not (page.home("ada") / "x.txt").exists()


def test_its_cookie_is_for_it_alone(ada: Visitor) -> None:
    (cookie,) = (one for one in ada.http.cookies if one.name == "service-files")
    assert (cookie.path, cookie.has_nonstandard_attr("HttpOnly")) == ("/files/", True)


# What others wrote does not run


PAGES = ("x.html", "x.htm", "x.xhtml", "x.svg", "x.xml", "x.mht", "x.js", "x", "README.md", ".prologue.html")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("query", ["", "?v", "?mime=text/html", "?txt=utf-8", "?raw"])
def test_nothing_that_was_uploaded_is_a_page(page: Page, ada: Visitor, name: str, query: str) -> None:
    content = '<html xmlns="http://www.w3.org/1999/xhtml"><script>alert("mark-1")</script></html>'
    (page.home("ada") / name).write_text(content)
    answer = ada.get(f"{ADA}{name}{query}")
    kind = answer.headers["Content-Type"].split(";")[0]
    assert kind in ("text/plain", "application/octet-stream", "text/javascript", "application/javascript") or (
        "nonce-" in answer.headers["Content-Security-Policy"]
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "script-src 'none'" in answer.headers["Content-Security-Policy"] or (
        "<script>alert" not in answer.text and "nonce-" in answer.headers["Content-Security-Policy"]
    )
    assert "mark-1" not in ada.get(ADA).text
    (page.home("ada") / name).unlink()


def test_it_is_framed_by_nobody_else(ada: Visitor) -> None:
    headers = ada.get(ADA).headers
    assert (headers["X-Frame-Options"], headers["Cross-Origin-Opener-Policy"]) == ("SAMEORIGIN", "same-origin")


# Previews


def test_a_notebook_is_shown_and_what_is_in_it_does_not_run(page: Page, ada: Visitor) -> None:
    (page.home("ada") / "notes.ipynb").write_text(json.dumps(NOTEBOOK))
    shown = ada.get(f"{ADA}notes.ipynb", headers=IN_A_BROWSER)
    assert shown.headers["Content-Type"].startswith("text/html")
    assert {"A measurement", "42", "drawn"} <= set(re.findall(r"A measurement|42|drawn", shown.text))
    policy = shown.headers["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'"} <= set(policy)
    assert "script" not in shown.headers["Content-Security-Policy"]


def test_a_notebook_is_fetched_and_downloaded_as_it_is(page: Page, ada: Visitor) -> None:
    (page.home("ada") / "notes.ipynb").write_text(json.dumps(NOTEBOOK))
    assert ada.get(f"{ADA}notes.ipynb").json() == NOTEBOOK
    assert ada.get(f"{ADA}notes.ipynb?dl", headers=IN_A_BROWSER).json() == NOTEBOOK


@pytest.mark.parametrize("content", [b"no notebook", b"\xff\xfe", b'{"cells": 3}'])
def test_what_is_no_notebook_is_downloaded(page: Page, ada: Visitor, content: bytes) -> None:
    (page.home("ada") / "broken.ipynb").write_bytes(content)
    assert ada.get(f"{ADA}broken.ipynb", headers=IN_A_BROWSER).content == content


def test_a_preview_shows_nobody_more_than_the_file(ada: Visitor, stranger: Visitor) -> None:
    assert ada.get(f"{BOB}notes.ipynb", headers=IN_A_BROWSER).status_code == 403
    assert stranger.get(f"{BOB}notes.ipynb", headers=IN_A_BROWSER, allow_redirects=False).status_code == 302


def test_a_pdf_is_shown_by_the_browser(page: Page, ada: Visitor) -> None:
    (page.home("ada") / "plot.pdf").write_bytes(b"%PDF-1.4\n")
    answer = ada.get(f"{ADA}plot.pdf")
    assert answer.headers["Content-Type"] == "application/pdf"
    assert "Content-Disposition" not in answer.headers
    assert "sandbox" not in answer.headers["Content-Security-Policy"]  # browsers show no PDF in one


# Links


def test_a_link_opens_without_signing_in_until_it_is_revoked(page: Page, ada: Visitor, stranger: Visitor) -> None:
    (page.home("ada") / "shared.txt").write_text("for all\n")
    (page.home("ada") / "kept.txt").write_text("not for all\n")
    made = ada.share(f"{ADA}shared.txt", "shared-by-ada")
    assert made.status_code == 201
    link = made.text.split()[-1]
    assert link == f"{page.url}/files/share/shared-by-ada/shared.txt"
    assert stranger.http.get(link, timeout=20).text == "for all\n"
    assert stranger.get("/share/shared-by-ada/kept.txt").status_code in (403, 404)
    assert "kept.txt" not in stranger.get("/share/shared-by-ada/?ls").text
    assert stranger.upload("/share/shared-by-ada/", "x.txt", b"x").status_code >= 400
    assert ada.post("/?eshare=rm&skey=shared-by-ada").status_code in (200, 302)
    assert stranger.http.get(link, timeout=20).status_code in (403, 404)


def test_a_link_to_a_folder_opens_it_and_shows_its_notebooks(page: Page, ada: Visitor, stranger: Visitor) -> None:
    folder = page.home("ada") / "results"
    folder.mkdir()
    (folder / "notes.ipynb").write_text(json.dumps(NOTEBOOK))
    (folder / "out").symlink_to("../../../b/bob")
    assert ada.share(f"{ADA}results/", "results-of-ada").status_code == 201
    assert "notes.ipynb" in stranger.get("/share/results-of-ada/?ls").text
    assert "A measurement" in stranger.get("/share/results-of-ada/notes.ipynb", headers=IN_A_BROWSER).text
    for outside in ("out/secret.txt", "../kept.txt", "%2e%2e/minute.txt", "../../../b/bob/secret.txt"):
        answer = stranger.get(f"/share/results-of-ada/{outside}", allow_redirects=False)
        assert (answer.status_code in (302, 403, 404), SECRET in answer.content) == (True, False)


def test_nobody_makes_or_revokes_links_to_what_is_not_theirs(ada: Visitor, bob: Visitor, stranger: Visitor) -> None:
    assert ada.share(f"{BOB}secret.txt", "of-bob-by-ada").status_code == 400
    assert stranger.share(f"{BOB}secret.txt", "of-bob-by-none").status_code == 401
    assert bob.share(f"{BOB}secret.txt", "of-bob-by-bob").status_code == 201
    assert ada.post("/?eshare=rm&skey=of-bob-by-bob").status_code == 400
    assert stranger.post("/?eshare=rm&skey=of-bob-by-bob").status_code == 401
    assert "of-bob-by-bob" not in ada.get("/?shares").text
    assert stranger.get("/share/of-bob-by-bob/secret.txt").content == SECRET


@pytest.mark.parametrize(
    ("key", "more"),
    [("short", {}), ("a-link-to-write", {"perms": ["read", "write"]}), ("a-link-to-drop", {"perms": ["write"]})],
)
def test_a_link_against_the_rule_is_refused(page: Page, ada: Visitor, key: str, more: dict[str, Any]) -> None:
    (page.home("ada") / "ruled.txt").write_text("x")
    answer = ada.share(f"{ADA}ruled.txt", key, **more)
    assert answer.status_code == 500
    assert "a link is for reading, and its name has 12 characters or more" in answer.text


@pytest.mark.parametrize(("key", "minutes"), [("for-ever-link", ""), ("for-a-year-link", str(365 * 24 * 60))])
def test_no_link_lasts_longer_than_the_stack_allows(page: Page, ada: Visitor, key: str, minutes: str) -> None:
    (page.home("ada") / "lasting.txt").write_text("x")
    assert ada.share(f"{ADA}lasting.txt", key, minutes).status_code == 201
    assert days(page, key) == SHARE_DAYS_MAX
    assert ada.post(f"/?skey={key}&eshare=9999").status_code in (200, 302)
    assert days(page, key) == SHARE_DAYS_MAX


def test_a_shorter_maximum_holds_for_links_that_are_there(page: Page, tmp_path: Path) -> None:
    copy = tmp_path / "shares.db"
    shutil.copy(page.folder / "state/shares.db", copy)
    limit(copy, 3)
    with sqlite3.connect(copy) as limited:
        assert limited.execute("select max(t1 - t0) from sh").fetchone() == (3 * 86_400,)


@pytest.mark.nightly
def test_a_link_ends(minute: str, stranger: Visitor) -> None:
    def gone() -> bool:
        return stranger.get(minute).status_code in (403, 404)

    until(gone, "the link of a minute has ended", seconds=150, every=2)


def days(page: Page, key: str) -> float:
    """How long a link lasts."""
    with sqlite3.connect(f"file:{page.folder}/state/shares.db?mode=ro", uri=True) as shares:
        ((seconds,),) = shares.execute("select t1 - t0 from sh where k = ?", (key,)).fetchall()
    return float(seconds) / 86_400


def curl(page: Page, visitor: Visitor, path: str, headers: dict[str, str]) -> bytes:
    """Headers and body of an answer to exactly this path, which other clients would tidy up first."""
    cookies = [f"{one.name}={one.value}" for one in visitor.http.cookies if one.path in ("/", "/files/")]
    known = {"Cookie": "; ".join(cookies), "User-Agent": "Mozilla/5.0", **headers}
    argv = ["curl", "--silent", "--include", "--path-as-is", "--noproxy", "*", "--cacert", str(page.authority)]
    argv += [option for name, value in known.items() for option in ("--header", f"{name}: {value}")]
    return subprocess.run([*argv, f"{page.url}{path}"], capture_output=True, check=True).stdout
