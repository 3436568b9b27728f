"""What a Hadoop with Kerberos is told: its services in a realm, that all is encrypted, and who may do what.

Principals have _HOST, as sites write them; of a loopback that is localhost. All containers of YARN run as its own user
here, for want of a program that root installs: this computer's files do not keep one user from another's.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from components import certificates
from tests.machines.kdc import REALM, Kdc

ADMINISTRATOR = "administrator-ticket"
"""The file with the ticket of HDFS's administrator: who the name node itself is."""
USERS = ("ada", "bob")
_STORE, _PASSWORD = "keystore.p12", "of this test alone"

CLIENTS: Mapping[str, Mapping[str, str]] = {
    "core_site": {"hadoop.security.authentication": "kerberos", "hadoop.rpc.protection": "privacy"},
    "hdfs_site": {
        "dfs.namenode.kerberos.principal": f"hdfs/_HOST@{REALM}",
        "dfs.data.transfer.protection": "privacy",
    },
    "yarn_site": {"yarn.resourcemanager.principal": f"yarn/_HOST@{REALM}"},
}
"""What its clients are told, in the words of a stack file."""


def own(kdc: Kdc, folder: Path, at: str, token_seconds: int) -> dict[str, Mapping[str, str]]:
    """What its daemons are told beyond what clients are, by file. Makes its services in the realm.

    Args:
        kdc: The realm.
        folder: Where keys go.
        at: Where daemons find that folder.
        token_seconds: How long they take the word that they give to whoever has shown a ticket.
    """
    for principal in ("hdfs/localhost", "yarn/localhost", "HTTP/localhost"):
        shutil.copy(kdc.keytab(principal), folder / f"{principal.partition('/')[0]}.keytab")
    for keytab in folder.glob("*.keytab"):
        keytab.chmod(0o644)
    # Theirs lasts as long as they do, whatever users get.
    (folder / "krb5.conf").write_text(kdc.told())
    kdc.ticket("hdfs/localhost", folder / "hdfs.keytab", folder / ADMINISTRATOR)
    _keystore(folder / _STORE)
    return {
        "core-site": {"hadoop.security.authorization": "true"},
        "hdfs-site": {
            **{f"dfs.{name}.kerberos.principal": f"hdfs/_HOST@{REALM}" for name in ("namenode", "datanode")},
            **{f"dfs.{name}.keytab.file": f"{at}/hdfs.keytab" for name in ("namenode", "datanode")},
            "dfs.web.authentication.kerberos.principal": f"HTTP/_HOST@{REALM}",
            "dfs.web.authentication.kerberos.keytab": f"{at}/HTTP.keytab",
            "dfs.block.access.token.enable": "true",
            "dfs.http.policy": "HTTPS_ONLY",
            "dfs.namenode.delegation.token.renew-interval": str(token_seconds * 1000),
            "dfs.namenode.delegation.token.max-lifetime": str(token_seconds * 1000),
        },
        "ssl-server": {
            "ssl.server.keystore.type": "pkcs12",
            "ssl.server.keystore.location": f"{at}/{_STORE}",
            "ssl.server.keystore.password": _PASSWORD,
            "ssl.server.keystore.keypassword": _PASSWORD,
        },
        "yarn-site": {
            **{f"yarn.{name}.principal": f"yarn/_HOST@{REALM}" for name in ("resourcemanager", "nodemanager")},
            **{f"yarn.{name}.keytab": f"{at}/yarn.keytab" for name in ("resourcemanager", "nodemanager")},
            "yarn.acl.enable": "true",
            "yarn.admin.acl": "yarn",
            "yarn.webapp.filter-entity-list-by-user": "true",
            # Where all of YARN's machines would have it in /etc.
            "yarn.nodemanager.admin-env": f"JDK_JAVA_OPTIONS=-Djava.security.krb5.conf={at}/krb5.conf",
        },
        "capacity-scheduler": {
            "yarn.scheduler.capacity.root.acl_submit_applications": " ",
            "yarn.scheduler.capacity.root.acl_administer_queue": " ",
            "yarn.scheduler.capacity.root.lab.acl_submit_applications": ",".join(USERS),
        },
    }


def _keystore(file: Path) -> None:
    """For HDFS's pages: without it HDFS shows nobody's data by unprivileged ports."""
    authority, authority_key = certificates.new_authority("of this test alone")
    chain, key = certificates.issue_certificate(["localhost"], authority=authority, authority_key=authority_key)
    own, *others = x509.load_pem_x509_certificates(chain.encode())
    private = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    encryption = serialization.BestAvailableEncryption(_PASSWORD.encode())
    file.write_bytes(pkcs12.serialize_key_and_certificates(b"hdfs", private, own, others, encryption))
    file.chmod(0o644)
