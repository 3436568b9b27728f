"""The same service twice, by cygnet and by a bare script, and the ratio of the two.

Both begin with tools, images and the base of machines at hand, and end with the first cell that draws with ROOT.
What the script needs (files of machines, manifests, certificates) is copied from the stack that cygnet brought up, so
that both make the same; the script's time contains neither that copying nor any thought.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import images
from components.errors import CygnetError
from components.local_machines import leftovers, names, network, nspawn
from components.local_machines.records import MachineSpec
from components.registry import login_file
from components.secrets import new_ssh_key
from components.sources import files
from operations import down, up
from operations.stack import Stack
from tests.live.own import CONFIG, write_config
from tests.live.stack import LiveStack
from tests.live.visitor import session

STACK = "test-bare"
_SCRIPT = Path(__file__).with_name("bare.sh")
_CELL = "import ROOT; h = ROOT.TH1F('h', '', 10, 0, 1); h.FillRandom('gaus', 42)"
_SECRET = "4dabf18193072939515e22adb298388d"  # noqa: S105 - Pulumi's mark of a secret in a state, the same everywhere

# What makes a machine this one, or a member of a cluster; the script's machines get their own.
_NOT_COPIED = (
    "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/machine-id", "etc/ssh/ssh_host_*", "etc/cni/net.d/*",
    "etc/kubernetes/pki", "etc/kubernetes/manifests/*", "etc/kubernetes/*.conf", "etc/kubernetes/.kubeadm-works",
    "etc/systemd/system/kubelet.service.d",
)  # fmt: skip


def bare(repetitions: int) -> Mapping[str, float]:
    """Seconds from nothing to the first cell by cygnet and by the script, and their ratio; medians of pairs."""
    ours, theirs = [], []
    stack = Stack(STACK)
    write_config(stack, CONFIG)
    try:
        for _ in range(repetitions):
            with tempfile.TemporaryDirectory() as folder:
                began = time.monotonic()
                up.run(argparse.Namespace(stack=STACK))
                live = LiveStack.of(STACK, stack.outputs(), Path(folder))
                _first_cell(live)
                ours.append(time.monotonic() - began)
                copied = Path(folder, "copied")
                _copy(stack, live, copied)
                down.take_down(stack, everything=True)
                began = time.monotonic()
                _replay(live, copied)
                _first_cell(live)
                theirs.append(time.monotonic() - began)
                leftovers.remove_leftovers(STACK, print)
    finally:
        down.take_down(stack, everything=True)
        stack.file.unlink()
    return {
        "cygnet_seconds": round(statistics.median(ours), 1),
        "script_seconds": round(statistics.median(theirs), 1),
        "ratio": round(statistics.median(ours) / statistics.median(theirs), 2),
    }


def _first_cell(live: LiveStack) -> None:
    """Signs in, starts a session and runs a cell in it."""
    with session(live, next(name for name in live.accounts if name not in live.admins)) as visitor:
        visitor.kernel().run(_CELL, seconds=120)


def _copy(stack: Stack, live: LiveStack, folder: Path) -> None:
    """Copies what the script needs from the live stack."""
    (folder / "authority").mkdir(parents=True)
    (folder / "authority" / "ca.crt").write_text(live.ca_file.read_text())
    state = json.loads(stack.pulumi("stack", "export", "--show-secrets", capture=True))
    resources = state["deployment"]["resources"]
    pushed = [_plain(resource["outputs"]) for resource in resources if resource["type"].endswith(":Image")]
    (folder / "images").write_text("".join(f"{images.ensure(one['image'])} {one['reference']}\n" for one in pushed))
    registry = pushed[0]["reference"].split("/")[0]
    files.write(
        folder / "auth.json", json.dumps(login_file(registry, pushed[0]["username"], pushed[0]["password"])), 0o600
    )
    objects = [_plain(resource["inputs"]) for resource in resources if resource["type"].startswith("kubernetes:")]
    for name, is_namespace in {"namespaces": True, "objects": False}.items():
        items = [one for one in objects if (one["kind"] == "Namespace") == is_namespace]
        files.write(folder / f"{name}.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), 0o600)
    for machine in live.machines:
        upper = names.machine_folder(STACK, machine) / "upper"
        command = ["tar", "--create", f"--file={folder / machine}.tar", f"--directory={upper}"]
        command += ["--anchored", "--no-wildcards-match-slash", *(f"--exclude={path}" for path in _NOT_COPIED)]
        there = [path for path in ("etc", "opt", "usr/local", "var/lib/cygnet-software") if (upper / path).exists()]
        subprocess.run([*command, *there], check=True)


def _replay(live: LiveStack, folder: Path) -> None:
    """Machines of the same names and addresses, by the code that makes a stack's, and on them the script."""
    subnet = live.machines["control-plane-1"]["address"].rsplit(".", 1)[0]
    net = network.ensure_network(STACK, int(subnet.rsplit(".", 1)[1]))
    if not str(net.subnet).startswith(f"{subnet}."):
        raise CygnetError(f"the network {subnet}.* was taken meanwhile; bring up nothing beside this benchmark")
    private_key, public_key = new_ssh_key("operator")
    files.write(folder / "key", private_key, 0o600)
    ssh_config = [f"User root\nIdentityFile {folder}/key\nUserKnownHostsFile {folder}/known_hosts\nBatchMode yes\n"]
    known_hosts = []
    for machine, host in live.machines.items():
        host_private_key, host_key = new_ssh_key(machine)
        spec = MachineSpec(
            stack=STACK,
            name=machine,
            memory_mib=CONFIG["cygnet:machines"]["groups"][host["group"]]["memory_gib"] * 1024,
            authorized_key=public_key,
            host_key=host_key,
            host_private_key=host_private_key,
        )
        nspawn.ensure_machine(spec, net, print)
        known_hosts.append(f"{net.address(machine)} {host_key}\n")
        ssh_config.append(f"Host {machine}\n  HostName {net.address(machine)}\n")
    (folder / "known_hosts").write_text("".join(known_hosts))
    (folder / "ssh.conf").write_text("".join(ssh_config))
    subprocess.run([_SCRIPT, folder], check=True)


def _plain(value: Any) -> Any:
    """A value of a state, with its secrets in plain text."""
    if isinstance(value, dict):
        if _SECRET in value:
            return _plain(json.loads(value["plaintext"]))
        return {key: _plain(inner) for key, inner in value.items() if not key.startswith("__")}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
