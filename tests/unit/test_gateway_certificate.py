"""What a stack says of the gateway's certificate: what of it browsers would refuse is found before anything is made."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from components.certificates import issue_certificate, new_authority, new_issuer
from components.gateway_certificate import CertificateConfig, fault, key_text, text

HOST = "swan.example.org"
AUTHORITY, AUTHORITY_KEY = new_authority("public")


def pair(*names: str, authority: str = AUTHORITY, key: str = AUTHORITY_KEY) -> tuple[str, str]:
    return issue_certificate(names, authority=authority, authority_key=key)


def found(chain: str, key: str, *, hostname: str | None = HOST, days: int = 0) -> str | None:
    """What is wrong with it, `days` from now."""
    config = CertificateConfig.model_validate({"kind": "files", "chain": chain, "key": key})
    return fault(config, hostname, dt.datetime.now(dt.UTC) + dt.timedelta(days=days))


@pytest.mark.parametrize(
    "names", [[HOST], ["other.example.org", HOST], ["*.example.org"], ["SWAN.example.org"]], ids=str
)
def test_what_covers_the_name_is_taken(names: list[str]) -> None:
    assert found(*pair(*names)) is None


def test_issuers_between_it_and_its_authority_are_taken() -> None:
    issuer, key = new_issuer([HOST], authority=AUTHORITY, authority_key=AUTHORITY_KEY)
    chain, private = pair(HOST, authority=issuer, key=key)
    assert found(chain + AUTHORITY, private) is None


@pytest.mark.parametrize("names", [["other.example.org"], ["*.swan.example.org"], ["*.org"], ["192.0.2.7"]], ids=str)
def test_what_is_for_others_is_refused(names: list[str]) -> None:
    assert "not for swan.example.org" in str(found(*pair(*names)))


def test_a_key_of_another_certificate_is_refused() -> None:
    assert "the key is not that of the first certificate" in str(found(pair(HOST)[0], pair(HOST)[1]))


def test_what_has_ended_or_not_begun_is_refused() -> None:
    assert "has ended" in str(found(*pair(HOST), days=400))
    assert "begins at" in str(found(*pair(HOST), days=-1))


def test_a_chain_in_the_wrong_order_is_refused() -> None:
    chain, key = pair(HOST)
    stranger, _ = new_authority("stranger")
    leaf = chain.removesuffix(AUTHORITY)
    assert "CN=stranger after CN=swan.example.org, which it did not issue" in str(found(leaf + stranger, key))


@pytest.mark.parametrize(
    ("chain", "key"),
    [("-----BEGIN CERTIFICATE-----\nno\n", pair(HOST)[1]), (pair(HOST)[0], "no")],
    ids=["chain", "key"],
)
def test_what_is_no_pem_is_refused_without_showing_it(chain: str, key: str) -> None:
    assert found(chain, key) == "certificate.chain or its key is no PEM; the key must be without a passphrase"


@pytest.mark.parametrize("hostname", [None, "192.0.2.7"])
def test_it_is_for_a_host_name(hostname: str | None) -> None:
    assert "is for a host name" in str(found(*pair(HOST), hostname=hostname))
    assert "is for a host name" in str(fault(CertificateConfig(kind="acme"), hostname))


def test_both_can_be_files(tmp_path: Path) -> None:
    chain, key = pair(HOST)
    (tmp_path / "chain.pem").write_text(chain)
    (tmp_path / "key.pem").write_text(key)
    given: dict[str, Any] = {"chain": str(tmp_path / "chain.pem"), "key_file": str(tmp_path / "key.pem")}
    config = CertificateConfig(kind="files", **given)
    assert fault(config, HOST) is None
    assert (text(config.chain or ""), key_text(config)) == (chain, key)
