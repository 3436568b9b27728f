"""The servers of `tests/testcloud/few` as OpenTofu makes them: same resources, same cloud, same provider's code.

OpenTofu and the Terraform provider are compiled when this asks for them, and for nothing else.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from components.errors import CygnetError
from engine import tools

TOOLS: Final = ("opentofu", "terraform-provider-openstack")
_PROVIDER: Final = "terraform-provider-openstack/openstack"
_SETTINGS: Final = """\
provider_installation {{
  dev_overrides {{
    "{provider}" = "{program}"
  }}
  direct {{}}
}}
"""
_MINE: Final = "192.168.91.0/24"


class Tofu:
    """A folder with a `main.tf.json`, and a state of its own."""

    def __init__(self, folder: Path, stack: str, machines: Mapping[str, Any]) -> None:
        """Declares in `folder` what the stack `stack` declares that says `machines`; obtains the tools."""
        tools.get(TOOLS)
        (folder / "main.tf.json").write_text(json.dumps(declared(stack, machines), indent=1))
        # In place of a registry: the provider is taken as it was compiled, and `tofu init` has nothing to do.
        program = tools.path("terraform-provider-openstack").parent
        (folder / "settings.tfrc").write_text(_SETTINGS.format(provider=_PROVIDER, program=program))
        self._folder = folder

    def run(self, *arguments: str) -> str:
        """Runs `tofu ARGUMENTS`, and gives what it says.

        Raises:
            CygnetError: It failed.
        """
        own = {"TF_CLI_CONFIG_FILE": str(self._folder / "settings.tfrc"), "TF_IN_AUTOMATION": "1"}
        command = [str(tools.path("tofu")), *arguments, "-input=false", "-no-color"]
        done = subprocess.run(
            command, cwd=self._folder, env=os.environ | own, text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise CygnetError(f"'tofu {' '.join(arguments)}' failed: {(done.stderr or done.stdout).strip()[-1000:]}")
        return done.stdout


def declared(stack: str, machines: Mapping[str, Any]) -> dict[str, Any]:
    """What `main.tf.json` says.

    Args:
        stack: Names and tags in the cloud are those of this stack.
        machines: `cygnet:machines` of that stack; its flavors are all the same.
    """
    name = f"cygnet-{stack}"
    metadata = {"cygnet_stack": stack}
    (flavor,) = set(machines["flavors"])
    return {
        "terraform": {"required_providers": {"openstack": {"source": _PROVIDER}}},
        "provider": {"openstack": {"cloud": machines["openstack"]["cloud"], "max_retries": 5}},
        "data": {"openstack_networking_network_v2": {"outside": {"name": "ext"}}},
        "resource": {
            "openstack_compute_keypair_v2": {"operator": {"name": name, "public_key": machines["public_key"]}},
            "openstack_networking_network_v2": {"network": {"name": f"{name}-network", "tags": [name]}},
            "openstack_networking_subnet_v2": {
                "subnet": {
                    "name": f"{name}-subnet",
                    "network_id": "${openstack_networking_network_v2.network.id}",
                    "cidr": _MINE,
                    "tags": [name],
                }
            },
            "openstack_networking_router_v2": {
                "router": {
                    "name": f"{name}-router",
                    "external_network_id": "${data.openstack_networking_network_v2.outside.id}",
                    "tags": [name],
                }
            },
            "openstack_networking_router_interface_v2": {
                "interface": {
                    "router_id": "${openstack_networking_router_v2.router.id}",
                    "subnet_id": "${openstack_networking_subnet_v2.subnet.id}",
                }
            },
            "openstack_networking_secgroup_v2": {"machines": {"name": name, "tags": [name]}},
            "openstack_networking_secgroup_rule_v2": {
                f"tcp-{port}": {
                    "security_group_id": "${openstack_networking_secgroup_v2.machines.id}",
                    "direction": "ingress",
                    "ethertype": "IPv4",
                    "protocol": "tcp",
                    "port_range_min": port,
                    "port_range_max": port,
                    "remote_ip_prefix": "192.0.2.0/24",
                }
                for port in (22, 443, 6443)
            },
            "openstack_compute_servergroup_v2": {
                "worker": {"name": f"{name}-worker", "policies": ["soft-anti-affinity"]}
            },
            "openstack_networking_floatingip_v2": {
                "address": {"pool": "ext", "description": f"{name}-address", "tags": [name]}
            },
            "openstack_blockstorage_volume_v3": {"homes": {"name": f"{name}-homes", "size": 1, "metadata": metadata}},
            "openstack_compute_instance_v2": {
                "worker": {
                    "count": len(machines["flavors"]),
                    "name": f"{name}-worker-${{count.index + 1}}",
                    "image_name": machines["openstack"]["image"],
                    "flavor_name": flavor,
                    "key_pair": "${openstack_compute_keypair_v2.operator.name}",
                    "security_groups": ["${openstack_networking_secgroup_v2.machines.name}"],
                    "network": [{"uuid": "${openstack_networking_network_v2.network.id}"}],
                    "scheduler_hints": [{"group": "${openstack_compute_servergroup_v2.worker.id}"}],
                    "user_data": machines["user_data"],
                    "metadata": metadata,
                    "depends_on": [
                        "openstack_networking_subnet_v2.subnet",
                        "openstack_networking_router_interface_v2.interface",
                    ],
                }
            },
            "openstack_compute_volume_attach_v2": {
                "homes": {
                    "instance_id": "${openstack_compute_instance_v2.worker[0].id}",
                    "volume_id": "${openstack_blockstorage_volume_v3.homes.id}",
                }
            },
        },
    }
