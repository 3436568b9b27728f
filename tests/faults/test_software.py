"""A new revision of a release while people work: who has the former one goes on with all of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.cvmfs import CvmfsConfig
from operations.stack import PROJECT
from software.releases import RELEASES
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

# A small package of which the two releases have different versions.
PACKAGE = "vector"
WHICH = f"import os, {PACKAGE} as it; print(it.__version__, it.__file__, os.environ['CYGNET_VIEW'])"


@pytest.fixture
def another(stack: LiveStack, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Brings the stack up from a checkout whose `stable` has another version of PACKAGE, which is returned.

    Afterwards the stack is as before, and nothing of that is on this computer.
    """
    checkout = tmp_path / "checkout"
    kept = shutil.ignore_patterns(".venv", ".git", "*_cache", "__pycache__", "docs", "tests")
    shutil.copytree(PROJECT, checkout, ignore=kept, symlinks=True)
    (checkout / ".venv").symlink_to(Path(sys.prefix))
    lock = checkout / RELEASES["stable"].lock.relative_to(PROJECT)
    lock.write_text(lock.read_text().replace(pinned("stable"), pinned("bleeding")))
    find = "from software.releases import find; print(find('stable').view)"
    view = Path(run(checkout, "-c", find).strip())
    assert view.name != RELEASES["stable"].view.name
    try:
        yield lambda: run(checkout, "-m", "operations", "up", stack.name) and version(pinned("bleeding"))
    finally:
        shutil.rmtree(view, ignore_errors=True)
        run(PROJECT, "-m", "operations", "up", stack.name)


@pytest.mark.nightly
@pytest.mark.timeout(900, func_only=True)
def test_a_session_goes_on_with_its_revision_and_a_new_one_has_the_newest(
    stack: LiveStack,
    started: Callable[[str], Visitor],
    another: Callable[[], str],
    record_property: Callable[[str, object], None],
) -> None:
    first = started("physicist")
    kernel = first.kernel()
    view = kernel.run("import os; print(os.environ['CYGNET_VIEW'])").strip()
    kernel.close()  # a server ends connections that answer nothing for a minute or two
    (identity,) = first.kernels()
    link = f"/cvmfs/{stack.parts['software']['repository']}/stable"
    assert view.startswith(f"{link}-")
    machines = [stack.host(name) for name in stack.machines]
    watch = f'while [ "$(readlink -f {link})" = {view} ]; do sleep 0.2; done; date +%s'
    with ThreadPoolExecutor() as pool:
        seen = [pool.submit(machine.check_output, "timeout 600 sh -c %s", watch) for machine in machines]
        newest = another()
        arrived = machines[0].check_output(
            f"stat --format=%Z /var/lib/cygnet-software{link.rpartition('/')[0]}/.cvmfspublished"
        )
        delays = [int(one.result()) - int(arrived) for one in seen]
    record_property("seconds_until_seen", delays)
    print(f"seconds until the new revision was seen: {delays}")
    assert max(delays) <= CvmfsConfig().poll_seconds + 1

    kernel = first.kernel(identity)
    for found in (kernel.run(WHICH), first.run(WHICH)):
        assert found.split() == [
            version(pinned("stable")),
            f"{view}/lib/python3.13/site-packages/vector/__init__.py",
            view,
        ]
    second = started("neighbour")
    told, file, resolved = second.run(WHICH).split()
    assert (told, resolved != view) == (newest, True)
    assert file.startswith(f"{resolved}/")
    kernel.close()


def pinned(release: str) -> str:
    """What the lock of a release says of PACKAGE."""
    lines = iter(RELEASES[release].lock.read_text().splitlines(keepends=True))
    begin = next(line for line in lines if line.startswith(f"{PACKAGE}=="))
    hashes = []
    for line in lines:
        hashes.append(line)
        if not line.endswith("\\\n"):
            return begin + "".join(hashes)
    raise AssertionError(f"{release} has no {PACKAGE}")


def version(pin: str) -> str:
    """The version in that."""
    return pin.split("==")[1].split(maxsplit=1)[0]


def run(checkout: Path, *arguments: str) -> str:
    """What our programs say, as they are in a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
