"""The settings of the services: one file each, as oslo.config reads them.

All services are in single processes and pass messages inside of them (`fake://`), so there is no broker. What is left
out has the service's own default.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from tests.testcloud import names

Section = dict[str, str]
File = dict[str, Section]

HOSTS: Final = {
    "nspawn-1": {"kind": "nspawn", "vcpus": 32, "memory_mb": 32768},
    "nspawn-2": {"kind": "nspawn", "vcpus": 32, "memory_mb": 32768, "devices": {"CUSTOM_GPU_V100": 1}},
    "nspawn-3": {"kind": "nspawn", "vcpus": 32, "memory_mb": 32768, "devices": {"CUSTOM_GPU_T4": 1}},
    "fake-1": {"kind": "fake", "vcpus": 1000, "memory_mb": 1000000},
    "fake-2": {"kind": "fake", "vcpus": 1000, "memory_mb": 1000000},
}
"""The hypervisors. On `nspawn` servers run; on `fake` Nova's own fake driver only says so, for hundreds of them.
Devices are only counted: there is nothing behind them."""

SHARED_ADDRESSES: Final = {
    f"{action}_port:allowed_address_pairs{field}": "role:member"
    for action in ("create", "update")
    for field in ("", ":ip_address", ":mac_address")
}
"""What a site allows whose projects may share addresses on a network of its own; by itself Neutron does not."""

COMPUTES: Final = names.SETTINGS / "hosts.json"
_USERS: Final = ("demo", "admin")


def write(venv: Path, password: str) -> None:
    """Writes all settings, and a clouds.yaml with the projects `demo` and `admin`."""
    for folder in (names.RUN, names.LOGS, names.SETTINGS, names.SERVERS, names.VOLUMES, names.STATE / "work"):
        folder.mkdir(parents=True, exist_ok=True)
    files = _files(venv, password)
    for service, sections in files.items():
        file(service).parent.mkdir(exist_ok=True)
        _private(file(service), "".join(_lines(sections)))
    _private(_policy("neutron"), yaml.safe_dump(SHARED_ADDRESSES))
    COMPUTES.write_text(json.dumps(HOSTS))
    _private(names.CLOUDS, yaml.safe_dump({"clouds": {user: cloud(user, password) for user in _USERS}}))
    plugin = names.PLUGINS / f"{names.WORD}-0.dist-info"
    plugin.mkdir(parents=True, exist_ok=True)
    (plugin / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {names.WORD}\nVersion: 0\n")
    (plugin / "entry_points.txt").write_text(
        "[neutron.ml2.mechanism_drivers]\ntestcloud = tests.testcloud.services.ports:FabricDriver\n"
    )


def cloud(user: str, password: str) -> dict[str, object]:
    """An entry of clouds.yaml: a user in the project of the same name."""
    return {
        "auth": {
            "auth_url": names.KEYSTONE,
            "username": user,
            "password": password,
            "project_name": user,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": names.REGION,
        "identity_api_version": 3,
    }


def file(service: str) -> Path:
    """Where a service's settings are."""
    return names.SETTINGS / service / ("glance-api.conf" if service == "glance" else f"{service}.conf")


def _policy(service: str) -> Path:
    return file(service).with_name("policy.yaml")


def database(service: str, password: str) -> str:
    """A database of MariaDB, as SQLAlchemy names it."""
    return f"mysql+pymysql://openstack:{password}@{names.LOOPBACK}:{names.PORTS['mariadb']}/{service}"


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _lines(sections: Mapping[str, Section]) -> Iterator[str]:
    for section, options in sections.items():
        yield f"[{section}]\n"
        yield from (f"{key} = {value}\n" for key, value in options.items())


def _files(venv: Path, password: str) -> dict[str, File]:
    def common(service: str, user: str | None = None) -> File:
        """What all services but Keystone have in common."""
        return {
            "DEFAULT": {"log_dir": str(names.LOGS), "log_file": f"{service}.log", "transport_url": "fake://"},
            "database": {"connection": database(service, password), "max_pool_size": "50"},
            "oslo_concurrency": {"lock_path": str(names.STATE / "work" / "locks")},
            "oslo_messaging_notifications": {"driver": "noop"},
            "keystone_authtoken": {
                **client(user or service),
                "www_authenticate_uri": names.KEYSTONE,
                "service_token_roles_required": "true",
            },
        }

    def client(user: str) -> Section:
        """How a service signs in to another."""
        return {
            "auth_url": names.KEYSTONE,
            "auth_type": "password",
            "project_domain_name": "Default",
            "user_domain_name": "Default",
            "project_name": "service",
            "username": user,
            "password": password,
            "region_name": names.REGION,
        }

    def merged(*files: File) -> File:
        result: File = {}
        for sections in files:
            for section, options in sections.items():
                result.setdefault(section, {}).update(options)
        return result

    work = names.STATE / "work"
    keys = {"key_repository": str(names.DATA / "fernet-keys")}
    return {
        "keystone": {
            "DEFAULT": {"log_dir": str(names.LOGS), "log_file": "keystone.log"},
            "database": {"connection": database("keystone", password)},
            "token": {"provider": "fernet", "expiration": "86400"},
            "fernet_tokens": keys,
            "fernet_receipts": keys,
            "credential": {"key_repository": str(names.DATA / "credential-keys")},
            "cache": {"enabled": "true", "backend": "dogpile.cache.memory"},
            # The least that Keystone takes: each request to sign in costs a hash.
            "identity": {"password_hash_algorithm": "bcrypt", "password_hash_rounds": "4"},
        },
        "placement": merged(
            common("placement"),
            {"placement_database": {"connection": database("placement", password)}},
        ),
        "glance": merged(
            common("glance"),
            {
                "DEFAULT": {"enabled_backends": "folder:file", "workers": "0"},
                "glance_store": {"default_backend": "folder"},
                "folder": {"filesystem_store_datadir": str(names.DATA / "images")},
                "os_glance_staging_store": {"filesystem_store_datadir": str(work / "glance-staging")},
                "os_glance_tasks_store": {"filesystem_store_datadir": str(work / "glance-tasks")},
                "paste_deploy": {
                    "flavor": "keystone",
                    "config_file": str(venv / "etc/glance/glance-api-paste.ini"),
                },
            },
        ),
        "nova": merged(
            common("nova"),
            {
                "DEFAULT": {
                    "my_ip": names.LOOPBACK,
                    "host": names.WORD,
                    "state_path": str(work),
                    "compute_driver": "nspawn.NspawnDriver",
                    "instances_path": str(names.SERVERS),
                    "sync_power_state_interval": "15",
                    "resume_guests_state_on_host_boot": "true",
                    "vif_plugging_is_fatal": "false",
                    "vif_plugging_timeout": "0",
                    "force_config_drive": "true",
                    "max_concurrent_builds": "4",
                },
                "api_database": {"connection": database("nova_api", password), "max_pool_size": "50"},
                "wsgi": {"api_paste_config": str(venv / "etc/nova/api-paste.ini")},
                "glance": {"api_servers": f"http://{names.LOOPBACK}:{names.PORTS['glance']}"},
                "scheduler": {"workers": "1", "discover_hosts_in_cells_interval": "-1"},
                "conductor": {"workers": "1"},
                "filter_scheduler": {
                    "enabled_filters": "ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,"
                    "ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter"
                },
                "vnc": {"enabled": "false"},
                "placement": client("placement"),
                "neutron": client("neutron"),
                "service_user": {**client("nova"), "send_service_user_token": "true"},
                "cinder": {
                    **client("nova"),
                    "catalog_info": "volumev3::publicURL",
                    "os_region_name": names.REGION,
                },
            },
        ),
        "neutron": merged(
            common("neutron"),
            {
                "DEFAULT": {
                    "core_plugin": "ml2",
                    "service_plugins": "router",
                    "state_path": str(work),
                    "api_paste_config": str(venv / "etc/neutron/api-paste.ini"),
                    "api_extensions_path": "",
                    "notify_nova_on_port_status_changes": "false",
                    "notify_nova_on_port_data_changes": "false",
                    "dhcp_agent_notification": "false",
                    "rpc_workers": "0",
                    "rpc_state_report_workers": "0",
                },
                "oslo_policy": {"policy_file": str(_policy("neutron"))},
                "ml2": {
                    "type_drivers": "flat,vxlan",
                    "tenant_network_types": "vxlan",
                    "mechanism_drivers": names.WORD,
                    "extension_drivers": "port_security",
                },
                "ml2_type_flat": {"flat_networks": ",".join(names.FLAT_NETWORKS)},
                "ml2_type_vxlan": {"vni_ranges": "1:1000"},
                "nova": client("nova"),
                "placement": client("placement"),
            },
        ),
        "cinder": merged(
            common("cinder"),
            {
                "DEFAULT": {
                    "host": names.WORD,
                    "my_ip": names.LOOPBACK,
                    "state_path": str(work),
                    "enabled_backends": "files",
                    "default_volume_type": "__DEFAULT__",
                    "api_paste_config": str(venv / "etc/cinder/api-paste.ini"),
                    "resource_query_filters_file": str(venv / "etc/cinder/resource_filters.json"),
                    "auth_strategy": "keystone",
                },
                "files": {
                    "volume_driver": "tests.testcloud.services.volumes.FileDriver",
                    "volume_backend_name": "files",
                },
                "coordination": {"backend_url": f"file://{work / 'coordination'}"},
                "service_user": {**client("cinder"), "send_service_user_token": "true"},
            },
        ),
    }
