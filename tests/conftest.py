"""Which stack live tests use, in which order and which lane tests run, and how long each may take.

Two workers of pytest-xdist run two lanes beside each other, because half of the time tests wait: all that needs the
live stack, and all else. Without workers there is one lane.
"""

import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from components.errors import CygnetError
from components.parts import PARTS
from engine.versions import VERSIONS
from operations.stack import Stack
from tests.live.stack import LiveStack
from tests.traces import Untouched

pytest_plugins = ["tests.live.people"]

TESTS = Path(__file__).parent

OWN_STACK = "test"
"""The name of the stack that live tests make for themselves."""

FLOORS = {
    "unit": 60,
    "machines": 600,
    "testcloud": 600,
    "roles": 900,
    "smoke": 60,
    "journeys": 240,
    "faults": 300,
    "managed": 300,
}
"""The folders in which tests are, in the order they run, with the seconds that one test may take."""

LIVE = ("smoke", "journeys", "faults")
"""The folders whose tests need the live stack."""

AT_LEAST = {"machines": 591, "testcloud": 88, "roles": 107, "smoke": 171, "journeys": 138, "faults": 41, "managed": 6}
"""How many tests there are in a folder: a file that is no longer collected would else go unnoticed."""

SHOWN_VERSIONS = ("pulumi", "kubernetes", "containerd", "caddy")

OUTPUTS = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cygnet")
    group.addoption("--stack", help="live tests use this stack, which is up; else they make one of their own")
    group.addoption("--keep", action="store_true", help=f"leave the tests' own stack ({OWN_STACK}) up at the end")
    group.addoption("--nightly", action="store_true", help="run what is marked nightly, too: it takes minutes")
    group.addoption("--pictures", type=Path, metavar="DIR", help="journeys keep pictures of the browser here")


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, _interrupt)  # so that what tests have made is removed then, too
    # A shell has its background commands ignore it, and whatever they start: programs whose ends are tested, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "nightly: takes minutes, and is left out without --nightly")
    if pictures := config.option.pictures:
        pictures.mkdir(parents=True, exist_ok=True)
    if name := config.option.stack:
        try:
            config.stash[OUTPUTS] = Stack(name).outputs()
        except CygnetError as error:
            raise pytest.UsageError(str(error)) from None
    elif not config.option.keep and not hasattr(config, "workerinput") and _is_for_machines(config):
        config.pluginmanager.register(Untouched())


def pytest_report_header(config: pytest.Config) -> list[str]:
    versions = ", ".join(f"{name} {VERSIONS[name]}" for name in SHOWN_VERSIONS)
    if outputs := config.stash.get(OUTPUTS, None):
        return [f"stack: {config.option.stack}, {outputs['url']} (pinned: {versions})", *part_lines(outputs)]
    return [f"stack: {OWN_STACK}, made when the first live test needs it (pinned: {versions})"]


def part_lines(outputs: dict[str, Any]) -> list[str]:
    """What each part is, and where."""
    return [f"  {part}: {what}" for part, what in outputs["parts"].items()]


class Lanes(LoadScopeScheduling):
    """Gives a worker all tests that need the live stack, in their order, and another one all others."""

    def _split_scope(self, nodeid: str) -> str:
        return "live" if nodeid.startswith(tuple(f"tests/{floor}/" for floor in LIVE)) else "other"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    return Lanes(config, log)


class TooFew(pytest.Item):
    """Fails, with its name as the reason: a worker's own error would not be told."""

    def runtest(self) -> None:
        pytest.fail(self.name, pytrace=False)


@pytest.hookimpl(tryfirst=True)  # before tests are deselected, which is nobody's mistake
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    found = Counter(_floor(item) for item in items)
    for floor, least in AT_LEAST.items():
        if found[floor] < least and any((TESTS / floor).is_relative_to(path) for path in _asked(config)):
            few = f"tests/{floor} has {found[floor]} tests, expected {least} or more"
            items.append(TooFew.from_parent(session, name=few))
    if not config.option.nightly and (late := [item for item in items if item.get_closest_marker("nightly")]):
        config.hook.pytest_deselected(items=late)
        items[:] = [item for item in items if item not in late]
    items.sort(key=_order)
    for item in items:
        if not item.get_closest_marker("timeout"):
            # What a test needs first, such as a whole stack, has times of its own.
            item.add_marker(pytest.mark.timeout(FLOORS.get(_floor(item), 60), func_only=True))


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """The live stack: that of `--stack`, or one of our own."""
    folder = tmp_path_factory.mktemp("stack")
    if given := pytestconfig.stash.get(OUTPUTS, None):
        yield LiveStack.of(pytestconfig.option.stack, given, folder)
        return
    from tests.live.own import CONFIG, own_stack  # noqa: PLC0415 - needed only where something is brought up

    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    made = own_stack(OWN_STACK, CONFIG, keep=pytestconfig.option.keep)
    with capture.global_and_fixture_disabled():  # it takes minutes, and says what it does
        try:
            outputs = made.__enter__()
        except CygnetError as error:
            pytest.fail(str(error), pytrace=False)  # it is said again for each test that would have used it
        print(f"stack: {OWN_STACK}, {outputs['url']}", *part_lines(outputs), sep="\n", file=sys.stderr)
    try:
        yield LiveStack.of(OWN_STACK, outputs, folder)
    finally:
        made.__exit__(None, None, None)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _asked(config: pytest.Config) -> list[Path]:
    """The files and folders that are to be tested."""
    return [Path(argument.split("::")[0]).resolve() for argument in config.args]


def _is_for_machines(config: pytest.Config) -> bool:
    """Whether there is more to test than what needs no machine."""
    folders = [TESTS / floor for floor in AT_LEAST]
    return any(
        path.is_relative_to(folder) or folder.is_relative_to(path) for folder in folders for path in _asked(config)
    )


def _floor(item: pytest.Item) -> str:
    path = item.path
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else ""


def _order(item: pytest.Item) -> tuple[int, int]:
    """Floors from the bottom up; on a floor the parts in the order in which they stand on each other."""
    floors, parts = list(FLOORS), list(PARTS)
    floor, part = _floor(item), item.path.stem.removeprefix("test_")
    return (
        floors.index(floor) if floor in floors else -1,
        parts.index(part) if part in parts else len(parts),
    )
