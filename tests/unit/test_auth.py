"""Who may sign in."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from argon2 import PasswordHasher

from components import copyparty
from components.auth import AuthConfig, account_names, has_guests
from components.config import ConfigError, parse
from components.sign_in.kerberos import KerberosConfig
from components.sign_in.rights import RightsConfig
from components.sign_in.user_ids import user_id
from tests.unit import program
from tests.unit.manifests import careless, violations


@pytest.fixture
def cygnet_hub(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hub's own Python, which reads what we write."""
    monkeypatch.syspath_prepend(str(program.PROJECT / "images/hub"))
    return importlib.import_module("cygnet_hub")


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
        AuthConfig(kind="kerberos", kerberos=KerberosConfig(realm="LAB"), accounts=pair)
    with pytest.raises(ValueError, match=r"would have the same user id .*; give one of them another name"):
        AuthConfig(accounts=pair)


def test_groups_are_of_accounts() -> None:
    assert AuthConfig(accounts=("ada",), seats=1, groups={"atlas": ("ada", "seat-001", "operator")})
    with pytest.raises(ValueError, match=r"without an account \(atlas: bob, eve\); add them to 'accounts'"):
        AuthConfig(accounts=("ada",), groups={"atlas": ("eve", "ada", "bob")})


# What groups may do


def test_rights_are_of_groups_that_are_there() -> None:
    assert AuthConfig(accounts=("ada",), groups={"lab": ("ada",)}, rights=RightsConfig(sign_in=("lab",)))
    with pytest.raises(ValueError, match=r"rights name groups that 'groups' does not have: beta, lab; add them there"):
        AuthConfig(accounts=("ada",), rights=RightsConfig(admin=("lab",), features={"large": ("beta",)}))


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        (
            {"auth": {"rights": {"features": {"huge": ["lab"]}}, "groups": {"lab": ["physicist"]}}},
            "auth.rights.features has huge, which is no release or view of cygnet:software, no size",
        ),
        (
            {
                "auth": {
                    "rights": {"features": {"stable": ["lab"], "bleeding": ["lab"]}},
                    "groups": {"lab": ["physicist"]},
                }
            },
            "auth.rights.features leaves no software release for everyone",
        ),
    ],
)
def test_rights_are_to_what_is_there(given: dict[str, Any], finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        parse(given, "a file")


@pytest.mark.usefixtures("cygnet_hub")
def test_the_table_of_groups_reaches_the_hub() -> None:
    from cygnet_hub.settings import Settings  # noqa: PLC0415

    made = program.run(
        "site",
        {
            "cygnet:auth": {
                "groups": {"lab": ["physicist"], "staff": ["operator"]},
                "rights": {
                    "sign_in": ["lab"],
                    "admin": ["staff"],
                    "features": {"large": ["lab"], "bleeding": ["lab"]},
                    "max_age_hours": {"lab": 12},
                },
            },
            "cygnet:hub": {"sizes": {"large": {"title": "Large", "cores": 8, "memory_gib": 16}}},
        },
    )
    read = Settings.model_validate(yaml.safe_load(made.one("ConfigMap", "hub").inputs["data"]["hub.yaml"]))
    assert read.auth.rights.model_dump() == {
        "sign_in": ("lab",),
        "admin": ("staff",),
        "admins": ("operator",),
        "max_age_hours": {"lab": 12},
    }
    assert {one.name: one.groups for one in read.sessions.profiles} == {"standard": (), "large": ("lab",)}
    assert {one.name: one.groups for one in read.sessions.releases} == {"stable": (), "bleeding": ("lab",)}
    accounts = json.loads(made.one("Secret", "hub").inputs["stringData"]["accounts.json"])
    assert {name: account["groups"] for name, account in accounts.items()} == {
        "physicist": ["lab"],
        "operator": ["staff"],
    }


# Other kinds


PROVIDER = {
    "issuer": "https://login.example.org/realms/lab",
    "client_id": "swan",
    "client_secret": "the client's own secret",
}


@pytest.mark.parametrize(
    ("given", "finding"),
    [
        ({"kind": "oidc"}, "oidc and kind oidc go together, and kind is oidc"),
        ({"oidc": PROVIDER}, "oidc and kind oidc go together, and kind is accounts"),
        ({"kind": "oidc", "oidc": PROVIDER, "accounts": ["ada"]}, "with kind oidc the provider says who is who"),
        ({"kind": "oidc", "oidc": PROVIDER, "seats": 1}, "with kind oidc the provider says who is who"),
        ({"keycloak": {}}, "keycloak and kind keycloak go together, and kind is accounts"),
        (
            {"kind": "keycloak", "keycloak": {"second_factor": ["lab"]}},
            "keycloak.second_factor names groups that 'groups' does not have: lab",
        ),
        ({"kind": "oidc", "oidc": {**PROVIDER, "issuer": "http://login.example.org"}}, "oidc.issuer"),
        ({"kind": "oidc", "oidc": {**PROVIDER, "issuer": "https://login.example.org/"}}, "oidc.issuer"),
    ],
)
def test_a_kind_has_its_own_fields(given: dict[str, Any], finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        parse({"auth": given}, "a file")


def test_at_a_provider_nobody_is_known_and_nobody_is_an_administrator_by_default() -> None:
    config = parse({"auth": {"kind": "oidc", "oidc": PROVIDER}, "eos": {"client": "none"}}, "a file").auth
    assert (config.admins, account_names(config)) == ((), [])


def test_the_login_machine_knows_passwords_of_the_hub_only() -> None:
    with pytest.raises(ConfigError, match=r"login.enabled is for auth.kind: accounts, and that is keycloak"):
        parse({"auth": {"kind": "keycloak"}, "login": {"enabled": True}}, "a file")


@pytest.mark.parametrize(
    ("given", "guests"),
    [
        ({"kind": "oidc", "oidc": PROVIDER}, True),
        ({"kind": "kerberos", "kerberos": {"realm": "LAB"}}, True),
        ({"kind": "kerberos", "kerberos": {"realm": "LAB"}, "accounts": ["ada"]}, False),
        ({"kind": "keycloak"}, False),
        ({}, False),
    ],
)
def test_who_names_nobody_has_guests(given: dict[str, Any], *, guests: bool) -> None:
    assert has_guests(parse({"auth": given}, "a file").auth) is guests


def test_everyone_of_a_realm_may_be_in_a_group() -> None:
    given = {"kind": "kerberos", "kerberos": {"realm": "LAB"}, "groups": {"lab": ["ada"]}}
    assert parse({"auth": given, "eos": {"data": {"raw": {"readers": ["lab"]}}}}, "a file")
    with pytest.raises(ConfigError, match="groups name people without an account"):
        parse({"auth": {**given, "accounts": ["bob"]}}, "a file")


def test_data_is_opened_to_groups_that_a_provider_knows() -> None:
    data = {"raw": {"readers": ["/physics/atlas"], "writers": ["Domain Admins"]}}
    assert parse({"auth": {"kind": "oidc", "oidc": PROVIDER}, "eos": {"data": data}}, "a file")


@pytest.fixture(scope="module")
def guests() -> program.Engine:
    """A stack with homes of its own, for users of a provider."""
    data = {"raw": {"readers": ["/physics/atlas"]}, "opendata": {"readers": "everyone", "writers": ["staff"]}}
    return program.run("site", {"cygnet:auth": {"kind": "oidc", "oidc": PROVIDER}, "cygnet:eos": {"data": data}})


def test_hub_and_machines_know_where_guests_are_written(guests: program.Engine, cygnet_hub: ModuleType) -> None:
    assert cygnet_hub
    play = guests.one("Playbook", "eos").inputs["variables"]
    assert play["eos_guests"] == {"api": "10.240.3.11:6443", "list": "eos/guests"}
    assert (play["eos_users"], play["xrootd_guests"]) == ({}, True)
    told = yaml.safe_load(guests.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])
    assert told["guests"] == {"namespace": "eos", "name": "guests", "groups": ["/physics/atlas", "staff"]}
    settings = importlib.import_module("cygnet_hub.settings").Settings.model_validate(told)
    assert settings.guests.groups == ("/physics/atlas", "staff")
    assert guests.one("ConfigMap", "guests").inputs["metadata"] == {"name": "guests", "namespace": "eos"}


def test_the_hub_changes_the_list_of_guests_and_machines_read_it(guests: program.Engine) -> None:
    found = {}
    for who in ("hub", "machines"):
        (rule,) = guests.one("Role", f"guests-{who}").inputs["rules"]
        assert (rule["resources"], rule["resourceNames"]) == (["configmaps"], ["guests"])
        (subject,) = guests.one("RoleBinding", f"guests-{who}").inputs["subjects"]
        found[subject["name"]] = rule["verbs"]
    assert found == {"hub": ["get", "patch"], "system:nodes": ["get", "list", "watch"]}


def test_the_page_of_files_takes_whoever_the_gateway_names(guests: program.Engine) -> None:
    written = guests.one("ConfigMap", "files").inputs["data"]["copyparty.conf"]
    assert "idp-h-grp: x-cygnet-groups" in written
    assert "[/eos/user/a/${u%+home-a}]\n  /srv/files/user/a/${u}\n" in written
    assert f"[/eos/raw]\n  /srv/files/raw\n  accs:\n    r: {copyparty.group('/physics/atlas')}\n" in written


def test_the_page_of_files_and_the_hub_have_the_same_names_of_groups(cygnet_hub: ModuleType) -> None:
    assert cygnet_hub
    told = importlib.import_module("cygnet_hub.files").groups("ada", ["/physics/atlas"])
    assert told == f"home-a,{copyparty.group('/physics/atlas').removeprefix('@')}"


def test_a_stack_that_names_everybody_has_no_list(local: program.Engine) -> None:
    assert [one.name for one in local.of("ConfigMap") if one.name == "guests"] == []
    assert "guests" not in yaml.safe_load(local.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])
    assert "idp-h-grp" not in local.one("ConfigMap", "files").inputs["data"]["copyparty.conf"]


@pytest.fixture(scope="module")
def institute() -> program.Engine:
    return program.run("site", {"cygnet:auth": {"kind": "oidc", "oidc": PROVIDER}, "cygnet:eos": {"client": "none"}})


@pytest.fixture(scope="module")
def keycloak() -> program.Engine:
    auth = {"kind": "keycloak", "groups": {"lab": ["physicist"]}, "keycloak": {"second_factor": ["lab"]}}
    return program.run("site", {"cygnet:auth": auth})


def hub_egress(made: program.Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = made.one("NetworkPolicy", "hub").inputs["spec"]["egress"]
    return found


def test_the_hub_reaches_an_institutes_provider_and_nothing_within(
    local: program.Engine, institute: program.Engine
) -> None:
    (added,) = [rule for rule in hub_egress(institute) if rule not in hub_egress(local)]
    assert added["to"][0]["ipBlock"]["cidr"] == "0.0.0.0/0"
    assert "10.244.0.0/16" in added["to"][0]["ipBlock"]["except"]


def test_the_clients_secret_is_in_the_hubs_secret_only(institute: program.Engine) -> None:
    places = [one for one in institute.asked if PROVIDER["client_secret"] in json.dumps(one.inputs)]
    assert [(one.type.rpartition(":")[2], one.name) for one in places] == [("Secret", "hub")]
    assert "stringData" in places[0].secret_inputs


@pytest.mark.usefixtures("cygnet_hub")
@pytest.mark.parametrize("kind", ["institute", "keycloak"])
def test_the_hub_reads_what_it_is_told_of_a_provider(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    from cygnet_hub import config  # noqa: PLC0415
    from cygnet_hub.settings import Settings, read_secrets  # noqa: PLC0415

    made: program.Engine = request.getfixturevalue(kind)
    for name, text in made.one("Secret", "hub").inputs["stringData"].items():
        (tmp_path / name).write_text(text)
    read = Settings.model_validate(yaml.safe_load(made.one("ConfigMap", "hub").inputs["data"]["hub.yaml"]))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(config, "FOLDER", tmp_path.parent)
        (tmp_path.parent / "secrets").symlink_to(tmp_path)
        told = config.configuration(read, read_secrets(tmp_path))
        (tmp_path.parent / "secrets").unlink()
    known = set(told.JupyterHub.authenticator_class.class_traits(config=True))
    assert set(told.OidcAuthenticator) - known == set()
    assert told.OidcAuthenticator.enable_auth_state
    assert told.KubeSpawner.environment["BEARER_TOKEN_FILE"]


def test_a_keycloak_is_reached_by_gateway_and_hub_and_reaches_nobody(keycloak: program.Engine) -> None:
    policy = keycloak.one("NetworkPolicy", "keycloak").inputs["spec"]
    assert policy["egress"] == []
    assert policy["podSelector"] == {}
    sources = [one["namespaceSelector"]["matchLabels"] for rule in policy["ingress"] for one in rule["from"]]
    assert [next(iter(one.values())) for one in sources] == ["gateway", "hub"]


@pytest.mark.parametrize("database", ["h2", "postgresql"])
def test_a_keycloak_is_a_pod_without_rights(database: str) -> None:
    made = program.run("site", {"cygnet:auth": {"kind": "keycloak", "keycloak": {"database": database}}})
    spec = made.one("Deployment", "keycloak").inputs["spec"]["template"]["spec"]
    assert violations(spec) == []
    assert careless(spec) == []
    assert [one["name"] for one in spec["containers"]] == ["keycloak"]
    first = {one["name"]: one["restartPolicy"] for one in spec.get("initContainers", [])}
    assert first == ({"postgresql": "Always"} if database == "postgresql" else {})


def test_a_realm_is_secret_and_has_hashes_only(keycloak: program.Engine) -> None:
    (realm,) = keycloak.of("Realm")
    assert {"declared", "secret", "kubeconfig"} <= realm.secret_inputs
    passwords = keycloak.stack_outputs()[0]["accounts"].values()
    assert not any(password in realm.inputs["declared"] for password in passwords)
    users = json.loads(realm.inputs["declared"])["users"]
    assert users["physicist"]["requiredActions"] == ["CONFIGURE_TOTP"]
    assert users["operator"]["requiredActions"] == []
    assert "realm" in keycloak.stack_outputs()[1]


def test_of_a_keycloak_the_gateway_shows_signing_in_only(keycloak: program.Engine, local: program.Engine) -> None:
    def routes(made: program.Engine) -> list[dict[str, Any]]:
        told = json.loads(made.one("Secret", "gateway").inputs["stringData"]["caddy.json"])
        found: list[dict[str, Any]] = told["apps"]["http"]["servers"]["https"]["routes"]
        return found

    (added,) = [one for one in routes(keycloak) if one not in routes(local)]
    assert all(path.startswith(("/realms/cygnet/", "/resources/")) for path in added["match"][0]["path"])
    assert added["handle"][-1]["upstreams"] == [{"dial": "keycloak.keycloak.svc:8080"}]
