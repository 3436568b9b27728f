"""Neutron's mechanism driver: binds each port at once, and tells the fabric of every change."""

import socket
from typing import Any

from neutron_lib import constants, context
from neutron_lib.api.definitions import portbindings
from neutron_lib.callbacks import events, registry, resources
from neutron_lib.plugins import constants as plugins
from neutron_lib.plugins import directory
from neutron_lib.plugins.ml2 import api

from tests.testcloud import names

_WATCHED = (
    resources.FLOATING_IP, resources.NETWORK, resources.PORT, resources.ROUTER, resources.ROUTER_GATEWAY,
    resources.ROUTER_INTERFACE, resources.SECURITY_GROUP, resources.SECURITY_GROUP_RULE, resources.SUBNET,
)  # fmt: skip


class FabricDriver(api.MechanismDriver):
    """Ports are cables in the fabric's namespace, which `fabric` makes; no agent reports anything."""

    def initialize(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for resource in _WATCHED:
            for event in (events.AFTER_CREATE, events.AFTER_UPDATE, events.AFTER_DELETE):
                registry.subscribe(self._tell, resource, event)
        for event in (events.AFTER_CREATE, events.AFTER_UPDATE):
            registry.subscribe(self._report_floating_ip, resources.FLOATING_IP, event)

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: api.PortContext) -> None:
        for segment in context.segments_to_bind:
            details = {portbindings.CAP_PORT_FILTER: True, portbindings.VIF_DETAILS_BRIDGE_NAME: "br-int"}
            # Of the types that Nova takes, one for which it leaves all to its driver.
            context.set_binding(
                segment[api.ID], portbindings.VIF_TYPE_OVS, details, status=constants.PORT_STATUS_ACTIVE
            )
            return

    def _tell(self, _resource: str, _event: str, _trigger: Any, payload: Any = None) -> None:  # noqa: ARG002 - by name
        self._socket.sendto(b"changed", (names.LOOPBACK, names.FABRIC_PORT))

    def _report_floating_ip(self, _resource: str, _event: str, _trigger: Any, payload: Any = None) -> None:
        """Does what the agent of a router would: a floating IP is active while it leads to a port."""
        router_plugin = directory.get_plugin(plugins.L3)
        admin = context.get_admin_context()
        address = router_plugin.get_floatingip(admin, payload.resource_id)
        wanted = constants.FLOATINGIP_STATUS_ACTIVE if address["port_id"] else constants.FLOATINGIP_STATUS_DOWN
        if address["status"] != wanted:
            router_plugin.update_floatingip_status(admin, address["id"], wanted)
