"""Playbooks and roles: that all roles have one shape, and what their own modules and programs do."""

import importlib.util
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from components.playbook import MACHINE_TOOLS, PLAYBOOKS, common_variables, roles_of
from engine import recipes
from engine.versions import VERSIONS

ROLES = sorted(folder.name for folder in (PLAYBOOKS / "roles").iterdir())
ENTRIES = sorted(PLAYBOOKS.glob("*.yml"))

EVERYWHERE = {"machines_ca_certificate", "registry_endpoint", "tools", "versions"}
"""What a role may be given besides variables of its own name; a role that others stand on may be read by them."""


def read(path: str) -> Any:
    return yaml.safe_load((PLAYBOOKS / path).read_text())


def defaults(role: str) -> dict[str, Any]:
    return dict(read(f"roles/{role}/defaults/main.yml"))


def options(role: str) -> dict[str, Any]:
    return dict(read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"])


def texts(role: str) -> str:
    """All that a role does, in one text; of its defaults only the values."""
    files = [file for name in ("tasks", "templates", "files") for file in (PLAYBOOKS / "roles" / role / name).glob("*")]
    return "\n".join([*(file.read_text() for file in sorted(files)), *map(str, defaults(role).values())])


# The shape of roles


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("file", ["defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml"])
def test_a_role_has_its_files(role: str, file: str) -> None:
    assert (PLAYBOOKS / "roles" / role / file).is_file()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_nothing_but_what_it_uses(role: str) -> None:
    tasks = "\n".join(file.read_text() for file in (PLAYBOOKS / "roles" / role).glob("tasks/*.yml"))
    known = {"main.yml"} | set(re.findall(r"[\w.-]+", tasks + texts(role)))
    elsewhere = set(re.findall(r"tasks_from: (\S+)", "\n".join(map(texts, ROLES))))
    files = [file for part in ("files", "tasks", "templates") for file in (PLAYBOOKS / "roles" / role / part).glob("*")]
    assert [file.name for file in files if file.name not in known | elsewhere] == []


@pytest.mark.parametrize("role", ROLES)
def test_a_variable_has_the_prefix_of_its_role(role: str) -> None:
    set_by_tasks = set(re.findall(r"^\s*register: (\w+)", texts(role), re.MULTILINE))
    foreign = [name for name in {*defaults(role), *set_by_tasks} if not name.startswith(f"{role}_")]
    assert foreign == []


@pytest.mark.parametrize("role", ROLES)
def test_a_default_is_described_where_arguments_are(role: str) -> None:
    assert set(defaults(role)) <= set(options(role))


@pytest.mark.parametrize("role", ROLES)
def test_an_argument_is_either_required_or_has_its_default_in_one_place(role: str) -> None:
    others = {name for other in ROLES if other != role for name in defaults(other)} | EVERYWHERE
    for name, option in options(role).items():
        assert "default" not in option, f"{name}: the default stands in defaults/main.yml"
        own = name.startswith(f"{role}_")
        assert own or name in others, f"{name} belongs to no role"
        if own:
            assert bool(option.get("required")) != (name in defaults(role)), name


@pytest.mark.parametrize("role", ROLES)
def test_an_argument_is_described_and_used(role: str) -> None:
    for name, option in options(role).items():
        assert option["description"].endswith("."), name
        imported = re.findall(r"import_role:\s+name: (\w+)", texts(role))
        used = "\n".join(map(texts, [role, *imported]))
        assert re.search(rf"\b{name}\b", used), f"{name} is not used"


@pytest.mark.parametrize("role", [role for role in ROLES if f"{role}_packages" in defaults(role)])
def test_packages_are_plain_names_in_order(role: str) -> None:
    packages = defaults(role)[f"{role}_packages"]
    assert packages == sorted(set(packages))
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", package) for package in packages)


@pytest.mark.parametrize("role", ROLES)
def test_a_task_that_handles_a_secret_says_nothing(role: str) -> None:
    secrets = [name for name, option in options(role).items() if "(secret)" in option["description"]]
    for task in tasks_of(role):
        if "ansible.builtin.assert" in task:
            continue  # it shows the condition, not the value
        does = str({key: value for key, value in task.items() if key not in ("name", "when", "vars")})
        templates = [PLAYBOOKS / "roles" / role / "templates" / name for name in re.findall(r"[\w.-]+\.j2", does)]
        handled = "\n".join([does, *(template.read_text() for template in templates)])
        if any(re.search(rf"\b{secret}\b", handled) for secret in [*secrets, "cluster_token", "cluster_admin"]):
            assert task.get("no_log") is True, task["name"]


def tasks_of(role: str) -> Iterator[dict[str, Any]]:
    for file in sorted((PLAYBOOKS / "roles" / role / "tasks").glob("*.yml")):
        yield from flat(yaml.safe_load(file.read_text()))


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        inner = [part for key in ("block", "rescue", "always") for part in task.get(key, [])]
        yield from flat(inner) if inner else [task]


# Playbooks


def test_every_role_is_in_a_playbook_and_every_playbook_in_the_site() -> None:
    site = [PLAYBOOKS / play["ansible.builtin.import_playbook"] for play in read("site.yml")]
    assert sorted([*site, PLAYBOOKS / "site.yml"]) == ENTRIES
    assert sorted({role for file in site for role in roles_of(file)}) == ROLES


def test_the_tools_that_roles_install_are_brought_along() -> None:
    brought = {binary for tool in MACHINE_TOOLS for binary in recipes.RECIPES[tool].binaries}
    lists = ("containerd_tools", "containerd_cni_plugins", "kubernetes_tools")
    wanted = {name for role in ROLES for key in lists for name in defaults(role).get(key, [])}
    assert wanted
    assert wanted <= brought


@pytest.mark.parametrize("role", ROLES)
def test_versions_that_templates_name_are_pinned(role: str) -> None:
    assert set(re.findall(r"(?<!/)\bversions\.(\w+)", texts(role))) <= set(VERSIONS)


def test_ansible_understands_every_playbook() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--syntax-check", "--inventory=localhost,",
         PLAYBOOKS / "site.yml"],
        env={**os.environ, "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# The modules


def load(path: str) -> ModuleType:
    """A Python file that is in no package."""
    file = PLAYBOOKS / path
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[file.stem] = module  # where dataclasses look for their module
    specification.loader.exec_module(module)
    return module


install_files = load("library/install_files.py")
run_units = load("library/run_units.py")
cni_config = load("roles/cni/files/cni_config.py")


def wanted(path: Path, **given: Any) -> Any:
    user, group = path.owner(), path.group()
    common = {"content": None, "source": None, "mode": "0640", "owner": user, "group": group}
    return install_files.Wanted.from_options({**common, "path": str(path / "deep/file"), **given})


def test_a_file_is_installed_once(tmp_path: Path) -> None:
    file = wanted(tmp_path, content="text\n")
    assert not file.is_installed()
    file.install()
    assert file.is_installed()
    assert file.path.read_text() == "text\n"
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o640
    assert [left.name for left in file.path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("given", [{"content": "other"}, {"content": "text\n", "mode": "0600"}])
def test_a_file_that_differs_is_installed_again(tmp_path: Path, given: dict[str, str]) -> None:
    wanted(tmp_path, content="text\n").install()
    assert not wanted(tmp_path, **given).is_installed()


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    file, other = wanted(tmp_path, content="text\n"), tmp_path / "other"
    other.write_text("text\n")
    file.path.parent.mkdir()
    file.path.symlink_to(other)
    assert not file.is_installed()
    file.install()
    assert not file.path.is_symlink()
    assert other.read_text() == "text\n"


def test_a_program_is_copied_with_its_time_and_taken_as_equal_by_it(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    os.utime(program, (1, 1))
    file = wanted(tmp_path, source=str(program), mode="0755")
    file.install()
    assert file.is_installed()
    program.write_bytes(b"\x7fNEW")
    assert not file.is_installed()


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = wanted(tmp_path, content="old\n")
    file.install()
    with pytest.raises(FileNotFoundError):
        wanted(tmp_path, source=str(tmp_path / "nothing")).install()
    assert file.is_installed()
    assert [left.name for left in file.path.parent.iterdir()] == ["file"]


def shown(**values: str) -> Any:
    """What systemd says about a unit that runs, but for `values`."""
    usual = {
        "LoadState": "loaded", "UnitFileState": "enabled", "NeedDaemonReload": "no", "ActiveState": "active",
        "Result": "success", "Type": "notify", "InactiveExitTimestampMonotonic": "5000000", "FragmentPath": "/unit",
        "DropInPaths": "/a.conf /b.conf",
    }  # fmt: skip
    return run_units.State.parse("\n".join(f"{key}={value}" for key, value in (usual | values).items()))


def test_the_state_of_a_unit_is_read() -> None:
    state = shown()
    assert (state.loaded, state.enabled, state.runs, state.started) == (True, True, True, 5.0)
    assert state.unit_files == ("/unit", "/a.conf", "/b.conf")


@pytest.mark.parametrize(
    ("values", "attribute", "expected"),
    [
        ({"NeedDaemonReload": "yes"}, "loaded", False),
        ({"LoadState": "not-found", "UnitFileState": ""}, "loaded", False),
        ({"UnitFileState": "disabled"}, "enabled", False),
        ({"UnitFileState": "static"}, "enabled", True),
        ({"ActiveState": "failed"}, "runs", False),
        ({"ActiveState": "inactive"}, "runs", False),
        ({"ActiveState": "inactive", "Type": "oneshot"}, "runs", True),
        ({"ActiveState": "inactive", "Type": "oneshot", "InactiveExitTimestampMonotonic": "0"}, "runs", False),
        ({"ActiveState": "failed", "Type": "oneshot", "Result": "exit-code"}, "runs", False),
    ],
)
def test_what_counts_as_a_unit_that_runs(values: dict[str, str], attribute: str, expected: bool) -> None:
    assert getattr(shown(**values), attribute) is expected


@pytest.mark.parametrize(("seconds_after_start", "expected"), [(-10, False), (10, True)])
def test_a_unit_is_current_when_it_started_after_its_files(
    tmp_path: Path, seconds_after_start: float, expected: bool
) -> None:
    file = tmp_path / "settings"
    file.write_text("")
    started = int((time.monotonic() + seconds_after_start) * 1e6)
    state = shown(InactiveExitTimestampMonotonic=str(started), FragmentPath="", DropInPaths="")
    assert run_units.is_current(state, [str(file), str(tmp_path / "none")]) is expected


def test_the_network_plugins_get_flannels_subnet() -> None:
    flannel = {"FLANNEL_NETWORK": "10.244.0.0/16", "FLANNEL_SUBNET": "10.244.3.1/24", "FLANNEL_MTU": "1450"}
    made = cni_config.configuration(flannel)
    bridge = made["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.244.3.0/24"}]]
    assert bridge["ipam"]["routes"] == [{"dst": "10.244.0.0/16"}]
    assert bridge["mtu"] == 1450
    plugins = {plugin["type"] for plugin in made["plugins"]} | {bridge["ipam"]["type"], "loopback"}
    assert plugins == set(defaults("containerd")["containerd_cni_plugins"])


def test_common_variables_are_what_roles_ask_for() -> None:
    assert set(common_variables()) == {"tools", "versions"}
