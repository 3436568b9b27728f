"""Sign-in by Kerberos: what the stack hands to the hub, and what the hub to sessions."""

from components.sign_in.kerberos import KerberosConfig, krb5_conf
from tests.unit import program

AUTH = {
    "kind": "kerberos",
    "kerberos": {"realm": "EXAMPLE.ORG", "kdcs": ["kdc.example.org:88"], "keytab": "a2V5"},
    "accounts": ["ada"],
    "admins": ["root"],
    "groups": {"lab": ["ada"]},
}


def test_the_hub_gets_the_realm_and_the_keytab_as_a_secret() -> None:
    engine = program.run("site", {"cygnet:auth": AUTH})
    told = engine.one("ConfigMap", "hub").inputs["data"]["hub.yaml"]
    assert "EXAMPLE.ORG" in told
    assert "a2V5" not in told
    secret = engine.one("Secret", "hub")
    assert secret.inputs["stringData"]["kerberos-keytab"] == "a2V5"
    assert "kdc = kdc.example.org:88" in secret.inputs["stringData"]["krb5.conf"]


def test_no_password_is_made_and_those_who_are_named_have_homes() -> None:
    engine = program.run("site", {"cygnet:auth": AUTH})
    assert engine.stack_outputs()[0]["accounts"] == {}
    assert set(engine.one("Playbook", "eos").inputs["variables"]["eos_users"]) == {"ada", "root"}


def test_nobody_is_an_administrator_by_default() -> None:
    auth = {"kind": "kerberos", "kerberos": {"realm": "EXAMPLE.ORG"}}
    engine = program.run("site", {"cygnet:auth": auth, "cygnet:eos": {"client": "none"}})
    assert engine.stack_outputs()[0]["parts"]["auth"]["admins"] == []


def test_without_servers_the_realms_dns_names_them() -> None:
    assert "dns_lookup_kdc = true" in krb5_conf(KerberosConfig(realm="EXAMPLE.ORG"))
    assert "dns_lookup_kdc = false" in krb5_conf(KerberosConfig(realm="EXAMPLE.ORG", kdcs=("kdc.example.org",)))
