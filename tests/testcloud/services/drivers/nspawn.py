"""Nova's drivers of the test cloud; Nova loads them as nova.virt.nspawn.

`NspawnDriver`: a server is a systemd-nspawn machine that boots its image, with Nova's own config drive, so that
cloud-init does in it what it does on any cloud. `FakeDriver`: servers are only said to be there, as many as one likes.
"""

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any, ClassVar

from nova import exception
from nova.api.metadata import base as metadata
from nova.compute import power_state
from nova.image import glance
from nova.objects import fields
from nova.virt import driver, fake, hardware
from oslo_utils import versionutils

from tests.testcloud import names
from tests.testcloud.services import commands, images
from tests.testcloud.services.machine import Machine

_LOCAL_GIB = 100000
_HOSTS = json.loads((names.SETTINGS / "hosts.json").read_text())


class FakeDriver(fake.FakeDriver):
    """A hypervisor of the size that the cloud's settings say. Its kind is a trait, which flavors ask for."""

    def init_host(self, host: str) -> None:
        super().init_host(host)
        self.size = _HOSTS[host]
        self.resources = fake.Resources(self.size["vcpus"], self.size["memory_mb"], _LOCAL_GIB)

    def get_available_nodes(self, refresh: bool = False) -> list[str]:  # noqa: ARG002 - Nova's
        return [self._host]

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:  # noqa: ARG002 - Nova's
        return {_uuid_of(self._host): self._host}

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        return {
            "vcpus": self.size["vcpus"],
            "memory_mb": self.size["memory_mb"],
            "local_gb": _LOCAL_GIB,
            "vcpus_used": 0,
            "memory_mb_used": 0,
            "local_gb_used": 0,
            "disk_available_least": _LOCAL_GIB,
            "hypervisor_type": self.size["kind"],
            "hypervisor_version": versionutils.convert_version_to_int("1.0.0"),
            "hypervisor_hostname": nodename,
            "cpu_info": '{"arch": "x86_64"}',
            "supported_instances": [(fields.Architecture.X86_64, fields.HVType.LXC, fields.VMMode.EXE)],
            "numa_topology": None,
            "uuid": _uuid_of(nodename),
        }

    def update_provider_tree(self, provider_tree: Any, nodename: str, allocations: Any = None) -> None:
        super().update_provider_tree(provider_tree, nodename, allocations=allocations)
        provider_tree.add_traits(nodename, f"CUSTOM_{self.size['kind'].upper()}")
        inventory = provider_tree.data(nodename).inventory
        devices = {name: {"total": count, "max_unit": count} for name, count in self.size.get("devices", {}).items()}
        provider_tree.update_inventory(nodename, inventory | devices)


class NspawnDriver(FakeDriver):
    """A hypervisor whose servers are machines on this host. A restart of Nova leaves them alone."""

    capabilities: ClassVar = {**driver.ComputeDriver.capabilities, "supports_attach_interface": True}

    # What there is

    def _instances(self) -> list[dict[str, Any]]:
        files = (names.SERVERS / self._host).glob("*/instance.json")
        return [json.loads(file.read_text()) for file in files]

    def list_instances(self) -> list[str]:
        return [instance["name"] for instance in self._instances()]

    def list_instance_uuids(self) -> list[str]:
        return [instance["uuid"] for instance in self._instances()]

    def get_info(self, instance: Any, use_cache: bool = True) -> hardware.InstanceInfo:  # noqa: ARG002 - Nova's
        machine = self._machine(instance)
        if not (machine.folder / "instance.json").exists():
            raise exception.InstanceNotFound(instance_id=instance.uuid)
        return hardware.InstanceInfo(state=power_state.RUNNING if machine.running() else power_state.SHUTDOWN)

    def get_console_output(self, _context: Any, instance: Any) -> str:
        return (self._machine(instance).folder / "console.log").read_bytes()[-102400:].decode(errors="replace")

    # Life

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        injected_files: Any,
        admin_password: str,
        *_more: Any,
        network_info: Any = None,
        block_device_info: Any = None,
        power_on: bool = True,
        **_named: Any,
    ) -> None:
        machine = self._machine(instance)
        if volume := _root_volume(block_device_info):
            machine.root.mkdir(parents=True)
            commands.run("mount", "-o", "loop", volume, str(machine.root))
            image, own_files = "", machine.root
        else:
            image, own_files = str(_unpacked(context, image_meta)), machine.folder / "upper"
        seed = own_files / "var/lib/cloud/seed/config_drive"
        seed.mkdir(parents=True)
        for vif in network_info or []:
            for subnet in vif["network"]["subnets"]:
                # There is no DHCP server: without these the config drive has the address itself.
                subnet["meta"].pop("enable_dhcp", None)
                subnet["meta"].pop("dhcp_server", None)
        given = metadata.InstanceMetadata(
            instance, content=injected_files, extra_md={"admin_pass": admin_password}, network_info=network_info
        )
        for path, content in given.metadata_for_config_drive():
            (seed / path).parent.mkdir(parents=True, exist_ok=True)
            (seed / path).write_bytes(content.encode() if isinstance(content, str) else content)
        own = {
            "name": instance.name,
            "uuid": instance.uuid,
            "image": image,
            "memory_mb": instance.flavor.memory_mb,
            "project": instance.project_id,
        }
        (machine.folder / "instance.json").write_text(json.dumps(own))
        self.plug_vifs(instance, network_info or [])
        if power_on:
            self._start(machine)

    def power_on(self, _context: Any, instance: Any, network_info: Any, *_more: Any, **_named: Any) -> None:
        self.plug_vifs(instance, network_info or [])
        self._start(self._machine(instance))

    def power_off(self, instance: Any, timeout: int = 0, retry_interval: int = 0) -> None:  # noqa: ARG002 - Nova's
        self._machine(instance).power_off(timeout)

    def reboot(
        self, context: Any, instance: Any, network_info: Any, reboot_type: str, *_more: Any, **_named: Any
    ) -> None:
        self._machine(instance).power_off(20 if reboot_type == "SOFT" else 0)
        self.power_on(context, instance, network_info)

    def resume_state_on_host_boot(
        self, context: Any, instance: Any, network_info: Any, *_more: Any, **_named: Any
    ) -> None:
        self.power_on(context, instance, network_info)

    def destroy(self, _context: Any, instance: Any, network_info: Any, *_more: Any, **_named: Any) -> None:
        machine = self._machine(instance)
        machine.remove()
        if machine.has_volume():
            commands.run("umount", str(machine.root))
        for device in machine.folder.glob("volumes/*"):
            commands.run("losetup", "--detach", device.read_text(), check=False)
        self.unplug_vifs(instance, network_info)
        commands.run("ip", "netns", "del", machine.name, check=False)
        shutil.rmtree(machine.folder, ignore_errors=True)

    def cleanup(self, context: Any, instance: Any, network_info: Any, *_more: Any, **_named: Any) -> None:
        if self._machine(instance).folder.exists():
            self.destroy(context, instance, network_info)

    # Cables

    def plug_vifs(self, instance: Any, network_info: Any) -> None:
        for number, vif in enumerate(network_info):
            _plug(names.server(instance.uuid), vif, f"eth{number}")

    def unplug_vifs(self, _instance: Any, network_info: Any) -> None:
        for vif in network_info or []:
            commands.run("ip", "-n", names.FABRIC, "link", "del", names.tap(vif["id"]), check=False)

    def attach_interface(self, _context: Any, instance: Any, _image_meta: Any, vif: Any) -> None:
        server = names.server(instance.uuid)
        own = [name for name in commands.interfaces(server) if name.startswith("eth")]
        _plug(server, vif, f"eth{len(own)}")

    def detach_interface(self, _context: Any, _instance: Any, vif: Any) -> None:
        self.unplug_vifs(None, [vif])

    # Volumes: a file of Cinder's driver becomes a block device in the machine

    def get_volume_connector(self, _instance: Any) -> dict[str, str]:
        return {"ip": names.LOOPBACK, "initiator": names.WORD, "host": self._host}

    def attach_volume(
        self, _context: Any, connection_info: Any, instance: Any, mountpoint: str, *_more: Any, **_named: Any
    ) -> None:
        machine = self._machine(instance)
        loop = commands.run("losetup", "--find", "--show", connection_info["data"]["device_path"])
        attached = machine.folder / "volumes" / Path(mountpoint).name
        attached.parent.mkdir(exist_ok=True)
        attached.write_text(loop)
        number = os.stat(loop).st_rdev
        _inside(machine, "mknod", mountpoint, "b", str(os.major(number)), str(os.minor(number)))

    def detach_volume(
        self, _context: Any, _connection_info: Any, instance: Any, mountpoint: str, *_more: Any, **_named: Any
    ) -> None:
        machine = self._machine(instance)
        attached = machine.folder / "volumes" / Path(mountpoint).name
        _inside(machine, "rm", "--force", mountpoint)
        commands.run("losetup", "--detach", attached.read_text())
        attached.unlink()

    def _machine(self, instance: Any) -> Machine:
        return Machine(instance.uuid, names.SERVERS / self._host / instance.uuid)

    @staticmethod
    def _start(machine: Machine) -> None:
        own = json.loads((machine.folder / "instance.json").read_text())
        machine.start(own["image"], own["memory_mb"], names.SHARED / own["project"])


def _uuid_of(node: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{node}.{names.WORD}"))


def _inside(machine: Machine, *argv: str) -> None:
    """Runs a command in a machine that runs."""
    if first := machine.first_process():
        commands.run("nsenter", f"--target={first}", "--mount", *argv)


def _plug(server: str, vif: Any, device: str) -> None:
    """Lays a cable from a server's namespace to its network's bridge, which the fabric may have made already."""
    tap, bridge, mtu = names.tap(vif["id"]), names.bridge(vif["network"]["id"]), vif["network"].get_meta("mtu") or 1500
    commands.ensure_namespace(server)
    there = commands.interfaces(names.FABRIC)
    in_fabric = ("ip", "-n", names.FABRIC, "link")
    if bridge not in there:
        commands.run(*in_fabric, "add", bridge, "type", "bridge", "forward_delay", "0", check=False)
    if tap not in there:
        commands.run(
            *in_fabric, "add", tap, "mtu", str(mtu), "type", "veth",
            "peer", "name", device, "address", vif["address"], "mtu", str(mtu), "netns", server,
        )  # fmt: skip
    commands.run(*in_fabric, "set", bridge, "up")
    commands.run(*in_fabric, "set", tap, "master", bridge, "up")
    commands.run("ip", "-n", server, "link", "set", device, "up")


def _unpacked(context: Any, image_meta: Any) -> Path:
    """The folder of an image."""
    return images.unpacked(
        image_meta.checksum,
        lambda archive: glance.API().download(context, image_meta.id, dest_path=str(archive)),
    )


def _root_volume(block_device_info: Any) -> str | None:
    """The file of the volume that a server boots from, if it does."""
    for mapping in (block_device_info or {}).get("block_device_mapping") or []:
        if mapping["boot_index"] == 0:
            return str(mapping["connection_info"]["data"]["device_path"])
    return None
