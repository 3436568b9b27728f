"""EOS: homes and experiment data below /eos, on every machine and in every session."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import pulumi
from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from components.auth import Auth
from components.base import PartConfig
from components.cluster import OwnCluster
from components.eos_guests import LIST, Guests
from components.machines import Machines
from components.playbook import Playbook
from components.secrets import Keytab
from components.sign_in.rights import GroupOfRights
from components.sources.source import API_PORT

FOLDER = "/eos"  # where machines and sessions have it
HOMES = f"{FOLDER}/user"  # below it, a home is the first letter of its user's name, and the name
PORT = 1094
EVERYONE = "everyone"
_HOMES = "user"
_KEYS = "/etc/cygnet/eos/keys"
_KEY_FILE = "/etc/cygnet/eos/sss.keytab"

DataName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
_Server = Annotated[str, StringConstraints(pattern=r"^[\w.-]+(:\d+)?$")]
_KEYTAB = re.compile(r"0 u:\S+ g:\S+ n:\S+ N:\d+ c:\d+ e:\d+ (f:\d+ )?k:[0-9a-f]+\s*")


class DataConfig(PartConfig):
    """A folder of experiment data."""

    readers: Annotated[
        Literal["everyone"] | tuple[GroupOfRights, ...],
        Field(description="Who may read it: everyone, or groups of cygnet:auth; writers may as well"),
    ] = ()
    writers: Annotated[tuple[GroupOfRights, ...], Field(description="Groups that may change it")] = ()


class InstanceConfig(PartConfig):
    """An instance of EOS, for the client eosxd."""

    server: Annotated[_Server, Field(description="Its host, with :PORT if that is not 1094")]
    folder: Annotated[
        str, Field(pattern=r"^/eos/[a-z][\w/-]*$", description="What of it is mounted, at the same path on machines")
    ]


class EosConfig(PartConfig):
    """What a stack says about homes and experiment data, under `cygnet:eos`."""

    client: Annotated[
        Literal["xrdmount", "eosxd", "none"],
        Field(
            description="xrdmount: the one that comes along; eosxd: CERN's package, from a repository of the machines; "
            "none: there is no /eos, and a home is a volume"
        ),
    ] = "xrdmount"
    home_gib: Annotated[
        int, Field(ge=1, le=65536, description="GiB that a home may hold; as a volume it asks for them, and no more")
    ] = 5
    data: Annotated[
        dict[DataName, DataConfig], Field(description="Folders of experiment data, by name; each is at /eos/NAME")
    ] = Field(default_factory=dict)
    server: Annotated[
        _Server | None,
        Field(description="HOST or HOST:PORT of an XRootD server that is there; none: the stack has its own"),
    ] = None
    keytab: Annotated[
        SecretStr | None,
        Field(description="The key that opens that server, a line of its sss keytab; a secret"),
    ] = None
    instances: Annotated[
        dict[DataName, InstanceConfig], Field(description="For eosxd: the instances of EOS that are mounted, by name")
    ] = Field(default_factory=dict)
    image_gib: Annotated[
        int | None,
        Field(
            ge=1,
            le=65536,
            description="GiB of the file on the first control plane machine that holds all of it; "
            "null: btrfs is mounted there at /srv/eos",
        ),
    ] = 20

    @field_validator("keytab")
    @classmethod
    def _is_a_line_of_a_keytab(cls, keytab: SecretStr | None) -> SecretStr | None:
        if keytab and not _KEYTAB.fullmatch(keytab.get_secret_value()):
            raise ValueError('is no line of an sss keytab, which begins with "0 u:"; `xrdsssadmin` makes them')
        return keytab

    @model_validator(mode="after")
    def _fits_its_client(self) -> "EosConfig":
        for field, clients in _FOR_CLIENTS.items():
            if field in self.model_fields_set and self.client not in clients:
                raise ValueError(f"{field} is for client {' or '.join(clients)}; remove it, or set that client")
        if self.client == "eosxd" and not (self.instances and self.keytab):
            raise ValueError("client eosxd needs instances, for each its server and folder, and the keytab of machines")
        return self

    @model_validator(mode="after")
    def _fits_its_server(self) -> "EosConfig":
        if self.client == "xrdmount" and (self.server is None) != (self.keytab is None):
            raise ValueError(
                "a server that is there needs both: server, where it is, and keytab, the key that opens it"
            )
        if self.server is not None and "image_gib" in self.model_fields_set:
            raise ValueError("image_gib is for the stack's own server; remove it, or remove server")
        return self

    @model_validator(mode="after")
    def _homes_are_no_data(self) -> "EosConfig":
        if _HOMES in self.data:
            raise ValueError(f"{HOMES} is where homes are; give that data another name")
        return self


_FOR_CLIENTS: Mapping[str, Sequence[str]] = {
    "data": ("xrdmount",),
    "server": ("xrdmount",),
    "image_gib": ("xrdmount",),
    "keytab": ("xrdmount", "eosxd"),
    "instances": ("eosxd",),
}


class Eos(pulumi.ComponentResource):
    """Mounts /eos on every machine, from a server of the stack's own or one that is there. Stands on machines and auth.

    Gives `folder`, known when all of it is mounted there (None with client none), `home_gib`, `guests` (where the hub
    makes known whom the stack does not name; None, it names everybody, or others do), and `told`, for people.
    """

    folder: pulumi.Output[str] | None
    home_gib: int
    guests: Guests | None = None
    told: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        name: str,
        config: EosConfig,
        *,
        machines: Machines | None,
        cluster: OwnCluster | None,
        auth: Auth,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Eos", name, None, opts)
        self.home_gib = config.home_gib
        if config.client == "none" or machines is None:
            self.folder = None
            self.told = pulumi.Output.from_input({"client": config.client})
        else:
            if cluster and takes_guests(config, auth.has_guests):
                self.guests = Guests(cluster, groups_of(config.data), parent=self)
            self._mount(name, config, machines, cluster, auth)
        self.register_outputs({"told": self.told})

    def _mount(self, name: str, config: EosConfig, machines: Machines, cluster: OwnCluster | None, auth: Auth) -> None:
        inside = pulumi.ResourceOptions(parent=self)
        given = config.keytab.get_secret_value() if config.keytab else None
        keytab = pulumi.Output.secret(given) if given else Keytab(name, opts=inside).value
        named = keytab.apply(key_file) if serves(config) else pulumi.Output.from_input(_KEY_FILE)
        own = machines.hosts.apply(lambda hosts: str(hosts[0]["address"]))
        server = pulumi.Output.from_input(config.server) if config.server else own
        mounted = server.apply(lambda address: mounts(config, with_port(address)))
        api = cluster.address.apply(lambda address: f"{address}:{API_PORT}") if cluster and self.guests else None
        playbook = Playbook(
            name,
            "eos.yml",
            hosts=machines.hosts,
            private_key=machines.private_key,
            variables={
                "eos_client": config.client,
                "eos_mounts": mounted,
                "eos_users": auth.user_ids,
                "eos_keytab": keytab,
                "eos_key_file": named,
                "eos_server_names_key": serves(config),
                "xrootd_serves": serves(config),
                "xrootd_keytab": keytab,
                "xrootd_key_of_machines": named,
                "xrootd_home_gib": config.home_gib,
                "xrootd_image_gib": config.image_gib,
                "xrootd_users": groups_by_user(sorted(auth.user_ids), auth.groups),
                "xrootd_data": {data: one.model_dump(mode="json") for data, one in sorted(config.data.items())},
                **({"eos_guests": {"api": api, "list": LIST}, "xrootd_guests": True} if api else {}),
            },
            opts=inside,
        )
        self.folder = playbook.id.apply(lambda _: FOLDER)
        self.told = mounted.apply(
            lambda all_of_them: {
                "client": config.client,
                "folder": FOLDER,
                "homes": HOMES,
                "mounts": all_of_them,
                **({"home_gib": config.home_gib, "data": sorted(config.data)} if serves(config) else {}),
                **({"guests": LIST} if self.guests else {}),
            }
        )


def key_file(keytab: str) -> str:
    """Where machines have a key of the stack's own server, which names it: another key is in another file.

    >>> key_file("0 u:anybody g:usrgroup n:cygnet N:17 c:1 e:0 f:0 k:ab")
    '/etc/cygnet/eos/keys/17'
    """
    return f"{_KEYS}/{keytab.partition(' N:')[2].split(maxsplit=1)[0]}"


def home(user: str) -> str:
    """Where a user's home is.

    >>> home("ada")
    '/eos/user/a/ada'
    """
    return f"{HOMES}/{user[0]}/{user}"


def serves(config: EosConfig) -> bool:
    """Whether the stack has a server of its own."""
    return config.client == "xrdmount" and config.server is None


def mounts(config: EosConfig, server: str) -> list[dict[str, str]]:
    """What each machine mounts: name, folder (the same on the server as on machines) and server of each.

    >>> mounts(EosConfig(data={"opendata": DataConfig(readers="everyone")}), "10.0.0.1:1094")[1]
    {'name': 'opendata', 'folder': '/eos/opendata', 'server': '10.0.0.1:1094'}
    """
    if config.client == "eosxd":
        return [
            {"name": name, "folder": one.folder, "server": with_port(one.server)}
            for name, one in config.instances.items()
        ]
    return [{"name": name, "folder": f"{FOLDER}/{name}", "server": server} for name in (_HOMES, *config.data)]


def with_port(server: str) -> str:
    """Host and port of a server.

    >>> with_port("eos.example.org")
    'eos.example.org:1094'
    """
    return server if ":" in server else f"{server}:{PORT}"


def takes_guests(config: EosConfig, has_guests: bool) -> bool:
    """Whether people have homes whom the stack does not name; with eosxd machines know them by a directory."""
    return config.client == "xrdmount" and has_guests


def groups_by_user(users: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The groups of each user.

    >>> groups_by_user(["ada", "bob"], {"atlas": ["ada"]})
    {'ada': ['atlas'], 'bob': []}
    """
    return {user: sorted(group for group, members in groups.items() if user in members) for user in users}


def groups_of(data: Mapping[str, DataConfig]) -> list[str]:
    """All groups that data is opened to."""
    return sorted({group for one in data.values() for group in _named(one)})


def _named(one: DataConfig) -> set[str]:
    return {*one.writers, *(one.readers if isinstance(one.readers, tuple) else ())}


def unknown_groups(config: EosConfig, groups: Iterable[str]) -> dict[str, list[str]]:
    """The groups that the data of a stack is opened to, and that are none of `groups`; by the data's name."""
    known = set(groups)
    named = {data: _named(given) for data, given in config.data.items()}
    return {data: sorted(wanted - known) for data, wanted in named.items() if wanted - known}
