"""A real Kerberos realm on this computer: MIT's KDC as Debian has it, and an XRootD server that takes its tickets."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.sign_in.kerberos import KerberosConfig, krb5_conf
from tests.live.ports import HOST, free_ports, listens
from tests.live.waiting import until

REALM = "CYGNET.TEST"
_MASTER = "the realm's own"
_XROOTD = 1094  # the server refuses to run as root


class Kdc:
    """The realm. Its users are made with their passwords."""

    def __init__(self, folder: Path, *, host: str = HOST, **settings: float) -> None:
        """
        Args:
            folder: Empty, and open to other users of this computer.
            host: The address at which it answers.
            settings: Of `KerberosConfig`: how long tickets last.
        """
        self.folder = folder
        (self.port,), self._host = free_ports(1), host
        self.address = f"{host}:{self.port}"
        self.config = folder / "krb5.conf"
        self.config.write_text(self.told(**settings))
        (folder / "kdc.conf").write_text(
            f"[kdcdefaults]\n  kdc_listen = {self.address}\n  kdc_tcp_listen = {self.address}\n"
            f"[realms]\n  {REALM} = {{\n    database_name = {folder}/principal\n    key_stash_file = {folder}/stash\n"
            f"    acl_file = {folder}/acl\n    max_life = 1d\n    max_renewable_life = 7d\n"
            "    default_principal_flags = +preauth\n  }\n"
        )
        self.environment = {
            **os.environ, "KRB5_CONFIG": str(self.config), "KRB5_KDC_PROFILE": str(folder / "kdc.conf"), "LC_ALL": "C",
        }  # fmt: skip
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", _MASTER)
        self._process: subprocess.Popen[bytes] | None = None

    def told(self, **settings: float) -> str:
        """What programs are told of it, with these settings of `KerberosConfig`."""
        config = KerberosConfig.model_validate({"realm": REALM, "kdcs": [self.address], **settings})
        # By TCP alone, as the port is free there.
        return krb5_conf(config).replace("[libdefaults]\n", "[libdefaults]\n  udp_preference_limit = 1\n")

    def start(self) -> None:
        """It answers."""
        log = (self.folder / "kdc.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                ["krb5kdc", "-n", "-r", REALM], env=self.environment, stdout=log, stderr=log
            )
        until(lambda: listens(self.port, self._host), "the KDC answers", seconds=20, every=0.1)

    def stop(self) -> None:
        """It does not."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def administer(self, command: str) -> str:
        """What an administrator of the realm does, in kadmin's words."""
        return self._run("kadmin.local", "-r", REALM, "-q", command)

    def keytab(self, principal: str) -> Path:
        """A service of the realm, and the file with its key."""
        file = self.folder / f"{principal.replace('/', '-')}.keytab"
        self.administer(f"addprinc -randkey {principal}")
        self.administer(f"ktadd -k {file} {principal}")
        return file

    def ticket(self, principal: str, keytab: Path, file: Path) -> None:
        """A file with a ticket of whoever has that key; it lasts for hours, whatever users' do."""
        self._run("kinit", "-l", "10h", "-c", f"FILE:{file}", "-k", "-t", str(keytab), principal)
        file.chmod(0o644)

    def listed(self, cache: Path) -> str:
        """What klist says of a file of tickets."""
        return self._run("klist", "-f", "-c", str(cache))

    def _run(self, *argv: str) -> str:
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout


@contextmanager
def storage(kdc: Kdc) -> Iterator[str]:
    """An XRootD server that knows users by their tickets alone, and lets each into the own home; gives its address."""
    folder = kdc.folder / "xrootd"
    keytab = kdc.keytab("xrootd/localhost")
    for name in ("ada", "bob"):
        home = folder / "srv/eos/user" / name[0] / name
        home.mkdir(parents=True)
        (home / "note").write_text(f"{name}'s\n")
    (folder / "run").mkdir()
    (folder / "authdb").write_text("".join(f"u {name} /eos/user/{name[0]}/{name} a\n" for name in ("ada", "bob")))
    (port,) = free_ports(1)
    (folder / "xrootd.cfg").write_text(f"""
        all.export /eos nolock r/w
        oss.localroot {folder}/srv
        xrd.port {port}
        xrd.network nodnr
        all.adminpath {folder}/run
        all.pidpath {folder}/run
        xrootd.seclib libXrdSec.so
        sec.protocol krb5 {keytab} xrootd/localhost@{REALM}
        sec.protbind * only krb5
        ofs.authorize 1
        acc.authdb {folder}/authdb
    """)
    for file in (folder, keytab, *folder.rglob("*")):
        os.chown(file, _XROOTD, _XROOTD)
    argv = ["xrootd", "-I", "v4", "-c", str(folder / "xrootd.cfg"), "-n", "test", "-l", str(folder / "log")]
    silent = subprocess.DEVNULL
    with subprocess.Popen(
        argv,
        env=kdc.environment,
        user=_XROOTD,
        group=_XROOTD,
        extra_groups=[],
        cwd=folder,
        stdout=silent,
        stderr=silent,
    ) as process:  # fmt: skip
        try:
            until(lambda: listens(port), "XRootD answers", seconds=60, every=0.1)
            yield f"localhost:{port}"
        finally:
            process.kill()
