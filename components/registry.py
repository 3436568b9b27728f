"""The registry: where machines get their container images. Either the stack's own, or one that is there."""

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult
from pydantic import Field, SecretStr

import images
from components.base import PartConfig
from components.display import Display
from components.machines import Machines
from components.playbook import Playbook
from components.secrets import Authority, Certificate, Passwords
from components.sources.source import public_address
from engine.progress import Progress

PORT = 5000
_USER = "node"
_FOLDER = "cygnet"


class RegistryConfig(PartConfig):
    """What a stack says about its registry, under `cygnet:registry`; for a cluster that is there already."""

    address: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*$",
            description="Registry and folder to which images are brought, e.g. registry.example.org/analysis; "
            "none: the first control plane machine is the registry",
        ),
    ] = None
    username: Annotated[
        str,
        Field(description="Who may bring images there, and get them; empty: this computer is logged in, all may get"),
    ] = ""
    password: Annotated[SecretStr, Field(description="Likewise; a secret")] = SecretStr("")
    authority: Annotated[
        str,
        Field(description="Certificate, in PEM, that its own is checked against; empty: those this computer trusts"),
    ] = ""


class _ImageProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=props["reference"], outs=_push(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=_push(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        compared = ("reference", "fingerprint", "registry_id")
        return DiffResult(changes=any(olds[key] != news[key] for key in compared))


class Image(Resource, module="cygnet", name="Image"):
    """One image of `images/` in a stack's registry, built when its inputs changed. Gives its full `reference`."""

    reference: pulumi.Output[str]

    def __init__(self, name: str, *, registry: "Registry", opts: pulumi.ResourceOptions | None = None) -> None:
        props = {
            "image": name,
            "reference": pulumi.Output.concat(registry.folder, f"/{name}:{images.tag(name)}"),
            "fingerprint": images.fingerprint(name),
            "pushed_to": registry.pushed_to,
            "registry_id": registry.id,
            "authority": registry.certificate,
            "username": registry.username,
            "password": registry.password,
        }
        secret = pulumi.ResourceOptions(additional_secret_outputs=["password"])
        super().__init__(_ImageProvider(), name, props, pulumi.ResourceOptions.merge(opts, secret))


class Registry(pulumi.ComponentResource):
    """Where the cluster gets its images.

    Gives `address` ("10.240.1.11:5000"), and `image(name)`, a full reference, once the image is there.
    """

    address: pulumi.Output[str]
    folder: pulumi.Output[str]
    """Of images, as the cluster reaches it: "10.240.1.11:5000/cygnet"."""
    pushed_to: pulumi.Output[str]
    """The same as this computer reaches it."""
    id: pulumi.Output[str]
    """Changes when the registry is another one, which then is empty; known when it runs."""
    certificate: pulumi.Output[str]
    """That its own is checked against, in PEM; empty: those that this computer trusts."""
    username: str
    password: pulumi.Output[str]
    """Secret; empty: it asks for none."""

    _goes_with: pulumi.Resource | None
    """With what images go; without it they stay."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cygnet:index:Registry", name, None, opts)
        self._images: dict[str, Image] = {}

    def image(self, name: str) -> pulumi.Output[str]:
        """The reference of an image of `images/`, known when the registry has it."""
        if name not in self._images:
            # It goes when the registry goes; nothing has to be deleted one by one.
            opts = pulumi.ResourceOptions(parent=self, deleted_with=self._goes_with)
            self._images[name] = Image(name, registry=self, opts=opts)
        return self._images[name].reference


class OwnRegistry(Registry):
    """The registry on the first control plane machine. Stands on machines."""

    def __init__(
        self,
        name: str,
        *,
        machines: Machines,
        authority: Authority,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        inside = pulumi.ResourceOptions(parent=self)
        host = machines.hosts.apply(lambda hosts: str(hosts[0]["address"]))
        outside = machines.hosts.apply(lambda hosts: public_address(hosts[0]))
        named = pulumi.Output.all(host, outside).apply(lambda both: list(dict.fromkeys(both)))
        certificate = Certificate(name, named, rotates="registry", authority=authority, opts=inside)
        self.address = pulumi.Output.concat(host, f":{PORT}")
        self.folder = pulumi.Output.concat(self.address, f"/{_FOLDER}")
        self.pushed_to = pulumi.Output.concat(outside, f":{PORT}/{_FOLDER}")
        self.certificate = authority.certificate
        self.username = _USER
        made = Passwords(name, [_USER], rotates="registry", opts=inside)
        self.password = made.values.apply(lambda values: values[_USER])
        playbook = Playbook(
            name,
            "registry.yml",
            hosts=machines.hosts.apply(lambda hosts: hosts[:1]),
            private_key=machines.private_key,
            variables={
                "registry_certificate": certificate.certificate,
                "registry_key": certificate.private_key,
                "registry_password": self.password,
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[machines]),
        )
        machine = machines.hosts.apply(lambda hosts: identity(hosts[0]))
        self.id = pulumi.Output.all(playbook.id, machine, authority.id).apply("/".join)
        self._goes_with = playbook
        self.register_outputs({"address": self.address})

    @property
    def pull_variables(self) -> dict[str, pulumi.Output[str]]:
        """The variables with which roles let a machine pull from here; the authorization is secret."""
        return {
            "registry_endpoint": self.address,
            "containerd_registry_authorization": self.password.apply(
                lambda password: f"Basic {_login(self.username, password)}"
            ),
        }


class ExistingRegistry(Registry):
    """A registry that is there, for the images of a cluster that is there."""

    def __init__(self, name: str, config: RegistryConfig, *, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        given = config.address or ""
        self.address = pulumi.Output.from_input(given.split("/", maxsplit=1)[0])
        self.folder = self.pushed_to = self.id = pulumi.Output.from_input(given)
        self.certificate = pulumi.Output.from_input(config.authority)
        self.username = config.username
        self.password = pulumi.Output.secret(config.password.get_secret_value())
        self._goes_with = None
        self.register_outputs({"address": self.address})

    @property
    def login(self) -> pulumi.Output[str] | None:
        """What lets pods get images from here, as JSON in the form of containers-auth.json(5); None: all may."""
        if not self.username:
            return None
        return pulumi.Output.all(self.address, self.password).apply(
            lambda given: json.dumps(login_file(given[0], self.username, given[1]))
        )


def identity(host: Mapping[str, Any]) -> str:
    """What tells a machine from another one that was made later under its name and address."""
    return str(host["variables"].get("machines_instance") or host["host_key"])


def _push(props: dict[str, Any]) -> dict[str, Any]:
    """Builds the image if need be, and brings it to the registry; what is there already is not sent again."""
    progress = Progress(Display())
    layout = images.ensure(props["image"], progress)
    folder = props["pushed_to"]
    with tempfile.TemporaryDirectory(prefix="cygnet-push-") as private:
        authority = Path(private) / "ca.crt"
        authority.write_text(props["authority"])
        login = Path(private) / "auth.json"
        with open(os.open(login, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            json.dump(login_file(folder.split("/")[0], props["username"], props["password"]), file)
        images.push(
            layout,
            f"{folder}/{props['reference'].rsplit('/', maxsplit=1)[1]}",
            ca_file=authority if props["authority"] else None,
            authfile=login if props["username"] else None,
            progress=progress,
        )
    return props


def login_file(registry: str, username: str, password: str) -> dict[str, Any]:
    """The content of a containers-auth.json(5) file.

    >>> login_file("10.0.0.1:5000", "node", "x")
    {'auths': {'10.0.0.1:5000': {'auth': 'bm9kZTp4'}}}
    """
    return {"auths": {registry: {"auth": _login(username, password)}}}


def _login(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()
