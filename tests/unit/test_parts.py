"""The parts of the house against the folders, both ways."""

import re

import pytest

from components.config import ServiceConfig
from components.parts import PARTS, PLACES, Place
from tests.unit import program

ROOT = program.PROJECT

HELPERS = {
    "__init__", "base", "certificates", "cluster_preflight", "config", "copyparty", "cvmfs_pods", "display",
    "eos_guests", "errors", "existing_cluster", "files_routes", "findings", "gateway_certificate", "gateway_config",
    "gateway_pods", "gateway_settings", "guarded", "hub_config", "hub_pods", "kubectl", "kubernetes", "lifetime",
    "managed", "member", "monitor_pods", "parts", "permissions", "placeholders", "playbook", "playbook_run",
    "policies", "postgresql", "preflight", "rotation", "secrets", "service", "session_image", "sizes", "spark_config",
    "spark_networks", "spark_policies", "spark_standalone", "spark_yarn",
}  # fmt: skip
"""Modules in components/ that are no parts: CONTRIBUTING.md says what each is."""


def has(part: str, place: Place) -> bool:
    """Whether a part is where it should be, or left out."""
    if place == "config":
        return part in ServiceConfig.model_fields
    return (ROOT / PLACES[place].format(part=part)).exists()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_in_its_place_or_says_why_not(part: str, place: Place) -> None:
    reason = PARTS[part].lacks.get(place)
    where = PLACES[place].format(part=part)
    if reason is None:
        assert has(part, place), f"{where} is missing; add it, or say in components/parts.py why there is none"
    else:
        assert not has(part, place), f"{where} is there, though components/parts.py says: {reason}"


def test_every_component_is_a_part_or_a_helper() -> None:
    assert {file.stem for file in (ROOT / "components").glob("*.py")} == set(PARTS) | HELPERS


def test_every_configuration_key_smoke_test_and_page_is_of_a_part() -> None:
    assert set(ServiceConfig.model_fields) <= set(PARTS)
    assert {file.stem.removeprefix("test_") for file in (ROOT / "tests/smoke").glob("test_*.py")} <= set(PARTS)
    assert {file.stem for file in (ROOT / "docs/parts").glob("*.md")} <= set(PARTS)


def test_a_components_token_is_its_parts_name() -> None:
    tokens = {
        token
        for file in (ROOT / "components").glob("*.py")
        for token in re.findall(r'"cygnet:index:(\w+)"', file.read_text())
    }
    assert tokens == {part.capitalize() for part in PARTS} | {"Service"}


def test_a_role_of_a_part_prefixes_its_variables_with_the_parts_name() -> None:
    for file in (ROOT / "playbooks/roles").glob("*/defaults/main.yml"):
        role = file.parent.parent.name
        keys = re.findall(r"^(\w+):", file.read_text(), flags=re.MULTILINE)
        assert all(key.startswith(f"{role}_") for key in keys), file


def test_the_stack_tells_of_every_part(local: program.Engine) -> None:
    assert set(local.stack_outputs()[0]["parts"]) == set(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_has_one_lowercase_word_as_its_name_and_a_line_that_says_what_it_is(part: str) -> None:
    assert re.fullmatch(r"[a-z]+", part)
    assert PARTS[part].what[0].isupper()


def test_every_reason_is_a_sentence_and_every_place_is_known() -> None:
    for part in PARTS.values():
        assert set(part.lacks) <= set(PLACES)
        assert all(len(reason.split()) > 3 for reason in part.lacks.values())


@pytest.mark.parametrize("place", PLACES)
def test_a_part_that_is_nowhere_would_be_seen(place: Place) -> None:
    assert not has("ghost", place)
