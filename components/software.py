"""The software: a stack's own repository of releases, published by the operator's computer, served to its machines."""

import base64
import datetime as dt
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult
from pydantic import Field, StringConstraints, field_validator, model_validator

from components.base import PartConfig
from components.display import Display
from components.machines import Machines
from components.playbook import Playbook
from components.secrets import RepositoryKeys
from engine import folders
from engine.progress import Progress
from software import build, collect, publisher, sealed, spark
from software.keys import Keys
from software.releases import Release

PORT = 8000
FOLDER = "/cvmfs"  # where machines and sessions have repositories
SPARK_LINK = spark.NAME
"""Where Spark is in the repository, if it is."""

_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
RepositoryName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})+$", max_length=60)]
_ViewName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,40}[a-z0-9])?$")]


class ViewConfig(PartConfig):
    """A view in a repository of others."""

    title: Annotated[str, Field(min_length=1, max_length=60, description="What users read")]
    description: Annotated[str, Field(max_length=200, description="Likewise, below the title")] = ""
    path: Annotated[
        str,
        Field(
            pattern=rf"^{FOLDER}/\w[\w.-]+(/\w[\w.+-]*)+$",
            description="Folder that has its setup.sh, e.g. /cvmfs/sft.cern.ch/lcg/views/LCG_107/x86_64-el9-gcc13-opt",
        ),
    ]

    @property
    def repository(self) -> str:
        """The fully qualified name of the repository in which it is."""
        return self.path.split("/")[2]


class SoftwareConfig(PartConfig):
    """What a stack says about its own software, under `cygnet:software`."""

    releases: Annotated[
        tuple[str, ...], Field(description="What users may choose from, the default first; empty: nothing")
    ] = ("stable", "bleeding")
    views: Annotated[
        dict[_ViewName, ViewConfig],
        Field(description="What users may choose besides, after these: views in repositories of others, by name"),
    ] = Field(default_factory=dict)
    repository: Annotated[
        RepositoryName, Field(description="Fully qualified name of the repository, which is at /cvmfs/NAME")
    ] = "software.cygnet.internal"
    whitelist_days: Annotated[
        int, Field(ge=2, le=365, description="Days for which machines take what is published; `pulumi up` renews them")
    ] = 30

    @field_validator("releases")
    @classmethod
    def _releases_are_there(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = list(build.RELEASES)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"there is no release {', '.join(unknown)}; choose from: {', '.join(known)}")
        if len(set(names)) < len(names):
            raise ValueError("a release is named twice; name each once")
        return names

    @model_validator(mode="after")
    def _names_are_of_one(self) -> "SoftwareConfig":
        if SPARK_LINK in self.views:
            raise ValueError(f"views.{SPARK_LINK}: that is where Spark itself is; give the view another name")
        if twice := sorted(self.views.keys() & set(self.releases)):
            raise ValueError(f"{', '.join(twice)} names a release and a view; give the view another name")
        return self


class _PublicationProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=f"{props['stack']}/{props['repository']}", outs=_publish(props))

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        _remember(_store(news), base64.b64decode(olds["manifest"]))
        return UpdateResult(outs=_publish(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        replaces = [key for key in ("stack", "repository", "keys") if olds[key] != news[key]]
        edited = any(olds[key] != news[key] for key in ("releases", "whitelist_days", "certificate"))
        changes = edited or not is_current(_store(olds), base64.b64decode(olds["manifest"]), olds["whitelist_days"])
        return DiffResult(changes=bool(replaces) or changes, replaces=replaces, delete_before_replace=True)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        shutil.rmtree(_store(props), ignore_errors=True)
        with suppress(OSError):  # another repository of the stack is there
            _store(props).parent.rmdir()


class Publication(Resource, module="cygnet", name="Publication"):
    """A repository in a folder of this computer, published when its releases changed or its whitelist grows old.

    Gives `store` (the folder), `revision`, and `expires` (when its whitelist ends, as that says it).
    """

    store: pulumi.Output[str]
    revision: pulumi.Output[int]
    expires: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        config: SoftwareConfig,
        *,
        keys: RepositoryKeys,
        with_spark: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "stack": pulumi.get_stack(),
            "repository": config.repository,
            # What is in each; another content is another key.
            "releases": {
                **{release: build.key(release) for release in config.releases},
                **({SPARK_LINK: spark.key()} if with_spark else {}),
            },
            "whitelist_days": config.whitelist_days,
            "keys": keys.id,
            "master_key": keys.master_key,
            "key": keys.key,
            "certificate": keys.certificate,
            **dict.fromkeys(("store", "revision", "expires", "manifest")),
        }
        secret = pulumi.ResourceOptions(additional_secret_outputs=["master_key", "key"])
        super().__init__(_PublicationProvider(), name, props, pulumi.ResourceOptions.merge(opts, secret))


class Software(pulumi.ComponentResource):
    """The stack's own repository, served by the first control plane machine to all.

    Stands on machines; without any there are the views of others. Gives `releases` (name, title, description and view
    of each; known when they are served), `repositories` (name, servers and public keys of the one, for clients; none
    where no release is wanted), and `told`, for people.
    """

    releases: pulumi.Output[list[dict[str, str]]]
    repositories: pulumi.Output[list[dict[str, Any]]]
    told: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        name: str,
        config: SoftwareConfig,
        *,
        machines: Machines | None,
        with_spark: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Software", name, None, opts)
        if config.releases and machines:
            self._publish(name, config, machines, with_spark=with_spark)
        else:
            self.releases = pulumi.Output.from_input(releases(config))
            self.repositories = pulumi.Output.from_input([])
            self.told = pulumi.Output.from_input({"releases": releases(config)})
        self.register_outputs({"releases": self.releases})

    def _publish(self, name: str, config: SoftwareConfig, machines: Machines, *, with_spark: bool) -> None:
        inside = pulumi.ResourceOptions(parent=self)
        keys = RepositoryKeys(name, repository=config.repository, opts=inside)
        publication = Publication(name, config, keys=keys, with_spark=with_spark, opts=inside)
        playbook = Playbook(
            name,
            "software.yml",
            hosts=machines.hosts,
            private_key=machines.private_key,
            variables={
                "software_repository": config.repository,
                "software_store": publication.store,
                "software_revision": publication.revision,
                "software_expires": publication.expires,
            },
            opts=inside,
        )
        url = machines.hosts.apply(lambda hosts: f"http://{hosts[0]['address']}:{PORT}{FOLDER}")
        offered = releases(config)
        self.releases = playbook.id.apply(lambda _: offered)
        self.repositories = pulumi.Output.all(url, keys.public_key, playbook.id).apply(
            lambda known: [{"name": config.repository, "servers": [known[0]], "public_keys": [known[1]]}]
        )
        self.told = pulumi.Output.all(url=url, public_key=keys.public_key, revision=publication.revision).apply(
            lambda known: {"repository": config.repository, **known, "releases": offered}
        )


def releases(config: SoftwareConfig) -> list[dict[str, str]]:
    """What users may choose from, each with its view: of own releases the link below /cvmfs that leads to the newest.

    >>> releases(SoftwareConfig(releases=[], views={"lcg": ViewConfig(title="LCG", path="/cvmfs/sft.cern.ch/lcg")}))
    [{'name': 'lcg', 'title': 'LCG', 'description': '', 'view': '/cvmfs/sft.cern.ch/lcg'}]
    """
    offered: dict[str, tuple[Release | ViewConfig, str]] = {
        name: (build.RELEASES[name], f"{FOLDER}/{config.repository}/{name}") for name in config.releases
    }
    offered |= {name: (view, view.path) for name, view in config.views.items()}
    return [
        {"name": name, "title": one.title, "description": one.description, "view": view}
        for name, (one, view) in offered.items()
    ]


def is_current(store: Path, manifest: bytes, whitelist_days: int, now: dt.datetime | None = None) -> bool:
    """Whether a store has what was published last, and half of the days of its whitelist are left, or more."""
    dates = sealed.whitelist_dates(store)
    file = store / sealed.MANIFEST
    if dates is None or not file.exists() or file.read_bytes() != manifest:
        return False
    return dates[1] - (now or dt.datetime.now(dt.UTC)) >= dt.timedelta(days=whitelist_days) / 2


def _store(props: dict[str, Any]) -> Path:
    """Not in the cache, which anybody may empty: machines refuse to go back to a repository's first revisions."""
    return folders.state() / "software" / str(props["stack"]) / str(props["repository"])


def _remember(store: Path, manifest: bytes) -> None:
    """Has a store that was lost count its revisions on from the last one."""
    store.mkdir(parents=True, exist_ok=True)
    if not (store / sealed.MANIFEST).exists():
        sealed.write(store / sealed.MANIFEST, manifest)


def _publish(props: dict[str, Any]) -> dict[str, Any]:
    """Builds the releases if need be, and publishes them; what is there already is not made again."""
    progress = Progress(Display())
    store = _store(props)
    keys = Keys(master=props["master_key"], repository=props["key"], certificate=props["certificate"])
    views = {
        release: build.ensure_spark(progress) if release == SPARK_LINK else build.ensure(release, progress)
        for release in props["releases"]
    }
    trees, links = {view.name: view for view in views.values()}, {release: view.name for release, view in views.items()}
    days = int(props["whitelist_days"])
    published = publisher.publish(trees, store, props["repository"], keys, progress, links=links, days=days)
    # Clients that have not heard of the newest revision read on in the one before it.
    collect.keep_newest(store, keys, publisher.FORMER + 1)
    dates = sealed.whitelist_dates(store)
    if dates is None:
        raise AssertionError("what is published has a whitelist")
    return {
        **props,
        "store": str(store),
        "revision": published.revision,
        "expires": f"{dates[1]:%Y%m%d%H%M%S}",
        "manifest": base64.b64encode((store / sealed.MANIFEST).read_bytes()).decode(),
    }
