"""The house as a whole: folders and their table, the floors, what documents promise, and what no file may say."""

import ast
import doctest
import importlib
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations import __main__ as command_line
from tests.unit.program import PROJECT

PACKAGES = ("components", "engine", "images", "operations", "software")

FLOORS = {
    "engine": {"engine"},
    "images": {"engine", "images"},
    "software": {"engine", "images", "software"},
    "components": {"components", "engine", "images", "software"},
    "operations": {"components", "engine", "operations"},
    "stacks": {"components"},
}
"""What each folder may import of ours: the floor below, and no floor above."""


def ours() -> list[Path]:
    """The files that are committed, or would be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [PROJECT / name for name in listed.split("\0") if name and (PROJECT / name).is_file()]


FILES = ours()


def texts() -> Iterator[tuple[Path, str]]:
    """Files of text, with their text."""
    for file in FILES:
        try:
            yield file, file.read_text()
        except UnicodeDecodeError:
            continue


def table_after(heading: str, page: str) -> list[str]:
    """The first column of the table below a heading of a page, without marks."""
    _, _, below = (PROJECT / page).read_text().partition(f"{heading}\n")
    assert below, f"{page} has no heading {heading}"
    rows = re.findall(r"^\| (.*?) \|", below.split("\n#")[0], flags=re.MULTILINE)
    return [re.sub(r"[`/]", "", row) for row in rows if not row.startswith(("---", "Folder", "Module"))]


# Folders


def test_the_table_of_folders_is_the_folders() -> None:
    folders = {file.relative_to(PROJECT).parts[0] for file in FILES if file.parent != PROJECT}
    assert set(table_after("## Folders", "CONTRIBUTING.md")) == {name for name in folders if not name.startswith(".")}


def test_the_table_of_modules_that_are_no_parts_is_complete() -> None:
    from tests.unit.test_parts import HELPERS  # noqa: PLC0415 - the same list, told to people

    assert set(table_after("## Modules that are no parts", "CONTRIBUTING.md")) == HELPERS - {"__init__"}


@pytest.mark.parametrize("folder", FLOORS)
def test_imports_go_down_only(folder: str) -> None:
    upward = [
        f"{file.relative_to(PROJECT)}:{line} imports {name}"
        for file in FILES
        if file.is_relative_to(PROJECT / folder) and file.suffix == ".py"
        for line, name in imports(file)
        if name in {*FLOORS, "tests"} - FLOORS[folder]
    ]
    assert upward == []


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """The packages that a module imports, with the line."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]


def test_no_module_is_too_long_to_read() -> None:
    long = {
        str(file.relative_to(PROJECT)): lines
        for file in FILES
        if file.suffix == ".py" and file.relative_to(PROJECT).parts[0] in FLOORS
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert long == {}


# Tests


def test_every_test_file_is_collected_and_has_tests() -> None:
    for file in (PROJECT / "tests").rglob("*.py"):
        functions = [node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
        tests = [name for name in functions if name.startswith("test_")]
        assert bool(tests) == file.stem.startswith("test_"), file


def modules() -> list[str]:
    """The modules of our packages, by name."""
    files = [file.relative_to(PROJECT) for file in FILES if file.suffix == ".py"]
    packages = {file.parent for file in files if file.name == "__init__.py"}
    found = [file for file in files if file.parts[0] in PACKAGES and set(file.parents[:-1]) <= packages]
    return [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in found]


def test_the_examples_in_docstrings_are_true() -> None:
    outcomes = {name: doctest.testmod(importlib.import_module(name)) for name in modules()}
    assert {name: outcome.failed for name, outcome in outcomes.items() if outcome.failed} == {}
    assert sum(outcome.attempted for outcome in outcomes.values()) > 25


# Documents

PAGES = [file for file in FILES if file.suffix == ".md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{target}: there is no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [PROJECT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.suffix == ".md" and page.is_file():
            seen.add(page)
            targets = re.findall(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)", page.read_text())
            waiting += [(page.parent / target).resolve() for target in targets]
            waiting += [file for target in targets for file in (page.parent / target).resolve().glob("*.md")]
    docs = {page for page in PAGES if page.is_relative_to(PROJECT / "docs")}
    assert docs <= seen, sorted(str(page.relative_to(PROJECT)) for page in docs - seen)


def test_commands_in_documents_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))
    commands = {command.NAME for command in command_line.COMMANDS}
    for page in PAGES:
        code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page.read_text(), flags=re.DOTALL))
        assert set(re.findall(r"\bmake ([a-z]+)\b", code)) <= targets, page
        assert set(re.findall(r"(?:^|[\s`/])cygnet ([a-z]+)\b", code)) <= commands, page


def test_files_that_documents_name_are_there() -> None:
    folders = "|".join((*FLOORS, "docs", "playbooks", "tests"))
    for page in PAGES:
        for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text()):
            assert (PROJECT / name).exists(), f"{page.relative_to(PROJECT)} names {name}"


def test_decisions_are_numbered_and_tell_what_and_why() -> None:
    files = sorted((PROJECT / "docs/decisions").glob("*.md"))
    assert [file.name[:4] for file in files] == [f"{number:04}" for number in range(1, len(files) + 1)]
    for file in files:
        text = file.read_text()
        assert text.startswith("# "), file
        assert "**Decided.**" in text, file
        assert "**Why.**" in text, file
        assert len(text.splitlines()) <= 45, file


def test_the_changelog_knows_this_version() -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    first = re.findall(r"^## \[(.+?)\]", (PROJECT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0]
    assert first in ("Unreleased", version)
    assert f"[{version}]" in (PROJECT / "CHANGELOG.md").read_text()


def test_the_licence_is_the_one_that_the_package_names() -> None:
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
    text = (PROJECT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


# What no file may say


def personal(text: str) -> bool:
    """Whether a text names a folder of the computer that it was written on; sessions have homes of other names."""
    mine = [str(PROJECT), *([str(Path.home())] if Path.home().parent.name == "home" else [])]
    return bool(re.search(r"/(?:work|Users)/\w", text)) or any(folder in text for folder in mine)


def test_no_file_names_a_folder_of_one_computer() -> None:
    found = [
        f"{file.relative_to(PROJECT)}:{number}"
        for file, text in texts()
        if file != Path(__file__)
        for number, line in enumerate(text.splitlines(), 1)
        if personal(line)
    ]
    assert found == []


def test_such_folders_are_found() -> None:
    assert all(personal(text) for text in ("/work/x", "cd /Users/ada", f"see {PROJECT}/x"))
    assert not any(personal(text) for text in ("/home/user", "/home/{username}", "framework/x", "~/x"))


def test_no_file_names_the_host_of_a_package_registry() -> None:
    """Neither locks nor recipes: packages come from where each computer's own package clients get them."""
    host = re.compile(r"deb\.debian\.org|pypi\.org/simple|registry\.npmjs\.org|static\.crates\.io|proxy\.golang\.org")
    clients = re.compile(r"^--(?:extra-)?index-url|^--find-links|^--trusted-host|\"resolved\":", re.MULTILINE)
    named = [file for file, text in texts() if file != Path(__file__) and (host.search(text) or clients.search(text))]
    assert named == []


def test_no_file_is_a_symbolic_link() -> None:
    """Archives and some checkouts make plain files of them."""
    assert [file for file, _text in texts() if file.is_symlink()] == []
