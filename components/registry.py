"""The registry: where the stack's machines get their container images, on the first control plane machine."""

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

import images
from components.display import Display
from components.machines import Machines
from components.playbook import Playbook
from components.secrets import Authority, Certificate, Passwords
from components.sources.source import public_address
from engine.progress import Progress

PORT = 5000
_USER = "node"
_FOLDER = "cygnet"


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
            "reference": pulumi.Output.concat(registry.address, f"/{_FOLDER}/{name}:{images.tag(name)}"),
            "fingerprint": images.fingerprint(name),
            "pushed_to": registry.public_address,
            "registry_id": registry.id,
            "authority": registry.authority.certificate,
            "password": registry.password,
        }
        secret = pulumi.ResourceOptions(additional_secret_outputs=["password"])
        super().__init__(_ImageProvider(), name, props, pulumi.ResourceOptions.merge(opts, secret))


class Registry(pulumi.ComponentResource):
    """The registry on the first control plane machine. Stands on machines.

    Gives `address` ("10.240.1.11:5000"), `public_address` (the same as this computer reaches it), `image(name)` (a full
    reference, once the image is there), and what a machine needs to pull: `password` (secret, of the user "node") and
    `authority`.
    """

    address: pulumi.Output[str]
    public_address: pulumi.Output[str]
    password: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        machines: Machines,
        authority: Authority,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Registry", name, None, opts)
        inside = pulumi.ResourceOptions(parent=self)
        host = machines.hosts.apply(lambda hosts: str(hosts[0]["address"]))
        outside = machines.hosts.apply(lambda hosts: public_address(hosts[0]))
        named = pulumi.Output.all(host, outside).apply(lambda both: list(dict.fromkeys(both)))
        certificate = Certificate(name, named, authority=authority, opts=inside)
        self._machine = machines.hosts.apply(lambda hosts: identity(hosts[0]))
        self.authority = authority
        self.address = pulumi.Output.concat(host, f":{PORT}")
        self.public_address = pulumi.Output.concat(outside, f":{PORT}")
        self.password = Passwords(name, [_USER], opts=inside).values.apply(lambda values: values[_USER])
        self._images: dict[str, Image] = {}
        self._playbook = Playbook(
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
        self.register_outputs({"address": self.address})

    @property
    def id(self) -> pulumi.Output[str]:
        """Changes when the registry is another one, which then is empty; known when it runs."""
        return pulumi.Output.all(self._playbook.id, self._machine, self.authority.id).apply("/".join)

    @property
    def pull_variables(self) -> dict[str, pulumi.Output[str]]:
        """The variables with which roles let a machine pull from here; the authorization is secret."""
        return {
            "registry_endpoint": self.address,
            "containerd_registry_authorization": self.password.apply(lambda password: f"Basic {_login(password)}"),
        }

    def image(self, name: str) -> pulumi.Output[str]:
        """The reference of an image of `images/`, known when the registry has it."""
        if name not in self._images:
            # It goes when the registry goes; nothing has to be deleted one by one.
            opts = pulumi.ResourceOptions(parent=self, deleted_with=self._playbook)
            self._images[name] = Image(name, registry=self, opts=opts)
        return self._images[name].reference


def identity(host: Mapping[str, Any]) -> str:
    """What tells a machine from another one that was made later under its name and address."""
    return str(host["variables"].get("machines_instance") or host["host_key"])


def _push(props: dict[str, Any]) -> dict[str, Any]:
    """Builds the image if need be, and brings it to the registry; what is there already is not sent again."""
    progress = Progress(Display())
    layout = images.ensure(props["image"], progress)
    registry = props["pushed_to"]
    pushed = "/".join([registry, *props["reference"].split("/")[1:]])
    with tempfile.TemporaryDirectory(prefix="cygnet-push-") as folder:
        authority = Path(folder) / "ca.crt"
        authority.write_text(props["authority"])
        login = Path(folder) / "auth.json"
        with open(os.open(login, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            json.dump(login_file(registry, props["password"]), file)
        images.push(layout, pushed, ca_file=authority, authfile=login, progress=progress)
    return props


def login_file(registry: str, password: str) -> dict[str, Any]:
    """The content of a containers-auth.json(5) file for the stack's registry.

    >>> login_file("10.0.0.1:5000", "x")
    {'auths': {'10.0.0.1:5000': {'auth': 'bm9kZTp4'}}}
    """
    return {"auths": {registry: {"auth": _login(password)}}}


def _login(password: str) -> str:
    return base64.b64encode(f"{_USER}:{password}".encode()).decode()
