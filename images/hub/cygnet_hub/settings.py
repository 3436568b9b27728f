"""What the hub is told: /etc/cygnet/hub.yaml, and the secrets mounted beside it.

Both are mounted files, so the same image serves every site. A key that is not known here is an error: a setting that
is silently ignored is worse than a hub that says why it does not start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cygnet_hub.address import Network, Proxies
from cygnet_hub.clusters import NONE, AnyCluster, SparkSettings
from cygnet_hub.guests import GuestsSettings
from cygnet_hub.model import Choice, Model
from cygnet_hub.sign_in import AccountsSettings, AuthSettings

FOLDER = Path("/etc/cygnet")

Cores = Annotated[float, Field(gt=0, description="Processor cores; parts of a core are allowed")]
MemoryGib = Annotated[float, Field(gt=0, description="GiB of memory")]


class SettingsError(Exception):
    """The hub cannot start with what it was told; the text names the file, each finding and the cure."""


class Size(Model):
    """What a session may use, and what is kept free for it."""

    cores: Cores
    """The session is slowed down above this."""
    memory_gib: MemoryGib
    """The session's process is ended above this."""
    cores_guaranteed: Cores | None = None
    """Kept free on the node; without it a tenth of `cores`: most sessions are idle most of the time."""
    memory_gib_guaranteed: MemoryGib | None = None
    """Kept free on the node; without it a quarter of `memory_gib`."""
    tmp_gib: float = Field(10, gt=0)
    """What fits into /tmp, in GiB; a session that writes more is ended by Kubernetes."""
    processes: int = Field(0, ge=0)
    """Processes and threads its user may have on a machine, where users have numbers of their own; 0: any number."""
    idle_hours: float = Field(0, ge=0)
    """A session that nobody used for so long is ended; 0: never."""

    @model_validator(mode="after")
    def _guaranteed_within_limits(self) -> Self:
        if self.cores_guaranteed is not None and self.cores_guaranteed > self.cores:
            raise ValueError(f"cores_guaranteed is {self.cores_guaranteed:g}, more than cores ({self.cores:g})")
        if self.memory_gib_guaranteed is not None and self.memory_gib_guaranteed > self.memory_gib:
            raise ValueError(
                f"memory_gib_guaranteed is {self.memory_gib_guaranteed:g}, more than memory_gib ({self.memory_gib:g})"
            )
        return self


class Gpu(Model):
    """What a session has of GPUs. It runs on nodes that are labelled with the model, and tolerates their taint."""

    model: str = Field(min_length=1)
    """The value of that label."""
    count: int = Field(1, ge=1)
    resource: str = Field("nvidia.com/gpu", min_length=1)
    """What a node calls them in its `allocatable`; slices of GPUs may have names of their own."""

    LABEL: ClassVar[str] = "cygnet.io/gpu"
    TAINT: ClassVar[str] = "nvidia.com/gpu"


class Profile(Size, Choice):
    """A choice on the page on which a session is started."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that take such sessions, besides the common ones."""
    gpu: Gpu | None = None
    """None: no session of this kind has any."""


class Release(Choice):
    """Software that a session may have, as a choice on that page."""

    view: str = Field(pattern=r"^/")
    """Folder that is the software: sessions source its setup.sh."""


class Interface(Choice):
    """A page on which a session opens, as a choice on that page."""

    url: str = Field(pattern=r"^/")
    """Below the session's own."""


AChoice = TypeVar("AChoice", bound=Choice)


class Home(Model):
    """The user's own folder: one volume per user, kept when the session ends."""

    storage_class: str
    """StorageClass of the volumes; it must allow ReadWriteMany."""
    size_gib: int = Field(10, ge=1)


class Sessions(Model):
    """Where and how a user's session runs."""

    namespace: str = "sessions"
    """Namespace of the pods and homes; the hub's service account needs its rights there only."""
    image: str
    """With registry and tag; the tag must never be given to another content."""
    size: Size
    """What a session gets; `profiles` take its place where there are any."""
    page: Literal["plain", "swan"] = "plain"
    """The page on which all this is chosen: our own, or that of CERN's SWAN."""
    profiles: tuple[Profile, ...] = ()
    """The first one is chosen when the user chooses nothing."""
    releases: tuple[Release, ...] = ()
    """Likewise."""
    interfaces: tuple[Interface, ...] = ()
    """Likewise; none: JupyterLab."""
    scripts: bool = False
    """Whether users may name a script that is sourced before the session's server starts."""
    gpu_claim_minutes: float = Field(10, gt=0)
    """So long GPUs are kept for somebody whose turn it is."""
    clusters: tuple[AnyCluster, ...] = ()
    """Where Spark may have executors; without choosing one a session has none."""
    spark: SparkSettings | None = None
    """What these have in common."""
    home: Home | None = None
    """Where a home is a volume."""
    eos_claim: str | None = None
    """Claim of the volume that sessions have at /eos, where homes are then. Either this or `home`."""
    cvmfs_claim: str | None = None
    """Claim of the volume with software repositories, which sessions have at /cvmfs; none: there is no such folder."""
    idle_warning_minutes: float = Field(0, ge=0)
    """So long before its end a session that nobody uses warns its user."""
    max_age_hours: float = Field(0, ge=0)
    """How old a session may become where no group of its user has more; then it ends when it is idle. 0: any age."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that take sessions, such as that of those that have their image."""
    packed: bool = False
    """Whether sessions go to the nodes that have most of them; else Kubernetes spreads them."""
    link_hosts: tuple[str, ...] = ()
    """Hosts from which links may bring repositories; none: from any."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables of every session, for example TZ. Not for secrets: users see them."""

    @model_validator(mode="after")
    def _homes_are_in_one_place(self) -> Self:
        if (self.home is None) == (self.eos_claim is None):
            raise ValueError("say where homes are, by one of the two: home or eos_claim")
        return self

    @model_validator(mode="after")
    def _clusters_have_what_they_need(self) -> Self:
        if self.clusters and (self.spark is None or self.eos_claim is None or self.cvmfs_claim is None):
            raise ValueError("clusters need spark, eos_claim and cvmfs_claim: executors have what sessions have")
        if any(one.name == NONE for one in self.clusters):
            raise ValueError(f"{NONE} is the choice of no cluster; give that cluster another name")
        return self

    @field_validator("profiles", "releases", "interfaces", "clusters")
    @classmethod
    def _names_differ(cls, choices: tuple[AChoice, ...], info: ValidationInfo) -> tuple[AChoice, ...]:
        names = [choice.name for choice in choices]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two {info.field_name} have the name {', '.join(sorted(twice))}")
        return choices

    @field_validator("profiles")
    @classmethod
    def _models_are_counted_once(cls, profiles: tuple[Profile, ...]) -> tuple[Profile, ...]:
        resources: dict[str, str] = {}
        for gpu in (one.gpu for one in profiles if one.gpu):
            if resources.setdefault(gpu.model, gpu.resource) != gpu.resource:
                raise ValueError(f"{gpu.model} is {gpu.resource} in one profile and {resources[gpu.model]} in another")
        return profiles


class Settings(Model):
    """All of hub.yaml."""

    title: str = "cygnet"
    """The service's name on its pages."""
    announcement: str = ""
    """A line of HTML on top of every page."""
    hub_url: str = "http://hub:8081"
    """How sessions, in their namespace, and the proxy reach the hub."""
    proxy_api_url: str = "http://proxy-api:8001"
    """How the hub tells the proxy its routes."""
    proxy_host: str = "proxy-pods"
    """Leads to the proxy's own address: it says where users ask from."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks of the site's proxies before the gateway."""
    database: Literal["sqlite", "postgresql"] = "sqlite"
    """Where users, sessions and tokens are kept: in a file, or by a server beside the hub."""
    active_session_limit: int = Field(0, ge=0)
    """Sessions at the same time; 0: as many as fit."""
    files_port: int | None = Field(None, ge=1, le=65535)
    """Where the gateway asks who wants to see files; none: there is no page of files."""
    monitor_port: int | None = Field(None, ge=1, le=65535)
    """Where the gateway asks who wants to see the page of the monitor; none: there is no monitor."""
    guests: GuestsSettings | None = None
    """Where machines are told who somebody is; none: they know everybody."""
    auth: AuthSettings = AccountsSettings()
    """How people sign in, and who may do what."""
    sessions: Sessions

    def proxies(self) -> Proxies:
        """What stands between browsers and the hub."""
        return Proxies(self.proxy_host, self.trusted_proxies)


class Secrets(Model):
    """The hub's keys, each a file of its name (with - for _) in the folder of secrets."""

    proxy_token: SecretStr
    """Shared with the proxy, which has it as CONFIGPROXY_AUTH_TOKEN."""
    cookie_secret: SecretStr
    """32 bytes, in hexadecimal. A new one signs everybody out."""
    crypt_key: SecretStr
    """32 bytes, in hexadecimal; encrypts what the hub keeps of a sign-in. Further lines have those before it."""
    monitor_token: SecretStr | None = None
    """With which Prometheus reads the hub's figures, where there is one."""

    @field_validator("cookie_secret", "crypt_key")
    @classmethod
    def _32_bytes(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        lines = secret.get_secret_value().split("\n") if info.field_name == "crypt_key" else [secret.get_secret_value()]
        for line in lines:
            try:
                length = len(bytes.fromhex(line))
            except ValueError:
                raise ValueError("is not hexadecimal") from None
            if length != 32:
                raise ValueError(f"has {length} bytes, not 32")
        return secret

    @property
    def crypt_keys(self) -> list[bytes]:
        """The keys of what is kept of sign-ins: the first encrypts, each of them reads."""
        return [bytes.fromhex(line) for line in self.crypt_key.get_secret_value().split("\n")]


def read_settings(file: Path = FOLDER / "hub.yaml") -> Settings:
    """The settings in `file`. Raises SettingsError with all findings at once."""
    try:
        return Settings.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"{file}: {error}") from error
    except ValidationError as error:
        raise SettingsError(_findings(file, error)) from None


def read_secrets(folder: Path = FOLDER / "secrets") -> Secrets:
    """The secrets in `folder`. Raises SettingsError, which never shows a value."""
    fields = Secrets.model_fields.items()
    files = {name: folder / name.replace("_", "-") for name, _ in fields}
    needed = {name for name, field in fields if field.is_required()}
    try:
        texts = {
            name: file.read_text(encoding="ascii").strip()
            for name, file in files.items()
            if name in needed or file.exists()
        }
        return Secrets.model_validate(texts)
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{folder}: {error}") from None
    except ValidationError as error:
        raise SettingsError(_findings(folder, error)) from None


def _findings(where: Path, error: ValidationError) -> str:
    lines = [f"{where}: {error.error_count()} findings; the hub does not start before they are mended"]
    for finding in error.errors(include_url=False, include_context=False, include_input=False):
        lines.append(f"  {'.'.join(map(str, finding['loc'])) or 'the whole file'}: {_words(finding)}")
    return "\n".join(lines)


def _words(finding: Any) -> str:
    if finding["type"] == "extra_forbidden":
        return "is no setting of the hub"
    message: str = finding["msg"]
    return message.removeprefix("Value error, ")
