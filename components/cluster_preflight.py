"""What a cluster that runs already says against a change: its control planes, its version, its certificate's end."""

import datetime as dt
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any, Final
from urllib.parse import urlsplit

import pulumi
import yaml
from cryptography import x509

from components.errors import CygnetError
from components.kubectl import kubectl
from components.sources.source import WantedAddress

_SOON: Final = dt.timedelta(days=30)
_SECONDS: Final = 5
_OLDEST_KUBELET: Final = 3  # minor versions that a kubelet may be behind its API
_AGAIN: Final = (0.1, 0.3, 1.0, 3.0)  # seconds until the state is read again


def outputs(stack: str) -> Mapping[str, Any]:
    """What the stack's last update gave, as far as it came.

    The engine answers it to a StackReference; one would be a resource of its own.
    """
    for pause in _AGAIN:
        try:
            return _outputs(stack)
        except Exception as error:
            # When an update begins, the engine writes the state, in place where a folder is the backend: who reads at
            # that moment has a part of it. The SDK has no type of its own for that.
            if "failed to load checkpoint" not in str(error):
                raise
            time.sleep(pause)
    return _outputs(stack)


def control_planes(before: Mapping[str, Any], count: int, virtual: WantedAddress) -> Iterator[str]:
    """Why the control planes of a cluster cannot become those that are declared.

    The API's address is in the certificates and in each machine's files from the first day on; and to take a control
    plane out of etcd for good is not done by a number that became smaller.

    Args:
        before: The stack's outputs.
        count: How many control planes it shall have.
        virtual: The address that they shall share.
    """
    had = [host for host in before.get("inventory", []) if host["group"] == "control_plane"]
    cluster = before.get("parts", {}).get("cluster")
    if not had or not cluster:
        return
    address, moves = cluster["address"], cluster.get("moves", False)
    if count < len(had):
        yield (
            f"the cluster has {len(had)} control planes, and {count} are declared: taking one away for good is not "
            f"done. Leave the count at {len(had)}, or bring up a new stack beside this one"
        )
    elif count > len(had) and not moves:
        yield (
            f"the cluster was made with the address of {had[0]['name']} ({address}) as its own, which goes when that "
            f"machine dies; {count} control planes need one that moves. Leave the count at {len(had)}, or bring up a "
            "new stack beside this one, with cygnet:cluster.api_address from its first day on"
        )
    elif moves and virtual is None:
        yield (
            f"cygnet:cluster.api_address: the cluster was made with an address that moves ({address}), and keeps it "
            "for its life. Leave it as it was"
        )
    elif (virtual and not moves) or (isinstance(virtual, IPv4Address) and str(virtual) != address):
        yield (
            f"cygnet:cluster.api_address: the cluster was made with {address}, which is in all its certificates. Leave "
            "it as it was, or bring up a new stack beside this one"
        )


def findings(given: str | None, pinned: str, note: Callable[[str], None]) -> list[str]:
    """Why the cluster that runs cannot become the one that is declared; a cluster that does not answer says nothing.

    Args:
        given: Its kubeconfig, or None where there is no cluster yet.
        pinned: The version of Kubernetes that it shall have, e.g. "1.36.3".
        note: Told what will be a finding one day.
    """
    if given is None:
        return []
    server = yaml.safe_load(given)["clusters"][0]["cluster"]["server"]
    return [*_certificate(server, note), *_skew(given, pinned)]


def skew(pinned: str, api: str, kubelets: Mapping[str, str]) -> Iterator[str]:
    """What Kubernetes' rules of versions say of going from the versions that run to the one that is pinned.

    >>> list(skew("1.36.3", "v1.36.1", {"worker-1": "v1.35.4"}))
    []
    """
    wanted, runs = _minor(pinned), _minor(api)
    here = "engine/versions.yaml has Kubernetes"
    if wanted < runs:
        yield (
            f"{here} {pinned}, and {api} runs: it does not go back to an older minor version. Use the release that "
            "made this cluster, or a newer one: git log engine/versions.yaml"
        )
    elif wanted > runs + 1:
        yield (
            f"{here} {pinned}, and {api} runs: it goes up by one minor version at a time. Run 'pulumi up' with the "
            f"release that has 1.{runs + 1} first: git log engine/versions.yaml"
        )
    for kubelet in sorted(set(kubelets.values())):
        newest = _minor(kubelet) + _OLDEST_KUBELET
        if newest < wanted:
            nodes = ", ".join(sorted(node for node, runs_there in kubelets.items() if runs_there == kubelet))
            yield (
                f"{here} {pinned}, and kubelets are {kubelet} ({nodes}): they may be {_OLDEST_KUBELET} minor versions "
                f"older than their API. Run 'pulumi up' with the release that has 1.{newest} first: "
                "git log engine/versions.yaml"
            )


def _outputs(stack: str) -> Mapping[str, Any]:
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{stack}"
    found = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": name}).value
    return (found or {}).get("outputs") or {}


def _skew(given: str, pinned: str) -> list[str]:
    def ask(*what: str) -> Any:
        return json.loads(kubectl(given, "get", *what, f"--request-timeout={_SECONDS}s"))

    try:
        api = ask("--raw=/version")["gitVersion"]
        nodes = ask("nodes", "--output=json")["items"]
    except CygnetError:
        return []  # machines that are down come up by the update that is about to begin
    return list(
        skew(pinned, api, {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes})
    )


def _certificate(server: str, note: Callable[[str], None]) -> Iterator[str]:
    place = urlsplit(server)
    try:
        # It is not trusted here, only read: one that has ended would be refused.
        pem = ssl.get_server_certificate((str(place.hostname), place.port or 443), timeout=_SECONDS)
    except OSError:
        return
    end = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
    left = end - dt.datetime.now(dt.UTC)
    cure = "On each control plane, one after the other: sudo kubeadm certs renew all && sudo reboot"
    if left < dt.timedelta():
        yield f"the certificate of Kubernetes' API at {place.netloc} ended on {end:%Y-%m-%d}: nothing gets in. {cure}"
    elif left < _SOON:
        note(f"the certificate of Kubernetes' API at {place.netloc} ends on {end:%Y-%m-%d}. {cure}")


def _minor(version: str) -> int:
    """The minor number of a version of Kubernetes.

    >>> _minor("v1.36.3")
    36
    """
    return int(version.split(".")[1])
