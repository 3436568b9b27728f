"""After a kill, a fault or a lost state the next command makes cloud and state agree, and nothing twice."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from openstack.connection import Connection

from components.clouds import cloud_resources
from components.errors import CygnetError
from operations import down, leftovers, takeover, up
from operations.cloud_state import State
from tests.testcloud import apis, names
from tests.testcloud.faults import Faults, proxy
from tests.testcloud.project import Project

pytestmark = pytest.mark.nightly

STACK = "recovery"
UP = ("up", "--yes", "--skip-preview")
DESTROY = ("destroy", "--yes", "--skip-preview", "--exclude-protected")


@dataclass(frozen=True)
class Own:
    """A project of the cloud, so that no quota and no other test is in the way: its name, its user's connection."""

    clouds: dict[str, Any]
    cloud: Connection
    admin: Connection

    @property
    def id(self) -> str:
        return str(self.cloud.current_project_id)


@pytest.fixture(scope="module")
def own(demo: Connection, admin: Connection) -> Iterator[Own]:
    identity = apis.identity(admin)
    made = identity.create_project(name=f"test-{STACK}", domain_id="default")
    member = identity.find_role("member", ignore_missing=False)
    identity.assign_project_role_to_user(made, str(demo.current_user_id), member)
    clouds = yaml.safe_load(names.CLOUDS.read_text())
    clouds["clouds"]["demo"]["auth"]["project_name"] = made.name
    try:
        yield Own(clouds, demo.connect_as_project(made), admin)
    finally:
        for group in admin.network.security_groups(project_id=made.id):
            admin.network.delete_security_group(group)
        identity.delete_project(made)


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def project(own: Own, tmp_path_factory: pytest.TempPathFactory, environment: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(STACK, tmp_path_factory.mktemp("recovery"), flavors=["fake"])
    for name, value in made.environment.items():
        environment.setenv(name, value)
    lead(made, own.clouds, environment)
    made.pulumi("stack", "init")
    try:
        yield made
    finally:
        takeover.take_over(made)  # ends what a killed Pulumi has started
        made.remove(own.cloud)


@pytest.fixture
def cloud(own: Own) -> Connection:
    """As the stack's user."""
    return own.cloud


def lead(project: Project, clouds: dict[str, Any], environment: pytest.MonkeyPatch) -> None:
    """Leads all clients to these clouds."""
    (project.project / "clouds.yaml").write_text(yaml.safe_dump(clouds))
    environment.setenv("OS_CLIENT_CONFIG_FILE", str(project.project / "clouds.yaml"))


def of(kind: str, cloud: Connection) -> dict[str, str]:
    """The stack's resources of a kind, ids by name."""
    return {one.name: one.id for one in cloud_resources.resources(cloud, STACK) if one.kind == kind}


def names_of(kind: str, cloud: Connection) -> list[str]:
    return [name.removeprefix(f"cygnet-{STACK}-") for name in of(kind, cloud)]


def test_a_killed_up_is_followed_by_one_that_makes_nothing_twice(project: Project, cloud: Connection) -> None:
    assert project.killed(lambda: bool(of("server", cloud)), *UP)
    assert any("only in the cloud: server" in one for one in project.differences(cloud))
    up.bring_up(project)
    assert project.differences(cloud) == []
    assert names_of("server", cloud) == ["worker-1"]
    project.pulumi("preview", "--expect-no-changes", capture=True)


def test_what_could_not_be_made_is_made_by_a_later_up(
    project: Project, own: Own, nowhere: str, capfd: pytest.CaptureFixture[str]
) -> None:
    first = of("server", own.cloud).items()
    project.configure(flavors=["fake", nowhere])
    with pytest.raises(CygnetError, match=r"server cygnet-recovery-worker-2 .* is in ERROR: No valid host was found"):
        up.bring_up(project)
    assert project.differences(own.cloud) == []
    project.configure(flavors=["fake"] * 3)
    own.admin.set_compute_quotas(own.id, instances=2)
    with pytest.raises(CygnetError, match="What was made is kept"):
        up.bring_up(project)
    assert "Quota exceeded for instances" in capfd.readouterr().out
    assert project.differences(own.cloud) == []
    assert len(of("server", own.cloud)) == 2
    own.admin.set_compute_quotas(own.id, instances=10)
    up.bring_up(project)
    assert project.differences(own.cloud) == []
    assert names_of("server", own.cloud) == ["worker-1", "worker-2", "worker-3"]
    assert {server.status for server in own.cloud.compute.servers()} == {"ACTIVE"}
    assert first < of("server", own.cloud).items()


@pytest.fixture
def nowhere(admin: Connection) -> Iterator[str]:
    """A flavor for which no hypervisor has the disk."""
    made = admin.compute.create_flavor(name="test-nowhere", ram=512, vcpus=1, disk=10_000_000)
    yield made.name
    admin.compute.delete_flavor(made)


def test_services_that_fail_now_and_then_only_cost_another_up(
    project: Project, own: Own, environment: pytest.MonkeyPatch
) -> None:
    # Without those at sign-in, which no client asks for again.
    faults = Faults(share=0.1, statuses=(429, 503), applies=lambda _, path: not path.startswith("/v3/auth"))
    project.configure(flavors=["fake"] * 2, user_data="#cloud-config\n# another\n")
    with proxy(faults, own.clouds) as clouds:
        lead(project, clouds, environment)
        for _ in range(8):
            with suppress(CygnetError):
                up.bring_up(project)
                break
    lead(project, own.clouds, environment)
    assert faults.failed
    assert project.differences(own.cloud) == []
    assert names_of("server", own.cloud) == ["worker-1", "worker-2"]
    project.pulumi("preview", "--expect-no-changes", capture=True)


def test_what_belongs_to_a_stack_with_a_longer_name_is_not_ours(project: Project, cloud: Connection) -> None:
    other = cloud.compute.create_server_group(name=f"cygnet-{STACK}-two-worker", policy="affinity")
    key = cloud.compute.create_keypair(name=f"cygnet-{STACK}-two")
    try:
        assert names_of("server group", cloud) == ["worker"]
        assert project.differences(cloud) == []
    finally:
        cloud.compute.delete_server_group(other)
        cloud.compute.delete_keypair(key)


def test_a_stack_whose_state_is_lost_is_adopted_but_for_its_servers(
    project: Project, cloud: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cloud_resources.resources(cloud, STACK)
    project.pulumi("stack", "rm", "--yes", "--force", "--preserve-config")
    with pytest.raises(CygnetError, match=f"server cygnet-{STACK}-worker-1"):
        up.bring_up(project)
    left = State.of(project).unknown(before)
    assert {one.kind for one in left} == {"server", "attachment"}
    capsys.readouterr()
    leftovers.handle(project)
    assert f"compute  server      cygnet-{STACK}-worker-1" in capsys.readouterr().out
    leftovers.handle(project, remove=True, yes=True)
    up.bring_up(project)
    assert project.differences(cloud) == []
    after = cloud_resources.resources(cloud, STACK)
    again = {one.id for one in after} & {one.id for one in before}
    assert again == {one.id for one in before} - {one.id for one in left}


def test_a_killed_destroy_is_finished_by_the_next_but_for_what_is_protected(
    project: Project, cloud: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    before = cloud_resources.resources(cloud, STACK)
    (volume,) = of("volume", cloud).values()
    assert project.killed(lambda: len(cloud_resources.resources(cloud, STACK)) < len(before), *DESTROY)
    capsys.readouterr()
    down.take_down(project, everything=False)
    said = capsys.readouterr().out
    assert "compute        nothing\nnetwork        nothing\n" in said
    assert f"block storage  volume cygnet-{STACK}-homes ({volume}), 1 GiB, kept, billable" in said
    assert [one.id for one in cloud_resources.resources(cloud, STACK)] == [volume]
    assert project.differences(cloud) == []


def test_in_the_end_nothing_is_left(project: Project, cloud: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    down.take_down(project, everything=True)
    assert "compute        nothing\nnetwork        nothing\nblock storage  nothing\n" in capsys.readouterr().out
    assert cloud_resources.resources(cloud, STACK) == []
    assert not project.exists()
