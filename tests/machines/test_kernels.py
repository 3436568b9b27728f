"""Kernels of a release and of users, in the session's own image, with the release where no build has ever seen it."""

import base64
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.hub import jupyter_folders
from components.hub_config import HubConfig
from software import build
from tests.machines import image_root

VIEW = "/cvmfs/test.example.org/stable-0123456789ab"
HOME = "/home/user"
ENVIRONMENT = {"HOME": HOME, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
INSIDE = Path(__file__).with_name("kernels_inside.py")
R_PACKAGE = {
    "DESCRIPTION": "Package: twice\nVersion: 1.0\nTitle: T\nDescription: D.\nLicense: GPL\n",
    "NAMESPACE": "useDynLib(twice)\nexport(twice)\n",
    "R/twice.R": 'twice <- function(x) .Call("twice_", x)\n',
    "src/twice.c": "#include <Rinternals.h>\nSEXP twice_(SEXP x) { return ScalarReal(2 * asReal(x)); }\n",
}
CELLS = {
    "python3": ["import ROOT, numpy; print(numpy.__file__)"],
    "root": ['std::cout << "from C++" << std::endl;'],
    "ir": [
        "R.home()",
        'plot(1:10, main = "Größe")',
        "x <- matrix(rnorm(250000), 500); stopifnot(all.equal(solve(x) %*% x, diag(500)))",
        'invisible(system("R CMD INSTALL ~/twice", intern = TRUE)); library(twice); twice(21)',
        "find.package('twice')",
        'stop("as it should")',
    ],
    "octave": [
        "disp (OCTAVE_HOME ())",
        'surf (peaks (20)); title ("Größe"); figure; imagesc (rand (200));',
        "help sin",
        "plot (1:3); print a.pdf; print b.png; size (imread ('b.png'))",
        "x = rand (500); assert (inv (x) * x, eye (500), 1e-6)",
        'system ("curl --version > /dev/null && git --version && python3 -c \\"import ssl\\"");',
    ],
    "own": ["import os; print(os.environ['CYGNET_VIEW'])"],
    "gone": [],
    "silent": [],
}


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What all kernels of CELLS showed."""
    folder = tmp_path_factory.mktemp("kernels")
    home = folder / "home"
    for path, text in R_PACKAGE.items():
        _write(home / "twice" / path, text)
    for name, start in {
        "own": f'set -e; . {VIEW}/setup.sh; exec python3 -m ipykernel_launcher -f "$1"',
        "gone": "set -e; . /cvmfs/nowhere/setup.sh",
        "silent": "exit 3",
    }.items():
        kernel = home / ".local/share/jupyter/kernels" / name
        argv = ["bash", "{resource_dir}/setup.sh", "{connection_file}"]
        _write(kernel / "kernel.json", json.dumps({"argv": argv, "display_name": f"My {name}", "language": "python"}))
        _write(kernel / "setup.sh", start)
    _write(home / "inside.py", INSIDE.read_text())
    _write(home / "answer.json", "")
    for file in home.rglob("*"):
        os.chown(file, image_root.USER, image_root.USER)
    command = 'cd; . "$1/setup.sh"; mkdir -p "$JUPYTER_RUNTIME_DIR"; exec python3 ~/inside.py "$2" ~/answer.json'
    with image_root.running(
        "session",
        ["sh", "-c", command, "sh", VIEW, json.dumps(CELLS)],
        data=home,
        inside=HOME,
        log=folder / "log",
        environment={**ENVIRONMENT, "JUPYTER_RUNTIME_DIR": "/tmp/jupyter"},  # noqa: S108 - its own
        beside={build.ensure("stable"): VIEW},
    ) as process:
        assert process.wait(timeout=300) == 0, (folder / "log").read_text()[-3000:]
    found: dict[str, Any] = json.loads((home / "answer.json").read_text())
    return found


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("chosen", [[], ["swanheader"], ["swanheader", "swanhelp"]])
def test_swans_extensions_are_there_for_stacks_that_choose_them(chosen: list[str], tmp_path: Path) -> None:
    folders = ":".join(jupyter_folders(HubConfig.model_validate({"extensions": chosen})))
    with image_root.running(
        "session",
        ["jupyter", "labextension", "list"],
        data=tmp_path / "home",
        inside=HOME,
        log=tmp_path / "log",
        environment=ENVIRONMENT | {"JUPYTER_PATH": folders},
    ) as process:
        assert process.wait(timeout=60) == 0
    told = (tmp_path / "log").read_text()
    found = re.findall(r"@swan-cern/\w+ v[\d.]+ \S*enabled\S* \S*OK\S* \(python, (\w+)\)", told)
    assert found == chosen, told


@pytest.fixture
def shown(answer: dict[str, Any]) -> Callable[[str], list[dict[str, str]]]:
    """What each cell of a kernel showed, by kind."""
    return lambda name: [joined(cell) for cell in answer[name]["shown"]]


def joined(cell: list[tuple[str, str]]) -> dict[str, str]:
    """The outputs of a cell by kind; those of one kind behind each other."""
    found: dict[str, str] = {}
    for kind, text in cell:
        found[kind] = found.get(kind, "") + text
    return found


def is_image(text: str) -> bool:
    """Whether an output is a picture that is more than empty paper."""
    content = base64.b64decode(text)
    return content.startswith(b"\x89PNG") and len(content) > 3000


def test_python_and_cpp_are_the_releases(shown: Callable[[str], list[dict[str, str]]]) -> None:
    assert VIEW in shown("python3")[0]["stdout"]
    assert "from C++" in shown("root")[0]["stdout"]


def test_r_draws_computes_and_compiles_what_a_user_adds(shown: Callable[[str], list[dict[str, str]]]) -> None:
    home, plot, computed, added, place, failed = shown("ir")
    assert home["text/plain"] == f'[1] "{VIEW}/debian/usr/lib/R"'
    assert is_image(plot["image/png"])
    assert computed == {}
    assert added["text/plain"] == "[1] 42"
    assert place["text/plain"] == f'[1] "{HOME}/.local/cygnet/stable/lib/R/4.5/twice"'
    assert "as it should" in failed["error"]


def test_octave_draws_computes_and_explains(
    answer: dict[str, Any], shown: Callable[[str], list[dict[str, str]]]
) -> None:
    home, _, told, written, computed, others = shown("octave")
    assert home["stdout"].strip() == f"{VIEW}/debian/usr"
    images = [text for kind, text in answer["octave"]["shown"][1] if kind == "image/png"]
    assert len(images) == 2
    assert all(map(is_image, images))
    assert "Compute the sine for each element of X in radians." in told["stdout"]
    assert "3" in written["stdout"]
    assert "error" not in written["stdout"]
    assert "warning" not in written["stdout"]
    assert computed == {}
    assert others["stdout"].startswith("git version")


def test_a_users_own_kernel_runs_or_says_why_not(
    answer: dict[str, Any], shown: Callable[[str], list[dict[str, str]]]
) -> None:
    assert shown("own") == [{"stdout": f"{VIEW}\n"}]
    gone = answer["gone"]["refused"]
    assert gone.startswith("The kernel My gone ended before it could run anything. It said:\n")
    assert gone.endswith("/cvmfs/nowhere/setup.sh: No such file or directory")
    assert answer["silent"]["refused"].endswith("It did not say why.")
