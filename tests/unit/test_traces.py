"""What tests leave on a computer is told, and what others have there is not."""

import os
import shutil

import pytest

from tests.traces import Traces

BRIDGE = "link cygnet2 cygnet-test-ab12"
CLOUD = "folder /run/netns/testcloud-router-1"
OTHERS = "link cygnet1 cygnet-local"
SETTING = "sysctl kernel.panic = 0"
SORTS = {"cgroup", "folder", "link", "loop", "mount", "nft", "process", "route", "rule", "sysctl"}


def taken(*lines: str, has_others: bool = False) -> Traces:
    return Traces(frozenset(lines), has_others)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="no right to ask the kernel: it needs root")
def test_this_computer_is_told_as_it_is() -> None:
    now = Traces.now()
    assert any(line.startswith("sysctl kernel.panic = ") for line in now.lines)
    assert all(line.split()[0] in SORTS for line in now.lines)


def test_what_is_left_and_what_is_gone_is_told() -> None:
    assert taken(SETTING).changes(taken(SETTING)) == []
    assert taken(SETTING, OTHERS).changes(taken("sysctl kernel.panic = 10", BRIDGE)) == [
        f"left on this computer: {BRIDGE}",
        "left on this computer: sysctl kernel.panic = 10",
        f"gone from this computer: {OTHERS}",
        f"gone from this computer: {SETTING}",
    ]


def test_what_a_killed_run_left_is_no_loss() -> None:
    assert taken(BRIDGE, CLOUD, "process 7 cygnet-test-worker-1 sh").changes(taken()) == []


def test_beside_others_what_has_names_of_tests_is_told() -> None:
    after = taken(OTHERS, "link cygnet3 cygnet-tester", "rule 9: from all iif cygnet3", BRIDGE, CLOUD, has_others=True)
    assert taken(SETTING).changes(after) == [f"left on this computer: {CLOUD}", f"left on this computer: {BRIDGE}"]
