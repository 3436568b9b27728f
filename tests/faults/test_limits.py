"""A session forks, writes and takes memory without end: it reads why it cannot, and its neighbour does not notice."""

import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.live.kernel import Kernel, KernelError
from tests.live.own import CONFIG
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

LIMITS = CONFIG["cygnet:hub"]
WORK = "open('work.txt', 'w').write('x' * 1000000); print(sum(range(1000000)))"
DONE = "499999500000\n"
WORKS_WITHIN_SECONDS = 20
"""For a cell of the neighbour's, on a computer that has two cores for all of it; alone it takes less than one."""

FORK = "import subprocess; subprocess.Popen(['bash', '-c', ':(){ :|:& };:'])"
WRITE = """
with open('/tmp/big', 'wb') as file:
    for _ in range(1300):
        file.write(bytes(1 << 20))
"""
TAKE = "taken = bytearray(b'x') * (3 * 2**30)"


@pytest.fixture
def machine(stack: LiveStack) -> Iterator[str]:
    """The one that takes sessions: all are neighbours."""
    first, *others = stack.group("worker")
    with stack.closed(*others):
        yield first


@pytest.fixture
def neighbour(machine: str, started: Callable[[str], Visitor]) -> Kernel:
    """Works beside whoever does harm, on the same machine."""
    assert machine
    kernel = started("neighbour").kernel()
    assert kernel.run(WORK) == DONE
    return kernel


def works(stack: LiveStack, machine: str, neighbour: Kernel) -> float:
    """The neighbour does, and Kubernetes is content with the machine; returns how many seconds a cell took."""
    began = time.monotonic()
    assert neighbour.run(WORK, seconds=WORKS_WITHIN_SECONDS) == DONE
    (node,) = (node for node in stack.items("nodes") if node["metadata"]["name"] == machine)
    bad = {"MemoryPressure": "True", "DiskPressure": "True", "PIDPressure": "True", "Ready": "False"}
    assert [one["type"] for one in node["status"]["conditions"] if bad.get(one["type"]) == one["status"]] == []
    return time.monotonic() - began


def test_a_fork_bomb_hurts_nobody_else(
    stack: LiveStack, machine: str, neighbour: Kernel, started: Callable[[str], Visitor]
) -> None:
    physicist = started("physicist")
    kernel = physicist.kernel()
    uid = kernel.run("import os; print(os.getuid())").strip()
    kernel.begin(FORK)
    host = stack.host(machine)

    def processes() -> int:
        return int(host.run(f"ps --no-headers -L -u {uid} | wc -l").stdout)

    until(lambda: processes() > LIMITS["processes"] // 2, "it grows", seconds=30)
    took = [works(stack, machine, neighbour) for _ in range(5)]
    assert processes() <= LIMITS["processes"]
    physicist.stop()
    until(lambda: processes() == 0, "all of it has ended", seconds=60)
    print(f"a cell beside a fork bomb: {max(took):.1f} s at most")


def test_who_fills_the_disk_loses_the_session_and_reads_why(
    stack: LiveStack, machine: str, neighbour: Kernel, started: Callable[[str], Visitor]
) -> None:
    physicist = started("physicist")
    physicist.kernel().begin(WRITE)
    began = time.monotonic()
    took: list[float] = []

    def ended() -> bool:
        took.append(works(stack, machine, neighbour))
        return not physicist.server()

    until(ended, "the session has ended", seconds=120)
    after = time.monotonic() - began
    page = physicist.http.get(f"{physicist.url}/user/{physicist.name}/lab", timeout=30)
    assert f"Your session ended: it wrote more than {LIMITS['tmp_gib']} GiB to /tmp" in page.text
    print(f"ended {after:.0f} s after it began to write; a cell beside it: {max(took):.1f} s at most")


def test_who_takes_too_much_memory_loses_a_kernel_and_reads_why(
    stack: LiveStack,
    machine: str,
    neighbour: Kernel,
    visitor: Callable[[str], Visitor],
    person: Callable[[str], Person],
) -> None:
    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    kernel = visitor("physicist").kernel()  # of the session that the browser shows
    with pytest.raises(KernelError, match="the kernel died"):
        kernel.run(TAKE)
    notice = physicist.page.locator(".Toastify__toast").filter(has_text="A kernel or program of yours was ended at")
    expect(notice).to_be_visible(timeout=30_000)
    expect(notice).to_contain_text(f"it wanted more than the {LIMITS['memory_gib']} GiB of this session")
    physicist.picture("memory-ended")
    works(stack, machine, neighbour)
