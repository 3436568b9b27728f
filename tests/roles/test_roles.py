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
from testinfra.backend.base import CommandResult
from testinfra.host import Host

import software
from components.playbook import PLAYBOOKS
from components.secrets import new_ssh_key
from components.sign_in.user_ids import user_id
from engine.versions import VERSIONS
from tests.live.waiting import until
from tests.roles import gpus
from tests.roles.conftest import Prepared
from tests.roles.node import NAME, REPOSITORY, Node, Repository, secret_texts

MACHINES, REGISTRY, CLUSTER, SOFTWARE, CVMFS, EOS = (
    PLAYBOOKS / f"{name}.yml" for name in ("machines", "registry", "cluster", "software", "cvmfs", "eos")
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
    assert lines == [
        ["127.0.0.1", "localhost"],
        ["::1", "localhost", *lines[1][2:]],
        [node.address, NAME],
        [f"::ffff:{node.address}", NAME],
    ]


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
    "service",
    [
        "containerd",
        "cygnet-guard",
        "cygnet-xrootd-guard",
        "docker-registry",
        "nginx",
        "squid",
        f"swfs@{REPOSITORY}",
        "ssh",
        "xrdmount@opendata",
        "xrdmount@user",
        "xrootd@cygnet",
    ],
)
def test_a_service_runs_and_starts_by_itself(inside: Host, service: str) -> None:
    assert inside.service(service).is_running
    assert inside.service(service).is_enabled


def test_the_kubelet_waits_for_a_cluster(inside: Host) -> None:
    assert inside.service("kubelet").is_enabled
    assert not inside.service("kubelet").is_running


def test_no_unit_has_failed(inside: Host) -> None:
    assert inside.check_output("systemctl list-units --state=failed --plain --no-legend") == ""


def test_the_operators_former_key_opens_nothing_and_others_stay(node: Node, inside: Host) -> None:
    (_, own), (_, former), (_, colleagues) = (new_ssh_key(name) for name in ("operator", "former", "colleague"))
    inside.check_output("printf '%%s\\n' %s >>/root/.ssh/authorized_keys", f"{former}\n{colleagues}")
    edited = {
        "machines_operator_key": own,
        "machines_former_operator_keys": [" ".join(former.split()[:2])],
    }
    for changed in (2, 0):
        assert node.play(MACHINES, **edited).changed == changed
    known = inside.file("/root/.ssh/authorized_keys").content_string
    assert (own in known, former in known, colleagues in known) == (True, False, True)


@pytest.mark.parametrize(
    ("path", "mode", "group"),
    [
        ("/etc/containerd/certs.d/{registry}/hosts.toml", 0o600, "root"),
        ("/etc/docker/registry/htpasswd", 0o640, "docker-registry"),
        ("/etc/docker/registry/tls.key", 0o640, "docker-registry"),
        ("{key}", 0o600, "root"),
        ("/etc/cygnet/xrootd/authdb", 0o640, "xrootd"),
    ],
)
def test_a_file_with_a_secret_is_closed(node: Node, inside: Host, path: str, mode: int, group: str) -> None:
    file = inside.file(path.format(registry=node.registry, key=node.key))
    assert (file.mode, file.user, file.group) == (mode, "root", group)


def test_no_secret_stands_where_it_does_not_belong(node: Node, inside: Host) -> None:
    allowed = {
        f"/etc/containerd/certs.d/{node.registry}/hosts.toml", "/etc/docker/registry/tls.key",
        node.key, "/etc/cygnet/xrootd/sss.keytab",
    }  # fmt: skip
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
    assert read(inside, f"/cvmfs/{REPOSITORY}/stable-one/setup.sh") == "one"


def test_what_no_revision_needs_is_taken_from_the_server(node: Node, inside: Host) -> None:
    folder = f"/var/lib/cygnet-software/cvmfs/{REPOSITORY}"
    inside.check_output(f"mkdir -p {folder}/data/zz && touch {folder}/data/zz/old")
    published = node.repository.publish("two")
    played = node.play(SOFTWARE, **published)
    assert played.successful, played.failures
    assert played.changed == 1
    store = Path(published["software_store"])
    stored = {str(file.relative_to(store)) for file in (store / "data").rglob("*") if file.is_file()}
    assert set(inside.check_output(f"cd {folder} && find data -type f").splitlines()) == stored
    assert read(inside) == "two"


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


# Homes and experiment data


def as_user(inside: Host, name: str, command: str) -> CommandResult:
    """What a session's user would see of a command."""
    return inside.run(f"setpriv --reuid={user_id(name)} --regid=100 --clear-groups sh -c %s", command)


ADA = "/eos/user/a/ada"


def test_a_home_is_its_users_alone(inside: Host) -> None:
    assert as_user(inside, "ada", f"echo mine > {ADA}/file && cat {ADA}/file").stdout == "mine\n"
    for other in ("adam", "bob"):
        for command in (f"cat {ADA}/file", f"ls {ADA}", f"touch {ADA}/other", f"mv {ADA}/file {ADA}/x"):
            assert "Permission denied" in as_user(inside, other, command).stderr, (other, command)
    assert "Permission denied" in inside.run(f"cat {ADA}/file").stderr, "root of a machine is nobody there"
    assert "Permission denied" in inside.run(f"runuser -u nobody -- cat {ADA}/file").stderr


def test_all_files_belong_to_the_server(inside: Host) -> None:
    file = inside.file("/srv/eos/user/a/ada/file")
    assert (file.uid, file.gid) == (1094, 1094)
    assert inside.file("/srv/eos/user/a").uid == 0, "the server cannot remove a home"


def test_a_user_cannot_remove_the_home_itself(inside: Host) -> None:
    assert as_user(inside, "bob", "rmdir /eos/user/b/bob").rc != 0
    assert inside.file("/srv/eos/user/b/bob").is_directory


def test_data_is_opened_by_groups(inside: Host) -> None:
    assert as_user(inside, "bob", "echo open > /eos/opendata/file").rc == 0
    assert as_user(inside, "ada", "echo raw > /eos/raw/file").rc == 0
    assert as_user(inside, "adam", "cat /eos/opendata/file && ls /eos/opendata").stdout == "open\nfile\n"
    for name, command in (
        ("adam", "touch /eos/opendata/mine"),
        ("adam", "ls /eos/raw"),
        ("adam", "cat /eos/raw/file"),
        ("bob", "cat /eos/raw/file"),
    ):
        assert "Permission denied" in as_user(inside, name, command).stderr, (name, command)


def test_a_full_home_says_so_and_others_go_on(inside: Host) -> None:
    fill = "dd if=/dev/zero of=/eos/user/b/bob/big bs=1M count=80"
    assert "Disk quota exceeded" in as_user(inside, "bob", fill).stderr
    assert as_user(inside, "ada", f"dd if=/dev/zero of={ADA}/big bs=1M count=10 && rm {ADA}/big").rc == 0
    assert as_user(inside, "bob", "rm /eos/user/b/bob/big && echo well > /eos/user/b/bob/x").rc == 0


def test_a_home_tells_what_it_may_hold(inside: Host) -> None:
    size = f"df --block-size=1 --output=size {ADA} | tail -n 1"
    until(lambda: as_user(inside, "ada", size).stdout.strip() == str(2**26), "the quota is told", seconds=40)


def test_another_quota_is_set_and_a_home_stays_when_its_user_goes(node: Node, inside: Host) -> None:
    try:
        played = node.play(EOS, xrootd_home_gib=0.125, xrootd_users={"adam": [], "eve": []})
        assert played.successful, played.failures
        shown = inside.check_output("btrfs qgroup show -r --raw /srv/eos")
        limits = {line.split()[-1]: line.split()[3] for line in shown.splitlines() if "user/" in line}
        assert (limits["user/a/adam"], limits["user/e/eve"]) == (str(2**27), str(2**27))
        assert inside.file("/srv/eos/user/a/ada/file").content_string == "mine\n"
    finally:
        node.play(EOS)


TELL = """
import json, pathlib, sys
file = pathlib.Path("/etc/cygnet/eos/users.json")
eve = {"uid": int(sys.argv[1]), "home": "/eos/user/e/eve", "guest": True, "groups": ["atlas"]}
file.write_text(json.dumps(json.loads(file.read_text()) | {"eve": eve}))
"""


def test_a_guest_has_a_home_that_nobody_named(node: Node, inside: Host) -> None:
    """There is no Kubernetes on this machine; what the hub says is here as if it had been read."""
    guests = {"eos_guests": {"api": f"{node.address}:6443", "list": "eos/guests"}, "xrootd_guests": True}
    hers = "/eos/user/e/eve"
    try:
        played = node.play(EOS, **guests)
        assert played.successful, played.failures
        assert node.play(EOS, **guests).changed == 0
        until(
            lambda: "Kubernetes does not tell who comes" in inside.check_output("journalctl -u cygnet-guests"),
            "it misses Kubernetes", seconds=20,
        )  # fmt: skip
        # The server looks at who may do what once a minute, and ada was taken out before.
        inside.check_output("systemctl restart xrootd@cygnet")
        known = f"echo mine > {ADA}/file && cat {ADA}/file"
        until(lambda: as_user(inside, "ada", known).stdout == "mine\n", "and goes on with whom it knows", seconds=70)
        inside.check_output("python3 -c %s %s", TELL, str(user_id("eve")))
        inside.check_output("systemctl start cygnet-homes-now")
        wrote = f"echo hers > {hers}/file && cat {hers}/file"
        until(lambda: as_user(inside, "eve", wrote).stdout == "hers\n", "she has a home", seconds=10)
        for command in (f"cat {ADA}/file", "ls /eos/user", "touch /eos/user/e/other"):
            assert "Permission denied" in as_user(inside, "eve", command).stderr, command
        inside.check_output("systemctl restart cygnet-guests")
        assert as_user(inside, "eve", f"cat {hers}/file").stdout == "hers\n", "known without asking"
    finally:
        assert node.play(EOS).successful
    assert not inside.service("cygnet-guests").is_running
    assert "Permission denied" in as_user(inside, "eve", f"cat {hers}/file").stderr
    assert inside.file("/srv/eos/user/e/eve/file").content_string == "hers\n"


def test_the_server_answers_machines_only(node: Node) -> None:
    with pytest.raises(TimeoutError):
        socket.create_connection((node.address, 1094), timeout=2)


def test_another_key_opens_nothing(node: Node, inside: Host) -> None:
    key = "0 u:anybody g:usrgroup n:cygnet N:1 c:1 e:0 f:0 k:" + "ab" * 32
    asked = f"export XrdSecSSSKT=/root/other; timeout 20 xrdfs {node.address}:1094 ls {ADA}/"
    done = inside.run(f"umask 077; echo '{key}' > /root/other; {asked}; status=$?; rm /root/other; exit $status")
    assert done.rc != 0
    assert "Auth failed" in done.stderr + done.stdout


def test_a_client_of_homes_that_was_killed_comes_back(inside: Host) -> None:
    inside.check_output("systemctl kill --signal=KILL xrdmount@user")
    until(lambda: as_user(inside, "ada", f"cat {ADA}/file").rc == 0, "homes are mounted again", seconds=20)


RECORDS = """
import os, sys, time
with open(sys.argv[1], "wb", buffering=0) as file:
    for number in range(200):
        file.write(number.to_bytes(4, "big") * 256)
        os.fsync(file.fileno())
        time.sleep(0.02)
"""


def test_a_server_that_is_killed_during_a_write_loses_nothing(inside: Host) -> None:
    writer = f"setpriv --reuid={user_id('ada')} --regid=100 --clear-groups python3 -c %s {ADA}/records"
    done = inside.run(f"{writer} & sleep 1.5; systemctl kill --signal=KILL xrootd@cygnet; wait $!", RECORDS)
    assert done.rc == 0, done.stderr
    written = as_user(inside, "ada", f"sha256sum {ADA}/records").stdout.split()[0]
    assert written == hashlib.sha256(b"".join(number.to_bytes(4, "big") * 256 for number in range(200))).hexdigest()


def test_data_that_is_no_longer_named_is_unmounted_and_stays(node: Node, inside: Host) -> None:
    homes = [mount for mount in node.variables["eos_mounts"] if mount["name"] == "user"]
    try:
        assert node.play(EOS, eos_mounts=homes, xrootd_data={}).successful
        assert not inside.mount_point("/eos/raw").exists
        assert inside.file("/srv/eos/raw/file").content_string == "raw\n"
    finally:
        assert node.play(EOS).successful


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
        (("machine", 1094), CLOSED),
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
        (EOS, {"eos_keytab": "none"}, "eos_keytab is not a line of an sss keytab"),
        (EOS, {"eos_client": "afs"}, "value of eos_client must be one of: xrdmount, eosxd"),
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


# GPUs

GPU = PLAYBOOKS / "gpu.yml"
NON_FREE = "contrib non-free non-free-firmware"
OF_NVIDIA = [file for file in Path("/sys/bus/pci/devices").glob("*/vendor") if file.read_text() == "0x10de\n"]


def refused(node: Node, *, on_pci: bool = False, **given: Any) -> str:
    """Why a machine that is said to have GPUs is refused."""
    played = gpus.with_gpus(node, on_pci=on_pci, **given).play(GPU)
    assert not played.successful
    return played.failures


@pytest.mark.nightly
@pytest.mark.skipif(bool(OF_NVIDIA), reason="this computer has a device of NVIDIA's")
def test_a_machine_without_a_gpu_is_refused(node: Node) -> None:
    words = refused(node, on_pci=True, count=2)
    assert "has no GPU of NVIDIA's on its PCI bus" in words
    assert "the stack says that it has 2" in words
    assert "driver: none" in words


@pytest.mark.nightly
@pytest.mark.parametrize(
    "source",
    [
        ("deb.list", "deb http://192.0.2.1/debian bookworm main\n"),
        ("deb.sources", "Types: deb\nURIs: http://192.0.2.1/debian\nSuites: bookworm\nComponents: main\n"),
    ],
    ids=["one line", "deb822"],
)
def test_sources_of_packages_without_the_driver_are_refused_and_the_command_cures_them(
    node: Node, inside: Host, source: tuple[str, str]
) -> None:
    name, text = source
    kept = "mkdir /root/apt && mv /etc/apt/sources.list* /root/apt && mkdir /etc/apt/sources.list.d"
    inside.check_output(kept)
    try:
        gpus.write(inside, f"/etc/apt/sources.list.d/{name}", text)
        words = " ".join(refused(node, driver="install").split())
        assert f"of which the machine's sources of packages have nothing: {NON_FREE.replace(' ', ', ')}" in words
        command, _ = words.partition("main by: ")[2].split(" && apt-get update")
        inside.check_output(command)
        assert inside.file(f"/etc/apt/sources.list.d/{name}").content_string == text.replace("main", f"main {NON_FREE}")
    finally:
        inside.check_output("rm -rf /etc/apt/sources.list* && mv /root/apt/* /etc/apt && rmdir /root/apt")


@pytest.mark.nightly
def test_a_driver_that_is_said_to_be_there_and_is_not_is_missed(node: Node) -> None:
    words = refused(node, driver="present")
    assert "NVIDIA's driver does not work; nvidia-smi says" in words
    assert "Give it an image that has, or say driver: install." in words


@pytest.mark.nightly
def test_a_machine_that_has_fewer_gpus_than_the_stack_says_is_refused(node: Node, inside: Host) -> None:
    gpus.write(inside, "/usr/local/bin/nvidia-smi", gpus.SMI)
    inside.check_output("chmod 755 /usr/local/bin/nvidia-smi")
    try:
        assert "has 1 GPU(s), 2 of them told by the stack" in refused(node, driver="present", count=2)
    finally:
        inside.check_output("rm /usr/local/bin/nvidia-smi /etc/modprobe.d/cygnet-gpu.conf")


@pytest.fixture(scope="module")
def with_gpu(node: Node, inside: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The machine with a kubelet, and something that answers as NVIDIA's driver would."""
    with gpus.driver(inside, tmp_path_factory.mktemp("driver")), gpus.kubelet(inside):
        one = gpus.with_gpus(node, driver="present")
        played = one.play(GPU, **gpus.tool_variables())
        assert played.successful, played.failures
        yield one
    inside.run("systemctl disable --now nvidia-device-plugin")


@pytest.mark.nightly
def test_the_device_plugin_tells_the_kubelet_of_the_gpu(with_gpu: Node, inside: Host) -> None:
    assert gpus.registered(inside) == {"nvidia.com/gpu": [gpus.UUID]}
    assert with_gpu.play(GPU, **gpus.tool_variables()).changed == 0
    pid = inside.check_output("systemctl show nvidia-device-plugin --property=MainPID --value")
    assert "CapEff:\t0000000000000000" in inside.check_output(f"cat /proc/{pid}/status")


@pytest.mark.nightly
def test_a_container_that_asks_for_a_gpu_has_it_and_another_one_has_nothing(with_gpu: Node, inside: Host) -> None:
    image = gpus.push_pause(with_gpu)
    pids = {
        name: gpus.run_pod(inside, name, image, limits)
        for name, limits in (("asks", {"nvidia.com/gpu": "1"}), ("does-not", {"memory": "64Mi"}))
    }
    wanted = ("dev/nvidia0", f"{gpus.LIBRARIES[1:]}/libcuda.so.{gpus.DRIVER}", "usr/local/bin/nvidia-smi")
    found = {name: [inside.file(f"/proc/{pid}/root/{file}").exists for file in wanted] for name, pid in pids.items()}
    assert found == {"asks": [True, True, True], "does-not": [False, False, False]}


@pytest.mark.nightly
def test_a_gpu_that_is_cut_in_time_is_told_as_many(with_gpu: Node, inside: Host) -> None:
    played = gpus.with_gpus(with_gpu, driver="present", slices=4).play(GPU, **gpus.tool_variables())
    assert played.successful, played.failures
    slices = gpus.registered(inside)["nvidia.com/gpu"]
    assert sorted(slices) == [f"{gpus.UUID}::{number}" for number in range(4)]


@pytest.mark.nightly
def test_a_gpu_that_is_unwell_is_offered_no_more(with_gpu: Node, inside: Host) -> None:
    assert with_gpu
    inside.check_output(f"touch {gpus.UNWELL}")
    until(lambda: not gpus.registered(inside)["nvidia.com/gpu"], "the kubelet has heard of it", seconds=90, every=1)
