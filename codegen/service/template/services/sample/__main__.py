"""The service as a process: `python -m services.sample`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from marketplace.sample.v1 import sample_pb2_grpc as pb_grpc
from pydantic_settings import SettingsConfigDict

from services.chassis.lifecycle import main
from services.chassis.log import Logger, get_logger
from services.chassis.migrations import migrated_database
from services.chassis.server import servicer, serving
from services.chassis.settings import Address, DatabaseSettings
from services.sample.memory import MemoryStorage
from services.sample.postgres import PostgresStorage
from services.sample.servicer import SampleServicer
from services.sample.usecases import Entries

MIGRATIONS = Path(__file__).parents[2] / "sql" / "sample" / "migrations"


class SampleSettings(DatabaseSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_")
    service: ClassVar[str] = "sample"

    listen: Address = "127.0.0.1:50050"
    side_listen: Address = "127.0.0.1:9100"


@asynccontextmanager
async def storage_of(settings: SampleSettings, log: Logger) -> AsyncIterator[MemoryStorage | PostgresStorage]:
    """Where entries live."""
    if settings.storage == "memory":
        yield MemoryStorage()
        return
    async with migrated_database(settings, MIGRATIONS, log) as database:
        yield PostgresStorage(database)


@asynccontextmanager
async def sample(settings: SampleSettings) -> AsyncIterator[int]:
    """Serves the entries; gives the port."""
    log = get_logger(settings.service)
    async with storage_of(settings, log) as storage:
        registered = servicer(pb_grpc.add_SampleServiceServicer_to_server, SampleServicer(Entries(storage)))
        async with serving(settings, registered) as port:
            yield port


if __name__ == "__main__":
    main(SampleSettings, sample)
