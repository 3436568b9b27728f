#!/usr/bin/python
"""Ansible module: systemd units that are enabled and run with the files that are there now.

A handler is lost when a run is killed between a file's change and the restart it asked for. This module compares
times instead: a unit that was started before one of its files changed is restarted, whoever changed it.
"""

import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

DOCUMENTATION = """
module: run_units
short_description: Enable systemd units and run them with their present files
description:
  - Enables each unit, starts it, and restarts it when its unit file, a drop-in or one of the files is newer than its
    last start.
  - A unit whose conditions do not hold, and a oneshot unit that ended well, count as run.
options:
  units:
    description: The units, in the order in which they are to be started.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name with suffix, type: str, required: true}
      files: {description: What else the unit reads at its start, type: list, elements: path, default: []}
"""

EXAMPLES = """
- name: Run containerd
  run_units:
    units:
      - name: containerd.service
        files: [/usr/local/bin/containerd, /etc/containerd/config.toml]
"""

RETURN = """
started:
  description: Names of the units that were started or restarted.
  returned: always
  type: list
  elements: str
"""

UNIT_OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "path", "default": []},
}
PROPERTIES = (
    "LoadState", "UnitFileState", "NeedDaemonReload", "ActiveState", "Result", "Type",
    "InactiveExitTimestampMonotonic", "FragmentPath", "DropInPaths",
)  # fmt: skip
JOURNAL_LINES = 20


class UnitError(Exception):
    """A unit does not run; the message has its last log lines."""


def systemctl(*arguments: str) -> str:
    """Runs systemctl and returns what it printed; raises UnitError with what it complained."""
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnitError(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class State:
    """What systemd says about a unit; `started` is its last start on the monotonic clock, 0 for never."""

    loaded: bool
    enabled: bool
    runs: bool
    started: float
    unit_files: tuple[str, ...]

    @classmethod
    def of(cls, unit: str) -> "State":
        """Asks systemd."""
        return cls.parse(systemctl("show", unit, f"--property={','.join(PROPERTIES)}"))

    @classmethod
    def parse(cls, shown: str) -> "State":
        """Reads the output of `systemctl show`."""
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        started = int(values.get("InactiveExitTimestampMonotonic") or 0) / 1e6
        ended_well = values.get("Type") == "oneshot" and values["ActiveState"] == "inactive" and started > 0
        return cls(
            loaded=values["LoadState"] == "loaded" and values["NeedDaemonReload"] == "no",
            enabled=values["UnitFileState"] not in ("", "disabled"),
            runs=values["ActiveState"] == "active" or (ended_well and values.get("Result") == "success"),
            started=started,
            unit_files=(values.get("FragmentPath", ""), *values.get("DropInPaths", "").split()),
        )


def is_current(state: State, files: Iterable[str]) -> bool:
    """Whether the unit's last start is later than the last change of its unit files and of `files` (that exist)."""
    started = time.time() - time.monotonic() + state.started
    # The change time, not the modification time: a copied program keeps the latter.
    return all(os.stat(file).st_ctime <= started for file in (*state.unit_files, *files) if os.path.exists(file))


def run(unit: str, files: Iterable[str], check_mode: bool) -> tuple[bool, bool]:
    """Makes the unit run with its present files; returns (whether anything changed, whether it was started)."""
    before = State.of(unit)
    if not check_mode and not before.loaded:
        systemctl("daemon-reload")
        before = State.of(unit)
    if not check_mode and not before.enabled:
        systemctl("enable", "--quiet", unit)
    if before.runs and is_current(before, files):
        return not before.enabled, False
    if check_mode:
        return True, True
    systemctl("restart", unit)
    # A unit whose conditions do not hold was not started, and that is no change.
    started = State.of(unit).started != before.started
    return started or not before.enabled, started


def last_lines(unit: str) -> str:
    """The unit's last log lines."""
    command = ["journalctl", "--unit", unit, "--lines", str(JOURNAL_LINES), "--no-pager", "--output=cat"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Reads the options, runs the units, and answers."""
    units = {"type": "list", "elements": "dict", "required": True, "options": UNIT_OPTIONS}
    module = AnsibleModule(argument_spec={"units": units}, supports_check_mode=True)
    changed = False
    started: list[str] = []
    for unit in module.params["units"]:
        try:
            unit_changed, unit_started = run(unit["name"], unit["files"], module.check_mode)
        except UnitError as error:
            module.fail_json(msg=f"{unit['name']} does not run: {error}\n{last_lines(unit['name'])}", started=started)
        changed = changed or unit_changed
        started += [unit["name"]] if unit_started else []
    module.exit_json(changed=changed, started=started)


if __name__ == "__main__":
    main()
