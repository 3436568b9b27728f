"""Stack files: what is accepted, and what is refused with which words."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pulumi
import pytest
import yaml
from pydantic import BaseModel

from components import config
from components.config import ConfigError, ServiceConfig, parse
from components.findings import model_in
from components.parts import PARTS
from operations import reference
from tests.live.own import CONFIG
from tests.unit import program

FILE = "stacks/Pulumi.site.yaml"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIESpK7dCXEPH"
HOST = {"name": "a", "group": "control_plane", "address": "192.0.2.7", "host_key": KEY}


def groups(**groups: Any) -> dict[str, Any]:
    return {"machines": {"groups": groups}}


def existing(*hosts: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"machines": {"source": "existing", "hosts": list(hosts), **more}}


def own_network(subnet: str) -> dict[str, Any]:
    place = {"own_network": {"external": "ext", "subnet": subnet}, "image": "i", "admin_networks": ["192.0.2.0/24"]}
    groups = {"control_plane": {"flavor": "m"}, "worker": {"flavor": "m"}}
    return {"machines": {"source": "openstack", "groups": groups, "openstack": place}}


BROKEN: dict[str, tuple[Any, str]] = {
    "a part that is misspelt": ({"mashines": {}}, "cygnet:mashines: unknown key; did you mean 'machines'?"),
    "a part that is like no other": (
        {"zzz": {}},
        "cygnet:zzz: unknown key; remove it, or use one of: auth, cluster, cvmfs, eos, files, gateway, health, hub, "
        "login, machines, monitor, registry, software, spark, storage",
    ),
    "a key that is misspelt": (
        {"gateway": {"hostnme": "a.example"}},
        "cygnet:gateway.hostnme: unknown key; did you mean 'hostname'?",
    ),
    "a key that is misspelt, one level down": (
        groups(workers={"count": 3}),
        "cygnet:machines.groups: no group can be called workers: did you mean 'worker'? Machines are called after "
        "their group, so a further one has a name such as gpu-t4: lowercase letters, digits and hyphens, at most 30",
    ),
    "a key that is misspelt, two levels down": (
        groups(worker={"cuont": 3}),
        "cygnet:machines.groups.worker.cuont: unknown key; did you mean 'count'?",
    ),
    "a key that is misspelt, in a list": (
        existing({**HOST, "prot": 22}),
        "cygnet:machines.hosts[0].prot: unknown key; did you mean 'port'?",
    ),
    "a part that is a number": ({"hub": 3}, "cygnet:hub: Input should be keys with values, not 3"),
    "a name where names are wanted": (
        {"auth": {"accounts": "ada"}},
        'cygnet:auth.accounts: Input should be a list, not "ada". It is: Names of people; lower-case letters, digits '
        "and '-', 31 at most",
    ),
    "a value with its unit": (
        {"hub": {"memory_gib": "4G"}},
        'cygnet:hub.memory_gib: Input should be a valid number, unable to parse string as a number, not "4G". '
        "It is: GiB of memory at which a session is ended",
    ),
    "a negative count": (
        groups(worker={"count": -1}),
        "cygnet:machines.groups.worker.count: Input should be greater than or equal to 0, not -1. "
        "It is: How many; 0 in all groups of workers: the control plane does their work too",
    ),
    "an even number of control planes": (
        groups(control_plane={"count": 2}),
        "cygnet:machines.groups.control_plane.count: a control plane has 1, 3 or 5 machines, not 2: etcd needs a "
        "majority, and an even number survives no more failures than one less",
    ),
    "networks that overlap": (
        {"cluster": {"pod_network": "10.96.0.0/12"}},
        "cygnet:cluster: pod_network 10.96.0.0/12 and service_network 10.96.0.0/16 overlap; move one of them",
    ),
    "pods where local machines are": (
        {"cluster": {"pod_network": "10.240.0.0/20"}},
        "cygnet: cluster.pod_network 10.240.0.0/20 overlaps with addresses of machines (10.240.0.0/16); move it",
    ),
    "services where an existing machine is": (
        {**existing(HOST), "cluster": {"service_network": "192.0.2.0/24"}},
        "cygnet: cluster.service_network 192.0.2.0/24 overlaps with addresses of machines (192.0.2.7/32); move it",
    ),
    "more machines than pods have networks": (
        {**groups(worker={"count": 4}), "cluster": {"pod_network": "172.16.0.0/22"}},
        "cygnet: cluster.pod_network 172.16.0.0/22 has room for 4 machines, a /24 each, and not for 5; make it larger",
    ),
    "a network with a machine's address": (
        {"cluster": {"pod_network": "10.244.0.1/16"}},
        'cygnet:cluster.pod_network: Input is not a valid IPv4 network, not "10.244.0.1/16". '
        "It is: Addresses of pods; one /24 of it for each machine",
    ),
    "a guarantee above its limit": (
        {"hub": {"memory_gib": 1, "memory_gib_guaranteed": 2}},
        "cygnet:hub: memory_gib_guaranteed (2) is more than memory_gib (1); raise memory_gib, or lower "
        "memory_gib_guaranteed",
    ),
    "a guarantee above the default limit": (
        {"hub": {"cores_guaranteed": 3}},
        "cygnet:hub: cores_guaranteed (3) is more than cores (2); raise cores, or lower cores_guaranteed",
    ),
    "an account named twice": (
        {"auth": {"accounts": ["ada", "ada"]}},
        "cygnet:auth: named twice: ada; keep each name in one place",
    ),
    "an account that is an admin too": (
        {"auth": {"accounts": ["ada"], "admins": ["ada"]}},
        "cygnet:auth: named twice: ada; keep each name in one place",
    ),
    "an account that is a seat too": (
        {"auth": {"accounts": ["seat-001"], "seats": 1}},
        "cygnet:auth: named twice: seat-001; keep each name in one place",
    ),
    "nobody": (
        {"auth": {"accounts": [], "admins": []}},
        "cygnet:auth: nobody could sign in; name someone in 'accounts' or 'admins', or set 'seats'",
    ),
    "an account with a space": (
        {"auth": {"accounts": ["grace", "Ada Lovelace"]}},
        'cygnet:auth.accounts[1]: Input should be of another form, not "Ada Lovelace". '
        "It is: Names of people; lower-case letters, digits and '-', 31 at most",
    ),
    "a kind of sign-in that is not there": (
        {"auth": {"kind": "ldap"}},
        "cygnet:auth.kind: Input should be 'accounts', 'kerberos', 'keycloak' or 'oidc', not \"ldap\". It is: How "
        "people sign in; accounts: names and passwords, which the hub checks; keycloak: the same, which a Keycloak of "
        "the stack checks; kerberos: the passwords of a Kerberos realm, whose tickets sessions have; oidc: an OpenID "
        "Connect provider that is there",
    ),
    "a port that is none": (
        {"gateway": {"https_port": 70000}},
        "cygnet:gateway.https_port: Input should be less than or equal to 65535, not 70000. "
        "It is: TCP port of the service",
    ),
    "a port of the machine's own": (
        {"gateway": {"https_port": 6443}},
        "cygnet:gateway: https_port 6443 is the port of Kubernetes' API on that machine; take another",
    ),
    "two ports that are one": (
        {"gateway": {"https_port": 80}},
        "cygnet:gateway: https_port and http_port are both 80; give one of them another number",
    ),
    "a network that is none": (
        {"gateway": {"allowed_networks": ["192.0.2.0/24", "everybody"]}},
        'cygnet:gateway.allowed_networks[1]: Input is not a valid IPv4 network, not "everybody". '
        "It is: Who may connect, e.g. [192.0.2.0/24]; empty: all",
    ),
    "seats in a realm": (
        {"auth": {"kind": "kerberos", "kerberos": {"realm": "LAB"}, "seats": 2}},
        "cygnet:auth: seats have passwords of the stack's, and with kind kerberos the realm has them; remove seats",
    ),
    "a realm for accounts": (
        {"auth": {"kerberos": {"realm": "LAB"}}},
        "cygnet:auth: kerberos and kind kerberos go together, and kind is accounts; give both, or none of them",
    ),
    "a certificate for an address": (
        {"gateway": {"certificate": {"kind": "acme"}}},
        "cygnet:gateway: a certificate of kind acme is for a host name; give it in hostname",
    ),
    "files without a key": (
        {"gateway": {"hostname": "a.example", "certificate": {"kind": "files", "chain": "-----BEGIN "}}},
        "cygnet:gateway.certificate: kind files needs chain, and one of key and key_file",
    ),
    "a file that is not there": (
        {"gateway": {"hostname": "a.example", "certificate": {"kind": "files", "chain": "/a.pem", "key": "k"}}},
        "cygnet:gateway.certificate: chain: /a.pem cannot be read: [Errno 2] No such file or directory: '/a.pem'; name "
        "a file of PEM, by its path from the project's folder or from /",
    ),
    "what another kind has": (
        {"gateway": {"certificate": {"email": "a@b.example"}}},
        "cygnet:gateway.certificate: email is for kind acme; remove it, or set that kind",
    ),
    "half of an account": (
        {"gateway": {"hostname": "a.example", "certificate": {"kind": "acme", "eab_key_id": "k"}}},
        "cygnet:gateway.certificate: an account with the authority needs both: eab_key_id and eab_key",
    ),
    "an address where a name is wanted": (
        {"gateway": {"hostname": "https://swan.example.org"}},
        'cygnet:gateway.hostname: Input should be of another form, not "https://swan.example.org". '
        "It is: Name in the user's address bar, e.g. swan.example.org; none: the machine's address",
    ),
    "a folder without its root": (
        {"storage": {"folder": "srv/cygnet"}},
        'cygnet:storage.folder: Input should be of another form, not "srv/cygnet". '
        "It is: Folder that is the same on every machine, for example a mount",
    ),
    "another shared folder on local machines": (
        {"storage": {"folder": "/eos/x"}},
        "cygnet: local machines have their shared folder at /srv/cygnet; remove storage.folder (/eos/x), or use "
        "machines that exist",
    ),
    "control planes of existing machines without an address to share": (
        existing(HOST, {**HOST, "name": "b", "address": "192.0.2.8"}, {**HOST, "name": "c", "address": "192.0.2.9"}),
        "cygnet: cluster.api_address: control planes of existing machines share an address that you choose: a free one "
        "of their network, which no other machine has",
    ),
    "an address that a machine has": (
        {**existing(HOST), "cluster": {"api_address": HOST["address"]}},
        f"cygnet: cluster.api_address {HOST['address']} is the address of {HOST['name']}; take a free one",
    ),
    "an address that local machines cannot have": (
        {"cluster": {"api_address": "192.0.2.7"}},
        "cygnet: cluster.api_address: local machines take one by themselves; say own, not 192.0.2.7",
    ),
    "an address beside the stack's own network": (
        {**own_network("10.20.0.0/24"), "cluster": {"api_address": "10.20.1.7"}},
        "cygnet: cluster.api_address 10.20.1.7 is not in openstack.own_network.subnet 10.20.0.0/24; take a free one of "
        "it, or say own",
    ),
    "existing machines, none listed": (
        existing(),
        "cygnet:machines: source existing needs hosts: the list of machines with name, group, address and host_key",
    ),
    "a secret that is still to be given": (
        {
            "auth": {"kind": "oidc", "oidc": {"issuer": "https://login.example.org", "client_id": "swan"}},
            "eos": {"client": "none"},
        },
        "cygnet:auth.oidc.client_secret is missing: .venv/bin/pulumi config set --stack site --path --secret "
        "cygnet:auth.oidc.client_secret",
    ),
    "a cloud that is not named": (
        {"machines": {"source": "openstack"}},
        "cygnet:machines: source openstack needs openstack: network, image and admin_networks",
    ),
}

GOOD: dict[str, Any] = {
    "nothing": {},
    "three control planes": groups(control_plane={"count": 3}),
    "no worker": groups(worker={"count": 0}),
    "other networks": {"cluster": {"pod_network": "172.16.0.0/16", "service_network": "172.17.0.0/16"}},
    "networks side by side": {"cluster": {"pod_network": "10.96.0.0/16", "service_network": "10.97.0.0/16"}},
    "as many machines as pods have networks": {
        **groups(worker={"count": 3}),
        "cluster": {"pod_network": "172.16.0.0/22"},
    },
    "parts of a core": {"hub": {"cores": 0.5, "cores_guaranteed": 0.5}},
    "a guarantee that is the limit": {"hub": {"memory_gib": 3, "memory_gib_guaranteed": 3}},
    "sessions that never end": {"hub": {"idle_hours": 0}},
    "seats only": {"auth": {"accounts": [], "admins": [], "seats": 500}},
    "the longest name": {"auth": {"accounts": ["a" * 31, "a-1"]}},
    "a port of its own": {"gateway": {"https_port": 65535, "http_port": 1}},
    "networks that may": {"gateway": {"allowed_networks": ["192.0.2.0/24", "198.51.100.7/32"]}},
    "a name": {"gateway": {"hostname": "swan-2.example.org"}},
    "an address for a name": {"gateway": {"hostname": "192.0.2.7"}},
    "a realm": {
        "auth": {
            "kind": "kerberos",
            "kerberos": {"realm": "LAB"},
            "accounts": ["a"],
            "admins": [],
            "groups": {"g": ["a"]},
        }
    },
    "a certificate by ACME": {"gateway": {"hostname": "a.example", "certificate": {"kind": "acme"}}},
    "another folder": {**existing(HOST), "storage": {"folder": "/eos/project-c/cygnet_1.0"}},
    "an address for later control planes": {"cluster": {"api_address": "own"}},
    "an address of the stack's own network": {**own_network("10.20.0.0/24"), "cluster": {"api_address": "10.20.0.7"}},
    "existing machines that share an address": {
        **existing(HOST, {**HOST, "name": "b", "address": "192.0.2.8"}, {**HOST, "name": "c", "address": "192.0.2.9"}),
        "cluster": {"api_address": "192.0.2.99"},
    },
    "existing machines": existing(HOST, {**HOST, "name": "b", "group": "worker", "address": "192.0.2.8"}),
}


@pytest.mark.parametrize(("document", "finding"), BROKEN.values(), ids=BROKEN)
def test_a_broken_stack_file_has_one_finding_with_its_cure(document: dict[str, Any], finding: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(document, FILE)
    assert str(error.value).splitlines() == [f"{FILE}: 1 finding, nothing was changed", f"  {finding}"]


@pytest.mark.parametrize("document", GOOD.values(), ids=GOOD)
def test_a_good_stack_file_is_taken_as_it_is(document: dict[str, Any]) -> None:
    read = parse(document, FILE).model_dump(mode="json", exclude_unset=True)
    assert read == document


def test_all_findings_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse({"auth": {"seats": -1}, "gateway": {"hots": "a", "http_port": 0}, "hbu": {}}, FILE)
    first, *findings = str(error.value).splitlines()
    assert first == f"{FILE}: 4 findings, nothing was changed"
    assert sorted(finding.split(": ")[0].strip() for finding in findings) == [
        "cygnet:auth.seats",
        "cygnet:gateway.hots",
        "cygnet:gateway.http_port",
        "cygnet:hbu",
    ]


def test_a_finding_shows_no_more_than_the_beginning_of_a_value() -> None:
    with pytest.raises(ConfigError) as error:
        parse({"auth": {"accounts": ["-----BEGIN KEY-----" + "k" * 1000]}}, FILE)
    assert len(str(error.value)) < 300


def test_what_was_read_cannot_be_changed() -> None:
    read = parse({}, FILE)
    with pytest.raises(ValueError, match="frozen"):
        read.gateway.https_port = 1  # type: ignore[misc]  # what mypy sees, too


def test_an_empty_file_means_the_stack_local() -> None:
    assert parse({}, FILE).machines.source == "local"


# As Pulumi hands it over


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The configuration of the running program, as Pulumi sets it."""
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)
    values: dict[str, str] = {}
    token = pulumi.runtime.config.CONFIG.set(values)
    yield values
    pulumi.runtime.config.CONFIG.reset(token)


def test_a_program_reads_its_own_keys_and_leaves_others_alone(given: dict[str, str]) -> None:
    given |= {"cygnet:auth": '{"seats": 3}', "cygnet:hub": '{"idle_hours": 1.5}', "aws:region": "x", "other:auth": "{}"}
    read = config.load("site")
    assert (read.auth.seats, read.hub.idle_hours) == (3, 1.5)


def test_a_program_reads_what_the_environment_says(given: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"cygnet:auth": '{"seats": 3}'}))
    assert config.load("site").auth.seats == 3
    given["cygnet:auth"] = '{"seats": 4}'
    assert config.load("site").auth.seats == 4


def test_a_program_that_is_given_a_broken_file_names_it(given: dict[str, str]) -> None:
    given |= {"cygnet:mashines": "{}", "cygnet:hub": "big"}
    with pytest.raises(ConfigError, match=r"^stacks/Pulumi\.site\.yaml: 2 findings") as error:
        config.load("site")
    assert 'cygnet:hub: Input should be keys with values, not "big"' in str(error.value)


@pytest.mark.parametrize("broken", ["a part that is misspelt", "a value with its unit"])
def test_the_program_itself_ends_before_the_first_resource(broken: str) -> None:
    document, finding = BROKEN[broken]
    engine = program.Engine()
    with pytest.raises(ConfigError) as error:
        program.run("site", {f"cygnet:{part}": keys for part, keys in document.items()}, engine=engine)
    assert finding in str(error.value)
    assert engine.asked == []
    assert isinstance(error.value, pulumi.RunError), "Pulumi would print a traceback before it"


# Schema and reference


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = config.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def written(document: Mapping[str, Any]) -> dict[str, Any]:
    """A stack file as it is written."""
    return {"config": {f"cygnet:{part}": keys for part, keys in document.items()}}


@pytest.mark.parametrize("file", program.STACK_FILES, ids=lambda file: file.name)
def test_the_schema_takes_every_committed_stack_file(file: Any, validator: jsonschema.Draft202012Validator) -> None:
    document = yaml.safe_load(file.read_text())
    # Its operator adds it by `pulumi config set --secret`.
    document["config"].get("cygnet:auth", {}).get("oidc", {}).setdefault("client_secret", {"secure": "v1:x"})
    validator.validate(document)
    document["config"]["cygnet:typo"] = {}
    assert not validator.is_valid(document)


@pytest.mark.parametrize("document", GOOD.values(), ids=GOOD)
def test_the_schema_takes_what_the_program_takes(
    document: dict[str, Any], validator: jsonschema.Draft202012Validator
) -> None:
    validator.validate(written(document))


@pytest.mark.parametrize("broken", [name for name in BROKEN if "misspelt" in name])
def test_the_schema_refuses_a_misspelt_key_at_every_level(
    broken: str, validator: jsonschema.Draft202012Validator
) -> None:
    assert not validator.is_valid(written(BROKEN[broken][0]))


def test_the_schema_takes_what_pulumi_writes_into_a_stack_file(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate({"config": {"aws:region": "x"}, "encryptionsalt": "v1:x"})


def test_the_schema_wants_secrets_encrypted(validator: jsonschema.Draft202012Validator) -> None:
    document = written(existing(HOST, private_key={"secure": "v1:abc"}))
    validator.validate(document)
    document["config"]["cygnet:machines"]["private_key"] = "-----BEGIN OPENSSH PRIVATE KEY-----"
    assert not validator.is_valid(document)


def test_a_secret_is_not_shown() -> None:
    read = parse(existing(HOST, private_key="the key"), FILE)
    assert "the key" not in f"{read!r} {read}"


@pytest.mark.parametrize(
    "document",
    [
        {"registry": {"mirror": "registry.example.org", "password": 48151623}},
        {"registry": "48151623"},
        {"cluster": {"kubeconfig": {"users": [{"token": "48151623"}]}}},
        {"cluster": {"kubeconfig": [48151623]}},
    ],
    ids=["a number", "in place of what it is in", "a mapping", "a list"],
)
def test_a_secret_of_the_wrong_kind_is_not_shown(document: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        parse(document, FILE)
    assert "48151623" not in str(error.value)


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model, and those in it."""
    yield model
    for field in model.model_fields.values():
        inner = model_in(field.annotation)
        if inner:
            yield from models(inner)


def test_every_key_says_what_it_is() -> None:
    silent = [
        f"{model.__name__}.{name}"
        for model in set(models(ServiceConfig)) - {ServiceConfig}
        for name, field in model.model_fields.items()
        if not field.description and model_in(field.annotation) is None
    ]
    assert silent == []


def test_every_part_with_a_key_is_a_part_of_the_house() -> None:
    assert set(ServiceConfig.model_fields) <= set(PARTS)


def test_the_reference_page_is_what_the_models_say() -> None:
    committed = (program.PROJECT / "docs/reference/stack-file.md").read_text()
    assert committed == reference.page(), "run: .venv/bin/cygnet schema --markdown > docs/reference/stack-file.md"


def test_the_reference_page_has_every_key_with_its_default() -> None:
    lines = {
        line.split(" | ")[0].strip("| `"): line for line in reference.page().splitlines() if line.startswith("| `")
    }
    assert {"groups.worker.count", "hosts[].host_key", "https_port", "idle_hours"} <= set(lines)
    assert "| `443` |" in lines["https_port"]
    assert "must be given" in lines["hosts[].host_key"]
    assert "*secret*" in lines["private_key"]


def test_the_page_follows_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    edited = copy.deepcopy(config.schema())
    edited["$defs"]["GatewayConfig"]["properties"]["http_port"]["default"] = 81
    monkeypatch.setattr(config, "schema", lambda: edited)
    assert "| `81` |" in reference.page()


def test_the_live_tests_own_stack_is_a_good_one() -> None:
    parse({part.removeprefix("cygnet:"): keys for part, keys in CONFIG.items()}, FILE)
