"""The parts of the house, and what a part does not have.

A part is something a user or an operator would name when it fails. Its one lowercase word is its configuration key,
its component, its role, its tests and its page. What is missing is said here with its reason; a test compares this
list with the folders, both ways.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Place = Literal["config", "component", "role", "unit test", "smoke test", "page"]

PLACES: Final[Mapping[Place, str]] = {
    "config": "cygnet:{part}",
    "component": "components/{part}.py",
    "role": "playbooks/roles/{part}",
    "unit test": "tests/unit/test_{part}.py",
    "smoke test": "tests/smoke/test_{part}.py",
    "page": "docs/parts/{part}.md",
}
"""Where a part stands in each folder."""


@dataclass(frozen=True)
class Part:
    """One part: what it is, in a sentence, and which places it leaves empty, with the reason."""

    what: str
    lacks: Mapping[Place, str] = field(default_factory=dict)


PARTS: Final[Mapping[str, Part]] = {
    "machines": Part("The computers that all else runs on"),
    "registry": Part("Where machines get their container images"),
    "cluster": Part("Kubernetes on the machines"),
    "gpu": Part(
        "GPUs of machines, made known to Kubernetes",
        lacks={"config": "machines has it: a group of machines, or one of them, says what it has of GPUs"},
    ),
    "storage": Part("Volumes that every machine sees, such as the hub's own"),
    "software": Part("The software releases that users may choose from"),
    "cvmfs": Part("Software repositories below /cvmfs, on every machine and in every session"),
    "auth": Part("Who may sign in", lacks={"role": "it lives in the hub; nothing of it is on a machine"}),
    "eos": Part("Homes and experiment data below /eos, on every machine and in every session"),
    "health": Part("Whether what sessions need answers on each machine, and its repair"),
    "spark": Part("Clusters for Spark beside sessions", lacks={"role": "it runs in the cluster"}),
    "hub": Part("JupyterHub, and the sessions of its users", lacks={"role": "it runs in the cluster"}),
    "login": Part("The homes and software of sessions, by SSH", lacks={"role": "it runs in the cluster"}),
    "files": Part("A web page of everyone's files, and links that open without sign-in"),
    "monitor": Part("Figures, alerts and pictures for operators", lacks={"role": "it runs in the cluster"}),
    "gateway": Part("The one HTTPS address of the service", lacks={"role": "it runs in the cluster"}),
}
