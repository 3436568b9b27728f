"""Writes what a cloud has, and a state does not know, into the state, in the place that the program declares for it."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.clouds import cloud_resources
from components.clouds.cloud_resources import KINDS, CloudResource, by_kind
from components.errors import CygnetError
from operations.stack import Stack

_IMPORT = ("import", "--yes", "--skip-preview", "--protect=false", "--generate-code=false")


def adopt(stack: Stack, unknown: Sequence[CloudResource]) -> list[CloudResource]:
    """Adopts what the program would otherwise make a second time; returns what of that cannot be adopted.

    What the program does not declare stays as it is.

    Args:
        stack: Whose program says what there shall be, and whose state gets it.
        unknown: What the cloud has under the stack's name, and the state does not know.

    Raises:
        CygnetError: Two of a name are there, or Pulumi refuses.
    """
    rest = list(unknown)
    # A rule is known by its group, which has to be known before: as often as something is adopted.
    while rest:
        found = _declared(stack, rest)
        if all(KINDS[one.kind].not_adopted for one in found):
            return found
        rest = [one for one in rest if one not in found or KINDS[one.kind].not_adopted]
    return []


def _declared(stack: Stack, unknown: Sequence[CloudResource]) -> list[CloudResource]:
    """Those that the program declares; what can be adopted of them is."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Wanted.of(stack, Path(folder) / "wanted.json")
        both = [(one, spec) for one in unknown if (spec := wanted.spec(one))]
        _check_single([one for one, _ in both])
        ids = {spec["name"]: one.id for one, spec in both if not KINDS[one.kind].not_adopted}
        for number, content in enumerate(wanted.import_files(ids)):
            file = Path(folder) / f"{number}.json"
            file.write_text(json.dumps(content))
            stack.pulumi(*_IMPORT, f"--file={file}", capture=True)
        for one, spec in both:
            if spec["name"] in ids:
                print(f"{one} ({one.id}): adopted, it is the stack's own", flush=True)
    return [one for one, _ in both]


@dataclass(frozen=True)
class Wanted:
    """What Pulumi would make."""

    table: dict[str, str]
    """URNs of what is there already, by the names that the specifications have for them."""
    specs: dict[str, dict[str, Any]]
    """By name, as `pulumi preview --import-file` writes them."""
    steps: dict[tuple[str, str], dict[str, Any]]
    """The new states, by type and logical name."""

    @classmethod
    def of(cls, stack: Stack, file: Path) -> "Wanted":
        """Asks Pulumi, by way of a file."""
        said = json.loads(stack.pulumi("preview", "--json", f"--import-file={file}", capture=True))
        made = [step["newState"] for step in said.get("steps", []) if step["op"] == "create"]
        given = json.loads(file.read_text())
        return cls(
            given.get("nameTable") or {},
            {spec["name"]: spec for spec in given.get("resources") or []},
            {(state["type"], state["urn"].rpartition("::")[2]): state for state in made},
        )

    def spec(self, one: CloudResource) -> dict[str, Any] | None:
        """What is declared, and not known to be there, under the name that a resource of the cloud has."""
        type_ = KINDS[one.kind].type
        for spec in self.specs.values():
            inputs = self.steps.get(_key(spec), {}).get("inputs", {})
            if spec["type"] == type_ and cloud_resources.same(type_, inputs) == one.same:
                return spec
        return None

    def import_files(self, ids: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """What `pulumi import` is given, one after the other, for those with an id by the name of their specification.

        What they belong to comes first: Pulumi writes a provider of the same file before the component that it is in,
        and cannot read its own state afterwards.
        """
        needed = self._needed(ids)
        components = [name for name in needed if self.specs[name].get("component")]
        if components:
            yield {"nameTable": self.table, "resources": [self.specs[name] for name in components]}
        if ids:
            known = {name: self.steps[_key(self.specs[name])]["urn"] for name in components}
            rest = [self.specs[name] for name in needed if name not in components]
            imported = [spec | ({"id": ids[spec["name"]]} if spec["name"] in ids else {}) for spec in rest]
            yield {"nameTable": self.table | known, "resources": imported}

    def _needed(self, names: Iterable[str]) -> list[str]:
        """These, and before each the provider and the components that it needs and that are not there yet."""
        needed: list[str] = []
        for name in names:
            if name in self.specs and name not in needed:
                above = (self.specs[name].get("parent"), self.specs[name].get("provider"))
                needed += [one for one in self._needed(filter(None, above)) if one not in needed]
                needed.append(name)
        return needed


def _key(spec: Mapping[str, Any]) -> tuple[str, str]:
    return spec["type"], spec.get("logicalName") or spec["name"]


def _check_single(found: Sequence[CloudResource]) -> None:
    for kind, ours in by_kind(found).items():
        if twice := [one for one in ours if [other.same for other in ours].count(one.same) > 1]:
            ids = ", ".join(f"{one.id} (made {one.created:%Y-%m-%d %H:%M})" for one in twice if one.created)
            raise CygnetError(
                f"the cloud has more than one {kind} '{twice[0].name}' that the state does not know: {ids}. Rename or "
                "remove, with the client `openstack`, all but the one that the stack is to have; then run the same "
                "command again."
            )
