"""The web page of files, as strangers see it."""

import socket
from urllib.parse import urlparse

import pytest
import requests

from tests.live.stack import LiveStack

CLAIMS = {"X-Cygnet-User": "operator", "X-Cygnet-Home": "/files/", "X-Forwarded-User": "operator", "PW": "operator"}


@pytest.fixture
def url(stack: LiveStack) -> str:
    """The page's."""
    if "url" not in stack.parts["files"]:
        pytest.skip(f"the stack '{stack.name}' has no page of files")
    return str(stack.parts["files"]["url"])


def test_strangers_are_sent_to_the_sign_in_page(stack: LiveStack, http: requests.Session, url: str) -> None:
    for page in (f"{stack.url}/files/", f"{url}/", f"{url}/files/eos/user/o/operator/"):
        assert http.get(page, timeout=10).url.startswith(f"{stack.url}/hub/login")


@pytest.mark.parametrize("path", ["", "eos/", "eos/user/o/operator/", "?shares", "share/../eos/user/o/operator/"])
def test_nobody_is_taken_at_their_word(http: requests.Session, url: str, path: str) -> None:
    answer = http.get(f"{url}/files/{path}", headers=CLAIMS, allow_redirects=False, timeout=10)
    assert answer.status_code == 302
    assert "/files/sign-in" in answer.headers["Location"]


def test_strangers_change_nothing(http: requests.Session, url: str) -> None:
    for path in ("eos/user/o/operator/?j", "?share", "?eshare=rm&skey=x"):
        answer = http.post(f"{url}/files/{path}", headers=CLAIMS, data="{}", allow_redirects=False, timeout=10)
        assert answer.status_code == 401


def test_an_unknown_link_opens_nothing(http: requests.Session, url: str) -> None:
    answer = http.get(f"{url}/files/share/nothing-is-shared-here/", headers=CLAIMS, timeout=10)
    assert answer.status_code in (401, 403, 404)


def test_it_is_an_origin_of_its_own(stack: LiveStack, http: requests.Session, url: str) -> None:
    assert (urlparse(url).hostname, urlparse(url).port) == (urlparse(stack.url).hostname, urlparse(url).port)
    assert urlparse(url).netloc != urlparse(stack.url).netloc
    foreign = http.get(f"{url}/files/share/x/", headers={"Origin": stack.url}, timeout=10)
    assert foreign.status_code == 403


@pytest.mark.parametrize("port", [3923, 3924, 8082])
def test_what_is_behind_it_is_not_on_the_machine(stack: LiveStack, port: int) -> None:
    with socket.socket() as probe:
        probe.settimeout(3)
        assert probe.connect_ex((urlparse(stack.url).hostname, port)) != 0


@pytest.mark.usefixtures("url")
def test_it_runs(stack: LiveStack) -> None:
    rollout = stack.kubectl("rollout", "status", "--timeout=10s", "--namespace=files", "deployment/files")
    assert "successfully rolled out" in rollout


@pytest.mark.usefixtures("url")
def test_the_kernel_follows_no_link_for_it(stack: LiveStack) -> None:
    (machine,) = stack.group("control_plane")[:1]
    options = stack.host(machine).check_output("findmnt --noheadings --output VFS-OPTIONS /srv/files")
    assert {"nosymfollow", "nosuid", "nodev", "noexec"} <= set(options.split(","))
