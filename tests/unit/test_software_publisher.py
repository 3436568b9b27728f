"""Repositories: what is published is what a client reads, however it is asked, and whatever ends in the middle."""

import datetime as dt
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.progress import Progress
from software import known, publisher, tree
from software.collect import keep_newest
from software.keys import Keys, make_keys
from software.objects import Kind, Objects
from software.publisher import Published, renew_whitelist
from tests.unit.program import PROJECT
from tests.unit.repository import FQRN, Found, Reader

CHUNK = 1000
COUNTERS = {"regular", "symlink", "special", "dir", "nested", "chunked", "chunks", "file_size", "chunked_size"}
COUNTERS |= {"xattr", "external", "external_file_size"}


def local(folder: Path, prefix: bytes = b"") -> Found:
    """What a reader is to find of a folder."""
    found: Found = {}
    for name in folder.rglob("*"):
        status = name.lstat()
        content = os.fsencode(os.readlink(name)) if name.is_symlink() else None if name.is_dir() else name.read_bytes()
        inner = prefix + b"/" + os.fsencode(name.relative_to(folder))
        found[inner] = (status.st_mode, status.st_mtime_ns, content)
    return found


Publish = Callable[..., Published]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return make_keys(FQRN)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def reader(store: Path, keys: Keys) -> Reader:
    return Reader(store, keys.master_public)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small tree, published at "stable"."""
    made = tmp_path / "tree"
    (made / "lib/deep/deeper").mkdir(parents=True)
    (made / "lib/one.py").write_text("one = 1\n")
    (made / "lib/deep/two.py").write_text("two = 2\n")
    (made / "setup.sh").write_text("export A=1\n")
    return made


@pytest.fixture
def publish(folder: Path, store: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tree, "CHUNK_BYTES", CHUNK)

    def publish(trees: dict[str, Path] | None = None, signed: Keys = keys, **options: Any) -> Published:
        progress = Progress(io.StringIO())
        return publisher.publish(trees or {"stable": folder}, store, FQRN, signed, progress, **options)

    return publish


# What is published is what is read


def test_a_client_reads_what_was_published(publish: Publish, folder: Path, reader: Reader) -> None:
    published = publish()
    assert published == Published(1, reader.verified_root())
    found = reader.everything()
    assert found.pop(b"/stable") == (folder.stat().st_mode, folder.stat().st_mtime_ns, None)
    assert found == local(folder, b"/stable")


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_files_around_the_size_of_a_chunk(publish: Publish, folder: Path, reader: Reader, size: int) -> None:
    (folder / "file").write_bytes(os.urandom(size))
    publish()
    assert reader.everything()[b"/stable/file"] == local(folder)[b"/file"]
    chunks = reader.catalog(reader.verified_root()).execute("SELECT count(*) FROM chunks").fetchone()
    assert chunks == (0 if size <= CHUNK else -(-size // CHUNK),)


def test_links_of_all_kinds(publish: Publish, folder: Path, reader: Reader) -> None:
    (folder / "to-a-file").symlink_to("setup.sh")
    (folder / "to-a-folder").symlink_to("lib/deep")
    (folder / "to-nothing").symlink_to("/not/there")
    (folder / "to-itself").symlink_to("to-itself")
    (folder / "hard.sh").hardlink_to(folder / "setup.sh")
    publish()
    found = reader.everything()
    assert {name: found[b"/stable" + name] for name in local(folder)} == local(folder)
    assert b"/stable/to-a-folder/two.py" not in found


def test_modes_and_times_stay_and_owners_do_not(publish: Publish, folder: Path, reader: Reader) -> None:
    for mode in (0o400, 0o644, 0o755, 0o4755, 0o000):
        (folder / f"{mode:o}").write_text(f"{mode}")
        (folder / f"{mode:o}").chmod(mode)
    os.utime(folder / "setup.sh", ns=(0, 315532800123456789))
    os.utime(folder / "lib/one.py", (-86400, -86400))
    shutil.chown(folder / "setup.sh", 12345, 12345)
    publish()
    found = reader.everything()
    assert {name: found[b"/stable" + name] for name in local(folder)} == local(folder)
    owners = reader.catalog(reader.verified_root()).execute("SELECT DISTINCT uid, gid FROM catalog").fetchall()
    assert owners == [(0, 0)]


NAMES = (
    b"a b",
    b"new\nline",
    b"q'uo\"te",
    b"back\\slash",
    "Übung ∫ 山".encode(),
    b"\xff\xfe not UTF-8",
    b"x" * 255,
    b"~",
    b"%41",
)


@pytest.mark.parametrize("kind", ["file", "folder", "nested", "link"])
def test_names_are_any_bytes(publish: Publish, folder: Path, reader: Reader, kind: str) -> None:
    for name in NAMES:
        path = folder / os.fsdecode(name)
        if kind == "file":
            path.write_bytes(name)
        elif kind == "link":
            path.symlink_to(os.fsdecode(name))
        else:
            path.mkdir()
            (path / "inside").write_bytes(name)
            if kind == "nested":
                (path / ".cvmfscatalog").touch()
    publish()
    found = reader.everything()
    assert {name: found[b"/stable" + name] for name in local(folder)} == local(folder)


def test_a_deep_tree(publish: Publish, folder: Path, reader: Reader) -> None:
    deep = folder.joinpath(*"abcdefghijklmnopqrstuvwxyz" * 3)
    deep.mkdir(parents=True)
    (deep / "end").write_text("end")
    publish()
    assert (
        reader.everything()[
            b"/stable/" + b"/".join(bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyz" * 3) + b"/end"
        ][2]
        == b"end"
    )


def test_an_empty_tree(publish: Publish, tmp_path: Path, reader: Reader) -> None:
    (tmp_path / "empty").mkdir()
    publish({"": tmp_path / "empty"})
    assert reader.everything() == {}


def test_a_tree_can_be_the_whole_repository(publish: Publish, folder: Path, reader: Reader) -> None:
    publish({"": folder})
    assert reader.everything() == local(folder)


def test_trees_stand_at_their_paths(publish: Publish, folder: Path, tmp_path: Path, reader: Reader) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_text("x")
    publish({"views/a/1": folder, "views/a/2": other, "views/b": other, "z": other})
    found = reader.everything()
    assert {name for name in found if name.count(b"/") <= 2} >= {b"/views", b"/views/a", b"/views/b", b"/z", b"/z/x"}
    assert found[b"/views/a/2/x"][2] == found[b"/z/x"][2] == b"x"
    assert found[b"/views/a/1/lib/one.py"][2] == b"one = 1\n"
    assert found[b"/views"][0] == 0o40755


# Catalogs


@pytest.fixture
def nested(folder: Path) -> Path:
    """Catalogs at lib, at lib/deep within it, and at one more."""
    (folder / "share").mkdir()
    (folder / "share/page").write_text("page")
    for place in ("lib", "lib/deep", "share"):
        (folder / place / ".cvmfscatalog").touch()
    return folder


def test_marked_folders_have_catalogs_of_their_own(publish: Publish, nested: Path, reader: Reader) -> None:
    publish()
    assert set(reader.catalogs()) == {"/stable/lib", "/stable/lib/deep", "/stable/share"}
    found = reader.everything()
    assert {name: found[b"/stable" + name] for name in local(nested)} == local(nested)
    names = {row[0] for row in reader.catalog(reader.verified_root()).execute("SELECT name FROM catalog")}
    assert names == {b"", b"stable", b"setup.sh", b"lib", b"share"}


def test_a_catalog_that_did_not_change_is_the_same_object(publish: Publish, nested: Path, reader: Reader) -> None:
    publish()
    before = reader.catalogs()
    (nested / "share/page").write_text("another page")
    assert publish().revision == 2
    changed = {path for path, name in reader.catalogs().items() if before[path] != name}
    assert changed == {"/stable/share"}


def test_catalogs_count_what_is_in_them_and_below(publish: Publish, nested: Path, reader: Reader) -> None:
    (nested / "lib/deep/big").write_bytes(bytes(2 * CHUNK + 1))
    (nested / "link").symlink_to("lib")
    publish()
    counts: dict[str, int] = {}
    for counter, value in reader.catalog(reader.verified_root()).execute("SELECT counter, value FROM statistics"):
        counts[counter.decode()] = value
    assert set(counts) == {f"{where}_{counter}" for where in ("self", "subtree") for counter in COUNTERS}
    files = [content for mode, _, content in local(nested).values() if mode >> 12 == 0o10]
    total = {counter: counts[f"self_{counter}"] + counts[f"subtree_{counter}"] for counter in COUNTERS}
    assert total == {
        **dict.fromkeys(COUNTERS, 0),
        "regular": len(files),
        "symlink": 1,
        "dir": 6,  # the root, stable, lib, lib/deep, lib/deep/deeper, share
        "nested": 3,
        "chunked": 1,
        "chunks": 3,
        "file_size": sum(len(content) for content in files if isinstance(content, bytes)),
        "chunked_size": 2 * CHUNK + 1,
    }
    assert (counts["self_nested"], counts["self_dir"]) == (2, 2)


def test_catalogs_have_what_cerns_client_asks_of_schema_2_5_7(publish: Publish, reader: Reader) -> None:
    publish()
    catalog = reader.catalog(reader.verified_root())
    properties = dict(catalog.execute("SELECT key, value FROM properties"))
    assert (properties[b"schema"], properties[b"schema_revision"]) == (b"2.5", b"7")
    assert (properties[b"revision"], properties[b"TTL"]) == (b"1", reader.field(".cvmfspublished", "D").encode())
    assert b"root_prefix" not in properties, "the client takes a root that says one for a nested catalog"
    listing = "SELECT path, sha1, size FROM nested_catalogs UNION ALL SELECT path, sha1, size FROM bind_mountpoints"
    assert catalog.execute(listing).fetchall() == []
    assert catalog.execute("SELECT count(*) FROM catalog WHERE xattr IS NULL AND mtimens IS NOT NULL").fetchone()[0] > 1
    assert len(reader.content(reader.verified_root(), "C")) == int(reader.field(".cvmfspublished", "B"))


# Revisions


def state(store: Path) -> dict[Path, tuple[int, int]]:
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in store.rglob("*") if file.is_file()}


def test_the_same_content_stays_the_same_revision_and_nothing_is_written(publish: Publish, store: Path) -> None:
    first = publish()
    before = state(store)
    assert publish() == first
    assert state(store) == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda folder: (folder / "setup.sh").write_text("export A=2\n"),
        lambda folder: (folder / "setup.sh").chmod(0o600),
        lambda folder: os.utime(folder / "setup.sh", (1, 1)),
        lambda folder: (folder / "setup.sh").unlink(),
        lambda folder: (folder / "lib/new").write_text("new"),
        lambda folder: (folder / "lib/deep/deeper").rmdir(),
        lambda folder: (folder / "lib/deep").rename(folder / "lib/deeep"),
        lambda folder: (folder / "link").symlink_to("lib"),
        lambda folder: shutil.rmtree(folder / "lib"),
    ],
)
def test_whatever_changes_is_the_next_revision(
    publish: Publish, folder: Path, reader: Reader, edit: Callable[[Path], object]
) -> None:
    first, before = publish(), reader.everything()
    edit(folder)
    assert publish().revision == 2
    found = reader.everything()
    del found[b"/stable"]
    assert found == local(folder, b"/stable")
    assert reader.past()[1] == first.root_hash
    assert reader.everything(first.root_hash) == before, "who still has the old revision reads on"
    assert publish().revision == 2


def test_a_tree_that_is_not_named_any_more_is_gone(publish: Publish, folder: Path, reader: Reader) -> None:
    publish({"stable": folder, "bleeding": folder})
    assert publish({"bleeding": folder}).revision == 2
    assert b"/stable" not in reader.everything()


def test_unchanged_files_are_not_read_again(
    publish: Publish, folder: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "_MOMENT_NS", -1)
    publish()
    read: list[bytes] = []
    put = Objects.put

    def noted(self: Objects, content: bytes, kind: Kind) -> str:
        read.append(content)
        return put(self, content, kind)

    monkeypatch.setattr(Objects, "put", noted)
    (folder / "lib/new").write_text("new")
    (folder / "setup.sh").write_text("export A=2\n")
    publish()
    assert {content for content in read if not content.startswith((b"SQLite", b"-----"))} == {b"new", b"export A=2\n"}
    assert reader.everything()[b"/stable/setup.sh"][2] == b"export A=2\n"


def test_a_file_of_two_trees_is_compressed_once(
    publish: Publish, folder: Path, tmp_path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "big").write_bytes(os.urandom(2 * CHUNK + 1))
    shutil.copytree(folder, tmp_path / "other", copy_function=os.link)
    (tmp_path / "other/lib/one.py").unlink()
    (tmp_path / "other/lib/one.py").write_text("one = 2\n")
    made: list[Path] = []
    make = publisher._make

    def noted(file: tree.Node, objects: Objects) -> None:
        made.append(file.source)
        make(file, objects)

    monkeypatch.setattr(publisher, "_make", noted)
    publish({"stable": folder, "other": tmp_path / "other"})
    assert len(made) == len({file.stat().st_ino for file in made}) == 5
    found = reader.everything()
    for name, source in {b"/stable": folder, b"/other": tmp_path / "other"}.items():
        assert {path: one for path, one in found.items() if path.startswith(name + b"/")} == local(source, name)


def test_another_store_has_at_once_what_was_compressed_for_one_that_is_gone(
    publish: Publish, folder: Path, store: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "_MOMENT_NS", -1)
    (folder / "big").write_bytes(os.urandom(3 * CHUNK))
    publish()
    shutil.rmtree(store)
    monkeypatch.setattr(publisher, "_make", lambda file, _: pytest.fail(f"{file.source} is read again"))
    publish()
    assert reader.everything().items() >= local(folder, b"/stable").items()
    assert known.trim() == 0
    shutil.rmtree(store)
    assert known.trim() > 3 * CHUNK


def test_a_file_that_was_changed_a_moment_ago_is_read_again(publish: Publish, folder: Path, reader: Reader) -> None:
    for number in range(5):
        (folder / "setup.sh").write_text(f"export A={number}\n")
        publish()
        assert reader.everything()[b"/stable/setup.sh"][2] == f"export A={number}\n".encode()


def test_lost_objects_are_made_again(publish: Publish, store: Path, reader: Reader, folder: Path) -> None:
    publish()
    shutil.rmtree(store / "data")
    assert publish().revision == 2, "never back to a number that clients have seen"
    assert reader.everything().items() >= local(folder, b"/stable").items()


def test_an_object_that_a_power_cut_left_empty_is_written_again(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    objects.begin()
    name = objects.put(b"content", Kind.FILE)
    objects.path(name, Kind.FILE).write_bytes(b"")
    objects.put(b"content", Kind.FILE)
    assert objects.get(name, Kind.FILE) == b"content"


def test_without_the_index_all_is_the_same(publish: Publish, tmp_path: Path) -> None:
    first = publish()
    shutil.rmtree(tmp_path / "cache")
    assert publish() == first


# Former trees


@pytest.fixture
def views(publish: Publish, tmp_path: Path) -> Callable[[int], Published]:
    """Publishes view number so many, which is what `stable` leads to; nothing is left of it on this computer."""

    def publish_view(number: int) -> Published:
        view = tmp_path / f"stable-{number}"
        (view / "lib").mkdir(parents=True)
        (view / "number").write_text(f"{number}")
        for marked in (view, view / "lib"):
            (marked / ".cvmfscatalog").touch()
        for file in (*view.rglob("*"), view):
            os.utime(file, (number, number))
        published = publish({view.name: view}, links={"stable": view.name})
        shutil.rmtree(view)
        return published

    return publish_view


def test_a_link_leads_to_the_newest_and_two_former_ones_stay(views: Callable[[int], Published], reader: Reader) -> None:
    for number in range(1, 6):
        views(number)
        found = reader.everything()
        assert found[b"/stable"][::2] == (0o120777, b"stable-%d" % number)
        there = range(max(1, number - 2), number + 1)
        assert {path for path in found if path.endswith(b"/number")} == {b"/stable-%d/number" % n for n in there}
        for n in there:
            assert found[b"/stable-%d/number" % n][2] == b"%d" % n
            assert found[b"/stable-%d" % n] == (0o40755, n * 10**9, None)


def test_former_trees_are_counted(views: Callable[[int], Published], reader: Reader) -> None:
    for number in (1, 2, 3):
        views(number)
    statistics = dict(reader.catalog(reader.verified_root()).execute("SELECT counter, value FROM statistics"))
    counted = {name: statistics[b"subtree_" + name] for name in (b"dir", b"nested", b"regular", b"file_size")}
    assert counted == {b"dir": 6, b"nested": 3, b"regular": 9, b"file_size": 3}
    assert (statistics[b"self_nested"], statistics[b"self_symlink"]) == (3, 1)


def test_to_publish_the_same_with_former_trees_is_no_news(
    views: Callable[[int], Published], store: Path, keys: Keys
) -> None:
    for number in (1, 2, 3, 4):
        views(number)
        keep_newest(store, keys, publisher.FORMER + 1)
    before = state(store)
    assert views(4).revision == 4
    assert state(store) == before


def test_to_go_back_is_a_revision_with_what_was_left(views: Callable[[int], Published], reader: Reader) -> None:
    for number in (1, 2, 1):
        views(number)
    found = reader.everything()
    assert found[b"/stable"][2] == b"stable-1"
    assert {b"/stable-1/number", b"/stable-2/number"} <= set(found)


def test_a_release_that_is_not_offered_any_more_stays_for_who_has_it(
    publish: Publish, views: Callable[[int], Published], folder: Path, reader: Reader
) -> None:
    views(1)
    publish({"other-1": folder}, links={"other": "other-1"})
    found = reader.everything()
    assert b"/stable" not in found
    assert found[b"/stable-1/number"][2] == b"1"


@pytest.mark.parametrize("links", [{"stable": "gone"}, {"a": "a"}, {"a/b": "a"}])
def test_links_that_lead_nowhere(publish: Publish, folder: Path, links: dict[str, str]) -> None:
    with pytest.raises(EngineError, match="cannot be a link to"):
        publish({"a": folder}, links=links)


# What ends in the middle, and who looks meanwhile


def test_a_killed_run_leaves_the_old_revision_and_the_next_goes_on(
    publish: Publish, folder: Path, store: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "CHUNK_BYTES", 1 << 20)
    publish()
    reader = Reader(store, keys.master_public)
    before = reader.everything()
    for number in range(300):
        (folder / f"big{number}").write_bytes(os.urandom(200_000))
    program = (
        "import sys; from pathlib import Path; from software.publisher import publish; from software import Keys; "
    )
    program += "publish({'stable': Path(sys.argv[1])}, Path(sys.argv[2]), sys.argv[3], Keys(*sys.argv[4:]))"
    argv = [
        sys.executable,
        "-c",
        program,
        str(folder),
        str(store),
        FQRN,
        keys.master,
        keys.repository,
        keys.certificate,
    ]
    running = subprocess.Popen(argv, cwd=PROJECT, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while len(state(store)) < 30 and time.monotonic() < until:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == -signal.SIGKILL, "it was too fast to be killed"
    assert reader.everything() == before
    made = {file: number for file, number in state(store).items() if file.parent.name != "txn" and file.parent != store}
    assert publish().revision == 2
    assert reader.everything().items() >= local(folder, b"/stable").items()
    assert made.items() <= state(store).items(), "what was there stayed as it was"
    assert not (store / "data/txn").exists()
    assert {file.name for file in store.iterdir()} == {".cvmfspublished", ".cvmfswhitelist", "data"}


def test_a_reader_never_finds_a_manifest_without_its_objects(publish: Publish, folder: Path, reader: Reader) -> None:
    publish()
    done, seen = threading.Event(), set()

    def edit() -> None:
        for number in range(12):
            (folder / "number").write_text(f"{number}")
            publish()
        done.set()

    thread = threading.Thread(target=edit)
    thread.start()
    while not done.is_set():
        seen.add(reader.everything().get(b"/stable/number", (0, 0, b"none"))[2])
    thread.join()
    assert len(seen) > 2


def test_a_file_that_changes_while_it_is_read_is_not_published(
    publish: Publish, folder: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    (folder / "log").write_text("a")
    put = Objects.put

    def write_on(self: Objects, content: bytes, kind: Kind) -> str:
        if content == b"a":
            (folder / "log").write_text("ab")
        return put(self, content, kind)

    monkeypatch.setattr(Objects, "put", write_on)
    with pytest.raises(EngineError, match="changed while it was read"):
        publish()
    assert reader.field(".cvmfspublished", "S") == "1"


# What is refused


@pytest.mark.parametrize("path", ["/stable", "a/../b", "../a", "a//b", "a/", ".", "./a"])
def test_paths_that_are_none(publish: Publish, folder: Path, path: str) -> None:
    with pytest.raises(EngineError, match="nothing can be published at"):
        publish({path: folder})


def test_trees_within_trees(publish: Publish, folder: Path) -> None:
    for trees in ({"a": folder, "a/b": folder}, {"": folder, "a": folder}):
        with pytest.raises(EngineError, match="which is another tree"):
            publish(trees)


def test_a_folder_that_is_not_there(publish: Publish, folder: Path) -> None:
    with pytest.raises(EngineError, match="there is no folder"):
        publish({"stable": folder / "setup.sh"})


def test_what_is_no_file(publish: Publish, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(EngineError, match=r"tree/pipe"):
        publish()


def test_another_repositorys_store(publish: Publish, folder: Path, store: Path) -> None:
    publish()
    with pytest.raises(EngineError, match=f"the store of {FQRN}"):
        publisher.publish({"stable": folder}, store, "other.example.org", make_keys("other.example.org"))


# Trust


def test_private_keys_are_not_shown(keys: Keys) -> None:
    assert "PRIVATE" in keys.master
    assert "PRIVATE" in keys.repository
    assert "PRIVATE" not in repr(keys)


def test_another_master_key_does_not_open_it(publish: Publish, store: Path) -> None:
    publish()
    with pytest.raises(AssertionError, match="bare"):
        Reader(store, make_keys(FQRN).master_public).verified_root()


def test_new_keys_sign_everything_anew(publish: Publish, store: Path) -> None:
    first = publish()
    others = make_keys(FQRN)
    assert publish(signed=others) == first
    assert Reader(store, others.master_public).everything()


def test_a_whitelist_ends_and_is_renewed_in_time(publish: Publish, store: Path, keys: Keys, reader: Reader) -> None:
    publish(days=30)
    written = (store / ".cvmfswhitelist").read_bytes()
    now = dt.datetime.now(dt.UTC)
    reader.verified_root(at=now + dt.timedelta(days=29, hours=23))
    with pytest.raises(AssertionError):
        reader.verified_root(at=now + dt.timedelta(days=30, minutes=1))
    end = renew_whitelist(store, FQRN, keys, days=30)
    assert abs(end - now - dt.timedelta(days=30)) < dt.timedelta(minutes=1)
    assert (store / ".cvmfswhitelist").read_bytes() == written, "young enough"
    assert renew_whitelist(store, FQRN, keys, days=61) - now > dt.timedelta(days=60)
    reader.verified_root(at=now + dt.timedelta(days=60))
    assert renew_whitelist(store, FQRN, keys, days=2) - now < dt.timedelta(days=3), "fewer days count at once"


# Old revisions


def test_only_what_kept_revisions_need_is_kept(
    publish: Publish, folder: Path, store: Path, reader: Reader, keys: Keys
) -> None:
    contents: dict[int, Found] = {}
    roots: dict[int, str] = {}
    for number in range(1, 5):
        (folder / "big").write_bytes(os.urandom(3 * CHUNK))
        (folder / "lib/.cvmfscatalog").touch()
        (folder / "lib/one.py").write_text(f"one = {number}\n")
        roots[number] = publish().root_hash
        contents[number] = reader.everything()
    size = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    freed = keep_newest(store, keys, 2)
    assert set(reader.past()) == {3, 4}
    assert {number: reader.everything(roots[number]) for number in (3, 4)} == {3: contents[3], 4: contents[4]}
    for number in (1, 2):
        assert not Objects(store).has(roots[number], Kind.CATALOG)
    left = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
    assert freed > 6 * CHUNK
    assert abs(size - left - freed) < 2000, "but for the shorter history"
    assert keep_newest(store, keys, 2) == 0
    assert publish().revision == 4
    assert publish({"stable": folder, "more": folder}).revision == 5
