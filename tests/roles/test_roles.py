"""Every role on a real machine, twice: the second run changes nothing, and the machine is what was declared."""

import hashlib
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from testinfra.host import Host

import software
from components.playbook import PLAYBOOKS
from engine.versions import VERSIONS
from tests.live.waiting import until
from tests.roles.conftest import Prepared
from tests.roles.node import NAME, REPOSITORY, Node, Repository, secret_texts

MACHINES, REGISTRY, CLUSTER, SOFTWARE, CVMFS = (
    PLAYBOOKS / f"{name}.yml" for name in ("machines", "registry", "cluster", "software", "cvmfs")
)

# Two runs


def test_the_first_run_succeeds(prepared: Prepared) -> None:
    assert prepared.first.successful, prepared.first.failures
    assert prepared.first.changed > 10


def test_the_second_run_changes_nothing(prepared: Prepared) -> None:
    assert prepared.second.successful, prepared.second.failures
    assert prepared.second.changed == 0


# The machine


def test_it_has_its_name(inside: Host) -> None:
    assert inside.check_output("hostname") == NAME
    assert inside.file("/etc/hostname").content_string == f"{NAME}\n"


def test_it_knows_the_stacks_machines_and_no_other(node: Node, inside: Host) -> None:
    lines = [line.split() for line in inside.file("/etc/hosts").content_string.splitlines() if line[0] != "#"]
    assert lines == [["127.0.0.1", "localhost"], ["::1", "localhost", *lines[1][2:]], [node.address, NAME]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.ip_forward", 1),
        ("net.bridge.bridge-nf-call-iptables", 1),
        ("fs.inotify.max_user_instances", 8192),
    ],
)
def test_the_kernel_has_its_settings(inside: Host, name: str, value: int) -> None:
    assert inside.sysctl(name) == value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("permitrootlogin", "without-password"),
        ("x11forwarding", "no"),
    ],
)
def test_sshd_is_hardened(inside: Host, option: str, value: str) -> None:
    assert f"{option} {value}" in inside.check_output("sshd -T").splitlines()


def test_nobody_signs_in_without_a_key(node: Node) -> None:
    command = ["ssh", "-F", str(node.folder / "ssh.conf"), "-o", "PubkeyAuthentication=no", f"root@{node.address}"]
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


@pytest.mark.parametrize(
    "service", ["containerd", "cygnet-guard", "docker-registry", "nginx", "squid", f"swfs@{REPOSITORY}", "ssh"]
)
def test_a_service_runs_and_starts_by_itself(inside: Host, service: str) -> None:
    assert inside.service(service).is_running
    assert inside.service(service).is_enabled


def test_the_kubelet_waits_for_a_cluster(inside: Host) -> None:
    assert inside.service("kubelet").is_enabled
    assert not inside.service("kubelet").is_running


def test_no_unit_has_failed(inside: Host) -> None:
    assert inside.check_output("systemctl list-units --state=failed --plain --no-legend") == ""


@pytest.mark.parametrize(
    ("path", "mode", "group"),
    [
        ("/etc/containerd/certs.d/{registry}/hosts.toml", 0o600, "root"),
        ("/etc/docker/registry/htpasswd", 0o640, "docker-registry"),
        ("/etc/docker/registry/tls.key", 0o640, "docker-registry"),
    ],
)
def test_a_file_with_a_secret_is_closed(node: Node, inside: Host, path: str, mode: int, group: str) -> None:
    file = inside.file(path.format(registry=node.registry))
    assert (file.mode, file.user, file.group) == (mode, "root", group)


def test_no_secret_stands_where_it_does_not_belong(node: Node, inside: Host) -> None:
    allowed = {f"/etc/containerd/certs.d/{node.registry}/hosts.toml", "/etc/docker/registry/tls.key"}
    for secret in secret_texts(node.variables):
        found = inside.run("grep -rlaF -- %s /etc /root /run /tmp /usr/local /var/log", secret).stdout.split()
        assert set(found) <= allowed
        assert inside.run(f"journalctl --output=export | grep -acF -- '{secret}'").stdout.strip() == "0"


# containerd


@pytest.mark.parametrize(
    ("program", "tool"),
    [
        ("containerd --version", "containerd"),
        ("crictl --version", "crictl"),
        ("kubeadm version --output=short", "kubernetes"),
        ("kubectl version --client", "kubernetes"),
        ("kubelet --version", "kubernetes"),
    ],
)
def test_a_program_has_the_pinned_version(inside: Host, program: str, tool: str) -> None:
    assert f"v{VERSIONS[tool]}" in inside.check_output(program)


def test_containerd_answers_crictl(inside: Host) -> None:
    assert f"RuntimeVersion:  v{VERSIONS['containerd']}" in inside.check_output("crictl version")


def test_containerd_has_its_settings(node: Node, inside: Host) -> None:
    settings = json.loads(inside.check_output("crictl info"))["config"]
    runc = settings["containerd"]["runtimes"]["runc"]["options"]
    assert runc["SystemdCgroup"] is node.host["variables"].get("containerd_systemd_cgroup", True)
    assert settings["cni"]["binDirs"] == ["/opt/cni/bin"]


@pytest.fixture(scope="module")
def image(node: Node, http: requests.Session) -> str:
    """An image in the registry: one empty layer."""
    empty = bytes(1024)  # the end of a tar archive, and nothing before it
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(empty).hexdigest()}"]},
    }).encode()  # fmt: skip
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": push(node, http, config, "application/vnd.oci.image.config.v1+json"),
        "layers": [push(node, http, empty, "application/vnd.oci.image.layer.v1.tar")],
    }
    http.put(
        f"https://{node.registry}/v2/cygnet/empty/manifests/1",
        data=json.dumps(manifest),
        headers={"Content-Type": media_type},
    ).raise_for_status()
    return f"{node.registry}/cygnet/empty:1"


def push(node: Node, http: requests.Session, blob: bytes, media_type: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    place = http.post(f"https://{node.registry}/v2/cygnet/empty/blobs/uploads/").headers["Location"]
    http.put(place, params={"digest": digest}, data=blob).raise_for_status()
    return {"mediaType": media_type, "digest": digest, "size": len(blob)}


def test_containerd_pulls_with_the_registrys_password(inside: Host, image: str) -> None:
    assert inside.run("crictl pull %s", image).rc == 0


# The registry


@pytest.fixture(scope="module")
def http(node: Node) -> Iterator[requests.Session]:
    """HTTP as the registry's user, trusting the stack's authority and nobody else."""
    authority = node.folder / "ca.crt"
    authority.write_text(node.variables["machines_ca_certificate"])
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(authority)
        session.auth = ("node", node.variables["registry_password"])
        yield session


@pytest.mark.parametrize(
    ("user", "password", "status"),
    [("node", None, 200), ("node", "wrong", 401), ("root", None, 401), (None, None, 401)],
)
def test_the_registry_lets_in_who_has_the_password(
    node: Node, http: requests.Session, user: str | None, password: str | None, status: int
) -> None:
    known = node.variables["registry_password"]
    http_auth = (user, password or known) if user else lambda request: request
    assert http.get(f"https://{node.registry}/v2/", auth=http_auth).status_code == status


def test_the_registry_speaks_no_plain_http(node: Node) -> None:
    assert requests.get(f"http://{node.registry}/v2/", timeout=5).status_code == 400


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize(("version", "accepted"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)])
def test_the_registry_speaks_modern_tls(node: Node, version: ssl.TLSVersion, accepted: bool) -> None:
    context = ssl.create_default_context(cadata=node.variables["machines_ca_certificate"])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    host, port = node.registry.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        try:
            context.wrap_socket(plain, server_hostname=host).close()
        except ssl.SSLError:
            assert not accepted
        else:
            assert accepted


def test_machines_trust_the_stacks_authority(node: Node, inside: Host) -> None:
    program = f"import urllib.request; urllib.request.urlopen('https://{node.registry}/')"
    assert inside.run("python3 -c %s", program).rc == 0


def test_a_new_password_takes_the_place_of_the_old(node: Node, http: requests.Session) -> None:
    new = "another-long-password"
    try:
        played = node.play(REGISTRY, registry_password=new)
        assert played.successful, played.failures
        assert http.get(f"https://{node.registry}/v2/", auth=("node", new)).status_code == 200
        assert http.get(f"https://{node.registry}/v2/").status_code == 401
    finally:
        node.play(REGISTRY)


# The software repository

SETUP = f"/cvmfs/{REPOSITORY}/stable/setup.sh"


def read(inside: Host, path: str = SETUP) -> str:
    return str(inside.check_output("cat %s", path))


def test_the_repository_is_mounted(inside: Host) -> None:
    assert read(inside) == "one"
    assert inside.mount_point(f"/cvmfs/{REPOSITORY}").filesystem.startswith("fuse")


def test_everybody_reads_it_and_nobody_writes(inside: Host) -> None:
    assert inside.check_output(f"runuser -u nobody -- cat {SETUP}") == "one"
    assert "Read-only file system" in inside.run(f"touch /cvmfs/{REPOSITORY}/x").stderr


def test_its_server_answers_machines_only(node: Node) -> None:
    answer = requests.get(f"http://{node.address}:8000/cvmfs/{REPOSITORY}/.cvmfspublished", timeout=5)
    assert answer.status_code == 403, "this host is none of the stack's machines"


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://{address}:8000/cvmfs/" + REPOSITORY + "/.cvmfspublished", 200),
        ("http://{address}:5000/v2/", 403),
        ("http://192.0.2.1:8000/cvmfs/x", 403),
    ],
)
def test_the_proxy_leads_to_the_servers_that_are_named(node: Node, inside: Host, url: str, status: int) -> None:
    program = f"""
import urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{"http": "http://{node.address}:3128"}}))
try:
    print(opener.open("{url.format(address=node.address)}", timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    assert inside.check_output("python3 -c %s", program) == str(status)


def test_the_proxy_answers_machines_only(node: Node) -> None:
    proxies = {"http": f"http://{node.address}:3128"}
    url = f"http://{node.address}:8000/cvmfs/{REPOSITORY}/.cvmfspublished"
    assert requests.get(url, proxies=proxies, timeout=5).status_code == 403


def test_a_new_revision_is_brought_and_followed(node: Node, inside: Host) -> None:
    played = node.play(SOFTWARE, **node.repository.publish("two"))
    assert played.successful, played.failures
    until(lambda: read(inside) == "two", "the machine has the new revision", seconds=10)


def test_a_client_that_was_killed_comes_back(inside: Host) -> None:
    inside.check_output(f"systemctl kill --signal=KILL swfs@{REPOSITORY}")
    until(lambda: inside.run("cat %s", SETUP).rc == 0, "the repository is mounted again", seconds=20)


def test_a_repository_of_another_key_is_refused_and_the_play_says_why(node: Node, inside: Host, tmp_path: Path) -> None:
    other = Repository(tmp_path, software.make_keys(REPOSITORY))
    (one,) = node.variables["cvmfs_repositories"]
    try:
        played = node.play(CVMFS, cvmfs_repositories=[{**one, "public_keys": [other.keys.master_public]}])
        assert not played.successful
        assert "the repository is not mounted" in played.failures
    finally:
        played = node.play(CVMFS)
    assert played.successful, played.failures
    assert read(inside)


def test_what_is_no_longer_named_is_unmounted(node: Node, inside: Host) -> None:
    try:
        assert node.play(CVMFS, cvmfs_repositories=[]).successful
        assert not inside.service(f"swfs@{REPOSITORY}").is_enabled
        assert inside.run("cat %s", SETUP).rc != 0
    finally:
        assert node.play(CVMFS).successful
    assert read(inside)


# The guard between pods and machines


@pytest.fixture(scope="module")
def pod(inside: Host) -> Iterator[str]:
    """A network namespace on the bridge of pods; gives the command with which a program runs in it."""
    made = """
        ip link add cni0 type bridge && ip address add 10.244.0.1/24 dev cni0 && ip link set cni0 up
        ip netns add pod && ip link add veth-pod type veth peer name eth0 netns pod
        ip link set veth-pod master cni0 up && ip -n pod address add 10.244.0.2/24 dev eth0
        ip -n pod link set eth0 up && ip -n pod link set lo up && ip -n pod route add default via 10.244.0.1
    """
    inside.check_output("set -e; " + "; ".join(line.strip() for line in made.strip().splitlines()))
    yield "ip netns exec pod python3 -c "
    inside.run("ip netns delete pod; ip link delete cni0")


@pytest.fixture(scope="module")
def addresses(node: Node, inside: Host, pod: str) -> dict[str, str]:
    """Of the machine, as a pod has them."""
    assert pod
    link = inside.check_output("ip -6 -brief address show dev cni0 scope link").split()[2].split("/")[0]
    return {"machine": node.address, "gateway": "10.244.0.1", "link-local": f"{link}%eth0", "cloud": "169.254.169.254"}


CLOSED = "TimeoutError"
PASSED = "ConnectionRefusedError"  # it came there, and there is no API server yet


@pytest.mark.parametrize(
    ("target", "outcome"),
    [
        (("machine", 22), CLOSED),
        (("machine", 3128), CLOSED),
        (("machine", 5000), CLOSED),
        (("machine", 8000), CLOSED),
        (("machine", 10250), CLOSED),
        (("gateway", 22), CLOSED),
        (("link-local", 22), CLOSED),
        (("cloud", 80), CLOSED),
        (("machine", 6443), PASSED),
    ],
)
def test_what_a_pod_reaches_of_a_machine(
    inside: Host, pod: str, addresses: dict[str, str], target: tuple[str, int], outcome: str
) -> None:
    program = f"""
import socket
try:
    socket.create_connection({(addresses[target[0]], target[1])}, timeout=2)
except OSError as error:
    print(type(error).__name__)
"""
    assert inside.check_output(f"{pod} %s", program) == outcome


def test_a_machine_reaches_its_pods(inside: Host, pod: str) -> None:
    listener = "import socket; socket.create_server((str(), 8888)).accept()"
    probe = "import socket, time; time.sleep(1); socket.create_connection(('10.244.0.2', 8888), timeout=2)"
    assert inside.run(f"{pod} %s & python3 -c %s", listener, probe).rc == 0


# What is done once in a machine's life

FAKE_KUBEADM = """#!/bin/sh
echo "$@" >> /root/fake/asked
case $1 in
    reset) rm -f /etc/kubernetes/kubelet.conf ;;
    *) [ ! -e /root/fake/broken ] || { echo 'what is wrong'; exit 1; }; touch /etc/kubernetes/kubelet.conf ;;
esac
"""


@pytest.fixture
def kubeadm(inside: Host) -> Iterator[str]:
    """The program that runs kubeadm once, with a kubeadm of ours that notes what it is asked."""
    script = (PLAYBOOKS / "roles/cluster/files/kubeadm.sh").read_text()
    inside.check_output("mkdir /root/fake")
    for name, text in (("kubeadm", FAKE_KUBEADM), ("once", script)):
        inside.check_output(f"printf %%s %s > /root/fake/{name} && chmod +x /root/fake/{name}", text)
    yield "PATH=/root/fake:$PATH once"
    inside.check_output("rm -rf /root/fake /etc/kubernetes/kubelet.conf /etc/kubernetes/.kubeadm-works")


def asked(inside: Host) -> list[str]:
    return str(inside.check_output("cat /root/fake/asked")).splitlines()


def test_kubeadm_runs_once(inside: Host, kubeadm: str) -> None:
    assert inside.check_output(f"{kubeadm} init --a=b") == "done"
    assert inside.check_output(f"{kubeadm} init --a=b") == ""
    assert asked(inside) == ["init --a=b"]


def test_a_kubeadm_that_failed_says_why_and_its_work_is_undone_before_the_next(inside: Host, kubeadm: str) -> None:
    inside.check_output("touch /root/fake/broken")
    failed = inside.run(f"{kubeadm} init")
    assert failed.rc == 1
    assert "what is wrong" in failed.stdout
    inside.check_output("rm /root/fake/broken")
    assert inside.check_output(f"{kubeadm} init") == "done"
    assert asked(inside) == ["init", "reset --force", "init"]


def test_a_machine_of_another_cluster_leaves_that_one(inside: Host, kubeadm: str) -> None:
    inside.check_output("touch /etc/kubernetes/kubelet.conf")
    assert inside.check_output(f"{kubeadm} --anew join") == "done"
    assert asked(inside) == ["reset --force", "join"]


# Mistakes


@pytest.mark.parametrize(
    ("playbook", "edited", "said"),
    [
        (MACHINES, {"machines_ca_certificate": "none"}, f"{NAME}: machines_ca_certificate is not a certificate in PEM"),
        (MACHINES, {"machines_packages": ["no-such-package"]}, f"{NAME} lacks the Debian packages no-such-package"),
        (MACHINES, {"machines_sysctls": "ip_forward"}, "'machines_sysctls' is of type str"),
        (CVMFS, {"cvmfs_client": "afs"}, "value of cvmfs_client must be one of: swfs, cvmfs2"),
        (SOFTWARE, {"software_store": "/nothing"}, "/nothing on the operator's machine has no published repository"),
        (REGISTRY, {"registry_password": "short"}, "registry_password of at least 12 characters"),
        (CLUSTER, {"tools": {"containerd": "/nothing"}}, "`tools` gives no path for bandwidth, bridge, "),
        (CLUSTER, {"containerd_systemd_cgroup": "maybe"}, "'containerd_systemd_cgroup' is of type str"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_is_named(node: Node, playbook: Path, edited: dict[str, Any], said: str) -> None:
    played = node.play(playbook, **edited)
    assert not played.successful
    assert said in played.failures
