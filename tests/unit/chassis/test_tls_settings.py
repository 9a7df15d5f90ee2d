"""The settings of TLS: three files or none."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from pydantic_settings import SettingsConfigDict

from services import certificates
from services.chassis.settings import Address, ServiceSettings, StartError, load
from services.chassis.tls import tls_of
from tests.settings import FREE

VARIABLES = ("SHOP_TLS_CERTIFICATE", "SHOP_TLS_KEY", "SHOP_TLS_AUTHORITY")
AUTHORITY = certificates.authority()
CANARY = "s3cr3t-canary"


class ShopSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")
    service: ClassVar[str] = "shop"

    listen: Address = FREE
    side_listen: Address = FREE


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files of a service, by their variables, which are set."""
    AUTHORITY.write(tmp_path, "authority")
    certificates.issue(AUTHORITY, "shop").write(tmp_path, "shop")
    paths = (tmp_path / "shop.pem", tmp_path / "shop.key", tmp_path / "authority.pem")
    found = dict(zip(VARIABLES, paths, strict=True))
    for variable, file in found.items():
        monkeypatch.setenv(variable, str(file))
    return found


def mistakes() -> list[str]:
    with pytest.raises(StartError) as raised:
        load(ShopSettings)
    return str(raised.value).splitlines()


def test_tls_is_off_by_default() -> None:
    assert tls_of(load(ShopSettings)) is None


def test_tls_is_on_with_all_three_files(files: dict[str, Path]) -> None:
    tls = tls_of(load(ShopSettings))

    assert tls is not None
    assert [tls.certificate, tls.key, tls.authority] == list(files.values())


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("missing", VARIABLES)
def test_with_two_of_them_the_third_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(missing)

    assert mistakes() == [f"{missing} is not set"]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("given", VARIABLES)
def test_with_one_of_them_both_others_are_named(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [variable for variable in VARIABLES if variable != given]
    for other in others:
        monkeypatch.delenv(other)

    assert mistakes() == [f"{other} is not set" for other in others]


def test_all_files_that_cannot_be_used_are_named_beside_the_other_mistakes(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_LISTEN", "nowhere")
    monkeypatch.setenv("SHOP_TLS_CERTIFICATE", "missing.pem")
    monkeypatch.setenv("SHOP_TLS_KEY", str(files["SHOP_TLS_KEY"].parent))
    files["SHOP_TLS_AUTHORITY"].write_text("nonsense")

    listen, certificate, key, authority = mistakes()

    assert listen.startswith("SHOP_LISTEN='nowhere'")
    assert certificate == "SHOP_TLS_CERTIFICATE='missing.pem': cannot be read: No such file or directory"
    assert key.startswith("SHOP_TLS_KEY=")
    assert key.endswith("cannot be read: Is a directory")
    assert authority.startswith("SHOP_TLS_AUTHORITY=")
    assert authority.endswith("there is no certificate in it")


def other_key(file: Path) -> None:
    certificates.issue(AUTHORITY, "other").write(file.parent, file.stem)


def encrypted_key(file: Path) -> None:
    issued = certificates.read(file.parent, file.stem)
    assert issued is not None
    encryption = BestAvailableEncryption(b"password")
    file.write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


def no_key(file: Path) -> None:
    file.write_text(CANARY)


@pytest.mark.parametrize("spoil", [other_key, encrypted_key, no_key])
def test_the_key_has_to_be_that_of_the_certificate(spoil: Callable[[Path], None], files: dict[str, Path]) -> None:
    certificate = files["SHOP_TLS_CERTIFICATE"].read_bytes()
    spoil(files["SHOP_TLS_KEY"])
    files["SHOP_TLS_CERTIFICATE"].write_bytes(certificate)

    [mistake] = mistakes()

    assert mistake.startswith("SHOP_TLS_KEY=")
    assert mistake.endswith("it is not the key of the certificate, unencrypted")
    assert CANARY not in mistake


def test_a_key_in_the_place_of_its_file_is_not_shown(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    key = files["SHOP_TLS_KEY"].read_text()
    monkeypatch.setenv("SHOP_TLS_KEY", key)

    [mistake] = mistakes()

    assert mistake.startswith("SHOP_TLS_KEY=…: ")
    assert key.splitlines()[1] not in mistake


def test_what_is_in_the_files_is_not_shown_by_the_settings(files: dict[str, Path]) -> None:
    settings = load(ShopSettings)
    tls = tls_of(settings)
    assert tls is not None

    shown = f"{settings!r} {tls!r} {tls.read()!r}"

    assert files["SHOP_TLS_KEY"].read_text().splitlines()[1] not in shown
