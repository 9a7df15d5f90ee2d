"""Settings: what a mistake in the environment leads to."""

from typing import ClassVar

import pytest
from pydantic import Field, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import SettingsConfigDict

from services.chassis.settings import Address, Replicas, ServiceSettings, StartError, fail, load
from tests.settings import FREE, LomsSettings

SECRET = "s3cr3t-canary"


class ShopSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_")
    service: ClassVar[str] = "shop"

    listen: Address = FREE
    side_listen: Address = FREE
    token: SecretStr = Field(default=SecretStr(""), max_length=5)


class BoundSettings(ShopSettings):
    """Has settings that nobody gave a default."""

    shelves: int
    doors: int


def mistakes_of(settings: type[ServiceSettings]) -> list[str]:
    with pytest.raises(StartError) as raised:
        load(settings)
    return str(raised.value).splitlines()


def test_the_environment_is_read_under_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_LISTEN", "shop.local:80")
    monkeypatch.setenv("LISTEN", "elsewhere:80")

    assert load(ShopSettings).listen == "shop.local:80"


def test_postgres_needs_its_urls_and_all_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LISTEN": "nowhere", "STORAGE": "postgres"}.items():
        monkeypatch.setenv(f"LOMS_{name}", value)

    assert [mistake.partition(":")[0] for mistake in mistakes_of(LomsSettings)] == [
        "LOMS_LISTEN='nowhere'",
        "LOMS_DATABASE_URL is not set",
        "LOMS_DATABASE_DIRECT_URL is not set",
    ]


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://127.0.0.1/loms", f"postgresql://[{SECRET}", f"postgresql://\u2100{SECRET}"]
)
def test_what_is_no_url_of_postgres_is_told_and_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LOMS_DATABASE_READ_URL", url)

    assert mistakes_of(LomsSettings) == [
        "LOMS_DATABASE_READ_URL=…: must be postgresql://user:password@host:port/database"
    ]


def test_every_mistake_is_named_with_its_variable_and_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_LISTEN", "nowhere")
    monkeypatch.setenv("SHOP_DRAIN_SECONDS", "0")
    monkeypatch.setenv("SHOP_LOG_LEVEL", "loud")

    mistakes = sorted(mistakes_of(ShopSettings))

    assert [mistake.partition(":")[0] for mistake in mistakes] == [
        "SHOP_DRAIN_SECONDS='0'",
        "SHOP_LISTEN='nowhere'",
        "SHOP_LOG_LEVEL='loud'",
    ]


@pytest.mark.parametrize("replicas", ["loms:1", "loms.local:65535", "127.0.0.1:1", "127.0.0.1:1,127.0.0.2:2"])
def test_replicas_are_a_name_or_addresses(replicas: str) -> None:
    assert TypeAdapter(Replicas).validate_python(replicas) == replicas


@pytest.mark.parametrize("replicas", ["", "loms", "loms:1,loms:2", "127.0.0.1:1,", "127.0.0.1:1,127.0.0.2:65536"])
def test_what_cannot_be_replicas_is_refused(replicas: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Replicas).validate_python(replicas)


def test_every_missing_setting_is_named() -> None:
    assert mistakes_of(BoundSettings) == ["SHOP_SHELVES is not set", "SHOP_DOORS is not set"]


def test_a_wrong_secret_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", SECRET)

    [mistake] = mistakes_of(ShopSettings)

    assert mistake.startswith("SHOP_TOKEN=…: ")
    assert SECRET not in mistake


def test_a_right_secret_is_not_shown_by_the_settings() -> None:
    settings = ShopSettings(token=SecretStr("12345"))

    assert "12345" not in f"{settings!r} {settings}"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:50051", "loms-1.shop_net:65535"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    assert TypeAdapter(Address).validate_python(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        ":80",
        "localhost:",
        "localhost:http",
        "localhost:123456",
        "http://localhost:80",
        "localhost:1\n",
        "localhost:65536",
        "localhost:\u0661",
        "localhost:1,localhost:2",
    ],
)
def test_who_gives_anything_else_is_told_what_an_address_is(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("SHOP_LISTEN", address)

    assert mistakes_of(ShopSettings) == [f"SHOP_LISTEN={address!r}: must be host:port with a port from 0 to 65535"]


def test_settings_do_not_change() -> None:
    settings = ShopSettings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.listen = "localhost:1"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("mistakes", "told"),
    [("A=1: no", "cannot start: A=1: no\n"), ("A=1: no\nB=2: no", "cannot start:\nA=1: no\nB=2: no\n")],
)
def test_a_failed_start_is_told_on_standard_error_and_exits_with_2(
    mistakes: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(StartError(mistakes)) == 2
    assert capsys.readouterr() == ("", told)


class SecretiveSettings(ShopSettings):
    """Has a setting without a default, and a secret that may be absent."""

    doors: int
    password: SecretStr | None = Field(default=None, max_length=5)


def test_no_mistake_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    monkeypatch.setenv("SHOP_PASSWORD", SECRET)

    mistakes = mistakes_of(SecretiveSettings)

    assert len(mistakes) == 3
    assert SECRET not in "".join(mistakes)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SHOP_LISTEN", "127.0.0.1:65536"), ("SHOP_DRAIN_SECONDS", "inf"), ("SHOP_DRAIN_SECONDS", "nan")],
)
def test_a_port_exists_and_a_duration_ends(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)

    assert [mistake.partition(":")[0] for mistake in mistakes_of(ShopSettings)] == [
        f"{variable}='{value}'".partition(":")[0]
    ]
