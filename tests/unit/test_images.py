"""Images: what their fingerprints stand for, how they are built and pushed, and what must not be in them."""

import base64
import importlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cygnet_hub.start import last_words

import images
from components.certificates import issue_certificate, new_authority
from engine import cache, recipes
from engine.errors import BuildFailed, EngineError
from engine.process import Runner
from engine.progress import Progress
from engine.versions import VERSIONS
from images import __main__ as command_line
from images import build, catalogue, context
from software.releases import COMMON, RELEASES
from tests.live.waiting import until

FOLDER = catalogue.FOLDER
NAMES = list(catalogue.images())
NOT_ROOT = {"gateway", "hub", "proxy", "session"}
CERTIFICATES = Path("/usr/local/share/ca-certificates")

Make = Callable[..., None]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Images of the test's own, in an empty cache: make(base={"file": "text"}, child={"Containerfile": ...})."""
    folder = tmp_path / "images"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue, "FOLDER", folder)
    monkeypatch.setattr(catalogue, "FILE", folder / "images.yaml")
    monkeypatch.setattr("engine.tools.key", lambda tool: f"key of {tool}")
    entries: dict[str, object] = {}

    def make(options: dict[str, object] | None = None, **contents: dict[str, str]) -> None:
        for name, files in contents.items():
            entries[name] = (options or {}).get(name, {})
            for path, text in {"Containerfile": "FROM scratch\nCOPY file /\n", **files}.items():
                (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / name / path).write_text(text)
        (folder / "images.yaml").write_text(yaml.safe_dump(entries, sort_keys=False))
        catalogue.images.cache_clear()

    yield make
    catalogue.images.cache_clear()


def progress() -> Progress:
    return Progress(io.StringIO(), every=0)


# Fingerprints and tags


CHILD = {"Containerfile": "FROM cygnet/base\nCOPY file /\nCOPY tools/kubelet /usr/bin/\n", "file": "1"}


def test_a_fingerprint_stays_while_nothing_changes(make: Make) -> None:
    make(base={"file": "1"}, child=CHILD)
    first = images.fingerprint("child")
    assert re.fullmatch("[0-9a-f]{12}", first)
    (catalogue.FOLDER / "child" / "__pycache__").mkdir()
    (catalogue.FOLDER / "child" / "__pycache__" / "x.pyc").write_text("x")
    (catalogue.FOLDER / "child" / "file").touch()
    assert images.fingerprint("child") == first


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "child" / "file").write_text("2"),
        lambda folder: (folder / "child" / "new").write_text(""),
        lambda folder: (folder / "child" / "file").chmod(0o755),
        lambda folder: (folder / "child" / "link").symlink_to("file"),
        lambda folder: (folder / "child" / "file").rename(folder / "child" / "renamed"),
        lambda folder: (folder / "child" / "Containerfile").write_text("FROM cygnet/base\n"),
        lambda folder: (folder / "base" / "file").write_text("2"),
    ],
    ids=["content", "new file", "mode", "new link", "name", "Containerfile", "parent"],
)
def test_a_change_changes_the_fingerprint(make: Make, change: Callable[[Path], object]) -> None:
    make(base={"file": "1"}, child=CHILD, other={"file": "1"})
    first, other = images.fingerprint("child"), images.fingerprint("other")
    change(catalogue.FOLDER)
    assert images.fingerprint("child") != first
    assert images.fingerprint("other") == other


def test_where_a_link_leads_changes_the_fingerprint(make: Make) -> None:
    make(base={"file": "1"})
    link = catalogue.FOLDER / "base" / "link"
    link.symlink_to("file")
    first = images.fingerprint("base")
    link.unlink()
    link.symlink_to("other")
    assert images.fingerprint("base") != first


def test_a_tool_or_the_way_of_building_changes_the_fingerprint(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make(base={"file": "1"}, child=CHILD)
    found = {images.fingerprint("child")}
    monkeypatch.setattr("engine.tools.key", lambda _: "another")
    found.add(images.fingerprint("child"))
    monkeypatch.setattr(catalogue, "METHOD", catalogue.METHOD + 1)
    found.add(images.fingerprint("child"))
    assert len(found) == 3


def test_debian_packages_and_release_change_the_fingerprint(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for packages in (["nano"], ["nano", "vim"]):
        make({"base": {"debian": {"variant": "apt", "packages": packages}}}, base={"file": "1"})
        found.add(images.fingerprint("base"))
    monkeypatch.setattr(catalogue, "VERSIONS", {**VERSIONS, "debian_images": "forky"})
    found.add(images.fingerprint("base"))
    linked = {"variant": "apt", "packages": ["nano", "vim"], "links": {"usr/bin/editor": "nano"}}
    make({"base": {"debian": linked}}, base={"file": "1"})
    found.add(images.fingerprint("base"))
    assert len(found) == 4


def test_tags() -> None:
    kubernetes = f"v{VERSIONS['kubernetes']}"
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"):
        assert images.tag(name) == kubernetes
    assert images.tag("etcd") == f"{VERSIONS['etcd']}-0"
    assert images.tag("pause") == VERSIONS["pause"]
    assert images.tag("hub") == images.fingerprint("hub")


def test_an_unknown_image_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(EngineError, match="the nearest names are session"):
        images.tag("sesion")


def test_an_unknown_key_in_the_list_is_refused(make: Make) -> None:
    make({"base": {"parrent": "x"}}, base={"file": "1"})
    with pytest.raises(ValueError, match="parrent"):
        images.tag("base")


# What is in the folders


def test_every_folder_is_an_image_and_every_image_a_folder() -> None:
    assert {file.parent.name for file in FOLDER.glob("*/Containerfile")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_containerfile_names_is_there(name: str) -> None:
    image = catalogue.find(name)
    earlier = NAMES[: NAMES.index(name)]
    assert [parent for parent in image.parents if parent not in earlier] == []
    assert re.findall(r"^FROM (?!scratch$|cygnet/)\S+", image.containerfile, re.MULTILINE) == []
    for tool in image.tools:
        assert tool in recipes.find(tool).binaries
    for lock in re.findall(r"COPY (\S+\.lock)", image.containerfile):
        assert image.folder / lock in image.locks


@pytest.mark.parametrize("name", sorted(NOT_ROOT))
def test_what_users_reach_does_not_run_as_root(name: str) -> None:
    assert re.findall(r"^USER (\S+)", catalogue.find(name).containerfile, re.MULTILINE) == ["1000:100"]


def pinned(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", sorted(FOLDER.glob("*/*.lock")), ids=lambda lock: f"{lock.parent.name}-{lock.name}")
def test_python_packages_are_locked_by_hash_and_name_no_server(lock: Path) -> None:
    text = lock.read_text()
    entries = re.findall(r"^[\w.-]+==\S+ \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE)
    assert len(entries) == len(pinned(lock)) > 0
    assert re.findall(r"^(?![\w.-]+==|    --hash|\s*#).+", text, re.MULTILINE) == []
    assert "://" not in text
    assert "Python 3.13" in text


@pytest.mark.parametrize("lock", sorted(FOLDER.glob("*/package-lock.json")), ids=lambda lock: lock.parent.name)
def test_npm_packages_are_locked_by_hash_and_name_no_server(lock: Path) -> None:
    packages: dict[str, dict[str, str]] = json.loads(lock.read_text())["packages"]
    asked = packages.pop("")
    assert asked["dependencies"] == json.loads(lock.with_name("package.json").read_text())["dependencies"]
    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []


@pytest.mark.parametrize("lock", sorted(FOLDER.glob("*/maven.sha256")), ids=lambda lock: lock.parent.name)
def test_what_comes_by_maven_is_locked_by_hash_and_names_no_server(lock: Path) -> None:
    for line in lock.read_text().splitlines():
        assert re.fullmatch(r"[0-9a-f]{64}  [\w.]+(:[\w.-]+){2}:zip", line)


def test_what_comes_by_maven_and_is_not_what_was_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = (
        'for a; do case $a in -DoutputDirectory=*) mkdir -p "${a#*=}"; echo forged > "${a#*=}/thing-1.zip";; esac; done'
    )
    (tmp_path / "mvn").write_text(f"#!/bin/sh\n{forged}\n")
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    lock = tmp_path / "maven.sha256"
    lock.write_text(f"{'0' * 64}  org.example:thing:1:zip\n")
    with pytest.raises(EngineError, match=r"org\.example:thing:1:zip is not what it was when it was locked"):
        context._maven(lock, tmp_path / "maven", Runner("test", tmp_path / "log", Progress()))


def test_hub_and_session_have_the_same_jupyterhub() -> None:
    hub, session = pinned(FOLDER / "hub/requirements.lock"), pinned(FOLDER / "session/requirements.lock")
    assert hub["jupyterhub"] == session["jupyterhub"]


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_does_not_change_what_a_session_itself_stands_on(release: str) -> None:
    # It stands before the session's own packages on Python's path.
    chosen, own = pinned(RELEASES[release].lock), pinned(FOLDER / "session/requirements.lock")
    both = chosen.keys() & own.keys()
    assert {name: chosen[name] for name in both} == {name: own[name] for name in both}


# The build, with commands that only pretend


BUILDAH = """#!/bin/sh
echo "buildah $*" >> "$COMMANDS"
case "$*" in
    *" push "*) for last; do :; done; mkdir "${last#oci:}" && echo layout > "${last#oci:}/index.json" ;;
    *" build "*) sleep "${SLOW:-0}"; [ ! -e "$BROKEN" ] || { echo "no space left on device" >&2; exit 1; } ;;
esac
"""
SKOPEO = '#!/bin/sh\necho "skopeo $*" >> "$COMMANDS"\n'


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What was run, of pretended buildah and skopeo."""
    (tmp_path / "bin").mkdir()
    for name, script in {"buildah": BUILDAH, "skopeo": SKOPEO}.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    log = tmp_path / "commands"
    log.touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("COMMANDS", str(log))
    monkeypatch.setenv("BROKEN", str(tmp_path / "broken"))
    return lambda: log.read_text().splitlines()


PLAIN_CHILD = {"Containerfile": "FROM cygnet/base\nCOPY file /\n", "file": "1"}


def builds(commands: list[str]) -> list[str]:
    return [found[1] for line in commands if (found := re.search(r" build .*--tag=cygnet/(\S+)", line))]


def test_parents_are_built_first_and_everything_once(make: Make, commands: Callable[[], list[str]]) -> None:
    make(base={"file": "1"}, child=PLAIN_CHILD)
    layout = images.ensure("child", progress())
    assert layout == cache.root() / "images" / f"child-{images.fingerprint('child')}"
    assert (layout / "index.json").read_text() == "layout\n"
    assert builds(commands()) == ["base", "child"]
    assert images.ensure("child", progress()) == layout
    assert builds(commands()) == ["base", "child"]


def test_only_what_changed_is_built_again(make: Make, commands: Callable[[], list[str]]) -> None:
    make(base={"file": "1"}, child=PLAIN_CHILD)
    old = images.ensure("child", progress())
    (catalogue.FOLDER / "child" / "file").write_text("2")
    new = images.ensure("child", progress())
    assert builds(commands()) == ["base", "child", "child"]
    assert old.is_dir()
    assert new != old


def test_a_failed_build_leaves_nothing_and_says_what_cures_it(
    make: Make, commands: Callable[[], list[str]], tmp_path: Path
) -> None:
    make(base={"file": "1"})
    (tmp_path / "broken").touch()
    with pytest.raises(BuildFailed, match=r"base: build failed(?s:.)*the disk is full"):
        images.ensure("base", progress())
    assert [folder.name for folder in (cache.root() / "images").iterdir()] == [".lock"]
    (tmp_path / "broken").unlink()
    assert images.ensure("base", progress()).is_dir()
    assert builds(commands()) == ["base", "base"]


def test_a_killed_build_is_built_by_the_next_run(
    make: Make, commands: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(base={"file": "1"})
    program = f"""
from pathlib import Path
from images import catalogue, ensure
catalogue.FOLDER = Path({str(catalogue.FOLDER)!r})
catalogue.FILE = catalogue.FOLDER / "images.yaml"
ensure("base")
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=FOLDER.parent, env={**os.environ, "SLOW": "30"}, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as killed:  # fmt: skip
        while not builds(commands()):
            time.sleep(0.05)
        os.killpg(killed.pid, signal.SIGKILL)
    assert (cache.root() / "images" / ".building").is_dir()
    monkeypatch.setenv("SLOW", "0")
    assert images.ensure("base", progress()).is_dir()
    assert not (cache.root() / "images" / ".building").exists()
    assert any(line.endswith(" rm --all") for line in commands())


def test_two_runs_at_once_build_an_image_once(
    make: Make, commands: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(base={"file": "1"})
    monkeypatch.setenv("SLOW", "1")
    said = [io.StringIO(), io.StringIO()]
    runs = [threading.Thread(target=images.ensure, args=("base", Progress(stream, every=0))) for stream in said]
    for run in runs:
        run.start()
        until(commands, "the first run is at work", seconds=30, every=0.01)
    for run in runs:
        run.join()
    assert builds(commands()) == ["base"]
    assert any("waiting for another run that builds base" in stream.getvalue() for stream in said)


def test_trim_keeps_what_todays_files_make(make: Make, commands: Callable[[], list[str]]) -> None:
    make(base={"file": "1"})
    old = images.ensure("base", progress())
    (catalogue.FOLDER / "base" / "file").write_text("2")
    new = images.ensure("base", progress())
    build.trim(progress())
    assert not old.exists()
    assert new.is_dir()
    assert any(line.endswith(" rmi --all --force") for line in commands())


@pytest.mark.usefixtures("commands")
def test_the_commands_show_what_they_did(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make({"child": {"tag": "v{kubernetes}"}}, base={"file": "1"}, child=PLAIN_CHILD)
    assert command_line.main(["list"]) == 0
    assert capsys.readouterr().out.count("not built") == 2
    assert command_line.main(["build"]) == 0
    assert re.search(rf"child +v{VERSIONS['kubernetes']} +built", capsys.readouterr().out)
    assert command_line.main(["build", "chld"]) == 1
    assert "the nearest names are child" in capsys.readouterr().err


# The build's context


def test_a_context_has_the_folder_without_what_python_left(make: Make, tmp_path: Path) -> None:
    make(base={"file": "1", "__pycache__/x.pyc": "x"})
    (catalogue.FOLDER / "base" / "link").symlink_to("file")
    target = tmp_path / "context"
    run = Runner("base", tmp_path / "log", progress())
    context.assemble(catalogue.find("base"), target, context.Apt(tmp_path), run, progress())
    assert sorted(file.name for file in target.iterdir()) == ["Containerfile", "file", "link"]
    assert (target / "link").readlink() == Path("file")


def test_tools_are_copied_into_the_context(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(base={"Containerfile": "FROM scratch\nCOPY tools/etcd tools/etcdctl /\n"})
    monkeypatch.setattr("engine.tools.get", lambda *_: [])
    monkeypatch.setattr("engine.tools.path", lambda name: tmp_path / name)
    for name in ("etcd", "etcdctl"):
        (tmp_path / name).write_text(name)
    run = Runner("base", tmp_path / "log", progress())
    context.assemble(catalogue.find("base"), tmp_path / "context", context.Apt(tmp_path), run, progress())
    assert [file.name for file in sorted((tmp_path / "context" / "tools").iterdir())] == ["etcd", "etcdctl"]


def test_apt_inside_goes_where_apt_outside_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "apt-get": "Debian\thttp://mirror.example/debian/\nDebian-Security\thttp://mirror.example/security/\n",
        "apt-config": 'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::Retries "3";\nAcquire::cdrom "";\n',
    }
    monkeypatch.setattr(context, "_said", lambda argv: said[argv[0]])
    apt = context.Apt.of_this_computer(tmp_path / "apt", "trixie")
    assert apt.sources.read_text().splitlines() == [
        "deb http://mirror.example/debian/ trixie main",
        "deb http://mirror.example/debian/ trixie-updates main",
        "deb http://mirror.example/security/ trixie-security main",
    ]
    assert apt.settings.read_text() == 'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::Retries "3";'
    assert f"--volume={tmp_path / 'apt' / 'sources'}:/etc/apt/sources.list.d:ro" in apt.volumes()


def test_a_computer_without_a_mirror_of_debian_is_told() -> None:
    with pytest.raises(EngineError, match="apt knows no mirror of Debian"):
        context.sources("Ubuntu\thttp://archive.example/ubuntu/", "trixie")


# The real thing, small: an image of one file, a registry with a certificate and a password


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    if os.geteuid():
        missing.append("root")
    return pytest.mark.skipif(bool(missing), reason=f"not here: {', '.join(missing)}")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of a running registry; ca/ca.crt, auth.json and its log lie in tmp_path."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    authority, authority_key = new_authority("test")
    certificate, key = issue_certificate(["127.0.0.1"], authority=authority, authority_key=authority_key)
    other, _ = new_authority("another")
    password = "node:$2b$04$ScnqSu7tm0njj00rUCqSauCafhGr5Kvd1jftaFKgwnmuKjdjVWRQ6"  # noqa: S105 - "right"
    (tmp_path / "ca").mkdir()
    files = {"ca/ca.crt": authority, "other.crt": other, "tls.crt": certificate, "tls.key": key, "htpasswd": password}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name, word in {"auth.json": "right", "wrong.json": "wrong"}.items():
        login = base64.b64encode(f"node:{word}".encode()).decode()
        (tmp_path / name).write_text(json.dumps({"auths": {address: {"auth": login}}}))
    tls = {"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}
    configuration = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address, "tls": tls},
        "auth": {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}},
    }
    (tmp_path / "registry.yml").write_text(yaml.safe_dump(configuration))
    with (tmp_path / "registry.log").open("wb") as log, subprocess.Popen(
        ["docker-registry", "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=log
    ) as serving:  # fmt: skip
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.split(":")[1]))) == 0:
                    break
            time.sleep(0.1)
        yield address
        serving.terminate()


@needs("buildah", "skopeo", "docker-registry")
def test_an_image_is_built_and_pushed_for_real(make: Make, registry: str, tmp_path: Path) -> None:
    make(base={"file": "1"}, child={"Containerfile": "FROM cygnet/base\nCOPY own /\nUSER 7\n", "own": "2"})
    layout = images.ensure("child", progress())
    said = subprocess.run(["skopeo", "inspect", "--config", f"oci:{layout}"], capture_output=True, check=True).stdout
    made = json.loads(said)
    assert made["config"]["User"] == "7"
    assert len(made["rootfs"]["diff_ids"]) == 2

    destination = f"{registry}/cygnet/child:{images.tag('child')}"
    for _ in ("first", "again"):
        images.push(layout, destination, ca_file=tmp_path / "ca" / "ca.crt", authfile=tmp_path / "auth.json")
    log = (tmp_path / "registry.log").read_text()
    assert len(re.findall(r"PUT /v2/cygnet/child/blobs", log)) == 3  # two layers and the configuration, once each
    pushed = subprocess.run(
        ["skopeo", "inspect", "--raw", f"--cert-dir={tmp_path / 'ca'}", f"--authfile={tmp_path / 'auth.json'}",
         f"docker://{destination}"], capture_output=True, check=True,
    ).stdout  # fmt: skip
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"].removeprefix("sha256:")
    assert pushed == (layout / "blobs" / "sha256" / digest).read_bytes()


@needs("skopeo", "docker-registry")
@pytest.mark.parametrize(("ca_file", "authfile"), [("other.crt", "auth.json"), ("ca/ca.crt", "wrong.json")])
def test_a_wrong_certificate_or_password_stops_a_push(
    make: Make, registry: str, tmp_path: Path, ca_file: str, authfile: str
) -> None:
    make(base={"file": "1"})
    layout = images.ensure("base", progress())
    with pytest.raises(BuildFailed) as failure:
        images.push(layout, f"{registry}/cygnet/base:1", ca_file=tmp_path / ca_file, authfile=tmp_path / authfile)
    assert re.search("certificate|unauthorized|authentication", str(failure.value))


# What sessions have of ours


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The extension that brings repositories by links."""
    monkeypatch.syspath_prepend(str(FOLDER / "session"))
    return importlib.import_module("cygnet_session.links")


@pytest.mark.parametrize(
    "given",
    [
        {"repo": ["https://git.example.org/a/course"]},
        {"repo": ["https://git.example.org:8443/~ada/course.git/"], "targetpath": ["courses/2026-a"]},
        {"repo": ["https://git.example.org/course"], "targetPath": [""]},
        {"repo": []},
    ],
)
def test_a_link_may_bring_a_repository_to_a_folder(links: Any, given: dict[str, list[str]]) -> None:
    assert links.refusal(given, ["git.example.org"]) == links.refusal(given, []) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *(
            ({"repo": [repository]}, "may bring a repository by HTTPS")
            for repository in (
                "http://a.b/c",
                "file:///etc",
                "/etc",
                "git@a.b:c",
                "ext::sh -c id",
                "https://a.b@c.d/e",
                "https://a.b\\@c.d/e",
                "https://a.b/c?d",
                "javascript:alert(1)//https://a.b/c",
            )
        ),
        *(({"repo": [f"https://a.b/{name}"]}, "may not bring files to") for name in (".ssh", ".ssh/", "..", "-x")),
        *(
            ({"repo": ["https://a.b/c"], name: [place]}, "may not bring files to")
            for name in ("targetpath", "targetPath")
            for place in (".ipython", "a/.git", "/etc", "../x", "a/../../x", "a//b", ".", "a\nb")
        ),
        ({"repo": ["https://a.b/c"], "targetpath": ["ok", ".ssh"]}, "may not bring files to"),
        ({"repo": ["https://a.b/c", "file:///etc"]}, "by HTTPS"),
    ],
)
def test_a_link_may_bring_nothing_that_could_run(links: Any, given: dict[str, list[str]], words: str) -> None:
    assert words in links.refusal(given, [])


def test_a_site_says_from_which_hosts(links: Any) -> None:
    for host in ("git.example.org.evil.example", "evil.example", "git.example.orgx"):
        assert "from git.example.org only" in links.refusal({"repo": [f"https://{host}/c"]}, ["git.example.org"])


def test_a_canvas_that_was_displayed_can_be_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, Any]] = []

    class Root:
        """ROOT's own kernel, which overlooks display_id."""

        iopub_socket = "socket"
        _display_formatter = SimpleNamespace(format=lambda shown: ({"text/plain": shown}, {}))

        def send_response(self, _socket: str, message: str, content: Any) -> None:
            sent.append((message, content))

        def Display(self, *objects: str, **_: object) -> None:  # noqa: N802
            sent.append(("plain", objects))

    for name, content in {
        "ipykernel.kernelapp": "IPKernelApp",
        "ROOT._jupyroot.kernel.rootkernel": "ROOTKernel",
    }.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**{content: Root}))
    monkeypatch.syspath_prepend(str(COMMON))
    kernel = importlib.import_module("cygnet_root_kernel").RootKernel()
    kernel.Display("a text")
    kernel.Display("canvas", display_id=True).update("canvas again")
    messages, contents = zip(*sent, strict=True)
    assert messages == ("plain", "display_data", "update_display_data")
    assert [content["data"]["text/plain"] for content in contents[1:]] == ["canvas", "canvas again"]
    assert contents[1]["transient"] == contents[2]["transient"]


@pytest.fixture
def start_session(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The image's entry point, with files of the test in place of the container's: start_session(VARIABLE=...)."""
    text = (FOLDER / "session/start-session").read_text()
    assert "HOME_SECONDS=60" in text
    text = text.replace("HOME_SECONDS=60", "HOME_SECONDS=2")
    assert "/var/lib/extrausers/passwd" in text
    text = text.replace("/var/lib/extrausers/passwd", str(tmp_path / "passwd"))
    text = text.replace("/usr/local/share/cygnet", str(FOLDER / "session"))
    with_script = (FOLDER / "session/cygnet_session/script.py").read_text()
    assert "SECONDS = 60" in with_script
    (tmp_path / "script.py").write_text(with_script.replace("SECONDS = 60", "SECONDS = 2"))
    assert "/usr/bin/python3 -I -m cygnet_session.script" in text
    text = text.replace("/usr/bin/python3 -I -m cygnet_session.script", f"{sys.executable} -I {tmp_path}/script.py")
    (tmp_path / "ada").mkdir()

    def start(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{FOLDER / 'session'}:{os.environ['PATH']}"
        usual = {"PATH": path, "HOME": str(tmp_path / "ada"), "USER": "ada", "SHELL": "/bin/bash"}
        started = ["sh", "-c", text, "start-session", *(command or ("env",))]
        return subprocess.run(started, env={**usual, **variables}, capture_output=True, text=True, check=False)

    return start


def refused_with(started: subprocess.CompletedProcess[str]) -> str:
    """What the hub tells the user of a session that ended so."""
    ended = {"exitCode": started.returncode, "message": started.stderr}
    return last_words({"status": {"containerStatuses": [{"state": {"terminated": ended}}]}})


def test_a_session_has_a_name_and_a_place_for_programs(start_session: Any, tmp_path: Path) -> None:
    started = start_session()
    assert started.returncode == 0, started.stderr
    home = tmp_path / "ada"
    assert re.search(rf"^PATH=.*:{home}/\.local/bin$", started.stdout, re.MULTILINE)
    assert re.search(rf"^PWD={home}$", started.stdout, re.MULTILINE), "it begins at home"
    assert (tmp_path / "passwd").read_text() == f"ada:x:{os.getuid()}:{os.getgid()}:ada:{home}:/bin/bash\n"
    assert (home / "tutorials" / "README.md").exists()


def test_a_session_has_no_more_processes_than_its_size(start_session: Any) -> None:
    started = start_session("grep", "Max processes", "/proc/self/limits", CYGNET_PROCESSES="345")
    assert started.stdout.split() == ["Max", "processes", "345", "345", "processes"], started.stderr


def test_a_session_without_its_home_ends_and_says_why(start_session: Any, tmp_path: Path) -> None:
    started = start_session(HOME=str(tmp_path / "nothing"))
    assert started.returncode == 1
    assert refused_with(started).startswith(f"The home {tmp_path}/nothing is not there on the machine of this session")


def test_a_session_without_a_place_for_tutorials_starts(start_session: Any, tmp_path: Path) -> None:
    (tmp_path / "ada" / ".local").touch()
    started = start_session()
    assert started.returncode == 0
    assert "No tutorials: is the home full?" in started.stderr


def test_a_session_has_the_software_that_was_chosen(start_session: Any, tmp_path: Path) -> None:
    shutil.copy(COMMON / "setup.sh", tmp_path)
    started = start_session(CYGNET_VIEW=str(tmp_path))
    assert started.returncode == 0, started.stderr
    environment = dict(line.split("=", 1) for line in started.stdout.splitlines())
    assert f":{tmp_path}/bin:" in environment["PATH"]
    assert environment["PYTHONPATH"] == f"{tmp_path}/lib/python{context.PYTHON}/startup"
    assert environment["CYGNET_VIEW"] == str(tmp_path)


def test_a_session_without_its_software_ends_and_says_why(start_session: Any) -> None:
    started = start_session(CYGNET_VIEW="/cvmfs/software.test.internal/stable")
    assert started.returncode == 1
    words = refused_with(started)
    assert words.startswith("The software /cvmfs/software.test.internal/stable is not there on the machine")


@pytest.mark.parametrize("processes", [{}, {"CYGNET_PROCESSES": "345"}], ids=["", "with a limit"])
def test_a_session_has_what_its_users_script_sets(
    start_session: Any, tmp_path: Path, processes: dict[str, str]
) -> None:
    (tmp_path / "ada/setup.sh").write_text(
        'source /dev/null\nwords=(one "two three")\nexport COURSE="${words[1]}\nand more" WHERE=$PWD\n'
        'echo to nobody\nread -r line\ncd /\nexport PATH="/opt/course/bin:$PATH"\ntrue\n'
    )
    code = 'printf "%s|" "$COURSE" "$WHERE" "$PWD" "$PATH" "$(ulimit -u)"'
    started = start_session("bash", "-c", code, CYGNET_SCRIPT="~/setup.sh", **processes)
    assert started.returncode == 0, started.stderr
    course, where, here, path, limit, _ = started.stdout.split("|")
    assert course == "two three\nand more"
    assert (where, here) == (str(tmp_path / "ada"),) * 2, "the session begins at home, wherever the script went"
    assert path.startswith("/opt/course/bin:")
    assert path.endswith("/.local/bin")
    assert limit == processes.get("CYGNET_PROCESSES", limit)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("export A=1\nls /nothing/there\n", "ended with status 2: ls: cannot access '/nothing/there'"),
        ("echo first >&2; echo 'no licence' >&2; exit 3\n", "ended with status 3: no licence. Mend it"),
        ("exit 0\n", "left the shell by exit"),
        ("sleep 60\n", "was not done after 2 s"),
        ("if\n", "ended with status 2"),
        (None, "There is no script ~/setup.sh, or it cannot be read"),
    ],
    ids=["fails", "leaves", "leaves in peace", "hangs", "is no bash", "is not there"],
)
def test_a_session_whose_script_fails_ends_and_says_why(
    start_session: Any, tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "ada/setup.sh").write_text(content)
    started = start_session(CYGNET_SCRIPT="~/setup.sh")
    assert started.returncode == 1
    assert words in refused_with(started)
    assert "start without it" in refused_with(started)


# What was built here


def layers(name: str) -> tuple[dict[str, object], list[Path]]:
    """An image's configuration and its layers."""
    blobs = catalogue.find(name).layout / "blobs" / "sha256"
    index = json.loads((blobs.parents[1] / "index.json").read_text())

    def blob(entry: dict[str, str]) -> Path:
        return blobs / entry["digest"].removeprefix("sha256:")

    manifest = json.loads(blob(index["manifests"][0]).read_text())
    return json.loads(blob(manifest["config"]).read_text()), [blob(layer) for layer in manifest["layers"]]


def tar(layer: Path, *arguments: str) -> str:
    done = subprocess.run(["tar", "--zstd", "-f", str(layer), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@needs("zstd")
@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_building_computer_is_in_an_image(name: str) -> None:
    if not build.present(catalogue.find(name)):
        pytest.skip(f"not built: python -m images build {name}")
    own = {line for file in CERTIFICATES.glob("*.crt") for line in file.read_text().splitlines() if len(line) == 64}
    configuration, found = layers(name)
    assert not re.search(r"(?i)_proxy=|pip_|npm_config|ssl_cert|://(?!hub:)", json.dumps(configuration))
    for layer in found:
        names = [line.removeprefix("./") for line in tar(layer, "-t").splitlines()]
        settings = r"(etc/pip\.conf|.*\.npmrc|.*/pip/pip\.conf|etc/apt/(auth\.conf|sources\.list$)|etc/apt/.*\.list$"
        settings += r"|etc/apt/apt\.conf\.d/(network|99mmdebstrap)|usr/local/share/ca-certificates/.+|wheels/?|mnt/.+)"
        assert [path for path in names if re.fullmatch(settings, path)] == []
        for path in {"etc/ssl/certs/ca-certificates.crt", "etc/hostname", "etc/resolv.conf"} & set(names):
            member = path if path in tar(layer, "-t").splitlines() else f"./{path}"
            text = tar(layer, "-xO", member)
            assert own.isdisjoint(text.splitlines()), path
            assert text.startswith("-----BEGIN") or not text, path
