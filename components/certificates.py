"""Certificates (X.509): authorities, those they let issue, and servers'. Functions of plain PEM; keys are P-256."""

import datetime as dt
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_DAYS = 3650
_CERTIFICATE_DAYS = 397
_RENEW_BEFORE_DAYS = 60


def new_authority(common_name: str) -> tuple[str, str]:
    """A self-signed certificate authority (P-256): (certificate, private key), both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    end = _now() + dt.timedelta(days=_AUTHORITY_DAYS)
    certificate = (
        # One step further down: what it lets issue, issues for servers.
        _of_authority(_builder(name, name, key.public_key(), end), path_length=1).sign(key, hashes.SHA256())
    )
    return _pem(certificate), _key_pem(key)


def new_issuer(hosts: Sequence[str], *, authority: str, authority_key: str) -> tuple[str, str]:
    """An authority that may vouch for `hosts`, and names below these, only: (certificate, private key), both PEM.

    It ends with its own authority. Whoever has its key can pretend to be these hosts, and no other name or address.

    Raises:
        ValueError: `hosts` is empty, so that all names would be free.
    """
    if not hosts:
        raise ValueError("an issuer needs at least one host name")
    issuer, issuer_key = _loaded(authority, authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"issuer for {hosts[0]}")])
    builder = _builder(subject, issuer.subject, key.public_key(), issuer.not_valid_after_utc)
    constraints = x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(host) for host in hosts],
        excluded_subtrees=[x509.IPAddress(ipaddress.ip_network(every)) for every in ("0.0.0.0/0", "::/0")],
    )
    certificate = (
        _of_authority(builder, path_length=0)
        .add_extension(constraints, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pem(certificate), _key_pem(key)


def issue_certificate(names: Sequence[str], *, authority: str, authority_key: str) -> tuple[str, str]:
    """A server certificate for `names`, signed by the authority: (chain, private key), both PEM.

    Raises:
        ValueError: `names` is empty, or the authority's PEM cannot be read.
    """
    if not names:
        raise ValueError("a certificate needs at least one name")
    issuer, issuer_key = _loaded(authority, authority_key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), _now() + dt.timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pem(certificate) + authority, _key_pem(key)


def lets_issue(authority: str) -> bool:
    """Whether what an authority (PEM) signs may itself be an authority."""
    certificate = x509.load_pem_x509_certificate(authority.encode())
    length = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    return length is None or length > 0


def nears_its_end(certificate: str, now: dt.datetime | None = None) -> bool:
    """Whether a certificate (PEM) ends within 60 days from `now`."""
    end = x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc
    return end - (now or _now()) < dt.timedelta(days=_RENEW_BEFORE_DAYS)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, end: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now())
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _of_authority(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    return builder.add_extension(constraints, critical=True).add_extension(usage, critical=True)


def _loaded(authority: str, authority_key: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = serialization.load_pem_private_key(authority_key.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an elliptic-curve key")
    return x509.load_pem_x509_certificate(authority.encode()), key


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)  # clocks of machines differ a little


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
