"""A physicist's day: sign in, draw, write files, stop, come back, find them."""

from collections.abc import Callable
from urllib.parse import urlparse

from playwright.sync_api import expect

from tests.live.person import Person
from tests.live.stack import LiveStack

HISTOGRAM = """\
import ROOT
canvas = ROOT.TCanvas("canvas", "", 600, 400)
histogram = ROOT.TH1F("histogram", "A day's events;mass [GeV];events", 50, -4, 4)
histogram.FillRandom("gaus", 5000)
histogram.Draw()
"""

FILES = """\
with ROOT.TFile("events.root", "RECREATE") as file:
    file.WriteObject(histogram, "histogram")
canvas.SaveAs("events.pdf")
"""

READ = """\
import ROOT
with ROOT.TFile("events.root") as file:
    print(file.Get("histogram").GetEntries())
"""

CPP = """\
TH1F histogram("h", "", 10, 0, 1);
histogram.FillRandom("gaus", 42);
std::cout << "entries: " << histogram.GetEntries() << std::endl;
"""


def test_root_in_python_and_its_files_are_there_the_next_day(stack: LiveStack, person: Callable[..., Person]) -> None:
    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    physicist.picture("launcher")
    physicist.open_notebook("Python 3")

    physicist.run_cell(HISTOGRAM)
    image = physicist.run_cell("%jsroot off\ncanvas.Draw()").locator("img")
    expect(image).to_be_visible()
    interactive = physicist.run_cell("%jsroot on\ncanvas.Draw()")
    expect(interactive.locator("svg").first).to_be_visible(timeout=60_000)
    expect(interactive).to_contain_text("mass [GeV]")
    physicist.picture("python")

    physicist.run_cell(FILES)
    assert physicist.asked == {urlparse(stack.url).hostname}, "the page asked others than the service"

    physicist.stop()
    physicist.start()
    expect(physicist.file("events.root")).to_be_visible()
    expect(physicist.file("events.pdf")).to_be_visible()
    physicist.open_notebook("Python 3")
    # Not the only output: ROOT warns of its state, before or after.
    expect(physicist.run_cell(READ).filter(has_text="5000.0")).to_be_visible()
    physicist.sign_out()


def test_a_notebook_in_cpp(person: Callable[..., Person]) -> None:
    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    physicist.open_notebook("ROOT C++")
    expect(physicist.run_cell(CPP)).to_contain_text("entries: 42")
    expect(
        physicist.run_cell("TCanvas canvas; histogram.Draw(); canvas.Draw();").locator("svg, img").first
    ).to_be_visible()
    physicist.picture("cpp")


def test_notebooks_in_r_and_octave(person: Callable[..., Person]) -> None:
    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    physicist.open_notebook("R")
    expect(physicist.run_cell("hist(rnorm(1000), main = 'In R')").locator("img")).to_be_visible()
    physicist.picture("r")
    physicist.open_notebook("Octave")
    expect(physicist.run_cell("plot (1:10, (1:10) .^ 2); title ('In Octave')").locator("img")).to_be_visible()
    physicist.picture("octave")


def test_a_terminal(person: Callable[..., Person]) -> None:
    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    physicist.terminal("rm --force who.txt; whoami > who.txt")
    expect(physicist.file("who.txt")).to_be_visible(timeout=30_000)  # the list of files is read again every 10 s
    physicist.picture("terminal")
    physicist.open_notebook("Python 3")
    expect(physicist.run_cell('print(open("who.txt").read())')).to_have_text("physicist")
