"""Files on the web: what a session writes is there at once, can be looked at, and shown to others by a link."""

import json
import secrets
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.files_page import FilesPage
from tests.live import visitor
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

# What notebooks leave behind: a plot, a notebook with an output that would like to do more, and data.
WRITE = """\
import json, pathlib

content = "BT /F1 24 Tf 50 100 Td (A plot) Tj ET"
objects = [
    "<< /Type /Catalog /Pages 2 0 R >>",
    "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    f"<< /Length {{len(content)}} >>\\nstream\\n{{content}}\\nendstream",
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
]
pdf, places = "%PDF-1.4\\n", []
for number, one in enumerate(objects, 1):
    places.append(len(pdf))
    pdf += f"{{number}} 0 obj\\n{{one}}\\nendobj\\n"
table = "".join(f"{{place:010}} 00000 n \\n" for place in places)
begin = len(pdf)
pdf += f"xref\\n0 6\\n0000000000 65535 f \\n{{table}}"
pdf += f"trailer << /Size 6 /Root 1 0 R >>\\nstartxref\\n{{begin}}\\n%%EOF\\n"

html = "<script>document.title = 'it ran'</script><b>drawn</b>"
drawn = {{"output_type": "display_data", "metadata": {{}}, "data": {{"text/html": html}}}}
cells = [
    {{"cell_type": "markdown", "id": "a", "metadata": {{}}, "source": "# A measurement"}},
    {{"cell_type": "code", "id": "b", "metadata": {{}}, "execution_count": 1, "source": "draw()", "outputs": [drawn]}},
]
folder = pathlib.Path.home() / {folder!r}
folder.mkdir()
(folder / "plot.pdf").write_text(pdf)
notebook = {{"cells": cells, "metadata": {{}}, "nbformat": 4, "nbformat_minor": 5}}
(folder / "notes.ipynb").write_text(json.dumps(notebook))
(folder / "page.html").write_text(f"<html><body>{{html}}</body></html>")
(folder / "data.root").write_bytes(bytes(1000))
print(folder)
"""
REMOVE = "import pathlib, shutil; shutil.rmtree(pathlib.Path.home() / {folder!r})"
READ = "import pathlib; print((pathlib.Path.home() / {path!r}).read_text())"


@pytest.fixture(scope="module")
def url(stack: LiveStack) -> str:
    """The page's."""
    if "url" not in stack.parts["files"]:
        pytest.skip(f"the stack '{stack.name}' has no page of files")
    return str(stack.parts["files"]["url"])


@pytest.fixture(scope="module")
def session(stack: LiveStack) -> Iterator[Visitor]:
    """The physicist's, which runs."""
    with visitor.session(stack, "physicist") as started:
        yield started


@pytest.fixture
def folder(session: Visitor) -> Iterator[str]:
    """A folder that the session wrote, by its name in the home."""
    name = f"results-{secrets.token_hex(4)}"
    session.run(WRITE.format(folder=name))
    yield name
    session.run(REMOVE.format(folder=name))


@pytest.fixture
def physicist(person: Callable[..., Person], url: str) -> Person:
    """In front of a browser; not signed in yet."""
    made = person("physicist", leave_session=True)
    made.page.goto(f"{url}/files/")
    return made


@pytest.fixture
def elsewhere(chromium: Browser) -> Iterator[Page]:
    """Another browser window, in which nobody is signed in."""
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_what_a_notebook_wrote_is_shown_and_goes_to_others_by_a_link(
    physicist: Person, session: Visitor, folder: str, url: str, elsewhere: Page
) -> None:
    page, home = physicist.page, f"{url}/files/eos/user/p/physicist"
    _sign_in_here(physicist)
    expect(page).to_have_url(f"{home}/")  # whoever came for the page comes to it
    files = FilesPage(page)
    expect(files.file(folder)).to_be_visible()
    page.goto(f"{home}/{folder}/")
    for name in ("plot.pdf", "notes.ipynb", "data.root"):
        expect(files.file(name)).to_be_visible()
    physicist.picture("files")

    files.upload("from-my-desk.txt", b"uploaded\n")
    assert session.run(READ.format(path=f"{folder}/from-my-desk.txt")) == "uploaded\n\n"
    page.goto(f"{home}/{folder}/")

    link = files.share("plot.pdf", minutes=5)
    physicist.picture("share")
    shown = elsewhere.goto(link)
    assert shown
    assert (shown.status, shown.headers["content-type"]) == (200, "application/pdf")
    for closed in (f"{home}/{folder}/plot.pdf", f"{home}/"):
        elsewhere.goto(closed)
        expect(elsewhere.locator("input[name=username]")).to_be_visible()

    files.revoke(link)
    assert _status(elsewhere, link) in (403, 404)


def test_notebooks_and_plots_are_shown_and_nothing_in_them_runs(physicist: Person, folder: str, url: str) -> None:
    _sign_in_here(physicist)
    page, there = physicist.page, f"{url}/files/eos/user/p/physicist/{folder}"
    page.goto(f"{there}/notes.ipynb")
    expect(page.get_by_role("heading", name="A measurement")).to_be_visible()
    expect(page.get_by_text("drawn", exact=True)).to_be_visible()
    assert page.title() == "notes.ipynb"
    physicist.picture("notebook")
    page.goto(f"{there}/page.html")
    expect(page.get_by_text("<b>drawn</b>")).to_be_visible()
    assert page.title() != "it ran"
    plot = page.goto(f"{there}/plot.pdf")
    assert plot
    assert plot.headers["content-type"] == "application/pdf"
    page.wait_for_timeout(1000)  # the browser's own viewer tells nobody when it is done
    physicist.picture("plot")


def test_another_persons_files_are_closed(
    physicist: Person, person: Callable[..., Person], folder: str, url: str
) -> None:
    _sign_in_here(physicist)
    neighbour = person("neighbour")
    neighbour.page.goto(f"{url}/files/")
    _sign_in_here(neighbour)
    expect(neighbour.page).to_have_url(f"{url}/files/eos/user/n/neighbour/")
    for path in ("", f"{folder}/", f"{folder}/plot.pdf", f"{folder}/notes.ipynb"):
        assert _status(neighbour.page, f"{url}/files/eos/user/p/physicist/{path}") == 403


def test_a_symbolic_link_to_anothers_home_leads_nowhere(
    stack: LiveStack, physicist: Person, folder: str, url: str
) -> None:
    server = stack.host(stack.group("control_plane")[0])
    way = f"/srv/eos/user/p/physicist/{folder}/way"
    _sign_in_here(physicist)
    server.check_output(f"ln -s ../../../n/neighbour {way}")
    try:
        for path in ("way", "way/", "way/?ls"):
            assert _status(physicist.page, f"{url}/files/eos/user/p/physicist/{folder}/{path}") in (403, 404)
    finally:
        server.check_output(f"rm {way}")  # no client could


def test_signing_out_at_the_hub_closes_the_page(physicist: Person, url: str) -> None:
    _sign_in_here(physicist)
    physicist.sign_out()
    physicist.page.goto(f"{url}/files/")
    expect(physicist.page.locator("input[name=username]")).to_be_visible()


def test_a_token_of_the_hub_opens_ones_files_for_a_program(session: Visitor, folder: str, url: str) -> None:
    where = f"{url}/files/eos/user/p/physicist/{folder}/notes.ipynb"
    answer = session.http.get(where, headers={"Authorization": f"token {session.token}"}, timeout=30)
    assert json.loads(answer.text)["cells"][0]["source"] == "# A measurement"


def _status(page: Page, url: str) -> int:
    """What a browser is answered."""
    answer = page.goto(url)
    assert answer
    return answer.status


def _sign_in_here(person: Person) -> None:
    """Fills in the hub's form where the browser was sent to it."""
    person.fill_in_here()
    person.submit()
    person.page.wait_for_url("**/files/eos/**")
