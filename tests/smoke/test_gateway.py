"""The one HTTPS address of the service."""

import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlparse

import pytest
import requests

from tests.live.stack import LiveStack


def test_its_certificate_is_the_stacks_and_lasts(stack: LiveStack) -> None:
    _need_own(stack)
    certificate = _connect(stack, ssl.create_default_context(cafile=str(stack.ca_file)))
    assert certificate
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    # Caddy makes another one for a name when ten days are left, the stack one for addresses in the last sixty.
    assert ends - datetime.now(UTC) > timedelta(days=8)


def test_nobody_else_vouches_for_it(stack: LiveStack) -> None:
    _need_own(stack)
    with pytest.raises(ssl.SSLCertVerificationError):
        _connect(stack, ssl.create_default_context())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_it_refuses_old_tls(stack: LiveStack, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else our own side refuses, and nothing is shown
    context.minimum_version = context.maximum_version = version
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        _connect(stack, context)


def test_plain_http_only_redirects(stack: LiveStack, http: requests.Session) -> None:
    host = urlparse(stack.url).hostname
    answer = http.get(f"http://{host}/hub/login?next=%2F", allow_redirects=False, timeout=10)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{stack.url}/hub/login?next=%2F"


def test_cookies_travel_encrypted_only(stack: LiveStack, http: requests.Session) -> None:
    cookies = http.get(f"{stack.url}/hub/login", timeout=10).headers["Set-Cookie"]
    assert re.search(r"(?i);\s*secure", cookies)


@pytest.mark.parametrize("path", ["/hub/login", "/hub/static/css/style.min.css", "/user/nobody/lab"])
def test_browsers_are_told_what_not_to_do(stack: LiveStack, http: requests.Session, path: str) -> None:
    told = http.get(f"{stack.url}{path}", allow_redirects=False, timeout=10).headers
    assert told["X-Content-Type-Options"] == "nosniff"
    assert told["X-Frame-Options"] == "SAMEORIGIN"
    assert told["Referrer-Policy"] == "same-origin"
    own = stack.parts["gateway"]["certificate"] == "own"
    assert ("Strict-Transport-Security" in told) != own


@pytest.mark.parametrize("path", ["/api/routes", "/config/", "/metrics", "/hub/metrics"])
def test_what_is_behind_it_is_not_in_front(stack: LiveStack, http: requests.Session, path: str) -> None:
    assert http.get(f"{stack.url}{path}", timeout=10).status_code in (403, 404)


def test_its_own_administration_is_closed(stack: LiveStack) -> None:
    with socket.socket() as probe:
        probe.settimeout(3)
        assert probe.connect_ex((urlparse(stack.url).hostname, 2019)) != 0


def _need_own(stack: LiveStack) -> None:
    if (kind := stack.parts["gateway"]["certificate"]) != "own":
        pytest.skip(f"the certificate is of kind {kind}")


def _connect(stack: LiveStack, context: ssl.SSLContext) -> Mapping[str, object] | None:
    """Connects as a browser does; returns the server's certificate."""
    url = urlparse(stack.url)
    assert url.hostname
    with (
        socket.create_connection((url.hostname, url.port or 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=url.hostname) as encrypted,
    ):
        return encrypted.getpeercert()
