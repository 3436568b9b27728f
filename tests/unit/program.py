"""The Pulumi program run without Pulumi: what it asks the engine for is recorded, and answered as the engine would.

Values that a stack makes (passwords, keys, certificates) are really made, by the providers that the program sends
along; machines, plays and images are not.
"""

import asyncio
import base64
import contextvars
import json
import runpy
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import dill
import pulumi
import yaml
from pulumi.runtime import rpc, settings, stack
from pulumi.runtime.mocks import MockMonitor, set_mocks
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.sync_await import _ensure_event_loop, _sync_await

from components.local_machines import names
from tests.unit import manifests

PROJECT = Path(__file__).resolve().parents[2]
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters:
  - name: test
    cluster:
      server: https://10.240.3.11:6443
      certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==
"""
STACK_FILES = sorted(file for file in (PROJECT / "stacks").glob("Pulumi.*.yaml") if ".test" not in file.name)


@dataclass(frozen=True)
class Asked:
    """One resource that the program asked for. `inputs` are without marks; `secret_inputs` names the marked ones."""

    type: str
    name: str
    urn: str
    parent: str
    custom: bool
    inputs: dict[str, Any]
    secret_inputs: frozenset[str]
    provider: str
    deleted_with: str
    depends_on: frozenset[str]
    protect: bool
    ignored: frozenset[str]
    """Names of inputs whose changes are."""


@dataclass
class Engine(MockMonitor):
    """What the program talks to in place of Pulumi's engine."""

    preview: bool = False
    asked: list[Asked] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What components, and the stack, registered as their outputs, by URN."""
    secret_outputs: dict[str, frozenset[str]] = field(default_factory=dict)
    """Which of these are secret."""

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        if request.type == "pulumi:pulumi:Stack":
            return super().RegisterResource(request)  # type: ignore[no-untyped-call]  # gRPC's
        _ensure_event_loop()  # this is a thread of gRPC's
        inputs = rpc.deserialize_properties(request.object)
        resource = Asked(
            type=request.type,
            name=request.name,
            urn=self.make_urn(request.parent, request.type, request.name),
            parent=request.parent,
            custom=request.custom,
            inputs={key: plain(value) for key, value in inputs.items()},
            secret_inputs=frozenset(key for key, value in inputs.items() if is_secret(value)),
            provider=request.provider,
            deleted_with=request.deletedWith,
            depends_on=frozenset(request.dependencies),
            protect=request.protect,
            ignored=frozenset(request.ignoreChanges),
        )
        self.asked.append(resource)
        made = {} if self.preview or not resource.custom else answer(resource)
        secret = resource.secret_inputs | set(request.additionalSecretOutputs)
        state = {
            key: rpc.wrap_rpc_secret(value) if key in secret else value
            for key, value in {**resource.inputs, **made}.items()
            if key != "__provider"
        }
        return resource_pb2.RegisterResourceResponse(
            urn=resource.urn,
            id="" if self.preview else f"{resource.name}-id",
            object=_sync_await(rpc.serialize_properties(state, {})),
        )

    def Invoke(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        """Answers a question to a cloud with an ID that is made of the name."""
        _ensure_event_loop()  # this is a thread of gRPC's
        given = rpc.deserialize_properties(request.args)
        name = given.get("name") or given["networkId"]  # a network's subnet may be asked for without its name
        answered = {"id": f"{name}-id", "name": name}
        return resource_pb2.ResourceInvokeResponse(**{"return": _sync_await(rpc.serialize_properties(answered, {}))})

    def ReadResource(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        """Answers with the one thing that is looked up in a cluster of others: where its API is."""
        _ensure_event_loop()  # this is a thread of gRPC's
        assert request.type.endswith(":EndpointSlice")
        found = {"endpoints": [{"addresses": ["192.0.2.7"]}], "ports": [{"port": 443}]}
        return resource_pb2.ReadResourceResponse(
            urn=self.make_urn(request.parent, request.type, request.name),
            properties=_sync_await(rpc.serialize_properties({} if self.preview else found, {})),
        )

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - gRPC's name
        outputs = rpc.deserialize_properties(request.outputs)
        self.outputs[request.urn] = {key: plain(value) for key, value in outputs.items()}
        self.secret_outputs[request.urn] = frozenset(key for key, value in outputs.items() if is_secret(value))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]  # gRPC's

    def of(self, type_: str) -> list[Asked]:
        """The resources of a type, by the last part of its token: "Playbook", "Deployment"."""
        return [one for one in self.asked if one.type.rpartition(":")[2] == type_]

    def one(self, type_: str, name: str) -> Asked:
        """The resource of this type and name."""
        return next(one for one in self.of(type_) if one.name == name)

    def counts(self) -> dict[str, int]:
        """How many resources of each type."""
        return dict(Counter(one.type.replace("pulumi-python:dynamic/", "") for one in self.asked))

    def stack_outputs(self) -> tuple[dict[str, Any], frozenset[str]]:
        """The outputs of the stack, and the names of the secret ones."""
        urn = next(urn for urn in self.outputs if "::pulumi:pulumi:Stack::" in urn)
        return self.outputs[urn], self.secret_outputs[urn]


def answer(resource: Asked) -> dict[str, Any]:  # noqa: C901, PLR0911 - a table
    """The outputs that the engine would answer with, besides the inputs."""
    match resource.type.rpartition(":")[2]:
        case "Token" | "Passwords" | "KeyPair" | "Authority" | "Certificate" | "Issuer" | "RepositoryKeys" | "Keytab":
            provider = dill.loads(base64.b64decode(resource.inputs["__provider"]))  # noqa: S301 - our own, just made
            return dict(provider.create(resource.inputs).outs)
        case "Publication":
            return {"store": f"/published/{resource.inputs['repository']}", "revision": 1, "expires": "20300101000000"}
        case "LocalNetwork":
            return {"number": 3, "subnet": "10.240.3.0/24"}
        case "LocalMachine":
            address = f"10.240.3.{names.octet(resource.name)}"
            return {"address": address, "variables": {"machines_instance": "1"}}
        case "Instance":  # a server of OpenStack
            return {"accessIpV4": f"198.51.100.{zlib.crc32(resource.name.encode()) % 200 + 1}"}
        case "VolumeAttach":
            return {"device": "/dev/vdb"}
        case "Port":
            return {"allFixedIps": [f"198.51.100.{zlib.crc32(resource.name.encode()) % 50 + 201}"]}
        case "FloatingIp":
            return {"address": "203.0.113.6" if resource.name == "entry" else "203.0.113.5"}
        case "Service" if resource.inputs["spec"].get("type") == "LoadBalancer":
            return {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
        case "Playbook":
            return {"results": {"kubeconfig": KUBECONFIG}}
        case _:
            return {}


def run(
    stack_name: str, config: Mapping[str, Any], *, engine: Engine | None = None, main: Callable[[], None] | None = None
) -> Engine:
    """Runs stacks/__main__.py, or another program, with the `config` of a stack file."""
    engine = engine or Engine()

    async def inside() -> None:
        # What mocks would be asked for, our own monitor answers.
        set_mocks(None, project="cygnet", stack=stack_name, preview=engine.preview, monitor=engine)  # type: ignore[arg-type]
        pulumi.runtime.set_all_config(
            {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
        )
        # It made a stack, too, but the program makes its own.
        settings.set_root_resource(None)  # type: ignore[arg-type]
        await stack.run_in_stack(main or run_main)

    contextvars.copy_context().run(asyncio.run, inside())
    return engine


def run_main() -> None:
    """The program itself, without its pre-flight: that asks a cloud, and tests/testcloud has a real one."""
    opened = mock.patch("components.existing_cluster.kubeconfig", return_value=KUBECONFIG)
    with mock.patch("components.preflight.check"), opened:
        runpy.run_path(str(PROJECT / "stacks" / "__main__.py"), run_name="__main__")


def run_file(file: Path, *, preview: bool = False) -> Engine:
    """Runs the program with a stack file, and what operators add; in a preview nothing that is made is known."""
    config = yaml.safe_load(file.read_text())["config"]
    config.get("cygnet:auth", {}).get("oidc", {}).setdefault("client_secret", "what the provider gave")
    return run(file.name.split(".")[1], config, engine=Engine(preview=preview))


@dataclass(frozen=True)
class Pod:
    """A kind of pod that the program asks for."""

    name: str
    namespace: str
    labels: dict[str, str]
    spec: dict[str, Any]
    containers: list[dict[str, Any]]


def pods(engine: Engine) -> list[Pod]:
    """The pods of all workloads."""
    found = []
    for one in [*engine.of("Deployment"), *engine.of("DaemonSet")]:
        template = one.inputs["spec"]["template"]
        found.append(
            Pod(
                name=one.name,
                namespace=one.inputs["metadata"]["namespace"],
                labels=template["metadata"]["labels"],
                spec=template["spec"],
                containers=manifests.containers(template["spec"]),
            )
        )
    return found


def is_secret(value: Any) -> bool:
    """Whether a value, or something inside of it, is marked as a secret."""
    return any(rpc.is_rpc_secret(inner) for inner in walk(value))


def plain(value: Any) -> Any:
    """The value without marks."""
    value = rpc.unwrap_rpc_secret(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def walk(value: Any) -> Iterator[Any]:
    """A value and all that is inside of it."""
    yield value
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from walk(inner)
