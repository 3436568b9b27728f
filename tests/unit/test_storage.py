"""Storage: the provisioner of shared folders, and the class of volumes that it makes."""

from typing import Any

import pytest

from components import storage
from components.storage import StorageConfig
from engine.versions import VERSIONS
from tests.unit import program
from tests.unit.manifests import careless, violations

HOST = {"name": "a", "group": "control_plane", "address": "192.0.2.1", "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1"}
SOURCE = program.PROJECT / "engine/go/shared-folder-provisioner"


def spec(**keys: Any) -> dict[str, Any]:
    return storage.provisioner_spec(StorageConfig(**keys), "r/storage-provisioner:1")


@pytest.mark.parametrize("folder", ["/srv/cygnet", "/eos/project-c/x_1.0", "/a"])
def test_good_folders(folder: str) -> None:
    assert StorageConfig(folder=folder).folder == folder


@pytest.mark.parametrize("folder", ["", "/", "srv", "/with space", "/a;b", "/a$b", "~/a"])
def test_bad_folders(folder: str) -> None:
    with pytest.raises(ValueError, match="folder"):
        StorageConfig(folder=folder)


def test_the_provisioner_sees_the_folder_and_says_where_nodes_see_it() -> None:
    pod = spec(folder="/eos/x")["template"]["spec"]
    (provisioner,) = pod["containers"]
    (volume,) = pod["volumes"]
    (mount,) = provisioner["volumeMounts"]
    assert volume["hostPath"] == {"path": "/eos/x", "type": "Directory"}, "a folder that is not mounted is an error"
    assert provisioner["args"] == [f"-root={mount['mountPath']}", "-node-root=/eos/x"]


def test_the_provisioner_has_the_flags_that_it_is_given() -> None:
    source = (SOURCE / "main.go").read_text()
    for argument in spec()["template"]["spec"]["containers"][0]["args"]:
        name = argument.lstrip("-").partition("=")[0]
        assert f'flag.String("{name}"' in source


def test_the_provisioners_liberties_are_those_it_needs() -> None:
    pod = spec()["template"]["spec"]
    name = "storage-provisioner"
    assert set(violations(pod)) == {
        "volume shared",
        *(f"{name}: {w}" for w in ("capabilities", "runAsNonRoot", "runAsUser")),
    }
    assert careless(pod) == []
    security = pod["containers"][0]["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]}
    assert security["allowPrivilegeEscalation"] is False


def test_the_provisioner_is_who_may_make_volumes(local: program.Engine) -> None:
    (account,) = [one.inputs["metadata"] for one in local.of("ServiceAccount") if one.name == "storage"]
    (subject,) = local.one("ClusterRoleBinding", "storage").inputs["subjects"]
    runs_as = local.one("Deployment", "storage").inputs["spec"]["template"]["spec"]["serviceAccountName"]
    assert subject["name"] == account["name"] == runs_as
    assert subject["namespace"] == account["namespace"] == "storage"


def test_the_provisioner_may_touch_volumes_and_nothing_else() -> None:
    rights = {(resource, verb) for rule in storage.RULES for resource in rule["resources"] for verb in rule["verbs"]}
    assert {resource for resource, _ in rights} == {
        "persistentvolumes", "persistentvolumeclaims", "storageclasses", "events",
    }  # fmt: skip
    assert not {verb for _, verb in rights} & {"*", "deletecollection", "escalate", "impersonate"}
    assert ("persistentvolumeclaims", "delete") not in rights


def test_homes_outlive_their_claims_and_belong_to_the_sessions_user(local: program.Engine) -> None:
    (made,) = local.of("StorageClass")
    assert made.inputs["reclaimPolicy"] == "Retain"
    assert made.inputs["parameters"] == {"uid": "1000", "gid": "100", "mode": "0770"}
    annotation = made.inputs["metadata"]["annotations"]
    assert annotation == {"storageclass.kubernetes.io/is-default-class": "true"}


def test_the_class_names_the_provisioner_and_parameters_that_it_knows(local: program.Engine) -> None:
    (made,) = local.of("StorageClass")
    main, provisioner = ((SOURCE / file).read_text() for file in ("main.go", "provisioner.go"))
    assert f'provisionerName = "{made.inputs["provisioner"]}"' in main
    assert all(f'case "{key}":' in provisioner for key in made.inputs["parameters"])
    assert "shared_folder_provisioner" in VERSIONS


def test_the_folder_of_the_stack_is_checked_on_machines_used_and_told() -> None:
    machines = {"source": "existing", "hosts": [HOST]}
    engine = program.run("site", {"cygnet:machines": machines, "cygnet:storage": {"folder": "/eos/x"}})
    assert engine.one("Playbook", "cluster").inputs["variables"]["storage_folder"] == "/eos/x"
    (volume,) = engine.one("Deployment", "storage").inputs["spec"]["template"]["spec"]["volumes"]
    assert volume["hostPath"]["path"] == "/eos/x"
    assert engine.stack_outputs()[0]["parts"]["storage"] == {"storage_class": "shared", "folder": "/eos/x"}
