"""A real Kubernetes API on this computer: etcd and kube-apiserver as processes, with RBAC, and without machines."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from components.certificates import issue_certificate, new_authority
from engine import tools
from tests.live.ports import HOST, free_ports, listens
from tests.live.waiting import until

ADMINISTRATOR = "of-the-administrator"


class KubernetesApi:
    """Its users have tokens, or certificates of its authority."""

    def __init__(self, folder: Path, tokens: Mapping[str, str]) -> None:
        """
        Args:
            folder: Empty.
            tokens: User of each token.
        """
        self.folder = folder
        self.port, self._etcd_port, peer_port = free_ports(3)
        authority, authority_key = new_authority("kubernetes")
        certificate, key = issue_certificate([HOST], authority=authority, authority_key=authority_key)
        users = {ADMINISTRATOR: 'root,0,"system:masters"', **{one: f"{user},{user}" for one, user in tokens.items()}}
        written = {
            "ca.crt": authority, "ca.key": authority_key, "server.crt": certificate, "server.key": key,
            "tokens.csv": "".join(f"{token},{user}\n" for token, user in users.items()),
        }  # fmt: skip
        for name, text in written.items():
            (folder / name).write_text(text)
        at = f"http://{HOST}:{self._etcd_port}"
        self._etcd = [
            str(tools.path("etcd")), f"--data-dir={folder}/etcd", f"--listen-client-urls={at}", "--unsafe-no-fsync",
            f"--advertise-client-urls={at}", f"--listen-peer-urls=http://{HOST}:{peer_port}", "--log-level=error",
        ]  # fmt: skip
        self._server = [
            str(tools.path("kube-apiserver")), f"--etcd-servers={at}", f"--bind-address={HOST}",
            # It would look for an address of this computer; nobody asks who it is.
            f"--secure-port={self.port}", "--advertise-address=192.0.2.1", f"--tls-cert-file={folder}/server.crt",
            f"--tls-private-key-file={folder}/server.key", f"--client-ca-file={folder}/ca.crt",
            f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes", f"--service-account-key-file={folder}/server.crt",
            f"--service-account-signing-key-file={folder}/server.key", "--service-cluster-ip-range=10.96.0.0/24",
        ]  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """It answers."""
        for argv, port in ((self._etcd, self._etcd_port), (self._server, self.port)):
            with (self.folder / "log").open("ab") as log:
                self._processes.append(subprocess.Popen(argv, stdout=log, stderr=log))
            until(lambda port=port: listens(port), f"{argv[0]} listens", seconds=60, every=0.1)
        until(lambda: self.kubectl("get", "--raw=/readyz") == "ok", "it is ready", seconds=60, through=AssertionError)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"https://{HOST}:{self.port}"

    @property
    def processes(self) -> dict[str, int]:
        """Ids of its programs, while it answers."""
        return dict(zip(("etcd", "kube-apiserver"), (one.pid for one in self._processes), strict=True))

    def stop(self) -> None:
        """It does not; what it keeps, it keeps."""
        while self._processes:
            process = self._processes.pop()
            process.kill()
            process.wait()

    def kubectl(self, *arguments: str, token: str = ADMINISTRATOR, stdin: str = "") -> str:
        """What kubectl prints, for the administrator, or whoever has this token."""
        file = self.kubeconfig(token)
        argv = [str(tools.path("kubectl")), f"--kubeconfig={file}", *arguments]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *manifests: Mapping[str, Any]) -> None:
        """Makes objects."""
        self.kubectl(
            "apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        )

    def kubeconfig(self, token: str) -> Path:
        """The file with which a client comes."""
        file = self.folder / f"{token}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": f"{self.folder}/ca.crt"}
        file.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "it", "cluster": cluster}],
                    "users": [{"name": "me", "user": {"token": token}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
                    "current-context": "it",
                }
            )
        )
        return file

    def certificate(self, user: str, groups: Sequence[str]) -> Path:
        """A certificate and its key in one file, as the kubelet has them."""
        request, made = self.folder / "request.pem", self.folder / f"{user.replace(':', '-')}.pem"
        subject = "".join(f"/O={group}" for group in groups) + f"/CN={user}"
        _openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
            "-keyout", f"{made}.key", "-out", str(request),
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", str(request), "-CA", f"{self.folder}/ca.crt", "-CAkey", f"{self.folder}/ca.key",
            "-CAcreateserial", "-days", "1", "-out", f"{made}.crt",
        )  # fmt: skip
        made.write_text(Path(f"{made}.crt").read_text() + Path(f"{made}.key").read_text())
        return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
