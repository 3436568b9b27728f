"""The same homes and software by SSH: what is copied there is in the session, and the other way round."""

import subprocess
from pathlib import Path

import pytest

from tests.live.login import Shell
from tests.live.stack import LiveStack
from tests.live.visitor import session

CONNECT = "exec 3<>/dev/tcp/{address}/{port}"
"""bash's own way to open a connection."""


@pytest.fixture
def shell(stack: LiveStack, tmp_path: Path) -> Shell:
    if not stack.parts["login"]:
        pytest.skip("no login machine: cygnet:login is not enabled")
    return Shell(stack, "physicist", stack.accounts["physicist"], tmp_path)


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_file_is_in_both_at_once(stack: LiveStack, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "by-ssh.txt").write_text("42\n")
    said(shell.copy(tmp_path / "by-ssh.txt", "by-ssh.txt"))
    read_and_write = """
        import pathlib
        print(pathlib.Path("~/by-ssh.txt").expanduser().read_text())
        pathlib.Path("~/by-notebook.txt").expanduser().write_text("43")
    """
    with session(stack, "physicist") as visitor:
        assert visitor.kernel().run(read_and_write).strip() == "42"
    assert said(shell.run("cat ~/by-notebook.txt; rm ~/by-notebook.txt ~/by-ssh.txt")) == "43"


def test_a_shell_is_its_users_with_the_software_of_sessions(shell: Shell) -> None:
    assert said(shell.run("id --user --name; id --group --name; pwd")).split() == [
        "physicist", "users", "/eos/user/p/physicist",
    ]  # fmt: skip
    histogram = "import ROOT; h = ROOT.TH1D('h', '', 10, 0, 1); h.Fill(0.5); print(int(h.GetEntries()))"
    assert said(shell.run(f'python3 -c "{histogram}"')).splitlines()[-1] == "1"


def test_a_key_in_the_home_opens_it(stack: LiveStack, shell: Shell, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    said(shell.run(f"mkdir --mode=700 --parents ~/.ssh && echo '{public}' > ~/.ssh/authorized_keys"))
    by_key = Shell(stack, "physicist", "not the password", tmp_path)
    assert said(by_key.run("echo in", "-i", str(key), "-o", "IdentitiesOnly=yes")) == "in"
    said(shell.run("rm -r ~/.ssh"))
    assert by_key.run("true", "-i", str(key), "-o", "IdentitiesOnly=yes").returncode == 255


def test_other_homes_and_the_stack_itself_are_closed(stack: LiveStack, shell: Shell) -> None:
    closed = [(stack.address("control-plane-1"), port) for port in (22, 1094, 2379, 5000, 6443, 8000, 10250)]
    tries = [CONNECT.format(address=address, port=port) for address, port in [*closed, ("proxy.hub.svc", 8000)]]
    attempts = [f"(timeout 4 bash -c '{one}' 2> /dev/null && echo '{one}') &" for one in tries]
    assert said(shell.run(" ".join([*attempts, "wait"]))) == ""
    assert shell.run("ls /eos/user/n/neighbour").returncode != 0
    assert shell.run("sudo -n true").returncode != 0
