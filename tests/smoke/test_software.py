"""The software releases that users may choose from."""

import hashlib
import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from testinfra.host import Host

from tests.live import strangers
from tests.live.stack import LiveStack

# Machines may get what strangers may not; what they get is no text.
_GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().hex())"


@pytest.fixture(autouse=True)
def _there_is_some(stack: LiveStack) -> None:
    if "repository" not in stack.parts["software"]:
        pytest.skip(f"the stack '{stack.name}' has no software of its own")


@pytest.fixture
def served(stack: LiveStack, hosts: Mapping[str, Host]) -> dict[str, bytes]:
    """Manifest and whitelist, as a machine gets them, and the certificate that the manifest names."""
    machine, found = hosts[list(stack.machines)[-1]], {}
    for name in (".cvmfspublished", ".cvmfswhitelist"):
        found[name] = _get(stack, machine, name)
    certificate = re.findall(r"^X(\w+)$", _lines(found[".cvmfspublished"]), flags=re.MULTILINE)[0]
    packed = _get(stack, machine, f"data/{certificate[:2]}/{certificate[2:]}X")
    assert hashlib.sha1(packed, usedforsecurity=False).hexdigest() == certificate
    return {**found, "certificate": zlib.decompress(packed)}


def test_what_is_served_is_signed_by_the_stacks_key(stack: LiveStack, served: dict[str, bytes]) -> None:
    master = serialization.load_pem_public_key(stack.parts["software"]["public_key"].encode())
    certificate = x509.load_pem_x509_certificate(served["certificate"])
    key = certificate.public_key()
    assert isinstance(master, rsa.RSAPublicKey)
    assert isinstance(key, rsa.RSAPublicKey)
    # Each raises an error unless it fits.
    # cryptography's types do not say that it takes this one, its documentation does.
    master.verify(*_signed(served[".cvmfswhitelist"]), padding.PKCS1v15(), NoDigestInfo())  # type: ignore[arg-type]
    key.verify(*_signed(served[".cvmfspublished"]), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - CVMFS's
    fingerprint = certificate.fingerprint(hashes.SHA1()).hex(":").upper()  # noqa: S303 - CVMFS's
    assert fingerprint in _lines(served[".cvmfswhitelist"])


def test_the_revision_is_the_one_that_was_published(stack: LiveStack, served: dict[str, bytes]) -> None:
    lines = _lines(served[".cvmfspublished"]).splitlines()
    assert f"S{stack.parts['software']['revision']:g}" in lines
    assert f"N{stack.parts['software']['repository']}" in lines


def test_machines_will_take_what_is_published_for_days(served: dict[str, bytes]) -> None:
    end = re.findall(r"^E(\d{14})$", _lines(served[".cvmfswhitelist"]), flags=re.MULTILINE)[0]
    left = datetime.strptime(end, "%Y%m%d%H%M%S").replace(tzinfo=UTC) - datetime.now(UTC)
    assert left > timedelta(days=1), "run `pulumi up`: it renews the whitelist"


@pytest.mark.parametrize("path", ["/.cvmfspublished", "/", "/../../etc/passwd"])
def test_strangers_are_refused(stack: LiveStack, http: requests.Session, path: str) -> None:
    part = stack.parts["software"]
    assert strangers.answer(http, f"{part['url']}/{part['repository']}{path}") in (403, 404, None)


def _get(stack: LiveStack, machine: Host, name: str) -> bytes:
    part = stack.parts["software"]
    return bytes.fromhex(machine.check_output("python3 -c %s %s", _GET, f"{part['url']}/{part['repository']}/{name}"))


def _lines(file: bytes) -> str:
    """A signed file without its signature."""
    return file.partition(b"--\n")[0].decode()


def _signed(file: bytes) -> tuple[bytes, bytes]:
    """The signature of a file, and what it is one of: the digest of the lines."""
    lines, _, seal = file.partition(b"--\n")
    digest, _, signature = seal.partition(b"\n")
    assert hashlib.sha1(lines, usedforsecurity=False).hexdigest().encode() == digest
    return signature, digest
