"""Releases and their views: what a release is made of, and that a view works wherever it is mounted."""

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import cache
from engine.errors import BuildFailed, EngineError
from engine.process import Runner
from engine.progress import Progress
from software import __main__ as command_line
from software import build, languages, releases, view
from software.releases import RELEASES, Release

NAMES = list(RELEASES)
# What a session's image brings, and a view must not bring another version of: the notebook server and its kernels.
JUPYTERS = re.compile(r"ipykernel|ipython|jupyter.*|metakernel|nb.*|notebook.*|pip|pyzmq|tornado|traitlets|.*comm")

# What comes from there, by the names of its packages.
DEBIANS = {"R": "r-base-core", "Octave": "octave"}


def packages(release: str) -> dict[str, str]:
    """The versions that a release's lock has."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", RELEASES[release].lock.read_text(), flags=re.MULTILINE))


# Releases


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_has_what_was_asked_for(name: str) -> None:
    asked = re.findall(r"^[\w-]+", RELEASES[name].lock.with_suffix(".in").read_text(), flags=re.MULTILINE)
    assert {package.lower() for package in asked} <= set(packages(name))
    assert "--hash=sha256:" in RELEASES[name].lock.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_view_leaves_the_notebook_server_alone(name: str) -> None:
    assert [package for package in packages(name) if JUPYTERS.fullmatch(package)] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_versions_that_users_read_of_are_there(name: str) -> None:
    told = re.findall(r"(\w+) (\d+\.\d+)", RELEASES[name].description)
    assert len(told) > 3
    for package, version in told:
        if package in DEBIANS:
            assert languages.packages()[DEBIANS[package]] == version
        elif package != "ROOT":  # PyPI's numbers are others
            assert packages(name)[package.lower()].startswith(f"{version}.")


def test_releases_can_be_told_apart() -> None:
    differ = {
        package for package, version in packages("stable").items() if packages("bleeding").get(package) != version
    }
    assert {"numpy", "scipy"} <= differ


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_first_is_root(name: str) -> None:
    lines = RELEASES[name].prewarm.read_text().splitlines()
    assert lines == sorted(set(lines))
    assert f"{view.SITE_PACKAGES}/ROOT/lib/libCling.so" in lines
    assert all("ROOT" in line or "cppyy" in line or "root.libs" in line for line in lines if ".so" in line)


def test_a_key_is_that_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "FOLDER", tmp_path)
    monkeypatch.setattr(releases, "COMMON", tmp_path / "common")
    for file in ("a/requirements.lock", "a/prewarm", "a/requirements.in", "common/setup.sh", "common/kernels/k.json"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    first = Release("a", "A", "").key
    assert re.fullmatch("[0-9a-f]{12}", first)
    (tmp_path / "a/requirements.in").write_text("what was asked for is not what came of it")
    assert Release("a", "Another title", "").key == first
    keys = {first}
    for file in ("a/requirements.lock", "a/prewarm", "common/setup.sh", "common/kernels/k.json"):
        (tmp_path / file).write_text("another")
        keys.add(Release("a", "A", "").key)
    assert len(keys) == 5


def test_a_misspelt_release_is_told_its_neighbour() -> None:
    with pytest.raises(EngineError, match="no release 'stabel'") as error:
        build.ensure("stabel")
    assert "stable" in error.value.why
    assert command_line.main(["build", "stabel"]) == 1


def test_the_list_shows_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and release.title in shown for name, release in RELEASES.items())


def test_views_and_wheels_of_former_releases_can_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(releases, "FOLDER", tmp_path / "software")
    root = tmp_path / "cygnet/software"
    (root / "wheels").mkdir(parents=True)
    (tmp_path / "software/stable").mkdir(parents=True)
    lines = [wheel(root / "wheels", name, {f"{name}.py": ""}) for name in ("former", "needed")]
    lock, prewarm = (tmp_path / "software/stable" / name for name in ("requirements.lock", "prewarm"))
    lock.write_text(lines[1])
    prewarm.touch()
    (root / "known-1.sqlite").touch()
    monkeypatch.setattr(releases, "COMMON", tmp_path / "common")
    monkeypatch.setattr(build, "RELEASES", {"stable": RELEASES["stable"]})
    for view_folder in (RELEASES["stable"].view, root / "stable-0123456789ab", root / "gone-0123456789ab"):
        (view_folder / "lib").mkdir(parents=True)
    assert command_line.main(["trim"]) == 0
    left = {str(file.relative_to(root)) for file in root.rglob("*")}
    view_name = RELEASES["stable"].view.name
    assert left == {
        ".lock",
        "known-1.sqlite",
        "wheels",
        "wheels/needed-1-py3-none-any.whl",
        view_name,
        f"{view_name}/lib",
    }
    assert capsys.readouterr().err.count("removing ") == 3
    capsys.readouterr()


# What pip makes of a lock


def wheel(folder: Path, name: str, files: dict[str, str]) -> str:
    """A wheel, and the line of a lock that names it."""
    info = f"{name}-1.dist-info"
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\nRequires-Python: >=3.13\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    file = folder / f"{name}-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            archive.writestr(entry, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD")))
    return f"{name}==1 --hash=sha256:{cache.digest(file)}\n"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of wheels; pip has these and nothing else, and a cache of the test's own."""
    folder = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder))
        yield folder


def install(lock: Path, target: Path) -> None:
    build._install([lock], target, Runner("test", lock.with_suffix(".log"), Progress(io.StringIO())))


@pytest.fixture(scope="module")
def made(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The view of a lock with one package that looks a little like ROOT."""
    files = {
        "ROOT/__init__.py": "def main(): print('root ran')\n",
        "ROOT/README/x": "",
        "ROOT/bin/root-config": "libdir=$ROOTSYS/mock_site_packages/ROOT/lib\n",
        "ROOT/etc/system.rootrc": "A: 1\nJupyter.JSRoot:    off\nB: 2\n",
        "ROOT/etc/notebook/kernels/root/logo.png": "png",
        "pandas/tests/x.py": "",
        "ROOT-1.data/data/share/man/man1/root.1": "manual",
        "ROOT-1.data/scripts/tool.py": "#!python\nprint('tool ran')\n",
    }
    folder = tmp_path_factory.mktemp("made")
    (folder / "lock").write_text(wheel(index, "ROOT", files))
    (folder / "prewarm").write_text(f"{view.SITE_PACKAGES}/ROOT/__init__.py\n")
    install(folder / "lock", folder / "installed")
    view.arrange(folder / "installed", folder / "view")
    view.complete(folder / "view", folder / "prewarm")
    view.mark(folder / "view")
    view.settle(folder / "view")
    return folder / "view"


@pytest.fixture
def tree(made: Path, tmp_path: Path) -> Path:
    """The same, moved to another place."""
    return shutil.copytree(made, tmp_path / "view of" / "it", symlinks=True)


def test_an_altered_package_is_refused(tmp_path: Path, index: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(wheel(index, "pkg", {"pkg.py": "1"}))
    wheel(index, "pkg", {"pkg.py": "2"})
    with pytest.raises(BuildFailed) as error:
        install(lock, tmp_path / "installed")
    assert "hash" in str(error.value).lower()


def test_a_view_names_no_folder_of_the_computer_that_built_it(tree: Path, made: Path) -> None:
    ours = [str(made.parent).encode(), sys.prefix.encode(), sys.executable.encode()]
    for file in tree.rglob("*"):
        assert not (file.is_file() and any(path in file.read_bytes() for path in ours)), file


# The computer's own Python, not that of the environment in which tests run, which has nothing from outside.
PYTHON = Path(sys.base_prefix, "bin", "python3")
PATH = f"{PYTHON.parent}:/usr/bin:/bin"


def sourced(tree: Path, shell: str, then: str, **environment: str) -> str:
    """What a shell says that sources the view's setup.sh, strict as a session's start is."""
    argv = [*shell.split(), "-c", f'set -eu; . "{tree}/setup.sh"; {then}']
    environment = {"PATH": PATH, "HOME": "/home/ada", **environment}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout


SHELLS = pytest.mark.parametrize("shell", ["sh", "bash", "bash --posix"])


@SHELLS
def test_programs_and_packages_are_found(tree: Path, shell: str) -> None:
    assert sourced(tree, shell, "ROOT; tool.py") == "root ran\ntool ran\n"
    assert sourced(tree, shell, 'echo "$CYGNET_VIEW"') == f"{tree}\n"


@SHELLS
def test_to_source_it_twice_changes_nothing(tree: Path, shell: str) -> None:
    names = "$CYGNET_VIEW|$PATH|$PYTHONPATH|$JUPYTER_PATH|$PYTHONUSERBASE"
    once = sourced(tree, shell, f'echo "{names}"', PYTHONPATH="/mine")
    twice = sourced(
        tree, shell, f'. "$CYGNET_VIEW/setup.sh"; (. "$CYGNET_VIEW/setup.sh"; echo "{names}")', PYTHONPATH="/mine"
    )
    assert once == twice
    folder, path, python, jupyter, own = once.strip().split("|")
    assert folder == str(tree)
    assert own == "/home/ada/.local/cygnet/it"
    assert path == f"{own}/bin:{tree}/bin:{tree}/{view.SITE_PACKAGES}/ROOT/bin:{PATH}"
    assert python == f"{tree}/lib/python3.13/startup:/mine"
    assert jupyter == f"{tree}/share/jupyter", "and no empty entry, which would be the working folder"


@SHELLS
def test_nothing_else_is_left_in_the_shell(tree: Path, shell: str) -> None:
    assert re.findall(r"^cygnet\w*", sourced(tree, shell, "set"), flags=re.MULTILINE) == []


def test_a_relative_path_will_do(tree: Path) -> None:
    for shell in ("sh", "bash"):
        argv = [shell, "-c", '. "./it/setup.sh"; echo "$CYGNET_VIEW"']
        assert subprocess.run(argv, cwd=tree.parent, capture_output=True, text=True, check=True).stdout == f"{tree}\n"


@SHELLS
def test_a_link_to_the_view_is_followed_once(tree: Path, shell: str) -> None:
    keyed = tree.rename(tree.with_name("stable-0123456789ab"))
    link = tree.with_name("stable")
    link.symlink_to(keyed.name)
    names = 'echo "$CYGNET_VIEW" "$PYTHONUSERBASE"'
    assert sourced(link, shell, names) == f"{keyed} /home/ada/.local/cygnet/stable\n"


def python(tree: Path, home: Path, code: str, program: str | Path = PYTHON) -> str:
    """What a piece of Python prints that runs with the view; an import that fails is one line."""
    code = f"try:\n {code}\nexcept ImportError as error:\n print(error)"
    return sourced(tree, "sh", f"'{program}' -c \"$CODE\"", HOME=str(home), CODE=code).strip()


def test_a_users_packages_come_before_the_views_and_both_before_the_systems(tree: Path, tmp_path: Path) -> None:
    code = "import ROOT, sys, site; print(ROOT.__file__); print(*sys.path, sep='\\n')"
    view_packages = str(tree / view.SITE_PACKAGES)
    first, *path = python(tree, tmp_path, code).splitlines()
    assert first.startswith(view_packages)
    assert next(folder for folder in path if folder.endswith("-packages")) == view_packages
    own = Path(python(tree, tmp_path, "import site; print(site.getusersitepackages())"))
    assert own.is_relative_to(tmp_path / ".local/cygnet/it")
    (own / "ROOT").mkdir(parents=True)
    (own / "ROOT/__init__.py").touch()
    first, *path = python(tree, tmp_path, code).splitlines()
    assert first == f"{own}/ROOT/__init__.py"
    assert path.index(str(own)) + 1 == path.index(view_packages)
    assert python(tree.rename(tree.with_name("other")), tmp_path, code).startswith(f"{tree.with_name('other')}/lib")


@pytest.mark.parametrize(("options", "sees"), [([], False), (["--system-site-packages"], True)])
def test_a_virtual_environment_has_the_view_if_it_has_the_systems_packages(
    tree: Path, tmp_path: Path, options: list[str], sees: bool
) -> None:
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", *options, tmp_path / "env"], check=True)
    program = tmp_path / "env/bin/python"
    found = python(tree, tmp_path, "import ROOT; print(ROOT.__file__)", program)
    assert found == (f"{tree / view.SITE_PACKAGES}/ROOT/__init__.py" if sees else "No module named 'ROOT'")
    (own,) = (tmp_path / "env/lib").glob("python*/site-packages")
    (own / "ROOT.py").touch()
    assert python(tree, tmp_path, "import ROOT; print(ROOT.__file__)", program) == f"{own}/ROOT.py"


def test_what_is_to_be_left_alone_by_a_users_packages_is(tree: Path, tmp_path: Path) -> None:
    isolated = sourced(tree, "sh", f"{PYTHON} -I -c 'import sys; print(*sys.path)'", HOME=str(tmp_path))
    assert str(tree) not in isolated


def test_roots_kernel_is_in_the_view(tree: Path) -> None:
    kernel = json.loads((tree / "share/jupyter/kernels/root/kernel.json").read_text())
    module = kernel["argv"][kernel["argv"].index("-m") + 1]
    assert (tree / view.SITE_PACKAGES / f"{module}.py").is_file()
    assert (tree / "share/jupyter/kernels/root/logo.png").is_file()
    assert (tree / view.SITE_PACKAGES / "ROOT/etc/system.rootrc").read_text() == "A: 1\nJupyter.JSRoot: on\nB: 2\n"


def test_roots_script_knows_where_its_libraries_are(tree: Path) -> None:
    assert (tree / view.SITE_PACKAGES / "ROOT/bin/root-config").read_text() == "libdir=$ROOTSYS/lib\n"


def test_what_is_no_package_stands_beside_lib(tree: Path) -> None:
    assert {file.name for file in tree.iterdir()} == {".cvmfscatalog", "bin", "lib", "prewarm", "setup.sh", "share"}
    assert (tree / "share/man/man1/root.1").read_text() == "manual"
    assert {file.name for file in (tree / "bin").iterdir()} == {"ROOT", "tool.py"}
    for program in (tree / "bin").iterdir():
        assert program.read_text().startswith("#!/usr/bin/env python3\n")
    record = (tree / view.SITE_PACKAGES / "ROOT-1.dist-info/RECORD").read_text()
    for line in record.splitlines():
        gone = line.startswith(("ROOT/README", "pandas/tests"))
        assert (tree / view.SITE_PACKAGES / line.split(",")[0]).exists() != gone, line
    assert "../../../bin/tool.py,,\n" in record


def test_a_root_without_the_setting_is_refused(tree: Path) -> None:
    (tree / view.SITE_PACKAGES / "ROOT/etc/system.rootrc").write_text("A: 1\n")
    with pytest.raises(EngineError, match="would not be interactive"):
        view.complete(tree, RELEASES["stable"].prewarm)


def test_a_prewarm_list_of_other_packages_is_refused(tree: Path) -> None:
    view.check_prewarm(tree)
    (tree / "prewarm").write_text("lib/gone\nsetup.sh\n")
    with pytest.raises(EngineError, match="1 files of the prewarm list") as error:
        view.check_prewarm(tree)
    assert "lib/gone" in error.value.why


def test_a_view_can_be_read_by_all_and_has_the_same_times_always(tree: Path) -> None:
    for file in (tree, *tree.rglob("*")):
        assert file.lstat().st_mtime == 315532800
        assert file.stat().st_mode & 0o777 in (0o644, 0o755), file


def test_big_folders_get_catalogs_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_LEAST_ENTRIES", 10)
    for folder, files in {"numpy/core": 10, "numpy/lib": 3, "small": 4, "other/a": 4, "other/b": 4}.items():
        (tmp_path / folder).mkdir(parents=True)
        for number in range(files):
            (tmp_path / folder / f"{number}").touch()
    view.mark(tmp_path)
    marked = {str(file.parent.relative_to(tmp_path)) for file in tmp_path.rglob(".cvmfscatalog")}
    assert marked == {".", "numpy/core", "other"}
