"""Secrets that are made anew: which, when, what of the former ones is kept, and what the operator is told."""

import base64
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cygnet_hub.kept import database_url, encrypt_anew
from cygnet_hub.settings import Secrets

from components import rotation, secrets
from components.errors import CygnetError
from components.rotation import LASTING, SECRETS
from operations import rotate
from tests.unit import program
from tests.unit.program import PROJECT
from tests.unit.provided import created, updated

# Services with a login machine, with a Keycloak, and with a group's Spark: between them they have all that is secret.
SPARK = {
    "cygnet:spark": {"clusters": {"team": {"kind": "standalone", "standalone": {}}}},
    "cygnet:auth": {"accounts": ["ada"], "groups": {"all": ["ada"]}, "rights": {"features": {"team": ["all"]}}},
}
WITH = {"cygnet:login": {"enabled": True}}, {"cygnet:auth": {"kind": "keycloak"}}, SPARK
MADE = ("Token", "Passwords", "KeyPair", "Authority", "Certificate", "Issuer", "RepositoryKeys", "Keytab")


def made(config: Mapping[str, Any]) -> dict[str, program.Asked]:
    """All secrets of a service."""
    engine = program.run("rotated", config)
    return {f"{one.type.rpartition(':')[2]} {one.name}": one for type_ in MADE for one in engine.of(type_)}


def asked(name: str, mark: str, **inputs: Any) -> dict[str, Any]:
    return {**inputs, "rotates": name, "rotation": mark, "forget": False}


# Which


def test_no_secret_is_forgotten() -> None:
    found = [one.inputs for config in WITH for one in made(config).values()]
    assert {one["rotates"] for one in found} == SECRETS.keys() | LASTING.keys()
    assert {one["rotation"] for one in found} == {""}


def test_what_belongs_together_is_made_anew_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rotation.VARIABLE, "abcd hub registry")
    assert {name for name, one in made(WITH[0]).items() if one.inputs["rotation"] == "abcd"} == {
        "Token hub-proxy-token", "Token hub-cookie-secret", "Token hub-crypt-key", "Certificate registry",
        "Passwords registry",
    }  # fmt: skip


def test_the_page_of_docs_tells_all_of_them() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (PROJECT / "docs/how-to/rotate-secrets.md").read_text(), re.MULTILINE)
    assert rows == list(SECRETS)


# When, and what is kept


@pytest.mark.parametrize(
    ("provider", "inputs", "output"),
    [
        (secrets._TokenProvider, {"length": 32, "keeps_former": False}, "value"),
        (secrets._KeytabProvider, {}, "value"),
        (secrets._PasswordsProvider, {"names": ["ada"]}, "values"),
        (secrets._KeyPairProvider, {"comment": "c", "keeps_former": False}, "private_key"),
        (secrets._RepositoryKeysProvider, {"repository": "s.example"}, "key"),
        (secrets._AuthorityProvider, {"common_name": "a"}, "private_key"),
    ],
)
def test_each_is_made_anew_once_for_each_time_it_is_asked_for(
    provider: type[secrets._Provider], inputs: dict[str, Any], output: str
) -> None:
    one = provider()
    first = created(one, asked("x", "", **inputs))
    assert one.diff("id", first, asked("x", "", **inputs)).changes is False
    again = asked("x", "one", **inputs)
    assert one.diff("id", first, again).changes is True
    second = updated(one, first, again)
    assert second[output] != first[output]
    assert one.diff("id", second, again).changes is False, "it was, with this mark"
    assert one.diff("id", second, asked("x", "", **inputs)).changes is False, "nothing is asked for"
    assert one.diff("id", second, asked("x", "two", **inputs)).changes is True


def test_former_ones_are_kept_until_all_have_the_new_one() -> None:
    one, inputs = secrets._TokenProvider(), {"length": 32, "keeps_former": True}
    first = created(one, asked("hub", "", **inputs))
    second = updated(one, first, asked("hub", "one", **inputs))
    third = updated(one, second, asked("hub", "two", **inputs))  # the run before was killed
    assert third["former"] == [second["value"], first["value"]]
    forget = {**asked("hub", "", **inputs), "forget": True}
    assert one.diff("id", third, forget).changes is True
    last = updated(one, third, forget)
    assert (last["value"], last["former"]) == (third["value"], [])
    assert one.diff("id", last, forget).changes is False


def test_an_operators_former_key_opens_machines_that_do_not_know_the_new_one() -> None:
    one, inputs = secrets._KeyPairProvider(), {"comment": "operator", "keeps_former": True}
    first = created(one, asked("machines", "", **inputs))
    second = updated(one, first, asked("machines", "one", **inputs))
    assert second["former"] == [first["private_key"]]
    assert secrets.public_half(second["former"][0]) == first["public_key"].rpartition(" ")[0]


def test_a_repository_keeps_what_its_clients_know() -> None:
    one, inputs = secrets._RepositoryKeysProvider(), {"repository": "s.example"}
    first = created(one, asked("software", "", **inputs))
    second = updated(one, first, asked("software", "one", **inputs))
    assert (second["public_key"], second["master_key"]) == (first["public_key"], first["master_key"])
    assert second["certificate"] != first["certificate"]
    other = updated(one, first, asked("software", "", repository="t.example"))
    assert other["public_key"] != first["public_key"], "another repository has another key"


def test_a_certificate_of_another_authority_is_another_one() -> None:
    authorities = [created(secrets._AuthorityProvider(), asked("authority", "", common_name="a")) for _ in range(2)]
    one = secrets._CertificateProvider()
    first, second = (
        asked("gateway", "", names=["a"], authority=known["certificate"], authority_key=known["private_key"])
        for known in authorities
    )
    assert one.diff("id", created(one, first), second).changes is True


# What the hub kept


KEYS = [bytes([number]) * 32 for number in range(3)]


def sealed(key: bytes, text: bytes) -> bytes:
    return Fernet(base64.urlsafe_b64encode(key)).encrypt(text)


def opened(key: bytes, text: bytes) -> bytes:
    return Fernet(base64.urlsafe_b64encode(key)).decrypt(text)


def test_the_hub_reads_with_each_key_and_writes_with_the_first() -> None:
    text = "\n".join(key.hex() for key in KEYS)
    given = Secrets.model_validate({"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": text})
    assert given.crypt_keys == KEYS


@pytest.mark.parametrize("wrong", ["ab" * 32 + "\nab", "\n" + "ab" * 32, "zz" * 32])
def test_a_key_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="crypt_key"):
        Secrets.model_validate({"proxy_token": "t", "cookie_secret": "ab" * 32, "crypt_key": wrong})


def test_what_was_kept_is_encrypted_anew(tmp_path: Path) -> None:
    lost, url = sealed(KEYS[2], b"of a key that is lost"), database_url("sqlite", tmp_path)
    file = url.removeprefix("sqlite:///")
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, encrypted_auth_state BLOB)")
        rows = [(sealed(KEYS[1], b"former"),), (sealed(KEYS[0], b"newest"),), (None,), (lost,)]
        database.executemany("INSERT INTO users (encrypted_auth_state) VALUES (?)", rows)
    assert encrypt_anew(url, KEYS[:1]) == 0
    assert encrypt_anew(url, KEYS[:2]) == 2
    with sqlite3.connect(file) as database:
        found = [row[0] for row in database.execute("SELECT encrypted_auth_state FROM users ORDER BY id")]
    assert [opened(KEYS[0], kept) for kept in found[:2]] == [b"former", b"newest"]
    assert found[2:] == [None, lost]


def test_before_the_first_start_there_is_nothing_to_encrypt(tmp_path: Path) -> None:
    assert encrypt_anew(database_url("sqlite", tmp_path), KEYS) == 0


# What the operator says and is told


def exported(*names: str, mark: str = "", keeps: bool = False) -> dict[str, Any]:
    resources = [
        {"urn": name, "inputs": {"rotates": name, "keeps_former": keeps}, "outputs": {"rotation": mark}}
        for name in names
    ]
    return {"deployment": {"resources": [{"urn": "stack"}, *resources]}}


def test_all_are_chosen_but_those_to_ask_for_by_name() -> None:
    known = rotate.there(exported("hub", "authority", "machines", "host"))
    assert known == ["authority", "hub", "machines"]
    assert rotate.choose([], known) == ["hub", "machines"]
    assert rotate.choose(["authority"], known) == ["authority"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("hubs", "did you mean hub"),
        ("encryption", "not made anew while it is in use.*etcd"),
        ("x", "there are accounts"),
    ],
)
def test_another_name_is_refused_with_those_that_there_are(named: str, message: str) -> None:
    with pytest.raises(CygnetError, match=message):
        rotate.check(["hub", named])


def test_what_the_stack_does_not_have_is_refused() -> None:
    with pytest.raises(CygnetError, match=r"no secrets of the name keycloak; it made: hub"):
        rotate.choose(["keycloak"], ["hub"])
    with pytest.raises(CygnetError, match="bring it up first"):
        rotate.there(exported())


def test_former_ones_go_only_where_some_are_kept() -> None:
    assert rotate.former(exported("hub", mark="one", keeps=True))
    assert not rotate.former(exported("hub", keeps=True))
    assert not rotate.former(exported("eos", mark="one"))


def test_the_operator_reads_who_notices_what() -> None:
    told = rotate.told(["hub", "machines"])
    assert "hub: the hub's keys" in told
    assert "Noticed: everybody signs in once more" in told
