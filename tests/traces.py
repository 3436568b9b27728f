"""What tests leave on this computer, looked at with the computer's own tools.

Taken before the first test and after the last one, the two must be equal. Nothing here asks cygnet itself, which would
not see what it forgot.
"""

import json
import re
import subprocess
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_OURS = re.compile(r"\bcyg|blackhole 10\.24[01]\.|kubepods|nspawn|flannel|\bcni|testcloud")
_COMMANDS = {
    "route": ["ip", "route", "show", "table", "all"],
    "rule": ["ip", "rule", "show"],
    "nft": ["nft", "list", "tables"],
}
_STATE = Path("/var/lib/cygnet")
_FOLDERS = ("/run/netns", "/run/systemd/nspawn", "/tmp", "/var/lib")  # noqa: S108 - looked at, not written to
_SYSCTLS = ("fs.inotify.max_user_instances", "vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops")

_STACK_OF_TESTS = r"test(-[0-9a-f]{4})?"
_OF_TESTS = re.compile(rf"cygnet[-/]{_STACK_OF_TESTS}(?=-control-plane-|-worker-|[/\s]|$)|testcloud")


@dataclass(frozen=True)
class Traces:
    """What is on this computer.

    Attributes:
        lines: One for each thing of ours, such as "rule 32765: from all iif cygnet1 ...".
        has_others: Whether somebody else's stacks are there, which change while tests run.
    """

    lines: frozenset[str]
    has_others: bool

    @classmethod
    def now(cls) -> "Traces":
        """What is there now."""
        links = {link["ifname"]: link.get("ifalias", "") for link in _shown("ip", "-json", "link", "show")}
        stacks = [alias.removeprefix("cygnet-") for alias in links.values() if alias.startswith("cygnet-")]
        named = (f"link {name} {alias}".strip() for name, alias in links.items() if _OURS.search(name))
        found = (named, _mounts(), _loops(), _network(), _folders(), _cgroups(), _processes(), _sysctls())
        return cls(
            frozenset(line for lines in found for line in lines),
            any(not re.fullmatch(_STACK_OF_TESTS, stack) for stack in stacks),
        )

    def changes(self, after: "Traces") -> list[str]:
        """What is there afterwards and was not before, and the other way round.

        What a killed run left of its stacks is no loss. Beside others' stacks only what carries a name of the tests'
        own can be told from what is theirs.
        """
        left = set(after.lines - self.lines)
        gone = {line for line in self.lines - after.lines if not _OF_TESTS.search(line)}
        if self.has_others or after.has_others:
            left, gone = {line for line in left if _OF_TESTS.search(line)}, set()
        return [*(f"left on this computer: {line}" for line in sorted(left)),
                *(f"gone from this computer: {line}" for line in sorted(gone))]  # fmt: skip


class Untouched:
    """A plugin: whoever ran tests on machines finds this computer as it was before, or is told what is not."""

    def __init__(self) -> None:
        self._before = Traces.now()
        self._on_machines = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._on_machines |= report.nodeid.startswith("tests/") and not report.nodeid.startswith("tests/unit/")

    @pytest.hookimpl(wrapper=True, trylast=True)  # after all fixtures and workers, before the summary
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        yield
        finished = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if finished and self._on_machines and (changes := self._before.changes(Traces.now())):
            report = pytest.TestReport(
                nodeid="this computer", location=("", None, "this computer"), keywords={}, outcome="failed",
                longrepr="\n".join(changes), when="teardown",
            )  # fmt: skip
            session.config.hook.pytest_runtest_logreport(report=report)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _shown(*command: str) -> list[dict[str, str]]:
    shown: list[dict[str, str]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return shown


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if _OURS.search(point):
            yield f"mount {point}"


def _loops() -> Iterator[str]:
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        yield f"loop device {file.parts[3]} {file.read_text().strip()}"


def _network() -> Iterator[str]:
    for kind, command in _COMMANDS.items():
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            if _OURS.search(line):
                yield f"{kind} {line}"


def _folders() -> Iterator[str]:
    for folder in map(Path, _FOLDERS):
        yield from (f"folder {entry}" for entry in folder.glob("*") if _OURS.search(entry.name))
    yield from (f"folder {entry}" for entry in _STATE.glob("*"))


def _cgroups() -> Iterator[str]:
    for folder in Path("/sys/fs/cgroup").glob("*/*"):
        if _OURS.search(folder.name):
            yield f"cgroup {folder}"


def _processes() -> Iterator[str]:
    """Processes in a cgroup of machines, or with a path of them in their command line."""
    machine = re.compile(r"cygnet-\S+-\d|testcloud-server-\S+")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            inside = machine.search((folder / "cgroup").read_text())
        except OSError:  # it ended just now
            continue
        # One without a command has ended, and its parent has not looked yet.
        if command and (inside or "/var/lib/cygnet/" in command or "/var/lib/testcloud/" in command):
            yield f"process {folder.name} {inside[0] if inside else ''} {command[:80]}"


def _sysctls() -> Iterator[str]:
    for name in _SYSCTLS:
        yield f"sysctl {name} = {Path('/proc/sys', *name.split('.')).read_text().strip()}"
