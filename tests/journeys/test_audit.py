"""What an operator reads of who did what, when people have done it."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from operations import audit
from tests.live.login import Shell
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor


def test_a_day_of_a_user_is_told(
    stack: LiveStack, visitor: Callable[[str], Visitor], person: Callable[..., Person], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    began = time.time()
    assert visitor("physicist").sign_in("not the password").status_code == 403
    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    if stack.parts["files"]:
        physicist.page.goto(f"{physicist.url}/files/")
        physicist.page.wait_for_url("**/files/eos/user/**")
    physicist.stop()
    physicist.sign_out()
    wanted = ["sign in: refused", "sign in: done", "start session: done", "stop session: done", "sign out: done"]
    if stack.parts["files"]:
        wanted.append("open files: done")
    if stack.parts["login"]:
        for password in ("wrong", stack.accounts["physicist"]):
            Shell(stack, "physicist", password, tmp_path).run("true")
        wanted += ["login by SSH: refused", "login by SSH: done"]
    told = tell(stack, capsys)
    mine = [one for one in told if audit.when(one).timestamp() > began - 1]
    said = [f"{one['what']}: {one['result']}" for one in mine]
    assert set(wanted) <= set(said), said
    assert all(one["from"] for one in mine)
    everything = json.dumps(told)
    assert not any(password in everything for password in stack.accounts.values())


def test_it_outlives_the_hub(
    stack: LiveStack, visitor: Callable[[str], Visitor], capsys: pytest.CaptureFixture[str]
) -> None:
    visitor("physicist").sign_in()
    before = tell(stack, capsys)
    stack.kubectl("--namespace=hub", "rollout", "restart", "deployment/hub")
    stack.kubectl("--namespace=hub", "rollout", "status", "deployment/hub", "--timeout=120s", seconds=130)
    after = tell(stack, capsys)
    assert before
    assert after[: len(before)] == before


def tell(stack: LiveStack, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    """What the command prints of a user."""
    capsys.readouterr()
    audit.run(argparse.Namespace(stack=stack.name, days=1, user="physicist", json=True))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
