"""The playbook resource: when it runs again, what it hands to Ansible, and that it really runs."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components import playbook, playbook_run
from components.errors import CygnetError
from components.secrets import new_ssh_key
from components.sources import files, ssh
from engine import versions

SECRET = "correct-horse-battery-staple"  # noqa: S105 - what is searched for afterwards
HOSTS: list[dict[str, Any]] = [
    {"name": "control-plane-1", "group": "control-plane", "address": "10.240.3.11", "user": "root", "port": 22,
     "host_key": "ssh-ed25519 AAAA1"},
    {"name": "worker-1", "group": "worker", "address": "10.240.3.21", "user": "debian", "port": 2222.0,
     "host_key": "ssh-ed25519 AAAA2", "variables": {"machines_tools_are_local": True}},
]  # fmt: skip
HERE = {**HOSTS[0], "name": "here", "address": "127.0.0.1", "variables": {"ansible_connection": "local"}}

MAIN = """
- hosts: machines
  roles:
    - role: first
    - second
  tasks:
    - name: Also a task
      ansible.builtin.debug:
"""
TASKS = """
- name: Together
  block:
    - name: Bring tools
      ansible.builtin.import_role:
        name: tools
        tasks_from: some.yml
"""


# What a playbook consists of, and its fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of playbooks: play.yml runs the roles first, second, and tools, which second imports."""
    shutil.copy(playbook.PLAYBOOKS / "ansible.cfg", tmp_path)
    files = {
        "play.yml": MAIN,
        "other.yml": "- hosts: worker\n  roles: [unrelated]\n",
        "library/module.py": "A = 1\n",
        "roles/first/tasks/main.yml": "- ansible.builtin.debug:\n",
        "roles/first/templates/deep/file.j2": "one\n",
        "roles/second/tasks/main.yml": TASKS,
        "roles/tools/tasks/some.yml": "- ansible.builtin.debug:\n",
        "roles/unrelated/tasks/main.yml": "- ansible.builtin.debug:\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_roles_of_a_playbook_are_those_it_lists_and_those_that_they_import(folder: Path) -> None:
    assert playbook.roles_of(folder / "play.yml") == ["first", "second", "tools"]


@pytest.mark.parametrize(
    "file",
    [
        "play.yml",
        "ansible.cfg",
        "library/module.py",
        "roles/first/tasks/main.yml",
        "roles/first/templates/deep/file.j2",
        "roles/second/tasks/main.yml",
        "roles/tools/tasks/some.yml",
    ],
)
def test_an_edit_changes_the_fingerprint(folder: Path, file: str) -> None:
    before = playbook.fingerprint(folder / "play.yml")
    (folder / file).write_text((folder / file).read_text() + "# edited\n")
    assert playbook.fingerprint(folder / "play.yml") != before


def test_a_new_file_and_a_moved_one_change_the_fingerprint(folder: Path) -> None:
    template = folder / "roles/first/templates/deep/file.j2"
    seen = {playbook.fingerprint(folder / "play.yml")}
    template.rename(template.with_name("moved.j2"))
    seen.add(playbook.fingerprint(folder / "play.yml"))
    template.write_text("two\n")
    seen.add(playbook.fingerprint(folder / "play.yml"))
    assert len(seen) == 3


@pytest.mark.parametrize("file", ["other.yml", "roles/unrelated/tasks/main.yml", "README.md", "library/notes.txt"])
def test_an_edit_elsewhere_does_not(folder: Path, file: str) -> None:
    before = playbook.fingerprint(folder / "play.yml")
    with (folder / file).open("a") as opened:
        opened.write("# edited\n")
    assert playbook.fingerprint(folder / "play.yml") == before


def test_another_version_of_a_tool_changes_the_fingerprint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = playbook.fingerprint(folder / "play.yml")
    monkeypatch.setattr(versions, "VERSIONS", {**versions.VERSIONS, "kubernetes": "9.9.9"})
    assert playbook.fingerprint(folder / "play.yml") != before


def test_a_role_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "roles/second/tasks/main.yml").write_text(TASKS.replace("name: tools", "name: tolls"))
    with pytest.raises(CygnetError, match=r"play\.yml runs the role 'tolls', which is not in .*roles/"):
        playbook.fingerprint(folder / "play.yml")


def test_every_playbook_of_ours_has_a_fingerprint_of_its_own() -> None:
    files = sorted(file for file in playbook.PLAYBOOKS.glob("*.yml"))
    assert files
    assert len({playbook.fingerprint(file) for file in files}) == len(files)


def test_no_role_depends_on_another_in_a_way_that_the_fingerprint_would_miss() -> None:
    for file in playbook.PLAYBOOKS.glob("roles/*/meta/main.yml"):
        assert yaml.safe_load(file.read_text())["dependencies"] == [], file


# When it runs

OLD = {"playbook": "a.yml", "hosts": [1], "variables": {"a": 1}, "fingerprint": "f", "private_key": "k", "stack": "s"}


@pytest.mark.parametrize(
    ("edit", "changes"),
    [
        ({}, False),
        ({"private_key": "another"}, False),  # how to get in says nothing of what is done there
        ({"fingerprint": "g"}, True),
        ({"hosts": [1, 2]}, True),
        ({"variables": {"a": 2}}, True),
        ({"playbook": "b.yml"}, True),
    ],
)
def test_it_runs_again_when_what_it_does_is_edited(edit: dict[str, Any], changes: bool) -> None:
    found = playbook._PlaybookProvider().diff("id", OLD, {**OLD, **edit})
    assert found.changes is changes
    assert not found.replaces


# What Ansible gets


def test_the_inventory_has_every_machine_in_its_groups() -> None:
    children = playbook_run.inventory([*HOSTS, {**HOSTS[0], "name": "control-plane-2"}], "/run/key")["all"]["children"]
    members = {name: sorted(group["hosts"]) for name, group in children.items()}
    assert members == {
        "machines": ["control-plane-1", "control-plane-2", "worker-1"],
        "control_plane": ["control-plane-1", "control-plane-2"],
        "worker": ["worker-1"],
        "registry": ["control-plane-1"],
        "software": ["control-plane-1"],
        "squid": ["control-plane-1"],
        "xrootd": ["control-plane-1"],
        "files": ["control-plane-1"],
        "gpu": [],
    }


def test_the_inventory_says_how_to_reach_a_machine() -> None:
    machine = playbook_run.inventory(HOSTS, "/run/key")["all"]["children"]["machines"]["hosts"]["worker-1"]
    assert machine == {
        "ansible_host": "10.240.3.21",
        "ansible_user": "debian",
        "ansible_port": 2222,
        "ansible_ssh_private_key_file": "/run/key",
        "ansible_python_interpreter": "/usr/bin/python3",
        "machines_tools_are_local": True,
    }


def test_ssh_tries_all_keys_of_the_operator(tmp_path: Path) -> None:
    first, second = (new_ssh_key(name)[0] for name in ("new", "former"))
    assert ssh.keys(first + second) == [first.strip(), second.strip()]
    assert ssh.keys("") == []
    said = ssh.config(HOSTS, tmp_path / "known", tmp_path / "key-0", tmp_path / "key-1")
    assert [line.split()[1] for line in said.splitlines() if "IdentityFile" in line] == [
        f"{tmp_path}/key-0", f"{tmp_path}/key-1",
    ]  # fmt: skip
    assert "IdentitiesOnly yes" in said
    assert "Identit" not in ssh.config(HOSTS, tmp_path / "known"), "the agent has it"


def test_known_hosts_name_other_ports_as_openssh_does() -> None:
    assert ssh.known_hosts([*HOSTS, {**HOSTS[0], "host_key": ""}]).splitlines() == [
        "10.240.3.11 ssh-ed25519 AAAA1",
        "[10.240.3.21]:2222 ssh-ed25519 AAAA2",
    ]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"msg": "no space left"}, "no space left"),
        ({"msg": "non-zero return code", "stderr": "oh no"}, "non-zero return code\noh no"),
        ({"msg": "same", "stderr": "same"}, "same"),
        ({"results": [{"failed": True, "msg": "second item"}, {"msg": "fine"}]}, "second item"),
        ({"censored": "hidden by no_log"}, "hidden by no_log"),
        ({}, "it did not say why"),
    ],
)
def test_a_failure_reads_as_host_task_and_reason(result: dict[str, Any], text: str) -> None:
    said = playbook_run.failure_text({"host": "worker-1", "task": "Copy", "res": result})
    assert said == f"worker-1: Copy: {text}"


def test_of_a_long_failure_the_beginning_and_the_end_are_shown() -> None:
    said = playbook_run.failure_text({"host": "h", "task": "t", "res": {"msg": "start" + "x" * 5000 + "end"}})
    assert said.startswith("h: t: start")
    assert "[2008 characters left out]" in said
    assert said.endswith("end")
    assert said.count("x") == 5000 - 2008


def test_failures_that_a_task_ignores_are_not_told() -> None:
    events = playbook_run.Events("play.yml", print)
    data = {"host": "h", "task": "t", "res": {"msg": "m"}}
    events({"event": "runner_on_failed", "event_data": {**data, "ignore_errors": True}})
    assert events.failures == []
    events({"event": "runner_on_failed", "event_data": {**data, "ignore_errors": None}})
    events({"event": "runner_on_unreachable", "event_data": data})
    assert events.failures == ["h: t: m"] * 2


def test_the_private_folder_is_ours_alone_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, living = tmp_path / "cygnet-playbook-999999999-x", tmp_path / "cygnet-playbook-1-x"
    dead.mkdir()
    living.mkdir()
    with files.private_folder("cygnet-playbook-") as made:
        file = playbook_run._write(made / "key", "k")
        assert made.stat().st_mode & 0o777 == 0o700
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text() == "k\n", "OpenSSH wants the last line of a key to end"
    assert sorted(tmp_path.iterdir()) == [living], "what a killed play left behind goes with the next one"


def test_one_playbook_of_a_stack_runs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "import sys; from components import playbook_run as p\n"
        "with p.only_one('unit', lambda said: print(said, flush=True)): print('mine', flush=True)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with playbook_run.only_one("unit", print):
        other = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert "waiting for another playbook" in other.stdout.readline()
        with playbook_run.only_one("another-stack", pytest.fail):
            pass
    assert other.communicate(timeout=20)[0] == "mine\n"


# Real plays on this computer

PLAY = """
- name: Play
  hosts: machines
  gather_facts: false
  tasks:
    - name: Look around
      ansible.builtin.command: {argv: [/bin/sh, -c, 'ps -ewwo args; env']}
      register: looked
    - name: Say
      ansible.builtin.set_stats:
        data: {seen: "{{ looked.stdout }}", length: "{{ password | length }}", group: "{{ groups.registry }}"}
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The folder of temporary files, in which a play leaves nothing; short, because sockets' names are."""
    with tempfile.TemporaryDirectory(prefix="cygnet-") as folder:
        yield Path(folder)


@pytest.fixture
def plays(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a playbook's text as the provider does; everything temporary is under `temporary`."""
    shutil.copytree(playbook.PLAYBOOKS / "library", tmp_path / "playbooks" / "library")
    shutil.copy(playbook.PLAYBOOKS / "ansible.cfg", tmp_path / "playbooks")
    (tmp_path / "playbooks" / "roles").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(playbook, "PLAYBOOKS", tmp_path / "playbooks")
    monkeypatch.setattr(playbook, "common_variables", lambda _tools: {"versions": {"kubernetes": "1.2.3"}})

    def run(text: str, host: Mapping[str, Any] = HERE) -> dict[str, Any]:
        (tmp_path / "playbooks" / "play.yml").write_text(text)
        return playbook.run(request(host))

    return run


def request(host: Mapping[str, Any] = HERE) -> dict[str, Any]:
    return {
        "stack": "unit",
        "playbook": "play.yml",
        "hosts": [host],
        "private_key": new_ssh_key("unit")[0],
        "variables": {"password": SECRET},
    }


def left_in(folder: Path) -> list[Path]:
    """What a play left there, besides the file that locks."""
    return [file for file in folder.rglob("*") if file.name != "cygnet-unit-playbook.lock"]


def test_a_play_gives_results_and_progress_and_leaves_no_secret(
    plays: Callable[..., dict[str, Any]], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", told.append)
    results = plays(PLAY)
    assert results["length"] == len(SECRET), "the play had the variable"
    assert results["group"] == ["here"]
    assert "components.playbook_run" in results["seen"], "the list of processes is the whole one"
    assert SECRET not in results["seen"]
    assert "PRIVATE KEY" not in results["seen"]
    assert [line.split(" s  ")[1] for line in told] == ["Look around", "Say"]
    assert told[0].startswith("play.yml ")
    assert left_in(temporary) == []


def test_a_failed_task_is_named_with_its_host_and_cure(plays: Callable[..., dict[str, Any]], temporary: Path) -> None:
    text = PLAY + "    - name: Fill the disk\n      ansible.builtin.fail: {msg: no space left on device}\n"
    with pytest.raises(playbook.PlaybookError) as error:
        plays(text)
    assert str(error.value).splitlines() == [
        "play.yml failed",
        "here: Fill the disk: no space left on device",
        "Mend that, then run 'pulumi up' again: it goes on.",
    ]
    assert left_in(temporary) == []


def test_a_failed_task_that_hides_its_output_says_so_and_no_more(plays: Callable[..., dict[str, Any]]) -> None:
    hidden = "    - name: Log in\n      ansible.builtin.fail: {msg: 'not {{ password }}'}\n      no_log: true\n"
    with pytest.raises(playbook.PlaybookError, match="here: Log in: the output has been hidden") as error:
        plays(PLAY + hidden)
    assert SECRET not in str(error.value)


def test_a_machine_that_does_not_answer_is_named(plays: Callable[..., dict[str, Any]]) -> None:
    gone = {**HERE, "name": "gone", "port": 1, "variables": {}}
    with pytest.raises(playbook.PlaybookError, match=r"(?s)gone: Look around: .*refused.*pulumi up"):
        plays(PLAY, gone)


def test_a_playbook_that_cannot_be_read_fails_with_the_reason(plays: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(playbook.PlaybookError, match=r"(?s)play\.yml failed.*no_such_module"):
        plays(PLAY + "    - name: Typo\n      no_such_module:\n")


@pytest.mark.usefixtures("plays")
def test_the_end_of_the_caller_stops_the_play(tmp_path: Path, temporary: Path) -> None:
    asleep, after = tmp_path / "asleep", tmp_path / "after"
    more = f"    - ansible.builtin.shell: 'touch {asleep}; sleep 20'\n    - ansible.builtin.shell: 'touch {after}'\n"
    (tmp_path / "playbooks" / "play.yml").write_text(PLAY + more)
    process = subprocess.Popen(
        [sys.executable, "-m", "components.playbook_run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({**request(), "folder": str(tmp_path / "playbooks")}) + "\n")
    process.stdin.flush()
    within(20, asleep.exists)
    assert running_in(temporary)
    process.stdin.close()
    last = json.loads(process.stdout.readlines()[-1])
    assert process.wait(timeout=20) == 0
    assert "play.yml canceled" in last["failure"]
    within(10, lambda: not running_in(temporary))
    assert not after.exists()
    assert not list(temporary.glob("cygnet-playbook-*"))


def running_in(folder: Path) -> list[str]:
    """The command lines that name the folder."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines.append((process / "cmdline").read_text().replace("\0", " "))
    return [line for line in lines if f"{folder}/" in line]


def within(seconds: float, what: Callable[[], object]) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def test_a_process_that_is_killed_is_a_failure(
    plays: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nread -r request && kill -KILL $$\n")
    dying.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(
        playbook.PlaybookError, match=r"play\.yml: the process that runs Ansible was ended before .* it goes on"
    ):
        plays(PLAY)
