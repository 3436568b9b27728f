"""Secrets: made once, kept, and such that real programs accept them."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from components import secrets

NAMES = ["swan.example.org", "192.0.2.7", "localhost"]


@pytest.fixture(scope="module")
def authority() -> tuple[str, str]:
    return secrets.new_authority("cygnet unit")


def verify(chain: str, authority: str, subject: x509.GeneralName, days: int = 0) -> None:
    """Does what a browser does, `days` from now; raises VerificationError."""
    leaf, *others = x509.load_pem_x509_certificates(chain.encode())
    store = Store([x509.load_pem_x509_certificate(authority.encode())])
    then = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    PolicyBuilder().store(store).time(then).build_server_verifier(subject).verify(leaf, others)


# Passwords


def test_passwords_are_long_readable_and_differ() -> None:
    made = {secrets.new_password() for _ in range(200)}
    assert len(made) == 200
    assert {len(password) for password in made} == {16}
    assert not set("".join(made)) & set("0O1lI"), "characters that people confuse"


def test_known_passwords_are_kept_new_ones_made_old_ones_dropped() -> None:
    first = secrets.keep_or_make(["ada", "bob"], {}, {})
    second = secrets.keep_or_make(["bob", "eve"], first["values"], first["hashes"])
    assert second["names"] == ["bob", "eve"]
    assert second["values"]["bob"] == first["values"]["bob"]
    assert second["hashes"]["bob"] == first["hashes"]["bob"], "a new hash of an old password would be a change"
    assert set(second["values"]) == set(second["hashes"]) == {"bob", "eve"}


def test_hashes_are_argon2id_of_the_passwords() -> None:
    made = secrets.keep_or_make(["ada"], {}, {})
    assert made["hashes"]["ada"].startswith("$argon2id$")
    assert PasswordHasher().verify(made["hashes"]["ada"], made["values"]["ada"])


def test_a_password_that_lost_its_hash_gets_a_new_one_and_stays() -> None:
    made = secrets.keep_or_make(["ada"], {"ada": "kept"}, {})
    assert made["values"] == {"ada": "kept"}
    assert PasswordHasher().verify(made["hashes"]["ada"], "kept")


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (["ada", "bob"], ["bob", "ada"], False),  # another order is the same people
        (["ada"], ["ada", "bob"], True),
        (["ada", "bob"], ["ada"], True),
    ],
)
def test_passwords_change_with_the_names_only(before: list[str], after: list[str], changes: bool) -> None:
    found = secrets._PasswordsProvider().diff("id", {"names": before}, {"names": after})
    assert found.changes is changes
    assert not found.replaces, "a replacement would make everybody's password anew"


def test_an_update_of_the_accounts_keeps_what_is_known() -> None:
    provider = secrets._PasswordsProvider()
    old = provider.create({"names": ["ada"]}).outs
    new = provider.update("id", old, {"names": ["ada", "bob"]}).outs
    assert new["values"]["ada"] == old["values"]["ada"]
    assert new["values"]["bob"] != old["values"]["ada"]


# Tokens and keys


def test_a_token_has_the_length_asked_for_and_is_never_the_same() -> None:
    provider = secrets._TokenProvider()
    first, second = (provider.create({"length": 32}).outs["value"] for _ in range(2))
    assert len(bytes.fromhex(first)) == 32
    assert first != second


def test_a_token_changes_with_its_length_only() -> None:
    provider = secrets._TokenProvider()
    assert provider.diff("id", {"length": 32.0}, {"length": 32}).changes is False
    assert provider.diff("id", {"length": 32}, {"length": 16}).changes is True


def test_an_ssh_key_is_one_that_openssh_reads() -> None:
    private, public = secrets.new_ssh_key("cygnet test")
    key = serialization.load_ssh_private_key(private.encode(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    ours = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert public == f"{ours.decode()} cygnet test"
    assert "\n" not in public


def test_no_edit_makes_a_new_ssh_key() -> None:
    assert secrets._KeyPairProvider().diff("id", {"comment": "a"}, {"comment": "b"}).changes is False


# Certificates


@pytest.mark.parametrize(
    "subject",
    [
        x509.DNSName("swan.example.org"),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
    ],
    ids=str,
)
def test_a_certificate_verifies_for_each_of_its_names(authority: tuple[str, str], subject: x509.GeneralName) -> None:
    chain, _ = secrets.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    verify(chain, authority[0], subject)


@pytest.mark.parametrize(
    "subject",
    [x509.DNSName("other.example.org"), x509.IPAddress(ipaddress.ip_address("192.0.2.8"))],
    ids=str,
)
def test_a_certificate_is_refused_for_another_name(authority: tuple[str, str], subject: x509.GeneralName) -> None:
    chain, _ = secrets.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    with pytest.raises(VerificationError):
        verify(chain, authority[0], subject)


def test_a_certificate_is_refused_by_whoever_trusts_another_authority(authority: tuple[str, str]) -> None:
    chain, _ = secrets.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    other, _ = secrets.new_authority("cygnet unit")
    with pytest.raises(VerificationError):
        verify(chain, other, x509.DNSName(NAMES[0]))


def test_a_certificate_ends_and_browsers_take_its_length(authority: tuple[str, str]) -> None:
    chain, _ = secrets.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    verify(chain, authority[0], x509.DNSName(NAMES[0]), days=396)
    with pytest.raises(VerificationError):
        verify(chain, authority[0], x509.DNSName(NAMES[0]), days=398)


def test_a_certificate_is_renewed_sixty_days_before_its_end(authority: tuple[str, str]) -> None:
    chain, _ = secrets.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    now = dt.datetime.now(dt.UTC)
    assert not secrets.nears_its_end(chain)
    assert not secrets.nears_its_end(chain, now + dt.timedelta(days=397 - 62))
    assert secrets.nears_its_end(chain, now + dt.timedelta(days=397 - 59))
    assert secrets.nears_its_end(chain, now + dt.timedelta(days=500)), "one that has ended is renewed as well"


def test_the_key_belongs_to_the_certificate(authority: tuple[str, str]) -> None:
    chain, key = secrets.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    leaf = x509.load_pem_x509_certificate(chain.encode())
    private = serialization.load_pem_private_key(key.encode(), None)
    assert private.public_key() == leaf.public_key()


def test_a_server_certificate_cannot_sign_others(authority: tuple[str, str]) -> None:
    chain, key = secrets.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    forged, _ = secrets.issue_certificate(["evil.example.org"], authority=chain, authority_key=key)
    with pytest.raises(VerificationError):
        verify(forged + chain, authority[0], x509.DNSName("evil.example.org"))


def test_a_certificate_for_no_name_is_refused(authority: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="at least one name"):
        secrets.issue_certificate([], authority=authority[0], authority_key=authority[1])


def test_an_edit_of_the_names_issues_a_new_certificate_and_no_edit_does_not(authority: tuple[str, str]) -> None:
    provider = secrets._CertificateProvider()
    asked = {"names": NAMES, "authority": authority[0], "authority_key": authority[1]}
    old = provider.create(asked).outs
    assert provider.diff("id", old, asked).changes is False
    assert provider.diff("id", old, {**asked, "names": ["localhost"]}).changes is True
    assert provider.update("id", old, asked).outs["certificate"] != old["certificate"]


def test_a_certificate_that_nears_its_end_is_a_change(
    authority: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "_CERTIFICATE_DAYS", 30)
    provider = secrets._CertificateProvider()
    asked = {"names": NAMES, "authority": authority[0], "authority_key": authority[1]}
    assert provider.diff("id", provider.create(asked).outs, asked).changes is True


def test_the_authority_is_made_anew_for_another_name_only() -> None:
    provider = secrets._AuthorityProvider()
    old = provider.create({"common_name": "a"}).outs
    assert provider.diff("id", old, {"common_name": "a"}).changes is False
    assert provider.diff("id", old, {"common_name": "b"}).replaces == ["common_name"]


def test_openssl_accepts_what_it_should_and_no_more(authority: tuple[str, str], tmp_path: Path) -> None:
    # A second implementation, for what the first one may be lenient about.
    chain, key = secrets.issue_certificate(NAMES, authority=authority[0], authority_key=authority[1])
    for name, text in {"chain": chain, "key": key, "ca": authority[0]}.items():
        (tmp_path / name).write_text(text)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "chain", tmp_path / "key")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in NAMES:
        handshake(client, server, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server, "other.example.org")


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
