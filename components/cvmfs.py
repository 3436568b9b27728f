"""CVMFS: software repositories below /cvmfs, on every machine and in every session."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pulumi
from pydantic import Field, StringConstraints

from components.base import PartConfig
from components.machines import Machines
from components.playbook import Playbook
from components.software import FOLDER, RepositoryName, Software

PROXY_PORT = 3128
DIRECT = "DIRECT"

# What is served is signed, and a proxy can keep it: there is no HTTPS.
_HttpUrl = Annotated[str, StringConstraints(pattern=r"^http://[\w.-]+(:\d+)?(/[\w./-]*)?$")]
_PublicKey = Annotated[str, StringConstraints(pattern=r"^-----BEGIN PUBLIC KEY-----\s")]


class RepositoryConfig(PartConfig):
    """A repository of others."""

    servers: Annotated[
        tuple[_HttpUrl, ...],
        Field(min_length=1, description="URLs below which it lies by its name, as http://HOST/cvmfs; in this order"),
    ]
    public_keys: Annotated[tuple[_PublicKey, ...], Field(min_length=1, description="Its master keys, in PEM")]


class CvmfsConfig(PartConfig):
    """What a stack says about its software repositories, under `cygnet:cvmfs`."""

    client: Annotated[
        Literal["swfs", "cvmfs2"],
        Field(description="swfs: the one that comes along; cvmfs2: CERN's package, from a repository of the machines"),
    ] = "swfs"
    repositories: Annotated[
        dict[RepositoryName, RepositoryConfig],
        Field(description="Repositories besides the stack's own, by their fully qualified name"),
    ] = Field(default_factory=dict)
    proxies: Annotated[
        tuple[_HttpUrl, ...],
        Field(description="The site's caching proxies, as http://HOST:3128; empty: one of the stack's own"),
    ] = ()
    cache_gib: Annotated[float, Field(ge=0.25, le=4096, description="GiB of each machine's disk per repository")] = 4
    poll_seconds: Annotated[
        int, Field(ge=2, le=3600, description="Seconds after which a new revision is seen, at the latest")
    ] = 60


class Cvmfs(pulumi.ComponentResource):
    """Mounts repositories on every machine, through a proxy. Stands on machines and software.

    Gives `folder`, known when all of them are mounted there, `client`, and `repositories` as they are mounted.
    """

    folder: pulumi.Output[str]
    client: str
    repositories: pulumi.Output[list[dict[str, Any]]]

    def __init__(
        self,
        name: str,
        config: CvmfsConfig,
        *,
        machines: Machines,
        software: Software,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Cvmfs", name, None, opts)
        address = machines.hosts.apply(lambda hosts: str(hosts[0]["address"]))
        self.client = config.client
        self.repositories = pulumi.Output.all(software.repositories, address).apply(
            lambda known: mounts(config, known[0], own_proxy=f"http://{known[1]}:{PROXY_PORT}")
        )
        playbook = Playbook(
            name,
            "cvmfs.yml",
            hosts=machines.hosts,
            private_key=machines.private_key,
            variables={
                "cvmfs_client": config.client,
                "cvmfs_repositories": self.repositories,
                "cvmfs_cache_gib": config.cache_gib,
                "cvmfs_poll_seconds": config.poll_seconds,
                "squid_servers": self.repositories.apply(lambda known: [] if config.proxies else servers(known)),
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.folder = playbook.id.apply(lambda _: FOLDER)
        self.register_outputs({"folder": self.folder})


def mounts(config: CvmfsConfig, own: Sequence[Mapping[str, Any]], *, own_proxy: str) -> list[dict[str, Any]]:
    """What each machine mounts: the name, servers, proxies and public keys of every repository.

    Args:
        config: What the stack says.
        own: The stack's own repository, as `Software.repositories` gives it.
        own_proxy: URL of the stack's own proxy, which runs unless the site has some.
    """
    others = {name: repository.model_dump(mode="json") for name, repository in config.repositories.items()}
    # A site's proxy does not know the stack's own server, and a stack's own proxy need not be there to reach that.
    ways = [DIRECT] if config.proxies else [own_proxy, DIRECT]
    return [
        *({**repository, "proxies": ways} for repository in own),
        *({"name": name, **one, "proxies": list(config.proxies) or [own_proxy]} for name, one in others.items()),
    ]


def servers(repositories: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The servers that the stack's own proxy may ask, each once.

    >>> servers([{"servers": ["http://10.0.0.1:8000/cvmfs", "http://cvmfs.example.org/cvmfs"]}])
    [{'host': '10.0.0.1', 'port': 8000}, {'host': 'cvmfs.example.org', 'port': 80}]
    """
    urls = [urlsplit(url) for repository in repositories for url in repository["servers"]]
    places = dict.fromkeys((url.hostname, url.port or 80) for url in urls)
    return [{"host": host, "port": port} for host, port in places]
