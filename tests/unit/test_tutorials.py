"""The tutorials: what is in the notebooks, and how they come into a home. Live tests run them."""

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.unit.program import PROJECT

SESSION = PROJECT / "images" / "session"
TUTORIALS = SESSION / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
SPARKS = PROJECT / "software" / "apache-spark" / "tutorials"
KERNELS = {
    "python3": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "root": {"display_name": "ROOT C++", "language": "c++", "name": "root"},
    "ir": {"display_name": "R", "language": "R", "name": "ir"},
    "octave": {"display_name": "Octave", "language": "octave", "name": "octave"},
}
CHECKS = {"python3": "assert ", "root": "check(", "ir": "stopifnot(", "octave": "assert ("}

each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
any_notebook = pytest.mark.parametrize(
    "notebook", [*NOTEBOOKS, *SPARKS.glob("*.ipynb")], ids=lambda notebook: notebook.stem
)


def read(notebook: Path) -> Any:
    """The notebook, as its JSON says."""
    return json.loads(notebook.read_text())


def text(notebook: Path, kind: str = "") -> str:
    """All its cells, or those of a kind."""
    return "\n".join("".join(cell["source"]) for cell in read(notebook)["cells"] if kind in cell["cell_type"])


def test_there_are_as_many_as_there_have_ever_been() -> None:
    assert len(NOTEBOOKS) >= 21


@any_notebook
def test_it_is_a_notebook_without_outputs(notebook: Path) -> None:
    content = read(notebook)
    nbformat.validate(content)
    for cell in content["cells"]:
        assert cell["metadata"] == {}
        assert re.fullmatch(r"[a-z0-9-]+", cell["id"]), "an id that says nothing changes when somebody saves"
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@any_notebook
def test_its_kernel_is_one_that_sessions_have(notebook: Path) -> None:
    metadata = read(notebook)["metadata"]
    assert metadata["kernelspec"] == KERNELS[metadata["kernelspec"]["name"]]
    assert set(metadata) == {"kernelspec", "language_info"}


@each_notebook
def test_it_explains_and_ends_with_a_check(notebook: Path) -> None:
    content = read(notebook)
    cells = content["cells"]
    number = int(notebook.stem[:2])
    assert 6 <= len(cells) <= 20
    assert "".join(cells[0]["source"]).startswith(f"# {number}. ")
    assert len(text(notebook, "markdown").split()) > 150
    assert "## Is it right?" in text(notebook, "markdown")
    last = [cell for cell in cells if cell["cell_type"] == "code"][-1]
    assert "".join(last["source"]).count(CHECKS[content["metadata"]["kernelspec"]["name"]]) >= 2


@any_notebook
def test_it_stays_in_its_folder_and_asks_nobody(notebook: Path) -> None:
    assert not re.search(r"https?://|root://|/home/|/eos/|/tmp/|TRandom3\(0\)|default_rng\(\)", text(notebook, "code"))


def test_the_list_names_each_in_order_with_its_title() -> None:
    listed = re.findall(r"^\| \[(.+?)\]\((.+?)\)", (TUTORIALS / "README.md").read_text(), flags=re.MULTILINE)
    titles = [re.findall(r"^# (.+?)(?::.*)?$", text(notebook), flags=re.MULTILINE)[0] for notebook in NOTEBOOKS]
    assert [name for _, name in listed] == [notebook.name for notebook in NOTEBOOKS]
    assert [title for title, _ in listed] == titles


def test_links_lead_to_the_neighbours() -> None:
    for before, after in itertools.pairwise(NOTEBOOKS):
        assert f"]({after.name})" in text(before)
        assert f"]({before.name})" in text(after)


# Into a home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home."""
    made = tmp_path / "home"
    made.mkdir()
    return made


def give(home: Path, folder: Path = TUTORIALS, *name: str) -> None:
    """What a session does when it starts."""
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    subprocess.run([SESSION / "give-tutorials", folder, *name], env=environment, check=True, capture_output=True)


def test_a_new_home_gets_them_all(home: Path) -> None:
    give(home)
    assert {file.name for file in (home / "tutorials").iterdir()} == {file.name for file in TUTORIALS.iterdir()}
    assert [file.name for file in home.iterdir() if file.name.startswith(".tutorials")] == []


def test_who_has_spark_gets_its_own_beside_them(home: Path) -> None:
    give(home)
    give(home, SPARKS, "tutorials-spark")
    assert {file.name for file in home.iterdir()} == {".local", "tutorials", "tutorials-spark"}
    assert {file.name for file in (home / "tutorials-spark").iterdir()} == {file.name for file in SPARKS.iterdir()}


def test_edited_ones_stay_and_deleted_ones_do_not_come_back(home: Path) -> None:
    give(home)
    edited, deleted = (home / "tutorials" / notebook.name for notebook in NOTEBOOKS[:2])
    edited.write_text("mine")
    deleted.unlink()
    give(home)
    assert edited.read_text() == "mine"
    assert not deleted.exists()
    for file in (home / "tutorials").iterdir():
        file.unlink()
    (home / "tutorials").rmdir()
    give(home)
    assert not (home / "tutorials").exists()


def test_a_folder_of_the_users_own_is_left_alone(home: Path) -> None:
    (home / "tutorials").mkdir()
    give(home)
    assert list((home / "tutorials").iterdir()) == []


def test_what_a_session_left_that_ended_half_way_is_mended(home: Path) -> None:
    (home / ".tutorials.part").mkdir()
    (home / ".tutorials.part" / "half").touch()
    give(home)
    assert not (home / "tutorials" / "half").exists()
    assert (home / "tutorials" / NOTEBOOKS[0].name).exists()


def test_a_copy_that_fails_is_tried_again(home: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        give(home, home / "nowhere")
    assert not (home / "tutorials").exists()
    give(home)
    assert (home / "tutorials" / NOTEBOOKS[0].name).exists()
