"""What local machines left on this host: found by name alone, so that it can be removed when every record is lost.

Used by `cygnet clean`, and by tests that prove that nothing remains.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.local_machines import cgroups, links, names, network, nspawn, processes
from components.local_machines.host import run
from components.local_machines.names import Label
from components.local_machines.nspawn import Say

Kind = Literal["process", "cgroup", "namespace", "mount", "link", "route", "rule", "folder"]


@dataclass(frozen=True, order=True)
class Leftover:
    """One thing of ours on this host. `stack` is None when nothing tells whose it is."""

    kind: Kind
    name: str
    stack: str | None


def leftovers(stack: str | None = None) -> list[Leftover]:
    """All that is ours on this host, running or not: of one stack, or (None) of any."""
    found = {
        *_labelled("process", map(str, processes.labels())),
        *_labelled("cgroup", map(str, cgroups.labels())),
        *_labelled("namespace", links.namespaces()),
        *_numbered(),
        *_mounts(Path("/proc/self/mountinfo").read_text()),
        *(Leftover("folder", str(folder), folder.name) for folder in names.STATE.glob("*/")),
    }
    return sorted((left for left in found if stack in (None, left.stack)), key=lambda left: (left.kind, left.name))


def remove_leftovers(stack: str, say: Say) -> list[Leftover]:
    """Removes all of a stack from this host, with its data, and what is nobody's; returns what was there.

    Raises:
        HostError: Something cannot be removed.
    """
    found = [left for left in leftovers() if left.stack in (stack, None)]
    if not found:
        return []
    machines = {Label.parse(left.name) for left in found}
    folders = names.stack_folder(stack).glob("machines/*/")
    machines |= {Label.parse(f"cygnet-{stack}-{folder.name}") for folder in folders}
    for label in sorted((label for label in machines if label), key=str):
        say(f"{label}: removing")
        nspawn.remove_machine(label.stack, label.machine, say)
    for left in found:
        if left.kind == "mount":
            run("umount", "--recursive", "--lazy", left.name)
        elif left.stack is None and (number := _number(left)):
            links.remove(number)
    network.remove_network(stack)
    return found


def _labelled(kind: Kind, found: Iterable[str]) -> Iterable[Leftover]:
    return (Leftover(kind, str(label), label.stack) for label in map(Label.parse, found) if label)


def _numbered() -> Iterable[Leftover]:
    """What has a stack's number only; records, and the alias of the host's interface, tell whose that is."""
    on_host = links.stacks()
    owners: dict[int | None, str] = {names.number_of_link(link): owner for link, owner in on_host.items() if owner}
    owners |= {net.number: net.stack for net in network.recorded()}
    numbered: dict[Kind, Mapping[str, int | None]] = {
        "link": {link: names.number_of_link(link) for link in on_host},
        "namespace": {name: number for name in links.namespaces() if (number := names.number_of_link(name))},
        "rule": links.rules(),
        "route": links.routes(),
    }
    for kind, found in numbered.items():
        yield from (Leftover(kind, name, owners.get(number)) for name, number in found.items())


def _number(left: Leftover) -> int | None:
    return names.number_of_subnet(left.name) if left.kind == "route" else names.number_of_link(left.name)


def _mounts(mountinfo: str) -> Iterable[Leftover]:
    """Mounts below our folder. A machine's own are in its supervisor's namespace and not seen here.

    >>> list(_mounts("90 1 0:9 / /var/lib/cygnet/local/shared rw - tmpfs none rw"))
    [Leftover(kind='mount', name='/var/lib/cygnet/local/shared', stack='local')]
    """
    for line in mountinfo.splitlines():
        point = Path(line.split()[4])
        if point.is_relative_to(names.STATE) and point != names.STATE:
            yield Leftover("mount", str(point), point.relative_to(names.STATE).parts[0])
