"""A machine with a GPU that does not exist: the driver is a stand-in, all that uses it is real.

NVIDIA's device plugin, the kubelet, containerd and runc are the real ones. In the place of the driver are a library
(`nvml.c`), a program that tells of the same GPU, and a file that is no device of NVIDIA's.
"""

import dataclasses
import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from testinfra.host import Host

import images
from components import gpu
from components.playbook import common_variables
from components.registry import login_file
from components.sources.groups import GpuConfig
from engine.progress import Progress
from engine.versions import VERSIONS
from tests.live.waiting import until
from tests.roles.node import Node

UUID: Final = "GPU-6b1f7d2e-0000-4000-8000-000000000001"
DRIVER: Final = "999.1.1"
UNWELL: Final = "/run/gpu-is-unwell"
LIBRARIES: Final = "/usr/lib/x86_64-linux-gnu"
SMI: Final = f"""#!/bin/sh
# In the place of NVIDIA's program: tells of the GPU that the library tells of.
echo '[N/A], Test data, {UUID}'
"""
_ALONE: Final = "/root/alone"


def with_gpus(node: Node, *, on_pci: bool = False, **given: Any) -> Node:
    """A machine of which is said that it has GPUs."""
    told = {**gpu.variables(GpuConfig(model="t4", **given)), "gpu_on_pci": on_pci}
    return dataclasses.replace(node, host={**node.host, "variables": {**node.host["variables"], **told}})


def tool_variables() -> dict[str, Any]:
    """What a play with the role's programs is told of tools."""
    return common_variables(gpu.TOOLS)


@contextmanager
def driver(inside: Host, folder: Path) -> Iterator[None]:
    """A machine on which something answers as the driver would."""
    source = Path(__file__).with_name("nvml.c")
    write_program = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(bytes.fromhex(sys.stdin.read()))"
    for name in ("libnvidia-ml", "libcuda"):
        library = folder / f"{name}.so.{DRIVER}"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-Wall", "-Werror", f'-DVERSION="{DRIVER}"', f"-Wl,-soname,{name}.so.1",
             "-o", library, source],
            check=True,
        )  # fmt: skip
        target = f"{LIBRARIES}/{library.name}"
        inside.check_output(f"printf %%s {library.read_bytes().hex()} | python3 -c %s %s", write_program, target)
    made = [
        f"ln -sf libnvidia-ml.so.{DRIVER} {LIBRARIES}/libnvidia-ml.so.1",
        f"ln -sf libcuda.so.{DRIVER} {LIBRARIES}/libcuda.so.1",
        "ldconfig",
        f"printf %s {shlex.quote(SMI)} > /usr/local/bin/nvidia-smi",
        "chmod 755 /usr/local/bin/nvidia-smi",
        "touch /dev/nvidia0 /dev/nvidiactl",
        # The device is the machine's /dev/null: a container may have none that does not exist.
        "mount --bind /dev/null /dev/nvidia0",
        "mount --bind /dev/null /dev/nvidiactl",
    ]
    inside.check_output("set -e; " + "; ".join(made))
    try:
        yield
    finally:
        inside.run(
            f"umount /dev/nvidia0 /dev/nvidiactl; rm -f /dev/nvidia0 /dev/nvidiactl /usr/local/bin/nvidia-smi {UNWELL} "
            f"{LIBRARIES}/libnvidia-ml.so.* {LIBRARIES}/libcuda.so.*; ldconfig"
        )


@contextmanager
def kubelet(inside: Host) -> Iterator[None]:
    """The machine's kubelet, with the machine's settings, in no cluster: it runs the pods of a folder."""
    settings = yaml.safe_load(inside.file("/etc/kubernetes/kubelet.conf.d/10-cygnet.conf").content_string)
    settings |= {
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "address": "127.0.0.1",
        "rotateCertificates": False,
        "staticPodPath": f"{_ALONE}/pods",
        "fileCheckFrequency": "1s",
        "resolvConf": "",
    }
    write(inside, f"{_ALONE}/kubelet.yaml", yaml.safe_dump(settings))
    inside.check_output(
        f"mkdir -p {_ALONE}/pods && systemd-run --quiet --unit=kubelet-alone /usr/local/bin/kubelet "
        f"--config={_ALONE}/kubelet.yaml --hostname-override=alone"
    )
    try:
        yield
    finally:
        inside.run(
            "systemctl stop kubelet-alone; crictl rmp --all --force; systemctl reset-failed kubelet-alone; "
            f"rm -rf {_ALONE} /var/lib/kubelet/device-plugins /var/lib/kubelet/cpu_manager_state "
            "/var/lib/kubelet/memory_manager_state"
        )


def write(inside: Host, path: str, text: str) -> None:
    """A file on the machine."""
    inside.check_output(f"mkdir -p {Path(path).parent} && printf %s {shlex.quote(text)} > {path}")


def registered(inside: Host) -> dict[str, list[str]]:
    """The devices that the kubelet was told of and are well, by resource, as it writes them down."""
    text = inside.check_output("cat /var/lib/kubelet/device-plugins/kubelet_internal_checkpoint")
    devices: dict[str, list[str]] = json.loads(text)["Data"]["RegisteredDevices"] or {}
    return devices


def push_pause(node: Node) -> str:
    """Brings the image `pause` to the machine's registry; the reference by which containerd looks for it."""
    authority, login = node.folder / "ca.crt", node.folder / "login.json"
    authority.write_text(node.variables["machines_ca_certificate"])
    login.write_text(json.dumps(login_file(node.registry, "node", node.variables["registry_password"])))
    reference = f"{node.registry}/cygnet/pause:{VERSIONS['pause']}"
    images.push(images.ensure("pause", Progress()), reference, ca_file=authority, authfile=login)
    return reference


def run_pod(inside: Host, name: str, image: str, limits: dict[str, str]) -> int:
    """Has the kubelet run a pod that does nothing; gives its process."""
    spec = {
        "hostNetwork": True,
        "containers": [{"name": name, "image": image, "resources": {"limits": limits}}],
        "terminationGracePeriodSeconds": 0,
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    write(inside, f"{_ALONE}/pods/{name}.yaml", yaml.safe_dump(pod))
    listed = f"crictl ps --name {name} --state running --quiet"
    until(lambda: inside.check_output(listed), f"the container {name} runs", seconds=60, every=1)
    inspected = json.loads(inside.check_output(f"crictl inspect $({listed})"))
    return int(inspected["info"]["pid"])
