"""R and Octave: what is taken of Debian, that it is what was promised, and that programs find it wherever it is."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from engine.errors import EngineError
from images import catalogue
from software import languages
from software.releases import RELEASES

FOLDER = languages.FOLDER
R = "usr/lib/R"
PRINT = "usr/share/octave/9/m/plot/util/private/__gnuplot_print__.m"


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """What a container gives, with programs that say what they were given."""
    says = '#!/bin/sh\necho "$0 $* | ${RHOME:-}${OCTAVE_HOME:-}${GNUHELP:-}${PERL5LIB:-} | ${LD_LIBRARY_PATH:-}"\n'
    files = {
        f"{R}/bin/R": "#!/bin/bash\nR_HOME_DIR=/usr/lib/R\nR_HOME=$R_HOME_DIR\nR_SHARE_DIR=/usr/share/R/share\n"
        'R_INCLUDE_DIR=/usr/share/R/include\nR_DOC_DIR=/usr/share/R/doc\n. "$R_HOME/etc/ldpaths"\n'
        "echo $R_HOME $R_SHARE_DIR $R_INCLUDE_DIR $R_DOC_DIR $LD_LIBRARY_PATH\n",
        f"{R}/bin/Rscript": says,
        f"{R}/bin/exec/R": says,
        f"{R}/etc/Rprofile.site": "options(digits = 7)\n",
        f"{R}/etc/ldpaths": "LD_LIBRARY_PATH=/usr/lib\n",
        **{f"{R}/site-library/IRkernel/kernelspec/{name}": name for name in ("kernel.js", "logo-64x64.png")},
        f"{R}/site-library/IRkernel/kernelspec/logo-svg.svg": "",
        "usr/lib/x86/octave/9/oct/x86/PKG_ADD": 'autoload ("fltk")\nautoload ("bzip2")\nif fltk endif\n',
        PRINT: "\nfunction opts = __gnuplot_print__ (opts)\n\n  x = 1;\n",
        **{f"usr/bin/{name}": says for name in ("octave-cli", "gnuplot-nox", "texi2any")},
        "packages": "".join(f"{name} {version}.1-2\n" for name, version in languages.packages().items()),
    }
    for path, text in files.items():
        file = tmp_path / "taken" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    return tmp_path / "taken"


@pytest.fixture
def view(taken: Path, tmp_path: Path) -> Path:
    """A view with it, at a place with a blank."""
    languages.relocate(taken)
    made = tmp_path / "view of" / "stable-0123456789ab"
    (made / "share/jupyter/kernels/ir").mkdir(parents=True)
    (made / "share/jupyter/kernels/octave/images").mkdir(parents=True)
    (made / "share/jupyter/kernels/octave/images/logo-64x64.png").write_text("octave")
    languages.add(taken, made)
    return made


def said(program: Path, *arguments: str) -> str:
    """What a program says, in an environment with nothing of anybody's."""
    argv: list[str | Path] = [program, *arguments]
    return subprocess.run(argv, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True).stdout


def test_a_key_is_that_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(FOLDER, tmp_path / "debian")
    release = RELEASES["stable"].key
    first = languages.key()
    monkeypatch.setattr(languages, "FOLDER", tmp_path / "debian")
    assert (languages.key(), RELEASES["stable"].key) == (first, release)
    (tmp_path / "debian/tree/run").chmod(0o644)
    second = languages.key()
    (tmp_path / "debian/programs").write_text("usr/lib/R\n")
    third = languages.key()
    monkeypatch.setattr(catalogue, "fingerprint", lambda _: "another")
    assert len({first, second, third, languages.key()}) == 4
    assert RELEASES["stable"].key != release


def test_another_version_than_promised_is_refused(taken: Path) -> None:
    languages.check(taken)
    packages = (taken / "packages").read_text()
    for other in ("r-base-core 4.50.1-2", "r-base-core 14.5.1-2", "octave 9.5.0-1"):
        name = other.split()[0]
        lines = [other if line.startswith(f"{name} ") else line for line in packages.splitlines()]
        (taken / "packages").write_text("\n".join(lines))
        with pytest.raises(EngineError, match=f"Debian has {other}, not"):
            languages.check(taken)
    (taken / "packages").write_text(packages.replace("octave 9", "octave 1:9"))
    languages.check(taken)


def test_a_program_that_begins_otherwise_is_refused(taken: Path) -> None:
    (taken / R / "bin/R").write_text("R_HOME_DIR=/usr/lib64/R\n")
    with pytest.raises(EngineError, match="below /usr") as error:
        languages.relocate(taken)
    assert "0 times, not 1" in error.value.why


def test_r_finds_its_own_things_wherever_it_is(view: Path) -> None:
    debian = view / "debian"
    share = debian / "usr/share/R"
    said_by_r = said(view / "bin/R").strip()
    libraries = f"{debian}/{R}/lib:{debian}/lib"
    assert said_by_r == f"{debian}/{R} {share}/share {share}/include {share}/doc {libraries}"
    assert said(debian / R / "bin/R").strip() == said_by_r
    program = debian / "usr/bin/Rscript"
    for script in (view / "bin/Rscript", debian / R / "bin/Rscript"):
        assert said(script, "-e", "1").startswith(f"{program} -e 1 | {debian}/{R} |")


@pytest.mark.parametrize(
    ("name", "program", "told"),
    [
        ("octave", "octave-cli", "usr"),
        ("octave-cli", "octave-cli", "usr"),
        ("gnuplot", "gnuplot-nox", "usr/share/gnuplot/gnuplot-nox.gih"),
        ("makeinfo", "texi2any", "usr/share/perl5"),
    ],
)
def test_others_are_told_where_theirs_is(view: Path, name: str, program: str, told: str) -> None:
    debian = view / "debian"
    assert said(view / "bin" / name, "--eval", "1") == (
        f"{debian}/usr/bin/{program} --eval 1 | {debian}/{told} | {debian}/lib\n"
    )


def test_what_starts_programs_starts_no_others(view: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        said(view / "debian/run")
    assert error.value.returncode == 127
    assert error.value.stderr == "run is no program of this release\n"


def test_octave_neither_looks_for_windows_nor_for_ghostscript(view: Path) -> None:
    (loaded,) = (view / "debian").glob("usr/lib/*/octave/*/oct/*/PKG_ADD")
    assert loaded.read_text() == 'autoload ("bzip2")\n'
    assert "{'pngcairo', 'pdfcairo'}" in (view / "debian" / PRINT).read_text().splitlines()[2]


def test_r_keeps_the_settings_that_it_came_with(view: Path) -> None:
    profile = (view / "debian" / R / "etc/Rprofile.site").read_text()
    assert profile.startswith("options(digits = 7)\n")
    assert 'bitmapType = "cairo"' in profile


def test_a_view_needs_no_room_for_it(view: Path, taken: Path) -> None:
    for file in (file for file in taken.rglob("*") if file.is_file()):
        assert (view / "debian" / file.relative_to(taken)).samefile(file)
    for kernel, picture in {"ir": "logo-64x64.png", "octave": "octave"}.items():
        assert (view / "share/jupyter/kernels" / kernel / "logo-64x64.png").read_text() == picture
    for program in (view / "bin").iterdir():
        assert not program.readlink().is_absolute()


# What runs in the container, on this computer

SHELL = Path(os.path.realpath("/usr/bin/bash"))


def take(target: Path, patterns: str, before: str) -> subprocess.CompletedProcess[str]:
    """Takes what patterns name of this computer, which had the packages of `before`."""
    (target.parent / "programs").write_text(patterns)
    (target.parent / "before").write_text(before)
    argv = [FOLDER / "take.py", target.parent / "programs", target.parent / "before", target]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_a_program_is_taken_with_the_libraries_that_were_not_there_before(tmp_path: Path) -> None:
    target = tmp_path / "target"
    done = take(target, "# the shell\nusr/bin/bash\nusr/share/debianutils\n!usr/share/debianutils\n", "libc6 2\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert [file.name for file in (target / "lib").iterdir()] == ["libtinfo.so.6"]
    packages = [line.split()[0] for line in (target / "packages").read_text().splitlines()]
    assert packages == ["bash", "libtinfo6"]
    assert {file.name for file in (target / "copyright").iterdir()} == set(packages)
    assert (target / "usr/bin/bash").stat().st_mode & stat.S_IXUSR
    environment = {"LD_LIBRARY_PATH": str(target / "lib")}
    loaded = subprocess.check_output(["ldd", target / "usr/bin/bash"], env=environment, text=True)
    assert str(target / "lib/libtinfo.so.6") in loaded


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    done = take(tmp_path / "target", "usr/bin/no-such-program\n", "")
    assert done.returncode == 1
    assert done.stderr.startswith("usr/bin/no-such-program: there is no such file")


def test_the_packages_of_before_are_noted(tmp_path: Path) -> None:
    subprocess.run([FOLDER / "take.py", "before", tmp_path / "before"], check=True)
    assert "bash" in [line.split()[0] for line in (tmp_path / "before").read_text().splitlines()]
