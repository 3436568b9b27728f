"""Nova in one process: its API, conductor, scheduler, and a compute service for each hypervisor.

`python -m tests.testcloud.services.nova PORT --config-file FILE`
"""

from nova import monkey_patch

monkey_patch.patch(backend="threading")  # before anything else of Nova is imported

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import nova.conf  # noqa: E402
import nova.virt  # noqa: E402
import nova.virt.block_device  # noqa: E402
import nova.virt.node  # noqa: E402
import os_brick  # noqa: E402
import os_vif  # noqa: E402
from nova import config, context, objects, service  # noqa: E402
from nova.api.openstack import wsgi_app  # noqa: E402
from nova.compute import rpcapi as compute_rpcapi  # noqa: E402
from nova.conductor import rpcapi as conductor_rpcapi  # noqa: E402
from nova.objects import host_mapping  # noqa: E402
from nova.scheduler import rpcapi as scheduler_rpcapi  # noqa: E402
from oslo_log import log  # noqa: E402
from oslo_service import _options  # noqa: E402
from paste import deploy  # noqa: E402

from tests.testcloud import names  # noqa: E402
from tests.testcloud.services import serve, transport  # noqa: E402

_DRIVERS = {"nspawn": "nspawn.NspawnDriver", "fake": "nspawn.FakeDriver"}
"""The driver of each kind of hypervisor."""


class _AnyHost(str):
    """Equal to the name of each hypervisor: before a detach Nova asks whether the server is on "this" one."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, _other: object) -> bool:
        return True


class _Settings:
    """Nova's settings, for a process that is several hosts."""

    host = _AnyHost(names.WORD)

    def __getattr__(self, name: str) -> Any:
        return getattr(nova.conf.CONF, name)


def run(port: int, hosts: dict[str, Any]) -> None:
    """Starts all services and serves the API."""
    transport.wake_on_arrival()
    # Nova imports its driver from here, under the name nova.virt.nspawn.
    nova.virt.__path__.append(str(Path(__file__).parent / "drivers"))
    nova.virt.block_device.CONF = _Settings()
    # Asks for the one host that a process usually is; ours say who they are themselves.
    nova.virt.node.read_local_node_uuid = lambda: "00000000-0000-4000-8000-000000000001"
    config.parse_args(sys.argv)
    log.setup(nova.conf.CONF, "nova")
    nova.conf.CONF.register_opts(_options.service_opts)
    objects.register_all()
    os_brick.setup(nova.conf.CONF)
    os_vif.initialize()
    objects.Service.enable_min_version_cache()
    kept = [_started(binary="nova-conductor", topic=conductor_rpcapi.RPC_TOPIC)]
    for host, size in hosts.items():
        nova.conf.CONF.set_override("compute_driver", _DRIVERS[size["kind"]])
        topics = {"topic": compute_rpcapi.RPC_TOPIC, "topic_alt": compute_rpcapi.RPC_TOPIC_ALT}
        kept.append(_started(binary="nova-compute", host=host, **topics))
    host_mapping.discover_hosts(context.get_admin_context())
    kept.append(_started(binary="nova-scheduler", topic=scheduler_rpcapi.RPC_TOPIC))
    wsgi_app._setup_service(nova.conf.CONF.host, "osapi_compute")
    serve.serve(deploy.loadapp(f"config:{nova.conf.CONF.wsgi.api_paste_config}", name="osapi_compute"), port)


def _started(**what: Any) -> service.Service:
    made = service.Service.create(**what)
    made.start()
    return made


if __name__ == "__main__":
    run(int(sys.argv.pop(1)), json.loads((names.SETTINGS / "hosts.json").read_text()))
