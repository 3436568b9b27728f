#!/usr/bin/python3
"""cygnet-health SETTINGS: looks after the mounts that sessions need, and keeps sessions away while one does not answer.

Each mount is asked by a child process: what a hung mount holds cannot be interrupted, so the child is abandoned at its
deadline, and none is sent after it until it ended or the mount was repaired. A mount that does not answer taints the
machine's node; one that misses the deadline twice, or is not there, is repaired through its systemd unit, with a pause
that doubles from one repair to the next. The journal has what happened, where, since when, and what was done.

SETTINGS is a file in JSON; templates/health.json.j2 shows all of it.
"""

import errno
import http.client
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TAINT = "cygnet.io/unwell"
FIRST_PAUSE_SECONDS = 30
LONGEST_PAUSE_SECONDS = 600
API_SECONDS = 5
SERVER_SECONDS = 3
TICK_SECONDS = 1
SYSTEMCTL_SECONDS = 10
GREETING = struct.pack(">5i", 0, 0, 0, 4, 2012)  # the first words of XRootD's protocol
CONNECTIONS = Path("/sys/fs/fuse/connections")

ABSENT, LOST, SILENT = "is not mounted", "has lost its client", "does not answer"
# Whoever says that root has no right there has answered.
ANSWERS = (0, errno.EACCES, errno.EPERM)
# The kernel's own answers for a mount whose client has died.
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)
WARNING, INFO = "<4>", "<6>"  # as the journal reads them


def say(text: str, level: str = INFO) -> None:
    """A line for the journal."""
    print(f"{level}{text}", flush=True)


def notify(lines: str) -> None:
    """Tells systemd how the service is (Type=notify); without systemd nothing is told."""
    if place := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as pipe:
            pipe.sendto(lines.encode(), place.replace("@", "\0", 1))


def clock_time(seconds_ago: float) -> str:
    """A time of day, as messages give it."""
    return time.strftime("%H:%M:%S", time.localtime(time.time() - seconds_ago))


# Asking


def device_of(path: str) -> str | None:
    """Major and minor number of what is mounted at a path, as "0:57"; None: nothing. It asks the kernel only."""
    lines = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return next((fields[2] for fields in reversed(list(lines)) if fields[4] == path), None)


def ask(path: str) -> None:
    """Asks a mount what no cache of the kernel answers: its size and the first name in it.

    Raises:
        OSError: It answers with an error.
    """
    os.statvfs(path)
    with os.scandir(path) as names:
        next(names, None)


class Question:
    """A child process that asks a mount. It tells the error's number as its exit status."""

    def __init__(self, path: str) -> None:
        self.asked = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                ask(path)
                status = 0
            except OSError as error:
                status = error.errno or 1
            finally:
                os._exit(status)

    @property
    def seconds(self) -> float:
        """How long it is out."""
        return time.monotonic() - self.asked

    def answer(self) -> int | None:
        """0 for a mount that is well, an error's number, or None as long as there is no answer."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def abandon(self) -> None:
        """Lets it go; the kernel ends it when the mount lets it."""
        os.kill(self.pid, signal.SIGKILL)


# Repairing


def systemctl(*arguments: str) -> str:
    """What systemctl prints; it waits for no unit.

    Raises:
        OSError, subprocess.SubprocessError: It failed, or systemd does not answer.
    """
    command = ["systemctl", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=True)
    return done.stdout


def state_of(unit: str) -> tuple[str, bool]:
    """A unit's state in systemd's word, and whether it is to run: who stops one for good disables it."""
    shown = systemctl("show", unit, "--property=ActiveState,UnitFileState")
    values = dict(line.split("=", 1) for line in shown.splitlines())
    return values["ActiveState"], values["UnitFileState"] not in ("", "disabled", "masked")


def let_go(path: str) -> None:
    """Ends all that waits for a mount, also where its client can no longer be killed; it is dead then."""
    connection = CONNECTIONS / (device_of(path) or ":none").partition(":")[2] / "abort"
    if connection.exists():
        connection.write_text("1")


def serves(server: str) -> bool:
    """Whether an XRootD server at HOST:PORT answers the greeting of its protocol; one that hangs takes connections."""
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=SERVER_SECONDS) as connection:
            connection.sendall(GREETING)
            return bool(connection.recv(1))
    except OSError:
        return False


def revive(path: str, unit: str, *, hung: bool) -> str:
    """Starts a mount's client anew, and waits for nothing; tells what was done."""
    if hung:
        let_go(path)
        systemctl("kill", "--signal=KILL", unit)
    systemctl("restart", "--no-block", unit)
    return f"its client was killed, {unit} restarted" if hung else f"{unit} restarted"


@dataclass
class Mount:
    """A mount that is looked after. `trouble` is what is wrong with it, empty while it answers.

    One with a `server` waits for that rightly, and is not repaired while that does not answer. It is `known` when it
    has answered, or missed a deadline, for the first time.
    """

    part: str
    path: str
    unit: str
    deadline_seconds: float
    server: str = ""
    trouble: str = ""
    since: str = ""
    known: bool = False
    question: Question | None = None
    abandoned: list[Question] = field(default_factory=list)
    asked: float = float("-inf")
    repairs: int = 0
    next_repair: float = float("-inf")
    waits: bool = False

    def look(self, every_seconds: float) -> None:
        """Asks when it is time to, and takes what has been answered."""
        self.abandoned = [one for one in self.abandoned if one.answer() is None]
        if self.question is None and time.monotonic() - self.asked >= every_seconds:
            self.asked = time.monotonic()
            if device_of(self.path) is None:
                self._is(ABSENT)
            else:
                self.question = Question(self.path)
        if self.question is not None:
            answer = self.question.answer()
            if answer is not None:
                self.question = None
                self._is(in_words(answer))
            elif self.question.seconds > self.deadline_seconds:
                self._is(SILENT)

    @property
    def needs_repair(self) -> bool:
        """Whether its client is to be started anew now. One that is only slow is let be until a second deadline."""
        if time.monotonic() < self.next_repair:
            return False
        if self.trouble == SILENT:
            return self.question is not None and self.question.seconds > 2 * self.deadline_seconds
        return self.trouble in (ABSENT, LOST)

    def repaired(self) -> int:
        """Notes a repair, and asks anew; gives the seconds until the next one at the earliest."""
        pause = min(FIRST_PAUSE_SECONDS << self.repairs, LONGEST_PAUSE_SECONDS)
        self.repairs = min(self.repairs + 1, 10)
        self.next_repair = time.monotonic() + pause
        if self.question is not None:
            self.question.abandon()
            self.abandoned.append(self.question)
            self.question = None
        return pause

    def wait_for_server(self) -> None:
        """Puts the repair off: a client that waits for its server loses nothing of what sessions have open."""
        self.next_repair = time.monotonic() + FIRST_PAUSE_SECONDS
        if not self.waits:
            say(f"{self.path}: its server {self.server} does not answer; its client is let be", WARNING)
        self.waits = True

    def _is(self, trouble: str) -> None:
        if trouble and not self.trouble:
            self.since = clock_time(time.monotonic() - self.asked)
        if trouble and trouble != self.trouble:
            say(f"{self.path} {trouble}, since {self.since}", WARNING)
        elif self.trouble and not trouble:
            say(f"{self.path} answers again; it did not since {self.since}")
        if not trouble and time.monotonic() > self.next_repair + LONGEST_PAUSE_SECONDS:
            self.repairs = 0
        self.trouble, self.known = trouble, True
        self.waits = self.waits and bool(trouble)


def in_words(answer: int) -> str:
    """What is wrong with a mount that has answered so; nothing when it is well.

    >>> in_words(errno.EIO)
    'answers with an error: Input/output error'
    """
    if answer in ANSWERS:
        return ""
    return LOST if answer in DEAD else f"answers with an error: {os.strerror(abs(answer))}"


# Telling


class Node:
    """The machine's node in Kubernetes, of which this program may change one taint."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._host, self._path = settings["api"], f"/api/v1/nodes/{settings['node']}"
        self._context = ssl.create_default_context(cafile=settings["authority"])
        self._context.load_cert_chain(settings["certificate"])

    def taint(self, cause: str) -> bool:
        """Makes the taint what it should be: with the cause as its value, or gone; tells whether it was another.

        Raises:
            OSError, ValueError, http.client.HTTPException: Kubernetes does not answer, or refuses.
        """
        node = self._ask("GET")
        before = node["spec"].get("taints", [])
        after = tainted(before, cause)
        if after == before:
            return False
        # With the version that was read: what others change meanwhile is not undone.
        version = {"resourceVersion": node["metadata"]["resourceVersion"]}
        self._ask("PATCH", {"metadata": version, "spec": {"taints": after}})
        return True

    def _ask(self, method: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=API_SECONDS)
        try:
            headers = {"Content-Type": "application/merge-patch+json", "Accept": "application/json"}
            connection.request(method, self._path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            told: dict[str, Any] = json.load(answer)
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise OSError(f"{answer.status}: {told.get('message')}")
        return told


def tainted(taints: Iterable[Mapping[str, Any]], cause: str) -> list[dict[str, Any]]:
    """A node's taints with ours as it should be; those of others stay.

    >>> tainted([{"key": "cygnet.io/unwell", "value": "booting", "effect": "NoSchedule"}], "")
    []
    """
    ours = {"key": TAINT, "value": cause, "effect": "NoSchedule"}
    present = [dict(taint) for taint in taints]
    if any({**taint, **ours} == taint for taint in present) and cause:
        return present
    return [taint for taint in present if taint["key"] != TAINT] + ([ours] if cause else [])


# The service


@dataclass
class Keeper:
    """Looks after all mounts, and has the node told."""

    mounts: list[Mount]
    every_seconds: float
    tell: Callable[[str], bool]
    told: str | None = None
    complaint: str = ""
    next_telling: float = float("-inf")

    def round(self) -> None:
        """One look at everything; it waits for no mount."""
        for mount in list(self.mounts):
            mount.look(self.every_seconds)
            if mount.needs_repair:
                self._repair(mount)
        known = all(mount.known for mount in self.mounts)
        if known and (self.cause != self.told or time.monotonic() >= self.next_telling):
            self._tell(self.cause)

    @property
    def cause(self) -> str:
        """The parts in trouble, as a taint's value may be: "cvmfs", "cvmfs.eos"; empty when all is well."""
        return ".".join(sorted({mount.part for mount in self.mounts if mount.trouble}))

    @property
    def has_tried_to_tell(self) -> bool:
        """Whether the node was told once, or could not be."""
        return self.told is not None or bool(self.complaint)

    @property
    def summary(self) -> str:
        """What `systemctl status` shows."""
        troubles = [f"{mount.path} {mount.trouble}, since {mount.since}" for mount in self.mounts if mount.trouble]
        return "; ".join([*troubles, *filter(None, [self.complaint])]) or "all is well"

    def _repair(self, mount: Mount) -> None:
        try:
            state, wanted = state_of(mount.unit)
            if not wanted:
                say(f"{mount.path} is not looked after any more: {mount.unit} is disabled")
                self.mounts.remove(mount)
                return
            if state in ("activating", "deactivating", "reloading"):
                return  # systemd is at it
            if mount.trouble == SILENT and mount.server and not serves(mount.server):
                mount.wait_for_server()
                return
            done = revive(mount.path, mount.unit, hung=mount.trouble == SILENT)
        except (OSError, subprocess.SubprocessError) as error:
            done = f"{mount.unit} cannot be restarted: {error}"
        say(f"{mount.path}: {done}; not again within {mount.repaired()} s", WARNING)

    def _tell(self, cause: str) -> None:
        self.next_telling = time.monotonic() + self.every_seconds
        try:
            if self.tell(cause):
                say(f"taint {TAINT}={cause} set: no session starts here" if cause else f"taint {TAINT} lifted")
            self.told, self.complaint = cause, ""
        except (OSError, ValueError, http.client.HTTPException) as error:
            complaint = f"Kubernetes cannot be told: {error}"
            if complaint != self.complaint:
                say(complaint, WARNING)
            self.told, self.complaint = None, complaint


def main() -> None:
    """Looks after the mounts of a settings file until it is ended."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    node = Node(settings)
    keeper = Keeper(
        [Mount(**mount, deadline_seconds=settings["deadline_seconds"]) for mount in settings["mounts"]],
        settings["every_seconds"],
        # A machine that takes no sessions is repaired, and needs no taint.
        lambda cause: node.taint(cause if settings["takes_sessions"] else ""),
    )
    while True:
        keeper.round()
        ready = "READY=1\n" if keeper.has_tried_to_tell else ""
        notify(f"{ready}STATUS={keeper.summary}\nWATCHDOG=1")
        time.sleep(TICK_SECONDS)


if __name__ == "__main__":
    main()
