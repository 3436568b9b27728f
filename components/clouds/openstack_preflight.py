"""The pre-flight of a stack in an OpenStack cloud: all that would keep its servers from coming up, before any is made.

It looks and changes nothing. It counts what this change adds: what the stack has already is in the quotas' use.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address
from typing import Final

from components.clouds import cloud, cloud_survey
from components.clouds.cloud_facts import Facts
from components.clouds.openstack_demand import Wanted, added, devices_added

_HERE: Final = "cygnet:machines.openstack"
_GROUPS: Final = "cygnet:machines.groups"
_CLOCK_SECONDS: Final = 60.0  # beyond, a certificate that was just made is not valid yet
_KUBEADM_CORES: Final = 2  # kubeadm refuses a control plane with less
_KUBEADM_MIB: Final = 1700
_NEAR: Final = 3  # names in a message
_SHOWN: Final = 8

_MEANINGS: Final = {
    "instances": "servers",
    "cores": "cores",
    "ram": "MiB of memory",
    "key-pairs": "key pairs",
    "server-groups": "server groups",
    "networks": "networks",
    "subnets": "subnets",
    "routers": "routers",
    "ports": "ports",
    "floating-ips": "floating IPs",
    "secgroups": "security groups",
    "secgroup-rules": "rules of security groups",
    "volumes": "volumes",
    "gigabytes": "GiB of volumes",
}
"""What is counted, by the option of `openstack quota set`."""


def findings(wanted: Wanted, note: Callable[[str], None]) -> list[str]:
    """Why the servers of a stack could not be made, each with its cure; empty when they can.

    Args:
        wanted: What the stack shall have.
        note: Told what is worth knowing and does not keep the stack from coming up.
    """
    services = [*cloud.SERVICES, *([cloud_survey.VOLUMES] if wanted.has_volumes else [])]
    try:
        facts = cloud_survey.gather(
            cloud.connect(wanted.config, services),
            wanted.stack,
            volumes=wanted.has_volumes,
            address=wanted.virtual if isinstance(wanted.virtual, IPv4Address) else None,
        )
    except cloud.CloudError as error:
        return [str(error)]
    for warning in _warnings(wanted, facts):
        note(warning)
    return [
        *_account(wanted, facts),
        *_clock(facts),
        *_networks(wanted, facts),
        *_virtual_address(wanted, facts),
        *_names(wanted, facts),
        *_sizes(wanted, facts),
        *_quotas(wanted, facts),
        *_devices(wanted, facts),
    ]


def _account(wanted: Wanted, facts: Facts) -> Iterator[str]:
    def ask_for(role: str) -> str:
        given = f"openstack role add --user {facts.user} --project {facts.project} {role}"
        return f"Ask those who run the cloud: {given}"

    if facts.roles <= {"reader"}:
        only = "it has no role there but reader"
        yield f"{facts.user} may only look in project {facts.project}: {only}. {ask_for('member')}"
    made = sorted(name for name in wanted.config.flavors if f"{wanted.own}-{name}" not in facts.flavors)
    if made and "admin" not in facts.roles:
        yield (
            f"{_HERE}.flavors: {facts.user} may not create flavors ({', '.join(made)}): that is for administrators. "
            "Take one that is there (openstack flavor list), or ask those who run the cloud for it"
        )


def _clock(facts: Facts) -> Iterator[str]:
    ahead = facts.clock_seconds
    if abs(ahead) > _CLOCK_SECONDS:
        yield (
            f"this computer's clock is {abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} the cloud's: "
            "certificates that it makes are refused there. Set it: timedatectl set-ntp true"
        )


def _networks(wanted: Wanted, facts: Facts) -> Iterator[str]:
    network, own = wanted.config.network, wanted.config.own_network
    if network:
        called = [one for one in facts.networks if one.name == network]
        if not called:
            known = [one.name for one in facts.networks if one.takes_servers]
            yield _missing("network", f"{_HERE}.network", network, known, facts)
        elif len(called) > 1:
            yield (
                f"{_HERE}.network: {len(called)} networks are called {network}, and a server needs one. Rename all but "
                f"one: openstack network list --name {network}; openstack network set --name OTHER ID"
            )
        elif not called[0].takes_servers:
            yield (
                f"{_HERE}.network: {network} takes no servers of project {facts.project}: it has no subnet, or is for "
                "the outer side of routers only. Take another: openstack network list"
            )
    if own:
        known = [one.name for one in facts.networks if one.external]
        if own.external not in known:
            yield _missing("network", f"{_HERE}.own_network.external", own.external, known, facts)


def _virtual_address(wanted: Wanted, facts: Facts) -> Iterator[str]:
    key, address = "cygnet:cluster.api_address", wanted.virtual
    if not isinstance(address, IPv4Address):
        return
    subnets = [subnet for one in facts.networks if one.name == wanted.config.network for subnet in one.subnets]
    if wanted.config.network and subnets and not any(address in subnet for subnet in subnets):
        yield (
            f"{key}: {address} is not on network {wanted.config.network} ({', '.join(map(str, subnets))}). Take a free "
            "one of it, or let the cloud choose: own"
        )
    if port := facts.taken.get(address):
        yield (
            f"{key}: {address} is in use by port {port}. Take a free one (openstack port list --network "
            f"{wanted.config.network or wanted.own}), or let the cloud choose: own"
        )


def _names(wanted: Wanted, facts: Facts) -> Iterator[str]:
    """Names that the cloud does not have, each once."""
    flavors, images, types = list(wanted.flavors(facts)), list(facts.images), facts.volume_types
    asked: list[tuple[str, str, str | None, Sequence[str]]] = [("image", f"{_HERE}.image", wanted.config.image, images)]
    for server in wanted.servers:
        group = f"{_GROUPS}.{server.group}"
        asked += [
            ("flavor", f"{group}.flavor", server.flavor, flavors),
            ("image", f"{group}.image", server.image, images),
            ("availability zone", f"{group}.availability_zone", server.availability_zone, facts.zones),
            ("volume type", f"{group}.volume_type", server.volume_type, types),
        ]
    for name, volume in wanted.config.volumes.items():
        asked.append(("volume type", f"{_HERE}.volumes.{name}.type", volume.type, types))
    missing = {key: (what, name, known) for what, key, name, known in asked if name and name not in known}
    for key, (what, name, known) in missing.items():
        yield _missing(what, key, name, known, facts)


def _sizes(wanted: Wanted, facts: Facts) -> Iterator[str]:
    """Flavors that are too small for their image, or for Kubernetes."""
    flavors = wanted.flavors(facts)
    for group, role, name, image_name, volume_gib in dict.fromkeys(
        (one.group, one.role, one.flavor, one.image or wanted.config.image, one.volume_gib) for one in wanted.servers
    ):
        flavor, image = flavors.get(name), facts.images.get(image_name)
        if flavor is None:
            continue
        disk_gib = volume_gib or flavor.disk_gib
        has = f"{_GROUPS}.{group}.flavor: {name} has {flavor.cores} cores, {flavor.memory_mib} MiB, {disk_gib} GiB"
        # A flavor of 0 GiB gives each server the disk that its image needs.
        if image and (image.memory_mib > flavor.memory_mib or image.disk_gib > disk_gib > 0):
            yield (
                f"{has}; image {image_name} needs {image.memory_mib} MiB and {image.disk_gib} GiB at least. Take a "
                "larger one: openstack flavor list"
            )
        if role == "control_plane" and (flavor.cores < _KUBEADM_CORES or flavor.memory_mib < _KUBEADM_MIB):
            yield (
                f"{has}; Kubernetes' control plane needs {_KUBEADM_CORES} cores and {_KUBEADM_MIB} MiB at least. Take "
                "a larger one: openstack flavor list"
            )


def _quotas(wanted: Wanted, facts: Facts) -> Iterator[str]:
    def ask_for(option: str, number: int) -> str:
        return f"ask those who run the cloud: openstack quota set --{option} {number} {facts.project}"

    more = added(wanted, facts)
    for option, quota in facts.quotas.items():
        needed = quota.used + more[option]
        if more[option] and 0 <= quota.limit < needed:
            yield (
                f"quota of {_MEANINGS[option]}: this change adds {more[option]}, and project {facts.project} has "
                f"{quota.used} of {quota.limit}. Make it smaller (cygnet:machines), remove what nobody needs, or "
                f"{ask_for(option, needed)}"
            )
    for group, count in Counter(server.group for server in wanted.servers).items():
        if 0 <= facts.group_members < count:
            yield (
                f"{_GROUPS}.{group}.count: a server group has {facts.group_members} members at most in project "
                f"{facts.project}, and this one has {count}. Lower it, or {ask_for('server-group-members', count)}"
            )


def _devices(wanted: Wanted, facts: Facts) -> Iterator[str]:
    for name, (count, flavors) in devices_added(wanted, facts).items():
        free = facts.free.get(name)
        if free is not None and free < count:
            yield (
                f"{_GROUPS}: the new servers take {count} of {name} ({', '.join(flavors)}), and {free} are free. Lower "
                f"count, or see who has them: openstack server list --all-projects --flavor {flavors[0]}"
            )


def _warnings(wanted: Wanted, facts: Facts) -> Iterator[str]:
    for name, server in facts.servers.items():
        if server.status == "ERROR":
            reason = server.fault or f"openstack server show {name} may say why"
            yield f"server {name} is in ERROR ({reason}). This makes it anew: cygnet up {wanted.stack}"
    for name, (count, flavors) in devices_added(wanted, facts).items():
        if facts.free.get(name) is None:
            yield (
                f"whether {count} of {name} are free ({', '.join(flavors)}) is not known: the cloud does not tell this "
                "account. If they are not, Nova says 'No valid host was found'"
            )


def _missing(what: str, key: str, name: str, known: Iterable[str], facts: Facts) -> str:
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.4)
    if near:
        cure = f"did you mean {' or '.join(near)}?"
    else:
        cure = f"it sees {', '.join(names[:_SHOWN]) or 'none'}{' and more' if len(names) > _SHOWN else ''}."
    return f"{key}: project {facts.project} sees no {what} {name}; {cure} All: openstack {what} list"
