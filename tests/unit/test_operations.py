"""The command `cygnet`: what it says, and what it asks Pulumi to do."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import lifetime
from components.base import PROJECT
from components.errors import CygnetError
from components.local_machines import base_image, records
from engine import cache
from operations import __main__ as command_line
from operations import accounts, clean, orphans, takeover, up
from operations import stack as stacks
from operations.stack import Stack
from tests.unit import program

OUTPUTS: dict[str, Any] = {
    "url": "https://10.240.3.11",
    "accounts": {"ada": "pw-1", "operator": "pw-2"},
    "parts": {
        "auth": {"kind": "accounts", "admins": ["operator"]},
        "software": {"releases": [{"name": "stable"}, {"name": "bleeding"}]},
    },
}

PULUMI = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["PULUMI_LOG"], "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
if os.environ.get("PULUMI_FAILS") == sys.argv[1]:
    print("error: out of luck", file=sys.stderr)
    sys.exit(255)
if sys.argv[1:3] == ["stack", "ls"]:
    print(json.dumps([{"name": name} for name in os.environ.get("PULUMI_KNOWS", "").split()]))
if sys.argv[1:3] == ["stack", "output"]:
    print(os.environ["PULUMI_OUTPUTS"])
"""


class Pulumi:
    """A Pulumi that writes down how it is called."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def calls(self) -> list[str]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [" ".join(json.loads(line)) for line in lines]

    @property
    def changes(self) -> list[str]:
        """The calls that do something, without what they all have in common."""
        asked = [call.partition(" --stack ")[0] for call in self.calls]
        return [call for call in asked if not call.startswith(("stack ls", "stack output"))]


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    """A project with the stack file `local`, a backend of its own, and that Pulumi."""
    script = tmp_path / "pulumi"
    script.write_text(PULUMI)
    script.chmod(0o700)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks/Pulumi.local.yaml").write_text("# ours\nconfig: {}\n")
    (tmp_path / "backend").mkdir()
    monkeypatch.setattr(stacks, "PROJECT", tmp_path)
    monkeypatch.setattr(stacks, "pulumi_program", lambda: str(script))
    monkeypatch.setenv("PULUMI_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("PULUMI_OUTPUTS", json.dumps(OUTPUTS))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/backend")
    return Pulumi(tmp_path / "log")


@pytest.fixture
def cleaned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stacks whose remains were removed."""
    names: list[str] = []
    monkeypatch.setattr(clean, "remove_leftovers", lambda stack, _say: names.append(stack))
    return names


def lock(
    folder: Path, pid: int, *, stack: str = "local", project: str = "cygnet", host: str | None = None, minutes: int = 0
) -> Path:
    """A lock as Pulumi writes it into a file backend, some minutes old."""
    file = folder / f"backend/.pulumi/locks/organization/{project}/{stack}/{pid}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    since = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat().replace("+00:00", "789Z")
    who = {"pid": pid, "username": "x", "hostname": host or socket.gethostname(), "timestamp": since}
    file.write_text(json.dumps(who))
    file.with_name(f"{file.name}.attrs").write_text("{}")
    return file


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


@pytest.fixture
def living() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


# Up


def test_a_new_stack_is_made_and_brought_up(pulumi: Pulumi, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["up", "local"]) == 0
    assert pulumi.changes == ["stack init", "up --yes --skip-preview --color auto"]
    assert all(call.endswith("--stack local --non-interactive") for call in pulumi.calls if "ls" not in call.split())
    assert "Your service is at https://10.240.3.11" in capsys.readouterr().out


def test_a_known_stack_is_updated(pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_KNOWS", "other local")
    assert command_line.main(["up", "local"]) == 0
    assert pulumi.changes == ["up --yes --skip-preview --color auto"]


def test_a_stack_without_a_file_is_refused_before_anything_is_done(
    pulumi: Pulumi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["up", "lokal"]) == 1
    said = "\nerror: no file declares the stack 'lokal'; write stacks/Pulumi.lokal.yaml, or use one of: local\n"
    assert capsys.readouterr().err == said
    assert pulumi.calls == []


def test_a_failed_up_says_so_after_pulumi_has_said_why(
    pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULUMI_FAILS", "up")
    assert command_line.main(["up", "local"]) == 1
    lines = capfd.readouterr().err.split("\n")
    assert lines[0] == "error: out of luck"
    assert lines[-2].startswith(
        "error: 'pulumi up --yes --skip-preview --color auto' of stack local failed, see above. What was made is kept"
    )
    assert "stack output" not in " ".join(pulumi.calls)


def test_the_welcome_tells_where_who_and_what_next() -> None:
    assert up.welcome("local", OUTPUTS, None).splitlines() == [
        "",
        "Your service is at https://10.240.3.11",
        "Sign in as one of: ada, operator",
        "Passwords:         .venv/bin/cygnet accounts local",
        "Remove it all:     make down STACK=local",
    ]


def test_the_welcome_of_a_course_names_some_accounts_and_no_password() -> None:
    many = {f"seat-{number:03}": f"secret-{number}" for number in range(1, 60)}
    text = up.welcome("course", {**OUTPUTS, "accounts": many}, None)
    assert "seat-005" in text
    assert "seat-006" not in text
    assert "secret" not in text


def test_the_welcome_tells_when_the_stack_has_to_be_gone() -> None:
    tomorrow = lifetime.today() + timedelta(days=1)
    assert up.welcome("burst", OUTPUTS, tomorrow).endswith(f"Has to be gone by: {tomorrow}, in 1 day")


# Locks of killed runs


@pytest.mark.usefixtures("pulumi")
def test_the_locks_of_a_stack_on_this_computer(tmp_path: Path) -> None:
    assert list(takeover.locks("local")) == []
    lock(tmp_path, 11)
    lock(tmp_path, 12, stack="other")
    lock(tmp_path, 13, project="another-project")
    lock(tmp_path, 14, host="another-computer")
    assert [found["pid"] for found in takeover.locks("local")] == [11]


@pytest.mark.parametrize("url", ["s3://bucket", "https://api.pulumi.com", "azblob://x"])
def test_other_backends_keep_their_own_locks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    assert list(takeover.locks("local")) == []


def test_the_backend_is_where_the_pulumi_of_this_project_puts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert takeover.backend_folder() == Path("/state/cygnet/pulumi")


KILLED = "an earlier 'pulumi' of stack local was killed; going on from where it was\n"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend knows the stack."""
    monkeypatch.setenv("PULUMI_KNOWS", "local")


@pytest.mark.usefixtures("known")
def test_the_lock_of_a_dead_process_is_taken_away(
    pulumi: Pulumi, tmp_path: Path, dead: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(tmp_path, dead)
    takeover.take_over(Stack("local"))
    assert pulumi.changes == ["cancel --yes"]
    assert capsys.readouterr().out == KILLED


@pytest.mark.usefixtures("known")
def test_a_process_that_only_has_the_number_of_a_dead_one_is_not_waited_for(
    pulumi: Pulumi, tmp_path: Path, living: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lock(tmp_path, living, minutes=5)
    takeover.take_over(Stack("local"))
    assert pulumi.changes == ["cancel --yes"]
    assert capsys.readouterr().out == KILLED


@pytest.mark.usefixtures("known")
def test_a_process_that_nobody_buried_is_dead(pulumi: Pulumi, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as killed:
        lock(tmp_path, killed.pid)
        killed.kill()
        until(lambda: Path(f"/proc/{killed.pid}/stat").read_text().split()[2] == "Z")
        takeover.take_over(Stack("local"))
    assert pulumi.changes == ["cancel --yes"]


def test_when_a_process_started(living: int) -> None:
    found = takeover.started(living)
    assert found is not None
    assert abs(found - time.time()) < takeover._CLOCK_SECONDS + 1


def test_a_living_process_is_waited_for(
    pulumi: Pulumi, tmp_path: Path, living: int, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lock(tmp_path, living)
    threading.Timer(1.5, file.unlink).start()
    started = time.monotonic()
    takeover.take_over(Stack("local"))
    assert time.monotonic() - started > 1
    assert pulumi.calls == []
    said = capsys.readouterr().out
    assert said == f"waiting for another 'pulumi' of stack local to end (process {living})\n", "and says so once"


def test_a_stack_that_nobody_holds_is_left_alone(pulumi: Pulumi, capsys: pytest.CaptureFixture[str]) -> None:
    takeover.take_over(Stack("local"))
    assert pulumi.calls == []
    assert capsys.readouterr().out == ""


# Processes of killed runs


@pytest.fixture
def engine() -> Iterator[socket.socket]:
    """What a Pulumi listens with until it dies."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


Plugin = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def plugin(tmp_path: Path, engine: socket.socket) -> Iterator[Plugin]:
    """Starts a process with a plugin's command line, of this engine and in this folder unless a test says otherwise."""
    script = tmp_path / "pulumi-resource-pulumi-python"
    script.write_text("import signal, time\nprint(flush=True)\ntime.sleep(60)\n")
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    with ExitStack() as started:

        def start(*, name: str = script.name, folder: Path = tmp_path, deaf: bool = False) -> "subprocess.Popen[bytes]":
            program = tmp_path / name
            program.write_text((stubborn if deaf else "") + script.read_text())
            command = [sys.executable, str(program), f"127.0.0.1:{engine.getsockname()[1]}"]
            process = started.enter_context(subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE))
            started.callback(process.kill)
            assert process.stdout
            process.stdout.readline()  # it runs
            return process

        yield start


def test_what_a_killed_pulumi_left_is_ended(plugin: Plugin, engine: socket.socket, tmp_path: Path) -> None:
    processes = [plugin(), plugin(name="pulumi-language-python-exec")]
    assert orphans.end(tmp_path) == 0, "their engine lives"
    engine.close()
    assert set(orphans.orphans(tmp_path)) == {process.pid for process in processes}
    assert orphans.end(tmp_path) == 2
    assert [process.wait(5) for process in processes] == [-signal.SIGTERM] * 2


def test_what_does_not_end_is_killed(
    plugin: Plugin, engine: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "_PATIENCE_SECONDS", 0.5)
    process = plugin(deaf=True)
    engine.close()
    assert orphans.end(tmp_path) == 1
    assert process.wait(5) == -signal.SIGKILL


def test_another_projects_orphans_are_its_own(plugin: Plugin, engine: socket.socket, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    process = plugin(folder=elsewhere)
    engine.close()
    assert orphans.end(tmp_path) == 0
    assert process.poll() is None


def test_another_program_with_such_an_argument_is_none(plugin: Plugin, engine: socket.socket, tmp_path: Path) -> None:
    process = plugin(name="client.py")
    engine.close()
    assert orphans.end(tmp_path) == 0
    assert process.poll() is None


@pytest.mark.parametrize("command", ["up", "down"])
@pytest.mark.usefixtures("pulumi", "known", "cleaned")
def test_orphans_are_ended_before_anything_is_changed(
    plugin: Plugin, engine: socket.socket, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    process = plugin(folder=tmp_path / "stacks")
    engine.close()
    assert command_line.main([command, "local"]) == 0
    assert process.poll() == -signal.SIGTERM
    assert "processes of a killed 'pulumi' that went on without it: 1, ended now" in capsys.readouterr().out


# Interruptions


SLOW_PULUMI = """#!/usr/bin/env python3
import pathlib, signal, sys, time
heard = 0
def hear(*_):
    global heard
    heard += 1
signal.signal(signal.SIGINT, hear)
pathlib.Path("working").touch()
while heard < 2 and not pathlib.Path("done").exists():
    time.sleep(0.05)
pathlib.Path("ended").write_text(str(heard))
"""


def until(happened: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A command that runs a Pulumi which ends what it does before it ends, or when it is asked twice."""
    script = tmp_path / "pulumi"
    script.write_text(SLOW_PULUMI)
    script.chmod(0o700)
    code = f"""
import sys
from pathlib import Path
from engine import command_line
from operations import stack
stack.PROJECT = Path({str(tmp_path)!r})
stack.pulumi_program = lambda: {str(script)!r}
sys.exit(command_line.run(lambda _: stack.Stack("local").pulumi("up"), stack.CygnetError, "go on"))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=program.PROJECT, stderr=subprocess.PIPE, text=True, process_group=0
    ) as run:
        try:
            until((tmp_path / "working").exists)
            yield run
        finally:
            (tmp_path / "done").touch()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_lets_pulumi_end(
    interrupted: "subprocess.Popen[str]", tmp_path: Path, number: int, status: int
) -> None:
    os.killpg(interrupted.pid, number)  # a terminal sends Ctrl-C to all that it sees
    time.sleep(0.6)
    assert interrupted.poll() is None, "it waits for Pulumi, which gives its lock back"
    (tmp_path / "done").touch()
    assert interrupted.wait(10) == status
    assert (tmp_path / "ended").read_text() == "1"


def test_whoever_interrupts_twice_does_not_wait(interrupted: "subprocess.Popen[str]", tmp_path: Path) -> None:
    interrupted.send_signal(signal.SIGINT)
    time.sleep(0.6)
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(10) == 130
    assert (tmp_path / "ended").read_text() == "2"
    assert "stopped; go on" in interrupted.communicate()[1]


# Down and clean


def test_down_removes_the_stack_its_remains_and_its_salt(
    pulumi: Pulumi, cleaned: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PULUMI_KNOWS", "local")
    file = tmp_path / "stacks/Pulumi.local.yaml"
    file.write_text("encryptionsalt: v1:abc\n" + file.read_text())
    assert command_line.main(["down", "local"]) == 0
    assert pulumi.changes == ["destroy --yes --skip-preview --color auto", "stack rm --yes --force --preserve-config"]
    assert cleaned == ["local"]
    assert file.read_text() == "# ours\nconfig: {}\n"


def test_down_of_a_stack_whose_state_is_lost_removes_its_remains(pulumi: Pulumi, cleaned: list[str]) -> None:
    assert command_line.main(["down", "gone"]) == 0
    assert pulumi.changes == []
    assert cleaned == ["gone"]


def _may_stay_until(tmp_path: Path, days: int | None) -> None:
    day = {} if days is None else {"gone_by": lifetime.today() + timedelta(days=days)}
    config = {"cygnet:machines": {"source": "local", **day}}
    (tmp_path / "stacks/Pulumi.local.yaml").write_text(yaml.safe_dump({"config": config}))


@pytest.mark.parametrize("days", [0, -3])
def test_down_removes_what_is_due(
    pulumi: Pulumi, cleaned: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, days: int
) -> None:
    monkeypatch.setenv("PULUMI_KNOWS", "local")
    _may_stay_until(tmp_path, days)
    assert command_line.main(["down", "local", "--if-due"]) == 0
    assert pulumi.changes[0] == "destroy --yes --skip-preview --color auto"
    assert cleaned == ["local"]


@pytest.mark.usefixtures("cleaned")
@pytest.mark.parametrize(
    ("days", "said"), [(1, "has to be gone by"), (None, "may stay"), (-3, "is gone.")], ids=["soon", "never", "gone"]
)
def test_down_leaves_what_is_not(  # noqa: PLR0917 - fixtures and parameters
    pulumi: Pulumi,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    days: int | None,
    said: str,
) -> None:
    monkeypatch.setenv("PULUMI_KNOWS", "" if said == "is gone." else "local")
    _may_stay_until(tmp_path, days)
    assert command_line.main(["down", "local", "--if-due"]) == 0
    assert pulumi.changes == []
    assert said in capsys.readouterr().out


def test_a_day_that_is_none_removes_nothing(
    pulumi: Pulumi, cleaned: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stacks/Pulumi.local.yaml").write_text("config: {'cygnet:machines': {gone_by: soon}}")
    assert command_line.main(["down", "local", "--if-due"]) == 1
    assert "Write one as 2027-01-31" in capsys.readouterr().err
    assert (pulumi.changes, cleaned) == ([], [])


def test_a_stack_that_cannot_be_destroyed_stays_known(
    pulumi: Pulumi, cleaned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_KNOWS", "local")
    monkeypatch.setenv("PULUMI_FAILS", "destroy")
    assert command_line.main(["down", "local"]) == 1
    assert "stack rm --yes --force --preserve-config" not in pulumi.changes
    assert cleaned == []


def test_leftovers_of_local_machines_are_told_by_another_command(
    pulumi: Pulumi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["leftovers", "local"]) == 1
    assert "`cygnet clean local`" in capsys.readouterr().err
    assert pulumi.calls == []


@pytest.fixture
def bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the machines' bases: the current one, one that a machine stands on, and one of nobody."""
    monkeypatch.setattr(cache, "root", lambda: tmp_path)
    monkeypatch.setattr(records, "bases_in_use", lambda: {"used"})
    folder = tmp_path / "machine-base"
    for key in (base_image.current().key, "used", "unused"):
        (folder / key / "root").mkdir(parents=True)
    return folder


@pytest.mark.usefixtures("bases")
def test_clean_removes_what_is_left_by_the_stacks_name(cleaned: list[str]) -> None:
    assert command_line.main(["clean", "local"]) == 0
    assert cleaned == ["local"]


@pytest.mark.usefixtures("cleaned")
def test_clean_removes_bases_that_no_machine_stands_on(bases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["clean", "local"]) == 0
    assert {folder.name for folder in bases.glob("[!.]*")} == {base_image.current().key, "used"}
    assert capsys.readouterr().out == "base unused of the machines: removed, none stands on it\n"


def test_clean_where_no_base_was_ever_made(cleaned: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "root", lambda: tmp_path)
    assert command_line.main(["clean", "local"]) == 0
    assert cleaned == ["local"]


# Accounts


def test_accounts_are_listed_with_their_passwords(pulumi: Pulumi, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["accounts", "local"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "https://10.240.3.11",
        "ada       pw-1",
        "operator  pw-2  (administrator)",
    ]
    assert "--show-secrets" in pulumi.calls[0]


@pytest.mark.usefixtures("pulumi")
def test_a_stack_that_is_not_up_says_how_to_bring_it_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULUMI_OUTPUTS", "{}")
    assert command_line.main(["accounts", "local"]) == 1
    assert "error: stack local is not up; run '.venv/bin/cygnet up local'" in capsys.readouterr().err


@pytest.mark.usefixtures("pulumi")
def test_an_unknown_stack_is_told_in_pulumis_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULUMI_FAILS", "stack")
    assert command_line.main(["accounts", "lokal"]) == 1
    assert "of stack lokal failed: error: out of luck" in capsys.readouterr().err


# Sheets

SEATS = {"seat-001": "pw<1>", "seat-002": "pw-2"}


@pytest.fixture
def seats(pulumi: Pulumi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the sheets of a stack with seats will be written."""
    assert not pulumi.calls
    monkeypatch.setenv("PULUMI_OUTPUTS", json.dumps({**OUTPUTS, "accounts": {**OUTPUTS["accounts"], **SEATS}}))
    return tmp_path / "seats.html"


def test_every_seat_has_a_sheet_and_nobody_else(seats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["sheets", "local", "--to", str(seats)]) == 0
    said = capsys.readouterr().out
    assert "2 pages" in said
    assert "pw" not in said.replace("passwords", "")
    sheets = seats.read_text().split("<section>")[1:]
    assert [re.findall("<dd>(.*)</dd>", sheet) for sheet in sheets] == [
        ["https://10.240.3.11", "seat-001", "pw&lt;1&gt;"],
        ["https://10.240.3.11", "seat-002", "pw-2"],
    ]
    assert all("<svg" in sheet for sheet in sheets)


def test_only_its_owner_may_read_them_even_where_a_file_was(seats: Path) -> None:
    seats.write_text("old, and longer than what follows" * 1000)
    seats.chmod(0o644)
    assert command_line.main(["sheets", "local", "--to", str(seats)]) == 0
    assert seats.stat().st_mode & 0o777 == 0o600
    assert seats.read_text().endswith("</html>\n")


@pytest.mark.usefixtures("pulumi")
def test_a_stack_without_seats_says_how_to_get_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["sheets", "local", "--to", str(tmp_path / "seats.html")]) == 1
    assert "`seats: 20` under cygnet:auth" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.html"))


def test_a_place_that_cannot_be_written_is_named(seats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["sheets", "local", "--to", str(seats / "no" / "folder")]) == 1
    assert "name another place with --to FILE" in capsys.readouterr().err


# Links


@pytest.mark.usefixtures("pulumi")
def test_a_link_is_written_for_a_release_that_the_stack_offers(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["link", "local", "https://git.example/a/course", "--open", "1.ipynb", "--release", "bleeding"]
    assert command_line.main(words) == 0
    begin = "https://10.240.3.11/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgit.example%2Fa%2Fcourse"
    assert capsys.readouterr().out == f"{begin}&urlpath=lab%2Ftree%2Fcourse%2F1.ipynb&release=bleeding\n"


@pytest.mark.usefixtures("pulumi")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["https://git.example/course", "--release", "stabel"],
            "offers no release 'stabel'; choose from: stable, bleeding",
        ),
        (["git@git.example:course"], "by HTTPS only, and not 'git@git.example:course'"),
    ],
)
def test_a_link_that_would_not_work_is_not_written(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["link", "local", *words]) == 1
    assert said in capsys.readouterr().err


# The command itself


def test_every_module_with_a_command_is_one() -> None:
    modules = {file.stem for file in (program.PROJECT / "operations").glob("*.py") if "\nNAME = " in file.read_text()}
    assert {command.NAME for command in command_line.COMMANDS} == modules


@pytest.mark.parametrize("command", command_line.COMMANDS, ids=lambda command: command.NAME)
def test_every_command_explains_itself(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command_line.main([command.NAME, "--help"])
    assert end.value.code == 0
    assert command.HELP.split(";")[0][:40] in capsys.readouterr().out.replace("\n ", "")


def test_a_misspelt_command_lists_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command_line.main(["account"])
    assert end.value.code == 2
    assert "'accounts'" in capsys.readouterr().err


@pytest.mark.usefixtures("pulumi")
def test_an_interrupted_command_says_that_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(accounts, "run", interrupt)
    assert command_line.main(["accounts", "local"]) == 130
    assert "the same command goes on where this one ended" in capsys.readouterr().err


def test_a_computer_without_pulumi_says_what_gets_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CygnetError, match="there is no 'pulumi' here; run 'make tools'"):
        stacks.pulumi_program()


def test_the_pulumi_beside_our_python_comes_before_that_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("beside", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pulumi").touch(mode=0o700)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside/python"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert stacks.pulumi_program() == str(tmp_path / "beside/pulumi")
    (tmp_path / "beside/pulumi").unlink()
    assert stacks.pulumi_program() == str(tmp_path / "path/pulumi")


def test_the_schema_is_printed_for_editors_and_for_readers() -> None:
    run = [sys.executable, "-m", "operations", "schema"]
    schema = subprocess.run(run, capture_output=True, text=True, check=True, cwd=program.PROJECT).stdout
    assert json.loads(schema)["title"] == "A cygnet stack file"
    page = subprocess.run([*run, "--markdown"], capture_output=True, text=True, check=True, cwd=program.PROJECT).stdout
    assert page == (program.PROJECT / "docs/reference/stack-file.md").read_text()


def test_the_project_has_the_name_that_stacks_are_looked_up_by() -> None:
    assert yaml.safe_load((program.PROJECT / "Pulumi.yaml").read_text())["name"] == PROJECT
