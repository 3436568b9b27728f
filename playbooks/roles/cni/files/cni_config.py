#!/usr/bin/python3
"""Writes the configuration of the network plugins from the subnet that flannel got for this machine.

Reads FLANNEL_NETWORK, FLANNEL_SUBNET and FLANNEL_MTU, as they stand in flannel's file. Flannel's own plugin would do
nothing else than this.
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TARGET = Path("/etc/cni/net.d/10-flannel.conflist")


def configuration(flannel: Mapping[str, str]) -> dict[str, Any]:
    """The list of network plugins for one machine.

    >>> flannel = {"FLANNEL_NETWORK": "10.244.0.0/16", "FLANNEL_SUBNET": "10.244.3.1/24", "FLANNEL_MTU": "1450"}
    >>> configuration(flannel)["plugins"][0]["ipam"]["ranges"]
    [[{'subnet': '10.244.3.0/24'}]]
    """
    subnet = ipaddress.ip_interface(flannel["FLANNEL_SUBNET"]).network
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "mtu": int(flannel["FLANNEL_MTU"]),
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipMasq": False,  # flannel does
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(subnet)}]],
            "routes": [{"dst": flannel["FLANNEL_NETWORK"]}],
        },
    }
    # Pods of one machine would reach each other by link-local addresses, which network policies do not know.
    without_ipv6 = {"type": "tuning", "sysctl": {"net.ipv6.conf.IFNAME.disable_ipv6": "1"}}
    ports = {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": True}}
    bandwidth = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, without_ipv6, ports, bandwidth]}


def main() -> None:
    """Puts the file in its place at once: containerd watches the folder."""
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    new = TARGET.with_suffix(".new")
    new.write_text(json.dumps(configuration(os.environ), indent=2) + "\n")
    new.replace(TARGET)


if __name__ == "__main__":
    main()
