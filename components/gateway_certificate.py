"""The certificate under which the gateway answers: of the stack's own authority, from files, or got by ACME.

Whatever kind it is, the stack's own authority vouches for addresses and for `localhost`, the end of a tunnel. Caddy
itself issues and renews for host names, with an issuer of that authority which can vouch for these names only; what is
for addresses is renewed by an update of the stack, as Caddy makes a certificate for one name at a time and a browser
that connects to an address does not say which.
"""

import datetime as dt
import ipaddress
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from pydantic import Field, SecretStr, model_validator

from components.base import PartConfig

ISSUER = "local"  # what Caddy calls its own authority: under another name it would make one more, and trust it
AUTHORITY_FILE, ISSUER_FILE, ISSUER_KEY_FILE = "authority.crt", "issuer.crt", "issuer.key"
ACME_AUTHORITY_FILE = "acme.crt"  # who vouches for the ACME directory
STATE = "/data"  # what an ACME authority gave is kept there; the rest goes with the pod
RENEWED_DAYS = 30
"""Days that a certificate lasts which Caddy makes with the stack's issuer; it makes another ten days before."""

_PROJECT = Path(__file__).resolve().parent.parent
_BEGIN = "-----BEGIN "


class CertificateConfig(PartConfig):
    """What a stack says about the gateway's certificate, under `cygnet:gateway.certificate`."""

    kind: Annotated[
        Literal["own", "files", "acme"],
        Field(
            description="own: of the stack's own authority; files: one that you have; acme: Caddy asks an authority "
            "for it, and renews it"
        ),
    ] = "own"
    chain: Annotated[
        str | None,
        Field(description="The certificate and those between it and its authority: PEM, or the path of a file of it"),
    ] = None
    key: Annotated[SecretStr | None, Field(description="Its private key as PEM, without a passphrase; a secret")] = None
    key_file: Annotated[
        str | None, Field(description="In place of key: the path of a file of it, from the project's folder")
    ] = None
    directory: Annotated[
        str, Field(pattern=r"^https://[\w.-]+(:\d+)?/\S*$", description="The directory of the ACME authority")
    ] = "https://acme-v02.api.letsencrypt.org/directory"
    email: Annotated[
        str | None, Field(pattern=r"^\S+@\S+$", description="Where that authority tells what concerns the certificate")
    ] = None
    eab_key_id: Annotated[
        str | None, Field(description="The account that the authority gave you beforehand (EAB), where it wants one")
    ] = None
    eab_key: Annotated[
        SecretStr | None, Field(description="The key of that account, as the authority gave it; a secret")
    ] = None
    challenge: Annotated[
        Literal["http-01", "tls-alpn-01"],
        Field(
            description="How the authority sees that the name is yours: http-01: at port 80 of it; tls-alpn-01: at 443"
        ),
    ] = "http-01"
    authority: Annotated[
        str | None,
        Field(description="Who vouches for the directory itself, where that is not public: PEM, or the path of a file"),
    ] = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "CertificateConfig":
        for field, kind in _FOR_KINDS.items():
            if field in self.model_fields_set and self.kind != kind:
                raise ValueError(f"{field} is for kind {kind}; remove it, or set that kind")
        if self.kind == "files" and (self.chain is None or (self.key is None) == (self.key_file is None)):
            raise ValueError("kind files needs chain, and one of key and key_file")
        if (self.eab_key_id is None) != (self.eab_key is None):
            raise ValueError("an account with the authority needs both: eab_key_id and eab_key")
        return self

    @model_validator(mode="after")
    def _files_can_be_read(self) -> "CertificateConfig":
        for field, name in {"chain": self.chain, "key_file": self.key_file, "authority": self.authority}.items():
            if name:
                try:
                    text(name)
                except (OSError, UnicodeError) as error:
                    raise ValueError(
                        f"{field}: {name[:100]} cannot be read: {error}; name a file of PEM, by its path from the "
                        "project's folder or from /"
                    ) from None
        return self


_FOR_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("chain", "key", "key_file"), "files"),
    **dict.fromkeys(("directory", "email", "eab_key_id", "eab_key", "challenge", "authority"), "acme"),
}


def text(given: str) -> str:
    """The PEM itself, of PEM or of a file's path from the project's folder. Raises OSError or UnicodeError."""
    return given if given.startswith(_BEGIN) else (_PROJECT / given).read_text(encoding="ascii")


def key_text(config: CertificateConfig) -> str:
    """The private key of kind files, as PEM. Raises OSError or UnicodeError."""
    return config.key.get_secret_value() if config.key else text(config.key_file or "")


def fault(config: CertificateConfig, hostname: str | None, now: dt.datetime | None = None) -> str | None:
    """Why browsers, or an authority, would refuse what a stack says of its certificate, and the cure; None: nothing."""
    if config.kind == "own":
        return None
    if hostname is None or _is_address(hostname):
        return f"a certificate of kind {config.kind} is for a host name; give it in hostname"
    if config.kind == "acme":
        return None
    try:
        chain = x509.load_pem_x509_certificates(text(config.chain or "").encode())
        key = serialization.load_pem_private_key(key_text(config).encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # its own words would be of ASN.1
        return "certificate.chain or its key is no PEM; the key must be without a passphrase"
    return _fault_of(chain, key.public_key(), hostname, now or dt.datetime.now(dt.UTC))


def _fault_of(chain: Sequence[x509.Certificate], public_key: Any, hostname: str, now: dt.datetime) -> str | None:
    leaf = chain[0]
    if leaf.public_key() != public_key:
        return "the key is not that of the first certificate in certificate.chain; give the pair that belongs together"
    names = host_names(leaf)
    if not any(covers(name, hostname) for name in names):
        return f"certificate.chain is for {', '.join(names) or 'no host'}, not for {hostname}; correct one of the two"
    if now >= leaf.not_valid_after_utc:
        return f"certificate.chain has ended ({leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC); give a newer one"
    if now < leaf.not_valid_before_utc:
        return (
            f"certificate.chain begins at {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only; give one that is valid"
        )
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            return (
                f"certificate.chain has {upper.subject.rfc4514_string()} after {lower.subject.rfc4514_string()}, which "
                "it did not issue; let each be followed by its issuer"
            )
    return None


def host_names(certificate: x509.Certificate) -> list[str]:
    """The host names that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)


def covers(name: str, hostname: str) -> bool:
    """Whether a certificate's name is that of a host; a star stands for one label.

    >>> covers("*.example.org", "swan.example.org"), covers("*.example.org", "a.swan.example.org")
    (True, False)
    """
    first, _, rest = name.lower().partition(".")
    return name.lower() == hostname or (first == "*" and hostname.partition(".")[2] == rest)


def addresses(names: Sequence[str]) -> list[str]:
    """Those of the gateway's names that are addresses.

    >>> addresses(["swan.example.org", "192.0.2.7", "localhost", "127.0.0.1"])
    ['192.0.2.7', '127.0.0.1']
    """
    return [name for name in names if _is_address(name)]


def own_hosts(config: CertificateConfig, names: Sequence[str], hostname: str | None) -> list[str]:
    """The host names of the gateway for which the stack's own authority vouches: all that nobody else does.

    >>> own_hosts(CertificateConfig(kind="acme"), ["swan.example.org", "192.0.2.7", "localhost"], "swan.example.org")
    ['localhost']
    """
    return [name for name in names if not _is_address(name) and (config.kind == "own" or name != hostname)]


def caddy_apps(
    config: CertificateConfig,
    hostname: str | None,
    hosts: Sequence[str],
    *,
    folder: str,
    for_addresses: Mapping[str, str],
    http_port: int,
    https_port: int,
) -> dict[str, Any]:
    """What Caddy's settings say of certificates: its apps `tls` and `pki`.

    Args:
        config: What the stack says.
        hostname: The name in users' address bar.
        hosts: Names for which the stack's own authority vouches.
        folder: Where Caddy has the authority and its issuer, in files.
        for_addresses: The one for all addresses, by "certificate" (with its chain) and "key", both PEM.
        http_port: Where Caddy itself listens, for the challenge http-01.
        https_port: Likewise, for tls-alpn-01.
    """
    loaded, managed = [dict(for_addresses)], list(hosts)
    lifetime = f"{RENEWED_DAYS * 24}h"
    policies = [{"subjects": list(hosts), "issuers": [{"module": "internal", "ca": ISSUER, "lifetime": lifetime}]}]
    if config.kind == "files":
        loaded.append({"certificate": text(config.chain or ""), "key": key_text(config)})
    if config.kind == "acme" and hostname is not None:
        managed.append(hostname)
        issuer = _acme(config, folder, http_port=http_port, https_port=https_port)
        kept = {"module": "file_system", "root": STATE}
        policies.append({"subjects": [hostname], "issuers": [issuer], "storage": kept})
    pair = {"certificate": f"{folder}/{ISSUER_FILE}", "private_key": f"{folder}/{ISSUER_KEY_FILE}"}
    authority = {"install_trust": False, "root": {"certificate": f"{folder}/{AUTHORITY_FILE}"}, "intermediate": pair}
    return {
        "tls": {
            "certificates": {"load_pem": loaded, "automate": managed},
            "automation": {"policies": policies},
        },
        "pki": {"certificate_authorities": {ISSUER: authority}},
    }


def _acme(config: CertificateConfig, folder: str, *, http_port: int, https_port: int) -> dict[str, Any]:
    by_http = config.challenge == "http-01"
    account = {"key_id": config.eab_key_id, "mac_key": config.eab_key.get_secret_value()} if config.eab_key else None
    return {
        "module": "acme",
        "ca": config.directory,
        **({"external_account": account} if account else {}),
        **({"email": config.email} if config.email else {}),
        **({"trusted_roots_pem_files": [f"{folder}/{ACME_AUTHORITY_FILE}"]} if config.authority else {}),
        "challenges": {
            "http": {"alternate_port": http_port} if by_http else {"disabled": True},
            "tls-alpn": {"disabled": True} if by_http else {"alternate_port": https_port},
        },
    }


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
