"""Sign-in at a Keycloak: who comes in and who does not, what of it is public, and what goes on when it does not answer.

As a stack's own, behind the service's gateway; and as an institute's, of which the hub knows the address only.
"""

import html
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keycloak.exceptions import KeycloakAuthenticationError

from components.sign_in import keycloak_admin
from components.sign_in.keycloak_admin import RealmDriftError
from components.sign_in.keycloak_realm import REALM
from tests.live.waiting import until
from tests.machines.single_sign_on import (
    GROUPS,
    NAMES,
    Keycloak,
    Service,
    Visitor,
    claims,
    declaration,
    one_time_code,
    password,
    running_apart,
    running_service,
)
from tests.unit.program import PROJECT


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    """With the realm that a stack would declare."""
    made = Keycloak(tmp_path_factory.mktemp("keycloak"))
    try:
        made.start()
        keycloak_admin.bring_about(made.admin(), declaration(), None)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def service(provider: Keycloak, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), provider) as made:
        yield made


def changed(provider: Keycloak, name: str, **fields: Any) -> None:
    """Changes a user, as an administrator does."""
    admin = provider.admin()
    (user,) = admin.get_users({"username": name, "exact": True})
    admin.update_user(user["id"], {**user, **fields})


def signed_in(service: Service, name: str) -> Visitor:
    visitor = service.visitor()
    page = visitor.sign_in(name)
    assert page.url == f"{service.url}/hub/home", page.text
    return visitor


def second_factor(service: Service, name: str) -> tuple[str, str]:
    """Signs in for the first time; returns the key that the authenticator app got, and the code that was used."""
    visitor = service.visitor()
    page = visitor.sign_in(name)
    secret = re.search(r'name="totpSecret" value="([^"]+)"', page.text)
    assert secret, page.text
    key = html.unescape(secret.group(1))
    used = one_time_code(key)
    page = visitor.submit(page, totpSecret=key, totp=used, userLabel="phone")
    assert page.url == f"{service.url}/hub/home", page.text
    return key, used


# Who comes in


def test_somebody_with_a_password_comes_in(service: Service) -> None:
    me = signed_in(service, "ada").api("GET", "user").json()
    assert (me["name"], me["admin"], set(me["groups"])) == ("ada", False, {"beta", "lab"})


def test_an_operator_is_one_by_name(service: Service) -> None:
    assert "operators" in signed_in(service, "root").api("GET", "user").json()["groups"]
    assert "operators" not in signed_in(service, "bob").api("GET", "user").json()["groups"]


def test_a_wrong_password_stays_on_the_page(service: Service) -> None:
    bob = service.visitor()
    page = bob.sign_in("bob", "not the password")
    assert "Invalid username or password" in page.text
    assert bob.page("/hub/home").url.startswith(f"{service.url}/hub/login")

    def comes_in() -> bool:
        nonlocal page
        page = bob.submit(page, username="bob", password=password("bob"))
        return page.url == f"{service.url}/hub/home"

    # While Keycloak counts a wrong one, it takes no other one.
    until(comes_in, "the right one opens", seconds=10, every=1)


def test_guesses_lock_an_account_for_a_while_and_nobody_elses(service: Service, provider: Keycloak) -> None:
    guesser, admin = service.visitor(), provider.admin()
    page = guesser.sign_in("bob", "guess 0")
    for number in range(1, 5):
        page = guesser.submit(page, username="bob", password=f"guess {number}")
    bob = str(admin.get_user_id("bob"))
    try:
        # Whoever guesses does not learn that this one was right.
        page = guesser.submit(page, username="bob", password=password("bob"))
        assert "Invalid username or password" in page.text
        assert admin.get_bruteforce_detection_status(bob)["disabled"]
        signed_in(service, "ada")
    finally:
        admin.clear_bruteforce_attempts_for_user(bob)
    signed_in(service, "bob")


def test_somebody_who_was_barred_stays_out(service: Service, provider: Keycloak) -> None:
    changed(provider, "bob", enabled=False)
    try:
        assert "Account is disabled" in service.visitor().sign_in("bob").text
    finally:
        changed(provider, "bob", enabled=True)


def test_somebody_without_the_group_is_told_which(service: Service) -> None:
    page = service.visitor().sign_in("eve")
    assert page.status_code == 403
    assert "eve may not sign in here, which is for members of: lab" in html.unescape(page.text)


def test_a_name_of_another_form_is_refused_and_not_changed(service: Service, provider: Keycloak) -> None:
    admin = provider.admin()
    named = {**declaration()["users"]["ada"], "username": "ada.lovelace", "email": "al@cygnet.invalid"}
    identity = admin.create_user(named)
    try:
        visitor = service.visitor()
        page = visitor.http.get(f"{service.url}/hub/oauth_login", timeout=60)
        page = visitor.submit(page, username="ada.lovelace", password=password("ada"))
        assert page.status_code == 403
        assert "Your name at the institute is 'ada.lovelace'. Names here begin with" in html.unescape(page.text)
    finally:
        admin.delete_user(identity)


def test_a_second_factor_is_set_up_at_the_first_sign_in_and_asked_for_at_the_next(service: Service) -> None:
    key, used = second_factor(service, "mallory")
    again = service.visitor()
    page = again.sign_in("mallory")
    assert 'name="otp"' in page.text
    assert "Invalid authenticator code" in again.submit(page, otp="000000").text
    # A code is good once; the next comes in half a minute at most. Who guesses at it is locked out for a while.
    until(lambda: one_time_code(key) != used, "the next code comes", seconds=40)
    assert again.submit(again.sign_in("mallory"), otp=one_time_code(key)).url == f"{service.url}/hub/home"


def test_another_name_of_the_service_works_as_through_a_tunnel(service: Service) -> None:
    visitor = Visitor(service, service.url.replace("127.0.0.1", "localhost"))
    page = visitor.sign_in("ada")
    assert page.url == f"{visitor.url}/hub/home", page.text
    assert all("localhost" in step.url for step in page.history)


# What groups may do


def test_a_release_for_a_group_is_for_its_members(service: Service) -> None:
    ada, bob = signed_in(service, "ada"), signed_in(service, "bob")
    refused = bob.api("POST", "users/bob/server", json={"release": "nightly"})
    assert (refused.status_code, refused.json()["message"]) == (
        400,
        "there is no release 'nightly' here; choose one of: stable",
    )
    assert ada.api("POST", "users/ada/server", json={"release": "nightly"}).status_code == 201
    assert ada.api("DELETE", "users/ada/server").status_code == 204


def test_who_lost_the_group_starts_no_such_session(service: Service, provider: Keycloak) -> None:
    ada, admin = signed_in(service, "ada"), provider.admin()
    (user,) = admin.get_users({"username": "ada", "exact": True})
    (beta,) = [group for group in admin.get_groups() if group["name"] == "beta"]
    admin.group_user_remove(user["id"], beta["id"])
    try:
        assert ada.api("POST", "users/ada/server", json={"release": "nightly"}).status_code == 400
    finally:
        admin.group_user_add(user["id"], beta["id"])


# What is public


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/realms/cygnet/users",
        "/realms/master",
        "/realms/master/protocol/openid-connect/auth",
        f"/realms/{REALM}",
        f"/realms/{REALM}/account",
        f"/realms/{REALM}/clients-registrations/default",
        f"/realms/{REALM}/protocol/openid-connect/../../../master/",
        "/resources/../admin/",
    ],
)
def test_nothing_else_of_it_is_public(service: Service, path: str) -> None:
    answer = service.visitor().http.get(f"{service.url}{path}", timeout=60)
    assert answer.status_code == 404
    assert "X-JupyterHub-Version" in answer.headers, "the hub was asked, and not Keycloak"


# Passwords and signing out


def test_somebody_chooses_another_password(service: Service) -> None:
    root = signed_in(service, "root")
    link = re.search(r'href="([^"]+change=password[^"]*)"', root.page("/hub/home").text)
    assert link
    page = root.page(html.unescape(link.group(1)))
    fields = {"password-new": "short", "password-confirm": "short"}
    page = root.submit(page, **fields)
    assert "minimum length" in page.text
    chosen = "one that root chose"
    page = root.submit(page, **{"password-new": chosen, "password-confirm": chosen})
    assert page.url == f"{service.url}/hub/home", page.text
    assert "Invalid username or password" in service.visitor().sign_in("root").text
    assert service.visitor().sign_in("root", chosen).ok


def test_signing_out_reaches_the_provider(service: Service) -> None:
    ada = signed_in(service, "ada")
    assert ada.page("/hub/oauth_login?next=%2Fhub%2Fhome").url.endswith("/hub/home"), "it knows the browser still"
    page = ada.page("/hub/logout")
    assert page.url == f"{service.url}/hub/login", page.text
    assert 'id="kc-form-login"' in ada.page("/hub/oauth_login").text


# Tokens of sessions


def token_of(visitor: Visitor, name: str, **asked: Any) -> str:
    """A token of the hub, as a session has one."""
    answer = visitor.api("POST", f"users/{name}/tokens", json={"expires_in": 600, **asked})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def access_token(visitor: Visitor, token: str) -> Any:
    return Visitor(visitor.service).http.get(
        f"{visitor.url}/hub/api/access-token", headers={"Authorization": f"token {token}"}, timeout=60
    )


def test_a_session_gets_its_users_access_token_and_nothing_more(service: Service) -> None:
    ada = signed_in(service, "ada")
    answer = access_token(ada, token_of(ada, "ada"))
    assert set(answer.json()) == {"access_token", "expires_at"}
    said = claims(answer.json()["access_token"])
    assert (said["preferred_username"], said["iss"]) == ("ada", f"{service.url}/realms/{REALM}")
    assert said["exp"] == pytest.approx(answer.json()["expires_at"], abs=30)


def test_a_session_keeps_its_token_in_a_file_of_its_own(service: Service, tmp_path: Path) -> None:
    ada = signed_in(service, "ada")
    file = tmp_path / "token"
    program = "import asyncio, logging, pathlib, sys; from cygnet_session.access_token import keep\n"
    program += "asyncio.run(keep(pathlib.Path(sys.argv[1]), *sys.argv[2:], logging))"
    argv = [sys.executable, "-c", program, str(file), f"{service.hub}/hub/api", token_of(ada, "ada")]
    with subprocess.Popen(argv, env={"PYTHONPATH": str(PROJECT / "images/session")}) as keeper:
        try:
            until(file.exists, "the token is there", seconds=60)
            assert file.stat().st_mode & 0o777 == 0o600
            assert claims(file.read_text())["preferred_username"] == "ada"
        finally:
            keeper.terminate()


def test_what_may_not_open_sessions_gets_no_token(service: Service) -> None:
    ada = signed_in(service, "ada")
    assert access_token(ada, token_of(ada, "ada", scopes=["read:users:name!user"])).status_code == 403
    assert access_token(ada, "nobody's").status_code == 403


@pytest.fixture
def short_tokens(provider: Keycloak) -> Iterator[None]:
    """Access tokens end after a minute."""
    admin = provider.admin()
    admin.update_realm(REALM, {"accessTokenLifespan": 60})
    yield
    admin.update_realm(REALM, {"accessTokenLifespan": declaration()["realm"]["accessTokenLifespan"]})


@pytest.mark.usefixtures("short_tokens")
def test_a_token_is_renewed_before_its_end(service: Service) -> None:
    ada = signed_in(service, "ada")
    token = token_of(ada, "ada")
    first = access_token(ada, token).json()
    time.sleep(1.1)
    second = access_token(ada, token).json()
    assert second["expires_at"] > first["expires_at"]
    assert second["access_token"] != first["access_token"]


@pytest.mark.usefixtures("short_tokens")
def test_who_was_barred_gets_no_further_token_and_has_to_sign_in(service: Service, provider: Keycloak) -> None:
    bob = signed_in(service, "bob")
    token = token_of(bob, "bob")
    changed(provider, "bob", enabled=False)
    try:
        assert access_token(bob, token).status_code == 403
    finally:
        changed(provider, "bob", enabled=True)


# The realm, as it is declared


def test_what_is_brought_about_is_what_was_declared(provider: Keycloak) -> None:
    assert keycloak_admin.drifted(provider.admin(), declaration()) == []


def test_changes_by_hand_are_told_and_not_overwritten(provider: Keycloak) -> None:
    admin, before = provider.admin(), declaration()
    admin.create_group({"name": "by-hand"})
    admin.update_realm(REALM, {"bruteForceProtected": False})
    changed(provider, "eve", enabled=False)
    try:
        found = [
            "realm.bruteForceProtected is false, not true",
            "groups: by-hand is there",
            "user eve.enabled is false, not true",
        ]
        assert keycloak_admin.drifted(admin, before) == found
        with pytest.raises(RealmDriftError, match="by-hand is there") as error:
            keycloak_admin.bring_about(admin, declaration(names=[*NAMES, "zoe"]), before)
        assert "`cygnet realm STACK`" in str(error.value)
        assert keycloak_admin.drifted(admin, before) == found
    finally:
        keycloak_admin.restore(admin, before)
    assert keycloak_admin.drifted(admin, before) == []


def test_people_come_and_go_with_the_declaration(service: Service, provider: Keycloak) -> None:
    admin, before = provider.admin(), declaration()
    with_zoe = declaration(names=[*NAMES, "zoe"], groups={**GROUPS, "lab": [*GROUPS["lab"], "zoe"]})
    keycloak_admin.bring_about(admin, with_zoe, before)
    signed_in(service, "zoe")
    keycloak_admin.bring_about(admin, before, with_zoe)
    assert "Invalid username or password" in service.visitor().sign_in("zoe").text


def test_a_declaration_leaves_passwords_that_users_chose(service: Service, provider: Keycloak) -> None:
    admin = provider.admin()
    (eve,) = admin.get_users({"username": "bob", "exact": True})
    admin.set_user_password(eve["id"], "one that bob chose", temporary=False)
    keycloak_admin.bring_about(admin, declaration(), declaration())
    assert service.visitor().sign_in("bob", "one that bob chose").url.endswith("/hub/home")


def test_passwords_that_the_stack_made_are_made_anew_and_others_stay(service: Service, provider: Keycloak) -> None:
    people = {"lab": [*GROUPS["lab"], "zoe", "kim"]}
    before = declaration(names=[*NAMES, "zoe", "kim"], groups={**GROUPS, **people})
    keycloak_admin.bring_about(provider.admin(), before, declaration())
    kim = signed_in(service, "kim")
    link = re.search(r'href="([^"]+change=password[^"]*)"', kim.page("/hub/home").text)
    assert link
    chosen = "one that kim chose"
    page = kim.page(html.unescape(link.group(1)))
    assert kim.submit(page, **{"password-new": chosen, "password-confirm": chosen}).url == f"{service.url}/hub/home"
    after = declaration(names=[*NAMES, "zoe", "kim"], groups={**GROUPS, **people}, passwords={"zoe": "a", "kim": "b"})
    keycloak_admin.bring_about(provider.admin(), after, before)
    try:
        assert "Invalid username or password" in service.visitor().sign_in("zoe").text
        assert service.visitor().sign_in("zoe", "a").url == f"{service.url}/hub/home"
        assert "Invalid username or password" in service.visitor().sign_in("kim", "b").text
        assert service.visitor().sign_in("kim", chosen).url == f"{service.url}/hub/home"
    finally:
        keycloak_admin.bring_about(provider.admin(), declaration(), after)


def test_the_administrator_gets_another_secret(provider: Keycloak) -> None:
    former = provider.secret
    for _ in range(2):  # a run that was killed after it does it again
        keycloak_admin.change_secret(provider.url, former, "another one")
    try:
        assert keycloak_admin.is_there(keycloak_admin.sign_in(provider.url, "another one"))
        with pytest.raises(KeycloakAuthenticationError):
            keycloak_admin.is_there(provider.admin())
    finally:
        keycloak_admin.change_secret(provider.url, "another one", former)


# An institute's


def test_an_institutes_provider_is_one_too(provider: Keycloak, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_apart(tmp_path_factory.mktemp("apart"), provider) as service:
        ada = signed_in(service, "ada")
        assert set(ada.api("GET", "user").json()["groups"]) == {"beta", "lab"}
        assert service.visitor().sign_in("eve").status_code == 403
        assert access_token(ada, token_of(ada, "ada")).ok
        assert ada.page("/hub/logout").url == f"{service.url}/hub/login"
        assert 'id="kc-form-login"' in ada.page("/hub/oauth_login").text
    clients = {one["clientId"]: one["id"] for one in provider.admin().get_clients()}
    provider.admin().delete_client(clients["apart"])


# Last, for it ends the provider


def test_sessions_go_on_while_the_provider_is_away_and_nobody_is_forgotten(
    service: Service, provider: Keycloak
) -> None:
    ada = signed_in(service, "ada")
    assert ada.api("POST", "users/ada/server").status_code == 201
    token = token_of(ada, "ada")
    provider.stop()
    try:
        page = service.visitor().sign_in("ada")
        assert page.status_code == 503
        assert "Sign-in at the institute does not answer now" in html.unescape(page.text)
        assert ada.page("/hub/home").ok
        assert ada.api("GET", "users/ada").json()["servers"][""]["ready"]
        assert access_token(ada, token).ok
        assert ada.api("DELETE", "users/ada/server").status_code == 204
        assert ada.api("POST", "users/ada/server").status_code == 201, "a new session starts, too"
    finally:
        provider.start()
    assert ada.api("DELETE", "users/ada/server").status_code == 204
    assert signed_in(service, "ada")
