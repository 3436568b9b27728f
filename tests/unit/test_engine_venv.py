"""The engine in a virtual environment: the pulumi wrapper's defaults, links, plugins; and the Go code of our own."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine import cache, folders, golang, tools, venv
from engine.errors import EngineError
from engine.kinds import HERE
from engine.progress import Progress
from engine.recipes import RECIPES

PULUMI_VARIABLES = (
    "PULUMI_BACKEND_URL",
    "PULUMI_CONFIG_PASSPHRASE",
    "PULUMI_CONFIG_PASSPHRASE_FILE",
    "PULUMI_SKIP_UPDATE_CHECK",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION",
)


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


class Wrapped:
    """A virtual environment's pulumi around a program that shows its environment and arguments."""

    def __init__(self, folder: Path, *, own_plugins: bool = True) -> None:
        self.home = folder / "a home"
        self.home.mkdir()
        real = script(folder / "real one" / "pulumi", 'env; echo "arguments=$*"')
        self.pulumi = folder / "venv" / "bin" / "pulumi"
        script(self.pulumi, "")
        self.pulumi.write_text(venv.wrapper(real, own_plugins=own_plugins))
        self.state = self.home / ".local" / "state" / "cygnet" / "pulumi"

    def sees(self, *arguments: str, **variables: str) -> dict[str, str]:
        """What the real pulumi sees."""
        environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", **variables}
        argv = [str(self.pulumi), *arguments]
        out = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout
        return dict(line.partition("=")[::2] for line in out.splitlines())


@pytest.fixture
def wrapped(tmp_path: Path) -> Wrapped:
    return Wrapped(tmp_path)


def test_the_wrapper_sets_what_the_user_has_not_set(wrapped: Wrapped) -> None:
    seen = wrapped.sees("up", "--yes")
    assert {name: seen.get(name) for name in PULUMI_VARIABLES} == {
        "PULUMI_BACKEND_URL": f"file://{wrapped.state}",
        "PULUMI_CONFIG_PASSPHRASE": None,
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(wrapped.state / "passphrase"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    assert seen["PATH"] == f"{wrapped.pulumi.parent}:/usr/bin:/bin"
    assert seen["arguments"] == "up --yes"


def test_the_wrapper_leaves_what_the_user_has_set(wrapped: Wrapped) -> None:
    theirs = dict.fromkeys(PULUMI_VARIABLES, "theirs")
    assert wrapped.sees(**theirs).items() >= theirs.items()
    assert not wrapped.state.exists()


def test_an_empty_passphrase_is_one_that_the_user_has_set(wrapped: Wrapped) -> None:
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in wrapped.sees(PULUMI_CONFIG_PASSPHRASE="")


@pytest.mark.parametrize("said", ["/elsewhere", "relative", "", None])
def test_the_state_is_where_all_of_cygnet_looks_for_it(
    wrapped: Wrapped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    said = f"{tmp_path}{said}" if said == "/elsewhere" else said
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(wrapped.home))
    variables = {} if said is None else {"XDG_STATE_HOME": said}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    seen = wrapped.sees(**variables)
    assert seen["PULUMI_BACKEND_URL"] == f"file://{folders.state()}/pulumi"


def test_a_passphrase_is_made_once_and_for_its_owner_only(wrapped: Wrapped) -> None:
    file = wrapped.state / "passphrase"
    wrapped.sees()
    first = file.read_text()
    wrapped.sees()
    assert file.read_text() == first
    assert len(first.strip()) == 44  # 32 bytes in base 64
    assert file.stat().st_mode & 0o777 == 0o600
    assert wrapped.state.stat().st_mode & 0o777 == 0o700
    assert [left.name for left in wrapped.state.iterdir()] == ["passphrase"]


@pytest.mark.parametrize(
    ("credentials", "backend_is_ours"),
    [('{\n  "current": "https://api.example.org"\n}', False), ('{\n  "current": ""\n}', True)],
)
def test_who_is_logged_in_keeps_the_backend(wrapped: Wrapped, credentials: str, backend_is_ours: bool) -> None:
    file = wrapped.home / ".pulumi" / "credentials.json"
    file.parent.mkdir()
    file.write_text(credentials)
    assert ("PULUMI_BACKEND_URL" in wrapped.sees()) is backend_is_ours


def test_an_access_token_keeps_the_backend(wrapped: Wrapped) -> None:
    assert "PULUMI_BACKEND_URL" not in wrapped.sees(**{"PULUMI_ACCESS_TOKEN": "theirs"})


def test_the_official_pulumi_gets_its_plugins_by_itself(tmp_path: Path) -> None:
    seen = Wrapped(tmp_path, own_plugins=False).sees()
    assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION" not in seen


# --- links and plugins

FAKE_PULUMI = """\
echo "$4 $5" >>"$PULUMI_HOME/installed"
mkdir -p "$PULUMI_HOME/plugins/resource-$4-v$5"
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty virtual environment; every tool is a script in the store, pulumi one that notes its plugins."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "pulumi"))
    (tmp_path / "pulumi").mkdir()
    for recipe in RECIPES.values():
        for name in recipe.binaries:
            script(recipe.entry.bin / name, FAKE_PULUMI if name == "pulumi" else "")
        (recipe.entry.folder / cache.MANIFEST).write_text("{}")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    return tmp_path / "venv"


def link(folder: Path) -> list[str]:
    """Links, and gives the plugins that Pulumi was told to install so far."""
    venv.link(folder, Progress(io.StringIO()))
    noted = folder.parent / "pulumi" / "installed"
    return noted.read_text().splitlines() if noted.exists() else []


def test_linking_twice_changes_nothing(environment: Path) -> None:
    wanted = [f"{name} {RECIPES[tool].version}" for name, tool in venv.PLUGINS.items()]
    assert link(environment) == wanted
    assert link(environment) == wanted
    assert sorted(file.name for file in (environment / "bin").iterdir()) == ["kubectl", "pulumi"]
    assert (environment / "bin" / "kubectl").resolve() == tools.path("kubectl")


def test_a_plugin_of_another_recipe_is_installed_anew(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = link(environment)
    recipe = RECIPES["pulumi-resource-openstack"]
    changed = dataclasses.replace(recipe, binaries=(*recipe.binaries, "other"))
    recipe.entry.folder.rename(changed.entry.folder)
    monkeypatch.setitem(RECIPES, recipe.tool, changed)
    assert link(environment) == [*before, f"openstack {recipe.version}"]


def test_an_official_plugin_stays(environment: Path) -> None:
    version = RECIPES["pulumi-resource-kubernetes"].version
    (environment.parent / "pulumi" / "plugins" / f"resource-kubernetes-v{version}").mkdir(parents=True)
    assert [line.split()[0] for line in link(environment)] == ["openstack"]


def test_nothing_is_linked_into_a_folder_that_is_no_virtual_environment(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="python3 -m venv"):
        venv.link(tmp_path, Progress(io.StringIO()))


# --- Go code of our own


@pytest.mark.timeout(900, func_only=True)  # with trimmed caches, all that the code stands on is compiled first
@pytest.mark.parametrize("tool", ["shared-folder-provisioner", "pulumi-resource-openstack"])
def test_our_go_code_passes_its_tests(tool: str, tmp_path: Path) -> None:
    if not (cache.root() / "go" / "build").is_dir() or not shutil.which("go"):
        pytest.skip("the Go compiler's caches are empty: python -m engine get fills them")
    shutil.copytree(HERE / "go" / tool, tmp_path / "src")
    argv, where, env = [golang.command(), "test", "."], tmp_path / "src", golang.environment()
    result = subprocess.run(argv, cwd=where, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_openstack_provider_serves_names_that_the_sdk_has() -> None:
    spec = importlib.util.find_spec("pulumi_openstack")
    assert spec is not None
    assert spec.origin is not None
    sdk = Path(spec.origin).parent
    text = (HERE / "go" / "pulumi-resource-openstack" / "main.go").read_text()
    tokens = re.findall(r'": +"(\w+)/(\w+):(\w+)"', text)
    assert len(tokens) > 50
    for package, module, name in tokens:
        files = (sdk / package).glob("*.py")
        assert any(f"openstack:{package}/{module}:{name}'" in file.read_text() for file in files), (package, name)
