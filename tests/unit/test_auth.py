"""Who may sign in."""

import json

import pytest
from argon2 import PasswordHasher

from components.auth import AuthConfig, account_names, user_id
from tests.unit import program


def test_people_come_before_admins_before_seats() -> None:
    config = AuthConfig(accounts=("ada", "bob"), admins=("root",), seats=2)
    assert account_names(config) == ["ada", "bob", "root", "seat-001", "seat-002"]


def test_seats_sort_as_they_count() -> None:
    names = account_names(AuthConfig(accounts=(), admins=(), seats=120))
    assert names == sorted(names)
    assert names[-1] == "seat-120"


@pytest.mark.parametrize("name", ["a", "ada-1", "a" * 31])
def test_good_names(name: str) -> None:
    assert AuthConfig(accounts=(name,)).accounts == (name,)


@pytest.mark.parametrize("name", ["", "Ada", "1ada", "-ada", "ada.l", "ada_l", "ada\n", "../etc", "a" * 32, "ädä"])
def test_bad_names(name: str) -> None:
    with pytest.raises(ValueError, match=r"accounts\.0"):
        AuthConfig(accounts=(name,))


def test_every_account_has_a_password_of_its_own_and_its_hash(local: program.Engine) -> None:
    outputs, secret = local.stack_outputs()
    passwords = outputs["accounts"]
    assert sorted(passwords) == sorted(account_names(AuthConfig()))
    assert len(set(passwords.values())) == len(passwords)
    assert "accounts" in secret
    hashes = local.one("Secret", "hub").inputs["stringData"]["accounts.json"]
    assert not any(password in hashes for password in passwords.values()), "the cluster knows hashes only"


def test_nobody_has_a_default_password() -> None:
    made = [program.run("site", {"cygnet:auth": {"accounts": ["ada"]}}).stack_outputs()[0] for _ in range(2)]
    assert made[0]["accounts"]["ada"] != made[1]["accounts"]["ada"]


def test_what_the_operator_reads_is_what_the_hub_checks(local: program.Engine) -> None:
    accounts = json.loads(local.one("Secret", "hub").inputs["stringData"]["accounts.json"])
    for name, password in local.stack_outputs()[0]["accounts"].items():
        assert PasswordHasher().verify(accounts[name]["hash"], password)
    assert [name for name, account in accounts.items() if account["admin"]] == ["operator"]


def test_a_user_id_is_no_systems_own_and_fits_in_32_bits() -> None:
    ids = [user_id(name) for name in account_names(AuthConfig(seats=500))]
    assert all(2**16 <= number < 2**31 for number in ids)
    assert len(set(ids)) == len(ids)
    assert user_id("ada") == user_id("ada")


def test_two_names_of_one_number_are_refused() -> None:
    pair = ("user-15323", "user-16613")
    assert user_id(pair[0]) == user_id(pair[1])
    with pytest.raises(ValueError, match=r"would have the same user id .*; give one of them another name"):
        AuthConfig(accounts=pair)


def test_groups_are_of_accounts() -> None:
    assert AuthConfig(accounts=("ada",), seats=1, groups={"atlas": ("ada", "seat-001", "operator")})
    with pytest.raises(ValueError, match=r"without an account \(atlas: bob, eve\); add them to 'accounts'"):
        AuthConfig(accounts=("ada",), groups={"atlas": ("eve", "ada", "bob")})
