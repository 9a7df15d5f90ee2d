"""What `make run STORAGE=postgres` tells each service."""

import pytest

from services.__main__ import on_postgres
from services.chassis.settings import StartError
from services.embedded_postgres import Database
from tests.settings import LomsSettings

EMBEDDED = Database("postgresql://embedded/loms", "postgresql://owner@embedded/loms")
OWN = "postgresql://own/loms"


def urls_of(settings: LomsSettings) -> tuple[str, str, str]:
    found = on_postgres(settings, EMBEDDED)
    return found.storage, found.required_url("database_url"), found.required_url("database_direct_url")


def test_a_service_that_was_told_nothing_works_in_the_embedded_server() -> None:
    assert urls_of(LomsSettings()) == ("postgres", EMBEDDED.url, EMBEDDED.direct_url)


def test_a_service_that_was_told_its_database_works_there() -> None:
    settings = LomsSettings.model_validate({"database_url": OWN, "database_direct_url": OWN})

    assert urls_of(settings) == ("postgres", OWN, OWN)


def test_a_service_that_was_told_half_of_its_database_does_not_migrate_another_one() -> None:
    settings = LomsSettings.model_validate({"database_url": OWN})

    with pytest.raises(StartError, match="LOMS_DATABASE_DIRECT_URL is not set"):
        urls_of(settings)


def test_a_service_that_was_told_to_keep_its_data_in_memory_does_so() -> None:
    assert on_postgres(LomsSettings(storage="memory"), EMBEDDED).storage == "memory"
