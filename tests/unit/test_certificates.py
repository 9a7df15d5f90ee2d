"""The certificates of a developer's machine."""

import ssl
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from services import certificates
from services.certificates import SERVICES, authority, issue, read, renew

ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_each_service_has_a_certificate_and_a_key_and_the_gateway_too(tmp_path: Path) -> None:
    assert renew(tmp_path / "new" / "folder") == ["authority", *SERVICES]

    names = {"authority", *SERVICES}
    assert set(contents(tmp_path / "new" / "folder")) == {f"{name}.{end}" for name in names for end in ("pem", "key")}


def test_every_service_of_the_project_is_among_them() -> None:
    services = {folder.parent.name for folder in (ROOT / "services").glob("*/servicer.py")}

    assert set(SERVICES) == services | {"gateway"}


def test_a_certificate_names_its_service_and_this_machine_for_ninety_days(tmp_path: Path) -> None:
    renew(tmp_path)
    loms = x509.load_pem_x509_certificate((tmp_path / "loms.pem").read_bytes())
    names = loms.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == ["loms", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert loms.not_valid_after_utc - datetime.now(UTC) == pytest.approx(timedelta(days=90), abs=timedelta(minutes=1))
    key = loms.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_strict_checks_of_openssl_pass(tmp_path: Path) -> None:
    renew(tmp_path)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, name in ((server, "loms"), (client, "cart")):
        context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        context.load_verify_locations(tmp_path / "authority.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(to_client, to_server, server_hostname="loms"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )

    for side in (*sides, *sides):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue

    assert [side.version() for side in sides] == ["TLSv1.3", "TLSv1.3"]


def test_only_the_owner_reads_the_keys(tmp_path: Path) -> None:
    renew(tmp_path)

    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("*.key")} == {0o600}


def test_what_is_good_stays(tmp_path: Path) -> None:
    renew(tmp_path)
    before = contents(tmp_path)

    assert renew(tmp_path) == []
    assert contents(tmp_path) == before


def missing(folder: Path) -> None:
    (folder / "loms.pem").unlink()


def without_its_key(folder: Path) -> None:
    (folder / "loms.key").unlink()


def with_another_key(folder: Path) -> None:
    (folder / "loms.key").write_bytes((folder / "cart.key").read_bytes())


def broken(folder: Path) -> None:
    (folder / "loms.pem").write_text("nonsense")


def ending_soon(folder: Path) -> None:
    signer = read(folder, "authority")
    assert signer is not None
    issue(signer, "loms", certificates.SOON - timedelta(minutes=1)).write(folder, "loms")


def of_another_authority(folder: Path) -> None:
    issue(authority(), "loms").write(folder, "loms")


@pytest.mark.parametrize(
    "spoil", [missing, without_its_key, with_another_key, broken, ending_soon, of_another_authority]
)
def test_what_cannot_be_used_for_another_month_is_made_again_and_nothing_else(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    renew(tmp_path)
    before = contents(tmp_path)
    spoil(tmp_path)

    assert renew(tmp_path) == ["loms"]
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"loms.pem", "loms.key"}
    assert renew(tmp_path) == []


def test_with_a_new_authority_everything_is_made_again(tmp_path: Path) -> None:
    renew(tmp_path)
    authority(certificates.SOON - timedelta(minutes=1)).write(tmp_path, "authority")

    assert renew(tmp_path) == ["authority", *SERVICES]
