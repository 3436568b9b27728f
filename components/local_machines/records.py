"""What a local machine shall be, and what is written about it on disk."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from components.local_machines import names
from components.local_machines.names import Label
from components.sources import files


class MachineSpec(BaseModel):
    """What a machine shall be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stack: str
    name: str
    memory_mib: int
    authorized_key: str
    """Public SSH key of the operator, one line."""
    host_key: str
    """The machine's own public SSH key, one line."""
    host_private_key: str = Field(repr=False)

    @property
    def label(self) -> Label:
        """Its name on this host."""
        return Label(self.stack, self.name)

    @property
    def folder(self) -> Path:
        """Its data on this host."""
        return names.machine_folder(self.stack, self.name)


class MachineRecord(BaseModel):
    """What a machine is; nothing in it is secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """Key of the base it was made on and stays on."""
    instance: str
    """Its machine-id: another machine under the same name has another."""
    written: dict[str, str] = Field(default_factory=dict)
    """Digests of the files that were written into it, by path: what it changed itself since stays as it is."""

    def save(self, folder: Path) -> Self:
        """Writes it down, as that of the machine in `folder`."""
        files.write(folder / "machine.json", self.model_dump_json(indent=2), 0o600)
        return self


def find(stack: str, name: str) -> MachineRecord | None:
    """A machine's record, or None."""
    try:
        return MachineRecord.model_validate_json((names.machine_folder(stack, name) / "machine.json").read_text())
    except FileNotFoundError:
        return None


def machines(stack: str | None = None) -> list[Label]:
    """The machines that this host has records of: of one stack, or (None) of all."""
    found = sorted(names.STATE.glob(f"{stack or '*'}/machines/*/machine.json"))
    return [Label(file.parent.parent.parent.name, file.parent.name) for file in found]


def bases_in_use() -> set[str]:
    """Keys of the bases that machines stand on."""
    return {record.base for label in machines() if (record := find(label.stack, label.machine))}
