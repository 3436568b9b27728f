"""A Pulumi program of machines alone, in a folder of its own, with a state of its own."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.playbook_run import inventory
from components.sources import files, ssh
from operations.stack import PROJECT, pulumi_program
from tests.testcloud.project import environment


@dataclass
class Program:
    """The program of `program/`, and the stack that it is run for."""

    folder: Path
    stack: str
    environment: dict[str, str]

    @classmethod
    def new(cls, folder: Path, stack: str, machines: dict[str, Any]) -> "Program":
        shutil.copy(Path(__file__).parent / "program/__main__.py", folder)
        (folder / "Pulumi.yaml").write_text("name: cygnet\nruntime: python\n")
        made = cls(folder, stack, os.environ | environment(folder))
        made.configure(machines)
        made.pulumi("stack", "init", stack)
        return made

    def configure(self, machines: dict[str, Any]) -> None:
        config = {"config": {"cygnet:machines": json.dumps(machines)}}
        file = self.folder / f"Pulumi.{self.stack}.yaml"
        kept = yaml.safe_load(file.read_text()) if file.exists() else {}
        file.write_text(yaml.safe_dump({**kept, **config}))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [pulumi_program(), *arguments, "--non-interactive"],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def pulumi(self, *arguments: str) -> str:
        done = self.run(*arguments)
        said = f"{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, said
        return said

    def up(self, *arguments: str) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", *arguments)

    def destroy(self) -> str:
        return self.pulumi("destroy", "--yes", "--skip-preview")

    def outputs(self) -> dict[str, Any]:
        done = self.run("stack", "output", "--json", "--show-secrets")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def ansible(self, folder: Path, command: str) -> str:
        """What a command says on all machines, each reached as playbooks reach it."""
        given = self.outputs()
        files.write(folder / "key", given["private_key"], 0o600)
        ways = ssh.access(folder, given["inventory"], folder / "key")
        (folder / "inventory.yml").write_text(yaml.safe_dump(inventory(given["inventory"], str(folder / "key"))))
        done = subprocess.run(
            [Path(pulumi_program()).parent / "ansible", "machines", "--inventory", "inventory.yml", "--become",
             "--module-name", "ansible.builtin.command", "--args", command],
            cwd=folder, capture_output=True, text=True, check=False,
            env=os.environ | {
                "ANSIBLE_CONFIG": str(PROJECT / "playbooks/ansible.cfg"),
                "ANSIBLE_SSH_COMMON_ARGS": f"-F {ways}",
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
