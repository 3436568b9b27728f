"""The one resource through which Pulumi runs Ansible.

A `Playbook` runs again when something it depends on was edited (the playbook, a role or template, the hosts, a
variable) and not otherwise. It runs in a process of its own (`components.playbook_run`): Ansible forks, and the
provider's own process holds the threads of gRPC.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.display import Display
from components.errors import CygnetError
from engine import recipes, tools, versions
from engine.progress import Progress

MACHINE_TOOLS = ("kubernetes", "containerd", "crictl", "cni-plugins", "swfs", "xrdmount")
"""The tools of `engine/` that roles bring to machines."""

PLAYBOOKS = Path(__file__).resolve().parent.parent / "playbooks"


class PlaybookError(CygnetError):
    """A play ended without success; the message names host, task, reason and cure."""


class _PlaybookProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=f"{props['stack']}/{props['playbook']}", outs=self._run(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=self._run(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        compared = ("playbook", "hosts", "variables", "fingerprint")
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in compared))

    def _run(self, props: dict[str, Any]) -> dict[str, Any]:
        return {**props, "results": run(props)}


class Playbook(Resource, module="cygnet", name="Playbook"):
    """Runs a playbook of `playbooks/` against hosts.

    Args:
        playbook: File name in `playbooks/`, e.g. "cluster.yml".
        hosts: As `Machines.hosts` gives them (name, group, address, user, port, host_key, variables).
        private_key: The SSH key that opens them, in OpenSSH's format.
        variables: Extra variables of the play; kept encrypted, and handed over in a file of mode 600.
        tools: Of `engine/`, what it brings to machines besides those that every play may; obtained when it runs.

    `results` is what the play says with `set_stats`, by name; secret, because a play may say a kubeconfig.
    """

    results: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        name: str,
        playbook: str,
        *,
        hosts: pulumi.Input[Sequence[Mapping[str, Any]]],
        private_key: pulumi.Input[str],
        variables: pulumi.Input[Mapping[str, Any]],
        tools: Sequence[str] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "stack": pulumi.get_stack(),
            "playbook": playbook,
            "hosts": hosts,
            "private_key": pulumi.Output.secret(private_key),
            "variables": pulumi.Output.secret(variables),
            "tools": list(tools),
            "fingerprint": fingerprint(PLAYBOOKS / playbook, tools),
            "results": None,
        }
        secret = pulumi.ResourceOptions(additional_secret_outputs=["private_key", "variables", "results"])
        super().__init__(_PlaybookProvider(), name, props, pulumi.ResourceOptions.merge(opts, secret))


def fingerprint(playbook: Path, more_tools: Sequence[str] = ()) -> str:
    """A digest of all that a playbook runs: itself, the files beside it, its roles, and what they install.

    Raises:
        CygnetError: The playbook runs a role that is not in `roles/`.
    """
    installed = [tools.key(tool) for tool in (*MACHINE_TOOLS, *more_tools)]
    digest = hashlib.sha256(json.dumps([dict(versions.VERSIONS), *installed]).encode())
    shared = [playbook.parent / "ansible.cfg", *sorted((playbook.parent / "library").glob("*.py"))]
    for file in [playbook, *shared, *_role_files(playbook)]:
        digest.update(str(file.relative_to(playbook.parent)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def roles_of(playbook: Path) -> list[str]:
    """The names of the roles that a playbook runs: those its plays list, and those that these import in turn.

    Raises:
        CygnetError: One of them is not in `roles/`.
    """
    plays = yaml.safe_load(playbook.read_text())
    wanted = [role if isinstance(role, str) else role["role"] for play in plays for role in play.get("roles", [])]
    found: list[str] = []
    while wanted:
        role = wanted.pop(0)
        if role not in found:
            found.append(role)
            wanted += _imported_roles(playbook, role)
    return found


def _imported_roles(playbook: Path, role: str) -> list[str]:
    folder = playbook.parent / "roles" / role
    if not folder.is_dir():
        raise CygnetError(
            f"{playbook.name} runs the role '{role}', which is not in playbooks/roles/; add it there, or mend its name"
        )
    texts = [file.read_text() for file in sorted(folder.glob("tasks/*.yml"))]
    # Most files import no role, and reading YAML is slow.
    return [name for text in texts if "_role:" in text for name in _names_of_imports(yaml.safe_load(text))]


def _names_of_imports(tasks: Any) -> Iterator[str]:
    """Of the roles that tasks import, those in blocks too."""
    if isinstance(tasks, list):
        for task in tasks:
            yield from _names_of_imports(task)
    elif isinstance(tasks, dict):
        for key, value in tasks.items():
            if key in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
                yield value["name"]
            else:
                yield from _names_of_imports(value)


def _role_files(playbook: Path) -> list[Path]:
    folders = [playbook.parent / "roles" / role for role in roles_of(playbook)]
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]


def common_variables(more_tools: Sequence[str] = ()) -> dict[str, Any]:
    """What every play may use: `versions` by name, and `tools`, the path of each machine tool on this computer.

    Raises:
        EngineError: One of `more_tools` was not there, and cannot be built.
    """
    if more_tools:
        tools.get(more_tools, Progress(Display()))
    binaries = [binary for tool in (*MACHINE_TOOLS, *more_tools) for binary in recipes.RECIPES[tool].binaries]
    return {"versions": dict(versions.VERSIONS), "tools": {binary: str(tools.path(binary)) for binary in binaries}}


def run(props: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the playbook in a process of its own and returns what it said with `set_stats`.

    The request goes through standard input, so that no secret stands in a process list; the pipe stays open while
    we live, and its end tells the other process to stop: no play outlives a killed `pulumi up`.

    Raises:
        PlaybookError: The play did not succeed.
    """
    request = {key: props[key] for key in ("stack", "playbook", "hosts", "private_key")}
    request["folder"] = str(PLAYBOOKS)
    request["variables"] = common_variables(props.get("tools", ())) | props["variables"]
    request = whole(request)
    with subprocess.Popen(
        [sys.executable, "-m", "components.playbook_run"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PLAYBOOKS.parent,
    ) as process:  # fmt: skip
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both pipes were asked for")
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        outcome: dict[str, Any] = {
            "failure": f"{props['playbook']}: the process that runs Ansible was ended before the play was over, "
            "perhaps for lack of memory (dmesg tells); run the same command again: it goes on"
        }
        for line in process.stdout:
            message = json.loads(line)
            if "progress" in message:
                pulumi.log.info(message["progress"])
            else:
                outcome = message
    if "failure" in outcome:
        raise PlaybookError(outcome["failure"])
    results: dict[str, Any] = outcome["results"]
    return results


def whole(given: Any) -> Any:
    """What was declared, with its whole numbers: Pulumi hands every number over as one with a point.

    >>> whole({"ports": [6443.0], "gib": 1.5, "on": True})
    {'ports': [6443], 'gib': 1.5, 'on': True}
    """
    if isinstance(given, Mapping):
        return {key: whole(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [whole(value) for value in given]
    return int(given) if isinstance(given, float) and given.is_integer() else given
