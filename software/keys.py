"""The keys of a CVMFS repository: who may publish, and who vouches for the one who may.

The master key signs the whitelist, which names the certificate; the repository key, whose public half is in the
certificate, signs each revision. Clients have the master key's public half and nothing else.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

_BITS = 2048
# The whitelist is what expires; a certificate is replaced when its key is.
_CERTIFICATE_DAYS = 3650


@dataclass(frozen=True)
class Keys:
    """All that is needed to publish, as PEM: two private keys (PKCS #8, not encrypted) and the certificate."""

    master: str = field(repr=False)
    repository: str = field(repr=False)
    certificate: str

    @property
    def master_public(self) -> str:
        """What clients trust, as PEM."""
        return _public_pem(load(self.master))

    @property
    def fingerprint(self) -> str:
        """The certificate's SHA-1 as a whitelist writes it, `AB:CD:...`."""
        # CVMFS names certificates by SHA-1; what is signed with them does not depend on it.
        return x509.load_pem_x509_certificate(self.certificate.encode()).fingerprint(hashes.SHA1()).hex(":").upper()  # noqa: S303


def make_keys(fqrn: str, *, master: str | None = None) -> Keys:
    """Fresh keys for the repository of this fully qualified name; below a `master` key that it has, if one is given."""
    repository = _fresh()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{fqrn} CernVM-FS Release Managers")])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)  # clocks differ a little
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(repository.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=_CERTIFICATE_DAYS))
        .sign(repository, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Keys(master or _private_pem(_fresh()), _private_pem(repository), pem)


def load(private: str) -> rsa.RSAPrivateKey:
    """The key in a PEM text. Raises ValueError when there is none, or another kind of key."""
    key = serialization.load_pem_private_key(private.encode(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("CVMFS signs with RSA keys; this is another kind of key")
    return key


def _fresh() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)


def _private_pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public_pem(key: rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
