"""Runs one playbook with ansible-runner, as a process of its own (`python -m components.playbook_run`).

Reads one line of JSON from standard input (stack, folder of playbooks, playbook, hosts, private_key, variables) and
writes lines of JSON to standard output: any number of {"progress": text}, then one {"results": {...}} or
{"failure": text}. The play is stopped when standard input ends, which is how the death of the caller shows.
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import ansible_runner
import yaml

from components.sources import files, ssh
from engine import cache

_PREFIX = "cygnet-playbook-"
_SHOWN_CHARACTERS = 3000
_FIRST_CHARACTERS = 600
_ON_ONE_MACHINE = ("registry", "software", "squid", "xrootd", "files")


def inventory(hosts: Iterable[Mapping[str, Any]], key_file: str) -> dict[str, Any]:
    """Ansible's inventory of the hosts: one group per kind of machine, all of them in `machines`.

    The first control plane is also in the groups of what is on one machine: `registry`, `software`, `squid`, `xrootd`
    and `files`; machines of which that is told are in `gpu`.

    >>> hosts = [{"name": "worker-1", "group": "worker", "address": "10.0.0.2", "user": "root", "port": 22}]
    >>> inventory(hosts, "/run/key")["all"]["children"]["worker"]
    {'hosts': {'worker-1': {}}}
    """
    groups: dict[str, dict[str, Any]] = {"control_plane": {}, "worker": {}}
    machines: dict[str, Any] = {}
    for host in hosts:
        machines[host["name"]] = {
            "ansible_host": host["address"],
            "ansible_user": host["user"],
            "ansible_port": int(host["port"]),
            "ansible_ssh_private_key_file": key_file,
            "ansible_python_interpreter": "/usr/bin/python3",
            **host.get("variables", {}),
        }
        groups[host["group"].replace("-", "_")][host["name"]] = {}
    first = dict(list(groups["control_plane"].items())[:1])
    groups |= {name: dict(first) for name in _ON_ONE_MACHINE}
    groups["gpu"] = {name: {} for name, variables in machines.items() if "gpu_driver" in variables}
    children = {name: {"hosts": members} for name, members in groups.items()}
    return {"all": {"children": {"machines": {"hosts": machines}, **children}}}


@contextmanager
def only_one(stack: str, say: Callable[[str], None]) -> Any:
    """Holds the stack's lock on playbooks: a play whose caller was killed ends before the next one starts."""
    file = cache.root() / "locks" / f"playbook-{stack}"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another playbook of this stack to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Events:
    """Listens to Ansible's events: tells what is being done, and keeps what failed and what was said at the end."""

    def __init__(self, playbook: str, say: Callable[[str], None]) -> None:
        self._playbook = playbook
        self._say = say
        self._start = time.monotonic()
        self.failures: list[str] = []
        self.results: dict[str, Any] = {}

    def __call__(self, event: Mapping[str, Any]) -> bool:  # noqa: D102 - the class is the function
        data = event.get("event_data", {})
        match event["event"]:
            case "playbook_on_task_start":
                self._say(f"{self._playbook} {time.monotonic() - self._start:4.0f} s  {data['task']}")
            case "runner_on_failed" | "runner_on_unreachable" if not data.get("ignore_errors"):
                self.failures.append(failure_text(data))
            case "playbook_on_stats":
                self.results = data.get("artifact_data", {})
        return True


def failure_text(data: Mapping[str, Any]) -> str:
    """One failed task, as a person reads it: host, task, and what the module or the command said."""
    result = data.get("res", {})
    said = [str(result[key]).strip() for key in ("msg", "stderr", "stdout", "censored") if result.get(key)]
    said += [str(item["msg"]) for item in result.get("results", []) if item.get("failed") and item.get("msg")]
    reason = "\n".join(dict.fromkeys(said)) or "it did not say why"
    return f"{data['host']}: {data['task']}: {_shown(reason)}"


def _shown(text: str) -> str:
    """All of a text, or of a long one its first lines, which say what is wrong, and its last, which say why."""
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    left = len(text) - _SHOWN_CHARACTERS
    return f"{text[:_FIRST_CHARACTERS]}\n[{left} characters left out]\n{text[_FIRST_CHARACTERS + left :]}"


def play(request: Mapping[str, Any], say: Callable[[str], None], stopped: Callable[[], bool]) -> dict[str, Any]:
    """Runs what `request` asks for; returns {"results": ...} or {"failure": ...}."""
    playbooks, playbook, hosts = request["folder"], request["playbook"], request["hosts"]
    events = Events(playbook, say)
    with files.private_folder(_PREFIX) as folder, only_one(request["stack"], say):
        given = ssh.keys(request["private_key"])
        keys = [_write(folder / f"key-{number}", key) for number, key in enumerate(given)]
        ways = ssh.access(folder, hosts, *keys)
        inventory_file = _write(folder / "inventory.yml", yaml.safe_dump(inventory(hosts, str(folder / "key-0"))))
        variables = _write(folder / "variables.json", json.dumps(request["variables"]))
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            project_dir=playbooks,
            playbook=playbook,
            inventory=str(inventory_file),
            cmdline=f"--extra-vars @{variables}",
            envvars={
                "PATH": search_path(),
                "ANSIBLE_CONFIG": f"{playbooks}/ansible.cfg",
                "ANSIBLE_SSH_COMMON_ARGS": f"-F {ways}",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
                "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
            },
            event_handler=events,
            cancel_callback=stopped,
            quiet=True,
        )
        # Not the return code: it is 0 after a start that failed before the first task.
        if runner.status == "successful":
            return {"results": events.results}
        why = "\n".join(events.failures) or _last_lines(runner.stdout)
        return {"failure": f"{playbook} {runner.status}\n{why}\nMend that, then run 'pulumi up' again: it goes on."}


def search_path() -> str:
    """PATH with the ansible-playbook beside our Python in front, whether or not its environment is activated."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def descendants(process: int) -> list[int]:
    """The processes that a process started, and those that these started."""
    try:
        lists = [task.read_text() for task in Path(f"/proc/{process}/task").glob("*/children")]
    except FileNotFoundError:  # it has ended
        return []
    children = [int(child) for one in lists for child in one.split()]
    return [*children, *(further for child in children for further in descendants(child))]


def _write(file: Path, content: str) -> Path:
    with open(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(content if content.endswith("\n") else content + "\n")
    return file


def _last_lines(stream: TextIO, count: int = 20) -> str:
    return "".join(stream.readlines()[-count:])


def main() -> None:
    """The process: one request in, lines of JSON out."""
    # Ansible's own prints must not mix with our lines: keep the real standard output for us.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    stop = threading.Event()

    def watch() -> None:
        # Not sys.stdin.read(): its lock would be held by this thread when the interpreter ends.
        while os.read(0, 1):
            pass
        stop.set()

    threading.Thread(target=watch, daemon=True).start()

    def say(text: str) -> None:
        answers.write(json.dumps({"progress": text}) + "\n")

    def stopped() -> bool:
        if stop.is_set():
            # Each of Ansible's workers leads a session of its own, and would end its task alone.
            for process in descendants(os.getpid()):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        return stop.is_set()

    answers.write(json.dumps(play(request, say, stopped)) + "\n")


if __name__ == "__main__":
    main()
