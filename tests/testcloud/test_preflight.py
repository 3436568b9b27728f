"""The pre-flight in a real cloud: each finding is made to happen, and its text is the one that the docs promise."""

import datetime as dt
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from openstack.config import OpenStackConfig as Clouds
from openstack.connection import Connection

from components import config, preflight
from components.certificates import issue_certificate, new_authority
from components.clouds import cloud, openstack_preflight
from operations.stack import PROJECT, pulumi_program
from tests.preflight import assert_happened
from tests.testcloud import apis, names
from tests.testcloud.preparation import IMAGE
from tests.testcloud.project import environment
from tests.testcloud.server import until

NAME = "cygnet-preflight"  # of all that is made here; a project of its own, as its quotas are lowered
STACK = "preflight"
DEVICE = "CUSTOM_PREFLIGHT"


@dataclass
class Place:
    """A project of its own, with a user and an administrator of the same password."""

    project: Any
    password: str
    connection: Connection
    """The user's."""
    admin: Connection
    folder: Path
    environment: pytest.MonkeyPatch
    clouds: dict[str, dict[str, Any]] = field(default_factory=dict)

    def account(self, user: str = NAME, **auth: str) -> dict[str, Any]:
        """An entry of clouds.yaml."""
        own = {"auth_url": names.KEYSTONE, "username": user, "password": self.password, "project_name": NAME}
        domains = {"user_domain_name": "Default", "project_domain_name": "Default"}
        return {"auth": {**own, **domains, **auth}, "region_name": names.REGION}

    def add_cloud(self, name: str, entry: Mapping[str, Any]) -> None:
        self.clouds[name] = dict(entry)
        (self.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": self.clouds}))
        self.environment.setenv("OS_CLIENT_CONFIG_FILE", str(self.folder / "clouds.yaml"))

    def quota(self, **limits: int) -> None:
        """Sets quotas; they go with the project."""
        services = {
            self.admin.set_compute_quotas: {"instances", "cores", "ram", "key_pairs", "server_groups"}
            | {"server_group_members"},
            self.admin.set_network_quotas: {"network", "subnet", "router", "port", "floatingip", "security_group"}
            | {"security_group_rule"},
            self.admin.set_volume_quotas: {"volumes", "gigabytes"},
        }
        for change, names_ in services.items():
            if own := {key: limit for key, limit in limits.items() if key in names_}:
                change(self.project.id, **own)


@dataclass(frozen=True)
class Wish:
    """A stack that would come up; tests change one thing of it."""

    cloud: str | None = "lab"
    network: str = "prov"
    external: str | None = None
    image: str = IMAGE
    flavor: str = "medium"
    zone: str | None = "nova"
    workers: int = 2
    workers_flavor: str = "fake"
    volume_type: str | None = None
    shared: str | None = None
    makes: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def said(self, note: Callable[[str], None] = pytest.fail) -> list[str]:
        """The findings."""
        own = {"own_network": {"external": self.external, "subnet": "10.20.0.0/24"}}
        volume = {"volume_gib": 10, "volume_type": self.volume_type} if self.volume_type else {}
        machines = {
            "source": "openstack",
            "groups": {
                "control_plane": {"flavor": self.flavor, "availability_zone": self.zone},
                "worker": {"count": self.workers, "flavor": self.workers_flavor, **volume},
            },
            "openstack": {
                "cloud": self.cloud,
                **(own if self.external else {"network": self.network}),
                "image": self.image,
                "admin_networks": ["192.0.2.0/24"],
                "flavors": self.makes,
                "volumes": self.data,
            },
        }
        said = {"machines": machines, "cluster": {"api_address": self.shared}}
        return openstack_preflight.findings(preflight.wanted(STACK, config.parse(said, "test")), note)


GOOD = Wish()


@pytest.fixture(scope="module")
def made(admin: Connection, demo: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    identity, password = apis.identity(admin), str(demo.config.get_auth_args()["password"])
    project = identity.create_project(name=NAME, domain_id="default")
    users = {
        "member": identity.create_user(name=NAME, password=password, domain_id="default"),
        "admin": identity.create_user(name=f"{NAME}-admin", password=password, domain_id="default"),
        "reader": identity.create_user(name=f"{NAME}-reader", password=password, domain_id="default"),
    }
    with pytest.MonkeyPatch.context() as environment:
        for key in [key for key in os.environ if key.startswith("OS_")]:
            environment.delenv(key)
        place = Place(project, password, demo, admin, tmp_path_factory.mktemp("clouds"), environment)
        try:
            for role, user in users.items():
                identity.assign_project_role_to_user(project, user, identity.find_role(role, ignore_missing=False))
            place.add_cloud("lab", place.account())
            place.add_cloud("administration", place.account(f"{NAME}-admin"))
            settings = Clouds(config_files=[str(place.folder / "clouds.yaml")], load_envvars=False)
            place.connection = Connection(config=settings.get_one("lab"))
            yield place
        finally:
            for user in users.values():
                identity.delete_user(user)
            admin.delete_compute_quotas(project.id)
            admin.delete_network_quotas(project.id)
            admin.delete_volume_quotas(project.id)
            for group in admin.network.security_groups(project_id=project.id):
                admin.network.delete_security_group(group)
            identity.delete_project(project)


@pytest.fixture
def place(made: Place) -> Iterator[Place]:
    """The project, with quotas that suffice and with the clouds that are in clouds.yaml."""
    made.quota(instances=20, cores=100, ram=100000, key_pairs=10, server_groups=10, server_group_members=10)
    made.quota(network=10, subnet=10, router=10, floatingip=10, port=100, security_group=10, security_group_rule=100)
    made.quota(volumes=10, gigabytes=1000)
    kept = dict(made.clouds)
    yield made
    made.clouds = kept


# A stack that would come up


@pytest.mark.usefixtures("place")
def test_a_good_stack_has_no_findings_and_is_told_so_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert replace(GOOD, workers=9).said() == []
    with capsys.disabled():
        print(f"\npre-flight of 10 servers in the test cloud: {time.monotonic() - started:.1f} s")


@pytest.fixture
def half_made(place: Place) -> Iterator[Place]:
    """The stack, up to its last server."""
    cloud_ = place.connection
    key = cloud_.compute.create_keypair(name=NAME)
    groups = [
        cloud_.compute.create_server_group(name=f"{NAME}-{name}", policy="soft-anti-affinity")
        for name in ("control-plane", "worker")
    ]
    security = [
        cloud_.network.create_security_group(name=name) for name in (NAME, f"{NAME}-control-plane", f"{NAME}-gateway")
    ]
    for one, rules in zip(security, (2, 1, 4), strict=True):
        cloud_.network.set_tags(one, [NAME])
        for port in range(1, rules + 1):
            cloud_.network.create_security_group_rule(
                security_group_id=one.id, direction="ingress", protocol="tcp", port_range_min=port,
                port_range_max=port,
            )  # fmt: skip
    server = _server(place, f"{NAME}-worker-1", "fake")
    try:
        yield place
    finally:
        cloud_.compute.delete_server(server)
        cloud_.compute.wait_for_delete(server, interval=1, wait=120)
        for group in groups:
            cloud_.compute.delete_server_group(group)
        cloud_.compute.delete_keypair(key)
        for one in security:
            cloud_.network.delete_security_group(one)


def test_what_the_stack_has_already_is_not_counted_twice(half_made: Place) -> None:
    wish = replace(GOOD, workers=2)
    half_made.quota(instances=3, cores=4, ram=3072, key_pairs=1, server_groups=2)
    half_made.quota(port=3, security_group=4, security_group_rule=4 + 2 + 1 + 4 + 3 * 2)  # "default" has four
    assert wish.said() == []
    half_made.quota(instances=2, cores=3, ram=3071)
    assert len(wish.said()) == 3


# An address that control planes share


@pytest.mark.usefixtures("place")
def test_a_shared_address_has_to_be_a_free_one_of_the_network(admin: Connection) -> None:
    network = admin.network.find_network("prov", ignore_missing=False)
    port = admin.network.create_port(network_id=network.id, name=NAME)
    try:
        taken = port.fixed_ips[0]["ip_address"]
        assert_happened("shared address in use", replace(GOOD, cloud="administration", shared=taken).said())
        free = str(names.FLAT_NETWORKS["prov"][-3])
        assert replace(GOOD, shared=free).said() == []
    finally:
        admin.network.delete_port(port)
    assert_happened("shared address of another network", replace(GOOD, shared="192.0.2.9").said())


# The account


def test_a_cloud_that_is_not_in_clouds_yaml_is_named_with_the_nearest(place: Place) -> None:
    assert_happened("unknown cloud", replace(GOOD, cloud="labb").said())
    place.environment.setenv("OS_CLIENT_CONFIG_FILE", str(place.folder / "nowhere.yaml"))
    place.environment.setattr("openstack.config.loader.CONFIG_FILES", [])  # those of whoever runs the tests
    try:
        assert_happened("no clouds.yaml", GOOD.said())
        assert_happened("no cloud named", replace(GOOD, cloud=None).said())
    finally:
        place.environment.setenv("OS_CLIENT_CONFIG_FILE", str(place.folder / "clouds.yaml"))


def test_the_environment_names_a_cloud_as_well(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_CLOUD", "lab")
    assert replace(GOOD, cloud=None).said() == []
    monkeypatch.delenv("OS_CLOUD")
    for key, value in place.account()["auth"].items():
        monkeypatch.setenv(f"OS_{key.upper()}", value)
    assert replace(GOOD, cloud=None).said() == []


@pytest.mark.parametrize(
    ("what", "missing"), [("incomplete account", ["auth_url", "password"]), ("no password", ["password"])]
)
def test_an_account_that_lacks_something_is_told(place: Place, what: str, missing: list[str]) -> None:
    account = place.account()
    for key in missing:
        del account["auth"][key]
    place.add_cloud("lacking", account)
    assert_happened(what, replace(GOOD, cloud="lacking").said())


def test_a_wrong_password_is_refused_and_not_repeated(place: Place) -> None:
    place.add_cloud("guessed", place.account(**{"password": "guess-1"}))
    said = replace(GOOD, cloud="guessed").said()
    assert_happened("wrong password", said)
    assert "guess-1" not in said[0]


def test_an_address_where_nothing_listens_or_answers_is_told_in_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        place.add_cloud("gone", place.account(auth_url=f"http://127.0.0.1:{port}/v3"))
        assert_happened("silent address", replace(GOOD, cloud="gone").said())
    assert_happened("closed port", replace(GOOD, cloud="gone").said())


def test_a_certificate_of_an_unknown_authority_is_not_trusted(place: Place, tmp_path: Path) -> None:
    authority, authority_key = new_authority("nobody knows")
    chain, key = issue_certificate(["127.0.0.1"], authority=authority, authority_key=authority_key)
    (tmp_path / "both").write_text(chain + key)
    with relay(names.KEYSTONE, certificate=tmp_path / "both") as url:
        place.add_cloud("untrusted", place.account(auth_url=url))
        assert_happened("untrusted certificate", replace(GOOD, cloud="untrusted").said())
        (tmp_path / "authority").write_text(authority)
        place.add_cloud("untrusted", {**place.account(auth_url=url), "cacert": str(tmp_path / "authority")})
        assert replace(GOOD, cloud="untrusted").said() == []


def test_a_catalogue_without_services_is_told(place: Place) -> None:
    place.add_cloud("elsewhere", {**place.account(), "region_name": "RegionTwo"})
    assert_happened("missing service", replace(GOOD, cloud="elsewhere").said())


def test_a_service_that_fails_is_named(place: Place) -> None:
    with relay(f"http://{names.LOOPBACK}:{names.PORTS['glance']}", status=500) as url:
        place.add_cloud("broken", {**place.account(), "image_endpoint_override": url})
        assert_happened("service in trouble", replace(GOOD, cloud="broken").said())


def test_who_may_only_look_is_told(place: Place) -> None:
    place.add_cloud("reader", place.account(f"{NAME}-reader"))
    assert_happened("reader only", replace(GOOD, cloud="reader").said())


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_clock_that_is_wrong_is_told(place: Place, ahead: int) -> None:
    with relay(names.KEYSTONE, ahead_seconds=ahead) as url:
        place.add_cloud("of another time", place.account(auth_url=url))
        assert_happened("wrong clock", replace(GOOD, cloud="of another time").said())


# What the stack file names


def test_a_network_that_is_not_there_or_takes_no_servers_is_told(place: Place) -> None:
    assert_happened("unknown network", replace(GOOD, network="proof").said())
    assert_happened("outer network", replace(GOOD, network="ext").said())
    assert_happened("unknown outer network", replace(GOOD, external="exit").said())
    twins = [place.connection.network.create_network(name=NAME) for _ in range(2)]
    try:
        assert_happened("two networks of one name", replace(GOOD, network=NAME).said())
        place.connection.network.delete_network(twins.pop())
        assert_happened("outer network", replace(GOOD, network=NAME).said())
    finally:
        for twin in twins:
            place.connection.network.delete_network(twin)


def test_an_image_that_is_not_there_or_too_large_is_told(place: Place) -> None:
    assert_happened("unknown image", replace(GOOD, image="debian12").said())
    asked: dict[str, Any] = {"container_format": "bare", "disk_format": "raw", "data": b"x"}
    images = apis.image(place.connection)
    former = images.create_image(name=NAME, allow_duplicates=True, **asked)
    # Glance tells in whole seconds which one is the latest.
    until(lambda: f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}" > former.created_at, what="the next second")
    latter = images.create_image(name=NAME, allow_duplicates=True, min_disk=20, min_ram=4096, **asked)
    try:
        assert_happened("flavor too small for the image", replace(GOOD, image=NAME).said())
        images.delete_image(latter)
        assert replace(GOOD, image=NAME).said() == []
    finally:
        images.delete_image(former)
        images.delete_image(latter, ignore_missing=True)


def test_flavors_that_are_not_there_or_too_small_are_told(place: Place) -> None:
    private = place.admin.compute.create_flavor(name=f"{NAME}-private", ram=4096, vcpus=2, disk=10, is_public=False)
    try:
        assert_happened("unknown flavor", replace(GOOD, workers_flavor="larg").said())
        said = replace(GOOD, flavor=private.name).said()
        assert [one for one in said if f"sees no flavor {private.name}" in one]
    finally:
        place.admin.compute.delete_flavor(private)
    assert_happened("flavor too small for a control plane", replace(GOOD, flavor="small").said())


@pytest.mark.usefixtures("place")
def test_a_zone_that_is_not_there_is_told() -> None:
    assert_happened("unknown zone", replace(GOOD, zone="mars").said())


@pytest.mark.usefixtures("place")
def test_a_volume_type_that_is_not_there_is_told_once() -> None:
    said = replace(GOOD, volume_type="fast").said()
    assert_happened("unknown volume type", said)
    assert len(said) == 1


@pytest.mark.usefixtures("place")
def test_flavors_are_made_by_administrators() -> None:
    made = replace(GOOD, makes={"gpu": {"cores": 1, "memory_gib": 1}}, workers_flavor="gpu")
    assert_happened("flavors to be made", made.said())
    assert replace(made, cloud="administration").said() == []


# Room


@pytest.mark.parametrize(
    ("what", "quota"),
    [
        ("quota of servers", {"instances": 2}),
        ("quota of cores", {"cores": 3}),
        ("quota of memory", {"ram": 3071}),
        ("quota of key pairs", {"key_pairs": 0}),
        ("quota of server groups", {"server_groups": 1}),
        ("quota of networks", {"network": 0}),
        ("quota of subnets", {"subnet": 0}),
        ("quota of routers", {"router": 0}),
        ("quota of ports", {"port": 3}),
        ("quota of floating IPs", {"floatingip": 0}),
        ("quota of volumes", {"volumes": 2}),
        ("quota of GiB of volumes", {"gigabytes": 24}),
        ("quota of security groups", {"security_group": 2}),
        ("quota of rules", {"security_group_rule": 5}),
        ("members of a server group", {"server_group_members": 1}),
    ],
)
def test_a_quota_that_is_too_short_is_told(place: Place, what: str, quota: dict[str, int]) -> None:
    place.quota(**quota)
    homes = {"homes": {"size_gib": 5, "machine": "control-plane-1", "folder": "/srv/homes"}}
    said = replace(GOOD, external="ext", volume_type="__DEFAULT__", data=homes).said()
    assert len(said) == 1
    assert_happened(what, said)


@pytest.fixture
def device_flavor(place: Place) -> Iterator[str]:
    """A flavor with a device, of which Placement knows two."""
    placement, compute = place.admin.placement, place.admin.compute
    placement.put(f"/resource_classes/{DEVICE}", microversion="1.7")
    provider = placement.create_resource_provider(name=NAME)
    placement.put(
        f"/resource_providers/{provider.id}/inventories",
        json={"resource_provider_generation": 0, "inventories": {DEVICE: {"total": 2}}},
    )
    flavor = compute.create_flavor(name=f"{NAME}-device", ram=512, vcpus=1, disk=10)
    compute.create_flavor_extra_specs(flavor, {f"resources:{DEVICE}": "1"})
    try:
        yield flavor.name
    finally:
        compute.delete_flavor(flavor)
        placement.delete_resource_provider(provider)
        placement.delete(f"/resource_classes/{DEVICE}", microversion="1.7")


def test_devices_that_are_not_free_are_told_to_administrators(device_flavor: str) -> None:
    wish = replace(GOOD, cloud="administration", workers_flavor=device_flavor)
    assert replace(wish, workers=2).said() == []
    assert_happened("GPUs in use", replace(wish, workers=3).said())


def test_to_others_it_is_a_warning_that_it_is_not_known(device_flavor: str) -> None:
    notes: list[str] = []
    assert replace(GOOD, workers_flavor=device_flavor, workers=3).said(notes.append) == []
    assert_happened("GPUs not told", notes)


# What is there already


def test_a_server_that_failed_is_told_with_its_reason(place: Place, device_flavor: str) -> None:
    server = _server(place, f"{NAME}-worker-1", device_flavor)  # no hypervisor has the device
    try:
        until(lambda: place.connection.compute.get_server(server).status == "ERROR")
        notes: list[str] = []
        assert replace(GOOD, workers=1).said(notes.append) == []
        assert_happened("server in ERROR", notes)
        assert "No valid host was found" in notes[0]
    finally:
        place.connection.compute.delete_server(server)
        place.connection.compute.wait_for_delete(server, interval=1, wait=60)


# All of it, in the program


def test_the_program_tells_all_findings_at_once_and_makes_nothing(place: Place, tmp_path: Path) -> None:
    shutil.copy(PROJECT / "stacks/__main__.py", tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: cygnet\nruntime: python\n")
    machines = {
        "source": "openstack",
        "groups": {"control_plane": {"flavor": "larg"}, "worker": {"flavor": "medium", "availability_zone": "mars"}},
        "openstack": {"cloud": "lab", "network": "prov", "image": IMAGE, "admin_networks": ["192.0.2.0/24"]},
    }
    document = {"cygnet:machines": machines, "cygnet:cvmfs": {"proxies": ["http://nowhere.invalid:3128"]}}
    (tmp_path / f"Pulumi.{STACK}.yaml").write_text(yaml.safe_dump({"config": document}))
    (tmp_path / "state").mkdir()
    own = {
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "of a stack without secrets",
        "PYTHONPATH": str(PROJECT),
        "OS_CLIENT_CONFIG_FILE": str(place.folder / "clouds.yaml"),
    }

    def pulumi(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [pulumi_program(), *arguments, "--non-interactive", "--stack", STACK],
            cwd=tmp_path, env=os.environ | own, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert pulumi("stack", "init").returncode == 0
    for command in (("preview",), ("up", "--yes", "--skip-preview")):
        done = pulumi(*command)
        assert done.returncode != 0
        assert "3 findings before the first step, nothing was changed" in done.stdout
        said = [line.strip() for line in done.stdout.splitlines()]
        for what in ("unknown flavor", "unknown zone", "name that is not found"):
            assert_happened(what, said)
    state = json.loads(pulumi("stack", "export").stdout)["deployment"].get("resources", [])
    assert [one["type"] for one in state if not one["type"].startswith("pulumi:")] == []
    assert list(place.connection.compute.servers(name=f"^{NAME}-")) == []


@pytest.mark.parametrize("stack", ["cern-prod", "burst"])
def test_a_newcomer_sees_what_a_stack_in_a_cloud_would_make(
    testcloud: None,  # noqa: ARG001 - has to be up
    stack: str,
    tmp_path: Path,
) -> None:
    """By the commands that cern-prod's stack file tells."""
    (tmp_path / "stacks").mkdir()
    for name in ("Pulumi.yaml", "stacks/__main__.py", f"stacks/Pulumi.{stack}.yaml"):
        shutil.copy(PROJECT / name, tmp_path / name)
    told = (PROJECT / "stacks/Pulumi.cern-prod.yaml").read_text()
    commands = re.findall(r"^# {5}(\.venv/bin/pulumi .*)$", told, re.MULTILINE)
    assert commands[-1].endswith("pulumi preview --stack cern-prod")
    if stack != "cern-prod":
        commands = [command for command in commands if "--secret" not in command]
    (tmp_path / ".venv").symlink_to(Path(pulumi_program()).parents[1])
    done = subprocess.run(
        ["bash", "-ec", "\n".join(commands).replace("cern-prod", stack)],
        cwd=tmp_path, env=os.environ | environment(tmp_path) | {"OS_CLOUD": "demo"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    document = yaml.safe_load((PROJECT / f"stacks/Pulumi.{stack}.yaml").read_text())
    groups = document["config"]["cygnet:machines"]["groups"].values()
    servers = re.findall(r"^ \+ +.*openstack:compute:Instance .*create *$", done.stdout, re.MULTILINE)
    assert len(servers) == sum(group["count"] for group in groups)


def _server(place: Place, name: str, flavor: str) -> Any:
    return place.connection.compute.create_server(
        name=name,
        image_id=apis.image(place.connection).find_image(IMAGE, ignore_missing=False).id,
        flavor_id=place.connection.compute.find_flavor(flavor, ignore_missing=False).id,
        networks=[{"uuid": place.connection.network.find_network("prov", ignore_missing=False).id}],
        metadata={"cygnet_stack": STACK},
    )


class relay:  # noqa: N801 - used as a function in `with`
    """A service of the cloud at an address of ours: with TLS, a clock of its own, or a failure."""

    def __init__(
        self, url: str, *, certificate: Path | None = None, ahead_seconds: int = 0, status: int | None = None
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_arguments: object) -> None:
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate((timestamp or time.time()) + ahead_seconds, usegmt=True)

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                there = f"{url.removesuffix('/v3')}{self.path}"
                passed = {key: self.headers[key] for key in ("Content-Type", "X-Auth-Token") if key in self.headers}
                answer = requests.request(self.command, there, data=body, headers=passed, timeout=30)
                self.send_response(status or answer.status_code)
                for key in ("Content-Type", "X-Subject-Token"):
                    if key in answer.headers:
                        self.send_header(key, answer.headers[key])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = do  # noqa: N815 - names of http.server

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}{'/v3' if url.endswith('/v3') else ''}"

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self.url

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
