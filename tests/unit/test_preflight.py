"""The pre-flight: what a change adds, what is read of names and of a cluster that runs, and that its page is whole."""

import datetime as dt
import ipaddress
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components import cluster_preflight, config, lifetime, preflight
from components.clouds.cloud_facts import Facts, Flavor, Server
from components.clouds.openstack_demand import Wanted, added, devices_added
from components.sources.source import WantedAddress
from operations.stack import Stack
from tests.preflight import assert_happened, promised
from tests.unit.program import PROJECT

FACTS = Facts(
    user="ada",
    project="lab",
    roles=frozenset({"member"}),
    clock_seconds=0.0,
    flavors={"small": Flavor(2, 4096, 20, {}), "large": Flavor(8, 16384, 20, {})},
    images={},
    networks=[],
    zones=[],
    volume_types=[],
    servers={},
    volumes={},
    rules={},
    there=dict.fromkeys(("key-pairs", "server-groups", "networks", "routers", "ports", "floating-ips"), frozenset()),
    quotas={},
    group_members=10,
    taken={},
    free={},
)
OPENSTACK = {"network": "campus", "image": "debian-12", "admin_networks": ["192.0.2.0/24"]}


def facts(**known: object) -> Facts:
    return Facts(**{**vars(FACTS), **known})


def wanted(openstack: Mapping[str, object] = OPENSTACK, **groups: Mapping[str, object]) -> Wanted:
    given = {"control_plane": {"flavor": "small"}, "worker": {"count": 2, "flavor": "large"}, **groups}
    document = {"machines": {"source": "openstack", "groups": given, "openstack": openstack}}
    return preflight.wanted("x", config.parse(document, "x"))


def there(*servers: tuple[str, int, int]) -> dict[str, Server]:
    return {f"cygnet-x-{name}": Server("ACTIVE", "", *size) for name, *size in servers}


# What a change adds


def test_a_new_stack_adds_all_of_it() -> None:
    assert +added(wanted(), FACTS) == {
        "instances": 3,
        "ports": 3,
        "cores": 18,
        "ram": 36864,
        "key-pairs": 1,
        "server-groups": 2,
        "secgroups": 3,
        # SSH, API and registry for operators, two ports of the gateway and one of the page of files, the servers among
        # themselves, and two that Neutron gives to each new group.
        "secgroup-rules": 7 + 3 * 2,
    }


def test_a_network_of_its_own_has_a_router_with_one_floating_ip() -> None:
    own = {**OPENSTACK, "network": None, "own_network": {"external": "ext", "subnet": "10.20.0.0/24"}}
    more = added(wanted(own), FACTS)
    assert [more[option] for option in ("networks", "subnets", "routers", "floating-ips", "ports")] == [1, 1, 1, 1, 4]


@pytest.mark.parametrize(("own", "ports", "floating"), [(False, 4 + 2, 0), (True, 5 + 1 + 1, 2)])
def test_an_address_that_control_planes_share_has_a_port_and_behind_a_router_a_floating_ip(
    own: bool, ports: int, floating: int
) -> None:
    network = {"network": None, "own_network": {"external": "ext", "subnet": "10.20.0.0/24"}} if own else {}
    more = added(wanted({**OPENSTACK, **network}, control_plane={"count": 3, "flavor": "small"}), FACTS)
    assert (more["ports"], more["floating-ips"]) == (ports, floating)


def test_volumes_are_counted_where_servers_boot_from_them_and_where_data_is() -> None:
    data = {"homes": {"size_gib": 100, "machine": "control-plane-1", "folder": "/srv/homes"}}
    asked = wanted({**OPENSTACK, "volumes": data}, worker={"count": 2, "flavor": "large", "volume_gib": 30})
    assert [added(asked, FACTS)[option] for option in ("volumes", "gigabytes")] == [3, 160]
    grown = facts(volumes={"cygnet-x-homes": 40}, servers=there(("worker-1", 8, 16384), ("worker-2", 8, 16384)))
    assert [added(asked, grown)[option] for option in ("volumes", "gigabytes")] == [0, 60]


def test_flavors_that_the_stack_makes_count_like_others() -> None:
    made = {"gpu": {"cores": 4, "memory_gib": 8, "extra_specs": {"resources:VGPU": "2"}}}
    asked = wanted({**OPENSTACK, "flavors": made}, gpu={"count": 3, "flavor": "gpu"})
    assert added(asked, FACTS)["cores"] == 18 + 12
    assert devices_added(asked, FACTS) == {"VGPU": (6, ["gpu"])}
    known = facts(servers=there(("gpu-1", 4, 8192)))
    assert devices_added(asked, known) == {"VGPU": (4, ["gpu"])}


def test_a_stack_that_is_there_adds_nothing() -> None:
    names = {"key-pairs": ["cygnet-x"], "server-groups": ["cygnet-x-control-plane", "cygnet-x-worker"]}
    known = facts(
        servers=there(("control-plane-1", 2, 4096), ("worker-1", 8, 16384), ("worker-2", 8, 16384)),
        rules={"cygnet-x": 4, "cygnet-x-control-plane": 3, "cygnet-x-gateway": 6},
        there={**FACTS.there, **{option: frozenset(listed) for option, listed in names.items()}},
    )
    assert not +added(wanted(), known)


def test_a_larger_flavor_adds_the_difference_and_a_smaller_one_frees_nothing() -> None:
    known = facts(servers=there(("control-plane-1", 8, 16384), ("worker-1", 2, 4096), ("worker-2", 8, 16384)))
    more = added(wanted(), known)
    assert (more["instances"], more["cores"], more["ram"]) == (0, 6, 12288)


def test_servers_that_go_free_nothing_while_new_ones_are_made() -> None:
    assert added(wanted(), facts(servers=there(("worker-7", 8, 16384))))["cores"] == 18


# Names


def test_hosts_are_looked_for_by_those_who_need_them() -> None:
    document = {
        "eos": {"server": "eos.invalid:1094", "keytab": f"0 u:x g:x n:x N:1 c:1 e:0 k:{'0' * 64}"},
        "cvmfs": {
            "repositories": {
                "a.example.org": {
                    "servers": ["http://one.invalid/cvmfs"],
                    "public_keys": ["-----BEGIN PUBLIC KEY-----\n"],
                }
            }
        },
    }
    asked = config.parse(document, "x")
    assert preflight.hosts_by_key(asked) == {
        "cygnet:eos.server": "eos.invalid",
        "cygnet:cvmfs.repositories.a.example.org.servers[0]": "one.invalid",
    }
    found = preflight.names(asked)
    assert len(found) == 2
    assert_happened("name that is not found", found)


def test_behind_proxies_their_names_are_enough_and_addresses_are_taken() -> None:
    asked = config.parse({"cvmfs": {"proxies": ["http://127.0.0.1:3128", "http://localhost:3128"]}}, "x")
    assert preflight.hosts_by_key(asked) == {
        "cygnet:cvmfs.proxies[0]": "127.0.0.1",
        "cygnet:cvmfs.proxies[1]": "localhost",
    }
    assert preflight.names(asked) == []


# The day on which a stack has to be gone

DAY = dt.date(2027, 1, 31)


@pytest.mark.parametrize("days", [0, 1, 400])
def test_from_that_day_on_nothing_is_made(days: int) -> None:
    assert_happened("stack that is due", lifetime.findings("x", DAY, DAY + dt.timedelta(days), pytest.fail))


def test_it_is_told_a_week_before_and_not_earlier() -> None:
    notes: list[str] = []
    assert lifetime.findings("x", DAY, DAY - dt.timedelta(7), notes.append) == []
    assert_happened("stack that is due soon", notes)
    assert lifetime.findings("x", DAY, DAY - dt.timedelta(8), pytest.fail) == []
    assert lifetime.findings("x", None, DAY, pytest.fail) == []


@pytest.mark.parametrize("said", ["2027-01-31", "2027-01-31 00:00:00 +0000 UTC", DAY])
def test_a_day_is_read_however_yaml_hands_it_over(said: object) -> None:
    assert config.parse({"machines": {"gone_by": said}}, "x").machines.gone_by == DAY


# An address that control planes share


def test_an_address_that_answers_already_is_a_finding() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "API_PORT", taken.getsockname()[1])
        assert_happened("shared address that answers", list(preflight.in_use(ipaddress.IPv4Address("127.0.0.1"))))
    assert list(preflight.in_use(None)) == []


def had(count: int, address: str, *, moves: bool) -> dict[str, object]:
    hosts = [{"name": f"control-plane-{number}", "group": "control_plane"} for number in range(1, count + 1)]
    return {"inventory": hosts, "parts": {"cluster": {"address": address, "moves": moves}}}


ADDRESS = ipaddress.IPv4Address("192.0.2.9")


@pytest.mark.parametrize(
    ("before", "count", "virtual", "what"),
    [
        (had(3, "192.0.2.9", moves=True), 1, None, "fewer control planes"),
        (had(1, "192.0.2.1", moves=False), 3, "own", "more control planes than one address can have"),
        (had(1, "192.0.2.9", moves=True), 1, None, "no shared address any more"),
        (had(1, "192.0.2.1", moves=False), 1, "own", "another shared address"),
        (had(3, "192.0.2.8", moves=True), 3, ADDRESS, "another shared address"),
    ],
)
def test_what_control_planes_cannot_become_is_told(
    before: dict[str, object], count: int, virtual: WantedAddress, what: str
) -> None:
    assert_happened(what, list(cluster_preflight.control_planes(before, count, virtual)))


@pytest.mark.parametrize(
    ("before", "count", "virtual"),
    [
        ({}, 3, "own"),
        (had(1, "192.0.2.1", moves=False), 1, None),
        (had(3, "192.0.2.9", moves=True), 3, "own"),
        (had(3, "192.0.2.9", moves=True), 3, ADDRESS),
        (had(1, "192.0.2.9", moves=True), 3, "own"),
        (had(3, "192.0.2.9", moves=True), 5, "own"),
    ],
)
def test_what_they_can_become_is_not(before: dict[str, object], count: int, virtual: WantedAddress) -> None:
    assert list(cluster_preflight.control_planes(before, count, virtual)) == []


# A cluster that runs


@pytest.mark.parametrize(
    ("pinned", "api", "kubelet", "what"),
    [
        ("1.36.3", "v1.37.0", "v1.36.0", "older Kubernetes"),
        ("1.36.3", "v1.34.9", "v1.34.9", "Kubernetes too new"),
        ("1.36.3", "v1.36.3", "v1.32.1", "kubelet too old"),
    ],
)
def test_versions_that_kubernetes_does_not_bridge_are_told(pinned: str, api: str, kubelet: str, what: str) -> None:
    assert_happened(what, list(cluster_preflight.skew(pinned, api, {"worker-1": kubelet})))


@pytest.mark.parametrize(("api", "kubelet"), [("v1.36.3", "v1.36.3"), ("v1.35.0", "v1.33.4"), ("v1.36.9", "v1.36.9")])
def test_versions_that_it_bridges_are_not(api: str, kubelet: str) -> None:
    assert list(cluster_preflight.skew("1.36.3", api, {"worker-1": kubelet})) == []


class Api:
    """The TLS of an API, with a certificate that ends in some days."""

    def __init__(self, folder: Path, days: int) -> None:
        now, key = dt.datetime.now(dt.UTC), ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=365))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "both").write_bytes(certificate.public_bytes(pem) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "both")
        self.listening = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        self.server = f"https://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                self.listening.accept()[0].close()
            except ssl.SSLError:  # who only reads the certificate may leave without a word
                continue
            except OSError:
                return

    def kubeconfig(self) -> str:
        return f"{{apiVersion: v1, kind: Config, clusters: [{{name: x, cluster: {{server: '{self.server}'}}}}]}}"


@pytest.fixture
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path, request.param)
    yield made
    made.listening.shutdown(socket.SHUT_RDWR)
    made.listening.close()


@pytest.mark.parametrize("api", [-1], indirect=True)
def test_a_certificate_that_has_ended_is_a_finding(api: Api) -> None:
    notes: list[str] = []
    assert_happened("certificate that has ended", cluster_preflight.findings(api.kubeconfig(), "1.36.3", notes.append))
    assert notes == []


@pytest.mark.parametrize("api", [20], indirect=True)
def test_one_that_ends_soon_is_a_warning(api: Api) -> None:
    notes: list[str] = []
    assert cluster_preflight.findings(api.kubeconfig(), "1.36.3", notes.append) == []
    assert_happened("certificate that ends soon", notes)


@pytest.mark.parametrize("api", [300], indirect=True)
def test_one_with_time_is_neither(api: Api) -> None:
    notes: list[str] = []
    assert cluster_preflight.findings(api.kubeconfig(), "1.36.3", notes.append) == []
    assert notes == []


def test_a_cluster_that_is_not_there_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    given = f"{{clusters: [{{name: x, cluster: {{server: 'https://127.0.0.1:{port}'}}}}]}}"
    assert cluster_preflight.findings(given, "1.36.3", pytest.fail) == []
    assert cluster_preflight.findings(None, "1.36.3", pytest.fail) == []


# The page


def test_each_message_of_the_page_is_made_to_happen() -> None:
    tests = [PROJECT / "tests/testcloud/test_preflight.py", Path(__file__)]
    made = "\n".join(file.read_text() for file in tests)
    assert len(promised()) > 30
    assert [what for what in promised() if not re.search(f'"{re.escape(what)}"', made)] == []


TORN = """
import os, pathlib, threading
import pulumi
from components import cluster_preflight
pulumi.export("had", "before")
if pulumi.runtime.is_dry_run():
    state = pathlib.Path(os.environ["STATE"])
    whole = state.read_bytes()
    state.write_bytes(whole[: int(len(whole) * float(os.environ["LEFT"]))])
    threading.Timer(0.6, state.write_bytes, [whole]).start()
    pulumi.log.warn(f"read: {cluster_preflight.outputs('torn')['had']}")
"""


@pytest.fixture(scope="module")
def torn(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """A stack whose program finds its state while it is being written."""
    folder = tmp_path_factory.mktemp("torn")
    (folder / "stacks").mkdir()
    (folder / "state").mkdir()
    (folder / "Pulumi.yaml").write_text("name: torn\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
    (folder / "stacks/__main__.py").write_text(TORN)
    stack = Stack("torn", folder)
    with pytest.MonkeyPatch.context() as patch:
        _enter(patch, folder)
        stack.ensure()
        stack.pulumi("up", "--yes", "--skip-preview", capture=True)
    return stack


def _enter(patch: pytest.MonkeyPatch, folder: Path) -> None:
    password = folder / "password"
    if not password.exists():
        password.write_text(secrets.token_urlsafe())
    patch.setenv("PULUMI_BACKEND_URL", f"file://{folder / 'state'}")
    patch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(password))
    patch.setenv("PYTHONPATH", str(PROJECT))
    patch.setenv("STATE", str(folder / "state/.pulumi/stacks/torn/torn.json"))


@pytest.mark.parametrize("left", ["0", "0.5"])
def test_a_state_that_is_being_written_is_read_again(torn: Stack, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    _enter(monkeypatch, torn.project)
    monkeypatch.setenv("LEFT", left)
    assert "read: before" in torn.pulumi("preview", capture=True)
