#!/usr/bin/env python3
"""take.py before FILE, take.py PROGRAMS FILE TARGET: copies what was installed out of a Debian system, for elsewhere.

Run in a container: `before` notes which packages it has; then packages are installed; then all that PROGRAMS names (one
pattern below / a line, "!" before what is not wanted) is copied to TARGET, with its path. Libraries that these files
need, and that no package of before has, are in TARGET/lib by the name under which they are asked for. TARGET/packages
says of which packages and versions all this is, TARGET/copyright what may be done with it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path("/")


def main() -> None:
    """Does what the arguments say."""
    if sys.argv[1] == "before":
        Path(sys.argv[2]).write_text(installed())
        return
    programs, before, target = map(Path, sys.argv[1:])
    files = wanted(programs.read_text().splitlines())
    for file in files:
        copy(file, target / file.relative_to(ROOT))
    old = {line.split()[0] for line in before.read_text().splitlines()}
    needed = {name: file for name, file in libraries(files).items() if owner(file) not in old}
    for name, file in needed.items():
        copy(file.resolve(), target / "lib" / name)
    owners = {owner(file) for file in (*files, *needed.values())} - {""}
    lines = [line for line in installed().splitlines() if line.split()[0] in owners - old]
    (target / "packages").write_text("".join(f"{line}\n" for line in lines))
    for line in lines:
        name = line.split()[0]
        copy(ROOT / "usr/share/doc" / name / "copyright", target / "copyright" / name)


def installed() -> str:
    """All packages with their versions, a line each."""
    return said(["dpkg-query", "--show", "--showformat=${Package} ${Version}\n"])


def wanted(patterns: list[str]) -> list[Path]:
    """Files and links that the patterns name."""
    found: set[Path] = set()
    for pattern in filter(None, (line.partition("#")[0].strip() for line in patterns)):
        named = list(ROOT.glob(pattern.removeprefix("!")))
        if not named:
            sys.exit(f"{pattern}: there is no such file; see what this version of its package has instead")
        below = {file for path in named for file in (path, *path.rglob("*")) if file.is_symlink() or file.is_file()}
        found = found - below if pattern.startswith("!") else found | below
    return sorted(found)


def libraries(files: list[Path]) -> dict[str, Path]:
    """The libraries that the programs and libraries among the files need, by the name under which they ask."""
    binaries = [file for file in files if not file.is_symlink() and file.read_bytes()[:4] == b"\x7fELF"]
    # Those that R's own libraries ask for are not where the system looks.
    beside = ":".join(sorted({str(file.parent) for file in binaries if ".so" in file.name}))
    lines = said(["env", f"LD_LIBRARY_PATH={beside}", "ldd", *map(str, binaries)])
    if missing := sorted(set(re.findall(r"(\S+) => not found", lines))):
        sys.exit(f"nothing has these libraries: {' '.join(missing)}")
    needed = {name: Path(path) for name, path in re.findall(r"(\S+) => (/\S+)", lines)}
    return {name: file for name, file in needed.items() if file.resolve() not in files}


OWNERS: dict[str, str] = {}


def owner(file: Path) -> str:
    """The package that a file is of; "" for what was made while packages were installed."""
    if not OWNERS:
        for listed in Path("/var/lib/dpkg/info").glob("*.list"):
            package = listed.stem.partition(":")[0]
            OWNERS.update(dict.fromkeys(listed.read_text().splitlines(), package))
    file = file.resolve()
    return OWNERS.get(str(file)) or OWNERS.get(str(file).removeprefix("/usr"), "")


def copy(file: Path, place: Path) -> None:
    """Copies a file or link; what a link to elsewhere leads to, instead of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, place, follow_symlinks=not file.is_symlink() or file.readlink().is_absolute())


def said(argv: list[str]) -> str:
    """What a program says; ldd fails where a file needs nothing."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout


if __name__ == "__main__":
    main()
