"""Certificates: such that those who verify them accept what they should, and no more."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.verification import PolicyBuilder, Store, Subject, VerificationError

from components import certificates

NAMES = ["swan.example.org", "192.0.2.7", "localhost"]


@pytest.fixture(scope="module")
def authority() -> tuple[str, str]:
    return certificates.new_authority("cygnet unit")


def verify(chain: str, authority: str, subject: Subject, days: int = 0) -> None:
    """Does what a browser does, `days` from now; raises VerificationError."""
    leaf, *others = x509.load_pem_x509_certificates(chain.encode())
    store = Store([x509.load_pem_x509_certificate(authority.encode())])
    then = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    PolicyBuilder().store(store).time(then).build_server_verifier(subject).verify(leaf, others)


@pytest.mark.parametrize(
    "subject",
    [
        x509.DNSName("swan.example.org"),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    ],
    ids=str,
)
def test_a_certificate_verifies_for_each_of_its_names(authority: tuple[str, str], subject: Subject) -> None:
    chain, _ = certificates.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    verify(chain, authority[0], subject)


@pytest.mark.parametrize(
    "subject",
    [x509.DNSName("other.example.org"), x509.IPAddress(ipaddress.ip_address("192.0.2.8"))],
    ids=str,
)
def test_a_certificate_is_refused_for_another_name(authority: tuple[str, str], subject: Subject) -> None:
    chain, _ = certificates.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    with pytest.raises(VerificationError):
        verify(chain, authority[0], subject)


def test_a_certificate_is_refused_by_whoever_trusts_another_authority(authority: tuple[str, str]) -> None:
    chain, _ = certificates.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    other, _ = certificates.new_authority("cygnet unit")
    with pytest.raises(VerificationError):
        verify(chain, other, x509.DNSName(NAMES[0]))


def test_a_certificate_ends_and_browsers_take_its_length(authority: tuple[str, str]) -> None:
    chain, _ = certificates.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    verify(chain, authority[0], x509.DNSName(NAMES[0]), days=396)
    with pytest.raises(VerificationError):
        verify(chain, authority[0], x509.DNSName(NAMES[0]), days=398)


def test_a_certificate_is_renewed_sixty_days_before_its_end(authority: tuple[str, str]) -> None:
    chain, _ = certificates.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    now = dt.datetime.now(dt.UTC)
    assert not certificates.nears_its_end(chain)
    assert not certificates.nears_its_end(chain, now + dt.timedelta(days=397 - 62))
    assert certificates.nears_its_end(chain, now + dt.timedelta(days=397 - 59))
    assert certificates.nears_its_end(chain, now + dt.timedelta(days=500)), "one that has ended is renewed as well"


def test_the_key_belongs_to_the_certificate(authority: tuple[str, str]) -> None:
    chain, key = certificates.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    leaf = x509.load_pem_x509_certificate(chain.encode())
    private = serialization.load_pem_private_key(key.encode(), None)
    assert private.public_key() == leaf.public_key()


def test_a_server_certificate_cannot_sign_others(authority: tuple[str, str]) -> None:
    chain, key = certificates.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    forged, _ = certificates.issue_certificate(["evil.example.org"], authority=chain, authority_key=key)
    with pytest.raises(VerificationError):
        verify(forged + chain, authority[0], x509.DNSName("evil.example.org"))


def test_a_certificate_for_no_name_is_refused(authority: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="at least one name"):
        certificates.issue_certificate([], authority=authority[0], authority_key=authority[1])


HOSTS = ["swan.example.org", "localhost"]


def test_an_issuer_vouches_for_its_hosts(authority: tuple[str, str], tmp_path: Path) -> None:
    issuer, key = certificates.new_issuer(HOSTS, authority=authority[0], authority_key=authority[1])
    chain, private = certificates.issue_certificate(HOSTS, authority=issuer, authority_key=key)
    client, server = contexts(chain, private, authority[0], tmp_path)
    for name in HOSTS:
        handshake(client, server, name)


@pytest.mark.parametrize("name", ["evil.example.org", "192.0.2.7", "2001:db8::7"])
def test_an_issuer_vouches_for_nothing_else(authority: tuple[str, str], tmp_path: Path, name: str) -> None:
    issuer, key = certificates.new_issuer(HOSTS, authority=authority[0], authority_key=authority[1])
    chain, private = certificates.issue_certificate([name], authority=issuer, authority_key=key)
    client, server = contexts(chain, private, authority[0], tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"(permitted|excluded) subtree violation"):
        handshake(client, server, name)


def test_an_issuer_makes_no_further_issuers(authority: tuple[str, str], tmp_path: Path) -> None:
    issuer, key = certificates.new_issuer(HOSTS, authority=authority[0], authority_key=authority[1])
    # Of another name: what issues for its own name counts as the same authority.
    below, below_key = certificates.new_issuer(HOSTS[::-1], authority=issuer, authority_key=key)
    chain, private = certificates.issue_certificate(HOSTS, authority=below, authority_key=below_key)
    client, server = contexts(chain + issuer, private, authority[0], tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="path length"):
        handshake(client, server, HOSTS[0])


def test_an_issuer_is_no_authority_for_issuers(authority: tuple[str, str]) -> None:
    issuer, _ = certificates.new_issuer(HOSTS, authority=authority[0], authority_key=authority[1])
    assert certificates.lets_issue(authority[0])
    assert not certificates.lets_issue(issuer)


def test_an_issuer_for_no_host_is_refused(authority: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="at least one host"):
        certificates.new_issuer([], authority=authority[0], authority_key=authority[1])


def test_openssl_accepts_what_it_should_and_no_more(authority: tuple[str, str], tmp_path: Path) -> None:
    # A second implementation, for what the first one may be lenient about.
    chain, key = certificates.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    client, server = contexts(chain, key, authority[0], tmp_path)
    for name in NAMES:
        handshake(client, server, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server, "other.example.org")


def contexts(chain: str, key: str, authority: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client that trusts the authority, and a server with the certificate."""
    for name, text in {"chain": chain, "key": key, "ca": authority}.items():
        (folder / name).write_text(text)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "chain", folder / "key")
    client = ssl.create_default_context(cafile=str(folder / "ca"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    return client, server


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """A TLS handshake in memory, without a socket."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in tuple(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
        if not ends:
            return
    raise AssertionError("the handshake did not end")
