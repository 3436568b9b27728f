"""The tutorials: every new home has them, and each runs and shows what it promises."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.live.notebooks import CLEAN, run_notebook
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

FOLDER = Path(__file__).parents[2] / "images" / "session" / "tutorials"


@dataclass(frozen=True)
class Promise:
    """What a notebook shows: how many images and interactive drawings, which files, and what it prints."""

    images: int = 0
    drawings: int = 0
    files: tuple[str, ...] = ()
    prints: str = ""


PROMISES = {
    "01-first-steps": Promise(images=1, drawings=1, prints=r"mean   = 3\.\d+ ± 0\.0005 GeV"),
    "02-cpp-in-python": Promise(drawings=1, prints=r"Squares, from C\+\+: 1 4 9 16 25"),
    "03-notebook-in-cpp": Promise(drawings=1, prints=r"lifetime = 2\.[12]\d* \+- 0\.02"),
    "04-shell-and-files": Promise(
        images=1, files=("energies.root", "energies.pdf", "twice.root"), prints=r"twice: 10000 entries"
    ),
    "05-histograms": Promise(images=1, prints=r"probability of a worse agreement: 0\.\d+"),
    "06-fits": Promise(images=1, prints=r"mu = +3\.09\d+ ± 0\.000\d"),
    "07-trees": Promise(images=1, files=("tracks.root", "tracks-rntuple.root"), prints=r"20000 events with \d+ tracks"),
    "08-rdataframe": Promise(images=1, files=("jets.root",), prints=r"loops over the events: 1\n"),
    "09-dimuon-spectrum": Promise(images=2, files=("dimuons.root",), prints=r"mass       = 91\.[12]\d* ± 0\.0\d* GeV"),
    "10-many-cores": Promise(images=1, prints=r"fraction 0\.128\d+"),
    "11-roofit": Promise(images=1, files=("b-mesons.root",), prints=r"peak = +5\.2[78]\d+ ± 0\.000\d"),
    "12-likelihood-scan": Promise(images=2, prints=r"minos:     s = 4\.80 -2\.76 \+3\.40"),
    "13-toy-experiments": Promise(images=2, prints=r"mean -0\.1\d+, width 1\.0\d"),
    "14-efficiency": Promise(images=1, prints=r"threshold = (19\.[89]|20\.[01])\d* ± 0\.0\d"),
    "15-unfolding": Promise(images=3, prints=r"smallest difference after \d+ iterations"),
    "16-graphics-2d-3d": Promise(drawings=5, prints=r"first beam:  x = -(2\.9|3\.0)\d* \+- 0\.00\d"),
    "17-python-ecosystem": Promise(images=1, files=("muons.root",), prints=r"scipy: 91\.\d+ ± 0\.0\d+ GeV"),
    "18-machine-learning": Promise(images=3, files=("signal.root", "background.root"), prints=r"area: test 0\.8\d+"),
    "19-reproducible-results": Promise(drawings=1, files=("lifetimes.root",), prints=r"All of it can be made again"),
    "20-statistics-in-r": Promise(images=1, prints=r"half-life = 2\.5\d+ ± 0\.0\d+ minutes"),
    "21-matrices-in-octave": Promise(images=1, prints=r"All is well: the frequency is wrong by -?[01]\.\d mHz"),
}

# Most of what could differ between releases is in these.
SAMPLE = ("05-histograms", "08-rdataframe", "11-roofit", "17-python-ecosystem")

SECONDS = 90
"""How long one may take in a session on a busy computer; without company it is less than half a minute."""


@pytest.fixture(scope="module")
def student(stack: LiveStack) -> Iterator[Visitor]:
    """Someone who runs one tutorial after the other in one session."""
    yield from _someone(stack, "seat-003", 0)


@pytest.fixture(scope="module")
def newest(stack: LiveStack) -> Iterator[Visitor]:
    """The same with the second release that the stack offers."""
    yield from _someone(stack, "seat-004", 1)


def test_the_list_of_promises_is_complete() -> None:
    assert sorted(PROMISES) == sorted(notebook.stem for notebook in FOLDER.glob("*.ipynb"))


def test_a_new_home_has_them_and_keeps_what_is_made_of_them(student: Visitor) -> None:
    """Runs first: the session is stopped and started again."""
    assert {file.name for file in FOLDER.iterdir()} <= set(json.loads(student.run(_LIST)))
    student.run(
        '(folder := __import__("pathlib").Path.home() / "tutorials"); (folder / "README.md").write_text("mine")'
    )
    student.stop()
    student.start()
    assert student.run('print((__import__("pathlib").Path.home() / "tutorials/README.md").read_text())') == "mine\n"


@pytest.mark.parametrize("name", PROMISES)
def test_it_runs_and_keeps_its_promise(
    student: Visitor, name: str, record_property: Callable[[str, object], None]
) -> None:
    _check(student, name, record_property)


@pytest.mark.nightly
@pytest.mark.parametrize("name", SAMPLE)
def test_it_runs_with_the_other_release(
    newest: Visitor, name: str, record_property: Callable[[str, object], None]
) -> None:
    _check(newest, name, record_property)


def test_the_tab_key_knows_names_of_root(student: Visitor) -> None:
    kernel = student.kernel()
    kernel.run("import ROOT; histogram = ROOT.TH1D('histogram', '', 10, 0, 1)")
    assert {"ROOT.TH1D", "ROOT.TH1F"} <= set(kernel.complete("x = ROOT.TH1"))
    assert "ROOT.RooGaussian" in kernel.complete("ROOT.RooGau")
    assert kernel.complete("histogram.GetMeanE") == ["GetMeanError"]
    assert kernel.complete("%%cpp\ngStyle->SetOptSt") == ["SetOptStat"]
    assert kernel.run("print('nothing else')") == "nothing else\n"
    kernel.close()


def test_one_in_the_browser(person: Callable[..., Person], stack: LiveStack) -> None:
    physicist = person("seat-005")
    physicist.sign_in()
    physicist.start()
    physicist.open_file("tutorials", "01-first-steps.ipynb", "Python 3")
    physicist.run_all_cells()
    outputs = physicist.page.locator(".jp-Notebook .jp-OutputArea-output").filter(visible=True)
    expect(outputs.filter(has_text="All is well.")).to_be_attached(timeout=90_000)
    image = outputs.locator("img").first
    image.scroll_into_view_if_needed()
    expect(image).to_be_visible()
    drawing = outputs.filter(has=physicist.page.locator("svg")).first
    drawing.scroll_into_view_if_needed()
    expect(drawing).to_contain_text("mass [GeV]", timeout=60_000)
    physicist.picture("tutorial")
    hosts = {stack.url.removeprefix("https://").split(":")[0]}
    assert physicist.asked == hosts, "the page asked others than the service"


_LIST = """
import json, pathlib
print(json.dumps(sorted(file.name for file in (pathlib.Path.home() / "tutorials").iterdir())))
"""


def _someone(stack: LiveStack, name: str, release: int) -> Iterator[Visitor]:
    releases = [offered["name"] for offered in stack.parts["software"]["releases"]]
    if name not in stack.accounts or release >= len(releases):
        pytest.skip(f"the stack '{stack.name}' has no account '{name}', or not {release + 1} software releases")
    visitor = Visitor(stack, name)
    try:
        visitor.start(release=releases[release])
        yield visitor
        visitor.run(CLEAN)
    finally:
        visitor.stop()


def _check(visitor: Visitor, name: str, record_property: Callable[[str, object], None]) -> None:
    promise = PROMISES[name]
    ran = run_notebook(visitor, f"{name}.ipynb")
    record_property("seconds", round(ran.seconds, 1))
    assert (ran.failure, ran.errors, ran.not_run) == ("", [], [])
    assert (ran.images, ran.drawings) == (promise.images, promise.drawings)
    assert {f"results/{file}" for file in promise.files} <= set(ran.files)
    assert re.search(promise.prints, ran.text), ran.text
    # The kernels of C++ and Octave go on after an error or an exception, as if there had been none.
    assert not re.search(r"WRONG:|(:\d+: |^)error: ", ran.text, flags=re.MULTILINE), ran.text
    assert ran.seconds < SECONDS
