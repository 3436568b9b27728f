"""The cloud's first start: databases, keys, accounts, flavors, image, networks; packed, so that it happens once.

What it makes is in `names.DATA`, together with the password of all accounts, which is made here. The pack is only for
the user who made it.
"""

import os
import secrets
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import openstack

from engine.progress import Progress
from tests.testcloud import database, names, settings
from tests.testcloud.pieces import Pieces
from tests.testcloud.processes import CloudError

_ENDPOINTS: Final = {
    "glance": ("image", ""),
    "placement": ("placement", ""),
    "nova": ("compute", "/v2.1"),
    "neutron": ("network", ""),
    "cinder": ("volumev3", "/v3"),
}
_RUNS: Final = {"trait:CUSTOM_NSPAWN": "required"}
FLAVORS: Final = {
    # name: memory in MiB, cores, what it asks of hypervisors
    "tiny": (256, 1, _RUNS),
    "small": (512, 1, _RUNS),
    "medium": (2048, 2, _RUNS),
    "large": (4096, 2, _RUNS),
    "large-t4": (4096, 2, {**_RUNS, "resources:CUSTOM_GPU_T4": "1"}),
    "large-v100": (4096, 2, {**_RUNS, "resources:CUSTOM_GPU_V100": "1"}),
    "fake": (512, 1, {"trait:CUSTOM_FAKE": "required"}),
}
IMAGE: Final = "debian-12"


def unpack(pieces: Pieces) -> None:
    """Puts prepared data where the cloud has them."""
    names.DATA.mkdir()
    _run("tar", "--extract", "--zstd", f"--file={pieces.prepared}", f"--directory={names.DATA}")


def pack(pieces: Pieces) -> None:
    """Keeps the data, while the database is down."""
    new = pieces.prepared.with_suffix(".new")
    new.touch(mode=0o600)
    _run("tar", "--create", "--zstd", f"--file={new}", f"--directory={names.DATA}", ".")
    new.rename(pieces.prepared)
    for former in pieces.prepared.parent.glob("prepared-*.tar.zst"):
        if former != pieces.prepared:
            former.unlink()


def new_password() -> str:
    """Makes the password of all accounts of a new cloud."""
    names.DATA.mkdir()
    password = secrets.token_urlsafe(16)
    names.PASSWORD.touch(mode=0o600)
    names.PASSWORD.write_text(password)
    return password


def make_schemas(pieces: Pieces, password: str, progress: Progress) -> None:
    """Makes all databases; about a minute."""
    database.create(pieces.database, password)
    chains: list[Callable[[], None]] = [
        lambda: _keystone(pieces, password),
        lambda: _manage(pieces, "glance-manage", "glance", "db_sync"),
        lambda: _manage(pieces, "placement-manage", "placement", "db", "sync"),
        lambda: _manage(pieces, "neutron-db-manage", "neutron", "upgrade", "heads"),
        lambda: _manage(pieces, "cinder-manage", "cinder", "db", "sync"),
        lambda: _nova(pieces, password),
    ]
    progress.at("making databases")
    with ThreadPoolExecutor(2) as together:
        for chain in [together.submit(chain) for chain in chains]:
            chain.result()


def make_accounts() -> None:
    """The services' accounts and addresses, and the project `demo`. Needs Keystone only."""
    identity = _connect().identity
    password = names.PASSWORD.read_text()
    service = identity.create_project(name="service", domain_id="default")
    roles = [identity.find_role("admin"), identity.find_role("service") or identity.create_role(name="service")]
    for name, (kind, path) in _ENDPOINTS.items():
        user = identity.create_user(name=name, password=password, domain_id="default")
        for role in roles:
            identity.assign_project_role_to_user(service, user, role)
        listed = identity.create_service(name=name, type=kind)
        address = f"http://{names.LOOPBACK}:{names.PORTS[name]}{path}"
        for interface in ("public", "internal"):
            identity.create_endpoint(service_id=listed.id, interface=interface, url=address, region_id=names.REGION)
    demo = identity.create_project(name="demo", domain_id="default")
    user = identity.create_user(name="demo", password=password, domain_id="default")
    identity.assign_project_role_to_user(demo, user, identity.find_role("member"))


def make_contents(pieces: Pieces) -> None:
    """Flavors, the image, networks and quotas. Needs all services."""
    cloud = _connect()
    for name, (memory_mib, cores, asked) in FLAVORS.items():
        flavor = cloud.compute.create_flavor(name=name, ram=memory_mib, vcpus=cores, disk=10)
        cloud.compute.create_flavor_extra_specs(flavor, asked)
    cloud.create_image(
        IMAGE, filename=str(pieces.image), disk_format="raw", container_format="bare", visibility="public", wait=True
    )
    for name, network in names.FLAT_NETWORKS.items():
        outside = name == "ext"
        made = cloud.network.create_network(
            name=name,
            is_router_external=outside,
            is_shared=not outside,
            provider_network_type="flat",
            provider_physical_network=name,
        )
        cloud.network.create_subnet(
            name=name,
            network_id=made.id,
            ip_version=4,
            cidr=str(network),
            gateway_ip=str(names.gateway(network)),
            is_dhcp_enabled=False,
            # Nobody answers there: nothing is looked up outside. But a resolver without a server asks itself.
            dns_nameservers=[str(names.gateway(network))],
        )
    demo = cloud.identity.find_project("demo")
    cloud.set_compute_quotas(demo.id, cores=1000, instances=500, ram=1000000, server_group_members=200)
    cloud.set_network_quotas(demo.id, port=1000, security_group=50, security_group_rule=300, floatingip=50)


def _connect() -> Any:
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(names.CLOUDS)
    return openstack.connect(cloud="admin")


def _keystone(pieces: Pieces, password: str) -> None:
    own = ("--keystone-user", "root", "--keystone-group", "root")
    _manage(pieces, "keystone-manage", "keystone", "fernet_setup", *own)
    _manage(pieces, "keystone-manage", "keystone", "credential_setup", *own)
    _manage(pieces, "keystone-manage", "keystone", "db_sync")
    places = [word for kind in ("admin", "internal", "public") for word in (f"--bootstrap-{kind}-url", names.KEYSTONE)]
    _manage(
        pieces, "keystone-manage", "keystone", "bootstrap", "--bootstrap-region-id", names.REGION, *places,
        OS_BOOTSTRAP_PASSWORD=password,
    )  # fmt: skip


def _nova(pieces: Pieces, password: str) -> None:
    own = ("nova-manage", "nova")
    cell0 = settings.database("nova_cell0", password)
    _manage(pieces, *own, "api_db", "sync")
    _manage(pieces, *own, "cell_v2", "map_cell0", "--database_connection", cell0)
    _manage(pieces, *own, "cell_v2", "create_cell", "--name", "cell1")
    _manage(pieces, *own, "db", "sync")


def _manage(pieces: Pieces, program: str, service: str, *arguments: str, **environment: str) -> None:
    """Runs a service's own tool."""
    command = pieces.services / "bin" / program
    _run(command, "--config-file", settings.file(service), *arguments, **pieces.environment, **environment)


def _run(*argv: str | Path, **environment: str) -> None:
    done = subprocess.run(argv, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(f"{done.stdout}{done.stderr}".splitlines()[-15:])
        raise CloudError(f"test cloud: {argv[0]} ended with status {done.returncode}:\n{said}")
