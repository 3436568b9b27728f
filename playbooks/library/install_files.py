#!/usr/bin/python
"""Ansible module: installs any number of files on a machine in one step.

One step instead of one task per file, because each task costs a process on each machine and several exchanges over
SSH. A file is written beside its place and renamed into it, so a reader, or a run killed half-way, never sees half a
file.
"""

import filecmp
import grp
import os
import pwd
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

DOCUMENTATION = """
module: install_files
short_description: Install any number of files on a machine in one step
description:
  - Writes each file that differs in content, mode or owner, atomically; folders above it are made with mode 0755.
options:
  files:
    description: The files, each with O(files[].path) and either O(files[].content) or O(files[].source).
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Where the file is to be, type: path, required: true}
      content: {description: What the file is to contain; never logged, type: str}
      source: {description: A file on the same machine to copy; taken as equal when size and time are, type: path}
      mode: {description: Permissions as an octal text, type: str, default: "0644"}
      owner: {description: Name of the owning user, type: str, default: root}
      group: {description: Name of the owning group, type: str, default: root}
"""

EXAMPLES = """
- name: Write the configuration
  install_files:
    files:
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
"""

RETURN = """
written:
  description: Paths of the files that were written or changed in mode or owner.
  returned: always
  type: list
  elements: str
"""

FILE_OPTIONS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "no_log": True},
    "source": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}


@dataclass(frozen=True)
class Wanted:
    """A file as it is to be; exactly one of `content` and `source` is given."""

    path: Path
    content: str | None
    source: Path | None
    mode: int
    uid: int
    gid: int

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "Wanted":
        """Raises KeyError for an unknown user or group, ValueError for a mode that is not octal."""
        return cls(
            path=Path(options["path"]),
            content=options["content"],
            source=Path(options["source"]) if options["source"] else None,
            mode=int(options["mode"], 8),
            uid=pwd.getpwnam(options["owner"]).pw_uid,
            gid=grp.getgrnam(options["group"]).gr_gid,
        )

    def is_installed(self) -> bool:
        """Whether the file is there, a plain file, with this content, mode and owner."""
        if self.path.is_symlink() or not self.path.is_file():
            return False
        status = self.path.stat()
        if (status.st_mode & 0o7777, status.st_uid, status.st_gid) != (self.mode, self.uid, self.gid):
            return False
        if self.source:
            return filecmp.cmp(self.source, self.path, shallow=True)
        return self.path.read_bytes() == (self.content or "").encode()

    def install(self) -> None:
        """Puts the file in its place, whole or not at all."""
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                if self.content is not None:
                    file.write(self.content.encode())
            if self.source:
                shutil.copy2(self.source, name)  # with its time, which is_installed() compares
            os.chown(name, self.uid, self.gid)
            os.chmod(name, self.mode)
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise


def main() -> None:
    """Reads the options, installs what differs, and answers."""
    files = {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": FILE_OPTIONS,
        "mutually_exclusive": [("content", "source")],
        "required_one_of": [("content", "source")],
    }
    module = AnsibleModule(argument_spec={"files": files}, supports_check_mode=True)
    written: list[str] = []
    for options in module.params["files"]:
        try:
            wanted = Wanted.from_options(options)
            if not wanted.is_installed():
                written.append(str(wanted.path))
                if not module.check_mode:
                    wanted.install()
        except (KeyError, OSError, ValueError) as error:
            module.fail_json(msg=f"{options['path']} cannot be installed: {error}", written=written)
    module.exit_json(changed=bool(written), written=written)


if __name__ == "__main__":
    main()
