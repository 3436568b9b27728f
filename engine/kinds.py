"""The kinds of recipe: commands of Go modules, programs of Rust crates, of one C file, of C++ on Debian's libraries.

A recipe is data. Its key is the SHA-256 of all that decides what comes out: version, recipe, locks, sources and the
kind of processor. It does not contain the compiler's version, which the manifest names.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from engine import cargo, golang
from engine.cache import KEY_LENGTH, Entry
from engine.golang import Take
from engine.process import Runner
from engine.versions import VERSIONS

HERE = Path(__file__).parent
_LATE = "-Wl,--export-dynamic -Wl,--unresolved-symbols=ignore-in-object-files"
_NOT_DECIDING = (
    "asks",
    "comes_with",
    "module",
    "on_demand",
    "version_key",
)  # fields that change nothing in what a recipe makes


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """How one tool comes about.

    `binaries` are the files that it gives. `asks` says of some what makes them state their version: a tool is taken
    from PATH when all its binaries are there and these state the right one. `comes_with` names another tool whose
    official installation gets this one by itself. One that is `on_demand` is obtained only where it is named: by a
    test, by a benchmark, or by a stack that needs what most do not.
    """

    tool: str
    binaries: tuple[str, ...]
    version_key: str = ""
    asks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    comes_with: str = ""
    on_demand: bool = False

    @property
    def version(self) -> str:
        """The pinned version, without a leading v."""
        return VERSIONS[self.version_key or self.tool.replace("-", "_")]

    @property
    def entry(self) -> Entry:
        """Its place in the store."""
        return Entry(self.tool, self.version, self.key)

    @property
    def key(self) -> str:
        """Stands for all that decides what comes out."""
        inputs = {
            "kind": type(self).__name__,
            "recipe": self._deciding(),
            "command": self.command,
            "version": self.version,
            "processor": platform.machine(),
            "sources": {str(file.relative_to(HERE)): file.read_text(encoding="utf-8") for file in self.sources()},
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]

    def _deciding(self) -> dict[str, Any]:
        """The fields that decide. Defaults are left out: a field that is added leaves the keys of others alone."""
        values, defaults = asdict(self), {field.name: field.default for field in fields(self)}
        names = (name for name in values if name not in _NOT_DECIDING)
        return {name: values[name] for name in names if values[name] and values[name] != defaults[name]}

    @abstractmethod
    def sources(self) -> Iterator[Path]:
        """The files of ours that go into it."""

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """What is run to make it, without the names of folders and files."""

    @abstractmethod
    def build(self, folder: Path, run: Runner) -> None:
        """Makes the binaries in `folder`/bin. Raises BuildFailed."""


@dataclass(frozen=True, kw_only=True)
class GoBuild(Recipe):
    """Commands compiled from Go modules, locked by go.mod and go.sum in engine/go/<tool>.

    `package` is "tool" for the commands that go.mod lists as tools, "." for a main package of ours. `module` is the one
    whose version in go.mod is the tool's own. `nested` are folders with a go.mod of their own, for commands that need
    other versions of the same modules. `called` says what Go calls a binary that has another name here; `stamps` are
    values of variables, in which {version}, {major}, {minor} are filled in; `takes` are put into the folder first.
    One `with_c` loads libraries of C while it runs, is linked to the computer's own, and so runs where the same release
    of Debian runs; what these libraries have is looked for then.
    """

    module: str = ""
    package: str = "tool"
    nested: tuple[str, ...] = ()
    called: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    takes: tuple[Take, ...] = ()
    with_c: bool = False

    @property
    def folder(self) -> Path:
        """Our files: go.mod, go.sum and what is added to the modules."""
        return HERE / "go" / self.tool

    def sources(self) -> Iterator[Path]:
        """All of the folder but unit tests."""
        files = (file for file in self.folder.rglob("*") if file.is_file())
        return iter(sorted(file for file in files if not file.name.endswith("_test.go")))

    @property
    def command(self) -> list[str]:
        """`go build` with its flags."""
        major, minor, *_ = self.version.split(".")
        stamps = [
            f"-X {variable}={value.format(version=self.version, major=major, minor=minor)}"
            for variable, value in self.stamps.items()
        ]
        linking = [f"'-extldflags={_LATE}'"] if self.with_c else []
        flags = [*self._tag_flags, "-trimpath", "-ldflags", " ".join(["-s", "-w", *linking, *stamps])]
        return ["go", "build", *flags]

    @property
    def _tag_flags(self) -> list[str]:
        return ["-tags", ",".join(self.tags)] if self.tags else []

    def build(self, folder: Path, run: Runner) -> None:
        """Downloads what is imported, compiles, and renames what Go calls by another name."""
        source = folder / "src"
        for file in self.sources():
            _copy_below(file, self.folder, source)
        for take in self.takes:
            take.into(source, run)
        go, environment = golang.command(), golang.environment(with_c=self.with_c)
        compiling = [go, *self.command[1:], "-o", f"{folder}/bin/", self.package]
        # Downloads what the packages import and nothing else; `go mod download` would want every module of the graph.
        listing = [go, "list", "-deps", *self._tag_flags, self.package]
        for place in (source, *(source / name for name in self.nested)):
            run.output("download", listing, cwd=place, env=environment)
            run.run("compile", compiling, cwd=place, env=environment)
        for name, theirs in self.called.items():
            (folder / "bin" / theirs).rename(folder / "bin" / name)


@dataclass(frozen=True, kw_only=True)
class CargoBuild(Recipe):
    """Programs of our own Rust package in engine/rust/<tool>, whose crates are locked by crates.lock."""

    @property
    def folder(self) -> Path:
        """Our files: Cargo.toml, crates.lock and src."""
        return HERE / "rust" / self.tool

    def sources(self) -> Iterator[Path]:
        """What cargo reads."""
        yield from (self.folder / "Cargo.toml", self.folder / cargo.LOCK)
        yield from sorted((self.folder / "src").rglob("*.rs"))

    @property
    def command(self) -> list[str]:
        """`cargo build`, exactly as locked."""
        return ["cargo", "build", "--release", "--locked"]

    def build(self, folder: Path, run: Runner) -> None:
        """Locks, downloads and compiles; the programs are those that Cargo.toml names."""
        source = folder / self.tool
        for file in self.sources():
            _copy_below(file, self.folder, source)
        cargo.restore(source, run)
        run.run("compile", [cargo.command(), *self.command[1:]], cwd=source, env=cargo.environment(folder))
        (folder / "bin").mkdir()
        for name in self.binaries:
            (folder / "target" / "release" / name).rename(folder / "bin" / name)


@dataclass(frozen=True, kw_only=True)
class CBuild(Recipe):
    """One static binary from one C file, engine/c/<tool>.c."""

    def sources(self) -> Iterator[Path]:
        """The C file."""
        yield HERE / "c" / f"{self.tool}.c"

    @property
    def command(self) -> list[str]:
        """The compiler's command, without the C file."""
        return ["gcc", "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror", "-o", f"bin/{self.tool}"]

    def build(self, folder: Path, run: Runner) -> None:
        """Compiles."""
        (folder / "bin").mkdir()
        run.run("compile", [*self.command, *map(str, self.sources())], cwd=folder)


@dataclass(frozen=True, kw_only=True)
class CxxBuild(Recipe):
    """One binary from our own C++ in engine/cpp/<tool>, linked to libraries of the computer's Debian.

    So it runs where the same release of Debian runs. `libraries` are what the linker calls them, `includes` the folders
    of their headers, whose warnings are not ours.
    """

    libraries: tuple[str, ...]
    includes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Our files."""
        return HERE / "cpp" / self.tool

    def sources(self) -> Iterator[Path]:
        """What the compiler reads."""
        return iter(sorted(file for file in self.folder.iterdir() if file.suffix in {".cpp", ".h"}))

    @property
    def command(self) -> list[str]:
        """The compiler's command, without our files."""
        warnings = ["-Wall", "-Wextra", "-Werror", *(f"-isystem{folder}" for folder in self.includes)]
        # As Debian compiles its own programs: what is read from a network is no place for a bug that can be used.
        hardened = ["-D_FORTIFY_SOURCE=2", "-fstack-protector-strong", "-fPIE", "-pie", "-Wl,-z,relro,-z,now"]
        define = f'-DVERSION="{self.version}"'
        return ["g++", "-std=c++20", "-O2", "-s", define, *warnings, *hardened, "-o", f"bin/{self.tool}"]

    def build(self, folder: Path, run: Runner) -> None:
        """Compiles and links."""
        (folder / "bin").mkdir()
        files = [str(file) for file in self.sources() if file.suffix == ".cpp"]
        run.run("compile", [*self.command, *files, *(f"-l{name}" for name in self.libraries)], cwd=folder)


def _copy_below(file: Path, old_root: Path, new_root: Path) -> None:
    target = new_root / file.relative_to(old_root)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
