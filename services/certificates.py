"""Certificates for mTLS on a developer's machine: `python -m services.certificates FOLDER`.

Makes an authority and, signed by it, a certificate for each service; made again is what is
missing or ends soon. In production both come from where that keeps its secrets.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

API = Path(__file__).parent.parent / "api" / "marketplace"
SERVICES = (*sorted(folder.name for folder in API.glob("*")), "gateway")
VALID = timedelta(days=90)
AUTHORITY_VALID = timedelta(days=3650)
SOON = timedelta(days=30)
CLOCKS_DIFFER = timedelta(minutes=5)
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)

Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Key

    def write(self, folder: Path, name: str) -> None:
        """Puts it into `name.pem` and `name.key`; only the owner may read the key."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _replace(folder / f"{name}.key", key, 0o600)
        _replace(folder / f"{name}.pem", self.certificate.public_bytes(Encoding.PEM), 0o644)


def authority(valid: timedelta = AUTHORITY_VALID) -> Issued:
    """A new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("marketplace development authority")
    builder = (
        _builder(name, key, name, key, valid)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
    )
    return Issued(builder.sign(key, SHA256()), key)


def issue(by: Issued, service: str, valid: timedelta = VALID) -> Issued:
    """A new certificate for a service, to serve and to call with."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(service), x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(_name(service), key, by.certificate.subject, by.key, valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    return Issued(builder.sign(by.key, SHA256()), key)


def renew(folder: Path) -> list[str]:
    """Makes what is missing in the folder, ends soon or is not the authority's; gives the names."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    signer = read(folder, "authority")
    if signer is None:
        signer = authority()
        signer.write(folder, "authority")
        made.append("authority")
    for service in SERVICES:
        issued = read(folder, service)
        if issued is None or not _is_by(signer, issued):
            issue(signer, service).write(folder, service)
            made.append(service)
    return made


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    name: x509.Name, key: Key, issuer: x509.Name, issuer_key: Key, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + valid) - CLOCKS_DIFFER)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def read(folder: Path, name: str) -> Issued | None:
    """What is in the folder, unless it is missing, broken or ends soon."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        key = load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(key, Key) or key.public_key() != certificate.public_key():
        return None
    return Issued(certificate, key) if certificate.not_valid_after_utc > datetime.now(UTC) + SOON else None


def _is_by(signer: Issued, issued: Issued) -> bool:
    try:
        issued.certificate.verify_directly_issued_by(signer.certificate)
    except (InvalidSignature, ValueError):
        return False
    return True


def _replace(file: Path, content: bytes, mode: int) -> None:
    """Puts the content there in one step: nobody reads half of it."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as output:
        output.write(content)
    new.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.certificates", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    made = renew(folder)
    sys.stdout.write(f"{folder}: {', '.join(made) or 'nothing to renew'}\n")


if __name__ == "__main__":
    main()
