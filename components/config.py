"""What a stack file says, read once and checked as a whole before the first resource is made.

A stack file (`stacks/Pulumi.<stack>.yaml`) has one key per part, `cygnet:<part>`; what it leaves out has the default
that makes the stack `local`. All findings are reported at once, each with its place and its cure.
"""

import json
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any

from pulumi.runtime import config as pulumi_config
from pydantic import Field, ValidationError, model_validator

from components import spark_networks, spark_yarn
from components.auth import WITH_NAMES, AuthConfig, known_names
from components.base import PROJECT, PartConfig
from components.cluster import LINK_LOCAL, ClusterConfig
from components.cvmfs import CvmfsConfig
from components.eos import EosConfig, unknown_groups
from components.errors import CygnetError
from components.files import FilesConfig, has_page
from components.findings import findings
from components.gateway_config import PORTS_OF_THE_MACHINE, GatewayConfig
from components.health import HealthConfig
from components.hub_config import HubConfig
from components.local_machines import nspawn
from components.login import LoginConfig
from components.machines import MachinesConfig
from components.monitor import MonitorConfig
from components.registry import RegistryConfig
from components.sizes import check_gpus
from components.software import SoftwareConfig
from components.sources.source import WantedAddress
from components.spark_config import NEEDED, SparkConfig, standalone_fault
from components.storage import StorageConfig


class ConfigError(CygnetError):
    """A stack file that cannot be used; the message lists every finding."""


class ServiceConfig(PartConfig):
    """A whole stack file: one field per part."""

    machines: MachinesConfig = Field(default_factory=MachinesConfig)
    registry: RegistryConfig = Field(default_factory=RegistryConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)
    software: SoftwareConfig = Field(default_factory=SoftwareConfig)
    cvmfs: CvmfsConfig = Field(default_factory=CvmfsConfig)
    auth: AuthConfig = Field(default_factory=AuthConfig)
    eos: EosConfig = Field(default_factory=EosConfig)
    health: HealthConfig = Field(default_factory=HealthConfig)
    spark: SparkConfig = Field(default_factory=SparkConfig)
    hub: HubConfig = Field(default_factory=HubConfig)
    login: LoginConfig = Field(default_factory=LoginConfig)
    files: FilesConfig = Field(default_factory=FilesConfig)
    monitor: MonitorConfig = Field(default_factory=MonitorConfig)
    gateway: GatewayConfig = Field(default_factory=GatewayConfig)

    @model_validator(mode="after")
    def _fits_its_cluster(self) -> "ServiceConfig":
        if self.cluster.source == "existing":
            if wrong := [text for text, fits in _in_a_cluster_of_others(self).items() if not fits]:
                raise ValueError(f"with cluster.source existing {'; '.join(wrong)}: docs/how-to/use-a-cluster.md")
        elif "registry" in self.model_fields_set:
            raise ValueError("registry is for cluster.source existing; remove it: the stack has one on its machines")
        return self

    @model_validator(mode="after")
    def _machines_are_outside_of_the_cluster_networks(self) -> "ServiceConfig":
        machines = self.machines.addresses
        for key in ("pod_network", "service_network"):
            network: IPv4Network = getattr(self.cluster, key)
            taken = next((one for one in machines if one.overlaps(network)), None)
            if taken:
                raise ValueError(f"cluster.{key} {network} overlaps with addresses of machines ({taken}); move it")
        return self

    @property
    def virtual_address(self) -> WantedAddress:
        """The address that control planes share; several have one unasked."""
        return self.cluster.api_address or ("own" if self.machines.control_planes > 1 else None)

    @model_validator(mode="after")
    def _the_virtual_address_can_be_had(self) -> "ServiceConfig":
        wanted, machines = self.virtual_address, self.machines
        own_network = machines.openstack.own_network if machines.openstack else None
        if machines.source == "existing" and wanted == "own":
            raise ValueError(
                "cluster.api_address: control planes of existing machines share an address that you choose: a free one "
                "of their network, which no other machine has"
            )
        if wanted is None or wanted == "own":
            return self
        if machines.source == "local":
            raise ValueError(f"cluster.api_address: local machines take one by themselves; say own, not {wanted}")
        if own_network and wanted not in own_network.subnet:
            raise ValueError(
                f"cluster.api_address {wanted} is not in openstack.own_network.subnet {own_network.subnet}; take a "
                "free one of it, or say own"
            )
        if taken := [host.name for host in machines.hosts if host.address == wanted]:
            raise ValueError(f"cluster.api_address {wanted} is the address of {taken[0]}; take a free one")
        return self

    @model_validator(mode="after")
    def _every_machine_has_room_for_its_pods(self) -> "ServiceConfig":
        network, machines = self.cluster.pod_network, self.machines.count
        room = int(2.0 ** (24 - network.prefixlen))
        if machines > room:
            raise ValueError(
                f"cluster.pod_network {network} has room for {room} machines, a /24 each, and not for {machines}; "
                "make it larger"
            )
        return self

    @model_validator(mode="after")
    def _local_machines_have_the_shared_folder(self) -> "ServiceConfig":
        if self.machines.source == "local" and self.storage.folder != nspawn.SHARED_FOLDER:
            raise ValueError(
                f"local machines have their shared folder at {nspawn.SHARED_FOLDER}; remove storage.folder "
                f"({self.storage.folder}), or use machines that exist"
            )
        return self

    @model_validator(mode="after")
    def _who_logs_in_has_a_home_there(self) -> "ServiceConfig":
        if self.login.enabled and self.eos.client == "none":
            raise ValueError("login.enabled needs homes on EOS; give eos.client, or remove login")
        return self

    @model_validator(mode="after")
    def _files_have_something_to_show(self) -> "ServiceConfig":
        if "enabled" in self.files.model_fields_set and self.files.enabled and not has_page(self.files, self.eos):
            raise ValueError(
                "files.enabled is true, and the page of files is of the stack's own /eos, which this one has not; "
                "remove files.enabled, or set eos.client: xrdmount without eos.server"
            )
        return self

    @model_validator(mode="after")
    def _ports_of_the_service_differ(self) -> "ServiceConfig":
        taken = {
            **PORTS_OF_THE_MACHINE,
            self.gateway.https_port: "gateway.https_port",
            self.gateway.http_port: "gateway.http_port",
        }
        wanted = {"files.https_port": self.files.https_port} if has_page(self.files, self.eos) else {}
        wanted |= {"login.port": self.login.port} if self.login.enabled else {}
        wanted |= {"monitor.https_port": self.monitor.https_port} if self.monitor.enabled else {}
        for key, port in wanted.items():
            if owner := taken.get(port):
                raise ValueError(f"{key} {port} is the port of {owner}; take another")
            taken[port] = key
        return self

    @model_validator(mode="after")
    def _repositories_have_names_of_their_own(self) -> "ServiceConfig":
        if self.software.releases and self.software.repository in self.cvmfs.repositories:
            raise ValueError(
                f"cvmfs.repositories has {self.software.repository}, which is the stack's own repository; give that "
                "another name in software.repository, or set software.releases: []"
            )
        return self

    @model_validator(mode="after")
    def _views_are_in_repositories_that_are_mounted(self) -> "ServiceConfig":
        mounted = {*self.cvmfs.repositories, *([self.software.repository] if self.software.releases else [])}
        for name, view in self.software.views.items():
            if view.repository not in mounted:
                raise ValueError(
                    f"software.views.{name} is in {view.repository}, which no machine mounts; add that, with its "
                    "servers and keys, to cvmfs.repositories"
                )
        return self

    @model_validator(mode="after")
    def _rights_are_to_what_is_there(self) -> "ServiceConfig":
        releases = {*self.software.releases, *self.software.views}
        named = self.auth.rights.features
        if unknown := sorted(named.keys() - releases - self.hub.sizes.keys() - self.spark.clusters.keys()):
            raise ValueError(
                f"auth.rights.features has {', '.join(unknown)}, which is no release or view of cygnet:software, no "
                "size of hub.sizes and no cluster of cygnet:spark; correct it, or add it there"
            )
        if releases and releases <= named.keys():
            raise ValueError("auth.rights.features leaves no software release for everyone; take one out of it")
        return self

    @model_validator(mode="after")
    def _gpus_of_sizes_are_there(self) -> "ServiceConfig":
        # Those of others may be labelled by who has them.
        others = "existing" in (self.cluster.source, self.machines.source)
        check_gpus(self.hub.sizes, self.machines.kinds_of_gpus, others=others)
        return self

    @model_validator(mode="after")
    def _executors_have_software_and_homes(self) -> "ServiceConfig":
        if self.spark.clusters and (self.eos.client == "none" or not self.software.releases):
            raise ValueError(NEEDED)
        if fault := standalone_fault(self.spark, self.auth.rights, known_names(self.auth)):
            raise ValueError(fault)
        own, machines = (self.cluster.pod_network, self.cluster.service_network, LINK_LOCAL), self.machines.addresses
        for name, networks in self.spark.open_networks.items():
            if fault := spark_networks.fault(networks, name, own=own, machines=machines):
                raise ValueError(fault)
        for name, yarn in self.spark.yarn.items():
            groups = self.auth.rights.features.get(name, ())
            if fault := spark_yarn.fault(yarn, name, groups=groups, sign_in=self.auth.kind, own=own, machines=machines):
                raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _sign_in_fits_the_rest(self) -> "ServiceConfig":
        if self.auth.kind != "accounts" and self.login.enabled:
            raise ValueError(
                f"login.enabled is for auth.kind: accounts, and that is {self.auth.kind}: it knows no password that "
                "somebody chose elsewhere; remove login"
            )
        return self

    @model_validator(mode="after")
    def _data_is_for_groups_that_are_there(self) -> "ServiceConfig":
        if self.auth.kind not in WITH_NAMES:
            return self  # a provider's groups are known when somebody comes who is in one
        if unknown := unknown_groups(self.eos, self.auth.groups):
            found = "; ".join(f"{data}: {', '.join(groups)}" for data, groups in unknown.items())
            raise ValueError(f"eos.data names groups that auth.groups does not have ({found}); add them there")
        return self


def _in_a_cluster_of_others(config: ServiceConfig) -> dict[str, bool]:
    """What a stack without machines has to say, and whether it does."""
    return {
        "machines have no place, they are others'": "machines" not in config.model_fields_set,
        "registry.address says where images are brought": config.registry.address is not None,
        "storage.storage_class names that of volumes": config.storage.storage_class is not None,
        "eos.client is none": config.eos.client == "none",
        "software.releases is [], there is no machine to serve them": not config.software.releases,
        "login has to be left out": not config.login.enabled,
        "monitor has to be left out, such clusters are looked after by others": not config.monitor.enabled,
        "cvmfs.client is swfs": config.cvmfs.client == "swfs",
    }


def load(stack: str) -> ServiceConfig:
    """The configuration of the running Pulumi program.

    Raises:
        ConfigError: The stack file has findings.
    """
    given = {**pulumi_config.get_config_env(), **pulumi_config.CONFIG.get()}
    ours = {key.removeprefix(f"{PROJECT}:"): text for key, text in given.items() if key.startswith(f"{PROJECT}:")}
    return parse({part: _value(text) for part, text in ours.items()}, f"stacks/Pulumi.{stack}.yaml")


def parse(document: Mapping[str, Any], file: str) -> ServiceConfig:
    """The checked configuration of a document with one key per part.

    Args:
        document: For example {"machines": {"source": "local"}}.
        file: Where it was read, for the findings.

    Raises:
        ConfigError: With every finding.
    """
    try:
        return ServiceConfig.model_validate(document)
    except ValidationError as error:
        found = [f"  {finding}" for finding in findings(error, ServiceConfig, file)]
        count = "1 finding" if len(found) == 1 else f"{len(found)} findings"
        raise ConfigError("\n".join([f"{file}: {count}, nothing was changed", *found])) from None


def schema() -> dict[str, Any]:
    """The JSON schema of a stack file, for editors and for the reference pages."""
    model = _sealed(ServiceConfig.model_json_schema())
    parts = {f"{PROJECT}:{name}": part for name, part in model["properties"].items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A cygnet stack file",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": parts,
                "patternProperties": {rf"^(?!{PROJECT}:)": {}},
                "additionalProperties": False,
            },
            "secretsprovider": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "encryptionsalt": {"type": "string"},
        },
        "additionalProperties": False,
        "$defs": model["$defs"],
    }


def _sealed(node: Any) -> Any:
    """A schema in which secrets are as `pulumi config set --secret` writes them; plain text is not accepted.

    >>> _sealed({"type": "string", "format": "password"})["required"]
    ['secure']
    """
    if isinstance(node, list):
        return [_sealed(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("format") == "password":
        secure = {"secure": {"type": "string"}}
        sealed = {"type": "object", "properties": secure, "required": ["secure"], "additionalProperties": False}
        return sealed | ({"description": node["description"]} if "description" in node else {})
    return {key: _sealed(value) for key, value in node.items()}


def _value(text: Any) -> Any:
    """Pulumi hands over objects and lists as JSON text, and a plain string as it is."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text
