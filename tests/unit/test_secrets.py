"""Secrets: made once, kept, and such that real programs accept them."""

import pytest
from argon2 import PasswordHasher
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from components import certificates, secrets
from tests.unit.provided import created, updated

NAMES = ["swan.example.org", "192.0.2.7", "localhost"]


@pytest.fixture(scope="module")
def authority() -> tuple[str, str]:
    return certificates.new_authority("cygnet unit")


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
    old = created(provider, {"names": ["ada"]})
    new = updated(provider, old, {"names": ["ada", "bob"]})
    assert new["values"]["ada"] == old["values"]["ada"]
    assert new["values"]["bob"] != old["values"]["ada"]


# Tokens and keys


def test_a_token_has_the_length_asked_for_and_is_never_the_same() -> None:
    provider = secrets._TokenProvider()
    first, second = (created(provider, {"length": 32})["value"] for _ in range(2))
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


def test_an_edit_of_the_names_issues_a_new_certificate_and_no_edit_does_not(authority: tuple[str, str]) -> None:
    provider = secrets._CertificateProvider()
    asked = {"names": NAMES, "authority": authority[0], "authority_key": authority[1]}
    old = created(provider, asked)
    assert provider.diff("id", old, asked).changes is False
    assert provider.diff("id", old, {**asked, "names": ["localhost"]}).changes is True
    assert updated(provider, old, asked)["certificate"] != old["certificate"]


def test_a_certificate_that_nears_its_end_is_a_change(
    authority: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_CERTIFICATE_DAYS", 30)
    provider = secrets._CertificateProvider()
    asked = {"names": NAMES, "authority": authority[0], "authority_key": authority[1]}
    assert provider.diff("id", created(provider, asked), asked).changes is True


def test_the_authority_is_made_anew_for_another_name_only() -> None:
    provider = secrets._AuthorityProvider()
    old = created(provider, {"common_name": "a"})
    assert provider.diff("id", old, {"common_name": "a"}).changes is False
    assert provider.diff("id", old, {"common_name": "b"}).changes is True


def test_an_authority_that_lets_nobody_issue_is_made_anew() -> None:
    provider = secrets._AuthorityProvider()
    old = created(provider, {"common_name": "a"})
    issuer, _ = certificates.new_issuer(["a"], authority=old["certificate"], authority_key=old["private_key"])
    assert provider.diff("id", {**old, "certificate": issuer}, {"common_name": "a"}).changes is True
