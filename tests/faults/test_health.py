"""What sessions need hangs, dies or is refused: it is noticed, sessions are kept away and told, and it is repaired."""

import datetime as dt
import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from playwright.sync_api import expect
from testinfra.host import Host

from components.kubernetes import UNWELL_TAINT
from operations.stack import Stack
from software.keys import Keys
from software.sealed import whitelist
from tests.live.kernel import Kernel, KernelError
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.units import stopped
from tests.live.visitor import Visitor
from tests.live.waiting import until

NOTICED_SECONDS = 30
REPAIRED_SECONDS = 60
LISTED = "import os; print(bool(os.listdir(os.path.dirname(os.environ['CYGNET_VIEW']))))"
FILL = """
import os
block = os.urandom(1 << 20)
with open('big', 'wb') as file:
    for _ in range(960):
        file.write(block)
"""
HOME_LISTED = "import os; print(os.listdir(os.environ['HOME']) is not None)"


@pytest.fixture
def repository(stack: LiveStack) -> str:
    """The stack's own."""
    return str(stack.parts["software"]["repository"])


@pytest.fixture
def unit(repository: str) -> str:
    """Its client."""
    return f"swfs@{repository}.service"


@pytest.fixture
def workers(stack: LiveStack) -> list[Host]:
    return [stack.host(name) for name in stack.group("worker")]


def taint(stack: LiveStack, machine: str) -> str:
    """The value of the taint that keeps sessions away; empty when there is none."""
    (node,) = (node for node in stack.items("nodes") if node["metadata"]["name"] == machine)
    return next((one["value"] for one in node["spec"].get("taints", []) if one["key"] == UNWELL_TAINT), "")


def told(visitor: Visitor) -> list[str]:
    """The notices that the page of a session would show, by their ids."""
    answer = visitor.api("GET", f"/user/{visitor.name}/cygnet/notices")
    answer.raise_for_status()
    return [notice["id"] for notice in answer.json()]


def plain(secret: dict[str, str]) -> str:
    """A secret, as Pulumi exports it."""
    text: str = json.loads(secret["plaintext"])
    return text


def hang(host: Host, unit: str) -> None:
    """The client stays there and answers nobody."""
    host.check_output(f"systemctl kill --signal=STOP --kill-whom=main {unit}")


def journal(host: Host, since: float) -> str:
    """What the checker said from then on."""
    return str(host.check_output(f"journalctl --unit=cygnet-health --since=@{since:.0f} --output=cat"))


@contextmanager
def unmountable(hosts: list[Host], repository: str) -> Iterator[None]:
    """The client ends, and cannot start again: its settings are away."""
    file = f"/etc/cygnet/cvmfs/{repository}.json"
    for host in hosts:
        host.check_output(f"mv {file} {file}.away && systemctl kill --signal=KILL swfs@{repository}.service")
    try:
        yield
    finally:
        for host in hosts:
            host.check_output(f"mv {file}.away {file}")


@pytest.fixture
def home_unit(stack: LiveStack) -> str:
    """The client of homes."""
    if not any(mount["path"] == "/eos/user" for mount in stack.parts["health"]["mounts"]):
        pytest.skip(f"the stack '{stack.name}' has no homes below /eos")
    return "xrdmount@user.service"


@dataclass(frozen=True)
class Hang:
    """A client that hangs under a session, what the taint calls it, and the code that needs it there."""

    visitor: Visitor
    unit: str
    cause: str
    code: str

    def is_survived(self, stack: LiveStack) -> str:
        """Goes through it; returns how many seconds each step was after the begin."""
        machine = stack.session_machine(self.visitor.name)
        host, kernel = stack.host(machine), self.visitor.kernel()
        assert kernel.run(self.code) == "True\n"
        assert told(self.visitor) == []

        hang(host, self.unit)
        began = time.time()
        until(lambda: taint(stack, machine) == self.cause, "the taint is set", seconds=NOTICED_SECONDS)
        noticed = time.time() - began
        if self.cause == "cvmfs":  # a session without its home answers nobody
            assert told(self.visitor) == ["software"]
        until(lambda: not taint(stack, machine), "the taint is lifted", seconds=REPAIRED_SECONDS)
        lifted = time.time() - began
        until(lambda: lists(kernel, self.code), "the session sees it", seconds=30)
        seen = time.time() - began
        until(lambda: told(self.visitor) == [], "the notice is gone", seconds=15)
        kernel.close()
        assert journal(host, began - 1).count("its client was killed") == 1
        assert lifted < REPAIRED_SECONDS
        return f"{self.unit} hung: noticed after {noticed:.1f} s, lifted after {lifted:.1f} s, seen after {seen:.1f} s"


def test_a_hung_client_is_noticed_and_repaired_and_a_running_session_goes_on(
    stack: LiveStack, repository: str, unit: str, home_unit: str, started: Callable[[str], Visitor]
) -> None:
    """One of software on one machine, and meanwhile one of homes on another."""
    began = time.time()
    physicist = started("physicist")
    machine = stack.session_machine(physicist.name)
    with stack.closed(machine):
        neighbour = started("neighbour")
    hangs = [Hang(physicist, unit, "cvmfs", LISTED), Hang(neighbour, home_unit, "eos", HOME_LISTED)]
    with ThreadPoolExecutor() as pool:
        print("", *pool.map(lambda one: one.is_survived(stack), hangs), sep="\n")
    assert f"/cvmfs/{repository} does not answer, since " in journal(stack.host(machine), began)


def test_a_client_that_waits_for_the_server_of_homes_is_let_be(
    stack: LiveStack, home_unit: str, started: Callable[[str], Visitor]
) -> None:
    physicist = started("physicist")
    machine = stack.session_machine(physicist.name)
    host, kernel = stack.host(machine), physicist.kernel()
    first = stack.host(stack.group("control_plane")[0])
    kernel.run("file = open('open.txt', 'w'); file.write('before '); file.flush()")
    client = host.check_output(f"systemctl show {home_unit} --property=MainPID")
    began = time.time()
    with stopped([first], "xrootd@cygnet"):
        until(lambda: taint(stack, machine) == "eos", "sessions are kept away", seconds=NOTICED_SECONDS)
        until(lambda: "is let be" in journal(host, began - 1), "the server is found to be away", seconds=30)
    until(lambda: not taint(stack, machine), "sessions may come again", seconds=90)
    assert host.check_output(f"systemctl show {home_unit} --property=MainPID") == client, "what is open stays open"
    kernel.run("file.write('after'); file.close()", seconds=90)
    assert kernel.run("print(open('open.txt').read())") == "before after\n"
    kernel.close()


def test_a_home_that_is_almost_full_is_told(
    stack: LiveStack, home_unit: str, started: Callable[[str], Visitor]
) -> None:
    assert home_unit
    physicist = started("physicist")
    server = stack.host(stack.group("control_plane")[0])
    # The server counts twice a minute; that need not be waited for.
    count = "sync --file-system /srv/eos && systemctl start cygnet-homes"
    assert told(physicist) == []
    try:
        physicist.run(FILL, seconds=120)
        server.check_output(count)
        until(lambda: told(physicist) == ["home"], "the notice is there", seconds=60)
    finally:
        physicist.run("import os; os.remove('big')")
    server.check_output(count)
    until(lambda: told(physicist) == [], "the notice is gone", seconds=60)


def lists(kernel: Kernel, code: str = LISTED) -> bool:
    """Whether a running kernel can list the repository, or its home."""
    try:
        return kernel.run(code) == "True\n"
    except KernelError:  # it asked while there was none
        return False


def test_without_its_server_and_its_proxy_cached_software_goes_on(stack: LiveStack, workers: list[Host]) -> None:
    """The repository answers, out of the machine's cache: machines stay open for sessions."""
    first = stack.host(stack.group("control_plane")[0])
    physicist = Visitor(stack, "physicist")
    began = time.time()
    try:
        with stopped([first], "nginx"):
            physicist.start(release="stable")
            assert physicist.run(LISTED) == "True\n"
            with stopped([first], "squid"):
                time.sleep(NOTICED_SECONDS)
                assert [name for name in stack.group("worker") if taint(stack, name)] == []
                assert physicist.run(LISTED) == "True\n"
    finally:
        physicist.stop()
    assert [journal(host, began) for host in workers] == [""] * len(workers)


@dataclass(frozen=True)
class Lie:
    """What a repository's server says that is not to be believed, and what a client says of that."""

    file: str
    content: bytes
    words: str


@contextmanager
def told_lie(stack: LiveStack, repository: str, lie: Lie) -> Iterator[None]:
    """The repository's server says it for a while."""
    first = stack.host(stack.group("control_plane")[0])
    file, away = f"/var/lib/cygnet-software/cvmfs/{repository}/{lie.file}", f"/root/{lie.file}"
    first.check_output(f"cp --preserve {file} {away}")
    try:
        first.check_output(f"echo {b64encode(lie.content).decode()} | base64 --decode > {file}")
        yield
    finally:
        first.check_output(f"cp --preserve {away} {file} && rm {away}")


@contextmanager
def forgetful(host: Host, repository: str) -> Iterator[None]:
    """The machine's client is down, and what it had seen and cached is away; afterwards it has all again."""
    unit, cache = f"swfs@{repository}.service", f"/var/lib/cygnet-cvmfs/{repository}"
    host.check_output(f"systemctl stop {unit} cygnet-health && mv {cache} {cache}.away && mkdir -m 700 {cache}")
    try:
        yield
    finally:
        host.check_output(f"rm -r {cache} && mv {cache}.away {cache} && systemctl restart {unit} cygnet-health")


@pytest.fixture
def forged(stack: LiveStack, repository: str) -> Lie:
    """Somebody raised the number of the revision."""
    first = stack.host(stack.group("control_plane")[0])
    true = first.file(f"/var/lib/cygnet-software/cvmfs/{repository}/.cvmfspublished").content
    return Lie(".cvmfspublished", re.sub(rb"(?m)^S\d+$", b"S99999", true), "the manifest was altered")


@pytest.fixture
def expired(stack: LiveStack, repository: str) -> Lie:
    """The publisher has not signed anew in time."""
    exported = json.loads(Stack(stack.name).pulumi("stack", "export", "--show-secrets", capture=True))
    kept = [one["outputs"] for one in exported["deployment"]["resources"] if one["type"].endswith("cygnet:Publication")]
    (outputs,) = (one for one in kept if one["repository"] == repository)
    keys = Keys(plain(outputs["master_key"]), plain(outputs["key"]), outputs["certificate"])
    now = dt.datetime.now(dt.UTC)
    content = whitelist(repository, keys, now - dt.timedelta(days=31), now - dt.timedelta(days=1))
    return Lie(".cvmfswhitelist", content, "the whitelist expired at")


def test_a_forged_revision_is_refused_with_words_and_the_last_good_one_stays(
    stack: LiveStack, workers: list[Host], repository: str, unit: str, forged: Lie
) -> None:
    with told_lie(stack, repository, forged):
        status = f"systemctl show {unit} --property=StatusText --value"
        until(lambda: forged.words in workers[0].check_output(status), "it is refused", seconds=90)
        assert workers[0].check_output(f"ls /cvmfs/{repository}")
        assert not taint(stack, stack.group("worker")[0])


@pytest.mark.parametrize("kind", ["forged", "expired"])
def test_a_machine_that_never_saw_the_true_one_does_not_mount_and_says_why(
    stack: LiveStack, workers: list[Host], repository: str, request: pytest.FixtureRequest, kind: str
) -> None:
    lie: Lie = request.getfixturevalue(kind)
    worker, machine = workers[0], stack.group("worker")[0]
    unit = f"swfs@{repository}.service"
    began = time.time()
    with forgetful(worker, repository), told_lie(stack, repository, lie):
        assert worker.run(f"systemctl start {unit}").rc != 0
        said = worker.check_output(f"journalctl --unit={unit} --since=@{began:.0f} --output=cat")
        assert lie.words in said, said
        worker.check_output("systemctl start cygnet-health")
        until(lambda: taint(stack, machine) == "cvmfs", "sessions are kept away", seconds=NOTICED_SECONDS)
        summary = worker.check_output("systemctl show cygnet-health --property=StatusText --value")
        assert f"/cvmfs/{repository} is not mounted, since" in summary
        assert workers[1].check_output(f"ls /cvmfs/{repository}"), "who saw the true one has it"
    until(lambda: not taint(stack, machine), "sessions may come again", seconds=REPAIRED_SECONDS)


def test_a_full_cache_disk_is_an_error_for_what_is_not_there_and_passes(
    stack: LiveStack, workers: list[Host], repository: str, unit: str
) -> None:
    worker, machine = workers[0], stack.group("worker")[0]
    cache, view = f"/var/lib/cygnet-cvmfs/{repository}", f"/cvmfs/{repository}/stable"
    read = f"find {view}/ -type f -size +1M -exec cat {{}} + | wc --bytes"
    worker.check_output(f"systemctl stop {unit} && mount -t tmpfs -o size=24m,mode=700 tmpfs {cache}")
    try:
        worker.check_output(f"systemctl start {unit}")
        assert "Input/output error" in worker.run(read).stderr
        assert "No space left on device" in worker.check_output(f"journalctl --unit={unit} --lines=50 --output=cat")
        assert worker.file(f"{view}/setup.sh").is_file
        time.sleep(NOTICED_SECONDS)
        assert not taint(stack, machine), "it answers, and what is in the cache can be used"
    finally:
        worker.check_output(f"systemctl stop {unit} && umount --lazy {cache} && systemctl start {unit}")
    assert worker.run(f"cat {view}/setup.sh").rc == 0


def test_who_finds_no_machine_is_told_why_and_starts_when_one_is_repaired(
    stack: LiveStack, workers: list[Host], repository: str
) -> None:
    neighbour = Visitor(stack, "neighbour")
    words = f"no answer from the software repository on {len(workers)} of {len(workers)} machines"
    with ExitStack() as ends:
        with unmountable(workers, repository):
            for machine in stack.group("worker"):
                until(lambda machine=machine: taint(stack, machine) == "cvmfs", "noticed", seconds=NOTICED_SECONDS)
            ends.callback(neighbour.stop)
            answer = neighbour.ask_for_session(release="stable")
            assert answer.status_code == 202, answer.text
            assert neighbour.hears(f"Your session waits: {words}")
        until(neighbour.is_ready, "the session that waited has started", seconds=60)
    for machine in stack.group("worker"):
        until(lambda machine=machine: not taint(stack, machine), f"{machine} is well", seconds=REPAIRED_SECONDS)


def test_a_machine_that_boots_takes_no_session_before_its_mounts_answer(stack: LiveStack, repository: str) -> None:
    machine = stack.group("worker")[-1]
    host = stack.host(machine)
    started = "systemctl show --property=ActiveEnterTimestampMonotonic --value"
    with unmountable([host], repository):
        booted = host.check_output("cat /proc/1/stat").split()[21]
        host.run("systemctl reboot")

        def back() -> bool:
            done = host.run("cat /proc/1/stat")
            again = done.rc == 0 and done.stdout.split()[21] != booted
            return again and bool(host.service("kubelet").is_running)

        until(back, "it has restarted", seconds=90, through=RuntimeError)
        kubelet, checker = (int(host.check_output(f"{started} {unit}")) for unit in ("kubelet", "cygnet-health"))
        assert checker < kubelet
        assert taint(stack, machine) == "cvmfs"
    until(lambda: not taint(stack, machine), "sessions may come", seconds=REPAIRED_SECONDS)


def test_a_person_sees_a_notice_while_the_software_does_not_answer(
    stack: LiveStack, unit: str, person: Callable[[str], Person]
) -> None:
    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    notice = physicist.page.locator(".Toastify__toast").filter(has_text="The software repository does not answer since")
    expect(notice).to_have_count(0)
    host = stack.host(stack.session_machine(physicist.name))
    with stopped([host], "cygnet-health"):  # nobody repairs it meanwhile
        hang(host, unit)
        expect(notice).to_be_visible(timeout=30_000)
        physicist.picture("notice")
    expect(notice).to_have_count(0, timeout=REPAIRED_SECONDS * 1000)
    physicist.picture("no-notice")
